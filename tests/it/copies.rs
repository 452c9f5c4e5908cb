//! What the bucket holds already is not sent again: it is copied there, as far as the store can be trusted with that, and every byte of the
//! result is as sure as if it had been sent.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;

use lsync::sandbox::{Action, Copies, Profile, Recorded, Rule};
use rustix::process::Signal;

use crate::resume_up::open;
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::wait::until;

const MIB: usize = 1 << 20;
/// Three parts.
const LARGE: usize = 17 * MIB;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// A mount and a bucket that hold the same.
fn agreed(files: &[(&str, usize)]) -> (S3, Mount) {
    let (s3, mount) = (S3::start(), Mount::new());
    files.iter().for_each(|(path, size)| _ = mount.write(path, noise(*size)));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.log().take();
    (s3, mount)
}

/// Uploads, and tells what was asked for the user's own keys, and what was moved and copied.
#[track_caller]
fn upload(s3: &S3, mount: &Mount, flags: &str) -> (Ran, BTreeMap<&'static str, usize>, u64, [u64; 2]) {
    s3.log().take();
    let ran = lsync(s3, mount, &format!("upload --yes --json {flags}")).run().expect(0);
    let Recorded { requests, received_bytes, .. } = s3.log().take();
    let mut counts = BTreeMap::new();
    for (operation, _) in requests.iter().filter(|(_, key)| !key.is_empty() && !key.contains(".lsync/")) {
        *counts.entry(*operation).or_default() += 1;
    }
    let summary = ran.summary();
    assert_eq!(summary["complete"], true, "{}", ran.stdout);
    let moved = ["bytes", "copied_bytes"].map(|name| summary[name].as_u64().expect("a number"));
    (ran, counts, received_bytes, moved)
}

/// What lies in the bucket is what lies in the mount, a fresh mount gets the same, and a further upload has nothing to do.
#[track_caller]
fn same_on_both_sides(s3: &S3, mount: &Mount) {
    let other = Mount::new();
    lsync(s3, &other, "download --yes").run().expect(0);
    assert!(other.tree() == mount.tree(), "a fresh download gives something else");
    let again = lsync(s3, mount, "upload --yes --json").run().expect(0).summary();
    assert_eq!((&again["uploaded"], &again["conflicts"]), (&0.into(), &0.into()), "{again}");
    assert_eq!(s3.open_uploads(&s3.store.bucket), []);
    assert!(s3.all_keys().iter().all(|key| !key.contains("probe-")), "{:?}", s3.all_keys());
}

/// Changes some bytes in place.
fn change(mount: &Mount, path: &str, offset: usize, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(mount.path(path)).expect("a file");
    file.write_all_at(bytes, offset as u64).expect("written");
}

/// "1 GiB renamed or copied inside the mount, uploaded: no content sent."
#[test]
fn what_was_renamed_or_copied_is_copied_in_the_bucket_and_not_sent() {
    let (s3, mount) = agreed(&[("old/small.bin", 3 * MIB), ("old/large.bin", LARGE)]);
    fs::create_dir(mount.path("new")).expect("a directory");
    fs::rename(mount.path("old/small.bin"), mount.path("new/ä b+%.bin")).expect("renamed");
    fs::copy(mount.path("old/large.bin"), mount.path("new/large.bin")).expect("copied");
    let (ran, asked, received, moved) = upload(&s3, &mount, "--delete");
    assert_eq!(moved, [0, (3 * MIB + LARGE) as u64], "{}", ran.stdout);
    assert!(received < 20_000, "{received} bytes were sent");
    let expected = [
        ("CompleteMultipartUpload", 1),
        ("CopyObject", 1),
        ("CreateMultipartUpload", 1),
        ("DeleteObject", 1),
        // Right before the removal.
        ("HeadObject", 1),
        ("UploadPartCopy", 3),
    ];
    assert_eq!(asked, BTreeMap::from(expected));
    let (_, etag, metadata) = s3.get_object(&s3.store.bucket, "new/ä b+%.bin").expect("an object");
    assert!(!etag.contains('-') && metadata.contains_key("md5chksum") && metadata.contains_key("lsync-id"), "{etag} {metadata:?}");
    assert_ne!(metadata["mtime"], "", "{metadata:?}");
    assert!(s3.get_object(&s3.store.bucket, "new/large.bin").is_some_and(|(_, etag, _)| etag.ends_with("-3")));
    same_on_both_sides(&s3, &mount);
    let text = lsync(&s3, mount.write("again.bin", noise(3 * MIB)), "upload --yes").run().expect(0);
    assert!(text.says("copied 3.0 MiB in the bucket") && text.last_line().contains(" strong=4 "), "{}{}", text.stderr, text.stdout);
}

/// What the store makes of copies is asked once, and only when there is something to copy.
#[test]
fn nothing_is_asked_where_nothing_can_be_copied() {
    let (s3, mount) = agreed(&[("a", 100)]);
    mount.write("of-another-size", noise(101)).write("of-the-same-size", vec![7; 100]);
    let (_, asked, _, _) = upload(&s3, &mount, "");
    assert_eq!(asked, BTreeMap::from([("PutObject", 2)]));
    mount.write("twin", noise(100));
    s3.log().take();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    let probes = s3.log().take().requests.into_iter().filter(|(_, key)| key.contains("probe-")).count();
    assert_eq!(probes, 8, "an original, four copies of it, a look, and both are removed");
    mount.write("another-twin", noise(100));
    s3.log().take();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    let asked = s3.log().take().requests;
    assert!(!asked.iter().any(|(_, key)| key.contains("probe-")) && asked.contains(&("CopyObject", "another-twin".into())), "{asked:?}");
    same_on_both_sides(&s3, &mount);
}

/// "A 4 GiB file with 1 % of its bytes changed in place (one run), uploaded again: at most 0.15 of a full upload's bytes sent."
#[test]
fn of_a_large_file_only_the_parts_are_sent_that_changed() {
    let (s3, mount) = agreed(&[("large.bin", 60 * MIB)]);
    change(&mount, "large.bin", 41 * MIB, &vec![7; MIB]);
    let (_, asked, received, moved) = upload(&s3, &mount, "");
    assert_eq!((asked.get("UploadPart"), asked.get("UploadPartCopy")), (Some(&1), Some(&7)));
    assert_eq!(moved, [8 << 20, 52 << 20]);
    assert!(received < 15 * 60 * MIB as u64 / 100, "{received}");
    same_on_both_sides(&s3, &mount);
    // What is appended goes, and the part that it is appended to.
    fs::File::options()
        .append(true)
        .open(mount.path("large.bin"))
        .and_then(|mut f| std::io::Write::write_all(&mut f, &noise(5 * MIB)))
        .expect("written");
    let (_, asked, _, _) = upload(&s3, &mount, "");
    assert_eq!((asked.get("UploadPart"), asked.get("UploadPartCopy")), (Some(&2), Some(&7)));
    same_on_both_sides(&s3, &mount);
    // A part that is found elsewhere in the file is copied from there.
    let moved_by_a_part = [noise(8 * MIB).as_slice(), &fs::read(mount.path("large.bin")).expect("a file")].concat();
    mount.write("large.bin", moved_by_a_part);
    let (_, asked, _, _) = upload(&s3, &mount, "");
    assert_eq!((asked.get("UploadPart"), asked.get("UploadPartCopy")), (None, Some(&10)));
    same_on_both_sides(&s3, &mount);
}

/// Whatever the store makes of copies, what it holds in the end is right, and what it cannot do is not asked for again.
#[track_caller]
fn copies_otherwise(copies: Copies, no_conditional_writes: bool, sends_whole: bool, sends_parts: bool) {
    let (s3, mount) = agreed(&[("small", 1000), ("middle", 2 * MIB), ("large", LARGE)]);
    s3.faults().set_profile(Profile { copies, no_conditional_writes, ..Profile::default() });
    // What was learnt before is about another store.
    mount.remove(".lsync");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    mount.write("small-twin", noise(1000)).write("middle-twin", noise(2 * MIB)).write("large-twin", noise(LARGE));
    let (_, asked, ..) = upload(&s3, &mount, "");
    let sent = |operation: &str| asked.get(operation).copied().unwrap_or(0);
    // What is large enough for it is made of one copied part where it cannot be copied whole.
    let puts = usize::from(sends_whole) + usize::from(sends_whole && sends_parts);
    assert_eq!((sent("PutObject"), sent("UploadPart")), (puts, if sends_parts { 3 } else { 0 }), "{asked:?}");
    let etag = s3.get_object(&s3.store.bucket, "middle-twin").expect("an object").1;
    assert_eq!(etag.ends_with("-1"), sends_whole && !sends_parts, "{etag}");
    mount.write("third-twin", noise(LARGE)).write("small-third", noise(1000));
    let (_, asked, ..) = upload(&s3, &mount, "");
    let copied = ["CopyObject", "UploadPartCopy"].map(|operation| asked.contains_key(operation));
    assert_eq!(copied, [!sends_whole, !sends_parts], "{asked:?}");
    same_on_both_sides(&s3, &mount);
}

#[test]
fn a_store_that_knows_no_copies_gets_the_content() {
    copies_otherwise(Copies::Refused, false, true, true);
}

#[test]
fn a_store_that_makes_empty_copies_gets_the_content() {
    copies_otherwise(Copies::Empty, false, true, true);
}

#[test]
fn a_store_that_copies_whatever_the_original_is_by_now_gets_the_content_of_small_files() {
    copies_otherwise(Copies::Unconditional, false, true, false);
    copies_otherwise(Copies::Unconditional, true, true, false);
}

#[test]
fn a_store_that_copies_over_whatever_stands_there_gets_the_content_of_small_files() {
    copies_otherwise(Copies::Overwriting, false, true, false);
    // Where no write has a guard in the store, a copy is guarded as they are: by a look, and the lease.
    copies_otherwise(Copies::Overwriting, true, false, false);
}

#[test]
fn a_store_that_gives_copies_the_old_metadata_gets_the_content_of_small_files() {
    copies_otherwise(Copies::WithMetadata, false, true, false);
}

#[test]
fn a_store_that_knows_no_ranges_gets_the_content_of_large_files() {
    copies_otherwise(Copies::Whole, false, false, true);
}

/// Where no ETag proves what a copy holds, there are none.
#[test]
fn where_etags_tell_nothing_everything_is_sent() {
    let opaque = Profile { opaque_etag: true, ..Profile::default() };
    for profile in [opaque, Profile { encrypted: true, ..Profile::default() }, Profile { opaque_single_etag: true, ..Profile::default() }] {
        let (s3, mount) = (S3::start(), Mount::new());
        s3.faults().set_profile(profile);
        mount.write("a", noise(1000));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        mount.write("b", noise(1000));
        let (_, asked, _, moved) = upload(&s3, &mount, "");
        assert_eq!((asked.contains_key("CopyObject"), moved), (false, [1000, 0]), "{profile:?}");
        same_on_both_sides(&s3, &mount);
    }
}

#[test]
fn a_copy_that_goes_wrong_is_sent_or_found_to_be_there() {
    let hit = |operation, action| Rule { key_contains: Some("twin".into()), ..Rule::once(operation, action) };
    for (action, sent) in [
        (Action::Ok200Error("InternalError"), 0),
        (Action::Ok200Error("AccessDenied"), 1),
        (Action::Status(403, "AccessDenied"), 1),
        (Action::Status(501, "NotImplemented"), 1),
        (Action::Status(503, "SlowDown"), 0),
        (Action::DropConnection, 0),
        (Action::DropAnswer, 0),
    ] {
        let (s3, mount) = agreed(&[("small", 1000), ("large", LARGE)]);
        mount.write("small-twin", noise(1000)).write("large-twin", noise(LARGE));
        s3.faults().push(hit("CopyObject", action.clone()));
        s3.faults().push(Rule { skip: 1, ..hit("UploadPartCopy", action.clone()) });
        let (_, asked, ..) = upload(&s3, &mount, "");
        assert_eq!(s3.faults().pending(), 0);
        assert_eq!(asked.get("PutObject").copied().unwrap_or(0), sent, "{action:?}");
        assert_eq!(asked.contains_key("UploadPart"), sent > 0, "{action:?}");
        same_on_both_sides(&s3, &mount);
    }
    // Carried out, never told, and never again: the put finds it.
    let (s3, mount) = agreed(&[("small", 1000)]);
    mount.write("small-twin", noise(1000));
    s3.faults().push(hit("CopyObject", Action::DropAnswer));
    s3.faults().push(Rule { times: 9, ..hit("CopyObject", Action::DropConnection) });
    upload(&s3, &mount, "");
    s3.faults().clear();
    same_on_both_sides(&s3, &mount);
}

/// What another program does to the original meanwhile.
#[test]
fn an_original_that_is_replaced_or_removed_is_not_copied() {
    for replaced in [true, false] {
        let (s3, mount) = agreed(&[("small", 1000), ("large", LARGE)]);
        // So that what copies are worth is known.
        mount.write("first", noise(1000));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        mount.remove("first").write("small-twin", noise(1000)).write("large-twin", noise(LARGE));
        s3.faults().push(Rule { key_contains: Some("small-twin".into()), ..Rule::once("CopyObject", Action::DropConnection) });
        s3.faults().push(Rule { key_contains: Some("large-twin".into()), ..Rule::once("CreateMultipartUpload", Action::Hold) });
        s3.faults().push(Rule { key_contains: Some("small-twin".into()), ..Rule::once("CopyObject", Action::Hold) });
        let run = lsync(&s3, &mount, "upload --yes").start();
        s3.until_all_hit();
        for key in ["small", "first", "large"] {
            match replaced {
                true => _ = s3.put(key, vec![1; if key == "large" { LARGE } else { 1000 }]),
                false => assert!(s3.remove(&s3.store.bucket, key).expect("a bucket")),
            }
        }
        s3.faults().release();
        // What changed in the bucket meanwhile is told; what was to be sent is there.
        run.wait().expect(3);
        assert!(s3.content("small-twin") == noise(1000) && s3.content("large-twin") == noise(LARGE));
        let log = s3.log().take().requests;
        assert!(log.contains(&("PutObject", "small-twin".into())) && log.contains(&("UploadPart", "large-twin".into())));
    }
}

/// What stands at the destination is guarded as against a file that is sent.
#[test]
fn a_copy_overwrites_nothing_that_another_program_wrote_meanwhile() {
    for no_conditional_writes in [false, true] {
        let (s3, mount) = agreed(&[("small", 1000)]);
        s3.faults().set_profile(Profile { no_conditional_writes, ..Profile::default() });
        mount.remove(".lsync").write("first", noise(1000));
        lsync(&s3, &mount, "upload --yes").run().expect(0);
        mount.write("twin", noise(1000));
        s3.faults().push(Rule { key_contains: Some("twin".into()), ..Rule::once("CopyObject", Action::DropConnection) });
        s3.faults().push(Rule { key_contains: Some(".lsync/".into()), ..Rule::once("HeadObject", Action::Hold) });
        let run = lsync(&s3, &mount, "upload --yes").start();
        until("the run is about to begin", || s3.faults().pending() == 1);
        s3.put("twin", "theirs");
        s3.faults().release();
        run.wait().expect(3);
        assert_eq!(s3.content("twin"), b"theirs");
    }
}

/// Names that change places: each copy is of what was listed, or the content is sent.
#[test]
fn files_that_change_places_hold_what_they_should() {
    let (s3, mount) = agreed(&[("small-a", 1000), ("small-b", 1001), ("large-a", LARGE), ("large-b", LARGE - 1)]);
    for name in ["small", "large"] {
        let at = |of: &str| mount.path(&format!("{name}-{of}"));
        fs::rename(at("a"), at("c"))
            .and_then(|()| fs::rename(at("b"), at("a")))
            .and_then(|()| fs::rename(at("c"), at("b")))
            .expect("renamed");
    }
    upload(&s3, &mount, "");
    same_on_both_sides(&s3, &mount);
}

/// A file that takes the place of a directory, or the other way round, whose content lay in what made room.
#[test]
fn what_made_room_is_no_original() {
    let (s3, mount) = agreed(&[("x", 1000), ("y/z", 2000), ("other", 10)]);
    fs::rename(mount.path("x"), mount.path("tmp")).expect("renamed");
    fs::create_dir(mount.path("x")).expect("a directory");
    fs::rename(mount.path("tmp"), mount.path("x/inside")).expect("renamed");
    fs::rename(mount.path("y/z"), mount.path("tmp")).expect("renamed");
    fs::remove_dir(mount.path("y")).expect("empty");
    fs::rename(mount.path("tmp"), mount.path("y")).expect("renamed");
    upload(&s3, &mount, "");
    same_on_both_sides(&s3, &mount);
}

/// An object of one copied part is as well guarded and as well known as one that was sent.
#[test]
fn an_object_of_one_copied_part_is_ours_whatever_becomes_of_the_answer() {
    let middle = |operation, action| Rule { key_contains: Some("twin".into()), ..Rule::once(operation, action) };
    for (rule, sent) in [
        (middle("CompleteMultipartUpload", Action::DropAnswer), 0),
        (middle("CompleteMultipartUpload", Action::Ok200Error("InternalError")), 0),
        (middle("CompleteMultipartUpload", Action::Status(400, "InvalidPart")), 1),
        (middle("CreateMultipartUpload", Action::Status(403, "AccessDenied")), 1),
        (middle("UploadPartCopy", Action::Status(404, "NoSuchKey")), 1),
    ] {
        let (s3, mount) = agreed(&[("middle", 2 * MIB)]);
        s3.faults().set_profile(Profile { copies: Copies::Overwriting, ..Profile::default() });
        mount.write("twin", noise(2 * MIB));
        s3.faults().push(rule);
        let (_, asked, ..) = upload(&s3, &mount, "");
        assert_eq!((s3.faults().pending(), asked.get("PutObject").copied().unwrap_or(0)), (0, sent), "{asked:?}");
        same_on_both_sides(&s3, &mount);
    }
    // Killed before it is an object: the next run gives it up.
    let (s3, mount) = agreed(&[("middle", 2 * MIB)]);
    s3.faults().set_profile(Profile { copies: Copies::Overwriting, ..Profile::default() });
    mount.write("twin", noise(2 * MIB));
    for action in [Action::Hold, Action::DropAnswer] {
        s3.faults().push(middle("CompleteMultipartUpload", action));
        let run = lsync(&s3, &mount, "upload --yes").start();
        s3.until_all_hit();
        run.signal(Signal::KILL);
        run.wait().expect(-9);
        s3.faults().release();
    }
    upload(&s3, &mount, "");
    same_on_both_sides(&s3, &mount);
}

/// Parts that were copied count as parts that were sent: the next run goes on from them.
#[test]
fn a_killed_upload_of_copied_and_sent_parts_goes_on() {
    let (s3, mount) = agreed(&[("large.bin", 62 * MIB)]);
    change(&mount, "large.bin", 40 * MIB + 5, b"changed");
    s3.faults().push(Rule::once("UploadPart", Action::Hold));
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    until("all others are copied", || open(&s3) == [7]);
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    let (_, asked, _, _) = upload(&s3, &mount, "");
    let again = ["CreateMultipartUpload", "UploadPartCopy", "UploadPart"].map(|operation| asked.get(operation).copied().unwrap_or(0));
    assert!(again[0] == 0 && again[1] == 0 && again[2] <= 1, "{asked:?}");
    same_on_both_sides(&s3, &mount);
}

/// Two mounts and a bucket that hold the same, and a change of the first that was uploaded.
fn changed_elsewhere(files: &[(&str, usize)], change: impl FnOnce(&Mount)) -> (S3, Mount, Mount) {
    let (s3, mount) = agreed(files);
    let other = Mount::new();
    lsync(&s3, &other, "download --yes").run().expect(0);
    change(&mount);
    lsync(&s3, &mount, "upload --yes --delete --max-delete 100%").run().expect(0);
    s3.log().take();
    (s3, mount, other)
}

/// How many GETs of the user's own objects there were, what was moved, and what the mount had.
#[track_caller]
fn downloaded(s3: &S3, ran: &Ran) -> (usize, [u64; 2]) {
    let summary = ran.summary();
    assert_eq!(summary["complete"], true, "{}", ran.stdout);
    let gets =
        s3.log().take().requests.into_iter().filter(|(operation, key)| *operation == "GetObject" && !key.contains(".lsync/")).count();
    (gets, ["bytes", "copied_bytes"].map(|name| summary[name].as_u64().expect("a number")))
}

/// "Downloads fetch only the changed ranges."
#[test]
fn of_a_large_object_only_the_parts_are_fetched_that_the_mount_does_not_hold() {
    let (s3, mount, other) = changed_elsewhere(&[("large.bin", 60 * MIB)], |mount| change(mount, "large.bin", 30 * MIB, b"changed"));
    let ran = lsync(&s3, &other, "download --yes --json").run().expect(0);
    assert_eq!(downloaded(&s3, &ran), (1, [8 << 20, 52 << 20]));
    assert!(other.tree() == mount.tree());
    // The old one is in the trash, as it was.
    lsync(&s3, &other, "undo --yes").run().expect(0);
    assert!(fs::read(other.path("large.bin")).expect("a file") == noise(60 * MIB));
}

#[test]
fn what_was_renamed_elsewhere_is_copied_in_the_mount() {
    let renamed = |mount: &Mount| fs::rename(mount.path("old.bin"), mount.path("new.bin")).expect("renamed");
    let (s3, mount, other) = changed_elsewhere(&[("old.bin", LARGE)], renamed);
    if other.forgets() {
        return; // no file is known by its checksum
    }
    let ran = lsync(&s3, &other, "download --yes --json --delete --max-delete 100%").run().expect(0);
    assert_eq!(downloaded(&s3, &ran), (0, [0, LARGE as u64]));
    assert!(other.tree() == mount.tree());
    let (s3, mount, other) = changed_elsewhere(&[("old.bin", LARGE)], renamed);
    let ran = lsync(&s3, &other, "download --yes").run().expect(0);
    assert!(ran.says("copied 17.0 MiB in the mount"), "{}", ran.stderr);
    assert!(fs::read(other.path("new.bin")).expect("a file") == fs::read(mount.path("new.bin")).expect("a file"));
}

/// What the mount is said to hold is read again; what it does not hold is fetched.
#[test]
fn a_file_that_changed_meanwhile_is_not_copied_from() {
    let (s3, mount, other) = changed_elsewhere(&[("old.bin", LARGE)], |mount| {
        fs::rename(mount.path("old.bin"), mount.path("new.bin")).expect("renamed");
        mount.write("a", "small");
    });
    s3.faults().push(Rule { key_contains: Some("a".into()), ..Rule::once("GetObject", Action::Hold) });
    let run = lsync(&s3, &other, "download --yes --json -j 1").start();
    s3.until_all_hit();
    change(&other, "old.bin", 9 * MIB, b"changed");
    s3.faults().release();
    let ran = run.wait().expect(0);
    assert_eq!(downloaded(&s3, &ran), (1 + 3, [LARGE as u64 + 5, 0]));
    assert!(fs::read(other.path("new.bin")).expect("a file") == fs::read(mount.path("new.bin")).expect("a file"));
}
