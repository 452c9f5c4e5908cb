//! The table: what each direction does about a path, by content alone, and what it says about what it keeps.

use crate::support::two::Two;

const DAY: u64 = 24 * 3600 * 1_000_000_000;
const NOON: u64 = 1_700_000_000_000_000_000;

/// "Content decides, never clocks." Same-size edits, with old, equal and future times, are found in both directions.
#[test]
fn an_edit_of_the_same_size_is_found_whatever_its_time() {
    let two = Two::empty();
    let files = ["old", "equal", "future"];
    for file in files {
        two.a.write(file, "before").mtime(file, NOON);
    }
    two.share();
    let edit = |mount: &crate::support::mount::Mount, content: &str| {
        for (file, time) in files.iter().zip([NOON - 1000 * DAY, NOON, 4 * NOON]) {
            mount.write(file, content).mtime(file, time);
        }
    };
    edit(&two.a, "after.");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=3");
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=3");
    assert_eq!(two.a.tree(), two.b.tree());
    edit(&two.b, "again!");
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "uploaded=3");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=3");
    assert_eq!((two.a.text("old"), two.a.tree()), ("again!".into(), two.b.tree()));
}

/// "a different mtime is no difference, starts no transfer, no publication, no exit 10."
#[test]
fn a_touch_of_every_file_transfers_and_publishes_nothing() {
    let two = Two::agreed(&[("x", "one"), ("data/y", "two"), ("empty", "")]);
    let (manifests, keys) = (two.manifests(), two.s3.all_keys());
    for file in ["x", "data/y", "empty"] {
        two.a.mtime(file, NOON);
    }
    two.a("status --check").expect(0);
    for verb in ["upload", "download"] {
        let ran = two.a(&format!("{verb} --yes --json")).expect(0);
        assert_eq!((ran.counts().as_str(), &ran.summary()["bytes"]), ("unchanged=3", &0.into()), "{verb}");
    }
    assert_eq!((two.manifests(), two.s3.all_keys()), (manifests, keys));
    // And the next run need not even read them again.
    assert!(two.a("upload --yes --json").expect(0).lines("phase").iter().all(|line| line["phase"] != "hash"));
}

/// "only on the source side | transfer (the other side removed it since B: counted apart, "removed there, sent again")".
#[test]
fn what_only_the_source_has_is_transferred_and_what_was_removed_there_is_told_apart() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.write("new", "new");
    two.remove_object("x");
    let ran = two.a("upload --yes").expect(0);
    assert!(ran.stderr.contains("removed in the bucket since; sent again"), "{}", ran.stderr);
    assert_eq!((two.object("x"), two.object("new")), ("x".into(), "new".into()));
    two.b.remove("y");
    two.s3.put("foreign", "foreign");
    let ran = two.b("download --dry-run --json").expect(0);
    let would = &ran.summary()["would"];
    assert_eq!((&would["new"], &would["sent_again"]), (&2.into(), &1.into()));
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=3 unchanged=1");
    assert_eq!((two.b.text("y"), two.b.text("foreign")), ("y".into(), "foreign".into()));
}

/// "only on the destination side | keep".
#[test]
fn what_only_the_destination_has_is_kept() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.a.remove("x");
    two.s3.put("foreign", "f");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1 kept=2");
    two.b.write("mine", "m");
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=1 unchanged=2 kept=1");
    assert_eq!(two.s3.keys(), ["foreign", "x", "y"]);
    assert!(two.b.has("mine"));
}

/// "differ; source equals B (the destination is newer) | keep: `protected`, "N files are newer in the bucket; `lsync download` brings
/// them"; not a failure | mirror image".
#[test]
fn a_stale_upload_does_not_overwrite_a_newer_object_nor_a_download_a_newer_file() {
    let two = Two::agreed(&[("x", "first"), ("y", "first")]);
    two.b.write("x", "newer");
    two.b("upload --yes").expect(0);
    let ran = two.a("upload --yes").expect(0);
    assert!(ran.stderr.contains("1 file is newer in the bucket; `lsync download` brings it."), "{}", ran.stderr);
    assert!(ran.last_line().starts_with("complete: ") && ran.last_line().contains(" protected=1 "), "{}", ran.stdout);
    assert_eq!(two.object("x"), "newer");
    two.a.write("y", "mine!");
    let ran = two.a("download --yes").expect(0);
    assert!(ran.stderr.contains("1 file is newer in the mount; `lsync upload` sends it."), "{}", ran.stderr);
    assert_eq!((two.a.text("x"), two.a.text("y"), two.object("y")), ("newer".into(), "mine!".into(), "first".into()));
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
}

/// "differ; both changed, or no B | **conflict**: keep both, exit 6"; "the report names both ways on (`upload --overwrite PATH`,
/// `download --overwrite PATH`)".
#[test]
fn what_changed_on_both_sides_is_kept_on_both_and_both_ways_on_are_named() {
    let two = Two::agreed(&[("data/x y", "first"), ("same", "s")]);
    two.a.write("data/x y", "of a").write("other", "from a");
    two.s3.put("data/x y", "of b!!").put("other", "from b");
    for (verb, command) in [("upload", "upload --yes"), ("download", "download --yes")] {
        let ran = two.a(command).expect(6);
        assert!(ran.last_line().starts_with("incomplete: 2 in conflict"), "{}", ran.stdout);
        assert!(ran.stderr.contains("2 files are in conflict and were kept as they are"), "{verb}: {}", ran.stderr);
        assert!(ran.stderr.contains("lsync upload --overwrite 'data/x y'"), "{verb}: {}", ran.stderr);
        assert!(ran.stderr.contains("lsync download --overwrite 'data/x y'"), "{verb}: {}", ran.stderr);
    }
    assert_eq!((two.a.text("data/x y"), two.object("data/x y")), ("of a".into(), "of b!!".into()));
    assert_eq!((two.a.text("other"), two.object("other")), ("from a".into(), "from b".into()));
    // The first way on, and the second.
    two.cmd_a("upload --yes --overwrite").arg("data/x y").run().expect(0);
    two.cmd_a("download --yes --overwrite other").run().expect(0);
    assert_eq!((two.object("data/x y"), two.a.text("other")), ("of a".into(), "from b".into()));
    two.a("status --check").expect(0);
}

/// "`--overwrite` transfers protected and conflicting items all the same, shown apart; `--yes` never implies it". "What a download
/// replaces goes to the trash; what `upload --overwrite` replaces is first copied to `.lsync/history/<op>/`".
#[test]
fn overwrite_replaces_and_keeps_a_copy_of_what_it_replaces() {
    let two = Two::agreed(&[("newer", "first"), ("both", "first")]);
    two.s3.put("newer", "bucket's").put("both", "bucket's");
    two.a.write("both", "mount's");
    let ran = two.a("upload --dry-run --overwrite --json").expect(0);
    let classes: Vec<_> = ran.lines("action").iter().map(|line| format!("{} {}", line["path"], line["class"])).collect();
    assert_eq!(classes, [r#""both" "overwrite_conflict""#, r#""newer" "overwrite_protected""#]);
    let ran = two.a("upload --yes --overwrite").expect(0);
    for shown in ["newer in the bucket (--overwrite)", "changed on both sides (--overwrite)", ".lsync/history/"] {
        assert!(ran.stderr.contains(shown), "{shown}: {}", ran.stderr);
    }
    assert_eq!((two.object("newer"), two.object("both")), ("first".into(), "mount's".into()));
    let keys = two.s3.all_keys();
    let history: Vec<_> = keys.iter().filter(|key| key.starts_with(".lsync/history/")).collect();
    assert_eq!(history.len(), 2, "{keys:?}");
    assert!(history.iter().all(|key| two.object(key) == "bucket's"));
    two.b.write("newer", "of b").write("both", "of b");
    two.b("download --yes --overwrite").expect(0);
    assert_eq!((two.b.text("newer"), two.b.text("both")), ("first".into(), "mount's".into()));
    assert_eq!(two.b.trash(), ["of b", "of b"]);
}

/// "What a download replaces goes to the trash", without `--overwrite` too.
#[test]
fn what_a_download_replaces_goes_to_the_trash() {
    let two = Two::agreed(&[("x", "first")]);
    two.a.write("x", "second");
    two.share();
    assert_eq!((two.b.text("x"), two.b.trash()), ("second".into(), vec!["first".to_owned()]));
}

/// "same | nothing (B learns it) | nothing".
#[test]
fn what_is_the_same_on_both_sides_is_learnt_and_nothing_moves() {
    let two = Two::empty();
    two.a.write("x", "same").write("y", "same");
    two.s3.put("x", "same").put("y", "same");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=2");
    assert!(two.manifests().is_empty(), "a run that changed nothing publishes nothing");
    // It was learnt: a change on one side alone is no conflict.
    two.a.write("x", "mine");
    two.s3.put("y", "yours");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=1 protected=1");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=1 unchanged=1");
}

/// The same when it was the download that found them equal.
#[test]
fn a_download_learns_what_is_the_same_too() {
    let two = Two::empty();
    two.a.write("x", "same").write("y", "same");
    two.s3.put("x", "same").put("y", "same");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "unchanged=2");
    two.a.write("x", "mine");
    two.s3.put("y", "yours");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=1 protected=1");
}

/// "a problem on either side (unreadable, not representable, special) | neither absent nor equal: not transferred, replaced or deleted".
#[test]
fn a_problem_on_either_side_is_neither_absent_nor_equal() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("d/z", "z")]);
    two.a.remove("x").remove("d");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        two.a.path("x"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        rustix::fs::makedev(0, 0),
    )
    .expect("a FIFO");
    two.s3.put("d", "beside d/z, which no mount can hold");
    for args in ["upload --yes --delete --overwrite --json", "download --yes --delete --overwrite --json"] {
        let ran = two.a(args).expect(3);
        assert_eq!(ran.counts(), "unchanged=1 problems=2", "{args}");
    }
    assert_eq!(two.s3.keys(), ["d", "d/z", "x", "y"]);
    assert_eq!((two.object("d/z"), two.object("x")), ("z".into(), "x".into()));
    assert!(two.a.has("x") && !two.a.has("d"));
}
