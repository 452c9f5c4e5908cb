//! Publishes a manifest: the whole tree as this run leaves it, as a new object, read back; then prunes what is old.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::heads::ancestors;
use super::run::Work;
use super::send::random_bits;
use super::{Error, blocking, deletions, dirs, sets};
use crate::digest::{Md5, digest_one};
use crate::entry::{Entry, InOrder, Kind, Local, Tree, below, find, with_something_below};
use crate::local::lock::{host_name, now};
use crate::manifest::retention::{Listed, outdated};
use crate::manifest::{self, Header, Manifest, Name};
use crate::path::RelPath;
use crate::remote::error::{Error as RemoteError, Kind as RemoteKind};
use crate::remote::object::{About, Enforce, Guard, Put};
use crate::view::Remote;

/// A manifest that was published and read back.
pub(super) struct Made {
    pub(super) name: Name,
    pub(super) header: Header,
    pub(super) tree: Tree,
}

/// Publishes. The manifest follows all heads that could be read.
pub(super) async fn publish(work: &Work<'_>, mount_id: &str) -> Result<Made, Error> {
    let tree = tree_after(work);
    let lineage = work.sight.state.lineage.clone().unwrap_or_else(super::send::nonce);
    let (files, bytes) = tree.iter().fold((0, 0), |(n, b), (_, e)| (n + u64::from(e.file().is_some()), b + e.bytes()));
    let header = Header {
        lsync: "manifest".into(),
        v: manifest::FORMAT,
        lineage,
        // A difference that is not settled is told by name: to leave its head unfollowed would let that head say again what is removed since.
        parents: work.sight.heads.clone(),
        host: host_name(),
        operation: work.operation.clone(),
        command: work.plan.direction.verb().into(),
        time: now(),
        scope: work.ask.paths.iter().map(|p| p.as_str().to_owned()).collect(),
        torn: still_torn(work, &tree),
        sets: sets::after(work, &tree),
        dirs: dirs::after(work, &tree),
        deleted: deletions::after(work, &tree, mount_id),
        files,
        bytes,
    };
    let encoded = blocking(move || {
        let manifest = Manifest { header, entries: tree };
        let body = Bytes::from(manifest.encode());
        let md5 = digest_one(&body);
        (manifest, body, md5)
    });
    let (listed, encoded) = tokio::join!(manifests_there(work), encoded);
    let (listed, (made, body, md5)) = (listed?, encoded?);
    let generation = 1 + listed.iter().map(|listed| listed.name.generation).max().unwrap_or(0).max(work.sight.state.generation);
    let name = Name::new(generation, random_bits());
    let key = format!("{}{name}", manifest::FOLDER);
    let about = About {
        content_type: Some("application/jsonl; charset=utf-8".into()),
        metadata: vec![("md5chksum".into(), md5.base64()), ("lsync-mount".into(), mount_id.to_owned())],
    };
    // Not kept: of a million files it is 200 MB, and its digest tells as much.
    let body_bytes = body.len();
    // The name is random: nobody else's object can stand there.
    let put = Put { key: key.clone(), body, md5, guard: Guard::Any, enforce: Enforce::Head, about };
    let stored = work.ends.bucket.put(put).await;
    let damaged = match &stored {
        Ok(stored) => stored.damaged,
        Err(e) => !matches!(e.kind, RemoteKind::Unreachable | RemoteKind::Throttled),
    };
    let (mut back, mut listed) = (Back::Gone, Ok(Vec::new()));
    if !damaged && stored.is_ok() {
        let (got, names) = tokio::join!(read_back(work, &key, body_bytes, md5), manifests_there(work));
        (back, listed) = (got?, names);
    }
    if damaged || back == Back::Another {
        // A manifest that nobody can read would be in the way of every later run; a try that failed may have left one. Its name is random:
        // what stands there is ours.
        let _ = work.ends.bucket.delete(&key, &Guard::Any, Enforce::Head).await;
    }
    stored?;
    let listed = listed?;
    if back != Back::Same || !listed.iter().any(|listed| listed.name == name) {
        return Err(Error::Remote(RemoteError {
            kind: RemoteKind::Integrity,
            doing: format!("cannot read back the manifest {name}"),
            message: "the bucket does not give back what was published".into(),
            hint: Some("run the same command again".into()),
        }));
    }
    let Manifest { header, entries } = made;
    prune(work, listed, !header.torn.is_empty()).await;
    Ok(Made { name, header, tree: entries })
}

/// What the bucket gives back of what was published.
#[derive(PartialEq)]
enum Back {
    Same,
    Another,
    Gone,
}

/// What differs once may have been damaged on its way back only.
async fn read_back(work: &Work<'_>, key: &str, body_bytes: usize, md5: Md5) -> Result<Back, Error> {
    for _ in 0..2 {
        let Some(back) = work.ends.bucket.get_whole(key, None).await? else { return Ok(Back::Gone) };
        if blocking(move || back.len() == body_bytes && digest_one(&back) == md5).await? {
            return Ok(Back::Same);
        }
    }
    Ok(Back::Another)
}

/// What heads gave differently and this run has not settled.
fn still_torn(work: &Work<'_>, tree: &Tree) -> Vec<String> {
    let open = work.sight.torn.iter().filter(|path| !work.done.contains_key(*path) && find(tree, path.as_str()).is_some());
    open.map(|path| path.as_str().to_owned()).collect()
}

async fn manifests_there(work: &Work<'_>) -> Result<Vec<Listed>, Error> {
    let listing = work.ends.bucket.list(manifest::FOLDER, &|_| {}).await?;
    let named = |key: &str| key.strip_prefix(manifest::FOLDER).and_then(Name::parse);
    Ok(listing.iter().filter_map(|o| Some(Listed { name: named(&o.key)?, bytes: o.size, modified: o.last_modified })).collect())
}

/// The whole tree: in-scope entries as this run left them; everything else as the parents have it.
fn tree_after(work: &Work<'_>) -> Tree {
    let sight = work.sight;
    let mut tree: Tree = Vec::with_capacity(sight.state.entries.len() + work.done.len());
    for (path, known) in &sight.state.entries {
        if let Some(entry) = &known.published
            && !work.done.contains_key(path)
        {
            tree.push((path.clone(), entry.clone()));
        }
    }
    for (path, done) in &work.done {
        if let Some(entry) = &done.entry {
            tree.push((path.clone(), entry.clone()));
        }
    }
    tree.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut same: Tree = Vec::new();
    let (here, there) = (InOrder::new(&sight.local), InOrder::new(&sight.view.entries));
    for path in &work.plan.same {
        if work.done.contains_key(path) {
            continue;
        }
        if let (Some((_, local)), Some((_, bucket))) = (here.find(path.as_str()), there.find(path.as_str())) {
            same.push((path.clone(), agreed(local, bucket)));
        }
    }
    replace(&mut tree, same);
    drop_what_lost_its_place(work, &mut tree);
    tree
}

/// What the manifest says of a path that holds the same on both sides.
fn agreed(local: &Local, bucket: &Remote) -> Arc<Entry> {
    let mut entry = Entry::clone(&bucket.entry);
    entry.mode = bucket.entry.mode.or(local.entry.mode);
    if let (Kind::File(theirs), Some(ours)) = (&mut entry.kind, local.entry.file()) {
        theirs.digests.learn(&ours.digests);
        theirs.mtime = theirs.mtime.or(ours.mtime);
    }
    // One entry in memory for both where they are equal.
    if entry == *bucket.entry { bucket.entry.clone() } else { Arc::new(entry) }
}

/// Puts entries, which are in order, in the place of those of the same paths.
fn replace(tree: &mut Tree, entries: Tree) {
    let mut new = Tree::new();
    let mut at = 0;
    for (path, entry) in entries {
        at += tree[at..].partition_point(|(p, _)| *p < path);
        match tree.get_mut(at).filter(|(p, _)| *p == path) {
            Some(there) => there.1 = entry,
            None => new.push((path, entry)),
        }
    }
    if !new.is_empty() {
        tree.extend(new);
        tree.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    }
}

/// Of what no mount can hold together, what this run put in the place of something else stays: what holds something is no empty directory
/// any more, no link, and no file that the bucket has lost; and nothing lies below a file or link. Where it put neither, both stay
/// published, as they do out of scope and where two hosts differ: to leave something out tells every mount that it was removed.
fn drop_what_lost_its_place(work: &Work<'_>, tree: &mut Tree) {
    let view = &work.sight.view;
    let is_done = |path: &RelPath| work.done.contains_key(path);
    let is_there = |path: &RelPath| is_done(path) || find(&view.entries, path.as_str()).is_some();
    let is_lost = |path: &RelPath| view.vanished.binary_search(path).is_ok() && !is_done(path);
    let is_torn = |path: &RelPath| work.sight.torn.binary_search(path).is_ok();
    let gives_way = |(path, entry): &&(RelPath, Arc<Entry>)| {
        let travels = work.sight.filter_has(path, entry.kind == Kind::Dir);
        entry.file().is_none() && travels && !is_there(path) && !is_torn(path)
    };
    let mut gone: Vec<RelPath> = Vec::new();
    for (path, entry) in with_something_below(tree, tree).into_iter().map(|at| &tree[at]) {
        let below = below(tree, path.as_str());
        let became_a_directory = match entry.kind {
            Kind::Dir => below.iter().any(|(path, _)| is_there(path)),
            Kind::Link(_) => !is_torn(path) && below.iter().any(|(path, _)| is_done(path)),
            Kind::File(_) => is_lost(path),
        };
        if became_a_directory {
            gone.push(path.clone());
        } else if entry.kind != Kind::Dir && is_done(path) {
            gone.extend(below.iter().filter(gives_way).map(|(path, _)| path.clone()));
        }
    }
    if !gone.is_empty() {
        gone.sort_unstable();
        tree.retain(|(path, _)| gone.binary_search(path).is_err());
    }
}

/// Manifests that are removed at once.
const PRUNED_AT_ONCE: usize = 16;

/// Beyond what has to stay, ancestors of every head go. A failure here costs space and nothing else.
async fn prune(work: &Work<'_>, listed: Vec<Listed>, open: bool) {
    let heads = &work.sight.heads;
    let followed: Vec<BTreeSet<&Name>> = heads.iter().map(|head| ancestors(&work.sight.state.known, head)).collect();
    let outlived = |name: &Name| !heads.is_empty() && !heads.contains(name) && followed.iter().all(|followed| followed.contains(name));
    let gone = outdated(listed, open).into_iter().filter(outlived).map(async |name| {
        let key = format!("{}{name}", manifest::FOLDER);
        work.ends.bucket.delete(&key, &Guard::Any, Enforce::Head).await
    });
    let mut gone = std::pin::pin!(stream::iter(gone).buffer_unordered(PRUNED_AT_ONCE));
    while let Some(Ok(())) = gone.next().await {}
}
