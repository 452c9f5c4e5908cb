//! What multipart uploads hold that are not at their end: their parts, and which of them are open. Begins and ends none.

use aws_sdk_s3::types::EncodingType;

use super::bucket::Bucket;
use super::error::{Error, Kind};
use super::list::url_decode;
use super::multipart::Upload;
use super::object::nanos;
use super::tries::Tries;
use crate::digest::ETag;
use crate::entry::Nanos;
use crate::path::Shown;

/// A part that the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counts from 1.
    pub number: u32,
    /// As it was answered when the part was sent.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The key after the prefix.
    pub key: String,
    /// The store's id.
    pub id: String,
    /// When, by the store's clock; 1970 where it does not say.
    pub initiated: Nanos,
}

/// Pages of one listing; a store that sends more sends the same one for ever.
const MOST_PAGES: usize = 10_000;

impl Bucket {
    /// The parts that an upload holds. One that the store does not know is [`Kind::NotFound`]; a store that does not tell is
    /// [`Kind::Unsupported`] or [`Kind::Refused`].
    pub async fn parts(&self, upload: &Upload) -> Result<Vec<Part>, Error> {
        let mut tries = self.tries("look at the parts of", &upload.key);
        let (mut all, mut after): (Vec<Part>, Option<String>) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = loop {
                let request = self.client().list_parts().bucket(self.name()).key(self.whole_key(&upload.key)).upload_id(&upload.id);
                match tries.send(request.set_part_number_marker(after.clone()).send()).await {
                    Ok(page) => break page,
                    Err(failed) => tries.again(failed).await?,
                }
            };
            for part in page.parts.unwrap_or_default() {
                let (number, size) = (part.part_number.and_then(|n| u32::try_from(n).ok()), part.size.and_then(|n| u64::try_from(n).ok()));
                let (Some(number), Some(size), Some(etag)) = (number, size, part.e_tag.filter(|etag| !etag.is_empty())) else { continue };
                all.push(Part { number, etag: ETag::parse(&etag), size });
            }
            let next = page.next_part_number_marker.filter(|next| Some(next) != after.as_ref());
            match next.filter(|_| page.is_truncated == Some(true)) {
                Some(next) => after = Some(next),
                None if page.is_truncated == Some(true) => return Err(breaks_off(&tries)),
                None => return Ok(all),
            }
        }
        Err(breaks_off(&tries))
    }

    /// The open uploads whose key after the prefix starts with `start`.
    pub async fn open_uploads(&self, start: &str) -> Result<Vec<Begun>, Error> {
        let mut tries = self.tries("look for open uploads in", start);
        let prefix = self.whole_key(start);
        let (mut all, mut after): (Vec<Begun>, Option<(String, Option<String>)>) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let (key_marker, id_marker) = after.clone().unzip();
            let page = loop {
                let request = self
                    .client()
                    .list_multipart_uploads()
                    .bucket(self.name())
                    .set_prefix(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()))
                    .set_key_marker(key_marker.clone())
                    .set_upload_id_marker(id_marker.clone().flatten())
                    .encoding_type(EncodingType::Url);
                match tries.send(request.send()).await {
                    Ok(page) => break page,
                    Err(failed) => tries.again(failed).await?,
                }
            };
            let encoded = page.encoding_type == Some(EncodingType::Url);
            let decode = |key: String| if encoded { url_decode(&key) } else { key };
            for upload in page.uploads.unwrap_or_default() {
                let (Some(key), Some(id)) = (upload.key.map(decode), upload.upload_id.filter(|id| !id.is_empty())) else { continue };
                // A store that does not know `prefix` lists all of them.
                if let Some(key) = key.strip_prefix(self.prefix().as_str()).filter(|key| key.starts_with(start)) {
                    all.push(Begun { key: key.to_owned(), id, initiated: nanos(upload.initiated.as_ref()) });
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(all);
            }
            let next = page.next_key_marker.map(|key| (decode(key), page.next_upload_id_marker));
            if next.is_none() || next == after {
                return Err(breaks_off(&tries));
            }
            after = next;
        }
        Err(breaks_off(&tries))
    }
}

fn breaks_off(tries: &Tries<'_>) -> Error {
    tries.wrong(Kind::Protocol, "the listing breaks off: the store says that there is more but not where")
}

impl std::fmt::Display for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Shown(&self.key).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned::{HANG_UP, answer, bucket_answering, error};
    use super::*;

    fn upload() -> Upload {
        Upload { key: "k".into(), id: "u".into(), nonce: "n".into(), lost: 0 }
    }

    #[tokio::test]
    async fn parts_are_listed_page_by_page() {
        let part = |n: u32| format!("<Part><PartNumber>{n}</PartNumber><ETag>\"e{n}\"</ETag><Size>{n}0</Size></Part>");
        let page = |inner: &str| answer("200 OK", &format!("<ListPartsResult>{inner}</ListPartsResult>"));
        let first = page(&format!("<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>{}{}", part(1), part(2)));
        let (bucket, asked) = bucket_answering(&[&first, HANG_UP, &page(&part(3)), &error("404 Not Found", "NoSuchUpload")]).await;
        let parts = bucket.parts(&upload()).await.unwrap();
        assert_eq!(
            parts.iter().map(|part| (part.number, part.size, part.etag.to_string())).collect::<Vec<_>>(),
            [(1, 10, "e1".into()), (2, 20, "e2".into()), (3, 30, "e3".into())]
        );
        assert!(asked.lines()[2].contains("part-number-marker=2"), "{:?}", asked.lines());
        assert_eq!(bucket.parts(&upload()).await.unwrap_err().kind, Kind::NotFound);
        let endless = page("<IsTruncated>true</IsTruncated>");
        let (bucket, _) = bucket_answering(&[&endless]).await;
        assert_eq!(bucket.parts(&upload()).await.unwrap_err().kind, Kind::Protocol);
    }

    #[tokio::test]
    async fn open_uploads_are_listed_page_by_page_and_only_those_below_the_prefix() {
        let one = |key: &str, id: &str| {
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>1970-01-01T00:00:07.000Z</Initiated></Upload>")
        };
        let page = |inner: &str| {
            answer("200 OK", &format!("<ListMultipartUploadsResult><EncodingType>url</EncodingType>{inner}</ListMultipartUploadsResult>"))
        };
        let more = "<IsTruncated>true</IsTruncated><NextKeyMarker>p/a%20b</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>";
        let pages = [page(&format!("{more}{}{}", one("p/a%20b", "1"), one("other/x", "9"))), page(&one("p/c", "2"))];
        let (bucket, asked) = bucket_answering(&[&pages[0], &pages[1], &pages[0], &pages[0]]).await;
        let open = bucket.open_uploads("").await.unwrap();
        let found: Vec<_> = open.iter().map(|begun| (begun.key.as_str(), begun.id.as_str(), begun.initiated)).collect();
        assert_eq!(found, [("a b", "1", 7_000_000_000), ("c", "2", 7_000_000_000)]);
        assert!(
            asked.lines()[1].contains("key-marker=p%2Fa%20b") && asked.lines()[1].contains("upload-id-marker=1"),
            "{:?}",
            asked.lines()
        );
        assert_eq!(bucket.open_uploads("").await.unwrap_err().kind, Kind::Protocol, "the same page for ever");
    }
}
