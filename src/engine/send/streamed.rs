//! A part too large for a buffer: hashed in pieces, then read again in pieces for each try, and hashed a second time as it is sent. The
//! last piece goes out only when what was sent is what was hashed, so the store never takes a part that changed meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::digest::{Md5, Stream};
use crate::engine::{Error, Stop, blocking};
use crate::local::hash::{ReadError, Source};
use crate::remote::body::{Body, Pieces};

/// Bytes that are read, hashed and sent at once.
const PIECE_BYTES: u64 = 256 << 10;
/// Pieces that wait to be sent.
const WAITING: usize = 2;
/// What a part takes of the memory: the pieces that wait, the one that is read, the one that is kept back and the one that is sent.
pub(super) const MEMORY_BYTES: u64 = PIECE_BYTES * (WAITING as u64 + 3);

/// A range of an open file.
#[derive(Clone)]
pub(super) struct Range {
    pub(super) source: Arc<Source>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// How a reading of a part for a try ended; `None` while it goes on, or when nobody waits for it any more.
type Ended = Arc<Mutex<Option<Result<(), ReadError>>>>;

/// A part that is read anew for every try.
pub(super) struct Streamed {
    range: Range,
    md5: Md5,
    /// Of the latest reading.
    ended: Arc<Mutex<Ended>>,
}

impl Range {
    /// The MD5 of the range, read in pieces.
    pub(super) async fn md5(&self, stop: &Stop) -> Result<Result<Md5, ReadError>, Error> {
        let (range, stop) = (self.clone(), stop.clone());
        blocking(move || {
            let (mut hasher, mut buffer) = (Stream::default(), Vec::new());
            range.each_piece(|source, offset, len| {
                if stop.asked() {
                    return Err(ReadError::Stopped);
                }
                source.read(offset, len, &mut buffer)?;
                hasher.update(&buffer);
                Ok(())
            })?;
            range.source.unchanged()?;
            Ok(hasher.finish())
        })
        .await
    }

    fn each_piece(&self, mut take: impl FnMut(&Source, u64, usize) -> Result<(), ReadError>) -> Result<(), ReadError> {
        let end = self.offset + self.bytes;
        let mut at = self.offset;
        while at < end {
            let len = PIECE_BYTES.min(end - at);
            take(&self.source, at, usize::try_from(len).expect("a piece fits into memory"))?;
            at += len;
        }
        Ok(())
    }

    /// Reads, hashes and hands on all pieces; keeps back the last one, and returns it when all of them are the content that has `md5`.
    fn hand_on(&self, md5: Md5, to: &mpsc::Sender<Bytes>) -> Result<Bytes, ReadError> {
        let (mut hasher, mut last) = (Stream::default(), Bytes::new());
        self.each_piece(|source, offset, len| {
            let before = std::mem::take(&mut last);
            if !before.is_empty() && to.blocking_send(before).is_err() {
                return Err(ReadError::Stopped);
            }
            let mut piece = Vec::new();
            source.read(offset, len, &mut piece)?;
            hasher.update(&piece);
            last = Bytes::from(piece);
            Ok(())
        })?;
        self.source.unchanged()?;
        if hasher.finish() == md5 { Ok(last) } else { Err(ReadError::Changed) }
    }
}

impl Streamed {
    /// A range whose content had `md5` when it was read first.
    pub(super) fn new(range: Range, md5: Md5) -> Streamed {
        Streamed { range, md5, ended: Arc::default() }
    }

    /// The content for a request.
    pub(super) fn body(&self) -> Body {
        let (range, md5, latest) = (self.range.clone(), self.md5, Arc::clone(&self.ended));
        Body::Pieces(Pieces::new(self.range.bytes, move || {
            let (to, pieces) = mpsc::channel(WAITING);
            let (range, ended) = (range.clone(), Ended::default());
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ended);
            // It ends by itself when the request takes no more pieces.
            tokio::task::spawn_blocking(move || {
                let (how, last) = match range.hand_on(md5, &to) {
                    Ok(last) => (Ok(()), Some(last)),
                    Err(e) => (Err(e), None),
                };
                // Said before the request can end: it has the last piece, or sees the channel close, only after this.
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
                if let Some(last) = last {
                    let _ = to.blocking_send(last);
                }
            });
            pieces
        }))
    }

    /// How the latest reading ended: what was sent is what was hashed, or why not. To be asked once, when the request is over.
    pub(super) fn verdict(&self) -> Result<(), ReadError> {
        let latest = Arc::clone(&self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let how = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A store that takes it for done before all of it was sent has something else.
        how.unwrap_or(Err(ReadError::Changed))
    }
}
