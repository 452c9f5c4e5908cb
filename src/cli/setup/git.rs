//! What `lsync setup` tells git: who commits, and to ask lsync for the token of GitHub. Works through the `git` program and the user's
//! own (`--global`) configuration; the token itself never goes there, nor into an argument or a variable.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use lsync::config::Git as Wanted;
use lsync::path::Shown;

use super::report::Outcome;
use super::{git_before, instead_of};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::git_credential::{Place, checked, places};
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::{Loaded, shown};

/// The `git` program.
pub(crate) struct Git<'a> {
    pub env: &'a Environment,
}

impl Git<'_> {
    /// Runs git; `None` when it ends with 1, which for `git config` means that there is no such value.
    pub(crate) fn ask<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Option<Vec<u8>>, Failure> {
        let mut command = Command::new("git");
        command.args(args).env_clear().envs(self.env.for_children()).env("LC_ALL", "C").stdin(Stdio::null());
        let output = command.output().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Exit::Failed, "git is not installed").hint("install it: sudo apt-get install git"),
            _ => Failure::new(Exit::Failed, format!("cannot run git: {e}")),
        })?;
        match output.status.code() {
            Some(0) => Ok(Some(output.stdout)),
            Some(1) => Ok(None),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("it said nothing");
                Err(Failure::new(Exit::Failed, format!("git failed: {}", Shown(said))))
            }
        }
    }

    fn config(&self, args: &[&str]) -> Result<Option<String>, Failure> {
        let all: Vec<&str> = ["config", "--global"].iter().chain(args).copied().collect();
        Ok(self.ask(&all)?.map(|output| String::from_utf8_lossy(&output).into_owned()))
    }

    fn set(&self, args: &[&str]) -> Result<(), Failure> {
        self.config(args)?.map(drop).ok_or_else(|| Failure::new(Exit::Failed, format!("git could not set {}", args[1])))
    }

    /// One value of the user's configuration.
    pub(crate) fn get(&self, key: &str) -> Result<Option<String>, Failure> {
        Ok(self.config(&["--get", key])?.map(|value| value.trim_end_matches('\n').to_owned()))
    }

    pub(super) fn get_all(&self, key: &str) -> Result<Vec<String>, Failure> {
        let all = self.config(&["-z", "--get-all", key])?.unwrap_or_default();
        Ok(all.split_terminator('\0').map(str::to_owned).collect())
    }
}

/// Whether what somebody else has set in git may be replaced. Gets the question for it.
pub(super) type MayReplace<'a> = dyn Fn(&str) -> Result<bool, Failure> + 'a;

/// Sets `user.name` and `user.email`. Another identity is replaced only after a question.
pub(super) fn identity(git: &Git<'_>, wanted: &Wanted, name: &str, dry_run: bool, may: &MayReplace<'_>) -> Result<Outcome, Failure> {
    let pairs = [("user.name", &wanted.user_name), ("user.email", &wanted.user_email)];
    let given: Vec<(&str, &str)> = pairs.iter().filter_map(|(key, at)| Some((*key, at.as_ref()?.value.as_str()))).collect();
    if given.is_empty() {
        return Ok(Outcome::skipped(format!("there is no user_name and user_email in {name}")));
    }
    let (mut changes, mut notes) = (Vec::new(), Vec::new());
    for (key, value) in &given {
        let old = git.get(key)?;
        if old.as_deref() != Some(*value) {
            notes.extend(old.as_ref().map(|old| format!("{key} was {}", Shown(old))));
            changes.push((*key, *value, old));
        }
    }
    let all = given.iter().map(|(_, value)| Shown(value).to_string()).collect::<Vec<_>>().join(", ");
    if changes.is_empty() {
        return Ok(Outcome::skipped(format!("{all}: git knows this already")));
    }
    if dry_run {
        return Ok(Outcome { notes, ..Outcome::would(format!("tell git: {all}")) });
    }
    let others: Vec<String> = changes.iter().filter_map(|(key, _, old)| Some(format!("{key} = {}", Shown(old.as_ref()?)))).collect();
    if !others.is_empty() && !may(&format!("git has {}. Replace that with {all}?", others.join(" and ")))? {
        return Ok(Outcome { notes: vec![KEPT.into()], ..Outcome::skipped(format!("git keeps {}", others.join(" and "))) });
    }
    for (key, value, _) in changes {
        git_before::remember(git.env, key, &git.get_all(key)?, &[value.to_owned()])?;
        git.set(&["--replace-all", key, value])?;
    }
    Ok(Outcome { notes, ..Outcome::done(all) })
}

/// How to replace what was kept, and how to take that back.
const KEPT: &str = "lsync setup --yes replaces it, and lsync setup --undo-git brings it back";

/// Makes git ask lsync, and only lsync, for the token, for exactly the configured places; takes out entries that hold a token themselves.
pub(super) fn github_access(
    git: &Git<'_>,
    loaded: &Loaded,
    root: Option<&Path>,
    dry_run: bool,
    may: &MayReplace<'_>,
) -> Result<Outcome, Failure> {
    let places = places(&loaded.file.git).map_err(|f| Failure { message: format!("{}: {}", loaded.name, f.message), ..f })?;
    let old = instead_of::find(git, &places)?;
    let Some(token) = &loaded.file.git.github_token else {
        let outcome = Outcome::skipped(format!("there is no github_token in {}", loaded.name));
        return Ok(match old.is_empty() {
            true => outcome,
            false => outcome.note(format!(
                "git's configuration holds an old token in plain text ({}): move it to github_token in {} and run lsync setup again",
                old.files(),
                loaded.name
            )),
        });
    };
    checked(&token.value).map_err(|f| Failure { message: format!("{}: {}", loaded.name, f.message), ..f })?;
    let exe = git.env.exe.as_deref().ok_or_else(|| Failure::new(Exit::Failed, "cannot tell where the lsync binary lies"))?;
    let line = helper_line(exe, &loaded.path)?;
    let mut others = Vec::new();
    let mut changed = Vec::new();
    for place in &places {
        let key = format!("credential.{}.helper", place.url());
        let now = git.get_all(&key)?;
        if now != ["", &line] {
            if now.iter().any(|helper| !helper.is_empty() && !helper.contains("git-credential --config ")) {
                others.push(place.url());
            }
            changed.push((key, now));
        }
    }
    let what = format!("git asks lsync for the token of {}", places.iter().map(Place::url).collect::<Vec<_>>().join(" and "));
    let mut notes = Vec::new();
    if !others.is_empty() {
        notes.push(format!("another credential helper of git for {} is replaced", others.join(" and ")));
    }
    if !old.is_empty() {
        let (verb, then) = if dry_run {
            ("would take", "")
        } else {
            ("took", "; that token was readable there: replace it at github.com/settings/tokens")
        };
        notes.push(format!("{verb} an old entry with a token in plain text out of {}{then}", old.files()));
    }
    notes.extend(on_the_mount(exe, &loaded.path, root));
    if changed.is_empty() && old.is_empty() {
        return Ok(Outcome { notes, ..Outcome::skipped(format!("{what} already")) });
    }
    if dry_run {
        return Ok(Outcome { notes, ..Outcome::would(format!("wire git: {what}")) });
    }
    // Its line is not shown: it may print a password.
    if !others.is_empty() && !may(&format!("git has another credential helper for {}. Replace it with lsync's?", others.join(" and ")))? {
        let kept = format!("git keeps its credential helper for {}", others.join(" and "));
        return Ok(Outcome { notes: vec![KEPT.into()], ..Outcome::skipped(kept) });
    }
    for (key, now) in &changed {
        git_before::remember(git.env, key, now, &[String::new(), line.clone()])?;
        // The empty value cuts off helpers that are configured for all hosts: the token must not be handed to one that stores it.
        git.set(&["--replace-all", key, ""])?;
        git.set(&["--add", key, &line])?;
    }
    // Only now that there is another way to the token.
    instead_of::remove(git, &old, &places)?;
    Ok(Outcome { notes, ..Outcome::done(what) })
}

/// `!'/path/to/lsync' git-credential --config '/path/to/sync.toml'`; git adds ` get` and runs it through the shell.
fn helper_line(exe: &Path, config: &Path) -> Result<String, Failure> {
    let word = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains(char::is_control));
        let text = text.ok_or_else(|| Failure::usage(format!("{}: git's configuration cannot hold this path", shown(path))))?;
        Ok::<_, Failure>(format!("'{}'", text.replace('\'', r"'\''")))
    };
    Ok(format!("!{} git-credential --config {}", word(exe)?, word(config)?))
}

/// git needs both files wherever it runs; the mount may not be there.
fn on_the_mount(exe: &Path, config: &Path, root: Option<&Path>) -> Option<String> {
    let lies_there = |path: &Path| root.is_some_and(|root| path.starts_with(root));
    let what = match (lies_there(exe), lies_there(config)) {
        (true, true) => "the lsync binary and the configuration lie",
        (true, false) => "the lsync binary lies",
        (false, true) => "the configuration lies",
        (false, false) => return None,
    };
    Some(format!("{what} on the mount: without the mount git will ask for a password"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use lsync::config::File;

    use super::*;
    use crate::cli::settings::find::shown;

    const TOKEN: &str = "ghp_TOKEN1234";

    /// A home directory with a git configuration of its own.
    struct Home {
        _temp: tempfile::TempDir,
        dir: PathBuf,
        env: Environment,
    }

    impl Home {
        fn new(gitconfig: &str) -> Home {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path().canonicalize().unwrap();
            std::fs::write(dir.join(".gitconfig"), gitconfig).unwrap();
            let path = std::env::var("PATH").unwrap();
            let home = dir.to_str().unwrap();
            let mut env =
                Environment::of(&dir, &[("HOME", home), ("PATH", &path), ("GIT_CONFIG_NOSYSTEM", "1"), ("LSYNC_GITHUB_TOKEN", TOKEN)]);
            env.exe = Some(dir.join("it's bin/lsync"));
            Home { _temp: temp, dir, env }
        }

        fn loaded(&self, git: &str) -> Loaded {
            let file = File::parse("sync.toml", &format!("[git]\n{git}")).unwrap();
            Loaded { path: self.dir.join("mnt/sync.toml"), name: "sync.toml".into(), file }
        }

        fn wire(&self, git: &str) -> Outcome {
            github_access(&Git { env: &self.env }, &self.loaded(git), Some(&self.dir.join("mnt")), false, &|_| Ok(true)).unwrap()
        }

        fn gitconfig(&self) -> String {
            std::fs::read_to_string(self.dir.join(".gitconfig")).unwrap()
        }

        fn list(&self) -> String {
            String::from_utf8(Git { env: &self.env }.ask(&["config", "--list"]).unwrap().unwrap()).unwrap()
        }
    }

    fn with_token() -> String {
        format!("github_token = \"{TOKEN}\"\n")
    }

    #[test]
    fn the_identity_is_set_once() {
        let home = Home::new("[user]\n\tname = Old\n");
        let git = Git { env: &home.env };
        let wanted = home.loaded("user_name = \"Ada Lovelace\"\nuser_email = \"ada@example.com\"\n").file.git;
        let yes = |question: &str| {
            assert_eq!(question, "git has user.name = Old. Replace that with Ada Lovelace, ada@example.com?");
            Ok(true)
        };
        let would = identity(&git, &wanted, "sync.toml", true, &yes).unwrap();
        assert_eq!(would, Outcome::would("tell git: Ada Lovelace, ada@example.com").note("user.name was Old"));
        assert_eq!(git.get("user.name").unwrap().as_deref(), Some("Old"), "a dry run changes nothing");
        let kept = identity(&git, &wanted, "sync.toml", false, &|_| Ok(false)).unwrap();
        assert_eq!(kept.what, "git keeps user.name = Old");
        assert_eq!(git.get("user.name").unwrap().as_deref(), Some("Old"));
        identity(&git, &wanted, "sync.toml", false, &yes).unwrap();
        assert_eq!(git.get("user.name").unwrap().as_deref(), Some("Ada Lovelace"));
        assert_eq!(git.get("user.email").unwrap().as_deref(), Some("ada@example.com"));
        let again = identity(&git, &wanted, "sync.toml", false, &yes).unwrap();
        assert_eq!(again, Outcome::skipped("Ada Lovelace, ada@example.com: git knows this already"));
        let nothing = identity(&git, &Wanted::default(), "sync.toml", false, &yes).unwrap();
        assert_eq!(nothing, Outcome::skipped("there is no user_name and user_email in sync.toml"));
    }

    #[test]
    fn git_is_told_to_ask_lsync_for_github_alone_and_never_learns_the_token() {
        let home = Home::new("[credential]\n\thelper = store\n");
        let first = home.wire(&with_token());
        assert_eq!(first.what, "git asks lsync for the token of https://github.com and https://gist.github.com");
        assert_eq!(first.notes, ["the configuration lies on the mount: without the mount git will ask for a password"]);
        let line = format!("!'{0}/it'\\''s bin/lsync' git-credential --config '{0}/mnt/sync.toml'", shown(&home.dir));
        for host in ["github.com", "gist.github.com"] {
            let key = format!("credential.https://{host}.helper");
            assert_eq!(Git { env: &home.env }.get_all(&key).unwrap(), ["", &line]);
        }
        assert!(!home.list().contains(TOKEN) && home.list().contains("credential.helper=store"));
        let before = home.gitconfig();
        assert_eq!(home.wire(&with_token()).what, format!("{} already", first.what));
        assert_eq!(home.gitconfig(), before);
    }

    #[test]
    fn a_helper_that_stood_there_is_replaced_and_that_is_said() {
        let home = Home::new("[credential \"https://github.com\"]\n\thelper = !gh auth git-credential\n");
        let outcome = home.wire(&with_token());
        assert_eq!(outcome.notes[0], "another credential helper of git for https://github.com is replaced");
        assert!(!home.gitconfig().contains("gh auth"));
        let git = Git { env: &home.env };
        let would = git_before::undo(&git, true).unwrap();
        let keys = "credential.https://gist.github.com.helper, credential.https://github.com.helper";
        assert_eq!(would, Outcome::would(format!("bring back in git's configuration: {keys}")));
        git_before::undo(&git, false).unwrap();
        assert_eq!(git.get_all("credential.https://github.com.helper").unwrap(), ["!gh auth git-credential"]);
        assert!(git.get_all("credential.https://gist.github.com.helper").unwrap().is_empty());
        assert!(git_before::undo(&git, false).unwrap().what.starts_with("lsync setup has changed nothing"));
    }

    #[test]
    fn the_old_scripts_entry_with_the_token_is_taken_out_without_showing_it() {
        let old = "[user]\n\tname = Ada\n[url \"https://ghp_OLD@github.com/\"]\n\tinsteadOf = https://github.com/\n[core]\n\teditor = vi\n";
        let home = Home::new(old);
        let note = home.wire("").notes.pop().unwrap();
        assert!(note.contains("move it to github_token") && !note.contains("ghp_OLD"), "{note}");
        assert!(home.gitconfig().contains("ghp_OLD"), "without another way to the token the old one stays");
        let outcome = home.wire(&with_token());
        assert!(outcome.notes[0].starts_with("took an old entry with a token in plain text out of "), "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("ghp_OLD"));
        let now = home.gitconfig();
        assert!(!now.contains("ghp_OLD") && now.contains("name = Ada") && now.contains("editor = vi"), "{now}");
    }

    #[test]
    fn a_token_that_is_none_is_refused_before_anything_is_wired() {
        let home = Home::new("");
        let loaded = home.loaded("github_token = \"not a token\"");
        let failure = github_access(&Git { env: &home.env }, &loaded, None, false, &|_| Ok(true)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.message.contains("not a token") && home.gitconfig().is_empty());
    }
}
