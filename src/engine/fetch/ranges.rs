//! A large object: in ranges side by side, each written and hashed while it arrives. Puts nothing into place.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::super::Error;
use super::super::arrived::trusted;
use super::super::arriving::Arriving;
use super::super::report::{FailureKind, Proof};
use super::super::send::NotSent;
use super::request::{Landing, Range};
use super::{Fetcher, Got, is_ours_in_parts, not_placed, range_bytes, range_digests};
use crate::digest::{Digests, ETag, Md5, Parts};
use crate::entry::File;
use crate::event::Event;
use crate::local::place::Temp;
use crate::path::RelPath;
use crate::remote::object::Head;

/// Ranges of one object that are asked for at once.
const RANGES_IN_FLIGHT: usize = 16;

/// A range of a temporary.
struct Place<'a> {
    fetcher: &'a Fetcher<'a>,
    temp: &'a Arc<Temp>,
    offset: u64,
    arriving: Option<Arriving>,
}

impl Place<'_> {
    /// The MD5 of what came, all of which is written.
    async fn end(&mut self) -> Result<Option<Md5>, NotSent> {
        match self.arriving.take() {
            Some(arriving) => Ok(Some(arriving.end().await?.map_err(not_placed)?)),
            None => Ok(None),
        }
    }
}

impl Landing for Place<'_> {
    async fn restart(&mut self) -> Result<(), NotSent> {
        // What is still to be written would come over what comes now.
        self.end().await?;
        self.arriving = Some(self.fetcher.pace.arrivals.begin(self.temp, self.offset));
        Ok(())
    }

    fn take(&mut self, piece: Bytes) -> bool {
        self.arriving.as_mut().is_some_and(|arriving| arriving.push(piece))
    }

    fn bytes(&self) -> u64 {
        self.arriving.as_ref().map_or(0, Arriving::bytes)
    }
}

impl Fetcher<'_> {
    /// Ranges side by side, each checked on arrival where part digests are known.
    pub(super) async fn in_ranges(&self, path: &RelPath, source: &File, etag: &ETag, temp: &Arc<Temp>) -> Result<Got, NotSent> {
        let known = source.digests.parts.clone();
        let aligned = range_digests(source).map(|parts| parts.part_bytes);
        let range_bytes = range_bytes(source);
        let count = source.size.div_ceil(range_bytes);
        let known = &known;
        let mut ranges = stream::iter(0..count)
            .map(|index| async move {
                let offset = index * range_bytes;
                let len = range_bytes.min(source.size - offset);
                let expected = aligned.and(known.as_ref()).and_then(|parts| parts.md5s.get(usize::try_from(index).ok()?).copied());
                if let Some(md5) = self.range_there(path, index, offset, len, expected, temp).await? {
                    return Ok((md5, None, len, 0));
                }
                if let Some(md5) = expected
                    && self.range_here(path, offset, len, md5, temp).await?
                {
                    temp.part_done(index, md5).map_err(not_placed)?;
                    return Ok((md5, None, 0, len));
                }
                let (md5, head) = self.one_range(Range { path, etag, size: source.size, offset, len }, expected, temp).await?;
                temp.part_done(index, md5).map_err(not_placed)?;
                Ok::<_, NotSent>((md5, Some(head), 0, 0))
            })
            .buffered(RANGES_IN_FLIGHT);
        let (mut md5s, mut head, mut kept, mut copied) = (Vec::new(), None, 0, 0);
        while let Some(range) = ranges.next().await {
            let (md5, got, was_there, was_here) = range?;
            md5s.push(md5);
            head = got.or(head);
            kept += was_there;
            copied += was_here;
        }
        drop(ranges);
        let whole = if let [md5] = md5s[..] { Some(md5) } else { None };
        let arrived = Parts { part_bytes: range_bytes, md5s };
        if let (Some(parts), Some(_)) = (known, aligned) {
            return if **parts == arrived {
                Ok(Got { digests: Digests { whole, ..Digests::of_parts(arrived) }, proof: Proof::Strong, head, kept, copied })
            } else {
                Err(NotSent::Item(FailureKind::Integrity, "its parts do not match the manifest's digests".into()))
            };
        }
        let learnt = if whole.is_some() { Digests { whole, ..Digests::default() } } else { Digests::of_parts(arrived) };
        let source = File { digests: trusted(source, head.as_ref()), ..source.clone() };
        match self.judge_arrived(&source, learnt, temp).await? {
            (_, Proof::Size) if !self.opaque_parts && head.as_ref().is_some_and(|head| is_ours_in_parts(&source, head)) => {
                let why = "what the bucket sends does not match its ETag; the old file is untouched. Where ETags of parts tell nothing, \
                           `lsync doctor` finds that out";
                Err(NotSent::Item(FailureKind::Integrity, why.into()))
            }
            (digests, proof) => Ok(Got { digests, proof, head, kept, copied }),
        }
    }

    async fn one_range(&self, range: Range<'_>, expected: Option<Md5>, temp: &Arc<Temp>) -> Result<(Md5, Head), NotSent> {
        let _turn = self.pace.arriving_turn(range.len).await?;
        let mut place = Place { fetcher: self, temp, offset: range.offset, arriving: None };
        for _ in 0..2 {
            let head = self.range(range, &mut place).await?;
            let md5 = place.end().await?.ok_or_else(|| Error::Worker("a range that arrived is gone".into()))?;
            if expected.is_none_or(|expected| expected == md5) {
                return Ok((md5, head));
            }
            self.ends.tell(Event::Retried { path: range.path.clone(), bytes: range.len, why: "a part's digest does not match".into() });
        }
        let why = format!("the bytes from {} on do not match their digest; the old file is untouched", range.offset);
        Err(NotSent::Item(FailureKind::Integrity, why))
    }
}
