//! Files that are written through shared mappings: while a page is dirty, a store into it moves no times, and on tmpfs never after a read.
//! No upload says complete over such a store, and no checksum outlives it.

use lsync::local::mount;
use lsync::local::witness::Writers;
use lsync::sandbox::{Action, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mapped::Mapped;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

fn upload(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("upload --yes --json")
}

fn status(s3: &S3, mount: &Mount) -> i32 {
    Cmd::lsync(mount).on(&s3.store).args("status --check").run().code
}

fn said_complete(ran: &Ran) -> bool {
    ran.json().pop().expect("a last line")["complete"] == true
}

fn warnings(ran: &Ran) -> Vec<String> {
    let lines = ran.json().into_iter().filter(|line| line["type"] == "warning");
    lines.map(|line| line["message"].as_str().expect("a text").to_owned()).collect()
}

/// A file whose first page is dirty and mapped.
fn dirty(size: usize) -> (S3, Mount, Mapped) {
    let mount = Mount::new();
    mount.write("data/array", noise(size));
    let mapped = Mapped::open(&mount.path("data/array"));
    mapped.store(b"epoch 1");
    (S3::start(), mount, mapped)
}

#[track_caller]
fn holds(s3: &S3, text: &[u8]) {
    assert_eq!(&s3.content("data/array")[..text.len()], text);
}

/// Of a file in one request, and of one in parts.
#[test]
fn a_store_after_the_file_was_read_is_never_complete_without_its_bytes() {
    for (size, operation) in [(100_000, "PutObject"), (17 << 20, "UploadPart")] {
        let (s3, mount, mapped) = dirty(size);
        // What a request carries was read and hashed before it began.
        s3.faults().push(Rule { key_contains: Some("data/array".into()), ..Rule::once(operation, Action::Hold) });
        let run = upload(&s3, &mount).start();
        s3.until_all_hit();
        mapped.store(b"epoch 2");
        s3.faults().release();
        let first = run.wait();
        if said_complete(&first) {
            holds(&s3, b"epoch 2");
        }
        upload(&s3, &mount).run().expect(0);
        holds(&s3, b"epoch 2");
    }
}

#[test]
fn a_store_after_the_run_is_seen_by_status_and_by_the_next_upload() {
    let (s3, mount, mapped) = dirty(100_000);
    upload(&s3, &mount).run().expect(0);
    for text in [b"epoch 2", b"epoch 3"] {
        mapped.store(text);
        assert_eq!(status(&s3, &mount), 10);
        upload(&s3, &mount).run().expect(0);
        holds(&s3, text);
        assert_eq!(status(&s3, &mount), 0);
    }
}

/// "Refused: not remembered, and told if it lasts."
#[test]
fn a_file_that_stays_open_for_writing_is_named_until_it_is_closed() {
    let (s3, mount, mapped) = dirty(100_000);
    let leased = mount::Mount::open(mount.root()).expect("it opens").writers() == Writers::Leased;
    let told = || warnings(&upload(&s3, &mount).run().expect(0));
    let expected = "data/array is open for writing in another program, which can change it without a trace in its times: \
                    lsync reads it again on every run";
    assert_eq!(told(), [""; 0]);
    for _ in 0..2 {
        assert_eq!(told(), [expected].map(str::to_owned)[..usize::from(leased)]);
    }
    drop(mapped);
    assert_eq!(told(), [""; 0]);
}
