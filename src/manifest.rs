//! The published manifest: what a run says the bucket holds, as an immutable object, and how several of them are read together.
//! Pure: bytes in, values out.
//!
//! # Format 1
//! UTF-8, one JSON value per line. The first line is the [`Header`] (`"lsync": "manifest"`, `"v": 1`). Then one line per entry in
//! path order: `{"n": path, …}` with the fields of [`crate::entry::Record`]. The last line is `{"end": N, "md5": "…"}`: the count of
//! entries and the MD5 of every byte before that line. Anything that does not fit is [`Unreadable`], never a shorter tree.
//!
//! The object's name is `<prefix>.lsync/manifests/<generation, 10 digits>-<128-bit nonce as hex>`; it is never overwritten. A *head*
//! is a manifest that no listed manifest names as parent.

pub mod retention;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::digest_one;
use crate::entry::{Entry, Kind, Record, Tree, find};
use crate::path::{Batch, RelPath};

/// The newest format that this version reads and the one that it writes.
pub const FORMAT: u32 = 1;
/// Where manifests lie, after the prefix.
pub const FOLDER: &str = ".lsync/manifests/";
/// How many paths lie together in memory.
const BATCH: usize = 512;

/// Name of a manifest object below [`FOLDER`]: generation and nonce.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// 1 + the highest generation that was listed when it was published.
    pub generation: u64,
    nonce: String,
}

impl Name {
    /// A new name; `nonce` is 128 random bits.
    #[must_use]
    pub fn new(generation: u64, nonce: [u8; 16]) -> Name {
        Name { generation, nonce: data_encoding::HEXLOWER.encode(&nonce) }
    }

    /// Reads `<10 digits>-<32 hex digits>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Name> {
        let (generation, nonce) = text.split_once('-')?;
        let digits = generation.len() >= 10 && generation.bytes().all(|b| b.is_ascii_digit());
        let hex = nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let name = Name { generation: generation.parse().ok()?, nonce: nonce.to_owned() };
        (digits && hex && name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:010}-{}", self.generation, self.nonce)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(text: String) -> Result<Name, String> {
        Name::parse(&text).ok_or_else(|| format!("{text:?} is not a manifest's name"))
    }
}

/// The first line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `manifest`.
    pub lsync: String,
    /// Format version.
    pub v: u32,
    /// Random id of the first manifest of this tree, copied on from parent to child.
    pub lineage: String,
    /// The heads that this manifest was made from.
    pub parents: Vec<Name>,
    /// Name of the host that published it.
    pub host: String,
    /// Random id of the run that published it.
    pub operation: String,
    /// `upload`, or a later command.
    pub command: String,
    /// When, in nanoseconds since 1970 by the publisher's clock; shown, never decided by.
    pub time: i64,
    /// The paths that the run was narrowed to; empty for a whole run.
    pub scope: Vec<String>,
    /// Paths of links, empty directories and permission bits that heads before gave differently, and that no upload has settled since:
    /// the entry is the newest head's, and nothing is agreed on. Left out when empty; text that is no path is passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub torn: Vec<String>,
    /// Databases and the files that belong to them, as they were published as one. Left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Together>,
    /// Directories that hold something and whose permission bits are not those that the publisher's umask gives, with the bits. Older
    /// versions tell of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirs: Option<Vec<(String, u32)>>,
    /// What was deleted in the directory of an upload and is kept in the bucket: fresh downloads leave it out. Left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<Deleted>,
    /// How many files, and their bytes: what a confirmation screen shows without reading the entries.
    pub files: u64,
    /// Content bytes of all files.
    pub bytes: u64,
}

/// Files that were published as one. Where the bucket lists one of them with another ETag, they are torn; a file of their names that is
/// not among them is left over from an older version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// The database's path.
    pub of: String,
    /// The path of each and the ETag that the bucket listed for it; none for one that did not get there with the others.
    pub members: Vec<(String, Option<String>)>,
}

/// A file, link or empty directory that was deleted where it was uploaded from, while the bucket keeps it. It counts while the entry of the
/// path is the one that was deleted, and proves no deletion to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Where.
    pub path: String,
    /// What was there: the ETag of a file, `>` and the target of a link, `/` for an empty directory.
    pub was: String,
    /// When the bucket said that the object was written, in nanoseconds since 1970. Left out for what is no object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// Name of the host that deleted it.
    pub host: String,
    /// Id of the directory that it was deleted from.
    pub mount: String,
    /// A directory above it that is left and holds nothing. Left out when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// A header and the whole tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Who, when, from what.
    pub header: Header,
    /// The whole tree, in path order.
    pub entries: Tree,
}

/// Why a manifest cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a later version of lsync.
    #[error("it has format {0}, and this lsync reads format {FORMAT}: upgrade lsync")]
    Newer(u32),
    /// Damaged, truncated, or not a manifest.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct End {
    end: u64,
    md5: String,
}

#[derive(Deserialize)]
struct Version {
    lsync: String,
    v: u32,
}

impl Header {
    /// Reads the first line alone, so that a listing's heads are found without reading whole manifests.
    pub fn decode(first_line: &[u8]) -> Result<Header, Unreadable> {
        let damaged = |e: serde_json::Error| Unreadable::Damaged(format!("the first line is no header ({e})"));
        let version: Version = serde_json::from_slice(first_line).map_err(damaged)?;
        if version.lsync != "manifest" {
            return Err(Unreadable::Damaged("it is not a manifest".into()));
        }
        if version.v > FORMAT {
            return Err(Unreadable::Newer(version.v));
        }
        serde_json::from_slice(first_line).map_err(damaged)
    }
}

impl Manifest {
    /// The bytes of the object. Entries must be sorted by path.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.entries.len() * 200);
        write_line(&mut out, &self.header);
        for (path, entry) in &self.entries {
            write_line(&mut out, &Record::named(path, entry));
        }
        let md5 = digest_one(&out).hex();
        write_line(&mut out, &End { end: self.entries.len() as u64, md5 });
        out
    }

    /// Reads [`Manifest::encode`]; the checksum, the count and the order are verified.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
        let body = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("it is cut off"))?;
        let first = body.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it is cut off"))?;
        let header = Header::decode(&body[..first])?;
        let last = body.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let end: End = serde_json::from_slice(&body[last..]).map_err(|_| damaged("it is cut off"))?;
        if digest_one(&bytes[..last]).hex() != end.md5 {
            return Err(damaged("its checksum does not match"));
        }
        let (mut entries, mut paths, mut read) = (Tree::new(), Batch::default(), Vec::new());
        if last > first + 1 {
            for line in body[first + 1..last - 1].split(|b| *b == b'\n') {
                let record: Record<'_> = serde_json::from_slice(line).map_err(|e| Unreadable::Damaged(e.to_string()))?;
                if !paths.push(record.name()) {
                    return Err(Unreadable::Damaged(format!("{:?} is no path", record.name())));
                }
                let entry = record.read().ok_or_else(|| Unreadable::Damaged(format!("the entry {}", read.len() + 1)))?;
                read.push(Arc::new(entry));
                if read.len() == BATCH {
                    entries.extend(paths.paths().flatten().zip(read.drain(..)));
                }
            }
        }
        entries.extend(paths.paths().flatten().zip(read));
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(damaged("its entries are not in order"));
        }
        if entries.len() as u64 != end.end {
            return Err(damaged("its count does not match"));
        }
        Ok(Manifest { header, entries })
    }
}

/// Appends one JSON line.
pub(crate) fn write_line<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(&mut *out, value).expect("these types have string keys and a Vec takes every byte");
    out.push(b'\n');
}

/// Several heads read as one tree: for each path the entry whose (etag, size) is listed holds; else what only one of them changed since
/// their common `ancestor`, where that is known. Links, empty directories and modes that they changed differently are returned apart as
/// conflicts, and the newest head's stand in the tree, but for a directory where another head has a link.
///
/// `listed` answers whether a file entry is what the bucket lists now.
#[must_use]
pub fn merge(mut heads: Vec<(Name, Tree)>, ancestor: Option<&Tree>, listed: &dyn Fn(&RelPath, &Entry) -> bool) -> (Tree, Vec<RelPath>) {
    heads.sort_by(|a, b| b.0.cmp(&a.0));
    let paths: BTreeSet<&RelPath> = heads.iter().flat_map(|(_, tree)| tree).map(|(path, _)| path).collect();
    let (mut tree, mut conflicts) = (Tree::new(), Vec::new());
    for path in paths {
        let versions: Vec<Option<&Entry>> = heads.iter().map(|(_, tree)| find(tree, path.as_str()).map(|entry| &**entry)).collect();
        let was = ancestor.map(|tree| find(tree, path.as_str()).map(|entry| &**entry));
        let (entry, differ) = merge_one(&versions, was, &|entry| entry.file().is_some() && listed(path, entry));
        tree.extend(entry.map(|entry| (path.clone(), Arc::new(entry))));
        if differ {
            conflicts.push(path.clone());
        }
    }
    (tree, conflicts)
}

/// What holds at one path, and whether the heads (newest first) changed it differently.
fn merge_one(versions: &[Option<&Entry>], was: Option<Option<&Entry>>, listed: &dyn Fn(&Entry) -> bool) -> (Option<Entry>, bool) {
    if versions.iter().all(|version| *version == versions[0]) {
        return (versions[0].cloned(), false);
    }
    // Content that the bucket lists is what it holds, whoever else says otherwise; only who set the mode is still open.
    if let Some(newest) = versions.iter().flatten().find(|entry| listed(entry)) {
        let told = |entry: &&&Entry| entry.file().is_some() && (was.is_some() || listed(entry));
        let modes: Vec<Option<u32>> = versions.iter().flatten().filter(told).map(|entry| entry.mode).collect();
        let (mode, differ) = changed(&modes, was.map(|was| was.and_then(|entry| entry.mode)));
        return (Some(Entry { mode, ..(*newest).clone() }), differ);
    }
    // Without an ancestor nobody knows whether a head lacks a path because it removed it.
    let known: Vec<Option<&Entry>> = versions.iter().copied().filter(|version| was.is_some() || version.is_some()).collect();
    let (newest, differ) = changed(&known, was);
    if known.iter().flatten().all(|entry| entry.file().is_some()) {
        // Files that nothing lists are gone, whichever of them it was; who set the mode counts where they are what others come from.
        let modes: Vec<Option<u32>> = known.iter().flatten().map(|entry| entry.mode).collect();
        let holds = newest.or_else(|| known.iter().copied().flatten().next().filter(|_| differ));
        let (mode, _) = changed(&modes, was.map(|was| was.and_then(|entry| entry.mode)));
        return (holds.map(|entry| Entry { mode, ..entry.clone() }), false);
    }
    // Of a link and a directory the link: beside it, what comes into the directory is a conflict too.
    let link = known.iter().copied().flatten().find(|entry| matches!(entry.kind, Kind::Link(_)));
    let holds = if differ { link.or(newest).or_else(|| known.iter().copied().flatten().next()) } else { newest };
    (holds.cloned(), differ)
}

/// The one value that differs from what it `was`, or the newest of several, and whether there are several. `values` are newest first.
fn changed<T: Clone + PartialEq>(values: &[T], was: Option<T>) -> (T, bool) {
    let mut new = values.iter().filter(|value| was.as_ref() != Some(value));
    match new.next() {
        Some(first) => (first.clone(), new.any(|other| other != first)),
        None => (was.unwrap_or_else(|| values[0].clone()), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digests, ETag};
    use crate::entry::File;

    fn sample() -> Manifest {
        let file = |text: &[u8]| {
            let md5 = digest_one(text);
            let file = File { size: text.len() as u64, mtime: Some(1), digests: Digests::of_whole(md5), etag: Some(ETag::Hex(md5)) };
            Entry { kind: Kind::File(file), mode: Some(0o644) }
        };
        Manifest {
            header: Header {
                lsync: "manifest".into(),
                v: 1,
                lineage: "00".repeat(16),
                parents: vec![Name::new(6, [7; 16])],
                host: "gpu-1".into(),
                operation: "op".into(),
                command: "upload".into(),
                time: 1_700_000_000_000_000_000,
                scope: vec![],
                torn: vec![],
                sets: vec![],
                dirs: None,
                deleted: vec![],
                files: 1,
                bytes: 3,
            },
            entries: vec![
                (RelPath::new("a.txt").unwrap(), file(b"abc").into()),
                (RelPath::new("empty").unwrap(), Entry { kind: Kind::Dir, mode: Some(0o755) }.into()),
                (RelPath::new("l\n").unwrap(), Entry { kind: Kind::Link("a.txt".into()), mode: None }.into()),
            ],
        }
    }

    /// A manifest as version 0.1.0 wrote it; it must stay readable for ever.
    const FORMAT_1: &str = concat!(
        r#"{"lsync":"manifest","v":1,"lineage":"00000000000000000000000000000000","parents":["0000000006-07070707070707070707070707070707"],"host":"gpu-1","operation":"op","command":"upload","time":1700000000000000000,"scope":[],"files":1,"bytes":3}"#,
        "\n",
        r#"{"n":"a.txt","k":"f","s":3,"m":420,"t":1,"e":"900150983cd24fb0d6963f7d28e17f72","d":"900150983cd24fb0d6963f7d28e17f72"}"#,
        "\n",
        r#"{"n":"empty","k":"d","m":493}"#,
        "\n",
        r#"{"n":"l\n","k":"l","l":"a.txt"}"#,
        "\n",
        r#"{"end":3,"md5":"bfabc37432958b063360d3ad6461c9c4"}"#,
        "\n"
    );

    #[test]
    fn format_1_is_read_and_written_to_the_letter() {
        let bytes = sample().encode();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let upto_end = |t: &str| t[..t.rfind("{\"end\"").unwrap()].to_owned();
        assert_eq!(upto_end(&text), upto_end(FORMAT_1));
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn a_manifest_cut_or_changed_anywhere_is_unreadable_never_shorter() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Manifest::decode(&flipped).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn a_newer_format_says_upgrade() {
        assert_eq!(Header::decode(br#"{"lsync":"manifest","v":2,"new":1}"#), Err(Unreadable::Newer(2)));
    }

    #[test]
    fn names_are_read_exactly() {
        let name = Name::new(12, [0xab; 16]);
        assert_eq!(name.to_string(), "0000000012-abababababababababababababababab");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        for bad in ["12-abababababababababababababababab", "0000000012-AB", "0000000012", "x"] {
            assert_eq!(Name::parse(bad), None);
        }
    }

    #[test]
    fn of_several_heads_the_entry_that_is_listed_holds() {
        let (old, new) = (Name::new(2, [1; 16]), Name::new(2, [2; 16]));
        let path = |p: &str| RelPath::new(p).unwrap();
        let file = |size| Arc::new(Entry { kind: Kind::File(File { size, ..File::default() }), mode: None });
        let link = |to: &str| Arc::new(Entry { kind: Kind::Link(to.into()), mode: None });
        let one = vec![(path("f"), file(1)), (path("l"), link("x")), (path("only"), file(9))];
        let two = vec![(path("f"), file(2)), (path("l"), link("y"))];
        let heads = vec![(old, one), (new, two)];
        let listed = |_: &RelPath, entry: &Entry| entry.bytes() == 1;
        let (tree, conflicts) = merge(heads.clone(), None, &listed);
        assert_eq!(tree, [(path("f"), file(1)), (path("l"), link("y")), (path("only"), file(9))]);
        assert_eq!(conflicts, [path("l")]);
        // With what they had in common, a change or removal by one of them alone is no conflict.
        let ancestor = vec![(path("f"), file(1)), (path("l"), link("y")), (path("only"), file(9))];
        let (tree, conflicts) = merge(heads.clone(), Some(&ancestor), &listed);
        assert_eq!((tree, conflicts), (vec![(path("f"), file(1)), (path("l"), link("x"))], vec![]));
        let ancestor = vec![(path("l"), link("z"))];
        let (tree, conflicts) = merge(heads, Some(&ancestor), &listed);
        assert_eq!((tree[1].clone(), conflicts), ((path("l"), link("y")), vec![path("l")]));
    }

    #[test]
    fn of_several_heads_the_mode_that_was_changed_holds() {
        let check = |old: u32, new: u32, was: Option<u32>, expected: (u32, bool)| {
            let tree = |mode| vec![(RelPath::new("f").unwrap(), Entry { kind: Kind::File(File::default()), mode: Some(mode) }.into())];
            let heads = vec![(Name::new(2, [1; 16]), tree(old)), (Name::new(2, [2; 16]), tree(new))];
            let ancestor = was.map(tree);
            let (merged, conflicts) = merge(heads, ancestor.as_ref(), &|_, _| true);
            assert_eq!((merged[0].1.mode, !conflicts.is_empty()), (Some(expected.0), expected.1), "{old:o} {new:o} {was:?}");
        };
        check(0o600, 0o644, Some(0o644), (0o600, false));
        check(0o644, 0o600, Some(0o644), (0o600, false));
        check(0o600, 0o600, Some(0o644), (0o600, false));
        check(0o600, 0o640, Some(0o644), (0o640, true));
        check(0o600, 0o640, None, (0o640, true));
    }
}
