//! Runs a program on a terminal of its own and shows what a person would see. One screen: what scrolled away is gone.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::cmd::{Cmd, DEADLINE, check_secrets};

/// Runs the program and says at last how it ended, then holds the terminal open: when the one that owns a terminal ends, Linux throws
/// away what was written and not read yet.
const KEEPER: &str = r#"trap : INT HUP TERM; "$@"; printf '\033]777;exit=%d\007' $?; read _"#;
/// How that begins; terminals show nothing of it.
const END: &str = "\u{1b}]777;exit=";

/// A terminal and the program that owns it. The program is killed when this is dropped.
pub(crate) struct Pty {
    // Kept: closing it hangs the terminal up.
    _master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
    secrets: Vec<String>,
    started: Instant,
    ended: Option<u32>,
}

impl Pty {
    /// Starts a command on a terminal of `columns` by `rows`.
    pub(crate) fn start(cmd: &Cmd, columns: u16, rows: u16) -> Pty {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo terminal");
        let mut builder = CommandBuilder::new("/bin/sh");
        builder.env_clear();
        builder.args(["-c", KEEPER, "sh"]);
        builder.arg(&cmd.program);
        builder.args(&cmd.args);
        cmd.env.iter().for_each(|(name, value)| builder.env(name, value));
        builder.env("TERM", "xterm-256color");
        builder.cwd(&cmd.current_dir);
        let child = pair.slave.spawn_command(builder).unwrap_or_else(|e| panic!("cannot start {cmd}: {e}"));
        let mut reader = pair.master.try_clone_reader().expect("the terminal can be read");
        let keys = pair.master.take_writer().expect("the terminal can be written");
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let parser = vt100::Parser::new(rows, columns, 0);
        let (secrets, started) = (cmd.secrets.clone(), Instant::now());
        Pty { _master: pair.master, child, keys, output, parser, raw: Vec::new(), secrets, started, ended: None }
    }

    /// What the screen shows now: lines without trailing blanks.
    pub(crate) fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// The rows of the screen that were too long and went on in the next one.
    pub(crate) fn wrapped(&self) -> Vec<String> {
        let screen = self.parser.screen();
        let rows: Vec<String> = screen.rows(0, screen.size().1).collect();
        (0..).zip(rows).filter(|(row, _)| screen.row_wrapped(*row)).map(|(_, text)| text).collect()
    }

    /// Everything that was written to the terminal, escape sequences included.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Waits until the screen shows `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Pty {
        while !self.screen().contains(text) {
            assert!(self.take_output(), "the program ended and the screen never showed {text:?}:\n{}", self.screen());
        }
        self
    }

    /// Types. Enter is `\r`, Ctrl-C is `\x03`.
    pub(crate) fn send(&mut self, keys: &str) -> &mut Pty {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("the terminal takes keys");
        self
    }

    /// Waits for the end and returns the exit code; the last screen stays.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> u32 {
        while self.take_output() {}
        check_secrets(&self.secrets, &self.raw());
        self.ended.unwrap_or_else(|| panic!("the terminal was closed before the program ended:\n{}", self.screen()))
    }

    /// Takes what was written since; false when the program has ended.
    #[track_caller]
    fn take_output(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match self.output.recv_timeout(DEADLINE.saturating_sub(self.started.elapsed())) {
            Ok(bytes) => {
                self.parser.process(&bytes);
                self.raw.extend(bytes);
                self.look_for_the_end();
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing new after {DEADLINE:?}; the screen:\n{}", self.screen()),
        }
    }
}

impl Pty {
    fn look_for_the_end(&mut self) {
        let from = self.raw.windows(END.len()).rposition(|window| window == END.as_bytes());
        let Some((from, code)) = from.map(|at| (at, &self.raw[at + END.len()..])) else { return };
        let Some(code) = code.strip_suffix(b"\x07").and_then(|code| std::str::from_utf8(code).ok()) else { return };
        self.ended = Some(code.parse().expect("the keeper writes a number"));
        self.raw.truncate(from);
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // The keeper waits for ever; a program that a failed test left running gets the hang-up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_sees_the_screen_and_answers() {
    let script = "test -t 0 && test -t 2 && printf '\\033[1mSend it? [y/N]\\033[0m '; read answer; echo \"you said $answer\"; exit 5";
    let cmd = Cmd::program("/bin/sh", std::path::Path::new("/")).arg("-c").arg(script);
    let mut pty = Pty::start(&cmd, 80, 24);
    pty.wait_for("Send it? [y/N]").send("n\r").wait_for("you said n");
    assert!(pty.raw().contains("\u{1b}[1mSend it?"));
    assert_eq!((pty.wait(), pty.screen().as_str()), (5, "Send it? [y/N] n\nyou said n"));
}
