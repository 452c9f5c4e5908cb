//! The operation log: who changed what here or in the bucket from here, when and from which host. Read by people; nothing is decided by it.
//!
//! # Format 1
//! `.lsync/log`, mode 0600, lines as in `lines`, each an [`Entry`] with `"v": 1`. An operation has one when it begins, with `open`, and one
//! when it ends, so that one that died is told too. A line that does not fit is left out: a crash tears the last one. When the file has grown over a mebibyte, the older half of it goes.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};

use super::beneath::Dir;
use super::elsewhere::Place;
use super::internal;
use super::lines::{checked, with_digits};
use super::mount::{LocalError, Mount};
use crate::entry::Nanos;

const FORMAT: u32 = 1;
const NAME: &str = "log";
const MOST_BYTES: usize = 1 << 20;

/// One operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The format.
    pub v: u32,
    /// Its id, by which the trash and manifests name it too.
    pub operation: String,
    /// `upload`, `download` or `undo`.
    pub command: String,
    /// Who ran it: a name, else the number of the user.
    pub user: String,
    /// On which host.
    pub host: String,
    /// When it began, nanoseconds since 1970.
    pub began: Nanos,
    /// When it ended.
    pub ended: Nanos,
    /// The bucket's URL; empty for an undo, which changes the mount alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Only these paths; empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Sent, brought, or brought back.
    pub moved: u64,
    /// Attributes only.
    #[serde(default)]
    pub updated: u64,
    /// Removed at the destination.
    #[serde(default)]
    pub deleted: u64,
    /// Tried and not done.
    #[serde(default)]
    pub failed: u64,
    /// Content bytes that were moved.
    pub bytes: u64,
    /// Nothing was left to do.
    pub complete: bool,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The generation that it published, or brought the mount to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The operation that it took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// Written when it began. Of one that ended there is another entry, and this one is not read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

impl Entry {
    /// An entry of the user and host of this process, to be filled in.
    #[must_use]
    pub fn here(operation: &str, command: &str, began: Nanos) -> Entry {
        let (user, host, ended) = (user(), super::owner::host_name(), super::owner::now());
        Entry { v: FORMAT, operation: operation.into(), command: command.into(), user, host, began, ended, ..Entry::default() }
    }
}

/// Appends an entry; durable on return. The caller holds the lock.
pub fn append(mount: &Mount, entry: &Entry) -> Result<(), LocalError> {
    if mount.place() == Place::Memory {
        return Ok(());
    }
    let dir = mount.make_internal("")?;
    let append = || -> io::Result<()> {
        let mut json = Vec::new();
        crate::manifest::write_line(&mut json, entry);
        let line = with_digits(&json);
        let before = internal::read(&dir, NAME)?.unwrap_or_default();
        if before.is_empty() || before.len() + line.len() > MOST_BYTES {
            return internal::replace(&dir, NAME, &[newer_half(&before), &line].concat());
        }
        let file = internal::open_to_write(&dir, NAME)?;
        // A torn line must not swallow this one.
        let line = if before.ends_with(b"\n") { line } else { [b"\n", &line[..]].concat() };
        file.write_all_at(&line, before.len() as u64)?;
        file.sync_data()
    };
    append().map_err(LocalError::at("cannot write", ".lsync/log"))
}

/// What was logged, oldest first.
pub fn read(mount: &Mount) -> Result<Vec<Entry>, LocalError> {
    let mut entries = Vec::new();
    for dir in [mount.open_home("")?, mount.open_elsewhere("")?].into_iter().flatten() {
        entries.extend(in_directory(&dir)?);
    }
    let ended: HashSet<String> = entries.iter().filter(|entry| !entry.open).map(|entry| entry.operation.clone()).collect();
    entries.retain(|entry| !entry.open || !ended.contains(&entry.operation));
    Ok(entries)
}

fn in_directory(dir: &Dir) -> Result<Vec<Entry>, LocalError> {
    let bytes = internal::read(dir, NAME).map_err(LocalError::at("cannot read", ".lsync/log"))?.unwrap_or_default();
    let entry = |line| serde_json::from_slice::<Entry>(checked(line)?).ok().filter(|entry| entry.v == FORMAT);
    Ok(bytes.split_inclusive(|b| *b == b'\n').filter_map(entry).collect())
}

/// Appends what was logged elsewhere while `.lsync/` took nothing.
pub(super) fn bring_home(mount: &Mount) -> Result<(), LocalError> {
    let Some(elsewhere) = mount.open_elsewhere("")? else { return Ok(()) };
    let entries = in_directory(&elsewhere)?;
    if entries.is_empty() {
        return Ok(());
    }
    entries.iter().try_for_each(|entry| append(mount, entry))?;
    elsewhere.remove_file(NAME).map_err(LocalError::at("cannot remove", NAME))
}

/// Whole lines of the second half of what would be too much.
fn newer_half(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= MOST_BYTES / 2 {
        return bytes;
    }
    let half = &bytes[bytes.len() - MOST_BYTES / 2..];
    half.iter().position(|b| *b == b'\n').map_or(&[], |end| &half[end + 1..])
}

/// The name of this process's user in `/etc/passwd`, else the number.
fn user() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    name.unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> (tempfile::TempDir, Mount) {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        mount.make_internal("").unwrap();
        (temp, mount)
    }

    fn entry(operation: &str) -> Entry {
        Entry { moved: 3, bytes: 5, complete: true, ..Entry::here(operation, "download", 7) }
    }

    #[test]
    fn what_was_logged_is_read_in_order_and_torn_lines_are_left_out() {
        let (temp, mount) = mount();
        assert_eq!(read(&mount).unwrap(), []);
        let (one, two, three) = (entry("one"), entry("two"), entry("three"));
        append(&mount, &one).unwrap();
        append(&mount, &two).unwrap();
        let path = temp.path().join(".lsync/log");
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        // Without its last byte alone, a line is whole again with the next one's beginning.
        for at in first..whole.len() - 1 {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&mount).unwrap(), std::slice::from_ref(&one), "cut at {at}");
            append(&mount, &three).unwrap();
            assert_eq!(read(&mount).unwrap(), [one.clone(), three.clone()], "cut at {at}");
        }
        assert!(!one.user.is_empty() && one.ended > one.began);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_has_ended_is_told_once_and_what_has_not_as_it_began() {
        let (_temp, mount) = mount();
        let begun = |operation| Entry { open: true, ..Entry::here(operation, "download", 7) };
        for entry in [begun("died"), begun("one"), entry("one"), begun("runs")] {
            append(&mount, &entry).unwrap();
        }
        let all: Vec<(String, bool)> = read(&mount).unwrap().into_iter().map(|entry| (entry.operation, entry.open)).collect();
        assert_eq!(all, [("died".to_owned(), true), ("one".to_owned(), false), ("runs".to_owned(), true)]);
    }

    #[test]
    fn it_stays_below_a_mebibyte_and_keeps_what_is_newest() {
        let (temp, mount) = mount();
        append(&mount, &entry("first")).unwrap();
        let path = temp.path().join(".lsync/log");
        let line = std::fs::read(&path).unwrap();
        std::fs::write(&path, line.repeat(MOST_BYTES / line.len())).unwrap();
        append(&mount, &entry("last")).unwrap();
        let all = read(&mount).unwrap();
        assert_eq!((all.last().unwrap().operation.as_str(), all.len() > 1000), ("last", true));
        assert!(path.metadata().unwrap().len() < (MOST_BYTES as u64) * 6 / 10);
    }

    #[test]
    fn format_1_is_written_to_the_letter() {
        let (temp, mount) = mount();
        let fixed = Entry { user: "ada".into(), host: "gpu-1".into(), ended: 9, ..entry("one") };
        append(&mount, &fixed).unwrap();
        let text = std::fs::read_to_string(temp.path().join(".lsync/log")).unwrap();
        let json = r#"{"v":1,"operation":"one","command":"download","user":"ada","host":"gpu-1","began":7,"ended":9,"moved":3,"updated":0,"deleted":0,"failed":0,"bytes":5,"complete":true}"#;
        assert_eq!(text[9..].trim_end(), json);
    }
}
