//! How many bytes per second may go over all connections of one bucket, both ways together. Counts bodies, in small pieces, so that the limit
//! holds within each of them and many take their turns. Without a limit it costs one look at a number per piece.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What was not used counts for this long.
const CREDIT: Duration = Duration::from_millis(100);
/// A piece takes no longer than this at the limit, so that nobody waits long for a turn.
const TURNS_PER_SECOND: u64 = 64;
/// Smaller pieces would cost more than they move.
const LEAST_PIECE: u64 = 1 << 10;

/// The limit of one bucket, shared by all that its connections carry.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// 0: none.
    bytes_per_second: AtomicU64,
    /// When all that has been granted will have moved.
    until: Mutex<Option<Instant>>,
}

impl Rate {
    /// Sets the limit, or takes it away.
    pub(super) fn set(&self, bytes_per_second: Option<u64>) {
        self.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// The most bytes to move at once, of so many.
    fn piece(&self, most: usize) -> usize {
        match self.bytes_per_second.load(Ordering::Relaxed) {
            0 => most,
            rate => most.min(usize::try_from((rate / TURNS_PER_SECOND).max(LEAST_PIECE)).unwrap_or(most)),
        }
    }

    /// Grants so many bytes, and says when they may move; `None`: at once.
    fn grant(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 || bytes == 0 {
            return None;
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let start = until.map_or(now, |until| until.max(earliest));
        *until = Some(start + Duration::from_secs_f64(bytes as f64 / rate as f64));
        (start > now).then_some(start)
    }
}

/// The turn of one body.
pub(super) struct Turn {
    rate: Arc<Rate>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Turn {
    pub(super) fn new(rate: &Arc<Rate>) -> Turn {
        Turn { rate: Arc::clone(rate), waiting: None }
    }

    /// The most bytes to ask for at once, of so many.
    pub(super) fn piece(&self, most: usize) -> usize {
        self.rate.piece(most)
    }

    /// Asks for so many bytes to move. To be followed by [`Turn::poll`] until it is ready.
    pub(super) fn ask(&mut self, bytes: usize) {
        let at = self.rate.grant(bytes, Instant::now());
        self.waiting = at.map(|at| Box::pin(tokio::time::sleep_until(at)));
    }

    /// Ready when what was asked for may move.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            std::task::ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_takes_its_time_and_what_was_not_used_counts_for_a_moment() {
        let rate = Rate::default();
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let grant = |bytes, at: u64| rate.grant(bytes, after(at)).map(|start| (start - begin).as_millis());
        assert_eq!((grant(1 << 40, 0), rate.piece(65_536)), (None, 65_536), "no limit");
        rate.set(Some(1_000_000));
        assert_eq!(rate.piece(65_536), 15_625);
        assert_eq!((grant(500_000, 0), grant(250_000, 0), grant(250_000, 0)), (None, Some(500), Some(750)));
        assert_eq!((grant(0, 0), grant(1, 900)), (None, Some(1000)));
        assert_eq!((grant(100_000, 5000), grant(1000, 5000), grant(1000, 5000)), (None, None, Some(5001)), "100 ms of credit");
        rate.set(Some(10));
        assert_eq!(rate.piece(65_536), 1024);
        rate.set(None);
        assert_eq!(grant(1 << 40, 5000), None);
    }
}
