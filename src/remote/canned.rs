//! For tests: a server on loopback that answers each request with the next prepared text, and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bucket::Bucket;
use super::connect::{Network, connect};
use crate::config::{Credentials, Secret, Store};
use crate::path::Prefix;

/// The requests that arrived.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<Request>>>);

/// Head and body.
type Request = (String, Vec<u8>);

impl Asked {
    /// Method and path of each request, without the SDK's own query.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |head: &str| head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
        self.0.lock().unwrap().iter().map(|(head, _)| line(head)).collect()
    }

    /// A header of the request with this number.
    pub(super) fn header(&self, number: usize, name: &str) -> Option<String> {
        let asked = self.0.lock().unwrap();
        header_of(&asked[number].0, name)
    }

    /// The body of the request with this number.
    pub(super) fn body(&self, number: usize) -> Vec<u8> {
        self.0.lock().unwrap()[number].1.clone()
    }
}

/// What stands in an answer for the nonce of the first request that carried one.
pub(super) const NONCE_HERE: &str = "$NONCE";
/// As an answer: none, the connection is closed.
pub(super) const HANG_UP: &str = "";

/// A bucket `b` with the prefix `p/` on a server that gives these answers in turn, and then only hangs up.
pub(super) async fn bucket_answering(answers: &[&str]) -> (Bucket, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let (log, answers) = (asked.clone(), Arc::new(Mutex::new(answers)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answers), log.clone()));
        }
    });
    (bucket_at(&url).await, asked)
}

/// An answer of XML or text with its length.
pub(super) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An error as S3 writes it.
pub(super) fn error(status: &str, code: &str) -> String {
    answer(status, &format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>said so</Message></Error>"))
}

async fn serve(mut stream: TcpStream, answers: Arc<Mutex<VecDeque<String>>>, log: Asked) {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
        let length = header_of(&head, "content-length").map_or(0, |len| len.parse().unwrap());
        while buffer.len() < head_end + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = buffer[head_end..head_end + length].to_vec();
        buffer.drain(..head_end + length);
        let nonce = {
            let mut asked = log.0.lock().unwrap();
            asked.push((head, body));
            asked.iter().find_map(|(head, _)| header_of(head, "x-amz-meta-lsync-id")).unwrap_or_default()
        };
        let Some(answer) = answers.lock().unwrap().pop_front().filter(|answer| !answer.is_empty()) else { return };
        stream.write_all(answer.replace(NONCE_HERE, &nonce).as_bytes()).await.unwrap();
        if header_of(&answer, "connection").is_some_and(|value| value == "close") {
            return;
        }
    }
}

fn header_of(head: &str, name: &str) -> Option<String> {
    let found = head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
    found.map(|(_, value)| value.trim().to_owned())
}

/// A bucket `b` with the prefix `p/` at an address.
pub(super) async fn bucket_at(url: &str) -> Bucket {
    let store = Store {
        bucket: "b".into(),
        prefix: Prefix::new("p").unwrap(),
        region: "us-east-2".into(),
        endpoint_url: Some(url.into()),
        credentials: Credentials::Keys {
            access_key_id: "KEYID".into(),
            secret_access_key: Secret::new("geheim".into()),
            session_token: None,
        },
        allow_http: false,
        gateway: crate::config::Gateway::default(),
    };
    connect(&store, &Network::default()).await.unwrap()
}
