//! lsync's own small files in `.lsync/`: read whole, written whole, and the mount's clock from a probe file. Knows no formats.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::belongs;
use super::beneath::Dir;
use super::mount::Stamp;
use crate::entry::Nanos;

/// Permission bits of lsync's own files.
pub(super) const PRIVATE_FILE: u32 = 0o600;
const PROBE: &str = "clock";

/// A file; `None` when it is not there.
pub(super) fn open_to_read(dir: &Dir, name: &str) -> io::Result<Option<File>> {
    match dir.file(name) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The bytes of a file; `None` when it is not there.
pub(super) fn read(dir: &Dir, name: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open_to_read(dir, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Puts a file in place whole: temporary, fsync, rename, fsync of the directory. One writer per name at a time.
pub(super) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_by(dir, name, |file| file.write_all(bytes))
}

/// [`replace`] by what is written piece by piece.
pub(super) fn replace_by(dir: &Dir, name: &str, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temp = format!("{name}.new");
    match dir.remove_file(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let write = || {
        let mut file = dir.create_new(&temp, PRIVATE_FILE)?;
        content(&mut file)?;
        file.sync_all()?;
        dir.rename(&temp, dir, name)
    };
    write().inspect_err(|_| drop(dir.remove_file(&temp)))?;
    dir.sync()
}

/// Opens a file of this directory for reading and writing, where it is there; links are refused.
pub(super) fn open_to_write(dir: &Dir, name: &str) -> io::Result<File> {
    open(dir, name, OFlags::empty())
}

fn open(dir: &Dir, name: &str, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
    let file = File::from(fs::openat(dir, name, flags, Mode::from_raw_mode(PRIVATE_FILE))?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// How many names a file has.
pub(super) fn links(dir: &Dir, name: &str) -> io::Result<u64> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        #[expect(clippy::useless_conversion, reason = "32 bits wide on other machines")]
        Ok(stat) => Ok(stat.st_nlink.into()),
        Err(Errno::NOENT) => Ok(0),
        Err(e) => Err(e.into()),
    }
}

/// Sets the permission bits of whatever has a name, links refused, and returns its inode number. Needs no permission on the file
/// itself but to own it. `expected`: only this inode's; else `Ok(None)`.
pub(super) fn set_mode(dir: &Dir, name: &str, expected: Option<u64>, mode: u32) -> io::Result<Option<u64>> {
    let fd = fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fs::fstat(&fd)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    if expected.is_some_and(|inode| inode != found.st_ino) {
        return Ok(None);
    }
    // fchmod(2) refuses O_PATH; this is the same by another name (openat(2), O_PATH).
    fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode & 0o777))?;
    Ok(Some(found.st_ino))
}

/// Gives a file the file system's present time; on a network file system that is the server's clock, not this host's.
pub(super) fn refresh(file: &File) -> io::Result<()> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    Ok(fs::futimens(file, &Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) })?)
}

/// The file whose times tell the mount's clock.
pub(super) struct Probe(File);

impl Probe {
    /// Opens or creates it in `.lsync/`.
    pub(super) fn open(dir: &Dir) -> io::Result<Probe> {
        let file = open(dir, PROBE, OFlags::CREATE)?;
        belongs::give_file(dir, &file);
        Ok(Probe(file))
    }

    /// The mount's time now: the ctime that a change gets.
    pub(super) fn now(&self) -> io::Result<Nanos> {
        self.0.write_all_at(b".", 0)?;
        refresh(&self.0)?;
        Ok(Stamp::of(&self.0.metadata()?).ctime)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(temp.path()).unwrap();
        assert_eq!(read(&dir, "x").unwrap(), None);
        std::fs::write(temp.path().join("x.new"), "left behind by a crash").unwrap();
        replace(&dir, "x", b"one").unwrap();
        replace(&dir, "x", b"two").unwrap();
        assert_eq!(read(&dir, "x").unwrap().unwrap(), b"two");
        assert_eq!(dir.status("x").unwrap().unwrap().mode, 0o600);
        assert_eq!(dir.names().unwrap(), ["x"]);
    }

    #[test]
    fn a_planted_link_is_neither_read_nor_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::write(&outside, "mine").unwrap();
        std::fs::create_dir(temp.path().join("in")).unwrap();
        let dir = Dir::open_root(&temp.path().join("in")).unwrap();
        for name in ["x", "x.new", "clock"] {
            symlink(&outside, temp.path().join("in").join(name)).unwrap();
        }
        assert!(read(&dir, "x").is_err());
        assert!(Probe::open(&dir).is_err());
        replace(&dir, "x", b"new").unwrap();
        assert_eq!(read(&dir, "x").unwrap().unwrap(), b"new");
        assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
    }

    #[test]
    fn refreshing_takes_the_file_systems_time() {
        let file = tempfile::tempfile().unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        refresh(&file).unwrap();
        assert!(file.metadata().unwrap().mtime() > 1_000_000_000);
    }
}
