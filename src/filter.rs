//! Which paths are in scope: default ignores, configuration, flags and the `.syncignore` files of the mount, all in gitignore's
//! grammar, for both directions. Matches paths; reads no files.
//!
//! Exclude beats include; a later `!pattern` may undo a default. With any include pattern, a file must also match one of those.

use crate::path::RelPath;

/// What is ignored unless a later `!pattern` says otherwise. `.lsync/` is reserved and cannot be undone.
pub const DEFAULT_IGNORES: &[&str] = &[".venv/", ".ipynb_checkpoints/", "__pycache__/", ".nfs*"];

/// The patterns of one run, before any `.syncignore` file was read.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// `[sync] exclude`, then `--exclude`, in that order.
    pub exclude: Vec<String>,
    /// `[sync] include` and `--include`.
    pub include: Vec<String>,
    /// `include_config`: files that hold keys travel.
    pub include_config: bool,
    /// Files that never travel whatever the patterns say: the configuration in use, this process's own output files.
    pub never: Vec<RelPath>,
}

/// The compiled rules of a run.
pub struct Filter {}

/// A pattern that gitignore's grammar does not allow.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: the pattern {pattern:?} is not valid: {why}")]
pub struct BadPattern {
    /// The file and line, flag or key it stands in.
    pub origin: String,
    /// The pattern.
    pub pattern: String,
    /// What is wrong.
    pub why: String,
}

/// Whether a path is in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It travels.
    In,
    /// A pattern leaves it out.
    Ignored,
    /// It holds keys, or is a file that never travels.
    Keys,
    /// It has a `.lsync` segment: not even counted.
    Reserved,
}

impl Filter {
    /// Compiles the rules that do not come from the mount.
    pub fn new(patterns: &Patterns) -> Result<Filter, BadPattern> {
        let _ = patterns;
        todo!()
    }

    /// Adds the lines of the `.syncignore` file that lies in `dir` (empty: the mount itself). Deeper files win over shallower ones.
    pub fn add_syncignore(&mut self, dir: &str, text: &str) -> Result<(), BadPattern> {
        let _ = (dir, text);
        todo!()
    }

    /// Whether a path, with all directories above it, is in scope. `is_dir`: it is a directory itself.
    #[must_use]
    pub fn scope(&self, path: &RelPath, is_dir: bool) -> Scope {
        let _ = (path, is_dir);
        todo!()
    }

    /// As [`Filter::scope`] for an entry of a directory that is known to be in scope, without looking at the directories above.
    #[must_use]
    pub fn scope_of_child(&self, path: &RelPath, is_dir: bool) -> Scope {
        let _ = (path, is_dir);
        todo!()
    }
}
