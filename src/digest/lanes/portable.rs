//! Vectors of 128 bits, which every processor has that lsync runs on: four messages in one; while one waits for its result, a second
//! goes on. A third would have no registers left.

use wide::u32x4;

use super::Block;
use super::rounds::{Words, compress};

/// Messages in a vector.
const WIDTH: usize = 4;

/// What the states become by these blocks of `N` messages, as many of each: four messages for each of the vectors.
pub(super) fn compressed<const VECTORS: usize, const N: usize>(messages: &[&[Block]; N], state: [[u32; N]; 4]) -> [[u32; N]; 4] {
    const { assert!(WIDTH * VECTORS == N, "four messages for each of the vectors") };
    let of =
        |word: [u32; N]| Pair::<VECTORS>(std::array::from_fn(|vector| u32x4::new(std::array::from_fn(|at| word[WIDTH * vector + at]))));
    let state = (0..messages[0].len()).fold(state.map(of), |state, block| compress(state, &gathered(messages, block)));
    state.map(|word| std::array::from_fn(|at| word.0[at / WIDTH].to_array()[at % WIDTH]))
}

/// A word of the messages of one vector, or of two.
#[derive(Clone, Copy)]
struct Pair<const VECTORS: usize>([u32x4; VECTORS]);

/// The 16 words of one block of all messages.
#[inline(always)]
fn gathered<const VECTORS: usize>(messages: &[&[Block]], block: usize) -> [Pair<VECTORS>; 16] {
    let mut words = [Pair([u32x4::ZERO; VECTORS]); 16];
    for vector in 0..VECTORS {
        let blocks: [&Block; WIDTH] = std::array::from_fn(|at| &messages[WIDTH * vector + at][block]);
        for quarter in 0..4 {
            let rows = blocks.map(|block| {
                u32x4::new(std::array::from_fn(|word| {
                    let at = 16 * quarter + 4 * word;
                    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
                }))
            });
            for (word, column) in u32x4::transpose(rows).into_iter().enumerate() {
                words[4 * quarter + word].0[vector] = column;
            }
        }
    }
    words
}

impl<const VECTORS: usize> Pair<VECTORS> {
    #[inline(always)]
    fn each(of: impl Fn(usize) -> u32x4) -> Self {
        Pair(std::array::from_fn(of))
    }
}

impl<const VECTORS: usize> Words for Pair<VECTORS> {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self::each(|n| self.0[n] + other.0[n])
    }

    #[inline(always)]
    fn plus_constant(self, constant: u32) -> Self {
        Self::each(|n| self.0[n] + u32x4::splat(constant))
    }

    #[inline(always)]
    fn rotated<const BY: i32, const BACK: i32>(self) -> Self {
        Self::each(|n| (self.0[n] << BY) | (self.0[n] >> BACK))
    }

    // F and G in a form with one operation less than the RFC's.
    #[inline(always)]
    fn f(b: Self, c: Self, d: Self) -> Self {
        Self::each(|n| ((c.0[n] ^ d.0[n]) & b.0[n]) ^ d.0[n])
    }

    #[inline(always)]
    fn g(b: Self, c: Self, d: Self) -> Self {
        Self::each(|n| ((b.0[n] ^ c.0[n]) & d.0[n]) ^ c.0[n])
    }

    #[inline(always)]
    fn h(b: Self, c: Self, d: Self) -> Self {
        Self::each(|n| b.0[n] ^ c.0[n] ^ d.0[n])
    }

    #[inline(always)]
    fn i(b: Self, c: Self, d: Self) -> Self {
        Self::each(|n| c.0[n] ^ (b.0[n] | !d.0[n]))
    }
}
