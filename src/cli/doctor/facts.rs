//! What was found, in words: each fact with what it means for lsync. Pure.

use lsync::local::inspect::{Inspected, Mounted, Tried};
use lsync::local::mount::LocalError;
use lsync::path::Shown;
use lsync::profile::{ETagKind, Profile, Support};
use lsync::remote::examine::Examined;
use serde_json::{Value, json};

use super::copy_facts::copy_facts;
use super::writers_fact::writers_fact;
use crate::cli::failure::chain;
use crate::cli::render::Page;
use crate::cli::text::{bytes, count, wrap};

/// How good a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; lsync works all the same.
    Note,
    /// Something does not work.
    Problem,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    /// `store` or `mount`.
    pub area: &'static str,
    pub name: &'static str,
    pub verdict: Verdict,
    /// For programs; null when it is not known.
    pub value: Value,
    pub found: String,
    /// For lsync; may be empty.
    pub means: String,
}

/// A clock that is further off than this is worth a word; stores refuse requests from 15 minutes on.
const CLOCK_SECONDS: i64 = 60;
const CLOCK_MOST_SECONDS: i64 = 15 * 60;
/// Timestamps coarser than this hide an edit that follows another.
const COARSE_NANOS: i64 = 100_000_000;
/// Making a small file durable takes longer than this where many small downloads will be slow.
const SLOW_FSYNC_MS: u128 = 50;

impl Fact {
    pub(crate) fn new(
        area: &'static str,
        name: &'static str,
        verdict: Verdict,
        value: Value,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Fact {
        Fact { area, name, verdict, value, found: found.into(), means: means.into() }
    }

    pub(super) fn json(&self) -> Value {
        let verdict = self.verdict.word();
        json!({
            "v": 1, "type": "fact", "area": self.area, "name": self.name.replace([' ', '-'], "_"), "verdict": verdict, "value": self.value,
            "found": self.found, "means": self.means,
        })
    }

    /// A line, broken where the page ends.
    pub(super) fn text(&self, page: &Page) -> String {
        const INDENT: usize = 32;
        let word = format!("  {:<8}", self.verdict.word());
        let word = match self.verdict {
            Verdict::Ok => word,
            Verdict::Note => page.ink.yellow(&word),
            Verdict::Problem => page.ink.red(&word),
        };
        let between = if self.means.is_empty() { "" } else { ": " };
        let said = wrap(&format!("{}{between}{}", self.found, self.means), page.width, INDENT, INDENT);
        format!("{word} {:<21}{said}\n", self.name)
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "problem",
        }
    }
}

/// Everything of an examination.
pub(crate) fn store_facts(examined: &Examined) -> Vec<Fact> {
    let store = |name, verdict, value, found: &str, means: &str| Fact::new("store", name, verdict, value, found, means);
    let mut facts = Vec::new();
    if !examined.may_write {
        facts.push(store(
            "access",
            Verdict::Note,
            json!("read"),
            "these keys may read and not write",
            "download works, upload will be refused; what only writing shows was not asked",
        ));
        facts.extend(profile_facts(&examined.profile).into_iter().filter(|fact| !fact.value.is_null()));
        return facts;
    }
    if examined.leftover.is_empty() {
        facts.push(store("access", Verdict::Ok, json!("write"), "these keys may read, write and remove", ""));
    } else {
        let names: Vec<String> = examined.leftover.iter().map(|key| Shown(key).to_string()).collect();
        let found = format!("these objects could not be removed: {}", names.join(", "));
        let means = "remove them, and give the keys the permission to delete";
        facts.push(Fact::new("store", "access", Verdict::Problem, json!("no delete"), found, means));
    }
    if let Some(why) = &examined.no_multipart {
        let found = format!("multipart uploads fail ({why})");
        let means = "files larger than 16 MiB cannot be uploaded";
        facts.push(Fact::new("store", "multipart", Verdict::Problem, json!(false), found, means));
    }
    facts.extend(profile_facts(&examined.profile));
    facts
}

/// What a profile says, a fact each; those that are not known have the value null.
pub(super) fn profile_facts(profile: &Profile) -> Vec<Fact> {
    use Verdict::{Note, Ok, Problem};
    let support = |support: Support| json!(support);
    let mut facts = Vec::new();
    let mut fact = |name, known: Option<(Verdict, Value, &str, &str)>| {
        let (verdict, value, found, means) = known.unwrap_or((Note, Value::Null, "not known", ""));
        facts.push(Fact::new("store", name, verdict, value, found, means));
    };
    let looks = "lsync looks again right before each write instead; between the two lies a moment";
    fact(
        "conditional writes",
        profile.conditional_writes.map(|s| match s {
            Support::Honoured => (Ok, support(s), "honoured", "what another program writes meanwhile is never overwritten"),
            Support::Refused => (Note, support(s), "refused", looks),
            Support::Ignored => (Note, support(s), "silently ignored", looks),
        }),
    );
    let opaque = profile.verifies_nothing();
    fact(
        "Content-MD5",
        profile.checks_content_md5.map(|checks| match checks {
            true => (Ok, json!(true), "checked", "what arrives damaged is refused"),
            false if opaque => (
                Note,
                json!(false),
                "not checked, and ETags tell nothing",
                "the store verifies nothing of what it takes; `lsync upload --verify deep` reads it back",
            ),
            false => (Note, json!(false), "not checked", "lsync compares the ETags with its own digests"),
        }),
    );
    let etag = |kind: ETagKind| match kind {
        ETagKind::Md5 => (Ok, json!(kind), "the MD5 of the content", "proves the content"),
        ETagKind::Composite => (Ok, json!(kind), "the MD5 of the parts' MD5s", "proves the content"),
        ETagKind::Opaque => (Note, json!(kind), "tells nothing about the content", "lsync's own record of digests is used"),
    };
    fact("ETag of one request", profile.single_etag.map(etag));
    fact("ETag of parts", profile.multipart_etag.map(etag));
    fact(
        "listed ETag",
        profile.lists_answered_etag.map(|same| match same {
            true => (Ok, json!(true), "the one that was answered", ""),
            false => (Note, json!(false), "another one than was answered", "lsync asks for each such object once more"),
        }),
    );
    fact(
        "ListParts",
        profile.lists_parts.map(|shows| match shows {
            true => (Ok, json!(true), "works", "an interrupted upload of a large file goes on where it stopped"),
            false => (Note, json!(false), "does not work", "an interrupted upload of a large file begins again with this file"),
        }),
    );
    fact(
        "ListMultipartUploads",
        profile.lists_uploads.map(|shows| match shows {
            true => (Ok, json!(true), "works", "unfinished uploads can be found"),
            false => (Note, json!(false), "does not work", "unfinished uploads of others cannot be found"),
        }),
    );
    fact(
        "paging",
        profile.pages.map(|pages| match pages {
            true => (Ok, json!(true), "works", ""),
            false => (Problem, json!(false), "pages do not follow each other", "listings may be wrong"),
        }),
    );
    fact(
        "url-encoding",
        profile.url_encoding.map(|s| match s {
            Support::Honoured => (Ok, support(s), "honoured", "any key can be listed"),
            Support::Refused => (Note, support(s), "refused", "keys with control characters cannot be listed"),
            Support::Ignored => (Note, support(s), "ignored", "keys with control characters cannot be listed"),
        }),
    );
    fact(
        "order of listings",
        profile.lists_in_order.map(|ordered| match ordered {
            true => (Ok, json!(true), "by key", ""),
            false => (Ok, json!(false), "none", "lsync sorts"),
        }),
    );
    fact(
        "a beside a/b",
        profile.object_below_object.map(|both| match both {
            true => (Ok, json!(true), "possible", ""),
            false => (
                Ok,
                json!(false),
                "refused, as on a filesystem",
                "a file that becomes a directory is removed before what lies below is sent",
            ),
        }),
    );
    fact(
        "odd keys",
        profile.odd_keys.map(|s| match s {
            Support::Honoured => (Ok, support(s), "kept", "spaces, +, %, letters beyond ASCII, control characters"),
            Support::Refused => (Note, support(s), "refused", "files with names like that cannot be uploaded"),
            Support::Ignored => {
                (Note, support(s), "not listed as they were sent", "files with control characters in their names will be problems")
            }
        }),
    );
    fact(
        "metadata",
        profile.keeps_metadata.map(|keeps| match keeps {
            true => (Ok, json!(true), "kept", ""),
            false => (
                Problem,
                json!(false),
                "changed or lost",
                "a lost answer cannot be told from a lost write, and other tools do not see the times of files",
            ),
        }),
    );
    facts.extend(copy_facts(profile));
    facts
}

/// What the connection tells.
pub(super) fn connection_facts(offset_seconds: Option<i64>, http2: Option<bool>) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(offset) = offset_seconds {
        let (verdict, means) = match offset.abs() {
            0..=CLOCK_SECONDS => (Verdict::Ok, ""),
            61..CLOCK_MOST_SECONDS => (Verdict::Note, "stores refuse requests from 15 minutes on"),
            _ => (Verdict::Problem, "stores refuse requests from 15 minutes on: set this machine's clock"),
        };
        let direction = if offset > 0 { "behind" } else { "ahead of" };
        let found = match offset {
            -1..=1 => "as the store's".to_owned(),
            _ => format!("{} s {direction} the store's", offset.abs()),
        };
        facts.push(Fact::new("store", "clock", verdict, json!(offset), found, means));
    }
    if let Some(offered) = http2 {
        let found = if offered { "offered" } else { "not offered" };
        facts.push(Fact::new("store", "HTTP/2", Verdict::Ok, json!(offered), found, "lsync speaks HTTP/1.1 on many connections"));
    }
    facts
}

/// What the mount is. `tried` is `None` when nothing was to be written.
pub(super) fn mount_facts(inspected: &Inspected, tried: Option<&Result<Tried, LocalError>>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = inspected.mounted.iter().map(file_system).collect();
    match tried {
        Some(Ok(tried)) => facts.extend(tried_facts(tried)),
        Some(Err(error)) => facts.push(Fact::new(
            "mount",
            "writing",
            Verdict::Problem,
            json!(false),
            chain(error),
            "upload works and keeps its state elsewhere; download, undo and clean must be able to write to .lsync/",
        )),
        None => {}
    }
    let (free, total) = inspected.space;
    let full = |free: u64, total: u64| {
        if free == 0 {
            Verdict::Problem
        } else if free < total / 50 {
            Verdict::Note
        } else {
            Verdict::Ok
        }
    };
    let found = format!("{} of {} free", bytes(free), bytes(total));
    facts.push(Fact::new("mount", "space", full(free, total), json!({ "free": free, "total": total }), found, ""));
    if let Some((free, total)) = inspected.inodes {
        let found = format!("{} of {} free", count(free), count(total));
        facts.push(Fact::new("mount", "inodes", full(free, total), json!({ "free": free, "total": total }), found, ""));
    }
    let (found, means) = match inspected.confined_by_kernel {
        true => ("available", "the kernel keeps every lookup below the mount"),
        false => ("not available", "lsync walks down step by step, which refuses the same"),
    };
    facts.push(Fact::new("mount", "openat2", Verdict::Ok, json!(inspected.confined_by_kernel), found, means));
    facts
}

fn file_system(mounted: &Mounted) -> Fact {
    let mut words = vec![mounted.kind.clone()];
    if mounted.is_nfs() {
        words.extend(mounted.value("vers").map(|version| format!("version {version}")));
        words.extend(mounted.options.iter().filter(|option| tells_of_nfs(option)).cloned());
    }
    words.extend(["ro", "sync"].iter().filter(|option| mounted.has(option)).map(|option| (*option).to_owned()));
    let words = format!("{} ({})", Shown(&words.join(", ")), Shown(&mounted.source));
    let (verdict, means) = if mounted.is_read_only() {
        (Verdict::Problem, "it is mounted read-only: download cannot write")
    } else if mounted.is_nfs() && mounted.has("soft") {
        (
            Verdict::Note,
            "`soft`: an outage of the server ends writes with an error instead of waiting; such files are sent or brought again",
        )
    } else {
        (Verdict::Ok, "")
    };
    let value = json!({ "kind": mounted.kind, "source": mounted.source, "at": mounted.at, "options": mounted.options });
    Fact::new("mount", "file system", verdict, value, words, means)
}

fn tells_of_nfs(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    ["hard", "soft", "softerr", "proto", "timeo", "acregmax", "actimeo", "noac", "nolock", "local_lock", "nconnect"].contains(&name)
}

fn tried_facts(tried: &Tried) -> Vec<Fact> {
    let fact = |name, verdict, value, found: String, means: &str| Fact::new("mount", name, verdict, value, found, means);
    let ms = tried.granularity / 1_000_000;
    let times = match tried.granularity < COARSE_NANOS {
        true => fact("timestamps", Verdict::Ok, json!(tried.granularity), format!("every {ms} ms or finer"), ""),
        false => fact(
            "timestamps",
            Verdict::Note,
            json!(tried.granularity),
            format!("every {ms} ms"),
            "files that were changed within that are read once more",
        ),
    };
    let (nanoseconds, modes) = (tried.keeps_nanoseconds, tried.keeps_modes);
    let kept = match (nanoseconds, modes) {
        (true, true) => (Verdict::Ok, "kept to the nanosecond, with permission bits"),
        (false, true) => (Verdict::Note, "times are rounded; permission bits are kept"),
        (true, false) => (Verdict::Note, "times are kept; permission bits are not"),
        (false, false) => (Verdict::Note, "times are rounded; permission bits are not kept"),
    };
    let micros = tried.fsync.as_micros();
    let fsync = format!("{}.{} ms (median of 5)", micros / 1000, micros % 1000 / 100);
    let slow = micros / 1000 >= SLOW_FSYNC_MS;
    let (verdict, means) = if slow { (Verdict::Note, "downloads of many small files wait for the file system") } else { (Verdict::Ok, "") };
    let exclusive = match tried.exclusive_create {
        true => fact("locks", Verdict::Ok, json!(true), "a name is created once (O_EXCL)".into(), "two runs keep out of each other's way"),
        false => fact(
            "locks",
            Verdict::Problem,
            json!(false),
            "a name that is taken was created again".into(),
            "two runs at once cannot see each other",
        ),
    };
    let links = match tried.hard_links {
        true => fact("hard links", Verdict::Ok, json!(true), "possible".into(), "the trash takes no copies"),
        false => fact("hard links", Verdict::Note, json!(false), "not possible".into(), "what a download replaces is copied to the trash"),
    };
    let names = {
        let (case, accents) = (tried.folding.case, tried.folding.accents);
        let value = json!({ "case": case, "accents": accents });
        let means = "of names in the bucket that would be one here, one is brought, and the others are problems";
        match (case, accents) {
            (false, false) => fact("names", Verdict::Ok, value, "told apart by case and by how accents are written".into(), ""),
            (true, false) => fact("names", Verdict::Note, value, "`Data` and `data` are one".into(), means),
            (false, true) => fact("names", Verdict::Note, value, "`\u{e9}` as one character and as two is one".into(), means),
            (true, true) => fact("names", Verdict::Note, value, "not told apart by case nor by how accents are written".into(), means),
        }
    };
    vec![
        times,
        fact("times and modes", kept.0, json!({ "nanoseconds": nanoseconds, "modes": modes }), kept.1.into(), ""),
        fact("fsync", verdict, json!({ "median_us": u64::try_from(micros).unwrap_or(u64::MAX) }), fsync, means),
        exclusive,
        links,
        names,
        writers_fact(tried.writers),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::samples::page;

    fn nfs(options: &[&str]) -> Fact {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        file_system(&Mounted { at: "/lambda/nfs/me".into(), kind: "nfs4".into(), source: "10.0.0.5:/export/me".into(), options })
    }

    #[test]
    fn of_a_network_file_system_the_options_are_told_that_matter() {
        let hard = nfs(&["rw", "relatime", "vers=4.2", "rsize=1048576", "hard", "proto=tcp", "timeo=600"]);
        assert_eq!(hard.verdict, Verdict::Ok);
        assert_eq!(hard.found, "nfs4, version 4.2, hard, proto=tcp, timeo=600 (10.0.0.5:/export/me)");
        assert_eq!(nfs(&["rw", "soft"]).verdict, Verdict::Note);
        assert_eq!(nfs(&["ro", "hard"]).verdict, Verdict::Problem);
    }

    #[test]
    fn a_clock_is_a_note_from_a_minute_and_a_problem_from_fifteen() {
        let clock = |offset| connection_facts(Some(offset), None).remove(0);
        let said = |offset| (clock(offset).verdict, clock(offset).found);
        assert_eq!(said(0), (Verdict::Ok, "as the store's".into()));
        assert_eq!(said(60), (Verdict::Ok, "60 s behind the store's".into()));
        assert_eq!(said(-61), (Verdict::Note, "61 s ahead of the store's".into()));
        assert_eq!(said(-900), (Verdict::Problem, "900 s ahead of the store's".into()));
        assert!(connection_facts(None, None).is_empty());
    }

    #[test]
    fn a_store_that_verifies_nothing_is_told_so_and_every_line_fits() {
        let profile = Profile {
            conditional_writes: Some(Support::Ignored),
            checks_content_md5: Some(false),
            single_etag: Some(ETagKind::Opaque),
            odd_keys: Some(Support::Ignored),
            object_below_object: Some(false),
            keeps_metadata: Some(false),
            ..Profile::default()
        };
        let facts = profile_facts(&profile);
        assert!(facts[1].means.contains("`lsync upload --verify deep` reads it back"), "{}", facts[1].means);
        let unknown = facts.iter().filter(|fact| fact.value.is_null()).count();
        assert_eq!((facts.len(), unknown), (16, 10));
        let text: String = facts.iter().map(|fact| fact.text(&page(80))).collect();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("  note     conditional writes   silently ignored: lsync looks again right before\n"), "{text}");
    }
}
