//! A directory of the mount, or a file, that is swapped for a link to something outside and back, as fast as it goes, while a download
//! writes there. `LSYNC_TEST_SWAPS` says how many files are to be written in such a race; the README has the command for the whole of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use lsync::sandbox::{Action, Rule};
use rustix::fs::{RenameFlags, renameat_with};
use serde_json::json;

use super::Outside;
use super::without_openat2::lacking_openat2;
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::report::{asked_for, report};
use crate::support::s3::S3;

/// Files that one run is to write.
const FILES: u64 = 60;

/// What is swapped.
#[derive(Clone, Copy, PartialEq)]
enum Victim {
    /// This directory, above the files.
    Directory(&'static str),
    /// The files themselves, in turn.
    Files,
}

/// Swaps pairs of names in turn until it is stopped, and leaves them as they were.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Swapper {
    fn start(mount: &Mount, pairs: Vec<(String, String)>) -> Swapper {
        let stop = Arc::new(AtomicBool::new(false));
        let (root, stopped) = (fs::File::open(mount.root()).expect("the mount"), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut swapped = vec![0_u64; pairs.len()];
            while !stopped.load(Ordering::Relaxed) {
                for ((one, other), swapped) in pairs.iter().zip(&mut swapped) {
                    // It fails while lsync has one of the names in its hands.
                    *swapped += u64::from(renameat_with(&root, one, &root, other, RenameFlags::EXCHANGE).is_ok());
                }
            }
            for ((one, other), swapped) in pairs.iter().zip(&mut swapped).filter(|(_, swapped)| **swapped % 2 == 1) {
                renameat_with(&root, one, &root, other, RenameFlags::EXCHANGE).expect("both are there");
                *swapped += 1;
            }
            swapped.iter().sum()
        });
        Swapper { stop, thread }
    }

    /// Ends; how often it swapped.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// What was counted.
#[derive(Default)]
struct Tally {
    runs: u64,
    swaps: u64,
    came: u64,
    refused: u64,
}

/// The files of a round: new ones where a directory is swapped, the same where they are.
fn name(victim: Victim, round: u64, n: u64) -> String {
    if victim == Victim::Files { format!("d/e/f{n}") } else { format!("d/e/{round}-{n}") }
}

/// Links to what lies outside, each under a name to swap with. Through one to a directory lies the same as in that directory, so that a
/// path that is followed leads somewhere.
fn pairs(mount: &Mount, outside: &Outside, victim: Victim) -> Vec<(String, String)> {
    let pairs: Vec<(String, String)> = match victim {
        Victim::Directory(dir) => vec![(dir.into(), "aside/swap".into())],
        Victim::Files => (0..FILES).map(|n| (name(victim, 0, n), format!("aside/swap{n}"))).collect(),
    };
    let target = match victim {
        Victim::Directory("d") => outside.dir.clone(),
        Victim::Directory(_) => outside.dir.join("e"),
        Victim::Files => outside.dir.join("secret"),
    };
    for (_, aside) in &pairs {
        if mount.has(aside) {
            mount.remove(aside);
        }
        mount.link(aside, target.to_str().expect("UTF-8"));
    }
    pairs
}

/// Races until so many files were written or refused.
fn race(victim: Victim, files: u64, lacking: Option<&str>) -> Tally {
    let (mount, s3) = (Mount::with(&[("d/e/old", "old"), ("aside/x", "x")]), S3::start());
    if victim == Victim::Files {
        (0..FILES).for_each(|n| _ = mount.write(&name(victim, 0, n), "first"));
    }
    let outside = Outside::beside(&mount, &["e"]);
    let lsync = |line: &str| Cmd::lsync(&mount).on(&s3.store).args(line).args("--exclude /aside/");
    lsync("upload --yes").run().expect(0);
    let mut tally = Tally::default();
    while tally.came + tally.refused < files {
        let round = tally.runs;
        let content = |n: u64| format!("{round} {n}");
        for n in 0..FILES {
            s3.put(&name(victim, round, n), content(n));
        }
        let pairs = pairs(&mount, &outside, victim);
        let cmd = lsync("download --yes --json");
        let cmd = lacking.map_or_else(|| cmd.clone(), |error| lacking_openat2(cmd.clone(), error, &mount.home().join("calls")));
        let (run, swapper) = match victim {
            Victim::Directory(_) => (cmd.start(), Swapper::start(&mount, pairs)),
            // A swap changes a file's stamp: before the plan is made it would be none of this run's business.
            Victim::Files => {
                s3.faults().push(Rule { key_contains: Some("d/e/f0".into()), ..Rule::once("GetObject", Action::Hold) });
                let run = cmd.start();
                s3.until_all_hit();
                let swapper = Swapper::start(&mount, pairs);
                s3.faults().release();
                (run, swapper)
            }
        };
        let ran = run.wait();
        let swaps = swapper.end();
        outside.is_untouched();
        assert!([0, 1, 3, 6].contains(&ran.code), "{}: {}{}", ran.code, ran.stdout, ran.stderr);
        let summary = ran.json().pop().expect("a line");
        let count = |name: &str| summary[name].as_u64().unwrap_or(0);
        tally = Tally {
            runs: round + 1,
            swaps: tally.swaps + swaps,
            came: tally.came + count("downloaded"),
            refused: tally.refused + count("failed"),
        };
        if let Victim::Directory(_) = victim {
            // What is said to have come is there, and nothing is half of it. A file that was swapped itself lies aside by now.
            let there: Vec<u64> = (0..FILES).filter(|n| mount.has(&name(victim, round, *n))).collect();
            assert!(there.len() as u64 >= count("downloaded"), "{} files lie there: {summary}", there.len());
            there.iter().for_each(|n| assert_eq!(mount.text(&name(victim, round, *n)), content(*n)));
        }
        // In peace it goes on where it was.
        lsync("download --yes --overwrite").run().expect(0);
        for n in 0..FILES {
            let name = name(victim, round, n);
            assert_eq!(mount.text(&name), content(n));
            if victim != Victim::Files {
                mount.remove(&name);
                assert!(s3.remove(&s3.store.bucket, &name).expect("the bucket is there"));
            }
        }
        outside.is_untouched();
    }
    tally
}

#[track_caller]
fn nothing_gets_out(report_name: &str, victim: Victim, lacking: Option<&str>) {
    let Tally { runs, swaps, came, refused } = race(victim, asked_for("LSYNC_TEST_SWAPS", 400) / 4, lacking);
    report(report_name, &json!({ "runs": runs, "swaps": swaps, "files_that_came": came, "files_refused": refused, "outside": 0 }));
    assert!(swaps > came + refused, "{runs} runs, {swaps} swaps");
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nothing_out() {
    nothing_gets_out("swapped-directory", Victim::Directory("d"), None);
}

#[test]
fn a_directory_further_down_that_is_swapped_for_a_link_leads_nothing_out() {
    nothing_gets_out("swapped-directory-further-down", Victim::Directory("d/e"), None);
}

#[test]
fn a_file_that_is_swapped_for_a_link_is_not_written_through() {
    nothing_gets_out("swapped-files", Victim::Files, None);
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn a_directory_that_is_swapped_for_a_link_leads_nothing_out_where_the_kernel_lacks_openat2() {
    nothing_gets_out("swapped-directory-without-openat2", Victim::Directory("d"), Some("ENOSYS"));
}
