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
const FULL_BYTES: usize = 16 << 20;
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{LazyLock, Weak};
    use std::task::{Context, Poll, Wake};

    use futures_util::future::{join, join_all};
    use proptest::prelude::*;
    use tokio::task::yield_now;

    use super::*;
    use crate::digest::digest_one;
    use crate::engine::Stop;
    use crate::engine::pace::Pace;
    use crate::local::mount::Mount;
    use crate::local::place::Workplace;

    const KIB: usize = 1 << 10;
    /// The longest piece.
    const LONGEST: usize = 600 * KIB;

    /// Where a run writes.
    struct Site {
        arrivals: Arc<Arrivals>,
        workplace: Workplace,
        _dir: tempfile::TempDir,
    }

    impl Site {
        /// Of a run that may hold so many bytes in memory.
        fn within(memory: u64) -> Site {
            let dir = tempfile::tempdir().unwrap();
            let workplace = Workplace::create(&Mount::open(dir.path()).unwrap(), "op").unwrap();
            let arrivals = Arc::clone(&Pace::new(SIDE_BY_SIDE, memory, Stop::default()).arrivals);
            Site { arrivals, workplace, _dir: dir }
        }

        fn temp(&self) -> Arc<Temp> {
            Arc::new(self.workplace.temp(0).unwrap())
        }

        /// The thread is at work, on something else.
        fn hold(&self) {
            self.arrivals.desk().led = true;
        }

        /// It is not any more, and looks at what is here.
        fn go_on(&self) {
            let mut desk = self.arrivals.desk();
            desk.led = false;
            self.arrivals.lead(&mut desk);
        }

        fn is_led(&self) -> bool {
            self.arrivals.desk().led
        }

        fn bytes(&self) -> usize {
            self.arrivals.desk().bytes()
        }
    }

    fn site() -> (Site, Arc<Temp>) {
        let site = Site::within(u64::MAX);
        let temp = site.temp();
        (site, temp)
    }

    /// So many bytes, which look like no others.
    fn content(from: usize, len: usize) -> Bytes {
        static ALL: LazyLock<Bytes> = LazyLock::new(|| {
            let words = (1..=(2 * LONGEST / 8) as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ n);
            words.flat_map(|word| word.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()).collect()
        });
        ALL.slice(from..from + len)
    }

    fn held(temp: &Temp, at: u64, len: usize) -> Vec<u8> {
        let mut buffer = vec![0; len];
        temp.read_at(at, &mut buffer).unwrap();
        buffer
    }

    /// What must not wait for ever.
    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), what).await.expect("nobody waits for ever")
    }

    async fn md5(arriving: Arriving) -> Md5 {
        soon(arriving.end()).await.unwrap().unwrap()
    }

    /// Begins, and says whether it waits.
    async fn waits<T>(mut what: Pin<&mut impl Future<Output = T>>) -> bool {
        poll_fn(|cx| Poll::Ready(what.as_mut().poll(cx).is_pending())).await
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Ends,
        /// Given up after so many pieces.
        GivenUp(usize),
        /// The same, and begun anew when nothing is left of any in this temporary.
        BegunAnew(usize),
        /// Ended after so many pieces, and begun anew.
        Restarted(usize),
    }

    /// What comes, in pieces: how often others are let go first, where its content is from, and how long it is.
    #[derive(Clone, Debug)]
    struct Comes {
        to: usize,
        pieces: Vec<(u8, usize, usize)>,
        fate: Fate,
    }

    impl Comes {
        fn len(&self) -> usize {
            self.pieces.iter().map(|(.., len)| len).sum()
        }

        /// What is there when all has come.
        fn whole(&self) -> Vec<u8> {
            self.pieces.iter().flat_map(|(_, from, len)| content(*from, *len)).collect()
        }

        /// Has so many pieces arrive, with the content from so much later on. Returns it.
        async fn arrive(&self, arriving: &mut Arriving, count: usize, later: usize) -> Vec<u8> {
            let mut whole = Vec::new();
            for (others, from, len) in self.pieces.iter().take(count) {
                for _ in 0..*others {
                    yield_now().await;
                }
                let piece = content(from + later, *len);
                whole.extend_from_slice(&piece);
                assert!(arriving.push(piece));
                assert_eq!(arriving.bytes(), whole.len() as u64);
            }
            whole
        }

        /// All of it, as its fate is. What was of no use had another content.
        async fn go(&self, arrivals: &Arc<Arrivals>, temp: Arc<Temp>, at: u64) {
            let mut arriving = arrivals.begin(&temp, at);
            match self.fate {
                Fate::Ends => {}
                Fate::GivenUp(count) => {
                    self.arrive(&mut arriving, count, 1).await;
                    return;
                }
                Fate::BegunAnew(count) => {
                    self.arrive(&mut arriving, count, 1).await;
                    drop(arriving);
                    soon(arrivals.none_left(&temp)).await;
                    arriving = arrivals.begin(&temp, at);
                }
                Fate::Restarted(count) => {
                    let came = self.arrive(&mut arriving, count, 1).await;
                    assert_eq!(md5(arriving).await, digest_one(&came));
                    assert!(held(&temp, at, came.len()) == came, "all that came is written when the end is told");
                    arriving = arrivals.begin(&temp, at);
                }
            }
            let came = self.arrive(&mut arriving, usize::MAX, 0).await;
            assert_eq!(md5(arriving).await, digest_one(&came));
            assert!(held(&temp, at, came.len()) == came, "all that came is written when the end is told");
        }
    }

    fn comes() -> impl Strategy<Value = Comes> {
        let len = prop_oneof![
            4 => prop::sample::select(vec![0, 1, 63, 64, 65]),
            4 => 0..2000_usize,
            1 => prop::sample::select(vec![ENOUGH_BYTES - 1, ENOUGH_BYTES, MOST_BYTES, MOST_BYTES + 1]),
            1 => 0..LONGEST,
        ];
        let pieces = prop::collection::vec((0..4_u8, 0..LONGEST, len), 0..6);
        let fate = prop_oneof![
            3 => Just(Fate::Ends),
            1 => (0..6_usize).prop_map(Fate::GivenUp),
            1 => (0..6_usize).prop_map(Fate::BegunAnew),
            1 => (0..6_usize).prop_map(Fate::Restarted),
        ];
        (0..3_usize, pieces, fate).prop_map(|(to, pieces, fate)| Comes { to, pieces, fate })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

        #[test]
        fn however_contents_arrive_each_is_where_it_belongs_with_its_md5(all in prop::collection::vec(comes(), 1..=20)) {
            let (site, runtime) = (Site::within(u64::MAX), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
            let temps = [site.temp(), site.temp(), site.temp()];
            // One right after the other, so that nothing may go beyond its end.
            let (mut ends, mut places) = ([0; 3], Vec::new());
            for comes in &all {
                places.push(ends[comes.to]);
                ends[comes.to] += comes.len() as u64;
            }
            runtime.block_on(async {
                join_all(all.iter().zip(&places).map(|(comes, at)| comes.go(&site.arrivals, Arc::clone(&temps[comes.to]), *at))).await;
                for temp in &temps {
                    soon(site.arrivals.none_left(temp)).await;
                }
            });
            prop_assert!(site.arrivals.desk().flows.is_empty());
            let temps = temps.map(|temp| Arc::into_inner(temp).expect("nothing else holds it"));
            for (comes, at) in all.iter().zip(places).filter(|(comes, _)| !matches!(comes.fate, Fate::GivenUp(_))) {
                prop_assert!(held(&temps[comes.to], at, comes.len()) == comes.whole(), "{:?} at {}", comes, at);
            }
        }
    }

    #[tokio::test]
    async fn what_comes_after_one_that_was_given_up_stays() {
        let (site, temp) = site();
        let elsewhere = site.temp();
        let (old, new) = (content(1, ENOUGH_BYTES + 5), content(2, 1000));
        let mut other = site.arrivals.begin(&elsewhere, 0);
        assert!(other.push(content(0, 1)));
        let mut given_up = site.arrivals.begin(&temp, 7);
        site.hold();
        assert!(given_up.push(old.clone()));
        let mut taken = site.arrivals.desk().take();
        assert!(given_up.push(content(3, ENOUGH_BYTES)));
        drop(given_up);
        assert_eq!(site.bytes(), 1, "what is not taken is forgotten");
        let mut none_left = Box::pin(site.arrivals.none_left(&temp));
        assert!(waits(none_left.as_mut()).await, "the thread has its beginning");
        // The thread ends what it has begun.
        hash(&mut taken);
        taken.iter_mut().for_each(Taken::write);
        assert!(waits(none_left.as_mut()).await);
        site.arrivals.desk().give_back(taken);
        site.arrivals.taken.notify_waiters();
        soon(none_left).await;
        assert_eq!(held(&temp, 7, old.len()), old);
        site.go_on();
        let mut arriving = site.arrivals.begin(&temp, 7);
        assert!(arriving.push(new.clone()));
        assert_eq!(md5(arriving).await, digest_one(&new));
        assert_eq!(held(&temp, 7, old.len()), [&new[..], &old[new.len()..]].concat());
        assert!(Arc::into_inner(temp).is_some());
        drop(other);
        soon(site.arrivals.none_left(&elsewhere)).await;
    }

    #[tokio::test]
    async fn one_that_is_given_up_before_it_is_taken_is_not_written() {
        let (site, temp) = site();
        let mut given_up = site.arrivals.begin(&temp, 0);
        site.hold();
        assert!(given_up.push(content(0, ENOUGH_BYTES)));
        let mut none_left = Box::pin(site.arrivals.none_left(&temp));
        assert!(waits(none_left.as_mut()).await);
        drop(given_up);
        soon(none_left).await;
        site.go_on();
        let temp = Arc::into_inner(temp).expect("nothing else holds it");
        assert!(temp.read_at(0, &mut [0]).is_err(), "it is empty");
    }

    #[tokio::test]
    async fn nothing_more_is_read_until_there_is_room() {
        let (site, temp) = site();
        let mut arriving = site.arrivals.begin(&temp, 0);
        site.hold();
        let (piece, mut expected) = (content(0, MOST_BYTES), Vec::new());
        for _ in 0..FULL_BYTES / MOST_BYTES {
            let piece = if site.bytes() + MOST_BYTES == FULL_BYTES { piece.slice(1..) } else { piece.clone() };
            expected.extend_from_slice(&piece);
            assert!(arriving.push(piece));
        }
        assert_eq!(site.bytes(), FULL_BYTES - 1);
        let (polled, (come, comes)) = (AtomicUsize::new(0), channel());
        let mut comes = pin!(comes);
        let mut read = pin!(site.arrivals.while_there_is_room(poll_fn(|cx| {
            polled.fetch_add(1, Ordering::Relaxed);
            comes.as_mut().poll(cx)
        })));
        assert!(waits(read.as_mut()).await && polled.load(Ordering::Relaxed) == 1, "there is room");
        expected.push(piece[0]);
        assert!(arriving.push(piece.slice(..1)));
        come.send(()).unwrap();
        assert!(waits(read.as_mut()).await && polled.load(Ordering::Relaxed) == 1, "there is none, though something comes");
        site.go_on();
        assert!(soon(read).await.is_ok() && polled.load(Ordering::Relaxed) == 2);
        assert!(site.bytes() < FULL_BYTES);
        assert_eq!(md5(arriving).await, digest_one(&expected));
    }

    #[tokio::test]
    async fn what_is_given_up_makes_room() {
        let (site, temp) = site();
        let mut arriving = site.arrivals.begin(&temp, 0);
        site.hold();
        (0..FULL_BYTES / MOST_BYTES).for_each(|_| assert!(arriving.push(content(0, MOST_BYTES))));
        let arrivals = Arc::clone(&site.arrivals);
        let read = tokio::spawn(async move { arrivals.while_there_is_room(async {}).await });
        yield_now().await;
        assert!(!read.is_finished());
        drop(arriving);
        assert!(soon(read).await.is_ok() && site.bytes() == 0);
    }

    #[tokio::test]
    async fn many_that_come_faster_than_they_are_written_all_end_in_little_memory() {
        for (memory, full_bytes, piece) in [(u64::MAX, FULL_BYTES, content(3, 300 * KIB)), (0, 8 << 20, content(3, 64 * KIB))] {
            let site = Site::within(memory);
            let (temp, most, whole) = (site.temp(), AtomicUsize::new(0), piece.repeat((2 << 20) / piece.len() + 1));
            site.hold();
            let all = join_all((0..SIDE_BY_SIDE).map(|number| {
                let mut arriving = site.arrivals.begin(&temp, (number * whole.len()) as u64);
                let (piece, whole, site, most) = (&piece, &whole, &site, &most);
                async move {
                    let read = async {
                        while arriving.bytes() < whole.len() as u64 {
                            assert!(arriving.push(piece.clone()));
                            most.fetch_max(site.bytes(), Ordering::Relaxed);
                            yield_now().await;
                        }
                    };
                    site.arrivals.while_there_is_room(read).await;
                    md5(arriving).await
                }
            }));
            let full = async {
                while site.bytes() < full_bytes {
                    yield_now().await;
                }
                site.go_on();
            };
            let (md5s, ()) = soon(join(all, full)).await;
            assert_eq!(md5s, [digest_one(&whole); SIDE_BY_SIDE]);
            assert!(most.into_inner() < full_bytes + piece.len());
            assert!(held(&temp, 0, SIDE_BY_SIDE * whole.len()).chunks(whole.len()).all(|held| held == whole));
        }
    }

    #[tokio::test]
    async fn what_waits_for_company_leaves_room_in_the_least_memory() {
        let site = Site::within(0);
        let temp = site.temp();
        let mut all: Vec<_> = (0..SIDE_BY_SIDE as u64).map(|number| site.arrivals.begin(&temp, number << 23)).collect();
        // As much as can be here while it is not time.
        all.iter_mut().for_each(|arriving| assert!(arriving.push(content(0, 1))));
        for _ in 0..(MUCH_BYTES / ENOUGH_BYTES - 1) {
            assert!(all[0].push(content(1, ENOUGH_BYTES)));
        }
        all.iter_mut().for_each(|arriving| assert!(arriving.push(content(1, ENOUGH_BYTES - 2))));
        assert!(!site.is_led() && site.bytes() == MUCH_BYTES - 1 + (SIDE_BY_SIDE - 1) * (ENOUGH_BYTES - 1));
        soon(site.arrivals.while_there_is_room(async { assert!(all[0].push(content(0, 1))) })).await;
        soon(async {
            while site.bytes() > MUCH_BYTES {
                yield_now().await;
            }
        })
        .await;
        drop(all.remove(0));
        let ended = join_all(all.into_iter().map(md5)).await;
        assert_eq!(ended, [digest_one(&content(0, ENOUGH_BYTES - 1)); SIDE_BY_SIDE - 1]);
    }

    #[tokio::test]
    async fn those_that_stand_still_hold_nobody_up() {
        let (site, temp) = site();
        let slow = site.temp();
        let still: Vec<_> = (1..SIDE_BY_SIDE)
            .map(|number| {
                let mut still = site.arrivals.begin(&slow, (number * KIB) as u64);
                assert!(still.push(content(number, KIB)));
                still
            })
            .collect();
        let (mut arriving, piece) = (site.arrivals.begin(&temp, 0), content(0, MOST_BYTES));
        let count = 2 * MUCH_BYTES / MOST_BYTES;
        for _ in 0..count {
            assert!(arriving.push(piece.clone()));
        }
        soon(async {
            while site.bytes() >= MUCH_BYTES {
                yield_now().await;
            }
        })
        .await;
        assert_eq!(md5(arriving).await, digest_one(&piece.repeat(count)));
        assert_eq!(site.bytes(), still.len() * KIB, "they are not taken along");
        let ended = join_all(still.into_iter().map(md5)).await;
        assert_eq!(ended, (1..SIDE_BY_SIDE).map(|number| digest_one(&content(number, KIB))).collect::<Vec<_>>());
    }

    /// Where no file system lets a file go on.
    const BEYOND: u64 = i64::MAX as u64;

    #[tokio::test]
    async fn what_cannot_be_written_tells_why_and_others_go_on() {
        let (site, temp) = site();
        let (mut cannot, mut can) = (site.arrivals.begin(&temp, BEYOND), site.arrivals.begin(&temp, 0));
        let (all, end) = (content(0, 2 * ENOUGH_BYTES), 10);
        assert!(cannot.push(all.clone()) && can.push(all.clone()));
        soon(async {
            while cannot.push(content(0, 1)) {
                yield_now().await;
            }
        })
        .await;
        assert!(!cannot.push(all.clone()) && can.push(all.slice(..end)));
        assert_eq!(site.arrivals.desk().flows[&cannot.number].bytes, 0, "nothing more is kept of it");
        let told = soon(cannot.end()).await.unwrap().unwrap_err();
        assert!(matches!(&told, PlaceError::Failed(e) if e.to_string().contains("cannot write")), "{told:?}");
        let expected = [&all[..], &all[..end]].concat();
        assert_eq!(md5(can).await, digest_one(&expected));
        assert!(held(&temp, 0, expected.len()) == expected);
        assert!(Arc::into_inner(temp).is_some());
    }

    #[tokio::test]
    async fn one_that_ends_before_it_is_written_still_tells_that_it_cannot_be() {
        let (site, temp) = site();
        for len in [1, ENOUGH_BYTES, MOST_BYTES + 1] {
            let mut cannot = site.arrivals.begin(&temp, BEYOND);
            assert!(cannot.push(content(0, len)));
            assert!(matches!(soon(cannot.end()).await, Ok(Err(PlaceError::Failed(_)))), "{len}");
        }
        assert!(Arc::into_inner(temp).is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_has_panicked() {
        let (site, temp) = site();
        let [mut ends, mut goes_on, mut given_up] = [0, 1, 2].map(|at| site.arrivals.begin(&temp, at));
        site.hold();
        assert!(ends.push(content(0, 1)) && goes_on.push(content(0, FULL_BYTES / 48)) && given_up.push(content(0, ENOUGH_BYTES)));
        (0..48).for_each(|_| assert!(goes_on.push(content(0, FULL_BYTES / 48))));
        let mut end = pin!(ends.end());
        let mut none_left = Box::pin(site.arrivals.none_left(&temp));
        let mut read = pin!(site.arrivals.while_there_is_room(async {}));
        assert!(waits(end.as_mut()).await && waits(none_left.as_mut()).await && waits(read.as_mut()).await);
        let panics = Arc::clone(&site.arrivals);
        let panicked = tokio::task::spawn_blocking(move || {
            let _leading = Leading(&panics);
            let _taken = panics.desk().take();
            panic!("as a bug would");
        });
        assert!(panicked.await.is_err());
        drop(given_up);
        assert!(matches!(soon(end).await, Err(Error::Worker(_))), "its owner hears of it");
        soon(join(none_left, read)).await;
        assert!(!goes_on.push(content(0, 1)) && matches!(soon(goes_on.end()).await, Err(Error::Worker(_))));
        let mut again = site.arrivals.begin(&temp, 0);
        assert!(again.push(content(9, ENOUGH_BYTES)));
        assert_eq!(md5(again).await, digest_one(&content(9, ENOUGH_BYTES)));
        assert!(Arc::into_inner(temp).is_some());
    }

    #[tokio::test]
    async fn one_that_is_complete_waits_for_others_but_not_for_long() {
        let (site, temp) = site();
        let [mut slow, mut small, empty] = [0, 10, 20].map(|at| site.arrivals.begin(&temp, at));
        assert!(slow.push(content(0, 10)) && small.push(content(10, 10)));
        assert_eq!(md5(empty).await, digest_one(b""), "there is nothing to wait for");
        let mut end = pin!(small.end());
        assert!(waits(end.as_mut()).await && !site.is_led(), "something else still arrives");
        assert_eq!(soon(end).await.unwrap().unwrap(), digest_one(&content(10, 10)));
        assert_eq!(held(&temp, 10, 10), content(10, 10));
        assert_eq!(site.bytes(), 10, "what still arrives is not taken along");
        assert_eq!(md5(slow).await, digest_one(&content(0, 10)));
        let temp = Arc::into_inner(temp).expect("nothing else holds it");
        assert_eq!(held(&temp, 0, 20), content(0, 20));
    }

    #[tokio::test]
    async fn those_that_are_complete_wait_for_nobody_when_nothing_else_arrives() {
        let (site, temp) = site();
        let [mut first, mut second, not_yet] = [0, 10, 20].map(|at| site.arrivals.begin(&temp, at));
        assert!(first.push(content(0, 10)) && second.push(content(10, 10)));
        site.hold();
        let (mut first, mut second) = (pin!(first.end()), pin!(second.end()));
        assert!(waits(first.as_mut()).await && !site.arrivals.desk().is_due());
        assert!(waits(second.as_mut()).await && site.arrivals.desk().is_due());
        site.go_on();
        let (first, second) = soon(join(first, second)).await;
        assert_eq!([first, second].map(|md5| md5.unwrap().unwrap()), [0, 10].map(|from| digest_one(&content(from, 10))));
        drop(not_yet);
        assert!(Arc::into_inner(temp).is_some());
    }

    /// Notes how many have the temporary when it is woken.
    struct Hears(Weak<Temp>, AtomicUsize);

    impl Wake for Hears {
        fn wake(self: Arc<Hears>) {
            self.1.store(self.0.strong_count(), Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn whoever_hears_of_the_end_has_the_temporary_for_himself() {
        let (site, temp) = site();
        for (at, len) in [(0, 10), (BEYOND, 10)] {
            let mut arriving = site.arrivals.begin(&temp, at);
            assert!(arriving.push(content(0, len)));
            site.hold();
            let hears = Arc::new(Hears(Arc::downgrade(&temp), AtomicUsize::new(0)));
            let mut end = pin!(arriving.end());
            assert!(end.as_mut().poll(&mut Context::from_waker(&Arc::clone(&hears).into())).is_pending());
            site.arrivals.take_all();
            assert_eq!(hears.1.load(Ordering::Relaxed), 1, "at {at}");
            assert_eq!(soon(end).await.unwrap().is_ok(), at == 0);
        }
    }

    #[tokio::test]
    async fn an_end_that_nobody_waits_for_any_more_gives_the_content_up() {
        let (site, temp) = site();
        let mut arriving = site.arrivals.begin(&temp, 0);
        site.hold();
        assert!(arriving.push(content(0, ENOUGH_BYTES)));
        {
            let mut end = pin!(arriving.end());
            assert!(waits(end.as_mut()).await);
        }
        soon(site.arrivals.none_left(&temp)).await;
        assert!(Arc::into_inner(temp).is_some());
    }
}
