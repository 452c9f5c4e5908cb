//! Asks a store what it does, and keeps the answers in the mount, where runs take them from. Says nothing about what they mean.

use super::send::nonce;
use super::{Ends, Error, blocking};
use crate::local::lock::{Lock, LockError, now};
use crate::local::store;
use crate::profile::Profile;
use crate::remote::examine::Examined;

/// Whether the answers were kept.
#[derive(Debug)]
pub enum Kept {
    /// In `.lsync/`.
    Yes,
    /// Another run holds the lock; runs go on with what they know.
    Locked(LockError),
    /// The mount takes no state.
    No(Error),
    /// The examination did not come to its end.
    Unfinished,
}

/// Asks everything that [`Profile`] holds; see [`crate::remote::bucket::Bucket::examine`]. Answers of a whole examination replace what was
/// known.
pub async fn examine_store(ends: &Ends) -> (Examined, Kept) {
    let stop = ends.stop.clone();
    let mut examined = ends.bucket.examine(&move || stop.asked()).await;
    examined.profile.time = now();
    if examined.ended_by.is_some() {
        return (examined, Kept::Unfinished);
    }
    let kept = match keep(ends, examined.profile.clone()).await {
        Ok(()) => Kept::Yes,
        Err(Error::Lock(error @ LockError::Held(_))) => Kept::Locked(error),
        Err(error) => Kept::No(error),
    };
    (examined, kept)
}

async fn keep(ends: &Ends, profile: Profile) -> Result<(), Error> {
    let (mount, bucket, operation, claim) = (ends.mount.clone(), ends.bucket.clone(), nonce(), ends.claim);
    blocking(move || -> Result<(), Error> {
        let _lock = Lock::take(&mount, &operation, claim)?;
        Ok(store::save(&mount, bucket.endpoint(), bucket.name(), &profile)?)
    })
    .await?
}
