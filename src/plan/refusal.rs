//! Why a whole plan is refused before it starts. Only the words: the plan decides.

/// Most paths that one run may delete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDelete {
    /// So many paths.
    Paths(u64),
    /// This share of the destination's paths in scope, in percent.
    Percent(f64),
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
