//! What can go wrong with the bucket, by meaning.

/// A failed request or listing.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {message}")]
pub struct Error {
    /// What it means for the run.
    pub kind: Kind,
    /// What was tried, with the key made safe to show: `cannot list s3://bucket/prefix`.
    pub doing: String,
    /// What the store or the network said, made safe to show, without secrets.
    pub message: String,
    /// What to do next, when something can be done.
    pub hint: Option<String>,
}

/// What an [`Error`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The object does not exist.
    NotFound,
    /// The bucket does not exist (configuration).
    NoBucket,
    /// The credentials were refused: nothing else will be answered either.
    Denied,
    /// This was refused, for want of a permission: it may be about this object, or about all.
    Refused,
    /// The store has no room for more.
    Full,
    /// The object is not what the guard says (412, or 409 after a conditional request).
    Precondition,
    /// No answer, a broken connection, a time-out, a 5xx that did not go away.
    Unreachable,
    /// 429 or 503 that did not go away.
    Throttled,
    /// Bytes that arrived or were stored are not the bytes that were meant.
    Integrity,
    /// The store cannot do this (501, or 400 for a header or a key it does not take).
    Unsupported,
    /// An answer that makes no sense: a page that repeats, a listing without ETags.
    Protocol,
    /// The configuration cannot be used (endpoint, profile, http refused).
    Config,
    /// A sink for downloaded bytes, or the caller, ended it.
    Stopped,
}
