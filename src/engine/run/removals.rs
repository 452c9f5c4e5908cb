//! What an upload removes from the bucket: what stands in the way of other kinds, before anything is sent, and what is gone here, at the
//! end. Side by side, each object under its own guard, and copied first where nothing proves it outdated.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt};
use tokio::sync::OnceCell;

use super::{Done, Work};
use crate::engine::keeping::Keeper;
use crate::engine::lanes::Lanes;
use crate::engine::report::{FailureKind, chain};
use crate::engine::rest::Rest;
use crate::engine::send::{NotSent, guard_as_answered, not_sent};
use crate::engine::{Ends, Error, Sight, blocking};
use crate::entry::Kind;
use crate::event::Verb;
use crate::local::mount::Looked;
use crate::path::RelPath;
use crate::plan::{Found, Removal, Transfer};
use crate::remote::error as remote;
use crate::remote::object::{Enforce, Guard};

/// What removing needs; shared by all that is removed at once.
struct Remover<'a> {
    ends: &'a Ends,
    sight: &'a Sight,
    keeper: &'a Keeper<'a>,
    lanes: &'a Lanes,
    enforce: Enforce,
    rest: Rest,
}

/// What became of one object that stood in the way.
struct Cleared {
    path: RelPath,
    found: Found,
    gone: Result<(), NotSent>,
}

/// What became of the room for one transfer.
struct Room<'a> {
    transfer: &'a Transfer,
    /// Why nothing was removed for it.
    not_tried: Option<NotSent>,
    cleared: Vec<Cleared>,
    /// All that stood in its way is gone.
    free: bool,
}

impl Work<'_> {
    /// Removes what stands in the way of other kinds. Returns the transfers that cannot go ahead, and whether that was told already.
    pub(super) async fn make_room(&mut self, keeper: &Keeper<'_>) -> HashMap<RelPath, bool> {
        let (plan, lanes) = (self.plan, self.lanes.clone());
        let remover = Remover { ends: self.ends, sight: self.sight, keeper, lanes: &lanes, enforce: self.enforce, rest: self.rest };
        let wanted = plan.transfers.iter().filter(|transfer| makes_room(transfer));
        let in_the_way: Vec<(&Transfer, Vec<(RelPath, Found)>)> = wanted.map(|transfer| (transfer, in_the_way(transfer))).collect();
        // An object may stand in the way of several.
        let objects = in_the_way.iter().flat_map(|(_, found)| found).map(|(path, found)| (key_of(path, found), OnceCell::new()));
        let objects: HashMap<String, OnceCell<bool>> = objects.collect();
        let rooms = in_the_way.iter().map(|(transfer, found)| remover.room_for(transfer, found, &objects));
        let mut rooms = std::pin::pin!(stream::iter(rooms).buffer_unordered(lanes.most()));
        let mut blocked = HashMap::new();
        while let Some(room) = rooms.next().await {
            let transfer = room.transfer;
            for Cleared { path, found, gone } in room.cleared {
                match gone {
                    // The transfer itself, where it is its own old self that could not go, is told once.
                    Err(why) if path == transfer.path => {
                        self.item_not_done(&path, Verb::Upload, transfer.source.bytes(), why);
                        blocked.insert(path, true);
                    }
                    Err(why) => self.item_not_done(&path, Verb::Delete, 0, why),
                    Ok(()) if path != transfer.path && !self.is_idle_marker(&path, &found) => {
                        self.refusals.done(Verb::Delete);
                        self.done.insert(path, Done::removed());
                    }
                    Ok(()) => self.refusals.done(Verb::Delete),
                }
            }
            if let Some(why) = room.not_tried {
                self.item_not_done(&transfer.path, Verb::Upload, transfer.source.bytes(), why);
                blocked.insert(transfer.path.clone(), true);
            } else if !room.free {
                // What is left stays: nothing comes in its place.
                blocked.entry(transfer.path.clone()).or_insert(false);
            }
        }
        blocked
    }

    /// A marker beside what the bucket holds at the path or below: that it goes says nothing about the path.
    fn is_idle_marker(&self, path: &RelPath, found: &Found) -> bool {
        let stands = || self.sight.bucket(path.as_str()).is_some_and(|remote| remote.marker.is_some());
        matches!(found, Found::Object { marker: true, .. }) && !stands()
    }

    /// Removes what is gone here, after everything else.
    pub(super) async fn remove_all(&mut self, keeper: &Keeper<'_>) {
        if self.plan.removals.is_empty() || self.is_ending() {
            return;
        }
        if let Err(e) = self.has_its_turn().await {
            return self.end(e);
        }
        let mount = self.ends.mount.clone();
        match blocking(move || mount.still_there()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return self.end(e.into()),
            Err(e) => return self.end(e),
        }
        let (plan, lanes) = (self.plan, self.lanes.clone());
        let remover = Remover { ends: self.ends, sight: self.sight, keeper, lanes: &lanes, enforce: self.enforce, rest: self.rest };
        let removals = plan.removals.iter().map(async |removal| (removal, remover.removal(removal).await));
        let mut removals = std::pin::pin!(stream::iter(removals).buffer_unordered(lanes.most()));
        while let Some((removal, gone)) = removals.next().await {
            match gone {
                Ok(()) => self.item_done(&removal.path, Done::removed()),
                Err(why) => self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why),
            }
        }
    }
}

impl Remover<'_> {
    async fn room_for<'t>(
        &self,
        transfer: &'t Transfer,
        in_the_way: &[(RelPath, Found)],
        objects: &HashMap<String, OnceCell<bool>>,
    ) -> Room<'t> {
        let mut room = Room { transfer, not_tried: None, cleared: Vec::new(), free: true };
        if self.ends.stop.asked() {
            room.free = in_the_way.is_empty();
            return room;
        }
        if let Err(why) = self.source_is_as_planned(transfer).await {
            return Room { not_tried: Some(why), free: false, ..room };
        }
        let (loses, failed) = (transfer.class.loses(), AtomicBool::new(false));
        let each = in_the_way.iter().map(async |(path, found)| {
            let mut cleared = None;
            let remove = async || {
                let lane = self.lanes.turn(0).await;
                if failed.load(Ordering::Relaxed) || self.ends.stop.asked() {
                    return false;
                }
                let gone = self.keep_and_remove(path, found, loses).await;
                lane.done();
                let ok = gone.is_ok();
                cleared = Some(Cleared { path: path.clone(), found: found.clone(), gone });
                ok
            };
            let gone = match objects.get(&key_of(path, found)) {
                Some(object) => *object.get_or_init(remove).await,
                None => false,
            };
            failed.fetch_or(!gone, Ordering::Relaxed);
            cleared
        });
        let cleared: Vec<Option<Cleared>> = stream::iter(each).buffer_unordered(self.lanes.most()).collect().await;
        room.cleared = cleared.into_iter().flatten().collect();
        room.free = !failed.into_inner();
        room
    }

    /// The mount still holds what the plan saw there: nothing is removed for the sake of something that is gone.
    async fn source_is_as_planned(&self, transfer: &Transfer) -> Result<(), NotSent> {
        let (mount, at) = (self.ends.mount.clone(), transfer.path.clone());
        let looked = blocking(move || mount.look(&at)).await?.map_err(|e| NotSent::Item(FailureKind::Failed, chain(&e)))?;
        let as_planned = match (&transfer.source.kind, looked) {
            (Kind::File(_), Some(Looked::File(..))) | (Kind::Dir, Some(Looked::Dir(true))) => true,
            (Kind::Link(planned), Some(Looked::Link(target))) => target.as_deref() == Some(planned),
            _ => false,
        };
        let stale = || NotSent::Item(FailureKind::Stale, "the mount holds something else there than when the plan was made".into());
        if !as_planned {
            return Err(stale());
        }
        transfer.stamp.map_or(Ok(()), |stamp| self.rest.settled(&stamp))
    }

    async fn removal(&self, removal: &Removal) -> Result<(), NotSent> {
        let lane = self.lanes.turn(0).await;
        if self.ends.stop.asked() {
            return Err(Error::Stopped.into());
        }
        let (mount, at) = (self.ends.mount.clone(), removal.path.clone());
        match blocking(move || mount.look(&at)).await? {
            Ok(None) => {}
            Ok(Some(_)) => return Err(NotSent::Item(FailureKind::Stale, "it is back in the mount".into())),
            Err(e) => return Err(NotSent::Item(FailureKind::Failed, chain(&e))),
        }
        self.keep_and_remove(&removal.path, &removal.found, removal.loses).await?;
        lane.done();
        Ok(())
    }

    async fn keep_and_remove(&self, path: &RelPath, found: &Found, loses: bool) -> Result<(), NotSent> {
        if loses {
            self.keeper.keep(path, found).await?;
        }
        let Found::Object { etag, size, .. } = found else { return self.is_gone(path).await };
        let (bucket, key, guard) = (&self.ends.bucket, key_of(path, found), Guard::Is(etag.clone(), *size));
        let Err(broken) = Box::pin(bucket.delete(&key, &guard, self.enforce)).await.map_err(not_removed) else { return Ok(()) };
        match guard_as_answered(self.ends, &key, &guard, &broken).await {
            Some(guard) => Box::pin(bucket.delete(&key, &guard, self.enforce)).await.map_err(not_removed),
            None => Err(broken),
        }
    }

    /// What the bucket did not list is forgotten only if it does not have it either: a listing may lag.
    async fn is_gone(&self, path: &RelPath) -> Result<(), NotSent> {
        if self.sight.view.vanished.binary_search(path).is_err() {
            return Ok(());
        }
        match self.ends.bucket.head(path.as_str()).await.map_err(not_sent)? {
            None => Ok(()),
            Some(_) => Err(NotSent::Item(FailureKind::Stale, "the bucket has it, and did not list it when the run began".into())),
        }
    }
}

/// What a refused removal means: as for what is sent, and counted apart from it.
fn not_removed(error: remote::Error) -> NotSent {
    match not_sent(error) {
        NotSent::Refused { error, .. } => NotSent::Refused { error, removing: true },
        other => other,
    }
}

/// True when something at the destination has to go first, or a link or directory comes, of which nothing is sent.
fn makes_room(transfer: &Transfer) -> bool {
    let is_free = matches!(&transfer.found, Found::Nothing | Found::Recorded | Found::Object { marker: false, .. });
    !is_free || transfer.source.file().is_none()
}

fn in_the_way(transfer: &Transfer) -> Vec<(RelPath, Found)> {
    match &transfer.found {
        Found::Tree(below) => below.clone(),
        Found::Above(path, found) => vec![(path.clone(), (**found).clone())],
        // A link or directory takes the place of an object; an object replaces a directory's marker.
        found @ Found::Object { marker, .. } if *marker || transfer.source.file().is_none() => {
            vec![(transfer.path.clone(), found.clone())]
        }
        _ => Vec::new(),
    }
}

/// The key of what was found at a path.
fn key_of(path: &RelPath, found: &Found) -> String {
    let behind = if matches!(found, Found::Object { marker: true, .. }) { "/" } else { "" };
    format!("{}{behind}", path.as_str())
}
