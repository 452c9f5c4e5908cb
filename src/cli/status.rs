//! `lsync status`: both directions in one look. Never writes to the bucket, asks nothing.

use std::fmt::Write;
use std::time::Instant;

use console::style;
use lsync::engine::{self, Sight};
use lsync::path::Shown;
use lsync::plan::{Class, Direction, Plan};
use serde_json::json;

use super::args::{Check, Flags, StatusArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{bytes, count, files, fit};
use super::{json, output, render};

/// Runs the command.
pub(crate) fn run(args: &StatusArgs, flags: Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    block_on(async {
        let session = Session::open(flags, &args.paths, env).await?;
        let looked = engine::look(&session.ends, &session.ask).await;
        session.bars.clear();
        let sight = match (looked, session.signal.exit()) {
            (Err(_), Some(exit)) => return Err(Failure::new(exit, "interrupted")),
            (looked, _) => looked?,
        };
        let up = sight.plan(Direction::Upload, session.choices);
        let down = sight.plan(Direction::Download, session.choices);
        let exit = check(args.check, &up, &down);
        if session.flags.common.json {
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            for line in problem_lines(&up, &down) {
                output::line(&line.to_string())?;
            }
            output::line(&summary(&sight, &up, &down, exit, elapsed).to_string())?;
        } else if !session.flags.common.quiet {
            output::print(&screen(&session, &sight, &up, &down))?;
        } else {
            output::line(&verdict(&up, &down))?;
        }
        Ok(exit)
    })
}

/// 10 when the direction has something to send, a conflict or a problem.
fn check(which: Option<Check>, up: &Plan, down: &Plan) -> Exit {
    let pending = |plan: &Plan| !plan.is_empty() || !plan.conflicts.is_empty() || !plan.unknown.is_empty() || !plan.problems.is_empty();
    let found = match which {
        None => false,
        Some(Check::Upload) => pending(up),
        Some(Check::Download) => pending(down),
        Some(Check::Any) => pending(up) || pending(down),
    };
    if found { Exit::Pending } else { Exit::Done }
}

fn screen(session: &Session, sight: &Sight, up: &Plan, down: &Plan) -> String {
    let mut out = String::new();
    let root = session.ends.mount.root().to_string_lossy().into_owned();
    let _ = writeln!(out, "Mount   {}", Shown(&root));
    let _ = writeln!(out, "Bucket  {} at {}", session.ends.bucket.url(), session.ends.bucket.endpoint());
    let last = match (&sight.state.last, &sight.last_upload) {
        (Some(run), _) => format!("{} {} on {}, generation {}", run.command, render::when(run.time), Shown(&run.host), run.generation),
        (None, Some(_)) => "never from this mount".into(),
        (None, None) => "never".into(),
    };
    let _ = writeln!(out, "Last    {last}");
    if let Some(header) = &sight.last_upload {
        let _ = writeln!(out, "        the bucket was last uploaded to {} by {}", render::when(header.time), Shown(&header.host));
    }
    let _ = writeln!(out, "\n{:<22}{:>24}{:>24}", "", "upload would", "download would");
    for (word, class) in
        [("send new", Some(Class::New)), ("send again", Some(Class::SentAgain)), ("send changed", Some(Class::Changed)), ("replace", None)]
    {
        let of = |plan: &Plan| match class {
            Some(class) => plan.count(|c| c == class),
            None => plan.count(|c| c == Class::KindChanged || c.loses()),
        };
        row(&mut out, word, of(up), of(down));
    }
    let sized = |n: usize| (n as u64, 0);
    row(&mut out, "delete", sized(up.removals.len()), sized(down.removals.len()));
    row(&mut out, "set permissions", sized(up.updates.len()), sized(down.updates.len()));
    row(&mut out, "keep protected", kept(&up.protected), kept(&down.protected));
    row(&mut out, "leave in conflict", kept(&up.conflicts), kept(&down.conflicts));
    row(&mut out, "leave unknown", kept(&up.unknown), kept(&down.unknown));
    row(&mut out, "report as problems", sized(up.problems.len()), sized(down.problems.len()));
    let _ = writeln!(out, "\n{} unchanged, {}.", files((up.same.len() - up.updates.len()) as u64), bytes(up.same_bytes));
    if sight.ignored.files > 0 {
        let _ = writeln!(out, "{} ignored here, {}.", files(sight.ignored.files), bytes(sight.ignored.bytes));
    }
    if !up.vanished.is_empty() {
        let _ = writeln!(out, "{} published and no longer in the bucket.", files(up.vanished.len() as u64));
    }
    largest(&mut out, up, down, session.width());
    details(&mut out, up, down, session.width(), session.flags.common.verbose > 0);
    let _ = writeln!(out, "\n{}", style(verdict(up, down)).bold());
    out
}

fn kept(list: &[lsync::plan::Kept]) -> (u64, u64) {
    (list.len() as u64, list.iter().map(|k| k.bytes).sum())
}

fn row(out: &mut String, word: &str, up: (u64, u64), down: (u64, u64)) {
    if up.0 + down.0 == 0 {
        return;
    }
    let cell = |(n, size): (u64, u64)| match (n, size) {
        (0, _) => "-".to_owned(),
        (n, 0) => count(n),
        (n, size) => format!("{}  {:>10}", count(n), bytes(size)),
    };
    let _ = writeln!(out, "{word:<22}{:>24}{:>24}", cell(up), cell(down));
}

fn largest(out: &mut String, up: &Plan, down: &Plan, width: usize) {
    let mut all: Vec<_> = up.transfers.iter().map(|t| ("upload", t)).chain(down.transfers.iter().map(|t| ("download", t))).collect();
    all.retain(|(_, t)| t.source.bytes() > 0);
    all.sort_by_key(|(_, t)| std::cmp::Reverse(t.source.bytes()));
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nLargest:");
    for (verb, t) in all.iter().take(5) {
        let path = fit(&t.path.to_string(), width.saturating_sub(26).max(20));
        let _ = writeln!(out, "  {:>10}  {verb:<8}  {path}", bytes(t.source.bytes()));
    }
}

/// Conflicts, unknowns, protected items and problems by name.
fn details(out: &mut String, up: &Plan, down: &Plan, width: usize, all: bool) {
    let most = if all { usize::MAX } else { 5 };
    let protected = up.protected.iter().map(|k| ("newer in the bucket", k)).chain(down.protected.iter().map(|k| ("newer in the mount", k)));
    let waiting = up.conflicts.iter().map(|k| ("conflict", k)).chain(up.unknown.iter().map(|k| ("unknown", k)));
    let named: Vec<_> = waiting.chain(protected).collect();
    if !named.is_empty() {
        let _ = writeln!(out, "\n{}:", style("Kept as they are").yellow());
        for (word, k) in named.iter().take(most) {
            let _ = writeln!(out, "  {}: {word} ({})", fit(&k.path.to_string(), width.saturating_sub(40).max(20)), k.why);
        }
        if named.len() > most {
            let _ = writeln!(out, "  … and {} more (-v lists all)", count((named.len() - most) as u64));
        }
    }
    let problems = union(up, down);
    if !problems.is_empty() {
        let _ = writeln!(out, "\n{}:", style("Problems").red());
        for p in problems.iter().take(most) {
            let _ = writeln!(out, "  {}", p.line());
        }
    }
}

fn union<'a>(up: &'a Plan, down: &'a Plan) -> Vec<&'a lsync::problem::Problem> {
    let mut all: Vec<_> = up.problems.iter().collect();
    all.extend(down.problems.iter().filter(|p| !up.problems.contains(p)));
    all
}

fn verdict(up: &Plan, down: &Plan) -> String {
    let waiting = up.conflicts.len() + up.unknown.len();
    let mut words = Vec::new();
    if !up.is_empty() {
        words.push(format!("{} to upload", count((up.transfers.len() + up.removals.len() + up.updates.len()) as u64)));
    }
    if !down.is_empty() {
        words.push(format!("{} to download", count((down.transfers.len() + down.removals.len() + down.updates.len()) as u64)));
    }
    if waiting > 0 {
        words.push(format!("{} waiting for a decision", count(waiting as u64)));
    }
    let problems = union(up, down).len();
    if problems > 0 {
        words.push(format!("{} cannot be synced", count(problems as u64)));
    }
    if words.is_empty() { "in sync: both sides hold the same".into() } else { words.join(", ") }
}

fn problem_lines(up: &Plan, down: &Plan) -> Vec<serde_json::Value> {
    let kept = |state: &str, k: &lsync::plan::Kept| json!({ "v": 1, "type": "kept", "state": state, "path": k.path.as_str(), "bytes": k.bytes, "why": k.why });
    let mut lines: Vec<_> = up.conflicts.iter().map(|k| kept("conflict", k)).collect();
    lines.extend(up.unknown.iter().map(|k| kept("unknown", k)));
    lines.extend(up.protected.iter().chain(&down.protected).map(|k| kept("protected", k)));
    lines.extend(
        union(up, down).into_iter().map(|p| json!({ "v": 1, "type": "problem", "path": p.name, "why": p.why, "exclude": p.exclude })),
    );
    lines
}

fn summary(sight: &Sight, up: &Plan, down: &Plan, exit: Exit, elapsed_ms: u64) -> serde_json::Value {
    let last = sight
        .state
        .last
        .as_ref()
        .map(|run| json!({ "command": run.command, "host": run.host, "time_ns": run.time, "generation": run.generation }));
    let upload = sight.last_upload.as_ref().map(|h| json!({ "host": h.host, "time_ns": h.time, "files": h.files, "bytes": h.bytes }));
    json!({
        "v": 1, "type": "summary", "command": "status", "exit": exit.code(), "complete": up.is_empty() && down.is_empty() && verdict(up, down).starts_with("in sync"),
        "elapsed_ms": elapsed_ms, "generation": (sight.state.generation > 0).then_some(sight.state.generation),
        "upload": json::would(up), "download": json::would(down), "unchanged": up.same.len() - up.updates.len(), "unchanged_bytes": up.same_bytes,
        "ignored": sight.ignored.files, "ignored_bytes": sight.ignored.bytes, "skipped": up.skipped.len(), "vanished": up.vanished.len(),
        "last_run": last, "last_upload": upload,
    })
}
