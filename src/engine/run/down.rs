//! The download half of a run: room first, then content through temporaries, then attributes, then removals to the trash.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::{Done, Work};
use crate::engine::fetch::{Fetcher, not_placed};
use crate::engine::here::Here;
use crate::engine::report::{FailureKind, Proof, chain};
use crate::engine::room::check_room;
use crate::engine::send::NotSent;
use crate::engine::settle::{self, Proofs};
use crate::engine::{Error, blocking};
use crate::entry::{Entry, Kind, find};
use crate::event::Verb;
use crate::filter::Patterns;
use crate::local::place::{PlaceError, Seen, Workplace};
use crate::local::scan::{Walk, scan};
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::plan::sets::companions;
use crate::plan::{Found, Leftover, Transfer};
use crate::profile::ETagKind;

impl Work<'_> {
    pub(super) async fn down(&mut self) -> Option<Proofs> {
        if let Err(e) = check_room(self.ends, self.plan) {
            self.end(e);
            return None;
        }
        let (mount, op) = (self.ends.mount.clone(), self.operation.clone());
        let private = self.plan.dir_modes.iter().filter(|dir| dir.is_new).map(|dir| dir.path.as_str().to_owned()).collect();
        let workplace = match blocking(move || Workplace::create(&mount, &op)).await {
            Ok(Ok(workplace)) => Arc::new(workplace.with_private(private)),
            Ok(Err(e)) => {
                self.end(e.into());
                return None;
            }
            Err(e) => {
                self.end(e);
                return None;
            }
        };
        let blocked = self.clear_above(&workplace).await;
        let stays = self.clear_leftovers(&workplace).await;
        let plan = self.plan;
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for transfer in &plan.transfers {
            if stays.contains(&transfer.path) {
                continue;
            }
            match &transfer.found {
                Found::Above(path, _) if self.is_ending() && !cleared(&blocked, path) => {}
                Found::Above(path, _) if blocked.get(path).is_some_and(Option::is_some) => {
                    let why = format!("{path} could not be moved out of its way");
                    self.item_not_done(&transfer.path, Verb::Download, transfer.source.bytes(), NotSent::Item(FailureKind::Stale, why));
                }
                _ if transfer.source.file().is_some() => files.push(transfer),
                _ => others.push(transfer),
            }
        }
        self.fetch_all(&workplace, files).await;
        for transfer in others {
            if !self.is_ending() {
                self.place_other(&workplace, transfer).await;
            }
        }
        self.carry_modes(&workplace).await;
        self.remove_from_mount(&workplace).await;
        self.carry_dir_modes(&workplace).await;
        self.close_workplace(workplace).await;
        if self.is_ending() {
            self.end(Error::Stopped);
            return None;
        }
        Some(settle::downloaded(self))
    }

    /// Entries that stand where directories must be go to the trash, once. `Some` is the reason why one could not.
    async fn clear_above(&mut self, workplace: &Arc<Workplace>) -> BTreeMap<RelPath, Option<()>> {
        let mut cleared = BTreeMap::new();
        let plan = self.plan;
        for transfer in &plan.transfers {
            let Found::Above(path, found) = &transfer.found else { continue };
            if cleared.contains_key(path) || self.is_ending() {
                continue;
            }
            let (mount, workplace, at, seen) = (self.ends.mount.clone(), workplace.clone(), path.clone(), seen(found));
            let removed = blocking(move || workplace.remove(&mount, &at, &seen)).await;
            let failed = match removed.map(|r| r.map_err(not_placed)) {
                Ok(Ok(())) => {
                    let done = Done::removed();
                    self.done.insert(path.clone(), done);
                    None
                }
                Ok(Err(why)) => {
                    self.item_not_done(path, Verb::Delete, 0, why);
                    Some(())
                }
                Err(e) => {
                    self.end(e);
                    Some(())
                }
            };
            cleared.insert(path.clone(), failed);
        }
        cleared
    }

    /// Files here that would be taken for a part of a database that is brought go to the trash. Returns the transfers that cannot take
    /// place because one of them could not.
    async fn clear_leftovers(&mut self, workplace: &Arc<Workplace>) -> HashSet<RelPath> {
        let mut stays = HashSet::new();
        let plan = self.plan;
        for Leftover { removal, database } in &plan.leftovers {
            if self.is_ending() {
                break;
            }
            let (mount, workplace, at, seen) = (self.ends.mount.clone(), workplace.clone(), removal.path.clone(), seen(&removal.found));
            let removed = blocking(move || workplace.remove(&mount, &at, &seen)).await;
            match removed.map_err(NotSent::from).and_then(|r| r.map_err(not_placed)) {
                Ok(()) => self.item_done(&removal.path, Done::removed()),
                Err(why) => {
                    self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why);
                    let of_it = companions(database).into_iter().chain([database.clone()]);
                    stays.extend(of_it.filter(|path| plan.transfers.iter().any(|transfer| transfer.path == *path)));
                }
            }
        }
        for transfer in plan.transfers.iter().filter(|transfer| stays.contains(&transfer.path)) {
            let why = "a file that is left over from an older version of it could not be moved away".to_owned();
            self.item_not_done(&transfer.path, Verb::Download, transfer.source.bytes(), NotSent::Item(FailureKind::Stale, why));
        }
        stays
    }

    async fn fetch_all(&mut self, workplace: &Arc<Workplace>, transfers: Vec<&Transfer>) {
        let ends = self.ends;
        let (pace, lanes) = (self.pace.clone(), self.lanes.clone());
        let multipart_etag = self.sight.store.as_ref().and_then(|store| store.multipart_etag);
        let (twice, opaque_parts) = (self.sight.manifest_unreadable, multipart_etag == Some(ETagKind::Opaque));
        let here = Here::new(&self.sight.local, &transfers);
        let fetcher = Fetcher { ends, pace: &pace, workplace, twice, opaque_parts, here: &here };
        let fetcher = &fetcher;
        let queue = stream::iter(transfers)
            .then(|transfer| lanes.turn(transfer.source.bytes()).map(move |lane| (transfer, lane)))
            .map(|(transfer, lane)| async move {
                if ends.stop.asked() {
                    return (transfer, Err(NotSent::Run(Error::Stopped)));
                }
                let seen = match tree_is_as_planned(fetcher, transfer).await {
                    Ok(()) => seen(&transfer.found),
                    Err(why) => return (transfer, Err(why)),
                };
                let fetched = fetcher.file(transfer, seen).await;
                lane.done();
                (transfer, fetched)
            })
            .buffer_unordered(lanes.most());
        let mut queue = std::pin::pin!(queue);
        while let Some((transfer, fetched)) = queue.next().await {
            match fetched {
                Ok(fetched) => {
                    self.tree_done(transfer);
                    let (kept, copied) = (fetched.kept, fetched.copied);
                    let done = Done {
                        entry: Some(fetched.entry.into()),
                        stamp: Some(fetched.stamp),
                        witness: self.ends.mount.witness_of_own(),
                        nonce: None,
                        proof: fetched.proof,
                        verb: Verb::Download,
                    };
                    self.item_done(&transfer.path, done);
                    // What an earlier run had brought, and what the mount held, this one did not move.
                    self.report.bytes -= kept + copied;
                    self.report.copied_bytes += copied;
                }
                Err(why) => self.item_not_done(&transfer.path, Verb::Download, transfer.source.bytes(), why),
            }
        }
    }

    /// What made room for an item is gone from the mount.
    fn tree_done(&mut self, transfer: &Transfer) {
        if let Found::Tree(below) = &transfer.found {
            for (path, _) in below.iter().filter(|(path, _)| *path != transfer.path) {
                let done = Done::removed();
                self.done.insert(path.clone(), done);
            }
        }
    }

    async fn place_other(&mut self, workplace: &Arc<Workplace>, transfer: &Transfer) {
        let (mount, workplace, at) = (self.ends.mount.clone(), workplace.clone(), transfer.path.clone());
        let (seen, entry) = (seen(&transfer.found), transfer.source.clone());
        let fetcher_check = tree_check(self.ends, transfer).await;
        let placed = match fetcher_check {
            Err(why) => Err(why),
            Ok(()) => {
                let placing = blocking(move || -> Result<(), PlaceError> {
                    match &entry.kind {
                        Kind::Link(target) => workplace.place_link(&mount, target, &at, &seen),
                        Kind::Dir => workplace.place_dir(&mount, entry.mode, &at, &seen),
                        Kind::File(_) => Ok(()),
                    }
                });
                placing.await.map_err(NotSent::from).and_then(|r| r.map_err(not_placed))
            }
        };
        match placed {
            Ok(()) => {
                self.tree_done(transfer);
                let entry = Some(transfer.source.clone());
                let witness = Witness::Nothing;
                let done = Done { entry, stamp: None, witness, nonce: None, proof: Proof::Strong, verb: Verb::Download };
                self.item_done(&transfer.path, done);
            }
            Err(why) => self.item_not_done(&transfer.path, Verb::Download, 0, why),
        }
    }

    async fn carry_modes(&mut self, workplace: &Arc<Workplace>) {
        let plan = self.plan;
        let doubtful = self.sight.learnt.doubtful();
        for update in &plan.updates {
            if self.is_ending() {
                return;
            }
            let (mount, workplace, at) = (self.ends.mount.clone(), workplace.clone(), update.path.clone());
            let (seen, mode) = (seen(&update.found), update.mode);
            let set = blocking(move || workplace.set_mode(&mount, &at, &seen, mode)).await;
            match set.map_err(NotSent::from).and_then(|r| r.map_err(not_placed)) {
                Ok(looked) => {
                    let Some(local) = self.sight.local(update.path.as_str()) else { continue };
                    let stamp = match looked {
                        crate::local::mount::Looked::File(stamp, _) => Some(stamp),
                        _ => None,
                    };
                    let bucket_etag = self.sight.bucket(update.path.as_str()).and_then(|r| r.entry.file()).and_then(|f| f.etag.clone());
                    let mut entry = Entry { mode: Some(mode), ..Entry::clone(&local.entry) };
                    if let Kind::File(file) = &mut entry.kind {
                        file.etag = bucket_etag;
                    }
                    // The content is what the look has read, or what was remembered of it.
                    let witness = match doubtful.contains(&update.path) {
                        true => Witness::Nothing,
                        false => self.ends.mount.witness_of_own(),
                    };
                    let done = Done { entry: Some(entry.into()), stamp, witness, nonce: None, proof: Proof::ETag, verb: Verb::Update };
                    self.item_done(&update.path, done);
                }
                Err(why) => self.item_not_done(&update.path, Verb::Update, 0, why),
            }
        }
    }

    /// Last, when everything in them is in place, and what lies deepest first: they may forbid what comes after.
    async fn carry_dir_modes(&mut self, workplace: &Arc<Workplace>) {
        let plan = self.plan;
        for dir in plan.dir_modes.iter().rev() {
            if self.is_ending() {
                return;
            }
            let (mount, workplace, at, mode) = (self.ends.mount.clone(), workplace.clone(), dir.path.clone(), dir.mode);
            let set = blocking(move || workplace.set_mode(&mount, &at, &Seen::Tree, mode)).await;
            match set.map_err(NotSent::from).and_then(|r| r.map_err(not_placed)) {
                Ok(_) => self.dir_done(dir),
                // Nothing came there.
                Err(NotSent::Item(FailureKind::Stale, _)) if dir.is_new => {}
                Err(why) => self.item_not_done(&dir.path, Verb::Update, 0, why),
            }
        }
    }

    async fn remove_from_mount(&mut self, workplace: &Arc<Workplace>) {
        let plan = self.plan;
        for removal in &plan.removals {
            if self.is_ending() {
                return;
            }
            let (mount, workplace, at, seen) = (self.ends.mount.clone(), workplace.clone(), removal.path.clone(), seen(&removal.found));
            let kept: Vec<String> = self.directories_the_bucket_lists(&removal.path);
            let removed = blocking(move || -> Result<(), PlaceError> {
                workplace.remove(&mount, &at, &seen)?;
                Ok(workplace.remove_empty_parents(&mount, &at, &|dir| kept.iter().any(|k| k == dir))?)
            });
            match removed.await.map_err(NotSent::from).and_then(|r| r.map_err(not_placed)) {
                Ok(()) => {
                    let done = Done::removed();
                    self.item_done(&removal.path, done);
                }
                Err(why) => self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why),
            }
        }
    }

    fn directories_the_bucket_lists(&self, path: &RelPath) -> Vec<String> {
        path.ancestors().filter(|dir| find(&self.sight.view.entries, dir).is_some()).map(str::to_owned).collect()
    }

    async fn close_workplace(&mut self, workplace: Arc<Workplace>) {
        let Some(workplace) = Arc::into_inner(workplace) else {
            return self.end(Error::Worker("a transfer still holds the run's temporaries".into()));
        };
        let (mount, limits) = (self.ends.mount.clone(), self.ask.trash);
        match blocking(move || workplace.close(&mount, limits)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => self.end(e.into()),
            Err(e) => self.end(e),
        }
    }
}

/// What stood above an item is out of its way.
fn cleared(blocked: &BTreeMap<RelPath, Option<()>>, path: &RelPath) -> bool {
    blocked.get(path).is_some_and(Option::is_none)
}

/// What the plan saw in the mount, in the words of the place.
fn seen(found: &Found) -> Seen {
    match found {
        Found::File(stamp) => Seen::File(*stamp),
        Found::Link(target) => Seen::Link(target.clone()),
        Found::EmptyDir => Seen::EmptyDir,
        Found::Tree(_) => Seen::Tree,
        Found::Nothing | Found::Above(..) | Found::Object { .. } | Found::Recorded => Seen::Absent,
    }
}

async fn tree_is_as_planned(fetcher: &Fetcher<'_>, transfer: &Transfer) -> Result<(), NotSent> {
    tree_check(fetcher.ends, transfer).await
}

/// A directory goes to the trash as a whole only when it holds exactly what the plan saw, ignored files included.
async fn tree_check(ends: &crate::engine::Ends, transfer: &Transfer) -> Result<(), NotSent> {
    let Found::Tree(planned) = &transfer.found else { return Ok(()) };
    let (mount, path, stop) = (ends.mount.clone(), transfer.path.clone(), ends.stop.clone());
    let scanned = blocking(move || {
        let stop = move || stop.asked();
        // Nothing is left out, not even by default: what is ignored must not be moved away either.
        let patterns = Patterns { exclude: vec!["!*".into()], include_config: true, ..Patterns::default() };
        scan(&mount, &Walk { patterns: &patterns, rules: None, recall: &|_| None, scope: &[path], progress: &|_, _| {}, stop: &stop })
    })
    .await?
    .map_err(|e| NotSent::Item(FailureKind::Failed, chain(&e)))?;
    let same = scanned.problems.is_empty()
        && scanned.skipped.is_empty()
        && scanned.ignored.files == 0
        && scanned.entries.len() == planned.len()
        && scanned.entries.iter().zip(planned).all(|((path, local), (planned_path, found))| {
            path == planned_path
                && match (&local.entry.kind, found) {
                    (Kind::File(_), Found::File(stamp)) => local.stamp == Some(*stamp),
                    (Kind::Link(target), Found::Link(planned)) => target == planned,
                    (Kind::Dir, Found::EmptyDir) => true,
                    _ => false,
                }
        });
    if same {
        Ok(())
    } else {
        let why = "the directory in its place holds something that the plan does not list (perhaps ignored files)";
        Err(NotSent::Item(FailureKind::Stale, why.into()))
    }
}
