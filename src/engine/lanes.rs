//! How many small transfers are under way at once: a number that was asked for, or as many as pay. Each then waits for the network most of
//! its time, so that more of them are faster until something else is full. Transfers nothing.
//!
//! By Little's law so many transfers of such a latency are such a rate: a window is one transfer per lane, and the rate follows from their
//! mean latency. Twice as many lanes stay when they brought a good part of twice the rate. Nothing is tried where the rate is what a
//! processor can do anyway, as on loopback, where more lanes only cost. When the rate falls by half and stays there (the store
//! throttles, or others use the line), half of the lanes go again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::permits::{Permit, Permits};

/// The lanes that a run begins with.
const FIRST: usize = 48;
/// The most lanes that pay anywhere.
const MOST: usize = 512;
/// More lanes must bring this share of what they could: twice as many must be 1.4 times as fast.
const GAIN: f64 = 0.4;
/// Transfers a second that are enough.
const ENOUGH: f64 = 6000.0;
/// How long what was found holds: at first, as something else may have been in the way, and twice as long each time that it is found again.
const HOLDS_FIRST: Duration = Duration::from_millis(200);
const HOLDS_LONGEST: Duration = Duration::from_secs(10);
/// What is larger measures the line and not its latency, and needs no more lanes than there are at first.
const SMALL_BYTES: u64 = 1 << 20;

/// How many transfers a run may have under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// So many.
    Fixed(usize),
    /// As many as pay, and never more than this.
    UpTo(usize),
}

impl Jobs {
    /// At first.
    pub(super) fn first(self) -> usize {
        match self {
            Jobs::Fixed(n) => n.max(1),
            Jobs::UpTo(_) => self.most().min(FIRST),
        }
    }

    /// At most.
    pub(super) fn most(self) -> usize {
        match self {
            Jobs::Fixed(n) => n.max(1),
            Jobs::UpTo(n) => n.clamp(1, MOST),
        }
    }
}

/// The lanes of one run.
pub(super) struct Lanes {
    free: Permits,
    /// For what is not small.
    large: Semaphore,
    measured: Mutex<Measured>,
}

/// A lane, until it is dropped.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    _permit: Permit<'a>,
    _large: Option<SemaphorePermit<'a>>,
    /// A small transfer's beginning, and how many changes there had been.
    begun: Option<(Instant, u64)>,
}

/// What was measured, and what follows.
#[derive(Debug)]
struct Measured {
    first: usize,
    most: usize,
    lanes: usize,
    /// Of the window, which begins anew with every change.
    changes: u64,
    done: usize,
    latency: Duration,
    /// The lanes and the rate before more were tried.
    tried_against: Option<(usize, f64)>,
    /// The best rate of late.
    best: f64,
    /// Windows in a row that were slow.
    slow: u32,
    holds: Duration,
    holds_until: Instant,
}

impl Lanes {
    pub(super) fn new(jobs: Jobs) -> Lanes {
        let (first, most) = (jobs.first(), jobs.most());
        let measured = Mutex::new(Measured::new(first, most, Instant::now()));
        Lanes { free: Permits::new(first), large: Semaphore::new(first), measured }
    }

    /// The most lanes that there may be.
    pub(super) fn most(&self) -> usize {
        self.locked().most
    }

    /// Waits for a lane for a transfer of so many bytes.
    pub(super) async fn turn(&self, bytes: u64) -> Lane<'_> {
        let is_small = bytes <= SMALL_BYTES;
        // They are never closed.
        let large = if is_small { None } else { self.large.acquire().await.ok() };
        let permit = self.free.one().await;
        let begun = is_small.then(|| (Instant::now(), self.locked().changes));
        Lane { lanes: self, _permit: permit, _large: large, begun }
    }

    fn locked(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane<'_> {
    /// The transfer was carried out.
    pub(super) fn done(self) {
        if let Some((begun, changes)) = self.begun {
            let (mut measured, now) = (self.lanes.locked(), Instant::now());
            measured.took(now - begun, changes, now);
            self.lanes.free.resize(measured.lanes);
        }
    }
}

impl Measured {
    fn new(first: usize, most: usize, now: Instant) -> Measured {
        Measured {
            first,
            most,
            lanes: first,
            changes: 0,
            done: 0,
            latency: Duration::ZERO,
            tried_against: None,
            best: 0.0,
            slow: 0,
            holds: HOLDS_FIRST,
            holds_until: now,
        }
    }

    /// A transfer took so long, and was begun after so many changes. At the end of a window there may be more or fewer lanes from now on.
    fn took(&mut self, latency: Duration, changes: u64, now: Instant) {
        if changes != self.changes {
            return;
        }
        self.done += 1;
        self.latency += latency;
        if self.done < self.lanes {
            return;
        }
        let mean = self.latency.as_secs_f64() / self.done as f64;
        let rate = self.lanes as f64 / mean.max(1e-6);
        (self.done, self.latency) = (0, Duration::ZERO);
        let tried = self.tried_against.take();
        match tried {
            Some((before, rate_before)) if rate < rate_before * (1.0 + GAIN * (self.lanes as f64 / before as f64 - 1.0)) => {
                self.best = rate_before;
                self.change(before, now);
            }
            None if rate < self.best / 2.0 && self.lanes > self.first => {
                self.slow += 1;
                self.best *= 0.98;
                // One may have met a pause that is over.
                if self.slow > 1 {
                    self.change((self.lanes / 2).max(self.first), now);
                }
            }
            _ => {
                self.slow = 0;
                if tried.is_some() {
                    self.holds = HOLDS_FIRST;
                }
                self.best = rate.max(self.best * 0.9);
                if rate < ENOUGH && self.lanes < self.most && now >= self.holds_until {
                    self.tried_against = Some((self.lanes, self.best));
                    self.change((self.lanes * 2).min(self.most), now);
                }
            }
        }
    }

    fn change(&mut self, lanes: usize, now: Instant) {
        if lanes < self.lanes {
            self.holds_until = now + self.holds;
            self.holds = (self.holds * 2).min(HOLDS_LONGEST);
        }
        self.lanes = lanes;
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transfers so many items to a store that answers after `latency` and takes so many a second. Returns the most and the last number of
    /// lanes, and the seconds that it took.
    fn transfers(items: usize, most: usize, store: impl Fn(f64) -> (f64, f64)) -> (usize, usize, f64) {
        let begin = Instant::now();
        let (mut measured, mut left, mut seconds, mut peak) = (Measured::new(FIRST.min(most), most, begin), items, 0.0, 0);
        while left > 0 {
            let (latency, rate) = store(seconds);
            let lanes = measured.lanes;
            let took = latency.max(lanes as f64 / rate);
            seconds += took;
            left = left.saturating_sub(lanes);
            peak = peak.max(lanes);
            let changes = measured.changes;
            for _ in 0..lanes {
                measured.took(Duration::from_secs_f64(took), changes, begin + Duration::from_secs_f64(seconds));
            }
            assert!((1..=most).contains(&measured.lanes));
        }
        (peak, measured.lanes, seconds)
    }

    #[test]
    fn latency_is_hidden_until_something_else_is_full() {
        let (peak, last, seconds) = transfers(10_000, 512, |_| (0.04, 5000.0));
        assert!(peak <= 384 && last >= 192 && seconds < 2.4, "{peak} {last} {seconds}");
        let (peak, last, _) = transfers(100_000, 512, |_| (0.2, 50_000.0));
        assert_eq!((peak, last), (512, 512));
        assert_eq!(transfers(100_000, 100, |_| (0.2, 50_000.0)).0, 100, "as many as there may be");
    }

    #[test]
    fn where_the_processor_or_the_line_is_full_there_are_no_more_than_at_first() {
        assert_eq!(transfers(100_000, 512, |_| (0.0005, 8000.0)).0, FIRST);
        // Slower than enough: more are tried now and then, and go again.
        let (_, last, seconds) = transfers(20_000, 512, |_| (0.001, 500.0));
        assert!(last <= 2 * FIRST && seconds < 41.0, "{last} {seconds}");
    }

    #[test]
    fn a_store_that_becomes_slow_has_fewer_again() {
        let (peak, last, _) = transfers(100_000, 512, |seconds| if seconds < 3.0 { (0.04, 50_000.0) } else { (0.04, 300.0) });
        assert!(peak >= 192 && last <= 2 * FIRST, "{peak} {last}");
    }

    #[tokio::test]
    async fn there_are_as_many_lanes_as_there_may_be_whatever_is_given_up() {
        let lanes = Lanes::new(Jobs::Fixed(3));
        let (one, two, three) = (lanes.turn(1).await, lanes.turn(SMALL_BYTES + 1).await, lanes.turn(0).await);
        assert_eq!((lanes.free.free(), lanes.large.available_permits()), (0, 2));
        drop(one);
        two.done();
        three.done();
        assert_eq!((lanes.free.free(), lanes.large.available_permits()), (3, 3));
        for _ in 0..20 {
            lanes.turn(1).await.done();
        }
        assert_eq!(lanes.free.free(), 3, "a number that was asked for stays");
        assert_eq!(Lanes::new(Jobs::Fixed(0)).free.free(), 1, "never none");
        let lanes = Lanes::new(Jobs::UpTo(512));
        for wanted in [96, 48, 96, 192, 96] {
            let lane = lanes.turn(1).await;
            {
                let mut measured = lanes.locked();
                // The window ends with the next transfer, and this is what it finds.
                let more = wanted > measured.lanes;
                (measured.done, measured.latency) = (measured.lanes, Duration::from_secs(1000));
                measured.best = if more { 0.0 } else { f64::MAX };
                (measured.tried_against, measured.holds_until, measured.slow) = (None, Instant::now(), 1);
            }
            lane.done();
            while lanes.free.free() > wanted {
                lanes.turn(SMALL_BYTES + 1).await.done();
            }
            assert_eq!(lanes.free.free(), wanted);
        }
    }
}
