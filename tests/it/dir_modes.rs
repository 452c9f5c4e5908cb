//! Permission bits of directories that hold something travel: a `.ssh` of 0700 comes back as it was.

use std::os::unix::fs::PermissionsExt;

use crate::support::mount::Mount;
use crate::support::two::Two;

#[track_caller]
fn bits(mount: &Mount, path: &str) -> u32 {
    std::fs::metadata(mount.path(path)).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn directories_come_back_with_the_bits_that_they_had() {
    let two = Two::empty();
    two.a.write(".ssh/config", "host").write("plain/x", "x").write("sealed/deep/y", "y").write("shared/z", "z");
    two.a.mode(".ssh", 0o700).mode("sealed/deep", 0o500).mode("sealed", 0o555).mode("shared", 0o1777);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=4");
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=4");
    for (path, mode) in [(".ssh", 0o700), ("plain", 0o755), ("sealed", 0o555), ("sealed/deep", 0o500), ("shared", 0o777)] {
        assert_eq!(bits(&two.b, path), mode, "{path}");
    }
    // Both sides are as the other is.
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "unchanged=4");
    two.a("status --check=any").expect(0);
    two.b("status --check=any").expect(0);
    two.a.mode("sealed", 0o755).mode("sealed/deep", 0o755);
    two.b.mode("sealed", 0o755).mode("sealed/deep", 0o755);
}

#[test]
fn a_change_of_the_bits_of_a_directory_alone_travels_and_no_other_is_undone() {
    let two = Two::agreed(&[("d/x", "x"), ("e/x", "x"), ("f/g/x", "x")]);
    two.a.mode("d", 0o700);
    two.a("status --check=upload").expect(10);
    two.b.mode("e", 0o711);
    // A narrowed run leaves the others as they are.
    assert_eq!(two.a("upload --yes --json f").expect(0).counts(), "unchanged=1");
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "updated=1 unchanged=3");
    let ran = two.b("download --yes --json").expect(0);
    assert_eq!((ran.counts(), ran.lines("action").len()), ("updated=1 unchanged=3".into(), 1));
    assert_eq!((bits(&two.b, "d"), bits(&two.b, "e")), (0o700, 0o711));
    // What only the destination changed stays, and is sent from there.
    two.b("download --yes").expect(0);
    assert_eq!(two.b("upload --yes --json").expect(0).counts(), "updated=1 unchanged=3");
    two.a.write("d/x", "new");
    two.a("upload --yes d").expect(0);
    two.share();
    assert_eq!(bits(&two.a, "e"), 0o755, "an upload keeps what the other side changed");
    two.a("download --yes").expect(0);
    assert_eq!(bits(&two.a, "e"), 0o711);
    // Back to what the umask gives.
    two.a.mode("d", 0o755);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "updated=1 unchanged=3");
    two.b("download --yes").expect(0);
    assert_eq!(bits(&two.b, "d"), 0o755);
    assert!(two.b("download --yes").expect(0).says("nothing to download"));
}
