//! Where one run puts its temporaries and its trash: made when it begins, made durable and cleared away when it ends. Changes nothing in
//! the tree itself.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use super::beneath::Dir;
use super::folding;
use super::internal::{self, Probe};
use super::mount::{LocalError, Mount};
use super::owner::{Life, Owner};
use super::place::{PlaceError, TrashLimits};
use super::temp::{Temp, Temps};
use super::ticker::Ticker;
use super::trash::{self, Trash, remove_tree};
use super::twins::Twins;
use crate::entry::Nanos;
use crate::path::RESERVED;

const TMP: &str = "tmp";
const HEARTBEAT: Duration = Duration::from_secs(600);
/// Temporaries of another host are left alone until their owner was silent for this long, by the mount's clock: 24 hours.
const SILENT: Nanos = 24 * 3600 * 1_000_000_000;

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
        self.trash.close(mount)?;
        mount.touched().settle()?;
        trash::limit(mount, &self.operation, limits)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays is removed by a later run.
        let _ = remove_tree(&self.all, &self.operation);
    }
}

/// Removes what dead runs left in `.lsync/tmp/`, and files that they asked the mount's nature with. The caller holds the lock.
pub fn clear_up(mount: &Mount) -> Result<(), LocalError> {
    if let Some(own) = mount.open_internal("")? {
        folding::clear_up(&own).map_err(LocalError::at("cannot clean up", RESERVED))?;
    }
    let Some(all) = mount.open_internal(TMP)? else { return Ok(()) };
    remove_left_behind(mount, &all, "").map_err(LocalError::at("cannot clean up", ".lsync/tmp"))
}

/// Removes what dead runs left behind. What cannot be removed stays.
fn remove_left_behind(mount: &Mount, all: &Dir, operation: &str) -> io::Result<()> {
    for name in all.names()? {
        let Some(name) = name.to_str().filter(|name| *name != operation) else { continue };
        let Ok(dir) = all.dir(name) else { continue };
        let life = match internal::read(&dir, "owner") {
            // It died while it made the directory: whoever lives has written its record before it let go of the lock.
            Ok(None) => Life::Dead,
            Ok(Some(bytes)) => Owner::decode(&bytes).map_or(Life::Elsewhere, |owner| owner.life()),
            Err(_) => Life::Elsewhere,
        };
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
