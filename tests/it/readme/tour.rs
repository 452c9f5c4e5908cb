//! The first command of the README works, and so does the bucket to play with, typed as it says.

use std::path::Path;

use rustix::process::Signal;

use super::README;
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;

/// A run in an empty home, whose temporary files lie in a directory of their own.
fn alone(mount: &Mount) -> Cmd {
    let temporary = mount.home().join("temporary");
    std::fs::create_dir_all(&temporary).expect("a directory for temporary files");
    Cmd::lsync(mount).env("TMPDIR", temporary)
}

fn names_in(dir: &Path) -> Vec<String> {
    let names = dir.read_dir().expect("a directory").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn the_tour_ends_well_touches_nothing_and_leaves_nothing() {
    let mount = Mount::with(&[("mine.txt", "mine")]);
    let before = mount.tree();
    // What the user has set must not reach it.
    let cmd = alone(&mount).env("LSYNC_BUCKET", "mine").env("LSYNC_ENDPOINT_URL", "https://s3.example.com").env("LSYNC_CONFIG", "/mine");
    let ran = cmd.env("AWS_PROFILE", "mine").args("sandbox").run().expect(0);
    assert_eq!(ran.stdout.matches("identical in content, modification times and permissions").count(), 2, "{}", ran.stdout);
    for shown in ["us-east-2$ lsync upload --yes", "us-west-1$ lsync download --yes", "went up in 3 parts", "How to go on"] {
        assert!(ran.stdout.contains(shown), "no {shown:?} in\n{}", ran.stdout);
    }
    let complete = ran.stdout.lines().find(|line| line.starts_with("complete: ")).expect("a complete upload");
    assert!(README.contains(complete), "the example in the README is another one than {complete}");
    assert_eq!((mount.tree(), names_in(&mount.home().join("temporary"))), (before, Vec::new()));
    assert_eq!(names_in(&mount.home()), ["temporary"]);
}

#[test]
fn an_interrupted_tour_leaves_nothing() {
    let mount = Mount::new();
    let mut running = alone(&mount).args("sandbox --json").start();
    running.wait_for_stdout("\"command\"");
    running.signal(Signal::TERM);
    let ran = running.wait().expect(143);
    assert_eq!(ran.json().last().expect("a last line")["type"], "error");
    assert!(names_in(&mount.home().join("temporary")).is_empty());
}

#[test]
fn the_tour_takes_no_other_directory() {
    let mount = Mount::new();
    let ran = alone(&mount).args("sandbox --root .").run().expect(2);
    assert!(ran.stderr.contains("takes none of --dry-run"), "{}", ran.stderr);
}

/// What `sandbox serve` says to type, run by a shell.
#[test]
fn the_bucket_to_play_with_works_as_it_says() {
    let mount = Mount::new();
    let dir = mount.home().join("a lab");
    let serve = alone(&mount).args("sandbox serve --dir").arg(&dir);
    let mut serving = serve.start();
    serving.wait_for_stdout("Ctrl-C ends it.");
    let told = serving.stdout();
    let lines = told.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.ends_with("sync.toml"));
    let typed: Vec<String> = lines.map(|line| if line.contains("lsync") { format!("{line} --yes") } else { line.to_owned() }).collect();
    assert_eq!(typed.len(), 5, "{told}");
    let script = format!("set -e\n{}", typed.join("\n"));
    let shell = || {
        let mut cmd = Cmd::program("/bin/sh", mount.root()).arg("-c").arg(&script);
        cmd.env.insert("HOME".into(), mount.home().into());
        cmd
    };
    let ran = shell().run().expect(0);
    assert_eq!(ran.stdout.matches("complete: files=1 bytes=6 strong=1").count(), 2, "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(dir.join("there/hello.txt")).expect("it came down"), "hello\n");
    serving.signal(Signal::INT);
    let ran = serving.wait().expect(0);
    assert!(ran.stdout.contains("To go on:"), "{}", ran.stdout);
    // On the same directory it goes on with what is there, under a new configuration.
    let mut again = serve.start();
    again.wait_for_stdout("Ctrl-C ends it.");
    shell().run().expect(0);
    again.signal(Signal::TERM);
    again.wait().expect(0);
}

#[test]
fn variables_that_would_lead_elsewhere_are_named() {
    let mount = Mount::new();
    let mut serving = alone(&mount).env("LSYNC_BUCKET", "mine").args("sandbox serve").start();
    serving.wait_for_stdout("Ctrl-C ends it.");
    assert!(serving.stdout().contains("  unset LSYNC_BUCKET\n"), "{}", serving.stdout());
    serving.signal(Signal::INT);
    serving.wait().expect(0);
    assert_eq!(names_in(&mount.home().join("temporary")).len(), 1, "what a user may have put there is not removed");
}
