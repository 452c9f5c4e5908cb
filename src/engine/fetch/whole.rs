//! A small object, which comes in one request: checked in memory; then one thread writes it, makes it durable and puts it into place, all
//! in one go.

use super::super::arrived::{check_buffer, trusted};
use super::super::blocking;
use super::super::hashing::{digest_here, is_small};
use super::super::pace::Buffer;
use super::super::report::{FailureKind, Proof};
use super::super::send::NotSent;
use super::request::Range;
use super::{Asked, Brought, Fetcher, not_placed};
use crate::digest::{Digests, ETag, Md5};
use crate::entry::Stamp;
use crate::event::Event;
use crate::local::place::{PlaceError, Temp};

/// What became of content that was as it should be.
enum Went {
    /// It is in place.
    Placed(Stamp),
    /// It is written, and waits for a better proof.
    Written(Temp),
}

impl Fetcher<'_> {
    /// Brings the object in one request.
    pub(super) async fn whole(&self, asked: &Asked<'_>, etag: &ETag) -> Result<Brought, NotSent> {
        let (path, source, size) = (&asked.transfer.path, asked.source, asked.source.size);
        for _ in 0..2 {
            let turn = self.pace.turn(size).await?;
            let mut buffer = self.pace.buffer(size);
            let coming = (!is_small(size)).then(|| self.pace.hashing.coming());
            let head = self.range(Range { path, etag, size, offset: 0, len: size }, &mut buffer).await?;
            drop(coming);
            let (wanted, twice) = (trusted(source, Some(&head)), self.twice);
            let (mtime, mode) = (asked.mtime(Some(&head)), asked.mode());
            let (mount, workplace, at, over) = (self.ends.mount.clone(), self.workplace.clone(), path.clone(), asked.seen.clone());
            let place = move |temp: Temp| -> Result<Stamp, PlaceError> {
                temp.finish(mtime, mode)?;
                workplace.place(&mount, temp, &at, &over)
            };
            let (placing, workplace) = (place.clone(), self.workplace.clone());
            let write = move |(buffer, md5): (Buffer, Md5)| -> Result<Option<(Digests, Proof, Went)>, PlaceError> {
                let Some((digests, proof)) = check_buffer(&buffer.vec, md5, &wanted) else { return Ok(None) };
                let temp = workplace.temp(size)?;
                temp.write_at(0, &buffer.vec)?;
                drop(buffer);
                let went = if twice && proof == Proof::Size { Went::Written(temp) } else { Went::Placed(placing(temp)?) };
                Ok(Some((digests, proof, went)))
            };
            let written = if is_small(size) {
                self.pace.hashing.errands.run(move || write(digest_here(buffer))).await?
            } else {
                let hashed = self.pace.hashing.digest(buffer).await?;
                blocking(move || write(hashed)).await?
            };
            drop(turn);
            match written.map_err(not_placed)? {
                Some((digests, proof, Went::Placed(stamp))) => return Ok(Brought { digests, proof, stamp, kept: 0, copied: 0 }),
                Some((digests, proof, Went::Written(temp))) => {
                    Box::pin(self.is_there_again(path, size, etag, &digests)).await?;
                    let stamp = blocking(move || place(temp)).await?.map_err(not_placed)?;
                    return Ok(Brought { digests, proof, stamp, kept: 0, copied: 0 });
                }
                None => {
                    let why = "its digest does not match".into();
                    self.ends.tell(Event::Retried { path: path.clone(), bytes: size, why });
                }
            }
        }
        Err(NotSent::Item(FailureKind::Integrity, "what the bucket sends does not match its digest; the old file is untouched".into()))
    }
}
