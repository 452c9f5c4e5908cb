//! `lsync sandbox serve`: the server stays up until it is interrupted, with two mounts that are configured for it. Deletes nothing.

use std::path::{Path, PathBuf};

use console::style;
use serde_json::json;

use super::Signals;
use super::place::{self, BUCKET, Store, failed};
use crate::cli::args::Common;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::{quoted, shown};

/// Runs the command.
pub(crate) async fn run(dir: Option<&Path>, port: Option<u16>, common: &Common, env: &Environment) -> Result<Exit, Failure> {
    let mut signals = Signals::watch()?;
    let temporary = dir.is_none().then(|| place::temporary(env, "lsync-sandbox")).transpose()?;
    let dir = match (dir, &temporary) {
        (Some(dir), _) => env.current_dir()?.join(dir),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(Failure::new(Exit::Failed, "there is no directory to serve from")),
    };
    std::fs::create_dir_all(&dir).map_err(|e| failed("create", &dir, &e))?;
    let dir = dir.canonicalize().map_err(|e| failed("use", &dir, &e))?;
    let store = Store::start(&dir.join("store"), port.unwrap_or(0)).await?;
    let mounts = [dir.join("here"), dir.join("there")];
    let configs = [store.mount(&mounts[0])?, store.mount(&mounts[1])?];
    // From now on it may hold what its user put there.
    if let Some(temporary) = temporary {
        temporary.keep();
    }
    let endpoint = store.server.endpoint();
    if common.json {
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let line = json!({
            "v": 1, "type": "serving", "endpoint_url": endpoint, "bucket": BUCKET, "region": "us-east-2",
            "mounts": paths(&mounts), "configs": paths(&configs),
        });
        output::line(&line.to_string())?;
    } else {
        output::line(&welcome(&endpoint, &mounts, common.quiet, env))?;
    }
    signals.next().await;
    store.server.stop().await;
    if common.json {
        let line = json!({ "v": 1, "type": "summary", "command": "sandbox", "exit": 0, "complete": true, "generation": null });
        output::line(&line.to_string())?;
    } else if !common.quiet {
        let again = format!("{} sandbox serve --dir {}", program(env), quoted(&dir));
        output::line(&format!(
            "\nStopped. Everything is still in {}.\nTo go on:   {again}\nTo be done: rm -r {}",
            shown(&dir),
            quoted(&dir)
        ))?;
    }
    // This is how it is meant to end.
    Ok(Exit::Done)
}

fn welcome(endpoint: &str, [here, there]: &[PathBuf; 2], quiet: bool, env: &Environment) -> String {
    if quiet {
        return endpoint.to_owned();
    }
    let lsync = program(env);
    let in_the_way: Vec<&str> = env.own_names().filter(|name| *name != "LSYNC_MOUNTS").collect();
    let unset = if in_the_way.is_empty() { String::new() } else { format!("  unset {}\n", in_the_way.join(" ")) };
    format!(
        "{title}\n\nBucket {BUCKET} at {endpoint}; its keys are in the two files\n  {here}/sync.toml\n  {there}/sync.toml\n\n\
         In another terminal, on one instance:\n{unset}  cd {here}\n  echo hello > hello.txt\n  {lsync} upload\n\n\
         And on a fresh one:\n  cd {there}\n  {lsync} download\n\nCtrl-C ends it.",
        title = style("A bucket on this machine alone").bold(),
        here = quoted(here),
        there = quoted(there),
    )
}

/// How the user calls this binary: by its name when the shell would find this one, else by its path.
fn program(env: &Environment) -> String {
    let Some(exe) = env.exe.as_deref().and_then(|exe| exe.canonicalize().ok()) else { return "lsync".into() };
    let path = env.path("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("lsync")).find(|file| file.is_file());
    if found.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == exe) { "lsync".into() } else { quoted(&exe) }
}
