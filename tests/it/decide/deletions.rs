//! "Deletions": what proves one, in each direction, and what never does.

use std::time::{SystemTime, UNIX_EPOCH};

use lsync::sandbox::{Action, Oddity, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::two::Two;
use crate::support::wait::until;

/// `lsync LINE` on a third mount.
#[track_caller]
fn on_mount(two: &Two, mount: &Mount, line: &str) -> Ran {
    Cmd::lsync(mount).on(&two.s3.store).args(line).run()
}

/// What is deleted here and left in the bucket would come back on the next machine: whoever deletes the files of an old experiment, or of
/// git, must not find them there again, and everybody is told.
#[test]
fn what_is_deleted_here_and_stays_in_the_bucket_is_left_out_of_fresh_downloads_and_told() {
    let two = Two::agreed(&[("refs/main", "old"), ("x", "1"), ("y", "2")]);
    two.a.remove("refs").dir("refs").write("packed", "new");
    let says = "1 file that you deleted here is still in the bucket: refs/main. A download on a new machine leaves it out. `lsync upload --delete` \
                deletes it there.";
    for line in ["upload -n", "status"] {
        let ran = two.a(line).expect(0);
        assert!(ran.says("deleted here"), "{line}: {}", ran.stdout);
    }
    let ran = two.a("upload --yes -q").expect(0);
    assert!(ran.says(says), "{}", ran.stderr);
    assert!(two.a("status").expect(0).says(says));
    assert_eq!(two.a("status --json").expect(0).summary()["deleted_here"], 1);
    assert_eq!(two.s3.keys(), ["packed", "refs/main", "x", "y"], "nothing is deleted");

    let fresh = Mount::new();
    let on = |line: &str| on_mount(&two, &fresh, line);
    let out = "1 file that was deleted on";
    assert!(on("status").expect(0).says(out));
    let ran = on("download --yes").expect(0);
    assert!(ran.says(out) && ran.says("refs/main. `lsync download --with-deleted` downloads it."), "{}", ran.stderr);
    assert!(ran.stdout.contains("complete: files=4 ") && ran.stdout.contains(" deleted_kept=1"), "{}", ran.stdout);
    assert!(fresh.path("refs").is_dir() && !fresh.has("refs/main"), "as it was uploaded");
    let ran = on("download --yes --json").expect(0);
    assert_eq!((&ran.summary()["deleted_kept"], &ran.summary()["downloaded"]), (&1.into(), &0.into()));
    assert_eq!(on("status --check --json").expect(0).summary()["deleted_kept"], 1);
    let table = on("status").expect(0);
    assert!(table.stdout.lines().any(|line| line.starts_with("  left out ")), "{}", table.stdout);
    let table = two.a("status").expect(0);
    assert!(table.stdout.lines().any(|line| line.starts_with("  deleted here ")), "{}", table.stdout);
    let ran = on("status -q").expect(0);
    assert!(ran.says("in sync: both sides hold the same; 1 file that was deleted elsewhere is left out"), "{}", ran.stdout);
    // An upload from there changes nothing about it.
    fresh.write("z", "z");
    on("upload --yes").expect(0);
    let another = Mount::new();
    on_mount(&two, &another, "download --yes").expect(0);
    assert!(another.has("z") && !another.has("refs/main"));
    // Whoever wants it gets it.
    on("download --yes refs/main").expect(0);
    assert_eq!(fresh.text("refs/main"), "old");
    on_mount(&two, &another, "download --yes --with-deleted").expect(0);
    assert_eq!(another.text("refs/main"), "old");
    let ran = two.a("upload --yes --delete --json").expect(0);
    assert_eq!((&ran.summary()["deleted_here"], &ran.summary()["deleted"]), (&0.into(), &1.into()));
}

/// Who has an old copy hears that a new machine will not get it, and how it would.
#[test]
fn an_upload_from_where_the_file_still_is_says_that_downloads_leave_it_out() {
    let two = Two::agreed(&[("f", "f"), ("x", "1"), ("y", "2")]);
    two.a.remove("f");
    two.a("upload --yes").expect(0);
    let says = "so a download on a new machine leaves it out: f. To change that, name it in `lsync upload PATH`.";
    let ran = two.b("upload --yes").expect(0);
    assert!(ran.says(says) && ran.stdout.contains(" deleted_kept=1"), "{}{}", ran.stdout, ran.stderr);
    assert!(two.b("status").expect(0).says(says));
    let ran = two.b("upload --yes f").expect(0);
    assert!(!ran.says(says) && !ran.stdout.contains("deleted_kept"), "{}{}", ran.stdout, ran.stderr);
    assert!(!two.b("upload --yes").expect(0).says(says));
}

/// A recorded deletion is nobody's proof: it deletes nothing, on no machine and in no direction.
#[test]
fn a_recorded_deletion_deletes_nothing_anywhere() {
    let two = Two::agreed(&[("f", "f"), ("x", "1"), ("y", "2")]);
    two.a.remove("f");
    two.a("upload --yes").expect(0);
    two.b("download --yes --delete --max-delete 100%").expect(0);
    assert!(two.b.has("f"));
    two.b.write("new", "n");
    two.b("upload --yes --delete --max-delete 100%").expect(0);
    assert_eq!(two.s3.keys(), ["f", "new", "x", "y"]);
    let fresh = Mount::new();
    on_mount(&two, &fresh, "download --yes --delete").expect(0);
    assert!(fresh.has("new") && !fresh.has("f"));
    on_mount(&two, &fresh, "upload --yes --delete --max-delete 100%").expect(0);
    assert_eq!(two.s3.keys(), ["f", "new", "x", "y"]);
}

/// Each row: what is done after the deletion was recorded, and whether a fresh download brings the file.
#[test]
fn a_recorded_deletion_ends_where_somebody_wants_the_file_again() {
    let check = |what: &str, done: &dyn Fn(&Two), comes: Option<&str>| {
        let two = Two::agreed(&[("f", "f"), ("x", "1"), ("y", "2")]);
        two.a.remove("f");
        two.a("upload --yes").expect(0);
        done(&two);
        let fresh = Mount::new();
        on_mount(&two, &fresh, "download --yes").expect(0);
        assert_eq!(fresh.has("f").then(|| fresh.text("f")).as_deref(), comes, "{what}");
    };
    check("nothing", &|_| {}, None);
    check("an upload of a copy that was there before", &|two| _ = two.b("upload --yes").expect(0), None);
    check("that copy by name", &|two| _ = two.b("upload --yes f").expect(0), Some("f"));
    check(
        "a third machine makes it anew",
        &|two| {
            let third = Mount::with(&[("f", "f")]);
            on_mount(two, &third, "upload --yes").expect(0);
        },
        Some("f"),
    );
    check(
        "another tool puts the same content again, in another second, which is what a listing tells",
        &|two| {
            let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            let before = second();
            until("the clock goes on", || second() > before);
            two.s3.put("f", "f");
        },
        Some("f"),
    );
    check(
        "a job makes the same file again where it was all the time",
        &|two| {
            two.b.remove("f").write("f", "f").mtime("f", 1_800_000_000_000_000_000);
            two.b("upload --yes").expect(0);
        },
        Some("f"),
    );
    check(
        "it is back where it was deleted",
        &|two| {
            two.a("download --yes").expect(0);
            two.a("upload --yes").expect(0);
        },
        Some("f"),
    );
    check(
        "another version is uploaded",
        &|two| {
            two.b.write("f", "new");
            two.b("upload --yes").expect(0);
        },
        Some("new"),
    );
    check("another tool puts another version", &|two| _ = two.s3.put("f", "foreign"), Some("foreign"));
}

/// "`--max-delete`": beyond it somebody may have lost more than they know.
#[test]
fn too_many_deletions_are_not_recorded() {
    let two = Two::agreed(&[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
    two.a.remove("a").remove("b").remove("c");
    let ran = two.a("upload --yes").expect(0);
    assert!(
        ran.says("3 files that you deleted here are still in the bucket, and a download on another machine restores them"),
        "{}",
        ran.stderr
    );
    let fresh = Mount::new();
    on_mount(&two, &fresh, "download --yes").expect(0);
    assert!(fresh.has("a") && fresh.has("b") && fresh.has("c"));
    two.a("upload --yes --max-delete 75%").expect(0);
    let fresh = Mount::new();
    on_mount(&two, &fresh, "download --yes").expect(0);
    assert_eq!(fresh.tree(), two.a.tree());
}

/// "`upload --delete` removes R only if R equals B, the mount is the one that B names".
#[test]
fn upload_deletes_what_is_as_both_agreed_and_nothing_else() {
    let two = Two::agreed(&[("gone", "g"), ("changed", "c"), ("stays", "s")]);
    two.s3.put("changed", "by another tool").put("foreign", "f");
    two.a.remove("gone").remove("changed");
    let ran = two.a("upload --yes --delete --json").expect(6);
    assert_eq!(ran.counts(), "deleted=1 unchanged=1 conflicts=1 kept=1");
    assert_eq!(two.s3.keys(), ["changed", "foreign", "stays"]);
    // Without --delete the same is kept, and no conflict.
    two.a("upload --yes").expect(0);
    // A mount that never agreed on anything proves nothing by lacking it.
    let ran = two.cmd_b("upload --yes --delete").arg("--root").arg(Mount::with(&[("stays", "s")]).root()).run();
    ran.expect(0);
    assert_eq!(two.s3.keys(), ["changed", "foreign", "stays"]);
}

/// A mount's state that was copied to another mount is not that mount's base.
#[test]
fn a_base_of_another_mount_proves_no_deletion() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("z", "z")]);
    let other = Mount::with(&[("x", "x"), ("y", "y")]);
    let state = |mount: &Mount| {
        let names = std::fs::read_dir(mount.path(".lsync")).expect("a directory").map(|e| e.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("UTF-8")).find(|name| name.starts_with("state-")).expect("a state")
    };
    let name = state(&two.a);
    other.write(&format!(".lsync/{name}"), std::fs::read(two.a.path(&format!(".lsync/{name}"))).expect("readable"));
    let ran = crate::support::cmd::Cmd::lsync(&other).on(&two.s3.store).args("upload --yes --delete --json").run().expect(0);
    assert_eq!(ran.counts(), "unchanged=2 kept=1");
    assert_eq!(two.s3.keys(), ["x", "y", "z"]);
}

/// "Absence from a listing alone never proves one": "what a manifest has and the listing lacks has *vanished*: kept, reported, sent again by
/// the next upload."
#[test]
fn what_vanished_from_the_bucket_is_kept_reported_and_sent_again() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.remove_object("x");
    let ran = two.b("download --yes --delete").expect(0);
    assert!(ran.stderr.contains("1 file that was published is not in the bucket any more"), "{}", ran.stderr);
    assert_eq!(two.b.text("x"), "x");
    two.b.write("x", "changed");
    two.b("download --yes --delete").expect(0);
    assert_eq!(two.b.text("x"), "changed");
    let ran = two.a("upload --yes --json").expect(0);
    assert_eq!((ran.counts().as_str(), ran.lines("vanished").len()), ("uploaded=1 unchanged=1", 1));
    assert_eq!(two.object("x"), "x");
    // On a mount that does not have it either its bytes are missing, and that is no complete download.
    two.remove_object("x");
    let fresh = Mount::new();
    let ran = crate::support::cmd::Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(3);
    assert!(ran.last_line().starts_with("incomplete: ") && ran.stderr.contains("x: the published manifest has it"), "{}", ran.stderr);
}

/// What a listing lacks is no removal by somebody else: the bucket is asked before it is forgotten.
#[test]
fn what_was_removed_here_is_removed_in_the_bucket_after_a_listing_without_its_end() {
    let two = Two::agreed(&[("a", "a"), ("y", "y"), ("z", "z")]);
    two.a.remove("y").remove("z");
    two.s3.faults().push(Rule::once("ListObjectsV2", Action::List(Oddity::NoTail)));
    let ran = two.a("upload --yes --delete --max-delete 2").expect(3);
    assert_eq!(two.s3.faults().pending(), 0);
    assert!(ran.says("y: the bucket has it, and did not list it when the run began"), "{}", ran.stderr);
    assert_eq!(two.s3.keys(), ["a", "y", "z"]);
    assert_eq!(two.a("upload --yes --delete --max-delete 2 --json").expect(0).counts(), "deleted=2 unchanged=1");
    assert_eq!(two.s3.keys(), ["a"]);
}

/// "`download --delete` removes L only if L equals B **and** a manifest of B's lineage, of B's generation or later, no longer has the path".
#[test]
fn download_deletes_what_a_later_manifest_no_longer_has() {
    let two = Two::agreed(&[("gone", "g"), ("changed", "c"), ("d/deep/x", "x"), ("stays", "s")]);
    two.b.write("changed", "here").write("mine", "m");
    two.a.remove("gone").remove("changed").remove("d");
    two.a("upload --yes --delete --max-delete 3").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "unchanged=1 kept=4", "not without --delete");
    assert_eq!(two.b("download --yes --delete --json").expect(6).counts(), "deleted=2 unchanged=1 conflicts=1 kept=1");
    assert_eq!(two.b.tree().iter().map(|node| node.path.as_str()).collect::<Vec<_>>(), ["changed", "mine", "stays"]);
    assert_eq!(two.b.trash(), ["x", "g"]);
}

/// What was sent again after it had been removed is there, and no old proof deletes it.
#[test]
fn what_was_removed_and_sent_again_is_not_deleted() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.remove("x");
    two.a("upload --yes --delete").expect(0);
    two.b("download").expect(0);
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "uploaded=1 unchanged=1");
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "unchanged=2");
    assert_eq!(two.a("download --yes --delete --json").expect(0).counts(), "downloaded=1 unchanged=1");
    assert_eq!(two.a.text("x"), "x");
}

/// Another lineage proves nothing: the bucket was emptied and filled anew.
#[test]
fn a_manifest_of_another_lineage_proves_no_deletion() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.s3.all_keys().iter().for_each(|key| two.remove_object(key));
    let other = Mount::with(&[("y", "y")]);
    crate::support::cmd::Cmd::lsync(&other).on(&two.s3.store).args("upload --yes").run().expect(0);
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "unchanged=1 kept=1");
    assert_eq!(two.b.text("x"), "x");
}

/// "A source without any entry deletes nothing (5)."
#[test]
fn an_empty_source_deletes_nothing() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.remove("x").remove("y");
    let ran = two.a("upload --yes --delete --max-delete 100%").expect(5);
    assert!(ran.says("has no entry at all, and s3://lsync-test holds 2 items: nothing was sent or deleted"), "{}", ran.stderr);
    two.a("upload --yes").expect(5);
    assert_eq!(two.s3.keys(), ["x", "y"]);
    two.s3.keys().iter().for_each(|key| two.remove_object(key));
    two.b("download --yes --delete --max-delete 100%").expect(5);
    assert!(two.b.has("x") && two.b.has("y"));
}

/// "`--max-delete` counts paths: more than N, or more than P % of the destination's paths in scope, refuses the whole run before it starts
/// (5)."
#[test]
fn too_many_deletes_refuse_the_whole_run() {
    let two = Two::agreed(&[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
    two.a.remove("a").remove("b").remove("c").write("new", "n");
    let ran = two.a("upload --yes --delete").expect(5);
    assert!(ran.stderr.contains("the plan deletes 3 of 4 paths, more than --max-delete 50% allows"), "{}", ran.stderr);
    two.a("upload --yes --delete --max-delete 2").expect(5);
    two.a("upload --yes --delete --max-delete 74%").expect(5);
    assert_eq!(two.s3.keys(), ["a", "b", "c", "d"], "nothing was sent either");
    two.a("upload --yes --delete --max-delete 75%").expect(0);
    assert_eq!(two.s3.keys(), ["d", "new"]);
    two.b("download --yes --delete --max-delete 2").expect(5);
    assert!(two.b.has("a") && !two.b.has("new"));
    two.b("download --yes --delete --max-delete 3").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

/// "A directory that `--delete` emptied goes too, unless the source lists it."
#[test]
fn a_directory_that_was_emptied_goes_too_unless_the_source_has_it() {
    let two = Two::agreed(&[("goes/x", "x"), ("stays/x", "x"), ("keep", "k"), ("more", "m"), ("most", "m")]);
    two.a.remove("goes").remove("stays/x");
    assert_eq!(two.a("upload --yes --delete --json").expect(0).counts(), "uploaded=1 deleted=2 unchanged=3");
    assert_eq!(two.a("upload --yes --delete --json").expect(0).counts(), "unchanged=4");
    two.b("download --yes --delete").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
    assert!(two.b.path("stays").is_dir() && !two.b.has("goes"));
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "unchanged=4");
}

/// "Deleted on one side and changed on the other is a conflict under `--delete`, else kept." Links and empty directories are no exception.
#[test]
fn links_and_empty_directories_are_deleted_by_the_same_proofs() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "x").link("m", "x").dir("e");
    two.share();
    two.a.remove("l").remove("m").remove("e");
    two.b.remove("m").link("m", "y");
    assert_eq!(two.a("upload --yes --delete --max-delete 3 --json").expect(0).counts(), "deleted=3 unchanged=2");
    assert_eq!(two.b("download --yes --delete --max-delete 3 --json").expect(6).counts(), "deleted=2 unchanged=2 conflicts=1");
    assert!(!two.b.has("l") && !two.b.has("e") && two.b.has("m"));
}

/// "What a manifest has and the listing lacks has *vanished*: kept, reported, sent again by the next upload": an upload without `--delete`
/// publishes no deletion, so that another mount never loses its copy because of it.
#[test]
fn what_the_bucket_lost_and_one_mount_removed_stays_on_the_others() {
    let two = Two::agreed(&[("a", "a"), ("b", "b")]);
    two.remove_object("b");
    two.a.remove("b").write("e", "e");
    two.a("upload --yes").expect(0);
    two.b("download --yes --delete").expect(0);
    assert_eq!(two.b.text("b"), "b");
    two.a("upload --yes --delete").expect(0);
    two.b("download --yes --delete").expect(0);
    assert!(!two.b.has("b"), "removed by a run that was asked to delete");
}

/// "a manifest of B's lineage, of B's generation or later": a bucket that was restored from an older state proves nothing.
#[test]
fn a_bucket_that_was_rolled_back_proves_no_removal() {
    let two = Two::agreed(&[("a", "a"), ("b", "b")]);
    let before = two.s3.all_keys();
    two.a.write("f", "f");
    two.a("upload --yes").expect(0);
    for key in two.s3.all_keys().iter().filter(|key| !before.contains(key)) {
        two.remove_object(key);
    }
    let ran = two.a("download --yes --delete --max-delete 100%");
    assert!(two.a.has("f"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing is deleted because of it"), "{}", ran.stderr);
}

/// The command that a report prints for a way on, without the program's name and what the command does.
#[track_caller]
fn way_on(ran: &Ran, verb: &str) -> String {
    let lines = ran.stderr.lines().filter_map(|line| Some(line.split_once("/lsync ")?.1));
    let line = lines.filter(|line| line.starts_with(verb)).map(|line| line.split("  ").next().unwrap_or_default().to_owned());
    let found: Vec<String> = line.collect();
    assert_eq!(found.len(), 1, "{verb} in\n{}", ran.stderr);
    found[0].clone()
}

/// "Deleted on one side and changed on the other is a conflict under `--delete`"; "the report names both ways on": each of them settles it.
/// "What `upload --overwrite` replaces is first copied to `.lsync/history/<op>/`".
#[test]
fn what_was_removed_here_and_changed_in_the_bucket_is_settled_either_way() {
    for removes in [true, false] {
        let two = Two::agreed(&[("gone", "first"), ("stays", "s"), ("more", "m")]);
        two.s3.put("gone", "second");
        two.a.remove("gone");
        let ran = two.a("upload --yes --delete").expect(6);
        assert!(ran.says("1 file is in conflict (removed in the mount, changed in the bucket)"), "{}", ran.stderr);
        let (remove, bring) = (way_on(&ran, "upload"), way_on(&ran, "download"));
        assert_eq!((remove.as_str(), bring.as_str()), ("upload --delete --overwrite --max-delete=1 gone", "download gone"));
        two.a("upload --yes --overwrite gone").expect(0);
        assert_eq!(two.object("gone"), "second", "never without --delete");
        if removes {
            assert!(two.a(&format!("{remove} --dry-run")).expect(0).says("1 item (6 B) in the bucket: deleted, though changed there"));
            two.a(&format!("{remove} --yes --max-delete 0")).expect(5);
            two.a(&format!("{remove} --yes")).expect(0);
            let keys = two.s3.all_keys();
            let kept: Vec<_> = keys.iter().filter(|key| key.starts_with(".lsync/history/")).collect();
            assert!(kept.len() == 1 && two.object(kept[0]) == "second", "{keys:?}");
            assert_eq!(two.s3.keys(), ["more", "stays"]);
            two.b("download --yes --delete").expect(0);
            assert!(!two.b.has("gone"), "the removal was published");
        } else {
            two.a(&format!("{bring} --yes")).expect(0);
            assert_eq!((two.a.text("gone"), two.object("gone")), ("second".into(), "second".into()));
        }
        two.a("upload --yes --delete").expect(0);
        two.a("download --yes --delete").expect(0);
    }
}

/// The mirror image: what a later manifest no longer has, and the mount changed; "what a download replaces goes to the trash".
#[test]
fn what_was_removed_in_the_bucket_and_changed_here_is_settled_either_way() {
    for removes in [true, false] {
        let two = Two::agreed(&[("d/gone", "first"), ("stays", "s"), ("more", "m")]);
        two.b.write("d/gone", "second");
        // Absence from a listing alone proves nothing, whatever the flags.
        two.remove_object("d/gone");
        assert_eq!(two.b("download --yes --delete --overwrite --json").expect(0).counts(), "unchanged=2 kept=1");
        two.s3.put("d/gone", "first");
        two.a.remove("d");
        two.a("upload --yes --delete").expect(0);
        let ran = two.b("download --yes --delete").expect(6);
        let (remove, send) = (way_on(&ran, "download"), way_on(&ran, "upload"));
        assert_eq!((remove.as_str(), send.as_str()), ("download --delete --overwrite --max-delete=1 d/gone", "upload d/gone"));
        if removes {
            let lines = two.b(&format!("{remove} --dry-run --json")).expect(0).lines("action");
            assert_eq!((lines.len(), &lines[0]["verb"], &lines[0]["class"]), (1, &"delete".into(), &"overwrite_conflict".into()));
            two.b(&format!("{remove} --yes")).expect(0);
            assert_eq!((two.b.has("d"), two.b.trash()), (false, vec!["second".to_owned()]));
        } else {
            two.b(&format!("{send} --yes")).expect(0);
            assert_eq!((two.b.text("d/gone"), two.object("d/gone")), ("second".into(), "second".into()));
        }
        two.b("download --yes --delete").expect(0);
        two.b("upload --yes --delete").expect(0);
    }
}

/// What cannot be kept is not deleted, and a change after the plan stops it.
#[test]
fn what_was_changed_is_deleted_only_as_it_was_seen_and_after_a_copy() {
    let two = Two::agreed(&[("gone", "first"), ("stays", "s"), ("more", "m")]);
    two.s3.put("gone", "second");
    two.a.remove("gone");
    let refused = Action::Status(400, "InvalidDigest");
    let copy = |action| Rule { key_contains: Some("/gone".into()), ..Rule::once("CopyObject", action) };
    two.s3.faults().push(Rule { times: 2, ..copy(refused) });
    two.a("upload --yes --delete --overwrite").expect(3);
    assert_eq!(two.object("gone"), "second");
    two.s3.faults().clear();
    two.s3.faults().push(copy(Action::Hold));
    let running = two.cmd_a("upload --yes --delete --overwrite").start();
    two.s3.until_all_hit();
    two.s3.put("gone", "third");
    two.s3.faults().release();
    running.wait().expect(3);
    assert_eq!(two.object("gone"), "third");
}
