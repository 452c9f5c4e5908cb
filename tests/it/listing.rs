//! A bucket of several pages is listed in several runs at once, and what is listed is the same as page after page, whatever the store does.

use lsync::sandbox::{Action, Oddity, Profile, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::wait::until;

/// More than a page.
const FILES: usize = 1300;

fn tree() -> (S3, Mount) {
    let (s3, mount) = (S3::start(), Mount::new());
    for n in 0..FILES {
        mount.write(&format!("data/run{:02}/{n:04}", n / 100), format!("{n}"));
    }
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    (s3, mount)
}

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

#[track_caller]
fn has_all(ran: Ran) {
    let ran = ran.expect(0);
    assert!(ran.last_line().starts_with(&format!("complete: files={FILES} ")), "{}", ran.stdout);
}

/// Lists while the first page is held back until as many requests are under way as there are runs, and the second one meets this. Returns
/// how many there were.
fn lists(s3: &S3, mount: &Mount, second: Option<Action>) -> u64 {
    s3.log().take();
    s3.faults().push(Rule::once("ListObjectsV2", Action::Hold));
    if let Some(action) = second {
        s3.faults().push(Rule::once("ListObjectsV2", action));
    }
    let run = lsync(s3, mount, "upload --yes").start();
    until("both runs have begun", || s3.log().count("ListObjectsV2") >= 2);
    s3.faults().release();
    has_all(run.wait());
    let asked = s3.log().take().counts;
    assert_eq!(asked.keys().copied().collect::<Vec<_>>(), ["ListObjectsV2"]);
    asked["ListObjectsV2"]
}

#[test]
fn a_listing_in_several_runs_is_the_whole_and_costs_no_more_requests_than_pages() {
    let (s3, mount) = tree();
    assert_eq!(lists(&s3, &mount, None), 2);
    // Without anything remembered.
    let other = Mount::new();
    has_all(lsync(&s3, &other, "download --yes").run());
    assert_eq!(mount.tree(), other.tree());
    assert!(s3.log().take().counts["ListObjectsV2"] <= 2 * 2 + 10);
    // What is new between the runs shows.
    s3.put("data/run08/0899-more", "x").put("data/run12/zzz", "x");
    let ran = lsync(&s3, &other, "download --yes").run().expect(0);
    assert!(ran.stdout.contains(&format!("complete: files={} ", FILES + 2)), "{}", ran.stdout);
    assert!(other.has("data/run08/0899-more") && other.has("data/run12/zzz"));
}

#[test]
fn what_goes_wrong_in_one_run_is_asked_again_and_nothing_is_missing() {
    let (s3, mount) = tree();
    let odd = [Oddity::Twice, Oddity::Backwards, Oddity::NoToken, Oddity::RepeatPage, Oddity::Pages(7)].map(Action::List);
    let wrong = [
        Action::Status(503, "SlowDown"),
        Action::Status(501, "NotImplemented"),
        Action::Status(400, "InvalidArgument"),
        Action::Status(500, "InternalError"),
        Action::DropConnection,
        Action::Truncate(2000),
    ];
    for action in odd.into_iter().chain(wrong) {
        lists(&s3, &mount, Some(action));
        assert_eq!(s3.faults().pending(), 0);
    }
}

#[test]
fn a_store_that_ignores_start_after_is_listed_page_after_page() {
    let (s3, mount) = tree();
    s3.faults().set_profile(Profile { no_start_after: true, ..Profile::default() });
    assert_eq!(lists(&s3, &mount, None), 2 + 2, "two runs, and then as many pages");
    let other = Mount::new();
    has_all(lsync(&s3, &other, "download --yes").run());
    assert_eq!(mount.tree(), other.tree());
}
