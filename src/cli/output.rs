//! Writes results to stdout and words to stderr. A reader that went away (`| head`) is no error and never a panic.

use std::io::{ErrorKind, Write};

use super::exit::Exit;
use super::failure::Failure;
use super::ink::Ink;
use super::text::wrap;

/// Writes text to stdout. Success also when nobody reads any more; an error when it could not be kept, as on a full disk.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {e}"))),
        _ => Ok(()),
    }
}

/// Writes a line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes a line to stderr, where nothing better can be done about an error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what ended a command, and what to do about it. Lines that a person has to type or compare stay whole where they fit no line.
pub(crate) fn say_failure(failure: &Failure) {
    let (ink, width) = (Ink::stderr(), columns(&console::Term::stderr()));
    let mut lines = failure.message.lines();
    say(&format!("{} {}", ink.red("error:"), wrap(lines.next().unwrap_or_default(), width, 7, 2)));
    lines.for_each(say);
    if let Some(hint) = &failure.hint {
        say(&format!("{} {}", ink.bold("hint:"), wrap(hint, width, 6, 2)));
    }
}

/// Columns for text on a terminal; no limit elsewhere, where nothing must be cut or broken.
pub(crate) fn columns(term: &console::Term) -> usize {
    match term.size_checked().filter(|_| term.is_term()) {
        Some((_, columns)) => usize::from(columns).clamp(40, 160),
        None => usize::MAX,
    }
}

/// Writes text to stderr.
pub(crate) fn print_err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
