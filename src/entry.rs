//! What lies at a path: a file, a link or an empty directory, with what is known about it. The words that local tree, bucket,
//! base and manifest share. Compares; reads nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digests, ETag, Md5, Parts};
use crate::path::{RelPath, is_at_or_below};

pub mod time;

pub use time::Nanos;

/// One thing at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits (`& 0o777`), where known. Links have none.
    pub mode: Option<u32>,
}

/// The kinds that travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(File),
    /// A symbolic link and its target, to the letter.
    Link(Box<str>),
    /// A directory without entries.
    Dir,
}

/// What is known about a file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Length in bytes.
    pub size: u64,
    /// Modification time, where known.
    pub mtime: Option<Nanos>,
    /// Digests of the content, in the kinds that are known.
    pub digests: Digests,
    /// The ETag that the bucket listed for it; `None` for a local file.
    pub etag: Option<ETag>,
}

impl File {
    /// True when both were listed as one version of an object: the same ETag and size.
    #[must_use]
    pub fn is_version_of(&self, other: &File) -> bool {
        self.etag.is_some() && self.etag == other.etag && self.size == other.size
    }
}

impl Entry {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Link(_) | Kind::Dir => None,
        }
    }

    /// Content bytes; links and directories have none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.file().map_or(0, |file| file.size)
    }

    /// A word for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::File(_) => "file",
            Kind::Link(_) => "link",
            Kind::Dir => "empty directory",
        }
    }

    /// Whether two entries hold the same content: the same kind and, for files, equal size and an equal digest of a common kind.
    /// `None` when sizes are equal and no digest of a common kind is known. Modes and times do not count.
    #[must_use]
    pub fn same_content(&self, other: &Entry) -> Option<bool> {
        match (&self.kind, &other.kind) {
            (Kind::File(a), Kind::File(b)) if a.size != b.size => Some(false),
            (Kind::File(a), Kind::File(b)) => match (&a.etag, &b.etag) {
                // What the bucket listed under this ETag and size when both sides agreed is what it lists now.
                (Some(x), Some(y)) if x == y => Some(true),
                _ if a.size == 0 => Some(true),
                _ => a.digests.same(&b.digests),
            },
            (a, b) => Some(a == b),
        }
    }
}

/// What identifies the state of a file on disk without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Nanos,
    /// Change time.
    pub ctime: Nanos,
    /// Inode number. The device is left out: it is not stable on network file systems.
    pub inode: u64,
}

impl Stamp {
    /// False when the modification time lies further away than [`time::time`] can say: tens of thousands of years.
    #[must_use]
    pub fn has_mtime(&self) -> bool {
        !matches!(self.mtime, Nanos::MIN | Nanos::MAX)
    }
}

/// An entry of the mount. A file's mtime is set; its digests are those that are known without reading it. Where those say that it is what
/// is remembered, to the last attribute, the entry is that one, with an ETag that is a digest of this very content; else it has no ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What lies there.
    pub entry: Arc<Entry>,
    /// A file's stamp; `None` for links and directories.
    pub stamp: Option<Stamp>,
}

/// Paths and what lies there, sorted by path, each path once.
pub type Tree = Vec<(RelPath, Arc<Entry>)>;

/// The entry at a path of a sorted list.
#[must_use]
pub fn find<'a, T>(sorted: &'a [(RelPath, T)], path: &str) -> Option<&'a T> {
    sorted.binary_search_by(|(p, _)| p.as_str().cmp(path)).ok().map(|at| &sorted[at].1)
}

/// The part of a sorted list that lies below `dir` (not `dir` itself).
#[must_use]
pub fn below<'a, T>(sorted: &'a [(RelPath, T)], dir: &str) -> &'a [(RelPath, T)] {
    let start = format!("{dir}/");
    let from = sorted.partition_point(|(p, _)| p.as_str() < start.as_str());
    let len = sorted[from..].partition_point(|(p, _)| p.as_str().starts_with(&start));
    &sorted[from..from + len]
}

/// Where in a sorted list the paths are below which another sorted list has something, ascending.
#[must_use]
pub fn with_something_below<T, U>(sorted: &[(RelPath, T)], other: &[(RelPath, U)]) -> Vec<usize> {
    let (mut found, mut last) = (BTreeSet::new(), None);
    for (path, _) in other {
        let Some(dir) = path.parent().filter(|dir| last != Some(*dir)) else { continue };
        // What lies above the one before was looked for then.
        let new = path.ancestors().take_while(|above| last.is_none_or(|last| !is_at_or_below(last, above)));
        found.extend(new.filter_map(|above| sorted.binary_search_by(|(p, _)| p.as_str().cmp(above)).ok()));
        last = Some(dir);
    }
    found.into_iter().collect()
}

/// Finds paths in a sorted list; those that are asked for in order without a search each.
#[derive(Debug)]
pub struct InOrder<'a, T> {
    sorted: &'a [(RelPath, T)],
    /// Where the next one is looked for first. It only saves time, whatever several threads make of it.
    at: AtomicUsize,
}

impl<'a, T> InOrder<'a, T> {
    /// Of a list that is sorted by path.
    #[must_use]
    pub fn new(sorted: &'a [(RelPath, T)]) -> InOrder<'a, T> {
        InOrder { sorted, at: AtomicUsize::new(0) }
    }

    /// What the list has at a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&'a (RelPath, T)> {
        let before = |(p, _): &(RelPath, T)| p.as_str() < path;
        let (mut from, mut step) = (self.at.load(Ordering::Relaxed), 1);
        let mut to = from;
        if self.sorted[..from].last().is_some_and(|last| !before(last)) {
            from = 0;
        }
        while from <= to && self.sorted.get(to).is_some_and(before) {
            (from, to, step) = (to + 1, to + step, step * 2);
        }
        let to = self.sorted.len().min(to);
        let at = from + self.sorted[from..to].partition_point(before);
        let found = self.sorted.get(at).filter(|(p, _)| p.as_str() == path);
        self.at.store(at + usize::from(found.is_some()), Ordering::Relaxed);
        found
    }
}

/// How an [`Entry`] is written in state files and manifests; field names are short because there is a line per entry.
///
/// `n`: the path, where the entry is a line of its own. `k`: `f` file, `l` link, `d` empty directory. `s` bytes. `m` mode (decimal). `t`
/// mtime in nanoseconds. `e` ETag. `l` link target. Then the fields of a [`DigestRecord`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record<'a> {
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    n: Cow<'a, str>,
    k: Letter,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<Box<str>>,
    // Not flattened: serde would read every line twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Written>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Letter {
    #[default]
    F,
    L,
    D,
}

/// How [`Digests`] are written: `d` whole MD5 as hex. `pb` bytes per part, `p` the parts' MD5s as one hex string. `c` composite as
/// `hex-count`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DigestRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Written>,
}

/// An MD5 as it is written.
#[derive(Clone, Copy, Debug)]
struct Hex(Md5);

/// An ETag as it is written: [`ETag::written`].
#[derive(Clone, Debug)]
struct Written(ETag);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.hex())
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.written())
    }
}

/// Reads a text where it lies.
struct Text<T>(fn(&str) -> Option<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.0(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        deserializer.deserialize_str(Text(|text| Md5::from_hex(text).map(Hex)))
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_str(Text(|text| Some(Written(ETag::parse(text)))))
    }
}

impl From<&Digests> for DigestRecord {
    fn from(digests: &Digests) -> DigestRecord {
        DigestRecord {
            d: digests.whole.map(Hex),
            pb: digests.parts.as_ref().map(|parts| parts.part_bytes),
            p: digests.parts.as_ref().map(|parts| parts.md5s.iter().map(Md5::hex).collect()),
            c: digests.composite.as_deref().map(|(md5, count)| Written(ETag::Composite(*md5, *count))),
        }
    }
}

impl DigestRecord {
    /// Reads the record back; `None` when a field is not of its form.
    #[must_use]
    pub fn read(self) -> Option<Digests> {
        let parts = match (self.pb, self.p) {
            (Some(part_bytes), Some(hex)) if part_bytes > 0 && !hex.is_empty() && hex.is_ascii() => {
                let md5s = hex.as_bytes().chunks(32).map(|c| Md5::from_hex(std::str::from_utf8(c).ok()?)).collect::<Option<_>>()?;
                Some(Box::new(Parts { part_bytes, md5s }))
            }
            (None, None) => None,
            _ => return None,
        };
        let composite = match self.c {
            Some(Written(ETag::Composite(md5, count))) => Some(Box::new((md5, count))),
            Some(Written(ETag::Hex(_) | ETag::Opaque(_))) => return None,
            None => None,
        };
        Some(Digests { whole: self.d.map(|hex| hex.0), parts, composite })
    }
}

impl From<&Entry> for Record<'_> {
    fn from(entry: &Entry) -> Self {
        let mut record = Record { m: entry.mode, ..Record::default() };
        match &entry.kind {
            Kind::File(file) => {
                record.s = Some(file.size);
                record.t = file.mtime;
                record.e = file.etag.clone().map(Written);
                let DigestRecord { d, pb, p, c } = DigestRecord::from(&file.digests);
                (record.d, record.pb, record.p, record.c) = (d, pb, p, c);
            }
            Kind::Link(target) => {
                record.k = Letter::L;
                record.l = Some(target.clone());
            }
            Kind::Dir => record.k = Letter::D,
        }
        record
    }
}

impl<'a> Record<'a> {
    /// With its path, for a line of its own.
    #[must_use]
    pub fn named(path: &'a RelPath, entry: &Entry) -> Record<'a> {
        Record { n: path.as_str().into(), ..Record::from(entry) }
    }

    /// The path; empty where it is not a line of its own.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.n
    }

    /// Reads the record back; `None` when a field is missing or not of its form.
    #[must_use]
    pub fn read(self) -> Option<Entry> {
        let kind = match self.k {
            Letter::F => {
                let digests = DigestRecord { d: self.d, pb: self.pb, p: self.p, c: self.c }.read()?;
                Kind::File(File { size: self.s?, mtime: self.t, digests, etag: self.e.map(|etag| etag.0) })
            }
            Letter::L => Kind::Link(self.l?),
            Letter::D => Kind::Dir,
        };
        Some(Entry { kind, mode: self.m.map(|mode| mode & 0o777) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::digest_one;

    fn file(size: u64, digests: Digests, etag: Option<&str>) -> Entry {
        Entry { kind: Kind::File(File { size, mtime: Some(-5), digests, etag: etag.map(ETag::parse) }), mode: Some(0o640) }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let parts = Digests::of_parts(Parts { part_bytes: 8, md5s: vec![digest_one(b"1"), digest_one(b"2")] });
        let mut all = Digests { composite: Some(Box::new((digest_one(b"c"), 3))), ..Digests::of_whole(digest_one(b"w")) };
        all.learn(&parts);
        for entry in [
            file(9, all, Some("weird \"etag\"")),
            file(0, Digests::default(), None),
            Entry { kind: Kind::Link("../a\nb".into()), mode: None },
            Entry { kind: Kind::Dir, mode: Some(0o700) },
        ] {
            let json = serde_json::to_string(&Record::from(&entry)).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap().read(), Some(entry), "{json}");
        }
    }

    #[test]
    fn equal_size_without_a_digest_is_unknown() {
        let md5 = Digests::of_whole(digest_one(b"w"));
        assert_eq!(file(3, md5.clone(), None).same_content(&file(3, Digests::default(), Some("x"))), None);
        assert_eq!(file(3, md5.clone(), None).same_content(&file(4, Digests::default(), Some("x"))), Some(false));
        assert_eq!(file(3, md5, Some("x")).same_content(&file(3, Digests::default(), Some("x"))), Some(true));
        assert_eq!(file(0, Digests::default(), None).same_content(&file(0, Digests::default(), Some("y"))), Some(true));
    }

    #[test]
    fn below_finds_what_lies_in_a_directory_only() {
        let list: Vec<(RelPath, ())> = ["a", "a-b", "a/1", "a/2/x", "a0", "b"].map(|p| (RelPath::new(p).unwrap(), ())).to_vec();
        let names: Vec<_> = below(&list, "a").iter().map(|(p, ())| p.as_str()).collect();
        assert_eq!(names, ["a/1", "a/2/x"]);
        assert!(find(&list, "a-b").is_some() && find(&list, "a/2").is_none());
    }

    fn sorted(names: &BTreeSet<String>) -> Vec<(RelPath, ())> {
        names.iter().map(|name| (RelPath::new(name).unwrap(), ())).collect()
    }

    /// Names that are often above, below and beside each other.
    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        let name = proptest::collection::vec(proptest::sample::select(vec!["a", "a-", "b", "0"]), 1..4).prop_map(|s| s.join("/"));
        proptest::collection::btree_set(name, 0..12)
    }

    proptest! {
        #[test]
        fn what_lies_above_something_is_found_in_one_go(one in names(), other in names()) {
            let (one, other) = (sorted(&one), sorted(&other));
            let each: Vec<usize> = (0..one.len()).filter(|at| !below(&other, one[*at].0.as_str()).is_empty()).collect();
            prop_assert_eq!(with_something_below(&one, &other), each);
        }

        #[test]
        fn paths_are_found_in_whatever_order(list in names(), mut asked in proptest::collection::vec(names(), 0..3)) {
            let list = sorted(&list);
            let in_order = InOrder::new(&list);
            asked.push(list.iter().map(|(p, ())| p.as_str().to_owned()).collect());
            for name in asked.into_iter().flatten() {
                let found = find(&list, &name).map(|()| name.as_str());
                prop_assert_eq!(in_order.find(&name).map(|(p, ())| p.as_str()), found, "{}", name);
            }
        }
    }
}
