//! `lsync setup`: on a new machine, from nothing to ready. Each step says whether it was done, skipped or failed; running it again does
//! only what is missing. It moves no data.

mod answers;
mod check;
mod git;
mod instead_of;
mod questions;
mod report;
pub(crate) mod write;

use std::io::Read;
use std::path::{Path, PathBuf};

use lsync::config::File;

use super::args::{Common, Flags, SetupArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::import::{self, Imported};
use super::output;
use super::settings::environment::Environment;
use super::settings::find::{self, Loaded, quoted, shown, shown_from};
use super::settings::{Settings, root, store};
use answers::Answers;
use git::Git;
use report::{Outcome, Report};

/// Runs the command.
pub(crate) fn run(args: &SetupArgs, common: &Common, env: &Environment) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Failed, format!("cannot start: {e}")))?;
    let terminal = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let result = runtime.block_on(async {
        tokio::select! {
            result = steps(args, common, env) => result,
            _ = tokio::signal::ctrl_c() => Err(interrupted()),
        }
    });
    // A prompt may still be waiting on its thread; the process ends without it.
    runtime.shutdown_background();
    if let (Err(Failure { exit: Exit::Interrupted, .. }), Some(terminal)) = (&result, terminal) {
        // The interrupted prompt may have been one that hides what is typed.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &terminal);
        output::say("");
    }
    result
}

/// A question, or a step, that Ctrl-C ended.
fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted").hint("run lsync setup again; what is done is not done twice")
}

async fn steps(args: &SetupArgs, common: &Common, env: &Environment) -> Result<Exit, Failure> {
    let mut report = Report::new(common.json, common.quiet);
    let git = Git { env };
    let configured = configuration(args, common, env).await;
    let loaded = match configured {
        Ok((loaded, outcome)) => {
            report.step("configuration", &Ok(outcome))?;
            loaded
        }
        // Without a configuration there is nothing that the other steps could do.
        Err(failure) => return Err(failure),
    };
    let (dry_run, name) = (common.dry_run, loaded.name.clone());
    let mount = root(common, env, Some(&loaded));
    let mount_path = mount.as_deref().ok();
    report.step("git identity", &git::identity(&git, &loaded.file.git, &loaded.name, dry_run))?;
    report.step("GitHub access", &git::github_access(&git, &loaded, mount_path, dry_run))?;
    let flags = Flags { common: common.clone(), ..Flags::default() };
    match Settings::merge(&flags, env, Some(loaded)) {
        Err(failure) => report.step("bucket", &Err(failure))?,
        Ok(settings) => {
            let bucket = check::bucket(&settings, !dry_run).await;
            let reachable = bucket.is_ok();
            report.step("bucket", &bucket)?;
            let self_sync = match reachable {
                true => check::self_sync(&settings, !dry_run).await,
                false => Ok(Outcome::skipped("the bucket could not be asked")),
            };
            report.step("self-sync", &self_sync)?;
        }
    }
    let exit = report.end(&name)?;
    if !common.quiet && !common.json && !dry_run {
        output::say("\nReady. Next: lsync status, then lsync upload or lsync download");
    }
    Ok(exit)
}

/// The configuration that there is, or a new one.
async fn configuration(args: &SetupArgs, common: &Common, env: &Environment) -> Result<(Loaded, Outcome), Failure> {
    let found = find::find(common, env)?;
    if let Some(path) = found.as_ref().filter(|path| path.exists()) {
        let loaded = find::read(path, env)?;
        refuse_other_values(args, env, &loaded)?;
        let outcome = Outcome::skipped(format!("{} is there already", loaded.name));
        return Ok((loaded, outcome));
    }
    let path = match found {
        Some(path) => path,
        None => root(common, env, None)?.join("sync.toml"),
    };
    let (text, notes) = new_text(args, common, env, &path).await?;
    let name = shown_from(&path, env);
    let file = File::parse(&name, &text)?;
    let draft = Loaded { path: path.clone(), name: name.clone(), file };
    // What could not be used is not written either.
    store::Sources { prefix: common.prefix.as_deref(), env, loaded: Some(&draft) }.store()?;
    if common.dry_run {
        return Ok((draft, Outcome { notes, ..Outcome::would(format!("write {name}")) }));
    }
    write::create(&path, &text)?;
    let outcome = Outcome::done(format!("wrote {name}, which only you can read"));
    Ok((find::read(&path, env)?, Outcome { notes, ..outcome }))
}

/// The text of a new configuration, and what to tell besides.
async fn new_text(args: &SetupArgs, common: &Common, env: &Environment, path: &Path) -> Result<(String, Vec<String>), Failure> {
    let mut notes = Vec::new();
    let mut old = Imported::default();
    if let Some(import) = &args.import {
        let (name, text) = read_import(import, env)?;
        old = import::parse_any(&name, &text)?;
        if !old.ignored.is_empty() {
            notes.push(format!("of {name}, lsync has no use for: {}", old.ignored.join(", ")));
        }
        if old.is_toml {
            if !Answers::of_flags(args).differing(&Answers::default()).is_empty() {
                return Err(Failure::usage(format!("{name} is a sync.toml and is taken over as it is, without the values of flags"))
                    .hint("leave the flags out, and edit the new file afterwards"));
            }
            // All of it, with its comments: what is in the way of using it is said when it is checked.
            return Ok((text, notes));
        }
    }
    let mut answers = Answers::given(args, common, env, &old.file);
    let missing = answers.missing();
    let optional = args.import.is_none() && !common.yes;
    if !missing.is_empty() && !env.terminal {
        return Err(Failure::usage(format!("there is no terminal to ask at, and setup needs: {}", missing.join(", ")))
            .hint("or take over a configuration: lsync setup --import FILE (- for standard input)"));
    }
    if env.terminal && (!missing.is_empty() || optional) {
        output::say(&format!("This writes {}\nNothing is written or sent before you have answered.\n", shown(path)));
        let git = Git { env };
        // A git that is missing or broken is told by its own step.
        let identity = (git.get("user.name").ok().flatten(), git.get("user.email").ok().flatten());
        let asked = tokio::task::spawn_blocking(move || answers.ask(optional, &identity).map(|()| answers)).await;
        answers = asked.map_err(|_| Failure::new(Exit::Failed, "the questions could not be asked"))??;
    }
    Ok((write::render(&answers), notes))
}

/// A configuration that is there is never replaced; wishes that it does not say are an error, not silently dropped.
fn refuse_other_values(args: &SetupArgs, env: &Environment, loaded: &Loaded) -> Result<(), Failure> {
    let now = Answers::of(&loaded.file);
    let mut differing = Answers::of_flags(args).differing(&now);
    if let Some(import) = &args.import {
        let (name, text) = read_import(import, env)?;
        differing.extend(Answers::of(&import::parse_any(&name, &text)?.file).differing(&now));
    }
    if differing.is_empty() {
        return Ok(());
    }
    let message = format!("{} is there already, says something else about {}, and is not replaced", loaded.name, differing.join(", "));
    let path = quoted(&loaded.path);
    Err(Failure::usage(message).hint(format!("edit it, or move it away first: mv {path} {path}.old")))
}

/// Longest configuration that is taken over.
const MAX_IMPORT_BYTES: u64 = 1 << 20;

fn read_import(import: &Path, env: &Environment) -> Result<(String, String), Failure> {
    let mut text = String::new();
    if import == Path::new("-") {
        let read = std::io::stdin().take(MAX_IMPORT_BYTES).read_to_string(&mut text);
        read.map_err(|e| Failure::usage(format!("cannot read the configuration from standard input: {e}")))?;
        return Ok(("standard input".into(), text));
    }
    let path: PathBuf = env.current_dir()?.join(import);
    let failed = |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", shown(import)));
    if !std::fs::metadata(&path).map_err(failed)?.is_file() {
        return Err(Failure::usage(format!("{} is not a regular file", shown(import)))
            .hint(format!("for a pipe: lsync setup --import - < {}", quoted(import))));
    }
    std::fs::File::open(&path).and_then(|file| file.take(MAX_IMPORT_BYTES).read_to_string(&mut text)).map_err(failed)?;
    Ok((shown(import), text))
}
