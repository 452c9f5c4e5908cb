//! One run at a time: who is second is told who is first, and a lock whose owner died is in nobody's way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lsync::sandbox::{Action, Profile, Rule};
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

/// Runs this, puts another's lock in the place of its own at the first PUT, and expects it to say so.
#[track_caller]
fn loses_its_lock(s3: &S3, mount: &Mount, words: &str) {
    hold_the_first_put(s3);
    let run = lsync(s3, mount, words).start();
    s3.until_all_hit();
    mount.write(".lsync/theirs", "{}\n");
    fs::rename(mount.path(".lsync/theirs"), mount.path(".lsync/lock")).expect("another's lock");
    s3.faults().release();
    let ended = run.wait().expect(11);
    assert!(ended.last_line().starts_with("incomplete: another run took over this run's lock"), "{}", ended.stdout);
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
        assert!(second.stderr.contains(&who) && second.stderr.contains("hint: wait for it to finish"), "{}", second.stderr);
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
    loses_its_lock(&s3, &mount, "upload --yes");
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

/// A container that was killed and is started again under another name finds a lock that nobody can judge: what can be told is told, and a
/// person who knows better says so. A run that can be seen is never robbed of its lock.
#[test]
fn the_lock_of_a_machine_that_is_gone_is_taken_over_when_the_user_says_so() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    let record = "{\"host\":\"gpu-2\",\"boot\":\"b\",\"pid\":77,\"since\":1700000000000000000,\"operation\":\"op\"}\n";
    mount.write(".lsync/lock", record);
    let refused = lsync(&s3, &mount, "upload --yes").run().expect(11);
    assert!(refused.says("process 77 on gpu-2 since 2023-11-14 22:13:20 UTC, last seen"), "{}", refused.stderr);
    assert!(refused.says("the lock is free in about 5 minutes (2") && refused.says("or now with --take-over"), "{}", refused.stderr);
    assert!(s3.keys().is_empty());
    lsync(&s3, &mount, "upload --yes --take-over").run().expect(0);
    assert!(!mount.has(".lsync/lock") && s3.keys() == ["data/a"]);
    // What another has begun to write, and never ended.
    mount.write(".lsync/lock", "").write("data/a", "changed");
    lsync(&s3, &mount, "upload --yes").run().expect(11);
    lsync(&s3, &mount, "upload --yes --take-over").run().expect(0);
    mount.write("data/a", "again");
    s3.faults().push(Rule { key_contains: Some("data/".into()), ..Rule::once("PutObject", Action::Hold) });
    let first = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    s3.put("other", "x");
    for command in ["upload --yes --take-over", "download --yes --take-over"] {
        let second = lsync(&s3, &mount, command).run().expect(11);
        assert!(second.says("hint: wait for it to finish") && !second.says("--take-over"), "{}", second.stderr);
    }
    s3.faults().release();
    first.wait().expect(0);
}

/// The other run lives after all: it ends, and publishes and deletes nothing any more.
#[test]
fn a_run_whose_lock_was_taken_over_publishes_and_deletes_nothing() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc"), ("data/b", "b"), ("x", "x")]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    let published = s3.all_keys();
    mount.write("data/a", "changed").remove("x");
    loses_its_lock(&s3, &mount, "upload --yes --delete");
    assert_eq!(s3.all_keys(), published, "no manifest came, and no object went");
    mount.remove(".lsync/lock");
    lsync(&s3, &mount, "upload --yes --delete").run().expect(0);
    assert_eq!(s3.keys(), ["data/a", "data/b"]);
}

/// Where the store honours no conditions, the turn is taken over like the lock, and whoever had it hears of it.
#[test]
fn the_turn_of_a_machine_that_is_gone_is_taken_over_when_the_user_says_so() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1")]));
    s3.faults().set_profile(Profile { no_conditional_writes: true, ..Profile::default() });
    let record = "{\"host\":\"gpu-2\",\"boot\":\"b\",\"pid\":77,\"since\":1700000000000000000,\"operation\":\"op\"}\n";
    s3.put(".lsync/lease/op", record);
    let refused = lsync(&s3, &mount, "upload --yes").run().expect(11);
    assert!(refused.says("process 77 on gpu-2") && refused.says("or now with --take-over"), "{}", refused.stderr);
    lsync(&s3, &mount, "upload --yes --take-over").run().expect(0);
    mount.write("data/a", "changed");
    let before = s3.all_keys();
    hold_the_first_put(&s3);
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    let lease = s3.all_keys().into_iter().find(|key| key.starts_with(".lsync/lease/")).expect("it has the turn");
    s3.remove(&s3.store.bucket, &lease).expect("the bucket is there");
    s3.faults().release();
    let ended = run.wait().expect(11);
    assert!(ended.last_line().starts_with("incomplete: another run took over this run's lock"), "{}", ended.stdout);
    assert_eq!(s3.all_keys(), before, "no manifest came");
}

/// "Another host: after 5 min of silence; else exit 11 with host, pid, since". Another mount namespace tells more: `privileged/`.
#[test]
fn the_lock_of_another_host_is_taken_over_after_5_minutes_of_silence() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "abc")]));
    let record = "{\"host\":\"gpu-2\",\"boot\":\"b\",\"pid\":77,\"since\":1700000000000000000,\"operation\":\"op\"}\n";
    mount.write(".lsync/lock", record);
    let silent_for = |seconds: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(mount.path(".lsync/lock")).and_then(|file| file.set_modified(time)).expect("it is ours");
    };
    silent_for(290);
    let refused = lsync(&s3, &mount, "upload --yes").run().expect(11);
    assert!(refused.stderr.contains("process 77 on gpu-2 since 2023-11-14 22:13:20 UTC"), "{}", refused.stderr);
    assert!(s3.keys().is_empty());
    silent_for(310);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(!mount.has(".lsync/lock"));
}

/// Where conditions on writes are ignored, guards could not keep two mounts from replacing each other's files unseen.
#[test]
fn two_mounts_take_turns_where_the_store_ignores_conditions() {
    let (s3, one, other) = (S3::start(), Mount::with(&[("data/a", "1")]), Mount::with(&[("data/b", "2")]));
    s3.faults().set_profile(Profile { no_conditional_writes: true, ..Profile::default() });
    let leases = || s3.all_keys().into_iter().filter(|key| key.starts_with(".lsync/lease/")).count();
    hold_the_first_put(&s3);
    let first = lsync(&s3, &one, "upload --yes").start();
    s3.until_all_hit();
    assert_eq!(leases(), 1);
    let second = lsync(&s3, &other, "upload --yes").run().expect(11);
    assert!(second.stderr.contains(&format!("another run holds the lock: process {}", first.id())), "{}", second.stderr);
    lsync(&s3, &other, "status").run().expect(0);
    lsync(&s3, &other, "download --yes").run().expect(0);
    first.signal(Signal::KILL);
    first.wait().expect(-9);
    s3.faults().release();
    lsync(&s3, &other, "upload --yes").run().expect(0);
    assert_eq!(leases(), 0, "that of a dead run of this host is in nobody's way");
    s3.faults().set_profile(Profile::default());
    let third = Mount::with(&[("data/c", "3")]);
    s3.log().take();
    lsync(&s3, &third, "upload --yes").run().expect(0);
    assert!(s3.log().take().requests.iter().all(|(_, key)| !key.contains("lease")), "where they are honoured nobody has to wait");
}

/// Two machines may have one name: what one of them writes right now is not what the other left before it was started.
#[test]
fn the_turn_of_another_machine_of_the_same_name_is_waited_for() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1")]));
    s3.faults().set_profile(Profile { no_conditional_writes: true, ..Profile::default() });
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let record = format!("{{\"host\":\"{host}\",\"boot\":\"b\",\"pid\":77,\"since\":1700000000000000000,\"operation\":\"op\"}}\n");
    s3.put(".lsync/lease/op", &record);
    let refused = lsync(&s3, &mount, "upload --yes").run().expect(11);
    assert!(refused.stderr.contains("process 77 on "), "{}", refused.stderr);
    assert!(s3.keys().is_empty() && s3.all_keys().contains(&".lsync/lease/op".to_owned()), "{:?}", s3.all_keys());
    s3.remove(&s3.store.bucket, ".lsync/lease/op").expect("the bucket is there");
    mount.write(".lsync/lock", &record);
    lsync(&s3, &mount, "upload --yes").run().expect(11);
    mount.remove(".lsync/lock");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
}
