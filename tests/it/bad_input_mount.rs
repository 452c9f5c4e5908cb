//! What a mount gets that is empty, gone, half readable, or not one mount alone: nothing is deleted, nothing is called complete that is
//! not, and the message says what to look at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::pty::Pty;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// A mount and a bucket that agree on `a` and `d/b`.
fn synced() -> (Mount, S3) {
    let (mount, s3) = (Mount::with(&[("a", "1"), ("d/b", "22")]), S3::start());
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    (mount, s3)
}

/// Takes the mount away, as an unmounted filesystem goes: its place is there, with nothing in it.
fn unmount(mount: &Mount) {
    fs::rename(mount.root(), mount.mounts().join("away")).expect("the test's own directory");
    fs::create_dir(mount.root()).expect("the test's own directory");
}

/// "A source without any entry deletes nothing (5)", and after "complete" they destroy the machine: an upload of nothing is none.
#[track_caller]
fn refuses(mount: &Mount, s3: &S3) {
    let before = s3.all_keys();
    let lines = ["upload --yes", "upload -n", "upload -q --yes", "upload --yes --overwrite", "upload"];
    for line in lines.into_iter().chain(["upload --yes --delete --max-delete 100%", "upload --delete -n", "upload --delete"]) {
        let ran = lsync(mount, s3, line).run().expect(5);
        let said = format!("error: the mount {} has no entry at all", mount.root().display());
        assert!(ran.says(&said) && ran.says("hint: is it mounted"), "{}", ran.stderr);
        assert!(ran.says("s3://lsync-test holds 2 items: nothing was sent or deleted"), "{}", ran.stderr);
        assert!(ran.says("`lsync download` brings what the bucket holds"), "{}", ran.stderr);
        assert!(!ran.says("--max-delete") && !ran.says("complete:"), "{}\n{}", ran.stdout, ran.stderr);
        let last = lsync(mount, s3, line).args("--json").run().expect(5).json().pop().expect("a line");
        assert_eq!((&last["type"], &last["exit"]), (&"error".into(), &5.into()));
    }
    assert_eq!(s3.all_keys(), before);
    let told = "the mount has no entry at all, so an upload is refused: is it mounted?";
    for (check, code) in [("--check", 10), ("--check=upload", 10), ("--check=upload -q", 10), ("--check=download", 10), ("", 0)] {
        assert!(lsync(mount, s3, "status").args(check).run().expect(code).says(told), "{check}");
    }
    let lines = lsync(mount, s3, "status --check=upload --json").run().expect(10).json();
    assert!(lines.iter().any(|line| line["type"] == "warning" && line["message"] == told), "{lines:?}");
    assert_eq!(lines.last().map(|last| last["complete"].clone()), Some(false.into()));
}

/// Broken clocks and archives make such times, and file systems keep them for longer than nanoseconds in 64 bits reach.
#[test]
fn times_of_other_centuries_are_kept() {
    let (mount, s3) = (Mount::new(), S3::start());
    let times: [(&str, i64); 4] = [("far", 10_413_792_000), ("last", 9_223_372_036), ("old", -2_000_000_000), ("near", 1_700_000_000)];
    let set = |path: &str, seconds: i64| {
        mount.write(path, path);
        let (after, before) = (u64::try_from(seconds).unwrap_or(0), seconds.min(0).unsigned_abs());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(after) - Duration::from_secs(before);
        fs::File::options().write(true).open(mount.path(path)).and_then(|file| file.set_modified(time)).expect("a time");
    };
    times.iter().for_each(|(path, seconds)| set(path, *seconds));
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    let other = Mount::new();
    let ran = lsync(&other, &s3, "download --yes").run().expect(0);
    assert!(!ran.says("modification time"), "{}", ran.stderr);
    let time = |mount: &Mount, path: &str| fs::metadata(mount.path(path)).map(|about| about.mtime()).expect("a time");
    for (path, _) in times {
        assert_eq!(time(&mount, path), time(&other, path), "{path}");
    }
    lsync(&mount, &s3, "status --check").run().expect(0);
    // A clock that is beyond all is told; the rest goes on. Only some file systems keep such a time.
    set("beyond", 4_000_000_000_000);
    if time(&mount, "beyond") == 4_000_000_000_000 {
        let ran = lsync(&mount, &s3, "upload --yes").run().expect(3);
        assert!(ran.says("its modification time is tens of thousands of years away"), "{}", ran.stderr);
    }
}

#[test]
fn an_emptied_mount_deletes_nothing() {
    let (mount, s3) = synced();
    mount.remove("a").remove("d");
    refuses(&mount, &s3);
    // A directory without a file is an entry; then what was deleted goes, within the limit.
    mount.dir("kept");
    lsync(&mount, &s3, "upload --yes --delete").run().expect(5);
    lsync(&mount, &s3, "upload --yes --delete --max-delete 2").run().expect(0);
    assert!(s3.keys().is_empty());
}

/// A directory that was removed is no unmounted mount: naming it deletes what it held.
#[test]
fn a_path_that_was_emptied_deletes_what_it_held_while_the_mount_holds_more() {
    let (mount, s3) = synced();
    let there = Mount::new();
    lsync(&there, &s3, "download --yes").run().expect(0);
    mount.remove("d");
    lsync(&mount, &s3, "upload --yes --delete --max-delete 1 d").run().expect(0);
    assert_eq!(s3.keys(), ["a"]);
    lsync(&there, &s3, "download --yes --delete --max-delete 1 d").run().expect(0);
    assert!(there.has("a") && !there.has("d"));
    mount.remove("a");
    lsync(&mount, &s3, "upload --yes --delete --max-delete 1 a").run().expect(5);
    assert_eq!(s3.keys(), ["a"]);
}

#[test]
fn an_unmounted_mount_deletes_nothing_and_says_so() {
    let (mount, s3) = synced();
    unmount(&mount);
    refuses(&mount, &s3);
    // Not by a PATH or a pattern either: nothing shows that this is the mount.
    for line in ["upload --yes d", "upload --yes --include *b", "upload --yes --delete a"] {
        assert!(lsync(&mount, &s3, line).run().expect(5).says("has no entry at all"), "{line}");
    }
    // Keys that were put there since show nothing.
    mount.write("sync.toml", "[remote]\nbucket = \"lsync-test\"\n").mode("sync.toml", 0o600);
    refuses(&mount, &s3);
    lsync(&mount, &s3, "upload --yes d").run().expect(5);
    lsync(&mount, &s3, "download --yes").run().expect(0);
    assert_eq!(mount.text("d/b"), "22");
}

/// What does not travel is no entry: all that the bucket holds is missing here.
#[test]
fn a_mount_that_holds_only_what_is_ignored_is_refused_too() {
    let (mount, s3) = synced();
    mount.remove("a").remove("d").write(".venv/x", "1").write("note.log", "2");
    let ran = lsync(&mount, &s3, "upload --yes").env("LSYNC_JOBS", "2").args("--exclude *.log").run().expect(0);
    assert!(ran.last_line().starts_with("complete for what the filters let through: files=0 "), "a mount that holds something: {ran:?}");
    mount.write(".syncignore", "*.log\n.syncignore\n");
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(5);
    assert!(ran.says("has no entry at all beside 3 ignored files, and s3://lsync-test holds 2 items"), "{}", ran.stderr);
    // What is ignored is out of scope on the other side as well: then there is nothing to miss.
    mount.write(".syncignore", "*\n");
    assert!(lsync(&mount, &s3, "upload --yes").run().expect(0).last_line().starts_with("complete: files=0 "));
    lsync(&mount, &s3, "status --check").run().expect(0);
    // What cannot be read is something.
    mount.remove(".syncignore").remove("note.log").write("inner/.lsync/x", "");
    lsync(&mount, &s3, "upload --yes").run().expect(3);
    lsync(&mount, &s3, "upload --yes --delete").run().expect(5);
    assert_eq!(s3.keys(), ["a", "d/b"]);
}

/// Both sides lost everything: perhaps on purpose. What was synced is remembered, and the way on ends it.
#[test]
fn a_mount_that_is_empty_and_so_is_the_bucket() {
    let (mount, s3) = (Mount::new(), S3::start());
    assert!(lsync(&mount, &s3, "upload --yes").run().expect(0).last_line().starts_with("complete: files=0 "), "both are empty");
    lsync(&mount, &s3, "status --check").run().expect(10);
    lsync(&mount, &s3, "status --check=upload").run().expect(0);
    mount.write("a", "1");
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    mount.remove("a");
    s3.remove(&s3.store.bucket, "a").expect("the bucket is there");
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(5);
    assert!(ran.says("what was synced with s3://lsync-test before is in neither"), "{}", ran.stderr);
    assert!(ran.says("remove .lsync/ in the mount and in the bucket"), "{}", ran.stderr);
    lsync(&mount, &s3, "status --check=upload").run().expect(10);
    for key in s3.all_keys() {
        s3.remove(&s3.store.bucket, &key).expect("the bucket is there");
    }
    lsync(&mount, &s3, "upload --yes").run().expect(5);
    mount.remove(".lsync");
    lsync(&mount, &s3, "upload --yes").run().expect(0);
}

#[test]
fn an_emptied_bucket_deletes_nothing() {
    let (mount, s3) = synced();
    let empty = S3::start();
    let ran = lsync(&mount, &empty, "download --yes").run().expect(0);
    assert!(ran.says("s3://lsync-test is empty and the mount is not: are `bucket` and `prefix` right?"), "{}", ran.stderr);
    // Nobody shall read it as "my files are safe": not in words, not for a guard, not quietly.
    assert!(ran.says("Nothing of the 2 items in the mount is there"), "{}", ran.stderr);
    assert!(ran.last_line().starts_with("complete: files=0 bytes=0 "), "{}", ran.stdout);
    assert!(lsync(&mount, &empty, "download --yes -q").run().expect(0).says("Nothing of the 2 items in the mount is there"));
    lsync(&mount, &empty, "status --check=upload").run().expect(10);
    lsync(&mount, &empty, "download --yes --include *b").run().expect(0);
    let ran = lsync(&mount, &empty, "download --yes --delete").run().expect(5);
    assert!(ran.stderr.contains("error: the bucket has no entry at all"), "{}", ran.stderr);
    assert_eq!((mount.text("a"), mount.text("d/b")), ("1".into(), "22".into()));
    assert_eq!(s3.keys(), ["a", "d/b"]);
}

#[test]
fn a_root_that_is_not_there() {
    let (mount, s3) = synced();
    let mut cmd = lsync(&mount, &s3, "upload --yes --delete --root").arg(mount.root());
    cmd.current_dir = mount.home();
    fs::rename(mount.root(), mount.mounts().join("away")).unwrap();
    let ran = cmd.run().expect(2);
    assert!(ran.stderr.contains("error: --root names ") && ran.stderr.contains("check that it is mounted"), "{}", ran.stderr);
    fs::write(mount.root(), "a file").unwrap();
    assert!(cmd.run().expect(2).stderr.contains("which is not a directory"));
    assert_eq!(s3.keys(), ["a", "d/b"]);
}

/// The confirmed plan is carried out on the mount that it was made for, or not at all.
#[test]
fn a_mount_that_vanishes_at_the_question() {
    let (mount, s3) = synced();
    mount.remove("a").write("c", "333");
    let mut pty = Pty::start(&lsync(&mount, &s3, "upload --delete"), 100, 40);
    pty.wait_for("[y/N]");
    unmount(&mount);
    pty.send("y\r");
    assert_eq!(pty.wait(), 1);
    let screen = pty.screen().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(screen.contains("lost the mount") && screen.contains("was it unmounted?"), "{screen}");
    assert!(!pty.screen().contains("complete:"), "{}", pty.screen());
    assert_eq!(s3.keys(), ["a", "d/b"]);
}

#[test]
fn a_mount_that_vanishes_while_files_are_sent() {
    for command in ["upload", "download"] {
        let (mount, s3) = synced();
        for n in 0..3 {
            mount.write(&format!("new/{n}"), format!("here {n}"));
        }
        for n in 0..3 {
            s3.put(&format!("other/{n}"), "xyz");
        }
        let operation = if command == "upload" { "PutObject" } else { "GetObject" };
        let part = if command == "upload" { "new/" } else { "other/" };
        let slow = Action::Delay(std::time::Duration::from_millis(300));
        s3.faults().push(Rule { skip: 1, times: 2, key_contains: Some(part.into()), ..Rule::once(operation, slow) });
        let running = lsync(&mount, &s3, command).args("--yes -j 1").start();
        // The second one is under way, so the first is done.
        while s3.faults().pending() > 1 {
            std::thread::yield_now();
        }
        unmount(&mount);
        let ran = running.wait().expect(1);
        assert!(ran.stderr.contains("lost the mount") && ran.stderr.contains("hint: check that it is mounted"), "{}", ran.stderr);
        assert!(ran.last_line().starts_with("incomplete: "), "{}", ran.stdout);
        assert!(s3.keys().iter().any(|key| key == "a") && mount.tree().is_empty(), "nothing is written to what stands there now");
        assert!(!mount.has(".lsync"));
        // When it is back, the same command goes on.
        fs::remove_dir(mount.root()).unwrap();
        fs::rename(mount.mounts().join("away"), mount.root()).unwrap();
        lsync(&mount, &s3, command).args("--yes").run().expect(0);
    }
}

/// The same command as another user, who has no rights; as itself where the tests are not root's.
fn as_nobody(cmd: &Cmd, mount: &Mount) -> Cmd {
    let mut cmd = cmd.clone();
    if !rustix::process::geteuid().is_root() {
        return cmd;
    }
    for dir in [mount.mounts().parent().expect("the test's own directory").to_owned(), mount.mounts(), mount.home()] {
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("the test's own directory");
    }
    give(mount.root());
    // The binary may lie where nobody else may go.
    let binary = mount.home().join("lsync");
    if !binary.exists() && fs::hard_link(&cmd.program, &binary).is_err() {
        fs::copy(&cmd.program, &binary).expect("the test's own directory");
    }
    cmd.program = "setpriv".into();
    let mut args: Vec<std::ffi::OsString> = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"].map(Into::into).into();
    args.push(binary.into());
    args.append(&mut cmd.args);
    cmd.args = args;
    cmd
}

/// Hands everything over, as it is.
fn give(dir: &Path) {
    for entry in walkdir::WalkDir::new(dir) {
        std::os::unix::fs::lchown(entry.expect("the test's own directory").path(), Some(65534), Some(65534))
            .expect("the test's own directory");
    }
}

#[track_caller]
fn told(ran: &Ran, name: &str) {
    assert!(ran.says(&format!("{name}: it cannot be read: Permission denied")), "{name} in\n{}", ran.stderr);
    assert!(ran.says(&format!("--exclude /{name}")) || ran.says(&format!("--exclude '/{name}'")), "{name} in\n{}", ran.stderr);
}

#[test]
fn a_file_and_a_directory_without_read_permission() {
    let (mount, s3) = (Mount::with(&[("fine", "1"), ("secret", "2"), ("closed/x", "3"), ("old", "4")]), S3::start());
    let run = |line: &str| as_nobody(&lsync(&mount, &s3, line), &mount).run();
    run("upload --yes").expect(0);
    // New and without a counterpart; known, and changed by nobody knows what; a directory.
    mount.write("new", "55").mode("new", 0).write("old", "6").mode("old", 0).mode("closed", 0);
    let before = s3.keys();
    for line in ["upload --yes", "upload --yes --delete", "upload --yes --overwrite"] {
        let ran = run(line).expect(3);
        ["new", "old", "closed"].iter().for_each(|name| told(&ran, name));
        assert!(ran.last_line().starts_with("incomplete: "), "{}", ran.stdout);
        assert_eq!(s3.keys(), before, "what cannot be read is neither absent nor equal");
    }
    assert!(run("upload -n").expect(3).says("problems 3"), "the plan says so already");
    told(&run("upload -n closed/x").expect(3), "closed");
    run("status --check=upload").expect(10);
    let accepted = run("upload --yes --exclude /new --exclude /old --exclude /closed").expect(0);
    assert!(accepted.last_line().starts_with("complete for what the filters let through: files=2 "), "{}", accepted.stdout);
    // Nothing is put in their place either.
    s3.put("new", "bucket").put("closed/x", "bucket").put("old", "bucket");
    run("download --yes --overwrite --delete").expect(3);
    mount.mode("closed", 0o755);
    assert_eq!((mount.text("closed/x"), fs::metadata(mount.path("new")).unwrap().len()), ("3".into(), 2));
}

#[test]
fn a_mount_that_may_not_be_written() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    s3.put("b", "2");
    mount.mode("", 0o555);
    let run = |line: &str| as_nobody(&lsync(&mount, &s3, line), &mount).run();
    run("status").expect(0);
    run("download -n").expect(0);
    let ran = run("download --yes").expect(1);
    assert!(ran.stderr.contains("cannot create .lsync") && ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: this command must be able to write to .lsync/"), "{}", ran.stderr);
    let ran = run("upload --yes").expect(0);
    assert!(ran.stderr.contains("warning: lsync cannot write its state") && ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    mount.mode("", 0o755);
    assert_eq!((mount.tree().len(), s3.keys()), (1, vec!["a".to_owned(), "b".to_owned()]));
}

/// "a nested mount is a problem that names the exclude line"; a mount of lsync's own within another one.
#[test]
fn a_mount_in_a_mount_is_not_entered() {
    let (mount, s3) = (Mount::with(&[("fine", "1"), ("inner/x", "2"), ("inner/.lsync/base", "state")]), S3::start());
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(3);
    assert!(ran.says("inner: it is a mount of lsync itself (it holds .lsync/) and is not entered"), "{}", ran.stderr);
    assert!(ran.says("--exclude '/inner'") || ran.says("--exclude /inner"), "{}", ran.stderr);
    assert_eq!(s3.keys(), ["fine"]);
    lsync(&mount, &s3, "upload --yes --exclude /inner").run().expect(0);
    s3.put("inner/x", "of the bucket").put("inner/y", "of the bucket");
    lsync(&mount, &s3, "download --yes --overwrite --delete").run().expect(3);
    assert_eq!((mount.text("inner/x").as_str(), mount.has("inner/y")), ("2", false));
}

/// "This process's own stdout and stderr files are ignored with a notice."
#[test]
fn its_own_output_in_the_mount_does_not_travel() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let mut cmd = lsync(&mount, &s3, "");
    let script = format!("mkdir logs; '{}' upload --yes -v > logs/out.txt 2> logs/err.txt", cmd.program.display());
    cmd.program = "/bin/sh".into();
    cmd.args("-c").arg(script).run().expect(0);
    assert_eq!(s3.keys(), ["a"]);
    assert!(mount.text("logs/out.txt").contains("complete: files=1 "));
    let err = mount.text("logs/err.txt");
    for name in ["logs/out.txt", "logs/err.txt"] {
        assert!(err.contains(&format!("note: {name} is this command's own output and does not travel")), "{err}");
    }
    // A later run, whose output they are not, takes them.
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    assert_eq!(s3.keys(), ["a", "logs/err.txt", "logs/out.txt"]);
}
