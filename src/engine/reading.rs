//! Reads objects of the bucket only to see whether they hold what they should. Keeps no content, writes nothing.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::arrived::trusted;
use super::fetch::{TRIES, wait_before};
use super::pace::{Buffer, Pace};
use super::report::chain;
use super::{Ends, Error, blocking};
use crate::digest::{Digests, ETag, Kinds, Parts, candidate_part_bytes, digest_one};
use crate::entry::File;
use crate::event::Event;
use crate::path::RelPath;
use crate::remote::error::{self as remote, Kind as RemoteKind};
use crate::remote::object::Head;

/// What reading an object has shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// It has the digest that it should have.
    Same,
    /// Twice it had another one: this.
    Differs(Digests),
    /// It could be read, and nothing tells what it should hold.
    Untold,
    /// It is not what was listed any more.
    Changed,
    /// It could not be read: why.
    Unread(String),
    /// It may not be read.
    Refused(remote::Error),
}

/// Bytes of one request.
const RANGE: u64 = 8 << 20;
/// Requests in flight for one object, where its parts can be judged apart.
const RANGES_IN_FLIGHT: usize = 8;

/// Reads objects, within a run's bounds.
pub(super) struct Reader<'a> {
    pub(super) ends: &'a Ends,
    pub(super) pace: &'a Arc<Pace>,
}

impl Reader<'_> {
    /// Reads the object that the bucket lists as `file` says. `Err` only for what ends the whole run.
    pub(super) async fn object(&self, path: &RelPath, file: &File) -> Result<Shown, Error> {
        let Some(etag) = &file.etag else { return Ok(Shown::Untold) };
        match self.twice(path, file, etag).await {
            Ok(shown) => Ok(shown),
            Err(Broken::Run(e)) => Err(e),
            Err(Broken::Object(e)) if matches!(e.kind, RemoteKind::Precondition | RemoteKind::NotFound) => {
                // Some stores list another ETag than they answer.
                let Some(answered) = self.ends.bucket.answered_etag(path.as_str(), etag, file.size).await? else {
                    return Ok(Shown::Changed);
                };
                match self.twice(path, file, &answered).await {
                    Ok(shown) => Ok(shown),
                    Err(Broken::Run(e)) => Err(e),
                    Err(Broken::Object(e)) if e.kind == RemoteKind::Precondition => Ok(Shown::Changed),
                    Err(Broken::Object(e)) => unread(e),
                }
            }
            Err(Broken::Object(e)) => unread(e),
        }
    }

    /// What is wrong on the way here is not wrong there: a mismatch is looked at again.
    async fn twice(&self, path: &RelPath, file: &File, etag: &ETag) -> Result<Shown, Broken> {
        match self.once(path, file, etag).await? {
            Shown::Differs(_) => self.once(path, file, etag).await,
            shown => Ok(shown),
        }
    }

    async fn once(&self, path: &RelPath, file: &File, etag: &ETag) -> Result<Shown, Broken> {
        let parts = file.digests.parts.as_deref().filter(|parts| parts.part_bytes <= RANGE * 8 && file.digests.whole.is_none());
        if let Some(parts) = parts {
            let read = self.in_parts(path, file.size, etag, parts.part_bytes).await?;
            return Ok(if read == *parts { Shown::Same } else { Shown::Differs(Digests::of_parts(read)) });
        }
        let (kinds, head) = self.in_order(path, file, etag).await?;
        let expected = trusted(file, Some(&head));
        if kinds.iter().any(|digests| digests.same(&expected) == Some(true)) {
            return Ok(Shown::Same);
        }
        Ok(match kinds.into_iter().find(|digests| digests.same(&expected) == Some(false)) {
            Some(other) => Shown::Differs(other),
            None => Shown::Untold,
        })
    }

    /// Parts side by side.
    async fn in_parts(&self, path: &RelPath, size: u64, etag: &ETag, part_bytes: u64) -> Result<Parts, Broken> {
        let offsets = (0..size.div_ceil(part_bytes).max(1)).map(|n| n * part_bytes);
        let mut parts = stream::iter(offsets)
            .map(|offset| async move {
                let len = part_bytes.min(size - offset);
                let _turn = self.pace.part_turn(len).await?;
                let coming = self.pace.hashing.coming();
                let (buffer, _) = self.range(path, etag, size, offset, len).await?;
                drop(coming);
                Ok::<_, Broken>(self.pace.hashing.digest(buffer).await?.1)
            })
            .buffered(RANGES_IN_FLIGHT);
        let mut md5s = Vec::new();
        while let Some(md5) = parts.next().await {
            md5s.push(md5?);
        }
        Ok(Parts { part_bytes, md5s })
    }

    /// One range after the other, for digests that need every byte in order.
    async fn in_order(&self, path: &RelPath, file: &File, etag: &ETag) -> Result<(Vec<Digests>, Head), Broken> {
        let sizes = match (&file.digests.parts, file.digests.composite.as_deref()) {
            (Some(parts), _) => vec![parts.part_bytes],
            (None, Some((_, count))) => candidate_part_bytes(file.size, *count),
            (None, None) => Vec::new(),
        };
        let mut kinds = Kinds::new(file.digests.whole.is_some() || sizes.is_empty(), &sizes);
        let mut offset = 0;
        loop {
            let len = RANGE.min(file.size - offset);
            let _turn = self.pace.part_turn(len).await?;
            let (buffer, head) = self.range(path, etag, file.size, offset, len).await?;
            let hashed = blocking(move || {
                kinds.update(&buffer.vec);
                kinds
            });
            kinds = hashed.await?;
            offset += len;
            if offset >= file.size {
                return Ok((kinds.finish(), head));
            }
        }
    }

    /// A range as a complete buffer; what breaks on the way is asked for again.
    async fn range(&self, path: &RelPath, etag: &ETag, size: u64, offset: u64, len: u64) -> Result<(Buffer, Head), Broken> {
        let range = (len != size).then_some(offset..offset + len);
        let mut buffer = self.pace.buffer(len);
        let (stop, mut failed) = (&self.ends.stop, 0);
        loop {
            let bytes = &mut buffer.vec;
            bytes.clear();
            let mut sink = |piece: bytes::Bytes| {
                bytes.extend_from_slice(&piece);
                true
            };
            let get = self.ends.bucket.get(path.as_str(), Some((etag, size)), range.clone(), &mut sink);
            match stop.or(get).await.ok_or(Error::Stopped)? {
                Ok(head) => {
                    self.ends.tell(Event::Hashed { bytes: len });
                    return Ok((buffer, head));
                }
                Err(e) => {
                    failed += 1;
                    let heals = matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled | RemoteKind::Integrity);
                    if !heals || failed >= TRIES {
                        return Err(Broken::Object(e));
                    }
                    let wait = wait_before(failed, getrandom::u32().unwrap_or(u32::MAX));
                    stop.or(tokio::time::sleep(wait)).await.ok_or(Error::Stopped)?;
                }
            }
        }
    }
}

/// Why a read came to no end.
enum Broken {
    Run(Error),
    Object(remote::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Run(error)
    }
}

/// Credentials and a store that is gone are not about one object.
fn unread(error: remote::Error) -> Result<Shown, Error> {
    match error.kind {
        RemoteKind::Denied | RemoteKind::NoBucket | RemoteKind::Unreachable | RemoteKind::Throttled => Err(error.into()),
        RemoteKind::NotFound => Ok(Shown::Changed),
        RemoteKind::Refused => Ok(Shown::Refused(error)),
        _ => Ok(Shown::Unread(chain(&error))),
    }
}

/// A random choice that can be made again: of `all`, whose bytes `size` tells, so many that they have about `percent` of the bytes, in the
/// order that the seed gives; at least one.
pub(super) fn sample<T>(all: Vec<T>, percent: f64, seed: u64, name: impl Fn(&T) -> &str, size: impl Fn(&T) -> u64) -> Vec<T> {
    let total: u64 = all.iter().map(&size).sum();
    let mut drawn: Vec<([u8; 16], T)> =
        all.into_iter().map(|item| (digest_one(format!("{seed}\0{}", name(&item)).as_bytes()).0, item)).collect();
    drawn.sort_by_key(|(order, _)| *order);
    let (wanted, mut have) = (total as f64 * percent / 100.0, 0);
    let mut chosen = Vec::new();
    for (_, item) in drawn {
        if !chosen.is_empty() && have as f64 >= wanted {
            break;
        }
        have += size(&item);
        chosen.push(item);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_its_share_of_the_bytes_and_can_be_drawn_again() {
        let all = || (0..1000_u64).map(|n| (n.to_string(), 1000)).collect::<Vec<_>>();
        let draw = |percent, seed| sample(all(), percent, seed, |(name, _)| name.as_str(), |(_, size)| *size);
        assert_eq!((draw(5.0, 1).len(), draw(100.0, 1).len(), draw(0.001, 1).len()), (50, 1000, 1));
        assert_eq!(draw(5.0, 7), draw(5.0, 7));
        assert_ne!(draw(5.0, 7), draw(5.0, 8));
        assert!(sample(Vec::<String>::new(), 5.0, 1, |name| name.as_str(), |_| 1).is_empty());
    }
}
