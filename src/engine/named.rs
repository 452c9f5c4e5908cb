//! What the PATHs of a run name: something in scope, only what is ignored, or nothing at all. Decides about what was seen; reads nothing
//! but the names beside a PATH that is nowhere.

use super::near::near;
use super::{Ask, Ends, Error, Sight};
use crate::filter::{Filter, Reason, WayIn};
use crate::path::{RelPath, Shown, is_at_or_below};

/// A PATH that is ignored as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredPath {
    /// As it was cleaned.
    pub path: RelPath,
    /// Why; of a directory that is in scope itself, why the largest of what lies below is not. `None` when nobody knows any more.
    pub reason: Option<Reason>,
    /// The path that the reason is about.
    pub about: RelPath,
    /// What lets it in.
    pub way_in: WayIn,
}

impl std::fmt::Display for IgnoredPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, about) = (&self.path, &self.about);
        if path != about || self.reason.is_none() {
            write!(f, "everything below {path} is ignored")?;
        } else if !matches!(self.reason, Some(Reason::Reserved | Reason::Other(_))) {
            write!(f, "{path} is ignored")?;
        }
        match &self.reason {
            Some(Reason::Pattern { at, line }) => {
                write!(f, ": the pattern `{}` ({}) matches {}", Shown(&line.pattern), Shown(&line.origin.to_string()), Shown(at))
            }
            Some(Reason::NotIncluded(_)) => write!(f, ": no include pattern matches {about}"),
            Some(Reason::Keys) => write!(f, ": {about} holds keys"),
            Some(Reason::Never) => write!(f, ": {about} is the configuration in use, or this command's own output, which never travels"),
            Some(Reason::Other(other)) => write!(f, "{path} is in {other}/, which belongs to another lsync directory in this bucket"),
            Some(Reason::Reserved) => write!(f, "{path} is lsync's own and never travels"),
            None => Ok(()),
        }
    }
}

/// Refuses PATHs of which nothing is in scope: those that are ignored, all of them in one error, and one that is nowhere.
pub(super) fn check(ends: &Ends, ask: &Ask, sight: &Sight) -> Result<(), Error> {
    // What belongs together with a named path may be ignored: nobody has named it.
    let meant = ask.named.iter().chain(ask.paths.iter().filter(|_| ask.named.is_empty()));
    let empty: Vec<&RelPath> = meant.filter(|path| is_foreign(sight, path) || !holds_something(sight, path)).collect();
    let mut ignored: Vec<IgnoredPath> = Vec::new();
    let mut nowhere = None;
    for path in empty {
        match why_ignored(sight, path) {
            Some(found) if !ignored.contains(&found) => ignored.push(found),
            None if !exists(sight, path) => nowhere = nowhere.or(Some(path)),
            _ => {}
        }
    }
    if !ignored.is_empty() {
        return Err(Error::Ignored(ignored));
    }
    match nowhere {
        Some(path) => Err(Error::NoSuchPath { path: path.clone(), near: near_names(ends, path, sight) }),
        None => Ok(()),
    }
}

fn is_foreign(sight: &Sight, path: &RelPath) -> bool {
    sight.filter.other_above(path.as_str()).is_some()
}

/// True when anything in scope lies at the path or below, on either side or in memory.
fn holds_something(sight: &Sight, path: &RelPath) -> bool {
    let at = |p: &RelPath| p.is_at_or_below(path.as_str());
    sight.local.iter().any(|(p, _)| at(p))
        || sight.view.entries.iter().any(|(p, _)| at(p))
        || sight.view.vanished.iter().any(at)
        || sight.problems.iter().any(|p| p.path.as_ref().is_some_and(at))
        || sight.skipped.iter().any(|s| at(&s.path))
        || sight.state.entries.iter().any(|(p, _)| at(p) && sight.filter_has(p, false))
}

/// Why a path is ignored that holds nothing in scope; `None` when it is not, or when flags of this command leave out what lies below.
fn why_ignored(sight: &Sight, path: &RelPath) -> Option<IgnoredPath> {
    let filter = &sight.filter;
    let ignored = Ignored::of(sight, path);
    let kinds: &[bool] = match &ignored {
        Ignored::File => &[false],
        Ignored::Directory(_) => &[true],
        Ignored::Nothing => &[true, false],
    };
    if let Some(found) = kinds.iter().find_map(|is_dir| at_path(filter, path, *is_dir)) {
        return Some(found);
    }
    let Ignored::Directory(largest) = ignored else { return None };
    let about = largest.as_ref().map_or(path, |(below, _)| below).clone();
    let reason = largest.and_then(|(below, is_dir)| filter.reason(&below, is_dir));
    let is_meant = reason.as_ref().map_or(filter.has_includes(), Reason::is_flag);
    (!is_meant).then(|| IgnoredPath { path: path.clone(), way_in: filter.way_in_below(path), reason, about })
}

fn at_path(filter: &Filter, path: &RelPath, is_dir: bool) -> Option<IgnoredPath> {
    let reason = filter.reason(path, is_dir)?;
    Some(IgnoredPath { path: path.clone(), about: path.clone(), reason: Some(reason), way_in: filter.way_in(path, is_dir) })
}

/// What lies at a path and is ignored.
enum Ignored {
    Nothing,
    File,
    /// With the largest below that is known by name, and whether that is a directory.
    Directory(Option<(RelPath, bool)>),
}

impl Ignored {
    fn of(sight: &Sight, path: &RelPath) -> Ignored {
        let samples = sight.ignored.samples.iter().chain(&sight.view.ignored_samples).map(|(name, bytes)| (name.as_str(), *bytes));
        let keys = sight.ignored.keys.iter().chain(&sight.view.left_out).map(|path| (path.as_str(), 0));
        let all = samples.chain(keys).map(|(name, bytes)| (name.trim_end_matches('/'), name.ends_with('/'), bytes));
        let named: Vec<(&str, bool, u64)> = all.filter(|(name, ..)| is_at_or_below(name, path.as_str())).collect();
        let below = named.iter().filter(|(name, ..)| *name != path.as_str()).max_by_key(|(.., bytes)| *bytes);
        let is_dir = sight.hollow.iter().any(|dir| dir.is_at_or_below(path.as_str())) || named.iter().any(|(_, is_dir, _)| *is_dir);
        match below {
            Some((name, is_dir, _)) => Ignored::Directory(RelPath::new(name).ok().map(|name| (name, *is_dir))),
            None if is_dir => Ignored::Directory(None),
            None if named.is_empty() => Ignored::Nothing,
            None => Ignored::File,
        }
    }
}

/// True when the path, or something below it, is there or was remembered, in scope or not.
fn exists(sight: &Sight, path: &RelPath) -> bool {
    let at = |p: &RelPath| p.is_at_or_below(path.as_str());
    !matches!(Ignored::of(sight, path), Ignored::Nothing) || sight.state.entries.iter().any(|(p, _)| at(p))
}

/// What the PATH may have meant: of what is remembered, and of what lies beside it in the mount.
fn near_names(ends: &Ends, path: &RelPath, sight: &Sight) -> Vec<String> {
    let beside = ends.mount.beside(path);
    let remembered = sight.state.entries.iter().map(|(known, _)| known.as_str());
    let near = near(path, beside.iter().map(String::as_str).chain(remembered));
    near.into_iter().map(|name| Shown(&name).to_string()).collect()
}
