//! The lock: one run at a time per mount. An `O_EXCL` file with an owner record in `.lsync/`.

use super::mount::{LocalError, Mount};

/// Who holds or held a lock or a directory of temporaries.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// Boot id of the host (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When it began, nanoseconds since 1970.
    pub since: i64,
    /// Random id of the run.
    pub operation: String,
}

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

/// Nanoseconds since 1970 as `2026-11-20 09:30:00 UTC`.
#[must_use]
pub fn clock_text(nanos: i64) -> String {
    let _ = nanos;
    todo!()
}

/// Nanoseconds since 1970 by this host's clock; for records and messages only.
#[must_use]
pub fn now() -> i64 {
    todo!()
}

/// This host's name.
#[must_use]
pub fn host_name() -> String {
    todo!()
}
