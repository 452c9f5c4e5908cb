//! Bounds on what is in flight: requests, bytes of buffers, and bytes per second.

use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::buffers::Buffers;
use super::{Ask, Error};

/// The bounds of one run.
pub(super) struct Pace {
    slots: Semaphore,
    memory_kib: Semaphore,
    most_kib: u32,
    bytes_per_second: Option<u64>,
    next: Mutex<Instant>,
    /// Where buffers come from and go back to.
    pub(super) buffers: Buffers,
}

/// A place in flight, with the memory that goes with it; given back when dropped.
pub(super) struct Permit<'a> {
    _slot: SemaphorePermit<'a>,
    _memory: SemaphorePermit<'a>,
}

impl Pace {
    /// The bounds that a run asked for.
    pub(super) fn new(ask: &Ask) -> Pace {
        let most_kib = u32::try_from(ask.max_memory / 1024).unwrap_or(u32::MAX).clamp(16 << 10, 1 << 28);
        Pace {
            slots: Semaphore::new(ask.jobs.max(1)),
            memory_kib: Semaphore::new(most_kib as usize),
            most_kib,
            bytes_per_second: ask.bytes_per_second.filter(|rate| *rate > 0),
            next: Mutex::new(Instant::now()),
            buffers: Buffers::default(),
        }
    }

    /// Waits for a request's turn with a buffer of `bytes`. A buffer larger than all memory waits until it is alone.
    pub(super) async fn turn(&self, bytes: u64) -> Result<Permit<'_>, Error> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.most_kib);
        let closed = |_| Error::Worker("the run's bounds are gone".into());
        let memory = self.memory_kib.acquire_many(kib).await.map_err(closed)?;
        let slot = self.slots.acquire().await.map_err(closed)?;
        if let Some(rate) = self.bytes_per_second {
            let mut next = self.next.lock().await;
            let start = (*next).max(Instant::now());
            *next = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
            drop(next);
            tokio::time::sleep_until(start).await;
        }
        Ok(Permit { _slot: slot, _memory: memory })
    }
}
