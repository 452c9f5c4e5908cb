//! The bytes of a stored object, wherever they lie, and reading a range of them. Writes nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::shelf::Blob;

/// Bytes that one read gives at most.
const READ_BYTES: u64 = 256 << 10;

/// Where the bytes lie.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In the index log itself, from this offset.
    InLog { log: Arc<File>, offset: u64, bytes: u64 },
    /// In these files, one after the other.
    Files(Arc<[Piece]>),
}

/// A whole content file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) blob: Arc<Blob>,
    pub(super) bytes: u64,
}

impl Content {
    /// A reader of the bytes from `start` up to and without `end`, which the caller has checked against the size.
    pub(super) fn read(&self, start: u64, end: u64) -> Reader {
        let mut reader = Reader { content: self.clone(), piece: 0, skip: start, left: end.saturating_sub(start), file: None };
        if let Content::Files(pieces) = self {
            while let Some(piece) = pieces.get(reader.piece).filter(|piece| piece.bytes <= reader.skip) {
                reader.skip -= piece.bytes;
                reader.piece += 1;
            }
        }
        reader
    }
}

/// Reads a range from front to back; holds the files alive while it does, so that an answer that has begun ends with what it began.
#[derive(Debug)]
pub(super) struct Reader {
    content: Content,
    piece: usize,
    /// Bytes of the current piece (or of the log's part) that are behind us.
    skip: u64,
    left: u64,
    file: Option<File>,
}

impl Reader {
    /// The next bytes, empty at the end.
    pub(super) fn next(&mut self) -> io::Result<Bytes> {
        if self.left == 0 {
            return Ok(Bytes::new());
        }
        let mut take = self.left.min(READ_BYTES);
        let mut piece_bytes = u64::MAX;
        if let Content::Files(pieces) = &self.content {
            while pieces.get(self.piece).is_some_and(|piece| piece.bytes == self.skip) {
                (self.piece, self.skip, self.file) = (self.piece + 1, 0, None);
            }
            let piece = pieces.get(self.piece).ok_or(io::ErrorKind::UnexpectedEof)?;
            if self.file.is_none() {
                self.file = Some(piece.blob.open()?);
            }
            piece_bytes = piece.bytes;
        }
        take = take.min(piece_bytes - self.skip);
        let mut buffer = vec![0; usize::try_from(take).unwrap_or(0)];
        match (&self.content, &self.file) {
            (Content::InLog { log, offset, .. }, _) => log.read_exact_at(&mut buffer, offset + self.skip)?,
            (Content::Files(_), Some(file)) => file.read_exact_at(&mut buffer, self.skip)?,
            (Content::Files(_), None) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        self.skip += take;
        self.left -= take;
        Ok(buffer.into())
    }

    /// All that is left.
    pub(super) fn read_to_end(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let next = self.next()?;
            if next.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&next);
        }
    }
}

/// Reads on the task that sends: the files are in the page cache or close to it, and a thread's round trip costs more.
impl Body for Reader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let reader = self.get_mut();
        if reader.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(reader.next().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shelf::{BlobWriter, Shelf};
    use super::*;

    #[test]
    fn ranges_of_content_in_several_files() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().join("content"), false).unwrap();
        let all: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut pieces = Vec::new();
        let mut at = 0;
        for bytes in [0, 1, 300_000, 0, 399_998, 1, 0] {
            let mut writer = BlobWriter::create(&shelf).unwrap();
            writer.write(&all[at..at + bytes]).unwrap();
            at += bytes;
            pieces.push(Piece { blob: writer.finish().unwrap(), bytes: bytes as u64 });
        }
        let content = Content::Files(pieces.into());
        for (start, end) in
            [(0, 700_000), (0, 0), (0, 1), (1, 2), (300_000, 300_002), (300_001, 700_000), (699_999, 700_000), (700_000, 700_000)]
        {
            let got = content.read(start as u64, end as u64).read_to_end().unwrap();
            assert!(got == all[start..end], "{start}..{end}");
        }
    }
}
