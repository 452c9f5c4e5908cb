//! "Kinds": a file, a link or an empty directory in the place of another.

use std::fs;
use std::path::Path;

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::two::Two;

/// Makes something at a path.
type Make = fn(&Mount, &str);

/// Replaces what lies at a path in the mount.
fn swap(mount: &Mount, path: &str, make: impl FnOnce(&Mount)) {
    mount.remove(path);
    make(mount);
}

/// "A path whose kind (file, link, empty directory) differs on the two sides *differs*, and the same rows decide." Every kind in the place
/// of every other, up and down; "such removals need no `--delete`, are shown as overwritten".
#[test]
fn every_kind_takes_the_place_of_every_other_in_both_directions() {
    let kinds: [(&str, Make); 4] = [
        ("file", |mount, path| _ = mount.write(path, "content")),
        ("link", |mount, path| _ = mount.link(path, "target")),
        ("empty", |mount, path| _ = mount.dir(path)),
        ("full", |mount, path| _ = mount.write(&format!("{path}/below"), "deep")),
    ];
    let two = Two::empty();
    two.a.write("other", "o");
    let pairs: Vec<_> = kinds
        .iter()
        .flat_map(|from| kinds.iter().map(move |to| (from, to)))
        .filter(|(a, b)| a.0 != b.0 && (a.0, b.0) != ("full", "empty"))
        .collect();
    for (from, to) in &pairs {
        from.1(&two.a, &format!("{}-{}", from.0, to.0));
    }
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
    for (from, to) in &pairs {
        let path = format!("{}-{}", from.0, to.0);
        swap(&two.a, &path, |mount| to.1(mount, &path));
    }
    let ran = two.a("upload --dry-run --json").expect(0);
    let classes = ran.lines("action");
    let overwritten: Vec<_> = classes.iter().filter(|line| line["class"] == "kind_changed").map(|line| line["path"].to_string()).collect();
    assert_eq!(overwritten.len(), 10, "all but an empty directory that is filled: {classes:#?}");
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
    let keys = two.s3.keys();
    assert_eq!(
        keys,
        ["empty-file", "empty-full/below", "file-full/below", "full-file", "link-file", "link-full/below", "other",],
        "what a link or directory replaced is gone from the bucket"
    );
    for (verb, mount) in [("upload", &two.a), ("download", &two.b)] {
        let again = crate::support::cmd::Cmd::lsync(mount).on(&two.s3.store).args(&format!("{verb} --json")).run().expect(0);
        assert_eq!(again.summary()["unchanged"], 12, "{}", again.stdout);
    }
}

/// "directory→file or link goes ahead only if all that the bucket holds below equals B (or with `--overwrite`)."
#[test]
fn a_directory_makes_room_only_when_all_below_is_what_both_agreed_on() {
    let two = Two::agreed(&[("d/x", "x"), ("d/y", "y")]);
    two.s3.put("d/foreign", "foreign");
    swap(&two.a, "d", |mount| _ = mount.write("d", "a file now"));
    let ran = two.a("upload --yes --json").expect(6);
    assert_eq!(ran.counts(), "conflicts=4");
    assert_eq!(two.s3.keys(), ["d/foreign", "d/x", "d/y"]);
    two.a("upload --yes --overwrite").expect(0);
    assert_eq!(two.s3.keys(), ["d"]);
    let all = two.s3.all_keys();
    let history = all.iter().filter(|key| key.starts_with(".lsync/history/") && key.ends_with("/d/foreign")).count();
    assert_eq!(history, 1, "{all:?}");
}

/// The same where what lies below is out of scope: it is no less there.
#[test]
fn a_directory_that_holds_ignored_objects_makes_no_room() {
    let two = Two::agreed(&[("d/x", "x"), ("e", "e")]);
    two.s3.put("d/__pycache__/x.pyc", "compiled");
    swap(&two.a, "d", |mount| _ = mount.write("d", "a file now"));
    let ran = two.a("upload --yes --json");
    assert_eq!(two.s3.keys(), ["d/__pycache__/x.pyc", "d/x", "e"], "{}", ran.stdout);
    assert!(ran.code == 6 || ran.code == 3, "{}", ran.code);
}

/// "Download mirrors this through the trash."
#[test]
fn a_download_makes_room_through_the_trash_and_only_for_what_is_proven() {
    let two = Two::agreed(&[("d/x", "x"), ("d/y", "y"), ("f", "file"), ("e/x", "x")]);
    if two.b.forgets() {
        return; // nothing is proven without reading it
    }
    swap(&two.a, "d", |mount| _ = mount.write("d", "a file now"));
    swap(&two.a, "f", |mount| _ = mount.write("f/below", "below"));
    swap(&two.a, "e", |mount| _ = mount.link("e", "f"));
    two.a("upload --yes").expect(0);
    two.b.write("e/mine", "not agreed on");
    assert_eq!(two.b("download --yes --json").expect(6).summary()["conflicts"], 3);
    assert_eq!(
        (two.b.text("d"), two.b.text("f/below"), two.b.text("e/mine")),
        ("a file now".into(), "below".into(), "not agreed on".into())
    );
    let mut trash = two.b.trash();
    trash.sort();
    assert_eq!(trash, ["file", "x", "y"]);
    two.b("download --yes --overwrite").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
    assert!(two.b.trash().contains(&"not agreed on".to_owned()));
}

/// What the patterns ignore is not moved away either, nor is it lost.
#[test]
fn a_download_does_not_move_away_a_directory_that_holds_ignored_files() {
    let two = Two::agreed(&[("d/x", "x")]);
    swap(&two.a, "d", |mount| _ = mount.write("d", "a file now"));
    two.a("upload --yes").expect(0);
    two.b.write("d/__pycache__/x.pyc", "compiled");
    two.b("download --yes").expect(3);
    assert_eq!((two.b.text("d/x"), two.b.text("d/__pycache__/x.pyc")), ("x".into(), "compiled".into()));
}

/// "An object listed where the manifest has a link is a foreign write: the object is R."
#[test]
fn an_object_where_the_manifest_has_a_link_is_what_the_bucket_holds() {
    let two = Two::empty();
    two.a.link("l", "target").link("m", "target");
    two.share();
    two.s3.put("l", "an object now").put("m", "an object too");
    two.a.remove("m").link("m", "elsewhere");
    let ran = two.a("upload --yes --json").expect(6);
    assert_eq!(ran.counts(), "protected=1 conflicts=1");
    assert_eq!(two.a("download --yes --json").expect(6).counts(), "downloaded=1 conflicts=1");
    assert_eq!(two.a.text("l"), "an object now");
}

/// "`x/` empty here and `x/f` there is no clash."
#[test]
fn an_empty_directory_here_and_a_full_one_there_is_no_clash() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.dir("x");
    two.s3.put("x/f", "f");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1 kept=1");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=1 unchanged=1");
    two.b.write("y/mine", "m");
    two.a.dir("y");
    two.a("upload --yes").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=1 unchanged=1 kept=1");
    assert_eq!(two.b.text("y/mine"), "m");
}

/// What the bucket has lost below an empty directory, or what does not travel any more, is still published: the directory is as well.
#[test]
fn an_empty_directory_travels_although_something_below_it_is_still_published() {
    for (lose, flags) in [(true, ""), (false, "--exclude e/z")] {
        let two = Two::agreed(&[("keep", "k"), ("e/z", "z")]);
        two.a.remove("e/z");
        if lose {
            two.remove_object("e/z");
        }
        let upload = format!("upload --yes --json {flags}");
        assert_eq!(two.a(&upload).expect(0).counts(), "uploaded=1 unchanged=1", "{flags}");
        assert_eq!(two.a(&upload).expect(0).counts(), "unchanged=2", "{flags}");
        assert_eq!(two.a("upload --yes --json keep").expect(0).counts(), "unchanged=1", "{flags}");
        two.a.write("keep", "newer");
        two.a("upload --yes --json keep").expect(0);
        assert_eq!(two.a(&upload).expect(0).counts(), "unchanged=2", "a run of a part forgets nothing: {flags}");
        let fresh = Mount::new();
        let came =
            Cmd::lsync(&fresh).on(&two.s3.store).args(&format!("download --yes --json {flags}")).run().expect(if lose { 3 } else { 0 });
        assert_eq!(came.summary()["downloaded"], 2, "{flags}");
        assert!(fresh.path("e").is_dir() && !fresh.has("e/z"), "{flags}");
        // Who has it still brings it back.
        two.b("upload --yes --json").expect(0);
        assert_eq!(two.object("e/z"), "z");
        Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
        assert_eq!(fresh.text("e/z"), "z");
    }
}

/// What another tool put below a published link made a directory of it; what lsync publishes there then does not bring the link back.
#[test]
fn a_link_that_became_a_directory_is_forgotten() {
    let two = Two::empty();
    two.b.link("d", "elsewhere");
    two.b("upload --yes").expect(0);
    two.s3.put("d/x", "an object");
    two.a.link("d/x", "target");
    two.a("upload --yes --overwrite").expect(0);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
    let fresh = Mount::new();
    assert_eq!(Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes --json").run().expect(0).counts(), "downloaded=1");
    assert_eq!(fresh.tree(), two.a.tree());
}

/// And the other way round: a link that takes the place of another tool's object does not bring back what was published below.
#[test]
fn what_was_published_below_a_link_is_forgotten() {
    let two = Two::empty();
    two.a.link("d/x", "target").write("kept", "k");
    two.a("upload --yes").expect(0);
    two.s3.put("d", "an object");
    swap(&two.a, "d", |mount| _ = mount.link("d", "elsewhere"));
    two.a("upload --yes --overwrite").expect(0);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=2");
    let fresh = Mount::new();
    assert_eq!(Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes --json").run().expect(0).counts(), "downloaded=2");
    assert_eq!(fresh.tree(), two.a.tree());
}

/// What another tool's object hides is not removed: when the object goes, it is there again, and no `--delete` reaches it.
#[test]
fn a_link_that_an_object_hides_for_a_while_is_not_removed() {
    for (link, object) in [("d/y", "d"), ("d", "d/x")] {
        let two = Two::empty();
        two.b.link(link, "keep").write("keep", "k");
        two.b("upload --yes").expect(0);
        let c = Mount::new();
        Cmd::lsync(&c).on(&two.s3.store).args("download --yes").run().expect(0);
        two.s3.put(object, "by mistake");
        two.a("download --yes").expect(0);
        two.a.write("other", "o");
        two.a("upload --yes").expect(0);
        two.remove_object(object);
        // The object has vanished: that is told.
        let ran = Cmd::lsync(&c).on(&two.s3.store).args("download --yes --delete --json").run().expect(3);
        assert_eq!(ran.counts(), "downloaded=1 unchanged=2 problems=1", "{link}");
        let fresh = Mount::new();
        Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run();
        assert_eq!(fs::read_link(fresh.path(link)).expect("a link"), Path::new("keep"), "{link}");
    }
}

/// What a run leaves out stays published, whatever it puts above: no download takes it for removed and says complete.
#[test]
fn a_link_above_what_is_left_out_removes_nothing() {
    let two = Two::empty();
    two.b.link("d/x", "t").write("keep", "k");
    two.b("upload --yes").expect(0);
    two.a.link("d", "keep");
    two.a("upload --yes --exclude d/x").expect(0);
    let fresh = Mount::new();
    for mount in [&two.b, &fresh] {
        let ran = Cmd::lsync(mount).on(&two.s3.store).args("download --yes --delete").run().expect(3);
        assert!(ran.says("d/x: a link"), "{}", ran.stdout);
    }
}

/// A directory that was filled in between is not published any more: it goes with what it held.
#[test]
fn an_empty_directory_that_was_filled_is_forgotten() {
    let two = Two::agreed(&[("keep", "k"), ("e/z", "z")]);
    two.a.remove("e/z");
    two.remove_object("e/z");
    two.a("upload --yes").expect(0);
    two.b("upload --yes").expect(0);
    two.b.remove("e");
    assert_eq!(two.b("upload --yes --delete --json").expect(0).counts(), "deleted=1 unchanged=1");
    let fresh = Mount::new();
    assert_eq!(Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes --json").run().expect(0).counts(), "downloaded=1");
    assert!(!fresh.has("e"));
}

/// "A zero-byte key ending in `/` is an empty directory."
#[test]
fn a_marker_of_another_tool_is_an_empty_directory() {
    let two = Two::empty();
    two.s3.put("made/", "").put("full/", "").put("full/f", "f");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=2");
    assert!(two.a.path("made").is_dir() && two.a.has("full/f"));
    two.a("upload --yes --json").expect(0);
    swap(&two.a, "made", |mount| _ = mount.write("made", "a file now"));
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["full/", "full/f", "made"]);
    swap(&two.a, "made", |mount| _ = mount.dir("made"));
    two.a("upload --yes").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=2");
    assert!(two.b.path("made").is_dir());
}

/// Markers of full directories stand for nothing, and for empty directories as soon as the rest is gone: they make room too.
#[test]
fn markers_of_another_tool_do_not_outlive_what_they_stood_beside() {
    let two = Two::empty();
    for key in ["d/", "d/x", "d/e/", "d/e/x", "f/", "f/g/", "f/g/h", "twin", "twin/", "keep"] {
        two.s3.put(key, if key.ends_with('/') { "" } else { key });
    }
    two.a("download --yes").expect(0);
    two.b("download --yes").expect(0);
    swap(&two.a, "d", |mount| _ = mount.link("d", "keep"));
    swap(&two.a, "f", |mount| _ = mount.write("f", "a file now"));
    swap(&two.a, "twin", |mount| _ = mount.link("twin", "keep"));
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["f", "keep"]);
    two.b("download --yes").expect(0);
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert_eq!((fresh.tree(), two.b.tree()), (two.a.tree(), two.a.tree()));
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=4");
}

/// A marker that went says nothing about the object beside it, which stays when it could not be removed; and nothing more is removed then.
#[test]
fn a_marker_that_went_does_not_stand_for_the_object_beside_it() {
    let two = Two::agreed(&[("d/e", "content"), ("d/f", "f"), ("keep", "k")]);
    two.s3.put("d/e/", "");
    swap(&two.a, "d", |mount| _ = mount.link("d", "keep"));
    two.a.write("new", "n");
    let refused = Rule::once("DeleteObject", Action::Status(412, "PreconditionFailed"));
    two.s3.faults().push(Rule { key_contains: Some("d/".into()), skip: 1, times: 9, ..refused });
    two.a("upload --yes").expect(3);
    two.s3.faults().clear();
    assert_eq!(two.s3.keys(), ["d/e", "d/f", "keep", "new"]);
    two.remove_object("d/e");
    two.remove_object("d/f");
    two.b("download --yes --delete --max-delete 100%");
    assert_eq!((two.b.text("d/e"), two.b.text("d/f")), ("content".into(), "f".into()));
    two.s3.put("d/e", "content").put("d/f", "f");
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["keep", "new"]);
}

/// A link is no less in the way of what lies below it than a file is.
#[test]
fn a_link_does_not_go_above_objects_that_are_left_out() {
    let two = Two::agreed(&[("d/x", "x"), ("e", "e")]);
    two.s3.put("d/__pycache__/x.pyc", "compiled");
    swap(&two.a, "d", |mount| _ = mount.link("d", "e"));
    let ran = two.a("upload --yes").expect(3);
    assert!(ran.says("d: it is a link here, and the bucket holds objects below it that the patterns ignore"), "{}", ran.stdout);
    assert_eq!(two.s3.keys(), ["d/__pycache__/x.pyc", "d/x", "e"]);
}

/// What comes below a link later, and is left out everywhere, is nothing to it.
#[test]
fn a_link_that_was_there_first_stays() {
    let two = Two::agreed(&[("e", "e")]);
    two.a.link("d", "e");
    two.share();
    two.s3.put("d/__pycache__/x.pyc", "compiled");
    two.a("upload --yes").expect(0);
    two.b("download --yes").expect(0);
}

/// What no mount can hold is told once, and nothing of it is said to have changed meanwhile.
#[test]
fn what_lies_below_an_object_is_left_alone_without_another_word() {
    let two = Two::agreed(&[("e/z", "z")]);
    two.s3.put("e", "an object above").put("e/z", "another");
    two.a.write("new", "n");
    assert_eq!(two.a("upload --yes --json").expect(3).counts(), "uploaded=1 problems=1");
}

/// "Kept and reported": the mount's copy of what the bucket lost makes no room for what another tool put above it.
#[test]
fn the_last_copy_makes_no_room_for_an_object_above_it() {
    let two = Two::agreed(&[("d/x", "x"), ("d/y", "y"), ("keep", "k")]);
    two.remove_object("d/x");
    two.remove_object("d/y");
    two.s3.put("d", "an object now");
    assert_eq!(two.b("download --yes --json").expect(6).counts(), "unchanged=1 conflicts=3");
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "unchanged=1 conflicts=3", "the bucket has neither of them");
    assert_eq!((two.b.text("d/x"), two.b.text("d/y")), ("x".into(), "y".into()));
    two.b("download --yes --overwrite").expect(0);
    assert_eq!(two.b.text("d"), "an object now");
    assert_eq!(two.b.trash().len(), 2);
}

/// An empty directory that something ignored has come into is not missing, and nothing fails over it.
#[test]
fn a_directory_with_nothing_but_ignored_files_is_there() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.dir("out");
    two.share();
    two.b.write("out/__pycache__/x.pyc", "compiled");
    assert_eq!(two.b("download --yes --json --delete").expect(0).summary()["failed"], 0);
    assert_eq!(two.b("upload --yes --json --delete").expect(0).summary()["deleted"], 0);
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "unchanged=2");
}
