//! Whether the store honours conditions on writes: the few requests that an upload needs answered before its first transfer, with a
//! random key in `.lsync/` that is removed again. The whole examination is in [`super::examine`].

use bytes::Bytes;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::object::{About, Enforce, Guard, Put, random_id};
use crate::digest::{ETag, digest_one};
use crate::profile::{ETagKind, Profile, Support};

/// What every probe object holds.
pub(super) const CONTENT: &[u8] = b"lsync wrote this to learn what the store does; it may be removed\n";

/// What became of a guarded PUT.
pub(super) enum Tried {
    /// It was stored.
    Stored(ETag),
    /// The condition does not hold, says the store.
    Held,
    /// The store takes no such request.
    Refused,
    /// An earlier try whose answer was lost may be what the condition met.
    Unclear,
}

impl Bucket {
    /// What the store does with `If-None-Match: *` and `If-Match` on PUT, and what its ETags are: four small requests, a fifth where the
    /// ETags tell nothing, and one that removes the probe object. That it could not be removed is no error. The profile has no time.
    pub async fn probe_guards(&self) -> Result<Profile, Error> {
        let key = probe_key();
        let found = self.guards(&key).await;
        let _ = self.delete(&key, &Guard::Any, Enforce::Head).await;
        found
    }

    /// Whether the store refuses a body that is not what its `Content-MD5` says; `None` when that cannot be told.
    pub async fn probe_content_md5(&self) -> Result<Option<bool>, Error> {
        let key = probe_key();
        let found = self.refuses_wrong_md5(&key).await;
        if !matches!(found, Ok(Some(true))) {
            let _ = self.delete(&key, &Guard::Any, Enforce::Head).await;
        }
        found
    }

    async fn guards(&self, key: &str) -> Result<Profile, Error> {
        let mut profile = Profile::default();
        let etag = match self.try_guarded(key, Guard::Absent).await? {
            Tried::Stored(etag) => etag,
            Tried::Refused => return Ok(Profile { conditional_writes: Some(Support::Refused), ..profile }),
            Tried::Held | Tried::Unclear => return Ok(profile),
        };
        profile.single_etag = Some(ETagKind::of_single(&etag, digest_one(CONTENT)));
        profile.conditional_writes = self.refuses_wrong_conditions(key).await?;
        if profile.is_conditional() {
            profile.conditional_writes = match self.try_guarded(key, Guard::Is(etag, 0)).await? {
                Tried::Stored(_) => Some(Support::Honoured),
                Tried::Held | Tried::Refused => Some(Support::Refused),
                Tried::Unclear => None,
            };
        }
        if profile.single_etag == Some(ETagKind::Opaque) {
            profile.checks_content_md5 = self.refuses_wrong_md5(key).await?;
        }
        Ok(profile)
    }

    /// Whether conditions that do not hold are refused, of a key where an object is.
    pub(super) async fn refuses_wrong_conditions(&self, key: &str) -> Result<Option<Support>, Error> {
        let other = ETag::Hex(digest_one(b"something else"));
        // Neither is to change anything, so that one need not wait for the other.
        let (absent, changed) = tokio::join!(self.try_guarded(key, Guard::Absent), self.try_guarded(key, Guard::Is(other, 0)));
        for tried in [absent, changed] {
            match tried? {
                Tried::Held => {}
                Tried::Stored(_) => return Ok(Some(Support::Ignored)),
                Tried::Refused => return Ok(Some(Support::Refused)),
                Tried::Unclear => return Ok(None),
            }
        }
        Ok(Some(Support::Honoured))
    }

    /// Whether a body that is not what its `Content-MD5` says is refused; `None` when it is refused for a reason that may be another.
    pub(super) async fn refuses_wrong_md5(&self, key: &str) -> Result<Option<bool>, Error> {
        let wrong = Put { md5: digest_one(b"something else"), ..probe(key, Guard::Any) };
        match self.put_once(&wrong).await {
            Ok(_) => Ok(Some(false)),
            Err(failed) if failed.kind == Kind::Integrity => Ok(Some(true)),
            Err(failed) if failed.kind == Kind::Unsupported => Ok(None),
            Err(failed) => Err(self.tries("put", key).error(failed)),
        }
    }

    /// A PUT under a condition that the store is to enforce.
    pub(super) async fn try_guarded(&self, key: &str, guard: Guard) -> Result<Tried, Error> {
        let holds = guard == Guard::Absent;
        let put = Put { enforce: Enforce::Conditional, ..probe(key, guard) };
        let mut tries = self.tries("put", key);
        loop {
            match self.put_once(&put).await {
                Ok(etag) => return Ok(etag.map_or(Tried::Unclear, |etag| Tried::Stored(ETag::parse(&etag)))),
                Err(Failed { kind: Kind::Precondition, .. }) if holds && tries.is_again() => return Ok(Tried::Unclear),
                // AWS answers 404 to If-Match where nothing is.
                Err(Failed { kind: Kind::Precondition | Kind::NotFound, .. }) => return Ok(Tried::Held),
                Err(Failed { kind: Kind::Unsupported, .. }) => return Ok(Tried::Refused),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }
}

/// A key for probe objects that nothing else has.
pub(super) fn probe_key() -> String {
    format!(".lsync/probe-{}", random_id())
}

/// A probe object.
pub(super) fn probe(key: &str, guard: Guard) -> Put {
    Put {
        key: key.to_owned(),
        body: Bytes::from_static(CONTENT),
        md5: digest_one(CONTENT),
        guard,
        enforce: Enforce::Head,
        about: About { content_type: Some("text/plain".into()), metadata: Vec::new() },
    }
}
