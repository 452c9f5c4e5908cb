//! What the bucket holds, path by path: a listing read together with the published manifest, the base and what HEADs have told.
//! Pure; names what is not representable as problems.

mod listing;

use std::sync::Arc;

use crate::digest::{Digests, ETag};
use crate::entry::{Entry, File, InOrder, Kind, Nanos, with_something_below};
use crate::filter::Scope;
use crate::manifest::{self, Name};
use crate::path::{MAX_SEGMENT_BYTES, RESERVED, RelPath};
use crate::problem::{Problem, Side, exclude_line};

pub use listing::{Listed, Listing};

/// What the bucket holds at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The entry: what is remembered itself, where that is what is listed. A file carries the ETag that is listed, and the digests that
    /// are known for it.
    pub entry: Arc<Entry>,
    /// When the object was written, by the server's clock; `None` for what only a manifest carries.
    pub last_modified: Option<Nanos>,
    /// The ETag of the empty object that stands for an empty directory, at the path with a `/` behind.
    pub marker: Option<Box<ETag>>,
}

impl Remote {
    /// The ETag and size of the object that stands at this very path or, for an empty directory, at the path with a `/` behind.
    #[must_use]
    pub fn object(&self) -> Option<(&ETag, u64)> {
        match &self.entry.kind {
            Kind::File(file) => file.etag.as_ref().map(|etag| (etag, file.size)),
            Kind::Link(_) | Kind::Dir => self.marker.as_deref().map(|etag| (etag, 0)),
        }
    }
}

/// What is remembered about one path, for [`read`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered<'a> {
    /// The path itself.
    pub path: Option<&'a RelPath>,
    /// What both sides last agreed on.
    pub base: Option<&'a Arc<Entry>>,
    /// What the published manifests say.
    pub published: Option<&'a Arc<Entry>>,
    /// What a HEAD said of an object while it lists this ETag.
    pub foreign: Option<&'a (ETag, Digests, Option<Nanos>)>,
}

/// The bucket, read.
#[derive(Debug, Default)]
pub struct View {
    /// In scope, sorted by path.
    pub entries: Vec<(RelPath, Remote)>,
    /// Empty objects `x/` in scope that stand for nothing beside an object `x` or something below `x`, with their ETags, sorted by path.
    pub idle_markers: Vec<(RelPath, ETag)>,
    /// Keys that cannot be paths.
    pub problems: Vec<Problem>,
    /// Files in scope that a manifest has and the listing lacks, sorted.
    pub vanished: Vec<RelPath>,
    /// Published manifests that are listed.
    pub manifests: Vec<Name>,
    /// Ids of the mounts whose `.lsync/mount-<id>` is listed: any of them here means that the bucket is that mount itself.
    pub mounts: Vec<String>,
    /// What other lsync directories of the bucket hold, by the directory they publish in: objects that are listed, and their bytes.
    pub others: std::collections::BTreeMap<RelPath, (u64, u64)>,
    /// Objects that are not lsync's own, in scope or not.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that patterns leave out, and their bytes.
    pub ignored: (u64, u64),
    /// The topmost paths of those (a directory ends in `/`), at most 100, with the bytes below.
    pub ignored_samples: std::collections::BTreeMap<String, u64>,
    /// Where those lie, sorted.
    pub left_out: Vec<RelPath>,
}

/// Reads a listing. `remembered` is asked once per key, `published` gives all manifest entries in path order, and `scope` says whether a
/// path is in scope, by filter and by the run's PATHs.
pub fn read<'a>(
    listing: Listing,
    remembered: &dyn Fn(&str) -> Remembered<'a>,
    published: &mut dyn Iterator<Item = (&'a RelPath, &'a Arc<Entry>)>,
    scope: &dyn Fn(&RelPath, bool) -> Option<Scope>,
) -> View {
    let mut view = View { entries: Vec::with_capacity(listing.len()), ..View::default() };
    for object in listing {
        // Nearly all keys lack the word.
        if object.key.contains(RESERVED) && object.key.split('/').any(|segment| segment == RESERVED) {
            note_own(&mut view, &object.key);
            continue;
        }
        view.objects += 1;
        view.bytes += object.size;
        if object.key.is_empty() {
            continue; // the marker of the prefix itself
        }
        read_object(&mut view, &object, remembered, scope);
    }
    view.left_out.sort_unstable();
    // Markers sort apart from their paths: `a/` comes after `a-b`.
    if !view.entries.is_sorted_by(|a, b| a.0 < b.0) {
        view.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let mut idle = Vec::new();
    view.entries.dedup_by(|later, first| later.0 == first.0 && is_marker(later, &mut idle));
    set_markers_of_full_directories_apart(&mut view.entries, &mut idle);
    report_files_above_files(&mut view);
    if add_what_only_manifests_carry(&mut view, published, scope) {
        set_markers_of_full_directories_apart(&mut view.entries, &mut idle);
    }
    idle.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    view.idle_markers = idle;
    view
}

/// The directories of a listing in which other lsync directories publish: those with a `.lsync/manifests/` of their own. Outermost only.
#[must_use]
pub fn other_directories(listing: &Listing) -> Vec<RelPath> {
    let mut found: Vec<RelPath> = Vec::new();
    for object in listing.iter().filter(|object| object.key.contains(RESERVED)) {
        let Some((directory, rest)) = object.key.split_once(OWN_FOLDER) else { continue };
        let is_manifest = manifest::FOLDER.strip_prefix(&OWN_FOLDER[1..]).and_then(|folder| Name::parse(rest.strip_prefix(folder)?));
        let Ok(directory) = RelPath::new(directory) else { continue };
        if is_manifest.is_some() && !directory.is_reserved() && !found.contains(&directory) {
            found.push(directory);
        }
    }
    let all = found.clone();
    found.retain(|path| !path.ancestors().any(|dir| all.iter().any(|other| other.as_str() == dir)));
    found
}

/// What stands between a directory and what lsync keeps in it.
const OWN_FOLDER: &str = "/.lsync/";

/// Counts an object of another lsync directory.
fn note_other(view: &mut View, path: &RelPath, size: u64, scope: &dyn Fn(&RelPath, bool) -> Option<Scope>) {
    let known = view.others.keys().find(|other| path.is_at_or_below(other.as_str())).cloned();
    let outermost = || {
        let above = path.ancestors().filter_map(|dir| RelPath::new(dir).ok()).filter(|dir| scope(dir, true) == Some(Scope::Other));
        above.min_by_key(|dir| dir.as_str().len()).unwrap_or_else(|| path.clone())
    };
    let counts = view.others.entry(known.unwrap_or_else(outermost)).or_default();
    *counts = (counts.0 + 1, counts.1 + size);
}

fn note_own(view: &mut View, key: &str) {
    if let Some(name) = key.strip_prefix(manifest::FOLDER).and_then(Name::parse) {
        view.manifests.push(name);
    } else if let Some(id) = key.rsplit_once("/mount-").filter(|(dir, _)| dir.ends_with(RESERVED)).map(|(_, id)| id) {
        view.mounts.push(id.to_owned());
    }
}

fn read_object<'a>(
    view: &mut View,
    object: &Listed,
    remembered: &dyn Fn(&str) -> Remembered<'a>,
    scope: &dyn Fn(&RelPath, bool) -> Option<Scope>,
) {
    let (text, marker) = object.names();
    let known = remembered(text);
    let path = match known.path.map_or_else(|| RelPath::new(text), |path| Ok(path.clone())) {
        Ok(path) => path,
        Err(why) => return bad_key(view, &object.key, &why.to_string(), scope),
    };
    match scope(&path, marker) {
        None | Some(Scope::Reserved) => return,
        Some(Scope::Other) => return note_other(view, &path, object.size, scope),
        Some(Scope::Ignored | Scope::Keys) => {
            view.ignored.0 += 1;
            view.ignored.1 += object.size;
            note_ignored(view, &path, object.size, scope);
            view.left_out.push(path);
            return;
        }
        Some(Scope::In) => {}
    }
    let (entry, marker) = if marker {
        let mode = known.published.filter(|e| e.kind == Kind::Dir).and_then(|e| e.mode);
        (Arc::new(Entry { kind: Kind::Dir, mode }), Some(Box::new(object.etag.clone())))
    } else {
        (file_entry(object, known), None)
    };
    view.entries.push((path, Remote { entry, last_modified: Some(object.last_modified), marker }));
}

/// Most names of ignored paths that a view keeps.
const SAMPLES: usize = 100;

/// Keeps the name of the topmost ignored path, with its bytes.
fn note_ignored(view: &mut View, path: &RelPath, size: u64, scope: &dyn Fn(&RelPath, bool) -> Option<Scope>) {
    let known = path.ancestors().map(|dir| format!("{dir}/")).find(|dir| view.ignored_samples.contains_key(dir));
    if let Some(bytes) = known.and_then(|dir| view.ignored_samples.get_mut(&dir)) {
        *bytes += size;
        return;
    }
    let left_out = |dir: &&str| RelPath::new(dir).is_ok_and(|dir| matches!(scope(&dir, true), Some(Scope::Ignored)));
    let top = path.ancestors().filter(left_out).min_by_key(|dir| dir.len());
    let name = top.map_or_else(|| path.as_str().to_owned(), |dir| format!("{dir}/"));
    if view.ignored_samples.len() < SAMPLES || view.ignored_samples.contains_key(&name) {
        *view.ignored_samples.entry(name).or_default() += size;
    }
}

/// The base by (etag, size), else the manifest by (etag, size), else what was read of it or what a HEAD said, and what the ETag says.
fn file_entry(object: &Listed, known: Remembered<'_>) -> Arc<Entry> {
    let is_listed = |e: &&Arc<Entry>| e.file().is_some_and(|f| f.size == object.size && f.etag.as_ref() == Some(&object.etag));
    let (base, published) = (known.base.filter(is_listed), known.published.filter(is_listed));
    match (base, published) {
        // It tells all of what follows.
        (Some(base), Some(published)) if Arc::ptr_eq(base, published) => return base.clone(),
        (Some(only), None) | (None, Some(only)) => return only.clone(),
        _ => {}
    }
    let mut file = File { size: object.size, mtime: None, digests: Digests::default(), etag: Some(object.etag.clone()) };
    for source in [base, published].into_iter().flatten() {
        if let Some(recorded) = source.file() {
            file.digests.learn(&recorded.digests);
            file.mtime = file.mtime.or(recorded.mtime);
        }
    }
    if base.is_none() && published.is_none() {
        // What was read of the content tells more than what the ETag says about it.
        if let Some((etag, digests, mtime)) = known.foreign
            && *etag == object.etag
        {
            file.digests.clone_from(digests);
            file.mtime = *mtime;
        }
        file.digests.learn(&Digests::of_etag(&object.etag));
    }
    // Modes live in manifests; the base's is what both sides agreed on, not what the bucket says now.
    let mode = published.or(base).and_then(|e| e.mode);
    Arc::new(Entry { kind: Kind::File(file), mode })
}

/// A key that is no path is a problem, unless a pattern leaves out the directory that its valid beginning names, or what stands for its
/// first segment (see [`stand_in`]).
fn bad_key(view: &mut View, key: &str, why: &str, scope: &dyn Fn(&RelPath, bool) -> Option<Scope>) {
    let valid = key.match_indices('/').map(|(at, _)| &key[..at]).map_while(|dir| RelPath::new(dir).ok()).last();
    if let Some(dir) = &valid
        && scope(dir, true) != Some(Scope::In)
    {
        view.ignored.0 += u64::from(scope(dir, true) != Some(Scope::Other));
        return;
    }
    let first = key.split('/').next().unwrap_or("");
    let name = if valid.is_none() { stand_in(first) } else { None };
    if name.as_ref().is_some_and(|name| scope(name, false) != Some(Scope::In) || key.contains('/') && scope(name, true) != Some(Scope::In))
    {
        view.ignored.0 += 1;
        return;
    }
    let exclude = match (&valid, &name) {
        (Some(dir), _) => Some(format!("{}/", exclude_line(dir.as_str()))),
        (None, Some(name)) if first.len() > MAX_SEGMENT_BYTES => Some(format!("{}*", exclude_line(name.as_str()))),
        (None, Some(name)) => Some(format!("{}{}", exclude_line(name.as_str()), if key.contains('/') { "/" } else { "" })),
        (None, None) => None,
    };
    let long = key.split('/').any(|segment| segment.len() > MAX_SEGMENT_BYTES);
    let advice = if long { "the mount cannot hold it" } else { "it cannot be a path below the mount" };
    let why = format!("{why}, so {advice}; rename or remove the object in the bucket");
    view.problems.push(Problem { name: key.to_owned(), path: None, below: false, side: Side::Bucket, why, exclude });
}

/// What patterns see of a first segment that no path can have: nothing, `.` and `..` percent-encoded (`%`, `%2E`, `%2E%2E`), NUL as `%00`, and
/// of a long one its beginning.
fn stand_in(segment: &str) -> Option<RelPath> {
    let text = match segment {
        "" => "%".to_owned(),
        "." | ".." => segment.replace('.', "%2E"),
        _ => segment.replace('\0', "%00").chars().take(60).collect(),
    };
    RelPath::new(&text).ok()
}

/// `x/` stands for an empty directory only while there is no `x` and nothing below it.
fn set_markers_of_full_directories_apart(entries: &mut Vec<(RelPath, Remote)>, idle: &mut Vec<(RelPath, ETag)>) {
    let mut full = with_something_below(entries, entries);
    full.retain(|at| entries[*at].1.marker.is_some());
    let (mut full, mut at) = (full.into_iter().peekable(), 0..);
    if full.peek().is_some() {
        entries.retain_mut(|entry| full.next_if_eq(&at.next().unwrap_or(0)).is_none() || !is_marker(entry, idle));
    }
}

/// Whether an entry is a marker, and then it is idle.
fn is_marker((path, remote): &mut (RelPath, Remote), idle: &mut Vec<(RelPath, ETag)>) -> bool {
    let marker = remote.marker.take().map(|etag| (path.clone(), *etag));
    let is_marker = marker.is_some();
    idle.extend(marker);
    is_marker
}

/// S3 holds `a` and `a/b`; a mount cannot. Neither is touched.
fn report_files_above_files(view: &mut View) {
    for at in with_something_below(&view.entries, &view.entries) {
        let path = view.entries[at].0.clone();
        let why = format!("the bucket holds {path} and also objects below {path}/, which no mount can; rename or remove one of them");
        let exclude = Some(exclude_line(path.as_str()));
        let name = path.as_str().to_owned();
        view.problems.push(Problem { name, path: Some(path), below: true, side: Side::Bucket, why, exclude });
    }
}

/// Links and empty directories, where no object says otherwise; and which files have vanished. True when there are any of the former.
fn add_what_only_manifests_carry<'a>(
    view: &mut View,
    published: &mut dyn Iterator<Item = (&'a RelPath, &'a Arc<Entry>)>,
    scope: &dyn Fn(&RelPath, bool) -> Option<Scope>,
) -> bool {
    let (mut extra, listed) = (Vec::new(), InOrder::new(&view.entries));
    for (path, entry) in published {
        if listed.find(path.as_str()).is_some() || scope(path, entry.kind == Kind::Dir) != Some(Scope::In) {
            continue;
        }
        match &entry.kind {
            Kind::File(_) => view.vanished.push(path.clone()),
            Kind::Link(_) | Kind::Dir => {
                let below = !crate::entry::below(&view.entries, path.as_str()).is_empty();
                let is_object = |dir| crate::entry::find(&view.entries, dir).is_some_and(|above| above.marker.is_none());
                let above = path.ancestors().any(is_object);
                if !below && !above {
                    extra.push((path.clone(), Remote { entry: entry.clone(), last_modified: None, marker: None }));
                }
            }
        }
    }
    let any = !extra.is_empty();
    if any {
        view.entries.extend(extra);
        view.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest_one;

    fn listed(key: &str, content: &[u8]) -> Listed {
        Listed { key: key.into(), size: content.len() as u64, etag: ETag::Hex(digest_one(content)), last_modified: 5 }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn view_of(listing: &[Listed], published: &[(RelPath, Entry)]) -> View {
        let published: Vec<_> = published.iter().map(|(path, entry)| (path.clone(), Arc::new(entry.clone()))).collect();
        let leaked: &'static [(RelPath, Arc<Entry>)] = Box::leak(published.into_boxed_slice());
        read(
            listing.to_vec().into(),
            &|p| Remembered { published: crate::entry::find(leaked, p), ..Remembered::default() },
            &mut leaked.iter().map(|(p, e)| (p, e)),
            &|p, _| Some(if p.is_at_or_below("ignored") { Scope::Ignored } else { Scope::In }),
        )
    }

    fn names(view: &View) -> Vec<&str> {
        view.entries.iter().map(|(p, _)| p.as_str()).collect()
    }

    #[test]
    fn keys_that_are_no_paths_are_problems_not_files() {
        let keys = ["../up", "/lead", "a/../b", "a//b", "b/./c", "fine", "full/"];
        let mut listing: Vec<_> = keys.iter().map(|k| listed(k, b"x")).collect();
        listing.push(listed("ignored//x", b"x"));
        let view = view_of(&listing, &[]);
        assert_eq!(names(&view), ["fine"]);
        assert_eq!(view.problems.len(), 6, "{:?}", view.problems);
        assert_eq!(view.problems[3].exclude.as_deref(), Some("/a/"), "{:?}", view.problems[3]);
        assert_eq!(view.ignored.0, 1);
    }

    #[test]
    fn every_key_that_is_no_path_has_a_line_that_leaves_it_out() {
        let long = "n".repeat(300);
        for (key, line) in [("../up", "/%2E%2E/"), ("/lead", "/%/"), ("..", "/%2E%2E"), ("./x", "/%2E/"), (long.as_str(), "/nnnnnn")] {
            let view = view_of(&[listed(key, b"x")], &[]);
            let exclude = view.problems[0].exclude.clone().unwrap_or_default();
            assert!(exclude.starts_with(line), "{key}: {exclude}");
            let patterns = crate::filter::Patterns { exclude: vec![exclude.clone()], ..Default::default() };
            let filter = crate::filter::Filter::new(&patterns).unwrap();
            let scope = |path: &RelPath, is_dir: bool| Some(filter.scope(path, is_dir));
            let view = read(vec![listed(key, b"x")].into(), &|_| Remembered::default(), &mut std::iter::empty(), &scope);
            assert_eq!((view.problems.len(), view.ignored.0), (0, 1), "{key}: {exclude}");
        }
    }

    #[test]
    fn a_zero_byte_key_with_a_slash_is_an_empty_directory_unless_something_lies_below() {
        let view = view_of(
            &[listed("d/", b""), listed("e-f", b"1"), listed("e/", b""), listed("e/f", b"1"), listed("f", b"1"), listed("f/", b"")],
            &[],
        );
        assert_eq!(names(&view), ["d", "e-f", "e/f", "f"]);
        assert_eq!(view.idle_markers, ["e", "f"].map(|at| (path(at), ETag::Hex(digest_one(b"")))));
        assert_eq!(view.entries[0].1.entry.kind, Kind::Dir);
        assert!(view.problems.is_empty());
    }

    #[test]
    fn a_beside_a_b_is_a_problem_that_covers_both() {
        let view = view_of(&[listed("a", b"1"), listed("a-", b"1"), listed("a/b", b"1")], &[]);
        assert_eq!(view.problems.len(), 1);
        assert!(view.problems[0].below && view.problems[0].path == Some(path("a")));
    }

    #[test]
    fn links_and_empty_directories_come_from_the_manifest_unless_an_object_says_otherwise() {
        let link = Entry { kind: Kind::Link("t".into()), mode: None };
        let dir = Entry { kind: Kind::Dir, mode: Some(0o700) };
        let gone = Entry { kind: Kind::File(File::default()), mode: None };
        let published =
            [("d", &dir), ("full", &dir), ("gone", &gone), ("l", &link), ("now-a-file", &link)].map(|(p, e)| (path(p), e.clone()));
        let view = view_of(&[listed("full/x", b"1"), listed("now-a-file", b"1")], &published);
        assert_eq!(names(&view), ["d", "full/x", "l", "now-a-file"]);
        assert_eq!(view.vanished, [path("gone")]);
        assert!(view.entries[3].1.entry.file().is_some());
    }

    #[test]
    fn what_only_manifests_carry_fills_the_directory_of_a_marker() {
        let link = Entry { kind: Kind::Link("t".into()), mode: None };
        let view =
            view_of(&[listed("d/", b""), listed("e", b"1"), listed("l/", b"")], &["d/l", "e/l", "l"].map(|at| (path(at), link.clone())));
        assert_eq!(names(&view), ["d/l", "e", "l"]);
        assert_eq!((view.entries[2].1.entry.kind.clone(), view.idle_markers.len()), (Kind::Dir, 1));
    }

    #[test]
    fn what_is_ignored_is_named_by_its_topmost_path() {
        let keys = ["a", "ignored/x/y", "ignored/x/z"];
        let view = view_of(&keys.map(|k| listed(k, b"12")), &[]);
        assert_eq!((view.ignored, view.ignored_samples), ((2, 4), [("ignored/".to_owned(), 4)].into()));
    }

    #[test]
    fn what_has_manifests_of_its_own_belongs_to_another_lsync_directory() {
        let name = Name::new(3, [1; 16]);
        let check = |keys: &[&str], expected: &[&str]| {
            let listing: Vec<_> = keys.iter().map(|key| listed(&key.replace("NAME", &name.to_string()), b"1")).collect();
            let found = other_directories(&listing.into());
            assert_eq!(found.iter().map(RelPath::as_str).collect::<Vec<_>>(), expected, "{keys:?}");
        };
        check(&[".lsync/manifests/NAME", "a/x", "big/x"], &[]);
        check(&["big/.lsync/manifests/NAME", "big/x"], &["big"]);
        check(&["a/b/.lsync/manifests/NAME", "a/b/.lsync/manifests/NAME", "c/.lsync/manifests/NAME"], &["a/b", "c"]);
        check(&["big/.lsync/manifests/NAME", "big/sub/.lsync/manifests/NAME"], &["big"]);
        check(&["big/.lsync/lease/x", "b/.lsync/manifests/odd", "c/.lsyncx/manifests/NAME", "../.lsync/manifests/NAME"], &[]);
        // What lsync keeps of its own names no other.
        check(&[".lsync/history/op/x/.lsync/manifests/NAME"], &[".lsync/history/op/x"][..0]);
    }

    #[test]
    fn what_belongs_to_another_is_counted_and_nothing_else() {
        let keys = ["a", "big/ x", "big/a//b", "big/x", "big/y/", "bigger"];
        let other = |p: &RelPath, _| Some(if p.is_at_or_below("big") { Scope::Other } else { Scope::In });
        let view = read(keys.map(|k| listed(k, b"12")).to_vec().into(), &|_| Remembered::default(), &mut std::iter::empty(), &other);
        assert_eq!((names(&view), view.problems.len(), view.ignored), (vec!["a", "bigger"], 0, (0, 0)));
        assert_eq!(view.others, [(path("big"), (2, 4))].into());
    }

    #[test]
    fn lsyncs_own_objects_are_known_by_name_and_never_entries() {
        let name = Name::new(3, [1; 16]);
        let view =
            view_of(&[listed(&format!(".lsync/manifests/{name}"), b""), listed(".lsync/mount-ab", b""), listed("x/.lsync/y", b"")], &[]);
        assert_eq!((view.manifests, view.mounts, view.entries.len(), view.objects), (vec![name], vec!["ab".to_owned()], 0, 0));
    }

    #[test]
    fn the_base_tells_an_opaque_etags_digest_while_it_is_listed() {
        let opaque = ETag::parse("whatever");
        let recorded = File { size: 1, mtime: Some(9), digests: Digests::of_whole(digest_one(b"1")), etag: Some(opaque.clone()) };
        let base: &'static Arc<Entry> = Box::leak(Box::new(Arc::new(Entry { kind: Kind::File(recorded), mode: Some(0o600) })));
        let listing = vec![Listed { key: "f".into(), size: 1, etag: opaque, last_modified: 0 }];
        let all = |_: &RelPath, _| Some(Scope::In);
        let view = read(listing.into(), &|_| Remembered { base: Some(base), ..Remembered::default() }, &mut std::iter::empty(), &all);
        assert_eq!(view.entries[0].1.entry, *base);
    }
}
