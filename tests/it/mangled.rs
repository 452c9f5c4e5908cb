//! Content that is not what it seems: bits that turn over on the way, where the store does not check what it takes or its ETags tell nothing;
//! names like errors; dates that were set back. Healed, or said.

use lsync::sandbox::{Action, Profile, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

fn hit(operation: &'static str, key: &str, times: u32, action: Action) -> Rule {
    Rule { key_contains: Some(key.into()), times, ..Rule::once(operation, action) }
}

/// A store that does not check `Content-MD5`, with or without conditional writes.
fn unchecking() -> impl Iterator<Item = S3> {
    [false, true].into_iter().map(|no_conditional_writes| {
        let s3 = S3::start();
        s3.faults().set_profile(Profile { no_md5_check: true, no_conditional_writes, ..Profile::default() });
        s3
    })
}

#[test]
fn what_a_store_took_damaged_without_checking_is_sent_again() {
    for s3 in unchecking() {
        let mount = Mount::with(&[("data/a", "abc"), ("data/b", "other")]);
        s3.faults().push(hit("PutObject", "data/a", 1, Action::FlipRequest(1)));
        let ran = lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert!(ran.last_line().contains(" strong=2 "), "{}", ran.stdout);
        assert_eq!((s3.faults().pending(), s3.content("data/a")), (0, b"abc".to_vec()));
    }
}

#[test]
fn a_second_try_sends_the_whole_body_again() {
    for key in ["data/small", "data/large"] {
        let (s3, mount) = (S3::start(), Mount::new());
        let operation = if key == "data/large" { "UploadPart" } else { "PutObject" };
        mount.write(key, noise(if key == "data/large" { 17 << 20 } else { 5000 }));
        s3.faults().push(hit(operation, key, 1, Action::Status(503, "SlowDown")));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        let sent = s3.log().take().requests.iter().filter(|(op, on)| *op == operation && on == key).count();
        assert_eq!(sent, if key == "data/large" { 4 } else { 2 }, "one more than there are, and no more");
    }
}

#[test]
fn a_part_that_a_store_took_damaged_without_checking_is_sent_again() {
    for s3 in unchecking() {
        let mount = Mount::new();
        mount.write("data/large", noise(17 << 20));
        s3.faults().push(hit("UploadPart", "data/large", 1, Action::FlipRequest(7)));
        let ran = lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert!(ran.last_line().contains(" strong=1 "), "{}", ran.stdout);
        assert_eq!((s3.log().count("UploadPart"), s3.content("data/large") == noise(17 << 20)), (4, true));
        // No part is one that the bucket holds: that one would be copied there.
        let other: Vec<u8> = noise(18 << 20).iter().map(|byte| !byte).collect();
        mount.write("data/large", &other);
        s3.faults().push(Rule { skip: 1, ..hit("UploadPart", "data/large", 100, Action::FlipRequest(7)) });
        lsync(&s3, &mount, "upload --yes -j 1").run().expect(8);
        assert!(s3.content("data/large") == noise(17 << 20), "what it held before is untouched");
        s3.faults().clear();
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert!(s3.content("data/large") == other && s3.open_uploads(&s3.store.bucket).is_empty());
    }
}

/// Then no part shows that ETags are MD5s here, and what was made of them is looked at.
#[test]
fn a_file_of_which_every_part_was_damaged_is_noticed() {
    for s3 in unchecking() {
        let mount = Mount::new();
        mount.write("data/large", noise(17 << 20));
        s3.faults().push(hit("UploadPart", "data/large", 3, Action::FlipRequest(7)));
        let ran = lsync(&s3, &mount, "upload --yes").run().expect(8);
        assert!(ran.says("data/large: the store holds other bytes than were sent"), "{}", ran.stderr);
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert_eq!((s3.faults().pending(), s3.content("data/large") == noise(17 << 20)), (0, true));
    }
}

#[test]
fn what_arrives_damaged_again_and_again_is_exit_8_and_the_next_run_mends_it() {
    for s3 in unchecking() {
        let mount = Mount::with(&[("data/a", "abc"), ("data/b", "other")]);
        s3.faults().push(hit("PutObject", "data/a", 2, Action::FlipRequest(1)));
        let ran = lsync(&s3, &mount, "upload --yes").run().expect(8);
        assert!(ran.last_line().starts_with("incomplete: 1 failed") && ran.stderr.contains("data/a"), "{}{}", ran.stdout, ran.stderr);
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert_eq!(s3.content("data/a"), b"abc");
    }
}

/// Nothing but the manifest carries a digest of a large object there, and of a small one its metadata.
#[test]
fn a_damaged_body_is_noticed_where_etags_tell_nothing() {
    let (s3, mount, other) = (S3::start(), Mount::with(&[("data/a", "abc")]), Mount::new());
    s3.faults().set_profile(Profile { opaque_etag: true, ..Profile::default() });
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.faults().push(hit("GetObject", "manifests/", 100, Action::Status(404, "NoSuchKey")));
    s3.faults().push(hit("GetObject", "data/a", 100, Action::FlipByte(1)));
    let ran = lsync(&s3, &other, "download --yes").run();
    assert!(!other.has("data/a") && ran.stderr.contains("does not match its digest"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_manifest_that_arrives_damaged_is_read_again() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    mount.link("latest", "data/a");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    for action in [Action::FlipByte(30), Action::FlipByte(500), Action::Swap] {
        let other = Mount::new();
        s3.faults().push(hit("GetObject", "manifests/", 1, action.clone()));
        let ran = lsync(&s3, &other, "download --yes").run().expect(0);
        assert!(ran.last_line().starts_with("complete: files=2 "), "{action:?}: {}", ran.stdout);
        assert_eq!((s3.faults().pending(), mount.tree() == other.tree()), (0, true), "{action:?}");
    }
}

/// An object in parts whose manifest cannot be read: its ETag tells where it can, else it is read twice.
#[test]
fn a_large_body_that_arrives_damaged_is_noticed_without_a_manifest() {
    let opaque = Profile { opaque_multipart_etag: true, ..Profile::default() };
    for (profile, damage) in [(Profile::default(), Action::Swap), (opaque, Action::FlipByte(9))] {
        let (s3, mount, there) = (S3::start(), Mount::new(), Mount::new());
        s3.faults().set_profile(profile);
        mount.write("large", noise(17 << 20));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        let damaged = |times| {
            s3.faults().push(hit("GetObject", "manifests/", 4, Action::FlipByte(30)));
            s3.faults().push(hit("GetObject", "large", times, damage.clone()));
        };
        // Always, or on the way of one range only.
        damaged(if damage == Action::Swap { 100 } else { 1 });
        let ran = lsync(&s3, &there, "download --yes").run().expect(8);
        assert!(ran.says("large: what the bucket sends") && !there.has("large"), "{profile:?}: {}", ran.stderr);
        s3.faults().clear();
        s3.faults().push(hit("GetObject", "manifests/", 4, Action::FlipByte(30)));
        s3.log().take();
        // What only the manifest carries is a problem.
        lsync(&s3, &there, "download --yes").run().expect(3);
        let ranges = s3.log().take().requests.iter().filter(|(op, on)| *op == "GetObject" && on == "large").count();
        assert_eq!(ranges, if profile == Profile::default() { 3 } else { 6 }, "{profile:?}");
        assert_eq!(mount.tree(), there.tree());
    }
}

#[test]
fn a_manifest_that_was_stored_damaged_is_in_nobodys_way() {
    let (s3, mount, other) = (S3::start(), Mount::with(&[("data/a", "abc")]), Mount::new());
    s3.faults().set_profile(Profile { no_md5_check: true, opaque_etag: true, ..Profile::default() });
    s3.faults().push(hit("PutObject", "manifests/", 1, Action::FlipRequest(60)));
    lsync(&s3, &mount, "upload --yes").run().expect(8);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    lsync(&s3, &other, "download --yes").run().expect(0);
    assert_eq!(mount.tree(), other.tree());
}

#[test]
fn a_manifest_that_is_damaged_on_its_way_back_is_read_back_again() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    s3.faults().push(hit("GetObject", "manifests/", 1, Action::FlipByte(40)));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.log().take();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!((s3.faults().pending(), s3.log().count("PutObject")), (0, 0));
}

#[test]
fn no_body_of_the_wrong_length_or_content_is_taken() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("data/a", noise(70_000));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    for action in
        [Action::Shorten(100), Action::Shorten(0), Action::Extend(1), Action::Swap, Action::Reset(30_000), Action::FlipByte(69_999)]
    {
        let other = Mount::new();
        s3.faults().push(hit("GetObject", "data/a", 1000, action.clone()));
        let ran = lsync(&s3, &other, "download --yes --no-progress");
        let ran = if matches!(action, Action::Reset(_)) {
            s3.faults().clear();
            s3.faults().push(hit("GetObject", "data/a", 1, action.clone()));
            ran.run().expect(0)
        } else {
            ran.run()
        };
        s3.faults().clear();
        assert_eq!(other.has("data/a"), ran.code == 0, "{action:?}: {}", ran.stderr);
        assert!(ran.code == 0 || ran.last_line().starts_with("incomplete: "), "{action:?}: {}", ran.stdout);
        lsync(&s3, &other, "download --yes").run().expect(0);
        assert_eq!(mount.tree(), other.tree());
    }
}

#[test]
fn names_that_sound_like_errors_are_names() {
    let (s3, mount, other) = (S3::start(), Mount::with(&[("SlowDown", "a"), ("InternalError/<Error>", "b")]), Mount::new());
    mount.write("InternalError/SlowDown.bin", noise(17 << 20));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    lsync(&s3, &other, "download --yes").run().expect(0);
    assert_eq!((s3.log().count("CompleteMultipartUpload"), mount.tree() == other.tree()), (1, true));
}

/// "Never delete the destination on failure."
#[test]
fn an_upload_that_fails_leaves_the_version_that_was_there() {
    for (operation, size) in [("PutObject", 3), ("CompleteMultipartUpload", 17 << 20)] {
        let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "old"), ("data/b", "fine")]));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        mount.write("data/a", noise(size)).write("data/b", "finer");
        s3.faults().push(hit(operation, "data/a", 100, Action::Status(400, "InvalidRequest")));
        lsync(&s3, &mount, "upload --yes").run().expect(3);
        assert_eq!((s3.content("data/a"), s3.content("data/b")), (b"old".to_vec(), b"finer".to_vec()));
    }
}

/// "A checkpoint of the same size and date with other bytes is found."
#[test]
fn a_file_of_the_same_size_and_date_with_other_bytes_is_sent() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "first"), ("data/b", "x")]));
    mount.mtime("data/a", 1_700_000_000_000_000_000).mtime("data/b", 1_700_000_000_000_000_000);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    // Once more, so that both are known by their stamps when one of them changes.
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    mount.write("data/a", "other").mtime("data/a", 1_700_000_000_000_000_000);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.content("data/a"), b"other");
}

/// As after a run that never heard the store's answer: nothing but the object itself tells what it is.
#[test]
fn our_own_object_is_no_stranger_where_its_etag_looks_like_another_md5() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc"), ("data/b", "other")]));
    s3.faults().set_profile(Profile { encrypted: true, ..Profile::default() });
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    for key in s3.all_keys().iter().filter(|key| key.starts_with(".lsync/")) {
        s3.remove(&s3.store.bucket, key).expect("a bucket");
    }
    mount.remove(".lsync").write("data/b", "OTHER");
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(6);
    assert!(ran.last_line().starts_with("incomplete: 1 in conflict"), "only what differs is one: {}", ran.stdout);
}

/// A change that was sent, and of which neither the answer nor the object was seen again by the run that sent it.
fn unheard(s3: &S3, mount: &Mount, sent: Action) {
    mount.write("data/a", "first");
    lsync(s3, mount, "upload --yes").run().expect(0);
    mount.write("data/a", "later");
    s3.faults().push(hit("PutObject", "data/a", 1, sent));
    for operation in ["PutObject", "HeadObject"] {
        s3.faults()
            .push(Rule { skip: u32::from(operation == "PutObject"), ..hit(operation, "data/a", 100, Action::Status(403, "AccessDenied")) });
    }
    lsync(s3, mount, "upload --yes").run();
    s3.faults().clear();
}

#[test]
fn a_change_that_was_sent_and_not_heard_of_is_no_conflict_where_etags_are_no_md5s() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.faults().set_profile(Profile { encrypted: true, ..Profile::default() });
    unheard(&s3, &mount, Action::DropAnswer);
    assert_eq!(s3.content("data/a"), b"later");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
}

#[test]
fn a_change_that_was_stored_damaged_and_could_not_be_looked_at_is_sent_again() {
    for s3 in unchecking() {
        let mount = Mount::new();
        unheard(&s3, &mount, Action::FlipRequest(1));
        assert_ne!(s3.content("data/a"), b"later");
        // What it holds is nobody's: the mount does not take it.
        lsync(&s3, &mount, "download --yes").run().expect(0);
        assert_eq!(mount.text("data/a"), "later");
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert_eq!(s3.content("data/a"), b"later");
    }
}
