//! The flags that several commands share, and how those before and after the command become one. Reads no command line itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use lsync::config::{BadValue, Jobs, Limit, parse_bytes, parse_duration};
use lsync::local::lock::Claim;

/// All flags of the commands that compare or move data.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Flags {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What travels and how.
    #[command(flatten)]
    pub moving: Moving,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// Show the plan and stop; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask; do what the plan says
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Take the lock left by a run that is gone, on another machine or in a killed container
    #[arg(long)]
    pub take_over: bool,
    /// Print one JSON object per line instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Only the result and errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Name every item, not only the first few
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Use colour (auto: on a terminal, unless NO_COLOR is set)
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "Output")]
    pub color: Option<When>,
    /// No progress bars or lines
    #[arg(long, help_heading = "Output")]
    pub no_progress: bool,
    /// The configuration file, instead of the sync.toml that is found
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<PathBuf>,
    /// The directory to sync, instead of the one that is found
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    pub root: Option<PathBuf>,
    /// The folder in the bucket, instead of the configured one
    #[arg(long, value_name = "PREFIX", help_heading = "Where")]
    pub prefix: Option<String>,
}

/// Flags that say what travels and how.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Moving {
    /// Also delete on the other side what was deleted on this side
    #[arg(long, help_heading = "What travels")]
    pub delete: bool,
    /// Refuse to start when more paths than this would be deleted [default: 50%]
    #[arg(long, value_name = "N|P%", help_heading = "What travels")]
    pub max_delete: Option<Limit>,
    /// Also replace what is newer on the other side or was changed on both, and with --delete delete what was changed there
    #[arg(long, help_heading = "What travels")]
    pub overwrite: bool,
    /// download: also files that were deleted on another machine but are still in the bucket
    #[arg(long, help_heading = "What travels")]
    pub with_deleted: bool,
    /// Decide files of equal size whose content is not known: content reads them from the bucket, size trusts size and time
    #[arg(long, value_name = "HOW", value_enum, help_heading = "What travels")]
    pub compare: Option<Compare>,
    /// Only files that match this pattern (as in .gitignore; may be repeated)
    #[arg(long, value_name = "GLOB", help_heading = "What travels")]
    pub include: Vec<String>,
    /// No files that match this pattern (as in .gitignore; may be repeated)
    #[arg(long, value_name = "GLOB", help_heading = "What travels")]
    pub exclude: Vec<String>,
    /// upload: leave files for a later run that changed less than this ago (30s, 5m, 2h) [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "What travels")]
    pub settle: Option<Duration>,
    /// How many transfers run at once [default: auto]
    #[arg(short, long, value_name = "N", help_heading = "Speed")]
    pub jobs: Option<Jobs>,
    /// Move at most this many bytes per second (512K, 10M, 1.5 MiB)
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Speed")]
    pub bwlimit: Option<u64>,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    // On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    // Always
    Always,
    // Never
    Never,
}

/// `--compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compare {
    // Read the object
    Content,
    // Trust equal size and recorded time
    Size,
}

impl Flags {
    /// Both sets of flags as one; a value that was given after the command wins, lists and counts are joined.
    #[must_use]
    pub(crate) fn merge(self, after: Flags) -> Flags {
        let (before, a) = (self.moving, after.moving);
        let moving = Moving {
            delete: before.delete || a.delete,
            max_delete: a.max_delete.or(before.max_delete),
            overwrite: before.overwrite || a.overwrite,
            with_deleted: before.with_deleted || a.with_deleted,
            compare: a.compare.or(before.compare),
            include: [before.include, a.include].concat(),
            exclude: [before.exclude, a.exclude].concat(),
            settle: a.settle.or(before.settle),
            jobs: a.jobs.or(before.jobs),
            bwlimit: a.bwlimit.or(before.bwlimit),
        };
        Flags { common: self.common.merge(after.common), moving }
    }
}

impl Common {
    /// `--take-over`.
    #[must_use]
    pub(crate) fn claim(&self) -> Claim {
        if self.take_over { Claim::TakeOver } else { Claim::Free }
    }

    /// As [`Flags::merge`].
    #[must_use]
    pub(crate) fn merge(self, after: Common) -> Common {
        Common {
            dry_run: self.dry_run || after.dry_run,
            yes: self.yes || after.yes,
            take_over: self.take_over || after.take_over,
            json: self.json || after.json,
            quiet: self.quiet || after.quiet,
            verbose: self.verbose.saturating_add(after.verbose),
            color: after.color.or(self.color),
            no_progress: self.no_progress || after.no_progress,
            config: after.config.or(self.config),
            root: after.root.or(self.root),
            prefix: after.prefix.or(self.prefix),
        }
    }
}

fn rate(text: &str) -> Result<u64, BadValue> {
    parse_bytes(text).and_then(|bytes| if bytes == 0 { parse_bytes("") } else { Ok(bytes) })
}
