//! `lsync doctor` tells what a store really does, with few requests and nothing left behind, and uploads rely on what it kept.

use std::collections::BTreeMap;

use lsync::sandbox::{Action, Copies, Profile, Rule};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;

fn doctor(s3: &S3, mount: &Mount, args: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args("doctor").args(args)
}

/// The values of one area's facts, by name.
pub(crate) fn facts(ran: &Ran, area: &str) -> BTreeMap<String, Value> {
    let facts = ran.json().into_iter().filter(|line| line["type"] == "fact" && line["area"] == area);
    facts.map(|fact| (fact["name"].as_str().expect("a name").to_owned(), fact["value"].clone())).collect()
}

/// What AWS does.
const AWS: [(&str, &str); 17] = [
    ("access", "\"write\""),
    ("conditional_writes", "\"honoured\""),
    ("Content_MD5", "true"),
    ("ETag_of_one_request", "\"md5\""),
    ("ETag_of_parts", "\"composite\""),
    ("listed_ETag", "true"),
    ("ListParts", "true"),
    ("ListMultipartUploads", "true"),
    ("paging", "true"),
    ("url_encoding", "\"honoured\""),
    ("order_of_listings", "true"),
    ("a_beside_a/b", "true"),
    ("odd_keys", "\"honoured\""),
    ("metadata", "true"),
    ("CopyObject", "\"honoured\""),
    ("UploadPartCopy", "\"honoured\""),
    ("copies_for_the_history", "\"honoured\""),
];

/// What a store of this profile is told to do, apart from what AWS does; within 25 requests, and with nothing left.
#[track_caller]
fn tells(profile: Profile, but: &[(&str, Value)]) {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "a")]));
    s3.put("theirs", "x").faults().set_profile(profile);
    let ran = doctor(&s3, &mount, "--json").run().expect(0);
    let mut expected: BTreeMap<String, Value> =
        AWS.iter().map(|(name, value)| ((*name).to_owned(), serde_json::from_str(value).expect("JSON"))).collect();
    expected.extend(but.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut found = facts(&ran, "store");
    assert!(found.remove("clock").is_some_and(|offset| offset.as_i64().is_some_and(|offset| offset.abs() < 5)));
    assert_eq!(found, expected, "{}", ran.stdout);
    nothing_is_left(&s3, &mount);
    let asked = s3.log().take().requests;
    // One page tells that the bucket is there; these tell that it is not the mount itself.
    let probes: Vec<_> = asked.iter().filter(|(_, key)| !key.contains(".lsync/mount-")).skip(1).collect();
    assert!((10..=25).contains(&probes.len()), "{} requests: {probes:?}", probes.len());
}

#[track_caller]
fn nothing_is_left(s3: &S3, mount: &Mount) {
    assert!(s3.all_keys().iter().all(|key| !key.contains("probe-")), "{:?}", s3.all_keys());
    assert_eq!(s3.open_uploads(&s3.store.bucket), []);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}

#[test]
fn doctor_tells_what_each_kind_of_store_does() {
    let etags = |single: &str, parts: &str| [("ETag_of_one_request", json!(single)), ("ETag_of_parts", json!(parts))];
    tells(Profile::default(), &[]);
    tells(Profile { no_conditional_writes: true, ..Profile::default() }, &[("conditional_writes", json!("ignored"))]);
    tells(Profile { no_md5_check: true, ..Profile::default() }, &[("Content_MD5", json!(false))]);
    tells(Profile { opaque_multipart_etag: true, ..Profile::default() }, &etags("md5", "opaque"));
    let no_copies = [("CopyObject", Value::Null)];
    tells(Profile { opaque_single_etag: true, ..Profile::default() }, &[etags("opaque", "composite").as_slice(), &no_copies].concat());
    tells(Profile { answer_composite_list_other: true, ..Profile::default() }, &[("listed_ETag", json!(false))]);
    let plain = [("url_encoding", json!("ignored")), ("odd_keys", json!("ignored"))];
    let unknown = ["paging", "order_of_listings", "listed_ETag"].map(|name| (name, Value::Null));
    tells(Profile { no_url_encoding: true, ..Profile::default() }, &[plain.as_slice(), &unknown].concat());
    tells(Profile { filesystem_backed: true, ..Profile::default() }, &[("a_beside_a/b", json!(false))]);
    let copies = |whole: &str, parts: &str, history: &str| {
        [("CopyObject", json!(whole)), ("UploadPartCopy", json!(parts)), ("copies_for_the_history", json!(history))]
    };
    for (kind, whole, parts, history) in [
        (Copies::Refused, "refused", "refused", "refused"),
        (Copies::Empty, "ignored", "ignored", "ignored"),
        (Copies::Unconditional, "ignored", "honoured", "honoured"),
        (Copies::Overwriting, "unguarded", "honoured", "honoured"),
        (Copies::WithMetadata, "ignored", "honoured", "honoured"),
    ] {
        tells(Profile { copies: kind, ..Profile::default() }, &copies(whole, parts, history));
    }
}

#[test]
fn doctor_tells_of_a_store_that_refuses_what_it_does_not_know() {
    let (s3, mount) = (S3::start(), Mount::new());
    let unknown = |operation, skip| Rule { skip, ..Rule::once(operation, Action::Status(501, "NotImplemented")) };
    // The second PUT is the first with a condition.
    s3.faults().push(unknown("PutObject", 1));
    s3.faults().push(unknown("ListParts", 0));
    s3.faults().push(unknown("ListMultipartUploads", 0));
    let found = facts(&doctor(&s3, &mount, "--json").run().expect(0), "store");
    assert_eq!((&found["conditional_writes"], &found["ListParts"]), (&json!("refused"), &json!(false)));
    assert_eq!((&found["ListMultipartUploads"], &found["ETag_of_parts"]), (&json!(false), &json!("composite")));
    nothing_is_left(&s3, &mount);
    let other = Mount::new();
    s3.faults().push(Rule { times: 9, ..unknown("CreateMultipartUpload", 0) });
    let ran = doctor(&s3, &other, "").run().expect(3);
    assert!(ran.says("problem multipart multipart uploads fail"), "{}", ran.stdout);
    nothing_is_left(&s3, &other);
}

#[test]
fn doctor_tells_what_the_mount_is() {
    let (s3, mount) = (S3::start(), Mount::new());
    let found = facts(&doctor(&s3, &mount, "--json").run().expect(0), "mount");
    assert!(found["file_system"]["kind"].as_str().is_some_and(|kind| !kind.is_empty()), "{found:?}");
    assert!(found["timestamps"].as_i64().is_some_and(|nanos| (1..=2_000_000_000).contains(&nanos)), "{found:?}");
    assert!(found["fsync"]["median_us"].is_u64() && found["space"]["free"].is_u64(), "{found:?}");
    assert_eq!((&found["locks"], &found["hard_links"]), (&json!(true), &json!(true)));
    assert_eq!(found["names"], json!({ "case": false, "accents": false }));
}

/// "Used to choose code paths, re-probed when old or when the endpoint changes": uploads ask nothing that doctor has asked, and take the
/// way that fits.
#[test]
fn an_upload_relies_on_what_doctor_found() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "a")]));
    s3.faults().set_profile(Profile { no_conditional_writes: true, ..Profile::default() });
    doctor(&s3, &mount, "").run().expect(0);
    s3.log().take();
    Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
    let asked = s3.log().take().requests;
    assert!(!asked.iter().any(|(_, key)| key.contains("probe-")), "{asked:?}");
    assert!(asked.contains(&("HeadObject", "a".into())), "guarded by a look: {asked:?}");
    let other = S3::start();
    mount.write("b", "b");
    Cmd::lsync(&mount).on(&other.store).args("upload --yes").run().expect(0);
    assert!(other.log().take().requests.iter().any(|(_, key)| key.contains("probe-")), "another store was not asked");
}

#[test]
fn setup_asks_what_doctor_asks_and_says_what_is_unusual() {
    let (s3, mount) = (S3::start(), Mount::with(&[("a", "a")]));
    s3.faults().set_profile(Profile { no_md5_check: true, opaque_multipart_etag: true, ..Profile::default() });
    let ran = Cmd::lsync(&mount).on(&s3.store).args("setup").env("GIT_CONFIG_NOSYSTEM", "1").run().expect(0);
    assert!(ran.says("Content-MD5: not checked, and ETags tell nothing") && ran.says("lsync doctor tells more"), "{}", ran.stdout);
    s3.log().take();
    Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
    assert!(!s3.log().take().requests.iter().any(|(_, key)| key.contains("probe-")));
    nothing_is_left(&s3, &mount);
}

#[test]
fn with_keys_that_only_read_doctor_says_what_it_could_not_ask() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("a", "a").put("b", "b");
    s3.faults().push(Rule { times: 99, ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    let ran = doctor(&s3, &mount, "--json").run().expect(0);
    let found = facts(&ran, "store");
    assert_eq!((&found["access"], &found["paging"], &found["url_encoding"]), (&json!("read"), &json!(true), &json!("honoured")));
    assert!(!found.contains_key("conditional_writes"), "{found:?}");
    assert_eq!(ran.summary()["notes"], 1 + u64::from(mount.forgets()));
    Cmd::lsync(&mount).on(&s3.store).args("setup").env("GIT_CONFIG_NOSYSTEM", "1").run().expect(0);
}

#[test]
fn a_dry_run_of_doctor_writes_nothing_anywhere() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("a", "a").put("b", "b");
    let ran = doctor(&s3, &mount, "--dry-run").run().expect(0);
    assert!(ran.says("dry run: nothing was written") && ran.says("paging works") && ran.says("file system"), "{}", ran.stdout);
    assert!(!mount.has(".lsync"));
    assert!(s3.log().take().requests.iter().all(|(operation, _)| *operation == "ListObjectsV2"));
    doctor(&s3, &mount, "").run().expect(0);
    assert!(doctor(&s3, &mount, "-n").run().expect(0).says("conditional writes honoured"), "what is kept is told");
}

#[test]
fn doctor_ends_as_every_command_does_and_takes_its_objects_with_it() {
    let (s3, mount) = (S3::start(), Mount::new());
    let gone = doctor(&s3, &mount, "").env("LSYNC_ENDPOINT_URL", "http://127.0.0.1:1").run().expect(7);
    assert!(gone.says("file system"), "the mount is told first: {}", gone.stdout);
    doctor(&s3, &mount, "").env("LSYNC_SECRET_ACCESS_KEY", "wrong").run().expect(4);
    s3.faults().push(Rule::once("CompleteMultipartUpload", Action::Status(403, "AccessDenied")));
    let last = doctor(&s3, &mount, "--json").run().expect(4).json().pop().expect("a line");
    assert_eq!((&last["type"], &last["exit"]), (&json!("error"), &json!(4)));
    nothing_is_left(&s3, &mount);
    s3.faults().push(Rule::once("UploadPart", Action::Hold));
    let run = doctor(&s3, &mount, "").start();
    s3.until_all_hit();
    run.signal(Signal::INT);
    s3.faults().release();
    run.wait().expect(130);
    nothing_is_left(&s3, &mount);
    let own = mount.path(".lsync").read_dir().expect("it is marked").filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mark = own.into_iter().find(|name| name.starts_with("mount-")).expect("a mark");
    s3.put(&format!(".lsync/{mark}"), "");
    doctor(&s3, &mount, "").run().expect(5);
}

#[test]
fn objects_that_may_not_be_removed_are_a_problem_and_named() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.faults().push(Rule { times: 99, ..Rule::once("DeleteObject", Action::Status(403, "AccessDenied")) });
    let ran = doctor(&s3, &mount, "").run().expect(3);
    let left = s3.all_keys();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(ran.says("these objects could not be removed: .lsync/probe-"), "{}", ran.stdout);
}
