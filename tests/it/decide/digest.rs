//! "Digest", "R's digest" and "L's digest": what tells that contents are the same, and what a plan reads for it.

use lsync::sandbox::{Action, Oddity, Profile, Rule};

use crate::support::two::Two;

const MIB: usize = 1 << 20;

/// Content of a length that no part size divides.
fn big(seed: u8) -> Vec<u8> {
    (0..17 * MIB + 11).map(|n| (n >> 13) as u8 ^ (n as u8).wrapping_mul(seed)).collect()
}

/// "no plan reads object content": what was asked of the store, manifests aside.
#[track_caller]
fn no_content_was_read(two: &Two) {
    let recorded = two.s3.log().take();
    let gets: Vec<_> = recorded.requests.iter().filter(|(op, key)| *op == "GetObject" && !key.contains(".lsync/manifests/")).collect();
    assert!(gets.is_empty(), "{gets:?}");
}

/// "A file's digest is its MD5 when it travels in one request; when it travels in parts, the part size and the MD5 of every part (hence
/// the composite ETag)". "Digests compare within one kind and part size; otherwise L is hashed again in the kind that R offers."
#[test]
fn parts_of_other_sizes_than_ours_are_compared_in_their_own() {
    let two = Two::empty();
    let content = big(3);
    for (key, part) in [("p5", 5 * MIB), ("p8", 8 * MIB), ("p16", 16 * MIB), ("whole", 64 * MIB)] {
        two.a.write(key, &content);
        two.s3.put_in_parts(key, &content, part, &[]);
    }
    two.s3.put("single", &content);
    two.a.write("single", &content);
    two.s3.log().take();
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=5");
    no_content_was_read(&two);
    // The same size and other bytes is a difference, not an unknown.
    two.a.write("p5", big(5)).write("single", big(5));
    assert_eq!(two.a("upload --dry-run --json").expect(0).summary()["would"]["changed"], 2);
}

/// "B records the (etag, size) that the bucket listed when both sides agreed: while the listing shows them, R is B, whatever the ETag
/// means." On a store whose multipart ETags tell nothing.
#[test]
fn an_opaque_etag_that_both_agreed_on_stands_for_its_content() {
    let two = Two::empty();
    two.s3.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    two.a.write("big", big(3));
    two.a("upload --yes").expect(0);
    two.s3.log().take();
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
    // "Else the published manifest by (etag, size)": the other mount has it without having agreed on anything.
    two.b.write("big", big(3));
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "unchanged=1");
    no_content_was_read(&two);
    two.a.write("big", big(7));
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=1");
    assert_eq!(two.b("download --yes --json").expect(0).counts(), "downloaded=1");
    assert_eq!(two.a.tree(), two.b.tree());
}

/// The listing shows another ETag than the answer did: "the *listed* ETag is what is recorded".
#[test]
fn a_store_that_lists_another_etag_than_it_answers_is_believed_by_its_listing() {
    let two = Two::empty();
    two.s3.faults().set_profile(Profile { answer_composite_list_other: true, ..Profile::default() });
    two.a.write("big", big(3));
    two.a("upload --yes").expect(0);
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "unchanged=1");
}

/// As after a run whose closing listing failed: what it sent is known by the ETag that was answered.
#[test]
fn an_object_is_known_by_the_etag_that_was_answered_where_the_listing_was_never_seen() {
    let two = Two::empty();
    two.s3.faults().set_profile(Profile { answer_composite_list_other: true, ..Profile::default() });
    two.a.write("big", big(3));
    two.s3.faults().push(Rule { skip: 1, times: 100, ..Rule::once("ListObjectsV2", Action::List(Oddity::Twice)) });
    two.a("upload --yes").expect(1);
    two.s3.faults().clear();
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1");
}

/// "else the ETag where it is a digest (the prefix `48ed760a74` is not)"; "Equal size without a digest is **unknown**: counted apart,
/// protected like a conflict, and the plan says how many bytes `--compare content` would read".
#[test]
fn an_object_written_over_nfs_is_unknown_until_somebody_reads_it() {
    let two = Two::agreed(&[("x", "first"), ("y", "first"), ("z", "first")]);
    two.put_over_nfs("x", "other");
    two.put_over_nfs("y", "first");
    two.put_over_nfs("z", "longer than before");
    two.s3.log().take();
    for verb in ["upload", "download"] {
        let ran = two.a(&format!("{verb} --dry-run")).expect(6);
        assert!(ran.stdout.contains("kept; --compare content would read 10 B"), "{}", ran.stdout);
    }
    no_content_was_read(&two);
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "protected=1 unknown=2");
    assert_eq!(two.a("upload --yes --json --compare content").expect(0).counts(), "unchanged=1 protected=2");
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "downloaded=2 unchanged=1", "what was read once is remembered");
    assert_eq!((two.a.text("x"), two.a.text("z")), ("other".into(), "longer than before".into()));
    assert_eq!(two.b("download --yes --json --overwrite").expect(0).counts(), "downloaded=3");
    assert_eq!(two.b.text("x"), "other");
}

/// Nobody knows its part size, so that nothing proves it when it comes: what came is known by its own digest from then on.
#[test]
fn an_object_in_parts_that_no_tool_makes_is_known_once_it_is_here() {
    let two = Two::empty();
    let content = |seed: u8| vec![seed; 13 * MIB];
    two.s3.put_in_parts("odd", &content(1), 6 * MIB, &[]);
    assert!(two.a("download --yes").expect(0).last_line().contains("size=1"));
    assert_eq!(two.a("download --yes --json").expect(0).counts(), "unchanged=1");
    two.a.write("odd", content(1));
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "unchanged=1", "it has another time, and the same content");
    two.a.write("odd", content(2));
    assert_eq!(two.a("upload --yes --json").expect(0).counts(), "uploaded=1");
    assert!(two.s3.content("odd") == content(2));
}

/// "`--compare size` accepts size and recorded mtime".
#[test]
fn compare_size_takes_size_and_recorded_time_for_equality() {
    let two = Two::empty();
    let profile = Profile { opaque_multipart_etag: true, ..Profile::default() };
    two.s3.faults().set_profile(profile);
    two.s3.put_in_parts("same-time", &vec![1; 6 * MIB], 5 * MIB, &[("mtime", "1700000000.5")]);
    two.s3.put_in_parts("other-time", &vec![1; 6 * MIB], 5 * MIB, &[("mtime", "1600000000")]);
    two.a.write("same-time", vec![1; 6 * MIB]).mtime("same-time", 1_700_000_000_500_000_000);
    two.a.write("other-time", vec![1; 6 * MIB]);
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "unknown=2");
    assert_eq!(two.a("upload --yes --json --compare size").expect(6).counts(), "unchanged=1 unknown=1");
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "unchanged=1 unknown=1", "both sides have agreed on it");
    let ran = two.a("upload --yes --compare size same-time").expect(0);
    assert!(ran.last_line().contains("files=1 "), "{}", ran.stdout);
}

/// "else, for an ETag without that prefix, metadata by one HEAD, asked only for equal sizes and remembered per (key, etag)."
#[test]
fn metadata_is_asked_once_and_only_where_sizes_are_equal() {
    let two = Two::empty();
    two.s3.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    let content = vec![7; 6 * MIB];
    let md5 = lsync::digest::digest_one(&content).base64();
    two.s3.put_in_parts("told", &content, 5 * MIB, &[("md5chksum", &md5)]);
    two.s3.put_in_parts("untold", &content, 5 * MIB, &[]);
    two.s3.put_in_parts("longer", &content, 5 * MIB, &[("md5chksum", &md5)]);
    two.a.write("told", &content).write("untold", &content).write("longer", "short");
    two.s3.log().take();
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "unchanged=1 conflicts=1 unknown=1");
    let asked = two.s3.log().take();
    let heads = |asked: &lsync::sandbox::Recorded| {
        let mut keys: Vec<_> = asked.requests.iter().filter(|(op, _)| *op == "HeadObject").map(|(_, key)| key.clone()).collect();
        keys.retain(|key| !key.contains(".lsync/"));
        keys.sort();
        keys
    };
    assert_eq!(heads(&asked), ["told", "untold"]);
    assert_eq!(two.a("upload --yes --json").expect(6).counts(), "unchanged=1 conflicts=1 unknown=1");
    assert_eq!(heads(&two.s3.log().take()), [""; 0]);
}

/// Metadata of an object that was last written over NFS is about an older content: it is not believed.
#[test]
fn metadata_that_may_be_older_than_the_content_is_not_believed() {
    let two = Two::empty();
    let md5 = lsync::digest::digest_one(b"first").base64();
    two.s3.put_with("x", "first", &[("md5chksum", &md5), ("mtime", "1700000000")]);
    two.put_over_nfs("x", "other");
    two.a.write("x", "first").mtime("x", 1_700_000_000_000_000_000);
    for compare in ["", " --compare size"] {
        assert_eq!(two.a(&format!("upload --yes --json{compare}")).expect(6).counts(), "unknown=1");
    }
    assert_eq!(two.a("upload --yes --json --compare content").expect(6).counts(), "conflicts=1");
}

/// "Different sizes differ": nothing is asked or read to know it.
#[test]
fn different_sizes_differ_without_a_question() {
    let two = Two::empty();
    two.put_over_nfs("x", "longer");
    two.a.write("x", "short");
    two.s3.log().take();
    let ran = two.a("upload --dry-run --json").expect(6);
    assert_eq!(ran.counts(), "conflicts=1");
    assert!(ran.lines("phase").iter().all(|line| line["phase"] != "hash"));
    assert_eq!(two.s3.log().count("HeadObject"), 0);
}

/// "L's digest comes from the hash cache": a second run sends at most 2 × ⌈objects / 1,000⌉ + 10 requests and reads no file.
#[test]
fn a_second_run_reads_nothing_and_asks_little() {
    let two = Two::empty();
    for n in 0..1200 {
        two.a.write(&format!("d{}/{n}", n % 7), n.to_string());
    }
    two.share();
    for (verb, who) in [("upload", "a"), ("download", "a"), ("upload", "b"), ("download", "b")] {
        two.s3.log().take();
        let cmd = if who == "a" { two.cmd_a(verb) } else { two.cmd_b(verb) };
        let ran = cmd.args("--json").run().expect(0);
        assert_eq!(ran.counts(), "unchanged=1200");
        assert!(ran.lines("phase").iter().all(|line| line["phase"] == "scan"), "{verb} {who}: {}", ran.stdout);
        let asked = two.s3.log().take();
        assert!(asked.requests.len() <= 2 * 2 + 10, "{verb} {who}: {:?}", asked.counts);
        assert_eq!(asked.counts.get("GetObject"), None, "{verb} {who}");
    }
}

/// "Hash only what the decision needs: a file with no counterpart is hashed while it is sent."
#[test]
fn a_file_without_a_counterpart_is_hashed_while_it_is_sent() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.write("new", "new").write("x", "longer");
    let ran = two.a("upload --yes --json").expect(0);
    assert_eq!(ran.counts(), "uploaded=2");
    assert!(ran.lines("phase").iter().all(|line| line["phase"] != "hash"), "{}", ran.stdout);
}
