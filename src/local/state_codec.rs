//! The bytes of a state file and of one path's line. Pure: values in, bytes out, and back; the format is described at [`super::state`].

use std::borrow::Cow;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mount::Stamp;
use super::state::{Known, LastRun, Seen, State};
use crate::digest::{ETag, Stream};
use crate::entry::{DigestRecord, Nanos, Record};
use crate::manifest::{self, Name, write_line};
use crate::path::{Batch, RelPath};

/// The newest format that this version reads and the one that it writes.
pub(super) const FORMAT: u32 = 1;

/// How much is written at once.
const PIECE: usize = 128 << 10;
/// How many paths lie together in memory.
const BATCH: usize = 512;

/// Why a state file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Written by a later version of lsync.
    Newer(u32),
    /// Intact, and of another bucket or prefix: that bucket and prefix.
    Foreign(String, String),
    /// Damaged, truncated, or not a state.
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    lsync: String,
    v: u32,
    bucket: String,
    prefix: String,
    mount: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
    generation: u64,
    heads: Vec<Name>,
    known: Vec<(Name, Vec<Name>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    journals: Vec<(String, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<manifest::Header>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    owed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dirs: Vec<(String, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Last {
    command: String,
    host: String,
    time: Nanos,
    generation: u64,
}

#[derive(Deserialize)]
struct Version {
    lsync: String,
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: u64,
    md5: String,
}

/// One path. Field names are short because there is a line per entry.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    n: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    b: Option<Record<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    p: Option<Record<'a>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    u: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<(u64, Nanos, Nanos, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<DigestRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<Foreign>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    r: bool,
}

#[derive(Serialize, Deserialize)]
struct Foreign {
    e: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<Nanos>,
    d: DigestRecord,
}

/// Writes the file. Entries must be sorted by path; those of which nothing is known are left out.
/// `journals` stands in for the state's own list.
pub(super) fn encode(bucket: &str, prefix: &str, journals: &[(String, u64)], state: &State, out: &mut dyn Write) -> io::Result<()> {
    let (mut md5, mut lines) = (Stream::default(), Vec::with_capacity(PIECE + 1024));
    write_line(
        &mut lines,
        &Header {
            lsync: "state".into(),
            v: FORMAT,
            bucket: bucket.into(),
            prefix: prefix.into(),
            mount: state.mount.clone(),
            lineage: state.lineage.clone(),
            generation: state.generation,
            heads: state.heads.clone(),
            known: state.known.clone(),
            last: state.last.clone().map(|LastRun { command, host, time, generation }| Last { command, host, time, generation }),
            journals: journals.to_vec(),
            newest: state.newest.clone(),
            owed: state.owed,
            dirs: state.dirs.iter().map(|(path, mode)| (path.as_str().to_owned(), *mode)).collect(),
        },
    );
    let mut end = 0;
    for (path, known) in &state.entries {
        if *known != Known::default() {
            encode_line(&mut lines, path, known);
            end += 1;
        }
        if lines.len() >= PIECE {
            md5.update(&lines);
            out.write_all(&lines)?;
            lines.clear();
        }
    }
    md5.update(&lines);
    write_line(&mut lines, &End { end, md5: md5.finish().hex() });
    out.write_all(&lines)
}

/// Reads [`encode`], line by line; the remote, the checksum, the count and the order are verified.
pub(super) fn decode(bucket: &str, prefix: &str, source: &mut dyn BufRead) -> Result<State, Unreadable> {
    let (mut first, mut md5) = (Vec::new(), Stream::default());
    next_line(source, &mut first)?;
    let first_line = first.strip_suffix(b"\n").ok_or_else(cut_off)?;
    let version: Version = serde_json::from_slice(first_line).map_err(|_| damaged("the first line is no header"))?;
    if version.lsync != "state" {
        return Err(damaged("it is not a state file"));
    }
    if version.v > FORMAT {
        return Err(Unreadable::Newer(version.v));
    }
    let header: Header = serde_json::from_slice(first_line).map_err(|_| damaged("the first line is no header"))?;
    let is_foreign = (header.bucket.as_str(), header.prefix.as_str()) != (bucket, prefix);
    md5.update(&first);
    let (mut entries, mut batch) = (Vec::new(), (Batch::default(), Vec::new()));
    // The last line is no entry: only the next one shows that a line is not the last.
    let (mut line, mut next) = (Vec::new(), Vec::new());
    next_line(source, &mut line)?;
    loop {
        next_line(source, &mut next)?;
        if next.is_empty() {
            break;
        }
        md5.update(&line);
        if let Some(line) = line.strip_suffix(b"\n").filter(|_| !is_foreign) {
            let fields = decode_fields(line).filter(|(name, _)| batch.0.push(name));
            let (_, known) = fields.ok_or_else(|| damaged(&format!("line {} is not understood", entries.len() + batch.1.len() + 2)))?;
            batch.1.push(known);
            if batch.1.len() == BATCH {
                take(&mut entries, &mut batch)?;
            }
        }
        std::mem::swap(&mut line, &mut next);
    }
    take(&mut entries, &mut batch)?;
    let end: End = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()).ok_or_else(cut_off)?;
    if md5.finish().hex() != end.md5 {
        return Err(damaged("its checksum does not match"));
    }
    if is_foreign {
        return Err(Unreadable::Foreign(header.bucket, header.prefix));
    }
    if entries.len() as u64 != end.end {
        return Err(damaged("its count does not match"));
    }
    entries.shrink_to_fit();
    Ok(State {
        lineage: header.lineage,
        generation: header.generation,
        heads: header.heads,
        known: header.known,
        mount: header.mount,
        last: header.last.map(|Last { command, host, time, generation }| LastRun { command, host, time, generation }),
        journals: header.journals,
        newest: header.newest,
        dirs: header.dirs.into_iter().filter_map(|(path, mode)| Some((RelPath::new(&path).ok()?, mode))).collect(),
        owed: header.owed,
        entries,
        made_from: None,
    })
}

/// The last run, from the first line alone.
pub(super) fn decode_last(bucket: &str, prefix: &str, source: &mut dyn BufRead) -> Option<LastRun> {
    let mut first = Vec::new();
    next_line(source, &mut first).ok()?;
    let header: Header = serde_json::from_slice(first.strip_suffix(b"\n")?).ok()?;
    let Last { command, host, time, generation } = header.last.filter(|_| header.bucket == bucket && header.prefix == prefix)?;
    Some(LastRun { command, host, time, generation })
}

/// Appends what was read, each after the one before.
fn take(entries: &mut Vec<(RelPath, Known)>, (paths, known): &mut (Batch, Vec<Known>)) -> Result<(), Unreadable> {
    for (path, known) in paths.paths().flatten().zip(known.drain(..)) {
        if entries.last().is_some_and(|(before, _)| *before >= path) {
            return Err(damaged("its entries are not in order"));
        }
        entries.push((path, known));
    }
    Ok(())
}

/// The next line with its newline; nothing at the end.
fn next_line(source: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<(), Unreadable> {
    line.clear();
    source.read_until(b'\n', line).map_err(|e| damaged(&e.to_string()))?;
    Ok(())
}

fn cut_off() -> Unreadable {
    damaged("it is cut off")
}

fn damaged(what: &str) -> Unreadable {
    Unreadable::Damaged(what.to_owned())
}

/// Appends the line of one path.
pub(super) fn encode_line(out: &mut Vec<u8>, path: &RelPath, known: &Known) {
    let base_digests = known.base.as_deref().and_then(|entry| entry.file()).map(|file| &file.digests);
    let line = Line {
        n: path.as_str().into(),
        b: known.base.as_deref().map(Record::from),
        p: known.published.as_deref().filter(|entry| Some(*entry) != known.base.as_deref()).map(Record::from),
        u: known.base.is_some() && known.published.is_none(),
        s: known.seen.as_ref().map(|seen| (seen.stamp.size, seen.stamp.mtime, seen.stamp.ctime, seen.stamp.inode)),
        d: known.seen.as_ref().map(Seen::digests).filter(|digests| Some(*digests) != base_digests).map(DigestRecord::from),
        f: known.foreign.as_deref().map(|(etag, digests, mtime)| Foreign { e: etag.written(), t: *mtime, d: digests.into() }),
        r: known.removed,
    };
    write_line(out, &line);
}

/// Reads [`encode_line`] (without the newline); `None` when a field is missing or not of its form.
pub(super) fn decode_line(line: &[u8]) -> Option<(RelPath, Known)> {
    let (name, known) = decode_fields(line)?;
    Some((RelPath::new(&name).ok()?, known))
}

fn decode_fields(line: &[u8]) -> Option<(Cow<'_, str>, Known)> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let base = some_or_bad(line.b, Record::read)?.map(Arc::new);
    let published = match (line.p, line.u) {
        (Some(_), true) => return None,
        (Some(record), false) => Some(Arc::new(record.read()?)),
        (None, true) => None,
        (None, false) => base.clone(),
    };
    let seen = match (line.s, line.d) {
        (None, None) => None,
        (None, Some(_)) => return None,
        (Some((size, mtime, ctime, inode)), own) => {
            let stamp = Stamp { size, mtime, ctime, inode };
            Some(match own {
                Some(record) => Seen::new(stamp, record.read()?),
                None => Seen::of(stamp, base.as_ref().filter(|base| base.file().is_some())?),
            })
        }
    };
    let foreign = some_or_bad(line.f, |f| Some(Box::new((ETag::parse(&f.e), f.d.read()?, f.t))))?;
    Some((line.n, Known { base, published, seen, foreign, removed: line.r }))
}

/// `None` only when a value is there and cannot be read.
#[expect(clippy::option_option, reason = "the outer option is the failure, the inner one the absence")]
fn some_or_bad<T, U>(value: Option<T>, read: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::{Digests, Md5, Parts, digest_one};
    use crate::entry::{Entry, File, Kind};

    fn encode(bucket: &str, prefix: &str, journals: &[(String, u64)], state: &State) -> Vec<u8> {
        let mut out = Vec::new();
        super::encode(bucket, prefix, journals, state, &mut out).unwrap();
        out
    }

    fn decode(bucket: &str, prefix: &str, mut bytes: &[u8]) -> Result<State, Unreadable> {
        super::decode(bucket, prefix, &mut bytes)
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn file(text: &[u8], etag: Option<ETag>) -> Entry {
        let digests = Digests::of_whole(digest_one(text));
        Entry { kind: Kind::File(File { size: text.len() as u64, mtime: Some(1), digests, etag }), mode: Some(0o644) }
    }

    fn sample() -> State {
        let stamp = Stamp { size: 3, mtime: 1, ctime: -2, inode: u64::MAX };
        let abc = file(b"abc", Some(ETag::Hex(digest_one(b"abc"))));
        let (one, two) = (Name::new(1, [1; 16]), Name::new(2, [2; 16]));
        let known =
            |base: &Entry| Known { base: Some(Arc::new(base.clone())), published: Some(Arc::new(base.clone())), ..Known::default() };
        State {
            made_from: None,
            lineage: Some("ab".repeat(16)),
            generation: 2,
            heads: vec![two.clone()],
            known: vec![(one.clone(), vec![]), (two, vec![one])],
            mount: "cd".repeat(16),
            last: Some(LastRun { command: "upload".into(), host: "gpu-1".into(), time: 1_700_000_000_000_000_000, generation: 2 }),
            journals: vec![("op-7".into(), 9)],
            newest: None,
            owed: false,
            dirs: std::collections::BTreeMap::new(),
            entries: vec![
                (path("a.txt"), Known { seen: Some(Seen::new(stamp, abc.file().unwrap().digests.clone())), ..known(&abc) }),
                (path("changed"), Known { seen: Some(Seen::new(stamp, Digests::of_whole(digest_one(b"x")))), ..known(&abc) }),
                (path("empty"), known(&Entry { kind: Kind::Dir, mode: Some(0o755) })),
                (
                    path("foreign"),
                    Known { foreign: Some(Box::new((ETag::parse("weird"), Digests::default(), Some(7)))), ..Known::default() },
                ),
                (path("hashed"), Known { seen: Some(Seen::new(stamp, Digests::default())), ..Known::default() }),
                (path("l\n"), Known { published: None, ..known(&Entry { kind: Kind::Link("a \"b\"".into()), mode: None }) }),
                (path("newer"), Known { published: Some(Arc::new(file(b"abcd", None))), ..known(&abc) }),
                (path("theirs"), Known { published: Some(Arc::new(abc)), ..Known::default() }),
            ],
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        assert_eq!(decode("b", "p/", &encode("b", "p/", &sample().journals, &sample())), Ok(sample()));
        assert_eq!(decode("b", "", &encode("b", "", &[], &State::default())), Ok(State::default()));
    }

    #[test]
    fn a_path_of_which_nothing_is_known_is_not_kept() {
        let state = State { entries: vec![(path("a"), Known::default())], ..State::default() };
        assert_eq!(decode("b", "", &encode("b", "", &[], &state)), Ok(State::default()));
    }

    /// A state as version 0.1.0 wrote it; it must stay readable for ever.
    const FORMAT_1: &str = concat!(
        r#"{"lsync":"state","v":1,"bucket":"b","prefix":"p/","mount":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","lineage":"abababababababababababababababab","generation":2,"heads":["0000000002-02020202020202020202020202020202"],"known":[["0000000001-01010101010101010101010101010101",[]],["0000000002-02020202020202020202020202020202",["0000000001-01010101010101010101010101010101"]]],"last":{"command":"upload","host":"gpu-1","time":1700000000000000000,"generation":2},"conditional_writes":[true,5,"https://s3"],"journals":[["op-7",9]]}"#,
        "\n",
        r#"{"n":"a.txt","b":{"k":"f","s":3,"m":420,"t":1,"e":"900150983cd24fb0d6963f7d28e17f72","d":"900150983cd24fb0d6963f7d28e17f72"},"s":[3,1,-2,18446744073709551615]}"#,
        "\n",
        r#"{"n":"changed","b":{"k":"f","s":3,"m":420,"t":1,"e":"900150983cd24fb0d6963f7d28e17f72","d":"900150983cd24fb0d6963f7d28e17f72"},"s":[3,1,-2,18446744073709551615],"d":{"d":"9dd4e461268c8034f5c8564e155c67a6"}}"#,
        "\n",
        r#"{"n":"empty","b":{"k":"d","m":493}}"#,
        "\n",
        r#"{"n":"foreign","f":{"e":"weird","t":7,"d":{}}}"#,
        "\n",
        r#"{"n":"hashed","s":[3,1,-2,18446744073709551615],"d":{}}"#,
        "\n",
        r#"{"n":"l\n","b":{"k":"l","l":"a \"b\""},"u":true}"#,
        "\n",
        r#"{"n":"newer","b":{"k":"f","s":3,"m":420,"t":1,"e":"900150983cd24fb0d6963f7d28e17f72","d":"900150983cd24fb0d6963f7d28e17f72"},"p":{"k":"f","s":4,"m":420,"t":1,"d":"e2fc714c4727ee9395f324cd2e7f331f"}}"#,
        "\n",
        r#"{"n":"theirs","p":{"k":"f","s":3,"m":420,"t":1,"e":"900150983cd24fb0d6963f7d28e17f72","d":"900150983cd24fb0d6963f7d28e17f72"}}"#,
        "\n",
        r#"{"end":8,"md5":"21a34f40a8cb5aa2c6c11562c9efebd2"}"#,
        "\n"
    );

    #[test]
    fn format_1_is_read_and_written_to_the_letter() {
        let text = String::from_utf8(encode("b", "p/", &sample().journals, &sample())).unwrap();
        let without = FORMAT_1.replace(r#","conditional_writes":[true,5,"https://s3"]"#, "");
        let lines = |text: &str| text.lines().take(9).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&text), lines(&without));
        assert_eq!(decode("b", "p/", text.as_bytes()), Ok(sample()));
        assert_eq!(decode("b", "p/", FORMAT_1.as_bytes()), Ok(sample()));
    }

    #[test]
    fn a_state_cut_or_changed_anywhere_is_never_a_wrong_state() {
        let bytes = encode("b", "p/", &sample().journals, &sample());
        for at in 0..bytes.len() {
            assert!(decode("b", "p/", &bytes[..at]).is_err(), "cut at {at}");
            for bit in [1, 2, 4, 0x20, 0x80] {
                let mut flipped = bytes.clone();
                flipped[at] ^= bit;
                assert!(decode("b", "p/", &flipped).is_err(), "bit {bit} flipped at {at}");
            }
        }
    }

    #[test]
    fn the_state_of_another_bucket_or_prefix_is_told() {
        let bytes = encode("b", "p/", &sample().journals, &sample());
        assert_eq!(decode("b", "q/", &bytes), Err(Unreadable::Foreign("b".into(), "p/".into())));
        assert_eq!(decode("c", "p/", &bytes), Err(Unreadable::Foreign("b".into(), "p/".into())));
    }

    #[test]
    fn a_newer_format_is_told_before_anything_else() {
        assert_eq!(decode("b", "", b"{\"lsync\":\"state\",\"v\":2,\"new\":1}\nwhatever\n"), Err(Unreadable::Newer(2)));
    }

    fn digests() -> impl Strategy<Value = Digests> {
        let md5 = || any::<[u8; 16]>().prop_map(Md5);
        let parts = (1u64.., prop::collection::vec(md5(), 1..4)).prop_map(|(part_bytes, md5s)| Box::new(Parts { part_bytes, md5s }));
        let composite = (md5(), 1u32..).prop_map(Box::new);
        (prop::option::of(md5()), prop::option::of(parts), prop::option::of(composite)).prop_map(|(whole, parts, composite)| Digests {
            whole,
            parts,
            composite,
        })
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let etag = prop::option::of("[a-z0-9-]{0,8}").prop_map(|e| e.as_deref().map(ETag::parse));
        let file = (any::<u64>(), any::<Option<i64>>(), digests(), etag)
            .prop_map(|(size, mtime, digests, etag)| Kind::File(File { size, mtime, digests, etag }));
        let kind = prop_oneof![4 => file, 1 => any::<String>().prop_map(|t| Kind::Link(t.into())), 1 => Just(Kind::Dir)];
        (kind, prop::option::of(0u32..0o1000)).prop_map(|(kind, mode)| Entry { kind, mode })
    }

    fn known() -> impl Strategy<Value = Known> {
        let stamp = any::<(u64, i64, i64, u64)>().prop_map(|(size, mtime, ctime, inode)| Stamp { size, mtime, ctime, inode });
        let foreign = ("[a-z0-9-]{0,8}".prop_map(|e| ETag::parse(&e)), digests(), any::<Option<i64>>());
        let parts = (prop::option::of(entry()), prop::option::of(entry()), prop::option::of((stamp, digests())), prop::option::of(foreign));
        (parts, any::<(bool, bool)>()).prop_map(|((base, other, seen, foreign), (same_published, same_seen))| {
            let (base, other, foreign) = (base.map(Arc::new), other.map(Arc::new), foreign.map(Box::new));
            let published = if same_published { base.clone() } else { other };
            let agreed = base.as_deref().and_then(Entry::file).filter(|_| same_seen).map(|file| file.digests.clone());
            let seen = seen.map(|(stamp, digests)| Seen::new(stamp, agreed.unwrap_or(digests)));
            Known { base, published, seen, foreign, removed: same_seen }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn whatever_is_known_comes_back(entries in prop::collection::btree_map("[a-zé\\n\" /]{1,6}", known(), 0..6)) {
            let entries: Vec<_> = entries
                .into_iter()
                .filter(|(_, known)| *known != Known::default())
                .filter_map(|(name, known)| Some((RelPath::new(&name).ok()?, known)))
                .collect();
            let state = State { entries, ..State::default() };
            prop_assert_eq!(decode("b", "", &encode("b", "", &[], &state)), Ok(state));
        }
    }
}
