//! Files that belong together: a SQLite database with its `-wal`, `-journal` and `-shm`, an LMDB environment with its lock. Which files
//! do, by their names alone, and what a plan may do with a part of such a set. Pure.
//!
//! A database beside the `-wal` of another moment is malformed. So a set moves as a whole or not at all, and what is left over from an
//! older version of it is not brought, and makes room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::input::{Input, Spoilt};
use super::{Direction, Kept, Leftover, Plan, Removal, Way, found};
use crate::entry::{Entry, Local, find};
use crate::path::RelPath;
use crate::problem::{Problem, Side, Skipped, exclude_line};
use crate::view::Remote;

/// What the names of files that belong to another one end in, in the order in which they are sent after it.
const ENDINGS: [&str; 4] = ["-wal", "-journal", "-shm", "-lock"];
/// The two files of an LMDB environment that has a directory of its own.
const LMDB: [&str; 2] = ["data.mdb", "lock.mdb"];

/// Files that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The database, which the others are named after.
    pub database: RelPath,
    /// All of them that are on one side at least, in the order in which they are sent: the database first.
    pub members: Vec<RelPath>,
}

/// What a manifest says of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The database.
    pub database: RelPath,
    /// The files that were published as one, the database among them, as far as they travel.
    pub members: Vec<RelPath>,
    /// Whether the bucket still holds exactly these.
    pub holds: Holds,
}

/// Whether the bucket holds what was published as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Every member as it was published.
    Whole,
    /// At least one of them is another one, or missing.
    Torn,
    /// This member lies outside the run's PATHs.
    Beyond(RelPath),
}

/// Where files lie that could belong to a database of this path, in the order in which they are sent.
#[must_use]
pub fn companions(database: &RelPath) -> Vec<RelPath> {
    let path = database.as_str();
    let lock = (database.name() == LMDB[0]).then(|| format!("{}{}", path.strip_suffix(LMDB[0]).unwrap_or(""), LMDB[1]));
    ENDINGS.iter().map(|ending| format!("{path}{ending}")).chain(lock).filter_map(|path| RelPath::new(&path).ok()).collect()
}

/// The database that a file belongs to by its name, where that is a file.
#[must_use]
pub fn database_of(path: &RelPath, is_file: &dyn Fn(&str) -> bool) -> Option<RelPath> {
    let text = path.as_str();
    let stem = if path.name() == LMDB[1] {
        Some(format!("{}{}", text.strip_suffix(LMDB[1]).unwrap_or(""), LMDB[0]))
    } else {
        ENDINGS.iter().find_map(|ending| text.strip_suffix(ending)).map(str::to_owned)
    };
    let stem = stem.filter(|stem| is_file(stem)).and_then(|stem| RelPath::new(&stem).ok())?;
    Some(database_of(&stem, is_file).unwrap_or(stem))
}

/// The sets among the files of both sides, in path order.
#[must_use]
pub fn sets(local: &[(RelPath, Local)], bucket: &[(RelPath, Remote)]) -> Vec<Set> {
    let is_file = |path: &str| {
        find(local, path).is_some_and(|local| local.entry.file().is_some()) || find(bucket, path).is_some_and(|r| r.entry.file().is_some())
    };
    // Of a million names the last letter settles most.
    let may_belong = |path: &RelPath| {
        matches!(path.as_str().as_bytes().last(), Some(b'l' | b'm' | b'k' | b'b'))
            && ENDINGS.iter().chain(&LMDB[1..]).any(|ending| path.as_str().ends_with(ending))
    };
    let here = local.iter().filter(|(path, local)| may_belong(path) && local.entry.file().is_some()).map(|(path, _)| path);
    let there = bucket.iter().filter(|(path, remote)| may_belong(path) && remote.entry.file().is_some()).map(|(path, _)| path);
    let mut found: BTreeMap<RelPath, BTreeSet<&RelPath>> = BTreeMap::new();
    for path in here.chain(there) {
        if let Some(database) = database_of(path, &is_file) {
            found.entry(database).or_default().insert(path);
        }
    }
    let rank = |path: &RelPath| ENDINGS.iter().position(|ending| path.as_str().ends_with(ending)).unwrap_or(ENDINGS.len());
    let in_order = |(database, others): (RelPath, BTreeSet<&RelPath>)| {
        let mut members: Vec<RelPath> = others.into_iter().cloned().collect();
        members.sort_by_key(rank);
        members.insert(0, database.clone());
        Set { database, members }
    };
    found.into_iter().map(in_order).collect()
}

/// What a plan does with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing: it is on neither side.
    Absent,
    /// Nothing: both sides hold the same.
    Same,
    /// It is transferred.
    Moves,
    /// It is only at the destination, and stays.
    Kept,
    /// It is only at the destination, and goes.
    Goes,
    /// It is newer at the destination, in conflict or not comparable.
    Undecided,
    /// It cannot be synced.
    Spoilt,
}

/// Why no member of a set moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Torn,
    Beyond,
    Spoilt,
    Undecided,
    NoDatabase,
}

/// Whether a set, the database first, must stay as it is. `holds`: what is published of it, where that counts.
fn held(direction: Direction, fates: &[Fate], holds: Option<&Holds>) -> Option<Why> {
    let any = |fate| fates.contains(&fate);
    let download = direction == Direction::Download;
    match holds {
        _ if !any(Fate::Moves) => None,
        Some(Holds::Torn) if download => Some(Why::Torn),
        Some(Holds::Beyond(_)) if download => Some(Why::Beyond),
        _ if any(Fate::Spoilt) => Some(Why::Spoilt),
        _ if any(Fate::Undecided) => Some(Why::Undecided),
        _ if fates.first() == Some(&Fate::Kept) => Some(Why::NoDatabase),
        _ => None,
    }
}

/// Makes every set in the plan move as a whole, or not at all. `overwrite` takes what the bucket has as it is.
pub(super) fn bind(plan: &mut Plan, input: &Input<'_>, spoilt: &Spoilt<'_>, overwrite: bool) {
    if plan.transfers.is_empty() {
        return;
    }
    let mut sets = sets(input.local, input.bucket);
    // Of what lies beyond the run's PATHs only the claim tells.
    let known: BTreeSet<RelPath> = sets.iter().map(|set| set.database.clone()).collect();
    let others = input.sets.iter().filter(|claim| !known.contains(&claim.database));
    sets.extend(others.map(|claim| Set { database: claim.database.clone(), members: claim.members.clone() }));
    let fates = fates(plan, spoilt, &sets);
    let mut binder = Binder { plan: &*plan, input, fates, overwrite, stays: BTreeSet::new(), goes: BTreeSet::new(), told: Told::default() };
    for set in &sets {
        let claim = input.sets.iter().find(|claim| claim.database == set.database);
        binder.set(set, claim.filter(|claim| !overwrite || claim.holds == Holds::Whole));
    }
    let Binder { stays, goes, told, .. } = binder;
    if !stays.is_empty() {
        plan.transfers.retain(|transfer| !stays.contains(&transfer.path));
    }
    if !goes.is_empty() {
        let bytes = |path: &RelPath| find(input.local, path.as_str()).map_or(0, |local| local.entry.bytes());
        plan.same_bytes -= plan.same.iter().filter(|path| goes.contains(*path)).map(bytes).sum::<u64>();
        plan.same.retain(|path| !goes.contains(path));
        plan.removals.retain(|removal| !goes.contains(&removal.path));
        plan.kept.retain(|kept| !goes.contains(&kept.path));
    }
    plan.skipped.extend(told.skipped);
    plan.conflicts.extend(told.conflicts);
    plan.problems.extend(told.problems);
    plan.leftovers = told.leftovers;
}

/// What is found about the sets of a plan.
struct Binder<'a, 'b> {
    plan: &'a Plan,
    input: &'a Input<'b>,
    fates: HashMap<RelPath, Fate>,
    overwrite: bool,
    /// Transfers that do not take place.
    stays: BTreeSet<RelPath>,
    /// Files of the mount that make room.
    goes: BTreeSet<RelPath>,
    told: Told,
}

/// What comes into the plan.
#[derive(Default)]
struct Told {
    skipped: Vec<Skipped>,
    conflicts: Vec<Kept>,
    problems: Vec<Problem>,
    leftovers: Vec<Leftover>,
}

impl Binder<'_, '_> {
    fn fate(&self, path: &RelPath) -> Fate {
        self.fates.get(path).copied().unwrap_or(Fate::Absent)
    }

    fn set(&mut self, set: &Set, claim: Option<&Claim>) {
        let download = self.plan.direction == Direction::Download;
        let whole = claim.filter(|claim| download && claim.holds == Holds::Whole);
        let in_bucket = |path: &RelPath| find(self.input.bucket, path.as_str()).is_some();
        let left_over: Vec<bool> =
            set.members.iter().map(|path| whole.is_some_and(|claim| !claim.members.contains(path)) && in_bucket(path)).collect();
        let fate = |(path, left_over): (&RelPath, &bool)| match self.fate(path) {
            Fate::Moves if *left_over => Fate::Absent,
            fate => fate,
        };
        let fates: Vec<Fate> = set.members.iter().zip(&left_over).map(fate).collect();
        for (path, left_over) in set.members.iter().zip(&left_over) {
            if *left_over && self.fate(path) == Fate::Moves {
                let why = format!("left over in the bucket from an older version of {}, and no part of what was published", set.database);
                self.told.skipped.push(Skipped { path: path.clone(), why });
                self.stays.insert(path.clone());
            }
        }
        if let Some(why) = held(self.plan.direction, &fates, claim.map(|claim| &claim.holds)) {
            return self.hold(set, claim, why);
        }
        if !download || !fates.contains(&Fate::Moves) {
            return;
        }
        // What stays here beside the new version would be taken for a part of it.
        let mut stale = Vec::new();
        for ((path, fate), left_over) in set.members.iter().zip(&fates).zip(&left_over) {
            let stays = match fate {
                Fate::Kept | Fate::Goes => true,
                Fate::Same | Fate::Absent => *left_over,
                Fate::Moves | Fate::Undecided | Fate::Spoilt => false,
            };
            if let Some(local) = find(self.input.local, path.as_str()).filter(|_| stays) {
                let base = find(self.input.base, path.as_str()).map(|base| local.entry.same_content(base));
                let is_safe = base == Some(Some(true)) || holds_nothing(path, &local.entry) || *fate == Fate::Same;
                stale.push((path, local, !is_safe));
            }
        }
        if !self.overwrite && stale.iter().any(|(_, _, loses)| *loses) {
            return self.hold(set, claim, Why::Undecided);
        }
        for (path, local, loses) in stale {
            let removal = Removal { path: path.clone(), found: found::in_mount(local), bytes: local.entry.bytes(), loses };
            self.told.leftovers.push(Leftover { removal, database: set.database.clone() });
            self.goes.insert(path.clone());
        }
    }

    /// Keeps a set's transfers from taking place, and says why.
    fn hold(&mut self, set: &Set, claim: Option<&Claim>, why: Why) {
        let moving: Vec<&RelPath> =
            set.members.iter().filter(|path| self.fate(path) == Fate::Moves && !self.stays.contains(*path)).collect();
        let database = &set.database;
        let (verb, side) = match self.plan.direction {
            Direction::Upload => ("sent", Side::Local),
            Direction::Download => ("brought", Side::Bucket),
        };
        let text = match (why, claim.map(|claim| &claim.holds)) {
            (Why::Torn, _) => Ok(format!(
                "{database} and the files that belong to it are of different uploads in the bucket, so none of them is {verb}; upload again \
                 from where they are whole, or take them as they are with `lsync download --overwrite`"
            )),
            (Why::Beyond, Some(Holds::Beyond(other))) => {
                Ok(format!("it belongs together with {other}, which is not among the PATHs; name both"))
            }
            (Why::Spoilt | Why::Beyond, _) => {
                Ok(format!("it belongs to {database}, of which not all files can be synced, so none of them is {verb}"))
            }
            (Why::Undecided, _) => Err("files that belong together changed on both sides"),
            (Why::NoDatabase, _) => Err("the database that it belongs to was removed"),
        };
        for path in &moving {
            let path = RelPath::clone(path);
            match &text {
                Ok(why) => self.told.problems.push(Problem {
                    name: path.as_str().to_owned(),
                    exclude: Some(exclude_line(path.as_str())),
                    path: Some(path),
                    below: false,
                    side,
                    why: why.clone(),
                }),
                Err(why) => {
                    let at = self.plan.transfers.binary_search_by(|transfer| transfer.path.cmp(&path));
                    let bytes = at.map_or(0, |at| self.plan.transfers[at].source.bytes());
                    self.told.conflicts.push(Kept { path, bytes, why, way: Way::Either });
                }
            }
        }
        let moving: Vec<RelPath> = moving.into_iter().cloned().collect();
        self.stays.extend(moving);
    }
}

/// A lock, an index that the next program rebuilds, or an empty log: whoever loses it loses nothing.
fn holds_nothing(path: &RelPath, entry: &Entry) -> bool {
    let name = path.as_str();
    entry.bytes() == 0 || name.ends_with("-shm") || name.ends_with("-lock") || path.name() == LMDB[1]
}

/// What the plan does with every member of these sets.
fn fates(plan: &Plan, spoilt: &Spoilt<'_>, sets: &[Set]) -> HashMap<RelPath, Fate> {
    let members: BTreeSet<&RelPath> = sets.iter().flat_map(|set| &set.members).collect();
    let mut fates: HashMap<RelPath, Fate> = HashMap::new();
    if members.is_empty() {
        return fates;
    }
    let mut note = |path: &RelPath, fate| {
        if members.contains(path) {
            fates.insert(path.clone(), fate);
        }
    };
    plan.same.iter().for_each(|path| note(path, Fate::Same));
    plan.kept.iter().for_each(|kept| note(&kept.path, Fate::Kept));
    plan.removals.iter().for_each(|removal| note(&removal.path, Fate::Goes));
    plan.transfers.iter().for_each(|transfer| note(&transfer.path, Fate::Moves));
    plan.protected.iter().chain(&plan.conflicts).chain(&plan.unknown).for_each(|kept| note(&kept.path, Fate::Undecided));
    members.iter().filter(|path| spoilt.covers(path)).for_each(|path| note(path, Fate::Spoilt));
    fates
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{File, Kind};

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn files(names: &str) -> Vec<(RelPath, Local)> {
        let entry = Arc::new(Entry { kind: Kind::File(File::default()), mode: None });
        let mut files: Vec<_> = names.split_whitespace().map(|name| (path(name), Local { entry: entry.clone(), stamp: None })).collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files
    }

    #[test]
    fn files_belong_together_by_their_names() {
        let check = |here: &str, there: &str, expected: &[&str]| {
            let remote = |(path, local): (RelPath, Local)| (path, Remote { entry: local.entry, last_modified: None, marker: None });
            let bucket: Vec<_> = files(there).into_iter().map(remote).collect();
            let found: Vec<String> = sets(&files(here), &bucket)
                .iter()
                .map(|set| set.members.iter().map(RelPath::as_str).collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(found, expected, "{here} | {there}");
        };
        check("run.db", "", &[]);
        check("run.db run.db-shm run.db-wal", "", &["run.db run.db-wal run.db-shm"]);
        check("run.db", "run.db-wal", &["run.db run.db-wal"]);
        check("d/x d/x-journal e/x-journal x-wal", "", &["d/x d/x-journal"]);
        check("any name any-wal", "", &["any any-wal"]);
        check("run.db-wal", "", &[]);
        check("e/data.mdb e/lock.mdb lock.mdb", "", &["e/data.mdb e/lock.mdb"]);
        check("env env-lock", "", &["env env-lock"]);
        check("a a-wal a-wal-shm", "", &["a a-wal a-wal-shm"]);
        check("a-lock b.db c-shm/x", "b.db-wal/x", &[]);
    }

    #[test]
    fn a_set_moves_as_a_whole_or_not_at_all() {
        use Direction::{Download, Upload};
        let check = |direction, fates: &str, holds: Option<Holds>, expected: Option<Why>| {
            let fate = |letter| match letter {
                '.' => Fate::Absent,
                '=' => Fate::Same,
                '+' => Fate::Moves,
                'k' => Fate::Kept,
                '-' => Fate::Goes,
                '!' => Fate::Undecided,
                _ => Fate::Spoilt,
            };
            let fates: Vec<Fate> = fates.chars().map(fate).collect();
            assert_eq!(held(direction, &fates, holds.as_ref()), expected, "{direction:?} {fates:?} {holds:?}");
        };
        for direction in [Upload, Download] {
            check(direction, "++", None, None);
            check(direction, "+=", None, None);
            check(direction, "=+", None, None);
            check(direction, "==", None, None);
            check(direction, "+k", None, None);
            check(direction, "+-", None, None);
            check(direction, "-+", None, None);
            check(direction, "+!", None, Some(Why::Undecided));
            check(direction, "!+", None, Some(Why::Undecided));
            check(direction, "!!", None, None);
            check(direction, "+x", None, Some(Why::Spoilt));
            check(direction, "x=", None, None);
            check(direction, "k+", None, Some(Why::NoDatabase));
            check(direction, ".+", None, None);
            check(direction, "++", Some(Holds::Whole), None);
        }
        check(Download, "++", Some(Holds::Torn), Some(Why::Torn));
        check(Download, "=+", Some(Holds::Torn), Some(Why::Torn));
        check(Download, "==", Some(Holds::Torn), None);
        check(Upload, "=+", Some(Holds::Torn), None);
        check(Download, "+.", Some(Holds::Beyond(path("x-wal"))), Some(Why::Beyond));
        check(Upload, "+.", Some(Holds::Beyond(path("x-wal"))), None);
    }
}
