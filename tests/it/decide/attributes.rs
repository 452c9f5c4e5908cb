//! "Attributes": permission bits and times.

use std::os::unix::fs::PermissionsExt;

use lsync::entry::Entry;
use lsync::manifest::Manifest;
use lsync::sandbox::Profile;

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::two::Two;

fn mode(mount: &Mount, path: &str) -> u32 {
    std::fs::metadata(mount.path(path)).expect("it is there").permissions().mode() & 0o7777
}

/// What the umask leaves of 0666.
fn of_a_new_file() -> u32 {
    mode(&Mount::with(&[("new", "")]), "new")
}

/// What the newest manifest says of a path.
fn published(two: &Two, path: &str) -> Entry {
    let name = two.manifests().pop().expect("a manifest");
    let manifest = Manifest::decode(&two.s3.content(&format!(".lsync/manifests/{name}"))).expect("a manifest");
    manifest.entries.into_iter().find(|(at, _)| at.as_str() == path).expect("it is in the manifest").1.as_ref().clone()
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
    assert_eq!(mode(&two.b, "plain"), of_a_new_file());
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

/// "both, or no B → the source's" and "a foreign object: … mode of the local file, else 0666 & ~umask": what a fresh mount would not get
/// by itself is published, and what it would get is not.
#[test]
fn an_upload_onto_objects_of_another_tool_carries_the_permission_bits_that_a_download_would_not_give() {
    let two = Two::empty();
    two.s3.put("bin/run.sh", "#!/bin/sh").put("plain", "p").put("private", "k");
    two.a.write("bin/run.sh", "#!/bin/sh").mode("bin/run.sh", 0o755).write("plain", "p").write("private", "k").mode("private", 0o600);
    for (check, code) in [("--check=upload", 10), ("--check=download", 0)] {
        two.a(&format!("status {check}")).expect(code);
    }
    assert_eq!(two.a("status --json").expect(0).summary()["upload"]["updated"], 2);
    // That a download finds them equal does not settle it: it is the upload that would say "complete".
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "unchanged=3");
    let ran = two.a("upload --yes --json").expect(0);
    assert_eq!((ran.counts().as_str(), &ran.summary()["bytes"], two.manifests().len()), ("updated=2 unchanged=1", &0.into(), 1));
    let entry = published(&two, "bin/run.sh");
    let file = entry.file().expect("a file");
    let etag = lsync::digest::digest_one(b"#!/bin/sh").hex();
    assert_eq!((entry.mode, file.size), (Some(0o755), 9));
    assert_eq!(file.etag.as_ref().map(ToString::to_string), Some(etag), "the object is the one that was there");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=3");
    assert_eq!(two.manifests().len(), 1);
    two.a("status --check").expect(0);
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=3");
    assert_eq!((mode(&two.b, "bin/run.sh"), mode(&two.b, "private"), mode(&two.b, "plain")), (0o755, 0o600, of_a_new_file()));
    two.b("status --check").expect(0);
}

/// "changed at the source → carried …; changed at the destination only → kept": with B only what changed here since.
#[test]
fn with_a_base_only_permission_bits_that_changed_here_are_carried_to_objects_of_another_tool() {
    let two = Two::empty();
    two.a.write("kept", "first").mode("kept", 0o755).write("own", "first");
    two.share();
    two.b.mode("own", 0o700);
    // Another tool writes both anew: their bits are not told any more.
    two.s3.put("kept", "second").put("own", "second").put("new", "n");
    two.b("download --yes").expect(0);
    assert_eq!((mode(&two.b, "kept"), mode(&two.b, "own")), (0o755, 0o700));
    assert_eq!(
        two.b("upload --yes --json").expect(0).counts(),
        "updated=1 unchanged=2",
        "what was changed here alone, not what was agreed"
    );
    assert_eq!(published(&two, "own").mode, Some(0o700));
    two.b.mode("new", 0o755);
    two.b("status --check=upload").expect(10);
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "updated=1 unchanged=2");
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "unchanged=3");
}

/// What was agreed on about an older version says nothing of an object that no manifest tells, whichever command meets it first.
#[test]
fn permission_bits_of_an_older_version_are_carried_to_the_object_that_replaced_it() {
    for first in ["upload", "download"] {
        let two = Two::empty();
        two.a.write("x", "old").mode("x", 0o640);
        two.share();
        two.a.write("x", "new").mode("x", 0o640);
        two.s3.put("x", "new");
        two.a(&format!("{first} --yes")).expect(0);
        two.a("upload --yes").expect(0);
        assert_eq!(published(&two, "x").mode, Some(0o640), "{first} first");
        assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
        let fresh = Two { b: Mount::new(), ..two };
        fresh.b("download --yes").expect(0);
        assert_eq!(mode(&fresh.b, "x"), 0o640);
    }
}

/// "0666 & ~umask": of this process.
#[test]
fn the_umask_decides_which_permission_bits_need_no_manifest() {
    for (umask, counts) in [("077", "unchanged=1"), ("000", "updated=1")] {
        let two = Two::empty();
        two.s3.put("x", "x");
        two.a.write("x", "x").mode("x", 0o600);
        let mut cmd = Cmd::lsync(&two.a).on(&two.s3.store);
        let script = format!("umask {umask}; exec '{}' upload --yes --json", cmd.program.display());
        cmd.program = "/bin/sh".into();
        assert_eq!(cmd.args("-c").arg(script).run().expect(0).counts(), counts, "umask {umask}");
        let mut cmd = Cmd::lsync(&two.b).on(&two.s3.store);
        let script = format!("umask {umask}; exec '{}' download --yes", cmd.program.display());
        cmd.program = "/bin/sh".into();
        cmd.args("-c").arg(script).run().expect(0);
        assert_eq!(mode(&two.b, "x"), 0o600, "umask {umask}");
    }
}

/// "`complete: files=N bytes=N strong=N etag=N size=N`": permission bits prove no content.
#[test]
fn permission_bits_do_not_make_a_weak_proof_stronger() {
    const MIB: usize = 1 << 20;
    let two = Two::empty();
    two.s3.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    two.s3.put_in_parts("x", &vec![1; 6 * MIB], 5 * MIB, &[("mtime", "1700000000.5")]);
    two.a.write("x", vec![1; 6 * MIB]).mtime("x", 1_700_000_000_500_000_000).mode("x", 0o755);
    two.a("upload --yes").expect(6);
    let ran = two.a("upload --yes --compare size").expect(0);
    assert!(ran.last_line().starts_with("complete: files=1 ") && ran.last_line().contains(" size=1 "), "{}", ran.stdout);
    let digests = published(&two, "x").file().expect("a file").digests.clone();
    assert!(digests.is_empty(), "nobody has compared the content: {digests:?}");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1", "what both sides have agreed on is remembered");
}
