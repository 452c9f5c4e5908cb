//! Operations below an open directory that never leave it: no link is followed, no `..` is taken, whatever others plant meanwhile.
//! Knows descriptors and names, not what they mean.
//!
//! Paths are resolved by `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`. Where the kernel or a seccomp
//! profile lacks it, they are opened segment by segment with `O_NOFOLLOW`, which refuses the same. Mounts below the root are entered:
//! people bind-mount.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::belongs;
use super::mount::Stamp;
use crate::entry::time::time;

/// Permission bits of everything below `.lsync/` that is a directory.
pub(crate) const PRIVATE: u32 = 0o700;

/// An open directory.
///
/// A parameter `path` is text of any depth, segments separated by `/`, and may be empty for the directory itself; a `name` is one
/// segment. Anything else (`..`, a leading, trailing or double `/`) is refused with `InvalidInput`.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

/// What a name is, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// File, directory, link or something else.
    pub(crate) kind: FileType,
    /// Permission bits, `& 0o777`.
    pub(crate) mode: u32,
    /// Size, times and inode.
    pub(crate) stamp: Stamp,
    /// Number of the device it lies on.
    pub(crate) device: u64,
}

/// How paths are resolved: [`Way::Kernel`] until the kernel says that it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kernel,
    Segments,
}

static KERNEL_LACKS_OPENAT2: AtomicBool = AtomicBool::new(false);

const READ_FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const READ_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// True when something on the way is a link, no directory, or leads out: nothing of ours lies there.
pub(crate) fn in_the_way(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NOTDIR, Errno::XDEV].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

impl Dir {
    /// Opens a directory by its ordinary path; links are followed, because the user chose this one.
    pub(crate) fn open_root(path: &Path) -> io::Result<Dir> {
        Ok(Dir(fs::open(path, READ_DIR | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The directory that a descriptor names, opened to be read.
    pub(crate) fn below(of: &OwnedFd) -> io::Result<Dir> {
        Ok(Dir(fs::openat(of, ".", READ_DIR | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a directory below.
    pub(crate) fn dir(&self, path: &str) -> io::Result<Dir> {
        self.open(path, READ_DIR, 0).map(Dir)
    }

    /// Opens a directory below, creating what is missing with these permission bits. What was created is durable on return.
    pub(crate) fn make_dirs(&self, path: &str, mode: u32) -> io::Result<Dir> {
        match self.dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut here = self.dir("")?;
        for segment in path.split('/') {
            match here.make_dir(segment, mode) {
                Ok(()) => here.sync()?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
            here = here.dir(segment)?;
        }
        Ok(here)
    }

    /// Opens the directory that holds `path`, and gives the name in it.
    pub(crate) fn parent_of<'a>(&self, path: &'a str) -> io::Result<(Dir, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        check_segment(name.as_bytes())?;
        Ok((self.dir(parent)?, name))
    }

    /// Opens a regular file for reading. Anything else (a FIFO too, without waiting for a writer) is refused with `InvalidInput`.
    pub(crate) fn file(&self, path: &str) -> io::Result<File> {
        let file = File::from(self.open(path, READ_FILE, 0)?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }

    /// Whether a file may be opened for reading, as far as its permissions go; any other error is no answer.
    pub(crate) fn may_read(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        match fs::accessat(&parent.0, name, fs::Access::READ_OK, AtFlags::empty()) {
            Err(e @ (Errno::ACCESS | Errno::PERM)) => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Creates a file for reading and writing; `AlreadyExists` when anything has that name.
    pub(crate) fn create_new(&self, name: &str, mode: u32) -> io::Result<File> {
        check_segment(name.as_bytes())?;
        let file = self.open(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode).map(File::from)?;
        belongs::give_file(self, &file);
        Ok(file)
    }

    /// What a name is; `None` when nothing has it.
    pub(crate) fn status(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Status>> {
        let name = segment(name.as_ref())?;
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
            Ok(stat) => Ok(Some(Status::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What this directory itself is.
    pub(crate) fn own_status(&self) -> io::Result<Status> {
        Ok(Status::of(&fs::fstat(&self.0)?))
    }

    /// The names in it, in no order, without `.` and `..`.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.each_name(|name| {
            names.push(OsString::from_vec(name.to_vec()));
            true
        })?;
        Ok(names)
    }

    /// True when there is nothing in it.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        let mut empty = true;
        self.each_name(|_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    /// The target of a link, to the letter.
    pub(crate) fn read_link(&self, name: &str) -> io::Result<OsString> {
        check_segment(name.as_bytes())?;
        Ok(OsString::from_vec(fs::readlinkat(&self.0, name, Vec::new())?.into_bytes()))
    }

    /// Makes a link.
    pub(crate) fn make_link(&self, target: &str, name: &str) -> io::Result<()> {
        check_segment(name.as_bytes())?;
        fs::symlinkat(target, &self.0, name)?;
        belongs::give(self, name);
        Ok(())
    }

    /// Makes a directory.
    pub(crate) fn make_dir(&self, name: &str, mode: u32) -> io::Result<()> {
        check_segment(name.as_bytes())?;
        fs::mkdirat(&self.0, name, Mode::from_raw_mode(mode))?;
        belongs::give(self, name);
        Ok(())
    }

    /// Renames over whatever has the new name (a file or link over a file or link, a directory over an empty one).
    pub(crate) fn rename(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        check_segment(name.as_bytes())?;
        check_segment(new_name.as_bytes())?;
        Ok(fs::renameat(&self.0, name, &to.0, new_name)?)
    }

    /// Makes a second name for a file or for a link itself; `AlreadyExists` when anything has it.
    pub(crate) fn hard_link(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        check_segment(name.as_bytes())?;
        check_segment(new_name.as_bytes())?;
        Ok(fs::linkat(&self.0, name, &to.0, new_name, AtFlags::empty())?)
    }

    /// Removes anything but a directory.
    pub(crate) fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, segment(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, segment(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Whether the kernel itself keeps lookups below a directory (`openat2`).
    pub(crate) fn is_confined_by_kernel(&self) -> bool {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        fs::openat2(&self.0, ".", READ_DIR | OFlags::CLOEXEC, Mode::empty(), resolve).is_ok()
    }

    /// Makes names that were created, renamed or removed here durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match fs::fsync(&self.0) {
            // Some network and FUSE file systems cannot do this for a directory, and have nothing to make durable then.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn each_name(&self, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        for entry in fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !take(name) {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, path: &str, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let way = if KERNEL_LACKS_OPENAT2.load(Ordering::Relaxed) { Way::Segments } else { Way::Kernel };
        open_by(way, self.0.as_fd(), path, flags, Mode::from_raw_mode(mode))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Status {
    fn of(stat: &fs::Stat) -> Status {
        let time = |seconds: i64, nanos: u64| time(seconds, i64::try_from(nanos).unwrap_or(0));
        Status {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o777,
            stamp: Stamp {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mtime: time(stat.st_mtime, stat.st_mtime_nsec),
                ctime: time(stat.st_ctime, stat.st_ctime_nsec),
                inode: stat.st_ino,
            },
            device: stat.st_dev,
        }
    }
}

fn open_by(way: Way, dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !path.is_empty() {
        path.split('/').try_for_each(|segment| check_segment(segment.as_bytes()))?;
    }
    let path = if path.is_empty() { "." } else { path };
    if way == Way::Kernel {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match fs::openat2(dir, path, flags, mode, resolve) {
                // EAGAIN: a rename raced with the resolution.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    KERNEL_LACKS_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                // Old container profiles answer this for calls that they do not know; the other way tells whether it was meant.
                Err(Errno::PERM) => break,
                other => return Ok(other?),
            }
        }
    }
    open_by_segments(dir, path, flags, mode)
}

fn open_by_segments(dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
    let mut here: Option<OwnedFd> = None;
    // O_PATH needs no read permission, as resolution by the kernel does not.
    let pass = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for segment in parents.into_iter().flat_map(|parents| parents.split('/')) {
        let next = retried(|| fs::openat(here.as_ref().map_or(dir, |fd| fd.as_fd()), segment, pass, Mode::empty()))?;
        here = Some(next);
    }
    Ok(retried(|| fs::openat(here.as_ref().map_or(dir, |fd| fd.as_fd()), name, flags, mode))?)
}

fn retried<T>(call: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn segment(name: &OsStr) -> io::Result<&OsStr> {
    check_segment(name.as_bytes())?;
    Ok(name)
}

fn check_segment(name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain name"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "../../tests/it/containment/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A mount with a neighbour outside it, and links of every sort that lead there.
    fn planted() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "s").unwrap();
        std::fs::write(root.join("real/file"), "f").unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("real", root.join("inner")).unwrap();
        symlink("file", root.join("real/link")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        (temp, Dir::open_root(&root).unwrap())
    }

    #[track_caller]
    fn opened(path: &str, flags: OFlags) -> [Result<(), io::Error>; 2] {
        let (_temp, root) = planted();
        [Way::Kernel, Way::Segments].map(|way| open_by(way, root.as_fd(), path, flags, Mode::empty()).map(drop))
    }

    #[track_caller]
    fn blocked(path: &str, flags: OFlags) {
        for result in opened(path, flags) {
            assert!(in_the_way(&result.expect_err(path)), "{path}");
        }
    }

    #[track_caller]
    fn invalid(path: &str) {
        for result in opened(path, READ_DIR) {
            assert_eq!(result.expect_err(path).kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn both_ways_open_what_is_inside() {
        for fine in ["", "real", "real/deep"] {
            assert!(opened(fine, READ_DIR).iter().all(Result::is_ok), "{fine}");
        }
        assert!(opened("real/file", READ_FILE).iter().all(Result::is_ok));
        for result in opened("real/none/x", READ_FILE) {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn neither_way_follows_a_link() {
        blocked("relative/secret", READ_FILE);
        blocked("absolute/secret", READ_FILE);
        blocked("inner/file", READ_FILE);
        blocked("magic/etc/passwd", READ_FILE);
        blocked("loop/x", READ_FILE);
        blocked("real/link", READ_FILE);
        blocked("relative", READ_DIR);
        blocked("inner", READ_DIR);
        blocked("real/file/x", READ_FILE);
    }

    #[test]
    fn neither_way_takes_dots_or_slashes() {
        for path in ["..", "../outside", "/etc", "real/..", "real/../..", "./real", "real/", "real//deep", "/", "."] {
            invalid(path);
        }
    }

    /// The same keys that a bucket with evil in it serves, where every name that can be one is a link to somewhere else.
    #[test]
    fn both_ways_refuse_the_same_of_what_is_hostile() {
        let mut refused = 0;
        let answers = [Way::Kernel, Way::Segments].map(|way| {
            let (temp, root) = planted();
            let keys = corpus::keys(temp.path().join("outside/planted").to_str().unwrap());
            for name in keys.iter().filter_map(|key| key.split('/').next()) {
                // Some are no names, some are there already.
                let _ = root.make_link("../outside", name);
            }
            let create = OFlags::RDWR | OFlags::CREATE;
            let opened = keys.iter().map(|key| open_by(way, root.as_fd(), key, create, Mode::RUSR));
            let kinds: Vec<_> = opened.map(|opened| opened.map(drop).map_err(|e| (in_the_way(&e), e.kind()))).collect();
            assert_eq!(std::fs::read_dir(temp.path().join("outside")).unwrap().count(), 1, "{way:?}");
            refused = kinds.iter().filter(|kind| kind.is_err()).count();
            kinds.into_iter().map(|kind| kind.map_err(|(in_the_way, kind)| (!in_the_way).then_some(kind))).collect::<Vec<_>>()
        });
        assert_eq!(answers[0], answers[1]);
        assert!(refused > 500, "{refused}");
    }

    #[test]
    fn names_are_single_segments() {
        let (_temp, root) = planted();
        for name in ["", ".", "..", "a/b", "../x", "/x"] {
            assert!(root.make_dir(name, 0o700).is_err(), "{name}");
            assert!(root.status(name).is_err(), "{name}");
            assert!(root.remove_file(name).is_err(), "{name}");
            assert!(root.create_new(name, 0o600).is_err(), "{name}");
            assert!(root.rename("real", &root, name).is_err(), "{name}");
        }
    }

    #[test]
    fn nothing_is_created_through_a_link() {
        let (temp, root) = planted();
        for path in ["relative/new", "absolute/new/er", "inner/new"] {
            assert!(in_the_way(&root.make_dirs(path, 0o700).unwrap_err()), "{path}");
        }
        assert_eq!(std::fs::read_dir(temp.path().join("outside")).unwrap().count(), 1);
        assert!(root.create_new("loop", 0o600).is_err());
    }

    #[test]
    fn directories_are_made_and_files_moved_between_them() {
        let (temp, root) = planted();
        let made = root.make_dirs(".lsync/tmp/op", PRIVATE).unwrap();
        assert_eq!(made.own_status().unwrap().mode, 0o700);
        assert!(made.is_empty().unwrap());
        drop(made.create_new("part", 0o600).unwrap());
        assert_eq!(made.names().unwrap(), ["part"]);
        let (real, name) = root.parent_of("real/placed").unwrap();
        made.hard_link("part", &real, name).unwrap();
        assert_eq!(real.status(name).unwrap(), made.status("part").unwrap());
        made.rename("part", &real, "other").unwrap();
        made.sync().unwrap();
        real.remove_file(name).unwrap();
        assert!(real.status(name).unwrap().is_none());
        assert!(temp.path().join("root/real/other").is_file());
        root.make_dirs(".lsync/tmp/op", PRIVATE).unwrap();
        root.dir(".lsync/tmp").unwrap().remove_dir("op").unwrap();
    }

    #[test]
    fn a_hard_link_to_a_link_is_the_link_itself() {
        let (_temp, root) = planted();
        root.hard_link("absolute", &root, "second").unwrap();
        assert_eq!(root.status("second").unwrap().unwrap().kind, FileType::Symlink);
        assert_eq!(root.read_link("inner").unwrap(), "real");
        root.make_link("any/where", "new").unwrap();
        assert_eq!(root.read_link("new").unwrap(), "any/where");
    }

    #[test]
    fn a_fifo_is_refused_without_waiting() {
        let (_temp, root) = planted();
        fs::mknodat(&root, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(root.file("fifo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(root.file("real").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
