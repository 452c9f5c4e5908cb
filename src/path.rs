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
pub struct RelPath {
    /// Of this path alone, or of a [`Batch`].
    texts: Arc<String>,
    at: u32,
    bytes: u32,
}

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
        let bytes = u32::try_from(text.len()).map_err(|_| BadPath::LongSegment)?;
        Ok(RelPath { texts: Arc::new(text.to_owned()), at: 0, bytes })
    }

    /// The path as text, segments separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.texts[self.at as usize..][..self.bytes as usize]
    }

    /// All ancestors, nearest first: `a/b/c` gives `a/b`, `a`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let text = self.as_str();
        text.rmatch_indices('/').map(|(at, _)| &text[..at])
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.as_str().rsplit('/').next().unwrap_or(self.as_str())
    }

    /// The path of the directory that holds it; `None` at the top of the mount.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.as_str().rsplit_once('/').map(|(parent, _)| parent)
    }

    /// True when a segment is [`RESERVED`]: never synced in either direction.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().split('/').any(|segment| segment == RESERVED)
    }

    fn is_copy_of(&self, other: &RelPath) -> bool {
        Arc::ptr_eq(&self.texts, &other.texts) && self.at == other.at && self.bytes == other.bytes
    }

    /// True for `dir` itself and for everything below it (`a` is not above `ab`).
    #[must_use]
    pub fn is_at_or_below(&self, dir: &str) -> bool {
        is_at_or_below(self.as_str(), dir)
    }
}

/// Makes many paths that lie together in memory: an allocation for each would take more room than its text.
#[derive(Debug, Default)]
pub struct Batch {
    texts: String,
    /// Where each ends; `None` for what is no path.
    ends: Vec<Option<u32>>,
}

impl Batch {
    /// How many texts were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a text; false when it is no path.
    pub fn push(&mut self, text: &str) -> bool {
        let end = check(text).ok().and_then(|()| u32::try_from(self.texts.len() + text.len()).ok());
        if end.is_some() {
            self.texts.push_str(text);
        }
        self.ends.push(end);
        end.is_some()
    }

    /// The paths of all texts, in order, and `None` for those that are none. The batch is empty again.
    pub fn paths(&mut self) -> impl Iterator<Item = Option<RelPath>> + use<> {
        let Batch { mut texts, ends } = std::mem::take(self);
        texts.shrink_to_fit();
        let (texts, mut at) = (Arc::new(texts), 0);
        ends.into_iter().map(move |end| {
            let path = RelPath { texts: texts.clone(), at, bytes: end? - at };
            at += path.bytes;
            Some(path)
        })
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
        self.is_copy_of(other) || self.as_str() == other.as_str()
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
        if self.is_copy_of(other) { Ordering::Equal } else { self.as_str().cmp(other.as_str()) }
    }
}

impl Hash for RelPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.as_str()).fmt(f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::borrow::Borrow<str> for RelPath {
    fn borrow(&self) -> &str {
        self.as_str()
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
    fn paths_of_a_batch_are_like_those_made_alone() {
        let mut batch = Batch::default();
        let texts = ["a/b", "../x", "é", "a/b", "", "c"];
        assert_eq!(texts.map(|text| batch.push(text)), [true, false, true, true, false, true]);
        assert_eq!((batch.len(), batch.is_empty()), (6, false));
        let made: Vec<_> = batch.paths().collect();
        assert_eq!(made, texts.map(|text| RelPath::new(text).ok()));
        assert_eq!(made[0].cmp(&made[3]), Ordering::Equal);
        assert!(batch.is_empty() && batch.paths().next().is_none());
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
