//! Mounts with coarse timestamps: a file may have been changed again within the tick of the stamp it was read with, and no stamp shows
//! it. Before an upload is called complete such files are read once more, after the clock has moved on.

use std::time::Duration;

use super::Error;
use super::learn::hash;
use super::report::FailureKind;
use super::run::Work;
use crate::diff::Want;
use crate::digest::Digests;
use crate::entry::{Nanos, Stamp};
use crate::event::Verb;
use crate::local::hash::ReadError;
use crate::path::RelPath;

/// Below this the kernel's own tick hides no more than it does on any local disk, in nanoseconds.
pub(super) const COARSE: Nanos = 100_000_000;
/// No file system is coarser than FAT.
const COARSEST: Duration = Duration::from_secs(2);

/// Reads again what was read with a racy stamp; what is no longer what was sent is still being written.
pub(super) async fn read_racy_again(work: &mut Work<'_>) -> Result<(), Error> {
    let granularity = work.clocks.sending.granularity;
    if granularity < COARSE {
        return Ok(());
    }
    let mut racy = racy(work);
    racy.retain(|(path, _, _)| !work.report.failures.iter().any(|failure| failure.path == *path));
    if racy.is_empty() {
        return Ok(());
    }
    let wait = Duration::from_nanos(granularity.unsigned_abs()).min(COARSEST);
    work.ends.stop.or(tokio::time::sleep(wait)).await.ok_or(Error::Stopped)?;
    for (path, stamp, known) in racy {
        let want = Want {
            whole: known.whole.is_some(),
            part_bytes: known.parts.iter().filter(|_| known.whole.is_none()).map(|parts| parts.part_bytes).collect(),
        };
        if want.is_empty() {
            continue;
        }
        let again = hash(work.ends, path.clone(), stamp, want).await?;
        let same = match again {
            Ok(kinds) => kinds.iter().any(|digests| digests.same(&known) == Some(true)),
            // What was sent stays in the bucket.
            Err(ReadError::Gone) => true,
            Err(_) => false,
        };
        if work.ends.stop.asked() {
            return Err(Error::Stopped);
        }
        if !same {
            work.fail(&path, FailureKind::StillWritten, "it is still being written: it changed while the run was under way".into());
        }
    }
    Ok(())
}

/// Files that this run sent, and those that it compared by their digest, whose stamps could hide a later change.
fn racy(work: &Work<'_>) -> Vec<(RelPath, Stamp, Digests)> {
    let sent = work.done.iter().filter(|(_, done)| done.verb == Verb::Upload).filter_map(|(path, done)| {
        let stamp = done.stamp.filter(|stamp| work.clocks.sending.is_racy(stamp))?;
        Some((path.clone(), stamp, done.entry.as_ref()?.file()?.digests.clone()))
    });
    let compared = work.sight.learnt.seen.iter().filter_map(|(path, (stamp, digests))| {
        let in_doubt = work.clocks.hashing.is_racy(stamp) && !work.done.contains_key(path);
        in_doubt.then(|| (path.clone(), *stamp, digests.clone()))
    });
    sent.chain(compared).collect()
}
