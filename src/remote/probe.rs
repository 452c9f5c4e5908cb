//! Small experiments that tell what a store does, under random keys in `.lsync/` that are removed again.

use bytes::Bytes;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::object::{About, Enforce, Guard, Put, random_id};
use crate::digest::{ETag, digest_one};

/// What `lsync setup` finds out.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Objects on the first listing page, and whether there are more.
    pub first_page: (usize, bool),
    /// Server clock minus ours, seconds.
    pub clock_offset_seconds: Option<i64>,
    /// A wrong `Content-MD5` is refused; `None` when writing is not allowed.
    pub checks_content_md5: Option<bool>,
    /// The ETag of a small object is its MD5, in the answer and in the listing; `None` when writing is not allowed.
    pub etag_is_md5: Option<bool>,
    /// `If-None-Match: *` and `If-Match` are honoured; `None` when writing is not allowed.
    pub conditional_writes: Option<bool>,
    /// Keys after the prefix of probe objects that could not be removed.
    pub leftover: Vec<String>,
}

/// What one probe of writing found.
struct Writing {
    checks_content_md5: bool,
    etag_is_md5: bool,
    conditional_writes: bool,
}

const CONTENT: &[u8] = b"lsync wrote this to learn what the store does; it may be removed\n";

impl Bucket {
    /// Whether the store honours `If-None-Match: *` and `If-Match` on PUT: four small requests, and one that removes the probe object.
    /// "Ignored" and "refused as unsupported" are both false. That the object could not be removed is no error.
    pub async fn honours_conditional_writes(&self) -> Result<bool, Error> {
        let key = probe_key();
        let found = self.try_conditions(&key).await;
        let _ = self.delete(&key, &Guard::Any, Enforce::Head).await;
        found
    }

    /// One page of the listing: proves that the endpoint answers, the bucket exists and the credentials may read it.
    pub async fn check_readable(&self) -> Result<(usize, bool), Error> {
        let page = self.page("", None).await?;
        Ok((page.objects.len(), page.next.is_some()))
    }

    /// All of [`Findings`]. Fails when the bucket cannot be read; that it cannot be written is a finding.
    pub async fn inspect(&self) -> Result<Findings, Error> {
        let first_page = self.check_readable().await?;
        let key = probe_key();
        let writing = match self.inspect_writing(&key).await {
            Ok(writing) => Some(writing),
            Err(error) if error.kind == Kind::Denied => None,
            Err(error) => {
                let _ = self.delete(&key, &Guard::Any, Enforce::Head).await;
                return Err(error);
            }
        };
        let removed = writing.is_none() || self.delete(&key, &Guard::Any, Enforce::Head).await.is_ok();
        Ok(Findings {
            first_page,
            clock_offset_seconds: self.clock_offset_seconds(),
            checks_content_md5: writing.as_ref().map(|w| w.checks_content_md5),
            etag_is_md5: writing.as_ref().map(|w| w.etag_is_md5),
            conditional_writes: writing.as_ref().map(|w| w.conditional_writes),
            leftover: if removed { Vec::new() } else { vec![key] },
        })
    }

    async fn inspect_writing(&self, key: &str) -> Result<Writing, Error> {
        let wrong = Put { md5: digest_one(b"something else"), ..probe(key, Guard::Any) };
        let checks_content_md5 = match self.put_once(&wrong).await {
            Ok(_) => false,
            Err(failed) if failed.kind == Kind::Denied => return Err(self.tries("put", key).error(failed)),
            // Not every store says 400 BadDigest; what counts is that nothing is stored.
            Err(_) => self.head(key).await?.is_none(),
        };
        let md5 = digest_one(CONTENT);
        let stored = self.put(probe(key, Guard::Any)).await?;
        let listed = self.list(key, &|_| ()).await?;
        let etag_is_md5 = stored.etag.md5() == Some(md5) && listed.iter().any(|object| object.key == key && object.etag.md5() == Some(md5));
        let conditional_writes = self.try_conditions(&probe_key_beside(key)).await;
        let _ = self.delete(&probe_key_beside(key), &Guard::Any, Enforce::Head).await;
        Ok(Writing { checks_content_md5, etag_is_md5, conditional_writes: conditional_writes? })
    }

    /// A store that does not honour a condition accepts the second or third PUT, or refuses one that should do.
    async fn try_conditions(&self, key: &str) -> Result<bool, Error> {
        let Some(etag) = self.try_condition(key, Guard::Absent, true).await? else { return Ok(false) };
        let other = ETag::Hex(digest_one(b"something else"));
        Ok(self.try_condition(key, Guard::Absent, false).await?.is_some()
            && self.try_condition(key, Guard::Is(other, 0), false).await?.is_some()
            && self.try_condition(key, Guard::Is(etag, 0), true).await?.is_some())
    }

    /// A PUT under a guard that `holds` or does not: something when the store behaves, the ETag if it was stored.
    async fn try_condition(&self, key: &str, guard: Guard, holds: bool) -> Result<Option<ETag>, Error> {
        let put = Put { enforce: Enforce::Conditional, ..probe(key, guard) };
        let mut tries = self.tries("put", key);
        loop {
            match self.put_once(&put).await {
                Ok(etag) => return Ok(etag.filter(|_| holds).map(|etag| ETag::parse(&etag))),
                Err(Failed { kind: Kind::Precondition, .. }) if holds && tries.is_again() => {
                    // A try before may have been carried out: then this one proves nothing, and neither would another.
                    return Ok(None);
                }
                Err(Failed { kind: Kind::Precondition, .. }) => return Ok((!holds).then(|| ETag::Opaque("".into()))),
                Err(Failed { kind: Kind::Unsupported, .. }) => return Ok(None),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }
}

fn probe_key() -> String {
    format!(".lsync/probe-{}", random_id())
}

fn probe_key_beside(key: &str) -> String {
    format!("{key}-2")
}

fn probe(key: &str, guard: Guard) -> Put {
    Put {
        key: key.to_owned(),
        body: Bytes::from_static(CONTENT),
        md5: digest_one(CONTENT),
        guard,
        enforce: Enforce::Head,
        about: About { content_type: Some("text/plain".into()), metadata: Vec::new() },
    }
}
