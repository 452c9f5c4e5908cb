//! What a seed means: the store, the past, the command and the storm. Does nothing.

use lsync::plan::Direction;
use lsync::sandbox::{Hazard, Profile, Storm};

/// Numbers that follow from a seed (splitmix64).
pub(super) struct Dice(u64);

/// What a seed makes happen.
pub(super) struct Story {
    pub(super) seed: u64,
    pub(super) store: &'static str,
    pub(super) profile: Profile,
    pub(super) direction: Direction,
    /// Both sides have held the same before, and something was changed since.
    pub(super) has_past: bool,
    pub(super) delete: bool,
    pub(super) jobs: usize,
    /// Runs under the storm, before the clean one.
    pub(super) runs: u32,
    /// A file that travels in parts is among the others.
    pub(super) large: bool,
    pub(super) storm: Storm,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The kinds of stores, with their names in the report.
fn stores() -> [(&'static str, Profile); 9] {
    let like_aws = Profile::default();
    [
        ("aws", like_aws),
        ("opaque etags", Profile { opaque_etag: true, ..like_aws }),
        ("opaque multipart etags", Profile { opaque_multipart_etag: true, ..like_aws }),
        ("encrypted by a key service", Profile { encrypted: true, ..like_aws }),
        ("no md5 check", Profile { no_md5_check: true, ..like_aws }),
        ("no conditional writes", Profile { no_conditional_writes: true, ..like_aws }),
        ("answers one etag and lists another", Profile { answer_composite_list_other: true, ..like_aws }),
        ("filesystem-backed", Profile { filesystem_backed: true, no_conditional_writes: true, no_url_encoding: true, ..like_aws }),
        ("nothing", Profile { no_md5_check: true, no_conditional_writes: true, opaque_etag: true, ..like_aws }),
    ]
}

impl Story {
    pub(super) fn of(seed: u64) -> Story {
        let dice = &mut Dice::new(seed);
        let (store, profile) = dice.pick(&stores());
        let direction = if dice.below(5) < 3 { Direction::Upload } else { Direction::Download };
        let has_past = dice.one_in(2);
        Story {
            seed,
            store,
            profile,
            direction,
            has_past,
            delete: has_past && dice.one_in(3),
            jobs: dice.pick(&[1, 2, 8]),
            runs: if dice.one_in(4) { 2 } else { 1 },
            large: dice.one_in(60),
            storm: storm(dice, &profile, direction),
        }
    }

    pub(super) fn is_upload(&self) -> bool {
        self.direction == Direction::Upload
    }
}

/// One kind of fault, often; or all kinds, more rarely.
fn storm(dice: &mut Dice, profile: &Profile, direction: Direction) -> Storm {
    let (hazards, per_mille) = if dice.one_in(2) {
        (vec![dice.pick(&Hazard::ALL)], dice.pick(&[50, 150, 400, 800, 1000]))
    } else {
        (Hazard::ALL.to_vec(), dice.pick(&[10, 30, 80, 200, 400]))
    };
    let mut spares = vec![];
    if direction == Direction::Download {
        // What hides an object and every manifest that names it leaves nothing that tells of it.
        spares.push((Hazard::TailMissing, ""));
    }
    if profile.no_md5_check && (profile.opaque_etag || profile.encrypted) {
        // A store that checks nothing and tells nothing about the content it took: only reading it back would tell.
        spares.push((Hazard::FlippedOnTheWay, ""));
    }
    Storm { seed: dice.next(), per_mille, hazards, spares }
}
