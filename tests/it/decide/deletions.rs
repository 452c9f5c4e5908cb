//! "Deletions": what proves one, in each direction, and what never does.

use crate::support::mount::Mount;
use crate::support::two::Two;

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
