//! Where lsync keeps what belongs in `.lsync/` while the directory takes nothing: it is full, read-only, or may only be read. One directory
//! per synced directory in the user's state home; where that takes nothing either, nothing is kept. Decides nothing about what is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rustix::io::Errno;

use super::beneath::{Dir, PRIVATE};
use super::internal;
use super::lines::locked;
use super::mount::{LocalError, Mount};
use super::witness::has_another_clock;
use crate::digest::digest_one;
use crate::path::Shown;

const PROBE: &str = "probe";
/// Bytes: more than fits beside a file's name in an inode, so that a full disk shows.
const PROBE_BYTES: usize = 16 << 10;

/// Where state is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `.lsync/`.
    Here,
    /// In the user's state home.
    Elsewhere,
    /// Nowhere: it ends with the process.
    Memory,
}

/// That this process keeps its state elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptElsewhere {
    /// Where; `None`: nothing is kept.
    pub path: Option<PathBuf>,
    /// Why not in `.lsync/`, and why not elsewhere.
    pub why: String,
}

/// What a [`Mount`] knows about it.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    dir: OnceLock<PathBuf>,
    kept: Mutex<Option<KeptElsewhere>>,
}

impl std::fmt::Display for KeptElsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => {
                let (why, path) = (&self.why, path.to_string_lossy());
                write!(
                    f,
                    "lsync cannot write its state to this directory ({why}); it keeps the state in {} until the directory is writable",
                    Shown(&path)
                )
            }
            None => {
                let why = &self.why;
                write!(f, "lsync cannot write its state ({why}); the next run will read all files again")
            }
        }
    }
}

impl Mount {
    /// Names the user's state home (`~/.local/state`): where state goes while `.lsync/` takes none. Creates nothing.
    pub fn offer_elsewhere(&self, state_home: &Path) {
        let nearest = state_home.ancestors().find_map(|above| above.canonicalize().ok());
        if nearest.is_none_or(|nearest| nearest.starts_with(self.root())) {
            // Whoever syncs a whole home directory does not want to find it among the files.
            return;
        }
        // Later offers change nothing: what is kept in the first one must be found again.
        let _ = self.elsewhere.dir.set(state_home.join("lsync").join(self.name_elsewhere()));
    }

    /// Writes state elsewhere from now on, because of this failure; where that fails too, nowhere. False when the failure is of another
    /// kind, or when nothing is kept already.
    pub fn keep_elsewhere(&self, failure: &LocalError) -> bool {
        if !takes_nothing(&failure.source) || failure.is_lost_mount() {
            return false;
        }
        let why = format!("{failure}: {}", failure.source);
        let mut kept = locked(&self.elsewhere.kept);
        *kept = Some(match &*kept {
            None => match self.elsewhere.dir.get() {
                None => KeptElsewhere { path: None, why },
                Some(dir) => match try_out(dir) {
                    Ok(()) => KeptElsewhere { path: Some(dir.clone()), why },
                    Err(e) => KeptElsewhere { path: None, why: format!("{why}; cannot write {}: {e}", Shown(&dir.to_string_lossy())) },
                },
            },
            Some(KeptElsewhere { path: Some(_), why: before }) => KeptElsewhere { path: None, why: format!("{before}; {why}") },
            Some(KeptElsewhere { path: None, .. }) => return false,
        });
        true
    }

    /// Where this process keeps its state if not in `.lsync/`.
    #[must_use]
    pub fn kept_elsewhere(&self) -> Option<KeptElsewhere> {
        locked(&self.elsewhere.kept).clone()
    }

    /// Where state is written.
    pub(crate) fn place(&self) -> Place {
        match &*locked(&self.elsewhere.kept) {
            None => Place::Here,
            Some(KeptElsewhere { path: Some(_), .. }) => Place::Elsewhere,
            Some(KeptElsewhere { path: None, .. }) => Place::Memory,
        }
    }

    /// True when another host may give the files of this directory their times.
    pub(super) fn is_on_network(&self) -> bool {
        has_another_clock(self.top())
    }

    /// What is kept elsewhere (`below`: a directory in it); `None` when nothing is.
    pub(crate) fn open_elsewhere(&self, below: &str) -> Result<Option<Dir>, LocalError> {
        let Some(path) = self.elsewhere.dir.get() else { return Ok(None) };
        match Dir::open_root(path).and_then(|dir| if below.is_empty() { Ok(dir) } else { dir.dir(below) }) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(LocalError::at("cannot open", &path.to_string_lossy())(e)),
        }
    }

    /// The same, created where it is missing.
    pub(super) fn make_elsewhere(&self, below: &str) -> Result<Dir, LocalError> {
        let path = self.elsewhere.dir.get().map_or(Path::new(""), PathBuf::as_path);
        let make = || {
            let dir = made(path)?;
            if below.is_empty() { Ok(dir) } else { dir.make_dirs(below, PRIVATE) }
        };
        make().map_err(LocalError::at("cannot create", &path.to_string_lossy()))
    }

    /// Removes the directory elsewhere once no state is in it.
    pub(super) fn leave_elsewhere(&self) {
        let (Some(path), Ok(Some(dir))) = (self.elsewhere.dir.get(), self.open_elsewhere("")) else { return };
        let Ok(names) = dir.names() else { return };
        let begins = |name: &std::ffi::OsString, starts: &[&str]| {
            name.to_str().is_some_and(|name| starts.iter().any(|start| name.starts_with(start)))
        };
        if names.iter().any(|name| begins(name, &["state-"])) {
            return;
        }
        // Nobody alive holds a lock there: the caller has looked, and whoever takes one now sees the caller's.
        for name in names.iter().filter(|name| begins(name, &["mount-", "store-", "lock", PROBE])) {
            // What cannot be removed is in nobody's way.
            let _ = dir.remove_file(name);
        }
        for below in ["journal", ""] {
            // What is not empty stays.
            let _ = std::fs::remove_dir(path.join(below));
        }
    }

    /// A name that this directory has again after a new start, and that no other one gets that is mounted in its place, as far as its
    /// file system tells. Device numbers are no part of it: they change.
    fn name_elsewhere(&self) -> String {
        let ((_, inode), Birth { time, file_system }) = (self.identity(), self.birth());
        let text = format!("{}\0{inode}\0{time}\0{file_system}", self.root().to_string_lossy());
        digest_one(text.as_bytes()).hex()
    }

    /// What has to be the same, beside the name, for a state elsewhere to be this directory's: nothing more where the name is proof enough.
    pub(super) fn device_if_in_doubt(&self) -> Option<u64> {
        (self.birth() == Birth { time: 0, file_system: 0 }).then(|| self.identity().0)
    }

    fn birth(&self) -> Birth {
        let born = std::fs::metadata(self.root()).and_then(|metadata| metadata.created()).ok();
        let time = born.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos());
        // A time of whole seconds may be that of two disks that one script has made.
        let is_unique = !time.is_multiple_of(1_000_000_000);
        let file_system = if is_unique { 0 } else { rustix::fs::fstatvfs(self.top()).map_or(0, |stat| stat.f_fsid) };
        Birth { time, file_system }
    }
}

/// When a directory was made, and by which file system where that is not enough; zeros where nothing tells.
#[derive(PartialEq, Eq)]
struct Birth {
    time: u128,
    file_system: u64,
}

/// A directory, created where it is missing: below the nearest one that exists, whose owner gets it.
fn made(path: &Path) -> io::Result<Dir> {
    for above in path.ancestors() {
        match Dir::open_root(above) {
            Ok(dir) if above == path => return Ok(dir),
            Ok(dir) => {
                let below = path.strip_prefix(above).ok().and_then(Path::to_str);
                return dir.make_dirs(below.ok_or(io::ErrorKind::InvalidInput)?, PRIVATE);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Creates the directory, and writes to it.
fn try_out(path: &Path) -> io::Result<()> {
    let dir = made(path)?;
    internal::replace(&dir, PROBE, &[b'.'; PROBE_BYTES])?;
    dir.remove_file(PROBE)
}

/// True when a place takes nothing that is written: another one may.
pub(super) fn takes_nothing(error: &io::Error) -> bool {
    let kinds = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::IO];
    kinds.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> LocalError {
        LocalError::at("cannot create", ".lsync")(errno)
    }

    #[test]
    fn a_place_that_takes_nothing_is_told_from_every_other_failure() {
        let check = |errno, expected| assert_eq!(takes_nothing(&io::Error::from(errno)), expected, "{errno:?}");
        check(Errno::NOSPC, true);
        check(Errno::DQUOT, true);
        check(Errno::ROFS, true);
        check(Errno::ACCESS, true);
        check(Errno::PERM, true);
        check(Errno::IO, true);
        check(Errno::NOENT, false);
        check(Errno::LOOP, false);
        check(Errno::NOTDIR, false);
        check(Errno::STALE, false);
        assert!(!takes_nothing(&io::Error::other("no")));
    }

    #[test]
    fn state_goes_to_the_next_place_that_takes_it_and_then_nowhere() {
        let (temp, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mount = Mount::open(temp.path()).unwrap();
        mount.offer_elsewhere(home.path());
        assert_eq!((mount.place(), mount.open_elsewhere("").unwrap().is_none()), (Place::Here, true));
        assert!(!mount.keep_elsewhere(&failed(Errno::LOOP)));
        assert_eq!(mount.place(), Place::Here);
        assert!(mount.keep_elsewhere(&failed(Errno::ROFS)));
        let kept = mount.kept_elsewhere().unwrap();
        assert!(kept.path.as_ref().unwrap().starts_with(home.path().join("lsync")));
        assert!(kept.why.starts_with("cannot create .lsync: Read-only file system"), "{kept}");
        assert_eq!((mount.place(), mount.open_elsewhere("").unwrap().is_some()), (Place::Elsewhere, true));
        assert!(mount.keep_elsewhere(&failed(Errno::NOSPC)));
        assert_eq!((mount.place(), mount.kept_elsewhere().unwrap().path), (Place::Memory, None));
        assert!(!mount.keep_elsewhere(&failed(Errno::NOSPC)));
        let again = Mount::open(temp.path()).unwrap();
        again.offer_elsewhere(home.path());
        assert!(again.open_elsewhere("").unwrap().is_some(), "it is found again");
        again.leave_elsewhere();
        assert!(again.open_elsewhere("").unwrap().is_none());
    }

    #[test]
    fn where_nothing_else_is_offered_nothing_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        mount.offer_elsewhere(&temp.path().join("home/.local/state"));
        assert!(mount.keep_elsewhere(&failed(Errno::ACCESS)));
        assert_eq!(mount.place(), Place::Memory);
    }
}
