//! What finished transfers agreed on, on disk before the manifest is: one append-only file per run, folded into the state by the next
//! load. Losing its end loses knowledge, never files.
//!
//! # Format 1
//! `.lsync/journal/<operation>`, mode 0600. Every line is the first 8 hex digits of the MD5 of the rest, a blank, and a JSON value; the
//! first line that does not fit ends the journal (a crash tears the last one). The first line is `{"lsync": "journal", "v": 1,
//! "remote": id, "owner": {…}}`, `id` being the 16 digits in the state file's name; the others have the fields `n b s d` of a state's
//! lines, and mean: both sides now hold `b`, or lack it when there is none.
//!
//! A run that changes the mount says `"lands": true` in the header. Its lines are written before the names that they tell of are durable,
//! and `{"landed": N}` says that those of the first N bytes now are. After a power loss the lines from N on do not count: they may
//! tell of files that the mount lost, which would look like removals. While the host has not been started anew they do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beneath::Dir;
use super::internal::{self, PRIVATE_FILE};
use super::mount::{LocalError, Mount, Stamp};
use super::owner::{Life, Owner};
use super::state::{Known, State, remote_id};
use super::state_codec::{decode_line, encode_line};
use super::ticker::Ticker;
use super::touched::Touched;
use crate::digest::{Digests, digest_one};
use crate::entry::Entry;
use crate::path::RelPath;

const FORMAT: u32 = 1;
const FOLDER: &str = "journal";
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What a finished transfer tells, written to the journal at once so that a crash before the manifest does not make our own objects
/// strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journalled {
    /// Where.
    pub path: RelPath,
    /// What both sides now hold; `None`: both sides lack it.
    pub base: Option<Entry>,
    /// The local stamp and digests.
    pub seen: Option<(Stamp, Digests)>,
}

/// The journal of one run: appended to as transfers finish, on disk at most 5 s later. [`super::state::save`] ends it: what is noted
/// after that is lost.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    path: String,
    _ticker: Ticker,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// Of a run that changes the mount: what has to be durable before its lines are.
    lands: Option<Arc<Touched>>,
    /// Bytes of whole lines: a line that could only be written in part is written over by the next one.
    len: Mutex<u64>,
    unsynced: AtomicBool,
    /// What a sync in the background met; the next call tells it.
    failed: Mutex<Option<io::Error>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    lsync: String,
    v: u32,
    remote: String,
    owner: Owner,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lands: bool,
}

#[derive(Serialize, Deserialize)]
struct Landed {
    landed: u64,
}

impl Journal {
    /// Creates `.lsync/journal/<operation>` for a remote, for a run that changes the bucket.
    pub fn create(mount: &Mount, bucket: &str, prefix: &str, operation: &str) -> Result<Journal, LocalError> {
        Journal::begin(mount, bucket, prefix, operation, None)
    }

    /// The same for a run that changes the mount: no line is durable before the names that it tells of.
    pub fn of_landings(mount: &Mount, bucket: &str, prefix: &str, operation: &str) -> Result<Journal, LocalError> {
        Journal::begin(mount, bucket, prefix, operation, Some(Arc::clone(mount.touched())))
    }

    fn begin(mount: &Mount, bucket: &str, prefix: &str, operation: &str, lands: Option<Arc<Touched>>) -> Result<Journal, LocalError> {
        let dir = mount.make_internal(FOLDER)?;
        let path = format!(".lsync/{FOLDER}/{operation}");
        let create = || -> io::Result<(Arc<Shared>, Ticker)> {
            let file = dir.create_new(operation, PRIVATE_FILE)?;
            let (lsync, owner, is_of_landings) = ("journal".into(), Owner::this(operation), lands.is_some());
            let header = Header { lsync, v: FORMAT, remote: remote_id(bucket, prefix), owner, lands: is_of_landings };
            let shared = Shared { file, lands, len: Mutex::new(0), unsynced: AtomicBool::new(false), failed: Mutex::new(None) };
            let mut json = Vec::new();
            crate::manifest::write_line(&mut json, &header);
            shared.append(&json)?;
            shared.sync()?;
            dir.sync()?;
            let shared = Arc::new(shared);
            let background = Arc::clone(&shared);
            let ticker = Ticker::start("lsync-journal", SYNC_EVERY, move || {
                if let Err(e) = background.sync() {
                    *locked(&background.failed) = Some(e);
                }
            })?;
            Ok((shared, ticker))
        };
        let (shared, ticker) = create().map_err(LocalError::at("cannot create", &path))?;
        Ok(Journal { shared, path, _ticker: ticker })
    }

    /// Appends a line, which is on disk at most 5 s later and outlives this process at once. Thread-safe.
    pub fn note(&self, done: &Journalled) -> Result<(), LocalError> {
        let base = done.base.clone().map(std::sync::Arc::new);
        let known = Known { published: base.clone(), base, seen: done.seen.clone(), foreign: None, removed: false };
        let mut json = Vec::with_capacity(256);
        encode_line(&mut json, &done.path, &known);
        self.told().and_then(|()| self.shared.append(&json)).map_err(LocalError::at("cannot write", &self.path))
    }

    /// Makes all that was noted durable.
    pub fn sync(&self) -> Result<(), LocalError> {
        self.told().and_then(|()| self.shared.sync()).map_err(LocalError::at("cannot write", &self.path))
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
        let mut line = check_digits(json.trim_ascii_end()).into_bytes();
        line.push(b' ');
        line.extend_from_slice(json);
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

    /// Makes durable what the lines so far tell of, and notes it.
    fn settle(&self) -> io::Result<()> {
        let Some(touched) = &self.lands else { return Ok(()) };
        // What a line tells of was done before the line was written.
        let landed = *locked(&self.len);
        touched.settle().map_err(io::Error::other)?;
        let mut json = Vec::new();
        crate::manifest::write_line(&mut json, &Landed { landed });
        self.write(&json)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds these can panic half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_digits(json: &[u8]) -> String {
    let mut hex = digest_one(json).hex();
    hex.truncate(8);
    hex
}

/// A journal as it lies on disk.
struct Found {
    operation: String,
    owner: Owner,
    life: Life,
    lands: bool,
    bytes: Vec<u8>,
    /// Where the lines after the header begin.
    body: usize,
}

/// Sets the base and the hash cache of `state` to what journals tell, oldest run first; not those of other processes that run on this
/// host. `state.journals` becomes the list of those that may be removed once the state is saved.
pub(super) fn fold(mount: &Mount, remote: &str, state: &mut State) -> Result<(), LocalError> {
    let covered = std::mem::take(&mut state.journals);
    let mut told = BTreeMap::new();
    for journal in found(mount, remote)? {
        if journal.life == Life::Alive {
            continue;
        }
        let already = covered.iter().find(|(operation, _)| *operation == journal.operation).map_or(0, |(_, bytes)| *bytes);
        let Lines { notes, landed } = journal.lines();
        for (at, path, known) in notes.into_iter().filter(|(at, ..)| *at >= already) {
            if landed.is_some_and(|landed| at >= landed) {
                if !journal.owner.is_of_this_boot() {
                    break;
                }
                // Nobody has made this durable; whoever writes it down has to.
                mount.touched().add_everything();
            }
            // A run that is dead did not come to publish what it did.
            state.owed |= journal.life != Life::Own && landed.is_none();
            told.insert(path, known);
        }
        state.journals.push((journal.operation, journal.bytes.len() as u64));
    }
    if told.is_empty() {
        return Ok(());
    }
    for (path, known) in &mut state.entries {
        if let Some(news) = told.remove(path) {
            known.take(news);
        }
    }
    state.entries.extend(told.into_iter().map(|(path, known)| (path, Known { published: None, ..known })));
    state.entries.retain(|(_, known)| *known != Known::default());
    state.entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(())
}

/// The journals that a state saved now covers: those that its load folded in, and this process's own.
pub(super) fn covered(mount: &Mount, remote: &str, state: &State) -> Result<Vec<(String, u64)>, LocalError> {
    let loaded = |operation: &str| state.journals.iter().find(|(name, _)| name == operation);
    let list = found(mount, remote)?.into_iter().filter_map(|journal| {
        if journal.life == Life::Own {
            return Some((journal.operation, journal.bytes.len() as u64));
        }
        loaded(&journal.operation).cloned()
    });
    Ok(list.collect())
}

/// Removes journals that a saved state covers; one that has grown since is another run's business and stays.
pub(super) fn remove(mount: &Mount, covered: &[(String, u64)]) -> Result<(), LocalError> {
    let Some(dir) = mount.open_internal(FOLDER)? else { return Ok(()) };
    for (operation, bytes) in covered {
        let gone = dir.status(operation).and_then(|status| match status {
            Some(status) if status.stamp.size == *bytes => dir.remove_file(operation),
            _ => Ok(()),
        });
        gone.map_err(LocalError::at("cannot remove", &format!(".lsync/{FOLDER}/{operation}")))?;
    }
    Ok(())
}

/// The journals of one remote, oldest first. What cannot be read is left out, and stays where it is.
fn found(mount: &Mount, remote: &str) -> Result<Vec<Found>, LocalError> {
    let Some(dir) = mount.open_internal(FOLDER)? else { return Ok(Vec::new()) };
    let names = dir.names().map_err(LocalError::at("cannot read", ".lsync/journal"))?;
    let mut all: Vec<Found> = names.iter().filter_map(|name| one(&dir, name.to_str()?, remote)).collect();
    all.sort_by(|a, b| (a.owner.since, &a.operation).cmp(&(b.owner.since, &b.operation)));
    Ok(all)
}

fn one(dir: &Dir, operation: &str, remote: &str) -> Option<Found> {
    let bytes = internal::read(dir, operation).ok()??;
    let body = bytes.iter().position(|b| *b == b'\n')? + 1;
    let header: Header = serde_json::from_slice(checked(&bytes[..body])?).ok()?;
    if header.lsync != "journal" || header.v != FORMAT || header.remote != remote {
        return None;
    }
    let life = header.owner.life();
    Some(Found { operation: operation.to_owned(), owner: header.owner, life, lands: header.lands, bytes, body })
}

impl Found {
    /// The lines up to the first that does not fit.
    fn lines(&self) -> Lines {
        let mut lines = Lines { notes: Vec::new(), landed: self.lands.then_some(0) };
        let mut at = self.body;
        for line in self.bytes[self.body..].split_inclusive(|b| *b == b'\n') {
            let Some(json) = checked(line) else { break };
            if let Some((path, known)) = decode_line(json) {
                lines.notes.push((at as u64, path, known));
            } else if let Ok(Landed { landed }) = serde_json::from_slice(json) {
                lines.landed = lines.landed.max(Some(landed));
            } else {
                break;
            }
            at += line.len();
        }
        lines
    }
}

/// What a journal tells.
struct Lines {
    /// Each with the place where its line begins.
    notes: Vec<(u64, RelPath, Known)>,
    /// Of a run that changed the mount: what lies before this place is as durable as the line.
    landed: Option<u64>,
}

/// The JSON of a line, when it is whole and its digits fit.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (digits, json) = (line.get(..8)?, line.get(9..)?);
    (line[8] == b' ' && check_digits(json).as_bytes() == digits).then_some(json)
}
