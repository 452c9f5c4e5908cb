//! The bucket as the rest of lsync sees it: a client, a bucket name and a prefix. Keys go in and out as paths after the prefix.

use crate::path::Prefix;

/// An open bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {}

impl Bucket {
    /// `s3://bucket/prefix`, for people.
    #[must_use]
    pub fn url(&self) -> &str {
        todo!()
    }

    /// The endpoint's URL, for people.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        todo!()
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        todo!()
    }

    /// Where the mount's files lie in it.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        todo!()
    }

    /// The server's clock minus this host's, in seconds, from the last answer's `Date`.
    #[must_use]
    pub fn clock_offset_seconds(&self) -> Option<i64> {
        todo!()
    }
}
