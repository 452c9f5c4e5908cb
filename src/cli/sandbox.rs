//! `lsync sandbox`: lsync on this machine alone, with the small S3 server of the feature `sandbox`. Without a subcommand a guided tour,
//! with `serve` a bucket to play with. Touches nothing of the user's.

mod compare;
mod place;
mod sample;
mod serve;
mod tour;

use super::args::{Common, SandboxArgs, SandboxCommand};
use super::exit::Exit;
use super::failure::Failure;
use super::session::block_on;
use super::settings::environment::Environment;

/// Runs the command.
pub(crate) fn run(args: SandboxArgs, common: &Common, env: &Environment) -> Result<Exit, Failure> {
    if common.dry_run || common.config.is_some() || common.root.is_some() || common.prefix.is_some() {
        return Err(Failure::usage("the sandbox takes none of --dry-run, --config, --root and --prefix")
            .hint("it works in a directory of its own and touches no other"));
    }
    block_on(async {
        match args.command {
            None => tour::run(common, env).await,
            Some(SandboxCommand::Serve { dir, port, .. }) => serve::run(dir.as_deref(), port, common, env).await,
        }
    })
}

/// The signals that end a command.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn watch() -> Result<Signals, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| signal(kind).map_err(|e| Failure::new(Exit::Failed, format!("cannot watch for signals: {e}")));
        Ok(Signals { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())?, hang_up: on(SignalKind::hangup())? })
    }

    /// Waits for one; one that came before counts.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hang_up.recv() => Exit::HungUp,
        }
    }
}
