//! `lsync upload` and `lsync download`: one command, a direction apart. Looks, shows, asks once, runs, and says the last line.

use std::path::PathBuf;
use std::time::Instant;

use lsync::engine::{self, FailureKind, Report, Sight};
use lsync::event::Event;
use lsync::path::Shown;
use lsync::plan::{Direction, Plan};

use super::args::{Flags, TransferArgs};
use super::confirm::{self, Answer};
use super::exit::Exit;
use super::failure::Failure;
use super::render::{self, Around};
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{count, shell_word};
use super::{json, output};

/// Runs one direction.
pub(crate) fn run(direction: Direction, args: &TransferArgs, flags: Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    block_on(async {
        let session = Session::open(flags, &args.paths, env).await?;
        let ended = work(direction, &session, &args.paths, env, began).await;
        session.bars.clear();
        match (ended, session.signal.exit()) {
            (Err(failure), Some(exit)) if failure.exit == exit => Err(failure),
            // What was asked to stop did stop: the signal is the exit code, whatever it interrupted.
            (Err(failure), Some(exit)) => Err(Failure { exit, message: format!("interrupted: {}", failure.message), hint: Some(again()) }),
            (ended, _) => ended,
        }
    })
}

fn again() -> String {
    "run the same command again; it goes on where it stopped".into()
}

async fn work(direction: Direction, session: &Session, paths: &[PathBuf], env: &Environment, began: Instant) -> Result<Exit, Failure> {
    let common = &session.flags.common;
    let sight = engine::look(&session.ends, &session.ask).await?;
    let plan = sight.plan(direction, session.choices);
    session.bars.clear();
    if let Some(warning) = empty_source(session, &plan) {
        (session.ends.observer)(Event::Warning(warning));
    }
    if let Err(refusal) = plan.check(session.max_delete) {
        show(session, &plan, &sight)?;
        return Err(engine::Error::from(refusal).into());
    }
    if common.dry_run {
        show(session, &plan, &sight)?;
        return preview_ends(session, &plan, &sight, plan_exit(&plan), began);
    }
    if !plan.is_empty() && !common.yes {
        if !env.terminal {
            show(session, &plan, &sight)?;
            let exit = preview_ends(session, &plan, &sight, Exit::Refused, began)?;
            output::say("nothing was changed: there is no terminal to ask on. To apply this plan:");
            output::say(&command(&env.called, direction, &session.flags, paths));
            return Ok(exit);
        }
        output::say(&screen(session, &plan, &sight));
        session.signal.asking(true);
        let answer = confirm::ask(&render::question(&plan), &session.ends.stop).await;
        session.signal.asking(false);
        match answer {
            Answer::Yes => {}
            Answer::No => {
                output::say("declined: nothing was changed");
                if common.json {
                    output::line(&preview_summary(session, &plan, &sight, Exit::Refused, began).to_string())?;
                }
                return Ok(Exit::Refused);
            }
            Answer::Interrupted => {
                let exit = session.signal.exit().unwrap_or(Exit::Interrupted);
                return Err(Failure::new(exit, "interrupted at the question: nothing was changed"));
            }
        }
    } else if common.json {
        print_json_plan(&plan)?;
    } else if !common.quiet {
        output::say(&screen(session, &plan, &sight));
    }
    let report = engine::run(&session.ends, &session.ask, &sight, &plan).await?;
    session.bars.clear();
    ends(session, &sight, report, began)
}

/// A source that is empty and a destination that is not: nothing is wrong with it, and seldom is it what was meant.
fn empty_source(session: &Session, plan: &Plan) -> Option<String> {
    if plan.may_delete || plan.source_entries > 0 || plan.destination_entries == 0 || !plan.problems.is_empty() || !session.ask.is_whole() {
        return None;
    }
    Some(match plan.direction {
        Direction::Upload => "the mount is empty and the bucket is not: is it mounted?".into(),
        Direction::Download => format!("{} is empty and the mount is not: are `bucket` and `prefix` right?", session.ends.bucket.url()),
    })
}

/// The plan as the result of a command that changes nothing.
fn show(session: &Session, plan: &Plan, sight: &Sight) -> Result<(), Failure> {
    if session.flags.common.json { print_json_plan(plan) } else { output::print(&screen(session, plan, sight)) }
}

fn print_json_plan(plan: &Plan) -> Result<(), Failure> {
    json::plan(plan).iter().try_for_each(|line| output::line(&line.to_string()))
}

fn screen(session: &Session, plan: &Plan, sight: &Sight) -> String {
    let root = session.ends.mount.root().to_string_lossy().into_owned();
    let free = session.ends.mount.space().ok().map(|(free, _)| free).filter(|_| plan.direction == Direction::Download);
    let around = Around {
        root: &root,
        bucket: session.ends.bucket.url(),
        endpoint: session.ends.bucket.endpoint(),
        free,
        limit: session.flags.moving.bwlimit,
        include_config: session.settings.patterns.include_config,
        comparable_bytes: plan.unknown.iter().map(|k| k.bytes).sum(),
        width: session.width(),
    };
    let mut text = render::plan(plan, sight, &around);
    if session.flags.common.verbose > 0 {
        text.push_str(&render::every_item(plan));
    }
    text
}

fn preview_summary(session: &Session, plan: &Plan, sight: &Sight, exit: Exit, began: Instant) -> serde_json::Value {
    let generation = (sight.state.generation > 0).then_some(sight.state.generation);
    let _ = session;
    json::summary_of_plan(plan, sight.ignored.files, generation, exit, elapsed(began))
}

fn preview_ends(session: &Session, plan: &Plan, sight: &Sight, exit: Exit, began: Instant) -> Result<Exit, Failure> {
    if session.flags.common.json {
        output::line(&preview_summary(session, plan, sight, exit, began).to_string())?;
    } else if plan.is_empty() {
        output::line(&format!("dry run: there is nothing to {}", plan.direction.verb()))?;
    } else {
        output::line("dry run: nothing was changed")?;
    }
    Ok(exit)
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// As the run would end if every transfer succeeded.
fn plan_exit(plan: &Plan) -> Exit {
    let conflicts = if plan.conflicts.is_empty() && plan.unknown.is_empty() { Exit::Done } else { Exit::Conflicts };
    let problems = if plan.problems.is_empty() { Exit::Done } else { Exit::Partial };
    conflicts.worst(problems)
}

/// The command that applies the plan without asking.
fn command(called: &str, direction: Direction, flags: &Flags, paths: &[PathBuf]) -> String {
    let mut words = vec![called.to_owned(), direction.verb().to_owned(), "--yes".to_owned()];
    let (common, moving) = (&flags.common, &flags.moving);
    let mut flag = |on: bool, name: &str| {
        if on {
            words.push(name.to_owned());
        }
    };
    flag(moving.delete, "--delete");
    flag(moving.overwrite, "--overwrite");
    flag(common.json, "--json");
    let mut value = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(name.to_owned());
            words.push(value);
        }
    };
    value("--max-delete", moving.max_delete.map(|limit| limit.to_string()));
    value("--compare", moving.compare.map(|how| format!("{how:?}").to_lowercase()));
    for pattern in &moving.include {
        value("--include", Some(pattern.clone()));
    }
    for pattern in &moving.exclude {
        value("--exclude", Some(pattern.clone()));
    }
    value("--bwlimit", moving.bwlimit.map(|rate| rate.to_string()));
    value("--jobs", moving.jobs.map(|jobs| jobs.to_string()));
    value("--config", common.config.as_ref().map(|p| p.to_string_lossy().into_owned()));
    value("--root", common.root.as_ref().map(|p| p.to_string_lossy().into_owned()));
    value("--prefix", common.prefix.clone());
    if !paths.is_empty() {
        words.push("--".into());
        words.extend(paths.iter().map(|p| p.to_string_lossy().into_owned()));
    }
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// The last words of a run.
fn ends(session: &Session, sight: &Sight, mut report: Report, began: Instant) -> Result<Exit, Failure> {
    let common = &session.flags.common;
    let early = report.ended_by.take();
    let stopped = matches!(early, Some(engine::Error::Stopped));
    let failure = early.filter(|_| !stopped).map(Failure::from);
    let exit = exit_of(&report, failure.as_ref(), session.signal.exit(), stopped);
    if !common.json {
        output::print_err(&render::after(&report, session.width(), common.verbose > 0));
        if let Some(failure) = &failure {
            output::say(&format!("error: {}", failure.message));
            if let Some(hint) = &failure.hint {
                output::say(&format!("hint: {hint}"));
            }
        }
    }
    if common.json {
        output::line(&json::summary(&report, exit, elapsed(began)).to_string())?;
    } else {
        output::line(&last_line(session, sight, &report, failure.as_ref(), stopped))?;
    }
    Ok(exit)
}

/// The only place that prints the word; it needs the proof that the engine made.
fn last_line(session: &Session, sight: &Sight, report: &Report, failure: Option<&Failure>, stopped: bool) -> String {
    let ask = &session.ask;
    match &report.complete {
        Some(proof) if ask.is_whole() => format!("complete: {}", proof.counts()),
        Some(proof) => {
            let elsewhere =
                sight.state.entries.iter().filter(|(path, _)| !ask.paths.iter().any(|p| path.is_at_or_below(p.as_str()))).count();
            let scope = if ask.paths.is_empty() {
                "what the filters let through".to_owned()
            } else {
                ask.paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            let others = if ask.paths.is_empty() {
                String::new()
            } else {
                format!("; {} files elsewhere were not looked at", count(elsewhere as u64))
            };
            format!("complete for {scope}: {}{others}", proof.counts())
        }
        None => format!("incomplete: {}", reason(report, failure, stopped)),
    }
}

fn reason(report: &Report, failure: Option<&Failure>, stopped: bool) -> String {
    let counts = &report.counts;
    let mut reasons = Vec::new();
    if stopped {
        reasons.push("interrupted; run the same command again".to_owned());
    }
    if let Some(failure) = failure {
        reasons.push(failure.message.clone());
    }
    let writing: Vec<_> = report.failures.iter().filter(|f| f.kind == FailureKind::StillWritten).collect();
    if let Some(first) = writing.first() {
        let more = if writing.len() > 1 { format!(" and {} more", count(writing.len() as u64 - 1)) } else { String::new() };
        reasons.push(format!("still being written: {}{more}", first.path));
    }
    let failed = counts.failed - writing.len() as u64;
    for (n, word) in
        [(failed, "failed"), (counts.conflicts, "in conflict"), (counts.unknown, "not comparable"), (counts.problems, "cannot be synced")]
    {
        if n > 0 {
            reasons.push(format!("{} {word}", count(n)));
        }
    }
    if reasons.is_empty() {
        reasons.push("the closing check did not take place".into());
    }
    Shown(&reasons.join(", ")).to_string()
}

/// Several may hold: signal > 1 > 8 > what stops a run > 6 > 3.
fn exit_of(report: &Report, failure: Option<&Failure>, signal: Option<Exit>, stopped: bool) -> Exit {
    let mut exit = if report.complete.is_some() { Exit::Done } else { Exit::Partial };
    for failure in &report.failures {
        exit = exit.worst(match failure.kind {
            FailureKind::Integrity => Exit::Integrity,
            FailureKind::NoSpace => Exit::NoSpace,
            FailureKind::Stale | FailureKind::StillWritten | FailureKind::Failed => Exit::Partial,
        });
    }
    if report.counts.conflicts + report.counts.unknown > 0 {
        exit = exit.worst(Exit::Conflicts);
    }
    if let Some(failure) = failure {
        exit = exit.worst(failure.exit);
    }
    match signal {
        Some(signal) if stopped || report.complete.is_none() => exit.worst(signal),
        _ => exit,
    }
}
