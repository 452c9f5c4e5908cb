//! The front door: accepts connections, writes down what is asked, carries out faults, and hands everything else to s3s, which checks
//! signatures and speaks the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::StdError;
use s3s::service::S3Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::events::{Events, Moment};
use super::fault::{Action, Faults};
use super::line::Line;
use super::operation::{Asked, asked};
use super::requests::RequestLog;
use super::wire::{Damage, Harm, Received, Sent};

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) service: S3Service,
    pub(super) log: Arc<RequestLog>,
    pub(super) faults: Arc<Faults>,
    pub(super) events: Arc<Events>,
}

/// Serves until told to stop (or until the sender is gone), then closes every connection.
pub(super) async fn serve(door: Door, listener: TcpListener, mut stop: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(door.clone().connection(stream)); }
                // Out of descriptors, most likely: others have to close first.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

impl Door {
    async fn connection(self, stream: TcpStream) {
        // Without this, answers wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let reset = Arc::new(AtomicBool::new(false));
        let service = service_fn(|request| self.answer(request, &reset));
        let http = http1::Builder::new().serve_connection(TokioIo::new(Line { stream, reset: Arc::clone(&reset) }), service);
        // hyper's pipeline_flush would gather whole answers in memory, and its timer would close connections that rest.
        // An error is a client that went away, or a fault that closes the connection.
        let _ = http.await;
    }

    /// Answers one request. An error closes the connection without an answer, by a reset if `reset` was set.
    async fn answer(&self, request: Request<Incoming>, reset: &AtomicBool) -> Result<Response<Sent>, StdError> {
        let copies = request.headers().contains_key("x-amz-copy-source");
        let uri = request.uri();
        let Asked { operation, key, prefix } = asked(request.method(), uri.path(), uri.query().unwrap_or(""), copies);
        let held = self.faults.held();
        let (action, hit) = self.faults.next(operation, if key.is_empty() { &prefix } else { &key }).unzip();
        let action =
            if self.lacks_what_is_demanded(operation, request.headers()) { Some(Action::Status(403, "AccessDenied")) } else { action };
        let token = request.headers().get("x-amz-security-token").and_then(|token| token.to_str().ok());
        let action = if self.faults.token().has_expired(token) { Some(Action::Status(400, "ExpiredToken")) } else { action };
        self.log.note(operation, key);
        self.events.tell(operation, Moment::Asked);
        let has_body = *request.method() != Method::HEAD;
        let harm = action.as_ref().and_then(|action| harm(action, content_length(request.headers()).unwrap_or(0)));
        let mut request = request.map(|inner| s3s::Body::http_body(Received::new(inner, Arc::clone(&self.log), harm)));
        match &action {
            Some(Action::Status(status, code)) => return self.refuse(request, *status, code, None).await,
            Some(Action::StatusAfter(status, code, seconds)) => return self.refuse(request, *status, code, Some(*seconds)).await,
            Some(Action::Ok200Error(code)) => return self.refuse(request, 200, code, None).await,
            Some(Action::DropConnection) => return Err("dropped by a fault".into()),
            Some(Action::Delay(length)) => tokio::time::sleep(*length).await,
            Some(Action::Hold) => held.await,
            Some(Action::List(oddity)) => drop(request.extensions_mut().insert(*oddity)),
            Some(Action::CutRequest(_) | Action::Reset(_)) => reset.store(true, Ordering::Relaxed),
            _ => {}
        }
        if matches!(action, Some(Action::CutRequest(_))) && harm.is_none() {
            return Err("reset by a fault".into());
        }
        let mut response = self.service.call(request).await.map_err(StdError::from)?;
        self.events.tell(operation, Moment::Done);
        if matches!(action, Some(Action::DropAnswer | Action::CutRequest(_))) {
            return Err("answer dropped by a fault".into());
        }
        let bytes = response.body().size_hint().exact().or_else(|| content_length(response.headers())).unwrap_or(0);
        let bytes = if has_body { bytes } else { 0 };
        if let Some(Action::Stall(length)) = action
            && (bytes == 0 || response.body().is_end_stream())
        {
            tokio::time::sleep(length).await;
        }
        let damage = action.as_ref().and_then(|action| damage(action, bytes));
        if let (Some(action), Some(hit), None, None) = (&action, hit.flatten(), damage, harm)
            && action.is_about_bytes()
        {
            self.faults.missed(hit);
            reset.store(false, Ordering::Relaxed);
        }
        match damage {
            Some(Damage::End(length)) if matches!(action, Some(Action::Shorten(_))) => {
                response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            }
            Some(Damage::End(_)) => {
                response.headers_mut().remove(header::CONTENT_LENGTH);
                *response.version_mut() = Version::HTTP_10;
            }
            Some(Damage::More(more)) => drop(response.headers_mut().insert(header::CONTENT_LENGTH, (bytes + more).into())),
            _ => {}
        }
        Ok(response.map(|body| Sent::new(body, Arc::clone(&self.log), damage)))
    }

    fn lacks_what_is_demanded(&self, operation: &str, headers: &http::HeaderMap) -> bool {
        let profile = self.faults.profile();
        let is_new = matches!(operation, "PutObject" | "CopyObject" | "CreateMultipartUpload");
        let demanded = [profile.demanded_of_all, profile.demanded_of_new.filter(|_| is_new)];
        demanded.into_iter().flatten().any(|name| !headers.contains_key(name))
    }

    /// Reads the request's body to its end, as a client expects that is still sending it, and answers with an error document.
    async fn refuse(
        &self,
        request: Request<s3s::Body>,
        status: u16,
        code: &str,
        retry_after: Option<u64>,
    ) -> Result<Response<Sent>, StdError> {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>a fault that was asked for</Message></Error>"
        );
        let mut response = Response::new(Sent::new(s3s::Body::from(Bytes::from(document)), Arc::clone(&self.log), None));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Ok(response)
    }
}

/// What an action does to a request's body of so many bytes.
fn harm(action: &Action, bytes: u64) -> Option<Harm> {
    match action {
        Action::CutRequest(at) => Some(Harm::Cut(at.checked_rem(bytes)?)),
        Action::FlipRequest(at) => Some(Harm::Flip(at.checked_rem(bytes)?)),
        _ => None,
    }
}

/// What an action does to an answer's body of so many bytes.
fn damage(action: &Action, bytes: u64) -> Option<Damage> {
    let within = |at: &u64| at.checked_rem(bytes);
    match action {
        Action::Truncate(at) | Action::Reset(at) => Some(Damage::Truncate(within(at)?)),
        Action::Shorten(at) | Action::Unframed(at) => Some(Damage::End(within(at)?)),
        Action::Extend(more) if bytes > 0 => Some(Damage::More(*more)),
        Action::FlipByte(at) => Some(Damage::Flip(within(at)?)),
        Action::Swap if bytes > 0 => Some(Damage::Swap),
        Action::Stall(length) if bytes > 0 => Some(Damage::Pause { at: bytes / 2, length: *length }),
        _ => None,
    }
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
