//! "The published manifest": what is published and when, and how several, damaged and newer ones are read.

use lsync::manifest::{Header, Manifest, Name};
use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::two::Two;

mod at_once;

const FOLDER: &str = ".lsync/manifests/";

fn read(two: &Two, name: &str) -> Manifest {
    Manifest::decode(&two.s3.content(&format!("{FOLDER}{name}"))).expect("a manifest")
}

/// The only head, read.
#[track_caller]
fn head(two: &Two) -> Manifest {
    read(two, two.manifests().last().expect("a manifest"))
}

fn paths(manifest: &Manifest) -> Vec<&str> {
    manifest.entries.iter().map(|(path, _)| path.as_str()).collect()
}

/// "A manifest is a **new object** `<prefix>.lsync/manifests/<generation, 10 digits>-<128-bit nonce>`, never overwritten: format version,
/// lineage (random id of the first manifest, copied on), parents, host, operation, scope, entries. Generation = 1 + the highest listed."
#[test]
fn a_manifest_is_a_new_object_that_names_its_parents() {
    let two = Two::agreed(&[("x", "x"), ("d/y", "y")]);
    two.a.write("x", "new");
    two.a("upload --yes d x").expect(0);
    let names: Vec<Name> = two.manifests().iter().map(|name| Name::parse(name).expect("a manifest's name")).collect();
    let [first, second] = names.as_slice() else { panic!("{names:?}") };
    assert_eq!((first.generation, second.generation), (1, 2));
    let (one, two_) = (read(&two, &first.to_string()).header, read(&two, &second.to_string()).header);
    assert_eq!((one.v, one.lineage.len(), one.parents.len(), one.command.as_str(), one.scope.len()), (1, 32, 0, "upload", 0));
    assert_eq!(
        (&two_.lineage, two_.parents.as_slice(), two_.scope),
        (&one.lineage, &[first.clone()][..], vec!["d".to_owned(), "x".into()])
    );
    assert!(!one.host.is_empty() && one.operation != two_.operation && one.files == 2 && two_.bytes == 4);
    // "Generation = 1 + the highest listed", whoever wrote that.
    let far = Name::new(41, [3; 16]);
    let manifest = Manifest { header: Header { parents: names.clone(), ..two_text(&two) }, entries: head(&two).entries };
    two.s3.put(&format!("{FOLDER}{far}"), manifest.encode());
    two.a.write("x", "newer");
    assert!(two.a("upload --yes").expect(0).last_line().ends_with(" generation=42"));
}

fn two_text(two: &Two) -> Header {
    head(two).header
}

/// "a run that changed nothing publishes nothing": not for a touch, a foreign object that is the same, a download, a dry run.
#[test]
fn a_run_that_changed_nothing_publishes_nothing() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.s3.put("foreign", "f");
    two.a.write("foreign", "f").mtime("x", 1);
    let check = |args: &str, manifests: usize| {
        two.a(args).expect(0);
        assert_eq!(two.manifests().len(), manifests, "{args}");
    };
    for args in ["upload --yes", "upload --dry-run --delete", "download --yes", "status"] {
        check(args, 1);
    }
    // What was deleted here is told once, and once that it is here again.
    two.a.remove("y");
    for (args, manifests) in [("upload -n", 1), ("upload --yes", 2), ("upload --yes", 2), ("download --yes", 2), ("upload --yes", 3)] {
        check(args, manifests);
    }
    check("upload --yes", 3);
    assert!(two.a.has("y"), "the download brought it again");
}

/// "A run that changed the bucket publishes, also when it ends 3, 6".
#[test]
fn a_run_that_ends_with_failures_or_conflicts_publishes_what_it_did() {
    let two = Two::agreed(&[("x", "x"), ("y", "y")]);
    two.s3.put("x", "theirs");
    two.a.write("x", "mine").write("new", "n").link("l", "new");
    two.a("upload --yes").expect(6);
    assert_eq!(paths(&head(&two)), ["l", "new", "x", "y"]);
    two.s3.faults().push(Rule {
        key_contains: Some("bad".into()),
        times: 99,
        ..Rule::once("PutObject", Action::Status(400, "InvalidRequest"))
    });
    two.a.write("bad", "b").write("good", "g");
    let code = two.a("upload --yes").code;
    assert_eq!((code, paths(&head(&two))), (6, vec!["good", "l", "new", "x", "y"]));
}

/// "It describes the **whole** tree: in-scope entries as this run left them; out of scope, protected and failed paths as the parents have
/// them."
#[test]
fn a_manifest_describes_the_whole_tree() {
    let two = Two::agreed(&[("protected", "p"), ("out/of/scope", "o"), ("gone", "g"), ("kept", "k"), ("sent", "s")]);
    let before = head(&two);
    let entry = |manifest: &Manifest, path: &str| manifest.entries.iter().find(|(p, _)| p.as_str() == path).map(|(_, e)| e.clone());
    two.s3.put("protected", "newer");
    two.a.write("out/of/scope", "changed").write("sent", "changed").remove("gone").remove("kept");
    two.a("upload --yes --delete --exclude out/ --exclude kept").expect(0);
    let after = head(&two);
    assert_eq!(paths(&after), ["kept", "out/of/scope", "protected", "sent"]);
    for same in ["kept", "out/of/scope", "protected"] {
        assert_eq!(entry(&after, same), entry(&before, same), "{same}");
    }
    assert_ne!(entry(&after, "sent"), entry(&before, "sent"));
}

/// "A head that the base already folded in is not fetched again."
#[test]
fn a_head_is_fetched_once() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.write("x", "new");
    two.a("upload --yes").expect(0);
    let gets = || two.s3.log().take().counts.get("GetObject").copied().unwrap_or(0);
    gets();
    two.a("upload --yes").expect(0);
    assert_eq!(gets(), 0);
    two.b("download --yes").expect(0);
    assert!((1..=3).contains(&gets()), "header, manifest and object");
    two.b("download --yes").expect(0);
    two.b("upload --yes").expect(0);
    assert_eq!(gets(), 0);
}

/// Beyond the newest 20, ancestors of every head go when they are a day old.
#[test]
fn old_manifests_are_pruned_and_heads_stay() {
    let two = Two::agreed(&[("x", "0")]);
    let unread = format!("{}", Name::new(1, [9; 16]));
    let other = Manifest { header: Header { parents: vec![], ..head(&two).header }, entries: head(&two).entries };
    for n in 0..24 {
        if n == 22 {
            two.s3.put(&format!("{FOLDER}{unread}"), other.encode());
        }
        for name in two.manifests() {
            two.s3.age(&two.s3.store.bucket, &format!("{FOLDER}{name}"), 25 * 3600).expect("it is there");
        }
        two.a.write("x", format!("{n} "));
        two.a("upload --yes").expect(0);
        assert!(two.manifests().len() <= 20 + 2 * usize::from(n == 22), "{n}: {:?}", two.manifests());
    }
    let generations: Vec<u64> = two.manifests().iter().map(|name| Name::parse(name).expect("a name").generation).collect();
    assert_eq!((generations.len(), generations.last()), (20, Some(&25)), "{generations:?}");
    two.b("download --yes").expect(0);
    assert_eq!(two.b.text("x"), "23 ");
}

/// A long upload meets many short ones, which delete what it saw: its manifest and theirs have an ancestor in common, which must still be there.
#[test]
fn a_run_that_many_others_overtake_brings_nothing_back_that_was_deleted_meanwhile() {
    let two = Two::agreed(&[("gone", "1"), ("x", "0")]);
    two.a.write("large", "2");
    two.s3.faults().push(Rule { key_contains: Some("large".into()), ..Rule::once("PutObject", Action::Hold) });
    let long = two.cmd_a("upload --yes").start();
    two.s3.until_all_hit();
    two.b.remove("gone");
    two.b("upload --yes --delete").expect(0);
    for n in 0..22 {
        two.b.write("x", format!("{n} "));
        two.b("upload --yes").expect(0);
    }
    two.s3.faults().release();
    long.wait();
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert_eq!((fresh.has("gone"), fresh.text("large"), fresh.text("x")), (false, "2".into(), "21 ".into()));
}

/// "No manifest, or an unreadable one: content is judged by the listing; what only a manifest carries is unknown, never absent; nothing is
/// deleted; one warning."
#[test]
fn with_an_unreadable_manifest_content_is_judged_by_the_listing_and_nothing_is_deleted() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("z", "z")]);
    two.a.link("l", "x").remove("y").write("z", "new");
    two.a("upload --yes --delete").expect(0);
    let name = two.manifests().pop().expect("a manifest");
    let key = format!("{FOLDER}{name}");
    let bytes = two.s3.content(&key);
    two.s3.put(&key, &bytes[..bytes.len() / 2]);
    // Who has folded it in before it was damaged does not need it again.
    two.a("upload --yes").expect(0);
    let ran = two.b("download --yes --delete").expect(3);
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.stderr);
    assert_eq!((two.b.text("y"), two.b.text("z"), two.b.has("l")), ("y".into(), "new".into(), false));
    assert!(ran.stderr.contains(&name), "{}", ran.stderr);
    two.b.remove("x");
    let ran = two.b("upload --yes --delete").expect(3);
    assert!(two.s3.keys().contains(&"x".to_owned()), "{}", ran.stderr);
    // Without it everything goes on.
    two.remove_object(&key);
    two.a("upload --yes").expect(0);
}

/// An unreadable manifest that a readable one names as its parent is history, and nothing depends on it.
#[test]
fn an_unreadable_ancestor_is_history() {
    let two = Two::agreed(&[("x", "x"), ("y", "y"), ("z", "z")]);
    two.a.remove("x");
    two.a("upload --yes --delete").expect(0);
    let first = two.manifests().remove(0);
    two.s3.put(&format!("{FOLDER}{first}"), "damaged");
    let fresh = Mount::new();
    let ran = Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert!(!ran.stderr.contains("cannot be read"), "{}", ran.stderr);
    assert_eq!(two.b("download --yes --delete --json").expect(0).counts(), "deleted=1 unchanged=2");
}

/// "A newer format: exit 2, "upgrade lsync"", in every command, and nothing is touched.
#[test]
fn a_manifest_of_a_newer_format_stops_every_command() {
    let two = Two::agreed(&[("x", "x")]);
    two.s3.put(&format!("{FOLDER}{}", Name::new(2, [1; 16])), r#"{"lsync":"manifest","v":2,"anything":[]}"#.to_owned() + "\n");
    two.a.write("x", "new").write("y", "y");
    let keys = two.s3.all_keys();
    for args in ["upload --yes", "download --yes", "status", "upload --dry-run", "upload --yes --overwrite y"] {
        let ran = two.a(args).expect(2);
        assert!(ran.stderr.contains("upgrade lsync"), "{args}: {}", ran.stderr);
    }
    assert_eq!((two.s3.all_keys(), two.object("x")), (keys, "x".into()));
}

/// A crash or an error before the manifest: the next upload publishes what the bucket has been given.
#[test]
fn what_could_not_be_published_is_published_by_the_next_run() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.write("new", "n").mode("new", 0o750).link("l", "new");
    two.s3.faults().push(Rule {
        key_contains: Some(FOLDER.into()),
        times: 1000,
        ..Rule::once("PutObject", Action::Status(400, "InvalidRequest"))
    });
    let ran = two.a("upload --yes");
    assert_ne!(ran.code, 0);
    assert!(ran.last_line().starts_with("incomplete: "), "{}", ran.stdout);
    two.s3.faults().clear();
    two.a("upload --yes").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

/// Without a link, whose loss would show: permission bits alone are worth a publication too.
#[test]
fn permission_bits_that_could_not_be_published_are_published_by_the_next_run() {
    let two = Two::agreed(&[("x", "x")]);
    two.a.write("run.sh", "n").mode("run.sh", 0o750);
    two.s3.faults().push(Rule {
        key_contains: Some(FOLDER.into()),
        times: 1000,
        ..Rule::once("PutObject", Action::Status(400, "InvalidRequest"))
    });
    assert_ne!(two.a("upload --yes").code, 0);
    two.s3.faults().clear();
    two.a("upload --yes").expect(0);
    two.b("download --yes").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

/// What is in no object: a removal, another target, other permission bits.
#[test]
fn what_only_a_manifest_says_and_could_not_be_published_is_not_forgotten() {
    let two = Two::agreed(&[("x", "x"), ("gone", "g"), ("run.sh", "n")]);
    two.a.link("l", "x").link("l2", "x").dir("d");
    two.share();
    two.a.remove("gone").remove("l").link("l", "run.sh").remove("l2").remove("d").mode("run.sh", 0o750);
    two.s3.faults().push(Rule {
        key_contains: Some(FOLDER.into()),
        times: 1000,
        ..Rule::once("PutObject", Action::Status(400, "InvalidRequest"))
    });
    assert_ne!(two.a("upload --yes --delete --max-delete 100%").code, 0);
    two.s3.faults().clear();
    let again = two.a("upload --yes --delete --max-delete 100%").expect(0);
    assert!(again.last_line().contains(" protected=0 "), "{}", again.stdout);
    two.b("download --yes --delete --max-delete 100%").expect(0);
    assert_eq!(two.a.tree(), two.b.tree());
}

/// What a download brought is in the bucket already, published or not: the next upload has nothing to publish because of it.
#[test]
fn a_download_of_foreign_objects_leaves_nothing_to_publish() {
    let two = Two::agreed(&[("x", "x")]);
    two.s3.put("foreign", "f");
    two.a("download --yes").expect(0);
    two.a("upload --yes").expect(0);
    assert_eq!(two.manifests().len(), 1);
}

/// A run that is narrowed to something else publishes, and what was not published before is still owed.
#[test]
fn a_narrowed_upload_does_not_forget_what_could_not_be_published() {
    let two = Two::agreed(&[("keep", "k")]);
    two.a.write("b", "b").mode("b", 0o755);
    two.s3.faults().push(Rule { key_contains: Some("manifests/".into()), ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    two.a("upload --yes").expect(4);
    two.a.write("keep", "newer");
    two.a("upload --yes keep").expect(0);
    let before = two.manifests().len();
    two.a("upload --yes keep").expect(0);
    assert_eq!(two.manifests().len(), before, "nothing is owed there");
    two.a("upload --yes").expect(0);
    let fresh = Mount::new();
    Cmd::lsync(&fresh).on(&two.s3.store).args("download --yes").run().expect(0);
    assert_eq!(fresh.tree(), two.a.tree());
}
