//! A small S3-compatible server on loopback, storing in a directory, for `lsync sandbox` and for the tests. Not for a network, and
//! without versions, tags, ACLs or encryption.
//!
//! The protocol and signatures are the s3s crate's. Storage is ours: per bucket an index log and content files under random names
//! (see `journal` and `shelf`), so that every key S3 allows can be stored and none of them is a path. A server that is started
//! again on the same directory serves the same.

mod api;
mod bucket;
mod condition;
mod content;
mod copies;
mod door;
mod events;
mod fault;
mod history;
mod journal;
mod line;
mod listing;
mod lists;
mod objects;
mod operation;
mod peek;
mod receive;
mod replay;
mod requests;
mod shelf;
mod store;
mod storm;
#[cfg(test)]
mod tests;
mod token;
mod uploads;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use events::{Events, Moment};
pub use fault::{Action, Copies, Faults, Oddity, Profile, Rule};
pub use history::Version;
pub use peek::Stored;
pub use requests::{Recorded, RequestLog};
pub use storm::{Hazard, Hit, Storm};
pub use token::Token;

/// How to start a [`Server`].
#[derive(Clone)]
pub struct Options {
    /// Where everything is stored; created if need be. One server at a time may use it.
    pub dir: PathBuf,
    /// Where to listen: a loopback address, with port 0 for any free port.
    pub address: SocketAddr,
    /// The only access key that is known.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Buckets that are created unless they are there.
    pub buckets: Vec<String>,
    /// Every answer to a write waits until the change is on disk.
    pub durable: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("address", &self.address)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"***")
            .field("buckets", &self.buckets)
            .field("durable", &self.durable)
            .finish()
    }
}

/// A running server. Dropping it stops it too, but only [`Server::stop`] waits until its directory is free again.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    store: Arc<store::Store>,
    log: Arc<RequestLog>,
    faults: Arc<Faults>,
    events: Arc<Events>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// Opens the directory, listens and serves on the current tokio runtime, which needs its I/O and time drivers. An error when the
    /// address is not loopback or not free, when another server uses the directory, or when what is stored there cannot be read.
    pub async fn start(options: Options) -> io::Result<Server> {
        if !options.address.ip().is_loopback() {
            let message = format!("{} is not a loopback address; the sandbox is not made for a network", options.address);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let store = Arc::new(store::Store::open(options.dir, options.durable, &options.buckets)?);
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let (log, faults, events) = (Arc::<RequestLog>::default(), Arc::<Faults>::default(), Arc::<Events>::default());
        let mut builder = S3ServiceBuilder::new(api::Api { store: Arc::clone(&store), faults: Arc::clone(&faults) });
        builder.set_auth(api::OneUser { access_key_id: options.access_key_id, secret_access_key: options.secret_access_key.into() });
        let door = door::Door { service: builder.build(), log: Arc::clone(&log), faults: Arc::clone(&faults), events: Arc::clone(&events) };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(door::serve(door, listener, stopped));
        Ok(Server { address, store, log, faults, events, running: Some((stop, task)) })
    }

    /// `http://127.0.0.1:PORT`, for path-style requests.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection, whatever it is doing, and frees the directory.
    pub async fn stop(mut self) {
        if let Some((stop, task)) = self.running.take() {
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    /// What was asked so far.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What happens, as it happens.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}

/// A panic elsewhere does not make the data wrong: every change is complete before the lock is let go, or is not there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
