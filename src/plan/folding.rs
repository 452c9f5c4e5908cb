//! Names that differ in the bucket and are one name in a mount that folds case or accents. Asks no mount: it is told what this one
//! folds and which names it holds.
//!
//! File systems fold by tables of their own (XFS: ASCII letters only; ext4 with `casefold`, APFS: all of Unicode, and accents too). The
//! folding here covers them all, so that on some mounts it tells of names that could have lived side by side: that costs a message,
//! the other mistake a file.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization as _;

use crate::path::{RESERVED, RelPath, Shown};
use crate::problem::{Problem, Side, exclude_line};

/// What a mount does not tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folding {
    /// Upper from lower case.
    pub case: bool,
    /// A composed character (`é`) from the same one in parts (`e` and an accent).
    pub accents: bool,
}

/// The names that a mount really holds in a directory, by the directory's path (empty: the root).
pub type Held = BTreeMap<String, BTreeSet<String>>;

/// Paths that a mount shall hold, by directory.
pub struct Wanted<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl Folding {
    /// True when there is anything that the mount does not tell apart.
    #[must_use]
    pub fn any(self) -> bool {
        self.case || self.accents
    }

    /// True when two names are one.
    #[must_use]
    pub fn are_one(self, name: &str, other: &str) -> bool {
        self.fold(name) == self.fold(other)
    }

    /// The same text for all names that the mount takes for one.
    fn fold(self, name: &str) -> String {
        let lower = |text: String| text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>();
        let parts = |text: &str| text.nfd().filter(|c| !is_ignorable(*c)).collect::<String>();
        match (self.case, self.accents) {
            (true, _) if name.is_ascii() => name.to_ascii_lowercase(),
            (true, true) => parts(&lower(parts(name))),
            // By way of capitals: `ß` and `SS`, `σ` and `ς` are one then, as in Unicode's full case folding.
            (true, false) => lower(name.to_owned()),
            (false, true) => parts(name),
            (false, false) => name.to_owned(),
        }
    }

    /// Why two names that this folding makes one are one.
    fn why(self, one: &str, other: &str) -> &'static str {
        if self.case && (Folding { case: true, accents: false }).are_one(one, other) {
            "does not tell upper from lower case"
        } else if (Folding { case: false, accents: true }).are_one(one, other) {
            "does not tell composed from decomposed characters"
        } else {
            "tells neither upper from lower case nor composed from decomposed characters"
        }
    }
}

impl<'a> Wanted<'a> {
    /// Sorts paths into their directories.
    pub fn of(paths: impl IntoIterator<Item = &'a RelPath>) -> Wanted<'a> {
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for path in paths {
            let mut whole = path.as_str();
            loop {
                let (dir, name) = whole.rsplit_once('/').unwrap_or(("", whole));
                // What is above a known name is known.
                if !names.entry(dir).or_default().insert(name) || dir.is_empty() {
                    break;
                }
                whole = dir;
            }
        }
        Wanted(names)
    }

    /// The directories that hold wanted names, parents first.
    pub fn dirs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().copied()
    }

    /// A problem for every wanted name that is one with another, wanted or held, and that the mount does not hold itself. It covers
    /// what lies below.
    #[must_use]
    pub fn collisions(&self, folding: Folding, held: &Held) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(dir) = waiting.pop() {
            let Some(names) = self.0.get(dir.as_str()) else { continue };
            let nothing = BTreeSet::new();
            let here = held.get(&dir).unwrap_or(&nothing);
            let mut one: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            // Ours may come to any directory, and must not come under another's name.
            for name in names.iter().copied().chain(here.iter().map(String::as_str)).chain([RESERVED]) {
                one.entry(folding.fold(name)).or_default().insert(name);
            }
            for name in names {
                let path = if dir.is_empty() { (*name).to_owned() } else { format!("{dir}/{name}") };
                let others = one.get(&folding.fold(name)).into_iter().flatten().filter(|other| *other != name);
                let other = others.max_by_key(|other| (**other == RESERVED, here.contains(**other)));
                match other {
                    Some(other) if !here.contains(*name) => problems.push(problem(folding, &path, name, other, here.contains(*other))),
                    _ => waiting.push(path),
                }
            }
        }
        problems.sort_by(|a, b| a.name.cmp(&b.name));
        problems
    }
}

fn problem(folding: Folding, path: &str, name: &str, other: &str, other_is_held: bool) -> Problem {
    let beside = path.strip_suffix(name).unwrap_or_default();
    let whole = format!("{beside}{other}");
    let cannot = folding.why(name, other);
    let other = if cannot.contains("composed") { spelt_out(&whole) } else { Shown(&whole).to_string() };
    let (which, advice) = match (whole.rsplit('/').next() == Some(RESERVED), other_is_held) {
        (true, _) => ("where lsync keeps its own things", "rename it in the bucket"),
        (false, true) => ("which the mount holds", "rename one of them"),
        (false, false) => ("which the bucket holds too", "rename one of them"),
    };
    Problem {
        name: path.to_owned(),
        path: RelPath::new(path).ok(),
        below: true,
        side: Side::Bucket,
        why: format!("this mount {cannot}, so that it is the same name there as {other}, {which}; {advice}"),
        exclude: Some(exclude_line(path)),
    }
}

/// Names that look the same, told apart.
fn spelt_out(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii() && !c.is_control() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// Unicode's `Default_Ignorable_Code_Point`, which file systems that fold accents leave out.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Folding = Folding { case: true, accents: false };
    const ACCENTS: Folding = Folding { case: false, accents: true };
    const BOTH: Folding = Folding { case: true, accents: true };

    /// The wanted paths that are problems, in a mount that holds these.
    #[track_caller]
    fn check(folding: Folding, held: &[&str], wanted: &[&str], expected: &[&str]) -> Vec<Problem> {
        let mut names = Held::new();
        for path in held {
            let mut whole = *path;
            while !whole.is_empty() {
                let (dir, name) = whole.rsplit_once('/').unwrap_or(("", whole));
                names.entry(dir.to_owned()).or_default().insert(name.to_owned());
                whole = dir;
            }
        }
        let wanted: Vec<RelPath> = wanted.iter().map(|path| RelPath::new(path).unwrap()).collect();
        let problems = Wanted::of(&wanted).collisions(folding, &names);
        assert_eq!(problems.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), expected, "{held:?} {wanted:?}");
        assert!(problems.iter().all(|p| p.below && p.path.as_ref().is_some_and(|path| path.as_str() == p.name)));
        problems
    }

    #[track_caller]
    fn same(folding: Folding, one: &str, other: &str, expected: bool) {
        assert_eq!(folding.are_one(one, other), expected, "{folding:?} {one:?} {other:?}");
    }

    #[test]
    fn case_is_folded_as_unicode_folds_it_in_full() {
        for (one, other) in [("README", "readme"), ("Éa", "éA"), ("straße", "STRASSE"), ("ΣΑΣ", "σας"), ("\u{212a}", "k"), ("ﬁ", "FI")]
        {
            same(CASE, one, other, true);
            same(BOTH, one, other, true);
            same(ACCENTS, one, other, one == "\u{212a}" && other == "K");
        }
        same(CASE, "a", "b", false);
        same(CASE, "\u{e9}", "e\u{301}", false);
    }

    #[test]
    fn accents_are_one_however_they_are_composed_and_what_nobody_sees_is_nothing() {
        for (one, other) in
            [("\u{e9}", "e\u{301}"), ("\u{1ea5}", "a\u{302}\u{301}"), ("\u{ac00}", "\u{1100}\u{1161}"), ("x\u{200b}y", "xy")]
        {
            same(ACCENTS, one, other, true);
            same(BOTH, one, &other.to_uppercase(), true);
            same(CASE, one, other, false);
        }
        same(ACCENTS, "\u{e9}", "\u{c9}", false);
        same(ACCENTS, "x²", "x2", false);
    }

    #[test]
    fn of_two_new_names_neither_comes() {
        check(CASE, &[], &["A", "a", "b"], &["A", "a"]);
        check(CASE, &[], &["d/A", "d/a", "e/a"], &["d/A", "d/a"]);
        check(ACCENTS, &[], &["\u{e9}", "e\u{301}", "E"], &["e\u{301}", "\u{e9}"]);
        check(ACCENTS, &[], &["A", "a"], &[]);
        check(BOTH, &[], &["\u{c9}", "e\u{301}"], &["e\u{301}", "\u{c9}"]);
        check(Folding::default(), &["a"], &["A", "e\u{301}", "\u{e9}"], &[]);
    }

    #[test]
    fn directories_collide_as_files_do_and_take_what_lies_below_with_them() {
        check(CASE, &[], &["Data/x", "data/y"], &["Data", "data"]);
        check(CASE, &[], &["a/Data/x/y", "a/data"], &["a/Data", "a/data"]);
        check(CASE, &["data/z"], &["Data/x", "Data/deep/y", "data/x"], &["Data"]);
        check(CASE, &["data/z"], &["data/Z", "data/x/A", "data/x/a"], &["data/Z", "data/x/A", "data/x/a"]);
    }

    #[test]
    fn what_the_mount_holds_by_its_own_name_is_none() {
        check(CASE, &["a"], &["A", "a"], &["A"]);
        check(CASE, &["A", "a"], &["A", "a"], &[]);
        check(CASE, &["Ignored/x"], &["ignored/y"], &["ignored"]);
        check(CASE, &["a/x"], &["a/x", "b/x"], &[]);
    }

    #[test]
    fn nothing_comes_to_where_lsync_keeps_its_own_things() {
        check(CASE, &[".lsync/lock"], &[".LSYNC/lock", "d/.Lsync/x"], &[".LSYNC", "d/.Lsync"]);
        check(ACCENTS, &[], &[".lsync\u{200b}/x"], &[".lsync\u{200b}"]);
        let problems = check(BOTH, &[], &[".lsYnc"], &[".lsYnc"]);
        assert!(problems[0].why.contains("as .lsync, where lsync keeps its own things; rename it in the bucket"), "{:?}", problems[0]);
    }

    #[test]
    fn the_line_tells_which_other_name_why_and_what_leaves_it_out() {
        let lines = |problems: Vec<Problem>| problems.iter().map(Problem::line).collect::<Vec<_>>();
        let case = "this mount does not tell upper from lower case, so that it is the same name there as";
        assert_eq!(
            lines(check(CASE, &["d/Data"], &["d/data/x"], &["d/data"])),
            [format!("d/data: {case} d/Data, which the mount holds; rename one of them (to leave it out: --exclude '/d/data')")]
        );
        assert_eq!(
            lines(check(ACCENTS, &[], &["e\u{301}", "\u{e9}"], &["e\u{301}", "\u{e9}"]))[0],
            "e\u{301}: this mount does not tell composed from decomposed characters, so that it is the same name there as \\u{e9}, \
             which the bucket holds too; rename one of them (to leave it out: --exclude '/e\u{301}')"
        );
        assert!(check(BOTH, &["\u{c9}"], &["e\u{301}"], &["e\u{301}"])[0].why.starts_with("this mount tells neither upper"));
    }
}
