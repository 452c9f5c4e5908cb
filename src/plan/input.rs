//! What a plan is made from: both sides as they were seen, and what is remembered. Decides nothing.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::sets::Claim;
use crate::digest::ETag;
use crate::entry::{Entry, Local};
use crate::manifest::Deleted;
use crate::path::RelPath;
use crate::problem::{Problem, Skipped};
use crate::view::Remote;

/// Everything that a plan is made from; all lists in scope and sorted by path.
pub struct Input<'a> {
    /// The mount now, with the digests that are known.
    pub local: &'a [(RelPath, Local)],
    /// The bucket now.
    pub bucket: &'a [(RelPath, Remote)],
    /// Objects of the bucket at the path with a `/` behind, which say nothing beside what is at the path or below: they make room with it.
    pub idle_markers: &'a [(RelPath, ETag)],
    /// When both sides last agreed.
    pub base: &'a [(RelPath, &'a Entry)],
    /// Files that a manifest has and the bucket lacks.
    pub vanished: &'a [RelPath],
    /// Paths that some manifest after the base no longer has: proof that they were removed.
    pub removed: &'a dyn Fn(&RelPath) -> bool,
    /// What this mount has sent is not published yet.
    pub owed: bool,
    /// The mount is the one that the base was written for.
    pub base_is_of_this_mount: bool,
    /// Of both sides.
    pub problems: &'a [Problem],
    /// Of the mount.
    pub skipped: &'a [Skipped],
    /// Directories of the mount that hold nothing but what patterns leave out, sorted.
    pub hollow: &'a [RelPath],
    /// Paths that several heads of the published manifests give differently, sorted.
    pub torn: &'a [RelPath],
    /// What was deleted where it was uploaded from and is as it was then, by path: a download leaves it out where this mount never had it.
    pub deleted: &'a [(RelPath, &'a Deleted)],
    /// What the manifests say of files that belong together.
    pub sets: &'a [Claim],
    /// The umask, which tells what permission bits a download gives an object that has none.
    pub umask: u32,
}

impl<'a> Input<'a> {
    /// What has vanished from the bucket at a path or below it.
    pub(super) fn vanished_from(&self, root: &RelPath) -> impl Iterator<Item = &'a RelPath> {
        let from = self.vanished.partition_point(|path| path < root);
        let near = self.vanished[from..].iter().take_while(move |path| path.as_str().starts_with(root.as_str()));
        near.filter(move |path| path.is_at_or_below(root.as_str()))
    }
}

/// Where problems lie, and what holds no bytes: asked for every path, so kept in order.
pub(super) struct Spoilt<'a> {
    /// Paths of problems.
    at: BTreeSet<&'a str>,
    /// Those under which everything is unknown too.
    above: BTreeSet<&'a str>,
    /// Names of problems that are no paths.
    named: BTreeSet<&'a str>,
    /// Sockets, FIFOs, devices.
    special: BTreeSet<&'a str>,
    /// Directories of the mount that hold nothing but what patterns leave out.
    hollow: &'a [RelPath],
}

impl<'a> Spoilt<'a> {
    pub(super) fn of(input: &Input<'a>) -> Spoilt<'a> {
        let paths = |below: bool| input.problems.iter().filter(move |p| p.below || !below).filter_map(|p| p.path.as_ref());
        Spoilt {
            at: paths(false).map(RelPath::as_str).collect(),
            above: paths(true).map(RelPath::as_str).collect(),
            named: input.problems.iter().filter(|p| p.path.is_none()).map(|p| p.name.as_str()).collect(),
            special: input.skipped.iter().map(|skipped| skipped.path.as_str()).collect(),
            hollow: input.hollow,
        }
    }

    /// True when a problem covers the path: neither absent nor equal.
    pub(super) fn covers(&self, path: &RelPath) -> bool {
        self.at.contains(path.as_str()) || self.is_below_unread(path)
    }

    /// True when a socket, FIFO or device stands there.
    pub(super) fn is_special(&self, path: &RelPath) -> bool {
        self.special.contains(path.as_str())
    }

    /// True for a directory of the mount that has no entry of its own, because what lies in it does not travel.
    pub(super) fn is_there_but_not_listed(&self, dir: &RelPath) -> bool {
        let from = self.hollow.partition_point(|path| path < dir);
        let hollow = self.hollow[from..].iter().take_while(|path| path.as_str().starts_with(dir.as_str()));
        hollow.into_iter().any(|path| path.is_at_or_below(dir.as_str())) || self.reaches(dir)
    }

    /// True when something at or below the path, or a directory above that could not be read, is a problem or holds no bytes.
    pub(super) fn reaches(&self, root: &RelPath) -> bool {
        let start = format!("{}/", root.as_str());
        let holds = |all: &BTreeSet<&str>| {
            let next = all.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded)).next();
            all.contains(root.as_str()) || next.is_some_and(|path| path.starts_with(&start))
        };
        [&self.at, &self.named, &self.special].into_iter().any(holds) || self.is_below_unread(root)
    }

    fn is_below_unread(&self, path: &RelPath) -> bool {
        !self.above.is_empty() && path.ancestors().any(|dir| self.above.contains(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Side;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn a_problem_covers_its_path_and_an_unread_directory_all_below() {
        let problem = |name: &str, path: Option<&str>, below| Problem {
            name: name.into(),
            path: path.map(|text| RelPath::new(text).unwrap()),
            below,
            side: Side::Local,
            why: String::new(),
            exclude: None,
        };
        let problems = [
            problem("d/x", Some("d/x"), false),
            problem("unread", Some("unread"), true),
            problem("d-", Some("d-"), false),
            problem("k//x", None, false),
        ];
        let skipped = [Skipped { path: path("run/socket"), why: String::new() }];
        let input = Input {
            local: &[],
            bucket: &[],
            idle_markers: &[],
            base: &[],
            vanished: &[],
            removed: &|_| false,
            owed: false,
            base_is_of_this_mount: true,
            problems: &problems,
            skipped: &skipped,
            hollow: &[path("e/hollow")],
            torn: &[],
            deleted: &[],
            sets: &[],
            umask: 0,
        };
        let spoilt = Spoilt::of(&input);
        let covered = ["d/x", "unread", "unread/a/b", "d-"];
        let free = ["d", "d/x/y", "d/xx", "unreads", "run/socket"];
        assert!(covered.iter().all(|text| spoilt.covers(&path(text))) && !free.iter().any(|text| spoilt.covers(&path(text))));
        let reached = ["d", "d/x", "unread", "unread/a", "run", "run/socket", "k"];
        let apart = ["d/x/y", "runs", "e", "k2"];
        assert!(reached.iter().all(|text| spoilt.reaches(&path(text))) && !apart.iter().any(|text| spoilt.reaches(&path(text))));
        assert!(spoilt.is_special(&path("run/socket")) && !spoilt.is_special(&path("run")));
        assert!(spoilt.is_there_but_not_listed(&path("e")) && !spoilt.is_there_but_not_listed(&path("f")));
    }
}
