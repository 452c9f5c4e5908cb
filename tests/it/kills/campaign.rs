//! The whole of it: thousands of random kills, every event of every story, every call that writes. One command, one report; the README
//! says which.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::{Went, case};
use super::moment::Kill;
use super::story::Story;
use crate::support::report::{asked_for, report};
use crate::support::seed::Seed;

/// Calls by which something comes to lie on disk or on the wire, or goes.
const CALLS: [&str; 15] = [
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
    "linkat",
    "symlinkat",
    "renameat2",
    "unlinkat",
    "sendto",
];
/// Those that give and take names, which is where a file can get lost.
const NAMING: [&str; 5] = ["linkat", "renameat", "renameat2", "unlinkat", "fsync"];

/// Runs of these stories take less than this, without large files and with them.
const LONGEST: [Duration; 2] = [Duration::from_millis(220), Duration::from_millis(900)];

/// A story, a time at which its run is killed, and whether a run in the other direction comes between.
pub(super) fn at_random(seed: &mut Seed) -> (Story, Kill, bool) {
    let story = *seed.pick(&Story::ALL);
    let longest = LONGEST[usize::from(matches!(story, Story::UploadLarge | Story::DownloadLarge))];
    let micros = u64::try_from(longest.as_micros()).expect("it is short");
    (story, Kill::After(Duration::from_micros(seed.below(micros))), seed.once_in(4))
}

/// What was done, and what went wrong.
#[derive(Default)]
struct Tally {
    cases: u64,
    killed: u64,
    open_uploads: u64,
    wrong: Vec<String>,
}

impl Tally {
    /// Makes a case; one that fails is written down and the campaign goes on.
    fn case(tally: &Mutex<Tally>, name: &str, story: Story, kill: &Kill, back: bool) -> bool {
        let went = catch_unwind(AssertUnwindSafe(|| case(story, kill, back)));
        let mut tally = tally.lock().expect("nothing panics with it");
        tally.cases += 1;
        match went {
            Ok(Went { killed, open_uploads }) => {
                tally.killed += u64::from(killed);
                tally.open_uploads += open_uploads as u64;
                killed
            }
            Err(_) => {
                tally.wrong.push(format!("{name}: {story:?} {kill:?} back={back}"));
                true
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "cases": self.cases, "killed": self.killed, "open_uploads_left": self.open_uploads,
            "violations": self.wrong.len(), "wrong": self.wrong,
        })
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
fn campaign_kills() {
    let mut seed = Seed::fresh();
    let (first, count) = (seed.number(), asked_for("LSYNC_TEST_KILLS", 3000));
    let by_time = Mutex::new(Tally::default());
    let random: Vec<_> = (0..count).map(|_| (seed.number(), at_random(&mut seed))).collect();
    on_all_processors(random, |(number, (story, kill, back))| {
        Tally::case(&by_time, &format!("seed {number}"), story, &kill, back);
    });
    let by_event: BTreeMap<Story, Mutex<Tally>> = Story::ALL.map(|story| (story, Mutex::default())).into();
    on_all_processors(Story::ALL.to_vec(), |story| {
        for event in 1.. {
            if !Tally::case(&by_event[&story], "event", story, &Kill::Event(event), event % 2 == 0) {
                break;
            }
        }
    });
    let by_call = every_call(&Story::ALL, &CALLS);
    let events: Vec<Value> =
        by_event.iter().map(|(story, tally)| json!([format!("{story:?}"), tally.lock().expect("done").json()])).collect();
    let calls: Vec<Value> = by_call.iter().map(|(name, tally)| json!([name, tally.lock().expect("done").json()])).collect();
    let by_time = by_time.into_inner().expect("done");
    report("kills", &json!({ "seed": first, "at_random_times": by_time.json(), "at_every_event": events, "at_every_call": calls }));
    let all = by_event.into_values().chain(by_call.into_values()).map(|tally| tally.into_inner().expect("done")).chain([by_time]);
    let wrong: Vec<String> = all.flat_map(|tally| tally.wrong).collect();
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

/// Kills at the first such call of a thread, at the second, … until the run comes to its end.
fn every_call(stories: &[Story], calls: &'static [&'static str]) -> BTreeMap<String, Mutex<Tally>> {
    let pairs: Vec<(Story, &'static str)> = stories.iter().flat_map(|story| calls.iter().map(|call| (*story, *call))).collect();
    let tallies: BTreeMap<String, Mutex<Tally>> =
        pairs.iter().map(|(story, call)| (format!("{story:?} {call}"), Mutex::default())).collect();
    on_all_processors(pairs, |(story, call)| {
        for number in 1.. {
            if !Tally::case(&tallies[&format!("{story:?} {call}")], "call", story, &Kill::Syscall(call, number), false) {
                break;
            }
        }
    });
    tallies
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn runs_may_be_killed_at_every_call_that_gives_or_takes_a_name() {
    let tallies = every_call(&[Story::Upload, Story::Download], &NAMING);
    let killed: u64 = tallies.values().map(|tally| tally.lock().expect("done").killed).sum();
    assert!(killed >= 20, "{killed}");
    let wrong: Vec<String> = tallies.into_values().flat_map(|tally| tally.into_inner().expect("done").wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
