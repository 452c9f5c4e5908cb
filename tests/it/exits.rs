//! The exit codes and what is printed around them: "a public, tested enum; … when several hold: signal > 1 > 8 > 6 > 3".

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::pty::Pty;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// A mount and a bucket that differ in `conflict`, a problem (3) beside it, and a file that is fine.
fn conflict_and_problem() -> (Mount, S3) {
    let (mount, s3) = (Mount::with(&[("conflict", "mine"), ("inner/.lsync/x", ""), ("fine", "1")]), S3::start());
    s3.put("conflict", "theirs").put("bad//key", "x").put("other", "22");
    (mount, s3)
}

/// An incomplete run says so last, whatever it was.
#[track_caller]
fn incomplete(ran: &Ran) {
    assert!(ran.last_line().starts_with("incomplete: ") && !ran.stdout.contains("complete: files"), "{}", ran.stdout);
}

#[test]
fn a_conflict_tells_more_than_a_problem() {
    let (mount, s3) = conflict_and_problem();
    incomplete(&lsync(&mount, &s3, "upload --yes --exclude conflict").run().expect(3));
    incomplete(&lsync(&mount, &s3, "upload --yes").run().expect(6));
    incomplete(&lsync(&mount, &s3, "download --yes").run().expect(6));
    lsync(&mount, &s3, "download -n").run().expect(6);
    assert_eq!((mount.text("conflict"), s3.content("conflict")), ("mine".into(), b"theirs".to_vec()));
}

#[test]
fn a_digest_that_does_not_match_tells_more_than_a_conflict() {
    let (mount, s3) = conflict_and_problem();
    s3.faults().push(Rule { key_contains: Some("other".into()), times: 9, ..Rule::once("GetObject", Action::FlipByte(0)) });
    let ran = lsync(&mount, &s3, "download --yes").run().expect(8);
    incomplete(&ran);
    assert!(ran.says("does not match its digest") && !mount.has("other"), "{}", ran.stderr);
    let last = lsync(&mount, &s3, "download --yes --json").run().expect(8).json().pop().expect("a line");
    assert_eq!((&last["type"], &last["exit"], &last["complete"]), (&"summary".into(), &8.into(), &false.into()));
    s3.faults().clear();
    lsync(&mount, &s3, "download --yes").run().expect(6);
}

#[test]
fn a_signal_tells_more_than_everything() {
    let (mount, s3) = conflict_and_problem();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        mount.write("fine", format!("{code}"));
        s3.faults()
            .push(Rule { key_contains: Some("fine".into()), ..Rule::once("PutObject", Action::Delay(std::time::Duration::from_secs(5))) });
        let running = lsync(&mount, &s3, "upload --yes --json").start();
        while s3.faults().pending() > 0 {
            std::thread::yield_now();
        }
        running.signal(signal);
        let ran = running.wait().expect(code);
        let last = ran.json().pop().expect("a line");
        assert_eq!((&last["type"], &last["exit"], &last["complete"]), (&"summary".into(), &code.into(), &false.into()));
    }
    lsync(&mount, &s3, "upload --yes").run().expect(6);
}

#[test]
fn a_signal_does_not_wait_for_a_store_that_is_slow() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    s3.faults().push(Rule::once("ListObjectsV2", Action::Delay(std::time::Duration::from_secs(50))));
    let running = lsync(&mount, &s3, "upload --yes").start();
    while s3.faults().pending() > 0 {
        std::thread::yield_now();
    }
    let asked = std::time::Instant::now();
    running.signal(Signal::TERM);
    running.wait().expect(143);
    assert!(asked.elapsed().as_secs() < 20);
    assert!(s3.all_keys().is_empty());
}

#[test]
fn status_check_looks_in_the_direction_that_it_is_told() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let check = |any: i32, upload: i32, download: i32| {
        for (flag, code) in [("--check", any), ("--check=any", any), ("--check=upload", upload), ("--check=download", download)] {
            let ran = lsync(&mount, &s3, "status").args(flag).run();
            assert_eq!(ran.code, code, "{flag}\n{}", ran.stdout);
            let json = lsync(&mount, &s3, "status --json").args(flag).run().expect(code).json().pop().expect("a line");
            assert_eq!((&json["type"], &json["exit"]), (&"summary".into(), &code.into()), "{flag}");
        }
        lsync(&mount, &s3, "status").run().expect(0);
    };
    check(10, 10, 0);
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    check(0, 0, 0);
    s3.put("b", "2");
    check(10, 0, 10);
    lsync(&mount, &s3, "download --yes").run().expect(0);
    check(0, 0, 0);
    // Only attributes.
    mount.mode("a", 0o600);
    check(10, 10, 0);
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    // "a different mtime is no difference, starts no transfer, no publication, no exit 10."
    mount.mtime("a", 1_700_000_000_000_000_000);
    check(0, 0, 0);
    // Newer there: this direction has nothing to send.
    s3.put("a", "theirs");
    check(10, 0, 10);
    // A conflict, and a problem, are found in both.
    mount.write("a", "mine too");
    check(10, 10, 10);
    lsync(&mount, &s3, "upload --yes --overwrite").run().expect(0);
    check(0, 0, 0);
    s3.put("bad//key", "x");
    check(10, 10, 10);
}

/// "Last stdout line, also with `-q`"; `-q`: only the result and errors.
#[test]
fn quiet_prints_the_last_line_alone() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let quiet = |line: &str, code: i32| {
        let ran = lsync(&mount, &s3, line).args("-q").run().expect(code);
        assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{line}: {}", ran.stdout);
        ran.stdout
    };
    assert!(quiet("upload --yes", 0).starts_with("complete: files=1 "));
    assert!(quiet("upload --yes", 0).starts_with("complete: files=1 "));
    assert!(quiet("download", 0).starts_with("complete: files=1 "));
    assert!(quiet("status", 0).contains("in sync"));
    mount.write("b", "2");
    assert!(quiet("status --check=upload", 10).starts_with("not in sync: 1 item to upload"));
    // Of a plan that is not carried out: what it would do, in the last line.
    assert_eq!(quiet("upload -n", 0), "dry run: nothing was changed; to do: upload 1 item (1 B)\n");
    let ran = lsync(&mount, &s3, "upload -q").run().expect(5);
    assert_eq!(ran.stdout, "incomplete: not confirmed, nothing was changed; to do: upload 1 item (1 B)\n");
    assert!(ran.stderr.lines().last().is_some_and(|line| line.ends_with("lsync upload --yes")), "{}", ran.stderr);
    // What went wrong is no noise: it is named, and the line comes last.
    s3.put("bad//key", "x").put("a", "theirs");
    mount.write("a", "mine too");
    let ran = lsync(&mount, &s3, "upload --yes -q").run().expect(6);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    incomplete(&ran);
    assert!(ran.says("bad//key: ") && ran.says("--overwrite a"), "{}", ran.stderr);
    mount.write("c", "3");
    let ran = lsync(&mount, &s3, "upload -n -q").run().expect(6);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    assert!(ran.says("bad//key: ") && ran.says("Conflicts (changed on both sides)"), "{}", ran.stderr);
    let ran = lsync(&mount, &s3, "upload --yes -q nowhere").run().expect(2);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("error: nowhere is neither"), "{}", ran.stderr);
}

#[test]
fn verbose_names_every_item() {
    let (mount, s3) = (Mount::new(), S3::start());
    let names: Vec<String> = (0..12).map(|n| format!("file-{n:02}")).collect();
    for name in &names {
        mount.write(name, name);
    }
    for n in 0..12 {
        s3.put(&format!("bad-{n:02}//x"), "x");
    }
    let few = lsync(&mount, &s3, "upload -n").run().expect(3);
    assert!(!names.iter().all(|name| few.says(name)) && few.says("more (-v"), "{}", few.stdout);
    let all = lsync(&mount, &s3, "upload -n -v").run().expect(3);
    assert!(names.iter().all(|name| all.says(name)) && (0..12).all(|n| all.says(&format!("bad-{n:02}//x: "))), "{}", all.stdout);
}

/// "`NO_COLOR` is honoured; no animation when stderr is not a terminal."
#[test]
fn colour_goes_to_terminals_unless_it_is_forbidden() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let escapes = |ran: &Ran| ran.stdout.contains('\u{1b}') || ran.stderr.contains('\u{1b}');
    for line in ["status", "upload -n", "upload", "status nowhere", "status --color never", "upload -n --color=auto"] {
        assert!(!escapes(&lsync(&mount, &s3, line).run()), "{line}");
    }
    assert!(escapes(&lsync(&mount, &s3, "upload -n --color always").run()));
    assert!(escapes(&lsync(&mount, &s3, "--color always upload -n").env("NO_COLOR", "1").run()), "a flag beats the variable");
    let last = lsync(&mount, &s3, "status --json --color always").run().expect(0).json().pop().expect("a line");
    assert_eq!(last["type"], "summary");
    let colours = |cmd: &Cmd| {
        let mut pty = Pty::start(cmd, 100, 40);
        pty.wait_for("[y/N]").send("n\r");
        assert_eq!(pty.wait(), 5);
        // Bold, dim and the colours; not the movements of bars.
        pty.raw().split("\u{1b}[").skip(1).any(|rest| {
            let code: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ';').collect();
            rest[code.len()..].starts_with('m') && code != "0" && !code.is_empty()
        })
    };
    let upload = lsync(&mount, &s3, "upload");
    assert!(colours(&upload));
    assert!(!colours(&upload.clone().env("NO_COLOR", "1")));
    assert!(!colours(&upload.clone().args("--color never")));
}
