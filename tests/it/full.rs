//! A mount that cannot take what comes: full, or not writable. Nothing that was there is lost, and a rerun goes on.

use std::fs;

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
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
