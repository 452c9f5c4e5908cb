//! Runs a program as a user would, in an environment that holds nothing of this machine. Judges nothing but what every run owes: an
//! end within the deadline, and no secret in what it prints.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::canary;
use super::mount::Mount;

/// How long a run may take before the test kills it and fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A command line, its environment and its standard input.
#[derive(Clone)]
pub(crate) struct Cmd {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<String, OsString>,
    pub(crate) current_dir: PathBuf,
    /// Values that must never be printed.
    pub(crate) secrets: Vec<String>,
    stdin: Vec<u8>,
}

/// How a run ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; minus the signal's number for a run that a signal killed.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run that goes on. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    output: Receiver<(Pipe, Vec<u8>)>,
    command: String,
    secrets: Vec<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    started: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Pipe {
    Stdout,
    Stderr,
}

impl Cmd {
    /// `lsync`, run at the mount's root by the owner of the mount's home directory.
    pub(crate) fn lsync(mount: &Mount) -> Cmd {
        let mut cmd = Cmd::program(env!("CARGO_BIN_EXE_lsync"), mount.root());
        cmd.env.insert("HOME".into(), mount.home().into());
        cmd.env.insert("LSYNC_MOUNTS".into(), mount.mounts().into());
        cmd.secrets = canary::ALL.map(str::to_owned).into();
        cmd
    }

    /// Any program.
    pub(crate) fn program(program: impl AsRef<Path>, current_dir: &Path) -> Cmd {
        let env = BTreeMap::from([("PATH".into(), std::env::var_os("PATH").unwrap_or_default())]);
        let program = program.as_ref().to_owned();
        Cmd { program, args: Vec::new(), env, current_dir: current_dir.to_owned(), secrets: Vec::new(), stdin: Vec::new() }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Arguments, separated by spaces.
    pub(crate) fn args(mut self, words: &str) -> Cmd {
        self.args.extend(words.split_whitespace().map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cmd {
        self.env.insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    /// A variable whose value must not show up in what the run prints.
    pub(crate) fn secret_env(mut self, name: &str, value: &str) -> Cmd {
        self.secrets.push(value.to_owned());
        self.env(name, value)
    }

    /// A directory to run in, relative to the one it would run in.
    pub(crate) fn at(mut self, dir: impl AsRef<Path>) -> Cmd {
        self.current_dir.push(dir);
        self
    }

    /// What the run reads from its standard input, instead of nothing.
    pub(crate) fn stdin(mut self, text: impl AsRef<[u8]>) -> Cmd {
        self.stdin = text.as_ref().to_owned();
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Ran {
        self.start().wait()
    }

    /// Starts it and lets it go on.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env).current_dir(&self.current_dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.display()));
        let (send, output) = channel();
        let (mut stdout, send_stdout) = (child.stdout.take().expect("piped"), send.clone());
        std::thread::spawn(move || pump(&mut stdout, |bytes| send_stdout.send((Pipe::Stdout, bytes)).is_ok()));
        let mut stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || pump(&mut stderr, |bytes| send.send((Pipe::Stderr, bytes)).is_ok()));
        let mut stdin = child.stdin.take().expect("piped");
        let text = self.stdin.clone();
        // A run that does not read its standard input closes it: no failure.
        std::thread::spawn(move || stdin.write_all(&text));
        Running {
            child,
            output,
            command: self.to_string(),
            secrets: self.secrets.clone(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            started: Instant::now(),
        }
    }
}

impl std::fmt::Display for Cmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.program.file_name().unwrap_or_default().to_string_lossy().as_ref())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

impl Running {
    /// Waits until its standard error has shown `text`.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stderr).contains(text) {
            assert!(self.take_output(), "{} ended without {text:?} on stderr:\n{}", self.command, self.so_far());
        }
    }

    /// Waits until its standard output has shown `text`.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&mut self, text: &str) {
        while !self.stdout().contains(text) {
            assert!(self.take_output(), "{} ended without {text:?} on stdout:\n{}", self.command, self.so_far());
        }
    }

    /// What it has written to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the run was not waited for, so its id is still its own");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        while self.take_output() {}
        let status = self.child.wait().expect("a child can be waited for");
        let ran = Ran { code: code(status), stdout: text(&self.stdout), stderr: text(&self.stderr) };
        check_secrets(&self.secrets, &self.so_far());
        ran
    }

    /// Takes what was printed since; false when both pipes are closed.
    #[track_caller]
    fn take_output(&mut self) -> bool {
        match self.output.recv_timeout(DEADLINE.saturating_sub(self.started.elapsed())) {
            Ok((Pipe::Stdout, bytes)) => self.stdout.extend(bytes),
            Ok((Pipe::Stderr, bytes)) => self.stderr.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("{} was still running after {DEADLINE:?}:\n{}", self.command, self.so_far()),
        }
        true
    }

    fn so_far(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended and waited for, or a test that failed: either way there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Fails the test, with everything that was printed, unless the run ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "exit code\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON Lines: each line an object.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {line:?}: {e}"));
        self.stdout.lines().map(parse).collect()
    }

    /// True when it printed these words on either stream, whatever blanks and line breaks stand between them.
    pub(crate) fn says(&self, words: &str) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = plain(words);
        plain(&self.stdout).contains(&words) || plain(&self.stderr).contains(&words)
    }

    /// The last line of standard output.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

/// Fails the test when a secret shows up in what was printed.
#[track_caller]
pub(crate) fn check_secrets(secrets: &[String], printed: &str) {
    assert!(!secrets.iter().any(|secret| printed.contains(secret)), "a secret was printed:\n{printed}");
}

fn pump(pipe: &mut impl Read, mut send: impl FnMut(Vec<u8>) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut buffer) {
        if !send(buffer[..n].to_vec()) {
            return;
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().expect("a process ends with a code or by a signal"))
}

#[track_caller]
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| panic!("output is not UTF-8: {:?}", String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Cmd {
        Cmd::program("/bin/sh", Path::new("/")).args("-e -c").arg(script)
    }

    #[test]
    fn a_run_tells_its_code_and_both_streams() {
        let ran = shell("cat; echo '{\"type\":\"summary\"}'; echo why >&2; exit 5").stdin("{\"v\":1}\n").run().expect(5);
        assert_eq!((ran.json().len(), ran.last_line(), ran.stderr.as_str()), (2, "{\"type\":\"summary\"}", "why\n"));
        assert_eq!(ran.json()[0]["v"], 1);
    }

    #[test]
    fn nothing_of_this_machine_reaches_a_run() {
        let mount = Mount::with(&[("data/x", "")]);
        let mut cmd = Cmd::lsync(&mount).at("data").env("LSYNC_JOBS", "2");
        cmd.program = "/usr/bin/env".into();
        let ran = cmd.run().expect(0);
        let mut names: Vec<&str> = ran.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "LSYNC_JOBS", "LSYNC_MOUNTS", "PATH"]);
    }

    #[test]
    fn a_running_one_can_be_watched_and_interrupted() {
        let mut running = shell("trap 'echo stopped; exit 143' TERM; echo ready >&2; while :; do :; done").start();
        running.wait_for_stderr("ready");
        assert_ne!(running.id(), 0);
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.wait().expect(143).stdout, "stopped\n");
    }

    #[test]
    #[should_panic(expected = "a secret was printed")]
    fn a_secret_in_the_output_fails_the_test() {
        shell("echo key: $KEY").secret_env("KEY", "hunter2-hunter2").run();
    }
}
