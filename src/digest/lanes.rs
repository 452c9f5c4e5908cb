//! MD5 (RFC 1321) of several messages side by side on one core, one message in each 32-bit lane of a vector; complete ones, or pieces of
//! those that are still arriving. A message that is alone is `md-5`'s business.
//!
//! One message cannot be hashed faster than its steps follow each other, and they leave a core mostly idle: measured, one message goes at
//! 0.5 GiB/s; side by side, two go at 0.9 altogether and eight at 2.8 with vectors of 128 bits, which every x86-64 and every 64-bit ARM
//! processor has; with AVX2 two go at 0.9, eight at 3.8 and sixteen at 5.4; with AVX-512 two go at 1.1, eight at 4.3 and sixteen at 8.3.

#[cfg(target_arch = "x86_64")]
mod eight;
mod portable;
mod rounds;
#[cfg(target_arch = "x86_64")]
mod sixteen;

use std::cmp::Reverse;

use md5::block_api;

use super::Md5;

/// Messages side by side, at most.
pub(super) const LANES: usize = 16;
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

/// The MD5 of the beginning of a message.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// After the whole blocks.
    state: [u32; 4],
    /// What follows them, less than a block.
    rest: [u8; BLOCK],
    /// Bytes so far.
    bytes: u64,
}

impl Default for Begun {
    fn default() -> Begun {
        Begun { state: INITIAL, rest: [0; BLOCK], bytes: 0 }
    }
}

impl Begun {
    /// The MD5 of the message, which ends here.
    #[must_use]
    pub fn finish(mut self) -> Md5 {
        // The padding, and the length in bits (RFC 1321, 3.1 and 3.2): one block or two.
        let (mut tail, rest) = ([0; 2 * BLOCK], self.rest());
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = 0x80;
        let tail_bytes = if rest.len() + 1 + 8 <= BLOCK { BLOCK } else { 2 * BLOCK };
        let bits = self.bytes.wrapping_mul(8);
        tail[tail_bytes - 8..tail_bytes].copy_from_slice(&bits.to_le_bytes());
        block_api::compress(&mut self.state, tail[..tail_bytes].as_chunks().0);
        let mut md5 = Md5([0; 16]);
        for (bytes, word) in md5.0.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        md5
    }

    fn rest(&self) -> &[u8] {
        &self.rest[..(self.bytes % BLOCK as u64) as usize]
    }

    /// Takes from what comes next as much as the last block lacks, and says how much that is.
    fn fill(&mut self, next: &[u8]) -> usize {
        let there = self.rest().len();
        let taken = if there == 0 { 0 } else { (BLOCK - there).min(next.len()) };
        self.rest[there..there + taken].copy_from_slice(&next[..taken]);
        self.bytes += taken as u64;
        if there + taken == BLOCK {
            block_api::compress(&mut self.state, &[self.rest]);
        }
        taken
    }
}

/// Messages on their way, or pieces of them, at most sixteen at once; as soon as one is over, another can take its lane. What is here must
/// not change.
pub struct Lanes<M> {
    live: Vec<Lane<M>>,
    worth_it: usize,
    vectors: Vectors,
}

/// What the processor has.
#[derive(Clone, Copy, Debug)]
enum Vectors {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Eight(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Sixteen(pulp::x86::V4),
}

impl Vectors {
    /// All that this processor has, the best last. It is asked once, and remembered.
    fn all() -> impl Iterator<Item = Vectors> {
        #[cfg(target_arch = "x86_64")]
        let wider = [pulp::x86::V3::try_new().map(Vectors::Eight), pulp::x86::V4::try_new().map(Vectors::Sixteen)];
        #[cfg(not(target_arch = "x86_64"))]
        let wider: [Option<Vectors>; 0] = [];
        std::iter::once(Vectors::Portable).chain(wider.into_iter().flatten())
    }
}

impl<M> Default for Lanes<M> {
    fn default() -> Lanes<M> {
        Lanes { live: Vec::with_capacity(LANES), worth_it: WORTH_IT, vectors: Vectors::all().last().unwrap_or(Vectors::Portable) }
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

    /// Begins what follows `begun`: the next piece of that message, or a whole one. To be called where there is room.
    pub fn put(&mut self, begun: Begun, next: M) {
        assert!(self.has_room(), "every lane has a message");
        self.live.push(Lane::new(begun, next));
    }

    /// Takes the next bytes of everything that is here, a bounded number, and gives what is over with the MD5 up to there.
    #[must_use]
    pub fn step(&mut self) -> Vec<(M, Begun)> {
        let blocks = self.live.iter().map(|lane| lane.blocks().len()).min().unwrap_or(0).min(STEP / BLOCK);
        match self.vectors {
            _ if self.live.len() < self.worth_it.max(2) => self.live.iter_mut().for_each(|lane| lane.alone(blocks)),
            #[cfg(target_arch = "x86_64")]
            Vectors::Eight(simd) => match self.live.len() {
                ..=8 => together(&mut self.live, blocks, |messages, state| eight::compressed::<1, 8>(simd, messages, state)),
                _ => together(&mut self.live, blocks, |messages, state| eight::compressed::<2, 16>(simd, messages, state)),
            },
            #[cfg(target_arch = "x86_64")]
            Vectors::Sixteen(simd) => together(&mut self.live, blocks, |messages, state| sixteen::compressed(simd, messages, state)),
            Vectors::Portable => {
                for lanes in self.live.chunks_mut(8) {
                    match lanes.len() {
                        ..=4 => together::<M, 4>(lanes, blocks, portable::compressed::<1, 4>),
                        _ => together::<M, 8>(lanes, blocks, portable::compressed::<2, 8>),
                    }
                }
            }
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
            lanes.put(Begun::default(), message);
        }
        if lanes.is_empty() {
            return digests;
        }
        for (Numbered { number, .. }, md5) in lanes.step() {
            digests[number] = md5.finish();
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

/// A message, or a piece of one, on its way through a lane.
struct Lane<M> {
    message: M,
    /// Bytes that are taken.
    at: usize,
    /// Where its whole blocks end.
    end: usize,
    /// The state is the one at `at`; the bytes are those at the end.
    begun: Begun,
}

impl<M: AsRef<[u8]>> Lane<M> {
    fn new(mut begun: Begun, message: M) -> Lane<M> {
        let bytes = message.as_ref();
        let at = begun.fill(bytes);
        let (blocks, rest) = bytes[at..].as_chunks::<BLOCK>();
        begun.bytes += (bytes.len() - at) as u64;
        begun.rest[..rest.len()].copy_from_slice(rest);
        Lane { end: at + blocks.len() * BLOCK, at, begun, message }
    }

    /// The blocks to come; none when all are taken.
    fn blocks(&self) -> &[Block] {
        self.message.as_ref()[self.at..self.end].as_chunks().0
    }

    /// Takes blocks of this message by themselves.
    fn alone(&mut self, blocks: usize) {
        let mut state = self.begun.state;
        block_api::compress(&mut state, &self.blocks()[..blocks]);
        self.begun.state = state;
        self.at += blocks * BLOCK;
    }

    fn over(self) -> (M, Begun) {
        (self.message, self.begun)
    }
}

/// Takes blocks of all these messages, no more than `N`, side by side.
fn together<M: AsRef<[u8]>, const N: usize>(
    lanes: &mut [Lane<M>],
    blocks: usize,
    compressed: impl FnOnce(&[&[Block]; N], [[u32; N]; 4]) -> [[u32; N]; 4],
) {
    // Lanes without a message compute along on the first one's; nobody looks at them.
    let lane = |at: usize| lanes.get(at).unwrap_or(&lanes[0]);
    let messages = std::array::from_fn(|at| &lane(at).blocks()[..blocks]);
    let state = std::array::from_fn(|word| std::array::from_fn(|at| lane(at).begun.state[word]));
    let state = compressed(&messages, state);
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.begun.state = state.map(|word| word[number]);
        lane.at += blocks * BLOCK;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::digest_one;

    /// Side by side from two messages on, with every kind of vectors that this processor has.
    fn lanes<M>() -> impl Iterator<Item = Lanes<M>> {
        Vectors::all().map(|vectors| Lanes { live: Vec::new(), worth_it: 2, vectors })
    }

    /// The digests, side by side.
    fn side_by_side(messages: &[&[u8]]) -> Vec<String> {
        let mut all = lanes().map(|lanes| digests(messages, lanes).iter().map(Md5::hex).collect());
        let portable = all.next().expect("every processor has some");
        assert!(all.all(|wider: Vec<String>| wider == portable));
        portable
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
        for mut lanes in lanes() {
            lanes.put(Begun::default(), &bytes[..]);
            assert!(lanes.step().is_empty());
            // Begun alone, it goes on beside two others, and then alone again.
            lanes.put(Begun::default(), &bytes[..10]);
            lanes.put(Begun::default(), &bytes[..100]);
            let mut over = Vec::new();
            while !lanes.is_empty() {
                over.extend(lanes.step().into_iter().map(|(message, md5)| (message, md5.finish())));
            }
            let expected = [&bytes[..10], &bytes[..100], &bytes[..]].map(|message| (message, digest_one(message)));
            assert_eq!(over, expected);
        }
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
            cuts in prop::collection::vec((0..300_usize, length()), 0..40),
        ) {
            // They begin anywhere, so that no alignment is taken for granted.
            let messages: Vec<&[u8]> = cuts.iter().map(|(from, len)| &bytes[*from..(from + len).min(1000)]).collect();
            check(&messages);
        }

        #[test]
        fn pieces_one_after_the_other_are_the_message(
            bytes in prop::collection::vec(any::<u8>(), 1000),
            cuts in prop::collection::vec(prop::collection::vec(length(), 0..9), 1..=LANES),
        ) {
            for mut lanes in lanes() {
            let mut left: Vec<_> = cuts.iter().map(|pieces| (pieces.iter(), Vec::new())).collect();
            let mut digests = vec![Begun::default(); cuts.len()];
            (0..cuts.len()).for_each(|number| lanes.put(Begun::default(), Numbered { number, message: &[] }));
            while !lanes.is_empty() {
                for (Numbered { number, .. }, md5) in lanes.step() {
                    digests[number] = md5;
                    let (pieces, whole) = &mut left[number];
                    if let Some(len) = pieces.next() {
                        let message = &bytes[number..number + len.min(&900)];
                        whole.extend_from_slice(message);
                        lanes.put(md5, Numbered { number, message });
                    }
                }
            }
            for (md5, (_, whole)) in digests.into_iter().zip(left) {
                prop_assert_eq!(md5.finish(), digest_one(&whole));
            }
            }
        }
    }
}
