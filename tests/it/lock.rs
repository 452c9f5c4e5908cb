//! One run at a time: who is second is told who is first, and a lock whose owner died is in nobody's way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

fn hold_the_first_put(s3: &S3) {
    s3.faults().push(Rule { key_contains: Some("data/".into()), ..Rule::once("PutObject", Action::Hold) });
}

/// "11 | another run holds the lock".
#[test]
fn the_second_of_two_runs_is_told_who_the_first_is() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    hold_the_first_put(&s3);
    let first = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    for command in ["upload --yes", "download --yes"] {
        s3.put("other", "x");
        let second = lsync(&s3, &mount, command).run().expect(11);
        let host = lsync::local::lock::host_name();
        let who = format!("another run holds the lock: process {} on {host} since 2", first.id());
        assert!(second.stderr.contains(&who) && second.stderr.contains("hint: wait until it has ended"), "{}", second.stderr);
        assert!(!mount.has("other"));
    }
    lsync(&s3, &mount, "status").run().expect(0);
    lsync(&s3, &mount, "upload --dry-run").run().expect(0);
    s3.faults().release();
    first.wait().expect(0);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}

#[test]
fn the_lock_of_a_killed_run_is_taken_over_at_once() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    hold_the_first_put(&s3);
    let first = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    first.signal(Signal::KILL);
    first.wait().expect(-9);
    assert!(mount.has(".lsync/lock"));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(!mount.has(".lsync/lock"));
}

/// The base "is merged per path under the lock": without it nothing is saved, and nothing that was done is forgotten.
#[test]
fn a_run_whose_lock_was_taken_away_says_so_and_forgets_nothing() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    hold_the_first_put(&s3);
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    mount.write(".lsync/theirs", "{}\n");
    fs::rename(mount.path(".lsync/theirs"), mount.path(".lsync/lock")).expect("another's lock");
    s3.faults().release();
    let ended = run.wait().expect(11);
    assert!(ended.last_line().starts_with("incomplete: another run took the lock away"), "{}", ended.stdout);
    assert_eq!(mount.text(".lsync/lock"), "{}\n", "it is not ours to remove");
    mount.remove(".lsync/lock").write("data/a", "changed");
    let again = lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 "), "{}", again.stdout);
    assert_eq!(s3.content("data/a"), b"changed");
}

/// "`<mount>/.lsync/`, mode 0700".
#[test]
fn what_lsync_keeps_is_for_its_user_alone() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "abc")]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.put("a", "replaced");
    lsync(&s3, &mount, "download --yes").run().expect(0);
    for entry in walkdir::WalkDir::new(mount.path(".lsync")) {
        let entry = entry.expect("readable");
        let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
        let in_trash = entry.path().ends_with("a");
        assert!(entry.file_type().is_dir() && mode == 0o700 || mode == 0o600 || in_trash, "{:03o} {:?}", mode, entry.path());
    }
}
