//! Small experiments that tell what a store does, under random keys in `.lsync/` that are removed again.

use super::bucket::Bucket;
use super::error::Error;

/// What `lsync setup` finds out.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Objects on the first listing page, and whether there are more.
    pub first_page: (usize, bool),
    /// Server clock minus ours, seconds.
    pub clock_offset_seconds: Option<i64>,
    /// A wrong `Content-MD5` is refused; `None` when writing is not allowed.
    pub checks_content_md5: Option<bool>,
    /// The ETag of a small object is its MD5, in the answer and in the listing; `None` when writing is not allowed.
    pub etag_is_md5: Option<bool>,
    /// `If-None-Match: *` and `If-Match` are honoured; `None` when writing is not allowed.
    pub conditional_writes: Option<bool>,
}

impl Bucket {
    /// Whether the store honours `If-None-Match: *` and `If-Match` on PUT: at most 4 small requests, the probe object is removed.
    /// "Ignored" and "refused as unsupported" are both false.
    pub async fn honours_conditional_writes(&self) -> Result<bool, Error> {
        todo!()
    }

    /// One page of the listing: proves that the endpoint answers, the bucket exists and the credentials may read it.
    pub async fn check_readable(&self) -> Result<(usize, bool), Error> {
        todo!()
    }

    /// All of [`Findings`].
    pub async fn inspect(&self) -> Result<Findings, Error> {
        todo!()
    }
}
