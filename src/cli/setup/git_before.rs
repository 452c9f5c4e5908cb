//! What git's own configuration said before `lsync setup` changed it: kept in a file of the user, so that `lsync setup --undo-git` can bring
//! it back. Touches only values that still are what lsync set.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lsync::path::Shown;
use serde::{Deserialize, Serialize};

use super::git::Git;
use super::report::Outcome;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::shown;

/// The file: version 1 of its format.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    v: u32,
    keys: BTreeMap<String, Values>,
}

/// The values of one key of git's configuration.
#[derive(Debug, Serialize, Deserialize)]
struct Values {
    before: Vec<String>,
    set: Vec<String>,
}

/// Writes down what a key said and what it says from now on. What stood there before the first change stays written down.
pub(super) fn remember(env: &Environment, key: &str, before: &[String], set: &[String]) -> Result<(), Failure> {
    let path = path(env)?;
    let mut record = read(&path)?.unwrap_or(Record { v: 1, keys: BTreeMap::new() });
    let before = match record.keys.remove(key) {
        Some(known) if known.set == before => known.before,
        _ => before.to_vec(),
    };
    record.keys.insert(key.to_owned(), Values { before, set: set.to_vec() });
    write(&path, &record)
}

/// Brings back what stood there. A value that somebody has changed since stays.
pub(super) fn undo(git: &Git<'_>, dry_run: bool) -> Result<Outcome, Failure> {
    let path = path(git.env)?;
    let Some(record) = read(&path)? else {
        return Ok(Outcome::skipped("lsync setup has changed nothing in git's configuration that could be brought back"));
    };
    let (mut back, mut notes) = (Vec::new(), Vec::new());
    for (key, values) in &record.keys {
        if git.get_all(key)? == values.set {
            back.push((key, values));
        } else {
            notes.push(format!("{key} was changed since; it stays as it is"));
        }
    }
    let names = back.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
    let what = if names.is_empty() { "nothing".to_owned() } else { names };
    if dry_run {
        return Ok(Outcome { notes, ..Outcome::would(format!("bring back in git's configuration: {what}")) });
    }
    for (key, values) in back {
        restore(git, key, values)?;
    }
    std::fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?;
    Ok(Outcome { notes, ..Outcome::done(format!("brought back in git's configuration: {what}")) })
}

/// A value may hold a secret (a helper that prints a password), so that none of them becomes an argument of git.
fn restore(git: &Git<'_>, key: &str, values: &Values) -> Result<(), Failure> {
    let origin = git.ask(&["config", "--global", "--show-origin", "-z", "--get-all", key])?.unwrap_or_default();
    let origin = String::from_utf8_lossy(&origin).into_owned();
    let file = origin.split('\0').next().and_then(|file| file.strip_prefix("file:")).map(PathBuf::from);
    let gone = || Failure::new(Exit::Failed, format!("cannot tell which file of git holds {key}"));
    let file = file.ok_or_else(gone)?;
    let file = file.canonicalize().unwrap_or(file);
    git.ask(&["config", "--global", "--unset-all", key])?;
    if values.before.is_empty() {
        return Ok(());
    }
    append(&file, &section(key, &values.before))
}

/// The lines of a git configuration that give a key these values.
fn section(key: &str, values: &[String]) -> String {
    let (name, variable) = key.rsplit_once('.').unwrap_or(("", key));
    let header = match name.split_once('.') {
        Some((section, sub)) => format!("[{section} \"{}\"]", sub.replace('\\', r"\\").replace('"', "\\\"")),
        None => format!("[{name}]"),
    };
    let quoted = |value: &String| {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n").replace('\t', r"\t");
        format!("\t{variable} = \"{value}\"\n")
    };
    format!("{header}\n{}", values.iter().map(quoted).collect::<String>())
}

/// By git's own protocol: the lock file becomes the new file.
fn append(file: &Path, lines: &str) -> Result<(), Failure> {
    let io = |e: std::io::Error| failed("change", file, &e);
    let mut text = std::fs::read_to_string(file).map_err(io)?;
    let mode = std::fs::metadata(file).map_err(io)?.mode() & 0o777;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(lines);
    let mut lock = file.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let mut locked = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock).map_err(io)?;
    let put = locked
        .write_all(text.as_bytes())
        .and_then(|()| locked.sync_all())
        .and_then(|()| locked.set_permissions(PermissionsExt::from_mode(mode)))
        .and_then(|()| std::fs::rename(&lock, file));
    put.inspect_err(|_| {
        // Ours: create_new made it.
        let _ = std::fs::remove_file(&lock);
    })
    .map_err(io)
}

fn path(env: &Environment) -> Result<PathBuf, Failure> {
    let home = || Failure::usage("cannot tell where to write down what git's configuration says now").hint("set HOME");
    env.user_config().map(|config| config.with_file_name("git-before.json")).ok_or_else(home)
}

fn read(path: &Path) -> Result<Option<Record>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("read", path, &e)),
    };
    let record = serde_json::from_str(&text).ok().filter(|record: &Record| record.v == 1);
    let odd = || Failure::new(Exit::Failed, format!("{} cannot be understood", shown(path))).hint("move it away, and run this again");
    record.map(Some).ok_or_else(odd)
}

fn write(path: &Path, record: &Record) -> Result<(), Failure> {
    let io = |e: std::io::Error| failed("write", path, &e);
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let temporary = path.with_extension("json.new");
    let text = serde_json::to_string_pretty(record).map_err(|e| io(e.into()))?;
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path)).map_err(io)
}

fn failed(doing: &str, path: &Path, e: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {doing} {}: {}", shown(path), Shown(&e.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_git_reads_it() {
        assert_eq!(section("user.name", &["Ada".into()]), "[user]\n\tname = \"Ada\"\n");
        let helper = "!f() { echo \"password=x\\n\"; }; f".to_owned();
        let lines = section("credential.https://github.com.helper", &[String::new(), helper.clone()]);
        assert!(lines.starts_with("[credential \"https://github.com\"]\n\thelper = \"\"\n"), "{lines}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, "[core]\n\teditor = vi").unwrap();
        append(&file, &lines).unwrap();
        let home = dir.path().to_str().unwrap();
        let (path, config) = (std::env::var("PATH").unwrap(), file.to_str().unwrap());
        let vars = [("HOME", home), ("PATH", &path), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", config)];
        let env = Environment::of(dir.path(), &vars);
        assert_eq!(Git { env: &env }.get_all("credential.https://github.com.helper").unwrap(), ["", &helper]);
        assert_eq!(Git { env: &env }.get("core.editor").unwrap().as_deref(), Some("vi"));
    }
}
