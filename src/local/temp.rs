//! A file being written among the temporaries of a run, complete with its times and permission bits before it gets its name. Does not
//! give it that name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fchmod, futimens};

use super::beneath::Dir;
use super::internal::{self, PRIVATE_FILE};
use super::left::LeftPart;
use super::lines::locked;
use super::mount::{LocalError, Stamp};
use super::part::{Finished, PartsOf, Record, record_name};
use super::place::PlaceError;
use super::umask::umask;
use crate::digest::{Md5, Stream};
use crate::entry::Nanos;
use crate::entry::time::seconds_and_nanos;

/// Files from this size on get their length at once, so that ranges may be written in any order.
const SPARSE_FROM: u64 = 1 << 20;
/// Bytes that are read at once.
const READ: usize = 1 << 20;

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

/// A file being written, in the temporaries of the run; removed when dropped unfinished or not placed, unless a later run can go on from
/// its parts.
#[derive(Debug)]
pub struct Temp {
    file: File,
    dir: Arc<Dir>,
    name: String,
    shown: String,
    default_mode: u32,
    finished: AtomicBool,
    placed: bool,
    parts: Option<InParts>,
}

/// A temporary that comes in parts.
#[derive(Debug)]
struct InParts {
    record: Record,
    /// Parts that an earlier run has written.
    left: Mutex<Finished>,
    /// Where they lie, if not in the temporary itself.
    from: Option<File>,
    /// No later run shall go on from here.
    is_void: AtomicBool,
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
        Ok(self.temp(file, name, shown))
    }

    /// A temporary for an object in parts, that goes on from what an earlier run left.
    pub(super) fn create_in_parts(&self, of: &PartsOf, left: Option<LeftPart>) -> Result<Temp, PlaceError> {
        if let Some(left) = left {
            let taken = if left.is_free { self.take(of, &left) } else { self.read(of, &left) };
            match taken {
                Ok(temp) => return Ok(temp),
                Err(e @ PlaceError::NoSpace(_)) => return Err(e),
                // What cannot be used is brought again.
                Err(_) => {}
            }
        }
        let mut temp = self.create(of.size)?;
        temp.parts = Some(self.in_parts(&temp.name, of, Finished::new(), None).map_err(PlaceError::at("cannot create", &temp.shown))?);
        Ok(temp)
    }

    /// Makes the part file of a run that is over the temporary. Killed at any point, this leaves it for the next run.
    fn take(&self, of: &PartsOf, left: &LeftPart) -> Result<Temp, PlaceError> {
        let name = self.name();
        let shown = format!("{}/{name}", self.shown);
        let take = || {
            let file = internal::open_to_write(&left.dir, &left.file.name)?;
            let parts = self.in_parts(&name, of, left.file.finished.clone(), None)?;
            left.file.finished.iter().try_for_each(|(index, md5)| parts.record.note(*index, *md5))?;
            left.dir.rename(&left.file.name, &self.dir, &name)?;
            Ok((file, parts))
        };
        let (file, parts) = take().map_err(PlaceError::at("cannot take over", &shown))?;
        let _ = left.dir.remove_file(record_name(&left.file.name));
        let mut temp = self.temp(file, name, shown);
        temp.parts = Some(parts);
        Ok(temp)
    }

    /// A temporary that takes the parts which lie in the part file of a run that may not be over.
    fn read(&self, of: &PartsOf, left: &LeftPart) -> Result<Temp, PlaceError> {
        let mut temp = self.create(of.size)?;
        let read = || self.in_parts(&temp.name, of, left.file.finished.clone(), Some(left.dir.file(&left.file.name)?));
        temp.parts = Some(read().map_err(PlaceError::at("cannot read", &temp.shown))?);
        Ok(temp)
    }

    fn in_parts(&self, name: &str, of: &PartsOf, left: Finished, from: Option<File>) -> io::Result<InParts> {
        let record = Record::create(&self.dir, name, of)?;
        Ok(InParts { record, left: Mutex::new(left), from, is_void: AtomicBool::new(false) })
    }

    fn temp(&self, file: File, name: String, shown: String) -> Temp {
        let (dir, finished) = (Arc::clone(&self.dir), AtomicBool::new(false));
        Temp { file, dir, name, shown, default_mode: self.default_mode, finished, placed: false, parts: None }
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

    /// True when an earlier run may have written this part.
    pub fn may_have(&self, index: u64) -> bool {
        self.parts.as_ref().is_some_and(|parts| locked(&parts.left).contains_key(&index))
    }

    /// A part that an earlier run has written, where it still is what that run recorded: read, hashed, and in its place.
    pub fn part_there(&self, index: u64, offset: u64, len: u64) -> Result<Option<Md5>, PlaceError> {
        let Some(parts) = &self.parts else { return Ok(None) };
        let Some(recorded) = locked(&parts.left).get(&index).copied() else { return Ok(None) };
        let mut buffer = vec![0; usize::try_from(len).unwrap_or(READ).min(READ)];
        let (mut md5, mut done) = (Stream::default(), 0);
        while done < len {
            let piece = usize::try_from(len - done).unwrap_or(READ).min(READ);
            let piece = &mut buffer[..piece];
            // What cannot be read is brought again.
            if parts.from.as_ref().unwrap_or(&self.file).read_exact_at(piece, offset + done).is_err() {
                return Ok(None);
            }
            if parts.from.is_some() {
                self.write_at(offset + done, piece)?;
            }
            md5.update(piece);
            done += piece.len() as u64;
        }
        let found = md5.finish() == recorded;
        if found && parts.from.is_some() {
            self.part_done(index, recorded)?;
        }
        Ok(found.then_some(recorded))
    }

    /// Notes for a later run that a part was written.
    pub fn part_done(&self, index: u64, md5: Md5) -> Result<(), PlaceError> {
        let Some(parts) = &self.parts else { return Ok(()) };
        parts.record.note(index, md5).map_err(PlaceError::at("cannot write", &self.shown))
    }

    /// Forgets every part: together they are not what they should be.
    pub fn forget_parts(&self) -> Result<(), PlaceError> {
        let Some(parts) = &self.parts else { return Ok(()) };
        locked(&parts.left).clear();
        parts.record.forget().map_err(PlaceError::at("cannot write", &self.shown))
    }

    /// No later run shall go on from here.
    pub fn give_up(&self) {
        if let Some(parts) = &self.parts {
            parts.is_void.store(true, Ordering::Release);
        }
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
        if let Some(parts) = &self.parts {
            parts.record.remove(&self.dir);
        }
        Ok(Stamp::of(&self.file.metadata().map_err(LocalError::at("cannot look at", &self.shown))?))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let goes_on = |parts: &InParts| parts.record.names_parts() && !parts.is_void.load(Ordering::Acquire);
        if self.placed || self.parts.as_ref().is_some_and(goes_on) {
            return;
        }
        // What stays is removed with the run's directory.
        let _ = self.dir.remove_file(&self.name);
        if let Some(parts) = &self.parts {
            parts.record.remove(&self.dir);
        }
    }
}

/// Sets the modification time of an open file, and its access time to now.
pub(super) fn set_mtime(file: &File, mtime: Nanos) -> io::Result<()> {
    let (tv_sec, tv_nsec) = seconds_and_nanos(mtime);
    let last_modification = Timespec { tv_sec, tv_nsec };
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
