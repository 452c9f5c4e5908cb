//! The uploads in parts of this run and of those before it: journalled before the store is asked, so that what a crash leaves open goes on
//! or is given up. Never gives up an upload that is not ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::{Ends, Error, blocking};
use crate::digest::{ETag, Md5};
use crate::entry::Stamp;
use crate::event::Event;
use crate::local::lock::now;
use crate::local::uploads::{self, OpenUpload, UploadJournal};
use crate::path::RelPath;
use crate::remote::error::{Error as RemoteError, Kind as RemoteKind};
use crate::remote::multipart::Upload;
use crate::remote::object::{About, NONCE};
use crate::remote::open::Begun;

/// How much older than our word an upload may seem that we began: clocks are told in whole seconds.
const SLACK_SECONDS: i64 = 2;
/// How much later than our word the last try to begin may have arrived: the time that all tries may take, and one answer's.
const TRIES_SECONDS: i64 = 180;

/// What becomes of an upload that a run before left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may go on, now or in a later run.
    Keep,
    /// It is aborted.
    GiveUp,
}

/// What became of an upload that was to be given up.
pub(super) enum GivenUp {
    /// It is gone.
    Gone,
    /// It is still there, for this reason.
    Left(RemoteError),
    /// Others may have begun some for the same key at the same time: none was touched.
    NotSure(usize),
}

/// One run's uploads.
pub(super) struct Uploads {
    ends: Ends,
    operation: String,
    /// Created with the first upload.
    journal: OnceCell<Arc<UploadJournal>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Those that may go on.
    waiting: Vec<OpenUpload>,
    /// The nonces of all of which the journal tells no end.
    open: BTreeSet<String>,
}

impl Uploads {
    /// None so far.
    pub(super) fn new(ends: &Ends, operation: &str) -> Uploads {
        Uploads { ends: ends.clone(), operation: operation.to_owned(), journal: OnceCell::new(), inner: Mutex::default() }
    }

    /// True when runs before left something open. Needs no lock.
    pub(super) async fn are_left(ends: &Ends) -> Result<bool, Error> {
        let (mount, bucket) = (ends.mount.clone(), ends.bucket.clone());
        let left = blocking(move || uploads::left(&mount, bucket.name(), bucket.prefix().as_str(), "")).await??;
        Ok(!left.is_empty())
    }

    /// Takes over what runs before left open: this run's journal tells it from now on. The caller holds the lock.
    pub(super) async fn take_over(&self, fate: impl Fn(&OpenUpload) -> Fate + Send + 'static) -> Result<(), Error> {
        let (mount, bucket, operation) = (self.ends.mount.clone(), self.ends.bucket.clone(), self.operation.clone());
        let left = blocking(move || uploads::left(&mount, bucket.name(), bucket.prefix().as_str(), &operation)).await??;
        if left.is_empty() {
            return Ok(());
        }
        let mut fates = Vec::new();
        if !left.open.is_empty() {
            let journal = self.journal().await?;
            let open = left.open.clone();
            fates = blocking(move || -> Result<Vec<_>, Error> {
                open.iter().try_for_each(|open| journal.note(open))?;
                Ok(open.into_iter().map(|open| (fate(&open), open)).collect())
            })
            .await??;
        }
        let mount = self.ends.mount.clone();
        blocking(move || left.forget(&mount)).await??;
        self.locked().open.extend(fates.iter().map(|(_, open)| open.nonce.clone()));
        for (fate, mut open) in fates {
            if fate == Fate::GiveUp {
                self.give_up_and_tell(&open).await?;
                continue;
            }
            if open.lost > 0
                && let GivenUp::Gone = self.abort_lost(&open).await
            {
                open.lost = 0;
            }
            self.locked().waiting.push(open);
        }
        Ok(())
    }

    /// The upload that was left open of just this file in just these parts, the one that got furthest. All others of that file are given up.
    pub(super) async fn take(&self, path: &RelPath, stamp: Stamp, part_bytes: u64) -> Result<Option<OpenUpload>, Error> {
        let mut of_path: Vec<OpenUpload> = self.locked().waiting.extract_if(.., |open| open.path == *path).collect();
        let fits = |open: &OpenUpload| open.stamp == stamp && open.part_bytes == part_bytes;
        let furthest = (0..of_path.len()).filter(|at| fits(&of_path[*at])).max_by_key(|at| of_path[*at].parts.len());
        let taken = furthest.map(|at| of_path.swap_remove(at));
        for other in of_path {
            self.give_up_and_tell(&other).await?;
        }
        Ok(taken)
    }

    /// All that wait.
    pub(super) fn drain(&self) -> Vec<OpenUpload> {
        std::mem::take(&mut self.locked().waiting)
    }

    /// Begins an upload: our word that it is ours is on disk before the store hears of it.
    pub(super) async fn begin(&self, path: &RelPath, stamp: Stamp, part_bytes: u64, about: About) -> Result<(Upload, OpenUpload), Begin> {
        let nonce = about.metadata.iter().find(|(name, _)| name == NONCE).map(|(_, nonce)| nonce.clone()).unwrap_or_default();
        let parts = std::collections::BTreeMap::new();
        let mut open = OpenUpload { nonce, path: path.clone(), stamp, part_bytes, since: self.store_now(), id: None, lost: 0, parts };
        let journal = self.journal().await?;
        let (noted, word) = (open.clone(), journal.clone());
        blocking(move || word.note(&noted)).await??;
        self.locked().open.insert(open.nonce.clone());
        let upload = match self.ends.bucket.begin_upload(path.as_str(), about).await {
            Ok(upload) => upload,
            Err(e) => {
                // Where it may have been begun all the same, a later run looks for it.
                if !matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled | RemoteKind::Protocol) {
                    self.over(&open.nonce)?;
                }
                return Err(Begin::Remote(e));
            }
        };
        (open.id, open.lost) = (Some(upload.id.clone()), upload.lost);
        if open.lost > 0
            && let GivenUp::Gone = self.abort_lost(&open).await
        {
            open.lost = 0;
        }
        let (nonce, id, lost) = (open.nonce.clone(), upload.id.clone(), open.lost);
        blocking(move || journal.begun(&nonce, &id, lost)).await??;
        Ok((upload, open))
    }

    /// Notes a part that the store took.
    pub(super) fn part(&self, nonce: &str, number: u32, md5: Md5, etag: &ETag) -> Result<(), Error> {
        Ok(self.journal.get().map_or(Ok(()), |journal| journal.part(nonce, number, md5, etag))?)
    }

    /// Notes that an upload is over.
    pub(super) fn over(&self, nonce: &str) -> Result<(), Error> {
        let was_open = self.locked().open.remove(nonce);
        Ok(self.journal.get().filter(|_| was_open).map_or(Ok(()), |journal| journal.over(nonce))?)
    }

    /// Aborts an upload of ours, and whatever was begun beside it.
    pub(super) async fn give_up(&self, open: &OpenUpload) -> Result<GivenUp, Error> {
        if let Some(id) = &open.id {
            let upload = Upload { key: open.path.as_str().to_owned(), id: id.clone(), nonce: open.nonce.clone(), lost: 0 };
            if let Err(e) = self.ends.bucket.abort_upload(&upload).await {
                return Ok(GivenUp::Left(e));
            }
        }
        let lost = if open.id.is_none() || open.lost > 0 { self.abort_lost(open).await } else { GivenUp::Gone };
        if !matches!(lost, GivenUp::Left(_)) {
            self.over(&open.nonce)?;
        }
        Ok(lost)
    }

    /// [`Uploads::give_up`], with a warning where something is left.
    pub(super) async fn give_up_and_tell(&self, open: &OpenUpload) -> Result<(), Error> {
        let path = &open.path;
        match self.give_up(open).await? {
            GivenUp::Gone => {}
            GivenUp::Left(e) => {
                let text = format!("an unfinished upload of {path} could not be removed; the next upload tries again: {e}");
                self.ends.tell(Event::Warning(text));
            }
            GivenUp::NotSure(n) => {
                let text = format!("{n} unfinished uploads of {path} may be ours or another's, and stay; `lsync clean` lists them");
                self.ends.tell(Event::Warning(text));
            }
        }
        Ok(())
    }

    /// Leaves an upload open for a later run, and says so.
    pub(super) fn keep(&self, open: OpenUpload) {
        let (path, parts) = (&open.path, open.parts.len());
        let of = open.stamp.size.div_ceil(open.part_bytes);
        let lasts = self.journal.get().is_some_and(|journal| journal.lasts());
        let then = if lasts { "the next upload goes on from them" } else { "nothing remembers them: `lsync clean` lists them" };
        let text = format!("{path}: {parts} of {of} parts are in the bucket and stay there; {then}");
        self.ends.tell(Event::Warning(text));
        self.locked().waiting.push(open);
    }

    /// Ends the journal: it goes when nothing is open, and stays for the next run otherwise.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let Some(journal) = self.journal.get().cloned() else { return Ok(()) };
        let (mount, open) = (self.ends.mount.clone(), !self.locked().open.is_empty());
        Ok(blocking(move || if open { journal.sync() } else { journal.remove(&mount) }).await??)
    }

    /// Aborts what was begun by tries whose answers were lost: uploads of this very key, begun after our word by no more than what tries
    /// take, that hold nothing; and none of them where there are more than there were tries.
    async fn abort_lost(&self, open: &OpenUpload) -> GivenUp {
        let bucket = &self.ends.bucket;
        let key = open.path.as_str();
        let listed = match bucket.open_uploads(key).await {
            Ok(listed) => listed,
            Err(e) if matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled) => return GivenUp::Left(e),
            // A store that does not tell cannot be asked again either.
            Err(_) => return GivenUp::Gone,
        };
        let mut empty = Vec::new();
        for begun in may_be_ours(&listed, open) {
            let upload = Upload { key: key.to_owned(), id: begun.id.clone(), nonce: open.nonce.clone(), lost: 0 };
            match bucket.parts(&upload).await {
                Ok(parts) if parts.is_empty() => empty.push(upload),
                Err(e) if matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled) => return GivenUp::Left(e),
                // Not ours, which hold nothing; or gone.
                _ => {}
            }
        }
        let most = if open.id.is_none() { 1 } else { open.lost as usize };
        if empty.len() > most {
            return GivenUp::NotSure(empty.len());
        }
        for upload in empty {
            if let Err(e) = bucket.abort_upload(&upload).await {
                return GivenUp::Left(e);
            }
        }
        GivenUp::Gone
    }

    async fn journal(&self) -> Result<Arc<UploadJournal>, Error> {
        let create = async || {
            let (mount, bucket, operation) = (self.ends.mount.clone(), self.ends.bucket.clone(), self.operation.clone());
            let create = move || loop {
                match UploadJournal::create(&mount, bucket.name(), bucket.prefix().as_str(), &operation) {
                    // Only an upload has such a journal.
                    Err(e) if mount.keep_elsewhere(&e) => {}
                    created => return created,
                }
            };
            Ok::<_, Error>(Arc::new(blocking(create).await??))
        };
        self.journal.get_or_try_init(create).await.cloned()
    }

    /// The store's clock in seconds, by what its answers have told so far; rather too early.
    fn store_now(&self) -> i64 {
        now().div_euclid(1_000_000_000) + self.ends.bucket.clock_offset_seconds().unwrap_or(0) - SLACK_SECONDS
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an upload was not begun.
pub(super) enum Begin {
    Remote(RemoteError),
    Run(Error),
}

impl<E: Into<Error>> From<E> for Begin {
    fn from(error: E) -> Begin {
        Begin::Run(error.into())
    }
}

/// Of the uploads that a store lists, those of this key that may have been begun by tries that nobody heard the answer of.
pub(super) fn may_be_ours<'a>(listed: &'a [Begun], open: &'a OpenUpload) -> impl Iterator<Item = &'a Begun> {
    listed.iter().filter(move |begun| {
        let after = begun.initiated.div_euclid(1_000_000_000) - open.since;
        begun.key == open.path.as_str() && Some(&begun.id) != open.id.as_ref() && (0..=TRIES_SECONDS).contains(&after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_right_after_our_word_may_be_ours() {
        let stamp = Stamp { size: 1, mtime: 2, ctime: 3, inode: 4 };
        let path = RelPath::new("a").unwrap();
        let parts = std::collections::BTreeMap::new();
        let open = OpenUpload { nonce: "n".into(), path, stamp, part_bytes: 1, since: 1000, id: Some("known".into()), lost: 1, parts };
        let begun = |key: &str, id: &str, seconds: i64| Begun { key: key.into(), id: id.into(), initiated: seconds * 1_000_000_000 };
        let listed = [
            begun("a", "before", 999),
            begun("a", "at", 1000),
            begun("a", "after", 1180),
            begun("a", "later", 1181),
            begun("a", "known", 1001),
            begun("ab", "another", 1001),
        ];
        assert_eq!(may_be_ours(&listed, &open).map(|begun| begun.id.as_str()).collect::<Vec<_>>(), ["at", "after"]);
    }
}
