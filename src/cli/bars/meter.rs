//! How fast something moves, from what was counted over the last while. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// A rate is taken over at least this time …
const WINDOW: Duration = Duration::from_secs(10);
/// … and over at least so many steps, because throttled and multipart transfers move in large ones.
const STEPS: usize = 8;

/// Counts over time.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<(Duration, [u64; 2])>,
}

impl Meter {
    /// Begins at a time, with these counts.
    pub(super) fn at(time: Duration, counts: [u64; 2]) -> Meter {
        Meter { samples: VecDeque::from([(time, counts)]) }
    }

    /// Notes what has been counted until `time`.
    pub(super) fn note(&mut self, time: Duration, counts: [u64; 2]) {
        if self.samples.back().is_some_and(|(_, last)| *last == counts) {
            return;
        }
        self.samples.push_back((time, counts));
        while self.samples.len() > STEPS + 1 && self.samples[1].0 + WINDOW <= time {
            self.samples.pop_front();
        }
    }

    /// Counts per second, as things stand at `time`; `None` while too little has been seen.
    pub(super) fn rates(&self, time: Duration) -> Option<[f64; 2]> {
        let ((first, from), (last, to)) = (self.samples.front()?, self.samples.back()?);
        let seconds = time.saturating_sub(*first).as_secs_f64();
        if first == last || seconds < 0.5 {
            return None;
        }
        Some([0, 1].map(|at| to[at].saturating_sub(from[at]) as f64 / seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: impl Iterator<Item = (u64, u64)>, ms: u64) -> Option<u64> {
        let mut meter = Meter::at(Duration::ZERO, [0, 0]);
        steps.for_each(|(ms, bytes)| meter.note(Duration::from_millis(ms), [bytes, 0]));
        meter.rates(Duration::from_millis(ms)).map(|[bytes, _]| bytes as u64)
    }

    #[test]
    fn the_rate_is_that_of_the_last_while() {
        assert_eq!(after((1..=80).map(|n| (n * 125, n * 125)), 10_000), Some(1000));
        // Fast for a minute, then slow for a minute: the fast one is forgotten.
        let slow = (1..=480).map(|n| (n * 125, n * 125_000)).chain((1..=480).map(|n| (60_000 + n * 125, 60_000_000 + n * 125)));
        assert_eq!(after(slow, 120_000), Some(1000));
    }

    #[test]
    fn large_steps_do_not_make_it_jump() {
        // 8 MB every 8 s: always about 1 MB/s, whenever one looks after the first few steps.
        for ms in 40_000..48_000 {
            let rate = after((1..=5).map(|n| (n * 8000, n * 8_000_000)), ms).unwrap();
            assert!((800_000..=1_000_000).contains(&rate), "{rate} at {ms}");
        }
    }

    #[test]
    fn nothing_is_said_before_something_is_known() {
        assert_eq!(after(std::iter::empty(), 10_000), None);
        assert_eq!(after([(100, 1)].into_iter(), 200), None);
        assert_eq!(after([(1000, 500), (1500, 0)].into_iter(), 2000), Some(0), "what was taken back does not count");
    }
}
