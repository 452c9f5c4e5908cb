//! Which directory `lsync setup` prepares: the one that is found, or, outside of all known places, the current one if the user says so.

use std::path::Path;

use lsync::local::mount::Mount;

use super::questions;
use crate::cli::args::Common;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::{Loaded, shown};
use crate::cli::settings::root;

/// The flags with the directory that is meant. A directory that nothing names is taken after a question, or with `--yes`.
pub(super) async fn place(common: &Common, env: &Environment, loaded: Option<&Loaded>) -> Result<Common, Failure> {
    let is_named = common.root.is_some() || env.path("LSYNC_ROOT").is_some() || loaded.is_some_and(|l| l.file.local.root.is_some());
    if is_named || root(common, env, loaded).is_ok() {
        return Ok(common.clone());
    }
    let here = env.current_dir()?;
    if !common.yes {
        let question = format!("Sync {}?", shown(here));
        if !env.terminal {
            return Err(Failure::usage(format!("{} is not a directory that lsync syncs yet", shown(here)))
                .hint("to sync it, run lsync setup with --yes in it, or name a directory with --root DIR"));
        }
        if !super::in_person(move || questions::yes(&question)).await? {
            return Err(
                Failure::new(Exit::Refused, "not confirmed; nothing was written").hint("name the directory to sync with --root DIR")
            );
        }
    }
    Ok(Common { root: Some(here.to_owned()), ..common.clone() })
}

/// Marks the directory, so that every later command finds it from anywhere inside.
pub(super) fn mark(root: &Path) -> Result<(), Failure> {
    Mount::open(root)?.ensure_id()?;
    Ok(())
}
