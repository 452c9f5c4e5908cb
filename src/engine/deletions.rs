//! What was deleted here and is kept in the bucket: what a plan says of it, and what a run publishes. Decides nothing.

use std::collections::HashSet;

use super::look::Sight;
use super::run::Work;
use crate::entry::{Tree, find};
use crate::local::lock::host_name;
use crate::local::state::Known;
use crate::manifest::Deleted;
use crate::path::RelPath;
use crate::plan::{After, Choices, Direction, Here, LeftOut, MaxDelete, Plan, is_still_there, stands};

impl Sight {
    /// What the manifests tell of.
    fn told_deletions(&self) -> &[Deleted] {
        self.state.newest.as_ref().map(|header| &header.deleted[..]).unwrap_or_default()
    }

    /// What a download leaves in the bucket: deleted where it was uploaded from, as it was then, and not asked for.
    pub(super) fn deleted_elsewhere(&self, choices: Choices) -> Vec<(RelPath, &Deleted)> {
        if choices.deleted || self.manifest_unreadable {
            return Vec::new();
        }
        let all = self.told_deletions().iter().filter_map(|deleted| Some((RelPath::new(&deleted.path).ok()?, deleted)));
        let is_as_it_was =
            |path: &RelPath, deleted: &Deleted| self.bucket(path.as_str()).is_some_and(|there| is_still_there(deleted, there));
        let mut left: Vec<_> = all.filter(|(path, deleted)| !self.is_named(path) && is_as_it_was(path, deleted)).collect();
        left.sort_by(|a, b| a.0.cmp(&b.0));
        left
    }

    /// True for a path whose file is wanted if it is here: the user gave it, or it is not the file any more that both sides agreed on, if
    /// with the same content.
    fn wants(&self, path: &RelPath) -> bool {
        let stamp = self.local(path.as_str()).and_then(|local| local.stamp);
        let is_as_agreed = |known: &Known| known.base.is_some() && known.seen.as_ref().map(|seen| seen.stamp) == stamp;
        self.is_named(path) || !find(&self.state.entries, path.as_str()).is_some_and(is_as_agreed)
    }

    /// True for a path that the user gave, and not one above it.
    fn is_named(&self, path: &RelPath) -> bool {
        self.ask.named.contains(path) || self.paths.contains(path)
    }
}

/// Adds to an upload's plan what it records as deleted and what is there again.
pub(super) fn add(sight: &Sight, plan: &mut Plan) {
    if plan.direction != Direction::Upload || sight.manifest_unreadable {
        return;
    }
    let (host, told) = (host_name(), sight.told_deletions());
    let here = Here { host: &host, mount: &sight.state.mount, local: &sight.local };
    let published = |path: &RelPath| find(&sight.state.entries, path.as_str()).and_then(|known| known.published.as_deref());
    let known: HashSet<(&str, &str)> = told.iter().map(|told| (told.path.as_str(), told.was.as_str())).collect();
    let (mut new, mut is_proven) = (Vec::new(), sight.base_is_of_this_mount);
    for path in plan.deleted_here().map(|kept| &kept.path) {
        let listed = sight.bucket(path.as_str()).and_then(|there| here.deleted(path, there));
        let Some(deleted) = listed.filter(|deleted| published(path).is_some_and(|entry| stands(deleted, entry))) else {
            is_proven = false;
            continue;
        };
        if !known.contains(&(deleted.path.as_str(), deleted.was.as_str())) {
            new.push(deleted);
        }
    }
    let is_back = |deleted: &&Deleted| {
        let Some(path) = RelPath::new(&deleted.path).ok() else { return false };
        let wanted = deleted.mount == here.mount || sight.wants(&path);
        wanted && plan.same.binary_search(&path).is_ok() && published(&path).is_some_and(|entry| stands(deleted, entry))
    };
    plan.restored = told.iter().filter(is_back).filter_map(|deleted| RelPath::new(&deleted.path).ok()).collect();
    let stays = |deleted: &Deleted| {
        let path = RelPath::new(&deleted.path).ok().filter(|path| plan.same.binary_search(path).is_ok())?;
        let there = sight.bucket(path.as_str()).filter(|there| is_still_there(deleted, there))?;
        Some(LeftOut { bytes: there.entry.bytes(), host: deleted.host.clone(), path })
    };
    plan.left_out = told.iter().filter(|deleted| !is_back(deleted)).filter_map(stays).collect();
    plan.deletions = is_proven.then_some(new);
    plan.limit_deletions(MaxDelete::Percent(50.0));
}

/// What this run publishes with `tree`.
pub(super) fn after(work: &Work<'_>, tree: &Tree, mount: &str) -> Vec<Deleted> {
    let (sight, host) = (work.sight, host_name());
    let here = Here { host: &host, mount, local: &sight.local };
    let after = After { tree, moved: &|path| work.done.contains_key(path), wanted: &|path| sight.wants(path) };
    after.published(sight.told_deletions(), work.plan.new_deletions(), &here)
}
