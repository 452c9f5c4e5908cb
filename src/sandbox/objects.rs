//! PutObject, GetObject, HeadObject, DeleteObject and DeleteObjects.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, Error,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Metadata, PutObjectInput, PutObjectOutput, ServerSideEncryption,
    StreamingBlob, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::api::Api;
use super::bucket::{INLINE_MAX_BYTES, NewObject, Objects, broken};
use super::condition;
use super::fault::Profile;
use super::journal::{About, Facts};
use super::receive::{Announced, receive};
use super::seconds_now;
use super::shelf::random_id;

/// User metadata that AWS takes at most: bytes of all names and values.
const METADATA_MAX_BYTES: usize = 2 << 10;

pub(super) async fn put(api: &Api, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let input = request.input;
    let profile = api.faults.profile();
    let bucket = api.store.bucket(&input.bucket)?;
    let about = About {
        metadata: metadata(input.metadata)?,
        content_type: input.content_type,
        content_encoding: content_encoding(input.content_encoding.as_deref()),
        content_disposition: input.content_disposition,
        content_language: input.content_language,
        cache_control: input.cache_control,
    };
    let allowed = |objects: &Objects| may_write(&profile, objects, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref());
    // Refused at once where that is possible, and again under the lock when the body is here.
    bucket.look(|objects, _| allowed(objects))?;
    let announced = Announced {
        headers: Some(&request.headers),
        trailers: request.trailing_headers,
        content_md5: input.content_md5.as_deref().filter(|_| !profile.no_md5_check),
    };
    let received = receive(bucket.shelf(), INLINE_MAX_BYTES, input.body, announced).await?;
    let facts = Facts {
        bytes: received.bytes,
        etag: if profile.opaque_single_etag { random_id().map_err(broken)? } else { etag(&profile, || received.md5.hex())? },
        listed_etag: None,
        modified: seconds_now(),
        about,
        checksums: received.checksums,
    };
    let stored = bucket.put(|objects, _| {
        allowed(objects)?;
        Ok(NewObject { key: input.key.clone(), facts, body: received.body, completes: None })
    })?;
    let output = PutObjectOutput { e_tag: Some(ETag::Strong(stored.facts.etag.clone())), ..Default::default() };
    Ok(S3Response::with_headers(output, checksum_headers(&stored.facts)))
}

pub(super) fn get(api: &Api, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    let object = api.object(&input.bucket, &input.key)?;
    condition::may_read(&object.facts.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let size = object.facts.bytes;
    let range = match &input.range {
        Some(range) => range.check(size)?,
        None => 0..size,
    };
    let facts = &object.facts;
    let told = told(facts, &api.faults.profile());
    let output = GetObjectOutput {
        body: Some(StreamingBlob::from(s3s::Body::http_body(object.content.read(range.start, range.end)))),
        content_length: Some(signed(range.end - range.start)),
        content_range: input.range.map(|_| format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))),
        accept_ranges: told.accept_ranges,
        e_tag: told.e_tag,
        last_modified: told.last_modified,
        metadata: told.metadata,
        content_type: told.content_type,
        content_encoding: told.content_encoding,
        content_disposition: told.content_disposition,
        content_language: told.content_language,
        cache_control: told.cache_control,
        server_side_encryption: told.server_side_encryption,
        ..Default::default()
    };
    let partial = output.content_range.is_some();
    let wants_checksums = input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED") && !partial;
    let mut response = S3Response::with_headers(output, if wants_checksums { checksum_headers(facts) } else { HeaderMap::new() });
    response.status = partial.then_some(StatusCode::PARTIAL_CONTENT);
    Ok(response)
}

pub(super) fn head(api: &Api, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    let object = api.object(&input.bucket, &input.key)?;
    condition::may_read(&object.facts.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let facts = &object.facts;
    let wants_checksums = input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED");
    Ok(S3Response::with_headers(
        told(facts, &api.faults.profile()),
        if wants_checksums { checksum_headers(facts) } else { HeaderMap::new() },
    ))
}

/// All that is told of an object beside its content.
fn told(facts: &Facts, profile: &Profile) -> HeadObjectOutput {
    let about = facts.about.clone();
    HeadObjectOutput {
        content_length: Some(signed(facts.bytes)),
        accept_ranges: Some("bytes".to_owned()),
        e_tag: Some(ETag::Strong(facts.etag.clone())),
        last_modified: Some(timestamp(facts.modified)),
        metadata: some_metadata(about.metadata),
        content_type: about.content_type.or_else(|| Some("binary/octet-stream".to_owned())),
        content_encoding: about.content_encoding,
        content_disposition: about.content_disposition,
        content_language: about.content_language,
        cache_control: about.cache_control,
        server_side_encryption: profile.encrypted.then(|| ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS)),
        ..Default::default()
    }
}

pub(super) fn delete(api: &Api, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    let if_match = input.if_match.filter(|_| !api.faults.profile().no_conditional_writes);
    let bucket = api.store.bucket(&input.bucket)?;
    bucket.delete(&input.key, |current| condition::may_write(current.map(|object| object.facts.etag.as_str()), if_match.as_ref(), None))?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) fn delete_many(api: &Api, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    let bucket = api.store.bucket(&input.bucket)?;
    if input.delete.objects.is_empty() || input.delete.objects.len() > 1000 {
        return Err(s3_error!(MalformedXML, "1 to 1000 objects may be named"));
    }
    let conditional = !api.faults.profile().no_conditional_writes;
    let quiet = input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for named in input.delete.objects {
        let if_match = named.e_tag.filter(|_| conditional).map(ETagCondition::ETag);
        let outcome = refuse_version(named.version_id.as_deref()).and_then(|()| {
            bucket.delete(&named.key, |current| {
                condition::may_write(current.map(|object| object.facts.etag.as_str()), if_match.as_ref(), None)
            })
        });
        match outcome {
            Ok(_) if quiet => {}
            Ok(_) => deleted.push(DeletedObject { key: Some(named.key), ..Default::default() }),
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(named.key),
                version_id: None,
            }),
        }
    }
    let some = |errors: Vec<Error>| (!errors.is_empty()).then_some(errors);
    Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), errors: some(errors), ..Default::default() }))
}

/// Whether an object may be written at this key, by its conditions and by the kind of store this pretends to be.
pub(super) fn may_write(
    profile: &Profile,
    objects: &Objects,
    key: &str,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if !profile.no_conditional_writes {
        condition::may_write(objects.get(key).map(|object| object.facts.etag.as_str()), if_match, if_none_match)?;
    }
    if profile.filesystem_backed {
        let below = format!("{key}/");
        if objects
            .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|(other, _)| other.starts_with(&below))
        {
            return Err(s3_error!(InvalidRequest, "there are objects below this key, so it is a directory"));
        }
        if key.match_indices('/').any(|(at, _)| objects.contains_key(&key[..at])) {
            return Err(s3_error!(InvalidRequest, "a parent of this key is an object, so it is no directory"));
        }
    }
    Ok(())
}

/// User metadata in a stable order, within AWS's limit.
pub(super) fn metadata(metadata: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> = metadata.unwrap_or_default().into_iter().collect();
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_MAX_BYTES {
        return Err(s3_error!(MetadataTooLarge, "user metadata may take {METADATA_MAX_BYTES} bytes"));
    }
    Ok(metadata)
}

/// `aws-chunked` describes the request, not the object.
pub(super) fn content_encoding(said: Option<&str>) -> Option<String> {
    let kept: Vec<&str> = said?.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Versions are not kept: only `null`, the version of an unversioned object, may be named.
pub(super) fn refuse_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion, "the sandbox keeps no versions")),
    }
}

/// The ETag that the store gives to content whose digest it would be.
pub(super) fn etag(profile: &Profile, digest: impl FnOnce() -> String) -> S3Result<String> {
    Ok(match (profile.opaque_etag, profile.encrypted) {
        (true, _) => format!("opaque-{}", random_id().map_err(broken)?),
        (_, true) => {
            let digest = digest();
            // As many digits, and the number of parts where there is one.
            format!("{}{}", random_id().map_err(broken)?, digest.get(32..).unwrap_or_default())
        }
        _ => digest(),
    })
}

/// A time as S3 answers it.
pub(super) fn timestamp(seconds: u64) -> Timestamp {
    (UNIX_EPOCH + Duration::from_secs(seconds)).into()
}

/// A size as S3's types have it.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn some_metadata(metadata: BTreeMap<String, String>) -> Option<Metadata> {
    Some(metadata.into_iter().collect())
}

fn checksum_headers(facts: &Facts) -> HeaderMap {
    let headers = facts
        .checksums
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?)));
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::super::bucket::Object;
    use super::super::content::Content;
    use super::*;
    use std::sync::Arc;

    #[track_caller]
    fn check(there: &[&str], key: &str, allowed: bool) {
        let facts =
            Facts { bytes: 0, etag: "e".into(), listed_etag: None, modified: 0, about: About::default(), checksums: BTreeMap::new() };
        let object = Arc::new(Object { facts, content: Content::Files([].into()) });
        let objects: Objects = there.iter().map(|key| ((*key).to_owned(), Arc::clone(&object))).collect();
        let profile = Profile { filesystem_backed: true, ..Profile::default() };
        assert_eq!(may_write(&profile, &objects, key, None, None).is_ok(), allowed);
        assert!(may_write(&Profile::default(), &objects, key, None, None).is_ok());
    }

    #[test]
    fn a_file_system_holds_no_file_beside_a_directory_of_its_name() {
        check(&["a/b"], "a", false);
        check(&["a"], "a/b", false);
        check(&["a"], "a/b/c", false);
        check(&["a"], "a", true);
        check(&["a-b", "a/b", "ab"], "a/c", true);
        check(&["a.txt/x"], "a", true);
    }

    #[test]
    fn aws_chunked_is_not_an_objects_encoding() {
        let encoding = |said: &str| content_encoding(Some(said));
        assert_eq!(encoding("aws-chunked"), None);
        assert_eq!(encoding("aws-chunked,gzip").as_deref(), Some("gzip"));
        assert_eq!(encoding("gzip, aws-chunked").as_deref(), Some("gzip"));
    }
}
