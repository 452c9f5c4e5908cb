//! The upload half of a run: room first, then content, then removals, then the closing look with at most two further passes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::{Done, Work};
use crate::digest::part_bytes_for;
use crate::engine::read_back::read_back;
use crate::engine::report::{FailureKind, Proof, chain};
use crate::engine::send::{BUFFERED_MAX, NotSent, Originals, Sender, guard_as_answered, not_sent};
use crate::engine::settle::{self, Late, Proofs};
use crate::engine::uploads::Fate;
use crate::engine::{Error, blocking};
use crate::entry::{Entry, Kind, Stamp};
use crate::event::{Event, Phase, Verb};
use crate::local::mount::Looked;
use crate::local::uploads::OpenUpload;
use crate::path::RelPath;
use crate::plan::{Found, Transfer};
use crate::remote::error::Kind as RemoteKind;
use crate::remote::object::Guard;

/// One file to send.
struct ToSend {
    path: RelPath,
    stamp: Stamp,
    mode: Option<u32>,
    guard: Guard,
}

/// Passes in all: the plan's, and two for what changed meanwhile.
const PASSES: usize = 3;

impl Work<'_> {
    pub(super) async fn up(&mut self) -> Option<Proofs> {
        let blocked = self.make_room().await;
        let mut sends = Vec::new();
        for transfer in &self.plan.transfers {
            if let Some(told) = blocked.get(&transfer.path) {
                if *told || self.is_ending() {
                    continue;
                }
                let why = "what stands in its place in the bucket could not be removed".to_owned();
                self.item_not_done(&transfer.path, Verb::Upload, transfer.source.bytes(), NotSent::Item(FailureKind::Stale, why));
                continue;
            }
            match (&transfer.source.kind, transfer.stamp) {
                (Kind::File(_), Some(stamp)) => {
                    let guard = match &transfer.found {
                        Found::Object { etag, size, marker: false } => Guard::Is(etag.clone(), *size),
                        _ => Guard::Absent,
                    };
                    if transfer.class.loses()
                        && let Err(why) = self.keep_copy(&transfer.path, &transfer.found).await
                    {
                        self.item_not_done(&transfer.path, Verb::Upload, transfer.source.bytes(), why);
                        continue;
                    }
                    sends.push(ToSend { path: transfer.path.clone(), stamp, mode: transfer.mode, guard });
                }
                // Links and empty directories live in the manifest alone.
                _ => self.record(&transfer.path, &transfer.source),
            }
        }
        self.send_all(sends).await;
        for update in &self.plan.updates {
            if let Some(bucket) = self.sight.bucket(update.path.as_str()) {
                let entry = Entry { mode: Some(update.mode), ..Entry::clone(&bucket.entry) };
                let done = Done { entry: Some(entry.into()), stamp: None, nonce: None, proof: Proof::ETag, verb: Verb::Update };
                self.item_done(&update.path, done);
            }
        }
        self.remove_all().await;
        let proofs = self.close().await?;
        read_back(self, proofs).await
    }

    fn record(&mut self, path: &RelPath, source: &Arc<Entry>) {
        let done = Done { entry: Some(source.clone()), stamp: None, nonce: None, proof: Proof::Strong, verb: Verb::Upload };
        self.item_done(path, done);
    }

    /// Removes what stands in the way of other kinds, each object under its guard. Returns the transfers that cannot go ahead, and
    /// whether that was told already.
    async fn make_room(&mut self) -> HashMap<RelPath, bool> {
        let mut blocked = HashMap::new();
        let mut cleared: BTreeMap<String, bool> = BTreeMap::new();
        for transfer in &self.plan.transfers {
            let to_file = transfer.source.file().is_some();
            let makes_room = !matches!(&transfer.found, Found::Nothing | Found::Recorded | Found::Object { marker: false, .. }) || !to_file;
            if makes_room
                && !self.is_ending()
                && let Err(why) = self.source_is_as_planned(transfer).await
            {
                self.item_not_done(&transfer.path, Verb::Upload, transfer.source.bytes(), why);
                blocked.insert(transfer.path.clone(), true);
                continue;
            }
            let in_the_way: Vec<(RelPath, Found)> = match &transfer.found {
                Found::Tree(below) => below.clone(),
                Found::Above(path, found) => vec![(path.clone(), (**found).clone())],
                // A link or directory takes the place of an object; an object replaces a directory's marker.
                found @ Found::Object { marker, .. } if *marker || !to_file => vec![(transfer.path.clone(), found.clone())],
                _ => Vec::new(),
            };
            for (path, found) in in_the_way {
                let gone = match cleared.get(&key_of(&path, &found)) {
                    Some(gone) => *gone,
                    None if self.is_ending() => false,
                    None => {
                        let kept = if transfer.class.loses() { self.keep_copy(&path, &found).await } else { Ok(()) };
                        let gone = match kept {
                            Ok(()) => self.remove_object(&path, &found).await,
                            Err(why) => Err(why),
                        };
                        let ok = gone.is_ok();
                        if let Err(why) = gone {
                            // The transfer itself, where it is its own old self that could not go, is told once.
                            if path != transfer.path || matches!(why, NotSent::Run(_)) {
                                self.item_not_done(&path, Verb::Delete, 0, why);
                            }
                        } else if path != transfer.path && !self.is_idle_marker(&path, &found) {
                            self.done.insert(path.clone(), Done::removed());
                        }
                        cleared.insert(key_of(&path, &found), ok);
                        ok
                    }
                };
                if !gone {
                    // What is left stays: nothing comes in its place.
                    blocked.insert(transfer.path.clone(), false);
                    break;
                }
            }
        }
        blocked
    }

    /// A marker beside what the bucket holds at the path or below: that it goes says nothing about the path.
    fn is_idle_marker(&self, path: &RelPath, found: &Found) -> bool {
        let stands = || self.sight.bucket(path.as_str()).is_some_and(|remote| remote.marker.is_some());
        matches!(found, Found::Object { marker: true, .. }) && !stands()
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

    async fn remove_object(&self, path: &RelPath, found: &Found) -> Result<(), NotSent> {
        let Found::Object { etag, size, .. } = found else { return self.is_gone(path).await };
        let key = key_of(path, found);
        let guard = Guard::Is(etag.clone(), *size);
        let Err(broken) = self.ends.bucket.delete(&key, &guard, self.enforce).await.map_err(not_sent) else { return Ok(()) };
        match guard_as_answered(self.ends, &key, &guard, &broken).await {
            Some(guard) => self.ends.bucket.delete(&key, &guard, self.enforce).await.map_err(not_sent),
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

    /// `--overwrite`: what no base proves superseded is copied to `.lsync/history/<op>/` first, where the store can copy. Where it can and
    /// did not, nothing is overwritten.
    async fn keep_copy(&mut self, path: &RelPath, found: &Found) -> Result<(), NotSent> {
        let Found::Object { etag, size, marker: false } = found else { return Ok(()) };
        if self.is_ending() {
            return Err(NotSent::Run(Error::Stopped));
        }
        let to = format!(".lsync/history/{}/{}", self.operation, path.as_str());
        let bucket = &self.ends.bucket;
        let mut copied = bucket.copy(path.as_str(), etag, &to).await;
        if copied.as_ref().is_err_and(|e| e.kind == RemoteKind::Precondition)
            && let Ok(Some(answered)) = bucket.answered_etag(path.as_str(), etag, *size).await
        {
            copied = bucket.copy(path.as_str(), &answered, &to).await;
        }
        match copied {
            Ok(()) => Ok(()),
            // Nothing is there to be lost; the guard of what follows decides.
            Err(e) if e.kind == RemoteKind::NotFound => Ok(()),
            Err(e) if matches!(e.kind, RemoteKind::Unsupported | RemoteKind::Denied) => {
                self.ends.tell(Event::Warning(format!("{path}: the bucket could not keep a copy of what is overwritten: {e}")));
                Ok(())
            }
            Err(e) => Err(not_sent(e)),
        }
    }

    async fn send_all(&mut self, sends: Vec<ToSend>) {
        let ends = self.ends;
        let (pace, lanes, uploads) = (self.pace.clone(), self.lanes.clone(), self.uploads.clone());
        let sizes: Vec<u64> = sends.iter().map(|send| send.stamp.size).collect();
        let originals = Originals::new(ends, &self.sight.view.entries, &sizes, &self.store);
        let (enforce, rest, originals) = (self.enforce, self.rest, &originals);
        let sender = Sender { ends, pace: &pace, enforce, uploads: &uploads, originals, rest, buffered_max: BUFFERED_MAX };
        let sender = &sender;
        let queue = stream::iter(sends)
            .then(|send| lanes.turn(send.stamp.size).map(|lane| (send, lane)))
            .map(|(send, lane)| async move {
                if ends.stop.asked() {
                    return (send, Err(NotSent::Run(Error::Stopped)));
                }
                let sent = match sender.file(&send.path, send.stamp, &send.guard).await {
                    Err(broken) => sender.file_again(&send.path, send.stamp, &send.guard, broken).await,
                    sent => sent,
                };
                lane.done();
                (send, sent)
            })
            .buffer_unordered(lanes.most());
        let mut queue = std::pin::pin!(queue);
        while let Some((send, sent)) = queue.next().await {
            match sent {
                Ok(sent) => {
                    let (kept, copied) = (sent.kept, sent.copied);
                    let entry = Entry { mode: send.mode, ..sent.entry };
                    let done = Done {
                        entry: Some(entry.into()),
                        stamp: Some(sent.stamp),
                        nonce: Some(sent.nonce),
                        proof: Proof::ETag,
                        verb: Verb::Upload,
                    };
                    self.item_done(&send.path, done);
                    // What an earlier run had sent, and what the store itself copied, this one did not move.
                    self.report.bytes -= kept + copied;
                    self.report.copied_bytes += copied;
                }
                Err(why) => self.item_not_done(&send.path, Verb::Upload, send.stamp.size, why),
            }
        }
        if let Some(learnt) = originals.learnt(&self.store) {
            (self.store, self.store_is_new) = (learnt, true);
        }
    }

    /// What runs before left open in the bucket goes on where the plan sends that very file, waits where this run does not look, and is
    /// given up otherwise.
    pub(super) async fn take_over_uploads(&self) -> Result<(), Error> {
        let planned: HashMap<RelPath, Option<Stamp>> = self.plan.transfers.iter().map(|t| (t.path.clone(), t.stamp)).collect();
        let (mount, ask) = (self.ends.mount.clone(), self.ask.clone());
        let still = move |path: &RelPath| match mount.look(path) {
            Ok(Some(Looked::File(stamp, _))) => Some(stamp),
            _ => None,
        };
        let fate = move |open: &OpenUpload| {
            let now = match planned.get(&open.path) {
                Some(planned) => *planned,
                None if ask.narrowed || !ask.reaches(&open.path) => still(&open.path),
                None => None,
            };
            let goes_on = now == Some(open.stamp) && open.id.is_some() && part_bytes_for(open.stamp.size) == Some(open.part_bytes);
            if goes_on { Fate::Keep } else { Fate::GiveUp }
        };
        self.uploads.take_over(fate).await
    }

    async fn remove_all(&mut self) {
        if self.plan.removals.is_empty() || self.is_ending() {
            return;
        }
        let mount = self.ends.mount.clone();
        match blocking(move || mount.still_there()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return self.end(e.into()),
            Err(e) => return self.end(e),
        }
        let plan = self.plan;
        for removal in &plan.removals {
            if self.is_ending() {
                return;
            }
            match self.still_absent(&removal.path).await {
                Ok(true) => {}
                Ok(false) => {
                    let why = NotSent::Item(FailureKind::Stale, "it is back in the mount".into());
                    self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why);
                    continue;
                }
                Err(why) => {
                    self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why);
                    continue;
                }
            }
            let kept = if removal.loses { self.keep_copy(&removal.path, &removal.found).await } else { Ok(()) };
            let gone = match kept {
                Ok(()) => self.remove_object(&removal.path, &removal.found).await,
                Err(why) => Err(why),
            };
            match gone {
                Ok(()) => {
                    let done = Done::removed();
                    self.item_done(&removal.path, done);
                }
                Err(why) => self.item_not_done(&removal.path, Verb::Delete, removal.bytes, why),
            }
        }
    }

    async fn still_absent(&self, path: &RelPath) -> Result<bool, NotSent> {
        let (mount, at) = (self.ends.mount.clone(), path.clone());
        match blocking(move || mount.look(&at)).await? {
            Ok(looked) => Ok(looked.is_none()),
            Err(e) => Err(NotSent::Item(FailureKind::Failed, chain(&e))),
        }
    }

    /// The closing listing and scan, and further passes over what changed meanwhile.
    async fn close(&mut self) -> Option<Proofs> {
        let stopped = self.ends.stop.asked() || self.report.ended_by.is_some();
        if stopped {
            self.end(Error::Stopped);
            return None;
        }
        for pass in 1..=PASSES {
            self.ends.phase(Phase::Verify);
            let closing = match settle::look_again(self).await {
                Ok(closing) => closing,
                Err(e) => {
                    self.end(e);
                    return None;
                }
            };
            let late = settle::late(self, &closing);
            if late.is_empty() || pass == PASSES {
                return settle::judge(self, &closing, late).await;
            }
            let (again, left): (Vec<Late>, Vec<Late>) = late.into_iter().partition(|late| late.may_send);
            if again.is_empty() {
                return settle::judge(self, &closing, left).await;
            }
            self.ends.phase(Phase::Transfer);
            let mut sends = Vec::new();
            for late in again {
                match (&late.entry.kind, late.stamp) {
                    (Kind::File(_), Some(stamp)) => {
                        sends.push(ToSend { path: late.path, stamp, mode: late.entry.mode, guard: late.guard });
                    }
                    _ => self.record(&late.path, &late.entry),
                }
            }
            self.send_all(sends).await;
            if self.is_ending() {
                self.end(Error::Stopped);
                return None;
            }
        }
        None
    }
}

/// The key of what was found at a path.
fn key_of(path: &RelPath, found: &Found) -> String {
    let behind = if matches!(found, Found::Object { marker: true, .. }) { "/" } else { "" };
    format!("{}{behind}", path.as_str())
}
