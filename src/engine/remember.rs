//! Writes down what a run has learnt and done: merged per path into the state on disk, under the lock, never replaced from memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::doubt::COARSE;
use super::manifests::nothing_agreed;
use super::publish::Made;
use super::run::{Work, keeps_elsewhere};
use super::{Error, Sight, blocking};
use crate::diff::{is_another_version, mode_agreed};
use crate::entry::{Entry, InOrder, Kind, Local, Stamp};
use crate::event::Verb;
use crate::local::lock::{host_name, now};
use crate::local::mount::Looked;
use crate::local::state::{self, Clock, Known, LastRun, Loaded, Seen, State};
use crate::local::store;
use crate::path::RelPath;
use crate::plan::dir_modes::DirModes;
use crate::plan::{Direction, Plan};
use crate::profile::Profile;
use crate::view::Remote;

/// What comes with the items.
pub(super) struct Change {
    pub(super) mount_id: String,
    /// The mount's clock when files were read.
    pub(super) clocks: Clocks,
    /// What was learnt about the store.
    pub(super) learnt: Option<Profile>,
    /// What was published.
    pub(super) published: Option<Made>,
}

/// The mount's clock before the first file was read to be hashed, and before the first was read to be sent: what changed after that shows.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    pub(super) hashing: Clock,
    pub(super) sending: Clock,
}

/// True when paths that are the same on both sides would change the base.
pub(super) fn base_would_learn(sight: &Sight, plan: &Plan) -> bool {
    if sight.would_learn_dirs() {
        return true;
    }
    let (here, there, known) = (InOrder::new(&sight.local), InOrder::new(&sight.view.entries), InOrder::new(&sight.state.entries));
    plan.same.iter().any(|path| {
        let (Some((_, local)), Some((_, bucket))) = (here.find(path.as_str()), there.find(path.as_str())) else { return false };
        let known = known.find(path.as_str()).map(|(_, known)| known);
        known.and_then(|k| k.base.as_deref()) != Some(&agreed(local, bucket, known, sight.umask))
    })
}

/// What both sides agree on at a path where they hold the same, without attributes that only the destination changed.
pub(super) fn agreed_base(sight: &Sight, path: &RelPath, known: Option<&Known>) -> Option<Entry> {
    Some(agreed(sight.local(path.as_str())?, sight.bucket(path.as_str())?, known, sight.umask))
}

fn agreed(local: &Local, bucket: &Remote, known: Option<&Known>, umask: u32) -> Entry {
    let old = known.and_then(|k| k.base.as_deref());
    let before = old.filter(|old| bucket.entry.mode.is_some() || !is_another_version(old, &bucket.entry)).and_then(|old| old.mode);
    let mode = mode_agreed(&local.entry.kind, local.entry.mode, bucket.entry.mode, before, umask);
    let mut entry = Entry { kind: local.entry.kind.clone(), mode };
    if let (Kind::File(file), Some(theirs)) = (&mut entry.kind, bucket.entry.file()) {
        file.etag.clone_from(&theirs.etag);
        file.digests.learn(&theirs.digests);
        // The recorded mtime is what travelled with the content; a local touch is no difference.
        file.mtime = theirs.mtime.or(file.mtime);
        if let Some(old) = old.and_then(Entry::file).filter(|old| old.is_version_of(file)) {
            file.digests.learn(&old.digests);
            file.mtime = old.mtime.or(file.mtime);
        }
    }
    entry
}

/// Saves. Racy stamps are not trusted; files that this run itself placed are looked at again once their stamps cannot hide a change.
pub(super) async fn remember(work: &Work<'_>, change: Change) -> Result<(), Error> {
    let placed = placed_again(work, &change).await?;
    loop {
        match write_down(work, &change, &placed).await {
            // What an upload has done stands, whether or not this directory takes a note of it.
            Err(e) if keeps_elsewhere(&work.ends.mount, work.plan.direction, &e) => {}
            written => return written,
        }
    }
}

async fn write_down(work: &Work<'_>, change: &Change, placed: &Stamps) -> Result<(), Error> {
    let (mount, bucket) = (work.ends.mount.clone(), work.ends.bucket.clone());
    let journal = work.journal.clone();
    // What becomes of these is set below; what else this run has noted stands.
    let set = work.done.iter().filter(|(_, done)| done.verb != Verb::Update && !work.only_a_manifest_tells(done));
    let taken: HashSet<RelPath> = set.map(|(path, _)| path.clone()).collect();
    let Loaded { mut state, .. } = blocking(move || -> Result<Loaded, Error> {
        if let Some(journal) = journal {
            journal.sync()?;
        }
        Ok(state::load_beside(&mount, bucket.name(), bucket.prefix().as_str(), &|path| taken.contains(path))?)
    })
    .await??;
    apply(work, change, placed, &mut state);
    // A base that knew of a file that a power loss then takes away would take that for a removal.
    let learns_of_files = work.plan.direction == Direction::Upload || base_would_learn(work.sight, work.plan);
    let (mount, bucket) = (work.ends.mount.clone(), work.ends.bucket.clone());
    let learnt = change.learnt.clone();
    blocking(move || -> Result<(), Error> {
        if learns_of_files {
            mount.distrust_writers();
        }
        state::save(&mount, bucket.name(), bucket.prefix().as_str(), &state)?;
        match learnt {
            Some(profile) => Ok(store::save(&mount, bucket.endpoint(), bucket.name(), &profile)?),
            None => Ok(()),
        }
    })
    .await?
}

type Stamps = BTreeMap<RelPath, Stamp>;

/// The stamps of files that this run placed, after the mount's clock has moved past them. None where a tick is so long that somebody may
/// have changed a file within the one in which it came: the next run reads them.
async fn placed_again(work: &Work<'_>, change: &Change) -> Result<Stamps, Error> {
    let placed: Vec<(RelPath, Stamp)> = work
        .done
        .iter()
        .filter(|(_, done)| done.verb != Verb::Upload && done.witness.holds())
        .filter_map(|(path, done)| Some((path.clone(), done.stamp?)))
        .collect();
    if placed.is_empty() || change.clocks.sending.granularity >= COARSE {
        return Ok(Stamps::new());
    }
    let granularity = std::time::Duration::from_nanos(u64::try_from(change.clocks.sending.granularity).unwrap_or(0));
    tokio::time::sleep(granularity.min(std::time::Duration::from_secs(2))).await;
    let mount = work.ends.mount.clone();
    blocking(move || {
        let mut still = Stamps::new();
        for (path, stamp) in placed {
            if let Ok(Some(Looked::File(now, _))) = mount.look(&path)
                && now.size == stamp.size
                && now.mtime == stamp.mtime
                && now.inode == stamp.inode
            {
                still.insert(path, now);
            }
        }
        Ok(still)
    })
    .await?
}

fn apply(work: &Work<'_>, change: &Change, placed: &Stamps, state: &mut State) {
    let (sight, plan) = (work.sight, work.plan);
    let mut entries: BTreeMap<RelPath, Known> = std::mem::take(&mut state.entries).into_iter().collect();
    // Our view of the manifests is at least as new as the one on disk, unless another run has published or folded since.
    if state.generation <= sight.state.generation {
        take_published(&mut entries, &sight.state);
        for path in &sight.torn {
            entries.entry(path.clone()).and_modify(nothing_agreed);
        }
        state.lineage.clone_from(&sight.state.lineage);
        state.heads.clone_from(&sight.state.heads);
        state.known.clone_from(&sight.state.known);
        state.newest.clone_from(&sight.state.newest);
        state.generation = sight.state.generation;
    }
    if state.mount != change.mount_id {
        // The base of another mount proves nothing about this one's files.
        for known in entries.values_mut().filter(|_| !state.mount.is_empty()) {
            known.base = None;
        }
        state.mount.clone_from(&change.mount_id);
    }
    for (path, read) in &sight.learnt.seen {
        let known = entries.entry(path.clone()).or_default();
        let tells = read.witness.holds() && !change.clocks.hashing.is_racy(&read.stamp);
        known.seen = tells.then(|| Seen::new(read.stamp, read.digests.clone()));
    }
    for (path, foreign) in &sight.learnt.foreign {
        entries.entry(path.clone()).or_default().foreign = Some(Box::new(foreign.clone()));
    }
    for path in plan.same.iter().filter(|path| !work.done.contains_key(*path)) {
        let known = entries.entry(path.clone()).or_default();
        if let Some(base) = agreed_base(sight, path, Some(known)) {
            known.base = Some(Arc::new(base));
            known.removed = false;
        }
    }
    for (path, done) in &work.done {
        if change.published.is_none() && work.only_a_manifest_tells(done) {
            continue;
        }
        let known = entries.entry(path.clone()).or_default();
        known.removed = false;
        known.base = work.agreed(path, done);
        let file = done.entry.as_ref().filter(|entry| entry.file().is_some());
        let stamp = match done.verb {
            Verb::Upload => done.stamp.filter(|_| work.stamp_tells(done)),
            Verb::Download | Verb::Update | Verb::Delete => placed.get(path).copied(),
        };
        match (file, stamp) {
            (Some(entry), Some(stamp)) => known.seen = Some(Seen::of(stamp, entry)),
            _ if done.verb == Verb::Update => {}
            _ => known.seen = None,
        }
    }
    // What was carried to the bucket is agreed on once it is published.
    let carried =
        if plan.direction == Direction::Download || change.published.is_some() { work.dir_modes.clone() } else { DirModes::new() };
    state.dirs = sight.agreed_dirs(&state.dirs, &carried);
    if let Some(made) = &change.published {
        for known in entries.values_mut() {
            known.published = None;
        }
        for (path, entry) in &made.tree {
            let known = entries.entry(path.clone()).or_default();
            // One entry in memory for both where they are equal.
            known.published = match &known.base {
                Some(base) if base == entry => Some(base.clone()),
                _ => Some(entry.clone()),
            };
        }
        state.lineage = Some(made.header.lineage.clone());
        state.generation = made.name.generation;
        state.heads = vec![made.name.clone()];
        state.known.push((made.name.clone(), made.header.parents.clone()));
        state.known.sort();
        state.newest = Some(made.header.clone());
        // What a narrowed run has not seen is as it was before.
        state.owed &= !work.ask.is_whole();
    } else if work.changed_bucket() {
        state.owed = true;
    }
    for (path, etag, found) in &work.distrusted {
        entries.entry(path.clone()).or_default().foreign = Some(Box::new((etag.clone(), found.clone(), None)));
    }
    forget_what_is_gone(work, &mut entries);
    if !plan.is_empty() {
        state.last = Some(LastRun { command: plan.direction.verb().into(), host: host_name(), time: now(), generation: state.generation });
    }
    state.entries = entries.into_iter().filter(|(_, known)| *known != Known::default()).collect();
}

/// The manifests' view, as this run's look has it.
fn take_published(entries: &mut BTreeMap<RelPath, Known>, ours: &State) {
    for known in entries.values_mut() {
        known.published = None;
    }
    for (path, from) in &ours.entries {
        let known = entries.entry(path.clone()).or_default();
        known.published.clone_from(&from.published);
        known.removed = from.removed;
        if from.base.is_none() {
            known.base = None;
        }
    }
}

/// Hash cache entries of files that are gone, in the part of the tree that was walked.
fn forget_what_is_gone(work: &Work<'_>, entries: &mut BTreeMap<RelPath, Known>) {
    for (path, known) in entries.iter_mut() {
        let gone = work.ask.reaches(path) && work.sight.local(path.as_str()).is_none() && !work.done.contains_key(path);
        if gone && work.sight.filter_has(path, false) {
            known.seen = None;
            // On neither side any more: nothing to agree on.
            if work.plan.direction == Direction::Upload && work.sight.bucket(path.as_str()).is_none() && known.published.is_none() {
                known.base = None;
                known.removed = false;
            }
        }
    }
}
