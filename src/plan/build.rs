//! Turns how every path stands into what one direction does about it.

use std::sync::Arc;

use super::clash::{self, Verdict};
use super::deleted;
use super::found;
use super::input::{Input, Spoilt};
use super::{Choices, Class, Direction, Found, Kept, LeftOut, Plan, Removal, Transfer, Update, Way, link_leaves_mount, sets, why_kept};
use crate::diff::{Since, Standing, Triple, merge, mode_after, mode_to_carry, same_size_and_time, standing};
use crate::entry::{Entry, Kind, Local, below, find};
use crate::path::RelPath;
use crate::problem::{Problem, Side, Skipped, exclude_line};
use crate::view::Remote;

/// Makes the plan.
#[must_use]
pub fn build(direction: Direction, choices: Choices, input: &Input<'_>) -> Plan {
    let (local, bucket) = (input.local.len() as u64, input.bucket.len() as u64);
    let (source_entries, destination_entries) = match direction {
        Direction::Upload => (local, bucket),
        Direction::Download => (bucket, local),
    };
    let plan = Plan {
        vanished: input.vanished.to_vec(),
        problems: input.problems.to_vec(),
        skipped: input.skipped.to_vec(),
        may_delete: choices.delete,
        source_entries,
        destination_entries,
        remembered_entries: input.base.len() as u64,
        owed: input.owed && direction == Direction::Upload,
        ..Plan::empty(direction)
    };
    let mut builder = Builder { choices, input, spoilt: Spoilt::of(input), plan, full_there: Vec::new() };
    builder.rows();
    builder.vanished();
    builder.emptied();
    deleted::add_left_empty(&mut builder.plan, input, &builder.spoilt);
    builder.plan.transfers.sort_by(|a, b| a.path.cmp(&b.path));
    sets::bind(&mut builder.plan, input, &builder.spoilt, choices.overwrite);
    builder.plan
}

struct Builder<'a, 'b> {
    choices: Choices,
    input: &'b Input<'a>,
    spoilt: Spoilt<'a>,
    plan: Plan,
    /// Empty directories of the source below which the destination has something, and why they would travel.
    full_there: Vec<(RelPath, Class)>,
}

/// A path as the direction sees it.
pub(super) struct Seen<'a> {
    pub(super) path: &'a RelPath,
    pub(super) local: Option<&'a Local>,
    pub(super) bucket: Option<&'a Remote>,
    pub(super) base: Option<&'a Entry>,
}

impl<'a> Seen<'a> {
    fn triple(&self) -> Triple<'a> {
        Triple { local: self.local.map(|l| &*l.entry), bucket: self.bucket.map(|r| &*r.entry), base: self.base }
    }
}

impl Builder<'_, '_> {
    fn rows(&mut self) {
        let clashes = clash::roots(self.input);
        for row in merge(self.input.local, self.input.bucket, self.input.base) {
            if self.spoilt.covers(row.path) {
                continue;
            }
            if self.is_special(row.path, row.bucket) || clash::covers(&clashes, row.path) {
                continue;
            }
            self.row(&Seen { path: row.path, local: row.local, bucket: row.bucket, base: row.base.copied() });
        }
        for root in &clashes {
            // A problem says itself what is to be done.
            if !self.spoilt.covers(root) {
                self.clash(root);
            }
        }
    }

    /// A socket, FIFO or device stands where the bucket has something: neither is touched, and the bucket's bytes are not here.
    fn is_special(&mut self, path: &RelPath, bucket: Option<&Remote>) -> bool {
        let special = self.spoilt.is_special(path);
        if special && bucket.is_some() {
            self.plan.problems.push(Problem {
                name: path.as_str().to_owned(),
                path: Some(path.clone()),
                below: false,
                side: Side::Local,
                why: "the mount has a socket, FIFO or device where the bucket has content; move it away".into(),
                exclude: Some(exclude_line(path.as_str())),
            });
        }
        special
    }

    fn upload(&self) -> bool {
        self.plan.direction == Direction::Upload
    }

    fn row(&mut self, at: &Seen<'_>) {
        let is_torn = self.input.torn.binary_search(at.path).is_ok();
        // What is remembered of it was agreed on before two hosts differed.
        let at = &Seen { base: at.base.filter(|_| !is_torn), ..*at };
        let Some(mut stands) = standing(at.triple()) else { return };
        if stands == Standing::Unknown && self.choices.compare_size && same_size_and_time(at.triple()) {
            stands = Standing::Same;
        }
        let upload = self.upload();
        if is_torn && (upload || !self.choices.overwrite) && !self.fills(at) {
            // An upload settles it by publishing what the mount has; a download takes what the newest head has.
            if self.choices.overwrite && at.local.is_some() {
                self.transfer(at, Class::OverwriteConflict);
            } else {
                let way = if at.local.is_some() { Way::Either } else { Way::Bring };
                self.plan.conflicts.push(Kept { way, ..kept(at, "two hosts published it differently at the same time") });
            }
            return;
        }
        match stands {
            Standing::Same => self.same(at),
            Standing::Unknown if self.choices.overwrite => self.transfer(at, Class::OverwriteUnknown),
            Standing::Unknown => keep(&mut self.plan.unknown, at, "equal size, and nothing tells about the content"),
            Standing::BothChanged if self.choices.overwrite => self.transfer(at, Class::OverwriteConflict),
            Standing::BothChanged => keep(&mut self.plan.conflicts, at, both_changed(at)),
            Standing::LocalChanged | Standing::BucketChanged => {
                if (stands == Standing::LocalChanged) == upload {
                    self.transfer(at, if same_kind(at) { Class::Changed } else { Class::KindChanged });
                } else if self.choices.overwrite {
                    self.transfer(at, Class::OverwriteProtected);
                } else {
                    keep(&mut self.plan.protected, at, if upload { "newer in the bucket" } else { "newer in the mount" });
                }
            }
            Standing::OnlyLocal(since) => {
                if upload {
                    self.only_at_source(at, since);
                } else {
                    self.only_at_destination(at, since);
                }
            }
            Standing::OnlyBucket(since) => {
                if upload {
                    self.only_at_destination(at, since);
                } else {
                    self.only_at_source(at, since);
                }
            }
        }
    }

    /// True for a directory that is empty on one side and full on the other: nobody can differ about it any more.
    fn fills(&self, at: &Seen<'_>) -> bool {
        let is_dir = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == Kind::Dir);
        let (ours, theirs) = (at.triple().local, at.triple().bucket);
        is_dir(ours) && !below(self.input.bucket, at.path.as_str()).is_empty()
            || is_dir(theirs) && !below(self.input.local, at.path.as_str()).is_empty()
    }

    fn same(&mut self, at: &Seen<'_>) {
        self.plan.same.push(at.path.clone());
        let (Some(local), Some(bucket)) = (at.local, at.bucket) else { return };
        self.plan.same_bytes += local.entry.bytes();
        let (source, destination) = if self.upload() { (&local.entry, &bucket.entry) } else { (&bucket.entry, &local.entry) };
        if let Some(mode) = mode_to_carry(source, destination, at.base, self.input.umask) {
            self.plan.updates.push(Update { path: at.path.clone(), found: self.found(at), mode });
        }
    }

    fn only_at_source(&mut self, at: &Seen<'_>, since: Since) {
        let source = self.source(at);
        let class = if since == Since::New { Class::New } else { Class::SentAgain };
        if class == Class::New
            && !self.upload()
            && let Some(deleted) = find(self.input.deleted, at.path.as_str())
        {
            let bytes = source.map_or(0, |entry| entry.bytes());
            self.plan.left_out.push(LeftOut { path: at.path.clone(), bytes, host: deleted.host.clone() });
            return;
        }
        if source.is_some_and(|e| e.kind == Kind::Dir) {
            if self.destination_has_below(at.path) {
                // Empty here and not there: no clash, and nothing to do while the other side keeps what it has.
                self.full_there.push((at.path.clone(), class));
                return;
            }
            if !self.upload() && self.spoilt.is_there_but_not_listed(at.path) {
                self.plan.same.push(at.path.clone());
                return;
            }
        }
        self.transfer(at, class);
    }

    fn only_at_destination(&mut self, at: &Seen<'_>, since: Since) {
        let (source_below, entry) = if self.upload() {
            (!below(self.input.local, at.path.as_str()).is_empty(), at.triple().bucket)
        } else {
            (!below(self.input.bucket, at.path.as_str()).is_empty(), at.triple().local)
        };
        if source_below && entry.is_some_and(|e| e.kind == Kind::Dir) {
            return; // empty here and full there: it fills, and is neither kept apart nor removed
        }
        let upload = self.upload();
        if upload && entry.is_some_and(|e| e.kind == Kind::Dir) && self.spoilt.is_there_but_not_listed(at.path) {
            self.plan.same.push(at.path.clone());
            return;
        }
        let proven = if upload { self.input.base_is_of_this_mount } else { (self.input.removed)(at.path) };
        let changed = since == Since::Changed;
        if since == Since::New || !self.choices.delete || !proven {
            keep(&mut self.plan.kept, at, why_kept(since, upload));
        } else if changed && !self.choices.overwrite {
            self.plan.conflicts.push(Kept { way: Way::Removal, ..kept(at, why_kept(since, upload)) });
        } else {
            let bytes = at.local.map_or(0, |l| l.entry.bytes()) + at.bucket.map_or(0, |r| r.entry.bytes());
            self.plan.removals.push(Removal { path: at.path.clone(), found: self.found(at), bytes, loses: changed });
        }
    }

    fn source<'x>(&self, at: &Seen<'x>) -> Option<&'x Arc<Entry>> {
        if self.upload() { at.local.map(|l| &l.entry) } else { at.bucket.map(|r| &r.entry) }
    }

    fn destination_has_below(&self, path: &RelPath) -> bool {
        let dir = path.as_str();
        if self.upload() { !below(self.input.bucket, dir).is_empty() } else { !below(self.input.local, dir).is_empty() }
    }

    fn transfer(&mut self, at: &Seen<'_>, class: Class) {
        self.transfer_to(at, class, self.found(at));
    }

    fn transfer_to(&mut self, at: &Seen<'_>, class: Class, found: Found) {
        let Some(source) = self.source(at) else { return };
        if let Kind::Link(target) = &source.kind
            && !self.upload()
            && !self.choices.any_links
            && link_leaves_mount(at.path, target)
        {
            let why = format!("a link that points out of the mount ({})", crate::path::Shown(target));
            self.plan.skipped.push(Skipped { path: at.path.clone(), why });
            return;
        }
        let destination = if self.upload() { at.triple().bucket } else { at.triple().local };
        let found = if self.upload() { found::with_markers(self.input.idle_markers, at.path, source, found) } else { found };
        self.plan.transfers.push(Transfer {
            path: at.path.clone(),
            source: source.clone(),
            mode: mode_after(source, destination, at.base),
            stamp: at.local.filter(|_| self.upload()).and_then(|l| l.stamp),
            last_modified: at.bucket.and_then(|r| r.last_modified),
            replaced_bytes: destination.map_or(0, Entry::bytes),
            found_mode: destination.and_then(|e| e.mode),
            found,
            class,
        });
    }

    fn found(&self, at: &Seen<'_>) -> Found {
        if self.upload() { at.bucket.map_or(Found::Nothing, found::in_bucket) } else { at.local.map_or(Found::Nothing, found::in_mount) }
    }

    /// Directories that are empty at the source, and at the destination once the removals are done: they travel after all. A mount keeps
    /// such a directory by itself.
    fn emptied(&mut self) {
        for (path, class) in std::mem::take(&mut self.full_there) {
            let goes = |(at, _): &(RelPath, Remote)| self.plan.removals.binary_search_by(|r| r.path.cmp(at)).is_ok();
            if self.upload() && below(self.input.bucket, path.as_str()).iter().all(goes) {
                let base = find(self.input.base, path.as_str()).copied();
                self.transfer(&Seen { path: &path, local: find(self.input.local, path.as_str()), bucket: None, base }, class);
            }
        }
    }

    /// Everything at and below a path where a file or link meets a directory.
    fn clash(&mut self, root: &RelPath) {
        let upload = self.upload();
        let verdict = clash::judge(self.input, &self.spoilt, root, upload);
        let class = match verdict {
            Verdict::SourceChanged => Some(Class::KindChanged),
            _ if !self.choices.overwrite => None,
            Verdict::DestinationChanged => Some(Class::OverwriteProtected),
            Verdict::Both if self.spoilt.reaches(root) => None,
            Verdict::Both => Some(Class::OverwriteConflict),
        };
        let rows: Vec<Seen<'_>> = clash::rows(self.input, root);
        let Some(class) = class else {
            let why = "a directory on one side only";
            for at in rows.iter().filter(|at| at.local.is_some() || at.bucket.is_some()) {
                match verdict {
                    Verdict::DestinationChanged => keep(&mut self.plan.protected, at, why),
                    Verdict::SourceChanged | Verdict::Both => keep(&mut self.plan.conflicts, at, why),
                }
            }
            return;
        };
        let destinations: Vec<(RelPath, Found)> = rows
            .iter()
            .filter(|at| if upload { at.bucket.is_some() } else { at.local.is_some() })
            .map(|at| (at.path.clone(), self.found(at)))
            .collect();
        let replaced: u64 = rows.iter().map(|at| if upload { at.triple().bucket } else { at.triple().local }.map_or(0, Entry::bytes)).sum();
        for at in &rows {
            if self.source(at).is_none() {
                continue;
            }
            let found = if at.path == root {
                Found::Tree(destinations.clone())
            } else {
                match destinations.first() {
                    Some((above, found)) if *above == *root => Found::Above(above.clone(), Box::new(found.clone())),
                    _ => self.found(at),
                }
            };
            self.transfer_to(at, class, found);
            if let Some(last) = self.plan.transfers.last_mut()
                && last.path == *root
            {
                last.replaced_bytes = replaced;
            }
        }
    }

    /// `upload --delete`: what the bucket has lost, and what was removed here too, goes from what is published.
    fn vanished_and_removed(&mut self) {
        let delete = self.choices.delete && self.input.base_is_of_this_mount;
        for path in self.input.vanished.iter().filter(|_| delete) {
            let agreed = find(self.input.base, path.as_str()).is_some();
            let here = find(self.input.local, path.as_str()).is_some() || !below(self.input.local, path.as_str()).is_empty();
            if agreed && !here && !self.spoilt.covers(path) {
                self.plan.removals.push(Removal { path: path.clone(), found: Found::Recorded, bytes: 0, loses: false });
                self.plan.destination_entries += 1;
            }
        }
        self.plan.removals.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// What a manifest has and the bucket lacks: kept and reported; on a mount that lacks it too, its bytes are missing.
    fn vanished(&mut self) {
        if self.upload() {
            return self.vanished_and_removed();
        }
        for path in self.input.vanished {
            if find(self.input.local, path.as_str()).is_none() && !self.spoilt.covers(path) {
                self.plan.problems.push(Problem {
                    name: path.as_str().to_owned(),
                    path: Some(path.clone()),
                    below: false,
                    side: Side::Bucket,
                    why:
                        "the published manifest has it, and the bucket does not any more; an upload from a mount that has it brings it back, and `lsync upload --delete` from the mount where it was removed too forgets it"
                            .into(),
                    exclude: Some(exclude_line(path.as_str())),
                });
            }
        }
    }
}

fn keep(list: &mut Vec<Kept>, at: &Seen<'_>, why: &'static str) {
    list.push(kept(at, why));
}

fn kept(at: &Seen<'_>, why: &'static str) -> Kept {
    let bytes = at.local.map(|l| l.entry.bytes()).or(at.bucket.map(|r| r.entry.bytes())).unwrap_or(0);
    Kept { path: at.path.clone(), bytes, why, way: Way::Either }
}

fn both_changed(at: &Seen<'_>) -> &'static str {
    match (at.base, same_kind(at)) {
        (_, false) => "of different kinds on the two sides",
        (Some(_), true) => "changed on both sides",
        (None, true) => "different, and never agreed on",
    }
}

fn same_kind(at: &Seen<'_>) -> bool {
    at.local.map(|l| l.entry.kind_name()) == at.bucket.map(|r| r.entry.kind_name())
}

#[cfg(test)]
mod tests {
    use super::super::sets::{Claim, Holds};
    use super::super::{MaxDelete, Refusal};
    use super::*;
    use crate::digest::{Digests, ETag, digest_one};
    use crate::entry::{File, Stamp};
    use crate::manifest::Deleted;

    /// A side as text: `path=a5` a file with content `a` and size 5 (`?5`: digest unknown), `path>t` a link, `path/` an empty
    /// directory; `:644` behind a file is its mode.
    fn side(text: &str) -> Vec<(RelPath, Entry)> {
        let mut list: Vec<(RelPath, Entry)> = text
            .split_whitespace()
            .map(|item| {
                if let Some(dir) = item.strip_suffix('/') {
                    return (RelPath::new(dir).unwrap(), Entry { kind: Kind::Dir, mode: None });
                }
                if let Some((path, target)) = item.split_once('>') {
                    return (RelPath::new(path).unwrap(), Entry { kind: Kind::Link(target.into()), mode: None });
                }
                let (path, file) = item.split_once('=').unwrap();
                let (file, mode) = file.split_once(':').map_or((file, None), |(f, m)| (f, Some(u32::from_str_radix(m, 8).unwrap())));
                let digests = match &file[..1] {
                    "?" => Digests::default(),
                    content => Digests::of_whole(digest_one(content.as_bytes())),
                };
                let file = File { size: file[1..].parse().unwrap(), digests, ..File::default() };
                (RelPath::new(path).unwrap(), Entry { kind: Kind::File(file), mode })
            })
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }

    #[derive(Default)]
    struct Case {
        choices: Choices,
        removed: &'static [&'static str],
        vanished: &'static [&'static str],
        problems: Vec<Problem>,
        other_mount: bool,
        /// Deleted where it was uploaded from; after a space the directory that is left.
        deleted: &'static [&'static str],
        sets: Vec<Claim>,
    }

    impl Case {
        fn plan(&self, direction: Direction, local: &str, bucket: &str, base: &str) -> Plan {
            let local: Vec<_> = side(local)
                .into_iter()
                .map(|(p, entry)| {
                    let entry = Arc::new(entry);
                    let stamp = entry.file().map(|f| Stamp { size: f.size, mtime: 1, ctime: 1, inode: 1 });
                    (p, Local { entry, stamp })
                })
                .collect();
            let bucket: Vec<_> = side(bucket)
                .into_iter()
                .map(|(p, mut entry)| {
                    if let Kind::File(file) = &mut entry.kind {
                        file.etag = Some(ETag::parse("e"));
                    }
                    (p, Remote { entry: Arc::new(entry), last_modified: None, marker: None })
                })
                .collect();
            let base = side(base);
            let base: Vec<_> = base.iter().map(|(p, e)| (p.clone(), e)).collect();
            let deleted = |text: &str| {
                let (path, dir) = text.split_once(' ').map_or((text, None), |(path, dir)| (path, Some(dir.to_owned())));
                let (host, mount) = (String::from("h"), String::from("m"));
                (RelPath::new(path).unwrap(), Deleted { path: path.into(), was: "e".into(), modified: None, host, mount, dir })
            };
            let deleted: Vec<(RelPath, Deleted)> = self.deleted.iter().map(|text| deleted(text)).collect();
            let input = Input {
                local: &local,
                bucket: &bucket,
                idle_markers: &[],
                base: &base,
                vanished: &self.vanished.iter().map(|path| RelPath::new(path).unwrap()).collect::<Vec<_>>(),
                removed: &|path| self.removed.contains(&path.as_str()),
                owed: false,
                base_is_of_this_mount: !self.other_mount,
                problems: &self.problems,
                skipped: &[],
                hollow: &[],
                torn: &[],
                deleted: &deleted.iter().map(|(path, deleted)| (path.clone(), deleted)).collect::<Vec<_>>(),
                sets: &self.sets,
                umask: 0o022,
            };
            build(direction, self.choices, &input)
        }

        /// The plan as one line: `+` transfers with their class's first letters, `-` removals, `<` leftovers, `~` updates, `p` protected, `!` conflicts,
        /// `?` unknown, `=` same, `k` kept, `x` problems, `o` left out.
        #[track_caller]
        fn check(&self, direction: Direction, local: &str, bucket: &str, base: &str, expected: &str) {
            let plan = self.plan(direction, local, bucket, base);
            let mut words: Vec<String> = plan.transfers.iter().map(|t| format!("+{}:{:?}", t.path, t.class)).collect();
            words.extend(plan.removals.iter().map(|r| format!("-{}{}", r.path, if r.loses { ":lost" } else { "" })));
            words.extend(plan.leftovers.iter().map(|l| format!("<{}{}", l.removal.path, if l.removal.loses { ":lost" } else { "" })));
            words.extend(plan.updates.iter().map(|u| format!("~{}:{:o}", u.path, u.mode)));
            for (sign, list) in [('p', &plan.protected), ('!', &plan.conflicts), ('?', &plan.unknown), ('k', &plan.kept)] {
                words.extend(list.iter().map(|k| format!("{sign}{}", k.path)));
            }
            words.extend(plan.same.iter().map(|p| format!("={p}")));
            words.extend(plan.problems.iter().map(|p| format!("x{}", p.name)));
            words.extend(plan.left_out.iter().map(|left| format!("o{}", left.path)));
            assert_eq!(words.join(" "), expected, "{direction:?} L[{local}] R[{bucket}] B[{base}]");
        }
    }

    use Direction::{Download, Upload};

    fn with(delete: bool, overwrite: bool) -> Case {
        Case { choices: Choices { delete, overwrite, ..Choices::default() }, ..Case::default() }
    }

    /// It is not there any more, and the manifest can tell of both.
    /// A set whose published members the bucket holds like this.
    fn published(members: &[&str], holds: Holds) -> Case {
        let members: Vec<RelPath> = members.iter().map(|path| RelPath::new(path).unwrap()).collect();
        Case { sets: vec![Claim { database: members[0].clone(), members, holds }], ..Case::default() }
    }

    #[test]
    fn files_that_belong_together_move_together() {
        let none = Case::default();
        none.check(Upload, "x=b1 x-wal=b1", "x=a1 x-wal=a1", "x=a1 x-wal=a1", "+x:Changed +x-wal:Changed");
        none.check(Upload, "x=a1 x-wal=b1", "x=a1 x-wal=a1", "x=a1 x-wal=a1", "+x-wal:Changed =x");
        // One of them changed there too: none replaces the other's.
        none.check(Upload, "x=b1 x-wal=a1", "x=a1 x-wal=c1", "x=a1 x-wal=a1", "px-wal !x");
        none.check(Download, "x=b1 x-wal=a1", "x=a1 x-wal=c1", "x=a1 x-wal=a1", "px !x-wal");
        let all = with(false, true);
        all.check(Upload, "x=b1 x-wal=a1", "x=a1 x-wal=c1", "x=a1 x-wal=a1", "+x:Changed +x-wal:OverwriteProtected");
        // A checkpoint has removed the log here: the bucket keeps it, and the manifest says that it is no part of it any more.
        none.check(Upload, "x=b1", "x=a1 x-wal=a1", "x=a1 x-wal=a1", "+x:Changed kx-wal");
        let whole = published(&["x"], Holds::Whole);
        whole.check(Download, "", "x=b1 x-wal=a1", "", "+x:New");
        whole.check(Download, "x=b1", "x=b1 x-wal=a1", "x=b1 x-wal=a1", "=x");
        // What is left over here makes room, where nothing is lost with it.
        whole.check(Download, "x=a1 x-wal=a1", "x=b1 x-wal=a1", "x=a1 x-wal=a1", "+x:Changed <x-wal");
        whole.check(Download, "x=a1 x-wal=c1", "x=b1 x-wal=a1", "x=a1 x-wal=a1", "px-wal !x");
        none.check(Download, "x=a1 x-wal=a1", "x=b1", "x=a1 x-wal=a1", "+x:Changed <x-wal");
        none.check(Download, "x=a1 x-shm=c1", "x=b1", "x=a1", "+x:Changed <x-shm");
        none.check(Download, "x=a1 x-wal=c1", "x=b1", "x=a1", "!x kx-wal");
        all.check(Download, "x=a1 x-wal=c1", "x=b1", "x=a1", "+x:Changed <x-wal:lost");
        // Members of different uploads: none of them is brought.
        let torn = published(&["x", "x-wal"], Holds::Torn);
        torn.check(Download, "x=a1 x-wal=a1", "x=b1 x-wal=a1", "x=a1 x-wal=a1", "=x-wal xx");
        torn.check(Download, "", "x=b1 x-wal=a1", "", "xx xx-wal");
        torn.check(Upload, "x=b1 x-wal=b1", "x=b1 x-wal=a1", "x=a1 x-wal=a1", "+x-wal:Changed =x");
        let torn = Case { choices: all.choices, ..torn };
        torn.check(Download, "x=a1 x-wal=a1", "x=b1 x-wal=a1", "x=a1 x-wal=a1", "+x:Changed =x-wal");
    }

    #[test]
    fn an_empty_directory_travels_although_something_below_it_vanished() {
        let lost = Case { vanished: &["d/x"], ..Case::default() };
        lost.check(Upload, "d/", "", "d/x=a1", "+d:New");
        lost.check(Upload, "d/", "d/", "d/x=a1", "=d");
        let removed_here = Case { vanished: &["d/x"], ..with(true, false) };
        removed_here.check(Upload, "d/", "", "d/x=a1", "+d:New -d/x");
    }

    #[test]
    fn only_on_the_source_side_is_transferred() {
        let plain = Case::default();
        plain.check(Upload, "f=a1", "", "", "+f:New");
        plain.check(Upload, "f=a1", "", "f=a1", "+f:SentAgain");
        plain.check(Download, "", "f=a1", "", "+f:New");
        plain.check(Download, "", "f=a1", "f=b1", "+f:SentAgain");
        plain.check(Upload, "l>t d/", "", "", "+d:New +l:New");
    }

    #[test]
    fn only_on_the_destination_side_is_kept_and_deleted_only_when_proven() {
        let plain = Case::default();
        plain.check(Upload, "g=a1", "f=a1 g=a1", "f=a1", "kf =g");
        let delete = with(true, false);
        delete.check(Upload, "g=a1", "f=a1 g=a1", "f=a1", "-f =g");
        delete.check(Upload, "g=a1", "f=a1 g=a1", "", "kf =g");
        delete.check(Upload, "g=a1", "f=b1 g=a1", "f=a1", "!f =g");
        delete.check(Upload, "", "f=?1", "f=a1", "!f");
        Case { other_mount: true, ..with(true, false) }.check(Upload, "", "f=a1", "f=a1", "kf");
        // Absence from a listing alone never proves a deletion.
        delete.check(Download, "f=a1 g=a1", "g=a1", "f=a1", "kf =g");
        let proven = Case { removed: &["f"], ..with(true, false) };
        proven.check(Download, "f=a1 g=a1", "g=a1", "f=a1", "-f =g");
        proven.check(Download, "f=b1 g=a1", "g=a1", "f=a1", "!f =g");
        // Changed there: with --overwrite too, and then only what is proven to have been removed here.
        let both = with(true, true);
        both.check(Upload, "g=a1", "f=b1 g=a1", "f=a1", "-f:lost =g");
        both.check(Upload, "", "f=?1", "f=a1", "-f:lost");
        both.check(Upload, "g=a1", "f=b1 g=a1", "", "kf =g");
        both.check(Download, "f=b1 g=a1", "g=a1", "f=a1", "kf =g");
        Case { other_mount: true, ..with(true, true) }.check(Upload, "", "f=b1", "f=a1", "kf");
        Case { removed: &["f"], ..with(true, true) }.check(Download, "f=b1 g=a1", "g=a1", "f=a1", "-f:lost =g");
        with(false, true).check(Upload, "g=a1", "f=b1 g=a1", "f=a1", "kf =g");
    }

    #[test]
    fn what_was_deleted_where_it_was_uploaded_from_stays_in_the_bucket() {
        let gone = Case { deleted: &["f"], ..Case::default() };
        gone.check(Download, "g=a1", "f=a1 g=a1", "", "=g of");
        // This mount had it, or has another version of it: the rows are the ordinary ones.
        gone.check(Download, "", "f=a1", "f=a1", "+f:SentAgain");
        gone.check(Download, "f=a1", "f=a1", "", "=f");
        gone.check(Download, "f=b1", "f=a1", "", "!f");
        gone.check(Upload, "g=a1", "f=a1 g=a1", "", "kf =g");
        gone.check(Upload, "f=b1", "f=a1", "f=a1", "+f:Changed");
        Case { deleted: &["f"], ..with(true, true) }.check(Download, "", "f=a1", "", "of");
        // The directory that it left empty is made, where nothing else makes it.
        let refs = Case { deleted: &["d/refs/f d/refs", "d/refs/g d/refs"], ..Case::default() };
        refs.check(Download, "", "d/refs/f=a1 d/refs/g=a1", "", "+d/refs:New od/refs/f od/refs/g");
        refs.check(Download, "", "d/refs/f=a1 d/refs/g=a1 d/refs/h=a1", "", "+d/refs/h:New od/refs/f od/refs/g");
        refs.check(Download, "d/refs/", "d/refs/f=a1 d/refs/g=a1", "", "od/refs/f od/refs/g");
        refs.check(Download, "d/refs/x=a1", "d/refs/f=a1", "", "kd/refs/x od/refs/f");
    }

    #[test]
    fn a_newer_destination_is_protected() {
        let plain = Case::default();
        plain.check(Upload, "f=a1", "f=b1", "f=a1", "pf");
        plain.check(Download, "f=b1", "f=a1", "f=a1", "pf");
        plain.check(Upload, "f=b1", "f=a1", "f=a1", "+f:Changed");
        plain.check(Download, "f=a1", "f=b1", "f=a1", "+f:Changed");
        with(false, true).check(Upload, "f=a1", "f=b1", "f=a1", "+f:OverwriteProtected");
    }

    #[test]
    fn changed_on_both_sides_or_without_a_base_is_a_conflict() {
        let plain = Case::default();
        plain.check(Upload, "f=b1", "f=c1", "f=a1", "!f");
        plain.check(Download, "f=b1", "f=c1", "", "!f");
        plain.check(Upload, "f=b1", "f=?1", "", "?f");
        with(false, true).check(Upload, "f=b1 g=b1", "f=c1 g=?1", "f=a1", "+f:OverwriteConflict +g:OverwriteUnknown");
    }

    #[test]
    fn a_path_whose_kind_differs_follows_the_same_rows() {
        let plain = Case::default();
        plain.check(Upload, "f>x", "f=a1", "f=a1", "+f:KindChanged");
        plain.check(Upload, "f>x", "f=a1", "", "!f");
        // file -> directory: the object goes before anything below it is sent.
        plain.check(Upload, "f/g=a1", "f=a1", "f=a1", "+f/g:KindChanged");
        plain.check(Upload, "f/g=a1", "f=b1", "f=a1", "!f !f/g");
        plain.check(Upload, "f/g=a1", "f=b1", "f/g=a1", "pf pf/g");
        // directory -> file: only if all that the bucket holds below equals the base.
        plain.check(Upload, "d=a1", "d/x=a1 d/y=b1", "d/x=a1 d/y=b1", "+d:KindChanged");
        plain.check(Upload, "d=a1", "d/x=a1 d/y=b1", "d/x=a1", "!d !d/x !d/y");
        with(false, true).check(Upload, "d=a1", "d/x=a1 d/y=b1", "d/x=a1", "+d:OverwriteConflict");
        plain.check(Download, "d/x=a1 d/y=b1", "d=a1", "d/x=a1 d/y=b1", "+d:KindChanged");
        // An empty directory here and `x/f` there is no clash.
        plain.check(Upload, "x/", "x/f=a1", "", "kx/f");
        plain.check(Download, "x/f=a1", "x/", "", "kx/f");
        plain.check(Download, "x/", "x/f=a1", "", "+x/f:New");
    }

    #[test]
    fn what_makes_room_is_named_in_full() {
        let plan = Case::default().plan(Upload, "d=a1", "d/x=a1 d/y=b2", "d/x=a1 d/y=b2");
        let Found::Tree(below) = &plan.transfers[0].found else { panic!("{:?}", plan.transfers[0].found) };
        assert_eq!(below.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["d/x", "d/y"]);
        assert_eq!(plan.transfers[0].replaced_bytes, 3);
        let plan = Case::default().plan(Upload, "f/g=a1 f/h=b1", "f=a1", "f=a1");
        assert!(plan.transfers.iter().all(|t| matches!(&t.found, Found::Above(path, _) if path.as_str() == "f")));
    }

    #[test]
    fn below_an_unreadable_directory_nothing_is_transferred_replaced_or_deleted() {
        let problem = Problem {
            name: "d".into(),
            path: Some(RelPath::new("d").unwrap()),
            below: true,
            side: Side::Local,
            why: "cannot be read".into(),
            exclude: None,
        };
        let case = Case { problems: vec![problem], ..with(true, false) };
        case.check(Upload, "e=a1", "d/x=a1 e=a1", "d/x=a1", "=e xd");
        case.check(Download, "e=a1", "d/x=a1 e=a1", "", "=e xd");
        // A leaf that would take the place of the unreadable directory is a conflict, not a replacement.
        case.check(Upload, "e=a1", "d=a1 e=a1", "", "=e xd");
    }

    #[test]
    fn only_permission_bits_that_the_source_changed_are_carried() {
        let plain = Case::default();
        plain.check(Upload, "f=a1:600", "f=a1:644", "f=a1:644", "~f:600 =f");
        plain.check(Upload, "f=a1:600", "f=a1:644", "f=a1:600", "=f");
        plain.check(Download, "f=a1:600", "f=a1:644", "f=a1:600", "~f:644 =f");
        plain.check(Download, "f=a1:600", "f=a1", "", "=f");
        // Another tool's object tells none: a fresh mount would get 0666 & ~umask.
        plain.check(Upload, "f=a1:755", "f=a1", "", "~f:755 =f");
        plain.check(Upload, "f=a1:644", "f=a1", "", "=f");
        plain.check(Upload, "f=a1:755", "f=a1", "f=a1:755", "=f");
        plain.check(Upload, "f=a1:755", "f=a1", "f=a1:644", "~f:755 =f");
        plain.check(Upload, "f=a1:644", "f=a1", "f=a1:755", "=f");
    }

    #[test]
    fn too_many_deletes_and_an_empty_source_refuse_the_whole_run() {
        let many = Case { removed: &["a", "b"], ..with(true, false) };
        let plan = many.plan(Download, "a=a1 b=a1 c=a1", "c=a1", "a=a1 b=a1");
        assert_eq!(plan.removals.len(), 2);
        assert!(matches!(plan.check(MaxDelete::Percent(50.0)), Err(Refusal::TooManyDeletes { deletes: 2, of: 3, .. })));
        assert!(plan.check(MaxDelete::Percent(67.0)).is_ok());
        assert!(plan.check(MaxDelete::Paths(1)).is_err() && plan.check(MaxDelete::Paths(2)).is_ok());
        let all = MaxDelete::Percent(100.0);
        let empty = with(true, false).plan(Upload, "", "a=a1", "a=a1");
        assert_eq!(empty.check(all), Err(Refusal::EmptyMount { bucket: 1, remembered: 1 }));
        let empty = with(true, false).plan(Download, "a=a1", "", "a=a1");
        assert_eq!(empty.check(all), Err(Refusal::EmptyBucket));
    }

    #[test]
    fn an_upload_of_nothing_is_refused_where_something_is_known() {
        let check = |bucket: &str, base: &str, expected| {
            let plan = Case::default().plan(Upload, "", bucket, base);
            assert_eq!(plan.check(MaxDelete::Paths(9)), expected, "R[{bucket}] B[{base}]");
        };
        check("", "", Ok(()));
        check("a=a1 b=b1", "", Err(Refusal::EmptyMount { bucket: 2, remembered: 0 }));
        check("", "a=a1", Err(Refusal::EmptyMount { bucket: 0, remembered: 1 }));
        assert!(Case::default().plan(Download, "a=a1", "", "a=a1").check(MaxDelete::Paths(9)).is_ok());
    }

    #[test]
    fn a_link_out_of_the_mount_is_listed_and_not_restored() {
        let plan = Case::default().plan(Download, "", "l>/etc/passwd m>n", "");
        assert_eq!((plan.transfers.len(), plan.skipped.len()), (1, 1));
        let any = Case { choices: Choices { any_links: true, ..Choices::default() }, ..Case::default() };
        assert_eq!(any.plan(Download, "", "l>/etc/passwd m>n", "").transfers.len(), 2);
    }
}
