//! Reading objects: exactly the bytes that were asked for, of the version that was asked for, or an error. Hashes nothing.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};

use super::bucket::Bucket;
use super::classify::{Failed, innermost_text};
use super::error::{Error, Kind};
use super::object::{Guard, Head, Told};
use super::tries::Tries;
use super::write::quoted;
use crate::digest::ETag;

impl Bucket {
    /// Gets `range` (`None`: all) of the object that has `etag` (`If-Match`) and `size`, handing each piece to `sink` in order; a sink that
    /// returns false ends it. Exactly the bytes asked for, or an error. One try: the caller tries again from where it stands.
    pub async fn get(
        &self,
        key: &str,
        etag: Option<(&ETag, u64)>,
        range: Option<Range<u64>>,
        sink: &mut (dyn FnMut(Bytes) -> bool + Send),
    ) -> Result<Head, Error> {
        let mut tries = self.tries("get", key);
        if range.as_ref().is_some_and(Range::is_empty) {
            return self.get_nothing(&tries, key, etag).await;
        }
        let wanted = Wanted { etag, range };
        loop {
            match self.try_get(&tries, key, &wanted, sink).await {
                // Nothing of the body has come.
                Err(failed) if tries.renews(&failed) => {}
                answer => return answer.map_err(|failed| tries.error(failed)),
            }
        }
    }

    /// An empty range cannot be asked for; a HEAD tells as much.
    async fn get_nothing(&self, tries: &Tries<'_>, key: &str, etag: Option<(&ETag, u64)>) -> Result<Head, Error> {
        let guard = etag.map_or(Guard::Any, |(etag, size)| Guard::Is(etag.clone(), size));
        let found = self.head(key).await?.ok_or_else(|| tries.wrong(Kind::NotFound, "it is not there"))?;
        match guard.broken_by(Some(&found)) {
            Some(why) => Err(tries.wrong(Kind::Precondition, why)),
            None => Ok(found),
        }
    }

    async fn try_get(
        &self,
        tries: &Tries<'_>,
        key: &str,
        wanted: &Wanted<'_>,
        sink: &mut (dyn FnMut(Bytes) -> bool + Send),
    ) -> Result<Head, Failed> {
        let request = self
            .client()
            .get_object()
            .bucket(self.name())
            .key(self.whole_key(key))
            .set_if_match(wanted.etag.map(|(etag, _)| quoted(etag)))
            .set_range(wanted.header());
        let mut answer = tries.send(request.send()).await?;
        let (head, expected) = wanted.check(&mut answer)?;
        let mut got = 0;
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| cut_off(got, Some(expected), &error))?;
            got += piece.len() as u64;
            if got > expected {
                return Err(Failed::new(Kind::Integrity, format!("more than the {expected} bytes that were asked for arrived")));
            }
            if !sink(piece) {
                return Err(Failed::new(Kind::Stopped, "stopped"));
            }
        }
        if got < expected {
            return Err(Failed::new(Kind::Unreachable, format!("the answer was cut off after {got} of {expected} bytes")));
        }
        Ok(head)
    }

    /// A whole small object (manifests), tried again on transient failures; `None` when it does not exist. With `first_bytes`, at most so
    /// many of its first bytes.
    pub async fn get_whole(&self, key: &str, first_bytes: Option<u64>) -> Result<Option<Bytes>, Error> {
        let mut tries = self.tries("get", key);
        let mut range = first_bytes.map(|bytes| 0..bytes.max(1));
        loop {
            let mut all = BytesMut::new();
            let wanted = Wanted { etag: None, range: range.clone() };
            match self.try_get_first(&tries, key, &wanted, &mut all).await {
                Ok(()) => {
                    let most = first_bytes.map_or(all.len(), |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
                    all.truncate(most);
                    return Ok(Some(all.freeze()));
                }
                Err(failed) if failed.kind == Kind::NotFound => return Ok(None),
                // An empty object has no first byte, so a range of it cannot be had.
                Err(failed) if failed.kind == Kind::Precondition && range.is_some() => range = None,
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Like [`Bucket::try_get`], but an object shorter than the range, or a store that ignores it, is fine.
    async fn try_get_first(&self, tries: &Tries<'_>, key: &str, wanted: &Wanted<'_>, all: &mut BytesMut) -> Result<(), Failed> {
        let request = self.client().get_object().bucket(self.name()).key(self.whole_key(key)).set_range(wanted.header());
        let mut answer = tries.send(request.send()).await?;
        let mut expected = told_length(&answer);
        if let Some(range) = &wanted.range
            && let Some(text) = answer.content_range()
        {
            let got = content_range(text).filter(|(got, total)| *got == (0..range.end.min(*total)));
            let got = got.map(|(got, _)| got.end).filter(|end| expected.is_none_or(|expected| expected == *end));
            let other = || Failed::new(Kind::Protocol, "the answer is another range than was asked for");
            expected = Some(got.ok_or_else(other)?);
        }
        // Where nothing says how much there is, the chunks say where it ends; a manifest shows by itself whether it is whole.
        let enough = wanted.range.as_ref().map(|range| range.end).into_iter().chain(expected).min().unwrap_or(u64::MAX);
        while (all.len() as u64) < enough {
            match (answer.body.next().await, expected) {
                (Some(piece), _) => {
                    let piece = piece.map_err(|error| cut_off(all.len() as u64, expected, &error))?;
                    all.extend_from_slice(&piece);
                }
                (None, None) => break,
                (None, Some(expected)) => {
                    return Err(Failed::new(Kind::Unreachable, format!("the answer was cut off after {} of {expected} bytes", all.len())));
                }
            }
        }
        Ok(())
    }
}

/// What a GET asks for.
struct Wanted<'a> {
    etag: Option<(&'a ETag, u64)>,
    range: Option<Range<u64>>,
}

impl Wanted<'_> {
    fn header(&self) -> Option<String> {
        let range = self.range.as_ref()?;
        Some(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
    }

    /// Compares the answer's headers with what was asked for; returns what they tell, and how many bytes must follow.
    fn check(&self, answer: &mut GetObjectOutput) -> Result<(Head, u64), Failed> {
        let part = answer.content_range().map(|text| content_range(text).ok_or_else(|| odd("Content-Range"))).transpose()?;
        // An answer in chunks says where it ends and not how long it is: what is listed has to come, and a cut shows.
        let of_listing = || self.etag.map(|(_, size)| size).filter(|_| part.is_none());
        let of_part = || part.as_ref().map(|(got, _)| got.end - got.start);
        let untold = || Failed::new(Kind::Protocol, "the answer does not say how long it is, so a part of it could be missing unnoticed");
        let len = told_length(answer).or_else(of_part).or_else(of_listing).ok_or_else(untold)?;
        let total = part.as_ref().map_or(len, |(_, total)| *total);
        let about = Told {
            etag: answer.e_tag.as_deref(),
            last_modified: answer.last_modified.as_ref(),
            encryption: answer.server_side_encryption.as_ref(),
            customer_key: answer.sse_customer_algorithm.is_some(),
        };
        let head = about.head(i64::try_from(total).ok(), answer.metadata.take())?;
        if let Some((etag, size)) = self.etag {
            // The store may not honour If-Match.
            if head.etag != *etag || head.size != size {
                return Err(Failed::new(Kind::Precondition, "the object in the bucket is not what it was: another program wrote it"));
            }
        } else if answer.content_encoding().is_some_and(|encoding| !matches!(encoding, "" | "identity" | "aws-chunked")) {
            // With a known size a body that something on the way packed or unpacked is noticed by its length.
            return Err(odd("Content-Encoding"));
        }
        let asked = self.range.clone().unwrap_or(0..total);
        match part {
            Some((got, _)) if got == asked && len == got.end - got.start => Ok((head, len)),
            Some(_) => Err(odd("Content-Range")),
            None if asked == (0..total) => Ok((head, len)),
            None => Err(Failed::new(Kind::Protocol, "the store ignores Range: it sent the whole object")),
        }
    }
}

/// What `Content-Length` says. An answer without it comes in chunks: what ends with its connection has been refused before.
fn told_length(answer: &GetObjectOutput) -> Option<u64> {
    answer.content_length().and_then(|len| u64::try_from(len).ok())
}

fn odd(header: &str) -> Failed {
    Failed::new(Kind::Protocol, format!("the answer's {header} is not what was asked for"))
}

fn cut_off(got: u64, expected: Option<u64>, error: &(dyn std::error::Error + 'static)) -> Failed {
    let (why, of) = (innermost_text(error), expected.map(|expected| format!(" of {expected}")).unwrap_or_default());
    Failed::new(Kind::Unreachable, format!("the answer was cut off after {got}{of} bytes ({why})"))
}

/// Reads `bytes 0-9/100`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse::<u64>().ok()?, total.parse().ok()?);
    (first <= last && last < total).then(|| (first..last + 1, total))
}

#[cfg(test)]
mod tests {
    use super::super::canned::{answer, bucket_answering, error};
    use super::*;

    /// Gets an object of ten bytes that was listed as `"x"`; what arrived, and how it ended.
    async fn get(response: &str, range: Option<Range<u64>>) -> (String, Result<u64, Kind>) {
        let (bucket, _) = bucket_answering(&[response]).await;
        let mut got = Vec::new();
        let etag = ETag::parse("x");
        let mut sink = |piece: Bytes| {
            got.extend_from_slice(&piece);
            true
        };
        let result = bucket.get("k", Some((&etag, 10)), range, &mut sink).await;
        let result = result.map(|head| head.size).map_err(|error| error.kind);
        (String::from_utf8(got).unwrap(), result)
    }

    #[track_caller]
    fn check(found: &(String, Result<u64, Kind>), got: &str, result: Result<u64, Kind>) {
        assert_eq!((found.0.as_str(), found.1), (got, result));
    }

    #[tokio::test]
    async fn exactly_the_bytes_that_were_asked_for_or_an_error() {
        let ok = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\n";
        let whole = get(&format!("{ok}Content-Length: 10\r\n\r\n0123456789"), None).await;
        check(&whole, "0123456789", Ok(10));
        let gzip_by_its_owner = get(&format!("{ok}Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n0123456789"), None).await;
        check(&gzip_by_its_owner, "0123456789", Ok(10));
        let cut = get(&format!("{ok}Connection: close\r\nContent-Length: 10\r\n\r\n01234"), None).await;
        check(&cut, "01234", Err(Kind::Unreachable));
        let no_length = get(&format!("{ok}Connection: close\r\n\r\n0123456789"), None).await;
        check(&no_length, "", Err(Kind::Protocol));
        let chunked = get(&format!("{ok}Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"), None).await;
        check(&chunked, "0123456789", Ok(10));
        let cut = get(&format!("{ok}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234"), None).await;
        check(&cut, "01234", Err(Kind::Unreachable));
        let ended_early = get(&format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n"), None).await;
        check(&ended_early, "01234", Err(Kind::Unreachable));
        let longer = get(&format!("{ok}Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789x\r\n0\r\n\r\n"), None).await;
        check(&longer, "", Err(Kind::Integrity));
        let shorter = get(&format!("{ok}Content-Length: 5\r\n\r\n01234"), None).await;
        check(&shorter, "", Err(Kind::Precondition));
        let no_etag = get(&answer("200 OK", "0123456789"), None).await;
        check(&no_etag, "", Err(Kind::Protocol));
        let other = get("HTTP/1.1 200 OK\r\nETag: \"y\"\r\nContent-Length: 10\r\n\r\n0123456789", None).await;
        check(&other, "", Err(Kind::Precondition));
        check(&get(&error("412 Precondition Failed", "PreconditionFailed"), None).await, "", Err(Kind::Precondition));
        check(&get(&error("404 Not Found", "NoSuchKey"), None).await, "", Err(Kind::NotFound));
        check(&get(&error("404 Not Found", "NoSuchBucket"), None).await, "", Err(Kind::NoBucket));
    }

    #[tokio::test]
    async fn a_range_is_the_range_that_was_asked_for() {
        let part = |range: &str, body: &str| {
            let len = body.len();
            format!("HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: {range}\r\nContent-Length: {len}\r\n\r\n{body}")
        };
        check(&get(&part("bytes 2-4/10", "234"), Some(2..5)).await, "234", Ok(10));
        check(&get(&part("bytes 3-5/10", "345"), Some(2..5)).await, "", Err(Kind::Protocol));
        check(&get(&part("bytes 2-4/10", "2345"), Some(2..5)).await, "", Err(Kind::Protocol));
        check(&get(&part("bytes 2-4/11", "234"), Some(2..5)).await, "", Err(Kind::Precondition));
        check(&get(&part("bytes 2-4/*", "234"), Some(2..5)).await, "", Err(Kind::Protocol));
        let chunks = "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes 2-4/10\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n234\r\n0\r\n\r\n";
        check(&get(chunks, Some(2..5)).await, "234", Ok(10));
        let ignored = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n0123456789";
        check(&get(ignored, Some(2..5)).await, "", Err(Kind::Protocol));
        check(&get(ignored, Some(0..10)).await, "0123456789", Ok(10));
        check(&get(&error("416 Requested Range Not Satisfiable", "InvalidRange"), Some(2..5)).await, "", Err(Kind::Precondition));
    }

    #[tokio::test]
    async fn a_sink_may_end_it() {
        let (bucket, asked) = bucket_answering(&["HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\nabc"]).await;
        let etag = ETag::parse("x");
        let result = bucket.get("k", Some((&etag, 3)), None, &mut |_| false).await;
        assert_eq!(result.map_err(|error| error.kind).unwrap_err(), Kind::Stopped);
        assert_eq!(
            (asked.header(0, "if-match").as_deref(), asked.header(0, "accept-encoding").as_deref()),
            (Some("\"x\""), Some("identity"))
        );
    }

    #[tokio::test]
    async fn the_first_bytes_of_a_shorter_object_are_all_of_it() {
        let part = "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nabc";
        let broken = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nConnection: close\r\nContent-Length: 30\r\n\r\nabc";
        for (answers, first, expected) in [
            (vec![part.to_owned()], Some(100), Some("abc")),
            (vec![answer("200 OK", "abcdef")], Some(4), Some("abcd")),
            (vec![answer("200 OK", "abcdef")], None, Some("abcdef")),
            (vec![error("416 x", "InvalidRange"), answer("200 OK", "")], Some(4), Some("")),
            (vec![error("404 x", "NoSuchKey")], Some(4), None),
            (vec![broken.to_owned(), answer("200 OK", "abc")], None, Some("abc")),
            (vec!["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned()], None, Some("abc")),
            (
                vec![
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc".to_owned(),
                    answer("200 OK", "abc"),
                ],
                None,
                Some("abc"),
            ),
        ] {
            let (bucket, _) = bucket_answering(&answers.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let got = bucket.get_whole("k", first).await.unwrap();
            assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{answers:?}");
        }
    }
}
