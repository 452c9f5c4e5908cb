//! What ends a command: an exit code, what happened, and what to do. Made from every error of the library; prints nothing.

use std::error::Error;

use lsync::config::BadConfig;
use lsync::entry::Nanos;
use lsync::filter::BadPattern;
use lsync::local::belongs::Others;
use lsync::local::hash::ReadError;
use lsync::local::lock::{Holder, LockError, clock_text, now};
use lsync::local::mount::{LocalError, Mount, NoMount};
use lsync::local::place::PlaceError;
use lsync::local::scan::ScanError;
use lsync::path::{RESERVED, Shown};
use lsync::remote::error as remote;

use super::exit::Exit;
use super::text::shell_word;

/// Why a command did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened: fits after `error: `, may have several lines, safe for a terminal, without secrets.
    pub message: String,
    /// What to do, when something can be done.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// Wrong usage or configuration: exit 2.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    fn of(exit: Exit, error: &dyn Error) -> Failure {
        Failure::new(exit, chain(error))
    }
}

/// An error with its causes, each once, made safe to show.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // An error of `thiserror(transparent)` and some of the system repeat their source.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.lines().map(|line| Shown(line).to_string()).collect::<Vec<_>>().join("\n")
}

impl From<remote::Error> for Failure {
    fn from(error: remote::Error) -> Failure {
        use remote::Kind;
        let exit = match error.kind {
            Kind::Denied | Kind::Refused => Exit::Denied,
            Kind::Full => Exit::NoSpace,
            Kind::NoBucket | Kind::Config => Exit::Usage,
            Kind::Unreachable | Kind::Throttled => Exit::Unreachable,
            Kind::Integrity => Exit::Integrity,
            Kind::Precondition => Exit::Stale,
            Kind::NotFound | Kind::Unsupported | Kind::Protocol | Kind::Stopped => Exit::Failed,
        };
        Failure { hint: error.hint.clone(), ..Failure::of(exit, &error) }
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Failure {
        use std::io::ErrorKind;
        let kind = error.source.kind();
        let full = matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let failure = Failure::of(if full { Exit::NoSpace } else { Exit::Failed }, &error);
        if error.is_lost_mount() {
            return failure.hint("check that it is mounted, then run the same command again");
        }
        match kind {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if error.path.starts_with(lsync::path::RESERVED) => {
                failure.hint("this command must be able to write to .lsync/ at the top of the directory; `lsync upload` works without")
            }
            _ if full => failure.hint("free space on the mount, then run the same command again"),
            _ => failure,
        }
    }
}

impl From<NoMount> for Failure {
    fn from(error: NoMount) -> Failure {
        Failure::usage(error.message).hint(error.hint)
    }
}

/// Refuses a mount whose `.lsync/` another user keeps for itself.
pub(crate) fn refuse_others(mount: &Mount) -> Result<(), Failure> {
    let Some(Others { path, owner, root_owner, is_in_own_directory, user }) = mount.belongs_to_another() else { return Ok(()) };
    let (whose, top) = (Shown(&path.to_string_lossy()).to_string(), mount.root().join(RESERVED));
    let failure = Failure::new(Exit::Failed, format!("{whose} belongs to {owner}; you ({user}) cannot use it"));
    Err(failure.hint(match is_in_own_directory {
        true => format!("if lsync was run here as {owner}, make it yours again: sudo chown -R {user}: {}", shell_word(&top)),
        false => format!("only one user can sync a directory: run this as {root_owner}, or sync a directory of your own"),
    }))
}

/// What to do about a lock, by what can be told about its owner.
fn hint_for(holder: &Holder, now: Nanos) -> String {
    let Some(left) = holder.free_in() else { return WAIT.into() };
    let minutes = match u64::try_from(left / 60_000_000_000).unwrap_or(0) {
        0 => "in less than a minute".to_owned(),
        n => format!("in about {} minutes", n + 1),
    };
    let free = clock_text(now.saturating_add(left));
    format!(
        "that machine or container cannot be checked from here; an active run refreshes its lock every minute. If the run is gone, the lock is \
         free {minutes} ({free}), or now with --take-over"
    )
}

/// Where it can be seen that the other run lives.
const WAIT: &str = "wait for it to finish, then run the command again";

impl From<LockError> for Failure {
    fn from(error: LockError) -> Failure {
        match error {
            LockError::Failed(error) => error.into(),
            LockError::Held(ref holder) => Failure::of(Exit::Locked, &error).hint(hint_for(holder, now())),
            LockError::Lost => Failure::of(Exit::Locked, &error).hint(WAIT),
        }
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Failure {
        match error {
            PlaceError::Failed(error) => error.into(),
            PlaceError::NoSpace(_) => Failure::of(Exit::NoSpace, &error),
            PlaceError::Stale => Failure::of(Exit::Stale, &error),
            PlaceError::Clash(_) => Failure::of(Exit::Failed, &error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Failed(error) => error.into(),
            ReadError::Changed | ReadError::Gone => Failure::of(Exit::Stale, &error),
            ReadError::Stopped => Failure::of(Exit::Failed, &error),
        }
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Failure {
        match error {
            ScanError::Local(error) => error.into(),
            ScanError::Pattern(error) => error.into(),
            ScanError::Stopped => Failure::of(Exit::Failed, &error),
        }
    }
}

impl From<BadPattern> for Failure {
    fn from(error: BadPattern) -> Failure {
        Failure::of(Exit::Usage, &error)
    }
}

impl From<BadConfig> for Failure {
    fn from(error: BadConfig) -> Failure {
        Failure::of(Exit::Usage, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(kind: std::io::ErrorKind) -> LocalError {
        LocalError { doing: "cannot write", path: "a/b".into(), source: kind.into() }
    }

    #[track_caller]
    fn check(failure: impl Into<Failure>, exit: Exit, message: &str) {
        let failure = failure.into();
        assert_eq!((failure.exit, failure.message.as_str()), (exit, message));
    }

    #[test]
    fn every_error_of_the_library_has_its_exit_code_and_tells_its_causes_once() {
        let remote = |kind| remote::Error { kind, doing: "cannot list s3://b".into(), message: "no".into(), hint: None };
        check(remote(remote::Kind::Denied), Exit::Denied, "cannot list s3://b: no");
        check(remote(remote::Kind::NoBucket), Exit::Usage, "cannot list s3://b: no");
        check(remote(remote::Kind::Throttled), Exit::Unreachable, "cannot list s3://b: no");
        check(remote(remote::Kind::Integrity), Exit::Integrity, "cannot list s3://b: no");
        check(local(std::io::ErrorKind::PermissionDenied), Exit::Failed, "cannot write a/b: permission denied");
        check(local(std::io::ErrorKind::StorageFull), Exit::NoSpace, "cannot write a/b: no storage space");
        check(
            PlaceError::NoSpace(local(std::io::ErrorKind::StorageFull)),
            Exit::NoSpace,
            "not enough space on the mount: cannot write a/b: no storage space",
        );
        check(PlaceError::Stale, Exit::Stale, "it changed after the plan was made");
        check(LockError::Failed(local(std::io::ErrorKind::NotFound)), Exit::Failed, "cannot write a/b: entity not found");
    }
}
