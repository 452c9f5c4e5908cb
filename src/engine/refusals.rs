//! What it means for a run that the bucket refuses single objects: each is its own failure while others of its kind succeed, and where none
//! does the credentials are to blame. Decides only.

use crate::event::Verb;

/// Refusals of one kind, with no success of that kind, after which the rest is not tried.
const MOST: u32 = 200;

/// How many items of each kind the bucket has taken or given, and refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [Count; 4],
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    done: bool,
    refused: u32,
}

impl Refusals {
    /// An item was done.
    pub(super) fn done(&mut self, verb: Verb) {
        self.counts[kind(verb)].done = true;
    }

    /// An item was refused. True when the run has to end: so many were, and none was done.
    pub(super) fn refused(&mut self, verb: Verb) -> bool {
        let count = &mut self.counts[kind(verb)];
        count.refused += 1;
        !count.done && count.refused >= MOST
    }

    /// True when all that was tried of one kind was refused.
    pub(super) fn are_about_the_credentials(&self) -> bool {
        self.counts.iter().any(|count| count.refused > 0 && !count.done)
    }
}

fn kind(verb: Verb) -> usize {
    match verb {
        Verb::Upload => 0,
        Verb::Download => 1,
        Verb::Update => 2,
        Verb::Delete => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `u` and `d`: an upload or a deletion that was done; `U` and `D`: one that was refused. What ends the run, and what is to blame.
    #[track_caller]
    fn check(story: &str, ends: bool, credentials: bool) {
        let mut refusals = Refusals::default();
        let mut ended = false;
        for item in story.chars() {
            match item {
                'u' => refusals.done(Verb::Upload),
                'd' => refusals.done(Verb::Delete),
                'U' => ended |= refusals.refused(Verb::Upload),
                _ => ended |= refusals.refused(Verb::Delete),
            }
        }
        assert_eq!((ended, refusals.are_about_the_credentials()), (ends, credentials), "{story}");
    }

    #[test]
    fn one_refused_item_is_its_own_failure_and_none_that_is_done_blames_the_credentials() {
        check("", false, false);
        check("u", false, false);
        check("U", false, true);
        check("Uu", false, false);
        check("uU", false, false);
        check("uD", false, true);
        check("uDd", false, false);
        check(&"U".repeat(199), false, true);
        check(&"U".repeat(200), true, true);
        check(&format!("u{}", "U".repeat(3000)), false, false);
    }
}
