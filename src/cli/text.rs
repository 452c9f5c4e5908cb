//! Numbers and names as a person reads them. Pure.

/// `0 B`, `999 B`, `4.0 KiB`, `1.2 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `12,345 files`.
pub(crate) fn files(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "file" } else { "files" })
}

/// `45 s`, `3 min`, `2 h 10 min`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=1 => "1 s".into(),
        2..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The text cut to `width` columns with `…` in its middle, so that both ends of a path stay readable.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if console::measure_text_width(text) <= width || width < 5 {
        return text.to_owned();
    }
    let (mut head, mut tail) = (String::new(), String::new());
    let (mut from, mut to) = (0, chars.len());
    while from < to {
        let (next, at_head) = if head.len() <= tail.len() { (chars[from], true) } else { (chars[to - 1], false) };
        let used = console::measure_text_width(&head) + console::measure_text_width(&tail) + 1;
        if used + console::measure_text_width(&next.to_string()) > width {
            break;
        }
        if at_head {
            head.push(next);
            from += 1;
        } else {
            tail.insert(0, next);
            to -= 1;
        }
    }
    format!("{head}…{tail}")
}

/// A word as a shell reads it back.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c));
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
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!((files(1), files(2)), ("1 file".into(), "2 files".into()));
        for (s, text) in [(0, "1 s"), (59, "59 s"), (120, "2 min"), (7_800, "2 h 10 min")] {
            assert_eq!(duration(s), text);
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fit("checkpoints/run-1/last.pt", 12), "checkp…st.pt");
        assert_eq!(fit("short", 12), "short");
        assert!(console::measure_text_width(&fit("日本語の長い名前のファイル", 11)) <= 11);
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("data/a.npy"), "data/a.npy");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word("*.tmp"), "'*.tmp'");
    }
}
