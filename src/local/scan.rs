//! Walks the mount and tells what lies there. Reads no file content, follows no link, never leaves the device.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::mount::{LocalError, Mount};
use super::state::Known;
use super::walk::{Crew, Walker};
use crate::digest::Digests;
use crate::entry::{Entry, Stamp};
use crate::filter::{BadPattern, Filter, Patterns};
use crate::path::RelPath;
use crate::problem::{Problem, Skipped};

pub use crate::entry::Local;

/// Longer than this for a name, a file system is one that lets wait.
const SLOW: Duration = Duration::from_micros(40);

/// What a walk found.
#[derive(Debug)]
pub struct Scan {
    /// Everything in scope, sorted by path. A directory is there only when it holds nothing at all, ignored things included.
    pub entries: Vec<(RelPath, Local)>,
    /// What could not be read or represented.
    pub problems: Vec<Problem>,
    /// Sockets, FIFOs, devices.
    pub skipped: Vec<Skipped>,
    /// Directories in scope that hold nothing but what the patterns left out, sorted.
    pub hollow: Vec<RelPath>,
    /// Directories that hold something and whose permission bits are not those that the umask gives, with the bits, sorted.
    pub dirs: Vec<(RelPath, u32)>,
    /// What the patterns left out.
    pub ignored: Ignored,
    /// The rules as they hold for this run, with the mount's `.syncignore` files.
    pub filter: Filter,
    /// All directories that were read to their end, so that a missing name means that it is not there.
    pub read_dirs: usize,
}

/// What was left out, in the walk's own measure: an ignored directory is counted with everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Files and links, those that hold keys among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that hold keys, by name.
    pub keys: Vec<RelPath>,
    /// The topmost ignored paths (a directory ends in `/`), at most 100, with the bytes below.
    pub samples: BTreeMap<String, u64>,
}

/// Why a walk could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root, or the reading of a `.syncignore` file.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A pattern that is not valid.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What to walk.
pub struct Walk<'a> {
    /// Patterns from configuration and flags.
    pub patterns: &'a Patterns,
    /// The rules of an earlier walk, instead of the patterns and of the `.syncignore` files that lie there now.
    pub rules: Option<&'a Filter>,
    /// What is known about a path, for what comes to be found there; asked in the order of the paths in each directory.
    pub recall: &'a (dyn Fn(&str) -> Option<Recalled<'a>> + Sync),
    /// Only these paths and what lies below; empty: the whole mount. `.syncignore` files above them still count.
    pub scope: &'a [RelPath],
    /// Called with (entries, bytes) so far, every few hundred entries.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Asked now and then; true stops the walk.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// What is known about a path before it is walked.
#[derive(Clone, Copy, Debug)]
pub struct Recalled<'a> {
    /// The path itself.
    pub path: &'a RelPath,
    /// What the file has for digests while it carries this stamp.
    pub seen: Option<(Stamp, &'a Digests)>,
    /// An entry that it may still be.
    pub entry: Option<&'a Arc<Entry>>,
}

impl<'a> Recalled<'a> {
    /// From the state.
    #[must_use]
    pub fn of_state((path, known): &'a (RelPath, Known)) -> Recalled<'a> {
        Recalled { path, seen: known.seen.as_ref().map(|seen| (seen.stamp, seen.digests())), entry: known.base.as_ref() }
    }

    /// From an earlier walk.
    #[must_use]
    pub fn of_walk((path, local): &'a (RelPath, Local)) -> Recalled<'a> {
        Recalled { path, seen: local.stamp.zip(local.entry.file().map(|file| &file.digests)), entry: Some(&local.entry) }
    }
}

/// Walks the mount. Blocking: call it off the I/O runtime.
pub fn scan(mount: &Mount, walk: &Walk<'_>) -> Result<Scan, ScanError> {
    scan_by(mount, walk, SLOW)
}

/// `slow`: how long a name may take before more threads walk.
fn scan_by(mount: &Mount, walk: &Walk<'_>, slow: Duration) -> Result<Scan, ScanError> {
    // Before and after: what an unmounted file system leaves behind is an empty directory, and must not pass for an empty mount.
    mount.still_there()?;
    let crew = Crew::new(mount, walk, slow)?;
    let mut walker = Walker::new(&crew);
    if walk.scope.is_empty() {
        walker.whole()?;
    } else {
        for path in outermost(walk.scope) {
            walker.only(path)?;
        }
    }
    let found = walker.found;
    mount.still_there()?;
    Ok(crew.finish(found))
}

/// The paths that do not lie below another of them.
fn outermost(scope: &[RelPath]) -> Vec<&RelPath> {
    let mut sorted: Vec<&RelPath> = scope.iter().collect();
    sorted.sort_unstable();
    let mut kept: Vec<&RelPath> = Vec::new();
    for path in sorted {
        if !kept.iter().any(|above| path.is_at_or_below(above.as_str())) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::digest::{ETag, digest_one};
    use crate::entry::{File, InOrder, Kind};
    use crate::filter::Scope;
    use crate::local::state::Seen;

    /// Makes `a/` directories, `a -> b` links and files of as many bytes as their name has.
    fn tree(names: &[&str]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| make(temp.path(), name));
        temp
    }

    fn make(root: &Path, name: &str) {
        let (path, target) = name.split_once(" -> ").map_or((name, None), |(path, target)| (path, Some(target)));
        let full = root.join(path);
        if path.ends_with('/') {
            return fs::create_dir_all(full).unwrap();
        }
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, full).unwrap(),
            None => fs::write(full, path).unwrap(),
        }
    }

    fn write(temp: &tempfile::TempDir, name: &str, text: &str) {
        fs::write(temp.path().join(name), text).unwrap();
    }

    fn patterns(exclude: &[&str]) -> Patterns {
        Patterns { exclude: exclude.iter().map(|p| (*p).to_owned()).collect(), ..Patterns::default() }
    }

    fn walked(root: &Path, patterns: &Patterns, scope: &[&str]) -> Result<Scan, ScanError> {
        let scope: Vec<RelPath> = scope.iter().map(|p| RelPath::new(p).unwrap()).collect();
        let walk = Walk { patterns, rules: None, recall: &|_| None, scope: &scope, progress: &|_, _| {}, stop: &|| false };
        scan(&Mount::open(root).unwrap(), &walk)
    }

    /// As [`tree`] writes them, in the order of the scan.
    fn names(scan: &Scan) -> Vec<String> {
        let name = |(path, local): &(RelPath, Local)| match &local.entry.kind {
            Kind::File(file) => {
                assert_eq!(local.stamp.map(|stamp| stamp.size), Some(file.size));
                path.as_str().to_owned()
            }
            Kind::Link(target) => format!("{} -> {target}", path.as_str()),
            Kind::Dir => format!("{}/", path.as_str()),
        };
        scan.entries.iter().map(name).collect()
    }

    fn problems(scan: &Scan) -> Vec<String> {
        scan.problems.iter().map(Problem::line).collect()
    }

    #[track_caller]
    fn check(made: &[&str], exclude: &[&str], scope: &[&str], expected: &[&str]) -> Scan {
        let temp = tree(made);
        let scan = walked(temp.path(), &patterns(exclude), scope).unwrap();
        assert_eq!(names(&scan), expected);
        assert_eq!(problems(&scan), Vec::<String>::new());
        scan
    }

    #[test]
    fn files_links_and_empty_directories_are_found_in_path_order() {
        check(&[], &[], &[], &[]);
        check(&["b", "a/x", "a-b", "a0", "e/", "e-x"], &[], &[], &["a-b", "a/x", "a0", "b", "e/", "e-x"]);
        check(&["a/b/c/d"], &[], &[], &["a/b/c/d"]);
        check(&["l -> nowhere", "up -> ../..", "dir/x", "to -> dir"], &[], &[], &["dir/x", "l -> nowhere", "to -> dir", "up -> ../.."]);
        check(&["loop -> loop", "a/back -> ..", "a/self -> ../a"], &[], &[], &["a/back -> ..", "a/self -> ../a", "loop -> loop"]);
        check(&["a/b/", "c/"], &[], &[], &["a/b/", "c/"]);
    }

    #[test]
    fn modes_times_and_stamps_are_those_of_the_disk() {
        let temp = tree(&["f", "e/"]);
        fs::set_permissions(temp.path().join("f"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(temp.path().join("e"), fs::Permissions::from_mode(0o2705)).unwrap();
        let scan = walked(temp.path(), &patterns(&[]), &[]).unwrap();
        let [(_, dir), (_, file)] = &scan.entries[..] else { panic!("{:?}", scan.entries) };
        assert_eq!((dir.entry.mode, dir.stamp, file.entry.mode), (Some(0o705), None, Some(0o750)));
        let stamp = Stamp::of(&fs::metadata(temp.path().join("f")).unwrap());
        assert_eq!(file.stamp, Some(stamp));
        assert_eq!(file.entry.file().unwrap().mtime, Some(stamp.mtime));
        assert_eq!(scan.read_dirs, 2);
    }

    #[test]
    fn what_is_known_is_taken_while_it_is_what_lies_there() {
        let temp = tree(&["f"]);
        let first = walked(temp.path(), &patterns(&[]), &[]).unwrap();
        let (path, local) = &first.entries[0];
        let (stamp, md5) = (local.stamp.unwrap(), digest_one(b"f"));
        let file = |etag, mtime| Kind::File(File { size: 1, mtime: Some(mtime), digests: Digests::of_whole(md5), etag });
        // Whether the remembered entry itself is taken, the digests that it has then, and whether they come with an ETag.
        let check = |seen: Stamp, kind: Kind, mode, expected: (bool, bool, bool)| {
            let base = Arc::new(Entry { kind, mode });
            let known = [(path.clone(), Known { seen: Some(Seen::of(seen, &base)), base: Some(base), ..Known::default() })];
            let in_order = InOrder::new(&known);
            let none = patterns(&[]);
            let recall = |path: &str| in_order.find(path).map(Recalled::of_state);
            let walk = Walk { patterns: &none, rules: None, recall: &recall, scope: &[], progress: &|_, _| {}, stop: &|| false };
            let again = scan(&Mount::open(temp.path()).unwrap(), &walk).unwrap();
            let (at, local) = &again.entries[0];
            let file = local.entry.file().unwrap();
            let known_base = known[0].1.base.as_ref().unwrap();
            assert_eq!(
                (at, local.stamp, local.entry.mode, file.mtime),
                (path, Some(stamp), first.entries[0].1.entry.mode, Some(stamp.mtime))
            );
            assert_eq!((Arc::ptr_eq(&local.entry, known_base), file.digests.whole == Some(md5), file.etag.is_some()), expected);
        };
        let (etag, mode) = (Some(ETag::Hex(md5)), local.entry.mode);
        check(stamp, file(etag.clone(), stamp.mtime), mode, (true, true, true));
        check(stamp, file(None, stamp.mtime), mode, (true, true, false));
        // An ETag that tells nothing of the content, another time or mode than the file's.
        check(stamp, file(Some(ETag::parse("opaque")), stamp.mtime), mode, (false, true, false));
        check(stamp, file(etag.clone(), 7), mode, (false, true, false));
        check(stamp, file(etag.clone(), stamp.mtime), Some(0o111), (false, true, false));
        // It has changed since.
        check(Stamp { ctime: 7, ..stamp }, file(etag, stamp.mtime), mode, (false, false, false));
    }

    #[test]
    fn several_threads_find_what_one_finds() {
        let made: Vec<String> = (0..300).map(|n| format!("d{}/e{}/f{n}{}", n % 7, n % 31, if n % 50 == 0 { ".log" } else { "" })).collect();
        let temp =
            tree(&made.iter().map(String::as_str).chain(["d1/.venv/x", "d2/empty/", "d3/l -> x", "d4/only/.venv/x"]).collect::<Vec<_>>());
        write(&temp, "d5/.syncignore", "e1*\n");
        let (mount, rules) = (Mount::open(temp.path()).unwrap(), patterns(&["*.log"]));
        let found = |slow| {
            let told = AtomicU64::new(0);
            let progress = |entries, _| {
                told.fetch_max(entries, Ordering::Relaxed);
            };
            let walk = Walk { patterns: &rules, rules: None, recall: &|_| None, scope: &[], progress: &progress, stop: &|| false };
            let scan = scan_by(&mount, &walk, slow).unwrap();
            assert_eq!(told.into_inner(), scan.entries.len() as u64);
            (scan.entries, scan.hollow, scan.ignored, scan.read_dirs)
        };
        assert_eq!(found(Duration::ZERO), found(Duration::MAX));
        let stopped = Walk { patterns: &rules, rules: None, recall: &|_| None, scope: &[], progress: &|_, _| {}, stop: &|| true };
        assert!(matches!(scan_by(&mount, &stopped, Duration::ZERO), Err(ScanError::Stopped)));
    }

    #[test]
    fn a_directory_that_holds_only_ignored_things_is_no_entry() {
        let scan = check(&["a/x.log", "b/.venv/lib/y", "c/"], &["*.log"], &[], &["c/"]);
        assert_eq!((scan.ignored.files, scan.ignored.bytes), (2, 7 + 13));
        let samples: Vec<_> = scan.ignored.samples.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert_eq!(samples, [("a/x.log", 7), ("b/.venv/", 13)]);
    }

    #[test]
    fn what_lsync_keeps_is_not_even_counted() {
        let scan = check(&[".lsync/tmp/x", "a"], &[], &[], &["a"]);
        assert_eq!(scan.ignored, Ignored::default());
        check(&["x/.lsync", "x/a"], &[], &[], &["x/a"]);
        check(&[".lsync/tmp/x", "a"], &[], &[".lsync/tmp"], &[]);
    }

    #[test]
    fn files_that_hold_keys_are_named() {
        let scan = check(&["sync.toml", "a/b.sync.env", "x", ".venv/sync.toml"], &[], &[], &["x"]);
        assert_eq!(scan.ignored.keys.iter().map(RelPath::as_str).collect::<Vec<_>>(), ["a/b.sync.env", "sync.toml"]);
        assert_eq!(scan.ignored.files, 3);
    }

    #[test]
    fn only_the_hundred_largest_ignored_paths_are_samples() {
        let made: Vec<String> = (0..150).map(|n| format!("{}.log", "n".repeat(n + 1))).collect();
        let scan = check(&made.iter().map(String::as_str).collect::<Vec<_>>(), &["*.log"], &[], &[]);
        assert_eq!(scan.ignored.files, 150);
        assert_eq!(scan.ignored.samples.len(), 100);
        assert!(scan.ignored.samples.values().all(|bytes| *bytes > 54));
    }

    #[test]
    fn syncignore_files_count_before_what_they_lie_beside() {
        let temp = tree(&["a.tmp", "sub/a.tmp", "sub/keep.tmp", "sub/deep/keep.tmp", "sub/!x", "data/x"]);
        write(&temp, ".syncignore", "*.tmp\ndata/\n");
        write(&temp, "sub/.syncignore", "!keep.tmp\n");
        write(&temp, "data/.syncignore", "!x\n");
        let scan = walked(temp.path(), &patterns(&[]), &[]).unwrap();
        assert_eq!(names(&scan), [".syncignore", "sub/!x", "sub/.syncignore", "sub/deep/keep.tmp", "sub/keep.tmp"]);
        let scope = |path: &str| scan.filter.scope(&RelPath::new(path).unwrap(), false);
        assert_eq!((scope("sub/new/keep.tmp"), scope("new/keep.tmp"), scope("data/x")), (Scope::In, Scope::Ignored, Scope::Ignored));
    }

    #[test]
    fn a_syncignore_that_cannot_be_used_stops_the_run() {
        #[track_caller]
        fn check(temp: &tempfile::TempDir, expected: &str) {
            let error = walked(temp.path(), &patterns(&[]), &[]).unwrap_err();
            let source = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            assert_eq!(format!("{error}{source}"), expected);
        }
        let temp = tree(&["a/x"]);
        write(&temp, "a/.syncignore", "ok\n[z-a]\n");
        check(&temp, "a/.syncignore:2: the pattern \"[z-a]\" is not valid: invalid range; 'z' > 'a'");
        fs::write(temp.path().join("a/.syncignore"), b"ok\ncaf\xe9\n").unwrap();
        check(&temp, "a/.syncignore:2: the pattern \"caf\u{fffd}\" is not valid: it is not UTF-8");
        fs::write(temp.path().join("a/.syncignore"), vec![b'#'; (1 << 20) + 1]).unwrap();
        check(&temp, "cannot read a/.syncignore: it is larger than 1 MiB");
        fs::remove_file(temp.path().join("a/.syncignore")).unwrap();
        make(temp.path(), "a/.syncignore -> x");
        check(&temp, "cannot read a/.syncignore: it is not a regular file");
    }

    #[test]
    fn a_scope_narrows_the_walk_and_keeps_the_rules_from_above() {
        let made = ["a/b/x", "a/b/y.log", "a/c", "ab/x", "d", "e/"];
        check(&made, &[], &["a"], &["a/b/x", "a/b/y.log", "a/c"]);
        check(&made, &[], &["a/b"], &["a/b/x", "a/b/y.log"]);
        check(&made, &[], &["a/c", "d", "e"], &["a/c", "d", "e/"]);
        check(&made, &[], &["a/b", "a", "a/b/x", "a"], &["a/b/x", "a/b/y.log", "a/c"]);
        check(&made, &[], &["none", "a/none/x", "d/x"], &[]);
        check(&["a/l -> b", "a/b/x"], &[], &["a/l"], &["a/l -> b"]);
        check(&["a/l -> b", "a/b/x"], &[], &["a/l/x"], &[]);
        let scan = check(&made, &["a/"], &["a/b"], &[]);
        assert_eq!((scan.ignored.files, scan.ignored.bytes), (2, 5 + 9));
        let temp = tree(&made);
        write(&temp, ".syncignore", "*.log\n");
        write(&temp, "a/.syncignore", "/b/x\n");
        let scan = walked(temp.path(), &patterns(&[]), &["a/b"]).unwrap();
        assert_eq!((names(&scan), scan.ignored.files), (vec![], 2));
    }

    #[test]
    fn another_mount_root_is_a_problem_and_is_not_entered() {
        let temp = tree(&["x/y/.lsync/base", "x/y/data", "x/z", "old/.lsync/base", "old/f"]);
        let line = "x/y: it is a mount of lsync itself (it holds .lsync/) and is not entered (to leave it out: --exclude '/x/y')";
        let scan = walked(temp.path(), &patterns(&["old/"]), &[]).unwrap();
        assert_eq!((names(&scan), problems(&scan)), (vec!["x/z".to_owned()], vec![line.to_owned()]));
        assert!(scan.problems[0].below && scan.problems[0].path.as_ref().is_some_and(|p| p.as_str() == "x/y"));
        for scope in ["x/y", "x/y/data"] {
            let scan = walked(temp.path(), &patterns(&[]), &[scope]).unwrap();
            assert_eq!((names(&scan), problems(&scan)), (vec![], vec![line.to_owned()]), "{scope}");
        }
        let scan = walked(temp.path(), &patterns(&["/x/y", "old/"]), &[]).unwrap();
        assert_eq!((names(&scan), problems(&scan), scan.ignored.files), (vec!["x/z".to_owned()], vec![], 2));
    }

    #[test]
    fn names_and_targets_that_are_no_utf8_are_problems_with_a_line_that_accepts_them() {
        let temp = tree(&["d/ok"]);
        let odd = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
        fs::write(temp.path().join("d").join(odd(b"caf\xe9 *.txt")), "x").unwrap();
        fs::create_dir(temp.path().join(odd(b"dir\xff"))).unwrap();
        fs::write(temp.path().join(odd(b"dir\xff/in")), "x").unwrap();
        symlink(odd(b"to\xff"), temp.path().join("link")).unwrap();
        let scan = walked(temp.path(), &patterns(&[]), &[]).unwrap();
        assert_eq!(names(&scan), ["d/ok"]);
        let lines = [
            "d/caf\u{fffd} *.txt: the name is not UTF-8 (to leave it out: --exclude '/d/caf* \\*.txt')",
            "dir\u{fffd}: the name is not UTF-8 (to leave it out: --exclude '/dir*')",
            "link: the target of the link is not UTF-8 (to leave it out: --exclude '/link')",
        ];
        assert_eq!(problems(&scan), lines);
        let accepted: Vec<&str> = scan.problems.iter().filter_map(|p| p.exclude.as_deref()).collect();
        let scan = walked(temp.path(), &patterns(&accepted), &[]).unwrap();
        assert_eq!((problems(&scan), scan.ignored.files), (vec![], 3));
    }

    #[test]
    fn sockets_and_fifos_are_skipped_and_nobody_waits_for_them() {
        let temp = tree(&["a"]);
        let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
        let dir = fs::File::open(temp.path()).unwrap();
        rustix::fs::mknodat(&dir, "fifo", rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        let scan = walked(temp.path(), &patterns(&[]), &[]).unwrap();
        let skipped: Vec<_> = scan.skipped.iter().map(|s| (s.path.as_str(), s.why.as_str())).collect();
        assert_eq!((names(&scan), skipped), (vec!["a".to_owned()], vec![("fifo", "it is a FIFO"), ("socket", "it is a socket")]));
    }

    #[test]
    fn another_file_system_is_a_problem_and_is_not_entered() {
        for scope in ["proc", "proc/self"] {
            let scan = walked(Path::new("/"), &patterns(&[]), &[scope]).unwrap();
            let line = "proc: another file system is mounted there, which is not entered (to leave it out: --exclude '/proc')";
            assert_eq!((names(&scan), problems(&scan)), (vec![], vec![line.to_owned()]), "{scope}");
        }
    }

    #[test]
    fn a_mount_that_is_gone_is_an_error_not_an_empty_tree() {
        let temp = tree(&["root/a"]);
        let root = temp.path().join("root");
        let mount = Mount::open(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let none = patterns(&[]);
        let walk = Walk { patterns: &none, rules: None, recall: &|_| None, scope: &[], progress: &|_, _| {}, stop: &|| false };
        assert!(matches!(scan(&mount, &walk), Err(ScanError::Local(_))));
        fs::create_dir(&root).unwrap();
        assert!(matches!(scan(&mount, &walk), Err(ScanError::Local(_))));
    }

    #[test]
    fn a_stop_is_heard_and_progress_told() {
        let temp = tree(&["a", "b/c"]);
        let mount = Mount::open(temp.path()).unwrap();
        let (none, told) = (patterns(&[]), std::sync::Mutex::new((0, 0)));
        let progress = |entries, bytes| *told.lock().unwrap() = (entries, bytes);
        let walk = Walk { patterns: &none, rules: None, recall: &|_| None, scope: &[], progress: &progress, stop: &|| false };
        scan(&mount, &walk).unwrap();
        assert_eq!(*told.lock().unwrap(), (2, 4));
        let walk = Walk { stop: &|| true, ..walk };
        assert!(matches!(scan(&mount, &walk), Err(ScanError::Stopped)));
    }
}
