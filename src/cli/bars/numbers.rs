//! What the events of a run add up to. Pure, but for what it is given; draws nothing.

use std::collections::HashMap;
use std::time::Duration;

use lsync::event::{Ended, Event, Phase};
use lsync::path::RelPath;
use lsync::plan::Direction;

use super::meter::Meter;

/// What an item costs beside its bytes, in bytes: without it, ten thousand small files look as if they were nothing.
const ITEM: u64 = 64 << 10;

/// A run so far.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) direction: Option<Direction>,
    pub(super) phase: Option<Phase>,
    pub(super) stopping: bool,
    /// When the phase began.
    pub(super) began: Duration,
    /// Entries of the mount and their bytes.
    pub(super) scanned: (u64, u64),
    /// Objects of the bucket.
    pub(super) listed: u64,
    /// Items and bytes that the phase has ahead of it.
    pub(super) total: (u64, u64),
    /// Items and bytes that are done. Bytes of an item that failed are not.
    pub(super) done: (u64, u64),
    pub(super) failed: u64,
    /// Of the bytes that are done, those that were copied where they were to go: they are no speed.
    copied: u64,
    /// Files that move now.
    pub(super) flying: HashMap<RelPath, Flying>,
    meter: Meter,
}

/// A file that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flying {
    pub(super) bytes: u64,
    pub(super) moved: u64,
}

impl Numbers {
    pub(super) fn new(direction: Option<Direction>) -> Numbers {
        Numbers {
            direction,
            phase: None,
            stopping: false,
            began: Duration::ZERO,
            scanned: (0, 0),
            listed: 0,
            total: (0, 0),
            done: (0, 0),
            failed: 0,
            copied: 0,
            flying: HashMap::new(),
            meter: Meter::default(),
        }
    }

    /// Counts an event that comes at `now`.
    pub(super) fn take(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Phase(phase) => {
                // A further pass goes on with the numbers of the first.
                let resumes = *phase == Phase::Transfer && self.total != (0, 0) && self.phase == Some(Phase::Verify);
                *self = if resumes {
                    Numbers { phase: Some(*phase), flying: HashMap::new(), ..std::mem::replace(self, Numbers::new(None)) }
                } else if *phase == Phase::Verify {
                    Numbers { phase: Some(*phase), listed: 0, began: now, ..std::mem::replace(self, Numbers::new(None)) }
                } else {
                    Numbers { phase: Some(*phase), stopping: self.stopping, began: now, ..Numbers::new(self.direction) }
                };
            }
            Event::Scanned { entries, bytes } => self.scanned = (*entries, *bytes),
            Event::Listed { objects } => self.listed = *objects,
            Event::Planned { files, bytes } => {
                (self.total, self.done, self.copied) = ((*files, *bytes), (0, 0), 0);
                self.meter = Meter::at(now, [0, 0]);
            }
            Event::Hashed { bytes } => self.done.1 += bytes,
            Event::Started { path, bytes } => {
                let before = self.flying.insert(path.clone(), Flying { bytes: *bytes, moved: 0 });
                self.done.1 = self.done.1.saturating_sub(before.map_or(0, |file| file.moved));
            }
            Event::Moved { path, bytes } | Event::Copied { path, bytes } => {
                // What comes after the end of an item is late, and counted already.
                if let Some(file) = self.flying.get_mut(path) {
                    file.moved += bytes;
                    self.done.1 += bytes;
                    self.copied += if matches!(event, Event::Copied { .. }) { *bytes } else { 0 };
                }
            }
            Event::Retried { path, bytes, .. } => {
                if let Some(file) = self.flying.get_mut(path) {
                    let back = file.moved.min(*bytes);
                    file.moved -= back;
                    self.done.1 = self.done.1.saturating_sub(back);
                }
            }
            Event::Finished { path, outcome, bytes, .. } => {
                self.done.0 += 1;
                let file = self.flying.remove(path);
                let moved = file.map_or(0, |file| file.moved);
                self.done.1 = self.done.1.saturating_sub(moved);
                if *outcome == Ended::Done {
                    // What was told while it moved may have been more or less than it is.
                    self.done.1 += if file.is_some() { *bytes } else { 0 };
                } else {
                    self.failed += 1;
                    self.total.1 = self.total.1.saturating_sub(*bytes);
                }
            }
            Event::Warning(_) => {}
        }
    }

    /// To be called before a frame.
    pub(super) fn note(&mut self, now: Duration) {
        let counts = [self.done.1.saturating_sub(self.copied), self.work(self.done)];
        self.meter.note(now, counts);
    }

    /// Bytes and items as one number.
    fn work(&self, (items, bytes): (u64, u64)) -> u64 {
        let weight = if self.phase == Some(Phase::Transfer) { ITEM } else { 0 };
        bytes.saturating_add(items.saturating_mul(weight))
    }

    /// How far the phase is, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        match self.work(self.total) {
            0 => 0.0,
            total => (self.work(self.done) as f64 / total as f64).min(1.0),
        }
    }

    /// Bytes per second, and seconds left.
    pub(super) fn speed(&self, now: Duration) -> Option<(u64, Option<u64>)> {
        let [bytes, work] = self.meter.rates(now)?;
        let left = self.work(self.total).saturating_sub(self.work(self.done));
        let seconds = (work >= 1.0).then(|| (left as f64 / work).ceil() as u64);
        Some((bytes as u64, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsync::event::Verb;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn finished(text: &str, bytes: u64, outcome: Ended) -> Event {
        Event::Finished { path: path(text), verb: Verb::Upload, bytes, outcome }
    }

    #[track_caller]
    fn check(events: &[Event], done: (u64, u64), total: (u64, u64)) {
        let mut numbers = Numbers::new(Some(Direction::Upload));
        let first = [Event::Phase(Phase::Transfer), Event::Planned { files: 2, bytes: 100 }];
        first.iter().chain(events).for_each(|event| numbers.take(event, Duration::ZERO));
        assert_eq!((numbers.done, numbers.total), (done, total));
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let started = || Event::Started { path: path("a"), bytes: 60 };
        let moved = |bytes| Event::Moved { path: path("a"), bytes };
        let retried = |bytes| Event::Retried { path: path("a"), bytes, why: "x".into() };
        check(&[started(), moved(40)], (0, 40), (2, 100));
        check(&[started(), moved(40), retried(30), moved(10)], (0, 20), (2, 100));
        check(&[started(), moved(40), retried(90), moved(10)], (0, 10), (2, 100));
        check(&[started(), moved(40), started(), moved(10)], (0, 10), (2, 100));
        check(&[started(), moved(60), finished("a", 60, Ended::Done)], (1, 60), (2, 100));
        check(&[started(), moved(70), finished("a", 60, Ended::Done)], (1, 60), (2, 100));
        check(&[started(), moved(40), finished("a", 60, Ended::Failed("x".into()))], (1, 0), (2, 40));
        check(&[finished("deleted", 60, Ended::Done)], (1, 0), (2, 100));
    }

    #[test]
    fn what_is_copied_where_it_goes_is_done_and_no_speed() {
        let mut numbers = Numbers::new(Some(Direction::Upload));
        numbers.take(&Event::Phase(Phase::Transfer), Duration::ZERO);
        numbers.take(&Event::Planned { files: 1, bytes: 2_000_000_000 }, Duration::ZERO);
        numbers.take(&Event::Started { path: path("a"), bytes: 2_000_000_000 }, Duration::ZERO);
        for n in 1..=10u64 {
            let at = Duration::from_secs(n);
            numbers.take(&Event::Moved { path: path("a"), bytes: 10_000_000 }, at);
            numbers.take(&Event::Copied { path: path("a"), bytes: 90_000_000 }, at);
            numbers.note(at);
        }
        let (bytes, left) = numbers.speed(Duration::from_secs(10)).unwrap();
        assert_eq!(numbers.done, (0, 1_000_000_000));
        assert!((8_000_000..=12_000_000).contains(&bytes) && (9..=12).contains(&left.unwrap()), "{bytes} B/s, {left:?} s");
    }

    #[test]
    fn time_left_counts_small_files_too() {
        let mut numbers = Numbers::new(None);
        numbers.take(&Event::Phase(Phase::Transfer), Duration::ZERO);
        numbers.take(&Event::Planned { files: 1000, bytes: 1000 }, Duration::ZERO);
        for n in 0..500u64 {
            let (name, at) = (format!("f{n}"), Duration::from_millis(n * 20));
            numbers.take(&Event::Started { path: path(&name), bytes: 1 }, at);
            numbers.take(&finished(&name, 1, Ended::Done), at);
            numbers.note(at);
        }
        let (bytes, left) = numbers.speed(Duration::from_secs(10)).unwrap();
        assert!((45..=55).contains(&bytes) && (9..=11).contains(&left.unwrap()), "{bytes} B/s, {left:?} s");
    }
}
