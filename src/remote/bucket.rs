//! The bucket as the rest of lsync sees it: a client, a bucket name and a prefix. Keys go in and out as paths after the prefix.
//! Sends nothing by itself; the requests are in the files beside this one.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use super::calm::Calm;
use super::rate::Rate;
use super::refreshing::Refreshing;
use super::tries::Tries;
use crate::path::{Prefix, Shown};
use crate::profile::{Profile, Support};

/// An open bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    client: aws_sdk_s3::Client,
    name: String,
    prefix: Prefix,
    url: String,
    endpoint: String,
    learnt: Arc<Learnt>,
}

/// What the answers so far have told about the store.
#[derive(Debug)]
pub(super) struct Learnt {
    asked: AtomicBool,
    answered: AtomicBool,
    clock_offset_seconds: AtomicI64,
    /// The store refuses `encoding-type=url` in listings.
    pub(super) plain_listings: AtomicBool,
    /// Its listings cannot be read in several runs at once.
    pub(super) narrow_listings: AtomicBool,
    /// The store has answered a listing that began after a key.
    pub(super) begins_after: AtomicBool,
    /// The store refuses `If-Match` on DELETE.
    pub(super) plain_deletes: AtomicBool,
    /// The store's ETags may look like MD5s and are none.
    pub(super) etags_are_no_md5: AtomicBool,
    /// How much it bears at present.
    pub(super) calm: Calm,
    /// How fast bodies may go.
    pub(super) rate: Arc<Rate>,
    /// Where the credentials come from, if that can be asked again.
    pub(super) credentials: OnceLock<Arc<Refreshing>>,
}

const UNKNOWN: i64 = i64::MIN;

impl Learnt {
    pub(super) fn new() -> Arc<Learnt> {
        Arc::new(Learnt {
            asked: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            clock_offset_seconds: AtomicI64::new(UNKNOWN),
            plain_listings: AtomicBool::new(false),
            narrow_listings: AtomicBool::new(false),
            begins_after: AtomicBool::new(false),
            plain_deletes: AtomicBool::new(false),
            etags_are_no_md5: AtomicBool::new(false),
            calm: Calm::default(),
            rate: Arc::default(),
            credentials: OnceLock::new(),
        })
    }

    /// Whether a request has gone out: credentials to sign one with were there.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the store has answered anything at all, be it an error.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether listings are asked for without `encoding-type=url`.
    pub(super) fn lists_plainly(&self) -> bool {
        self.plain_listings.load(Ordering::Relaxed)
    }

    /// Whether listings are read in one run.
    pub(super) fn lists_narrowly(&self) -> bool {
        self.narrow_listings.load(Ordering::Relaxed)
    }

    /// Whether the store has answered a listing that began after a key.
    pub(super) fn begins_after(&self) -> bool {
        self.begins_after.load(Ordering::Relaxed)
    }

    fn clock_offset_seconds(&self) -> Option<i64> {
        Some(self.clock_offset_seconds.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }
}

/// Sees every request go out, and reads the headers of every answer of the store, before the SDK does.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Learnt>);

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "lsync"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.asked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.answered.store(true, Ordering::Relaxed);
        let headers = context.response().headers();
        // An `Age` says that a cache answered, with a `Date` that may be old.
        if headers.get("age").is_none()
            && let Some(offset) = headers.get("date").and_then(|date| offset_seconds(date, SystemTime::now()))
        {
            self.0.clock_offset_seconds.store(offset, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How far an HTTP `Date` is ahead of `now`.
pub(super) fn offset_seconds(date: &str, now: SystemTime) -> Option<i64> {
    let server = DateTime::from_str(date, Format::HttpDate).ok()?.secs();
    let ours = i64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(server - ours)
}

impl Bucket {
    pub(super) fn new(client: aws_sdk_s3::Client, name: String, prefix: Prefix, endpoint: String, learnt: Arc<Learnt>) -> Bucket {
        let url = format!("s3://{name}/{}", prefix.as_str());
        let url = Shown(url.strip_suffix('/').unwrap_or(&url)).to_string();
        Bucket { inner: Arc::new(Inner { client, name, prefix, url, endpoint, learnt }) }
    }

    /// `s3://bucket/prefix`, for people.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The endpoint's URL, for people.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Where the mount's files lie in it.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.inner.prefix
    }

    /// The server's clock minus this host's, in seconds, from the last answer's `Date`.
    #[must_use]
    pub fn clock_offset_seconds(&self) -> Option<i64> {
        self.inner.learnt.clock_offset_seconds()
    }

    /// Takes over what is known about the store, so that nothing is asked in vain.
    pub fn rely_on(&self, profile: &Profile) {
        if profile.url_encoding == Some(Support::Refused) {
            self.inner.learnt.plain_listings.store(true, Ordering::Relaxed);
        }
        if profile.lists_in_order == Some(false) || profile.pages == Some(false) {
            self.inner.learnt.narrow_listings.store(true, Ordering::Relaxed);
        }
    }

    /// The same bucket with another prefix, over the same client.
    pub(super) fn beginning_at(&self, prefix: Prefix) -> Bucket {
        let inner = &self.inner;
        Bucket::new(inner.client.clone(), inner.name.clone(), prefix, inner.endpoint.clone(), inner.learnt.clone())
    }

    /// So many bytes per second at most from now on, of the bodies of all requests and answers together; `None`: as many as there can be.
    pub fn limit_rate(&self, bytes_per_second: Option<u64>) {
        self.inner.learnt.rate.set(bytes_per_second);
    }

    pub(super) fn client(&self) -> &aws_sdk_s3::Client {
        &self.inner.client
    }

    pub(super) fn learnt(&self) -> &Learnt {
        &self.inner.learnt
    }

    /// The whole key of a key after the prefix.
    pub(super) fn whole_key(&self, key: &str) -> String {
        format!("{}{key}", self.inner.prefix.as_str())
    }

    /// Begins an operation, described like `cannot list s3://bucket/prefix`.
    pub(super) fn tries(&self, verb: &str, key: &str) -> Tries<'_> {
        let place = format!("s3://{}/{}{key}", self.inner.name, self.inner.prefix.as_str());
        Tries::new(self.learnt(), format!("cannot {verb} {}", Shown(place.strip_suffix('/').unwrap_or(&place)))).at(self.endpoint())
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({} at {})", self.inner.url, self.inner.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(date: &str, now_seconds: u64, expected: Option<i64>) {
        assert_eq!(offset_seconds(date, UNIX_EPOCH + Duration::from_secs(now_seconds)), expected, "{date:?}");
    }

    #[test]
    fn the_offset_says_how_far_the_servers_clock_is_ahead() {
        check("Thu, 01 Jan 1970 00:16:40 GMT", 1000, Some(0));
        check("Thu, 01 Jan 1970 00:17:40 GMT", 1000, Some(60));
        check("Thu, 01 Jan 1970 00:15:40 GMT", 1000, Some(-60));
        check("yesterday", 1000, None);
    }
}
