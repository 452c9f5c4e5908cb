//! How much of everything: as the tables have it, or little, to see that all of it runs.

use crate::data::MIB;

/// Counts and bytes of the data sets.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// W1 to W3 and W10: directories, and files of 4 KiB in each.
    pub(crate) small: (u64, u64),
    /// W4 and W5: files, and bytes of each.
    pub(crate) big: (u64, u64),
    /// W6 and W7: the same.
    pub(crate) middle: (u64, u64),
    /// W8: directories, and tiny files in each.
    pub(crate) tiny: (u64, u64),
    /// W9: the same.
    pub(crate) million: (u64, u64),
    /// W11: bytes.
    pub(crate) changed: u64,
    /// W12: files, bytes of each, and bytes of one more that travels in parts.
    pub(crate) moved: (u64, u64, u64),
}

/// What a small file takes in memory, with its inode, its copy at the server and one that was downloaded.
const SMALL_ROOM: u64 = 16 << 10;
/// What a tiny file takes in memory, with its inode, and its copy at the server.
const TINY_ROOM: u64 = 8 << 10;

impl Sizes {
    pub(crate) const FULL: Sizes = Sizes {
        small: (100, 100),
        big: (1, 2048 * MIB),
        middle: (64, 16 * MIB),
        tiny: (1000, 100),
        million: (1000, 1000),
        changed: 4096 * MIB,
        moved: (32, 16 * MIB, 512 * MIB),
    };

    pub(crate) const QUICK: Sizes = Sizes {
        small: (10, 20),
        big: (1, 40 * MIB),
        middle: (4, 16 * MIB),
        tiny: (20, 50),
        million: (20, 500),
        changed: 200 * MIB,
        moved: (2, 16 * MIB, 40 * MIB),
    };

    pub(crate) fn small_room(&self) -> u64 {
        self.small.0 * self.small.1 * SMALL_ROOM
    }

    pub(crate) fn tiny_room(&self) -> u64 {
        self.tiny.0 * self.tiny.1 * TINY_ROOM
    }

    pub(crate) fn million_room(&self) -> u64 {
        self.million.0 * self.million.1 * TINY_ROOM
    }
}
