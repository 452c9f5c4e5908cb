//! "Guards" and "Self-sync": what the plan saw is looked at again right before each action.

use lsync::sandbox::{Action, Profile, Rule};

use crate::support::pty::Pty;
use crate::support::two::Two;

/// Runs `lsync ARGS` on the first mount up to its question, lets the world change, and confirms.
fn confirmed_after(two: &Two, args: &str, change: impl FnOnce()) -> (u32, String) {
    let mut pty = Pty::start(&two.cmd_a(args), 120, 60);
    pty.wait_for("[y/N]");
    change();
    pty.send("y\r");
    let code = pty.wait();
    (code, pty.screen())
}

/// "Each action re-checks what the plan saw right before it acts: If-None-Match / If-Match where the store honours them, else HEAD".
#[track_caller]
fn an_object_that_changes_after_the_plan_is_left_alone(profile: Profile) {
    let two = Two::empty();
    two.s3.faults().set_profile(profile);
    for path in ["changed", "gone", "kind", "d/x", "stays"] {
        two.a.write(path, path);
    }
    two.share();
    two.a.write("new", "mine").write("changed", "mine").remove("gone").remove("kind").link("kind", "stays");
    two.a.remove("d").write("d", "a file now").write("fine", "f");
    let (code, screen) = confirmed_after(&two, "upload --delete -v", || {
        for key in ["new", "changed", "gone", "kind", "d/x"] {
            two.s3.put(key, "theirs");
        }
    });
    assert_eq!(code, 3, "{screen}");
    for key in ["new", "changed", "gone", "kind", "d/x"] {
        assert_eq!(two.object(key), "theirs", "{key}: {screen}");
    }
    assert!(screen.contains("changed: the bucket changed it after the plan was made"), "{screen}");
    assert_eq!(two.object("fine"), "f", "what is as planned goes ahead");
    assert!(screen.contains("incomplete: 6 failed"), "{screen}");
    // The next plan sees them.
    two.a("upload --yes").expect(6);
    assert_eq!(two.object("new"), "theirs");
}

#[test]
fn an_object_that_changes_after_the_plan_is_left_alone_by_conditions() {
    an_object_that_changes_after_the_plan_is_left_alone(Profile::default());
}

#[test]
fn an_object_that_changes_after_the_plan_is_left_alone_by_heads_where_conditions_are_ignored() {
    an_object_that_changes_after_the_plan_is_left_alone(Profile { no_conditional_writes: true, ..Profile::default() });
}

/// "stat locally", and "The confirmed plan bounds the run: what it did not list is never overwritten or deleted."
#[test]
fn a_file_that_changes_after_the_plan_is_left_alone() {
    let two = Two::agreed(&[("changed", "c"), ("gone", "g"), ("kind", "k"), ("mode", "m"), ("d/x", "x"), ("stays", "s")]);
    two.b.write("new", "theirs").write("changed", "theirs").remove("gone").remove("kind").link("kind", "stays").mode("mode", 0o600);
    two.b.remove("d").write("d", "a file now").write("fine", "f");
    two.b("upload --yes --delete").expect(0);
    let (code, screen) = confirmed_after(&two, "download --delete", || {
        for path in ["new", "changed", "gone", "kind", "mode", "d/y"] {
            two.a.write(path, "mine");
        }
    });
    assert_eq!(code, 3, "{screen}");
    for path in ["new", "changed", "gone", "kind", "mode", "d/y"] {
        assert_eq!(two.a.text(path), "mine", "{path}: {screen}");
    }
    assert_eq!((two.a.text("d/x"), two.a.text("fine")), ("x".into(), "f".into()));
    assert!(screen.contains("incomplete: 6 failed"), "{screen}");
}

/// A file that comes back after the plan is not deleted from the bucket; an object that is replaced is not brought.
#[test]
fn a_deletion_is_checked_against_its_source_too() {
    let two = Two::agreed(&[("back", "b"), ("gone", "g"), ("stays", "s"), ("more", "m")]);
    two.a.remove("back").remove("gone");
    let (code, screen) = confirmed_after(&two, "upload --delete", || _ = two.a.write("back", "again"));
    assert_eq!(code, 3, "{screen}");
    assert_eq!(two.s3.keys(), ["back", "more", "stays"], "{screen}");
    two.a("upload --yes").expect(0);
    two.b.write("stays", "newer");
    two.b("upload --yes stays").expect(0);
    let (code, screen) = confirmed_after(&two, "download", || _ = two.s3.put("stays", "newest"));
    assert_eq!(code, 3, "{screen}");
    assert_eq!(two.a.text("stays"), "s", "neither the old nor the new: the plan did not list it");
}

/// An object that appears between the HEAD and nothing else: the answer to our own write gets lost, and it is ours all the same.
#[test]
fn a_write_whose_answer_was_lost_is_no_foreign_object() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.write("x", "new").write("y", "y");
    two.s3.faults().push(Rule { key_contains: Some("x".into()), ..Rule::once("PutObject", Action::DropAnswer) });
    two.s3.faults().push(Rule { key_contains: Some("y".into()), ..Rule::once("PutObject", Action::DropAnswer) });
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=2");
    assert_eq!(two.s3.faults().pending(), 0);
}

/// "Whether it does is learnt once per endpoint and bucket (kept 90 days), after the confirmation and before the first transfer, by PUTs of
/// a random `.lsync/probe-…`; never in `status`, `download` or `--dry-run`, which never write to the bucket: read-only keys suffice."
#[test]
fn only_a_confirmed_upload_writes_to_the_bucket_and_it_probes_once() {
    let two = Two::empty();
    two.s3.put("x", "x");
    two.a.write("y", "y");
    let denied = Rule { times: 1000, ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) };
    for operation in ["PutObject", "DeleteObject", "CreateMultipartUpload", "CopyObject"] {
        two.s3.faults().push(Rule { operation: Some(operation), ..denied.clone() });
    }
    let writes = || {
        let counts = two.s3.log().counts();
        ["PutObject", "DeleteObject", "CreateMultipartUpload", "CopyObject"].iter().filter_map(|op| counts.get(op)).sum::<u64>()
    };
    two.a("status").expect(0);
    two.a("upload --dry-run").expect(0);
    two.a("upload").expect(5);
    two.a("download --yes").expect(0);
    assert_eq!((writes(), two.s3.keys()), (0, vec!["x".to_owned()]));
    two.s3.faults().clear();
    let probes = |two: &Two| two.s3.log().take().requests.iter().filter(|(_, key)| key.contains(".lsync/probe-")).count();
    probes(&two);
    two.a("upload --yes").expect(0);
    assert!(probes(&two) > 0);
    two.a.write("z", "z");
    two.a("upload --yes").expect(0);
    assert_eq!(probes(&two), 0);
    assert!(two.s3.all_keys().iter().all(|key| !key.contains("probe-")), "{:?}", two.s3.all_keys());
}

/// Another program writes while our upload is under way: the closing listing sees it, and the run is not complete.
#[test]
fn an_object_that_is_replaced_during_the_run_is_seen_by_the_closing_listing() {
    let two = Two::agreed(&[("same", "s")]);
    two.a.write("slow", "mine");
    two.s3.faults().push(Rule { skip: 1, ..Rule::once("ListObjectsV2", Action::Hold) });
    let running = two.cmd_a("upload --yes").start();
    two.s3.until_all_hit();
    two.s3.put("slow", "theirs").put("same", "theirs");
    two.s3.faults().release();
    let ran = running.wait().expect(3);
    assert!(ran.last_line().starts_with("incomplete: 2 failed"), "{}", ran.stdout);
    assert_eq!((two.object("slow"), two.object("same")), ("theirs".into(), "theirs".into()));
    two.a("download --yes").expect(0);
    assert_eq!((two.a.text("slow"), two.a.text("same")), ("theirs".into(), "theirs".into()));
    assert_eq!(two.a.trash().len(), 2);
}

/// "**Self-sync**: a mount that is the bucket's own filesystem (its `.lsync/mount-<id>` shows up in the bucket) is refused, exit 5, by every
/// command that moves data."
#[test]
fn a_mount_that_is_the_buckets_own_filesystem_is_refused() {
    let two = Two::agreed(&[("x", "x"), ("d/y", "y")]);
    let id = std::fs::read_dir(two.a.path(".lsync")).expect("a directory").map(|e| e.expect("an entry").file_name());
    let id = id.map(|name| name.into_string().expect("UTF-8")).find(|name| name.starts_with("mount-")).expect("an id");
    for key in [format!(".lsync/{id}"), format!("research/.lsync/{id}")] {
        two.s3.put(&key, "");
        two.a.write("x", &key).write("d/y", &key);
        for args in
            ["upload --yes", "download --yes", "upload --yes --overwrite --delete", "upload --yes d", "download --yes --overwrite d"]
        {
            let ran = two.a(args).expect(5);
            assert!(ran.stderr.contains("is this mount's own filesystem"), "{args}: {}", ran.stderr);
        }
        assert_eq!(two.object("x"), "x");
        two.remove_object(&key);
    }
    // Under a prefix the id lies outside what is listed, and is found all the same.
    two.s3.put(&format!(".lsync/{id}"), "");
    two.a("upload --yes --prefix copy").expect(5);
    assert_eq!(two.s3.keys(), ["d/y", "x"]);
    // Another mount's id is none of its business.
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "unchanged=2");
}

/// A mount that never ran has no id to be recognised by; it gets one before anything moves, and is looked for then.
#[test]
fn a_fresh_mount_that_is_the_bucket_is_recognised_before_anything_moves() {
    let two = Two::empty();
    two.a.write("x", "x");
    two.a("upload").expect(5);
    assert!(!two.a.has(".lsync"), "a plan writes nothing");
    // The first question that follows the confirmation is for the id; here it cannot be answered, and nothing was sent.
    two.s3
        .faults()
        .push(Rule { key_contains: Some(".lsync/mount-".into()), ..Rule::once("HeadObject", Action::Status(403, "AccessDenied")) });
    two.a("upload --yes").expect(4);
    assert_eq!((two.s3.faults().pending(), two.s3.all_keys()), (0, vec![]));
}
