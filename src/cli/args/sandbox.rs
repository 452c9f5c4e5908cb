//! The grammar of `lsync sandbox`, and nothing else.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Common;

/// `sandbox`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lsync sandbox                  a guided tour in a directory of its own
  lsync sandbox serve            a bucket to play with, until Ctrl-C
  lsync sandbox serve --dir lab  the same, kept in the folder lab")]
pub(crate) struct SandboxArgs {
    /// Without one: a short tour.
    #[command(subcommand)]
    pub command: Option<SandboxCommand>,
    /// Flags after the command.
    #[command(flatten)]
    pub common: Common,
}

/// What `sandbox` can do besides the tour.
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Serve a bucket on this machine until interrupted
    Serve {
        /// The folder that holds the buckets; a new one when left out
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The port; a free one when left out
        #[arg(long, value_name = "PORT")]
        port: Option<u16>,
        /// Flags after `serve`.
        #[command(flatten)]
        common: Common,
    },
}
