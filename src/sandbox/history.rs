//! Every version of every object that was ever committed, by what lies in the store and not by what clients say: the oracle of the tests.
//! Kept only where it is asked for, because the content of every version stays on disk for it.

use std::sync::Arc;

use super::Server;
use super::bucket::{Object, Objects};
use crate::digest::digest_one;

/// A change that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Of what.
    pub key: String,
    /// Size, and MD5 of the stored bytes in hexadecimal digits; `None`: the object was removed.
    pub content: Option<(u64, String)>,
}

/// The changes of one bucket, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Vec<(String, Option<Arc<Object>>)>);

impl History {
    /// Begins with what is there.
    pub(super) fn of(objects: &Objects) -> History {
        History(objects.iter().map(|(key, object)| (key.clone(), Some(Arc::clone(object)))).collect())
    }

    pub(super) fn note(&mut self, key: &str, object: Option<&Arc<Object>>) {
        self.0.push((key.to_owned(), object.cloned()));
    }

    /// The objects as they were so many changes ago.
    pub(super) fn before(&self, changes: u64) -> Objects {
        let upto = self.0.len().saturating_sub(usize::try_from(changes).unwrap_or(usize::MAX));
        let mut objects = Objects::new();
        for (key, object) in &self.0[..upto] {
            match object {
                Some(object) => drop(objects.insert(key.clone(), Arc::clone(object))),
                None => drop(objects.remove(key)),
            }
        }
        objects
    }
}

impl Server {
    /// From now on every version of the objects of a bucket is kept, beginning with what is there. Nothing happens when there is no such
    /// bucket.
    pub fn keep_history(&self, bucket: &str) {
        if let Ok(bucket) = self.store.bucket(bucket) {
            bucket.keep_history();
        }
    }

    /// The changes since [`Server::keep_history`] but for the first `skip`, oldest first; none where no history is kept.
    #[must_use]
    pub fn history(&self, bucket: &str, skip: usize) -> Vec<Version> {
        let Ok(bucket) = self.store.bucket(bucket) else { return Vec::new() };
        let changes = bucket.history(|history| history.0.iter().skip(skip).cloned().collect::<Vec<_>>());
        let version = |(key, object): (String, Option<Arc<Object>>)| {
            let stored = |object: &Arc<Object>| object.content.read(0, object.facts.bytes).read_to_end().unwrap_or_default();
            let content = object.as_ref().map(stored).map(|bytes| (bytes.len() as u64, digest_one(&bytes).hex()));
            Version { key, content }
        };
        changes.into_iter().flatten().map(version).collect()
    }
}
