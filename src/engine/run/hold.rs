//! What a run holds before it begins: the lock, the id of the directory and its clock. An upload whose directory takes nothing holds them
//! elsewhere.

use std::time::Duration;

use crate::engine::remember::Clocks;
use crate::engine::{Error, Sight, blocking};
use crate::local::left;
use crate::local::lock::{Lock, LockError};
use crate::local::mount::Mount;
use crate::local::state::{self, Clock};
use crate::plan::{Direction, Plan};
use crate::remote::bucket::Bucket;

/// The lock and what was read under it.
pub(super) struct Held {
    pub(super) lock: Lock,
    /// Of the directory.
    pub(super) id: String,
    pub(super) clocks: Clocks,
}

/// Takes the lock, and makes sure that nothing has come between the look and the run.
pub(super) async fn hold(sight: &Sight, plan: &Plan, operation: &str) -> Result<Held, Error> {
    loop {
        let (mount, bucket, began) = (sight.ends.mount.clone(), sight.ends.bucket.clone(), sight.began);
        let (moves, last_run, operation, claim) = (!plan.is_empty(), sight.last_run.clone(), operation.to_owned(), sight.ends.claim);
        let held = blocking(move || -> Result<Held, Error> {
            let lock = Lock::take(&mount, &operation, claim)?;
            mount.still_there()?;
            // The whole file is read only where its first line says something else: it may be damaged, and was absent then too.
            let is_as_seen = || -> Result<bool, Error> {
                let (bucket, prefix) = (bucket.name(), bucket.prefix().as_str());
                Ok(state::last_run(&mount, bucket, prefix) == last_run || state::load(&mount, bucket, prefix)?.state.last == last_run)
            };
            if moves && !is_as_seen()? {
                return Err(Error::PlanStale);
            }
            keep_in_one_place(&mount, &bucket)?;
            left::clear(&mount, &operation)?;
            let id = mount.ensure_id()?;
            let elapsed = began.elapsed();
            let sending = Clock::read(&mount)?;
            Ok(Held { lock, id, clocks: Clocks { hashing: earlier(sending, elapsed), sending } })
        })
        .await?;
        match held {
            Err(e) if keeps_elsewhere(&sight.ends.mount, plan.direction, &e) => {}
            held => return held,
        }
    }
}

/// True when an upload goes on by keeping its state in another place: the bucket is all that it has to change.
pub(in crate::engine) fn keeps_elsewhere(mount: &Mount, direction: Direction, error: &Error) -> bool {
    let (Error::Local(failure) | Error::Lock(LockError::Failed(failure))) = error else { return false };
    direction == Direction::Upload && mount.keep_elsewhere(failure)
}

/// What a run notes elsewhere stands beside the state that it goes on from; in `.lsync/` too, once that takes it.
fn keep_in_one_place(mount: &Mount, bucket: &Bucket) -> Result<(), Error> {
    let (bucket, prefix) = (bucket.name(), bucket.prefix().as_str());
    if mount.kept_elsewhere().is_none() {
        return Ok(state::bring_home(mount, bucket, prefix)?);
    }
    Ok(state::save(mount, bucket, prefix, &state::load(mount, bucket, prefix)?.state)?)
}

/// The clock as it was when the look began to read, a little earlier to be sure.
fn earlier(clock: Clock, elapsed: Duration) -> Clock {
    let back = elapsed + elapsed / 1000 + Duration::from_millis(1);
    let back = i64::try_from(back.as_nanos()).unwrap_or(i64::MAX);
    Clock { now: clock.now.saturating_sub(back), ..clock }
}
