//! Keys and paths: no key leads out of the mount, every path leads back to its key, and no two keys lead to one path.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use lsync::digest::ETag;
use lsync::entry::Kind;
use lsync::filter::{Filter, Patterns};
use lsync::path::Prefix;
use lsync::view::{self, Listed, Remembered};

fuzz_target!(|input: (Vec<(String, bool)>, String)| {
    let (mut keys, prefix) = input;
    if let Ok(prefix) = Prefix::new(&prefix) {
        let text = prefix.as_str();
        assert!(text.is_empty() || text.ends_with('/') && !text.starts_with('/'));
        assert!(text.split('/').all(|segment| segment != ".." && segment != "."));
    }
    keys.sort();
    keys.dedup_by(|a, b| a.0 == b.0);
    let listing: Vec<Listed> = keys
        .iter()
        .map(|(key, empty)| Listed { key: key.clone(), size: u64::from(!empty), etag: ETag::parse("\"e\""), last_modified: 0 })
        .collect();
    let filter = Filter::new(&Patterns::default()).expect("there are no patterns");
    let view = view::read(&listing, &|_| Remembered::default(), &mut std::iter::empty(), &|path, is_dir| Some(filter.scope(path, is_dir)));
    for pair in view.entries.windows(2) {
        assert!(pair[0].0 < pair[1].0, "two keys lead to {}", pair[0].0);
    }
    for (path, remote) in &view.entries {
        let text = path.as_str();
        assert!(!path.is_reserved() && text.len() == text.trim_matches('/').len());
        assert!(Path::new(text).components().all(|part| matches!(part, Component::Normal(_))), "{text:?} leads elsewhere");
        let joined = Path::new("mount").join(text);
        assert_eq!(joined.as_os_str().to_str().and_then(|joined| joined.strip_prefix("mount/")), Some(text), "it is itself below the mount");
        let key = if remote.entry.kind == Kind::Dir { format!("{text}/") } else { text.to_owned() };
        assert!(keys.iter().any(|(known, _)| *known == key), "{key:?} is no key that was listed");
    }
});
