//! What a run in one direction would do: a value that is shown, confirmed and executed. Pure; content decides, never clocks.
//!
//! Every action carries what the plan saw at its destination ([`Found`]); execution looks again and leaves alone what has changed.

mod build;
mod clash;
mod deleted;
pub mod dir_modes;
mod folding;
mod found;
pub mod growth;
mod input;
mod keeping;
mod keys;
mod links;
mod nothing_there;
mod others;
mod refusal;
mod regenerable;
pub mod sets;

pub use build::build;
pub use deleted::{After, Here, LeftOut, as_one, is_still_there, stands};
pub use folding::{Folding, Held, Wanted};
pub use input::Input;
pub use keeping::{CopyOutcome, HistoryKey, cannot_copy, history_key, may_replace};
pub use keys::{FIRST_BYTES, KeyFile, is_candidate, may_hold_keys};
pub use links::{OutsideLink, leads_outside, link_leaves_mount, outside_links};
pub use nothing_there::NothingThere;
pub use others::{OtherDirectory, set_apart};
pub use refusal::{MaxDelete, Refusal};
pub use regenerable::{Regenerable, regenerable};

use std::sync::Arc;

use dir_modes::DirMode;

use crate::diff::Since;
use crate::digest::ETag;
use crate::entry::{Entry, Stamp};
use crate::manifest::Deleted;
use crate::path::RelPath;
use crate::problem::{Problem, Skipped};

/// Which way content moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the mount to the bucket.
    Upload,
    /// From the bucket to the mount.
    Download,
}

impl Direction {
    /// The command's name.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Direction::Upload => "upload",
            Direction::Download => "download",
        }
    }

    /// The command that goes the other way.
    #[must_use]
    pub fn reverse(self) -> Direction {
        match self {
            Direction::Upload => Direction::Download,
            Direction::Download => Direction::Upload,
        }
    }
}

/// What the user asked for beyond the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Delete at the destination what is proven to have been removed at the source.
    pub delete: bool,
    /// Transfer protected, conflicting and unknown items all the same; with `delete`, also remove what was changed at the destination.
    pub overwrite: bool,
    /// Equal size and equal recorded mtime count as equal content.
    pub compare_size: bool,
    /// Restore links that point out of the mount too.
    pub any_links: bool,
    /// Of a download: also bring what was deleted where it was uploaded from.
    pub deleted: bool,
}

/// What the plan saw at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// In the bucket: an object at the path, or, for an empty directory's marker, at the path with a `/` behind.
    Object {
        /// Its ETag.
        etag: ETag,
        /// Its length in bytes.
        size: u64,
        /// The key has a `/` behind the path.
        marker: bool,
    },
    /// In the bucket: only a manifest's entry.
    Recorded,
    /// In the mount: a file with this stamp.
    File(Stamp),
    /// In the mount: a link with this target.
    Link(Box<str>),
    /// In the mount: an empty directory.
    EmptyDir,
    /// Entries below the path, which make room for what comes to it.
    Tree(Vec<(RelPath, Found)>),
    /// An entry at a path above, which makes room; it is taken away once for all that comes below.
    Above(RelPath, Box<Found>),
}

/// Why an item is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The destination never had it.
    New,
    /// The destination had it and removed it since both sides agreed.
    SentAgain,
    /// Only the source changed.
    Changed,
    /// The destination holds another kind, unchanged since both sides agreed, which is removed first.
    KindChanged,
    /// The destination is newer, and `--overwrite` was given.
    OverwriteProtected,
    /// Both changed, and `--overwrite` was given.
    OverwriteConflict,
    /// Nothing tells whether it is the same, and `--overwrite` was given.
    OverwriteUnknown,
}

impl Class {
    /// True when something at the destination that no base proves superseded is replaced.
    #[must_use]
    pub fn loses(self) -> bool {
        matches!(self, Class::OverwriteProtected | Class::OverwriteConflict | Class::OverwriteUnknown)
    }
}

/// An item that moves.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Where.
    pub path: RelPath,
    /// What the source holds.
    pub source: Arc<Entry>,
    /// The permission bits that the path has at the destination afterwards, where known.
    pub mode: Option<u32>,
    /// The stamp of a local source file.
    pub stamp: Option<Stamp>,
    /// When the source object was written; a foreign object's mtime where its metadata has none.
    pub last_modified: Option<crate::entry::Nanos>,
    /// What the destination holds.
    pub found: Found,
    /// Bytes at the destination that are replaced.
    pub replaced_bytes: u64,
    /// Permission bits of what is replaced, for foreign objects that carry none.
    pub found_mode: Option<u32>,
    /// Why.
    pub class: Class,
}

/// An item that goes at the destination.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Where.
    pub path: RelPath,
    /// What stands there.
    pub found: Found,
    /// Its content bytes.
    pub bytes: u64,
    /// It is not what both sides agreed on, and `--overwrite` was given.
    pub loses: bool,
}

/// A file of the mount that would be taken for a part of a database that is brought, and is none: it makes room first.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// What goes.
    pub removal: Removal,
    /// The database that it is named after.
    pub database: RelPath,
}

/// Permission bits that are carried.
#[derive(Clone, Debug)]
pub struct Update {
    /// Where.
    pub path: RelPath,
    /// What stands at the destination.
    pub found: Found,
    /// The bits that it gets.
    pub mode: u32,
}

/// An item that stays as it is on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub path: RelPath,
    /// Content bytes at the source, or at the destination where the source has none.
    pub bytes: u64,
    /// Why, as a fragment.
    pub why: &'static str,
    /// What a person can do about it.
    pub way: Way,
}

/// What settles an item that stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `--overwrite`, in the direction of choice.
    Either,
    /// The source is proven to have removed what the destination changed: `--delete --overwrite` removes it there, and the other direction
    /// brings it back.
    Removal,
    /// Two hosts published it differently, and the mount has neither: one is brought, and then published.
    Bring,
}

/// The plan.
#[derive(Debug)]
pub struct Plan {
    /// Which way.
    pub direction: Direction,
    /// What moves, in path order.
    pub transfers: Vec<Transfer>,
    /// What goes, in path order; only with `delete`.
    pub removals: Vec<Removal>,
    /// Of databases that are brought: files here that belong to an older version of them.
    pub leftovers: Vec<Leftover>,
    /// Whose permission bits change, in path order.
    pub updates: Vec<Update>,
    /// Directories that hold something and get other permission bits, in path order.
    pub dir_modes: Vec<DirMode>,
    /// Newer at the destination.
    pub protected: Vec<Kept>,
    /// Changed on both sides.
    pub conflicts: Vec<Kept>,
    /// Neither equal nor different.
    pub unknown: Vec<Kept>,
    /// Only at the destination, and kept.
    pub kept: Vec<Kept>,
    /// Files that a manifest has and the bucket lacks.
    pub vanished: Vec<RelPath>,
    /// Paths that hold the same on both sides.
    pub same: Vec<RelPath>,
    /// Content bytes of those.
    pub same_bytes: u64,
    /// What cannot be synced.
    pub problems: Vec<Problem>,
    /// What holds no bytes to lose.
    pub skipped: Vec<Skipped>,
    /// Links of the source that point outside the directory: what they point to is not in the bucket.
    pub outside_links: Vec<OutsideLink>,
    /// Of an upload: what was deleted here and no manifest tells of yet; none where something is not proven to have been deleted.
    pub deletions: Option<Vec<Deleted>>,
    /// What was deleted here is recorded: it is proven, and not too much.
    pub records_deletions: bool,
    /// Of an upload: recorded as deleted, and here again or asked for by name.
    pub restored: Vec<RelPath>,
    /// Recorded as deleted on another machine: what a download leaves in the bucket, and what an upload has here and a download on a new
    /// machine leaves out all the same.
    pub left_out: Vec<LeftOut>,
    /// New files that may hold keys, with what would be sent: they wait until a person says that they travel.
    pub keys: Vec<(KeyFile, Transfer)>,
    /// Directories of what is sent that programs make again.
    pub regenerable: Vec<Regenerable>,
    /// Directories of the bucket that belong to other lsync directories, and are left alone.
    pub others: Vec<OtherDirectory>,
    /// Nothing is where a download's source should be, and nothing here tells that the place is right.
    pub nothing_there: Option<NothingThere>,
    /// Deletions were asked for, whether there are any or not, and nothing else shows that the source is what it should be.
    pub may_delete: bool,
    /// Entries at the source, in scope.
    pub source_entries: u64,
    /// The run is narrowed, and the source holds something beside what it is narrowed to: it is no unmounted one.
    pub source_has_more: bool,
    /// Entries at the destination, in scope.
    pub destination_entries: u64,
    /// Paths that both sides agreed on once, or that were published, whether they still are anywhere or not.
    pub remembered_entries: u64,
    /// An upload that has to publish what an earlier one sent and could not publish.
    pub owed: bool,
    /// The bucket's service is known to make no copies: what the plan overwrites or deletes there cannot be kept first, and it says so.
    pub without_copies: bool,
}

impl Plan {
    /// A plan of nothing, about two sides that hold nothing.
    #[must_use]
    pub fn empty(direction: Direction) -> Plan {
        Plan {
            direction,
            transfers: Vec::new(),
            removals: Vec::new(),
            leftovers: Vec::new(),
            updates: Vec::new(),
            dir_modes: Vec::new(),
            protected: Vec::new(),
            conflicts: Vec::new(),
            unknown: Vec::new(),
            kept: Vec::new(),
            vanished: Vec::new(),
            same: Vec::new(),
            same_bytes: 0,
            problems: Vec::new(),
            skipped: Vec::new(),
            outside_links: Vec::new(),
            deletions: None,
            records_deletions: false,
            restored: Vec::new(),
            left_out: Vec::new(),
            keys: Vec::new(),
            regenerable: Vec::new(),
            others: Vec::new(),
            nothing_there: None,
            may_delete: false,
            source_entries: 0,
            source_has_more: false,
            destination_entries: 0,
            remembered_entries: 0,
            owed: false,
            without_copies: false,
        }
    }

    /// True when an upload overwrites or deletes objects that nothing proves outdated.
    #[must_use]
    pub fn loses_objects(&self) -> bool {
        let loses = self.transfers.iter().any(|t| t.class.loses()) || self.removals.iter().any(|r| r.loses);
        self.direction == Direction::Upload && loses
    }

    /// True when execution would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.removals.is_empty() && self.updates() == 0 && !self.owed && !self.tells_of_deletions()
    }

    /// Items that get other permission bits; a directory that is new at the destination comes with what lies in it.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.updates.len() + self.dir_modes.iter().filter(|dir| !dir.is_new).count()
    }

    /// Content bytes that move.
    #[must_use]
    pub fn transfer_bytes(&self) -> u64 {
        self.transfers.iter().map(|t| t.source.bytes()).sum()
    }

    /// Transfers of a kind: how many, and their bytes.
    pub fn count(&self, which: impl Fn(Class) -> bool) -> (u64, u64) {
        self.transfers.iter().filter(|t| which(t.class)).fold((0, 0), |(n, bytes), t| (n + 1, bytes + t.source.bytes()))
    }
}

/// Why an upload keeps in the bucket what the mount has deleted.
const DELETED_HERE: &str = "removed in the mount";

/// Why something that only the destination has stays there.
fn why_kept(since: Since, upload: bool) -> &'static str {
    match (since, upload) {
        (Since::New, true) => "only in the bucket",
        (Since::New, false) => "only in the mount",
        (Since::Unchanged, true) => DELETED_HERE,
        (Since::Unchanged, false) => "removed in the bucket",
        (Since::Changed, true) => "removed in the mount, changed in the bucket",
        (Since::Changed, false) => "removed in the bucket, changed in the mount",
    }
}
