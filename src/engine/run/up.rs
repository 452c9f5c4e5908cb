//! The upload half of a run: room first, then content, then removals, then the closing look with at most two further passes.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::together::{divide, to_send_again};
use super::{Done, Work};
use crate::digest::part_bytes_for;
use crate::engine::Error;
use crate::engine::keeping::Keeper;
use crate::engine::read_back::read_back;
use crate::engine::report::{FailureKind, Proof};
use crate::engine::send::{BUFFERED_MAX, NotSent, Originals, Sender};
use crate::engine::settle::{self, Proofs};
use crate::engine::uploads::Fate;
use crate::entry::{Entry, File, Kind, Local, Stamp};
use crate::event::{Phase, Verb};
use crate::local::mount::Looked;
use crate::local::uploads::OpenUpload;
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::plan::Found;
use crate::remote::object::Guard;

/// One file to send.
pub(super) struct ToSend {
    pub(super) path: RelPath,
    pub(super) stamp: Stamp,
    pub(super) mode: Option<u32>,
    pub(super) guard: Guard,
    /// What has to be copied first.
    pub(super) keeps: Option<Found>,
}

/// Passes in all: the plan's, and two for what changed meanwhile.
const PASSES: usize = 3;

impl Work<'_> {
    pub(super) async fn up(&mut self) -> Option<Proofs> {
        let keeper = Keeper::new(self.ends, self.operation.clone(), self.plan, &self.store);
        let blocked = self.make_room(&keeper).await;
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
                    let keeps = transfer.class.loses().then(|| transfer.found.clone());
                    sends.push(ToSend { path: transfer.path.clone(), stamp, mode: transfer.mode, guard, keeps });
                }
                // Links and empty directories live in the manifest alone.
                _ => self.record(&transfer.path, &transfer.source),
            }
        }
        let local = self.sight.local.clone();
        self.send_all(sends, &local, &keeper).await;
        for update in &self.plan.updates {
            if let Some(bucket) = self.sight.bucket(update.path.as_str()) {
                let entry = Entry { mode: Some(update.mode), ..Entry::clone(&bucket.entry) };
                let done = Done {
                    entry: Some(entry.into()),
                    stamp: None,
                    witness: Witness::Nothing,
                    nonce: None,
                    proof: Proof::ETag,
                    verb: Verb::Update,
                };
                self.item_done(&update.path, done);
            }
        }
        for dir in self.plan.dir_modes.iter().filter(|_| !self.ends.stop.asked()) {
            self.dir_done(dir);
        }
        self.remove_all(&keeper).await;
        if let Some(learnt) = keeper.learnt() {
            (self.store.history_copies, self.store_is_new) = (Some(learnt), true);
        }
        let proofs = self.close(&keeper).await?;
        read_back(self, proofs).await
    }

    fn record(&mut self, path: &RelPath, source: &Arc<Entry>) {
        let (entry, witness) = (Some(source.clone()), Witness::Nothing);
        let done = Done { entry, stamp: None, witness, nonce: None, proof: Proof::Strong, verb: Verb::Upload };
        self.item_done(path, done);
    }

    /// Sends files whose stamps were seen with `local`: first what goes alone, then what belongs together.
    async fn send_all(&mut self, sends: Vec<ToSend>, local: &[(RelPath, Local)], keeper: &Keeper<'_>) {
        let (alone, joint) = divide(sends, local, &self.sight.view.entries);
        self.send_each(alone, keeper).await;
        self.send_joint(joint, keeper).await;
    }

    async fn send_each(&mut self, sends: Vec<ToSend>, keeper: &Keeper<'_>) {
        let ends = self.ends;
        let (pace, lanes, uploads) = (self.pace.clone(), self.lanes.clone(), self.uploads.clone());
        let sizes: Vec<u64> = sends.iter().map(|send| send.stamp.size).collect();
        let originals = Originals::new(ends, &self.sight.view.entries, &sizes, &self.store);
        let (enforce, rest, originals) = (self.enforce, self.rest, &originals);
        let sender =
            Sender { ends, pace: &pace, enforce, uploads: &uploads, originals, rest, buffered_max: BUFFERED_MAX, gate: None, grows: None };
        let sender = &sender;
        let sends: Vec<_> = sends.into_iter().map(|send| (self.held(&send), send)).collect();
        let queue = stream::iter(sends)
            .then(|(held, send)| lanes.turn(send.stamp.size).map(|lane| (held, send, lane)))
            .map(|(held, send, lane)| async move {
                if ends.stop.asked() {
                    return (send, Err(NotSent::Run(Error::Stopped)));
                }
                if let Some(found) = &send.keeps
                    && let Err(why) = keeper.keep(&send.path, found).await
                {
                    return (send, Err(why));
                }
                let sent = match sender.file(&send.path, send.stamp, &send.guard).await {
                    Err(broken) => sender.file_again(&send.path, send.stamp, &send.guard, broken).await,
                    sent => sent,
                };
                let sent = match sent {
                    Err(NotSent::Item(FailureKind::StillWritten, why)) => {
                        let held = held.as_ref().and_then(|entry| entry.file());
                        let grown = sender.grown(&send.path, send.stamp, &send.guard, held).await;
                        grown.and_then(|sent| sent.ok_or(NotSent::Item(FailureKind::StillWritten, why)))
                    }
                    sent => sent,
                };
                lane.done();
                (send, sent)
            })
            .buffer_unordered(lanes.most());
        let mut queue = std::pin::pin!(queue);
        while let Some((send, sent)) = queue.next().await {
            match sent {
                Ok(sent) => self.sent(&send, sent),
                Err(why) => self.item_not_done(&send.path, Verb::Upload, send.stamp.size, why),
            }
        }
        if let Some(learnt) = originals.learnt(&self.store) {
            (self.store, self.store_is_new) = (learnt, true);
        }
    }

    /// The object that a file would replace, as far as it is known.
    fn held(&self, send: &ToSend) -> Option<Arc<Entry>> {
        let Guard::Is(etag, size) = &send.guard else { return None };
        let sent = self.done.get(&send.path).and_then(|done| done.entry.as_ref());
        let listed = self.sight.bucket(send.path.as_str()).map(|remote| &remote.entry);
        let is_it = |entry: &&Arc<Entry>| entry.file().is_some_and(|file| file.etag.as_ref() == Some(etag) && file.size == *size);
        let unknown = || Entry { kind: Kind::File(File { size: *size, ..File::default() }), mode: None };
        Some(sent.into_iter().chain(listed).find(is_it).cloned().unwrap_or_else(|| unknown().into()))
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

    /// The closing listing and scan, and further passes over what changed meanwhile.
    async fn close(&mut self, keeper: &Keeper<'_>) -> Option<Proofs> {
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
            let (again, left) = to_send_again(late, &closing, &self.sight.view.entries);
            if again.is_empty() {
                return settle::judge(self, &closing, left).await;
            }
            self.ends.phase(Phase::Transfer);
            let mut sends = Vec::new();
            for late in again {
                match (&late.entry.kind, late.stamp) {
                    (Kind::File(_), Some(stamp)) => {
                        sends.push(ToSend { path: late.path, stamp, mode: late.entry.mode, guard: late.guard, keeps: None });
                    }
                    _ => self.record(&late.path, &late.entry),
                }
            }
            self.send_all(sends, &closing.local, keeper).await;
            if self.is_ending() {
                self.end(Error::Stopped);
                return None;
            }
        }
        None
    }
}
