//! What a person at a terminal sees: one screen, one question, bars that come and go. Also on 80 columns.

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::pty::Pty;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, args: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(args)
}

/// A mount whose names are hard to show.
fn hard() -> Mount {
    let long = "a directory with a rather long name/日本語の名前のディレクトリ/another one/checkpoint-of-epoch-0042.pt";
    Mount::with(&[(long, "12345"), ("esc\u{1b}[31m", "1"), ("notes.md", "# hello\n"), (".venv/lib", "x"), ("__pycache__/y", "y")])
}

/// "one screen: direction with both ends and the endpoint, what the bucket holds now …; then one question, default No."
#[test]
fn one_screen_says_all_that_matters_and_only_yes_goes_on() {
    let (s3, mount) = (S3::start(), hard());
    for answer in ["n\r", "\r"] {
        let mut pty = Pty::start(&lsync(&mount, &s3, "upload"), 80, 40);
        pty.wait_for("Upload 3 items (14 B)? [y/N]");
        let screen = pty.screen();
        for shown in [
            "from ",
            "to        s3://lsync-test",
            "endpoint  http://127.0.0.1:",
            "The bucket holds nothing yet.",
            "Largest to upload:",
            "new      3  14 B",
            "ignored  2   2 B   .venv/, __pycache__/",
            "Nothing is deleted or overwritten.",
            "Estimated time: 1 s",
        ] {
            assert!(screen.contains(shown), "{shown}:\n{screen}");
        }
        assert!(pty.wrapped().is_empty() && !screen.contains('\u{1b}'), "{:?}\n{screen}", pty.wrapped());
        pty.send(answer);
        assert_eq!(pty.wait(), 5, "{answer:?}");
        assert!(pty.screen().contains("incomplete: not confirmed, nothing was changed") && s3.all_keys().is_empty());
    }
    let mut pty = Pty::start(&lsync(&mount, &s3, "upload"), 80, 40);
    pty.wait_for("[y/N]").send("y\r");
    assert_eq!(pty.wait(), 0);
    assert!(pty.screen().contains("Uploaded 3 items, 14 B in 1 s.\ncomplete: files=3 bytes=14"), "{}", pty.screen());
    assert_eq!(s3.keys().len(), 3);
}

/// A download also says what is free, and what is lost where.
#[test]
fn a_download_says_what_is_free_and_where_the_old_files_go() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1"), ("b", "2")]));
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    s3.put("a", "newer");
    let mut pty = Pty::start(&lsync(&mount, &s3, "download"), 80, 40);
    pty.wait_for("Download 1 item (5 B)? [y/N]");
    let screen = pty.screen();
    for shown in
        ["by ", "changed    1  5 B", "in the mount: replaced.", "go to .lsync/trash/", "The mount has ", " free, and 5 B are needed."]
    {
        assert!(screen.contains(shown), "{shown}:\n{screen}");
    }
    pty.send("n\r");
    assert_eq!((pty.wait(), mount.text("a").as_str()), (5, "1"));
}

/// "bars on a terminal (…, transfer with bytes/s and an ETA …, the current large files)"; nothing of them is left at the end.
#[test]
fn bars_show_on_a_terminal_and_are_gone_at_the_end() {
    let (s3, mount) = (S3::start(), hard());
    mount.write("large.bin", noise(25 << 20));
    for command in ["upload", "download"] {
        let verb = if command == "upload" { "Uploading" } else { "Downloading" };
        let mut pty = Pty::start(&lsync(&mount, &s3, &format!("{command} --yes --bwlimit 16M")), 80, 40);
        pty.wait_for(verb).wait_for("%  of   25.0 MiB  large.bin").wait_for(" left");
        assert!(
            pty.screen().contains("of 25.0 MiB") && pty.screen().contains(" of 4 items") || pty.screen().contains(" of 1 item"),
            "{}",
            pty.screen()
        );
        assert!(pty.wrapped().is_empty(), "{:?}", pty.wrapped());
        assert_eq!(pty.wait(), 0);
        let screen = pty.screen();
        assert!(!screen.contains(verb) && !screen.contains("%  of") && !screen.contains(" left"), "{screen}");
        assert!(pty.wrapped().iter().all(|row| row.starts_with("complete:")), "{:?}", pty.wrapped());
        mount.remove("large.bin");
    }
}

/// Ctrl-C while bars move: one line says that it was heard, no bar is left behind.
#[test]
fn ctrl_c_leaves_no_bar_behind() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("large.bin", noise(40 << 20));
    s3.faults().push(Rule { key_contains: Some("large.bin".into()), skip: 2, times: 9, ..Rule::once("UploadPart", Action::Hold) });
    let mut pty = Pty::start(&lsync(&mount, &s3, "upload --yes"), 80, 24);
    pty.wait_for("%  of   40.0 MiB  large.bin").send("\u{3}").wait_for("stopping cleanly; a second Ctrl-C stops at once");
    assert_eq!(pty.wait(), 130);
    let screen = pty.screen();
    assert!(!screen.contains("Uploading") && !screen.contains("Stopping") && !screen.contains("%  of"), "{screen}");
    assert!(screen.ends_with("incomplete: interrupted with 1 item left; the same command goes on from here"), "{screen}");
}

/// "no animation when stderr is not a terminal"; `--no-progress`, `-q` and TERM=dumb have none either.
#[test]
fn there_is_no_animation_where_none_is_wanted() {
    let (s3, mount) = (S3::start(), hard());
    let quiet = ["upload --yes --no-progress", "upload --yes -q", "upload --yes --json"];
    for (n, args) in quiet.into_iter().enumerate() {
        mount.write("changes", format!("{n}"));
        let mut pty = Pty::start(&lsync(&mount, &s3, args), 80, 40);
        assert_eq!(pty.wait(), 0);
        assert!(!pty.raw().contains("\u{1b}[2K") && !pty.raw().contains("Looking"), "{args}: {:?}", pty.raw());
    }
    mount.write("changes", "again");
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(0);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\r') && !ran.stderr.contains("Looking"), "{:?}", ran.stderr);
}

/// "`NO_COLOR` is honoured"; `--color always` colours also what is no terminal.
#[test]
fn colour_is_there_when_it_is_wanted() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let bold = "\u{1b}[1mUpload\u{1b}[0m";
    let plan = |args: &str| lsync(&mount, &s3, "upload --dry-run").args(args);
    assert!(plan("--color always").run().expect(0).stdout.starts_with(bold));
    assert!(plan("").run().expect(0).stdout.starts_with("Upload\n"));
    let on_terminal = |cmd: &Cmd| {
        let mut pty = Pty::start(cmd, 80, 24);
        assert_eq!(pty.wait(), 0);
        pty.raw().contains(bold)
    };
    assert!(on_terminal(&plan("")));
    assert!(!on_terminal(&plan("").env("NO_COLOR", "1")) && !on_terminal(&plan("--color never")));
}
