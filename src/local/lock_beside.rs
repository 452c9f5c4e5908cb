//! The lock of a run that keeps its state in the other place: who writes to `.lsync/` while this one cannot, or the other way round. Reads
//! only.

use std::io;

use rustix::fs::{FlockOperation, flock};

use super::beneath::Dir;
use super::elsewhere::Place;
use super::internal;
use super::lock::{Claim, Holder, SILENT, may_take};
use super::mount::{LocalError, Mount};
use super::owner::{Owner, now};

/// Who else than the run `operation` holds the lock `name` in the place that this run does not write to.
pub(super) fn holder(mount: &Mount, name: &str, operation: &str, claim: Claim) -> Result<Option<Holder>, LocalError> {
    let other = if mount.place() == Place::Here { mount.open_elsewhere("")? } else { mount.open_home("")? };
    let Some(dir) = other else { return Ok(None) };
    let look = || -> io::Result<Option<Holder>> {
        let (Some(bytes), Some(status)) = (internal::read(&dir, name)?, dir.status(name)?) else { return Ok(None) };
        // By this host's clock: nothing can be written to learn the file system's.
        let age = now().saturating_sub(status.stamp.mtime);
        // A record that cannot be read was torn when the disk became full.
        let Some(owner) = Owner::decode(&bytes).filter(|owner| owner.operation != operation) else { return Ok(None) };
        let may_take = |claim| may_take(owner.life(), age > SILENT, owner.is_surely_dead(age), claim);
        if !may_take(claim) {
            return Ok(Some(Holder::new(owner, age)));
        }
        if !may_take(Claim::Free) {
            // Where its file can be removed, it learns of it.
            let _ = dir.remove_file(name);
        }
        Ok(None)
    };
    look().map_err(LocalError::at("cannot look at the lock in", &mount.root().to_string_lossy()))
}

/// Keeps off other runs of this host that keep their state elsewhere too, in another place; `None` where the file system has no such
/// locks.
pub(super) fn alone(mount: &Mount) -> io::Result<Option<Dir>> {
    let dir = mount.top().dir("")?;
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Ok(None),
    }
}
