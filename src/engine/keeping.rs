//! Keeps what an upload overwrites or deletes although nothing proves it outdated: copies it inside the bucket first. Whether something may
//! be replaced without a copy is decided in [`crate::plan`].

use std::sync::OnceLock;

use bytes::Bytes;

use super::look::Sight;
use super::report::{FailureKind, chain};
use super::send::{NotSent, not_sent};
use super::{Ends, Error};
use crate::digest::{ETag, digest_one};
use crate::local::lock::now;
use crate::path::RelPath;
use crate::plan::{Choices, CopyOutcome, Direction, Found, Plan, cannot_copy, history_key, may_replace};
use crate::profile::{Profile, Support};
use crate::remote::copies::Original;
use crate::remote::error::{Error as RemoteError, Kind as RemoteKind};
use crate::remote::keep::NotCopied;
use crate::remote::object::{About, Enforce, Guard, Put};

impl Sight {
    /// Asks the bucket whether it copies objects, with a few small requests, where a plan of these choices has to say so and it is not
    /// known. Writes probe objects and removes them again; what cannot be asked stays unknown.
    pub async fn learn_copies(&mut self, direction: Direction, choices: Choices) -> Result<(), Error> {
        let known = self.store.as_ref().and_then(Profile::keeps_copies);
        if direction != Direction::Upload || !choices.overwrite || known.is_some() || !self.plan(direction, choices).loses_objects() {
            return Ok(());
        }
        let found = Box::pin(self.ends.bucket.probe_history());
        let found = self.ends.stop.or_soon(found).await.ok_or(Error::Stopped)?;
        // What the probe could not write is told by what the run cannot write.
        if let Ok(Some(support)) = found {
            let store = self.store.get_or_insert_with(|| Profile { time: now(), ..Profile::default() });
            store.history_copies = Some(support);
            self.store_is_new = true;
        }
        Ok(())
    }
}

/// Copies for one run.
pub(super) struct Keeper<'a> {
    ends: &'a Ends,
    operation: String,
    plan: &'a Plan,
    /// What was known when the run began.
    known: Option<Support>,
    learnt: OnceLock<Support>,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(ends: &'a Ends, operation: String, plan: &'a Plan, store: &Profile) -> Keeper<'a> {
        Keeper { ends, operation, plan, known: store.keeps_copies(), learnt: OnceLock::new() }
    }

    /// What the copies have shown, where it was not known.
    pub(super) fn learnt(&self) -> Option<Support> {
        self.learnt.get().copied().filter(|learnt| Some(*learnt) != self.known)
    }

    /// Copies what was found at a path to the history. `Ok`: it may be replaced now.
    pub(super) async fn keep(&self, path: &RelPath, found: &Found) -> Result<(), NotSent> {
        let Found::Object { etag, size, marker: false } = found else { return Ok(()) };
        if self.ends.stop.asked() {
            return Err(NotSent::Run(Error::Stopped));
        }
        let tried = if self.plan.without_copies && cannot_copy(self.known) {
            None
        } else {
            Some(Box::pin(self.copied(path, &Guard::Is(etag.clone(), *size))).await)
        };
        let (outcome, why) = match tried {
            None => (CopyOutcome::NotTried, None),
            Some(Ok(())) => (CopyOutcome::Made, None),
            // The guard of what follows decides.
            Some(Err(NotCopied::Failed(e))) if e.kind == RemoteKind::NotFound => (CopyOutcome::NothingThere, None),
            Some(Err(NotCopied::Failed(e))) => (CopyOutcome::Failed, Some(e)),
            Some(Err(NotCopied::NotKnown(support, e))) => {
                self.learnt.get_or_init(|| support);
                (CopyOutcome::NotKnown, Some(e))
            }
        };
        if outcome == CopyOutcome::Made {
            self.learnt.get_or_init(|| Support::Honoured);
        }
        if may_replace(outcome, self.known, self.plan.without_copies) { Ok(()) } else { Err(not_kept(outcome, why)) }
    }

    async fn copied(&self, path: &RelPath, guard: &Guard) -> Result<(), NotCopied> {
        let Guard::Is(etag, size) = guard else { return Ok(()) };
        let bucket = &self.ends.bucket;
        let to = history_key(&self.operation, path, bucket.prefix().as_str().len());
        if let Some(key) = &to.path_in {
            let body = Bytes::copy_from_slice(path.as_str().as_bytes());
            let about = About { content_type: Some("text/plain; charset=utf-8".into()), metadata: Vec::new() };
            let md5 = digest_one(&body);
            bucket.put(Put { key: key.clone(), body, md5, guard: Guard::Any, enforce: Enforce::Head, about }).await?;
        }
        let stop = || self.ends.stop.asked();
        let of = |etag: &ETag| Original { key: path.as_str().to_owned(), etag: etag.clone() };
        match bucket.copy(&of(etag), *size, &to.key, &stop).await {
            Err(NotCopied::Failed(e)) if e.kind == RemoteKind::Precondition => {
                // The same object, whose listings show another ETag than its conditions take.
                match bucket.answered_etag(path.as_str(), etag, *size).await {
                    Ok(Some(answered)) => bucket.copy(&of(&answered), *size, &to.key, &stop).await,
                    _ => Err(e.into()),
                }
            }
            copied => copied,
        }
    }
}

/// Why something was left as it is.
fn not_kept(outcome: CopyOutcome, why: Option<RemoteError>) -> NotSent {
    let kept = "it was not overwritten, because the bucket could not keep a copy of it";
    match (outcome, why) {
        (CopyOutcome::NotKnown, Some(e)) => {
            let next = "run the same command again: its plan will say that this cannot be undone";
            NotSent::Item(FailureKind::Failed, format!("{kept}: {} ({next})", chain(&e)))
        }
        // What may not be copied says nothing about what else these credentials may do.
        (_, Some(e)) if matches!(e.kind, RemoteKind::Denied | RemoteKind::Refused) => {
            NotSent::Item(FailureKind::Failed, format!("{kept}: {}", chain(&e)))
        }
        (_, Some(e)) => match not_sent(e) {
            NotSent::Item(FailureKind::Failed | FailureKind::Integrity, why) => {
                NotSent::Item(FailureKind::Failed, format!("{kept}: {why}"))
            }
            other => other,
        },
        (_, None) => NotSent::Item(FailureKind::Failed, kept.into()),
    }
}
