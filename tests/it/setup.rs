//! `lsync setup` brings a new machine from nothing to ready, can be repeated, and hands the GitHub token to git and to nobody else.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, channel};

use crate::support::canary;
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::pty::Pty;
use crate::support::s3::S3;

const TOKEN: &str = canary::GITHUB_TOKEN;

/// `lsync setup` at a mount, with a git that knows nothing of this machine's configuration.
fn setup(mount: &Mount) -> Cmd {
    hermetic(Cmd::lsync(mount).args("setup"))
}

fn git(mount: &Mount, args: &str) -> Cmd {
    let mut cmd = Cmd::program("git", mount.root()).args(args).env("HOME", mount.home());
    cmd.secrets.push(TOKEN.into());
    hermetic(cmd)
}

fn hermetic(cmd: Cmd) -> Cmd {
    cmd.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").env("AWS_EC2_METADATA_DISABLED", "true")
}

/// An old configuration for this bucket.
fn old_env(s3: &S3) -> String {
    let store = &s3.store;
    format!(
        "# ada's\nBUCKET_NAME={}\nexport LAMBDA_ACCESS_KEY_ID={}\nLAMBDA_SECRET_ACCESS_KEY=\"{}\"\nLAMBDA_ENDPOINT_URL={}\n\
         GIT_USER_NAME=\"Ada Lovelace\"\nGIT_USER_EMAIL=ada@example.com\nGITHUB_TOKEN={TOKEN}\nHF_TOKEN=$(cat x)\n",
        store.bucket, store.access_key_id, store.secret_access_key, store.endpoint
    )
}

#[test]
fn a_person_is_asked_and_no_secret_is_shown() {
    let (s3, mount) = (S3::start(), Mount::new());
    let mut cmd = setup(&mount);
    cmd.secrets.extend([s3.store.secret_access_key.clone(), TOKEN.into()]);
    let mut terminal = Pty::start(&cmd, 80, 50);
    let mut answer = |prompt: &str, text: &str| {
        terminal.wait_for(prompt).send(&format!("{text}\r"));
    };
    answer("Bucket:", "wrong/name");
    answer("not the name of a bucket", &s3.store.bucket);
    answer("Endpoint URL:", &s3.store.endpoint);
    answer("Access key id:", &s3.store.access_key_id);
    answer("Secret access key (not shown):", &s3.store.secret_access_key);
    answer("Name:", "Ada Lovelace");
    answer("Email:", "ada@example.com");
    answer("GitHub token (not shown):", TOKEN);
    assert_eq!(terminal.wait(), 0, "{}", terminal.screen());
    let screen = terminal.screen();
    for step in ["configuration", "git identity", "GitHub access", "bucket", "self-sync"] {
        assert!(screen.contains(&format!("done     {step}")), "{step} is not done:\n{screen}");
    }
    let config = mount.path("sync.toml");
    assert_eq!(std::fs::metadata(&config).expect("it was written").mode() & 0o7777, 0o600);
    assert!(s3.keys().is_empty() && s3.all_keys().is_empty(), "the probes are removed: {:?}", s3.all_keys());
}

#[test]
fn what_is_pasted_at_once_answers_every_question_and_no_secret_is_shown() {
    let (s3, mount) = (S3::start(), Mount::new());
    let mut cmd = setup(&mount);
    cmd.secrets.extend([s3.store.secret_access_key.clone(), TOKEN.into()]);
    let mut terminal = Pty::start(&cmd, 80, 50);
    let store = &s3.store;
    let (typo, key) = ("mistyped\u{15}", &store.secret_access_key);
    let answers = [&store.bucket, &store.endpoint, &store.access_key_id, &format!("{typo}{key}x\x7f"), "", TOKEN].map(|a| format!("{a}\r"));
    terminal.wait_for("Bucket:").send(&answers.concat());
    assert_eq!(terminal.wait(), 0, "{}", terminal.screen());
    let screen = terminal.screen();
    for question in ["Secret access key", "GitHub token"] {
        assert!(screen.contains(&format!("{question} (not shown): [hidden]")), "{screen}");
    }
    let config = std::fs::read_to_string(mount.path("sync.toml")).expect("it was written");
    assert!(config.contains(&format!("secret_access_key = \"{key}\"")) && config.contains(TOKEN), "both came as they were typed");
}

#[test]
fn ctrl_c_at_a_question_leaves_nothing_behind() {
    let mount = Mount::new();
    let mut terminal = Pty::start(&setup(&mount).args("--bucket b --access-key-id x"), 80, 24);
    terminal.wait_for("Endpoint URL:").send("\r");
    terminal.wait_for("Region").send("\r");
    terminal.wait_for("(not shown)").send("\x03");
    assert_eq!(terminal.wait(), 130);
    assert!(terminal.screen().contains("error: interrupted\nhint: run lsync setup again"), "{}", terminal.screen());
    assert!(!mount.path("sync.toml").exists() && !mount.path(".lsync").exists());
}

#[test]
fn an_old_configuration_is_taken_over_once() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("ada.sync.env", old_env(&s3));
    let mut cmd = setup(&mount).args("--import ada.sync.env");
    cmd.secrets.extend([s3.store.secret_access_key.clone(), TOKEN.into()]);
    let first = cmd.clone().run().expect(0);
    assert!(first.stdout.contains("of ada.sync.env, lsync has no use for: HF_TOKEN"), "{}", first.stdout);
    let written = std::fs::read_to_string(mount.path("sync.toml")).expect("it was written");
    let gitconfig = std::fs::read_to_string(mount.home().join(".gitconfig")).expect("git was told");
    let again = cmd.clone().arg("--json").run().expect(0).json();
    let results: Vec<_> = again.iter().map(|line| line["result"].as_str().unwrap_or("-")).collect();
    assert_eq!(results, ["skipped", "skipped", "skipped", "done", "done", "-"]);
    assert_eq!(again.last().map(|line| (line["type"].clone(), line["exit"].clone())), Some(("summary".into(), 0.into())));
    assert_eq!(std::fs::read_to_string(mount.path("sync.toml")).expect("it stays"), written);
    assert_eq!(std::fs::read_to_string(mount.home().join(".gitconfig")).expect("it stays"), gitconfig);
    mount.write("other.toml", "[remote]\nbucket = \"other\"\n");
    let other = setup(&mount).args("--import other.toml").run().expect(2);
    assert!(other.stderr.contains("sync.toml is there already, says something else about bucket, and is not replaced"), "{}", other.stderr);
}

/// The id comes from a flag, and the secret from a variable, because other users can see the flags of a process.
#[test]
fn without_a_terminal_the_secret_comes_from_its_variable_and_the_rest_from_flags() {
    let (s3, mount) = (S3::start(), Mount::new());
    let store = &s3.store;
    let cmd = || {
        let secret = store.secret_access_key.as_str();
        let cmd = setup(&mount).secret_env("LSYNC_SECRET_ACCESS_KEY", &format!("{secret}\n"));
        let address = store.endpoint.strip_prefix("http://").expect("it is on loopback").to_owned();
        cmd.arg("--bucket").arg(format!("s3://{}/team", store.bucket)).arg("--endpoint-url").arg(address)
    };
    let ran = cmd().arg("--access-key-id").arg(&store.access_key_id).run().expect(0);
    assert!(ran.says("done configuration wrote sync.toml") && ran.says("done bucket"), "{}", ran.stdout);
    let written = std::fs::read_to_string(mount.path("sync.toml")).expect("it was written");
    assert!(written.contains(&format!("endpoint_url = \"{}\"", store.endpoint)) && written.contains("prefix = \"team\""), "{written}");
    let again = cmd().arg("--access-key-id").arg(&store.access_key_id).run().expect(0);
    assert!(again.says("skipped configuration sync.toml is there already") && again.says("done bucket"), "{}", again.stdout);
}

#[test]
fn a_mistake_is_corrected_by_running_setup_again() {
    let (s3, mount) = (S3::start(), Mount::new());
    let store = &s3.store;
    let first = setup(&mount).on(store).env("LSYNC_BUCKET", "mistyped").run();
    assert_ne!(first.code, 0, "{}", first.stdout);
    let wrong = std::fs::read_to_string(mount.path("sync.toml")).expect("it was written");
    let would = setup(&mount).arg("--bucket").arg(&store.bucket).arg("-n").run().expect(0);
    assert!(would.says("would configuration change sync.toml"), "{}", would.stdout);
    assert_eq!(std::fs::read_to_string(mount.path("sync.toml")).expect("it stays"), wrong);
    let ran = setup(&mount).arg("--bucket").arg(&store.bucket).run().expect(0);
    let says = format!("bucket was mistyped, and is {} now", store.bucket);
    assert!(ran.says("done configuration changed sync.toml; the file as it was is sync.toml.old") && ran.says(&says), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(mount.path("sync.toml.old")).expect("it is kept"), wrong);
    for name in ["sync.toml", "sync.toml.old"] {
        assert_eq!(std::fs::metadata(mount.path(name)).expect("it is there").mode() & 0o7777, 0o600);
    }
    let other = setup(&mount).args("--access-key-id OTHER").run().expect(2);
    assert!(other.stderr.contains("its secret is missing") && other.stderr.contains("LSYNC_SECRET_ACCESS_KEY"), "{}", other.stderr);
    let region = setup(&Mount::new()).args("--bucket b --region us-eest-2").run().expect(2);
    assert!(region.stderr.contains("us-eest-2 is not the name of a region; did you mean us-east-2?"), "{}", region.stderr);
}

#[test]
fn a_person_corrects_what_the_bucket_refuses_and_a_secret_in_the_wrong_place_stays_unseen() {
    let (s3, mount) = (S3::start(), Mount::new());
    let store = &s3.store;
    setup(&mount).on(store).env("LSYNC_SECRET_ACCESS_KEY", "wrong").run().expect(4);
    let pasted = format!("{}/{}", "Ab1".repeat(14), "x");
    let mut cmd = setup(&mount);
    cmd.secrets.extend([store.secret_access_key.clone(), pasted.clone()]);
    let mut terminal = Pty::start(&cmd, 80, 50);
    let mut answer = |prompt: &str, text: &str| {
        terminal.wait_for(prompt).send(&format!("{text}\r"));
    };
    answer("Correct the bucket and its keys in sync.toml?", "y");
    answer("Bucket", "");
    answer("Endpoint URL", "");
    answer("Access key id", &pasted);
    answer("that looks like the secret; it was not shown", "");
    answer("Secret access key (not shown)", &store.secret_access_key);
    assert_eq!(terminal.wait(), 0, "{}", terminal.screen());
    let screen = terminal.screen();
    assert!(screen.contains("secret_access_key is another one now") && screen.contains("done     bucket"), "{screen}");
}

/// As with `git init`: what is no directory of a known place yet becomes one when the user says so.
#[test]
fn any_directory_becomes_one_that_is_synced_after_a_question() {
    let (s3, mount) = (S3::start(), Mount::new());
    let here = mount.home().join("thesis");
    std::fs::create_dir(&here).expect("a directory");
    let cmd = || setup(&mount).on(&s3.store).at(&here);
    let ran = cmd().run().expect(2);
    assert!(ran.stderr.contains("is not a directory that lsync syncs yet") && ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(std::fs::read_dir(&here).expect("it is there").next().is_none(), "nothing was written");
    let mut terminal = Pty::start(&cmd(), 120, 50);
    terminal.wait_for("[y/N]").send("n\r");
    assert_eq!(terminal.wait(), 5, "{}", terminal.screen());
    cmd().arg("--yes").run().expect(0);
    std::fs::create_dir(here.join("data")).expect("a directory");
    std::fs::write(here.join("data/a"), "1").expect("a file");
    let ran = Cmd::lsync(&mount).at(here.join("data")).args("upload --yes").run().expect(0);
    assert!(ran.last_line().starts_with("complete"), "{}", ran.stdout);
    assert_eq!(s3.keys(), ["data/a"]);
}

#[test]
fn a_configuration_comes_through_a_pipe_as_it_is() {
    let (s3, mount) = (S3::start(), Mount::new());
    let store = &s3.store;
    let text = format!(
        "# mine\n[remote]\nbucket = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\nendpoint_url = \"{}\"\n",
        store.bucket, store.access_key_id, store.secret_access_key, store.endpoint
    );
    setup(&mount).args("--import -").stdin(&text).run().expect(0);
    assert_eq!(std::fs::read_to_string(mount.path("sync.toml")).expect("it was written"), text);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_what_is_missing_is_named() {
    let mount = Mount::new();
    let ran = setup(&mount).args("--bucket 0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6 --region us-east-2 --json").run().expect(2);
    let error = ran.json().pop().expect("a line");
    assert_eq!((error["type"].as_str(), error["exit"].as_u64()), (Some("error"), Some(2)));
    let message = error["message"].as_str().unwrap_or_default();
    assert_eq!(
        message,
        "there is no terminal to ask at, and setup needs: --access-key-id (or LSYNC_ACCESS_KEY_ID), LSYNC_SECRET_ACCESS_KEY"
    );
    assert!(!mount.path("sync.toml").exists());
}

#[test]
fn a_dry_run_changes_nothing_here_or_there() {
    let (s3, mount) = (S3::start(), Mount::new());
    mount.write("ada.sync.env", old_env(&s3));
    let ran = setup(&mount).args("--import ada.sync.env -n").run().expect(0);
    assert!(ran.stdout.contains("would    configuration  write sync.toml"), "{}", ran.stdout);
    assert!(!mount.path("sync.toml").exists() && !mount.path(".lsync").exists() && !mount.home().join(".gitconfig").exists());
    assert_eq!(s3.log().count("PutObject"), 0);
}

#[test]
fn what_fails_is_named_with_its_exit_code_and_the_rest_is_done() {
    let (s3, mount) = (S3::start(), Mount::new());
    let gone =
        setup(&mount).on(&s3.store).env("LSYNC_ENDPOINT_URL", "http://127.0.0.1:1").args("--git-user-name Ada --json").run().expect(7);
    let lines = gone.json();
    assert_eq!(lines[1]["result"], "done", "{}", gone.stdout);
    assert_eq!((&lines[3]["step"], &lines[3]["result"], &lines[3]["exit"]), (&"bucket".into(), &"failed".into(), &7.into()));
    assert_eq!(lines.last().map(|line| line["type"].clone()), Some("error".into()));
    let wrong = setup(&Mount::new()).on(&s3.store).env("LSYNC_SECRET_ACCESS_KEY", "wrong").run().expect(4);
    assert!(wrong.stderr.contains("setup is not complete: bucket failed"), "{}", wrong.stderr);
}

#[test]
fn a_mount_that_is_the_buckets_own_filesystem_is_refused() {
    let (s3, mount) = (S3::start(), Mount::new());
    setup(&mount).on(&s3.store).run().expect(0);
    let names = std::fs::read_dir(mount.path(".lsync")).expect("it is marked").filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mark = names.filter(|name| name.starts_with("mount-")).collect::<Vec<_>>().pop().expect("a mark");
    s3.put(&format!(".lsync/{mark}"), "");
    let ran = setup(&mount).on(&s3.store).env("LSYNC_PREFIX", "sub").arg("--json").run().expect(5);
    assert!(ran.stdout.contains("is the bucket's own filesystem"), "{}", ran.stdout);
}

/// A git server that wants a password: answers 401 until somebody says who they are, then lists one branch. Tells the `Authorization`
/// headers that it got.
fn private_remote() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens").to_string();
    let (send, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(stream.try_clone().expect("a second handle")).lines().map_while(Result::ok);
            let header = lines.take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("Authorization: ").map(str::to_owned));
            let body = format!("{}\trefs/heads/main\n", "1".repeat(40));
            let answer = match &header {
                None => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0".to_owned(),
                Some(_) => format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}", body.len()),
            };
            let body = if header.is_some() { body.as_str() } else { "" };
            let _ = write!(stream, "{answer}\r\nConnection: close\r\n\r\n{body}");
            // The test that waited for it may be over.
            let _ = header.map(|header| send.send(header));
        }
    });
    (address, got)
}

#[test]
fn git_gets_the_token_from_lsync_for_the_configured_host_alone_and_it_shows_up_nowhere() {
    let (s3, mount) = (S3::start(), Mount::new());
    let (private, got) = private_remote();
    let (evil, stolen) = private_remote();
    let store = &s3.store;
    let config = format!(
        "[remote]\nbucket = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\nendpoint_url = \"{}\"\n\
         [git]\ngithub_token = \"{TOKEN}\"\ngithub_host = \"http://{private}\"\n",
        store.bucket, store.access_key_id, store.secret_access_key, store.endpoint
    );
    setup(&mount).args("--import -").stdin(config).run().expect(0);
    let listed = git(&mount, "ls-remote").arg(format!("http://{private}/me/x.git")).env("GIT_TRACE", "2").run().expect(0);
    assert!(listed.stdout.contains("refs/heads/main"), "{}", listed.stdout);
    let basic = data_encoding::BASE64.encode(format!("x-access-token:{TOKEN}").as_bytes());
    assert_eq!(got.recv().as_deref(), Ok(format!("Basic {basic}").as_str()));
    git(&mount, "ls-remote").arg(format!("http://{evil}/me/x.git")).run().expect(128);
    assert!(stolen.try_recv().is_err(), "another host got an answer");
    // `git(…)` fails the test when a run prints the token.
    git(&mount, "config --list --show-origin").run().expect(0);
    let gitconfig = std::fs::read_to_string(mount.home().join(".gitconfig")).expect("git was told");
    assert!(!gitconfig.contains(TOKEN));
}

#[test]
fn git_credential_fill_answers_for_github_and_for_no_lookalike() {
    let (s3, mount) = (S3::start(), Mount::new());
    setup(&mount).args("--import -").stdin(old_env(&s3)).run().expect(0);
    let fill = |host: &str| {
        let mut cmd = git(&mount, "credential fill").stdin(format!("protocol=https\nhost={host}\n\n"));
        cmd.secrets.clear();
        cmd.run()
    };
    for host in ["github.com", "gist.github.com"] {
        assert!(fill(host).expect(0).stdout.contains(&format!("username=x-access-token\npassword={TOKEN}\n")));
    }
    for host in ["github.com.evil.org", "evilgithub.com", "GITHUB.com", "github.com:8443", "api.github.com"] {
        let ran = fill(host).expect(128);
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{host} got the token");
    }
    // What git was told stays right when it reports success or refusal.
    for operation in ["approve", "reject"] {
        git(&mount, "credential")
            .arg(operation)
            .stdin(format!("protocol=https\nhost=github.com\nusername=x\npassword={TOKEN}\n\n"))
            .run()
            .expect(0);
    }
    assert!(fill("github.com").expect(0).stdout.contains(TOKEN));
}

/// Somebody else's identity is not taken away without a word, and comes back.
#[test]
fn another_identity_of_git_is_replaced_only_after_a_question_and_comes_back() {
    let (s3, mount) = (S3::start(), Mount::new());
    git(&mount, "config --global user.name Grace").run().expect(0);
    let name = || git(&mount, "config --global user.name").run().expect(0).stdout.trim().to_owned();
    let ran = setup(&mount).args("--import -").stdin(old_env(&s3)).run().expect(0);
    assert!(ran.says("skipped git identity git keeps user.name = Grace") && ran.says("lsync setup --yes replaces it"), "{}", ran.stdout);
    assert_eq!(name(), "Grace");
    let mut terminal = Pty::start(&setup(&mount), 100, 50);
    terminal.wait_for("git has user.name = Grace. Replace that with Ada Lovelace").send("y\r");
    assert_eq!(terminal.wait(), 0, "{}", terminal.screen());
    assert_eq!(name(), "Ada Lovelace");
    setup(&mount).args("--undo-git").run().expect(0);
    assert_eq!(name(), "Grace");
    let config = std::fs::read_to_string(mount.home().join(".gitconfig")).expect("it is there");
    assert!(!config.contains("ada@example.com") && !config.contains("git-credential"), "{config}");
}

#[test]
fn the_old_scripts_token_leaves_gits_configuration() {
    let (s3, mount) = (S3::start(), Mount::new());
    let gitconfig = mount.home().join(".gitconfig");
    let url = "https://ghp_OLD@github.com/";
    let mut old = git(&mount, "config --global").arg(format!("url.{url}.insteadOf")).arg("https://github.com/");
    old.secrets.push("ghp_OLD".into());
    old.run().expect(0);
    let mut cmd = setup(&mount).args("--import -").stdin(old_env(&s3));
    cmd.secrets.extend(["ghp_OLD".into(), TOKEN.into()]);
    let ran = cmd.run().expect(0);
    assert!(ran.stdout.contains("took an old entry with a token in plain text out of"), "{}", ran.stdout);
    assert!(!std::fs::read_to_string(gitconfig).expect("it stays").contains("ghp_OLD"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic_and_hides_no_failure() {
    let mount = Mount::new();
    let lsync = env!("CARGO_BIN_EXE_lsync");
    let script = |line: &str| Cmd::program("/bin/bash", mount.root()).args("-o pipefail -c").arg(line.replace("lsync", lsync)).run();
    for line in ["lsync man | true", "lsync completions bash | true", "lsync --help | true"] {
        let ran = script(line).expect(0);
        assert_eq!(ran.stderr, "", "{line}");
    }
    script("lsync setup --json </dev/null | true").expect(2);
    script("lsync man > /dev/full").expect(1);
}

#[test]
fn wrong_usage_is_2_and_with_json_the_last_line_says_so() {
    let mount = Mount::new();
    for line in ["upload --bogus --json", "--json upload -j none", "--json", "frobnicate --json", "--json setup --delete"] {
        let ran = Cmd::lsync(&mount).args(line).run().expect(2);
        let error = ran.json().pop().unwrap_or_else(|| panic!("{line}: no line"));
        assert_eq!((&error["v"], &error["type"], &error["exit"]), (&1.into(), &"error".into(), &2.into()), "{line}");
    }
}
