//! What a user may mount in a namespace of its own: memory, and directories that are there already.

use super::Mounted;
use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// "The walk never crosses into another device".
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn another_filesystem_in_the_mount_is_not_entered() {
    let (mount, s3) = (Mount::with(&[("fine", "1")]), S3::start());
    mount.dir("other");
    let _memory = Mounted::at(&mount.path("other"), "-t tmpfs none");
    mount.write("other/x", "2");
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(3);
    assert!(ran.says("other: another file system is mounted there, which is not entered"), "{}", ran.stderr);
    assert!(ran.says("--exclude '/other'") || ran.says("--exclude /other"), "{}", ran.stderr);
    assert_eq!(s3.keys(), ["fine"]);
    lsync(&mount, &s3, "upload --yes --exclude /other").run().expect(0);
    s3.put("other/x", "of the bucket").put("other/y", "of the bucket");
    lsync(&mount, &s3, "download --yes --overwrite --delete").run().expect(3);
    assert_eq!((mount.text("other/x").as_str(), mount.has("other/y")), ("2", false));
}

/// "12 | not enough space".
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_mount_that_runs_full_loses_nothing_and_a_rerun_goes_on() {
    let (s3, mount) = (S3::start(), Mount::new());
    let memory = Mounted::at(mount.root(), "-t tmpfs -o size=2m none");
    mount.write("kept", "old\n");
    // So small that they fit by their bytes, so many that they do not by what they take.
    for n in 0..700 {
        s3.put(&format!("data/{n:03}"), format!("{n}"));
    }
    s3.put("kept", "new");
    let ran = lsync(&mount, &s3, "download --yes").run().expect(12);
    assert!(ran.stderr.contains("not enough space") && ran.last_line().starts_with("incomplete: "), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(mount.text("kept"), "old\n");
    for node in mount.tree().iter().filter(|node| node.kind == "file" && node.path != "kept") {
        assert_eq!(mount.text(&node.path), node.path["data/".len()..].parse::<u32>().expect("a number").to_string(), "no half file");
    }
    assert_eq!(std::fs::read_dir(mount.path(".lsync/tmp")).map_or(0, Iterator::count), 0);
    memory.again("-t tmpfs -o remount,size=64m none");
    let ran = lsync(&mount, &s3, "download --yes").run().expect(6);
    assert!(ran.last_line().starts_with("incomplete: 1 in conflict"), "{}", ran.stdout);
    assert_eq!(mount.tree().iter().filter(|node| node.path.starts_with("data/")).count(), 700);
}

/// Before anything is changed.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_download_that_cannot_fit_is_refused() {
    let (s3, mount) = (S3::start(), Mount::new());
    let memory = Mounted::at(mount.root(), "-t tmpfs -o size=2m none");
    s3.put("large", noise(3 << 20)).put("small", "x");
    let ran = lsync(&mount, &s3, "download --yes").run().expect(12);
    assert!(ran.stderr.contains("error: the download needs 3.0 MiB, and the mount has"), "{}", ran.stderr);
    assert!(mount.tree().is_empty());
    memory.again("-t tmpfs -o remount,size=64m none");
    lsync(&mount, &s3, "download --yes").run().expect(0);
    assert!(std::fs::read(mount.path("large")).expect("a file") == noise(3 << 20));
}

/// What a part file holds already needs no room a second time.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_large_download_that_was_cut_short_goes_on_where_it_would_not_fit_twice() {
    let (s3, mount) = (S3::start(), Mount::new());
    let _memory = Mounted::at(mount.root(), "-t tmpfs -o size=44m none");
    s3.put("large", noise(32 << 20));
    s3.faults().push(Rule { skip: 2, ..Rule::once("GetObject", Action::Status(403, "AccessDenied")) });
    lsync(&mount, &s3, "download --yes -j 1").run().expect(4);
    let space = rustix::fs::statvfs(mount.root()).expect("it is mounted");
    assert!(space.f_bavail * space.f_frsize < 32 << 20, "the parts that came lie there");
    lsync(&mount, &s3, "download --yes -j 1").run().expect(0);
    assert!(std::fs::read(mount.path("large")).expect("a file") == noise(32 << 20));
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_mount_that_is_read_only_is_looked_at_and_not_touched() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1"), ("old", "1")]));
    for known in [false, true] {
        s3.put("b", format!("{known}"));
        mount.write(&format!("new, {known}"), "1");
        let before = (mount.tree(), s3.keys());
        let read_only = Mounted::at(mount.root(), &format!("--bind {}", mount.root().display()));
        read_only.again("-o remount,bind,ro");
        lsync(&mount, &s3, "status").run().expect(0);
        lsync(&mount, &s3, "download -n").run().expect(0);
        let ran = lsync(&mount, &s3, "download --yes").run().expect(1);
        assert!(ran.stderr.contains(".lsync") && ran.stderr.contains("Read-only file system"), "{}", ran.stderr);
        assert!(ran.stderr.contains("\nhint: ") && ran.stdout.is_empty(), "{}{}", ran.stdout, ran.stderr);
        assert_eq!((mount.tree(), s3.keys()), before);
        // This is the moment to bring the data to safety.
        let ran = lsync(&mount, &s3, "upload --yes").run().expect(0);
        assert!(ran.says("lsync cannot write its state to this directory"), "{}", ran.stderr);
        assert_eq!((mount.tree(), s3.keys().contains(&format!("new, {known}"))), (before.0, true));
        drop(read_only);
        // It may be written again: the same commands go on.
        lsync(&mount, &s3, "upload --yes").run().expect(0);
        lsync(&mount, &s3, "download --yes").run().expect(0);
        assert_eq!(mount.text("b"), format!("{known}"));
    }
}

/// The same command on another host: another name, everything else shared.
fn elsewhere(cmd: &Cmd, host: &str) -> Cmd {
    let mut there = cmd.clone();
    let lsync = std::mem::replace(&mut there.program, "unshare".into());
    let script = format!("echo {host} > /proc/sys/kernel/hostname; exec \"$0\" \"$@\"");
    there.args = ["--uts", "sh", "-c", &script].map(std::ffi::OsString::from).into();
    there.args.push(lsync.into());
    there.args.extend(cmd.args.iter().cloned());
    there
}

/// "Another host: after 5 min of silence; else exit 11 with host, pid, since".
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_run_of_another_host_is_waited_for_until_it_was_silent_for_5_minutes() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1"), ("data/b", "2")]));
    s3.faults().push(Rule { key_contains: Some("data/".into()), ..Rule::once("PutObject", Action::Hold) });
    let first = elsewhere(&lsync(&mount, &s3, "upload --yes -j 1"), "gpu-1").start();
    s3.until_all_hit();
    let refused = |command: &Cmd, who: &str| {
        let ran = command.run().expect(11);
        let holder = format!("another run holds the lock: process {} on gpu-1 since 2", first.id());
        assert!(ran.stderr.contains(&holder), "{who}: {}", ran.stderr);
    };
    let upload = lsync(&mount, &s3, "upload --yes");
    refused(&elsewhere(&upload, "gpu-2"), "it runs");
    first.signal(Signal::KILL);
    refused(&elsewhere(&upload, "gpu-2"), "nobody there can tell that it is dead");
    let five_minutes_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(301);
    let lock = std::fs::File::options().write(true).open(mount.path(".lsync/lock")).expect("it is there");
    lock.set_modified(five_minutes_ago).expect("it can be set");
    drop(lock);
    let second = elsewhere(&upload, "gpu-2").run().expect(0);
    assert!(second.last_line().starts_with("complete: files=2 "), "{}", second.stdout);
    first.wait().expect(-9);
    assert!(!mount.has(".lsync/lock"));
}
