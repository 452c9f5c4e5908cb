//! Which of two states counts, when one lies in `.lsync/` and another elsewhere because `.lsync/` took none for a while. Pure.

use std::collections::BTreeMap;

use super::state::{Known, State};
use crate::path::RelPath;

/// Which one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// The one in `.lsync/`.
    Home,
    /// The one elsewhere: it was made from the one in `.lsync/`, which is as it was then.
    Elsewhere,
    /// Neither is known to be newer: only what both say.
    WhatBothSay,
}

/// `home`: what tells the state in `.lsync/` from every other; `elsewhere`: the same of the one that the state elsewhere was made from,
/// `None` where there is no state elsewhere, `Some(None)` where that is not known.
pub(super) fn counts(home: &str, elsewhere: Option<Option<&str>>) -> Counts {
    match elsewhere {
        None => Counts::Home,
        Some(Some(made_from)) if made_from == home => Counts::Elsewhere,
        Some(_) => Counts::WhatBothSay,
    }
}

/// Of what both sides last agreed on, only what both states say: the rest is compared as in a directory that is new here.
pub(super) fn what_both_say(home: State, elsewhere: State) -> State {
    let one_mount = home.mount == elsewhere.mount;
    let mut others: BTreeMap<RelPath, Known> = elsewhere.entries.into_iter().collect();
    let mut entries: BTreeMap<RelPath, Known> = BTreeMap::new();
    for (path, known) in home.entries {
        let other = others.remove(&path).unwrap_or_default();
        entries.insert(path, both(known, other, one_mount));
    }
    entries.extend(others.into_iter().map(|(path, other)| (path, both(Known::default(), other, one_mount))));
    let dirs = home.dirs.into_iter().filter(|(path, mode)| elsewhere.dirs.get(path) == Some(mode)).collect();
    let last =
        if home.last.as_ref().map(|last| last.time) >= elsewhere.last.as_ref().map(|last| last.time) { home.last } else { elsewhere.last };
    let mut journals = home.journals;
    journals.extend(elsewhere.journals);
    // What the manifests say is read from them again where `known` does not have them.
    State { owed: home.owed || elsewhere.owed, entries: entries.into_iter().collect(), dirs, last, journals, ..home }
}

/// Checksums under a stamp hold whatever else is true; of the manifests the home state tells.
fn both(home: Known, other: Known, one_mount: bool) -> Known {
    let agree = one_mount && home.base == other.base;
    Known {
        base: home.base.filter(|_| agree),
        published: home.published,
        seen: home.seen.or(other.seen),
        foreign: home.foreign.or(other.foreign),
        removed: home.removed && other.removed && agree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digests, digest_one};
    use crate::entry::{Entry, File, Kind};

    #[test]
    fn the_state_elsewhere_counts_only_while_what_it_was_made_from_is_still_there() {
        use Counts::{Elsewhere, Home, WhatBothSay};
        let check = |home, elsewhere, expected| assert_eq!(counts(home, elsewhere), expected, "{home:?} {elsewhere:?}");
        check("none", None, Home);
        check("a", None, Home);
        check("a", Some(Some("a")), Elsewhere);
        check("none", Some(Some("none")), Elsewhere);
        check("b", Some(Some("a")), WhatBothSay);
        check("none", Some(Some("a")), WhatBothSay);
        check("b", Some(Some("none")), WhatBothSay);
        check("a", Some(None), WhatBothSay);
    }

    fn known(text: &str) -> Known {
        let file = File { size: 1, digests: Digests::of_whole(digest_one(text.as_bytes())), ..File::default() };
        let entry = std::sync::Arc::new(Entry { kind: Kind::File(file), mode: None });
        Known { base: Some(entry.clone()), published: Some(entry), ..Known::default() }
    }

    fn state(mount: &str, entries: &[(&str, &str)]) -> State {
        let entries = entries.iter().map(|(path, text)| (RelPath::new(path).unwrap(), known(text))).collect();
        State { mount: mount.into(), entries, ..State::default() }
    }

    /// The paths of which the joined state says that both sides agreed on something.
    #[track_caller]
    fn check(home: State, elsewhere: State, expected: &[&str]) {
        let joined = what_both_say(home, elsewhere);
        let agreed: Vec<&str> = joined.entries.iter().filter(|(_, known)| known.base.is_some()).map(|(path, _)| path.as_str()).collect();
        assert_eq!(agreed, expected);
    }

    #[test]
    fn in_doubt_nothing_is_agreed_on_that_only_one_of_them_says() {
        check(state("m", &[("a", "1"), ("b", "1")]), state("m", &[("a", "1"), ("b", "2"), ("c", "1")]), &["a"]);
        check(state("m", &[("a", "1")]), state("other", &[("a", "1")]), &[]);
        check(State::default(), state("m", &[("a", "1")]), &[]);
        check(state("m", &[("a", "1")]), State::default(), &[]);
        let same = state("m", &[("a", "1"), ("b", "2")]);
        assert_eq!(what_both_say(same.clone(), same.clone()), same);
    }
}
