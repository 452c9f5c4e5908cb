//! MD5 digests of whole files and of parts, ETags, and when two of them say that contents are the same. Reads no files.
//!
//! ETag rules: a single PUT answers the MD5 of its body, a multipart upload `MD5(MD5₁‖…‖MD5ₙ)-N` (AWS, "Checking object
//! integrity"). VAST-backed stores give objects that were written over NFS an ETag that starts `48ed760a74` and is no MD5
//! ("Handling Object ETags"). Everything else is opaque.

mod lanes;

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest as _, Md5 as Hasher};

pub use lanes::{Begun, Lanes, digest_many};

/// An MD5 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// What `Content-MD5` and rclone's `md5chksum` carry.
    #[must_use]
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// Reads [`Md5::hex`]; `None` for anything but 32 lower-case digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Md5> {
        let mut md5 = [0; 16];
        (text.len() == 32 && HEXLOWER.decode_mut(text.as_bytes(), &mut md5).is_ok()).then_some(Md5(md5))
    }

    /// Reads [`Md5::base64`].
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Md5> {
        BASE64.decode(text.as_bytes()).ok()?.try_into().ok().map(Md5)
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// The MD5 of one complete buffer.
#[must_use]
pub fn digest_one(buffer: &[u8]) -> Md5 {
    Md5(Hasher::digest(buffer).into())
}

/// The MD5 of one stream that arrives in pieces; [`Lanes`] takes several side by side.
#[derive(Clone, Default)]
pub struct Stream(Hasher);

impl Stream {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> Md5 {
        Md5(self.0.finalize().into())
    }
}

/// All digests that are wanted of a stream that arrives in pieces: its MD5, and its parts in each of some sizes.
pub struct Kinds {
    whole: Option<Stream>,
    cuts: Vec<Cut>,
}

impl Kinds {
    /// `part_bytes` may be empty.
    #[must_use]
    pub fn new(whole: bool, part_bytes: &[u64]) -> Kinds {
        Kinds { whole: whole.then(Stream::default), cuts: part_bytes.iter().map(|bytes| Cut::new(*bytes)).collect() }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some(stream) = &mut self.whole {
            stream.update(piece);
        }
        self.cuts.iter_mut().for_each(|cut| cut.update(piece));
    }

    /// One [`Digests`] for each part size, in their order, each with the whole MD5 too when that is wanted; without part sizes, one with
    /// the whole MD5 alone.
    #[must_use]
    pub fn finish(self) -> Vec<Digests> {
        let whole = Digests { whole: self.whole.map(Stream::finish), ..Digests::default() };
        if self.cuts.is_empty() {
            return vec![whole];
        }
        self.cuts.into_iter().map(|cut| Digests { parts: Some(Box::new(cut.finish())), ..whole.clone() }).collect()
    }
}

/// The digests of the parts that one part size cuts a stream into.
struct Cut {
    part_bytes: u64,
    /// Bytes that the open part still takes.
    room: u64,
    open: Stream,
    md5s: Vec<Md5>,
}

impl Cut {
    fn new(part_bytes: u64) -> Cut {
        let part_bytes = part_bytes.max(1);
        Cut { part_bytes, room: part_bytes, open: Stream::default(), md5s: Vec::new() }
    }

    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.room == 0 {
                self.md5s.push(std::mem::take(&mut self.open).finish());
                self.room = self.part_bytes;
            }
            let (now, later) = piece.split_at(usize::try_from(self.room).map_or(piece.len(), |room| room.min(piece.len())));
            self.open.update(now);
            self.room -= now.len() as u64;
            piece = later;
        }
    }

    /// The last part, full or not, is still open; an empty file has one empty part.
    fn finish(mut self) -> Parts {
        self.md5s.push(self.open.finish());
        Parts { part_bytes: self.part_bytes, md5s: self.md5s }
    }
}

/// The MD5 of every part of a file that travels in equal parts of `part_bytes` (the last may be shorter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes in every part but the last.
    pub part_bytes: u64,
    /// One digest per part, in order, never empty.
    pub md5s: Vec<Md5>,
}

impl Parts {
    /// The MD5 inside the composite ETag of a multipart upload made of these parts.
    #[must_use]
    pub fn composite(&self) -> Md5 {
        let mut all = Hasher::new();
        for part in &self.md5s {
            all.update(part.0);
        }
        Md5(all.finalize().into())
    }

    /// The ETag that a store with AWS's rule answers for these parts.
    #[must_use]
    pub fn etag(&self) -> ETag {
        ETag::Composite(self.composite(), u32::try_from(self.md5s.len()).unwrap_or(u32::MAX))
    }
}

/// An entity tag as a store lists it, without quotes, kept so that it can be sent back unchanged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ETag {
    /// 32 lower-case hexadecimal digits. Usually an MD5: [`ETag::md5`] decides.
    Hex(Md5),
    /// 32 digits, `-`, a count without leading zeros.
    Composite(Md5, u32),
    /// Anything else, to the letter.
    Opaque(Box<str>),
}

/// The first bytes of the ETag that a VAST store gives to files written over NFS or SMB: not an MD5 of anything.
const WRITTEN_OVER_NFS: [u8; 5] = [0x48, 0xed, 0x76, 0x0a, 0x74];

impl ETag {
    /// Reads an ETag from a header or a listing; surrounding quotes go.
    #[must_use]
    pub fn parse(text: &str) -> ETag {
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        if let Some(md5) = Md5::from_hex(bare) {
            return ETag::Hex(md5);
        }
        let composite = bare.split_once('-').and_then(|(md5, count)| {
            let n: u32 = count.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == count)?;
            Some(ETag::Composite(Md5::from_hex(md5)?, n))
        });
        composite.unwrap_or_else(|| ETag::Opaque(bare.into()))
    }

    /// As it is written down: what [`ETag::parse`] reads as this very ETag, also when quotes belong to it.
    #[must_use]
    pub fn written(&self) -> String {
        let text = self.to_string();
        if ETag::parse(&text) == *self { text } else { format!("\"{text}\"") }
    }

    /// The MD5 of the content, where this ETag may be one.
    #[must_use]
    pub fn md5(&self) -> Option<Md5> {
        match self {
            ETag::Hex(md5) if !md5.0.starts_with(&WRITTEN_OVER_NFS) => Some(*md5),
            _ => None,
        }
    }

    /// True when the object was last written over NFS: then its user metadata may be older than its content.
    #[must_use]
    pub fn written_over_nfs(&self) -> bool {
        matches!(self, ETag::Hex(md5) | ETag::Composite(md5, _) if md5.0.starts_with(&WRITTEN_OVER_NFS))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ETag::Hex(md5) => f.write_str(&md5.hex()),
            ETag::Composite(md5, count) => write!(f, "{}-{count}", md5.hex()),
            ETag::Opaque(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Largest file that travels in one request, in bytes.
pub const SINGLE_REQUEST_MAX: u64 = 16 << 20;
/// Smallest part, in bytes; larger ones are this times a power of two.
pub const MIN_PART: u64 = 8 << 20;
/// Most parts of one multipart upload.
pub const MAX_PARTS: u64 = 10_000;

/// Bytes in a part of a file of this size, or `None` when it travels in one request.
#[must_use]
pub fn part_bytes_for(size: u64) -> Option<u64> {
    if size <= SINGLE_REQUEST_MAX {
        return None;
    }
    let mut part = MIN_PART;
    while size.div_ceil(part) > MAX_PARTS {
        part *= 2;
    }
    Some(part)
}

/// Part sizes, in bytes, that would cut `size` into exactly `count` parts and that a known tool uses: ours, the AWS CLI (8 MiB,
/// doubled), rclone (5 MiB, rounded up to whole MiB for many parts), s5cmd (50 MiB), s3cmd (15 MiB), mc (16 MiB).
#[must_use]
pub fn candidate_part_bytes(size: u64, count: u32) -> Vec<u64> {
    const MIB: u64 = 1 << 20;
    let count = u64::from(count);
    let mut found: Vec<u64> = [5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512, 1024, 2048, 4096]
        .iter()
        .map(|mib| mib * MIB)
        .filter(|part| size.div_ceil(*part) == count)
        .collect();
    if count > 1 {
        // rclone's chunk size for large files: the smallest whole MiB that gives at most 10,000 parts.
        let whole_mib = size.div_ceil(count).div_ceil(MIB) * MIB;
        if whole_mib > 0 && size.div_ceil(whole_mib) == count && !found.contains(&whole_mib) {
            found.push(whole_mib);
        }
    } else if count == 1 {
        // One part is the whole file, whatever the part size was.
        found = vec![size.max(1)];
    }
    found
}

/// What is known about a content, in every kind that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// MD5 of all bytes.
    pub whole: Option<Md5>,
    /// MD5 of every part.
    pub parts: Option<Box<Parts>>,
    /// Only the composite of parts, with their count: what a foreign multipart upload's ETag tells.
    pub composite: Option<Box<(Md5, u32)>>,
}

impl Digests {
    /// Only the whole MD5.
    #[must_use]
    pub fn of_whole(md5: Md5) -> Digests {
        Digests { whole: Some(md5), ..Digests::default() }
    }

    /// Only the parts.
    #[must_use]
    pub fn of_parts(parts: Parts) -> Digests {
        Digests { parts: Some(Box::new(parts)), ..Digests::default() }
    }

    /// What an ETag says about the content, by the rules in the module's documentation.
    #[must_use]
    pub fn of_etag(etag: &ETag) -> Digests {
        match etag {
            _ if etag.written_over_nfs() => Digests::default(),
            ETag::Hex(md5) => Digests::of_whole(*md5),
            ETag::Composite(md5, count) => Digests { composite: Some(Box::new((*md5, *count))), ..Digests::default() },
            ETag::Opaque(_) => Digests::default(),
        }
    }

    /// True when nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_none() && self.parts.is_none() && self.composite.is_none()
    }

    /// Compares within a common kind; `None` where there is none. Sizes are the caller's business.
    #[must_use]
    pub fn same(&self, other: &Digests) -> Option<bool> {
        if let (Some(a), Some(b)) = (&self.whole, &other.whole) {
            return Some(a == b);
        }
        if let (Some(a), Some(b)) = (&self.parts, &other.parts)
            && a.part_bytes == b.part_bytes
        {
            return Some(a.md5s == b.md5s);
        }
        match (self.as_composite(), other.as_composite()) {
            // Equal composites prove equal parts; different ones prove nothing unless the part sizes are known to be equal.
            (Some(a), Some(b)) if a == b => Some(true),
            _ => None,
        }
    }

    fn as_composite(&self) -> Option<(Md5, u32)> {
        match &self.parts {
            Some(parts) => Some((parts.composite(), u32::try_from(parts.md5s.len()).ok()?)),
            None => self.composite.as_deref().copied(),
        }
    }

    /// Takes over the kinds that `other` knows and this does not. Both must describe the same content.
    pub fn learn(&mut self, other: &Digests) {
        if self.whole.is_none() {
            self.whole = other.whole;
        }
        if self.parts.is_none() {
            self.parts.clone_from(&other.parts);
        }
        if self.composite.is_none() {
            self.composite.clone_from(&other.composite);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_kept_to_the_letter() {
        for text in [
            "d41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e-3",
            "D41D8CD98F00B204E9800998ECF8427E",
            "d41d8cd98f00b204e9800998ecf8427e-03",
            "W/\"x\"",
            "",
        ] {
            assert_eq!(ETag::parse(text).to_string(), text);
        }
        assert_eq!(ETag::parse("\"abc\"").to_string(), "abc");
    }

    #[test]
    fn an_etag_is_read_as_it_was_written_down() {
        let quoted_twice = "\"\"d41d8cd98f00b204e9800998ecf8427e\"\"";
        for text in
            ["d41d8cd98f00b204e9800998ecf8427e-3", "\"abc\"", "\"\"abc\"\"", "\"\"\"", "\"", "\"\"\"\"", "W/\"x\"", quoted_twice, ""]
        {
            let etag = ETag::parse(text);
            assert_eq!(ETag::parse(&etag.written()), etag, "{text}");
        }
        assert_eq!(ETag::parse("\"abc\"").written(), "abc");
    }

    #[test]
    fn an_object_written_over_nfs_has_no_digest() {
        let etag = ETag::parse("48ed760a742c2263777c00b27df3024c");
        assert_eq!((etag.md5(), Digests::of_etag(&etag).is_empty(), etag.written_over_nfs()), (None, true, true));
    }

    #[test]
    fn digests_compare_within_one_kind_only() {
        let (a, b) = (digest_one(b"a"), digest_one(b"b"));
        let parts = |part_bytes, md5s: &[Md5]| Digests::of_parts(Parts { part_bytes, md5s: md5s.to_vec() });
        assert_eq!(Digests::of_whole(a).same(&Digests::of_whole(a)), Some(true));
        assert_eq!(Digests::of_whole(a).same(&Digests::of_whole(b)), Some(false));
        assert_eq!(Digests::of_whole(a).same(&parts(8, &[a, b])), None);
        assert_eq!(parts(8, &[a, b]).same(&parts(8, &[b, a])), Some(false));
        assert_eq!(parts(8, &[a, b]).same(&parts(4, &[b, a])), None);
        let etag = Digests::of_etag(&Parts { part_bytes: 8, md5s: vec![a, b] }.etag());
        assert_eq!(parts(8, &[a, b]).same(&etag), Some(true));
        assert_eq!(parts(8, &[a, a]).same(&etag), None, "the part size behind an ETag is not known");
    }

    #[test]
    fn parts_are_8_mib_times_a_power_of_two_and_at_most_10_000() {
        assert_eq!(part_bytes_for(16 << 20), None);
        assert_eq!(part_bytes_for((16 << 20) + 1), Some(8 << 20));
        assert_eq!(part_bytes_for(20 << 30), Some(8 << 20));
        assert_eq!(part_bytes_for((8 << 20) * 10_000), Some(8 << 20));
        assert_eq!(part_bytes_for((8 << 20) * 10_000 + 1), Some(16 << 20));
    }

    #[test]
    fn part_sizes_of_known_tools_are_found_from_an_etags_count() {
        assert!(candidate_part_bytes(100 << 20, 13).contains(&(8 << 20)));
        assert!(candidate_part_bytes(100 << 20, 20).contains(&(5 << 20)));
        assert_eq!(candidate_part_bytes(7, 1), [7]);
    }
}
