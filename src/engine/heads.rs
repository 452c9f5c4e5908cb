//! Several heads read as one: fetches what they come from, and says what is open between them. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use futures_util::future::{BoxFuture, FutureExt};

use super::listing::{list, remembered};
use super::manifests::fetch;
use super::{Ask, Ends, Error};
use crate::entry::{Entry, Tree};
use crate::local::state::State;
use crate::manifest::{self, Header, Manifest, Name};
use crate::path::RelPath;
use crate::view::Listing;

/// One manifest, or several as one.
pub(super) struct Merged {
    pub(super) tree: Tree,
    /// What was given differently and is not settled, sorted.
    pub(super) open: Vec<RelPath>,
}

impl From<Manifest> for Merged {
    fn from(manifest: Manifest) -> Merged {
        Merged { open: open_in(&manifest.header), tree: manifest.entries }
    }
}

/// What a manifest says that nobody has settled yet, sorted.
pub(super) fn open_in(header: &Header) -> Vec<RelPath> {
    let open: BTreeSet<RelPath> = header.torn.iter().filter_map(|path| RelPath::new(path).ok()).collect();
    open.into_iter().collect()
}

/// The heads as one tree, and what is open between them.
pub(super) async fn merge(
    ends: &Ends,
    ask: &Ask,
    state: &State,
    mut found: Vec<(Name, Manifest)>,
    objects: &Listing,
) -> Result<Merged, Error> {
    if found.len() == 1
        && let Some((_, manifest)) = found.pop()
    {
        return Ok(manifest.into());
    }
    let all;
    let objects = if ask.paths.is_empty() {
        objects
    } else {
        // What lies elsewhere decides too.
        all = list(ends, &Ask { paths: Vec::new(), ..ask.clone() }, ready(remembered(state))).await?;
        &all
    };
    let names: Vec<Name> = found.iter().map(|(name, _)| name.clone()).collect();
    let ancestor = ancestor(ends, &state.known, names).await?;
    let heads = found.into_iter().map(|(name, manifest)| (name, manifest.into())).collect();
    Ok(as_one(heads, ancestor.as_ref(), &|path, entry| is_listed(objects, path, entry)))
}

fn is_listed(objects: &Listing, path: &RelPath, entry: &Entry) -> bool {
    let Some(object) = objects.find(path.as_str()) else { return false };
    entry.file().is_some_and(|f| f.size == object.size && f.etag.as_ref() == Some(&object.etag))
}

/// What several manifests come from. Where they come from several that were published at once, those as one, by what they in turn come
/// from: the recursive merge of version control. `None` where that is not known: then nothing counts as removed.
fn ancestor<'a>(ends: &'a Ends, known: &'a [(Name, Vec<Name>)], names: Vec<Name>) -> BoxFuture<'a, Result<Option<Merged>, Error>> {
    async move {
        let nearest = nearest_common(known, &names);
        let mut found: Vec<(Name, Merged)> = Vec::new();
        for name in &nearest {
            // One that was pruned is not to be had.
            let is_listed = known.iter().any(|(listed, _)| listed == name);
            let Some(manifest) = (if is_listed { fetch(ends, name).await? } else { None }) else { return Ok(None) };
            found.push((name.clone(), manifest.into()));
        }
        if found.len() < 2 {
            return Ok(found.pop().map(|(_, merged)| merged));
        }
        let above = ancestor(ends, known, nearest).await?;
        Ok(above.map(|above| as_one(found, Some(&above), &|_, _| false)))
    }
    .boxed()
}

/// Every manifest that one follows, near or far, as far as the listed ones tell.
pub(super) fn ancestors<'a>(known: &'a [(Name, Vec<Name>)], name: &Name) -> BTreeSet<&'a Name> {
    let parents = |name: &Name| known.iter().find(|(listed, _)| listed == name).map_or(&[][..], |(_, parents)| parents);
    let (mut seen, mut todo): (BTreeSet<&Name>, Vec<&Name>) = (BTreeSet::new(), parents(name).iter().collect());
    while let Some(name) = todo.pop() {
        if seen.insert(name) {
            todo.extend(parents(name));
        }
    }
    seen
}

/// What all of them follow, without what that follows in turn.
fn nearest_common(known: &[(Name, Vec<Name>)], names: &[Name]) -> Vec<Name> {
    let all = names.iter().map(|name| ancestors(known, name));
    let common = all.reduce(|common, of| common.intersection(&of).copied().collect()).unwrap_or_default();
    let further: BTreeSet<&Name> = common.iter().flat_map(|name| ancestors(known, name)).collect();
    common.difference(&further).map(|name| (*name).clone()).collect()
}

fn as_one(versions: Vec<(Name, Merged)>, ancestor: Option<&Merged>, listed: &dyn Fn(&RelPath, &Entry) -> bool) -> Merged {
    let mut told: BTreeMap<RelPath, usize> = BTreeMap::new();
    let count = versions.len();
    let mut trees = Vec::with_capacity(count);
    for (name, version) in versions {
        for path in version.open {
            *told.entry(path).or_default() += 1;
        }
        trees.push((name, version.tree));
    }
    // One of them has settled what was open before all of them.
    let is_settled = |path: &RelPath, times: usize| times < count && ancestor.is_some_and(|before| before.open.binary_search(path).is_ok());
    let (tree, mut open) = manifest::merge(trees, ancestor.map(|before| &before.tree), listed);
    open.extend(told.into_iter().filter(|(path, times)| !is_settled(path, *times)).map(|(path, _)| path));
    open.sort_unstable();
    open.dedup();
    Merged { tree, open }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::Kind;

    fn name(n: u8) -> Name {
        Name::new(u64::from(n), [n; 16])
    }

    fn known(edges: &[(u8, &[u8])]) -> Vec<(Name, Vec<Name>)> {
        edges.iter().map(|(n, parents)| (name(*n), parents.iter().map(|p| name(*p)).collect())).collect()
    }

    #[test]
    fn the_nearest_that_all_follow_are_found() {
        let check = |edges: &[(u8, &[u8])], heads: &[u8], expected: &[u8]| {
            let heads: Vec<Name> = heads.iter().map(|n| name(*n)).collect();
            let expected: Vec<Name> = expected.iter().map(|n| name(*n)).collect();
            assert_eq!(nearest_common(&known(edges), &heads), expected, "{edges:?}");
        };
        check(&[(1, &[]), (2, &[1]), (3, &[1])], &[2, 3], &[1]);
        check(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2])], &[3, 4], &[2]);
        // Twice in a row at once: both that came before, and not what those come from.
        check(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[2, 3])], &[4, 5], &[2, 3]);
        check(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[3])], &[4, 5], &[3]);
        check(&[(1, &[]), (2, &[])], &[1, 2], &[]);
        // 1 was pruned.
        check(&[(2, &[1]), (3, &[1])], &[2, 3], &[1]);
        check(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[1])], &[2, 3, 4], &[1]);
    }

    #[test]
    fn what_one_has_settled_is_settled_and_what_it_never_knew_is_open() {
        let path = |p: &str| RelPath::new(p).unwrap();
        let link = |to: &str| vec![(path("l"), Arc::new(Entry { kind: Kind::Link(to.into()), mode: None }))];
        let merged = |to: &str, open: bool| Merged { tree: link(to), open: if open { vec![path("l")] } else { vec![] } };
        let check = |one: (&str, bool), two: (&str, bool), before: Option<(&str, bool)>, expected: (&str, bool)| {
            let versions = vec![(name(2), merged(one.0, one.1)), (name(3), merged(two.0, two.1))];
            let before = before.map(|(to, open)| merged(to, open));
            let got = as_one(versions, before.as_ref(), &|_, _| false);
            assert_eq!((got.tree, !got.open.is_empty()), (link(expected.0), expected.1), "{one:?} {two:?}");
        };
        check(("a", false), ("b", true), Some(("b", true)), ("a", false));
        check(("b", false), ("b", true), Some(("b", true)), ("b", false));
        check(("b", true), ("b", true), Some(("b", true)), ("b", true));
        check(("a", false), ("c", false), Some(("b", true)), ("c", true));
        check(("b", true), ("b", false), Some(("b", false)), ("b", true));
        check(("b", true), ("b", false), None, ("b", true));
    }
}
