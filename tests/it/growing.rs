//! Logs that never rest: what they hold when the run looks reaches the bucket where the bucket only gains by that, and nothing else does.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use lsync::sandbox::{Action, Profile, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

/// More than one request takes.
const LARGE: usize = 17 << 20;

fn upload(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes")
}

fn append(mount: &Mount, text: &str) {
    let mut file = OpenOptions::new().append(true).open(mount.path("train.log")).expect("the log opens");
    file.write_all(text.as_bytes()).expect("it takes more");
}

/// Uploads while the log changes once under each of the three tries to read it at rest, and once more under what comes then.
fn upload_while(s3: &S3, mount: &Mount, change: &dyn Fn()) -> Ran {
    let hold = || s3.faults().push(Rule { key_contains: Some("train.log".into()), ..Rule::once("CreateMultipartUpload", Action::Hold) });
    hold();
    let run = upload(s3, mount).start();
    for at in 0..3 {
        s3.until_all_hit();
        change();
        if at < 2 {
            hold();
        }
        s3.faults().release();
    }
    run.wait()
}

fn log(mount: &Mount) -> Vec<u8> {
    std::fs::read(mount.path("train.log")).expect("the log can be read")
}

/// The log is in the bucket up to some length, which is what was said.
#[track_caller]
fn sent_up_to(s3: &S3, mount: &Mount, ran: &Ran) -> usize {
    let object = s3.content("train.log");
    let said = format!("train.log: it is still being written: sent up to {} bytes", object.len());
    assert!(ran.says(&said), "{said}: {} {}", ran.stdout, ran.stderr);
    assert_eq!(ran.last_line(), "incomplete: still being written: train.log");
    assert!(log(mount).starts_with(&object) && s3.open_uploads(&s3.store.bucket).is_empty());
    object.len()
}

#[test]
fn a_log_that_never_rests_is_sent_up_to_its_length_and_goes_on_from_there() {
    for profile in [Profile::default(), Profile { opaque_multipart_etag: true, ..Profile::default() }] {
        let (s3, mount, fresh) = (S3::start(), Mount::new(), Mount::new());
        s3.faults().set_profile(profile);
        mount.write("train.log", noise(LARGE)).write("other", "x");
        let grows = || append(&mount, "epoch\n");
        let first = upload_while(&s3, &mount, &grows).expect(3);
        let first = sent_up_to(&s3, &mount, &first);
        assert_eq!(first, LARGE + 18);
        grows();
        let second = upload_while(&s3, &mount, &grows).expect(3);
        assert!(sent_up_to(&s3, &mount, &second) > first);
        // What is published is what the object holds.
        Cmd::lsync(&fresh).on(&s3.store).args("download --yes").run().expect(0);
        assert!(log(&fresh) == s3.content("train.log"));
        grows();
        assert_eq!(Cmd::lsync(&mount).on(&s3.store).args("status --check=upload").run().code, 10);
        assert!(upload(&s3, &mount).run().expect(0).last_line().starts_with("complete: "));
        assert!(log(&mount) == s3.content("train.log"));
    }
}

/// "Half a checkpoint must never replace a whole one."
#[test]
fn a_file_that_is_written_in_place_and_grows_waits_and_replaces_nothing() {
    let (s3, mount) = (S3::start(), Mount::new());
    let whole = noise(LARGE);
    mount.write("train.log", &whole);
    upload(&s3, &mount).run().expect(0);
    let rewritten = || {
        let file = OpenOptions::new().write(true).open(mount.path("train.log")).expect("it opens");
        file.write_all_at(b"new", 0).expect("it can be written");
        append(&mount, "more");
    };
    rewritten();
    let ran = upload_while(&s3, &mount, &rewritten).expect(3);
    assert!(ran.last_line().ends_with("still being written: train.log") && !ran.says("sent up to"), "{} {}", ran.stdout, ran.stderr);
    assert!(s3.content("train.log") == whole && s3.open_uploads(&s3.store.bucket).is_empty());
}

/// "With `--settle` it waits, as documented."
#[test]
fn a_log_waits_where_files_must_have_rested() {
    let (s3, mount) = (S3::start(), Mount::with(&[("train.log", "begin\n")]));
    upload(&s3, &mount).args("--settle 1h").run().expect(3);
    assert!(s3.keys().is_empty());
}
