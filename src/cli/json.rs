//! JSON Lines: the machine's view of a run. Its own versioned types, apart from the library's events; fields are only ever added.
//!
//! Every line has `"v": 1` and `"type"`. The last line is `summary` or `error`.

use lsync::engine::Report;
use lsync::event::{Ended, Event, Phase, Verb};
use lsync::plan::{Class, Plan};
use serde_json::{Value, json};

use super::exit::Exit;

/// The line of an event, for those that have one: bytes in flight are for bars.
pub(crate) fn event(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Phase(phase) => json!({ "v": 1, "type": "phase", "phase": phase_name(*phase) }),
        Event::Finished { path, verb, bytes, outcome } => {
            let (outcome, why) = match outcome {
                Ended::Done => ("done", None),
                Ended::Stale(why) => ("stale", Some(why)),
                Ended::Failed(why) => ("failed", Some(why)),
            };
            json!({ "v": 1, "type": "item", "path": path.as_str(), "verb": verb_name(*verb), "bytes": bytes, "outcome": outcome, "why": why })
        }
        Event::Retried { path, why, .. } => json!({ "v": 1, "type": "retry", "path": path.as_str(), "why": why }),
        Event::Warning(message) => json!({ "v": 1, "type": "warning", "message": message }),
        Event::Scanned { .. }
        | Event::Listed { .. }
        | Event::Planned { .. }
        | Event::Hashed { .. }
        | Event::Started { .. }
        | Event::Moved { .. } => return None,
    })
}

/// The name of a phase.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Scan => "scan",
        Phase::Hash => "hash",
        Phase::Transfer => "transfer",
        Phase::Verify => "verify",
        Phase::Publish => "publish",
    }
}

fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Upload => "upload",
        Verb::Download => "download",
        Verb::Update => "update",
        Verb::Delete => "delete",
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::New => "new",
        Class::SentAgain => "sent_again",
        Class::Changed => "changed",
        Class::KindChanged => "kind_changed",
        Class::OverwriteProtected => "overwrite_protected",
        Class::OverwriteConflict => "overwrite_conflict",
        Class::OverwriteUnknown => "overwrite_unknown",
    }
}

/// Every action and everything kept, a line each.
pub(crate) fn plan(plan: &Plan) -> Vec<Value> {
    let verb = plan.direction.verb();
    let mut lines = Vec::new();
    for t in &plan.transfers {
        let kind = t.source.kind_name();
        lines.push(json!({ "v": 1, "type": "action", "verb": verb, "path": t.path.as_str(), "bytes": t.source.bytes(), "kind": kind, "class": class_name(t.class) }));
    }
    for u in &plan.updates {
        lines.push(
            json!({ "v": 1, "type": "action", "verb": "update", "path": u.path.as_str(), "bytes": 0, "mode": format!("{:o}", u.mode) }),
        );
    }
    for r in &plan.removals {
        lines.push(json!({ "v": 1, "type": "action", "verb": "delete", "path": r.path.as_str(), "bytes": r.bytes }));
    }
    for (state, list) in [("protected", &plan.protected), ("conflict", &plan.conflicts), ("unknown", &plan.unknown)] {
        for k in list {
            lines.push(json!({ "v": 1, "type": "kept", "state": state, "path": k.path.as_str(), "bytes": k.bytes, "why": k.why }));
        }
    }
    for path in &plan.vanished {
        lines.push(json!({ "v": 1, "type": "vanished", "path": path.as_str() }));
    }
    for s in &plan.skipped {
        lines.push(json!({ "v": 1, "type": "skipped", "path": s.path.as_str(), "why": s.why }));
    }
    for p in &plan.problems {
        lines.push(json!({ "v": 1, "type": "problem", "path": p.name, "why": p.why, "exclude": p.exclude }));
    }
    lines
}

/// The last line of a run.
pub(crate) fn summary(report: &Report, exit: Exit, elapsed_ms: u64) -> Value {
    let c = &report.counts;
    json!({
        "v": 1, "type": "summary", "command": report.direction.verb(), "exit": exit.code(), "complete": report.complete.is_some(),
        "elapsed_ms": elapsed_ms, "generation": report.generation,
        "uploaded": c.uploaded, "downloaded": c.downloaded, "updated": c.updated, "deleted": c.deleted, "unchanged": c.unchanged,
        "protected": c.protected, "conflicts": c.conflicts, "unknown": c.unknown, "problems": c.problems, "failed": c.failed,
        "skipped": c.skipped, "ignored": c.ignored, "kept": c.kept, "bytes": report.bytes, "total_bytes": report.total_bytes,
    })
}

/// The last line of a run that stopped before it changed anything: `--dry-run`, or not confirmed.
pub(crate) fn summary_of_plan(plan: &Plan, ignored: u64, generation: Option<u64>, exit: Exit, elapsed_ms: u64) -> Value {
    let n = |len: usize| len as u64;
    json!({
        "v": 1, "type": "summary", "command": plan.direction.verb(), "exit": exit.code(), "complete": false, "dry_run": true,
        "elapsed_ms": elapsed_ms, "generation": generation, "uploaded": 0, "downloaded": 0, "updated": 0, "deleted": 0,
        "unchanged": n(plan.same.len()) - n(plan.updates.len()),
        "protected": n(plan.protected.len()), "conflicts": n(plan.conflicts.len()), "unknown": n(plan.unknown.len()),
        "problems": n(plan.problems.len()), "failed": 0, "skipped": n(plan.skipped.len()), "ignored": ignored, "kept": n(plan.kept.len()),
        "bytes": 0, "total_bytes": plan.same_bytes + plan.transfer_bytes(),
        "would": would(plan),
    })
}

/// What a plan would do, in counts.
pub(crate) fn would(plan: &Plan) -> Value {
    let (new, new_bytes) = plan.count(|c| c == Class::New);
    let (again, again_bytes) = plan.count(|c| c == Class::SentAgain);
    let (changed, changed_bytes) = plan.count(|c| c == Class::Changed);
    let (over, over_bytes) = plan.count(|c| c == Class::KindChanged || c.loses());
    json!({
        "new": new, "new_bytes": new_bytes, "sent_again": again, "sent_again_bytes": again_bytes, "changed": changed,
        "changed_bytes": changed_bytes, "overwritten": over, "overwritten_bytes": over_bytes, "deleted": plan.removals.len(),
        "updated": plan.updates.len(), "protected": plan.protected.len(), "conflicts": plan.conflicts.len(),
        "unknown": plan.unknown.len(), "problems": plan.problems.len(), "kept": plan.kept.len(), "bytes": plan.transfer_bytes(),
    })
}
