//! "Files that hold keys do not travel; the plan names them as ignored. `include_config = true` …; the one in use is even then never
//! replaced." And secrets show up nowhere: not in what is printed, not in a process list, not in the bucket, not in `.lsync/`.

use std::fs;

use lsync::sandbox::{Action, Rule};

use crate::support::canary;
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;

const TOKEN: &str = canary::GITHUB_TOKEN;

/// Writes a configuration with keys and a token, readable by its owner alone.
fn configure(mount: &Mount, s3: &S3, name: &str, more: &str) {
    let s = &s3.store;
    let text = format!(
        "[remote]\nbucket = \"{}\"\nregion = \"us-east-2\"\nendpoint_url = \"{}\"\naccess_key_id = \"{}\"\n\
         secret_access_key = \"{}\"\nsession_token = \"{}\"\n[git]\ngithub_token = \"{TOKEN}\"\n{more}",
        s.bucket,
        s.endpoint,
        s.access_key_id,
        s.secret_access_key,
        canary::SESSION_TOKEN
    );
    mount.write(name, text).mode(name, 0o600);
}

/// A command that has its keys from the file alone, and whose output must not show them.
fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    let mut cmd = Cmd::lsync(mount).args(line);
    cmd.secrets.extend([s3.store.secret_access_key.clone(), TOKEN.into()]);
    cmd
}

#[test]
fn files_that_hold_keys_stay_where_they_are_and_the_plan_names_them() {
    let s3 = S3::start();
    let here = Mount::with(&[("a", "1"), ("d/x.sync.toml", "k"), ("d/y.sync.env", "k"), ("sync.toml.template", "no keys")]);
    configure(&here, &s3, "sync.toml", "");
    let ran = lsync(&here, &s3, "upload --yes").run().expect(0);
    for name in ["sync.toml (holds keys)", "d/x.sync.toml (holds keys)", "d/y.sync.env (holds keys)"] {
        assert!(ran.says(name), "{name} is not in\n{}", ran.stderr);
    }
    assert!(ran.says("ignored 3"), "{}", ran.stderr);
    assert_eq!(s3.keys(), ["a", "sync.toml.template"]);
    // Those of the bucket stay there too, with or without --overwrite and --delete.
    for key in ["sync.toml", "d/x.sync.toml", "d/y.sync.env", "other/z.sync.toml"] {
        s3.put(key, "of the bucket");
    }
    let before = here.tree();
    lsync(&here, &s3, "download --yes --overwrite --delete").run().expect(0);
    lsync(&here, &s3, "upload --yes --overwrite --delete").run().expect(0);
    assert_eq!((here.tree(), s3.content("sync.toml")), (before, b"of the bucket".to_vec()));
    assert!(!here.has("other"));
}

/// What `lsync setup` itself advises where a configuration is in the way.
#[test]
fn a_configuration_that_was_moved_away_as_setup_advises_does_not_travel() {
    let (s3, here) = (S3::start(), Mount::with(&[("a", "1")]));
    configure(&here, &s3, "sync.toml", "");
    here.write("other.toml", "[remote]\nbucket = \"other\"\n");
    let told = lsync(&here, &s3, "setup --import other.toml").run();
    here.remove("other.toml");
    let advice = told.stderr.lines().find_map(|line| line.split_once("first: ")).map(|(_, command)| command.to_owned());
    let mut mv = Cmd::program("/bin/sh", here.root()).arg("-c");
    mv = mv.arg(advice.unwrap_or_else(|| panic!("no advice in\n{}", told.stderr)));
    mv.run().expect(0);
    assert!(!here.has("sync.toml"));
    configure(&here, &s3, "sync.toml", "");
    here.write("sync.toml~", here.text("sync.toml")).write(".sync.toml.swp", here.text("sync.toml"));
    let ran = lsync(&here, &s3, "upload --yes").run().expect(0);
    assert!(ran.says("sync.toml.old (holds keys)") && ran.says("ignored 4"), "{}", ran.stderr);
    assert_eq!(s3.keys(), ["a"]);
}

#[test]
fn whatever_file_the_run_was_configured_from_does_not_travel() {
    let s3 = S3::start();
    s3.let_keys_travel();
    let here = Mount::with(&[("a", "1")]);
    configure(&here, &s3, "conf/mine.toml", "[sync]\ninclude_config = true\n");
    s3.put("conf/mine.toml", "of the bucket");
    let before = here.text("conf/mine.toml");
    for line in ["upload --yes --overwrite --config conf/mine.toml", "download --yes --overwrite --delete --config conf/mine.toml"] {
        lsync(&here, &s3, line).run().expect(0);
    }
    assert_eq!((here.text("conf/mine.toml"), s3.content("conf/mine.toml")), (before, b"of the bucket".to_vec()));
}

#[test]
fn with_include_config_they_travel_and_the_plan_says_so() {
    let s3 = S3::start();
    s3.let_keys_travel();
    let here = Mount::with(&[("a", "1"), ("d/x.sync.toml", "k1"), ("y.sync.env", "k2"), ("y.sync.env.bak", "k3")]);
    configure(&here, &s3, "conf.toml", "[sync]\ninclude_config = true\n");
    let ran = lsync(&here, &s3, "upload --yes --config conf.toml").run().expect(0);
    assert!(ran.says("d/x.sync.toml, y.sync.env, y.sync.env.bak contains credentials"), "{}", ran.stderr);
    assert_eq!(s3.keys(), ["a", "d/x.sync.toml", "y.sync.env", "y.sync.env.bak"]);
    let there = Mount::new();
    configure(&there, &s3, "conf.toml", "[sync]\ninclude_config = true\n");
    let plan = lsync(&there, &s3, "download -n --config conf.toml").run().expect(0);
    assert!(plan.stdout.contains("contains credentials"), "{}", plan.stdout);
    lsync(&there, &s3, "download --yes --config conf.toml").run().expect(0);
    assert_eq!((there.text("d/x.sync.toml"), there.text("y.sync.env")), ("k1".into(), "k2".into()));
    // A tree without such files says nothing of the kind.
    let plain = Mount::with(&[("b", "1")]);
    configure(&plain, &s3, "conf.toml", "[sync]\ninclude_config = true\n");
    let ran = lsync(&plain, &s3, "upload --yes --config conf.toml --prefix p").run().expect(0);
    assert!(!ran.stderr.contains("contains credentials"), "{}", ran.stderr);
}

/// The one in use would be replaced by an older or foreign one, and the next run would go to another bucket.
#[test]
fn the_configuration_in_use_is_never_replaced() {
    let s3 = S3::start();
    s3.let_keys_travel();
    let here = Mount::with(&[("a", "1")]);
    configure(&here, &s3, "sync.toml", "[sync]\ninclude_config = true\n");
    s3.put("sync.toml", "[remote]\nbucket = \"of-a-stranger\"\n").put("b", "2");
    let before = here.text("sync.toml");
    lsync(&here, &s3, "download --yes --overwrite --delete").run().expect(0);
    lsync(&here, &s3, "upload --yes").run().expect(0);
    assert_eq!((here.text("sync.toml"), s3.content("sync.toml").len()), (before, 34));
}

#[test]
fn secrets_show_up_nowhere() {
    let s3 = S3::start();
    let here = Mount::with(&[("a", "1"), ("b", "2")]);
    configure(&here, &s3, "sync.toml", "");
    let secrets = [s3.store.secret_access_key.as_str(), TOKEN];
    let hidden = |what: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "a secret is in {what}");
    };
    // While it runs: what every user of the machine can see.
    s3.faults().push(Rule::once("PutObject", Action::Delay(std::time::Duration::from_millis(200))));
    let mut running = lsync(&here, &s3, "upload --yes -vv").start();
    running.wait_for_stderr("Upload");
    hidden("/proc/<pid>/cmdline", &fs::read(format!("/proc/{}/cmdline", running.id())).unwrap_or_default());
    hidden("/proc/<pid>/environ", &fs::read(format!("/proc/{}/environ", running.id())).unwrap_or_default());
    running.wait().expect(0);
    // `Cmd` looks through all that is printed.
    for line in ["status -vv --json", "upload -n -vv", "download -y -vv --json", "status nowhere -vv"] {
        lsync(&here, &s3, line).run();
    }
    let bad = lsync(&here, &s3, "status -vv").env("LSYNC_ENDPOINT_URL", "https://127.0.0.1:1/not-s3");
    assert_ne!(bad.env("LSYNC_REGION", "\u{1b}").run().code, 0);
    s3.faults().push(Rule { times: u32::MAX, operation: None, ..Rule::once("", Action::Status(403, "SignatureDoesNotMatch")) });
    lsync(&here, &s3, "status -vv").run().expect(4);
    s3.faults().clear();
    // What stays behind.
    for key in s3.all_keys() {
        hidden(&key, key.as_bytes());
        let (content, _, metadata) = s3.get_object(&s3.store.bucket, &key).unwrap();
        hidden(&key, &content);
        hidden(&key, format!("{metadata:?}").as_bytes());
    }
    let mut files = 0;
    for entry in walkdir::WalkDir::new(here.path(".lsync")) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            files += 1;
            hidden(&entry.path().to_string_lossy(), &fs::read(entry.path()).unwrap());
        }
    }
    assert!(files > 1, "the state is there to be looked at");
}

/// A program that lsync starts gets no secret of lsync's: neither as a word nor in its environment.
#[test]
fn programs_that_lsync_starts_get_no_secret() {
    let s3 = S3::start();
    let mount = Mount::with(&[("a", "1")]);
    let bin = mount.home().join("bin");
    fs::create_dir(&bin).unwrap();
    let seen = mount.home().join("seen");
    let script = format!("#!/bin/sh\n{{ echo \"$0 $*\"; env; }} >> '{}'\nexit 1\n", seen.display());
    fs::write(bin.join("git"), script).unwrap();
    fs::set_permissions(bin.join("git"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let cmd = Cmd::lsync(&mount).on(&s3.store).secret_env("LSYNC_GITHUB_TOKEN", TOKEN).env("PATH", path);
    cmd.args("setup --git-user-name Ada --git-user-email ada@example.org").run();
    let seen = fs::read_to_string(seen).expect("git was started");
    assert!(seen.contains("/git ") && seen.contains("HOME="), "{seen}");
    assert!(!seen.contains(TOKEN) && !seen.contains(&s3.store.secret_access_key), "{seen}");
}
