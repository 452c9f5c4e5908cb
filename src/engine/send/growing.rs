//! Sends what a file that only grows holds up to now: read, hashed and sent as every file, and then read once more. Only where all of it
//! is still what was sent, and begins with what the bucket holds, is an object made of it.

use super::{Once, Sender, Sent, guard_as_answered};
use crate::diff::{Triple, Want, wanted};
use crate::digest::{Digests, Kinds};
use crate::engine::blocking;
use crate::engine::send::NotSent;
use crate::entry::{Entry, File, Kind, Stamp};
use crate::local::hash::{ReadError, Watch, hash_beginning};
use crate::path::RelPath;
use crate::plan::growth::{Growth, growth};
use crate::remote::object::Guard;

impl Sender<'_> {
    /// Sends a file that has changed under every try, up to its length now. `held` is the object that the guard is about; `None` where
    /// the file waits.
    pub(in crate::engine) async fn grown(
        &self,
        path: &RelPath,
        before: Stamp,
        guard: &Guard,
        held: Option<&File>,
    ) -> Result<Option<Sent>, NotSent> {
        if self.rest.is_asked() {
            return Ok(None);
        }
        let now = self.stamp_now(path).await?;
        let begins_with = match growth(&before, &now, held) {
            Growth::Waits => return Ok(None),
            Growth::Begins => None,
            Growth::GoesOn(held) => Some(held),
        };
        let sender = Sender { grows: Some(Grows { begins_with }), ..*self };
        let sent = match sender.once(path, now, guard).await.map_err(Once::not_sent) {
            Err(broken) => match guard_as_answered(self.ends, path.as_str(), guard, &broken).await {
                Some(guard) => sender.once(path, now, &guard).await.map_err(Once::not_sent)?,
                None => return Err(broken),
            },
            Ok(sent) => sent,
        };
        Ok(Some(sent))
    }

    /// Of a file that only grows: it still begins with what was sent, and that with what the bucket holds. Nothing to prove of others.
    pub(super) async fn still_begins_with(&self, path: &RelPath, stamp: Stamp, sent: &Digests) -> Result<(), Once> {
        let Some(grows) = self.grows else { return Ok(()) };
        let (mount, at, sent, stop) = (self.ends.mount.clone(), path.clone(), sent.clone(), self.ends.stop.clone());
        let before = grows.begins_with.cloned();
        let proven = blocking(move || -> Result<bool, ReadError> {
            let watch = Watch { progress: &|_| {}, stop: &move || stop.asked() };
            let (of_sent, held) = (want(&sent, stamp.size), before.as_ref().map(|held| (want(&held.digests, held.size), held)));
            let mut kinds = vec![(stamp.size, Kinds::new(of_sent.whole, &of_sent.part_bytes))];
            kinds.extend(held.iter().map(|(want, held)| (held.size, Kinds::new(want.whole, &want.part_bytes))));
            let mut found = hash_beginning(&mount, &at, &stamp, kinds, &watch)?.into_iter();
            let mut is = |digests: &Digests| found.next().is_some_and(|found| found.iter().any(|kind| kind.same(digests) == Some(true)));
            Ok(is(&sent) && held.is_none_or(|(_, held)| is(&held.digests) || held.size == 0))
        });
        if proven.await?? { Ok(()) } else { Err(Once::Read(ReadError::Changed)) }
    }
}

/// A file that only grows.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Grows<'a> {
    /// What the bucket holds of it.
    begins_with: Option<&'a File>,
}

/// What must be hashed of so many bytes to compare them with these digests.
fn want(digests: &Digests, size: u64) -> Want {
    let entry = |digests| Entry { kind: Kind::File(File { size, digests, ..File::default() }), mode: None };
    let (ours, theirs) = (entry(Digests::default()), entry(digests.clone()));
    wanted(Triple { local: Some(&ours), bucket: Some(&theirs), base: None }, false)
}
