//! Opens connections to the store: TCP, through a proxy where the settings say so, and TLS on top. Sends no request.
//!
//! Proxies are spoken to over plain HTTP and always asked to `CONNECT`, for `http://` endpoints too. `https://` and SOCKS proxies are
//! refused. Loopback and link-local hosts (the metadata services of clouds) are never proxied.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower_service::Service;

use super::connect::Network;
use crate::path::Shown;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// For the TCP connection, to any of the host's addresses.
const CONNECT: Duration = Duration::from_secs(5);
/// For name, TCP, proxy and TLS together.
const CONNECT_ALL: Duration = Duration::from_secs(10);

/// No connection within the time allowed.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} seconds", CONNECT_ALL.as_secs())]
pub(super) struct TooSlow;

/// Opens connections; cheap to clone.
#[derive(Clone)]
pub(super) struct Dial(HttpsConnector<Route>);

#[derive(Clone)]
struct Route {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
}

/// Whether the server of an `https://` endpoint would speak HTTP/2, told by one TLS handshake; `None` when it is not known.
pub(super) async fn offers_http2(network: &Network, endpoint: &str) -> Option<bool> {
    let uri: Uri = endpoint.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("https"))?;
    let (route, mut config) = parts(network, true).ok()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    match Dial(HttpsConnector::from((route, config))).call(uri).await.ok()? {
        MaybeHttpsStream::Https(stream) => Some(stream.inner().get_ref().1.alpn_protocol() == Some(b"h2")),
        MaybeHttpsStream::Http(_) => None,
    }
}

/// Routes and TLS settings; no protocol is offered.
fn parts(network: &Network, tls: bool) -> Result<(Route, rustls::ClientConfig), String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    let route = Route { tcp, proxies: Arc::new(proxies(network)?) };
    let roots = if tls { roots(network)? } else { rustls::RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up ({e})"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((route, config))
}

impl Dial {
    /// `tls` says whether `https` will be spoken at all: only then are certificates read. Errors are fragments for the user.
    pub(super) fn new(network: &Network, tls: bool) -> Result<Dial, String> {
        let (route, config) = parts(network, tls)?;
        // Only HTTP/1.1 is offered: over HTTP/2 all transfers would share one TCP connection and its window.
        Ok(Dial(hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(route)))
    }
}

fn roots(network: &Network) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &network.ca_bundle {
        let shown = path.to_string_lossy();
        let certs = CertificateDer::pem_file_iter(path).map_err(|e| format!("AWS_CA_BUNDLE {}: {e}", Shown(&shown)))?;
        for cert in certs {
            let cert = cert.map_err(|e| format!("AWS_CA_BUNDLE {}: {e}", Shown(&shown)))?;
            roots.add(cert).map_err(|e| format!("AWS_CA_BUNDLE {}: {e}", Shown(&shown)))?;
        }
        if roots.is_empty() {
            return Err(format!("AWS_CA_BUNDLE {}: it holds no certificate", Shown(&shown)));
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        return Err("this system has no certificates to check https with (install `ca-certificates`, or set AWS_CA_BUNDLE)".into());
    }
    Ok(roots)
}

fn proxies(network: &Network) -> Result<Matcher, String> {
    let mut matcher = Matcher::builder();
    // The URLs may hold a password, so the messages do not show them.
    if let Some(url) = network.https_proxy.as_deref().filter(|url| !url.is_empty()) {
        matcher = matcher.https(usable_proxy("HTTPS_PROXY", url)?);
    }
    if let Some(url) = network.http_proxy.as_deref().filter(|url| !url.is_empty()) {
        matcher = matcher.http(usable_proxy("HTTP_PROXY", url)?);
    }
    if let Some(list) = &network.no_proxy {
        matcher = matcher.no(list.as_str());
    }
    Ok(matcher.build())
}

fn usable_proxy<'a>(name: &str, url: &'a str) -> Result<&'a str, String> {
    match url.parse::<Uri>() {
        Ok(uri) if uri.authority().is_none() => Err(format!("{name} is no URL like http://host:port")),
        Ok(uri) if uri.scheme_str().is_none_or(|scheme| scheme == "http") => Ok(url),
        Ok(uri) => Err(format!("{name}: proxies of the kind {}:// are not supported, only http://", uri.scheme_str().unwrap_or_default())),
        Err(_) => Err(format!("{name} is no URL like http://host:port")),
    }
}

/// Whether a host of a URL is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    match bare(host).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_link_local(host: &str) -> bool {
    match bare(host).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.segments()[..3] == [0xfd00, 0xec2, 0],
        Err(_) => false,
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

fn proxy_for(proxies: &Matcher, destination: &Uri) -> Option<Intercept> {
    let host = destination.host()?;
    if is_loopback(host) || is_link_local(host) { None } else { proxies.intercept(destination) }
}

/// The destination with its port written out: a tunnel would take 443 for everything.
fn with_port(destination: &Uri) -> Result<Uri, http::Error> {
    let host = destination.host().unwrap_or_default();
    let default = if destination.scheme_str() == Some("http") { 80 } else { 443 };
    let port = destination.port_u16().unwrap_or(default);
    Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/").build()
}

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Opening<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(proxy) = proxy_for(&self.proxies, &destination) else {
            return Box::pin(async move { tcp.call(destination).await.map_err(Into::into) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move { tunnel.call(with_port(&destination)?).await.map_err(Into::into) })
    }
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Opening<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let opening = self.0.call(destination);
        Box::pin(async move { tokio::time::timeout(CONNECT_ALL, opening).await.unwrap_or_else(|_| Err(TooSlow.into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(https: &str, http: &str, no: &str) -> Network {
        Network { https_proxy: Some(https.into()), http_proxy: Some(http.into()), no_proxy: Some(no.into()), ca_bundle: None }
    }

    #[track_caller]
    fn goes_to(url: &str, no_proxy: &str, expected: Option<&str>) {
        let matcher = proxies(&network("http://u:p@secure:1", "plain:2", no_proxy)).unwrap();
        let proxy = proxy_for(&matcher, &url.parse().unwrap());
        assert_eq!(proxy.map(|p| p.uri().authority().unwrap().to_string()).as_deref(), expected, "{url} except {no_proxy:?}");
    }

    #[test]
    fn the_proxy_depends_on_the_scheme_and_no_proxy() {
        goes_to("https://files.us-east-2.lambda.ai/", "", Some("secure:1"));
        goes_to("http://minio.example/", "", Some("plain:2"));
        goes_to("https://files.us-east-2.lambda.ai/", "lambda.ai", None);
        goes_to("https://files.us-east-2.lambda.ai/", ".lambda.ai", None);
        goes_to("https://files.us-east-2.lambda.ai/", "*", None);
        goes_to("https://notlambda.ai/", "lambda.ai", Some("secure:1"));
        goes_to("https://10.1.2.3/", "10.0.0.0/8", None);
    }

    #[test]
    fn this_machine_and_metadata_services_are_never_proxied() {
        for url in ["http://localhost:9000/", "https://127.0.0.1/", "http://127.8.8.8/", "http://[::1]:80/", "http://169.254.169.254/"] {
            goes_to(url, "", None);
        }
    }

    #[test]
    fn proxies_that_cannot_be_spoken_to_are_named_without_their_password() {
        for (url, why) in [
            ("https://u:geheim@p:1", "HTTPS_PROXY: proxies of the kind https:// are not supported, only http://"),
            ("socks5://u:geheim@p:1", "HTTPS_PROXY: proxies of the kind socks5:// are not supported, only http://"),
            ("http://u:geheim@ x", "HTTPS_PROXY is no URL like http://host:port"),
        ] {
            assert_eq!(Dial::new(&network(url, "", ""), false).err().as_deref(), Some(why));
        }
        assert!(!format!("{:?}", network("http://u:geheim@p:1", "", "")).contains("geheim"));
    }

    #[test]
    fn a_tunnel_is_asked_for_the_right_port() {
        for (url, authority) in [("https://h/x", "h:443"), ("http://h/x", "h:80"), ("https://[fe80::1]:9/", "[fe80::1]:9")] {
            assert_eq!(with_port(&url.parse().unwrap()).unwrap().authority().unwrap().as_str(), authority);
        }
    }

    #[test]
    fn a_certificate_bundle_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("none.pem");
        std::fs::write(&empty, "").unwrap();
        for (path, why) in [(empty, "it holds no certificate"), (dir.path().join("missing.pem"), "missing.pem")] {
            let network = Network { ca_bundle: Some(path), ..Network::default() };
            let error = Dial::new(&network, true).err().unwrap();
            assert!(error.starts_with("AWS_CA_BUNDLE ") && error.contains(why), "{error}");
        }
    }
}
