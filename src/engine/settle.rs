//! The closing verification: whether everything in scope is on the other side, and how sure that is. The only maker of [`Complete`].

use std::collections::{BTreeMap, HashSet};
use std::future::ready;
use std::sync::Arc;

use super::listing::{expected, list};
use super::look::objects_above;
use super::report::{Complete, FailureKind, Proof, Report};
use super::run::Work;
use super::{Error, Sight, blocking};
use crate::digest::{Digests, ETag};
use crate::entry::{Entry, InOrder, Kind, Local, Stamp, below, find};
use crate::event::{Event, Verb};
use crate::local::scan::{Recalled, Scan, Walk, scan};
use crate::path::{RelPath, Shown};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::remote::error::Kind as RemoteKind;
use crate::remote::list::{Listed, Listing};
use crate::remote::object::{Guard, NONCE};

pub(super) use super::report::Proofs;

/// The word itself, or `None` while anything is left. Conflicts, unknowns, problems and failures each forbid it.
pub(super) fn complete(report: &Report, proofs: Proofs) -> Option<Complete> {
    report.nothing_is_left().then_some(Complete {
        files: proofs.files,
        bytes: proofs.bytes,
        strong: proofs.strong,
        etag: proofs.etag,
        size: proofs.size,
        skipped: report.counts.skipped,
        protected: report.counts.protected,
        generation: report.generation,
        outside_links: report.outside_links.len() as u64,
        ignored: report.counts.ignored,
        deleted_kept: report.left_out.len() as u64,
    })
}

/// A run that moves nothing uses its opening look as the closing one.
pub(super) fn unmoved(sight: &Sight, plan: &Plan) -> Proofs {
    let mut proofs = Proofs::default();
    let (here, there) = (InOrder::new(&sight.local), InOrder::new(&sight.view.entries));
    for path in &plan.same {
        let (Some((_, local)), Some((_, remote))) = (here.find(path.as_str()), there.find(path.as_str())) else { continue };
        proofs.add(proof_of_same(&local.entry, &remote.entry), local.entry.bytes());
    }
    proofs
}

/// How sure it is that two entries that the plan calls the same are the same.
fn proof_of_same(local: &Entry, bucket: &Entry) -> Proof {
    let (Some(ours), Some(theirs)) = (local.file(), bucket.file()) else { return Proof::Strong };
    let by_etag = theirs.etag.as_ref().map(Digests::of_etag).unwrap_or_default();
    if ours.size == 0 || ours.digests.same(&by_etag) == Some(true) {
        Proof::Strong
    } else if ours.digests.same(&theirs.digests) == Some(true) {
        Proof::ETag
    } else {
        Proof::Size
    }
}

/// Both sides, seen again after the transfers.
pub(super) struct Closing {
    listing: Listing,
    /// Objects where the run's PATHs need directories, which that listing does not show.
    above: Vec<RelPath>,
    pub(super) local: Vec<(RelPath, Local)>,
    problems: Vec<Problem>,
}

/// A local change that the run has not sent.
pub(super) struct Late {
    pub(super) path: RelPath,
    pub(super) entry: Arc<Entry>,
    pub(super) stamp: Option<Stamp>,
    /// What must stand in the bucket for it to be sent.
    pub(super) guard: Guard,
    /// A further pass may send it: this run sent the path, or it is new since and absent in the bucket.
    pub(super) may_send: bool,
}

/// Lists and walks again.
pub(super) async fn look_again(work: &Work<'_>) -> Result<Closing, Error> {
    let (mount, stop) = (work.ends.mount.clone(), work.ends.stop.clone());
    // The rules of this run: a `.syncignore` that has come or changed since counts from the next one.
    let (patterns, rules, paths) = (work.ask.patterns.clone(), work.sight.filter.clone(), work.ask.paths.clone());
    let opening = work.sight.local.clone();
    let walk = blocking(move || {
        mount.still_there()?;
        let stop = move || stop.asked();
        // What the opening look knows of files that still carry its stamps.
        let known = InOrder::new(&opening);
        let recall = |path: &str| known.find(path).map(Recalled::of_walk);
        let walk = Walk { patterns: &patterns, rules: Some(&rules), recall: &recall, scope: &paths, progress: &|_, _| {}, stop: &stop };
        scan(&mount, &walk)
    });
    let listed = list(work.ends, work.ask, ready(expected(work.sight)));
    let (listing, above, scanned) = tokio::join!(listed, objects_above(work.ends, work.ask), walk);
    let (listing, above, scanned) = (listing?, above?, scanned??);
    let Scan { entries, problems, .. } = scanned;
    Ok(Closing { listing, above, local: entries, problems })
}

fn listed<'a>(closing: &'a Closing, path: &RelPath) -> Option<&'a Listed> {
    closing.listing.find(path.as_str())
}

/// What the closing scan found newer than what this run knows.
pub(super) fn late(work: &Work<'_>, closing: &Closing) -> Vec<Late> {
    let mut late = Vec::new();
    let left_alone = left_alone(work);
    for (path, local) in &closing.local {
        if !work.sight.filter_has(path, local.entry.kind == Kind::Dir) || left_alone.has(path) {
            continue;
        }
        let new = |guard, may_send| Late { path: path.clone(), entry: local.entry.clone(), stamp: local.stamp, guard, may_send };
        match (work.done.get(path), work.sight.local(path.as_str())) {
            (Some(done), _) => {
                let sent = done.entry.as_deref();
                if !is_as_sent(local, sent, done.stamp, work.sight.local(path.as_str())) {
                    let guard = match sent.and_then(Entry::file).and_then(|f| Some((f.etag.clone()?, f.size))) {
                        Some((etag, size)) => Guard::Is(etag, size),
                        None => Guard::Absent,
                    };
                    // Another kind makes room for nothing here: the next run plans it.
                    let same_kind = sent.is_some_and(|sent| sent.kind_name() == local.entry.kind_name());
                    late.push(new(guard, done.verb == Verb::Upload && same_kind));
                }
            }
            (None, None) => {
                let absent = work.sight.bucket(path.as_str()).is_none() && !is_occupied(work, closing, path);
                late.push(new(Guard::Absent, absent));
            }
            (None, Some(before)) if before.stamp != local.stamp || is_another(&before.entry, &local.entry) => {
                late.push(new(Guard::Absent, false));
            }
            (None, Some(_)) => {}
        }
    }
    late
}

/// True when links or empty directories differ, or the kinds do. A file's stamp tells of the rest.
fn is_another(before: &Entry, now: &Entry) -> bool {
    if before.file().is_some() && now.file().is_some() { false } else { before != now }
}

/// True when the bucket has something at a path, above it or below it: an object that is listed now, or what only a manifest carries.
fn is_occupied(work: &Work<'_>, closing: &Closing, path: &RelPath) -> bool {
    let bucket = &work.sight.view.entries;
    let is_listed =
        |key: &str| closing.listing.find(key).is_some() || find(bucket, key).is_some_and(|remote| remote.entry.kind != Kind::Dir);
    let start = format!("{}/", path.as_str());
    let below =
        closing.listing.after(&start).is_some_and(|object| object.key.starts_with(&start)) || !below(bucket, path.as_str()).is_empty();
    is_listed(path.as_str()) || path.ancestors().any(is_listed) || below
}

/// Items that the plan keeps as they are, or that failed: the report has them already.
fn left_alone(work: &Work<'_>) -> LeftAlone {
    let plan = work.plan;
    let kept = [&plan.protected, &plan.conflicts, &plan.unknown].into_iter().flatten().map(|k| &k.path);
    let problems = |below: bool| plan.problems.iter().filter(move |p| p.below || !below).filter_map(|p| p.path.as_ref());
    let failures = work.report.failures.iter().map(|f| &f.path).chain(plan.keys.iter().map(|(key, _)| &key.path));
    LeftAlone {
        at: kept.chain(problems(false)).chain(failures).cloned().collect(),
        above: problems(true).map(|path| path.as_str().to_owned()).collect(),
    }
}

/// Paths that are left alone.
struct LeftAlone {
    at: HashSet<RelPath>,
    /// Those below which everything is.
    above: HashSet<String>,
}

impl LeftAlone {
    fn has(&self, path: &RelPath) -> bool {
        self.at.contains(path) || !self.above.is_empty() && path.ancestors().any(|dir| self.above.contains(dir))
    }
}

fn is_as_sent(now: &Local, sent: Option<&Entry>, stamp: Option<Stamp>, opening: Option<&Local>) -> bool {
    let Some(sent) = sent else { return false };
    match (&now.entry.kind, &sent.kind) {
        (Kind::File(_), Kind::File(_)) => match stamp {
            Some(stamp) => now.stamp == Some(stamp),
            // Only its attributes travelled: its content must be what it was when the run began.
            None => opening.is_some_and(|opening| opening.stamp == now.stamp),
        },
        (ours, theirs) => ours == theirs,
    }
}

/// Judges the closing listing: every in-scope local entry must be listed as it was sent or as it was known. What is late and left is
/// reported. `None` when the run cannot say that everything is there.
pub(super) async fn judge(work: &mut Work<'_>, closing: &Closing, late: Vec<Late>) -> Option<Proofs> {
    for late in &late {
        work.fail(&late.path, FailureKind::StillWritten, "it is still being written: it changed while the run was under way".into());
    }
    for problem in &closing.problems {
        if !work.report.problems.contains(problem) {
            work.report.problems.push(problem.clone());
            work.report.counts.problems += 1;
        }
    }
    let mut proofs = Proofs::default();
    let mut checks: Vec<&RelPath> = Vec::new();
    let left_alone = left_alone(work);
    let come = come_in_place(work, closing);
    for (path, key) in come.iter().filter(|(path, _)| !left_alone.has(path)) {
        work.fail(path, FailureKind::Stale, another_program(key));
    }
    for (path, local) in &closing.local {
        // Rules that came or went during the run count from the next one on.
        if come.contains_key(path) || left_alone.has(path) || !work.sight.filter_has(path, local.entry.kind == Kind::Dir) {
            continue;
        }
        // Where only permission bits were published, the object is the one that was there.
        match work.done.get(path).filter(|done| done.verb != Verb::Update) {
            Some(done) => {
                if done.entry.is_some() {
                    checks.push(path);
                }
            }
            None => {
                if let Some(remote) = work.sight.bucket(path.as_str()) {
                    let proof = proof_of_same(&local.entry, &remote.entry);
                    match same_object(closing, path, remote.entry.file().and_then(|f| f.etag.as_ref()), local.entry.bytes()) {
                        true => proofs.add(proof, local.entry.bytes()),
                        false if remote.entry.file().is_none() && listed(closing, path).is_none() => proofs.add(Proof::Strong, 0),
                        false => work.fail(path, FailureKind::Stale, "the bucket changed it while the run was under way".into()),
                    }
                } else if local.entry.file().is_some() {
                    // No plan leaves a file out without a word; if one did, this is where it shows.
                    work.fail(path, FailureKind::Failed, "it was not sent".into());
                }
            }
        }
    }
    for path in checks {
        let Some((entry, nonce)) = work.done.get(path).and_then(|done| Some((done.entry.clone()?, done.nonce.as_deref()))) else {
            continue;
        };
        match check_sent(work, closing, path, &entry, nonce).await {
            Ok((proof, listed_etag)) => {
                proofs.add(proof, entry.bytes());
                let as_known = entry.file().and_then(|file| file.etag.as_ref()) == listed_etag.as_ref();
                drop(entry);
                if let Some(done) = work.done.get_mut(path) {
                    done.proof = proof;
                    if let (Some(etag), Some(entry)) = (listed_etag.filter(|_| !as_known), &mut done.entry)
                        && let Kind::File(file) = &mut Arc::make_mut(entry).kind
                    {
                        file.etag = Some(etag);
                    }
                }
            }
            Err(Verdict::Item(why)) => work.fail(path, FailureKind::Failed, why),
            Err(Verdict::Run(e)) => {
                work.end(e);
                return None;
            }
        }
    }
    Some(proofs)
}

/// An object that is somebody's and that readers would take for what the bucket holds, instead of what this run put or recorded at a path
/// or beside it.
fn in_its_place<'a>(work: &Work<'_>, closing: &'a Closing, path: &RelPath, kind: &Kind) -> Option<&'a str> {
    let marker = format!("{}/", path.as_str());
    let travels = |object: &&Listed| travelling(work, object).is_some();
    let below = || {
        let all = std::iter::successors(closing.listing.after(&marker), |object| closing.listing.after(&object.key));
        all.take_while(|object| object.key.starts_with(&marker)).find(travels)
    };
    let object = match kind {
        Kind::File(_) => below(),
        Kind::Link(_) => listed(closing, path).or_else(|| closing.listing.find(&marker).filter(travels)).or_else(below),
        Kind::Dir => listed(closing, path),
    };
    object.map(|object| object.key.as_str())
}

/// What has come into the bucket since the opening look and stands where the mount has something else: below a file or link, as a marker
/// beside a link, or as an object in the place of a directory. By the paths in the mount, the keys.
fn come_in_place<'a>(work: &Work<'_>, closing: &'a Closing) -> BTreeMap<RelPath, &'a str> {
    let (known, markers) = (InOrder::new(&work.sight.view.entries), &work.sight.view.idle_markers);
    // What made room and is there again has come too.
    let removed: HashSet<&str> = work.done.iter().filter(|(_, done)| done.entry.is_none()).map(|(path, _)| path.as_str()).collect();
    let mut found: BTreeMap<RelPath, &str> = closing.above.iter().map(|path| (path.clone(), path.as_str())).collect();
    for object in closing.listing.iter() {
        let (text, is_marker) = object.names();
        let was_there = known.find(text).is_some_and(|(_, remote)| !is_marker || remote.marker.is_some());
        if (was_there || is_marker && find(markers, text).is_some()) && !removed.contains(text) {
            continue;
        }
        let is_ours = |path: &RelPath| work.done.get(path).is_some_and(|done| done.entry.is_some());
        let Some(path) = travelling(work, object).filter(|path| !is_ours(path)) else { continue };
        let beside = is_marker.then_some(path.as_str());
        for at in path.ancestors().chain(beside) {
            let stands = find(&closing.local, at).map(|local| &local.entry.kind);
            if matches!((stands, at == path.as_str()), (Some(Kind::Link(_)), _) | (Some(Kind::File(_)), false)) {
                found.extend(RelPath::new(at).map(|at| (at, object.key.as_str())));
            }
        }
        if !is_marker && !below(&closing.local, text).is_empty() {
            found.insert(path, &object.key);
        }
    }
    found
}

/// The path that an object stands for, where it travels.
fn travelling(work: &Work<'_>, object: &Listed) -> Option<RelPath> {
    let (text, is_marker) = object.names();
    RelPath::new(text).ok().filter(|path| work.sight.filter_has(path, is_marker))
}

fn another_program(key: &str) -> String {
    format!("another program put an object there ({})", Shown(key))
}

fn same_object(closing: &Closing, path: &RelPath, etag: Option<&ETag>, size: u64) -> bool {
    match (listed(closing, path), etag) {
        (Some(object), Some(etag)) => object.etag == *etag && object.size == size,
        _ => false,
    }
}

enum Verdict {
    Item(String),
    Run(Error),
}

/// One object that this run sent, as the closing listing has it: its size is ours, and its ETag is the one answered, or our MD5, or
/// our composite; otherwise a HEAD must show our nonce, and the listed ETag is what is recorded.
async fn check_sent(
    work: &Work<'_>,
    closing: &Closing,
    path: &RelPath,
    entry: &Entry,
    nonce: Option<&str>,
) -> Result<(Proof, Option<ETag>), Verdict> {
    if let Some(key) = in_its_place(work, closing, path, &entry.kind) {
        return Err(Verdict::Item(another_program(key)));
    }
    let Some(file) = entry.file() else { return Ok((Proof::Strong, None)) };
    let Some(object) = listed(closing, path) else {
        return Err(Verdict::Item("the bucket does not list it although it took it".into()));
    };
    if object.size != file.size {
        return Err(Verdict::Item(format!("the bucket lists {} bytes and {} were sent", object.size, file.size)));
    }
    let by_etag = Digests::of_etag(&object.etag);
    if file.size == 0 || file.digests.same(&by_etag) == Some(true) {
        return Ok((Proof::Strong, Some(object.etag.clone())));
    }
    if file.etag.as_ref() == Some(&object.etag) {
        return Ok((Proof::ETag, Some(object.etag.clone())));
    }
    let head = work.ends.bucket.head(path.as_str()).await.map_err(|e| match e.kind {
        RemoteKind::Refused => Verdict::Item(format!("the bucket lists another ETag than it answered, and does not show whose it is: {e}")),
        _ => Verdict::Run(e.into()),
    })?;
    let ours = head.as_ref().and_then(|h| h.metadata.get(NONCE)).is_some_and(|found| Some(found.as_str()) == nonce);
    if ours {
        work.ends.tell(Event::Warning(format!("{path}: the store lists another ETag than it answered; its nonce shows that it is ours")));
        Ok((Proof::ETag, Some(object.etag.clone())))
    } else {
        Err(Verdict::Item("the bucket lists another object than the one that was sent".into()))
    }
}

/// A download, judged: what was brought by its own proof, what was there by the opening look.
pub(super) fn downloaded(work: &Work<'_>) -> Proofs {
    let mut proofs = unmoved(work.sight, work.plan);
    for done in work.done.values() {
        if let (Some(entry), Verb::Download) = (&done.entry, done.verb) {
            proofs.add(done.proof, entry.bytes());
        }
    }
    proofs
}
