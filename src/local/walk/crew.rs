//! Several threads for one walk, where the file system lets one wait: each reads directories of its own. On a file system that answers at
//! once there is one. What is found is put in order at the end, so that nobody can tell who found it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, Builder, Scope};
use std::time::{Duration, Instant};

use super::super::lines::locked;
use super::super::mount::Mount;
use super::super::scan::{Ignored, Local, Scan, ScanError, Walk};
use super::Walker;
use super::aside::keep_largest;
use crate::filter::Filter;
use crate::path::RelPath;
use crate::problem::{Problem, Skipped};

/// Most threads beside the first.
const HELPERS: usize = 7;
/// What reading a directory costs beside its names, in names.
const DIRECTORY: u32 = 4;

/// What one thread has found, in no order.
#[derive(Default)]
pub(in super::super) struct Found {
    pub(super) entries: Vec<(RelPath, Local)>,
    pub(super) problems: Vec<Problem>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) hollow: Vec<RelPath>,
    pub(super) dirs: Vec<(RelPath, u32)>,
    pub(super) ignored: Ignored,
    pub(super) read_dirs: usize,
}

/// What the threads of a walk share.
pub(in super::super) struct Crew<'a, 'w> {
    pub(super) mount: &'a Mount,
    pub(super) walk: &'a Walk<'w>,
    /// Grows with the `.syncignore` file of a directory before anything below it is looked at.
    filter: RwLock<Filter>,
    queue: Mutex<Queue>,
    changed: Condvar,
    entries: AtomicU64,
    bytes: AtomicU64,
    /// How long a name may take before more threads are called.
    slow: Duration,
}

#[derive(Default)]
struct Queue {
    /// Directories in scope that were not read yet, with their permission bits.
    waiting: Vec<(RelPath, u32)>,
    /// Threads that are reading one.
    busy: usize,
    /// Somebody has met what ends the walk.
    over: bool,
}

impl<'a, 'w> Crew<'a, 'w> {
    pub(in super::super) fn new(mount: &'a Mount, walk: &'a Walk<'w>, slow: Duration) -> Result<Crew<'a, 'w>, ScanError> {
        let filter = walk.rules.map_or_else(|| Filter::new(walk.patterns), |rules| Ok(rules.clone()))?;
        let (entries, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Crew { mount, walk, filter: RwLock::new(filter), queue: Mutex::default(), changed: Condvar::new(), entries, bytes, slow })
    }

    /// Reads all directories that wait, and those below them.
    pub(super) fn walk_all(&self, first: &mut Walker<'_, 'w>) -> Result<(), ScanError> {
        locked(&self.queue).waiting.append(&mut first.waiting);
        thread::scope(|scope| {
            let mut helpers = Vec::new();
            let mut ended = self.work(first, &mut || {
                if helpers.len() < HELPERS && !locked(&self.queue).waiting.is_empty() {
                    helpers.extend(self.helper(scope));
                }
            });
            for helper in helpers {
                let (found, helped) = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                first.found.add(found);
                ended = ended.and(helped);
            }
            ended
        })
    }

    /// One more thread, where the system has one.
    fn helper<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Option<thread::ScopedJoinHandle<'s, (Found, Result<(), ScanError>)>> {
        let work = move || {
            let mut walker = Walker::new(self);
            let ended = self.work(&mut walker, &mut || {});
            (walker.found, ended)
        };
        Builder::new().name("lsync-walk".into()).spawn_scoped(scope, work).ok()
    }

    /// Reads directories until none is left. `slow` is called after one that took long.
    fn work(&self, walker: &mut Walker<'_, 'w>, slow: &mut dyn FnMut()) -> Result<(), ScanError> {
        while let Some((path, mode)) = self.next() {
            let busy = Busy(self);
            let (began, met) = (Instant::now(), walker.met);
            let read = walker.directory(path, mode);
            {
                let mut queue = locked(&self.queue);
                queue.over |= read.is_err();
                queue.waiting.append(&mut walker.waiting);
            }
            drop(busy);
            read?;
            let names = u32::try_from(walker.met - met).unwrap_or(u32::MAX).saturating_add(DIRECTORY);
            if began.elapsed() / names >= self.slow {
                slow();
            }
        }
        walker.tell();
        Ok(())
    }

    /// The next directory, which is then being read; waits while others may still find one.
    fn next(&self) -> Option<(RelPath, u32)> {
        let mut queue = locked(&self.queue);
        loop {
            if queue.over {
                return None;
            }
            if let Some(next) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(next);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn filter(&self) -> RwLockReadGuard<'_, Filter> {
        self.filter.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn filter_mut(&self) -> RwLockWriteGuard<'_, Filter> {
        self.filter.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports so many entries and bytes more.
    pub(super) fn tell(&self, entries: u64, bytes: u64) {
        let entries = entries + self.entries.fetch_add(entries, Ordering::Relaxed);
        (self.walk.progress)(entries, bytes + self.bytes.fetch_add(bytes, Ordering::Relaxed));
    }

    pub(in super::super) fn finish(self, found: Found) -> Scan {
        let Found { mut entries, mut problems, mut skipped, mut hollow, mut dirs, mut ignored, read_dirs } = found;
        entries.shrink_to_fit();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        ignored.keys.sort_unstable();
        hollow.sort_unstable();
        dirs.sort_unstable();
        problems.sort_by(|a, b| (&a.name, &a.why).cmp(&(&b.name, &b.why)));
        // Two paths of a scope may lie below the same unusable directory.
        problems.dedup();
        let filter = self.filter.into_inner().unwrap_or_else(PoisonError::into_inner);
        Scan { entries, problems, skipped, hollow, dirs, ignored, filter, read_dirs }
    }
}

/// A thread that is reading a directory, to its end or to a panic.
struct Busy<'c, 'a, 'w>(&'c Crew<'a, 'w>);

impl Drop for Busy<'_, '_, '_> {
    fn drop(&mut self) {
        locked(&self.0.queue).busy -= 1;
        self.0.changed.notify_all();
    }
}

impl Found {
    fn add(&mut self, mut other: Found) {
        self.entries.append(&mut other.entries);
        self.problems.append(&mut other.problems);
        self.skipped.append(&mut other.skipped);
        self.hollow.append(&mut other.hollow);
        self.dirs.append(&mut other.dirs);
        self.read_dirs += other.read_dirs;
        let (ours, theirs) = (&mut self.ignored, other.ignored);
        ours.files += theirs.files;
        ours.bytes += theirs.bytes;
        ours.keys.extend(theirs.keys);
        theirs.samples.into_iter().for_each(|(name, bytes)| keep_largest(&mut ours.samples, name, bytes));
    }
}
