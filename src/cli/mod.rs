//! The command line: dispatches commands, prints what ended them, and nothing else. The only place of the program that prints, asks,
//! reads the environment or finds configuration files.

mod address_space;
mod again;
mod args;
mod bars;
mod clean;
mod completions;
mod confirm;
mod doctor;
mod exit;
mod failure;
mod git_credential;
mod import;
mod ink;
mod json;
mod log;
mod output;
mod render;
#[cfg(feature = "sandbox")]
mod sandbox;
mod session;
mod settings;
mod setup;
mod status;
mod text;
mod transfer;
mod undo;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use args::{Command, CommandLine, Common, When};
use exit::Exit;
use failure::Failure;
use lsync::engine::Depth;
use lsync::plan::Direction;
use settings::environment::Environment;

/// Runs the process's command line to its end.
pub(crate) fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| output::say(&panic_text(panic))));
    let words: Vec<OsString> = std::env::args_os().collect();
    address_space::fit_allocator(&words);
    // The hook has said what happened; whatever a panic interrupts, the run failed.
    let exit = std::panic::catch_unwind(|| run(&words)).unwrap_or_else(|_| {
        if asks_for_json(&words) {
            let _ = output::line(&json::error(Exit::Failed, "this is a mistake in lsync", Some("standard error says where")).to_string());
        }
        Exit::Failed
    });
    exit.into()
}

/// As far as it can be told without understanding the command line.
fn asks_for_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

fn run(words: &[OsString]) -> Exit {
    let parsed = match CommandLine::read(words) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, words),
    };
    let env = Environment::capture();
    let mut json = parsed.flags.common.json;
    let result = dispatch(parsed, &env, &mut json);
    result.unwrap_or_else(|failure| {
        report(&failure, json);
        failure.exit
    })
}

/// `json` learns whether the command's own flags ask for it.
fn dispatch(parsed: CommandLine, env: &Environment, json: &mut bool) -> Result<Exit, Failure> {
    let before = parsed.flags;
    let mut common = |after: &Common| {
        let common = before.common.clone().merge(after.clone());
        *json = common.json;
        apply_color(common.color.unwrap_or_default(), env);
        common
    };
    match parsed.command {
        Command::Setup(args) => {
            let common = common(&args.common);
            setup::run(&args, &common, env)
        }
        Command::Upload(args) => {
            common(&args.flags.common);
            transfer::run(Direction::Upload, &args.paths, args.verify.unwrap_or_default(), before.merge(args.flags.clone()), env)
        }
        Command::Download(args) => {
            common(&args.flags.common);
            transfer::run(Direction::Download, &args.paths, Depth::List, before.merge(args.flags.clone()), env)
        }
        Command::Status(args) => {
            common(&args.flags.common);
            status::run(&args, before.merge(args.flags.clone()), env)
        }
        Command::Clean(args) => {
            let common = common(&args.common);
            clean::run(common, env)
        }
        Command::Verify(args) => {
            common(&args.flags.common);
            verify::run(&args, before.merge(args.flags.clone()), env)
        }
        Command::Doctor(args) => doctor::run(common(&args.common), env),
        Command::Log { common: after } => log::run(&common(&after), env),
        Command::Undo(args) => {
            common(&args.flags.common);
            undo::run(&args, &before.merge(args.flags.clone()), env)
        }
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => {
            let common = match &args.command {
                Some(args::SandboxCommand::Serve { common: after, .. }) => common(&args.common.clone().merge(after.clone())),
                None => common(&args.common),
            };
            sandbox::run(args, &common, env)
        }
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { command } => completions::man(command.as_deref()),
        Command::GitCredential { config, operation } => git_credential::run(&operation, config.or(before.common.config), env),
    }
}

/// Prints what ended a command: for people on stderr and, with `--json`, as the last line of stdout.
fn report(failure: &Failure, as_json: bool) {
    output::say_failure(failure);
    if as_json {
        // The exit code tells of the failure also when this cannot be written.
        let _ = output::line(&json::error(failure.exit, &failure.message, failure.hint.as_deref()).to_string());
    }
}

/// What clap has to say: help and version are results, everything else is wrong usage.
fn usage(error: &clap::Error, words: &[OsString]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return error
            .print()
            .map_or_else(|e| if e.kind() == std::io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed }, |()| Exit::Done);
    }
    // `lsync` alone shows the help too, on stderr, and there is nowhere to say so in JSON but here.
    let _ = error.print();
    if asks_for_json(words) {
        let text = error.render().to_string();
        let message = text.split("\n\n").next().unwrap_or(&text).trim().trim_start_matches("error: ").to_owned();
        let _ = output::line(&json::error(Exit::Usage, &message, Some("see lsync --help")).to_string());
    }
    Exit::Usage
}

fn apply_color(when: When, env: &Environment) {
    let enabled = match when {
        When::Always => true,
        When::Never => false,
        When::Auto if env.no_color() => false,
        When::Auto => return,
    };
    console::set_colors_enabled(enabled);
    console::set_colors_enabled_stderr(enabled);
}

/// Where a panic happened, and its text only if that is a literal of the program: anything else could hold data.
fn panic_text(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    let what = panic.payload().downcast_ref::<&'static str>().map(|text| format!(": {text}")).unwrap_or_default();
    format!("error: this is a mistake in lsync{place}{what}\nhint: nothing more was done; please report this line")
}
