//! What goes wrong on the wire or in the store is tried again, decided by what stands in the bucket, or said; nothing is half done.

use lsync::sandbox::{Action, Profile, Rule};
use std::time::Duration;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

/// Three parts.
const LARGE: usize = 17 << 20;

fn hit(operation: &'static str, key: &str, times: u32, action: Action) -> Rule {
    Rule { key_contains: Some(key.into()), times, ..Rule::once(operation, action) }
}

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// An upload that meets this and is complete all the same, everything right in the bucket.
#[track_caller]
fn upload_heals(profile: Profile, rule: Rule) {
    let (s3, mount, key) = (S3::start(), Mount::new(), rule.key_contains.clone().expect("a key"));
    let content = noise(size(&key));
    s3.faults().set_profile(profile);
    mount.write(&key, &content);
    s3.faults().push(rule);
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=1 ") && ran.last_line().contains(" strong=1 "), "{}", ran.stdout);
    assert!(s3.faults().pending() == 0 && s3.content(&key) == content);
    assert_eq!(s3.open_uploads(&s3.store.bucket), []);
}

fn size(key: &str) -> usize {
    if key.ends_with("large") { LARGE } else { 3 }
}

#[test]
fn a_put_that_fails_is_tried_again() {
    for action in
        [Action::Status(503, "SlowDown"), Action::Status(500, "InternalError"), Action::DropConnection, Action::Status(400, "BadDigest")]
    {
        upload_heals(Profile::default(), hit("PutObject", "data/small", 1, action));
    }
}

#[test]
fn a_part_that_fails_is_tried_again() {
    for action in [Action::Status(503, "SlowDown"), Action::DropConnection, Action::DropAnswer, Action::Status(400, "RequestTimeout")] {
        upload_heals(Profile::default(), hit("UploadPart", "data/large", 1, action));
    }
}

/// "An ambiguous answer is decided by a HEAD that shows our nonce": with conditional writes the second try is refused, and still a success.
#[test]
fn an_answer_that_is_lost_after_the_write_was_carried_out_is_no_failure() {
    for no_conditional_writes in [false, true] {
        let profile = Profile { no_conditional_writes, ..Profile::default() };
        upload_heals(profile, hit("PutObject", "data/small", 1, Action::DropAnswer));
        upload_heals(profile, hit("CompleteMultipartUpload", "data/large", 1, Action::DropAnswer));
    }
}

#[test]
fn an_error_inside_a_200_is_no_success() {
    upload_heals(Profile::default(), hit("CompleteMultipartUpload", "data/large", 1, Action::Ok200Error("InternalError")));
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("data/large", noise(LARGE));
    s3.faults().push(hit("CompleteMultipartUpload", "data/large", 1, Action::Ok200Error("InvalidPart")));
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(8);
    assert!(ran.last_line().starts_with("incomplete: 1 failed"), "{}", ran.stdout);
    assert_eq!((s3.keys(), s3.open_uploads(&s3.store.bucket)), (vec![], vec![]));
}

#[test]
fn content_that_the_store_finds_damaged_twice_is_exit_8() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc"), ("data/b", "def")]));
    s3.faults().push(hit("PutObject", "data/a", 2, Action::Status(400, "BadDigest")));
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(8);
    assert!(ran.last_line().starts_with("incomplete: 1 failed"), "{}", ran.stdout);
    assert_eq!(s3.keys(), ["data/b"], "the other one is sent");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
}

/// "4 | credentials or permission refused by the bucket": at once, with what was done published and remembered.
#[test]
fn a_refusal_in_the_middle_ends_the_run_and_keeps_what_was_done() {
    let (s3, mount) = (S3::start(), Mount::new());
    for n in 0..30 {
        mount.write(&format!("data/{n:02}"), format!("{n}"));
    }
    // Somebody has deleted the key.
    s3.faults().push(Rule { skip: 7, ..hit("PutObject", "data/", 1000, Action::Status(403, "InvalidAccessKeyId")) });
    let ran = lsync(&s3, &mount, "upload --yes -j 2").run().expect(4);
    assert!(ran.last_line().starts_with("incomplete: ") && ran.last_line().contains("InvalidAccessKeyId"), "{}", ran.stdout);
    assert_eq!(s3.keys().len(), 7);
    assert!(1000 - s3.faults().pending() <= 2, "nothing new is begun");
    assert!(s3.all_keys().iter().any(|key| key.starts_with(".lsync/manifests/0000000001-")));
    s3.faults().clear();
    s3.log().take();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.log().take().requests.iter().filter(|(op, key)| *op == "PutObject" && key.starts_with("data/")).count(), 23);
}

/// A download that meets this and is complete all the same.
#[track_caller]
fn download_heals(key: &str, times: u32, actions: &[Action]) {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write(key, noise(size(key)));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    for action in actions {
        let other = Mount::new();
        s3.faults().push(hit("GetObject", key, times, action.clone()));
        let ran = lsync(&s3, &other, "download --yes").run().expect(0);
        assert!(ran.last_line().starts_with("complete: files=1 ") && ran.last_line().contains(" strong=1 "), "{}", ran.stdout);
        assert_eq!((s3.faults().pending(), mount.tree() == other.tree()), (0, true), "{action:?}");
        assert_eq!(other.left_behind(), Vec::<String>::new());
    }
}

#[test]
fn a_small_object_that_does_not_come_whole_is_asked_for_again() {
    let actions = [Action::Truncate(1), Action::FlipByte(1), Action::DropConnection, Action::Status(503, "SlowDown")];
    download_heals("data/small", 1, &actions);
}

#[test]
fn a_range_that_does_not_come_whole_is_asked_for_again() {
    let actions = [Action::Truncate(4 << 20), Action::FlipByte(3), Action::DropAnswer, Action::Stall(Duration::from_millis(200))];
    download_heals("data/large", 1, &actions);
}

#[test]
fn a_store_that_throttles_for_a_while_is_waited_for() {
    download_heals("data/small", 4, &[Action::Status(503, "SlowDown")]);
}

/// "A mismatch leaves the old file untouched."
#[test]
fn content_that_never_matches_leaves_the_old_file_and_is_exit_8() {
    for (name, size) in [("data/small", 10), ("data/large", LARGE)] {
        let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
        mount.write(name, "old");
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        lsync(&s3, &other, "download --yes").run().expect(0);
        mount.write(name, noise(size)).write("data/fine", "x");
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        s3.faults().push(hit("GetObject", name, 100, Action::FlipByte(5)));
        let ran = lsync(&s3, &other, "download --yes").run().expect(8);
        assert!(ran.last_line().starts_with("incomplete: 1 failed") && ran.stderr.contains(name), "{}{}", ran.stdout, ran.stderr);
        assert_eq!((other.text(name), other.text("data/fine")), ("old".into(), "x".into()));
        assert_eq!(other.left_behind(), Vec::<String>::new());
        s3.faults().clear();
        lsync(&s3, &other, "download --yes").run().expect(0);
        assert_eq!(std::fs::read(other.path(name)).expect("a file"), noise(size));
    }
}

#[test]
fn an_object_that_is_replaced_or_removed_during_a_download_is_said_and_brought_by_the_next() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("data/a", "first").put("data/b", "first");
    s3.faults().push(Rule { ..hit("GetObject", "data/", 2, Action::Hold) });
    let run = lsync(&s3, &mount, "download --yes").start();
    s3.until_all_hit();
    s3.put("data/a", "second").remove(&s3.store.bucket, "data/b").expect("a bucket");
    s3.faults().release();
    let ran = run.wait().expect(3);
    assert!(ran.stderr.contains("data/a: the bucket changed it") && ran.stderr.contains("data/b: the bucket removed it"), "{}", ran.stderr);
    assert!(!mount.has("data/a") && !mount.has("data/b"));
    lsync(&s3, &mount, "download --yes").run().expect(0);
    assert_eq!(mount.text("data/a"), "second");
}
