//! Takes `url."https://TOKEN@github.com/".insteadOf` entries, as the old script made them, out of the user's git configuration. The
//! file is edited here because `git config` would need the entry's name, and so the token, as an argument that everyone can see.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::git::Git;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::git_credential::Place;
use crate::cli::settings::find::shown;

/// The files that hold such entries. Has no way to show the entries.
#[derive(Default)]
pub(crate) struct Old {
    files: Vec<PathBuf>,
}

impl Old {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files, for people.
    pub(crate) fn files(&self) -> String {
        self.files.iter().map(|file| shown(file)).collect::<Vec<_>>().join(", ")
    }
}

/// Looks for entries whose base holds credentials for one of the places.
pub(crate) fn find(git: &Git<'_>, places: &[Place]) -> Result<Old, Failure> {
    let pattern = r"^url\..*\.(insteadof|pushinsteadof)$";
    let found = git.ask(&["config", "--global", "--show-origin", "-z", "--get-regexp", pattern])?.unwrap_or_default();
    let found = String::from_utf8_lossy(&found).into_owned();
    let mut old = Old::default();
    // Each is `file:<path>NUL<key>LF<value>NUL`.
    let parts: Vec<&str> = found.split('\0').collect();
    for [origin, entry] in parts.as_chunks::<2>().0 {
        let key = entry.split('\n').next().unwrap_or_default();
        let base = key.strip_prefix("url.").and_then(|rest| rest.rsplit_once('.')).map(|(base, _)| base);
        if let (Some(file), Some(base)) = (origin.strip_prefix("file:"), base)
            && holds_credentials(base, places)
        {
            // A link to the file of a dotfiles repository stays one.
            let file = Path::new(file);
            let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
            if !old.files.contains(&file) {
                old.files.push(file);
            }
        }
    }
    Ok(old)
}

fn holds_credentials(base: &str, places: &[Place]) -> bool {
    let Some((_, rest)) = base.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((_, host)) = authority.rsplit_once('@') else { return false };
    places.iter().any(|place| place.host.eq_ignore_ascii_case(host))
}

/// Takes them out. Nothing else changes: git's own reading of the file before and after is compared before it is put in place.
pub(crate) fn remove(git: &Git<'_>, old: &Old, places: &[Place]) -> Result<(), Failure> {
    old.files.iter().try_for_each(|file| remove_from(git, file, places))
}

fn remove_from(git: &Git<'_>, file: &Path, places: &[Place]) -> Result<(), Failure> {
    let by_hand = |why: &str| {
        Failure::new(Exit::Failed, format!("an old entry with a token could not be taken out of {}: {why}", shown(file)))
            .hint("take it out by hand: run git config --global --edit and delete the [url \"https://…@github.com/\"] section")
    };
    let io = |e: std::io::Error| by_hand(&e.to_string());
    let text = std::fs::read_to_string(file).map_err(io)?;
    let mode = std::fs::metadata(file).map_err(io)?.mode() & 0o777;
    let after = without(&text, &|base| holds_credentials(base, places)).ok_or_else(|| by_hand("it is written in an unusual way"))?;
    // git's own protocol: the lock file becomes the new file, and nobody else writes meanwhile.
    let mut lock = file.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let mut locked = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock).map_err(io)?;
    let mut put = || -> Result<(), Failure> {
        locked.write_all(after.as_bytes()).and_then(|()| locked.sync_all()).map_err(io)?;
        if entries(git, &lock)? != kept(&entries(git, file)?, places) {
            return Err(by_hand("it is written in an unusual way"));
        }
        locked.set_permissions(PermissionsExt::from_mode(mode)).map_err(io)?;
        std::fs::rename(&lock, file).map_err(io)
    };
    put().inspect_err(|_| {
        // Ours: create_new made it.
        let _ = std::fs::remove_file(&lock);
    })
}

/// All entries of a file as git reads them.
fn entries(git: &Git<'_>, file: &Path) -> Result<Vec<String>, Failure> {
    let args = ["config".as_ref(), "-f".as_ref(), file.as_os_str(), "-z".as_ref(), "--list".as_ref()];
    let list = git.ask(&args)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&list).split_terminator('\0').map(str::to_owned).collect())
}

fn kept(entries: &[String], places: &[Place]) -> Vec<String> {
    let is_old = |entry: &&String| {
        let key = entry.split('\n').next().unwrap_or_default();
        let base = key.strip_suffix(".insteadof").or_else(|| key.strip_suffix(".pushinsteadof")).and_then(|rest| rest.strip_prefix("url."));
        base.is_some_and(|base| holds_credentials(base, places))
    };
    entries.iter().filter(|entry| !is_old(entry)).cloned().collect()
}

/// The text without the `insteadOf` and `pushInsteadOf` lines of such sections, and without the headers of those that are empty then.
/// `None` for a header that shares its line with a value.
fn without(text: &str, is_old: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    // The header of the old section that is being read, held back until a line shows that the section is still needed.
    let mut header: Option<&str> = None;
    let mut inside = false;
    let mut continues = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if std::mem::take(&mut continues) {
            continues = bare.ends_with('\\');
            continue;
        }
        if bare.starts_with('[') {
            inside = url_base(bare).is_some_and(|base| is_old(&base));
            header = inside.then_some(line);
            if !inside {
                out.push_str(line);
            } else if !bare.ends_with(']') {
                return None;
            }
            continue;
        }
        if inside && !bare.is_empty() && !bare.starts_with(['#', ';']) {
            let key = bare.split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
            if key.eq_ignore_ascii_case("insteadOf") || key.eq_ignore_ascii_case("pushInsteadOf") {
                continues = bare.ends_with('\\');
                continue;
            }
            out.push_str(header.take().unwrap_or_default());
        }
        out.push_str(line);
    }
    Some(out)
}

/// The base of a line `[url "base"]`, escapes undone.
fn url_base(line: &str) -> Option<String> {
    let inner = line.strip_prefix('[')?.trim_start();
    let rest = inner.get(..3).filter(|name| name.eq_ignore_ascii_case("url")).map(|_| inner[3..].trim_start())?;
    let mut chars = rest.strip_prefix('"')?.chars();
    let mut base = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(base),
            '\\' => base.push(chars.next()?),
            c => base.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn leaves(text: &str, expected: Option<&str>) {
        assert_eq!(without(text, &|base| base.contains("TOKEN@github.com")).as_deref(), expected);
    }

    #[test]
    fn only_the_entries_with_a_token_go() {
        leaves("[a]\n\tb = c\n", Some("[a]\n\tb = c\n"));
        leaves(
            "[a]\n\tb = c\n[url \"https://TOKEN@github.com/\"]\n\tinsteadOf = https://github.com/\n[d]\n\te = f\n",
            Some("[a]\n\tb = c\n[d]\n\te = f\n"),
        );
        leaves("[URL \"https://TOKEN@github.com/\"]\n insteadof=x\n pushInsteadOf = y\n", Some(""));
        leaves(
            "[url \"git@github.com:\"]\n insteadOf = https://github.com/\n",
            Some("[url \"git@github.com:\"]\n insteadOf = https://github.com/\n"),
        );
        leaves("[url \"https://TOKEN@github.com/\"]\n insteadOf = a\\\n  b\n# note\n[x]\n", Some("# note\n[x]\n"));
        leaves(
            "[url \"https://TOKEN@github.com/\"]\n other = 1\n insteadOf = a\n",
            Some("[url \"https://TOKEN@github.com/\"]\n other = 1\n"),
        );
        leaves("[url \"https://TOKEN@github.com/\"] insteadOf = a\n", None);
    }

    #[test]
    fn credentials_are_seen_in_every_spelling() {
        let places = crate::cli::git_credential::places(&lsync::config::Git::default()).unwrap();
        for base in ["https://T@github.com/", "https://x:T@github.com", "https://T@GitHub.com/me/", "http://a@b:c@gist.github.com/"] {
            assert!(holds_credentials(base, &places), "{base}");
        }
        for base in [
            "https://github.com/",
            "git@github.com:",
            "https://T@example.com/",
            "https://example.com/T@github.com/",
            "https://T@github.com.evil/",
        ] {
            assert!(!holds_credentials(base, &places), "{base}");
        }
    }
}
