//! Files of every size around the limits, in memory that does not grow with them. Not how fast.

use std::fs;

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

const MIB: usize = 1 << 20;

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// "A file's digest is its MD5 when it travels in one request; when it travels in parts, the part size and the MD5 of every part".
#[test]
fn files_around_the_limits_travel_as_they_should() {
    for (size, parts) in [(0, 0), (16 * MIB, 0), (16 * MIB + 1, 3), (24 * MIB, 3)] {
        let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
        mount.write("data/file", noise(size));
        let up = lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert!(up.last_line().starts_with(&format!("complete: files=1 bytes={size} strong=1 ")), "{}", up.stdout);
        let log = s3.log().take().requests;
        let sent = |operation: &str| log.iter().filter(|(op, key)| *op == operation && key.contains("data/file")).count();
        assert_eq!((sent("UploadPart"), sent("PutObject")), (parts, usize::from(parts == 0)), "{size} bytes");
        let (_, etag, _) = s3.get_object(&s3.store.bucket, "data/file").expect("an object");
        assert_eq!(etag.split_once('-').map_or(0, |(_, count)| count.parse().expect("a number")), parts, "{etag}");
        let down = lsync(&s3, &other, "download --yes").run().expect(0);
        assert!(down.last_line().contains(" strong=1 "), "{}", down.stdout);
        assert_eq!(mount.tree(), other.tree());
    }
}

/// "Files of 0 bytes, of exactly one part, and of 20 GiB work in memory that does not grow with size."
#[test]
fn a_file_that_is_larger_than_the_memory_goes_up_and_comes_down() {
    let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
    let file = fs::File::create(mount.path("sparse.bin")).expect("a file");
    file.set_len(200 << 20).expect("sparse");
    std::os::unix::fs::FileExt::write_all_at(&file, b"an end", (200 << 20) - 6).expect("written");
    s3.faults().push(Rule { skip: 1, ..Rule::once("ListObjectsV2", Action::Hold) });
    let up = lsync(&s3, &mount, "upload --yes").start();
    s3.until_all_hit();
    let sending = peak_mib(up.id());
    s3.faults().release();
    up.wait().expect(0);
    // The small one comes last: the large one is done by then.
    s3.put("small", "x");
    s3.faults().push(Rule { key_contains: Some("small".into()), ..Rule::once("GetObject", Action::Hold) });
    let down = lsync(&s3, &other, "download --yes").start();
    s3.until_all_hit();
    crate::support::wait::until("the large one is there", || other.has("sparse.bin"));
    let fetching = peak_mib(down.id());
    s3.faults().release();
    down.wait().expect(0);
    assert!(sending < 120 && fetching < 120, "{sending} MiB to send, {fetching} MiB to fetch");
    let (a, b) = (fs::read(mount.path("sparse.bin")), fs::read(other.path("sparse.bin")));
    assert!(a.expect("a file") == b.expect("a file"));
}

/// The most memory that a process has used so far.
#[track_caller]
fn peak_mib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

#[test]
fn a_large_object_that_another_tool_put_in_one_piece_is_proven_by_its_md5() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("foreign.bin", noise(17 * MIB));
    // One damaged range is found only when all of it is there; then it is asked for once more.
    s3.faults().push(Rule { skip: 2, ..Rule::once("GetObject", Action::FlipByte(7)) });
    let ran = lsync(&s3, &mount, "download --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=1 bytes=17825792 strong=1 "), "{}", ran.stdout);
    assert!(fs::read(mount.path("foreign.bin")).expect("a file") == noise(17 * MIB));
    s3.put("foreign.bin", noise(18 * MIB));
    s3.faults().push(Rule { times: 100, ..Rule::once("GetObject", Action::FlipByte(7)) });
    lsync(&s3, &mount, "download --yes").run().expect(8);
    assert_eq!(fs::metadata(mount.path("foreign.bin")).expect("the old one").len(), 17 << 20);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}
