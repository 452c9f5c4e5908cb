//! What a run has done, and the value that "complete" is made from. Prints nothing.

use std::collections::BTreeSet;

use super::Error;
use crate::event::Verb;
use crate::local::elsewhere::KeptElsewhere;
use crate::local::place::PlaceError;
use crate::path::RelPath;
use crate::plan::{Direction, Kept, KeyFile, LeftOut, NothingThere, OtherDirectory, OutsideLink, Plan};
use crate::problem::{Problem, Skipped};

/// Disjoint counts of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Content, links and empty directories sent.
    pub uploaded: u64,
    /// Content, links and empty directories brought.
    pub downloaded: u64,
    /// Attributes only.
    pub updated: u64,
    /// Removed at the destination.
    pub deleted: u64,
    /// Equal on both sides.
    pub unchanged: u64,
    /// Newer at the destination, kept.
    pub protected: u64,
    /// Changed on both sides, kept.
    pub conflicts: u64,
    /// Neither equal nor different, kept.
    pub unknown: u64,
    /// Cannot be synced.
    pub problems: u64,
    /// Tried and not done.
    pub failed: u64,
    /// Holds no bytes to lose.
    pub skipped: u64,
    /// Left out by patterns.
    pub ignored: u64,
    /// Only at the destination, kept.
    pub kept: u64,
    /// Planned and not reached: the run ended early.
    pub pending: u64,
}

/// How a failed item failed; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The destination was not what the plan saw.
    Stale,
    /// The source kept changing.
    StillWritten,
    /// It is as it should be, and belongs together with something that could not be sent.
    Waits,
    /// A digest did not match.
    Integrity,
    /// No room on the mount.
    NoSpace,
    /// Anything else that a rerun may mend.
    Failed,
}

impl FailureKind {
    /// What a failed change of the tree is.
    pub(super) fn of(error: &PlaceError) -> FailureKind {
        match error {
            PlaceError::Stale => FailureKind::Stale,
            PlaceError::NoSpace(_) => FailureKind::NoSpace,
            PlaceError::Clash(_) | PlaceError::Failed(_) => FailureKind::Failed,
        }
    }
}

/// An item that was tried and not done; both sides are as they were.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where.
    pub path: RelPath,
    /// How.
    pub kind: FailureKind,
    /// Why, as a fragment after the path.
    pub why: String,
}

/// Proof that everything in scope is on the other side. Only the closing verification of this crate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) strong: u64,
    pub(super) etag: u64,
    pub(super) size: u64,
    pub(super) skipped: u64,
    pub(super) protected: u64,
    pub(super) generation: Option<u64>,
    pub(super) outside_links: u64,
    pub(super) ignored: u64,
    pub(super) deleted_kept: u64,
}

impl Complete {
    /// The counts of the last line: `files=N bytes=N strong=N etag=N size=N skipped=N protected=N generation=N`. `strong`: proven by a
    /// digest; `etag`: by the ETag that was answered or agreed on; `size`: by the size alone. `outside_links=N` follows where links point
    /// outside the directory, `ignored=N` where patterns left out files of the source, `deleted_kept=N` where a download left in the bucket what
    /// was deleted on another machine, or will do so with what an upload has here.
    #[must_use]
    pub fn counts(&self) -> String {
        let Complete { files, bytes, strong, etag, size, skipped, protected, generation, outside_links, ignored, deleted_kept } = self;
        let generation = generation.unwrap_or(0);
        let outside = if *outside_links > 0 { format!(" outside_links={outside_links}") } else { String::new() };
        let ignored = if *ignored > 0 { format!(" ignored={ignored}") } else { String::new() };
        let kept = if *deleted_kept > 0 { format!(" deleted_kept={deleted_kept}") } else { String::new() };
        format!(
            "files={files} bytes={bytes} strong={strong} etag={etag} size={size} skipped={skipped} protected={protected} generation={generation}{outside}{ignored}{kept}"
        )
    }
}

/// How sure it is that both sides hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A digest of the content on the other side matches.
    Strong,
    /// The ETag is the one that the store answered to our write, or that both sides agreed on.
    ETag,
    /// Only the size.
    Size,
}

/// How many items each [`Proof`] covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Proofs {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) strong: u64,
    pub(super) etag: u64,
    pub(super) size: u64,
}

impl Proofs {
    /// An item that was counted with `before` is proven by its digest.
    pub(super) fn strengthen(&mut self, before: Proof) {
        match before {
            Proof::Strong => return,
            Proof::ETag => self.etag -= 1,
            Proof::Size => self.size -= 1,
        }
        self.strong += 1;
    }

    pub(super) fn add(&mut self, proof: Proof, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        match proof {
            Proof::Strong => self.strong += 1,
            Proof::ETag => self.etag += 1,
            Proof::Size => self.size += 1,
        }
    }
}

/// The run, told.
#[derive(Debug)]
pub struct Report {
    /// Which way.
    pub direction: Direction,
    /// Items by what became of them.
    pub counts: Counts,
    /// Content bytes that this run moved.
    pub bytes: u64,
    /// Content bytes that were copied at the destination, which held them already: they did not move.
    pub copied_bytes: u64,
    /// Content bytes in scope at the source.
    pub total_bytes: u64,
    /// Generation that was published, or that the mount is now at.
    pub generation: Option<u64>,
    /// Items that were tried and not done.
    pub failures: Vec<Failure>,
    /// Newer at the destination.
    pub protected: Vec<Kept>,
    /// Changed on both sides.
    pub conflicts: Vec<Kept>,
    /// Neither equal nor different.
    pub unknown: Vec<Kept>,
    /// Cannot be synced.
    pub problems: Vec<Problem>,
    /// Holds no bytes to lose.
    pub skipped: Vec<Skipped>,
    /// Links of the source that point outside the directory: what they point to is not in the bucket.
    pub outside_links: Vec<OutsideLink>,
    /// Of an upload: what was deleted here and stays in the bucket.
    pub deleted_here: Vec<RelPath>,
    /// It is recorded: fresh downloads leave it out.
    pub records_deletions: bool,
    /// Recorded as deleted on another machine, as in the plan.
    pub left_out: Vec<LeftOut>,
    /// New files that may hold keys: they wait until a person says that they travel.
    pub keys: Vec<KeyFile>,
    /// Directories of the bucket that belong to other lsync directories.
    pub others: Vec<OtherDirectory>,
    /// Nothing is where a download's source should be.
    pub nothing_there: Option<NothingThere>,
    /// Files that the manifest has and the bucket lacks.
    pub vanished: Vec<RelPath>,
    /// The directory took no state: where it is kept instead.
    pub kept_elsewhere: Option<KeptElsewhere>,
    /// Why the run ended early, when it did; what was done before stands.
    pub ended_by: Option<Error>,
    /// The proof, when there is one.
    pub complete: Option<Complete>,
}

impl Report {
    /// What a plan says before anything is done; the report of a run that changes nothing.
    pub(super) fn of_plan(plan: &Plan, ignored: u64) -> Report {
        let n = |len: usize| len as u64;
        Report {
            direction: plan.direction,
            counts: Counts {
                unchanged: n(plan.same.len()) - n(plan.updates.len()),
                protected: n(plan.protected.len()),
                conflicts: n(plan.conflicts.len()),
                unknown: n(plan.unknown.len()),
                problems: n(plan.problems.len()),
                skipped: n(plan.skipped.len()),
                kept: n(plan.kept.len()),
                ignored,
                ..Counts::default()
            },
            bytes: 0,
            copied_bytes: 0,
            total_bytes: plan.same_bytes + plan.transfer_bytes(),
            generation: None,
            failures: Vec::new(),
            protected: plan.protected.clone(),
            conflicts: plan.conflicts.clone(),
            unknown: plan.unknown.clone(),
            problems: plan.problems.clone(),
            skipped: plan.skipped.clone(),
            outside_links: plan.outside_links.clone(),
            deleted_here: plan.deleted_here().map(|kept| kept.path.clone()).collect(),
            records_deletions: plan.records_deletions,
            left_out: plan.left_out.clone(),
            keys: plan.keys.iter().map(|(key, _)| key.clone()).collect(),
            others: plan.others.clone(),
            nothing_there: plan.nothing_there.clone(),
            vanished: plan.vanished.clone(),
            kept_elsewhere: None,
            ended_by: None,
            complete: None,
        }
    }

    /// Makes the counts complete and disjoint once the run is over: an item that failed, or turned out to be a problem, counts as nothing
    /// else, and what the plan lists and the run did not reach is `pending`. `done` says what was done to a path.
    pub(super) fn settle_counts(&mut self, plan: &Plan, done: &dyn Fn(&RelPath) -> Option<Verb>) {
        let failed = self.failures.iter().map(|failure| &failure.path);
        let problems = self.problems.iter().skip(plan.problems.len()).filter_map(|problem| problem.path.as_ref());
        let spoilt: BTreeSet<&RelPath> = failed.chain(problems).collect();
        let updated = |path: &RelPath| plan.updates.binary_search_by(|update| update.path.cmp(path)).is_ok();
        let counts = &mut self.counts;
        for path in &spoilt {
            let count = match done(path) {
                Some(Verb::Upload) => &mut counts.uploaded,
                Some(Verb::Download) => &mut counts.downloaded,
                Some(Verb::Update) => &mut counts.updated,
                Some(Verb::Delete) => &mut counts.deleted,
                None if plan.same.binary_search(path).is_ok() && !updated(path) => &mut counts.unchanged,
                None => continue,
            };
            *count = count.saturating_sub(1);
        }
        let planned = plan.transfers.iter().map(|t| &t.path);
        let planned = planned.chain(plan.leftovers.iter().map(|l| &l.removal.path));
        let planned = planned.chain(plan.removals.iter().map(|r| &r.path)).chain(plan.updates.iter().map(|u| &u.path));
        counts.pending = planned.filter(|path| done(path).is_none() && !spoilt.contains(path)).count() as u64;
    }

    /// True when nothing stands between this run and the word: no failure, conflict, unknown or problem, and no early end.
    pub(super) fn nothing_is_left(&self) -> bool {
        self.failures.is_empty()
            && self.conflicts.is_empty()
            && self.unknown.is_empty()
            && self.problems.is_empty()
            && self.keys.is_empty()
            && self.nothing_there.is_none()
            && self.ended_by.is_none()
    }
}

/// An error with its causes, as one fragment.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
