//! What a test can make the server do wrong: faults for single requests, and profiles of stores that differ from AWS. Decides only;
//! the front door carries faults out, the operations obey the profile.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::lock;

/// What happens to a request that a [`Rule`] hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This HTTP status and S3 error code are the answer; the body is read and thrown away, the request is not carried out.
    Status(u16, &'static str),
    /// HTTP 200 with an error document of this code, as AWS may answer CompleteMultipartUpload and CopyObject; not carried out.
    Ok200Error(&'static str),
    /// The connection closes without an answer; not carried out.
    DropConnection,
    /// The request is carried out, then the connection closes without an answer.
    DropAnswer,
    /// The answer's body ends after this many bytes and the connection closes, under the full `Content-Length`.
    Truncate(u64),
    /// One bit of this byte (from 0) of the answer's body is wrong.
    FlipByte(u64),
    /// Half of the answer's body comes, then nothing for this long, then the rest. An answer without a body comes that much later.
    Stall(Duration),
    /// The request is carried out and answered this much later.
    Delay(Duration),
    /// The request is carried out and answered once [`Faults::release`] was called, or never.
    Hold,
}

/// Which requests are hit, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Only this operation, by its name in the S3 documentation.
    pub operation: Option<&'static str>,
    /// Only keys that contain this.
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
    /// Keys are paths of a file system: `a` is refused beside `a/b`.
    pub filesystem_backed: bool,
}

/// The rules in force, oldest first, and the profile. Both may change while the server runs.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<VecDeque<Rule>>,
    profile: Mutex<Profile>,
    released: watch::Sender<u64>,
}

impl Faults {
    /// Adds a rule behind the others. The first that matches and skips no more decides.
    pub fn push(&self, rule: Rule) {
        lock(&self.rules).push_back(rule);
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

    /// Sets how the store differs from AWS, from the next request on.
    pub fn set_profile(&self, profile: Profile) {
        *lock(&self.profile) = profile;
    }

    /// How the store differs from AWS now.
    #[must_use]
    pub fn profile(&self) -> Profile {
        *lock(&self.profile)
    }

    /// What happens to this request; uses up one hit or one skip of the rules that match.
    pub(super) fn next(&self, operation: &str, key: &str) -> Option<Action> {
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
        assert_eq!(faults.next("GetObject", "k"), Some(Action::DropAnswer), "the first still skips");
        assert_eq!(faults.next("GetObject", "k"), Some(Action::DropConnection));
        assert_eq!(faults.next("GetObject", "k"), None);
    }
}
