//! Asks one question on the terminal, again where the answer cannot be used; what is secret is never on the screen.

use std::io;

use console::{Key, Term};
use dialoguer::Input;
use lsync::config::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::confirm::is_yes;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::say;

/// How often a wrong or empty answer is asked again; a terminal that went away answers nothing for ever.
const TRIES: usize = 5;
/// Ctrl-U: the line is begun anew.
const KILL: char = '\u{15}';

/// Ctrl-D: there is no answer.
const END: char = '\u{4}';

/// While this lives, the terminal shows only what a prompt writes: a secret that is pasted before its question is there stays unseen.
pub(super) struct NoEcho(Option<Termios>);

impl NoEcho {
    pub(super) fn new() -> NoEcho {
        // Where there is no echo already, another one gives it back.
        let before = tcgetattr(io::stdin()).ok().filter(|terminal| terminal.local_modes.contains(LocalModes::ECHO));
        if let Some(mut terminal) = before.clone() {
            terminal.local_modes.remove(LocalModes::ECHO);
            // Where it cannot be set there is no terminal, and the question itself fails. Nothing that was typed is thrown away.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &terminal);
        }
        NoEcho(before)
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Asks for something that may be seen. Blocks on the terminal.
pub(super) fn text(
    prompt: &str,
    default: Option<&str>,
    required: bool,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<String>, Failure> {
    ask(prompt, required, check, || {
        let input = Input::<String>::new().with_prompt(prompt).allow_empty(true);
        let input = if let Some(default) = default { input.default(default.to_owned()) } else { input };
        input.interact_on(&Term::stderr()).map_err(|dialoguer::Error::IO(e)| e)
    })
}

/// Asks for a secret: nothing of it is shown, not even how long it is. Blocks on the terminal.
pub(super) fn hidden(prompt: &str, required: bool, check: impl Fn(&str) -> Result<(), String>) -> Result<Option<Secret>, Failure> {
    Ok(ask(prompt, required, check, || unseen(prompt, |_| "[hidden]".to_owned()))?.map(Secret::new))
}

/// Asks for something that may be seen, where a secret could be pasted by mistake: what is typed shows only when it is entered and right.
pub(super) fn seen_if_right(prompt: &str, required: bool, check: impl Fn(&str) -> Result<(), String>) -> Result<Option<String>, Failure> {
    let shown = |answer: &str| match check(answer.trim()) {
        Ok(()) if !answer.contains(char::is_control) => answer.trim().to_owned(),
        _ => "[hidden]".to_owned(),
    };
    ask(prompt, required, &check, || unseen(prompt, shown))
}

/// A question that is answered with y or yes; anything else is a no.
pub(super) fn yes(question: &str) -> Result<bool, Failure> {
    let answer = text(&format!("{question} [y/N]"), None, false, |_| Ok(()))?;
    Ok(answer.is_some_and(|answer| is_yes(&answer)))
}

/// One line, read key by key: `dialoguer`'s password prompt shows what comes before it has turned the echo off, and then drops it.
fn unseen(prompt: &str, shown: impl Fn(&str) -> String) -> io::Result<String> {
    let (_no_echo, term) = (NoEcho::new(), Term::stderr());
    if !term.is_term() {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "not a terminal"));
    }
    term.write_str(&format!("{prompt}: "))?;
    let mut answer = String::new();
    loop {
        match term.read_key()? {
            Key::Enter => break,
            Key::Char(END) if answer.is_empty() => break,
            Key::Char(KILL) => answer.clear(),
            Key::Char(c) => answer.push(c),
            Key::Backspace => _ = answer.pop(),
            // Nobody sees that it is no part of the answer, so that the answer is refused.
            _ => answer.push('\0'),
        }
    }
    term.write_line(&shown(&answer))?;
    Ok(answer)
}

fn ask(
    prompt: &str,
    required: bool,
    check: impl Fn(&str) -> Result<(), String>,
    read: impl Fn() -> io::Result<String>,
) -> Result<Option<String>, Failure> {
    for _ in 0..TRIES {
        let answer = read().map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => super::interrupted(),
            _ => Failure::new(Exit::Failed, format!("no answer to {prompt}: {e}")),
        })?;
        let answer = answer.trim();
        if answer.is_empty() {
            if !required {
                return Ok(None);
            }
            say("  an answer is needed here (Ctrl-C ends it; nothing is written yet)");
        } else if answer.contains(char::is_control) {
            say("  the answer holds a control character");
        } else if let Err(why) = check(answer) {
            say(&format!("  {why}"));
        } else {
            return Ok(Some(answer.to_owned()));
        }
    }
    Err(Failure::usage(format!("no usable answer to {prompt}; nothing was written")))
}
