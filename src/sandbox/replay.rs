//! A bucket's state from its index log, at start: replays the log, takes up the content files, rewrites a log that is mostly history,
//! and removes files that nothing refers to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::bucket::{Object, Objects, Part, Upload, Uploads};
use super::content::{Content, Piece};
use super::journal::{Journal, Record};
use super::shelf::{Blob, Shelf};

/// Bytes that a log may hold beyond twice what is alive before it is rewritten.
const SLACK_BYTES: u64 = 1 << 20;
/// About what a record takes without its body.
const RECORD_BYTES: u64 = 400;

/// What a log says in the end, still without handles on files: a file that a later record lets go must not be touched twice.
#[derive(Default)]
struct Replayed {
    /// The `Put` of every key, with the offset of its inline body.
    objects: BTreeMap<String, (Record, u64)>,
    /// The `Begin` of every open upload, and its `Part`s.
    uploads: BTreeMap<String, (Record, BTreeMap<i32, Record>)>,
}

impl Replayed {
    fn apply(&mut self, record: Record, offset: u64) {
        match &record {
            Record::Put { key, completes, .. } => {
                if let Some(upload) = completes {
                    self.uploads.remove(upload);
                }
                self.objects.insert(key.clone(), (record, offset));
            }
            Record::Delete { key } => {
                self.objects.remove(key);
            }
            Record::Begin { upload, .. } => {
                self.uploads.insert(upload.clone(), (record, BTreeMap::new()));
            }
            Record::Part { upload, number, .. } => {
                if let Some((_, parts)) = self.uploads.get_mut(upload) {
                    parts.insert(*number, record);
                }
            }
            Record::Abort { upload } => {
                self.uploads.remove(upload);
            }
        }
    }

    fn live_bytes(&self) -> u64 {
        let objects = self.objects.values().map(|(record, _)| match record {
            Record::Put { facts, files: None, .. } => facts.bytes + RECORD_BYTES,
            Record::Put { files: Some(files), .. } => (files.len() as u64 + 1) * RECORD_BYTES,
            _ => 0,
        });
        let uploads = self.uploads.values().map(|(_, parts)| (parts.len() as u64 + 1) * RECORD_BYTES);
        objects.sum::<u64>() + uploads.sum::<u64>()
    }

    /// Writes everything that is alive to a new log and puts it in the place of the old one.
    fn rewrite(&mut self, old: &Journal, path: &Path, durable: bool) -> io::Result<Journal> {
        let fresh = path.with_extension("new");
        if fresh.exists() {
            fs::remove_file(&fresh)?;
        }
        // Synced once at the end instead of after every record.
        let mut journal = Journal::create(&fresh, false)?;
        for (record, offset) in self.objects.values_mut() {
            if let Record::Put { completes, .. } = record {
                *completes = None;
            }
            if let Record::Put { facts, files: None, .. } = record {
                let mut body = vec![0; usize::try_from(facts.bytes).map_err(io::Error::other)?];
                old.file().read_exact_at(&mut body, *offset)?;
                *offset = journal.append(record, Some(&body))?;
            } else {
                journal.append(record, None)?;
            }
        }
        for (begin, parts) in self.uploads.values() {
            journal.append(begin, None)?;
            for part in parts.values() {
                journal.append(part, None)?;
            }
        }
        journal.file().sync_all()?;
        fs::rename(&fresh, path)?;
        Ok(journal.with_durable(durable))
    }
}

/// Opens the log at `path` and everything that it names.
pub(super) fn open(path: &Path, shelf: &Arc<Shelf>, durable: bool) -> io::Result<(Journal, Objects, Uploads)> {
    let mut replayed = Replayed::default();
    let mut journal = Journal::open(path, durable, |record, offset| replayed.apply(record, offset))?;
    if journal.bytes() > replayed.live_bytes() * 2 + SLACK_BYTES {
        journal = replayed.rewrite(&journal, path, durable)?;
    }
    let mut handles = Handles { shelf, known: HashMap::new() };
    let mut objects = Objects::new();
    for (key, (record, offset)) in replayed.objects {
        let Record::Put { facts, files, .. } = record else { continue };
        let content = match files {
            None => Content::InLog { log: Arc::clone(journal.file()), offset, bytes: facts.bytes },
            Some(files) => Content::Files(files.iter().map(|(id, bytes)| handles.piece(id, *bytes)).collect::<io::Result<_>>()?),
        };
        objects.insert(key, Arc::new(Object { facts, content }));
    }
    let mut uploads = Uploads::new();
    for (id, (begin, parts)) in replayed.uploads {
        let Record::Begin { key, about, started, .. } = begin else { continue };
        let mut upload = Upload { key, about, started, parts: BTreeMap::new() };
        for (number, part) in parts {
            let Record::Part { file, bytes, md5, modified, .. } = part else { continue };
            upload.parts.insert(number, Part { piece: handles.piece(&file, bytes)?, md5, modified });
        }
        uploads.insert(id, upload);
    }
    let known: HashSet<&str> = handles.known.keys().map(String::as_str).collect();
    shelf.sweep(|id| known.contains(id))?;
    Ok((journal, objects, uploads))
}

/// One handle per file, however many objects share it.
struct Handles<'a> {
    shelf: &'a Arc<Shelf>,
    known: HashMap<String, Arc<Blob>>,
}

impl Handles<'_> {
    fn piece(&mut self, id: &str, bytes: u64) -> io::Result<Piece> {
        let blob = match self.known.get(id) {
            Some(blob) => Arc::clone(blob),
            None => {
                let blob = self.shelf.take_up(id)?;
                self.known.insert(id.to_owned(), Arc::clone(&blob));
                blob
            }
        };
        Ok(Piece { blob, bytes })
    }
}
