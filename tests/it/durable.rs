//! What is written down about the mount is durable only after the names that it tells of: a power loss must never make a file that was
//! brought look like one that was removed. Watched, and broken, from outside with strace.

use std::collections::HashMap;
use std::path::Path;

use lsync::sandbox::{Action, Rule};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;
use crate::support::wait::until;

/// `lsync ARGS` under strace, which writes what it sees to a file beside the mount.
fn traced(s3: &S3, mount: &Mount, options: &str, args: &str) -> Cmd {
    let mut cmd = Cmd::lsync(mount).on(&s3.store);
    let lsync = std::mem::replace(&mut cmd.program, "strace".into());
    cmd.args("-f -y -s 4096 -o").arg(trace_of(mount)).args(options).arg(lsync).args(args)
}

fn trace_of(mount: &Mount) -> std::path::PathBuf {
    mount.mounts().join("../trace")
}

/// The calls in the order of their ends, each as `name(arguments) = result`.
fn calls(trace: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(trace).expect("strace wrote it");
    let (mut open, mut calls) = (HashMap::new(), Vec::new());
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and a call");
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.insert(thread, begun.to_owned());
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let begun = open.remove(thread).expect("it began");
            calls.push(format!("{begun}{}", rest.split_once(" resumed>").expect("it goes on").1));
        } else {
            calls.push(call.to_owned());
        }
    }
    // The results stand in a column of their own.
    calls
        .iter()
        .map(|call| call.rsplit_once(" = ").map_or_else(|| call.clone(), |(call, is)| format!("{} = {is}", call.trim_end())))
        .collect()
}

/// The directory of a call's first `N</dir>`, relative to the mount.
fn dir_of<'a>(mount: &Mount, call: &'a str) -> Option<&'a str> {
    let at = call.split_once('<')?.1.split_once('>')?.0;
    Some(at.strip_prefix(mount.root().to_str()?)?.trim_start_matches('/'))
}

/// Files in directories of their own that one mount has, and the other lacks or has in an older version.
fn pair() -> (S3, Mount, Mount) {
    let (s3, here, there) = (S3::start(), Mount::new(), Mount::new());
    for n in 0..6 {
        here.write(&format!("old/{n}/file"), "as it was");
    }
    for n in 0..3 {
        here.write(&format!("gone/{n}/file"), "for a while");
    }
    Cmd::lsync(&here).on(&s3.store).args("upload --yes").run().expect(0);
    Cmd::lsync(&there).on(&s3.store).args("download --yes").run().expect(0);
    for n in 0..6 {
        here.write(&format!("old/{n}/file"), "changed since").write(&format!("new/{n}/deep/file"), "brought");
    }
    here.remove("gone");
    Cmd::lsync(&here).on(&s3.store).args("upload --yes --delete").run().expect(0);
    (s3, here, there)
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn no_line_about_a_file_is_durable_before_its_name() {
    let (s3, here, there) = pair();
    s3.faults().push(Rule { key_contains: Some("new/5".into()), ..Rule::once("GetObject", Action::Hold) });
    let watched = "-e trace=fsync,fdatasync,pwrite64,linkat,renameat,renameat2,unlinkat,mkdirat";
    let run = traced(&s3, &there, watched, "download --yes --delete -j 2").start();
    let journal = || {
        let found = std::fs::read_dir(there.path(".lsync/journal")).ok().and_then(|mut all| all.next()?.ok());
        found.and_then(|file| std::fs::read_to_string(file.path()).ok()).unwrap_or_default()
    };
    // The first such line is written with the header, the second 5 s later.
    until("what landed is noted while the run goes on", || journal().matches("{\"landed\":").count() > 1);
    s3.faults().release();
    run.wait().expect(0);
    assert_eq!(here.tree(), there.tree());

    // Directories whose names changed since they were last made durable.
    let mut touched: Vec<String> = Vec::new();
    let (mut lines, mut marks, mut saved) = (Vec::new(), 0, false);
    for call in calls(&trace_of(&there)) {
        assert!(!call.contains(" = -1 EIO"), "{call}");
        // The rest tells of threads that end.
        let Some((name, rest)) = call.split_once('(') else { continue };
        match name {
            "fsync" | "fdatasync" => {
                if let Some(dir) = dir_of(&there, rest) {
                    touched.retain(|touched| touched != dir);
                }
            }
            "pwrite64" if rest.contains(".lsync/journal/") => {
                let offset: u64 = rest.rsplit_once(") = ").and_then(|(args, _)| args.rsplit_once(", ")?.1.parse().ok()).expect("an offset");
                if let Some(landed) = rest.split_once("{\\\"landed\\\":").and_then(|(_, n)| n.split_once('}')?.0.parse::<u64>().ok()) {
                    marks += 1;
                    let told: Vec<&String> = lines.iter().filter(|(at, _)| *at < landed).map(|(_, parent)| parent).collect();
                    let early: Vec<_> = told.iter().filter(|parent| touched.contains(parent)).collect();
                    assert!(early.is_empty(), "what lies in {early:?} is called durable before it is");
                } else if let Some((_, path)) = rest.split_once("\\\"n\\\":\\\"") {
                    let path = path.split_once("\\\"").expect("a path").0;
                    lines.push((offset, path.rsplit_once('/').expect("a directory").0.to_owned()));
                }
            }
            "linkat" | "renameat" | "renameat2" if call.contains("\"state-") => {
                saved = true;
                touched.retain(|dir| !dir.is_empty() && !dir.starts_with(".lsync") || dir.starts_with(".lsync/trash"));
                assert_eq!(touched, Vec::<String>::new(), "the base is saved before what it tells of is durable");
            }
            "linkat" | "renameat" | "renameat2" => {
                let second = rest.splitn(3, '<').nth(2).map(|rest| format!("<{rest}")).expect("two directories");
                for dir in [dir_of(&there, rest), dir_of(&there, &second)].into_iter().flatten() {
                    if !dir.starts_with(".lsync/tmp") {
                        touched.push(dir.to_owned());
                    }
                }
            }
            "mkdirat" | "unlinkat" if call.ends_with(" = 0") => {
                let dir = dir_of(&there, rest).unwrap_or_default();
                if !dir.starts_with(".lsync") {
                    // A directory that is gone holds no names.
                    let name = rest.split('"').nth(1).expect("a name");
                    touched.retain(|touched| touched.trim_start_matches('/') != format!("{dir}/{name}").trim_start_matches('/'));
                    touched.push(dir.to_owned());
                }
            }
            _ => {}
        }
    }
    assert!(lines.len() >= 15 && marks >= 3 && saved, "{} lines, {marks} marks", lines.len());
}

#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn no_file_has_its_name_before_its_content_is_durable() {
    let (s3, here, there) = pair();
    traced(&s3, &there, "-e trace=fsync,renameat,renameat2", "download --yes -j 2").run().expect(0);
    let (mut durable, mut placed) = (Vec::new(), 0);
    for call in calls(&trace_of(&there)) {
        let Some((name, rest)) = call.split_once('(') else { continue };
        if name == "fsync" {
            durable.extend(dir_of(&there, rest).map(str::to_owned));
        } else if let Some(dir) = dir_of(&there, rest).filter(|dir| dir.starts_with(".lsync/tmp/")) {
            let temporary = format!("{dir}/{}", rest.split('"').nth(1).expect("a name"));
            assert!(durable.contains(&temporary), "{temporary} gets its name before its content is durable");
            placed += 1;
        }
    }
    assert!(placed >= 6 && here.has("new/0/deep/file") && there.has("new/0/deep/file"), "{placed} were placed");
}

/// A directory that cannot be made durable: what landed in it is not written down, and so its loss is no removal.
#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn what_cannot_be_made_durable_is_not_remembered() {
    let (s3, here, there) = (S3::start(), Mount::with(&[("data/a", "brought"), ("data/b", "too"), ("stays", "x")]), Mount::new());
    Cmd::lsync(&here).on(&s3.store).args("upload --yes").run().expect(0);
    there.dir("data");
    let broken = format!("-P {} -e trace=fsync -e inject=fsync:error=EIO", there.path("data").display());
    let ran = traced(&s3, &there, &broken, "download --yes").run().expect(1);
    assert!(ran.says("cannot make durable data") && ran.last_line().starts_with("incomplete: "), "{}{}", ran.stdout, ran.stderr);
    // What a power loss would do.
    there.remove("data").dir("data");
    Cmd::lsync(&there).on(&s3.store).args("upload --yes --delete --max-delete 100%").run().expect(0);
    assert_eq!(s3.keys(), ["data/a", "data/b", "stays"]);
}

/// What an upload remembers is saved after everything on the mount is durable: a file that its writer never synced, and that a power loss
/// takes, must not look like one that was removed.
#[test]
#[ignore = "needs strace; .ci/run runs it"]
fn an_upload_remembers_nothing_that_a_power_loss_could_take() {
    let (s3, here) = (S3::start(), Mount::with(&[("a", "written a moment ago")]));
    traced(&s3, &here, "-e trace=syncfs,renameat,renameat2", "upload --yes").run().expect(0);
    let calls = calls(&trace_of(&here));
    let at = |what: &dyn Fn(&str) -> bool| calls.iter().position(|call| what(call));
    let synced = at(&|call| call.starts_with("syncfs(") && call.ends_with("= 0")).expect("everything is made durable");
    let saved = at(&|call| call.starts_with("rename") && call.contains("\"state-")).expect("the base is saved");
    assert!(synced < saved, "{calls:?}");
}
