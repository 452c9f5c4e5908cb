//! One page of a listing from an ordered map of keys: prefix, delimiter, start, limit, and the encodings of keys and tokens. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

use data_encoding::BASE64URL_NOPAD;

/// What a page is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Query<'a> {
    /// Only keys that start with this.
    pub(super) prefix: &'a str,
    /// Keys that contain this after the prefix are rolled up to one common prefix each; empty: none are.
    pub(super) delimiter: &'a str,
    /// Only what comes after this key or common prefix.
    pub(super) after: Option<&'a str>,
    /// At most this many keys and common prefixes together.
    pub(super) max: usize,
}

/// Keys and common prefixes, each in byte order.
#[derive(Debug)]
pub(super) struct Page<'a, T> {
    pub(super) keys: Vec<(&'a str, &'a T)>,
    pub(super) prefixes: Vec<&'a str>,
    /// Where the next page begins: the last key or common prefix of this one. `None` when this is the last page.
    pub(super) next: Option<String>,
}

/// One page.
pub(super) fn page<'a, T>(all: &'a BTreeMap<String, T>, query: &Query<'_>) -> Page<'a, T> {
    let mut page = Page { keys: Vec::new(), prefixes: Vec::new(), next: None };
    let mut last = "";
    let mut from = match query.after {
        Some(after) if after >= query.prefix => Bound::Excluded(after.to_owned()),
        _ => Bound::Included(query.prefix.to_owned()),
    };
    if query.max == 0 {
        return page;
    }
    while let Some((key, value)) = all.range::<str, _>((from.as_ref().map(String::as_str), Bound::Unbounded)).next() {
        if !key.starts_with(query.prefix) {
            break;
        }
        let common = common_prefix(key, query);
        if common.is_some_and(|common| query.after == Some(common)) {
            // The page before ended with this common prefix.
            let Some(beyond) = beyond(query.after.unwrap_or_default()) else { break };
            from = Bound::Included(beyond);
            continue;
        }
        if page.keys.len() + page.prefixes.len() == query.max {
            page.next = Some(last.to_owned());
            break;
        }
        if let Some(common) = common {
            page.prefixes.push(common);
            last = common;
            let Some(beyond) = beyond(common) else { break };
            from = Bound::Included(beyond);
        } else {
            page.keys.push((key, value));
            last = key;
            from = Bound::Excluded(key.clone());
        }
    }
    page
}

fn common_prefix<'a>(key: &'a str, query: &Query<'_>) -> Option<&'a str> {
    let start = query.prefix.len();
    let found = if query.delimiter.is_empty() { None } else { key.get(start..)?.find(query.delimiter) };
    key.get(..start + found? + query.delimiter.len())
}

/// The smallest string that is greater than every string with this prefix; `None` when there is none.
fn beyond(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // UTF-8 sorts like code points; the surrogates between U+D7FF and U+E000 are no characters.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// A key as AWS writes it under `encoding-type=url`: a space is `+`, and `/ * - . _` stay. Measured on AWS by others
/// (<https://github.com/brekkylab/backlot/issues/178>); it is Java's form encoding with `/` kept.
pub(super) fn url_encode(key: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}

/// A continuation token: opaque to clients, and safe in XML whatever the key contains.
pub(super) fn token(next: &str) -> String {
    BASE64URL_NOPAD.encode(next.as_bytes())
}

/// Reads [`token`]; `None` for a token that this server did not make.
pub(super) fn from_token(token: &str) -> Option<String> {
    String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists in pages of every size and returns what all pages together say, common prefixes in `<>`.
    #[track_caller]
    fn check(keys: &[&str], prefix: &str, delimiter: &str, after: Option<&str>, expected: &[&str]) {
        let all: BTreeMap<String, ()> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        for max in 1..=keys.len() + 1 {
            let mut got = Vec::new();
            let mut after = after.map(str::to_owned);
            loop {
                let page = page(&all, &Query { prefix, delimiter, after: after.as_deref(), max });
                let mut here: Vec<(String, String)> = page.keys.iter().map(|(key, ())| ((*key).to_owned(), (*key).to_owned())).collect();
                here.extend(page.prefixes.iter().map(|prefix| ((*prefix).to_owned(), format!("<{prefix}>"))));
                here.sort();
                assert!(here.len() <= max);
                got.extend(here.into_iter().map(|(_, shown)| shown));
                let Some(next) = page.next else { break };
                after = from_token(&token(&next));
                assert_eq!(after, Some(next));
            }
            assert_eq!(got, expected, "in pages of {max}");
        }
    }

    #[test]
    fn keys_come_in_byte_order_in_pages_of_any_size() {
        check(&["a/b", "a-b", "aB", "a", "a\u{1F600}", "a\u{FFFD}"], "", "", None, &["a", "a-b", "a/b", "aB", "a\u{FFFD}", "a\u{1F600}"]);
        check(&["a", "b", "c"], "", "", Some("a"), &["b", "c"]);
        check(&["a", "b", "c"], "", "", Some("aa"), &["b", "c"]);
        check(&["p/a", "p/b", "q"], "p/", "", Some("a"), &["p/a", "p/b"]);
        check(&["p/a", "p/b", "q"], "p/", "", Some("z"), &[]);
        check(&["pre/abc", "pre/abd", "pre/b"], "pre/ab", "", None, &["pre/abc", "pre/abd"]);
        check(&[], "", "/", None, &[]);
    }

    #[test]
    fn a_delimiter_rolls_up() {
        let keys = ["d", "d/x/1", "d/x/2", "d/y/1", "d/z", "e/1"];
        check(&keys, "", "/", None, &["d", "<d/>", "<e/>"]);
        check(&keys, "d/", "/", None, &["<d/x/>", "<d/y/>", "d/z"]);
        check(&keys, "d/", "/", Some("d/x/"), &["<d/y/>", "d/z"]);
        check(&keys, "d/", "/", Some("d/x/1"), &["<d/x/>", "<d/y/>", "d/z"]);
        check(&["a::b::c", "a::d", "a:e"], "", "::", None, &["<a::>", "a:e"]);
        check(&["a\u{10FFFF}b", "a\u{10FFFF}c", "b"], "", "\u{10FFFF}", None, &["<a\u{10FFFF}>", "b"]);
        check(&["/", "//", "a"], "", "/", None, &["</>", "a"]);
    }

    #[test]
    fn a_page_of_nothing_is_the_last_page() {
        let all = BTreeMap::from([("a".to_owned(), ())]);
        let page = page(&all, &Query { max: 0, ..Query::default() });
        assert!(page.keys.is_empty() && page.next.is_none());
    }

    #[test]
    fn keys_are_encoded_like_aws_does() {
        assert_eq!(url_encode("run books/a+b.txt"), "run+books/a%2Bb.txt");
        assert_eq!(url_encode("100%.csv"), "100%25.csv");
        assert_eq!(url_encode("한/x\u{1}\n*~"), "%ED%95%9C/x%01%0A*%7E");
    }

    #[test]
    fn beyond_a_prefix() {
        assert_eq!(beyond("a/").as_deref(), Some("a0"));
        assert_eq!(beyond("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(beyond("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(beyond("\u{10FFFF}"), None);
        assert_eq!(beyond(""), None);
    }
}
