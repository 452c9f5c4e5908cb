//! A file in parts: each is hashed and sent, and the object is made of them when the file still is what it was. Sends no file that
//! fits into one request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use super::streamed::{MEMORY_BYTES, Range, Streamed};
use super::turns::Turns;
use super::{BUFFERED_MAX, Once, Sender, Written, about};
use crate::digest::{Digests, ETag, Md5, Parts};
use crate::engine::pace::Buffer;
use crate::engine::{Error, blocking};
use crate::entry::Stamp;
use crate::event::Event;
use crate::local::hash::{ReadError, Source};
use crate::local::uploads::OpenUpload;
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::remote::body::Body;
use crate::remote::error::{Error as RemoteError, Kind as RemoteKind};
use crate::remote::multipart::Upload;
use crate::remote::object::Guard;

/// Parts of one file in flight; memory and request bounds hold besides.
const PARTS_IN_FLIGHT: usize = 16;

impl Sender<'_> {
    /// Sends a file in parts of `part_bytes`; where a run before has sent some of them, it goes on from there.
    pub(super) async fn in_parts(&self, path: &RelPath, stamp: Stamp, part_bytes: u64, guard: &Guard) -> Result<(Written, Witness), Once> {
        let (mount, at) = (self.ends.mount.clone(), path.clone());
        let open = self.opener();
        let source = Arc::new(blocking(move || open(&mount, &at, &stamp)).await??);
        let witness = source.witness();
        let (turns, moved, kept, copied) = (Turns::new(), Arc::default(), AtomicU64::new(0), AtomicU64::new(0));
        let file = InParts { path, source, stamp, part_bytes, turns, moved, kept, copied };
        if let Some(open) = self.uploads.take(path, stamp, part_bytes).await?
            && let Some((upload, open)) = self.go_on(&file, open).await?
        {
            match self.send_the_rest(&file, upload, open, guard).await {
                // What the store held is not what it said: all of it is sent anew.
                Err(Once::Remote(e)) if matches!(e.kind, RemoteKind::NotFound | RemoteKind::Integrity) => {}
                ended => return Ok((ended?, witness)),
            }
        }
        let (upload, open) = self.uploads.begin(path, stamp, part_bytes, about(path, stamp)).await?;
        Ok((self.send_the_rest(&file, upload, open, guard).await?, witness))
    }

    /// What the store still holds of an upload that was left open; without an answer that helps, it is given up.
    async fn go_on(&self, file: &InParts<'_>, mut open: OpenUpload) -> Result<Option<(Upload, OpenUpload)>, Once> {
        let id = open.id.clone().unwrap_or_default();
        let upload = Upload { key: file.path.as_str().to_owned(), id, nonce: open.nonce.clone(), lost: 0 };
        let asked = self.ends.stop.or(self.ends.bucket.parts(&upload)).await;
        match asked {
            None => {
                self.uploads.keep(open);
                Err(Once::Run(Error::Stopped))
            }
            Some(Ok(there)) => {
                open.parts = usable(&open, &there);
                Ok(Some((upload, open)))
            }
            Some(Err(e)) if stays(&e) => {
                self.uploads.keep(open);
                Err(e.into())
            }
            Some(Err(_)) => {
                self.uploads.give_up_and_tell(&open).await?;
                Ok(None)
            }
        }
    }

    /// Sends the parts that are missing and makes the object. An upload that fails is given up, unless only the way to the store failed,
    /// or the run was stopped: then what the store has taken waits for the next run.
    async fn send_the_rest(&self, file: &InParts<'_>, upload: Upload, mut open: OpenUpload, guard: &Guard) -> Result<Written, Once> {
        let taken = Mutex::new(std::mem::take(&mut open.parts));
        let finished = match self.whole_parts(file, &upload, &taken).await {
            Ok(sent) => self.complete(file, &upload, sent, guard).await,
            Err(e) => Err(e),
        };
        match finished {
            Ok(written) => {
                self.uploads.over(&upload.nonce)?;
                Ok(written)
            }
            Err(e) => {
                // Parts that came through count no more: without all of them there is no object.
                self.take_back(file.path, &file.moved, "not all of it could be sent");
                file.kept.store(0, Ordering::Relaxed);
                file.copied.store(0, Ordering::Relaxed);
                open.parts = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
                // Of a run that ends, nothing is left that holds nothing.
                match goes_on(&e) && !(open.parts.is_empty() && self.ends.stop.asked()) {
                    true => self.uploads.keep(open),
                    false => self.uploads.give_up_and_tell(&open).await?,
                }
                Err(e)
            }
        }
    }

    async fn complete(&self, file: &InParts<'_>, upload: &Upload, sent: (Vec<ETag>, Vec<Md5>), guard: &Guard) -> Result<Written, Once> {
        let (etags, md5s) = sent;
        // The file must still be what it was: a torn one is never made an object.
        let check = file.source.clone();
        blocking(move || check.unchanged()).await??;
        let sent_parts = Parts { part_bytes: file.part_bytes, md5s: md5s.clone() };
        self.still_begins_with(file.path, file.stamp, &Digests::of_parts(sent_parts)).await?;
        if let Some(gate) = self.gate {
            gate.pass().await?;
        }
        let mut stored = self.ends.bucket.complete_upload(upload, &etags, file.stamp.size, guard, self.enforce).await?;
        if file.part_bytes <= BUFFERED_MAX && none_fits(&etags, &md5s) {
            // Either its ETags are no MD5s, or every part was damaged on its way: the first tells which.
            let begins = self.ends.bucket.begins_with(file.path.as_str(), file.part_bytes.min(file.stamp.size), md5s[0]).await;
            stored.damaged = !begins.unwrap_or(false);
        }
        let held = if stored.damaged { etags.iter().filter_map(ETag::md5).collect() } else { md5s };
        let digests = Digests::of_parts(Parts { part_bytes: file.part_bytes, md5s: held });
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Ok(Written { stored, digests, kept: of(&file.kept), copied: of(&file.copied) })
    }

    /// All parts, and once more those that were damaged on their way to a store that does not check.
    async fn whole_parts(&self, file: &InParts<'_>, upload: &Upload, taken: &Mutex<Taken>) -> Result<(Vec<ETag>, Vec<Md5>), Once> {
        let sent = self.parts(file, upload, taken).await?;
        let bad = damaged(&sent);
        if bad.is_empty() {
            return Ok(sent);
        }
        let kept = file.kept.load(Ordering::Relaxed);
        self.take_back(file.path, &file.moved, "the store took other bytes than were sent");
        taken.lock().unwrap_or_else(PoisonError::into_inner).retain(|number, _| !bad.contains(number));
        let sent = self.parts(file, upload, taken).await?;
        file.kept.store(kept, Ordering::Relaxed);
        if damaged(&sent).is_empty() {
            return Ok(sent);
        }
        let message = "the store takes other bytes than are sent; what it held before is untouched".into();
        let doing = format!("cannot put {}", file.path);
        Err(Once::Remote(RemoteError { kind: RemoteKind::Integrity, doing, message, hint: None }))
    }

    /// All parts, those that `taken` tells and those that are sent now; `taken` learns of these.
    async fn parts(&self, file: &InParts<'_>, upload: &Upload, taken: &Mutex<Taken>) -> Result<(Vec<ETag>, Vec<Md5>), Once> {
        let (size, part_bytes) = (file.stamp.size, file.part_bytes);
        let before = taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = &before;
        let mut sending = stream::iter(0..size.div_ceil(part_bytes))
            .map(|index| async move {
                let number = u32::try_from(index + 1).map_err(|_| Error::Worker("too many parts".into()))?;
                let offset = index * part_bytes;
                let bytes = part_bytes.min(size - offset);
                let part = Part { file, upload, number, range: Range { source: file.source.clone(), offset, bytes } };
                if let Some((md5, etag)) = before.get(&number)
                    && self.is_there(&part, *md5).await?
                {
                    return Ok((etag.clone(), *md5));
                }
                let (etag, md5) = if bytes > self.buffered_max { self.streamed(&part).await? } else { self.buffered(&part).await? };
                taken.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (md5, etag.clone()));
                self.uploads.part(&upload.nonce, number, md5, &etag)?;
                Ok::<_, Once>((etag, md5))
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

    /// Whether a part that the store holds is what the file has there; the file's times may have been set back.
    async fn is_there(&self, part: &Part<'_>, md5: Md5) -> Result<bool, Once> {
        let _turn = self.pace.part_turn_with(MEMORY_BYTES).await?;
        if part.range.md5(&self.ends.stop).await?? != md5 {
            return Ok(false);
        }
        let bytes = part.range.bytes;
        part.file.kept.fetch_add(bytes, Ordering::Relaxed);
        part.file.moved.fetch_add(bytes, Ordering::Relaxed);
        self.ends.tell(Event::Moved { path: part.file.path.clone(), bytes });
        Ok(true)
    }

    /// A part that is read whole, hashed, and sent from the same buffer.
    async fn buffered(&self, part: &Part<'_>) -> Result<(ETag, Md5), Once> {
        let Range { source, offset, bytes } = part.range.clone();
        let _turn = self.pace.part_turn_with(bytes).await?;
        let mut buffer = self.pace.buffer(bytes);
        let read = move || -> Result<(Buffer, ()), ReadError> {
            source.read(offset, usize::try_from(bytes).map_err(|_| ReadError::Changed)?, &mut buffer.vec)?;
            source.unchanged()?; // or all the parts to come would be sent for nothing
            Ok((buffer, ()))
        };
        let (body, md5, ()) = self.pace.hashing.filled(bytes, read).await??;
        if let Some(etag) = self.part_copied(part, md5).await? {
            return Ok((etag, md5));
        }
        Ok((self.send_part(part, Body::Whole(body), md5).await?, md5))
    }

    /// A part that is hashed, and then read once more as it is sent, and compared.
    async fn streamed(&self, part: &Part<'_>) -> Result<(ETag, Md5), Once> {
        let _turn = self.pace.part_turn_with(MEMORY_BYTES).await?;
        let md5 = part.range.md5(&self.ends.stop).await??;
        if let Some(etag) = self.part_copied(part, md5).await? {
            return Ok((etag, md5));
        }
        let streamed = Streamed::new(part.range.clone(), md5);
        match self.send_part(part, streamed.body(), md5).await {
            Ok(etag) => {
                streamed.verdict()?;
                Ok((etag, md5))
            }
            Err(Once::Remote(e)) if e.kind == RemoteKind::Stopped => Err(streamed.verdict().err().map_or(e.into(), Once::Read)),
            Err(e) => Err(e),
        }
    }

    async fn send_part(&self, part: &Part<'_>, body: Body, md5: Md5) -> Result<ETag, Once> {
        let ready = self.pace.hashing.ready();
        let mut turn = self.ends.stop.or(part.file.turns.turn(part.range.bytes)).await.ok_or(Once::Run(Error::Stopped))?;
        let _way = self.pace.way(part.range.bytes).await?;
        drop(ready);
        let all_out = Arc::new(Notify::new());
        let request = Box::pin(self.ends.bucket.upload_part(part.upload, part.number, body, md5));
        let mut sent = std::pin::pin!(self.told(part.file.path, &part.file.moved, Some((part.range.bytes, all_out.clone())), request));
        let sent = async {
            tokio::select! {
                answered = &mut sent => answered,
                () = all_out.notified() => {
                    turn.is_out();
                    sent.await
                }
            }
        };
        let etag = self.ends.stop.or(sent).await.ok_or(Once::Run(Error::Stopped))??;
        turn.done();
        Ok(etag)
    }
}

/// A file that goes in parts.
pub(super) struct InParts<'a> {
    pub(super) path: &'a RelPath,
    source: Arc<Source>,
    stamp: Stamp,
    part_bytes: u64,
    turns: Turns,
    /// What has gone out for the file in all.
    pub(super) moved: Arc<AtomicU64>,
    /// Bytes that an earlier run had sent.
    kept: AtomicU64,
    /// Bytes that were copied in the bucket.
    pub(super) copied: AtomicU64,
}

/// One part to send.
pub(super) struct Part<'a> {
    pub(super) file: &'a InParts<'a>,
    pub(super) upload: &'a Upload,
    /// From 1.
    pub(super) number: u32,
    pub(super) range: Range,
}

/// Parts that the store took, by number.
type Taken = BTreeMap<u32, (Md5, ETag)>;

/// Numbers of the parts whose ETags are other MD5s than theirs, on a store that gave others of the same file their MD5.
fn damaged((etags, md5s): &(Vec<ETag>, Vec<Md5>)) -> Vec<u32> {
    let parts = || (1..).zip(etags.iter().map(ETag::md5).zip(md5s));
    let tells = parts().any(|(_, (etag, md5))| etag.as_ref() == Some(md5));
    parts().filter(|(_, (etag, md5))| tells && etag.as_ref().is_some_and(|etag| etag != *md5)).map(|(number, _)| number).collect()
}

/// True when every part was answered with an MD5 that is not its own.
fn none_fits(etags: &[ETag], md5s: &[Md5]) -> bool {
    etags.iter().map(ETag::md5).zip(md5s).all(|(etag, md5)| etag.is_some_and(|etag| etag != *md5))
}

/// True where nothing is wrong with the file nor with what was sent of it.
fn goes_on(why: &Once) -> bool {
    match why {
        Once::Remote(e) => e.kind == RemoteKind::Stopped || stays(e),
        Once::Held => true,
        Once::Run(Error::Stopped) | Once::Read(ReadError::Stopped) => true,
        Once::Run(_) | Once::Read(_) | Once::Damaged(_) => false,
    }
}

/// True where only the way to the store failed, or the right to use it: what was sent may be gone on from.
fn stays(error: &crate::remote::error::Error) -> bool {
    matches!(error.kind, RemoteKind::Unreachable | RemoteKind::Throttled | RemoteKind::Denied | RemoteKind::Refused | RemoteKind::Full)
}

/// The parts that need not be sent again if the file still has them: of the right length, and either as they were journalled or with an
/// ETag that may be their MD5. Reading the file decides.
fn usable(open: &OpenUpload, there: &[crate::remote::open::Part]) -> Taken {
    let bytes_of = |number: u32| {
        let offset = u64::from(number).checked_sub(1)? * open.part_bytes;
        open.stamp.size.checked_sub(offset).map(|rest| rest.min(open.part_bytes))
    };
    let usable = there.iter().filter(|part| bytes_of(part.number) == Some(part.size)).filter_map(|part| {
        let journalled = open.parts.get(&part.number).filter(|(_, etag)| *etag == part.etag).map(|(md5, _)| *md5);
        Some((part.number, (journalled.or_else(|| part.etag.md5())?, part.etag.clone())))
    });
    usable.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_one;
    use crate::remote::open::Part;

    #[test]
    fn a_part_is_damaged_where_others_show_that_etags_are_md5s() {
        let (x, y) = (digest_one(b"x"), digest_one(b"y"));
        let check = |etags: &[String], expected: &[u32]| {
            let sent = (etags.iter().map(|etag| ETag::parse(etag)).collect(), vec![x; etags.len()]);
            assert_eq!(damaged(&sent), expected, "{etags:?}");
        };
        check(&[x.hex(), y.hex(), x.hex()], &[2]);
        check(&[y.hex(), x.hex(), "odd".into()], &[1]);
        check(&[y.hex(), y.hex()], &[]);
        check(&[x.hex(), x.hex()], &[]);
    }

    #[test]
    fn parts_are_usable_where_length_and_etag_fit() {
        let (x, y) = (digest_one(b"x"), digest_one(b"y"));
        let journalled = |etag: &str| (x, ETag::parse(etag));
        let open = OpenUpload {
            nonce: "n".into(),
            path: RelPath::new("a").unwrap(),
            stamp: Stamp { size: 25, mtime: 0, ctime: 0, inode: 0 },
            part_bytes: 10,
            since: 0,
            id: Some("u".into()),
            lost: 0,
            parts: BTreeMap::from([(1, journalled("odd")), (2, journalled("odd"))]),
        };
        let check = |number, size, etag: &str, expected: Option<Md5>| {
            let found = usable(&open, &[Part { number, size, etag: ETag::parse(etag) }]);
            assert_eq!(found.get(&number).map(|(md5, _)| *md5), expected, "{number} {size} {etag}");
        };
        check(1, 10, "odd", Some(x));
        check(1, 9, "odd", None);
        check(1, 10, "other", None);
        check(1, 10, &y.hex(), Some(y));
        check(3, 5, &y.hex(), Some(y));
        check(3, 5, "odd", None);
        check(3, 10, &y.hex(), None);
        check(4, 0, &y.hex(), None);
        check(0, 10, &y.hex(), None);
    }
}
