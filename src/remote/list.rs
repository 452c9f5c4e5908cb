//! Listing: pages until the end, in any order, refusing pages that repeat or break off. An error is never an empty listing.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::types::{EncodingType, Object};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::object::nanos;
use super::tries::Tries;
use crate::digest::ETag;
use crate::path::Shown;

pub use super::runs::Marks;
pub use crate::view::{Listed, Listing};

/// One page, checked and decoded.
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
    /// Keys came encoded.
    pub(super) encoded: bool,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    Beginning,
    /// After this key.
    After(&'a str),
    /// Where the page with this token ended.
    Token(&'a str),
}

/// More bytes than any bucket holds, an exbibyte: what is added to them later stays a number.
pub(super) const MOST_BYTES: u64 = 1 << 60;

/// Stores that keep objects as files may need long for a page of a large directory.
const PAGE_ANSWER: Duration = Duration::from_secs(60);

/// What to do where a listing of a folder is refused because the folder is not there.
const NO_FOLDER: &str = "check `bucket` and `prefix`; where the store lists no folder that it does not have, make it there first";

impl Bucket {
    /// All objects whose key after the prefix starts with `start` (empty: all), sorted by key. `progress` takes the count so far. The
    /// prefix's own directory marker (an empty object whose key is the prefix) is left out.
    pub async fn list(&self, start: &str, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Listed>, Error> {
        let (mut all, mut seen, mut from): (Vec<Listed>, HashSet<String>, Option<String>) = (Vec::new(), HashSet::new(), None);
        let (mut sorted, mut bytes) = (true, 0u64);
        loop {
            let mut page = self.page(start, from.take()).await?;
            sorted &= page.objects.is_sorted_by(|a, b| a.key < b.key);
            sorted &= all.last().zip(page.objects.first()).is_none_or(|(a, b)| a.key < b.key);
            bytes = page.objects.iter().fold(bytes, |sum, object| sum.saturating_add(object.size));
            if bytes > MOST_BYTES {
                return Err(self.senseless(start, "the store lists more than an exbibyte"));
            }
            let was_empty = page.objects.is_empty();
            all.append(&mut page.objects);
            progress(all.len() as u64);
            let Some(next) = page.next else { break };
            // Some stores that do not know a parameter answer the same page for ever.
            if was_empty || !seen.insert(next.clone()) {
                return Err(self.senseless(start, "the store says that there is more but sends nothing new"));
            }
            from = Some(next);
        }
        if !sorted {
            all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            if let Some(twice) = all.windows(2).find(|pair| pair[0].key == pair[1].key) {
                return Err(self.senseless(start, &format!("the store lists {} twice", Shown(&twice[0].key))));
            }
        }
        all.retain(|object| !object.key.is_empty() || object.size > 0);
        Ok(all)
    }

    /// The ETag that HEAD and GET answer, and conditions want, for an object that listings show with `etag` and `size`: another one on
    /// some stores. `None` when HEAD answers the same one, or when the object is not what it was.
    pub async fn answered_etag(&self, key: &str, etag: &ETag, size: u64) -> Result<Option<ETag>, Error> {
        let Some(head) = self.head(key).await?.filter(|head| head.size == size && head.etag != *etag) else { return Ok(None) };
        // Asked after the HEAD: what is listed still is what HEAD has shown. The key itself comes before all that it begins.
        let page = self.page(key, None).await?;
        // To the second, as HEAD tells it; a listing that lags behind a write shows another time.
        let second = |nanos: i64| nanos.div_euclid(1_000_000_000);
        let same_write = |object: &Listed| second(object.last_modified) == second(head.last_modified);
        let as_listed = page.objects.iter().any(|o| o.key == key && o.etag == *etag && o.size == size && same_write(o));
        Ok(as_listed.then_some(head.etag))
    }

    /// One page, from the beginning or from where the one before ended.
    pub(super) async fn page(&self, start: &str, from: Option<String>) -> Result<Page, Error> {
        self.page_of(start, from, None).await
    }

    /// [`Bucket::page`] with at most so many objects on it; `None`: as many as the store likes.
    pub(super) async fn page_of(&self, start: &str, from: Option<String>, most: Option<i32>) -> Result<Page, Error> {
        self.page_from(start, from.as_deref().map_or(From::Beginning, From::Token), most).await
    }

    /// [`Bucket::page_of`] from anywhere. A store that fails where it is asked to begin after a key is not asked again before it has done
    /// so once.
    pub(super) async fn page_from(&self, start: &str, from: From<'_>, most: Option<i32>) -> Result<Page, Error> {
        let mut tries = self.tries("list", start);
        loop {
            let encoded = !self.learnt().lists_plainly();
            match self.try_page(&tries, start, from, most).await {
                Ok(answer) => {
                    if matches!(from, From::After(_)) {
                        self.learnt().begins_after.store(true, Ordering::Relaxed);
                    }
                    return self.read(answer, &self.whole_key(start), from, &tries);
                }
                Err(failed) if failed.kind == Kind::Unsupported && encoded => self.learnt().plain_listings.store(true, Ordering::Relaxed),
                // A folder of a filesystem that was not made yet, where the bucket itself is there.
                Err(failed) if failed.has_code("NoSuchKey") && matches!(from, From::Beginning) && !self.whole_key(start).is_empty() => {
                    return match self.is_there(&tries).await {
                        Ok(()) => Ok(Page { objects: Vec::new(), next: None, encoded }),
                        Err(_) => Err(tries.error(Failed { kind: Kind::NoBucket, ..failed }.hint(NO_FOLDER))),
                    };
                }
                // Without a code, as something that is no store may say it.
                Err(failed) if failed.kind == Kind::NotFound => return Err(tries.error(Failed { kind: Kind::NoBucket, ..failed })),
                Err(failed) if matches!(from, From::After(_)) && !is_of_the_moment(&failed) && !self.learnt().begins_after() => {
                    return Err(tries.error(failed));
                }
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Whether the bucket itself is there, whatever it lists.
    async fn is_there(&self, tries: &Tries<'_>) -> Result<(), Failed> {
        tries.send(self.client().head_bucket().bucket(self.name()).send()).await.map(drop)
    }

    /// The names of directories at one level that come after a key, as far as one answer tells them. What says nothing about such a
    /// request is tried again.
    pub(super) async fn names(&self, directory: &str, after: &str) -> Result<Vec<String>, Error> {
        let mut tries = self.tries("list", directory);
        let prefix = self.whole_key(directory);
        let answer = loop {
            let after = Some(self.whole_key(after)).filter(|after| !after.is_empty());
            let request = self.list_request(&prefix).delimiter("/").set_start_after(after);
            match tries.send(request.customize().config_override(patient()).interceptor(Whole).send()).await {
                Ok(answer) => break answer,
                Err(failed) if is_of_the_moment(&failed) => tries.again(failed).await?,
                Err(failed) => return Err(tries.error(failed)),
            }
        };
        let encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let names = answer.common_prefixes.unwrap_or_default().into_iter().filter_map(|common| common.prefix);
        let names = names.map(|name| if encoded { url_decode(&name) } else { name });
        Ok(names.filter_map(|name| name.strip_prefix(self.prefix().as_str()).map(str::to_owned)).collect())
    }

    /// [`Bucket::page`] without a second try: for probes.
    pub(super) async fn page_once(&self, start: &str, from: &str) -> Result<Page, Error> {
        let tries = self.tries("list", start);
        let from = From::Token(from);
        let answer = self.try_page(&tries, start, from, None).await.map_err(|failed| tries.error(failed))?;
        self.read(answer, &self.whole_key(start), from, &tries)
    }

    async fn try_page(&self, tries: &Tries<'_>, start: &str, from: From<'_>, most: Option<i32>) -> Result<ListObjectsV2Output, Failed> {
        let request = self.list_request(&self.whole_key(start)).set_max_keys(most);
        let request = match from {
            From::Beginning => request,
            From::After(key) => request.start_after(self.whole_key(key)),
            From::Token(token) => request.continuation_token(token),
        };
        tries.send(request.customize().config_override(patient()).interceptor(Whole).send()).await
    }

    fn list_request(&self, prefix: &str) -> ListObjectsV2FluentBuilder {
        let request = self.client().list_objects_v2().bucket(self.name());
        let request = request.set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()));
        // Control characters in keys are no valid XML.
        request.set_encoding_type((!self.learnt().lists_plainly()).then_some(EncodingType::Url))
    }

    fn read(&self, answer: ListObjectsV2Output, prefix: &str, from: From<'_>, tries: &Tries<'_>) -> Result<Page, Error> {
        let wrong = |message: String| tries.wrong(Kind::Protocol, message);
        let encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let next = answer.next_continuation_token.filter(|token| !token.is_empty());
        // What is left out of an answer is no "no": a place to go on from says as much.
        let more = answer.is_truncated.unwrap_or(next.is_some());
        if more && next.is_none() {
            return Err(wrong(
                "the listing breaks off: the store says that there is more but not where (it must know ListObjectsV2)".into(),
            ));
        }
        if let (true, From::Token(from), Some(next)) = (more, from, &next)
            && next == from
        {
            return Err(wrong("the store sends the same page again".into()));
        }
        let skip = self.prefix().as_str().len();
        let mut objects = Vec::with_capacity(answer.contents.as_ref().map_or(0, Vec::len));
        for object in answer.contents.unwrap_or_default() {
            objects.push(listed(object, encoded, prefix, skip).map_err(wrong)?);
        }
        Ok(Page { objects, next: next.filter(|_| more), encoded })
    }

    pub(super) fn senseless(&self, start: &str, message: &str) -> Error {
        self.tries("list", start).wrong(Kind::Protocol, message)
    }
}

fn patient() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(TimeoutConfig::builder().read_timeout(PAGE_ANSWER).build())
}

/// `prefix` is what was asked for, `skip` the length of the part of it that paths do not have.
fn listed(object: Object, encoded: bool, prefix: &str, skip: usize) -> Result<Listed, String> {
    let key = object.key.ok_or("the store lists an object without a key")?;
    let key = if encoded { url_decode(&key) } else { key };
    if !key.starts_with(prefix) {
        return Err(format!("the store lists {}, which was not asked for", Shown(&key)));
    }
    let lacks = |what: &str| format!("the store lists {} without {what}", Shown(&key));
    let size = object.size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| lacks("its size"))?;
    let etag = object.e_tag.filter(|etag| !etag.is_empty()).ok_or_else(|| lacks("an ETag"))?;
    Ok(Listed { size, etag: ETag::parse(&etag), last_modified: nanos(object.last_modified.as_ref()), key: key[skip..].to_owned() })
}

/// Undoes `encoding-type=url`. AWS and others write a space as `+` and a plus as `%2B`; what is no escape stays as it is.
pub(super) fn url_decode(text: &str) -> String {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return text.to_owned();
    }
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let escape = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(escape.unwrap_or(if bytes[at] == b'+' { b' ' } else { bytes[at] }));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|e| format!("{}\0", String::from_utf8_lossy(e.as_bytes())))
}

/// Refuses a listing whose end is missing: the SDK's XML reader takes the end of the text for the end of the list.
#[derive(Debug)]
struct Whole;

/// See [`Whole`].
#[derive(Debug, thiserror::Error)]
#[error("the listing is cut off")]
struct CutOff;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "lsync whole listings"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let whole = body.trim_ascii_end().ends_with(b"ListBucketResult>");
        if context.output_or_error().is_ok() && !whole { Err(CutOff.into()) } else { Ok(()) }
    }
}

/// True for a refusal that tells nothing about the request itself.
fn is_of_the_moment(failed: &Failed) -> bool {
    failed.kind == Kind::Throttled || failed.is_about_old_credentials()
}

#[cfg(test)]
mod tests {
    use super::super::canned::{answer, bucket_answering, error};
    use super::*;

    #[track_caller]
    fn decodes(text: &str, expected: &str) {
        assert_eq!(url_decode(text), expected);
    }

    #[test]
    fn keys_come_back_as_they_were() {
        decodes("a/b.txt", "a/b.txt");
        decodes("a+b%2Bc%20d", "a b+c d");
        decodes("%C3%A9%01%0A", "é\u{1}\n");
        decodes("100%25", "100%");
        decodes("%zz%4", "%zz%4");
        decodes("%ff", "\u{fffd}\0");
    }

    #[test]
    fn an_object_without_etag_or_size_or_outside_the_prefix_is_refused() {
        let object = || Object::builder().key("p/a").size(1).e_tag("\"x\"");
        let check = |object: aws_sdk_s3::types::builders::ObjectBuilder, prefix: &str| listed(object.build(), false, prefix, 2);
        assert_eq!(check(object(), "p/").map(|l| (l.key, l.size, l.etag.to_string())), Ok(("a".into(), 1, "x".into())));
        assert_eq!(check(object().set_e_tag(None), "p/"), Err("the store lists p/a without an ETag".into()));
        assert_eq!(check(object().set_size(None), "p/"), Err("the store lists p/a without its size".into()));
        assert_eq!(check(object(), "p/b"), Err("the store lists p/a, which was not asked for".into()));
    }
    fn page(truncated: &str, keys: &[&str]) -> String {
        let object = |key: &&str| {
            format!(
                "<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;x&quot;</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
            )
        };
        let keys: String = keys.iter().map(object).collect();
        answer("200 OK", &format!("<?xml version=\"1.0\"?><ListBucketResult>{truncated}{keys}</ListBucketResult>"))
    }

    fn more(token: &str) -> String {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
    }

    const LAST: &str = "<IsTruncated>false</IsTruncated>";
    const URL: &str = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";

    async fn list(answers: &[String]) -> Result<String, (Kind, String)> {
        let (bucket, _) = bucket_answering(&answers.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let all = bucket.list("", &|_| ()).await.map_err(|error| (error.kind, error.message))?;
        Ok(all.iter().map(|object| object.key.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[track_caller]
    fn refused(found: Result<String, (Kind, String)>, kind: Kind, says: &str) {
        let (found, message) = found.unwrap_err();
        assert!(found == kind && message.contains(says), "{found:?}: {message}");
    }

    /// Gateways to a filesystem list no folder that is not there yet: the first upload makes it.
    #[tokio::test]
    async fn a_folder_that_is_not_there_yet_is_empty_where_the_bucket_is_there() {
        let no_folder = error("404 Not Found", "NoSuchKey");
        let there = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        assert_eq!(list(&[no_folder.clone(), there]).await.as_deref(), Ok(""));
        let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
        refused(list(&[no_folder, gone]).await, Kind::NoBucket, "NoSuchKey");
        refused(list(&[error("404 Not Found", "NoSuchBucket")]).await, Kind::NoBucket, "NoSuchBucket");
    }

    #[tokio::test]
    async fn all_pages_in_any_order_sorted() {
        let found = list(&[page(&more("1"), &["p/c", "p/d"]), page(&more("2"), &["p/a"]), page(LAST, &["p/b"])]).await;
        assert_eq!(found.as_deref(), Ok("a b c d"));
        assert_eq!(list(&[page(LAST, &[])]).await.as_deref(), Ok(""));
        assert_eq!(list(&[page("", &["p/a"])]).await.as_deref(), Ok("a"), "a store that does not say whether there is more");
        let unsaid = more("1").replace("<IsTruncated>true</IsTruncated>", "");
        let found = list(&[page(&unsaid, &["p/a"]), page(LAST, &["p/b"])]).await;
        assert_eq!(found.as_deref(), Ok("a b"), "it says where the next page begins");
        assert_eq!(list(&[page(URL, &["p/a%2Bb%01"])]).await.as_deref(), Ok("a+b\u{1}"));
        assert_eq!(list(&[page(LAST, &["p/a%2Bb+c"])]).await.as_deref(), Ok("a%2Bb+c"), "nothing was encoded");
    }

    #[tokio::test]
    async fn a_listing_that_repeats_or_breaks_off_is_an_error_and_never_shorter() {
        let same = page(&more("1"), &["p/a"]);
        refused(list(&[same.clone(), same]).await, Kind::Protocol, "same page");
        let (one, two) = (page(&more("1"), &["p/a"]), page(&more("2"), &["p/b"]));
        refused(list(&[one.clone(), two, one]).await, Kind::Protocol, "nothing new");
        refused(list(&[page(&more("1"), &["p/a"]), page(LAST, &["p/a"])]).await, Kind::Protocol, "a twice");
        refused(list(&[page(&more("1"), &[])]).await, Kind::Protocol, "nothing new");
        refused(list(&[page("<IsTruncated>true</IsTruncated>", &["p/a"])]).await, Kind::Protocol, "not where");
        refused(list(&[page(LAST, &["q/a"])]).await, Kind::Protocol, "not asked for");
        let huge = page(LAST, &["p/a", "p/b", "p/c"]).replace("<Size>1<", &format!("<Size>{}<", i64::MAX));
        let huge = answer("200 OK", huge.split_once("\r\n\r\n").unwrap().1);
        refused(list(&[huge]).await, Kind::Protocol, "more than an exbibyte");
        refused(list(&[page(LAST, &["p/a"]).replace("ETag>", "Xtag>")]).await, Kind::Protocol, "ETag");
        let cut = answer("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/a</Key>");
        refused(list(&[cut.clone(), cut]).await, Kind::Protocol, "cut off");
        let html = answer("200 OK", "<html><body>Log in, please</body></html>");
        let says = "cannot be understood (error parsing XML: encountered invalid XML root: expected ListBucketResult)";
        refused(list(&[html.clone(), html]).await, Kind::Protocol, says);
        let empty = answer("200 OK", "");
        refused(list(&[empty.clone(), empty]).await, Kind::Protocol, "cannot be understood");
        refused(list(&[error("403 Forbidden", "InvalidAccessKeyId")]).await, Kind::Denied, "InvalidAccessKeyId");
        refused(list(&[error("404 Not Found", "NoSuchBucket")]).await, Kind::NoBucket, "NoSuchBucket");
        refused(list(&[answer("404 Not Found", "<html>")]).await, Kind::NoBucket, "404");
    }

    #[tokio::test]
    async fn a_page_is_asked_again_after_a_transient_error() {
        let found =
            list(&[error("503 Slow", "SlowDown"), page(&more("1"), &["p/a"]), error("500 x", "InternalError"), page(LAST, &["p/b"])]).await;
        assert_eq!(found.as_deref(), Ok("a b"));
    }

    #[tokio::test]
    async fn a_wrong_clock_is_corrected_by_the_stores() {
        let skewed = error("403 Forbidden\r\nDate: Wed, 01 Jan 2031 00:00:00 GMT", "RequestTimeTooSkewed");
        let (bucket, asked) = bucket_answering(&[&skewed, &page(LAST, &[])]).await;
        assert!(bucket.list("", &|_| ()).await.unwrap().is_empty());
        assert!(asked.header(1, "x-amz-date").is_some_and(|date| date.starts_with("20310101T0000")));
        assert!(bucket.clock_offset_seconds().is_some_and(|offset| offset > 24 * 3600));
    }

    #[tokio::test]
    async fn a_store_that_does_not_know_encoding_type_is_asked_without() {
        let refuses = error("501 Not Implemented", "NotImplemented");
        let (bucket, asked) = bucket_answering(&[&refuses, &page(LAST, &["p/x/a"]), &page(LAST, &[])]).await;
        assert_eq!(bucket.list("x/", &|_| ()).await.unwrap().len(), 1);
        assert!(bucket.list("x/", &|_| ()).await.unwrap().is_empty());
        let lines = asked.lines();
        assert_eq!(lines[0], "GET /b/?list-type=2&encoding-type=url&prefix=p%2Fx%2F");
        assert_eq!(lines[1..], ["GET /b/?list-type=2&prefix=p%2Fx%2F"; 2]);
    }

    #[tokio::test]
    async fn the_prefixs_own_marker_is_no_object() {
        let marker = page(LAST, &["p/", "p/a"]).replacen("<Size>1<", "<Size>0<", 1);
        assert_eq!(list(&[marker]).await.as_deref(), Ok("a"));
    }
}
