//! `lsync verify` finds by name what differs from what was published, tells work from damage, and changes nothing.

use std::fs;
use std::time::SystemTime;

use lsync::local::state::Seen;
use lsync::sandbox::{Action, Profile, Rule};
use serde_json::Value;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::two::Two;

const LARGE: usize = (17 << 20) + 5;

/// A published tree: small files, a large one, a link, an empty directory.
fn published() -> Two {
    let two = Two::empty();
    two.a.write("data/a", "one").write("data/b", "two").write("empty", "").write("large.bin", noise(LARGE));
    two.a.link("l", "data/a").dir("results");
    two.a("upload --yes").expect(0);
    two.s3.log().take();
    two
}

/// `path state` of every finding, in order.
fn findings(ran: &Ran) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    ran.lines("finding").iter().map(|line| format!("{} {}", text(&line["path"]), text(&line["state"]))).collect()
}

/// Runs it on the first mount; the findings, by an exit code.
#[track_caller]
fn finds(two: &Two, args: &str, code: i32, expected: &[&str]) -> Ran {
    let ran = two.a(&format!("verify --json {args}")).expect(code);
    assert_eq!(findings(&ran), expected, "{}", ran.stdout);
    ran
}

fn count(ran: &Ran, name: &str) -> u64 {
    ran.summary()[name].as_u64().unwrap_or_else(|| panic!("{name} is no count"))
}

#[test]
fn verify_of_what_was_just_published_is_clean_at_every_depth() {
    let two = published();
    let list = finds(&two, "", 0, &[]);
    assert_eq!(["listed", "recorded", "read", "remembered", "changed"].map(|name| count(&list, name)), [4, 2, 0, 6, 0]);
    assert_eq!(two.s3.log().take().counts.get("GetObject"), None, "no object is read");
    let deep = finds(&two, "--deep", 0, &[]);
    assert_eq!(["listed", "read", "bytes", "hashed", "remembered"].map(|name| count(&deep, name)), [0, 4, LARGE as u64 + 6, 4, 2]);
    assert!(two.a("verify").expect(0).last_line().starts_with("ok: read=0 listed=4 recorded=2 unknown=0 "));
    // Another instance that has downloaded nothing: its mount is empty, the bucket is as it should be.
    let other = two.b("verify --deep --json").expect(0);
    assert_eq!((count(&other, "read"), count(&other, "changed")), (4, 0));
}

/// "Never modifies files", "no writes to bucket".
#[test]
fn verify_writes_nothing() {
    let two = published();
    let state = |two: &Two| {
        let files = walkdir::WalkDir::new(two.a.path(".lsync")).sort_by_file_name().into_iter().map(|e| e.expect("readable"));
        let files = files.filter(|e| e.file_type().is_file());
        files.map(|e| (e.path().to_owned(), fs::read(e.path()).expect("readable"))).collect::<Vec<_>>()
    };
    let (before, tree) = (state(&two), two.a.tree());
    two.a.write("new", "n").remove("data/b");
    two.remove_object("data/a");
    two.s3.log().take();
    two.a("verify --deep").expect(3);
    two.a.write("data/b", "two").remove("new");
    assert!(two.s3.log().take().requests.iter().all(|(op, _)| ["ListObjectsV2", "GetObject", "HeadObject"].contains(op)));
    assert_eq!(state(&two), before);
    assert_eq!(two.a.tree().len(), tree.len());
}

#[test]
fn what_is_missing_replaced_or_extra_in_the_bucket_is_named() {
    let two = published();
    two.remove_object("data/b");
    two.s3.put("data/a", "other").put("theirs", "x");
    let expected = ["data/a replaced", "data/b missing", "theirs extra"];
    finds(&two, "--list", 3, &expected);
    finds(&two, "--deep", 3, &expected);
    finds(&two, "data", 3, &expected[..2]);
    finds(&two, "large.bin l", 0, &[]);
    let ran = two.a("verify").expect(3);
    assert!(ran.last_line().starts_with("not ok: 1 missing, 1 replaced, 1 extra; "), "{}", ran.stdout);
    assert!(ran.says("Published, and not in the bucket: data/b: it was published and is not in the bucket"), "{}", ran.stdout);
}

/// "Exit 8 with the names when a digest does not match": size and ETag still are as they were.
#[test]
fn an_object_that_rotted_is_found_by_reading_it_and_named() {
    let two = published();
    let bucket = &two.s3.store.bucket;
    two.s3.rot(bucket, "data/a", 1).expect("a byte");
    two.s3.rot(bucket, "large.bin", 9 << 20).expect("a byte");
    finds(&two, "", 0, &[]);
    let ran = finds(&two, "--deep", 8, &["data/a mismatch", "large.bin mismatch"]);
    assert_eq!((count(&ran, "mismatch"), count(&ran, "read")), (2, 2));
    let ran = two.a("verify --deep -q").expect(8);
    assert!(ran.says("data/a: what the bucket holds does not have the recorded digest"), "{}", ran.stdout);
    finds(&two, "--sample 100%", 8, &["data/a mismatch", "large.bin mismatch"]);
}

#[test]
fn a_byte_that_is_wrong_only_on_the_way_is_read_again() {
    let two = published();
    for key in ["data/a", "large.bin"] {
        two.s3.faults().push(Rule { key_contains: Some(key.into()), ..Rule::once("GetObject", Action::FlipByte(1)) });
    }
    two.s3.faults().push(Rule { key_contains: Some("data/b".into()), ..Rule::once("GetObject", Action::Truncate(1)) });
    finds(&two, "--deep", 0, &[]);
    assert_eq!(two.s3.faults().pending(), 0);
}

/// What somebody edited since the last sync is work, not damage; what changed under the very same stamp is damage.
#[test]
fn a_local_edit_is_no_fault_and_a_file_that_rotted_is() {
    let two = published();
    two.a.write("data/a", "edited").write("new", "n").remove("data/b").remove("l");
    for depth in ["--list", "--deep"] {
        let ran = finds(&two, depth, 0, &[]);
        assert_eq!(count(&ran, "changed"), 4, "{depth}");
    }
    let two = published();
    if two.a.forgets() {
        return; // there is no stamp to trust
    }
    // The hash cache trusts stamps that are not racy.
    two.a.mtime("data/a", 1_700_000_000_000_000_000);
    crate::support::wait::until("the stamp is trusted", || {
        two.a("upload --yes").expect(0);
        two.a("status -v --json").expect(0);
        let meta = fs::metadata(two.a.path("data/a")).expect("it is there");
        SystemTime::now().duration_since(ctime(&meta)).is_ok_and(|age| age.as_millis() > 100)
    });
    two.a("upload --yes").expect(0);
    forge_stamp(&two, "data/a", b"0ne");
    finds(&two, "--list", 0, &[]);
    let ran = finds(&two, "--deep", 8, &["data/a damaged"]);
    assert_eq!(count(&ran, "damaged"), 1);
}

fn ctime(meta: &fs::Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt;
    let since = std::time::Duration::new(u64::try_from(meta.ctime()).unwrap_or(0), u32::try_from(meta.ctime_nsec()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}

/// Writes other content and makes the remembered stamp the new one, as if the bytes had rotted: nobody can set a ctime.
fn forge_stamp(two: &Two, path: &str, content: &[u8]) {
    use lsync::local::mount::{Looked, Mount as Opened};
    use lsync::local::state;
    use lsync::path::RelPath;
    fs::write(two.a.path(path), content).expect("written");
    two.a.mtime(path, 1_700_000_000_000_000_000);
    let mount = Opened::open(two.a.root()).expect("a mount");
    let path = RelPath::new(path).expect("a path");
    let Some(Looked::File(stamp, _)) = mount.look(&path).expect("it is there") else { panic!("no file") };
    let store = &two.s3.store;
    let mut known = state::load(&mount, &store.bucket, &store.prefix).expect("a state").state;
    let entry = known.entries.iter_mut().find(|(p, _)| *p == path).expect("it is known");
    let digests = entry.1.seen.as_ref().expect("its digest is remembered").digests().clone();
    entry.1.seen = Some(Seen::new(stamp, digests));
    state::save(&mount, &store.bucket, &store.prefix, &known).expect("saved");
}

#[test]
fn what_nothing_tells_about_is_unknown_and_never_counted_as_read() {
    let two = Two::empty();
    two.s3.put("plain", "its ETag is its MD5");
    two.put_over_nfs("over-nfs", "its ETag tells nothing");
    let list = finds(&two, "", 0, &[]);
    assert_eq!((count(&list, "unknown"), count(&list, "read")), (2, 0));
    let deep = finds(&two, "--deep", 0, &[]);
    assert_eq!((count(&deep, "unknown"), count(&deep, "read")), (1, 1), "one ETag tells the MD5");
}

#[test]
fn a_sample_says_its_seed_and_can_be_drawn_again() {
    let two = Two::empty();
    for n in 0..40 {
        two.a.write(&format!("f{n:02}"), noise(1000));
    }
    two.a("upload --yes").expect(0);
    two.s3.log().take();
    let read = |args: &str| {
        let ran = two.a(&format!("verify --json --sample 10% {args}")).expect(0);
        let mut keys: Vec<String> =
            two.s3.log().take().requests.into_iter().filter(|(op, key)| *op == "GetObject" && key.starts_with('f')).map(|r| r.1).collect();
        keys.sort();
        (keys, ran.summary()["seed"].as_str().expect("a seed").to_owned(), count(&ran, "read"))
    };
    let (keys, seed, n) = read("");
    assert_eq!((keys.len() as u64, n), (4, 4), "10 % of the bytes");
    assert_eq!(read(&format!("--seed {seed}")).0, keys);
    assert!((0..20).any(|seed| read(&format!("--seed {seed}")).0 != keys), "another seed, another choice");
    let said = two.a("verify --sample 10%").expect(0);
    assert!(said.stderr.contains("--sample 10% --seed "), "{}", said.stderr);
}

#[test]
fn verify_ends_as_every_command_does() {
    let two = published();
    two.cmd_a("verify").env("LSYNC_ENDPOINT_URL", "http://127.0.0.1:1").run().expect(7);
    let denied = Rule::once("GetObject", Action::Status(403, "AccessDenied"));
    two.s3.faults().push(Rule { key_contains: Some("data/".into()), ..denied.clone() });
    two.a("verify --deep").expect(3);
    two.s3.faults().push(Rule { key_contains: Some("data/".into()), times: u32::MAX, ..denied });
    two.a("verify --deep data").expect(4);
    two.s3.faults().clear();
    two.a("verify nowhere").expect(2);
    two.s3.faults().push(Rule { key_contains: Some("large".into()), ..Rule::once("GetObject", Action::Hold) });
    let run = two.cmd_a("verify --deep").start();
    two.s3.until_all_hit();
    run.signal(rustix::process::Signal::INT);
    run.wait().expect(130);
    two.s3.faults().release();
}

/// Takes whatever comes, and tells nothing about it.
fn nothing() -> Profile {
    Profile { no_md5_check: true, opaque_single_etag: true, opaque_multipart_etag: true, ..Profile::default() }
}

fn upload(s3: &S3, mount: &Mount, args: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes").args(args)
}

/// "Where a store verifies nothing, lsync says so and offers read-back."
#[test]
fn a_store_that_verifies_nothing_is_named_and_read_back_proves_what_was_sent() {
    let (s3, mount) = (S3::start(), Mount::with(&[("small", "abc")]));
    s3.faults().set_profile(nothing());
    let ran = upload(&s3, &mount, "").run().expect(0);
    assert!(ran.says("this store verifies nothing of what it takes"), "learnt by this run: {}", ran.stderr);
    assert!(ran.last_line().contains(" strong=0 etag=1 "), "{}", ran.stdout);
    mount.write("large", noise(LARGE));
    let plan = Cmd::lsync(&mount).on(&s3.store).args("upload --dry-run").run().expect(0);
    assert!(plan.says("this store verifies nothing of what it takes"), "known by now: {}", plan.stderr);
    let ran = upload(&s3, &mount, "--verify deep").run().expect(0);
    assert!(!ran.says("this store verifies nothing") && ran.last_line().contains(" strong=1 etag=1 "), "{}{}", ran.stdout, ran.stderr);
    assert!(!upload(&S3::start(), &Mount::with(&[("a", "a")]), "").run().expect(0).says("verifies nothing"));
}

/// "Mismatch: exit 8 and no complete", and the next run does not take for sent what is not there.
#[test]
fn what_does_not_come_back_as_it_was_sent_is_not_complete_and_stays_so() {
    for (profile, damaged) in [(nothing(), "small"), (nothing(), "large"), (Profile::default(), "small")] {
        let (s3, mount) = (S3::start(), Mount::with(&[("small", "abc"), ("fine", "x")]));
        mount.write("large", noise(LARGE));
        s3.faults().set_profile(profile);
        // The closing listing waits until it has happened.
        s3.faults().push(Rule { skip: 1, ..Rule::once("ListObjectsV2", Action::Hold) });
        let run = upload(&s3, &mount, "--verify deep").start();
        s3.until_all_hit();
        s3.rot(&s3.store.bucket, damaged, 2).expect("a byte");
        s3.faults().release();
        let ran = run.wait().expect(8);
        assert!(ran.last_line().starts_with("incomplete: 1 failed"), "{}", ran.stdout);
        assert!(ran.stderr.contains(&format!("{damaged}: what the bucket holds is not what was sent")), "{}", ran.stderr);
        let again = upload(&s3, &mount, "").run();
        assert_ne!(again.code, 0, "{}{}", again.stdout, again.stderr);
        assert!(again.last_line().starts_with("incomplete: "), "{}", again.stdout);
        let healed = upload(&s3, &mount, "--verify deep --overwrite").arg(damaged).run().expect(0);
        assert!(healed.last_line().starts_with(&format!("complete for {damaged}: files=1 ")), "{}", healed.stdout);
        upload(&s3, &mount, "").run().expect(0);
        assert_eq!((s3.content("small"), s3.content("large").len()), (b"abc".to_vec(), LARGE));
    }
}

#[test]
fn a_sample_of_what_was_sent_is_read_back() {
    let (s3, mount) = (S3::start(), Mount::new());
    for n in 0..20 {
        mount.write(&format!("f{n:02}"), noise(1000));
    }
    s3.faults().set_profile(nothing());
    let ran = upload(&s3, &mount, "--verify sample:10%").run().expect(0);
    assert!(ran.last_line().contains(" strong=2 etag=18 "), "{}", ran.stdout);
}
