//! Copies of objects as they are, made before something else comes in their place. A copy is proven by looking at it. Decides nothing.

use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::bucket::Bucket;
use super::classify::Failed;
use super::copies::Original;
use super::error::{Error, Kind};
use super::multipart::Upload;
use super::object::{Enforce, Guard, copy_source, patient, with_nonce};
use super::probe::{CONTENT, probe, probe_key};
use super::write::quoted;
use crate::digest::{ETag, MAX_PARTS, part_bytes_for};
use crate::profile::Support;

/// Most bytes that one CopyObject copies.
const MOST_IN_ONE: u64 = 5 << 30;
/// Least bytes of a part of what is larger.
const LARGE_PART: u64 = 256 << 20;
/// Parts of an object that one CopyObject should have copied, and did not.
const SMALL_PART: u64 = 8 << 20;
/// Parts that are copied at once.
const PARTS_AT_ONCE: usize = 8;

/// Why there is no copy.
#[derive(Debug)]
pub enum NotCopied {
    /// The service knows no copies, or makes something else when it is asked for one.
    NotKnown(Support, Error),
    /// This copy failed.
    Failed(Error),
}

impl From<Error> for NotCopied {
    fn from(error: Error) -> NotCopied {
        NotCopied::Failed(error)
    }
}

impl Bucket {
    /// Copies an object of `size` bytes inside the bucket, if it still is that, metadata included; by parts what is too large for one
    /// request. Where the copy's ETag does not tell that it holds the same, both are looked at afterwards, because not every store honours
    /// the condition, and one that does not know what a copy is takes the request for an empty object. `stop` is asked between parts.
    pub async fn copy(&self, of: &Original, size: u64, to: &str, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), NotCopied> {
        let etag = if size > MOST_IN_ONE {
            self.copy_in_parts(of, to, cuts(size), stop).await?;
            None
        } else {
            self.copy_in_one_or_parts(of, to, size, stop).await?
        };
        if etag.is_some_and(|etag| etag == of.etag && etag.md5().is_some()) {
            return Ok(());
        }
        let wrong = |kind, why: &str| self.tries("copy", &of.key).wrong(kind, why);
        let found = self.head(&of.key).await?.ok_or_else(|| wrong(Kind::NotFound, "it is not there"))?;
        if let Some(why) = Guard::Is(of.etag.clone(), size).broken_by(Some(&found)) {
            return Err(wrong(Kind::Precondition, why).into());
        }
        match self.head(to).await? {
            Some(copy) if copy.size == size => Ok(()),
            _ => {
                let why = "the bucket says that it did, and the copy is not what was to be copied";
                Err(NotCopied::NotKnown(Support::Ignored, wrong(Kind::Unsupported, why)))
            }
        }
    }

    /// Returns the ETag that one request was answered with.
    async fn copy_in_one_or_parts(
        &self,
        of: &Original,
        to: &str,
        size: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<ETag>, NotCopied> {
        let mut tries = self.tries("copy", &of.key);
        loop {
            let request = self
                .client()
                .copy_object()
                .bucket(self.name())
                .key(self.whole_key(to))
                .copy_source(copy_source(self, &of.key))
                .copy_source_if_match(quoted(&of.etag))
                .customize()
                .config_override(patient())
                .send();
            let failed = match tries.send(request).await {
                Ok(answer) => return Ok(answer.copy_object_result.and_then(|result| result.e_tag).map(|etag| ETag::parse(&etag))),
                Err(failed) => failed,
            };
            if failed.is_not_known() {
                return Err(NotCopied::NotKnown(Support::Refused, tries.error(failed)));
            }
            if may_be_too_large(&failed) && size > SMALL_PART {
                let ranges = ranges(size, part_bytes_for(size).unwrap_or(SMALL_PART));
                return match self.copy_in_parts(of, to, ranges, stop).await {
                    // What was said first tells more.
                    Err(error) if error.kind == Kind::Unsupported => Err(tries.error(failed).into()),
                    copied => Ok(copied.map(|()| None)?),
                };
            }
            tries.again(failed).await?;
        }
    }

    /// Copies an object by parts, with the metadata that a HEAD shows.
    async fn copy_in_parts(&self, of: &Original, to: &str, ranges: Vec<Range<u64>>, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Error> {
        let upload = self.begin_like(of, to).await?;
        let copied = self.parts_copied(of, &upload, &ranges, stop).await;
        if copied.is_err() {
            // That it is left behind is no reason to say something else.
            let _ = self.abort_upload(&upload).await;
        }
        copied
    }

    async fn parts_copied(
        &self,
        of: &Original,
        upload: &Upload,
        ranges: &[Range<u64>],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Error> {
        let part = async |(number, range): (u32, Range<u64>)| {
            if stop() {
                return Err(self.tries("copy", &of.key).wrong(Kind::Stopped, "stopped"));
            }
            self.copy_part(upload, number, of, Some(range)).await
        };
        let parts = stream::iter((1..).zip(ranges.iter().cloned())).map(part).buffered(PARTS_AT_ONCE);
        let parts: Vec<ETag> = parts.try_collect().await?;
        let size = ranges.last().map_or(0, |range| range.end);
        self.complete_upload(upload, &parts, size, &Guard::Any, Enforce::Head).await.map(drop)
    }

    /// Begins an upload that will carry what its original carries.
    async fn begin_like(&self, of: &Original, to: &str) -> Result<Upload, Error> {
        let mut tries = self.tries("copy", &of.key);
        let head = loop {
            let request = self.client().head_object().bucket(self.name()).key(self.whole_key(&of.key)).if_match(quoted(&of.etag)).send();
            match tries.send(request).await {
                Ok(head) => break head,
                Err(failed) => tries.again(failed).await?,
            }
        };
        let (metadata, nonce) = with_nonce(head.metadata.unwrap_or_default().into_iter().collect());
        loop {
            let request = self
                .client()
                .create_multipart_upload()
                .bucket(self.name())
                .key(self.whole_key(to))
                .set_content_type(head.content_type.clone())
                .set_content_encoding(head.content_encoding.clone())
                .set_content_disposition(head.content_disposition.clone())
                .set_content_language(head.content_language.clone())
                .set_cache_control(head.cache_control.clone())
                .set_metadata(Some(metadata.clone()))
                .send();
            match tries.send(request).await {
                Ok(begun) => {
                    let id = begun.upload_id.filter(|id| !id.is_empty());
                    let id = id.ok_or_else(|| tries.wrong(Kind::Protocol, "the bucket began a multipart upload without an id"))?;
                    return Ok(Upload { key: to.to_owned(), id, nonce, lost: 0 });
                }
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Whether objects can be copied here at all, asked of one of our own, which is removed again: at most seven small requests. `None`:
    /// no answer that tells: these credentials may not copy, say, or nothing answered.
    pub async fn probe_history(&self) -> Result<Option<Support>, Error> {
        let key = probe_key();
        let copy = format!("{key}-copy");
        let stored = self.put(probe(&key, Guard::Any)).await;
        let found = match &stored {
            Ok(stored) => self.history(&key, &stored.etag, &copy).await,
            Err(_) => None,
        };
        for key in [&copy, &key] {
            let _ = self.delete(key, &Guard::Any, Enforce::Head).await;
        }
        stored.map(|_| found)
    }

    /// [`Bucket::probe_history`] of a probe object that is there, with keys that the caller removes.
    pub(super) async fn history(&self, key: &str, etag: &ETag, copy: &str) -> Option<Support> {
        let of = Original { key: key.to_owned(), etag: etag.clone() };
        match self.copy(&of, CONTENT.len() as u64, copy, &|| false).await {
            Ok(()) => Some(Support::Honoured),
            Err(NotCopied::NotKnown(support, _)) => Some(support),
            Err(NotCopied::Failed(_)) => None,
        }
    }
}

/// What AWS answers where the source is larger than one request copies; it also answers it to other things.
fn may_be_too_large(failed: &Failed) -> bool {
    failed.kind == Kind::Unsupported && (failed.has_code("InvalidRequest") || failed.has_code("EntityTooLarge"))
}

/// The parts of what is too large for one request.
fn cuts(size: u64) -> Vec<Range<u64>> {
    ranges(size, LARGE_PART.max(size.div_ceil(MAX_PARTS)))
}

fn ranges(size: u64, part: u64) -> Vec<Range<u64>> {
    (0..size.div_ceil(part)).map(|n| n * part..size.min((n + 1) * part)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::canned::{answer, bucket_answering, error};
    use super::*;

    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    fn here(etag: &str, nonce: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 3\r\nx-amz-meta-lsync-id: {nonce}\r\n\r\n")
    }

    fn of(etag: &str) -> Original {
        Original { key: "a ü".into(), etag: ETag::parse(etag) }
    }

    async fn copied(answers: &[&str], etag: &str) -> (String, String) {
        let (bucket, asked) = bucket_answering(answers).await;
        let copied = match bucket.copy(&of(etag), 3, "c", &|| false).await {
            Ok(()) => "copied".to_owned(),
            Err(NotCopied::NotKnown(support, _)) => format!("not known: {support:?}"),
            Err(NotCopied::Failed(error)) => format!("{:?}", error.kind),
        };
        let methods: Vec<String> = asked.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        (copied, methods.join(" "))
    }

    #[tokio::test]
    async fn a_copy_is_done_when_it_is_there_and_not_when_it_is_an_error_inside_a_200() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let done = |etag: &str| answer("200 OK", &format!("<CopyObjectResult><ETag>\"{etag}\"</ETag></CopyObjectResult>"));
        let (same, other, inside) = (done(md5), done("c"), error("200 OK", "InternalError"));
        let (source, conflict) = (here("\"e\"", "n"), error("412 x", "PreconditionFailed"));
        let (changed, empty) = (here("\"f\"", "n"), here("\"c\"", "n").replace("gth: 3", "gth: 0"));
        let no_key = error("404 Not Found", "NoSuchKey");
        for (answers, etag, expected, methods) in [
            (vec![same.as_str()], md5, "copied", "PUT"),
            (vec![&inside, &same], md5, "copied", "PUT PUT"),
            (vec![&other, &source, &source], "e", "copied", "PUT HEAD HEAD"),
            (vec![&other, &source, &empty], "e", "not known: Ignored", "PUT HEAD HEAD"),
            (vec![&other, &source, ABSENT], "e", "not known: Ignored", "PUT HEAD HEAD"),
            (vec![&other, &changed], "e", "Precondition", "PUT HEAD"),
            (vec![&other, ABSENT], "e", "NotFound", "PUT HEAD"),
            (vec![&conflict], "e", "Precondition", "PUT"),
            (vec![&no_key], "e", "NotFound", "PUT"),
        ] {
            assert_eq!(copied(&answers, etag).await, (expected.to_owned(), methods.to_owned()), "{answers:?}");
        }
        let (bucket, asked) = bucket_answering(&[&same]).await;
        bucket.copy(&of(md5), 3, "c", &|| false).await.unwrap();
        assert_eq!(asked.header(0, "x-amz-copy-source").as_deref(), Some("b/p/a%20%C3%BC"));
        assert_eq!(asked.header(0, "x-amz-copy-source-if-match"), Some(format!("\"{md5}\"")));
    }

    /// A refusal for what the object is, or for what these credentials may do, is not one of all copies.
    #[tokio::test]
    async fn only_a_service_that_knows_no_copies_says_so() {
        for (status, code, known) in [
            ("501 Not Implemented", "NotImplemented", false),
            ("405 Method Not Allowed", "MethodNotAllowed", false),
            ("403 Forbidden", "AccessDenied", true),
            ("400 Bad Request", "InvalidRequest", true),
            ("400 Bad Request", "EntityTooLarge", true),
            ("400 Bad Request", "KeyTooLongError", true),
            ("400 Bad Request", "NotImplementedHere", true),
        ] {
            let (bucket, _) = bucket_answering(&[&error(status, code)]).await;
            let why = bucket.copy(&of("e"), 3, "c", &|| false).await.unwrap_err();
            assert_eq!(matches!(why, NotCopied::Failed(_)), known, "{code}: {why:?}");
        }
    }

    #[tokio::test]
    async fn a_copy_by_parts_carries_what_its_original_carries() {
        let large = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 9000000\r\nContent-Type: text/csv\r\nCache-Control: no-cache\r\n\
            Content-Encoding: zstd\r\nx-amz-meta-mtime: 1.5\r\nx-amz-meta-lsync-id: n\r\n\r\n";
        let part = answer("200 OK", "<CopyPartResult><ETag>\"p\"</ETag></CopyPartResult>");
        let begun = answer("200 OK", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
        let done = answer("200 OK", "<CompleteMultipartUploadResult><ETag>\"p-2\"</ETag></CompleteMultipartUploadResult>");
        let refused = error("400 Bad Request", "InvalidRequest");
        let (bucket, asked) = bucket_answering(&[&refused, large, &begun, &part, &part, &done, large, large]).await;
        bucket.copy(&of("e"), 9_000_000, "c", &|| false).await.unwrap();
        let sent = |name: &str| asked.header(2, name);
        assert_eq!((sent("content-type").as_deref(), sent("cache-control").as_deref()), (Some("text/csv"), Some("no-cache")));
        assert_eq!((sent("content-encoding").as_deref(), sent("x-amz-meta-mtime").as_deref()), (Some("zstd"), Some("1.5")));
        let mut parts = [3, 4].map(|n| asked.header(n, "x-amz-copy-source-range").unwrap());
        parts.sort();
        assert_eq!(parts, ["bytes=0-8388607", "bytes=8388608-8999999"]);
    }

    #[tokio::test]
    async fn a_copy_by_parts_that_fails_leaves_nothing_behind() {
        let large = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 9000000\r\n\r\n";
        let begun = answer("200 OK", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
        let refused = error("400 Bad Request", "EntityTooLarge");
        let denied = error("403 Forbidden", "AccessDenied");
        let (bucket, asked) = bucket_answering(&[&refused, large, &begun, &denied, &denied, ABSENT]).await;
        let copied = bucket.copy(&of("e"), 9_000_000, "c", &|| false).await;
        assert!(matches!(copied, Err(NotCopied::Failed(e)) if e.kind == Kind::Refused));
        assert!(
            asked.lines().last().is_some_and(|line| line.starts_with("DELETE /b/p/c?") && line.contains("uploadId=u")),
            "{:?}",
            asked.lines()
        );
    }

    #[test]
    fn a_large_object_is_cut_into_as_many_parts_as_there_may_be() {
        for (size, parts, last) in
            [(MOST_IN_ONE + 1, 21, 1), (50 << 40, MAX_PARTS, (50 << 40) - (MAX_PARTS - 1) * (50u64 << 40).div_ceil(MAX_PARTS))]
        {
            let cuts = cuts(size);
            assert_eq!((cuts.len() as u64, cuts.last().map(|range| range.end - range.start)), (parts, Some(last)));
            assert!(cuts.windows(2).all(|two| two[0].end == two[1].start) && cuts[0].start == 0 && cuts[cuts.len() - 1].end == size);
        }
    }
}
