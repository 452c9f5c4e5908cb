//! A signal in the middle: a clean stop, what was done is published and remembered, a rerun does the rest. Not a run that is killed.

use rustix::process::Signal;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::wait::until;
use lsync::sandbox::{Action, Rule};

/// Everything that an operation on files (not on lsync's own objects) does after the first `skip` waits.
fn hold(operation: &'static str, key: &str, skip: u32, times: u32) -> Rule {
    Rule { key_contains: Some(key.into()), skip, times, ..Rule::once(operation, Action::Hold) }
}

fn upload(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes -j 4")
}

fn download(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("download --yes -j 4")
}

#[track_caller]
fn many_small(signal: Signal, code: i32) {
    let (s3, mount) = (S3::start(), Mount::new());
    for n in 0..40 {
        mount.write(&format!("data/{n:02}"), format!("content {n}"));
    }
    s3.faults().push(hold("PutObject", "data/", 10, 4));
    let run = upload(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(signal);
    let ended = run.wait().expect(code);
    assert_eq!(ended.last_line(), "incomplete: interrupted with 30 items left; the same command goes on from here", "{}", ended.stderr);
    assert_eq!(s3.keys().len(), 10);
    assert_eq!(s3.all_keys().iter().filter(|key| key.starts_with(".lsync/manifests/0000000001-")).count(), 1, "{:?}", s3.all_keys());
    assert!(mount.left_behind().is_empty(), "{:?}", mount.left_behind());
    s3.log().take();
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=40 "), "{}", again.stdout);
    let puts = s3.log().take().requests.iter().filter(|(op, key)| *op == "PutObject" && key.starts_with("data/")).count();
    assert_eq!(puts, 30, "only the rest is sent");
}

/// "Interrupted (HUP, INT, TERM: the same clean stop)"; "A run that changed the bucket publishes, also when it ends 3, 6 or by a clean
/// interrupt".
#[test]
fn ctrl_c_in_an_upload_of_many_small_files_keeps_what_was_sent() {
    many_small(Signal::INT, 130);
}

#[test]
fn sigterm_in_an_upload_of_many_small_files_keeps_what_was_sent() {
    many_small(Signal::TERM, 143);
}

#[test]
fn sighup_in_an_upload_of_many_small_files_keeps_what_was_sent() {
    many_small(Signal::HUP, 129);
}

/// "No half file, no orphan multipart upload": what holds nothing goes.
#[test]
fn ctrl_c_in_a_large_upload_of_which_nothing_came_through_leaves_no_open_upload() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("large.bin", noise(17 << 20));
    s3.faults().push(hold("UploadPart", "large.bin", 0, 1));
    let run = upload(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    run.wait().expect(130);
    assert_eq!((s3.open_uploads(&s3.store.bucket), s3.all_keys()), (vec![], vec![]));
    assert!(mount.left_behind().is_empty(), "{:?}", mount.left_behind());
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 "), "{}", again.stdout);
    assert_eq!(s3.content("large.bin"), noise(17 << 20));
}

#[test]
fn sigterm_in_a_download_leaves_no_half_file() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a/3", "old")]));
    for n in 0..8 {
        s3.put(&format!("a/{n}"), format!("content {n}"));
    }
    mount.remove("a");
    s3.faults().push(hold("GetObject", "a/", 3, 4));
    let run = download(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::TERM);
    let ended = run.wait().expect(143);
    assert!(ended.last_line().starts_with("incomplete: interrupted"), "{}", ended.stdout);
    let files = mount.tree().into_iter().filter(|node| node.kind == "file").count();
    assert_eq!(files, 3);
    assert!(mount.left_behind().is_empty(), "{:?}", mount.left_behind());
    s3.log().take();
    let again = download(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=8 "), "{}", again.stdout);
    let gets = s3.log().take().requests.iter().filter(|(op, key)| *op == "GetObject" && key.starts_with("a/")).count();
    assert_eq!(gets, 5, "only the rest is brought");
}

#[test]
fn ctrl_c_in_a_large_download_leaves_the_old_file() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("large.bin", "first");
    upload(&s3, &mount).run().expect(0);
    s3.put("large.bin", noise(17 << 20));
    s3.faults().push(hold("GetObject", "large.bin", 0, 3));
    let run = download(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    run.wait().expect(130);
    assert_eq!(mount.text("large.bin"), "first");
    assert!(mount.left_behind().is_empty(), "{:?}", mount.left_behind());
    download(&s3, &mount).run().expect(0);
    assert_eq!(std::fs::read(mount.path("large.bin")).expect("it is there"), noise(17 << 20));
}

/// "A second one stops at once": even what must not be cut off, and the next run goes on.
#[test]
fn a_second_signal_stops_at_once() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("large.bin", noise(17 << 20));
    s3.faults().push(hold("CompleteMultipartUpload", "large.bin", 0, 1));
    let mut run = upload(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    run.wait_for_stderr("a second Ctrl-C stops at once");
    run.signal(Signal::INT);
    run.wait().expect(130);
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 "), "{}", again.stdout);
}

/// What the store already has is not forgotten because its answer was still on the way.
#[test]
fn a_file_whose_answer_comes_soon_after_ctrl_c_counts_as_sent() {
    let (s3, mount) = (S3::start(), Mount::with(&[("slow.txt", "1")]));
    s3.faults().push(hold("PutObject", "slow.txt", 0, 1));
    let mut run = upload(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    run.wait_for_stderr("stopping cleanly");
    s3.faults().release();
    run.wait().expect(130);
    assert_eq!(s3.keys(), ["slow.txt"]);
    assert_eq!(s3.all_keys().iter().filter(|key| key.starts_with(".lsync/manifests/")).count(), 1, "it is published");
}

#[test]
fn ctrl_c_is_heard_while_the_listing_is_waited_for() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    s3.faults().push(Rule::once("ListObjectsV2", Action::Hold));
    let run = upload(&s3, &mount).start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    let ended = run.wait().expect(130);
    assert!(ended.stderr.contains("interrupted") && s3.all_keys().is_empty(), "{}", ended.stderr);
}

#[test]
fn ctrl_c_is_heard_while_a_slow_line_is_waited_for() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("a", "small").write("b", noise(1 << 20));
    let run = upload(&s3, &mount).args("--bwlimit 4KiB").start();
    until("the small one is there", || !s3.keys().is_empty());
    run.signal(Signal::INT);
    let ended = run.wait().expect(130);
    assert!(ended.last_line().starts_with("incomplete: interrupted"), "{}", ended.stdout);
    assert_eq!(s3.keys().len(), 1);
}
