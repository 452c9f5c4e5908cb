//! `lsync verify`: what differs between bucket, mount and what was published, by name. Changes nothing.

use std::fmt::Write;
use std::time::Instant;

use lsync::engine::{Depth, Finding, Verified, Wrong, verify};
use lsync::path::Shown;
use serde_json::{Value, json};

use super::args::Flags;
use super::args::{VerifyArgs, random_seed};
use super::exit::Exit;
use super::failure::Failure;
use super::render::{self, Page};
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{bytes, count, wrap};
use super::{json, output};

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs, flags: Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    let depth = match args.sample {
        Some(percent) => Depth::Sample(percent, args.seed.unwrap_or_else(random_seed)),
        None if args.deep => Depth::Deep,
        None => Depth::List,
    };
    block_on(async {
        let session = Session::open(flags, &args.paths, env, None).await?;
        let common = &session.flags.common;
        if let (Depth::Sample(percent, seed), false) = (depth, common.json || common.quiet) {
            output::say(&format!(
                "sample of {percent} % with the seed {seed}; the same again: lsync verify --sample {percent}% --seed {seed}"
            ));
        }
        let verified = verify(&session.ends, &session.ask, depth).await;
        session.bars.clear();
        let verified = match (verified, session.signal.exit()) {
            (Err(_), Some(exit)) => return Err(Failure::new(exit, "interrupted")),
            (verified, _) => verified?,
        };
        let exit = exit_of(&verified);
        if common.json {
            for finding in &verified.findings {
                output::line(&line(finding).to_string())?;
            }
            for problem in &verified.problems {
                output::line(&json::problem(problem).to_string())?;
            }
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            output::line(&summary(&verified, depth, exit, elapsed_ms).to_string())?;
            return Ok(exit);
        }
        if !common.quiet {
            output::print(&screen(&verified, depth, &session.page(true)))?;
        } else if exit != Exit::Done {
            // Names of what is lost or damaged are the result.
            output::print(&names(&verified, &session.page(true)))?;
        }
        output::line(&last_line(&verified))?;
        Ok(exit)
    })
}

/// 8 when content is not what it should be, 3 when something is not where it should be or could not be read.
fn exit_of(verified: &Verified) -> Exit {
    let of = |finding: &Finding| match finding.wrong {
        Wrong::Mismatch | Wrong::Damaged => Exit::Integrity,
        Wrong::Missing | Wrong::Extra | Wrong::Replaced | Wrong::Unreadable => Exit::Partial,
    };
    let problems = if verified.problems.is_empty() { Exit::Done } else { Exit::Partial };
    verified.findings.iter().map(of).fold(problems, Exit::worst)
}

/// Each kind of what can be wrong: for programs, and as a heading.
const WRONGS: [(Wrong, &str, &str); 6] = [
    (Wrong::Mismatch, "mismatch", "The bucket does not hold what was recorded"),
    (Wrong::Damaged, "damaged", "The mount does not hold what it held, and nobody changed it"),
    (Wrong::Missing, "missing", "Published, and not in the bucket"),
    (Wrong::Replaced, "replaced", "Another object than the one that was published"),
    (Wrong::Extra, "extra", "In the bucket, and not published"),
    (Wrong::Unreadable, "unreadable", "Not read"),
];

fn of(verified: &Verified, wrong: Wrong) -> Vec<&Finding> {
    verified.findings.iter().filter(|finding| finding.wrong == wrong).collect()
}

fn names(verified: &Verified, page: &Page) -> String {
    let mut out = String::new();
    for (wrong, _, heading) in WRONGS {
        let found = of(verified, wrong);
        if found.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", page.ink.red(&format!("{heading}:")));
        for finding in found {
            let _ = writeln!(out, "  {}", wrap(&format!("{}: {}", finding.path, Shown(&finding.why)), page.width, 2, 6));
        }
        out.push('\n');
    }
    render::problems(&mut out, &verified.problems, page);
    out
}

fn screen(verified: &Verified, depth: Depth, page: &Page) -> String {
    let mut out = names(verified, page);
    let tally = &verified.tally;
    let mut row = |n: u64, what: &str| {
        if n > 0 {
            let _ = writeln!(out, "  {:>12}  {}", count(n), wrap(what, page.width, 16, 16));
        }
    };
    row(tally.read, &format!("objects read, each with its digest ({})", bytes(tally.read_bytes)));
    row(tally.listed, "objects listed with the size and ETag that were recorded; not read");
    row(tally.recorded, "links and empty directories recorded in the manifest");
    row(tally.unknown, "objects of which nothing tells what they should hold");
    row(tally.hashed, "files of the mount read, each with its digest");
    row(tally.remembered, "files of the mount as they were when they were last read");
    row(tally.changed, "items changed in the mount since the last sync, which is no fault");
    if let Depth::Sample(percent, seed) = depth {
        let _ = writeln!(out, "  sample: {percent} % with the seed {seed}");
    }
    out
}

/// What can be said, and nothing more: "ok" is about what was compared, as deep as that was.
fn last_line(verified: &Verified) -> String {
    let t = &verified.tally;
    let wrong: Vec<String> = WRONGS
        .iter()
        .map(|(wrong, word, _)| (of(verified, *wrong).len() as u64, *word))
        .chain([(verified.problems.len() as u64, "cannot be compared")])
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{} {word}", count(n)))
        .collect();
    let counts = format!(
        "read={} listed={} recorded={} unknown={} hashed={} remembered={} changed={} generation={}",
        t.read, t.listed, t.recorded, t.unknown, t.hashed, t.remembered, t.changed, verified.generation
    );
    if wrong.is_empty() { format!("ok: {counts}") } else { format!("not ok: {}; {counts}", wrong.join(", ")) }
}

fn line(finding: &Finding) -> Value {
    let state = WRONGS.iter().find(|(wrong, ..)| *wrong == finding.wrong).map_or("", |(_, word, _)| word);
    json!({ "v": 1, "type": "finding", "path": finding.path.as_str(), "state": state, "why": finding.why })
}

fn summary(verified: &Verified, depth: Depth, exit: Exit, elapsed_ms: u64) -> Value {
    let t = &verified.tally;
    let (depth, percent, seed) = match depth {
        Depth::List => ("list", None, None),
        // As text: a program that reads numbers as floating point would not give it back.
        Depth::Sample(percent, seed) => ("sample", Some(percent), Some(seed.to_string())),
        Depth::Deep => ("deep", None, None),
    };
    let mut summary = json!({
        "v": 1, "type": "summary", "command": "verify", "exit": exit.code(), "complete": exit == Exit::Done, "elapsed_ms": elapsed_ms,
        "generation": (verified.generation > 0).then_some(verified.generation), "depth": depth, "percent": percent, "seed": seed,
        "read": t.read, "bytes": t.read_bytes, "listed": t.listed, "recorded": t.recorded, "unknown": t.unknown, "hashed": t.hashed,
        "remembered": t.remembered, "changed": t.changed, "problems": verified.problems.len(),
    });
    for (wrong, word, _) in WRONGS {
        summary[word] = of(verified, wrong).len().into();
    }
    summary
}

#[cfg(test)]
mod tests {
    use lsync::engine::Tally;
    use lsync::path::RelPath;

    use super::super::render::samples::page;
    use super::*;

    fn verified(wrongs: &[Wrong]) -> Verified {
        let finding = |wrong: &Wrong| Finding { path: RelPath::new("data/a").unwrap(), wrong: *wrong, why: "it is so".into() };
        let tally = Tally { read: 1, read_bytes: 2048, listed: 1234, unknown: 3, changed: 4, ..Tally::default() };
        Verified { tally, findings: wrongs.iter().map(finding).collect(), problems: Vec::new(), generation: 7 }
    }

    #[track_caller]
    fn exits(wrongs: &[Wrong], exit: Exit) {
        assert_eq!(exit_of(&verified(wrongs)), exit);
    }

    #[test]
    fn damage_is_worse_than_absence() {
        exits(&[], Exit::Done);
        exits(&[Wrong::Missing], Exit::Partial);
        exits(&[Wrong::Extra, Wrong::Damaged], Exit::Integrity);
        exits(&[Wrong::Mismatch, Wrong::Unreadable], Exit::Integrity);
    }

    #[test]
    fn what_was_found_reads_well() {
        let text = |wrongs: &[Wrong]| {
            let verified = verified(wrongs);
            format!("{}{}", screen(&verified, Depth::Sample(5.0, 9), &page(80)), last_line(&verified))
        };
        insta::assert_snapshot!(text(&[Wrong::Missing, Wrong::Mismatch]), @"
        The bucket does not hold what was recorded:
          data/a: it is so

        Published, and not in the bucket:
          data/a: it is so

                     1  objects read, each with its digest (2.0 KiB)
                 1,234  objects listed with the size and ETag that were recorded; not
                        read
                     3  objects of which nothing tells what they should hold
                     4  items changed in the mount since the last sync, which is no
                        fault
          sample: 5 % with the seed 9
        not ok: 1 mismatch, 1 missing; read=1 listed=1234 recorded=0 unknown=3 hashed=0 remembered=0 changed=4 generation=7
        ");
        let clean = text(&[]);
        assert!(clean.starts_with("             1  objects read") && clean.contains("\nok: read=1 listed=1234 "), "{clean}");
    }
}
