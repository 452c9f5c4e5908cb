//! Plans for the snapshots of screens: every class, small and large numbers, and names that are hard to show.

use lsync::entry::{Entry, File, Kind};
use lsync::local::place::TrashLimits;
use lsync::path::RelPath;
use lsync::plan::{Class, Direction, Found, Kept, Plan, Removal, Transfer, Update, Way};
use lsync::problem::{Problem, Side, Skipped};

use super::{Around, Bounds, Ignored, Page};
use crate::cli::ink::Ink;

const NOW: i64 = 1_790_000_000_000_000_000;
/// A name that is long, not ASCII, and holds a terminal escape.
pub(in crate::cli) const HARD: &str =
    "checkpoints/a run with a rather long name/日本語の名前のディレクトリ/\u{1b}[31mepoch-0042/optimizer-state.pt";

pub(in crate::cli) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub(in crate::cli) fn page(width: usize) -> Page {
    Page { width, ink: Ink(false), all: false }
}

pub(in crate::cli) fn around() -> Around {
    Around {
        root: "/lambda/nfs/research".into(),
        bucket: "s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/".into(),
        endpoint: "https://files.us-east-2.lambda.ai".into(),
        scope: Vec::new(),
        holds: (12_345, 1_300_000_000_000),
        last_upload: Some((NOW - 11_000_000_000_000, "gpu-a100-1".into())),
        now: NOW,
    }
}

pub(in crate::cli) fn bounds() -> Bounds {
    Bounds {
        ignored: Ignored::default(),
        free: None,
        limit: None,
        delete: false,
        trash: TrashLimits { age_seconds: 7 * 86_400, share: 0.1 },
        keys: Vec::new(),
    }
}

pub(in crate::cli) fn transfer(at: &str, bytes: u64, class: Class, replaced_bytes: u64) -> Transfer {
    Transfer {
        path: path(at),
        source: Entry { kind: Kind::File(File { size: bytes, ..File::default() }), mode: None }.into(),
        mode: None,
        stamp: None,
        last_modified: None,
        found: Found::Nothing,
        replaced_bytes,
        found_mode: None,
        class,
    }
}

pub(in crate::cli) fn kept(at: &str, bytes: u64, why: &'static str) -> Kept {
    Kept { path: path(at), bytes, why, way: Way::Either }
}

fn removal(at: &str, bytes: u64, loses: bool) -> Removal {
    Removal { path: path(at), found: Found::Nothing, bytes, loses }
}

/// A plan with something of every class.
pub(in crate::cli) fn full(direction: Direction) -> Plan {
    let mut transfers: Vec<Transfer> = (0..1200).map(|n| transfer(&format!("data/part-{n:04}.npy"), 4 << 20, Class::New, 0)).collect();
    transfers.extend([
        transfer(HARD, 5 << 30, Class::New, 0),
        transfer("again.txt", 10, Class::SentAgain, 0),
        transfer("changed.bin", 3 << 20, Class::Changed, 2 << 20),
        transfer("link", 0, Class::KindChanged, 7),
        transfer("newer.bin", 1 << 20, Class::OverwriteProtected, 1 << 20),
        transfer("both.bin", 1 << 20, Class::OverwriteConflict, 1 << 20),
        transfer("perhaps.bin", 1 << 20, Class::OverwriteUnknown, 1 << 20),
    ]);
    let problem = |name: &str, why: &str, exclude: Option<&str>| Problem {
        name: name.into(),
        path: None,
        below: false,
        side: Side::Local,
        why: why.into(),
        exclude: exclude.map(Into::into),
    };
    let newer = if direction == Direction::Upload { "newer in the bucket" } else { "newer in the mount" };
    Plan {
        transfers,
        removals: vec![removal("old.ckpt", 9 << 30, false), removal("old/changed.ckpt", 1 << 30, true)],
        updates: vec![Update { path: path("run.sh"), found: Found::Nothing, mode: 0o755 }],
        protected: (0..7).map(|n| kept(&format!("newer/{n}"), 1000, newer)).collect(),
        conflicts: vec![kept("notes.md", 2048, "changed on both sides"), kept(HARD, 2048, "different, and never agreed on")],
        unknown: vec![kept("foreign.bin", 6 << 30, "equal size, and nothing tells about the content")],
        kept: vec![kept("theirs", 5, "only in the bucket"), kept("theirs2", 5, "removed in the mount")],
        outside_links: Vec::new(),
        keys: Vec::new(),
        regenerable: Vec::new(),
        others: Vec::new(),
        nothing_there: None,
        vanished: vec![path("gone.txt")],
        same: (0..1_000_001).map(|n| path(&n.to_string())).collect(),
        same_bytes: 1 << 40,
        problems: vec![
            problem("caf\u{fffd}.txt", "its name is not UTF-8", Some("/caf?.txt")),
            problem(
                "a/../b",
                "it has a `..` segment, so it cannot be a path below the mount; rename or remove the object in the bucket",
                None,
            ),
        ],
        skipped: vec![Skipped { path: path("run/socket"), why: "a socket".into() }],
        ..Plan::empty(direction)
    }
}

/// Fails when a line is wider than the page.
#[track_caller]
pub(in crate::cli) fn fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(console::measure_text_width(line) <= width, "wider than {width}: {line}");
    }
}
