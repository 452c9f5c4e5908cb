//! A place in the bucket where nothing is: a mistyped prefix or bucket looks like this on a fresh machine. Looks where lsync has data
//! instead; changes nothing.

use super::{Ends, Error};
use crate::plan::NothingThere;

/// What is to be said about a place without any object. What cannot be listed is not said.
pub(super) async fn look_elsewhere(ends: &Ends) -> Result<NothingThere, Error> {
    let found = ends.stop.or(ends.bucket.published_prefixes()).await.ok_or(Error::Stopped)?;
    Ok(NothingThere { url: ends.bucket.url().to_owned(), elsewhere: found.unwrap_or_default() })
}
