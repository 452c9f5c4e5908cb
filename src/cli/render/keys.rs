//! New files that may hold keys, and directories that programs make again: named in a plan, with what leaves them out. Decides nothing.

use std::fmt::Write;

use lsync::path::{RelPath, Shown};
use lsync::plan::{Direction, KeyFile, Regenerable, Transfer};
use lsync::problem::exclude_line;

use super::super::text::{bytes, files, fit, some, wrap};
use super::{NAMED, NAMES_AT, Page, more};

/// The files, each with what it may hold.
pub(crate) fn keys(out: &mut String, list: &[(KeyFile, Transfer)], page: &Page) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", page.ink.yellow("May hold keys (these wait):"));
    let most = if page.all { list.len() } else { NAMED };
    for (key, _) in list.iter().take(most) {
        let what = format!("  ({})", key.what);
        let room = page.width.saturating_sub(NAMES_AT + what.len()).max(20);
        let _ = writeln!(out, "  {:>10}  {}{what}", bytes(key.bytes), fit(&key.path.to_string(), room));
    }
    more(out, list.len() - list.len().min(most), page);
}

/// The question about them.
pub(crate) fn keys_question(list: &[(KeyFile, Transfer)]) -> String {
    match list {
        [(only, _)] => format!("Also upload {}, which may hold keys?", only.path),
        _ => format!("Also upload these {} that may hold keys?", some(list.len() as u64, "file")),
    }
}

/// How they travel, and how they stay. `command`: one that a person can type here, for a path.
pub(crate) fn ways_of_keys(list: &[KeyFile], page: &Page, command: &dyn Fn(Direction, &str, &RelPath) -> String) -> String {
    let Some(first) = list.first() else { return String::new() };
    let (n, them) = (list.len() as u64, if list.len() == 1 { "it" } else { "them" });
    let mut out = String::new();
    let title = format!("{} may hold keys and {} not sent:", files(n), if n == 1 { "was" } else { "were" });
    let _ = writeln!(out, "{}", page.ink.yellow(&wrap(&title, page.width, 0, 0)));
    let most = if page.all { usize::MAX } else { NAMED };
    for key in list.iter().take(most) {
        let _ = writeln!(out, "  {}", fit(&format!("{} ({})", key.path, key.what), page.width.saturating_sub(2)));
    }
    more(&mut out, list.len().saturating_sub(most), page);
    let _ =
        writeln!(out, "To send {them}, name each, or set `keys = \"allow\"` in [sync]:\n  {}", command(Direction::Upload, "", &first.path));
    let _ = writeln!(out, "To leave {them} out for good, add each to .syncignore:\n  {}", Shown(&exclude_line(first.path.as_str())));
    out
}

/// The directories, with their sizes and the line that leaves them out.
pub(crate) fn regenerable(out: &mut String, list: &[Regenerable], page: &Page) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nCan be made again (a line in .syncignore leaves it out):");
    let most = if page.all { list.len() } else { NAMED };
    for found in list.iter().take(most) {
        let text = format!("{:>10}  {} ({}, {})", bytes(found.bytes), Shown(&found.exclude()), found.what, files(found.files));
        let _ = writeln!(out, "  {}", wrap(&text, page.width.saturating_sub(2), NAMES_AT, NAMES_AT));
    }
    more(out, list.len() - list.len().min(most), page);
}

#[cfg(test)]
mod tests {
    use lsync::plan::Class;

    use super::super::samples::{HARD, fits, page, path, transfer};
    use super::*;

    fn key(at: &str, bytes: u64) -> (KeyFile, Transfer) {
        (KeyFile { path: path(at), bytes, what: "passwords or tokens" }, transfer(at, bytes, Class::New, 0))
    }

    #[test]
    fn what_may_hold_keys_is_named_with_the_ways_on() {
        let list = [key(".env", 8), key(HARD, 400)];
        let mut shown = String::new();
        keys(&mut shown, &list, &page(80));
        let files: Vec<KeyFile> = list.iter().map(|(key, _)| key.clone()).collect();
        let command = |verb: Direction, _: &str, path: &RelPath| format!("lsync {} {path}", verb.verb());
        let _ = write!(shown, "\n{} [y/N]\n\n{}", keys_question(&list), ways_of_keys(&files, &page(80), &command));
        fits(&shown, 80);
        insta::assert_snapshot!(shown, @r#"

        May hold keys (these wait):
                 8 B  .env  (passwords or tokens)
               400 B  checkpoints/a run wit…42/optimizer-state.pt  (passwords or tokens)

        Also upload these 2 files that may hold keys? [y/N]

        2 files may hold keys and were not sent:
          .env (passwords or tokens)
          checkpoints/a run with a rather long na…timizer-state.pt (passwords or tokens)
        To send them, name each, or set `keys = "allow"` in [sync]:
          lsync upload .env
        To leave them out for good, add each to .syncignore:
          /.env
        "#);
        assert_eq!(keys_question(&list[..1]), "Also upload .env, which may hold keys?");
    }

    #[test]
    fn what_can_be_made_again_is_named_with_its_line() {
        let found = |at: &str, what| Regenerable { path: path(at), what, files: 2, bytes: 5 << 30 };
        let mut shown = String::new();
        regenerable(&mut shown, &[found("env", "a Python environment"), found("my web/node_modules", "packages of npm")], &page(80));
        fits(&shown, 80);
        insta::assert_snapshot!(shown, @"

        Can be made again (a line in .syncignore leaves it out):
             5.0 GiB  /env/ (a Python environment, 2 files)
             5.0 GiB  /my web/node_modules/ (packages of npm, 2 files)
        ");
    }
}
