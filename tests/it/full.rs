//! A mount that cannot take what comes: full, or not writable. Nothing that was there is lost, and a rerun goes on.

use std::fs;
use std::path::Path;

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise, tree};
use crate::support::s3::S3;

fn download(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("download --yes")
}

/// Runs a script in place of the command, which it gets as its words.
fn in_script(mut cmd: Cmd, shell: &[&str], script: &str) -> Cmd {
    let words = shell.iter().map(Into::into).chain([script.into(), "sh".into(), cmd.program.clone().into_os_string()]).skip(1);
    cmd.args = words.chain(cmd.args).collect();
    cmd.program = shell[0].into();
    cmd
}

/// True where this user may mount file systems of its own.
fn can_mount() -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let cmd = Cmd::program("unshare", Path::new("/")).args("-Urm mount -t tmpfs none").arg(dir.path());
    cmd.run().code == 0
}

/// On a file system of 2 MiB of its own: downloads, makes it larger and downloads again. What lay there each time is copied to `after-1` and
/// `after-2` beside the mount. Returns the second run; the first one's exit code is in the file `code`.
fn on_two_mebibytes(s3: &S3, mount: &Mount) -> Ran {
    let script = r#"
        mount -t tmpfs -o size=2m none "$PWD" && cd "$PWD" && echo old > kept && "$0" "$@" > /dev/null 2> ../stderr
        echo $? > ../code; cp -a . ../after-1
        mount -o remount,size=64m . && "$0" "$@"; code=$?; cp -a . ../after-2; exit $code"#
        .replace("\"$0\" \"$@\"", "\"$@\"");
    in_script(download(s3, mount), &["unshare", "-Urm", "sh", "-c"], &script).run()
}

/// "12 | not enough space".
#[test]
fn a_mount_that_runs_full_loses_nothing_and_a_rerun_goes_on() {
    let (s3, mount) = (S3::start(), Mount::new());
    if !can_mount() {
        return files_that_cannot_grow(&s3, &mount);
    }
    // So small that they fit by their bytes, so many that they do not by what they take.
    for n in 0..700 {
        s3.put(&format!("data/{n:03}"), format!("{n}"));
    }
    s3.put("kept", "new");
    let ran = on_two_mebibytes(&s3, &mount).expect(6);
    assert!(ran.last_line().starts_with("incomplete: 1 in conflict"), "{}", ran.stdout);
    let read = |path: &str| fs::read_to_string(mount.mounts().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!((read("code").trim(), read("after-1/kept").as_str()), ("12", "old\n"), "{}", read("stderr"));
    assert!(read("stderr").contains("not enough space"), "{}", read("stderr"));
    for node in tree(&mount.mounts().join("after-1")).iter().filter(|node| node.kind == "file" && node.path != "kept") {
        let number: u32 = node.path["data/".len()..].parse().expect("a number");
        assert_eq!(read(&format!("after-1/{}", node.path)), number.to_string(), "no half file");
    }
    assert_eq!(fs::read_dir(mount.mounts().join("after-1/.lsync/tmp")).map_or(0, Iterator::count), 0);
    assert_eq!(tree(&mount.mounts().join("after-2")).iter().filter(|node| node.path.starts_with("data/")).count(), 700);
}

/// Before anything is changed.
#[test]
fn a_download_that_cannot_fit_is_refused() {
    let (s3, mount) = (S3::start(), Mount::new());
    if !can_mount() {
        return files_that_cannot_grow(&s3, &mount);
    }
    s3.put("large", noise(3 << 20)).put("small", "x");
    on_two_mebibytes(&s3, &mount).expect(0);
    let read = |path: &str| fs::read_to_string(mount.mounts().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(read("code").trim(), "12");
    assert!(read("stderr").contains("error: the download needs 3.0 MiB, and the mount has"), "{}", read("stderr"));
    assert!(!mount.mounts().join("after-1/small").exists() && mount.mounts().join("after-2/small").exists());
}

/// What a part file holds already needs no room a second time.
#[test]
#[ignore = "needs a mount namespace; .ci/run runs it"]
fn a_large_download_that_was_cut_short_goes_on_where_it_would_not_fit_twice() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("large", noise(32 << 20));
    s3.faults().push(Rule { skip: 2, ..Rule::once("GetObject", Action::Status(403, "AccessDenied")) });
    let script = r#"mount -t tmpfs -o size=44m none "$PWD" && cd "$PWD" || exit 99
        "$@"; echo $? > ../code; df -B1 --output=avail . | tail -1 > ../avail; "$@"; code=$?; cp large ..; exit $code"#;
    in_script(download(&s3, &mount).args("-j 1"), &["unshare", "-Urm", "sh", "-c"], script).run().expect(0);
    let read = |path: &str| fs::read_to_string(mount.mounts().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let avail: u64 = read("avail").trim().parse().expect("a number");
    assert!(read("code").trim() == "4" && avail < 32 << 20, "{} {avail}", read("code"));
    assert!(fs::read(mount.mounts().join("large")).expect("a file") == noise(32 << 20));
}

/// A limit of the process stops the large file in the middle, as a full disk does.
fn files_that_cannot_grow(s3: &S3, mount: &Mount) {
    mount.write("data/large", "old");
    Cmd::lsync(mount).on(&s3.store).args("upload --yes").run().expect(0);
    s3.put("data/large", noise(20 << 20)).put("data/small", "small");
    let ran = in_script(download(s3, mount), &["sh", "-c"], "trap '' XFSZ; ulimit -f 8192; exec \"$@\"").run().expect(3);
    assert!(
        ran.stderr.contains("data/large: cannot") && ran.last_line().starts_with("incomplete: 1 failed"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!((mount.text("data/large"), mount.text("data/small")), ("old".into(), "small".into()));
    assert_eq!(mount.left_behind(), Vec::<String>::new());
    download(s3, mount).run().expect(0);
    assert!(fs::read(mount.path("data/large")).expect("a file") == noise(20 << 20));
}

#[test]
fn a_file_that_cannot_be_written_to_its_end_leaves_the_old_one() {
    files_that_cannot_grow(&S3::start(), &Mount::new());
}

#[test]
fn a_directory_that_may_not_be_written_to_keeps_what_it_holds() {
    let (s3, mount) = (S3::start(), Mount::with(&[("closed/a", "old"), ("open/b", "old")]));
    Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
    s3.put("closed/a", "new").put("closed/c", "new").put("open/b", "new");
    mount.mode("closed", 0o555);
    // Root may write everywhere, unless it gives up that power.
    let root = rustix::process::geteuid().is_root();
    let shell: &[&str] = if root { &["setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c"] } else { &["sh", "-c"] };
    let ran = in_script(download(&s3, &mount), shell, "exec \"$@\"").run().expect(3);
    assert!(ran.stderr.contains("closed/a: cannot") && ran.stderr.contains("closed/c: cannot"), "{}", ran.stderr);
    assert_eq!((mount.text("closed/a"), mount.text("open/b"), mount.has("closed/c")), ("old".into(), "new".into(), false));
    mount.mode("closed", 0o755);
    download(&s3, &mount).run().expect(0);
    assert_eq!((mount.text("closed/a"), mount.text("closed/c")), ("new".into(), "new".into()));
}

#[test]
fn a_mount_that_is_renamed_during_a_download_is_not_complete() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("data/a", "abc");
    s3.faults().push(Rule { key_contains: Some("data/a".into()), ..Rule::once("GetObject", Action::Hold) });
    let run = download(&s3, &mount).start();
    s3.until_all_hit();
    let elsewhere = mount.mounts().join("elsewhere");
    fs::rename(mount.root(), &elsewhere).expect("renamed");
    s3.faults().release();
    let ran = run.wait().expect(1);
    assert!(ran.last_line().starts_with("incomplete: lost the mount"), "{}{}", ran.stdout, ran.stderr);
    assert!(!mount.root().exists(), "nothing is made where the mount was");
}
