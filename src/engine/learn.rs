//! Learns what decisions need and nothing more: digests from the hash cache, from one HEAD, by hashing, or (asked for) by reading
//! objects.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::lanes::Lanes;
use super::{Ask, Ends, Error, Sight, blocking};
use crate::diff::{Standing, Triple, Want, may_ask_metadata, merge, same_size_and_time, standing, travelling, wanted};
use crate::digest::{Digests, ETag, Md5, Parts, Stream};
use crate::entry::time::{seconds_and_nanos, time};
use crate::entry::{Entry, File, Kind, Local, Nanos, Stamp};
use crate::event::{Event, Phase};
use crate::local::hash::{Hashed, ReadError, Watch, hash_file};
use crate::local::state::State;
use crate::local::uploads::left;
use crate::local::witness::Witness;
use crate::path::RelPath;
use crate::problem::{Problem, Side, exclude_line};
use crate::remote::error::Kind as RemoteKind;
use crate::remote::object::{Head, NONCE};

/// What a look has learnt beyond what is remembered.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// Local files that were hashed.
    pub(super) seen: Vec<(RelPath, LocalDigests)>,
    /// What HEADs said.
    pub(super) foreign: Vec<(RelPath, Told)>,
}

impl Learnt {
    /// Files that may have changed since they were hashed without their times telling it.
    pub(super) fn doubtful(&self) -> HashSet<&RelPath> {
        self.seen.iter().filter(|(_, read)| !read.witness.holds()).map(|(path, _)| path).collect()
    }

    /// True when the hash cache is another one afterwards.
    pub(super) fn changes_memory(&self, state: &State) -> bool {
        let is_kept = |path: &RelPath| crate::entry::find(&state.entries, path.as_str()).is_some_and(|known| known.seen.is_some());
        self.seen.iter().any(|(path, read)| read.witness.holds() || is_kept(path))
    }
}

/// What a local file held when it was hashed.
#[derive(Debug)]
pub(super) struct LocalDigests {
    pub(super) stamp: Stamp,
    pub(super) digests: Digests,
    /// What tells that it changes later.
    pub(super) witness: Witness,
}

/// What a HEAD said of an object while it lists this ETag: digests and mtime.
type Told = (ETag, Digests, Option<Nanos>);

/// Files hashed at once: one per core of a small machine, and enough to hide a network file system's latency.
pub(super) const HASHERS: usize = 4;

/// Files that the hash cache does not know are read sooner or later: those that may not be read are problems from the start, so that the
/// plan says so and nothing takes their place.
pub(super) async fn unreadable(ends: &Ends, local: &[(RelPath, Local)]) -> Result<Vec<Problem>, Error> {
    let unread = |l: &Local| l.entry.file().is_some_and(|file| file.digests == Digests::default());
    let unread: Vec<RelPath> = local.iter().filter(|(_, l)| unread(l)).map(|(path, _)| path.clone()).collect();
    let mount = ends.mount.clone();
    blocking(move || {
        let refused = unread.iter().filter_map(|path| Some((path, mount.may_not_read(path)?)));
        refused.map(|(path, why)| cannot_read(path, &ReadError::Failed(why))).collect()
    })
    .await
}

fn cannot_read(path: &RelPath, why: &ReadError) -> Problem {
    let (name, exclude) = (path.as_str().to_owned(), Some(exclude_line(path.as_str())));
    Problem { name, path: Some(path.clone()), below: false, side: Side::Local, why: not_read(why), exclude }
}

/// One row's place in the two lists of a sight.
struct At {
    local: usize,
    bucket: Option<usize>,
}

/// Rows with a local file, with what `pick` makes of them.
fn rows<T>(sight: &Sight, pick: impl Fn(Triple<'_>) -> Option<T>) -> Vec<(At, T)> {
    let (mut local_at, mut bucket_at) = (0, 0);
    let mut found = Vec::new();
    for row in merge(&sight.local, &sight.view.entries, &sight.state.entries) {
        let at = At { local: local_at, bucket: row.bucket.map(|_| bucket_at) };
        local_at += usize::from(row.local.is_some());
        bucket_at += usize::from(row.bucket.is_some());
        let triple = Triple {
            local: row.local.map(|l| &*l.entry),
            bucket: row.bucket.map(|r| &*r.entry),
            base: row.base.and_then(|known| known.base.as_deref()),
        };
        if row.local.is_some()
            && let Some(picked) = pick(triple)
        {
            found.push((at, picked));
        }
    }
    found
}

/// Asks the metadata of objects of equal size whose ETag tells nothing, once per (key, ETag).
pub(super) async fn from_metadata(ends: &Ends, ask: &Ask, sight: &mut Sight) -> Result<(), Error> {
    let known = |path: &RelPath, etag: &ETag| {
        crate::entry::find(&sight.state.entries, path.as_str()).and_then(|k| k.foreign.as_ref()).is_some_and(|told| told.0 == *etag)
    };
    let undecided: Vec<At> = rows(sight, |at| {
        let open = at.local.zip(at.bucket).is_some_and(|(l, r)| l.same_content(r).is_none());
        (open && may_ask_metadata(at)).then_some(())
    })
    .into_iter()
    .map(|(at, ())| at)
    .filter(|at| {
        let (path, remote) = &sight.view.entries[at.bucket.expect("the row above has a bucket side")];
        remote.entry.file().and_then(|f| f.etag.as_ref()).is_some_and(|etag| !known(path, etag))
    })
    .collect();
    let asked: Vec<(usize, String)> =
        undecided.iter().filter_map(|at| at.bucket).map(|at| (at, sight.view.entries[at].0.as_str().to_owned())).collect();
    let ours = if asked.is_empty() { BTreeMap::new() } else { sent_whole(ends).await? };
    for (at, head) in heads(ends, ask, asked).await? {
        let (path, remote) = &mut sight.view.entries[at];
        let Kind::File(file) = &mut Arc::make_mut(&mut remote.entry).kind else { continue };
        if file.etag.as_ref() != Some(&head.etag) {
            // A store that lists other ETags than it answers, or it was replaced since the listing: then the guard will see it.
            if let (Some(etag), Some(agreed)) = (file.etag.clone(), answered_as(&sight.state, path, &head)) {
                file.digests.learn(&agreed.digests);
                file.mtime = file.mtime.or(agreed.mtime);
                sight.learnt.foreign.push((path.clone(), (etag, agreed.digests, agreed.mtime)));
            }
            continue;
        }
        let (mut digests, mtime) = metadata(&head);
        if let Some(parts) = head.metadata.get(NONCE).and_then(|nonce| ours.get(nonce)).filter(|_| !head.etag.written_over_nfs()) {
            digests.learn(&Digests::of_parts(parts.clone()));
        }
        file.digests.learn(&digests);
        file.mtime = file.mtime.or(mtime);
        sight.learnt.foreign.push((path.clone(), (head.etag, digests, mtime)));
    }
    Ok(())
}

/// What was agreed on about the very version that a HEAD answers, which was then noted by its answer.
fn answered_as(state: &State, path: &RelPath, head: &Head) -> Option<File> {
    let agreed = crate::entry::find(&state.entries, path.as_str())?.base.as_ref()?.file()?;
    (agreed.size == head.size && agreed.etag.as_ref() == Some(&head.etag)).then(|| agreed.clone())
}

/// Asks the objects of equal size that only their ETag makes different, where both sides are news: ETags that look like digests may be none
/// (SSE-KMS, SSE-C), and the object may be ours, from a run that did not come to know.
pub(super) async fn from_encrypted(ends: &Ends, ask: &Ask, sight: &mut Sight) -> Result<(), Error> {
    let doubtful = rows(sight, |at| {
        let (local, bucket) = at.local.zip(at.bucket)?;
        let (ours, theirs) = (local.file()?, bucket.file()?);
        let by_etag = theirs.etag.as_ref().is_some_and(|etag| theirs.digests == Digests::of_etag(etag));
        let differs = ours.size == theirs.size && local.same_content(bucket) == Some(false);
        let is_news = |side: &Entry| at.base.is_none_or(|base| side.same_content(base) != Some(true));
        (by_etag && differs && is_news(local) && is_news(bucket)).then_some(())
    });
    let asked = doubtful.iter().filter_map(|(at, ())| at.bucket).map(|at| (at, sight.view.entries[at].0.as_str().to_owned())).collect();
    for (at, head) in heads(ends, ask, asked).await? {
        let Kind::File(file) = &mut Arc::make_mut(&mut sight.view.entries[at].1.entry).kind else { continue };
        if head.etag_is_no_digest && file.etag.as_ref() == Some(&head.etag) {
            file.digests = metadata(&head).0;
        }
    }
    Ok(())
}

/// What HEADs say of objects, but for those that are gone.
async fn heads(ends: &Ends, ask: &Ask, keys: Vec<(usize, String)>) -> Result<Vec<(usize, Head)>, Error> {
    let lanes = Lanes::new(ask.jobs);
    let asked = stream::iter(keys).then(|(at, key)| lanes.turn(0).map(move |lane| (at, key, lane)));
    let answers = asked.map(|(at, key, lane)| async move {
        let head = ends.bucket.head(&key).await;
        lane.done();
        (at, head)
    });
    let mut answers = std::pin::pin!(answers.buffer_unordered(lanes.most()));
    let mut found = Vec::new();
    while let Some((at, head)) = ends.stop.or(answers.next()).await.ok_or(Error::Stopped)? {
        match head {
            // Of what may not be asked nothing more is known.
            Err(e) if e.kind == RemoteKind::Refused => {}
            head => found.extend(head?.map(|head| (at, head))),
        }
    }
    Ok(found)
}

/// By their nonce, uploads in parts that a run sent to the last part and did not come to tell the end of.
async fn sent_whole(ends: &Ends) -> Result<BTreeMap<String, Parts>, Error> {
    let (mount, bucket) = (ends.mount.clone(), ends.bucket.clone());
    let left = blocking(move || left(&mount, bucket.name(), bucket.prefix().as_str(), "")).await??;
    Ok(left.open.into_iter().filter_map(|open| Some((open.nonce.clone(), open.whole()?))).collect())
}

/// What an object's metadata says of its content: rclone's `md5chksum` and `mtime`, s3cmd's `s3cmd-attrs`.
pub(super) fn metadata(head: &Head) -> (Digests, Option<Nanos>) {
    let get = |name: &str| head.metadata.get(name).map(String::as_str);
    let attrs = |name: &str| {
        let attrs = get("s3cmd-attrs")?;
        attrs.split('/').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(':'))
    };
    let whole = get("md5chksum").and_then(Md5::from_base64).or_else(|| attrs("md5").and_then(Md5::from_hex));
    let mtime = get("mtime").or_else(|| attrs("mtime")).and_then(read_mtime);
    if head.etag.written_over_nfs() {
        return (Digests::default(), None); // the metadata may be older than the content
    }
    (Digests { whole, ..Digests::default() }, mtime)
}

/// `1354040105.123456789` in nanoseconds; rclone's form, with any number of fractional digits.
fn read_mtime(text: &str) -> Option<Nanos> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (negative, seconds) = seconds.strip_prefix('-').map_or((false, seconds), |s| (true, s));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    let read = if negative { time(-seconds, -nanos) } else { time(seconds, nanos) };
    (!matches!(read, Nanos::MIN | Nanos::MAX)).then_some(read)
}

/// rclone's form with exactly nine fractional digits, which s3fs reads right too.
pub(super) fn write_mtime(mtime: Nanos) -> String {
    let (seconds, nanos) = match seconds_and_nanos(mtime) {
        // The fraction counts away from 1970 too.
        (seconds, nanos) if seconds < 0 && nanos > 0 => (seconds + 1, 1_000_000_000 - nanos),
        all => all,
    };
    let sign = if mtime < 0 { "-" } else { "" };
    format!("{sign}{}.{nanos:09}", seconds.unsigned_abs())
}

/// Hashes the local files whose digests a decision needs.
pub(super) async fn by_hashing(ends: &Ends, ask: &Ask, sight: &mut Sight) -> Result<(), Error> {
    let refused: BTreeSet<&str> = sight.problems.iter().filter(|p| p.side == Side::Local).map(|p| p.name.as_str()).collect();
    let todo: Vec<(usize, Option<usize>, Want)> = rows(sight, |at| {
        let mut want = wanted(at, ask.removals);
        let taken = ask.compare_size && want.is_empty() && standing(at) == Some(Standing::Unknown) && same_size_and_time(at);
        if let (true, Some(file)) = (taken, at.local.and_then(Entry::file)) {
            want = travelling(file.size);
        }
        (!want.is_empty()).then_some(want)
    })
    .into_iter()
    .map(|(at, want)| (at.local, at.bucket, want))
    .filter(|(at, _, _)| !refused.contains(sight.local[*at].0.as_str()))
    .collect();
    if todo.is_empty() {
        return Ok(());
    }
    ends.phase(Phase::Hash);
    let bytes = todo.iter().map(|(at, _, _)| sight.local[*at].1.entry.bytes()).sum();
    ends.tell(Event::Planned { files: todo.len() as u64, bytes });
    let jobs: Vec<_> = todo
        .into_iter()
        .filter_map(|(at, bucket, want)| {
            let (path, local) = &sight.local[at];
            Some((at, bucket, want, path.clone(), local.stamp?))
        })
        .collect();
    let mut done = stream::iter(jobs)
        .map(|(at, bucket, want, path, stamp)| async move { (at, bucket, stamp, hash(ends, path, stamp, want).await) })
        .buffer_unordered(HASHERS);
    while let Some((at, bucket, stamp, hashed)) = done.next().await {
        match hashed? {
            Ok(Hashed { kinds, witness }) => {
                let other = bucket.map(|b| sight.view.entries[b].1.entry.clone());
                let (path, local) = &mut Arc::make_mut(&mut sight.local)[at];
                let digests = choose(kinds, other.as_deref());
                if let Kind::File(file) = &mut Arc::make_mut(&mut local.entry).kind {
                    file.digests.learn(&digests);
                    sight.learnt.seen.push((path.clone(), LocalDigests { stamp, digests: file.digests.clone(), witness }));
                }
            }
            Err(ReadError::Stopped) => return Err(Error::Stopped),
            Err(why) => {
                let problem = cannot_read(&sight.local[at].0, &why);
                sight.problems.push(problem);
            }
        }
    }
    if ends.stop.asked() { Err(Error::Stopped) } else { Ok(()) }
}

/// Why a file could not be read, as a fragment after its name.
pub(super) fn not_read(error: &ReadError) -> String {
    match error {
        ReadError::Failed(error) => format!("it cannot be read: {}", error.source),
        _ => crate::engine::report::chain(error),
    }
}

/// Hashes one file in the kinds that are wanted.
pub(super) async fn hash(ends: &Ends, path: RelPath, stamp: Stamp, want: Want) -> Result<Result<Hashed, ReadError>, Error> {
    let (mount, observer, stop) = (ends.mount.clone(), ends.observer.clone(), ends.stop.clone());
    blocking(move || {
        let progress = move |bytes| observer(Event::Hashed { bytes });
        let stop = move || stop.asked();
        hash_file(&mount, &path, &stamp, &want, &Watch { progress: &progress, stop: &stop })
    })
    .await
}

/// Of several part sizes the one that proves equality, else the first.
fn choose(mut kinds: Vec<Digests>, other: Option<&Entry>) -> Digests {
    let proof =
        other.and_then(Entry::file).and_then(|file: &File| kinds.iter().position(|digests| digests.same(&file.digests) == Some(true)));
    if kinds.is_empty() { Digests::default() } else { kinds.swap_remove(proof.unwrap_or(0)) }
}

/// `--compare content`: reads the objects that nothing else tells about, and keeps only their digests.
pub(super) async fn by_reading_the_bucket(ends: &Ends, ask: &Ask, sight: &mut Sight) -> Result<(), Error> {
    let open: Vec<At> = rows(sight, |at| {
        let (local, bucket) = (at.local?, at.bucket?);
        (bucket.file().is_some() && local.same_content(bucket).is_none()).then_some(())
    })
    .into_iter()
    .map(|(at, ())| at)
    .collect();
    let bytes: u64 = open.iter().map(|at| sight.local[at.local].1.entry.bytes()).sum();
    if !open.is_empty() {
        ends.phase(Phase::Hash);
        // Each is read twice: here and there.
        ends.tell(Event::Planned { files: open.len() as u64, bytes: bytes * 2 });
    }
    for at in open {
        let bucket_at = at.bucket.expect("the row above has a bucket side");
        let (path, remote) = &sight.view.entries[bucket_at];
        let path = path.clone();
        let Some((etag, size)) = remote.object().map(|(etag, size)| (etag.clone(), size)) else { continue };
        let Some(stamp) = sight.local[at.local].1.stamp else { continue };
        let want = Want { whole: true, part_bytes: Vec::new() };
        let Ok(Hashed { mut kinds, witness }) = hash(ends, path.clone(), stamp, want).await? else { continue };
        let Some(hashed) = kinds.pop() else { continue };
        let whole = match read_object(ends, path.as_str(), &etag, size, ask.jobs.first()).await {
            // It stays not comparable.
            Err(Error::Remote(e)) if matches!(e.kind, RemoteKind::Refused | RemoteKind::Unsupported) => continue,
            whole => whole?,
        };
        if let Kind::File(file) = &mut Arc::make_mut(&mut Arc::make_mut(&mut sight.local)[at.local].1.entry).kind {
            file.digests.learn(&hashed);
            sight.learnt.seen.push((path.clone(), LocalDigests { stamp, digests: file.digests.clone(), witness }));
        }
        if let Kind::File(file) = &mut Arc::make_mut(&mut sight.view.entries[bucket_at].1.entry).kind {
            let digests = Digests::of_whole(whole);
            file.digests.learn(&digests);
            sight.learnt.foreign.push((path, (etag, digests, file.mtime)));
        }
    }
    Ok(())
}

async fn read_object(ends: &Ends, key: &str, etag: &ETag, size: u64, tries: usize) -> Result<Md5, Error> {
    let mut left = tries.clamp(1, 3);
    loop {
        let mut hasher = Stream::default();
        let observer = ends.observer.clone();
        let mut sink = |piece: bytes::Bytes| {
            hasher.update(&piece);
            observer(Event::Hashed { bytes: piece.len() as u64 });
            true
        };
        let got = ends.stop.or(ends.bucket.get(key, Some((etag, size)), None, &mut sink)).await.ok_or(Error::Stopped)?;
        match got {
            Ok(_) => return Ok(hasher.finish()),
            Err(e) if left <= 1 => return Err(e.into()),
            Err(_) => left -= 1,
        }
    }
}

/// The parts of a complete buffer.
pub(super) fn parts_of(buffer: &[u8], part_bytes: u64) -> Parts {
    let step = usize::try_from(part_bytes).unwrap_or(usize::MAX).max(1);
    let pieces: Vec<&[u8]> = buffer.chunks(step).collect();
    Parts { part_bytes, md5s: crate::digest::digest_many(&pieces) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtimes_travel_in_rclones_form() {
        assert_eq!(write_mtime(1_354_040_105_123_456_789), "1354040105.123456789");
        assert_eq!(write_mtime(5), "0.000000005");
        assert_eq!(write_mtime(time(10_413_792_000, 0)), "10413792000.000000000");
        assert_eq!(write_mtime(-1_500_000_000), "-1.500000000");
        for nanos in [0, 5, -5, 1_354_040_105_123_456_789, -1_500_000_000, time(10_413_792_000, 0), time(-30_610_224_000, 0)] {
            assert_eq!(read_mtime(&write_mtime(nanos)), Some(nanos));
        }
        assert_eq!(read_mtime("10413792000.75"), Some(time(10_413_792_000, 0)));
        assert_eq!(read_mtime("1354040105"), Some(1_354_040_105_000_000_000));
        assert_eq!(read_mtime("1.5"), Some(1_500_000_000));
        for bad in ["", ".5", "x", "1.x", "1e9", "99999999999999999999"] {
            assert_eq!(read_mtime(bad), None, "{bad}");
        }
    }
}
