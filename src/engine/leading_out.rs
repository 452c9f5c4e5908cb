//! Links of the directory that lead away from where they lie: PATHs behind them, and what they point to outside. Follows none of them.

use super::look::Sight;
use super::{Ends, Error};
use crate::entry::find;
use crate::local::mount::Looked;
use crate::path::RelPath;
use crate::plan::{Direction, OutsideLink, leads_outside, outside_links};

/// Refuses a PATH below a link: neither direction follows it, so nothing would be sent or brought there.
pub(super) fn refuse_behind_a_link(ends: &Ends, path: &RelPath) -> Result<(), Error> {
    let mut above: Vec<RelPath> = path.ancestors().filter_map(|dir| RelPath::new(dir).ok()).collect();
    above.sort();
    for link in above {
        // What cannot be looked at is told where it is read.
        if let Ok(Some(Looked::Link(target))) = ends.mount.look(&link) {
            let target = target.unwrap_or_default();
            let outside = leads_outside(&link, &target, &ends.mount.root().to_string_lossy(), &|_| None);
            return Err(Error::BehindLink { path: path.clone(), link, target, outside });
        }
    }
    Ok(())
}

/// The links of a direction's source that lead outside. Links that this run does not look at are known from the last one.
pub(super) fn of_source(sight: &Sight, direction: Direction) -> Vec<OutsideLink> {
    let remembered = |path: &str| find(&sight.state.entries, path).and_then(|known| known.base.as_deref().or(known.published.as_deref()));
    match direction {
        Direction::Upload => {
            let known = |path: &str| find(&sight.local, path).map(|local| &*local.entry).or_else(|| remembered(path));
            outside_links(sight.local.iter().map(|(path, local)| (path, &*local.entry)), &sight.root, &known)
        }
        Direction::Download => {
            let known = |path: &str| find(&sight.view.entries, path).map(|remote| &*remote.entry).or_else(|| remembered(path));
            let source = sight.view.entries.iter().map(|(path, remote)| (path, &*remote.entry));
            outside_links(source, &sight.root, &known)
        }
    }
}
