//! Changes the tree: temporaries that are renamed into place, and the trash that takes what is replaced or removed. At no moment is a
//! path missing or half written, and nothing is ever written outside the mount.

use super::mount::{LocalError, Looked, Mount, Stamp};
use crate::entry::Nanos;
use crate::path::RelPath;

/// How much the trash may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrashLimits {
    /// Operations older than this many seconds go.
    pub age_seconds: u64,
    /// Oldest operations go first while the trash holds more than this share of the file system (0.1 is 10 %).
    pub share: f64,
}

/// Where one run puts its temporaries and what it replaces: `.lsync/tmp/<op>/` and `.lsync/trash/<op>/`, each with an owner record.
#[derive(Debug)]
pub struct Workplace {}

/// Why a change was not made; the destination is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The destination is not what the plan saw.
    #[error("it changed after the plan was made")]
    Stale,
    /// Something on the way is a link or no directory, or another kind stands there.
    #[error("{0}")]
    Clash(String),
    /// No room (ENOSPC, EDQUOT).
    #[error("not enough space on the mount")]
    NoSpace(#[source] LocalError),
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
}

/// A file being written, in the temporaries of the run; removed when dropped unfinished.
#[derive(Debug)]
pub struct Temp {}

/// What stood at a destination when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A file with this stamp.
    File(Stamp),
    /// A link with this target.
    Link(Box<str>),
    /// An empty directory.
    EmptyDir,
    /// A directory whose whole content the plan replaces; every path below was checked by the caller.
    Tree,
}

impl Workplace {
    /// Creates the directories; removes what dead runs left in `.lsync/tmp/` (dead on this host, or silent for 24 h).
    pub fn create(mount: &Mount, operation: &str) -> Result<Workplace, LocalError> {
        let _ = (mount, operation);
        todo!()
    }

    /// A new temporary of `size` bytes (sparse).
    pub fn temp(&self, size: u64) -> Result<Temp, PlaceError> {
        let _ = size;
        todo!()
    }

    /// Puts a finished temporary in place of what `seen` says, which goes to the trash (hard-linked there before the rename), creating
    /// parent directories. Returns the stamp of the new file.
    pub fn place(&self, mount: &Mount, temp: Temp, path: &RelPath, seen: &Seen) -> Result<Stamp, PlaceError> {
        let _ = (mount, temp, path, seen);
        todo!()
    }

    /// Makes a link, in the same way.
    pub fn place_link(&self, mount: &Mount, target: &str, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        let _ = (mount, target, path, seen);
        todo!()
    }

    /// Makes an empty directory, in the same way. `mode`: permission bits, else the default.
    pub fn place_dir(&self, mount: &Mount, mode: Option<u32>, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        let _ = (mount, mode, path, seen);
        todo!()
    }

    /// Moves what lies at a path to the trash (for deletions). A directory only when it is empty.
    pub fn remove(&self, mount: &Mount, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        let _ = (mount, path, seen);
        todo!()
    }

    /// Removes the directories above `path` that are empty now, up to the one for which `keep` is true or the root.
    pub fn remove_empty_parents(&self, mount: &Mount, path: &RelPath, keep: &dyn Fn(&str) -> bool) -> Result<(), LocalError> {
        let _ = (mount, path, keep);
        todo!()
    }

    /// Sets permission bits (`& 0o777`) of a file or directory, checked against `seen`.
    pub fn set_mode(&self, mount: &Mount, path: &RelPath, seen: &Seen, mode: u32) -> Result<Looked, PlaceError> {
        let _ = (mount, path, seen, mode);
        todo!()
    }

    /// Makes everything that was placed durable (directories), removes the run's temporaries, and applies the trash's limits to older
    /// operations.
    pub fn close(self, mount: &Mount, limits: TrashLimits) -> Result<(), LocalError> {
        let _ = (mount, limits);
        todo!()
    }
}

impl Temp {
    /// Writes at an offset; several threads may write to different ranges.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), PlaceError> {
        let _ = (offset, bytes);
        todo!()
    }

    /// Reads back a range, for digests that need a pass of their own.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PlaceError> {
        let _ = (offset, buffer);
        todo!()
    }

    /// fsync, then mtime and permission bits (`None`: what the umask gives a new file). An error here is an error.
    pub fn finish(&self, mtime: Option<Nanos>, mode: Option<u32>) -> Result<(), PlaceError> {
        let _ = (mtime, mode);
        todo!()
    }
}
