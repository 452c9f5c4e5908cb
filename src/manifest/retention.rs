//! How long published manifests stay: a run that began before others published needs theirs, and its own ancestors, to tell a removal from
//! a file that is new. Decides only.

use super::Name;
use crate::entry::Nanos;

/// So many of the newest always stay.
pub const FEWEST: usize = 20;
/// More than this many stay only while instances differ in something.
const MOST: usize = 100;
/// How many stay then: the older ones alone have the other version of it.
const MOST_WHILE_OPEN: usize = 200;
/// What is beyond the newest stays for this long. In nanoseconds.
const AGE: Nanos = 24 * 3600 * 1_000_000_000;
/// All that stay beyond the newest have this many bytes at most, the newest counted.
const BYTES: u64 = 2 << 30;

/// A manifest as the bucket lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the bucket's clock.
    pub modified: Nanos,
}

/// The names of manifests that need not stay, oldest first. Their age is that beside the newest one, so that only the bucket's clock counts.
/// `open`: instances differ in something that is not settled.
#[must_use]
pub fn outdated(mut listed: Vec<Listed>, open: bool) -> Vec<Name> {
    listed.sort_by(|a, b| b.name.cmp(&a.name));
    let now = listed.iter().map(|manifest| manifest.modified).max().unwrap_or_default();
    let (mut bytes, mut stay) = (0_u64, 0);
    for (at, manifest) in listed.iter().enumerate() {
        bytes = bytes.saturating_add(manifest.bytes);
        let recent = at < MOST && bytes <= BYTES && now.saturating_sub(manifest.modified) <= AGE;
        if at >= FEWEST && !recent && !(open && at < MOST_WHILE_OPEN) {
            break;
        }
        stay = at + 1;
    }
    let mut outdated: Vec<Name> = listed.drain(stay..).map(|manifest| manifest.name).collect();
    outdated.reverse();
    outdated
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many manifests, each this much older than the next one; the number of those that stay.
    #[track_caller]
    fn check(count: u64, minutes_apart: i64, bytes: u64, open: bool, stay: usize) {
        let listed = (0..count).map(|n| Listed {
            name: Name::new(n + 1, [1; 16]),
            bytes,
            modified: i64::try_from(n).unwrap() * minutes_apart * 60_000_000_000,
        });
        let outdated = outdated(listed.collect(), open);
        let expected: Vec<Name> = (0..count - stay as u64).map(|n| Name::new(n + 1, [1; 16])).collect();
        assert_eq!(outdated, expected, "{count} manifests, {minutes_apart} minutes apart, of {bytes} bytes, open: {open}");
    }

    #[test]
    fn manifests_stay_for_a_day_within_bounds_and_the_newest_always() {
        check(20, 24 * 60, 1, false, 20);
        check(30, 24 * 60, 1, false, 20);
        check(60, 30, 1, false, 49);
        check(60, 1, 1, false, 60);
        check(150, 1, 1, false, 100);
        check(150, 1, 100 << 20, false, 20);
        check(150, 1, 50 << 20, false, 40);
        check(150, 1, 1, true, 150);
        check(300, 24 * 60, 200 << 20, true, 200);
    }
}
