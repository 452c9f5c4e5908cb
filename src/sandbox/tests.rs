//! The server as clients see it: through the AWS SDK, over HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use super::*;
use crate::digest::digest_one;

const BUCKET: &str = "data";

#[derive(Clone, Debug)]
struct Plain(legacy::Client<legacy::connect::HttpConnector, SdkBody>);

impl HttpConnector for Plain {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            response.map(SdkBody::from_body_1_x).try_into().map_err(|error| ConnectorError::other(Box::new(error), None))
        })
    }
}

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        address: ([127, 0, 0, 1], 0).into(),
        access_key_id: "key".into(),
        secret_access_key: "not telling".into(),
        buckets: vec![BUCKET.into()],
        durable: false,
    }
}

async fn start(dir: &Path) -> io::Result<Server> {
    Server::start(options(dir)).await
}

fn client_as(server: &Server, key: &str, secret: &str) -> Client {
    let connector = SharedHttpConnector::new(Plain(legacy::Client::builder(TokioExecutor::new()).build_http()));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new(key, secret, None, None, "test"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    Client::from_conf(config)
}

struct Bench {
    dir: tempfile::TempDir,
    server: Server,
    client: Client,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path()).await.unwrap();
        let client = client_as(&server, "key", "not telling");
        Bench { dir, server, client }
    }

    async fn put(&self, key: &str, content: &[u8]) -> String {
        outcome(self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(content.to_vec())).send().await)
    }

    /// Content, or how it failed.
    async fn get(&self, key: &str) -> String {
        match self.client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(answer) => match answer.body.collect().await {
                Ok(bytes) => String::from_utf8_lossy(&bytes.into_bytes()).into_owned(),
                Err(_) => "body broke off".to_owned(),
            },
            error => outcome(error),
        }
    }

    async fn upload(&self, key: &str, parts: &[&[u8]]) -> String {
        let id = self.client.create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap().upload_id.unwrap();
        let mut done = CompletedMultipartUpload::builder();
        for (number, part) in (1..).zip(parts) {
            let body = ByteStream::from(part.to_vec());
            let sent =
                self.client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(number).body(body).send().await.unwrap();
            done = done.parts(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
        }
        let done = done.build();
        match self.client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id).multipart_upload(done).send().await {
            Ok(answer) => answer.e_tag.unwrap(),
            error => outcome(error),
        }
    }

    /// ETag of a key in a listing.
    async fn listed(&self, key: &str) -> String {
        let page = self.client.list_objects_v2().bucket(BUCKET).prefix(key).send().await.unwrap();
        page.contents()[0].e_tag().unwrap().to_owned()
    }

    async fn head(&self, key: &str) -> String {
        self.client.head_object().bucket(BUCKET).key(key).send().await.unwrap().e_tag.unwrap()
    }

    fn fault(&self, operation: &'static str, action: Action) {
        self.server.faults().push(Rule::once(operation, action));
    }
}

/// `ok`, the error's code, or that there was no answer.
fn outcome<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.as_service_error().map_or("no answer", |error| error.code().unwrap_or("no code")).to_owned(),
    }
}

#[tokio::test]
async fn a_restarted_server_serves_the_same_and_no_key_leaves_its_directory() {
    let bench = Bench::new().await;
    let keys = ["a", "a/b", "../../../up", "./x", "//", "dir/", "k+ %é\u{1}\n"];
    for key in keys {
        assert_eq!(bench.put(key, key.as_bytes()).await, "ok", "{key:?}");
    }
    bench.put("large", &vec![7; 300_000]).await;
    let other = start(bench.dir.path()).await.unwrap_err();
    assert_eq!(other.kind(), io::ErrorKind::ResourceBusy);
    bench.server.stop().await;
    assert!(outcome(bench.client.list_buckets().send().await) == "no answer");

    let server = start(bench.dir.path()).await.unwrap();
    let bench = Bench { client: client_as(&server, "key", "not telling"), server, dir: bench.dir };
    for key in keys {
        assert_eq!(bench.get(key).await, key);
        assert_eq!(bench.server.get_object(BUCKET, key).unwrap().1, digest_one(key.as_bytes()).hex());
    }
    assert_eq!(bench.get("large").await.len(), 300_000);
    let mut sorted: Vec<&str> = keys.into_iter().chain(["large"]).collect();
    sorted.sort_unstable();
    assert_eq!(bench.server.keys(BUCKET), sorted);
    let parent: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(parent.len(), 2, "{parent:?}");
}

#[tokio::test]
async fn listings_page_encode_and_roll_up() {
    let bench = Bench::new().await;
    for key in ["a b/1", "a b/2", "a+b", "c", "ü"] {
        bench.put(key, b"").await;
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let request = bench.client.list_objects_v2().bucket(BUCKET).max_keys(2).delimiter("/").encoding_type(EncodingType::Url);
        let page = request.set_continuation_token(token).send().await.unwrap();
        assert_eq!(page.key_count().unwrap(), i32::try_from(page.contents().len() + page.common_prefixes().len()).unwrap());
        seen.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a+b/", "a%2Bb", "c", "%C3%BC"]);
}

#[tokio::test]
async fn who_may_not_ask_is_told_why() {
    let bench = Bench::new().await;
    let code = async |key, secret| outcome(client_as(&bench.server, key, secret).list_objects_v2().bucket(BUCKET).send().await);
    assert_eq!(code("key", "not telling").await, "ok");
    assert_eq!(code("key", "guess").await, "SignatureDoesNotMatch");
    assert_eq!(code("other", "not telling").await, "InvalidAccessKeyId");
    assert_eq!(outcome(bench.client.list_objects_v2().bucket("none").send().await), "NoSuchBucket");
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_not_stored() {
    let bench = Bench::new().await;
    let put = |md5: &str| bench.client.put_object().bucket(BUCKET).key("k").content_md5(md5).body(ByteStream::from_static(b"x")).send();
    assert_eq!(outcome(put(&digest_one(b"y").base64()).await), "BadDigest");
    assert_eq!(bench.get("k").await, "NoSuchKey");
    assert_eq!(outcome(put(&digest_one(b"x").base64()).await), "ok");
    assert_eq!(bench.get("k").await, "x");
    bench.server.faults().set_profile(Profile { no_md5_check: true, ..Profile::default() });
    assert_eq!(outcome(put(&digest_one(b"y").base64()).await), "ok");
}

#[tokio::test]
async fn faults_before_the_request_is_carried_out() {
    let bench = Bench::new().await;
    bench.fault("PutObject", Action::Status(503, "SlowDown"));
    assert_eq!(bench.put("k", &vec![1; 3 << 20]).await, "SlowDown");
    bench.fault("PutObject", Action::DropConnection);
    assert_eq!(bench.put("k", b"x").await, "no answer");
    assert_eq!(bench.server.keys(BUCKET), [""; 0]);
    bench.fault("CompleteMultipartUpload", Action::Ok200Error("InternalError"));
    assert_eq!(bench.upload("m", &[b"x"]).await, "InternalError");
    assert_eq!(bench.server.open_uploads(BUCKET).len(), 1, "not completed");
    assert_eq!(bench.put("k", b"x").await, "ok");
    assert_eq!((bench.server.faults().pending(), bench.server.log().count("PutObject")), (0, 3));
}

#[tokio::test]
async fn faults_after_the_request_was_carried_out() {
    let bench = Bench::new().await;
    bench.fault("PutObject", Action::DropAnswer);
    assert_eq!(bench.put("k", b"0123456789").await, "no answer");
    assert_eq!(bench.get("k").await, "0123456789");
    bench.fault("GetObject", Action::FlipByte(2));
    assert_eq!(bench.get("k").await, "0133456789");
    bench.fault("GetObject", Action::Truncate(4));
    assert_eq!(bench.get("k").await, "body broke off");
    for action in [Action::Stall(Duration::from_millis(50)), Action::Delay(Duration::from_millis(50))] {
        for operation in ["GetObject", "PutObject"] {
            bench.fault(operation, action.clone());
            let begin = Instant::now();
            assert_eq!(bench.put("k", b"0123456789").await, "ok");
            assert_eq!(bench.get("k").await, "0123456789");
            assert!(begin.elapsed() >= Duration::from_millis(50));
        }
    }
}

#[tokio::test]
async fn conditional_writes_hold_or_are_ignored() {
    let bench = Bench::new().await;
    let absent = || bench.client.put_object().bucket(BUCKET).key("k").if_none_match("*").send();
    let present = |etag: &str| bench.client.put_object().bucket(BUCKET).key("k").if_match(etag).send();
    let delete = |etag: &str| bench.client.delete_object().bucket(BUCKET).key("k").if_match(etag).send();
    assert_eq!(outcome(present("\"x\"").await), "NoSuchKey");
    assert_eq!(outcome(absent().await), "ok");
    assert_eq!(outcome(absent().await), "PreconditionFailed");
    assert_eq!(outcome(present("\"x\"").await), "PreconditionFailed");
    assert_eq!(outcome(delete("\"x\"").await), "PreconditionFailed");
    assert_eq!(outcome(present(&bench.head("k").await).await), "ok");
    bench.server.faults().set_profile(Profile { no_conditional_writes: true, ..Profile::default() });
    for answer in [outcome(absent().await), outcome(present("\"x\"").await), outcome(delete("\"x\"").await)] {
        assert_eq!(answer, "ok");
    }
    assert_eq!(bench.server.keys(BUCKET), [""; 0]);
}

#[tokio::test]
async fn etags_of_multipart_uploads_are_aws_s_or_the_profiles() {
    let bench = Bench::new().await;
    let large = vec![1; 5 << 20];
    let composite = crate::digest::Parts { part_bytes: 5 << 20, md5s: vec![digest_one(&large), digest_one(b"x")] }.etag();
    let composite = format!("\"{composite}\"");
    assert_eq!(bench.upload("m", &[&large, b"x"]).await, composite);
    assert_eq!((bench.head("m").await, bench.listed("m").await), (composite.clone(), composite.clone()));
    assert_eq!(bench.upload("m", &[b"x", b"x"]).await, "EntityTooSmall");

    bench.server.faults().set_profile(Profile { answer_composite_list_other: true, ..Profile::default() });
    assert_eq!(bench.upload("m", &[&large, b"x"]).await, composite);
    assert_eq!(bench.head("m").await, composite);
    assert_ne!(bench.listed("m").await, composite);

    bench.server.faults().set_profile(Profile { opaque_multipart_etag: true, ..Profile::default() });
    let opaque = bench.upload("m", &[&large, b"x"]).await;
    assert_ne!(opaque, composite);
    assert_eq!((bench.head("m").await, bench.listed("m").await), (opaque.clone(), opaque));
}

#[tokio::test]
async fn tests_can_look_behind_the_clients_backs() {
    let bench = Bench::new().await;
    bench.client.put_object().bucket(BUCKET).key("k").metadata("mtime", "1.5").send().await.unwrap();
    bench.server.put_over_nfs(BUCKET, "k", b"over nfs").unwrap();
    let (content, etag, metadata) = bench.server.get_object(BUCKET, "k").unwrap();
    assert_eq!((content.as_slice(), metadata["mtime"].as_str()), (&b"over nfs"[..], "1.5"));
    assert!(crate::digest::ETag::parse(&etag).written_over_nfs());
    bench.server.put_foreign(BUCKET, "k", &[2; 100_000]).unwrap();
    assert_eq!(bench.get("k").await.len(), 100_000);
    assert!(bench.server.get_object(BUCKET, "k").unwrap().2.is_empty());
    assert!(bench.server.remove(BUCKET, "k").unwrap() && !bench.server.remove(BUCKET, "k").unwrap());
    let asked = bench.server.log().take();
    assert_eq!(asked.requests, [("PutObject", "k".to_owned()), ("GetObject", "k".to_owned())]);
    assert_eq!((asked.received_bytes, asked.sent_bytes), (0, 100_000));
    assert_eq!(bench.server.log().take(), Recorded::default());
}

#[tokio::test]
async fn the_secret_is_not_shown_and_the_network_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        dir: dir.path().to_owned(),
        address: ([0, 0, 0, 0], 0).into(),
        access_key_id: "key".into(),
        secret_access_key: "not telling".into(),
        buckets: Vec::new(),
        durable: true,
    };
    assert!(!format!("{options:?}").contains("telling"));
    assert_eq!(Server::start(options).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
