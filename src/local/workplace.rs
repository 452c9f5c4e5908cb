//! Where one run puts its temporaries and its trash: made when it begins, made durable and cleared away when it ends. Changes nothing in
//! the tree itself.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::beneath::{Dir, in_the_way};
use super::internal::{self, Probe};
use super::mount::{LocalError, Mount};
use super::owner::{Life, Owner};
use super::place::{PlaceError, TrashLimits};
use super::temp::{Temp, Temps};
use super::ticker::Ticker;
use super::trash::{self, Trash, remove_tree};
use super::twins::Twins;
use crate::entry::Nanos;
use crate::path::{RESERVED, RelPath};

const TMP: &str = "tmp";
const HEARTBEAT: Duration = Duration::from_secs(600);
/// Temporaries of another host are left alone until their owner was silent for this long, by the mount's clock: 24 hours.
const SILENT: Nanos = 24 * 3600 * 1_000_000_000;
/// How many directories are made durable at once.
const SYNCS: usize = 8;

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
    /// Directories of the tree in which names came or went, relative to the mount.
    touched: Mutex<BTreeSet<String>>,
    _heartbeat: Ticker,
}

impl Workplace {
    /// Creates the directories; removes what dead runs left in `.lsync/tmp/` (dead on this host, or silent for 24 h).
    pub fn create(mount: &Mount, operation: &str) -> Result<Workplace, LocalError> {
        let all = mount.make_internal(TMP)?;
        let shown = format!("{RESERVED}/{TMP}/{operation}");
        let failed = || LocalError::at("cannot create", &shown);
        remove_left_behind(mount, &all, operation).map_err(LocalError::at("cannot clean up", ".lsync/tmp"))?;
        let own = mount.make_internal(&format!("{TMP}/{operation}"))?;
        internal::replace(&own, "owner", &Owner::this(operation).encode()).map_err(failed())?;
        let record = internal::open_to_write(&own, "owner").map_err(failed())?;
        let beat = move || internal::refresh(&record).unwrap_or(());
        Ok(Workplace {
            operation: operation.to_owned(),
            all,
            temps: Temps::new(own, shown.clone()),
            trash: Trash::new(operation),
            twins: Mutex::default(),
            touched: Mutex::default(),
            _heartbeat: Ticker::start("lsync-workplace", HEARTBEAT, beat).map_err(failed())?,
        })
    }

    /// A new temporary for `size` bytes (sparse). How long it becomes is for the writer to count.
    pub fn temp(&self, size: u64) -> Result<Temp, PlaceError> {
        self.temps.create(size)
    }

    /// Makes everything that was placed durable (directories), removes the run's temporaries, and applies the trash's limits to older
    /// operations. An error means that something may not be durable; what could not be removed is left for the next run.
    pub fn close(self, mount: &Mount, limits: TrashLimits) -> Result<(), LocalError> {
        let dirs: Vec<String> = self.touched().iter().cloned().chain(self.trash.touched()).collect();
        thread::scope(|scope| {
            let sync = |dirs: &[String]| dirs.iter().try_for_each(|dir| sync_dir(mount, dir));
            let threads: Vec<_> = dirs.chunks(dirs.len().div_ceil(SYNCS).max(1)).map(|dirs| scope.spawn(move || sync(dirs))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does nothing that panics"))
        })?;
        self.trash.close(mount)?;
        trash::limit(mount, &self.operation, limits)
    }

    pub(super) fn touched(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, path: &RelPath) {
        self.touched().insert(path.parent().unwrap_or_default().to_owned());
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays is removed by a later run.
        let _ = remove_tree(&self.all, &self.operation);
    }
}

fn sync_dir(mount: &Mount, path: &str) -> Result<(), LocalError> {
    match mount.top().dir(path).and_then(|dir| dir.sync()) {
        // Removed later in this run, or moved away by somebody: then there is nothing here to make durable.
        Err(e) if e.kind() != io::ErrorKind::NotFound && !in_the_way(&e) => Err(LocalError::at("cannot make durable", path)(e)),
        _ => Ok(()),
    }
}

/// Removes what dead runs left behind. What cannot be removed stays.
fn remove_left_behind(mount: &Mount, all: &Dir, operation: &str) -> io::Result<()> {
    for name in all.names()? {
        let Some(name) = name.to_str().filter(|name| *name != operation) else { continue };
        let Ok(dir) = all.dir(name) else { continue };
        let life =
            internal::read(&dir, "owner").ok().flatten().and_then(|bytes| Owner::decode(&bytes)).map_or(Life::Elsewhere, |o| o.life());
        let dead = match life {
            Life::Dead => true,
            Life::Own | Life::Alive => false,
            Life::Elsewhere => {
                let last = dir.status("owner")?.map_or(dir.own_status()?, |record| record).stamp.mtime;
                let now = Probe::open(&mount.top().dir(RESERVED)?)?.now()?;
                now.saturating_sub(last) > SILENT
            }
        };
        if dead {
            let _ = remove_tree(all, name);
        }
    }
    Ok(())
}
