//! How a signal reaches the work: a flag that is asked, and a wait that ends. Handles no signals itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    bell: Notify,
}

impl Stop {
    /// Asks the run to stop: no new work starts, what is in flight ends cleanly.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.bell.notify_waiters();
    }

    /// True once it was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// The future's result, or `None` as soon as a stop is asked. The future is dropped then: give it nothing that must be finished.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let bell = self.0.bell.notified();
        tokio::pin!(bell, work);
        bell.as_mut().enable();
        if self.asked() {
            return None;
        }
        tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = &mut bell => None,
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
}
