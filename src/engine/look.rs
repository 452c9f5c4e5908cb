//! Looks at both sides: walks the mount, lists the bucket and loads what is remembered, at once; then learns the digests that the
//! decisions need. Writes nothing that stays: to learn which names the mount takes for one, it makes a file there and removes it again.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use tokio::sync::oneshot;

use super::doubt::open_for_writing;
use super::listing::{self, list};
use super::{Ask, Ends, Error, blocking, keys, leading_out, learn, manifests, named, nothing_there, others, sets, spelling};
use crate::entry::{Entry, InOrder, Kind, Local, find};
use crate::event::{Event, Phase};
use crate::filter::{Filter, Scope};
use crate::local::lock::now;
use crate::local::scan::{Ignored, Recalled, Scan, Walk, scan};
use crate::local::state::{self, Known, LastRun, Loaded, State};
use crate::local::store;
use crate::local::umask::umask;
use crate::manifest::Name;
use crate::path::{MAX_KEY_BYTES, RelPath};
use crate::plan::dir_modes::DirModes;
use crate::plan::sets::Claim;
use crate::plan::{KeyFile, NothingThere, OtherDirectory, set_apart};
use crate::problem::{Problem, Side, Skipped, exclude_line};
use crate::profile::Profile;
use crate::remote::error::Kind as RemoteKind;
use crate::remote::list::{Listing, Marks};
use crate::view::{self, Remembered, View};

/// Objects above PATHs that are looked for at once.
const HEADS: usize = 8;

/// Everything that was seen, at one time, and between which ends.
pub struct Sight {
    /// Both ends.
    pub(super) ends: Ends,
    /// What the look was asked for.
    pub(super) ask: Ask,
    /// The mount, with all digests that are known.
    pub local: Arc<Vec<(RelPath, Local)>>,
    /// The bucket.
    pub view: View,
    /// What is remembered, with the manifests that are new since folded in (in memory only).
    pub state: State,
    /// Of both sides.
    pub problems: Vec<Problem>,
    /// Sockets, FIFOs, devices.
    pub skipped: Vec<Skipped>,
    /// Directories of the mount with nothing in them but what patterns left out.
    pub hollow: Vec<RelPath>,
    /// What patterns left out of the mount.
    pub ignored: Ignored,
    /// The newest published manifest's header, for "last upload".
    pub last_upload: Option<crate::manifest::Header>,
    /// A manifest could not be read: nothing is deleted.
    pub manifest_unreadable: bool,
    /// Paths that two hosts published differently at the same time, sorted.
    pub torn: Vec<RelPath>,
    /// What this mount has sent is not published yet.
    pub(super) owed: bool,
    /// What the base was written for is this mount.
    pub base_is_of_this_mount: bool,
    /// The run is narrowed, and the mount holds something: it is not an unmounted one.
    pub(super) mount_has_more: bool,
    /// The run is narrowed to PATHs.
    pub(super) narrowed: bool,
    /// The bucket holds published manifests: it is not another one.
    pub(super) bucket_has_manifests: bool,
    /// Directories of the mount that hold something and have other permission bits than the ordinary ones.
    pub(super) dirs: DirModes,
    /// The run's PATHs.
    pub(super) paths: Vec<RelPath>,
    /// What the manifests say of files that belong together.
    pub(super) claims: Vec<Claim>,
    /// The root, for links with absolute targets.
    pub(super) root: String,
    /// Neither side holds anything, and nothing was ever published at the place in the bucket.
    pub(super) nothing_there: Option<NothingThere>,
    /// New files that may hold keys, by path.
    pub(super) keys: Vec<KeyFile>,
    /// Directories of the bucket that belong to other lsync directories, by path.
    pub others: Vec<OtherDirectory>,
    /// The umask of this process.
    pub(super) umask: u32,
    /// The rules as they hold for this run.
    pub(super) filter: Filter,
    /// Names of published manifests that this run's publication follows.
    pub(super) heads: Vec<Name>,
    /// Hash cache entries and HEADs that this look has learnt.
    pub(super) learnt: learn::Learnt,
    /// When the first file was read; the mount's clock then is that much earlier than when it is read later.
    pub(super) began: Instant,
    /// What the store was found to do, not longer ago than that holds.
    pub store: Option<Profile>,
    /// Some of that is newer than what is kept.
    pub(super) store_is_new: bool,
    /// The last run that the state told of when it was loaded.
    pub(super) last_run: Option<LastRun>,
}

/// Looks. `Error::NoSuchPath` when a PATH exists nowhere, `Error::Ignored` when all of one is ignored.
pub async fn look(ends: &Ends, ask: &Ask) -> Result<Sight, Error> {
    // On the heap, as `run` is.
    Box::pin(look_around(ends, ask)).await
}

async fn look_around(ends: &Ends, ask: &Ask) -> Result<Sight, Error> {
    ends.phase(Phase::Scan);
    ends.bucket.limit_rate(ask.bytes_per_second);
    let store = known_store(ends).await?;
    let (known, marks) = oneshot::channel();
    let marks = async { marks.await.unwrap_or_default() };
    let (walked, listing) = tokio::join!(load_and_walk(ends, ask, known), list(ends, ask, marks));
    // The bucket's error first: a wrong secret is what the user must hear of, whatever else is wrong.
    let listing = listing?;
    let (Loaded { mut state, warning }, scan) = walked?;
    let last_run = state.last.clone();
    if let Some(warning) = warning {
        ends.tell(Event::Warning(warning));
    }
    let (above, others_above) = tokio::try_join!(objects_above(ends, ask), others::above(ends, ask))?;
    let published = manifests::fold(ends, ask, &mut state, &listing).await?;
    let mut scan = scan;
    scan.filter.leave_to_others(view::other_directories(&listing).into_iter().chain(others_above));
    let view = read_view(ask, &scan.filter, &state, listing);
    let id = ends.mount.id()?;
    if let Some(id) = &id
        && view.mounts.contains(id)
    {
        return Err(Error::SelfSync { bucket: ends.bucket.url().to_owned(), root: ends.mount.root().to_owned() });
    }
    let base_is_of_this_mount = id.as_ref().is_some_and(|id| *id == state.mount);
    let Scan { entries: mut local, mut problems, skipped, hollow, dirs, ignored, filter, .. } = scan;
    let other = |path: &RelPath| {
        let (objects, bytes) = view.others.get(path).copied().unwrap_or_default();
        OtherDirectory { path: path.clone(), objects, bytes }
    };
    let others: Vec<OtherDirectory> = filter.others().map(other).collect();
    problems.extend(set_apart(&mut local, &others, ends.bucket.url()));
    problems.extend(view.problems.iter().cloned());
    problems.extend(published.problems);
    problems.extend(keys_too_long(ends, &local));
    problems.extend(blank_keys(ends, &local, &view));
    problems.extend(leaves_over_ignored_objects(&view, &local, &state));
    problems.extend(above.into_iter().chain(ignored_objects_above(&view, &local)).map(object_above));
    problems.extend(spelling::collisions(ends, ask, &local, &view).await?);
    let holds_keys = |name: &str| RelPath::new(name).is_ok_and(|path| filter.scope(&path, false) == Scope::Keys);
    let mount_has_more = !ask.is_whole() && ends.mount.holds_anything_but(&holds_keys);
    let is_nowhere =
        ask.paths.is_empty() && view.objects == view.others.values().map(|(objects, _)| objects).sum::<u64>() && view.manifests.is_empty();
    let nothing_there = match is_nowhere && local.is_empty() && problems.is_empty() && !mount_has_more {
        true => Some(nothing_there::look_elsewhere(ends).await?),
        false => None,
    };
    let mut sight = Sight {
        ends: ends.clone(),
        ask: ask.clone(),
        mount_has_more,
        nothing_there,
        others,
        keys: Vec::new(),
        narrowed: !ask.paths.is_empty(),
        bucket_has_manifests: !view.manifests.is_empty(),
        view,
        problems,
        skipped,
        hollow,
        ignored,
        last_upload: published.newest,
        manifest_unreadable: published.unreadable,
        torn: published.torn,
        // Journals of a first run that died before it saved name no mount; they lie in this one.
        owed: (base_is_of_this_mount || state.mount.is_empty()) && owes(ask, &state, published.vanished),
        base_is_of_this_mount,
        dirs: dirs.into_iter().collect(),
        paths: ask.paths.clone(),
        claims: Vec::new(),
        root: ends.mount.root().to_string_lossy().into_owned(),
        umask: umask(),
        filter,
        heads: published.heads,
        learnt: learn::Learnt::default(),
        began: Instant::now(),
        store,
        store_is_new: false,
        last_run,
        local: Arc::new(local),
        state,
    };
    sight.claims = sets::claims(&sight, ask);
    for path in ask.named.iter().chain(&ask.paths) {
        leading_out::refuse_behind_a_link(ends, path)?;
    }
    named::check(ends, ask, &sight)?;
    sight.problems.extend(learn::unreadable(ends, &sight.local).await?);
    learn::from_metadata(ends, ask, &mut sight).await?;
    sight.began = Instant::now();
    learn::by_hashing(ends, ask, &mut sight).await?;
    open_for_writing(&sight).into_iter().for_each(|warning| ends.tell(Event::Warning(warning)));
    learn::from_encrypted(ends, ask, &mut sight).await?;
    if ask.compare_content {
        learn::by_reading_the_bucket(ends, ask, &mut sight).await?;
    }
    sight.keys = keys::find_new(ends, ask, &sight).await?;
    Ok(sight)
}

/// One after the other: what is remembered tells the walk which files it knows already. Tells as soon as it is there what the bucket is
/// thought to hold.
async fn load_and_walk(ends: &Ends, ask: &Ask, known: oneshot::Sender<Marks>) -> Result<(Loaded, Scan), Error> {
    let (mount, bucket, observer, stop) = (ends.mount.clone(), ends.bucket.clone(), ends.observer.clone(), ends.stop.clone());
    let (patterns, paths) = (ask.patterns.clone(), ask.paths.clone());
    let walked = blocking(move || -> Result<_, Error> {
        let loaded = state::load(&mount, bucket.name(), bucket.prefix().as_str())?;
        // An error means that the listing was over before.
        let _ = known.send(listing::remembered(&loaded.state));
        let known = InOrder::new(&loaded.state.entries);
        let recall = |path: &str| known.find(path).map(Recalled::of_state);
        let progress = move |entries, bytes| observer(Event::Scanned { entries, bytes });
        let stop = move || stop.asked();
        let walk = Walk { patterns: &patterns, rules: None, recall: &recall, scope: &paths, progress: &progress, stop: &stop };
        let scan = scan(&mount, &walk)?;
        Ok((loaded, scan))
    });
    walked.await?
}

/// What is known about the store, told to the client too.
async fn known_store(ends: &Ends) -> Result<Option<Profile>, Error> {
    let (mount, bucket) = (ends.mount.clone(), ends.bucket.clone());
    let known = blocking(move || store::load(&mount, bucket.endpoint(), bucket.name())).await??;
    let known = known.filter(|profile| profile.is_fresh(now()));
    if let Some(profile) = &known {
        ends.bucket.rely_on(profile);
    }
    Ok(known)
}

pub(super) fn read_view(ask: &Ask, filter: &Filter, state: &State, listing: Listing) -> View {
    let (known, rules) = (InOrder::new(&state.entries), filter.in_order());
    let remembered = |path: &str| {
        known.find(path).map_or_else(Remembered::default, |(path, known)| Remembered {
            path: Some(path),
            base: known.base.as_ref(),
            published: known.published.as_ref(),
            foreign: known.foreign.as_deref(),
        })
    };
    let scope = |path: &RelPath, is_dir: bool| -> Option<Scope> { ask.reaches(path).then(|| rules.scope(path, is_dir)) };
    let mut published = state.entries.iter().filter_map(|(path, known)| Some((path, known.published.as_ref()?)));
    let mut view = view::read(listing, &remembered, &mut published, &scope);
    view.entries.retain(|(path, remote)| remote.entry.kind != Kind::Dir || filter.includes_empty_dir(path));
    view
}

/// True when a run sent something where this one reaches and could not publish it, or what was published is gone.
fn owes(ask: &Ask, state: &State, vanished: bool) -> bool {
    let is_owed = |(path, known): &(RelPath, Known)| known.base.is_some() && known.base != known.published && ask.reaches(path);
    (vanished && !state.entries.is_empty()) || state.owed && state.entries.iter().any(is_owed)
}

fn keys_too_long(ends: &Ends, local: &[(RelPath, Local)]) -> Vec<Problem> {
    let most = MAX_KEY_BYTES - ends.bucket.prefix().as_str().len().min(MAX_KEY_BYTES);
    let long = local.iter().filter(|(path, _)| path.as_str().len() > most);
    long.map(|(path, _)| Problem {
        name: path.as_str().to_owned(),
        path: Some(path.clone()),
        below: false,
        side: Side::Local,
        why: format!("its key would be longer than the {MAX_KEY_BYTES} bytes that S3 takes; shorten the path"),
        exclude: Some(exclude_line(path.as_str())),
    })
    .collect()
}

/// The S3 client sends no key of white space alone.
fn blank_keys(ends: &Ends, local: &[(RelPath, Local)], view: &View) -> Vec<Problem> {
    if !ends.bucket.prefix().as_str().is_empty() {
        return Vec::new();
    }
    let here = local.iter().map(|(path, _)| (path, Side::Local));
    let there = view.entries.iter().map(|(path, _)| (path, Side::Bucket));
    let blank = here.chain(there).filter(|(path, _)| path.as_str().trim().is_empty());
    let blank = blank.filter(|(path, side)| *side == Side::Local || find(local, path.as_str()).is_none());
    blank
        .map(|(path, side)| Problem {
            name: path.as_str().to_owned(),
            path: Some(path.clone()),
            below: false,
            side,
            why: "its key would be nothing but white space, which cannot be asked for; rename it, or set a prefix".into(),
            exclude: Some(exclude_line(path.as_str())),
        })
        .collect()
}

/// A file of the mount, or a link that is new, below whose path the bucket has objects that the patterns leave out: they
/// stay, so it cannot go there.
fn leaves_over_ignored_objects(view: &View, local: &[(RelPath, Local)], state: &State) -> Vec<Problem> {
    if view.left_out.is_empty() {
        return Vec::new();
    }
    let covered = |path: &RelPath| {
        let start = format!("{path}/", path = path.as_str());
        let at = view.left_out.partition_point(|ignored| ignored.as_str() < start.as_str());
        view.left_out.get(at).filter(|ignored| ignored.as_str().starts_with(&start))
    };
    let is_link = |entry: &Arc<Entry>| matches!(entry.kind, Kind::Link(_));
    let was_link = |known: &Known| known.base.iter().chain(&known.published).any(is_link);
    let is_new_link = |path: &RelPath, local: &Local| is_link(&local.entry) && !find(&state.entries, path.as_str()).is_some_and(was_link);
    let leaves = local.iter().filter(|(path, local)| local.stamp.is_some() || is_new_link(path, local));
    leaves
        .filter_map(|(path, local)| Some((path, local.entry.kind_name(), covered(path)?)))
        .map(|(path, kind, ignored)| Problem {
            name: path.as_str().to_owned(),
            path: Some(path.clone()),
            below: true,
            side: Side::Bucket,
            why: format!(
                "it is a {kind} here, and the bucket holds objects below it that the patterns ignore ({ignored}); remove those first"
            ),
            exclude: Some(exclude_line(path.as_str())),
        })
        .collect()
}

/// Objects that stand where a run's PATHs need directories: a listing below the PATHs does not show them.
pub(super) async fn objects_above(ends: &Ends, ask: &Ask) -> Result<Vec<RelPath>, Error> {
    let mut above: Vec<RelPath> = ask.paths.iter().flat_map(RelPath::ancestors).filter_map(|dir| RelPath::new(dir).ok()).collect();
    above.sort();
    above.dedup();
    let heads = above.into_iter().map(|path| async move { (ends.bucket.head(path.as_str()).await, path) });
    let (mut heads, mut found) = (stream::iter(heads).buffered(HEADS), Vec::new());
    while let Some((head, path)) = ends.stop.or(heads.next()).await.ok_or(Error::Stopped)? {
        match head {
            Err(e) if e.kind == RemoteKind::Refused => {}
            head => found.extend(head?.map(|_| path)),
        }
    }
    Ok(found)
}

/// Objects that the patterns leave out and that stand where the mount has directories.
fn ignored_objects_above(view: &View, local: &[(RelPath, Local)]) -> Vec<RelPath> {
    let over = |path: &&RelPath| !crate::entry::below(local, path.as_str()).is_empty();
    view.left_out.iter().filter(over).cloned().collect()
}

fn object_above(path: RelPath) -> Problem {
    let why = "the bucket holds an object here, and the mount a directory: nothing can be sent or brought below it until one of them goes; \
               run the command for the whole of it, or remove the object";
    let (name, exclude) = (path.as_str().to_owned(), Some(format!("{}/", exclude_line(path.as_str()))));
    Problem { name, path: Some(path), below: true, side: Side::Bucket, why: why.into(), exclude }
}
