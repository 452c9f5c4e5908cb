//! Other lsync directories in the same bucket: where a run for PATHs does not list what lies above them, it asks. Changes nothing.

use futures_util::stream::{self, StreamExt};

use super::{Ask, Ends, Error};
use crate::path::RelPath;

/// Directories above PATHs that are asked for at once.
const LOOKS: usize = 8;

/// The directories above the run's PATHs in which another lsync directory has published, outermost first.
pub(super) async fn above(ends: &Ends, ask: &Ask) -> Result<Vec<RelPath>, Error> {
    let mut above: Vec<RelPath> = ask.paths.iter().flat_map(RelPath::ancestors).filter_map(|dir| RelPath::new(dir).ok()).collect();
    above.sort();
    above.dedup();
    let looks = above.into_iter().map(|path| async move { (ends.bucket.has_published(&format!("{}/", path.as_str())).await, path) });
    let (mut looks, mut found) = (stream::iter(looks).buffered(LOOKS), Vec::new());
    while let Some((published, path)) = ends.stop.or(looks.next()).await.ok_or(Error::Stopped)? {
        found.extend(published?.then_some(path));
    }
    Ok(found)
}
