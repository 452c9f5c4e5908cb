//! The directories in which names came or went, until they are durable. What is written down about the tree (journal, base) waits for
//! them: after a power loss it must not tell of a file whose name was lost, because that would look like a removal.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::beneath::{Dir, in_the_way};
use super::mount::LocalError;

/// How many directories are made durable at once.
const SYNCS: usize = 8;

/// Directories of one mount, relative to its root, that changed since they were last made durable.
#[derive(Debug)]
pub(super) struct Touched {
    top: Dir,
    waiting: Mutex<Waiting>,
    /// Held while directories are made durable: who finds none waiting must not run ahead of those under way.
    settling: Mutex<Option<Failed>>,
}

#[derive(Debug, Default)]
struct Waiting {
    dirs: BTreeSet<String>,
    /// A run that died left changes of which nobody knows whether they are durable.
    everything: bool,
}

/// A failed sync. The system tells it once and forgets the pages, so that a second try proves nothing: it fails for good.
#[derive(Debug)]
struct Failed {
    dir: String,
    errno: Option<i32>,
    why: String,
}

impl Touched {
    pub(super) fn new(top: Dir) -> Touched {
        Touched { top, waiting: Mutex::default(), settling: Mutex::default() }
    }

    /// Names came or went in this directory.
    pub(super) fn add(&self, dir: &str) {
        locked(&self.waiting).dirs.insert(dir.to_owned());
    }

    /// Names came or went in directories that are not known.
    pub(super) fn add_everything(&self) {
        locked(&self.waiting).everything = true;
    }

    /// Makes durable what was added before the call.
    pub(super) fn settle(&self) -> Result<(), LocalError> {
        let mut failed = locked(&self.settling);
        if let Some(failed) = &*failed {
            return Err(failed.told());
        }
        let Waiting { dirs, everything } = std::mem::take(&mut *locked(&self.waiting));
        let settled = if everything { self.sync_all() } else { self.sync(&dirs.into_iter().collect::<Vec<_>>()) };
        settled.map_err(|(dir, e)| {
            let failed = failed.insert(Failed { dir, errno: e.raw_os_error(), why: e.to_string() });
            failed.told()
        })
    }

    fn sync_all(&self) -> Result<(), (String, io::Error)> {
        rustix::fs::syncfs(&self.top).map_err(|e| (String::new(), e.into()))
    }

    fn sync(&self, dirs: &[String]) -> Result<(), (String, io::Error)> {
        let some = |dirs: &[String]| dirs.iter().try_for_each(|dir| self.sync_one(dir).map_err(|e| (dir.clone(), e)));
        if dirs.len() < SYNCS {
            return some(dirs);
        }
        thread::scope(|scope| {
            let threads: Vec<_> = dirs.chunks(dirs.len().div_ceil(SYNCS)).map(|dirs| scope.spawn(move || some(dirs))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does nothing that panics"))
        })
    }

    fn sync_one(&self, dir: &str) -> io::Result<()> {
        match self.top.dir(dir).and_then(|opened| opened.sync()) {
            // Removed later in this run, or moved away by somebody: then there is nothing here to make durable.
            Err(e) if e.kind() != io::ErrorKind::NotFound && !in_the_way(&e) => Err(e),
            _ => Ok(()),
        }
    }
}

impl Failed {
    fn told(&self) -> LocalError {
        let source = self.errno.map_or_else(|| io::Error::other(self.why.clone()), io::Error::from_raw_os_error);
        let dir = if self.dir.is_empty() { "the mount" } else { &self.dir };
        LocalError::at("cannot make durable", dir)(source)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these can panic half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
