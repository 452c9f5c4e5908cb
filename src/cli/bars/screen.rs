//! The terminal as indicatif draws on it: a frame is written at once, so that nothing flickers, and never up to the last column, where
//! the `^C` that a terminal echoes would begin a new line and leave a stale one behind.

use std::io;
use std::sync::{Mutex, PoisonError};

use console::{Term, measure_text_width};
use indicatif::TermLike;

use super::super::output::print_err;

/// Columns that are left free: `^C`, and the one where some terminals wrap.
const FREE: usize = 3;

/// Columns that bars may use.
pub(super) fn columns() -> usize {
    Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns)).saturating_sub(FREE).max(20)
}

/// Standard error, for bars.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<Frame>);

/// What is to be written, and the column where that ends.
#[derive(Debug, Default)]
struct Frame {
    text: String,
    column: usize,
}

impl Screen {
    fn add(&self, text: &str, column: impl FnOnce(usize) -> usize) -> io::Result<()> {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.text.push_str(text);
        frame.column = column(frame.column);
        Ok(())
    }

    fn full(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).column >= columns()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(columns()).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        Term::stderr().size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}A"), |column| column) } else { Ok(()) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}B"), |column| column) } else { Ok(()) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}C"), |column| column + n) } else { Ok(()) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}D"), |column| column.saturating_sub(n)) } else { Ok(()) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.add("\n", |_| 0)
    }

    /// indicatif fills a line with blanks and relies on the terminal to go on below; this one does so itself.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if text != "\r" && self.full() {
            self.add("\n", |_| 0)?;
        }
        let after = text.rsplit('\r').next().unwrap_or(text);
        let returned = after.len() < text.len();
        self.add(text, |column| measure_text_width(after) + if returned { 0 } else { column })
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K", |_| 0)
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).text);
        print_err(&text);
        Ok(())
    }
}
