//! One run of a program: how long, how much CPU, how much memory, how it ended. Judges nothing.
//!
//! A small Python process starts the program, waits for it with `wait4` and tells what the kernel counted for that one child. The memory
//! that the kernel tells is at least Python's own, some 10 MiB, because the child begins as its copy.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

const REAPER: &str = r#"
import os, signal, sys, time
limit, out, err, program, *rest = sys.argv[1:]
write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, out, write, 0o600),
           (os.POSIX_SPAWN_OPEN, 2, err, write, 0o600)]
start = time.monotonic()
child = os.posix_spawn(program, [program, *rest], os.environ, file_actions=streams)
signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
signal.alarm(int(limit))
_, status, used = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - start, used.ru_utime, used.ru_stime, used.ru_maxrss)
"#;

/// Longest that a run may take; it is killed then.
const LIMIT_SECONDS: &str = "1800";

/// What to run, in an environment that holds nothing else of this machine.
pub(crate) struct Call {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
}

/// How it went.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The exit code; minus the signal's number where one killed it.
    pub(crate) exit: i32,
    pub(crate) wall_s: f64,
    pub(crate) user_s: f64,
    pub(crate) sys_s: f64,
    /// The most that was resident at once.
    pub(crate) rss_mib: f64,
    pub(crate) last_line: String,
    pub(crate) stderr: String,
}

/// Runs it to its end. What it prints goes to files in `scratch`.
pub(crate) fn run(python: &Path, call: &Call, scratch: &Path) -> Result<Sample, Failure> {
    let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
    let mut reaper = Command::new(python);
    reaper.args(["-I", "-S", "-c", REAPER, LIMIT_SECONDS]).args([&out, &err]).arg(&call.program).args(&call.args);
    reaper.env_clear().envs(call.env.iter().map(|(name, value)| (name, value))).current_dir(scratch);
    let told = reaper.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|e| format!("{}: {e}", python.display()))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [exit, wall_s, user_s, sys_s, rss_kib] = numbers[..] else {
        return Err(format!("{} could not be run", call.program.display()).into());
    };
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let last_line = text(&out)?.lines().last().unwrap_or_default().to_owned();
    Ok(Sample { exit: exit as i32, wall_s, user_s, sys_s, rss_mib: rss_kib / 1024.0, last_line, stderr: text(&err)? })
}

impl Sample {
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.sys_s
    }
}
