//! The fault campaign: each seed makes a store, a tree, a past and a storm of faults, runs lsync through it, and holds what it said against
//! what the store's own log of versions says. Waiting costs nothing: store and client share one runtime, whose clock jumps while both wait.
//!
//! `LSYNC_TEST_CAMPAIGN=0..20000` says which seeds, `LSYNC_TEST_CAMPAIGN_THREADS` how many at a time, `LSYNC_TEST_REPORTS` where the report
//! `campaign.json` goes; a slice runs without them. `LSYNC_TEST_CAMPAIGN_BINARY` says which seeds the real binary meets, in real time.

mod bench;
mod expired;
mod judge;
mod overwritten;
mod program;
mod refused;
mod report;
mod seed;
mod tree;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;

use self::report::Tally;

/// Seeds of the slice that always runs.
const SLICE: Range<u64> = 0..240;
/// As much as the main thread of the real program has.
const STACK_BYTES: usize = 8 << 20;

#[test]
fn no_storm_makes_a_run_lie_lose_or_leave_anything_behind() {
    let seeds = seeds("LSYNC_TEST_CAMPAIGN").unwrap_or(SLICE);
    let tally = Mutex::new(Tally::default());
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let play = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let ended = catch_unwind(AssertUnwindSafe(|| judge::story(seed)));
                let told = ended.unwrap_or_else(|_| judge::Told::panicked(seed));
                tally.lock().expect("no thread panics while it counts").add(told);
            }
        };
        for _ in 0..threads() {
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, play).expect("a thread");
        }
    });
    let tally = tally.into_inner().expect("no thread panics while it counts");
    let report = tally.write(&seeds);
    assert!(tally.failures.is_empty(), "{} of {} seeds failed:\n{report}", tally.failures.len(), seeds.end - seeds.start);
}

/// The seeds that the environment asks for: `FIRST..END`, or one.
fn seeds(variable: &str) -> Option<Range<u64>> {
    let asked = std::env::var(variable).ok()?;
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{variable} is FIRST..END or one seed, not {asked:?}"));
    Some(match asked.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&asked)..number(&asked) + 1,
    })
}

fn threads() -> usize {
    let asked = std::env::var("LSYNC_TEST_CAMPAIGN_THREADS").ok().and_then(|asked| asked.parse().ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from))
}
