//! Ignore rules: any lines compile or are an error, what is reserved stays reserved, and what lies in an ignored directory is ignored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::filter::{Filter, Patterns, Scope};
use lsync::path::RelPath;

fuzz_target!(|input: (Vec<String>, Vec<String>, String, String)| {
    let (exclude, include, syncignore, path) = input;
    let Ok(mut filter) = Filter::new(&Patterns { exclude, include, ..Patterns::default() }) else { return };
    let Ok(path) = RelPath::new(&path) else { return };
    let _ = filter.add_syncignore("", &syncignore);
    let _ = filter.add_syncignore(path.parent().unwrap_or_default(), &syncignore);
    let scope = filter.scope(&path, false);
    assert_eq!(path.is_reserved(), scope == Scope::Reserved);
    for dir in path.ancestors() {
        let dir = RelPath::new(dir).expect("what is above a path is a path");
        let above = filter.scope(&dir, true);
        assert!(above == Scope::In || scope != Scope::In, "{path} is in scope below {dir}, which is {above:?}");
    }
});
