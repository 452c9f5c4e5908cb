//! A large upload that a signal has stopped: what the store took of it stays, is told, and is gone on from or given up. Not one that is killed.

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::resume_up::{complete, lsync, open, same, write_large};
use crate::support::cmd::Ran;
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::wait::until;

/// An upload that a signal has stopped when the store had three of the large file's six parts.
fn stopped(signal: Signal, code: i32) -> (S3, Mount, Ran) {
    let (s3, mount) = (S3::start(), Mount::with(&[("b", "2")]));
    write_large(&mount, 1);
    s3.faults().push(Rule { skip: 3, ..Rule::once("UploadPart", Action::Hold) });
    let run = lsync(&s3, &mount, "upload -y").start();
    s3.until_all_hit();
    until("three parts and the other file are there", || (open(&s3), s3.keys().len()) == (vec![3], 1));
    run.signal(signal);
    let ended = run.wait().expect(code);
    s3.log().take();
    (s3, mount, ended)
}

/// "An interrupted large upload goes on from its last good parts": also one that a person or the system has stopped, which says so.
#[test]
fn a_large_upload_that_was_stopped_goes_on_from_what_the_store_has() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (s3, mount, ended) = stopped(signal, code);
        let says = "warning: large.bin: 3 of 6 parts are in the bucket and stay there; the next upload goes on from them";
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        assert!(ended.last_line().starts_with("incomplete: interrupted with 1 item left"), "{}", ended.stdout);
        assert_eq!((s3.keys(), open(&s3)), (vec!["b".to_owned()], vec![3]));
        complete(&s3, &mount, "0 3 1 0");
        assert!(same(&s3, &mount));
    }
}

/// What was stopped is no other program's: `lsync clean` knows it, and the next upload is rid of it when the file has changed.
#[test]
fn a_large_upload_that_was_stopped_and_will_not_go_on_is_given_up() {
    let (s3, mount, _) = stopped(Signal::INT, 130);
    lsync(&s3, &mount, "clean -y").run().expect(0);
    assert_eq!((open(&s3), mount.left_behind()), (vec![], vec![]));
    let (s3, mount, _) = stopped(Signal::INT, 130);
    write_large(&mount, 2);
    complete(&s3, &mount, "1 6 1 1");
    assert!(same(&s3, &mount));
}
