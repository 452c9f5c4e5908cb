//! `lsync undo`: takes back what a download, or another undo, replaced and deleted. Shows, asks once, and says the last line. Needs no
//! bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lsync::engine::{self, FailureKind, NoUndo, Step, Stop, Undo, Undone};
use lsync::event::Ended;
use lsync::local::lock::now;
use lsync::local::mount::Mount;
use lsync::local::place::{Seen, TrashLimits};
use lsync::local::undo::Was;
use lsync::path::Shown;
use serde_json::{Value, json};

use super::args::{Common, Flags, UndoArgs};
use super::bars::{Bars, Detail};
use super::confirm::{self, Answer};
use super::exit::Exit;
use super::failure::{Failure, refuse_others};
use super::session::{Signal, block_on};
use super::settings::environment::Environment;
use super::settings::{self, find};
use super::text::{bytes, fit, items, shell_word, when};
use super::{json as lines, output};

/// Items that are named without `-v`.
const NAMED: usize = 20;

/// Runs the command.
pub(crate) fn run(args: &UndoArgs, flags: &Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    let loaded = find::load(&flags.common, env)?;
    let trash = loaded.as_ref().and_then(|loaded| loaded.file.sync.trash).unwrap_or_default();
    let trash = TrashLimits { age_seconds: trash.age_seconds, share: trash.share };
    let mount = Mount::open(&settings::root(&flags.common, env, loaded.as_ref())?)?;
    refuse_others(&mount)?;
    env.state_home().into_iter().for_each(|state_home| mount.offer_elsewhere(&state_home));
    let (stop, signal) = (Stop::default(), Signal::default());
    block_on(async {
        signal.watch(&stop, &Arc::new(Bars::new(Detail::Off, false, None)), flags.common.quiet)?;
        let plan = engine::look_back(&mount, args.operation.as_deref(), flags.moving.overwrite)?;
        let command = Command { mount, plan, trash, common: &flags.common, overwrite: flags.moving.overwrite, env, stop, signal, began };
        command.work().await
    })
}

/// One run of the command.
struct Command<'a> {
    mount: Mount,
    plan: Undo,
    trash: TrashLimits,
    common: &'a Common,
    overwrite: bool,
    env: &'a Environment,
    stop: Stop,
    signal: Signal,
    began: Instant,
}

impl Command<'_> {
    async fn work(self) -> Result<Exit, Failure> {
        let Command { plan, common, .. } = &self;
        if common.json {
            plan_lines(plan).iter().try_for_each(|line| output::line(&line.to_string()))?;
        }
        let waiting = if plan.changed.is_empty() { Exit::Done } else { Exit::Conflicts };
        if common.dry_run {
            self.show()?;
            return self.preview(waiting, "dry run: nothing was changed");
        }
        if plan.steps.is_empty() {
            self.show()?;
            return self.preview(waiting, "incomplete: what can be undone was changed here since, nothing was changed");
        }
        if !common.yes {
            if !self.env.terminal {
                self.show()?;
                let exit = self.preview(Exit::Refused, "incomplete: not confirmed, nothing was changed")?;
                output::say("There is no terminal to ask on. To apply this plan, run:");
                output::say(&self.again());
                return Ok(exit);
            }
            output::print_err(&self.screen(&console::Term::stderr()));
            self.signal.asking(true);
            let answer = confirm::ask(&format!("Bring back {}?", items(plan.steps.len() as u64)), &self.stop).await;
            self.signal.asking(false);
            match answer {
                Answer::Yes => {}
                Answer::No => return self.preview(Exit::Refused, "incomplete: not confirmed, nothing was changed"),
                Answer::Interrupted => {
                    return Err(Failure::new(self.signal.exit().unwrap_or(Exit::Failed), "interrupted: nothing was changed"));
                }
            }
        } else if !common.json && !common.quiet {
            output::print_err(&self.screen(&console::Term::stderr()));
        }
        self.apply().await
    }

    async fn apply(self) -> Result<Exit, Failure> {
        let Command { mount, plan, trash, common, stop, signal, began, .. } = self;
        let (as_json, claim) = (common.json, common.claim());
        let undoing = tokio::task::spawn_blocking(move || {
            let told = |step: &Step, ended: &Ended| {
                if as_json {
                    let _ = output::line(&item(step, ended).to_string());
                }
            };
            let undone = engine::undo(&mount, &plan, trash, &told, &stop, claim);
            undone.map(|undone| (plan, undone))
        });
        let done = undoing.await.map_err(|e| Failure::new(Exit::Failed, format!("a worker ended unexpectedly: {e}")))?;
        let (plan, mut undone) = done?;
        let stopped = matches!(undone.ended_by, Some(engine::Error::Stopped));
        let failure = undone.ended_by.take().filter(|_| !stopped).map(Failure::from);
        let exit = exit_of(&plan, &undone, failure.as_ref(), signal.exit().filter(|_| stopped));
        if common.json {
            let reason = (exit != Exit::Done).then(|| reason(&plan, &undone, failure.as_ref(), stopped));
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let counts = Counts { restored: undone.restored, pending: pending(&plan, &undone), failed: undone.failures.len() };
            output::line(&summary(&plan, Some(&undone.operation), &counts, exit, reason.as_deref(), elapsed, false).to_string())?;
            return Ok(exit);
        }
        if !undone.is_logged {
            output::say("warning: this undo is missing in `lsync log`: .lsync/log cannot be written");
        }
        for failed in &undone.failures {
            output::say(&format!("{}: {}", failed.path, Shown(&failed.why)));
        }
        if let Some(failure) = &failure {
            output::say_failure(failure);
        }
        let last = match exit {
            Exit::Done => format!("undone: items={} operation={}", undone.restored, undone.operation),
            _ => format!("incomplete: {}", reason(&plan, &undone, failure.as_ref(), stopped)),
        };
        output::line(&last)?;
        Ok(exit)
    }

    /// The plan as the result of a command that changes nothing.
    fn show(&self) -> Result<(), Failure> {
        if self.common.json { Ok(()) } else { output::print(&self.screen(&console::Term::stdout())) }
    }

    fn preview(&self, exit: Exit, reason: &str) -> Result<Exit, Failure> {
        if self.common.json {
            let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let counts = Counts { restored: 0, pending: self.plan.steps.len(), failed: 0 };
            let reason = reason.trim_start_matches("incomplete: ");
            let dry_run = self.common.dry_run;
            output::line(&summary(&self.plan, None, &counts, exit, Some(reason), elapsed, dry_run).to_string())?;
        } else {
            output::line(reason)?;
        }
        Ok(exit)
    }

    fn screen(&self, term: &console::Term) -> String {
        let width = output::columns(term);
        let (plan, owner) = (&self.plan, &self.plan.operation.owner);
        let mut text = vec![
            format!("undo of the operation {}", plan.operation.id),
            format!("  in {}", Shown(&self.mount.root().to_string_lossy())),
            format!("  made {} on {}", when(owner.since, now()), Shown(&owner.host)),
            String::new(),
        ];
        let most = if self.common.verbose > 0 { usize::MAX } else { NAMED };
        let mut list = |title: String, rows: Vec<String>| {
            if rows.is_empty() {
                return;
            }
            text.push(title);
            let more = rows.len().saturating_sub(most);
            text.extend(rows.into_iter().take(most));
            if more > 0 {
                text.push(format!("  and {more} more; -v names them"));
            }
        };
        let total = plan.steps.iter().map(|step| step.item.bytes).sum();
        let rows = plan.steps.iter().map(|step| format!("  {:<10} {}", word(step), step.item.path)).collect();
        list(format!("{} ({}) as before that operation:", items(plan.steps.len() as u64), bytes(total)), rows);
        let rows = plan.changed.iter().map(|(path, why)| format!("  {path}: {why}")).collect();
        list(format!("{} kept as they are; --overwrite takes them back too:", items(plan.changed.len() as u64)), rows);
        text.push("What stands there now goes to .lsync/trash/: this can be undone too.".into());
        text.iter().map(|line| fit(line, width) + "\n").collect()
    }

    /// The command that applies this plan without asking.
    fn again(&self) -> String {
        let mut words = vec![self.env.called.clone(), "undo".into(), "--yes".into()];
        for (on, flag) in [(self.overwrite, "--overwrite"), (self.common.json, "--json")] {
            words.extend(on.then(|| flag.into()));
        }
        let place = [("--config", &self.common.config), ("--root", &self.common.root)];
        words.extend(
            place
                .into_iter()
                .filter_map(|(flag, path): (_, &Option<PathBuf>)| Some(format!("{flag}={}", path.as_ref()?.to_string_lossy()))),
        );
        words.push(self.plan.operation.id.clone());
        words.iter().map(shell_word).collect::<Vec<_>>().join(" ")
    }
}

fn exit_of(plan: &Undo, undone: &Undone, failure: Option<&Failure>, signal: Option<Exit>) -> Exit {
    let mut exit = if plan.changed.is_empty() { Exit::Done } else { Exit::Conflicts };
    for failed in &undone.failures {
        exit = exit.worst(if failed.kind == FailureKind::NoSpace { Exit::NoSpace } else { Exit::Partial });
    }
    exit.worst(failure.map_or(Exit::Done, |failure| failure.exit)).worst(signal.unwrap_or(Exit::Done))
}

fn pending(plan: &Undo, undone: &Undone) -> usize {
    plan.steps.len().saturating_sub(usize::try_from(undone.restored).unwrap_or(usize::MAX) + undone.failures.len())
}

fn reason(plan: &Undo, undone: &Undone, failure: Option<&Failure>, stopped: bool) -> String {
    let mut reasons = Vec::new();
    if stopped {
        reasons.push(format!("interrupted with {} left; the same command goes on", items(pending(plan, undone) as u64)));
    }
    reasons.extend(failure.map(|failure| failure.message.clone()));
    if !undone.failures.is_empty() {
        reasons.push(format!("{} failed", undone.failures.len()));
    }
    if !plan.changed.is_empty() {
        reasons.push(format!("{} changed here since and kept", plan.changed.len()));
    }
    reasons.join(", ")
}

/// What happens to a path.
fn word(step: &Step) -> &'static str {
    match (step.item.was, &step.seen) {
        (Was::Nothing, _) => "remove",
        (_, Seen::Absent) => "bring back",
        _ => "replace",
    }
}

fn plan_lines(plan: &Undo) -> Vec<Value> {
    let action = |step: &Step| {
        let (verb, item) = (verb(step), &step.item);
        json!({ "v": 1, "type": "action", "verb": verb, "path": item.path.as_str(), "bytes": item.bytes })
    };
    let kept = |(path, why): &(lsync::path::RelPath, String)| json!({ "v": 1, "type": "kept", "state": "conflict", "path": path.as_str(), "why": why });
    plan.steps.iter().map(action).chain(plan.changed.iter().map(kept)).collect()
}

fn item(step: &Step, ended: &Ended) -> Value {
    let (outcome, why) = lines::ended(ended);
    let (verb, path, bytes) = (verb(step), step.item.path.as_str(), step.item.bytes);
    json!({ "v": 1, "type": "item", "path": path, "verb": verb, "bytes": bytes, "outcome": outcome, "why": why })
}

fn verb(step: &Step) -> &'static str {
    if step.item.was == Was::Nothing { "delete" } else { "restore" }
}

struct Counts {
    restored: u64,
    pending: usize,
    failed: usize,
}

fn summary(plan: &Undo, own: Option<&str>, counts: &Counts, exit: Exit, reason: Option<&str>, elapsed_ms: u64, dry_run: bool) -> Value {
    json!({
        "v": 1, "type": "summary", "command": "undo", "exit": exit.code(), "complete": exit == Exit::Done && counts.pending == 0,
        "elapsed_ms": elapsed_ms, "generation": null, "restored": counts.restored, "pending": counts.pending, "failed": counts.failed,
        "conflicts": plan.changed.len(), "operation": own, "undoes": plan.operation.id, "dry_run": dry_run, "reason": reason,
    })
}

impl From<NoUndo> for Failure {
    fn from(error: NoUndo) -> Failure {
        let failure = Failure::usage(error.to_string());
        match error {
            NoUndo::Local(error) => error.into(),
            NoUndo::Nothing => failure,
            NoUndo::Unknown(_) | NoUndo::Ambiguous(_) => failure.hint("`lsync log` names the operations"),
        }
    }
}
