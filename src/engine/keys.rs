//! New files of the directory that may hold keys: they wait until a person says that they travel. Reads the first bytes of those whose
//! names say so, and nothing else.

use super::{Ask, Ends, Error, Sight, blocking};
use crate::entry::find;
use crate::local::first_bytes::first_bytes;
use crate::path::RelPath;
use crate::plan::{FIRST_BYTES, KeyFile, is_candidate, may_hold_keys};

/// Files that may hold keys, by path. What was published or is in the bucket already is none of them, because that was decided then, and
/// neither is what the user named.
pub(super) async fn find_new(ends: &Ends, ask: &Ask, sight: &Sight) -> Result<Vec<KeyFile>, Error> {
    if ask.allow_keys {
        return Ok(Vec::new());
    }
    let is_new = |path: &RelPath| {
        let known = find(&sight.state.entries, path.as_str());
        sight.bucket(path.as_str()).is_none() && known.is_none_or(|known| known.base.is_none() && known.published.is_none())
    };
    let wanted = |path: &RelPath| is_candidate(path) && !ask.named.contains(path) && is_new(path);
    let files = sight.local.iter().filter(|(path, local)| local.stamp.is_some() && wanted(path));
    let candidates: Vec<(RelPath, u64)> = files.map(|(path, local)| (path.clone(), local.entry.bytes())).collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let mount = ends.mount.clone();
    blocking(move || {
        let mut found = Vec::new();
        for (path, bytes) in candidates {
            // What cannot be read is told where it would be sent.
            let first = first_bytes(&mount, &path, FIRST_BYTES).unwrap_or_default();
            found.extend(may_hold_keys(&path, &first).map(|what| KeyFile { path, bytes, what }));
        }
        found
    })
    .await
}
