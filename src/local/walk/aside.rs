//! What a walk meets and does not take: names that are no paths, and what the patterns leave out, which is counted with all below it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;

use rustix::fs::FileType;

use super::super::beneath::{Dir, Status};
use super::super::scan::ScanError;
use super::Walker;
use crate::filter::Scope;
use crate::path::{BadPath, RESERVED, RelPath};
use crate::problem::{Problem, Side, exclude_line};

/// Most samples of ignored paths.
const SAMPLES: usize = 100;

impl Walker<'_, '_> {
    /// A name that is no [`RelPath`]. Patterns see it with U+FFFD for what is no UTF-8, so that one can accept it.
    pub(super) fn not_representable(&mut self, dir: &Dir, parent: Option<&str>, name: &OsStr) -> Result<(), ScanError> {
        self.breathe()?;
        let is_dir = dir.status(name).is_ok_and(|status| status.is_some_and(|status| status.kind == FileType::Directory));
        let is_utf8 = name.to_str().is_some();
        let lossy: String = parent.into_iter().flat_map(|parent| [parent, "/"]).chain([&*name.to_string_lossy()]).collect();
        let lossy = lossy.as_str();
        let shown = RelPath::new(lossy);
        if shown.as_ref().is_ok_and(|path| self.scope(path, is_dir) != Scope::In) {
            self.found.ignored.files += 1;
            self.sample(lossy, is_dir, 0);
            return Ok(());
        }
        let why = if is_utf8 { shown.as_ref().err().copied().unwrap_or(BadPath::NotUtf8) } else { BadPath::NotUtf8 };
        // The replacement stands for any bytes, so the line says "anything" there.
        let exclude = shown.is_ok().then(|| exclude_line(lossy).replace('\u{fffd}', "*"));
        self.found.problems.push(Problem {
            name: lossy.to_owned(),
            path: None,
            below: is_dir,
            side: Side::Local,
            why: why.to_string(),
            exclude,
        });
        Ok(())
    }

    /// Counts a path that the patterns leave out, with everything below it.
    pub(super) fn leave_out(&mut self, path: &RelPath, status: &Status) -> Result<(), ScanError> {
        let (mut files, mut bytes) = (0, 0);
        let mut waiting = Vec::new();
        if status.kind == FileType::Directory {
            waiting.push(path.as_str().to_owned());
        } else {
            (files, bytes) = (1, bytes_of(status));
        }
        // Whatever cannot be looked at here does not count: nobody asked for it.
        while let Some(path) = waiting.pop() {
            let Ok(dir) = self.crew.mount.top().dir(&path) else { continue };
            for name in dir.names().unwrap_or_default() {
                self.breathe()?;
                let Ok(Some(status)) = dir.status(&name) else { continue };
                if status.kind != FileType::Directory {
                    files += 1;
                    bytes += bytes_of(&status);
                } else if let Some(name) = name.to_str().filter(|name| *name != RESERVED && status.device == self.crew.mount.device()) {
                    waiting.push(format!("{path}/{name}"));
                }
            }
        }
        self.found.ignored.files += files;
        self.found.ignored.bytes += bytes;
        self.sample(path.as_str(), status.kind == FileType::Directory, bytes);
        Ok(())
    }

    pub(super) fn leave_out_if_there(&mut self, path: &RelPath) -> Result<(), ScanError> {
        let status = self.crew.mount.top().parent_of(path.as_str()).and_then(|(dir, name)| dir.status(name));
        status.ok().flatten().map_or(Ok(()), |status| self.leave_out(path, &status))
    }

    fn sample(&mut self, path: &str, is_dir: bool, bytes: u64) {
        keep_largest(&mut self.found.ignored.samples, if is_dir { format!("{path}/") } else { path.to_owned() }, bytes);
    }
}

/// Keeps the largest, and of equal ones those that come first.
pub(super) fn keep_largest(samples: &mut BTreeMap<String, u64>, name: String, bytes: u64) {
    samples.insert(name, bytes);
    if samples.len() > SAMPLES
        && let Some(least) = samples.iter().min_by_key(|(name, bytes)| (**bytes, Reverse(*name))).map(|(name, _)| name.clone())
    {
        samples.remove(&least);
    }
}

/// Links and special files have no content bytes.
pub(super) fn bytes_of(status: &Status) -> u64 {
    if status.kind == FileType::RegularFile { status.stamp.size } else { 0 }
}
