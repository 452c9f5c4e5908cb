//! What stands at a destination when the plan is made, and what of it makes room. Decides nothing.

use super::Found;
use crate::digest::ETag;
use crate::entry::{Entry, Kind, Local, below, find};
use crate::path::RelPath;
use crate::view::Remote;

/// What stands in the bucket where an upload puts something.
pub(super) fn in_bucket(remote: &Remote) -> Found {
    match remote.object() {
        Some((etag, size)) => Found::Object { etag: etag.clone(), size, marker: remote.entry.kind == Kind::Dir },
        None => Found::Recorded,
    }
}

/// What stands in the mount where a download puts something.
pub(super) fn in_mount(local: &Local) -> Found {
    match (&local.entry.kind, local.stamp) {
        (Kind::File(_), Some(stamp)) => Found::File(stamp),
        (Kind::Link(target), _) => Found::Link(target.clone()),
        (Kind::File(_) | Kind::Dir, _) => Found::EmptyDir,
    }
}

/// What makes room in the bucket for a link, or for a file where there was a directory: the markers there too, or they would stand for
/// directories when the rest is gone. They go first: a run that is cut off leaves what it began with.
pub(super) fn with_markers(markers: &[(RelPath, ETag)], path: &RelPath, source: &Entry, found: Found) -> Found {
    let concerns = match (&source.kind, &found) {
        (Kind::Link(_), _) | (Kind::File(_), Found::Tree(_)) => !markers.is_empty(),
        _ => false,
    };
    if !concerns {
        return found;
    }
    let own = find(markers, path.as_str()).map(|etag| (path, etag));
    let all = own.into_iter().chain(below(markers, path.as_str()).iter().map(|(path, etag)| (path, etag)));
    let mut room: Vec<(RelPath, Found)> =
        all.map(|(path, etag)| (path.clone(), Found::Object { etag: etag.clone(), size: 0, marker: true })).collect();
    match found {
        found if room.is_empty() => return found,
        Found::Tree(found) => room.extend(found),
        Found::Nothing => {}
        found => room.push((path.clone(), found)),
    }
    Found::Tree(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_make_room_with_what_they_stand_beside_and_for_nothing_else() {
        let at = |text: &str| RelPath::new(text).unwrap();
        let markers = ["d", "d-", "d/e", "f"].map(|path| (at(path), ETag::parse("m")));
        let marker = |path: &str| (at(path), Found::Object { etag: ETag::parse("m"), size: 0, marker: true });
        let object = || Found::Object { etag: ETag::parse("o"), size: 1, marker: false };
        let below = || Found::Tree(vec![(at("d/x"), object())]);
        let entry = |kind| Entry { kind, mode: None };
        let (link, file, dir) = (entry(Kind::Link("t".into())), entry(Kind::File(Default::default())), entry(Kind::Dir));
        let all = Found::Tree(vec![marker("d"), marker("d/e"), (at("d/x"), object())]);
        for (path, source, found, expected) in [
            ("d", &link, below(), all.clone()),
            ("d", &file, below(), all),
            ("d", &dir, Found::Nothing, Found::Nothing),
            ("f", &link, object(), Found::Tree(vec![marker("f"), (at("f"), object())])),
            ("f", &file, object(), object()),
            ("g", &link, object(), object()),
            ("d/e", &link, Found::Nothing, Found::Tree(vec![marker("d/e")])),
        ] {
            assert_eq!(with_markers(&markers, &at(path), source, found), expected, "{path}");
        }
    }
}
