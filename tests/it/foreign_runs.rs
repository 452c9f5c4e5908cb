//! Whole runs of the real binary on stores that others wrote, as `foreign.rs` asks single requests of them: what lsync says must be true
//! there too, whatever their ETags mean and whichever conditions they ignore.

use serde_json::json;

use crate::doctor::facts;
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::Foreign;

fn run(mount: &Mount, foreign: &Foreign, args: &str) -> Ran {
    Cmd::lsync(mount).on(&foreign.store).args(args).run()
}

#[test]
fn foreign_runs_bring_a_tree_back_byte_for_byte_and_then_move_nothing() {
    let foreign = Foreign::open();
    let (here, there) = (Mount::with(&[("data/a", "one"), ("data/b c+%.txt", "two"), ("empty", "")]), Mount::new());
    here.write("large.bin", noise((17 << 20) + 5)).link("latest", "data/a").dir("results").mode("data/a", 0o750);
    run(&here, &foreign, "upload --yes").expect(0);
    run(&there, &foreign, "download --yes").expect(0);
    assert_eq!(here.tree(), there.tree(), "on {}", foreign.kind);
    for (mount, args) in [(&here, "upload"), (&there, "download"), (&here, "download"), (&there, "upload")] {
        let again = run(mount, &foreign, args).expect(0);
        assert!(again.last_line().starts_with("complete: files=6 "), "{args} on {}: {}", foreign.kind, again.stdout);
    }
    run(&here, &foreign, "status --check=any").expect(0);
}

#[test]
fn foreign_runs_protect_what_is_newer_and_delete_what_is_proven() {
    let foreign = Foreign::open();
    let (one, two) = (Mount::with(&[("mine", "1"), ("theirs", "1"), ("both", "1"), ("gone", "1"), ("kind", "1")]), Mount::new());
    one.write("large.bin", noise(17 << 20));
    run(&one, &foreign, "upload --yes").expect(0);
    run(&two, &foreign, "download --yes").expect(0);
    two.write("theirs", "2").write("both", "two").write("large.bin", noise((17 << 20) + 1));
    run(&two, &foreign, "upload --yes").expect(0);
    one.write("mine", "2").write("both", "one").remove("gone").remove("kind").write("kind/below", "x");
    run(&one, &foreign, "upload --yes --delete").expect(6);
    assert_eq!((one.text("theirs"), one.text("both")), ("1".into(), "one".into()));
    run(&one, &foreign, "download --yes --overwrite both large.bin theirs").expect(0);
    assert_eq!((one.text("theirs"), one.text("both")), ("2".into(), "two".into()));
    run(&two, &foreign, "download --yes --delete").expect(0);
    assert_eq!(one.tree(), two.tree(), "on {}", foreign.kind);
    assert!(!two.has("gone") && two.has("kind/below"));
}

#[test]
fn foreign_runs_of_doctor_tell_what_is_known_of_the_store() {
    let (foreign, mount) = (Foreign::open(), Mount::with(&[("a", "a")]));
    let ran = run(&mount, &foreign, "doctor --json");
    let found = facts(&ran, "store");
    let (conditions, beside) = if foreign.kind == "rclone" { ("ignored", false) } else { ("honoured", true) };
    assert_eq!((&found["conditional_writes"], &found["a_beside_a/b"]), (&json!(conditions), &json!(beside)), "{}", ran.stdout);
    run(&mount, &foreign, "upload --yes").expect(0);
}
