//! What a configuration that is missing, wrong or unsafe gets: exit 2, one message that names the place, and not one request.

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::{S3, Store};

fn text(store: &Store, more: &str) -> String {
    let Store { bucket, endpoint, access_key_id, secret_access_key, .. } = store;
    format!(
        "[remote]\nbucket = \"{bucket}\"\nregion = \"us-east-2\"\nendpoint_url = \"{endpoint}\"\n\
         access_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret_access_key}\"\n{more}"
    )
}

fn configured(mount: &Mount, name: &str, text: &str) {
    mount.write(name, text).mode(name, 0o600);
}

/// Runs `status`, `upload` and `download`, with and without `--json`: all say the same, none asks the bucket anything.
#[track_caller]
fn refused(mount: &Mount, s3: &S3, message: &[&str], hint: &str) {
    let before = mount.tree();
    for command in ["status", "upload --yes", "download --yes"] {
        let ran = Cmd::lsync(mount).args(command).run().expect(2);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
        let (first, rest) = ran.stderr.split_once('\n').expect("a line");
        assert!(first.starts_with("error: ") && message.iter().all(|part| first.contains(part)), "{}", ran.stderr);
        assert!(rest.contains(hint) && (hint.is_empty() || rest.starts_with("hint: ")), "{hint:?} is not in\n{}", ran.stderr);
        let json = Cmd::lsync(mount).args(command).args("--json").run().expect(2).json();
        let last = json.last().expect("a line");
        assert_eq!((&last["type"], &last["exit"], &last["v"]), (&"error".into(), &2.into(), &1.into()));
        assert!(message.iter().all(|part| last["message"].as_str().is_some_and(|m| m.contains(part))), "{last}");
    }
    assert_eq!(mount.tree(), before);
    assert!(s3.log().counts().is_empty() && !mount.has(".lsync"));
}

#[test]
fn no_configuration() {
    refused(
        &Mount::with(&[("a", "1")]),
        &S3::start(),
        &["there is no configuration", "no sync.toml here or above", "LSYNC_BUCKET"],
        "lsync setup",
    );
}

#[test]
fn no_configuration_here_but_one_in_a_mount_is_pointed_at() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    configured(&mount, "sync.toml", &text(&s3.store, ""));
    let mut cmd = Cmd::lsync(&mount).args("status");
    cmd.current_dir = mount.home();
    let ran = cmd.run().expect(2);
    let config = mount.path("sync.toml");
    assert!(ran.stderr.contains("hint: run it in ") && ran.stderr.contains(config.to_str().unwrap()), "{}", ran.stderr);
}

#[test]
fn two_configurations_in_one_directory_are_both_named() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    configured(&mount, "sync.toml", &text(&s3.store, ""));
    configured(&mount, "ada.sync.toml", &text(&s3.store, ""));
    refused(&mount, &s3, &["two configurations", "/ada.sync.toml", "/sync.toml"], "--config ");
    let config = mount.path("ada.sync.toml");
    Cmd::lsync(&mount).args("upload --yes --config").arg(config).run().expect(0);
}

#[test]
fn a_configuration_with_secrets_that_others_may_read_gives_the_chmod_command() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    configured(&mount, "sync.toml", &text(&s3.store, ""));
    mount.mode("sync.toml", 0o644);
    let chmod = format!("run: chmod 600 {}", mount.path("sync.toml").canonicalize().unwrap().display());
    refused(&mount, &s3, &["sync.toml holds secrets", "other users may read"], &chmod);
    let command = chmod.strip_prefix("run: ").unwrap();
    Cmd::program("/bin/sh", mount.root()).arg("-c").arg(command).run().expect(0);
    Cmd::lsync(&mount).args("upload --yes").run().expect(0);
}

#[test]
fn what_the_file_says_wrong_is_named_with_its_line() {
    let s3 = S3::start();
    let check = |file: &str, message: &[&str], hint: &str| {
        let mount = Mount::with(&[("a", "1")]);
        configured(&mount, "sync.toml", file);
        refused(&mount, &s3, message, hint);
    };
    check("[remote]\nbuket = \"x\"\n", &["sync.toml:2", "unknown key \"buket\"", "did you mean \"bucket\"?"], "");
    check("[sync]\nfrobnicate = 1\n", &["sync.toml:2", "unknown key \"frobnicate\"", "the keys are exclude, include"], "");
    check("[remote]\nregion = \"us-east-2\"\n", &["sync.toml: no bucket is given in [remote]"], "bucket = \"…\"");
    check("[remote]\nbucket = \"\"\n", &["sync.toml:2: bucket is empty"], "UUID");
    let empty = text(&s3.store, "").replace(&s3.store.secret_access_key, "");
    check(&empty, &["sync.toml:6: secret_access_key is empty"], "fill it in");
    let without = text(&s3.store, "").replace(&format!("access_key_id = \"{}\"\n", s3.store.access_key_id), "");
    check(&without, &["secret_access_key is given without access_key_id"], "same place");
    let none = format!("[remote]\nbucket = \"b\"\nendpoint_url = \"{}\"\n", s3.store.endpoint);
    check(&none, &["there are no credentials for the bucket"], "add access_key_id and secret_access_key to [remote] in sync.toml");
    check("[remote\n", &["sync.toml:1"], "");
}

#[test]
fn http_that_is_not_loopback_is_refused_before_anything_is_sent() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    configured(&mount, "sync.toml", &text(&s3.store, "").replace("127.0.0.1", "192.0.2.1"));
    refused(&mount, &s3, &["sync.toml:4: endpoint_url", "in the clear"], "allow_http = true");
}

#[test]
fn outside_every_mount_the_error_says_what_to_pass() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    let outside = |more: &str| {
        let mut cmd = Cmd::lsync(&mount).on(&s3.store).args("upload --yes").args(more);
        cmd.current_dir = mount.home();
        cmd
    };
    let ran = outside("").run().expect(2);
    assert!(ran.stderr.contains("is not inside a mount\nhint: pass --root DIR, set LSYNC_ROOT, or run this below "), "{}", ran.stderr);
    let last = outside("--json").run().expect(2).json().pop().expect("a line");
    assert_eq!((&last["type"], &last["exit"]), (&"error".into(), &2.into()));
    assert!(s3.log().counts().is_empty());
    outside("--root").arg(mount.root()).run().expect(0);
}

#[test]
fn wrong_usage_ends_with_an_error_line_in_json() {
    let mount = Mount::new();
    for line in ["upload --frobnicate --json", "--json frobnicate", "--json", "download --json --jobs 0", "status --json --check=sideways"]
    {
        let ran = Cmd::lsync(&mount).args(line).run().expect(2);
        let last = ran.json().pop().expect("a line");
        assert_eq!((&last["type"], &last["exit"], &last["v"]), (&"error".into(), &2.into(), &1.into()), "{line}");
        assert!(last["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains('\u{1b}')), "{last}");
    }
}

/// "A legacy `*.sync.env` … is *parsed, never executed*" and found when nothing else is.
#[test]
fn an_old_configuration_nearby_is_named_and_never_executed() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1"), ("me.sync.env", "BUCKET_NAME=\"$(touch ran)\"\ntouch ran\n")]);
    mount.mode("me.sync.env", 0o600);
    refused(&mount, &s3, &["there is no configuration"], "lsync setup --import ");
    assert!(!mount.has("ran"));
}

/// The metadata service of an instance is not asked for what a misspelt name does not give.
#[test]
fn an_aws_profile_that_no_file_has_is_named_with_the_files_and_the_nearest_name() {
    let (mount, s3) = (Mount::with(&[("a", "1")]), S3::start());
    let (config, credentials) = (mount.home().join("aws-config"), mount.home().join("aws-credentials"));
    std::fs::write(&config, "[default]\nregion = us-east-2\n[profile research]\nregion = us-east-2\n").expect("written");
    std::fs::write(&credentials, "[lab]\naws_access_key_id = x\naws_secret_access_key = y\n").expect("written");
    let run = |variable: &str, name: &str| {
        let cmd = Cmd::lsync(&mount).args("status").env(variable, name).env("LSYNC_BUCKET", &s3.store.bucket);
        let cmd = cmd.env("AWS_CONFIG_FILE", &config).env("AWS_SHARED_CREDENTIALS_FILE", &credentials);
        cmd.env("LSYNC_ENDPOINT_URL", &s3.store.endpoint).run().expect(2)
    };
    for (variable, name, hint) in [
        ("AWS_PROFILE", "reserch", "hint: did you mean research?"),
        ("LSYNC_PROFILE", "typo", "hint: the profiles there are lab, default, research"),
    ] {
        let ran = run(variable, name);
        let files = format!("there is no AWS profile {name} in {} or {}", config.display(), credentials.display());
        assert!(ran.says(&format!("error: {variable}: {files}")) && ran.says(hint), "{}", ran.stderr);
    }
    assert!(s3.log().counts().is_empty());
}
