//! The engine joins the two worlds: it looks at both sides, and carries out a plan. It decides nothing that `diff` and `plan` decide.
//!
//! ```text
//! look ──▶ Sight ──▶ Proposal (a Plan of this look) ──(shown, confirmed)──▶ Approved ──▶ run ──▶ Report
//! ```
//!
//! [`look`](look()) never writes to the bucket, and to the mount nothing that stays; [`run`](run()) is the only thing that does,
//! and it takes only what [`Proposal::approve`] has approved.

mod approve;
mod arrived;
mod arriving;
mod clean;
mod deletions;
mod dirs;
mod doubt;
mod errands;
mod examine;
mod fetch;
mod hashing;
mod heads;
mod here;
mod keeping;
mod keys;
mod lanes;
mod leading_out;
mod learn;
mod lease;
mod listing;
mod log;
mod look;
mod manifests;
mod named;
mod near;
mod nothing_there;
mod others;
mod pace;
mod permits;
mod publish;
mod read_back;
mod reading;
mod refusals;
mod remember;
mod report;
mod rest;
mod room;
mod run;
mod send;
mod sets;
mod settle;
mod sight;
mod spelling;
mod stop;
mod undo;
mod uploads;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use approve::{Approved, Limits, Proposal};
pub use clean::{Found, Outcome, Whose, clean, open_uploads};
pub use examine::{Kept, examine_store};
pub use lanes::Jobs;
pub use look::{Sight, look};
pub use named::IgnoredPath;
pub use read_back::not_verified_by_store;
pub use report::{Complete, Counts, Failure, FailureKind, Report};
pub use rest::unrested;
pub use run::{refuse_self_sync, run};
pub use sets::with_companions;
pub use stop::Stop;
pub use undo::{NoUndo, Step, Undo, Undone, look_back, undo};
pub use verify::{Depth, Finding, Tally, Verified, Wrong, verify};

use crate::event::{Event, Observer, Phase};
use crate::filter::Patterns;
use crate::local::lock::{Claim, LockError};
use crate::local::mount::{LocalError, Mount, NoMount};
use crate::local::place::TrashLimits;
use crate::local::scan::ScanError;
use crate::manifest::Unreadable;
use crate::path::RelPath;
use crate::plan::Refusal;
use crate::remote::bucket::Bucket;

/// The two ends of every run, and who is told and may stop it.
#[derive(Clone)]
pub struct Ends {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The bucket.
    pub bucket: Bucket,
    /// Takes the events.
    pub observer: Observer,
    /// Asked to stop by a signal.
    pub stop: Stop,
    /// What may be done about a lock that another run has.
    pub claim: Claim,
}

impl Ends {
    fn tell(&self, event: Event) {
        (self.observer)(event);
    }

    fn phase(&self, phase: Phase) {
        self.tell(Event::Phase(phase));
    }
}

/// What a run looks at and within which bounds it works.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Patterns of configuration and flags.
    pub patterns: Patterns,
    /// Only these paths and what lies below; empty: the whole mount.
    pub paths: Vec<RelPath>,
    /// Every path that the user named, those too that lie below others: each must hold something in scope.
    pub named: Vec<RelPath>,
    /// Patterns narrow the run beyond its configuration (`--include`, `--exclude`).
    pub narrowed: bool,
    /// New files that may hold keys travel like all others.
    pub allow_keys: bool,
    /// The run may delete: a file without a counterpart is compared with the base too.
    pub removals: bool,
    /// Equal size and equal recorded mtime count as equal content: what is taken for equal is hashed here, to know it again.
    pub compare_size: bool,
    /// Object content may be read to compare it.
    pub compare_content: bool,
    /// How much of what an upload sends is read back.
    pub read_back: Depth,
    /// Transfers under way at once.
    pub jobs: Jobs,
    /// Bytes of all buffers in flight.
    pub max_memory: u64,
    /// Bytes per second at most, both directions together, of everything that the bucket's connections carry from the look on.
    pub bytes_per_second: Option<u64>,
    /// What the trash may hold.
    pub trash: TrashLimits,
    /// An upload leaves files for a later run that changed less than this ago.
    pub settle: Duration,
}

impl Ask {
    /// True when a path is inside the run's PATHs.
    fn reaches(&self, path: &RelPath) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|p| path.is_at_or_below(p.as_str()))
    }

    /// True when the run covers the whole mount by its configuration alone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.paths.is_empty() && !self.narrowed
    }
}

/// What stops a whole run. A single failed file is an outcome in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket.
    #[error(transparent)]
    Remote(#[from] crate::remote::error::Error),
    /// The mount.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// There is no usable mount (any more).
    #[error(transparent)]
    Mount(#[from] NoMount),
    /// The walk, or a pattern.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Another run.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The plan must not start.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The bucket is the mount's own filesystem.
    #[error(
        "the bucket {bucket} is this mount's own filesystem ({root}): its files are there already, and syncing it with itself would destroy them"
    )]
    SelfSync {
        /// The bucket's URL.
        bucket: String,
        /// The mount's root.
        root: PathBuf,
    },
    /// A PATH that is on neither side and in no memory.
    #[error("{path} is neither in the mount nor in the bucket{}", near_text(near))]
    NoSuchPath {
        /// As it was cleaned.
        path: RelPath,
        /// Names like it.
        near: Vec<String>,
    },
    /// A PATH below a link, which no direction follows.
    #[error(
        "{path} lies behind the link {link} -> {}{}: lsync sends links as links and does not follow them",
        crate::path::Shown(target),
        if *outside { ", which points outside this directory" } else { "" }
    )]
    BehindLink {
        /// As it was cleaned.
        path: RelPath,
        /// The link above it.
        link: RelPath,
        /// Where that points.
        target: String,
        /// That is outside the directory.
        outside: bool,
    },
    /// PATHs of which nothing is in scope.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Ignored(Vec<IgnoredPath>),
    /// A PATH that the mount finds, under another name.
    #[error("{path} is {} in the mount, which takes both for one name", crate::path::Shown(held))]
    SpeltOtherwise {
        /// As it was cleaned.
        path: RelPath,
        /// As the mount spells it.
        held: String,
    },
    /// A manifest that this version cannot read.
    #[error("the manifest {name} cannot be used: {why}")]
    Manifest {
        /// Its name.
        name: String,
        /// Why.
        why: Unreadable,
    },
    /// Not enough space for a download.
    #[error("the download needs {needed} bytes and the mount has {free} free")]
    NoSpace {
        /// Bytes that the plan brings, beside what the trash keeps.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// Another run has come between the plan and its execution.
    #[error("another run has changed things here since the plan was made: nothing was changed")]
    PlanStale,
    /// A worker died; what it did is not known.
    #[error("a worker ended unexpectedly: {0}")]
    Worker(String),
    /// A signal.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// True when another run has taken this one's place.
    fn is_lost_turn(&self) -> bool {
        matches!(self, Error::Lock(LockError::Lost))
    }
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

/// Runs blocking work off the I/O runtime and waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Worker(e.to_string()))
}
