//! The JSON lines of the README are those that the program writes: every type, every field, none besides.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use lsync::remote::object::About;
use lsync::sandbox::{Action, Rule};
use rustix::process::Signal;
use serde_json::Value;

use super::{Names, quoted, rows, section};
use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::two::Two;

/// Types, or `summary` of a command, with the fields that were seen.
#[derive(Default)]
struct Seen {
    fields: BTreeMap<String, Names>,
    /// Fields of objects in fields.
    inner: Names,
}

impl Seen {
    #[track_caller]
    fn take(&mut self, cmd: &Cmd, code: i32) -> Vec<Value> {
        self.lines(&cmd.clone().arg("--json").run().expect(code), code)
    }

    #[track_caller]
    fn lines(&mut self, ran: &Ran, code: i32) -> Vec<Value> {
        let lines = ran.json();
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(line["v"], 1, "{line}");
            let of = line["type"].as_str().expect("a type");
            let ends = ["summary", "error"].contains(&of);
            assert_eq!(ends, at + 1 == lines.len(), "the last line, and only it, is the end: {}", ran.stdout);
            if ends {
                assert_eq!(line["exit"], code, "{line}");
            }
            let name = if of == "summary" { format!("summary {}", line["command"].as_str().expect("a command")) } else { of.to_owned() };
            let fields = line.as_object().expect("an object").keys().filter(|key| !["v", "type"].contains(&key.as_str()));
            self.fields.entry(name).or_default().extend(fields.cloned());
            for inner in ["would", "upload", "download", "last_run", "last_upload"] {
                self.inner.extend(line[inner].as_object().into_iter().flat_map(|object| object.keys().cloned()));
            }
        }
        lines
    }
}

#[test]
fn the_lines_are_those_that_are_written() {
    let mut seen = Seen::default();
    let two = Two::empty();
    // setup: done, skipped and failed steps.
    seen.take(&two.cmd_a("setup"), 0);
    let wrong = two.cmd_b("setup").env("LSYNC_SECRET_ACCESS_KEY", "wrong");
    let ran = wrong.arg("--json").run();
    seen.lines(&ran, 4);
    two.b.remove("sync.toml");
    two.s3.log().take();
    // What travels, what does not, and what cannot.
    two.a.write("data/a", "12345").write("b", "b").write("gone", "gone").link("l", "b").link("out", "/scratch");
    rustix::fs::mknodat(rustix::fs::CWD, two.a.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    std::fs::write(two.a.root().join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").expect("a name that is not UTF-8");
    seen.take(&two.cmd_a("upload --dry-run"), 3);
    seen.take(&two.cmd_a("upload --yes"), 3);
    two.b("download --yes").expect(0);
    // Attributes alone, a protected file, a conflict, and an object that vanished.
    two.a.mode("b", 0o755);
    two.b.write("data/a", "changed there");
    two.b("upload --yes").expect(0);
    two.a.write("data/a", "changed here");
    two.remove_object("gone");
    seen.take(&two.cmd_a("upload --dry-run"), 6);
    seen.take(&two.cmd_a("upload --yes"), 6);
    seen.take(&two.cmd_a("status"), 0);
    two.s3.with_bucket(async |bucket| drop(bucket.begin_upload("theirs", About::default()).await.expect("begun")));
    seen.take(&two.cmd_a("clean"), 0);
    seen.take(&two.cmd_a("doctor"), 0);
    two.s3.put("theirs", "x");
    seen.take(&two.cmd_a("verify"), 3);
    two.remove_object("theirs");
    // A broken download is begun again, a broken memory is told.
    two.b.write("fresh", "fresh");
    two.b("upload --yes").expect(0);
    let state = two.b.root().join(".lsync");
    let state = state.read_dir().expect(".lsync").map(|e| e.expect("an entry").path()).find(|p| p.to_string_lossy().contains("/state-"));
    std::fs::write(state.expect("a state file"), "torn").expect("written");
    two.b.remove("fresh");
    two.s3.faults().push(Rule { key_contains: Some("fresh".into()), ..Rule::once("GetObject", Action::FlipByte(0)) });
    let ran = two.cmd_b("download --yes --json").run();
    seen.lines(&ran, ran.code);
    // What a download replaced comes back, and is told.
    let other = Two::agreed(&[("a", "old")]);
    other.a.write("a", "new");
    other.share();
    seen.take(&Cmd::lsync(&other.b).args("undo --yes"), 0);
    seen.take(&Cmd::lsync(&other.b).args("log"), 0);
    // What was deleted where it came from is left out.
    let gone = Two::agreed(&[("a", "a"), ("b", "b"), ("c", "c")]);
    gone.a.remove("a");
    gone.a("upload --yes").expect(0);
    seen.take(&Cmd::lsync(&Mount::new()).on(&gone.s3.store).args("download --dry-run"), 0);
    // Another directory has its place in the same bucket.
    other.b("upload --yes --prefix theirs").expect(0);
    other.a.write(".env", "PORT=80").write("env/pyvenv.cfg", "");
    seen.take(&other.cmd_a("status"), 0);
    // Nothing is configured.
    seen.take(&Cmd::lsync(&two.a).args("upload").env("LSYNC_CONFIG", "none"), 2);
    let named: Names = quoted(section("### JSON lines")).collect();
    let unnamed: Vec<_> = seen.inner.difference(&named).collect();
    assert!(unnamed.is_empty(), "not in the README: {unnamed:?}");
    // A download has the fields of an upload, and not every run of it shows all of them.
    let up = seen.fields.get("summary upload").cloned().unwrap_or_default();
    seen.fields.entry("summary download".into()).or_default().extend(up);
    let mut documented = documented();
    documented.retain(|name, _| !SANDBOX.contains(&name.as_str()));
    assert_eq!(seen.fields, documented, "written, and documented");
}

#[test]
fn the_lines_of_the_sandbox_are_those_that_are_written() {
    let mut seen = Seen::default();
    let mount = Mount::new();
    seen.take(&Cmd::lsync(&mount).args("sandbox").env("TMPDIR", mount.home()), 0);
    let mut serving = Cmd::lsync(&mount).args("sandbox serve --json --dir").arg(mount.home().join("lab")).start();
    serving.wait_for_stdout("serving");
    serving.signal(Signal::TERM);
    seen.lines(&serving.wait().expect(0), 0);
    let mut documented = documented();
    documented.retain(|name, _| SANDBOX.contains(&name.as_str()));
    assert_eq!(seen.fields, documented, "written, and documented");
}

/// What only the sandbox writes.
const SANDBOX: [&str; 3] = ["command", "serving", "summary sandbox"];

/// The tables of the README.
fn documented() -> BTreeMap<String, Names> {
    let mut documented: BTreeMap<String, Names> = BTreeMap::new();
    for row in rows(section("### JSON lines")) {
        let (Some(names), Some(fields)) = (row.first(), row.last()) else { continue };
        for name in quoted(names).filter(|name| name != "type" && name != "summary") {
            let commands = ["upload", "download", "status", "undo", "log", "clean", "setup", "doctor", "verify", "sandbox"];
            let name = if commands.contains(&name.as_str()) { format!("summary {name}") } else { name };
            documented.insert(name, quoted(fields).collect());
        }
    }
    documented
}
