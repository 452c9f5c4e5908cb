//! A file in parts: each is hashed and sent, and the object is made of them when the file still is what it was. Sends no file that
//! fits into one request.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::streamed::{MEMORY_BYTES, Range, Streamed};
use super::{Once, Sender, about};
use crate::digest::{Digests, ETag, Md5, Parts, digest_one};
use crate::engine::{Error, blocking};
use crate::entry::Stamp;
use crate::event::Event;
use crate::local::hash::{ReadError, Source};
use crate::path::RelPath;
use crate::remote::body::Body;
use crate::remote::error::Kind as RemoteKind;
use crate::remote::multipart::Upload;
use crate::remote::object::{Guard, Stored};

/// Parts of one file in flight; memory and request bounds hold besides.
const PARTS_IN_FLIGHT: usize = 16;

impl Sender<'_> {
    pub(super) async fn in_parts(&self, path: &RelPath, stamp: Stamp, part_bytes: u64, guard: &Guard) -> Result<(Stored, Digests), Once> {
        let (mount, at) = (self.ends.mount.clone(), path.clone());
        let source = blocking(move || Source::open(&mount, &at, &stamp)).await??;
        let source = Arc::new(source);
        let begin = self.ends.bucket.begin_upload(path.as_str(), about(path, stamp));
        let upload = begin.await?;
        let moved = Arc::new(AtomicU64::new(0));
        let sent = self.parts(path, &source, stamp.size, part_bytes, &upload, &moved).await;
        let finished = match sent {
            Ok((etags, md5s)) => {
                // The file must still be what it was: a torn one is never made an object.
                let check = source.clone();
                match blocking(move || check.unchanged()).await.map_err(Once::from).and_then(|r| r.map_err(Once::from)) {
                    Ok(()) => self
                        .ends
                        .bucket
                        .complete_upload(&upload, &etags, stamp.size, guard, self.enforce)
                        .await
                        .map(|stored| (stored, Digests::of_parts(Parts { part_bytes, md5s })))
                        .map_err(Once::from),
                    Err(e) => Err(e),
                }
            }
            Err(e) => Err(e),
        };
        if finished.is_err() {
            // Parts that came through count no more: without all of them there is no object.
            self.take_back(path, &moved, "not all of it could be sent");
            // Best effort: what stays behind is found by its age, and the first error is the one to tell.
            if let Err(e) = self.ends.bucket.abort_upload(&upload).await {
                self.ends.tell(Event::Warning(format!("an unfinished upload of {path} could not be removed: {e}")));
            }
        }
        finished
    }

    async fn parts(
        &self,
        path: &RelPath,
        source: &Arc<Source>,
        size: u64,
        part_bytes: u64,
        upload: &Upload,
        moved: &Arc<AtomicU64>,
    ) -> Result<(Vec<ETag>, Vec<Md5>), Once> {
        let count = size.div_ceil(part_bytes);
        let mut sending = stream::iter(0..count)
            .map(|index| async move {
                let offset = index * part_bytes;
                let len = part_bytes.min(size - offset);
                let number = u32::try_from(index + 1).map_err(|_| Error::Worker("too many parts".into()))?;
                let range = Range { source: source.clone(), offset, bytes: len };
                let part = Part { path, upload, number, range, moved };
                if len > self.buffered_max { self.streamed(part).await } else { self.buffered(part).await }
            })
            .buffered(PARTS_IN_FLIGHT);
        let (mut etags, mut md5s) = (Vec::new(), Vec::new());
        while let Some(part) = sending.next().await {
            let (etag, md5) = part?;
            etags.push(etag);
            md5s.push(md5);
        }
        Ok((etags, md5s))
    }

    /// A part that is read whole, hashed, and sent from the same buffer.
    async fn buffered(&self, part: Part<'_>) -> Result<(ETag, Md5), Once> {
        let Range { source, offset, bytes } = part.range.clone();
        let _turn = self.pace.turn(bytes).await?;
        let mut buffer = self.pace.buffer(bytes);
        let (body, md5) = blocking(move || -> Result<(Bytes, Md5), ReadError> {
            source.read(offset, usize::try_from(bytes).map_err(|_| ReadError::Changed)?, &mut buffer.vec)?;
            source.unchanged()?; // or all the parts to come would be sent for nothing
            let md5 = digest_one(&buffer.vec);
            Ok((Bytes::from_owner(buffer), md5))
        })
        .await??;
        Ok((self.send_part(&part, Body::Whole(body), md5).await?, md5))
    }

    /// A part that is hashed, and then read once more as it is sent, and compared.
    async fn streamed(&self, part: Part<'_>) -> Result<(ETag, Md5), Once> {
        let _turn = self.pace.turn_with(part.range.bytes, MEMORY_BYTES).await?;
        let md5 = part.range.md5(&self.ends.stop).await??;
        let streamed = Streamed::new(part.range.clone(), md5);
        match self.send_part(&part, streamed.body(), md5).await {
            Ok(etag) => {
                streamed.verdict()?;
                Ok((etag, md5))
            }
            Err(Once::Remote(e)) if e.kind == RemoteKind::Stopped => Err(streamed.verdict().err().map_or(e.into(), Once::Read)),
            Err(e) => Err(e),
        }
    }

    async fn send_part(&self, part: &Part<'_>, body: Body, md5: Md5) -> Result<ETag, Once> {
        let sent = self.told(part.path, part.moved, Box::pin(self.ends.bucket.upload_part(part.upload, part.number, body, md5)));
        Ok(self.ends.stop.or(sent).await.ok_or(Once::Run(Error::Stopped))??)
    }
}

/// One part to send.
struct Part<'a> {
    path: &'a RelPath,
    upload: &'a Upload,
    /// From 1.
    number: u32,
    range: Range,
    /// What has gone out for the file in all.
    moved: &'a Arc<AtomicU64>,
}
