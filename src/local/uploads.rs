//! The uploads in parts that runs of this mount began: on disk before the store is asked to begin one, so that whatever is left open after
//! a crash is known for ours, and goes on or is given up. Asks no store.
//!
//! # Format 1
//! `.lsync/journal/<operation>.uploads`, mode 0600, a file of `lines`. The first line is `{"lsync": "uploads", "v": 1, "remote": id,
//! "owner": {…}}`, as in the other journals. The others have `u`, the nonce that the object will carry, and beside it
//!
//! | field | meaning |
//! |---|---|
//! | `n` `s` `p` `t` | it is about to begin: path, stamp `[size, mtime, ctime, inode]`, bytes per part, the store's time in seconds |
//! | `i` `x` | it has begun: the store's id; so many more may have begun, because their answers were lost |
//! | `k` `m` `e` | a part is there: its number, its MD5, its ETag |
//! | `o` | true: it is over, completed or given up |

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::elsewhere::{Place, takes_nothing};
use super::internal;
use super::journal::{FOLDER, Header};
use super::lines::{Lines, checked};
use super::mount::{LocalError, Mount, Stamp};
use super::owner::{Life, Owner};
use super::state::remote_id;
use crate::digest::{ETag, Md5, Parts};
use crate::manifest::write_line;
use crate::path::RelPath;

const FORMAT: u32 = 1;
const SUFFIX: &str = ".uploads";

/// An upload in parts of which no end is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// What the object will carry.
    pub nonce: String,
    /// Which file.
    pub path: RelPath,
    /// What that file was.
    pub stamp: Stamp,
    /// Bytes in every part but the last.
    pub part_bytes: u64,
    /// The store's clock right before it was begun, in seconds since 1970.
    pub since: i64,
    /// The store's id; `None`: it is not known whether it was begun.
    pub id: Option<String>,
    /// As many more may have been begun, because answers were lost.
    pub lost: u32,
    /// The parts that the store took, by number.
    pub parts: BTreeMap<u32, (Md5, ETag)>,
}

/// The journal of one run's uploads. Dropping it leaves the file.
#[derive(Debug)]
pub struct UploadJournal {
    /// `None`: nothing is kept.
    lines: Option<Lines>,
    /// It took no more: what follows is not written down.
    is_mute: AtomicBool,
    operation: String,
    path: String,
}

/// What other runs left.
#[derive(Debug, Default)]
pub struct Left {
    /// Uploads of which no end is known, of runs that are dead, or may be: the caller holds the lock before it touches one.
    pub open: Vec<OpenUpload>,
    /// Uploads of processes that run on this host.
    pub alive: Vec<OpenUpload>,
    /// The journals of the first, by operation.
    journals: Vec<String>,
}

/// One line; see the module.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Line {
    u: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<(u64, i64, i64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    o: Option<bool>,
}

impl OpenUpload {
    /// The digests of all parts, once the store has taken all of them.
    #[must_use]
    pub fn whole(&self) -> Option<Parts> {
        let count = u32::try_from(self.stamp.size.div_ceil(self.part_bytes.max(1))).ok()?;
        let md5s: Option<Vec<Md5>> = (1..=count).map(|number| self.parts.get(&number).map(|(md5, _)| *md5)).collect();
        Some(Parts { part_bytes: self.part_bytes, md5s: md5s? })
    }
}

impl UploadJournal {
    /// Creates the journal of a run.
    pub fn create(mount: &Mount, bucket: &str, prefix: &str, operation: &str) -> Result<UploadJournal, LocalError> {
        let name = format!("{operation}{SUFFIX}");
        let path = format!(".lsync/{FOLDER}/{name}");
        let (lsync, owner) = ("uploads".into(), Owner::this(operation));
        let header = Header { lsync, v: FORMAT, remote: remote_id(bucket, prefix), owner, lands: false };
        let mut first = Vec::new();
        write_line(&mut first, &header);
        let lines = match mount.place() {
            Place::Memory => None,
            Place::Here | Place::Elsewhere => {
                let dir = mount.make_internal(FOLDER)?;
                Some(Lines::create(&dir, &name, &first).map_err(LocalError::at("cannot create", &path))?)
            }
        };
        Ok(UploadJournal { lines, is_mute: AtomicBool::new(false), operation: operation.to_owned(), path })
    }

    /// False when what is noted is lost with the process.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.lines.is_some() && !self.is_mute.load(Ordering::Relaxed)
    }

    /// Notes all that is known of an upload; durable.
    pub fn note(&self, open: &OpenUpload) -> Result<(), LocalError> {
        let Stamp { size, mtime, ctime, inode } = open.stamp;
        self.append(&Line {
            u: open.nonce.clone(),
            n: Some(open.path.as_str().to_owned()),
            s: Some((size, mtime, ctime, inode)),
            p: Some(open.part_bytes),
            t: Some(open.since),
            ..Line::default()
        })?;
        if let Some(id) = &open.id {
            self.append(&Line { u: open.nonce.clone(), i: Some(id.clone()), x: Some(open.lost), ..Line::default() })?;
        }
        for (number, (md5, etag)) in &open.parts {
            self.part(&open.nonce, *number, *md5, etag)?;
        }
        self.sync()
    }

    /// Notes that an upload has begun; durable.
    pub fn begun(&self, nonce: &str, id: &str, lost: u32) -> Result<(), LocalError> {
        self.append(&Line { u: nonce.to_owned(), i: Some(id.to_owned()), x: Some(lost), ..Line::default() })?;
        self.sync()
    }

    /// Notes that the store took a part; on disk at most 5 s later.
    pub fn part(&self, nonce: &str, number: u32, md5: Md5, etag: &ETag) -> Result<(), LocalError> {
        let (m, e) = (Some(md5.hex()), Some(etag.written()));
        self.append(&Line { u: nonce.to_owned(), k: Some(number), m, e, ..Line::default() })
    }

    /// Notes that an upload is over.
    pub fn over(&self, nonce: &str) -> Result<(), LocalError> {
        self.append(&Line { u: nonce.to_owned(), o: Some(true), ..Line::default() })
    }

    /// Makes all that was noted durable.
    pub fn sync(&self) -> Result<(), LocalError> {
        self.unless_full(Lines::sync)
    }

    /// Removes the journal: none of its uploads is open.
    pub fn remove(&self, mount: &Mount) -> Result<(), LocalError> {
        remove(mount, std::slice::from_ref(&self.operation))
    }

    fn append(&self, line: &Line) -> Result<(), LocalError> {
        let mut json = Vec::with_capacity(128);
        write_line(&mut json, line);
        self.unless_full(|lines| lines.append(&json))
    }

    /// A journal that cannot grow any more stops no upload: what is lost with it only a crash needs.
    fn unless_full(&self, write: impl FnOnce(&Lines) -> io::Result<()>) -> Result<(), LocalError> {
        let Some(lines) = self.lines.as_ref().filter(|_| !self.is_mute.load(Ordering::Relaxed)) else { return Ok(()) };
        match write(lines) {
            Err(e) if takes_nothing(&e) => self.is_mute.store(true, Ordering::Relaxed),
            written => written.map_err(LocalError::at("cannot write", &self.path))?,
        }
        Ok(())
    }
}

impl Left {
    /// True when no journal is there that could be taken over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.journals.is_empty()
    }

    /// Removes the journals of what is open: another one tells it by now, or it is over.
    pub fn forget(&self, mount: &Mount) -> Result<(), LocalError> {
        remove(mount, &self.journals)
    }
}

fn remove(mount: &Mount, operations: &[String]) -> Result<(), LocalError> {
    for (dir, takes_removals) in [(mount.open_home(FOLDER)?, mount.place() == Place::Here), (mount.open_elsewhere(FOLDER)?, true)] {
        let Some(dir) = dir else { continue };
        for name in operations.iter().map(|operation| format!("{operation}{SUFFIX}")) {
            match dir.remove_file(&name) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // What such a one tells is asked of the bucket again.
                Err(e) if !takes_removals && takes_nothing(&e) => {}
                removed => removed.map_err(LocalError::at("cannot remove", &format!(".lsync/{FOLDER}/{name}")))?,
            }
        }
    }
    Ok(())
}

/// Brings home the journals that were written elsewhere while `.lsync/` took nothing.
pub(super) fn bring_home(mount: &Mount) -> Result<(), LocalError> {
    let Some(elsewhere) = mount.open_elsewhere(FOLDER)? else { return Ok(()) };
    let failed = || LocalError::at("cannot write", &format!(".lsync/{FOLDER}"));
    for name in elsewhere.names().map_err(failed())? {
        let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX)) else { continue };
        if let Some(bytes) = internal::read(&elsewhere, name).map_err(failed())? {
            internal::replace(&mount.make_internal(FOLDER)?, name, &bytes).map_err(failed())?;
            elsewhere.remove_file(name).map_err(failed())?;
        }
    }
    Ok(())
}

/// What other runs of this mount left open in a remote; `except` is the run that asks. What cannot be read is left out, and stays where it is.
pub fn left(mount: &Mount, bucket: &str, prefix: &str, except: &str) -> Result<Left, LocalError> {
    let (mut left, remote) = (Left::default(), remote_id(bucket, prefix));
    let mut found = Vec::new();
    for dir in [mount.open_home(FOLDER)?, mount.open_elsewhere(FOLDER)?].into_iter().flatten() {
        let names = dir.names().map_err(LocalError::at("cannot read", &format!(".lsync/{FOLDER}")))?;
        for name in names.iter().filter_map(|name| name.to_str()) {
            let Some(operation) = name.strip_suffix(SUFFIX).filter(|operation| *operation != except) else { continue };
            let Ok(Some(bytes)) = internal::read(&dir, name) else { continue };
            if let Some((owner, lines)) = decode(&bytes, &remote) {
                found.push((owner, operation.to_owned(), lines));
            }
        }
    }
    // A run that took over what another left noted all of it again.
    found.sort_by(|a, b| (a.0.since, &a.1).cmp(&(b.0.since, &b.1)));
    let (mut open, mut alive) = (BTreeMap::new(), BTreeMap::new());
    for (owner, operation, lines) in found {
        let lives = owner.life() == Life::Alive;
        let into = if lives { &mut alive } else { &mut open };
        lines.into_iter().for_each(|line| fold(into, line));
        if !lives {
            left.journals.push(operation);
        }
    }
    left.open = open.into_values().collect();
    left.alive = alive.into_values().collect();
    Ok(left)
}

fn decode(bytes: &[u8], remote: &str) -> Option<(Owner, Vec<Line>)> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').map_while(checked);
    let header: Header = serde_json::from_slice(lines.next()?).ok()?;
    if header.lsync != "uploads" || header.v != FORMAT || header.remote != remote {
        return None;
    }
    Some((header.owner, lines.map_while(|json| serde_json::from_slice(json).ok()).collect()))
}

fn fold(open: &mut BTreeMap<String, OpenUpload>, line: Line) {
    if line.o == Some(true) {
        open.remove(&line.u);
    } else if let (Some(path), Some((size, mtime, ctime, inode)), Some(part_bytes), Some(since)) = (line.n, line.s, line.p, line.t) {
        let Ok(path) = RelPath::new(&path) else { return };
        let stamp = Stamp { size, mtime, ctime, inode };
        let new = OpenUpload { nonce: line.u.clone(), path, stamp, part_bytes, since, id: None, lost: 0, parts: BTreeMap::new() };
        open.entry(line.u).or_insert(new);
    } else if let Some(known) = open.get_mut(&line.u) {
        if let Some(id) = line.i {
            (known.id, known.lost) = (Some(id), line.x.unwrap_or(0));
        }
        if let (Some(number), Some(md5), Some(etag)) = (line.k, line.m.as_deref().and_then(Md5::from_hex), line.e) {
            known.parts.insert(number, (md5, ETag::parse(&etag)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_one;

    const STAMP: Stamp = Stamp { size: 1 << 30, mtime: -2, ctime: 3, inode: 4 };

    fn mount() -> (tempfile::TempDir, Mount) {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        (temp, mount)
    }

    fn begun(name: &str) -> OpenUpload {
        let (path, nonce) = (RelPath::new(name).unwrap(), format!("nonce of {name}"));
        OpenUpload { nonce, path, stamp: STAMP, part_bytes: 8 << 20, since: 1_795_000_000, id: None, lost: 0, parts: BTreeMap::new() }
    }

    fn found(mount: &Mount) -> Left {
        left(mount, "b", "p/", "me").unwrap()
    }

    #[test]
    fn what_is_open_is_known_and_what_is_over_is_not() {
        let (temp, mount) = mount();
        assert!(found(&mount).is_empty());
        let journal = UploadJournal::create(&mount, "b", "p/", "op").unwrap();
        for name in ["a", "b", "ü \n"] {
            journal.note(&begun(name)).unwrap();
        }
        journal.begun("nonce of a", "id/1", 2).unwrap();
        journal.part("nonce of a", 7, digest_one(b"x"), &ETag::parse("W/\"odd\"")).unwrap();
        journal.over("nonce of b").unwrap();
        let parts = BTreeMap::from([(7, (digest_one(b"x"), ETag::parse("W/\"odd\"")))]);
        let a = OpenUpload { id: Some("id/1".into()), lost: 2, parts, ..begun("a") };
        assert_eq!(found(&mount).open, [a.clone(), begun("ü \n")]);
        assert_eq!(a.whole(), None);
        assert_eq!(left(&mount, "b", "", "me").unwrap().open, [], "another prefix");
        // Another run takes over; between that and the end of the first journal both tell the same.
        let again = UploadJournal::create(&mount, "b", "p/", "op2").unwrap();
        again.note(&a).unwrap();
        assert_eq!(found(&mount).open, [a.clone(), begun("ü \n")]);
        again.over(&a.nonce).unwrap();
        assert_eq!(found(&mount).open, [begun("ü \n")]);
        let both = found(&mount);
        both.forget(&mount).unwrap();
        assert!(found(&mount).is_empty() && std::fs::read_dir(temp.path().join(".lsync/journal")).unwrap().next().is_none());
    }

    #[test]
    fn a_journal_cut_anywhere_tells_a_beginning_of_what_was_noted() {
        let (temp, mount) = mount();
        let journal = UploadJournal::create(&mount, "b", "p/", "op").unwrap();
        journal.note(&begun("a")).unwrap();
        journal.begun("nonce of a", "id", 0).unwrap();
        journal.part("nonce of a", 1, digest_one(b"x"), &ETag::parse("e")).unwrap();
        journal.over("nonce of a").unwrap();
        let file = temp.path().join(".lsync/journal/op.uploads");
        let whole = std::fs::read(&file).unwrap();
        let mut told = std::collections::BTreeSet::new();
        for end in 0..=whole.len() {
            std::fs::write(&file, &whole[..end]).unwrap();
            let open = found(&mount).open;
            told.insert(open.first().map_or(0, |open| 1 + usize::from(open.id.is_some()) + open.parts.len()));
        }
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_a_process_that_runs_has_open_is_its_own_business() {
        let (temp, mount) = mount();
        UploadJournal::create(&mount, "b", "p/", "op").unwrap().note(&begun("a")).unwrap();
        let file = temp.path().join(".lsync/journal/op.uploads");
        let text = std::fs::read_to_string(&file).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        let mut header: Header = serde_json::from_str(&first[9..]).unwrap();
        header.owner = Owner { pid: 1, started: None, ..header.owner };
        let json = serde_json::to_string(&header).unwrap();
        let digits = &digest_one(json.as_bytes()).hex()[..8];
        std::fs::write(&file, format!("{digits} {json}\n{rest}")).unwrap();
        let found = found(&mount);
        assert_eq!((found.open.len(), found.alive.len(), found.is_empty()), (0, 1, true));
    }
}
