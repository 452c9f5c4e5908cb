//! The listing of the bucket that a run needs, and where it is thought that it can be split. Reads nothing else.

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::{Ask, Ends, Error, Sight};
use crate::event::Event;
use crate::local::state::State;
use crate::path::{RelPath, is_at_or_below};
use crate::remote::list::{Listed, Listing, Marks};

/// PATHs that are listed at once.
const STARTS: usize = 4;

/// The listing that a run needs: everything, or the PATHs and lsync's own objects. `marks` tell where it may be split.
pub(super) async fn list(ends: &Ends, ask: &Ask, marks: impl Future<Output = Marks>) -> Result<Listing, Error> {
    let observer = ends.observer.clone();
    let progress = move |objects| observer(Event::Listed { objects });
    if ask.paths.is_empty() {
        return Ok(ends.stop.or(ends.bucket.list_wide("", marks, &progress)).await.ok_or(Error::Stopped)??);
    }
    let marks = marks.shared();
    let starts: Vec<&str> = ask.paths.iter().map(RelPath::as_str).chain([".lsync/"]).collect();
    let lists = starts.into_iter().map(|start| ends.bucket.list_wide(start, marks.clone(), &progress).map(move |page| (start, page)));
    let mut pages = stream::iter(lists).buffered(STARTS);
    let mut all: Vec<Listed> = Vec::new();
    while let Some((start, page)) = ends.stop.or(pages.next()).await.ok_or(Error::Stopped)? {
        let own = start == ".lsync/";
        all.extend(page?.into_iter().filter(|o| own || is_at_or_below(o.key.trim_end_matches('/'), start)));
    }
    drop(pages);
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    Ok(all.into())
}

/// What the bucket held when it was last heard of.
pub(super) fn remembered(state: &State) -> Marks {
    let entries = state.entries.iter().filter_map(|(path, known)| Some((path, known.published.as_ref().or(known.base.as_ref())?)));
    Marks::of(entries.filter(|(_, entry)| entry.file().is_some()).map(|(path, _)| path.as_str()))
}

/// What the bucket is thought to hold after an upload: what it held, and what the mount holds.
pub(super) fn expected(sight: &Sight) -> Marks {
    let here = sight.local.iter().filter(|(_, local)| local.stamp.is_some()).map(|(path, _)| path.as_str());
    let there = sight.view.entries.iter().filter(|(_, remote)| remote.object().is_some()).map(|(path, _)| path.as_str());
    let mut all: Vec<&str> = here.chain(there).collect();
    // Two sorted parts: a stable sort merges them.
    all.sort();
    all.dedup();
    Marks::of(all.into_iter())
}
