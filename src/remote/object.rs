//! Single requests for single objects: look, put, get, copy, delete. Each re-checks what the caller believes stands there.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::Error;
use crate::digest::{ETag, Md5};
use crate::entry::Nanos;

/// What must stand at a key for a request to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Absent,
    /// An object with this ETag and size.
    Is(ETag, u64),
    /// Anything: only for names that are random and ours.
    Any,
}

/// How a guard is enforced on this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforce {
    /// By `If-Match` / `If-None-Match`: the store honours them.
    Conditional,
    /// By a HEAD right before the request.
    Head,
}

/// What goes with content.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// MIME type.
    pub content_type: Option<String>,
    /// User metadata, names without `x-amz-meta-`.
    pub metadata: Vec<(String, String)>,
}

/// The metadata name of the random id that tells our own write from another's.
pub const NONCE: &str = "lsync-id";

/// An object to put in one request.
#[derive(Clone, Debug)]
pub struct Put {
    /// The key after the prefix.
    pub key: String,
    /// All of it.
    pub body: Bytes,
    /// Its MD5, sent as `Content-MD5`.
    pub md5: Md5,
    /// What must stand there.
    pub guard: Guard,
    /// How that is enforced.
    pub enforce: Enforce,
    /// Type and metadata; a [`NONCE`] is added when there is none.
    pub about: About,
}

/// What the store answered to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The ETag in the answer (of multipart: in the completion's answer).
    pub etag: ETag,
    /// The nonce that the object carries.
    pub nonce: String,
}

/// What a HEAD or a GET tells.
#[derive(Clone, Debug)]
pub struct Head {
    /// Length of the whole object in bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: ETag,
    /// By the server's clock.
    pub last_modified: Nanos,
    /// User metadata, names in lower case without `x-amz-meta-`.
    pub metadata: HashMap<String, String>,
    /// The ETag is no MD5 although it may look like one: SSE-KMS or SSE-C.
    pub etag_is_no_digest: bool,
}

impl Bucket {
    /// What lies at a key; `None` when nothing does.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        let _ = key;
        todo!()
    }

    /// Puts an object. An ambiguous answer (lost, 5xx, 412 after a retry) is decided by a HEAD that shows our nonce or not. Never deletes.
    pub async fn put(&self, put: Put) -> Result<Stored, Error> {
        let _ = put;
        todo!()
    }

    /// Gets `range` (`None`: all) of the object that has `etag` (`If-Match`) and `size`, handing each piece to `sink` in order; a sink that
    /// returns false ends it. Exactly the bytes asked for, or an error. One try: the caller tries again from where it stands.
    pub async fn get(
        &self,
        key: &str,
        etag: Option<(&ETag, u64)>,
        range: Option<Range<u64>>,
        sink: &mut (dyn FnMut(Bytes) -> bool + Send),
    ) -> Result<Head, Error> {
        let _ = (key, etag, range, sink);
        todo!()
    }

    /// A whole small object (manifests), tried again on transient failures; `None` when it does not exist.
    pub async fn get_whole(&self, key: &str, first_bytes: Option<u64>) -> Result<Option<Bytes>, Error> {
        let _ = (key, first_bytes);
        todo!()
    }

    /// Removes an object under its guard. An object that is already gone is fine.
    pub async fn delete(&self, key: &str, guard: &Guard, enforce: Enforce) -> Result<(), Error> {
        let _ = (key, guard, enforce);
        todo!()
    }

    /// Copies an object inside the bucket, if it still has `etag`, metadata included.
    pub async fn copy(&self, from: &str, etag: &ETag, to: &str) -> Result<(), Error> {
        let _ = (from, etag, to);
        todo!()
    }
}
