//! What finished transfers agreed on, on disk before the manifest is: one append-only file per run, folded into the state by the next
//! load. Losing its end loses knowledge, never files.
//!
//! # Format 1
//! `.lsync/journal/<operation>`, mode 0600, a file of `lines`. The first line is `{"lsync": "journal", "v": 1, "remote": id, "owner": {…}}`,
//! `id` being the 16 digits in the state file's name; the others have the fields `n b s d` of a state's lines, and mean: both sides now
//! hold `b`, or lack it when there is none.
//!
//! A run that changes the mount says `"lands": true` in the header. Its lines are written before the names that they tell of are durable,
//! and `{"landed": N}` says that those of the first N bytes now are. After a power loss the lines from N on do not count: they may
//! tell of files that the mount lost, which would look like removals. While the host has not been started anew they do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::beneath::Dir;
use super::elsewhere::{Place, takes_nothing};
use super::lines::{Lines, checked};
use super::mount::{LocalError, Mount, Stamp};
use super::owner::{Life, Owner};
use super::state::{Known, Seen, State, remote_id};
use super::state_codec::{decode_line, encode_line};
use super::touched::Touched;
use crate::digest::Digests;
use crate::entry::Entry;
use crate::path::RelPath;

const FORMAT: u32 = 1;
/// Bytes: few round trips to a network file system.
const READ_AT_ONCE: usize = 64 << 10;
pub(super) const FOLDER: &str = "journal";

/// What a finished transfer tells, written to the journal at once so that a crash before the manifest does not make our own objects
/// strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journalled {
    /// Where.
    pub path: RelPath,
    /// What both sides now hold; `None`: both sides lack it.
    pub base: Option<Arc<Entry>>,
    /// The local stamp and digests.
    pub seen: Option<(Stamp, Digests)>,
}

/// The journal of one run: appended to as transfers finish, on disk at most 5 s later. [`super::state::save`] ends it: what is noted
/// after that is lost.
#[derive(Debug)]
pub struct Journal {
    /// `None`: nothing is kept.
    lines: Option<Lines>,
    /// A run that changes the bucket alone goes on without it.
    is_expendable: bool,
    /// It took no more: what follows is not written down.
    is_mute: AtomicBool,
    path: String,
}

/// The first line of every journal.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) lsync: String,
    pub(super) v: u32,
    pub(super) remote: String,
    pub(super) owner: Owner,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lands: bool,
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
        let path = format!(".lsync/{FOLDER}/{operation}");
        let (is_expendable, is_mute) = (lands.is_none(), AtomicBool::new(false));
        if mount.place() == Place::Memory {
            return Ok(Journal { lines: None, is_expendable, is_mute, path });
        }
        let dir = mount.make_internal(FOLDER)?;
        let (lsync, owner, is_of_landings) = ("journal".into(), Owner::this(operation), lands.is_some());
        let header = Header { lsync, v: FORMAT, remote: remote_id(bucket, prefix), owner, lands: is_of_landings };
        let mut json = Vec::new();
        crate::manifest::write_line(&mut json, &header);
        let lines = match lands {
            None => Lines::create(&dir, operation, &json),
            Some(touched) => Lines::create_after(&dir, operation, &json, Box::new(move |bytes| settled(&touched, bytes))),
        };
        Ok(Journal { lines: Some(lines.map_err(LocalError::at("cannot create", &path))?), is_expendable, is_mute, path })
    }

    /// Appends a line, which is on disk at most 5 s later and outlives this process at once. Thread-safe.
    pub fn note(&self, done: &Journalled) -> Result<(), LocalError> {
        let base = done.base.clone();
        let seen = done.seen.clone().map(|(stamp, digests)| Seen::new(stamp, digests));
        let known = Known { published: base.clone(), base, seen, foreign: None, removed: false };
        let mut json = Vec::with_capacity(256);
        encode_line(&mut json, &done.path, &known);
        self.unless_full(|lines| lines.append(&json))
    }

    /// Makes all that was noted durable.
    pub fn sync(&self) -> Result<(), LocalError> {
        self.unless_full(Lines::sync)
    }

    /// What an upload's journal cannot tell any more only a crash needs.
    fn unless_full(&self, write: impl FnOnce(&Lines) -> io::Result<()>) -> Result<(), LocalError> {
        let Some(lines) = self.lines.as_ref().filter(|_| !self.is_mute.load(Ordering::Relaxed)) else { return Ok(()) };
        match write(lines) {
            Err(e) if self.is_expendable && takes_nothing(&e) => self.is_mute.store(true, Ordering::Relaxed),
            written => written.map_err(LocalError::at("cannot write", &self.path))?,
        }
        Ok(())
    }
}

/// Makes durable what the lines in the first `landed` bytes tell of; gives the line that says so.
fn settled(touched: &Touched, landed: u64) -> io::Result<Vec<u8>> {
    touched.settle().map_err(io::Error::other)?;
    let mut json = Vec::new();
    crate::manifest::write_line(&mut json, &Landed { landed });
    Ok(json)
}

/// A journal as it lies on disk.
struct Found {
    operation: String,
    owner: Owner,
    life: Life,
    lands: bool,
    /// At the first line after the header.
    lines: Take<BufReader<File>>,
    /// Where that is.
    body: u64,
    bytes: u64,
}

/// Sets the base and the hash cache of `state` to what journals tell, oldest run first; not those of other processes that run on this
/// host. `state.journals` becomes the list of those that may be removed once the state is saved. `taken`: what this process's own tell of
/// these paths the caller knows better.
pub(super) fn fold(
    mount: &Mount,
    dir: Option<&Dir>,
    remote: &str,
    state: &mut State,
    taken: &dyn Fn(&RelPath) -> bool,
) -> Result<(), LocalError> {
    let covered = std::mem::take(&mut state.journals);
    let mut told = BTreeMap::new();
    for mut journal in found(dir, remote)? {
        if journal.life == Life::Alive {
            continue;
        }
        let already = covered.iter().find(|(operation, _)| *operation == journal.operation).map_or(0, |(_, bytes)| *bytes);
        let is_taken = |path: &RelPath| journal.life == Life::Own && taken(path);
        let Some(Told { notes, landed }) = Found::told(&mut journal.lines, journal.body, journal.lands, &is_taken) else { continue };
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
            // A file that was sent, and that a power loss took, proves no removal.
            if landed.is_none() && !journal.owner.is_of_this_boot() && known.base.is_some() && matches!(mount.look(&path), Ok(None)) {
                continue;
            }
            told.insert(path, known);
        }
        state.journals.push((journal.operation, journal.bytes));
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
pub(super) fn covered(dir: Option<&Dir>, remote: &str, state: &State) -> Result<Vec<(String, u64)>, LocalError> {
    let loaded = |operation: &str| state.journals.iter().find(|(name, _)| name == operation);
    let list = found(dir, remote)?.into_iter().filter_map(|journal| {
        if journal.life == Life::Own {
            return Some((journal.operation, journal.bytes));
        }
        loaded(&journal.operation).cloned()
    });
    Ok(list.collect())
}

/// Removes journals that never got their first line: a run died while it created one. The caller holds the lock.
pub(super) fn remove_headless(dir: Option<&Dir>) -> Result<(), LocalError> {
    let Some(dir) = dir else { return Ok(()) };
    for name in dir.names().map_err(LocalError::at("cannot read", ".lsync/journal"))? {
        let Some(name) = name.to_str() else { continue };
        // What cannot be read may be whole all the same: it stays.
        let headless = || {
            let mut line = Vec::new();
            BufReader::new(dir.file(name)?).read_until(b'\n', &mut line)?;
            io::Result::Ok(!line.ends_with(b"\n"))
        };
        let headless = headless().unwrap_or(false);
        if headless {
            dir.remove_file(name).map_err(LocalError::at("cannot remove", &format!(".lsync/{FOLDER}/{name}")))?;
        }
    }
    Ok(())
}

/// Removes journals that a saved state covers; one that has grown since is another run's business and stays.
pub(super) fn remove(dir: Option<&Dir>, covered: &[(String, u64)]) -> Result<(), LocalError> {
    let Some(dir) = dir else { return Ok(()) };
    for (operation, bytes) in covered {
        let gone = dir.status(operation).and_then(|status| match status {
            Some(status) if status.stamp.size == *bytes => dir.remove_file(operation),
            _ => Ok(()),
        });
        gone.map_err(LocalError::at("cannot remove", &format!(".lsync/{FOLDER}/{operation}")))?;
    }
    Ok(())
}

/// The journals of one remote with their lengths, by name.
pub(super) fn lengths(dir: Option<&Dir>, remote: &str) -> Result<Vec<(String, u64)>, LocalError> {
    let mut all: Vec<(String, u64)> = found(dir, remote)?.into_iter().map(|journal| (journal.operation, journal.bytes)).collect();
    all.sort();
    Ok(all)
}

/// The journals of one remote, oldest first. What cannot be read is left out, and stays where it is.
fn found(dir: Option<&Dir>, remote: &str) -> Result<Vec<Found>, LocalError> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let names = dir.names().map_err(LocalError::at("cannot read", ".lsync/journal"))?;
    let mut all: Vec<Found> = names.iter().filter_map(|name| one(dir, name.to_str()?, remote)).collect();
    all.sort_by(|a, b| (a.owner.since, &a.operation).cmp(&(b.owner.since, &b.operation)));
    Ok(all)
}

fn one(dir: &Dir, operation: &str, remote: &str) -> Option<Found> {
    let file = dir.file(operation).ok()?;
    let bytes = file.metadata().ok()?.len();
    let (mut lines, mut first) = (BufReader::with_capacity(READ_AT_ONCE, file).take(bytes), Vec::new());
    let body = lines.read_until(b'\n', &mut first).ok()? as u64;
    let header: Header = serde_json::from_slice(checked(&first)?).ok()?;
    if header.lsync != "journal" || header.v != FORMAT || header.remote != remote {
        return None;
    }
    let life = header.owner.life();
    Some(Found { operation: operation.to_owned(), owner: header.owner, life, lands: header.lands, lines, body, bytes })
}

impl Found {
    /// The lines up to the first that does not fit, but for paths that are taken; `None` when they cannot be read.
    fn told(lines: &mut dyn BufRead, body: u64, lands: bool, is_taken: &dyn Fn(&RelPath) -> bool) -> Option<Told> {
        let mut told = Told { notes: Vec::new(), landed: lands.then_some(0) };
        let (mut at, mut line) = (body, Vec::new());
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).ok()?;
            let Some(json) = checked(&line) else { break };
            if let Some((path, known)) = decode_line(json) {
                if !is_taken(&path) {
                    told.notes.push((at, path, known));
                }
            } else if let Ok(Landed { landed }) = serde_json::from_slice(json) {
                told.landed = told.landed.max(Some(landed));
            } else {
                break;
            }
            at += read as u64;
        }
        Some(told)
    }
}

/// What a journal tells.
struct Told {
    /// Each with the place where its line begins.
    notes: Vec<(u64, RelPath, Known)>,
    /// Of a run that changed the mount: what lies before this place is as durable as the line.
    landed: Option<u64>,
}
