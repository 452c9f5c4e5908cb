//! One guarded write, tried until it is decided: what must stand at the key is checked before each try where the store does not do it
//! itself, and a lost answer is settled by looking for the write's nonce. Never deletes and never takes a write back.

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::object::{Enforce, Guard, Head, NONCE, Stored};
use super::tries::Tries;
use crate::digest::ETag;

pub(super) struct Write<'a> {
    pub(super) tries: Tries<'a>,
    pub(super) bucket: &'a Bucket,
    pub(super) key: &'a str,
    pub(super) nonce: &'a str,
    pub(super) size: u64,
    pub(super) guard: &'a Guard,
    pub(super) enforce: Enforce,
    /// Some try may have been carried out without our knowing.
    pub(super) ambiguous: bool,
}

impl Write<'_> {
    /// `If-None-Match` and `If-Match` for a request.
    pub(super) fn conditions(&self) -> (Option<String>, Option<String>) {
        match (self.enforce, self.guard) {
            (Enforce::Conditional, Guard::Absent) => (Some("*".into()), None),
            (Enforce::Conditional, Guard::Is(etag, _)) => (None, Some(quoted(etag))),
            (Enforce::Head, _) | (_, Guard::Any) => (None, None),
        }
    }

    /// To be called before each try; returns what is stored if an earlier try is found to have succeeded.
    pub(super) async fn before(&self) -> Result<Option<Stored>, Error> {
        if self.enforce == Enforce::Conditional || *self.guard == Guard::Any {
            return Ok(None);
        }
        let found = self.bucket.head(self.key).await?;
        if let Some(stored) = found.as_ref().and_then(|head| self.ours(head)) {
            return Ok(Some(stored));
        }
        match self.guard.broken_by(found.as_ref()) {
            Some(why) => Err(self.tries.wrong(Kind::Precondition, why)),
            None => Ok(None),
        }
    }

    /// To be called after each try that failed; returns what is stored if one did succeed, nothing if another try should follow.
    pub(super) async fn after(&mut self, failed: Failed) -> Result<Option<Stored>, Error> {
        self.ambiguous |= failed.maybe_done;
        // The object that breaks the guard, or that made the upload unknown, may be ours, from a try whose answer was lost. It may
        // also have been sent twice by something on the way, so this is looked at after a first try too.
        let telling = failed.kind == Kind::Precondition || failed.has_code("NoSuchUpload");
        if telling && let Some(stored) = self.look().await? {
            return Ok(Some(stored));
        }
        let Err(error) = self.tries.again(failed).await else { return Ok(None) };
        if self.ambiguous
            && !telling
            && let Ok(Some(head)) = self.bucket.head_once(self.key).await
            && let Some(stored) = self.ours(&head)
        {
            return Ok(Some(stored));
        }
        Err(error)
    }

    /// What a success answered; a store that forgot the ETag is asked for it.
    pub(super) async fn stored(&self, etag: Option<&str>) -> Result<Stored, Error> {
        if let Some(etag) = etag.filter(|etag| !etag.is_empty()) {
            return Ok(Stored { etag: ETag::parse(etag), nonce: self.nonce.to_owned(), damaged: false });
        }
        let stored = self.look().await?;
        stored.ok_or_else(|| {
            self.tries.wrong(Kind::Protocol, "the store says that it is done, without an ETag, and does not show the object")
        })
    }

    async fn look(&self) -> Result<Option<Stored>, Error> {
        Ok(self.bucket.head(self.key).await?.and_then(|head| self.ours(&head)))
    }

    fn ours(&self, head: &Head) -> Option<Stored> {
        let ours = head.size == self.size && head.metadata.get(NONCE).is_some_and(|nonce| nonce == self.nonce);
        ours.then(|| Stored { etag: head.etag.clone(), nonce: self.nonce.to_owned(), damaged: false })
    }
}

impl Guard {
    /// Why what is found breaks the guard, if it does.
    pub(super) fn broken_by(&self, found: Option<&Head>) -> Option<&'static str> {
        match (self, found) {
            (Guard::Any, _) | (Guard::Absent, None) => None,
            (Guard::Absent, Some(_)) => Some("an object has appeared in the bucket: another program wrote it"),
            (Guard::Is(..), None) => Some("the object in the bucket has gone: another program removed it"),
            (Guard::Is(etag, size), Some(head)) => {
                let same = head.etag == *etag && head.size == *size;
                (!same).then_some("the object in the bucket is not what it was: another program wrote it")
            }
        }
    }
}

/// An ETag as a condition wants it.
pub(super) fn quoted(etag: &ETag) -> String {
    let text = etag.to_string();
    if text.starts_with("W/") || text.starts_with('"') { text } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_guard_is_about_etag_and_size() {
        let head =
            |etag: &str, size| Head { size, etag: ETag::parse(etag), last_modified: 0, metadata: HashMap::new(), etag_is_no_digest: false };
        let guard = Guard::Is(ETag::parse("\"x\""), 3);
        assert!(guard.broken_by(Some(&head("x", 3))).is_none());
        assert!(guard.broken_by(Some(&head("x", 4))).is_some());
        assert!(guard.broken_by(Some(&head("y", 3))).is_some());
        assert!(guard.broken_by(None).is_some());
        assert!(Guard::Absent.broken_by(None).is_none() && Guard::Absent.broken_by(Some(&head("x", 3))).is_some());
        assert!(Guard::Any.broken_by(None).is_none() && Guard::Any.broken_by(Some(&head("x", 3))).is_none());
    }

    #[test]
    fn conditions_carry_the_etag_as_it_was_listed() {
        for (listed, sent) in [("\"abc\"", "\"abc\""), ("abc-2", "\"abc-2\""), ("W/\"x\"", "W/\"x\"")] {
            assert_eq!(quoted(&ETag::parse(listed)), sent);
        }
    }
}
