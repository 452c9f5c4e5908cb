//! Seeds in which the store refuses something for good: single objects, or everything that needs room from some moment on. What is let
//! through moves, nothing is called complete that is not, and once the store is well again one run mends all of it.
//! `LSYNC_TEST_CAMPAIGN_REFUSED=0..500` and `LSYNC_TEST_CAMPAIGN_QUOTA=0..500` say which seeds.

use std::ops::Range;

use lsync::sandbox::{Action, Hazard, Rule, Storm};

use super::program::{at_once, ended};
use super::seed::Story;
use super::tree::{edit, grow};
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::seed::Seed;

/// Seeds of the slices that always run.
const SLICE: Range<u64> = 0..16;
/// Files beside those of the story: others of their kind, which the store lets through.
const OTHERS: u64 = 12;

#[test]
fn one_object_that_is_refused_stops_no_other() {
    at_once("LSYNC_TEST_CAMPAIGN_REFUSED", SLICE, one_object);
}

#[test]
fn a_store_that_runs_full_makes_no_run_lie_or_send_in_vain() {
    at_once("LSYNC_TEST_CAMPAIGN_QUOTA", SLICE, quota);
}

/// How stores refuse one object.
const REFUSALS: [(u16, &str); 4] =
    [(403, "AccessDenied"), (403, "InvalidObjectState"), (400, "KMS.DisabledException"), (403, "AllAccessDisabled")];

fn refuse(s3: &S3, operation: &'static str, key: &str, (status, code): (u16, &'static str)) {
    s3.faults().push(Rule { key_contains: Some(key.into()), times: u32::MAX, ..Rule::once(operation, Action::Status(status, code)) });
}

/// Few faults beside, which pass.
fn some_faults(dice: &mut Seed) -> Option<Storm> {
    let hazards = [Hazard::Refused, Hazard::Dropped, Hazard::AnswerLost, Hazard::RequestCut, Hazard::Reset].into();
    dice.once_in(2).then(|| Storm { seed: dice.next(), per_mille: 30, hazards, spares: Vec::new() })
}

struct Place {
    story: Story,
    s3: S3,
    here: Mount,
    there: Mount,
}

impl Place {
    /// A tree that is in the bucket, and edited since.
    fn new(seed: u64, dice: &mut Seed) -> Result<Place, String> {
        let place = Place { story: Story::of(seed), s3: S3::start(), here: Mount::new(), there: Mount::new() };
        place.s3.faults().set_profile(place.story.profile);
        grow(dice, &place.here, false);
        ended(&place.run(&place.here, "upload"), true)?;
        edit(dice, &place.here);
        for n in 0..OTHERS {
            place.here.write(&format!("others/{n:02}"), format!("{n} {}", dice.next()));
        }
        Ok(place)
    }

    fn run(&self, mount: &Mount, words: &str) -> Ran {
        let words = format!("{words} --yes -j {}", self.story.jobs);
        Cmd::lsync(mount).on(&self.s3.store).args(&words).run()
    }
}

/// The store holds of the other files what the mount has, but for these.
fn the_others_moved(place: &Place, mount: &Mount, refused: &[String], by: &str) -> Result<(), String> {
    for n in 0..OTHERS {
        let path = format!("others/{n:02}");
        let is_there = match by {
            "upload" => place.s3.keys().contains(&path) && place.s3.content(&path) == mount.text(&path).into_bytes(),
            _ => mount.has(&path) && mount.text(&path) == place.here.text(&path),
        };
        if is_there == refused.contains(&path) {
            return Err(format!("{by}: {path} {}", if is_there { "moved although it was refused" } else { "did not move" }));
        }
    }
    Ok(())
}

fn one_object(seed: u64) -> Result<(), String> {
    let dice = &mut Seed::new(seed ^ 0x00ef_05ed);
    let place = Place::new(seed, dice)?;
    let Place { s3, here, there, .. } = &place;
    for (by, mount, operation) in [("upload", here, "PutObject"), ("download", there, "GetObject")] {
        let refused: Vec<String> = (0..=dice.below(2)).map(|_| format!("others/{:02}", dice.below(OTHERS))).collect();
        let how = *dice.pick(&REFUSALS);
        refused.iter().for_each(|key| refuse(s3, operation, key, how));
        let storm = some_faults(dice);
        let calm = storm.is_none();
        s3.faults().set_storm(storm);
        let ran = place.run(mount, by);
        s3.faults().set_storm(None);
        if ended(&ran, false).map_err(|e| format!("{by}: {e}"))? {
            return Err(format!("LIE: {by} says complete although {refused:?} was refused"));
        }
        if calm && ran.code != 3 {
            return Err(format!("{by} of which {refused:?} was refused ({how:?}) ends {}: {}", ran.code, ran.stderr));
        }
        if calm {
            the_others_moved(&place, mount, &refused, by)?;
        }
        s3.faults().clear();
        ended(&place.run(mount, by), true).map_err(|e| format!("{by} again: {e}"))?;
        match by {
            "upload" => holds(s3, mount)?,
            _ => the_others_moved(&place, mount, &[], by)?,
        }
    }
    Ok(())
}

fn quota(seed: u64) -> Result<(), String> {
    let dice = &mut Seed::new(seed ^ 0x0040_07a0);
    let place = Place::new(seed, dice)?;
    let Place { s3, here, there, story } = &place;
    let after = u32::try_from(dice.below(20)).unwrap_or(0);
    let (status, code) = *dice.pick(&[(403, "QuotaExceeded"), (507, "InsufficientStorage"), (507, "XMinioStorageFull")]);
    let full = Action::Status(status, code);
    for operation in ["PutObject", "CreateMultipartUpload", "UploadPart", "CopyObject"] {
        s3.faults().push(Rule { skip: after, times: u32::MAX, ..Rule::once(operation, full.clone()) });
    }
    s3.log().take();
    let ran = place.run(here, "upload");
    let complete = ended(&ran, false)?;
    if complete {
        holds(s3, here).map_err(|e| format!("LIE: {e}"))?;
    } else if ran.code != 12 {
        return Err(format!("full after {after} ({code}), it ends {}: {}", ran.code, ran.stderr));
    }
    // What was on its way when the first was refused, what is tried once more after, and the manifest.
    let sent = s3.log().take().requests.iter().filter(|(operation, _)| *operation == "PutObject").count() as u64;
    let most = u64::from(after) + 2 * story.jobs as u64 + 4;
    if !complete && sent > most.max(u64::from(after) + 20) {
        return Err(format!("full after {after}, it sends {sent} bodies with {} at a time", story.jobs));
    }
    s3.faults().clear();
    ended(&place.run(here, "upload"), true).map_err(|e| format!("again: {e}"))?;
    holds(s3, here)?;
    ended(&place.run(there, "download"), true)?;
    same_files(here, there)
}

/// The bucket has all files of the mount.
fn holds(s3: &S3, mount: &Mount) -> Result<(), String> {
    for node in mount.tree().iter().filter(|node| node.kind == "file") {
        let content = std::fs::read(mount.path(&node.path)).expect("a file");
        if !s3.keys().contains(&node.path) || s3.content(&node.path) != content {
            return Err(format!("{} is not in the bucket", node.path));
        }
    }
    Ok(())
}

fn same_files(here: &Mount, there: &Mount) -> Result<(), String> {
    let files = |mount: &Mount| {
        let tree = mount.tree().into_iter().filter(|node| node.kind == "file");
        tree.map(|node| (node.path, node.content)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (here, there) = (files(here), files(there));
    match here.iter().find(|(path, content)| there.get(*path) != Some(content)) {
        Some((path, _)) => Err(format!("LIE: a fresh download lacks {path}")),
        None => Ok(()),
    }
}
