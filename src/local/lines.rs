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

/// The open file: a line outlives this process at once, and is on disk at most 5 s later.
#[derive(Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    _ticker: Ticker,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// Bytes of whole lines: a line that could only be written in part is written over by the next one.
    len: Mutex<u64>,
    unsynced: AtomicBool,
    /// What a sync in the background met; the next call tells it.
    failed: Mutex<Option<io::Error>>,
}

impl Lines {
    /// Creates the file, durable with its first line.
    pub(super) fn create(dir: &Dir, name: &str, first: &[u8]) -> io::Result<Lines> {
        let file = dir.create_new(name, PRIVATE_FILE)?;
        let shared = Shared { file, len: Mutex::new(0), unsynced: AtomicBool::new(false), failed: Mutex::new(None) };
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
        let mut line = check_digits(json.trim_ascii_end()).into_bytes();
        line.push(b' ');
        line.extend_from_slice(json);
        let mut len = locked(&self.len);
        self.file.write_all_at(&line, *len)?;
        *len += line.len() as u64;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            self.file.sync_data().inspect_err(|_| self.unsynced.store(true, Ordering::Release))?;
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these can panic half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_digits(json: &[u8]) -> String {
    let mut hex = digest_one(json).hex();
    hex.truncate(8);
    hex
}

/// The JSON of a line, when it is whole and its digits fit.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (digits, json) = (line.get(..8)?, line.get(9..)?);
    (line[8] == b' ' && check_digits(json).as_bytes() == digits).then_some(json)
}
