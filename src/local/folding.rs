//! Which names the mount takes for one, asked of the mount itself: file systems of one kind differ, and a network hides which it is.
//! Decides nothing about the names.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use super::beneath::{Dir, PRIVATE};
use super::internal;
use super::mount::Mount;
use crate::path::{RESERVED, RelPath};
use crate::plan::{Folding, Held};

/// How the name of the file begins that is made in `.lsync/` for the question.
const PROBE: &str = "folds-";

/// Asks. A mount that may not be written answers for case alone, and for accents by that; nothing can come to it anyway.
///
/// Of the root: ext4 lets a single directory fold. Below such a one a second name is refused when it comes, like anything that came
/// there since the plan.
#[must_use]
pub fn folding(mount: &Mount) -> Folding {
    let top = mount.top();
    // A directory that a mere question leaves behind would make this one a mount.
    let made = top.make_dir(RESERVED, PRIVATE).is_ok();
    let case = are_one(top, RESERVED, &RESERVED.to_uppercase()).unwrap_or(false);
    let accents = top.dir(RESERVED).and_then(|own| folds_accents(&own)).unwrap_or(case);
    if made {
        // Not when another run has begun meanwhile.
        let _ = top.remove_dir(RESERVED);
    }
    Folding { case, accents }
}

/// The names that the mount holds in these directories (parents first). Nothing for one that it holds under another name only, or
/// that cannot be read.
#[must_use]
pub fn held<'a>(mount: &Mount, dirs: impl IntoIterator<Item = &'a str>) -> Held {
    let mut held = Held::new();
    for dir in dirs {
        let (above, name) = dir.rsplit_once('/').unwrap_or(("", dir));
        let is_there = dir.is_empty() || held.get(above).is_some_and(|names| names.contains(name));
        if is_there && let Ok(names) = mount.top().dir(dir).and_then(|opened| opened.names()) {
            held.insert(dir.to_owned(), names.into_iter().filter_map(|name| name.into_string().ok()).collect::<BTreeSet<_>>());
        }
    }
    held
}

/// How the mount spells a path that it takes for one of its own under another name; `None` when it has no such path or spells it so.
#[must_use]
pub fn spelt_otherwise(mount: &Mount, folding: Folding, path: &RelPath) -> Option<String> {
    let mut spelt = String::new();
    for segment in path.as_str().split('/') {
        let dir = mount.top().dir(&spelt).ok()?;
        dir.status(segment).ok()??;
        let names: Vec<String> = dir.names().ok()?.into_iter().filter_map(|name| name.into_string().ok()).collect();
        let is_it = |name: &&String| folding.are_one(name, segment);
        let name = names.iter().find(|name| *name == segment).or_else(|| names.iter().find(is_it))?;
        if !spelt.is_empty() {
            spelt.push('/');
        }
        spelt.push_str(name);
    }
    (spelt != path.as_str()).then_some(spelt)
}

/// Asks with a file that it removes again, as it does with what a run left that died while it asked.
fn folds_accents(own: &Dir) -> io::Result<bool> {
    for _ in 0..10 {
        for left in own.names()?.iter().filter(|name| name.as_bytes().starts_with(PROBE.as_bytes())) {
            gone(own.remove_file(left))?;
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let name = |character: &str| format!("{PROBE}{character}-{}", data_encoding::HEXLOWER.encode(&random));
        let composed = name("\u{e9}");
        drop(own.create_new(&composed, internal::PRIVATE_FILE)?);
        let answer = are_one(own, &composed, &name("e\u{301}"));
        // Another run that asks at the same time may have taken it for what a dead one left.
        let still = own.status(&composed)?.is_some();
        gone(own.remove_file(&composed))?;
        if still {
            return answer;
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// True when both names lead somewhere and the directory does not list both. Inode numbers do not tell: some FUSE file systems give
/// each name one of its own.
fn are_one(dir: &Dir, name: &str, other: &str) -> io::Result<bool> {
    if dir.status(name)?.is_none() || dir.status(other)?.is_none() {
        return Ok(false);
    }
    let names = dir.names()?;
    Ok(!names.iter().any(|listed| listed == name) || !names.iter().any(|listed| listed == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn mount(dirs: &[&str]) -> (tempfile::TempDir, Mount) {
        let temp = tempfile::tempdir().unwrap();
        for dir in dirs {
            std::fs::create_dir_all(temp.path().join(dir)).unwrap();
        }
        let mount = Mount::open(temp.path()).unwrap();
        (temp, mount)
    }

    /// A file system that folds is a matter for a test that may mount one: `tests/it/privileged/folding.rs`.
    #[test]
    fn a_mount_that_tells_all_names_apart_says_so_and_keeps_nothing_of_the_question() {
        for made in [&[][..], &[".lsync"], &[".lsync", ".LSYNC"]] {
            let (_temp, mount) = mount(made);
            assert_eq!(folding(&mount), Folding::default());
            assert_eq!(mount.top().names().unwrap().len(), made.len());
            assert!(made.iter().all(|dir| mount.top().dir(dir).unwrap().is_empty().unwrap()));
        }
    }

    #[test]
    fn what_a_run_left_that_died_while_it_asked_goes() {
        let (temp, mount) = mount(&[".lsync"]);
        std::fs::write(temp.path().join(".lsync/folds-\u{e9}-0123abcd"), "").unwrap();
        std::fs::write(temp.path().join(".lsync/clock"), "").unwrap();
        assert_eq!(folding(&mount), Folding::default());
        assert_eq!(mount.top().dir(".lsync").unwrap().names().unwrap(), ["clock"]);
    }

    #[test]
    fn several_that_ask_at_once_are_in_nobodys_way() {
        let (_temp, mount) = mount(&[".lsync"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(folding(&mount), Folding::default())));
            }
        });
        assert!(mount.top().dir(".lsync").unwrap().is_empty().unwrap());
    }

    #[test]
    fn a_mount_without_a_place_for_the_question_tells_of_case_alone() {
        let (temp, mount) = mount(&[]);
        std::fs::write(temp.path().join(".lsync"), "a file").unwrap();
        assert_eq!(folding(&mount), Folding::default());
        assert_eq!(std::fs::read(temp.path().join(".lsync")).unwrap(), b"a file");
    }

    #[test]
    fn two_names_are_two_when_both_are_listed_and_none_when_one_leads_nowhere() {
        let (_temp, mount) = mount(&["one", "two"]);
        assert!(!are_one(mount.top(), "one", "two").unwrap());
        assert!(!are_one(mount.top(), "one", "none").unwrap());
        assert!(!are_one(mount.top(), "none", "one").unwrap());
    }

    #[test]
    fn only_directories_that_are_held_by_their_own_name_are_listed() {
        let (_temp, mount) = mount(&["a/b/c", "a-/x"]);
        let held = held(&mount, ["", "A", "A/b", "a", "a/b", "a/none", "a/none/x"]);
        let dirs: Vec<_> = held.iter().map(|(dir, names)| (dir.as_str(), names.len())).collect();
        assert_eq!(dirs, [("", 2), ("a", 1), ("a/b", 1)]);
    }

    #[test]
    fn a_path_is_spelt_as_the_directory_lists_it() {
        let (_temp, mount) = mount(&["Data/x"]);
        let spelt = |text| spelt_otherwise(&mount, Folding { case: true, accents: true }, &path(text));
        assert_eq!(spelt("Data/x"), None);
        assert_eq!(spelt("data/x"), None, "this mount has no such path");
    }
}
