//! Keys and paths: no key leads out of the mount, also when what it names is written; every path leads back to its key, no two keys lead to
//! one path, and what is lsync's own is left alone. Links that lead out lie in the mount.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use lsync::digest::ETag;
use lsync::entry::{Kind, below, find};
use lsync::filter::{Filter, Patterns, Scope};
use lsync::local::mount::Mount;
use lsync::local::place::{Seen, Workplace};
use lsync::path::{Prefix, RelPath};
use lsync::view::{self, Listed, Remembered};
use tempfile::TempDir;

/// Links in the mount that lead out of it.
const LINKS: [(&str, &str); 3] = [("out", "../outside"), ("up", ".."), ("root", "/")];
/// Inputs that share a mount: it remembers where it was written.
const SHARE: u32 = 2000;
/// How many paths of an input are written.
const WRITES: usize = 2;

/// A directory with a mount in it, and with another one that the links in the mount lead to.
struct Place {
    around: TempDir,
    root: PathBuf,
    mount: Mount,
    workplace: Workplace,
    inputs: u32,
}

impl Place {
    fn new() -> Place {
        let around = tempfile::tempdir().expect("a temporary directory");
        let root = around.path().canonicalize().expect("it is there").join("mount");
        fs::create_dir(&root).and_then(|()| fs::create_dir(around.path().join("outside"))).expect("it is new");
        LINKS.iter().for_each(|(name, target)| symlink(target, root.join(name)).expect("it is new"));
        let mount = Mount::open(&root).expect("a mount");
        let workplace = Workplace::create(&mount, "op").expect("writable");
        let place = Place { around, root, mount, workplace, inputs: 0 };
        for dir in place.elsewhere() {
            File::open(dir).and_then(|dir| dir.set_modified(UNIX_EPOCH)).expect("it is ours");
        }
        place
    }

    /// The directories beside the mount that the links lead to.
    fn elsewhere(&self) -> [PathBuf; 2] {
        [self.around.path().to_owned(), self.around.path().join("outside")]
    }

    /// Writes what a download would write, and takes it away again.
    fn write(&self, path: &RelPath, kind: &Kind) {
        let written = match kind {
            Kind::Dir => self.workplace.place_dir(&self.mount, None, path, &Seen::Absent),
            Kind::File(_) | Kind::Link(_) => self.workplace.temp(0).and_then(|temp| {
                temp.finish(None, None)?;
                self.workplace.place(&self.mount, temp, path, &Seen::Absent).map(drop)
            }),
        };
        if LINKS.iter().any(|(name, _)| path.is_at_or_below(name)) {
            assert!(written.is_err(), "{path:?} goes through a link");
            return;
        }
        written.unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let place = self.root.join(path.as_str());
        if *kind == Kind::Dir { fs::remove_dir(&place) } else { fs::remove_file(&place) }.expect("it was written there");
        path.ancestors().for_each(|dir| fs::remove_dir(self.root.join(dir)).expect("it was made for what is gone"));
    }

    /// No name came or went in the directories that the links lead to.
    fn check(&self) {
        for dir in self.elsewhere() {
            let modified = fs::metadata(&dir).and_then(|found| found.modified()).expect("it is there");
            assert_eq!(modified, UNIX_EPOCH, "something was written into {}", dir.display());
        }
    }
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static FILTER: Filter = Filter::new(&Patterns::default()).expect("there are no patterns");
}

/// Why a text is no path for what is below a mount; `None` when it is one. A second opinion: nothing that is tried is called.
fn leads_elsewhere(text: &str) -> Option<&'static str> {
    let any = |is: fn(&[u8]) -> bool| text.as_bytes().split(|byte| *byte == b'/').any(is);
    let reasons = [
        ("lsync's own", any(|segment| segment == b".lsync")),
        ("an empty segment", any(|segment| segment.is_empty())),
        ("dots", any(|segment| segment == b"." || segment == b"..")),
        ("a long segment", any(|segment| segment.len() > 255)),
        ("NUL", any(|segment| segment.contains(&0))),
    ];
    reasons.into_iter().find_map(|(why, is_so)| is_so.then_some(why))
}

fuzz_target!(|bytes: &[u8]| {
    let mut keys = lsync_fuzz::texts(bytes);
    if let Ok(prefix) = Prefix::new(&keys[0]) {
        let text = prefix.as_str();
        assert!(text.is_empty() || text.strip_suffix('/').is_some_and(|dir| leads_elsewhere(dir).is_none()), "{text:?} is a prefix");
    }
    keys.sort();
    keys.dedup();
    let listed =
        |key: &String| Listed { key: key.clone(), size: u64::from(!key.ends_with('/')), etag: ETag::parse("\"e\""), last_modified: 0 };
    let listing: Vec<Listed> = keys.iter().map(listed).collect();
    let scope = |path: &RelPath, is_dir: bool| Some(FILTER.with(|filter| filter.scope(path, is_dir)));
    let view = view::read(listing.into(), &|_| Remembered::default(), &mut std::iter::empty(), &scope);
    for pair in view.entries.windows(2) {
        assert!(pair[0].0 < pair[1].0, "two keys lead to {}", pair[0].0);
    }
    for (path, remote) in &view.entries {
        let text = path.as_str();
        assert_eq!(leads_elsewhere(text), None, "{text:?} is a path");
        let key = if remote.entry.kind == Kind::Dir { format!("{text}/") } else { text.to_owned() };
        assert!(keys.binary_search(&key).is_ok(), "{key:?} is no key that was listed");
    }
    // A key is a path, a problem, lsync's own, ignored, or the mark of a directory that holds something: nothing is silently left out.
    let problems: BTreeSet<&str> = view.problems.iter().map(|problem| problem.name.as_str()).collect();
    for key in keys.iter().filter(|key| !key.is_empty() && !problems.contains(key.as_str())) {
        let bare = key.strip_suffix('/').unwrap_or(key);
        match leads_elsewhere(bare) {
            Some("lsync's own") => {}
            Some(why) => assert!(view.ignored.0 > 0, "{key:?} is no problem, for all its {why}"),
            None => {
                let is_ignored = || RelPath::new(bare).is_ok_and(|path| scope(&path, key.ends_with('/')) != Some(Scope::In));
                let is_there = find(&view.entries, bare).is_some() || !below(&view.entries, bare).is_empty();
                assert!(is_there || is_ignored(), "{key:?} is nowhere");
            }
        }
    }
    if view.entries.is_empty() {
        return;
    }
    PLACE.with_borrow_mut(|place| {
        let here = place.get_or_insert_with(Place::new);
        view.entries.iter().take(WRITES).for_each(|(path, remote)| here.write(path, &remote.entry.kind));
        here.check();
        here.inputs += 1;
        if here.inputs == SHARE {
            *place = None;
        }
    });
});
