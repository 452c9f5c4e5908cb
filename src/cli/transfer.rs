//! `lsync upload` and `lsync download`: one command, a direction apart. Looks, shows, asks once, runs, and says the last line.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lsync::engine::{self, Depth, FailureKind, Limits, Report, Sight};
use lsync::entry::below;
use lsync::event::Event;
use lsync::local::state::Known;
use lsync::path::{RelPath, Shown};
use lsync::plan::sets::companions;
use lsync::plan::{Direction, Plan, Refusal};
use lsync::profile::Profile;

use super::args::Flags;
use super::confirm::{self, Answer};
use super::exit::Exit;
use super::failure::Failure;
use super::render::{self, After};
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{count, duration, files, items, some};
use super::{again, json, output};

/// Runs one direction.
/// `read_back`: how much of what is sent.
pub(crate) fn run(direction: Direction, paths: &[PathBuf], read_back: Depth, flags: Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    block_on(async {
        let mut session = Session::open(flags, paths, env, Some(direction)).await?;
        session.ask.read_back = read_back;
        let ended = Transfer { session: &session, direction, paths, env, began }.work().await;
        session.bars.clear();
        match (ended, session.signal.exit()) {
            // What was asked to stop did stop: the signal is the exit code, whatever it interrupted. A run that had begun gives a report.
            (Err(_), Some(exit)) => Err(Failure::new(exit, "interrupted: nothing was changed")),
            (ended, _) => ended,
        }
    })
}

/// One run of the command.
struct Transfer<'a> {
    session: &'a Session,
    direction: Direction,
    paths: &'a [PathBuf],
    env: &'a Environment,
    began: Instant,
}

/// Why nothing was changed, as the last line says it.
const DRY_RUN: &str = "dry run: nothing was changed";
const NOT_CONFIRMED: &str = "incomplete: not confirmed, nothing was changed";

impl Transfer<'_> {
    async fn work(&self) -> Result<Exit, Failure> {
        let session = self.session;
        let common = &session.flags.common;
        let mut sight = engine::look(&session.ends, &session.ask).await?;
        // A plan that only is shown writes nothing, not even to ask.
        if !common.dry_run && (common.yes || self.env.terminal) {
            sight.learn_copies(self.direction, session.choices).await?;
        }
        let mut plan = sight.plan(self.direction, session.choices);
        plan.limit_deletions(session.max_delete);
        session.bars.clear();
        if common.json {
            json::plan(&plan).iter().try_for_each(|line| output::line(&line.to_string()))?;
        }
        if let Some(warning) = empty_bucket(session, &plan, &sight) {
            (session.ends.observer)(Event::Warning(warning));
        }
        if self.sends_unproven(&plan, &sight) {
            (session.ends.observer)(Event::Warning(engine::not_verified_by_store().into()));
        }
        let waiting = engine::unrested(&plan, session.ask.settle);
        if !waiting.is_empty() {
            (session.ends.observer)(Event::Warning(left_to_rest(&waiting, session.ask.settle)));
        }
        let limits = Limits { max_delete: session.max_delete };
        if let Err(refused) = plan.approve(limits) {
            self.show(&plan, &sight)?;
            return Err(refusal(session, &sight, refused));
        }
        if common.dry_run {
            self.show(&plan, &sight)?;
            let exit = if waiting.is_empty() { Exit::Done } else { Exit::Partial };
            return self.preview(&plan, &sight, plan_exit(&plan).worst(exit), DRY_RUN);
        }
        if !plan.is_empty() && !common.yes {
            if !self.env.terminal {
                self.show(&plan, &sight)?;
                let exit = self.preview(&plan, &sight, Exit::Refused, NOT_CONFIRMED)?;
                output::say("There is no terminal to ask on. To apply this plan, run:");
                output::say(&again::without_asking(&self.env.called, self.direction, &session.flags, session.ask.read_back, self.paths));
                return Ok(exit);
            }
            output::print_err(&self.screen(&plan, &sight, false));
            if self.ask(&render::question(&plan)).await? == Answer::No {
                return self.preview(&plan, &sight, Exit::Refused, NOT_CONFIRMED);
            }
        } else if !common.json && !common.quiet {
            output::print_err(&format!("{}\n", self.screen(&plan, &sight, false)));
        }
        // `--yes` is about the plan: it never sends keys.
        if !plan.keys.is_empty() && !common.yes && self.env.terminal {
            if common.quiet && plan.is_empty() {
                output::print_err(&render::waiting(&plan, &session.page(false)));
            }
            if self.ask(&render::keys_question(&plan.keys)).await? == Answer::Yes {
                plan.send_keys();
            }
        }
        let confirmed = Instant::now();
        let approved = plan.approve(limits).map_err(|refused| refusal(session, &sight, refused))?;
        let report = engine::run(approved).await?;
        session.bars.clear();
        self.ends(&sight, &plan, report, confirmed.elapsed())
    }

    /// Asks, and ends where a signal came first.
    async fn ask(&self, question: &str) -> Result<Answer, Failure> {
        let session = self.session;
        session.signal.asking(true);
        let answer = confirm::ask(question, &session.ends.stop).await;
        session.signal.asking(false);
        if answer == Answer::Interrupted { Err(engine::Error::Stopped.into()) } else { Ok(answer) }
    }

    /// Whether files are to be sent to a store that is known to verify nothing, and not read back.
    fn sends_unproven(&self, plan: &Plan, sight: &Sight) -> bool {
        let sends = self.direction == Direction::Upload && plan.transfers.iter().any(|t| t.source.file().is_some());
        sends && self.session.ask.read_back == Depth::List && sight.store.as_ref().is_some_and(Profile::verifies_nothing)
    }

    fn screen(&self, plan: &Plan, sight: &Sight, result: bool) -> String {
        let session = self.session;
        render::plan(plan, &session.around(sight), &session.bounds(sight, self.direction), &session.page(result))
    }

    /// The plan as the result of a command that changes nothing.
    fn show(&self, plan: &Plan, sight: &Sight) -> Result<(), Failure> {
        let common = &self.session.flags.common;
        match (common.json, common.quiet) {
            (true, _) => Ok(()),
            (false, false) => output::print(&self.screen(plan, sight, true)),
            // What waits or cannot be synced is no noise; the rest is told in the last line.
            (false, true) => {
                output::print_err(&render::waiting(plan, &self.session.page(false)));
                Ok(())
            }
        }
    }

    /// The end of a command that changes nothing.
    fn preview(&self, plan: &Plan, sight: &Sight, exit: Exit, reason: &str) -> Result<Exit, Failure> {
        let common = &self.session.flags.common;
        if common.json {
            let preview = json::Preview {
                plan,
                ignored: sight.ignored_at_source(self.direction).0,
                generation: (sight.state.generation > 0).then_some(sight.state.generation),
                exit,
                elapsed_ms: self.elapsed_ms(),
                dry_run: common.dry_run,
                reason: reason.trim_start_matches("incomplete: "),
            };
            output::line(&json::preview(&preview).to_string())?;
        } else if common.dry_run && plan.is_empty() {
            output::line(&format!("dry run: there is nothing to {}", self.direction.verb()))?;
        } else if common.quiet && !plan.is_empty() {
            output::line(&format!("{reason}; to do: {}", render::sum(plan)))?;
        } else {
            output::line(reason)?;
        }
        Ok(exit)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The last words of a run.
    fn ends(&self, sight: &Sight, plan: &Plan, mut report: Report, took: Duration) -> Result<Exit, Failure> {
        let session = self.session;
        let common = &session.flags.common;
        let early = report.ended_by.take();
        let stopped = matches!(early, Some(engine::Error::Stopped));
        let failure = early.filter(|_| !stopped).map(Failure::from);
        let exit = exit_of(&report, failure.as_ref(), session.signal.exit(), stopped);
        if common.json {
            let reason = report.complete.is_none().then(|| reason(&report, failure.as_ref(), stopped));
            output::line(&json::summary(&report, reason.as_deref(), exit, self.elapsed_ms()).to_string())?;
            return Ok(exit);
        }
        let (root, current_dir) = (session.ends.mount.root(), session.settings.current_dir.as_path());
        let at = again::Here { called: &self.env.called, common, root, current_dir };
        let command = |verb, extra: &str, path: &RelPath| again::for_path(&at, verb, extra, path);
        let shown = if common.quiet { 0 } else { plan.problems.len() };
        let about = After {
            page: session.page(false),
            took: (!common.quiet).then_some(took),
            problems: report.problems.get(shown..).unwrap_or_default(),
            command: &command,
        };
        output::print_err(&render::after(&report, &about));
        if let Some(failure) = &failure {
            output::say_failure(failure);
        }
        output::line(&last_line(session, sight, &report, failure.as_ref(), stopped))?;
        Ok(exit)
    }
}

/// Why the whole plan is not approved: an empty mount is told with what else was seen.
fn refusal(session: &Session, sight: &Sight, refused: engine::Error) -> Failure {
    match refused {
        engine::Error::Refused(Refusal::EmptyMount { bucket, .. }) => empty_mount(session, sight, bucket),
        other => other.into(),
    }
}

/// An upload of nothing is no upload: an unmounted filesystem looks like this, and whoever reads "complete" destroys the machine.
fn empty_mount(session: &Session, sight: &Sight, in_bucket: u64) -> Failure {
    let (root, url) = (session.ends.mount.root().to_string_lossy(), session.ends.bucket.url());
    let beside = match sight.ignored_at_source(Direction::Upload).0 {
        0 => String::new(),
        n => format!(" beside {}", some(n, "ignored file")),
    };
    let (other, way) = match in_bucket {
        0 => (
            format!("what was synced with {url} before is in neither"),
            "where all of it was removed on purpose, remove .lsync/ in the mount and in the bucket",
        ),
        n => (
            format!("{url} holds {}", some(n, "item")),
            "`lsync download` brings what the bucket holds; to remove everything there, use another tool",
        ),
    };
    let message = format!("the mount {} has no entry at all{beside}, and {}: nothing was sent or deleted", Shown(&root), Shown(&other));
    Failure::new(Exit::Refused, message).hint(format!("is it mounted, and is it the right one? If so, {way}"))
}

/// A bucket that is empty and a directory that is not: nothing is wrong with that, and seldom is it what was meant. Of a narrowed run it
/// is said only where nothing was ever published.
fn empty_bucket(session: &Session, plan: &Plan, sight: &Sight) -> Option<String> {
    let was_synced = sight.state.entries.iter().any(|(_, known)| known.base.is_some() || known.published.is_some());
    let is_new = sight.view.objects == 0 && sight.view.manifests.is_empty() && session.ask.paths.is_empty() && !was_synced;
    let says_nothing = plan.direction == Direction::Upload || plan.may_delete || !plan.problems.is_empty();
    if says_nothing || !(session.ask.is_whole() || is_new) || plan.source_entries > 0 || plan.destination_entries == 0 {
        return None;
    }
    let (url, n) = (session.ends.bucket.url(), items(plan.destination_entries));
    let never = if is_new { ", and nothing was ever published there" } else { "" };
    Some(format!("{url} is empty and the mount is not{never}: are `bucket` and `prefix` right? Nothing of the {n} in the mount is there"))
}

/// What `--settle` leaves out of a plan, which lists it all the same: it may have rested by the time of its turn.
fn left_to_rest(waiting: &[&RelPath], least: Duration) -> String {
    let some: Vec<String> = waiting.iter().take(5).map(ToString::to_string).collect();
    let more = match waiting.len() - some.len() {
        0 => String::new(),
        n => format!(" and {} more", count(n as u64)),
    };
    let (files, least) = (files(waiting.len() as u64), duration(least.as_secs()));
    format!("{files} changed less than {least} ago and would wait for a later run (--settle): {}{more}", some.join(", "))
}

/// As the run would end if every transfer succeeded.
fn plan_exit(plan: &Plan) -> Exit {
    let conflicts = if plan.conflicts.is_empty() && plan.unknown.is_empty() { Exit::Done } else { Exit::Conflicts };
    let problems =
        if plan.problems.is_empty() && plan.nothing_there.is_none() && plan.keys.is_empty() { Exit::Done } else { Exit::Partial };
    conflicts.worst(problems)
}

/// The only place that prints the word; it needs the proof that the engine made.
fn last_line(session: &Session, sight: &Sight, report: &Report, failure: Option<&Failure>, stopped: bool) -> String {
    let ask = &session.ask;
    // `links = "any"` says that they are meant.
    let behind = if session.choices.any_links { String::new() } else { render::outside_sentence(&report.outside_links) };
    match &report.complete {
        Some(proof) if ask.is_whole() => format!("complete: {}{behind}", proof.counts()),
        Some(proof) => {
            let scope = if ask.paths.is_empty() {
                "what the filters let through".to_owned()
            } else {
                ask.paths.iter().map(|path| named(sight, path)).collect::<Vec<_>>().join(" ")
            };
            let others = if ask.paths.is_empty() { String::new() } else { elsewhere(sight, &ask.paths) };
            format!("complete for {scope}: {}{others}{behind}", proof.counts())
        }
        None => format!("incomplete: {}{behind}", reason(report, failure, stopped)),
    }
}

/// What a run did not look at: how much that is only the last sync can tell.
fn elsewhere(sight: &Sight, paths: &[RelPath]) -> String {
    let is_synced = |known: &&(RelPath, Known)| known.1.base.is_some() || known.1.published.is_some();
    let is_elsewhere = |path: &RelPath| !paths.iter().any(|p| path.is_at_or_below(p.as_str()));
    let known = sight.state.entries.iter().filter(is_synced).filter(|(path, _)| is_elsewhere(path)).count() as u64;
    let known = if known > 0 { format!(" ({} at the last sync)", files(known)) } else { String::new() };
    format!("; nothing elsewhere was looked at{known}")
}

/// A PATH as a person writes it: a directory ends in `/`.
fn named(sight: &Sight, path: &RelPath) -> String {
    let is_dir = !below(&sight.local, path.as_str()).is_empty() || !below(&sight.view.entries, path.as_str()).is_empty();
    format!("{path}{}", if is_dir { "/" } else { "" })
}

fn reason(report: &Report, failure: Option<&Failure>, stopped: bool) -> String {
    let counts = &report.counts;
    let mut reasons = Vec::new();
    if stopped {
        let left = if counts.pending > 0 { format!(" with {} left", items(counts.pending)) } else { String::new() };
        reasons.push(format!("interrupted{left}"));
    }
    if let Some(failure) = failure {
        reasons.push(failure.message.clone());
    }
    if let Some(first) = report.keys.first() {
        let n = report.keys.len() as u64;
        let (may, wait) = if n == 1 { ("may hold keys", "waits") } else { ("may hold keys", "wait") };
        let more = if n > 1 { format!(", {} and {} more", first.path, count(n - 1)) } else { format!(", {}", first.path) };
        reasons.push(format!("{} that {may} {wait}{more}", files(n)));
    }
    reasons.extend(report.nothing_there.as_ref().map(ToString::to_string));
    let writing: Vec<_> = report.failures.iter().filter(|f| f.kind == FailureKind::StillWritten).collect();
    if let Some(first) = writing.first() {
        let belongs = companions(&first.path);
        let with_it = report.failures.iter().filter(|f| f.kind == FailureKind::Waits && belongs.contains(&f.path)).count() as u64;
        let with_it = match with_it {
            0 => String::new(),
            1 => " and 1 file that belongs to it".to_owned(),
            n => format!(" and {} files that belong to it", count(n)),
        };
        let more = if writing.len() > 1 { format!(", and {} more", count(writing.len() as u64 - 1)) } else { String::new() };
        let more = if with_it.is_empty() { more.replace(", and", " and") } else { more };
        reasons.push(format!("still being written: {}{with_it}{more}", first.path));
    }
    let waiting = report.failures.iter().filter(|f| f.kind == FailureKind::Waits).count() as u64;
    let failed = counts.failed.saturating_sub(writing.len() as u64 + waiting);
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
    let advice = if stopped { "; the same command goes on from here" } else { "" };
    format!("{}{advice}", Shown(&reasons.join(", ")))
}

/// Several may hold: signal > 1 > 8 > what stops a run > 6 > 3.
fn exit_of(report: &Report, failure: Option<&Failure>, signal: Option<Exit>, stopped: bool) -> Exit {
    let mut exit = if report.complete.is_some() { Exit::Done } else { Exit::Partial };
    for failure in &report.failures {
        exit = exit.worst(match failure.kind {
            FailureKind::Integrity => Exit::Integrity,
            FailureKind::NoSpace => Exit::NoSpace,
            FailureKind::Stale | FailureKind::StillWritten | FailureKind::Waits | FailureKind::Failed => Exit::Partial,
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
