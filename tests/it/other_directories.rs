//! Two lsync directories in one bucket, one of them below the other's prefix: each leaves the other's alone, and says so.

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::two::Two;

/// `a` at the top of the bucket, `b` under `big/`.
fn two_in_one() -> Two {
    let two = Two::empty();
    two.a.write("a", "a").write("big-1", "beside");
    // A name that sorts before `.lsync`.
    two.b.write("!first", "1").write("sub/x", "x");
    two.a("upload --yes").expect(0);
    two.b("upload --yes --prefix big").expect(0);
    two
}

fn others(two: &Two) -> Vec<String> {
    two.s3.all_keys().into_iter().filter(|key| key.starts_with("big/")).collect()
}

const SAYS: &str = "big/ in this bucket belongs to another lsync directory; it is left alone (2 objects, 2 B).";

#[test]
fn what_lies_below_a_foreign_place_is_left_alone_and_told() {
    let two = two_in_one();
    let before = others(&two);
    let fresh = Mount::new();
    let run = |line: &str| Cmd::lsync(&fresh).on(&two.s3.store).args(line).run().expect(0);
    let ran = run("download --yes --delete --overwrite --max-delete 100%");
    assert!(ran.last_line().starts_with("complete: files=2 ") && ran.says(SAYS), "{}\n{}", ran.stdout, ran.stderr);
    assert!(!fresh.has("big"));
    let ran = run("status");
    assert!(ran.says(SAYS) && ran.last_line() == "in sync: both sides hold the same", "{}", ran.stdout);
    fresh.remove("a");
    run("upload --yes --delete --overwrite --max-delete 100%");
    assert_eq!((others(&two), two.s3.keys()), (before, ["big-1", "big/!first", "big/sub/x"].map(String::from).into()));
    for line in ["upload --yes --json", "download --dry-run --json", "status --json"] {
        let ran = run(line);
        assert_eq!(ran.summary()["other_directories"], 1, "{line}");
        let told = &ran.lines("other_directory")[0];
        assert_eq!((&told["path"], &told["objects"], &told["bytes"]), (&"big".into(), &2.into(), &2.into()));
    }
    run("verify");
    // The other one works as ever.
    two.b.write("new", "n");
    two.b("upload --yes --prefix big").expect(0);
    assert_eq!(two.object("big/new"), "n");
}

#[test]
fn what_is_here_at_a_foreign_place_is_a_problem_with_the_line_that_excludes_it() {
    let two = two_in_one();
    two.a.write("big/sub/x", "of a").write("big/mine", "m").write("new", "n");
    let ran = two.a("upload --yes --overwrite").expect(3);
    assert!(ran.says("another lsync directory publishes at s3://lsync-test/big/ in the bucket"), "{}", ran.stderr);
    assert!(ran.says("--exclude '/big'"), "{}", ran.stderr);
    assert_eq!((two.object("big/sub/x"), two.object("new")), ("x".into(), "n".into()));
    two.a("download --yes --delete --overwrite --max-delete 100%").expect(3);
    assert_eq!((two.a.text("big/sub/x"), two.a.text("big/mine")), ("of a".into(), "m".into()));
    two.a("status --check=upload").expect(10);
    two.a("upload --yes --exclude /big").expect(0);
    assert_eq!(two.s3.keys(), ["a", "big-1", "big/!first", "big/sub/x", "new"]);
}

/// A run for a PATH lists only that: it looks above it.
#[test]
fn a_path_at_a_foreign_place_is_refused() {
    let two = two_in_one();
    two.a.write("big/sub/x", "of a").write("deep/down/y", "y");
    for line in
        ["upload --yes big", "upload --yes --overwrite big/sub/x", "download --yes --overwrite big/sub", "status big/sub", "verify big"]
    {
        let ran = two.a(line).expect(2);
        assert!(ran.says("is in big/, which belongs to another lsync directory in this bucket"), "{line}: {}", ran.stderr);
    }
    assert_eq!((two.object("big/sub/x"), two.a.text("big/sub/x")), ("x".into(), "of a".into()));
    // One listing for each directory above, and none for what lies at the top.
    two.a("upload --yes a deep").expect(0);
    for (path, listings) in [("a", 2), ("deep/down", 3)] {
        two.s3.log().take();
        two.a(&format!("status {path}")).expect(0);
        assert_eq!(two.s3.log().count("ListObjectsV2"), listings, "{path}");
    }
}

/// What the upper directory once agreed on there is no reason to delete or replace it now.
#[test]
fn a_place_that_became_foreign_is_left_alone_from_then_on() {
    let two = Two::agreed(&[("big/x", "x"), ("big/y", "y"), ("z", "z")]);
    let other = Mount::with(&[("x", "of the other")]);
    let run = |line: &str| Cmd::lsync(&other).on(&two.s3.store).env("LSYNC_PREFIX", "big").args(line).run();
    run("upload --yes --overwrite").expect(0);
    two.a.remove("big");
    two.a("upload --yes --delete --overwrite --max-delete 100%").expect(0);
    assert_eq!((two.object("big/x"), two.object("big/y")), ("of the other".into(), "y".into()));
    // Files that are here already stay too.
    two.b("download --yes --delete --overwrite --max-delete 100%").expect(3);
    assert_eq!((two.b.text("big/x"), two.b.text("big/y")), ("x".into(), "y".into()));
}

#[test]
fn a_prefix_that_was_forgotten_on_a_fresh_machine_is_named() {
    let two = Two::empty();
    two.a.write("x", "x");
    two.a("upload --yes --prefix dock").expect(0);
    let ran = two.b("download --yes").expect(3);
    assert_eq!(ran.last_line(), "incomplete: nothing is at s3://lsync-test/; this bucket has lsync data at dock/");
}

#[test]
fn setup_proposes_a_prefix_where_others_have_theirs() {
    let two = Two::empty();
    two.a.write("x", "x");
    two.a("upload --yes --prefix dock").expect(0);
    let ran = two.b("setup --dry-run");
    assert!(ran.says("this bucket has lsync data at dock/: `prefix = \"dock\"` in [remote] works with that"), "{}", ran.stdout);
    assert!(ran.says("`prefix = \"research\"` keeps this directory apart from them"), "{}", ran.stdout);
    two.a("upload --yes").expect(0);
    let ran = two.b("setup --dry-run");
    assert!(!ran.says("works with that"), "{}", ran.stdout);
}
