//! A thread that does something small every so often until it is dropped. Dropping it waits for the thread and takes no period's time.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The running thread.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts it; the first call comes after one period.
    pub(super) fn start(name: &str, period: Duration, mut tick: impl FnMut() + Send + 'static) -> io::Result<Ticker> {
        let (stop, stopped) = mpsc::channel::<()>();
        let run = move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Ticker { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A tick that panicked has told so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ticks_until_dropped_and_dropping_is_immediate() {
        let (tick, ticks) = mpsc::channel();
        let ticker = Ticker::start("t", Duration::from_millis(1), move || tick.send(()).unwrap_or(())).unwrap();
        assert!(ticks.recv().is_ok() && ticks.recv().is_ok());
        drop(ticker);
        // The thread is gone, and the sender with it: what it had sent comes to an end.
        ticks.into_iter().for_each(drop);
        let begun = std::time::Instant::now();
        drop(Ticker::start("t", Duration::from_secs(3600), || ()).unwrap());
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
