//! Whether the times of a file will tell every change of what is about to be read of it. Stores through a shared mapping move no times
//! while the page is dirty already, and on some file systems never.
//!
//! | file system | what holds (tried on Linux 6.18) |
//! |---|---|
//! | ext4, xfs, btrfs, … | a store into a clean page moves the times: they tell everything once nobody has the file open for writing, which a read lease shows |
//! | overlay | the same, but leases do not see a mapping whose descriptors are closed: what is dirty is written back before it is read |
//! | NFS, SMB | whether a lease is granted tells nothing about writers; asking for the times of an NFS file writes it back |
//! | tmpfs, ramfs | nothing is ever written back, and a store into a page that was read before moves no times: nothing tells |

use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::beneath::Dir;
use super::lock::now;
use super::read_lease::{self, Lease};
use crate::entry::{Nanos, Stamp};

/// What tells that a file has changed since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Its times.
    Times,
    /// Nothing, because a program has it open for writing.
    Writer,
    /// Nothing on this file system, or nothing that could be had in time.
    Nothing,
}

impl Witness {
    /// True where the file's times tell every later change, so that its checksum may be remembered under them.
    #[must_use]
    pub fn holds(self) -> bool {
        self == Witness::Times
    }
}

/// How a file system shows who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Leases are refused while anyone can write.
    Leased,
    /// Not at all, but a file that was written back shows the next store.
    WrittenBack,
    /// Not at all, and stores through mappings may move no times.
    Unseen,
}

/// Numbers by which Linux names file systems; see statfs(2).
const MEMORY: [u32; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];
const LAYERED_OR_NETWORK: [u32; 5] = [0x794c_7630, 0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42];

/// NFS, SMB, FUSE, 9P, Ceph, Lustre, GPFS.
const OTHER_CLOCK: [u32; 8] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x0bd0_0bd0];

/// True when another host may give files their times.
pub(super) fn has_another_clock(top: &Dir) -> bool {
    rustix::fs::fstatfs(top).map_or(true, |stat| OTHER_CLOCK.contains(&(stat.f_type as u32)))
}

impl Writers {
    fn on(magic: u32) -> Writers {
        match magic {
            _ if MEMORY.contains(&magic) => Writers::Unseen,
            _ if LAYERED_OR_NETWORK.contains(&magic) => Writers::WrittenBack,
            _ => Writers::Leased,
        }
    }

    /// The same where leases turn out to tell nothing.
    pub(super) fn without_leases(self) -> Writers {
        if self == Writers::Leased { Writers::WrittenBack } else { self }
    }
}

/// The kernel writes dirty pages back after 30 seconds; a disk that is busy may need minutes.
const WRITTEN_BACK_AFTER: Nanos = 600 * 1_000_000_000;
/// What writing back before reading may cost a process, in nanoseconds.
const MOST: u64 = 2_000_000_000;

/// The witnesses of one directory tree.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    writers: OnceLock<Writers>,
    /// Nanoseconds that writing back has taken.
    taken: AtomicU64,
}

impl Witnesses {
    /// How the file system that `top` lies on shows who writes.
    pub(super) fn writers(&self, top: &Dir) -> Writers {
        *self.writers.get_or_init(|| {
            // The low 32 bits are the same wherever the type of the field is.
            rustix::fs::fstatfs(top).map_or(Writers::WrittenBack, |stat| Writers::on(stat.f_type as u32))
        })
    }

    /// What will tell that a file changes after now. It must carry the same stamp again after it was read.
    pub(super) fn of(&self, top: &Dir, file: &File, stamp: &Stamp) -> Witness {
        // What is empty has no page to store into.
        if stamp.size == 0 {
            return Witness::Times;
        }
        let is_young = || now().saturating_sub(stamp.ctime) < WRITTEN_BACK_AFTER;
        witness(self.writers(top), &|| read_lease::ask(file), &is_young, &|| self.write_back(file))
    }

    fn write_back(&self, file: &File) -> bool {
        if self.taken.load(Ordering::Relaxed) >= MOST {
            return false;
        }
        let began = Instant::now();
        let done = rustix::fs::fdatasync(file).is_ok();
        self.taken.fetch_add(nanos(began.elapsed()), Ordering::Relaxed);
        done
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks no more than it needs.
fn witness(writers: Writers, lease: &dyn Fn() -> Lease, is_young: &dyn Fn() -> bool, write_back: &dyn Fn() -> bool) -> Witness {
    let written_back = || if !is_young() || write_back() { Witness::Times } else { Witness::Nothing };
    match writers {
        Writers::Unseen => Witness::Nothing,
        Writers::WrittenBack => written_back(),
        Writers::Leased => match lease() {
            Lease::Granted => Witness::Times,
            Lease::Refused => Witness::Writer,
            Lease::Unavailable => written_back(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_witness_where_no_store_can_stay_unseen() {
        use Lease::{Granted, Refused, Unavailable};
        use Witness::{Nothing, Times, Writer};
        use Writers::{Leased, Unseen, WrittenBack};
        let check = |writers, lease, is_young, written_back, expected| {
            let found = witness(writers, &|| lease, &|| is_young, &|| written_back);
            assert_eq!(found, expected, "{writers:?} {lease:?} {is_young} {written_back}");
        };
        check(Leased, Granted, true, false, Times);
        check(Leased, Refused, false, true, Writer);
        check(Leased, Unavailable, false, false, Times);
        check(Leased, Unavailable, true, true, Times);
        check(Leased, Unavailable, true, false, Nothing);
        check(WrittenBack, Granted, true, false, Nothing);
        check(WrittenBack, Refused, true, true, Times);
        check(WrittenBack, Refused, false, false, Times);
        check(Unseen, Granted, false, true, Nothing);
    }

    #[test]
    fn file_systems_are_known_by_their_number() {
        let check = |magic, expected| assert_eq!(Writers::on(magic), expected, "{magic:x}");
        check(0xef53, Writers::Leased);
        check(0x5846_5342, Writers::Leased);
        check(0x0102_1994, Writers::Unseen);
        check(0x794c_7630, Writers::WrittenBack);
        check(0x6969, Writers::WrittenBack);
    }

    #[test]
    fn a_file_that_is_open_for_writing_has_no_witness_where_leases_tell() {
        let temp = tempfile::tempdir().unwrap();
        let top = Dir::open_root(temp.path()).unwrap();
        let name = temp.path().join("f");
        let writer = File::create(&name).unwrap();
        std::io::Write::write_all(&mut &writer, b"x").unwrap();
        let (reader, witnesses) = (File::open(&name).unwrap(), Witnesses::default());
        let stamp = Stamp::of(&reader.metadata().unwrap());
        let of = || witnesses.of(&top, &reader, &stamp);
        let expected = match witnesses.writers(&top) {
            Writers::Leased => (Witness::Writer, Witness::Times),
            Writers::WrittenBack => (Witness::Times, Witness::Times),
            Writers::Unseen => (Witness::Nothing, Witness::Nothing),
        };
        let while_open = of();
        drop(writer);
        assert_eq!((while_open, of()), expected);
    }
}
