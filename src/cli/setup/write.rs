//! Writes a new `sync.toml` that nobody else can read at any moment. Never replaces one.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lsync::config::KEYS;
use lsync::local::belongs;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::find::{quoted, shown};

use super::answers::Answers;

const HEAD: &str = "\
# Configuration of lsync, written by `lsync setup`. It holds keys: keep it out of
# git and readable by you alone (chmod 600). sync.toml.template in the lsync
# repository explains all keys.
";

/// The text of a configuration with these answers.
pub(crate) fn render(answers: &Answers) -> String {
    let mut text = HEAD.to_owned();
    for (table, keys) in KEYS {
        let of_table = answers.values().into_iter().filter(|(key, _)| keys.contains(key));
        let lines: String = of_table.filter_map(|(key, value)| Some(format!("{key} = {}\n", in_quotes(value?)))).collect();
        if !lines.is_empty() {
            text.push_str(&format!("\n[{table}]\n{lines}"));
        }
    }
    text
}

fn in_quotes(text: &str) -> toml::Value {
    toml::Value::String(text.to_owned())
}

/// Creates the file with mode 0600 from its first moment, and makes it durable.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |doing: &str, e: &std::io::Error| {
        let exit = if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) { Exit::NoSpace } else { Exit::Failed };
        Failure::new(exit, format!("cannot {doing} {}: {e}", shown(path)))
    };
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!("{} exists and is not replaced", shown(path)))
            .hint(format!("edit it, or move it away first: mv {0} {0}.old", quoted(path))),
        ErrorKind::NotFound => Failure::usage(format!("cannot create {}: its directory does not exist", shown(path))),
        _ => failed("create", &e),
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    belongs::give_new_file(dir, &file);
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(e) = written {
        // Half a configuration would stand in the way of the next try. It is ours: create_new made it.
        let _ = std::fs::remove_file(path);
        return Err(failed("write", &e));
    }
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed("make durable", &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use lsync::config::{File, Secret};

    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let odd = "quo\"te \\ back'slash'''\u{e9}";
        let answers = Answers {
            bucket: Some("b".into()),
            secret_access_key: Some(Secret::new(odd.into())),
            user_name: Some(odd.into()),
            github_token: Some(Secret::new("t".into())),
            ..Answers::default()
        };
        let file = File::parse("f", &render(&answers)).unwrap();
        assert_eq!(file.remote.secret_access_key.unwrap().value.expose(), odd);
        assert_eq!(file.git.user_name.unwrap().value, odd);
        assert_eq!(file.git.github_token.unwrap().value.expose(), "t");
        assert!(file.remote.region.is_none() && file.blank.is_empty());
    }

    #[test]
    fn the_file_is_for_its_owner_alone_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync.toml");
        create(&path, "one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let again = create(&path, "two").unwrap_err();
        assert!(again.message.ends_with("sync.toml exists and is not replaced"), "{}", again.message);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(create(&dir.path().join("no/sync.toml"), "x").unwrap_err().exit, Exit::Usage);
    }
}
