//! A directory of the mount, or a file, that is swapped for a link to something outside and back, as fast as it goes, while a download
//! writes there. `LSYNC_TEST_SWAPS` says how many files are to be written in such a race; the README has the command for the whole of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

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

/// Swaps two names until it is dropped, and leaves them as they were.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(mount: &Mount, one: &str, other: &str) -> Swapper {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (root, one, other) = (fs::File::open(mount.root()).expect("the mount"), one.to_owned(), other.to_owned());
        let (stopped, counted) = (stop.clone(), swaps.clone());
        let thread = std::thread::spawn(move || {
            let mut done = 0;
            while done % 2 == 1 || !stopped.load(Ordering::Relaxed) {
                // It fails while lsync has one of the names in its hands.
                if renameat_with(&root, &*one, &root, &*other, RenameFlags::EXCHANGE).is_ok() {
                    done += 1;
                    counted.store(done, Ordering::Relaxed);
                }
            }
        });
        Swapper { stop, swaps, thread: Some(thread) }
    }

    /// Ends; how often it swapped.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it does not panic");
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
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

/// Races at one name until so many files were written or refused.
fn race(victim: &str, files: u64, lacking: Option<&str>) -> Tally {
    let (mount, s3) = (Mount::with(&[("d/e/old", "old"), ("aside/x", "x")]), S3::start());
    let outside = Outside::beside(&mount, &["e"]);
    // Through the link lies the same as in the directory, so that a path that is followed leads somewhere.
    let target = match victim {
        "d" => outside.dir.clone(),
        "d/e" => outside.dir.join("e"),
        _ => outside.dir.join("secret"),
    };
    mount.link("aside/swap", target.to_str().expect("UTF-8"));
    let lsync = |line: &str| Cmd::lsync(&mount).on(&s3.store).args(line).args("--exclude /aside/");
    lsync("upload --yes").run().expect(0);
    let mut tally = Tally::default();
    while tally.came + tally.refused < files {
        let name = |n: u64| format!("d/e/{}-{n}", tally.runs);
        for n in 0..FILES {
            s3.put(&name(n), format!("{} {n}", tally.runs));
        }
        s3.put("d/e/old", format!("new {}", tally.runs));
        let swapper = Swapper::start(&mount, victim, "aside/swap");
        let cmd = lsync("download --yes --json");
        let ran = lacking.map_or_else(|| cmd.clone(), |error| lacking_openat2(cmd.clone(), error, &mount.home().join("calls"))).run();
        let swaps = swapper.end();
        outside.is_untouched();
        assert!([0, 1, 3, 6].contains(&ran.code), "{}: {}{}", ran.code, ran.stdout, ran.stderr);
        let summary = ran.json().pop().expect("a line");
        let count = |name: &str| summary[name].as_u64().unwrap_or(0);
        tally.swaps += swaps;
        tally.came += count("downloaded");
        tally.refused += count("failed");
        // What is said to have come is there.
        let there = (0..FILES).filter(|n| mount.has(&name(*n))).count() as u64;
        assert!(there + 1 >= count("downloaded"), "{there} files lie there: {summary}");
        for n in (0..FILES).filter(|n| mount.has(&name(*n))) {
            assert_eq!(mount.text(&name(n)), format!("{} {n}", tally.runs));
        }
        // In peace it goes on where it was.
        if ran.code != 0 {
            lsync("download --yes --overwrite").run().expect(0);
        }
        for n in 0..FILES {
            assert_eq!(mount.text(&name(n)), format!("{} {n}", tally.runs));
            mount.remove(&name(n));
            assert!(s3.remove(&s3.store.bucket, &name(n)).expect("the bucket is there"));
        }
        assert_eq!(mount.text("d/e/old"), format!("new {}", tally.runs));
        outside.is_untouched();
        tally.runs += 1;
    }
    tally
}

#[track_caller]
fn nothing_gets_out(name: &str, victim: &str, lacking: Option<&str>) {
    let tally = race(victim, asked_for("LSYNC_TEST_SWAPS", 400) / 4, lacking);
    let Tally { runs, swaps, came, refused } = tally;
    report(name, &json!({ "runs": runs, "swaps": swaps, "files_that_came": came, "files_refused": refused, "outside": 0 }));
    assert!(swaps > came + refused, "{runs} runs, {swaps} swaps");
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nothing_out() {
    nothing_gets_out("swapped-directory", "d", None);
}

#[test]
fn a_directory_further_down_that_is_swapped_for_a_link_leads_nothing_out() {
    nothing_gets_out("swapped-directory-further-down", "d/e", None);
}

#[test]
fn a_file_that_is_swapped_for_a_link_is_not_written_through() {
    nothing_gets_out("swapped-file", "d/e/old", None);
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn a_directory_that_is_swapped_for_a_link_leads_nothing_out_where_the_kernel_lacks_openat2() {
    nothing_gets_out("swapped-directory-without-openat2", "d", Some("ENOSYS"));
}
