//! Where else in the bucket lsync has published: asked where nothing is at the place that was given. Reads listings; changes nothing.

use futures_util::stream::{self, StreamExt};

use super::bucket::Bucket;
use super::error::Error;
use crate::config::distance;
use crate::manifest;
use crate::path::Prefix;

/// Most prefixes that are looked at, those like the one that was given first.
const MOST: usize = 32;
/// So many at once.
const LOOKS: usize = 8;

impl Bucket {
    /// The prefixes of the bucket below which lsync has published, as far as the first page of its top level and of the level of this
    /// prefix shows them: `""` is the top itself. Those that are spelt like this one come first. At most 35 requests.
    pub async fn published_prefixes(&self) -> Result<Vec<String>, Error> {
        let whole = self.beginning_at(Prefix::default());
        let own = self.prefix().as_str();
        let level = own.strip_suffix('/').and_then(|own| Some(own.rsplit_once('/')?.0)).map(|above| format!("{above}/"));
        let mut found = whole.names("", "").await?;
        if let Some(level) = level {
            found.extend(whole.names(&level, "").await?);
        }
        let looked = nearest(found, own);
        let looks = looked.into_iter().map(|prefix| {
            let whole = &whole;
            async move { Ok::<_, Error>(whole.has_published(&prefix).await?.then_some(prefix)) }
        });
        let (mut looks, mut published) = (stream::iter(looks).buffered(LOOKS), Vec::new());
        while let Some(prefix) = looks.next().await {
            published.extend(prefix?);
        }
        Ok(published)
    }

    /// Whether lsync has published below a directory (empty, or with a `/` at its end) of this prefix. One request.
    pub async fn has_published(&self, directory: &str) -> Result<bool, Error> {
        let page = self.page_of(&format!("{directory}{}", manifest::FOLDER), None, Some(1)).await?;
        Ok(!page.objects.is_empty())
    }
}

/// The prefixes to look at: the top, and what is spelt most like the wanted one.
fn nearest(mut found: Vec<String>, wanted: &str) -> Vec<String> {
    found.retain(|prefix| prefix != wanted && prefix.ends_with('/'));
    found.sort_by_cached_key(|prefix| (distance(prefix, wanted), prefix.clone()));
    found.dedup();
    found.truncate(MOST);
    let top = (!wanted.is_empty()).then(String::new);
    top.into_iter().chain(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[&str], wanted: &str, expected: &[&str]) {
        assert_eq!(nearest(found.iter().map(|name| (*name).to_owned()).collect(), wanted), expected);
    }

    #[test]
    fn what_is_spelt_alike_is_looked_at_first() {
        check(&["big/", "dock/", "zebra/"], "dokc/", &["", "dock/", "big/", "zebra/"]);
        check(&["big/", "team/dock/", "team/dokc/"], "team/dokc/", &["", "team/dock/", "big/"]);
        check(&["a/", "b"], "", &["a/"]);
        let many: Vec<String> = (0..90).map(|n| format!("{n}/")).collect();
        assert_eq!(nearest(many, "").len(), MOST);
    }
}
