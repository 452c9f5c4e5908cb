//! Files that belong together, as the published manifests tell of them, and as this run publishes them. Decides nothing about a plan.

use std::collections::BTreeSet;

use super::look::Sight;
use super::run::Work;
use super::{Ask, Ends};
use crate::digest::ETag;
use crate::entry::{Tree, find};
use crate::filter::Scope;
use crate::local::mount::Looked;
use crate::manifest::{Header, Manifest, Name, Together};
use crate::path::RelPath;
use crate::plan::Plan;
use crate::plan::sets::{Claim, Holds, Set, companions, database_of, sets};
use crate::view::Listing;

/// PATHs that name a part of a set mean all of it that is here: a database without its log is malformed.
#[must_use]
pub fn with_companions(ends: &Ends, mut paths: Vec<RelPath>) -> Vec<RelPath> {
    let is_file = |path: &RelPath| matches!(ends.mount.look(path), Ok(Some(Looked::File(..))));
    let mut more = BTreeSet::new();
    for path in &paths {
        let database = database_of(path, &|at| RelPath::new(at).is_ok_and(|at| is_file(&at))).unwrap_or_else(|| path.clone());
        let others = if is_file(&database) { companions(&database) } else { Vec::new() };
        more.extend(others.into_iter().chain([database]).filter(|other| other != path && is_file(other)));
    }
    more.retain(|other| !paths.iter().any(|path| other.is_at_or_below(path.as_str())));
    paths.extend(more);
    paths.sort();
    paths
}

/// What the manifests say, compared with what the bucket lists.
pub(super) fn claims(sight: &Sight, ask: &Ask) -> Vec<Claim> {
    let published = sight.state.newest.iter().flat_map(|header| &header.sets);
    published.filter_map(|together| claim(sight, ask, together)).collect()
}

fn claim(sight: &Sight, ask: &Ask, together: &Together) -> Option<Claim> {
    let (database, mut members, mut holds) = (RelPath::new(&together.of).ok()?, Vec::new(), Holds::Whole);
    for (path, etag) in &together.members {
        let Some(path) = RelPath::new(path).ok().filter(|path| sight.filter.scope(path, false) == Scope::In) else { continue };
        let listed = sight.bucket(path.as_str()).and_then(|remote| remote.entry.file()).and_then(|file| file.etag.as_ref());
        holds = match holds {
            Holds::Beyond(first) => Holds::Beyond(first),
            _ if !ask.reaches(&path) => Holds::Beyond(path.clone()),
            Holds::Whole if etag.is_some() && listed.map(ETag::to_string) == *etag => Holds::Whole,
            Holds::Whole | Holds::Torn => Holds::Torn,
        };
        members.push(path);
    }
    Some(Claim { database, members, holds })
}

/// True when both sides hold the same set, and the manifest says that it is torn: an upload publishes what it is.
pub(super) fn are_owed(sight: &Sight, plan: &Plan) -> bool {
    let is_same = |path: &RelPath| plan.same.binary_search(path).is_ok();
    let whole = |database: &RelPath| {
        let here = companions(database).into_iter().filter(|path| sight.local(path.as_str()).is_some());
        is_same(database) && here.into_iter().all(|path| is_same(&path))
    };
    sight.claims.iter().any(|claim| claim.holds == Holds::Torn && whole(&claim.database))
}

/// What several heads say of sets: of each what the bucket lists, else what the newest says.
pub(super) fn of_heads(found: &[(Name, Manifest)], listing: &Listing) -> Vec<Together> {
    let mut heads: Vec<(&Name, &Header)> = found.iter().map(|(name, manifest)| (name, &manifest.header)).collect();
    heads.sort_by(|a, b| b.0.cmp(a.0));
    let mut sets: Vec<Together> = Vec::new();
    let is_listed = |(path, etag): &(String, Option<String>)| {
        let listed = listing.find(path).map(|object| object.etag.to_string());
        listed.is_some() && listed == *etag
    };
    for together in heads.iter().flat_map(|(_, header)| &header.sets) {
        match sets.iter_mut().find(|known| known.of == together.of) {
            None => sets.push(together.clone()),
            Some(known) if !known.members.iter().all(is_listed) && together.members.iter().all(is_listed) => *known = together.clone(),
            Some(_) => {}
        }
    }
    sets
}

/// What this run publishes of sets. `tree` is what it publishes of their files.
pub(super) fn after(work: &Work<'_>, tree: &Tree) -> Vec<Together> {
    let before = work.sight.state.newest.as_ref().map(|header| header.sets.as_slice()).unwrap_or_default();
    let (local, bucket) = (&work.sight.local, &work.sight.view.entries);
    let mut all: Vec<Set> = sets(local, bucket);
    for database in work.together.keys().filter(|database| !all.iter().any(|set| set.database == **database)).cloned().collect::<Vec<_>>() {
        let members = std::iter::once(database.clone()).chain(companions(&database)).collect();
        all.push(Set { database, members });
    }
    let mut published: Vec<Together> = Vec::new();
    for set in &all {
        let parent = before.iter().find(|together| together.of == set.database.as_str());
        published.extend(one_after(work, tree, set, parent));
    }
    let is_new = |together: &&Together| !all.iter().any(|set| set.database.as_str() == together.of);
    published.extend(before.iter().filter(is_new).filter(|together| find(tree, &together.of).is_some()).cloned());
    published.sort_by(|a, b| a.of.cmp(&b.of));
    published
}

fn one_after(work: &Work<'_>, tree: &Tree, set: &Set, parent: Option<&Together>) -> Option<Together> {
    // A file without its database belongs to nothing.
    find(tree, set.database.as_str())?;
    let failed = |path: &RelPath| work.report.failures.iter().any(|failure| failure.path == *path);
    let etag = |path: &RelPath| find(tree, path.as_str())?.file()?.etag.as_ref().map(ETag::to_string);
    let is_proven = |path: &RelPath| {
        let sent = work.done.get(path).is_some_and(|done| done.entry.is_some());
        (sent || work.plan.same.binary_search(path).is_ok()) && !failed(path)
    };
    let here = || set.members.iter().filter(|path| work.sight.local(path.as_str()).is_some_and(|local| local.entry.file().is_some()));
    let named = |paths: &[RelPath], known: &dyn Fn(&RelPath) -> bool| {
        let member = |path: &RelPath| (path.as_str().to_owned(), etag(path).filter(|_| known(path)));
        Together { of: set.database.as_str().to_owned(), members: paths.iter().map(member).collect() }
    };
    let together = match work.together.get(&set.database) {
        Some(Some(members)) => named(members, &|_| true),
        Some(None) => match parent {
            Some(parent) => return Some(parent.clone()),
            None => named(&here().cloned().collect::<Vec<_>>(), &is_proven),
        },
        None if is_proven(&set.database) && here().all(is_proven) => named(&here().cloned().collect::<Vec<_>>(), &|_| true),
        None => return parent.cloned(),
    };
    // A database alone needs no word.
    let others = set.members.iter().filter(|path| **path != set.database).any(|path| find(tree, path.as_str()).is_some());
    (others || together.members.len() > 1).then_some(together)
}
