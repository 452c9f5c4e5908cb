//! An append-only file of checked lines in `.lsync/`: every line is the first 8 hex digits of the MD5 of the rest, a blank, and a JSON
//! value; the first line that does not fit ends the file (a crash tears the last one). What the lines mean is the caller's business.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::beneath::Dir;
use super::internal::PRIVATE_FILE;
use super::ticker::Ticker;
use crate::digest::digest_one;

const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What has to be durable before the lines are: called with their bytes so far, gives the line that says so.
pub(super) type Before = Box<dyn Fn(u64) -> io::Result<Vec<u8>> + Send + Sync>;

/// The open file: a line outlives this process at once, and is on disk at most 5 s later.
#[derive(Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    _ticker: Ticker,
}

struct Shared {
    file: File,
    before: Option<Before>,
    /// Bytes of whole lines: a line that could only be written in part is written over by the next one.
    len: Mutex<u64>,
    unsynced: AtomicBool,
    /// What a sync in the background met; the next call tells it.
    failed: Mutex<Option<io::Error>>,
}

impl Lines {
    /// Creates the file, durable with its first line.
    pub(super) fn create(dir: &Dir, name: &str, first: &[u8]) -> io::Result<Lines> {
        Lines::begin(dir, name, first, None)
    }

    /// The same, for lines that wait for something before they are durable.
    pub(super) fn create_after(dir: &Dir, name: &str, first: &[u8], before: Before) -> io::Result<Lines> {
        Lines::begin(dir, name, first, Some(before))
    }

    fn begin(dir: &Dir, name: &str, first: &[u8], before: Option<Before>) -> io::Result<Lines> {
        let file = dir.create_new(name, PRIVATE_FILE)?;
        let shared = Shared { file, before, len: Mutex::new(0), unsynced: AtomicBool::new(false), failed: Mutex::new(None) };
        shared.append(first)?;
        shared.sync()?;
        dir.sync()?;
        let shared = Arc::new(shared);
        let background = Arc::clone(&shared);
        let ticker = Ticker::start("lsync-journal", SYNC_EVERY, move || {
            if let Err(e) = background.sync() {
                *locked(&background.failed) = Some(e);
            }
        })?;
        Ok(Lines { shared, _ticker: ticker })
    }

    /// Appends a line. Thread-safe.
    pub(super) fn append(&self, json: &[u8]) -> io::Result<()> {
        self.told()?;
        self.shared.append(json)
    }

    /// Makes all lines durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.told()?;
        self.shared.sync()
    }

    fn told(&self) -> io::Result<()> {
        locked(&self.shared.failed).take().map_or(Ok(()), Err)
    }
}

impl Shared {
    fn append(&self, json: &[u8]) -> io::Result<()> {
        self.write(json)?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    fn write(&self, json: &[u8]) -> io::Result<()> {
        let line = with_digits(json);
        let mut len = locked(&self.len);
        self.file.write_all_at(&line, *len)?;
        *len += line.len() as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            self.settle().and_then(|()| self.file.sync_data()).inspect_err(|_| self.unsynced.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        // What a line tells of was done before the line was written.
        let len = *locked(&self.len);
        self.write(&before(len)?)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("file", &self.file).finish_non_exhaustive()
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these can panic half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_digits(json: &[u8]) -> String {
    let mut hex = digest_one(json).hex();
    hex.truncate(8);
    hex
}

/// A line as it lies in the file.
pub(super) fn with_digits(json: &[u8]) -> Vec<u8> {
    let json = json.trim_ascii_end();
    let mut line = check_digits(json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

/// The JSON of a line, when it is whole and its digits fit.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (digits, json) = (line.get(..8)?, line.get(9..)?);
    (line[8] == b' ' && check_digits(json).as_bytes() == digits).then_some(json)
}
