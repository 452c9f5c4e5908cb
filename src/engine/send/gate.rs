//! A gate before the moment in which a file replaces what the bucket has: files that belong together wait there for each other.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Once;

/// The side of the file that is sent.
#[derive(Debug)]
pub(in crate::engine) struct Gate(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

/// The side of who decides. Dropped without a word, it leaves the gate closed.
#[derive(Debug)]
pub(in crate::engine) struct Opener {
    read: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Gate {
    /// A closed gate.
    pub(in crate::engine) fn new() -> (Gate, Opener) {
        let ((tell_read, read), (open, is_open)) = (oneshot::channel(), oneshot::channel());
        (Gate(Mutex::new(Some((tell_read, is_open)))), Opener { read, open })
    }

    /// All of the file is read; waits until it may replace what the bucket has. Who has passed once passes again.
    pub(super) async fn pass(&self) -> Result<(), Once> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((tell_read, is_open)) = waiting else { return Ok(()) };
        // Nobody listens any more: then nobody opens either.
        let _ = tell_read.send(());
        is_open.await.map_err(|_| Once::Held)
    }
}

impl Opener {
    /// Waits until all of the file is read; false when that failed.
    pub(in crate::engine) async fn is_read(&mut self) -> bool {
        (&mut self.read).await.is_ok()
    }

    /// Lets the file through.
    pub(in crate::engine) fn open(self) {
        // A file that has gone needs no gate.
        let _ = self.open.send(());
    }
}
