//! Multipart uploads: begin, send parts, complete or abort. Which parts there are is the caller's business.

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::Error;
use super::object::{About, Enforce, Guard, Stored};
use crate::digest::{ETag, Md5};

/// A begun upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The key after the prefix.
    pub key: String,
    /// The store's id of it.
    pub id: String,
    /// The nonce that the object will carry.
    pub nonce: String,
}

impl Bucket {
    /// Begins an upload.
    pub async fn begin_upload(&self, key: &str, about: About) -> Result<Upload, Error> {
        let _ = (key, about);
        todo!()
    }

    /// Sends a part with its `Content-MD5`; `number` counts from 1. Returns the part's ETag.
    pub async fn upload_part(&self, upload: &Upload, number: u32, body: Bytes, md5: Md5) -> Result<ETag, Error> {
        let _ = (upload, number, body, md5);
        todo!()
    }

    /// Makes the object from the parts' ETags, in order, under its guard. Success is the XML root of the answer, or our nonce and `size`
    /// in a HEAD after an ambiguous answer.
    pub async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[ETag],
        size: u64,
        guard: &Guard,
        enforce: Enforce,
    ) -> Result<Stored, Error> {
        let _ = (upload, parts, size, guard, enforce);
        todo!()
    }

    /// Gives the upload up, so that its parts cost nothing.
    pub async fn abort_upload(&self, upload: &Upload) -> Result<(), Error> {
        let _ = upload;
        todo!()
    }
}
