//! What was seen, asked: what one direction would do about it, and what lies at a path. Looks at nothing again.

use super::approve::Proposal;
use super::look::Sight;
use super::{deletions, leading_out, sets};
use crate::entry::{Entry, Local, find};
use crate::filter::Scope;
use crate::path::RelPath;
use crate::plan::{Choices, Direction, Input, build, cannot_copy, regenerable};
use crate::profile::Profile;
use crate::view::Remote;

impl Sight {
    /// What one direction would do about it, as a plan that can be shown, and approved.
    #[must_use]
    pub fn plan(&self, direction: Direction, choices: Choices) -> Proposal<'_> {
        let base: Vec<(RelPath, &Entry)> =
            self.state.entries.iter().filter_map(|(path, known)| Some((path.clone(), known.base.as_deref()?))).collect();
        let removed = |path: &RelPath| {
            !self.manifest_unreadable
                && find(&self.state.entries, path.as_str()).is_some_and(|known| known.removed && known.published.is_none())
        };
        let deleted = self.deleted_elsewhere(choices);
        let input = Input {
            local: &self.local,
            bucket: &self.view.entries,
            idle_markers: &self.view.idle_markers,
            base: &base,
            vanished: &self.view.vanished,
            removed: &removed,
            owed: self.owed,
            base_is_of_this_mount: self.base_is_of_this_mount && !self.manifest_unreadable,
            problems: &self.problems,
            skipped: &self.skipped,
            hollow: &self.hollow,
            torn: &self.torn,
            deleted: &deleted,
            sets: &self.claims,
            umask: self.umask,
        };
        let mut plan = build(direction, choices, &input);
        plan.without_copies = plan.loses_objects() && cannot_copy(self.store.as_ref().and_then(Profile::keeps_copies));
        plan.owed |= direction == Direction::Upload && sets::are_owed(self, &plan);
        plan.dir_modes = self.dir_modes(direction);
        deletions::add(self, &mut plan);
        plan.outside_links = leading_out::of_source(self, direction);
        if direction == Direction::Upload {
            plan.hold_keys(&self.keys);
            plan.regenerable = regenerable(plan.transfers.iter().map(|t| (&t.path, t.source.bytes())));
        }
        plan.others.clone_from(&self.others);
        plan.nothing_there = self.nothing_there.clone().filter(|_| direction == Direction::Download);
        plan.source_has_more = match direction {
            Direction::Upload => self.mount_has_more,
            Direction::Download => self.narrowed && self.bucket_has_manifests,
        };
        // Patterns may leave out the very thing that shows what was removed; a PATH that is empty now is what the user named.
        plan.may_delete &= !(self.narrowed && plan.source_has_more);
        let known = self.state.entries.iter().filter(|(_, known)| known.base.is_some() || known.published.is_some());
        // Asked for an empty source alone, and not cheap.
        let known = known.filter(|(path, _)| plan.source_entries == 0 && self.filter_has(path, false));
        plan.remembered_entries = known.count() as u64;
        Proposal::new(self, plan)
    }

    /// What patterns left out of a direction's source: how many files, and their bytes.
    #[must_use]
    pub fn ignored_at_source(&self, direction: Direction) -> (u64, u64) {
        match direction {
            Direction::Upload => (self.ignored.files, self.ignored.bytes),
            Direction::Download => self.view.ignored,
        }
    }

    /// True when the rules of this run let a path travel.
    pub(super) fn filter_has(&self, path: &RelPath, is_dir: bool) -> bool {
        self.filter.scope(path, is_dir) == Scope::In
    }

    /// What the bucket holds at a path.
    pub(super) fn bucket(&self, path: &str) -> Option<&Remote> {
        find(&self.view.entries, path)
    }

    /// What the mount holds at a path.
    pub(super) fn local(&self, path: &str) -> Option<&Local> {
        find(&self.local, path)
    }
}
