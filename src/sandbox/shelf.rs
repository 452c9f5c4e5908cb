//! Content files of one bucket: each written once under a random name, then only read, and removed when nothing refers to it any
//! more. Knows no keys, so no key can name a path.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::HEXLOWER;

/// Aligned blocks of this many zero bytes become holes.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes that are gathered before a write; a multiple of [`BLOCK_BYTES`].
const BUFFER_BYTES: usize = 1 << 20;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// 32 random hexadecimal digits, for names that must never come back.
pub(super) fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random numbers from the system: {error}")))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// The directory of content files of a bucket.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    durable: bool,
    /// Set when the server goes away: from then on dropping a [`Blob`] removes nothing.
    closed: AtomicBool,
}

impl Shelf {
    /// Opens or creates the directory.
    pub(super) fn open(dir: PathBuf, durable: bool) -> io::Result<Arc<Shelf>> {
        fs::create_dir_all(&dir)?;
        Ok(Arc::new(Shelf { dir, durable, closed: AtomicBool::new(false) }))
    }

    /// From now on files outlive their handles.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id.get(..2).unwrap_or("xx")).join(id)
    }

    /// Takes up a file from an earlier run, which the index names. An error when it is not there.
    pub(super) fn take_up(self: &Arc<Shelf>, id: &str) -> io::Result<Arc<Blob>> {
        let well_formed = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !well_formed || !self.path(id).is_file() {
            let message = format!("content file {id} is missing from {}", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        Ok(Arc::new(Blob { shelf: Arc::clone(self), id: id.to_owned() }))
    }

    /// Removes the files that are not `known`: what a run left that ended in the middle.
    pub(super) fn sweep(&self, known: impl Fn(&str) -> bool) -> io::Result<()> {
        for shard in fs::read_dir(&self.dir)? {
            for file in fs::read_dir(shard?.path())? {
                let file = file?;
                if !file.file_name().to_str().is_some_and(&known) {
                    fs::remove_file(file.path())?;
                }
            }
        }
        Ok(())
    }
}

/// One content file; it goes when the last handle goes, unless the shelf was closed before.
#[derive(Debug)]
pub(super) struct Blob {
    shelf: Arc<Shelf>,
    id: String,
}

impl Blob {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn open(&self) -> io::Result<File> {
        File::open(self.shelf.path(&self.id))
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if !self.shelf.closed.load(Ordering::SeqCst) {
            // A file that stays is swept at the next start.
            let _ = fs::remove_file(self.shelf.path(&self.id));
        }
    }
}

/// Writes a content file from front to back, leaving holes for long runs of zeros.
#[derive(Debug)]
pub(super) struct BlobWriter {
    blob: Arc<Blob>,
    file: File,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written_bytes: u64,
}

impl BlobWriter {
    /// Creates the file. Dropping the writer removes it again.
    pub(super) fn create(shelf: &Arc<Shelf>) -> io::Result<BlobWriter> {
        let blob = Blob { shelf: Arc::clone(shelf), id: random_id()? };
        let path = shelf.path(&blob.id);
        if let Some(shard) = path.parent() {
            fs::create_dir_all(shard)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(BlobWriter { blob: Arc::new(blob), file, buffer: Vec::new(), written_bytes: 0 })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut run = 0;
        let mut at = 0;
        for block in self.buffer.chunks(BLOCK_BYTES) {
            if *block == ZEROS[..block.len()] {
                self.file.write_all_at(&self.buffer[run..at], self.written_bytes + run as u64)?;
                run = at + block.len();
            }
            at += block.len();
        }
        self.file.write_all_at(&self.buffer[run..], self.written_bytes + run as u64)?;
        self.written_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes out the rest; with a durable shelf the content is on disk when this returns.
    pub(super) fn finish(mut self) -> io::Result<Arc<Blob>> {
        self.flush()?;
        self.file.set_len(self.written_bytes)?;
        if self.blob.shelf.durable {
            self.file.sync_all()?;
            if let Some(shard) = self.blob.shelf.path(&self.blob.id).parent() {
                File::open(shard)?.sync_all()?;
                File::open(&self.blob.shelf.dir)?.sync_all()?;
            }
        }
        Ok(self.blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    /// Writes the pieces, reads them back, and returns how many bytes the file takes on disk.
    #[track_caller]
    fn check(pieces: &[&[u8]]) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().join("content"), false).unwrap();
        let mut writer = BlobWriter::create(&shelf).unwrap();
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        let blob = writer.finish().unwrap();
        let mut file = blob.open().unwrap();
        let mut got = Vec::new();
        file.read_to_end(&mut got).unwrap();
        assert!(got == pieces.concat(), "the content came back changed");
        file.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn long_runs_of_zeros_take_no_room() {
        let zeros = vec![0; 8 << 20];
        assert!(check(&[&zeros]) < 64 << 10);
        assert!(check(&[b"a", &zeros, b"b", &zeros, b"c"]) < 512 << 10);
        assert!(check(&[&zeros[..100]]) < 64 << 10);
    }

    #[test]
    fn content_comes_back_to_the_byte() {
        let noise: Vec<u8> = (0..3_000_001_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let zeros = vec![0; BLOCK_BYTES];
        check(&[]);
        check(&[b"a"]);
        check(&[&noise]);
        check(&[&noise[..BLOCK_BYTES], &zeros, &noise[..BLOCK_BYTES], &zeros]);
        check(&[&zeros[1..], &noise[..BUFFER_BYTES], &zeros, b"z"]);
    }

    #[test]
    fn a_file_goes_with_its_last_handle_unless_the_shelf_was_closed() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().join("content"), false).unwrap();
        let [gone, kept] = [(); 2].map(|()| BlobWriter::create(&shelf).unwrap().finish().unwrap());
        let [gone_path, kept_path] = [&gone, &kept].map(|blob| shelf.path(blob.id()));
        let other = Arc::clone(&gone);
        drop(gone);
        assert!(gone_path.exists());
        drop(other);
        assert!(!gone_path.exists());
        shelf.close();
        drop(kept);
        assert!(kept_path.exists());
        shelf.sweep(|_| false).unwrap();
        assert!(!kept_path.exists());
    }
}
