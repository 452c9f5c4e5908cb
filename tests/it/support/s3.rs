//! A bucket for a test: our own server on loopback, or one of somebody else's that the environment names. Speaks no S3 itself.

use std::cell::Cell;
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use lsync::config::{self, Credentials, Secret};
use lsync::path::Prefix;
use lsync::sandbox::{Options, Server};
use tempfile::TempDir;

use super::canary;
use super::cmd::Cmd;

/// Where a bucket is and what opens it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
}

const REGION: &str = "us-east-2";

/// Our own server with one empty bucket, gone when dropped. Everything that [`Server`] can do it can do too.
pub(crate) struct S3 {
    pub(crate) store: Store,
    // In this order: the server is gone before its runtime is, and both before the directory.
    server: Option<Server>,
    thread: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
    keys_travel: Cell<bool>,
    _dir: TempDir,
}

impl S3 {
    /// Starts a server of its own on a free port.
    pub(crate) fn start() -> S3 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (mut store, options) = Store::for_server(dir.path());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (send, started) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                send.send(Server::start(options).await.expect("a free port")).expect("the test waits for it");
                // An error means that the test is gone; that is a reason to stop as well.
                let _ = stopped.await;
            });
        });
        let server = started.recv().expect("the server starts");
        store.endpoint = server.endpoint();
        S3 { store, server: Some(server), thread: Some((stop, thread)), keys_travel: Cell::new(false), _dir: dir }
    }

    /// Files that hold keys may be in the bucket, because the test sends them there.
    pub(crate) fn let_keys_travel(&self) {
        self.keys_travel.set(true);
    }

    /// The first object that shows a secret in its key, its content or its metadata.
    fn object_with_a_secret(&self) -> Option<String> {
        self.all_keys().into_iter().find(|key| {
            let (content, _, metadata) = self.get_object(&self.store.bucket, key).unwrap_or_default();
            canary::is_in(key.as_bytes()) || canary::is_in(&content) || canary::is_in(format!("{metadata:?}").as_bytes())
        })
    }

    /// Puts an object as another tool would.
    pub(crate) fn put(&self, key: &str, content: impl AsRef<[u8]>) -> &S3 {
        self.put_foreign(&self.store.bucket, key, content.as_ref()).unwrap_or_else(|e| panic!("cannot put {key}: {e}"));
        self
    }

    /// An object's content.
    #[track_caller]
    pub(crate) fn content(&self, key: &str) -> Vec<u8> {
        self.get_object(&self.store.bucket, key).unwrap_or_else(|| panic!("{key} is not in the bucket: {:?}", self.keys())).0
    }

    /// The keys of what users see: all but those below `.lsync/`.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = self.all_keys();
        keys.retain(|key| !key.split('/').any(|segment| segment == ".lsync"));
        keys
    }

    /// All keys.
    pub(crate) fn all_keys(&self) -> Vec<String> {
        Server::keys(self, &self.store.bucket)
    }
}

impl Deref for S3 {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_ref().expect("there until dropped")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let shown = if self.keys_travel.get() || std::thread::panicking() { None } else { self.object_with_a_secret() };
        self.server = None;
        if let Some((stop, thread)) = self.thread.take() {
            let _ = stop.send(());
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the server panicked");
        }
        assert!(shown.is_none(), "a secret is in the object {shown:?}");
    }
}

/// A bucket on the server that `LSYNC_TEST_S3_ENDPOINT` names, under a prefix of its own; on our own server where it names none.
pub(crate) struct Foreign {
    pub(crate) store: Store,
    /// `rclone`, `moto` or `sandbox`.
    pub(crate) kind: String,
    _sandbox: Option<S3>,
}

impl Foreign {
    pub(crate) fn open() -> Foreign {
        let var = |name: &str| std::env::var(format!("LSYNC_TEST_S3{name}")).ok();
        let prefix = format!("{:016x}/", getrandom::u64().expect("the system has randomness"));
        let Some(endpoint) = var("_ENDPOINT") else {
            let sandbox = S3::start();
            return Foreign { store: Store { prefix, ..sandbox.store.clone() }, kind: "sandbox".into(), _sandbox: Some(sandbox) };
        };
        let given = |name: &str| var(name).unwrap_or_else(|| panic!("LSYNC_TEST_S3_ENDPOINT needs LSYNC_TEST_S3{name} beside it"));
        let store = Store {
            endpoint,
            bucket: given("_BUCKET"),
            prefix,
            access_key_id: given("_ACCESS_KEY_ID"),
            secret_access_key: given("_SECRET_ACCESS_KEY"),
            session_token: None,
        };
        Foreign { store, kind: given(""), _sandbox: None }
    }
}

impl Store {
    /// A bucket on a server in this directory that is still to be started, and how to start it. The endpoint is known then.
    pub(crate) fn for_server(dir: &Path) -> (Store, Options) {
        let store = Store {
            endpoint: String::new(),
            bucket: "lsync-test".into(),
            prefix: String::new(),
            access_key_id: "LSYNCTESTKEYID".into(),
            secret_access_key: canary::S3_SECRET.into(),
            session_token: Some(canary::SESSION_TOKEN.into()),
        };
        let options = Options {
            dir: dir.to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            access_key_id: store.access_key_id.clone(),
            secret_access_key: store.secret_access_key.clone(),
            buckets: vec![store.bucket.clone()],
            durable: false,
        };
        (store, options)
    }

    /// As the library takes it.
    pub(crate) fn config(&self) -> config::Store {
        config::Store {
            bucket: self.bucket.clone(),
            prefix: Prefix::new(&self.prefix).expect("a prefix of a test is valid"),
            region: REGION.into(),
            endpoint_url: Some(self.endpoint.clone()),
            credentials: Credentials::Keys {
                access_key_id: self.access_key_id.clone(),
                secret_access_key: Secret::new(self.secret_access_key.clone()),
                session_token: self.session_token.clone().map(Secret::new),
            },
            allow_http: false,
            gateway: config::Gateway::default(),
        }
    }
}

impl Cmd {
    /// Configures the run for this bucket through its environment.
    pub(crate) fn on(self, store: &Store) -> Cmd {
        let cmd = match &store.session_token {
            Some(token) => self.secret_env("LSYNC_SESSION_TOKEN", token),
            None => self,
        };
        cmd.env("LSYNC_ENDPOINT_URL", &store.endpoint)
            .env("LSYNC_REGION", REGION)
            .env("LSYNC_BUCKET", &store.bucket)
            .env("LSYNC_PREFIX", &store.prefix)
            .env("LSYNC_ACCESS_KEY_ID", &store.access_key_id)
            .secret_env("LSYNC_SECRET_ACCESS_KEY", &store.secret_access_key)
    }
}

#[test]
fn a_bucket_is_there_for_one_test_alone() {
    let (one, other) = (S3::start(), S3::start());
    one.put("data/a", "hello").put(".lsync/manifests/1", "x");
    assert_eq!((one.keys(), one.all_keys().len(), one.content("data/a")), (vec!["data/a".to_owned()], 2, b"hello".to_vec()));
    assert!(other.all_keys().is_empty() && one.log().counts().is_empty());
    let cmd = Cmd::program("lsync", std::path::Path::new("/")).on(&other.store);
    assert_eq!((&*cmd.env["LSYNC_ENDPOINT_URL"], cmd.secrets.len()), (other.store.endpoint.as_ref(), 2));
    let address = one.store.endpoint.strip_prefix("http://").expect("an address").to_owned();
    std::net::TcpStream::connect(&address).expect("it listens");
    drop(one);
    std::net::TcpStream::connect(&address).expect_err("it is gone");
}
