//! What a plan takes away, and what can be taken back. One paragraph per way of losing something.

use lsync::local::place::TrashLimits;
use lsync::plan::{Class, Direction, Plan};

use super::super::text::{bytes, duration, items, some};
use super::{Bounds, Page};

/// What would not be there any more afterwards.
pub(super) fn losses(plan: &Plan, bounds: &Bounds, page: &Page) -> Vec<String> {
    let sum = |lost: bool| {
        let replaced = plan.transfers.iter().filter(|t| t.class.loses() == lost && replaces(t.class));
        replaced.fold((0, 0), |(n, size), t| (n + 1, size + t.replaced_bytes))
    };
    let ((older, older_bytes), (lost, lost_bytes)) = (sum(false), sum(true));
    let gone = |loses: bool| {
        let all = plan.removals.iter().chain(plan.leftovers.iter().map(|leftover| &leftover.removal));
        all.filter(move |r| r.loses == loses).fold((0, 0), |(n, size), r| (n + 1, size + r.bytes))
    };
    let ((removed, removed_bytes), (torn, torn_bytes)) = (gone(false), gone(true));
    if older + lost + removed + torn == 0 {
        return vec!["Nothing is deleted or overwritten.".into()];
    }
    let mut text = Vec::new();
    let told = |n, size| format!("{} ({})", items(n), bytes(size));
    if plan.direction == Direction::Download {
        if older + lost > 0 {
            text.push(format!("{} in the mount: replaced.", told(older + lost, older_bytes + lost_bytes)));
        }
        if removed > 0 {
            text.push(page.ink.red(&format!("{} in the mount: deleted.", told(removed, removed_bytes))));
        }
        if torn > 0 {
            text.push(page.ink.red(&format!("{} in the mount: deleted, though changed there.", told(torn, torn_bytes))));
        }
        text.push(trash(bounds.trash));
        return text;
    }
    if older > 0 {
        text.push(format!("{} in the bucket: replaced by newer content.", told(older, older_bytes)));
    }
    let mut torn_up = Vec::new();
    if lost > 0 {
        let what = format!("{} in the bucket: overwritten, though nothing proves them outdated.", told(lost, lost_bytes));
        torn_up.push(page.ink.yellow(&what));
    }
    if torn > 0 {
        torn_up.push(page.ink.red(&format!("{} in the bucket: deleted, though changed there.", told(torn, torn_bytes))));
    }
    if !torn_up.is_empty() {
        let undo = match plan.without_copies {
            true => page.ink.red("This bucket cannot copy objects, so this cannot be undone."),
            false => "Each is copied to .lsync/history/ in the bucket first; what cannot be copied stays as it is.".into(),
        };
        text.push(format!("{} {undo}", torn_up.join(" ")));
    }
    if removed > 0 {
        let what = page.ink.red(&format!("{} in the bucket: deleted.", told(removed, removed_bytes)));
        text.push(format!("{what} That cannot be undone, unless the bucket keeps old versions."));
    }
    text
}

fn replaces(class: Class) -> bool {
    !matches!(class, Class::New | Class::SentAgain)
}

fn trash(limits: TrashLimits) -> String {
    if limits.age_seconds == 0 || limits.share <= 0.0 {
        return "The trash is switched off, so this cannot be undone.".into();
    }
    let age = match limits.age_seconds {
        s if s >= 86_400 => some(s / 86_400, "day"),
        s => duration(s),
    };
    format!("The old ones go to .lsync/trash/, for {age} and up to {:.0} % of the disk.", limits.share * 100.0)
}
