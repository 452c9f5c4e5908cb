//! Files in parts against a real server: what is not held in memory whole is still sent as it was hashed, or not at all.

#![cfg(feature = "sandbox")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::streamed::{MEMORY_BYTES, Range, Streamed};
use super::*;
use crate::config::{Credentials, Secret, Store};
use crate::digest::digest_one;
use crate::engine::Stop;
use crate::event::Observer;
use crate::local::hash::Source;
use crate::local::mount::Mount;
use crate::path::Prefix;
use crate::remote::connect::{Network, connect};
use crate::sandbox::{Action, Options, Rule, Server};

const MIB: u64 = 1 << 20;

/// A mount, a server with a bucket, and what a run has.
pub(super) struct Place {
    pub(super) ends: Ends,
    uploads: Uploads,
    originals: Originals<'static>,
    server: Server,
    temp: tempfile::TempDir,
}

impl Place {
    pub(super) async fn new(observer: Observer) -> Place {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("mount");
        fs::create_dir(&root).unwrap();
        let options = Options {
            dir: temp.path().join("store"),
            address: ([127, 0, 0, 1], 0).into(),
            access_key_id: "KEYID".into(),
            secret_access_key: "geheim".into(),
            buckets: vec!["bucket".into()],
            durable: false,
        };
        let server = Server::start(options).await.unwrap();
        let keys =
            Credentials::Keys { access_key_id: "KEYID".into(), secret_access_key: Secret::new("geheim".into()), session_token: None };
        let store = Store {
            bucket: "bucket".into(),
            prefix: Prefix::new("").unwrap(),
            region: "r".into(),
            endpoint_url: Some(server.endpoint()),
            credentials: keys,
            allow_http: false,
            gateway: crate::config::Gateway::default(),
        };
        let bucket = connect(&store, &Network::default()).await.unwrap();
        let mount = Arc::new(Mount::open(&root).unwrap());
        let ends = Ends { mount, bucket, observer, stop: Stop::default(), claim: crate::local::lock::Claim::default() };
        let originals = Originals::new(&ends, &[], &[], &crate::profile::Profile::default());
        Place { uploads: Uploads::new(&ends, "op"), originals, ends, server, temp }
    }

    fn write(&self, content: &[u8]) {
        fs::write(self.temp.path().join("mount/f"), content).unwrap();
    }

    fn stamp(&self) -> Stamp {
        match self.ends.mount.look(&path()).unwrap() {
            Some(Looked::File(stamp, _)) => stamp,
            other => panic!("{other:?}"),
        }
    }

    fn pace(&self, max_memory: u64) -> Pace {
        Pace::new(8, max_memory, self.ends.stop.clone())
    }

    fn object(&self) -> Option<Vec<u8>> {
        self.server.get_object("bucket", "f").map(|(content, ..)| content)
    }
}

fn path() -> RelPath {
    RelPath::new("f").unwrap()
}

/// Bytes that differ from place to place, and with the version near the end.
fn content(bytes: u64, version: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(bytes).unwrap()];
    for (at, eight) in content.chunks_exact_mut(8).enumerate() {
        eight.copy_from_slice(&(at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    content.splice(content.len() - 8.., version.to_le_bytes());
    content
}

/// Nothing is held in memory whole that is larger than this.
fn sender<'a>(place: &'a Place, pace: &'a Pace, buffered_max: u64) -> Sender<'a> {
    Sender {
        ends: &place.ends,
        pace,
        enforce: Enforce::Conditional,
        uploads: &place.uploads,
        originals: &place.originals,
        rest: Rest::new(std::time::Duration::ZERO, crate::local::state::Clock { now: 0, granularity: 1 }),
        buffered_max,
        gate: None,
        grows: None,
    }
}

/// "Every in-scope file was hashed from the same buffer that was sent (parts over 64 MiB: hashed while sent and compared)".
#[tokio::test]
async fn large_parts_arrive_as_they_were_hashed_however_often_they_are_tried() {
    let place = Place::new(Arc::new(|_| {})).await;
    let all = content(20 * MIB, 1);
    place.write(&all);
    for action in [Action::Status(503, "SlowDown"), Action::DropConnection, Action::DropAnswer] {
        place.server.faults().push(Rule { skip: 1, ..Rule::once("UploadPart", action) });
    }
    let pace = place.pace(16 * MIB);
    let sent = sender(&place, &pace, MIB).file(&path(), place.stamp(), &Guard::Absent).await.unwrap();
    assert!(place.server.faults().pending() == 0 && place.object() == Some(all.clone()));
    let md5s = all.chunks(8 << 20).map(digest_one).collect();
    assert_eq!(sent.entry.file().unwrap().digests.parts.as_deref(), Some(&crate::digest::Parts { part_bytes: 8 * MIB, md5s }));
}

#[tokio::test]
async fn a_part_that_is_no_longer_what_was_hashed_is_never_taken() {
    let place = Place::new(Arc::new(|_| {})).await;
    place.write(&content(9 * MIB, 1));
    let source = Arc::new(Source::open(&place.ends.mount, &path(), &place.stamp()).unwrap());
    let upload = place.ends.bucket.begin_upload("f", About::default()).await.unwrap();
    // As if it had been another content, under the same stamp, when it was hashed.
    let hashed = digest_one(&content(9 * MIB, 2));
    let streamed = Streamed::new(Range { source, offset: 0, bytes: 9 * MIB }, hashed);
    let error = place.ends.bucket.upload_part(&upload, 1, streamed.body(), hashed).await.unwrap_err();
    assert_eq!(error.kind, RemoteKind::Stopped);
    assert!(matches!(streamed.verdict(), Err(ReadError::Changed)));
    let parts = [crate::digest::ETag::Hex(hashed)];
    let complete = place.ends.bucket.complete_upload(&upload, &parts, 9 * MIB, &Guard::Absent, Enforce::Conditional).await;
    assert_eq!(complete.unwrap_err().kind, RemoteKind::Integrity, "no such part");
}

/// Rewrites the file when its first bytes go out, so many times in all.
async fn rewritten(times: u32) -> (Place, Result<Sent, NotSent>, u32) {
    let (changes, retried) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let file = Arc::new(std::sync::OnceLock::<fs::File>::new());
    let (at, said, into) = (Arc::clone(&changes), Arc::clone(&retried), Arc::clone(&file));
    let rewrite = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let observer: Observer = Arc::new(move |event| match event {
        Event::Moved { .. } if rewrite.swap(false, Ordering::SeqCst) && at.load(Ordering::SeqCst) < times => {
            let version = 2 + u64::from(at.fetch_add(1, Ordering::SeqCst));
            into.get().unwrap().write_all_at(&version.to_le_bytes(), 20 * MIB - 8).unwrap();
        }
        Event::Retried { why, .. } if why == "it changed while it was read" => {
            said.fetch_add(1, Ordering::SeqCst);
            rewrite.store(true, Ordering::SeqCst);
        }
        _ => {}
    });
    let place = Place::new(observer).await;
    place.write(&content(20 * MIB, 1));
    file.set(fs::File::options().write(true).open(place.temp.path().join("mount/f")).unwrap()).unwrap();
    let pace = place.pace(16 * MIB);
    let sent = sender(&place, &pace, MIB).file(&path(), place.stamp(), &Guard::Absent).await;
    let said = retried.load(Ordering::SeqCst);
    (place, sent, said)
}

#[tokio::test]
async fn a_file_that_is_rewritten_while_a_large_part_goes_out_is_sent_as_it_is_then() {
    let (place, sent, retried) = rewritten(1).await;
    assert_eq!(sent.unwrap().stamp, place.stamp());
    assert!(retried == 1 && place.object() == Some(content(20 * MIB, 2)));
    assert!(place.server.open_uploads("bucket").is_empty());
}

#[tokio::test]
async fn a_file_that_is_rewritten_again_and_again_is_not_sent() {
    let (place, sent, retried) = rewritten(9).await;
    assert!(matches!(sent, Err(NotSent::Item(FailureKind::StillWritten, _))), "{sent:?}");
    assert!(retried == 3 && place.object().is_none() && place.server.open_uploads("bucket").is_empty());
}

/// "… and whose source bytes hash the same": as if the file had been changed and its times set back.
#[tokio::test]
async fn a_part_that_the_store_holds_of_another_content_is_sent_again() {
    let place = Place::new(Arc::new(|_| {})).await;
    let old = content(20 * MIB, 1);
    place.write(&old);
    let begun = place.uploads.begin(&path(), place.stamp(), 8 * MIB, about(&path(), place.stamp())).await;
    let (upload, mut open) = begun.map_err(|_| "not begun").unwrap();
    for (number, part) in (1..).zip(old.chunks(8 << 20)) {
        let md5 = digest_one(part);
        let etag = place.ends.bucket.upload_part(&upload, number, Bytes::copy_from_slice(part), md5).await.unwrap();
        open.parts.insert(number, (md5, etag));
    }
    let new = content(20 * MIB, 2);
    place.write(&new);
    open.stamp = place.stamp();
    place.uploads.keep(open);
    place.server.log().take();
    let pace = place.pace(64 * MIB);
    let sent = sender(&place, &pace, BUFFERED_MAX).file(&path(), place.stamp(), &Guard::Absent).await.unwrap();
    assert!(place.object() == Some(new), "torn");
    assert_eq!((sent.kept, sent.nonce, place.server.log().count("UploadPart")), (16 * MIB, upload.nonce, 1));
}

/// "`max_memory` bounds all buffers in flight".
#[tokio::test]
async fn the_largest_file_fits_into_a_small_memory() {
    let place = Place::new(Arc::new(|_| {})).await;
    let part = part_bytes_for(5 << 40).unwrap();
    assert_eq!(part, 1 << 30);
    for memory in [16 * MIB, 256 * MIB] {
        let pace = place.pace(memory);
        let turns = futures_util::future::join_all((0..8).map(|_| pace.part_turn_with(MEMORY_BYTES)));
        let turns = tokio::time::timeout(std::time::Duration::from_secs(60), turns).await.expect("no turn waits for another");
        assert!(turns.iter().filter(|turn| turn.is_ok()).count() == 8 && 8 * MEMORY_BYTES <= memory);
    }
    // Sparse, in parts as large as those of a file of a terabyte.
    let file = fs::File::create(place.temp.path().join("mount/f")).unwrap();
    file.set_len(140 * MIB).unwrap();
    file.write_all_at(b"an end", 140 * MIB - 6).unwrap();
    let pace = place.pace(16 * MIB);
    let sent = sender(&place, &pace, BUFFERED_MAX).in_parts(&path(), place.stamp(), 72 * MIB, &Guard::Absent).await;
    assert_eq!(sent.map_err(|_| "not sent").unwrap().0.digests.parts.unwrap().md5s.len(), 2);
    let stored = place.object().unwrap();
    assert!(stored.len() as u64 == 140 * MIB && stored.ends_with(b"\0an end"));
}

#[test]
fn content_types_come_from_the_name() {
    assert_eq!(content_type("notes.txt"), "text/plain; charset=utf-8");
    assert_eq!(content_type("a.npy"), "application/octet-stream");
    assert_eq!(content_type("plot.png"), "image/png");
    assert_eq!(content_type("config.json"), "application/json; charset=utf-8");
}

/// "Sent up to its length at the look, if the bucket has nothing there, or holds a prefix of it."
#[tokio::test]
async fn a_small_file_that_grows_is_sent_where_it_goes_on_from_what_the_bucket_holds() {
    let place = Place::new(Arc::new(|_| {})).await;
    let pace = place.pace(16 * MIB);
    let sender = sender(&place, &pace, BUFFERED_MAX);
    let grown = async |content: &[u8], held: Option<&File>| {
        let guard = held.map_or(Guard::Absent, |held| Guard::Is(held.etag.clone().unwrap(), held.size));
        place.write(content);
        let before = Stamp { size: content.len() as u64 - 1, ..place.stamp() };
        sender.grown(&path(), before, &guard, held).await.map(|sent| sent.map(|sent| (sent.is_growing, sent.entry.file().unwrap().clone())))
    };
    let (growing, first) = grown(b"epoch 1\n", None).await.unwrap().unwrap();
    assert!(growing && first.size == 8 && place.object().unwrap() == b"epoch 1\n");
    let (_, second) = grown(b"epoch 1\nepoch 2\n", Some(&first)).await.unwrap().unwrap();
    assert!(second.size == 16 && place.object().unwrap() == b"epoch 1\nepoch 2\n");
    // Another beginning, and an object of which nothing tells what it holds.
    let other = grown(b"Epoch 1\nepoch 2\nepoch 3\n", Some(&second)).await;
    assert!(matches!(other, Err(NotSent::Item(FailureKind::StillWritten, _))), "{other:?}");
    let untold = File { digests: Digests::default(), ..second.clone() };
    assert!(grown(b"epoch 1\nepoch 2\nepoch 3\n", Some(&untold)).await.unwrap().is_none());
    assert_eq!(place.object().unwrap(), b"epoch 1\nepoch 2\n");
}
