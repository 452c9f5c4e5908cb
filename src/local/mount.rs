//! Finding the mount, opening it, and doing single operations below it. Does not walk it.

use std::path::{Path, PathBuf};

use crate::path::RelPath;

pub use crate::entry::Stamp;

/// What a mount may be found from, strongest first.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// `--root`, `LSYNC_ROOT` or `[local] root`, and which of them it is.
    pub given: Option<(&'a Path, &'a str)>,
    /// Where the command runs.
    pub current_dir: &'a Path,
    /// `LSYNC_MOUNTS`: the directory whose children are mounts (`/lambda/nfs`).
    pub mounts: &'a Path,
}

/// A failed operation on the mount: what was tried, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct LocalError {
    /// What was tried: `cannot read`, `cannot write`, ….
    pub doing: &'static str,
    /// The path, made safe to show.
    pub path: String,
    /// The reason.
    pub source: std::io::Error,
}

/// No mount, or not a usable one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NoMount {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The open mount.
#[derive(Debug)]
pub struct Mount {}

impl Mount {
    /// Finds the mount's root directory: given, else the nearest ancestor that holds `.lsync/`, else the child of `mounts` that holds
    /// the current directory. Opens nothing.
    pub fn locate(lookup: &Lookup<'_>) -> Result<PathBuf, NoMount> {
        let _ = lookup;
        todo!()
    }

    /// Opens a root directory. Creates nothing.
    pub fn open(root: &Path) -> Result<Mount, NoMount> {
        let _ = root;
        todo!()
    }

    /// The root, absolute, links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        todo!()
    }

    /// The id of this mount, from the name of `.lsync/mount-<32 hex digits>`; `None` before the first run that may write.
    pub fn id(&self) -> Result<Option<String>, LocalError> {
        todo!()
    }

    /// Creates `.lsync/` (mode 0700) and the id file where they are missing, and returns the id.
    pub fn ensure_id(&self) -> Result<String, LocalError> {
        todo!()
    }

    /// Still the directory that was opened: it exists at its path with the same device and inode (an unmounted NFS shows another).
    pub fn still_there(&self) -> Result<(), LocalError> {
        todo!()
    }

    /// Free bytes for this user, and the size of the file system.
    pub fn space(&self) -> Result<(u64, u64), LocalError> {
        todo!()
    }

    /// The path a command-line argument means: relative to `current_dir`, cleaned without following links. `Ok(None)` is the mount
    /// itself; outside the mount is an error that says so.
    pub fn relative(&self, current_dir: &Path, argument: &Path) -> Result<Option<RelPath>, NoMount> {
        let _ = (current_dir, argument);
        todo!()
    }

    /// What lies at a path now, links not followed; `None` when nothing does. For a file its stamp.
    pub fn look(&self, path: &RelPath) -> Result<Option<Looked>, LocalError> {
        let _ = path;
        todo!()
    }
}

/// What [`Mount::look`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A regular file, with its permission bits.
    File(Stamp, u32),
    /// A link and its target (lossless: `None` when it is no UTF-8).
    Link(Option<String>),
    /// A directory; true when it has no entries.
    Dir(bool),
    /// A socket, FIFO or device.
    Special,
}
