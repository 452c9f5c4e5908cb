//! Listing: pages until the end, in any order, refusing pages that repeat or break off. An error is never an empty listing.

use super::bucket::Bucket;
use super::error::Error;

pub use crate::view::Listed;

impl Bucket {
    /// All objects whose key after the prefix starts with `start` (empty: all), sorted by key. `progress` takes the count so far.
    pub async fn list(&self, start: &str, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Listed>, Error> {
        let _ = (start, progress);
        todo!()
    }
}
