//! What a seed means: the store, the past, the command and the storm. Does nothing.

use lsync::plan::{Choices, Direction};
use lsync::sandbox::{Copies, Hazard, Profile, Storm};

use crate::support::seed::Seed;

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
        let dice = &mut Seed::new(seed);
        let (store, profile) = *dice.pick(&stores());
        let direction = if dice.below(5) < 3 { Direction::Upload } else { Direction::Download };
        let has_past = dice.once_in(2);
        Story {
            seed,
            store,
            profile: Profile { copies: copies(seed), ..profile },
            direction,
            has_past,
            delete: has_past && dice.once_in(3),
            jobs: *dice.pick(&[1, 2, 8]),
            runs: if dice.once_in(4) { 2 } else { 1 },
            large: dice.once_in(60),
            storm: storm(dice, &profile, direction),
        }
    }

    pub(super) fn choices(&self) -> Choices {
        Choices { delete: self.delete, ..Choices::default() }
    }

    pub(super) fn is_upload(&self) -> bool {
        self.direction == Direction::Upload
    }
}

/// What the store makes of copies; mostly what S3 makes of them. From dice of its own: what else a seed means stays as it was before there
/// were copies.
fn copies(seed: u64) -> Copies {
    use Copies::{Empty, Made, Overwriting, Refused, Unconditional, Whole, WithMetadata};
    let mut dice = Seed::new(!seed);
    if dice.below(3) > 0 { Made } else { *dice.pick(&[Refused, Empty, Unconditional, Overwriting, WithMetadata, Whole]) }
}

/// One kind of fault, often, and every second time one that damages bodies; or all kinds, more rarely.
fn storm(dice: &mut Seed, profile: &Profile, direction: Direction) -> Storm {
    let damaging: Vec<Hazard> = Hazard::ALL.into_iter().filter(|hazard| hazard.corrupts()).collect();
    let (hazards, per_mille) = match dice.below(4) {
        0 => (vec![*dice.pick(&Hazard::ALL)], *dice.pick(&[50, 150, 400, 800, 1000])),
        1 => (vec![*dice.pick(&damaging)], *dice.pick(&[50, 150, 400, 800, 1000])),
        _ => (Hazard::ALL.to_vec(), *dice.pick(&[10, 30, 80, 200, 400])),
    };
    let mut spares = vec![];
    if direction == Direction::Download {
        // What hides an object and every manifest that names it leaves nothing that tells of it.
        spares.push((Hazard::TailMissing, ""));
    }
    if direction == Direction::Download && (profile.opaque_etag || profile.opaque_multipart_etag || profile.encrypted) {
        // Bodies that are other ones the same way each time show by nothing but digests, and there only manifests have those of all objects.
        spares.push((Hazard::Swapped, "manifests/"));
    }
    if profile.no_md5_check && (profile.opaque_etag || profile.encrypted) {
        // A store that checks nothing and tells nothing about the content it took: only reading it back would tell.
        spares.push((Hazard::FlippedOnTheWay, ""));
    }
    Storm { seed: dice.next(), per_mille, hazards, spares }
}
