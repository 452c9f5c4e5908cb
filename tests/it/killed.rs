//! A run that is killed: the next one goes on, takes its own objects for its own, and clears away what was left.

use lsync::sandbox::{Action, Profile, Rule};
use rustix::process::Signal;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

fn hold(operation: &'static str, key: &str, skip: u32) -> Rule {
    Rule { key_contains: Some(key.into()), skip, times: 2, ..Rule::once(operation, Action::Hold) }
}

fn lsync(s3: &S3, mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(words)
}

/// Kills a run as soon as the fault has hit.
fn kill(s3: &S3, cmd: &Cmd) {
    let run = cmd.start();
    s3.until_all_hit();
    run.signal(Signal::KILL);
    run.wait().expect(-9);
    s3.faults().release();
}

fn asked(s3: &S3, operation: &str, key: &str) -> usize {
    s3.log().take().requests.iter().filter(|(op, k)| *op == operation && k.contains(key)).count()
}

/// "Finished transfers are journalled within 5 s, so that a crash before the manifest does not make our own objects strangers."
#[test]
fn after_a_killed_upload_our_own_objects_are_no_strangers() {
    for profile in [Profile::default(), Profile { no_conditional_writes: true, ..Profile::default() }] {
        let (s3, mount) = (S3::start(), Mount::new());
        s3.faults().set_profile(profile);
        for n in 0..20 {
            mount.write(&format!("data/{n:02}"), format!("content {n}"));
        }
        s3.faults().push(hold("PutObject", "data/", 10));
        kill(&s3, &lsync(&s3, &mount, "upload --yes -j 2"));
        let sent = s3.keys();
        // What was sent is changed here: if it were a stranger, both sides would have changed.
        mount.write(&sent[0], "changed since");
        s3.log().take();
        let again = lsync(&s3, &mount, "upload --yes").run().expect(0);
        assert!(again.last_line().starts_with("complete: files=20 "), "{}", again.stdout);
        // The changed one and those that were missing; the two requests that were held may have been carried out after all.
        let (asked, missing) = (asked(&s3, "PutObject", "data/"), 20 - sent.len());
        assert!((missing - 1..=missing + 1).contains(&asked), "{asked} sent, {missing} were missing");
        assert_eq!((s3.keys().len(), s3.content(&sent[0])), (20, b"changed since".to_vec()));
        assert_eq!(mount.left_behind(), Vec::<String>::new());
    }
}

/// The object is there, its answer never came.
#[test]
fn a_run_that_is_killed_before_the_last_answer_finds_its_object() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    mount.write("large.bin", noise(17 << 20));
    s3.faults().push(Rule { key_contains: Some(".lsync/manifests/".into()), ..Rule::once("PutObject", Action::Hold) });
    kill(&s3, &lsync(&s3, &mount, "upload --yes"));
    s3.log().take();
    let again = lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert!(again.last_line().starts_with("complete: files=1 "), "{}", again.stdout);
    assert_eq!(asked(&s3, "UploadPart", "large.bin"), 0);
    let other = Mount::new();
    let down = lsync(&s3, &other, "download --yes").run().expect(0);
    assert!(down.last_line().contains(" strong=1 "), "what was journalled is published by the next run: {}", down.stdout);
}

#[test]
fn a_killed_download_goes_on_and_leaves_no_temporaries() {
    let (s3, mount, other) = (S3::start(), Mount::new(), Mount::new());
    for n in 0..12 {
        mount.write(&format!("data/{n:02}"), format!("content {n}"));
    }
    mount.write("large.bin", noise(17 << 20));
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    s3.faults().push(hold("GetObject", "data/", 5));
    kill(&s3, &lsync(&s3, &other, "download --yes -j 2"));
    let brought = other.tree().iter().filter(|node| node.kind == "file" && node.path.starts_with("data/")).count();
    assert!(brought >= 4, "{:?}", other.tree());
    s3.log().take();
    let again = lsync(&s3, &other, "download --yes").run().expect(0);
    assert!(again.last_line().starts_with("complete: files=13 "), "{}", again.stdout);
    assert_eq!((asked(&s3, "GetObject", "data/"), mount.tree() == other.tree()), (12 - brought, true));
    assert_eq!(other.left_behind(), Vec::<String>::new());
}

#[test]
fn after_a_killed_download_a_change_here_is_no_conflict() {
    let (s3, mount) = (S3::start(), Mount::new());
    s3.put("data/a", "from the bucket").put("data/b", "x").put("data/c", "x");
    s3.faults().push(hold("GetObject", "data/", 1));
    kill(&s3, &lsync(&s3, &mount, "download --yes -j 2"));
    let brought = mount.tree().into_iter().find(|node| node.kind == "file").expect("one came");
    mount.write(&brought.path, "changed here");
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    assert_eq!(s3.content(&brought.path), b"changed here");
    lsync(&s3, &mount, "download --yes").run().expect(0);
    assert_eq!(mount.left_behind(), Vec::<String>::new());
}

/// Links, empty directories, permission bits and what is gone stand in the manifest alone: nobody has agreed on them before it is published.
#[test]
fn what_only_the_manifest_tells_is_published_by_the_run_after_a_killed_one() {
    let (s3, mount) = (S3::start(), Mount::with(&[("data/a", "1"), ("data/gone", "2"), ("kind", "a file"), ("run.sh", "3")]));
    mount.link("latest", "data/a").mode("run.sh", 0o644);
    lsync(&s3, &mount, "upload --yes").run().expect(0);
    mount.remove("latest").link("latest", "run.sh").mode("run.sh", 0o755).dir("empty").remove("data/gone");
    mount.remove("kind").write("kind/below", "a directory now");
    s3.faults().push(Rule { key_contains: Some(".lsync/manifests/".into()), ..Rule::once("PutObject", Action::Hold) });
    kill(&s3, &lsync(&s3, &mount, "upload --yes --delete"));
    assert_eq!(s3.keys(), ["data/a", "kind/below", "run.sh"]);
    lsync(&s3, &mount, "upload --yes --delete").run().expect(0);
    let other = Mount::new();
    lsync(&s3, &other, "download --yes").run().expect(0);
    assert_eq!(other.tree(), mount.tree());
}
