//! The real binary under the same storms, in real time: its last line, its exit code and its reasons against what the store holds. Faults
//! that cost half a minute of waiting each are left to the library's runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lsync::sandbox::{Hazard, Storm};

use super::seed::Story;
use super::tree::grow;
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::seed::Seed;

const SLICE: Range<u64> = 0..24;
/// Runs wait more than they work.
const AT_ONCE: usize = 8;

#[test]
fn the_binary_says_complete_only_when_it_is() {
    at_once("LSYNC_TEST_CAMPAIGN_BINARY", SLICE, play);
}

/// Plays the seeds that a variable asks for, or a slice, some at a time.
pub(super) fn at_once(variable: &str, slice: Range<u64>, play: fn(u64) -> Result<(), String>) {
    let seeds = super::seeds(variable).unwrap_or(slice);
    let (next, failures) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(why) = play(seed) {
                        failures.lock().expect("no thread panics with it").insert(seed, why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics with it");
    assert!(failures.is_empty(), "{variable}=SEED plays one of them again: {failures:#?}");
}

/// A storm of which no fault takes long.
fn storm(story: Story) -> Storm {
    let mut storm = story.storm;
    storm.hazards.retain(|hazard| !hazard.waits() && !matches!(hazard, Hazard::Slow | Hazard::Throttled));
    storm.per_mille = storm.per_mille.min(80);
    storm
}

fn play(seed: u64) -> Result<(), String> {
    let (story, dice) = (Story::of(seed), &mut Seed::new(!seed));
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    s3.faults().set_profile(story.profile);
    let source = if story.is_upload() { &here } else { &there };
    grow(dice, source, false);
    let run = |mount: &Mount, words: &str| Cmd::lsync(mount).on(&s3.store).args(words).run();
    if !story.is_upload() {
        ended(&run(source, "upload --yes"), true)?;
    }
    let words = format!("{} --yes -j {}", story.direction.verb(), story.jobs);
    s3.keep_history(&s3.store.bucket);
    s3.faults().set_storm(Some(storm(story)));
    let ran = run(&here, &words);
    s3.faults().set_storm(None);
    if ended(&ran, false)? {
        same(&s3, &here).map_err(|e| format!("LIE: {e}\n{}", ran.stdout))?;
    }
    ended(&run(&here, &words), true)?;
    same(&s3, &here)
}

/// Whether a run says that it is complete; an error when line, code and reason do not go together, or when it had to be complete and is not.
pub(super) fn ended(ran: &Ran, must_be: bool) -> Result<bool, String> {
    let complete = ran.last_line().starts_with("complete: ");
    let reasoned = ran.stderr.contains("error: ") || ran.last_line().strip_prefix("incomplete: ").is_some_and(|reason| !reason.is_empty());
    let fits = if complete { ran.code == 0 } else { ran.code != 0 && reasoned };
    if fits && (complete || !must_be) { Ok(complete) } else { Err(format!("exit {}\n{}\n{}", ran.code, ran.stdout, ran.stderr)) }
}

/// Both sides hold the same files.
pub(super) fn same(s3: &S3, mount: &Mount) -> Result<(), String> {
    let files = mount.tree().into_iter().filter(|node| node.kind == "file");
    let here: BTreeMap<String, Vec<u8>> =
        files.map(|node| (node.path.clone(), std::fs::read(mount.path(&node.path)).expect("a file"))).collect();
    let there: BTreeMap<String, Vec<u8>> = s3.keys().into_iter().map(|key| (key.clone(), s3.content(&key))).collect();
    let differ = here.keys().chain(there.keys()).find(|path| here.get(*path) != there.get(*path));
    differ.map_or(Ok(()), |path| Err(format!("{path} differs")))
}
