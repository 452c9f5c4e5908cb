//! Files that change while a run is under way: never a torn object, never "complete" over a newer file, and no conflict with ourselves.

use lsync::sandbox::{Action, Rule};
use serde_json::Value;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::wait::until;

fn upload(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes --json")
}

fn hold(operation: &'static str, key: &str, skip: u32) -> Rule {
    Rule { key_contains: Some(key.into()), skip, ..Rule::once(operation, Action::Hold) }
}

/// Runs an upload and does each of these while this file is being sent: it has been read and the store has not answered yet.
fn while_sending(s3: &S3, mount: &Mount, key: &str, meanwhile: &mut [&mut dyn FnMut()]) -> Ran {
    s3.faults().push(hold("PutObject", key, 0));
    let run = upload(s3, mount).start();
    let count = meanwhile.len();
    for (at, change) in meanwhile.iter_mut().enumerate() {
        s3.until_all_hit();
        if at + 1 < count {
            s3.faults().push(hold("PutObject", key, 0));
        }
        change();
        s3.faults().release();
    }
    run.wait()
}

fn summary(ran: &Ran) -> Value {
    ran.json().pop().expect("a last line")
}

#[track_caller]
fn counts(ran: &Ran, uploaded: u64, failed: u64) {
    let summary = summary(ran);
    assert_eq!((&summary["uploaded"], &summary["failed"]), (&uploaded.into(), &failed.into()), "{summary}");
    assert_eq!(summary["complete"], Value::Bool(failed == 0), "{summary}");
}

/// "If the re-scan finds something, a further pass (three in all) may send again what the plan sent and what is new since and absent in
/// the bucket".
#[test]
fn a_file_that_appears_during_the_run_is_sent_by_a_further_pass() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1")]));
    let mut appear = || {
        mount.write("data/b", "2").link("l", "a").dir("empty");
    };
    let ran = while_sending(&s3, &mount, "data/a", &mut [&mut appear]).expect(0);
    counts(&ran, 4, 0);
    assert_eq!((s3.keys(), s3.content("data/b")), (vec!["data/a".to_owned(), "data/b".to_owned()], b"2".to_vec()));
}

#[test]
fn a_file_that_changed_after_it_was_sent_is_sent_again() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1")]));
    let mut twice = || {
        mount.write("data/a", "2");
    };
    let mut again = || {
        mount.write("data/a", "3");
    };
    let ran = while_sending(&s3, &mount, "data/a", &mut [&mut twice, &mut again]).expect(0);
    counts(&ran, 1, 0);
    assert_eq!(s3.content("data/a"), b"3");
}

/// "What is left is exit 3, `still being written: …`".
#[test]
fn a_file_that_never_rests_is_still_being_written_and_no_conflict_later() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "0"), ("b", "1")]));
    let mut writes = ["1", "22", "333"].map(|text| {
        let mount = &mount;
        move || {
            mount.write("data/a", text);
        }
    });
    let [one, two, three] = &mut writes;
    let ran = while_sending(&s3, &mount, "data/a", &mut [one, two, three]).expect(3);
    counts(&ran, 1, 1);
    assert_eq!(s3.content("data/a"), b"22", "whole, as it once was");
    counts(&upload(&s3, &mount).run().expect(0), 1, 0);
    assert_eq!(s3.content("data/a"), b"333");
}

/// What the first pass sent is ours, also when a further pass could not replace it.
#[test]
fn a_further_pass_that_fails_makes_no_conflict_with_the_first() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1")]));
    let mut change = || {
        mount.write("data/a", "2");
        s3.faults().push(Rule { key_contains: Some("data/a".into()), ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    };
    let ran = while_sending(&s3, &mount, "data/a", &mut [&mut change]).expect(3);
    counts(&ran, 0, 1);
    assert_eq!(s3.content("data/a"), b"1");
    assert!(s3.all_keys().iter().any(|key| key.starts_with(".lsync/manifests/")), "what was sent is published");
    counts(&upload(&s3, &mount).run().expect(0), 1, 0);
    assert_eq!(s3.content("data/a"), b"2");
}

/// A further pass "overwrites nothing else": what the plan did not list waits for the next run.
#[test]
fn an_unchanged_file_that_changes_during_the_run_waits_for_the_next_one() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    upload(&s3, &mount).run().expect(0);
    mount.write("data/b", "new");
    let ran = while_sending(
        &s3,
        &mount,
        "data/b",
        &mut [&mut || {
            mount.write("a", "2");
        }],
    )
    .expect(3);
    counts(&ran, 1, 1);
    assert_eq!(s3.content("a"), b"1");
    counts(&upload(&s3, &mount).run().expect(0), 1, 0);
}

#[test]
fn a_file_that_grows_while_it_is_sent_in_parts_is_never_torn() {
    let (s3, mount) = (S3::start(), Mount::new());
    let (first, last) = (noise(17 << 20), [noise(17 << 20), b"tail".to_vec()].concat());
    mount.write("log.bin", &first);
    s3.faults().push(hold("UploadPart", "log.bin", 2));
    let run = upload(&s3, &mount).start();
    s3.until_all_hit();
    mount.write("log.bin", &last);
    s3.faults().release();
    counts(&run.wait().expect(0), 1, 0);
    assert!(s3.content("log.bin") == last && s3.open_uploads(&s3.store.bucket).is_empty());
}

#[test]
fn a_file_that_is_rewritten_under_every_try_is_still_being_written() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("log.bin", noise(21 << 20));
    s3.faults().push(hold("UploadPart", "log.bin", 2));
    let run = upload(&s3, &mount).start();
    for (at, len) in [20, 19, 18].into_iter().enumerate() {
        s3.until_all_hit();
        mount.write("log.bin", noise(len << 20));
        if at < 2 {
            s3.faults().push(hold("UploadPart", "log.bin", 2));
        }
        s3.faults().release();
    }
    let ran = run.wait().expect(3);
    counts(&ran, 0, 1);
    assert!(ran.stdout.contains("it is still being written"), "{}", ran.stdout);
    assert!(s3.keys().is_empty() && s3.open_uploads(&s3.store.bucket).is_empty());
}

/// A checkpoint that is written in several goes is never sent half: the good one stays until the new one has rested.
#[test]
fn settle_leaves_what_changed_a_moment_ago_for_a_later_run() {
    let (s3, mount) = (S3::start(), Mount::with(&[("model.ckpt", "epoch 1"), ("kind/below", "x")]));
    upload(&s3, &mount).run().expect(0);
    mount
        .write("model.ckpt", "epoch 2, first half")
        .write("new", "1")
        .remove("kind")
        .write("kind", "takes the place of a directory")
        .link("l", "new");
    let ran = upload(&s3, &mount).args("--settle 1h").run().expect(3);
    counts(&ran, 1, 3);
    assert!(ran.stdout.contains("still being written") && ran.stdout.contains("--settle"), "{}", ran.stdout);
    assert_eq!((s3.keys(), s3.content("model.ckpt")), (vec!["kind/below".to_owned(), "model.ckpt".to_owned()], b"epoch 1".to_vec()));
    let text = Cmd::lsync(&mount).on(&s3.store).args("upload --yes --settle 1h").run().expect(3);
    assert!(text.last_line().starts_with("incomplete: still being written: "), "{}", text.stdout);
    mount.write("model.ckpt", "epoch 2, whole");
    until("the files have rested", || upload(&s3, &mount).args("--settle 1s").run().code == 0);
    assert_eq!(
        (s3.keys(), s3.content("model.ckpt")),
        (["kind", "model.ckpt", "new"].map(str::to_owned).to_vec(), b"epoch 2, whole".to_vec())
    );
}

/// "`--dry-run` exits as the run would if every transfer succeeded": what would wait is told, and is not on the other side.
#[test]
fn a_plan_tells_which_files_would_wait_until_they_have_rested() {
    let (s3, mount) = (S3::start(), Mount::with(&[("model.ckpt", "epoch 1")]));
    let plan = |words: &str| Cmd::lsync(&mount).on(&s3.store).args("upload --dry-run").args(words).run();
    let waits = "1 file changed less than 1 h 0 min ago and would wait for a later run (--settle): model.ckpt";
    let ran = plan("--settle 1h").expect(3);
    assert!(ran.stderr.contains(waits), "{}", ran.stderr);
    let lines = plan("--settle 1h --json").expect(3);
    assert!(lines.lines("warning").iter().any(|line| line["message"] == waits), "{}", lines.stdout);
    assert!(!plan("").expect(0).stderr.contains("would wait"));
    Cmd::lsync(&mount).on(&s3.store).args("download --dry-run --settle 1h").run().expect(0);
}

#[test]
fn a_file_that_changes_while_it_is_sent_has_not_rested() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("log.bin", noise(17 << 20));
    let begun = std::time::Instant::now();
    until("the file has rested", || begun.elapsed().as_millis() > 2100);
    s3.faults().push(hold("UploadPart", "log.bin", 2));
    let run = upload(&s3, &mount).args("--settle 2s").start();
    s3.until_all_hit();
    mount.write("log.bin", noise(18 << 20));
    s3.faults().release();
    let ran = run.wait().expect(3);
    counts(&ran, 0, 1);
    assert!(s3.keys().is_empty() && ran.stdout.contains("has rested for 2 s"), "{}", ran.stdout);
}

#[test]
fn a_file_that_vanishes_before_it_is_sent_is_said_and_nothing_else_suffers() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1"), ("data/b", "2"), ("data/c", "3")]));
    s3.faults().push(hold("PutObject", "data/", 0));
    let run = upload(&s3, &mount).args("-j 1").start();
    s3.until_all_hit();
    let others: Vec<_> = ["data/a", "data/b", "data/c"].into_iter().filter(|path| !s3.keys().contains(&(*path).to_owned())).collect();
    mount.remove(others[2]);
    s3.faults().release();
    let ran = run.wait().expect(3);
    counts(&ran, 2, 1);
    assert!(ran.stdout.contains("it is gone"), "{}", ran.stdout);
    counts(&upload(&s3, &mount).run().expect(0), 0, 0);
}

#[test]
fn a_file_that_vanishes_after_it_was_sent_stays_in_the_bucket() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1"), ("data/b", "2")]));
    let ran = while_sending(
        &s3,
        &mount,
        "data/a",
        &mut [&mut || {
            mount.remove("data/a");
        }],
    )
    .expect(0);
    counts(&ran, 2, 0);
    assert_eq!(s3.keys(), ["data/a", "data/b"]);
    counts(&upload(&s3, &mount).run().expect(0), 0, 0);
}

/// What only the manifest tells of is in the bucket too: nothing that appears later is sent over it.
#[test]
fn what_appears_where_a_published_link_is_waits_for_the_next_run() {
    for (published, late) in [("d/x", "d"), ("d", "d/x")] {
        let (s3, a, b) = (S3::start(), Mount::new(), Mount::new());
        b.link(published, "target");
        upload(&s3, &b).run().expect(0);
        a.write("z", "z");
        let ran = while_sending(&s3, &a, "z", &mut [&mut || _ = a.link(late, "elsewhere")]);
        assert_eq!((ran.expect(3).counts().as_str(), late), ("uploaded=1 failed=1 kept=1", late));
    }
}
