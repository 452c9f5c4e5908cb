//! Files that were deleted on one machine and are still in the bucket: whether a download on another machine restores them.

use std::fmt::Write;

use lsync::path::{RelPath, Shown};
use lsync::plan::{Direction, LeftOut};

use super::super::text::{files, wrap};
use super::{Page, names};

/// What to know about those that were deleted here, and the command that ends it. `is_recorded`: fresh downloads leave them out.
pub(crate) fn deleted_here(out: &mut String, paths: &[RelPath], is_recorded: bool, page: &Page) {
    if paths.is_empty() {
        return;
    }
    let (n, one) = (files(paths.len() as u64), paths.len() == 1);
    let (is, them) = if one { ("is", "it") } else { ("are", "them") };
    let names = names(paths);
    let text = match is_recorded {
        true => format!(
            "{n} that you deleted here {is} still in the bucket: {names}. A download on a new machine leaves {them} out. \
             `lsync upload --delete` deletes {them} there."
        ),
        false => format!(
            "{n} that you deleted here {is} still in the bucket, and a download on another machine restores {them}: {names}. \
             `lsync upload --delete` deletes {them} there."
        ),
    };
    let _ = writeln!(out, "{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
}

/// The files that a download leaves in the bucket, or will leave there after this upload: the machine that deleted them, and the command
/// that changes it.
pub(crate) fn left_out(out: &mut String, direction: Direction, left: &[LeftOut], page: &Page) {
    let Some(first) = left.first() else { return };
    let (n, one) = (files(left.len() as u64), left.len() == 1);
    let (is, was, them) = if one { ("is", "was", "it") } else { ("are", "were", "them") };
    let who = if left.iter().all(|other| other.host == first.host) { Shown(&first.host).to_string() } else { "other machines".into() };
    let paths: Vec<RelPath> = left.iter().map(|left| left.path.clone()).collect();
    let names = names(&paths);
    let text = match direction {
        Direction::Download => format!(
            "{n} that {was} deleted on {who} {is} still in the bucket and {is} left out: {names}. \
             `lsync download --with-deleted` downloads {them}."
        ),
        Direction::Upload => format!(
            "{n} here {was} deleted on {who}, so a download on a new machine leaves {them} out: {names}. \
             To change that, name {them} in `lsync upload PATH`."
        ),
    };
    let _ = writeln!(out, "{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
}
