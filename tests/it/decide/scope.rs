//! "Scope": PATHs, patterns and `.syncignore` files, in both directions.

use crate::support::two::Two;

fn names(two: &Two) -> Vec<String> {
    two.b.tree().into_iter().filter(|node| node.kind != "dir").map(|node| node.path).collect()
}

/// "PATH is relative to the current directory, cleaned without following links, and means that path and what lies below (`a` is not
/// `ab`)". "Base and manifest entries outside the scope stay as they are."
#[test]
fn a_path_narrows_a_run_to_itself_and_what_lies_below() {
    let two = Two::agreed(&[("data/a/1", "1"), ("data/ab", "2"), ("other", "3"), ("gone", "4"), ("d/e", "5")]);
    two.a.write("data/a/1", "one").write("data/ab", "two").write("other", "three").remove("gone").mode("other", 0o600);
    let ran = two.cmd_a("upload --yes a --delete").at("data").run().expect(0);
    assert!(ran.last_line().starts_with("complete for data/a/: files=1 "), "{}", ran.stdout);
    assert!(ran.last_line().ends_with("; nothing elsewhere was looked at (4 files at the last sync)"), "{}", ran.stdout);
    assert_eq!((two.object("data/a/1"), two.object("data/ab"), two.object("other")), ("one".into(), "2".into(), "3".into()));
    assert_eq!(two.object("gone"), "4");
    // The manifest still describes the whole tree, and the base still knows what was agreed.
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "downloaded=1 unchanged=4");
    assert_eq!(two.a("upload --yes --delete --json").expect(0).counts(), "uploaded=2 deleted=1 unchanged=2");
    let ran = two.cmd_b("download --yes data d/../other --delete").run().expect(0);
    assert!(ran.last_line().starts_with("complete for data/ other: files=3 "), "{}", ran.stdout);
    assert_eq!((two.b.text("data/ab"), two.b.text("other"), two.b.text("gone")), ("two".into(), "three".into(), "4".into()));
}

/// A link or directory that only a manifest has, and that lies outside the scope, stays published.
#[test]
fn what_only_the_manifest_carries_outside_the_scope_stays() {
    let two = Two::agreed(&[("data/x", "x")]);
    two.a.link("l", "data/x").dir("empty").mode("data/x", 0o640);
    two.a("upload --yes").expect(0);
    two.a.write("data/x", "new");
    two.a("upload --yes data").expect(0);
    two.a("upload --yes data/x").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

/// "Outside the mount, or in none of L, R, B: exit 2 with near names."
#[test]
fn a_path_that_is_nowhere_is_an_error_with_near_names() {
    let two = Two::agreed(&[("results/run1", "1"), ("results/run2", "2"), ("dir/x", "x")]);
    let ran = two.a("upload --yes resluts").expect(2);
    assert!(ran.stderr.contains("resluts is neither in the mount nor in the bucket; did you mean results?"), "{}", ran.stderr);
    two.a("download --yes ../elsewhere").expect(2);
    two.a("upload --yes /etc").expect(2);
    // In the bucket only, or in the base only, is enough.
    two.a.remove("dir");
    two.a("upload --yes dir").expect(0);
    two.remove_object("dir/x");
    two.a("upload --yes dir").expect(0);
}

/// "`--include/--exclude`": "Exclude beats include"; "only a whole run prints `complete:`".
#[test]
fn flags_narrow_a_run_in_both_directions() {
    let two = Two::empty();
    let files = ["a.npy", "a.txt", "deep/b.npy", "deep/skip/c.npy", "tmp.npy"];
    for file in files {
        two.a.write(file, file);
    }
    two.a.dir("empty").link("l", "a.txt");
    let args = "--yes --include *.npy --exclude tmp.* --exclude skip/";
    let ran = two.a(&format!("upload {args}")).expect(0);
    assert!(ran.last_line().starts_with("complete for what the filters let through: files=2 "), "{}", ran.stdout);
    assert_eq!(two.s3.keys(), ["a.npy", "deep/b.npy"]);
    two.a("upload --yes").expect(0);
    let ran = two.b(&format!("download {args} --json")).expect(0);
    assert_eq!((ran.counts().as_str(), names(&two)), ("downloaded=2", vec!["a.npy".into(), "deep/b.npy".into()]));
    assert!(!two.b.has("empty"), "with an include a path must match one of them");
    // What the filters leave out is not deleted on either side, and stays published.
    two.a.remove("a.txt").remove("deep").remove("l").write("a.npy", "new");
    two.a("upload --yes --delete --include *.txt --max-delete 100%").expect(5);
    assert_eq!(two.a("upload --yes --delete --exclude *.txt --exclude l --json").expect(0).counts(), "uploaded=1 deleted=2 unchanged=2");
    assert_eq!(two.s3.keys(), ["a.npy", "a.txt", "tmp.npy"]);
    two.b("download --yes --delete").expect(0);
    assert_eq!(names(&two), ["a.npy", "a.txt", "l", "tmp.npy"]);
}

/// "the `.syncignore` files that lie in the mount when the run starts (they travel; new ones count from the next run), in both directions,
/// all in gitignore's grammar (nested, `*` does not cross `/`)".
#[test]
fn syncignore_files_hold_in_both_directions_nested_and_with_negation() {
    let two = Two::empty();
    two.a.write(".syncignore", "*.log\n/top/*.bin\n").write("deep/.syncignore", "!keep.log\nscratch/\n");
    for file in ["a.log", "deep/a.log", "deep/keep.log", "deep/scratch/x", "top/a.bin", "top/sub/a.bin", "x"] {
        two.a.write(file, file);
    }
    let ran = two.a("upload --yes").expect(0);
    assert!(ran.stderr.contains("  ignored  4 "), "{}", ran.stderr);
    assert_eq!(two.s3.keys(), [".syncignore", "deep/.syncignore", "deep/keep.log", "top/sub/a.bin", "x"]);
    // On a fresh mount there is none yet: another tool's objects come, and from the next run on they are out of scope.
    two.s3.put("foreign.log", "1").put("deep/scratch/y", "2");
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=7");
    two.s3.put("foreign.log", "3");
    let ran = two.b("download --yes --json --delete").expect(0);
    assert_eq!((ran.counts().as_str(), two.b.text("foreign.log")), ("unchanged=5", "1".into()));
    two.b.remove("foreign.log").remove("deep/scratch");
    assert_eq!(two.b("upload --yes --json --delete").expect(0).counts(), "unchanged=5", "out of scope is not deleted");
    assert_eq!(two.object("foreign.log"), "3");
}

/// "Ignored by default: `.lsync/`, `.venv/`, `.ipynb_checkpoints/`, `__pycache__/`, `.nfs*`. Everything else travels, `.git/` included."
/// "a later `!pattern` may undo a default."
#[test]
fn the_defaults_are_left_out_and_may_be_undone() {
    let two = Two::empty();
    for file in
        [".venv/lib", "a/.ipynb_checkpoints/x", "a/__pycache__/x.pyc", ".nfs0001", "a/.nfs2", "a/.lsync/x", ".git/config", ".hidden"]
    {
        two.a.write(file, file);
    }
    two.a("upload --yes").expect(3);
    two.a.remove("a/.lsync");
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), [".git/config", ".hidden"]);
    two.a.write(".syncignore", "!__pycache__/\n!.lsync/\n");
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), [".git/config", ".hidden", ".syncignore", "a/__pycache__/x.pyc"]);
    two.s3.put(".venv/bin", "b").put("x/.lsync/y", "reserved").put(".nfs1", "n");
    assert_eq!(two.b("download --yes --json").expect(0).summary()["ignored"], 3, "the new file counts from the next run");
    assert!(!two.b.has(".venv") && !two.b.has("x") && !two.b.has(".nfs1"));
}

/// "The plan counts what was ignored, in files and bytes." "Files that hold keys … do not travel; the plan names them as ignored."
#[test]
fn what_is_ignored_is_counted_and_files_with_keys_are_named() {
    let two = Two::empty();
    two.a.write("__pycache__/x", "12345").write("other.sync.env", "KEY=\"v\"\n").write("x", "x");
    let ran = two.a("upload --dry-run").expect(0);
    let line = ran.stdout.lines().find(|line| line.starts_with("  ignored")).expect("a row");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), "ignored 2 13 B other.sync.env (holds keys), __pycache__/");
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["x"]);
    two.s3.put("old.sync.toml", "secret");
    two.b("download --yes").expect(0);
    assert!(!two.b.has("old.sync.toml"));
}

/// "This process's own stdout and stderr files are ignored with a notice."
#[test]
fn the_runs_own_output_files_do_not_travel() {
    let two = Two::empty();
    two.a.write("x", "x");
    let mut cmd = two.cmd_a("upload --yes");
    let line = format!("exec {} upload --yes > run.log 2> run.err", cmd.program.display());
    cmd.program = "/bin/sh".into();
    cmd.args = vec!["-c".into(), line.into()];
    cmd.run().expect(0);
    assert_eq!(two.s3.keys(), ["x"]);
    let told = two.a.text("run.err");
    assert!(told.contains("note: run.log is this command's own output and does not travel"), "{told}");
    assert!(two.a.text("run.log").starts_with("complete: files=1 "));
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["run.err", "run.log", "x"], "in another run they are files like others");
}
