//! Vectors of 512 bits, sixteen messages in one, for processors with AVX-512: one instruction rotates, and one takes three words. `pulp`
//! knows whether the processor has them, and makes calling them safe.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::Block;
use super::rounds::{Words, compress};

/// Messages in a vector.
const WIDTH: usize = 16;

/// What the states become by these blocks of the messages, as many of each.
pub(super) fn compressed(simd: V4, messages: &[&[Block]; WIDTH], state: [[u32; WIDTH]; 4]) -> [[u32; WIDTH]; 4] {
    // Compiled for this kind of processor, with everything that it calls.
    simd.vectorize(Compression { simd, messages, state })
}

struct Compression<'a> {
    simd: V4,
    messages: &'a [&'a [Block]; WIDTH],
    state: [[u32; WIDTH]; 4],
}

impl NullaryFnOnce for Compression<'_> {
    type Output = [[u32; WIDTH]; 4];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Compression { simd, messages, state } = self;
        let blocks = messages[0].len();
        let messages = messages.map(|message| &message[..blocks]);
        let mut state = state.map(|word| Vector { simd, vector: cast(word) });
        #[expect(clippy::needless_range_loop, reason = "sixteen slices of the same length go along")]
        for block in 0..blocks {
            // Not `map`, which takes a way through memory.
            let rows = std::array::from_fn(|at| cast(messages[at][block]));
            state = compress(state, &transposed(simd, rows).map(|vector| Vector { simd, vector }));
        }
        state.map(|word| cast(word.vector))
    }
}

/// Of 16 rows of 16 words the columns: within the quarters first, and then the quarters themselves.
#[inline(always)]
fn transposed(simd: V4, rows: [__m512i; WIDTH]) -> [__m512i; WIDTH] {
    let f = simd.avx512f;
    let mut pairs = rows;
    for n in (0..WIDTH).step_by(2) {
        pairs[n] = f._mm512_unpacklo_epi32(rows[n], rows[n + 1]);
        pairs[n + 1] = f._mm512_unpackhi_epi32(rows[n], rows[n + 1]);
    }
    // Vector n + k then has of rows n to n + 3, in its quarter q, the words 4q + k.
    let mut fours = pairs;
    for n in (0..WIDTH).step_by(4) {
        fours[n] = f._mm512_unpacklo_epi64(pairs[n], pairs[n + 2]);
        fours[n + 1] = f._mm512_unpackhi_epi64(pairs[n], pairs[n + 2]);
        fours[n + 2] = f._mm512_unpacklo_epi64(pairs[n + 1], pairs[n + 3]);
        fours[n + 3] = f._mm512_unpackhi_epi64(pairs[n + 1], pairs[n + 3]);
    }
    // Quarters 0 and 2 of both, quarters 1 and 3 of both; twice.
    let mut eights = fours;
    for n in [0, 1, 2, 3, 8, 9, 10, 11] {
        eights[n] = f._mm512_shuffle_i32x4::<0b10_00_10_00>(fours[n], fours[n + 4]);
        eights[n + 4] = f._mm512_shuffle_i32x4::<0b11_01_11_01>(fours[n], fours[n + 4]);
    }
    let mut columns = eights;
    for n in 0..8 {
        columns[n] = f._mm512_shuffle_i32x4::<0b10_00_10_00>(eights[n], eights[n + 8]);
        columns[n + 8] = f._mm512_shuffle_i32x4::<0b11_01_11_01>(eights[n], eights[n + 8]);
    }
    columns
}

/// A word of sixteen messages.
#[derive(Clone, Copy)]
struct Vector {
    simd: V4,
    vector: __m512i,
}

impl Vector {
    #[inline(always)]
    fn with(self, vector: __m512i) -> Vector {
        Vector { vector, ..self }
    }

    /// What the table says for each bit: its bit `4b + 2c + d`.
    #[inline(always)]
    fn by_table<const TABLE: i32>(b: Vector, c: Vector, d: Vector) -> Vector {
        b.with(b.simd.avx512f._mm512_ternarylogic_epi32::<TABLE>(b.vector, c.vector, d.vector))
    }
}

impl Words for Vector {
    #[inline(always)]
    fn plus(self, other: Vector) -> Vector {
        self.with(self.simd.avx512f._mm512_add_epi32(self.vector, other.vector))
    }

    #[inline(always)]
    fn plus_constant(self, constant: u32) -> Vector {
        self.plus(self.with(self.simd.avx512f._mm512_set1_epi32(constant.cast_signed())))
    }

    #[inline(always)]
    fn rotated<const BY: i32, const BACK: i32>(self) -> Vector {
        self.with(self.simd.avx512f._mm512_rol_epi32::<BY>(self.vector))
    }

    #[inline(always)]
    fn f(b: Vector, c: Vector, d: Vector) -> Vector {
        Vector::by_table::<0b1100_1010>(b, c, d)
    }

    #[inline(always)]
    fn g(b: Vector, c: Vector, d: Vector) -> Vector {
        Vector::by_table::<0b1110_0100>(b, c, d)
    }

    #[inline(always)]
    fn h(b: Vector, c: Vector, d: Vector) -> Vector {
        Vector::by_table::<0b1001_0110>(b, c, d)
    }

    #[inline(always)]
    fn i(b: Vector, c: Vector, d: Vector) -> Vector {
        Vector::by_table::<0b0011_1001>(b, c, d)
    }
}
