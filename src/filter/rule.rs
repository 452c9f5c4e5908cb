//! Why a path is not in scope, with the rule and its place, and which patterns let it in. For messages; decides nothing.

use super::{Filter, Given, Line, Origin, Rules, holds_keys};
use crate::path::RelPath;
use crate::problem::exclude_line;

/// Why a path is not in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A pattern ignores it, or a directory above it.
    Pattern {
        /// What the pattern matches: the path itself or the topmost directory above it; a directory ends in `/`.
        at: String,
        /// The pattern.
        line: Line,
    },
    /// There are include patterns, and it matches none.
    NotIncluded(Given),
    /// It holds keys, by its name.
    Keys,
    /// It is the configuration in use, or this process's own output.
    Never,
    /// It is lsync's own.
    Reserved,
    /// It lies in this directory, where another lsync directory publishes.
    Other(RelPath),
}

impl Reason {
    /// True when a flag of this very command says so.
    #[must_use]
    pub fn is_flag(&self) -> bool {
        match self {
            Reason::Pattern { line, .. } => line.origin == Origin::Exclude(Given::Flag),
            Reason::NotIncluded(given) => *given == Given::Flag,
            Reason::Keys | Reason::Never | Reason::Reserved | Reason::Other(_) => false,
        }
    }
}

/// Patterns that let a path in when they come last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayIn {
    /// `!pattern` lines, for `--exclude` or a `.syncignore` file at the top.
    pub exclude: Vec<String>,
    /// A pattern for `--include`, where there are include patterns and none matches.
    pub include: Option<String>,
}

impl Filter {
    /// Why [`Filter::scope`] does not say that a path is in scope; `None` when it does.
    #[must_use]
    pub fn reason(&self, path: &RelPath, is_dir: bool) -> Option<Reason> {
        if path.is_reserved() {
            return Some(Reason::Reserved);
        }
        if let Some(other) = self.other_above(path.as_str()) {
            return Some(Reason::Other(other.clone()));
        }
        if let Some(dir) = above(path).find(|dir| self.ignores(dir, true)) {
            return self.line_at(dir, true).map(|line| Reason::Pattern { at: format!("{dir}/"), line });
        }
        if !is_dir && self.never.contains(path) {
            return Some(Reason::Never);
        }
        if !is_dir && !self.include_config && holds_keys(path.name()) {
            return Some(Reason::Keys);
        }
        let text = path.as_str();
        if self.ignores(text, is_dir) {
            let at = if is_dir { format!("{text}/") } else { text.to_owned() };
            return self.line_at(text, is_dir).map(|line| Reason::Pattern { at, line });
        }
        (!is_dir && !self.includes(text)).then(|| Reason::NotIncluded(self.who_includes()))
    }

    /// The patterns that let a path in that patterns leave out.
    #[must_use]
    pub fn way_in(&self, path: &RelPath, is_dir: bool) -> WayIn {
        let dirs = above(path).filter(|dir| self.ignores(dir, true)).map(|dir| format!("!{}/", exclude_line(dir)));
        let own = self.ignores(path.as_str(), is_dir).then(|| named(path, is_dir)).map(|line| format!("!{line}"));
        let reached = self.include.is_empty() || self.include.reaches(path.as_str(), is_dir);
        WayIn { exclude: dirs.chain(own).collect(), include: (!reached).then(|| named(path, is_dir)) }
    }

    /// The patterns that let in everything below a directory that is in scope itself.
    #[must_use]
    pub fn way_in_below(&self, dir: &RelPath) -> WayIn {
        let reached = self.include.is_empty() || self.include.reaches(dir.as_str(), true);
        WayIn { exclude: vec![format!("!{}/**", exclude_line(dir.as_str()))], include: (!reached).then(|| named(dir, true)) }
    }

    /// True when only what matches an include pattern is in scope.
    #[must_use]
    pub fn has_includes(&self) -> bool {
        !self.include.is_empty()
    }

    /// The pattern that decides about a path that is ignored, without the directories above it.
    fn line_at(&self, path: &str, is_dir: bool) -> Option<Line> {
        let deciding = |rules: &Rules, path: &str| rules.deciding(path, is_dir).cloned();
        let in_directory = || {
            let deeper = path.rmatch_indices('/').find_map(|(at, _)| deciding(self.syncignores.get(&path[..at])?, &path[at + 1..]));
            deeper.or_else(|| deciding(self.syncignores.get("")?, path))
        };
        deciding(&self.exclude, path).or_else(in_directory).or_else(|| deciding(&self.defaults, path))
    }

    fn who_includes(&self) -> Given {
        if self.include.has_flags() { Given::Flag } else { Given::Configuration }
    }
}

/// The directories above a path, the topmost first.
fn above(path: &RelPath) -> impl Iterator<Item = &str> {
    let text = path.as_str();
    text.match_indices('/').map(|(at, _)| &text[..at])
}

fn named(path: &RelPath, is_dir: bool) -> String {
    format!("{}{}", exclude_line(path.as_str()), if is_dir { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::super::Patterns;
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn filter(exclude: &[&str], flags: &[&str], files: &[(&str, &str)]) -> Filter {
        let patterns = Patterns { exclude: owned(exclude), exclude_flags: owned(flags), ..Patterns::default() };
        let mut filter = Filter::new(&patterns).unwrap();
        files.iter().for_each(|(dir, text)| filter.add_syncignore(dir, text).unwrap());
        filter
    }

    /// A path that ends in `/` is a directory. What the rule matches, the rule, and where it stands; and the way in must be one.
    #[track_caller]
    fn check(exclude: &[&str], flags: &[&str], files: &[(&str, &str)], path: &str, expected: &str) {
        let (filter, is_dir) = (filter(exclude, flags, files), path.ends_with('/'));
        let rel = RelPath::new(path.trim_end_matches('/')).unwrap();
        let told = match filter.reason(&rel, is_dir) {
            Some(Reason::Pattern { at, line }) => format!("{at} {} {}", line.pattern, line.origin),
            other => format!("{other:?}"),
        };
        assert_eq!(told, expected, "{path}");
        let way = filter.way_in(&rel, is_dir).exclude;
        let flags = [owned(flags), way].concat();
        let again = self::filter(exclude, &flags.iter().map(String::as_str).collect::<Vec<_>>(), files);
        assert_eq!(again.reason(&rel, is_dir), None, "{path} {flags:?}");
    }

    #[test]
    fn the_rule_that_decides_is_told_with_its_place_and_the_way_in_is_one() {
        let root = [("", "# x\n*.tmp\n"), ("x", "a\n!keep.tmp\n")];
        check(&[], &[], &[], ".venv/", ".venv/ .venv/ the default ignores");
        check(&[], &[], &[], "a/.venv/lib/x", "a/.venv/ .venv/ the default ignores");
        check(&[], &[], &root, "y/b.tmp", "y/b.tmp *.tmp .syncignore:2");
        check(&[], &[], &root, "x/a", "x/a a x/.syncignore:1");
        check(&[], &[], &root, "x/keep.tmp", "None");
        check(&["*.tmp"], &[], &root, "x/keep.tmp", "x/keep.tmp *.tmp `exclude` in the configuration");
        check(&["!*.tmp"], &["*.tmp"], &root, "b.tmp", "b.tmp *.tmp --exclude");
        // The last that matches, and the topmost directory.
        check(&["b*", "*c"], &[], &[], "bc", "bc *c `exclude` in the configuration");
        check(&["data/", "*.bin", "deep/"], &[], &[], "data/deep/x.bin", "data/ data/ `exclude` in the configuration");
        check(&["a b", "we?rd"], &[], &[], "a b/we!rd", "a b/ a b `exclude` in the configuration");
    }

    #[test]
    fn what_no_pattern_ignores_has_its_reason_too() {
        let patterns = Patterns {
            include: owned(&["*.npy"]),
            include_flags: owned(&["data/"]),
            never: vec![RelPath::new("own.npy").unwrap()],
            ..Patterns::default()
        };
        let filter = Filter::new(&patterns).unwrap();
        let reason = |path: &str| filter.reason(&RelPath::new(path).unwrap(), false);
        assert_eq!(reason("a.txt"), Some(Reason::NotIncluded(Given::Flag)));
        assert_eq!(reason("x/sync.toml"), Some(Reason::Keys));
        assert_eq!(reason("own.npy"), Some(Reason::Never));
        assert_eq!(reason("a/.lsync/b"), Some(Reason::Reserved));
        assert_eq!((reason("a.npy"), reason("data/x")), (None, None));
        let way = filter.way_in(&RelPath::new("a.txt").unwrap(), false);
        assert_eq!(way, WayIn { exclude: vec![], include: Some("/a.txt".into()) });
    }

    #[test]
    fn everything_below_a_directory_is_let_in() {
        let dir = RelPath::new("lo gs").unwrap();
        let way = filter(&["*.log", "lo gs/old/"], &[], &[]).way_in_below(&dir).exclude;
        let again = filter(&["*.log", "lo gs/old/"], &way.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        for path in ["lo gs/a.log", "lo gs/old/x/b.log"] {
            assert_eq!(again.reason(&RelPath::new(path).unwrap(), false), None, "{path}");
        }
        assert!(again.reason(&RelPath::new("b.log").unwrap(), false).is_some());
    }
}
