//! "`--bwlimit RATE`: bytes per second at most": within one body and over many, whichever way they go. Only lower bounds of time are held.

use std::time::{Duration, Instant};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

/// What 2 MiB at 1 MiB a second take, but for the last piece that arrives, of half a MiB at most, and what may go at once.
const LEAST: Duration = Duration::from_millis(1300);

fn takes(s3: &S3, mount: &Mount, words: &str) -> Duration {
    let began = Instant::now();
    Cmd::lsync(mount).on(&s3.store).args(words).run().expect(0);
    began.elapsed()
}

#[test]
fn a_limit_holds_within_one_body_either_way() {
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    here.write("one.bin", noise(2 << 20));
    let up = takes(&s3, &here, "upload --yes --bwlimit 1M");
    let down = takes(&s3, &there, "download --yes --bwlimit 1M");
    assert!(up >= LEAST && down >= LEAST, "{up:?} up, {down:?} down");
    assert!(there.tree() == here.tree());
}

#[test]
fn a_limit_holds_over_many_small_files_and_over_parts() {
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    let all = noise(2 << 20);
    all.chunks(16 << 10).enumerate().for_each(|(n, content)| _ = here.write(&format!("f{n}"), content));
    let up = takes(&s3, &here, "upload --yes --bwlimit 1M");
    let down = takes(&s3, &there, "download --yes --bwlimit 1M");
    assert!(up >= LEAST && down >= LEAST, "{up:?} up, {down:?} down");
    let (s3, here) = (S3::start(), Mount::new());
    here.write("large.bin", noise(20 << 20));
    let up = takes(&s3, &here, "upload --yes --bwlimit 10M");
    assert!(up >= LEAST, "{up:?} up in parts");
}
