//! What a download replaces or removes lies in the trash, whole, and the path is at no moment missing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, Node, tree};
use crate::support::s3::S3;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// The operations in the trash, by name.
fn operations(mount: &Mount) -> Vec<String> {
    let entries = fs::read_dir(mount.path(".lsync/trash")).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    entries.into_iter().map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// What the only operation in the trash took.
#[track_caller]
fn trash(mount: &Mount) -> Vec<Node> {
    let operations = operations(mount);
    assert_eq!(operations.len(), 1, "{operations:?}");
    tree(&mount.path(".lsync/trash").join(&operations[0])).into_iter().filter(|node| node.kind != "dir").collect()
}

/// Two mounts that hold the same.
fn pair(files: &[(&str, &str)]) -> (S3, Mount, Mount) {
    let (s3, here, there) = (S3::start(), Mount::with(files), Mount::new());
    lsync(&s3, &here, "upload --yes").run().expect(0);
    lsync(&s3, &there, "download --yes").run().expect(0);
    (s3, here, there)
}

#[test]
fn what_a_download_replaces_and_deletes_lies_in_the_trash_with_time_and_bits() {
    let (s3, here, there) = (S3::start(), Mount::with(&[("a/changes", "old"), ("a/goes", "gone"), ("stays", "x")]), Mount::new());
    here.link("link", "stays").mode("a/changes", 0o640).mtime("a/changes", 1_700_000_000_123_456_789).mode("a/goes", 0o751);
    lsync(&s3, &here, "upload --yes").run().expect(0);
    lsync(&s3, &there, "download --yes").run().expect(0);
    let before = there.tree();
    here.write("a/changes", "new content").remove("a/goes").remove("link").link("link", "a/changes");
    lsync(&s3, &here, "upload --yes --delete").run().expect(0);
    lsync(&s3, &there, "download --yes --delete").run().expect(0);
    assert_eq!(here.tree(), there.tree());
    let replaced: Vec<Node> = before.into_iter().filter(|node| node.kind != "dir" && node.path != "stays").collect();
    assert_eq!(trash(&there), replaced);
    assert!(operations(&here).is_empty(), "an upload puts nothing there");
}

#[test]
fn a_directory_that_makes_room_for_a_file_and_the_other_way_round_lie_in_the_trash() {
    let (s3, here, there) = pair(&[("dir/a", "1"), ("dir/sub/b", "2"), ("file", "3")]);
    here.remove("dir").write("dir", "now a file").remove("file").write("file/below", "now a directory");
    lsync(&s3, &here, "upload --yes --delete --max-delete 100%").run().expect(0);
    lsync(&s3, &there, "download --yes --delete --max-delete 100%").run().expect(0);
    assert_eq!(here.tree(), there.tree());
    let kept: Vec<String> = trash(&there).iter().map(|node| node.path.clone()).collect();
    assert_eq!(kept, ["dir/a", "dir/sub/b", "file"]);
}

/// "The old file is hard-linked into the trash before the rename: at no moment is the path missing."
#[test]
fn a_path_that_is_replaced_is_at_no_moment_missing() {
    let files: Vec<(String, String)> = (0..60).map(|n| (format!("{n:02}"), format!("old {n}"))).collect();
    let named: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let (s3, here, there) = pair(&named);
    let inode = |path: &str| fs::metadata(there.path(path)).expect("there").ino();
    let old_inode = inode("00");
    files.iter().for_each(|(path, _)| _ = here.write(path, "new").root());
    lsync(&s3, &here, "upload --yes").run().expect(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looked = 0;
            while !done.load(Ordering::Relaxed) || looked == 0 {
                for (path, old) in &files {
                    let text = fs::read_to_string(there.path(path)).unwrap_or_else(|e| panic!("{path} was missing: {e}"));
                    assert!(text == "new" || text == *old, "{path} was torn: {text:?}");
                }
                looked += 1;
            }
        });
        let ran = lsync(&s3, &there, "download --yes").run();
        done.store(true, Ordering::Relaxed);
        watch.join().expect("every path was whole at every moment");
        ran.expect(0);
    });
    let kept = there.path(".lsync/trash").join(&operations(&there)[0]).join("00");
    assert_eq!(fs::metadata(kept).expect("kept").ino(), old_inode, "the file itself, not a copy");
}

/// `trash = "7d 10%"  # age, share of the filesystem`
#[test]
fn operations_that_are_older_than_the_limit_go() {
    let (s3, here, there) = pair(&[("a", "1")]);
    for text in ["2", "3"] {
        here.write("a", text);
        lsync(&s3, &here, "upload --yes").run().expect(0);
        lsync(&s3, &there, "download --yes").run().expect(0);
    }
    let owner = |operation: &str| there.path(".lsync/trash").join(operation).join(".lsync/owner");
    let both = operations(&there);
    assert_eq!(both.len(), 2);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(owner(&both[0])).expect("a record")).expect("JSON");
    record["since"] = (record["since"].as_i64().expect("a time") - 8 * 24 * 3600 * 1_000_000_000).into();
    fs::write(owner(&both[0]), format!("{record}\n")).expect("written");
    here.write("a", "4");
    lsync(&s3, &here, "upload --yes").run().expect(0);
    lsync(&s3, &there, "download --yes").run().expect(0);
    let now = operations(&there);
    assert!(now.len() == 2 && now.contains(&both[1]) && !now.contains(&both[0]), "{both:?} became {now:?}");
}

#[test]
fn the_operation_just_made_stays_whatever_the_limits_are() {
    let (s3, here, there) = pair(&[("a", "1")]);
    there.write("sync.toml", "[sync]\ntrash = \"1d 0%\"\n").mode("sync.toml", 0o600);
    for text in ["2", "3"] {
        here.write("a", text);
        lsync(&s3, &here, "upload --yes").run().expect(0);
        lsync(&s3, &there, "download --yes").run().expect(0);
    }
    let kept = trash(&there);
    assert_eq!(
        (kept.len(), fs::read(there.path(".lsync/trash").join(&operations(&there)[0]).join("a")).expect("there")),
        (1, b"2".to_vec())
    );
}

#[test]
fn what_was_changed_here_is_not_replaced_and_not_moved() {
    let (s3, here, there) = pair(&[("a", "1")]);
    here.write("a", "theirs");
    lsync(&s3, &here, "upload --yes").run().expect(0);
    there.write("a", "mine").mode("a", 0o600);
    lsync(&s3, &there, "download --yes").run().expect(6);
    assert_eq!((there.text("a").as_str(), operations(&there).len()), ("mine", 0));
    lsync(&s3, &there, "download --yes --overwrite").run().expect(0);
    let kept = trash(&there);
    assert_eq!((there.text("a").as_str(), kept[0].mode, kept.len()), ("theirs", 0o600, 1));
    let dir = fs::metadata(there.path(".lsync/trash")).expect("there").permissions().mode() & 0o777;
    assert_eq!(dir, 0o700);
}
