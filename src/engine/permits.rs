//! Permits whose number changes while some of them are out. Measures nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many permits as there may be now.
pub(super) struct Permits {
    free: Semaphore,
    count: Mutex<Count>,
}

struct Count {
    /// That there may be.
    wanted: usize,
    /// That are more than that, and go when they come back.
    too_many: usize,
}

/// A permit, until it is dropped.
pub(super) struct Permit<'a> {
    of: &'a Permits,
    permit: Option<SemaphorePermit<'a>>,
}

impl Permits {
    pub(super) fn new(wanted: usize) -> Permits {
        Permits { free: Semaphore::new(wanted), count: Mutex::new(Count { wanted, too_many: 0 }) }
    }

    /// Waits for a permit.
    pub(super) async fn one(&self) -> Permit<'_> {
        // They are never closed.
        Permit { of: self, permit: self.free.acquire().await.ok() }
    }

    /// There may be so many from now on.
    pub(super) fn resize(&self, wanted: usize) {
        let mut count = self.count();
        let (more, fewer) = (wanted.saturating_sub(count.wanted), count.wanted.saturating_sub(wanted));
        // Those that were to go, and may stay now, are not made anew.
        let kept = more.min(count.too_many);
        *count = Count { wanted, too_many: count.too_many - kept + fewer };
        self.free.add_permits(more - kept);
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are free, for tests.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut count = self.of.count();
        if count.too_many > 0 {
            count.too_many -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_as_many_as_were_asked_for_last() {
        let permits = Permits::new(3);
        let out = [permits.one().await, permits.one().await, permits.one().await];
        for (wanted, free) in [(5, 2), (1, 2), (4, 2), (2, 2), (3, 2)] {
            permits.resize(wanted);
            assert_eq!(permits.free(), free);
        }
        drop(out);
        // Two more were made on the way: two of these go as they come back.
        assert_eq!(permits.free(), 3);
    }

    #[tokio::test]
    async fn what_is_too_many_goes_when_it_comes_back() {
        let permits = Permits::new(4);
        let (one, two) = (permits.one().await, permits.one().await);
        permits.resize(1);
        drop(one);
        drop(two);
        drop(permits.one().await);
        assert_eq!(permits.free(), 1);
    }
}
