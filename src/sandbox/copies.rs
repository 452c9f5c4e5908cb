//! CopyObject and UploadPartCopy. A copied object shares the files of its source.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETag, ETagCondition, Range, UploadPartCopyInput,
    UploadPartCopyOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::api::Api;
use super::bucket::{Body, NewObject, Object, Part, broken};
use super::condition;
use super::content::{Content, Reader};
use super::fault::{Copies, Profile};
use super::journal::{About, Facts};
use super::objects::{content_encoding, etag, may_write, metadata, refuse_version, timestamp};
use super::receive::{Received, Taker};
use super::seconds_now;
use super::shelf::Shelf;
use super::uploads::check_part_number;
use crate::digest::digest_one;

/// Most bytes that one request may copy.
const MAX_COPY_BYTES: u64 = 5 << 30;

pub(super) async fn copy(api: &Api, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = request.input;
    let profile = api.faults.profile();
    let source = source(api, &input.copy_source)?;
    may_copy(&profile, &source, input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref())?;
    let most = profile.copy_limit.unwrap_or(MAX_COPY_BYTES);
    if source.facts.bytes > most {
        return Err(s3_error!(InvalidRequest, "the source is larger than the {most} bytes that one request copies"));
    }
    let replace = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
    let onto_itself =
        matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. } if **bucket == *input.bucket && **key == *input.key);
    if onto_itself && !replace {
        return Err(s3_error!(InvalidRequest, "a copy onto itself must change something"));
    }
    let about = if replace && profile.copies != Copies::WithMetadata {
        About {
            metadata: metadata(input.metadata)?,
            content_type: input.content_type,
            content_encoding: content_encoding(input.content_encoding.as_deref()),
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
        }
    } else {
        source.facts.about.clone()
    };
    let bucket = api.store.bucket(&input.bucket)?;
    // As in S3, a copy is one piece whatever its source was, and has the MD5 for its ETag.
    let digest = match crate::digest::ETag::parse(&source.facts.etag).md5() {
        Some(md5) => md5.hex(),
        None => md5_of(source.content.read(0, source.facts.bytes)).await?,
    };
    let is_empty = profile.copies == Copies::Empty;
    let etag = etag(&profile, || if is_empty { digest_one(b"").hex() } else { digest })?;
    let body = match &source.content {
        _ if is_empty => Body::Small(Vec::new()),
        Content::InLog { bytes, .. } => Body::Small(source.content.read(0, *bytes).read_to_end().map_err(broken)?),
        Content::Files(pieces) if Arc::ptr_eq(bucket.shelf(), api.store.bucket(source_bucket(&input.copy_source))?.shelf()) => {
            Body::Files(pieces.to_vec())
        }
        Content::Files(_) => duplicate(bucket.shelf(), source.content.read(0, source.facts.bytes)).await?.body,
    };
    let bytes = if is_empty { 0 } else { source.facts.bytes };
    let facts = Facts { bytes, etag, listed_etag: None, modified: seconds_now(), about, ..source.facts.clone() };
    let (if_match, if_none_match) = (condition_in(&request.headers, "if-match")?, condition_in(&request.headers, "if-none-match")?);
    let overwrites = profile.copies == Copies::Overwriting;
    let (if_match, if_none_match) = (if_match.filter(|_| !overwrites), if_none_match.filter(|_| !overwrites));
    let stored = bucket.put(|objects, _| {
        may_write(&profile, objects, &input.key, if_match.as_ref(), if_none_match.as_ref())?;
        Ok(NewObject { key: input.key.clone(), facts, body, completes: None })
    })?;
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(stored.facts.etag.clone())),
        last_modified: Some(timestamp(stored.facts.modified)),
        ..Default::default()
    };
    Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
}

pub(super) async fn copy_part(api: &Api, request: S3Request<UploadPartCopyInput>) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    check_part_number(input.part_number)?;
    let profile = api.faults.profile();
    let source = source(api, &input.copy_source)?;
    may_copy(&profile, &source, input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref())?;
    let range = match &input.copy_source_range {
        _ if profile.copies == Copies::Empty => 0..0,
        Some(text) if profile.copies != Copies::Whole => {
            Range::parse(text).map_err(|_| s3_error!(InvalidArgument, "not a range: {text}"))?.check(source.facts.bytes)?
        }
        _ => 0..source.facts.bytes,
    };
    let most = profile.copy_limit.unwrap_or(MAX_COPY_BYTES);
    if range.end - range.start > most {
        return Err(s3_error!(InvalidRequest, "one request copies at most {most} bytes"));
    }
    let bucket = api.store.bucket(&input.bucket)?;
    if !bucket.has_upload(&input.upload_id, &input.key) {
        return Err(s3_error!(NoSuchUpload));
    }
    let copied = duplicate(bucket.shelf(), source.content.read(range.start, range.end)).await?;
    let (md5, modified) = (copied.md5.hex(), seconds_now());
    let part = Part { piece: copied.into_piece(bucket.shelf())?, md5: md5.clone(), modified };
    bucket.add_part(&input.upload_id, input.part_number, part)?;
    let result = CopyPartResult { e_tag: Some(ETag::Strong(md5)), last_modified: Some(timestamp(modified)), ..Default::default() };
    Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
}

/// Whether the source still is what the request means.
fn may_copy(profile: &Profile, source: &Object, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    match profile.copies {
        Copies::Refused => Err(s3_error!(NotImplemented, "copies are not known here")),
        Copies::Unconditional => Ok(()),
        _ => condition::may_read(&source.facts.etag, if_match, if_none_match)
            .map_err(|_| s3_error!(PreconditionFailed, "the source's ETag is another one")),
    }
}

fn source(api: &Api, source: &CopySource) -> S3Result<Arc<Object>> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "the sandbox copies only between its buckets"));
    };
    refuse_version(version_id.as_deref())?;
    api.object(bucket, key)
}

fn source_bucket(source: &CopySource) -> &str {
    if let CopySource::Bucket { bucket, .. } = source { bucket } else { "" }
}

/// Conditions on the destination, which s3s does not read for CopyObject.
fn condition_in(headers: &HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
    let parse = |value: &http::HeaderValue| ETagCondition::parse_http_header(value.as_bytes());
    headers.get(name).map(parse).transpose().map_err(|_| s3_error!(InvalidArgument, "{name} is no ETag"))
}

async fn md5_of(reader: Reader) -> S3Result<String> {
    blocking(move || {
        let (mut reader, mut md5) = (reader, crate::digest::Stream::default());
        loop {
            let bytes = reader.next().map_err(broken)?;
            if bytes.is_empty() {
                return Ok(md5.finish().hex());
            }
            md5.update(&bytes);
        }
    })
    .await
}

/// Copies bytes into a new content file.
async fn duplicate(shelf: &Arc<Shelf>, mut reader: Reader) -> S3Result<Received> {
    let shelf = Arc::clone(shelf);
    blocking(move || {
        let mut taker = Taker::new(&shelf, 0);
        loop {
            let bytes = reader.next().map_err(broken)?;
            if bytes.is_empty() {
                return taker.finish();
            }
            taker.take(&bytes)?;
        }
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| s3_error!(error, InternalError, "the copy stopped"))?
}
