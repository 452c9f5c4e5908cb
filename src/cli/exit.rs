//! The exit codes, which scripts and agents rely on. A code is never given another meaning; an unknown code means failure.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Usage or configuration: nothing was tried.
    Usage = 2,
    /// Partial: bytes in scope are not on the other side; a rerun goes on.
    Partial = 3,
    /// The bucket refused credentials or permission.
    Denied = 4,
    /// Refused: not confirmed, policy, too many deletions, self-sync.
    Refused = 5,
    /// Conflicts or unknowns are waiting for a decision.
    Conflicts = 6,
    /// The bucket cannot be reached or throttles: try again.
    Unreachable = 7,
    /// Integrity: a digest did not match.
    Integrity = 8,
    /// The plan is stale.
    Stale = 9,
    /// `status --check`: this direction has something to send.
    Pending = 10,
    /// Another run holds the lock.
    Locked = 11,
    /// Not enough space.
    NoSpace = 12,
    /// Interrupted by SIGHUP.
    HungUp = 129,
    /// Interrupted by SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Interrupted by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The one to end with when both hold: signal > 1 > 8 > what stops a run by itself > 6 > 3 > 10 > 0.
    #[must_use]
    pub(crate) fn worst(self, other: Exit) -> Exit {
        if other.rank() > self.rank() { other } else { self }
    }

    /// Ends the process here and now: for a second signal only, when the user does not want to wait for a clean end.
    pub(crate) fn at_once(self) -> ! {
        std::process::exit(i32::from(self.code()))
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Pending => 1,
            Exit::Partial => 2,
            Exit::Conflicts => 3,
            Exit::Usage | Exit::Denied | Exit::Refused | Exit::Unreachable | Exit::Stale | Exit::Locked | Exit::NoSpace => 4,
            Exit::Integrity => 5,
            Exit::Failed => 6,
            Exit::HungUp | Exit::Interrupted | Exit::Terminated => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_documentation() {
        let all = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Partial, 3),
            (Exit::Denied, 4),
            (Exit::Refused, 5),
            (Exit::Conflicts, 6),
            (Exit::Unreachable, 7),
            (Exit::Integrity, 8),
            (Exit::Stale, 9),
            (Exit::Pending, 10),
            (Exit::Locked, 11),
            (Exit::NoSpace, 12),
            (Exit::HungUp, 129),
            (Exit::Interrupted, 130),
            (Exit::Terminated, 143),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn when_several_hold_the_worst_is_told() {
        let order =
            [Exit::Interrupted, Exit::Failed, Exit::Integrity, Exit::NoSpace, Exit::Conflicts, Exit::Partial, Exit::Pending, Exit::Done];
        for pair in order.windows(2) {
            assert_eq!(pair[0].worst(pair[1]), pair[0]);
            assert_eq!(pair[1].worst(pair[0]), pair[0]);
        }
        assert_eq!(Exit::Interrupted.worst(Exit::Terminated), Exit::Interrupted);
    }
}
