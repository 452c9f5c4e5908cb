//! `lsync clean`: what is ours and dead is given up, what is another's is listed and stays.

use serde_json::Value;

use crate::resume_up::{begun_by_another, kill_after_three_parts, kill_while_it_begins, lsync, open, write_large};
use crate::support::mount::Mount;
use crate::support::s3::S3;
use lsync::sandbox::{Action, Rule};

/// Key, whose, outcome of every upload that was found.
fn found(lines: &[Value]) -> Vec<String> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<String> = lines
        .iter()
        .filter(|line| line["type"] == "open_upload")
        .map(|line| format!("{} {} {}", text(line, "key"), text(line, "whose"), text(line, "outcome")))
        .collect();
    rows.sort();
    rows
}

/// Journals of uploads that are still there; what else a killed run left is the next run's business.
fn journals(mount: &Mount) -> usize {
    mount.left_behind().iter().filter(|path| path.ends_with(".uploads")).count()
}

/// "`lsync clean` lists the others and touches none".
#[test]
fn ours_is_given_up_and_another_programs_is_listed_with_its_age_and_stays() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    let theirs = begun_by_another(&s3, 1);
    let seen = lsync(&s3, &mount, "clean --dry-run --json").run().expect(0);
    assert_eq!(found(&seen.json()), ["large.bin other kept", "large.bin ours would_give_up"]);
    assert!(seen.json().iter().filter(|line| line["type"] == "open_upload").all(|line| line["begun_ns"].is_u64()), "{}", seen.stdout);
    let asks = lsync(&s3, &mount, "clean").run().expect(5);
    assert!(asks.stderr.trim_end().ends_with(" clean --yes") && asks.stdout.contains("ours"), "{}{}", asks.stdout, asks.stderr);
    assert_eq!(open(&s3).len(), 2, "nothing was touched so far");
    let ran = lsync(&s3, &mount, "clean --yes").run().expect(0);
    assert_eq!(ran.last_line(), "gave up 1 unfinished upload; 1 unfinished upload of others was not touched");
    assert!(ran.stdout.contains("given up  large.bin  begun 2") && ran.stdout.contains("(just now)"), "{}", ran.stdout);
    assert_eq!((s3.open_uploads(&s3.store.bucket), journals(&mount)), (vec![("large.bin".to_owned(), theirs)], 0));
    let again = lsync(&s3, &mount, "clean --yes --json").run().expect(0);
    assert_eq!(found(&again.json()), ["large.bin other kept"]);
    let summary = again.summary();
    assert_eq!((&summary["given_up"], &summary["left"], &summary["others"]), (&0.into(), &0.into(), &1.into()));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}

#[test]
fn an_upload_whose_id_nobody_heard_is_given_up() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_while_it_begins(&s3, &mount);
    let ran = lsync(&s3, &mount, "clean --yes --json").run().expect(0);
    assert_eq!((found(&ran.json()), open(&s3).len()), (vec!["large.bin ours given_up".to_owned()], 0));
    assert_eq!(journals(&mount), 0);
}

#[test]
fn what_could_not_be_removed_is_said_and_tried_again() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    s3.faults().push(Rule::once("AbortMultipartUpload", Action::Status(403, "AccessDenied")));
    let ran = lsync(&s3, &mount, "clean --yes").run().expect(3);
    assert!(ran.stdout.contains("AccessDenied") && ran.last_line().ends_with("1 could not be removed: run it again"), "{}", ran.stdout);
    assert_eq!(open(&s3).len(), 1);
    lsync(&s3, &mount, "clean --yes").run().expect(0);
    assert_eq!((open(&s3).len(), journals(&mount)), (0, 0));
}

#[test]
fn a_store_that_lists_no_uploads_is_rid_of_ours_all_the_same() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    kill_after_three_parts(&s3, &mount, "upload --yes");
    s3.faults().push(Rule { times: 2, ..Rule::once("ListMultipartUploads", Action::Status(501, "NotImplemented")) });
    let ran = lsync(&s3, &mount, "clean --yes").run().expect(0);
    assert_eq!((ran.last_line(), open(&s3).len()), ("gave up 1 unfinished upload", 0));
    assert!(ran.stderr.contains("the store does not list unfinished uploads: only those of this mount are known"), "{}", ran.stderr);
}

/// "11 | another run holds the lock".
#[test]
fn an_upload_that_runs_is_not_touched() {
    let (s3, mount) = (S3::start(), Mount::new());
    write_large(&mount, 1);
    s3.faults().push(Rule { skip: 3, ..Rule::once("UploadPart", Action::Hold) });
    let run = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    let ran = lsync(&s3, &mount, "clean --yes --json").run().expect(0);
    assert_eq!(found(&ran.json()), ["large.bin running kept"]);
    s3.faults().release();
    run.wait().expect(0);
}
