//! Writes results to stdout and words to stderr. A reader that went away (`| head`) is no error and never a panic.

use std::io::{ErrorKind, Write};

use super::exit::Exit;
use super::failure::Failure;

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

/// Writes text to stderr.
pub(crate) fn print_err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
