//! Looking into the store and changing it behind the clients' backs, for tests: no request, no signature, no entry in the log.

use std::collections::BTreeMap;
use std::io;

use super::Server;
use super::bucket::{Body, Bucket, INLINE_MAX_BYTES, NewObject};
use super::content::Piece;
use super::journal::{About, Facts};
use super::seconds_now;
use super::shelf::{BlobWriter, random_id};
use crate::digest::digest_one;

/// How the ETag of an object begins that was written over NFS to a VAST store; it is no digest.
const WRITTEN_OVER_NFS: &str = "48ed760a74";

/// All of an object's content, its ETag as GET and HEAD answer it (without quotes), and its user metadata (names in lower case,
/// without `x-amz-meta-`).
pub type Stored = (Vec<u8>, String, BTreeMap<String, String>);

impl Server {
    /// Puts an object as a foreign tool would: no metadata. Replaces what is there, whatever the conditions and the profile. An error
    /// when there is no such bucket or the directory cannot be written.
    pub fn put_foreign(&self, bucket: &str, key: &str, content: &[u8]) -> io::Result<()> {
        self.put_behind(bucket, key, content, |_| (digest_one(content).hex(), About::default()))
    }

    /// Writes content as if over NFS to the file behind the object: the ETag begins with `48ed760a74` and is no MD5; metadata that
    /// was there stays, though it may be about the content before. Errors as [`Server::put_foreign`].
    pub fn put_over_nfs(&self, bucket: &str, key: &str, content: &[u8]) -> io::Result<()> {
        let random = random_id()?;
        let etag = format!("{WRITTEN_OVER_NFS}{}", random.get(WRITTEN_OVER_NFS.len()..).unwrap_or_default());
        self.put_behind(bucket, key, content, |bucket| (etag, bucket.get(key).map(|object| object.facts.about.clone()).unwrap_or_default()))
    }

    /// Lets one bit of this byte (from 0) of an object rot on its disk: everything that is told about it stays. Errors as
    /// [`Server::put_foreign`], and when there is no such byte.
    pub fn rot(&self, bucket: &str, key: &str, byte: usize) -> io::Result<()> {
        let bucket = self.store.bucket(bucket).map_err(io::Error::other)?;
        let object = bucket.get(key).ok_or(io::ErrorKind::NotFound)?;
        let mut content = object.content.read(0, object.facts.bytes).read_to_end()?;
        *content.get_mut(byte).ok_or(io::ErrorKind::InvalidInput)? ^= 1;
        Server::replace(&bucket, key, &content, object.facts.clone())
    }

    /// Makes an object older than it is, by so many seconds. Errors as [`Server::put_foreign`], and when there is no such object.
    pub fn age(&self, bucket: &str, key: &str, seconds: u64) -> io::Result<()> {
        let bucket = self.store.bucket(bucket).map_err(io::Error::other)?;
        let object = bucket.get(key).ok_or(io::ErrorKind::NotFound)?;
        let content = object.content.read(0, object.facts.bytes).read_to_end()?;
        let facts = Facts { modified: object.facts.modified.saturating_sub(seconds), ..object.facts.clone() };
        Server::replace(&bucket, key, &content, facts)
    }

    fn put_behind(&self, bucket: &str, key: &str, content: &[u8], about: impl FnOnce(&Bucket) -> (String, About)) -> io::Result<()> {
        let bucket = self.store.bucket(bucket).map_err(io::Error::other)?;
        let (etag, about) = about(&bucket);
        let facts =
            Facts { bytes: content.len() as u64, etag, listed_etag: None, modified: seconds_now(), about, checksums: BTreeMap::new() };
        Server::replace(&bucket, key, content, facts)
    }

    fn replace(bucket: &Bucket, key: &str, content: &[u8], facts: Facts) -> io::Result<()> {
        let body = if content.len() <= INLINE_MAX_BYTES {
            Body::Small(content.to_vec())
        } else {
            let mut file = BlobWriter::create(bucket.shelf())?;
            file.write(content)?;
            Body::Files(vec![Piece { blob: file.finish()?, bytes: content.len() as u64 }])
        };
        bucket.put(|_, _| Ok(NewObject { key: key.to_owned(), facts, body, completes: None })).map_err(io::Error::other)?;
        Ok(())
    }

    /// An object, or `None` when there is no such bucket or object.
    #[must_use]
    pub fn get_object(&self, bucket: &str, key: &str) -> Option<Stored> {
        let object = self.store.bucket(bucket).ok()?.get(key)?;
        let content = object.content.read(0, object.facts.bytes).read_to_end().ok()?;
        Some((content, object.facts.etag.clone(), object.facts.about.metadata.clone()))
    }

    /// All keys of a bucket in byte order; none when there is no such bucket.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.store.bucket(bucket).map(|bucket| bucket.look(|objects, _| objects.keys().cloned().collect())).unwrap_or_default()
    }

    /// Key and upload id of every open multipart upload of a bucket, in order of keys.
    #[must_use]
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let Ok(bucket) = self.store.bucket(bucket) else { return Vec::new() };
        let mut open: Vec<_> = bucket.look(|_, uploads| uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect());
        open.sort();
        open
    }

    /// Removes an object; false when there was none. Errors as [`Server::put_foreign`].
    pub fn remove(&self, bucket: &str, key: &str) -> io::Result<bool> {
        let bucket = self.store.bucket(bucket).map_err(io::Error::other)?;
        bucket.delete(key, |_| Ok(())).map_err(io::Error::other)
    }
}
