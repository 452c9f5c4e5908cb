//! The lease: one upload at a time into one bucket, where the store honours no conditions on writes and two runs could replace each
//! other's objects unseen. Where it does, guards are enough and there is no lease; downloads and `status` never look at it.
//!
//! Each run writes an object of its own below `.lsync/lease/`, with the owner record, and then lists that folder: it may go on if no
//! other lease is there. Of two runs at most one can see only itself, because the later of the two listings comes after both writes.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::send::random_bits;
use super::{Ends, Error, Stop};
use crate::digest::digest_one;
use crate::entry::Nanos;
use crate::local::lock::{Claim, Holder, LockError, Owner, may_take, now};
use crate::remote::bucket::Bucket;
use crate::remote::error::Error as RemoteError;
use crate::remote::list::Listed;
use crate::remote::object::{About, Enforce, Guard, Put};

const FOLDER: &str = ".lsync/lease/";
const RENEW: Duration = Duration::from_secs(60);
/// A lease that was not renewed for this long, by the store's clock, is nobody's: 5 minutes.
const SILENT: Nanos = 300 * 1_000_000_000;
/// Runs that meet step back, and try again after a wait that is random and twice as long each time.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The lease of this run. Given back by [`Lease::give_back`]; one that a dead run left is taken away by the next.
#[derive(Debug)]
pub(super) struct Lease {
    bucket: Bucket,
    key: String,
    renewal: JoinHandle<()>,
}

/// Takes the lease; [`LockError::Held`] when another run has it.
pub(super) async fn take(ends: &Ends, operation: &str) -> Result<Lease, Error> {
    let key = format!("{FOLDER}{operation}");
    let body = Bytes::from(Owner::this(operation).encode());
    for attempt in 0.. {
        let holder = match ends.stop.or(alone(ends, &key, &body)).await {
            Some(Ok(None)) => {
                let renewal = tokio::spawn(renew(ends.bucket.clone(), key.clone(), body, ends.stop.clone()));
                return Ok(Lease { bucket: ends.bucket.clone(), key, renewal });
            }
            Some(Ok(Some(holder))) => Ok(holder),
            Some(Err(e)) => Err(Error::from(e)),
            None => Err(Error::Stopped),
        };
        remove(&ends.bucket, &key).await;
        let holder = holder?;
        if attempt + 1 == TRIES {
            return Err(LockError::Held(Box::new(holder)).into());
        }
        let random = u32::from(random_bits()[0]);
        let wait = (FIRST_WAIT + FIRST_WAIT * random / 255) * 2_u32.pow(attempt);
        ends.stop.or(tokio::time::sleep(wait)).await.ok_or(Error::Stopped)?;
    }
    unreachable!("the last try returns")
}

/// Writes our lease and looks for others; `Some` is the holder of one of them.
async fn alone(ends: &Ends, key: &str, body: &Bytes) -> Result<Option<Holder>, RemoteError> {
    let bucket = &ends.bucket;
    write(bucket, key, body).await?;
    let listed = bucket.list(FOLDER, &|_| {}).await?;
    // A store that does not list what it took tells nothing about the others either.
    let Some(ours) = listed.iter().find(|object| object.key == key) else { return Ok(Some(Holder::new(unknown(now()), 0))) };
    for other in listed.iter().filter(|object| object.key != key) {
        if let Some(holder) = holder(bucket, other, ours.last_modified, ends.claim).await? {
            return Ok(Some(holder));
        }
        remove(bucket, &other.key).await;
    }
    Ok(None)
}

/// Who holds a lease; `None` when it is dead on this host, or silent, or where a run that cannot be seen from here is taken over.
async fn holder(bucket: &Bucket, object: &Listed, now: Nanos, claim: Claim) -> Result<Option<Holder>, RemoteError> {
    let age = now.saturating_sub(object.last_modified);
    if age > SILENT {
        return Ok(None);
    }
    let Some(bytes) = bucket.get_whole(&object.key, None).await? else { return Ok(None) };
    let owner = Owner::decode(&bytes).unwrap_or_else(|| unknown(object.last_modified));
    Ok((!may_take(owner.life(), age > SILENT, owner.is_surely_dead(age), claim)).then(|| Holder::new(owner, age)))
}

fn unknown(since: Nanos) -> Owner {
    Owner { host: "unknown".into(), boot: String::new(), pid: 0, since, operation: String::new(), started: None, pids: None }
}

async fn write(bucket: &Bucket, key: &str, body: &Bytes) -> Result<(), RemoteError> {
    let about = About { content_type: Some("application/json; charset=utf-8".into()), metadata: Vec::new() };
    let put = Put { key: key.to_owned(), body: body.clone(), md5: digest_one(body), guard: Guard::Any, enforce: Enforce::Head, about };
    bucket.put(put).await.map(drop)
}

/// What stays is silent after a while.
async fn remove(bucket: &Bucket, key: &str) {
    let _ = bucket.delete(key, &Guard::Any, Enforce::Head).await;
}

async fn renew(bucket: Bucket, key: String, body: Bytes, stop: Stop) {
    loop {
        tokio::time::sleep(RENEW).await;
        // Who has taken it away has the turn: written anew it would stand in the way.
        if matches!(bucket.head(&key).await, Ok(None)) {
            return stop.ask();
        }
        // One that fails is missed: the next may work.
        let _ = write(&bucket, &key, &body).await;
    }
}

impl Lease {
    /// False when another run has taken it away.
    pub(super) async fn is_held(&self) -> Result<bool, RemoteError> {
        Ok(self.bucket.head(&self.key).await?.is_some())
    }

    /// Ends the renewal and removes the lease. False when it was gone: this host was silent for more than 5 minutes, and another run may
    /// have written since.
    pub(super) async fn give_back(self) -> Result<bool, Error> {
        self.renewal.abort();
        // It ends by being told to; nothing else comes of it.
        let _ = self.renewal.await;
        let held = self.bucket.head(&self.key).await.map(|head| head.is_some());
        remove(&self.bucket, &self.key).await;
        Ok(held?)
    }
}
