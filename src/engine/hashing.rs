//! Hashes complete buffers: those that are there at the same time go side by side through the lanes of one thread. A buffer waits for
//! company, a moment at most, while nobody is in need of its digest. Reads and writes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot::{Sender, channel};

use super::errands::Errands;
use super::pace::Buffer;
use super::{Error, blocking};
use crate::digest::{Begun, Lanes, Md5, digest_one};

/// Smaller buffers are hashed by themselves: handing them over and back costs as much as lanes save.
const ALONE_BYTES: usize = 64 << 10;
/// So many do not wait for more: side by side they cost a fraction of what each costs alone.
const ENOUGH: usize = 8;
/// The longest wait for company.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where a run hashes.
#[derive(Default)]
pub(super) struct Hashing {
    desk: Mutex<Desk>,
    /// For what is small: it is filled, hashed and perhaps written in one go.
    pub(super) errands: Arc<Errands>,
}

#[derive(Default)]
struct Desk {
    /// A thread hashes, and looks at what waits.
    led: bool,
    waiting: VecDeque<Job>,
    /// Buffers that are being filled.
    coming: usize,
    /// Buffers that are hashed, and wait for what comes next.
    ready: usize,
}

struct Job {
    buffer: Buffer,
    tell: Sender<(Buffer, Md5)>,
}

/// Says until it is dropped that there is no hurry; see [`Hashing::coming`] and [`Hashing::ready`].
pub(super) struct NoHurry {
    hashing: Arc<Hashing>,
    counts: fn(&mut Desk) -> &mut usize,
}

impl AsRef<[u8]> for Job {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.vec
    }
}

impl Desk {
    /// Whoever waits for digests has none in stock, and at least as many are here as may still come; or the lanes can be filled.
    fn is_due(&self) -> bool {
        self.waiting.len() >= ENOUGH || (self.ready == 0 && !self.waiting.is_empty() && self.waiting.len() >= self.coming)
    }
}

impl Hashing {
    /// Another buffer is being filled, and will be brought here: those that are here may wait for it.
    pub(super) fn coming(self: &Arc<Hashing>) -> NoHurry {
        self.no_hurry(|desk| &mut desk.coming)
    }

    /// A hashed buffer waits for its turn: until it has gone, nobody is in need of another one.
    pub(super) fn ready(self: &Arc<Hashing>) -> NoHurry {
        self.no_hurry(|desk| &mut desk.ready)
    }

    fn no_hurry(self: &Arc<Hashing>, counts: fn(&mut Desk) -> &mut usize) -> NoHurry {
        *counts(&mut self.desk()) += 1;
        NoHurry { hashing: Arc::clone(self), counts }
    }

    /// What `fill` puts into a buffer of `bytes`, as it is to be sent, its MD5, and what else `fill` tells. The inner error is that of `fill`, which may block.
    pub(super) async fn filled<T: Send + 'static, E: Send + 'static>(
        self: &Arc<Hashing>,
        bytes: u64,
        fill: impl FnOnce() -> Result<(Buffer, T), E> + Send + 'static,
    ) -> Result<Result<(Bytes, Md5, T), E>, Error> {
        let hashed = if is_small(bytes) {
            self.errands.run(move || fill().map(|(buffer, told)| (digest_here(buffer), told))).await?
        } else {
            let coming = self.coming();
            let filled = blocking(fill).await?;
            drop(coming);
            match filled {
                Ok((buffer, told)) => Ok((self.digest(buffer).await?, told)),
                Err(e) => Err(e),
            }
        };
        Ok(hashed.map(|((buffer, md5), told)| (Bytes::from_owner(buffer), md5, told)))
    }

    /// The MD5 of a complete buffer, and the buffer.
    pub(super) async fn digest(self: &Arc<Hashing>, buffer: Buffer) -> Result<(Buffer, Md5), Error> {
        if is_small(buffer.vec.len() as u64) {
            return self.errands.run(move || digest_here(buffer)).await;
        }
        let (tell, mut told) = channel();
        self.desk().waiting.push_back(Job { buffer, tell });
        self.begin(Desk::is_due);
        let told = match tokio::time::timeout(PATIENCE, &mut told).await {
            Ok(told) => told,
            Err(_) => {
                self.begin(|_| true);
                told.await
            }
        };
        told.map_err(|_| Error::Worker("the thread that hashes ended".into()))
    }

    /// Has what waits hashed, if it is time and no thread does so already.
    fn begin(self: &Arc<Hashing>, is_due: impl Fn(&Desk) -> bool) {
        let mut desk = self.desk();
        // Without a runtime nobody waits any more.
        if !desk.led
            && is_due(&desk)
            && let Ok(runtime) = Handle::try_current()
        {
            desk.led = true;
            let hashing = Arc::clone(self);
            drop(runtime.spawn_blocking(move || hashing.lead()));
        }
    }

    /// Hashes what waits, and what comes meanwhile, until nothing more is due.
    fn lead(&self) {
        let leading = Leading(self);
        let (mut lanes, mut due) = (Lanes::<Job>::default(), true);
        loop {
            let mut desk = leading.0.desk();
            // A lane that is free costs nothing more.
            due |= !lanes.is_empty() || desk.is_due();
            while due
                && lanes.has_room()
                && let Some(job) = desk.waiting.pop_front()
            {
                lanes.put(Begun::default(), job);
            }
            if lanes.is_empty() {
                desk.led = false;
                return;
            }
            drop(desk);
            for (Job { buffer, tell }, md5) in lanes.step() {
                // Whoever was stopped does not wait any more.
                let _ = tell.send((buffer, md5.finish()));
            }
            due = false;
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The MD5 of a buffer that is too small to be handed over. Blocks.
pub(super) fn digest_here(buffer: Buffer) -> (Buffer, Md5) {
    let md5 = digest_one(&buffer.vec);
    (buffer, md5)
}

/// True for a buffer that the thread that has it anyway should hash.
pub(super) fn is_small(bytes: u64) -> bool {
    bytes < ALONE_BYTES as u64
}

impl Drop for NoHurry {
    fn drop(&mut self) {
        *(self.counts)(&mut self.hashing.desk()) -= 1;
        self.hashing.begin(Desk::is_due);
    }
}

/// Sees to it that nobody waits for a thread that has panicked.
struct Leading<'a>(&'a Hashing);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut desk = self.0.desk();
            desk.led = false;
            desk.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use futures_util::future::join_all;

    use super::*;
    use crate::engine::Stop;
    use crate::engine::pace::Pace;

    fn buffer(pace: &Pace, len: usize, byte: u8) -> Buffer {
        let mut buffer = pace.buffer(len as u64);
        buffer.vec.clear();
        buffer.vec.resize(len, byte);
        buffer
    }

    /// Begins, and says whether it waits.
    async fn waits<T>(mut digest: Pin<&mut impl Future<Output = T>>) -> bool {
        poll_fn(|cx| Poll::Ready(digest.as_mut().poll(cx).is_pending())).await
    }

    /// True when what waited is being hashed, or is already.
    fn begun(pace: &Pace) -> bool {
        let desk = pace.hashing.desk();
        desk.led || desk.waiting.is_empty()
    }

    fn pace() -> Pace {
        Pace::new(8, 64 << 20, Stop::default())
    }

    #[tokio::test]
    async fn whatever_many_bring_at_once_each_gets_its_own_back() {
        let pace = pace();
        let all = (0..60_u8).map(|number| {
            let len = [0, 4096, ALONE_BYTES - 1, ALONE_BYTES, 300_001, 1 << 20][usize::from(number) % 6];
            let (brought, hashing) = (buffer(&pace, len, number), pace.hashing.clone());
            async move {
                let (content, expected) = (brought.vec.clone(), digest_one(&brought.vec));
                let (back, md5) = hashing.digest(brought).await.unwrap();
                assert!(back.vec == content && md5 == expected, "{len} bytes of {number}");
            }
        });
        join_all(all).await;
        assert!(pace.hashing.desk().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_buffer_waits_for_as_many_as_may_come_and_for_none_when_it_is_needed() {
        let (pace, len) = (pace(), ALONE_BYTES);
        let (first, second) = (pace.hashing.coming(), pace.hashing.coming());
        let mut brought = pin!(pace.hashing.digest(buffer(&pace, len, 1)));
        assert!(waits(brought.as_mut()).await);
        assert_eq!(pace.hashing.desk().waiting.len(), 1, "one is here and two may come");
        drop(first);
        assert!(begun(&pace), "as many are here as may come");
        brought.await.unwrap();
        drop(second);
        let ready = pace.hashing.ready();
        let mut brought = pin!(pace.hashing.digest(buffer(&pace, len, 2)));
        assert!(waits(brought.as_mut()).await && pace.hashing.desk().waiting.len() == 1, "there is one in stock");
        drop(ready);
        assert!(begun(&pace), "now there is none");
        brought.await.unwrap();
    }

    #[tokio::test]
    async fn a_buffer_waits_for_no_more_than_fill_the_lanes_and_never_for_long() {
        let (pace, len) = (pace(), ALONE_BYTES);
        let _never = pace.hashing.ready();
        let mut all = pin!(join_all((0..ENOUGH).map(|_| pace.hashing.digest(buffer(&pace, len, 3)))));
        assert!(waits(all.as_mut()).await && begun(&pace));
        assert!(all.await.into_iter().all(|done| done.is_ok()));
        assert!(pace.hashing.digest(buffer(&pace, len, 4)).await.is_ok(), "though nobody ever takes what is in stock");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_has_panicked() {
        let pace = pace();
        let hashing = pace.hashing.clone();
        hashing.desk().led = true;
        let mut left = pin!(hashing.digest(buffer(&pace, ALONE_BYTES, 1)));
        assert!(waits(left.as_mut()).await);
        let panics = hashing.clone();
        let panicked = tokio::task::spawn_blocking(move || {
            let _leading = Leading(&panics);
            panic!("as a bug would");
        });
        assert!(panicked.await.is_err());
        assert!(left.await.is_err(), "its owner hears of it");
        assert!(hashing.digest(buffer(&pace, ALONE_BYTES, 2)).await.is_ok());
    }
}
