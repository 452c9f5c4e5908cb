//! The second property test: kinds that take each other's place, directories, clashing keys. No table here, only what must never happen:
//! a content that is nowhere any more although nothing proves that it was superseded, a source that changed, a "complete" that is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lsync::engine::{Error, Report};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use super::reference::Run;
use super::{Bench, runtime, stories};
use crate::support::mount::{Mount, tree};

const PATHS: [&str; 6] = ["a", "d", "d/x", "d/x/deep", "d/y", "e/z"];

#[derive(Clone, Copy, Debug)]
enum Kind {
    File,
    Link,
    Dir,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Make(usize, &'static str, Kind),
    Remove(usize, &'static str),
    Chmod(usize, &'static str, u32),
    Put(&'static str),
    /// Another tool's marker of a directory.
    Mark(&'static str),
    Unmark(&'static str),
    Delete(&'static str),
    Run(Run),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || prop::sample::select(&PATHS[..]);
    let who = || 0..2_usize;
    let kind = prop_oneof![5 => Just(Kind::File), 1 => Just(Kind::Link), 1 => Just(Kind::Dir)];
    let only = prop_oneof![5 => Just(None), 1 => prop::sample::select(&["a", "d", "d/x"][..]).prop_map(Some)];
    let run = (who(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.35), only)
        .prop_map(|(who, upload, delete, overwrite, only)| Step::Run(Run { who, upload, delete, overwrite, only, without: None }));
    let step = prop_oneof![
        5 => (who(), path(), kind).prop_map(|(who, path, kind)| Step::Make(who, path, kind)),
        2 => (who(), path()).prop_map(|(who, path)| Step::Remove(who, path)),
        1 => (who(), path(), prop::sample::select(&[0o600, 0o640, 0o755][..])).prop_map(|(who, path, mode)| Step::Chmod(who, path, mode)),
        2 => path().prop_map(Step::Put),
        1 => path().prop_map(Step::Delete),
        2 => path().prop_map(Step::Mark),
        1 => path().prop_map(Step::Unmark),
        7 => run,
    ];
    prop::collection::vec(step, 6..28)
}

/// Makes something at a path, in the place of whatever stands there or above.
fn make(mount: &Mount, path: &str, kind: Kind, unique: usize) {
    for (at, _) in path.match_indices('/') {
        if fs::symlink_metadata(mount.path(&path[..at])).is_ok_and(|meta| !meta.is_dir()) {
            mount.remove(&path[..at]);
        }
    }
    if mount.has(path) {
        mount.remove(path);
    }
    match kind {
        Kind::File => mount.write(path, format!("content {unique:04}")),
        Kind::Link => mount.link(path, &format!("target{unique}")),
        Kind::Dir => mount.dir(path),
    };
}

/// Where each content of a file lies, in one place.
type Places = BTreeMap<String, String>;

fn in_mount(mount: &Mount) -> Places {
    let files = tree(mount.root()).into_iter().filter(|node| node.kind == "file");
    files.map(|node| (node.path.clone(), fs::read_to_string(mount.path(&node.path)).expect("text"))).collect()
}

fn in_bucket(bench: &Bench) -> Places {
    let files = bench.s3.keys().into_iter().filter(|key| !key.ends_with('/'));
    files.map(|key| (key.clone(), String::from_utf8(bench.s3.content(&key)).expect("text"))).collect()
}

/// Every content that is anywhere: in the mounts, the bucket, the trashes and the history.
fn anywhere(bench: &Bench) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = in_bucket(bench).into_values().collect();
    for mount in &bench.mounts {
        all.extend(in_mount(mount).into_values());
        all.extend(mount.trash());
    }
    let keys = bench.s3.all_keys();
    let history = keys.iter().filter(|key| key.starts_with(".lsync/history/"));
    all.extend(history.map(|key| String::from_utf8(bench.s3.content(key)).expect("text")));
    all
}

/// Runs, and checks what must hold whatever the run was. `agreed` is what this mount and the bucket have held in common, by path.
async fn run_one(bench: &Bench, run: &Run, agreed: &mut BTreeSet<(String, String)>) {
    let (mount, before) = (&bench.mounts[run.who], anywhere(bench));
    let (tree_before, objects_before, all_before) = (mount.tree(), in_bucket(bench), bench.s3.all_keys());
    let ran = bench.run(run).await;
    let (local, objects) = (in_mount(mount), in_bucket(bench));
    if run.upload {
        assert_eq!(mount.tree(), tree_before, "an upload changed the mount");
    } else {
        assert_eq!(bench.s3.all_keys(), all_before, "a download changed the bucket");
        assert_eq!(objects, objects_before, "a download changed the bucket");
    }
    let after = anywhere(bench);
    for lost in before.difference(&after) {
        let superseded = objects_before.iter().any(|(path, content)| content == lost && agreed.contains(&(path.clone(), lost.clone())));
        assert!(run.upload && superseded, "{lost:?} is lost: {run:?}");
    }
    let common = local.iter().filter(|(path, content)| objects.get(*path) == Some(content));
    agreed.extend(common.map(|(path, content)| (path.clone(), content.clone())));
    match ran {
        Ok(report) => complete_is_complete(&report, run, &local, &objects),
        Err(Error::Refused(_) | Error::NoSuchPath { .. }) => {}
        Err(e) => panic!("{run:?}: {e}"),
    }
}

fn complete_is_complete(report: &Report, run: &Run, local: &Places, objects: &Places) {
    assert!(report.ended_by.is_none(), "{report:?}");
    if report.complete.is_none() {
        let left = report.conflicts.len() + report.problems.len() + report.failures.len();
        assert!(left > 0 || report.nothing_there.is_some(), "it is incomplete for no reason: {report:?}");
        return;
    }
    let (source, destination) = if run.upload { (local, objects) } else { (objects, local) };
    for (path, content) in source.iter().filter(|(path, _)| run.reaches(path)) {
        let there = destination.get(path) == Some(content);
        assert!(
            there || report.protected.iter().any(|kept| kept.path.as_str() == path),
            "{path} is not there, and it says complete: {report:?}"
        );
    }
}

/// In the end: what one mount sends, a fresh one gets, links and empty directories included.
async fn ends(bench: &mut Bench) {
    // Keys that no mount can hold together are another tool's business.
    let keys = bench.s3.keys();
    let has_below =
        |key: &String| keys.iter().any(|other| other.strip_prefix(key).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')));
    for key in keys.iter().filter(|key| has_below(key)) {
        bench.s3.remove(&bench.s3.store.bucket, key).expect("the bucket is there");
    }
    // An upload of nothing is refused.
    make(&bench.mounts[0], "kept", Kind::File, 9999);
    let all = |who, upload| Run { who, upload, delete: false, overwrite: true, only: None, without: None };
    let sent = bench.run(&all(0, true)).await.expect("a run");
    assert!(sent.complete.is_some(), "{sent:?}");
    let again = bench.run(&all(0, true)).await.expect("a run");
    assert_eq!((again.counts.uploaded + again.counts.updated + again.counts.deleted, again.generation), (0, sent.generation), "{again:?}");
    bench.mounts[1] = Mount::new();
    let got = bench.run(&all(1, false)).await.expect("a run");
    // What another tool removed, and nobody has any more, is all that may be missing.
    assert!(
        got.complete.is_some() || got.problems.len() == got.vanished.len() && got.conflicts.is_empty() && got.failures.is_empty(),
        "{got:?}"
    );
    let fresh = bench.mounts[1].tree();
    for node in bench.mounts[0].tree().into_iter().filter(|node| node.kind != "dir" || is_empty(&bench.mounts[0].path(&node.path))) {
        let came = fresh.iter().find(|other| other.path == node.path);
        // Permission bits that the other instance alone had changed are its own; the time is that of the content.
        let same = came.is_some_and(|came| (came.kind, &came.content) == (node.kind, &node.content));
        assert!(same, "{node:?} came as {came:?}");
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn story(steps: &[Step]) {
    runtime().block_on(async {
        let mut bench = Bench::start().await;
        let mut agreed = [BTreeSet::new(), BTreeSet::new()];
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Make(who, path, kind) => make(&bench.mounts[*who], path, *kind, at),
                Step::Remove(who, path) if bench.mounts[*who].has(path) => drop(bench.mounts[*who].remove(path)),
                Step::Chmod(who, path, mode) if fs::symlink_metadata(bench.mounts[*who].path(path)).is_ok_and(|meta| meta.is_file()) => {
                    bench.mounts[*who].mode(path, *mode);
                }
                Step::Remove(..) | Step::Chmod(..) => {}
                Step::Put(path) => drop(bench.s3.put(path, format!("content {at:04}"))),
                Step::Mark(path) => drop(bench.s3.put(&format!("{path}/"), "")),
                Step::Unmark(path) => drop(bench.s3.remove(&bench.s3.store.bucket, &format!("{path}/"))),
                Step::Delete(path) => drop(bench.s3.remove(&bench.s3.store.bucket, path)),
                Step::Run(run) => run_one(&bench, run, &mut agreed[run.who]).await,
            }
        }
        ends(&mut bench).await;
    });
}

proptest! {
    #![proptest_config(Config {
        cases: stories(16),
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    })]

    #[test]
    fn nothing_is_lost_whatever_takes_the_place_of_what(steps in steps()) {
        story(&steps);
    }
}
