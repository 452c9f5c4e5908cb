//! The contract's table on plain maps: what a run must leave behind on both sides, and what it must report. Knows no file, no request and
//! no code of lsync's.

use std::collections::{BTreeMap, BTreeSet};

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u8),
    Link(u8),
}

pub(super) type Side = BTreeMap<&'static str, Node>;

/// A mount and what it remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Instance {
    pub(super) local: Side,
    /// What both sides last agreed on.
    base: Side,
    /// What was published when it last looked and saved.
    known: Side,
    /// What a later manifest no longer had.
    removed: BTreeSet<&'static str>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) instances: [Instance; 2],
    pub(super) objects: BTreeMap<&'static str, u8>,
    /// The entries of the newest manifest.
    published: Side,
    is_published: bool,
}

/// A run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) who: usize,
    pub(super) upload: bool,
    pub(super) delete: bool,
    pub(super) overwrite: bool,
    /// A PATH.
    pub(super) only: Option<&'static str>,
    /// An `--exclude` of this very path.
    pub(super) without: Option<&'static str>,
}

/// What a run must report, and what it must have kept a copy of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) moved: u64,
    pub(super) deleted: u64,
    pub(super) unchanged: u64,
    pub(super) protected: u64,
    pub(super) conflicts: u64,
    pub(super) kept: u64,
    pub(super) problems: u64,
    pub(super) complete: bool,
    /// Contents of files that were replaced or deleted although nothing proves that they live on: they are in the trash or the history.
    pub(super) copies: Vec<u8>,
}

/// How a run ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Told(Told),
    /// The source is empty, and deletions or an upload were asked for.
    Refused,
    /// The PATH is nowhere.
    NoSuchPath,
    /// The PATH is ignored as a whole.
    Ignored,
}

impl Run {
    pub(super) fn reaches(&self, path: &str) -> bool {
        self.only.is_none_or(|only| path == only || path.strip_prefix(only).is_some_and(|rest| rest.starts_with('/')))
    }

    fn in_scope(&self, path: &str) -> bool {
        self.reaches(path) && self.without != Some(path)
    }
}

impl World {
    /// What the bucket holds: its objects, and what only the manifest carries.
    pub(super) fn bucket(&self) -> Side {
        let links = self.published.iter().filter(|(_, node)| matches!(node, Node::Link(_)));
        let mut side: Side = links.map(|(path, node)| (*path, *node)).collect();
        side.extend(self.objects.iter().map(|(path, content)| (*path, Node::File(*content))));
        side
    }

    /// Makes the run. `saved`: whether the real one wrote down what it had learnt from the manifests; a run that changes and learns nothing
    /// may leave that to the next.
    pub(super) fn run(&mut self, run: &Run, saved: bool) -> End {
        let bucket = self.bucket();
        let mut me = self.instances[run.who].clone();
        let all: BTreeSet<&'static str> =
            [&me.local, &bucket, &me.base, &me.known, &self.published].iter().flat_map(|side| side.keys().copied()).collect();
        if run.only.is_some() && run.only == run.without {
            return End::Ignored;
        }
        if run.only.is_some() && !all.iter().any(|path| run.reaches(path)) {
            return End::NoSuchPath;
        }
        me.removed = me.removed_now(&self.published);
        me.known.clone_from(&self.published);
        let paths: Vec<&'static str> = all.into_iter().filter(|path| run.in_scope(path)).collect();
        let entries = |side: &Side| paths.iter().filter(|path| side.contains_key(*path)).count();
        let (sources, destinations) = if run.upload { (&me.local, &bucket) } else { (&bucket, &me.local) };
        // A run that is narrowed to a PATH may find it empty: what else the source holds shows that it is the right one.
        let holds_more = if run.upload { !me.local.is_empty() } else { self.is_published };
        let known = entries(destinations) + if run.upload { entries(&me.base) + entries(&self.published) } else { 0 };
        // A pattern may leave out the very thing that shows what was removed. Without --delete, an upload of nothing is refused.
        let shown = run.only.is_some() || run.without.is_some() && !run.delete;
        if (run.delete || run.upload) && entries(sources) == 0 && known > 0 && !(holds_more && shown) {
            return End::Refused;
        }
        let mut told = Told::default();
        let (mut tree, mut changed) = (self.published.clone(), false);
        for path in paths {
            let (local, there, base) = (me.local.get(path).copied(), bucket.get(path).copied(), me.base.get(path).copied());
            let (source, destination) = if run.upload { (local, there) } else { (there, local) };
            let proven = run.upload || me.removed.contains(path);
            let act = decide(source, destination, base, run, proven);
            match act {
                Act::Nothing => {}
                Act::Same => {
                    told.unchanged += 1;
                    me.base.extend(source.map(|node| (path, node)));
                    me.removed.remove(path);
                    tree.extend(source.map(|node| (path, node)));
                }
                Act::Protect => told.protected += 1,
                Act::Conflict => told.conflicts += 1,
                Act::Keep => told.kept += 1,
                Act::Set(node) => {
                    changed = true;
                    if node.is_some() {
                        told.moved += 1;
                    } else {
                        told.deleted += 1;
                    }
                    if let Some(Node::File(content)) = destination
                        && (!run.upload || base != destination)
                    {
                        told.copies.push(content);
                    }
                    put(&mut me.base, path, node);
                    me.removed.remove(path);
                    if run.upload {
                        put(&mut tree, path, node);
                        match node {
                            Some(Node::File(content)) => drop(self.objects.insert(path, content)),
                            _ => drop(self.objects.remove(path)),
                        }
                    } else {
                        put(&mut me.local, path, node);
                    }
                }
            }
            let vanished = matches!(self.published.get(path), Some(Node::File(_))) && there.is_none();
            told.problems += u64::from(vanished && !run.upload && local.is_none());
            let gone = local.is_none() && there.is_none() && base.is_some();
            if gone && vanished && run.upload && run.delete {
                // Gone here and there: what is published forgets it, and this is a deletion.
                changed = true;
                told.deleted += 1;
                tree.remove(path);
                me.base.remove(path);
            }
        }
        if run.upload && changed {
            (self.published, self.is_published) = (tree, true);
            me.known.clone_from(&self.published);
        }
        if run.upload && saved {
            let gone = |path: &str| run.in_scope(path) && !me.local.contains_key(path) && !bucket.contains_key(path);
            me.base.retain(|path, _| !gone(path) || me.known.contains_key(path));
        }
        // Nothing anywhere, and nobody has published: the place may be a wrong one.
        let nothing_there = !run.upload && run.only.is_none() && !self.is_published && self.objects.is_empty() && me.local.is_empty();
        told.complete = told.conflicts + told.problems == 0 && !nothing_there;
        let before = std::mem::replace(&mut self.instances[run.who], me);
        if !saved {
            let me = &mut self.instances[run.who];
            (me.known, me.removed) = (before.known, before.removed);
        }
        End::Told(told)
    }
}

impl Instance {
    fn removed_now(&self, published: &Side) -> BTreeSet<&'static str> {
        let was_there = |path: &&&'static str| self.removed.contains(**path) || self.known.contains_key(**path);
        let paths = self.base.keys().filter(was_there).copied();
        paths.filter(|path| !published.contains_key(path)).collect()
    }
}

enum Act {
    Nothing,
    Same,
    Protect,
    Conflict,
    Keep,
    /// The destination becomes this.
    Set(Option<Node>),
}

/// The table.
fn decide(source: Option<Node>, destination: Option<Node>, base: Option<Node>, run: &Run, proven: bool) -> Act {
    match (source, destination) {
        (None, None) => Act::Nothing,
        (Some(_), None) => Act::Set(source),
        (None, Some(_)) if base.is_none() || !run.delete || !proven => Act::Keep,
        (None, Some(_)) => {
            if destination == base || run.overwrite {
                Act::Set(None)
            } else {
                Act::Conflict
            }
        }
        _ if source == destination => Act::Same,
        _ if destination == base || run.overwrite => Act::Set(source),
        _ if source == base => Act::Protect,
        _ => Act::Conflict,
    }
}

fn put(side: &mut Side, path: &'static str, node: Option<Node>) {
    match node {
        Some(node) => drop(side.insert(path, node)),
        None => drop(side.remove(path)),
    }
}
