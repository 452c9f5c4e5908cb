//! Carries out a confirmed plan: the lock, the guards, the transfers in bounded number, the removals last; then settles, publishes and
//! remembers. Never does what the plan does not list.

mod begin;
mod down;
mod hold;
mod not_done;
mod removals;
mod self_sync;
mod together;
mod up;

use std::collections::HashMap;
use std::sync::Arc;

use hold::Held;
pub(super) use hold::keeps_elsewhere;
pub use self_sync::refuse_self_sync;

use super::doubt::read_doubtful_again;
use super::lanes::Lanes;
use super::lease::Lease;
use super::pace::Pace;
use super::publish::publish;
use super::read_back::Distrusted;
use super::refusals::Refusals;
use super::remember::{Change, Clocks, agreed_base, base_would_learn, remember};
use super::report::{Proof, Report};
use super::rest::Rest;
use super::send::nonce;
use super::uploads::Uploads;
use super::{Approved, Ask, Ends, Error, Sight, blocking};
use super::{log, settle};
use crate::diff::mode_agreed;
use crate::entry::{Entry, Stamp, find};
use crate::event::{Ended, Event, Phase, Verb};
use crate::local::lock::{Guard, Lock};
use crate::local::state::{Journal, Journalled};
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::plan::dir_modes::{DirMode, DirModes};
use crate::plan::{Direction, Plan};
use crate::profile::Profile;
use crate::remote::error as remote;
use crate::remote::object::Enforce;

/// Items in a row for which the bucket could not be reached: each has been tried for a minute or two, so the rest would go the same way.
const UNANSWERED_MOST: u32 = 3;

/// One item that was done.
#[derive(Debug)]
pub(super) struct Done {
    /// What both sides hold now; `None`: it was removed.
    pub(super) entry: Option<Arc<Entry>>,
    /// A local file's stamp.
    pub(super) stamp: Option<Stamp>,
    /// What tells that this file changes later.
    pub(super) witness: Witness,
    /// The nonce of an object that was sent.
    pub(super) nonce: Option<String>,
    /// What proves the content.
    pub(super) proof: Proof,
    /// What was done.
    pub(super) verb: Verb,
}

impl Done {
    /// What was there is gone.
    fn removed() -> Done {
        Done { entry: None, stamp: None, witness: Witness::Nothing, nonce: None, proof: Proof::Strong, verb: Verb::Delete }
    }
}

/// A run under way.
pub(super) struct Work<'a> {
    pub(super) ends: &'a Ends,
    pub(super) ask: &'a Ask,
    pub(super) sight: &'a Sight,
    pub(super) plan: &'a Plan,
    pub(super) operation: String,
    /// The mount's clock when the look and when the run began.
    pub(super) clocks: Clocks,
    pub(super) enforce: Enforce,
    /// What is known about the store.
    pub(super) store: Profile,
    /// Some of it is new, and to be kept.
    pub(super) store_is_new: bool,
    /// Objects that do not hold what was sent.
    pub(super) distrusted: Vec<Distrusted>,
    pub(super) pace: Arc<Pace>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) uploads: Arc<Uploads>,
    pub(super) rest: Rest,
    pub(super) journal: Option<Arc<Journal>>,
    /// Of the mount's lock.
    pub(super) guard: Guard,
    /// Only where the store honours no conditions.
    lease: Option<Lease>,
    pub(super) done: HashMap<RelPath, Done>,
    /// Permission bits of directories that this run carried.
    pub(super) dir_modes: DirModes,
    /// Sets that this run sent, by their databases: the members that are one now, or none where only a part got there.
    pub(super) together: HashMap<RelPath, Option<Vec<RelPath>>>,
    pub(super) report: Report,
    /// Items in a row for which the bucket could not be reached.
    unanswered: u32,
    refusals: Refusals,
    /// The first of them.
    refusal: Option<remote::Error>,
}

/// Carries out an approved plan, between the ends and within the bounds of the look that it was made from. `Err` only when nothing was
/// begun; what ends a begun run early is in [`Report::ended_by`].
pub async fn run(approved: Approved<'_>) -> Result<Report, Error> {
    // On the heap: several runs of one program must fit on the stack of one thread.
    Box::pin(carry_out(approved)).await
}

async fn carry_out(Approved { sight, plan }: Approved<'_>) -> Result<Report, Error> {
    let (ends, ask) = (&sight.ends, &sight.ask);
    // What ends this run early is nobody else's business.
    let ends = &Ends { stop: ends.stop.child(), ..ends.clone() };
    let ignored = sight.ignored_at_source(plan.direction).0;
    let report = Report::of_plan(plan, ignored);
    // Who was told that two hosts differ knows of it, whatever becomes of the manifests.
    let told = !sight.torn.is_empty();
    let learnt = told || sight.learnt.changes_memory(&sight.state) || !sight.learnt.foreign.is_empty() || base_would_learn(sight, plan);
    let mount = ends.mount.clone();
    // What a run that died has left behind goes, also when nothing else is left to do.
    let clears_up = blocking(move || Lock::is_left_behind(&mount)).await??;
    let left = plan.direction == Direction::Upload && Uploads::are_left(ends).await?;
    // What was kept elsewhere goes home as soon as this directory takes it.
    let comes_home = plan.direction == Direction::Upload && ends.mount.open_elsewhere("")?.is_some();
    if plan.is_empty() && !learnt && !clears_up && !left && !comes_home {
        return Ok(nothing_to_do(sight, plan, report));
    }
    let operation = nonce();
    let Held { lock, id, clocks } = hold::hold(sight, plan, &operation).await?;
    let stop = ends.stop.clone();
    lock.when_lost(move || stop.ask());
    if !plan.is_empty() {
        refuse_self_sync(ends, &id).await?;
    }
    let mut work = Work {
        ends,
        ask,
        sight,
        plan,
        clocks,
        enforce: Enforce::Head,
        store: Profile::default(),
        store_is_new: false,
        distrusted: Vec::new(),
        pace: Arc::new(Pace::of(ask, ends.stop.clone())),
        lanes: Arc::new(Lanes::new(ask.jobs)),
        uploads: Arc::new(Uploads::new(ends, &operation)),
        operation,
        rest: Rest::new(ask.settle, clocks.sending),
        journal: None,
        guard: lock.guard().clone(),
        lease: None,
        done: HashMap::new(),
        dir_modes: DirModes::new(),
        together: HashMap::new(),
        report,
        unanswered: 0,
        refusals: Refusals::default(),
        refusal: None,
    };
    work.begin().await?;
    if left && let Err(e) = work.take_over_uploads().await {
        work.give_lease_back().await;
        return Err(e);
    }
    if !plan.is_empty() {
        log::begun(ends, ask, lock.owner(), plan.direction).await;
    }
    let mut settled = if plan.is_empty() { work.settle_unmoved() } else { Box::pin(work.execute()).await };
    if plan.direction == Direction::Upload
        && settled.is_some()
        && let Err(e) = read_doubtful_again(&mut work).await
    {
        work.end(e);
        settled = None;
    }
    Box::pin(work.finish(id, settled, lock)).await
}

fn nothing_to_do(sight: &Sight, plan: &Plan, mut report: Report) -> Report {
    report.generation = (sight.state.generation > 0).then_some(sight.state.generation);
    report.complete = settle::complete(&report, settle::unmoved(sight, plan));
    report
}

impl Work<'_> {
    async fn execute(&mut self) -> Option<settle::Proofs> {
        self.ends.phase(Phase::Transfer);
        let items = self.plan.transfers.len() + self.plan.removals.len() + self.plan.updates.len();
        self.ends.tell(Event::Planned { files: items as u64, bytes: self.plan.transfer_bytes() });
        match self.plan.direction {
            Direction::Upload => self.up().await,
            Direction::Download => self.down().await,
        }
    }

    fn settle_unmoved(&self) -> Option<settle::Proofs> {
        Some(settle::unmoved(self.sight, self.plan))
    }

    /// Publishes, remembers, and says what can be said.
    async fn finish(mut self, mount_id: String, settled: Option<settle::Proofs>, lock: Lock) -> Result<Report, Error> {
        if self.refusals.are_about_the_credentials()
            && let Some(e) = self.refusal.take()
        {
            self.end(e.into());
        }
        let mut published = None;
        // Whoever has taken over publishes what is there now.
        let held = self.has_its_turn().await;
        if let Err(e) = &held
            && e.is_lost_turn()
        {
            self.report.ended_by = None;
        }
        let is_held = held.map_err(|e| self.end(e)).is_ok();
        let tells = self.plan.tells_of_deletions() && self.report.ended_by.is_none();
        if is_held && (self.changed_bucket() || self.plan.owed || tells) {
            self.ends.phase(Phase::Publish);
            match publish(&self, &mount_id).await {
                Ok(made) => published = Some(made),
                Err(e) => self.end(e),
            }
        }
        self.give_lease_back().await;
        self.report.generation = match &published {
            Some(made) => Some(made.name.generation),
            None => (self.sight.state.generation > 0).then_some(self.sight.state.generation),
        };
        if let Err(e) = self.uploads.close().await {
            self.end(e);
        }
        let learnt = self.store_is_new.then(|| self.store.clone());
        let change = Change { mount_id, clocks: self.clocks, learnt, published };
        // Without the lock another run may be saving: what this one has done stays in its journal, which the next run folds in.
        let remembered = match self.has_its_lock().await {
            Ok(()) => remember(&self, change).await,
            lost => lost,
        };
        if let Err(e) = remembered {
            self.end(e);
        }
        self.report.kept_elsewhere = self.ends.mount.kept_elsewhere();
        if let Some(kept) = &self.report.kept_elsewhere {
            self.ends.tell(Event::Warning(kept.to_string()));
        }
        let mut report = self.report;
        report.settle_counts(self.plan, &|path| self.done.get(path).map(|done| done.verb));
        let failed = |path: &RelPath| report.failures.iter().any(|failure| failure.path == *path);
        let left = self.plan.dir_modes.iter().filter(|dir| !dir.is_new && !self.dir_modes.contains_key(&dir.path) && !failed(&dir.path));
        report.counts.pending += left.count() as u64;
        let (mount, still) = (self.ends.mount.clone(), &mut report);
        if let Err(e) = blocking(move || mount.still_there()).await? {
            still.ended_by.get_or_insert(e.into());
        }
        report.complete = settled.and_then(|proofs| settle::complete(&report, proofs));
        if !self.plan.is_empty() {
            log::transfer(self.ends, self.ask, lock.owner(), &report).await;
        }
        drop(lock);
        Ok(report)
    }

    /// True when a manifest has to follow.
    pub(super) fn changed_bucket(&self) -> bool {
        let changed = !self.done.is_empty() || self.plan.dir_modes.iter().any(|dir| !dir.is_new && self.dir_modes.contains_key(&dir.path));
        self.plan.direction == Direction::Upload && changed
    }

    /// Notes what ended the run; the first reason stays. Nothing new starts, and what is in flight ends.
    pub(super) fn end(&mut self, error: Error) {
        self.report.ended_by.get_or_insert(error);
        self.ends.stop.ask();
    }

    /// True when no new work may start.
    pub(super) fn is_ending(&self) -> bool {
        self.report.ended_by.is_some() || self.ends.stop.asked()
    }

    /// Notes a finished item, in the journal first.
    pub(super) fn item_done(&mut self, path: &RelPath, done: Done) {
        let seen = match (&done.entry, done.stamp) {
            (Some(entry), Some(stamp)) if self.stamp_tells(&done) => entry.file().map(|f| (stamp, f.digests.clone())),
            _ => None,
        };
        if !self.only_a_manifest_tells(&done) {
            self.note(&Journalled { path: path.clone(), base: self.agreed(path, &done), seen });
        }
        let bytes = done.entry.as_ref().map_or(0, |entry| entry.bytes());
        self.unanswered = 0;
        self.refusals.done(done.verb);
        // Sent again by a further pass, it still is one item.
        if self.done.get(path).is_none_or(|before| before.verb != done.verb) {
            let counts = &mut self.report.counts;
            *match done.verb {
                Verb::Upload => &mut counts.uploaded,
                Verb::Download => &mut counts.downloaded,
                Verb::Update => &mut counts.updated,
                Verb::Delete => &mut counts.deleted,
            } += 1;
        }
        if matches!(done.verb, Verb::Upload | Verb::Download) {
            self.report.bytes += bytes;
        }
        self.ends.tell(Event::Finished { path: path.clone(), verb: done.verb, bytes, outcome: Ended::Done });
        self.done.insert(path.clone(), done);
    }

    /// True where the stamp of what was done tells every later change, so that the checksum may be remembered under it.
    pub(super) fn stamp_tells(&self, done: &Done) -> bool {
        let is_racy = |stamp| done.verb == Verb::Upload && self.clocks.sending.is_racy(stamp);
        done.witness.holds() && done.stamp.as_ref().is_some_and(|stamp| !is_racy(stamp))
    }

    /// Notes a directory that has other permission bits now.
    pub(super) fn dir_done(&mut self, dir: &DirMode) {
        if !dir.is_new {
            self.report.counts.updated += 1;
            self.ends.tell(Event::Finished { path: dir.path.clone(), verb: Verb::Update, bytes: 0, outcome: Ended::Done });
        }
        self.dir_modes.insert(dir.path.clone(), dir.mode);
    }

    fn note(&mut self, journalled: &Journalled) {
        if let Some(journal) = &self.journal
            && let Err(e) = journal.note(journalled)
        {
            self.end(e.into());
        }
    }

    /// True for what an upload does in the manifest alone (links, empty directories, permission bits, and that something is gone): the
    /// bucket knows of it once that is published, and until then a run that dies must leave it to be done again.
    pub(super) fn only_a_manifest_tells(&self, done: &Done) -> bool {
        let is_content = done.verb == Verb::Upload && done.entry.as_ref().is_some_and(|entry| entry.file().is_some());
        self.plan.direction == Direction::Upload && !is_content
    }

    /// What both sides agree on once an item is done. Permission bits that only the destination had changed, and that it keeps, are not.
    pub(super) fn agreed(&self, path: &RelPath, done: &Done) -> Option<Arc<Entry>> {
        let mut entry = done.entry.clone()?;
        let known = || find(&self.sight.state.entries, path.as_str());
        let mode = match done.verb {
            Verb::Upload => self.sight.local(path.as_str()).and_then(|l| l.entry.mode).or(entry.mode),
            Verb::Download => {
                let told = self.sight.bucket(path.as_str()).and_then(|r| r.entry.mode);
                let before = known().and_then(|known| known.base.as_ref()?.mode);
                mode_agreed(&entry.kind, entry.mode, told, before, self.sight.umask)
            }
            // The content is what both sides had before, with all that is known of it on either.
            Verb::Update => {
                Arc::make_mut(&mut entry).kind = agreed_base(self.sight, path, known())?.kind;
                entry.mode
            }
            Verb::Delete => entry.mode,
        };
        if entry.mode != mode {
            Arc::make_mut(&mut entry).mode = mode;
        }
        Some(entry)
    }
}
