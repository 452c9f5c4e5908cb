//! MD5 (RFC 1321) of several complete messages side by side on one core, one message in each 32-bit lane of a vector. Hashes no stream
//! whose end is not there yet: that is `md-5`'s business, and so is a message that is alone.
//!
//! One message cannot be hashed faster than its steps follow each other, and they leave a core mostly idle: measured in CPU time, one
//! message goes at 0.5 GiB/s, four side by side at 1.5 and eight at 2.7 altogether. Vectors of 128 bits are in every x86-64 and every
//! 64-bit ARM processor; wider ones (tried: 256 and 512 bits) gain only when more than eight messages are there.

use std::cmp::Reverse;
use std::ops::{Add, BitAnd, BitOr, BitXor, Not};

use md5::block_api;
use wide::u32x4;

use super::Md5;

/// Messages in a vector.
const WIDTH: usize = 4;
/// Messages side by side. While one vector waits for its result, the other goes on; a third would have no registers left.
const LANES: usize = 2 * WIDTH;
/// Bytes of each message between two looks at which messages are there.
const STEP: usize = 32 << 10;
/// From how many messages on a vector is faster than one after the other. Vectors never are in a build that is not optimised, where
/// `md-5` alone still is.
const WORTH_IT: usize = if cfg!(debug_assertions) { usize::MAX } else { 2 };

/// Bytes in a block.
const BLOCK: usize = 64;
type Block = [u8; BLOCK];

/// The words that every message begins with (RFC 1321, 3.3).
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The integer part of `2^32 * abs(sin(i + 1))` (RFC 1321, 3.4).
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

/// Messages on their way, at most eight at once; as soon as one is over, another can take its lane. A message must not change
/// while it is here.
pub struct Lanes<M> {
    live: Vec<Lane<M>>,
    worth_it: usize,
}

impl<M> Default for Lanes<M> {
    fn default() -> Lanes<M> {
        Lanes { live: Vec::with_capacity(LANES), worth_it: WORTH_IT }
    }
}

impl<M: AsRef<[u8]>> Lanes<M> {
    /// True when another message can be put in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.live.len() < LANES
    }

    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The message that is on its way for longest.
    #[must_use]
    pub fn first(&self) -> Option<&M> {
        self.live.first().map(|lane| &lane.message)
    }

    /// Begins a message; to be called where there is room.
    pub fn put(&mut self, message: M) {
        assert!(self.has_room(), "every lane has a message");
        self.live.push(Lane::new(message));
    }

    /// Takes the next bytes of every message, a bounded number, and gives those that are over with their MD5s.
    #[must_use]
    pub fn step(&mut self) -> Vec<(M, Md5)> {
        let blocks = self.live.iter().map(|lane| lane.blocks().len()).min().unwrap_or(0).min(STEP / BLOCK);
        if self.live.len() < self.worth_it.max(2) {
            self.live.iter_mut().for_each(|lane| lane.alone(blocks));
        } else if self.live.len() <= WIDTH {
            together::<M, 1>(&mut self.live, blocks);
        } else {
            together::<M, 2>(&mut self.live, blocks);
        }
        self.live.extract_if(.., |lane| lane.blocks().is_empty()).map(Lane::over).collect()
    }
}

/// The MD5 of each complete message, in their order. Pure: no state outlives the call, so it may run on any thread.
#[must_use]
pub fn digest_many(messages: &[&[u8]]) -> Vec<Md5> {
    digests(messages, Lanes::default())
}

fn digests<'a>(messages: &[&'a [u8]], mut lanes: Lanes<Numbered<'a>>) -> Vec<Md5> {
    let mut digests = vec![Md5([0; 16]); messages.len()];
    let mut waiting: Vec<_> = messages.iter().enumerate().map(|(number, message)| Numbered { number, message }).collect();
    // The longest first, so that the lanes end at about the same time.
    waiting.sort_by_key(|numbered| Reverse(numbered.message.len()));
    let mut waiting = waiting.into_iter();
    loop {
        while lanes.has_room()
            && let Some(message) = waiting.next()
        {
            lanes.put(message);
        }
        if lanes.is_empty() {
            return digests;
        }
        for (Numbered { number, .. }, md5) in lanes.step() {
            digests[number] = md5;
        }
    }
}

struct Numbered<'a> {
    number: usize,
    message: &'a [u8],
}

impl AsRef<[u8]> for Numbered<'_> {
    fn as_ref(&self) -> &[u8] {
        self.message
    }
}

/// A message on its way through a lane.
struct Lane<M> {
    message: M,
    /// Bytes in its whole blocks.
    whole: usize,
    /// What is left of it, padded, with its length in bits (RFC 1321, 3.1 and 3.2): one block or two.
    tail: [u8; 2 * BLOCK],
    tail_bytes: usize,
    /// Bytes that are taken, of the whole blocks and then of the tail.
    at: usize,
    state: [u32; 4],
}

impl<M: AsRef<[u8]>> Lane<M> {
    fn new(message: M) -> Lane<M> {
        let bytes = message.as_ref();
        let rest = bytes.as_chunks::<BLOCK>().1;
        let mut tail = [0; 2 * BLOCK];
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = 0x80;
        let tail_bytes = if rest.len() + 1 + 8 <= BLOCK { BLOCK } else { 2 * BLOCK };
        let bits = (bytes.len() as u64).wrapping_mul(8);
        tail[tail_bytes - 8..tail_bytes].copy_from_slice(&bits.to_le_bytes());
        Lane { whole: bytes.len() - rest.len(), message, tail, tail_bytes, at: 0, state: INITIAL }
    }

    /// The blocks to come that lie in one piece; none when all are taken.
    fn blocks(&self) -> &[Block] {
        let bytes = match self.at.checked_sub(self.whole) {
            None => &self.message.as_ref()[self.at..self.whole],
            Some(in_tail) => &self.tail[in_tail..self.tail_bytes],
        };
        bytes.as_chunks().0
    }

    /// Takes blocks of this message by themselves.
    fn alone(&mut self, blocks: usize) {
        let mut state = self.state;
        block_api::compress(&mut state, &self.blocks()[..blocks]);
        self.state = state;
        self.at += blocks * BLOCK;
    }

    fn over(self) -> (M, Md5) {
        let mut md5 = Md5([0; 16]);
        for (bytes, word) in md5.0.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        (self.message, md5)
    }
}

/// Takes blocks of all these messages, no more than there are lanes, side by side.
fn together<M: AsRef<[u8]>, const VECTORS: usize>(lanes: &mut [Lane<M>], blocks: usize) {
    // Lanes without a message compute along on the first one's; nobody looks at them.
    let lane = |vector: usize, at: usize| lanes.get(WIDTH * vector + at).unwrap_or(&lanes[0]);
    let messages: [[&[Block]; WIDTH]; VECTORS] =
        std::array::from_fn(|vector| std::array::from_fn(|at| &lane(vector, at).blocks()[..blocks]));
    let state: [Words<VECTORS>; 4] =
        std::array::from_fn(|word| Words(std::array::from_fn(|vector| u32x4::new(std::array::from_fn(|at| lane(vector, at).state[word])))));
    // Once a processor, what it can do is remembered.
    let state = pulp::Arch::new().dispatch(Compression { messages, state });
    let state = state.map(|word| word.0.map(u32x4::to_array));
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.state = state.map(|word| word[number / WIDTH][number % WIDTH]);
        lane.at += blocks * BLOCK;
    }
}

/// Blocks of several messages, as many of each, and the state before them. Compiled once more for processors with AVX-512, whose one
/// instruction rotates and whose other takes three words: one vector goes twice as fast, two a quarter faster.
struct Compression<'a, const VECTORS: usize> {
    messages: [[&'a [Block]; WIDTH]; VECTORS],
    state: [Words<VECTORS>; 4],
}

impl<const VECTORS: usize> pulp::NullaryFnOnce for Compression<'_, VECTORS> {
    type Output = [Words<VECTORS>; 4];

    #[inline(always)]
    fn call(self) -> Self::Output {
        (0..self.messages[0][0].len()).fold(self.state, |state, block| compress(state, &gathered(&self.messages, block)))
    }
}

/// One 32-bit word of each message.
#[derive(Clone, Copy)]
struct Words<const VECTORS: usize>([u32x4; VECTORS]);

/// The 16 words of one block of all messages.
#[inline(always)]
fn gathered<const VECTORS: usize>(messages: &[[&[Block]; WIDTH]; VECTORS], block: usize) -> [Words<VECTORS>; 16] {
    let mut words = [Words([u32x4::ZERO; VECTORS]); 16];
    for (vector, messages) in messages.iter().enumerate() {
        let blocks = messages.map(|blocks| &blocks[block]);
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

macro_rules! lanewise {
    ($trait:ident, $method:ident, $op:tt) => {
        impl<const VECTORS: usize> $trait for Words<VECTORS> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Words(std::array::from_fn(|vector| self.0[vector] $op other.0[vector]))
            }
        }
    };
}
lanewise!(Add, add, +);
lanewise!(BitAnd, bitand, &);
lanewise!(BitOr, bitor, |);
lanewise!(BitXor, bitxor, ^);

impl<const VECTORS: usize> Not for Words<VECTORS> {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Words(self.0.map(|vector| !vector))
    }
}

impl<const VECTORS: usize> Words<VECTORS> {
    #[inline(always)]
    fn rotated<const BY: u32, const BACK: u32>(self) -> Self {
        Words(self.0.map(|vector| (vector << BY) | (vector >> BACK)))
    }
}

/// What the state becomes by a block of the words `x` (RFC 1321, 3.4).
#[inline(always)]
fn compress<const VECTORS: usize>(state: [Words<VECTORS>; 4], x: &[Words<VECTORS>; 16]) -> [Words<VECTORS>; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($f:expr, $a:ident $b:ident $c:ident $d:ident, $word:expr, $by:expr, $number:expr) => {
            $a = $b + ($a + $f($b, $c, $d) + (x[$word] + Words([u32x4::splat(SINES[$number]); VECTORS]))).rotated::<$by, { 32 - $by }>();
        };
    }
    // Sixteen steps from number `first` on: each takes the word `by` further on than the one before.
    macro_rules! round {
        ($f:expr, $first:expr, words $word:expr, by $by:expr, rotated $s0:expr, $s1:expr, $s2:expr, $s3:expr) => {
            round!(@four $f, $first, $word, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 4, $word + 4 * $by, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 8, $word + 8 * $by, $by, $s0, $s1, $s2, $s3);
            round!(@four $f, $first + 12, $word + 12 * $by, $by, $s0, $s1, $s2, $s3);
        };
        (@four $f:expr, $first:expr, $word:expr, $by:expr, $s0:expr, $s1:expr, $s2:expr, $s3:expr) => {
            step!($f, a b c d, ($word) % 16, $s0, $first);
            step!($f, d a b c, ($word + $by) % 16, $s1, $first + 1);
            step!($f, c d a b, ($word + 2 * $by) % 16, $s2, $first + 2);
            step!($f, b c d a, ($word + 3 * $by) % 16, $s3, $first + 3);
        };
    }
    type W<const VECTORS: usize> = Words<VECTORS>;
    // F and G in a form with one operation less than the RFC's.
    let f = |b: W<VECTORS>, c: W<VECTORS>, d: W<VECTORS>| ((c ^ d) & b) ^ d;
    let g = |b: W<VECTORS>, c: W<VECTORS>, d: W<VECTORS>| ((b ^ c) & d) ^ c;
    let h = |b: W<VECTORS>, c: W<VECTORS>, d: W<VECTORS>| b ^ c ^ d;
    let i = |b: W<VECTORS>, c: W<VECTORS>, d: W<VECTORS>| c ^ (b | !d);
    round!(f, 0, words 0, by 1, rotated 7, 12, 17, 22);
    round!(g, 16, words 1, by 5, rotated 5, 9, 14, 20);
    round!(h, 32, words 5, by 3, rotated 4, 11, 16, 23);
    round!(i, 48, words 0, by 7, rotated 6, 10, 15, 21);
    let [a0, b0, c0, d0] = state;
    [a0 + a, b0 + b, c0 + c, d0 + d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::digest_one;

    /// The digests, side by side from two messages on.
    fn side_by_side(messages: &[&[u8]]) -> Vec<String> {
        let lanes = Lanes { worth_it: 2, ..Lanes::default() };
        digests(messages, lanes).iter().map(Md5::hex).collect()
    }

    #[track_caller]
    fn check(messages: &[impl AsRef<[u8]>]) {
        let messages: Vec<&[u8]> = messages.iter().map(AsRef::as_ref).collect();
        let expected: Vec<String> = messages.iter().map(|message| digest_one(message).hex()).collect();
        assert_eq!(side_by_side(&messages), expected);
        assert_eq!(digest_many(&messages).iter().map(Md5::hex).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_rfcs_own_examples_come_out() {
        // RFC 1321, A.5.
        let (messages, expected): (Vec<&[u8]>, Vec<&str>) = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            ("12345678901234567890123456789012345678901234567890123456789012345678901234567890", "57edf4a22be3c955ac49da2e2107b67a"),
        ]
        .map(|(message, md5)| (message.as_bytes(), md5))
        .into_iter()
        .unzip();
        assert_eq!(side_by_side(&messages), expected);
        for (message, md5) in messages.iter().zip(expected) {
            assert_eq!(side_by_side(&[message, message]), [md5, md5]);
        }
    }

    #[test]
    fn no_messages_have_no_digests() {
        check(&[""; 0]);
    }

    #[test]
    fn messages_longer_than_a_step_come_out() {
        let bytes: Vec<u8> = (0..3 * STEP + 100).map(|n| (n * 31 / 7) as u8).collect();
        check(&[&bytes[..], &bytes[1..2 * STEP], &bytes[..STEP], &bytes[3..STEP + 64]]);
    }

    #[test]
    fn a_message_that_comes_later_takes_a_lane_among_the_others() {
        let bytes: Vec<u8> = (0..2 * STEP).map(|n| (n / 3) as u8).collect();
        let mut lanes = Lanes { worth_it: 2, ..Lanes::default() };
        lanes.put(&bytes[..]);
        let mut over = lanes.step();
        assert!(over.is_empty());
        // Begun alone, it goes on beside two others, and then alone again.
        lanes.put(&bytes[..10]);
        lanes.put(&bytes[..100]);
        while !lanes.is_empty() {
            over.extend(lanes.step());
        }
        let expected = [&bytes[..10], &bytes[..100], &bytes[..]].map(|message| (message, digest_one(message)));
        assert_eq!(over, expected);
    }

    /// Lengths around every border of the padding, and any other.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            prop::sample::select(vec![0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 121, 127, 128, 129]),
            (0..12_usize).prop_map(|blocks| 64 * blocks),
            0..600_usize,
        ]
    }

    proptest! {
        #[test]
        fn many_messages_have_the_digests_that_each_has_alone(
            bytes in prop::collection::vec(any::<u8>(), 1000),
            cuts in prop::collection::vec((0..300_usize, length()), 0..20),
        ) {
            // They begin anywhere, so that no alignment is taken for granted.
            let messages: Vec<&[u8]> = cuts.iter().map(|(from, len)| &bytes[*from..(from + len).min(1000)]).collect();
            check(&messages);
        }
    }
}
