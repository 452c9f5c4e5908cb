//! `upload --overwrite` and changes of kind when something goes wrong: what cannot be kept is not overwritten, and a stop stops.

use lsync::sandbox::{Action, Profile, Rule};
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

/// "What `upload --overwrite` replaces is first copied to `.lsync/history/<op>/` where CopyObject works".
#[test]
fn what_cannot_be_kept_now_is_not_overwritten() {
    for action in [Action::Ok200Error("AccessDenied"), Action::Status(400, "InvalidDigest")] {
        let (s3, mount) = (S3::start(), Mount::with(&[("a", "mine")]));
        s3.put("a", "theirs");
        s3.faults().push(Rule { times: 2, ..Rule::once("CopyObject", action.clone()) });
        let ran = lsync(&s3, &mount, "upload --yes --overwrite").run();
        match action {
            // Denied or not supported: the plan has said that this cannot be undone.
            Action::Ok200Error(_) => assert!(ran.expect(0).stderr.contains("could not keep a copy") && s3.content("a") == b"mine"),
            _ => assert!(ran.expect(8).last_line().starts_with("incomplete: 1 failed") && s3.content("a") == b"theirs"),
        }
        assert_eq!(history(&s3), Vec::<String>::new());
    }
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
    let mut run = lsync(&s3, &mount, "upload --yes").start();
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
fn a_refusal_while_room_is_made_ends_the_run() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "a file"), ("b", "a file")]));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    mount.remove("a").link("a", "c").remove("b").link("b", "c").write("c", "new");
    s3.faults().push(Rule { times: 10, ..Rule::once("DeleteObject", Action::Status(403, "AccessDenied")) });
    let ran = lsync(&s3, &mount, "upload --yes").run().expect(4);
    assert!(ran.last_line().contains("AccessDenied"), "{}", ran.stdout);
    assert_eq!((s3.faults().pending(), s3.keys()), (9, vec!["a".to_owned(), "b".to_owned()]));
    s3.faults().clear();
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.keys(), ["c"]);
}
