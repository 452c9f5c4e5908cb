//! Temporary credentials: where they come from is asked again when the store refuses them, once for all requests, and nobody else.

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::tokens::Source;

/// Some of what travels in one request, in parts, and as copies.
fn filled() -> Mount {
    let mount = Mount::new();
    for i in 0..60 {
        mount.write(&format!("f{i:02}"), format!("{i}"));
    }
    mount.write("large", vec![7u8; 20 << 20]);
    mount
}

#[test]
fn a_token_that_expires_in_the_middle_of_a_run_is_renewed_once() {
    for after in [0, 1, 5, 20, 40, 60] {
        let (mount, s3) = (filled(), S3::start());
        let source = Source::new(&mount, &s3, "");
        s3.faults().token().demand(Some("T0"));
        s3.faults().token().demand_after(after, "T1");
        source.lsync(&mount, &s3, "upload --yes").run().expect(0);
        assert_eq!((source.calls(), s3.keys().len()), (2, 61), "after {after}");
        let other = Mount::new();
        // The next process begins with a new one.
        s3.faults().token().demand(Some("T2"));
        s3.faults().token().demand_after(after, "T3");
        source.lsync(&other, &s3, "download --yes").run().expect(0);
        assert!(source.calls() == 4 && other.tree() == mount.tree(), "after {after}: {} calls", source.calls());
    }
}

#[test]
fn a_source_that_has_no_other_token_ends_the_run() {
    let (mount, s3) = (filled(), S3::start());
    let source = Source::new(&mount, &s3, "");
    s3.faults().token().demand(Some("T0"));
    s3.faults().token().demand_after(20, "never given");
    let ran = source.lsync(&mount, &s3, "upload --yes").run().expect(4);
    assert!(ran.says("ExpiredToken") && ran.says("get new temporary credentials"), "{}", ran.stderr);
    assert_eq!(source.calls(), 2, "once, not for every request");
}

/// Nothing can be asked again: each request is refused once.
#[test]
fn keys_of_the_configuration_are_not_tried_again() {
    let (mount, mut s3) = (Mount::with(&[("a", "1")]), S3::start());
    s3.store.session_token = Some("T0".into());
    s3.faults().token().demand(Some("T1"));
    let ran = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").run().expect(4);
    assert!(ran.says("the session token has expired"), "{}", ran.stderr);
    assert!(s3.log().counts().values().all(|n| *n == 1), "{:?}", s3.log().counts());
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let source = Source::new(&mount, &s3, r#","Expiration":"2020-01-01T00:00:00Z""#);
    source.lsync(&mount, &s3, "upload --yes").run().expect(0);
    assert!(source.calls() < 10, "not for every request");
    let (mount, s3) = (filled(), S3::start());
    let source = Source::new(&mount, &s3, r#","Expiration":"2999-01-01T00:00:00Z""#);
    source.lsync(&mount, &s3, "upload --yes").run().expect(0);
    assert_eq!(source.calls(), 1);
}

/// The SDK reads the file once; a helper writes it anew.
#[test]
fn a_credentials_file_that_was_written_anew_is_read_again() {
    let (mount, s3) = (filled(), S3::start());
    let file = mount.home().join("aws-credentials");
    let write = |token: &str| {
        let (id, secret) = (&s3.store.access_key_id, &s3.store.secret_access_key);
        let text = format!("[lab]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\naws_session_token = {token}\n");
        std::fs::write(&file, text).expect("written");
    };
    write("T0");
    s3.faults().token().demand(Some("T0"));
    s3.faults().push(lsync::sandbox::Rule { skip: 5, ..lsync::sandbox::Rule::once("PutObject", lsync::sandbox::Action::Hold) });
    let cmd = Cmd::lsync(&mount).args("upload --yes").env("LSYNC_PROFILE", "lab").env("AWS_SHARED_CREDENTIALS_FILE", &file);
    let running =
        cmd.env("LSYNC_BUCKET", &s3.store.bucket).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).env("LSYNC_REGION", "us-east-2").start();
    s3.until_all_hit();
    write("T1");
    s3.faults().token().demand(Some("T1"));
    s3.faults().release();
    running.wait().expect(0);
    assert_eq!(s3.keys().len(), 61);
}

/// A secret that a process prints is never shown, also where the rest of it is wrong.
#[test]
fn what_a_process_prints_is_never_shown() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let config = mount.home().join("aws-config");
    for print in
        [r#"{"Version":1,"SecretAccessKey":"geheimnis"}"#, "geheimnis", r#"{"Version":7,"AccessKeyId":"a","SecretAccessKey":"geheimnis"}"#]
    {
        let script = mount.home().join("prints");
        std::fs::write(&script, format!("echo '{print}'; echo geheimnis >&2\n")).expect("written");
        let command = format!("sh {} --secret=geheimnis", script.display());
        std::fs::write(&config, format!("[profile lab]\nregion = us-east-2\ncredential_process = {command}\n")).expect("written");
        let cmd = Cmd::lsync(&mount).args("status -vv").env("LSYNC_PROFILE", "lab").env("AWS_CONFIG_FILE", &config);
        let ran = cmd.env("LSYNC_BUCKET", &s3.store.bucket).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).run();
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.says("the credential_process of the AWS profile lab did not print valid version 1 credentials"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("geheimnis") && !ran.stdout.contains("geheimnis"), "{}", ran.stderr);
    }
}

/// What a process leaves running in the background may keep its output open: that is no reason to wait for it.
#[test]
fn a_process_that_leaves_something_in_the_background_is_not_waited_for() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let source = Source::new(&mount, &s3, "");
    let script = mount.home().join("gives-keys");
    let text = std::fs::read_to_string(&script).expect("a script");
    std::fs::write(&script, format!("sleep 30 &\n{text}")).expect("written");
    source.lsync(&mount, &s3, "upload --yes").run().expect(0);
}

/// The first word of a command may be a variable with a secret in it.
#[test]
fn no_word_of_the_command_is_shown() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let config = mount.home().join("aws-config");
    std::fs::write(&config, "[profile lab]\nregion = us-east-2\ncredential_process = TOKEN=geheimnis /bin/false\n").expect("written");
    let cmd = Cmd::lsync(&mount).args("status -vv").env("LSYNC_PROFILE", "lab").env("AWS_CONFIG_FILE", &config);
    let ran = cmd.env("LSYNC_BUCKET", &s3.store.bucket).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).run().expect(2);
    assert!(ran.says("the credential_process of the AWS profile lab failed") && !ran.stderr.contains("geheimnis"), "{}", ran.stderr);
}
