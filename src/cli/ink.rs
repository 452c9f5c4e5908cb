//! Colour and weight, used with meaning: bold for what to read first, yellow for what is kept or waits, red for what is lost or wrong.

use console::Style;

/// Whether a text that is being made may carry colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ink(pub bool);

impl Ink {
    /// For what goes to standard output.
    pub(crate) fn stdout() -> Ink {
        Ink(console::colors_enabled())
    }

    /// For what goes to standard error.
    pub(crate) fn stderr() -> Ink {
        Ink(console::colors_enabled_stderr())
    }

    fn with(self, style: &Style, text: &str) -> String {
        if self.0 { style.clone().force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with(&Style::new().bold(), text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.with(&Style::new().yellow(), text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with(&Style::new().red(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_there_when_asked_for_and_only_then() {
        assert_eq!(Ink(true).red("x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!((Ink(false).red("x"), Ink(false).bold("x"), Ink(false).yellow("x")), ("x".into(), "x".into(), "x".into()));
    }
}
