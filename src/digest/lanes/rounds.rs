//! The rounds of MD5 (RFC 1321, 3.4) for one block of several messages at once, whatever the vectors are.

/// The integer part of `2^32 * abs(sin(i + 1))`.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// One 32-bit word of each message.
pub(super) trait Words: Copy {
    /// The sums, modulo 2^32.
    fn plus(self, other: Self) -> Self;
    /// The same with a constant.
    fn plus_constant(self, constant: u32) -> Self;
    /// Rotated to the left by `BY` bits; `BACK` is 32 less that.
    fn rotated<const BY: i32, const BACK: i32>(self) -> Self;
    /// The RFC's F: `b & c | !b & d`.
    fn f(b: Self, c: Self, d: Self) -> Self;
    /// The RFC's G: `b & d | c & !d`.
    fn g(b: Self, c: Self, d: Self) -> Self;
    /// The RFC's H: `b ^ c ^ d`.
    fn h(b: Self, c: Self, d: Self) -> Self;
    /// The RFC's I: `c ^ (b | !d)`.
    fn i(b: Self, c: Self, d: Self) -> Self;
}

/// What the state becomes by a block of the words `x`.
#[inline(always)]
pub(super) fn compress<W: Words>(state: [W; 4], x: &[W; 16]) -> [W; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($f:ident, $a:ident $b:ident $c:ident $d:ident, $word:expr, $by:expr, $number:expr) => {
            $a = $b.plus($a.plus(x[$word].plus_constant(SINES[$number])).plus(W::$f($b, $c, $d)).rotated::<$by, { 32 - $by }>());
        };
    }
    // Sixteen steps from number `first` on: each takes the word `by` further on than the one before.
    macro_rules! round {
        ($f:ident, $first:expr, words $word:expr, by $by:expr, rotated $s0:expr, $s1:expr, $s2:expr, $s3:expr) => {
            round!(@four $f, $first, $word, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 4, $word + 4 * $by, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 8, $word + 8 * $by, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 12, $word + 12 * $by, $by, $s0, $s1, $s2, $s3);
        };
        (@four $f:ident, $first:expr, $word:expr, $by:expr, $s0:expr, $s1:expr, $s2:expr, $s3:expr) => {
            step!($f, a b c d, ($word) % 16, $s0, $first);
            step!($f, d a b c, ($word + $by) % 16, $s1, $first + 1);
            step!($f, c d a b, ($word + 2 * $by) % 16, $s2, $first + 2);
            step!($f, b c d a, ($word + 3 * $by) % 16, $s3, $first + 3);
        };
    }
    round!(f, 0, words 0, by 1, rotated 7, 12, 17, 22);
    round!(g, 16, words 1, by 5, rotated 5, 9, 14, 20);
    round!(h, 32, words 5, by 3, rotated 4, 11, 16, 23);
    round!(i, 48, words 0, by 7, rotated 6, 10, 15, 21);
    let [a0, b0, c0, d0] = state;
    [a0.plus(a), b0.plus(b), c0.plus(c), d0.plus(d)]
}
