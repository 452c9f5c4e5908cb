//! What an operation did to the tree, so that it can be undone: beside what lies in its trash, a record of what took its place. Brings
//! back one thing at a time; what is to be brought back is the caller's decision.
//!
//! # Format 1
//! `.lsync/trash/<operation>/.lsync/items`, mode 0600, a file of `lines`, each with `n`, the path; `w`, what was there (`"file"`, `"link"`,
//! `"dir"` for an empty directory, `"tree"` for one with all that it held, `"nothing"`); `a`, where that lies below the operation's
//! directory; `m`, the permission bits of an empty directory; and `o`, what is there since: `"nothing"`, `"dir"`, `{"link": target}` or
//! `{"file": [size, mtime, inode]}`. Of a path that is named twice the first line tells what was there, the last what is. A line with
//! `d: true` says that the path is as it was again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::beneath::Dir;
use super::internal::{self, PRIVATE_FILE};
use super::lines::{checked, with_digits};
use super::mount::{LocalError, Looked, Mount};
use super::owner::Owner;
use super::place::{PlaceError, Seen, Workplace};
use super::trash::{BYTES, FOLDER, Spot};
use crate::entry::Nanos;
use crate::path::{RESERVED, RelPath};

const ITEMS: &str = "items";

/// What an operation found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Was {
    /// Nothing.
    Nothing,
    /// A file.
    File,
    /// A link.
    Link,
    /// An empty directory.
    Dir,
    /// A directory with all that it held.
    Tree,
}

/// What an operation left at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Left {
    /// Nothing.
    Nothing,
    /// A file of this size, mtime and inode.
    File(u64, Nanos, u64),
    /// A link with this target.
    Link(String),
    /// A directory.
    Dir,
}

/// One thing that an operation changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where.
    pub path: RelPath,
    /// What was there.
    pub was: Was,
    /// Content bytes that lie in the trash; of a directory, what it is not asked for.
    pub bytes: u64,
    /// What the operation left there.
    pub left: Left,
    /// Where it lies, relative to the operation's directory.
    at: Option<String>,
    mode: Option<u32>,
}

/// An operation and what of it can be undone.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// Who made it, and when.
    pub owner: Owner,
    /// Sorted by path; what was brought back already is left out.
    pub items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    n: String,
    w: Was,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<u32>,
    o: Left,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    d: bool,
}

/// What a change found, and where that lies now.
#[derive(Debug)]
pub(super) struct Took {
    pub(super) was: Was,
    pub(super) at: Option<String>,
    pub(super) mode: Option<u32>,
}

impl Took {
    pub(super) fn new(seen: &Seen, at: Option<String>) -> Took {
        let was = match seen {
            Seen::Absent => Was::Nothing,
            Seen::File(_) => Was::File,
            Seen::Link(_) => Was::Link,
            Seen::EmptyDir => Was::Dir,
            Seen::Tree => Was::Tree,
        };
        Took { was, at, mode: None }
    }
}

/// The record of one operation.
#[derive(Debug)]
pub(super) struct Items {
    file: File,
    len: u64,
}

impl Items {
    /// Opens or begins the one in an operation's directory for records.
    pub(super) fn open(records: &Dir) -> io::Result<Items> {
        let file = match records.create_new(ITEMS, PRIVATE_FILE) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => internal::open_to_write(records, ITEMS)?,
            created => created?,
        };
        let len = file.metadata()?.len();
        Ok(Items { file, len })
    }

    /// Appends what was done to a path.
    pub(super) fn note(&mut self, path: &RelPath, took: &Took, left: Left) -> io::Result<()> {
        self.write(&Line { n: path.as_str().into(), w: took.was, a: took.at.clone(), m: took.mode, o: left, d: false })
    }

    /// What was there is back.
    fn done(&mut self, item: &Item) -> io::Result<()> {
        self.write(&Line { n: item.path.as_str().into(), w: item.was, a: None, m: None, o: item.left.clone(), d: true })
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut json = Vec::new();
        crate::manifest::write_line(&mut json, line);
        let line = with_digits(&json);
        self.file.write_all_at(&line, self.len)?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Makes it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The operations of which something can be undone, newest first.
pub fn operations(mount: &Mount) -> Result<Vec<Operation>, LocalError> {
    let Some(trash) = mount.open_internal(FOLDER)? else { return Ok(Vec::new()) };
    let names = trash.names().map_err(LocalError::at("cannot read", ".lsync/trash"))?;
    let mut all: Vec<Operation> = names.iter().filter_map(|name| read(&trash, name.to_str()?)).collect();
    all.retain(|operation| !operation.items.is_empty());
    all.sort_by_key(|operation| std::cmp::Reverse(operation.owner.since));
    Ok(all)
}

fn read(trash: &Dir, id: &str) -> Option<Operation> {
    let dir = trash.dir(id).ok()?;
    let records = dir.dir(RESERVED).ok()?;
    let owner = Owner::decode(&internal::read(&records, "owner").ok()??)?;
    let bytes = internal::read(&records, ITEMS).ok()??;
    let mut items: BTreeMap<RelPath, Item> = BTreeMap::new();
    for Line { n, w, a, m, o, d } in bytes.split_inclusive(|b| *b == b'\n').map_while(|line| serde_json::from_slice(checked(line)?).ok()) {
        let path = RelPath::new(&n).ok().filter(|path| !path.is_reserved())?;
        if d {
            items.remove(&path);
            continue;
        }
        let item = Item { path: path.clone(), was: w, bytes: 0, left: o.clone(), at: a, mode: m };
        items.entry(path).and_modify(|first| first.left = o).or_insert(item);
    }
    let there = |mut item: Item| {
        let Some(at) = &item.at else { return Some(item) };
        let (parent, name) = dir.parent_of(at).ok()?;
        let status = parent.status(name).ok()??;
        if status.kind == FileType::RegularFile {
            item.bytes = status.stamp.size;
        }
        Some(item)
    };
    Some(Operation { id: id.to_owned(), owner, items: items.into_values().filter_map(there).collect() })
}

impl Left {
    /// True when this is what stands there.
    #[must_use]
    pub fn is(&self, found: Option<&Looked>) -> bool {
        match (self, found) {
            (Left::Nothing, None) | (Left::Dir, Some(Looked::Dir(true))) => true,
            (Left::File(size, mtime, inode), Some(Looked::File(stamp, _))) => {
                (*size, *mtime, *inode) == (stamp.size, stamp.mtime, stamp.inode)
            }
            (Left::Link(target), Some(Looked::Link(now))) => Some(target) == now.as_ref(),
            _ => false,
        }
    }
}

impl Workplace {
    /// Brings back what an operation found at a path, in place of what `seen` says, which goes to this run's trash. It leaves the trash of
    /// that operation.
    pub fn restore(&self, mount: &Mount, operation: &str, item: &Item, seen: &Seen) -> Result<(), PlaceError> {
        let (took, left) = self.bring_back(mount, operation, item, seen)?;
        self.trash.note(mount, &item.path, &took, left);
        if let Some(records) = mount.open_internal(&format!("{FOLDER}/{operation}/{RESERVED}"))? {
            // Without the line it is shown as changed since; without its sum, what is left of the operation is counted.
            let _ = Items::open(&records).and_then(|mut items| items.done(item));
            let _ = records.remove_file(BYTES);
        }
        Ok(())
    }

    fn bring_back(&self, mount: &Mount, operation: &str, item: &Item, seen: &Seen) -> Result<(Took, Left), PlaceError> {
        let Item { path, was, at, mode, .. } = item;
        let place = match (was, at) {
            (Was::Nothing, _) => return Ok((self.take_away(mount, path, seen)?, Left::Nothing)),
            (Was::Dir, _) => return Ok((self.make_dir(mount, *mode, path, seen)?, Left::Dir)),
            (_, Some(at)) => format!("{RESERVED}/{FOLDER}/{operation}/{at}"),
            (_, None) => return Err(PlaceError::Stale),
        };
        let failed = || PlaceError::at("cannot take from the trash", &place);
        let (from, name) = mount.top().parent_of(&place).map_err(failed())?;
        let is_dir = match from.status(name).map_err(failed())? {
            None => return Err(PlaceError::Stale),
            Some(status) => status.kind == FileType::Directory,
        };
        let spot = self.spot(mount, path, seen)?;
        let took = match seen {
            // Nothing is renamed over a file but a file.
            Seen::File(_) | Seen::Link(_) if is_dir => self.make_way(mount, &from, name, &spot, seen)?,
            _ => self.put(mount, &from, name, &spot, seen)?,
        };
        mount.touched().add(place.rsplit_once('/').map_or("", |(parent, _)| parent));
        Ok((took, left_at(&spot)?))
    }
}

/// What stands at a spot, right after it was put there.
fn left_at(spot: &Spot<'_>) -> Result<Left, PlaceError> {
    let failed = || PlaceError::at("cannot look at", spot.path.as_str());
    let Some(status) = spot.dir.status(spot.name).map_err(failed())? else { return Ok(Left::Nothing) };
    Ok(match status.kind {
        FileType::RegularFile => Left::File(status.stamp.size, status.stamp.mtime, status.stamp.inode),
        FileType::Symlink => Left::Link(spot.dir.read_link(spot.name).map_err(failed())?.to_string_lossy().into_owned()),
        _ => Left::Dir,
    })
}
