//! Sends one local file: read into bounded buffers, hashed, and sent from the same buffer. Never sends bytes it did not hash.

mod copied;
mod gate;
mod growing;
mod parts;
mod streamed;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::learn::{not_read, write_mtime};
use super::pace::{Buffer, Pace};
use super::report::{FailureKind, chain};
use super::rest::Rest;
use super::uploads::{Begin, Uploads};
use super::{Ends, Error, blocking};
use crate::digest::{Digests, part_bytes_for};
use crate::entry::{Entry, File, Kind, Stamp};
use crate::event::Event;
use crate::local::hash::{ReadError, Source};
use crate::local::mount::{Looked, Mount};
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::problem::exclude_line;
use crate::remote::error::Kind as RemoteKind;
use crate::remote::flow::{Went, metered};
use crate::remote::object::{About, Enforce, Guard, NONCE, Put, Stored};
pub(super) use copied::Originals;
pub(super) use gate::Gate;

/// What sending needs beside the file.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) ends: &'a Ends,
    pub(super) pace: &'a Pace,
    pub(super) enforce: Enforce,
    pub(super) uploads: &'a Uploads,
    /// What need not be sent, because it can be copied.
    pub(super) originals: &'a Originals<'a>,
    pub(super) rest: Rest,
    /// Parts above this are not held in memory whole.
    pub(super) buffered_max: u64,
    /// What belongs together is sent as it was seen, and replaces nothing before all of it is read.
    pub(super) gate: Option<&'a Gate>,
    /// What is sent only grows; see [`Sender::grown`].
    pub(super) grows: Option<growing::Grows<'a>>,
}

/// A file that the store has taken.
#[derive(Debug)]
pub(super) struct Sent {
    /// The entry, with the ETag that was answered.
    pub(super) entry: Entry,
    /// The stamp of what was sent.
    pub(super) stamp: Stamp,
    /// What tells that the file changed after it was read.
    pub(super) witness: Witness,
    /// The nonce that the object carries.
    pub(super) nonce: String,
    /// Bytes of it that an earlier run had sent.
    pub(super) kept: u64,
    /// Bytes of it that were copied in the bucket.
    pub(super) copied: u64,
    /// The file grows, and may be longer by now.
    pub(super) is_growing: bool,
}

/// Why a file was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    /// This file only.
    Item(FailureKind, String),
    /// This file, after all tries: the bucket cannot be reached, or throttles. The whole run where one after the other ends so.
    Unanswered(crate::remote::error::Error),
    /// This file, for want of a permission. The whole run where the same befalls all.
    Refused {
        /// What the bucket said.
        error: crate::remote::error::Error,
        /// It was to go from the bucket, to make room.
        removing: bool,
    },
    /// This file only: what the store now has under its name is damaged. The entry says what that is.
    Damaged(Box<Entry>),
    /// The whole run must end.
    Run(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> NotSent {
        NotSent::Run(error)
    }
}

/// How often a file that changes under the hand is read again.
const TRIES: usize = 3;
/// The largest part that is read whole and sent from the same buffer, in bytes.
pub(super) const BUFFERED_MAX: u64 = 64 << 20;

impl Sender<'_> {
    /// Sends a file that carried `stamp` when it was scanned. A file that has changed since is sent as it is now, at rest.
    pub(super) async fn file(&self, path: &RelPath, stamp: Stamp, guard: &Guard) -> Result<Sent, NotSent> {
        let mut stamp = stamp;
        for attempt in 0..TRIES {
            if attempt > 0 {
                stamp = self.stamp_now(path).await?;
            }
            self.rest.settled(&stamp)?;
            match self.once(path, stamp, guard).await {
                Err(Once::Read(ReadError::Changed)) if self.gate.is_some() => break,
                Err(Once::Read(ReadError::Changed)) => {
                    self.ends.tell(Event::Retried { path: path.clone(), bytes: 0, why: "it changed while it was read".into() });
                }
                Err(Once::Read(e @ ReadError::Failed(_))) => {
                    let why = format!("{} (to leave it out: --exclude '{}')", not_read(&e), exclude_line(path.as_str()));
                    return Err(NotSent::Item(FailureKind::Failed, why));
                }
                Err(why) => return Err(why.not_sent()),
                Ok(sent) => return Ok(sent),
            }
        }
        Err(still_written())
    }

    /// Sends a file whose guard the store says is broken, if only because it lists another ETag than its conditions take.
    pub(super) async fn file_again(&self, path: &RelPath, stamp: Stamp, guard: &Guard, broken: NotSent) -> Result<Sent, NotSent> {
        match guard_as_answered(self.ends, path.as_str(), guard, &broken).await {
            Some(guard) => self.file(path, stamp, &guard).await,
            None => Err(broken),
        }
    }

    async fn stamp_now(&self, path: &RelPath) -> Result<Stamp, NotSent> {
        let (mount, at) = (self.ends.mount.clone(), path.clone());
        match blocking(move || mount.look(&at)).await? {
            Ok(Some(Looked::File(stamp, _))) => Ok(stamp),
            Ok(Some(Looked::Link(_) | Looked::Dir(_) | Looked::Special)) => {
                Err(NotSent::Item(FailureKind::Stale, "it is no regular file any more".into()))
            }
            Ok(None) => Err(NotSent::Item(FailureKind::Stale, "it is gone".into())),
            Err(e) => Err(NotSent::Item(FailureKind::Failed, chain(&e))),
        }
    }

    async fn once(&self, path: &RelPath, stamp: Stamp, guard: &Guard) -> Result<Sent, Once> {
        self.ends.tell(Event::Started { path: path.clone(), bytes: stamp.size });
        let (Written { stored, digests, kept, copied }, witness) = match part_bytes_for(stamp.size) {
            None => self.whole(path, stamp, guard).await?,
            Some(part_bytes) => self.in_parts(path, stamp, part_bytes, guard).await?,
        };
        let file = File { size: stamp.size, mtime: Some(stamp.mtime), digests, etag: Some(stored.etag) };
        if stored.damaged {
            return Err(Once::Damaged(Box::new(File { mtime: None, ..file })));
        }
        let (entry, is_growing) = (Entry { kind: Kind::File(file), mode: None }, self.grows.is_some());
        Ok(Sent { entry, stamp, witness, nonce: stored.nonce, kept, copied, is_growing })
    }

    async fn whole(&self, path: &RelPath, stamp: Stamp, guard: &Guard) -> Result<(Written, Witness), Once> {
        // Those that wait for each other must not wait for each other's turn too: each is small, and they are few.
        let mut _turn = if self.gate.is_none() { Some(self.pace.turn(stamp.size).await?) } else { None };
        let (mount, at, mut buffer) = (self.ends.mount.clone(), path.clone(), self.pace.buffer(stamp.size));
        let open = self.opener();
        let read = move || -> Result<(Buffer, Witness), ReadError> {
            let source = open(&mount, &at, &stamp)?;
            source.read(0, usize::try_from(stamp.size).map_err(|_| ReadError::Changed)?, &mut buffer.vec)?;
            source.unchanged()?;
            Ok((buffer, source.witness()))
        };
        let (body, md5, witness) = self.pace.hashing.filled(stamp.size, read).await??;
        self.still_begins_with(path, stamp, &Digests::of_whole(md5)).await?;
        if let Some(gate) = self.gate {
            gate.pass().await?;
            _turn = Some(self.pace.turn(stamp.size).await?);
        }
        let _way = self.pace.way(stamp.size).await?;
        let mut about = about(path, stamp);
        about.metadata.push(("md5chksum".into(), md5.base64()));
        let mut put = Put { key: path.as_str().to_owned(), body, md5, guard: guard.clone(), enforce: self.enforce, about };
        if self.ends.stop.asked() {
            return Err(Once::Run(Error::Stopped));
        }
        if let Some(written) = Box::pin(self.copied(path, stamp, &mut put)).await? {
            return Ok((written, witness));
        }
        let moved = Arc::new(AtomicU64::new(0));
        let put = self.told(path, &moved, None, Box::pin(self.ends.bucket.put(put)));
        match self.ends.stop.or_soon(put).await.ok_or(Once::Run(Error::Stopped))? {
            Ok(stored) => {
                let digests = if stored.damaged { Digests::of_etag(&stored.etag) } else { Digests::of_whole(md5) };
                Ok((Written { stored, digests, kept: 0, copied: 0 }, witness))
            }
            Err(e) => {
                self.take_back(path, &moved, "it could not be sent");
                Err(e.into())
            }
        }
    }

    /// How a file is opened to be sent.
    fn opener(&self) -> fn(&Mount, &RelPath, &Stamp) -> Result<Source, ReadError> {
        if self.grows.is_some() { Source::open_growing } else { Source::open }
    }

    /// Tells how the body of a request (boxed: it is large) goes out; `moved` is what has gone out for the file in all.
    /// For a body of so many bytes, says too when all of them are out.
    async fn told<T>(
        &self,
        path: &RelPath,
        moved: &Arc<AtomicU64>,
        all_out: Option<(u64, Arc<Notify>)>,
        request: impl Future<Output = T>,
    ) -> T {
        let (observer, path, moved) = (self.ends.observer.clone(), path.clone(), moved.clone());
        let (left, all_out) = all_out.map_or((u64::MAX, None), |(bytes, tell)| (bytes, Some(tell)));
        let left = AtomicU64::new(left);
        let tell = move |went| match went {
            Went::Out(bytes) => {
                if left.fetch_sub(bytes, Ordering::Relaxed) == bytes
                    && let Some(tell) = &all_out
                {
                    tell.notify_one();
                }
                moved.fetch_add(bytes, Ordering::Relaxed);
                observer(Event::Moved { path: path.clone(), bytes });
            }
            Went::Back(bytes) => {
                left.fetch_add(bytes, Ordering::Relaxed);
                moved.fetch_sub(bytes, Ordering::Relaxed);
                observer(Event::Retried { path: path.clone(), bytes, why: "a request was sent again".into() });
            }
        };
        metered(tell, request).await
    }

    /// What has gone out for a file counts no more.
    fn take_back(&self, path: &RelPath, moved: &AtomicU64, why: &str) {
        let bytes = moved.swap(0, Ordering::Relaxed);
        // What a stop interrupts is not begun again.
        if bytes > 0 && !self.ends.stop.asked() {
            self.ends.tell(Event::Retried { path: path.clone(), bytes, why: why.into() });
        }
    }
}

/// What one try has put into the bucket.
#[derive(Debug)]
struct Written {
    stored: Stored,
    /// Of what the store holds: not of what was sent, where that was damaged on its way.
    digests: Digests,
    /// Bytes of it that an earlier run had sent.
    kept: u64,
    /// Bytes of it that were copied in the bucket.
    copied: u64,
}

/// Why one try ended.
enum Once {
    Read(ReadError),
    Remote(crate::remote::error::Error),
    /// What the store holds instead of what was sent.
    Damaged(Box<File>),
    /// What it belongs to is not as it was seen, or did not get there.
    Held,
    Run(Error),
}

impl Once {
    /// What it means for the file, or for the run.
    fn not_sent(self) -> NotSent {
        match self {
            Once::Read(ReadError::Changed) => still_written(),
            Once::Read(ReadError::Stopped) | Once::Run(Error::Stopped) => NotSent::Run(Error::Stopped),
            Once::Read(e @ ReadError::Failed(_)) => NotSent::Item(FailureKind::Failed, not_read(&e)),
            Once::Read(e) => NotSent::Item(FailureKind::Failed, chain(&e)),
            Once::Run(e) => NotSent::Run(e),
            Once::Remote(e) => not_sent(e),
            Once::Held => NotSent::Item(FailureKind::Waits, "it waits for what it belongs to".into()),
            Once::Damaged(file) => NotSent::Damaged(Box::new(Entry { kind: Kind::File(*file), mode: None })),
        }
    }
}

fn still_written() -> NotSent {
    NotSent::Item(FailureKind::StillWritten, "it is still being written".into())
}

impl From<ReadError> for Once {
    fn from(error: ReadError) -> Once {
        Once::Read(error)
    }
}

impl From<crate::remote::error::Error> for Once {
    fn from(error: crate::remote::error::Error) -> Once {
        Once::Remote(error)
    }
}

impl From<Begin> for Once {
    fn from(why: Begin) -> Once {
        match why {
            Begin::Remote(e) => Once::Remote(e),
            Begin::Run(e) => Once::Run(e),
        }
    }
}

impl From<Error> for Once {
    fn from(error: Error) -> Once {
        Once::Run(error)
    }
}

/// What a refused request means: for this item, or for the run.
pub(super) fn not_sent(error: crate::remote::error::Error) -> NotSent {
    match error.kind {
        RemoteKind::Precondition => NotSent::Item(FailureKind::Stale, "the bucket changed it after the plan was made".into()),
        RemoteKind::Integrity => NotSent::Item(FailureKind::Integrity, chain(&error)),
        RemoteKind::Denied | RemoteKind::Full | RemoteKind::NoBucket | RemoteKind::Config => NotSent::Run(error.into()),
        RemoteKind::Refused => NotSent::Refused { error, removing: false },
        RemoteKind::Stopped => NotSent::Run(Error::Stopped),
        RemoteKind::Unreachable | RemoteKind::Throttled => NotSent::Unanswered(error),
        RemoteKind::NotFound | RemoteKind::Unsupported | RemoteKind::Protocol => NotSent::Item(FailureKind::Failed, chain(&error)),
    }
}

/// After a refusal: the guard in the words of a store whose listings show another ETag than its conditions take, when what is listed
/// still is what the guard asks for.
pub(super) async fn guard_as_answered(ends: &Ends, key: &str, guard: &Guard, broken: &NotSent) -> Option<Guard> {
    let (Guard::Is(etag, size), NotSent::Item(FailureKind::Stale, _)) = (guard, broken) else { return None };
    let asked = ends.stop.or(ends.bucket.answered_etag(key, etag, *size)).await?;
    // An error leaves the refusal as it is.
    Some(Guard::Is(asked.ok()??, *size))
}

/// Type and metadata of an object: names that rclone, s5cmd and the aws CLI read.
fn about(path: &RelPath, stamp: Stamp) -> About {
    About {
        content_type: Some(content_type(path.name())),
        metadata: vec![("mtime".into(), write_mtime(stamp.mtime)), (NONCE.into(), nonce())],
    }
}

/// 128 random bits as hexadecimal digits.
pub(super) fn nonce() -> String {
    data_encoding::HEXLOWER.encode(&random_bits())
}

/// 128 random bits.
pub(super) fn random_bits() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system's random source is always there on Linux");
    bits
}

fn content_type(name: &str) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let textual = guess.type_() == mime_guess::mime::TEXT
        || matches!(guess.essence_str(), "application/json" | "application/javascript" | "application/xml");
    if textual && guess.get_param("charset").is_none() { format!("{guess}; charset=utf-8") } else { guess.to_string() }
}
