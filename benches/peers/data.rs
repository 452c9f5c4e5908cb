//! The trees that are sent: random bytes, so that nothing can be made smaller, with times in the past. And whether two trees are equal.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Failure;

pub(crate) const MIB: u64 = 1 << 20;

/// When everything was last changed: earlier than any copy of it.
const CHANGED: Duration = Duration::from_secs(1_700_000_000);

/// Numbers that look random (splitmix64), the same ones from the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Directories with files in them; `bytes` tells the size of a file by its directory and its number in it.
pub(crate) fn small_files(root: &Path, dirs: u64, files_per_dir: u64, bytes: impl Fn(u64, u64) -> usize) -> io::Result<()> {
    let mut noise = Noise::new(1);
    let mut buffer = Vec::new();
    for dir in 0..dirs {
        let path = root.join(format!("group{:02}/run{dir:04}", dir / 100));
        fs::create_dir_all(&path)?;
        for file in 0..files_per_dir {
            buffer.resize(bytes(dir, file), 0);
            noise.fill(&mut buffer);
            write(&path.join(format!("result_{file:04}.npy")), |file| file.write_all(&buffer))?;
        }
    }
    Ok(())
}

/// One file of so many bytes.
pub(crate) fn large_file(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut noise = Noise::new(seed);
    let mut buffer = vec![0; MIB as usize];
    write(path, |file| {
        let mut left = bytes;
        while left > 0 {
            let now = left.min(MIB);
            noise.fill(&mut buffer);
            file.write_all(&buffer[..now as usize])?;
            left -= now;
        }
        Ok(())
    })
}

fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::create(path)?;
    content(&mut file)?;
    file.set_modified(UNIX_EPOCH + CHANGED)
}

/// Other bytes in one run of so many, in place, a third into the file.
pub(crate) fn change(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let mut other = vec![0; bytes as usize];
    Noise::new(0xdead).fill(&mut other);
    file.write_all_at(&other, file.metadata()?.len() / 3)?;
    file.set_modified(SystemTime::now())
}

/// Copies a directory of files, without their times.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// An error that names the first path where the trees differ in their files. What lsync keeps in `.lsync` does not count.
pub(crate) fn same(expected: &Path, got: &Path) -> Result<(), Failure> {
    let [expected_files, got_files] = [expected, got].map(|root| files(root).map(|files| (root, files)));
    let ((expected_root, expected_files), (got_root, got_files)) = (expected_files?, got_files?);
    if let Some(path) = expected_files.keys().find(|path| expected_files.get(*path) != got_files.get(*path)) {
        return Err(format!("{} is missing or has another size", path.display()).into());
    }
    if let Some(path) = got_files.keys().find(|path| !expected_files.contains_key(*path)) {
        return Err(format!("{} should not be there", path.display()).into());
    }
    let mut buffers = [vec![0; MIB as usize], vec![0; MIB as usize]];
    for path in expected_files.keys() {
        let mut files = [File::open(expected_root.join(path))?, File::open(got_root.join(path))?];
        loop {
            let [expected, got] = &mut buffers;
            let bytes = files[0].read(expected)?;
            if bytes == 0 {
                break;
            }
            files[1].read_exact(&mut got[..bytes])?;
            if expected[..bytes] != got[..bytes] {
                return Err(format!("{} has other content", path.display()).into());
            }
        }
    }
    Ok(())
}

/// The files below a directory, relative to it, with their sizes.
fn files(root: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name() == ".lsync" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).map(Path::to_owned).map_err(io::Error::other)?;
                found.insert(path, entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}
