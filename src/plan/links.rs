//! Links that point outside the directory: the link travels, what it points to does not. Pure: it resolves over the links that are
//! known and asks no disk.

use crate::entry::{Entry, Kind};
use crate::path::RelPath;

/// Links that one target may go through, as Linux counts them; more is a loop, which points nowhere.
const MAX_HOPS: usize = 40;

/// A link whose target lies outside the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideLink {
    /// Where the link lies.
    pub path: RelPath,
    /// Its target, to the letter.
    pub target: Box<str>,
}

/// The links among `source` that lead outside `root`, directly or through other links. `known` gives what lies at a path, as far as it
/// is known.
pub fn outside_links<'a>(
    source: impl Iterator<Item = (&'a RelPath, &'a Entry)>,
    root: &str,
    known: &dyn Fn(&str) -> Option<&'a Entry>,
) -> Vec<OutsideLink> {
    let link_at = |path: &str| known(path).and_then(target_of);
    let links = source.filter_map(|(path, entry)| Some((path, target_of(entry)?)));
    let outside = links.filter(|(path, target)| leads_outside(path, target, root, &link_at));
    outside.map(|(path, target)| OutsideLink { path: path.clone(), target: target.into() }).collect()
}

fn target_of(entry: &Entry) -> Option<&str> {
    match &entry.kind {
        Kind::Link(target) => Some(target),
        Kind::File(_) | Kind::Dir => None,
    }
}

/// True when a link ends outside the absolute path `root`. `link_at` gives the target of the link at a path, where one is known.
#[must_use]
pub fn leads_outside<'a>(path: &'a RelPath, target: &'a str, root: &'a str, link_at: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let root: Vec<&str> = segments(root).collect();
    let mut at = root.clone();
    at.extend(path.parent().into_iter().flat_map(segments));
    let mut left: Vec<&str> = Vec::new();
    let mut hops = 0;
    follow(target, &mut at, &mut left);
    while let Some(segment) = left.pop() {
        if segment == ".." {
            at.pop();
            continue;
        }
        at.push(segment);
        let inside = at.strip_prefix(root.as_slice()).filter(|inside| !inside.is_empty());
        if let Some(target) = inside.and_then(|inside| link_at(&inside.join("/"))) {
            hops += 1;
            if hops == MAX_HOPS {
                return false;
            }
            at.pop();
            follow(target, &mut at, &mut left);
        }
    }
    !at.starts_with(&root)
}

/// Puts a target's segments before what is left to go.
fn follow<'a>(target: &'a str, at: &mut Vec<&'a str>, left: &mut Vec<&'a str>) {
    if target.starts_with('/') {
        at.clear();
    }
    left.extend(segments(target).rev());
}

fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|segment| !matches!(*segment, "" | "."))
}

/// True when a link's target, taken lexically from where the link lies, leaves the mount: what a download does not restore.
#[must_use]
pub fn link_leaves_mount(path: &RelPath, target: &str) -> bool {
    if target.starts_with('/') {
        return true;
    }
    let mut depth = path.ancestors().count();
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_judged_lexically() {
        let check = |path: &str, target: &str, leaves: bool| {
            assert_eq!(link_leaves_mount(&RelPath::new(path).unwrap(), target), leaves, "{path} -> {target}");
        };
        check("l", "x", false);
        check("l", "..", true);
        check("a/l", "../x", false);
        check("a/l", "../../x", true);
        check("a/l", "b/../../x", false);
        check("a/l", "/etc/passwd", true);
        check("a/b/l", "./../../../x", true);
    }

    /// Which of these links lead outside `/nfs/here`.
    #[track_caller]
    fn check(links: &[(&str, &str)], outside: &[&str]) {
        let mut tree: Vec<(RelPath, Entry)> =
            links.iter().map(|(at, to)| (RelPath::new(at).unwrap(), Entry { kind: Kind::Link((*to).into()), mode: None })).collect();
        tree.sort_by(|a, b| a.0.cmp(&b.0));
        let known = |path: &str| crate::entry::find(&tree, path);
        let found = outside_links(tree.iter().map(|(path, entry)| (path, entry)), "/nfs/here", &known);
        assert_eq!(found.iter().map(|link| link.path.as_str()).collect::<Vec<_>>(), outside, "{links:?}");
    }

    #[test]
    fn a_link_leads_outside_directly_or_through_others() {
        check(&[("l", "x")], &[]);
        check(&[("l", ".")], &[]);
        check(&[("a/l", "..")], &[]);
        check(&[("l", "..")], &["l"]);
        check(&[("l", "/scratch")], &["l"]);
        check(&[("l", "/")], &["l"]);
        check(&[("l", "../../../../..")], &["l"]);
        check(&[("l", "/nfs/hereabouts/x")], &["l"]);
        // An absolute target, or one that leaves and comes back, may lie in this directory.
        check(&[("l", "/nfs/here/data")], &[]);
        check(&[("l", "/nfs/here/../there")], &["l"]);
        check(&[("a/l", "../../here/x")], &[]);
        // Through another link.
        check(&[("a", "b/x"), ("b", "/scratch")], &["a", "b"]);
        check(&[("a", "b/x"), ("b", "c"), ("c", "d/../../..")], &["a", "b", "c"]);
        check(&[("a", "b/x"), ("b", "data")], &[]);
        // `..` behind a link goes up from where the link leads, not from where it lies.
        check(&[("a", "deep/l/.."), ("deep/l", "../top")], &[]);
        check(&[("a", "l/../.."), ("l", "p/q/r")], &[]);
        check(&[("a", "p/l/../.."), ("p/l", "../top")], &["a"]);
        check(&[("a", "b/../here/x"), ("b", "/nfs/there")], &["b"]);
        // A loop points nowhere.
        check(&[("a", "b"), ("b", "a")], &[]);
        check(&[("a", "a/x")], &[]);
        check(&[("a", "./a/a/a")], &[]);
    }
}
