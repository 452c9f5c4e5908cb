//! The S3 server that everything is measured against: the sandbox's, in this process, so that clients are other processes and its CPU time
//! can be told from theirs. It slows nobody down unless it is asked to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lsync::sandbox::{Action, Options, Recorded, Rule, Server};
use tokio::runtime::{Builder, Runtime};

use crate::Failure;

pub(crate) const BUCKET: &str = "bench";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const KEY_ID: &str = "LSYNCBENCH";
pub(crate) const SECRET: &str = "lsync-bench-secret";

/// Ticks of `/proc/self/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;

/// A server with one empty bucket in a directory of its own, which goes with it.
pub(crate) struct Store {
    server: Option<Server>,
    /// Serves until dropped.
    _runtime: Runtime,
    dir: PathBuf,
}

/// What a client asked for.
pub(crate) struct Asked {
    /// The server's CPU time, and the rest of this process's, which waits meanwhile.
    pub(crate) cpu_s: f64,
    /// Requests by operation.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Bytes of request bodies.
    pub(crate) sent_bytes: u64,
    /// How many requests carried content of files, and not what lsync keeps beside them.
    pub(crate) with_content: usize,
}

impl Store {
    /// Starts it.
    pub(crate) fn start(dir: &Path) -> Result<Store, Failure> {
        let options = Options {
            dir: dir.to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: SECRET.to_owned(),
            buckets: vec![BUCKET.to_owned()],
            durable: false,
        };
        // As many threads as processors, and whichever is free goes on with a connection that has something to read: were each connection a
        // certain thread's, it would depend on chance whether a client's two are served side by side.
        let runtime = Builder::new_multi_thread().worker_threads(std::thread::available_parallelism()?.get()).enable_all().build()?;
        let server = runtime.block_on(Server::start(options))?;
        Ok(Store { server: Some(server), _runtime: runtime, dir: dir.to_owned() })
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("there until dropped")
    }

    /// From now on every request is carried out, and answered, this much later.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.server().faults().clear();
        self.server().faults().push(Rule { operation: None, times: u32::MAX, ..Rule::once("", Action::Delay(latency)) });
    }

    /// What is asked while `run` runs.
    pub(crate) fn during<T>(&self, run: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Asked), Failure> {
        self.server().log().take();
        let before = cpu_s()?;
        let ran = run()?;
        let cpu_s = cpu_s()? - before;
        let Recorded { counts, requests, received_bytes: sent_bytes, .. } = self.server().log().take();
        let carries = |operation: &str, key: &str| matches!(operation, "PutObject" | "UploadPart") && !key.starts_with(".lsync/");
        let with_content = requests.iter().filter(|(operation, key)| carries(operation, key)).count();
        Ok((ran, Asked { cpu_s, counts, sent_bytes, with_content }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.server = None;
        // What stays is swept by the next run.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Asked {
    pub(crate) fn requests(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// The CPU time of this process so far.
fn cpu_s() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("/proc/self/stat is odd");
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}
