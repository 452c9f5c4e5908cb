//! What a plan is made from: both sides as they were seen, and what is remembered. Decides nothing.

use crate::entry::{Entry, Local};
use crate::path::{RelPath, is_at_or_below};
use crate::problem::{Problem, Skipped};
use crate::view::Remote;

/// Everything that a plan is made from; all lists in scope and sorted by path.
pub struct Input<'a> {
    /// The mount now, with the digests that are known.
    pub local: &'a [(RelPath, Local)],
    /// The bucket now.
    pub bucket: &'a [(RelPath, Remote)],
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
    /// The umask, which tells what permission bits a download gives an object that has none.
    pub umask: u32,
}

impl Input<'_> {
    /// True when a problem covers the path: neither absent nor equal.
    pub(super) fn is_problem(&self, path: &RelPath) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.path.as_ref().is_some_and(|at| at == path || problem.below && path.is_at_or_below(at.as_str())))
    }

    /// True for a directory of the mount that has no entry of its own, because what lies in it does not travel.
    pub(super) fn is_there_but_not_listed(&self, dir: &RelPath) -> bool {
        let from = self.hollow.partition_point(|path| path < dir);
        let hollow = self.hollow[from..].iter().take_while(|path| path.as_str().starts_with(dir.as_str()));
        hollow.into_iter().any(|path| path.is_at_or_below(dir.as_str())) || self.has_problem_at_or_below(dir)
    }

    pub(super) fn has_problem_at_or_below(&self, root: &RelPath) -> bool {
        self.problems.iter().any(|problem| {
            let Some(at) = &problem.path else { return is_at_or_below(&problem.name, root.as_str()) };
            at.is_at_or_below(root.as_str()) || problem.below && root.is_at_or_below(at.as_str())
        }) || self.skipped.iter().any(|skipped| skipped.path.is_at_or_below(root.as_str()))
    }
}
