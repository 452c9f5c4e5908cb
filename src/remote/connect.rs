//! Makes a [`Bucket`] from the configuration: HTTP/1.1 connector, credentials, time-outs, retries. Sends no request of its own (the
//! standard credential chain may ask its sources). Runs `aws-config` only for [`crate::config::Credentials::Standard`].

use super::bucket::Bucket;
use super::error::Error;
use crate::config::Store;

/// Proxy and certificate settings, which the front end reads from the environment.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// `HTTPS_PROXY` / `https_proxy`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY` / `http_proxy`.
    pub http_proxy: Option<String>,
    /// `NO_PROXY` / `no_proxy`.
    pub no_proxy: Option<String>,
    /// `AWS_CA_BUNDLE`: a PEM file with the only certificates to trust.
    pub ca_bundle: Option<std::path::PathBuf>,
}

/// Opens the bucket.
pub async fn connect(store: &Store, network: &Network) -> Result<Bucket, Error> {
    let _ = (store, network);
    todo!()
}
