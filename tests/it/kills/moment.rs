//! When a run is killed, and the killing. Checks nothing.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::story::Scene;
use crate::support::cmd::Cmd;

/// When.
#[derive(Clone, Debug)]
pub(super) enum Kill {
    /// This long after its start.
    After(Duration),
    /// At the k-th event that the server sees: a request came, or was carried out and not answered yet.
    Event(u64),
    /// On entering the k-th call (per thread) of one kind. Needs strace.
    Syscall(&'static str, u32),
}

impl Kill {
    /// Starts the scene's run and kills it; false when it came to its end first.
    #[track_caller]
    pub(super) fn at_work(&self, scene: &Scene) -> bool {
        let ran = match self {
            Kill::After(time) => {
                let (run, started) = (scene.cmd().start(), Instant::now());
                while started.elapsed() < *time {
                    std::thread::park_timeout(*time - started.elapsed().min(*time));
                }
                run.signal(Signal::KILL);
                run.wait()
            }
            Kill::Event(number) => {
                let (pid, number, mut seen) = (Arc::new(OnceLock::<Pid>::new()), *number, 0);
                let victim = Arc::clone(&pid);
                scene.s3.events().listen(move |_, _| {
                    seen += 1;
                    if seen == number {
                        // It waits for its parent, or was waited for: both are as dead as can be.
                        let _ = kill_process(*victim.wait(), Signal::KILL);
                    }
                });
                let run = scene.cmd().start();
                let id = i32::try_from(run.id()).expect("a process id fits");
                pid.set(Pid::from_raw(id).expect("a child's id is not 0")).expect("it is set once");
                let ran = run.wait();
                scene.s3.events().silence();
                ran
            }
            Kill::Syscall(name, number) => strace(&scene.cmd(), name, *number).run(),
        };
        assert!(ran.code == -9 || ran.code == 0, "{self:?} ended with {}:\n{}\n{}", ran.code, ran.stdout, ran.stderr);
        ran.code == -9
    }
}

/// The same command under strace, which kills it. Its own transfers one at a time: calls are counted per thread.
fn strace(cmd: &Cmd, call: &str, number: u32) -> Cmd {
    let mut traced = cmd.clone().args("-j 1");
    let lsync = std::mem::replace(&mut traced.program, Path::new("strace").to_owned());
    let words = format!("-f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={number}");
    let mut args: Vec<_> = words.split(' ').map(std::ffi::OsString::from).collect();
    args.push(lsync.into());
    args.append(&mut traced.args);
    traced.args = args;
    traced
}
