//! Several heads read as one: fetches what they come from, and says what is open between them. Changes nothing.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::listing::{list, remembered};
use super::manifests::fetch;
use super::{Ask, Ends, Error};
use crate::entry::{Entry, Tree, find};
use crate::local::state::State;
use crate::manifest::{self, Deleted, Header, Manifest, Name};
use crate::path::RelPath;
use crate::plan::as_one;
use crate::view::Listing;

/// The listed manifests with their parents, sorted.
type Known = [(Name, Vec<Name>)];

/// One manifest, or several as one.
pub(super) struct Merged {
    pub(super) tree: Tree,
    /// What was given differently and is not settled, sorted.
    pub(super) open: Vec<RelPath>,
    /// What was deleted where it was uploaded from.
    pub(super) deleted: Vec<Deleted>,
}

impl From<Manifest> for Merged {
    fn from(manifest: Manifest) -> Merged {
        Merged { open: open_in(&manifest.header), deleted: manifest.header.deleted, tree: manifest.entries }
    }
}

/// What a manifest says that nobody has settled yet, sorted.
pub(super) fn open_in(header: &Header) -> Vec<RelPath> {
    let open: BTreeSet<RelPath> = header.torn.iter().filter_map(|path| RelPath::new(path).ok()).collect();
    open.into_iter().collect()
}

/// Every manifest that a listed one names as parent.
pub(super) fn followed(known: &Known) -> BTreeSet<&Name> {
    known.iter().flat_map(|(_, parents)| parents).collect()
}

/// The listed manifests that no listed one names as parent.
pub(super) fn heads(known: &Known) -> Vec<Name> {
    let followed = followed(known);
    known.iter().map(|(name, _)| name).filter(|name| !followed.contains(name)).cloned().collect()
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
    let heads = found.into_iter().map(|(name, manifest)| (name, manifest.into())).collect();
    let (merged, _) = read_as_one(ends, &state.known, heads, &|path, entry| is_listed(objects, path, entry)).await?;
    Ok(merged)
}

fn is_listed(objects: &Listing, path: &RelPath, entry: &Entry) -> bool {
    let Some(object) = objects.find(path.as_str()) else { return false };
    entry.file().is_some_and(|f| f.size == object.size && f.etag.as_ref() == Some(&object.etag))
}

type IsListed<'a> = &'a (dyn Fn(&RelPath, &Entry) -> bool + Sync);

/// The newest with the next, what comes of it with the one after that: each time by what those two come from. What all come from together
/// may be older than what two of them agree on. Also whether it is known what they come from.
async fn read_as_one(ends: &Ends, known: &Known, mut versions: Vec<(Name, Merged)>, listed: IsListed<'_>) -> Result<(Merged, bool), Error> {
    versions.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut merged, mut is_sure) = (Merged { tree: Tree::new(), open: Vec::new(), deleted: Vec::new() }, true);
    let Some((newest, first)) = versions.pop() else { return Ok((merged, is_sure)) };
    merged = first;
    let mut followed = at_and_before(known, &newest);
    while let Some((name, next)) = versions.pop() {
        let follows = at_and_before(known, &name);
        let before = ancestor(ends, known, &followed, &follows).await?;
        is_sure &= !matches!(before, Before::Unknown);
        merged = two_as_one((newest.clone(), merged), (name, next), before.known().as_ref(), listed);
        followed.extend(follows);
    }
    Ok((merged, is_sure))
}

/// What two manifests come from.
enum Before {
    /// Nothing: both were the first.
    Nothing,
    /// Not known: then nothing counts as removed.
    Unknown,
    Known(Merged),
}

impl Before {
    fn known(self) -> Option<Merged> {
        match self {
            Before::Known(merged) => Some(merged),
            Before::Nothing | Before::Unknown => None,
        }
    }
}

/// What two come from, each told by all that it follows. Where they come from several that were published at once, those as one, by what
/// they in turn come from: the recursive merge of version control.
fn ancestor<'a>(
    ends: &'a Ends,
    known: &'a Known,
    one: &BTreeSet<&'a Name>,
    other: &BTreeSet<&'a Name>,
) -> BoxFuture<'a, Result<Before, Error>> {
    let nearest = nearest_common(known, one, other);
    async move {
        let Some(nearest) = nearest else { return Ok(Before::Unknown) };
        let mut found: Vec<(Name, Merged)> = Vec::new();
        for name in nearest {
            let Some(manifest) = fetch(ends, &name).await? else { return Ok(Before::Unknown) };
            found.push((name, manifest.into()));
        }
        if found.is_empty() {
            return Ok(Before::Nothing);
        }
        let (merged, is_sure) = read_as_one(ends, known, found, &|_, _| false).await?;
        Ok(if is_sure { Before::Known(merged) } else { Before::Unknown })
    }
    .boxed()
}

fn parents<'a>(known: &'a Known, name: &Name) -> Option<&'a [Name]> {
    known.binary_search_by(|(listed, _)| listed.cmp(name)).ok().map(|at| &known[at].1[..])
}

/// Every manifest that one follows, near or far, as far as the listed ones tell.
pub(super) fn ancestors<'a>(known: &'a Known, name: &Name) -> BTreeSet<&'a Name> {
    before(known, parents(known, name).unwrap_or_default())
}

/// These and what they follow.
fn before<'a>(known: &'a Known, names: impl IntoIterator<Item = &'a Name>) -> BTreeSet<&'a Name> {
    let (mut seen, mut todo) = (BTreeSet::new(), Vec::from_iter(names));
    while let Some(name) = todo.pop() {
        if seen.insert(name) {
            todo.extend(parents(known, name).unwrap_or_default());
        }
    }
    seen
}

fn at_and_before<'a>(known: &'a Known, name: &Name) -> BTreeSet<&'a Name> {
    let at = known.iter().map(|(listed, _)| listed).filter(|listed| *listed == name);
    before(known, at)
}

/// What both follow, without what that follows in turn. `None` where one that is not listed any more may lie between: those that were
/// pruned are older than all that are listed, and only damage or loss makes others.
fn nearest_common(known: &Known, one: &BTreeSet<&Name>, other: &BTreeSet<&Name>) -> Option<Vec<Name>> {
    let common: BTreeSet<&Name> = one.intersection(other).copied().collect();
    let further = before(known, common.iter().flat_map(|name| parents(known, name).unwrap_or_default()));
    let nearest: Vec<Name> = common.difference(&further).map(|name| (*name).clone()).collect();
    let oldest = nearest.iter().map(|name| name.generation).min().unwrap_or(0);
    let is_missing = |name: &&Name| parents(known, name).is_none() && name.generation >= oldest;
    (!one.union(other).any(is_missing)).then_some(nearest)
}

/// `one` is the newer. What was open before both is settled by what those say that do not call it open any more: nobody had agreed on what
/// stood there, so that whoever kept it has decided too.
fn two_as_one(one: (Name, Merged), other: (Name, Merged), ancestor: Option<&Merged>, listed: IsListed<'_>) -> Merged {
    let ((name, one), (other_name, other)) = (one, other);
    let before = ancestor.map(|before| &before.open[..]).unwrap_or_default();
    let told: BTreeSet<RelPath> = one.open.iter().chain(&other.open).chain(before).cloned().collect();
    let mut settled: Vec<(RelPath, Option<Arc<Entry>>, bool)> = Vec::new();
    let mut open: BTreeSet<RelPath> = BTreeSet::new();
    for path in told {
        let says = |version: &Merged| {
            let is_open = version.open.binary_search(&path).is_ok();
            (!is_open).then(|| find(&version.tree, path.as_str()).cloned())
        };
        let was_open = before.binary_search(&path).is_ok();
        match (says(&one), says(&other)) {
            (Some(one), Some(other)) if was_open => {
                let agree = one == other;
                settled.push((path, one, agree));
            }
            (Some(says), None) | (None, Some(says)) if was_open => settled.push((path, says, true)),
            _ => _ = open.insert(path),
        }
    }
    let deleted = as_one(&one.deleted, &other.deleted, ancestor.map(|before| &before.deleted[..]).unwrap_or_default());
    let trees = vec![(name, one.tree), (other_name, other.tree)];
    let (mut tree, differ) = manifest::merge(trees, ancestor.map(|before| &before.tree), listed);
    open.extend(differ);
    for (path, says, agree) in settled {
        settle(&mut tree, &path, says);
        if agree {
            open.remove(&path);
        } else {
            open.insert(path);
        }
    }
    Merged { tree, open: open.into_iter().collect(), deleted }
}

/// Of a file, the permission bits: what the bucket lists says what it holds.
fn settle(tree: &mut Tree, path: &RelPath, says: Option<Arc<Entry>>) {
    let at = tree.binary_search_by(|(p, _)| p.cmp(path));
    match (at, says) {
        (Ok(at), Some(says)) if tree[at].1.file().is_some() && says.file().is_some() => Arc::make_mut(&mut tree[at].1).mode = says.mode,
        (Ok(at), _) if tree[at].1.file().is_some() => {}
        (Ok(at), Some(says)) => tree[at].1 = says,
        (Ok(at), None) => _ = tree.remove(at),
        (Err(at), Some(says)) => tree.insert(at, (path.clone(), says)),
        (Err(_), None) => {}
    }
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
    fn a_head_is_what_no_listed_manifest_names_as_parent() {
        assert_eq!(heads(&known(&[(1, &[]), (2, &[1]), (3, &[1])])), [name(2), name(3)]);
    }

    #[test]
    fn the_nearest_that_both_follow_are_found() {
        let check = |edges: &[(u8, &[u8])], one: u8, other: u8, expected: Option<&[u8]>| {
            let known = known(edges);
            let found = nearest_common(&known, &at_and_before(&known, &name(one)), &at_and_before(&known, &name(other)));
            let expected: Option<Vec<Name>> = expected.map(|names| names.iter().map(|n| name(*n)).collect());
            assert_eq!(found, expected, "{edges:?}");
        };
        check(&[(1, &[]), (2, &[1]), (3, &[1])], 2, 3, Some(&[1]));
        check(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2])], 3, 4, Some(&[2]));
        // Twice in a row at once: both that came before, and not what those come from.
        check(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[2, 3])], 4, 5, Some(&[2, 3]));
        check(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[3])], 4, 5, Some(&[3]));
        check(&[(1, &[]), (2, &[])], 1, 2, Some(&[]));
        // 1 was pruned: it matters only where nothing nearer is common.
        check(&[(2, &[1]), (3, &[1])], 2, 3, None);
        check(&[(2, &[1]), (3, &[2]), (4, &[2])], 3, 4, Some(&[2]));
        // 3 was lost: what it followed is not known.
        check(&[(1, &[]), (2, &[1]), (4, &[3]), (5, &[2, 3])], 4, 5, None);
        check(&[(1, &[]), (2, &[1]), (4, &[2, 3]), (5, &[2])], 4, 5, None);
    }

    #[test]
    fn what_one_has_settled_is_settled_and_what_it_never_knew_is_open() {
        let path = |p: &str| RelPath::new(p).unwrap();
        let link = |to: &str| vec![(path("l"), Arc::new(Entry { kind: Kind::Link(to.into()), mode: None }))];
        let merged = |to: &str, open: bool| Merged { tree: link(to), open: if open { vec![path("l")] } else { vec![] }, deleted: vec![] };
        let check = |one: (&str, bool), two: (&str, bool), before: Option<(&str, bool)>, expected: (&str, bool)| {
            let before = before.map(|(to, open)| merged(to, open));
            let got = two_as_one((name(3), merged(two.0, two.1)), (name(2), merged(one.0, one.1)), before.as_ref(), &|_, _| false);
            assert_eq!((got.tree, !got.open.is_empty()), (link(expected.0), expected.1), "{one:?} {two:?}");
        };
        check(("a", false), ("b", true), Some(("b", true)), ("a", false));
        check(("b", false), ("b", true), Some(("b", true)), ("b", false));
        check(("b", true), ("b", true), Some(("b", true)), ("b", true));
        // Who kept what stood there has decided as well as who changed it.
        check(("a", false), ("b", false), Some(("b", true)), ("b", true));
        check(("a", false), ("c", false), Some(("b", true)), ("c", true));
        check(("a", false), ("a", false), Some(("b", true)), ("a", false));
        check(("b", true), ("b", false), Some(("b", false)), ("b", true));
        check(("b", true), ("b", false), None, ("b", true));
    }
}
