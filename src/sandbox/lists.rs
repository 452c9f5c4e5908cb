//! ListObjectsV2 and ListObjects: requests and answers around [`super::listing`].

use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
    ObjectStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::api::Api;
use super::bucket::Objects;
use super::fault::{Oddity, Profile};
use super::listing::{self, Query};
use super::objects::{signed, timestamp};

/// Most keys and common prefixes on one page, as in S3.
const MAX_KEYS: i32 = 1000;

/// A page as both versions of the operation answer it.
struct Answer {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    next: Option<String>,
    max_keys: i32,
}

struct Wanted<'a> {
    bucket: &'a str,
    prefix: Option<&'a str>,
    delimiter: Option<&'a str>,
    after: Option<&'a str>,
    max_keys: Option<i32>,
    encodes: bool,
    odd: Option<Oddity>,
}

pub(super) fn v2(api: &Api, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let odd = request.extensions.get().copied();
    let encodes = encodes(input.encoding_type.as_ref(), &api.faults.profile());
    let resume = match &input.continuation_token {
        Some(token) => {
            Some(listing::from_token(token).ok_or_else(|| s3_error!(InvalidArgument, "not a continuation token of this server"))?)
        }
        None => input.start_after.clone().filter(|_| !api.faults.profile().no_start_after),
    };
    let page = list(
        api,
        &Wanted {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: resume.as_deref(),
            max_keys: input.max_keys,
            encodes,
            odd,
        },
    )?;
    let encode = |text: String| if encodes { listing::url_encode(&text) } else { text };
    let token = match odd {
        Some(Oddity::RepeatPage) => Some(listing::token(resume.as_deref().unwrap_or_default())),
        Some(Oddity::NoToken) => None,
        _ => page.next.as_deref().map(listing::token),
    };
    let count = page.contents.len() + page.prefixes.len();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(input.prefix.unwrap_or_default())),
        delimiter: input.delimiter.map(encode),
        start_after: input.start_after.map(encode),
        continuation_token: input.continuation_token,
        max_keys: Some(page.max_keys),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(matches!(odd, Some(Oddity::RepeatPage | Oddity::NoToken)) || page.next.is_some()),
        next_continuation_token: token,
        contents: Some(page.contents),
        common_prefixes: Some(page.prefixes),
        encoding_type: input.encoding_type.filter(|_| encodes),
        ..Default::default()
    }))
}

pub(super) fn v1(api: &Api, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let encodes = encodes(input.encoding_type.as_ref(), &api.faults.profile());
    let page = list(
        api,
        &Wanted {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref(),
            max_keys: input.max_keys,
            encodes,
            odd: None,
        },
    )?;
    let encode = |text: String| if encodes { listing::url_encode(&text) } else { text };
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(input.prefix.unwrap_or_default())),
        delimiter: input.delimiter.map(encode),
        marker: Some(encode(input.marker.unwrap_or_default())),
        max_keys: Some(page.max_keys),
        is_truncated: Some(page.next.is_some()),
        next_marker: page.next.map(encode),
        contents: Some(page.contents),
        common_prefixes: Some(page.prefixes),
        encoding_type: input.encoding_type.filter(|_| encodes),
        ..Default::default()
    }))
}

fn list(api: &Api, wanted: &Wanted<'_>) -> S3Result<Answer> {
    let max_keys = wanted.max_keys.unwrap_or(MAX_KEYS);
    if max_keys < 0 {
        return Err(s3_error!(InvalidArgument, "max-keys is negative"));
    }
    let most = match wanted.odd {
        Some(Oddity::Pages(most)) => i32::try_from(most).unwrap_or(MAX_KEYS).min(MAX_KEYS),
        _ => MAX_KEYS,
    };
    let query = Query {
        prefix: wanted.prefix.unwrap_or_default(),
        delimiter: wanted.delimiter.unwrap_or_default(),
        after: wanted.after.filter(|after| !after.is_empty()),
        max: at_most(max_keys.min(most)),
    };
    let encode = |text: &str| if wanted.encodes { listing::url_encode(text) } else { text.to_owned() };
    let read = |objects: &Objects| {
        let page = listing::page(objects, &query);
        let contents = page.keys.iter().map(|(key, object)| Object {
            key: Some(encode(key)),
            size: Some(signed(object.facts.bytes)),
            e_tag: Some(ETag::Strong(object.facts.listed_etag.as_ref().unwrap_or(&object.facts.etag).clone())),
            last_modified: Some(timestamp(object.facts.modified)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Default::default()
        });
        let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) });
        Answer { contents: contents.collect(), prefixes: prefixes.collect(), next: page.next.clone(), max_keys: max_keys.min(MAX_KEYS) }
    };
    let bucket = api.store.bucket(wanted.bucket)?;
    let earlier = match wanted.odd {
        Some(Oddity::Lag(changes)) => bucket.history(|history| history.before(changes)),
        _ => None,
    };
    let mut answer = match earlier {
        Some(objects) => read(&objects),
        None => bucket.look(|objects, _| read(objects)),
    };
    match wanted.odd {
        Some(Oddity::NoTail) => {
            answer.contents.truncate(answer.contents.len() / 2);
            answer.next = None;
        }
        Some(Oddity::Twice) => answer.contents.extend(answer.contents.first().cloned()),
        Some(Oddity::Backwards) => answer.contents.reverse(),
        _ => {}
    }
    Ok(answer)
}

/// Whether keys are encoded in an answer.
pub(super) fn encodes(asked: Option<&EncodingType>, profile: &Profile) -> bool {
    asked.is_some_and(|kind| kind.as_str() == EncodingType::URL) && !profile.no_url_encoding
}

/// A limit from a request, which has been checked.
pub(super) fn at_most(limit: i32) -> usize {
    usize::try_from(limit).unwrap_or(0)
}
