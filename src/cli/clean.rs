//! `lsync clean`: gives up what interrupted uploads of this mount left open in the bucket, and lists what others left. Touches no file and no
//! object.

use std::time::Instant;

use lsync::engine::{self, Found, Outcome, Whose};
use lsync::local::lock::now;
use lsync::path::Shown;
use serde_json::{Value, json};

use super::args::{Common, Flags};
use super::confirm::{self, Answer};
use super::exit::Exit;
use super::failure::Failure;
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{some, when};
use super::{again, output};

/// How it ended.
struct End<'a> {
    found: &'a [Found],
    exit: Exit,
    /// Why nothing was done.
    reason: Option<&'static str>,
    elapsed_ms: u64,
    dry_run: bool,
}

/// Runs the command.
pub(crate) fn run(common: Common, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    block_on(async {
        let flags = Flags { common, ..Flags::default() };
        let session = Session::open(flags, &[], env, None).await?;
        let ended = work(&session, env, began).await;
        session.bars.clear();
        match (ended, session.signal.exit()) {
            (Err(_), Some(exit)) => Err(Failure::new(exit, "interrupted")),
            (ended, _) => ended,
        }
    })
}

async fn work(session: &Session, env: &Environment, began: Instant) -> Result<Exit, Failure> {
    let common = &session.flags.common;
    let found = engine::open_uploads(&session.ends).await?;
    let ours = found.iter().filter(|found| found.whose == Whose::Ours).count() as u64;
    let end = |found: &[Found], exit, reason| {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tell(&End { found, exit, reason, elapsed_ms, dry_run: common.dry_run }, session)
    };
    if ours == 0 {
        return end(&found, Exit::Done, None);
    }
    if common.dry_run {
        return end(&found, Exit::Done, Some("dry run: nothing was given up"));
    }
    if !common.yes {
        if !env.terminal {
            let exit = end(&found, Exit::Refused, Some("not confirmed, nothing was given up"))?;
            output::say("There is no terminal to ask on. To give them up, run:");
            output::say(&again::clean(&env.called, common));
            return Ok(exit);
        }
        found.iter().for_each(|found| output::say(&row(found)));
        let question = format!("Give up {}? What was sent of them is sent again.", some(ours, "unfinished upload"));
        match confirm::ask(&question, &session.ends.stop).await {
            Answer::Yes => {}
            Answer::No => return end(&found, Exit::Refused, Some("not confirmed, nothing was given up")),
            Answer::Interrupted => return Err(engine::Error::Stopped.into()),
        }
    }
    let found = engine::clean(&session.ends).await?;
    let left = found.iter().any(|found| found.whose == Whose::Ours && found.outcome != Outcome::GivenUp);
    let exit = if left { session.signal.exit().unwrap_or(Exit::Partial) } else { Exit::Done };
    end(&found, exit, None)
}

fn tell(end: &End<'_>, session: &Session) -> Result<Exit, Failure> {
    let count = |fits: &dyn Fn(&Found) -> bool| end.found.iter().filter(|found| fits(found)).count() as u64;
    let given_up = count(&|found| found.outcome == Outcome::GivenUp);
    let left = count(&|found| found.whose == Whose::Ours) - given_up;
    let others = count(&|found| found.whose != Whose::Ours);
    if session.flags.common.json {
        for found in end.found {
            output::line(&line(found, end.dry_run).to_string())?;
        }
        let summary = json!({
            "v": 1, "type": "summary", "command": "clean", "exit": end.exit.code(), "complete": left == 0, "elapsed_ms": end.elapsed_ms,
            "given_up": given_up, "left": left, "others": others, "reason": end.reason, "dry_run": end.dry_run,
        });
        output::line(&summary.to_string())?;
        return Ok(end.exit);
    }
    if !session.flags.common.quiet {
        for found in end.found {
            output::line(&row(found))?;
        }
    }
    output::line(&verdict(given_up, left, others, end.reason))?;
    Ok(end.exit)
}

/// The last line.
fn verdict(given_up: u64, left: u64, others: u64, reason: Option<&str>) -> String {
    let of_others = match others {
        0 => String::new(),
        n => format!("; {} of others {} not touched", some(n, "unfinished upload"), if n == 1 { "was" } else { "were" }),
    };
    match (reason, given_up, left) {
        (Some(reason), ..) => format!("{reason}: {} of this mount{of_others}", some(left, "unfinished upload")),
        (None, 0, 0) => format!("this mount has no unfinished uploads in the bucket{of_others}"),
        (None, n, 0) => format!("gave up {}{of_others}", some(n, "unfinished upload")),
        (None, n, left) => format!("gave up {}; {left} could not be removed: run it again{of_others}", some(n, "unfinished upload")),
    }
}

fn row(found: &Found) -> String {
    let whose = match (found.whose, &found.outcome) {
        (Whose::Ours, Outcome::GivenUp) => "given up",
        (Whose::Ours, _) => "ours",
        (Whose::Running, _) => "running",
        (Whose::Other, _) => "other",
    };
    let begun = found.begun.map_or_else(|| "nobody says when".into(), |begun| when(begun, now()));
    let why = if let Outcome::Failed(why) = &found.outcome { format!(": {}", Shown(why)) } else { String::new() };
    format!("  {whose:<8}  {}  begun {begun}{why}", Shown(&found.key))
}

fn line(found: &Found, dry_run: bool) -> Value {
    let whose = match found.whose {
        Whose::Ours => "ours",
        Whose::Running => "running",
        Whose::Other => "other",
    };
    let (outcome, why) = match &found.outcome {
        Outcome::Kept if dry_run && found.whose == Whose::Ours => ("would_give_up", None),
        Outcome::Kept => ("kept", None),
        Outcome::GivenUp => ("given_up", None),
        Outcome::Failed(why) => ("kept", Some(why)),
    };
    json!({ "v": 1, "type": "open_upload", "key": found.key, "begun_ns": found.begun, "whose": whose, "outcome": outcome, "why": why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_was_done_and_what_was_not() {
        for (given_up, left, others, reason, expected) in [
            (0, 0, 0, None, "this mount has no unfinished uploads in the bucket"),
            (0, 0, 1, None, "this mount has no unfinished uploads in the bucket; 1 unfinished upload of others was not touched"),
            (2, 0, 2, None, "gave up 2 unfinished uploads; 2 unfinished uploads of others were not touched"),
            (1, 1, 0, None, "gave up 1 unfinished upload; 1 could not be removed: run it again"),
            (0, 1, 0, Some("dry run: nothing was given up"), "dry run: nothing was given up: 1 unfinished upload of this mount"),
        ] {
            assert_eq!(verdict(given_up, left, others, reason), expected);
        }
    }
}
