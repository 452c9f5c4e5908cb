//! `lsync undo`: what a download replaced and deleted comes back with its time and bits, nothing that was done since is lost, and an undo
//! can be undone.

use std::fs;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, Node};
use crate::support::pty::Pty;
use crate::support::s3::S3;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// Without a bucket: an undo needs none.
fn undo(mount: &Mount, words: &str) -> Ran {
    Cmd::lsync(mount).args("undo").args(words).run()
}

/// A mount before and after a download that replaced, deleted and brought something of each kind, and the bucket.
fn downloaded() -> (S3, Mount, Vec<Node>, Vec<Node>) {
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    here.write("data/changes", "as it was").mode("data/changes", 0o640).mtime("data/changes", 1_700_000_000_123_456_789);
    here.write("data/goes", "for a while").mode("data/goes", 0o751).write("stays", "x").link("link", "stays");
    here.dir("empty").mode("empty", 0o750);
    lsync(&s3, &here, "upload --yes").run().expect(0);
    lsync(&s3, &there, "download --yes").run().expect(0);
    let before = there.tree();
    here.write("data/changes", "new content").remove("data/goes").remove("link").link("link", "data/changes").remove("empty");
    here.write("new/file", "brought");
    lsync(&s3, &here, "upload --yes --delete").run().expect(0);
    lsync(&s3, &there, "download --yes --delete").run().expect(0);
    let after = there.tree();
    (s3, there, before, after)
}

/// A tree without what the download brought anew: an undo leaves that.
fn without_new(tree: Vec<Node>) -> Vec<Node> {
    tree.into_iter().filter(|node| !node.path.starts_with("new")).collect()
}

#[test]
fn what_a_download_replaced_and_deleted_comes_back_with_time_and_bits() {
    let (s3, there, before, after) = downloaded();
    let ran = undo(&there, "--yes").expect(0);
    assert!(ran.last_line().starts_with("undone: items=4 operation="), "{}", ran.stdout);
    assert_eq!(without_new(there.tree()), before);
    assert_eq!(there.text("new/file"), "brought");
    assert!(after != before);
    // Like an edit: an upload sends it, and a download does not take it away again.
    let down = lsync(&s3, &there, "download --yes --json").run().expect(0);
    assert_eq!(down.summary()["protected"], 2, "{}", down.stdout);
    lsync(&s3, &there, "upload --yes").run().expect(0);
    assert_eq!(s3.content("data/changes"), b"as it was");
    assert_eq!(s3.content("data/goes"), b"for a while");
}

#[test]
fn an_undo_can_be_undone_and_that_too() {
    let (_s3, there, before, after) = downloaded();
    for round in 0..2 {
        undo(&there, "--yes").expect(0);
        assert_eq!(without_new(there.tree()), before, "round {round}");
        undo(&there, "--yes").expect(0);
        assert_eq!(there.tree(), after, "round {round}");
    }
}

#[test]
fn what_was_changed_since_is_kept_until_overwrite_says_otherwise() {
    let (_s3, there, before, _) = downloaded();
    there.write("data/changes", "worked on since").write("data/goes", "made anew");
    let ran = undo(&there, "--yes").expect(6);
    assert!(ran.says("data/changes: it was changed here since"), "{}", ran.stderr);
    assert!(ran.says("data/goes: something stands there again"), "{}", ran.stderr);
    assert_eq!(ran.last_line(), "incomplete: 2 changed here since and kept");
    assert_eq!((there.text("data/changes").as_str(), there.text("data/goes").as_str()), ("worked on since", "made anew"));
    let operation = fs::read_dir(there.path(".lsync/trash")).expect("a trash").map(|dir| dir.expect("an entry").file_name());
    let first = operation.into_iter().find(|id| there.path(&format!(".lsync/trash/{}/data/changes", id.display())).exists());
    let first = first.expect("it is still in the trash").into_string().expect("UTF-8");
    undo(&there, &format!("--yes --overwrite {}", &first[..8])).expect(0);
    assert_eq!(without_new(there.tree()), before);
    let kept = there.trash();
    assert!(["worked on since", "made anew"].iter().all(|text| kept.iter().any(|kept| kept == text)), "{kept:?}");
    undo(&there, "--yes").expect(0);
    assert_eq!((there.text("data/changes").as_str(), there.text("data/goes").as_str()), ("worked on since", "made anew"));
}

#[test]
fn a_directory_that_made_room_for_a_file_comes_back_whole() {
    let (s3, here, there) = (S3::start(), Mount::with(&[("dir/a", "1"), ("dir/sub/b", "2")]), Mount::new());
    lsync(&s3, &here, "upload --yes").run().expect(0);
    lsync(&s3, &there, "download --yes").run().expect(0);
    let before = there.tree();
    here.remove("dir").write("dir", "now a file");
    lsync(&s3, &here, "upload --yes --delete --max-delete 100%").run().expect(0);
    lsync(&s3, &there, "download --yes --delete --max-delete 100%").run().expect(0);
    let after = there.tree();
    undo(&there, "--yes").expect(0);
    assert_eq!(there.tree(), before);
    let ran = undo(&there, "--yes").expect(6);
    assert!(ran.says("dir: a directory that is not empty stands there now"), "{}", ran.stdout);
    undo(&there, "--yes --overwrite").expect(0);
    assert_eq!(there.tree(), after);
}

/// "One confirmation": nothing changes without it, and the last line of standard error is the command to run.
#[test]
fn nothing_changes_without_a_confirmation() {
    let (_s3, there, _, after) = downloaded();
    let dry = undo(&there, "--dry-run").expect(0);
    assert!(dry.says("4 items") && dry.says("replace data/changes") && dry.says("bring back data/goes"), "{}", dry.stdout);
    assert_eq!(dry.last_line(), "dry run: nothing was changed");
    let refused = undo(&there, "").expect(5);
    assert_eq!(refused.last_line(), "incomplete: not confirmed, nothing was changed");
    let command = refused.stderr.lines().last().expect("a command").to_owned();
    assert!(command.contains(" undo --yes "), "{command}");
    let mut pty = Pty::start(&Cmd::lsync(&there).args("undo"), 80, 40);
    pty.wait_for("Bring back 4 items? [y/N]").send("n\r");
    assert_eq!((pty.wait(), pty.wrapped()), (5, Vec::new()));
    assert_eq!(there.tree(), after);
    Cmd::program("/bin/sh", there.root()).args("-c").arg(command).env("LSYNC_MOUNTS", there.mounts()).run().expect(0);
    assert!(there.tree() != after);
}

#[test]
fn json_tells_each_item_and_ends_in_a_summary() {
    let (_s3, there, ..) = downloaded();
    there.write("data/changes", "worked on since");
    let ran = undo(&there, "--yes --json").expect(6);
    let items: Vec<(String, String)> = ran
        .lines("item")
        .iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line["outcome"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(items, ["data/goes", "empty", "link"].map(|path| (path.to_owned(), "done".to_owned())));
    let summary = ran.summary();
    assert_eq!(
        (&summary["command"], &summary["restored"], &summary["conflicts"], &summary["complete"]),
        (&"undo".into(), &3.into(), &1.into(), &false.into())
    );
    let none = Mount::new();
    fs::create_dir(none.path(".lsync")).expect("a directory");
    let ran = undo(&none, "--yes --json").expect(2);
    assert!(ran.stdout.contains("there is nothing to undo"), "{}", ran.stdout);
    assert_eq!(undo(&there, "--yes nosuch").expect(2).code, 2);
}

/// Containment: a planted link is not followed.
#[test]
fn nothing_is_brought_back_through_a_link() {
    let (_s3, there, ..) = downloaded();
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("changes"), "mine").expect("written");
    there.remove("data").link("data", outside.path().to_str().expect("UTF-8"));
    undo(&there, "--yes --overwrite").expect(3);
    assert_eq!(fs::read_to_string(outside.path().join("changes")).expect("there"), "mine");
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 1);
}
