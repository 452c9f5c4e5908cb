//! Vectors of 256 bits, eight messages in one, for processors with AVX2; while one waits for its result, a second goes on. `pulp` knows
//! whether the processor has them, and makes calling them safe.

use std::arch::x86_64::__m256i;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::Block;
use super::rounds::{Words, compress};

/// Messages in a vector.
const WIDTH: usize = 8;

/// What the states become by these blocks of `N` messages, as many of each: eight messages for each of the vectors.
pub(super) fn compressed<const VECTORS: usize, const N: usize>(simd: V3, messages: &[&[Block]; N], state: [[u32; N]; 4]) -> [[u32; N]; 4] {
    const { assert!(WIDTH * VECTORS == N, "eight messages for each of the vectors") };
    // Compiled for this kind of processor, with everything that it calls.
    simd.vectorize(Compression::<VECTORS, N> { simd, messages, state })
}

struct Compression<'a, const VECTORS: usize, const N: usize> {
    simd: V3,
    messages: &'a [&'a [Block]; N],
    state: [[u32; N]; 4],
}

impl<const VECTORS: usize, const N: usize> NullaryFnOnce for Compression<'_, VECTORS, N> {
    type Output = [[u32; N]; 4];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Compression { simd, messages, state } = self;
        let of = |word: [u32; N]| Pair::<VECTORS> { simd, vectors: std::array::from_fn(|at| cast(word.as_chunks::<WIDTH>().0[at])) };
        let blocks = messages[0].len();
        let messages = messages.map(|message| &message[..blocks]);
        let mut state = state.map(of);
        for block in 0..blocks {
            state = compress(state, &gathered(simd, &messages, block));
        }
        state.map(|word| {
            let words: [[u32; WIDTH]; VECTORS] = word.vectors.map(cast);
            std::array::from_fn(|at| words[at / WIDTH][at % WIDTH])
        })
    }
}

/// The 16 words of one block of all messages.
#[inline(always)]
fn gathered<const VECTORS: usize, const N: usize>(simd: V3, messages: &[&[Block]; N], block: usize) -> [Pair<VECTORS>; 16] {
    let mut words = [Pair { simd, vectors: [simd.avx._mm256_setzero_si256(); VECTORS] }; 16];
    for vector in 0..VECTORS {
        // Not `map`, which takes a way through memory.
        let blocks: [[__m256i; 2]; WIDTH] = std::array::from_fn(|at| cast(messages[WIDTH * vector + at][block]));
        for half in 0..2 {
            let columns = transposed(simd, std::array::from_fn(|at| blocks[at][half]));
            for (word, column) in columns.into_iter().enumerate() {
                words[WIDTH * half + word].vectors[vector] = column;
            }
        }
    }
    words
}

/// Of 8 rows of 8 words the columns: within the halves first, and then the halves themselves.
#[inline(always)]
fn transposed(simd: V3, rows: [__m256i; WIDTH]) -> [__m256i; WIDTH] {
    let f = simd.avx2;
    let mut pairs = rows;
    for n in (0..WIDTH).step_by(2) {
        pairs[n] = f._mm256_unpacklo_epi32(rows[n], rows[n + 1]);
        pairs[n + 1] = f._mm256_unpackhi_epi32(rows[n], rows[n + 1]);
    }
    // Vector n + k then has of rows n to n + 3, in its half h, the words 4h + k.
    let mut fours = pairs;
    for n in (0..WIDTH).step_by(4) {
        fours[n] = f._mm256_unpacklo_epi64(pairs[n], pairs[n + 2]);
        fours[n + 1] = f._mm256_unpackhi_epi64(pairs[n], pairs[n + 2]);
        fours[n + 2] = f._mm256_unpacklo_epi64(pairs[n + 1], pairs[n + 3]);
        fours[n + 3] = f._mm256_unpackhi_epi64(pairs[n + 1], pairs[n + 3]);
    }
    let mut columns = fours;
    for n in 0..4 {
        columns[n] = f._mm256_permute2x128_si256::<0x20>(fours[n], fours[n + 4]);
        columns[n + 4] = f._mm256_permute2x128_si256::<0x31>(fours[n], fours[n + 4]);
    }
    columns
}

/// A word of the messages of one vector, or of two.
#[derive(Clone, Copy)]
struct Pair<const VECTORS: usize> {
    simd: V3,
    vectors: [__m256i; VECTORS],
}

impl<const VECTORS: usize> Pair<VECTORS> {
    #[inline(always)]
    fn each(self, of: impl Fn(usize) -> __m256i) -> Self {
        Pair { vectors: std::array::from_fn(of), ..self }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.each(|n| self.simd.avx2._mm256_and_si256(self.vectors[n], other.vectors[n]))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.each(|n| self.simd.avx2._mm256_or_si256(self.vectors[n], other.vectors[n]))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.each(|n| self.simd.avx2._mm256_xor_si256(self.vectors[n], other.vectors[n]))
    }

    #[inline(always)]
    fn not(self) -> Self {
        self.xor(self.each(|_| self.simd.avx._mm256_set1_epi32(-1)))
    }
}

impl<const VECTORS: usize> Words for Pair<VECTORS> {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.each(|n| self.simd.avx2._mm256_add_epi32(self.vectors[n], other.vectors[n]))
    }

    #[inline(always)]
    fn plus_constant(self, constant: u32) -> Self {
        self.plus(self.each(|_| self.simd.avx._mm256_set1_epi32(constant.cast_signed())))
    }

    #[inline(always)]
    fn rotated<const BY: i32, const BACK: i32>(self) -> Self {
        let left = self.each(|n| self.simd.avx2._mm256_slli_epi32::<BY>(self.vectors[n]));
        left.or(self.each(|n| self.simd.avx2._mm256_srli_epi32::<BACK>(self.vectors[n])))
    }

    // F and G in a form with one operation less than the RFC's.
    #[inline(always)]
    fn f(b: Self, c: Self, d: Self) -> Self {
        c.xor(d).and(b).xor(d)
    }

    #[inline(always)]
    fn g(b: Self, c: Self, d: Self) -> Self {
        b.xor(c).and(d).xor(c)
    }

    #[inline(always)]
    fn h(b: Self, c: Self, d: Self) -> Self {
        b.xor(c).xor(d)
    }

    #[inline(always)]
    fn i(b: Self, c: Self, d: Self) -> Self {
        c.xor(b.or(d.not()))
    }
}
