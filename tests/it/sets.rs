//! Files that belong together (a database with its log): sent as one or not at all, and never brought as a mixture.

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::two::Two;

const DATABASE: &str = "runs/run.db";
const LOG: &str = "runs/run.db-wal";

/// A database that is sent in parts, its log, and the index of that.
fn agreed() -> Two {
    let two = Two::empty();
    two.a.write(DATABASE, noise(17 << 20)).write(LOG, "log 1").write("runs/run.db-shm", "index").write("other", "1");
    two.share();
    two
}

/// Uploads on `a`, and writes to `path` when the first part of the database has been read and is not answered yet.
fn written_while_it_is_sent(two: &Two, path: &str) -> String {
    let rule = Rule { key_contains: Some(DATABASE.into()), ..Rule::once("UploadPart", Action::Hold) };
    two.s3.faults().push(rule);
    let run = two.cmd_a("upload --yes").start();
    two.s3.until_all_hit();
    two.a.write(path, "written meanwhile");
    two.s3.faults().release();
    run.wait().expect(3).last_line().to_owned()
}

/// What the bucket holds of the set.
fn in_bucket(two: &Two) -> (Vec<u8>, Vec<u8>) {
    (two.s3.content(DATABASE), two.s3.content(LOG))
}

#[test]
fn none_of_a_set_replaces_anything_while_one_of_them_is_being_written() {
    let two = agreed();
    let before = in_bucket(&two);
    two.a.write(DATABASE, noise(18 << 20)).write(LOG, "log 2").write("other", "2");
    let said = written_while_it_is_sent(&two, LOG);
    assert_eq!(said, "incomplete: still being written: runs/run.db and 1 file that belongs to it");
    assert!(in_bucket(&two) == before && two.object("other") == "2", "what does not belong to it is sent all the same");
    // A member that need not be sent must be at rest too.
    two.a.write(DATABASE, noise(19 << 20)).write(LOG, "log 1");
    let said = written_while_it_is_sent(&two, "runs/run.db-shm");
    assert!(said.starts_with("incomplete: still being written: runs/run.db"), "{said}");
    assert!(in_bucket(&two) == before);
    // And none may come.
    two.a.write(DATABASE, noise(20 << 20));
    let said = written_while_it_is_sent(&two, "runs/run.db-journal");
    assert!(said.starts_with("incomplete: still being written: runs/run.db"), "{said}");
    assert!(in_bucket(&two) == before);
    two.a.remove("runs/run.db-journal").write(LOG, "log 3");
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn what_a_killed_upload_has_mixed_is_not_brought_and_the_next_one_heals_it() {
    let two = agreed();
    let before = two.b.tree();
    two.a.write(DATABASE, noise(18 << 20)).write(LOG, "log 2");
    two.s3.faults().push(Rule { key_contains: Some(LOG.into()), ..Rule::once("PutObject", Action::Hold) });
    let run = two.cmd_a("upload --yes").start();
    two.s3.until_all_hit();
    run.signal(Signal::KILL);
    run.wait();
    two.s3.faults().clear();
    two.s3.faults().release();
    let ran = two.b("download --yes").expect(3);
    assert!(ran.says("runs/run.db and the files that belong to it are of different uploads in the bucket"), "{}", ran.stderr);
    assert_eq!(two.b.tree(), before);
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(3);
    assert!(fresh.has("other") && !fresh.has(DATABASE) && !fresh.has(LOG));
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn what_only_a_part_of_got_there_is_published_as_torn() {
    let two = agreed();
    let before = two.b.tree();
    two.a.write(DATABASE, noise(18 << 20)).write(LOG, "log 2");
    let refused = Action::Status(400, "InvalidRequest");
    two.s3.faults().push(Rule { key_contains: Some(LOG.into()), times: 9, ..Rule::once("PutObject", refused) });
    two.a("upload --yes").expect(3);
    two.s3.faults().clear();
    two.b("download --yes").expect(3);
    assert_eq!(two.b.tree(), before);
    // As it is, if somebody wants it so.
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes --overwrite").run().expect(0);
    assert_eq!(fresh.text(LOG), "log 1");
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn another_programs_object_tears_a_set_until_it_is_uploaded_as_one() {
    let two = agreed();
    let before = two.b.tree();
    two.s3.put(LOG, "of another moment");
    two.b("download --yes").expect(3);
    assert_eq!(two.b.tree(), before);
    // Where all of it is the same, the next upload says so.
    two.b("download --yes --overwrite").expect(0);
    two.a("upload --yes --overwrite").expect(0);
    assert_eq!(two.object(LOG), "log 1");
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn a_log_that_a_checkpoint_removed_comes_nowhere_beside_the_new_database() {
    let two = Two::agreed(&[(DATABASE, "database 1"), (LOG, "log 1"), ("runs/run.db-shm", "index")]);
    two.a.write(DATABASE, "database 2").remove(LOG).remove("runs/run.db-shm");
    two.a("upload --yes").expect(0);
    assert_eq!(two.object(LOG), "log 1", "an upload deletes nothing");
    let fresh = Mount::new();
    let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert!(ran.says("runs/run.db-wal: left over in the bucket from an older version of runs/run.db"), "{}", ran.stderr);
    assert!(fresh.has(DATABASE) && !fresh.has(LOG));
    // What is left over where the old one was makes room, and can be had back.
    let ran = two.b("download --yes").expect(0);
    assert!(ran.says("Left over from databases that are replaced (to the trash):"), "{}", ran.stderr);
    assert!(ran.says("2 items (10 B) in the mount: deleted."), "{}", ran.stderr);
    assert_eq!(two.b.tree(), two.a.tree());
    assert_eq!(two.b.trash(), ["database 1", "index", "log 1"]);
    two.a("download --yes").expect(0);
    assert!(!two.a.has(LOG));
    // But what was written here since is nobody's to move away.
    let two = Two::agreed(&[(DATABASE, "database 1"), (LOG, "log 1"), ("runs/run.db-shm", "index")]);
    two.a.write(DATABASE, "database 2").remove(LOG);
    two.a("upload --yes").expect(0);
    two.b.write(LOG, "commits of this instance");
    let before = two.b.tree();
    two.b("download --yes").expect(6);
    assert_eq!(two.b.tree(), before);
}

#[test]
fn a_path_that_names_a_part_of_a_set_means_all_of_it() {
    let two = agreed();
    two.a.write(DATABASE, noise(18 << 20)).write(LOG, "log 2");
    two.a("upload --yes runs/run.db").expect(0);
    assert_eq!(two.object(LOG), "log 2");
    let fresh = Mount::new();
    let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes runs/run.db").run().expect(3);
    assert!(ran.says("runs/run.db: it belongs together with runs/run.db-wal, which is not among the PATHs; name both"), "{}", ran.stderr);
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes runs/run.db runs/run.db-wal runs/run.db-shm").run().expect(0);
}
