//! What the question gets that is not a yes, and what an output gets that nobody reads: nothing is changed, and the exit code says why.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::pty::Pty;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// `lsync` as a shell finds it: by its name.
fn in_a_shell(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    let mut cmd = lsync(mount, s3, "");
    let dir = cmd.program.parent().expect("a directory").to_owned();
    let path = std::env::join_paths(std::iter::once(dir).chain(std::env::split_paths(&cmd.env["PATH"]))).expect("no colon in it");
    cmd.program = "/bin/sh".into();
    cmd.env("PATH", path).arg("-c").arg(line)
}

/// Without a terminal: the plan on stdout, exit 5, nothing changed, and the last line of stderr applies exactly this plan.
#[track_caller]
fn offers(mount: &Mount, s3: &S3, at: &str, line: &str) -> String {
    let (before, keys) = (mount.tree(), s3.all_keys());
    let ran = in_a_shell(mount, s3, &format!("cd {at} && {line}")).run().expect(5);
    assert!(ran.says("s3://lsync-test") || ran.stdout.contains("\"action\""), "no plan in\n{}", ran.stdout);
    assert_eq!((mount.tree(), s3.all_keys()), (before, keys), "{line} changed something");
    assert!(ran.says("there is no terminal to ask on") || ran.says("There is no terminal to ask on"), "{}", ran.stderr);
    ran.stderr.lines().last().expect("a line").to_owned()
}

/// "Without it and without `--yes` the plan is made and shown as by `--dry-run` and nothing is read from stdin; exit 0 if there is nothing
/// to do, else 5, and the last stderr line is the exact command to run."
#[test]
fn without_a_terminal_the_last_line_is_the_command_that_applies_the_plan() {
    let s3 = S3::start();
    let mount = Mount::with(&[("data/a b.npy", "1"), ("data/it's", "22"), ("notes.md", "333"), ("data/$HOME *", "4"), ("skip.tmp", "5")]);
    let check = |at: &str, line: &str, keys: &[&str]| {
        let command = offers(&mount, &s3, at, line);
        assert!(command.starts_with("lsync ") && command.contains("load --yes"), "{command}");
        in_a_shell(&mount, &s3, &format!("cd {at} && {command}")).run().expect(0);
        assert_eq!(s3.keys(), keys, "after {command}");
        in_a_shell(&mount, &s3, &format!("cd {at} && {line}")).run().expect(0);
    };
    check("data", "lsync upload \"a b.npy\"", &["data/a b.npy"]);
    check("data", "lsync upload 'it'\\''s'", &["data/a b.npy", "data/it's"]);
    check(".", "lsync upload --exclude '*.tmp' --exclude '/notes md' -j 3", &["data/$HOME *", "data/a b.npy", "data/it's", "notes.md"]);
    mount.remove("notes.md");
    check(".", "lsync --delete upload --max-delete 1 --exclude '*.tmp' --json", &["data/$HOME *", "data/a b.npy", "data/it's"]);
    s3.put("data/it's", "other").put("from there", "x");
    mount.write("data/it's", "mine");
    let all: &[&str] = &["data/$HOME *", "data/a b.npy", "data/it's", "from there"];
    check(".", "lsync download --overwrite --bwlimit 10M", all);
    assert_eq!(mount.text("data/it's"), "other");
}

#[test]
fn the_command_names_the_binary_as_it_was_called() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let binary = env!("CARGO_BIN_EXE_lsync");
    assert_eq!(offers(&mount, &s3, ".", &format!("'{binary}' upload")), format!("{binary} upload --yes"));
    let mut copy = lsync(&mount, &s3, "upload");
    std::os::unix::fs::symlink(&copy.program, mount.home().join("my lsync")).unwrap();
    copy.program = mount.home().join("my lsync");
    let ran = copy.run().expect(5);
    let last = ran.stderr.lines().last().expect("a line");
    assert!(last.starts_with('\'') && last.ends_with("/my lsync' upload --yes"), "{last}");
    in_a_shell(&mount, &s3, last).run().expect(0);
    assert_eq!(s3.keys(), ["a"]);
}

#[test]
fn nothing_is_read_from_a_standard_input_that_is_no_terminal() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    lsync(&mount, &s3, "upload").stdin("y\ny\nyes\n").run().expect(5);
    in_a_shell(&mount, &s3, "lsync upload <&-").run().expect(5);
    assert!(s3.keys().is_empty());
    // Closed, it is no obstacle to a run that asks nothing.
    in_a_shell(&mount, &s3, "lsync upload --yes <&-").run().expect(0);
    in_a_shell(&mount, &s3, "lsync upload <&-").run().expect(0);
    assert_eq!(s3.keys(), ["a"]);
}

/// "EOF or anything but y/yes declines (5)"; Ctrl-C is 130.
#[test]
fn whatever_is_no_yes_changes_nothing() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let answers = [("n\r", 5), ("\r", 5), ("yep\r", 5), ("\u{4}", 5), ("nonsense\u{1b}[A\r", 5), ("\u{3}", 130)];
    for (keys, code) in answers {
        for json in ["", "--json"] {
            let mut pty = Pty::start(&lsync(&mount, &s3, "upload").args(json), 100, 40);
            pty.wait_for("Upload 1 item (1 B)? [y/N]").send(keys);
            assert_eq!(pty.wait(), code, "{keys:?}");
            assert!(pty.screen().contains("nothing was changed"), "{keys:?}:\n{}", pty.screen());
            assert!(!pty.screen().contains("stopping cleanly"), "there is nothing to stop:\n{}", pty.screen());
            let last = pty.screen();
            if !json.is_empty() {
                assert!(last.contains(&format!("\"exit\":{code}")), "{keys:?}:\n{last}");
            }
        }
    }
    assert!(s3.all_keys().is_empty() && !mount.has(".lsync"));
    for yes in ["y\r", "YES\r"] {
        mount.write("a", yes);
        let mut pty = Pty::start(&lsync(&mount, &s3, "upload"), 100, 40);
        pty.wait_for("[y/N]").send(yes);
        assert_eq!(pty.wait(), 0);
    }
}

/// A reader that leaves early (`| head -1`) is no error, no panic, and no reason to leave things half done.
#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let s3 = S3::start();
    let names: Vec<String> = (0..40).map(|n| format!("d/{n:02}")).collect();
    let mount = Mount::new();
    for name in &names {
        mount.write(name, name);
    }
    let lines = [
        ("lsync upload -n -v | head -1", "Upload"),
        ("lsync upload --json | head -1", "{"),
        ("lsync upload --yes --json | head -1", "{"),
        ("lsync status -v | head -1", "Mount"),
        ("lsync status --json | head -1", "{"),
        ("lsync --help | head -1", "Keep working data"),
        ("lsync man | head -1", ""),
        ("lsync completions bash | head -1", "_lsync()"),
    ];
    for (line, first) in lines {
        let ran = in_a_shell(&mount, &s3, line).run().expect(0);
        assert!(ran.stdout.starts_with(first) && ran.stdout.lines().count() <= 1, "{line}: {}", ran.stdout);
        assert!(!ran.stderr.contains("error") && !ran.stderr.contains("panic"), "{line}: {}", ran.stderr);
    }
    assert_eq!(s3.keys(), names, "the upload went on to its end");
}

/// The exit code is the run's, whoever reads: `set -o pipefail` sees it.
#[test]
fn the_exit_code_does_not_depend_on_who_reads() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let closed = |args: &[&str]| {
        let cmd = lsync(&mount, &s3, "");
        let mut command = Command::new(&cmd.program);
        command.args(args).env_clear().envs(&cmd.env).current_dir(mount.root());
        // A pipe whose other end is closed already.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).status().unwrap();
        status.code()
    };
    assert_eq!(closed(&["upload"]), Some(5));
    assert_eq!(closed(&["upload", "--json"]), Some(5));
    assert_eq!(closed(&["status", "--check"]), Some(10));
    assert_eq!(closed(&["upload", "nowhere"]), Some(2));
    assert_eq!(closed(&["upload", "--yes"]), Some(0));
    assert_eq!(s3.keys(), ["a"]);
}

/// A result that could not be kept is a failure: whoever reads the file would take half of it for the whole.
#[test]
fn a_full_disk_behind_stdout_is_told() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    for line in ["status", "status --json", "upload -n", "upload --yes"] {
        let ran = in_a_shell(&mount, &s3, &format!("lsync {line} > /dev/full")).run().expect(1);
        assert!(ran.stderr.contains("cannot write to standard output: No space left on device"), "{line}: {}", ran.stderr);
    }
}
