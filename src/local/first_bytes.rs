//! The first bytes of a file, for those who go by them. Follows no link.

use std::io::{self, Read};

use super::mount::Mount;
use crate::path::RelPath;

/// At most so many bytes from the beginning of a file.
pub fn first_bytes(mount: &Mount, path: &RelPath, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    mount.top().file(path.as_str())?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
