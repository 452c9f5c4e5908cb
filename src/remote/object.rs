//! Single requests for single objects: look, put, get, copy, delete. Each re-checks what the caller believes stands there.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::tries::Tries;
use super::write::{Write, quoted};
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

/// How long the store may take to put an object together on its side, which it does before it answers.
pub(super) const ASSEMBLE: Duration = Duration::from_secs(600);

impl Bucket {
    /// What lies at a key; `None` when nothing does.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        let mut tries = self.tries("look at", key);
        loop {
            match self.try_head(&tries, self.whole_key(key)).await {
                Ok(found) => return Ok(found),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// [`Bucket::head`] without a second try.
    pub(super) async fn head_once(&self, key: &str) -> Result<Option<Head>, Error> {
        let tries = self.tries("look at", key);
        self.try_head(&tries, self.whole_key(key)).await.map_err(|failed| tries.error(failed))
    }

    /// Whether an object lies at a key of the whole bucket, not only of the prefix.
    pub async fn lookup_absolute(&self, absolute_key: &str) -> Result<bool, Error> {
        let doing = format!("cannot look at s3://{}/{}", self.name(), crate::path::Shown(absolute_key));
        let mut tries = Tries::new(self.learnt(), doing);
        loop {
            match self.try_head(&tries, absolute_key.to_owned()).await {
                Ok(found) => return Ok(found.is_some()),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    async fn try_head(&self, tries: &Tries<'_>, whole_key: String) -> Result<Option<Head>, Failed> {
        let request = self.client().head_object().bucket(self.name()).key(whole_key).send();
        // No body comes with a HEAD: a bucket that does not exist looks like an object that does not.
        let mut answer = match tries.send(request).await {
            Err(failed) if failed.kind == Kind::NotFound => return Ok(None),
            answer => answer?,
        };
        let metadata = answer.metadata.take();
        let about = Told {
            etag: answer.e_tag(),
            last_modified: answer.last_modified(),
            encryption: answer.server_side_encryption(),
            customer_key: answer.sse_customer_algorithm().is_some(),
        };
        about.head(answer.content_length(), metadata).map(Some)
    }

    /// Puts an object. An ambiguous answer (lost, 5xx, 412 after a retry) is decided by a HEAD that shows our nonce or not. Never deletes.
    pub async fn put(&self, put: Put) -> Result<Stored, Error> {
        let (metadata, nonce) = with_nonce(put.about.metadata.clone());
        let mut write = Write {
            tries: self.tries("put", &put.key),
            bucket: self,
            key: &put.key,
            nonce: &nonce,
            size: put.body.len() as u64,
            guard: &put.guard,
            enforce: put.enforce,
            ambiguous: false,
        };
        loop {
            if let Some(stored) = write.before().await? {
                return Ok(stored);
            }
            match self.try_put(&write, &put, metadata.clone()).await {
                Ok(etag) => return write.stored(etag.as_deref()).await,
                Err(failed) => {
                    if let Some(stored) = write.after(failed).await? {
                        return Ok(stored);
                    }
                }
            }
        }
    }

    /// [`Bucket::put`] as one request, whatever it answers: for probes.
    pub(super) async fn put_once(&self, put: &Put) -> Result<Option<String>, Failed> {
        let (metadata, nonce) = with_nonce(put.about.metadata.clone());
        let write = Write {
            tries: self.tries("put", &put.key),
            bucket: self,
            key: &put.key,
            nonce: &nonce,
            size: put.body.len() as u64,
            guard: &put.guard,
            enforce: put.enforce,
            ambiguous: false,
        };
        self.try_put(&write, put, metadata).await
    }

    async fn try_put(&self, write: &Write<'_>, put: &Put, metadata: HashMap<String, String>) -> Result<Option<String>, Failed> {
        let (if_none_match, if_match) = write.conditions();
        let request = self
            .client()
            .put_object()
            .bucket(self.name())
            .key(self.whole_key(&put.key))
            .body(ByteStream::from(put.body.clone()))
            .content_md5(put.md5.base64())
            .set_content_type(put.about.content_type.clone())
            .set_metadata(Some(metadata))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .customize()
            // Content-MD5 is signed and covers the body; a second pass over it for SHA-256 would only cost time.
            .disable_payload_signing()
            .send();
        Ok(write.tries.send(request).await?.e_tag)
    }

    /// Removes an object under its guard. An object that is already gone is fine.
    ///
    /// A HEAD comes first whatever `enforce` says, because stores that honour `If-Match` on PUT may ignore it on DELETE.
    pub async fn delete(&self, key: &str, guard: &Guard, enforce: Enforce) -> Result<(), Error> {
        let mut tries = self.tries("remove", key);
        loop {
            if *guard != Guard::Any {
                let Some(head) = self.head(key).await? else { return Ok(()) };
                if let Some(why) = guard.broken_by(Some(&head)) {
                    return Err(tries.wrong(Kind::Precondition, why));
                }
            }
            let plain = &self.learnt().plain_deletes;
            let if_match = match (guard, enforce) {
                (Guard::Is(etag, _), Enforce::Conditional) if !plain.load(Ordering::Relaxed) => Some(quoted(etag)),
                _ => None,
            };
            let conditional = if_match.is_some();
            let request = self.client().delete_object().bucket(self.name()).key(self.whole_key(key)).set_if_match(if_match).send();
            match tries.send(request).await {
                Ok(_) => return Ok(()),
                Err(failed) if failed.kind == Kind::NotFound => return Ok(()),
                Err(failed) if failed.kind == Kind::Unsupported && conditional => plain.store(true, Ordering::Relaxed),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Copies an object inside the bucket, if it still has `etag`, metadata included.
    pub async fn copy(&self, from: &str, etag: &ETag, to: &str) -> Result<(), Error> {
        let source = format!("{}/{}", self.name(), percent_encode(&self.whole_key(from)));
        let mut tries = self.tries("copy", from);
        loop {
            let request = self
                .client()
                .copy_object()
                .bucket(self.name())
                .key(self.whole_key(to))
                .copy_source(&source)
                .copy_source_if_match(quoted(etag))
                .customize()
                .config_override(patient())
                .send();
            match tries.send(request).await {
                Ok(_) => return Ok(()),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }
}

/// Settings for requests that the store answers only after work of its own.
pub(super) fn patient() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(TimeoutConfig::builder().read_timeout(ASSEMBLE).build())
}

/// The parts of an answer that HEAD and GET share.
pub(super) struct Told<'a> {
    pub(super) etag: Option<&'a str>,
    pub(super) last_modified: Option<&'a DateTime>,
    pub(super) encryption: Option<&'a ServerSideEncryption>,
    pub(super) customer_key: bool,
}

impl Told<'_> {
    pub(super) fn head(self, size: Option<i64>, metadata: Option<HashMap<String, String>>) -> Result<Head, Failed> {
        let size = size.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| Failed::new(Kind::Protocol, "the answer does not say how long the object is"))?;
        let etag = self.etag.ok_or_else(|| Failed::new(Kind::Protocol, "the answer has no ETag"))?;
        let kms = matches!(self.encryption, Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse));
        Ok(Head {
            size,
            etag: ETag::parse(etag),
            last_modified: nanos(self.last_modified),
            metadata: metadata.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            etag_is_no_digest: kms || self.customer_key,
        })
    }
}

/// A server's time; 1970 when there is none.
pub(super) fn nanos(time: Option<&DateTime>) -> Nanos {
    time.map_or(0, |time| Nanos::try_from(time.as_nanos()).unwrap_or(0))
}

/// The metadata with a nonce, and the nonce.
pub(super) fn with_nonce(metadata: Vec<(String, String)>) -> (HashMap<String, String>, String) {
    let mut metadata: HashMap<String, String> = metadata.into_iter().collect();
    let nonce = metadata.entry(NONCE.to_owned()).or_insert_with(random_id).clone();
    (metadata, nonce)
}

/// 128 random bits in hexadecimal digits.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    HEXLOWER.encode(&bytes)
}

/// As a header or a URL's path wants a key: everything but letters, digits, `-._~` and `/` is escaped.
fn percent_encode(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
