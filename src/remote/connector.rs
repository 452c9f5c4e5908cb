//! The HTTP client that the SDK uses: HTTP/1.1 over pooled connections, one request per connection at a time. Follows no redirects,
//! decompresses nothing, limits no concurrency (the engine does).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::Dial;
use super::flow::{Progress, Receiving, Sending};
use super::rate::Rate;

/// How long to wait for an answer's headers after the request is sent, unless the operation says otherwise.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long an unused connection is kept. Shorter than the 20 to 60 seconds after which stores close theirs, because a request on a
/// connection that is just being closed fails.
const IDLE: Duration = Duration::from_secs(15);

/// An answer whose end cannot be told from a broken connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer does not say how long it is")]
pub(super) struct Unframed;

#[derive(Clone)]
struct Pool {
    client: Client<Dial, Sending>,
    rate: Arc<Rate>,
}

struct Connector {
    pool: Pool,
    answer: Duration,
}

/// A client for the SDK on top of `dial`, all of whose bodies keep to `rate`.
pub(super) fn http_client(dial: Dial, rate: Arc<Rate>) -> SharedHttpClient {
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(dial);
    SharedHttpClient::new(Pool { client, rate })
}

impl HttpClient for Pool {
    fn http_connector(&self, settings: &HttpConnectorSettings, _components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { pool: self.clone(), answer: settings.read_timeout().unwrap_or(ANSWER) })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(send(self.pool.clone(), self.answer, request))
    }
}

async fn send(pool: Pool, answer: Duration, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let mut request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
    // Without it a proxy may compress, and then lengths and digests are not the object's.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let is_head = request.method() == Method::HEAD;
    let progress = Progress::new(request.body().content_length().unwrap_or(0));
    let request = request.map(|body| Sending::new(body, progress.clone(), &pool.rate));
    let mut sent = std::pin::pin!(pool.client.request(request));
    let mut response = loop {
        let (deadline, _) = progress.deadline(answer);
        match tokio::time::timeout_at(deadline, sent.as_mut()).await {
            Ok(answered) => break answered.map_err(|e| ConnectorError::io(e.into()))?,
            Err(_) => {
                let (later, stalled) = progress.deadline(answer);
                if later <= deadline {
                    return Err(ConnectorError::timeout(stalled.into()));
                }
            }
        }
    };
    if !is_head && !is_framed(&response) {
        return Err(ConnectorError::other(Unframed.into(), None));
    }
    make_utf8(response.headers_mut());
    let response = response.map(|body| SdkBody::from_body_1_x(Receiving::new(body, &pool.rate)));
    HttpResponse::try_from(response).map_err(|e| ConnectorError::other(e.into(), None))
}

/// A body that ends when the connection does may be cut off without anybody noticing.
fn is_framed(response: &http::Response<Incoming>) -> bool {
    let headers = response.headers();
    response.body().is_end_stream() || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

/// The SDK refuses a whole answer for one header that is not UTF-8, which foreign metadata may be; so what is not is replaced.
fn make_utf8(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if std::str::from_utf8(value.as_bytes()).is_err() {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            *value = HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::super::canned::bucket_at;
    use super::super::error::Kind;
    use super::super::flow::metered;
    use super::super::object::{About, Enforce, Guard, Put};
    use super::*;
    use crate::digest::digest_one;

    /// Answers a HEAD, begins to answer a GET, and takes no more than the head of a PUT.
    async fn falls_silent(mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let begins = match &head[..4] {
            b"HEAD" => "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"GET " => "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 10\r\n\r\nabc",
            _ => "",
        };
        stream.write_all(begins.as_bytes()).await.unwrap();
        if !head.starts_with(b"HEAD") {
            std::future::pending::<()>().await;
        }
    }

    /// "Stalls detected within 30 s in both directions". The clock is stopped once bytes flow, and then jumps to the next deadline.
    #[tokio::test]
    async fn a_store_that_falls_silent_is_left_after_30_seconds_whichever_way_bytes_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = bucket_at(&format!("http://{}", listener.local_addr().unwrap())).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(falls_silent(stream));
            }
        });
        assert!(bucket.head("k").await.unwrap().is_none(), "the store has answered before");
        let mut silent = None;
        let mut sink = |_| {
            tokio::time::pause();
            silent = Some(Instant::now());
            true
        };
        let error = bucket.get("k", None, None, &mut sink).await.unwrap_err();
        assert!(error.kind == Kind::Unreachable && error.message.contains("no bytes arrived for 30 seconds"), "{error}");
        let waited = silent.expect("a piece came").elapsed();
        assert!((30..=31).contains(&waited.as_secs()), "{waited:?}");
        tokio::time::resume();
        let body = Bytes::from(vec![0; 64 << 20]);
        let put = Put { key: "k".into(), md5: digest_one(&body), body, guard: Guard::Any, enforce: Enforce::Head, about: About::default() };
        let silent: std::sync::Arc<Mutex<Option<Instant>>> = std::sync::Arc::default();
        let begun = silent.clone();
        let tell = move |_| {
            begun.lock().unwrap().get_or_insert_with(|| {
                tokio::time::pause();
                Instant::now()
            });
        };
        let failed = metered(tell, bucket.put_once(&put)).await.unwrap_err();
        assert!(failed.kind == Kind::Unreachable && failed.message == "no bytes could be sent for 30 seconds", "{failed:?}");
        let waited = silent.lock().unwrap().expect("a piece went").elapsed();
        assert!((30..=31).contains(&waited.as_secs()), "{waited:?}");
    }

    #[test]
    fn foreign_metadata_in_latin_1_does_not_hide_an_object() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-author", HeaderValue::from_bytes(b"Andr\xe9").unwrap());
        headers.insert("x-amz-meta-mtime", HeaderValue::from_static("1.5"));
        make_utf8(&mut headers);
        assert_eq!(headers["x-amz-meta-author"].as_bytes(), "Andr\u{fffd}".as_bytes());
        assert_eq!(headers["x-amz-meta-mtime"], "1.5");
    }
}
