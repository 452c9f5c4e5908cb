//! Brings one object: into a temporary, counted and hashed, and only then into place. A mismatch leaves the old file untouched.

mod ranges;
mod request;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use super::arrived::read_back;
use super::here::Here;
use super::learn::metadata;
use super::pace::Pace;
use super::reading::{Reader, Shown};
use super::report::{FailureKind, Proof, chain};
use super::send::{NotSent, guard_as_answered};
use super::{Ends, Error, blocking};
use crate::digest::{Digests, ETag, Parts, SINGLE_REQUEST_MAX, candidate_part_bytes, part_bytes_for};
use crate::entry::time::seconds_and_nanos;
use crate::entry::{Entry, File, Kind, Nanos, Stamp};
use crate::event::Event;
use crate::local::part::PartsOf;
use crate::local::place::{PlaceError, Seen, Temp, Workplace};
use crate::path::RelPath;
use crate::plan::Transfer;
use crate::remote::object::{Guard, Head, NONCE};

/// What fetching needs beside the object.
pub(super) struct Fetcher<'a> {
    pub(super) ends: &'a Ends,
    pub(super) pace: &'a Arc<Pace>,
    pub(super) workplace: &'a Arc<Workplace>,
    /// A manifest that could prove more is there and cannot be read: content that nothing else proves is read twice.
    pub(super) twice: bool,
    /// The store's ETags of objects in parts are known to tell nothing.
    pub(super) opaque_parts: bool,
    /// What need not be fetched, because the mount holds it.
    pub(super) here: &'a Here<'a>,
}

/// A file that is in place.
#[derive(Debug)]
pub(super) struct Fetched {
    /// What both sides hold now.
    pub(super) entry: Entry,
    /// The stamp of the new file.
    pub(super) stamp: Stamp,
    /// What proved the content.
    pub(super) proof: Proof,
    /// Bytes that an earlier run had brought.
    pub(super) kept: u64,
    /// Bytes that other files of the mount held.
    pub(super) copied: u64,
}

/// Tries of a broken transfer: with the waits between them about a minute, for a store that throttles.
pub(super) const TRIES: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Up to here an object is checked in memory before anything is written. Larger ones are written while they arrive.
const IN_MEMORY_MAX: u64 = 1 << 20;

/// One object to bring.
struct Asked<'a> {
    transfer: &'a Transfer,
    source: &'a File,
    /// The ETag that listings show.
    listed: &'a ETag,
    /// What it takes the place of.
    seen: Seen,
}

/// An object that is in place.
struct Brought {
    digests: Digests,
    proof: Proof,
    stamp: Stamp,
    /// Bytes that an earlier run had brought.
    kept: u64,
    /// Bytes that other files of the mount held.
    copied: u64,
}

impl Asked<'_> {
    /// The recorded mtime, else the object's metadata, else when it was written.
    fn mtime(&self, head: Option<&Head>) -> Option<Nanos> {
        let told = || head.and_then(|head| metadata(head).1);
        self.source.mtime.or_else(told).or(self.transfer.last_modified)
    }

    fn mode(&self) -> Option<u32> {
        self.transfer.mode.or(self.transfer.found_mode)
    }
}

impl Fetcher<'_> {
    /// Brings the object of a transfer and puts it in place of what `seen` says. What few objects need is boxed: the future of a small one
    /// is moved many times.
    pub(super) async fn file(&self, transfer: &Transfer, seen: Seen) -> Result<Fetched, NotSent> {
        let path = &transfer.path;
        let Kind::File(source) = &transfer.source.kind else {
            return Err(NotSent::Item(FailureKind::Failed, "it is no file".into()));
        };
        let Some(etag) = &source.etag else { return Err(NotSent::Item(FailureKind::Failed, "the bucket does not list it".into())) };
        self.ends.tell(Event::Started { path: path.clone(), bytes: source.size });
        let asked = Asked { transfer, source, listed: etag, seen };
        match self.brought(&asked, etag).await {
            Err(broken) => {
                match Box::pin(guard_as_answered(self.ends, path.as_str(), &Guard::Is(etag.clone(), source.size), &broken)).await {
                    Some(Guard::Is(answered, _)) => Box::pin(self.brought(&asked, &answered)).await,
                    _ => Err(broken),
                }
            }
            brought => brought,
        }
    }

    /// The same, for a store that answers `etag`.
    async fn brought(&self, asked: &Asked<'_>, etag: &ETag) -> Result<Fetched, NotSent> {
        let source = asked.source;
        let Brought { digests, proof, stamp, kept, copied } =
            if source.size <= IN_MEMORY_MAX { self.whole(asked, etag).await? } else { Box::pin(self.large(asked, etag)).await? };
        if let Some(wanted) = source.mtime.filter(|wanted| is_another_day(*wanted, stamp.mtime)) {
            let (path, wanted) = (&asked.transfer.path, seconds_and_nanos(wanted).0);
            let text =
                format!("{path}: this filesystem cannot store its modification time ({wanted} s since 1970) and set a different one");
            self.ends.tell(Event::Warning(text));
        }
        let file = File { size: source.size, mtime: Some(stamp.mtime), digests, etag: Some(asked.listed.clone()) };
        Ok(Fetched { entry: Entry { kind: Kind::File(file), mode: asked.mode() }, stamp, proof, kept, copied })
    }

    /// Brings an object in ranges, perhaps with parts that an earlier run has brought.
    async fn large(&self, asked: &Asked<'_>, etag: &ETag) -> Result<Brought, NotSent> {
        let Asked { transfer, source, seen, .. } = asked;
        let path = &transfer.path;
        let temp = Arc::new(self.temp(asked).await?);
        let got = match self.content(path, source, etag, &temp).await {
            Ok(got) if self.twice && got.proof == Proof::Size => {
                self.is_there_again(path, source.size, etag, &got.digests).await.map(|()| got)
            }
            got => got,
        };
        let Got { digests, proof, head, kept, copied } = got.inspect_err(|why| {
            if let NotSent::Item(FailureKind::Integrity | FailureKind::Stale | FailureKind::NoSpace, _) = why {
                temp.give_up();
            }
        })?;
        let (mtime, mode) = (asked.mtime(head.as_ref()), asked.mode());
        let (mount, workplace, at, seen) = (self.ends.mount.clone(), self.workplace.clone(), path.clone(), seen.clone());
        let placed = blocking(move || -> Result<Stamp, PlaceError> {
            temp.finish(mtime, mode)?;
            let temp = Arc::into_inner(temp).ok_or_else(|| PlaceError::Clash("its temporary is still in use".into()))?;
            workplace.place(&mount, temp, &at, &seen)
        });
        Ok(Brought { digests, proof, stamp: placed.await?.map_err(not_placed)?, kept, copied })
    }

    /// Reads an object once more, and compares: what a way damages comes the same way hardly twice.
    async fn is_there_again(&self, path: &RelPath, size: u64, etag: &ETag, digests: &Digests) -> Result<(), NotSent> {
        let file = File { size, digests: digests.clone(), etag: Some(etag.clone()), mtime: None };
        match (Reader { ends: self.ends, pace: self.pace }).object(path, &file).await? {
            Shown::Same => Ok(()),
            Shown::Differs(_) | Shown::Untold => {
                let why = "what the bucket sends is not the same each time, and its manifest cannot be read; the old file is untouched";
                Err(NotSent::Item(FailureKind::Integrity, why.into()))
            }
            Shown::Changed => Err(NotSent::Item(FailureKind::Stale, "the bucket changed it while it was read".into())),
            Shown::Unread(why) => Err(NotSent::Item(FailureKind::Failed, why)),
            Shown::Refused(error) => Err(NotSent::Refused { error, removing: false }),
        }
    }

    /// Where the content of a large object goes first, perhaps with parts that an earlier run has brought.
    async fn temp(&self, asked: &Asked<'_>) -> Result<Temp, NotSent> {
        let (workplace, size) = (self.workplace.clone(), asked.source.size);
        let in_parts = parts_of_object(self.ends, &asked.transfer.path, asked.source, asked.listed, asked.transfer.last_modified);
        let temp = blocking(move || match in_parts {
            Some(of) => workplace.temp_in_parts(&of),
            None => workplace.temp(size),
        });
        temp.await?.map_err(not_placed)
    }

    async fn content(&self, path: &RelPath, source: &File, etag: &ETag, temp: &Arc<Temp>) -> Result<Got, NotSent> {
        match self.in_ranges(path, source, etag, temp).await {
            // Which range is damaged shows only by part digests, and those ranges have been asked for twice already.
            Err(NotSent::Item(FailureKind::Integrity, why)) if range_digests(source).is_none() => {
                self.ends.tell(Event::Retried { path: path.clone(), bytes: source.size, why });
                self.pace.arrivals.none_left(temp).await;
                temp.forget_parts().map_err(not_placed)?;
                self.in_ranges(path, source, etag, temp).await
            }
            got => got,
        }
    }

    /// No part digests in the ranges' size: a whole MD5 or a composite ETag may still prove the content, by a pass over the temporary.
    async fn judge_arrived(&self, source: &File, mut learnt: Digests, temp: &Arc<Temp>) -> Result<(Digests, Proof), NotSent> {
        if learnt.same(&source.digests) == Some(true) {
            return Ok((learnt, Proof::Strong));
        }
        let sizes = match (&source.digests.parts, source.digests.composite.as_deref()) {
            (Some(parts), _) => vec![parts.part_bytes],
            (None, Some((_, count))) => candidate_part_bytes(source.size, *count),
            (None, None) => Vec::new(),
        };
        let whole = source.digests.whole.is_some();
        if !whole && sizes.is_empty() {
            return Ok((learnt, Proof::Size));
        }
        let (to, size, stop) = (temp.clone(), source.size, self.ends.stop.clone());
        let (md5, kinds) = blocking(move || read_back(&to, size, whole, &sizes, &|| stop.asked())).await?.map_err(not_placed)?;
        if self.ends.stop.asked() {
            return Err(NotSent::Run(Error::Stopped));
        }
        learnt.whole = md5.or(learnt.whole);
        if whole {
            return if md5 == source.digests.whole {
                Ok((learnt, Proof::Strong))
            } else {
                Err(NotSent::Item(FailureKind::Integrity, "what the bucket sends does not match its MD5; the old file is untouched".into()))
            };
        }
        match kinds.into_iter().find(|parts| Digests::of_parts(parts.clone()).same(&source.digests) == Some(true)) {
            Some(parts) => Ok((Digests { parts: Some(Box::new(parts)), ..learnt }, Proof::Strong)),
            None if source.digests.parts.is_some() => {
                Err(NotSent::Item(FailureKind::Integrity, "its parts do not match their digests".into()))
            }
            // Another tool's part size that is not known: the ETag proves nothing either way.
            None => Ok((learnt, Proof::Size)),
        }
    }
}

/// The wait after `failed` failures: up to twice as long each time, half of it drawn at random so that many do not come back at once.
pub(super) fn wait_before(failed: u32, random: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// Content that is in its temporary.
struct Got {
    digests: Digests,
    proof: Proof,
    head: Option<Head>,
    /// Bytes that an earlier run had brought.
    kept: u64,
    /// Bytes that other files of the mount held.
    copied: u64,
}

/// Digests of parts that an object comes in, one request each; parts of other tools may be huge. A small object comes whole all the same.
fn range_digests(source: &File) -> Option<&Parts> {
    source.digests.parts.as_deref().filter(|parts| parts.part_bytes <= 64 << 20 && source.size > SINGLE_REQUEST_MAX)
}

/// Bytes that one request of a large object brings.
fn range_bytes(source: &File) -> u64 {
    range_digests(source).map_or_else(|| part_bytes_for(source.size).unwrap_or(SINGLE_REQUEST_MAX), |parts| parts.part_bytes)
}

/// What the part file of an object is told by; `None` for one that comes whole.
pub(super) fn parts_of_object(ends: &Ends, path: &RelPath, source: &File, etag: &ETag, last_modified: Option<Nanos>) -> Option<PartsOf> {
    let remote = (ends.bucket.name(), ends.bucket.prefix().as_str());
    (source.size > SINGLE_REQUEST_MAX).then(|| PartsOf::new(remote, path, (etag, source.size, last_modified), range_bytes(source)))
}

/// True for times that lie further apart than time zones and coarse clocks explain.
fn is_another_day(wanted: Nanos, set: Nanos) -> bool {
    seconds_and_nanos(wanted).0.abs_diff(seconds_and_nanos(set).0) > 26 * 3600
}

/// What a failed change of the tree means for the item.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err takes")]
pub(super) fn not_placed(error: PlaceError) -> NotSent {
    NotSent::Item(FailureKind::of(&error), chain(&error))
}

/// True when lsync sent it, in parts whose size follows from its own, so that its ETag tells what it holds.
fn is_ours_in_parts(source: &File, head: &Head) -> bool {
    let parts = part_bytes_for(source.size).map(|part_bytes| source.size.div_ceil(part_bytes));
    let told = source.digests.composite.as_deref().map(|(_, count)| u64::from(*count));
    head.metadata.contains_key(NONCE) && told.is_some() && told == parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttling_store_is_waited_for_most_of_a_minute() {
        let all = |random| (1..TRIES).map(|failed| wait_before(failed, random)).sum::<Duration>().as_secs();
        assert_eq!((all(0), all(u32::MAX)), (22, 45));
    }
}
