//! Values that are written as short text, in the configuration and in flags: sizes, limits, ages. Pure.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

/// What bounds all buffers in flight when nothing else is said.
pub const DEFAULT_MAX_MEMORY_BYTES: u64 = 256 << 20;

/// Text that is not what a key or a flag takes; says what it takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub(super) String);

/// How many transfers run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jobs {
    /// As many as the run finds useful.
    #[default]
    Auto,
    /// This many, at most 512.
    Count(NonZeroUsize),
}

/// How many paths a run may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At most this many paths.
    Count(u64),
    /// At most this share of the destination's paths in scope, 0 to 100.
    Percent(u8),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Count(n) => write!(f, "{n}"),
            Limit::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl std::fmt::Display for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Jobs::Auto => f.write_str("auto"),
            Jobs::Count(n) => write!(f, "{n}"),
        }
    }
}

/// Which links a download restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Those whose target, taken lexically, stays in the mount.
    #[default]
    Inside,
    /// All.
    Any,
}

/// What an upload does with new files that may hold keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// They wait until a person says so.
    #[default]
    Ask,
    /// They travel like all others.
    Allow,
}

/// How long and how much the trash holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trash {
    /// Operations older than this many seconds go.
    pub age_seconds: u64,
    /// Oldest operations go first while the trash holds more than this share of the file system (0.1 is 10 %).
    pub share: f64,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit::Percent(50)
    }
}

impl Default for Trash {
    fn default() -> Trash {
        Trash { age_seconds: 7 * 86_400, share: 0.1 }
    }
}

impl FromStr for Jobs {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Jobs, BadValue> {
        if text == "auto" {
            return Ok(Jobs::Auto);
        }
        let count = text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= 512);
        count.map(Jobs::Count).ok_or_else(|| BadValue("expected \"auto\" or a number from 1 to 512".into()))
    }
}

impl FromStr for Limit {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Limit, BadValue> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse().ok().filter(|p| *p <= 100).map(Limit::Percent),
            None => text.parse().ok().map(Limit::Count),
        };
        limit.ok_or_else(|| BadValue("expected a number of paths (100) or a share from 0% to 100%".into()))
    }
}

impl FromStr for Links {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Links, BadValue> {
        match text {
            "inside" => Ok(Links::Inside),
            "any" => Ok(Links::Any),
            _ => Err(BadValue("expected \"inside\" or \"any\"".into())),
        }
    }
}

impl FromStr for Keys {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Keys, BadValue> {
        match text {
            "ask" => Ok(Keys::Ask),
            "allow" => Ok(Keys::Allow),
            _ => Err(BadValue("expected \"ask\" or \"allow\"".into())),
        }
    }
}

impl FromStr for Trash {
    type Err = BadValue;

    /// An age (`12h`, `7d`, `2w`), a share (`10%`), or both; what is left out keeps its default.
    fn from_str(text: &str) -> Result<Trash, BadValue> {
        let bad = || BadValue("expected an age and a share of the filesystem, like \"7d 10%\"".into());
        let (mut age, mut share) = (None, None);
        for word in text.split_whitespace() {
            match word.strip_suffix('%') {
                Some(percent) if share.is_none() => {
                    let percent: f64 = percent.parse().map_err(|_| bad())?;
                    share = Some(percent / 100.0).filter(|s| (0.0..=1.0).contains(s));
                    share.ok_or_else(bad)?;
                }
                None if age.is_none() => age = Some(parse_age(word).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        if age.is_none() && share.is_none() {
            return Err(bad());
        }
        let default = Trash::default();
        Ok(Trash { age_seconds: age.unwrap_or(default.age_seconds), share: share.unwrap_or(default.share) })
    }
}

fn parse_age(text: &str) -> Option<u64> {
    seconds(text, &[("h", 3600), ("d", 86_400), ("w", 7 * 86_400)])
}

fn seconds(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (_, seconds) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
    text[..digits].parse::<u64>().ok()?.checked_mul(*seconds)
}

/// Reads a length of time: `30s`, `5m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, BadValue> {
    let seconds = seconds(text.trim(), &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]);
    seconds.map(Duration::from_secs).ok_or_else(|| BadValue("expected a length of time, like 30s, 5m, 2h or 1d".into()))
}

/// Reads a size in bytes: `1048576`, `512K`, `10M`, `1.5 MiB`, `2 GB`. `K`, `M`, `G`, `T` and `KiB`, … count in 1024; `KB`, … in 1000.
pub fn parse_bytes(text: &str) -> Result<u64, BadValue> {
    let bad = || BadValue("expected a size, like 512K, 10M or \"1.5 GiB\"".into());
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = text[end..].trim_start().to_ascii_lowercase();
    let (letter, base) = match unit.strip_suffix("ib") {
        Some(letter) if !letter.is_empty() => (letter, 1024_u64),
        _ => match unit.strip_suffix('b') {
            Some("") => ("", 1),
            Some(letter) => (letter, 1000),
            None => (unit.as_str(), 1024),
        },
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == letter).ok_or_else(bad)?;
    let scale = base.pow(u32::try_from(power).map_err(|_| bad())?);
    if let Ok(whole) = text[..end].parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(bad);
    }
    // Only fractions take the way through floating point, where whole numbers above 2^53 would be rounded.
    let number: f64 = text[..end].parse().map_err(|_| bad())?;
    let bytes = number * scale as f64;
    if bytes.is_finite() && (0.0..9.0e15).contains(&bytes) { Ok(bytes.round() as u64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(text: &str, expected: u64) {
        assert_eq!(parse_bytes(text), Ok(expected), "{text:?}");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        bytes("0", 0);
        bytes("1048576", 1 << 20);
        bytes("512K", 512 << 10);
        bytes("10M", 10 << 20);
        bytes("1.5 MiB", 3 << 19);
        bytes("256 MiB", 256 << 20);
        bytes("2gb", 2_000_000_000);
        bytes("7 B", 7);
        bytes("1T", 1 << 40);
        bytes("18446744073709551615", u64::MAX);
        for bad in ["", "M", "1.2.3M", "-1", "10X", "1 iB", "99999999999T", "1e3", "ten"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_are_counts_or_shares() {
        assert_eq!("10".parse(), Ok(Limit::Count(10)));
        assert_eq!("0".parse(), Ok(Limit::Count(0)));
        assert_eq!("50%".parse(), Ok(Limit::Percent(50)));
        for bad in ["101%", "-1", "", "%", "5.5%", "all"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn jobs_are_auto_or_a_sane_number() {
        assert_eq!("auto".parse(), Ok(Jobs::Auto));
        assert_eq!("8".parse().ok(), NonZeroUsize::new(8).map(Jobs::Count));
        for bad in ["0", "-1", "513", "many"] {
            assert!(bad.parse::<Jobs>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, expected) in [("0s", 0), ("30s", 30), ("5m", 300), (" 2h", 7200), ("1d", 86_400)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(expected)), "{text:?}");
        }
        for bad in ["", "30", "s", "-1s", "1.5h", "2w", "99999999999999999999s", "999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_trash_takes_an_age_a_share_or_both() {
        assert_eq!("7d 10%".parse(), Ok(Trash::default()));
        assert_eq!("10% 7d".parse(), Ok(Trash::default()));
        assert_eq!("12h".parse(), Ok(Trash { age_seconds: 12 * 3600, share: 0.1 }));
        assert_eq!("5%".parse(), Ok(Trash { age_seconds: 7 * 86_400, share: 0.05 }));
        for bad in ["", "7", "7x", "1d 2d", "120%", "d", "-1%"] {
            assert!(bad.parse::<Trash>().is_err(), "{bad:?}");
        }
    }
}
