//! Walks the mount and tells what lies there. Reads no file content, follows no link, never leaves the device.

use std::collections::BTreeMap;

use super::mount::{LocalError, Mount};
use crate::filter::{BadPattern, Filter, Patterns};
use crate::path::RelPath;
use crate::problem::{Problem, Skipped};

pub use crate::entry::Local;

/// What a walk found.
pub struct Scan {
    /// Everything in scope, sorted by path. A directory is there only when it holds nothing at all, ignored things included.
    pub entries: Vec<(RelPath, Local)>,
    /// What could not be read or represented.
    pub problems: Vec<Problem>,
    /// Sockets, FIFOs, devices.
    pub skipped: Vec<Skipped>,
    /// What the patterns left out.
    pub ignored: Ignored,
    /// The rules as they hold for this run, with the mount's `.syncignore` files.
    pub filter: Filter,
    /// All directories that were read to their end, so that a missing name means that it is not there.
    pub read_dirs: usize,
}

/// What was left out, in the walk's own measure: an ignored directory is counted with everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that hold keys, by name.
    pub keys: Vec<RelPath>,
    /// The topmost ignored paths (a directory ends in `/`), at most 100, with the bytes below.
    pub samples: BTreeMap<String, u64>,
}

/// Why a walk could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root, or the reading of a `.syncignore` file.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A pattern that is not valid.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What to walk.
pub struct Walk<'a> {
    /// Patterns from configuration and flags.
    pub patterns: &'a Patterns,
    /// Only these paths and what lies below; empty: the whole mount. `.syncignore` files above them still count.
    pub scope: &'a [RelPath],
    /// Called with (entries, bytes) so far, every few hundred entries.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Asked now and then; true stops the walk.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Walks the mount. Blocking: call it off the I/O runtime.
pub fn scan(mount: &Mount, walk: &Walk<'_>) -> Result<Scan, ScanError> {
    let _ = (mount, walk);
    todo!()
}
