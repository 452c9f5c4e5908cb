//! What other runs left in `.lsync/tmp/`: cleared away once their owners are gone, except part files from which a download may go on.
//! Touches nothing that a living run owns.

use std::io;
use std::time::Duration;

use super::beneath::Dir;
use super::internal::{self, Probe};
use super::mount::{LocalError, Mount};
use super::owner::{Life, Owner};
use super::part::{PartFile, PartsOf, part_files, record_name};
use super::trash::remove_tree;
use crate::entry::Nanos;
use crate::path::RESERVED;

/// Where every run has a directory of its own for temporaries.
pub(super) const TMP: &str = "tmp";
/// The record of who owns such a directory.
pub(super) const OWNER: &str = "owner";
/// Temporaries of another host are left alone until their owner was silent for this long, by the mount's clock.
const SILENT: Duration = Duration::from_hours(24);
/// How long a part file waits for a download that goes on with it.
const STAYS: Duration = Duration::from_hours(7 * 24);

/// A part file that another run left.
#[derive(Debug)]
pub(super) struct LeftPart {
    pub(super) dir: Dir,
    pub(super) file: PartFile,
    /// Nobody writes to it any more. Where that cannot be told it may only be read.
    pub(super) is_free: bool,
}

impl LeftPart {
    /// Removes it. What stays is removed by a later run.
    pub(super) fn remove(&self) {
        let _ = self.dir.remove_file(&self.file.name).and_then(|()| self.dir.remove_file(record_name(&self.file.name)));
    }
}

/// Removes what dead runs left behind (dead on this host, or silent for 24 h), and part files older than 7 days. The caller holds the
/// lock. What cannot be removed stays.
pub fn clear(mount: &Mount, operation: &str) -> Result<(), LocalError> {
    let Some(all) = mount.open_internal(TMP)? else { return Ok(()) };
    let clear = || -> io::Result<()> {
        let now = Probe::open(&mount.top().dir(RESERVED)?)?.now()?;
        for (name, _) in directories(&all, operation, Some(now))?.into_iter().filter(|(_, is_over)| *is_over) {
            let _ = sweep(&all, &name, &|part| !older(part.written, now, STAYS));
        }
        Ok(())
    };
    clear().map_err(LocalError::at("cannot clean up", ".lsync/tmp"))
}

/// Content bytes that a download of these objects does not bring again, because part files hold them.
pub fn bytes_there(mount: &Mount, wanted: &[PartsOf]) -> Result<u64, LocalError> {
    let mut left = parts(mount, "")?;
    // Others' are copied: that takes the room all the same.
    left.retain(|left| left.is_free && wanted.contains(&left.file.of));
    Ok(wanted.iter().filter_map(|of| left.iter().filter(|l| l.file.of == *of).map(|l| of.bytes(&l.file.finished)).max()).sum())
}

/// The part files that other runs left.
pub(super) fn parts(mount: &Mount, operation: &str) -> Result<Vec<LeftPart>, LocalError> {
    let Some(all) = mount.open_internal(TMP)? else { return Ok(Vec::new()) };
    let find = || -> io::Result<Vec<LeftPart>> {
        let mut found = Vec::new();
        for (name, is_free) in directories(&all, operation, None)? {
            for file in part_files(&all.dir(&name)?)? {
                found.push(LeftPart { dir: all.dir(&name)?, file, is_free });
            }
        }
        Ok(found)
    };
    find().map_err(LocalError::at("cannot look at", ".lsync/tmp"))
}

/// Removes a directory of temporaries but for the part files to keep, which stay with its owner record.
pub(super) fn sweep(all: &Dir, name: &str, keeps: &dyn Fn(&PartFile) -> bool) -> io::Result<()> {
    let dir = all.dir(name)?;
    let parts: Vec<PartFile> = part_files(&dir)?.into_iter().filter(keeps).collect();
    if parts.is_empty() {
        return remove_tree(all, name);
    }
    let stays = |entry: &str| entry == OWNER || parts.iter().any(|part| entry == part.name || entry == record_name(&part.name));
    for entry in dir.names()?.iter().filter(|entry| !entry.to_str().is_some_and(stays)) {
        dir.remove_file(entry)?;
    }
    Ok(())
}

/// The directories of other runs that do not live on this host, and whether they are over; without a clock, one of another host counts as
/// not.
fn directories(all: &Dir, operation: &str, now: Option<Nanos>) -> io::Result<Vec<(String, bool)>> {
    let mut found = Vec::new();
    for name in all.names()? {
        let Some(name) = name.to_str().filter(|name| *name != operation) else { continue };
        let Ok(dir) = all.dir(name) else { continue };
        let life = match internal::read(&dir, OWNER) {
            // It died while it made the directory: whoever lives has written its record before it let go of the lock.
            Ok(None) => Life::Dead,
            Ok(Some(bytes)) => Owner::decode(&bytes).map_or(Life::Elsewhere, |owner| owner.life()),
            Err(_) => Life::Elsewhere,
        };
        let is_over = match life {
            Life::Alive => continue,
            // Of this process, which has another operation now.
            Life::Dead | Life::Own => true,
            Life::Elsewhere => {
                let last = dir.status(OWNER)?.map_or(dir.own_status()?, |record| record).stamp.mtime;
                now.is_some_and(|now| older(last, now, SILENT))
            }
        };
        found.push((name.to_owned(), is_over));
    }
    Ok(found)
}

fn older(then: Nanos, now: Nanos, than: Duration) -> bool {
    i128::from(now) - i128::from(then) > i128::try_from(than.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::digest::{ETag, digest_one};
    use crate::local::part::Record;
    use crate::path::RelPath;

    fn of(path: &str, etag: &str) -> PartsOf {
        PartsOf::new(("b", ""), &RelPath::new(path).unwrap(), (&ETag::parse(etag), 25, None), 10)
    }

    /// What a run of `owner` left: a part file with two of three parts, and a temporary without a record.
    fn left(mount: &Mount, operation: &str, owner: &Owner, of: &PartsOf) {
        let dir = mount.make_internal(&format!("{TMP}/{operation}")).unwrap();
        let path = mount.root().join(".lsync").join(TMP).join(operation);
        std::fs::write(path.join("0"), [0; 25]).unwrap();
        std::fs::write(path.join("1"), "half a file").unwrap();
        std::fs::write(path.join(OWNER), owner.encode()).unwrap();
        let record = Record::create(&dir, "0", of).unwrap();
        (1..3).for_each(|index| record.note(index, digest_one(b"x")).unwrap());
    }

    fn aged(mount: &Mount, path: &str, hours: u64) {
        let file = std::fs::File::options().write(true).open(mount.root().join(".lsync/tmp").join(path)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
    }

    #[track_caller]
    fn lies_there(mount: &Mount, expected: &[&str]) {
        let tmp = mount.root().join(".lsync/tmp");
        let dirs = std::fs::read_dir(&tmp).unwrap().map(|dir| dir.unwrap().path());
        let names = dirs.flat_map(|dir| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
        let mut names: Vec<String> = names.map(|path| path.strip_prefix(&tmp).unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn what_dead_runs_left_goes_but_part_files_wait_for_a_week() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let dead = Owner { pid: u32::MAX, ..Owner::this("dead") };
        let far = Owner { host: "gpu-of-yesterday".into(), ..dead.clone() };
        left(&mount, "dead", &dead, &of("x", "one"));
        left(&mount, "far", &far, &of("x", "one"));
        clear(&mount, "mine").unwrap();
        lies_there(&mount, &["dead/0", "dead/0.parts", "dead/owner", "far/0", "far/0.parts", "far/1", "far/owner"]);
        assert_eq!(parts(&mount, "mine").unwrap().len(), 2);
        aged(&mount, "far/owner", 23);
        aged(&mount, "dead/0.parts", 7 * 24 - 1);
        clear(&mount, "mine").unwrap();
        lies_there(&mount, &["dead/0", "dead/0.parts", "dead/owner", "far/0", "far/0.parts", "far/1", "far/owner"]);
        aged(&mount, "far/owner", 25);
        aged(&mount, "dead/0.parts", 7 * 24 + 1);
        clear(&mount, "mine").unwrap();
        lies_there(&mount, &["far/0", "far/0.parts", "far/owner"]);
    }

    #[test]
    fn nothing_of_a_run_that_lives_here_is_touched_or_read() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        left(&mount, "live", &Owner { pid: 1, started: None, ..Owner::this("live") }, &of("x", "one"));
        aged(&mount, "live/0.parts", 1000);
        aged(&mount, "live/owner", 1000);
        clear(&mount, "mine").unwrap();
        lies_there(&mount, &["live/0", "live/0.parts", "live/1", "live/owner"]);
        assert!(parts(&mount, "mine").unwrap().is_empty());
    }

    #[test]
    fn parts_that_are_there_need_no_room_unless_another_owns_them() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let dead = Owner { pid: u32::MAX, ..Owner::this("dead") };
        left(&mount, "dead", &dead, &of("x", "one"));
        left(&mount, "far", &Owner { host: "gpu-of-yesterday".into(), ..dead }, &of("y", "one"));
        let there = |wanted: &[PartsOf]| bytes_there(&mount, wanted).unwrap();
        assert_eq!(there(&[of("x", "one"), of("y", "one")]), 15);
        assert_eq!(there(&[of("x", "two"), of("z", "one")]), 0);
    }
}
