//! Compiles lines of gitignore's grammar, each with the place it stands in, and tells which of them decided. Reads no files.

use std::fmt;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Who gave a pattern that does not lie in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The configuration.
    Configuration,
    /// A flag of the command.
    Flag,
}

/// Where a pattern stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is one of the defaults.
    Default,
    /// `[sync] exclude` or `--exclude`.
    Exclude(Given),
    /// `[sync] include` or `--include`.
    Include(Given),
    /// A `.syncignore` file.
    File {
        /// Its path.
        file: String,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("the default ignores"),
            Origin::Exclude(Given::Configuration) => f.write_str("`exclude` in the configuration"),
            Origin::Exclude(Given::Flag) => f.write_str("--exclude"),
            Origin::Include(Given::Configuration) => f.write_str("`include` in the configuration"),
            Origin::Include(Given::Flag) => f.write_str("--include"),
            Origin::File { file, line } => write!(f, "{file}:{line}"),
        }
    }
}

/// A pattern, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where.
    pub origin: Origin,
    /// As it was written, without trailing spaces.
    pub pattern: String,
}

/// A pattern that gitignore's grammar does not allow.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: the pattern {pattern:?} is not valid: {why}")]
pub struct BadPattern {
    /// The file and line, flag or key it stands in.
    pub origin: String,
    /// The pattern.
    pub pattern: String,
    /// What is wrong.
    pub why: String,
}

/// Lines that hold for the same directory, in their order.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    matcher: Gitignore,
    lines: Vec<Line>,
}

impl Rules {
    pub(super) fn new(lines: impl Iterator<Item = (Origin, String)>) -> Result<Rules, BadPattern> {
        let mut builder = builder();
        let mut kept = Vec::new();
        for (origin, text) in lines {
            let line = without_trailing_spaces(&text);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |why: String| BadPattern { origin: origin.to_string(), pattern: text.clone(), why };
            if line.strip_prefix('!').unwrap_or(line).trim_matches('/').is_empty() {
                return Err(bad("it names nothing".into()));
            }
            builder.add_line(None, &as_glob(line)).map_err(|e| bad(reason(e)))?;
            kept.push(Line { pattern: line.to_owned(), origin });
        }
        let matcher = built(&builder)?;
        Ok(Rules { matcher, lines: kept })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// True when a flag gave any of the lines.
    pub(super) fn has_flags(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.origin, Origin::Exclude(Given::Flag) | Origin::Include(Given::Flag)))
    }

    /// Whether the lines ignore a path or take it back; `None` when none matches it.
    pub(super) fn decide(&self, path: &str, is_dir: bool) -> Option<bool> {
        match self.matcher.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }

    /// True when the lines match a path or a directory above it.
    pub(super) fn reaches(&self, path: &str, is_dir: bool) -> bool {
        self.matcher.matched_path_or_any_parents(path, is_dir).is_ignore()
    }

    /// The line that [`Rules::decide`] goes by: the last that matches. Compiles line by line, so it is for messages.
    pub(super) fn deciding(&self, path: &str, is_dir: bool) -> Option<&Line> {
        self.lines.iter().rev().find(|line| {
            let mut builder = builder();
            // They were compiled before.
            let added = builder.add_line(None, &as_glob(&line.pattern)).is_ok();
            added && built(&builder).is_ok_and(|only| !only.matched(path, is_dir).is_none())
        })
    }
}

fn builder() -> GitignoreBuilder {
    // `.` tells the matcher that paths come relative to where its patterns hold.
    GitignoreBuilder::new(".")
}

fn built(builder: &GitignoreBuilder) -> Result<Gitignore, BadPattern> {
    builder.build().map_err(|e| BadPattern { origin: "the patterns together".into(), pattern: String::new(), why: reason(e) })
}

fn reason(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        other => other.to_string(),
    }
}

fn without_trailing_spaces(mut line: &str) -> &str {
    while let Some(shorter) = line.strip_suffix(' ').filter(|shorter| !shorter.ends_with('\\')) {
        line = shorter;
    }
    line
}

/// Writes a gitignore line so that the matcher, which knows more than git, takes it as git does: braces are no alternatives, and white
/// space other than a space belongs to the name even at the end.
fn as_glob(line: &str) -> String {
    let mut glob = String::with_capacity(line.len() + 8);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '[' => {
                let class = class_len(rest.as_str());
                glob.push('[');
                glob.push_str(&rest.as_str()[..class]);
                rest = rest.as_str()[class..].chars();
            }
            '{' | '}' => glob.extend(['\\', c]),
            '\\' => match rest.next() {
                Some(literal) if literal.is_whitespace() && literal != ' ' => glob.extend(['{', literal, '}']),
                literal => glob.extend(Some('\\').into_iter().chain(literal)),
            },
            // A class would be one of bytes.
            _ if c.is_whitespace() && c != ' ' => glob.extend(['{', c, '}']),
            _ => glob.push(c),
        }
    }
    glob
}

/// How many bytes after a `[` belong to the class that it opens; 0 when it is never closed and so stands for itself.
fn class_len(rest: &str) -> usize {
    let negation = usize::from(rest.starts_with(['!', '^']));
    // A `]` that comes first is a member.
    let first = rest[negation..].chars().next().map_or(0, char::len_utf8);
    rest[negation + first..].find(']').map_or(0, |at| negation + first + at + 1)
}
