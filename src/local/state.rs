//! What this mount remembers between runs, one file per remote: the base, what was last known to be published, and the hash cache.
//! Expendable: corrupt or missing means absent, one warning, never a deletion.
//!
//! # Format 1
//! `.lsync/state-<first 16 hex digits of the MD5 of bucket, NUL, prefix>`, mode 0600: UTF-8, one JSON value per line.
//!
//! The first line is the header: `"lsync": "state"`, `"v": 1`, `bucket`, `prefix`, and the fields of [`State`] (`last` is an object,
//! `known` is `[[name, [parents…]], …]`, `owed` is left out when false, `journals` is `[[operation, bytes], …]`, `newest` is the header of a manifest).
//! `conditional_writes`, which early versions wrote, is passed over: what a store does is kept beside this file (see [`super::store`]).
//!
//! Then one line per path, in path order:
//!
//! | field | meaning |
//! |---|---|
//! | `n` | the path |
//! | `b` | the base, a [`crate::entry::Record`]; absent: none |
//! | `p` | what is published; absent: equal to the base |
//! | `u` | true: there is a base and nothing is published |
//! | `s` | the stamp of the hash cache, `[size, mtime, ctime, inode]` |
//! | `d` | its digests, a [`crate::entry::DigestRecord`]; absent beside `s`: equal to the base's |
//! | `f` | what a HEAD told: `e` the ETag, `t` mtime, `d` digests |
//! | `r` | true: a manifest after the base no longer has the path |
//!
//! The last line is `{"end": N, "md5": "…"}`: the count of paths and the MD5 of every byte before that line. Anything that does not
//! fit makes the whole file absent, never a shorter state.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use super::beneath::Dir;
pub use super::clock::Clock;
use super::elsewhere::Place;
use super::internal;
use super::journal;
pub use super::journal::{Journal, Journalled};
use super::mount::{LocalError, Mount, Stamp};
use super::newer_state::{self, Counts, what_both_say};
use super::state_codec::{self, Unreadable};
use crate::digest::{Digests, ETag, digest_one};
use crate::entry::{self, Entry, Kind, Nanos};
use crate::manifest::Name;
use crate::path::{RESERVED, RelPath};

/// Bytes: few round trips to a network file system.
const READ_AT_ONCE: usize = 256 << 10;
/// More than the last line of a state file.
const END_BYTES: u64 = 128;

/// Everything remembered about one (bucket, prefix).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Lineage of the manifests that base and `published` come from; `None` before the first.
    pub lineage: Option<String>,
    /// Highest generation that was folded in.
    pub generation: u64,
    /// The heads that `published` is the merged view of.
    pub heads: Vec<Name>,
    /// Every listed manifest whose header is known, with its parents: what tells heads without fetching.
    pub known: Vec<(Name, Vec<Name>)>,
    /// Id of the mount that the base was written for.
    pub mount: String,
    /// The last run that moved data here: command, host, time.
    pub last: Option<LastRun>,
    /// Journals that this state covers, with their length in bytes: [`load`] folded them in, and [`save`] removes them. Written down,
    /// so that a crash between the two never folds an old journal over a newer state.
    pub journals: Vec<(String, u64)>,
    /// A run of this mount changed the bucket and could not publish a manifest.
    pub owed: bool,
    /// The header of the newest manifest that was folded in: who uploaded last, and when.
    pub newest: Option<crate::manifest::Header>,
    /// Permission bits of directories that both sides agreed on, where they are not the ordinary ones.
    pub dirs: std::collections::BTreeMap<RelPath, u32>,
    /// Sorted by path.
    pub entries: Vec<(RelPath, Known)>,
    /// What tells the state in `.lsync/` that this one was made from, where that takes none. Not in the file.
    pub(crate) made_from: Option<String>,
}

/// What is remembered about one path. All absent: not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What both sides last agreed on. A file's `etag` is what the bucket listed then.
    pub base: Option<Arc<Entry>>,
    /// What the published manifests (merged) say; equal to `base` in nearly all cases, and then stored once.
    pub published: Option<Arc<Entry>>,
    /// The hash cache: digests of the local file while it carries this stamp.
    pub seen: Option<Seen>,
    /// What one HEAD said of a foreign object while it lists this ETag: digests and mtime from metadata.
    pub foreign: Option<Box<(ETag, Digests, Option<Nanos>)>>,
    /// A manifest after the base no longer has the path, which earlier ones had: proof that it was removed.
    pub removed: bool,
}

/// One entry of the hash cache. In nearly all cases the digests are the base's, and then kept once.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The file's stamp when it was read.
    pub stamp: Stamp,
    /// An entry that has the digests.
    entry: Arc<Entry>,
}

impl Seen {
    /// With digests of its own.
    #[must_use]
    pub fn new(stamp: Stamp, digests: Digests) -> Seen {
        let file = entry::File { size: stamp.size, digests, ..entry::File::default() };
        Seen { stamp, entry: Arc::new(Entry { kind: Kind::File(file), mode: None }) }
    }

    /// With the digests of a file's entry.
    #[must_use]
    pub fn of(stamp: Stamp, entry: &Arc<Entry>) -> Seen {
        Seen { stamp, entry: entry.clone() }
    }

    /// What the file holds while it carries the stamp.
    #[must_use]
    pub fn digests(&self) -> &Digests {
        static NONE: Digests = Digests { whole: None, parts: None, composite: None };
        self.entry.file().map_or(&NONE, |file| &file.digests)
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        self.stamp == other.stamp && self.digests() == other.digests()
    }
}

impl Eq for Seen {}

/// A finished run, for the "last sync" line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// `upload` or `download`.
    pub command: String,
    /// Host name.
    pub host: String,
    /// Nanoseconds since 1970.
    pub time: Nanos,
    /// Generation published or folded in.
    pub generation: u64,
}

/// A state and the warning to show when it had to be treated as absent.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The state, empty when there was none.
    pub state: State,
    /// Why it is empty although there is a file.
    pub warning: Option<String>,
}

impl Known {
    /// Takes over what a journal tells: base and hash cache; what manifests say stays.
    pub(super) fn take(&mut self, news: Known) {
        if news.seen.is_some() || news.base.is_none() {
            self.seen = news.seen;
        }
        self.base = news.base;
        self.removed = false;
    }
}

/// Loads the state for a remote (`bucket` and `prefix`), with journals that dead runs left behind folded in. Never fails over a state
/// file: what cannot be read is absent, with a warning. But a state written by a newer lsync is an error, because it must not be
/// overwritten, and so is a `.lsync/` that cannot be opened.
pub fn load(mount: &Mount, bucket: &str, prefix: &str) -> Result<Loaded, LocalError> {
    load_beside(mount, bucket, prefix, &|_| false)
}

/// The last run, as the file's first line tells it, and nothing else of it; `None` also where that cannot be read.
#[must_use]
pub fn last_run(mount: &Mount, bucket: &str, prefix: &str) -> Option<LastRun> {
    if mount.open_elsewhere("").ok()?.is_some() {
        // Which of two states counts is not told by their first lines.
        return load(mount, bucket, prefix).ok()?.state.last;
    }
    let dir = mount.open_home("").ok()??;
    let file = internal::open_to_read(&dir, &file_name(&remote_id(bucket, prefix))).ok()??;
    state_codec::decode_last(bucket, prefix, &mut BufReader::new(file))
}

/// [`load`] for a caller that sets the base and the hash cache of some paths itself: what this process has noted of those is passed over.
pub fn load_beside(mount: &Mount, bucket: &str, prefix: &str, taken: &dyn Fn(&RelPath) -> bool) -> Result<Loaded, LocalError> {
    let of = Of { mount, bucket, prefix, remote: &remote_id(bucket, prefix) };
    let home = mount.open_home("")?;
    // What tells it from every other must be no newer than what is read.
    let name_of_home = if is_elsewhere(&of)? || mount.place() == Place::Elsewhere { Some(tells(&of, home.as_ref())?) } else { None };
    let mut loaded = of.read(home.as_ref(), &mount.open_home(journal::FOLDER)?, taken)?;
    if let Some(name) = name_of_home {
        let elsewhere = mount.open_elsewhere("")?;
        let made_from = made_from(&of, elsewhere.as_ref());
        match newer_state::counts(&name, made_from.as_ref().map(Option::as_deref)) {
            Counts::Home => {}
            Counts::Elsewhere => {
                let covered = std::mem::take(&mut loaded.state.journals);
                loaded = of.read(elsewhere.as_ref(), &mount.open_elsewhere(journal::FOLDER)?, taken)?;
                loaded.state.journals.extend(covered);
            }
            Counts::WhatBothSay => {
                let other = of.read(elsewhere.as_ref(), &mount.open_elsewhere(journal::FOLDER)?, taken)?;
                loaded.state = what_both_say(loaded.state, other.state);
                let why = "two runs have written different states for this directory: what they disagree about is compared again";
                loaded.warning = loaded.warning.or(other.warning).or_else(|| Some(why.into()));
            }
        }
        loaded.state.made_from = Some(name);
    }
    Ok(loaded)
}

/// Saves the state once the names that it tells of are durable: temporary, fsync, rename, fsync of the directory; then removes the journals that it covers: those that [`load`]
/// folded into it, and those of this process, whose notes the caller has taken over. The caller holds the lock.
pub fn save(mount: &Mount, bucket: &str, prefix: &str, state: &State) -> Result<(), LocalError> {
    let of = Of { mount, bucket, prefix, remote: &remote_id(bucket, prefix) };
    if mount.place() == Place::Memory {
        return Ok(());
    }
    // A base that knew of a file whose name a power loss then takes away would take that for a removal.
    mount.touched().settle()?;
    let journals = mount.open_internal(journal::FOLDER)?;
    let covered = journal::covered(journals.as_ref(), of.remote, state)?;
    let dir = mount.make_internal("")?;
    let (name, source) = (file_name(of.remote), source_name(of.remote));
    let failed = || LocalError::at("cannot write", &format!("{RESERVED}/{name}"));
    let write = |file: &mut File| state_codec::encode(bucket, prefix, &covered, state, file);
    if mount.place() == Place::Elsewhere {
        // Never a new source beside an old state: without one it is in doubt.
        removed(&dir, &source).map_err(failed())?;
        internal::replace_by(&dir, &name, write).map_err(failed())?;
        if let Some(made_from) = &state.made_from {
            internal::replace(&dir, &source, made_from.as_bytes()).map_err(failed())?;
        }
    } else {
        internal::replace_by(&dir, &name, write).map_err(failed())?;
    }
    journal::remove_headless(journals.as_ref())?;
    journal::remove(journals.as_ref(), &covered)?;
    if mount.place() == Place::Here && is_elsewhere(&of)? {
        forget_elsewhere(&of, state)?;
    }
    Ok(())
}

/// Brings home what was kept elsewhere while `.lsync/` took nothing. Does nothing where nothing was. The caller holds the lock.
pub fn bring_home(mount: &Mount, bucket: &str, prefix: &str) -> Result<(), LocalError> {
    if mount.open_elsewhere("")?.is_none() {
        return Ok(());
    }
    mount.ensure_id()?;
    super::uploads::bring_home(mount)?;
    super::log::bring_home(mount)?;
    if is_elsewhere(&Of { mount, bucket, prefix, remote: &remote_id(bucket, prefix) })? {
        save(mount, bucket, prefix, &load(mount, bucket, prefix)?.state)?;
    }
    mount.leave_elsewhere();
    Ok(())
}

/// A state's place among others.
struct Of<'a> {
    mount: &'a Mount,
    bucket: &'a str,
    prefix: &'a str,
    remote: &'a str,
}

impl Of<'_> {
    /// The state in a directory, with the journals of dead runs beside it folded in.
    fn read(&self, dir: Option<&Dir>, journals: &Option<Dir>, taken: &dyn Fn(&RelPath) -> bool) -> Result<Loaded, LocalError> {
        let mut loaded = Loaded::default();
        let Some(dir) = dir else { return Ok(loaded) };
        let name = file_name(self.remote);
        let absent =
            |why: &dyn std::fmt::Display| Some(format!("{RESERVED}/{name}: {why}: treated as absent; nothing is deleted because of it"));
        match internal::open_to_read(dir, &name) {
            Ok(None) => {}
            Err(e) => loaded.warning = absent(&e),
            Ok(Some(file)) => match state_codec::decode(self.bucket, self.prefix, &mut BufReader::with_capacity(READ_AT_ONCE, file)) {
                Ok(state) => loaded.state = state,
                Err(Unreadable::Newer(version)) => {
                    let ours = state_codec::FORMAT;
                    let why = format!("it has format {version}, and this lsync reads format {ours}: upgrade lsync");
                    return Err(LocalError::at("cannot use", &format!("{RESERVED}/{name}"))(io::Error::other(why)));
                }
                Err(Unreadable::Foreign(bucket, prefix)) => {
                    loaded.warning = absent(&format_args!("it belongs to the bucket {bucket:?} and the prefix {prefix:?}"));
                }
                Err(Unreadable::Damaged(why)) => loaded.warning = absent(&why),
            },
        }
        journal::fold(self.mount, journals.as_ref(), self.remote, &mut loaded.state, taken)?;
        Ok(loaded)
    }
}

/// True when a state of this remote lies elsewhere.
fn is_elsewhere(of: &Of<'_>) -> Result<bool, LocalError> {
    let Some(dir) = of.mount.open_elsewhere("")? else { return Ok(false) };
    let there = dir.status(file_name(of.remote)).map_err(LocalError::at("cannot look at", &file_name(of.remote)))?;
    Ok(there.is_some())
}

/// What tells the state in `.lsync/` and the journals beside it from every other.
fn tells(of: &Of<'_>, home: Option<&Dir>) -> Result<String, LocalError> {
    let name = file_name(of.remote);
    let end = || -> io::Result<Vec<u8>> {
        let Some(mut file) = home.map_or(Ok(None), |dir| internal::open_to_read(dir, &name))? else { return Ok(b"none".to_vec()) };
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(END_BYTES)))?;
        // The last line has the checksum of all others.
        let mut end = bytes.to_string().into_bytes();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    let mut text = end().map_err(LocalError::at("cannot read", &format!("{RESERVED}/{name}")))?;
    for (operation, bytes) in journal::lengths(of.mount.open_home(journal::FOLDER)?.as_ref(), of.remote)? {
        text.extend_from_slice(format!("\0{operation}\0{bytes}").as_bytes());
    }
    if let Some(device) = of.mount.device_if_in_doubt() {
        text.extend_from_slice(format!("\0{device}").as_bytes());
    }
    Ok(digest_one(&text).hex())
}

/// What the state elsewhere was made from; `None`: there is no state elsewhere.
fn made_from(of: &Of<'_>, elsewhere: Option<&Dir>) -> Option<Option<String>> {
    let dir = elsewhere?;
    dir.status(file_name(of.remote)).ok()??;
    let source = internal::read(dir, &source_name(of.remote)).ok().flatten();
    Some(source.and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// Removes what is at home by now.
fn forget_elsewhere(of: &Of<'_>, state: &State) -> Result<(), LocalError> {
    let Some(dir) = of.mount.open_elsewhere("")? else { return Ok(()) };
    let name = file_name(of.remote);
    let forget = || {
        removed(&dir, &source_name(of.remote))?;
        removed(&dir, &name)
    };
    forget().map_err(LocalError::at("cannot remove", &name))?;
    journal::remove(of.mount.open_elsewhere(journal::FOLDER)?.as_ref(), &state.journals)
}

fn removed(dir: &Dir, name: &str) -> io::Result<()> {
    dir.remove_file(name).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn source_name(remote: &str) -> String {
    format!("made-from-{remote}")
}

/// The 16 digits by which a state file and its journals name their remote.
pub(super) fn remote_id(bucket: &str, prefix: &str) -> String {
    let mut hex = digest_one(format!("{bucket}\0{prefix}").as_bytes()).hex();
    hex.truncate(16);
    hex
}

fn file_name(remote: &str) -> String {
    format!("state-{remote}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::entry::File;
    use crate::local::owner::Owner;

    fn mount() -> (tempfile::TempDir, Mount) {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        (temp, mount)
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn entry(text: &str) -> Entry {
        let file = File { size: text.len() as u64, digests: Digests::of_whole(digest_one(text.as_bytes())), ..File::default() };
        Entry { kind: Kind::File(file), mode: None }
    }

    fn state(names: &[&str]) -> State {
        let known = |name: &str| Known { base: Some(entry(name).into()), published: Some(entry(name).into()), ..Known::default() };
        State { mount: "m".into(), entries: names.iter().map(|name| (path(name), known(name))).collect(), ..State::default() }
    }

    fn note(name: &str, base: Option<Entry>) -> Journalled {
        let stamp = Stamp { size: 1, mtime: 2, ctime: 3, inode: 4 };
        Journalled {
            path: path(name),
            seen: base.is_some().then(|| (stamp, Digests::of_whole(digest_one(name.as_bytes())))),
            base: base.map(Arc::new),
        }
    }

    fn state_file(root: &Path) -> std::path::PathBuf {
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().path();
        let is_state = |p: &std::path::PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("state-");
        std::fs::read_dir(root.join(".lsync")).unwrap().map(name).find(is_state).unwrap()
    }

    fn journals(root: &Path) -> usize {
        std::fs::read_dir(root.join(".lsync/journal")).map_or(0, Iterator::count)
    }

    /// A journal as another run left it behind: noted by this process, then given to another owner.
    fn left_behind(mount: &Mount, operation: &str, owner: Owner, notes: &[Journalled]) {
        let journal = Journal::create(mount, "b", "", operation).unwrap();
        for done in notes {
            journal.note(done).unwrap();
        }
        journal.sync().unwrap();
        given_to(mount, operation, owner);
    }

    fn given_to(mount: &Mount, operation: &str, owner: Owner) {
        let file = mount.root().join(".lsync/journal").join(operation);
        let text = std::fs::read_to_string(&file).unwrap();
        let (header, rest) = text.split_once('\n').unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&header[9..]).unwrap();
        value["owner"] = serde_json::to_value(owner).unwrap();
        let header = value.to_string();
        let digits = &digest_one(header.as_bytes()).hex()[..8];
        std::fs::write(&file, format!("{digits} {header}\n{rest}")).unwrap();
    }

    fn dead(operation: &str, since: i64) -> Owner {
        Owner { pid: u32::MAX, since, ..Owner::this(operation) }
    }

    #[test]
    fn a_fresh_mount_has_no_state_and_no_warning_and_nothing_is_created() {
        let (temp, mount) = mount();
        let loaded = load(&mount, "b", "").unwrap();
        assert_eq!((loaded.state, loaded.warning), (State::default(), None));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_last_run_is_told_by_the_first_line() {
        let (temp, mount) = mount();
        assert_eq!(last_run(&mount, "b", ""), None);
        let last = Some(LastRun { command: "upload".into(), host: "h".into(), time: 7, generation: 3 });
        save(&mount, "b", "", &State { last: last.clone(), ..state(&["a"]) }).unwrap();
        assert_eq!((last_run(&mount, "b", ""), last_run(&mount, "b", "p/")), (last.clone(), None));
        let file = state_file(temp.path());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.split_inclusive('\n').next().unwrap()).unwrap();
        assert_eq!((last_run(&mount, "b", ""), load(&mount, "b", "").unwrap().state.last), (last, None));
    }

    #[test]
    fn each_remote_has_a_state_of_its_own() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["a"])).unwrap();
        save(&mount, "b", "p/", &state(&["b"])).unwrap();
        assert_eq!(load(&mount, "b", "").unwrap().state, state(&["a"]));
        assert_eq!(load(&mount, "b", "p/").unwrap().state, state(&["b"]));
        assert_eq!(load(&mount, "bp/", "").unwrap().state, State::default());
        let mode = std::os::unix::fs::PermissionsExt::mode(&state_file(temp.path()).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_state_is_absent_with_a_warning_that_names_it() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["a"])).unwrap();
        let file = state_file(temp.path());
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
        let loaded = load(&mount, "b", "").unwrap();
        assert_eq!(loaded.state, State::default());
        let warning = loaded.warning.unwrap();
        assert!(warning.contains(".lsync/state-") && warning.ends_with("treated as absent; nothing is deleted because of it"), "{warning}");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(load(&mount, "b", "").unwrap().warning.is_some());
    }

    #[test]
    fn a_state_copied_from_another_remote_is_absent() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["a"])).unwrap();
        let target = temp.path().join(".lsync").join(file_name(&remote_id("c", "")));
        std::fs::copy(state_file(temp.path()), target).unwrap();
        let loaded = load(&mount, "c", "").unwrap();
        assert_eq!(loaded.state, State::default());
        assert!(loaded.warning.unwrap().contains("belongs to the bucket \"b\""));
    }

    #[test]
    fn a_state_of_a_newer_lsync_is_never_overwritten_unseen() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["a"])).unwrap();
        std::fs::write(state_file(temp.path()), "{\"lsync\":\"state\",\"v\":2}\n{}\n").unwrap();
        let e = load(&mount, "b", "").unwrap_err();
        assert!(e.source.to_string().contains("upgrade lsync"), "{e}: {}", e.source);
    }

    #[test]
    fn a_crash_before_the_manifest_loses_no_finished_transfer() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["b", "c", "d"])).unwrap();
        left_behind(&mount, "two", dead("two", 2), &[note("c", Some(entry("c of two"))), note("a", Some(entry("a"))), note("d", None)]);
        left_behind(&mount, "one", dead("one", 1), &[note("c", Some(entry("c of one"))), note("e", Some(entry("e")))]);
        let state = load(&mount, "b", "").unwrap().state;
        let base = |p: &str| crate::entry::find(&state.entries, p).and_then(|known| known.base.as_deref().cloned());
        assert_eq!(state.entries.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        assert_eq!([base("a"), base("b"), base("c"), base("d")], [Some(entry("a")), Some(entry("b")), Some(entry("c of two")), None]);
        let c = crate::entry::find(&state.entries, "c").unwrap();
        assert_eq!(c.published.as_deref(), Some(&entry("c")), "what is published only manifests say");
        assert!(c.seen.is_some());
        assert_eq!(crate::entry::find(&state.entries, "a").unwrap().published, None);
        assert_eq!(journals(temp.path()), 2, "loading removes nothing");
        save(&mount, "b", "", &state).unwrap();
        assert_eq!(journals(temp.path()), 0);
        let again = load(&mount, "b", "").unwrap().state;
        assert_eq!(again.entries, state.entries);
        assert_eq!(again.journals, []);
    }

    /// What a download notes may reach the disk before the names of its files do.
    #[test]
    fn after_a_power_loss_only_what_is_known_to_be_durable_counts() {
        let (_temp, mount) = mount();
        let journal = Journal::of_landings(&mount, "b", "", "one").unwrap();
        journal.note(&note("a", Some(entry("a")))).unwrap();
        journal.note(&note("b", None)).unwrap();
        journal.sync().unwrap();
        journal.note(&note("c", Some(entry("c")))).unwrap();
        let told = || load(&mount, "b", "").unwrap().state.entries.into_iter().map(|(p, _)| p.as_str().to_owned()).collect::<Vec<_>>();
        let killed = Owner { pid: u32::MAX, ..Owner::this("one") };
        given_to(&mount, "one", killed.clone());
        assert_eq!(told(), ["a", "c"], "the system still runs: what was written is there");
        assert!(!load(&mount, "b", "").unwrap().state.owed, "the bucket was not changed");
        // As long as before: places in the file are counted from its beginning.
        let other = |text: &str| "x".repeat(text.len());
        given_to(&mount, "one", Owner { boot: other(&killed.boot), ..killed.clone() });
        assert_eq!(told(), ["a"]);
        given_to(&mount, "one", Owner { host: other(&killed.host), ..killed.clone() });
        assert_eq!(told(), ["a"], "another host cannot tell");
    }

    /// What an upload sent may not have been durable here: a power loss that takes it is no removal.
    #[test]
    fn after_a_power_loss_a_file_that_was_sent_and_is_gone_is_none_that_was_removed() {
        let (temp, mount) = mount();
        save(&mount, "b", "", &state(&["c", "d"])).unwrap();
        std::fs::write(temp.path().join("a"), "a").unwrap();
        let notes = [note("a", Some(entry("a"))), note("b", Some(entry("b"))), note("c", Some(entry("c of one"))), note("d", None)];
        left_behind(&mount, "one", Owner { boot: "an earlier boot".into(), ..Owner::this("one") }, &notes);
        let bases =
            |state: &State| state.entries.iter().map(|(p, k)| (p.as_str().to_owned(), k.base.as_deref().cloned())).collect::<Vec<_>>();
        let (a, c, d) = (("a".to_owned(), Some(entry("a"))), ("c".to_owned(), Some(entry("c"))), ("d".to_owned(), None));
        let told = load(&mount, "b", "").unwrap().state;
        assert_eq!(bases(&told), [a, c, d]);
        assert!(told.owed, "the bucket was changed");
        // Without a power loss it is there or was removed.
        given_to(&mount, "one", dead("one", 1));
        assert_eq!(bases(&load(&mount, "b", "").unwrap().state).len(), 4);
    }

    #[test]
    fn a_journal_whose_removal_was_missed_is_not_folded_over_the_newer_state() {
        let (temp, mount) = mount();
        left_behind(&mount, "one", dead("one", 1), &[note("a", Some(entry("old")))]);
        let journal = temp.path().join(".lsync/journal/one");
        let bytes = std::fs::read(&journal).unwrap();
        let mut state = load(&mount, "b", "").unwrap().state;
        state.entries[0].1.base = Some(entry("new").into());
        save(&mount, "b", "", &state).unwrap();
        std::fs::write(&journal, &bytes).unwrap();
        let again = load(&mount, "b", "").unwrap().state;
        assert_eq!(again.entries[0].1.base.as_deref(), Some(&entry("new")));
        save(&mount, "b", "", &again).unwrap();
        assert_eq!(journals(temp.path()), 0);
    }

    #[test]
    fn a_torn_or_changed_line_ends_a_journal() {
        let (temp, mount) = mount();
        left_behind(&mount, "one", dead("one", 1), &[note("a", Some(entry("a"))), note("b", Some(entry("b")))]);
        let journal = temp.path().join(".lsync/journal/one");
        let bytes = std::fs::read(&journal).unwrap();
        let line_ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1).collect();
        for at in 0..=bytes.len() {
            std::fs::write(&journal, &bytes[..at]).unwrap();
            let whole = line_ends.iter().filter(|end| **end <= at).count();
            assert_eq!(load(&mount, "b", "").unwrap().state.entries.len(), whole.saturating_sub(1), "cut at {at}");
            if at < bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                std::fs::write(&journal, &flipped).unwrap();
                assert_eq!(load(&mount, "b", "").unwrap().state.entries.len(), whole.saturating_sub(1), "flipped at {at}");
            }
        }
    }

    #[test]
    fn a_journal_that_never_got_its_first_line_goes_with_the_next_state() {
        let (temp, mount) = mount();
        left_behind(&mount, "one", dead("one", 1), &[]);
        let journal = temp.path().join(".lsync/journal/one");
        let header = std::fs::read(&journal).unwrap();
        for at in [0, 9, header.len() - 1] {
            std::fs::write(&journal, &header[..at]).unwrap();
            save(&mount, "b", "", &load(&mount, "b", "").unwrap().state).unwrap();
            assert_eq!(journals(temp.path()), 0, "cut at {at}");
        }
    }

    #[test]
    fn a_journal_of_a_living_process_is_neither_folded_nor_removed() {
        let (temp, mount) = mount();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let alive = Owner { pid: child.id(), started: None, ..Owner::this("live") };
        left_behind(&mount, "live", alive, &[note("a", Some(entry("a")))]);
        let loaded = load(&mount, "b", "").unwrap().state;
        assert_eq!(loaded, State::default());
        save(&mount, "b", "", &loaded).unwrap();
        assert_eq!(journals(temp.path()), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(load(&mount, "b", "").unwrap().state.entries.len(), 1);
    }

    #[test]
    fn the_journal_of_another_host_is_read_and_that_of_another_remote_is_not() {
        let (temp, mount) = mount();
        let elsewhere = Owner { host: "gpu-of-yesterday".into(), ..Owner::this("far") };
        std::fs::write(temp.path().join("a"), "a").unwrap();
        left_behind(&mount, "far", elsewhere, &[note("a", Some(entry("a")))]);
        assert_eq!(load(&mount, "other", "").unwrap().state, State::default());
        save(&mount, "other", "", &State::default()).unwrap();
        assert_eq!(journals(temp.path()), 1);
        assert_eq!(load(&mount, "b", "").unwrap().state.entries.len(), 1);
    }

    #[test]
    fn saving_ends_the_runs_own_journal() {
        let (temp, mount) = mount();
        let journal = Journal::create(&mount, "b", "", "mine").unwrap();
        journal.note(&note("a", Some(entry("a")))).unwrap();
        save(&mount, "b", "", &state(&["z"])).unwrap();
        assert_eq!(journals(temp.path()), 0);
        assert_eq!(load(&mount, "b", "").unwrap().state, state(&["z"]));
    }

    #[test]
    fn threads_may_note_at_once() {
        let (_temp, mount) = mount();
        let journal = Journal::create(&mount, "b", "", "mine").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || (0..50).for_each(|i| journal.note(&note(&format!("{thread}-{i}"), Some(entry("x")))).unwrap()));
            }
        });
        assert_eq!(load(&mount, "b", "").unwrap().state.entries.len(), 200);
    }

    #[test]
    fn a_planted_lsync_link_is_an_error() {
        let (temp, mount) = mount();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join(".lsync")).unwrap();
        assert!(load(&mount, "b", "").is_err());
        assert!(save(&mount, "b", "", &State::default()).is_err());
        assert!(Journal::create(&mount, "b", "", "x").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
