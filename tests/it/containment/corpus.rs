//! Keys that an evil or careless writer may put into a bucket: 500 of them and more, made from few parts. Judges none of them.

use std::collections::BTreeSet;

/// Segments that mean something to somebody: a file system, a shell, a terminal, a URL, a tool, Windows.
fn segments() -> Vec<String> {
    let long = [254, 255, 256, 300].map(|bytes| "n".repeat(bytes));
    let wide = ["\u{e9}".repeat(127), "\u{e9}".repeat(128), "\u{1f600}".repeat(63), "\u{1f600}".repeat(64)];
    let plain = [
        "",
        ".",
        "..",
        "...",
        "....",
        "~",
        "~root",
        "-",
        "-rf",
        "--",
        " ",
        "  ",
        "a ",
        " a",
        "a.",
        "a..",
        ".a",
        "\t",
        "a\tb",
        "\n",
        "a\nb",
        "\r",
        "\r\n",
        "\u{1}",
        "\u{7}",
        "\u{8}",
        "\u{b}",
        "\u{1b}[2J",
        "\u{1b}]0;owned\u{7}",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{80}",
        "\u{9b}31m",
        "\u{85}",
        "\u{a0}",
        "\u{ad}",
        "\u{200b}",
        "\u{200e}",
        "\u{202e}gpj.exe",
        "\u{2066}x\u{2069}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{10ffff}",
        "e\u{301}",
        "\u{e9}",
        "\u{2024}\u{2024}",
        "\u{ff0e}\u{ff0e}",
        "\u{2215}etc",
        "\u{ff0f}etc",
        "\\",
        "\\\\",
        "..\\",
        "..\\..\\x",
        "C:",
        "C:\\x",
        "CON",
        "nul.txt",
        "a:b",
        "a?b",
        "a*b",
        "a|b",
        "a<b>",
        "\"",
        "'",
        "`id`",
        "$(id)",
        "$HOME",
        "${HOME}",
        ";id",
        "&",
        "|id",
        ">x",
        "!",
        "!x",
        "#",
        "#x",
        "[a]",
        "{a,b}",
        "%",
        "%%",
        "%2",
        "%zz",
        "%00",
        "%2e",
        "%2E%2E",
        "%2f",
        "%2F..%2Fx",
        "%5c",
        "%c0%af",
        "%c0%ae%c0%ae",
        "%ed%a0%80",
        "%ff",
        "%u002e",
        "+",
        "a+b",
        "a%20b",
        "&amp;",
        "&#46;&#46;",
        "<Key>",
        "]]>",
        "<!--",
        "?x=1",
        "a?versionId=1",
        "a#b",
        ".lsync",
        ".LSYNC",
        ".lsync ",
        ".lsync.",
        "lsync",
        ".git",
        ".syncignore.",
        "sync.toml.",
        "proc",
        "etc",
        "passwd",
        "0",
        "null",
        "undefined",
        "NaN",
        "true",
    ];
    plain.iter().map(|segment| (*segment).to_owned()).chain(long).chain(wide).collect()
}

/// Percent-encoded as a whole, as a URL has it.
fn encoded(key: &str) -> String {
    key.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The keys, each once and none longer than S3 takes. `elsewhere` is an absolute path that must not come to be.
pub(crate) fn keys(elsewhere: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (number, segment) in segments().iter().enumerate() {
        // Not both: a file and a directory of one name are a matter of their own.
        keys.insert(if number % 2 == 0 { segment.clone() } else { format!("{segment}/f") });
        keys.extend([format!("d{number}/{segment}"), format!("e{number}/{segment}/f"), format!("f{number}/x/../{segment}")]);
        keys.extend([encoded(segment), format!("g{number}/{}/f", encoded(segment))]);
    }
    for depth in 1..12 {
        keys.insert(format!("{}up", "../".repeat(depth)));
        keys.insert(format!("deep/{}up", "../".repeat(depth)));
        keys.insert(format!("{}{elsewhere}", "../".repeat(depth)));
        keys.insert(format!("{}.lsync/planted", "sub/".repeat(depth)));
    }
    keys.extend([elsewhere.to_owned(), format!("/{elsewhere}"), encoded(elsewhere), format!("x/{elsewhere}"), format!("./{elsewhere}")]);
    keys.extend([".lsync/lock", ".lsync/state-x", ".lsync/../planted", "./.lsync/x", ".lsync/", "x/.lsync/../../y"].map(String::from));
    // A file where others need a directory, at three depths.
    keys.extend(["a", "a/b", "a/b/c", "p/q/r", "p/q", "p/q/r/s", "end/", "end//", "//", "/"].map(String::from));
    keys.insert("s/".repeat(500) + "x");
    keys.insert("k".repeat(200) + "/" + &"k".repeat(255) + "/" + &"k".repeat(255) + "/" + &"k".repeat(255));
    keys.retain(|key| !key.is_empty() && key.len() <= 1024);
    keys
}
