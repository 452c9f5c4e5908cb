//! A directory that takes none of lsync's state, because it may only be read: the moment to bring the data to safety. Uploads work, and what
//! they remember is kept elsewhere and found again. See `privileged::no_room` for disks that are full or read-only.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::resume_up::{open, same, write_large};
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::two::Two;
use crate::support::wait::until;

/// `lsync ARGS` without root's power to write everywhere.
fn lsync(mount: &Mount, s3: &S3, args: &str) -> Cmd {
    let mut cmd = Cmd::lsync(mount).on(&s3.store).args(args);
    if rustix::process::geteuid().is_root() {
        let words = ["--bounding-set=-all", "--inh-caps=-all"].map(OsString::from);
        cmd.args = words.into_iter().chain([cmd.program.clone().into_os_string()]).chain(cmd.args).collect();
        cmd.program = "setpriv".into();
    }
    cmd
}

/// Nothing can be created in the directory or in `.lsync/`, or again.
fn close(mount: &Mount, closed: bool) {
    let inside: Vec<PathBuf> =
        fs::read_dir(mount.path(".lsync")).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    for dir in inside.iter().filter(|path| path.is_dir()).chain([&mount.path(".lsync"), &mount.root().to_owned()]) {
        let name = dir.strip_prefix(mount.root()).expect("below").to_str().expect("text");
        if dir.exists() {
            mount.mode(name, if closed { 0o555 } else { 0o755 });
        }
    }
}

/// What is kept elsewhere: the directory's own, where there is one.
fn kept(mount: &Mount) -> Option<PathBuf> {
    let all = mount.home().join(".local/state/lsync");
    fs::read_dir(all).into_iter().flatten().map(|entry| entry.expect("an entry").path()).next()
}

fn hashes(ran: &Ran) -> bool {
    ran.lines("phase").iter().any(|line| line["phase"] == "hash")
}

/// Uploads until nothing is read any more: what changed right before a run is read once again by the next.
#[track_caller]
fn upload_until_known(mount: &Mount, s3: &S3) -> Ran {
    lsync(mount, s3, "upload --yes").run().expect(0);
    lsync(mount, s3, "upload --yes").run().expect(0);
    lsync(mount, s3, "upload --yes --json").run().expect(0)
}

#[test]
fn a_directory_that_may_only_be_read_is_uploaded_and_known_again() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc"), ("b", "b")]));
    close(&mount, true);
    lsync(&mount, &s3, "status").run().expect(0);
    let ran = lsync(&mount, &s3, "upload --dry-run").run().expect(0);
    assert!(!ran.stderr.contains("state") && kept(&mount).is_none(), "{}", ran.stderr);
    let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
    let told = ran.summary()["state_elsewhere"].clone();
    let path = kept(&mount).expect("it is kept");
    assert_eq!(told["path"].as_str().map(Path::new), Some(path.as_path()));
    assert!(told["why"].as_str().is_some_and(|why| why.starts_with("cannot create .lsync: Permission denied")), "{told}");
    assert_eq!((ran.lines("warning").len(), s3.keys()), (1, vec!["b".to_owned(), "data/a".to_owned()]));
    for check in ["status --check=upload", "status --check=download", "verify --deep"] {
        lsync(&mount, &s3, check).run().expect(0);
    }
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=2 "), "{}", ran.stdout);
    if !mount.forgets() {
        assert!(!hashes(&upload_until_known(&mount, &s3)), "what was read is remembered");
    }
    assert!(!mount.has(".lsync"));
    // The directory takes it again: it goes home, and is known there.
    close(&mount, false);
    let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
    assert!((mount.forgets() || !hashes(&ran)) && ran.summary()["state_elsewhere"].is_null(), "{}", ran.stdout);
    mount.write("c", "c");
    let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
    assert_eq!((ran.summary()["uploaded"].as_u64(), ran.summary()["unchanged"].as_u64()), (Some(1), Some(2)));
    assert_eq!((kept(&mount), mount.left_behind()), (None, Vec::new()));
    assert!(mount.has(".lsync"));
    let log = lsync(&mount, &s3, "log").run().expect(0);
    assert_eq!(log.stdout.matches("upload").count(), 2, "{}", log.stdout);
}

/// What both sides agreed on is written elsewhere. Judged by what `.lsync/` still says, the older version that another instance has put
/// back would look like one that nobody touched, and be replaced.
#[test]
fn what_another_instance_published_meanwhile_is_not_replaced_by_an_older_memory() {
    let two = Two::agreed(&[("x", "version 1")]);
    two.a.write("x", "version 2");
    close(&two.a, true);
    lsync(&two.a, &two.s3, "upload --yes").run().expect(0);
    two.b("download --yes").expect(0);
    two.b.write("x", "version 1");
    two.b("upload --yes").expect(0);
    for closed in [true, false] {
        close(&two.a, closed);
        let ran = lsync(&two.a, &two.s3, "upload --yes --json").run().expect(0);
        assert_eq!(ran.counts(), "protected=1", "{}", ran.stdout);
        assert_eq!(two.object("x"), "version 1");
    }
    two.a("download --yes").expect(0);
    assert_eq!((two.a.text("x"), kept(&two.a)), ("version 1".into(), None));
}

/// Two memories that both went on from the same one: neither is known to be newer.
#[test]
fn where_two_memories_disagree_nothing_is_replaced_and_the_conflict_is_told() {
    let two = Two::agreed(&[("x", "version 1"), ("y", "same")]);
    two.a.write("x", "version 2");
    close(&two.a, true);
    lsync(&two.a, &two.s3, "upload --yes").run().expect(0);
    // Somebody with another home directory works here, and does not see what is kept in this one.
    close(&two.a, false);
    two.a.write("x", "version 3");
    let other = two.a.mounts().join("other-home");
    fs::create_dir(&other).expect("a home directory");
    two.cmd_a("upload --yes --overwrite").env("XDG_STATE_HOME", &other).run().expect(0);
    two.a.write("x", "version 4");
    let ran = lsync(&two.a, &two.s3, "upload --yes").run().expect(6);
    assert!(ran.stderr.contains("different states for this directory"), "{}", ran.stderr);
    assert_eq!((two.object("x"), kept(&two.a)), ("version 3".into(), None));
    let ran = lsync(&two.a, &two.s3, "upload --yes --overwrite").run().expect(0);
    assert!(!ran.stderr.contains("different states"), "{}", ran.stderr);
    two.b("download --yes").expect(0);
    assert_eq!(two.b.text("x"), "version 4");
}

#[test]
fn where_no_place_takes_it_the_upload_is_complete_and_nothing_is_remembered() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    close(&mount, true);
    for _ in 0..2 {
        let ran = lsync(&mount, &s3, "upload --yes --json").env("XDG_STATE_HOME", "/proc/none").run().expect(0);
        let told = ran.summary()["state_elsewhere"].clone();
        if told.is_null() {
            // Nothing was left to do, and nothing could be learnt.
            assert_eq!(ran.summary()["unchanged"], 1);
            continue;
        }
        assert!(told["path"].is_null() && told["why"].as_str().is_some_and(|why| why.contains("/proc/none/lsync/")), "{told}");
        assert!(ran.stdout.contains("the next run will read all files again"), "{}", ran.stdout);
    }
    assert_eq!((s3.keys(), mount.has(".lsync"), kept(&mount)), (vec!["data/a".to_owned()], false, None));
    mount.write("data/a", "abcd");
    lsync(&mount, &s3, "upload --yes").env("XDG_STATE_HOME", "/proc/none").run().expect(6);
    assert_eq!(s3.content("data/a"), b"abc", "without a memory nothing says which of the two is newer");
}

#[test]
fn runs_that_keep_their_state_in_different_places_exclude_each_other() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    let other = mount.mounts().join("other-home");
    fs::create_dir(&other).expect("a home directory");
    let second = |home: Option<&Path>| {
        let cmd = lsync(&mount, &s3, "upload --yes");
        home.map_or(cmd.args(""), |home| lsync(&mount, &s3, "upload --yes").env("XDG_STATE_HOME", home)).run().expect(11)
    };
    for first_is_elsewhere in [false, true] {
        close(&mount, first_is_elsewhere);
        mount.write("data/a", format!("{first_is_elsewhere}")).write("data/b", format!("{first_is_elsewhere}"));
        s3.faults().push(Rule { key_contains: Some("data/".into()), ..Rule::once("PutObject", Action::Hold) });
        let first = lsync(&mount, &s3, "upload --yes").start();
        s3.until_all_hit();
        let by_name = format!("another run holds the lock: process {}", first.id());
        assert!(second(None).stderr.contains(&by_name));
        if first_is_elsewhere {
            second(Some(&other));
        }
        close(&mount, !first_is_elsewhere);
        assert!(second(None).stderr.contains(&by_name));
        close(&mount, first_is_elsewhere);
        s3.faults().release();
        first.wait().expect(0);
    }
}

#[test]
fn what_changes_the_directory_still_needs_to_write_there() {
    let two = Two::agreed(&[("x", "version 1")]);
    close(&two.a, true);
    two.s3.put("new", "new");
    let ran = lsync(&two.a, &two.s3, "download --yes").run().expect(1);
    assert!(ran.stderr.contains(".lsync") && ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    assert_eq!((two.a.text("x"), two.a.has("new"), kept(&two.a)), ("version 1".into(), false, None));
}

/// Uploads a large file until three parts are there, and kills the run.
fn kill_after_three_parts(mount: &Mount, s3: &S3) {
    s3.faults().push(Rule { skip: 3, times: 8, ..Rule::once("UploadPart", Action::Hold) });
    let held = s3.faults().pending();
    let run = lsync(mount, s3, "upload --yes").start();
    until("three parts are there and a fourth is on its way", || open(s3) == [3] && s3.faults().pending() < held);
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    s3.faults().clear();
    s3.log().take();
}

/// What a killed run has sent is not sent again, wherever it and the next one keep their notes.
#[test]
fn a_large_upload_goes_on_when_the_place_of_the_notes_has_changed() {
    let (s3, mount) = (S3::start(), Mount::new());
    for (version, closed) in [(1, true), (2, false)] {
        write_large(&mount, version);
        kill_after_three_parts(&mount, &s3);
        close(&mount, closed);
        let ran = lsync(&mount, &s3, "upload --yes").run().expect(0);
        let log = s3.log().take().requests;
        let sent = |name: &str| log.iter().filter(|(operation, key)| *operation == name && key == "large.bin").count();
        assert_eq!((sent("CreateMultipartUpload"), sent("UploadPart"), open(&s3)), (0, 3, vec![]), "{}", ran.stderr);
        assert!(same(&s3, &mount));
        // The note of an upload that is over, which could not be removed, is in nobody's way.
        lsync(&mount, &s3, "upload --yes").run().expect(0);
    }
    assert_eq!((kept(&mount), mount.left_behind()), (None, Vec::new()));
}
