//! Links that lie in the mount already, where a path leads through them; with `openat2` and on kernels and in containers that lack it.

use std::fs;
use std::path::Path;

use super::{Outside, files};
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;

/// Runs one command line on a mount in some way.
type Run = dyn Fn(&Mount, &S3, &str) -> Ran;

fn plain(mount: &Mount, s3: &S3, line: &str) -> Ran {
    Cmd::lsync(mount).on(&s3.store).args(line).run()
}

/// The same command under strace, where `openat2` answers as the kernel or a seccomp profile does that lacks it. Its calls go to a file.
pub(super) fn lacking_openat2(mut cmd: Cmd, error: &str, calls: &Path) -> Cmd {
    let lsync = std::mem::replace(&mut cmd.program, "strace".into());
    let args = std::mem::take(&mut cmd.args);
    cmd = cmd.args("--seccomp-bpf -f -qqq -e trace=openat2 -e").arg(format!("inject=openat2:error={error}")).arg("-o").arg(calls);
    args.iter().fold(cmd.arg("--").arg(lsync), Cmd::arg)
}

/// Runs it so. Every call of `openat2` got that answer.
fn without_openat2(mount: &Mount, s3: &S3, line: &str, error: &str) -> Ran {
    let calls = mount.home().join("calls");
    let ran = lacking_openat2(Cmd::lsync(mount).on(&s3.store).args(line), error, &calls).run();
    let calls = fs::read_to_string(calls).expect("strace writes it");
    let answers: Vec<&str> = calls.lines().filter(|call| call.contains(" = ")).collect();
    let other: Vec<&&str> = answers.iter().filter(|call| !call.contains(error) || !call.ends_with("(INJECTED)")).collect();
    assert!(!answers.is_empty() && other.is_empty(), "{other:?}");
    ran
}

/// Directories and files that are links, at the end of a path and above it.
fn planted_links_are_not_followed(run: &Run) {
    let (mount, s3) = (Mount::with(&[("real/f", "old")]), S3::start());
    let outside = Outside::beside(&mount, &["d"]);
    let target = outside.dir.to_str().expect("UTF-8");
    mount.link("dir", target).link("real/deep", target).link("file", &format!("{target}/secret")).link("up", "..").link("twice", "dir");
    mount.link("dangling", &format!("{target}/new")).link("self", "self");
    let keys =
        ["dir/secret", "dir/d/new", "real/deep/secret", "file", "up/home/x", "twice/d/secret", "dangling", "dangling2", "self/x", "real/f"];
    for key in keys {
        s3.put(key, "from the bucket");
    }
    run(&mount, &s3, "upload --yes real").expect(6);
    let ran = run(&mount, &s3, "download --yes").expect(6);
    assert_eq!(files(&mount).into_keys().collect::<Vec<_>>(), ["dangling2", "real/f"], "{}", ran.stderr);
    assert_eq!((mount.text("real/f"), mount.text("dangling2")), ("old".into(), "from the bucket".into()));
    outside.is_untouched();
    // In their place, not through them: the links go to the trash.
    run(&mount, &s3, "download --yes --overwrite").expect(0);
    assert_eq!(files(&mount).into_keys().collect::<std::collections::BTreeSet<_>>(), keys.map(String::from).into());
    keys.iter().for_each(|key| assert_eq!(mount.text(key), "from the bucket", "{key}"));
    outside.is_untouched();
    for (n, key) in keys.iter().enumerate() {
        mount.write(key, format!("mine {n}"));
    }
    run(&mount, &s3, "upload --yes").expect(0);
    run(&mount, &s3, "download --yes --delete").expect(0);
    assert_eq!(s3.content("dir/d/new"), b"mine 1");
    outside.is_untouched();
}

/// What lsync keeps for itself.
fn its_own_directory_may_not_be_a_link(run: &Run) {
    for own in [".lsync", ".lsync/tmp", ".lsync/trash", ".lsync/journal"] {
        let (mount, s3) = (Mount::with(&[("a", "1"), ("b", "1")]), S3::start());
        run(&mount, &s3, "upload --yes").expect(0);
        s3.put("a", "2");
        let outside = Outside::beside(&mount, &["tmp", "trash", "journal"]);
        if mount.has(own) {
            mount.remove(own);
        }
        mount.link(own, outside.dir.to_str().expect("UTF-8")).write("new", "1");
        for line in ["status", "download --yes --overwrite", "upload --yes", "download --yes --overwrite --delete"] {
            let ran = run(&mount, &s3, line);
            assert!((0..=12).contains(&ran.code), "{own} {line}: {}\n{}", ran.code, ran.stderr);
            assert!(ran.code != 0 || !ran.last_line().starts_with("incomplete"), "{own} {line}: {}", ran.stdout);
            outside.is_untouched();
        }
        let a = mount.text("a");
        assert!(a == "1" || a == "2", "{a}");
    }
}

#[test]
fn planted_links_are_replaced_and_never_followed() {
    planted_links_are_not_followed(&plain);
}

#[test]
fn what_lsync_keeps_for_itself_never_lies_behind_a_link() {
    its_own_directory_may_not_be_a_link(&plain);
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn planted_links_are_not_followed_where_the_kernel_lacks_openat2() {
    planted_links_are_not_followed(&|mount, s3, line| without_openat2(mount, s3, line, "ENOSYS"));
    its_own_directory_may_not_be_a_link(&|mount, s3, line| without_openat2(mount, s3, line, "ENOSYS"));
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn planted_links_are_not_followed_where_a_container_forbids_openat2() {
    planted_links_are_not_followed(&|mount, s3, line| without_openat2(mount, s3, line, "EPERM"));
    its_own_directory_may_not_be_a_link(&|mount, s3, line| without_openat2(mount, s3, line, "EPERM"));
}
