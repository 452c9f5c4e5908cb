//! Which S3 operation a request is, and on which key, from its method, path, query and headers alone. Checks nothing.

use http::Method;

/// What a request asks for, for the log and the fault rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Name in the S3 documentation, or `other`.
    pub(super) operation: &'static str,
    /// Decoded; empty for an operation on a bucket.
    pub(super) key: String,
    /// What listed keys begin with, decoded; empty for everything else.
    pub(super) prefix: String,
}

/// Names a request; `copies` says that it carries `x-amz-copy-source`.
pub(super) fn asked(method: &Method, path: &str, query: &str, copies: bool) -> Asked {
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let (bucket, key) = path.strip_prefix('/').unwrap_or(path).split_once('/').unwrap_or((path.trim_matches('/'), ""));
    let operation = match (method.as_str(), key.is_empty()) {
        ("PUT", false) if has("partNumber") && copies => "UploadPartCopy",
        ("PUT", false) if has("partNumber") => "UploadPart",
        ("PUT", false) if copies => "CopyObject",
        ("PUT", false) if has("tagging") => "PutObjectTagging",
        ("PUT", false) => "PutObject",
        ("PUT", true) if query.is_empty() => "CreateBucket",
        ("GET", false) if has("uploadId") => "ListParts",
        ("GET", false) if has("tagging") => "GetObjectTagging",
        ("GET", false) => "GetObject",
        ("GET", true) if bucket.is_empty() => "ListBuckets",
        ("GET", true) if has("list-type") => "ListObjectsV2",
        ("GET", true) if has("uploads") => "ListMultipartUploads",
        ("GET", true) if has("location") => "GetBucketLocation",
        ("GET", true) if has("versioning") => "GetBucketVersioning",
        ("GET", true) if has("versions") => "ListObjectVersions",
        ("GET", true) => "ListObjects",
        ("HEAD", false) => "HeadObject",
        ("HEAD", true) => "HeadBucket",
        ("POST", false) if has("uploads") => "CreateMultipartUpload",
        ("POST", false) if has("uploadId") => "CompleteMultipartUpload",
        ("POST", true) if has("delete") => "DeleteObjects",
        ("DELETE", false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", false) => "DeleteObject",
        ("DELETE", true) => "DeleteBucket",
        _ => "other",
    };
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).filter(|_| key.is_empty()).unwrap_or_default();
    Asked { operation, key: decode(key), prefix: decode(prefix) }
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, operation: &str, key: &str) {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let copies = query.contains("COPY");
        let got = asked(&Method::from_bytes(method.as_bytes()).unwrap(), path, query, copies);
        assert_eq!((got.operation, got.key.as_str()), (operation, key));
    }

    #[test]
    fn requests_have_the_names_of_the_s3_documentation() {
        check("PUT /b", "CreateBucket", "");
        check("PUT /b/k", "PutObject", "k");
        check("PUT /b/k?x-id=PutObject", "PutObject", "k");
        check("PUT /b/k?COPY", "CopyObject", "k");
        check("PUT /b/k?partNumber=1&uploadId=u", "UploadPart", "k");
        check("PUT /b/k?COPY&partNumber=1&uploadId=u", "UploadPartCopy", "k");
        check("GET /", "ListBuckets", "");
        check("GET /b/?list-type=2&prefix=uploads", "ListObjectsV2", "");
        check("GET /b?prefix=x", "ListObjects", "");
        check("GET /b?uploads", "ListMultipartUploads", "");
        check("GET /b/k?uploadId=u", "ListParts", "k");
        check("HEAD /b/", "HeadBucket", "");
        check("POST /b?delete", "DeleteObjects", "");
        check("POST /b/k?uploads=", "CreateMultipartUpload", "k");
        check("POST /b/k?uploadId=u", "CompleteMultipartUpload", "k");
        check("DELETE /b/k?uploadId=u", "AbortMultipartUpload", "k");
        check("DELETE /b/k", "DeleteObject", "k");
    }

    #[test]
    fn a_listing_has_a_prefix() {
        let asked = |query| asked(&Method::GET, "/b", query, false).prefix;
        assert_eq!((asked("list-type=2&prefix=a%2Fb&max-keys=1"), asked("list-type=2")), ("a/b".to_owned(), String::new()));
    }

    #[test]
    fn keys_are_decoded() {
        check("GET /b//lead/%2e%2E/a%20b+c%C3%A9", "GetObject", "/lead/../a b+cé");
        check("GET /b/100%", "GetObject", "100%");
        check("GET /b/%zz%4", "GetObject", "%zz%4");
    }
}
