//! Numbers, times and names as a person reads them. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use console::measure_text_width;
use lsync::entry::Nanos;
use lsync::local::lock::clock_text;
use lsync::path::Shown;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// The unit that a number of bytes is told in, and how many bytes it has.
fn unit(n: u64) -> (&'static str, f64) {
    let (mut at, mut size) = (0, 1.0);
    while n as f64 / size >= 1023.95 && at + 1 < UNITS.len() {
        size *= 1024.0;
        at += 1;
    }
    (UNITS[at], size)
}

/// `0 B`, `999 B`, `4.0 KiB`, `1.2 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    let (name, size) = unit(n);
    if name == "B" { format!("{n} B") } else { format!("{:.1} {name}", n as f64 / size) }
}

/// `0.5 of 1.2 GiB`: both in the unit of the second, padded so that it does not jump while the first grows.
pub(crate) fn bytes_of(done: u64, total: u64) -> String {
    let (name, size) = unit(total);
    let digits = if name == "B" { 0 } else { 1 };
    let total = format!("{:.digits$}", total as f64 / size);
    format!("{:>width$.digits$} of {total} {name}", done as f64 / size, width = total.len())
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `12,345 files`: the noun takes an `s` unless there is exactly one.
pub(crate) fn some(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `1 file`, `12,345 files`.
pub(crate) fn files(n: u64) -> String {
    some(n, "file")
}

/// `1 item`, `12,345 items`: files, links and empty directories.
pub(crate) fn items(n: u64) -> String {
    some(n, "item")
}

/// `45 s`, `3 min`, `2 h 10 min`, `3 days 4 h`.
pub(crate) fn duration(seconds: u64) -> String {
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..=1 => "1 s".into(),
        2..=89 => format!("{seconds} s"),
        90..=3569 => format!("{minutes} min"),
        3570..=172_769 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

/// A time, and how long ago that was: `2026-10-02 14:03:22 UTC (3 h ago)`.
pub(crate) fn when(time: Nanos, now: Nanos) -> String {
    let seconds = now.saturating_sub(time) / 1_000_000_000;
    let ago = match u64::try_from(seconds) {
        // The other host's clock may be ahead of ours: then nothing is said.
        Err(_) => return clock_text(time),
        Ok(0..60) => "just now".into(),
        Ok(s @ 60..3600) => format!("{} min ago", s / 60),
        Ok(s @ 3600..172_800) => format!("{} h ago", s / 3600),
        Ok(s) => format!("{} days ago", s / 86_400),
    };
    format!("{} ({ago})", clock_text(time))
}

/// The text cut to `width` columns with `…` in its middle, so that both ends of a path stay readable.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if measure_text_width(text) <= width || width < 5 {
        return text.to_owned();
    }
    let (mut head, mut tail) = (String::new(), Vec::new());
    let (mut from, mut to) = (0, chars.len());
    let (mut head_width, mut tail_width) = (0, 0);
    while from < to {
        let at_head = head_width <= tail_width;
        let next = if at_head { chars[from] } else { chars[to - 1] };
        let columns = measure_text_width(next.encode_utf8(&mut [0; 4]));
        if head_width + tail_width + 1 + columns > width {
            break;
        }
        if at_head {
            head.push(next);
            head_width += columns;
            from += 1;
        } else {
            tail.push(next);
            tail_width += columns;
            to -= 1;
        }
    }
    format!("{head}…{}", tail.iter().rev().collect::<String>())
}

/// Breaks text between words, so that it stays within `width` columns. The first line starts at column `at`, all others are indented to
/// column `indent`. A word that is longer than a line stays whole, and a number stays with its unit.
pub(crate) fn wrap(text: &str, width: usize, at: usize, indent: usize) -> String {
    let (mut out, mut column, mut fresh) = (String::new(), at, true);
    let mut words = text.split(' ').peekable();
    while let Some(first) = words.next() {
        let mut word = first.to_owned();
        while word.ends_with(|c: char| c.is_ascii_digit())
            && let Some(next) = words.next()
        {
            word = format!("{word} {next}");
        }
        let columns = measure_text_width(&word);
        if !fresh && column + 1 + columns > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            (column, fresh) = (indent, true);
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += columns;
        fresh = false;
    }
    out
}

/// A word as a shell reads it back, safe to show: what a terminal must not see is written as bash's `$'\x1b'`.
pub(crate) fn shell_word(word: impl AsRef<OsStr>) -> String {
    let raw = word.as_ref().as_bytes();
    let Some(text) = std::str::from_utf8(raw).ok().filter(|text| Shown(text).to_string() == **text) else {
        let escaped: String = raw
            .iter()
            .map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                0x20..=0x7e => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect();
        return format!("$'{escaped}'");
    };
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=:,%+@".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (4096, "4.0 KiB"), (1_048_575, "1.0 MiB"), (1 << 30, "1.0 GiB"), (u64::MAX, "16384.0 PiB")];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
        for (done, total, text) in [(0, 5, "0 of 5 B"), (3 << 19, 150 << 20, "  1.5 of 150.0 MiB"), (1 << 30, 1 << 30, "1.0 of 1.0 GiB")] {
            assert_eq!(bytes_of(done, total), text);
        }
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!((files(0), files(1), files(2)), ("0 files".into(), "1 file".into(), "2 files".into()));
    }

    #[test]
    fn times_are_readable() {
        let cases = [(0, "1 s"), (59, "59 s"), (120, "2 min"), (3569, "59 min"), (3570, "1 h 0 min"), (7_800, "2 h 10 min")];
        for (s, text) in cases.into_iter().chain([(172_770, "2 days 0 h"), (270_000, "3 days 3 h")]) {
            assert_eq!(duration(s), text);
        }
        let then = 1_700_000_000_000_000_000;
        for (later, text) in [
            (59, " (just now)"),
            (60, " (1 min ago)"),
            (7_199, " (1 h ago)"),
            (90_000, " (25 h ago)"),
            (200_000, " (2 days ago)"),
            (-1, ""),
        ] {
            assert_eq!(when(then, then + later * 1_000_000_000), format!("2023-11-14 22:13:20 UTC{text}"));
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fit("checkpoints/run-1/last.pt", 12), "checkp…st.pt");
        assert_eq!(fit("short", 12), "short");
        assert_eq!(fit("日本語の長い名前のファイル", 11), "日本語…イル");
        for width in 5..40 {
            assert!(measure_text_width(&fit("日本語/mixed/名前のファイル.with.ascii", width)) <= width);
        }
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two three", 9, 0, 2), "one two\n  three");
        assert_eq!(wrap("one two three", 9, 4, 2), "one\n  two\n  three");
        assert_eq!(wrap("a-word-that-is-too-long b", 9, 0, 2), "a-word-that-is-too-long\n  b");
        assert_eq!(wrap("about 1.5 GiB", 9, 0, 0), "about\n1.5 GiB", "a number stays with its unit");
        assert_eq!(wrap("one two", usize::MAX, 0, 0), "one two");
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, text) in [
            ("data/a.npy", "data/a.npy"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("*.tmp", "'*.tmp'"),
            ("größe.npy", "größe.npy"),
            ("", "''"),
            ("a\u{1b}[31m'b", "$'a\\x1b[31m\\'b'"),
        ] {
            assert_eq!(shell_word(word), text);
        }
        assert_eq!(shell_word(OsStr::from_bytes(b"caf\xe9")), "$'caf\\xe9'");
    }
}
