//! Ignore rules: any lines compile or are an error, what is reserved stays reserved, what lies in an ignored directory is ignored, and the
//! line that a message gives for a path leaves out that path and no other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::filter::{Filter, Patterns, Scope};
use lsync::path::RelPath;
use lsync::problem::exclude_line;

thread_local! {
    static DEFAULTS: Filter = Filter::new(&Patterns::default()).expect("there are no patterns");
}

fuzz_target!(|bytes: &[u8]| {
    let texts = lsync_fuzz::texts(bytes);
    let Ok(path) = RelPath::new(&texts[0]) else { return };
    let lines = |at: usize| texts.get(at).into_iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    if texts.len() == 1 {
        check_exclude_line(&path);
        return;
    }
    let Ok(mut filter) = Filter::new(&Patterns { exclude: lines(1), include: lines(2), ..Patterns::default() }) else { return };
    for (dir, text) in ["", path.parent().unwrap_or_default()].into_iter().zip(texts.iter().skip(3)) {
        let _ = filter.add_syncignore(dir, text);
    }
    let scope = filter.scope(&path, false);
    assert_eq!(path.is_reserved(), scope == Scope::Reserved);
    for dir in path.ancestors() {
        let dir = RelPath::new(dir).expect("what is above a path is a path");
        let above = filter.scope(&dir, true);
        assert!(above == Scope::In || scope != Scope::In, "{path} is in scope below {dir}, which is {above:?}");
    }
});

/// The line that a message gives for a path leaves out this path and no other.
fn check_exclude_line(path: &RelPath) {
    DEFAULTS.with(|defaults| {
        if defaults.scope(path, false) != Scope::In {
            return;
        }
        let exclude = vec![exclude_line(path.as_str())];
        let without = Filter::new(&Patterns { exclude, ..Patterns::default() }).expect("the line that a message gives is a pattern");
        assert_eq!(without.scope(path, false), Scope::Ignored, "{path} is not left out");
        let (longer, deeper) = (format!("{}x", path.as_str()), format!("x/{}", path.as_str()));
        for other in [longer, deeper].iter().filter_map(|text| RelPath::new(text).ok()).filter(|other| !other.is_at_or_below(path.as_str()))
        {
            assert_eq!(without.scope(&other, false), defaults.scope(&other, false), "{other} is left out with {path}");
        }
    });
}
