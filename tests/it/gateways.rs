//! Buckets whose policy demands a header: a setting sends it with every request that it is for, and the refusal without it names the setting.

use lsync::sandbox::{Action, Profile, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

const SSE: &str = "x-amz-server-side-encryption";

/// Uploads a small and a large file, overwrites one that was changed by another tool, moves a copy, and brings all to another directory.
fn works(profile: Profile, settings: &[(&str, &str)]) {
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    s3.faults().set_profile(profile);
    let run = |mount: &Mount, words: &str| {
        let cmd = Cmd::lsync(mount).on(&s3.store).args(words);
        settings.iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value)).run().expect(0)
    };
    here.write("small", "one").write("large", noise(17 << 20));
    run(&here, "upload --yes");
    s3.put("small", "theirs");
    here.write("small", "two").write("copy of large", noise(17 << 20));
    run(&here, "upload --yes --overwrite");
    run(&there, "download --yes");
    assert!(there.tree() == here.tree());
    run(&here, "verify --deep");
    assert!(s3.all_keys().iter().any(|key| key.starts_with(".lsync/history/") && key.ends_with("/small")), "{:?}", s3.all_keys());
}

#[test]
fn a_bucket_that_demands_encryption_gets_it_with_everything_that_makes_an_object() {
    works(Profile { demanded_of_new: Some(SSE), ..Profile::default() }, &[("LSYNC_SSE", "AES256")]);
    let kms = Profile { demanded_of_new: Some("x-amz-server-side-encryption-aws-kms-key-id"), encrypted: true, ..Profile::default() };
    works(kms, &[("LSYNC_SSE", "aws:kms"), ("LSYNC_SSE_KMS_KEY_ID", "arn:aws:kms:us-east-2:1:key/2")]);
}

#[test]
fn a_bucket_that_demands_an_acl_or_a_payer_gets_it() {
    works(Profile { demanded_of_new: Some("x-amz-acl"), ..Profile::default() }, &[("LSYNC_ACL", "bucket-owner-full-control")]);
    works(Profile { demanded_of_all: Some("x-amz-request-payer"), ..Profile::default() }, &[("LSYNC_REQUESTER_PAYS", "true")]);
}

#[test]
fn a_refusal_names_the_setting_that_may_be_missing() {
    for profile in [
        Profile { demanded_of_new: Some(SSE), ..Profile::default() },
        Profile { demanded_of_all: Some("x-amz-request-payer"), ..Profile::default() },
    ] {
        let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
        s3.faults().set_profile(profile);
        let ran = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run();
        assert!(ran.code != 0 && ran.says("a bucket's policy may also demand `sse`, `acl` or `requester_pays`"), "{}", ran.stderr);
    }
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "1")]));
    let refused = Action::Status(403, "SecondLevelDomainForbidden");
    s3.faults().push(Rule { operation: None, times: 99, ..Rule::once("", refused) });
    let ran = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(2);
    assert!(ran.says("set `addressing_style = \"virtual\"`"), "{}", ran.stderr);
}

#[test]
fn a_setting_that_is_no_value_is_refused() {
    let (s3, mount) = (S3::start(), Mount::new());
    for (name, value, why) in [
        ("LSYNC_SSE", "aes256", "LSYNC_SSE: expected \"AES256\""),
        ("LSYNC_ADDRESSING_STYLE", "host", "LSYNC_ADDRESSING_STYLE: expected \"auto\""),
        ("LSYNC_ACL", "A b", "LSYNC_ACL: expected a canned ACL"),
        ("LSYNC_REQUESTER_PAYS", "maybe", "LSYNC_REQUESTER_PAYS: expected true or false"),
        ("LSYNC_SSE_KMS_KEY_ID", "id", "sse_kms_key_id is given without sse"),
    ] {
        let ran = Cmd::lsync(&mount).on(&s3.store).args("status").env(name, value).run().expect(2);
        assert!(ran.says(why), "{}", ran.stderr);
    }
    assert!(s3.log().counts().is_empty());
}
