//! What a failed request means: for the run, for a second try, and for whether it may have been carried out all the same. Sends nothing.
//!
//! The store's error code decides where there is one, then the status: answers to HEAD have no body and so no code. Codes are compared
//! whole, never searched for in a body.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::body::Withheld;
use super::bucket::offset_seconds;
use super::connector::Unframed;
use super::dial::TooSlow;
use super::error::{Error, Kind};
use super::flow::Stalled;
use crate::path::Shown;

/// A failed try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The store's code for it.
    pub(super) code: Option<String>,
    /// The status of the answer, where there was one.
    pub(super) status: Option<u16>,
    pub(super) heals: Heals,
    /// The request may have been carried out although no answer says so.
    pub(super) maybe_done: bool,
    /// What the store asks to wait before the next try.
    pub(super) wait: Option<Duration>,
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heals {
    Never,
    /// One more try, without waiting.
    Once,
    Later,
}

/// The parts of an error answer that matter.
#[derive(Clone, Debug, Default)]
struct Answer {
    status: u16,
    code: Option<String>,
    message: Option<String>,
    /// Where the bucket is, if the answer says so.
    region: Option<String>,
    retry_after: Option<Duration>,
    /// The server's clock minus ours.
    offset_seconds: Option<i64>,
}

const BUSY: &str = "the store is busy: wait a few minutes and run the same command again; it goes on where it stopped";
const FULL: &str = "free space in the bucket, or have its quota raised; then run the same command again";
/// Longest message of a store that is shown, in characters.
const LONGEST: usize = 300;
/// Stores accept signatures up to 15 minutes old; the SDK corrects for its clock from 4 minutes on.
const SKEWED_SECONDS: u64 = 240;

impl Failed {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Failed {
        let heals = if matches!(kind, Kind::Unreachable | Kind::Throttled) { Heals::Later } else { Heals::Never };
        Failed { kind, message: message.into(), hint: None, code: None, status: None, heals, maybe_done: false, wait: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Failed {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_done(mut self) -> Failed {
        self.maybe_done = true;
        self
    }

    fn once(mut self) -> Failed {
        self.heals = Heals::Once;
        self
    }

    pub(super) fn into_error(self, doing: String) -> Error {
        Error { kind: self.kind, doing, message: self.message, hint: self.hint }
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether other credentials may help: the store refuses the token or the id, whatever is asked for. An answer to a HEAD gives no code.
    pub(super) fn is_about_old_credentials(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => {
                matches!(code, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" | "InvalidAccessKeyId")
            }
            None => matches!(self.status, Some(400 | 401)),
        }
    }

    /// The store says that it does not know this kind of request at all, whatever the object.
    pub(super) fn is_not_known(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => {
                matches!(code, "NotImplemented" | "MethodNotAllowed" | "NotSupported" | "UnsupportedOperation" | "OperationNotSupported")
            }
            None => matches!(self.status, Some(405 | 501)),
        }
    }
}

/// What an error of the SDK means.
pub(super) fn classify<E>(error: &SdkError<E, HttpResponse>) -> Failed
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    match error {
        // The SDK also calls it a service's error when it cannot read what a success says.
        SdkError::ServiceError(e) if e.raw().status().is_success() && e.err().code().is_none() => not_understood(error),
        SdkError::ServiceError(e) => of_answer(&Answer::read(e.err(), e.raw())),
        SdkError::ResponseError(_) => match broken_off(error) {
            Some(failed) => failed.maybe_done(),
            None => not_understood(error),
        },
        SdkError::ConstructionFailure(_) if find::<CredentialsError>(error).is_none() => {
            Failed::new(Kind::Unsupported, format!("the request cannot be made ({})", innermost_text(error)))
        }
        _ => of_transport(error),
    }
}

fn not_understood(error: &(dyn StdError + 'static)) -> Failed {
    let text = innermost_text(error);
    // What follows is a page of the parser's own words, and blames the SDK for what a proxy or another server sent.
    let what = text.split_once(" but got StartEl").map_or(text.as_str(), |(expected, _)| expected);
    Failed::new(Kind::Protocol, format!("the answer cannot be understood ({what})"))
        .hint("is `endpoint_url` the address of an S3 store?")
        .once()
        .maybe_done()
}

impl Answer {
    fn read(error: &impl ProvideErrorMetadata, raw: &HttpResponse) -> Answer {
        let header = |name: &str| raw.headers().get(name);
        Answer {
            status: raw.status().as_u16(),
            code: error.code().map(str::to_owned),
            message: error.message().map(str::to_owned),
            region: header("x-amz-bucket-region").map(str::to_owned),
            retry_after: header("retry-after").and_then(|text| retry_after(text, SystemTime::now())),
            offset_seconds: header("date").and_then(|date| offset_seconds(date, SystemTime::now())),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("the store answered {}", self.status);
        if let Some(code) = &self.code {
            text = format!("{text} {}", shown(code));
        }
        match self.message.as_deref().map(str::trim) {
            // Some stores echo the request's Authorization header.
            Some(message) if !message.is_empty() && !message.contains("Signature=") => format!("{text}: {}", shown(message)),
            _ => text,
        }
    }
}

/// `Retry-After` is seconds or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let seconds = text.trim().parse().ok().or_else(|| offset_seconds(text.trim(), now).map(|ahead| u64::try_from(ahead).unwrap_or(0)));
    seconds.map(Duration::from_secs)
}

fn of_answer(answer: &Answer) -> Failed {
    let mut failed = meaning(answer);
    failed.code.clone_from(&answer.code);
    failed.status = Some(answer.status);
    failed.wait = answer.retry_after.filter(|_| failed.heals == Heals::Later);
    // A 5xx may come from something between us and the store that carried the request out; so may an error inside a 200, and one that
    // says neither in S3's words nor by a status that S3 knows what is wrong.
    let is_a_strangers = answer.code.is_none() && (405..500).contains(&answer.status) && failed.kind != Kind::Precondition;
    failed.maybe_done |= answer.status >= 500 || answer.status < 300 || is_a_strangers;
    if matches!(failed.kind, Kind::Denied | Kind::Refused)
        && let Some(offset) = answer.offset_seconds.filter(|offset| offset.unsigned_abs() > SKEWED_SECONDS)
    {
        // By now the SDK has learnt the offset and signs the next try with it.
        let (by, way) = (offset.unsigned_abs(), if offset > 0 { "behind" } else { "ahead of" });
        failed.hint = Some(format!("this machine's clock is {by} seconds {way} the store's: set the clock"));
        failed.heals = Heals::Once;
    }
    failed
}

fn meaning(answer: &Answer) -> Failed {
    let as_kind = |kind| Failed::new(kind, answer.text());
    match answer.code.as_deref().unwrap_or_default() {
        "NoSuchKey" => return as_kind(Kind::NotFound),
        "NoSuchUpload" => return Failed::new(Kind::NotFound, "the store no longer knows this multipart upload"),
        "NoSuchBucket" => {
            return as_kind(Kind::NoBucket).hint(
                "check `bucket` and `endpoint_url`; on Lambda the bucket is the UUID in the Filesystems page's \"Bucket name\" column",
            );
        }
        "SignatureDoesNotMatch" => {
            return as_kind(Kind::Denied).hint("the secret access key does not belong to this access key id: check `secret_access_key`");
        }
        "InvalidAccessKeyId" | "NotSignedUp" => {
            return as_kind(Kind::Denied).hint(
                "the store does not know this access key id: check `access_key_id` and `endpoint_url` (Lambda's keys hold for one region)",
            );
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => {
            return as_kind(Kind::Denied).hint("the session token has expired: get new temporary credentials");
        }
        "RequestTimeTooSkewed" | "RequestExpired" => return as_kind(Kind::Denied).hint("this machine's clock is wrong: set it"),
        "InvalidObjectState" => {
            let text = format!("{}; the object is archived: restore it first", answer.text());
            return Failed::new(Kind::Unsupported, text);
        }
        code if code.starts_with("KMS.") => {
            let text = format!("{}; the key that encrypts it cannot be used by these credentials", answer.text());
            return Failed::new(Kind::Unsupported, text);
        }
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage" | "StorageFull" => {
            return as_kind(Kind::Full).hint(FULL);
        }
        "AccessDenied" | "AllAccessDisabled" => {
            return as_kind(Kind::Refused).hint(
                "these credentials may not do this here: check the key's permissions, `bucket` and `prefix`; \
                     a bucket's policy may also demand `sse`, `acl` or `requester_pays`",
            );
        }
        "SecondLevelDomainForbidden" | "VirtualHostDomainRequired" => {
            return as_kind(Kind::Config)
                .hint("this service wants the bucket's name before the host: set `addressing_style = \"virtual\"`");
        }
        "PreconditionFailed" | "ConditionalRequestConflict" => return changed(),
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => return as_kind(Kind::Integrity).once(),
        "InvalidPart" | "InvalidPartOrder" => return as_kind(Kind::Integrity),
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "ServiceUnavailable" => return as_kind(Kind::Throttled).hint(BUSY),
        "InternalError" | "RequestTimeout" | "IncompleteBody" | "OperationAborted" => return as_kind(Kind::Unreachable),
        "NotImplemented" => return as_kind(Kind::Unsupported),
        "InvalidRange" => return Failed::new(Kind::Precondition, "the object is shorter than it was"),
        "PermanentRedirect" | "TemporaryRedirect" | "Redirect" | "AuthorizationHeaderMalformed" => return elsewhere(answer),
        _ => {}
    }
    match answer.status {
        304 | 412 => changed(),
        300..=308 => elsewhere(answer),
        401 => as_kind(Kind::Denied).hint("check the credentials and their permissions, `bucket`, `prefix` and `region`"),
        403 => as_kind(Kind::Refused).hint("check the credentials and their permissions, `bucket`, `prefix` and `region`"),
        404 => as_kind(Kind::NotFound),
        407 => as_kind(Kind::Config).hint("the proxy wants a user name and a password"),
        408 => as_kind(Kind::Unreachable),
        416 => Failed::new(Kind::Precondition, "the object is shorter than it was"),
        429 | 503 => as_kind(Kind::Throttled).hint(BUSY),
        507 => as_kind(Kind::Full).hint(FULL),
        501 | 505 => as_kind(Kind::Unsupported),
        400..=499 => as_kind(Kind::Unsupported),
        _ => as_kind(Kind::Unreachable),
    }
}

fn changed() -> Failed {
    Failed::new(Kind::Precondition, "the object in the bucket is not what it was: another program wrote or removed it")
}

fn elsewhere(answer: &Answer) -> Failed {
    let failed = Failed::new(Kind::Config, answer.text());
    match &answer.region {
        Some(region) => failed.hint(format!("the bucket is in region {}: set `region`, and `endpoint_url` if there is one", shown(region))),
        None => failed.hint("the bucket is in another region or at another address: check `region` and `endpoint_url`"),
    }
}

/// A failure without any answer.
fn of_transport(error: &(dyn StdError + 'static)) -> Failed {
    if let Some(failed) = broken_off(error) {
        return failed;
    }
    if find::<CredentialsError>(error).is_some() {
        // The SDK's text goes on with one line per source that it tried.
        let why = innermost(error).to_string();
        let why = shown(why.lines().next().unwrap_or_default().trim_end_matches(" Attempted:"));
        return Failed::new(Kind::Config, format!("there are no usable AWS credentials ({why})"))
            .hint("give `access_key_id` and `secret_access_key`, or log in with the AWS CLI");
    }
    if find::<Unframed>(error).is_some() {
        return Failed::new(Kind::Protocol, format!("{Unframed}, so a part of it could be missing unnoticed")).maybe_done();
    }
    Failed::new(Kind::Unreachable, shown(&innermost(error).to_string())).maybe_done()
}

/// A connection that could not be made, or that broke.
fn broken_off(error: &(dyn StdError + 'static)) -> Option<Failed> {
    let unreachable = |text: String| Failed::new(Kind::Unreachable, text);
    if find::<Withheld>(error).is_some() {
        return Some(Failed::new(Kind::Stopped, Withheld.to_string()));
    }
    if let Some(stalled) = find::<Stalled>(error) {
        return Some(unreachable(stalled.to_string()).maybe_done());
    }
    if find::<TooSlow>(error).is_some() {
        return Some(unreachable(TooSlow.to_string()).hint("check the network, and that `endpoint_url` is right"));
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let text = format!("no secure connection ({})", shown(&tls.to_string()));
        return Some(match tls {
            rustls::Error::InvalidCertificate(_) => Failed::new(Kind::Config, text)
                .hint("if the store has a certificate of its own, name its PEM file in AWS_CA_BUNDLE; check this machine's clock"),
            rustls::Error::InvalidMessage(_) => Failed::new(Kind::Config, text).hint("does `endpoint_url` speak https?"),
            _ => unreachable(text),
        });
    }
    let connecting = find::<hyper_util::client::legacy::Error>(error).is_some_and(hyper_util::client::legacy::Error::is_connect);
    let tunnel = chain(error).map(ToString::to_string).find(|text| text.starts_with("tunnel error: "));
    if connecting && let Some(text) = tunnel {
        let said = format!("no connection through the proxy ({})", shown(&text));
        return Some(if text.ends_with("authorization required") {
            Failed::new(Kind::Config, said).hint("put the proxy's user name and password into HTTPS_PROXY or HTTP_PROXY")
        } else {
            unreachable(said).hint("check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
        });
    }
    let inner = innermost(error).to_string();
    if connecting {
        let refused = find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        let hint =
            if refused { "nothing listens there: check `endpoint_url`" } else { "check the network, and that `endpoint_url` is right" };
        return Some(unreachable(format!("no connection ({})", shown(&inner))).hint(hint));
    }
    let broke = find::<hyper::Error>(error).is_some() || find::<io::Error>(error).is_some();
    broke.then(|| unreachable(format!("the connection broke ({})", shown(&inner))).maybe_done())
}

/// An error and its sources. What an [`io::Error`] wraps is not its source, so it is looked into.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).filter_map(|error| error.downcast_ref::<T>()).last()
}

fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    chain(error).last().unwrap_or(error)
}

/// What lies at the bottom of an error, made safe to show.
pub(super) fn innermost_text(error: &(dyn StdError + 'static)) -> String {
    shown(&innermost(error).to_string())
}

/// Text of a stranger, made safe and short enough to show.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Shown(&short).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        Answer { status, code: (!code.is_empty()).then(|| code.to_owned()), ..Answer::default() }
    }

    #[track_caller]
    fn check(status: u16, code: &str, kind: Kind, heals: Heals, maybe_done: bool) {
        let failed = of_answer(&answer(status, code));
        assert_eq!((failed.kind, failed.heals, failed.maybe_done), (kind, heals, maybe_done), "{status} {code}");
    }

    #[test]
    fn the_code_decides_and_then_the_status() {
        use Heals::{Later, Never, Once};
        check(404, "NoSuchKey", Kind::NotFound, Never, false);
        check(404, "NoSuchBucket", Kind::NoBucket, Never, false);
        check(404, "", Kind::NotFound, Never, false);
        check(403, "SignatureDoesNotMatch", Kind::Denied, Never, false);
        check(403, "InvalidAccessKeyId", Kind::Denied, Never, false);
        check(403, "", Kind::Refused, Never, false);
        check(403, "AccessDenied", Kind::Refused, Never, false);
        check(403, "InvalidObjectState", Kind::Unsupported, Never, false);
        check(400, "KMS.DisabledException", Kind::Unsupported, Never, false);
        check(403, "QuotaExceeded", Kind::Full, Never, false);
        check(507, "XMinioStorageFull", Kind::Full, Never, true);
        check(507, "", Kind::Full, Never, true);
        check(400, "ExpiredToken", Kind::Denied, Never, false);
        check(401, "", Kind::Denied, Never, false);
        check(412, "PreconditionFailed", Kind::Precondition, Never, false);
        check(412, "", Kind::Precondition, Never, false);
        check(304, "", Kind::Precondition, Never, false);
        check(409, "ConditionalRequestConflict", Kind::Precondition, Never, false);
        check(409, "OperationAborted", Kind::Unreachable, Later, false);
        check(409, "ObjectParentIsFile", Kind::Unsupported, Never, false);
        check(400, "BadDigest", Kind::Integrity, Once, false);
        check(400, "InvalidDigest", Kind::Integrity, Once, false);
        check(400, "InvalidPart", Kind::Integrity, Never, false);
        check(400, "RequestTimeout", Kind::Unreachable, Later, false);
        check(400, "InvalidArgument", Kind::Unsupported, Never, false);
        check(400, "", Kind::Unsupported, Never, false);
        check(501, "NotImplemented", Kind::Unsupported, Never, true);
        check(501, "", Kind::Unsupported, Never, true);
        check(301, "PermanentRedirect", Kind::Config, Never, false);
        check(307, "", Kind::Config, Never, false);
        check(400, "AuthorizationHeaderMalformed", Kind::Config, Never, false);
        check(503, "SlowDown", Kind::Throttled, Later, true);
        check(503, "", Kind::Throttled, Later, true);
        check(429, "", Kind::Throttled, Later, true);
        check(429, "TooManyRequests", Kind::Throttled, Later, false);
        check(499, "", Kind::Unsupported, Never, true);
        check(405, "MethodNotAllowed", Kind::Unsupported, Never, false);
        check(500, "InternalError", Kind::Unreachable, Later, true);
        check(502, "", Kind::Unreachable, Later, true);
        check(200, "InternalError", Kind::Unreachable, Later, true);
        check(200, "SlowDown", Kind::Throttled, Later, true);
        check(416, "InvalidRange", Kind::Precondition, Never, false);
    }

    #[test]
    fn a_wrong_clock_is_said_and_tried_once_more() {
        let failed = of_answer(&Answer { offset_seconds: Some(3600), ..answer(403, "RequestTimeTooSkewed") });
        assert_eq!(failed.hint.as_deref(), Some("this machine's clock is 3600 seconds behind the store's: set the clock"));
        assert_eq!((failed.kind, failed.heals), (Kind::Denied, Heals::Once));
        let failed = of_answer(&Answer { offset_seconds: Some(-3600), ..answer(403, "") });
        assert_eq!(failed.hint.as_deref(), Some("this machine's clock is 3600 seconds ahead of the store's: set the clock"));
        let failed = of_answer(&Answer { offset_seconds: Some(3), ..answer(403, "AccessDenied") });
        assert_eq!(failed.heals, Heals::Never);
    }

    #[test]
    fn what_the_store_asks_to_wait_is_read_as_seconds_or_as_a_date() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1000);
        let check = |text: &str, expected: Option<u64>| assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), expected, "{text}");
        check("7", Some(7));
        check("Thu, 01 Jan 1970 00:16:45 GMT", Some(5));
        check("Thu, 01 Jan 1970 00:16:00 GMT", Some(0));
        check("soon", None);
        let busy = Answer { retry_after: Some(Duration::from_secs(7)), ..answer(503, "SlowDown") };
        assert_eq!(of_answer(&busy).wait, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_redirect_names_the_region() {
        let failed = of_answer(&Answer { region: Some("eu-west-1".into()), ..answer(301, "PermanentRedirect") });
        assert!(failed.hint.is_some_and(|hint| hint.contains("eu-west-1")));
    }

    #[test]
    fn what_a_store_says_is_safe_to_show() {
        let say = |message: &str| of_answer(&Answer { message: Some(message.into()), ..answer(400, "Bad\u{1b}") }).message;
        assert_eq!(say("no\r\n\u{1b}[31m"), "the store answered 400 Bad\\u{1b}: no\\r\\n\\u{1b}[31m");
        assert_eq!(say("AWS4-HMAC-SHA256 Credential=x, Signature=abc"), "the store answered 400 Bad\\u{1b}");
        assert_eq!(say(&"é".repeat(1000)).chars().filter(|c| *c == 'é').count(), LONGEST);
    }

    #[test]
    fn what_an_io_error_wraps_is_found() {
        let error = io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
        assert_eq!(broken_off(&error).map(|failed| failed.kind), Some(Kind::Config));
    }
}
