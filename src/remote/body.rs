//! What a request sends: bytes in memory, or pieces that are read anew for each try. A body that was begun is never sent on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

/// The content of one request, for any number of tries.
#[derive(Clone, Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// In pieces.
    Pieces(Pieces),
}

/// Content that is read in pieces, from its beginning for each try.
#[derive(Clone)]
pub struct Pieces {
    bytes: u64,
    open: Arc<dyn Fn() -> Receiver<Bytes> + Send + Sync>,
}

/// Whoever reads the content ended before its end: it is not to be sent.
#[derive(Debug, thiserror::Error)]
#[error("the content was withheld")]
pub(super) struct Withheld;

/// Pieces on their way into one request.
struct Opened {
    pieces: Receiver<Bytes>,
    left: u64,
}

impl Pieces {
    /// Content of so many bytes. `open` begins to read it; closing the channel early gives the request up, with [`Kind::Stopped`].
    ///
    /// [`Kind::Stopped`]: super::error::Kind::Stopped
    pub fn new(bytes: u64, open: impl Fn() -> Receiver<Bytes> + Send + Sync + 'static) -> Pieces {
        Pieces { bytes, open: Arc::new(open) }
    }
}

impl Body {
    /// How many bytes it has.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Body::Whole(bytes) => bytes.len() as u64,
            Body::Pieces(pieces) => pieces.bytes,
        }
    }

    /// For one try, from the beginning.
    pub(super) fn stream(&self) -> ByteStream {
        match self {
            Body::Whole(bytes) => ByteStream::from(bytes.clone()),
            Body::Pieces(pieces) => {
                let opened = Opened { pieces: (pieces.open)(), left: pieces.bytes };
                ByteStream::new(SdkBody::from_body_1_x(opened))
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Whole(bytes)
    }
}

impl http_body::Body for Opened {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx)).filter(|piece| piece.len() as u64 <= self.left);
        let Some(piece) = piece else { return Poll::Ready(Some(Err(Withheld))) };
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes)", self.bytes)
    }
}
