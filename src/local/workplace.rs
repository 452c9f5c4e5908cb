//! Where one run puts its temporaries and its trash: made when it begins, made durable and cleared away when it ends. Changes nothing in
//! the tree itself.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::beneath::{Dir, PRIVATE};
use super::internal;
use super::left::{self, LeftPart, OWNER, TMP};
use super::mount::{LocalError, Mount};
use super::owner::Owner;
use super::part::PartsOf;
use super::place::{PlaceError, TrashLimits};
use super::temp::{Temp, Temps};
use super::ticker::Ticker;
use super::trash::{self, Trash};
use super::twins::Twins;
use crate::path::RESERVED;

const HEARTBEAT: Duration = Duration::from_secs(600);

/// Where one run puts its temporaries and what it replaces: `.lsync/tmp/<op>/` and `.lsync/trash/<op>/`, each with an owner record.
/// Dropped without [`Workplace::close`] it removes its temporaries all the same.
#[derive(Debug)]
pub struct Workplace {
    operation: String,
    /// `.lsync/tmp/`.
    all: Dir,
    pub(super) temps: Temps,
    pub(super) trash: Trash,
    pub(super) twins: Mutex<Twins>,
    /// Directories that nobody else may enter while they are filled.
    private: HashSet<String>,
    /// Part files of earlier runs.
    left: Mutex<Vec<LeftPart>>,
    _heartbeat: Ticker,
}

impl Workplace {
    /// Creates the directories, and finds the part files that earlier runs left.
    pub fn create(mount: &Mount, operation: &str) -> Result<Workplace, LocalError> {
        let all = mount.make_internal(TMP)?;
        let shown = format!("{RESERVED}/{TMP}/{operation}");
        let failed = || LocalError::at("cannot create", &shown);
        let left = left::parts(mount, operation)?;
        let own = mount.make_internal(&format!("{TMP}/{operation}"))?;
        internal::replace(&own, OWNER, &Owner::this(operation).encode()).map_err(failed())?;
        let record = internal::open_to_write(&own, OWNER).map_err(failed())?;
        let beat = move || internal::refresh(&record).unwrap_or(());
        Ok(Workplace {
            operation: operation.to_owned(),
            all,
            temps: Temps::new(own, shown.clone()),
            trash: Trash::new(operation),
            twins: Mutex::default(),
            private: HashSet::new(),
            left: Mutex::new(left),
            _heartbeat: Ticker::start("lsync-workplace", HEARTBEAT, beat).map_err(failed())?,
        })
    }

    /// Creates these directories so that nobody else may enter them: they get their permission bits when they are full.
    #[must_use]
    pub fn with_private(mut self, private: HashSet<String>) -> Workplace {
        self.private = private;
        self
    }

    /// The permission bits that a directory is created with, before the umask.
    pub(super) fn mode_of_new_dir(&self, path: &str) -> u32 {
        if self.private.contains(path) { PRIVATE } else { 0o777 }
    }

    /// A new temporary for `size` bytes (sparse). How long it becomes is for the writer to count.
    pub fn temp(&self, size: u64) -> Result<Temp, PlaceError> {
        self.temps.create(size)
    }

    /// A temporary for an object that comes in parts: with those that an earlier run has written, and a record for a later one.
    pub fn temp_in_parts(&self, of: &PartsOf) -> Result<Temp, PlaceError> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut ours, others) = std::mem::take(&mut *left).into_iter().partition(|part| part.file.of.is_of_the_same_path(of));
        *left = others;
        drop(left);
        ours.sort_by_key(|part: &LeftPart| (part.file.of == *of, part.file.finished.len(), part.is_free));
        let mut best = ours.pop_if(|part| part.file.of == *of);
        if let Some(all) = best.as_mut().map(|best| &mut best.file.finished).filter(|finished| finished.len() as u64 == of.count()) {
            // One is asked for again: the answer says that the object still is what it was.
            all.pop_last();
        }
        let temp = self.temps.create_in_parts(of, best)?;
        // Of an older version, or with less in it.
        ours.iter().filter(|part| part.is_free).for_each(LeftPart::remove);
        Ok(temp)
    }

    /// Makes everything that was placed durable (directories), removes the run's temporaries, and applies the trash's limits to older
    /// operations. An error means that something may not be durable; what could not be removed is left for the next run.
    pub fn close(self, mount: &Mount, limits: TrashLimits) -> Result<(), LocalError> {
        self.trash.close(mount)?;
        mount.touched().settle()?;
        // Directories whose part files this run has taken over.
        left::clear(mount, &self.operation)?;
        trash::limit(mount, &self.operation, limits)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What else stays is removed by a later run.
        let _ = left::sweep(&self.all, &self.operation, &|_| true);
    }
}
