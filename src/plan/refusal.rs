//! Why a whole plan is refused before it starts. Only the words: the plan decides.

use super::{Direction, Plan};
use crate::problem::Side;

/// Most paths that one run may delete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDelete {
    /// So many paths.
    Paths(u64),
    /// This share of the destination's paths in scope, in percent.
    Percent(f64),
}

impl MaxDelete {
    /// True when so many deletions are more than it allows; `of`: the destination's paths in scope.
    #[must_use]
    pub fn is_exceeded(self, deletes: u64, of: u64) -> bool {
        match self {
            MaxDelete::Paths(most) => deletes > most,
            MaxDelete::Percent(most) => deletes as f64 * 100.0 > most * of as f64,
        }
    }
}

/// Why a whole plan is refused before it starts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// `--max-delete`.
    #[error("the plan deletes {deletes} of {of} paths, more than --max-delete {limit} allows")]
    TooManyDeletes {
        /// Paths that would go.
        deletes: u64,
        /// Paths at the destination in scope.
        of: u64,
        /// The limit as the user writes it.
        limit: String,
    },
    /// An upload from an unmounted or emptied mount, whether it was asked to delete or not: its "complete" would be taken for "all is
    /// safe".
    #[error(
        "the mount has no entry at all, and {bucket} are in the bucket and {remembered} were synced before: there is nothing to upload"
    )]
    EmptyMount {
        /// Entries in the bucket, in scope.
        bucket: u64,
        /// Paths that both sides agreed on once, or that were published.
        remembered: u64,
    },
    /// Deletions by an emptied bucket.
    #[error("the bucket has no entry at all, and a source without any entry deletes nothing")]
    EmptyBucket,
}

impl Plan {
    /// True for a source without any entry where the destination, or the memory, has some: perhaps it is not mounted, or another one.
    /// What does not travel (ignored, holding keys, sockets) is no entry; what cannot be read is.
    #[must_use]
    pub fn source_is_void(&self) -> bool {
        let known = match self.direction {
            Direction::Upload => self.destination_entries + self.remembered_entries,
            Direction::Download => self.destination_entries,
        };
        let unread = self.direction == Direction::Upload && self.problems.iter().any(|problem| problem.side == Side::Local);
        let proven = self.source_has_more || unread;
        // Whoever asks for deletions must hear that the source is not what it was, also when nothing is proven to have been removed.
        self.source_entries == 0 && known > 0 && (self.may_delete || !proven)
    }

    /// Whether the whole plan must not start.
    pub fn check(&self, max_delete: MaxDelete) -> Result<(), Refusal> {
        let (deletes, of) = (self.removals.len() as u64, self.destination_entries);
        if self.source_is_void() {
            match self.direction {
                Direction::Upload => return Err(Refusal::EmptyMount { bucket: of, remembered: self.remembered_entries }),
                Direction::Download if self.may_delete => return Err(Refusal::EmptyBucket),
                Direction::Download => {}
            }
        }
        if deletes == 0 || !max_delete.is_exceeded(deletes, of) {
            return Ok(());
        }
        let limit = match max_delete {
            MaxDelete::Paths(most) => most.to_string(),
            MaxDelete::Percent(most) => format!("{most}%"),
        };
        Err(Refusal::TooManyDeletes { deletes, of, limit })
    }
}
