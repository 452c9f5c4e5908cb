//! `lsync setup`: on a new machine, from nothing to ready. Each step says whether it was done, skipped or failed; running it again does
//! only what is missing. It moves no data.

mod answers;
mod check;
mod edit;
mod git;
mod git_before;
mod here;
mod instead_of;
mod questions;
mod report;
mod spelling;
pub(crate) mod write;

use std::io::Read;
use std::path::{Path, PathBuf};

use lsync::config::{File, Secret};

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
    if args.undo_git {
        report.step("git", &git_before::undo(&git, common.dry_run))?;
        return report.end("sync.toml");
    }
    let found = find::find(common, env)?;
    let there = found.as_ref().filter(|path| path.exists()).map(|path| find::read(path, env)).transpose()?;
    let common = &here::place(common, env, there.as_ref()).await?;
    // Without a configuration there is nothing that the other steps could do.
    let configured = match there {
        Some(loaded) => corrected(args, common, env, loaded).await?,
        None => created(args, common, env, found).await?,
    };
    let Configured { loaded, outcome, env } = &configured;
    report.step("configuration", &Ok(outcome.clone()))?;
    let (dry_run, name) = (common.dry_run, loaded.name.clone());
    let mount = root(common, env, Some(loaded));
    if let (false, Ok(root)) = (dry_run, &mount) {
        here::mark(root)?;
    }
    let mount_path = mount.as_deref().ok();
    let may = |question: &str| match (common.yes, env.terminal) {
        (false, true) => questions::yes(question),
        (yes, _) => Ok(yes),
    };
    report.step("git identity", &git::identity(&git, &loaded.file.git, &loaded.name, dry_run, &may))?;
    report.step("GitHub access", &git::github_access(&git, loaded, mount_path, dry_run, &may))?;
    let (settings, bucket) = checked(common, env, loaded).await?;
    let reachable = bucket.is_ok();
    report.step("bucket", &bucket)?;
    if let Some(settings) = settings {
        let self_sync = match reachable {
            true => check::self_sync(&settings, !dry_run).await,
            false => Ok(Outcome::skipped("the bucket could not be asked")),
        };
        report.step("self-sync", &self_sync)?;
    }
    let exit = report.end(&name)?;
    if !common.quiet && !common.json && !dry_run {
        output::say("\nReady. Next: lsync status, then lsync upload or lsync download");
    }
    Ok(exit)
}

/// A configuration that is there now, and the environment that counts beside it.
struct Configured {
    loaded: Loaded,
    outcome: Outcome,
    env: Environment,
}

/// Variables that a configuration takes over: it is checked as later commands will find it.
const TAKEN_OVER: &[&str] = &[
    "LSYNC_BUCKET",
    "LSYNC_PREFIX",
    "LSYNC_REGION",
    "LSYNC_ENDPOINT_URL",
    "LSYNC_PROFILE",
    "LSYNC_ACCESS_KEY_ID",
    "LSYNC_SECRET_ACCESS_KEY",
    "LSYNC_SESSION_TOKEN",
];

/// A configuration that was there, with the values of flags that say something else.
async fn corrected(args: &SetupArgs, common: &Common, env: &Environment, loaded: Loaded) -> Result<Configured, Failure> {
    refuse_other_import(args, env, &loaded)?;
    let wanted = wanted(args, common, env, &loaded).await?;
    let Some(change) = edit::correct(&loaded, &wanted, common.dry_run)? else {
        let outcome = Outcome::skipped(format!("{} is there already", loaded.name));
        let env = if args.access_key_id.is_some() { env.without(TAKEN_OVER) } else { env.clone() };
        return Ok(Configured { loaded, outcome, env });
    };
    let name = loaded.name.clone();
    let outcome = match common.dry_run {
        true => Outcome::would(format!("change {name}")),
        false => Outcome::done(format!("changed {name}; the file as it was is {name}.old")),
    };
    let outcome = Outcome { notes: change.told, ..outcome };
    Ok(Configured { loaded: Loaded { file: change.file, ..loaded }, outcome, env: env.without(TAKEN_OVER) })
}

/// What the flags say beside a configuration that is there. A key id that is given comes with its secret.
async fn wanted(args: &SetupArgs, common: &Common, env: &Environment, loaded: &Loaded) -> Result<Answers, Failure> {
    let mut wanted = Answers::of_flags(args, common);
    let now = Answers::of(&loaded.file);
    spelling::understand(&mut wanted, now.endpoint_url.is_some())?;
    if wanted.access_key_id.is_some() {
        let secret = |name: &str| env.text(name).map(|value| Secret::new(value.trim().to_owned()));
        wanted.secret_access_key = secret("LSYNC_SECRET_ACCESS_KEY");
        wanted.session_token = secret("LSYNC_SESSION_TOKEN");
        if wanted.secret_access_key.is_none() && wanted.access_key_id != now.access_key_id {
            if !env.terminal {
                return Err(Failure::usage(format!("--access-key-id names another key than {}, and its secret is missing", loaded.name))
                    .hint("set LSYNC_SECRET_ACCESS_KEY for this command"));
            }
            let asked = || questions::hidden("Secret access key (not shown)", true, |_| Ok(()));
            wanted.secret_access_key = in_person(asked).await?;
        }
    }
    Ok(wanted)
}

/// Runs questions beside the runtime, which goes on to wait for Ctrl-C.
async fn in_person<T: Send + 'static>(ask: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(ask).await.map_err(|_| Failure::new(Exit::Failed, "the questions could not be asked"))?
}

/// How often a person may correct what the bucket refuses.
const CORRECTIONS: usize = 3;

/// Asks the bucket. What it refuses can be corrected at the terminal, and is asked again.
async fn checked(common: &Common, env: &Environment, loaded: &Loaded) -> Result<(Option<Settings>, Result<Outcome, Failure>), Failure> {
    let flags = Flags { common: common.clone(), ..Flags::default() };
    let (mut loaded, mut env, mut left) = (loaded.clone(), env.clone(), CORRECTIONS);
    loop {
        let settings = Settings::merge(&flags, &env, Some(loaded.clone()));
        let bucket = match &settings {
            Ok(settings) => check::bucket(settings, !common.dry_run).await,
            Err(failure) => Err(failure.clone()),
        };
        let failure = match &bucket {
            Err(failure) if env.terminal && left > 0 && !common.dry_run && !common.json && !common.yes => failure,
            _ => return Ok((settings.ok(), bucket)),
        };
        output::say_failure(failure);
        let question = format!("Correct the bucket and its keys in {}?", loaded.name);
        if !in_person(move || questions::yes(&question)).await? {
            return Ok((settings.ok(), bucket));
        }
        left -= 1;
        let mut answers = Answers::of(&loaded.file);
        let wanted = in_person(move || answers.ask_again().map(|()| answers)).await?;
        if let Some(change) = edit::correct(&loaded, &wanted, false)? {
            change.told.iter().for_each(|told| output::say(told));
            loaded.file = change.file;
            env = env.without(TAKEN_OVER);
        }
    }
}

/// A new configuration.
async fn created(args: &SetupArgs, common: &Common, env: &Environment, found: Option<PathBuf>) -> Result<Configured, Failure> {
    let path = match found {
        Some(path) => path,
        None => root(common, env, None)?.join("sync.toml"),
    };
    let (text, notes) = new_text(args, common, env, &path).await?;
    let name = shown_from(&path, env);
    let file = File::parse(&name, &text)?;
    let draft = Loaded { path: path.clone(), name: name.clone(), file };
    let env = env.without(TAKEN_OVER);
    // What could not be used is not written either.
    store::Sources { prefix: common.prefix.as_deref(), env: &env, loaded: Some(&draft) }.usable_store()?;
    if common.dry_run {
        let outcome = Outcome { notes, ..Outcome::would(format!("write {name}")) };
        return Ok(Configured { loaded: draft, outcome, env });
    }
    write::create(&path, &text)?;
    let outcome = Outcome { notes, ..Outcome::done(format!("wrote {name}, which only you can read")) };
    Ok(Configured { loaded: find::read(&path, &env)?, outcome, env })
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
            if !Answers::of_flags(args, &Common::default()).differing(&Answers::default()).is_empty() {
                return Err(Failure::usage(format!("{name} is a sync.toml and is taken over as it is, without the values of flags"))
                    .hint("leave the flags out, and edit the new file afterwards"));
            }
            // All of it, with its comments: what is in the way of using it is said when it is checked.
            return Ok((text, notes));
        }
    }
    let mut answers = Answers::given(args, common, env, &old.file);
    spelling::understand(&mut answers, false)?;
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
        answers = in_person(move || answers.ask(optional, &identity).map(|()| answers)).await?;
    }
    Ok((write::render(&answers), notes))
}

/// A configuration that is there is not replaced by another one; what that says beside it is an error, not silently dropped.
fn refuse_other_import(args: &SetupArgs, env: &Environment, loaded: &Loaded) -> Result<(), Failure> {
    let Some(import) = &args.import else { return Ok(()) };
    let (name, text) = read_import(import, env)?;
    let differing = Answers::of(&import::parse_any(&name, &text)?.file).differing(&Answers::of(&loaded.file));
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
