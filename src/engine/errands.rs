//! Many small pieces of blocking work, by no more threads than keep up: waking one for each costs more than most of the work itself.
//! Knows nothing of what they do.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::channel;
use tokio::task::spawn_blocking;

use super::Error;

/// So many that wait for one thread call for another one.
const ENOUGH_FOR_ONE: usize = 3;
/// Threads at once: a few are left for what is large.
const THREADS: usize = 12;

type Errand = Box<dyn FnOnce() + Send>;

/// What is to be done, and who does it.
#[derive(Default)]
pub(super) struct Errands(Mutex<Desk>);

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Errand>,
    threads: usize,
}

impl Errands {
    /// Has this done and waits for it.
    pub(super) async fn run<T: Send + 'static>(self: &Arc<Errands>, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (tell, told) = channel();
        // Whoever was stopped does not wait any more.
        self.put(Box::new(move || drop(tell.send(work()))));
        told.await.map_err(|_| Error::Worker("a thread that was to read or write ended".into()))
    }

    fn put(self: &Arc<Errands>, errand: Errand) {
        let mut desk = self.desk();
        desk.waiting.push_back(errand);
        if desk.threads < THREADS && desk.waiting.len() > desk.threads * ENOUGH_FOR_ONE {
            desk.threads += 1;
            let errands = Arc::clone(self);
            drop(spawn_blocking(move || errands.carry_out()));
        }
    }

    /// Does what waits until nothing does. Blocks.
    fn carry_out(&self) {
        loop {
            let mut desk = self.desk();
            let Some(errand) = desk.waiting.pop_front() else {
                desk.threads -= 1;
                return;
            };
            drop(desk);
            // Whoever waits for one that panics hears of it; the others are done all the same.
            let _ = catch_unwind(AssertUnwindSafe(errand));
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn each_gets_the_answer_to_its_own() {
        let errands = Arc::new(Errands::default());
        let answers = join_all((0..500).map(|n| errands.run(move || n * n))).await;
        assert!(answers.into_iter().enumerate().all(|(n, answer)| answer.unwrap() == n * n));
        let desk = errands.desk();
        assert!(desk.waiting.is_empty() && desk.threads <= THREADS);
    }

    #[tokio::test]
    async fn those_that_take_long_are_done_side_by_side() {
        let (errands, both) = (Arc::new(Errands::default()), Arc::new(std::sync::Barrier::new(2)));
        let all = (0..2 * ENOUGH_FOR_ONE).map(|n| {
            let both = both.clone();
            // The first two wait for each other: one thread would never come to the second.
            errands.run(move || {
                if n < 2 {
                    both.wait();
                }
            })
        });
        assert!(join_all(all).await.into_iter().all(|done| done.is_ok()));
    }

    #[tokio::test]
    async fn one_that_panics_is_told_and_the_others_are_done() {
        let errands = Arc::new(Errands::default());
        let work = |n: usize| move || assert!(n != 1, "on purpose");
        let done = join_all((0..3).map(|n| errands.run(work(n)))).await;
        assert_eq!(done.into_iter().map(|done| done.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    }
}
