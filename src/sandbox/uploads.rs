//! Multipart uploads: Create, UploadPart, Complete, Abort, ListParts and ListMultipartUploads.

use std::ops::Bound;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::api::Api;
use super::bucket::{Body, NewObject, Part, Upload, broken};
use super::fault::Profile;
use super::journal::{About, Facts};
use super::objects::{content_encoding, etag, may_write, metadata, signed, timestamp};
use super::receive::{Announced, receive};
use super::shelf::random_id;
use super::{listing, lists, seconds_now};
use crate::digest::{Md5, Parts};

/// Smallest part that is not the last, in bytes.
const MIN_PART_BYTES: u64 = 5 << 20;
/// Largest number of a part.
const MAX_PARTS: i32 = 10_000;

pub(super) fn create(api: &Api, request: S3Request<CreateMultipartUploadInput>) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    let about = About {
        metadata: metadata(input.metadata)?,
        content_type: input.content_type,
        content_encoding: content_encoding(input.content_encoding.as_deref()),
        content_disposition: input.content_disposition,
        content_language: input.content_language,
        cache_control: input.cache_control,
    };
    let id = api.store.bucket(&input.bucket)?.begin(input.key.clone(), about)?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..Default::default()
    }))
}

pub(super) async fn upload_part(api: &Api, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let input = request.input;
    let bucket = api.store.bucket(&input.bucket)?;
    check_part_number(input.part_number)?;
    if !bucket.has_upload(&input.upload_id, &input.key) {
        return Err(s3_error!(NoSuchUpload));
    }
    let announced = Announced {
        headers: Some(&request.headers),
        trailers: request.trailing_headers,
        content_md5: input.content_md5.as_deref().filter(|_| !api.faults.profile().no_md5_check),
    };
    let received = receive(bucket.shelf(), 0, input.body, announced).await?;
    let (md5, checksums) = (received.md5.hex(), received.checksums.clone());
    let part = Part { piece: received.into_piece(bucket.shelf())?, md5: md5.clone(), modified: seconds_now() };
    bucket.add_part(&input.upload_id, input.part_number, part)?;
    let checksum = |name: &str| checksums.get(name).cloned();
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(ETag::Strong(md5)),
        checksum_crc32: checksum("x-amz-checksum-crc32"),
        checksum_crc32c: checksum("x-amz-checksum-crc32c"),
        checksum_sha1: checksum("x-amz-checksum-sha1"),
        checksum_sha256: checksum("x-amz-checksum-sha256"),
        checksum_crc64nvme: checksum("x-amz-checksum-crc64nvme"),
        ..Default::default()
    }))
}

/// Parts are numbered from 1 to 10,000.
pub(super) fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=MAX_PARTS).contains(&number) { Ok(()) } else { Err(s3_error!(InvalidArgument, "a part number is 1 to {MAX_PARTS}")) }
}

pub(super) fn complete(api: &Api, request: S3Request<CompleteMultipartUploadInput>) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = request.input;
    let profile = api.faults.profile();
    let bucket = api.store.bucket(&input.bucket)?;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let stored = bucket.put(|objects, uploads| {
        let upload = uploads.get(&input.upload_id).filter(|upload| upload.key == input.key).ok_or_else(|| s3_error!(NoSuchUpload))?;
        may_write(&profile, objects, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (facts, body) = join(upload, &named, &profile)?;
        Ok(NewObject { key: input.key.clone(), facts, body, completes: Some(input.upload_id.clone()) })
    })?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(ETag::Strong(stored.facts.etag.clone())),
        ..Default::default()
    }))
}

/// The object that the named parts make: no byte is copied.
fn join(upload: &Upload, named: &[CompletedPart], profile: &Profile) -> S3Result<(Facts, Body)> {
    let Some(last) = named.last().and_then(|part| part.part_number) else {
        return Err(s3_error!(MalformedXML, "no part is named"));
    };
    let (mut pieces, mut md5s, mut before) = (Vec::with_capacity(named.len()), Vec::with_capacity(named.len()), 0);
    for part in named {
        let number = part.part_number.unwrap_or(0);
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "parts are to be named in ascending order"));
        }
        before = number;
        let arrived = upload
            .parts
            .get(&number)
            .filter(|arrived| part.e_tag.as_ref().is_some_and(|etag| etag.value() == arrived.md5))
            .ok_or_else(|| s3_error!(InvalidPart, "part {number} has not arrived, or has another ETag"))?;
        if number != last && arrived.piece.bytes < MIN_PART_BYTES {
            return Err(s3_error!(EntityTooSmall, "part {number} is smaller than {MIN_PART_BYTES} bytes and not the last"));
        }
        pieces.push(arrived.piece.clone());
        md5s.push(Md5::from_hex(&arrived.md5).ok_or_else(|| s3_error!(InternalError, "part {number} has no MD5"))?);
    }
    let composite = Parts { part_bytes: MIN_PART_BYTES, md5s }.etag().to_string();
    let opaque = || Ok::<_, s3s::S3Error>(format!("opaque-{}", random_id().map_err(broken)?));
    let facts = Facts {
        bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        etag: if profile.opaque_multipart_etag { opaque()? } else { etag(profile, || composite)? },
        listed_etag: if profile.answer_composite_list_other { Some(opaque()?) } else { None },
        modified: seconds_now(),
        about: upload.about.clone(),
        checksums: Default::default(),
    };
    Ok((facts, Body::Files(pieces)))
}

pub(super) fn abort(api: &Api, request: S3Request<AbortMultipartUploadInput>) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    api.store.bucket(&input.bucket)?.abort(&input.upload_id, &input.key)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) fn list_parts(api: &Api, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let max = input.max_parts.unwrap_or(1000).clamp(1, 1000);
    let after = input.part_number_marker.unwrap_or(0);
    let mut parts = api.store.bucket(&input.bucket)?.look(|_, uploads| -> S3Result<Vec<_>> {
        let upload = uploads.get(&input.upload_id).filter(|upload| upload.key == input.key).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let wanted = upload.parts.range((Bound::Excluded(after), Bound::Unbounded)).take(lists::at_most(max) + 1);
        let shown = wanted.map(|(number, part)| s3s::dto::Part {
            part_number: Some(*number),
            e_tag: Some(ETag::Strong(part.md5.clone())),
            size: Some(signed(part.piece.bytes)),
            last_modified: Some(timestamp(part.modified)),
            ..Default::default()
        });
        Ok(shown.collect())
    })?;
    let truncated = parts.len() > lists::at_most(max);
    parts.truncate(lists::at_most(max));
    let next = parts.last().and_then(|part| part.part_number).filter(|_| truncated);
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(max),
        part_number_marker: Some(after),
        next_part_number_marker: next,
        is_truncated: Some(truncated),
        parts: Some(parts),
        ..Default::default()
    }))
}

pub(super) fn list_uploads(api: &Api, request: S3Request<ListMultipartUploadsInput>) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "the sandbox lists uploads without a delimiter"));
    }
    let max = input.max_uploads.unwrap_or(1000).clamp(1, 1000);
    let prefix = input.prefix.clone().unwrap_or_default();
    // Without an id the key itself is behind us; with one, what comes after that id under the same key is still to come.
    let after = input.key_marker.clone().map(|key| (key, input.upload_id_marker.clone()));
    let comes = |key: &str, id: &str| match &after {
        None => true,
        Some((marker, None)) => key > marker.as_str(),
        Some((marker, Some(marker_id))) => (key, id) > (marker.as_str(), marker_id.as_str()),
    };
    let mut open: Vec<(String, String, u64)> = api.store.bucket(&input.bucket)?.look(|_, uploads| {
        let wanted = uploads.iter().filter(|(id, upload)| upload.key.starts_with(&prefix) && comes(&upload.key, id));
        wanted.map(|(id, upload)| (upload.key.clone(), id.clone(), upload.started)).collect()
    });
    open.sort();
    let truncated = open.len() > lists::at_most(max);
    open.truncate(lists::at_most(max));
    let next = open.last().cloned().filter(|_| truncated);
    let encodes = lists::encodes(input.encoding_type.as_ref(), &api.faults.profile());
    let encode = |text: String| if encodes { listing::url_encode(&text) } else { text };
    let shown = open.into_iter().map(|(key, id, started)| MultipartUpload {
        key: Some(encode(key)),
        upload_id: Some(id),
        initiated: Some(timestamp(started)),
        ..Default::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        uploads: Some(shown.collect()),
        bucket: Some(input.bucket),
        prefix: input.prefix.map(encode),
        key_marker: input.key_marker.map(encode),
        upload_id_marker: input.upload_id_marker,
        next_upload_id_marker: next.as_ref().map(|(_, id, _)| id.clone()),
        next_key_marker: next.map(|(key, ..)| encode(key)),
        max_uploads: Some(max),
        is_truncated: Some(truncated),
        encoding_type: input.encoding_type.filter(|_| encodes),
        ..Default::default()
    }))
}
