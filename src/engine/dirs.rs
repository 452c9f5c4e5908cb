//! Permission bits of directories that hold something: what both sides have, and what a run has carried. Decides nothing.

use super::look::Sight;
use super::run::Work;
use crate::diff::mode_of_new;
use crate::entry::{Kind, Tree, below};
use crate::manifest::{Header, Manifest, Name};
use crate::path::RelPath;
use crate::plan::Direction;
use crate::plan::dir_modes::{DirMode, DirModes, Sides};

impl Sight {
    /// What a direction would carry.
    pub(super) fn dir_modes(&self, direction: Direction) -> Vec<DirMode> {
        let told = self.told_dirs();
        self.sides(told.as_ref(), &self.state.dirs).carried(direction, &|path| self.holds_here(path), &|path| self.holds_there(path))
    }

    /// True when both sides have the same bits, and that is not remembered.
    pub(super) fn would_learn_dirs(&self) -> bool {
        self.agreed_dirs(&self.state.dirs, &DirModes::new()) != self.state.dirs
    }

    /// What both sides agree on, and what they agreed on before, once a run has carried these.
    pub(super) fn agreed_dirs(&self, before: &DirModes, carried: &DirModes) -> DirModes {
        let told = self.told_dirs();
        self.sides(told.as_ref(), before).agreed(carried, &|path| self.holds_here(path), &|path| self.holds_there(path))
    }

    fn sides<'a>(&'a self, told: Option<&'a DirModes>, base: &'a DirModes) -> Sides<'a> {
        Sides { local: &self.dirs, bucket: told, base, ordinary: mode_of_new(&Kind::Dir, self.umask) }
    }

    fn told_dirs(&self) -> Option<DirModes> {
        let dirs = self.state.newest.as_ref()?.dirs.as_ref()?;
        Some(dirs.iter().filter_map(|(path, mode)| Some((RelPath::new(path).ok()?, mode & 0o777))).collect())
    }

    fn is_looked_at(&self, path: &RelPath) -> bool {
        (self.paths.is_empty() || self.paths.iter().any(|of| path.is_at_or_below(of.as_str()))) && self.filter_has(path, true)
    }

    fn holds_here(&self, path: &RelPath) -> bool {
        !below(&self.local, path.as_str()).is_empty() && self.is_looked_at(path)
    }

    fn holds_there(&self, path: &RelPath) -> bool {
        !below(&self.view.entries, path.as_str()).is_empty() && self.is_looked_at(path)
    }
}

/// What this run publishes with `tree`.
pub(super) fn after(work: &Work<'_>, tree: &Tree) -> Option<Vec<(String, u32)>> {
    let sight = work.sight;
    let told = sight.told_dirs();
    let sides = sight.sides(told.as_ref(), &sight.state.dirs);
    let stays = |path: &RelPath| !below(tree, path.as_str()).is_empty();
    let published = sides.published(&work.dir_modes, &|path| sight.holds_here(path), &stays);
    Some(published.into_iter().map(|(path, mode)| (path.as_str().to_owned(), mode)).collect())
}

/// What several heads say: the newest that names a directory.
pub(super) fn of_heads(found: &[(Name, Manifest)]) -> Option<Vec<(String, u32)>> {
    let mut heads: Vec<(&Name, &Header)> = found.iter().map(|(name, manifest)| (name, &manifest.header)).collect();
    heads.sort_by(|a, b| a.0.cmp(b.0));
    let mut all: Option<std::collections::BTreeMap<String, u32>> = None;
    for dirs in heads.iter().filter_map(|(_, header)| header.dirs.as_ref()) {
        all.get_or_insert_default().extend(dirs.iter().cloned());
    }
    all.map(|all| all.into_iter().collect())
}
