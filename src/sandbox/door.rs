//! The front door: accepts connections, writes down what is asked, carries out faults, and hands everything else to s3s, which checks
//! signatures and speaks the protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
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
use super::operation::{Asked, asked};
use super::requests::RequestLog;
use super::wire::{Damage, Received, Sent};

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
        let service = service_fn(|request| self.answer(request));
        let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // hyper's pipeline_flush would gather whole answers in memory, and its timer would close connections that rest.
        // An error is a client that went away, or a fault that closes the connection.
        let _ = http.await;
    }

    /// Answers one request. An error closes the connection without an answer.
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Sent>, StdError> {
        let copies = request.headers().contains_key("x-amz-copy-source");
        let uri = request.uri();
        let Asked { operation, key } = asked(request.method(), uri.path(), uri.query().unwrap_or(""), copies);
        let held = self.faults.held();
        let action = self.faults.next(operation, &key);
        self.log.note(operation, key);
        self.events.tell(operation, Moment::Asked);
        let request = request.map(|inner| s3s::Body::http_body(Received { inner, log: Arc::clone(&self.log) }));
        match action {
            Some(Action::Status(status, code)) => {
                return self.refuse(request, StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code).await;
            }
            Some(Action::Ok200Error(code)) => return self.refuse(request, StatusCode::OK, code).await,
            Some(Action::DropConnection) => return Err("dropped by a fault".into()),
            Some(Action::Delay(length)) => tokio::time::sleep(length).await,
            Some(Action::Hold) => held.await,
            _ => {}
        }
        let response = self.service.call(request).await.map_err(StdError::from)?;
        self.events.tell(operation, Moment::Done);
        let bytes = response.body().size_hint().exact().or_else(|| content_length(&response)).unwrap_or(0);
        let damage = match action {
            Some(Action::DropAnswer) => return Err("answer dropped by a fault".into()),
            Some(Action::Truncate(at)) => Some(Damage::Truncate(at)),
            Some(Action::FlipByte(at)) => Some(Damage::Flip(at)),
            Some(Action::Stall(length)) if bytes == 0 || response.body().is_end_stream() => {
                tokio::time::sleep(length).await;
                None
            }
            Some(Action::Stall(length)) => Some(Damage::Pause { at: bytes / 2, length }),
            _ => None,
        };
        Ok(response.map(|body| Sent::new(body, Arc::clone(&self.log), damage)))
    }

    /// Reads the request's body to its end, as a client expects that is still sending it, and answers with an error document.
    async fn refuse(&self, request: Request<s3s::Body>, status: StatusCode, code: &str) -> Result<Response<Sent>, StdError> {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>a fault that was asked for</Message></Error>"
        );
        let mut response = Response::new(Sent::new(s3s::Body::from(Bytes::from(document)), Arc::clone(&self.log), None));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Ok(response)
    }
}

fn content_length(response: &Response<s3s::Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
