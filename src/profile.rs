//! What a store was found to do: the answers to lsync's probes, as they are kept and used. Asks nothing itself.
//!
//! # Format 1
//! UTF-8, two lines of JSON. The first is the header, `"lsync": "store"`, `"v": 1`, `endpoint`, `bucket`, and the fields of [`Profile`],
//! those left out that are not known. The second is `{"md5": "…"}`, the MD5 of every byte before it. Anything that does not fit is no
//! profile: then the store is asked again.

use serde::{Deserialize, Serialize};

use crate::digest::{ETag, Md5, digest_one};
use crate::entry::Nanos;

/// The only format so far.
const FORMAT: u32 = 1;
/// How long a profile holds, in nanoseconds: 90 days.
const HOLDS: Nanos = 90 * 24 * 3600 * 1_000_000_000;

/// What a store does with something that S3 has and stores may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// As S3 does.
    Honoured,
    /// Answered with an error.
    Refused,
    /// Answered as if it had not been asked.
    Ignored,
}

/// What an ETag tells about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ETagKind {
    /// The MD5 of the bytes.
    Md5,
    /// The MD5 of the MD5s of the parts.
    Composite,
    /// Nothing.
    Opaque,
}

/// What is known about one bucket at one endpoint. `None`: not asked, or no answer that tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// When it was asked, in nanoseconds since 1970.
    pub time: Nanos,
    /// `If-None-Match: *` and `If-Match` on writes, the completion of a multipart upload included where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional_writes: Option<Support>,
    /// A body that is not what its `Content-MD5` says is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks_content_md5: Option<bool>,
    /// The ETag of an object that came in one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_etag: Option<ETagKind>,
    /// The ETag of an object that came in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipart_etag: Option<ETagKind>,
    /// Listings show the ETags that were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_answered_etag: Option<bool>,
    /// ListParts tells what has arrived of a multipart upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_parts: Option<bool>,
    /// ListMultipartUploads shows uploads that are not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_uploads: Option<bool>,
    /// Listings come in pages of the size that was asked for, and go on where they ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<bool>,
    /// `encoding-type=url` in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_encoding: Option<Support>,
    /// Listings are in the order of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_in_order: Option<bool>,
    /// An object `a/b` may stand beside an object `a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_below_object: Option<bool>,
    /// Keys with spaces, `+`, `%`, letters beyond ASCII and control characters; ignored: they come back as other keys, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd_keys: Option<Support>,
    /// User metadata comes back as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_metadata: Option<bool>,
    /// Copies of whole objects inside the bucket, with metadata of their own, made only while the original has the ETag that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Support>,
    /// `If-None-Match: *` and `If-Match` about what such a copy would replace; asked only where other writes honour them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional_copies: Option<Support>,
    /// Parts of an upload that are made of what lies in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_copies: Option<Support>,
    /// Copies of whole objects inside the bucket with their own metadata, as they keep what an upload overwrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_copies: Option<Support>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    lsync: String,
    v: u32,
    endpoint: String,
    bucket: String,
    #[serde(flatten)]
    profile: Profile,
}

#[derive(Serialize, Deserialize)]
struct End {
    md5: String,
}

impl Profile {
    /// True while it is to be relied on: younger than 90 days, by this host's clock.
    #[must_use]
    pub fn is_fresh(&self, now: Nanos) -> bool {
        now.saturating_sub(self.time).abs() < HOLDS
    }

    /// True when guards may be left to the store.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.conditional_writes == Some(Support::Honoured)
    }

    /// True when nothing that the store answers proves that it holds what was sent: it takes bodies that are not what their
    /// `Content-MD5` says, and some of its ETags tell nothing.
    #[must_use]
    pub fn verifies_nothing(&self) -> bool {
        let opaque = [self.single_etag, self.multipart_etag].contains(&Some(ETagKind::Opaque));
        self.checks_content_md5 == Some(false) && opaque
    }

    /// False when whole objects are not to be copied for what is known: copies, or their guards, are not as they should be, or no ETag would
    /// prove what they hold.
    #[must_use]
    pub fn may_copy(&self) -> bool {
        let guards = !self.is_conditional() || is_honoured(self.conditional_copies);
        is_honoured(self.copies) && guards && self.single_etag.is_none_or(|kind| kind == ETagKind::Md5)
    }

    /// False when parts are not to be copied for what is known.
    #[must_use]
    pub fn may_copy_parts(&self) -> bool {
        is_honoured(self.part_copies)
    }

    /// Whether an object can be copied before it is overwritten; `None`: not known.
    #[must_use]
    pub fn keeps_copies(&self) -> Option<Support> {
        self.history_copies.or(self.copies.filter(|copies| *copies == Support::Honoured))
    }

    /// With what another one knows about guards, where this one does not.
    #[must_use]
    pub fn completed_by(self, guards: &Profile) -> Profile {
        Profile {
            conditional_writes: self.conditional_writes.or(guards.conditional_writes),
            checks_content_md5: self.checks_content_md5.or(guards.checks_content_md5),
            single_etag: self.single_etag.or(guards.single_etag),
            ..self
        }
    }

    /// The bytes of its file.
    #[must_use]
    pub fn encode(&self, endpoint: &str, bucket: &str) -> Vec<u8> {
        let header = Header { lsync: "store".into(), v: FORMAT, endpoint: endpoint.into(), bucket: bucket.into(), profile: self.clone() };
        let mut out = Vec::new();
        crate::manifest::write_line(&mut out, &header);
        let md5 = digest_one(&out).hex();
        crate::manifest::write_line(&mut out, &End { md5 });
        out
    }

    /// Reads [`Profile::encode`]; `None` when it is damaged, of another format, or of another endpoint or bucket.
    #[must_use]
    pub fn decode(endpoint: &str, bucket: &str, bytes: &[u8]) -> Option<Profile> {
        let end = bytes.strip_suffix(b"\n")?.iter().position(|b| *b == b'\n')? + 1;
        let (header, rest) = bytes.split_at(end);
        let md5 = serde_json::from_slice::<End>(rest).ok()?.md5;
        if digest_one(header).hex() != md5 {
            return None;
        }
        let Header { lsync, v, endpoint: of, bucket: name, profile } = serde_json::from_slice(header).ok()?;
        (lsync == "store" && v == FORMAT && of == endpoint && name == bucket).then_some(profile)
    }
}

/// Or not known.
fn is_honoured(support: Option<Support>) -> bool {
    support.is_none_or(|support| support == Support::Honoured)
}

impl ETagKind {
    /// What the ETag of a content that came in one request is.
    #[must_use]
    pub fn of_single(etag: &ETag, content: Md5) -> ETagKind {
        if etag.md5() == Some(content) { ETagKind::Md5 } else { ETagKind::Opaque }
    }

    /// What the ETag of a content that came as one part of a multipart upload is.
    #[must_use]
    pub fn of_multipart(etag: &ETag, content: Md5) -> ETagKind {
        match etag {
            ETag::Composite(md5, 1) if *md5 == digest_one(&content.0) => ETagKind::Composite,
            etag => ETagKind::of_single(etag, content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Profile {
        Profile {
            time: 5,
            conditional_writes: Some(Support::Ignored),
            checks_content_md5: Some(false),
            multipart_etag: Some(ETagKind::Opaque),
            ..Profile::default()
        }
    }

    const SAMPLE: &str = r#"{"lsync":"store","v":1,"endpoint":"https://s3","bucket":"b","time":5,"conditional_writes":"ignored","checks_content_md5":false,"multipart_etag":"opaque"}
{"md5":"MD5"}
"#;

    #[test]
    fn format_1_is_read_for_ever() {
        let header = SAMPLE.lines().next().map(|line| format!("{line}\n")).unwrap();
        let sample = SAMPLE.replace("MD5", &digest_one(header.as_bytes()).hex());
        assert_eq!(String::from_utf8(some().encode("https://s3", "b")).unwrap(), sample);
        assert_eq!(Profile::decode("https://s3", "b", sample.as_bytes()), Some(some()));
    }

    #[test]
    fn what_is_cut_changed_or_of_another_store_is_no_profile() {
        let bytes = some().encode("https://s3", "b");
        for at in 0..bytes.len() {
            assert_eq!(Profile::decode("https://s3", "b", &bytes[..at]), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Profile::decode("https://s3", "b", &flipped), None, "flipped at {at}");
        }
        assert_eq!(Profile::decode("https://s4", "b", &bytes), None);
        assert_eq!(Profile::decode("https://s3", "c", &bytes), None);
    }

    #[test]
    fn a_profile_holds_for_90_days() {
        let day = 24 * 3600 * 1_000_000_000;
        let profile = Profile { time: 1000 * day, ..Profile::default() };
        assert!(profile.is_fresh(1000 * day) && profile.is_fresh(1089 * day));
        assert!(!profile.is_fresh(1091 * day) && !profile.is_fresh(0));
    }

    #[test]
    fn a_store_verifies_nothing_when_neither_md5_nor_etag_tells() {
        assert!(some().verifies_nothing());
        assert!(!Profile { checks_content_md5: Some(true), ..some() }.verifies_nothing());
        assert!(!Profile { checks_content_md5: None, ..some() }.verifies_nothing());
        assert!(!Profile { multipart_etag: Some(ETagKind::Composite), single_etag: Some(ETagKind::Md5), ..some() }.verifies_nothing());
    }

    #[test]
    fn what_is_not_known_may_be_tried_and_what_is_not_honoured_may_not() {
        let check =
            |profile: Profile, expected: (bool, bool)| assert_eq!((profile.may_copy(), profile.may_copy_parts()), expected, "{profile:?}");
        let aws = Profile { conditional_writes: Some(Support::Honoured), single_etag: Some(ETagKind::Md5), ..Profile::default() };
        check(Profile::default(), (true, true));
        check(aws.clone(), (true, true));
        check(Profile { copies: Some(Support::Ignored), ..aws.clone() }, (false, true));
        check(Profile { conditional_copies: Some(Support::Ignored), ..aws.clone() }, (false, true));
        check(
            Profile { conditional_copies: Some(Support::Ignored), conditional_writes: Some(Support::Ignored), ..aws.clone() },
            (true, true),
        );
        check(Profile { single_etag: Some(ETagKind::Opaque), ..aws.clone() }, (false, true));
        check(Profile { part_copies: Some(Support::Refused), ..aws }, (true, false));
    }

    /// Copies with other metadata may be refused where plain ones are made: that says nothing about the history.
    #[test]
    fn whether_the_history_can_be_kept_is_known_by_its_own_copies_or_by_stricter_ones() {
        use Support::{Honoured, Ignored, Refused};
        let check = |history_copies, copies, expected| {
            let profile = Profile { history_copies, copies, ..Profile::default() };
            assert_eq!(profile.keeps_copies(), expected, "{history_copies:?} {copies:?}");
        };
        check(None, None, None);
        check(None, Some(Honoured), Some(Honoured));
        check(None, Some(Refused), None);
        check(None, Some(Ignored), None);
        check(Some(Refused), Some(Honoured), Some(Refused));
        check(Some(Honoured), Some(Ignored), Some(Honoured));
    }

    #[test]
    fn kinds_of_etags_are_told_by_the_content() {
        let md5 = digest_one(b"abc");
        assert_eq!(ETagKind::of_single(&ETag::Hex(md5), md5), ETagKind::Md5);
        assert_eq!(ETagKind::of_single(&ETag::Hex(digest_one(b"x")), md5), ETagKind::Opaque, "SSE-KMS: 32 digits that are no MD5");
        assert_eq!(ETagKind::of_multipart(&ETag::Composite(digest_one(&md5.0), 1), md5), ETagKind::Composite);
        assert_eq!(ETagKind::of_multipart(&ETag::Composite(md5, 1), md5), ETagKind::Opaque);
        assert_eq!(ETagKind::of_multipart(&ETag::Hex(md5), md5), ETagKind::Md5);
    }
}
