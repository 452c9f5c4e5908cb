//! Tells how each step of `lsync setup` ended, as lines for people or as JSON lines. Decides nothing but the exit code.

use std::time::Instant;

use console::Style;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;

/// How a step ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub kind: Kind,
    /// What was done, or why nothing was.
    pub what: String,
    /// What the user should know besides.
    pub notes: Vec<String>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something is different now, or was proven.
    Done,
    /// There was nothing to do.
    Skipped,
    /// With `--dry-run`: it would do this.
    Would,
}

impl Outcome {
    pub(crate) fn done(what: impl Into<String>) -> Outcome {
        Outcome { kind: Kind::Done, what: what.into(), notes: Vec::new() }
    }

    pub(crate) fn skipped(what: impl Into<String>) -> Outcome {
        Outcome { kind: Kind::Skipped, ..Outcome::done(what) }
    }

    pub(crate) fn would(what: impl Into<String>) -> Outcome {
        Outcome { kind: Kind::Would, ..Outcome::done(what) }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Outcome {
        self.notes.push(note.into());
        self
    }
}

/// Where the steps are told.
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    width: usize,
    started: Instant,
    exit: Exit,
    failed: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(json: bool, quiet: bool) -> Report {
        let width = usize::from(console::Term::stdout().size_checked().map_or(80, |(_, columns)| columns)).clamp(60, 100);
        Report { json, quiet, width, started: Instant::now(), exit: Exit::Done, failed: Vec::new() }
    }

    /// Tells how a step ended. A failed step is remembered, and the next one may still be done.
    pub(crate) fn step(&mut self, name: &'static str, result: &Result<Outcome, Failure>) -> Result<(), Failure> {
        if let Err(failure) = result {
            self.exit = self.exit.worst(failure.exit);
            self.failed.push(name);
        }
        if self.json {
            return output::line(&json_line(name, result));
        }
        if self.quiet && result.is_ok() {
            return Ok(());
        }
        output::print(&text_lines(name, result, self.width))
    }

    /// The end: the summary, or the failure that names the steps that failed.
    pub(crate) fn end(self, config: &str) -> Result<Exit, Failure> {
        if !self.failed.is_empty() {
            return Err(Failure::new(self.exit, format!("setup is not complete: {} failed", self.failed.join(", ")))
                .hint(format!("repair what is named above, in {config} if a value there is wrong, and run lsync setup again")));
        }
        if self.json {
            let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let summary = serde_json::json!({
                "v": 1, "type": "summary", "command": "setup", "exit": 0, "complete": true, "elapsed_ms": elapsed_ms, "generation": null,
            });
            output::line(&summary.to_string())?;
        }
        Ok(Exit::Done)
    }
}

fn json_line(name: &str, result: &Result<Outcome, Failure>) -> String {
    let line = match result {
        Ok(outcome) => {
            let result = match outcome.kind {
                Kind::Done => "done",
                Kind::Skipped => "skipped",
                Kind::Would => "would",
            };
            serde_json::json!({ "v": 1, "type": "step", "step": name, "result": result, "message": outcome.what, "notes": outcome.notes })
        }
        Err(f) => serde_json::json!({
            "v": 1, "type": "step", "step": name, "result": "failed", "exit": f.exit.code(), "message": f.message, "hint": f.hint,
        }),
    };
    line.to_string()
}

fn text_lines(name: &str, result: &Result<Outcome, Failure>, width: usize) -> String {
    let (word, style, parts) = match result {
        Ok(outcome) => {
            let (word, style) = match outcome.kind {
                Kind::Done => ("done", Style::new().green()),
                Kind::Skipped => ("skipped", Style::new().dim()),
                Kind::Would => ("would", Style::new().cyan()),
            };
            (
                word,
                style,
                std::iter::once(outcome.what.clone()).chain(outcome.notes.iter().map(|note| format!("- {note}"))).collect::<Vec<_>>(),
            )
        }
        Err(f) => {
            let hint = f.hint.iter().map(|hint| format!("hint: {hint}"));
            ("failed", Style::new().red().bold(), std::iter::once(f.message.clone()).chain(hint).collect())
        }
    };
    const INDENT: usize = 24;
    let mut lines = parts.iter().flat_map(|part| wrap(part, width - INDENT));
    let mut text = format!("{} {name:<14} {}\n", style.apply_to(format!("{word:<8}")), lines.next().unwrap_or_default());
    for line in lines {
        text.push_str(&format!("{:INDENT$}{line}\n", ""));
    }
    text
}

/// Lines of at most `width` characters, broken at spaces; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_well_in_80_columns() {
        console::set_colors_enabled(false);
        let what = "git asks lsync for the token of https://github.com and https://gist.github.com";
        let ok = Ok(Outcome::done(what).note("the binary lies on the mount"));
        let expected = "\
done     GitHub access  git asks lsync for the token of https://github.com and
                        https://gist.github.com
                        - the binary lies on the mount
";
        assert_eq!(text_lines("GitHub access", &ok, 80), expected);
        let failed = Err(Failure::usage("no bucket").hint("add one"));
        assert_eq!(text_lines("bucket", &failed, 80), "failed   bucket         no bucket\n                        hint: add one\n");
    }

    #[test]
    fn json_lines_carry_version_type_and_result() {
        let line = json_line("bucket", &Err(Failure::new(Exit::Denied, "no")));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["v"], &line["type"], &line["result"], &line["exit"]), (&1.into(), &"step".into(), &"failed".into(), &4.into()));
    }

    #[test]
    fn the_end_names_what_failed_with_the_worst_code() {
        let mut report = Report::new(false, true);
        report.step("git identity", &Ok(Outcome::skipped("x"))).unwrap();
        assert_eq!(Report::new(false, true).end("f"), Ok(Exit::Done));
        report.exit = Exit::Unreachable;
        report.failed.push("bucket");
        let failure = report.end("f").unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Unreachable, "setup is not complete: bucket failed"));
    }
}
