//! Opens files for reading and tells their digests, watching that they do not change under the hand.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};

use super::beneath::in_the_way;
use super::mount::{LocalError, Mount, Stamp};
use super::witness::Witness;
use crate::digest::{Begun, Digests, Kinds, Lanes, Md5, Parts};
use crate::path::RelPath;

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;
/// The same of each part, where several are hashed side by side.
const SLICE: u64 = 256 << 10;

pub use crate::diff::Want;

/// Why a file's content could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not what it was when it was first looked at.
    #[error("it changed while it was read")]
    Changed,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A regular file, open for reading; never a link, never a FIFO.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: RelPath,
    expected: Stamp,
    witness: Witness,
    /// What it held when it was opened counts, whatever is appended.
    only_grows: bool,
}

/// What a file holds.
#[derive(Debug)]
pub struct Hashed {
    /// One for each part size that was wanted, in their order; without part sizes one.
    pub kinds: Vec<Digests>,
    /// What tells that the file changes later.
    pub witness: Witness,
}

/// Who is told of progress and asked whether to go on.
pub struct Watch<'a> {
    /// Takes the bytes of each piece that was read.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// True stops the work.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Source {
    /// Opens a file and checks that it carries `expected`.
    pub fn open(mount: &Mount, path: &RelPath, expected: &Stamp) -> Result<Source, ReadError> {
        Source::open_as(mount, path, expected, false)
    }

    /// Opens a file that may be longer by now, and may grow while it is read; what is read of it is not proven to be of one moment.
    pub fn open_growing(mount: &Mount, path: &RelPath, expected: &Stamp) -> Result<Source, ReadError> {
        Source::open_as(mount, path, expected, true)
    }

    fn open_as(mount: &Mount, path: &RelPath, expected: &Stamp, only_grows: bool) -> Result<Source, ReadError> {
        let file = mount.top().file(path.as_str()).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ReadError::Gone,
            // Something else has its name now.
            io::ErrorKind::InvalidInput => ReadError::Changed,
            _ if in_the_way(&e) => ReadError::Changed,
            _ => cannot_read(path, e),
        })?;
        // Asked before the first byte is read: what is stored later shows in the times, or there is no witness.
        let witness = if only_grows { Witness::Nothing } else { mount.witness(&file, expected) };
        let source = Source { file, path: path.clone(), expected: *expected, witness, only_grows };
        source.unchanged()?;
        Ok(source)
    }

    /// What tells that the file changed after it was opened here.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.witness
    }

    /// Reads exactly `len` bytes at `offset` into `buffer` (cleared first); fewer bytes there mean [`ReadError::Changed`].
    pub fn read(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        // Not cleared in fact: what it holds is overwritten, so that only growth costs a pass over the memory.
        buffer.resize(len, 0);
        self.file.read_exact_at(buffer, offset).map_err(|e| {
            buffer.clear();
            match e.kind() {
                io::ErrorKind::UnexpectedEof => ReadError::Changed,
                _ => cannot_read(&self.path, e),
            }
        })
    }

    /// Reads what comes next of a part.
    fn slice(&self, mut slice: Slice, watch: &Watch<'_>) -> Result<Slice, ReadError> {
        if (watch.stop)() {
            return Err(ReadError::Stopped);
        }
        let len = SLICE.min(slice.end - slice.at);
        self.read(slice.at, usize::try_from(len).expect("a slice fits into memory"), &mut slice.buffer)?;
        slice.at += len;
        // The kernel takes reads here and there for random ones, and would read nothing ahead; it need not heed this either.
        if let Some(left) = std::num::NonZeroU64::new(SLICE.min(slice.end - slice.at)) {
            let _ = fadvise(&self.file, slice.at, Some(left), Advice::WillNeed);
        }
        (watch.progress)(len);
        Ok(slice)
    }

    /// Checks, on the open descriptor, that the file still carries the stamp it was opened with; of one that only grows, that it is no
    /// shorter.
    pub fn unchanged(&self) -> Result<(), ReadError> {
        let now = self.file.metadata().map_err(|e| cannot_read(&self.path, e))?;
        let now = Stamp::of(&now);
        let has_grown = self.only_grows && now.inode == self.expected.inode && now.size >= self.expected.size;
        if now == self.expected || has_grown { Ok(()) } else { Err(ReadError::Changed) }
    }
}

/// Reads a file once and computes all digests that are wanted: one [`Digests`] for each part size, in their order, each with the whole
/// MD5 too when that is wanted; without part sizes, one with the whole MD5 alone. `progress` takes the bytes of each piece; `stop` is
/// asked between pieces.
pub fn hash_file(mount: &Mount, path: &RelPath, expected: &Stamp, want: &Want, watch: &Watch<'_>) -> Result<Hashed, ReadError> {
    let source = Source::open(mount, path, expected)?;
    if let (false, &[part_bytes]) = (want.whole, &want.part_bytes[..])
        && (1..expected.size).contains(&part_bytes)
    {
        let parts = parts_of(&source, part_bytes, watch)?;
        source.unchanged()?;
        return Ok(Hashed { kinds: vec![Digests::of_parts(parts)], witness: source.witness });
    }
    let kinds = vec![(expected.size, Kinds::new(want.whole, &want.part_bytes))];
    let mut found = in_one_pass(&source, kinds, watch)?;
    Ok(Hashed { kinds: found.swap_remove(0), witness: source.witness })
}

/// Reads the beginning of a file that only grows, up to the size of its stamp, and computes several kinds of digests of it, each of so
/// many first bytes.
pub fn hash_beginning(
    mount: &Mount,
    path: &RelPath,
    stamp: &Stamp,
    kinds: Vec<(u64, Kinds)>,
    watch: &Watch<'_>,
) -> Result<Vec<Vec<Digests>>, ReadError> {
    in_one_pass(&Source::open_growing(mount, path, stamp)?, kinds, watch)
}

/// All digests of one reading, each of so many first bytes of the file.
fn in_one_pass(source: &Source, mut kinds: Vec<(u64, Kinds)>, watch: &Watch<'_>) -> Result<Vec<Vec<Digests>>, ReadError> {
    let size = source.expected.size;
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < size {
        if (watch.stop)() {
            return Err(ReadError::Stopped);
        }
        let len = PIECE.min(size - offset);
        source.read(offset, usize::try_from(len).expect("a piece fits into memory"), &mut buffer)?;
        for (bytes, kinds) in kinds.iter_mut().filter(|(bytes, _)| *bytes > offset) {
            let wanted = usize::try_from(*bytes - offset).unwrap_or(usize::MAX);
            kinds.update(&buffer[..wanted.min(buffer.len())]);
        }
        offset += len;
        (watch.progress)(len);
    }
    // Longer than the stamp, or written to meanwhile, shows here.
    source.unchanged()?;
    Ok(kinds.into_iter().map(|(_, kinds)| kinds.finish()).collect())
}

/// Where the hashing of a part is.
struct Slice {
    part: usize,
    /// From the beginning of the file.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// The parts of a file, as many side by side as there are lanes.
fn parts_of(source: &Source, part_bytes: u64, watch: &Watch<'_>) -> Result<Parts, ReadError> {
    let size = source.expected.size;
    let mut begins = (0..size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
    let (mut lanes, mut idle, mut md5s) = (Lanes::default(), Vec::new(), Vec::new());
    loop {
        while lanes.has_room()
            && let Some(at) = begins.next()
        {
            let slice = Slice { part: md5s.len(), at, end: size.min(at + part_bytes), buffer: idle.pop().unwrap_or_default() };
            lanes.put(Begun::default(), source.slice(slice, watch)?);
            md5s.push(Md5([0; 16]));
        }
        if lanes.is_empty() {
            return Ok(Parts { part_bytes, md5s });
        }
        for (slice, begun) in lanes.step() {
            if slice.at < slice.end {
                lanes.put(begun, source.slice(slice, watch)?);
            } else {
                md5s[slice.part] = begun.finish();
                idle.push(slice.buffer);
            }
        }
    }
}

fn cannot_read(path: &RelPath, error: io::Error) -> ReadError {
    ReadError::Failed(LocalError::at("cannot read", path.as_str())(error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::digest::Parts;
    use crate::digest::digest_one;
    use crate::local::mount::Looked;

    struct Place {
        temp: tempfile::TempDir,
        mount: Mount,
    }

    fn place(files: &[(&str, &[u8])]) -> Place {
        let temp = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(temp.path().join(name), bytes).unwrap());
        let mount = Mount::open(temp.path()).unwrap();
        Place { temp, mount }
    }

    impl Place {
        fn stamp(&self, name: &str) -> Stamp {
            match self.mount.look(&path(name)).unwrap() {
                Some(Looked::File(stamp, _)) => stamp,
                other => panic!("{other:?}"),
            }
        }

        fn hash(&self, name: &str, stamp: &Stamp, want: &Want) -> Result<Vec<Digests>, ReadError> {
            let watch = Watch { progress: &|_| {}, stop: &|| false };
            hash_file(&self.mount, &path(name), stamp, want, &watch).map(|hashed| hashed.kinds)
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    /// In one go, and part by part.
    fn both_ways() -> [Want; 2] {
        [Want { whole: true, part_bytes: vec![] }, Want { whole: false, part_bytes: vec![1] }]
    }

    #[track_caller]
    fn check(bytes: &[u8], part_bytes: u64) {
        let place = place(&[("f", bytes)]);
        let found = place.hash("f", &place.stamp("f"), &Want { whole: true, part_bytes: vec![part_bytes] }).unwrap();
        let part = usize::try_from(part_bytes).unwrap();
        let md5s = if bytes.is_empty() { vec![digest_one(b"")] } else { bytes.chunks(part).map(digest_one).collect() };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].whole, Some(digest_one(bytes)));
        assert_eq!(found[0].parts.as_deref(), Some(&Parts { part_bytes, md5s }), "{} bytes by {part_bytes}", bytes.len());
        // Alone they come side by side.
        let alone = place.hash("f", &place.stamp("f"), &Want { whole: false, part_bytes: vec![part_bytes] }).unwrap();
        assert_eq!((alone[0].whole, &alone[0].parts), (None, &found[0].parts), "{} bytes by {part_bytes}", bytes.len());
    }

    #[test]
    fn parts_are_cut_wherever_their_size_says() {
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[1]).collect();
        check(b"", 8);
        check(b"1234567", 8);
        check(b"12345678", 8);
        check(b"123456789", 8);
        check(&bytes, 1 << 20);
        check(&bytes, 100_000);
        check(&bytes, 300_001);
        check(&bytes, 1_000_000);
        check(&bytes, 1_500_001);
        check(&bytes, 3_000_001);
        check(&bytes, 5_000_000);
        check(&bytes[..2 << 20], 1 << 20);
    }

    #[test]
    fn several_kinds_come_from_one_pass() {
        let bytes = vec![7; 2_500_000];
        let place = place(&[("f", &bytes)]);
        let read = AtomicU64::new(0);
        let progress = |n| {
            read.fetch_add(n, Ordering::Relaxed);
        };
        let want = Want { whole: false, part_bytes: vec![1 << 20, 2 << 20] };
        let watch = Watch { progress: &progress, stop: &|| false };
        let found = hash_file(&place.mount, &path("f"), &place.stamp("f"), &want, &watch).unwrap().kinds;
        assert_eq!(found.iter().map(|d| d.parts.as_ref().unwrap().md5s.len()).collect::<Vec<_>>(), [3, 2]);
        assert!(found.iter().all(|d| d.whole.is_none()));
        assert_eq!(read.into_inner(), 2_500_000);
        let whole = place.hash("f", &place.stamp("f"), &Want { whole: true, part_bytes: vec![] }).unwrap();
        assert_eq!(whole, [Digests::of_whole(digest_one(&bytes))]);
    }

    #[test]
    fn a_file_that_is_not_what_it_was_is_not_hashed() {
        let want = Want { whole: true, part_bytes: vec![] };
        let place = place(&[("f", b"abc"), ("other", b"xyz")]);
        let dir = place.temp.path();
        let seen = place.stamp("f");
        let check = |expected: &str| assert_eq!(place.hash("f", &seen, &want).unwrap_err().to_string(), expected);
        let changed = "it changed while it was read";
        std::fs::write(dir.join("f"), "abcd").unwrap();
        check(changed);
        std::fs::write(dir.join("f"), "ab").unwrap();
        check(changed);
        std::fs::rename(dir.join("other"), dir.join("f")).unwrap();
        check(changed);
        std::fs::remove_file(dir.join("f")).unwrap();
        check("it is gone");
        symlink("/etc/passwd", dir.join("f")).unwrap();
        check(changed);
        std::fs::remove_file(dir.join("f")).unwrap();
        std::fs::create_dir(dir.join("f")).unwrap();
        check(changed);
        std::fs::remove_dir(dir.join("f")).unwrap();
        rustix::fs::mknodat(place.mount.top(), "f", rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        check(changed);
    }

    #[test]
    fn a_change_under_the_hand_is_noticed() {
        let place = place(&[("f", b"abcdef")]);
        let dir = place.temp.path();
        let source = Source::open(&place.mount, &path("f"), &place.stamp("f")).unwrap();
        let mut buffer = vec![1; 100];
        source.read(2, 3, &mut buffer).unwrap();
        assert_eq!(buffer, b"cde");
        assert!(matches!(source.read(4, 3, &mut buffer), Err(ReadError::Changed)));
        assert!(buffer.is_empty());
        source.unchanged().unwrap();
        std::fs::write(dir.join("f"), "abcdefg").unwrap();
        assert!(matches!(source.unchanged(), Err(ReadError::Changed)));
        // Written in place while it is read: the second look finds it, although every read succeeded.
        let grow = |_| std::fs::OpenOptions::new().append(true).open(dir.join("f")).unwrap().write_all(b"longer").unwrap();
        let watch = Watch { progress: &grow, stop: &|| false };
        for want in both_ways() {
            let stamp = place.stamp("f");
            assert!(matches!(hash_file(&place.mount, &path("f"), &stamp, &want, &watch), Err(ReadError::Changed)));
        }
    }

    #[test]
    fn a_stop_is_heard_between_pieces() {
        let place = place(&[("f", b"abc")]);
        let watch = Watch { progress: &|_| {}, stop: &|| true };
        for want in both_ways() {
            let found = hash_file(&place.mount, &path("f"), &place.stamp("f"), &want, &watch);
            assert!(matches!(found, Err(ReadError::Stopped)));
        }
    }
}
