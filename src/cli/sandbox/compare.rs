//! Compares two directories as exactly as lsync promises to carry them: content, kinds, link targets, permissions, and the modification
//! times of files to the nanosecond. Shares no code with what it judges.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lsync::path::Shown;
use walkdir::WalkDir;

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Files, links and directories that were compared.
    pub items: u64,
    /// Content bytes that were read on each side.
    pub bytes: u64,
    /// What differs, by path; empty when the trees are the same.
    pub differences: Vec<String>,
}

/// At the top of a mount, what belongs to this machine and does not travel.
const LEFT_OUT: &[&str] = &[".lsync", "sync.toml"];

/// Compares all that lies below two mounts.
pub(crate) fn trees(one: &Path, other: &Path) -> io::Result<Compared> {
    let (left, right) = (walk(one)?, walk(other)?);
    let mut compared = Compared::default();
    for (path, a) in &left {
        let why = match right.get(path) {
            Some(b) => difference((&one.join(path), a), (&other.join(path), b))?,
            None => Some("is missing"),
        };
        compared.items += 1;
        compared.bytes += if a.is_file() { a.len() } else { 0 };
        compared.differences.extend(why.map(|why| format!("{}: {why}", Shown(&path.to_string_lossy()))));
    }
    let new = right.keys().filter(|path| !left.contains_key(*path));
    compared.differences.extend(new.map(|path| format!("{}: was not there before", Shown(&path.to_string_lossy()))));
    Ok(compared)
}

fn walk(root: &Path) -> io::Result<BTreeMap<PathBuf, Metadata>> {
    let left_out = |entry: &walkdir::DirEntry| entry.depth() == 1 && LEFT_OUT.iter().any(|name| entry.file_name() == *name);
    let mut found = BTreeMap::new();
    for entry in WalkDir::new(root).min_depth(1).into_iter().filter_entry(|entry| !left_out(entry)) {
        let entry = entry?;
        let path = entry.path().strip_prefix(root).map_err(io::Error::other)?.to_owned();
        found.insert(path, entry.metadata()?);
    }
    Ok(found)
}

fn difference((one, a): (&Path, &Metadata), (other, b): (&Path, &Metadata)) -> io::Result<Option<&'static str>> {
    let mode = |m: &Metadata| m.mode() & 0o7777;
    let mtime = |m: &Metadata| (m.mtime(), m.mtime_nsec());
    Ok(if a.file_type() != b.file_type() {
        Some("is of another kind")
    } else if a.is_symlink() {
        (std::fs::read_link(one)? != std::fs::read_link(other)?).then_some("points elsewhere")
    } else if mode(a) != mode(b) {
        Some("has other permissions")
    } else if a.is_dir() {
        None
    } else if mtime(a) != mtime(b) {
        Some("has another modification time")
    } else if a.len() != b.len() || !same_content(one, other)? {
        Some("has other content")
    } else {
        None
    })
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    const PIECE: u64 = 1 << 20;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        Read::by_ref(&mut one).take(PIECE).read_to_end(&mut a)?;
        Read::by_ref(&mut other).take(PIECE).read_to_end(&mut b)?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "12345").unwrap();
        symlink("d/a", dir.path().join("l")).unwrap();
        set_time(dir.path(), 1);
        dir
    }

    fn set_time(dir: &Path, nanos: u32) {
        let file = File::options().write(true).open(dir.join("d/a")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(1_700_000_000, nanos)).unwrap();
    }

    /// Checks what is said of a tree that was changed in one way.
    #[track_caller]
    fn check(change: impl Fn(&Path), expected: &str) {
        let (one, other) = (tree(), tree());
        change(other.path());
        assert_eq!(trees(one.path(), other.path()).unwrap().differences.join("; "), expected);
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        check(|_| {}, "");
        check(|dir| fs::create_dir(dir.join(".lsync")).unwrap(), "");
        check(|dir| fs::remove_file(dir.join("d/a")).unwrap(), "d/a: is missing");
        check(|dir| fs::write(dir.join("new"), "").unwrap(), "new: was not there before");
        check(|dir| set_time(dir, 2), "d/a: has another modification time");
        check(|dir| fs::set_permissions(dir.join("d/a"), PermissionsExt::from_mode(0o755)).unwrap(), "d/a: has other permissions");
        let replace = |dir: &Path, with: &str| {
            fs::write(dir.join("d/a"), with).unwrap();
            set_time(dir, 1);
        };
        check(|dir| replace(dir, "12346"), "d/a: has other content");
        check(|dir| replace(dir, "1234"), "d/a: has other content");
        let relink = |dir: &Path, to: &str| {
            fs::remove_file(dir.join("l")).unwrap();
            symlink(to, dir.join("l")).unwrap();
        };
        check(|dir| relink(dir, "d"), "l: points elsewhere");
        check(
            |dir| {
                fs::remove_file(dir.join("l")).unwrap();
                fs::copy(dir.join("d/a"), dir.join("l")).unwrap();
            },
            "l: is of another kind",
        );
    }
}
