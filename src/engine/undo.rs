//! Takes a download back, or another undo: what it replaced and deleted comes out of the trash again. A change of the mount alone, like an
//! edit: what both sides agreed on stays as it is, and the next run sees the difference. Loses nothing: what stands there now goes to the
//! trash, as an operation that can be undone itself.

use super::report::{Failure, FailureKind, chain};
use super::send::nonce;
use super::{Error, Stop, log};
use crate::event::Ended;
use crate::local::left;
use crate::local::lock::{Claim, Lock, LockError};
use crate::local::mount::{LocalError, Looked, Mount};
use crate::local::place::{Seen, TrashLimits, Workplace};
use crate::local::undo::{Item, Left, Operation, Was, operations};
use crate::path::RelPath;

/// What an undo would do, and what it would not.
#[derive(Debug)]
pub struct Undo {
    /// The operation that it takes back.
    pub operation: Operation,
    /// What it does, in path order.
    pub steps: Vec<Step>,
    /// What was changed here since that operation, and why that is kept.
    pub changed: Vec<(RelPath, String)>,
}

/// One path that is as the operation left it.
#[derive(Debug)]
pub struct Step {
    /// What comes back.
    pub item: Item,
    /// What stands there now.
    pub seen: Seen,
}

/// Why there is nothing to take back.
#[derive(Debug, thiserror::Error)]
pub enum NoUndo {
    /// The trash holds nothing that was recorded.
    #[error("there is nothing to undo: the trash holds nothing that a download replaced or deleted")]
    Nothing,
    /// No such operation, or nothing of it is left.
    #[error("there is no operation {0} to undo")]
    Unknown(String),
    /// Several begin like that.
    #[error("several operations begin with {0}")]
    Ambiguous(String),
    /// The mount.
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// What became of an undo.
#[derive(Debug, Default)]
pub struct Undone {
    /// This operation's own id: what undoes it.
    pub operation: String,
    /// Brought back, and taken away again because nothing was there before.
    pub restored: u64,
    /// Not brought back.
    pub failures: Vec<Failure>,
    /// Why it ended early, when it did.
    pub ended_by: Option<Error>,
    /// It is in the operation log.
    pub is_logged: bool,
}

/// Looks at what there is to take back: of the operation whose id begins with `wanted`, else of the newest. `overwrite`: also where
/// something was changed since. Writes nothing.
pub fn look_back(mount: &Mount, wanted: Option<&str>, overwrite: bool) -> Result<Undo, NoUndo> {
    let mut all = operations(mount)?;
    let operation = match wanted {
        None if all.is_empty() => return Err(NoUndo::Nothing),
        None => all.swap_remove(0),
        Some(wanted) => {
            all.retain(|operation| operation.id.starts_with(wanted));
            match all.len() {
                0 => return Err(NoUndo::Unknown(wanted.to_owned())),
                1 => all.swap_remove(0),
                _ => return Err(NoUndo::Ambiguous(wanted.to_owned())),
            }
        }
    };
    let (mut steps, mut changed) = (Vec::new(), Vec::new());
    for item in &operation.items {
        let found = mount.look(&item.path)?;
        let why = if overwrite { None } else { why_kept(item, found.as_ref()) };
        match (why, seen(found)) {
            (Some(why), _) => changed.push((item.path.clone(), why.to_owned())),
            (None, Some(Seen::Absent)) if item.was == Was::Nothing => {}
            (None, Some(seen)) => steps.push(Step { item: item.clone(), seen }),
            (None, None) => changed.push((item.path.clone(), "something that cannot be moved stands there".into())),
        }
    }
    Ok(Undo { operation, steps, changed })
}

/// Why what stands there is not replaced; `None` where it is what the operation left, or nothing any more.
fn why_kept(item: &Item, found: Option<&Looked>) -> Option<&'static str> {
    let found = found?;
    if item.left.is(Some(found)) {
        return None;
    }
    Some(match (&item.left, found) {
        (Left::Nothing, _) => "something stands there again",
        (_, Looked::Dir(false)) => "a directory that is not empty stands there now",
        _ => "it was changed here since",
    })
}

fn seen(found: Option<Looked>) -> Option<Seen> {
    Some(match found {
        None => Seen::Absent,
        Some(Looked::File(stamp, _)) => Seen::File(stamp),
        Some(Looked::Link(target)) => Seen::Link(target?.into()),
        Some(Looked::Dir(true)) => Seen::EmptyDir,
        Some(Looked::Dir(false)) => Seen::Tree,
        Some(Looked::Special) => return None,
    })
}

/// Carries it out, under the mount's lock; `told` hears how each step ended. `Err` only when nothing was begun. Blocks: it reads and writes the mount.
pub fn undo(
    mount: &Mount,
    plan: &Undo,
    trash: TrashLimits,
    told: &dyn Fn(&Step, &Ended),
    stop: &Stop,
    claim: Claim,
) -> Result<Undone, Error> {
    let id = nonce();
    let lock = Lock::take(mount, &id, claim)?;
    // What ends this run early is nobody else's business.
    let stop = stop.child();
    let lost = stop.clone();
    lock.when_lost(move || lost.ask());
    mount.still_there()?;
    left::clear(mount, &id)?;
    let workplace = Workplace::create(mount, &id)?;
    let mut bytes = 0;
    let mut undone = Undone { operation: id, ..Undone::default() };
    // What was not there goes first, the deepest first: it may stand in the way.
    let (gone, back): (Vec<&Step>, Vec<&Step>) = plan.steps.iter().partition(|step| step.item.was == Was::Nothing);
    for step in gone.into_iter().rev().chain(back) {
        if stop.asked() {
            let is_held = lock.guard().still_held().unwrap_or(true);
            undone.ended_by = Some(if is_held { Error::Stopped } else { LockError::Lost.into() });
            break;
        }
        let outcome = match workplace.restore(mount, &plan.operation.id, &step.item, &step.seen) {
            Ok(()) => {
                undone.restored += 1;
                bytes += step.item.bytes;
                Ended::Done
            }
            Err(e) => {
                let (kind, why) = (FailureKind::of(&e), chain(&e));
                undone.failures.push(Failure { path: step.item.path.clone(), kind, why: why.clone() });
                if kind == FailureKind::Stale { Ended::Stale(why) } else { Ended::Failed(why) }
            }
        };
        told(step, &outcome);
    }
    if let Err(e) = workplace.close(mount, trash) {
        undone.ended_by.get_or_insert(e.into());
    }
    undone.is_logged = log::undo(mount, plan, lock.owner().since, bytes, &undone);
    drop(lock);
    Ok(undone)
}
