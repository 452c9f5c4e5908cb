//! Multipart uploads: begin, send parts, complete or abort. Which parts there are is the caller's business.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::body::Body;
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
    /// As many more may have been begun, which hold no parts: their answers were lost.
    pub lost: u32,
}

impl Bucket {
    /// Begins an upload. A lost answer may leave another one behind; see [`Upload::lost`].
    pub async fn begin_upload(&self, key: &str, about: About) -> Result<Upload, Error> {
        let (metadata, nonce) = with_nonce(about.metadata);
        let (mut tries, mut lost) = (self.tries("put", key), 0);
        loop {
            let bare = Arc::new(OnceLock::new());
            let request = self
                .client()
                .create_multipart_upload()
                .bucket(self.name())
                .key(self.whole_key(key))
                .set_content_type(about.content_type.clone())
                .set_metadata(Some(metadata.clone()))
                .customize()
                .interceptor(BareId(Arc::clone(&bare)))
                .send();
            let id = match tries.send(request).await {
                Ok(answer) => answer.upload_id,
                Err(failed) if failed.kind == Kind::Protocol && bare.get().is_some() => bare.get().cloned(),
                Err(failed) => {
                    lost += u32::from(failed.maybe_done);
                    tries.again(failed).await?;
                    continue;
                }
            };
            let id = id.filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| tries.wrong(Kind::Protocol, "the store began a multipart upload without an id"))?;
            return Ok(Upload { key: key.to_owned(), id, nonce, lost });
        }
    }

    /// Sends a part with its `Content-MD5`; `number` counts from 1. Returns the part's ETag. An upload that the store no longer knows
    /// is [`Kind::NotFound`].
    pub async fn upload_part(&self, upload: &Upload, number: u32, body: impl Into<Body>, md5: Md5) -> Result<ETag, Error> {
        let body = body.into();
        let mut tries = self.tries("put", &upload.key);
        loop {
            let request = self
                .client()
                .upload_part()
                .bucket(self.name())
                .key(self.whole_key(&upload.key))
                .upload_id(&upload.id)
                .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                .body(body.stream())
                .content_length(i64::try_from(body.bytes()).unwrap_or(i64::MAX))
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

/// Finds the upload's id in an answer whose root is `InitiateMultipartUpload`, as `rclone serve s3` writes it: the SDK only takes
/// `InitiateMultipartUploadResult`.
#[derive(Debug)]
struct BareId(Arc<OnceLock<String>>);

impl Intercept for BareId {
    fn name(&self) -> &'static str {
        "lsync upload id"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success()
            && let Some(id) = context.response().body().bytes().and_then(bare_id)
        {
            let _ = self.0.set(id);
        }
        Ok(())
    }
}

fn bare_id(xml: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, inside) = text.split_once("<InitiateMultipartUpload>").or_else(|| text.split_once("<InitiateMultipartUpload "))?;
    let (_, rest) = inside.split_once("<UploadId>")?;
    let (id, _) = rest.split_once("</UploadId>")?;
    // Ids are tokens; one with escapes is left to the SDK to refuse.
    (!id.is_empty() && !id.contains(['<', '&'])).then(|| id.to_owned())
}

fn completed(parts: &[ETag]) -> Vec<CompletedPart> {
    let part = |(number, etag): (i32, &ETag)| CompletedPart::builder().part_number(number).e_tag(quoted(etag)).build();
    (1..).zip(parts).map(part).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::canned::{HANG_UP, answer, bucket_answering, error};
    use super::*;

    const DONE: &str = "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>";
    const OURS: &str = "HTTP/1.1 200 OK\r\nETag: \"seen\"\r\nContent-Length: 9\r\nx-amz-meta-lsync-id: n\r\n\r\n";
    const THEIRS: &str = "HTTP/1.1 200 OK\r\nETag: \"other\"\r\nContent-Length: 9\r\nx-amz-meta-lsync-id: m\r\n\r\n";
    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    async fn complete(answers: &[&str]) -> (Result<String, Kind>, Vec<String>) {
        let (bucket, asked) = bucket_answering(answers).await;
        let upload = Upload { key: "k".into(), id: "u".into(), nonce: "n".into(), lost: 0 };
        let parts = [ETag::parse("\"a\""), ETag::parse("\"b\"")];
        let result = bucket.complete_upload(&upload, &parts, 9, &Guard::Absent, Enforce::Conditional).await;
        let methods = asked.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        (result.map(|stored| stored.etag.to_string()).map_err(|error| error.kind), methods)
    }

    #[tokio::test]
    async fn only_the_right_answer_or_our_nonce_is_success() {
        let done = answer("200 OK", DONE);
        let error_in_200 = error("200 OK", "InternalError");
        let no_upload = error("404 Not Found", "NoSuchUpload");
        let conflict = error("412 Precondition Failed", "PreconditionFailed");
        let conflict_409 = error("409 Conflict", "ConditionalRequestConflict");
        let internal = error("500 Internal Server Error", "InternalError");
        for (answers, expected, methods) in [
            (vec![done.as_str()], Ok("e-2"), "POST"),
            (vec![&error_in_200, &done], Ok("e-2"), "POST POST"),
            (vec![HANG_UP, &done], Ok("e-2"), "POST POST"),
            (vec![HANG_UP, &no_upload, OURS], Ok("seen"), "POST POST HEAD"),
            (vec![HANG_UP, &conflict, OURS], Ok("seen"), "POST POST HEAD"),
            (vec![HANG_UP, &conflict, THEIRS], Err(Kind::Precondition), "POST POST HEAD"),
            (vec![&no_upload, ABSENT], Err(Kind::NotFound), "POST HEAD"),
            (vec![&answer("200 OK", ""), &no_upload, OURS], Ok("seen"), "POST POST HEAD"),
            (vec![&answer("200 OK", "<html>login</html>"), &no_upload, ABSENT], Err(Kind::NotFound), "POST POST HEAD"),
            (vec![&answer("200 OK", "<CompleteMultipartUploadResult/>"), OURS], Ok("seen"), "POST HEAD"),
            (vec![&internal, &no_upload, OURS], Ok("seen"), "POST POST HEAD"),
            (vec![&internal, &no_upload, THEIRS], Err(Kind::NotFound), "POST POST HEAD"),
            (vec![&conflict, THEIRS], Err(Kind::Precondition), "POST HEAD"),
            (vec![&conflict_409, THEIRS], Err(Kind::Precondition), "POST HEAD"),
            (vec![&error("400 Bad Request", "InvalidPart")], Err(Kind::Integrity), "POST"),
        ] {
            let (result, asked) = complete(&answers).await;
            assert_eq!((result.as_deref().map_err(|kind| *kind), asked.join(" ").as_str()), (expected, methods), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_rclone_begins_is_begun() {
        let answer_of =
            |root: &str, id: &str| answer("200 OK", &format!("<?xml version=\"1.0\"?>\n<{root}><UploadId>{id}</UploadId></{root}>"));
        for (root, id, expected) in [
            ("InitiateMultipartUpload", "12", Ok("12")),
            ("InitiateMultipartUploadResult", "1&amp;2", Ok("1&2")),
            ("InitiateMultipartUploadResult", "", Err(Kind::Protocol)),
            ("InitiateMultipartUpload", "1&amp;2", Err(Kind::Protocol)),
            ("html", "12", Err(Kind::Protocol)),
        ] {
            let response = answer_of(root, id);
            let (bucket, _) = bucket_answering(&[&response, &response]).await;
            let begun = bucket.begin_upload("k", About::default()).await.map(|upload| upload.id).map_err(|error| error.kind);
            assert_eq!(begun.as_deref().map_err(|kind| *kind), expected, "{root} {id}");
        }
    }

    #[tokio::test]
    async fn parts_go_out_with_their_number_md5_and_id() {
        let begun = "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>";
        let part = "HTTP/1.1 200 OK\r\nETag: \"p1\"\r\nContent-Length: 0\r\n\r\n";
        let (bucket, asked) = bucket_answering(&[&answer("200 OK", begun), HANG_UP, part, &answer("200 OK", DONE), ABSENT]).await;
        let upload = bucket.begin_upload("a b", About::default()).await.unwrap();
        let md5 = crate::digest::digest_one(b"part");
        let etag = bucket.upload_part(&upload, 1, Bytes::from_static(b"part"), md5).await.unwrap();
        bucket.complete_upload(&upload, &[etag], 4, &Guard::Any, Enforce::Head).await.unwrap();
        bucket.abort_upload(&upload).await.unwrap();
        assert_eq!((asked.header(0, "x-amz-meta-lsync-id"), asked.header(2, "content-md5")), (Some(upload.nonce), Some(md5.base64())));
        assert_eq!((asked.header(2, "x-amz-content-sha256").as_deref(), asked.body(2)), (Some("UNSIGNED-PAYLOAD"), b"part".to_vec()));
        assert_eq!(
            asked.lines(),
            [
                "POST /b/p/a%20b?uploads",
                "PUT /b/p/a%20b?x-id=UploadPart&partNumber=1&uploadId=u%2F1",
                "PUT /b/p/a%20b?x-id=UploadPart&partNumber=1&uploadId=u%2F1",
                "POST /b/p/a%20b?uploadId=u%2F1",
                "DELETE /b/p/a%20b?x-id=AbortMultipartUpload&uploadId=u%2F1",
            ]
        );
        let xml = String::from_utf8(asked.body(3)).unwrap();
        assert!(xml.contains("<ETag>&quot;p1&quot;</ETag>") && xml.contains("<PartNumber>1</PartNumber>"), "{xml}");
    }
}
