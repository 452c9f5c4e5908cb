//! Bodies that notice when bytes stop to flow, in both directions. Neither limits how long a body may take as long as it moves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::rate::{Rate, Turn};

/// The longest pause between two pieces of a body, either way.
pub(super) const STALL: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body or an answer was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stalled {
    #[error("no bytes arrived for {} seconds", STALL.as_secs())]
    Receiving,
    #[error("no bytes could be sent for {} seconds", STALL.as_secs())]
    Sending,
    #[error("no answer within {} seconds", .0.as_secs())]
    NoAnswer(Duration),
}

/// What becomes of the bytes of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// So many more have been taken by the connection.
    Out(u64),
    /// So many count no more: the request is sent again from its beginning.
    Back(u64),
}

/// Counts the bytes of one request's body as they go out.
struct Meter {
    out: AtomicU64,
    tell: Box<dyn Fn(Went) + Send + Sync>,
}

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// Sends one request, and tells how its body goes out, piece by piece and try by try. The SDK in between knows nothing of it.
pub async fn metered<T>(tell: impl Fn(Went) + Send + Sync + 'static, request: impl Future<Output = T>) -> T {
    METER.scope(Arc::new(Meter { out: AtomicU64::new(0), tell: Box::new(tell) }), request).await
}

impl Meter {
    fn went_out(&self, bytes: u64) {
        self.out.fetch_add(bytes, Ordering::Relaxed);
        (self.tell)(Went::Out(bytes));
    }

    fn begin(&self) {
        let back = self.out.swap(0, Ordering::Relaxed);
        if back > 0 {
            (self.tell)(Went::Back(back));
        }
    }
}

/// How far a request's body has been taken by the connection.
pub(super) struct Progress {
    started: Instant,
    /// Milliseconds after `started` when a piece was last taken.
    moved_ms: AtomicU64,
    left: AtomicU64,
    /// The next piece waits for its turn under a limit of ours.
    held: AtomicBool,
    size: u64,
    meter: Option<Arc<Meter>>,
}

impl Progress {
    /// A body of `size` bytes is about to be sent, by the task that calls this.
    pub(super) fn new(size: u64) -> Arc<Progress> {
        // Requests without a body in between, such as a HEAD, send nothing again.
        let meter = METER.try_with(Arc::clone).ok().filter(|_| size > 0);
        if let Some(meter) = &meter {
            meter.begin();
        }
        Arc::new(Progress {
            started: Instant::now(),
            moved_ms: AtomicU64::new(0),
            left: AtomicU64::new(size),
            held: AtomicBool::new(false),
            size,
            meter,
        })
    }

    fn took(&self, bytes: u64) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
        self.left.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(meter) = &self.meter {
            meter.went_out(bytes);
        }
    }

    /// When to give up, as things stand: [`STALL`] after the last piece was taken; once all is taken, `answer` after that, and the time that
    /// what the kernel may still hold (4 MiB) needs at 128 KiB/s.
    pub(super) fn deadline(&self, answer: Duration) -> (Instant, Stalled) {
        let moved = self.started + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        if self.left.load(Ordering::Relaxed) > 0 {
            let since = if self.held.load(Ordering::Relaxed) { moved.max(Instant::now()) } else { moved };
            return (since + STALL, Stalled::Sending);
        }
        let answer = answer + Duration::from_millis(self.size.min(4 << 20) / 131);
        (moved + answer, Stalled::NoAnswer(answer))
    }
}

/// A request's body, given to the connection in pieces, so that its progress shows.
pub(super) struct Sending {
    body: SdkBody,
    rest: Bytes,
    /// How much of that has its turn.
    granted: usize,
    turn: Turn,
    progress: Arc<Progress>,
}

/// Large enough to cost nothing, small enough to move within [`STALL`] on a slow line shared by many.
const PIECE: usize = 64 << 10;

impl Sending {
    pub(super) fn new(body: SdkBody, progress: Arc<Progress>, rate: &Arc<Rate>) -> Sending {
        Sending { body, rest: Bytes::new(), granted: 0, turn: Turn::new(rate), progress }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let this = &mut *self;
        if this.granted == 0 {
            this.granted = this.rest.len().min(this.turn.piece(PIECE));
            this.turn.ask(this.granted);
        }
        let turn = this.turn.poll(cx);
        this.progress.held.store(turn.is_pending(), Ordering::Relaxed);
        std::task::ready!(turn);
        let len = std::mem::take(&mut this.granted);
        let piece = this.rest.split_to(len);
        this.progress.took(len as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer(&self.body.size_hint(), self.rest.len() as u64)
    }
}

/// A body that begins with so many bytes more.
fn longer(inner: &SizeHint, by: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(inner.lower() + by);
    if let Some(upper) = inner.upper() {
        hint.set_upper(upper + by);
    }
    hint
}

/// An answer's body; an error when nothing arrives for [`STALL`] while somebody waits for it.
pub(super) struct Receiving {
    body: Incoming,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    turn: Turn,
    /// What has arrived and waits for its turn.
    arrived: Option<Frame<Bytes>>,
}

impl Receiving {
    pub(super) fn new(body: Incoming, rate: &Arc<Rate>) -> Receiving {
        let (timer, turn) = (Box::pin(tokio::time::sleep(STALL)), Turn::new(rate));
        Receiving { body, timer, waiting: false, turn, arrived: None }
    }
}

impl Body for Receiving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.arrived.is_none()
            && let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx)
        {
            this.waiting = false;
            let Some(Ok(frame)) = frame else { return Poll::Ready(frame.map(|frame| frame.map_err(Into::into))) };
            this.turn.ask(frame.data_ref().map_or(0, Bytes::len));
            this.arrived = Some(frame);
        }
        if this.arrived.is_some() {
            std::task::ready!(this.turn.poll(cx));
            return Poll::Ready(this.arrived.take().map(Ok));
        }
        if !this.waiting {
            this.waiting = true;
            this.timer.as_mut().reset(Instant::now() + STALL);
        }
        match this.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Stalled::Receiving.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.arrived.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let arrived = self.arrived.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        longer(&self.body.size_hint(), arrived as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_goes_out_whole_and_in_pieces() {
        let all: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let progress = Progress::new(all.len() as u64);
        let mut body = Sending::new(SdkBody::from(all.clone()), Arc::clone(&progress), &Arc::default());
        let (mut sent, mut pieces) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            assert_eq!(
                body.size_hint().exact(),
                Some((all.len() - sent.len()) as u64 - frame.as_ref().unwrap().data_ref().unwrap().len() as u64)
            );
            sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
            pieces += 1;
        }
        assert_eq!((sent == all, pieces, body.is_end_stream()), (true, 4, true));
    }

    #[tokio::test]
    async fn what_goes_out_is_told_and_taken_back_when_it_is_sent_again() {
        let (tell, told) = std::sync::mpsc::channel();
        let tries = async {
            for pieces in [1, 2] {
                let mut body = Sending::new(SdkBody::from(vec![0; 100_000]), Progress::new(100_000), &Arc::default());
                for _ in 0..pieces {
                    body.frame().await.unwrap().unwrap();
                }
                Progress::new(0);
            }
        };
        metered(move |went| tell.send(went).unwrap(), tries).await;
        let piece = PIECE as u64;
        let expected = [Went::Out(piece), Went::Back(piece), Went::Out(piece), Went::Out(100_000 - piece)];
        assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
    }

    /// A limit that makes a piece wait for longer than a stall is no stall.
    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_within_one_body_and_who_waits_for_its_turn_is_not_stalled() {
        let (rate, begin) = (Arc::new(Rate::default()), Instant::now());
        rate.set(Some(1000));
        let progress = Progress::new(100_000);
        let mut body = Sending::new(SdkBody::from(vec![0; 100_000]), Arc::clone(&progress), &rate);
        let (mut sent, mut longest) = (0, Duration::ZERO);
        while let Some(frame) = body.frame().await {
            sent += frame.unwrap().into_data().unwrap().len();
            longest = longest.max(begin.elapsed().saturating_sub(Duration::from_secs(sent as u64 / 1000)));
        }
        assert_eq!((sent, begin.elapsed().as_secs(), longest), (100_000, 99, Duration::ZERO), "no piece went before its time");
        let progress = Progress::new(1024);
        let mut late = Sending::new(SdkBody::from(vec![0; 1024]), Arc::clone(&progress), &rate);
        let mut ahead = Turn::new(&rate);
        ahead.ask(100_000);
        assert!(futures_util::FutureExt::now_or_never(late.frame()).is_none(), "its turn is in 100 seconds");
        tokio::time::advance(STALL * 2).await;
        assert!(progress.deadline(STALL).0 > Instant::now(), "it is held, not stalled");
    }

    #[test]
    fn a_body_that_moves_is_never_given_up_and_one_that_stops_is() {
        let answer = Duration::from_secs(60);
        let progress = Progress::new(8 << 20);
        for seconds in [0, 20, 3600] {
            progress.moved_ms.store(seconds * 1000, Ordering::Relaxed);
            let (at, stalled) = progress.deadline(answer);
            assert_eq!(at, progress.started + Duration::from_secs(seconds) + STALL);
            assert!(matches!(stalled, Stalled::Sending));
        }
        progress.left.store(0, Ordering::Relaxed);
        let (at, stalled) = progress.deadline(answer);
        let drain = (at - progress.started).as_secs() - 3600 - 60;
        assert!(matches!(stalled, Stalled::NoAnswer(_)) && (31..=33).contains(&drain), "{drain}");
        assert_eq!(Progress::new(0).deadline(answer).1.to_string(), "no answer within 60 seconds");
    }
}
