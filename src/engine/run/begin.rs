//! What a run needs before its first transfer: what the store honours, the lease where it honours nothing, the journal. Transfers nothing.

use std::sync::Arc;

use super::Work;
use crate::engine::lease;
use crate::engine::{Error, blocking};
use crate::local::lock::{LockError, now};
use crate::local::state::Journal;
use crate::plan::Direction;
use crate::remote::object::Enforce;

/// How long what was learnt about conditional writes holds, in nanoseconds: 90 days.
const PROBE_HOLDS: i64 = 90 * 24 * 3600 * 1_000_000_000;

impl Work<'_> {
    /// What a run needs before its first transfer. Returns what was newly learnt about conditional writes.
    pub(super) async fn begin(&mut self) -> Result<Option<bool>, Error> {
        if self.plan.is_empty() {
            return Ok(None);
        }
        let mut learnt = None;
        if self.plan.direction == Direction::Upload {
            learnt = self.learn_conditions().await?;
            if self.enforce == Enforce::Head {
                self.lease = Some(lease::take(self.ends, &self.operation).await?);
            }
        }
        let (mount, bucket, op) = (self.ends.mount.clone(), self.ends.bucket.clone(), self.operation.clone());
        let create = match self.plan.direction {
            Direction::Upload => Journal::create,
            Direction::Download => Journal::of_landings,
        };
        let journal = blocking(move || create(&mount, bucket.name(), bucket.prefix().as_str(), &op)).await;
        match journal.and_then(|created| Ok(created?)) {
            Ok(journal) => self.journal = Some(Arc::new(journal)),
            Err(e) => {
                self.give_lease_back().await;
                return Err(e);
            }
        }
        Ok(learnt)
    }

    /// Whether the store honours conditions on writes: remembered, or asked.
    async fn learn_conditions(&mut self) -> Result<Option<bool>, Error> {
        let here = self.ends.bucket.endpoint();
        let known = self.sight.state.conditional_writes.as_ref();
        let known = known.filter(|(_, when, of)| (now() - when).abs() < PROBE_HOLDS && of == here).map(|(yes, _, _)| *yes);
        let (honoured, learnt) = match known {
            Some(known) => (known, None),
            None => {
                let probe = self.ends.bucket.honours_conditional_writes();
                let found = self.ends.stop.or_soon(probe).await.ok_or(Error::Stopped)??;
                (found, Some(found))
            }
        };
        self.enforce = if honoured { Enforce::Conditional } else { Enforce::Head };
        Ok(learnt)
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
