//! What the mount is, and what its file system does: the mount table, space, and a few small files in `.lsync/tmp/` that are removed
//! again. Decides nothing.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use super::beneath::Dir;
use super::clock::Clock;
use super::folding::folding;
use super::internal;
use super::mount::{LocalError, Mount, Stamp};
use super::read_lease::{self, Lease};
use super::temp::set_mtime;
use super::trash::remove_tree;
use super::witness::Writers;
use crate::entry::Nanos;
use crate::plan::Folding;

/// What can be told without writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Its line of the mount table; `None` where there is no such table.
    pub mounted: Option<Mounted>,
    /// Free bytes for this user, and the size of the file system.
    pub space: (u64, u64),
    /// Free inodes for this user, and all; `None` where they are not counted.
    pub inodes: Option<(u64, u64)>,
    /// The kernel itself keeps lookups below the mount (`openat2`).
    pub confined_by_kernel: bool,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is mounted.
    pub at: String,
    /// `nfs4`, `ext4`, …
    pub kind: String,
    /// What is mounted: `server:/export`, a device.
    pub source: String,
    /// Options of this mount and of the file system, each once.
    pub options: Vec<String>,
}

/// What a few small files have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// How fine timestamps are, measured, 10 ms to 2 s.
    pub granularity: Nanos,
    /// Times that are set come back to the nanosecond.
    pub keeps_nanoseconds: bool,
    /// Permission bits that are set come back.
    pub keeps_modes: bool,
    /// The median of a few small writes made durable.
    pub fsync: Duration,
    /// A file can have two names.
    pub hard_links: bool,
    /// A name that is taken cannot be created a second time.
    pub exclusive_create: bool,
    /// Which names it takes for one.
    pub folding: Folding,
    /// How it shows who writes to its files.
    pub writers: Writers,
}

/// How many writes are timed.
const WRITES: usize = 5;

/// What the mount is.
pub fn inspect(mount: &Mount) -> Result<Inspected, LocalError> {
    let root = || LocalError::at("cannot examine", &mount.root().to_string_lossy());
    let stat = rustix::fs::fstatvfs(mount.top()).map_err(root())?;
    Ok(Inspected {
        mounted: mounted(mount.top()),
        space: mount.space()?,
        inodes: (stat.f_files > 0).then_some((stat.f_favail, stat.f_files)),
        confined_by_kernel: mount.top().is_confined_by_kernel(),
    })
}

/// Tries it with small files in a directory of its own, whose name is `unique`.
pub fn try_out(mount: &Mount, unique: &str) -> Result<Tried, LocalError> {
    let failed = || LocalError::at("cannot write", ".lsync/tmp");
    let granularity = Clock::read(mount)?.granularity;
    let all = mount.make_internal("tmp")?;
    let dir = mount.make_internal(&format!("tmp/{unique}"))?;
    let tried = in_directory(&dir).map_err(failed());
    let removed = remove_tree(&all, unique).map_err(failed());
    let (tried, ()) = (tried?, removed?);
    let writers = if tried.writers == Writers::Leased { mount.writers() } else { mount.writers().without_leases() };
    Ok(Tried { granularity, folding: folding(mount), writers, ..tried })
}

fn in_directory(dir: &Dir) -> io::Result<Tried> {
    let mut times = Vec::with_capacity(WRITES);
    for n in 0..WRITES {
        let mut file = dir.create_new(&format!("write-{n}"), internal::PRIVATE_FILE)?;
        let began = Instant::now();
        file.write_all(&[b'.'; 4096])?;
        file.sync_all()?;
        times.push(began.elapsed());
    }
    times.sort();
    let file = dir.create_new("file", internal::PRIVATE_FILE)?;
    let exclusive_create = dir.create_new("file", internal::PRIVATE_FILE).is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists);
    let time = 1_700_000_000_123_456_789;
    set_mtime(&file, time)?;
    let keeps_nanoseconds = Stamp::of(&file.metadata()?).mtime == time;
    internal::set_mode(dir, "file", None, 0o750)?;
    let keeps_modes = dir.status("file")?.is_some_and(|status| status.mode == 0o750);
    let hard_links = dir.hard_link("file", dir, "second").is_ok() && internal::links(dir, "file")? == 2;
    Ok(Tried {
        granularity: 0,
        keeps_nanoseconds,
        keeps_modes,
        fsync: times[WRITES / 2],
        hard_links,
        exclusive_create,
        folding: Folding::default(),
        writers: if leases_tell(dir)? { Writers::Leased } else { Writers::WrittenBack },
    })
}

/// Whether a read lease is refused while a file is open for writing, and granted afterwards.
fn leases_tell(dir: &Dir) -> io::Result<bool> {
    let writer = dir.create_new("lease", internal::PRIVATE_FILE)?;
    let reader = dir.file("lease")?;
    let while_open = read_lease::ask(&reader);
    drop(writer);
    Ok((while_open, read_lease::ask(&reader)) == (Lease::Refused, Lease::Granted))
}

/// The line of the mount table that an open directory belongs to.
fn mounted(dir: &Dir) -> Option<Mounted> {
    use std::os::fd::{AsFd, AsRawFd};
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", dir.as_fd().as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned();
    find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &id)
}

/// The line of a mount table with this id; see proc_pid_mountinfo(5).
fn find(table: &str, id: &str) -> Option<Mounted> {
    let line = table.lines().find(|line| line.split(' ').next() == Some(id))?;
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (at, mount_options) = (mount.next()?, mount.next()?);
    let mut system = system.split(' ');
    let (kind, source, super_options) = (system.next()?, system.next()?, system.next().unwrap_or_default());
    let mut options: Vec<String> = Vec::new();
    for option in mount_options.split(',').chain(super_options.split(',')).map(unescaped).filter(|option| !option.is_empty()) {
        if !options.contains(&option) {
            options.push(option);
        }
    }
    Some(Mounted { at: unescaped(at), kind: unescaped(kind), source: unescaped(source), options })
}

/// The table writes blanks, line ends and backslashes as `\` and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                out.push(b'\\');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Mounted {
    /// True for NFS of any version.
    #[must_use]
    pub fn is_nfs(&self) -> bool {
        matches!(self.kind.as_str(), "nfs" | "nfs4")
    }

    /// True when nothing can be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.has("ro")
    }

    /// Whether an option is set.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|set| set == option)
    }

    /// The value of an option: `4.2` of `vers`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
310 21 0:61 / /lambda/nfs/my\\040data rw,relatime shared:170 - nfs4 10.0.0.5:/export/a\\134b rw,vers=4.2,rsize=1048576,hard,proto=tcp,timeo=600,sec=sys
";

    #[test]
    fn the_line_of_the_mount_table_is_found_by_its_id() {
        let nfs = find(TABLE, "310").unwrap();
        assert_eq!((nfs.at.as_str(), nfs.kind.as_str(), nfs.source.as_str()), ("/lambda/nfs/my data", "nfs4", "10.0.0.5:/export/a\\b"));
        assert!(nfs.is_nfs() && nfs.has("hard") && !nfs.is_read_only());
        assert_eq!((nfs.value("vers"), nfs.value("sec"), nfs.value("size")), (Some("4.2"), Some("sys"), None));
        assert_eq!(nfs.options.iter().filter(|option| *option == "rw").count(), 1);
        assert_eq!(find(TABLE, "21").map(|line| line.kind), Some("ext4".into()));
        assert_eq!(find(TABLE, "3"), None);
        assert_eq!(unescaped("a\\04"), "a\\04");
    }

    #[test]
    fn this_file_system_is_told_and_nothing_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let inspected = inspect(&mount).unwrap();
        assert!(inspected.mounted.is_some_and(|mounted| !mounted.kind.is_empty()));
        assert!(inspected.space.0 <= inspected.space.1);
        assert!(!temp.path().join(".lsync").exists(), "looking creates nothing");
        let tried = try_out(&mount, "x").unwrap();
        assert_eq!(tried.writers, mount.writers(), "of what leases tell, all or nothing holds");
        assert!(tried.hard_links && tried.exclusive_create && tried.keeps_modes, "{tried:?}");
        assert_eq!(std::fs::read_dir(temp.path().join(".lsync/tmp")).unwrap().count(), 0);
    }
}
