//! Opens files for reading and tells their digests, watching that they do not change under the hand.

use super::mount::{LocalError, Mount, Stamp};
use crate::digest::Digests;
use crate::path::RelPath;

pub use crate::diff::Want;

/// Why a file's content could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not what it was when it was first looked at.
    #[error("it changed while it was read")]
    Changed,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A regular file, open for reading; never a link, never a FIFO.
#[derive(Debug)]
pub struct Source {}

impl Source {
    /// Opens a file and checks that it carries `expected`.
    pub fn open(mount: &Mount, path: &RelPath, expected: &Stamp) -> Result<Source, ReadError> {
        let _ = (mount, path, expected);
        todo!()
    }

    /// Reads exactly `len` bytes at `offset` into `buffer` (cleared first); fewer bytes there mean [`ReadError::Changed`].
    pub fn read(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        let _ = (offset, len, buffer);
        todo!()
    }

    /// Checks, on the open descriptor, that the file still carries the stamp it was opened with.
    pub fn unchanged(&self) -> Result<(), ReadError> {
        todo!()
    }
}

/// Reads a file once and computes all digests that are wanted. `progress` takes the bytes of each piece; `stop` is asked between
/// pieces. With several part sizes the first one's digests are in [`Digests::parts`] and all of them are returned beside.
pub fn hash_file(mount: &Mount, path: &RelPath, expected: &Stamp, want: &Want, watch: &Watch<'_>) -> Result<Vec<Digests>, ReadError> {
    let _ = (mount, path, expected, want, watch);
    todo!()
}

/// Who is told of progress and asked whether to go on.
pub struct Watch<'a> {
    /// Takes the bytes of each piece that was read.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// True stops the work.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}
