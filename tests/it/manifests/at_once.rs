//! Instances that publish at once: several heads are read as one, and what they differ in stays open until it is settled.

use std::os::unix::fs::PermissionsExt;

use super::{FOLDER, head, paths};
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::two::Two;

/// Removes a manifest, does something, and puts it back: what two instances do that publish at once.
fn without<T>(two: &Two, name: &str, work: impl FnOnce() -> T) -> T {
    let key = format!("{FOLDER}{name}");
    let bytes = two.s3.content(&key);
    two.remove_object(&key);
    let done = work();
    two.s3.put(&key, bytes);
    done
}

/// The manifest that was published since.
#[track_caller]
fn since(two: &Two, before: &[String]) -> String {
    two.manifests().into_iter().find(|name| !before.contains(name)).expect("it published")
}

/// Both publish what they have, neither of them seeing the other's manifest.
fn at_once(two: &Two) {
    let before = two.manifests();
    two.a("upload --yes --delete").expect(0);
    let of_a = since(two, &before);
    without(two, &of_a, || two.b("upload --yes --delete").expect(0));
}

/// "A *head* is a manifest that no listed manifest names as parent; readers read all heads. Several heads (two instances published at
/// once): per path the entry whose (etag, size) is listed holds". "The next publication names all heads as parents".
#[test]
fn two_instances_that_published_at_once_lose_nothing_of_either() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("z", "z")]);
    two.a.write("x", "of a").write("only-a", "a").link("la", "x").mode("only-a", 0o600);
    two.a("upload --yes").expect(0);
    let of_a = two.manifests().pop().expect("it published");
    two.b.write("y", "of b").write("only-b", "b").link("lb", "y").mode("only-b", 0o750);
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    assert_eq!(two.manifests().len(), 3);
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    two.a("download --yes").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!((fresh.tree(), two.a.tree()), (two.a.tree(), two.b.tree()));
    assert_eq!((fresh.text("x"), fresh.text("y")), ("of a".into(), "of b".into()));
    two.a.write("z", "next");
    two.a("upload --yes z").expect(0);
    let next = head(&two);
    assert_eq!(next.header.parents.len(), 2);
    assert_eq!(paths(&next), ["la", "lb", "only-a", "only-b", "x", "y", "z"]);
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "downloaded=1 unchanged=6");
}

/// What one deleted and kept in the bucket is left out of fresh downloads, also when another published at the same time.
#[test]
fn a_recorded_deletion_survives_a_publication_at_the_same_time() {
    let two = Two::agreed(&[("f", "f"), ("x", "1"), ("y", "2")]);
    two.a.remove("f").link("l", "x");
    two.a("upload --yes").expect(0);
    let of_a = two.manifests().pop().expect("it published");
    two.b.write("z", "z");
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    let downloads = || {
        let fresh = Mount::new();
        let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
        assert!(ran.says("was deleted on") && fresh.has("z") && fresh.has("l"), "{}", ran.stderr);
        fresh.has("f")
    };
    assert!(!downloads(), "two heads");
    two.b.write("z", "next");
    two.b("upload --yes").expect(0);
    assert!(!downloads(), "one head");
}

/// What one of two instances removed while the other published is removed, and has not vanished.
#[test]
fn what_one_of_two_instances_removed_or_changed_alone_is_no_conflict() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("z", "z")]);
    two.a.link("l", "x").link("m", "x").dir("e");
    two.share();
    two.a.remove("x").remove("m").remove("l").link("l", "y").mode("y", 0o600);
    two.a("upload --yes --delete").expect(0);
    let of_a = two.manifests().pop().expect("it published");
    // The other one began before that, and looks at other paths.
    two.b.write("z", "of b").remove("e");
    without(&two, &of_a, || two.b("upload --yes --delete z e").expect(0));
    let fresh = Mount::new();
    let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert!(!ran.stderr.contains("no longer in the bucket"), "{}", ran.stderr);
    assert!(fresh.has("l") && !fresh.has("m") && !fresh.has("e") && !fresh.has("x"));
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "downloaded=1 updated=1 deleted=2 unchanged=1");
    assert_eq!(fresh.tree(), two.b.tree());
}

/// "links, empty directories and modes changed differently on both are conflicts": exit 6, kept, and either side can be taken.
#[test]
fn what_two_instances_changed_differently_is_a_conflict_that_either_can_settle() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "x").link("m", "x");
    two.share();
    two.a.remove("l").link("l", "of-a").remove("m").link("m", "of-a");
    two.a("upload --yes").expect(0);
    let of_a = two.manifests().pop().expect("it published");
    two.b.remove("l").link("l", "of-b").remove("m").link("m", "of-b");
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    for args in ["upload --yes --json", "download --yes --json"] {
        let ran = two.a(args).expect(6);
        assert_eq!(ran.counts(), "unchanged=2 conflicts=2", "{args}");
    }
    two.a("upload --yes --overwrite").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
    assert_eq!(std::fs::read_link(two.b.path("l")).expect("a link").to_str(), Some("of-a"));
}

/// What is removed on purpose while such a difference is open stays removed, whichever of the two had published it; and what is open
/// stays open until an upload settles it.
#[test]
fn what_is_removed_while_two_instances_differ_is_not_named_again() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "x").link("m", "x");
    two.share();
    two.a.remove("l").link("l", "of-a").remove("m").link("m", "of-a").write("na", "a");
    two.a("upload --yes").expect(0);
    let of_a = two.manifests().pop().expect("it published");
    two.b.remove("l").link("l", "of-b").remove("m").link("m", "of-b").write("nb", "b");
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    two.a("download --yes").expect(6);
    two.a.remove("na").remove("nb").write("x", "next");
    assert_eq!(two.a("upload --yes --delete --json").expect(6).counts(), "uploaded=1 deleted=2 unchanged=1 conflicts=2");
    assert_eq!(head(&two).header.torn, ["l", "m"]);
    for args in ["upload --yes --json", "download --yes --json"] {
        assert_eq!(two.a(args).expect(6).counts(), "unchanged=2 conflicts=2", "{args}");
    }
    assert_eq!(two.b("download --yes --delete --json").expect(6).counts(), "downloaded=1 deleted=1 unchanged=1 conflicts=2");
    // One of the two alone: the other stays open.
    two.a("upload --yes --overwrite l").expect(0);
    assert_eq!(head(&two).header.torn, ["m"]);
    two.b("download --yes --overwrite l").expect(0);
    assert_eq!(two.b("upload --yes --json").expect(6).counts(), "unchanged=3 conflicts=1");
    two.b("upload --yes --overwrite").expect(0);
    assert!(head(&two).header.torn.is_empty());
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    two.a("download --yes --overwrite").expect(0);
    assert_eq!((two.a.tree(), two.b.tree()), (fresh.tree(), fresh.tree()));
}

/// The same on a mount that has neither: nothing there could be published, so one is brought first.
#[test]
fn what_two_instances_changed_differently_can_be_settled_from_a_third_that_has_neither() {
    let two = Two::agreed(&[("x", "x")]);
    let before = two.manifests();
    two.a.link("l", "of-a");
    two.a("upload --yes").expect(0);
    let of_a = since(&two, &before);
    two.b.link("l", "of-b");
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    let third = Mount::new();
    let run = |args: &str| Cmd::lsync(&third).on(&two.s3.store).args(args).run();
    let told = run("download --yes").expect(6);
    let ways: Vec<&str> =
        told.stderr.lines().filter_map(|line| line.trim().split_once("lsync ")?.1.split_once("  ")).map(|way| way.0).collect();
    assert_eq!(ways, ["download --overwrite l", "upload --overwrite l"], "{}", told.stderr);
    for way in ways {
        run(&format!("{way} --yes")).expect(0);
    }
    assert!(run("status --check").expect(0).says("in sync"));
    two.a("download --yes --overwrite").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!((two.a.tree(), two.b.tree()), (third.tree(), third.tree()));
}

/// Two instances that differ in the link `l`.
fn two_links() -> Two {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "of-a");
    two.b.link("l", "of-b");
    at_once(&two);
    two
}

/// Twice in a row: both heads come from the same two, and what was removed the first time and made again the second is not taken for
/// removed, nor is what was removed the second time named again.
#[test]
fn two_instances_that_publish_at_once_twice_in_a_row_lose_nothing_of_either() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("la", "x").link("lb", "x").link("ra", "x").link("rb", "x");
    two.share();
    two.a.remove("la");
    two.b.remove("lb");
    at_once(&two);
    for run in [two.a("download --yes --delete"), two.b("download --yes --delete")] {
        run.expect(0);
    }
    two.a.link("la", "x").remove("ra");
    two.b.link("lb", "x").remove("rb");
    at_once(&two);
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    two.a("download --yes --delete").expect(0);
    two.b("download --yes --delete").expect(0);
    assert_eq!((two.a.tree(), two.b.tree()), (fresh.tree(), fresh.tree()));
    assert!(fresh.has("la") && fresh.has("lb") && !fresh.has("ra") && !fresh.has("rb"), "{:?}", fresh.tree());
}

/// One settles while the other publishes something else: it stays settled.
#[test]
fn what_one_instance_settles_while_another_publishes_stays_settled() {
    let two = two_links();
    two.a.write("x", "next");
    two.a("upload --yes").expect(6);
    let before = two.manifests();
    two.a("upload --yes --overwrite l").expect(0);
    let settled = since(&two, &before);
    two.b.write("y", "of b");
    without(&two, &settled, || two.b("upload --yes").expect(6));
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=1 unchanged=2");
    two.b("download --yes --overwrite").expect(0);
    assert_eq!(std::fs::read_link(two.b.path("l")).expect("a link").to_str(), Some("of-a"));
}

/// A third mount that has a directory where two put different links takes neither by itself, and does not say complete.
#[test]
fn what_two_instances_put_in_the_place_of_a_directory_is_a_conflict_for_a_third() {
    let two = Two::agreed(&[("x", "x"), ("l/z", "z")]);
    let third = Mount::new();
    let run = |args: &str| Cmd::lsync(&third).on(&two.s3.store).args(args).run();
    run("download --yes").expect(0);
    for mount in [&two.a, &two.b] {
        mount.remove("l/z").remove("l");
    }
    two.a.link("l", "of-a");
    two.b.link("l", "of-b");
    let before = two.manifests();
    two.a("upload --yes").expect(0);
    let of_a = since(&two, &before);
    // The other one began when the object was still there.
    two.s3.put("l/z", "z");
    without(&two, &of_a, || two.b("upload --yes").expect(0));
    for args in ["upload --yes", "download --yes", "status --check"] {
        let ran = run(args);
        assert_ne!(ran.code, 0, "{args}: {}", ran.stdout);
        assert!(ran.says("conflict") && third.text("l/z") == "z", "{args}: {}", ran.stdout);
    }
    run("upload --yes --overwrite").expect(0);
    assert_eq!((two.object("l/z"), head(&two).header.torn.len()), ("z".to_owned(), 0));
    assert_eq!(paths(&head(&two)), ["l/z", "x"]);
}

/// The permission bits of the directory `e` and the file `f`.
fn bits(mount: &Mount) -> [u32; 2] {
    ["e", "f"].map(|path| std::fs::metadata(mount.path(path)).expect("it is there").permissions().mode() & 0o777)
}

/// What one instance has settled nobody undoes by an upload of something else: not the other one, nor a third that changed nothing.
#[test]
fn permission_bits_that_one_instance_has_settled_stay_settled() {
    let two = Two::agreed(&[("x", "x"), ("f", "f")]);
    two.a.dir("e").mode("e", 0o755).mode("f", 0o644);
    two.share();
    let third = Mount::new();
    let run = |args: &str| Cmd::lsync(&third).on(&two.s3.store).args(args).run();
    run("download --yes").expect(0);
    two.a.mode("e", 0o700).mode("f", 0o600);
    two.b.mode("e", 0o750).mode("f", 0o640);
    at_once(&two);
    run("download --yes").expect(6);
    two.a("download --yes").expect(6);
    two.b("upload --yes --overwrite").expect(0);
    third.write("new", "new");
    run("upload --yes").expect(0);
    two.a.write("x", "next");
    two.a("upload --yes").expect(0);
    for ran in [two.b("download --yes"), two.a("download --yes"), run("download --yes")] {
        ran.expect(0);
    }
    assert_eq!([bits(&two.a), bits(&two.b), bits(&third)], [[0o750, 0o640]; 3]);
}

/// Either side of it can be taken, whatever was agreed on before.
#[test]
fn permission_bits_that_two_instances_differ_in_can_be_settled_either_way() {
    for way in ["upload", "download"] {
        let two = Two::agreed(&[("x", "x"), ("f", "f")]);
        two.a.dir("e").mode("e", 0o755).mode("f", 0o644);
        two.share();
        two.a.mode("e", 0o700).mode("f", 0o600);
        two.b.mode("e", 0o750).mode("f", 0o640);
        at_once(&two);
        let shown = head(&two).entries.into_iter().map(|(_, entry)| entry.mode).collect::<Vec<_>>();
        for run in [two.a("download --yes"), two.b("download --yes")] {
            run.expect(6);
        }
        two.a(&format!("{way} --yes --overwrite")).expect(0);
        let taken = bits(&two.a);
        if way == "upload" {
            assert_eq!(taken, [0o700, 0o600]);
        } else {
            assert_eq!(taken.map(Some), [shown[0], shown[1]]);
            two.a("upload --yes --overwrite").expect(0);
        }
        two.b("download --yes").expect(0);
        assert_eq!(bits(&two.b), taken);
    }
}

/// A directory that two made with different permission bits is settled by what is put into it.
#[test]
fn an_empty_directory_that_two_instances_differ_in_can_be_filled() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.dir("d").mode("d", 0o700);
    two.b.dir("d").mode("d", 0o750);
    at_once(&two);
    two.a("upload --yes").expect(6);
    two.a.write("d/y", "y");
    two.a("upload --yes").expect(0);
    assert_eq!(paths(&head(&two)), ["d/y", "x"]);
    two.b("download --yes").expect(0);
    assert_eq!(two.b.text("d/y"), "y");
}

/// Permission bits are open, the content is agreed on: what was removed everywhere can be forgotten.
#[test]
fn a_file_whose_bits_two_instances_differ_in_and_that_is_lost_can_be_let_go() {
    let two = Two::agreed(&[("x", "x"), ("f", "f")]);
    two.a.mode("f", 0o600);
    two.b.mode("f", 0o640);
    at_once(&two);
    two.a.write("more", "more");
    two.a("upload --yes").expect(6);
    assert_eq!(head(&two).header.torn, ["f"]);
    two.remove_object("f");
    two.a.remove("f");
    assert!(two.a("download --yes").expect(3).stderr.contains("f"));
    two.a("upload --yes --delete").expect(0);
    two.a("download --yes").expect(0);
    assert!(head(&two).header.torn.is_empty() && paths(&head(&two)) == ["more", "x"]);
}

/// What is open is known to the mount: it stays open when the bucket has lost all manifests, and none is pruned before it is settled.
#[test]
fn what_is_open_stays_open_without_manifests_and_keeps_them_while_there_are_some() {
    let two = two_links();
    for n in 0..24 {
        two.a.write("x", format!("{n} "));
        two.a("upload --yes").expect(6);
    }
    assert_eq!(two.manifests().len(), 27);
    two.b("download --yes").expect(6);
    for name in two.manifests() {
        two.remove_object(&format!("{FOLDER}{name}"));
    }
    assert_ne!(two.b("upload --yes").code, 0);
    two.a("download --yes");
    assert_eq!(std::fs::read_link(two.a.path("l")).expect("a link").to_str(), Some("of-a"));
    two.a("upload --yes --overwrite").expect(0);
    assert!(head(&two).header.torn.is_empty());
}

/// A directory that one instance fills is no answer to the link that the other one has there.
#[test]
fn a_link_against_an_empty_directory_stays_open_when_the_directory_is_filled() {
    for link_is_newer in [true, false] {
        let two = Two::agreed(&[("x", "x")]);
        let before = two.manifests();
        let (of_link, of_dir) = if link_is_newer { (&two.b, &two.a) } else { (&two.a, &two.b) };
        of_link.link("d", "x");
        of_dir.dir("d");
        two.a("upload --yes").expect(0);
        let of_a = since(&two, &before);
        without(&two, &of_a, || {
            two.b("upload --yes").expect(0);
            two.b.write("x", "next");
            two.b("upload --yes").expect(0);
        });
        of_dir.write("d/y", "y");
        let run = |mount: &Mount, args: &str| Cmd::lsync(mount).on(&two.s3.store).args(args).run();
        run(of_dir, "upload --yes").expect(6);
        run(of_link, "download --yes").expect(6);
        assert_eq!(std::fs::read_link(of_link.path("d")).expect("a link").to_str(), Some("x"));
        run(of_dir, "upload --yes --overwrite d").expect(0);
        assert_eq!((paths(&head(&two)), head(&two).header.torn.len()), (vec!["d/y", "x"], 0));
        let fresh = Mount::new();
        run(&fresh, "download --yes").expect(0);
        assert_eq!(fresh.text("d/y"), "y");
    }
}

/// Who keeps what stands in the bucket has decided too: where another decides otherwise at the same time, it is open again.
#[test]
fn two_instances_that_settle_a_difference_at_once_are_told() {
    let two = two_links();
    two.a.write("x", "next");
    two.a("upload --yes").expect(6);
    let before = two.manifests();
    two.a("upload --yes --overwrite l").expect(0);
    let of_a = since(&two, &before);
    without(&two, &of_a, || two.b("upload --yes --overwrite l").expect(0));
    two.a("download --yes").expect(6);
    two.b("download --yes").expect(6);
    assert_eq!(std::fs::read_link(two.a.path("l")).expect("a link").to_str(), Some("of-a"));
    assert_eq!(std::fs::read_link(two.b.path("l")).expect("a link").to_str(), Some("of-b"));
}

/// Three heads, two of which come from something newer than all three: what was changed back since, and made again, stays.
#[test]
fn of_three_instances_at_once_a_change_back_is_not_undone() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "a").link("p", "a");
    two.share();
    let third = Mount::new();
    let run = |args: &str| Cmd::lsync(&third).on(&two.s3.store).args(args).run().expect(0);
    run("download --yes");
    third.write("of-third", "third");
    let before = two.manifests();
    run("upload --yes");
    let of_third = since(&two, &before);
    without(&two, &of_third, || {
        two.a.remove("l").link("l", "b").remove("p");
        two.a("upload --yes --delete").expect(0);
        two.b("download --yes --delete").expect(0);
        two.a.remove("l").link("l", "a").link("p", "a");
        let before = two.manifests();
        two.a("upload --yes").expect(0);
        let of_a = since(&two, &before);
        two.b.write("of-b", "b");
        without(&two, &of_a, || two.b("upload --yes").expect(0));
    });
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    two.a("download --yes --delete").expect(0);
    two.b("download --yes --delete").expect(0);
    run("download --yes --delete");
    assert_eq!((two.a.tree(), two.b.tree(), third.tree()), (fresh.tree(), fresh.tree(), fresh.tree()));
    assert_eq!(std::fs::read_link(fresh.path("l")).expect("a link").to_str(), Some("a"));
    assert!(fresh.has("p") && fresh.has("of-third") && fresh.has("of-b"));
}

/// Where a manifest is lost that two heads come from, nobody knows what they changed: nothing counts as removed, and they differ aloud.
#[test]
fn without_what_two_heads_come_from_nothing_counts_as_removed() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.link("l", "a").link("p", "a");
    two.share();
    two.a.remove("l").link("l", "b").remove("p");
    let before = two.manifests();
    two.a("upload --yes --delete").expect(0);
    let lost = since(&two, &before);
    two.b("download --yes --delete").expect(0);
    two.a.remove("l").link("l", "a").link("p", "a");
    two.b.write("y", "of b");
    at_once(&two);
    two.remove_object(&format!("{FOLDER}{lost}"));
    two.a("download --yes --delete").expect(6);
    assert_eq!(std::fs::read_link(two.a.path("l")).expect("a link").to_str(), Some("a"));
    assert!(two.a.has("p"));
}

/// The same difference before anybody has published it by name.
#[test]
fn what_two_heads_differ_in_stays_open_for_who_saw_them_when_all_manifests_are_lost() {
    let two = two_links();
    two.b("download --yes").expect(6);
    two.a("download --yes").expect(6);
    for name in two.manifests() {
        two.remove_object(&format!("{FOLDER}{name}"));
    }
    two.b.write("x", "next");
    assert_ne!(two.b("upload --yes").code, 0);
    assert_eq!(head(&two).header.torn, ["l"]);
    assert_ne!(two.a("download --yes").code, 0);
    assert_eq!(std::fs::read_link(two.a.path("l")).expect("a link").to_str(), Some("of-a"));
}
