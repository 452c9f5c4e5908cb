//! How deep a verification reads, as it is typed, and the commands that take it: `upload --verify` and `verify`.

use std::path::PathBuf;

use clap::Args;
use lsync::engine::Depth;

use super::{Flags, any_path};

/// `upload`.
#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// Only these files and folders; without any, everything
    #[arg(value_name = "PATH", value_parser = any_path())]
    pub paths: Vec<PathBuf>,
    /// How much of what was sent is read back from the bucket before it is called complete: list (nothing), sample:P%, deep (all)
    #[arg(long, value_name = "HOW", value_parser = read_back, help_heading = "What travels")]
    pub verify: Option<Depth>,
    /// Flags after the command.
    #[command(flatten)]
    pub flags: Flags,
}

/// `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only these files and folders; without any, everything
    #[arg(value_name = "PATH", value_parser = any_path())]
    pub paths: Vec<PathBuf>,
    /// Read no object: compare sizes and ETags of the listing with what was published [default]
    #[arg(long, conflicts_with_all = ["sample", "deep"], help_heading = "How deep")]
    pub list: bool,
    /// Also read objects, chosen at random, with this share of the bytes
    #[arg(long, value_name = "P%", value_parser = percent, conflicts_with = "deep", help_heading = "How deep")]
    pub sample: Option<f64>,
    /// Make the same choice as an earlier run, which printed its seed
    #[arg(long, value_name = "N", requires = "sample", help_heading = "How deep")]
    pub seed: Option<u64>,
    /// Read every object, and every file of the mount
    #[arg(long, help_heading = "How deep")]
    pub deep: bool,
    /// Flags after the command.
    #[command(flatten)]
    pub flags: Flags,
}

/// `list`, `sample:P%` or `deep`.
fn read_back(text: &str) -> Result<Depth, String> {
    match (text, text.strip_prefix("sample:")) {
        ("list", _) => Ok(Depth::List),
        ("deep", _) => Ok(Depth::Deep),
        (_, Some(share)) => Ok(Depth::Sample(percent(share)?, random_seed())),
        _ => Err("it is list, sample:P% or deep".into()),
    }
}

/// What [`read_back`] reads.
pub(crate) fn depth_text(depth: Depth) -> String {
    match depth {
        Depth::List => "list".into(),
        Depth::Sample(percent, _) => format!("sample:{percent}%"),
        Depth::Deep => "deep".into(),
    }
}

/// `5%`, `0.1%`.
fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "it is a share like 5%, more than 0% and at most 100%".into())
}

/// A choice that nobody has made before.
pub(crate) fn random_seed() -> u64 {
    getrandom::u64().expect("the kernel gives random bytes to every process")
}
