//! The trash: what a run replaces or removes, one directory per operation, and how long it stays. Decides nothing about what goes in.
//!
//! `.lsync/trash/<operation>/<path>` holds the thing itself, with its times and permission bits. A path that is taken twice in one run
//! lies a second time in `.lsync/trash/<operation>/.lsync/again-<n>/<path>`. Beside it, `.lsync/trash/<operation>/.lsync/` holds `owner`,
//! the record of the run, `bytes`, what the operation takes, written when the run ends, and `items`, what took the place of what lies here.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::beneath::{Dir, PRIVATE, Status, in_the_way};
use super::internal::{self, PRIVATE_FILE};
use super::mount::{LocalError, Mount, Stamp};
use super::owner::{Owner, now};
use super::place::{PlaceError, TrashLimits};
use super::temp::set_mtime;
use super::undo::{Items, Left, Took};
use crate::path::{RESERVED, RelPath};

pub(super) const FOLDER: &str = "trash";
/// The record of what an operation takes.
pub(super) const BYTES: &str = "bytes";

/// The trash of one run; its directory is made when the first thing goes in.
#[derive(Debug)]
pub(super) struct Trash {
    operation: String,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    made: bool,
    bytes: u64,
    /// Whole directories went in: `bytes` is not all.
    trees: bool,
    /// What took the place of what went in.
    items: Option<Items>,
    /// Why that is not written down.
    failed: Option<io::Error>,
}

/// Where something lies in the trash, or may be put.
#[derive(Debug)]
pub(super) struct Kept {
    dir: Dir,
    name: String,
    /// That directory, relative to the mount.
    parent: String,
}

/// Where something stands in the tree.
#[derive(Debug)]
pub(super) struct Spot<'a> {
    pub(super) dir: Dir,
    pub(super) name: &'a str,
    pub(super) path: &'a RelPath,
}

impl Trash {
    pub(super) fn new(operation: &str) -> Trash {
        Trash { operation: operation.to_owned(), used: Mutex::default() }
    }

    /// Gives a file or link a second name in the trash; where the file system has no hard links, a copy. `status` is what it is.
    pub(super) fn keep(&self, mount: &Mount, spot: &Spot<'_>, status: &Status) -> Result<Kept, PlaceError> {
        let failed = || PlaceError::at("cannot keep in the trash", spot.path.as_str());
        let kept = self.room(mount, spot.path)?;
        match spot.dir.hard_link(spot.name, &kept.dir, &kept.name) {
            Ok(()) => {}
            Err(e) if no_hard_links(&e) => copy(spot, status, &kept).map_err(failed())?.then_some(()).ok_or(PlaceError::Stale)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(PlaceError::Stale),
            Err(e) => return Err(failed()(e)),
        }
        let found = kept.status().map_err(failed())?;
        if !found.is_some_and(|found| alike(&found, status)) {
            kept.undo();
            return Err(PlaceError::Stale);
        }
        mount.touched().add(&kept.parent);
        self.count(status);
        Ok(kept)
    }

    /// Moves whatever stands there to the trash. `status` is what it is; another thing goes back.
    pub(super) fn take(&self, mount: &Mount, spot: &Spot<'_>, status: &Status) -> Result<Kept, PlaceError> {
        let failed = || PlaceError::at("cannot move to the trash", spot.path.as_str());
        let kept = self.room(mount, spot.path)?;
        match spot.dir.rename(spot.name, &kept.dir, &kept.name) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(PlaceError::Stale),
            Err(e) => return Err(failed()(e)),
        }
        let found = kept.status().map_err(failed())?;
        if !found.is_some_and(|found| found.stamp.inode == status.stamp.inode && alike(&found, status)) {
            kept.put_back(spot).map_err(failed())?;
            return Err(PlaceError::Stale);
        }
        mount.touched().add(&kept.parent);
        self.count(status);
        Ok(kept)
    }

    /// Remembers that an empty directory was removed. A trash that cannot hold it loses nothing.
    pub(super) fn note_empty_dir(&self, mount: &Mount, path: &RelPath, mode: u32) {
        if let Ok(kept) = self.room(mount, path) {
            let _ = kept.dir.make_dir(&kept.name, mode | 0o700);
            mount.touched().add(&kept.parent);
        }
    }

    /// Where something lies, relative to the operation's directory.
    pub(super) fn place_of(&self, kept: &Kept) -> String {
        let own = format!("{RESERVED}/{FOLDER}/{}", self.operation);
        let below = kept.parent.strip_prefix(&own).unwrap_or_default().trim_start_matches('/');
        if below.is_empty() { kept.name.clone() } else { format!("{below}/{}", kept.name) }
    }

    /// Writes down what was done to a path, so that it can be undone. It is done: an error is told at the end.
    pub(super) fn note(&self, mount: &Mount, path: &RelPath, took: &Took, left: Left) {
        let whole = format!("{RESERVED}/{FOLDER}/{}", self.operation);
        let made = self.make(mount, &whole).map_err(io::Error::other);
        let mut used = self.used();
        let open = || mount.top().dir(&format!("{whole}/{RESERVED}")).and_then(|records| Items::open(&records));
        let noted = made.and_then(|()| {
            let items = match used.items.take() {
                Some(items) => items,
                None => open()?,
            };
            used.items.insert(items).note(path, took, left)
        });
        if let Err(e) = noted {
            used.failed.get_or_insert(e);
        }
    }

    /// Writes down what this operation takes.
    pub(super) fn close(&self, mount: &Mount) -> Result<(), LocalError> {
        let mut used = self.used();
        if let Some(e) = used.failed.take() {
            return Err(LocalError::at("cannot write down what can be undone of", &format!("{FOLDER}/{}", self.operation))(e));
        }
        if !used.made {
            return Ok(());
        }
        let place = format!("{FOLDER}/{}", self.operation);
        let bytes = if used.trees { mount.open_internal(&place)?.map_or(0, |dir| tree_bytes(&dir)) } else { used.bytes };
        let records = mount.make_internal(&format!("{place}/{RESERVED}"))?;
        used.items.as_ref().map_or(Ok(()), Items::sync).map_err(LocalError::at("cannot write", &place))?;
        internal::replace(&records, BYTES, format!("{bytes}\n").as_bytes()).map_err(LocalError::at("cannot write", &place))
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, status: &Status) {
        let mut used = self.used();
        match status.kind {
            FileType::RegularFile => used.bytes += status.stamp.size,
            FileType::Directory => used.trees = true,
            _ => {}
        }
    }

    /// A free place for a path.
    fn room(&self, mount: &Mount, path: &RelPath) -> Result<Kept, PlaceError> {
        let failed = || PlaceError::at("cannot make room in the trash for", path.as_str());
        let whole = format!("{RESERVED}/{FOLDER}/{}", self.operation);
        self.make(mount, &whole)?;
        for again in 1..100 {
            let place = if again == 1 { whole.clone() } else { format!("{whole}/{RESERVED}/again-{again}") };
            let parent = path.parent().map_or_else(|| place.clone(), |parent| format!("{place}/{parent}"));
            let mut made = |at: &str| mount.touched().add(at);
            let dir = match make_dirs(mount.top(), &parent, &|_| PRIVATE, &mut made) {
                Ok(dir) => dir,
                // A file lies there: this path was a directory or the other way round.
                Err(e) if in_the_way(&e) => continue,
                Err(e) => return Err(failed()(e)),
            };
            if dir.status(path.name()).map_err(failed())?.is_none() {
                return Ok(Kept { dir, name: path.name().to_owned(), parent });
            }
        }
        Err(PlaceError::Clash("it went to the trash a hundred times in this run".into()))
    }

    fn make(&self, mount: &Mount, whole: &str) -> Result<(), PlaceError> {
        let mut used = self.used();
        if !used.made {
            let records = mount.make_internal(&format!("{FOLDER}/{}/{RESERVED}", self.operation))?;
            let owner = Owner::this(&self.operation);
            internal::replace(&records, "owner", &owner.encode()).map_err(PlaceError::at("cannot write", whole))?;
            used.made = true;
        }
        Ok(())
    }
}

impl Kept {
    pub(super) fn status(&self) -> io::Result<Option<Status>> {
        self.dir.status(&self.name)
    }

    /// Takes the second name away again, after the change it was made for failed.
    pub(super) fn undo(&self) {
        // What stays is an extra name in the trash.
        let _ = self.dir.remove_file(&self.name);
    }

    /// Moves it back to where it stood, unless something stands there now; then it stays in the trash.
    pub(super) fn put_back(&self, spot: &Spot<'_>) -> io::Result<()> {
        match spot.dir.status(spot.name)? {
            None => self.dir.rename(&self.name, &spot.dir, spot.name),
            Some(_) => Ok(()),
        }
    }
}

/// Opens a directory below `top`, creating what is missing with the bits that `mode` says; `made` is told each directory that got a new name in it. Unlike
/// [`Dir::make_dirs`] nothing is durable on return.
pub(super) fn make_dirs(top: &Dir, path: &str, mode: &dyn Fn(&str) -> u32, made: &mut dyn FnMut(&str)) -> io::Result<Dir> {
    match top.dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut here = top.dir("")?;
    let mut at = 0;
    for segment in path.split('/') {
        match here.make_dir(segment, mode(&path[..at + segment.len()])) {
            Ok(()) => made(path[..at].trim_end_matches('/')),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        at += segment.len() + 1;
        here = here.dir(segment)?;
    }
    Ok(here)
}

/// True when a file system, or the rule that protects files of others (`fs.protected_hardlinks`), allows no second name.
pub(super) fn no_hard_links(error: &io::Error) -> bool {
    [Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK, Errno::NOSYS].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// The same thing, whatever its change time: renaming and linking move that.
pub(super) fn alike(a: &Status, b: &Status) -> bool {
    // A directory's size and mtime follow what is renamed in and out of it.
    a.kind == b.kind
        && (a.kind == FileType::Directory || (a.stamp.size, a.stamp.mtime) == (b.stamp.size, b.stamp.mtime) || a.kind == FileType::Symlink)
}

/// Copies a file with its times and bits, or a link. False when it was not, or is not any more, what `status` says.
fn copy(spot: &Spot<'_>, status: &Status, kept: &Kept) -> io::Result<bool> {
    if status.kind == FileType::Symlink {
        let target = spot.dir.read_link(spot.name)?;
        let target = target.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the link's target is not UTF-8"))?;
        return kept.dir.make_link(target, &kept.name).map(|()| true);
    }
    let mut from = spot.dir.file(spot.name)?;
    let stamp = |file: &File| Ok::<_, io::Error>(Stamp::of(&file.metadata()?));
    if stamp(&from)? != status.stamp {
        return Ok(false);
    }
    let mut copy = || {
        let mut to = kept.dir.create_new(&kept.name, PRIVATE_FILE)?;
        io::copy(&mut from, &mut to)?;
        to.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(status.mode))?;
        set_mtime(&to, status.stamp.mtime)?;
        to.sync_all()?;
        Ok(stamp(&from)? == status.stamp)
    };
    copy().inspect_err(|_: &io::Error| kept.undo())
}

/// Applies the limits to the operations other than `current`, whole operations, oldest first. What cannot be removed stays for the
/// next run.
pub(super) fn limit(mount: &Mount, current: &str, limits: TrashLimits) -> Result<(), LocalError> {
    let Some(trash) = mount.open_internal(FOLDER)? else { return Ok(()) };
    let names = trash.names().map_err(LocalError::at("cannot read", ".lsync/trash"))?;
    let mut operations: Vec<(i64, String)> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name != current)
        .filter_map(|name| Some((since(&trash, &name)?, name)))
        .collect();
    operations.sort();
    let age = i64::try_from(limits.age_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let oldest = now().saturating_sub(age);
    operations.retain(|(since, name)| *since >= oldest || remove_tree(&trash, name).is_err());
    if operations.is_empty() {
        return Ok(());
    }
    let mut total = operations.iter().map(|(_, name)| bytes(&trash, name)).sum::<u64>() + bytes(&trash, current);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share needs no exact bytes"
    )]
    let most = (mount.space()?.1 as f64 * limits.share) as u64;
    for (_, name) in &operations {
        if total <= most {
            break;
        }
        let freed = bytes(&trash, name);
        if remove_tree(&trash, name).is_ok() {
            total = total.saturating_sub(freed);
        }
    }
    Ok(())
}

/// When an operation began, by its owner record; without one, by its directory. `None` for what is no directory.
fn since(trash: &Dir, name: &str) -> Option<i64> {
    let recorded = || Owner::decode(&internal::read(&trash.dir(&format!("{name}/{RESERVED}")).ok()?, "owner").ok()??);
    let status = trash.status(name).ok()??;
    (status.kind == FileType::Directory).then(|| recorded().map_or(status.stamp.mtime, |owner| owner.since))
}

/// What an operation takes, by its record; a run that died left none, and its files are counted.
fn bytes(trash: &Dir, name: &str) -> u64 {
    let recorded = || -> Option<u64> {
        let bytes = internal::read(&trash.dir(&format!("{name}/{RESERVED}")).ok()?, BYTES).ok()??;
        std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.parse().ok()
    };
    recorded().unwrap_or_else(|| trash.dir(name).map_or(0, |dir| tree_bytes(&dir)))
}

fn tree_bytes(dir: &Dir) -> u64 {
    let mut total = 0;
    for name in dir.names().unwrap_or_default() {
        match dir.status(&name) {
            Ok(Some(status)) if status.kind == FileType::RegularFile => total += status.stamp.size,
            Ok(Some(status)) if status.kind == FileType::Directory => {
                total += name.to_str().and_then(|name| dir.dir(name).ok()).map_or(0, |below| tree_bytes(&below));
            }
            _ => {}
        }
    }
    total
}

/// Removes a directory of `.lsync/` with everything below it. Follows no link.
pub(super) fn remove_tree(parent: &Dir, name: &str) -> io::Result<()> {
    let open = || parent.dir(name).and_then(|dir| Ok((dir.names()?, dir)));
    let (names, dir) = open()
        .or_else(|e| if e.kind() == io::ErrorKind::PermissionDenied { writable(parent, name).and_then(|()| open()) } else { Err(e) })?;
    for entry in names {
        let gone = match dir.remove_file(&entry) {
            // A directory that others may not write to (Go's module cache) came here with its bits.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                writable(parent, name)?;
                dir.remove_file(&entry)
            }
            other => other,
        };
        match gone {
            // EPERM is what POSIX lets a system say for a directory, EISDIR what Linux says.
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => remove_tree(&dir, entry.to_str().ok_or(Errno::ILSEQ)?)?,
            other => other?,
        }
    }
    parent.remove_dir(name)
}

fn writable(parent: &Dir, name: &str) -> io::Result<()> {
    internal::set_mode(parent, name, None, PRIVATE).map(drop)
}
