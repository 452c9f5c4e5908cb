//! The walk behind a scan: reads directories through descriptors, one open at a time and thread, and sorts what it meets into entries,
//! problems, skipped and ignored things. Opens no file but `.syncignore`.
//!
//! The `walkdir` crate is not used here: it goes by paths (a directory that is swapped for a link would be followed) and reads a
//! directory before it tells of it, when nobody could say yet that it is ignored or another mount.

mod aside;
mod crew;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::{Dir, Status, in_the_way};
use super::mount::LocalError;
use super::scan::{Local, Recalled, ScanError};
use super::umask::umask;
use crate::diff::mode_of_new;
use crate::digest::Digests;
use crate::entry::{Entry, File, Kind};
use crate::filter::{BadPattern, SYNCIGNORE, Scope};
use crate::path::{Batch, RESERVED, RelPath};
use crate::problem::{Problem, Side, Skipped, exclude_line};

use aside::bytes_of;
pub(super) use crew::Crew;
use crew::Found;

/// Longest `.syncignore` file, in bytes.
const SYNCIGNORE_MAX: u64 = 1 << 20;
/// How many names pass between two reports and questions.
const BREATH: u64 = 256;

pub(super) struct Walker<'a, 'w> {
    crew: &'a Crew<'a, 'w>,
    pub(super) found: Found,
    /// Directories in scope that were not read yet, with their permission bits.
    waiting: Vec<(RelPath, u32)>,
    /// Names met so far, ignored ones too.
    met: u64,
    /// Entries and their bytes that nobody was told of yet.
    untold: (u64, u64),
    /// The permission bits that the umask gives a directory.
    ordinary: u32,
}

impl<'a, 'w> Walker<'a, 'w> {
    pub(super) fn new(crew: &'a Crew<'a, 'w>) -> Walker<'a, 'w> {
        Walker { crew, found: Found::default(), waiting: Vec::new(), met: 0, untold: (0, 0), ordinary: mode_of_new(&Kind::Dir, umask()) }
    }

    /// Walks the whole mount.
    pub(super) fn whole(&mut self) -> Result<(), ScanError> {
        let cannot = |e| LocalError::at("cannot read the mount", &self.crew.mount.root().to_string_lossy())(e);
        let top = self.crew.mount.top().dir("").map_err(cannot)?;
        let names = top.names().map_err(cannot)?;
        self.contents(&top, None, names)?;
        self.crew.walk_all(self)
    }

    /// Walks one path and what lies below it.
    pub(super) fn only(&mut self, path: &RelPath) -> Result<(), ScanError> {
        let cannot = |e| LocalError::at("cannot read the mount", &self.crew.mount.root().to_string_lossy())(e);
        let mut dir = self.crew.mount.top().dir("").map_err(cannot)?;
        self.syncignore(&dir, "")?;
        let text = path.as_str();
        for (at, _) in text.match_indices('/') {
            let above = RelPath::new(&text[..at]).expect("the beginning of a path, up to a slash, is a path");
            match self.scope(&above, true) {
                Scope::In => {}
                Scope::Reserved | Scope::Other => return Ok(()),
                Scope::Ignored | Scope::Keys => return self.leave_out_if_there(path),
            }
            let Some(next) = self.enter(&dir, &above)? else { return Ok(()) };
            if holds_ours(&next) {
                self.another_mount(&above);
                return Ok(());
            }
            self.syncignore(&next, above.as_str())?;
            dir = next;
        }
        self.name(&dir, path.clone(), OsStr::new(path.name()), (self.crew.walk.recall)(text))?;
        self.crew.walk_all(self)
    }

    fn directory(&mut self, path: RelPath, mode: u32) -> Result<(), ScanError> {
        let Some(dir) = self.open(self.crew.mount.top().dir(path.as_str()), &path) else { return Ok(()) };
        match dir.names() {
            Ok(names) if names.is_empty() => {
                self.found.read_dirs += 1;
                if self.crew.filter().includes_empty_dir(&path) {
                    let entry = Arc::new(Entry { kind: Kind::Dir, mode: Some(mode) });
                    self.take(path, Local { entry, stamp: None });
                } else {
                    self.found.hollow.push(path);
                }
            }
            Ok(names) => {
                let before = self.taken();
                self.contents(&dir, Some(&path), names)?;
                if self.taken() == before {
                    self.found.hollow.push(path);
                } else if mode != self.ordinary {
                    self.found.dirs.push((path, mode));
                }
            }
            Err(e) => self.unreadable(&path, &e),
        }
        Ok(())
    }

    fn take(&mut self, path: RelPath, local: Local) {
        self.untold.0 += 1;
        self.untold.1 += local.entry.bytes();
        self.found.entries.push((path, local));
    }

    /// Changes with everything that a directory holds and no pattern leaves out.
    fn taken(&self) -> [usize; 4] {
        [self.found.entries.len(), self.found.problems.len(), self.found.skipped.len(), self.waiting.len()]
    }

    /// Opens an ancestor of a scope, by its name in the directory above; `None` when there is no such directory, or none to enter.
    fn enter(&mut self, dir: &Dir, path: &RelPath) -> Result<Option<Dir>, ScanError> {
        match dir.status(path.name()) {
            Ok(Some(status)) if status.kind == FileType::Directory && status.device != self.crew.mount.device() => {
                self.another_device(path);
                Ok(None)
            }
            Ok(Some(status)) if status.kind == FileType::Directory => Ok(self.open(dir.dir(path.name()), path)),
            Ok(_) => Ok(None),
            Err(e) => {
                self.unreadable(path, &e);
                Ok(None)
            }
        }
    }

    fn open(&mut self, opened: io::Result<Dir>, path: &RelPath) -> Option<Dir> {
        match opened.and_then(|dir| Ok((dir.own_status()?.device, dir))) {
            // A file system that is mounted on demand shows only now.
            Ok((device, _)) if device != self.crew.mount.device() => self.another_device(path),
            Ok((_, dir)) => return Some(dir),
            // It went away since its name was read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if in_the_way(&e) => self.problem(path, true, "it changed from a directory to something else during the walk".into()),
            Err(e) => self.unreadable(path, &e),
        }
        None
    }

    /// Takes what a directory (`None`: the root) holds.
    fn contents(&mut self, dir: &Dir, path: Option<&RelPath>, mut names: Vec<OsString>) -> Result<(), ScanError> {
        if let Some(path) = path.filter(|_| names.iter().any(|name| name == RESERVED) && holds_ours(dir)) {
            self.another_mount(path);
            return Ok(());
        }
        self.found.read_dirs += 1;
        let text = path.map(RelPath::as_str);
        if names.iter().any(|name| name == SYNCIGNORE) {
            self.syncignore(dir, text.unwrap_or(""))?;
        }
        names.sort_unstable();
        let (mut new, mut joined) = (Batch::default(), String::new());
        let recall = |name: &OsString| {
            joined.clear();
            joined.extend(text.into_iter().flat_map(|parent| [parent, "/"]).chain([name.to_str().unwrap_or("")]));
            let recalled = (self.crew.walk.recall)(&joined);
            if recalled.is_none() {
                new.push(&joined);
            }
            recalled
        };
        let recalled: Vec<_> = names.iter().map(recall).collect();
        let mut new = new.paths();
        for (name, recalled) in names.iter().zip(recalled) {
            let path = recalled.map_or_else(|| new.next().flatten(), |recalled| Some(recalled.path.clone()));
            match path.filter(|_| name.to_str().is_some()) {
                Some(path) => self.name(dir, path, name, recalled)?,
                None => self.not_representable(dir, text, name)?,
            }
        }
        Ok(())
    }

    fn name(&mut self, dir: &Dir, path: RelPath, name: &OsStr, recalled: Option<Recalled<'_>>) -> Result<(), ScanError> {
        self.breathe()?;
        match dir.status(name) {
            Ok(Some(status)) => self.thing(dir, path, &status, recalled),
            // It went away since its name was read.
            Ok(None) => Ok(()),
            Err(e) => {
                if self.scope(&path, false) == Scope::In {
                    self.unreadable(&path, &e);
                }
                Ok(())
            }
        }
    }

    /// The rules are free again when this returns: what follows may take long, and others wait to add theirs.
    fn scope(&self, path: &RelPath, is_dir: bool) -> Scope {
        self.crew.filter().scope_of_child(path, is_dir)
    }

    fn thing(&mut self, dir: &Dir, path: RelPath, status: &Status, recalled: Option<Recalled<'_>>) -> Result<(), ScanError> {
        let is_dir = status.kind == FileType::Directory;
        match self.scope(&path, is_dir) {
            Scope::In => {}
            Scope::Ignored => return self.leave_out(&path, status),
            Scope::Keys => {
                self.found.ignored.files += 1;
                self.found.ignored.bytes += bytes_of(status);
                self.found.ignored.keys.push(path);
                return Ok(());
            }
            Scope::Reserved | Scope::Other => return Ok(()),
        }
        match status.kind {
            FileType::RegularFile if !status.stamp.has_mtime() => {
                let why = "its modification time is tens of thousands of years away; set another one with `touch`, and run this again";
                self.problem(&path, false, why.into());
            }
            FileType::RegularFile => {
                let entry = file(status, recalled);
                self.take(path, Local { entry, stamp: Some(status.stamp) });
            }
            FileType::Directory if status.device != self.crew.mount.device() => self.another_device(&path),
            FileType::Directory => self.waiting.push((path, status.mode)),
            FileType::Symlink => self.link(dir, path),
            FileType::Socket => self.skip(path, "it is a socket"),
            FileType::Fifo => self.skip(path, "it is a FIFO"),
            _ => self.skip(path, "it is a device"),
        }
        Ok(())
    }

    fn link(&mut self, dir: &Dir, path: RelPath) {
        match dir.read_link(path.name()).map(OsString::into_string) {
            Ok(Ok(target)) => {
                let entry = Arc::new(Entry { kind: Kind::Link(target.into()), mode: None });
                self.take(path, Local { entry, stamp: None });
            }
            Ok(Err(_)) => self.problem(&path, false, "the target of the link is not UTF-8".into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => self.unreadable(&path, &e),
        }
    }

    /// Adds a directory's `.syncignore` to the rules, if it has one.
    fn syncignore(&mut self, dir: &Dir, at: &str) -> Result<(), ScanError> {
        if self.crew.walk.rules.is_some() {
            return Ok(());
        }
        let path = if at.is_empty() { SYNCIGNORE.to_owned() } else { format!("{at}/{SYNCIGNORE}") };
        let Some(bytes) = read_syncignore(dir).map_err(LocalError::at("cannot read", &path))? else { return Ok(()) };
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let number = bytes[..e.valid_up_to()].split(|b| *b == b'\n').count();
            let line = bytes.split(|b| *b == b'\n').nth(number - 1).unwrap_or_default();
            let pattern = String::from_utf8_lossy(line).into_owned();
            BadPattern { origin: format!("{path}:{number}"), pattern, why: "it is not UTF-8".into() }
        })?;
        Ok(self.crew.filter_mut().add_syncignore(at, text)?)
    }

    fn breathe(&mut self) -> Result<(), ScanError> {
        if self.met.is_multiple_of(BREATH) {
            self.tell();
            if (self.crew.walk.stop)() {
                return Err(ScanError::Stopped);
            }
        }
        self.met += 1;
        Ok(())
    }

    fn tell(&mut self) {
        let (entries, bytes) = std::mem::take(&mut self.untold);
        self.crew.tell(entries, bytes);
    }

    fn skip(&mut self, path: RelPath, why: &str) {
        self.found.skipped.push(Skipped { path, why: why.to_owned() });
    }

    fn another_mount(&mut self, path: &RelPath) {
        self.problem(path, true, format!("it is a mount of lsync itself (it holds {RESERVED}/) and is not entered"));
    }

    fn another_device(&mut self, path: &RelPath) {
        self.problem(path, true, "another file system is mounted there, which is not entered".into());
    }

    fn unreadable(&mut self, path: &RelPath, error: &io::Error) {
        self.problem(path, true, format!("it cannot be read: {error}"));
    }

    fn problem(&mut self, path: &RelPath, below: bool, why: String) {
        let (name, exclude) = (path.as_str().to_owned(), Some(exclude_line(path.as_str())));
        self.found.problems.push(Problem { name, path: Some(path.clone()), below, side: Side::Local, why, exclude });
    }
}

/// A file as it is found, with the digests that are recalled of it; what is recalled itself, where it still is that.
fn file(status: &Status, recalled: Option<Recalled<'_>>) -> Arc<Entry> {
    let stamp = status.stamp;
    let seen = recalled.and_then(|recalled| recalled.seen).filter(|(recorded, _)| *recorded == stamp);
    let (Some(recalled), Some((_, digests))) = (recalled, seen) else {
        let file = File { size: stamp.size, mtime: Some(stamp.mtime), ..File::default() };
        return Arc::new(Entry { kind: Kind::File(file), mode: Some(status.mode) });
    };
    let still = recalled.entry.filter(|entry| {
        let is_content = |file: &File| {
            // An ETag that is a digest of this content says no more than the digests do.
            let by_etag = |etag| digests.same(&Digests::of_etag(etag)) == Some(true);
            file.size == stamp.size && file.digests == *digests && file.etag.as_ref().is_none_or(by_etag)
        };
        let is_file = |file: &File| is_content(file) && file.mtime == Some(stamp.mtime);
        entry.mode == Some(status.mode) && entry.file().is_some_and(is_file)
    });
    still.cloned().unwrap_or_else(|| {
        let file = File { size: stamp.size, mtime: Some(stamp.mtime), digests: digests.clone(), etag: None };
        Arc::new(Entry { kind: Kind::File(file), mode: Some(status.mode) })
    })
}

/// True when a directory is the root of another mount of lsync.
fn holds_ours(dir: &Dir) -> bool {
    matches!(dir.status(RESERVED), Ok(Some(status)) if status.kind == FileType::Directory)
}

fn read_syncignore(dir: &Dir) -> io::Result<Option<Vec<u8>>> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    match dir.status(SYNCIGNORE)? {
        None => return Ok(None),
        Some(status) if status.kind != FileType::RegularFile => return refused("it is not a regular file"),
        Some(_) => {}
    }
    let mut bytes = Vec::new();
    dir.file(SYNCIGNORE)?.take(SYNCIGNORE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SYNCIGNORE_MAX {
        return refused("it is larger than 1 MiB");
    }
    Ok(Some(bytes))
}
