//! Runs that are killed with SIGKILL: at every event that the server sees, at random times, and at every system call that writes. After each
//! kill nothing is half, missing or deleted without being asked for, and the same command brings both sides together.

mod campaign;
mod check;
mod moment;
mod story;

use self::moment::Kill;
use self::story::Story;
use crate::support::seed::Seed;

/// Kills the story's run at its first event, at its second, … until it comes to its end. Returns how many events there were.
#[track_caller]
fn at_every_event(story: Story) -> u64 {
    let mut event = 1;
    while check::case(story, &Kill::Event(event), false) {
        event += 1;
    }
    event - 1
}

#[test]
fn an_upload_may_be_killed_at_any_request() {
    let events = at_every_event(Story::Upload);
    assert!(events >= 20, "{events}");
}

#[test]
fn a_download_may_be_killed_at_any_request() {
    let events = at_every_event(Story::Download);
    assert!(events >= 10, "{events}");
}

#[test]
fn a_run_that_only_learns_may_be_killed_at_any_request() {
    let events = at_every_event(Story::Learn);
    assert!(events >= 2, "{events}");
}

#[test]
fn runs_may_be_killed_at_any_time() {
    let mut seed = Seed::fresh();
    for _ in 0..12 {
        let (story, kill, back) = campaign::at_random(&mut seed);
        check::case(story, &kill, back);
    }
}
