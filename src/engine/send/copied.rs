//! Content that the bucket holds already is copied there instead of being sent: a whole object where it is that, a part of an upload where
//! one is the same. The file is read and hashed all the same, and the ETag of every copy must be the MD5 of what was read: whatever else
//! happens, the content is sent. Nothing is read to find out whether there is something to copy.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::parts::Part;
use super::{Once, Sender, Written};
use crate::digest::{Digests, ETag, Md5, Parts, SINGLE_REQUEST_MAX, part_bytes_for};
use crate::engine::uploads::Begin;
use crate::engine::{Ends, Error};
use crate::entry::Stamp;
use crate::event::Event;
use crate::path::RelPath;
use crate::profile::{Profile, Support};
use crate::remote::copies::{CopyProbe, Original, Twin};
use crate::remote::error::{Error as RemoteError, Kind as RemoteKind};
use crate::remote::multipart::Upload;
use crate::remote::object::{Guard, NONCE, Put, Stored};
use crate::view::Remote;

/// From this size on three requests without content are worth more than one with it.
const ONE_PART_MIN: u64 = 1 << 20;

/// What the bucket holds, by digest, as far as something that is to be sent may be the same; and what its copies are worth.
pub(in crate::engine) struct Originals<'a> {
    ends: Ends,
    objects: &'a [(RelPath, Remote)],
    /// Objects of sizes that are to be sent in one request.
    wholes: HashMap<Md5, usize>,
    /// Parts of the sizes in which something is to be sent: object and index.
    parts: HashMap<Md5, (usize, u64)>,
    /// Objects that are not any more what was listed.
    gone: Mutex<HashSet<usize>>,
    store: Mutex<Profile>,
    /// Whether whole objects may be copied; asked when there is the first to copy.
    asked: OnceCell<bool>,
    whole_off: AtomicBool,
    parts_off: AtomicBool,
}

impl<'a> Originals<'a> {
    /// Of what is listed, what files of these sizes may be made of, on a store of which this is known.
    pub(in crate::engine) fn new(ends: &Ends, objects: &'a [(RelPath, Remote)], sizes: &[u64], store: &Profile) -> Originals<'a> {
        let in_one: HashSet<u64> = sizes.iter().copied().filter(|size| (1..=SINGLE_REQUEST_MAX).contains(size)).collect();
        let in_parts: HashSet<u64> = sizes.iter().filter_map(|size| part_bytes_for(*size)).collect();
        let (whole_off, parts_off) = (!store.may_copy(), !store.may_copy_parts());
        let (mut wholes, mut parts) = (HashMap::new(), HashMap::new());
        let nothing = in_one.is_empty() && in_parts.is_empty() || whole_off && parts_off;
        for (at, (_, remote)) in objects.iter().enumerate().take(if nothing { 0 } else { objects.len() }) {
            let Some(file) = remote.entry.file().filter(|_| remote.object().is_some()) else { continue };
            if let Some(md5) = file.digests.whole.filter(|_| in_one.contains(&file.size)) {
                wholes.entry(md5).or_insert(at);
            }
            if let Some(known) = file.digests.parts.as_deref().filter(|known| in_parts.contains(&known.part_bytes)) {
                for (index, md5) in (0..).zip(&known.md5s) {
                    parts.entry(*md5).or_insert((at, index));
                }
            }
        }
        Originals {
            ends: ends.clone(),
            objects,
            wholes,
            parts,
            gone: Mutex::default(),
            store: Mutex::new(store.clone()),
            asked: OnceCell::new(),
            whole_off: AtomicBool::new(whole_off),
            parts_off: AtomicBool::new(parts_off),
        }
    }

    /// What is known of the store by now, where that is more than it was.
    pub(in crate::engine) fn learnt(&self, before: &Profile) -> Option<Profile> {
        let store = self.store();
        (*store != *before).then(|| store.clone())
    }

    /// An object that holds this content and is not the one at `key` itself.
    fn whole(&self, key: &str, size: u64, md5: Md5) -> Option<(usize, Original)> {
        let at = *self.wholes.get(&md5)?;
        let (original, of_size) = self.original(at)?;
        (of_size == size && original.key != key).then_some((at, original))
    }

    /// An object that holds this content in a range.
    fn part(&self, bytes: u64, md5: Md5) -> Option<(usize, Original, Range<u64>)> {
        let (at, index) = *self.parts.get(&md5).filter(|_| self.may_copy_parts())?;
        let (original, size) = self.original(at)?;
        let part_bytes = self.objects[at].1.entry.file()?.digests.parts.as_ref()?.part_bytes;
        let start = index.checked_mul(part_bytes)?;
        let end = size.min(start.checked_add(part_bytes)?);
        (end.checked_sub(start) == Some(bytes)).then_some((at, original, start..end))
    }

    fn original(&self, at: usize) -> Option<(Original, u64)> {
        if self.gone().contains(&at) {
            return None;
        }
        let (path, remote) = &self.objects[at];
        let (etag, size) = remote.object()?;
        Some((Original { key: path.as_str().to_owned(), etag: etag.clone() }, size))
    }

    /// Whether whole objects may be copied here: known, or asked with a few small requests.
    async fn may_copy_wholes(&self) -> bool {
        if self.whole_off.load(Ordering::Relaxed) {
            return false;
        }
        let known = self.store().clone();
        let is_known = known.copies.is_some() && (!known.is_conditional() || known.conditional_copies.is_some());
        let ask = async || {
            if is_known {
                return known.may_copy();
            }
            // What cannot be asked is not relied on; nothing is kept of it.
            let probe = Box::pin(self.ends.bucket.probe_copies(known.is_conditional()));
            let probe = self.ends.stop.or_soon(probe).await;
            let Some(Ok(CopyProbe { copies, conditional, plain })) = probe else { return false };
            let mut store = self.store();
            (store.copies, store.conditional_copies) = (copies, conditional);
            store.history_copies = store.history_copies.or(plain);
            copies.is_some() && store.may_copy()
        };
        let may = *self.asked.get_or_init(ask).await;
        if !may {
            self.whole_off.store(true, Ordering::Relaxed);
        }
        may
    }

    /// After a copy that was not made: what is not tried again. Sending shows whether it was the way to the store that failed.
    fn not_copied(&self, at: usize, why: &RemoteError, off: &AtomicBool) {
        match why.kind {
            RemoteKind::NotFound | RemoteKind::Precondition => _ = self.gone().insert(at),
            _ => off.store(true, Ordering::Relaxed),
        }
    }

    fn may_copy_parts(&self) -> bool {
        !self.parts_off.load(Ordering::Relaxed)
    }

    /// After a part that was not copied.
    fn part_not_copied(&self, at: usize, why: &RemoteError) {
        if matches!(why.kind, RemoteKind::Unsupported | RemoteKind::Protocol) {
            self.parts_are(Support::Refused);
        }
        self.not_copied(at, why, &self.parts_off);
    }

    fn parts_are(&self, support: Support) {
        self.store().part_copies.get_or_insert(support);
        if support != Support::Honoured {
            self.parts_off.store(true, Ordering::Relaxed);
        }
    }

    fn store(&self) -> MutexGuard<'_, Profile> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender<'_> {
    /// Makes the object of one that holds the same. `None`: it is to be put, as `put` says then.
    pub(super) async fn copied(&self, path: &RelPath, stamp: Stamp, put: &mut Put) -> Result<Option<Written>, Once> {
        let (originals, size) = (self.originals, put.body.len() as u64);
        let Some((at, of)) = originals.whole(&put.key, size, put.md5) else { return Ok(None) };
        let written = if originals.may_copy_wholes().await {
            self.whole_copied(at, of, put).await?
        } else if size >= ONE_PART_MIN && originals.may_copy_parts() {
            self.one_part_copied(at, &of, path, stamp, put).await?
        } else {
            None
        };
        if written.is_some() {
            self.ends.tell(Event::Copied { path: path.clone(), bytes: size });
        }
        Ok(written)
    }

    async fn whole_copied(&self, at: usize, of: Original, put: &mut Put) -> Result<Option<Written>, Once> {
        let (originals, size) = (self.originals, put.body.len() as u64);
        let (guard, about) = (put.guard.clone(), put.about.clone());
        let twin = Twin { of, key: put.key.clone(), size, guard, enforce: put.enforce, about };
        let copy = Box::pin(self.ends.bucket.copy_whole(&twin));
        match self.ends.stop.or_soon(copy).await.ok_or(Once::Run(Error::Stopped))? {
            Ok(stored) if stored.etag.md5() == Some(put.md5) => {
                Ok(Some(Written { stored, digests: Digests::of_whole(put.md5), kept: 0, copied: size }))
            }
            Ok(other) => {
                // A store that answers so once is not asked again, and what it made is replaced, under another nonce.
                originals.whole_off.store(true, Ordering::Relaxed);
                originals.store().copies = Some(Support::Ignored);
                put.guard = Guard::Is(other.etag, size);
                put.about.metadata.retain(|(name, _)| name != NONCE);
                Ok(None)
            }
            Err(e) if e.kind == RemoteKind::Stopped => Err(e.into()),
            Err(e) => {
                originals.not_copied(at, &e, &originals.whole_off);
                Ok(None)
            }
        }
    }

    /// Where copies of whole objects are not guarded as they should be: an upload of one part, of which an object is made, under the guard of
    /// every upload, only when the part is what it should be.
    async fn one_part_copied(&self, at: usize, of: &Original, path: &RelPath, stamp: Stamp, put: &Put) -> Result<Option<Written>, Once> {
        let (upload, open) = match self.uploads.begin(path, stamp, stamp.size, put.about.clone()).await {
            Ok(begun) => begun,
            Err(Begin::Run(e)) => return Err(e.into()),
            Err(Begin::Remote(e)) => {
                self.originals.not_copied(at, &e, &self.originals.parts_off);
                return Ok(None);
            }
        };
        let made = self.one_part(at, of, &upload, put).await;
        match &made {
            Ok(Some(_)) => self.uploads.over(&upload.nonce)?,
            Ok(None) | Err(_) => self.uploads.give_up_and_tell(&open).await?,
        }
        let composite = Parts { part_bytes: stamp.size, md5s: vec![put.md5] }.composite();
        let digests = Digests { composite: Some(Box::new((composite, 1))), ..Digests::of_whole(put.md5) };
        Ok(made?.map(|stored| Written { stored, digests, kept: 0, copied: stamp.size }))
    }

    async fn one_part(&self, at: usize, of: &Original, upload: &Upload, put: &Put) -> Result<Option<Stored>, Once> {
        let (stop, bucket, size) = (&self.ends.stop, &self.ends.bucket, put.body.len() as u64);
        let copy = Box::pin(bucket.copy_part(upload, 1, of, None));
        let etag = match stop.or(copy).await.ok_or(Once::Run(Error::Stopped))? {
            Ok(etag) if etag.md5() == Some(put.md5) => etag,
            Ok(_) => {
                self.originals.parts_are(Support::Ignored);
                return Ok(None);
            }
            Err(e) => {
                self.originals.part_not_copied(at, &e);
                return Ok(None);
            }
        };
        self.uploads.part(&upload.nonce, 1, put.md5, &etag)?;
        let complete = Box::pin(bucket.complete_upload(upload, std::slice::from_ref(&etag), size, &put.guard, put.enforce));
        // Why it failed, if it did, shows when the same content is put under the same guard and nonce.
        Ok(stop.or_soon(complete).await.ok_or(Once::Run(Error::Stopped))?.ok())
    }

    /// Makes a part of one that is the same. `None`: it is to be sent.
    pub(super) async fn part_copied(&self, part: &Part<'_>, md5: Md5) -> Result<Option<ETag>, Once> {
        let (originals, bytes) = (self.originals, part.range.bytes);
        let Some((at, of, range)) = originals.part(bytes, md5) else { return Ok(None) };
        let copy = Box::pin(self.ends.bucket.copy_part(part.upload, part.number, &of, Some(range)));
        match self.ends.stop.or(copy).await.ok_or(Once::Run(Error::Stopped))? {
            Ok(etag) if etag.md5() == Some(md5) => {
                originals.parts_are(Support::Honoured);
                part.file.copied.fetch_add(bytes, Ordering::Relaxed);
                part.file.moved.fetch_add(bytes, Ordering::Relaxed);
                self.ends.tell(Event::Copied { path: part.file.path.clone(), bytes });
                Ok(Some(etag))
            }
            Ok(_) => {
                originals.parts_are(Support::Ignored);
                Ok(None)
            }
            Err(e) if e.kind == RemoteKind::Stopped => Err(e.into()),
            Err(e) => {
                originals.part_not_copied(at, &e);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests {
    use super::*;
    use crate::digest::digest_one;
    use crate::engine::send::tests::Place;
    use crate::entry::{Entry, File, Kind};

    const MIB: u64 = 1 << 20;

    fn object(path: &str, size: u64, digests: Digests) -> (RelPath, Remote) {
        let etag = ETag::parse(&format!("etag of {path}"));
        let file = File { size, digests, etag: Some(etag.clone()), mtime: None };
        let entry = Entry { kind: Kind::File(file), mode: None };
        (RelPath::new(path).unwrap(), Remote { entry: entry.into(), last_modified: None, marker: None })
    }

    /// "An equal size to an object that is listed now and known by (etag, size) with a digest."
    #[tokio::test]
    async fn an_original_has_the_size_and_the_digest_and_is_another_object() {
        let place = Place::new(std::sync::Arc::new(|_| {})).await;
        let (x, y, z) = (digest_one(b"x"), digest_one(b"y"), digest_one(b"z"));
        let parts = |md5s: &[Md5]| Digests::of_parts(Parts { part_bytes: 8 * MIB, md5s: md5s.to_vec() });
        let objects = [
            object("a", 3, Digests::of_whole(x)),
            object("b", 4, Digests::of_whole(y)),
            object("large", 17 * MIB, parts(&[x, y, z])),
            object("other", 17 * MIB, Digests::of_parts(Parts { part_bytes: 5 * MIB, md5s: vec![digest_one(b"5"); 4] })),
        ];
        let of = |sizes: &[u64], store: &Profile| Originals::new(&place.ends, &objects, sizes, store);
        let unknown = Profile::default();
        let originals = of(&[3, 20 * MIB], &unknown);
        let whole = |key: &str, size, md5| originals.whole(key, size, md5).map(|(_, of)| of.key);
        assert_eq!(whole("new", 3, x).as_deref(), Some("a"));
        assert_eq!((whole("a", 3, x), whole("new", 4, x), whole("new", 4, y), whole("new", 3, z)), (None, None, None, None));
        let part = |bytes, md5| originals.part(bytes, md5).map(|(_, of, range)| (of.key, range));
        assert_eq!(part(8 * MIB, y), Some(("large".into(), 8 * MIB..16 * MIB)));
        assert_eq!(part(MIB, z), Some(("large".into(), 16 * MIB..17 * MIB)));
        assert_eq!((part(8 * MIB, z), part(MIB, y), part(5 * MIB, digest_one(b"5"))), (None, None, None));
        originals.gone().insert(2);
        assert_eq!(part(8 * MIB, y), None);
        assert!(of(&[0, 5], &unknown).wholes.is_empty() && of(&[3], &unknown).parts.is_empty());
        let refused = Profile { part_copies: Some(Support::Refused), ..unknown };
        assert!(of(&[20 * MIB], &refused).part(8 * MIB, y).is_none());
    }
}
