//! Takes large contents while they arrive: what has come of several is hashed side by side and written, in the background. Asks no store,
//! and judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::oneshot::{Sender, channel};

use super::Error;
use crate::digest::{Begun, Lanes, Md5};
use crate::local::place::{PlaceError, Temp};

/// Hashed and written at once, of each content: worth the handing over, and no more than the cache holds.
const ENOUGH_BYTES: usize = 256 << 10;
const MOST_BYTES: usize = 512 << 10;
/// When so much is here that is not hashed, nothing waits for company any more.
const MUCH_BYTES: usize = 4 << 20;
/// When so much is here, or half of what the run may hold, nothing more is read from the store until some of it is written.
const FULL_BYTES: usize = 24 << 20;
/// Contents side by side: the lanes are full.
const SIDE_BY_SIDE: usize = 16;
/// The longest wait of a content that is complete for others to go along with it.
const PATIENCE: Duration = Duration::from_millis(20);

/// What arrives in a run.
pub(super) struct Arrivals {
    desk: Mutex<Desk>,
    /// Some of it is written.
    taken: Notify,
    /// That may be here.
    full_bytes: usize,
}

#[derive(Default)]
struct Desk {
    /// A thread takes what is here, and looks at what comes.
    led: bool,
    next: u64,
    flows: BTreeMap<u64, Flow>,
}

/// One content, or a part of one.
struct Flow {
    to: Arc<Temp>,
    /// Where the first of the pieces goes.
    at: u64,
    /// What is neither hashed nor written.
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// The MD5 up to the pieces.
    md5: Begun,
    /// The thread has its beginning.
    busy: bool,
    failed: Option<PlaceError>,
    stage: Stage,
}

enum Stage {
    /// Nothing came yet.
    New,
    Open,
    /// All is here, and somebody waits for the end.
    Complete(Sender<Result<Md5, PlaceError>>),
    /// The same, and for too long.
    Urgent(Sender<Result<Md5, PlaceError>>),
    /// Nobody is interested any more.
    GivenUp,
}

/// A content that arrives. Given up when it is dropped; [`Arrivals::none_left`] waits until nothing more is written of it.
pub(super) struct Arriving {
    arrivals: Arc<Arrivals>,
    number: u64,
    bytes: u64,
}

/// What the thread has of a flow.
struct Taken {
    number: u64,
    to: Arc<Temp>,
    at: u64,
    pieces: Vec<Bytes>,
    md5: Begun,
    written: Result<(), PlaceError>,
}

/// A piece of the flow that was taken at this place.
struct Piece(usize, Bytes);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Arrivals {
    /// For a run that may hold so many bytes in memory.
    pub(super) fn within(memory: u64) -> Arc<Arrivals> {
        let full_bytes = usize::try_from(memory / 2).unwrap_or(usize::MAX).min(FULL_BYTES);
        Arc::new(Arrivals { desk: Mutex::default(), taken: Notify::new(), full_bytes })
    }

    /// A content that goes to `to`, from this offset on.
    pub(super) fn begin(self: &Arc<Arrivals>, to: &Arc<Temp>, at: u64) -> Arriving {
        let flow = Flow {
            to: Arc::clone(to),
            at,
            pieces: VecDeque::new(),
            bytes: 0,
            md5: Begun::default(),
            busy: false,
            failed: None,
            stage: Stage::New,
        };
        let mut desk = self.desk();
        let number = desk.next;
        desk.next += 1;
        desk.flows.insert(number, flow);
        Arriving { arrivals: Arc::clone(self), number, bytes: 0 }
    }

    /// Waits until nothing is, or will be, written to this any more.
    pub(super) async fn none_left(&self, to: &Arc<Temp>) {
        loop {
            let taken = self.taken.notified();
            if !self.desk().flows.values().any(|flow| Arc::ptr_eq(&flow.to, to)) {
                return;
            }
            taken.await;
        }
    }

    /// Carries out what reads from the store, while there is room for what it brings.
    pub(super) async fn while_there_is_room<T>(&self, read: impl Future<Output = T>) -> T {
        let (mut read, mut taken) = (pin!(read), pin!(self.taken.notified()));
        poll_fn(|cx| {
            while self.desk().bytes() >= self.full_bytes {
                ready!(taken.as_mut().poll(cx));
                taken.set(self.taken.notified());
            }
            read.as_mut().poll(cx)
        })
        .await
    }

    /// Has what is here taken, if it is time and no thread does so already.
    fn lead(self: &Arc<Arrivals>, desk: &mut Desk) {
        // Without a runtime nobody waits any more.
        if !desk.led
            && desk.is_due()
            && let Ok(runtime) = Handle::try_current()
        {
            desk.led = true;
            let arrivals = Arc::clone(self);
            drop(runtime.spawn_blocking(move || arrivals.take_all()));
        }
    }

    /// Hashes and writes what is here, and what comes meanwhile, until nothing more is due. Blocks.
    fn take_all(&self) {
        let leading = Leading(self);
        loop {
            let mut desk = leading.0.desk();
            if !desk.is_due() {
                desk.led = false;
                return;
            }
            let mut taken = desk.take();
            drop(desk);
            hash(&mut taken);
            taken.iter_mut().for_each(Taken::write);
            leading.0.desk().give_back(taken);
            leading.0.taken.notify_waiters();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// That are neither hashed nor written, but for what the thread has.
    fn bytes(&self) -> usize {
        self.flows.values().map(|flow| flow.bytes).sum()
    }

    /// Everything that arrives has something to take, or at least as many as there are lanes; or it is too much, or too long.
    fn is_due(&self) -> bool {
        let (mut open, mut ready) = (0, 0);
        for flow in self.flows.values() {
            if let Stage::Urgent(_) = flow.stage {
                return true;
            }
            open += usize::from(matches!(flow.stage, Stage::Open | Stage::Complete(_)));
            ready += usize::from(flow.is_ready());
        }
        ready > 0 && (ready >= open.min(SIDE_BY_SIDE) || self.bytes() >= MUCH_BYTES)
    }

    /// As much of each as there is of all, so that no lane is empty before the others, and no more than the cache holds.
    fn take(&mut self) -> Vec<Taken> {
        let mut ready: Vec<_> = self.flows.iter_mut().filter(|(_, flow)| flow.is_ready()).collect();
        ready.truncate(SIDE_BY_SIDE);
        let all_have = ready.iter().filter(|(_, flow)| matches!(flow.stage, Stage::Open)).map(|(_, flow)| flow.bytes).min();
        let most = all_have.unwrap_or(MOST_BYTES).min(MOST_BYTES);
        ready.into_iter().map(|(number, flow)| flow.take(*number, most)).collect()
    }

    fn give_back(&mut self, taken: Vec<Taken>) {
        for Taken { number, to, at, md5, written, .. } in taken {
            drop(to);
            let Some(flow) = self.flows.get_mut(&number) else { continue };
            (flow.busy, flow.at, flow.md5) = (false, at, md5);
            if let Err(e) = written {
                flow.failed = Some(e);
                flow.pieces.clear();
                flow.bytes = 0;
            }
            let is_over = matches!(flow.stage, Stage::GivenUp | Stage::Complete(_) | Stage::Urgent(_)) && flow.bytes == 0;
            if is_over && let Some(flow) = self.flows.remove(&number) {
                flow.over();
            }
        }
    }
}

impl Flow {
    fn is_ready(&self) -> bool {
        match self.stage {
            Stage::New | Stage::GivenUp => false,
            Stage::Open => self.bytes >= ENOUGH_BYTES,
            Stage::Complete(_) | Stage::Urgent(_) => true,
        }
    }

    /// Gives away no more than so many bytes.
    fn take(&mut self, number: u64, most: usize) -> Taken {
        let (mut pieces, mut left) = (Vec::new(), most);
        while left > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > left {
                self.pieces.push_front(piece.split_off(left));
            }
            left -= piece.len();
            self.bytes -= piece.len();
            pieces.push(piece);
        }
        self.busy = true;
        Taken { number, to: Arc::clone(&self.to), at: self.at, pieces, md5: self.md5, written: Ok(()) }
    }

    fn over(self) {
        let Flow { to, md5, failed, stage, .. } = self;
        // Whoever hears of the end may want the temporary for himself.
        drop(to);
        if let Stage::Complete(tell) | Stage::Urgent(tell) = stage {
            // Whoever was stopped does not wait any more.
            let _ = tell.send(failed.map_or_else(|| Ok(md5.finish()), Err));
        }
    }
}

/// Hashes the pieces of all flows, side by side.
fn hash(taken: &mut [Taken]) {
    let mut lanes = Lanes::default();
    let mut begun: Vec<_> = taken.iter().map(|flow| flow.pieces.iter()).collect();
    for (number, pieces) in begun.iter_mut().enumerate() {
        if let Some(piece) = pieces.next() {
            lanes.put(taken[number].md5, Piece(number, piece.clone()));
        }
    }
    let mut digests: Vec<_> = taken.iter().map(|flow| flow.md5).collect();
    while !lanes.is_empty() {
        for (Piece(number, _), md5) in lanes.step() {
            digests[number] = md5;
            if let Some(next) = begun[number].next() {
                lanes.put(md5, Piece(number, next.clone()));
            }
        }
    }
    for (flow, md5) in taken.iter_mut().zip(digests) {
        flow.md5 = md5;
    }
}

impl Taken {
    /// Writes the pieces.
    fn write(&mut self) {
        for piece in self.pieces.drain(..) {
            if self.written.is_ok() {
                self.written = self.to.write_at(self.at, &piece);
                self.at += piece.len() as u64;
            }
        }
    }
}

impl Arriving {
    /// Bytes that came.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next piece. False: what came before could not be written, and [`Arriving::end`] says why.
    pub(super) fn push(&mut self, piece: Bytes) -> bool {
        self.bytes += piece.len() as u64;
        let mut desk = self.arrivals.desk();
        let Some(flow) = desk.flows.get_mut(&self.number) else { return false };
        if flow.failed.is_some() {
            return false;
        }
        let (before, now) = (flow.bytes, flow.bytes + piece.len());
        flow.stage = Stage::Open;
        flow.bytes = now;
        flow.pieces.push_back(piece);
        if before / ENOUGH_BYTES < now / ENOUGH_BYTES {
            self.arrivals.lead(&mut desk);
        }
        true
    }

    /// Waits until all that came is written, and gives its MD5.
    pub(super) async fn end(self) -> Result<Result<Md5, PlaceError>, Error> {
        let (tell, mut told) = channel();
        self.complete(Stage::Complete(tell));
        let told = match tokio::time::timeout(PATIENCE, &mut told).await {
            Ok(told) => told,
            Err(_) => {
                self.hurry();
                told.await
            }
        };
        told.map_err(|_| Error::Worker("the thread that writes what arrives ended".into()))
    }

    /// What is here does not wait for others any more.
    fn hurry(&self) {
        let mut desk = self.arrivals.desk();
        if let Some(flow) = desk.flows.get_mut(&self.number) {
            flow.stage = match std::mem::replace(&mut flow.stage, Stage::GivenUp) {
                Stage::Complete(tell) => Stage::Urgent(tell),
                other => other,
            };
            self.arrivals.lead(&mut desk);
        }
    }

    /// Nothing more comes.
    fn complete(&self, stage: Stage) {
        let mut desk = self.arrivals.desk();
        let Some(flow) = desk.flows.get_mut(&self.number) else { return };
        let all_taken = flow.bytes == 0 || matches!(stage, Stage::GivenUp);
        flow.stage = stage;
        if all_taken {
            flow.pieces.clear();
            flow.bytes = 0;
        }
        if all_taken && !flow.busy {
            let flow = desk.flows.remove(&self.number);
            drop(desk);
            if let Some(flow) = flow {
                flow.over();
            }
            self.arrivals.taken.notify_waiters();
        } else {
            self.arrivals.lead(&mut desk);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.complete(Stage::GivenUp);
    }
}

/// Sees to it that nobody waits for a thread that has panicked.
struct Leading<'a>(&'a Arrivals);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut desk = self.0.desk();
            desk.led = false;
            desk.flows.clear();
            self.0.taken.notify_waiters();
        }
    }
}
