//! What a run reports while it works: one stream that bars, plain lines and JSON lines are made from. Says nothing about how.

use std::sync::Arc;

use crate::path::RelPath;

/// Where the engine reports to. Called from any thread; must not block for long.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A phase began.
    Phase(Phase),
    /// So many entries of the mount have been seen.
    Scanned {
        /// Entries so far.
        entries: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many objects of the bucket have been listed.
    Listed {
        /// Objects so far.
        objects: u64,
    },
    /// What hashing or transferring has ahead of it.
    Planned {
        /// Items.
        files: u64,
        /// Their content bytes.
        bytes: u64,
    },
    /// Content bytes that were hashed.
    Hashed {
        /// Bytes of this piece.
        bytes: u64,
    },
    /// A file began to move.
    Started {
        /// Which.
        path: RelPath,
        /// Its length.
        bytes: u64,
    },
    /// Content bytes of a file that moved; `bytes` may be taken back by [`Event::Retried`].
    Moved {
        /// Which.
        path: RelPath,
        /// Bytes of this piece.
        bytes: u64,
    },
    /// Content bytes of a file that were copied at the destination, and need not move; may be taken back as [`Event::Moved`].
    Copied {
        /// Which.
        path: RelPath,
        /// Bytes of this piece.
        bytes: u64,
    },
    /// A try failed and starts again; bytes reported for it do not count.
    Retried {
        /// Which.
        path: RelPath,
        /// Bytes to take back.
        bytes: u64,
        /// What went wrong.
        why: String,
    },
    /// An item is done: what was done, and how it ended.
    Finished {
        /// Which.
        path: RelPath,
        /// What was done.
        verb: Verb,
        /// Its content bytes.
        bytes: u64,
        /// How it ended.
        outcome: Ended,
    },
    /// Something the user should know that stops nothing.
    Warning(String),
}

/// The phases of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The mount is walked and the bucket listed.
    Scan,
    /// Files are read to learn their digests.
    Hash,
    /// Files, links and directories move or go.
    Transfer,
    /// The closing listing and scan.
    Verify,
    /// The manifest is published and read back.
    Publish,
}

/// What is done to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sent to the bucket.
    Upload,
    /// Brought to the mount.
    Download,
    /// Only attributes carried.
    Update,
    /// Removed from the destination.
    Delete,
}

/// How an item ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As planned.
    Done,
    /// The destination was not what the plan saw; left as it is.
    Stale(String),
    /// Failed; left as it was.
    Failed(String),
}
