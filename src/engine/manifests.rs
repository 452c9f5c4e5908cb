//! Reads the published manifests that are new since the last run and folds them into what is remembered. Publishes nothing.

use futures_util::stream::{self, StreamExt};

use super::heads::{followed, heads, merge, open_in};
use super::{Ask, Ends, Error, dirs, sets};
use crate::entry::{Entry, Kind, Tree};
use crate::event::Event;
use crate::local::state::{Known, State};
use crate::manifest::{self, Header, Manifest, Name, Unreadable};
use crate::path::RelPath;
use crate::problem::{Problem, Side};
use crate::remote::error::Kind as RemoteKind;
use crate::remote::list::Listing;

/// What the manifests tell.
pub(super) struct Published {
    /// The heads that could be read; a publication names them as parents.
    pub(super) heads: Vec<Name>,
    /// The newest header that is known.
    pub(super) newest: Option<Header>,
    /// A head could not be read.
    pub(super) unreadable: bool,
    /// The manifests that were known have all vanished.
    pub(super) vanished: bool,
    /// Links, empty directories and modes that several heads give differently, sorted.
    pub(super) torn: Vec<RelPath>,
    /// Manifests that cannot be read.
    pub(super) problems: Vec<Problem>,
}

/// Enough for a header with its parents; a longer first line is fetched whole.
const HEADER_BYTES: u64 = 16 << 10;

/// Headers that are fetched at once.
const HEADERS: usize = 8;

/// True for an error that is about one manifest where others can be read: archived, or refused by itself.
fn is_about_one(error: &Error) -> bool {
    matches!(error, Error::Remote(e) if matches!(e.kind, RemoteKind::Refused | RemoteKind::Unsupported))
}

/// How often a manifest is read that arrives damaged: what went wrong may have been the way and not the object.
const READS: usize = 3;

/// Brings `state.published` up to the heads among `objects`, this run's listing. A head that the state already folded in is not fetched
/// again, unless there are several.
pub(super) async fn fold(ends: &Ends, ask: &Ask, state: &mut State, objects: &Listing) -> Result<Published, Error> {
    let own: Vec<Name> = objects.iter().filter_map(|o| o.key.strip_prefix(manifest::FOLDER).and_then(Name::parse)).collect();
    let (mut damaged, mut newest) = learn_headers(ends, state, &own).await?;
    // What a readable manifest followed is history.
    let followed = followed(&state.known);
    damaged.retain(|name| !followed.contains(name));
    let heads = heads(&state.known);
    let (mut torn, mut read) = (state.newest.as_ref().map(open_in).unwrap_or_default(), heads.clone());
    let rolled_back = is_rolled_back(state);
    if heads != state.heads || heads.len() > 1 || !damaged.is_empty() {
        let (mut found, mut refused): (Vec<(Name, Manifest)>, _) = (Vec::new(), Vec::new());
        for name in &heads {
            let at_hand = newest.take_if(|(newest, _)| newest == name).map(|(_, manifest)| manifest);
            let manifest = match at_hand {
                None => fetch(ends, name).await,
                at_hand => Ok(at_hand),
            };
            match manifest {
                Ok(Some(manifest)) => found.push((name.clone(), manifest)),
                Ok(None) => damaged.push(name.clone()),
                Err(e) if is_about_one(&e) => refused.push((name.clone(), e)),
                Err(e) => return Err(e),
            }
        }
        damaged.extend(of_single_ones(refused, !found.is_empty())?);
        read = found.iter().map(|(name, _)| name.clone()).collect();
        if let Some((newest, _)) = found.iter().max_by(|a, b| a.0.cmp(&b.0)) {
            let (generation, header) = (newest.generation, found.iter().find(|(name, _)| name == newest).map(|(_, m)| m.header.clone()));
            let (published_sets, published_dirs) = (sets::of_heads(&found, objects), dirs::of_heads(&found));
            let merged = merge(ends, ask, state, found, objects).await?;
            torn = merged.open;
            let deleted = merged.deleted;
            if let Some(header) = header {
                // Only a manifest of the base's generation or later tells what was removed.
                let later = !rolled_back && generation >= state.generation;
                take_over(state, &header.lineage, merged.tree, later);
                // What is open between several heads is remembered with the newest.
                let dirs = published_dirs;
                let torn = torn.iter().map(|path| path.as_str().to_owned()).collect();
                state.newest = Some(Header { torn, sets: published_sets, dirs, deleted, ..header });
            }
            state.heads.clone_from(&read);
            state.generation = state.generation.max(generation);
        }
    }
    for path in &torn {
        if let Ok(at) = state.entries.binary_search_by(|(p, _)| p.cmp(path)) {
            nothing_agreed(&mut state.entries[at].1);
        }
    }
    let vanished = read.is_empty() && !state.heads.is_empty();
    let unreadable = vanished || rolled_back || !damaged.is_empty();
    if rolled_back && !vanished {
        ends.tell(Event::Warning(
            "the bucket has lost manifests that this mount knows (was it restored from a backup?): nothing is deleted because of it".into(),
        ));
    } else if unreadable {
        ends.tell(Event::Warning("a published manifest cannot be read: content is judged by the listing, and nothing is deleted".into()));
    }
    let problems = damaged.iter().map(unusable).collect();
    Ok(Published { heads: read, newest: state.newest.clone(), unreadable, vanished, torn, problems })
}

/// Where two hosts differ nothing is agreed on. Where they differ in permission bits alone, the rest is, and what these were tells who
/// changed them once they are settled.
pub(super) fn nothing_agreed(known: &mut Known) {
    let same_kind = |one: &Entry, other: &Entry| one.kind_name() == other.kind_name() && !matches!(one.kind, Kind::Link(_));
    let (base, published) = (known.base.as_deref(), known.published.as_deref());
    if !base.zip(published).is_some_and(|(base, published)| same_kind(base, published)) {
        known.base = None;
    }
}

/// True when a head that was folded in is not listed any more, no listed manifest follows it, and it was not pruned (pruning takes the
/// oldest, so that everything listed is younger): the bucket is older than what this mount knows.
fn is_rolled_back(state: &State) -> bool {
    let oldest = state.known.iter().map(|(name, _)| name.generation).min();
    let follows = |head: &Name| state.known.iter().any(|(name, parents)| name == head || parents.contains(head));
    oldest.is_some_and(|oldest| state.heads.iter().any(|head| !follows(head) && oldest <= head.generation))
}

fn unusable(name: &Name) -> Problem {
    Problem {
        name: format!("{}{name}", manifest::FOLDER),
        path: None,
        below: false,
        side: Side::Bucket,
        why: "this manifest cannot be read, so links, empty directories and permission bits that only it carries are not known; remove it from \
              the bucket, then upload from the mount that has everything"
            .into(),
        exclude: None,
    }
}

/// Learns the headers of manifests that are listed and not known yet, and forgets those that are not listed any more. Returns
/// those that cannot be read, and the newest one whole if it is new: it is a head.
async fn learn_headers(ends: &Ends, state: &mut State, listed: &[Name]) -> Result<(Vec<Name>, Option<(Name, Manifest)>), Error> {
    state.known.retain(|(name, _)| listed.contains(name));
    let mut new: Vec<&Name> = listed.iter().filter(|name| !state.known.iter().any(|(known, _)| known == *name)).collect();
    let newest = new.pop_if(|name| listed.iter().max() == Some(name)).cloned();
    let whole = async {
        match &newest {
            Some(name) => Ok::<_, Error>(read(ends, name).await?.and_then(Result::ok)),
            None => Ok(None),
        }
    };
    let mut found = Vec::new();
    let headers = async {
        let mut headers = stream::iter(new).map(|name| async move { (name, header(ends, name).await) }).buffered(HEADERS);
        while let Some((name, header)) = headers.next().await {
            found.push((name, header));
        }
        Ok::<_, Error>(())
    };
    let (whole, headers) = tokio::join!(whole, headers);
    let mut refused = Vec::new();
    let whole = match (whole, &newest) {
        (Err(e), Some(name)) if is_about_one(&e) => {
            refused.push((name.clone(), e));
            None
        }
        (whole, newest) => newest.as_ref().zip(whole?),
    };
    headers?;
    if let (Some(name), None, true) = (&newest, &whole, refused.is_empty()) {
        found.push((name, header(ends, name).await));
    }
    state.known.extend(whole.iter().map(|(name, manifest)| ((*name).clone(), manifest.header.parents.clone())));
    let mut damaged = Vec::new();
    for (name, header) in found {
        match header {
            Ok(Ok(header)) => state.known.push((name.clone(), header.parents)),
            Ok(Err(why @ Unreadable::Newer(_))) => return Err(Error::Manifest { name: name.to_string(), why }),
            Ok(Err(Unreadable::Damaged(_))) => damaged.push(name.clone()),
            Err(e) if is_about_one(&e) => refused.push((name.clone(), e)),
            Err(e) => return Err(e),
        }
    }
    // One that was read before shows that manifests may be read.
    damaged.extend(of_single_ones(refused, !state.known.is_empty())?);
    state.known.sort();
    Ok((damaged, whole.map(|(name, manifest)| (name.clone(), manifest))))
}

/// Manifests that were refused count as damaged where `others` could be read; where none could, the permission to read is missing.
fn of_single_ones(refused: Vec<(Name, Error)>, others: bool) -> Result<Vec<Name>, Error> {
    let permission = |e: &Error| matches!(e, Error::Remote(e) if e.kind == RemoteKind::Refused);
    let (mut names, mut first) = (Vec::new(), None);
    for (name, error) in refused {
        names.push(name);
        first = first.or(Some(error).filter(permission));
    }
    match first {
        Some(error) if !others => Err(error),
        _ => Ok(names),
    }
}

async fn header(ends: &Ends, name: &Name) -> Result<Result<Header, Unreadable>, Error> {
    let key = format!("{}{name}", manifest::FOLDER);
    let (mut read, mut newer) = (Err(Unreadable::Damaged("it has no first line".into())), None);
    for first_bytes in [Some(HEADER_BYTES), None, None] {
        let got = ends.stop.or(ends.bucket.get_whole(&key, first_bytes)).await.ok_or(Error::Stopped)??;
        let Some(bytes) = got else { return Ok(Err(Unreadable::Damaged("it is gone".into()))) };
        let end = bytes.iter().position(|b| *b == b'\n');
        if first_bytes == Some(bytes.len() as u64)
            && let Some(end) = end
        {
            return Ok(Header::decode(&bytes[..end]));
        }
        // All of it is here: its digest tells whether it is what was published.
        let first_line = end.map(|end| bytes.slice(..end));
        read = super::blocking(move || Manifest::decode(&bytes).map(|manifest| manifest.header)).await?;
        match (&read, first_line) {
            // The end of a newer format may look different.
            (Err(Unreadable::Damaged(_)), Some(line)) => newer = Header::decode(&line).err().filter(|e| matches!(e, Unreadable::Newer(_))),
            (Err(Unreadable::Damaged(_)), None) => {}
            _ => return Ok(read),
        }
    }
    Ok(newer.map_or(read, Err))
}

/// A whole manifest; `None` when it is gone or damaged.
pub(super) async fn fetch(ends: &Ends, name: &Name) -> Result<Option<Manifest>, Error> {
    for _ in 0..READS {
        match read(ends, name).await? {
            Some(Ok(manifest)) => return Ok(Some(manifest)),
            Some(Err(why @ Unreadable::Newer(_))) => return Err(Error::Manifest { name: name.to_string(), why }),
            Some(Err(Unreadable::Damaged(_))) => {}
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// Once; `None` when it is gone.
async fn read(ends: &Ends, name: &Name) -> Result<Option<Result<Manifest, Unreadable>>, Error> {
    let key = format!("{}{name}", manifest::FOLDER);
    let got = ends.stop.or(ends.bucket.get_whole(&key, None)).await.ok_or(Error::Stopped)??;
    let Some(bytes) = got else { return Ok(None) };
    Ok(Some(super::blocking(move || Manifest::decode(&bytes)).await?))
}

/// Replaces what was published by a tree, noting what a `later` manifest no longer has. Another lineage makes the base absent.
fn take_over(state: &mut State, lineage: &str, tree: Tree, later: bool) {
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
            let newly = later && known.base.is_some() && known.published.is_some();
            known.removed = published.is_none() && (known.removed || newly);
        }
        known.published = match (published, &known.base) {
            // One entry in memory for both where they are equal.
            (Some(entry), Some(base)) if entry == *base => Some(base.clone()),
            (published, _) => published,
        };
        if known != Known::default() {
            merged.push((path, known));
        }
    }
    state.entries = merged;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::Kind;

    fn dir() -> Entry {
        Entry { kind: Kind::Dir, mode: None }
    }

    #[test]
    fn an_older_manifest_proves_no_removal() {
        let path = |p: &str| RelPath::new(p).unwrap();
        let known = Known { base: Some(Arc::new(dir())), published: Some(Arc::new(dir())), ..Known::default() };
        let (one, two, three) = (Name::new(1, [1; 16]), Name::new(2, [2; 16]), Name::new(3, [3; 16]));
        let mut state = State {
            lineage: Some("a".into()),
            generation: 2,
            heads: vec![two.clone()],
            known: vec![(one.clone(), vec![])],
            entries: vec![(path("f"), known)],
            ..State::default()
        };
        assert!(is_rolled_back(&state));
        take_over(&mut state, "a", Vec::new(), false);
        assert!(!state.entries[0].1.removed);
        state.known.push((two.clone(), vec![one]));
        assert!(!is_rolled_back(&state), "it is listed");
        state.known = vec![(three.clone(), vec![two])];
        assert!(!is_rolled_back(&state), "it was followed");
        state.known = vec![(Name::new(30, [9; 16]), vec![three])];
        assert!(!is_rolled_back(&state), "it was pruned");
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
        take_over(&mut state, "a", vec![(path("new"), dir().into()), (path("stays"), dir().into())], true);
        let removed: Vec<_> = state.entries.iter().map(|(p, k)| (p.as_str(), k.removed, k.base.is_some())).collect();
        assert_eq!(removed, [("foreign", false, true), ("gone", true, true), ("new", false, false), ("stays", false, true)]);
        take_over(&mut state, "b", vec![(path("stays"), dir().into())], true);
        assert!(state.entries.iter().all(|(_, known)| known.base.is_none() && !known.removed));
    }
}
