//! What several users of one machine do in one directory: root first of all, by sudo or in a container.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;

/// Users that no machine has.
const ADA: u32 = 2001;
const BOB: u32 = 2002;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// The same by another user.
fn lsync_as(user: u32, mount: &Mount, s3: &S3, line: &str) -> Cmd {
    // The target folder may lie where only its owner may look.
    let program = mount.home().join("lsync");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_lsync"), &program).expect("copied");
    }
    let words = format!("--reuid={user} --regid={user} --clear-groups {} {line}", program.display());
    let cmd = Cmd::program("setpriv", mount.root()).args(&words).on(&s3.store);
    cmd.env("HOME", mount.home()).env("LSYNC_MOUNTS", mount.mounts())
}

/// Gives all of a mount, and the way to it, to a user.
fn give(mount: &Mount, user: u32) {
    for entry in walkdir::WalkDir::new(mount.home().parent().expect("a directory")) {
        lchown(entry.expect("readable").path(), Some(user), Some(user)).expect("root may");
    }
    fs::set_permissions(mount.home().parent().expect("a directory"), fs::Permissions::from_mode(0o755)).expect("root may");
}

/// What below a path belongs to root.
fn of_root(path: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(path).into_iter().map(|entry| entry.expect("readable"));
    let of_root = entries.filter(|entry| entry.path().symlink_metadata().expect("there").uid() == 0);
    of_root.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

/// One run as root must not lock out the user whose directory it is.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn what_root_makes_in_a_users_directory_belongs_to_the_user() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1"), ("d/b", "2")]));
    give(&mount, ADA);
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    s3.put("new/c", "3").put("a", "changed").put("l", "x");
    lsync(&mount, &s3, "download --yes").run().expect(0);
    assert_eq!(of_root(mount.root()), Vec::<String>::new());
    lsync_as(ADA, &mount, &s3, "status").run().expect(0);
    mount.write("mine", "4");
    give(&mount, ADA);
    for line in ["upload --yes", "download --yes", "log", "undo --yes", "doctor"] {
        lsync_as(ADA, &mount, &s3, line).run().expect(0);
    }
}

/// What an older run, or a copy as root, has left.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn who_is_locked_out_is_told_by_whom_and_what_helps() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    give(&mount, ADA);
    lsync_as(ADA, &mount, &s3, "upload --yes").run().expect(0);
    let take = |path: &str| lchown(mount.path(path), Some(0), Some(0)).expect("root may");
    let state =
        fs::read_dir(mount.path(".lsync")).expect("a directory").map(|e| e.expect("an entry").file_name().into_string().expect("text"));
    let state = state.into_iter().find(|name| name.starts_with("state-")).expect("a state");
    for path in [".lsync".to_owned(), format!(".lsync/{state}")] {
        take(&path);
        for line in ["status", "upload --yes", "download --yes", "verify", "doctor", "log", "undo --yes", "clean"] {
            let ran = lsync_as(ADA, &mount, &s3, line).run().expect(1);
            let told = format!("{} belongs to root; you (2001) cannot use it", mount.path(&path).display());
            let way = format!("sudo chown -R 2001: {}", mount.path(".lsync").display());
            assert!(ran.says(&told) && ran.says(&way), "{line}: {}", ran.stderr);
        }
        // As the hint says.
        give(&mount, ADA);
        lsync_as(ADA, &mount, &s3, "status").run().expect(0);
    }
    // Another user's directory is that user's.
    fs::set_permissions(mount.root(), fs::Permissions::from_mode(0o777)).expect("root may");
    let ran = lsync_as(BOB, &mount, &s3, "status").run().expect(1);
    assert!(
        ran.says("belongs to 2001; you (2002) cannot use it") && ran.says("run this as 2001, or sync a directory of your own"),
        "{}",
        ran.stderr
    );
}

/// A user moves what is root's to where lsync keeps its own: root gives away nothing that was there before.
#[test]
#[ignore = "needs the right to mount; .ci/run runs it"]
fn root_gives_away_nothing_that_was_there_before() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    give(&mount, ADA);
    mount.write(".lsync/secret", "root's").write(".lsync/trash/deep", "root's");
    let kept = [".lsync", ".lsync/secret", ".lsync/trash", ".lsync/trash/deep"];
    let own = |user: u32| kept.iter().for_each(|path| lchown(mount.path(path), Some(user), Some(user)).expect("root may"));
    own(0);
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    kept.iter().for_each(|path| assert_eq!(fs::metadata(mount.path(path)).expect("there").uid(), 0, "{path}"));
    lchown(mount.path(".lsync"), Some(ADA), Some(ADA)).expect("root may");
    mount.write("a", "2");
    lsync(&mount, &s3, "upload --yes").run().expect(0);
    kept[1..].iter().for_each(|path| assert_eq!(fs::metadata(mount.path(path)).expect("there").uid(), 0, "{path}"));
}
