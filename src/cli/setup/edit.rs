//! Corrects single values of a `sync.toml` that is there already: the rest of the text stays as it is, and the file as it was is kept
//! beside the new one.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lsync::config::{File, KEYS};

use super::answers::Answers;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::find::{Loaded, shown};

/// A file that was changed.
#[derive(Debug)]
pub(super) struct Change {
    /// What it says now.
    pub file: File,
    /// What is another value now, for people; shows no secret.
    pub told: Vec<String>,
}

/// Writes what differs from the file into it. `Ok(None)`: nothing differs.
pub(super) fn correct(loaded: &Loaded, wanted: &Answers, dry_run: bool) -> Result<Option<Change>, Failure> {
    let now = Answers::of(&loaded.file);
    let mut keys = wanted.differing(&now);
    // The token belongs to the keys that are replaced.
    let stale_token = keys.contains(&"secret_access_key") && now.session_token.is_some() && wanted.session_token.is_none();
    if keys.is_empty() {
        return Ok(None);
    }
    let failed = |e: std::io::Error| Failure::new(Exit::Failed, format!("cannot change {}: {e}", loaded.name));
    let text = std::fs::read_to_string(&loaded.path).map_err(failed)?;
    let mut new = text.clone();
    for (key, value) in wanted.values() {
        if keys.contains(&key) {
            new = set(&new, table_of(key), key, value);
        }
    }
    if stale_token {
        new = set(&new, "remote", "session_token", None);
        keys.push("session_token");
    }
    let as_wanted = |file: &File| {
        let read = Answers::of(file);
        wanted.differing(&read).is_empty() && !(stale_token && read.session_token.is_some())
    };
    let Some(file) = File::parse(&loaded.name, &new).ok().filter(as_wanted) else {
        return Err(Failure::usage(format!("cannot change {} in {}: the file is written in an unusual way", keys.join(", "), loaded.name))
            .hint(format!("edit {} by hand", loaded.name)));
    };
    let told = keys.iter().map(|key| change(key, &now, wanted)).collect();
    if !dry_run {
        write(&beside(&loaded.path, ".old"), &text)?;
        let temporary = beside(&loaded.path, "~");
        write(&temporary, &new)?;
        std::fs::rename(&temporary, &loaded.path).map_err(failed)?;
    }
    Ok(Some(Change { file, told }))
}

fn change(key: &str, now: &Answers, wanted: &Answers) -> String {
    let of =
        |answers: &Answers| answers.values().into_iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.map(str::to_owned));
    if ["access_key_id", "secret_access_key", "session_token", "github_token"].contains(&key) {
        return format!("{key} is another one now");
    }
    let word = |value: Option<String>| value.map_or("not set".to_owned(), |value| lsync::path::Shown(&value).to_string());
    format!("{key} was {}, and is {} now", word(of(now)), word(of(wanted)))
}

fn table_of(key: &str) -> &'static str {
    KEYS.iter().find(|(_, keys)| keys.contains(&key)).map_or("remote", |(table, _)| table)
}

/// The text with this value for the key, or without the key. A key that is not there follows its table's header.
fn set(text: &str, table: &str, key: &str, value: Option<&str>) -> String {
    let line = value.map(|value| format!("{key} = {}", toml::Value::String(value.to_owned())));
    let header = format!("[{table}]");
    let is_key = |text: &str| text.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let start = lines.iter().position(|line| line.split('#').next().is_some_and(|line| line.trim() == header));
    let Some(start) = start else {
        let Some(line) = line else { return text.to_owned() };
        return format!("{}\n{header}\n{line}\n", text.trim_end().to_owned() + "\n");
    };
    let end = lines.iter().skip(start + 1).position(|line| line.trim_start().starts_with('[')).map_or(lines.len(), |n| start + 1 + n);
    let at = (start + 1..end).find(|n| is_key(&lines[*n]));
    match (at, line) {
        (Some(at), Some(line)) => lines[at] = line,
        (Some(at), None) => _ = lines.remove(at),
        (None, Some(line)) => lines.insert(start + 1, line),
        (None, None) => {}
    }
    lines.join("\n") + "\n"
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A file that only its owner may read, durable. What was there under the name is replaced.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Exit::Failed, format!("cannot write {}: {e}", shown(path)));
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_changes_and_the_rest_of_the_text_stays() {
        let check = |text: &str, key: &str, value: Option<&str>, expected: &str| {
            assert_eq!(set(text, table_of(key), key, value), expected, "{text:?} {key}");
        };
        let text = "# mine\n[remote]\nbucket = \"a\" # old\nregion = \"r\"\n\n[sync]\nexclude = [\"bucket = x\"]\n";
        let changed = "# mine\n[remote]\nbucket = \"b\"\nregion = \"r\"\n\n[sync]\nexclude = [\"bucket = x\"]\n";
        check(text, "bucket", Some("b"), changed);
        let added = "# mine\n[remote]\nprefix = \"p\"\nbucket = \"a\" # old\nregion = \"r\"\n\n[sync]\nexclude = [\"bucket = x\"]\n";
        check(text, "prefix", Some("p"), added);
        check("[remote]\nsession_token = \"t\"\n", "session_token", None, "[remote]\n");
        check("[remote]\n# bucket = \"x\"\n", "bucket", Some("b"), "[remote]\nbucket = \"b\"\n# bucket = \"x\"\n");
        check("[remote]\n", "user_name", Some("Ada"), "[remote]\n\n[git]\nuser_name = \"Ada\"\n");
        check("", "bucket", Some("q\"uote"), "\n\n[remote]\nbucket = 'q\"uote'\n");
    }

    #[test]
    fn the_old_file_is_kept_and_no_secret_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync.toml");
        let text = "[remote]\nbucket = \"a\"\naccess_key_id = \"OLD\"\nsecret_access_key = \"old-secret\"\nsession_token = \"old-token\"\n";
        std::fs::write(&path, text).unwrap();
        let loaded = Loaded { path: path.clone(), name: "sync.toml".into(), file: File::parse("sync.toml", text).unwrap() };
        let parse = |text: &str| Answers::of(&File::parse("f", text).unwrap());
        assert!(correct(&loaded, &parse("[remote]\nbucket = \"a\"\n"), false).unwrap().is_none());
        let wanted = parse("[remote]\nbucket = \"b\"\naccess_key_id = \"NEW\"\nsecret_access_key = \"new-secret\"\n");
        let would = correct(&loaded, &wanted, true).unwrap().unwrap().told;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a dry run changes nothing");
        assert_eq!(correct(&loaded, &wanted, false).unwrap().unwrap().told, would);
        assert_eq!(would[0], "bucket was a, and is b now");
        assert!(!format!("{would:?}").contains("secret\"") && !format!("{would:?}").contains("OLD"), "{would:?}");
        let new = std::fs::read_to_string(&path).unwrap();
        assert_eq!(new, "[remote]\nbucket = \"b\"\naccess_key_id = \"NEW\"\nsecret_access_key = \"new-secret\"\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("sync.toml.old")).unwrap(), text);
        let odd = Loaded { file: File::parse("f", "remote.bucket = \"a\"\n").unwrap(), ..loaded };
        std::fs::write(&path, "remote.bucket = \"a\"\n").unwrap();
        assert!(correct(&odd, &parse("[remote]\nbucket = \"b\"\n"), false).unwrap_err().message.contains("unusual way"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "remote.bucket = \"a\"\n");
    }
}
