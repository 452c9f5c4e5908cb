//! Listing: pages until the end, in any order, refusing pages that repeat or break off. An error is never an empty listing.

use super::bucket::Bucket;
use super::error::Error;
use crate::digest::ETag;
use crate::entry::Nanos;

/// One object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key after the prefix, as it is; it may be no valid path.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// As listed.
    pub etag: ETag,
    /// By the server's clock.
    pub last_modified: Nanos,
}

impl Bucket {
    /// All objects whose key after the prefix starts with `start` (empty: all), sorted by key. `progress` takes the count so far.
    pub async fn list(&self, start: &str, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Listed>, Error> {
        let _ = (start, progress);
        todo!()
    }
}
