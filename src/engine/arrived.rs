//! What arrived, judged by the digests that are known of it. Asks no store.

use super::learn::{metadata, parts_of};
use super::report::Proof;
use crate::digest::{Digests, Md5, Parts, Stream, candidate_part_bytes};
use crate::entry::File;
use crate::local::place::{PlaceError, Temp};
use crate::remote::object::Head;

const READ_BACK: usize = 1 << 20;

/// The digests that an object's content must match. What only its ETag told is no digest where the store says that it encrypts with
/// keys of its own (SSE-KMS, SSE-C): such ETags look like MD5s and are none. Where nothing else is known, its metadata may tell.
pub(super) fn trusted(source: &File, head: Option<&Head>) -> Digests {
    let told_by_etag = source.etag.as_ref().is_some_and(|etag| source.digests == Digests::of_etag(etag));
    let known = if told_by_etag && head.is_some_and(|head| head.etag_is_no_digest) { Digests::default() } else { source.digests.clone() };
    if known.is_empty() { head.map(|head| metadata(head).0).unwrap_or_default() } else { known }
}

/// Checks a complete buffer, whose MD5 is `whole`, against what is known; `None` when it does not match.
pub(super) fn check_buffer(buffer: &[u8], whole: Md5, wanted: &Digests) -> Option<(Digests, Proof)> {
    let mut learnt = Digests::of_whole(whole);
    if let Some(expected) = wanted.whole {
        return (expected == whole).then_some((learnt, Proof::Strong));
    }
    if let Some(parts) = &wanted.parts {
        let arrived = parts_of(buffer, parts.part_bytes);
        let same = arrived == **parts;
        learnt.parts = Some(Box::new(arrived));
        return same.then_some((learnt, Proof::Strong));
    }
    if let Some((_, count)) = wanted.composite.as_deref().copied() {
        for part_bytes in candidate_part_bytes(buffer.len() as u64, count) {
            let arrived = Digests::of_parts(parts_of(buffer, part_bytes));
            if arrived.same(wanted) == Some(true) {
                learnt.learn(&arrived);
                return Some((learnt, Proof::Strong));
            }
        }
    }
    Some((learnt, Proof::Size))
}

/// One pass over a written temporary: its MD5, and its parts in each of the sizes.
pub(super) fn read_back(
    temp: &Temp,
    size: u64,
    whole: bool,
    sizes: &[u64],
    stop: &dyn Fn() -> bool,
) -> Result<(Option<Md5>, Vec<Parts>), PlaceError> {
    let mut all = whole.then(Stream::default);
    let mut kinds: Vec<(Parts, Stream, u64)> =
        sizes.iter().map(|bytes| (Parts { part_bytes: *bytes, md5s: Vec::new() }, Stream::default(), 0)).collect();
    let mut buffer = vec![0; READ_BACK];
    let mut offset = 0;
    while offset < size && !stop() {
        let len = READ_BACK.min(usize::try_from(size - offset).unwrap_or(READ_BACK));
        let piece = &mut buffer[..len];
        temp.read_at(offset, piece)?;
        if let Some(all) = &mut all {
            all.update(piece);
        }
        for (parts, stream, filled) in &mut kinds {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let take = usize::try_from(parts.part_bytes - *filled).unwrap_or(usize::MAX).min(rest.len());
                stream.update(&rest[..take]);
                *filled += take as u64;
                rest = &rest[take..];
                if *filled == parts.part_bytes {
                    parts.md5s.push(std::mem::take(stream).finish());
                    *filled = 0;
                }
            }
        }
        offset += len as u64;
    }
    let finish = |(mut parts, stream, filled): (Parts, Stream, u64)| {
        if filled > 0 {
            parts.md5s.push(stream.finish());
        }
        parts
    };
    Ok((all.map(Stream::finish), kinds.into_iter().map(finish).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ETag;

    #[test]
    fn an_etag_of_an_encrypted_object_is_no_digest() {
        let etag = ETag::Hex(Md5([7; 16]));
        let head = |etag_is_no_digest| Head {
            size: 1,
            etag: ETag::Hex(Md5([7; 16])),
            last_modified: 0,
            metadata: std::collections::HashMap::new(),
            etag_is_no_digest,
        };
        let by_etag = File { size: 1, digests: Digests::of_etag(&etag), etag: Some(etag), ..File::default() };
        assert!(trusted(&by_etag, Some(&head(true))).is_empty());
        assert_eq!(trusted(&by_etag, Some(&head(false))), by_etag.digests);
        let told = std::collections::HashMap::from([("md5chksum".to_owned(), Md5([9; 16]).base64())]);
        assert_eq!(trusted(&by_etag, Some(&Head { metadata: told, ..head(true) })), Digests::of_whole(Md5([9; 16])));
        let by_manifest = File { digests: Digests::of_whole(Md5([8; 16])), ..by_etag };
        assert_eq!(trusted(&by_manifest, Some(&head(true))), by_manifest.digests);
    }
}
