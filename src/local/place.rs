//! Changes the tree: temporaries that are renamed into place, and the trash that takes what is replaced or removed. Nothing is ever
//! half written, nothing is ever written outside the mount, and where a file or link takes the place of a file or link the path is at
//! no moment missing. Decides nothing: what is replaced was seen by a plan, and is looked at again right before.

use std::io;
use std::sync::{MutexGuard, PoisonError};

use rustix::fs::{FileType, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::beneath::{Dir, Status, in_the_way};
use super::internal;
use super::mount::{LocalError, Looked, Mount, Stamp};
use super::swap::{Swapped, swap};
pub use super::temp::Temp;
use super::trash::{self, Spot, make_dirs, no_hard_links};
use super::twins::Twins;
use super::undo::{Left, Took, Was};
pub use super::workplace::Workplace;
use crate::path::{RESERVED, RelPath};

/// How much the trash may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrashLimits {
    /// Operations older than this many seconds go.
    pub age_seconds: u64,
    /// Oldest operations go first while the trash holds more than this share of the file system (0.1 is 10 %).
    pub share: f64,
}

/// Why a change was not made; the destination is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The destination is not what the plan saw.
    #[error("it changed after the plan was made")]
    Stale,
    /// Something on the way is a link or no directory, or another kind stands there.
    #[error("{0}")]
    Clash(String),
    /// No room (ENOSPC, EDQUOT).
    #[error("not enough space on the mount")]
    NoSpace(#[source] LocalError),
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
}

impl PlaceError {
    /// For `map_err`: sorts an error by what it means here.
    pub(super) fn at(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> PlaceError + use<> {
        let failed = LocalError::at(doing, path);
        move |e: io::Error| {
            let is = |errno: Errno| e.raw_os_error() == Some(errno.raw_os_error());
            if is(Errno::NOSPC) || is(Errno::DQUOT) {
                PlaceError::NoSpace(failed(e))
            } else if in_the_way(&e) {
                PlaceError::Clash("a link, a file or another file system stands where a directory of the mount has to be".into())
            } else {
                PlaceError::Failed(failed(e))
            }
        }
    }
}

/// What stood at a destination when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A file with this stamp.
    File(Stamp),
    /// A link with this target.
    Link(Box<str>),
    /// An empty directory.
    EmptyDir,
    /// A directory whose whole content the plan replaces; every path below was checked by the caller.
    Tree,
}

impl Workplace {
    /// Puts a finished temporary in place of what `seen` says, which goes to the trash (hard-linked there before the rename), creating
    /// parent directories. Returns the stamp of the new file.
    pub fn place(&self, mount: &Mount, temp: Temp, path: &RelPath, seen: &Seen) -> Result<Stamp, PlaceError> {
        if !temp.is_finished() {
            let unfinished = io::Error::new(io::ErrorKind::InvalidInput, "it was not finished");
            return Err(PlaceError::at("cannot place", path.as_str())(unfinished));
        }
        let spot = self.spot(mount, path, seen)?;
        let took = self.put(mount, &self.temps.dir, temp.name(), &spot, seen)?;
        let stamp = temp.placed()?;
        self.note(mount, path, &took, || Left::File(stamp.size, stamp.mtime, stamp.inode));
        Ok(stamp)
    }

    /// Makes a link, in the same way.
    pub fn place_link(&self, mount: &Mount, target: &str, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        let spot = self.spot(mount, path, seen)?;
        let name = self.temps.name();
        self.temps.dir.make_link(target, &name).map_err(PlaceError::at("cannot create the link", path.as_str()))?;
        let put = self.put(mount, &self.temps.dir, &name, &spot, seen);
        let took = put.inspect_err(|_| drop(self.temps.dir.remove_file(&name)))?;
        self.note(mount, path, &took, || Left::Link(target.to_owned()));
        Ok(())
    }

    /// Makes an empty directory, in the same way, but for a moment in which the path is missing when a file or link stood there.
    /// `mode`: permission bits, else the default. One that is there already, and empty, is what was wanted.
    pub fn place_dir(&self, mount: &Mount, mode: Option<u32>, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        let took = self.make_dir(mount, mode, path, seen)?;
        self.note(mount, path, &took, || Left::Dir);
        Ok(())
    }

    pub(super) fn make_dir(&self, mount: &Mount, mode: Option<u32>, path: &RelPath, seen: &Seen) -> Result<Took, PlaceError> {
        let mut took = Took::new(&Seen::Absent, None);
        let spot = self.spot(mount, path, seen)?;
        let failed = || PlaceError::at("cannot create the directory", path.as_str());
        let there_already = || Ok::<_, io::Error>(is_dir(&spot)? && spot.dir.dir(spot.name)?.is_empty()?);
        match seen {
            Seen::Absent | Seen::EmptyDir if there_already().map_err(failed())? => {}
            Seen::EmptyDir => return Err(PlaceError::Stale),
            Seen::Absent => match spot.dir.make_dir(spot.name, 0o777) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(PlaceError::Stale),
                other => other.map_err(failed())?,
            },
            Seen::File(_) | Seen::Link(_) | Seen::Tree => {
                let kept = self.take(mount, &spot, seen)?;
                took = Took::new(seen, Some(self.trash.place_of(&kept)));
                if let Err(e) = spot.dir.make_dir(spot.name, 0o777) {
                    kept.put_back(&spot).map_err(failed())?;
                    return Err(failed()(e));
                }
            }
        }
        if let Some(mode) = mode {
            internal::set_mode(&spot.dir, spot.name, None, mode).map_err(failed())?;
        }
        touch(mount, path);
        Ok(took)
    }

    /// Moves what lies at a path to the trash (for deletions). A directory only when it is empty.
    pub fn remove(&self, mount: &Mount, path: &RelPath, seen: &Seen) -> Result<(), PlaceError> {
        if *seen == Seen::Tree {
            return Err(PlaceError::Clash("it is a directory that is not empty".into()));
        }
        let took = self.take_away(mount, path, seen)?;
        self.note(mount, path, &took, || Left::Nothing);
        Ok(())
    }

    /// The same, also for a directory with all that it holds.
    pub(super) fn take_away(&self, mount: &Mount, path: &RelPath, seen: &Seen) -> Result<Took, PlaceError> {
        let spot = match (self.spot(mount, path, seen), seen) {
            (Err(PlaceError::Stale), Seen::Absent) => return Ok(Took::new(seen, None)),
            (spot, _) => spot?,
        };
        let mut took = Took::new(seen, None);
        match seen {
            Seen::Absent => self.look(&spot, seen).map(drop)?,
            Seen::File(_) | Seen::Link(_) | Seen::Tree => took.at = Some(self.trash.place_of(&self.take(mount, &spot, seen)?)),
            Seen::EmptyDir => {
                took.mode = Some(self.remove_empty_dir(&spot)?.mode);
                self.trash.note_empty_dir(mount, path, took.mode.unwrap_or_default());
            }
        }
        touch(mount, path);
        Ok(took)
    }

    /// Removes the directories above `path` that are empty now, up to the one for which `keep` is true or the root.
    pub fn remove_empty_parents(&self, mount: &Mount, path: &RelPath, keep: &dyn Fn(&str) -> bool) -> Result<(), LocalError> {
        for above in path.ancestors().take_while(|above| !keep(above)) {
            let removed = mount.top().parent_of(above).and_then(|(dir, name)| dir.remove_dir(name));
            match removed {
                Ok(()) => mount.touched().add(above.rsplit_once('/').map_or("", |(parent, _)| parent)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // Not empty, a mount point, or no directory at all any more.
                Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) || in_the_way(&e) => break,
                Err(e) => return Err(LocalError::at("cannot remove the empty directory", above)(e)),
            }
        }
        Ok(())
    }

    /// Sets permission bits (`& 0o777`) of a file or directory, checked against `seen`.
    pub fn set_mode(&self, mount: &Mount, path: &RelPath, seen: &Seen, mode: u32) -> Result<Looked, PlaceError> {
        if matches!(seen, Seen::Absent | Seen::Link(_)) {
            return Err(PlaceError::Clash("it has no permission bits".into()));
        }
        let spot = self.spot(mount, path, seen)?;
        let failed = || PlaceError::at("cannot set the permission bits of", path.as_str());
        let (status, twins) = self.look(&spot, seen)?;
        let status = status.ok_or(PlaceError::Stale)?;
        let inode = status.stamp.inode;
        internal::set_mode(&spot.dir, spot.name, Some(inode), mode).map_err(failed())?.ok_or(PlaceError::Stale)?;
        let after = spot.dir.status(spot.name).map_err(failed())?.filter(|after| after.stamp.inode == inode).ok_or(PlaceError::Stale)?;
        if let Some(mut twins) = twins {
            twins.changed(status.stamp, after.stamp);
        }
        Ok(match after.kind {
            FileType::RegularFile => Looked::File(after.stamp, after.mode),
            _ => Looked::Dir(*seen == Seen::EmptyDir),
        })
    }

    /// Writes down that something took the place of what was there.
    fn note(&self, mount: &Mount, path: &RelPath, took: &Took, left: impl FnOnce() -> Left) {
        if took.was != Was::Nothing {
            self.trash.note(mount, path, took, left());
        }
    }

    /// Opens the directory that holds a path; creates it where the plan saw nothing.
    pub(super) fn spot<'a>(&self, mount: &Mount, path: &'a RelPath, seen: &Seen) -> Result<Spot<'a>, PlaceError> {
        if path.is_reserved() {
            return Err(PlaceError::Clash(format!("what lies in {RESERVED} belongs to lsync")));
        }
        let parent = path.parent().unwrap_or_default();
        let dir = if *seen == Seen::Absent {
            let mut made = |at: &str| mount.touched().add(at);
            make_dirs(mount.top(), parent, &|at| self.mode_of_new_dir(at), &mut made)
        } else {
            mount.top().dir(parent)
        };
        match dir {
            Ok(dir) => Ok(Spot { dir, name: path.name(), path }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(PlaceError::Stale),
            Err(e) => Err(PlaceError::at("cannot open the directory of", path.as_str())(e)),
        }
    }

    /// What stands there, when it is what was seen; [`PlaceError::Stale`] otherwise. With a file of several names comes the right to
    /// change its stamp, which the caller tells on.
    fn look(&self, spot: &Spot<'_>, seen: &Seen) -> Result<(Option<Status>, Option<MutexGuard<'_, Twins>>), PlaceError> {
        let failed = || PlaceError::at("cannot look at", spot.path.as_str());
        let status = || spot.dir.status(spot.name).map_err(failed());
        let (mut found, mut twins) = (status()?, None);
        if found.is_some_and(|found| found.kind == FileType::RegularFile) && internal::links(&spot.dir, spot.name).map_err(failed())? > 1 {
            twins = Some(self.twins.lock().unwrap_or_else(PoisonError::into_inner));
            found = status()?;
        }
        let same = match (seen, &found) {
            (Seen::Absent, None) => true,
            (Seen::File(stamp), Some(found)) if found.kind == FileType::RegularFile => {
                found.stamp == *stamp || twins.as_ref().is_some_and(|twins| twins.same(&found.stamp, stamp))
            }
            (Seen::Link(target), Some(found)) if found.kind == FileType::Symlink => {
                spot.dir.read_link(spot.name).map_err(failed())? == **target
            }
            (Seen::EmptyDir, Some(found)) if found.kind == FileType::Directory => {
                spot.dir.dir(spot.name).and_then(|dir| dir.is_empty()).map_err(failed())?
            }
            (Seen::Tree, Some(found)) => found.kind == FileType::Directory,
            _ => false,
        };
        if same { Ok((found, twins)) } else { Err(PlaceError::Stale) }
    }

    /// Moves what was seen to the trash.
    fn take(&self, mount: &Mount, spot: &Spot<'_>, seen: &Seen) -> Result<trash::Kept, PlaceError> {
        let (status, twins) = self.look(spot, seen)?;
        let status = status.ok_or(PlaceError::Stale)?;
        let kept = self.trash.take(mount, spot, &status)?;
        if let (Some(mut twins), Ok(Some(after))) = (twins, kept.status()) {
            twins.changed(status.stamp, after.stamp);
        }
        Ok(kept)
    }

    /// Gives `name` in `from`, a temporary (a file or a link) or something from the trash, its place.
    pub(super) fn put(&self, mount: &Mount, from: &Dir, name: &str, spot: &Spot<'_>, seen: &Seen) -> Result<Took, PlaceError> {
        let mut took = Took::new(seen, None);
        match seen {
            Seen::Absent => claim(from, name, spot)?,
            Seen::File(_) | Seen::Link(_) => took.at = Some(self.replace(mount, from, name, spot, seen)?),
            Seen::EmptyDir => {
                let status = self.remove_empty_dir(spot)?;
                took.mode = Some(status.mode);
                claim(from, name, spot).inspect_err(|_| drop(spot.dir.make_dir(spot.name, status.mode)))?;
            }
            Seen::Tree => return self.make_way(mount, from, name, spot, seen),
        }
        touch(mount, spot.path);
        Ok(took)
    }

    /// The same, but for a moment in which the path is missing: what stands there goes to the trash first.
    pub(super) fn make_way(&self, mount: &Mount, from: &Dir, name: &str, spot: &Spot<'_>, seen: &Seen) -> Result<Took, PlaceError> {
        let kept = self.take(mount, spot, seen)?;
        claim(from, name, spot).inspect_err(|_| drop(kept.put_back(spot)))?;
        touch(mount, spot.path);
        Ok(Took::new(seen, Some(self.trash.place_of(&kept))))
    }

    /// Over a file or link, which is in the trash before; says where.
    fn replace(&self, mount: &Mount, from: &Dir, name: &str, spot: &Spot<'_>, seen: &Seen) -> Result<String, PlaceError> {
        let (status, twins) = self.look(spot, seen)?;
        let status = status.ok_or(PlaceError::Stale)?;
        let kept = self.trash.keep(mount, spot, &status)?;
        let renamed = match self.rename_over(from, name, spot, &status) {
            Ok(false) => Err(PlaceError::Stale),
            // Over NFS an answer can get lost: the repeated request then fails although the first one was done (rename(2), BUGS).
            Err(e) if e.kind() == io::ErrorKind::NotFound && from.status(name).is_ok_and(|left| left.is_none()) => Ok(()),
            // A directory came there.
            Err(e) if matches!(e.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory) => Err(PlaceError::Stale),
            other => other.map(drop).map_err(PlaceError::at("cannot replace", spot.path.as_str())),
        };
        if renamed.is_err() {
            kept.undo();
        }
        if let Some(mut twins) = twins
            && let Ok(Some(after)) = if renamed.is_ok() { kept.status() } else { spot.dir.status(spot.name) }
        {
            twins.changed(status.stamp, after.stamp);
        }
        renamed.map(|()| self.trash.place_of(&kept))
    }

    /// False when it is not what stood there a moment ago.
    fn rename_over(&self, from: &Dir, name: &str, spot: &Spot<'_>, status: &Status) -> io::Result<bool> {
        // Not from the trash, where a run that dies half way would leave what was swapped in the place of what is brought back.
        let swapped = if std::ptr::eq(from, &*self.temps.dir) { swap(from, name, spot, status)? } else { Swapped::Unknown };
        match swapped {
            Swapped::Done => Ok(true),
            Swapped::Stale => Ok(false),
            Swapped::Unknown => from.rename(name, &spot.dir, spot.name).map(|()| true),
        }
    }

    fn remove_empty_dir(&self, spot: &Spot<'_>) -> Result<Status, PlaceError> {
        let status = self.look(spot, &Seen::EmptyDir)?.0.ok_or(PlaceError::Stale)?;
        match spot.dir.remove_dir(spot.name) {
            Ok(()) => Ok(status),
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
                Err(PlaceError::Stale)
            }
            Err(e) => Err(PlaceError::at("cannot remove the empty directory", spot.path.as_str())(e)),
        }
    }
}

/// A name came or went there.
fn touch(mount: &Mount, path: &RelPath) {
    mount.touched().add(path.parent().unwrap_or_default());
}

/// Where nothing stands: whatever came there meanwhile is not overwritten.
fn claim(from: &Dir, name: &str, spot: &Spot<'_>) -> Result<(), PlaceError> {
    match renameat_with(from, name, &spot.dir, spot.name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(PlaceError::Stale),
        // NFS for one has no such rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => claim_by_link(from, name, spot),
        Err(e) => Err(PlaceError::at("cannot place", spot.path.as_str())(e.into())),
    }
}

fn claim_by_link(from: &Dir, name: &str, spot: &Spot<'_>) -> Result<(), PlaceError> {
    let failed = || PlaceError::at("cannot place", spot.path.as_str());
    let here = |e: &io::Error| e.kind() == io::ErrorKind::AlreadyExists;
    match from.hard_link(name, &spot.dir, spot.name) {
        Ok(()) => {}
        Err(e) if here(&e) => {
            // Ours, when the answer to the first request got lost (NFS); else another's.
            let inode = |status: Option<Status>| status.map(|status| status.stamp.inode);
            let ours = inode(from.status(name).map_err(failed())?);
            if inode(spot.dir.status(spot.name).map_err(failed())?) != ours {
                return Err(PlaceError::Stale);
            }
        }
        // Neither way to be sure: a look right before is what is left.
        Err(e) if no_hard_links(&e) => {
            return match spot.dir.status(spot.name).map_err(failed())? {
                Some(_) => Err(PlaceError::Stale),
                None => from.rename(name, &spot.dir, spot.name).map_err(failed()),
            };
        }
        Err(e) => return Err(failed()(e)),
    }
    // The second name goes with the run's directory at the latest.
    let _ = from.remove_file(name);
    Ok(())
}

fn is_dir(spot: &Spot<'_>) -> io::Result<bool> {
    Ok(spot.dir.status(spot.name)?.is_some_and(|status| status.kind == FileType::Directory))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A new file and a place for it, both in a directory of their own.
    fn with_a_place(check: impl Fn(&std::path::Path, &Dir, &Spot<'_>)) {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("new"), "new").unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let (dir, path) = (mount.top().dir("").unwrap(), RelPath::new("place").unwrap());
        check(temp.path(), &dir, &Spot { dir: mount.top().dir("").unwrap(), name: "place", path: &path });
    }

    type Claim = fn(&Dir, &str, &Spot<'_>) -> Result<(), PlaceError>;

    #[test]
    fn a_place_is_taken_where_nothing_stands_and_nowhere_else() {
        for claim in [claim as Claim, claim_by_link] {
            with_a_place(|top, dir, spot| {
                claim(dir, "new", spot).unwrap();
                assert_eq!((fs::read(top.join("place")).unwrap(), top.join("new").exists()), (b"new".to_vec(), false));
            });
            with_a_place(|top, dir, spot| {
                fs::write(top.join("place"), "another's").unwrap();
                assert!(matches!(claim(dir, "new", spot), Err(PlaceError::Stale)));
                assert_eq!(
                    (fs::read(top.join("place")).unwrap(), fs::read(top.join("new")).unwrap()),
                    (b"another's".to_vec(), b"new".to_vec())
                );
            });
        }
    }

    #[test]
    fn a_link_whose_answer_was_lost_is_ours() {
        with_a_place(|top, dir, spot| {
            fs::hard_link(top.join("new"), top.join("place")).unwrap();
            claim_by_link(dir, "new", spot).unwrap();
            assert_eq!((fs::read(top.join("place")).unwrap(), top.join("new").exists()), (b"new".to_vec(), false));
        });
    }
}
