//! What a store really does, asked with at most 25 small requests under a random key in `.lsync/`, which are removed again whatever
//! happens. Decides nothing.

mod copying;

use super::bucket::Bucket;
use super::classify::Failed;
use super::error::{Error, Kind};
use super::list::Page;
use super::multipart::Upload;
use super::object::{Enforce, Guard, NONCE, Put};
use super::probe::{CONTENT, Tried, probe, probe_key};
use crate::digest::{ETag, digest_one};
use crate::profile::{ETagKind, Profile, Support};
use crate::view::Listed;
use bytes::Bytes;

/// What was found out.
#[derive(Debug)]
pub struct Examined {
    /// What the store does; without a time.
    pub profile: Profile,
    /// The credentials may write.
    pub may_write: bool,
    /// Why there are no multipart uploads, where there are none.
    pub no_multipart: Option<String>,
    /// Keys after the prefix of probe objects that could not be removed.
    pub leftover: Vec<String>,
    /// What ended it early.
    pub ended_by: Option<Error>,
}

/// Requests in all, those that remove the probe objects included, unless some have to be sent again.
const MOST_REQUESTS: usize = 25;
/// Behind the random key: what keys may hold and stores, proxies and XML may not take.
const ODD: &str = " a+b%41\u{e9}\u{65e5}\u{1}";
/// Metadata as it goes with every object.
const METADATA: (&str, &str) = ("mtime", "1700000000.123456789");

impl Bucket {
    /// One page of the listing: proves that the endpoint answers, the bucket exists and the credentials may read it. Tells how many
    /// objects are on it, and whether there are more.
    pub async fn check_readable(&self) -> Result<(usize, bool), Error> {
        let page = self.page("", None).await?;
        Ok((page.objects.len(), page.next.is_some()))
    }

    /// Asks everything of [`Profile`]. That the bucket cannot be written is a finding, and so is what a store lacks. `stop` is asked
    /// between requests.
    pub async fn examine(&self, stop: &(dyn Fn() -> bool + Sync)) -> Examined {
        let base = probe_key();
        let key = format!("{base}-1");
        let mut exam = Exam {
            bucket: self,
            stop,
            base,
            key,
            etag: None,
            made: Vec::new(),
            second: None,
            upload: None,
            spent: 0,
            may_write: true,
            no_multipart: None,
            profile: Profile::default(),
        };
        let ended_by = exam.ask().await.err();
        let leftover = exam.remove().await;
        Examined { profile: exam.profile, may_write: exam.may_write, no_multipart: exam.no_multipart, leftover, ended_by }
    }

    /// What can be asked with nothing but the permission to list.
    pub async fn examine_reading(&self) -> Result<Profile, Error> {
        let mut profile = Profile::default();
        let (first, _) = self.listing("", &mut profile).await?;
        profile.pages = profile.pages.filter(|_| !first.is_empty());
        Ok(profile)
    }

    /// Two pages, the first of one object: what is listed, and whether that was all. Learns about paging, order and encoding.
    async fn listing(&self, start: &str, profile: &mut Profile) -> Result<(Vec<Listed>, bool), Error> {
        let Page { mut objects, next, encoded } = self.page_of(start, None, Some(1)).await?;
        profile.url_encoding = Some(match encoded {
            true => Support::Honoured,
            false if self.learnt().lists_plainly() => Support::Refused,
            false => Support::Ignored,
        });
        let (first, mut whole) = (objects.len(), next.is_none());
        if let Some(next) = next {
            let page = self.page_once(start, &next).await?;
            profile.pages = Some(first == 1 && !page.objects.is_empty() && !page.objects.contains(&objects[0]));
            objects.extend(page.objects);
            whole = page.next.is_none();
            profile.lists_in_order = Some(objects.is_sorted_by(|a, b| a.key < b.key));
        } else if first > 1 {
            profile.pages = Some(false);
            profile.lists_in_order = Some(objects.is_sorted_by(|a, b| a.key < b.key));
        }
        Ok((objects, whole))
    }
}

/// One examination under way.
struct Exam<'a> {
    bucket: &'a Bucket,
    stop: &'a (dyn Fn() -> bool + Sync),
    /// What all keys begin with.
    base: String,
    /// The first object, and the ETag that was answered for it last.
    key: String,
    etag: Option<ETag>,
    /// Objects to remove.
    made: Vec<String>,
    /// The second object, with the ETag that was answered.
    second: Option<(String, ETag)>,
    /// To give up.
    upload: Option<Upload>,
    spent: usize,
    may_write: bool,
    no_multipart: Option<String>,
    profile: Profile,
}

impl Exam<'_> {
    async fn ask(&mut self) -> Result<(), Error> {
        self.content_md5().await?;
        if !self.may_write {
            self.profile = self.bucket.examine_reading().await?;
            return Ok(());
        }
        self.conditions().await?;
        self.second().await?;
        self.multipart().await?;
        self.metadata().await?;
        self.listing().await?;
        self.copies().await
    }

    /// Counts a request; an error once a stop was asked.
    fn spend(&mut self) -> Result<(), Error> {
        self.spent += 1;
        if (self.stop)() { Err(self.bucket.tries("examine", "").wrong(Kind::Stopped, "stopped")) } else { Ok(()) }
    }

    /// Whether one more request leaves enough of them for so many, and for removing what was made.
    fn leaves_room_for(&self, more: usize) -> bool {
        self.spent + 1 + more + self.made.len() <= MOST_REQUESTS
    }

    /// A PUT whose refusal is an answer: what the store says, after one more try where that may help.
    async fn put(&mut self, put: &Put) -> Result<Result<ETag, Failed>, Error> {
        let mut tries = self.bucket.tries("put", &put.key);
        loop {
            self.spend()?;
            match self.bucket.put_once(put).await {
                Ok(etag) => {
                    if !self.made.contains(&put.key) {
                        self.made.push(put.key.clone());
                    }
                    return Ok(Ok(ETag::parse(etag.as_deref().unwrap_or_default())));
                }
                Err(failed) if matches!(failed.kind, Kind::Denied | Kind::Refused) => return Err(tries.error(failed)),
                Err(failed) if failed.maybe_done && !self.made.contains(&put.key) => {
                    self.made.push(put.key.clone());
                    tries.again(failed).await?;
                }
                Err(failed) if tries.is_again() || !matches!(failed.kind, Kind::Unreachable | Kind::Throttled) => return Ok(Err(failed)),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    async fn content_md5(&mut self) -> Result<(), Error> {
        let wrong = Put { md5: digest_one(b"something else"), ..probe(&self.key, Guard::Any) };
        match self.put(&wrong).await {
            Err(denied) if matches!(denied.kind, Kind::Denied | Kind::Refused) => self.may_write = false,
            Err(error) => return Err(error),
            Ok(Ok(etag)) => {
                self.profile.checks_content_md5 = Some(false);
                self.etag = Some(etag);
            }
            Ok(Err(failed)) => self.profile.checks_content_md5 = (failed.kind == Kind::Integrity).then_some(true),
        }
        Ok(())
    }

    /// The first object, and what stands in the way of a second one at its key.
    async fn conditions(&mut self) -> Result<(), Error> {
        if self.etag.is_none() {
            self.first().await?;
        }
        let Some(etag) = &self.etag else { return Ok(()) };
        self.profile.single_etag = Some(ETagKind::of_single(etag, digest_one(CONTENT)));
        if self.profile.conditional_writes.is_none() {
            self.profile.conditional_writes = self.bucket.refuses_wrong_conditions(&self.key).await?;
            self.spent += 2;
        }
        Ok(())
    }

    async fn first(&mut self) -> Result<(), Error> {
        self.spend()?;
        // Whatever comes of it, it may have been stored.
        self.made.push(self.key.clone());
        self.etag = match self.bucket.try_guarded(&self.key, Guard::Absent).await? {
            Tried::Stored(etag) => {
                // Nothing was there: what was not accepted was not stored either.
                self.profile.checks_content_md5.get_or_insert(true);
                Some(etag)
            }
            Tried::Refused => {
                self.profile.conditional_writes = Some(Support::Refused);
                let put = probe(&self.key, Guard::Any);
                let answer = self.put(&put).await?;
                Some(answer.map_err(|failed| self.bucket.tries("put", &self.key).error(failed))?)
            }
            Tried::Held | Tried::Unclear => {
                self.spend()?;
                self.bucket.head(&self.key).await?.map(|head| head.etag)
            }
        };
        Ok(())
    }

    /// A second object, below the first and with an odd name where the store can have that.
    async fn second(&mut self) -> Result<(), Error> {
        let mut put = probe(&format!("{}/b{ODD}", self.key), Guard::Any);
        put.about.metadata = vec![(METADATA.0.into(), METADATA.1.into()), (NONCE.into(), self.base.clone())];
        let mut answer = self.put(&put).await?;
        self.profile.object_below_object = answer.is_ok().then_some(true);
        if answer.is_err() {
            put.key = format!("{}-2{ODD}", self.base);
            answer = self.put(&put).await?;
            // `rclone serve s3` answers 500 to the one, twice, and takes the other.
            self.profile.object_below_object = answer.is_ok().then_some(false);
        }
        if answer.is_err() {
            self.profile.odd_keys = Some(Support::Refused);
            put.key = format!("{}-2", self.base);
            answer = self.put(&put).await?;
        }
        self.second = answer.ok().map(|etag| (put.key, etag));
        Ok(())
    }

    async fn multipart(&mut self) -> Result<(), Error> {
        let Some(etag) = self.etag.clone() else { return Ok(()) };
        match self.in_parts(etag).await {
            Err(error) if matches!(error.kind, Kind::Unsupported | Kind::NotFound | Kind::Protocol) => {
                self.no_multipart = Some(error.message);
                Ok(())
            }
            other => other,
        }
    }

    async fn in_parts(&mut self, etag: ETag) -> Result<(), Error> {
        self.spend()?;
        let upload = self.bucket.begin_upload(&self.key, probe("", Guard::Any).about).await?;
        self.upload = Some(upload.clone());
        self.part_copy(&upload, &etag).await?;
        self.spend()?;
        let part = self.bucket.upload_part(&upload, 1, Bytes::from_static(CONTENT), digest_one(CONTENT)).await?;
        self.spend()?;
        let parts = self.bucket.parts(&upload).await;
        self.profile.lists_parts = shows(parts.map(|parts| parts.len() == 1 && parts[0].size == CONTENT.len() as u64));
        // The completion, a HEAD and two pages are worth more.
        if self.leaves_room_for(4) {
            self.spend()?;
            let open = self.bucket.open_uploads(&upload.key).await;
            self.profile.lists_uploads = shows(open.map(|open| open.iter().any(|begun| begun.id == upload.id)));
        }
        let size = CONTENT.len() as u64;
        let mut done = None;
        if self.profile.is_conditional() {
            self.spend()?;
            let guard = Guard::Is(etag, size);
            match self.bucket.complete_upload(&upload, std::slice::from_ref(&part), size, &guard, Enforce::Conditional).await {
                Ok(stored) => done = Some(stored),
                // Right conditions that are refused would refuse every second upload.
                Err(error) if matches!(error.kind, Kind::Precondition | Kind::Unsupported) => {
                    self.profile.conditional_writes = Some(Support::Refused);
                }
                Err(error) => return Err(error),
            }
        }
        let stored = match done {
            Some(stored) => stored,
            None => {
                self.spend()?;
                self.bucket.complete_upload(&upload, &[part], size, &Guard::Any, Enforce::Head).await?
            }
        };
        self.upload = None;
        self.profile.multipart_etag = Some(ETagKind::of_multipart(&stored.etag, digest_one(CONTENT)));
        self.etag = Some(stored.etag);
        Ok(())
    }

    async fn metadata(&mut self) -> Result<(), Error> {
        let Some((key, _)) = self.second.clone() else { return Ok(()) };
        if !self.leaves_room_for(2) {
            return Ok(());
        }
        self.spend()?;
        let head = self.bucket.head(&key).await?;
        self.profile.keeps_metadata = head.map(|head| {
            let is = |name: &str, value: &str| head.metadata.get(name).is_some_and(|found| found == value);
            is(METADATA.0, METADATA.1) && is(NONCE, &self.base)
        });
        Ok(())
    }

    async fn listing(&mut self) -> Result<(), Error> {
        self.spend()?;
        self.spend()?;
        let odd = self.second.as_ref().filter(|_| self.profile.odd_keys.is_none()).map(|(key, _)| key.clone());
        let (listed, whole) = match self.bucket.listing(&self.base, &mut self.profile).await {
            Ok(found) => found,
            // A key that XML cannot hold, sent as it is.
            Err(error) if odd.is_some() && error.kind == Kind::Protocol => {
                self.profile.odd_keys = Some(Support::Ignored);
                self.profile.url_encoding = Some(Support::Ignored);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let find = |key: &str| listed.iter().find(|object| object.key == key);
        if let Some(key) = odd.filter(|_| whole) {
            self.profile.odd_keys = Some(if find(&key).is_some() { Support::Honoured } else { Support::Ignored });
        }
        let both = [self.etag.as_ref().map(|etag| (self.key.as_str(), etag)), self.second.as_ref().map(|(key, etag)| (key.as_str(), etag))];
        let both = both.into_iter().flatten().filter_map(|(key, etag)| Some(find(key)?.etag == *etag));
        self.profile.lists_answered_etag = both.reduce(|a, b| a && b);
        Ok(())
    }

    /// Takes everything away again. Returns what stays.
    async fn remove(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        if let Some(upload) = self.upload.take()
            && self.bucket.abort_upload(&upload).await.is_err()
        {
            left.push(upload.key);
        }
        self.made.sort();
        self.made.dedup();
        // What lies below goes first.
        for key in self.made.drain(..).rev() {
            if self.bucket.delete(&key, &Guard::Any, Enforce::Head).await.is_err() {
                left.push(key);
            }
        }
        left
    }
}

/// What an answer shows; `None` where there was none.
fn shows(answer: Result<bool, Error>) -> Option<bool> {
    match answer {
        Ok(shows) => Some(shows),
        Err(error) => {
            matches!(error.kind, Kind::Unsupported | Kind::NotFound | Kind::Denied | Kind::Refused | Kind::Protocol).then_some(false)
        }
    }
}
