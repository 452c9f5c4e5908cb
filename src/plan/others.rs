//! Directories of the bucket that belong to other lsync directories, and what that means for this one. Looks at nothing.

use std::fmt;

use crate::entry::{Local, below, find};
use crate::path::{RelPath, Shown};
use crate::problem::{Problem, Side, exclude_line};

/// A directory of the bucket in which another lsync directory publishes: left alone in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDirectory {
    /// Where it lies.
    pub path: RelPath,
    /// Objects there, as far as this run has listed them, without what lsync itself keeps.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for OtherDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/ in this bucket belongs to another lsync directory; it is left alone", self.path)
    }
}

/// Takes what lies in other directories out of what is here, as a problem for each of them: it cannot be sent there.
pub fn set_apart(local: &mut Vec<(RelPath, Local)>, others: &[OtherDirectory], url: &str) -> Vec<Problem> {
    let holds = |other: &&OtherDirectory| find(local, other.path.as_str()).is_some() || !below(local, other.path.as_str()).is_empty();
    let problems: Vec<Problem> = others.iter().filter(holds).map(|other| problem(&other.path, url)).collect();
    if !problems.is_empty() {
        local.retain(|(path, _)| !others.iter().any(|other| path.is_at_or_below(other.path.as_str())));
    }
    problems
}

fn problem(path: &RelPath, url: &str) -> Problem {
    let place = Shown(path.as_str());
    let why = format!(
        "another lsync directory publishes at {url}/{place}/ in the bucket, so that what is here cannot be synced; leave it out, rename it, \
         or give one of the two another prefix (if that one is not used any more: remove {url}/{place}/.lsync/)"
    );
    let (name, exclude) = (path.as_str().to_owned(), Some(exclude_line(path.as_str())));
    Problem { name, path: Some(path.clone()), below: true, side: Side::Bucket, why, exclude }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{Entry, Kind};

    #[test]
    fn what_is_here_at_a_foreign_place_is_a_problem_and_set_apart() {
        let check = |here: &[&str], others: &[&str], left: &[&str], problems: &[&str]| {
            let path = |text: &&str| RelPath::new(text).unwrap();
            let entry = Arc::new(Entry { kind: Kind::Dir, mode: None });
            let mut local: Vec<_> = here.iter().map(|text| (path(text), Local { entry: entry.clone(), stamp: None })).collect();
            let others: Vec<_> = others.iter().map(|text| OtherDirectory { path: path(text), objects: 1, bytes: 1 }).collect();
            let found = set_apart(&mut local, &others, "s3://b");
            assert_eq!(local.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), left, "{here:?}");
            assert_eq!(found.iter().map(|problem| problem.name.as_str()).collect::<Vec<_>>(), problems, "{here:?}");
            assert!(found.iter().all(|problem| problem.below && problem.exclude == Some(format!("/{}", problem.name))));
        };
        check(&["a", "big-", "bigger/x"], &["big"], &["a", "big-", "bigger/x"], &[]);
        check(&["a", "big/x", "big/y/z", "c"], &["big"], &["a", "c"], &["big"]);
        check(&["big"], &["big", "d/e"], &[], &["big"]);
        check(&["big", "d/e/f", "d/g"], &["big", "d/e"], &["d/g"], &["big", "d/e"]);
    }
}
