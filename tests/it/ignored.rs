//! A PATH that is ignored as a whole is refused, and "in sync" never hides what is ignored.

use crate::support::two::Two;

/// Runs a command and checks that it is refused with these words, and that the bucket is as it was.
#[track_caller]
fn refused(two: &Two, line: &str, words: &[&str]) -> String {
    let before = two.s3.keys();
    let ran = two.a(line).expect(2);
    assert!(words.iter().all(|words| ran.says(words)), "{line}: {words:?}\n{}", ran.stderr);
    assert!(!ran.stdout.contains("complete") && !ran.stdout.contains("in sync"), "{}", ran.stdout);
    assert_eq!(two.s3.keys(), before);
    ran.stderr
}

/// The flags that the hint gives, as a shell reads them.
fn advice(stderr: &str) -> String {
    let hint = stderr.lines().find_map(|line| line.split_once("to include it in this run, add ")).expect("advice").1;
    hint.split_once(';').expect("for this run and for all").0.replace('\'', "")
}

#[test]
fn a_path_that_is_ignored_as_a_whole_is_refused_with_the_rule_and_the_way_to_send_it() {
    let two = Two::empty();
    two.a.write("a", "a").write(".venv/lib/x.py", "x").write(".venv/pyvenv.cfg", "y").write("logs/1.log", "1").write("deep/scratch/y", "y");
    two.a.write(".syncignore", "# mine\n*.log\n").write("deep/.syncignore", "scratch/\n").write("top.log", "t");
    two.a("upload --yes").expect(0);
    let default = "the pattern `.venv/` (the default ignores) matches .venv/";
    let nested = "the pattern `scratch/` (deep/.syncignore:1) matches deep/scratch/";
    let cases = [
        (".venv", vec![".venv is ignored", default, "add this to .syncignore: !/.venv/"], ".venv/lib/x.py"),
        (".venv/lib/x.py", vec![".venv/lib/x.py is ignored", default], ".venv/lib/x.py"),
        ("top.log", vec!["the pattern `*.log` (.syncignore:2) matches top.log", "change that line"], "top.log"),
        ("logs", vec!["everything below logs is ignored", "`*.log` (.syncignore:2) matches logs/1.log"], "logs/1.log"),
        ("deep/scratch", vec![nested], "deep/scratch/y"),
    ];
    for (path, words, sent) in cases {
        for command in ["upload --yes", "upload --yes -q", "upload --dry-run", "download --yes", "status", "status --check", "verify"] {
            refused(&two, &format!("{command} {path}"), &words);
        }
        // The advice is right.
        let flags = advice(&refused(&two, &format!("upload --yes a {path}"), &words));
        let ran = two.a(&format!("upload --yes {flags} {path}")).expect(0);
        assert!(two.s3.keys().contains(&sent.to_owned()), "{flags}: {:?}\n{}", two.s3.keys(), ran.stderr);
    }
    // It stays ignored: in the bucket now too, where it is neither deleted nor brought.
    refused(&two, "download --yes .venv", &[default]);
    let ran = two.a("status -q").expect(0);
    assert!(ran.says("in sync: both sides hold the same; 5 files (5 B) here and 5 files (5 B) in the bucket are ignored"), "{ran:?}");
}

#[test]
fn a_path_that_is_nowhere_but_matches_an_ignore_pattern_is_refused_with_the_pattern() {
    let two = Two::agreed(&[("a", "a"), ("d/b", "b")]);
    refused(&two, "upload --yes d/.venv", &["d/.venv is ignored", "`.venv/` (the default ignores) matches d/.venv/"]);
    refused(&two, "upload --yes __pycache__/x.pyc", &["`__pycache__/` (the default ignores) matches __pycache__/"]);
    refused(&two, "upload --yes --exclude *.tmp x.tmp", &["`*.tmp` (--exclude) matches x.tmp"]);
    refused(&two, "upload --yes .lsync/state", &[".lsync/state is lsync's own and never travels"]);
    refused(&two, "upload --yes sync.toml", &["sync.toml is ignored: sync.toml holds keys", "include_config = true"]);
    // Below a PATH that is in scope, beside one, and with the directory itself.
    for paths in ["a d/.venv", "d d/.venv", ". d/.venv"] {
        refused(&two, &format!("upload --yes {paths}"), &["d/.venv is ignored"]);
    }
}

#[test]
fn what_the_configuration_leaves_out_names_it() {
    let two = Two::agreed(&[("a", "a"), ("big/x.bin", "b"), ("n/1.md", "1")]);
    let config = "[sync]\nexclude = [\"big/\"]\n";
    two.a.write("lab.sync.toml", config).mode("lab.sync.toml", 0o600);
    refused(&two, "upload --yes big/x.bin", &["`big/` (`exclude` in the configuration) matches big/", "change `exclude`"]);
    two.a.write("lab.sync.toml", "[sync]\ninclude = [\"a\"]\n");
    let told = refused(&two, "upload --yes n/1.md", &["n/1.md is ignored: no include pattern matches n/1.md"]);
    let flags = advice(&told);
    two.a.write("n/1.md", "changed");
    two.a(&format!("upload --yes {flags} n/1.md")).expect(0);
    assert_eq!(two.object("n/1.md"), "changed");
}

/// Flags narrow a run: what they leave out below a PATH is what was asked for.
#[test]
fn a_directory_of_which_flags_of_the_same_command_leave_out_everything_is_no_mistake() {
    let two = Two::agreed(&[("n/1.md", "1"), ("n/2.md", "2"), ("x", "x")]);
    let ran = two.a("upload --yes --include *.npy n").expect(0);
    assert!(ran.last_line().contains("files=0 ") && ran.last_line().contains(" ignored=2;"), "{}", ran.stdout);
    let ran = two.a("upload --yes --exclude *.md n").expect(0);
    assert!(ran.last_line().contains("files=0 ") && ran.last_line().contains(" ignored=2;"), "{}", ran.stdout);
}

#[test]
fn in_sync_says_what_is_ignored_on_both_sides_and_in_json() {
    let two = Two::agreed(&[("a", "a")]);
    two.a.write(".venv/x", "12345").write("other.sync.env", "K=\"v\"");
    two.s3.put("__pycache__/y", "1");
    let ran = two.a("status").expect(0);
    assert!(ran.last_line().ends_with("in sync: both sides hold the same; 2 files (10 B) here and 1 file (1 B) in the bucket are ignored"));
    let summary = two.a("status --json").expect(0).summary();
    let counts = ["ignored", "ignored_bytes", "ignored_in_bucket", "ignored_in_bucket_bytes"].map(|field| summary[field].as_u64());
    assert_eq!(counts, [Some(2), Some(10), Some(1), Some(1)]);
    let ran = two.a("upload --yes").expect(0);
    assert!(ran.last_line().ends_with(" ignored=2"), "{}", ran.stdout);
}
