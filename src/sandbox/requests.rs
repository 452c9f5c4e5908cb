//! What the server was asked: counts by operation, keys in order, bytes of bodies. Knows nothing about answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use super::lock;

/// How many requests are remembered one by one; beyond that the oldest go, so that a server may run for months.
const REMEMBERED: usize = 1_000_000;

/// What was asked since the start or since the last [`RequestLog::take`]. Requests that a fault hit count too.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<&'static str, u64>,
    requests: VecDeque<(&'static str, String)>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// A copy of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Requests by operation, under its name in the S3 documentation; `other` for what is none.
    pub counts: BTreeMap<&'static str, u64>,
    /// Operation and key (empty where there is none) of the newest million requests, oldest first.
    pub requests: Vec<(&'static str, String)>,
    /// Bytes of request bodies that were read.
    pub received_bytes: u64,
    /// Bytes of answer bodies that were handed to the connection.
    pub sent_bytes: u64,
}

impl RequestLog {
    /// Requests by operation.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0).counts.clone()
    }

    /// How often one operation was asked for.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        lock(&self.0).counts.get(operation).copied().unwrap_or(0)
    }

    /// Everything, and starts again from nothing.
    pub fn take(&self) -> Recorded {
        let inner = std::mem::take(&mut *lock(&self.0));
        Recorded {
            counts: inner.counts,
            requests: inner.requests.into(),
            received_bytes: inner.received_bytes,
            sent_bytes: inner.sent_bytes,
        }
    }

    pub(super) fn note(&self, operation: &'static str, key: String) {
        let mut inner = lock(&self.0);
        *inner.counts.entry(operation).or_default() += 1;
        if inner.requests.len() == REMEMBERED {
            inner.requests.pop_front();
        }
        inner.requests.push_back((operation, key));
    }

    pub(super) fn received(&self, bytes: usize) {
        lock(&self.0).received_bytes += bytes as u64;
    }

    pub(super) fn sent(&self, bytes: usize) {
        lock(&self.0).sent_bytes += bytes as u64;
    }
}
