//! How a signal reaches the work: a flag that is asked, and a wait that ends. Handles no signals itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a write that has begun is waited for after a stop was asked.
const GRACE: Duration = Duration::from_secs(2);

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    bell: Notify,
    parent: Option<Stop>,
}

impl Stop {
    /// A stop of its own that also hears this one; asking it does not reach this one.
    pub(super) fn child(&self) -> Stop {
        Stop(Arc::new(Inner { parent: Some(self.clone()), ..Inner::default() }))
    }

    /// Asks the run to stop: no new work starts, what is in flight ends cleanly.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.bell.notify_waiters();
    }

    /// True once it was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst) || self.0.parent.as_ref().is_some_and(Stop::asked)
    }

    /// The future's result, or `None` as soon as a stop is asked. The future is dropped then: give it nothing that must be finished.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        // Both hear what is asked from here on. Of two stops in a row, a run's and its caller's, there is no third.
        let bell = self.0.bell.notified();
        let above = self.0.parent.as_ref().map(|parent| parent.0.bell.notified());
        let bell_above = async move {
            match above {
                Some(bell) => bell.await,
                None => std::future::pending().await,
            }
        };
        if self.asked() {
            return None;
        }
        tokio::pin!(bell, bell_above, work);
        tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = &mut bell => None,
            () = &mut bell_above => None,
        }
    }

    /// Like [`Stop::or`] for a write that has begun: after a stop is asked it gets a moment to end, so that it need not be asked later
    /// whether it was carried out.
    pub(super) async fn or_soon<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        match self.or(&mut work).await {
            Some(done) => Some(done),
            None => tokio::time::timeout(GRACE, work).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn work_ends_when_a_stop_is_asked_before_or_while_it_runs() {
        let stop = Stop::default();
        assert_eq!(stop.or(async { 1 }).await, Some(1));
        let later = stop.clone();
        let asking = async move {
            tokio::task::yield_now().await;
            later.ask();
        };
        let (never, ()) = tokio::join!(stop.or(std::future::pending::<()>()), asking);
        assert_eq!(never, None);
        assert_eq!(stop.or(async { 1 }).await, None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_child_hears_its_parent_and_not_the_other_way_round() {
        let stop = Stop::default();
        stop.child().ask();
        assert!(!stop.asked());
        let (child, later) = (stop.child(), stop.clone());
        let asking = async move {
            tokio::task::yield_now().await;
            later.ask();
        };
        let (never, ()) = tokio::join!(child.or(std::future::pending::<()>()), asking);
        assert_eq!((never, child.asked(), child.or(async { 1 }).await), (None, true, None));
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_write_that_has_begun_gets_a_moment() {
        let stop = Stop::default();
        stop.ask();
        let soon = async {
            tokio::time::sleep(GRACE / 2).await;
            1
        };
        assert_eq!(stop.or_soon(soon).await, Some(1));
        assert_eq!(stop.or_soon(std::future::pending::<()>()).await, None);
    }
}
