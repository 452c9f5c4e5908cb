//! The lock: one run at a time per mount. An `O_EXCL` file with an owner record in `.lsync/`.

use super::mount::{LocalError, Mount};

pub use super::owner::{Owner, clock_text, host_name, now};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it: exit 11.
    #[error("another run holds the lock: process {} on {} since {}", .0.pid, .0.host, crate::local::lock::clock_text(.0.since))]
    Held(Owner),
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
}

/// The lock, held until dropped (dropping removes the file).
#[derive(Debug)]
pub struct Lock {}

impl Lock {
    /// Takes the lock for a run. A holder that is dead on this host is replaced at once; one of another host after 5 minutes without a
    /// heartbeat. While held, a thread refreshes the heartbeat (the file's mtime) every minute.
    pub fn take(mount: &Mount, operation: &str) -> Result<Lock, LockError> {
        let _ = (mount, operation);
        todo!()
    }

    /// The owner record of this run.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        todo!()
    }
}
