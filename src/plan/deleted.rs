//! Deleted in one directory and kept in the bucket: what a publication says of it, and what a fresh download leaves out. It proves nothing
//! to anybody: nothing is ever deleted because of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input::{Input, Spoilt};
use super::{Class, Found, Kept, MaxDelete, Plan, Transfer};
use crate::entry::{Entry, Kind, Local, Tree, below, find};
use crate::manifest::Deleted;
use crate::path::RelPath;
use crate::view::Remote;

/// Something that another instance deleted and that this download leaves in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where.
    pub path: RelPath,
    /// Content bytes.
    pub bytes: u64,
    /// Name of the host that deleted it.
    pub host: String,
}

/// What a manifest calls the entry that was deleted; none for a file without an ETag, which cannot be told from another.
fn version(entry: &Entry) -> Option<String> {
    match &entry.kind {
        Kind::File(file) => file.etag.as_ref().map(ToString::to_string),
        Kind::Link(target) => Some(format!(">{target}")),
        Kind::Dir => Some("/".into()),
    }
}

/// True while the entry that a manifest has is the one that was deleted.
#[must_use]
pub fn stands(deleted: &Deleted, entry: &Entry) -> bool {
    version(entry).is_some_and(|version| version == deleted.was)
}

/// True while the bucket has what was deleted: the same content that was written again since, such as an empty `DONE`, is another result.
#[must_use]
pub fn is_still_there(deleted: &Deleted, there: &Remote) -> bool {
    let is_older = deleted.modified.is_none() || deleted.modified == there.last_modified;
    is_older && stands(deleted, &there.entry)
}

/// Whose deletions they are.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Name of this host.
    pub host: &'a str,
    /// Id of the directory; empty where it has none yet.
    pub mount: &'a str,
    /// What it holds.
    pub local: &'a [(RelPath, Local)],
}

impl Here<'_> {
    /// What an upload says of an item that was deleted here. `there`: what the bucket holds.
    #[must_use]
    pub fn deleted(&self, path: &RelPath, there: &Remote) -> Option<Deleted> {
        let is_empty_dir = |dir: &&str| find(self.local, dir).is_some_and(|local| local.entry.kind == Kind::Dir);
        Some(Deleted {
            path: path.as_str().to_owned(),
            was: version(&there.entry)?,
            modified: there.last_modified,
            host: self.host.to_owned(),
            mount: self.mount.to_owned(),
            dir: path.ancestors().find(is_empty_dir).map(str::to_owned),
        })
    }
}

/// What becomes of the deletions that earlier manifests tell of.
pub struct After<'a> {
    /// What is published now.
    pub tree: &'a Tree,
    /// True for what this run sent or removed.
    pub moved: &'a dyn Fn(&RelPath) -> bool,
    /// True for a path that is wanted if it is here: named by the user, or never agreed on, so that it was made here.
    pub wanted: &'a dyn Fn(&RelPath) -> bool,
}

impl After<'_> {
    /// The deletions that an upload publishes: the `new` ones, and of those `before` what still holds. One no longer does where the bucket
    /// has something else by now, where this upload sent the path or was asked for it by name, and where the file was made anew in this
    /// directory, or is back in the one that had deleted it. A copy that another directory had all the time changes nothing.
    #[must_use]
    pub fn published(&self, before: &[Deleted], new: &[Deleted], here: &Here<'_>) -> Vec<Deleted> {
        let holds = |deleted: &&Deleted| {
            let Some(path) = RelPath::new(&deleted.path).ok() else { return false };
            let is_back = find(here.local, path.as_str()).is_some() && (deleted.mount == here.mount || (self.wanted)(&path));
            let stands = find(self.tree, path.as_str()).is_some_and(|entry| stands(deleted, entry));
            stands && !is_back && !(self.moved)(&path)
        };
        let all = new.iter().chain(before).filter(holds);
        let by_path: BTreeMap<&str, &Deleted> = all.map(|deleted| (deleted.path.as_str(), deleted)).collect();
        by_path.into_values().cloned().collect()
    }
}

/// What two manifests say together: what one of them has withdrawn since they had a common ancestor is withdrawn.
#[must_use]
pub fn as_one(newer: &[Deleted], older: &[Deleted], ancestor: &[Deleted]) -> Vec<Deleted> {
    let by_path = |all: &[Deleted]| all.iter().map(|deleted| (deleted.path.clone(), deleted.clone())).collect::<BTreeMap<_, _>>();
    let (newer, older, ancestor) = (by_path(newer), by_path(older), by_path(ancestor));
    let paths: BTreeSet<&String> = newer.keys().chain(older.keys()).collect();
    let of = |path: &String| match (newer.get(path), older.get(path)) {
        (Some(one), Some(_)) => Some(one.clone()),
        (Some(one), None) | (None, Some(one)) if ancestor.get(path) != Some(one) => Some(one.clone()),
        _ => None,
    };
    paths.into_iter().filter_map(of).collect()
}

/// Directories that are left above what is left out, and hold nothing where it was deleted: they are part of the tree that was
/// uploaded.
pub(super) fn add_left_empty(plan: &mut Plan, input: &Input<'_>, spoilt: &Spoilt<'_>) {
    let left_out = |plan: &Plan, path: &RelPath| plan.left_out.binary_search_by(|left| left.path.cmp(path)).is_ok();
    let dirs = plan.left_out.iter().filter_map(|left| find(input.deleted, left.path.as_str())?.dir.as_deref());
    let dirs: BTreeSet<RelPath> = dirs.filter_map(|dir| RelPath::new(dir).ok()).collect();
    for dir in dirs {
        let text = dir.as_str();
        let comes = |path: &RelPath| !left_out(plan, path);
        let is_there = find(input.local, text).is_some() || !below(input.local, text).is_empty();
        let is_filled = find(input.bucket, text).is_some() || below(input.bucket, text).iter().any(|(path, _)| comes(path));
        let is_leaf = |path: &str| {
            let here = find(input.local, path).is_some_and(|local| local.entry.kind != Kind::Dir);
            here || find(input.bucket, path).is_some_and(|remote| remote.entry.kind != Kind::Dir)
        };
        if !is_there && !is_filled && !spoilt.reaches(&dir) && !dir.ancestors().any(is_leaf) {
            plan.transfers.push(Transfer::of_empty_dir(dir));
        }
    }
}

impl Transfer {
    /// A directory that a download makes, for which the bucket has no entry of its own.
    fn of_empty_dir(path: RelPath) -> Transfer {
        Transfer {
            path,
            source: Arc::new(Entry { kind: Kind::Dir, mode: None }),
            mode: None,
            stamp: None,
            last_modified: None,
            found: Found::Nothing,
            replaced_bytes: 0,
            found_mode: None,
            class: Class::New,
        }
    }
}

impl Plan {
    /// True for an upload that publishes other deletions than are published.
    #[must_use]
    pub fn tells_of_deletions(&self) -> bool {
        !self.new_deletions().is_empty() || !self.restored.is_empty()
    }

    /// Of an upload: what was deleted here since both sides agreed, and stays in the bucket.
    pub fn deleted_here(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(|kept| kept.why == super::DELETED_HERE)
    }

    /// Records what was deleted here only where `upload --delete` might delete it: beyond `most`, somebody may have lost more than they know.
    pub(crate) fn limit_deletions(&mut self, most: MaxDelete) {
        let is_few = |new: &Vec<Deleted>| !most.is_exceeded(new.len() as u64, self.destination_entries);
        self.records_deletions = self.deletions.as_ref().is_some_and(is_few);
    }

    /// Of an upload: the deletions that it publishes and that no manifest tells of yet.
    #[must_use]
    pub fn new_deletions(&self) -> &[Deleted] {
        self.deletions.as_deref().filter(|_| self.records_deletions).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ETag;
    use crate::entry::File;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn file(etag: &str) -> Arc<Entry> {
        Arc::new(Entry { kind: Kind::File(File { etag: Some(ETag::parse(etag)), ..File::default() }), mode: None })
    }

    fn deleted(text: &str, mount: &str) -> Deleted {
        let (path, was) = text.split_once('=').unwrap();
        Deleted { path: path.into(), was: was.into(), modified: None, host: "gpu-1".into(), mount: mount.into(), dir: None }
    }

    #[test]
    fn a_deletion_holds_until_the_bucket_changes_or_somebody_wants_the_file() {
        let check = |before: (&str, &str), tree: &[(&str, &str)], here: &[&str], moved: &[&str], named: &[&str], expected: bool| {
            let tree: Tree = tree.iter().map(|(at, etag)| (path(at), file(etag))).collect();
            let local: Vec<_> = here.iter().map(|at| (path(at), Local { entry: file("l"), stamp: None })).collect();
            let after =
                After { tree: &tree, moved: &|path| moved.contains(&path.as_str()), wanted: &|path| named.contains(&path.as_str()) };
            let here = Here { host: "gpu-2", mount: "m2", local: &local };
            let found = after.published(&[deleted(before.0, before.1)], &[], &here);
            assert_eq!(!found.is_empty(), expected, "{before:?} {tree:?} {moved:?} {named:?}");
        };
        check(("f=e1", "m1"), &[("f", "e1")], &[], &[], &[], true);
        check(("f=e1", "m1"), &[("f", "e2")], &[], &[], &[], false);
        check(("f=e1", "m1"), &[], &[], &[], &[], false);
        // A copy that was never deleted here.
        check(("f=e1", "m1"), &[("f", "e1")], &["f"], &[], &[], true);
        check(("f=e1", "m1"), &[("f", "e1")], &["f"], &[], &["f"], false);
        check(("f=e1", "m1"), &[("f", "e1")], &[], &[], &["f"], true);
        check(("f=e1", "m1"), &[("f", "e1")], &["f"], &["f"], &[], false);
        // It is back in the directory that had deleted it.
        check(("f=e1", "m2"), &[("f", "e1")], &["f"], &[], &[], false);
        check(("f=e1", "m2"), &[("f", "e1")], &[], &[], &[], true);
    }

    #[test]
    fn a_new_deletion_says_what_was_there_and_which_directory_is_left() {
        let dir = Arc::new(Entry { kind: Kind::Dir, mode: None });
        let local = [(path("a/refs"), Local { entry: dir.clone(), stamp: None }), (path("b"), Local { entry: file("l"), stamp: None })];
        let here = Here { host: "gpu-2", mount: "m2", local: &local };
        let check = |at: &str, entry: &Entry, expected: Option<(&str, Option<&str>)>| {
            let there = Remote { entry: Arc::new(entry.clone()), last_modified: Some(7), marker: None };
            let found = here.deleted(&path(at), &there);
            assert_eq!(found.as_ref().map(|found| (found.was.as_str(), found.dir.as_deref())), expected, "{at}");
        };
        check("a/refs/x", &file("e1"), Some(("e1", Some("a/refs"))));
        check("a/refs/deep/x", &file("e1"), Some(("e1", Some("a/refs"))));
        check("b-/x", &file("e1"), Some(("e1", None)));
        check("l", &Entry { kind: Kind::Link("to".into()), mode: None }, Some((">to", None)));
        check("d", &dir, Some(("/", None)));
        check("f", &Entry { kind: Kind::File(File::default()), mode: None }, None);
    }

    #[test]
    fn the_same_content_that_was_written_again_is_another_result() {
        let check = |modified, listed, expected: bool| {
            let deleted = Deleted { modified, ..deleted("f=e1", "m") };
            assert_eq!(is_still_there(&deleted, &Remote { entry: file("e1"), last_modified: listed, marker: None }), expected);
        };
        check(Some(5), Some(5), true);
        check(Some(5), Some(6), false);
        check(Some(5), None, false);
        check(None, None, true);
    }

    #[test]
    fn of_two_manifests_what_one_withdrew_is_withdrawn() {
        let check = |newer: &[&str], older: &[&str], ancestor: &[&str], expected: &[&str]| {
            let all = |texts: &[&str]| texts.iter().map(|text| deleted(text, "m")).collect::<Vec<_>>();
            assert_eq!(as_one(&all(newer), &all(older), &all(ancestor)), all(expected), "{newer:?} {older:?} {ancestor:?}");
        };
        check(&["f=1"], &[], &[], &["f=1"]);
        check(&[], &["f=1"], &[], &["f=1"]);
        check(&["f=1"], &[], &["f=1"], &[]);
        check(&[], &["f=1"], &["f=1"], &[]);
        check(&["f=2"], &["f=1"], &["f=1"], &["f=2"]);
        check(&["f=2"], &[], &["f=1"], &["f=2"]);
        check(&["f=1", "g=1"], &["f=1", "h=1"], &["f=1"], &["f=1", "g=1", "h=1"]);
    }
}
