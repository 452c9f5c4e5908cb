//! Relative paths as the mount and the bucket share them, and how names are shown to a person. Touches no disk.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Longest name of one path segment, in bytes, that file systems of this kind hold.
pub const MAX_SEGMENT_BYTES: usize = 255;
/// Longest object key that S3 stores, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The name that is reserved at any depth for what lsync itself keeps.
pub const RESERVED: &str = ".lsync";

/// A path below the mount, and the part of a key after the prefix.
///
/// Invariants: UTF-8, not empty, no leading or trailing `/`; no segment is empty, `.`, `..`, holds NUL or is longer than
/// [`MAX_SEGMENT_BYTES`]. So joining it to a directory never leaves that directory lexically. Ordered by bytes, as S3 lists.
///
/// Copies share one text, and are known to be equal without reading it.
#[derive(Clone)]
pub struct RelPath(Arc<str>);

/// Why a name cannot be a [`RelPath`]; reads as a fragment after the shown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// The whole name is empty.
    #[error("the name is empty")]
    Empty,
    /// A leading `/`, a trailing `/` or `//`.
    #[error("the name has an empty segment (a leading, trailing or double `/`)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the name has a `.` or `..` segment")]
    DotSegment,
    /// A NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
    /// A segment over [`MAX_SEGMENT_BYTES`].
    #[error("a part of the name is longer than 255 bytes")]
    LongSegment,
    /// A `.lsync` segment where none may be.
    #[error("`.lsync` is where lsync keeps its own things")]
    Reserved,
    /// Bytes that are no UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
}

impl RelPath {
    /// The checked constructor.
    pub fn new(text: &str) -> Result<RelPath, BadPath> {
        check(text)?;
        Ok(RelPath(text.into()))
    }

    /// The path as text, segments separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All ancestors, nearest first: `a/b/c` gives `a/b`, `a`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let text = self.as_str();
        text.rmatch_indices('/').map(|(at, _)| &text[..at])
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the directory that holds it; `None` at the top of the mount.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// True when a segment is [`RESERVED`]: never synced in either direction.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.split('/').any(|segment| segment == RESERVED)
    }

    /// True for `dir` itself and for everything below it (`a` is not above `ab`).
    #[must_use]
    pub fn is_at_or_below(&self, dir: &str) -> bool {
        is_at_or_below(&self.0, dir)
    }
}

/// True when `path` is `dir` or lies below it; the empty `dir` is the mount itself, above everything.
#[must_use]
pub fn is_at_or_below(path: &str, dir: &str) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check(text: &str) -> Result<(), BadPath> {
    if text.is_empty() {
        return Err(BadPath::Empty);
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err(BadPath::EmptySegment),
            "." | ".." => return Err(BadPath::DotSegment),
            _ if segment.len() > MAX_SEGMENT_BYTES => return Err(BadPath::LongSegment),
            _ if segment.contains('\0') => return Err(BadPath::Nul),
            _ => {}
        }
    }
    Ok(())
}

impl PartialEq for RelPath {
    fn eq(&self, other: &RelPath) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for RelPath {}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &RelPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &RelPath) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl Hash for RelPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for RelPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Text of unknown origin, made safe for a terminal: control characters, C1 controls and bidirectional overrides are written
/// as Rust escapes (`\u{1b}`), everything else as it is. Names never reach a screen another way.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.0.chars() {
            if is_unsafe_to_show(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

fn is_unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The prefix under which a mount's files lie in the bucket: empty, or ending in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Adds the trailing `/` that a non-empty prefix lacks. Refuses what no [`RelPath`] may hold, and `.lsync` segments.
    pub fn new(text: &str) -> Result<Prefix, BadPath> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Prefix::default());
        }
        check(text)?;
        if text.split('/').any(|segment| segment == RESERVED) {
            return Err(BadPath::Reserved);
        }
        Ok(Prefix(format!("{text}/")))
    }

    /// The prefix as it starts every key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of a path.
    #[must_use]
    pub fn key(&self, path: &RelPath) -> String {
        format!("{}{}", self.0, path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: BadPath) {
        assert_eq!(RelPath::new(text), Err(why), "{text:?}");
    }

    #[test]
    fn a_path_never_leaves_the_directory_it_is_joined_to() {
        refused("", BadPath::Empty);
        refused("/etc/passwd", BadPath::EmptySegment);
        refused("a//b", BadPath::EmptySegment);
        refused("a/", BadPath::EmptySegment);
        refused("..", BadPath::DotSegment);
        refused("a/../b", BadPath::DotSegment);
        refused("a/./b", BadPath::DotSegment);
        refused("a\0b", BadPath::Nul);
        refused(&"n".repeat(256), BadPath::LongSegment);
        for fine in ["a", "a/b", "...", "..a", "a..b", "a b", "é", "a\\b", &"n".repeat(255)] {
            assert_eq!(RelPath::new(fine).map(|p| p.as_str().to_owned()), Ok(fine.to_owned()));
        }
    }

    #[test]
    fn lsync_is_reserved_at_any_depth() {
        assert!(RelPath::new(".lsync/x").is_ok_and(|p| p.is_reserved()));
        assert!(RelPath::new("a/.lsync").is_ok_and(|p| p.is_reserved()));
        assert!(RelPath::new(".lsyncx").is_ok_and(|p| !p.is_reserved()));
    }

    #[test]
    fn a_is_not_above_ab() {
        assert!(is_at_or_below("a", "a") && is_at_or_below("a/b", "a") && is_at_or_below("a", ""));
        assert!(!is_at_or_below("ab", "a") && !is_at_or_below("b/a", "a"));
    }

    #[test]
    fn terminal_escapes_in_names_are_shown_escaped() {
        assert_eq!(Shown("a\u{1b}[31mb\n\u{202e}é").to_string(), "a\\u{1b}[31mb\\n\\u{202e}é");
    }

    #[test]
    fn a_prefix_gets_the_slash_it_lacks() {
        assert_eq!(Prefix::new("p/q").map(|p| p.0), Ok("p/q/".into()));
        assert_eq!(Prefix::new("p/").map(|p| p.0), Ok("p/".into()));
        assert_eq!(Prefix::new("").map(|p| p.0), Ok(String::new()));
        assert_eq!(Prefix::new("../x"), Err(BadPath::DotSegment));
        assert_eq!(Prefix::new("a/.lsync/"), Err(BadPath::Reserved));
    }
}
