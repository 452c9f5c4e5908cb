//! How long a file must have been left alone before it is sent (`--settle`): a checkpoint that is written in several goes is whole when
//! nobody has touched it for a while. Reads no file.

use std::time::{Duration, Instant};

use super::report::FailureKind;
use super::send::NotSent;
use crate::entry::Stamp;
use crate::local::lock::now;
use crate::local::state::Clock;
use crate::path::RelPath;
use crate::plan::{Direction, Plan};

/// Files that an upload would leave for a later run if it began now. By this host's clock, so that a plan writes nothing to the mount: the
/// run itself asks the mount's.
#[must_use]
pub fn unrested(plan: &Plan, least: Duration) -> Vec<&RelPath> {
    let rest = Rest::new(least, Clock { now: now(), granularity: 0 });
    let sends = plan.transfers.iter().filter(|_| plan.direction == Direction::Upload);
    sends.filter(|t| t.stamp.is_some_and(|stamp| rest.settled(&stamp).is_err())).map(|t| &t.path).collect()
}

/// A length of time, and the mount's clock to measure it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    least: Duration,
    clock: Clock,
    read: Instant,
}

impl Rest {
    /// `clock` was read just now.
    pub(super) fn new(least: Duration, clock: Clock) -> Rest {
        Rest { least, clock, read: Instant::now() }
    }

    /// True where files must have rested at all.
    pub(super) fn is_asked(&self) -> bool {
        !self.least.is_zero()
    }

    /// An error for a file that changed too short a time ago. Its ctime tells, which nobody can set back.
    pub(super) fn settled(&self, stamp: &Stamp) -> Result<(), NotSent> {
        let now = self.clock.now.saturating_add(i64::try_from(self.read.elapsed().as_nanos()).unwrap_or(i64::MAX));
        let since = Duration::from_nanos(u64::try_from(now.saturating_sub(stamp.ctime)).unwrap_or(0));
        if since >= self.least {
            return Ok(());
        }
        let (since, least) = (since.as_secs(), self.least.as_secs());
        let why = format!("it is still being written: it changed {since} s ago, and is sent once it has rested for {least} s (--settle)");
        Err(NotSent::Item(FailureKind::StillWritten, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_once_it_has_rested() {
        let second = 1_000_000_000;
        let rest = Rest::new(Duration::from_secs(30), Clock { now: 1000 * second, granularity: 1 });
        let settled = |ctime: i64| rest.settled(&Stamp { size: 1, mtime: 0, ctime, inode: 1 }).is_ok();
        assert!(settled(970 * second) && settled(0) && settled(i64::MIN));
        assert!(!settled(990 * second) && !settled(1000 * second), "too young");
        assert!(!settled(2000 * second), "of the future");
        let none = Rest::new(Duration::ZERO, rest.clock);
        assert!(none.settled(&Stamp { size: 1, mtime: 0, ctime: 2000 * second, inode: 1 }).is_ok());
    }
}
