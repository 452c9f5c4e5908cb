//! What a bucket refuses of single objects is the failure of those alone: everything else moves, the next run moves nothing twice, and
//! only where nothing of a kind is let through are the credentials to blame.

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::two::Two;

/// Refuses one operation on keys that contain this, for good.
fn refuse(s3: &S3, operation: &'static str, part: &str, status: u16, code: &'static str) {
    s3.faults().push(Rule { key_contains: Some(part.into()), times: u32::MAX, ..Rule::once(operation, Action::Status(status, code)) });
}

/// Two mounts, of which the second has nothing yet of 40 files.
fn forty() -> Two {
    let two = Two::empty();
    for n in 0..40 {
        two.a.write(&format!("d{}/f{n:02}", n % 4), n.to_string());
    }
    two.a("upload --yes").expect(0);
    two
}

#[test]
fn a_download_brings_all_but_the_object_that_is_refused() {
    let check = |status, code: &'static str, says: &str| {
        let two = forty();
        refuse(&two.s3, "GetObject", "d3/f03", status, code);
        let ran = two.b("download --yes --json").expect(3);
        assert_eq!(ran.counts(), "downloaded=39 failed=1", "{code}");
        let why = ran.lines("item").into_iter().find(|line| line["outcome"] == "failed").expect("it is told")["why"].to_string();
        assert!(why.contains(says), "{code}: {why}");
        let again = two.b("download --yes --json");
        assert_eq!(again.counts(), "unchanged=39 failed=1", "{code}");
        two.s3.faults().clear();
        two.b("download --yes").expect(0);
        assert_eq!(two.b.text("d3/f03"), "3");
    };
    check(403, "AccessDenied", "AccessDenied");
    check(403, "InvalidObjectState", "the object is archived: restore it first");
    check(400, "KMS.DisabledException", "the key that encrypts it cannot be used");
}

#[test]
fn an_upload_sends_all_but_the_object_that_is_refused_and_publishes_them() {
    let two = Two::empty();
    for n in 0..40 {
        two.a.write(&format!("d{}/f{n:02}", n % 4), n.to_string());
    }
    refuse(&two.s3, "PutObject", "d0/f00", 403, "AccessDenied");
    assert_eq!(two.a("upload --yes --json").expect(3).counts(), "uploaded=39 failed=1");
    assert_eq!((two.s3.keys().len(), two.manifests().len()), (39, 1));
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=39");
    two.s3.faults().clear();
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=1 unchanged=39");
}

#[test]
fn an_object_that_may_not_be_deleted_is_its_own_failure() {
    let two = forty();
    for n in 0..8 {
        two.a.remove(&format!("d{}/f{n:02}", n % 4));
    }
    refuse(&two.s3, "DeleteObject", "d3/f03", 403, "AccessDenied");
    assert_eq!(two.a("upload --yes --delete --json").expect(3).counts(), "deleted=7 unchanged=32 failed=1");
}

/// Nothing of a kind is let through: that is a permission that is missing, and what to tell.
#[test]
fn where_everything_is_refused_the_permission_is_missing() {
    let two = forty();
    refuse(&two.s3, "GetObject", "/f", 403, "AccessDenied");
    two.s3.faults().push(Rule { key_contains: Some("manifests/".into()), ..Rule::once("GetObject", Action::Status(403, "AccessDenied")) });
    let ran = two.b("download --yes").expect(4);
    assert!(ran.stderr.contains("check the key's permissions"), "{}", ran.stderr);
    assert!(two.b.tree().is_empty());
    two.s3.faults().clear();
    refuse(&two.s3, "GetObject", "/f", 403, "AccessDenied");
    let ran = two.b("download --yes").expect(4);
    assert!(ran.stderr.contains("check the key's permissions") && ran.last_line().starts_with("incomplete: "), "{}", ran.stderr);
}

#[test]
fn status_and_verify_tell_of_everything_else() {
    let two = forty();
    two.b("download --yes").expect(0);
    two.b.write("foreign", "12345");
    two.put_over_nfs("foreign", "54321");
    refuse(&two.s3, "HeadObject", "foreign", 403, "AccessDenied");
    let ran = two.b("status --json").expect(0);
    assert_eq!((&ran.summary()["unchanged"], &ran.summary()["upload"]["unknown"]), (&40.into(), &1.into()));
    two.b("status --compare content").expect(0);
    refuse(&two.s3, "GetObject", "d3/f03", 403, "AccessDenied");
    let ran = two.b("verify --deep --json").expect(3);
    let unreadable: Vec<_> = ran.lines("finding").into_iter().filter(|line| line["state"] == "unreadable").collect();
    assert_eq!((unreadable.len(), &unreadable[0]["path"]), (1, &"d3/f03".into()));
    assert_eq!(ran.summary()["read"], 39);
}

/// A lifecycle rule may archive old manifests, and a policy may hide one: what others tell still counts, and nothing is deleted for it.
#[test]
fn one_manifest_that_is_refused_stops_nothing() {
    let two = forty();
    two.b("download --yes").expect(0);
    two.a.write("new", "1");
    two.a("upload --yes").expect(0);
    let newest = two.manifests().pop().expect("it was published");
    refuse(&two.s3, "GetObject", &newest, 403, "InvalidObjectState");
    two.b.remove("d0/f00");
    let ran = two.b("download --yes --json");
    assert_eq!((ran.code, ran.counts().contains("downloaded=2")), (3, true), "{}{}", ran.stdout, ran.stderr);
    let fresh = Mount::new();
    let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes --json").run();
    assert_eq!((ran.code, ran.summary()["downloaded"].as_u64()), (3, Some(41)), "{}", ran.stderr);
}

/// The usual policy of a bucket that teams share.
#[test]
fn keys_that_hold_below_a_prefix_alone_are_enough() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let cmd = |words: &str| Cmd::lsync(&mount).on(&s3.store).env("LSYNC_PREFIX", "p").args(words);
    refuse(&s3, "HeadObject", "research/.lsync/mount-", 403, "AccessDenied");
    cmd("upload --yes").run().expect(0);
    cmd("doctor").run().expect(0);
    cmd("setup").env("GIT_CONFIG_NOSYSTEM", "1").run().expect(0);
    assert_eq!(s3.keys(), ["p/a"]);
}

#[test]
fn a_full_bucket_ends_the_upload_with_a_hint_about_space() {
    let check = |status, code| {
        let (s3, mount) = (S3::start(), Mount::new());
        for n in 0..600 {
            mount.write(&format!("d{}/f{n}", n % 20), "1");
        }
        s3.faults().push(Rule {
            skip: 100,
            key_contains: Some("d".into()),
            times: u32::MAX,
            ..Rule::once("PutObject", Action::Status(status, code))
        });
        let ran = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(12);
        assert!(ran.stderr.contains("free space in the bucket"), "{}", ran.stderr);
        assert!(s3.log().count("PutObject") < 350, "{} bodies were sent", s3.log().count("PutObject"));
        s3.faults().clear();
        Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
        assert_eq!(s3.keys().len(), 600);
    };
    check(403, "QuotaExceeded");
    check(507, "InsufficientStorage");
}
