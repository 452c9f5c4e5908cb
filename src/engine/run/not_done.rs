//! What becomes of an item that was not done: its own failure, or the end of the run.

use super::{UNANSWERED_MOST, Work};
use crate::engine::Error;
use crate::engine::report::{Failure, FailureKind, chain};
use crate::engine::send::NotSent;
use crate::event::{Ended, Event, Verb};
use crate::local::state::Journalled;
use crate::path::RelPath;

impl Work<'_> {
    /// Notes an item that was not done, or that ends the run.
    pub(super) fn item_not_done(&mut self, path: &RelPath, verb: Verb, bytes: u64, why: NotSent) {
        let (kind, why) = match why {
            // It was not tried, or not to its end: no failure, but no reason to say more than that the run was stopped.
            NotSent::Run(Error::Stopped) => return self.end(Error::Stopped),
            NotSent::Run(e) => {
                let text = e.to_string();
                self.end(e);
                (FailureKind::Failed, text)
            }
            NotSent::Unanswered(e) => {
                let text = chain(&e);
                self.unanswered += 1;
                if self.unanswered >= UNANSWERED_MOST {
                    self.end(e.into());
                }
                (FailureKind::Failed, text)
            }
            NotSent::Refused { error: e, removing } => {
                let text = chain(&e);
                let ends = self.refusals.refused(if removing { Verb::Delete } else { verb });
                self.refusal.get_or_insert(e);
                if ends && let Some(e) = self.refusal.take() {
                    self.end(e.into());
                }
                (FailureKind::Failed, text)
            }
            NotSent::Item(kind, why) => (kind, why),
            NotSent::Damaged(entry) => {
                // Ours, and not what the file holds: the next run replaces it.
                self.note(&Journalled { path: path.clone(), base: Some((*entry).into()), seen: None });
                (FailureKind::Integrity, "the store holds other bytes than were sent: run the same command again".into())
            }
        };
        let outcome = if kind == FailureKind::Stale { Ended::Stale(why.clone()) } else { Ended::Failed(why.clone()) };
        self.ends.tell(Event::Finished { path: path.clone(), verb, bytes, outcome });
        self.fail(path, kind, why);
    }

    /// Notes that an item is not as it should be, whatever was done about it before: what was done stands, and is published.
    pub(in crate::engine) fn fail(&mut self, path: &RelPath, kind: FailureKind, why: String) {
        self.report.counts.failed += 1;
        self.report.failures.push(Failure { path: path.clone(), kind, why });
    }
}
