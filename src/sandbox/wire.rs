//! Bodies as they pass the front door, in both directions: counted, and damaged where a fault says so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use s3s::StdError;
use tokio::time::Sleep;

use super::requests::RequestLog;

/// How long a cut body waits before the connection closes, so that what came before the cut is on its way.
const BEFORE_CLOSE: Duration = Duration::from_millis(20);

/// What is wrong with a request's body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    /// It breaks off after this many bytes.
    Cut(u64),
    /// One bit of this byte is another.
    Flip(u64),
}

/// A request's body.
pub(super) struct Received {
    inner: Incoming,
    log: Arc<RequestLog>,
    harm: Option<Harm>,
    position: u64,
}

impl Received {
    pub(super) fn new(inner: Incoming, log: Arc<RequestLog>, harm: Option<Harm>) -> Received {
        Received { inner, log, harm, position: 0 }
    }

    /// What comes of the next bytes.
    fn pass(&mut self, data: Bytes) -> Result<Bytes, StdError> {
        let start = self.position;
        self.position += data.len() as u64;
        self.log.received(data.len());
        match self.harm {
            Some(Harm::Cut(at)) if at < self.position => Err("the request was cut by a fault".into()),
            Some(Harm::Flip(at)) => Ok(flipped(data, start, at)),
            _ => Ok(data),
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let body = self.get_mut();
        let Some(frame) = ready!(Pin::new(&mut body.inner).poll_frame(context)?) else { return Poll::Ready(None) };
        Poll::Ready(Some(match frame.into_data() {
            Ok(data) => body.pass(data).map(Frame::data),
            Err(trailers) => Ok(trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Data that begins at `start`, with one bit of the byte at `at` turned over, if it is among them.
fn flipped(data: Bytes, start: u64, at: u64) -> Bytes {
    let Some(offset) = at.checked_sub(start).and_then(|offset| usize::try_from(offset).ok()).filter(|offset| *offset < data.len()) else {
        return data;
    };
    let mut bytes = data.to_vec();
    bytes[offset] ^= 1;
    bytes.into()
}

/// What is wrong with an answer's body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    /// It ends after this many bytes.
    Truncate(u64),
    /// It ends after this many bytes as if that were all.
    End(u64),
    /// So many bytes more than there are.
    More(u64),
    /// One bit of this byte is another.
    Flip(u64),
    /// Every byte is another.
    Swap,
    /// It pauses this long after this many bytes.
    Pause { at: u64, length: Duration },
}

/// An answer's body.
pub(super) struct Sent {
    inner: s3s::Body,
    log: Arc<RequestLog>,
    damage: Option<Damage>,
    position: u64,
    /// What comes after a pause.
    held: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    /// No more comes, whatever there is.
    ended: bool,
}

impl Sent {
    pub(super) fn new(inner: s3s::Body, log: Arc<RequestLog>, damage: Option<Damage>) -> Sent {
        Sent { inner, log, damage, position: 0, held: None, pause: None, ended: matches!(damage, Some(Damage::End(0))) }
    }

    /// What becomes of the next bytes.
    fn pass(&mut self, mut data: Bytes) -> Bytes {
        let start = self.position;
        let within = |at: u64| usize::try_from(at.saturating_sub(start)).ok().filter(|offset| at >= start && *offset < data.len());
        match self.damage {
            Some(Damage::Flip(at)) => data = flipped(data, start, at),
            Some(Damage::Swap) => data = data.iter().map(|byte| byte ^ 0x15).collect(),
            Some(Damage::End(at)) => {
                let left = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
                data.truncate(left);
                self.ended = start + data.len() as u64 == at;
            }
            Some(Damage::Truncate(at)) => {
                if let Some(offset) = within(at) {
                    data.truncate(offset);
                    self.pause = Some(Box::pin(tokio::time::sleep(BEFORE_CLOSE)));
                }
            }
            Some(Damage::Pause { at, length }) => {
                if let Some(offset) = within(at) {
                    self.held = Some(data.split_off(offset));
                    self.pause = Some(Box::pin(tokio::time::sleep(length)));
                    self.damage = None;
                }
            }
            Some(Damage::More(_)) | None => {}
        }
        self.position += data.len() as u64;
        self.log.sent(data.len());
        data
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let body = self.get_mut();
        loop {
            if let Some(pause) = &mut body.pause {
                ready!(pause.as_mut().poll(context));
                body.pause = None;
                if matches!(body.damage, Some(Damage::Truncate(_))) {
                    return Poll::Ready(Some(Err("the answer was cut by a fault".into())));
                }
            }
            if let Some(held) = body.held.take() {
                return Poll::Ready(Some(Ok(Frame::data(body.pass(held)))));
            }
            if body.ended {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(Pin::new(&mut body.inner).poll_frame(context)?) else {
                body.ended = true;
                let Some(Damage::More(more)) = body.damage else { return Poll::Ready(None) };
                return Poll::Ready(Some(Ok(Frame::data(vec![b'+'; usize::try_from(more).unwrap_or(0)].into()))));
            };
            let Ok(data) = frame.into_data() else { continue };
            let data = body.pass(data);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let more = matches!(self.damage, Some(Damage::More(_)));
        self.ended || self.inner.is_end_stream() && self.held.is_none() && self.pause.is_none() && !more
    }

    fn size_hint(&self) -> SizeHint {
        // The header says what these claim to be; hyper insists that both agree.
        if matches!(self.damage, Some(Damage::End(_) | Damage::More(_))) { SizeHint::default() } else { self.inner.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    /// What arrives of `hello`, and whether it ended well.
    async fn arrives(damage: Option<Damage>) -> (String, bool) {
        let mut body = Sent::new(s3s::Body::from("hello".to_owned()), Arc::default(), damage);
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap()),
                Err(_) => return (String::from_utf8(got).unwrap(), false),
            }
        }
        (String::from_utf8(got).unwrap(), true)
    }

    #[tokio::test]
    async fn bodies_are_damaged_as_told() {
        let pause = |at| Some(Damage::Pause { at, length: Duration::from_millis(1) });
        for (damage, expected) in [
            (None, ("hello", true)),
            (Some(Damage::Truncate(2)), ("he", false)),
            (Some(Damage::Truncate(0)), ("", false)),
            (Some(Damage::Truncate(5)), ("hello", true)),
            (Some(Damage::Flip(1)), ("hdllo", true)),
            (Some(Damage::Flip(5)), ("hello", true)),
            (Some(Damage::End(0)), ("", true)),
            (Some(Damage::End(4)), ("hell", true)),
            (Some(Damage::More(2)), ("hello++", true)),
            (Some(Damage::Swap), ("}pyyz", true)),
            (pause(0), ("hello", true)),
            (pause(3), ("hello", true)),
        ] {
            let (text, whole) = arrives(damage).await;
            assert_eq!((text.as_str(), whole), expected, "{damage:?}");
        }
    }
}
