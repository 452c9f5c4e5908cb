//! The whole of it: thousands of random kills, every event of every story, every call that writes. One command, one report; the README
//! says which.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;

use super::check::case;
use super::moment::Kill;
use super::story::{Scene, Story};
use crate::support::report::{asked_for, report};
use crate::support::seed::Seed;

/// Calls by which something comes to lie on disk or on the wire, or goes.
const CALLS: [&str; 17] = [
    "openat",
    "openat2",
    "mkdirat",
    "write",
    "pwrite64",
    "ftruncate",
    "fchmod",
    "utimensat",
    "fsync",
    "fdatasync",
    "syncfs",
    "linkat",
    "symlinkat",
    "renameat",
    "renameat2",
    "unlinkat",
    "writev",
];
/// Those that give and take names, which is where a file can get lost.
const NAMING: [&str; 5] = ["linkat", "renameat", "renameat2", "unlinkat", "fsync"];

/// A story, a time at which its run is killed, and whether a run in the other direction comes between.
pub(super) fn at_random(seed: &mut Seed) -> (Story, Kill, bool) {
    let story = *seed.pick(&Story::ALL);
    let micros = u64::try_from(length(story).as_micros()).expect("it is short");
    (story, Kill::After(Duration::from_micros(seed.below(micros))), seed.once_in(4))
}

/// How long the story's run takes here when nobody kills it.
fn length(story: Story) -> Duration {
    static LENGTHS: OnceLock<BTreeMap<Story, Duration>> = OnceLock::new();
    let measured = |story| {
        let scene = Scene::set(story);
        let began = Instant::now();
        scene.cmd().run().expect(0);
        (story, began.elapsed())
    };
    LENGTHS.get_or_init(|| Story::ALL.map(measured).into())[&story]
}

/// What was done, and what went wrong; in the report after every few cases, so that a campaign that is stopped is evidence too.
struct Tally {
    name: &'static str,
    seed: u64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    cases: u64,
    killed: u64,
    by_kind: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

impl Tally {
    fn new(name: &'static str, seed: u64) -> Tally {
        Tally { name, seed, counts: Mutex::default() }
    }

    /// Makes a case; one that fails is written down and the campaign goes on. True when the run was killed.
    fn case(&self, kind: String, story: Story, kill: &Kill, back: bool) -> bool {
        let went = catch_unwind(AssertUnwindSafe(|| case(story, kill, back)));
        let mut counts = self.counts.lock().expect("nothing panics with it");
        counts.cases += 1;
        let killed = went.unwrap_or_else(|_| {
            counts.wrong.push(format!("{kind}: {story:?} {kill:?} back={back}"));
            true
        });
        counts.killed += u64::from(killed);
        *counts.by_kind.entry(kind).or_default() += u64::from(killed);
        if counts.cases.is_multiple_of(20) {
            self.write(&counts);
        }
        killed
    }

    fn write(&self, counts: &Counts) {
        let Counts { cases, killed, by_kind, wrong } = counts;
        let (seed, violations) = (self.seed, wrong.len());
        let all =
            json!({ "seed": seed, "cases": cases, "killed": killed, "violations": violations, "killed_by_kind": by_kind, "wrong": wrong });
        report(self.name, &all);
    }

    /// Fails the test if anything was wrong. Returns how many runs were killed.
    #[track_caller]
    fn end(self) -> u64 {
        let counts = self.counts.lock().expect("nothing panics with it");
        self.write(&counts);
        assert!(counts.wrong.is_empty(), "{} violations:\n{}", counts.wrong.len(), counts.wrong.join("\n"));
        counts.killed
    }
}

/// Does the work for each item, on as many threads as there are processors.
fn on_all_processors<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().expect("nothing panics with it").next();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

#[test]
#[ignore = "a campaign of an hour; the README says how to run it"]
fn campaign_kills_at_random_times() {
    let mut seed = Seed::fresh();
    let (tally, count) = (Tally::new("kills-at-random-times", seed.number()), asked_for("LSYNC_TEST_KILLS", 3000));
    let cases: Vec<_> = (0..count).map(|_| at_random(&mut seed)).collect();
    on_all_processors(cases, |(story, kill, back)| {
        tally.case(format!("{story:?}"), story, &kill, back);
    });
    tally.end();
}

#[test]
#[ignore = "a campaign of several minutes; the README says how to run it"]
fn campaign_kills_at_every_event() {
    let tally = Tally::new("kills-at-every-event", 0);
    on_all_processors(Story::ALL.to_vec(), |story| {
        for event in 1..1000 {
            if !tally.case(format!("{story:?}"), story, &Kill::Event(event), event % 2 == 0) {
                break;
            }
        }
    });
    tally.end();
}

#[test]
#[ignore = "a campaign of an hour, under strace; the README says how to run it"]
fn campaign_kills_at_every_call() {
    every_call(Tally::new("kills-at-every-call", 0), &Story::ALL, &CALLS);
}

/// Kills at the first such call of a thread, at the second, … until the run comes to its end.
fn every_call(tally: Tally, stories: &[Story], calls: &'static [&'static str]) -> u64 {
    let pairs: Vec<(Story, &'static str)> = stories.iter().flat_map(|story| calls.iter().map(|call| (*story, *call))).collect();
    on_all_processors(pairs, |(story, call)| {
        for number in 1..1000 {
            if !tally.case(format!("{story:?} {call}"), story, &Kill::Syscall(call, number), false) {
                break;
            }
        }
    });
    tally.end()
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn runs_may_be_killed_at_every_call_that_gives_or_takes_a_name() {
    let killed = every_call(Tally::new("kills-at-naming-calls", 0), &[Story::Upload, Story::Download], &NAMING);
    assert!(killed >= 20, "{killed}");
}
