//! How many requests may be under way while the store asks for fewer: half as many each time it throttles, one more after so many good
//! answers as are allowed, and no limit once all that there ever were are allowed again. Knows no bounds of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests that were under way together are refused together: that counts as one refusal.
const TOGETHER: Duration = Duration::from_secs(1);

/// The bound on all requests of one bucket.
#[derive(Debug, Default)]
pub(super) struct Calm {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    under_way: u32,
    /// The most that there have been.
    most: u32,
    /// `None`: as many as want to.
    allowed: Option<u32>,
    /// Good answers since `allowed` last changed.
    good: u32,
    lowered: Option<Instant>,
}

/// A request under way.
pub(super) struct Pass<'a>(&'a Calm);

impl Calm {
    /// Waits until one more request may be under way.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            let bell = self.bell.notified();
            {
                let mut inner = self.locked();
                if inner.allowed.is_none_or(|allowed| inner.under_way < allowed) {
                    inner.under_way += 1;
                    inner.most = inner.most.max(inner.under_way);
                    return Pass(self);
                }
            }
            bell.await;
        }
    }

    /// The store throttles.
    pub(super) fn throttled(&self) {
        let mut inner = self.locked();
        if inner.lowered.is_none_or(|at| at.elapsed() >= TOGETHER) {
            let now = inner.allowed.unwrap_or(inner.under_way).min(inner.under_way.max(1));
            inner.allowed = Some((now / 2).max(1));
            inner.good = 0;
            inner.lowered = Some(Instant::now());
        }
    }

    /// The store did what it was asked.
    pub(super) fn good(&self) {
        let mut inner = self.locked();
        let Some(allowed) = inner.allowed else { return };
        inner.good += 1;
        if inner.good >= allowed {
            inner.good = 0;
            inner.allowed = (allowed + 1 < inner.most).then_some(allowed + 1);
            drop(inner);
            self.bell.notify_waiters();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.locked().under_way -= 1;
        self.0.bell.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::canned::bucket_answering;
    use super::*;

    /// How many more may enter now.
    fn room(calm: &Calm, at_most: usize) -> Vec<Pass<'_>> {
        std::iter::from_fn(|| calm.enter().now_or_never()).take(at_most).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_requests_are_under_way_while_the_store_throttles_and_all_of_them_afterwards() {
        let calm = Calm::default();
        let all = room(&calm, 16);
        assert_eq!(all.len(), 16);
        all.iter().for_each(|_| calm.throttled());
        drop(all);
        assert_eq!(room(&calm, 100).len(), 8, "a burst of refusals is one");
        tokio::time::advance(TOGETHER).await;
        {
            let _few = room(&calm, 3);
            calm.throttled();
        }
        assert_eq!(room(&calm, 100).len(), 1, "half of those that were under way");
        for _ in 0..10 {
            tokio::time::advance(TOGETHER).await;
            calm.throttled();
        }
        assert_eq!(room(&calm, 100).len(), 1, "never none");
        calm.good();
        assert_eq!(room(&calm, 100).len(), 2);
        for _ in 0..200 {
            calm.good();
        }
        assert_eq!(room(&calm, 100).len(), 100, "no limit any more");
    }

    #[tokio::test]
    async fn refusals_and_answers_are_heard() {
        let (busy, fine) = ("HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let (bucket, _) = bucket_answering(&[busy, fine]).await;
        let allowed = || bucket.learnt().calm.locked().allowed;
        bucket.head_once("k").await.unwrap_err();
        assert_eq!(allowed(), Some(1));
        assert!(bucket.head_once("k").await.unwrap().is_none());
        assert_eq!(allowed(), None);
    }

    #[tokio::test]
    async fn who_waits_enters_when_another_is_done_or_given_up() {
        let calm = Calm::default();
        let one = calm.enter().await;
        calm.throttled();
        let mut waiting = Box::pin(calm.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(one);
        drop(tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it enters"));
    }
}
