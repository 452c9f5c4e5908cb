//! `upload --overwrite` and changes of kind when something goes wrong: what cannot be kept is not overwritten, and a stop stops.

use lsync::sandbox::{Action, Copies, Profile, Rule};
use rustix::process::Signal;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

fn history(s3: &S3) -> Vec<String> {
    s3.all_keys().into_iter().filter(|key| key.starts_with(".lsync/history/")).collect()
}

/// A mount that holds `mine` where the bucket holds `theirs`.
fn differing(paths: &[&str]) -> (S3, Mount) {
    let (s3, mount) = (S3::start(), Mount::new());
    paths.iter().for_each(|path| {
        mount.write(path, "mine");
        s3.put(path, "theirs");
    });
    (s3, mount)
}

/// "What cannot be copied stays as it is": a refusal of one object is not one of all copies.
#[test]
fn what_cannot_be_copied_is_not_overwritten() {
    for action in [
        Action::Ok200Error("AccessDenied"),
        Action::Status(403, "AccessDenied"),
        Action::Status(400, "InvalidRequest"),
        Action::Status(400, "EntityTooLarge"),
        Action::Status(400, "KeyTooLongError"),
        Action::Status(400, "InvalidDigest"),
    ] {
        let (s3, mount) = differing(&["a-file", "b-file"]);
        let refused = Rule { times: 2, key_contains: Some("/a-file".into()), ..Rule::once("CopyObject", action.clone()) };
        s3.faults().push(refused);
        let ran = lsync(&s3, &mount, "upload --yes --overwrite").run().expect(3);
        assert!(ran.last_line().starts_with("incomplete: 1 failed"), "{action:?}: {}", ran.stdout);
        assert!(ran.says("it was not overwritten, because the bucket could not keep a copy of it"), "{action:?}: {}", ran.stderr);
        assert_eq!((s3.content("a-file"), s3.content("b-file")), (b"theirs".to_vec(), b"mine".to_vec()), "{action:?}");
        assert!(history(&s3).iter().all(|key| key.ends_with("/b-file")), "{:?}", history(&s3));
        s3.faults().clear();
        lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
        assert_eq!((s3.content("a-file"), history(&s3).len()), (b"mine".to_vec(), 2));
    }
}

/// The same before something is deleted, or makes room for another kind.
#[test]
fn what_cannot_be_copied_is_not_deleted_either() {
    let (s3, mount) = (S3::start(), Mount::with(&[("gone", "first"), ("kind", "first"), ("stays", "s")]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.put("gone", "theirs").put("kind", "theirs");
    mount.remove("gone").remove("kind").link("kind", "stays");
    s3.faults().push(Rule { times: 9, ..Rule::once("CopyObject", Action::Status(403, "AccessDenied")) });
    let ran = lsync(&s3, &mount, "upload --yes --overwrite --delete --max-delete 5").run().expect(3);
    assert!(ran.says("could not keep a copy of it"), "{}", ran.stderr);
    assert_eq!((s3.content("gone"), s3.content("kind")), (b"theirs".to_vec(), b"theirs".to_vec()));
}

#[test]
fn a_bucket_that_cannot_copy_is_said_before_anything_is_overwritten() {
    for copies in [Copies::Refused, Copies::Empty] {
        let (s3, mount) = differing(&["a"]);
        s3.faults().set_profile(Profile { copies, ..Profile::default() });
        let before = s3.all_keys();
        let told = lsync(&s3, &mount, "upload --dry-run --overwrite --json").run().expect(0);
        assert_eq!((told.lines("action")[0]["copied_first"].clone(), s3.all_keys()), (true.into(), before), "a dry run writes nothing");
        let ran = lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
        assert!(ran.says("This bucket cannot copy objects, so this cannot be undone."), "{}", ran.stderr);
        assert_eq!((s3.content("a"), history(&s3)), (b"mine".to_vec(), Vec::new()));
        s3.put("a", "theirs again");
        let told = lsync(&s3, &mount, "upload --dry-run --overwrite --json").run().expect(0);
        assert_eq!(told.lines("action")[0]["copied_first"], false, "it is remembered");
    }
}

/// The plan said that there would be a copy, so that it is kept to; the next plan knows better.
#[test]
fn a_bucket_that_stops_copying_loses_nothing_that_the_plan_would_have_kept() {
    let (s3, mount) = differing(&["a"]);
    s3.faults().push(Rule { skip: 1, times: 9, ..Rule::once("CopyObject", Action::Status(501, "NotImplemented")) });
    let ran = lsync(&s3, &mount, "upload --yes --overwrite").run().expect(3);
    assert!(ran.says("its plan will say that this cannot be undone") && s3.content("a") == b"theirs", "{}", ran.stderr);
    let ran = lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
    assert!(ran.says("This bucket cannot copy objects") && s3.content("a") == b"mine", "{}", ran.stderr);
}

#[test]
fn what_is_too_large_for_one_copy_is_copied_by_parts_with_what_goes_with_it() {
    let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
    other.write("large.csv", noise(20 << 20));
    lsync(&s3, &other, "upload --yes").run().expect(0);
    mount.write("large.csv", "mine");
    s3.faults().set_profile(Profile { copy_limit: Some(9 << 20), ..Profile::default() });
    lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
    let kept = history(&s3);
    assert!(kept.len() == 1 && kept[0].ends_with("/large.csv"), "{kept:?}");
    let (content, _, metadata) = s3.get_object(&s3.store.bucket, &kept[0]).expect("the copy");
    assert_eq!((content == noise(20 << 20), metadata.contains_key("mtime")), (true, true), "{metadata:?}");
    assert_eq!(s3.content("large.csv"), b"mine");
}

#[test]
fn a_copy_whose_key_would_be_too_long_is_kept_under_a_shorter_one_that_names_the_path() {
    let path = ["d".repeat(250).as_str(); 4].join("/");
    let (s3, mount) = differing(&[&path]);
    lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
    let kept = history(&s3);
    assert!(kept.len() == 2 && kept.iter().all(|key| key.len() < 200), "{kept:?}");
    assert_eq!(kept[1], format!("{}.path", kept[0]));
    assert_eq!((s3.content(&kept[0]), s3.content(&kept[1])), (b"theirs".to_vec(), path.clone().into_bytes()));
    assert_eq!(s3.content(&path), b"mine");
}

/// One after the other, neither the second copy nor the second removal would come while the first is held.
#[test]
fn copies_and_removals_are_under_way_side_by_side() {
    let files: Vec<String> = (0..8).map(|n| format!("file-{n}")).collect();
    let paths: Vec<&str> = files.iter().map(String::as_str).collect();
    let held = |s3: &S3, mount: &Mount, operation, key: &str, words: &str| {
        let hold = Rule { times: 6, key_contains: Some(key.into()), ..Rule::once(operation, Action::Hold) };
        s3.faults().push(hold);
        let run = lsync(s3, mount, words).start();
        s3.until_all_hit();
        s3.faults().release();
        run.wait().expect(0);
    };
    let (s3, mount) = differing(&paths);
    held(&s3, &mount, "CopyObject", "/file-", "upload --yes --overwrite --jobs 8");
    assert_eq!(history(&s3).len(), 8);
    paths.iter().for_each(|path| _ = mount.remove(path).link(path, "x"));
    held(&s3, &mount, "DeleteObject", "file-", "upload --yes --jobs 8");
    let (s3, mount) = (S3::start(), Mount::new());
    paths.iter().for_each(|path| _ = mount.write(path, "mine"));
    mount.write("stays", "s");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    paths.iter().for_each(|path| _ = mount.remove(path));
    held(&s3, &mount, "DeleteObject", "file-", "upload --yes --delete --max-delete 8 --jobs 8");
    assert_eq!(s3.keys(), ["stays"]);
}

#[test]
fn what_is_overwritten_is_kept_whatever_etags_the_store_lists() {
    for answer_composite_list_other in [false, true] {
        let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
        s3.faults().set_profile(Profile { answer_composite_list_other, ..Profile::default() });
        other.write("large", noise(17 << 20));
        lsync(&s3, &other, "upload --yes").run().expect(0);
        mount.write("large", "mine");
        lsync(&s3, &mount, "upload --yes").run().expect(6);
        lsync(&s3, &mount, "upload --yes --overwrite").run().expect(0);
        let kept = history(&s3);
        assert!(kept.len() == 1 && kept[0].ends_with("/large") && s3.content(&kept[0]) == noise(17 << 20), "{kept:?}");
        assert_eq!(s3.content("large"), b"mine");
    }
}

#[test]
fn a_stop_while_room_is_made_removes_nothing_more() {
    let files: Vec<String> = (0..6).map(|n| format!("dir{n}")).collect();
    let (s3, mount) = (S3::start(), Mount::new());
    files.iter().for_each(|file| _ = mount.write(file, "a file").root());
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    files.iter().for_each(|file| _ = mount.remove(file).write(&format!("{file}/below"), "a directory").root());
    s3.faults().push(Rule { skip: 1, ..Rule::once("DeleteObject", Action::Hold) });
    let mut run = lsync(&s3, &mount, "upload --yes --jobs 1").start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    run.wait_for_stderr("stopping cleanly");
    s3.faults().release();
    let ended = run.wait().expect(130);
    assert!(ended.last_line().starts_with("incomplete: interrupted"), "{}", ended.stdout);
    assert_eq!(s3.keys().len(), 4, "two were removed and four were not: {:?}", s3.keys());
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.keys(), files.iter().map(|file| format!("{file}/below")).collect::<Vec<_>>());
}

#[test]
fn a_refusal_while_room_is_made_leaves_what_stands_there() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "a file"), ("b", "a file")]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    mount.remove("a").link("a", "c").remove("b").link("b", "c").write("c", "new");
    s3.faults().push(Rule { times: 10, ..Rule::once("DeleteObject", Action::Status(403, "AccessDenied")) });
    let ran = lsync(&s3, &mount, "upload --yes --jobs 1").run().expect(4);
    assert!(ran.last_line().contains("AccessDenied"), "{}", ran.stdout);
    assert_eq!(s3.keys(), ["a", "b", "c"]);
    s3.faults().clear();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.keys(), ["c"]);
}
