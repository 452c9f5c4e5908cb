//! How the filesystem shows which programs write to its files, in words. Pure.

use lsync::local::witness::Writers;
use serde_json::json;

use super::facts::{Fact, Verdict};

/// What tells that a file changes after it was read.
pub(super) fn writers_fact(writers: Writers) -> Fact {
    let (verdict, value, found, means) = match writers {
        Writers::Leased => (Verdict::Ok, "leases", "the kernel tells which files are open for writing", "no change stays unseen"),
        Writers::WrittenBack => (
            Verdict::Ok,
            "write_back",
            "which files are open for writing is not told",
            "files that changed within ten minutes are written to the disk before they are read",
        ),
        Writers::Unseen => (
            Verdict::Note,
            "none",
            "programs can change a file through a mapping without a trace in its times",
            "every run reads every file",
        ),
    };
    Fact::new("mount", "open files", verdict, json!(value), found, means)
}
