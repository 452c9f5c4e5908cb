//! A file being written among the temporaries of a run, complete with its times and permission bits before it gets its name. Does not
//! give it that name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fchmod, futimens};

use super::beneath::Dir;
use super::internal::PRIVATE_FILE;
use super::mount::{LocalError, Stamp};
use super::place::PlaceError;
use super::umask::umask;
use crate::entry::Nanos;

/// Files from this size on get their length at once, so that ranges may be written in any order.
const SPARSE_FROM: u64 = 1 << 20;

/// The directory of one run's temporaries.
#[derive(Debug)]
pub(super) struct Temps {
    /// `.lsync/tmp/<operation>`, as it is shown.
    pub(super) shown: String,
    /// The same, open.
    pub(super) dir: Arc<Dir>,
    next: AtomicU64,
    /// What the umask leaves of 0666.
    default_mode: u32,
}

/// A file being written, in the temporaries of the run; removed when dropped unfinished or not placed.
#[derive(Debug)]
pub struct Temp {
    file: File,
    dir: Arc<Dir>,
    name: String,
    shown: String,
    default_mode: u32,
    finished: AtomicBool,
    placed: bool,
}

impl Temps {
    pub(super) fn new(dir: Dir, shown: String) -> Temps {
        Temps { shown, dir: Arc::new(dir), next: AtomicU64::new(0), default_mode: 0o666 & !umask() }
    }

    /// A name that nothing else has.
    pub(super) fn name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    pub(super) fn create(&self, size: u64) -> Result<Temp, PlaceError> {
        let name = self.name();
        let shown = format!("{}/{name}", self.shown);
        let create = || {
            let file = self.dir.create_new(&name, PRIVATE_FILE)?;
            if size >= SPARSE_FROM {
                file.set_len(size).inspect_err(|_| drop(self.dir.remove_file(&name)))?;
            }
            Ok(file)
        };
        let file = create().map_err(PlaceError::at("cannot create", &shown))?;
        let dir = Arc::clone(&self.dir);
        Ok(Temp { file, dir, name, shown, default_mode: self.default_mode, finished: AtomicBool::new(false), placed: false })
    }
}

impl Temp {
    /// Writes at an offset; several threads may write to different ranges.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), PlaceError> {
        self.finished.store(false, Ordering::Release);
        self.file.write_all_at(bytes, offset).map_err(PlaceError::at("cannot write", &self.shown))
    }

    /// Reads back a range, for digests that need a pass of their own.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PlaceError> {
        self.file.read_exact_at(buffer, offset).map_err(PlaceError::at("cannot read", &self.shown))
    }

    /// mtime and permission bits (`None`: what the umask gives a new file), then fsync, which makes them durable with the content. An
    /// error here is an error.
    pub fn finish(&self, mtime: Option<Nanos>, mode: Option<u32>) -> Result<(), PlaceError> {
        let finish = || {
            let mode = mode.map_or(self.default_mode, |mode| mode & 0o777);
            fchmod(&self.file, Mode::from_raw_mode(mode))?;
            if let Some(mtime) = mtime {
                set_mtime(&self.file, mtime)?;
            }
            self.file.sync_all()
        };
        finish().map_err(PlaceError::at("cannot finish", &self.shown))?;
        self.finished.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// It has its name now: nothing is left to remove. Returns its stamp.
    pub(super) fn placed(mut self) -> Result<Stamp, LocalError> {
        self.placed = true;
        Ok(Stamp::of(&self.file.metadata().map_err(LocalError::at("cannot look at", &self.shown))?))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.placed {
            // What stays is removed with the run's directory.
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

/// Sets the modification time of an open file, and its access time to now.
pub(super) fn set_mtime(file: &File, mtime: Nanos) -> io::Result<()> {
    let second: Nanos = 1_000_000_000;
    let last_modification = Timespec { tv_sec: mtime.div_euclid(second), tv_nsec: mtime.rem_euclid(second) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    match futimens(file, &Timestamps { last_access, last_modification }) {
        // Some file systems let nobody but themselves set access times.
        Err(_) => {
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            Ok(futimens(file, &Timestamps { last_access, last_modification })?)
        }
        Ok(()) => Ok(()),
    }
}
