//! Kinds across levels: where one side has a file or link at a path and the other has entries below that path. All of it is one
//! decision. An empty directory above entries is no clash.

use std::collections::BTreeSet;

use super::build::Seen;
use super::input::{Input, Spoilt};
use crate::diff::{Since, Standing, Triple, merge, standing};
use crate::entry::{Entry, Kind, below, find, with_something_below};
use crate::path::RelPath;
use crate::view::Remote;

/// How a clash stands, by the same rows as a single path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The destination is what both agreed on: it makes room.
    SourceChanged,
    /// The source is what both agreed on: the destination is newer.
    DestinationChanged,
    /// Both changed, or nothing was agreed on, or something there is a problem.
    Both,
}

/// The topmost paths where a leaf on one side meets entries below on the other, sorted.
pub(super) fn roots(input: &Input<'_>) -> Vec<RelPath> {
    let here = with_something_below(input.local, input.bucket).into_iter().map(|at| &input.local[at]);
    let there = with_something_below(input.bucket, input.local).into_iter().map(|at| &input.bucket[at]);
    let here = here.filter(|(_, local)| local.entry.kind != Kind::Dir).map(|(path, _)| path);
    let there = there.filter(|(_, remote)| remote.entry.kind != Kind::Dir).map(|(path, _)| path);
    let found: BTreeSet<RelPath> = here.chain(there).cloned().collect();
    let all: Vec<RelPath> = found.iter().cloned().collect();
    all.into_iter().filter(|path| !path.ancestors().any(|dir| found.contains(dir))).collect()
}

/// True when `path` is one of the sorted roots or lies below one.
pub(super) fn covers(roots: &[RelPath], path: &RelPath) -> bool {
    !roots.is_empty() && (contains(roots, path.as_str()) || path.ancestors().any(|dir| contains(roots, dir)))
}

fn contains(roots: &[RelPath], path: &str) -> bool {
    roots.binary_search_by(|root| root.as_str().cmp(path)).is_ok()
}

/// Judges everything at and below one root.
pub(super) fn judge(input: &Input<'_>, spoilt: &Spoilt<'_>, root: &RelPath, local_is_source: bool) -> Verdict {
    let local_is_base = side_is_base(input, root, &|path| find(input.local, path).map(|l| &*l.entry), &names(input.local, root));
    let bucket_is_base =
        side_is_base(input, root, &|path| find(input.bucket, path).map(|r: &Remote| &*r.entry), &names(input.bucket, root));
    let (source, destination) = if local_is_source { (local_is_base, bucket_is_base) } else { (bucket_is_base, local_is_base) };
    // All that the destination holds must be proven; that the base had more there loses nothing. What the bucket has lost is nowhere else.
    let is_last = input.vanished_from(root).any(|path| find(input.local, path.as_str()).is_some());
    // What two hosts published differently is nobody's to take.
    let is_torn = input.torn.iter().any(|path| path.is_at_or_below(root.as_str()));
    if is_torn {
        Verdict::Both
    } else if destination.holds_only_base && (local_is_source || !is_last) && !spoilt.reaches(root) {
        Verdict::SourceChanged
    } else if source.holds_only_base && source.holds_all_of_base && !is_last && !spoilt.reaches(root) {
        Verdict::DestinationChanged
    } else {
        Verdict::Both
    }
}

struct IsBase {
    holds_only_base: bool,
    holds_all_of_base: bool,
}

fn names<T>(list: &[(RelPath, T)], root: &RelPath) -> Vec<RelPath> {
    let at = find(list, root.as_str()).map(|_| root.clone());
    at.into_iter().chain(below(list, root.as_str()).iter().map(|(path, _)| path.clone())).collect()
}

fn side_is_base<'a>(input: &Input<'a>, root: &RelPath, entry: &dyn Fn(&str) -> Option<&'a Entry>, names: &[RelPath]) -> IsBase {
    let is_base = |path: &RelPath| {
        let triple = Triple { local: entry(path.as_str()), bucket: None, base: find(input.base, path.as_str()).copied() };
        standing(triple) == Some(Standing::OnlyLocal(Since::Unchanged))
    };
    let mut base = names_in_base(input, root);
    base.retain(|path| entry(path.as_str()).is_none());
    IsBase { holds_only_base: names.iter().all(is_base), holds_all_of_base: base.is_empty() }
}

fn names_in_base(input: &Input<'_>, root: &RelPath) -> Vec<RelPath> {
    names(input.base, root)
}

/// The rows at and below a clash, the root's own first.
pub(super) fn rows<'a>(input: &Input<'a>, root: &RelPath) -> Vec<Seen<'a>> {
    let cut = |from: usize, to: usize| from..to;
    fn range<T>(list: &[(RelPath, T)], root: &RelPath) -> (Option<usize>, usize, usize) {
        let start = format!("{root}/", root = root.as_str());
        let from = list.partition_point(|(p, _)| p.as_str() < start.as_str());
        let to = from + below(list, root.as_str()).len();
        (list.binary_search_by(|(p, _)| p.cmp(root)).ok(), from, to)
    }
    let (l0, lf, lt) = range(input.local, root);
    let (r0, rf, rt) = range(input.bucket, root);
    let (b0, bf, bt) = range(input.base, root);
    let path = l0.map(|at| &input.local[at].0).or(r0.map(|at| &input.bucket[at].0));
    let mut rows: Vec<Seen<'a>> = Vec::new();
    if let Some(path) = path {
        rows.push(Seen {
            path,
            local: l0.map(|at| &input.local[at].1),
            bucket: r0.map(|at| &input.bucket[at].1),
            base: b0.map(|at| input.base[at].1),
        });
    }
    for row in merge(&input.local[cut(lf, lt)], &input.bucket[cut(rf, rt)], &input.base[cut(bf, bt)]) {
        rows.push(Seen { path: row.path, local: row.local, bucket: row.bucket, base: row.base.copied() });
    }
    rows
}
