//! Parts of a large object that need not be fetched: those that an earlier run has brought, and those that files of the mount hold, which are
//! copied from there; both are read and hashed again. Changes no file of the mount.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::blocking;
use super::fetch::{Fetcher, not_placed};
use super::pace::Buffer;
use super::send::NotSent;
use crate::digest::Md5;
use crate::entry::{Local, Stamp};
use crate::event::Event;
use crate::local::hash::{ReadError, Source};
use crate::local::place::Temp;
use crate::path::RelPath;
use crate::plan::Transfer;

/// What the mount holds, by digest, as far as something that is to be brought may be the same.
pub(super) struct Here<'a> {
    local: &'a [(RelPath, Local)],
    /// File and index of a part.
    parts: HashMap<Md5, (usize, u64)>,
}

impl<'a> Here<'a> {
    /// Of what was found in the mount, what these transfers may be made of.
    pub(super) fn new(local: &'a [(RelPath, Local)], transfers: &[&Transfer]) -> Here<'a> {
        let known = |entry: &'a crate::entry::Entry| entry.file()?.digests.parts.as_deref();
        let wanted: HashSet<u64> =
            transfers.iter().filter_map(|transfer| transfer.source.file()?.digests.parts.as_ref()).map(|parts| parts.part_bytes).collect();
        let mut parts = HashMap::new();
        for (at, (_, local)) in local.iter().enumerate().take(if wanted.is_empty() { 0 } else { local.len() }) {
            let Some(known) = known(&local.entry).filter(|known| wanted.contains(&known.part_bytes)) else { continue };
            for (index, md5) in (0..).zip(&known.md5s) {
                parts.entry(*md5).or_insert((at, index));
            }
        }
        Here { local, parts }
    }

    /// A file with this content at an offset, as far as is known.
    fn find(&self, md5: Md5, bytes: u64) -> Option<(RelPath, Stamp, u64)> {
        let (at, index) = *self.parts.get(&md5)?;
        let (path, local) = &self.local[at];
        let (stamp, part_bytes) = (local.stamp?, local.entry.file()?.digests.parts.as_ref()?.part_bytes);
        let start = index.checked_mul(part_bytes)?;
        let rest = stamp.size.checked_sub(start)?;
        (rest.min(part_bytes) == bytes).then(|| (path.clone(), stamp, start))
    }
}

impl Fetcher<'_> {
    /// A range that an earlier run has brought, and that still is what it was.
    pub(super) async fn range_there(
        &self,
        path: &RelPath,
        index: u64,
        offset: u64,
        len: u64,
        expected: Option<Md5>,
        temp: &Arc<Temp>,
    ) -> Result<Option<Md5>, NotSent> {
        if !temp.may_have(index) {
            return Ok(None);
        }
        let temp = temp.clone();
        let there = blocking(move || temp.part_there(index, offset, len)).await?.map_err(not_placed)?;
        let there = there.filter(|md5| expected.is_none_or(|expected| expected == *md5));
        if there.is_some() {
            self.ends.tell(Event::Moved { path: path.clone(), bytes: len });
        }
        Ok(there)
    }

    /// Makes a part of the temporary of a file that is here. False: it is to be fetched.
    pub(super) async fn range_here(&self, path: &RelPath, offset: u64, bytes: u64, md5: Md5, temp: &Arc<Temp>) -> Result<bool, NotSent> {
        let Some((from, stamp, start)) = self.here.find(md5, bytes) else { return Ok(false) };
        let Ok(len) = usize::try_from(bytes) else { return Ok(false) };
        let _turn = self.pace.part_turn_with(bytes).await?;
        let (mount, to, mut buffer) = (self.ends.mount.clone(), temp.clone(), self.pace.buffer(bytes));
        let read = move || -> Result<(Buffer, ()), ReadError> {
            Source::open(&mount, &from, &stamp)?.read(start, len, &mut buffer.vec)?;
            Ok((buffer, ()))
        };
        let content = match self.pace.hashing.filled(bytes, read).await? {
            Ok((content, found, ())) if found == md5 => content,
            Ok(_) | Err(_) => return Ok(false),
        };
        blocking(move || to.write_at(offset, &content)).await?.map_err(not_placed)?;
        self.ends.tell(Event::Copied { path: path.clone(), bytes });
        Ok(true)
    }
}
