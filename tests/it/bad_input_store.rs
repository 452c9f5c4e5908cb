//! What a store that refuses, is not there or is somewhere else gets: the exit code that says which, a hint, and nothing lost.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;

/// Runs all three commands; each ends with this code, says these things, and leaves both sides as they are.
#[track_caller]
fn refused(s3: &S3, adjust: impl Fn(Cmd) -> Cmd, code: i32, says: &[&str]) {
    let mount = Mount::with(&[("a", "1")]);
    s3.put("b", "2");
    let before = mount.tree();
    for command in ["status", "upload --yes", "download --yes"] {
        let ran = adjust(Cmd::lsync(&mount).on(&s3.store)).args(command).run().expect(code);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("\nhint: "), "{}\n{}", ran.stdout, ran.stderr);
        assert!(says.iter().all(|part| ran.stderr.contains(part)), "{says:?} is not in\n{}", ran.stderr);
        let ran = adjust(Cmd::lsync(&mount).on(&s3.store)).args(command).args("--json").run().expect(code);
        let last = ran.json().pop().expect("a line");
        assert_eq!((&last["type"], &last["exit"]), (&"error".into(), &code.into()), "{last}");
        assert!(last["hint"].is_string(), "{last}");
    }
    assert_eq!((mount.tree(), s3.all_keys()), (before, vec!["b".to_owned()]));
    assert!(!mount.has(".lsync"), "a run that could not begin leaves nothing behind");
}

#[test]
fn a_wrong_secret() {
    let secret = |cmd: Cmd| cmd.secret_env("LSYNC_SECRET_ACCESS_KEY", "another-secret-than-the-right-one");
    refused(&S3::start(), secret, 4, &["SignatureDoesNotMatch", "check `secret_access_key`"]);
}

#[test]
fn a_key_id_that_the_store_does_not_know() {
    let id = |cmd: Cmd| cmd.env("LSYNC_ACCESS_KEY_ID", "NOTMYKEY");
    refused(&S3::start(), id, 4, &["InvalidAccessKeyId", "check `access_key_id`"]);
}

#[test]
fn a_bucket_that_is_not_there() {
    let bucket = |cmd: Cmd| cmd.env("LSYNC_BUCKET", "no-such-bucket");
    refused(&S3::start(), bucket, 2, &["s3://no-such-bucket", "NoSuchBucket", "check `bucket`"]);
}

#[test]
fn a_read_that_is_not_allowed() {
    let s3 = S3::start();
    s3.faults().push(Rule { times: u32::MAX, ..Rule::once("ListObjectsV2", Action::Status(403, "AccessDenied")) });
    refused(&s3, |cmd| cmd, 4, &["AccessDenied", "check the key's permissions"]);
}

#[test]
fn a_write_that_is_not_allowed_ends_the_upload_and_loses_nothing() {
    let s3 = S3::start();
    s3.put("b", "2").faults().push(Rule { times: u32::MAX, ..Rule::once("PutObject", Action::Status(403, "AccessDenied")) });
    let mount = Mount::with(&[("a", "1")]);
    let ran = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(4);
    assert!(ran.stderr.contains("AccessDenied") && !ran.stdout.contains("\ncomplete"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!((s3.all_keys(), mount.text("a").as_str()), (vec!["b".to_owned()], "1"));
    // Reading is enough for the other two: "read-only keys suffice".
    Cmd::lsync(&mount).on(&s3.store).args("status").run().expect(0);
    Cmd::lsync(&mount).on(&s3.store).args("download --yes").run().expect(0);
    assert_eq!(mount.text("b"), "2");
}

/// "no redirects followed": the keys would be shown to whoever stands at the other address.
#[test]
fn a_redirect_is_not_followed() {
    let (here, there) = (TcpListener::bind("127.0.0.1:0").unwrap(), S3::start());
    let endpoint = format!("http://{}", here.local_addr().unwrap());
    let target = there.store.endpoint.clone();
    std::thread::spawn(move || {
        for stream in here.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 8192]);
            let _ = stream.read(&mut request);
            let head = "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-west-9\r\nContent-Length: 0\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nLocation: {target}/lsync-test?list-type=2\r\n\r\n");
        }
    });
    refused(&there, |cmd| cmd.env("LSYNC_ENDPOINT_URL", &endpoint), 2, &["301", "the bucket is in region eu-west-9", "set `region`"]);
    assert!(there.log().counts().is_empty(), "{:?}", there.log().counts());
}

/// "unreachable endpoint (exit 7, the first answer of a run within 15 s in all)": nobody listens; somebody listens and never answers.
#[test]
fn an_endpoint_that_cannot_be_reached_is_said_within_15_seconds() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let black_hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = |address: std::net::SocketAddr, command: &str| {
        Cmd::lsync(&mount).on(&s3.store).env("LSYNC_ENDPOINT_URL", format!("http://{address}")).args(command)
    };
    let started = Instant::now();
    let deaf = black_hole.local_addr().unwrap();
    let all = [(free, "upload --yes"), (deaf, "status"), (deaf, "upload --yes --json"), (free, "download --yes -q")];
    let running: Vec<_> = all.iter().map(|(address, command)| to(*address, command).start()).collect();
    let ended: Vec<Ran> = running.into_iter().map(|run| run.wait().expect(7)).collect();
    assert!(started.elapsed() < Duration::from_secs(18), "{:?}", started.elapsed());
    for (ran, (address, command)) in ended.iter().zip(all) {
        assert!(ran.stderr.contains(&address.to_string()), "{command} does not say which address:\n{}", ran.stderr);
        let why = if address == free { "Connection refused" } else { "no answer within 15 seconds" };
        assert!(ran.stderr.contains(why) && ran.stderr.contains("\nhint: "), "{command}:\n{}", ran.stderr);
    }
    assert_eq!(ended[2].json().pop().expect("a line")["type"], "error");
    drop(black_hole);
    assert!(!mount.has(".lsync"));
}

/// Whatever it has started ends with it: nobody waits for it any more.
#[test]
fn a_source_of_credentials_that_hangs_leaves_no_process() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let (profile, hangs, begun) = (mount.home().join("aws-config"), mount.home().join("hangs"), mount.home().join("begun"));
    // Neither the script, nor what it waits for, nor what that has started.
    std::fs::write(&hangs, format!("echo $$ >> {0}\n(sleep 600 & echo $! >> {0}; wait)\n", begun.display())).expect("written");
    std::fs::write(&profile, format!("[profile slow]\nregion = us-east-2\ncredential_process = sh {}\n", hangs.display()))
        .expect("written");
    let cmd = Cmd::lsync(&mount).args("status").env("LSYNC_PROFILE", "slow").env("LSYNC_BUCKET", &s3.store.bucket);
    cmd.env("AWS_CONFIG_FILE", profile).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).run().expect(7);
    let begun = std::fs::read_to_string(begun).expect("it ran");
    assert!(begun.lines().count() >= 2, "{begun}");
    let lives = |id: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // One that has ended may wait for init to hear of it.
        !stat.is_empty() && !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    crate::support::wait::until("everything has ended", || !begun.lines().any(|id| lives(&id)));
}

/// The store is there and was not asked: the message does not send anybody to look at the network.
#[test]
fn a_source_of_credentials_that_does_not_answer_is_named() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let profile = mount.home().join("aws-config");
    std::fs::write(&profile, "[profile slow]\nregion = us-east-2\ncredential_process = sleep 30\n").expect("written");
    let cmd = Cmd::lsync(&mount).args("status").env("LSYNC_PROFILE", "slow").env("LSYNC_BUCKET", &s3.store.bucket);
    let ran = cmd.env("AWS_CONFIG_FILE", profile).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).run().expect(7);
    assert!(ran.stderr.contains("no credentials within 15 seconds") && ran.stderr.contains("credential_process"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("check the network") && s3.log().counts().is_empty(), "{}", ran.stderr);
}

/// "bucket unreachable or throttled: try again": a store that answers 503 for ever is asked again, less and less often, and can be
/// left at any moment.
#[test]
fn a_store_that_is_busy_is_asked_again_and_can_be_left() {
    let s3 = S3::start();
    s3.put("b", "2").faults().push(Rule { operation: None, times: u32::MAX, ..Rule::once("", Action::Status(503, "SlowDown")) });
    let mount = Mount::with(&[("a", "1")]);
    let running = Cmd::lsync(&mount).on(&s3.store).args("upload --yes --json").start();
    while s3.log().counts().values().sum::<u64>() < 2 {
        std::thread::yield_now();
    }
    running.signal(rustix::process::Signal::INT);
    let ran = running.wait().expect(130);
    assert_eq!(ran.json().pop().expect("a line")["exit"], 130);
    assert_eq!((s3.all_keys(), mount.has(".lsync")), (vec!["b".to_owned()], false));
    s3.faults().clear();
    Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(0);
}
