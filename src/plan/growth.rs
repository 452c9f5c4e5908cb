//! What an upload sends of a file that changes faster than it can be read. Pure.
//!
//! A log that is never at rest would never reach the bucket, so it is sent up to the length that it has now, where the bucket only gains by
//! that. Anything else waits: a checkpoint that is written in place also only grows, and half of one must never replace a whole one.

use crate::entry::{File, Stamp};

/// What is sent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth<'a> {
    /// Nothing.
    Waits,
    /// What it holds now: the bucket has nothing there.
    Begins,
    /// What it holds now, if it begins with what this object holds.
    GoesOn(&'a File),
}

/// `before`: the file when the plan was made; `now`: after all tries to read it at rest; `held`: the object that it would replace.
#[must_use]
pub fn growth<'a>(before: &Stamp, now: &Stamp, held: Option<&'a File>) -> Growth<'a> {
    if now.inode != before.inode || now.size <= before.size {
        return Growth::Waits;
    }
    match held {
        None => Growth::Begins,
        Some(held) if held.size <= now.size && (held.size == 0 || !held.digests.is_empty()) => Growth::GoesOn(held),
        Some(_) => Growth::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digests, digest_one};

    /// Size and inode before and now, and size and checksum of the object.
    #[track_caller]
    fn check(before: (u64, u64), now: (u64, u64), held: Option<(u64, bool)>, expected: &str) {
        let stamp = |(size, inode)| Stamp { size, mtime: 0, ctime: 0, inode };
        let digests = |known: bool| if known { Digests::of_whole(digest_one(b"x")) } else { Digests::default() };
        let held = held.map(|(size, known)| File { size, digests: digests(known), ..File::default() });
        let found = match growth(&stamp(before), &stamp(now), held.as_ref()) {
            Growth::Waits => "waits",
            Growth::Begins => "begins",
            Growth::GoesOn(_) => "goes on",
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_grows_is_sent_where_the_bucket_only_gains() {
        check((10, 1), (11, 1), None, "begins");
        check((0, 1), (1, 1), None, "begins");
        check((10, 1), (11, 1), Some((10, true)), "goes on");
        check((10, 1), (11, 1), Some((11, true)), "goes on");
        check((10, 1), (11, 1), Some((0, false)), "goes on");
        // Longer than the file, or nothing tells what it holds.
        check((10, 1), (11, 1), Some((12, true)), "waits");
        check((10, 1), (11, 1), Some((10, false)), "waits");
        // Written in place, shorter than before, or another file.
        check((10, 1), (10, 1), None, "waits");
        check((10, 1), (9, 1), None, "waits");
        check((10, 1), (11, 2), None, "waits");
    }
}
