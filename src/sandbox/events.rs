//! What happens at the front door, told while it happens, so that a test can act at that very moment. Changes nothing itself.

use std::fmt;
use std::sync::Mutex;

use super::lock;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its head was read; nothing has been done about it.
    Asked,
    /// It was carried out; nothing has been answered.
    Done,
}

type Listener = Box<dyn FnMut(&'static str, Moment) + Send>;

/// The one who listens, if anybody does.
#[derive(Default)]
pub struct Events(Mutex<Option<Listener>>);

impl Events {
    /// From now on each event (the operation by its name in the S3 documentation) is told to `listener` alone. The server waits until it
    /// returns.
    pub fn listen(&self, listener: impl FnMut(&'static str, Moment) + Send + 'static) {
        *lock(&self.0) = Some(Box::new(listener));
    }

    /// Nobody listens any more.
    pub fn silence(&self) {
        *lock(&self.0) = None;
    }

    pub(super) fn tell(&self, operation: &'static str, moment: Moment) {
        if let Some(listener) = lock(&self.0).as_mut() {
            listener(operation, moment);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
