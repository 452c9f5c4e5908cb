//! Disks that take nothing more: full, without inodes, or read-only after an error. What they hold can still be brought to safety.

use std::fs;
use std::io::Write as _;

use lsync::sandbox::{Action, Rule};

use super::Mounted;
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// A small disk, of which nothing is set aside for root.
fn disk(mount: &Mount, more: &str) -> Mounted {
    Mounted::disk(mount, "ext4", 16, &format!("mkfs.ext4 -q -m 0 {more}"))
}

/// Writes until nothing more fits.
fn fill(mount: &Mount, name: &str) {
    let mut file = fs::File::create(mount.path(name)).expect("a name is left");
    for piece in [vec![b'x'; 64 << 10], vec![b'x'; 1024]] {
        while file.write_all(&piece).and_then(|()| file.sync_data()).is_ok() {}
    }
    while fs::create_dir(mount.path(&format!("{name}-{}", fs::read_dir(mount.root()).expect("it").count()))).is_ok() {}
}

fn why(ran: &Ran) -> String {
    ran.summary()["state_elsewhere"]["why"].as_str().unwrap_or_default().to_owned()
}

/// Nothing is read again once it is known.
#[track_caller]
fn known_after_two_more(mount: &Mount, s3: &S3) {
    for _ in 0..2 {
        lsync(mount, s3, "upload --yes").run().expect(0);
    }
    let ran = lsync(mount, s3, "upload --yes --json").run().expect(0);
    assert!(ran.lines("phase").iter().all(|line| line["phase"] != "hash"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_full_disk_is_uploaded_with_and_without_a_state() {
    for had_state in [false, true] {
        let (s3, mount) = (S3::start(), Mount::new());
        let _disk = disk(&mount, "");
        mount.write("data/a", "abc");
        if had_state {
            lsync(&mount, &s3, "upload --yes").run().expect(0);
        }
        mount.write("data/b", "b");
        fill(&mount, "fill");
        let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
        assert!(why(&ran).contains("No space left on device"), "{}", ran.stdout);
        assert_eq!(s3.content("data/b"), b"b");
        assert!(s3.content("fill") == fs::read(mount.path("fill")).expect("it"));
        known_after_two_more(&mount, &s3);
        lsync(&mount, &s3, "verify").run().expect(0);
        s3.put("new", "x".repeat(1 << 20));
        assert_ne!(lsync(&mount, &s3, "download --yes").run().code, 0);
        mount.remove("fill");
        lsync(&mount, &s3, "download --yes new").run().expect(0);
        let ran = lsync(&mount, &s3, "upload --yes --json").run();
        assert!(ran.summary()["state_elsewhere"].is_null() && ran.summary()["conflicts"] == 0, "{}", ran.stdout);
        assert_eq!(fs::read_dir(mount.home().join(".local/state/lsync")).expect("it was there").count(), 0);
    }
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_disk_without_inodes_is_uploaded() {
    let (s3, mount) = (S3::start(), Mount::new());
    let _disk = disk(&mount, "-N 32");
    let n = (0..).take_while(|n| fs::write(mount.path(&format!("f{n}")), "x").is_ok()).count();
    assert!(n > 0);
    let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
    assert!(why(&ran).contains("No space left on device"), "{}", ran.stdout);
    assert_eq!(s3.keys().len(), fs::read_dir(mount.root()).expect("it").count() - 1);
    known_after_two_more(&mount, &s3);
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_disk_that_became_read_only_is_uploaded_with_and_without_a_state() {
    for had_state in [false, true] {
        let (s3, mount) = (S3::start(), Mount::new());
        let disk = disk(&mount, "");
        mount.write("data/a", "abc");
        if had_state {
            lsync(&mount, &s3, "upload --yes").run().expect(0);
        }
        mount.write("data/a", "abcd").write("data/b", "b");
        disk.again("-o remount,ro");
        lsync(&mount, &s3, "status --json").run().expect(0);
        let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
        assert!(why(&ran).contains("Read-only file system"), "{}", ran.stdout);
        assert_eq!((s3.content("data/a"), s3.content("data/b")), (b"abcd".to_vec(), b"b".to_vec()));
        known_after_two_more(&mount, &s3);
        assert_eq!(lsync(&mount, &s3, "status --check=upload").run().code, 0);
        s3.put("new", "new");
        let ran = lsync(&mount, &s3, "download --yes").run();
        assert!(ran.code == 1 && ran.stderr.contains("Read-only file system"), "{}: {}", ran.code, ran.stderr);
        disk.again("-o remount,rw");
        lsync(&mount, &s3, "download --yes").run().expect(0);
        assert_eq!((mount.text("new"), mount.text("data/a")), ("new".into(), "abcd".into()));
        assert_eq!(fs::read_dir(mount.home().join(".local/state/lsync")).expect("it was there").count(), 0);
    }
}

/// The notes of the run fit, and its state does not.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_disk_that_fills_up_during_an_upload_changes_nothing_about_its_result() {
    let (s3, mount) = (S3::start(), Mount::new());
    let _disk = disk(&mount, "");
    for n in 0..200 {
        mount.write(&format!("data/{n}"), format!("{n}"));
    }
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    for n in 0..100 {
        mount.write(&format!("data/{n}"), format!("new {n}"));
    }
    s3.faults().push(Rule { key_contains: Some("data/7".into()), ..Rule::once("PutObject", Action::Hold) });
    let run = lsync(&mount, &s3, "upload --yes --json").start();
    s3.until_all_hit();
    fill(&mount, "fill");
    s3.faults().release();
    // What came during the run is another run's business.
    let ran = run.wait().expect(0);
    assert!(why(&ran).contains("No space left on device"), "{}", ran.stdout);
    assert_eq!((s3.content("data/7"), ran.summary()["complete"].as_bool()), (b"new 7".to_vec(), Some(true)));
    mount.remove("fill");
    let ran = lsync(&mount, &s3, "upload --yes --json").run().expect(0);
    assert_eq!((ran.summary()["conflicts"].as_u64(), ran.summary()["state_elsewhere"].is_null()), (Some(0), true), "{}", ran.stdout);
}
