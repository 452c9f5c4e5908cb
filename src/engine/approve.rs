//! The gate between a plan and its execution. A plan is made from one look, is approved within limits, and only then can run: an upload
//! from an empty directory, too many deletions, or a download that does not fit are refused here, for every program that uses the library.

use std::ops::Deref;

use super::room::check_room;
use super::{Error, Sight};
use crate::plan::{MaxDelete, Plan};

/// A plan and the look that it was made from. Shows the plan; [`Proposal::approve`] makes of it what [`super::run()`] takes.
pub struct Proposal<'a> {
    sight: &'a Sight,
    plan: Plan,
}

/// The bounds within which a plan is approved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most paths that the run may delete.
    pub max_delete: MaxDelete,
}

impl Default for Limits {
    /// At most half of the destination's paths in scope, as on the command line.
    fn default() -> Limits {
        Limits { max_delete: MaxDelete::Percent(50.0) }
    }
}

/// A plan that may run, tied to the look that it was made from. Only [`Proposal::approve`] makes one.
#[derive(Clone, Copy)]
pub struct Approved<'a> {
    pub(super) sight: &'a Sight,
    pub(super) plan: &'a Plan,
}

impl<'a> Proposal<'a> {
    pub(super) fn new(sight: &'a Sight, plan: Plan) -> Proposal<'a> {
        Proposal { sight, plan }
    }

    /// Lets new files that may hold keys travel with the rest: a person has said so.
    pub fn send_keys(&mut self) {
        self.plan.send_keys();
    }

    /// Records deletions of this directory only where they are not more than `most`, the limit of what `upload --delete` may delete; without
    /// this, half of the bucket's paths in scope.
    pub fn limit_deletions(&mut self, most: MaxDelete) {
        self.plan.limit_deletions(most);
    }

    /// The plan alone, which can be shown and cannot run.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// Approves the plan, or says why it must not start: [`Error::Refused`] for an upload from an empty directory or too many deletions,
    /// [`Error::NoSpace`] for a download that does not fit. Reads the free space of a download's directory and changes nothing. That the
    /// bucket is the directory's own filesystem is refused by [`super::look()`] and again by [`super::run()`].
    pub fn approve(&self, limits: Limits) -> Result<Approved<'_>, Error> {
        self.plan.check(limits.max_delete)?;
        check_room(&self.sight.ends, &self.plan)?;
        Ok(Approved { sight: self.sight, plan: &self.plan })
    }
}

impl Deref for Proposal<'_> {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}
