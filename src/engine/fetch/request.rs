//! One request for bytes of an object, made again until they have come. Knows nothing of where they go.

use bytes::Bytes;

use super::super::Error;
use super::super::pace::Buffer;
use super::super::report::{FailureKind, chain};
use super::super::send::{NotSent, not_sent};
use super::{Fetcher, TRIES, wait_before};
use crate::digest::ETag;
use crate::event::Event;
use crate::path::RelPath;
use crate::remote::error::Kind as RemoteKind;
use crate::remote::object::Head;

/// Bytes of one object.
#[derive(Clone, Copy)]
pub(super) struct Range<'a> {
    pub(super) path: &'a RelPath,
    pub(super) etag: &'a ETag,
    /// Length of the object in bytes.
    pub(super) size: u64,
    /// The first of them.
    pub(super) offset: u64,
    /// How many; all of the object are asked for without a range.
    pub(super) len: u64,
}

/// Where the bytes of a range go.
pub(super) trait Landing: Send {
    /// Begins anew: what came so far is of no use.
    fn restart(&mut self) -> impl Future<Output = Result<(), NotSent>> + Send;
    /// Takes what came next; false when it cannot, and [`Landing::restart`] says why.
    fn take(&mut self, piece: Bytes) -> bool;
    /// Bytes that came.
    fn bytes(&self) -> u64;
}

impl Landing for Buffer {
    async fn restart(&mut self) -> Result<(), NotSent> {
        self.vec.clear();
        Ok(())
    }

    fn take(&mut self, piece: Bytes) -> bool {
        self.vec.extend_from_slice(&piece);
        true
    }

    fn bytes(&self) -> u64 {
        self.vec.len() as u64
    }
}

impl Fetcher<'_> {
    /// Brings a range; a transfer that breaks is begun again.
    pub(super) async fn range(&self, range: Range<'_>, landing: &mut impl Landing) -> Result<Head, NotSent> {
        let Range { path, etag, size, offset, len } = range;
        let bytes = (len != size).then_some(offset..offset + len);
        let mut tried = 0;
        loop {
            landing.restart().await?;
            let observer = &self.ends.observer;
            let mut sink = |piece: Bytes| {
                observer(Event::Moved { path: path.clone(), bytes: piece.len() as u64 });
                landing.take(piece)
            };
            // Boxed, as it is large, and would be moved with everything around it.
            let get = Box::pin(self.ends.bucket.get(path.as_str(), Some((etag, size)), bytes.clone(), &mut sink));
            match self.ends.stop.or(self.pace.arrivals.while_there_is_room(get)).await.ok_or(Error::Stopped)? {
                Ok(head) if landing.bytes() == len => return Ok(head),
                Ok(_) => return Err(NotSent::Item(FailureKind::Integrity, "the bucket sent another number of bytes than it lists".into())),
                Err(e) if e.kind == RemoteKind::NotFound => {
                    return Err(NotSent::Item(FailureKind::Stale, "the bucket removed it after the plan was made".into()));
                }
                Err(e) => {
                    let again = matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled | RemoteKind::Integrity);
                    tried += 1;
                    if !again || tried >= TRIES {
                        // Where it could not be written, this is what to tell.
                        landing.restart().await?;
                        return Err(not_sent(e));
                    }
                    self.ends.tell(Event::Retried { path: path.clone(), bytes: landing.bytes(), why: chain(&e) });
                    self.ends
                        .stop
                        .or(tokio::time::sleep(wait_before(tried, getrandom::u32().unwrap_or(u32::MAX))))
                        .await
                        .ok_or(Error::Stopped)?;
                }
            }
        }
    }
}
