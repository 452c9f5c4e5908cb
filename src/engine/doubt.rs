//! Files whose times may not tell that they have changed: where timestamps are coarse, a file may have been changed again within the tick
//! of the stamp that it was read with; and what is stored through a mapping may move no times at all. Before an upload is called complete
//! such files are read once more.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::learn::{HASHERS, LocalDigests, hash};
use super::report::FailureKind;
use super::run::Work;
use super::{Error, Sight};
use crate::diff::Want;
use crate::digest::Digests;
use crate::entry::{Nanos, Stamp, find};
use crate::event::{Event, Phase, Verb};
use crate::local::hash::ReadError;
use crate::local::state::Clock;
use crate::local::witness::Witness;
use crate::path::RelPath;

/// Below this the kernel's own tick hides no more than it does on any local disk, in nanoseconds.
pub(super) const COARSE: Nanos = 100_000_000;
/// No file system is coarser than FAT.
const COARSEST: Duration = Duration::from_secs(2);

/// A file to read again.
struct Doubtful {
    path: RelPath,
    stamp: Stamp,
    digests: Digests,
    /// A tick of the clock must go by first.
    is_racy: bool,
}

/// Reads again what may have changed without its times telling it; what is no longer what was sent is still being written.
pub(super) async fn read_doubtful_again(work: &mut Work<'_>) -> Result<(), Error> {
    let mut doubtful = doubtful(work);
    doubtful.retain(|file| !work.report.failures.iter().any(|failure| failure.path == file.path));
    if doubtful.iter().any(|file| file.is_racy) {
        let wait = Duration::from_nanos(work.clocks.sending.granularity.unsigned_abs()).min(COARSEST);
        work.ends.stop.or(tokio::time::sleep(wait)).await.ok_or(Error::Stopped)?;
    }
    let todo: Vec<(Doubtful, Want)> = doubtful
        .into_iter()
        .map(|file| (want(&file.digests), file))
        .filter(|(want, _)| !want.is_empty())
        .map(|(want, file)| (file, want))
        .collect();
    if todo.is_empty() {
        return Ok(());
    }
    let ends = work.ends;
    ends.phase(Phase::Hash);
    ends.tell(Event::Planned { files: todo.len() as u64, bytes: todo.iter().map(|(file, _)| file.stamp.size).sum() });
    let reading = todo.into_iter().map(|(file, want)| async move {
        let again = hash(ends, file.path.clone(), file.stamp, want).await;
        (file, again)
    });
    let mut reading = stream::iter(reading).buffer_unordered(HASHERS);
    while let Some((file, again)) = reading.next().await {
        let same = match again? {
            Ok(hashed) => hashed.kinds.iter().any(|digests| digests.same(&file.digests) == Some(true)),
            // What was sent stays in the bucket.
            Err(ReadError::Gone) => true,
            Err(_) => false,
        };
        if ends.stop.asked() {
            return Err(Error::Stopped);
        }
        if !same {
            work.fail(&file.path, FailureKind::StillWritten, "it is still being written: it changed while the run was under way".into());
        }
    }
    Ok(())
}

/// The warning about files that both sides agreed on and that were read again because a program has them open for writing: as long as it
/// has, that will be so.
pub(super) fn open_for_writing(sight: &Sight) -> Option<String> {
    let lasts = |path: &RelPath| {
        let agreed = find(&sight.state.entries, path.as_str()).and_then(|known| known.base.as_ref());
        agreed.zip(sight.local(path.as_str())).is_some_and(|(agreed, local)| local.entry.same_content(agreed) == Some(true))
    };
    let open = sight.learnt.seen.iter().filter(|(path, read)| read.witness == Witness::Writer && lasts(path));
    let mut open: Vec<&str> = open.map(|(path, _)| path.as_str()).collect();
    open.sort_unstable();
    let why = "open for writing in another program, which can change it without a trace in its times";
    match open[..] {
        [] => None,
        [only] => Some(format!("{only} is {why}: lsync reads it again on every run")),
        [first, ..] => Some(format!("{first} and {} more are each {why}: lsync reads them again on every run", open.len() - 1)),
    }
}

/// The kinds of digest that are known.
fn want(known: &Digests) -> Want {
    let whole = known.whole.is_some();
    Want { whole, part_bytes: known.parts.iter().filter(|_| !whole).map(|parts| parts.part_bytes).collect() }
}

/// Files that this run sent, and those that it compared by their digest, whose stamps could hide a later change.
fn doubtful(work: &Work<'_>) -> Vec<Doubtful> {
    let is_racy = |clock: &Clock, stamp: &Stamp| clock.granularity >= COARSE && clock.is_racy(stamp);
    let sent = work.done.iter().filter(|(_, done)| done.verb == Verb::Upload).filter_map(|(path, done)| {
        let (stamp, digests) = (done.stamp?, &done.entry.as_ref()?.file()?.digests);
        let is_racy = is_racy(&work.clocks.sending, &stamp);
        (is_racy || !done.witness.holds()).then(|| Doubtful { path: path.clone(), stamp, digests: digests.clone(), is_racy })
    });
    let compared = work.sight.learnt.seen.iter().filter(|(path, _)| !work.done.contains_key(path));
    let compared = compared.filter_map(|(path, LocalDigests { stamp, digests, witness })| {
        let is_racy = is_racy(&work.clocks.hashing, stamp);
        // A run that moves nothing has only just read it.
        let is_old = !witness.holds() && !work.plan.is_empty();
        (is_racy || is_old).then(|| Doubtful { path: path.clone(), stamp: *stamp, digests: digests.clone(), is_racy })
    });
    sent.chain(compared).collect()
}
