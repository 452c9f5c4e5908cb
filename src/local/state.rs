//! What this mount remembers between runs, one file per remote: the base, what was last known to be published, and the hash cache.
//! Expendable: corrupt or missing means absent, one warning, never a deletion.
//!
//! # Format 1
//! `.lsync/state-<first 16 hex digits of the MD5 of bucket, NUL, prefix>`, mode 0600: UTF-8, one JSON value per line.
//!
//! The first line is the header: `"lsync": "state"`, `"v": 1`, `bucket`, `prefix`, and the fields of [`State`] (`last` is an object,
//! `conditional_writes` is `[bool, time]`, `known` is `[[name, [parents…]], …]`, `journals` is `[[operation, bytes], …]`).
//!
//! Then one line per path, in path order:
//!
//! | field | meaning |
//! |---|---|
//! | `n` | the path |
//! | `b` | the base, a [`crate::entry::Record`]; absent: none |
//! | `p` | what is published; absent: equal to the base |
//! | `u` | true: there is a base and nothing is published |
//! | `s` | the stamp of the hash cache, `[size, mtime, ctime, inode]` |
//! | `d` | its digests, a [`crate::entry::DigestRecord`]; absent beside `s`: equal to the base's |
//! | `f` | what a HEAD told: `e` the ETag, `t` mtime, `d` digests |
//!
//! The last line is `{"end": N, "md5": "…"}`: the count of paths and the MD5 of every byte before that line. Anything that does not
//! fit makes the whole file absent, never a shorter state.

use crate::digest::{Digests, ETag};
use crate::entry::{Entry, Nanos};
use crate::local::mount::{LocalError, Mount, Stamp};
use crate::manifest::Name;
use crate::path::RelPath;

/// Everything remembered about one (bucket, prefix).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Lineage of the manifests that base and `published` come from; `None` before the first.
    pub lineage: Option<String>,
    /// Highest generation that was folded in.
    pub generation: u64,
    /// The heads that `published` is the merged view of.
    pub heads: Vec<Name>,
    /// Every listed manifest whose header is known, with its parents: what tells heads without fetching.
    pub known: Vec<(Name, Vec<Name>)>,
    /// Id of the mount that the base was written for.
    pub mount: String,
    /// The last run that moved data here: command, host, time.
    pub last: Option<LastRun>,
    /// Whether the store honours conditional writes, and when that was learnt (nanoseconds since 1970).
    pub conditional_writes: Option<(bool, Nanos)>,
    /// Journals that this state covers, with their length in bytes: [`load`] folded them in, and [`save`] removes them. Written down,
    /// so that a crash between the two never folds an old journal over a newer state.
    pub journals: Vec<(String, u64)>,
    /// Sorted by path.
    pub entries: Vec<(RelPath, Known)>,
}

/// What is remembered about one path. All absent: not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What both sides last agreed on. A file's `etag` is what the bucket listed then.
    pub base: Option<Entry>,
    /// What the published manifests (merged) say; equal to `base` in nearly all cases, and then stored once.
    pub published: Option<Entry>,
    /// The hash cache: digests of the local file while it carries this stamp.
    pub seen: Option<(Stamp, Digests)>,
    /// What one HEAD said of a foreign object while it lists this ETag: digests and mtime from metadata.
    pub foreign: Option<(ETag, Digests, Option<Nanos>)>,
}

/// A finished run, for the "last sync" line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// `upload` or `download`.
    pub command: String,
    /// Host name.
    pub host: String,
    /// Nanoseconds since 1970.
    pub time: Nanos,
    /// Generation published or folded in.
    pub generation: u64,
}

/// A state and the warning to show when it had to be treated as absent.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The state, empty when there was none.
    pub state: State,
    /// Why it is empty although there is a file.
    pub warning: Option<String>,
}

/// What a finished transfer tells, written to the journal at once so that a crash before the manifest does not make our own objects
/// strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journalled {
    /// Where.
    pub path: RelPath,
    /// What both sides now hold; `None`: both sides lack it.
    pub base: Option<Entry>,
    /// The local stamp and digests.
    pub seen: Option<(Stamp, Digests)>,
}

/// Loads the state for a remote (`bucket` and `prefix`), with journals that dead runs left behind folded in. Never fails: what cannot
/// be read is absent. A state written by a newer lsync is an error, because it must not be overwritten.
pub fn load(mount: &Mount, bucket: &str, prefix: &str) -> Result<Loaded, LocalError> {
    let _ = (mount, bucket, prefix);
    todo!()
}

/// Saves the state: temporary, fsync, rename, fsync of the directory; then removes the journals that it covers. The caller holds the lock.
pub fn save(mount: &Mount, bucket: &str, prefix: &str, state: &State) -> Result<(), LocalError> {
    let _ = (mount, bucket, prefix, state);
    todo!()
}

/// The journal of one run: appended to as transfers finish, on disk at most 5 s later.
#[derive(Debug)]
pub struct Journal {}

impl Journal {
    /// Creates `.lsync/journal/<operation>` for a remote.
    pub fn create(mount: &Mount, bucket: &str, prefix: &str, operation: &str) -> Result<Journal, LocalError> {
        let _ = (mount, bucket, prefix, operation);
        todo!()
    }

    /// Appends a line; syncs when the last sync is 5 s ago or more. Thread-safe.
    pub fn note(&self, done: &Journalled) -> Result<(), LocalError> {
        let _ = done;
        todo!()
    }

    /// Writes out and syncs what is still buffered.
    pub fn sync(&self) -> Result<(), LocalError> {
        todo!()
    }
}

/// The mount's own clock and timestamp granularity, from a probe file in `.lsync/`: a stamp is racy, and its digest must not be
/// trusted next time, when its ctime is at or after `clock - granularity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// ctime of a file that was just written.
    pub now: Nanos,
    /// Measured, at most 2 s.
    pub granularity: Nanos,
}

impl Clock {
    /// Writes the probe file and reads its times. The caller holds the lock.
    pub fn read(mount: &Mount) -> Result<Clock, LocalError> {
        let _ = mount;
        todo!()
    }

    /// True when a file with this stamp could be changed again without its stamp showing it.
    #[must_use]
    pub fn is_racy(&self, stamp: &Stamp) -> bool {
        stamp.ctime >= self.now - self.granularity
    }
}
