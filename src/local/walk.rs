//! The walk behind a scan: reads directories through descriptors, one open at a time, and sorts what it meets into entries, problems,
//! skipped and ignored things. Opens no file but `.syncignore`.
//!
//! The `walkdir` crate is not used here: it goes by paths (a directory that is swapped for a link would be followed) and reads a
//! directory before it tells of it, when nobody could say yet that it is ignored or another mount.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::{Dir, Status, in_the_way};
use super::mount::{LocalError, Mount};
use super::scan::{Ignored, Local, Recalled, Scan, ScanError, Walk};
use crate::digest::Digests;
use crate::entry::{Entry, File, Kind};
use crate::filter::{BadPattern, Filter, SYNCIGNORE, Scope};
use crate::path::{BadPath, RESERVED, RelPath};
use crate::problem::{Problem, Side, Skipped, exclude_line};

/// Longest `.syncignore` file, in bytes.
const SYNCIGNORE_MAX: u64 = 1 << 20;
/// How many names pass between two reports and questions.
const BREATH: u64 = 256;
/// Most [`Ignored::samples`].
const SAMPLES: usize = 100;

pub(super) struct Walker<'a, 'w> {
    mount: &'a Mount,
    walk: &'a Walk<'w>,
    found: Scan,
    /// Directories in scope that were not read yet, with their permission bits.
    waiting: Vec<(RelPath, u32)>,
    /// Names met so far, ignored ones too.
    met: u64,
    /// Bytes of the entries so far.
    bytes: u64,
    /// The path that is looked at.
    text: String,
}

impl<'a, 'w> Walker<'a, 'w> {
    pub(super) fn new(mount: &'a Mount, walk: &'a Walk<'w>) -> Result<Walker<'a, 'w>, ScanError> {
        let found = Scan {
            entries: Vec::new(),
            problems: Vec::new(),
            skipped: Vec::new(),
            hollow: Vec::new(),
            ignored: Ignored::default(),
            filter: walk.rules.map_or_else(|| Filter::new(walk.patterns), |rules| Ok(rules.clone()))?,
            read_dirs: 0,
        };
        Ok(Walker { mount, walk, found, waiting: Vec::new(), met: 0, bytes: 0, text: String::new() })
    }

    pub(super) fn finish(self) -> Scan {
        (self.walk.progress)(self.found.entries.len() as u64, self.bytes);
        let mut found = self.found;
        found.entries.shrink_to_fit();
        found.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        found.ignored.keys.sort_unstable();
        found.hollow.sort_unstable();
        found.problems.sort_by(|a, b| a.name.cmp(&b.name));
        // Two paths of a scope may lie below the same unusable directory.
        found.problems.dedup();
        found
    }

    /// Walks the whole mount.
    pub(super) fn whole(&mut self) -> Result<(), ScanError> {
        let cannot = |e| LocalError::at("cannot read the mount", &self.mount.root().to_string_lossy())(e);
        let top = self.mount.top().dir("").map_err(cannot)?;
        let names = top.names().map_err(cannot)?;
        self.contents(&top, None, names)?;
        self.drain()
    }

    /// Walks one path and what lies below it.
    pub(super) fn only(&mut self, path: &RelPath) -> Result<(), ScanError> {
        let cannot = |e| LocalError::at("cannot read the mount", &self.mount.root().to_string_lossy())(e);
        let mut dir = self.mount.top().dir("").map_err(cannot)?;
        self.syncignore(&dir, "")?;
        let text = path.as_str();
        for (at, _) in text.match_indices('/') {
            let above = RelPath::new(&text[..at]).expect("the beginning of a path, up to a slash, is a path");
            match self.found.filter.scope_of_child(&above, true) {
                Scope::In => {}
                Scope::Reserved => return Ok(()),
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
        self.name(&dir, path.parent(), OsStr::new(path.name()))?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), ScanError> {
        while let Some((path, mode)) = self.waiting.pop() {
            let Some(dir) = self.open(self.mount.top().dir(path.as_str()), &path) else { continue };
            match dir.names() {
                Ok(names) if names.is_empty() => {
                    self.found.read_dirs += 1;
                    if !self.found.filter.includes_empty_dir(&path) {
                        self.found.hollow.push(path);
                        continue;
                    }
                    let entry = Arc::new(Entry { kind: Kind::Dir, mode: Some(mode) });
                    self.found.entries.push((path, Local { entry, stamp: None }));
                }
                Ok(names) => {
                    let before = self.taken();
                    self.contents(&dir, Some(&path), names)?;
                    if self.taken() == before {
                        self.found.hollow.push(path);
                    }
                }
                Err(e) => self.unreadable(&path, &e),
            }
        }
        Ok(())
    }

    /// Changes with everything that a directory holds and no pattern leaves out.
    fn taken(&self) -> [usize; 4] {
        [self.found.entries.len(), self.found.problems.len(), self.found.skipped.len(), self.waiting.len()]
    }

    /// Opens an ancestor of a scope, by its name in the directory above; `None` when there is no such directory, or none to enter.
    fn enter(&mut self, dir: &Dir, path: &RelPath) -> Result<Option<Dir>, ScanError> {
        match dir.status(path.name()) {
            Ok(Some(status)) if status.kind == FileType::Directory && status.device != self.mount.device() => {
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
            Ok((device, _)) if device != self.mount.device() => self.another_device(path),
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
        names.iter().try_for_each(|name| self.name(dir, text, name))
    }

    fn name(&mut self, dir: &Dir, parent: Option<&str>, name: &OsStr) -> Result<(), ScanError> {
        self.breathe()?;
        let status = dir.status(name);
        self.text.clear();
        self.text.extend(parent.into_iter().flat_map(|parent| [parent, "/"]).chain([&*name.to_string_lossy()]));
        let recalled = name.to_str().and_then(|_| (self.walk.recall)(&self.text));
        let path = match recalled {
            Some(recalled) => Some(recalled.path.clone()),
            None => name.to_str().and_then(|_| RelPath::new(&self.text).ok()),
        };
        let Some(path) = path else {
            let is_dir = status.is_ok_and(|status| status.is_some_and(|status| status.kind == FileType::Directory));
            self.not_representable(&self.text.clone(), is_dir, name.to_str().is_some());
            return Ok(());
        };
        match status {
            Ok(Some(status)) => self.thing(dir, path, &status, recalled),
            // It went away since its name was read.
            Ok(None) => Ok(()),
            Err(e) => {
                if self.found.filter.scope_of_child(&path, false) == Scope::In {
                    self.unreadable(&path, &e);
                }
                Ok(())
            }
        }
    }

    fn thing(&mut self, dir: &Dir, path: RelPath, status: &Status, recalled: Option<Recalled<'_>>) -> Result<(), ScanError> {
        let is_dir = status.kind == FileType::Directory;
        match self.found.filter.scope_of_child(&path, is_dir) {
            Scope::In => {}
            Scope::Ignored => return self.leave_out(&path, status),
            Scope::Keys => {
                self.found.ignored.files += 1;
                self.found.ignored.bytes += bytes_of(status);
                self.found.ignored.keys.push(path);
                return Ok(());
            }
            Scope::Reserved => return Ok(()),
        }
        match status.kind {
            FileType::RegularFile => {
                self.bytes += status.stamp.size;
                let entry = file(status, recalled);
                self.found.entries.push((path, Local { entry, stamp: Some(status.stamp) }));
            }
            FileType::Directory if status.device != self.mount.device() => self.another_device(&path),
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
                self.found.entries.push((path, Local { entry, stamp: None }));
            }
            Ok(Err(_)) => self.problem(&path, false, "the target of the link is not UTF-8".into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => self.unreadable(&path, &e),
        }
    }

    /// A name that is no [`RelPath`]. Patterns see it with U+FFFD for what is no UTF-8, so that one can accept it.
    fn not_representable(&mut self, lossy: &str, is_dir: bool, is_utf8: bool) {
        let shown = RelPath::new(lossy);
        if shown.as_ref().is_ok_and(|path| self.found.filter.scope_of_child(path, is_dir) != Scope::In) {
            self.found.ignored.files += 1;
            self.sample(lossy, is_dir, 0);
            return;
        }
        let why = if is_utf8 { shown.as_ref().err().copied().unwrap_or(BadPath::NotUtf8) } else { BadPath::NotUtf8 };
        // The replacement stands for any bytes, so the line says "anything" there.
        let exclude = shown.is_ok().then(|| exclude_line(lossy).replace('\u{fffd}', "*"));
        self.found.problems.push(Problem {
            name: lossy.to_owned(),
            path: None,
            below: is_dir,
            side: Side::Local,
            why: why.to_string(),
            exclude,
        });
    }

    /// Counts a path that the patterns leave out, with everything below it.
    fn leave_out(&mut self, path: &RelPath, status: &Status) -> Result<(), ScanError> {
        let (mut files, mut bytes) = (0, 0);
        let mut waiting = Vec::new();
        if status.kind == FileType::Directory {
            waiting.push(path.as_str().to_owned());
        } else {
            (files, bytes) = (1, bytes_of(status));
        }
        // Whatever cannot be looked at here does not count: nobody asked for it.
        while let Some(path) = waiting.pop() {
            let Ok(dir) = self.mount.top().dir(&path) else { continue };
            for name in dir.names().unwrap_or_default() {
                self.breathe()?;
                let Ok(Some(status)) = dir.status(&name) else { continue };
                if status.kind != FileType::Directory {
                    files += 1;
                    bytes += bytes_of(&status);
                } else if let Some(name) = name.to_str().filter(|name| *name != RESERVED && status.device == self.mount.device()) {
                    waiting.push(format!("{path}/{name}"));
                }
            }
        }
        self.found.ignored.files += files;
        self.found.ignored.bytes += bytes;
        self.sample(path.as_str(), status.kind == FileType::Directory, bytes);
        Ok(())
    }

    fn leave_out_if_there(&mut self, path: &RelPath) -> Result<(), ScanError> {
        let status = self.mount.top().parent_of(path.as_str()).and_then(|(dir, name)| dir.status(name));
        status.ok().flatten().map_or(Ok(()), |status| self.leave_out(path, &status))
    }

    /// Keeps the largest.
    fn sample(&mut self, path: &str, is_dir: bool, bytes: u64) {
        let samples = &mut self.found.ignored.samples;
        if samples.len() == SAMPLES {
            let Some((least, least_bytes)) = samples.iter().min_by_key(|(_, bytes)| **bytes) else { return };
            if *least_bytes >= bytes {
                return;
            }
            let least = least.clone();
            samples.remove(&least);
        }
        samples.insert(if is_dir { format!("{path}/") } else { path.to_owned() }, bytes);
    }

    /// Adds a directory's `.syncignore` to the rules, if it has one.
    fn syncignore(&mut self, dir: &Dir, at: &str) -> Result<(), ScanError> {
        if self.walk.rules.is_some() {
            return Ok(());
        }
        let path = if at.is_empty() { SYNCIGNORE.to_owned() } else { format!("{at}/{SYNCIGNORE}") };
        let Some(bytes) = read_syncignore(dir).map_err(LocalError::at("cannot read", &path))? else { return Ok(()) };
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let number = bytes[..e.valid_up_to()].split(|b| *b == b'\n').count();
            let line = bytes.split(|b| *b == b'\n').nth(number - 1).unwrap_or_default();
            let pattern = String::from_utf8_lossy(line).into_owned();
            BadPattern { origin: format!("{path}, line {number}"), pattern, why: "it is not UTF-8".into() }
        })?;
        Ok(self.found.filter.add_syncignore(at, text)?)
    }

    fn breathe(&mut self) -> Result<(), ScanError> {
        if self.met.is_multiple_of(BREATH) {
            (self.walk.progress)(self.found.entries.len() as u64, self.bytes);
            if (self.walk.stop)() {
                return Err(ScanError::Stopped);
            }
        }
        self.met += 1;
        Ok(())
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

/// Links and special files have no content bytes.
fn bytes_of(status: &Status) -> u64 {
    if status.kind == FileType::RegularFile { status.stamp.size } else { 0 }
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
