//! What a run writes to the operation log. A log that cannot be written is told, and fails nothing.

use super::report::{Report, chain};
use super::undo::{Undo, Undone};
use super::{Ask, Ends, blocking};
use crate::entry::Nanos;
use crate::event::Event;
use crate::local::lock::Owner;
use crate::local::log::{Entry, append};
use crate::local::mount::Mount;
use crate::path::Shown;
use crate::plan::Direction;

/// An upload or a download that begins: what is told of it if it dies.
pub(super) async fn begun(ends: &Ends, ask: &Ask, owner: &Owner, direction: Direction) {
    write(ends, Entry { open: true, ..of(ends, ask, owner, direction) }).await;
}

/// An upload or a download that ended.
pub(super) async fn transfer(ends: &Ends, ask: &Ask, owner: &Owner, report: &Report) {
    let counts = &report.counts;
    let entry = Entry {
        moved: counts.uploaded + counts.downloaded,
        updated: counts.updated,
        deleted: counts.deleted,
        failed: counts.failed,
        bytes: report.bytes,
        complete: report.complete.is_some(),
        why: report.ended_by.as_ref().map(|e| Shown(&chain(e)).to_string()),
        generation: report.generation,
        ..of(ends, ask, owner, report.direction)
    };
    write(ends, entry).await;
}

fn of(ends: &Ends, ask: &Ask, owner: &Owner, direction: Direction) -> Entry {
    Entry {
        bucket: ends.bucket.url().to_owned(),
        paths: ask.paths.iter().map(|path| path.as_str().to_owned()).collect(),
        ..Entry::here(&owner.operation, direction.verb(), owner.since)
    }
}

async fn write(ends: &Ends, entry: Entry) {
    let mount = ends.mount.clone();
    let written = blocking(move || append(&mount, &entry)).await;
    if let Err(e) = written.and_then(|written| Ok(written?)) {
        ends.tell(Event::Warning(format!("this run is missing in `lsync log`: {}", chain(&e))));
    }
}

/// An undo that ended. True when it is in the log.
pub(super) fn undo(mount: &Mount, plan: &Undo, began: Nanos, bytes: u64, undone: &Undone) -> bool {
    let done = undone.failures.is_empty() && undone.ended_by.is_none();
    let entry = Entry {
        moved: undone.restored,
        failed: undone.failures.len() as u64,
        bytes,
        complete: done && plan.changed.is_empty(),
        why: undone.ended_by.as_ref().map(|e| Shown(&chain(e)).to_string()),
        undoes: Some(plan.operation.id.clone()),
        ..Entry::here(&undone.operation, "undo", began)
    };
    append(mount, &entry).is_ok()
}
