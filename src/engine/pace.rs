//! Bounds on what is in flight: requests and bytes of buffers. Large buffers are used again, because an allocator
//! that many threads share keeps what they free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::arriving::Arrivals;
use super::hashing::Hashing;
use super::{Ask, Error, Stop};

/// Buffers from this size on count as large.
const LARGE_BYTES: u64 = 1 << 20;
/// Parts in flight: with 8 MiB each no more than 64 MiB, however large the files are.
const PARTS_IN_FLIGHT: usize = 8;
/// Large contents that arrive at once: as many as are hashed side by side.
const ARRIVING: usize = 16;
/// What one of them holds, in the middle.
const ARRIVING_BYTES: u64 = 2 << 20;
/// Large files in flight that go in one piece, of 16 MiB at most: some are filled and hashed while the others are sent.
const LARGE_IN_FLIGHT: usize = 12;
/// Large buffers that are being sent: enough to fill a fast line.
const LARGE_ON_THEIR_WAY: usize = 8;
/// What the buffers that wait to be used again may hold.
const IDLE_BYTES: usize = 64 << 20;

/// The bounds of one run.
pub(super) struct Pace {
    slots: Semaphore,
    parts: Semaphore,
    arriving: Semaphore,
    large: Semaphore,
    way: Semaphore,
    memory_kib: Semaphore,
    most_kib: u32,
    idle: Arc<Idle>,
    /// Where the buffers are hashed.
    pub(super) hashing: Arc<Hashing>,
    /// Where large contents are hashed and written while they arrive.
    pub(super) arrivals: Arc<Arrivals>,
    stop: Stop,
}

/// A place in flight, with the memory that goes with it; given back when dropped.
pub(super) struct Permit<'a> {
    _slot: SemaphorePermit<'a>,
    _large: Option<SemaphorePermit<'a>>,
    _memory: SemaphorePermit<'a>,
}

impl Pace {
    /// The bounds that a run asked for; who waits for a turn hears a stop.
    pub(super) fn of(ask: &Ask, stop: Stop) -> Pace {
        Pace::new(ask.jobs.most(), ask.max_memory, stop)
    }

    /// So many requests, and bytes of memory, at once.
    pub(super) fn new(jobs: usize, max_memory: u64, stop: Stop) -> Pace {
        // The rest is for what is no buffer.
        let most_kib = u32::try_from(max_memory / 4 * 3 / 1024).unwrap_or(u32::MAX).clamp(16 << 10, 1 << 28);
        Pace {
            slots: Semaphore::new(jobs.max(1)),
            parts: Semaphore::new(PARTS_IN_FLIGHT),
            arriving: Semaphore::new(ARRIVING),
            large: Semaphore::new(LARGE_IN_FLIGHT),
            way: Semaphore::new(LARGE_ON_THEIR_WAY),
            memory_kib: Semaphore::new(most_kib as usize),
            most_kib,
            idle: Arc::default(),
            hashing: Arc::default(),
            arrivals: Arrivals::within(u64::from(most_kib) << 10),
            stop,
        }
    }

    /// Waits for the turn of a request that moves a whole file, in a buffer of `bytes`. One larger than all memory waits until it is alone.
    pub(super) async fn turn(&self, bytes: u64) -> Result<Permit<'_>, Error> {
        let large = (bytes >= LARGE_BYTES).then_some(&self.large);
        self.stop.or(self.next_turn(large, bytes)).await.ok_or(Error::Stopped)?
    }

    /// The same for a part of a file.
    pub(super) async fn part_turn(&self, bytes: u64) -> Result<Permit<'_>, Error> {
        self.part_turn_with(bytes).await
    }

    /// The same for what is written while it arrives, and of which little is held.
    pub(super) async fn arriving_turn(&self, bytes: u64) -> Result<Permit<'_>, Error> {
        self.stop.or(self.next_turn(Some(&self.arriving), bytes.min(ARRIVING_BYTES))).await.ok_or(Error::Stopped)?
    }

    /// The same for a part of which no more than `memory` bytes are held at once.
    pub(super) async fn part_turn_with(&self, memory: u64) -> Result<Permit<'_>, Error> {
        let large = (memory >= LARGE_BYTES).then_some(&self.parts);
        self.stop.or(self.next_turn(large, memory)).await.ok_or(Error::Stopped)?
    }

    async fn next_turn<'a>(&'a self, large: Option<&'a Semaphore>, memory: u64) -> Result<Permit<'a>, Error> {
        let kib = u32::try_from(memory.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.most_kib);
        let closed = |_| Error::Worker("the run's bounds are gone".into());
        let large = match large {
            Some(large) => Some(large.acquire().await.map_err(closed)?),
            None => None,
        };
        let memory = self.memory_kib.acquire_many(kib).await.map_err(closed)?;
        let slot = self.slots.acquire().await.map_err(closed)?;
        Ok(Permit { _slot: slot, _large: large, _memory: memory })
    }

    /// Waits until a buffer of `bytes` that is filled and hashed may be sent; until then others need not be hashed.
    pub(super) async fn way(&self, bytes: u64) -> Result<Option<SemaphorePermit<'_>>, Error> {
        if bytes < LARGE_BYTES {
            return Ok(None);
        }
        let _ready = self.hashing.ready();
        let way = self.stop.or(self.way.acquire()).await.ok_or(Error::Stopped)?;
        way.map(Some).map_err(|_| Error::Worker("the run's bounds are gone".into()))
    }

    /// A buffer with room for `bytes`; what it holds is of no meaning.
    pub(super) fn buffer(&self, bytes: u64) -> Buffer {
        let len = usize::try_from(bytes).unwrap_or(0);
        let vec = if bytes >= LARGE_BYTES { self.idle.take(len) } else { Vec::with_capacity(len) };
        Buffer { vec, idle: Arc::clone(&self.idle) }
    }
}

/// Bytes of one request; a large one is used again when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) vec: Vec<u8>,
    idle: Arc<Idle>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.vec
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.vec.capacity() as u64 >= LARGE_BYTES {
            self.idle.give(std::mem::take(&mut self.vec));
        }
    }
}

/// Large buffers that wait to be used again.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<Vec<u8>>>);

impl Idle {
    /// The smallest that is large enough, else a new one in place of the smallest.
    fn take(&self, len: usize) -> Vec<u8> {
        let mut idle = self.locked();
        idle.sort_unstable_by_key(Vec::capacity);
        let fits = idle.iter().position(|vec| vec.capacity() >= len);
        if fits.is_none() && !idle.is_empty() {
            idle.remove(0);
        }
        match fits {
            Some(at) => idle.remove(at),
            None => Vec::with_capacity(len),
        }
    }

    fn give(&self, vec: Vec<u8>) {
        let mut idle = self.locked();
        if idle.iter().map(Vec::capacity).sum::<usize>() + vec.capacity() <= IDLE_BYTES {
            idle.push(vec);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_used_again_and_not_hoarded() {
        let idle = Arc::new(Idle::default());
        let lent = |len: usize| Buffer { vec: idle.take(len), idle: Arc::clone(&idle) };
        let kept = || idle.locked().iter().map(|vec| vec.capacity() >> 20).collect::<Vec<_>>();
        drop((lent(16 << 20), lent(8 << 20)));
        assert_eq!(kept(), [16, 8]);
        let again = lent(7 << 20);
        assert_eq!((again.vec.capacity() >> 20, kept()), (8, vec![16]));
        drop(again);
        drop(lent(32 << 20));
        assert_eq!(kept(), [16, 32], "the smallest made room");
        drop(lent(40 << 20));
        assert_eq!(kept(), [32], "no more than the limit");
    }
}
