//! One bucket: its objects and open multipart uploads, in memory as an index, on disk as a log and content files. Every change is in
//! the log before it is visible. Knows no HTTP; the operations decide what is allowed, under this bucket's lock.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use s3s::{S3Error, S3Result, s3_error};

use super::content::{Content, Piece};
use super::history::History;
use super::journal::{About, Facts, Journal, Record};
use super::shelf::{Shelf, random_id};
use super::{lock, replay, seconds_now};

/// Bodies up to this many bytes lie in the index log.
pub(super) const INLINE_MAX_BYTES: usize = 64 << 10;

/// Objects by key, in byte order.
pub(super) type Objects = BTreeMap<String, Arc<Object>>;
/// Open uploads by id.
pub(super) type Uploads = BTreeMap<String, Upload>;

/// A stored object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) facts: Facts,
    pub(super) content: Content,
}

/// An open multipart upload.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) about: About,
    /// Seconds since 1970.
    pub(super) started: u64,
    pub(super) parts: BTreeMap<i32, Part>,
}

/// A part that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) piece: Piece,
    /// 32 hexadecimal digits: its ETag too.
    pub(super) md5: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
}

/// An object that is about to be stored.
#[derive(Debug)]
pub(super) struct NewObject {
    pub(super) key: String,
    pub(super) facts: Facts,
    pub(super) body: Body,
    /// The multipart upload that ends with it.
    pub(super) completes: Option<String>,
}

/// Bytes that have arrived and belong to no object yet.
#[derive(Debug)]
pub(super) enum Body {
    /// At most [`INLINE_MAX_BYTES`].
    Small(Vec<u8>),
    Files(Vec<Piece>),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Bucket {
    dir: PathBuf,
    shelf: Arc<Shelf>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    journal: Journal,
    objects: Objects,
    uploads: Uploads,
    history: Option<History>,
}

impl Bucket {
    /// True when the directory holds a bucket.
    pub(super) fn is_in(dir: &Path) -> bool {
        dir.join("index").is_file()
    }

    /// Opens the bucket in a directory, or creates both.
    pub(super) fn open(dir: PathBuf, durable: bool) -> io::Result<Bucket> {
        let shelf = Shelf::open(dir.join("content"), durable)?;
        let index = dir.join("index");
        let (journal, objects, uploads) = if Bucket::is_in(&dir) {
            replay::open(&index, &shelf, durable)?
        } else {
            (Journal::create(&index, durable)?, Objects::new(), Uploads::new())
        };
        Ok(Bucket { dir, shelf, inner: Mutex::new(Inner { journal, objects, uploads, history: None }) })
    }

    /// From now on dropping objects removes no files.
    pub(super) fn close(&self) {
        self.shelf.close();
    }

    /// Removes the directory. The caller has made sure that it is empty of objects.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.shelf.close();
        fs::remove_dir_all(&self.dir)
    }

    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Object>> {
        lock(&self.inner).objects.get(key).cloned()
    }

    /// Looks at everything at one instant.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Objects, &Uploads) -> T) -> T {
        let inner = lock(&self.inner);
        look(&inner.objects, &inner.uploads)
    }

    /// Keeps every version from now on.
    pub(super) fn keep_history(&self) {
        let mut inner = lock(&self.inner);
        inner.history = Some(History::of(&inner.objects));
    }

    /// Looks at the versions; `None` where none are kept.
    pub(super) fn history<T>(&self, look: impl FnOnce(&History) -> T) -> Option<T> {
        lock(&self.inner).history.as_ref().map(look)
    }

    /// Stores the object that `make` returns after looking at what is there; nothing changes in between, nothing at all on an error.
    pub(super) fn put(&self, make: impl FnOnce(&Objects, &Uploads) -> S3Result<NewObject>) -> S3Result<Arc<Object>> {
        let mut inner = lock(&self.inner);
        let new = make(&inner.objects, &inner.uploads)?;
        let (files, small) = match &new.body {
            Body::Small(bytes) => (None, Some(bytes.as_slice())),
            Body::Files(pieces) => (Some(pieces.iter().map(|piece| (piece.blob.id().to_owned(), piece.bytes)).collect()), None),
        };
        let record = Record::Put { key: new.key.clone(), facts: new.facts.clone(), files, completes: new.completes.clone() };
        let offset = inner.journal.append(&record, small).map_err(broken)?;
        let content = match new.body {
            Body::Small(bytes) => Content::InLog { log: Arc::clone(inner.journal.file()), offset, bytes: bytes.len() as u64 },
            Body::Files(pieces) => Content::Files(pieces.into()),
        };
        let object = Arc::new(Object { facts: new.facts, content });
        if let Some(history) = &mut inner.history {
            history.note(&new.key, Some(&object));
        }
        inner.objects.insert(new.key, Arc::clone(&object));
        if let Some(upload) = &new.completes {
            inner.uploads.remove(upload);
        }
        Ok(object)
    }

    /// Deletes an object unless `allowed` refuses; false when there was none.
    pub(super) fn delete(&self, key: &str, allowed: impl FnOnce(Option<&Object>) -> S3Result<()>) -> S3Result<bool> {
        let mut inner = lock(&self.inner);
        allowed(inner.objects.get(key).map(AsRef::as_ref))?;
        if !inner.objects.contains_key(key) {
            return Ok(false);
        }
        inner.journal.append(&Record::Delete { key: key.to_owned() }, None).map_err(broken)?;
        inner.objects.remove(key);
        if let Some(history) = &mut inner.history {
            history.note(key, None);
        }
        Ok(true)
    }

    /// Begins a multipart upload and returns its id.
    pub(super) fn begin(&self, key: String, about: About) -> S3Result<String> {
        let id = random_id().map_err(broken)?;
        let started = seconds_now();
        let record = Record::Begin { upload: id.clone(), key: key.clone(), about: about.clone(), started };
        let mut inner = lock(&self.inner);
        inner.journal.append(&record, None).map_err(broken)?;
        inner.uploads.insert(id.clone(), Upload { key, about, started, parts: BTreeMap::new() });
        Ok(id)
    }

    /// True when there is such an upload, for this key.
    pub(super) fn has_upload(&self, id: &str, key: &str) -> bool {
        self.look(|_, uploads| uploads.get(id).is_some_and(|upload| upload.key == key))
    }

    /// Adds or replaces a part.
    pub(super) fn add_part(&self, id: &str, number: i32, part: Part) -> S3Result<()> {
        let Part { piece, md5, modified } = part.clone();
        let file = piece.blob.id().to_owned();
        let record = Record::Part { upload: id.to_owned(), number, file, bytes: piece.bytes, md5, modified };
        let mut inner = lock(&self.inner);
        let Inner { journal, uploads, .. } = &mut *inner;
        // The upload may have ended while the part was arriving.
        let upload = uploads.get_mut(id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        journal.append(&record, None).map_err(broken)?;
        upload.parts.insert(number, part);
        Ok(())
    }

    /// Ends an upload without an object.
    pub(super) fn abort(&self, id: &str, key: &str) -> S3Result<()> {
        let mut inner = lock(&self.inner);
        if inner.uploads.get(id).is_none_or(|upload| upload.key != key) {
            return Err(s3_error!(NoSuchUpload));
        }
        inner.journal.append(&Record::Abort { upload: id.to_owned() }, None).map_err(broken)?;
        inner.uploads.remove(id);
        Ok(())
    }
}

/// The answer when the server's own disk fails.
pub(super) fn broken(error: io::Error) -> S3Error {
    let message = format!("the sandbox cannot use its directory: {error}");
    s3_error!(error, InternalError, "{message}")
}

#[cfg(test)]
mod tests {
    use super::super::shelf::BlobWriter;
    use super::*;

    fn facts(bytes: u64) -> Facts {
        Facts { bytes, etag: "e".into(), listed_etag: None, modified: seconds_now(), about: About::default(), checksums: BTreeMap::new() }
    }

    fn put_small(bucket: &Bucket, key: &str, bytes: &[u8]) {
        let new = NewObject { key: key.into(), facts: facts(bytes.len() as u64), body: Body::Small(bytes.into()), completes: None };
        bucket.put(|_, _| Ok(new)).unwrap();
    }

    fn piece(bucket: &Bucket, bytes: &[u8]) -> Piece {
        let mut writer = BlobWriter::create(bucket.shelf()).unwrap();
        writer.write(bytes).unwrap();
        Piece { blob: writer.finish().unwrap(), bytes: bytes.len() as u64 }
    }

    fn put_files(bucket: &Bucket, key: &str, pieces: Vec<Piece>, completes: Option<String>) {
        let bytes = pieces.iter().map(|piece| piece.bytes).sum();
        bucket.put(|_, _| Ok(NewObject { key: key.into(), facts: facts(bytes), body: Body::Files(pieces), completes })).unwrap();
    }

    fn everything(bucket: &Bucket) -> Vec<(String, Vec<u8>)> {
        bucket.look(|objects, _| {
            objects.iter().map(|(key, object)| (key.clone(), object.content.read(0, object.facts.bytes).read_to_end().unwrap())).collect()
        })
    }

    fn files_in(dir: &Path) -> usize {
        walkdir::WalkDir::new(dir.join("content")).into_iter().filter(|entry| entry.as_ref().unwrap().file_type().is_file()).count()
    }

    #[test]
    fn a_restarted_bucket_holds_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        let bucket = Bucket::open(path.clone(), true).unwrap();
        for (key, bytes) in [("a", &b"1"[..]), ("a/b", b"2"), ("../../x", b"3"), ("//", b""), ("gone", b"4"), ("a", b"new")] {
            put_small(&bucket, key, bytes);
        }
        assert!(bucket.delete("gone", |_| Ok(())).unwrap());
        assert!(!bucket.delete("gone", |_| Ok(())).unwrap());
        put_files(&bucket, "big", vec![piece(&bucket, b"old")], None);
        put_files(&bucket, "big", vec![piece(&bucket, b"x"), piece(&bucket, b"y")], None);
        let shared = bucket.get("big").unwrap();
        let Content::Files(pieces) = &shared.content else { panic!("not in files") };
        put_files(&bucket, "copy", pieces.to_vec(), None);
        assert!(bucket.delete("big", |_| Ok(())).unwrap());
        let open = bucket.begin("m".into(), About::default()).unwrap();
        let part = || Part { piece: piece(&bucket, b"part"), md5: "x".into(), modified: 1 };
        bucket.add_part(&open, 2, part()).unwrap();
        bucket.add_part(&open, 2, part()).unwrap();
        let ended = bucket.begin("n".into(), About::default()).unwrap();
        bucket.add_part(&ended, 1, part()).unwrap();
        bucket.abort(&ended, "n").unwrap();
        let before = everything(&bucket);
        assert_eq!(before.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["../../x", "//", "a", "a/b", "copy"]);
        drop(shared);
        assert_eq!(files_in(&path), 3, "two pieces of the copy, one part");

        bucket.close();
        drop(bucket);
        let bucket = Bucket::open(path.clone(), false).unwrap();
        assert_eq!(everything(&bucket), before);
        assert!(bucket.has_upload(&open, "m") && !bucket.has_upload(&ended, "n"));
        assert_eq!(files_in(&path), 3);
        let parts = bucket.look(|_, uploads| uploads[&open].parts[&2].piece.clone());
        put_files(&bucket, "m", vec![parts], Some(open.clone()));
        assert!(!bucket.has_upload(&open, "m"));
        assert_eq!(bucket.get("m").unwrap().content.read(1, 3).read_to_end().unwrap(), b"ar");
    }

    #[test]
    fn a_log_that_is_mostly_history_is_rewritten_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        let bucket = Bucket::open(path.clone(), false).unwrap();
        for round in 0..60_u8 {
            put_small(&bucket, "k", &vec![round; INLINE_MAX_BYTES]);
        }
        put_files(&bucket, "big", vec![piece(&bucket, b"x")], None);
        let upload = bucket.begin("m".into(), About::default()).unwrap();
        let before = everything(&bucket);
        bucket.close();
        drop(bucket);
        let long = fs::metadata(path.join("index")).unwrap().len();
        for _ in 0..2 {
            let bucket = Bucket::open(path.clone(), false).unwrap();
            let short = fs::metadata(path.join("index")).unwrap().len();
            assert!(short < long / 20, "{short} of {long} bytes");
            assert!(everything(&bucket) == before && bucket.has_upload(&upload, "m"));
            bucket.close();
        }
    }

    #[test]
    fn what_a_crash_left_behind_goes_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        let bucket = Bucket::open(path.clone(), false).unwrap();
        let stray = piece(&bucket, b"never named");
        bucket.close();
        drop((stray, bucket));
        assert_eq!(files_in(&path), 1);
        let bucket = Bucket::open(path.clone(), false).unwrap();
        assert_eq!(files_in(&path), 0);
        bucket.close();
    }
}
