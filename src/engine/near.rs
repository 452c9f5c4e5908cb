//! Names like one that was not found: what a mistyped PATH was meant to be. Pure.

use std::collections::BTreeSet;

use crate::config::distance;
use crate::path::RelPath;

/// Most names that are given.
const MOST: usize = 3;

/// The paths among `known` (with the directories above them) that `wanted` may have meant, best first: one in the same directory whose
/// name is alike, or one of the same name elsewhere. Where a directory above it is missing already, that one is looked for.
pub(super) fn near<'a>(wanted: &RelPath, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let missing: Vec<&str> = std::iter::once(wanted.as_str()).chain(wanted.ancestors()).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for path in known {
        for path in std::iter::once(path).chain(path.rmatch_indices('/').map(|(at, _)| &path[..at])) {
            if !seen.insert(path) {
                break; // then the directories above it were seen too
            }
            let at = missing.iter().enumerate().filter_map(|(level, missing)| Some((level, alike(missing, path)?)));
            found.extend(at.min().map(|(level, distance)| (level, distance, path)));
        }
    }
    // A directory that is there is no answer, and neither is anything like it.
    let first_there = missing.iter().position(|path| seen.contains(path)).unwrap_or(missing.len());
    found.retain(|(level, _, _)| *level < first_there);
    found.sort_unstable();
    found.into_iter().take(MOST).map(|(_, _, path)| path.to_owned()).collect()
}

/// How unlike two paths are; `None`: too much.
fn alike(wanted: &str, path: &str) -> Option<usize> {
    let split =
        |path: &'_ str| path.rsplit_once('/').map_or((String::new(), path.to_lowercase()), |(dir, name)| (dir.into(), name.to_lowercase()));
    let ((dir, name), (other_dir, other)) = (split(wanted), split(path));
    if wanted == path {
        return None;
    }
    if dir != other_dir {
        return (name == other).then_some(name.len());
    }
    let shorter = name.chars().count().min(other.chars().count());
    if shorter >= 3 && (other.starts_with(&name) || name.starts_with(&other)) {
        return Some(1);
    }
    Some(distance(&name, &other)).filter(|distance| *distance <= (shorter / 3).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, known: &[&str], expected: &[&str]) {
        assert_eq!(near(&RelPath::new(wanted).unwrap(), known.iter().copied()), expected, "{wanted}");
    }

    #[test]
    fn a_slip_finds_what_was_meant() {
        let known = ["data/x.npy", "notes.md", "results/run-1.npy", "results/run-2.npy", "src/main.rs"];
        check("reslts", &known, &["results"]);
        check("Results", &known, &["results"]);
        check("result", &known, &["results"]);
        check("results/run-3.npy", &known, &["results/run-1.npy", "results/run-2.npy"]);
        check("reslts/run-1.npy", &known, &["results/run-1.npy", "results"]);
        check("main.rs", &known, &["src/main.rs"]);
        check("note.md", &known, &["notes.md"]);
        check("quite-different", &known, &[]);
        check("data/zzz", &known, &[]);
        check("data/dat", &known, &[]);
    }
}
