//! What happens between the plan and the last line, by the user's own hand or by another run: nothing is lost, and "complete" stays true.

use lsync::sandbox::{Action, Rule};

use crate::support::pty::Pty;
use crate::support::two::Two;

/// Runs `lsync ARGS` on the first mount up to its question, lets the world change, and confirms.
fn confirmed_after(two: &Two, args: &str, change: impl FnOnce()) -> u32 {
    let mut pty = Pty::start(&two.cmd_a(args), 120, 60);
    pty.wait_for("[y/N]");
    change();
    pty.send("y\r");
    pty.wait()
}

/// Uploads from the first mount and changes it while the object of `key` is on its way.
fn upload_while(two: &Two, key: &str, change: impl FnOnce()) -> crate::support::cmd::Ran {
    two.s3.faults().push(Rule { key_contains: Some(key.into()), ..Rule::once("PutObject", Action::Hold) });
    let run = two.cmd_a("upload --yes").start();
    two.s3.until_all_hit();
    change();
    two.s3.faults().release();
    run.wait()
}

#[test]
fn room_is_made_only_for_what_is_still_in_the_mount() {
    let two = Two::agreed(&[("d/x", "x"), ("d/y", "y"), ("z", "z")]);
    two.a.remove("d").write("d", "a file now");
    let code = confirmed_after(&two, "upload", || {
        two.a.remove("d").write("d/x", "x").write("d/y", "y");
    });
    assert_eq!(code, 3);
    assert_eq!(two.s3.keys(), ["d/x", "d/y", "z"]);
}

#[test]
fn a_plan_that_another_run_has_overtaken_is_stale() {
    let two = Two::agreed(&[("a", "a")]);
    two.a.write("new", "n");
    let code = confirmed_after(&two, "upload", || {
        two.a("upload --yes").expect(0);
    });
    assert_eq!(code, 9);
    assert_eq!(two.manifests().len(), 2);
}

#[test]
fn another_kind_that_takes_a_sent_files_place_is_not_complete() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.write("a", "1").write("b", "2").write("z", "3");
    let ran = upload_while(&two, "z", || {
        two.a.remove("a").link("a", "keep").remove("b").write("b/x", "4");
    });
    ran.expect(3);
    two.a("upload --yes").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn a_link_that_is_pointed_elsewhere_during_the_run_is_not_complete() {
    let two = Two::agreed(&[("one", "1"), ("two", "2")]);
    two.a.link("l", "one");
    two.share();
    two.a.write("new", "n");
    let ran = upload_while(&two, "new", || {
        two.a.remove("l").link("l", "two");
    });
    ran.expect(3);
    two.share();
    assert_eq!(two.a.tree(), two.b.tree());
}

/// "The `.syncignore` files that lie in the mount when the run starts (…; new ones count from the next run)".
#[test]
fn a_syncignore_that_comes_during_the_run_hides_nothing_from_it() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.write("a.log", "1").write("z", "2");
    let ran = upload_while(&two, "z", || {
        two.a.write("a.log", "longer").write(".syncignore", "*.log\n");
    });
    ran.expect(0);
    assert_eq!(two.object("a.log"), "longer");
}

#[test]
fn an_object_that_takes_a_links_place_during_the_run_is_not_complete() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.link("l", "keep").write("z", "2");
    let ran = upload_while(&two, "z", || {
        two.s3.put("l", "somebody's");
    });
    ran.expect(3);
}

#[test]
fn a_path_whose_directory_is_an_object_in_the_bucket_is_a_problem() {
    let two = Two::agreed(&[("a", "file"), ("c", "c")]);
    two.a.remove("a").write("a/b", "x");
    let ran = two.a("upload --yes a/b").expect(3);
    assert!(ran.stderr.contains("the bucket holds an object here"), "{}", ran.stderr);
    assert_eq!(two.s3.keys(), ["a", "c"]);
    two.a("upload --yes").expect(0);
    assert_eq!(two.s3.keys(), ["a/b", "c"]);
}

#[test]
fn what_was_sent_and_could_not_be_published_is_pending_and_asked_for() {
    let two = Two::agreed(&[("a", "a")]);
    two.a.write("b", "b").mode("b", 0o755);
    two.s3.faults().push(Rule { key_contains: Some("manifests/".into()), ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    two.a("upload --yes").expect(4);
    two.a("status --check=upload").expect(10);
    let asked = two.a("upload").expect(5);
    assert!(asked.stdout.contains("An earlier upload could not publish what it sent"), "{}", asked.stdout);
    two.share();
    two.a("status --check=any").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

#[test]
fn what_is_known_of_one_endpoint_is_not_believed_of_another() {
    let two = Two::agreed(&[("a", "a")]);
    let other = crate::support::s3::S3::start();
    let probes = || other.log().counts().get("PutObject").copied().unwrap_or_default();
    let first = crate::support::cmd::Cmd::lsync(&two.a).on(&other.store).args("upload --yes").run();
    assert!(probes() > 2, "the other store was not asked what it does\n{}", first.stderr);
}

/// On a mount with coarse timestamps the rewrite shows in no stamp; it must not be taken for what was sent all the same.
#[test]
fn a_rewrite_of_equal_size_while_it_is_sent_is_never_complete_with_the_old_bytes() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.write("a", "old");
    let ran = upload_while(&two, "a", || {
        two.a.write("a", "new");
    });
    assert!(ran.code == 3 || two.object("a") == "new", "{}", ran.stdout);
    two.a("upload --yes").expect(0);
    assert_eq!(two.object("a"), "new");
}

/// "Whether it does is learnt once per endpoint and bucket (kept 90 days)".
#[test]
fn what_a_store_does_with_conditions_is_asked_again_after_90_days() {
    use lsync::local::{lock::now, mount::Mount, store};
    const DAY: i64 = 24 * 3600 * 1_000_000_000;
    let two = Two::agreed(&[("a", "a")]);
    let mount = Mount::open(two.a.root()).expect("the mount is there");
    let (endpoint, bucket) = (&two.s3.store.endpoint, &two.s3.store.bucket);
    for (days, asks) in [(0, false), (89, false), (91, true), (0, false)] {
        let mut known = store::load(&mount, endpoint, bucket).expect("it can be read").expect("the first upload asked");
        assert!(known.is_conditional());
        if days > 0 {
            known.time = now() - days * DAY;
            store::save(&mount, endpoint, bucket, &known).expect("it can be written");
        }
        two.a.write("a", format!("{days} {asks} {}", known.time));
        two.s3.log().take();
        two.a("upload --yes").expect(0);
        let probed = two.s3.log().take().requests.iter().any(|(_, key)| key.contains(".lsync/probe-"));
        assert_eq!(probed, asks, "after {days} days");
    }
}
