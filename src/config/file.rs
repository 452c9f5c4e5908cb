//! The grammar of `sync.toml`. Every error names the file, the line and the key, and never shows a value, which could be a secret.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Secret;
use super::gateway::{Acl, Addressing, Encryption};
use super::values::{Jobs, Keys, Limit, Links, Trash, parse_bytes, parse_duration};
use crate::path::Shown;

/// All tables and keys there are.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "remote",
        &[
            "bucket",
            "prefix",
            "region",
            "endpoint_url",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "profile",
            "allow_http",
            "addressing_style",
            "requester_pays",
            "sse",
            "sse_kms_key_id",
            "acl",
        ],
    ),
    ("git", &["user_name", "user_email", "github_token", "github_host"]),
    ("local", &["root"]),
    ("sync", &["exclude", "include", "jobs", "max_delete", "max_memory", "trash", "links", "include_config", "settle", "keys"]),
];

/// A value and the line it stands in, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: usize,
}

/// A configuration file, as written: nothing is merged, no default is filled in, and blank text is absent.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// `[remote]`.
    pub remote: Remote,
    /// `[git]`.
    pub git: Git,
    /// `[local]`.
    pub local: LocalTable,
    /// `[sync]`.
    pub sync: SyncTable,
    /// Keys that are there with a blank value, or still with the template's, and their lines.
    pub blank: Vec<At<String>>,
}

/// Where the bucket is and who may use it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the keys are documented in sync.toml.template")]
pub struct Remote {
    pub bucket: Option<At<String>>,
    pub prefix: Option<At<String>>,
    pub region: Option<At<String>>,
    pub endpoint_url: Option<At<String>>,
    pub access_key_id: Option<At<String>>,
    pub secret_access_key: Option<At<Secret>>,
    pub session_token: Option<At<Secret>>,
    pub profile: Option<At<String>>,
    pub allow_http: Option<At<bool>>,
    pub addressing_style: Option<Addressing>,
    pub requester_pays: Option<bool>,
    pub sse: Option<Encryption>,
    pub sse_kms_key_id: Option<At<String>>,
    pub acl: Option<Acl>,
}

/// What `lsync setup` wires into git.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the keys are documented in sync.toml.template")]
pub struct Git {
    pub user_name: Option<At<String>>,
    pub user_email: Option<At<String>>,
    pub github_token: Option<At<Secret>>,
    pub github_host: Option<At<String>>,
}

/// Where the mount is.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the keys are documented in sync.toml.template")]
pub struct LocalTable {
    pub root: Option<At<String>>,
}

/// What travels, and how.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the keys are documented in sync.toml.template")]
pub struct SyncTable {
    pub exclude: Vec<String>,
    pub include: Vec<String>,
    pub jobs: Option<Jobs>,
    pub max_delete: Option<Limit>,
    pub max_memory_bytes: Option<u64>,
    pub trash: Option<Trash>,
    pub links: Option<Links>,
    pub include_config: Option<bool>,
    pub keys: Option<Keys>,
    pub settle: Option<Duration>,
}

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadConfig {
    /// The file, as it was named by the user or found.
    pub file: String,
    /// The line, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong, with the key and a suggestion, without the value.
    pub message: String,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, message) = (Shown(&self.file), &self.message);
        match self.line {
            Some(line) => write!(f, "{file}:{line}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

/// True for text that says nothing: empty, spaces, or a placeholder (`…`, `<your bucket>`).
#[must_use]
pub fn is_blank(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == "…" || text == "..." || (text.starts_with('<') && text.ends_with('>'))
}

impl File {
    /// Reads a file's text. `name` stands in errors. Of several errors the first in the file is returned.
    pub fn parse(name: &str, text: &str) -> Result<File, BadConfig> {
        let reader = Reader { name, text };
        let document = DeTable::parse(text).map_err(|e| {
            let message = format!("this is not valid TOML: {}", e.message());
            BadConfig { line: e.span().map(|span| reader.line(span.start)), ..reader.bad(0, message) }
        })?;
        let mut file = File::default();
        let mut errors = Vec::new();
        for (table, content) in document.get_ref() {
            let at = table.span().start;
            let name = table.get_ref().as_ref();
            let Some((_, keys)) = KEYS.iter().find(|(known, _)| *known == name) else {
                errors.push(reader.bad(at, unknown_table(name)));
                continue;
            };
            let Some(content) = content.get_ref().as_table() else {
                errors.push(reader.bad(at, format!("{name} is a table: write [{name}] on a line of its own")));
                continue;
            };
            for (key, value) in content {
                let item = Item { reader: &reader, key: key.get_ref(), at: key.span().start, value: value.get_ref() };
                let read = if keys.contains(&item.key) { file.set(name, &item) } else { Err(item.bad(unknown_key(name, item.key))) };
                errors.extend(read.err());
            }
        }
        errors.into_iter().min_by_key(|e| e.line).map_or(Ok(file), Err)
    }

    fn set(&mut self, table: &str, item: &Item<'_>) -> Result<(), BadConfig> {
        let blank = &mut self.blank;
        match (table, item.key) {
            ("remote", "bucket") => self.remote.bucket = item.text(blank)?,
            ("remote", "prefix") => self.remote.prefix = item.text(blank)?,
            ("remote", "region") => self.remote.region = item.text(blank)?,
            ("remote", "endpoint_url") => self.remote.endpoint_url = item.text(blank)?,
            ("remote", "access_key_id") => self.remote.access_key_id = item.text(blank)?,
            ("remote", "secret_access_key") => self.remote.secret_access_key = item.secret(blank)?,
            ("remote", "session_token") => self.remote.session_token = item.secret(blank)?,
            ("remote", "profile") => self.remote.profile = item.text(blank)?,
            ("remote", "allow_http") => self.remote.allow_http = Some(At { value: item.flag()?, line: item.line() }),
            ("remote", "addressing_style") => self.remote.addressing_style = item.parsed(Addressing::from_str)?,
            ("remote", "requester_pays") => self.remote.requester_pays = Some(item.flag()?),
            ("remote", "sse") => self.remote.sse = item.parsed(Encryption::from_str)?,
            ("remote", "sse_kms_key_id") => self.remote.sse_kms_key_id = item.text(blank)?,
            ("remote", "acl") => self.remote.acl = item.parsed(Acl::from_str)?,
            ("git", "user_name") => self.git.user_name = item.text(blank)?,
            ("git", "user_email") => self.git.user_email = item.text(blank)?,
            ("git", "github_token") => self.git.github_token = item.secret(blank)?,
            ("git", "github_host") => self.git.github_host = item.text(blank)?,
            ("local", "root") => self.local.root = item.text(blank)?,
            ("sync", "exclude") => self.sync.exclude = item.list()?,
            ("sync", "include") => self.sync.include = item.list()?,
            ("sync", "jobs") => self.sync.jobs = item.parsed(Jobs::from_str)?,
            ("sync", "max_delete") => self.sync.max_delete = item.parsed(Limit::from_str)?,
            ("sync", "max_memory") => self.sync.max_memory_bytes = item.parsed(parse_bytes)?,
            ("sync", "trash") => self.sync.trash = item.parsed(Trash::from_str)?,
            ("sync", "links") => self.sync.links = item.parsed(Links::from_str)?,
            ("sync", "keys") => self.sync.keys = item.parsed(Keys::from_str)?,
            ("sync", "settle") => self.sync.settle = item.parsed(parse_duration)?,
            ("sync", "include_config") => self.sync.include_config = Some(item.flag()?),
            _ => return Err(item.bad(unknown_key(table, item.key))),
        }
        Ok(())
    }

    /// True when the file holds something that must stay secret.
    #[must_use]
    pub fn holds_secrets(&self) -> bool {
        self.remote.secret_access_key.is_some() || self.remote.session_token.is_some() || self.git.github_token.is_some()
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count()
    }

    fn bad(&self, offset: usize, message: String) -> BadConfig {
        BadConfig { file: self.name.to_owned(), line: Some(self.line(offset)), message }
    }
}

/// One `key = value`.
struct Item<'a> {
    reader: &'a Reader<'a>,
    key: &'a str,
    at: usize,
    value: &'a DeValue<'a>,
}

impl Item<'_> {
    fn line(&self) -> usize {
        self.reader.line(self.at)
    }

    fn bad(&self, message: String) -> BadConfig {
        self.reader.bad(self.at, message)
    }

    fn wrong(&self, expected: &str) -> BadConfig {
        self.bad(format!("{}: {expected}, not {}", self.key, kind(self.value)))
    }

    fn text(&self, blank: &mut Vec<At<String>>) -> Result<Option<At<String>>, BadConfig> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("expected text in quotes"))?;
        let line = self.line();
        if is_blank(text) {
            blank.push(At { value: self.key.to_owned(), line });
            return Ok(None);
        }
        if text.contains(char::is_control) {
            return Err(self.bad(format!("{}: the value holds a control character", self.key)));
        }
        Ok(Some(At { value: text.trim().to_owned(), line }))
    }

    fn secret(&self, blank: &mut Vec<At<String>>) -> Result<Option<At<Secret>>, BadConfig> {
        Ok(self.text(blank)?.map(|at| At { value: Secret::new(at.value), line: at.line }))
    }

    fn flag(&self) -> Result<bool, BadConfig> {
        self.value.as_bool().ok_or_else(|| self.wrong("expected true or false"))
    }

    fn list(&self) -> Result<Vec<String>, BadConfig> {
        let wrong = || self.wrong("expected a list of patterns in quotes, like [\"*.tmp\", \"/cache/\"]");
        let items = self.value.as_array().ok_or_else(wrong)?;
        items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wrong)).collect()
    }

    /// Text or a whole number, read by `parse`.
    fn parsed<T, E: fmt::Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, BadConfig> {
        let text = match self.value {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.wrong("expected text in quotes or a number")),
        };
        parse(text).map(Some).map_err(|e| self.bad(format!("{}: {e}", self.key)))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown_table(name: &str) -> String {
    if let Some((table, _)) = KEYS.iter().find(|(_, keys)| keys.contains(&name)) {
        return format!("{name:?} belongs below the line [{table}]");
    }
    let tables = KEYS.iter().map(|(table, _)| *table);
    match nearest(name, tables) {
        Some(near) => format!("unknown table or key {name:?}; did you mean [{near}]?"),
        None => format!("unknown table or key {name:?}; the tables are [remote], [git], [local] and [sync]"),
    }
}

fn unknown_key(table: &str, key: &str) -> String {
    let of_table = || KEYS.iter().filter(|(name, _)| *name == table).flat_map(|(_, keys)| keys.iter().copied());
    if let Some((other, _)) = KEYS.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("unknown key {key:?} in [{table}]; it belongs in [{other}]");
    }
    match nearest(key, of_table()) {
        Some(near) => format!("unknown key {key:?} in [{table}]; did you mean {near:?}?"),
        None => format!("unknown key {key:?} in [{table}]; the keys are {}", of_table().collect::<Vec<_>>().join(", ")),
    }
}

/// The known name that is at most a third of its letters away; case and `-` against `_` do not count.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.to_lowercase().replace('-', "_");
    known.map(|k| (distance(&name, k), k)).filter(|(d, k)| *d <= (k.len() / 3).max(1)).min().map(|(_, k)| k)
}

/// How many characters have to be inserted, removed or replaced to make one text of the other (Levenshtein's distance).
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = (before + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(File::parse("sync.toml", text).expect_err("it is wrong").to_string(), expected);
    }

    #[test]
    fn an_error_names_file_line_key_and_what_was_meant() {
        refused("[remote]\n\nbuket = \"x\"", r#"sync.toml:3: unknown key "buket" in [remote]; did you mean "bucket"?"#);
        refused(
            "[remote]\nAccess-Key-Id = \"x\"",
            r#"sync.toml:2: unknown key "Access-Key-Id" in [remote]; did you mean "access_key_id"?"#,
        );
        refused("[remot]\n", r#"sync.toml:1: unknown table or key "remot"; did you mean [remote]?"#);
        refused("bucket = \"x\"", r#"sync.toml:1: "bucket" belongs below the line [remote]"#);
        refused("[sync]\nregion = \"x\"", r#"sync.toml:2: unknown key "region" in [sync]; it belongs in [remote]"#);
        refused("[local]\nzzz = 1", r#"sync.toml:2: unknown key "zzz" in [local]; the keys are root"#);
        refused("[sync]\njobs = 0", r#"sync.toml:2: jobs: expected "auto" or a number from 1 to 512"#);
        refused("[sync]\njobs = true", "sync.toml:2: jobs: expected text in quotes or a number, not true or false");
        refused("[sync]\nmax_delete = \"150%\"", "sync.toml:2: max_delete: expected a number of paths (100) or a share from 0% to 100%");
        refused(
            "[sync]\nexclude = \"*.tmp\"",
            r#"sync.toml:2: exclude: expected a list of patterns in quotes, like ["*.tmp", "/cache/"], not text"#,
        );
        refused("[remote]\nallow_http = \"yes\"", "sync.toml:2: allow_http: expected true or false, not text");
        refused("remote = 3", "sync.toml:1: remote is a table: write [remote] on a line of its own");
    }

    #[test]
    fn of_several_errors_the_first_in_the_file_is_told() {
        refused(
            "[sync]\nzzzz = 1\n[remote]\nbuket = 1",
            "sync.toml:2: unknown key \"zzzz\" in [sync]; the keys are exclude, include, jobs, max_delete, max_memory, trash, links, include_config, settle, keys",
        );
    }

    #[test]
    fn no_error_shows_a_value_because_it_could_be_a_secret() {
        for text in [
            "[remote]\nsecret_access_key = hunter2secret",
            "[remote]\nsecret_access_key = \"hunter2secret",
            "[remote]\nsecret_access_key = [\"hunter2secret\"]",
            "[remote]\nsecret_access_key = \"hunter2secret\\u0007\"",
            "[remote]\nsecret_access_key = \"hunter2\\qsecret\"",
            "[git]\ngithub_token = 'hunter2secret' x",
            "[git]\ngithub_token = \"hunter2secret\"\ngithub_token = \"hunter2secret\"",
        ] {
            let error = File::parse("sync.toml", text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert!(error.line.is_some_and(|line| line >= 2), "{error}");
        }
        let fine = File::parse("f", "[remote]\nsecret_access_key = \"hunter2secret\"").unwrap();
        assert!(!format!("{fine:?}").contains("hunter2") && fine.holds_secrets());
    }

    #[test]
    fn blank_values_and_placeholders_are_absent() {
        let file = File::parse("f", "[remote]\nbucket = \"\"\nregion = \" us-east-2 \"\nprefix = \"<optional>\"\nprofile = \"…\"").unwrap();
        assert!(file.remote.bucket.is_none() && file.remote.prefix.is_none() && file.remote.profile.is_none());
        assert_eq!(file.remote.region, Some(At { value: "us-east-2".into(), line: 3 }));
        let blank: Vec<_> = file.blank.iter().map(|b| (b.value.as_str(), b.line)).collect();
        assert_eq!(blank, [("bucket", 2), ("prefix", 4), ("profile", 5)]);
    }

    #[test]
    fn every_key_of_the_table_is_read() {
        for (table, keys) in KEYS {
            for key in *keys {
                let read = |value: &str| File::parse("f", &format!("[{table}]\n{key} = {value}"));
                let values =
                    ["\"x\"", "true", "[\"*.tmp\"]", "4", "\"inside\"", "\"7d 10%\"", "\"30s\"", "\"virtual\"", "\"AES256\"", "\"ask\""];
                assert!(values.iter().any(|value| read(value).is_ok()), "[{table}] {key}");
            }
        }
    }

    const TEMPLATE: &str = include_str!("../../sync.toml.template");

    #[test]
    fn the_template_is_valid_and_says_what_is_to_be_filled_in() {
        let file = File::parse("sync.toml.template", TEMPLATE).unwrap();
        let blank: Vec<_> = file.blank.iter().map(|b| b.value.as_str()).collect();
        assert_eq!(blank, ["access_key_id", "bucket", "secret_access_key"]);
        assert!(!file.holds_secrets());
    }

    #[test]
    fn the_template_explains_every_key_and_shows_the_defaults() {
        let is_key = |line: &str| KEYS.iter().flat_map(|(_, keys)| *keys).any(|key| line.starts_with(&format!("# {key} = ")));
        let uncommented: String = TEMPLATE.lines().map(|l| format!("{}\n", if is_key(l) { &l[2..] } else { l })).collect();
        let file = File::parse("sync.toml.template", &uncommented).unwrap();
        for (table, keys) in KEYS {
            let below = TEMPLATE.split(&format!("\n[{table}]\n")).nth(1).unwrap();
            for key in *keys {
                let line = below.lines().find(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = ")));
                assert!(line.is_some(), "[{table}] {key}");
            }
        }
        assert_eq!(file.sync.jobs, Some(Jobs::default()));
        assert_eq!(file.sync.max_delete, Some(Limit::default()));
        assert_eq!(file.sync.trash, Some(Trash::default()));
        assert_eq!(file.sync.links, Some(Links::default()));
        assert_eq!(file.sync.max_memory_bytes, Some(256 << 20));
    }
}
