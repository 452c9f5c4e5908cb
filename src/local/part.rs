//! Part files: what a large download that was cut short has already, with a record that lets a later run go on. Says what lies there;
//! what of it holds is for the reader to find out, by the digests.
//!
//! # Format 1
//! `.lsync/tmp/<operation>/<name>.parts` beside the temporary `<name>`, mode 0600, a file of `lines`. The first is `{"lsync": "parts", "v": 1,
//! "remote": id, "n": path, "e": ETag, "s": size, "t": when it was written, "p": bytes per part}`; the others have `k`, the index of a part
//! that was written to its place, and `m`, its MD5. Nothing is made durable: whoever goes on reads and hashes every part that is named.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::beneath::Dir;
use super::internal::{self, PRIVATE_FILE};
use super::lines::{checked, locked, with_digits};
use super::state::remote_id;
use crate::digest::{ETag, Md5};
use crate::entry::Nanos;
use crate::manifest::write_line;
use crate::path::RelPath;

const FORMAT: u32 = 1;
const SUFFIX: &str = ".parts";

/// Which object a part file is of, and how it is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsOf {
    remote: String,
    /// Where the object goes.
    pub path: RelPath,
    etag: ETag,
    /// Its length.
    pub size: u64,
    modified: Option<Nanos>,
    part_bytes: u64,
}

/// The record of a temporary that is being written.
#[derive(Debug)]
pub(super) struct Record {
    file: File,
    name: String,
    header_bytes: u64,
    /// Bytes of whole lines, and how many of them name parts.
    written: Mutex<(u64, u64)>,
}

/// The digests of parts by their index.
pub(super) type Finished = BTreeMap<u64, Md5>;

#[derive(Serialize, Deserialize)]
struct Header {
    lsync: String,
    v: u32,
    remote: String,
    n: String,
    e: String,
    s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<Nanos>,
    p: u64,
}

#[derive(Serialize, Deserialize)]
struct Part {
    k: u64,
    m: String,
}

impl PartsOf {
    /// An object as the bucket lists it, that travels in parts of `part_bytes`.
    #[must_use]
    pub fn new(
        (bucket, prefix): (&str, &str),
        path: &RelPath,
        (etag, size, modified): (&ETag, u64, Option<Nanos>),
        part_bytes: u64,
    ) -> PartsOf {
        PartsOf { remote: remote_id(bucket, prefix), path: path.clone(), etag: etag.clone(), size, modified, part_bytes }
    }

    /// How many parts it has.
    pub(super) fn count(&self) -> u64 {
        self.size.div_ceil(self.part_bytes)
    }

    /// True when it is another version of the same object.
    pub(super) fn is_of_the_same_path(&self, other: &PartsOf) -> bool {
        (&self.remote, &self.path) == (&other.remote, &other.path)
    }

    fn header(&self) -> Vec<u8> {
        let mut json = Vec::new();
        let header = Header {
            lsync: "parts".into(),
            v: FORMAT,
            remote: self.remote.clone(),
            n: self.path.as_str().into(),
            e: self.etag.to_string(),
            s: self.size,
            t: self.modified,
            p: self.part_bytes,
        };
        write_line(&mut json, &header);
        with_digits(&json)
    }

    fn read(json: &[u8]) -> Option<PartsOf> {
        let Header { lsync, v, remote, n, e, s, t, p } = serde_json::from_slice(json).ok()?;
        let path = RelPath::new(&n).ok()?;
        (lsync == "parts" && v == FORMAT && p > 0).then(|| PartsOf {
            remote,
            path,
            etag: ETag::parse(&e),
            size: s,
            modified: t,
            part_bytes: p,
        })
    }

    /// Bytes of these parts.
    pub(super) fn bytes(&self, finished: &Finished) -> u64 {
        finished.keys().map(|index| self.part_bytes.min(self.size.saturating_sub(index.saturating_mul(self.part_bytes)))).sum()
    }
}

impl Record {
    /// Begins the record of the temporary `of_name`.
    pub(super) fn create(dir: &Dir, of_name: &str, of: &PartsOf) -> io::Result<Record> {
        let name = record_name(of_name);
        let file = dir.create_new(&name, PRIVATE_FILE)?;
        let header = of.header();
        file.write_all_at(&header, 0).inspect_err(|_| drop(dir.remove_file(&name)))?;
        let header_bytes = header.len() as u64;
        Ok(Record { file, name, header_bytes, written: Mutex::new((header_bytes, 0)) })
    }

    /// Notes a part that was written.
    pub(super) fn note(&self, index: u64, md5: Md5) -> io::Result<()> {
        let mut json = Vec::new();
        write_line(&mut json, &Part { k: index, m: md5.hex() });
        let line = with_digits(&json);
        let mut written = locked(&self.written);
        self.file.write_all_at(&line, written.0)?;
        *written = (written.0 + line.len() as u64, written.1 + 1);
        Ok(())
    }

    /// Forgets all parts: what was written turned out to be wrong.
    pub(super) fn forget(&self) -> io::Result<()> {
        let mut written = locked(&self.written);
        self.file.set_len(self.header_bytes)?;
        *written = (self.header_bytes, 0);
        Ok(())
    }

    /// True when a later run has something to go on from.
    pub(super) fn names_parts(&self) -> bool {
        locked(&self.written).1 > 0
    }

    pub(super) fn remove(&self, dir: &Dir) {
        // What stays is removed by a later run.
        let _ = dir.remove_file(&self.name);
    }
}

/// The name of the record of a temporary.
pub(super) fn record_name(of_name: &str) -> String {
    format!("{of_name}{SUFFIX}")
}

/// A part file in a directory of temporaries, with the name of the temporary.
#[derive(Debug)]
pub(super) struct PartFile {
    pub(super) name: String,
    pub(super) of: PartsOf,
    pub(super) finished: Finished,
    /// When its record was last written, by the mount's clock.
    pub(super) written: Nanos,
}

/// The part files in a directory of temporaries from which a run may go on. One that has a second name is in place already, or nearly,
/// and belongs to the user.
pub(super) fn part_files(dir: &Dir) -> io::Result<Vec<PartFile>> {
    let mut found = Vec::new();
    for record in dir.names()? {
        let Some(name) = record.to_str().and_then(|record| record.strip_suffix(SUFFIX)) else { continue };
        let Ok(Some(bytes)) = internal::read(dir, &record_name(name)) else { continue };
        let Some((of, finished)) = read(&bytes) else { continue };
        let (Some(record), Some(data)) = (dir.status(&record)?, dir.status(name)?) else { continue };
        let is_ours = data.kind == rustix::fs::FileType::RegularFile && internal::links(dir, name)? == 1;
        if is_ours && data.stamp.size == of.size && !finished.is_empty() {
            found.push(PartFile { name: name.to_owned(), of, finished, written: record.stamp.mtime });
        }
    }
    Ok(found)
}

fn read(bytes: &[u8]) -> Option<(PartsOf, Finished)> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').map_while(checked);
    let of = PartsOf::read(lines.next()?)?;
    let part = |json: &[u8]| {
        let Part { k, m } = serde_json::from_slice(json).ok()?;
        Some((k, Md5::from_hex(&m)?))
    };
    Some((of.clone(), lines.map_while(part).filter(|(index, _)| *index < of.count()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_one;

    fn of(path: &str) -> PartsOf {
        let etag = ETag::parse("\"an etag\"");
        PartsOf::new(("b", "p/"), &RelPath::new(path).unwrap(), (&etag, 25, Some(7)), 10)
    }

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn what_was_written_before_a_kill_is_found_and_a_torn_line_is_not() {
        let (temp, dir) = dir();
        std::fs::write(temp.path().join("3"), [0; 25]).unwrap();
        let record = Record::create(&dir, "3", &of("data/x")).unwrap();
        assert!(part_files(&dir).unwrap().is_empty(), "nothing to go on from");
        record.note(2, digest_one(b"c")).unwrap();
        record.note(0, digest_one(b"wrong")).unwrap();
        record.note(0, digest_one(b"a")).unwrap();
        let whole = std::fs::read(temp.path().join("3.parts")).unwrap();
        let found = part_files(&dir).unwrap().pop().unwrap();
        assert_eq!((&found.of, found.name.as_str(), found.of.bytes(&found.finished)), (&of("data/x"), "3", 15));
        assert_eq!(found.finished, BTreeMap::from([(0, digest_one(b"a")), (2, digest_one(b"c"))]));
        for at in 0..whole.len() {
            std::fs::write(temp.path().join("3.parts"), &whole[..at]).unwrap();
            let left = part_files(&dir).unwrap().pop().map_or(0, |found| found.finished.len());
            let lines = whole[..at].iter().filter(|b| **b == b'\n').count();
            assert_eq!(left, lines.saturating_sub(1).min(2), "cut at {at}");
        }
        record.forget().unwrap();
        assert!(part_files(&dir).unwrap().is_empty() && !record.names_parts());
    }

    #[test]
    fn a_file_that_has_its_place_or_another_length_is_no_part_file() {
        let (temp, dir) = dir();
        std::fs::write(temp.path().join("3"), [0; 25]).unwrap();
        Record::create(&dir, "3", &of("x")).unwrap().note(0, digest_one(b"a")).unwrap();
        std::fs::hard_link(temp.path().join("3"), temp.path().join("placed")).unwrap();
        assert!(part_files(&dir).unwrap().is_empty());
        std::fs::remove_file(temp.path().join("placed")).unwrap();
        assert_eq!(part_files(&dir).unwrap().len(), 1);
        std::fs::write(temp.path().join("3"), [0; 24]).unwrap();
        assert!(part_files(&dir).unwrap().is_empty());
    }

    #[test]
    fn format_1_is_read_and_written_to_the_letter() {
        let (temp, dir) = dir();
        Record::create(&dir, "3", &of("data/x")).unwrap().note(1, digest_one(b"b")).unwrap();
        let text = std::fs::read_to_string(temp.path().join("3.parts")).unwrap();
        let id = remote_id("b", "p/");
        let first = format!(r#"{{"lsync":"parts","v":1,"remote":"{id}","n":"data/x","e":"an etag","s":25,"t":7,"p":10}}"#);
        let lines: Vec<&str> = text.lines().map(|line| &line[9..]).collect();
        assert_eq!(lines, [first.as_str(), r#"{"k":1,"m":"92eb5ffee6ae2fec3ad71c777531578f"}"#]);
    }
}
