//! `lsync log`: who did what, when, from which host. Reads the mount's operation log and changes nothing; needs no bucket.

use std::collections::HashSet;
use std::time::Instant;

use lsync::local::lock::clock_text;
use lsync::local::log::{Entry, read};
use lsync::local::mount::Mount;
use lsync::local::undo::operations;
use lsync::path::Shown;
use serde_json::{Value, json};

use super::args::Common;
use super::exit::Exit;
use super::failure::{Failure, refuse_others};
use super::output;
use super::settings::environment::Environment;
use super::settings::{self, find};
use super::text::{bytes, count};

/// Operations that are shown without `-v`.
const SHOWN: usize = 20;

/// Runs the command.
pub(crate) fn run(common: &Common, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = find::load(common, env)?;
    let mount = Mount::open(&settings::root(common, env, loaded.as_ref())?)?;
    refuse_others(&mount)?;
    env.state_home().into_iter().for_each(|state_home| mount.offer_elsewhere(&state_home));
    let entries = read(&mount)?;
    let undoable: HashSet<String> = operations(&mount)?.into_iter().map(|operation| operation.id).collect();
    if common.json {
        entries.iter().try_for_each(|entry| output::line(&line(entry, undoable.contains(&entry.operation)).to_string()))?;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let summary = json!({
            "v": 1, "type": "summary", "command": "log", "exit": 0, "complete": true, "elapsed_ms": elapsed_ms, "generation": null,
            "operations": entries.len(),
        });
        output::line(&summary.to_string())?;
    } else if entries.is_empty() {
        output::line("nothing has been moved here yet")?;
    } else {
        let from = if common.verbose > 0 { 0 } else { entries.len().saturating_sub(SHOWN) };
        let (rows, width): (Vec<_>, _) = (entries[from..].iter().collect(), output::columns(&console::Term::stdout()));
        output::print(&table(&rows, &undoable, width))?;
        if from > 0 {
            output::line(&format!("{} older ones are not shown; -v shows all", count(from as u64)))?;
        }
    }
    Ok(Exit::Done)
}

fn line(entry: &Entry, undoable: bool) -> Value {
    let Entry { operation, command, user, host, began, bucket, paths, .. } = entry;
    let ended = (!entry.open).then_some(entry.ended);
    let Entry { moved, updated, deleted, failed, bytes, complete, why, generation, undoes, .. } = entry;
    json!({
        "v": 1, "type": "operation", "operation": operation, "command": command, "user": user, "host": host, "began": began, "ended": ended,
        "bucket": bucket, "paths": paths, "moved": moved, "updated": updated, "deleted": deleted, "failed": failed, "bytes": bytes,
        "complete": complete, "why": why, "generation": generation, "undoes": undoes, "undoable": undoable,
    })
}

/// Two lines per operation, the newest at the end, where the eye is.
fn table(entries: &[&Entry], undoable: &HashSet<String>, width: usize) -> String {
    let mut text = String::new();
    for entry in entries {
        let who = format!("{}@{}", entry.user, entry.host);
        let result = if entry.complete { "complete" } else { "incomplete" };
        let head = format!("{}  {:<8}  {result:<10}  {}", clock_text(entry.began), entry.command, Shown(&who));
        let mut facts = match entry.open {
            true => vec!["it is under way, or ended without a word".to_owned()],
            false => vec![format!("{} ({})", super::text::items(entry.moved), bytes(entry.bytes))],
        };
        for (n, word) in [(entry.updated, "updated"), (entry.deleted, "deleted"), (entry.failed, "failed")] {
            facts.extend((n > 0).then(|| format!("{} {word}", count(n))));
        }
        facts.extend(entry.generation.map(|generation| format!("generation {generation}")));
        facts.extend(entry.undoes.as_ref().map(|of| format!("of {}", short(of))));
        facts.extend((!entry.paths.is_empty()).then(|| format!("only {}", entry.paths.join(" "))));
        facts.extend(entry.why.clone());
        let undo = if undoable.contains(&entry.operation) { "  can be undone" } else { "" };
        let facts = Shown(&facts.join(", ")).to_string();
        for row in [head, format!("    {}{undo}  {facts}", short(&entry.operation))] {
            text.push_str(&super::text::fit(&row, width));
            text.push('\n');
        }
    }
    text
}

/// As many digits as a person needs to name an operation.
fn short(operation: &str) -> &str {
    operation.get(..8).unwrap_or(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_told_in_two_lines() {
        let ada = |operation: &str, command: &str| Entry {
            user: "ada".into(),
            host: "gpu-1".into(),
            moved: 12,
            bytes: 5 << 20,
            ..Entry::here(operation, command, 1_795_166_999_000_000_000)
        };
        let up = Entry { complete: true, generation: Some(4), deleted: 1, ..ada("0123456789abcdef", "upload") };
        let down = Entry { paths: vec!["data".into()], failed: 2, why: Some("stopped".into()), ..ada("fedcba9876543210", "download") };
        let undo = Entry { complete: true, undoes: Some(down.operation.clone()), ..ada("aaaaaaaabbbbbbbb", "undo") };
        let died = Entry { open: true, moved: 0, ..ada("ffffffffeeeeeeee", "upload") };
        let text = table(&[&up, &down, &undo, &died], &HashSet::from([down.operation.clone()]), usize::MAX);
        insta::assert_snapshot!(text, @"
        2026-11-20 09:29:59 UTC  upload    complete    ada@gpu-1
            01234567  12 items (5.0 MiB), 1 deleted, generation 4
        2026-11-20 09:29:59 UTC  download  incomplete  ada@gpu-1
            fedcba98  can be undone  12 items (5.0 MiB), 2 failed, only data, stopped
        2026-11-20 09:29:59 UTC  undo      complete    ada@gpu-1
            aaaaaaaa  12 items (5.0 MiB), of fedcba98
        2026-11-20 09:29:59 UTC  upload    incomplete  ada@gpu-1
            ffffffff  it is under way, or ended without a word
        ");
    }
}
