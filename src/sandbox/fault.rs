//! What a test can make the server do wrong: faults for single requests, storms of them, and profiles of stores that differ from AWS.
//! Decides only; the front door carries faults out, the operations obey the profile.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::lock;
use super::storm::{Hit, Raging, Storm};
use super::token::Token;

/// What happens to a request that a [`Rule`] hits. A place in a body counts from the beginning again where the body is shorter; an empty one
/// is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This HTTP status and S3 error code are the answer; the body is read and thrown away, the request is not carried out.
    Status(u16, &'static str),
    /// The same, and the header `Retry-After` with so many seconds.
    StatusAfter(u16, &'static str, u64),
    /// HTTP 200 with an error document of this code, as AWS may answer CompleteMultipartUpload and CopyObject; not carried out.
    Ok200Error(&'static str),
    /// The connection closes without an answer; not carried out.
    DropConnection,
    /// The connection is reset after this many bytes of the request's body; not carried out.
    CutRequest(u64),
    /// One bit of this byte (from 0) of the request's body is wrong; carried out as it came.
    FlipRequest(u64),
    /// The request is carried out, then the connection closes without an answer.
    DropAnswer,
    /// The answer's body ends after this many bytes and the connection closes, under the full `Content-Length`.
    Truncate(u64),
    /// The answer's body ends after this many bytes and the connection is reset.
    Reset(u64),
    /// The answer's body has so many bytes, and `Content-Length` says so.
    Shorten(u64),
    /// The answer's body ends after this many bytes and the connection closes; nothing has said how long it is.
    Unframed(u64),
    /// So many bytes too many end the answer's body, and `Content-Length` counts them.
    Extend(u64),
    /// One bit of this byte (from 0) of the answer's body is wrong.
    FlipByte(u64),
    /// Every byte of the answer's body is another.
    Swap,
    /// Half of the answer's body comes, then nothing for this long, then the rest. An answer without a body comes that much later.
    Stall(Duration),
    /// The request is carried out and answered this much later.
    Delay(Duration),
    /// The request is carried out and answered once [`Faults::release`] was called, or never.
    Hold,
    /// The listing is odd.
    List(Oddity),
}

impl Action {
    /// True when it changes the bytes of a body, and nothing where there are none.
    pub(super) fn is_about_bytes(&self) -> bool {
        use Action::{Extend, FlipByte, FlipRequest, Reset, Shorten, Swap, Truncate, Unframed};
        matches!(self, Truncate(_) | Reset(_) | Shorten(_) | Unframed(_) | Extend(_) | FlipByte(_) | Swap | FlipRequest(_))
    }
}

/// What is odd about one page of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It shows the bucket as it was this many changes ago; as it is where no history is kept (see [`super::Server::keep_history`]).
    Lag(u64),
    /// It holds at most this many keys.
    Pages(u64),
    /// It says that there is more, and the token leads to this page again.
    RepeatPage,
    /// It says that there is more and has no token.
    NoToken,
    /// Its second half is missing and it says that it is the last.
    NoTail,
    /// It lists its first key twice.
    Twice,
    /// It lists its keys from the last to the first.
    Backwards,
}

/// Which requests are hit, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Only this operation, by its name in the S3 documentation.
    pub operation: Option<&'static str>,
    /// Only keys, and prefixes of listings, that contain this.
    pub key_contains: Option<String>,
    /// How many matching requests pass unharmed first.
    pub skip: u32,
    /// How many are hit then; the rule is gone after that.
    pub times: u32,
    /// What happens to them.
    pub action: Action,
}

impl Rule {
    /// Hits the next request of one operation, whatever its key.
    #[must_use]
    pub fn once(operation: &'static str, action: Action) -> Rule {
        Rule { operation: Some(operation), key_contains: None, skip: 0, times: 1, action }
    }

    fn matches(&self, operation: &str, key: &str) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation) && self.key_contains.as_ref().is_none_or(|part| key.contains(part.as_str()))
    }
}

/// What a store makes of CopyObject and UploadPartCopy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copies {
    /// As S3 does.
    #[default]
    Made,
    /// Neither is known: 501.
    Refused,
    /// The source is not read: what is made is empty.
    Empty,
    /// The source's ETag does not matter.
    Unconditional,
    /// What is there does not matter, whatever `If-Match` and `If-None-Match` say.
    Overwriting,
    /// The copy keeps the metadata of its source.
    WithMetadata,
    /// A part is all of its source, whatever the range says.
    Whole,
}

/// How the store differs from AWS. The default does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `If-Match` and `If-None-Match` of writes and deletions are ignored without a word.
    pub no_conditional_writes: bool,
    /// Objects from single requests get an ETag that tells nothing about their content: 32 hexadecimal digits all the same, as under SSE-KMS.
    pub opaque_single_etag: bool,
    /// Objects from multipart uploads get an ETag that tells nothing about their content, in every answer and listing.
    pub opaque_multipart_etag: bool,
    /// `Content-MD5` is ignored.
    pub no_md5_check: bool,
    /// The answers for a multipart object carry the composite ETag, its listings another one.
    pub answer_composite_list_other: bool,
    /// Listings ignore `encoding-type=url` and carry keys as they are.
    pub no_url_encoding: bool,
    /// Listings ignore `start-after`.
    pub no_start_after: bool,
    /// Keys are paths of a file system: `a` is refused beside `a/b`.
    pub filesystem_backed: bool,
    /// All objects get an ETag that is no digest and does not look like one.
    pub opaque_etag: bool,
    /// Requests without this header are refused.
    pub demanded_of_all: Option<&'static str>,
    /// What begins a new object (PutObject, CopyObject, CreateMultipartUpload) is refused without this header.
    pub demanded_of_new: Option<&'static str>,
    /// What becomes of copies inside the bucket.
    pub copies: Copies,
    /// Most bytes that one request copies, instead of 5 GiB.
    pub copy_limit: Option<u64>,
    /// As with SSE-KMS: ETags are 32 hexadecimal digits that are no MD5, and GET and HEAD name the encryption.
    pub encrypted: bool,
}

/// The rules in force, oldest first, and the profile. Both may change while the server runs.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<VecDeque<Rule>>,
    profile: Mutex<Profile>,
    released: watch::Sender<u64>,
    storm: Mutex<Option<Raging>>,
    token: Token,
}

impl Faults {
    /// Adds a rule behind the others. The first that matches and skips no more decides.
    pub fn push(&self, rule: Rule) {
        lock(&self.rules).push_back(rule);
    }

    /// The session token that requests must have.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Lets go on what is held now.
    pub fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Ends with the first [`Faults::release`] after this call, polled by then or not.
    pub(super) fn held(&self) -> impl Future<Output = ()> + use<> {
        let mut released = self.released.subscribe();
        async move {
            // An error means that the server is gone: nothing is held any more.
            let _ = released.changed().await;
        }
    }

    /// Removes all rules; what is held stays held.
    pub fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// How many hits are still to come, over all rules. Zero: every fault has happened.
    #[must_use]
    pub fn pending(&self) -> u64 {
        lock(&self.rules).iter().map(|rule| u64::from(rule.times)).sum()
    }

    /// Begins a storm, or ends it. Rules come first: what one of them hits the storm does not see.
    pub fn set_storm(&self, storm: Option<Storm>) {
        *lock(&self.storm) = storm.map(Raging::new);
    }

    /// What the storm under way has hit so far.
    #[must_use]
    pub fn hits(&self) -> Vec<Hit> {
        lock(&self.storm).as_ref().map(|storm| storm.hits.clone()).unwrap_or_default()
    }

    /// Sets how the store differs from AWS, from the next request on.
    pub fn set_profile(&self, profile: Profile) {
        *lock(&self.profile) = profile;
    }

    /// How the store differs from AWS now.
    #[must_use]
    pub fn profile(&self) -> Profile {
        *lock(&self.profile)
    }

    /// What happens to this request, and which hit of the storm it is, if it is one; uses up one hit or one skip of the rules that match.
    pub(super) fn next(&self, operation: &'static str, key: &str) -> Option<(Action, Option<usize>)> {
        if let Some(action) = self.by_rule(operation, key) {
            return Some((action, None));
        }
        let (action, hit) = lock(&self.storm).as_mut()?.next(operation, key)?;
        Some((action, Some(hit)))
    }

    /// Takes note that a hit changed nothing, because there were no bytes to change.
    pub(super) fn missed(&self, hit: usize) {
        if let Some(hit) = lock(&self.storm).as_mut().and_then(|storm| storm.hits.get_mut(hit)) {
            hit.missed = true;
        }
    }

    fn by_rule(&self, operation: &str, key: &str) -> Option<Action> {
        let mut rules = lock(&self.rules);
        let mut hit = None;
        for (index, rule) in rules.iter_mut().enumerate() {
            if rule.times == 0 || !rule.matches(operation, key) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            hit = Some((index, rule.action.clone(), rule.times == 0));
            break;
        }
        let (index, action, used_up) = hit?;
        if used_up {
            rules.remove(index);
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_lets_some_pass_hits_some_and_is_gone() {
        let faults = Faults::default();
        faults.push(Rule { skip: 1, times: 2, key_contains: Some("b/".into()), ..Rule::once("PutObject", Action::DropAnswer) });
        let hit = |operation, key| faults.next(operation, key).is_some();
        assert!(!hit("GetObject", "a/b/c"), "another operation");
        assert!(!hit("PutObject", "a/c"), "another key");
        assert!(!hit("PutObject", "a/b/c"), "skipped");
        assert!(hit("PutObject", "a/b/c"));
        assert!(hit("PutObject", "b/"));
        assert!(!hit("PutObject", "b/"), "used up");
        assert_eq!(faults.pending(), 0);
    }

    #[test]
    fn the_oldest_rule_that_matches_decides() {
        let faults = Faults::default();
        faults.push(Rule { skip: 1, ..Rule::once("GetObject", Action::DropConnection) });
        faults.push(Rule { operation: None, ..Rule::once("", Action::DropAnswer) });
        assert_eq!(faults.next("GetObject", "k"), Some((Action::DropAnswer, None)), "the first still skips");
        assert_eq!(faults.next("GetObject", "k"), Some((Action::DropConnection, None)));
        assert_eq!(faults.next("GetObject", "k"), None);
    }
}
