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

/// `lsync WORDS` in a shell that has set a limit for it.
fn limited(s3: &S3, mount: &Mount, limit: &str, words: &str) -> Cmd {
    let mut cmd = Cmd::lsync(mount).on(&s3.store);
    let line = format!("ulimit {limit}; exec {} {words}", env!("CARGO_BIN_EXE_lsync"));
    cmd.program = "/bin/bash".into();
    cmd.arg("-c").arg(line)
}

/// Login nodes and batch systems limit the address space: less is done at once, and what cannot work says so.
#[test]
fn a_small_address_space_is_enough_or_told() {
    let (s3, mount) = (S3::start(), Mount::new());
    for n in 0..100 {
        mount.write(&format!("d{}/f{n}", n % 7), "1");
    }
    mount.write("large", noise(20 << 20));
    let ran = limited(&s3, &mount, "-v 1048576", "upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=101"), "{}", ran.stdout);
    let other = Mount::new();
    limited(&s3, &other, "-v 1048576", "download --yes").run().expect(0);
    assert_eq!(other.tree(), mount.tree());
    let ran = limited(&s3, &mount, "-v 400000", "upload --yes").run().expect(1);
    assert!(ran.stderr.contains("the address space is limited to 390.6 MiB") && ran.stderr.contains("ulimit -v"), "{}", ran.stderr);
}

/// The system would end the process by a signal.
#[test]
fn a_limit_of_the_size_of_files_fails_the_file_and_not_the_run() {
    let (s3, mount) = (S3::start(), Mount::with(&[("large", "x".repeat(1 << 20).as_str()), ("small", "1")]));
    Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
    let other = Mount::new();
    let ran = limited(&s3, &other, "-f 512", "download --yes").run();
    assert!(ran.code > 0 && ran.code < 128, "{}: {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("large") && !other.has("large") && other.text("small") == "1", "{}", ran.stderr);
}
