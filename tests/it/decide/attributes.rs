//! "Attributes": permission bits and times.

use std::os::unix::fs::PermissionsExt;

use crate::support::mount::Mount;
use crate::support::two::Two;

fn mode(mount: &Mount, path: &str) -> u32 {
    std::fs::metadata(mount.path(path)).expect("it is there").permissions().mode() & 0o7777
}

/// "changed at the source → carried (upload: in the manifest; download: chmod) …; counted as `updated`, 0 bytes."
#[test]
fn permission_bits_that_the_source_changed_are_carried() {
    let two = Two::agreed(&[("run.sh", "x"), ("other", "o")]);
    two.a.dir("empty").mode("empty", 0o755);
    two.share();
    two.a.mode("run.sh", 0o750).mode("empty", 0o700);
    two.a("status --check=upload").expect(10);
    let ran = two.a("upload --yes --json").expect(0);
    assert_eq!((ran.counts().as_str(), &ran.summary()["bytes"]), ("updated=2 unchanged=1", &0.into()));
    let ran = two.b("download --yes --json").expect(0);
    assert_eq!((ran.counts().as_str(), &ran.summary()["bytes"]), ("updated=2 unchanged=1", &0.into()));
    assert_eq!((mode(&two.b, "run.sh"), mode(&two.b, "empty")), (0o750, 0o700));
    for verb in ["upload", "download"] {
        assert_eq!(two.a(&format!("{verb} --yes --json")).expect(0).counts(), "unchanged=3");
        assert_eq!(two.b(&format!("{verb} --yes --json")).expect(0).counts(), "unchanged=3");
    }
}

/// "changed at the destination only → kept; both, or no B → the source's".
#[test]
fn permission_bits_that_only_the_destination_changed_are_kept() {
    let two = Two::empty();
    two.a.write("x", "x").mode("x", 0o644);
    two.share();
    two.b.mode("x", 0o600);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "unchanged=1");
    assert_eq!(mode(&two.b, "x"), 0o600);
    two.a.mode("x", 0o640);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "updated=1");
    assert_eq!(two.b("download --dry-run --json").expect(0).summary()["would"]["updated"], 1);
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "updated=1", "both changed: the source's");
    two.a("download --yes").expect(0);
    assert_eq!(mode(&two.a, "x"), 0o600);
    let fresh = Mount::with(&[("x", "x")]);
    fresh.mode("x", 0o666);
    crate::support::cmd::Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert_eq!(mode(&fresh, "x"), 0o600, "no B: the source's");
}

/// "Permission bits are three-way like content": content that comes does not undo what the destination alone changed.
#[test]
fn new_content_does_not_undo_permission_bits_of_the_destination() {
    let two = Two::empty();
    two.a.write("x", "one").mode("x", 0o644);
    two.share();
    two.b.mode("x", 0o600);
    two.a.write("x", "two");
    two.a("upload --yes").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=1");
    assert_eq!((two.b.text("x"), mode(&two.b, "x")), ("two".into(), 0o600));
    // They are still what this side alone changed: an upload carries them, and another download does not undo them.
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "unchanged=1");
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "updated=1");
    // The mirror image: the bucket's bits survive new content of a mount that did not change them.
    two.a.write("x", "three");
    two.a("upload --yes").expect(0);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
    two.b("download --yes").expect(0);
    assert_eq!((two.b.text("x"), mode(&two.b, "x")), ("three".into(), 0o600));
}

/// "mtime travels with content only".
#[test]
fn the_time_travels_with_the_content_to_the_nanosecond() {
    let two = Two::empty();
    two.a.write("x", "x").mtime("x", 1_234_567_890_123_456_789);
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
    two.a.mtime("x", 1_300_000_000_000_000_000);
    two.a("upload --yes").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "unchanged=1");
    assert_eq!(two.b.tree()[0].mtime, 1_234_567_890_123_456_789);
}

/// "A foreign object: mtime from its metadata in the GET answer, else Last-Modified; mode of the local file, else 0666 & ~umask."
#[test]
fn a_foreign_object_brings_its_time_and_leaves_the_mode() {
    let two = Two::agreed(&[("here", "first")]);
    two.b.mode("here", 0o640);
    two.s3.put_with("here", "second", &[("mtime", "1600000000.25")]);
    two.s3.put_with("attrs", "s3cmd", &[("s3cmd-attrs", "md5:0e8dd4ba5b4bf1c1ae46f4a6b8b1c5a2/mtime:1500000000/uid:0")]);
    two.s3.put("plain", "plain");
    let before = std::time::SystemTime::now();
    // The MD5 in `attrs` is of another content: what arrives is judged by the ETag, which is a digest.
    two.b("download --yes").expect(0);
    let find = |path: &str| two.b.tree().into_iter().find(|node| node.path == path).expect("it came");
    assert_eq!((find("here").mtime, mode(&two.b, "here")), (1_600_000_000_250_000_000, 0o640));
    assert_eq!(find("attrs").mtime, 1_500_000_000_000_000_000);
    let umask = {
        let mask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(mask);
        mask.as_raw_mode()
    };
    assert_eq!(mode(&two.b, "plain"), 0o666 & !umask);
    let now = i128::try_from(before.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos()).expect("small");
    assert!((find("plain").mtime - now).abs() < 60_000_000_000, "its Last-Modified");
}

/// "uid/gid are not restored, setuid/setgid never."
#[test]
fn set_id_bits_do_not_travel() {
    let two = Two::empty();
    two.a.write("x", "x").mode("x", 0o6755).dir("d").mode("d", 0o1777);
    two.share();
    assert_eq!((mode(&two.b, "x"), mode(&two.b, "d")), (0o755, 0o777));
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=2");
}
