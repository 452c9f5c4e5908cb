//! "complete" is said only when it is true: the closing listing, the closing scan and the read-back each can forbid it.

use lsync::sandbox::{Action, Profile, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::wait::until;

fn upload(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes")
}

/// Holds the closing listing of an upload: the first two are of the look, which asks once, and of what comes then.
fn at_the_closing_listing(s3: &S3, mount: &Mount, meanwhile: impl FnOnce()) -> Ran {
    s3.faults().push(Rule { skip: 1, ..Rule::once("ListObjectsV2", Action::Hold) });
    let run = upload(s3, mount).start();
    s3.until_all_hit();
    meanwhile();
    s3.faults().release();
    run.wait()
}

#[track_caller]
fn incomplete(ran: &Ran, why: &str) {
    assert!(ran.last_line().starts_with("incomplete: "), "{}", ran.stdout);
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    assert!(!ran.stdout.lines().any(|line| line.starts_with("complete")), "{}", ran.stdout);
}

/// "A closing listing agreed (size is ours, and the listed ETag is the one answered, or our MD5, or our composite; otherwise one HEAD
/// must show our nonce"
#[test]
fn an_object_overwritten_right_after_it_was_sent_is_not_complete() {
    for theirs in ["xyz", "something longer"] {
        let (s3, mount) = (S3::start(), Mount::with(&[("a/b", "abc"), ("c", "c")]));
        let ran = at_the_closing_listing(&s3, &mount, || _ = s3.put("a/b", theirs).keys()).expect(3);
        incomplete(&ran, "a/b: the bucket lists");
        assert_eq!(s3.content("a/b"), theirs.as_bytes());
        let again = upload(&s3, &mount).run().expect(0);
        assert!(again.stderr.contains("newer in the bucket"), "theirs is newer than what both agreed on: {}", again.stderr);
        assert_eq!(s3.content("a/b"), theirs.as_bytes());
    }
}

#[test]
fn an_object_that_vanishes_before_the_closing_listing_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a/b", "abc"), ("c", "c")]));
    let ran = at_the_closing_listing(&s3, &mount, || assert!(s3.remove(&s3.store.bucket, "a/b").expect("a bucket"))).expect(3);
    incomplete(&ran, "a/b: the bucket does not list it although it took it");
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=2 "), "{}", again.stdout);
    assert_eq!(s3.content("a/b"), b"abc");
}

#[test]
fn an_unchanged_object_that_vanishes_during_the_run_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a/b", "abc")]));
    upload(&s3, &mount).run().expect(0);
    mount.write("new", "new");
    let ran = at_the_closing_listing(&s3, &mount, || assert!(s3.remove(&s3.store.bucket, "a/b").expect("a bucket"))).expect(3);
    incomplete(&ran, "a/b: the bucket changed it while the run was under way");
    assert_eq!(mount.text("a/b"), "abc");
}

/// What was there all along is not blamed for it: a marker beside a file, and what patterns leave out below a link.
#[test]
fn an_object_that_comes_where_the_mount_has_something_else_is_not_complete() {
    for (key, stands) in [("f/x", "f"), ("l/x", "l"), ("l/", "l"), ("f/e/", "f"), ("d", "d"), ("d/e", "d/e"), ("d/e/m/x", "d/e/m")] {
        let (s3, mount) = (S3::start(), Mount::with(&[("f", "abc"), ("g", "g"), ("d/e/x", "x"), (".syncignore", "*.tmp\n")]));
        mount.link("l", "f").link("m", "g").link("d/e/m", "x");
        upload(&s3, &mount).run().expect(0);
        s3.put("g/", "").put("m/o.tmp", "o");
        mount.write("new", "new").write("d/e/new", "new");
        let ran = at_the_closing_listing(&s3, &mount, || _ = s3.put(key, "").keys()).expect(3);
        incomplete(&ran, &format!("{stands}: another program put an object there ({key})"));
        assert_eq!(ran.last_line(), "incomplete: 1 failed");
        assert_eq!(ran.stderr.matches("another program").count(), 1, "{}", ran.stderr);
    }
}

/// What made room for a directory comes back while the run is under way.
#[test]
fn an_object_that_comes_back_above_what_took_its_place_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("d", "abc"), ("g", "g")]));
    upload(&s3, &mount).run().expect(0);
    mount.remove("d").write("d/x", "x");
    let ran = at_the_closing_listing(&s3, &mount, || _ = s3.put("d", "theirs").keys()).expect(3);
    incomplete(&ran, "d: another program put an object there (d)");
    assert_eq!((s3.content("d"), mount.text("d/x")), (b"theirs".to_vec(), "x".to_owned()));
}

/// Above the PATH of a run, where its listing does not reach.
#[test]
fn an_object_that_comes_above_the_path_of_a_run_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("d/e/f", "abc"), ("g", "g")]));
    s3.faults().push(Rule::once("PutObject", Action::Hold));
    let run = Cmd::lsync(&mount).on(&s3.store).args("upload --yes d/e/f").start();
    s3.until_all_hit();
    s3.put("d", "object");
    s3.faults().release();
    incomplete(&run.wait().expect(3), "d: another program put an object there (d)");
}

#[test]
fn a_closing_listing_that_is_refused_is_not_complete_and_what_was_sent_is_remembered() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc")]));
    s3.faults().push(Rule { skip: 1, ..Rule::once("ListObjectsV2", Action::Status(403, "AccessDenied")) });
    let ran = upload(&s3, &mount).run().expect(4);
    incomplete(&ran, "AccessDenied");
    s3.log().take();
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 "), "{}", again.stdout);
    assert_eq!(s3.log().count("PutObject"), 0);
}

/// "Absence from a listing alone never proves one": an error is no empty listing.
#[test]
fn a_listing_that_fails_is_never_an_empty_bucket() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc"), ("b", "x")]));
    upload(&s3, &mount).run().expect(0);
    for (action, code) in
        [(Action::Status(403, "AccessDenied"), 4), (Action::Status(404, "NoSuchBucket"), 2), (Action::Status(400, "InvalidArgument"), 1)]
    {
        for command in ["download --yes --delete", "upload --yes --delete", "status"] {
            s3.faults().push(Rule { times: 3, ..Rule::once("ListObjectsV2", action.clone()) });
            let ran = Cmd::lsync(&mount).on(&s3.store).args(command).run().expect(code);
            assert!(ran.stderr.contains("error: cannot list") && !ran.stdout.contains("complete"), "{}{}", ran.stdout, ran.stderr);
            s3.faults().clear();
        }
    }
    assert!(mount.has("a") && mount.has("b") && s3.keys() == ["a", "b"]);
}

#[test]
fn a_listing_that_breaks_is_asked_for_again() {
    for action in [Action::Truncate(200), Action::Ok200Error("InternalError"), Action::Status(503, "SlowDown"), Action::DropConnection] {
        let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc"), ("b", "x")]));
        s3.put("a", "abc");
        s3.faults().push(Rule::once("ListObjectsV2", action.clone()));
        let ran = upload(&s3, &mount).run().expect(0);
        assert!(ran.last_line().starts_with("complete: files=2 "), "{action:?}: {}", ran.stdout);
        assert_eq!((s3.faults().pending(), s3.keys()), (0, vec!["a".to_owned(), "b".to_owned()]));
    }
}

/// "The manifest was published and read back."
#[test]
fn a_manifest_that_does_not_come_back_is_not_complete() {
    for (action, code) in [(Action::Status(404, "NoSuchKey"), 8), (Action::Status(403, "AccessDenied"), 4)] {
        let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc")]));
        s3.faults().push(Rule { key_contains: Some("manifests/".into()), ..Rule::once("GetObject", action.clone()) });
        let ran = upload(&s3, &mount).run().expect(code);
        incomplete(&ran, "manifest");
        s3.log().take();
        let again = upload(&s3, &mount).run().expect(0);
        assert!(again.last_line().starts_with("complete: files=1 "), "{action:?}: {}", again.stdout);
        assert_eq!(s3.log().count("PutObject"), 0, "it is there already");
    }
}

#[test]
fn a_manifest_that_cannot_be_published_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc")]));
    mount.link("l", "a");
    s3.faults().push(Rule { key_contains: Some("manifests/".into()), ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    incomplete(&upload(&s3, &mount).run().expect(4), "manifests/");
    let again = upload(&s3, &mount).run().expect(0);
    assert!(again.last_line().starts_with("complete: files=2 ") && again.last_line().ends_with("generation=1"), "{}", again.stdout);
}

/// Whatever ETags a store gives: complete, with honest counts; a second run moves nothing; a fresh mount gets it all back, proven.
#[track_caller]
fn on_a_store(profile: Profile, upload_counts: &str, download_counts: &str) {
    let (s3, mount) = (S3::start(), Mount::with(&[("small", "abc")]));
    s3.faults().set_profile(profile);
    mount.write("large", noise(17 << 20));
    let ran = upload(&s3, &mount).run().expect(0);
    let line = |counts: &str| format!("complete: files=2 bytes=17825795 {counts} size=0 skipped=0 protected=0 generation=1");
    assert_eq!(ran.last_line(), line(upload_counts));
    s3.log().take();
    let again = upload(&s3, &mount).run().expect(0);
    assert_eq!(again.last_line(), line(upload_counts));
    let other = Mount::new();
    let down = Cmd::lsync(&other).on(&s3.store).args("download --yes").run().expect(0);
    assert_eq!(down.last_line(), line(download_counts));
    assert_eq!(mount.tree(), other.tree());
    let log = s3.log().take();
    assert_eq!(log.requests.iter().filter(|(op, _)| ["PutObject", "UploadPart"].contains(op)).count(), 0);
    let mut changed = noise(17 << 20);
    changed[5] ^= 1;
    other.write("large", &changed);
    upload(&s3, &other).run().expect(0);
    assert_eq!(s3.content("large"), changed, "what changed replaces what was there");
    other.remove("large");
    upload(&s3, &other).args("--delete --max-delete 100%").run().expect(0);
    assert_eq!(s3.keys(), ["small"]);
}

#[test]
fn a_store_like_aws_is_complete_by_digests_alone() {
    on_a_store(Profile::default(), "strong=2 etag=0", "strong=2 etag=0");
}

#[test]
fn opaque_etags_of_multipart_uploads_are_complete_by_the_etag_that_was_answered() {
    on_a_store(Profile { opaque_multipart_etag: true, ..Profile::default() }, "strong=1 etag=1", "strong=2 etag=0");
}

#[test]
fn a_listing_that_shows_another_etag_than_the_answer_is_complete_by_the_nonce() {
    on_a_store(Profile { answer_composite_list_other: true, ..Profile::default() }, "strong=1 etag=1", "strong=2 etag=0");
}

#[test]
fn a_store_that_checks_nothing_is_complete_by_what_it_lists() {
    on_a_store(Profile { no_md5_check: true, no_conditional_writes: true, ..Profile::default() }, "strong=2 etag=0", "strong=2 etag=0");
}

#[test]
fn a_mount_that_is_renamed_during_the_run_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc")]));
    let (here, there) = (mount.root().to_owned(), mount.mounts().join("elsewhere"));
    let ran = at_the_closing_listing(&s3, &mount, || std::fs::rename(&here, &there).expect("renamed"));
    until("it is back", || std::fs::rename(&there, &here).is_ok());
    incomplete(&ran.expect(1), "lost the mount");
}
