//! What is said of links that point outside the directory: they travel, and what they point to stays behind.

use std::fmt::Write;

use lsync::path::Shown;
use lsync::plan::OutsideLink;

use super::super::text::{count, fit, wrap};
use super::{NAMED, Page, more};

/// By name, with their targets.
pub(crate) fn outside_links(out: &mut String, links: &[OutsideLink], page: &Page) {
    if links.is_empty() {
        return;
    }
    let title = "Links that point outside this directory (what they point to is not in the bucket):";
    let _ = writeln!(out, "\n{}", page.ink.yellow(&wrap(title, page.width, 0, 0)));
    let most = if page.all { links.len() } else { NAMED };
    for link in links.iter().take(most) {
        let _ = writeln!(out, "  {}", fit(&format!("{} -> {}", link.path, Shown(&link.target)), page.width.saturating_sub(2)));
    }
    more(out, links.len() - links.len().min(most), page);
}

/// One sentence for a last line; empty when there are none.
pub(crate) fn outside_sentence(links: &[OutsideLink]) -> String {
    let paths: Vec<_> = links.iter().take(NAMED + 1).map(|link| link.path.clone()).collect();
    let names = match links.len() {
        n if n > NAMED => {
            let first: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
            format!("{}, and {} more", first.join(", "), count((n - NAMED) as u64))
        }
        _ => super::names(&paths),
    };
    match links.len() {
        0 => String::new(),
        1 => format!("; 1 link points outside this directory; what it points to is not in the bucket: {names}"),
        n => format!("; {} links point outside this directory; what they point to is not in the bucket: {names}", count(n as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::path;
    use super::*;

    #[test]
    fn a_last_line_counts_them_and_names_the_first() {
        let check = |n: usize, expected: &str| {
            let links: Vec<OutsideLink> = (0..n).map(|n| OutsideLink { path: path(&format!("l{n}")), target: "/scratch".into() }).collect();
            assert_eq!(outside_sentence(&links), expected);
        };
        check(0, "");
        check(1, "; 1 link points outside this directory; what it points to is not in the bucket: l0");
        check(2, "; 2 links point outside this directory; what they point to is not in the bucket: l0, l1");
        check(
            1005,
            "; 1,005 links point outside this directory; what they point to is not in the bucket: l0, l1, l2, l3, l4, and 1,000 more",
        );
    }
}
