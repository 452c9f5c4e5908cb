//! File systems of other kinds that only root may mount: names that are one (exFAT, rclone's), timestamps of whole seconds (ext4).

use std::fs;
use std::os::unix::fs::MetadataExt;

use lsync::sandbox::{Action, Rule};

use super::Mounted;
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::wait::until;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// A mount that does not tell upper from lower case.
fn folding() -> (Mount, Mounted) {
    let mount = Mount::new();
    let disk = Mounted::disk(&mount, "exfat-fuse", 16, "mkfs.exfat");
    (mount, disk)
}

/// The names of all that lies in the mount.
fn names(mount: &Mount) -> Vec<String> {
    mount.tree().into_iter().map(|node| node.path).collect()
}

#[track_caller]
fn told(ran: &Ran, lines: &[&str]) {
    lines.iter().for_each(|line| assert!(ran.says(line), "{line:?} is not in\n{}{}", ran.stdout, ran.stderr));
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(all.matches(", so that it is the same name there as ").count(), lines.len(), "{all}");
}

/// "case and normalisation collisions where the mount has them … are reported before anything is written".
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn names_that_differ_in_case_alone_are_told_before_anything_is_written() {
    let s3 = S3::start();
    for key in ["Data/x", "data/y", "README", "readme", "fine", "d/\u{e9}", "d/e\u{301}", ".LSYNC/lock", "d/Only"] {
        s3.put(key, key);
    }
    let (mount, _disk) = folding();
    let expected = [
        ".LSYNC: this mount does not tell upper from lower case, so that it is the same name there as .lsync, where lsync keeps its own",
        "Data: this mount does not tell upper from lower case, so that it is the same name there as data, which the bucket holds too",
        "README: this mount does not tell upper from lower case, so that it is the same name there as readme, which the bucket holds too",
        "data: this mount does not tell upper from lower case, so that it is the same name there as Data, which the bucket holds too",
        "readme: this mount does not tell upper from lower case, so that it is the same name there as README, which the bucket holds too",
    ];
    told(&lsync(&mount, &s3, "download -n").run().expect(3), &expected);
    told(&lsync(&mount, &s3, "status --check=download").run().expect(10), &expected);
    assert!(fs::read_dir(mount.root()).expect("the mount").next().is_none(), "the question leaves nothing behind");
    let ran = lsync(&mount, &s3, "download --yes").run().expect(3);
    told(&ran, &expected);
    assert_eq!(ran.last_line(), "incomplete: 5 cannot be synced");
    assert_eq!(names(&mount), ["d", "d/Only", "d/e\u{301}", "d/\u{e9}", "fine"]);
    assert_eq!((mount.left_behind(), mount.has(".lsync/lock")), (Vec::<String>::new(), false));
    // The line that each of them gives accepts it; what is left of a pair then comes.
    let accept = "--exclude /Data --exclude /README --exclude /.LSYNC";
    let ran = lsync(&mount, &s3, "download --yes").args(accept).run().expect(0);
    assert!(ran.last_line().starts_with("complete for what the filters let through: files=6 "), "{}", ran.stdout);
    assert_eq!((mount.text("data/y"), mount.text("readme")), ("data/y".into(), "readme".into()));
    // What the mount holds now is no problem; the other names are, and nothing happens to them on either side.
    let before = (mount.tree(), s3.keys());
    for line in ["upload --yes --overwrite --delete", "download --yes --overwrite --delete", "upload --yes Data data", "download --yes"] {
        let ran = lsync(&mount, &s3, line).run();
        assert!(ran.code == 3 || line.contains("Data") && ran.code == 2, "{line}: {}\n{}", ran.code, ran.stderr);
    }
    assert_eq!((mount.tree(), s3.keys()), before);
    let ran = lsync(&mount, &s3, "status").run().expect(0);
    told(&ran, &["Data: this mount does not", "README: this mount does not", ".LSYNC: this mount does not"]);
    assert!(ran.says("as data, which the mount holds; rename one of them"), "{}", ran.stdout);
}

/// Ignored names are there too.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn what_the_patterns_leave_out_is_not_reached_under_another_name() {
    let s3 = S3::start();
    s3.put("cache/x", "bucket").put("cache/new", "bucket").put("sub/A", "bucket");
    let (mount, _disk) = folding();
    mount.write("Cache/x", "mine").write("sub/a", "mine").write(".syncignore", "/Cache/\n/sub/a\n");
    let ran = lsync(&mount, &s3, "download --yes --overwrite").run().expect(3);
    told(&ran, &["cache: this mount does not", "sub/A: this mount does not"]);
    assert_eq!(names(&mount), [".syncignore", "Cache", "Cache/x", "sub", "sub/a"]);
    assert_eq!((mount.text("Cache/x"), mount.text("sub/a")), ("mine".into(), "mine".into()));
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_path_in_another_case_is_not_taken_for_the_one_that_is_there() {
    let s3 = S3::start();
    let (mount, _disk) = folding();
    mount.write("Data/x", "1");
    for line in ["upload --yes data", "upload --yes data/X", "download --yes DATA", "status data/x"] {
        let ran = lsync(&mount, &s3, line).run().expect(2);
        assert!(ran.stderr.contains(" is Data") && ran.stderr.contains("hint: give the PATH as the mount spells it"), "{}", ran.stderr);
    }
    assert!(s3.keys().is_empty());
    lsync(&mount, &s3, "upload --yes Data").run().expect(0);
    assert_eq!(s3.keys(), ["Data/x"]);
}

#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn a_mount_that_folds_case_is_synced_like_any_other() {
    let s3 = S3::start();
    let (mount, _disk) = folding();
    mount.write("Data/x", "1").write("README", "2").write("d/e/f", "3");
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    let (there, _disk) = folding();
    lsync(&there, &s3, "download --yes").run().expect(0);
    assert_eq!((names(&there), there.text("Data/x")), (names(&mount), "1".into()));
    s3.put("Data/y", "4");
    lsync(&there, &s3, "download --yes").run().expect(0);
    assert_eq!((there.text("Data/y"), there.left_behind()), ("4".into(), Vec::new()));
}

/// "normalisation collisions": composed and decomposed characters are one here, and case too.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn names_that_differ_in_their_composition_alone_are_told_before_anything_is_written() {
    let s3 = S3::start();
    s3.put("d/e\u{301}", "1").put("d/\u{e9}", "2").put("d/E", "3").put("caf\u{e9}/x", "4").put("fine", "5");
    let mount = Mount::new();
    let behind = mount.home().join("behind");
    fs::create_dir_all(behind.join("CAFE\u{301}")).expect("the test's own directory");
    let words = "mount --config= --daemon --vfs-case-insensitive --vfs-cache-mode writes --cache-dir";
    let rclone = Cmd::program("rclone", mount.mounts().as_path()).env("HOME", mount.home()).args(words).arg(mount.home().join("cache"));
    rclone.arg(&behind).arg(mount.root()).run().expect(0);
    let _folding = Mounted(mount.root().to_owned());
    let ran = lsync(&mount, &s3, "download --yes").run().expect(3);
    told(
        &ran,
        &[
            "caf\u{e9}: this mount tells neither upper from lower case nor composed from decomposed characters, so that it is the same \
             name there as CAFE\\u{301}, which the mount holds",
            "d/e\u{301}: this mount does not tell composed from decomposed characters, so that it is the same name there as d/\\u{e9}",
            "d/\u{e9}: this mount does not tell composed from decomposed characters, so that it is the same name there as d/e\\u{301}",
        ],
    );
    assert_eq!(names(&mount), ["CAFE\u{301}", "d", "d/E", "fine"]);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}

/// Size, times and inode: all that tells of a change without reading.
fn stamp(mount: &Mount, path: &str) -> (u64, i64, i64, i64, i64, u64) {
    let found = fs::metadata(mount.path(path)).expect("a file");
    (found.len(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec(), found.ino())
}

/// Overwrites a file in place and gives it its old time. True when nothing but its content tells of it.
fn edit_unseen(mount: &Mount, path: &str, content: &str) -> bool {
    let before = stamp(mount, path);
    mount.write(path, content).mtime(path, u64::try_from(before.1).expect("after 1970") * 1_000_000_000);
    stamp(mount, path) == before
}

/// How often a test tries to be quick enough to edit within a second.
const TRIES: usize = 20;

/// "Racy: ctime ≥ T0 − g … g = its timestamp granularity, measured". The run waits before it remembers, so the edit comes while it runs.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn an_edit_within_the_second_in_which_a_file_came_is_found_where_timestamps_are_seconds() {
    let (mount, s3) = (Mount::new(), S3::start());
    let _disk = Mounted::disk(&mount, "ext4", 16, "mkfs.ext4 -q -F -I 128");
    let mut unseen = 0;
    for round in 0..TRIES {
        let file = format!("f{round:02}");
        s3.put(&file, "of the bucket").put(&format!("other{round}"), "1");
        s3.faults().push(Rule { key_contains: Some("other".into()), ..Rule::once("GetObject", Action::Hold) });
        let run = lsync(&mount, &s3, "download --yes").start();
        until("the file is there", || mount.has(&file));
        unseen += usize::from(edit_unseen(&mount, &file, "edited again!"));
        s3.until_all_hit();
        s3.faults().release();
        run.wait().expect(0);
        lsync(&mount, &s3, "upload --yes").run().expect(0);
        assert_eq!(s3.content(&file), b"edited again!", "round {round}");
        if unseen == 2 {
            return;
        }
    }
    panic!("{unseen} of {TRIES} edits left the stamp as it was");
}

/// "After `complete`": the file was read, sent, and changed again in the same second, before the run ended.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn an_edit_within_the_second_in_which_a_file_is_sent_is_not_called_complete() {
    let (mount, s3) = (Mount::new(), S3::start());
    let _disk = Mounted::disk(&mount, "ext4", 16, "mkfs.ext4 -q -F -I 128");
    let mut unseen = 0;
    for round in 0..TRIES {
        mount.write("f", format!("first {round:03}"));
        s3.faults().push(Rule { key_contains: Some("f".into()), ..Rule::once("PutObject", Action::Hold) });
        let run = lsync(&mount, &s3, "upload --yes").start();
        s3.until_all_hit();
        let again = edit_unseen(&mount, "f", &format!("later {round:03}"));
        s3.faults().release();
        let ran = run.wait();
        let sent = s3.content("f") == format!("later {round:03}").into_bytes();
        assert!(sent || ran.code == 3 && ran.says("f: it is still being written"), "round {round}: {}\n{}", ran.code, ran.stderr);
        assert_eq!(ran.stdout.contains("complete: files="), ran.code == 0);
        lsync(&mount, &s3, "upload --yes").run().expect(0);
        assert_eq!(s3.content("f"), format!("later {round:03}").into_bytes(), "round {round}");
        unseen += usize::from(again);
        if unseen == 2 {
            return;
        }
    }
    panic!("{unseen} of {TRIES} edits left the stamp as it was");
}
