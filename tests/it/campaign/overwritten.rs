//! Seeds whose uploads overwrite what another tool wrote, while copies inside the bucket are refused: whatever becomes of a run, no foreign
//! content is gone from both its place and the history. `LSYNC_TEST_CAMPAIGN_COPIES=0..500` says which seeds.

use std::collections::BTreeSet;
use std::ops::Range;

use lsync::digest::digest_one;
use lsync::plan::{Choices, Direction};
use lsync::sandbox::{Copies, Hazard, Storm};

use super::bench::{Bench, runtime};
use super::seed::Story;
use super::tree::{bytes, edit, grow};
use crate::support::mount::Mount;
use crate::support::seed::Seed;

/// How many copies were refused, and how many foreign contents are in the history in the end; or what is wrong.
type Told = Result<(u64, u64), String>;

/// Seeds of the slice that always runs.
const SLICE: Range<u64> = 0..24;

#[test]
fn no_refused_copy_makes_a_run_lose_what_it_overwrites() {
    let seeds = super::seeds("LSYNC_TEST_CAMPAIGN_COPIES").unwrap_or(SLICE);
    let told: Vec<(u64, Told)> = seeds.map(|seed| (seed, runtime().block_on(play(seed)))).collect();
    let wrong: Vec<_> = told.iter().filter_map(|(seed, told)| Some((seed, told.as_ref().err()?))).collect();
    assert!(wrong.is_empty(), "LSYNC_TEST_CAMPAIGN_COPIES=SEED plays one of them again: {wrong:#?}");
    let sum = told.iter().filter_map(|(_, told)| told.as_ref().ok()).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(sum.0 > 0 && sum.1 > 0, "{} copies were refused and {} contents kept: the storm met nothing", sum.0, sum.1);
}

/// Plays one seed.
async fn play(seed: u64) -> Told {
    let dice = &mut Seed::new(seed ^ 0x0c09_1e5f);
    let delete = dice.once_in(2);
    // Where nothing can be copied, the plan says so: that is another story.
    let drawn = Story::of(seed);
    let copies = if matches!(drawn.profile.copies, Copies::Refused | Copies::Empty) { Copies::Made } else { drawn.profile.copies };
    let mut profile = drawn.profile;
    (profile.copies, profile.copy_limit) = (copies, dice.once_in(3).then_some(200_000));
    let others =
        if dice.once_in(2) { Hazard::ALL.into_iter().filter(|hazard| !hazard.waits() && !hazard.corrupts()).collect() } else { vec![] };
    let hazards = [vec![Hazard::CopyRefused; 4 + others.len()], others].concat();
    let per_mille = *dice.pick(&[100, 300, 600, 1000]);
    let storm = Storm { seed: dice.next(), per_mille, hazards, spares: vec![(Hazard::TailMissing, ""), (Hazard::Lagging, "")] };
    let story = Story { direction: Direction::Upload, delete, profile, storm, ..drawn };
    let (bench, here) = (Bench::start().await, Mount::new());
    bench.server.faults().set_profile(profile);
    grow(dice, &here, story.large);
    clean(&bench, &here, &story).await?;
    edit(dice, &here);
    let foreign = overwrite_some(dice, &bench)?;
    bench.server.faults().set_storm(Some(story.storm.clone()));
    let choices = Choices { overwrite: true, ..story.choices() };
    for _ in 0..story.runs {
        let ran = bench.run(&here, &story, Direction::Upload, choices).await;
        let complete = ran.as_ref().is_ok_and(|report| report.complete.is_some());
        for key in bench.server.keys(bench.bucket()).iter().filter(|key| key.starts_with(".lsync/lease/")) {
            bench.server.remove(bench.bucket(), key).map_err(|e| e.to_string())?;
        }
        kept(&bench, &foreign).map_err(|e| format!("{e}; the run said {complete}, and met {:?}", bench.server.faults().hits()))?;
    }
    let refused = bench.server.faults().hits().iter().filter(|hit| hit.hazard == Hazard::CopyRefused).count();
    bench.server.faults().set_storm(None);
    let ran = bench.run(&here, &story, Direction::Upload, choices).await;
    if !ran.as_ref().is_ok_and(|report| report.complete.is_some()) {
        return Err(format!(
            "after the storm it does not end complete: {:?}",
            ran.map(|report| report.failures).map_err(|e| e.to_string())
        ));
    }
    kept(&bench, &foreign).map(|kept| (refused as u64, kept))
}

async fn clean(bench: &Bench, here: &Mount, story: &Story) -> Result<(), String> {
    let ran = bench.run(here, story, Direction::Upload, Choices::default()).await;
    match ran {
        Ok(report) if report.complete.is_some() => Ok(()),
        Ok(report) => Err(format!("a clean upload does not end complete: {:?}", report.failures)),
        Err(e) => Err(format!("a clean upload does not end complete: {e}")),
    }
}

/// Another tool writes over some of what is in the bucket. Returns the MD5s of what it wrote, by key.
fn overwrite_some(dice: &mut Seed, bench: &Bench) -> Result<Vec<(String, String)>, String> {
    let mut foreign = Vec::new();
    for key in bench.server.keys(bench.bucket()).into_iter().filter(|key| !key.starts_with(".lsync/")) {
        if dice.below(3) > 0 {
            let content = bytes(dice, 20 + foreign.len());
            bench.server.put_foreign(bench.bucket(), &key, &content).map_err(|e| e.to_string())?;
            foreign.push((key, digest_one(&content).hex()));
        }
    }
    Ok(foreign)
}

/// Every foreign content is where it was, or in the history. Returns how many are in the history.
fn kept(bench: &Bench, foreign: &[(String, String)]) -> Result<u64, String> {
    let md5 = |key: &str| bench.server.get_object(bench.bucket(), key).map(|(content, ..)| digest_one(&content).hex());
    let keys = bench.server.keys(bench.bucket());
    let history: BTreeSet<String> = keys.iter().filter(|key| key.starts_with(".lsync/history/")).filter_map(|key| md5(key)).collect();
    for (key, content) in foreign {
        if md5(key).as_ref() != Some(content) && !history.contains(content) {
            return Err(format!("LOST: what another tool wrote to {key} is neither there nor in the history"));
        }
    }
    Ok(foreign.iter().filter(|(_, content)| history.contains(content)).count() as u64)
}
