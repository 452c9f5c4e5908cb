//! How many parts of one file are on their way at once: one, and more only while more make it faster. What a kill cuts off has to be sent
//! again, so that a line which one connection fills loses a part, and what the kernel still holds of the one before. A part that is out,
//! all of it, is the store's while it waits for its answer, and the next one begins meanwhile. Sends nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::permits::{Permit, Permits};

/// The most parts on their way.
const MOST: usize = 8;
/// Twice as many must be so much faster. Where each connection has a limit of its own they are twice as fast, and as fast as before where
/// the line or the processor is full.
const GAIN: f64 = 1.7;
/// The shortest time that a rate is measured over.
const SHORTEST: Duration = Duration::from_millis(50);
/// How long what was found holds.
const HOLDS: Duration = Duration::from_secs(30);

/// The turns of one file's parts.
pub(super) struct Turns {
    free: Permits,
    /// For those that go out, and one more that waits for its answer.
    unanswered: Permits,
    measured: Mutex<Measured>,
}

/// A part's turn, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    _unanswered: Permit<'a>,
    going_out: Option<Permit<'a>>,
    bytes: u64,
}

/// What was measured, and what follows.
#[derive(Debug)]
struct Measured {
    /// Parts that may be on their way.
    most: usize,
    /// Of the window: when it began, and what the store has taken since. The first begins with the first part taken: until then the file
    /// had to be opened and read.
    since: Option<Instant>,
    done: usize,
    bytes: u64,
    /// Bytes a second with half as many parts, while more are tried.
    tried_against: Option<f64>,
    holds_until: Instant,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns { free: Permits::new(1), unanswered: Permits::new(2), measured: Mutex::new(Measured::new(Instant::now())) }
    }

    /// Waits for the turn of a part of so many bytes.
    pub(super) async fn turn(&self, bytes: u64) -> Turn<'_> {
        let unanswered = self.unanswered.one().await;
        Turn { turns: self, going_out: Some(self.free.one().await), _unanswered: unanswered, bytes }
    }
}

impl Turn<'_> {
    /// All of the part is out.
    pub(super) fn is_out(&mut self) {
        self.going_out = None;
    }

    /// The store has taken the part.
    pub(super) fn done(self) {
        let mut measured = self.turns.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.taken(self.bytes, Instant::now());
        self.turns.free.resize(measured.most);
        self.turns.unanswered.resize(measured.most + 1);
    }
}

impl Measured {
    fn new(now: Instant) -> Measured {
        Measured { most: 1, since: None, done: 0, bytes: 0, tried_against: None, holds_until: now }
    }

    /// The store has taken a part. At the end of a window there may be more or fewer from now on.
    fn taken(&mut self, bytes: u64, now: Instant) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.done += 1;
        self.bytes += bytes;
        let time = now - since;
        if self.done < 3 * self.most || time < SHORTEST {
            return;
        }
        let rate = self.bytes as f64 / time.as_secs_f64();
        (self.since, self.done, self.bytes) = (Some(now), 0, 0);
        match self.tried_against.take() {
            Some(before) if rate < before * GAIN => {
                self.most /= 2;
                self.holds_until = now + HOLDS;
            }
            None if now < self.holds_until => {}
            _ if self.most < MOST => {
                self.tried_against = Some(rate);
                self.most *= 2;
            }
            _ => self.holds_until = now + HOLDS,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join;
    use proptest::prelude::*;

    use super::*;

    /// Sends for this many seconds over a line that gives each connection so much and all of them so much, in parts of 8 MB. Returns how
    /// often there were how many parts.
    fn parts_over(each: f64, all: f64, seconds: u64) -> [u64; MOST + 1] {
        let begin = Instant::now();
        let (mut measured, mut now, mut seen) = (Measured::new(begin), begin, [0; MOST + 1]);
        while now < begin + Duration::from_secs(seconds) {
            let rate = (each * measured.most as f64).min(all);
            now += Duration::from_secs_f64(8e6 / rate);
            seen[measured.most] += 1;
            measured.taken(8_000_000, now);
        }
        seen
    }

    #[test]
    fn where_connections_are_limited_there_are_soon_as_many_as_may_be() {
        let seen = parts_over(90e6, 5e9, 10);
        assert!(seen[1] + seen[2] + seen[4] < 25 && seen[8] > 500, "{seen:?}");
    }

    #[test]
    fn where_the_line_is_full_there_is_one() {
        let seen = parts_over(10e6, 10e6, 120);
        assert!(seen[4] == 0 && seen[8] == 0 && seen[2] <= 30 && seen[1] > 100, "{seen:?}");
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_is_free_again() {
        let turns = Turns::new();
        let first = turns.turn(100).await;
        assert_eq!(turns.free.free(), 0);
        drop(first);
        assert_eq!(turns.free.free(), 1);
        turns.turn(100).await.done();
        assert_eq!(turns.free.free(), 1);
    }

    #[tokio::test]
    async fn there_are_as_many_turns_as_parts_may_be_on_their_way() {
        let turns = Turns::new();
        for most in [2, 4, 2, 1, 2] {
            let turn = turns.turn(1).await;
            {
                let mut measured = turns.measured.lock().unwrap();
                // The window ends with the next part, and this is what it finds.
                let (more, now) = (most > measured.most, Instant::now());
                (measured.since, measured.done) = (Some(now - SHORTEST), 100);
                (measured.tried_against, measured.holds_until) = if more { (None, now) } else { (Some(f64::MAX), now) };
            }
            turn.done();
            while turns.free.free() > most {
                drop(turns.turn(1).await);
            }
            assert_eq!(turns.free.free(), most);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_part_waits_for_its_answer_the_next_one_begins_and_no_more() {
        let turns = Turns::new();
        let begins = || tokio::time::timeout(HOLDS, turns.turn(1)).map(|turn| turn.expect("it may begin"));
        let mut first = begins().await;
        assert!(turns.turn(1).now_or_never().is_none(), "the first is not out");
        let (mut second, ()) = join(begins(), async { first.is_out() }).await;
        second.is_out();
        assert!(turns.turn(1).now_or_never().is_none(), "two are unanswered");
        let (third, ()) = join(begins(), async { first.done() }).await;
        assert!(turns.turn(1).now_or_never().is_none(), "the third goes out, and the second is unanswered");
        drop(second);
        assert!(turns.turn(1).now_or_never().is_none(), "the third still goes out");
        third.done();
        assert_eq!((turns.free.free(), turns.unanswered.free()), (1, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_more_go_out_than_may_and_one_more_is_unanswered(
            most in 1..=MOST,
            steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..100),
        ) {
            let turns = Turns::new();
            turns.measured.lock().unwrap().most = most;
            // What this one finds is how many there may be.
            turns.turn(1).now_or_never().unwrap().done();
            let mut unanswered: Vec<Turn<'_>> = Vec::new();
            for (step, which) in steps {
                let going_out = unanswered.iter().filter(|turn| turn.going_out.is_some()).count();
                prop_assert!(going_out <= most && unanswered.len() <= most + 1);
                let at = (!unanswered.is_empty()).then(|| which.index(unanswered.len()));
                match (step, at) {
                    (0, Some(at)) => drop(unanswered.swap_remove(at)),
                    (1, Some(at)) => unanswered[at].is_out(),
                    _ => {
                        let turn = turns.turn(1).now_or_never();
                        prop_assert_eq!(turn.is_some(), going_out < most && unanswered.len() <= most);
                        unanswered.extend(turn);
                    }
                }
            }
            drop(unanswered);
            prop_assert_eq!((turns.free.free(), turns.unanswered.free()), (most, most + 1));
        }
    }
}
