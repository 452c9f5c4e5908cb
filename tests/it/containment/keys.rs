//! The corpus, served by a bucket: each key comes down exactly, or is told with its reason; nothing comes to lie anywhere else, and
//! nothing that a terminal would obey is printed.

use std::collections::{BTreeMap, BTreeSet};

use lsync::path::RelPath;
use serde_json::json;

use super::corpus::keys;
use super::{Outside, all, files};
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::report::report;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// Problems by name, with their reasons.
fn problems(ran: &Ran) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let lines = ran.json().into_iter().filter(|line| line["type"] == "problem");
    lines.map(|line| (text(&line["path"]), text(&line["why"]))).collect()
}

/// True when a key belongs to lsync itself, which neither brings nor tells it.
fn reserved(key: &str) -> bool {
    key.split('/').any(|segment| segment == ".lsync")
}

#[track_caller]
fn safe_to_show(ran: &Ran) {
    let unsafe_to_show = |c: char| {
        c.is_control() && c != '\n' || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    for text in [&ran.stdout, &ran.stderr] {
        let bad: Vec<&str> = text.lines().filter(|line| line.contains(unsafe_to_show)).collect();
        assert!(bad.is_empty() && !text.contains('\r'), "{bad:?}");
    }
}

#[test]
fn hostile_keys_come_down_exactly_or_are_told_with_a_reason() {
    let (mount, s3) = (Mount::new(), S3::start());
    let elsewhere = mount.home().join("planted");
    let outside = Outside::beside(&mount, &["etc"]);
    let keys = keys(elsewhere.to_str().expect("UTF-8"));
    assert!(keys.len() >= 500, "{}", keys.len());
    for key in &keys {
        s3.put(key, format!("content of {key}"));
    }
    let around = || {
        let top = mount.mounts().parent().expect("the test's own directory").to_owned();
        let inside = mount.root().strip_prefix(&top).expect("it lies there").to_string_lossy().into_owned() + "/";
        // Directories in which lsync makes the mount's own have other times, which a tree does not tell.
        all(&top).into_iter().map(|node| node.path).filter(|path| !path.starts_with(&inside)).collect::<BTreeSet<_>>()
    };
    let before = around();
    let ran = lsync(&mount, &s3, "download --yes --json").run().expect(3);
    let (first, there) = (problems(&ran), files(&mount));
    let mut counts = (0_u32, 0_u32, 0_u32);
    for key in &keys {
        let told = first.get(key).is_some_and(|why| !why.is_empty());
        let told_above = RelPath::new(key).is_ok_and(|path| path.ancestors().any(|above| first.contains_key(above)));
        match there.get(key) {
            Some(content) => {
                assert!(!told && !told_above && !reserved(key), "{key:?}");
                assert_eq!(content, format!("content of {key}").as_bytes(), "{key:?}");
                counts.0 += 1;
            }
            None if reserved(key) => counts.2 += 1,
            None => {
                let of_it = || ran.json().into_iter().filter(|line| line["path"] == key.as_str()).collect::<Vec<_>>();
                assert!(told || told_above, "{key:?} is neither there nor told: {:?}", of_it());
                counts.1 += 1;
            }
        }
    }
    let strangers: Vec<&String> = there.keys().filter(|path| !keys.contains(*path)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    // The mount is no place for what nobody asked for, and lsync's own directory holds its own things alone.
    assert_eq!(mount.left_behind(), Vec::<String>::new());
    assert_eq!((around(), elsewhere.exists()), (before.clone(), false));
    outside.is_untouched();
    let (came, told, own) = counts;
    report("hostile-keys", &json!({ "keys": keys.len(), "came": came, "told": told, "lsyncs_own": own, "elsewhere": 0 }));
    assert!(came > 400 && told > 100 && own > 10, "{counts:?}");

    let ran = lsync(&mount, &s3, "download --yes --overwrite --delete --json").run().expect(3);
    assert_eq!((problems(&ran), files(&mount)), (first, there), "a second run finds the same");
    for line in ["status -vv", "download -n -v --overwrite --delete", "upload --yes --delete -vv"] {
        safe_to_show(&lsync(&mount, &s3, line).run());
    }
    safe_to_show(&lsync(&Mount::new(), &s3, "download --yes -vv").run().expect(3));
    assert_eq!(keys.iter().filter(|key| s3.content(key) != format!("content of {key}").as_bytes()).count(), 0);
    assert_eq!((around(), elsewhere.exists()), (before, false));
    outside.is_untouched();
}
