//! How each path stands: local now, bucket now, and what both last agreed on. Pure and free of direction: `plan` decides what a
//! direction makes of it. Clocks are never asked.

use crate::digest::{Digests, candidate_part_bytes, part_bytes_for};
use crate::entry::{Entry, Kind};
use crate::path::RelPath;

/// How a path that is there on at least one side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both sides hold the same content.
    Same,
    /// The bucket holds what both agreed on; the mount has changed.
    LocalChanged,
    /// The mount holds what both agreed on; the bucket has changed.
    BucketChanged,
    /// Both have changed, or nothing was ever agreed on.
    BothChanged,
    /// Equal sizes and no digest to compare: neither equal nor different.
    Unknown,
    /// Only the mount has it.
    OnlyLocal(Since),
    /// Only the bucket has it.
    OnlyBucket(Since),
}

/// What the base says about the side that has a path when the other lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The base does not have the path.
    New,
    /// It is what the base has: the other side removed it.
    Unchanged,
    /// It is not, or not provably, what the base has.
    Changed,
}

/// What lies at one path, as far as it is known; a local file's digests are those that are known without reading it.
#[derive(Clone, Copy, Debug)]
pub struct Triple<'a> {
    /// Now, in the mount.
    pub local: Option<&'a Entry>,
    /// Now, in the bucket.
    pub bucket: Option<&'a Entry>,
    /// When both sides last agreed.
    pub base: Option<&'a Entry>,
}

/// How the path stands; `None` when neither side has it.
#[must_use]
pub fn standing(at: Triple<'_>) -> Option<Standing> {
    let since = |now: &Entry| match at.base.map(|base| now.same_content(base)) {
        None => Since::New,
        Some(Some(true)) => Since::Unchanged,
        Some(Some(false) | None) => Since::Changed,
    };
    match (at.local, at.bucket) {
        (None, None) => None,
        (Some(local), None) => Some(Standing::OnlyLocal(since(local))),
        (None, Some(bucket)) => Some(Standing::OnlyBucket(since(bucket))),
        (Some(local), Some(bucket)) => Some(both(local, bucket, at.base)),
    }
}

fn both(local: &Entry, bucket: &Entry, base: Option<&Entry>) -> Standing {
    let is_base = |now: &Entry| base.and_then(|base| now.same_content(base));
    match (local.same_content(bucket), is_base(local), is_base(bucket)) {
        (Some(true), _, _) | (None, Some(true), Some(true)) => Standing::Same,
        (_, Some(false), Some(true)) => Standing::LocalChanged,
        (_, Some(true), Some(false)) => Standing::BucketChanged,
        // Different from each other, and one of them equal to the base: then it is the other that changed.
        (Some(false), _, Some(true)) => Standing::LocalChanged,
        (Some(false), Some(true), _) => Standing::BucketChanged,
        (Some(false), _, _) => Standing::BothChanged,
        (None, _, _) => Standing::Unknown,
    }
}

/// Which digests a decision may need of a local file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The MD5 of all bytes.
    pub whole: bool,
    /// The MD5 of every part, for each of these part sizes in bytes.
    pub part_bytes: Vec<u64>,
}

impl Want {
    /// True when nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.whole && self.part_bytes.is_empty()
    }

    fn of(&mut self, digests: &Digests, size: u64) {
        if digests.whole.is_some() {
            self.whole = true;
        } else if let Some(parts) = &digests.parts {
            self.part(parts.part_bytes);
        } else if let Some((_, count)) = digests.composite.as_deref().copied() {
            for part_bytes in candidate_part_bytes(size, count) {
                self.part(part_bytes);
            }
        }
    }

    fn part(&mut self, part_bytes: u64) {
        if !self.part_bytes.contains(&part_bytes) {
            self.part_bytes.push(part_bytes);
        }
    }
}

/// What has to be hashed before [`standing`] can tell as much as can be told. Empty for everything that is decided without reading:
/// no counterpart, different sizes, digests that are known. `removals`: whether the run may delete, so that a file without a
/// counterpart is compared with the base too.
#[must_use]
pub fn wanted(at: Triple<'_>, removals: bool) -> Want {
    let mut want = Want::default();
    let Some(file) = at.local.and_then(Entry::file).filter(|file| file.size > 0) else { return want };
    let local = at.local.expect("the file above is the local entry's");
    let comparable = |other: &&Entry| other.file().is_some_and(|o| o.size == file.size);
    let undecided = |other: &Entry| local.same_content(other).is_none();
    let mut ask = |other: &Entry| {
        if let Some(o) = other.file() {
            want.of(&o.digests, o.size);
        }
    };
    match at.bucket {
        Some(bucket) => {
            let with_bucket = comparable(&bucket) && undecided(bucket);
            if with_bucket {
                ask(bucket);
            }
            // Equal to the bucket settles it; the base matters when they may differ.
            if let Some(base) = at.base.filter(comparable).filter(|base| undecided(base))
                && bucket.same_content(base) != Some(true)
                && local.same_content(bucket) != Some(true)
            {
                ask(base);
            }
        }
        None => {
            if let Some(base) = at.base.filter(comparable).filter(|base| removals && undecided(base)) {
                ask(base);
            }
        }
    }
    want
}

/// True when the bucket's file has the size of the local one, and nothing yet tells its content: one HEAD may.
#[must_use]
pub fn may_ask_metadata(at: Triple<'_>) -> bool {
    let (Some(local), Some(bucket)) = (at.local.and_then(Entry::file), at.bucket.and_then(Entry::file)) else { return false };
    let told = !bucket.digests.is_empty() && bucket.digests.composite.is_none();
    let over_nfs = bucket.etag.as_ref().is_some_and(crate::digest::ETag::written_over_nfs);
    local.size == bucket.size && local.size > 0 && !told && !over_nfs
}

/// The permission bits of a file or directory that a download makes where nothing tells any, under this umask.
#[must_use]
pub fn mode_of_new(kind: &Kind, umask: u32) -> u32 {
    let all = if *kind == Kind::Dir { 0o777 } else { 0o666 };
    all & !umask
}

/// The permission bits that a carry from `source` to `destination` sets, when both hold the same content: changed at the source
/// only, or on both sides, or never agreed on. An object that another tool put tells none: at the destination it counts as having those
/// that a download would give it under this umask, whatever was agreed on about another version of it; as a source it carries none. `None`:
/// nothing to carry.
#[must_use]
pub fn mode_to_carry(source: &Entry, destination: &Entry, base: Option<&Entry>, umask: u32) -> Option<u32> {
    if matches!(source.kind, Kind::Link(_)) {
        return None;
    }
    let (from, to) = (source.mode?, destination.mode.unwrap_or_else(|| mode_of_new(&destination.kind, umask)));
    let agreed = base.filter(|base| destination.mode.is_some() || !is_another_version(base, destination)).and_then(|base| base.mode);
    (from != to && agreed != Some(from)).then_some(from)
}

/// True when the base was agreed on about another version of the object: what it says of permission bits no manifest tells any more.
#[must_use]
pub fn is_another_version(base: &Entry, bucket: &Entry) -> bool {
    matches!((base.file(), bucket.file()), (Some(base), Some(bucket)) if base.etag.is_some() && !base.is_version_of(bucket))
}

/// The permission bits that a destination has after content came to it: the source's, unless only the destination changed them.
#[must_use]
pub fn mode_after(source: &Entry, destination: Option<&Entry>, base: Option<&Entry>) -> Option<u32> {
    let mode = |entry: Option<&Entry>| entry.filter(|e| e.kind_name() == source.kind_name()).and_then(|e| e.mode);
    match (source.mode, mode(destination), mode(base)) {
        (Some(from), Some(to), Some(agreed)) if from == agreed => Some(to),
        (from, _, _) => from,
    }
}

/// The permission bits that both sides agree on where the mount has `local` and the bucket tells `bucket`; where they differ, what they
/// agreed on before: a change on one side alone stays one.
#[must_use]
pub fn mode_agreed(kind: &Kind, local: Option<u32>, bucket: Option<u32>, before: Option<u32>, umask: u32) -> Option<u32> {
    if matches!(kind, Kind::Link(_)) {
        return None;
    }
    let there = bucket.unwrap_or_else(|| mode_of_new(kind, umask));
    if local.is_none_or(|here| here == there) { Some(there) } else { before }
}

/// `--compare size`: files of equal size whose recorded times are equal.
#[must_use]
pub fn same_size_and_time(at: Triple<'_>) -> bool {
    const SECOND: i64 = 1_000_000_000;
    let (Some(local), Some(bucket)) = (at.local.and_then(Entry::file), at.bucket.and_then(Entry::file)) else { return false };
    match (local.mtime, bucket.mtime) {
        // Tools record whole seconds: compare at that precision when one side has no fraction.
        (Some(a), Some(b)) if local.size == bucket.size => a == b || (b % SECOND == 0 && a.div_euclid(SECOND) == b.div_euclid(SECOND)),
        _ => false,
    }
}

/// The part size that a local file of this size would travel in, as a want: what an upload learns anyway.
#[must_use]
pub fn travelling(size: u64) -> Want {
    match part_bytes_for(size) {
        None => Want { whole: true, part_bytes: Vec::new() },
        Some(part_bytes) => Want { whole: false, part_bytes: vec![part_bytes] },
    }
}

/// One path of a merged walk over several sorted lists.
#[derive(Debug)]
pub struct Row<'a, L, R, B> {
    /// The path.
    pub path: &'a RelPath,
    /// From the first list.
    pub local: Option<&'a L>,
    /// From the second.
    pub bucket: Option<&'a R>,
    /// From the third.
    pub base: Option<&'a B>,
}

/// Walks three sorted lists at once, giving every path once, in order.
pub fn merge<'a, L, R, B>(
    local: &'a [(RelPath, L)],
    bucket: &'a [(RelPath, R)],
    base: &'a [(RelPath, B)],
) -> impl Iterator<Item = Row<'a, L, R, B>> {
    let (mut local, mut bucket, mut base) = (local.iter().peekable(), bucket.iter().peekable(), base.iter().peekable());
    std::iter::from_fn(move || {
        let next = [local.peek().map(|x| &x.0), bucket.peek().map(|x| &x.0), base.peek().map(|x| &x.0)];
        let path = next.into_iter().flatten().min()?;
        Some(Row {
            path,
            local: local.next_if(|x| x.0 == *path).map(|x| &x.1),
            bucket: bucket.next_if(|x| x.0 == *path).map(|x| &x.1),
            base: base.next_if(|x| x.0 == *path).map(|x| &x.1),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{ETag, Parts, digest_one};
    use crate::entry::File;

    /// `a5` is a file with content `a` of size 5, digest known; `?5` one whose digest is not known; `>x` a link; `/` a directory.
    fn entry(text: &str) -> Option<Entry> {
        let (first, rest) = text.split_at_checked(1)?;
        let kind = match first {
            "-" => return None,
            ">" => Kind::Link(rest.into()),
            "/" => Kind::Dir,
            _ => {
                let digests = if first == "?" { Digests::default() } else { Digests::of_whole(digest_one(first.as_bytes())) };
                Kind::File(File { size: rest.parse().unwrap(), digests, ..File::default() })
            }
        };
        Some(Entry { kind, mode: None })
    }

    #[track_caller]
    fn stands(local: &str, bucket: &str, base: &str, expected: Option<Standing>) {
        let (l, r, b) = (entry(local), entry(bucket), entry(base));
        let triple = Triple { local: l.as_ref(), bucket: r.as_ref(), base: b.as_ref() };
        assert_eq!(standing(triple), expected, "L={local} R={bucket} B={base}");
    }

    #[test]
    fn every_row_of_the_decision_table() {
        use Since::{Changed, New, Unchanged};
        use Standing::{BothChanged, BucketChanged, LocalChanged, OnlyBucket, OnlyLocal, Same};
        stands("-", "-", "a1", None);
        stands("a1", "-", "-", Some(OnlyLocal(New)));
        stands("a1", "-", "a1", Some(OnlyLocal(Unchanged)));
        stands("b1", "-", "a1", Some(OnlyLocal(Changed)));
        stands("?1", "-", "a1", Some(OnlyLocal(Changed)));
        stands("-", "a1", "-", Some(OnlyBucket(New)));
        stands("-", "a1", "a1", Some(OnlyBucket(Unchanged)));
        stands("-", "b2", "a1", Some(OnlyBucket(Changed)));
        stands("a1", "a1", "-", Some(Same));
        stands("a1", "a1", "b1", Some(Same));
        stands("b1", "a1", "a1", Some(LocalChanged));
        stands("b2", "a1", "a1", Some(LocalChanged));
        stands("a1", "b1", "a1", Some(BucketChanged));
        stands("a1", "b2", "a1", Some(BucketChanged));
        stands("b1", "c1", "a1", Some(BothChanged));
        stands("b1", "c1", "-", Some(BothChanged));
        stands("a1", "b2", "-", Some(BothChanged));
    }

    #[test]
    fn equal_size_without_a_digest_is_unknown() {
        use Standing::{BothChanged, LocalChanged, Unknown};
        stands("a1", "?1", "-", Some(Unknown));
        stands("a1", "?1", "a1", Some(Unknown));
        stands("a1", "?1", "b1", Some(Unknown));
        stands("a1", "?2", "-", Some(BothChanged));
        stands("b2", "?1", "a2", Some(BothChanged));
        stands("b2", "a1", "a1", Some(LocalChanged));
        stands("?0", "?0", "-", Some(Standing::Same));
    }

    #[test]
    fn a_path_whose_kind_differs_differs() {
        use Standing::{BothChanged, BucketChanged, LocalChanged, Same};
        stands(">x", "a1", "a1", Some(LocalChanged));
        stands("a1", ">x", "a1", Some(BucketChanged));
        stands(">x", "a1", "-", Some(BothChanged));
        stands(">x", ">y", ">y", Some(LocalChanged));
        stands(">x", ">x", "-", Some(Same));
        stands("/", "a1", "/", Some(BucketChanged));
        stands("/", "/", "-", Some(Same));
    }

    #[track_caller]
    fn wants(local: &str, bucket: &str, base: &str, removals: bool, whole: bool) {
        let (l, r, b) = (entry(local), entry(bucket), entry(base));
        let triple = Triple { local: l.as_ref(), bucket: r.as_ref(), base: b.as_ref() };
        assert_eq!(wanted(triple, removals).whole, whole, "L={local} R={bucket} B={base}");
    }

    #[test]
    fn only_what_the_decision_needs_is_hashed() {
        wants("?5", "-", "-", true, false);
        wants("?5", "-", "a5", false, false);
        wants("?5", "-", "a5", true, true);
        wants("?5", "a4", "-", false, false);
        wants("?5", "a4", "a4", false, false);
        wants("?5", "a5", "-", false, true);
        wants("a5", "a5", "-", false, false);
        wants("?5", "?5", "-", false, false);
        // The sizes differ from the bucket's; whether the mount changed since the base still has to be known.
        wants("?5", "b4", "a5", false, true);
        wants("?0", "a0", "-", false, false);
    }

    #[test]
    fn parts_are_asked_for_in_the_kind_that_the_bucket_offers() {
        let file = |digests| Entry { kind: Kind::File(File { size: 100 << 20, digests, ..File::default() }), mode: None };
        let local = file(Digests::default());
        let ours = file(Digests::of_parts(Parts { part_bytes: 8 << 20, md5s: vec![digest_one(b""); 13] }));
        let foreign = file(Digests::of_etag(&ETag::Composite(digest_one(b""), 20)));
        let want = |bucket: &Entry| wanted(Triple { local: Some(&local), bucket: Some(bucket), base: None }, false).part_bytes;
        assert_eq!(want(&ours), [8 << 20]);
        assert_eq!(want(&foreign), [5 << 20]);
    }

    #[test]
    fn permission_bits_are_three_way() {
        let with = |mode| Entry { kind: Kind::Dir, mode };
        let check = |source, destination, base: Option<Option<u32>>, expected| {
            let base = base.map(with);
            assert_eq!(mode_to_carry(&with(source), &with(destination), base.as_ref(), 0o022), expected);
        };
        check(Some(0o600), Some(0o644), Some(Some(0o644)), Some(0o600));
        check(Some(0o644), Some(0o600), Some(Some(0o644)), None);
        check(Some(0o600), Some(0o755), Some(Some(0o644)), Some(0o600));
        check(Some(0o600), Some(0o644), None, Some(0o600));
        check(Some(0o600), Some(0o600), None, None);
        check(None, Some(0o600), None, None);
        // What another tool put tells none: a download would make it 0777 & ~umask, or 0666 for a file.
        check(Some(0o600), None, None, Some(0o600));
        check(Some(0o755), None, None, None);
        check(Some(0o600), None, Some(Some(0o600)), None);
        check(Some(0o600), None, Some(Some(0o755)), Some(0o600));
        assert_eq!(mode_of_new(&Kind::File(File::default()), 0o027), 0o640);
    }

    #[test]
    fn permission_bits_are_agreed_on_only_where_both_sides_have_them() {
        let agreed = |local, bucket, before| mode_agreed(&Kind::File(File::default()), local, bucket, before, 0o022);
        assert_eq!(agreed(Some(0o600), Some(0o600), None), Some(0o600));
        assert_eq!(agreed(Some(0o600), Some(0o644), Some(0o644)), Some(0o644), "a change on one side stays one");
        assert_eq!(agreed(Some(0o755), None, None), None, "the bucket does not tell, and no download would give it");
        assert_eq!(agreed(Some(0o755), None, Some(0o755)), Some(0o755));
        assert_eq!((agreed(Some(0o644), None, None), agreed(None, None, None)), (Some(0o644), Some(0o644)));
        assert_eq!(mode_agreed(&Kind::Link("t".into()), None, None, None, 0), None);
    }

    #[test]
    fn three_lists_are_walked_as_one() {
        let list = |names: &[&str]| names.iter().map(|n| (RelPath::new(n).unwrap(), ())).collect::<Vec<_>>();
        let (l, r, b) = (list(&["a", "c"]), list(&["b", "c"]), list(&["a", "d"]));
        let rows: Vec<_> = merge(&l, &r, &b)
            .map(|row| format!("{}{}{}{}", row.path, row.local.is_some() as u8, row.bucket.is_some() as u8, row.base.is_some() as u8))
            .collect();
        assert_eq!(rows, ["a101", "b010", "c110", "d001"]);
    }
}
