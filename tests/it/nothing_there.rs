//! A mistyped prefix or bucket on a fresh machine: nothing is there, and the directory is empty too. That is no "complete".

use lsync::sandbox::{Action, Rule};

use crate::support::mount::Mount;
use crate::support::two::Two;

/// A bucket with lsync data at two prefixes, and folders of other tools.
fn two_prefixes() -> Two {
    let two = Two::empty();
    two.a.write("x", "x").dir("empty");
    two.a("upload --yes --prefix dock").expect(0);
    two.a("upload --yes --prefix big").expect(0);
    two.s3.put("other/file", "1");
    two
}

#[test]
fn a_download_from_where_nothing_was_ever_published_onto_an_empty_directory_is_incomplete() {
    let two = two_prefixes();
    let (place, data) = (format!("nothing is at s3://{}/dock2/", two.s3.store.bucket), "this bucket has lsync data at dock/, big/");
    for line in ["download --yes --prefix dock2", "download --yes --prefix dock2 -q", "download --prefix dock2"] {
        let ran = two.b(line).expect(3);
        assert_eq!(ran.last_line(), format!("incomplete: {place}; {data}"), "{line}: {}", ran.stderr);
    }
    assert!(two.b("download --dry-run --prefix dock2").expect(3).stdout.contains("dry run"));
    let summary = two.b("download --yes --prefix dock2 --json").expect(3).summary();
    assert_eq!((&summary["complete"], &summary["elsewhere"]), (&false.into(), &serde_json::json!(["dock/", "big/"])));
    // Status says the same.
    for line in ["status --prefix dock2", "status --prefix dock2 -q"] {
        let ran = two.b(line).expect(0);
        assert!(ran.says(&format!("not in sync: {place}; {data}")), "{}", ran.stdout);
    }
    assert_eq!(two.b("status --prefix dock2 --check").expect(10).code, 10);
    assert_eq!(two.b("status --prefix dock2 --check=upload").expect(0).code, 0);
    let summary = two.b("status --prefix dock2 --json").expect(0).summary();
    assert_eq!((&summary["complete"], &summary["elsewhere"]), (&false.into(), &serde_json::json!(["dock/", "big/"])));
    // The right one.
    let ran = two.b("download --yes --prefix dock").expect(0);
    assert!(ran.last_line().starts_with("complete: files=2 "), "{}", ran.stdout);
}

#[test]
fn a_bucket_that_may_not_be_listed_elsewhere_is_no_failure() {
    let two = two_prefixes();
    let bucket = &two.s3.store.bucket;
    // The own listing passes: keys limited to a prefix. Then the top level, or what is below another prefix, may not be listed.
    for skip in [1, 2] {
        let denied = Action::Status(403, "AccessDenied");
        two.s3.faults().push(Rule { skip, times: 1, ..Rule::once("ListObjectsV2", denied) });
        let ran = two.b("download --yes --prefix dock2").expect(3);
        assert_eq!(two.s3.faults().pending(), 0);
        assert_eq!(ran.last_line(), format!("incomplete: nothing is at s3://{bucket}/dock2/: are `bucket` and `prefix` right?"));
    }
}

#[test]
fn the_top_and_the_prefixes_beside_are_looked_at() {
    let two = Two::empty();
    two.a.write("x", "x");
    two.a("upload --yes --prefix team/dock").expect(0);
    let ran = two.b("download --yes --prefix team/dock2").expect(3);
    assert!(ran.last_line().ends_with("this bucket has lsync data at team/dock/"), "{}", ran.stdout);
    two.a("upload --yes").expect(0);
    let ran = two.b("download --yes --prefix dock2").expect(3);
    assert!(ran.last_line().ends_with("this bucket has lsync data at its top"), "{}", ran.stdout);
}

#[test]
fn what_was_published_and_is_empty_now_is_complete() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.remove("x").write(".venv/x", "ignored");
    two.a("upload --yes --delete --max-delete 100% x").expect(0);
    assert_eq!(two.s3.keys(), [""; 0]);
    let fresh = Mount::new();
    let ran = crate::support::cmd::Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete: files=0 "), "{}", ran.stdout);
}

#[test]
fn a_directory_that_holds_something_is_warned_and_not_stopped() {
    let two = two_prefixes();
    two.b.write("here", "1");
    for line in ["download --yes --prefix dock2", "download --yes --prefix dock2 --exclude *.tmp"] {
        let ran = two.b(line).expect(0);
        assert!(ran.says("is empty and the mount is not, and nothing was ever published there"), "{line}: {}", ran.stderr);
    }
    // And what is there and ignored makes it no empty place to look at again.
    assert_eq!(two.b("status --prefix dock2 --json").expect(0).summary()["elsewhere"], serde_json::Value::Null);
}

/// No request more where it is not needed.
#[test]
fn other_prefixes_are_not_asked_for_where_something_is_there() {
    let two = two_prefixes();
    let listings = |line: &str| {
        let before = two.s3.log().count("ListObjectsV2");
        two.b(line).expect(0);
        two.s3.log().count("ListObjectsV2") - before
    };
    assert_eq!(listings("status --prefix dock"), 1);
}
