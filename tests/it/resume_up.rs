//! A large upload that was interrupted goes on: nothing that the store holds is sent again, nothing of ours stays open, nothing of others is
//! touched.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use lsync::remote::multipart::Upload;
use lsync::remote::object::About;
use lsync::sandbox::{Action, Profile, Rule};
use md5::{Digest, Md5};
use rustix::process::Signal;
use serde_json::json;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::report::{asked_for, report};
use crate::support::s3::S3;
use crate::support::wait::until;

const MIB: u64 = 1 << 20;
/// Six parts of 8 MiB.
const SIZE: u64 = 41 * MIB;

pub(crate) fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// Writes a file whose parts all differ, and differ with `version`.
pub(crate) fn write_large(mount: &Mount, version: u8) {
    let file = fs::File::options().write(true).create(true).truncate(false).open(mount.path("large.bin")).expect("a file");
    file.set_len(SIZE).expect("sparse");
    for part in 0..6 {
        file.write_all_at(&[version, part], u64::from(part) * 8 * MIB).expect("written");
    }
}

pub(crate) fn same(s3: &S3, mount: &Mount) -> bool {
    s3.content("large.bin") == fs::read(mount.path("large.bin")).expect("it is there")
}

/// Requests for the large file since the log was taken last.
fn asked(s3: &S3) -> String {
    let log = s3.log().take().requests;
    let of = |name: &str| log.iter().filter(|(operation, key)| *operation == name && key == "large.bin").count();
    ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"].map(|name| of(name).to_string()).join(" ")
}

/// How many parts each open upload holds.
pub(crate) fn open(s3: &S3) -> Vec<usize> {
    let mut held = Vec::new();
    for (key, id) in s3.open_uploads(&s3.store.bucket) {
        let upload = Upload { key, id, nonce: String::new(), lost: 0 };
        s3.with_bucket(async |bucket| held.push(bucket.parts(&upload).await.expect("its parts").len()));
    }
    held
}

/// Uploads until three parts are there, and kills the run.
pub(crate) fn kill_after_three_parts(s3: &S3, mount: &Mount, words: &str) {
    // On a slow machine it may try two at once: none beyond the third gets there.
    s3.faults().push(Rule { skip: 3, times: 8, ..Rule::once("UploadPart", Action::Hold) });
    let held = s3.faults().pending();
    let run = lsync(s3, mount, words).start();
    until("three parts are there and a fourth is on its way", || open(s3) == [3] && s3.faults().pending() < held);
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    s3.faults().clear();
    s3.log().take();
}

#[track_caller]
pub(crate) fn complete(s3: &S3, mount: &Mount, requests: &str) -> Ran {
    let ran = lsync(s3, mount, "upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: "), "{}", ran.stdout);
    assert_eq!((asked(s3).as_str(), open(s3).len(), mount.left_behind()), (requests, 0, vec![]), "{}", ran.stderr);
    ran
}

/// "An interrupted large upload goes on from its last good parts after a restart of the process"; "at most one part per file in flight is
/// sent twice".
#[test]
fn a_killed_large_upload_goes_on_from_its_last_good_parts() {
    for profile in [Profile::default(), Profile { opaque_multipart_etag: true, no_conditional_writes: true, ..Profile::default() }] {
        let (s3, mount) = (S3::start(), Mount::new());
        s3.faults().set_profile(profile);
        write_large(&mount, 1);
        kill_after_three_parts(&s3, &mount, "upload --yes");
        assert!(s3.keys().is_empty(), "no half object");
        let ran = lsync(&s3, &mount, "upload --yes --json").run().expect(0);
        assert_eq!((asked(&s3).as_str(), open(&s3).len(), mount.left_behind()), ("0 3 1 0", 0, vec![]));
        let (summary, parts) = (ran.summary(), [17 * MIB, 24 * MIB]);
        assert!(
            parts.contains(&summary["bytes"].as_u64().expect("a number")),
            "what this run moved, the short last part or not: {summary}"
        );
        assert_eq!((summary["uploaded"].as_u64(), summary["total_bytes"].as_u64()), (Some(1), Some(SIZE)));
        assert!(same(&s3, &mount));
        let other = Mount::new();
        lsync(&s3, &other, "download --yes").run().expect(0);
        assert_eq!(other.tree(), mount.tree());
    }
}

#[test]
fn an_upload_that_is_killed_again_and_again_comes_to_its_end() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    s3.faults().push(Rule { skip: 2, ..Rule::once("UploadPart", Action::Hold) });
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    until("five parts are there", || open(&s3) == [5]);
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    s3.log().take();
    complete(&s3, &mount, "0 1 1 0");
    assert!(same(&s3, &mount));
}

/// What a host wrote into its records, as another host finds it.
fn moved_to_another_host(mount: &Mount) {
    let here = lsync::local::lock::host_name();
    let elsewhere = |text: &str| text.replacen(&format!("\"host\":\"{here}\""), "\"host\":\"gpu-gone\"", 1);
    let lock = mount.path(".lsync/lock");
    fs::write(&lock, elsewhere(&fs::read_to_string(&lock).expect("a lock"))).expect("written");
    let silent = SystemTime::now() - Duration::from_secs(310);
    fs::File::options().write(true).open(&lock).and_then(|file| file.set_modified(silent)).expect("its time");
    for entry in fs::read_dir(mount.path(".lsync/journal")).expect("journals") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a journal");
        let (first, rest) = text.split_once('\n').expect("a header");
        let json = elsewhere(&first[9..]);
        let digits = data_encoding::HEXLOWER.encode(&Md5::digest(&json));
        fs::write(&path, format!("{} {json}\n{rest}", &digits[..8])).expect("written");
    }
}

/// "… or on another instance with the same mount".
#[test]
fn another_instance_with_the_same_mount_goes_on() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    moved_to_another_host(&mount);
    complete(&s3, &mount, "0 3 1 0");
    assert!(same(&s3, &mount));
}

/// "Changed sources start that file anew".
#[test]
fn a_file_that_changed_since_is_sent_anew() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    let before = fs::metadata(mount.path("large.bin")).and_then(|meta| meta.modified()).expect("a time");
    write_large(&mount, 2);
    // Same size, same time: the change time tells.
    fs::File::options().write(true).open(mount.path("large.bin")).and_then(|file| file.set_modified(before)).expect("its time");
    complete(&s3, &mount, "1 6 1 1");
    assert!(same(&s3, &mount));
}

/// "Every `upload` begins by resuming or aborting ours".
#[test]
fn what_will_not_go_on_is_given_up_even_if_there_is_nothing_to_upload() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    mount.remove("large.bin");
    complete(&s3, &mount, "0 0 0 1");
}

#[test]
fn an_upload_that_this_run_does_not_look_at_waits_for_one_that_does() {
    let (s3, mount) = (S3::start(), Mount::with(&[("other.txt", "x")]));
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes large.bin");
    lsync(&s3, &mount, "upload --yes other.txt").run().expect(0);
    lsync(&s3, &mount, "upload --yes --exclude large.bin").run().expect(0);
    assert_eq!((asked(&s3).as_str(), open(&s3)), ("0 0 0 0", vec![3]));
    lsync(&s3, &mount, "upload --dry-run").run().expect(0);
    assert_eq!(open(&s3), [3]);
    complete(&s3, &mount, "0 3 1 0");
}

/// "ListParts where offered".
#[test]
fn a_store_without_list_parts_gets_the_file_anew_and_the_old_upload_is_aborted() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    s3.faults().push(Rule::once("ListParts", Action::Status(501, "NotImplemented")));
    complete(&s3, &mount, "1 6 1 1");
    assert!(same(&s3, &mount));
}

/// The store threw the upload away, as lifecycle rules make it do.
#[test]
fn an_upload_that_the_store_no_longer_knows_is_begun_anew() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    for (key, id) in s3.open_uploads(&s3.store.bucket) {
        let upload = Upload { key, id, nonce: String::new(), lost: 0 };
        s3.with_bucket(async |bucket| bucket.abort_upload(&upload).await.expect("aborted"));
    }
    s3.log().take();
    complete(&s3, &mount, "1 6 1 1");
    assert!(same(&s3, &mount));
}

#[test]
fn credentials_that_expire_in_the_middle_lose_nothing_that_was_sent() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    s3.faults().push(Rule { skip: 3, times: 9, ..Rule::once("UploadPart", Action::Status(400, "ExpiredToken")) });
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(4);
    s3.faults().clear();
    let said = "of 6 parts are in the bucket and stay there; the next upload goes on from them";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let there = open(&s3)[0];
    assert!((1..=3).contains(&there), "{there}");
    s3.log().take();
    complete(&s3, &mount, &format!("0 {} 1 0", 6 - there));
    assert!(same(&s3, &mount));
}

/// Begins an upload of the large file as another program does, with so many parts.
pub(crate) fn begun_by_another(s3: &S3, parts: u32) -> String {
    let mut id = String::new();
    s3.with_bucket(async |bucket| {
        let upload = bucket.begin_upload("large.bin", About::default()).await.expect("begun");
        for number in 1..=parts {
            let body = bytes::Bytes::from_static(b"theirs");
            let md5 = lsync::digest::digest_one(&body);
            bucket.upload_part(&upload, number, body, md5).await.expect("a part");
        }
        id = upload.id;
    });
    id
}

/// Kills a run whose word is on disk, and that never heard what the store began.
pub(crate) fn kill_while_it_begins(s3: &S3, mount: &Mount) {
    let before = s3.open_uploads(&s3.store.bucket).len();
    for action in [Action::DropAnswer, Action::Hold] {
        s3.faults().push(Rule::once("CreateMultipartUpload", action));
    }
    let run = lsync(s3, mount, "upload --yes").start();
    s3.until_all_hit();
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    assert_eq!(s3.open_uploads(&s3.store.bucket).len(), before + 1);
    s3.log().take();
}

/// "Own abandoned multipart uploads are recognised by the journalled intent (key and server time written before the create, …)".
#[test]
fn an_upload_whose_id_nobody_heard_is_found_and_given_up() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_while_it_begins(&s3, &mount);
    complete(&s3, &mount, "1 6 1 1");
    assert!(same(&s3, &mount));
}

#[test]
fn another_writers_upload_of_the_same_file_is_never_given_up() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_while_it_begins(&s3, &mount);
    let theirs = begun_by_another(&s3, 1);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.open_uploads(&s3.store.bucket), [("large.bin".to_owned(), theirs)], "ours is gone, theirs is not");
    // One that holds nothing yet may be anybody's.
    let mount = Mount::new();
    write_large(&mount, 2);
    s3.remove(&s3.store.bucket, "large.bin").expect("removed");
    kill_while_it_begins(&s3, &mount);
    begun_by_another(&s3, 0);
    let ran = lsync(&s3, &mount, "upload --yes").run();
    assert!(ran.stderr.contains("2 unfinished uploads of large.bin may be ours or another's, and stay"), "{}", ran.stderr);
    assert_eq!(s3.open_uploads(&s3.store.bucket).len(), 3);
}

#[test]
fn an_answer_that_was_lost_leaves_no_second_upload_behind() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    s3.faults().push(Rule::once("CreateMultipartUpload", Action::DropAnswer));
    complete(&s3, &mount, "2 6 1 1");
    assert!(same(&s3, &mount));
}

/// The object is made, its answer never came, and its ETag tells nothing.
#[test]
fn an_upload_that_is_killed_while_the_object_is_made_finds_its_object() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    write_large(&mount, 1);
    for action in [Action::DropAnswer, Action::Hold] {
        s3.faults().push(Rule::once("CompleteMultipartUpload", action));
    }
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    assert!(same(&s3, &mount));
    s3.log().take();
    lsync(&s3, &mount, "status --check=download").run();
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=1 "), "{}", ran.stdout);
    assert_eq!((asked(&s3).as_str(), open(&s3).len(), mount.left_behind()), ("0 0 0 1", 0, vec![]));
}

/// "At most one part per file in flight is sent twice": a kill at no chosen moment. `LSYNC_TEST_LARGE_MIB` says how large the file is.
#[test]
fn what_the_store_took_before_a_kill_is_not_sent_twice() {
    let mib = asked_for("LSYNC_TEST_LARGE_MIB", 100);
    let (s3, mount) = (S3::start(), Mount::new());
    let file = fs::File::create(mount.path("large.bin")).expect("a file");
    file.set_len(mib * MIB).expect("sparse");
    let parts = (mib * MIB).div_ceil(8 * MIB);
    for part in 0..parts {
        file.write_all_at(&part.to_le_bytes(), part * 8 * MIB).expect("written");
    }
    drop(file);
    let run = lsync(&s3, &mount, "upload --yes").start();
    let held = || open(&s3).first().copied().unwrap_or(0) as u64;
    until("half of it is there", || held() >= parts / 2);
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    let (mut before, mut there) = (0, held());
    // What was on its way may still arrive.
    until("nothing arrives any more", || std::mem::replace(&mut before, there) == std::mem::replace(&mut there, held()));
    let first = s3.log().take();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    let second = s3.log().take();
    let sent = second.requests.iter().filter(|(operation, _)| *operation == "UploadPart").count() as u64;
    assert_eq!(sent, parts - there, "no part that the store has is sent again");
    let twice = (first.received_bytes + second.received_bytes).saturating_sub(mib * MIB);
    // Now and then a second one is tried, in case it makes the upload faster.
    assert!(twice <= 2 * 8 * MIB + MIB, "{twice} bytes were cut off in the parts that were under way");
    report(
        "resume",
        &json!({ "file_bytes": mib * MIB, "parts": parts, "there_after_the_kill": there, "parts_sent_twice": 0, "bytes_received_twice": twice }),
    );
    // What the bucket has is what the mount has.
    fs::File::options().write(true).open(mount.path("large.bin")).and_then(|f| f.set_modified(SystemTime::now())).expect("touched");
    let again = lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 ") && s3.log().count("UploadPart") == 0, "{}", again.stdout);
}

/// "Never delete the destination on failure".
#[test]
fn an_upload_that_fails_leaves_what_was_in_the_bucket() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("small.txt", "old");
    write_large(&mount, 1);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    let old = s3.content("large.bin");
    mount.write("small.txt", "new");
    write_large(&mount, 2);
    s3.log().take();
    for (operation, code) in [("PutObject", "EntityTooLarge"), ("CompleteMultipartUpload", "InvalidPart")] {
        s3.faults().push(Rule { key_contains: Some("a".into()), ..Rule::once(operation, Action::Status(400, code)) });
    }
    let ran = lsync(&s3, &mount, "upload --yes").run();
    assert!([3, 8].contains(&ran.code), "{}", ran.stderr);
    assert_eq!(s3.log().count("DeleteObject"), 0);
    assert!(s3.content("small.txt") == b"old" && s3.content("large.bin") == old, "{}", ran.stderr);
    assert_eq!((open(&s3).len(), mount.left_behind()), (0, vec![]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(s3.content("small.txt") == b"new" && same(&s3, &mount));
}
