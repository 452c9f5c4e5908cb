//! The one question before anything changes. Its default is No; end of input, or anything but y or yes, declines.

use std::io::{BufRead, Write};

use lsync::engine::Stop;

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `y` or `yes`.
    Yes,
    /// Anything else.
    No,
    /// A signal came first.
    Interrupted,
}

/// Asks on stderr, reads a line from stdin.
pub(crate) async fn ask(question: &str, stop: &Stop) -> Answer {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    match stop.or(read).await {
        None => Answer::Interrupted,
        Some(Ok(Ok(line))) => {
            if !line.ends_with('\n') {
                let _ = writeln!(stderr); // the end of input leaves the cursor behind the question
            }
            if is_yes(&line) { Answer::Yes } else { Answer::No }
        }
        Some(_) => Answer::No,
    }
}

/// True for `y` and `yes`.
pub(crate) fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_y_and_yes_confirm() {
        for yes in ["y\n", "Y\n", "yes\n", "YES", " y \n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no\n", "yep\n", "ja\n", "yy\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
