//! Makes a [`Bucket`] from the configuration: HTTP/1.1 connector, credentials, time-outs. Sends no request of its own (the
//! standard credential chain may ask its sources, when the first request needs them). Runs `aws-config` only for
//! [`crate::config::Credentials::Standard`].

use std::fmt;
use std::sync::Arc;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use http::Uri;

use super::bucket::{Bucket, Learnt, Watch};
use super::connector::{self, http_client};
use super::demanded::Demanded;
use super::dial::{Dial, is_loopback};
use super::error::{Error, Kind};
use super::process::Process;
use super::refreshing::{Provider, Refreshing, Source};
use crate::config::{Addressing, Credentials, Store};
use crate::path::Shown;

/// Proxy and certificate settings, which the front end reads from the environment.
#[derive(Clone, Default)]
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

/// A proxy's URL may hold a password.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |url: &Option<String>| url.as_ref().map(|_| "***");
        f.debug_struct("Network")
            .field("https_proxy", &secret(&self.https_proxy))
            .field("http_proxy", &secret(&self.http_proxy))
            .field("no_proxy", &self.no_proxy)
            .field("ca_bundle", &self.ca_bundle)
            .finish()
    }
}

/// Whether the server of an `https://` endpoint would speak HTTP/2, which lsync does not; `None` when it is not known.
pub async fn offers_http2(network: &Network, endpoint: &str) -> Option<bool> {
    super::dial::offers_http2(network, endpoint).await
}

/// Opens the bucket. Fails with [`Kind::Config`] only: nothing is sent yet.
pub async fn connect(store: &Store, network: &Network) -> Result<Bucket, Error> {
    let doing = || format!("cannot use the bucket {}", Shown(&store.bucket));
    let wrong = |message: String, hint: Option<&str>| Error { kind: Kind::Config, doing: doing(), message, hint: hint.map(str::to_owned) };
    check_name(&store.bucket).map_err(|message| wrong(message, Some("check `bucket`")))?;
    let endpoint = match &store.endpoint_url {
        Some(url) => Some(check_endpoint(url, store.allow_http).map_err(|(message, hint)| wrong(message, Some(hint)))?),
        None => None,
    };
    let over_tls = endpoint.as_ref().is_none_or(|url| url.starts_with("https:"));
    let tls = over_tls || matches!(store.credentials, Credentials::Standard { .. });
    let dial = Dial::new(network, tls).map_err(|message| wrong(message, None))?;
    let learnt = Learnt::new();
    let http = http_client(dial, Arc::clone(&learnt.rate));
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http.clone())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .region(Region::new(store.region.clone()))
        .force_path_style(store.gateway.addressing == Addressing::Path)
        .disable_s3_express_session_auth(true)
        .app_name(AppName::new("lsync").expect("letters are valid in an application's name"))
        // Many stores refuse the SDK's own checksums; Content-MD5 goes with everything that is written instead.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // `tries` and `flow` do these, with the operation and its guard in view.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(TimeoutConfig::builder().read_timeout(connector::ANSWER).build())
        .interceptor(Watch(Arc::clone(&learnt)));
    config = match &store.credentials {
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            let token = session_token.as_ref().map(|token| token.expose().to_owned());
            config.credentials_provider(Keys::new(access_key_id.as_str(), secret_access_key.expose(), token, None, "lsync"))
        }
        Credentials::Standard { profile } => {
            let refreshing = Refreshing::new(source(profile.clone(), store.region.clone(), http));
            let _ = learnt.credentials.set(Arc::clone(&refreshing));
            config.credentials_provider(Provider(refreshing)).identity_cache(IdentityCache::no_cache())
        }
    };
    if let Some(demanded) = Demanded::by(&store.gateway) {
        config = config.interceptor(demanded);
    }
    config.set_endpoint_url(endpoint.clone());
    let shown = endpoint.unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", store.region));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    Ok(Bucket::new(client, store.bucket.clone(), store.prefix.clone(), Shown(&shown).to_string(), learnt))
}

/// The standard chain. The region is given, so that the loader does not ask the metadata service for it.
fn source(profile: Option<String>, region: String, http: SharedHttpClient) -> Source {
    Box::new(move || {
        let (profile, region, http) = (profile.clone(), region.clone(), http.clone());
        Box::pin(async move {
            if let Some(process) = Process::of_profile(profile.as_deref()).await {
                return Some(SharedCredentialsProvider::new(process));
            }
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .http_client(http)
                .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
                .region(Region::new(region));
            if let Some(profile) = profile {
                loader = loader.profile_name(profile);
            }
            loader.load().await.credentials_provider()
        })
    })
}

/// The SDK gives names of other forms a meaning of their own (ARNs, S3 Express), and a `/` would reach another bucket.
fn check_name(name: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() {
        Err("the bucket's name is empty".into())
    } else if name.len() > 255 || !name.bytes().all(fine) || name.bytes().all(|b| b == b'.') {
        Err("this is no bucket name (letters, digits, `-`, `.` and `_`)".into())
    } else if name.ends_with("--x-s3") {
        Err("S3 directory buckets are not supported".into())
    } else {
        Ok(())
    }
}

/// The URL as the SDK wants it, or why not and what to do.
fn check_endpoint(url: &str, allow_http: bool) -> Result<String, (String, &'static str)> {
    const EXAMPLE: &str = "write it like `endpoint_url = \"https://files.us-east-2.lambda.ai\"`";
    let uri: Uri = url.trim().parse().map_err(|e| (format!("the endpoint is no URL ({e})"), EXAMPLE))?;
    let Some(authority) = uri.authority() else {
        return Err(("the endpoint is no URL with a host".into(), EXAMPLE));
    };
    if authority.as_str().contains('@') {
        return Err(("the endpoint holds a user name or a password".into(), "give credentials as `access_key_id` and `secret_access_key`"));
    }
    if authority.host().is_empty() || uri.query().is_some() {
        return Err(("the endpoint is no URL of a store".into(), EXAMPLE));
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if allow_http || is_loopback(authority.host()) => {}
        Some("http") => {
            return Err((
                "the endpoint is http://, which everybody on the way can read".into(),
                "use https://, or set `allow_http = true` if the network is trusted",
            ));
        }
        _ => return Err(("the endpoint is neither https:// nor http://".into(), EXAMPLE)),
    }
    let path = uri.path().trim_end_matches('/');
    Ok(format!("{}://{authority}{path}", uri.scheme_str().unwrap_or("https")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::path::Prefix;

    #[track_caller]
    fn endpoint(url: &str, allow_http: bool, expected: Result<&str, &str>) {
        match (check_endpoint(url, allow_http), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url, expected),
            (Err((why, _)), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (found, expected) => panic!("{url}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn http_is_for_this_machine_unless_it_is_allowed() {
        endpoint("https://files.us-east-2.lambda.ai/", false, Ok("https://files.us-east-2.lambda.ai"));
        endpoint("http://127.0.0.1:9000", false, Ok("http://127.0.0.1:9000"));
        endpoint("http://localhost:9000/", false, Ok("http://localhost:9000"));
        endpoint("http://[::1]:9000", false, Ok("http://[::1]:9000"));
        endpoint("http://10.0.0.5:9000", false, Err("everybody"));
        endpoint("http://localhost.evil.example", false, Err("everybody"));
        endpoint("http://10.0.0.5:9000/s3/", true, Ok("http://10.0.0.5:9000/s3"));
        endpoint("ftp://x", false, Err("neither"));
        endpoint("files.us-east-2.lambda.ai", false, Err("neither"));
        endpoint("https://u:p@host", false, Err("password"));
        endpoint("https://host/?x=1", false, Err("no URL"));
        endpoint("https:// host", false, Err("no URL"));
        endpoint("", false, Err("no URL"));
    }

    #[test]
    fn bucket_names_that_mean_something_else_are_refused() {
        for bad in ["", "a/b", "..", "arn:aws:s3:::x", "b--use1-az4--x-s3", "a b", "a?b"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["my.bucket", "0f3c9a52-6c1d-4e52-8a8e-0d0b1c2d3e4f", "Old_Style"] {
            assert_eq!(check_name(good), Ok(()));
        }
    }

    /// Seen by a proxy, which is told the host.
    #[tokio::test]
    async fn the_buckets_name_stands_where_it_is_asked_for_and_demanded_headers_go_out() {
        for (addressing, host, path) in
            [(Addressing::Path, "s3.example.test:80", "/bench/k"), (Addressing::Virtual, "bench.s3.example.test:80", "/k")]
        {
            let absent = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            let (proxy, asked) = super::super::canned::bucket_answering(&["HTTP/1.1 200 OK\r\n\r\n", absent]).await;
            let store = Store {
                bucket: "bench".into(),
                prefix: Prefix::default(),
                region: "r".into(),
                endpoint_url: Some("http://s3.example.test".into()),
                credentials: Credentials::Keys {
                    access_key_id: "id".into(),
                    secret_access_key: Secret::new("s".into()),
                    session_token: None,
                },
                allow_http: true,
                gateway: crate::config::Gateway { addressing, requester_pays: true, ..Default::default() },
            };
            let network = Network { http_proxy: Some(proxy.endpoint().to_owned()), ..Network::default() };
            assert!(connect(&store, &network).await.unwrap().head("k").await.unwrap().is_none());
            assert_eq!(asked.lines(), [format!("CONNECT {host}"), format!("HEAD {path}")]);
            assert_eq!(asked.header(1, "x-amz-request-payer").as_deref(), Some("requester"));
            assert!(asked.header(1, "authorization").is_some_and(|signed| signed.contains("x-amz-request-payer")), "it is signed");
        }
    }

    #[tokio::test]
    async fn secrets_do_not_show() {
        let store = Store {
            bucket: "b".into(),
            prefix: Prefix::new("p").unwrap(),
            region: "r".into(),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            credentials: Credentials::Keys {
                access_key_id: "id".into(),
                secret_access_key: Secret::new("geheim".into()),
                session_token: Some(Secret::new("geheim".into())),
            },
            allow_http: false,
            gateway: crate::config::Gateway::default(),
        };
        let bucket = connect(&store, &Network::default()).await.unwrap();
        assert_eq!(format!("{bucket:?} {}", bucket.name()), "Bucket(s3://b/p at http://127.0.0.1:1) b");
    }
}
