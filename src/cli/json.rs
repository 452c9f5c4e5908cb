//! JSON Lines: the machine's view of a run. Its own versioned types, apart from the library's events; fields are only ever added.
//!
//! Every line is an object with `"v": 1` and `"type"`. The last line is always `summary` or `error`. Sizes are bytes, times are
//! nanoseconds since 1970, paths are relative to the mount (as they are: a reader that shows them must escape them).
//!
//! | type | when | fields |
//! |---|---|---|
//! | `action` | the plan, before anything moves | `verb` (`upload download update delete`) `path bytes`; of a transfer also `kind` (`file`, `link`, `empty directory`) and `class`, of a deletion `class` (`removed overwrite_conflict leftover`), of an update `mode`; of an upload that overwrites or deletes what nothing proves outdated `copied_first` |
//! | `kept` | the plan | `state` (`protected conflict unknown`) `path bytes why` |
//! | `vanished` `skipped` `problem` | the plan | `path`; `why`; a problem's `exclude` is the pattern that accepts leaving it out, or null |
//! | `outside_link` | the plan | `path target`: a link that points outside the directory |
//! | `keys` | the plan | a new file that may hold keys and waits until a person says that it travels: `path bytes why exclude` |
//! | `regenerable` | the plan | a directory that programs make again, of what would be sent: `path files bytes why exclude` |
//! | `other_directory` | the plan | a directory of the bucket in which another lsync directory publishes, which is left alone: `path objects bytes` |
//! | `phase` | a phase begins | `phase` (`scan hash transfer verify publish`) |
//! | `item` | an item is done | `path verb bytes outcome` (`done stale failed`) `why` (null when done) |
//! | `retry` `warning` | it happens | `path why`; `message` |
//! | `summary` | last | see below |
//! | `error` | last | `exit message hint`: nothing was done |
//!
//! `setup`, `clean`, `doctor`, `verify` and `sandbox` have a few types more, where they are written. The `summary` of `undo` has
//! `restored pending failed conflicts`, `operation` (its own, that undoes it; null when nothing was changed) and `undoes`; its actions and
//! items have the verb `restore` or `delete`.
//!
//! The `summary` of `upload` and `download` has `command exit complete elapsed_ms generation` (null before the first), disjoint counts of
//! items (`uploaded downloaded updated deleted unchanged protected conflicts unknown problems failed skipped ignored kept pending`;
//! `outside_links`, which are counted elsewhere too;
//! `kept`: only at the destination; `pending`: planned and not done, and not tried to its end), `bytes` (content that this run moved),
//! `copied_bytes` (content that was copied at the destination instead), `total_bytes` (content in scope at the source), `reason` (why it is not complete, else null) and `would`. A run that stops before it changes anything
//! (`--dry-run`, declined, no terminal to ask on) prints the same plan lines and the same summary: everything planned is `pending`, and
//! `would` has the plan's counts per class; else `would` is null. `elsewhere` is null unless nothing is at the bucket's place and the
//! directory is empty: then it lists the prefixes of the bucket where lsync has data (`""`: its top). `dry_run` says whether `--dry-run` was given.
//!
//! The `summary` of `status` has `upload` and `download`, each as `would`, and `last_run` and `last_upload` (null when there was none).

use lsync::engine::Report;
use lsync::event::{Ended, Event, Phase, Verb};
use lsync::path::RelPath;
use lsync::plan::{Class, Direction, Kept, KeyFile, LeftOut, Leftover, OtherDirectory, OutsideLink, Plan, Regenerable};
use lsync::problem::{Problem, Skipped, exclude_line};
use serde_json::{Value, json};

use super::exit::Exit;

/// The line of an event, for those that have one: bytes in flight are for bars.
pub(crate) fn event(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Phase(phase) => json!({ "v": 1, "type": "phase", "phase": phase_name(*phase) }),
        Event::Finished { path, verb, bytes, outcome } => {
            let (outcome, why) = ended(outcome);
            json!({ "v": 1, "type": "item", "path": path.as_str(), "verb": verb_name(*verb), "bytes": bytes, "outcome": outcome, "why": why })
        }
        Event::Retried { path, why, .. } => json!({ "v": 1, "type": "retry", "path": path.as_str(), "why": why }),
        Event::Warning(message) => json!({ "v": 1, "type": "warning", "message": message }),
        Event::Scanned { .. }
        | Event::Listed { .. }
        | Event::Planned { .. }
        | Event::Hashed { .. }
        | Event::Started { .. }
        | Event::Moved { .. }
        | Event::Copied { .. } => return None,
    })
}

/// How an item ended, and why.
pub(crate) fn ended(outcome: &Ended) -> (&'static str, Option<&str>) {
    match outcome {
        Ended::Done => ("done", None),
        Ended::Stale(why) => ("stale", Some(why)),
        Ended::Failed(why) => ("failed", Some(why)),
    }
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
        let line = json!({ "v": 1, "type": "action", "verb": verb, "path": t.path.as_str(), "bytes": t.source.bytes(), "kind": kind, "class": class_name(t.class) });
        lines.push(with_copy(line, plan, t.class.loses()));
    }
    for u in &plan.updates {
        lines.push(
            json!({ "v": 1, "type": "action", "verb": "update", "path": u.path.as_str(), "bytes": 0, "mode": format!("{:o}", u.mode) }),
        );
    }
    for dir in plan.dir_modes.iter().filter(|dir| !dir.is_new) {
        let mode = format!("{:o}", dir.mode);
        lines.push(json!({ "v": 1, "type": "action", "verb": "update", "path": dir.path.as_str(), "bytes": 0, "mode": mode }));
    }
    for r in &plan.removals {
        let class = if r.loses { class_name(Class::OverwriteConflict) } else { "removed" };
        let line = json!({ "v": 1, "type": "action", "verb": "delete", "path": r.path.as_str(), "bytes": r.bytes, "class": class });
        lines.push(with_copy(line, plan, r.loses));
    }
    for Leftover { removal, .. } in &plan.leftovers {
        let path = removal.path.as_str();
        lines.push(json!({ "v": 1, "type": "action", "verb": "delete", "path": path, "bytes": removal.bytes, "class": "leftover" }));
    }
    for (state, list) in [("protected", &plan.protected), ("conflict", &plan.conflicts), ("unknown", &plan.unknown)] {
        lines.extend(list.iter().map(|item| kept(state, item)));
    }
    lines.extend(plan.vanished.iter().map(vanished));
    lines.extend(plan.skipped.iter().map(skipped));
    lines.extend(plan.outside_links.iter().map(outside_link));
    lines.extend(plan.left_out.iter().map(left_out));
    lines.extend(plan.keys.iter().map(|(key, _)| keys(key)));
    lines.extend(plan.regenerable.iter().map(regenerable));
    lines.extend(plan.others.iter().map(other_directory));
    lines.extend(plan.problems.iter().map(problem));
    lines
}

/// Of an upload's action that overwrites or deletes what nothing proves outdated: whether that is copied first.
fn with_copy(mut line: Value, plan: &Plan, loses: bool) -> Value {
    if loses && plan.direction == Direction::Upload {
        line["copied_first"] = json!(!plan.without_copies);
    }
    line
}

/// An item that stays as it is on both sides.
pub(crate) fn kept(state: &str, item: &Kept) -> Value {
    json!({ "v": 1, "type": "kept", "state": state, "path": item.path.as_str(), "bytes": item.bytes, "why": item.why })
}

/// What a manifest has and the bucket lacks.
pub(crate) fn vanished(path: &RelPath) -> Value {
    json!({ "v": 1, "type": "vanished", "path": path.as_str() })
}

/// An item that holds no bytes to lose.
pub(crate) fn skipped(s: &Skipped) -> Value {
    json!({ "v": 1, "type": "skipped", "path": s.path.as_str(), "why": s.why })
}

/// A link that points outside the directory.
pub(crate) fn outside_link(link: &OutsideLink) -> Value {
    json!({ "v": 1, "type": "outside_link", "path": link.path.as_str(), "target": link.target })
}

/// What was deleted where it was uploaded from, and a download leaves in the bucket.
pub(crate) fn left_out(left: &LeftOut) -> Value {
    json!({ "v": 1, "type": "deleted_kept", "path": left.path.as_str(), "bytes": left.bytes, "host": left.host })
}

/// A new file that may hold keys, and waits.
pub(crate) fn keys(key: &KeyFile) -> Value {
    json!({ "v": 1, "type": "keys", "path": key.path.as_str(), "bytes": key.bytes, "why": key.what, "exclude": exclude_line(key.path.as_str()) })
}

/// A directory that programs make again.
pub(crate) fn regenerable(found: &Regenerable) -> Value {
    json!({ "v": 1, "type": "regenerable", "path": found.path.as_str(), "files": found.files, "bytes": found.bytes, "why": found.what, "exclude": found.exclude() })
}

/// A directory of the bucket that belongs to another lsync directory.
pub(crate) fn other_directory(other: &OtherDirectory) -> Value {
    json!({ "v": 1, "type": "other_directory", "path": other.path.as_str(), "objects": other.objects, "bytes": other.bytes })
}

/// An item that cannot be synced.
pub(crate) fn problem(p: &Problem) -> Value {
    json!({ "v": 1, "type": "problem", "path": p.name, "why": p.why, "exclude": p.exclude })
}

/// The last line of a command that failed as a whole.
pub(crate) fn error(exit: Exit, message: &str, hint: Option<&str>) -> Value {
    json!({ "v": 1, "type": "error", "exit": exit.code(), "message": message, "hint": hint })
}

/// The last line of a run; `reason` says why it is not complete.
pub(crate) fn summary(report: &Report, reason: Option<&str>, exit: Exit, elapsed_ms: u64) -> Value {
    let c = &report.counts;
    json!({
        "v": 1, "type": "summary", "command": report.direction.verb(), "exit": exit.code(), "complete": report.complete.is_some(),
        "elapsed_ms": elapsed_ms, "generation": report.generation,
        "uploaded": c.uploaded, "downloaded": c.downloaded, "updated": c.updated, "deleted": c.deleted, "unchanged": c.unchanged,
        "protected": c.protected, "conflicts": c.conflicts, "unknown": c.unknown, "problems": c.problems, "failed": c.failed,
        "skipped": c.skipped, "outside_links": report.outside_links.len(), "deleted_here": report.deleted_here.len(), "deleted_kept": report.left_out.len(), "other_directories": report.others.len(), "keys": report.keys.len(), "ignored": c.ignored, "kept": c.kept, "pending": c.pending,
        "bytes": report.bytes, "copied_bytes": report.copied_bytes, "total_bytes": report.total_bytes, "reason": reason,
        "elsewhere": report.nothing_there.as_ref().map(|nothing| &nothing.elsewhere), "dry_run": false, "would": null,
        "state_elsewhere": report.kept_elsewhere.as_ref().map(|kept| json!({ "path": kept.path, "why": kept.why })),
    })
}

/// How a command ended that stopped before it changed anything.
pub(crate) struct Preview<'a> {
    pub plan: &'a Plan,
    pub ignored: u64,
    pub generation: Option<u64>,
    pub exit: Exit,
    pub elapsed_ms: u64,
    pub dry_run: bool,
    pub reason: &'a str,
}

/// The last line of such a command.
pub(crate) fn preview(preview: &Preview<'_>) -> Value {
    let plan = preview.plan;
    let n = |len: usize| len as u64;
    let pending = n(plan.transfers.len()) + n(plan.removals.len()) + n(plan.leftovers.len()) + n(plan.updates());
    json!({
        "v": 1, "type": "summary", "command": plan.direction.verb(), "exit": preview.exit.code(), "complete": false,
        "elapsed_ms": preview.elapsed_ms, "generation": preview.generation, "uploaded": 0, "downloaded": 0, "updated": 0, "deleted": 0,
        "unchanged": n(plan.same.len()) - n(plan.updates.len()),
        "protected": n(plan.protected.len()), "conflicts": n(plan.conflicts.len()), "unknown": n(plan.unknown.len()),
        "problems": n(plan.problems.len()), "failed": 0, "skipped": n(plan.skipped.len()), "outside_links": plan.outside_links.len(), "deleted_here": plan.deleted_here().count(), "deleted_kept": plan.left_out.len(), "other_directories": plan.others.len(), "keys": plan.keys.len(), "ignored": preview.ignored,
        "kept": n(plan.kept.len()), "pending": pending,
        "bytes": 0, "copied_bytes": 0, "total_bytes": plan.same_bytes + plan.transfer_bytes(), "reason": preview.reason,
        "elsewhere": plan.nothing_there.as_ref().map(|nothing| &nothing.elsewhere), "dry_run": preview.dry_run,
        "would": would(plan), "state_elsewhere": null,
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
        "changed_bytes": changed_bytes, "overwritten": over, "overwritten_bytes": over_bytes, "deleted": plan.removals.len() + plan.leftovers.len(),
        "updated": plan.updates(), "protected": plan.protected.len(), "conflicts": plan.conflicts.len(),
        "unknown": plan.unknown.len(), "problems": plan.problems.len(), "kept": plan.kept.len(), "bytes": plan.transfer_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use lsync::engine::Counts;
    use lsync::plan::Direction;

    use super::super::render::samples::{full, path};
    use super::*;

    #[track_caller]
    fn check(of: &Event, line: &str) {
        assert_eq!(event(of).map(|line| line.to_string()), Some(line.into()));
    }

    #[test]
    fn every_event_is_pinned() {
        for (phase, name) in [
            (Phase::Scan, "scan"),
            (Phase::Hash, "hash"),
            (Phase::Transfer, "transfer"),
            (Phase::Verify, "verify"),
            (Phase::Publish, "publish"),
        ] {
            check(&Event::Phase(phase), &format!(r#"{{"phase":"{name}","type":"phase","v":1}}"#));
        }
        let finished = |verb, outcome| Event::Finished { path: path("a \"b\""), verb, bytes: 5, outcome };
        check(
            &finished(Verb::Upload, Ended::Done),
            r#"{"bytes":5,"outcome":"done","path":"a \"b\"","type":"item","v":1,"verb":"upload","why":null}"#,
        );
        check(
            &finished(Verb::Download, Ended::Stale("it changed".into())),
            r#"{"bytes":5,"outcome":"stale","path":"a \"b\"","type":"item","v":1,"verb":"download","why":"it changed"}"#,
        );
        check(
            &finished(Verb::Update, Ended::Failed("no".into())),
            r#"{"bytes":5,"outcome":"failed","path":"a \"b\"","type":"item","v":1,"verb":"update","why":"no"}"#,
        );
        check(
            &finished(Verb::Delete, Ended::Done),
            r#"{"bytes":5,"outcome":"done","path":"a \"b\"","type":"item","v":1,"verb":"delete","why":null}"#,
        );
        check(&Event::Retried { path: path("a"), bytes: 3, why: "broken".into() }, r#"{"path":"a","type":"retry","v":1,"why":"broken"}"#);
        check(&Event::Warning("look".into()), r#"{"message":"look","type":"warning","v":1}"#);
        for silent in [
            Event::Scanned { entries: 1, bytes: 1 },
            Event::Listed { objects: 1 },
            Event::Planned { files: 1, bytes: 1 },
            Event::Hashed { bytes: 1 },
            Event::Started { path: path("a"), bytes: 1 },
            Event::Moved { path: path("a"), bytes: 1 },
            Event::Copied { path: path("a"), bytes: 1 },
        ] {
            assert_eq!(event(&silent), None);
        }
    }

    #[test]
    fn every_line_of_a_plan_is_pinned() {
        let mut some = full(Direction::Upload);
        some.transfers.drain(..1201);
        some.protected.truncate(1);
        some.conflicts.truncate(1);
        some.kept.clear();
        let lines: Vec<String> = plan(&some).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"bytes":10,"class":"sent_again","kind":"file","path":"again.txt","type":"action","v":1,"verb":"upload"}
        {"bytes":3145728,"class":"changed","kind":"file","path":"changed.bin","type":"action","v":1,"verb":"upload"}
        {"bytes":0,"class":"kind_changed","kind":"file","path":"link","type":"action","v":1,"verb":"upload"}
        {"bytes":1048576,"class":"overwrite_protected","copied_first":true,"kind":"file","path":"newer.bin","type":"action","v":1,"verb":"upload"}
        {"bytes":1048576,"class":"overwrite_conflict","copied_first":true,"kind":"file","path":"both.bin","type":"action","v":1,"verb":"upload"}
        {"bytes":1048576,"class":"overwrite_unknown","copied_first":true,"kind":"file","path":"perhaps.bin","type":"action","v":1,"verb":"upload"}
        {"bytes":0,"mode":"755","path":"run.sh","type":"action","v":1,"verb":"update"}
        {"bytes":9663676416,"class":"removed","path":"old.ckpt","type":"action","v":1,"verb":"delete"}
        {"bytes":1073741824,"class":"overwrite_conflict","copied_first":true,"path":"old/changed.ckpt","type":"action","v":1,"verb":"delete"}
        {"bytes":1000,"path":"newer/0","state":"protected","type":"kept","v":1,"why":"newer in the bucket"}
        {"bytes":2048,"path":"notes.md","state":"conflict","type":"kept","v":1,"why":"changed on both sides"}
        {"bytes":6442450944,"path":"foreign.bin","state":"unknown","type":"kept","v":1,"why":"equal size, and nothing tells about the content"}
        {"path":"gone.txt","type":"vanished","v":1}
        {"path":"run/socket","type":"skipped","v":1,"why":"a socket"}
        {"exclude":"/caf?.txt","path":"caf�.txt","type":"problem","v":1,"why":"its name is not UTF-8"}
        {"exclude":null,"path":"a/../b","type":"problem","v":1,"why":"it has a `..` segment, so it cannot be a path below the mount; rename or remove the object in the bucket"}
        "#);
    }

    #[test]
    fn the_error_line_is_pinned() {
        assert_eq!(
            error(Exit::Locked, "another run", Some("wait")).to_string(),
            r#"{"exit":11,"hint":"wait","message":"another run","type":"error","v":1}"#
        );
        assert_eq!(error(Exit::Failed, "x", None).to_string(), r#"{"exit":1,"hint":null,"message":"x","type":"error","v":1}"#);
    }

    #[test]
    fn the_summary_of_a_run_is_pinned() {
        let plan = Plan::empty(Direction::Upload);
        let counts = Counts {
            uploaded: 1,
            downloaded: 2,
            updated: 3,
            deleted: 4,
            unchanged: 5,
            protected: 6,
            conflicts: 7,
            unknown: 8,
            problems: 9,
            failed: 10,
            skipped: 11,
            ignored: 12,
            kept: 13,
            pending: 14,
        };
        let report = Report {
            direction: plan.direction,
            counts,
            bytes: 15,
            copied_bytes: 18,
            total_bytes: 16,
            generation: None,
            failures: Vec::new(),
            protected: Vec::new(),
            conflicts: Vec::new(),
            unknown: Vec::new(),
            problems: Vec::new(),
            skipped: Vec::new(),
            outside_links: Vec::new(),
            deleted_here: Vec::new(),
            records_deletions: false,
            left_out: Vec::new(),
            keys: Vec::new(),
            others: Vec::new(),
            nothing_there: None,
            vanished: Vec::new(),
            kept_elsewhere: None,
            ended_by: None,
            complete: None,
        };
        insta::assert_snapshot!(summary(&report, Some("why"), Exit::Partial, 17), @r#"{"bytes":15,"command":"upload","complete":false,"conflicts":7,"copied_bytes":18,"deleted":4,"deleted_here":0,"deleted_kept":0,"downloaded":2,"dry_run":false,"elapsed_ms":17,"elsewhere":null,"exit":3,"failed":10,"generation":null,"ignored":12,"kept":13,"keys":0,"other_directories":0,"outside_links":0,"pending":14,"problems":9,"protected":6,"reason":"why","skipped":11,"state_elsewhere":null,"total_bytes":16,"type":"summary","unchanged":5,"unknown":8,"updated":3,"uploaded":1,"v":1,"would":null}"#);
    }

    #[test]
    fn the_summary_of_a_dry_run_says_what_would_be() {
        let plan = full(Direction::Download);
        let shown = Preview {
            plan: &plan,
            ignored: 12,
            generation: Some(3),
            exit: Exit::Conflicts,
            elapsed_ms: 17,
            dry_run: true,
            reason: "dry run: nothing was changed",
        };
        let line = preview(&shown);
        insta::assert_snapshot!(line, @r#"{"bytes":0,"command":"download","complete":false,"conflicts":2,"copied_bytes":0,"deleted":0,"deleted_here":1,"deleted_kept":0,"downloaded":0,"dry_run":true,"elapsed_ms":17,"elsewhere":null,"exit":6,"failed":0,"generation":3,"ignored":12,"kept":2,"keys":0,"other_directories":0,"outside_links":0,"pending":1210,"problems":2,"protected":7,"reason":"dry run: nothing was changed","skipped":1,"state_elsewhere":null,"total_bytes":1109919793162,"type":"summary","unchanged":1000000,"unknown":1,"updated":0,"uploaded":0,"v":1,"would":{"bytes":10408165386,"changed":1,"changed_bytes":3145728,"conflicts":2,"deleted":2,"kept":2,"new":1201,"new_bytes":10401873920,"overwritten":4,"overwritten_bytes":3145728,"problems":2,"protected":7,"sent_again":1,"sent_again_bytes":10,"unknown":1,"updated":1}}"#);
        // Every entry of the plan is in exactly one count.
        let counts = ["unchanged", "protected", "conflicts", "unknown", "problems", "skipped", "kept", "pending"];
        let sum: u64 = counts.iter().map(|name| line[name].as_u64().unwrap()).sum();
        assert_eq!(sum, 1_000_000 + 7 + 2 + 1 + 2 + 1 + 2 + 1210);
    }
}
