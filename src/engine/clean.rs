//! What unfinished uploads there are in the bucket, and the end of those that are ours. Never touches another's.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use super::send::nonce;
use super::uploads::{Fate, GivenUp, Uploads, may_be_ours};
use super::{Ends, Error, blocking};
use crate::entry::Nanos;
use crate::event::Event;
use crate::local::lock::Lock;
use crate::local::uploads::{Left, OpenUpload, left};
use crate::remote::error::Kind as RemoteKind;
use crate::remote::open::Begun;

/// Uploads that are given up at once.
const AT_ONCE: usize = 16;

/// Whose an unfinished upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A run of this mount began it, and is dead.
    Ours,
    /// A run of this mount began it, on this host, and goes on.
    Running,
    /// Another program's, or another mount's.
    Other,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not touched.
    Kept,
    /// It is gone.
    GivenUp,
    /// It should be gone and is not.
    Failed(String),
}

/// An unfinished upload.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key after the prefix.
    pub key: String,
    /// When it was begun, by the store's clock; `None` where neither the store nor the journal says.
    pub begun: Option<Nanos>,
    /// Whose it is.
    pub whose: Whose,
    /// What became of it.
    pub outcome: Outcome,
}

/// The unfinished uploads under the prefix, and those that this mount's journals tell. Changes nothing.
pub async fn open_uploads(ends: &Ends) -> Result<Vec<Found>, Error> {
    let listed = listed(ends).await?;
    Ok(all(&listed, &journalled(ends).await?))
}

/// Gives up what dead runs of this mount left open, and tells of everything that was found.
pub async fn clean(ends: &Ends) -> Result<Vec<Found>, Error> {
    let operation = nonce();
    let (mount, op, claim) = (ends.mount.clone(), operation.clone(), ends.claim);
    // A run of another host with this mount cannot be told from a dead one but by its lock.
    let lock = blocking(move || Lock::take(&mount, &op, claim)).await??;
    let mount = ends.mount.clone();
    blocking(move || mount.still_there()).await??;
    let mut found = open_uploads(ends).await?;
    let uploads = Uploads::new(ends, &operation);
    uploads.take_over(|_| Fate::Keep).await?;
    // Which of several is the one whose id was never heard is asked of a listing, one after the other.
    let (known, lost): (Vec<_>, Vec<_>) = uploads.drain().into_iter().partition(|open| open.id.is_some() && open.lost == 0);
    let give_up = async |open: OpenUpload| {
        let gone = if ends.stop.asked() { None } else { Some(uploads.give_up(&open).await) };
        (open, gone)
    };
    let known = stream::iter(known).map(give_up).buffer_unordered(AT_ONCE);
    let mut given_up = std::pin::pin!(known.chain(stream::iter(lost).then(give_up)));
    while let Some((open, gone)) = given_up.next().await {
        let Some(gone) = gone else { continue };
        let outcome = match gone? {
            GivenUp::Gone => Outcome::GivenUp,
            GivenUp::Left(e) => Outcome::Failed(e.to_string()),
            GivenUp::NotSure(n) => Outcome::Failed(format!("{n} uploads may be the one that is ours")),
        };
        let of_it = found.iter_mut().filter(|found| found.whose == Whose::Ours && found.key == open.path.as_str());
        of_it.for_each(|found| found.outcome = outcome.clone());
    }
    uploads.close().await?;
    drop(lock);
    Ok(found)
}

/// `None`: the store does not tell.
async fn listed(ends: &Ends) -> Result<Option<Vec<Begun>>, Error> {
    match ends.stop.or(ends.bucket.open_uploads("")).await.ok_or(Error::Stopped)? {
        Ok(listed) => Ok(Some(listed)),
        Err(e) if e.kind == RemoteKind::Unsupported => {
            ends.tell(Event::Warning("the store does not list unfinished uploads: only those of this mount are known".into()));
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

async fn journalled(ends: &Ends) -> Result<Left, Error> {
    let (mount, bucket) = (ends.mount.clone(), ends.bucket.clone());
    Ok(blocking(move || left(&mount, bucket.name(), bucket.prefix().as_str(), "")).await??)
}

fn all(listed: &Option<Vec<Begun>>, journalled: &Left) -> Vec<Found> {
    let listed = listed.as_deref().unwrap_or_default();
    let mut whose: BTreeMap<&str, Whose> = BTreeMap::new();
    for (list, of) in [(&journalled.open, Whose::Ours), (&journalled.alive, Whose::Running)] {
        for open in list {
            whose.extend(open.id.as_deref().map(|id| (id, of)));
            if open.id.is_none() || open.lost > 0 {
                whose.extend(may_be_ours(listed, open).map(|begun| (begun.id.as_str(), of)));
            }
        }
    }
    let mut found: Vec<Found> = listed
        .iter()
        .map(|begun| Found {
            key: begun.key.clone(),
            begun: (begun.initiated != 0).then_some(begun.initiated),
            whose: whose.get(begun.id.as_str()).copied().unwrap_or(Whose::Other),
            outcome: Outcome::Kept,
        })
        .collect();
    // What the store does not list is asked for by its id.
    let unlisted = journalled.open.iter().filter(|open| !listed.iter().any(|begun| open.id.as_ref() == Some(&begun.id)));
    found.extend(unlisted.filter(|open| open.id.is_some()).map(|open| Found {
        key: open.path.as_str().to_owned(),
        begun: Some(open.since * 1_000_000_000),
        whose: Whose::Ours,
        outcome: Outcome::Kept,
    }));
    found.sort_by(|a, b| (&a.key, a.begun).cmp(&(&b.key, b.begun)));
    found
}
