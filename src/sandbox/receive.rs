//! Taking in a body: to memory while it is small, to a content file beyond that, with its MD5 and checksums; refused when it is not
//! what the client said. Stores no object.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::bucket::{Body, broken};
use super::content::Piece;
use super::shelf::{BlobWriter, Shelf};
use crate::digest::{Md5, Stream};

/// Most bytes of an object or part in one request, as in S3.
const MAX_BODY_BYTES: u64 = 5 << 30;

/// A body that arrived whole and as announced.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) body: Body,
    pub(super) bytes: u64,
    pub(super) md5: Md5,
    /// By header name, base64: those that the client used.
    pub(super) checksums: BTreeMap<String, String>,
}

/// What the client said about the body.
#[derive(Debug, Default)]
pub(super) struct Announced<'a> {
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) trailers: Option<TrailingHeaders>,
    /// Base64; `None` also when it is not to be checked.
    pub(super) content_md5: Option<&'a str>,
}

/// Takes in a whole body; up to `inline_max_bytes` it stays in memory.
pub(super) async fn receive(
    shelf: &Arc<Shelf>,
    inline_max_bytes: usize,
    body: Option<StreamingBlob>,
    announced: Announced<'_>,
) -> S3Result<Received> {
    let expected_md5 = match announced.content_md5 {
        Some(text) => Some(Md5::from_base64(text).ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not the base64 of 16 bytes"))?),
        None => None,
    };
    let mut hasher = announced.headers.map(hasher).unwrap_or_default();
    let mut taker = Taker::new(shelf, inline_max_bytes);
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broken_body(&*error))?;
            hasher.update(&chunk);
            taker.take(&chunk)?;
            if taker.bytes > MAX_BODY_BYTES {
                return Err(s3_error!(EntityTooLarge, "one request carries at most {MAX_BODY_BYTES} bytes"));
            }
        }
    }
    let mut received = taker.finish()?;
    if expected_md5.is_some_and(|expected| expected != received.md5) {
        return Err(s3_error!(BadDigest, "the body's MD5 is not the Content-MD5"));
    }
    received.checksums = checksums(hasher.finalize());
    let trailers = announced.trailers.and_then(|trailers| trailers.take());
    for (name, computed) in &received.checksums {
        let header = announced.headers.and_then(|headers| headers.get(name));
        let said = header.or_else(|| trailers.as_ref().and_then(|trailers| trailers.get(name)));
        if said.is_some_and(|said| said.as_bytes() != computed.as_bytes()) {
            return Err(s3_error!(BadDigest, "the body's checksum is not the {name}"));
        }
    }
    Ok(received)
}

/// Collects bytes that come in pieces.
pub(super) struct Taker<'a> {
    shelf: &'a Arc<Shelf>,
    inline_max_bytes: usize,
    small: Vec<u8>,
    file: Option<BlobWriter>,
    md5: Stream,
    bytes: u64,
}

impl<'a> Taker<'a> {
    /// Nothing yet.
    pub(super) fn new(shelf: &'a Arc<Shelf>, inline_max_bytes: usize) -> Taker<'a> {
        Taker { shelf, inline_max_bytes, small: Vec::new(), file: None, md5: Stream::default(), bytes: 0 }
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> S3Result<()> {
        self.md5.update(piece);
        self.bytes += piece.len() as u64;
        if self.file.is_none() {
            self.small.extend_from_slice(piece);
            if self.small.len() > self.inline_max_bytes {
                let mut file = BlobWriter::create(self.shelf).map_err(broken)?;
                file.write(&std::mem::take(&mut self.small)).map_err(broken)?;
                self.file = Some(file);
            }
            return Ok(());
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write(piece)).map_err(broken)
    }

    pub(super) fn finish(self) -> S3Result<Received> {
        let body = match self.file {
            Some(file) => Body::Files(vec![Piece { blob: file.finish().map_err(broken)?, bytes: self.bytes }]),
            None => Body::Small(self.small),
        };
        Ok(Received { body, bytes: self.bytes, md5: self.md5.finish(), checksums: BTreeMap::new() })
    }
}

impl Received {
    /// The body as one content file, whatever its size: what a part has to be.
    pub(super) fn into_piece(self, shelf: &Arc<Shelf>) -> S3Result<Piece> {
        match self.body {
            Body::Files(mut pieces) if pieces.len() == 1 => Ok(pieces.remove(0)),
            Body::Files(_) => Err(s3_error!(InternalError, "a body in several files")),
            Body::Small(bytes) => {
                let mut file = BlobWriter::create(shelf).map_err(broken)?;
                file.write(&bytes).map_err(broken)?;
                Ok(Piece { blob: file.finish().map_err(broken)?, bytes: self.bytes })
            }
        }
    }
}

/// The hasher for the checksums that a request announces by header, trailer or algorithm name.
fn hasher(headers: &HeaderMap) -> ChecksumHasher {
    let text = |name: &str| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("").to_ascii_lowercase();
    let (algorithm, trailer) = (text("x-amz-sdk-checksum-algorithm"), text("x-amz-trailer"));
    let announced = |name: &str| {
        let header = format!("x-amz-checksum-{name}");
        headers.contains_key(&header) || trailer.split(',').any(|named| named.trim() == header) || algorithm == name
    };
    ChecksumHasher {
        crc32: announced("crc32").then(Default::default),
        crc32c: announced("crc32c").then(Default::default),
        sha1: announced("sha1").then(Default::default),
        sha256: announced("sha256").then(Default::default),
        crc64nvme: announced("crc64nvme").then(Default::default),
    }
}

fn checksums(computed: Checksum) -> BTreeMap<String, String> {
    [
        ("x-amz-checksum-crc32", computed.checksum_crc32),
        ("x-amz-checksum-crc32c", computed.checksum_crc32c),
        ("x-amz-checksum-sha1", computed.checksum_sha1),
        ("x-amz-checksum-sha256", computed.checksum_sha256),
        ("x-amz-checksum-crc64nvme", computed.checksum_crc64nvme),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The answer when a body ends early or is not what its signature covers. s3s keeps its error types to itself, so their text decides.
fn broken_body(error: &(dyn std::error::Error + Send + Sync)) -> S3Error {
    let text = error.to_string();
    if !text.contains("Sha256Mismatch") {
        return s3_error!(IncompleteBody, "the body is not what was announced: {text}");
    }
    let code = S3ErrorCode::from_bytes(b"XAmzContentSHA256Mismatch").unwrap_or(S3ErrorCode::InvalidRequest);
    let mut refused = S3Error::with_message(code, "the body's SHA-256 is not the x-amz-content-sha256");
    refused.set_status_code(http::StatusCode::BAD_REQUEST);
    refused
}
