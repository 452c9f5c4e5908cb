//! Items that cannot be synced, and why. Travels with scans and listings into the plan, so that nothing is deleted or replaced
//! where something could not be read.

use crate::path::{RelPath, Shown};

/// An item that is neither absent nor equal: not transferred, not replaced, not deleted, and the run is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name as it was found, lossily decoded when it is no UTF-8; show it through [`Shown`].
    pub name: String,
    /// Where it lies, when the name is a valid path: this path (and with `below`, all under it) is protected.
    pub path: Option<RelPath>,
    /// True when everything under the name is unknown too (an unreadable directory).
    pub below: bool,
    /// Which side it was found on.
    pub side: Side,
    /// Why, as a fragment after the name.
    pub why: String,
    /// The gitignore line that would accept leaving it out; `None` where no pattern can name it.
    pub exclude: Option<String>,
}

/// The two sides of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The mount.
    Local,
    /// The bucket.
    Bucket,
}

impl Problem {
    /// One line for a person: the name, why, and what to do.
    #[must_use]
    pub fn line(&self) -> String {
        let name = Shown(&self.name);
        match &self.exclude {
            // It names a directory above, and with it more than the problem.
            Some(pattern) if pattern.ends_with('/') => {
                let dir = Shown(pattern.trim_start_matches('/'));
                format!("{name}: {} (to leave out all of {dir}: --exclude '{}')", self.why, Shown(pattern))
            }
            Some(pattern) => format!("{name}: {} (to leave it out: --exclude '{}')", self.why, Shown(pattern)),
            None => format!("{name}: {}", self.why),
        }
    }
}

/// Something that holds no bytes to lose (socket, FIFO, device) or that the configuration says not to restore. Listed; exit unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it lies.
    pub path: RelPath,
    /// Why, as a fragment after the name.
    pub why: String,
}

/// The gitignore line that matches exactly this path, special characters escaped.
#[must_use]
pub fn exclude_line(path: &str) -> String {
    let mut line = String::from("/");
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '#') || (c == ' ' && path.ends_with(' ')) {
            line.push('\\');
        }
        line.push(c);
    }
    line
}
