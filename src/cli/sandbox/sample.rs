//! The data of the tour: a small piece of a researcher's work, with one of each thing that travels. The same bytes every time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Longer than what goes in one request, so that it travels in parts.
const CHECKPOINT_BYTES: usize = (20 << 20) + 4321;

/// Writes it into an empty directory.
pub(crate) fn write(root: &Path) -> io::Result<()> {
    let mut at = Writer { root, written: 0 };
    at.file("notes.md", 0o644, b"# Run 7\n\nThe learning rate was too high.\n")?;
    at.file("config.yaml", 0o644, b"learning_rate: 0.0003\nepochs: 3\nseed: 7\n")?;
    at.file("scripts/train.sh", 0o755, b"#!/bin/sh\nexec python train.py \"$@\"\n")?;
    at.file("data/labels-Z\u{fc}rich-\u{6771}\u{4eac}.csv", 0o640, b"id,label\n1,tram\n2,train\n")?;
    at.file("data/x_train.npy", 0o644, &npy(&[4096, 128]))?;
    at.file("data/y_train.npy", 0o644, &npy(&[4096]))?;
    at.file("results/empty.log", 0o644, b"")?;
    at.file("results/loss.csv", 0o600, b"epoch,loss\n1,0.93\n2,0.41\n3,0.27\n")?;
    at.file("checkpoints/epoch-3.pt", 0o644, &noise(CHECKPOINT_BYTES))?;
    symlink("epoch-3.pt", root.join("checkpoints/latest.pt"))?;
    fs::create_dir(root.join("results/figures"))
}

/// Adds a line to a file.
pub(crate) fn append(path: &Path, line: &str) -> io::Result<()> {
    writeln!(File::options().append(true).open(path)?, "{line}")
}

struct Writer<'a> {
    root: &'a Path,
    written: u64,
}

impl Writer<'_> {
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(self.root))?;
        let mut file = File::create(&path)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        // Some hours apart, and with nanoseconds that only survive where all of them are kept.
        self.written += 1;
        file.set_modified(UNIX_EPOCH + Duration::new(1_760_000_000 + self.written * 12_345, 123_456_789))
    }
}

/// An array as numpy saves it (NEP 1, version 1.0), of 32-bit floats.
fn npy(shape: &[usize]) -> Vec<u8> {
    let dimensions: String = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dimensions}), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded).expect("the header is short").to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    let count: usize = shape.iter().product();
    bytes.extend((0..count).flat_map(|i| (i as f32 / count as f32).to_le_bytes()));
    bytes
}

/// Bytes that do not repeat (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_aligned_as_numpy_wants_it() {
        let bytes = npy(&[4, 2]);
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(((10 + header) % 64, bytes[10 + header - 1], bytes.len()), (0, b'\n', 10 + header + 32));
    }
}
