//! Sends files that belong together: all of them are read before one of them replaces anything, and only if none has changed by then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use super::up::ToSend;
use super::{Done, Work};
use crate::engine::blocking;
use crate::engine::keeping::Keeper;
use crate::engine::report::{FailureKind, Proof};
use crate::engine::send::{BUFFERED_MAX, Gate, NotSent, Originals, Sender};
use crate::engine::settle::{Closing, Late};
use crate::entry::{Entry, Local, Stamp, find};
use crate::event::Verb;
use crate::local::mount::{Looked, Mount};
use crate::path::RelPath;
use crate::plan::sets::{Set, companions, sets};
use crate::view::Remote;

/// No file system is coarser than FAT.
const COARSEST: Duration = Duration::from_secs(2);

/// Files to send that belong together, with what else of them is here.
pub(super) struct Joint {
    database: RelPath,
    /// Every member that is here, the database first, with the stamp that it had.
    here: Vec<(RelPath, Stamp)>,
    /// Where no file is, and none may come.
    absent: Vec<RelPath>,
    sends: Vec<ToSend>,
}

/// Takes apart what goes alone and what goes with others. `local` is the mount as it was seen when the stamps were.
pub(super) fn divide(sends: Vec<ToSend>, local: &[(RelPath, Local)], bucket: &[(RelPath, Remote)]) -> (Vec<ToSend>, Vec<Joint>) {
    if sends.is_empty() {
        return (sends, Vec::new());
    }
    let (mut alone, mut joint) = (sends, Vec::new());
    for set in sets(local, bucket) {
        let (with, others): (Vec<ToSend>, Vec<ToSend>) = alone.into_iter().partition(|send| set.members.contains(&send.path));
        alone = others;
        if !with.is_empty() {
            joint.push(Joint::of(&set, with, local));
        }
    }
    (alone, joint)
}

/// Apart: what a further pass sends, and what is left. Of files that belong together all are left where one of them is.
pub(super) fn to_send_again(late: Vec<Late>, closing: &Closing, bucket: &[(RelPath, Remote)]) -> (Vec<Late>, Vec<Late>) {
    let left: HashSet<RelPath> = late.iter().filter(|late| !late.may_send).map(|late| late.path.clone()).collect();
    let with_left = |set: &Set| set.members.iter().any(|path| left.contains(path));
    let waits: HashSet<RelPath> = match left.is_empty() {
        true => HashSet::new(),
        false => sets(&closing.local, bucket).into_iter().filter(with_left).flat_map(|set| set.members).collect(),
    };
    late.into_iter().partition(|late| late.may_send && !waits.contains(&late.path))
}

impl Joint {
    fn of(set: &Set, mut sends: Vec<ToSend>, local: &[(RelPath, Local)]) -> Joint {
        let place = |path: &RelPath| set.members.iter().position(|member| member == path);
        sends.sort_by_key(|send| place(&send.path));
        let stamp = |path: &RelPath| find(local, path.as_str()).and_then(|local| local.stamp);
        let here: Vec<(RelPath, Stamp)> = set.members.iter().filter_map(|path| Some((path.clone(), stamp(path)?))).collect();
        let absent = companions(&set.database).into_iter().filter(|path| !here.iter().any(|(member, _)| member == path)).collect();
        Joint { database: set.database.clone(), here, absent, sends }
    }

    /// The first member that is not as it was seen.
    fn moved(&self, mount: &Mount) -> Option<RelPath> {
        let changed = |(path, stamp): &&(RelPath, Stamp)| !matches!(mount.look(path), Ok(Some(Looked::File(now, _))) if now == *stamp);
        let come = |path: &&RelPath| !matches!(mount.look(path), Ok(None));
        self.here.iter().find(changed).map(|(path, _)| path).or_else(|| self.absent.iter().find(come)).cloned()
    }
}

impl Work<'_> {
    /// Sends sets one after the other: each may hold several buffers until all of it is read.
    pub(super) async fn send_joint(&mut self, joint: Vec<Joint>, copies: &Keeper<'_>) {
        for mut set in joint {
            if self.is_ending() {
                return;
            }
            // What does not travel is nobody's concern.
            set.absent.retain(|path| self.sight.filter_has(path, false) && self.ask.reaches(path));
            let failed = self.report.failures.iter().find(|failure| set.here.iter().any(|(path, _)| *path == failure.path));
            match failed.map(|failure| failure.path.clone()) {
                Some(failed) => self.wait_together(set.sends, &format!("it belongs together with {failed}, which could not be sent")),
                None => self.send_set(set, copies).await,
            }
        }
    }

    async fn send_set(&mut self, mut set: Joint, copies: &Keeper<'_>) {
        if let Err(e) = self.outlast_a_tick(&set).await {
            return self.end(e);
        }
        let sends = std::mem::take(&mut set.sends);
        let set = Arc::new(set);
        let at_rest = {
            let mount = self.ends.mount.clone();
            move |set: Arc<Joint>| {
                let mount = mount.clone();
                async move { blocking(move || set.moved(&mount)).await }
            }
        };
        match at_rest(set.clone()).await {
            Ok(None) => {}
            Ok(Some(moved)) => return self.still_written(&set, sends, &moved),
            Err(e) => return self.end(e),
        }
        let ends = self.ends;
        let (pace, uploads) = (self.pace.clone(), self.uploads.clone());
        let sizes: Vec<u64> = sends.iter().map(|send| send.stamp.size).collect();
        let originals = Originals::new(ends, &self.sight.view.entries, &sizes, &self.store);
        let (enforce, rest, originals) = (self.enforce, self.rest, &originals);
        let (pace, uploads) = (&pace, &uploads);
        let (mut gates, mut ended, mut sending) = (Vec::new(), Vec::new(), FuturesUnordered::new());
        for (at, send) in sends.iter().enumerate() {
            let (gate, keeper) = Gate::new();
            let (tell, hear) = oneshot::channel::<bool>();
            gates.push((keeper, hear));
            ended.push(Some(tell));
            sending.push(async move {
                let sender =
                    Sender { ends, pace, enforce, uploads, originals, rest, buffered_max: BUFFERED_MAX, gate: Some(&gate), grows: None };
                if let Some(found) = &send.keeps
                    && let Err(why) = copies.keep(&send.path, found).await
                {
                    return (at, Err(why));
                }
                let sent = match sender.file(&send.path, send.stamp, &send.guard).await {
                    Err(broken) => sender.file_again(&send.path, send.stamp, &send.guard, broken).await,
                    sent => sent,
                };
                (at, sent)
            });
        }
        // Once all of them are read: each after the one before it has got there, the database first.
        let conduct = async {
            let (mut keepers, mut all_read) = (Vec::new(), true);
            for (mut keeper, hear) in gates {
                all_read &= keeper.is_read().await;
                keepers.push((keeper, hear));
            }
            let moved = if all_read { at_rest(set.clone()).await } else { Ok(None) };
            if all_read && matches!(moved, Ok(None)) && !ends.stop.asked() {
                for (keeper, hear) in keepers {
                    keeper.open();
                    if !hear.await.unwrap_or(false) {
                        break; // the others find their gates closed
                    }
                }
            }
            moved
        };
        let mut conduct = std::pin::pin!(conduct.fuse());
        let (mut moved, mut held, mut sent_all, mut sent_any) = (Ok(None), Vec::new(), true, false);
        loop {
            tokio::select! {
                result = &mut conduct => moved = result,
                next = sending.next() => {
                    let Some((at, sent)) = next else { break };
                    if let Some(tell) = ended[at].take() {
                        let _ = tell.send(sent.is_ok());
                    }
                    let send = &sends[at];
                    match sent {
                        Ok(sent) => {
                            sent_any = true;
                            self.sent(send, sent);
                        }
                        Err(NotSent::Item(FailureKind::Waits, _)) => held.push(at),
                        Err(NotSent::Item(FailureKind::StillWritten, _)) => {
                            moved = Ok(Some(send.path.clone()));
                            held.push(at);
                        }
                        Err(why) => {
                            sent_all = false;
                            self.item_not_done(&send.path, Verb::Upload, send.stamp.size, why);
                        }
                    }
                }
            }
        }
        drop(sending);
        if let Some(learnt) = originals.learnt(&self.store) {
            (self.store, self.store_is_new) = (learnt, true);
        }
        if sent_all && held.is_empty() {
            self.together.insert(set.database.clone(), Some(set.here.iter().map(|(path, _)| path.clone()).collect()));
            return;
        }
        if sent_any {
            self.together.insert(set.database.clone(), None);
        }
        let waiting: Vec<ToSend> = sends.into_iter().enumerate().filter(|(at, _)| held.contains(at)).map(|(_, send)| send).collect();
        match moved {
            _ if waiting.is_empty() => {}
            Ok(Some(moved)) => self.still_written(&set, waiting, &moved),
            Ok(None) if self.ends.stop.asked() => self.end(crate::engine::Error::Stopped),
            Ok(None) => {
                let why = format!("it belongs together with other files of {}, which could not be sent", set.database);
                self.wait_together(waiting, &why);
            }
            Err(e) => self.end(e),
        }
    }

    /// A change within the tick of a stamp does not show in it: what was written last is read after that tick.
    async fn outlast_a_tick(&self, set: &Joint) -> Result<(), crate::engine::Error> {
        let clock = self.clocks.sending;
        if !set.here.iter().any(|(_, stamp)| clock.is_racy(stamp)) {
            return Ok(());
        }
        let tick = Duration::from_nanos(clock.granularity.unsigned_abs()).min(COARSEST);
        self.ends.stop.or(tokio::time::sleep(tick)).await.ok_or(crate::engine::Error::Stopped)
    }

    /// The whole set waits, by the name of its database.
    fn still_written(&mut self, set: &Joint, waiting: Vec<ToSend>, moved: &RelPath) {
        let why = match *moved == set.database {
            true => "it is still being written".to_owned(),
            false => format!("it is still being written: {moved} changed while its files were read"),
        };
        let (first, others): (Vec<ToSend>, Vec<ToSend>) = waiting.into_iter().partition(|send| send.path == set.database);
        match first.first() {
            Some(send) => self.item_not_done(&send.path, Verb::Upload, send.stamp.size, NotSent::Item(FailureKind::StillWritten, why)),
            None => self.fail(&set.database, FailureKind::StillWritten, why),
        }
        self.wait_together(others, &format!("it belongs to {}, which is still being written", set.database));
    }

    fn wait_together(&mut self, waiting: Vec<ToSend>, why: &str) {
        for send in waiting {
            self.item_not_done(&send.path, Verb::Upload, send.stamp.size, NotSent::Item(FailureKind::Waits, why.to_owned()));
        }
    }

    /// Notes a file that the store has taken.
    pub(super) fn sent(&mut self, send: &ToSend, sent: crate::engine::send::Sent) {
        let (kept, copied, growing) = (sent.kept, sent.copied, sent.is_growing.then_some(sent.stamp.size));
        let entry = Entry { mode: send.mode, ..sent.entry };
        let done = Done {
            entry: Some(entry.into()),
            stamp: Some(sent.stamp),
            witness: sent.witness,
            nonce: Some(sent.nonce),
            proof: Proof::ETag,
            verb: Verb::Upload,
        };
        self.item_done(&send.path, done);
        // What an earlier run had sent, and what the store itself copied, this one did not move.
        self.report.bytes -= kept + copied;
        self.report.copied_bytes += copied;
        if let Some(bytes) = growing {
            self.fail(&send.path, FailureKind::StillWritten, format!("it is still being written: sent up to {bytes} bytes"));
        }
    }
}
