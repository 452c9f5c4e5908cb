//! Which paths are in scope: default ignores, configuration, flags and the `.syncignore` files of the mount, all in gitignore's
//! grammar, for both directions. Matches paths; reads no files.
//!
//! Exclude beats include; a later `!pattern` may undo a default. With any include pattern, a file must also match one of those.
//!
//! The last pattern that matches a path decides, over this sequence: the defaults, the `.syncignore` files from the mount's own down to
//! the deepest, `[sync] exclude`, `--exclude`. What lies below an ignored directory is ignored whatever matches it, as in git.

mod grammar;
mod rule;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::path::{RESERVED, RelPath, is_at_or_below};

use grammar::Rules;
pub use grammar::{BadPattern, Given, Line, Origin};
pub use rule::{Reason, WayIn};

/// What is ignored unless a later `!pattern` says otherwise. `.lsync/` is reserved and cannot be undone.
///
/// A core dump is a file `core.` with digits alone behind it: `core.py`, `core.2.npy` and a directory `core.0/` are people's own.
pub const DEFAULT_IGNORES: &[&str] = &[
    ".venv/",
    ".ipynb_checkpoints/",
    "__pycache__/",
    ".nfs*",
    ".DS_Store",
    "*.swp",
    ".Trash-*",
    "lost+found",
    "core.[0-9]*",
    "!core.[0-9]*[!0-9]*",
    "!core.[0-9]*/",
];

/// The patterns of one run, before any `.syncignore` file was read.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// `[sync] exclude`.
    pub exclude: Vec<String>,
    /// `--exclude`, which comes after it.
    pub exclude_flags: Vec<String>,
    /// `[sync] include`.
    pub include: Vec<String>,
    /// `--include`.
    pub include_flags: Vec<String>,
    /// `include_config`: files that hold keys travel.
    pub include_config: bool,
    /// Files that never travel whatever the patterns say: the configuration in use, this process's own output files.
    pub never: Vec<RelPath>,
}

/// The name of the files in the mount that hold patterns for the directory they lie in.
pub const SYNCIGNORE: &str = ".syncignore";

/// The compiled rules of a run.
#[derive(Clone, Debug)]
pub struct Filter {
    defaults: Rules,
    exclude: Rules,
    include: Rules,
    /// By the directory they lie in.
    syncignores: BTreeMap<String, Rules>,
    include_config: bool,
    never: BTreeSet<RelPath>,
    /// Directories that belong to other lsync directories of the bucket.
    others: BTreeSet<RelPath>,
}

/// Whether a path is in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It travels.
    In,
    /// A pattern leaves it out.
    Ignored,
    /// It holds keys, or is a file that never travels.
    Keys,
    /// It has a `.lsync` segment: not even counted.
    Reserved,
    /// It lies in what another lsync directory of the bucket publishes.
    Other,
}

impl Filter {
    /// Compiles the rules that do not come from the mount.
    pub fn new(patterns: &Patterns) -> Result<Filter, BadPattern> {
        let exclude = [(Given::Configuration, &patterns.exclude), (Given::Flag, &patterns.exclude_flags)];
        let include = [(Given::Configuration, &patterns.include), (Given::Flag, &patterns.include_flags)];
        let lines = |of: [(Given, &Vec<String>); 2], origin: &dyn Fn(Given) -> Origin| {
            let each = |(given, lines): (Given, &Vec<String>)| lines.iter().map(|line| (origin(given), line.clone())).collect::<Vec<_>>();
            of.into_iter().flat_map(each).collect::<Vec<_>>()
        };
        Ok(Filter {
            defaults: Rules::new(DEFAULT_IGNORES.iter().map(|line| (Origin::Default, (*line).to_owned())))?,
            exclude: Rules::new(lines(exclude, &Origin::Exclude).into_iter())?,
            include: Rules::new(lines(include, &Origin::Include).into_iter())?,
            syncignores: BTreeMap::new(),
            include_config: patterns.include_config,
            never: patterns.never.iter().cloned().collect(),
            others: BTreeSet::new(),
        })
    }

    /// Adds the lines of the `.syncignore` file that lies in `dir` (empty: the mount itself). Deeper files win over shallower ones.
    pub fn add_syncignore(&mut self, dir: &str, text: &str) -> Result<(), BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file = if dir.is_empty() { SYNCIGNORE.to_owned() } else { format!("{dir}/{SYNCIGNORE}") };
        let origin = |at: usize| Origin::File { file: file.clone(), line: at + 1 };
        let rules = Rules::new(text.lines().enumerate().map(|(at, line)| (origin(at), line.to_owned())))?;
        if !rules.is_empty() {
            self.syncignores.insert(dir.to_owned(), rules);
        }
        Ok(())
    }

    /// Leaves directories, with all below, to the other lsync directories that publish there.
    pub fn leave_to_others(&mut self, directories: impl IntoIterator<Item = RelPath>) {
        self.others.extend(directories);
    }

    /// Those directories, by path.
    pub fn others(&self) -> impl Iterator<Item = &RelPath> {
        self.others.iter()
    }

    /// The directory of another lsync directory that a path is, or lies in.
    #[must_use]
    pub fn other_above(&self, path: &str) -> Option<&RelPath> {
        self.others.iter().find(|other| is_at_or_below(path, other.as_str()))
    }

    /// Whether a path, with all directories above it, is in scope. `is_dir`: it is a directory itself.
    #[must_use]
    pub fn scope(&self, path: &RelPath, is_dir: bool) -> Scope {
        if path.is_reserved() {
            return Scope::Reserved;
        }
        let text = path.as_str();
        if self.other_above(text).is_some() {
            return Scope::Other;
        }
        if text.match_indices('/').any(|(at, _)| self.ignores(&text[..at], true)) {
            return Scope::Ignored;
        }
        self.scope_of_child(path, is_dir)
    }

    /// As [`Filter::scope`] for an entry of a directory that is known to be in scope, without looking at the directories above.
    #[must_use]
    pub fn scope_of_child(&self, path: &RelPath, is_dir: bool) -> Scope {
        let name = path.name();
        if name == RESERVED {
            return Scope::Reserved;
        }
        if self.others.contains(path) {
            return Scope::Other;
        }
        if !is_dir && ((!self.include_config && holds_keys(name)) || self.never.contains(path)) {
            return Scope::Keys;
        }
        if self.ignores(path.as_str(), is_dir) || !(is_dir || self.includes(path.as_str())) {
            return Scope::Ignored;
        }
        Scope::In
    }

    /// [`Filter::scope`] for many paths: the directories above are looked at once for all that lie in one directory and come in a row.
    #[must_use]
    pub fn in_order(&self) -> InOrder<'_> {
        InOrder { filter: self, above: RefCell::new((String::new(), Scope::In)) }
    }

    /// Whether an empty directory, which is in scope as a way to what lies below, travels itself: it too must match an include pattern.
    #[must_use]
    pub fn includes_empty_dir(&self, path: &RelPath) -> bool {
        self.include.is_empty() || self.include.reaches(path.as_str(), true)
    }

    fn ignores(&self, path: &str, is_dir: bool) -> bool {
        let decided = |rules: &Rules, path: &str| rules.decide(path, is_dir);
        let in_mount = || {
            if self.syncignores.is_empty() {
                return None;
            }
            // Deepest first, and only those that lie above the path.
            let deeper = path.rmatch_indices('/').find_map(|(at, _)| decided(self.syncignores.get(&path[..at])?, &path[at + 1..]));
            deeper.or_else(|| decided(self.syncignores.get("")?, path))
        };
        let by_default = || if may_be_default(path) { decided(&self.defaults, path) } else { None };
        decided(&self.exclude, path).or_else(in_mount).or_else(by_default).unwrap_or(false)
    }

    fn includes(&self, path: &str) -> bool {
        self.include.is_empty() || self.include.reaches(path, false)
    }
}

/// See [`Filter::in_order`].
#[derive(Debug)]
pub struct InOrder<'a> {
    filter: &'a Filter,
    /// The directory of the path before, and what it makes of what lies in it.
    above: RefCell<(String, Scope)>,
}

impl InOrder<'_> {
    /// What [`Filter::scope`] says.
    #[must_use]
    pub fn scope(&self, path: &RelPath, is_dir: bool) -> Scope {
        let (dir, mut above) = (path.parent().unwrap_or(""), self.above.borrow_mut());
        if above.0 != dir {
            let ignored = || dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]).any(|at| self.filter.ignores(&dir[..at], true));
            above.1 = match dir {
                _ if dir.split('/').any(|segment| segment == RESERVED) => Scope::Reserved,
                _ if self.filter.other_above(dir).is_some() => Scope::Other,
                _ if !dir.is_empty() && ignored() => Scope::Ignored,
                _ => Scope::In,
            };
            dir.clone_into(&mut above.0);
        }
        match above.1 {
            Scope::In => self.filter.scope_of_child(path, is_dir),
            _ if path.name() == RESERVED => Scope::Reserved,
            scope => scope,
        }
    }
}

/// True for the paths that a default can match, by their names: most are told apart without asking the patterns.
fn may_be_default(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.as_bytes().first() {
        Some(b'.' | b'_') => true,
        Some(b'c') if name.starts_with("core.") => true,
        Some(b'l') if name == "lost+found" => true,
        _ => name.ends_with(".swp"),
    }
}

/// What people, and editors on their own, append to the name of a copy that they put beside a file.
const COPIES: [&str; 8] = [".old", ".bak", ".backup", ".orig", ".save", ".swp", ".swo", "~"];

/// Whether a file holds keys, by its name: `sync.toml`, `*.sync.toml`, `*.sync.env`, and copies of them that were put beside them.
#[must_use]
pub fn holds_keys(name: &str) -> bool {
    let is_config = |name: &str| name == "sync.toml" || name.ends_with(".sync.toml") || name.ends_with(".sync.env");
    let copied = COPIES.iter().find_map(|end| name.strip_suffix(end)).or_else(|| name.strip_prefix('#')?.strip_suffix('#'));
    is_config(name) || copied.is_some_and(is_config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::exclude_line;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    /// A path that ends in `/` is a directory.
    #[track_caller]
    fn scoped(filter: &Filter, path: &str, expected: Scope) {
        let rel = RelPath::new(path.trim_end_matches('/')).unwrap();
        assert_eq!(filter.scope(&rel, path.ends_with('/')), expected, "{path:?}");
        let in_order = filter.in_order();
        // Twice, and after another directory.
        for _ in 0..2 {
            assert_eq!(in_order.scope(&rel, path.ends_with('/')), expected, "{path:?}");
        }
        let _ = in_order.scope(&RelPath::new("another/.venv/name").unwrap(), false);
        assert_eq!(in_order.scope(&rel, path.ends_with('/')), expected, "{path:?}");
    }

    #[test]
    fn defaults_are_told_by_how_they_begin() {
        let named = |line: &str| may_be_default(line.trim_start_matches('!').trim_end_matches('/'));
        assert!(DEFAULT_IGNORES.iter().all(|line| named(line)), "they name no other names");
        assert!(may_be_default("a/.nfs1") && may_be_default("a/.x.swp") && !may_be_default(".venv/a") && !may_be_default("a"));
    }

    #[track_caller]
    fn check(exclude: &[&str], ignored: &[&str], kept: &[&str]) {
        let filter = Filter::new(&Patterns { exclude: owned(exclude), ..Patterns::default() }).unwrap();
        ignored.iter().for_each(|path| scoped(&filter, path, Scope::Ignored));
        kept.iter().for_each(|path| scoped(&filter, path, Scope::In));
    }

    #[track_caller]
    fn with_files(files: &[(&str, &str)], exclude: &[&str], ignored: &[&str], kept: &[&str]) {
        let mut filter = Filter::new(&Patterns { exclude: owned(exclude), ..Patterns::default() }).unwrap();
        files.iter().for_each(|(dir, text)| filter.add_syncignore(dir, text).unwrap());
        ignored.iter().for_each(|path| scoped(&filter, path, Scope::Ignored));
        kept.iter().for_each(|path| scoped(&filter, path, Scope::In));
    }

    #[track_caller]
    fn includes(include: &[&str], exclude: &[&str], ignored: &[&str], kept: &[&str]) {
        let patterns = Patterns { exclude: owned(exclude), include: owned(include), ..Patterns::default() };
        let filter = Filter::new(&patterns).unwrap();
        ignored.iter().for_each(|path| scoped(&filter, path, Scope::Ignored));
        kept.iter().for_each(|path| scoped(&filter, path, Scope::In));
    }

    #[track_caller]
    fn bad(pattern: &str, why: &str) {
        let error = Filter::new(&Patterns { exclude: owned(&[pattern]), ..Patterns::default() }).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.pattern, pattern);
    }

    #[test]
    fn what_is_ignored_by_default() {
        check(&[], &[".venv/", ".venv/lib/x.py", "a/.venv/x", "a/__pycache__/", "__pycache__/m.pyc"], &["venv/", "a.py", ".git/config"]);
        check(&[], &[".nfs000123", "a/.nfs0", ".ipynb_checkpoints/a.ipynb"], &["nfs", "a/x.nfs", ".env", "node_modules/x"]);
        check(&[], &[], &[".venv", "__pycache__", "a/.ipynb_checkpoints"]);
        check(
            &[],
            &["core.1", "a/core.4194303"],
            &["core", "core/", "core.py", "core.2.npy", "core.1a", "core.0/", "core.0/x", "score.1", "core."],
        );
        check(&[], &[".DS_Store", "a/.notes.md.swp", "x.swp", ".Trash-1000/f", "lost+found/", "lost+found/x"], &["lost", "swp", "x.swpx"]);
        check(&["!core.*"], &[], &["core.1"]);
        check(&["!.venv/"], &["__pycache__/x"], &[".venv/", ".venv/lib/x", "a/.venv/x"]);
        check(&["!.nfs*"], &[], &[".nfs1"]);
    }

    #[test]
    fn lsync_is_reserved_whatever_the_patterns_say() {
        let filter = Filter::new(&Patterns { exclude: owned(&["!.lsync/", "!.lsync"]), ..Patterns::default() }).unwrap();
        for path in [".lsync/", ".lsync/x", "a/.lsync/", "a/.lsync", "a/.lsync/b/c"] {
            scoped(&filter, path, Scope::Reserved);
        }
        scoped(&filter, ".lsyncx", Scope::In);
        assert_eq!(filter.scope_of_child(&RelPath::new("a/.lsync").unwrap(), true), Scope::Reserved);
    }

    #[test]
    fn gitignore_grammar_as_git_reads_it() {
        check(&["*.log"], &["a.log", "x/y/a.log", ".log", "x.log/f"], &["a.logs", "log"]);
        check(&["/a"], &["a", "a/", "a/b/c"], &["x/a", "ab"]);
        check(&["a/"], &["a/", "x/a/", "a/b", "x/a/b"], &["a", "x/a"]);
        check(&["a/b"], &["a/b", "a/b/c"], &["x/a/b", "a/bc"]);
        check(&["**/a/b"], &["a/b", "x/a/b", "x/y/a/b"], &["a/x/b"]);
        check(&["a/**"], &["a/x", "a/x/y"], &["a/", "x/a/b"]);
        check(&["a/**/z"], &["a/z", "a/b/z", "a/b/c/z"], &["z", "b/z"]);
        check(&["a/*"], &["a/b", "a/b/c"], &["a/", "b"]);
        check(&["x/*.npy"], &["x/a.npy"], &["x/y/a.npy", "a.npy"]);
        check(&["a?c"], &["abc"], &["ac", "abbc", "a/c"]);
        check(&["[ab]x", "[!c]y", "[0-9]z"], &["ax", "bx", "ay", "7z"], &["cx", "cy", "az"]);
        check(&["a[]]b", "p[{]q"], &["a]b", "p{q"], &["ab", "pq"]);
        check(&["[abc"], &["[abc"], &["a"]);
        check(&["# comment", "", "   ", "\\#x", "\\!y"], &["#x", "!y"], &["# comment", "x", "y"]);
        check(&["a ", "b\\ ", "c  "], &["a", "b ", "c"], &["a ", "b"]);
        check(&["\\*"], &["*"], &["a"]);
        check(&["a\\[b"], &["a[b"], &["ab"]);
        check(&["foo."], &["foo.", "a/foo."], &["foo"]);
        check(&["A"], &["A"], &["a"]);
        check(&["a{b,c}", "{x}", "p}"], &["a{b,c}", "{x}", "p}"], &["ab", "ac", "x", "p"]);
    }

    #[test]
    fn the_last_match_wins_but_nothing_comes_back_below_an_ignored_directory() {
        check(&["*.log", "!keep.log"], &["a.log"], &["keep.log", "x/keep.log"]);
        check(&["!keep.log", "*.log"], &["a.log", "keep.log"], &[]);
        check(&["data/", "!data/keep"], &["data/", "data/keep"], &[]);
        check(&["data/*", "!data/keep"], &["data/x"], &["data/keep", "data/"]);
        check(&["/*", "!/src/"], &["a", "b/c"], &["src/", "src/a/b"]);
    }

    #[test]
    fn syncignore_files_hold_for_their_directory_and_deeper_ones_win() {
        with_files(&[("", "*.tmp\n")], &[], &["a.tmp", "x/y.tmp"], &["a"]);
        with_files(&[("x", "/a\n*.tmp\n")], &[], &["x/a", "x/y/b.tmp"], &["a", "b.tmp", "x/y/a", "xa/a"]);
        with_files(&[("", "*.tmp"), ("x", "!keep.tmp")], &[], &["keep.tmp", "x/a.tmp"], &["x/keep.tmp", "x/y/keep.tmp"]);
        with_files(&[("", "!*.tmp"), ("x/y", "*.tmp")], &[], &["x/y/a.tmp", "x/y/z/a.tmp"], &["x/a.tmp"]);
        with_files(&[("", "x/"), ("x", "!a")], &[], &["x/a", "x/"], &[]);
        with_files(&[("", "!.venv/\n")], &[], &["__pycache__/x"], &[".venv/x", "a/.venv/x"]);
        with_files(&[("a", "!.venv/\n")], &[], &[".venv/x"], &["a/.venv/x"]);
        with_files(&[("", "\u{feff}*.tmp\r\n# c\r\nb\r\n")], &[], &["a.tmp", "b"], &["c"]);
    }

    #[test]
    fn what_the_configuration_or_a_flag_says_beats_syncignore_files() {
        with_files(&[("", "!*.bin")], &["*.bin"], &["a.bin"], &[]);
        with_files(&[("x", "!*.bin")], &["*.bin"], &["x/a.bin"], &[]);
        with_files(&[("", "*.bin")], &["!a.bin"], &["b.bin"], &["a.bin"]);
    }

    #[test]
    fn with_includes_a_file_must_match_one_and_exclude_beats_them() {
        includes(&["*.npy"], &[], &["a.txt", "x/a.txt"], &["a.npy", "x/y/a.npy", "x/", "x/y/"]);
        includes(&["/data/"], &[], &["a", "x/data/f", "data"], &["data/", "data/f", "data/x/y", "x/"]);
        includes(&["data"], &[], &["a"], &["data", "data/x", "x/data/y"]);
        includes(&["*.npy", "src/"], &[], &["a"], &["a.npy", "src/x"]);
        includes(&["data/", "!*.tmp"], &[], &["data/x.tmp"], &["data/x"]);
        includes(&["*.npy"], &["big.npy"], &["big.npy", "x/big.npy"], &["a.npy"]);
        includes(&["*.npy"], &["old/"], &["old/a.npy", "old/"], &["a.npy"]);
        includes(&[".venv/"], &[], &[".venv/x", "a"], &[]);
        let filter = Filter::new(&Patterns { include: owned(&["*.npy", "data/"]), ..Patterns::default() }).unwrap();
        let travels = |path: &str| filter.includes_empty_dir(&RelPath::new(path).unwrap());
        assert!(travels("data") && travels("x/data/y") && travels("d.npy") && !travels("x"));
    }

    #[test]
    fn files_that_hold_keys_stay_here_unless_asked() {
        let mut patterns = Patterns { never: vec![RelPath::new("conf/mine.toml").unwrap()], ..Patterns::default() };
        let filter = Filter::new(&patterns).unwrap();
        for keys in ["sync.toml", "a/b/sync.toml", "lambda.sync.toml", "x/.sync.toml", "a/prod.sync.env", "conf/mine.toml"] {
            scoped(&filter, keys, Scope::Keys);
        }
        for copies in ["sync.toml.old", "a/sync.toml~", ".sync.toml.swp", "#sync.toml#", "lambda.sync.toml.bak", "a/prod.sync.env.orig"] {
            scoped(&filter, copies, Scope::Keys);
        }
        let fine =
            ["sync.toml/", "sync.toml.template", "async.toml", "sync.env", "mine.toml", "sync.toml2", "a.old", "~", "async.toml~", "##"];
        for fine in fine {
            scoped(&filter, fine, Scope::In);
        }
        patterns.include_config = true;
        let filter = Filter::new(&patterns).unwrap();
        scoped(&filter, "a/sync.toml", Scope::In);
        scoped(&filter, "conf/mine.toml", Scope::Keys);
        patterns.exclude = owned(&["!conf/mine.toml", "!sync.toml"]);
        patterns.include_config = false;
        let filter = Filter::new(&patterns).unwrap();
        scoped(&filter, "sync.toml", Scope::Keys);
        scoped(&filter, "conf/mine.toml", Scope::Keys);
    }

    #[test]
    fn the_line_that_a_problem_gives_leaves_out_exactly_that_path() {
        for path in [
            "a",
            "a/b c",
            "we?rd*[x]",
            "!bang",
            "#hash",
            "trail ",
            "two  ",
            "back\\slash",
            "a/{b,c}",
            "Icon\r",
            "é\t",
            "a]b",
            "x.",
            " ",
            " \u{a0} ",
            "x\u{2028}",
        ] {
            let line = exclude_line(path);
            let beside = format!("{path}x");
            check(&[&line], &[path, &format!("{path}/below")], &[&beside, &format!("x/{path}"), "b", "werd", "we1rdx"]);
        }
    }

    #[test]
    fn bad_patterns_say_where_they_stand() {
        bad("a\\", "dangling");
        bad("[z-a]", "invalid range");
        bad("!", "names nothing");
        bad("/", "names nothing");
        let mut filter = Filter::new(&Patterns::default()).unwrap();
        let error = filter.add_syncignore("a/b", "fine\n[z-a]\n").unwrap_err();
        assert_eq!(error.origin, "a/b/.syncignore:2");
        assert_eq!(filter.add_syncignore("", "[z-a]").unwrap_err().origin, ".syncignore:1");
        let include = Patterns { include: owned(&["[z-a]"]), ..Patterns::default() };
        assert!(Filter::new(&include).unwrap_err().to_string().starts_with("`include` in the configuration: the pattern \"[z-a]\""));
    }
}
