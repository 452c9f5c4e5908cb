//! Files that were deleted here and that the bucket still has: they come back with the next download on another machine.

use std::fmt::Write;

use lsync::path::RelPath;

use super::super::text::{files, wrap};
use super::{Page, names};

/// What to know about them, and the command that ends it.
pub(crate) fn deleted_here(out: &mut String, paths: &[RelPath], page: &Page) {
    if paths.is_empty() {
        return;
    }
    let (n, one) = (files(paths.len() as u64), paths.len() == 1);
    let (is, brings) = if one { ("is", "it") } else { ("are", "them") };
    let text = format!(
        "{n} that you deleted here {is} still in the bucket, and a download on another machine brings {brings} back: {}. \
         `lsync upload --delete` deletes {brings} there.",
        names(paths)
    );
    let _ = writeln!(out, "{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
}
