//! Copies inside the bucket, each under its guards: a whole object under another key, a range of one as a part of an upload; and what the
//! store makes of them. The copies for the history are in [`super::keep`]. Judges no copy: what it must hold is the caller's business.

use std::ops::Range;

use aws_sdk_s3::types::MetadataDirective;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::multipart::Upload;
use super::object::{About, Enforce, Guard, NONCE, Put, Stored, copy_source, patient, with_nonce};
use super::probe::{CONTENT, Tried, probe, probe_key};
use super::write::{Write, quoted};
use crate::digest::{ETag, digest_one};
use crate::profile::Support;

/// What is copied, as it was listed.
#[derive(Clone, Debug)]
pub struct Original {
    /// The key after the prefix.
    pub key: String,
    /// The copy is made only while the object has this ETag.
    pub etag: ETag,
}

/// A whole object to be made of another one.
#[derive(Clone, Debug)]
pub struct Twin {
    /// What is copied.
    pub of: Original,
    /// The key after the prefix.
    pub key: String,
    /// Bytes of both.
    pub size: u64,
    /// What must stand at the key.
    pub guard: Guard,
    /// How that is enforced.
    pub enforce: Enforce,
    /// Type and metadata of the new object, instead of the original's; a [`NONCE`] is added when there is none.
    pub about: About,
}

/// What a store makes of copies of whole objects. `None`: no answer that tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProbe {
    /// It copies, with new metadata, and only while the original has its ETag.
    pub copies: Option<Support>,
    /// Conditions on what stands at the new key; asked only where those of other writes are honoured.
    pub conditional: Option<Support>,
    /// It makes the same of an object, whatever conditions and metadata come of it.
    pub plain: Option<Support>,
}

/// Failures of the store's own that a copy is tried after: it can always be sent instead.
const MOST_FAILURES: u32 = 2;
/// Metadata of a probe object and of its copy.
const MTIME: &str = "mtime";
const FIRST_MTIME: &str = "1700000000.123456789";
const SECOND_MTIME: &str = "1700000001.000000002";

impl Bucket {
    /// Makes an object of another one, under the guards of both. The ETag that is answered tells what it holds. A lost answer is settled by
    /// the nonce, as with [`Bucket::put`]; a caller that puts the content after an error keeps the nonce, so that a late copy is known.
    pub async fn copy_whole(&self, twin: &Twin) -> Result<Stored, Error> {
        let (_, nonce) = with_nonce(twin.about.metadata.clone());
        let mut write = self.write_of(twin, &nonce);
        let mut failures = 0;
        loop {
            if let Some(stored) = write.before().await? {
                return Ok(stored);
            }
            match self.try_copy(&write, twin).await {
                Ok(etag) => return write.stored(etag.as_deref()).await,
                Err(failed) => {
                    failures += u32::from(failed.kind == Kind::Unreachable);
                    if failures > MOST_FAILURES {
                        return Err(write.tries.error(failed));
                    }
                    if let Some(stored) = write.after(failed).await? {
                        return Ok(stored);
                    }
                }
            }
        }
    }

    fn write_of<'a>(&'a self, twin: &'a Twin, nonce: &'a str) -> Write<'a> {
        Write {
            tries: self.tries("copy", &twin.of.key),
            bucket: self,
            key: &twin.key,
            nonce,
            size: twin.size,
            guard: &twin.guard,
            enforce: twin.enforce,
            ambiguous: false,
        }
    }

    async fn try_copy(&self, write: &Write<'_>, twin: &Twin) -> Result<Option<String>, Failed> {
        let (if_none_match, if_match) = write.conditions();
        let mut metadata = twin.about.metadata.clone();
        metadata.retain(|(name, _)| name != NONCE);
        metadata.push((NONCE.into(), write.nonce.to_owned()));
        let request = self
            .client()
            .copy_object()
            .bucket(self.name())
            .key(self.whole_key(&twin.key))
            .copy_source(copy_source(self, &twin.of.key))
            .copy_source_if_match(quoted(&twin.of.etag))
            .metadata_directive(MetadataDirective::Replace)
            .set_content_type(twin.about.content_type.clone())
            .set_metadata(Some(metadata.into_iter().collect()))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .customize()
            .config_override(patient())
            .send();
        Ok(write.tries.send(request).await?.copy_object_result.and_then(|result| result.e_tag))
    }

    /// Makes a part of an upload of an object, or of a range of it, while the object has its ETag; `number` counts from 1. Returns the part's
    /// ETag, which tells what it holds.
    pub async fn copy_part(&self, upload: &Upload, number: u32, of: &Original, range: Option<Range<u64>>) -> Result<ETag, Error> {
        let (mut tries, mut failures) = (self.tries("copy", &of.key), 0);
        loop {
            let request = self
                .client()
                .upload_part_copy()
                .bucket(self.name())
                .key(self.whole_key(&upload.key))
                .upload_id(&upload.id)
                .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                .copy_source(copy_source(self, &of.key))
                .copy_source_if_match(quoted(&of.etag))
                .set_copy_source_range(range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1))))
                .customize()
                .config_override(patient())
                .send();
            match tries.send(request).await {
                Ok(answer) => {
                    let etag = answer.copy_part_result.and_then(|result| result.e_tag).filter(|etag| !etag.is_empty());
                    let etag =
                        etag.ok_or_else(|| tries.wrong(Kind::Protocol, format!("the store copied part {number} without an ETag")))?;
                    return Ok(ETag::parse(&etag));
                }
                Err(failed) => {
                    failures += u32::from(failed.kind == Kind::Unreachable);
                    if failures > MOST_FAILURES {
                        return Err(tries.error(failed));
                    }
                    tries.again(failed).await?;
                }
            }
        }
    }

    /// What the store makes of copies of whole objects, where its ETags are MD5s: at most seven small requests, and two that remove the probe
    /// objects. That they could not be removed is no error.
    pub async fn probe_copies(&self, conditional: bool) -> Result<CopyProbe, Error> {
        let key = probe_key();
        let copy = format!("{key}-copy");
        let found = self.copies(&key, &copy, conditional).await;
        for key in [&copy, &key] {
            let _ = self.delete(key, &Guard::Any, Enforce::Head).await;
        }
        found
    }

    /// [`Bucket::probe_copies`] with these keys, which the caller removes.
    pub(super) async fn copies(&self, key: &str, copy: &str, conditional: bool) -> Result<CopyProbe, Error> {
        let told = |copies, conditional, plain| Ok(CopyProbe { copies, conditional, plain });
        let mut original = probe(key, Guard::Any);
        original.about.metadata = vec![(MTIME.into(), FIRST_MTIME.into())];
        let stored = self.put(original).await?;
        let md5 = digest_one(CONTENT);
        if stored.etag.md5() != Some(md5) {
            return told(None, None, None);
        }
        let same = |etag: &ETag| Some(if etag.md5() == Some(md5) { Support::Honoured } else { Support::Ignored });
        let twin = |etag: &ETag, guard: Guard| {
            let Put { about, .. } = probe(copy, Guard::Any);
            let about = About { metadata: vec![(MTIME.into(), SECOND_MTIME.into()), (NONCE.into(), "copy".into())], ..about };
            let of = Original { key: key.to_owned(), etag: etag.clone() };
            Twin { of, key: copy.to_owned(), size: CONTENT.len() as u64, guard, enforce: Enforce::Conditional, about }
        };
        let other = ETag::Hex(digest_one(b"something else"));
        match self.ask_for_copy(&twin(&other, Guard::Any)).await? {
            Tried::Held => {}
            Tried::Stored(etag) => return told(Some(Support::Ignored), None, same(&etag)),
            Tried::Refused => return told(Some(Support::Refused), None, None),
            Tried::Unclear => return told(None, None, None),
        }
        let mut conditions = conditional.then_some(Support::Honoured);
        let mut made = self.ask_for_copy(&twin(&stored.etag, if conditional { Guard::Absent } else { Guard::Any })).await?;
        if conditional && matches!(made, Tried::Refused | Tried::Held) {
            conditions = Some(Support::Refused);
            made = self.ask_for_copy(&twin(&stored.etag, Guard::Any)).await?;
        }
        match made {
            Tried::Stored(etag) if etag.md5() == Some(md5) => {}
            Tried::Stored(etag) => return told(Some(Support::Ignored), None, same(&etag)),
            Tried::Refused | Tried::Held => return told(Some(Support::Refused), None, None),
            Tried::Unclear => return told(None, None, None),
        }
        let is_as_asked = self.head(copy).await?.is_some_and(|head| {
            let is = |name: &str, value: &str| head.metadata.get(name).is_some_and(|found| found == value);
            head.size == CONTENT.len() as u64 && head.etag.md5() == Some(md5) && is(MTIME, SECOND_MTIME) && is(NONCE, "copy")
        });
        if !is_as_asked {
            return told(Some(Support::Ignored), None, Some(Support::Honoured));
        }
        if conditions == Some(Support::Honoured) {
            for guard in [Guard::Absent, Guard::Is(other, 0)] {
                match self.ask_for_copy(&twin(&stored.etag, guard)).await? {
                    Tried::Held => {}
                    Tried::Stored(_) => conditions = Some(Support::Ignored),
                    Tried::Refused => conditions = Some(Support::Refused),
                    Tried::Unclear => conditions = None,
                }
                if conditions != Some(Support::Honoured) {
                    break;
                }
            }
        }
        told(Some(Support::Honoured), conditions, Some(Support::Honoured))
    }

    /// A copy whose refusal is an answer.
    async fn ask_for_copy(&self, twin: &Twin) -> Result<Tried, Error> {
        let (_, nonce) = with_nonce(twin.about.metadata.clone());
        let mut write = self.write_of(twin, &nonce);
        let mut failures = 0;
        loop {
            match self.try_copy(&write, twin).await {
                Ok(etag) => return Ok(etag.map_or(Tried::Unclear, |etag| Tried::Stored(ETag::parse(&etag)))),
                Err(Failed { kind: Kind::Precondition | Kind::NotFound, .. }) if write.tries.is_again() => return Ok(Tried::Unclear),
                Err(Failed { kind: Kind::Precondition | Kind::NotFound, .. }) => return Ok(Tried::Held),
                Err(Failed { kind: Kind::Unsupported | Kind::Protocol, .. }) => return Ok(Tried::Refused),
                Err(failed) => {
                    failures += u32::from(failed.kind == Kind::Unreachable);
                    if failures > MOST_FAILURES {
                        return Ok(Tried::Unclear);
                    }
                    write.tries.again(failed).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned::{answer, bucket_answering, error};
    use super::*;

    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    fn done(of: &str) -> String {
        answer("200 OK", &format!("<Copy{of}Result><ETag>\"c\"</ETag></Copy{of}Result>"))
    }

    fn twin(guard: Guard, enforce: Enforce) -> Twin {
        let about =
            About { content_type: Some("text/x".into()), metadata: vec![("mtime".into(), "1.5".into()), (NONCE.into(), "n".into())] };
        Twin { of: Original { key: "a ü+".into(), etag: ETag::parse("\"e\"") }, key: "k".into(), size: 3, guard, enforce, about }
    }

    #[tokio::test]
    async fn a_copy_carries_the_guards_of_both_ends_and_metadata_of_its_own() {
        let (bucket, asked) = bucket_answering(&[&done("Object"), &done("Object")]).await;
        bucket.copy_whole(&twin(Guard::Absent, Enforce::Conditional)).await.unwrap();
        bucket.copy_whole(&twin(Guard::Is(ETag::parse("o"), 1), Enforce::Conditional)).await.unwrap();
        let header = |number, name: &str| asked.header(number, name);
        assert_eq!(asked.lines(), ["PUT /b/p/k?x-id=CopyObject", "PUT /b/p/k?x-id=CopyObject"]);
        assert_eq!(header(0, "x-amz-copy-source").as_deref(), Some("b/p/a%20%C3%BC%2B"));
        assert_eq!(header(0, "x-amz-copy-source-if-match").as_deref(), Some("\"e\""));
        assert_eq!(header(0, "x-amz-metadata-directive").as_deref(), Some("REPLACE"));
        assert_eq!((header(0, "content-type").as_deref(), header(0, "x-amz-meta-lsync-id").as_deref()), (Some("text/x"), Some("n")));
        assert_eq!((header(0, "if-none-match").as_deref(), header(1, "if-match").as_deref()), (Some("*"), Some("\"o\"")));
    }

    #[tokio::test]
    async fn a_copy_that_the_store_cannot_make_is_soon_given_up() {
        let broken = error("500 Internal Server Error", "InternalError");
        let absent = [ABSENT, &broken, ABSENT, &broken, ABSENT, &broken].map(str::to_owned);
        let answers: Vec<&str> = absent.iter().map(String::as_str).collect();
        let (bucket, asked) = bucket_answering(&answers).await;
        assert_eq!(bucket.copy_whole(&twin(Guard::Absent, Enforce::Head)).await.unwrap_err().kind, Kind::Unreachable);
        assert_eq!(asked.lines().len(), 6, "a look before each try");
        let ours = "HTTP/1.1 200 OK\r\nETag: \"seen\"\r\nContent-Length: 3\r\nx-amz-meta-lsync-id: n\r\n\r\n";
        let (bucket, _) = bucket_answering(&[ABSENT, &broken, ours]).await;
        let stored = bucket.copy_whole(&twin(Guard::Absent, Enforce::Head)).await.unwrap();
        assert_eq!((stored.etag.to_string().as_str(), stored.nonce.as_str()), ("seen", "n"), "carried out all the same");
    }

    #[tokio::test]
    async fn a_part_is_copied_from_a_range_and_not_by_an_error_inside_a_200() {
        let inside = error("200 OK", "AccessDenied");
        let (bucket, asked) = bucket_answering(&[&done("Part"), &inside, &answer("200 OK", "<CopyPartResult></CopyPartResult>")]).await;
        let upload = Upload { key: "k".into(), id: "u".into(), nonce: "n".into(), lost: 0 };
        let of = Original { key: "a".into(), etag: ETag::parse("e") };
        assert_eq!(bucket.copy_part(&upload, 2, &of, Some(5..9)).await.unwrap().to_string(), "c");
        assert_eq!(asked.lines(), ["PUT /b/p/k?x-id=UploadPartCopy&partNumber=2&uploadId=u"]);
        assert_eq!(asked.header(0, "x-amz-copy-source-range").as_deref(), Some("bytes=5-8"));
        assert_eq!(asked.header(0, "x-amz-copy-source-if-match").as_deref(), Some("\"e\""));
        assert_eq!(bucket.copy_part(&upload, 2, &of, None).await.unwrap_err().kind, Kind::Refused);
        assert_eq!(bucket.copy_part(&upload, 2, &of, None).await.unwrap_err().kind, Kind::Protocol);
    }
}
