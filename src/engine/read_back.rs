//! Reads back what an upload has sent, where that was asked for, and says where nothing else proves it. What does not come back as it
//! was sent is no longer taken for sent.

use futures_util::stream::{self, StreamExt};

use super::Error;
use super::reading::{Reader, Shown, sample};
use super::report::{FailureKind, Proof, Proofs};
use super::run::Work;
use super::verify::Depth;
use crate::digest::{Digests, ETag, SINGLE_REQUEST_MAX};
use crate::entry::{File, find};
use crate::event::{Event, Phase, Verb};
use crate::local::state::Journalled;
use crate::path::RelPath;
use crate::profile::{ETagKind, Profile};

/// What to do about a store that verifies nothing of what it takes.
const NOT_VERIFIED: &str = "this store verifies nothing of what it takes (it does not check Content-MD5, and its ETags tell nothing): \
                            `lsync upload --verify deep` reads back what it sends, `lsync verify --deep` everything";

/// The warning for such a store, for who knows it before the run.
#[must_use]
pub fn not_verified_by_store() -> &'static str {
    NOT_VERIFIED
}

/// Proves what was sent by reading it, as far as the run asks for that. `None` when the run cannot say that everything is there.
pub(super) async fn read_back(work: &mut Work<'_>, mut proofs: Proofs) -> Option<Proofs> {
    let sent = sent(work);
    let depth = work.ask.read_back;
    if depth == Depth::List {
        if let Err(e) = warn(work, &sent).await {
            work.end(e);
            return None;
        }
        return Some(proofs);
    }
    let chosen = match depth {
        Depth::Sample(percent, seed) => sample(sent, percent, seed, |(path, _)| path.as_str(), |(_, file)| file.size),
        Depth::List | Depth::Deep => sent,
    };
    if let Err(e) = read(work, chosen, &mut proofs).await {
        work.end(e);
        return None;
    }
    Some(proofs)
}

/// Files that this run sent and that the closing listing shows.
fn sent(work: &Work<'_>) -> Vec<(RelPath, File)> {
    let failed = |path: &RelPath| work.report.failures.iter().any(|failure| failure.path == *path);
    let sent = work.done.iter().filter(|(path, done)| done.verb == Verb::Upload && !failed(path));
    let files = sent.filter_map(|(path, done)| Some((path, done.entry.as_ref()?.file()?)));
    files.filter(|(_, file)| file.size > 0).map(|(path, file)| (path.clone(), file.clone())).collect()
}

async fn read(work: &mut Work<'_>, chosen: Vec<(RelPath, File)>, proofs: &mut Proofs) -> Result<(), Error> {
    let (ends, pace) = (work.ends, work.pace.clone());
    ends.phase(Phase::Hash);
    ends.tell(Event::Planned { files: chosen.len() as u64, bytes: chosen.iter().map(|(_, file)| file.size).sum() });
    let reader = Reader { ends, pace: &pace };
    let reader = &reader;
    let mut shown = stream::iter(chosen)
        .map(|(path, file)| async move {
            let shown = reader.object(&path, &file).await;
            (path, file, shown)
        })
        .buffer_unordered(work.ask.jobs.first());
    while let Some((path, file, shown)) = shown.next().await {
        match shown? {
            Shown::Same => {
                if let Some(done) = work.done.get_mut(&path) {
                    proofs.strengthen(done.proof);
                    done.proof = Proof::Strong;
                }
            }
            Shown::Differs(found) => distrust(work, &path, &file, found),
            Shown::Untold => work.fail(&path, FailureKind::Failed, "it was read back, and nothing tells what it should hold".into()),
            Shown::Changed => work.fail(&path, FailureKind::Stale, "the bucket changed it before it was read back".into()),
            Shown::Unread(why) => work.fail(&path, FailureKind::Failed, format!("it could not be read back: {why}")),
            Shown::Refused(e) => work.fail(&path, FailureKind::Failed, format!("it could not be read back: {e}")),
        }
    }
    Ok(())
}

/// Not sent after all: neither published nor agreed on, and what the bucket really holds is remembered instead.
fn distrust(work: &mut Work<'_>, path: &RelPath, file: &File, found: Digests) {
    if work.done.remove(path).is_some() {
        work.report.counts.uploaded = work.report.counts.uploaded.saturating_sub(1);
    }
    // What the journal says of it so far would be agreed on.
    let before = find(&work.sight.state.entries, path.as_str()).and_then(|known| known.base.clone());
    if let Some(journal) = &work.journal
        && let Err(e) = journal.note(&Journalled { path: path.clone(), base: before, seen: None })
    {
        work.end(e.into());
    }
    if let Some(etag) = &file.etag {
        work.distrusted.push((path.clone(), etag.clone(), found));
    }
    let why = "what the bucket holds is not what was sent; `lsync upload --overwrite` with this path sends it again";
    work.fail(path, FailureKind::Integrity, why.into());
}

/// Says that nothing proves what was sent, unless the plan has said so already; asks the store what it checks where that is not known.
async fn warn(work: &mut Work<'_>, sent: &[(RelPath, File)]) -> Result<(), Error> {
    let weak = |path: &RelPath| work.done.get(path).is_some_and(|done| done.proof != Proof::Strong);
    let weak: Vec<u64> = sent.iter().filter(|(path, _)| weak(path)).map(|(_, file)| file.size).collect();
    if weak.is_empty() || work.sight.store.as_ref().is_some_and(Profile::verifies_nothing) {
        return Ok(());
    }
    if work.store.checks_content_md5.is_none() {
        let asked = work.ends.bucket.probe_content_md5();
        work.store.checks_content_md5 = work.ends.stop.or_soon(asked).await.ok_or(Error::Stopped)??;
        work.store_is_new = true;
    }
    let kinds = [(false, &mut work.store.single_etag), (true, &mut work.store.multipart_etag)];
    for (in_parts, kind) in kinds {
        if weak.iter().any(|size| (*size > SINGLE_REQUEST_MAX) == in_parts) && kind.is_none() {
            *kind = Some(ETagKind::Opaque);
            work.store_is_new = true;
        }
    }
    if work.store.verifies_nothing() {
        work.ends.tell(Event::Warning(NOT_VERIFIED.into()));
    }
    Ok(())
}

/// What an object that does not hold what was sent was found to hold, while it has this ETag.
pub(super) type Distrusted = (RelPath, ETag, Digests);
