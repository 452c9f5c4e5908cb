//! Faults drawn from one number: whether a request goes wrong, and how, depends on the seed, on what is asked for, and on how often it was
//! asked for before. Decides only. The same seed and the same requests give the same faults, in whatever order other requests come.

use std::collections::HashMap;
use std::time::Duration;

use super::fault::{Action, Oddity};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hazard {
    /// 500, 502, 503, 429 or 408 with an error document; not carried out.
    Refused,
    /// 503 or 429 with `Retry-After`; not carried out.
    Throttled,
    /// 403 `RequestTimeTooSkewed`; not carried out.
    Skewed,
    /// 403 `AccessDenied`; not carried out.
    Denied,
    /// 200 with an error document; not carried out.
    ErrorIn200,
    /// The connection closes before the request was read.
    Dropped,
    /// The connection is reset in the middle of the request's body.
    RequestCut,
    /// Carried out, and the connection closes without an answer.
    AnswerLost,
    /// Carried out, and answered later than anybody waits.
    Late,
    /// Half of the answer comes, and then nothing for longer than anybody waits.
    Stalled,
    /// Carried out and answered some seconds later.
    Slow,
    /// The answer's body ends early, under its full length.
    Truncated,
    /// The connection is reset in the middle of the answer's body.
    Reset,
    /// The answer's body ends early, and its length says so.
    Shortened,
    /// The answer's body ends early, and nothing says how long it should be.
    Unframed,
    /// The answer's body is longer than the object, and its length says so.
    Extended,
    /// One bit of the answer's body is wrong.
    Flipped,
    /// The answer's body has the right length and other bytes.
    Swapped,
    /// One bit of the request's body is wrong before the store sees it.
    FlippedOnTheWay,
    /// The listing does not show the newest writes yet.
    Lagging,
    /// The listing comes in pages of a few keys.
    SmallPages,
    /// A page says that the next one begins where it began itself.
    PageRepeated,
    /// A page says that there is more, and not where.
    TokenMissing,
    /// A page lacks its second half, and says that it is the last.
    TailMissing,
    /// A page lists one key twice.
    KeyTwice,
    /// A page lists its keys from the last to the first.
    WrongOrder,
    /// A copy is refused for a reason of the object's or of the credentials': too large, a key too long, a permission.
    CopyRefused,
}

impl Hazard {
    /// All that a storm of every kind draws from; [`Hazard::CopyRefused`] is asked for by name.
    pub const ALL: [Hazard; 26] = [
        Hazard::Refused,
        Hazard::Throttled,
        Hazard::Skewed,
        Hazard::Denied,
        Hazard::ErrorIn200,
        Hazard::Dropped,
        Hazard::RequestCut,
        Hazard::AnswerLost,
        Hazard::Late,
        Hazard::Stalled,
        Hazard::Slow,
        Hazard::Truncated,
        Hazard::Reset,
        Hazard::Shortened,
        Hazard::Unframed,
        Hazard::Extended,
        Hazard::Flipped,
        Hazard::Swapped,
        Hazard::FlippedOnTheWay,
        Hazard::Lagging,
        Hazard::SmallPages,
        Hazard::PageRepeated,
        Hazard::TokenMissing,
        Hazard::TailMissing,
        Hazard::KeyTwice,
        Hazard::WrongOrder,
    ];

    /// True when content arrives other than it was sent, and only a comparison can tell.
    #[must_use]
    pub fn corrupts(self) -> bool {
        use Hazard::{Extended, Flipped, FlippedOnTheWay, Reset, Shortened, Swapped, Truncated, Unframed};
        matches!(self, Truncated | Reset | Shortened | Unframed | Extended | Flipped | Swapped | FlippedOnTheWay)
    }

    /// True when it costs half a minute or more of waiting.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Hazard::Late | Hazard::Stalled)
    }

    /// Whether it can happen to this operation.
    fn fits(self, operation: &str) -> bool {
        let sends = matches!(operation, "PutObject" | "UploadPart");
        let lists = operation == "ListObjectsV2";
        match self {
            Hazard::ErrorIn200 => matches!(operation, "CompleteMultipartUpload" | "CopyObject" | "UploadPartCopy" | "ListObjectsV2"),
            Hazard::RequestCut | Hazard::FlippedOnTheWay => sends,
            Hazard::CopyRefused => matches!(operation, "CopyObject" | "UploadPartCopy"),
            Hazard::Truncated | Hazard::Reset => operation == "GetObject" || lists,
            // A listing carries no digest: what changes its bytes without breaking it is another listing.
            Hazard::Shortened | Hazard::Extended | Hazard::Flipped | Hazard::Swapped | Hazard::Unframed => operation == "GetObject",
            Hazard::Lagging
            | Hazard::SmallPages
            | Hazard::PageRepeated
            | Hazard::TokenMissing
            | Hazard::TailMissing
            | Hazard::KeyTwice
            | Hazard::WrongOrder => lists,
            _ => true,
        }
    }

    fn action(self, draw: &mut Draw) -> Action {
        let place = draw.below(1 << 32);
        match self {
            Hazard::Refused => match draw.below(6) {
                0 => Action::Status(500, "InternalError"),
                1 => Action::Status(502, "BadGateway"),
                2 => Action::Status(503, "SlowDown"),
                3 => Action::Status(429, "TooManyRequests"),
                4 => Action::Status(408, "RequestTimeout"),
                _ => Action::Status(400, "RequestTimeout"),
            },
            Hazard::Throttled if draw.below(2) == 0 => Action::StatusAfter(429, "TooManyRequests", draw.below(8)),
            Hazard::Throttled => Action::StatusAfter(503, "SlowDown", draw.below(8)),
            Hazard::Skewed => Action::Status(403, "RequestTimeTooSkewed"),
            Hazard::Denied => Action::Status(403, "AccessDenied"),
            Hazard::ErrorIn200 if draw.below(2) == 0 => Action::Ok200Error("SlowDown"),
            Hazard::ErrorIn200 => Action::Ok200Error("InternalError"),
            Hazard::Dropped => Action::DropConnection,
            Hazard::RequestCut => Action::CutRequest(place),
            Hazard::AnswerLost => Action::DropAnswer,
            Hazard::Late => Action::Delay(Duration::from_secs(40 + draw.below(30))),
            Hazard::Stalled => Action::Stall(Duration::from_secs(35 + draw.below(60))),
            Hazard::Slow => Action::Stall(Duration::from_secs(1 + draw.below(25))),
            Hazard::Truncated => Action::Truncate(place),
            Hazard::Reset => Action::Reset(place),
            Hazard::Shortened => Action::Shorten(place),
            Hazard::Unframed => Action::Unframed(place),
            Hazard::Extended => Action::Extend(1 + draw.below(100)),
            Hazard::Flipped => Action::FlipByte(place),
            Hazard::Swapped => Action::Swap,
            Hazard::FlippedOnTheWay => Action::FlipRequest(place),
            Hazard::Lagging => Action::List(Oddity::Lag(1 + draw.below(6))),
            Hazard::SmallPages => Action::List(Oddity::Pages(1 + draw.below(3))),
            Hazard::PageRepeated => Action::List(Oddity::RepeatPage),
            Hazard::TokenMissing => Action::List(Oddity::NoToken),
            Hazard::TailMissing => Action::List(Oddity::NoTail),
            Hazard::KeyTwice => Action::List(Oddity::Twice),
            Hazard::WrongOrder => Action::List(Oddity::Backwards),
            Hazard::CopyRefused => match draw.below(4) {
                0 => Action::Status(403, "AccessDenied"),
                1 => Action::Status(400, "InvalidRequest"),
                2 => Action::Status(400, "EntityTooLarge"),
                _ => Action::Status(400, "KeyTooLongError"),
            },
        }
    }
}

/// What to draw from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Decides everything.
    pub seed: u64,
    /// Of a thousand requests so many go wrong.
    pub per_mille: u64,
    /// What may happen; each of those that fit a request is as likely as the others.
    pub hazards: Vec<Hazard>,
    /// Hazards that leave keys, and prefixes of listings, that contain this alone.
    pub spares: Vec<(Hazard, &'static str)>,
}

/// A request that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// How.
    pub hazard: Hazard,
    /// Which operation.
    pub operation: &'static str,
    /// On which key; of a listing, which prefix.
    pub key: String,
    /// There were no bytes to change: nothing happened.
    pub missed: bool,
}

/// A storm under way.
#[derive(Debug)]
pub(super) struct Raging {
    storm: Storm,
    asked: HashMap<(&'static str, String), u64>,
    pub(super) hits: Vec<Hit>,
}

impl Raging {
    pub(super) fn new(storm: Storm) -> Raging {
        Raging { storm, asked: HashMap::new(), hits: Vec::new() }
    }

    /// What happens to this request, and which hit it is.
    pub(super) fn next(&mut self, operation: &'static str, key: &str) -> Option<(Action, usize)> {
        let asked = self.asked.entry((operation, class(key).to_owned())).or_default();
        let mut draw = Draw::new(self.storm.seed, &[operation.as_bytes(), class(key).as_bytes(), &asked.to_le_bytes()]);
        *asked += 1;
        if draw.below(1000) >= self.storm.per_mille {
            return None;
        }
        let spared = |hazard: Hazard| self.storm.spares.iter().any(|(spared, part)| *spared == hazard && key.contains(part));
        let fit: Vec<Hazard> = self.storm.hazards.iter().copied().filter(|hazard| hazard.fits(operation) && !spared(*hazard)).collect();
        let hazard = *fit.get(usize::try_from(draw.below(fit.len().max(1) as u64)).unwrap_or(0))?;
        self.hits.push(Hit { hazard, operation, key: key.to_owned(), missed: false });
        Some((hazard.action(&mut draw), self.hits.len() - 1))
    }
}

/// Names that clients draw at random count as one.
fn class(key: &str) -> &str {
    match key.find(".lsync/") {
        Some(at) => {
            let rest = &key[at + ".lsync/".len()..];
            rest.find(['/', '-']).map_or(key, |end| &key[..at + ".lsync/".len() + end])
        }
        None => key,
    }
}

/// Numbers that follow from what they are drawn for (splitmix64 over FNV-1a).
struct Draw(u64);

impl Draw {
    fn new(seed: u64, about: &[&[u8]]) -> Draw {
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for piece in about {
            for byte in piece.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        Draw(hash)
    }

    /// The next number, below `end`; 0 when `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(end).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(seed: u64, per_mille: u64) -> Raging {
        Raging::new(Storm { seed, per_mille, hazards: Hazard::ALL.to_vec(), spares: vec![(Hazard::TailMissing, "manifests/")] })
    }

    #[test]
    fn the_same_seed_and_the_same_requests_meet_the_same_faults_in_any_order() {
        let asked = |order: &[(&'static str, &'static str)]| {
            let mut storm = storm(7, 500);
            let mut met: Vec<_> =
                order.iter().map(|(operation, key)| (*operation, *key, storm.next(operation, key).map(|(action, _)| action))).collect();
            met.sort_by_key(|(operation, key, _)| (*operation, *key));
            met
        };
        let requests = [("PutObject", "a"), ("PutObject", "b"), ("GetObject", "a"), ("ListObjectsV2", ""), ("PutObject", "a")];
        let mut others = requests;
        others.swap(1, 3);
        assert_eq!(asked(&requests), asked(&others));
    }

    #[test]
    fn names_drawn_at_random_count_as_one() {
        for (key, expected) in [
            ("a/b-c", "a/b-c"),
            (".lsync/manifests/0000000001-ab", ".lsync/manifests"),
            ("p/.lsync/probe-77", "p/.lsync/probe"),
            (".lsync/x", ".lsync/x"),
        ] {
            assert_eq!(class(key), expected);
        }
    }

    #[test]
    fn every_hazard_comes_up_where_it_fits_and_in_its_share() {
        let mut storm = storm(1, 250);
        let mut hit = 0;
        for n in 0..10_000 {
            for operation in ["PutObject", "GetObject", "ListObjectsV2", "CompleteMultipartUpload"] {
                hit += u32::from(storm.next(operation, &format!("k{}", n % 7)).is_some());
            }
        }
        assert!((9_000..11_000).contains(&hit), "{hit} of 40000");
        for hazard in Hazard::ALL {
            assert!(storm.hits.iter().any(|hit| hit.hazard == hazard), "{hazard:?} never happens");
        }
        assert!(storm.hits.iter().all(|hit| hit.hazard.fits(hit.operation)));
        for _ in 0..1000 {
            storm.next("ListObjectsV2", ".lsync/manifests/");
        }
        assert!(!storm.hits.iter().any(|hit| hit.hazard == Hazard::TailMissing && hit.key.contains("manifests/")));
    }
}
