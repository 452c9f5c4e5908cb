//! A large download that was cut short goes on from what it has: it asks again for what was in flight and for nothing else, and never
//! mixes two versions of an object.

use std::fs;
use std::path::PathBuf;

use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;

use crate::support::cmd::{Cmd, Running};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::wait::until;

const MIB: usize = 1 << 20;
/// Ranges of a file of 32 MiB, in parts of 8 MiB.
const RANGES: usize = 4;

fn download(s3: &S3, mount: &Mount) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("download --yes -j 2")
}

/// A file of 32 MiB in the bucket, sent by lsync.
fn sent() -> (S3, Mount) {
    let (s3, here) = (S3::start(), Mount::new());
    here.write("large.bin", noise(32 * MIB)).mtime("large.bin", 1_700_000_000_123_456_789);
    Cmd::lsync(&here).on(&s3.store).args("upload --yes").run().expect(0);
    s3.log().take();
    (s3, here)
}

/// How many ranges of the file were asked for since the last call.
fn asked(s3: &S3) -> usize {
    s3.log().take().requests.iter().filter(|(operation, key)| *operation == "GetObject" && key.contains("large.bin")).count()
}

/// The part files in the mount, with what their records say.
fn part_files(mount: &Mount) -> Vec<(PathBuf, String)> {
    let dirs = fs::read_dir(mount.path(".lsync/tmp")).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let names = dirs.into_iter().flat_map(|dir| fs::read_dir(dir.expect("an entry").path()).into_iter().flatten());
    let records = names.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|end| end == "parts"));
    records.map(|path| (path.with_extension(""), fs::read_to_string(&path).unwrap_or_default())).collect()
}

fn parts_in(record: &str) -> usize {
    record.matches("{\"k\":").count()
}

/// Starts a download whose answers do not come any more after some, and waits until so many parts are noted.
fn cut_short(s3: &S3, mount: &Mount, after: u32, noted: usize) -> Running {
    let rule = Rule {
        key_contains: Some("large.bin".into()),
        skip: after,
        times: 2.min(RANGES as u32 - after),
        ..Rule::once("GetObject", Action::Hold)
    };
    s3.faults().push(rule);
    let running = download(s3, mount).start();
    s3.until_all_hit();
    until("what came is noted", || part_files(mount).iter().any(|(_, record)| parts_in(record) == noted));
    running
}

fn kill(s3: &S3, running: Running) {
    running.signal(Signal::KILL);
    running.wait().expect(-9);
    s3.faults().release();
    assert!(asked(s3) > 0);
}

#[test]
fn a_killed_download_asks_only_for_what_is_missing() {
    let ((s3, here), there) = (sent(), Mount::new());
    kill(&s3, cut_short(&s3, &there, 2, 2));
    let again = download(&s3, &there).args("--json").run().expect(0);
    assert_eq!(asked(&s3), RANGES - 2);
    assert_eq!(again.summary()["bytes"], ((RANGES - 2) * 8 * MIB) as u64, "bytes that this run moved");
    assert!(here.tree() == there.tree(), "content and time");
    assert_eq!(there.left_behind(), Vec::<String>::new());
}

#[test]
fn a_stopped_download_goes_on_as_often_as_it_is_stopped() {
    let ((s3, here), there) = (sent(), Mount::new());
    for (signal, code, more, noted) in [(Signal::TERM, 143, 1, 1), (Signal::INT, 130, 1, 2)] {
        let running = cut_short(&s3, &there, more, noted);
        running.signal(signal);
        let ran = running.wait().expect(code);
        assert!(ran.last_line().contains("the same command goes on from here"), "{}", ran.stdout);
        s3.faults().release();
        assert!(!there.has("large.bin"));
        assert_eq!(part_files(&there).len(), 1);
    }
    s3.log().take();
    download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), RANGES - 2);
    assert!(here.tree() == there.tree());
}

#[test]
fn another_version_is_brought_anew() {
    let ((s3, here), there) = (sent(), Mount::new());
    kill(&s3, cut_short(&s3, &there, 2, 2));
    let mut other = noise(32 * MIB);
    other[20 * MIB] ^= 1;
    here.write("large.bin", &other);
    Cmd::lsync(&here).on(&s3.store).args("upload --yes").run().expect(0);
    s3.log().take();
    download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), RANGES);
    assert!(fs::read(there.path("large.bin")).expect("there") == other);
    assert_eq!(there.left_behind(), Vec::<String>::new());
}

#[test]
fn what_rotted_in_a_part_file_is_brought_again() {
    let ((s3, here), there) = (sent(), Mount::new());
    kill(&s3, cut_short(&s3, &there, 2, 2));
    let (data, record) = part_files(&there).pop().expect("one");
    let first = record.split_once("{\"k\":").and_then(|(_, rest)| rest.split_once(',')?.0.parse::<u64>().ok()).expect("a part");
    let file = fs::File::options().write(true).open(&data).expect("ours");
    std::os::unix::fs::FileExt::write_all_at(&file, b"rot", first * 8 * MIB as u64 + 99).expect("written");
    download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), RANGES - 1);
    assert!(here.tree() == there.tree());
}

/// Another instance has the mount now, and nobody can tell whether the first one still writes.
#[test]
fn the_part_file_of_another_host_is_read_and_left_alone() {
    let ((s3, here), there) = (sent(), Mount::new());
    kill(&s3, cut_short(&s3, &there, 2, 2));
    let (data, _) = part_files(&there).pop().expect("one");
    let owner = data.with_file_name("owner");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&owner).expect("there")).expect("JSON");
    record["host"] = "gpu-of-yesterday".into();
    fs::write(&owner, format!("{record}\n")).expect("written");
    fs::remove_file(there.path(".lsync/lock")).expect("a lock that was left");
    download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), RANGES - 2);
    assert!(here.tree() == there.tree());
    assert!(data.exists(), "its owner may still live");
    let file = fs::File::options().write(true).open(&owner).expect("ours");
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600)).expect("set");
    let record = data.with_extension("parts");
    let aged = fs::File::options().write(true).open(&record).expect("ours");
    aged.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600)).expect("set");
    there.write("another", "file");
    Cmd::lsync(&there).on(&s3.store).args("upload --yes").run().expect(0);
    assert_eq!(there.left_behind(), Vec::<String>::new(), "an upload clears away too");
}

/// No manifest knows its parts, and another tool cut it: only the whole proves it.
#[test]
fn a_foreign_object_goes_on_too() {
    let (s3, there) = (S3::start(), Mount::new());
    s3.put_in_parts("large.bin", &noise(32 * MIB), 16 * MIB, &[("mtime", "1700000000.5")]);
    kill(&s3, cut_short(&s3, &there, 2, 2));
    let again = download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), RANGES - 2);
    assert!(again.last_line().contains(" strong=1 "), "{}", again.stdout);
    let node = there.tree().pop().expect("the file");
    assert_eq!((node.mtime, fs::read(there.path("large.bin")).expect("there") == noise(32 * MIB)), (1_700_000_000_500_000_000, true));
}

/// All parts are there: one is asked for again, because its answer says what the object is now.
#[test]
fn a_download_that_was_killed_right_before_its_end_asks_once() {
    let (s3, there) = (S3::start(), Mount::new());
    s3.put_with("large.bin", noise(32 * MIB), &[("mtime", "1700000000.5")]);
    kill(&s3, cut_short(&s3, &there, 3, 3));
    // What the last part would have added.
    let (data, mut record) = part_files(&there).pop().expect("one");
    let content = noise(32 * MIB);
    let index = (0..RANGES).find(|index| !record.contains(&format!("{{\"k\":{index},"))).expect("one is missing");
    let part = &content[index * 8 * MIB..(index + 1) * 8 * MIB];
    let file = fs::File::options().write(true).open(&data).expect("ours");
    std::os::unix::fs::FileExt::write_all_at(&file, part, (index * 8 * MIB) as u64).expect("written");
    let line = format!("{{\"k\":{index},\"m\":\"{}\"}}", lsync::digest::digest_one(part).hex());
    record.push_str(&format!("{} {line}\n", &lsync::digest::digest_one(line.as_bytes()).hex()[..8]));
    fs::write(data.with_extension("parts"), record).expect("written");
    download(&s3, &there).run().expect(0);
    assert_eq!(asked(&s3), 1);
    let node = there.tree().pop().expect("the file");
    assert_eq!((node.mtime, fs::read(there.path("large.bin")).expect("there") == content), (1_700_000_000_500_000_000, true));
}
