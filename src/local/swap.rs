//! Takes the place of a file or link in one step, and finds out whether it was the one that was seen: whatever came there in the last
//! moment is put back. Keeps no copy.

use std::io;

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::beneath::{Dir, Status};
use super::trash::{Spot, alike};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It has the place, and what stood there is gone.
    Done,
    /// Something else stood there, and does so again.
    Stale,
    /// The file system knows no such step; nothing was done.
    Unknown,
}

/// Gives `name` in `from` the place of what `status` says.
pub(super) fn swap(from: &Dir, name: &str, spot: &Spot<'_>, status: &Status) -> io::Result<Swapped> {
    match exchange(from, name, spot) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(Swapped::Unknown),
        Err(Errno::NOENT) if from.status(name)?.is_some() => return Ok(Swapped::Stale),
        Err(e) => return Err(e.into()),
    }
    if from.status(name)?.is_some_and(|was| was.stamp.inode == status.stamp.inode && alike(&was, status)) {
        // What stays goes with the run's directory.
        let _ = from.remove_file(name);
        return Ok(Swapped::Done);
    }
    match exchange(from, name, spot) {
        Ok(()) => Ok(Swapped::Stale),
        // It was removed: what stood there a moment ago stands there again.
        Err(Errno::NOENT) => from.rename(name, &spot.dir, spot.name).map(|()| Swapped::Stale),
        Err(e) => Err(e.into()),
    }
}

fn exchange(from: &Dir, name: &str, spot: &Spot<'_>) -> Result<(), Errno> {
    renameat_with(from, name, &spot.dir, spot.name, RenameFlags::EXCHANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::mount::Mount;
    use crate::path::RelPath;

    /// What a swap over `seen` does, when `meanwhile` has changed what stands there; the names and contents afterwards.
    fn after(meanwhile: impl FnOnce(&std::path::Path)) -> (Swapped, Vec<(String, String)>) {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("a"), "seen").unwrap();
        std::fs::write(at("new"), "brought").unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let path = RelPath::new("a").unwrap();
        let spot = Spot { dir: mount.top().dir("").unwrap(), name: "a", path: &path };
        let status = spot.dir.status("a").unwrap().unwrap();
        meanwhile(&at("a"));
        let swapped = swap(&spot.dir, "new", &spot, &status).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        let content = |path: &std::path::PathBuf| match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => format!("{:?}", e.kind()),
        };
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        (swapped, names.iter().map(|path| (name(path), content(path))).collect())
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn what_was_seen_is_replaced() {
        assert_eq!(after(|_| {}), (Swapped::Done, expected(&[("a", "brought")])));
    }

    #[test]
    fn what_came_there_in_the_last_moment_stays() {
        let both = |content| expected(&[("a", content), ("new", "brought")]);
        let other = |at: &std::path::Path| {
            std::fs::write(at.with_extension("saved"), "by an editor").unwrap();
            std::fs::rename(at.with_extension("saved"), at).unwrap();
        };
        assert_eq!(after(other), (Swapped::Stale, both("by an editor")));
        assert_eq!(after(|at| std::fs::write(at, "written in place").unwrap()), (Swapped::Stale, both("written in place")));
        let dir = |at: &std::path::Path| {
            std::fs::remove_file(at).unwrap();
            std::fs::create_dir(at).unwrap();
        };
        assert_eq!(after(dir), (Swapped::Stale, both("IsADirectory")));
        assert_eq!(after(|at| std::fs::remove_file(at).unwrap()), (Swapped::Stale, expected(&[("new", "brought")])));
    }
}
