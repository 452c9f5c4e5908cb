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
use crate::digest::{ETag, Md5, digest_one};
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
    /// It holds other bytes than were sent, or may do so.
    pub damaged: bool,
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

    /// Puts an object. An ambiguous answer (lost, 5xx, 412 after a retry) is decided by a HEAD that shows our nonce or not. What the store
    /// says that it took is compared with what was sent, and sent once more if it differs; [`Stored::damaged`] if it still does, or if that
    /// cannot be told. Never deletes.
    pub async fn put(&self, mut put: Put) -> Result<Stored, Error> {
        let stored = self.put_guarded(&put).await?;
        match self.took(&put, &stored).await {
            Ok(true) => return Ok(stored),
            Ok(false) => {}
            Err(_) => return Ok(Stored { damaged: true, ..stored }),
        }
        put.guard = Guard::Is(stored.etag, put.body.len() as u64);
        // With the nonce of the damaged one, that would be taken for this one.
        put.about.metadata.retain(|(name, _)| name != NONCE);
        let stored = self.put_guarded(&put).await?;
        let damaged = !self.took(&put, &stored).await.unwrap_or(false);
        Ok(Stored { damaged, ..stored })
    }

    /// Whether the store holds what was sent, as far as the ETag tells. One that looks like an MD5 and is not ours is none (SSE-KMS, and
    /// stores with ETags of their own), or something on the way changed a bit and the store does not check: then the object itself decides.
    async fn took(&self, put: &Put, stored: &Stored) -> Result<bool, Error> {
        if stored.etag.md5().is_none_or(|md5| md5 == put.md5) {
            return Ok(true);
        }
        self.begins_with(&put.key, put.body.len() as u64, put.md5).await
    }

    /// Whether the first `bytes` of an object have this MD5, where its ETags look like MD5s and are not those of what was sent: reads them,
    /// unless ETags are known to be none here.
    pub async fn begins_with(&self, key: &str, bytes: u64, md5: Md5) -> Result<bool, Error> {
        let no_md5 = &self.learnt().etags_are_no_md5;
        if no_md5.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let encrypted = self.head(key).await?.is_some_and(|head| head.etag_is_no_digest);
        let whole = encrypted || self.get_whole(key, Some(bytes)).await?.is_some_and(|back| digest_one(&back) == md5);
        no_md5.fetch_or(whole, Ordering::Relaxed);
        Ok(whole)
    }

    async fn put_guarded(&self, put: &Put) -> Result<Stored, Error> {
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
            match self.try_put(&write, put, metadata.clone()).await {
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
            match self.try_put(&write, put, metadata.clone()).await {
                Err(failed) if write.tries.renews(&failed) => {}
                answer => return answer,
            }
        }
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

/// An object as the header of a copy names it.
pub(super) fn copy_source(bucket: &Bucket, key: &str) -> String {
    format!("{}/{}", bucket.name(), percent_encode(&bucket.whole_key(key)))
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

#[cfg(test)]
mod tests {
    use super::super::canned::{HANG_UP, NONCE_HERE, answer, bucket_answering, bucket_at, error};
    use super::*;
    use crate::digest::digest_one;

    const PUT_OK: &str = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n";
    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    fn here(etag: &str, nonce: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 3\r\nx-amz-meta-lsync-id: {nonce}\r\n\r\n")
    }

    fn small(guard: Guard, enforce: Enforce) -> Put {
        Put { key: "k".into(), body: Bytes::from_static(b"abc"), md5: digest_one(b"abc"), guard, enforce, about: About::default() }
    }

    async fn put(guard: Guard, enforce: Enforce, answers: &[&str]) -> (Result<String, Kind>, String) {
        let (bucket, asked) = bucket_answering(answers).await;
        let result = bucket.put(small(guard, enforce)).await;
        let methods: Vec<String> = asked.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        (result.map(|stored| stored.etag.to_string()).map_err(|error| error.kind), methods.join(" "))
    }

    #[track_caller]
    fn check(found: &(Result<String, Kind>, String), expected: Result<&str, Kind>, methods: &str) {
        assert_eq!((found.0.as_deref().map_err(|kind| *kind), found.1.as_str()), (expected, methods));
    }

    #[tokio::test]
    async fn a_lost_answer_is_settled_by_the_nonce() {
        use Enforce::{Conditional, Head};
        let (ours, theirs) = (here("\"seen\"", NONCE_HERE), here("\"other\"", "m"));
        let conflict = error("412 Precondition Failed", "PreconditionFailed");
        check(&put(Guard::Absent, Conditional, &[PUT_OK]).await, Ok("e"), "PUT");
        check(&put(Guard::Absent, Conditional, &[HANG_UP, &conflict, &ours]).await, Ok("seen"), "PUT PUT HEAD");
        check(&put(Guard::Absent, Conditional, &[HANG_UP, &conflict, &theirs]).await, Err(Kind::Precondition), "PUT PUT HEAD");
        let internal = error("500 Internal Server Error", "InternalError");
        check(&put(Guard::Absent, Conditional, &[&internal, &conflict, &ours]).await, Ok("seen"), "PUT PUT HEAD");
        let gone = answer("499 Client Closed Request", "<html>proxy</html>");
        check(&put(Guard::Absent, Conditional, &[&gone, &ours]).await, Ok("seen"), "PUT HEAD");
        check(&put(Guard::Absent, Conditional, &[&gone, ABSENT]).await, Err(Kind::Unsupported), "PUT HEAD");
        let conflict_409 = error("409 Conflict", "ConditionalRequestConflict");
        check(&put(Guard::Absent, Conditional, &[&conflict_409, &theirs]).await, Err(Kind::Precondition), "PUT HEAD");
        check(&put(Guard::Absent, Conditional, &[&conflict, &theirs]).await, Err(Kind::Precondition), "PUT HEAD");
        check(&put(Guard::Absent, Head, &[ABSENT, HANG_UP, &ours]).await, Ok("seen"), "HEAD PUT HEAD");
        check(&put(Guard::Absent, Head, &[ABSENT, HANG_UP, &theirs]).await, Err(Kind::Precondition), "HEAD PUT HEAD");
        check(&put(Guard::Absent, Head, &[&theirs]).await, Err(Kind::Precondition), "HEAD");
        check(&put(Guard::Any, Head, &[HANG_UP, PUT_OK]).await, Ok("e"), "PUT PUT");
        let old = Guard::Is(ETag::parse("\"old\""), 3);
        check(&put(old.clone(), Head, &[&here("\"old\"", "m"), PUT_OK]).await, Ok("e"), "HEAD PUT");
        check(&put(old, Head, &[ABSENT]).await, Err(Kind::Precondition), "HEAD");
        let no_etag = answer("200 OK", "");
        check(&put(Guard::Any, Head, &[&no_etag, &ours]).await, Ok("seen"), "PUT HEAD");
        check(&put(Guard::Any, Head, &[&no_etag, ABSENT]).await, Err(Kind::Protocol), "PUT HEAD");
    }

    #[tokio::test]
    async fn what_will_not_heal_is_not_tried_again() {
        let (bad, denied) = (error("400 Bad Request", "BadDigest"), error("403 Forbidden", "AccessDenied"));
        check(&put(Guard::Any, Enforce::Head, &[&bad, PUT_OK]).await, Ok("e"), "PUT PUT");
        check(&put(Guard::Any, Enforce::Head, &[&bad, &bad]).await, Err(Kind::Integrity), "PUT PUT");
        check(&put(Guard::Any, Enforce::Head, &[&denied]).await, Err(Kind::Refused), "PUT");
        check(&put(Guard::Any, Enforce::Head, &[&error("404 Not Found", "NoSuchBucket")]).await, Err(Kind::NoBucket), "PUT");
    }

    #[tokio::test]
    async fn a_put_carries_md5_condition_and_nonce_and_no_other_digest() {
        let (bucket, asked) = bucket_answering(&[PUT_OK, PUT_OK]).await;
        bucket.put(Put { key: "ä b/+%.txt".into(), ..small(Guard::Absent, Enforce::Conditional) }).await.unwrap();
        bucket.put(small(Guard::Is(ETag::parse("\"o\""), 1), Enforce::Conditional)).await.unwrap();
        assert_eq!(asked.lines(), ["PUT /b/p/%C3%A4%20b/%2B%25.txt?x-id=PutObject", "PUT /b/p/k?x-id=PutObject"]);
        assert_eq!(asked.header(0, "content-md5"), Some(digest_one(b"abc").base64()));
        assert_eq!(asked.header(0, "x-amz-content-sha256").as_deref(), Some("UNSIGNED-PAYLOAD"));
        assert_eq!((asked.header(0, "if-none-match").as_deref(), asked.header(1, "if-match").as_deref()), (Some("*"), Some("\"o\"")));
        assert!(asked.header(0, "x-amz-meta-lsync-id").is_some_and(|nonce| nonce.len() == 32));
        assert!(asked.header(0, "user-agent").is_some_and(|agent| agent.contains("app/lsync")));
        for absent in ["x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "x-amz-trailer", "content-encoding", "expect"] {
            assert_eq!(asked.header(0, absent), None, "{absent}");
        }
    }

    #[tokio::test]
    async fn a_head_tells_presence_metadata_and_what_the_etag_is_worth() {
        let kms =
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 7\r\nx-amz-server-side-encryption: aws:kms\r\nx-amz-meta-Mtime: 1.5\r\n\r\n";
        let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let (bucket, asked) = bucket_answering(&[kms, ABSENT, forbidden, kms, ABSENT]).await;
        let head = bucket.head("k").await.unwrap().unwrap();
        assert_eq!((head.size, head.etag_is_no_digest, head.metadata.get("mtime").map(String::as_str)), (7, true, Some("1.5")));
        assert!(bucket.head("k").await.unwrap().is_none());
        assert_eq!(bucket.head("k").await.unwrap_err().kind, Kind::Refused);
        assert!(bucket.lookup_absolute(".lsync/mount-1").await.unwrap());
        assert!(!bucket.lookup_absolute(".lsync/mount-1").await.unwrap());
        assert_eq!(asked.lines()[3], "HEAD /b/.lsync/mount-1");
    }

    #[tokio::test]
    async fn only_what_the_guard_names_is_removed() {
        let guard = Guard::Is(ETag::parse("\"old\""), 3);
        let (old, new, gone) = (here("\"old\"", "n"), here("\"new\"", "n"), "HTTP/1.1 204 No Content\r\n\r\n");
        let unknown = error("501 Not Implemented", "NotImplemented");
        let (bucket, asked) = bucket_answering(&[&old, gone, &new, ABSENT, &old, &unknown, &old, gone, &old, gone]).await;
        bucket.delete("k", &guard, Enforce::Conditional).await.unwrap();
        assert_eq!(bucket.delete("k", &guard, Enforce::Conditional).await.unwrap_err().kind, Kind::Precondition);
        bucket.delete("k", &guard, Enforce::Conditional).await.unwrap();
        bucket.delete("k", &guard, Enforce::Conditional).await.unwrap();
        bucket.delete("k", &guard, Enforce::Conditional).await.unwrap();
        let conditions: Vec<_> = [1, 5, 7, 9].map(|number| asked.header(number, "if-match").is_some()).to_vec();
        assert_eq!(conditions, [true, true, false, false], "a store that does not take If-Match is not asked twice");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let moved = "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/b/p/k\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n";
        let (bucket, asked) = bucket_answering(&[moved, moved]).await;
        let error = bucket.put(small(Guard::Any, Enforce::Head)).await.unwrap_err();
        assert_eq!((error.kind, error.hint.is_some_and(|hint| hint.contains("eu-west-1")), asked.lines().len()), (Kind::Config, true, 1));
        assert_eq!(bucket.head("k").await.unwrap_err().kind, Kind::Config);
    }

    #[tokio::test]
    async fn an_endpoint_where_nothing_listens_is_named_as_such() {
        let error = bucket_at("http://127.0.0.1:1").await.head_once("k").await.unwrap_err();
        assert_eq!((error.kind, error.doing.as_str()), (Kind::Unreachable, "cannot look at s3://b/p/k at http://127.0.0.1:1"));
        assert_eq!(error.hint.as_deref(), Some("nothing listens there: check `endpoint_url`"), "{}", error.message);
    }
}
