//! Bodies as they pass the front door: counted in both directions, and on the way out damaged where a fault says so.

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

/// A request's body, counted.
pub(super) struct Received {
    pub(super) inner: Incoming,
    pub(super) log: Arc<RequestLog>,
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = self.get_mut();
        let frame = ready!(Pin::new(&mut body.inner).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            body.log.received(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What is wrong with an answer's body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    /// It ends after this many bytes.
    Truncate(u64),
    /// One bit of this byte is another.
    Flip(u64),
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
}

impl Sent {
    pub(super) fn new(inner: s3s::Body, log: Arc<RequestLog>, damage: Option<Damage>) -> Sent {
        Sent { inner, log, damage, position: 0, held: None, pause: None }
    }

    /// What becomes of the next bytes.
    fn pass(&mut self, mut data: Bytes) -> Bytes {
        let start = self.position;
        let within = |at: u64| usize::try_from(at.saturating_sub(start)).ok().filter(|offset| at >= start && *offset < data.len());
        match self.damage {
            Some(Damage::Flip(at)) => {
                if let Some(offset) = within(at) {
                    let mut bytes = data.to_vec();
                    bytes[offset] ^= 1;
                    data = bytes.into();
                }
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
            None => {}
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
            let Some(frame) = ready!(Pin::new(&mut body.inner).poll_frame(context)?) else { return Poll::Ready(None) };
            let Ok(data) = frame.into_data() else { continue };
            let data = body.pass(data);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.held.is_none() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
            (pause(0), ("hello", true)),
            (pause(3), ("hello", true)),
        ] {
            let (text, whole) = arrives(damage).await;
            assert_eq!((text.as_str(), whole), expected, "{damage:?}");
        }
    }
}
