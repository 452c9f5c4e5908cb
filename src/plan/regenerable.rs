//! Directories that programs make again: environments, packages, caches. Named in a plan, so that whoever pays for the space can leave
//! them out. Ignores nothing.

use std::collections::BTreeMap;

use crate::path::RelPath;
use crate::problem::exclude_line;

/// A directory that can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regenerable {
    /// Where it lies.
    pub path: RelPath,
    /// What it is.
    pub what: &'static str,
    /// Files that would be sent.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Regenerable {
    /// The line that leaves it out.
    #[must_use]
    pub fn exclude(&self) -> String {
        format!("{}/", exclude_line(self.path.as_str()))
    }
}

/// Directories by their names.
const NAMES: [(&str, &str); 4] =
    [("node_modules", "packages of npm"), (".conda", "packages of conda"), (".cache", "a cache"), (".tox", "environments of tox")];
/// Directories by a file that lies in them.
const MARKERS: [(&str, &str); 3] =
    [("pyvenv.cfg", "a Python environment"), ("CACHEDIR.TAG", "a cache"), ("conda-meta/history", "an environment of conda")];

/// The regenerable directories of what is to be sent, outermost only, by path. `sent` is in path order.
pub fn regenerable<'a>(sent: impl Iterator<Item = (&'a RelPath, u64)> + Clone) -> Vec<Regenerable> {
    let mut found: BTreeMap<&str, &'static str> = BTreeMap::new();
    for (path, _) in sent.clone() {
        if let Some((dir, what)) = named(path.as_str()).or_else(|| marked(path.as_str())) {
            found.entry(dir).or_insert(what);
        }
    }
    let outer = |dir: &str| dir.match_indices('/').any(|(at, _)| found.contains_key(&dir[..at]));
    let outermost: BTreeMap<&str, &'static str> = found.iter().filter(|(dir, _)| !outer(dir)).map(|(dir, what)| (*dir, *what)).collect();
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    if !outermost.is_empty() {
        for (path, bytes) in sent {
            let text = path.as_str();
            let above = text.match_indices('/').map(|(at, _)| &text[..at]).find(|dir| outermost.contains_key(dir));
            if let Some(dir) = above {
                let sum = sums.entry(dir).or_default();
                *sum = (sum.0 + 1, sum.1 + bytes);
            }
        }
    }
    let told = |(dir, (files, bytes)): (&str, (u64, u64))| {
        Some(Regenerable { path: RelPath::new(dir).ok()?, what: outermost.get(dir)?, files, bytes })
    };
    sums.into_iter().filter_map(told).collect()
}

/// The outermost directory above a path whose name says what it is.
fn named(path: &str) -> Option<(&str, &'static str)> {
    let mut from = 0;
    path.match_indices('/').find_map(|(at, _)| {
        let segment = &path[from..at];
        from = at + 1;
        NAMES.iter().find(|(name, _)| *name == segment).map(|(_, what)| (&path[..at], *what))
    })
}

/// The directory that a path marks.
fn marked(path: &str) -> Option<(&str, &'static str)> {
    let marks = |marker: &str| path.strip_suffix(marker)?.strip_suffix('/').filter(|dir| !dir.is_empty());
    MARKERS.iter().find_map(|(marker, what)| Some((marks(marker)?, *what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &[(&str, u64)], expected: &[(&str, u64, u64)]) {
        let sent: Vec<(RelPath, u64)> = sent.iter().map(|(path, bytes)| (RelPath::new(path).unwrap(), *bytes)).collect();
        let found = regenerable(sent.iter().map(|(path, bytes)| (path, *bytes)));
        let found: Vec<(&str, u64, u64)> = found.iter().map(|r| (r.path.as_str(), r.files, r.bytes)).collect();
        assert_eq!(found, expected, "{sent:?}");
    }

    #[test]
    fn directories_that_programs_make_again_are_found_with_what_they_hold() {
        check(&[("a", 1), ("env.txt", 2)], &[]);
        check(&[("env/bin/python", 5), ("env/pyvenv.cfg", 1), ("environment", 9)], &[("env", 2, 6)]);
        check(&[("web/node_modules/x/y", 3), ("web/node_modules/x/node_modules/z", 4)], &[("web/node_modules", 2, 7)]);
        check(
            &[(".cache/pip/x", 1), (".conda/y", 2), ("c/CACHEDIR.TAG", 3), ("c/d", 4)],
            &[(".cache", 1, 1), (".conda", 1, 2), ("c", 2, 7)],
        );
        check(&[("m/conda-meta/history", 1), ("m/lib/x", 2), ("m/lib/env/pyvenv.cfg", 3)], &[("m", 3, 6)]);
        // The directory itself, files of these names, and what only looks like one.
        check(&[("pyvenv.cfg", 1), ("node_modules", 2), ("a.cache/x", 3), ("CACHEDIR.TAG", 1)], &[]);
    }

    #[test]
    fn the_line_leaves_out_the_directory() {
        let found = Regenerable { path: RelPath::new("my env").unwrap(), what: "", files: 1, bytes: 1 };
        assert_eq!(found.exclude(), "/my env/");
    }
}
