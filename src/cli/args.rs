//! The command line's grammar, and nothing else: the doc comments here are the help. Flags may stand before and after the command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

mod depth;
mod flags;
#[cfg(feature = "sandbox")]
mod sandbox;

pub(crate) use depth::{UploadArgs, VerifyArgs, depth_text, random_seed};
pub(crate) use flags::{Common, Compare, Flags, When};
#[cfg(feature = "sandbox")]
pub(crate) use sandbox::{SandboxArgs, SandboxCommand};

const EXAMPLES: &str = "\
Examples:
  lsync setup                   on a new instance: configure, wire git, check
  lsync status                  what would travel, in both directions
  lsync upload                  send what is new or changed to the bucket
  lsync download                bring what is new or changed to this machine
  lsync download results/       only what lies below results/
  lsync upload --dry-run        show the plan, change nothing
  lsync upload --yes            without the question, for scripts
  lsync status --check=upload   exit code 10 if something is not uploaded yet
  lsync upload --help           all that upload can do

Run it from anywhere inside your filesystem. Your files are deleted only if
you pass --delete, and what is newer on the other side is never overwritten
unless you pass --overwrite.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 partial (the last
line says why), 4 permission refused, 5 not confirmed or refused, 6 conflicts
wait for you, 7 bucket unreachable, 8 integrity, 9 plan out of date, 10 status
--check found something, 11 another run is active, 12 not enough space.";

/// Keep working data safe across rented machines
#[derive(Debug, Parser)]
#[command(name = "lsync", version, after_help = EXAMPLES, max_term_width = 80, args_override_self = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct CommandLine {
    /// Flags before the command.
    #[command(flatten)]
    pub flags: Flags,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(args_override_self = true)]
pub(crate) enum Command {
    /// Prepare a new machine: configure, wire git, check the bucket
    Setup(SetupArgs),
    /// Send what is new or changed here to the bucket
    #[command(after_help = "\
Examples:
  lsync upload                    everything
  lsync upload data/ notes.md     only these
  lsync upload --dry-run          show the plan, change nothing
  lsync upload --delete           also delete there what was deleted here
  lsync upload --overwrite a.npy  send a.npy although the bucket's is newer
  lsync upload --verify deep      read back what was sent before saying so")]
    Upload(UploadArgs),
    /// Bring what is new or changed in the bucket to this machine
    #[command(after_help = "\
Examples:
  lsync download                  everything
  lsync download data/            only what lies below data/
  lsync download --dry-run        show the plan, change nothing
  lsync download --delete         also delete here what was deleted there
  lsync download --overwrite a.npy  take the bucket's a.npy although the local
                                    one is newer (the old one goes to the trash)")]
    Download(TransferArgs),
    /// Show what an upload and a download would do; changes nothing
    #[command(after_help = "\
Examples:
  lsync status                    both directions
  lsync status data/              only what lies below data/
  lsync status --check=upload     for a shutdown script: exit code 10 when
                                  something is not uploaded yet")]
    Status(StatusArgs),
    /// Give up what interrupted uploads left open in the bucket
    #[command(after_help = "\
A large file travels in parts, and the store keeps the parts of an upload that
was interrupted, and charges for them. The next lsync upload goes on from them;
clean is for when there will be none. What other programs began is listed and
never touched.")]
    Clean(CleanArgs),
    /// Compare bucket and mount with what was published; changes nothing
    #[command(after_help = "\
Examples:
  lsync verify                    listings, and what is remembered: reads no
                                  object
  lsync verify --sample 5%        also reads objects with 5 % of the bytes
  lsync verify --deep data/       reads everything below data/, on both sides")]
    Verify(VerifyArgs),
    /// Find out what the store and the filesystem really do
    #[command(after_help = "\
Examples:
  lsync doctor                    asks the store and tries the filesystem
  lsync doctor --dry-run          writes nothing: what is known already
  lsync doctor --json > doctor.jsonl")]
    Doctor(DoctorArgs),
    /// Bring back what a download replaced or deleted here
    #[command(after_help = "\
Examples:
  lsync undo                      takes back the newest download or undo
  lsync undo 4f1c                 takes back the operation 4f1c…
  lsync undo --dry-run            shows what would come back
  lsync undo --overwrite          also where something was changed since

It changes this filesystem only, like an edit: the next status shows what
differs from the bucket. What stands there now goes to the trash, so that an
undo can be undone.")]
    Undo(UndoArgs),
    /// Show who uploaded, downloaded and undid what, and when
    #[command(after_help = "\
Examples:
  lsync log                       the newest operations
  lsync log -v                    all that are remembered
  lsync log --json                the same for programs")]
    Log {
        /// Flags after the command.
        #[command(flatten)]
        common: Common,
    },
    /// Print a completion script for your shell
    #[command(after_help = "\
Examples:
  lsync completions bash > ~/.local/share/bash-completion/completions/lsync
  lsync completions zsh > ~/.zfunc/_lsync
  lsync completions fish > ~/.config/fish/completions/lsync.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "\
Examples:
  lsync man > ~/.local/share/man/man1/lsync.1
  lsync man upload | man -l -")]
    Man {
        /// The page of this command instead of the overview
        command: Option<String>,
    },
    /// Answer git's question for a GitHub token (git runs this)
    #[command(hide = true)]
    GitCredential {
        /// The configuration file that holds the token
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// What git wants: get, store or erase
        operation: String,
    },
    /// Try lsync on this machine alone, with a small bucket in a folder
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxArgs),
}

/// `download`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Only these files and folders; without any, everything
    #[arg(value_name = "PATH", value_parser = any_path())]
    pub paths: Vec<PathBuf>,
    /// Flags after the command.
    #[command(flatten)]
    pub flags: Flags,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only these files and folders; without any, everything
    #[arg(value_name = "PATH", value_parser = any_path())]
    pub paths: Vec<PathBuf>,
    /// Exit with code 10 when this direction has something to send, a conflict or a problem
    #[arg(long, value_name = "DIRECTION", num_args = 0..=1, require_equals = true, default_missing_value = "any")]
    pub check: Option<Check>,
    /// Flags after the command.
    #[command(flatten)]
    pub flags: Flags,
}

/// `undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The operation, or the first digits of its id; without one, the newest
    pub operation: Option<String>,
    /// Flags after the command.
    #[command(flatten)]
    pub flags: Flags,
}

/// Which direction `status --check` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    // Both
    Any,
    // Files that are not in the bucket yet
    Upload,
    // Files that are not on this machine yet
    Download,
}

/// `clean`.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Flags after the command.
    #[command(flatten)]
    pub common: Common,
}

/// `setup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lsync setup                           asks for what it needs
  lsync setup --import me.sync.env      takes over an old configuration
  ssh old cat /lambda/nfs/me/sync.toml | lsync setup --import -
  LSYNC_SECRET_ACCESS_KEY=… lsync setup --bucket … --region us-east-2 \\
      --access-key-id …                 without a terminal

Running it again is safe: it skips what is already done. Secrets are never
taken from flags, because other users can see the flags of a process: they
are asked for, or come from LSYNC_SECRET_ACCESS_KEY, LSYNC_SESSION_TOKEN and
LSYNC_GITHUB_TOKEN.")]
pub(crate) struct SetupArgs {
    /// Take the values from an old configuration: a sync.toml, a .sync.env, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// The bucket, or s3://bucket/prefix; on Lambda the UUID in the "Bucket name" column of the Filesystems page
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// The region of the bucket
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The address of the store, when it is neither Lambda nor AWS
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// The id of the S3 key (the secret comes from the prompt or LSYNC_SECRET_ACCESS_KEY)
    #[arg(long, value_name = "ID")]
    pub access_key_id: Option<String>,
    /// Your name in git commits
    #[arg(long, value_name = "NAME")]
    pub git_user_name: Option<String>,
    /// Your address in git commits
    #[arg(long, value_name = "EMAIL")]
    pub git_user_email: Option<String>,
    /// Bring back what git's configuration said before setup changed it, and do nothing else
    #[arg(long, conflicts_with_all = ["import", "bucket", "region", "endpoint_url", "access_key_id", "git_user_name", "git_user_email"])]
    pub undo_git: bool,
    /// Flags after the command.
    #[command(flatten)]
    pub common: Common,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Flags after the command.
    #[command(flatten)]
    pub common: Common,
}

/// Flags that say nothing without a plan to apply.
const ASKING: &[&str] = &["dry_run", "yes", "take_over"];
/// Flags of upload, download and status.
const MOVING: &[&str] =
    &["delete", "max_delete", "overwrite", "with_deleted", "compare", "include", "exclude", "settle", "jobs", "bwlimit"];

impl CommandLine {
    /// The grammar as it is used: all flags are accepted everywhere, and each help shows those that say something there.
    pub(crate) fn grammar() -> clap::Command {
        let hide = |command: clap::Command, names: &'static [&'static str]| {
            command.mut_args(move |arg| if names.contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg })
        };
        hide(hide(CommandLine::command(), MOVING), ASKING)
            .mut_subcommand("status", |status| hide(hide(status, ASKING), &["max_delete", "settle", "bwlimit"]))
            .mut_subcommand("verify", |verify| {
                hide(hide(verify, ASKING), &["delete", "max_delete", "overwrite", "with_deleted", "compare", "settle"])
            })
            .mut_subcommand("upload", |upload| hide(upload, &["with_deleted"]))
            .mut_subcommand("download", |download| hide(download, &["settle"]))
            .mut_subcommand("doctor", |doctor| {
                let dry_run = "Write nothing anywhere: tell what is known, or what reading shows";
                hide(doctor, &["yes", "verbose"]).mut_arg("dry_run", |arg| arg.help(dry_run))
            })
            .mut_subcommand("log", |log| hide(hide(log, ASKING), &["no_progress", "prefix"]))
            .mut_subcommand("undo", |undo| {
                hide(
                    undo,
                    &["delete", "max_delete", "with_deleted", "compare", "settle", "include", "exclude", "jobs", "bwlimit", "prefix"],
                )
                .mut_arg("overwrite", |arg| arg.help("Also take back what was changed here since"))
            })
    }

    /// Reads a command line.
    pub(crate) fn read(words: &[OsString]) -> Result<CommandLine, clap::Error> {
        CommandLine::from_arg_matches(&CommandLine::grammar().try_get_matches_from(words)?)
    }
}

/// Takes an empty word too: what an unset shell variable leaves is refused later, in words that say so.
pub(super) fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Flags {
        let words = std::iter::once("lsync").chain(line.split_whitespace());
        let parsed = CommandLine::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        match parsed.command {
            Command::Upload(args) => parsed.flags.merge(args.flags),
            Command::Download(args) => parsed.flags.merge(args.flags),
            Command::Status(args) => parsed.flags.merge(args.flags),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(line: &str) {
        assert!(CommandLine::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }

    #[test]
    fn the_grammar_is_consistent() {
        CommandLine::grammar().debug_assert();
    }

    #[test]
    fn flags_count_before_and_after_the_verb_and_none_is_lost() {
        let all = "-n -y --delete --max-delete 5% --overwrite --compare size --include a --exclude b --settle 5m -j 3 --bwlimit 1.5MiB --json -q -vv \
                   --color never --no-progress --config c --root r --prefix p";
        let (before, after) = (flags(&format!("{all} upload")), flags(&format!("upload {all}")));
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        assert_eq!(after.moving.max_delete, Some(lsync::config::Limit::Percent(5)));
        assert_eq!(after.moving.bwlimit, Some(3 << 19));
        assert_eq!(after.common.verbose, 2);
        let both = flags("--exclude a -v --root x -n download --exclude b --exclude c -v --root y");
        assert_eq!(both.moving.exclude, ["a", "b", "c"]);
        assert_eq!((both.common.verbose, both.common.root), (2, Some("y".into())));
        assert!(both.common.dry_run);
    }

    #[test]
    fn a_flag_given_twice_is_no_error_and_the_last_one_counts() {
        let twice = flags("upload --json --json --root a --root b");
        assert_eq!(twice.common.root, Some("b".into()));
    }

    #[test]
    fn status_check_takes_its_direction_after_an_equals_sign() {
        let check = |line: &str| match CommandLine::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Status(args) => (args.check, args.paths.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(check("lsync status"), (None, 0));
        assert_eq!(check("lsync status --check"), (Some(Check::Any), 0));
        assert_eq!(check("lsync status --check=upload"), (Some(Check::Upload), 0));
        assert_eq!(check("lsync status --check data"), (Some(Check::Any), 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "lsync",
            "lsync sync",
            "lsync upload --max-delete many",
            "lsync upload --bwlimit 0",
            "lsync upload -j 0",
            "lsync setup --delete",
            "lsync setup --secret-access-key x",
            "lsync status --check=sideways",
            "lsync completions",
            "lsync upload --verify some",
            "lsync upload --verify sample:0%",
            "lsync download --verify deep",
            "lsync verify --sample 101%",
            "lsync verify --deep --list",
            "lsync verify --seed 1",
        ] {
            refused(line);
        }
    }

    #[test]
    fn help_fits_80_columns() {
        let mut command = CommandLine::command();
        command.build();
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        let mut pages = vec![command.render_long_help().to_string()];
        for name in names {
            pages.push(command.find_subcommand_mut(&name).unwrap().render_long_help().to_string());
        }
        for line in pages.iter().flat_map(|page| page.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
