//! Whether `If-Match` and `If-None-Match` let a request through, with AWS's answers. Pure.

use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};

fn names(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(named) => named.value() == etag,
    }
}

/// For PutObject, CompleteMultipartUpload, CopyObject and DeleteObject; `current` is the ETag of what is there. 412 when a condition
/// fails, 404 for `If-Match` on nothing, 501 for `If-None-Match` with an ETag, which AWS does not support on writes.
pub(super) fn may_write(current: Option<&str>, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    match (if_none_match, current) {
        (Some(ETagCondition::ETag(_)), _) => return Err(s3_error!(NotImplemented, "If-None-Match on a write takes only *")),
        (Some(ETagCondition::Any), Some(_)) => return Err(s3_error!(PreconditionFailed, "the object exists")),
        _ => {}
    }
    match (if_match, current) {
        (Some(_), None) => Err(s3_error!(NoSuchKey, "If-Match on an object that does not exist")),
        (Some(condition), Some(etag)) if !names(condition, etag) => Err(s3_error!(PreconditionFailed, "the object's ETag is another one")),
        _ => Ok(()),
    }
}

/// For GetObject, HeadObject and the source of copies: 412 when `If-Match` fails, 304 when `If-None-Match` does.
pub(super) fn may_read(etag: &str, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    if if_match.is_some_and(|condition| !names(condition, etag)) {
        return Err(s3_error!(PreconditionFailed, "the object's ETag is another one"));
    }
    if if_none_match.is_some_and(|condition| names(condition, etag)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(condition: &str) -> Option<ETagCondition> {
        (!condition.is_empty()).then(|| condition.parse().unwrap())
    }

    fn code(result: S3Result<()>) -> String {
        result.map_or_else(|error| error.code().as_str().to_owned(), |()| "ok".to_owned())
    }

    #[track_caller]
    fn write(current: Option<&str>, if_match: &str, if_none_match: &str, expected: &str) {
        assert_eq!(code(may_write(current, parse(if_match).as_ref(), parse(if_none_match).as_ref())), expected);
    }

    #[track_caller]
    fn read(if_match: &str, if_none_match: &str, expected: &str) {
        assert_eq!(code(may_read("a", parse(if_match).as_ref(), parse(if_none_match).as_ref())), expected);
    }

    #[test]
    fn writes() {
        write(None, "", "", "ok");
        write(Some("a"), "", "", "ok");
        write(None, "", "*", "ok");
        write(Some("a"), "", "*", "PreconditionFailed");
        write(Some("a"), "", "\"b\"", "NotImplemented");
        write(Some("a"), "\"a\"", "", "ok");
        write(Some("a"), "a", "", "ok");
        write(Some("a"), "*", "", "ok");
        write(Some("a"), "\"b\"", "", "PreconditionFailed");
        write(None, "\"a\"", "", "NoSuchKey");
        write(None, "*", "", "NoSuchKey");
    }

    #[test]
    fn reads() {
        read("", "", "ok");
        read("\"a\"", "", "ok");
        read("*", "", "ok");
        read("\"b\"", "", "PreconditionFailed");
        read("", "\"a\"", "NotModified");
        read("", "*", "NotModified");
        read("", "\"b\"", "ok");
        read("\"b\"", "\"a\"", "PreconditionFailed");
    }
}
