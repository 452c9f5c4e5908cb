//! Waits for what a test waits for, as long as a run may take. Knows no conditions of its own.

use std::time::{Duration, Instant};

use super::cmd::DEADLINE;
use super::s3::S3;

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "after {DEADLINE:?} it still does not hold that {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

impl S3 {
    /// Waits until every fault that was asked for has hit.
    #[track_caller]
    pub(crate) fn until_all_hit(&self) {
        until("every fault has hit", || self.faults().pending() == 0);
    }
}
