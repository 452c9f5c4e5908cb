//! What a run needs before its first transfer: what the store honours, the lease where it honours nothing, the journal. Transfers nothing.

use std::sync::Arc;

use super::Work;
use super::hold::keeps_elsewhere;
use crate::engine::lease;
use crate::engine::{Error, blocking};
use crate::local::lock::{LockError, now};
use crate::local::state::Journal;
use crate::plan::Direction;
use crate::profile::Profile;
use crate::remote::object::Enforce;

impl Work<'_> {
    /// What a run needs before its first transfer.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if self.plan.is_empty() {
            return Ok(());
        }
        if self.plan.direction == Direction::Upload {
            self.learn_conditions().await?;
            if self.enforce == Enforce::Head {
                self.lease = Some(lease::take(self.ends, &self.operation).await?);
            }
        }
        loop {
            let (mount, bucket, op) = (self.ends.mount.clone(), self.ends.bucket.clone(), self.operation.clone());
            let create = match self.plan.direction {
                Direction::Upload => Journal::create,
                Direction::Download => Journal::of_landings,
            };
            let journal = blocking(move || create(&mount, bucket.name(), bucket.prefix().as_str(), &op)).await;
            match journal.and_then(|created| Ok(created?)) {
                Ok(journal) => {
                    self.journal = Some(Arc::new(journal));
                    break;
                }
                Err(e) if keeps_elsewhere(&self.ends.mount, self.plan.direction, &e) => {}
                Err(e) => {
                    self.give_lease_back().await;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Whether the store honours conditions on writes: remembered, or asked.
    async fn learn_conditions(&mut self) -> Result<(), Error> {
        let known = self.sight.store.clone();
        self.store_is_new |= self.sight.store_is_new;
        self.store = match known {
            Some(known) if known.conditional_writes.is_some() => known,
            known => {
                let probe = self.ends.bucket.probe_guards();
                let found = self.ends.stop.or_soon(probe).await.ok_or(Error::Stopped)??;
                self.store_is_new = true;
                match known {
                    Some(known) => known.completed_by(&found),
                    None => Profile { time: now(), ..found },
                }
            }
        };
        self.enforce = if self.store.is_conditional() { Enforce::Conditional } else { Enforce::Head };
        Ok(())
    }

    /// An error when another run has taken this one's place: its lock, or its lease where the store honours no conditions.
    pub(super) async fn has_its_turn(&self) -> Result<(), Error> {
        self.has_its_lock().await?;
        match &self.lease {
            Some(lease) if !lease.is_held().await? => Err(LockError::Lost.into()),
            _ => Ok(()),
        }
    }

    /// An error when another run has taken the lock.
    pub(super) async fn has_its_lock(&self) -> Result<(), Error> {
        let guard = self.guard.clone();
        if blocking(move || guard.still_held()).await?? { Ok(()) } else { Err(LockError::Lost.into()) }
    }

    /// Without its lease a run cannot say that nobody has replaced what it sent.
    pub(super) async fn give_lease_back(&mut self) {
        match self.lease.take() {
            None => {}
            Some(lease) => match lease.give_back().await {
                Ok(true) => {}
                Ok(false) => self.end(LockError::Lost.into()),
                Err(e) => self.end(e),
            },
        }
    }
}
