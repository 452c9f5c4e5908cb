//! Multipart uploads: begin, send parts, complete or abort. Which parts there are is the caller's business.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::bucket::Bucket;
use super::error::{Error, Kind};
use super::object::{About, Enforce, Guard, Stored, patient, with_nonce};
use super::write::{Write, quoted};
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
    /// Begins an upload. A lost answer may leave a second one behind that holds no parts.
    pub async fn begin_upload(&self, key: &str, about: About) -> Result<Upload, Error> {
        let (metadata, nonce) = with_nonce(about.metadata);
        let mut tries = self.tries("put", key);
        loop {
            let request = self
                .client()
                .create_multipart_upload()
                .bucket(self.name())
                .key(self.whole_key(key))
                .set_content_type(about.content_type.clone())
                .set_metadata(Some(metadata.clone()))
                .send();
            match tries.send(request).await {
                Ok(answer) => {
                    let id = answer.upload_id.filter(|id| !id.is_empty());
                    let id = id.ok_or_else(|| tries.wrong(Kind::Protocol, "the store began a multipart upload without an id"))?;
                    return Ok(Upload { key: key.to_owned(), id, nonce });
                }
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Sends a part with its `Content-MD5`; `number` counts from 1. Returns the part's ETag. An upload that the store no longer knows
    /// is [`Kind::NotFound`].
    pub async fn upload_part(&self, upload: &Upload, number: u32, body: Bytes, md5: Md5) -> Result<ETag, Error> {
        let mut tries = self.tries("put", &upload.key);
        loop {
            let request = self
                .client()
                .upload_part()
                .bucket(self.name())
                .key(self.whole_key(&upload.key))
                .upload_id(&upload.id)
                .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                .body(ByteStream::from(body.clone()))
                .content_md5(md5.base64())
                .customize()
                // As for whole objects: Content-MD5 is signed and covers the body.
                .disable_payload_signing()
                .send();
            match tries.send(request).await {
                Ok(answer) => {
                    let etag = answer.e_tag.filter(|etag| !etag.is_empty());
                    let etag = etag.ok_or_else(|| tries.wrong(Kind::Protocol, format!("the store took part {number} without an ETag")))?;
                    return Ok(ETag::parse(&etag));
                }
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Makes the object from the parts' ETags, in order, under its guard. Success is the XML root of the answer, or our nonce and `size`
    /// in a HEAD after an ambiguous answer. An upload that the store no longer knows, and that did not succeed, is [`Kind::NotFound`].
    pub async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[ETag],
        size: u64,
        guard: &Guard,
        enforce: Enforce,
    ) -> Result<Stored, Error> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(completed(parts))).build();
        let mut write = Write {
            tries: self.tries("put", &upload.key),
            bucket: self,
            key: &upload.key,
            nonce: &upload.nonce,
            size,
            guard,
            enforce,
            ambiguous: false,
        };
        loop {
            if let Some(stored) = write.before().await? {
                return Ok(stored);
            }
            let (if_none_match, if_match) = write.conditions();
            let request = self
                .client()
                .complete_multipart_upload()
                .bucket(self.name())
                .key(self.whole_key(&upload.key))
                .upload_id(&upload.id)
                .multipart_upload(parts.clone())
                .set_if_none_match(if_none_match)
                .set_if_match(if_match)
                .customize()
                .config_override(patient())
                .send();
            match write.tries.send(request).await {
                Ok(answer) => return write.stored(answer.e_tag()).await,
                Err(failed) => {
                    if let Some(stored) = write.after(failed).await? {
                        return Ok(stored);
                    }
                }
            }
        }
    }

    /// Gives the upload up, so that its parts cost nothing.
    pub async fn abort_upload(&self, upload: &Upload) -> Result<(), Error> {
        let mut tries = self.tries("give up the upload of", &upload.key);
        loop {
            let key = self.whole_key(&upload.key);
            let request = self.client().abort_multipart_upload().bucket(self.name()).key(key).upload_id(&upload.id).send();
            match tries.send(request).await {
                Ok(_) => return Ok(()),
                Err(failed) if failed.kind == Kind::NotFound => return Ok(()),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }
}

fn completed(parts: &[ETag]) -> Vec<CompletedPart> {
    let part = |(number, etag): (i32, &ETag)| CompletedPart::builder().part_number(number).e_tag(quoted(etag)).build();
    (1..).zip(parts).map(part).collect()
}
