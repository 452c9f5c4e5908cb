//! Where sources, the server's files and downloads lie: in memory where there is room, else on the disk. Each place goes with the run, and
//! what a run left that was killed goes with the next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::data::MIB;

/// Memory that looks like a file system, on every Linux.
const MEMORY: &str = "/dev/shm";
/// What others on this machine keep.
const SPARE_BYTES: u64 = 2048 * MIB;
const NAME: &str = "lsync-bench-";

/// A directory, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// One that has room for so many bytes, in memory if possible.
    pub(crate) fn with_room(bytes: u64, disk: &Path) -> Result<Scratch, Failure> {
        if memory_bytes().is_some_and(|free| free >= bytes + SPARE_BYTES) {
            return Scratch::on(Path::new(MEMORY));
        }
        eprintln!("there are no {} MiB of memory to spare: this lies on the disk", bytes / MIB);
        Scratch::on(disk)
    }

    /// One in this directory.
    pub(crate) fn on(dir: &Path) -> Result<Scratch, Failure> {
        fs::create_dir_all(dir)?;
        sweep(dir)?;
        let paths = (0_u32..).map(|number| dir.join(format!("{NAME}{}-{number}", std::process::id())));
        for path in paths {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
                Ok(()) => return Ok(Scratch(path)),
            }
        }
        Err("no name is free".into())
    }

    /// A place in it, whether something is there or not.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A place in it where nothing is, or nothing any more.
    pub(crate) fn absent(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        Ok(path)
    }

    /// An empty directory in it.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.absent(name)?;
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How much a file in memory may take now.
fn memory_bytes() -> Option<u64> {
    let room = rustix::fs::statvfs(MEMORY).ok()?;
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
    Some(available.min(room.f_bavail * room.f_frsize))
}

/// Removes what runs left in `dir` whose process is gone.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next()).and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
