//! Listing in several runs at once, so that latency is paid by the longest run and not by every page. Decides nothing about the runs
//! (`runs` does), and falls back on the plain listing wherever they do not fit together.

use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::bucket::Bucket;
use super::error::{Error, Kind};
use super::list::{From, Listing, MOST_BYTES, Marks, Page};
use super::runs::{Ask, AskNames, Runs};

/// Requests at once. A page is up to half a megabyte while it is read.
const AT_ONCE: usize = 16;

/// One request of a listing.
enum Errand {
    Page(Ask),
    Names(AskNames),
}

/// Its answer.
enum Came {
    Page(usize, Result<Page, Error>),
    Names(AskNames, Vec<String>),
}

impl Bucket {
    /// [`Bucket::list`], in several runs at once where there is more than a page: split at `marks`, which may come while the first pages
    /// do, and where those do not tell, at names of directories. A store that does not begin after a key when it is asked to, or whose
    /// runs do not fit together, is listed in one run from then on.
    pub async fn list_wide(
        &self,
        start: &str,
        marks: impl Future<Output = Marks>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Listing, Error> {
        if !self.learnt().lists_narrowly() {
            if let Some(all) = self.in_runs(start, marks, progress).await? {
                return Ok(all);
            }
            self.learnt().narrow_listings.store(true, Ordering::Relaxed);
        }
        self.list(start, progress).await.map(Listing::from)
    }

    /// `None`: what came does not fit together.
    async fn in_runs(
        &self,
        start: &str,
        marks: impl Future<Output = Marks>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Listing>, Error> {
        let (mut marks, mut are_marked, mut count) = (pin!(marks), false, 0);
        let mut runs = Runs::new(start);
        let mut under_way = FuturesUnordered::new();
        while !runs.are_over() {
            while under_way.len() < AT_ONCE
                && let Some(ask) = runs.next()
            {
                under_way.push(self.run_errand(start, Errand::Page(ask)));
            }
            if are_marked
                && under_way.len() < AT_ONCE
                && let Some(names) = runs.next_names()
            {
                under_way.push(self.run_errand(start, Errand::Names(names)));
            }
            let came = tokio::select! {
                biased;
                marks = &mut marks, if !are_marked => {
                    are_marked = true;
                    runs.split_at(&marks.below(start));
                    continue;
                }
                Some(came) = under_way.next() => came,
                else => return Ok(None),
            };
            match came {
                Came::Page(run, Ok(page)) => {
                    let Ok(own) = runs.page(run, page.objects, page.next) else { return Ok(None) };
                    count += own as u64;
                    progress(count);
                }
                Came::Page(run, Err(e)) => {
                    // The plain listing would meet the same.
                    let is_plain = run == 0 || matches!(e.kind, Kind::Unreachable | Kind::Throttled) && self.learnt().begins_after();
                    return if is_plain { Err(e) } else { Ok(None) };
                }
                Came::Names(asked, names) => runs.names(asked, &names),
            }
        }
        drop(under_way);
        let Ok(mut pieces) = runs.whole() else { return Ok(None) };
        if pieces.iter().flatten().fold(0u64, |sum, object| sum.saturating_add(object.size)) > MOST_BYTES {
            return Ok(None);
        }
        for piece in &mut pieces {
            piece.retain(|object| !object.key.is_empty() || object.size > 0);
        }
        Ok(Some(Listing::of_pieces(pieces)))
    }

    async fn run_errand(&self, start: &str, errand: Errand) -> Came {
        match errand {
            Errand::Page(ask) => {
                let from = match (&ask.token, &ask.after) {
                    (Some(token), _) => From::Token(token),
                    (None, Some(key)) => From::After(key),
                    (None, None) => From::Beginning,
                };
                Came::Page(ask.run, self.page_from(start, from, None).await)
            }
            Errand::Names(asked) => {
                let directory = if asked.directory().starts_with(start) { asked.directory() } else { start };
                // Without them it takes longer, and nothing else.
                let names = self.names(directory, &asked.after).await.unwrap_or_default();
                Came::Names(asked, names)
            }
        }
    }
}
