//! The mount's own clock and how fine its timestamps are. Looks at this
//! host's clock only where nothing can be written: on a network file system they differ.

use std::io;
use std::time::{Duration, Instant};

use super::elsewhere::Place;
use super::internal::Probe;
use super::mount::{LocalError, Mount, Stamp};
use super::owner::now;
use crate::entry::Nanos;

/// The mount's own clock and timestamp granularity, from a probe file in `.lsync/`: a stamp is racy, and its digest must not be
/// trusted next time, when its ctime is at or after `clock - granularity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// ctime of a file that was just written.
    pub now: Nanos,
    /// Measured, at most 2 s.
    pub granularity: Nanos,
}

const SECOND: Nanos = 1_000_000_000;
/// Longest that measuring may take.
const MEASURE: Duration = Duration::from_millis(20);
/// The kernel stamps with the time of its last tick, which is up to 10 ms old (HZ=100); steps seen below that prove nothing finer,
/// because fine stamps may be given only to files that somebody looked at (multigrain timestamps, Linux 6.13).
const FINEST: Nanos = 10_000_000;
/// What is assumed where nothing finer is seen: FAT's two seconds.
const COARSEST: Nanos = 2 * SECOND;
/// By how much the clock of another host may differ where it cannot be asked.
const UNTOLD: Nanos = 600 * SECOND;

impl Clock {
    /// Writes the probe file and reads its times. The caller holds the lock.
    pub fn read(mount: &Mount) -> Result<Clock, LocalError> {
        if mount.place() != Place::Here {
            // A local file system has this host's clock; that of a network one is not far from it.
            let granularity = if mount.is_on_network() { UNTOLD } else { COARSEST };
            return Ok(Clock { now: now(), granularity });
        }
        let dir = mount.make_internal("")?;
        let measure = || -> io::Result<Clock> {
            let probe = Probe::open(&dir)?;
            let begun = Instant::now();
            let mut seen = vec![probe.now()?];
            while seen.len() < 3 && begun.elapsed() < MEASURE {
                let now = probe.now()?;
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            Ok(Clock { now: probe.now()?, granularity: granularity(&seen) })
        };
        measure().map_err(LocalError::at("cannot tell the mount's time from", ".lsync/clock"))
    }

    /// True when a file with this stamp could be changed again without its stamp showing it.
    #[must_use]
    pub fn is_racy(&self, stamp: &Stamp) -> bool {
        stamp.ctime >= self.now - self.granularity
    }
}

/// From the different times that successive changes of one file got, in order, within [`MEASURE`].
fn granularity(seen: &[Nanos]) -> Nanos {
    let steps = || seen.windows(2).map(|pair| pair[1] - pair[0]);
    let whole_seconds = seen.iter().all(|time| time % SECOND == 0);
    // Within the measurement a fine clock steps at least once; a step back or a long one was somebody setting the clock.
    let fine = steps().all(|step| step > 0 && step < SECOND / 2) && steps().next().is_some() && !whole_seconds;
    if fine { steps().max().unwrap_or(COARSEST).max(FINEST) } else { COARSEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: &[Nanos], expected: Nanos) {
        assert_eq!(granularity(seen), expected, "{seen:?}");
    }

    #[test]
    fn granularity_is_measured_and_between_10_ms_and_2_s() {
        check(&[1_700_000_000_123_456_789, 1_700_000_000_123_460_000], FINEST);
        check(&[1_700_000_000_123_456_789, 1_700_000_000_127_456_789, 1_700_000_000_131_456_789], FINEST);
        check(&[1_700_000_000_123_456_789, 1_700_000_000_143_456_789], 20_000_000);
        check(&[1_700_000_000_000_000_000], COARSEST);
        check(&[1_700_000_000_000_000_000, 1_700_000_001_000_000_000], COARSEST);
        check(&[1_700_000_000_000_000_000, 1_700_000_002_000_000_000], COARSEST);
        check(&[1_700_000_000_123_456_789], COARSEST);
        check(&[1_700_000_000_200_000_000, 1_700_000_000_100_000_000], COARSEST);
    }

    #[test]
    fn a_file_written_now_is_racy_and_an_old_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        let clock = Clock::read(&mount).unwrap();
        assert!((FINEST..=COARSEST).contains(&clock.granularity), "{clock:?}");
        let stamp = |ctime| Stamp { size: 1, mtime: 0, ctime, inode: 1 };
        std::fs::write(temp.path().join("new"), "x").unwrap();
        let new = Stamp::of(&std::fs::metadata(temp.path().join("new")).unwrap());
        assert!(clock.is_racy(&new));
        assert!(clock.is_racy(&stamp(clock.now - clock.granularity)));
        assert!(!clock.is_racy(&stamp(clock.now - clock.granularity - 1)));
        assert!(Clock::read(&mount).unwrap().now >= clock.now, "the probe file is used again");
    }
}
