//! The secrets of the tests are in no output at any level, in no process list, in no file that lsync writes but the configuration, and not
//! in the bucket. Every other test looks for them too: see `support/canary.rs`.

use std::fs;

use lsync::sandbox::{Action, Rule};

use crate::support::canary;
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;

/// A mount whose configuration, with all three, lies at its top.
fn mount(s3: &S3) -> Mount {
    let mount = Mount::with(&[("data/a", "1"), ("data/b", "2")]);
    let (store, [secret, token, session]) = (&s3.store, canary::ALL);
    let text = format!(
        "[remote]\nbucket = \"{}\"\nregion = \"us-east-2\"\nendpoint_url = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{secret}\"\n\
         session_token = \"{session}\"\n[git]\nuser_name = \"Ada\"\nuser_email = \"ada@example.com\"\ngithub_token = \"{token}\"\n",
        store.bucket, store.endpoint, store.access_key_id
    );
    mount.write("sync.toml", text).mode("sync.toml", 0o600);
    mount
}

fn lsync(mount: &Mount, words: &str) -> Cmd {
    Cmd::lsync(mount).args(words).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0")
}

/// `Cmd` looks through all that is printed.
#[test]
fn no_command_shows_a_secret_however_much_it_tells() {
    let s3 = S3::start();
    let mount = mount(&s3);
    for level in ["", "-q", "-v", "-vv", "-vvv", "--json", "--json -vvv"] {
        mount.write("data/new", level);
        for command in ["status", "status --check", "upload -n", "upload -y", "download -n", "download -y", "setup -n", "status nowhere"] {
            lsync(&mount, &format!("{command} {level}")).run();
        }
        for (status, code) in [(403, "SignatureDoesNotMatch"), (403, "ExpiredToken"), (400, "InvalidToken"), (404, "NoSuchBucket")] {
            s3.faults().push(Rule { times: 100, operation: None, ..Rule::once("", Action::Status(status, code)) });
            lsync(&mount, &format!("upload -y {level}")).run();
            s3.faults().clear();
        }
        // What is wrong about the configuration is told without its values.
        lsync(&mount, &format!("status {level} --prefix ../x")).run().expect(2);
        lsync(&mount, &format!("status {level}")).env("LSYNC_SESSION_TOKEN", canary::SESSION_TOKEN).run();
    }
    assert!(s3.log().count("PutObject") > 0, "it did upload");
}

#[test]
fn setup_leaves_the_secrets_in_the_configuration_alone() {
    let s3 = S3::start();
    let mount = mount(&s3);
    lsync(&mount, "setup -vv").run().expect(0);
    let git = fs::read_to_string(mount.home().join(".gitconfig")).expect("git was set up");
    assert!(git.contains("git-credential"), "{git}");
    assert_eq!(canary::file_with_one(&mount.home()), None);
    let mut list = Cmd::program("git", mount.root()).args("config --list --show-origin").env("HOME", mount.home());
    list.secrets = canary::ALL.map(str::to_owned).into();
    list.run().expect(0);
}

#[test]
fn no_process_list_shows_a_secret() {
    let s3 = S3::start();
    let mount = mount(&s3);
    s3.faults().push(Rule { key_contains: Some("data/".into()), ..Rule::once("PutObject", Action::Hold) });
    let run = lsync(&mount, "upload -y -vv").start();
    s3.until_all_hit();
    for file in ["cmdline", "environ"] {
        let seen = fs::read(format!("/proc/{}/{file}", run.id())).expect("it runs");
        assert!(!seen.is_empty() && !canary::is_in(&seen), "a secret is in {file}");
    }
    s3.faults().release();
    run.wait().expect(0);
}

/// A thread that the system refuses is a panic that nobody has to plant: with less and less room until there is enough, runs die of it,
/// of memory, or before they begin. `Cmd` looks through what each of them prints.
#[test]
fn a_panic_tells_where_it_was_and_no_secret() {
    let s3 = S3::start();
    let mount = mount(&s3);
    let mut told = Vec::new();
    for mib in 24..400 {
        let mut cmd = lsync(&mount, "").env("RUST_BACKTRACE", "full");
        let line = format!("ulimit -c 0; ulimit -v {}; exec {} setup -y --json", mib << 10, cmd.program.display());
        cmd.program = "/bin/sh".into();
        let ran = cmd.arg("-c").arg(line).run();
        let panics: Vec<String> = ran.stderr.lines().filter(|line| line.contains("mistake in lsync at ")).map(str::to_owned).collect();
        // "The last line is always `summary` or `error`."
        if !panics.is_empty() && ran.code == 1 {
            assert_eq!(ran.json().pop().map(|line| line["type"].clone()), Some("error".into()), "{}{}", ran.stdout, ran.stderr);
        }
        told.extend(panics);
        if ran.code == 0 {
            assert!(ran.summary()["complete"] == true && !told.is_empty(), "no run panicked: {}", ran.stderr);
            return;
        }
    }
    panic!("it never had enough; it said {told:?}");
}

#[test]
#[should_panic(expected = "a secret is in the object")]
fn a_secret_in_the_bucket_fails_a_test() {
    S3::start().put("notes", format!("key: {}", canary::GITHUB_TOKEN));
}

#[test]
#[should_panic(expected = "a secret is in")]
fn a_secret_in_the_memory_of_a_mount_fails_a_test() {
    Mount::new().write(".lsync/journal/x", canary::SESSION_TOKEN);
}
