//! Reads the published manifests that are new since the last run and folds them into what is remembered. Publishes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Ends, Error};
use crate::entry::{Entry, Tree};
use crate::event::Event;
use crate::local::state::{Known, State};
use crate::manifest::{self, Header, Manifest, Name, Unreadable};
use crate::path::RelPath;
use crate::problem::{Problem, Side, exclude_line};
use crate::remote::list::Listed;

/// What the manifests tell.
pub(super) struct Published {
    /// The heads that could be read; a publication names them as parents.
    pub(super) heads: Vec<Name>,
    /// The newest header that is known.
    pub(super) newest: Option<Header>,
    /// A head could not be read.
    pub(super) unreadable: bool,
    /// Links, empty directories and modes that several heads give differently.
    pub(super) problems: Vec<Problem>,
}

/// Enough for a header with its parents; a longer first line is fetched whole.
const HEADER_BYTES: u64 = 16 << 10;

/// Brings `state.published` up to the heads among `listed`. Heads that the state already folded in are not fetched again.
pub(super) async fn fold(ends: &Ends, state: &mut State, listed: &[Name], objects: &[Listed]) -> Result<Published, Error> {
    let mut unreadable = learn_headers(ends, state, listed).await?;
    let parents: BTreeSet<&Name> = state.known.iter().flat_map(|(_, parents)| parents).collect();
    let heads: Vec<Name> = state.known.iter().map(|(name, _)| name).filter(|name| !parents.contains(name)).cloned().collect();
    let unchanged = heads == state.heads;
    let mut problems = Vec::new();
    let mut read = heads.clone();
    if !unchanged || unreadable {
        let mut trees: Vec<(Name, Tree)> = Vec::new();
        let mut headers: Vec<(Name, Header)> = Vec::new();
        read.clear();
        for name in heads {
            match fetch(ends, &name).await? {
                Some(manifest) => {
                    headers.push((name.clone(), manifest.header));
                    trees.push((name.clone(), manifest.entries));
                    read.push(name);
                }
                None => unreadable = true,
            }
        }
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some((_, header)) = headers.pop() {
            let (tree, conflicts) = manifest::merge(trees, &|path, entry| is_listed(objects, path, entry));
            problems = conflicts.into_iter().map(conflict).collect();
            take_over(state, &header.lineage, tree);
            state.heads.clone_from(&read);
            state.newest = Some(header);
            state.generation = read.iter().map(|n| n.generation).max().unwrap_or(state.generation);
        }
    }
    if read.is_empty() && !state.heads.is_empty() {
        unreadable = true; // the manifests themselves have vanished
    }
    if unreadable {
        ends.tell(Event::Warning("a published manifest cannot be read: content is judged by the listing, and nothing is deleted".into()));
    }
    Ok(Published { heads: read, newest: state.newest.clone(), unreadable, problems })
}

fn is_listed(objects: &[Listed], path: &RelPath, entry: &Entry) -> bool {
    let Ok(at) = objects.binary_search_by(|o| o.key.as_str().cmp(path.as_str())) else { return false };
    entry.file().is_some_and(|f| f.size == objects[at].size && f.etag.as_ref() == Some(&objects[at].etag))
}

fn conflict(path: RelPath) -> Problem {
    Problem {
        name: path.as_str().to_owned(),
        exclude: Some(exclude_line(path.as_str())),
        path: Some(path),
        below: false,
        side: Side::Bucket,
        why:
            "two hosts published different links, directories or modes here at the same time; upload the one that is right with --overwrite"
                .into(),
    }
}

/// Learns the headers of manifests that are listed and not known yet, and forgets those that are not listed any more. Returns
/// whether one could not be read.
async fn learn_headers(ends: &Ends, state: &mut State, listed: &[Name]) -> Result<bool, Error> {
    state.known.retain(|(name, _)| listed.contains(name));
    let mut unreadable = false;
    for name in listed {
        if state.known.iter().any(|(known, _)| known == name) {
            continue;
        }
        match header(ends, name).await? {
            Ok(header) => state.known.push((name.clone(), header.parents)),
            Err(why @ Unreadable::Newer(_)) => return Err(Error::Manifest { name: name.to_string(), why }),
            Err(Unreadable::Damaged(_)) => unreadable = true,
        }
    }
    state.known.sort();
    Ok(unreadable)
}

async fn header(ends: &Ends, name: &Name) -> Result<Result<Header, Unreadable>, Error> {
    let key = format!("{}{name}", manifest::FOLDER);
    for first_bytes in [Some(HEADER_BYTES), None] {
        let got = ends.stop.or(ends.bucket.get_whole(&key, first_bytes)).await.ok_or(Error::Stopped)??;
        let Some(bytes) = got else { return Ok(Err(Unreadable::Damaged("it is gone".into()))) };
        if let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            return Ok(Header::decode(&bytes[..end]));
        }
    }
    Ok(Err(Unreadable::Damaged("it has no first line".into())))
}

async fn fetch(ends: &Ends, name: &Name) -> Result<Option<Manifest>, Error> {
    let key = format!("{}{name}", manifest::FOLDER);
    let got = ends.stop.or(ends.bucket.get_whole(&key, None)).await.ok_or(Error::Stopped)??;
    let Some(bytes) = got else { return Ok(None) };
    match super::blocking(move || Manifest::decode(&bytes)).await? {
        Ok(manifest) => Ok(Some(manifest)),
        Err(why @ Unreadable::Newer(_)) => Err(Error::Manifest { name: name.to_string(), why }),
        Err(Unreadable::Damaged(_)) => Ok(None),
    }
}

/// Replaces what was published by a tree, noting what a later manifest no longer has. Another lineage makes the base absent.
fn take_over(state: &mut State, lineage: &str, tree: Tree) {
    let other_lineage = state.lineage.as_deref().is_some_and(|known| known != lineage);
    state.lineage = Some(lineage.to_owned());
    let old = std::mem::take(&mut state.entries);
    let mut merged: Vec<(RelPath, Known)> = Vec::with_capacity(old.len().max(tree.len()));
    let (mut old, mut tree) = (old.into_iter().peekable(), tree.into_iter().peekable());
    loop {
        let old_first = match (old.peek(), tree.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((a, _)), Some((b, _))) => a <= b,
        };
        let (path, mut known) = if old_first {
            old.next().expect("it was peeked at")
        } else {
            (tree.peek().expect("it was peeked at").0.clone(), Known::default())
        };
        let published = tree.next_if(|(p, _)| *p == path).map(|(_, entry)| entry);
        if other_lineage {
            known.base = None;
            known.removed = false;
        } else {
            known.removed = published.is_none() && (known.removed || (known.base.is_some() && known.published.is_some()));
        }
        known.published = match (published, &known.base) {
            // One entry in memory for both where they are equal.
            (Some(entry), Some(base)) if entry == **base => Some(base.clone()),
            (published, _) => published.map(Arc::new),
        };
        if known != Known::default() {
            merged.push((path, known));
        }
    }
    state.entries = merged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;

    fn dir() -> Entry {
        Entry { kind: Kind::Dir, mode: None }
    }

    #[test]
    fn what_a_later_manifest_no_longer_has_is_removed_and_another_lineage_makes_the_base_absent() {
        let path = |p: &str| RelPath::new(p).unwrap();
        let known =
            |published: bool| Known { base: Some(Arc::new(dir())), published: published.then(|| Arc::new(dir())), ..Known::default() };
        let mut state = State {
            lineage: Some("a".into()),
            entries: vec![(path("foreign"), known(false)), (path("gone"), known(true)), (path("stays"), known(true))],
            ..State::default()
        };
        take_over(&mut state, "a", vec![(path("new"), dir()), (path("stays"), dir())]);
        let removed: Vec<_> = state.entries.iter().map(|(p, k)| (p.as_str(), k.removed, k.base.is_some())).collect();
        assert_eq!(removed, [("foreign", false, true), ("gone", true, true), ("new", false, false), ("stays", false, true)]);
        take_over(&mut state, "b", vec![(path("stays"), dir())]);
        assert!(state.entries.iter().all(|(_, known)| known.base.is_none() && !known.removed));
    }
}
