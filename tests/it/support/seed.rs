//! Random numbers that one integer repeats, for campaigns. Nothing here is secret.

/// The state of the generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Seed {
        Seed(seed)
    }

    /// What `LSYNC_TEST_SEED` says, else a new one; printed, so that a failure can be repeated.
    pub(crate) fn fresh() -> Seed {
        let given = std::env::var("LSYNC_TEST_SEED").ok().map(|text| text.parse().expect("LSYNC_TEST_SEED is a number"));
        let seed = given.unwrap_or_else(|| getrandom::u64().expect("the system has randomness"));
        super::report::tell(format_args!("LSYNC_TEST_SEED={seed}"));
        Seed(seed)
    }

    /// The integer that repeats what comes from here on.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `most`.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("it is an index")]
    }
}

#[test]
fn a_seed_repeats_what_came_of_it() {
    let numbers = |seed: &mut Seed| [seed.next(), seed.next(), seed.next()];
    let (mut one, mut again, mut other) = (Seed::new(7), Seed::new(7), Seed::new(8));
    let first = numbers(&mut one);
    assert_eq!(first, numbers(&mut again));
    assert_ne!(first, numbers(&mut other));
    assert!(again.below(3) < 3 && [1, 2].contains(again.pick(&[1, 2])));
}
