//! Permission bits of directories that hold something: three-way like those of files, but that a directory with the bits that this
//! machine's umask gives needs no word. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Direction;
use crate::path::RelPath;

/// Permission bits by path, of those directories that have other bits than the ordinary ones.
pub type DirModes = BTreeMap<RelPath, u32>;

/// What is known about the bits of directories.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// In the mount.
    pub local: &'a DirModes,
    /// In the newest manifest; none where it was written by a version that tells of none: then they are what was agreed on.
    pub bucket: Option<&'a DirModes>,
    /// What both sides agreed on.
    pub base: &'a DirModes,
    /// The bits that the umask gives.
    pub ordinary: u32,
}

/// A directory that gets other bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirMode {
    /// Where.
    pub path: RelPath,
    /// The bits.
    pub mode: u32,
    /// The destination has no such directory yet: it comes with what lies in it.
    pub is_new: bool,
}

impl Sides<'_> {
    fn told(&self) -> &DirModes {
        self.bucket.unwrap_or(self.base)
    }

    fn of(&self, modes: &DirModes, path: &RelPath) -> u32 {
        modes.get(path).copied().unwrap_or(self.ordinary)
    }

    fn paths(&self) -> BTreeSet<&RelPath> {
        self.local.keys().chain(self.told().keys()).chain(self.base.keys()).collect()
    }

    /// What a direction carries, in path order. `here` and `there`: whether the mount and the bucket have something below a path.
    #[must_use]
    pub fn carried(&self, direction: Direction, here: &dyn Fn(&RelPath) -> bool, there: &dyn Fn(&RelPath) -> bool) -> Vec<DirMode> {
        let change = |path: &&RelPath| {
            let (local, bucket) = (here(path).then(|| self.of(self.local, path)), there(path).then(|| self.of(self.told(), path)));
            let (source, destination) = match direction {
                Direction::Upload => (local?, bucket),
                Direction::Download => (bucket?, local),
            };
            let is_new = destination.is_none();
            let carries = match destination {
                Some(destination) => source != destination && source != self.of(self.base, path),
                None => source != self.ordinary,
            };
            carries.then(|| DirMode { path: RelPath::clone(path), mode: source, is_new })
        };
        self.paths().iter().filter_map(change).collect()
    }

    /// What is published once an upload has carried these. `here` says what the run has looked at, `stays` what still holds something.
    #[must_use]
    pub fn published(&self, carried: &DirModes, here: &dyn Fn(&RelPath) -> bool, stays: &dyn Fn(&RelPath) -> bool) -> DirModes {
        let mut published = self.told().clone();
        for path in self.paths().into_iter().filter(|path| here(path)) {
            match carried.get(path) {
                Some(mode) if *mode == self.ordinary => drop(published.remove(path)),
                Some(mode) => drop(published.insert(path.clone(), *mode)),
                None => {}
            }
        }
        published.retain(|path, _| stays(path));
        published
    }

    /// What both sides agree on once a run has carried these.
    #[must_use]
    pub fn agreed(&self, carried: &DirModes, here: &dyn Fn(&RelPath) -> bool, there: &dyn Fn(&RelPath) -> bool) -> DirModes {
        let mut agreed = self.base.clone();
        for path in self.paths() {
            let mode = match carried.get(path) {
                Some(mode) => *mode,
                None if here(path) && there(path) && self.of(self.local, path) == self.of(self.told(), path) => self.of(self.local, path),
                None => continue,
            };
            if mode == self.ordinary {
                agreed.remove(path);
            } else {
                agreed.insert(path.clone(), mode);
            }
        }
        agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One directory `d`: its bits in the mount, in the manifest and as agreed (0: ordinary), each `None` where it is not.
    #[track_caller]
    fn check(direction: Direction, local: Option<u32>, bucket: Option<u32>, base: u32, expected: Option<(u32, bool)>) {
        let path = RelPath::new("d").unwrap();
        let modes = |mode: Option<u32>| mode.filter(|mode| *mode != 0).map(|mode| (path.clone(), mode)).into_iter().collect::<DirModes>();
        let (here, there) = (modes(local), modes(bucket));
        let base_modes = modes(Some(base));
        let sides = Sides { local: &here, bucket: Some(&there), base: &base_modes, ordinary: 0o755 };
        let carried = sides.carried(direction, &|_| local.is_some(), &|_| bucket.is_some());
        let found: Vec<(u32, bool)> = carried.iter().map(|change| (change.mode, change.is_new)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{direction:?} L{local:?} R{bucket:?} B{base:o}");
    }

    #[test]
    fn bits_of_directories_are_three_way_like_those_of_files() {
        use Direction::{Download, Upload};
        // Changed on one side.
        check(Upload, Some(0o700), Some(0), 0, Some((0o700, false)));
        check(Download, Some(0o700), Some(0), 0, None);
        check(Download, Some(0), Some(0o700), 0, Some((0o700, false)));
        check(Upload, Some(0), Some(0o700), 0, None);
        // Changed back to the ordinary ones.
        check(Upload, Some(0), Some(0o700), 0o700, Some((0o755, false)));
        check(Download, Some(0o700), Some(0), 0o700, Some((0o755, false)));
        // On both.
        check(Upload, Some(0o750), Some(0o700), 0, Some((0o750, false)));
        check(Download, Some(0o750), Some(0o700), 0, Some((0o700, false)));
        // The same, agreed on or not.
        check(Upload, Some(0o700), Some(0o700), 0, None);
        check(Download, Some(0), Some(0), 0, None);
        // New at the destination.
        check(Upload, Some(0o700), None, 0, Some((0o700, true)));
        check(Upload, Some(0), None, 0o700, None);
        check(Download, None, Some(0o555), 0, Some((0o555, true)));
        // Gone at the source.
        check(Upload, None, Some(0o700), 0o700, None);
    }

    #[test]
    fn a_manifest_that_tells_of_no_directories_changes_none() {
        let modes = |mode| DirModes::from([(RelPath::new("d").unwrap(), mode)]);
        let (private, yes) = (modes(0o700), |_: &RelPath| true);
        let sides = Sides { local: &private, bucket: None, base: &private, ordinary: 0o755 };
        assert_eq!(sides.carried(Direction::Download, &yes, &yes), []);
        assert_eq!(sides.published(&DirModes::new(), &yes, &yes), private);
        let none = DirModes::new();
        let sides = Sides { base: &none, ..sides };
        assert_eq!(sides.carried(Direction::Download, &yes, &yes), []);
        assert_eq!(sides.carried(Direction::Upload, &yes, &yes).len(), 1);
    }

    #[test]
    fn what_is_published_and_agreed_on_follows_what_was_carried() {
        let modes = |list: &[(&str, u32)]| list.iter().map(|(path, mode)| (RelPath::new(path).unwrap(), *mode)).collect::<DirModes>();
        let (local, told, base) =
            (modes(&[("a", 0o700), ("same", 0o500)]), modes(&[("far", 0o700), ("gone", 0o700), ("same", 0o500)]), modes(&[]));
        let sides = Sides { local: &local, bucket: Some(&told), base: &base, ordinary: 0o755 };
        let carried = modes(&[("a", 0o700)]);
        let here = |path: &RelPath| path.as_str() != "far";
        let published = sides.published(&carried, &here, &|path| path.as_str() != "gone");
        assert_eq!(published, modes(&[("a", 0o700), ("far", 0o700), ("same", 0o500)]));
        assert_eq!(sides.agreed(&carried, &here, &|_| true), modes(&[("a", 0o700), ("same", 0o500)]));
    }
}
