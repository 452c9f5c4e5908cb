//! Seeds in which the session token expires at some moment of an upload and of a download, once or twice: a source that gives the next one is
//! asked for it, and no run ends because of the old one. `LSYNC_TEST_CAMPAIGN_TOKENS=0..500` says which seeds.

use std::ops::Range;

use super::program::{at_once, ended, same};
use super::seed::Story;
use super::tree::{edit, grow};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::seed::Seed;
use crate::support::tokens::Source;

/// Seeds of the slice that always runs.
const SLICE: Range<u64> = 0..24;

#[test]
fn no_token_that_expires_ends_a_run_whose_source_has_another() {
    at_once("LSYNC_TEST_CAMPAIGN_TOKENS", SLICE, play);
}

fn play(seed: u64) -> Result<(), String> {
    let (story, dice) = (Story::of(seed), &mut Seed::new(seed ^ 0x0007_0ce4));
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    s3.faults().set_profile(story.profile);
    grow(dice, &here, false);
    let source = Source::new(&here, &s3, "");
    let token = s3.faults().token();
    let run = |dice: &mut Seed, mount: &Mount, words: &str, must_be: bool| {
        let given = source.calls();
        token.demand(Some(&format!("T{given}")));
        token.demand_after(dice.below(80), &format!("T{}", given + 1));
        let ran = source.lsync(mount, &s3, &format!("{words} -j {}", story.jobs)).run();
        ended(&ran, must_be).map_err(|e| format!("{words}: {e}"))?;
        // The first, and the next where the first had expired before the end; nobody else asks.
        let asked = source.calls() - given;
        if asked > 2 { Err(format!("{words}: the source was asked {asked} times")) } else { Ok(()) }
    };
    run(dice, &here, "upload --yes", true)?;
    same(&s3, &here).map_err(|e| format!("LIE: {e}"))?;
    run(dice, &there, "download --yes", true)?;
    same(&s3, &there).map_err(|e| format!("LIE: {e}"))?;
    edit(dice, &here);
    run(dice, &here, "upload --yes --delete --max-delete 100%", true)?;
    same(&s3, &here).map_err(|e| format!("LIE: {e}"))?;
    run(dice, &there, "download --yes --delete --max-delete 100%", true)?;
    same(&s3, &there).map_err(|e| format!("LIE: {e}"))
}
