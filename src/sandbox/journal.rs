//! The index log of one bucket: an append-only file of JSON lines, each a change, small bodies right behind their line. Says what
//! was written, not what it means.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The format's version, in the first line.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    lsync_sandbox_index: u32,
}

/// What a client said about an object, to be answered as it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
}

/// What is known about an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) bytes: u64,
    /// Without quotes.
    pub(super) etag: String,
    /// The ETag that listings carry, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) listed_etag: Option<String>,
    /// Whole seconds since 1970, as S3 has them.
    pub(super) modified: u64,
    pub(super) about: About,
    /// Checksums by header name, base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: BTreeMap<String, String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// An object; replaces the one before.
    Put {
        key: String,
        facts: Facts,
        /// Content files and their sizes; absent: the body follows this line, and a newline follows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<Vec<(String, u64)>>,
        /// The multipart upload that ends with this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        completes: Option<String>,
    },
    /// An object goes.
    Delete { key: String },
    /// A multipart upload begins.
    Begin { upload: String, key: String, about: About, started: u64 },
    /// A part; replaces the one before under this number.
    Part { upload: String, number: i32, file: String, bytes: u64, md5: String, modified: u64 },
    /// A multipart upload ends without an object.
    Abort { upload: String },
}

impl Record {
    /// How many bytes of body follow the line.
    fn inline_bytes(&self) -> Option<u64> {
        match self {
            Record::Put { facts, files: None, .. } => Some(facts.bytes),
            _ => None,
        }
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<File>,
    end: u64,
    durable: bool,
}

impl Journal {
    /// Creates a log, empty but for its header. An error when there is one.
    pub(super) fn create(path: &Path, durable: bool) -> io::Result<Journal> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let mut journal = Journal { file: Arc::new(file), end: 0, durable };
        journal.append_line(&Header { lsync_sandbox_index: FORMAT }, None)?;
        Ok(journal)
    }

    /// Opens a log and shows every record to `visit`, with the offset of its inline body. What a crash left half-written at the end is
    /// cut off; damage before that is an error.
    pub(super) fn open(path: &Path, durable: bool, mut visit: impl FnMut(Record, u64)) -> io::Result<Journal> {
        let damaged = |at: u64, why: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: damaged at byte {at}: {why}", path.display()))
        };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(256 << 10, &file);
        let (mut end, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let line_bytes = reader.read_until(b'\n', &mut line)? as u64;
            if line.last() != Some(&b'\n') {
                break;
            }
            let mut next = end + line_bytes;
            if end == 0 {
                let header: Header = serde_json::from_slice(&line).map_err(|error| damaged(end, &error))?;
                if header.lsync_sandbox_index != FORMAT {
                    return Err(damaged(end, &format!("format {} is not known", header.lsync_sandbox_index)));
                }
            } else {
                let record: Record = serde_json::from_slice(&line).map_err(|error| damaged(end, &error))?;
                let offset = next;
                if let Some(bytes) = record.inline_bytes() {
                    next = next.checked_add(bytes).and_then(|n| n.checked_add(1)).ok_or_else(|| damaged(end, &"impossible size"))?;
                    if next > length {
                        break;
                    }
                    reader.seek_relative(i64::try_from(bytes + 1).map_err(|error| damaged(end, &error))?)?;
                }
                visit(record, offset);
            }
            end = next;
        }
        if end == 0 {
            return Err(damaged(0, &"no header"));
        }
        if end < length {
            file.set_len(end)?;
        }
        Ok(Journal { file: Arc::new(file), end, durable })
    }

    /// Appends a record, with the body that belongs behind it, and returns the body's offset. After an error the log is as it was.
    pub(super) fn append(&mut self, record: &Record, inline: Option<&[u8]>) -> io::Result<u64> {
        debug_assert_eq!(record.inline_bytes(), inline.map(|bytes| bytes.len() as u64), "the line tells the length of its body");
        self.append_line(record, inline)
    }

    fn append_line(&mut self, line: &impl Serialize, inline: Option<&[u8]>) -> io::Result<u64> {
        let mut buffer = serde_json::to_vec(line)?;
        buffer.push(b'\n');
        let offset = self.end + buffer.len() as u64;
        if let Some(bytes) = inline {
            buffer.extend_from_slice(bytes);
            buffer.push(b'\n');
        }
        let written = self.file.write_all_at(&buffer, self.end).and_then(|()| if self.durable { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += buffer.len() as u64;
        Ok(offset)
    }

    /// The same log, synced after every record or not.
    pub(super) fn with_durable(self, durable: bool) -> Journal {
        Journal { durable, ..self }
    }

    /// The file, for reading inline bodies.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, bytes: u64) -> Record {
        let facts = Facts { bytes, etag: "e".into(), listed_etag: None, modified: 1, about: About::default(), checksums: BTreeMap::new() };
        Record::Put { key: key.into(), facts, files: None, completes: None }
    }

    fn read(path: &Path) -> io::Result<Vec<String>> {
        let mut seen = Vec::new();
        let file = File::open(path)?;
        Journal::open(path, false, |record, offset| {
            if let Record::Put { key, facts, .. } = record {
                let mut body = vec![0; facts.bytes as usize];
                file.read_exact_at(&mut body, offset).unwrap();
                seen.push(format!("{key}={}", String::from_utf8(body).unwrap()));
            }
        })?;
        Ok(seen)
    }

    #[test]
    fn what_was_written_is_read_again_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut journal = Journal::create(&path, true).unwrap();
        journal.append(&put("a", 3), Some(b"x\ny")).unwrap();
        let first = journal.bytes();
        journal.append(&put("b", 1), Some(b"z")).unwrap();
        assert_eq!(read(&path).unwrap(), ["a=x\ny", "b=z"]);
        for cut in first + 1..journal.bytes() {
            journal.file().set_len(cut).unwrap();
            assert_eq!(read(&path).unwrap(), ["a=x\ny"]);
            assert_eq!(journal.file().metadata().unwrap().len(), first);
        }
    }

    #[test]
    fn damage_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut journal = Journal::create(&path, false).unwrap();
        journal.append(&put("a", 1), Some(b"x")).unwrap();
        journal.file().write_all_at(b"[", journal.bytes() - 10).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("damaged at byte 26"), "{error}");
    }

    #[test]
    fn the_first_format_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let sample = concat!(
            "{\"lsync_sandbox_index\":1}\n",
            "{\"put\":{\"key\":\"k\",\"facts\":{\"bytes\":2,\"etag\":\"49f68a5c8493ec2c0bf489821c21fc3b\",\"modified\":1795167727,",
            "\"about\":{\"metadata\":{\"mtime\":\"1.5\"},\"content_type\":\"text/plain\"}}}}\n",
            "hi\n",
            "{\"begin\":{\"upload\":\"u\",\"key\":\"m\",\"about\":{},\"started\":1}}\n",
            "{\"part\":{\"upload\":\"u\",\"number\":1,\"file\":\"f\",\"bytes\":1,\"md5\":\"x\",\"modified\":1}}\n",
            "{\"abort\":{\"upload\":\"u\"}}\n",
            "{\"delete\":{\"key\":\"gone\"}}\n",
        );
        std::fs::write(&path, sample).unwrap();
        assert_eq!(read(&path).unwrap(), ["k=hi"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), sample, "nothing was cut off");
    }
}
