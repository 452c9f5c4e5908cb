//! Where a sandbox lies: a directory that only its user can read, the server in it, and mounts that are configured for it.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lsync::sandbox::{Options, Server};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::shown;
use crate::cli::setup::write;

/// The bucket that there is.
pub(crate) const BUCKET: &str = "sandbox";
/// The first line of every configuration that a sandbox writes: it may be replaced by the next one.
const MARK: &str = "# Written by `lsync sandbox`";

/// A temporary directory; removed when dropped.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it, and says so when that fails.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        std::fs::remove_dir_all(&self.0).map_err(|e| failed("remove", &self.0, &e))
    }

    /// Leaves it where it is.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already, or the command has failed with something that matters more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A new directory for temporary files, readable by its user alone.
pub(crate) fn temporary(env: &Environment, name: &str) -> Result<Temporary, Failure> {
    let above = env.temporary_dir();
    let above = above.canonicalize().map_err(|e| failed("use", &above, &e))?;
    let random = getrandom::u32().map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random numbers: {e}")))?;
    let path = above.join(format!("{name}-{random:08x}"));
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| failed("create", &path, &e))?;
    Ok(Temporary(path))
}

/// A running server with one bucket, and what opens it.
pub(crate) struct Store {
    pub server: Server,
    access_key_id: String,
    secret_access_key: String,
}

impl Store {
    /// Starts a server that stores in `dir`, with keys of its own. Port 0: a free one.
    pub(crate) async fn start(dir: &Path, port: u16) -> Result<Store, Failure> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random numbers: {e}")))?;
        let (access_key_id, secret_access_key) = ("SANDBOX".to_owned(), data_encoding::HEXLOWER.encode(&random));
        let options = Options {
            dir: dir.to_owned(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.clone(),
            buckets: vec![BUCKET.to_owned()],
            durable: false,
        };
        let server = Server::start(options).await.map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => {
                Failure::new(Exit::Failed, format!("port {port} is in use")).hint("leave --port out for a free one")
            }
            _ => Failure::new(Exit::Failed, format!("cannot start the sandbox's server: {e}")),
        })?;
        Ok(Store { server, access_key_id, secret_access_key })
    }

    /// Makes a mount: a directory with a `sync.toml` for this bucket. One that an earlier sandbox wrote is replaced, no other is.
    pub(crate) fn mount(&self, dir: &Path) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(dir).map_err(|e| failed("create", dir, &e))?;
        let path = dir.join("sync.toml");
        match std::fs::read_to_string(&path) {
            Ok(old) if old.starts_with(MARK) => std::fs::remove_file(&path).map_err(|e| failed("replace", &path, &e))?,
            Ok(_) => {
                return Err(Failure::usage(format!("{} was not written by a sandbox and is not replaced", shown(&path)))
                    .hint("choose another directory with --dir"));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("read", &path, &e)),
        }
        write::create(&path, &self.config())?;
        Ok(path)
    }

    fn config(&self) -> String {
        let Store { server, access_key_id, secret_access_key } = self;
        format!(
            "{MARK}; its keys open nothing else.\n\n[remote]\nbucket = \"{BUCKET}\"\nregion = \"us-east-2\"\nendpoint_url = \"{}\"\n\
             access_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret_access_key}\"\n\n[local]\nroot = \".\"\n",
            server.endpoint()
        )
    }
}

/// A failed operation on a path.
pub(crate) fn failed(doing: &str, path: &Path, e: &io::Error) -> Failure {
    let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    Failure::new(if full { Exit::NoSpace } else { Exit::Failed }, format!("cannot {doing} {}: {e}", shown(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_temporary_directory_is_for_its_user_alone_and_goes() {
        let above = tempfile::tempdir().unwrap();
        let env = Environment::of(Path::new("/"), &[("TMPDIR", above.path().to_str().unwrap())]);
        let dir = temporary(&env, "x").unwrap();
        let path = dir.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(dir);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_configuration_of_somebody_else_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::start(&dir.path().join("store"), 0).await.unwrap();
        let mount = dir.path().join("mount");
        let path = store.mount(&mount).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        store.mount(&mount).unwrap();
        std::fs::write(&path, "[remote]\n").unwrap();
        assert_eq!(store.mount(&mount).unwrap_err().exit, Exit::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[remote]\n");
    }
}
