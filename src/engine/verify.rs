//! Compares bucket and mount with what was published and agreed on. Changes nothing anywhere, and repairs nothing.
//!
//! What differs because somebody worked since the last sync is no fault of anybody: it is counted as changed. What a manifest has and
//! the bucket lacks, and the other way round, is.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::learn::{hash, not_read};
use super::look::{Sight, look};
use super::pace::Pace;
use super::reading::{Reader, Shown, sample};
use super::{Ask, Ends, Error, blocking};
use crate::diff::Want;
use crate::entry::{Entry, File, Kind, Stamp, find};
use crate::event::{Event, Phase};
use crate::local::hash::ReadError;
use crate::local::mount::Looked;
use crate::path::RelPath;
use crate::problem::Problem;

/// How much of the content is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Depth {
    /// None: listings, and what is remembered.
    #[default]
    List,
    /// Objects with about this share of the bytes, in percent, chosen by the seed.
    Sample(f64, u64),
    /// Every object; of the mount every file.
    Deep,
}

/// Items by what was found, each in one count of its side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects that were read and have their digest.
    pub read: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Objects that are listed with the size and the ETag that were published or agreed on.
    pub listed: u64,
    /// Links and empty directories, which only the manifest holds.
    pub recorded: u64,
    /// Objects of which nothing tells what they should hold.
    pub unknown: u64,
    /// Files of the mount that were read and have their digest.
    pub hashed: u64,
    /// Files of the mount that carry the stamp under which their digest was remembered, or whose digest was needed and is right; links
    /// and empty directories that are as they were.
    pub remembered: u64,
    /// Changed, new or removed in the mount since the last sync, or not comparable.
    pub changed: u64,
}

/// What is wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Published, and not in the bucket.
    Missing,
    /// In the bucket, and not published.
    Extra,
    /// Another object than the one that was published.
    Replaced,
    /// An object does not hold what its record says.
    Mismatch,
    /// A file of the mount does not hold what it held, and nothing shows that anybody changed it.
    Damaged,
    /// It could not be read.
    Unreadable,
}

/// One item that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Where.
    pub path: RelPath,
    /// What.
    pub wrong: Wrong,
    /// Why, as a fragment after the path.
    pub why: String,
}

/// What a verification found.
#[derive(Debug)]
pub struct Verified {
    /// What is right, and what nobody can know.
    pub tally: Tally,
    /// What is not, by path.
    pub findings: Vec<Finding>,
    /// What cannot be compared at all.
    pub problems: Vec<Problem>,
    /// The newest generation that was compared with; 0: nothing was published.
    pub generation: u64,
}

/// Files of the mount hashed at once.
const HASHERS: usize = 4;
/// Objects read at once.
const READERS: usize = 16;

/// Verifies what the run's patterns and PATHs let through.
pub async fn verify(ends: &Ends, ask: &Ask, depth: Depth) -> Result<Verified, Error> {
    let sight = look(ends, ask).await?;
    let mut verifying = Verifying { ends, ask, sight: &sight, tally: Tally::default(), findings: Vec::new() };
    let objects = verifying.bucket();
    let files = verifying.mount();
    let objects = match depth {
        Depth::List => Vec::new(),
        Depth::Sample(percent, seed) => sample(objects, percent, seed, |o| o.path.as_str(), |o| o.file.size),
        Depth::Deep => objects,
    };
    let files = if depth == Depth::Deep { files } else { Vec::new() };
    if !objects.is_empty() || !files.is_empty() {
        ends.phase(Phase::Hash);
        let bytes = objects.iter().map(|o| o.file.size).sum::<u64>() + files.iter().map(|f| f.file.size).sum::<u64>();
        ends.tell(Event::Planned { files: (objects.len() + files.len()) as u64, bytes });
    }
    verifying.read(objects).await?;
    verifying.hash(files).await?;
    let Verifying { tally, mut findings, .. } = verifying;
    findings.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Verified { tally, findings, generation: sight.state.generation, problems: sight.problems })
}

struct Verifying<'a> {
    ends: &'a Ends,
    ask: &'a Ask,
    sight: &'a Sight,
    tally: Tally,
    findings: Vec<Finding>,
}

/// An object that may be read.
struct Object {
    path: RelPath,
    file: File,
    /// How it was counted so far.
    counted: Counted,
}

#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Listed,
    Unknown,
    /// It is among the findings.
    Wrong,
}

impl Verifying<'_> {
    fn wrong(&mut self, path: &RelPath, wrong: Wrong, why: impl Into<String>) {
        self.findings.push(Finding { path: path.clone(), wrong, why: why.into() });
    }

    /// The listing against the manifest. Returns the objects.
    fn bucket(&mut self) -> Vec<Object> {
        let sight = self.sight;
        let mut objects = Vec::new();
        for (path, remote) in &sight.view.entries {
            let known = find(&sight.state.entries, path.as_str());
            let (published, base) = (known.and_then(|k| k.published.as_deref()), known.and_then(|k| k.base.as_deref()));
            if remote.object().is_none() {
                self.tally.recorded += 1;
                continue;
            }
            let as_recorded = [published, base].into_iter().flatten().any(|record| is_as_recorded(record, &remote.entry));
            let counted = match published {
                _ if as_recorded => Counted::Listed,
                Some(_) => {
                    self.wrong(path, Wrong::Replaced, "the bucket holds another object than the one that was published");
                    Counted::Wrong
                }
                None if sight.view.manifests.is_empty() => Counted::Unknown,
                None => {
                    self.wrong(path, Wrong::Extra, "it is in the bucket and was never published");
                    Counted::Wrong
                }
            };
            match counted {
                Counted::Listed => self.tally.listed += 1,
                Counted::Unknown => self.tally.unknown += 1,
                Counted::Wrong => {}
            }
            if let Kind::File(file) = &remote.entry.kind {
                objects.push(Object { path: path.clone(), file: file.clone(), counted });
            }
        }
        for path in &sight.view.vanished {
            // What this mount removed and could not publish yet.
            if sight.owed && find(&sight.state.entries, path.as_str()).is_some_and(|known| known.base.is_none()) {
                self.tally.changed += 1;
            } else {
                self.wrong(path, Wrong::Missing, "it was published and is not in the bucket");
            }
        }
        objects
    }

    /// The mount against what was agreed on. Returns the files that can be hashed, with the digest that they should have.
    fn mount(&mut self) -> Vec<ToHash> {
        let sight = self.sight;
        let mut files = Vec::new();
        for (path, local) in &*sight.local {
            let Some(agreed) = agreed(sight, path) else {
                self.tally.changed += 1;
                continue;
            };
            let same = local.entry.same_content(agreed);
            match same {
                Some(true) => self.tally.remembered += 1,
                _ => self.tally.changed += 1,
            }
            if let (Some(stamp), Some(file), true) = (local.stamp, agreed.file(), same != Some(false)) {
                let seen = find(&sight.state.entries, path.as_str()).and_then(|known| known.seen.as_ref());
                let trusted = seen.is_some_and(|seen| seen.stamp == stamp);
                files.push(ToHash { path: path.clone(), stamp, file: file.clone(), remembered: same == Some(true), trusted });
            }
        }
        let removed = sight.state.entries.iter().filter(|(path, known)| {
            let travels = |entry: &Entry| sight.filter_has(path, entry.kind == Kind::Dir);
            known.base.as_deref().is_some_and(travels) && self.ask.reaches(path) && sight.local(path.as_str()).is_none()
        });
        self.tally.changed += removed.count() as u64;
        files
    }

    async fn read(&mut self, objects: Vec<Object>) -> Result<(), Error> {
        let pace = Arc::new(Pace::of(self.ask, self.ends.stop.clone()));
        let reader = Reader { ends: self.ends, pace: &pace };
        let reader = &reader;
        let mut shown = stream::iter(objects)
            .map(|object| async move {
                let shown = reader.object(&object.path, &object.file).await;
                (object, shown)
            })
            .buffer_unordered(READERS.min(self.ask.jobs.first()));
        let mut refused = None;
        while let Some((object, shown)) = shown.next().await {
            match shown? {
                Shown::Same => {
                    self.tally.read += 1;
                    self.tally.read_bytes += object.file.size;
                }
                Shown::Untold => self.tally.unknown += 1,
                Shown::Differs(_) => self.wrong(&object.path, Wrong::Mismatch, "what the bucket holds does not have the recorded digest"),
                Shown::Changed => self.wrong(&object.path, Wrong::Unreadable, "the bucket changed it while it was verified"),
                Shown::Unread(why) => self.wrong(&object.path, Wrong::Unreadable, why),
                Shown::Refused(e) => {
                    self.wrong(&object.path, Wrong::Unreadable, e.to_string());
                    refused.get_or_insert(e);
                }
            }
            match object.counted {
                Counted::Listed => self.tally.listed -= 1,
                Counted::Unknown => self.tally.unknown -= 1,
                Counted::Wrong => {}
            }
        }
        // Where no object could be read, it is the permission to read that is missing.
        match refused {
            Some(e) if self.tally.read == 0 => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn hash(&mut self, files: Vec<ToHash>) -> Result<(), Error> {
        let ends = self.ends;
        let mut hashed = stream::iter(files)
            .map(|file| async move {
                let kinds = hash(ends, file.path.clone(), file.stamp, wanted(&file.file)).await;
                (file, kinds)
            })
            .buffer_unordered(HASHERS);
        while let Some((file, kinds)) = hashed.next().await {
            let same = match kinds? {
                Ok(hashed) => hashed.kinds.iter().find_map(|digests| digests.same(&file.file.digests)),
                Err(ReadError::Stopped) => return Err(Error::Stopped),
                // Somebody works on it.
                Err(ReadError::Changed | ReadError::Gone) => Some(false),
                Err(why @ ReadError::Failed(_)) => {
                    *self.tally.of(&file) -= 1;
                    self.wrong(&file.path, Wrong::Unreadable, not_read(&why));
                    continue;
                }
            };
            if same.is_none() {
                continue;
            }
            *self.tally.of(&file) -= 1;
            match same {
                Some(true) => self.tally.hashed += 1,
                // It carries the stamp under which its digest was remembered, and that was the right one.
                _ if file.remembered && file.trusted && self.still_carries(&file).await? => {
                    self.wrong(
                        &file.path,
                        Wrong::Damaged,
                        "its content is another one than when it was last read, and its times are the same",
                    );
                }
                _ => self.tally.changed += 1,
            }
        }
        if self.ends.stop.asked() { Err(Error::Stopped) } else { Ok(()) }
    }

    async fn still_carries(&self, file: &ToHash) -> Result<bool, Error> {
        let (mount, path) = (self.ends.mount.clone(), file.path.clone());
        let looked = blocking(move || mount.look(&path)).await?;
        Ok(matches!(looked, Ok(Some(Looked::File(stamp, _))) if stamp == file.stamp))
    }
}

/// A file of the mount that may be hashed.
struct ToHash {
    path: RelPath,
    stamp: Stamp,
    /// What it should be.
    file: File,
    /// It was counted as remembered.
    remembered: bool,
    /// Its digest was remembered under the stamp that it carries.
    trusted: bool,
}

impl Tally {
    /// The count that a file of the mount is in so far.
    fn of(&mut self, file: &ToHash) -> &mut u64 {
        if file.remembered { &mut self.remembered } else { &mut self.changed }
    }
}

/// What the mount should hold: what both sides agreed on or, where this is another mount, what was published.
fn agreed<'a>(sight: &'a Sight, path: &RelPath) -> Option<&'a Entry> {
    let known = find(&sight.state.entries, path.as_str())?;
    let base = known.base.as_deref().filter(|_| sight.base_is_of_this_mount);
    base.or(known.published.as_deref())
}

/// The kinds of digest that a record has.
fn wanted(file: &File) -> Want {
    let digests = &file.digests;
    let part_bytes: Vec<u64> = match (&digests.parts, digests.composite.as_deref()) {
        (Some(parts), _) => vec![parts.part_bytes],
        (None, Some((_, count))) => crate::digest::candidate_part_bytes(file.size, *count),
        (None, None) => Vec::new(),
    };
    Want { whole: digests.whole.is_some() || part_bytes.is_empty(), part_bytes }
}

/// True when the bucket lists what a record says: a file by ETag and size, anything else by its kind.
fn is_as_recorded(record: &Entry, listed: &Entry) -> bool {
    match (record.file(), listed.file()) {
        (Some(record), Some(listed)) => record.is_version_of(listed),
        _ => record.kind == listed.kind,
    }
}
