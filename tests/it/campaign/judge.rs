//! One seed from its beginning to its end: the past, the runs under the storm, the clean run; and after each what it said held against what
//! lies on both sides. The store's log of versions is the witness, never the client.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lsync::engine::{Error, Report};
use lsync::manifest::Manifest;
use lsync::plan::{Choices, Direction};
use lsync::sandbox::{Hazard, Hit};

use super::bench::{Bench, runtime};
use super::seed::Story;
use super::tree::{bytes, edit, grow};
use crate::support::mount::{Mount, Node};
use crate::support::seed::Seed;

/// What a seed came to.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seed: u64,
    pub(super) store: &'static str,
    pub(super) upload: bool,
    /// Runs under the storm that said "complete", and those that did not.
    pub(super) complete: u64,
    pub(super) incomplete: u64,
    pub(super) hits: Vec<Hit>,
    /// Of the corrupting hits on content: how many were in runs that ended complete all the same, and in runs that said that they did not.
    pub(super) healed: u64,
    pub(super) reported: u64,
    /// What is wrong.
    pub(super) failure: Option<String>,
}

impl Told {
    fn of(story: &Story) -> Told {
        Told {
            seed: story.seed,
            store: story.store,
            upload: story.is_upload(),
            complete: 0,
            incomplete: 0,
            hits: Vec::new(),
            healed: 0,
            reported: 0,
            failure: None,
        }
    }

    /// A seed whose run panicked.
    pub(super) fn panicked(seed: u64) -> Told {
        Told { failure: Some("it panicked; the panic's message is on stderr".into()), ..Told::of(&Story::of(seed)) }
    }
}

/// Plays one seed.
pub(super) fn story(seed: u64) -> Told {
    let story = Story::of(seed);
    let mut told = Told::of(&story);
    let setting = |why| {
        let Story { store, direction, has_past, delete, jobs, runs, .. } = &story;
        format!("{why}\n  {store}, {}, past: {has_past}, delete: {delete}, jobs: {jobs}, runs: {runs}", direction.verb())
    };
    told.failure = runtime().block_on(play(&story, &mut told)).err().map(setting);
    told
}

/// The mount that the storm's runs are made on, the one of another instance, and the store.
struct Stage<'a> {
    story: &'a Story,
    bench: Bench,
    here: Mount,
    there: Mount,
}

type Judged = Result<(), String>;

async fn play(story: &Story, told: &mut Told) -> Judged {
    let dice = &mut Seed::new(!story.seed);
    let stage = Stage { story, bench: Bench::start().await, here: Mount::new(), there: Mount::new() };
    stage.bench.server.faults().set_profile(story.profile);
    stage.set(dice).await?;
    stage.bench.server.faults().set_storm(Some(story.storm.clone()));
    for _ in 0..story.runs {
        stage.run_in_the_storm(told).await?;
    }
    told.hits = stage.bench.server.faults().hits();
    stage.bench.server.faults().set_storm(None);
    stage.ends(&told.hits).await.map_err(|e| format!("{e}; the storm was {:?}", told.hits))
}

impl Stage<'_> {
    /// The past: what both sides agreed on, and what was changed since.
    async fn set(&self, dice: &mut Seed) -> Judged {
        let source = if self.story.is_upload() { &self.here } else { &self.there };
        grow(dice, source, self.story.large);
        if self.story.has_past {
            self.clean(source, Direction::Upload).await?;
            if !self.story.is_upload() {
                self.clean(&self.here, Direction::Download).await?;
            }
            edit(dice, source);
        }
        if !self.story.is_upload() {
            self.clean(source, Direction::Upload).await?;
            if dice.once_in(3) {
                self.here.write(MINE, bytes(dice, 10));
            }
        }
        Ok(())
    }

    /// A run without faults: complete, or something is wrong.
    async fn clean(&self, mount: &Mount, direction: Direction) -> Judged {
        let ran = self.bench.run(mount, self.story, direction, self.story.choices()).await;
        match ran {
            Ok(report) if report.complete.is_some() => self.complete_is_complete(mount, &report, &[]),
            ran => Err(format!("a clean {} does not end complete: {}", direction.verb(), shown(&ran))),
        }
    }

    /// What users see in the bucket, by key: the MD5 of the stored bytes. So many changes ago.
    fn objects(&self, changes_ago: usize) -> BTreeMap<String, String> {
        let mut objects = BTreeMap::new();
        let history = self.bench.server.history(self.bench.bucket(), 0);
        for version in history.iter().take(history.len().saturating_sub(changes_ago)).filter(|version| !version.key.starts_with(".lsync/"))
        {
            match &version.content {
                Some((_, md5)) => drop(objects.insert(version.key.clone(), md5.clone())),
                None => drop(objects.remove(&version.key)),
            }
        }
        objects
    }

    async fn run_in_the_storm(&self, told: &mut Told) -> Judged {
        let faults = self.bench.server.faults();
        let (hits, tree, objects) = (faults.hits().len(), self.here.tree(), self.objects(0));
        let versions = self.bench.server.history(self.bench.bucket(), 0).len();
        let ran = self.bench.run(&self.here, self.story, self.story.direction, self.story.choices()).await;
        // A run that cannot take its lease back leaves it to the next to see that its owner is dead; here that would be this very process.
        for key in self.bench.server.keys(self.bench.bucket()).iter().filter(|key| key.starts_with(".lsync/lease/")) {
            self.bench.server.remove(self.bench.bucket(), key).map_err(|e| e.to_string())?;
        }
        let hits = faults.hits().split_off(hits);
        match &ran {
            Ok(report) if report.complete.is_some() => {
                told.complete += 1;
                self.complete_is_complete(&self.here, report, &hits).map_err(|e| format!("{e}; it met {hits:?}"))?;
            }
            Ok(report) => {
                told.incomplete += 1;
                gives_a_reason(report)?;
            }
            Err(_) => told.incomplete += 1,
        }
        let corrupted = hits.iter().filter(|hit| corrupts_content(hit)).count() as u64;
        *(if ran.is_ok_and(|report| report.complete.is_some()) { &mut told.healed } else { &mut told.reported }) += corrupted;
        let torn = |hit: &&Hit| hit.hazard == Hazard::FlippedOnTheWay && self.story.profile.no_md5_check;
        let torn: BTreeSet<&str> = hits.iter().filter(torn).map(|hit| hit.key.as_str()).collect();
        if self.story.is_upload() {
            if self.here.tree() != tree {
                return Err("an upload changed the mount".into());
            }
            self.nothing_torn_was_committed(versions, &torn)?;
        } else {
            if !self.bench.server.history(self.bench.bucket(), versions).is_empty() {
                return Err("a download changed the bucket".into());
            }
            nothing_torn_was_placed(&tree, &self.here.tree(), &objects, self.story.delete).map_err(|e| format!("{e}; it met {hits:?}"))?;
        }
        nothing_outside(&self.here)
    }

    /// Every file of the source is at the destination, byte for byte.
    fn complete_is_complete(&self, mount: &Mount, report: &Report, hits: &[Hit]) -> Judged {
        let files = files(&mount.tree());
        if report.direction == Direction::Download {
            // A store that answers with an earlier moment's listing has given that moment's files.
            let lags = hits.iter().any(|hit| hit.hazard == Hazard::Lagging);
            // What was deleted where it came from stays in the bucket; whether that is true shows where both trees are compared.
            let wanted = |ago| {
                let mut objects = self.objects(ago);
                report.left_out.iter().for_each(|left| drop(objects.remove(left.path.as_str())));
                objects
            };
            let moments = (0..=if lags { LONGEST_LAG } else { 0 }).map(|ago| holds(&files, &wanted(ago)));
            return moments.reduce(Judged::or).unwrap_or(Ok(()));
        }
        holds(&self.objects(0), &files)?;
        if report.counts.uploaded + report.counts.updated + report.counts.deleted == 0 {
            // Nothing is published: what no manifest names yet lies there as if another tool had put it.
            return Ok(());
        }
        let name = format!(".lsync/manifests/{:010}-", report.generation.unwrap_or(0));
        let keys = self.bench.server.keys(self.bench.bucket());
        let manifests = keys.iter().filter(|key| key.starts_with(&name));
        let published: Vec<Manifest> =
            manifests.filter_map(|key| Manifest::decode(&self.bench.server.get_object(self.bench.bucket(), key)?.0).ok()).collect();
        let has_all =
            |manifest: &Manifest| files.keys().all(|path| manifest.entries.iter().any(|(p, e)| p.as_str() == path && e.file().is_some()));
        if published.iter().any(has_all) { Ok(()) } else { Err("LIE: it says complete, and no readable manifest has all files".into()) }
    }

    /// Every version of a user's object that came about is whole; nothing went that should not.
    fn nothing_torn_was_committed(&self, versions: usize, torn: &BTreeSet<&str>) -> Judged {
        let files = files(&self.here.tree());
        for version in self.bench.server.history(self.bench.bucket(), versions) {
            if version.key.starts_with(".lsync/") || torn.contains(version.key.as_str()) {
                continue;
            }
            match (&version.content, files.get(&version.key)) {
                (None, None) if self.story.delete => {}
                (None, _) => return Err(format!("{} was removed from the bucket", version.key)),
                (Some((_, stored)), Some(md5)) if stored == md5 => {}
                (Some((size, _)), _) => return Err(format!("{} was stored with {size} bytes that the file never held", version.key)),
            }
        }
        Ok(())
    }

    /// Without faults, one run mends everything.
    async fn ends(&self, hits: &[Hit]) -> Judged {
        let (here, story) = (&self.here, self.story);
        let hidden = hits.iter().any(|hit| matches!(hit.hazard, Hazard::Lagging | Hazard::TailMissing));
        match self.clean(here, story.direction).await {
            // A store that hid a manifest while the next one was made has two that do not know of each other: somebody has to choose.
            Err(e) if hidden && e.contains("published it differently") => {
                let ran = self.bench.run(here, story, story.direction, Choices { overwrite: true, ..story.choices() }).await;
                if !ran.as_ref().is_ok_and(|report| report.complete.is_some()) {
                    return Err(format!("a choice does not settle it: {}", shown(&ran)));
                }
            }
            ended => ended.map_err(|e| format!("after the storm {e}"))?,
        }
        let left = here.left_behind().into_iter().filter(|path| path != "log" && !path.starts_with("trash/")).collect::<Vec<_>>();
        let open = self.bench.server.open_uploads(self.bench.bucket());
        if !left.is_empty() || !open.is_empty() {
            return Err(format!("a clean run leaves behind: {left:?} in .lsync/, unfinished uploads {open:?}"));
        }
        nothing_outside(here)?;
        if story.is_upload() {
            let fresh = Mount::new();
            self.clean(&fresh, Direction::Download).await.map_err(|e| format!("on a fresh mount {e}"))?;
            return same(&here.tree(), fresh.tree(), story.delete);
        }
        let mut ours = here.tree();
        ours.retain(|node| node.path != MINE);
        same(&self.there.tree(), ours, story.delete)
    }
}

/// A file that never was in the bucket.
const MINE: &str = "only here";

/// Most changes that a listing lags behind.
const LONGEST_LAG: usize = 6;

/// All that the source has, but for what is this mount's own.
fn holds(destination: &BTreeMap<String, String>, source: &BTreeMap<String, String>) -> Judged {
    for (path, md5) in source.iter().filter(|(path, _)| *path != MINE) {
        match destination.get(path) {
            None => return Err(format!("LIE: it says complete, and {path} is not there")),
            Some(there) if there != md5 => return Err(format!("LIE: it says complete, and {path} holds other bytes")),
            Some(_) => {}
        }
    }
    Ok(())
}

fn files(tree: &[Node]) -> BTreeMap<String, String> {
    tree.iter().filter(|node| node.kind == "file").map(|node| (node.path.clone(), node.content.clone())).collect()
}

/// The destination has all that the source has, and where deletions were asked for, nothing else.
fn same(source: &[Node], mut destination: Vec<Node>, delete: bool) -> Judged {
    // A directory that holds something is none that travels, nor is one that only the destination has something in.
    let holds = |tree: &[Node], dir: &Node| tree.iter().any(|node| node.path.starts_with(&format!("{}/", dir.path)));
    let mut source = source.to_vec();
    source.retain(|node| node.kind != "dir" || !holds(&destination, node));
    if !delete {
        destination.retain(|node| source.iter().any(|other| other.path == node.path));
    }
    let all = destination.clone();
    destination.retain(|node| node.kind != "dir" || !holds(&all, node));
    let all = source.clone();
    source.retain(|node| node.kind != "dir" || !holds(&all, node));
    if source == destination {
        return Ok(());
    }
    let missing = source.iter().filter(|node| !destination.contains(node)).collect::<Vec<_>>();
    let extra = destination.iter().filter(|node| !source.contains(node)).collect::<Vec<_>>();
    Err(format!("the trees differ in the end: {missing:?} should be there, and {extra:?} should not"))
}

/// A path of the mount holds what it held or what the bucket holds, and is gone only where that was asked for.
fn nothing_torn_was_placed(before: &[Node], now: &[Node], objects: &BTreeMap<String, String>, delete: bool) -> Judged {
    let (before, now) = (files(before), files(now));
    for (path, md5) in &now {
        if before.get(path) != Some(md5) && objects.get(path) != Some(md5) {
            return Err(format!("{path} holds what it never held on either side"));
        }
    }
    match before.keys().find(|path| !now.contains_key(*path) && (!delete || objects.contains_key(*path) || *path == MINE)) {
        Some(path) => Err(format!("{path} is gone from the mount")),
        None => Ok(()),
    }
}

fn nothing_outside(mount: &Mount) -> Judged {
    let names = |dir| fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>();
    if names(mount.mounts()) == ["research"] && names(mount.home()).is_empty() {
        Ok(())
    } else {
        Err("something was written outside".into())
    }
}

fn gives_a_reason(report: &Report) -> Judged {
    let named = report.ended_by.is_some()
        || !report.failures.is_empty()
        || !report.problems.is_empty()
        || !report.conflicts.is_empty()
        || !report.unknown.is_empty()
        || report.nothing_there.is_some();
    if named { Ok(()) } else { Err(format!("it is incomplete and says no reason: {report:?}")) }
}

fn corrupts_content(hit: &Hit) -> bool {
    hit.hazard.corrupts() && !hit.missed && ["GetObject", "PutObject", "UploadPart"].contains(&hit.operation)
}

fn shown(ran: &Result<Report, Error>) -> String {
    match ran {
        Ok(report) => format!(
            "failures {:?}, conflicts {:?}, unknown {:?}, problems {:?}, ended by {:?}",
            report.failures, report.conflicts, report.unknown, report.problems, report.ended_by
        ),
        Err(e) => format!("{e:?}"),
    }
}
