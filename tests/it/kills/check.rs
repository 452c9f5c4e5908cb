//! What must hold after a kill and after the run that follows it. The story says what lay where.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};

use super::moment::Kill;
use super::story::{Scene, Story};
use crate::support::cmd::Ran;
use crate::support::mount::{Mount, Node, tree};
use crate::support::report::tell;

/// Sets the story's scene, kills its run, checks, and runs it again to its end. With `back` a run in the other direction comes between.
/// False when the run came to its end before it could be killed; what is wrong panics.
#[track_caller]
pub(super) fn case(story: Story, kill: &Kill, back: bool) -> bool {
    tell(format_args!("{story:?} {kill:?} back={back}"));
    let scene = Scene::set(story);
    let killed = kill.at_work(&scene);
    nothing_is_half_or_lost(&scene);
    readable(&scene);
    if back {
        harmless(&scene);
    }
    converges(&scene, back);
    assert_eq!(scene.s3.open_uploads(&scene.s3.store.bucket), []);
    killed
}

/// Every path is as it was or as it will be, and what is on both lists was there all the time.
#[track_caller]
fn nothing_is_half_or_lost(scene: &Scene) {
    let now = scene.mount.tree();
    let objects = objects(scene);
    if scene.story.is_upload() {
        assert_eq!(now, scene.before, "an upload changes nothing here");
        let wanted = files(&scene.wanted);
        let keys: BTreeSet<&String> = scene.objects.keys().chain(objects.keys()).filter(|key| !key.starts_with(".lsync/")).collect();
        for key in keys {
            let (old, new) = (scene.objects.get(key).map(|bytes| md5(bytes)), wanted.get(key.as_str()).map(|node| node.content.clone()));
            let found = objects.get(key).map(|bytes| md5(bytes));
            assert!(found == old || found == new, "{key} in the bucket is neither old nor new");
        }
        return;
    }
    assert!(objects == scene.objects, "a download changes nothing in the bucket");
    let (old, new, found) = (by_path(&scene.before), by_path(&scene.wanted), by_path(&now));
    let paths: BTreeSet<&str> = [&old, &new, &found].into_iter().flat_map(|nodes| nodes.keys().copied()).collect();
    let trash = trash(scene);
    for path in paths {
        let (old, new, found) = (old.get(path), new.get(path), found.get(path));
        match found {
            Some(found) => {
                let is = |node: &&Node| node.kind == found.kind && node.content == found.content && node.mtime == found.mtime;
                let versions: Vec<&Node> = [old, new].into_iter().flatten().copied().filter(is).collect();
                assert!(!versions.is_empty(), "{found:?} is neither {old:?} nor {new:?}");
                let modes = [old, new].into_iter().flatten().any(|node| node.mode == found.mode);
                assert!(modes || found.kind == "dir", "{found:?} has neither the bits of {old:?} nor of {new:?}");
            }
            None => {
                let stays = old.zip(new).is_some_and(|(old, new)| old.kind == new.kind);
                assert!(!stays, "{old:?} is missing");
            }
        }
        if let Some(old) = old.filter(|old| old.kind == "file")
            && found.is_none_or(|found| found.content != old.content)
        {
            assert!(trash.contains(&old.content), "{old:?} is not in the trash");
        }
    }
}

/// The state that the kill left is a state.
#[track_caller]
fn readable(scene: &Scene) {
    let ran = scene.lsync("status --json").run();
    let ran = succeeded(ran);
    assert!(!ran.says("treated as absent"), "{}\n{}", ran.stdout, ran.stderr);
}

/// The other direction, run now, takes nothing that either side holds alone, and replaces nothing that is newer.
#[track_caller]
fn harmless(scene: &Scene) {
    let (here, there) = (scene.mount.tree(), objects(scene));
    let ran = scene.back().run();
    assert!([0, 3, 6].contains(&ran.code), "{}\n{}\n{}", ran.code, ran.stdout, ran.stderr);
    let (here_now, there_now) = (scene.mount.tree(), objects(scene));
    if scene.story.is_upload() {
        for node in here.iter().filter(|node| node.kind != "dir") {
            assert!(here_now.contains(node), "{node:?} was taken by a download");
        }
    } else {
        let users = |key: &&String| !key.starts_with(".lsync/");
        for key in there.keys().filter(users) {
            assert!(there_now.get(key) == there.get(key), "{key} was taken by an upload");
        }
    }
}

/// The same command ends complete, and both sides hold the same: what was wanted, unless a run in the other direction brought some back.
#[track_caller]
fn converges(scene: &Scene, back: bool) {
    let ran = succeeded(scene.cmd().run());
    assert!(ran.last_line().starts_with("complete: "), "{}", ran.stdout);
    let now = scene.mount.tree();
    if !back {
        assert_eq!(now, scene.wanted);
    }
    let objects: BTreeMap<String, String> =
        objects(scene).into_iter().filter(|(key, _)| !key.starts_with(".lsync/")).map(|(key, bytes)| (key, md5(&bytes))).collect();
    let here: BTreeMap<String, String> = files(&now).into_iter().map(|(path, node)| (path.to_owned(), node.content.clone())).collect();
    assert_eq!(here, objects);
    let left: Vec<String> = scene.mount.left_behind().into_iter().filter(|path| !path.starts_with("trash/")).collect();
    assert_eq!(left, Vec::<String>::new());
    let own = std::fs::read_dir(scene.mount.path(".lsync")).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let unfinished: Vec<_> = own.filter(|name| name.to_string_lossy().ends_with(".new")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    if scene.story.is_upload() && scene.story != Story::Learn {
        let fresh = Mount::new();
        let cmd = crate::support::cmd::Cmd::lsync(&fresh).on(&scene.s3.store).args("download --yes");
        succeeded(cmd.run());
        assert_eq!(fresh.tree(), now);
    }
}

#[track_caller]
fn succeeded(ran: Ran) -> Ran {
    ran.expect(0)
}

fn objects(scene: &Scene) -> BTreeMap<String, Vec<u8>> {
    scene.s3.all_keys().into_iter().map(|key| (key.clone(), scene.s3.content(&key))).collect()
}

fn by_path(nodes: &[Node]) -> BTreeMap<&str, &Node> {
    nodes.iter().map(|node| (node.path.as_str(), node)).collect()
}

fn files(nodes: &[Node]) -> BTreeMap<&str, &Node> {
    nodes.iter().filter(|node| node.kind == "file").map(|node| (node.path.as_str(), node)).collect()
}

/// Contents of the files in the trash.
fn trash(scene: &Scene) -> BTreeSet<String> {
    let root = scene.mount.path(".lsync/trash");
    if !root.is_dir() {
        return BTreeSet::new();
    }
    tree(&root).into_iter().filter(|node| node.kind == "file").map(|node| node.content).collect()
}

fn md5(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Md5::digest(bytes))
}
