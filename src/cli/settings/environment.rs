//! What surrounds the process, read once. Nothing else in the program reads environment variables or asks where it runs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use lsync::remote::connect::Network;

use crate::cli::failure::Failure;

/// Variables that child processes never see.
const SECRETS: &[&str] = &["LSYNC_SECRET_ACCESS_KEY", "LSYNC_SESSION_TOKEN", "LSYNC_GITHUB_TOKEN"];

/// Variables, current directory, own binary and terminal. Has no `Debug`: the variables hold secrets.
#[derive(Clone)]
pub(crate) struct Environment {
    vars: BTreeMap<OsString, OsString>,
    current_dir: Option<PathBuf>,
    /// The binary that runs, absolute.
    pub exe: Option<PathBuf>,
    /// What to write to run it again as it was run: its name, or the path that it was called by.
    pub called: String,
    /// Stdin and stderr both are a terminal: a person can be asked.
    pub terminal: bool,
    /// Who runs this.
    pub uid: u32,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub(crate) fn capture() -> Environment {
        Environment {
            vars: std::env::vars_os().collect(),
            current_dir: std::env::current_dir().ok(),
            exe: std::env::current_exe().ok(),
            called: called(std::env::args_os().next()),
            terminal: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// One that is made up, without a terminal.
    #[cfg(test)]
    pub(crate) fn of(current_dir: &Path, vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            current_dir: Some(current_dir.to_owned()),
            exe: None,
            called: called(None),
            terminal: false,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// The same without some variables: what they say has been taken over already.
    #[must_use]
    pub(crate) fn without(&self, names: &[&str]) -> Environment {
        let mut env = self.clone();
        env.vars.retain(|name, _| !names.iter().any(|gone| name.as_os_str() == *gone));
        env
    }

    /// A variable as text; empty means absent.
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.os(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// A variable as a path; empty means absent.
    #[must_use]
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.os(name).map(PathBuf::from)
    }

    fn os(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    fn either(&self, upper: &str) -> Option<String> {
        self.text(&upper.to_lowercase()).or_else(|| self.text(upper))
    }

    /// The current directory, absolute, links resolved.
    pub(crate) fn current_dir(&self) -> Result<&Path, Failure> {
        let gone = || Failure::usage("the current directory does not exist any more").hint("change to a directory that does: cd ~");
        self.current_dir.as_deref().ok_or_else(gone)
    }

    /// `$HOME`.
    #[must_use]
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Where mounts lie.
    #[must_use]
    pub(crate) fn mounts(&self) -> PathBuf {
        self.path("LSYNC_MOUNTS").unwrap_or_else(|| "/lambda/nfs".into())
    }

    /// Where temporary files belong.
    #[cfg(feature = "sandbox")]
    #[must_use]
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        self.path("TMPDIR").unwrap_or_else(|| "/tmp".into())
    }

    /// Names of our own variables that are set: they count more than any file.
    #[cfg(feature = "sandbox")]
    pub(crate) fn own_names(&self) -> impl Iterator<Item = &str> {
        self.vars.iter().filter(|(_, value)| !value.is_empty()).filter_map(|(name, _)| name.to_str()).filter(|n| n.starts_with("LSYNC_"))
    }

    /// `$XDG_CONFIG_HOME/lsync/sync.toml`.
    #[must_use]
    pub(crate) fn user_config(&self) -> Option<PathBuf> {
        let config_home = self.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let config_home = config_home.or_else(|| self.home().map(|home| home.join(".config")))?;
        Some(config_home.join("lsync/sync.toml"))
    }

    /// `$XDG_STATE_HOME`: where state goes that a directory does not take.
    #[must_use]
    pub(crate) fn state_home(&self) -> Option<PathBuf> {
        let state_home = self.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
        state_home.or_else(|| self.home().map(|home| home.join(".local/state")))
    }

    /// Proxies and certificates.
    #[must_use]
    pub(crate) fn network(&self) -> Network {
        Network {
            https_proxy: self.either("HTTPS_PROXY"),
            http_proxy: self.either("HTTP_PROXY"),
            no_proxy: self.either("NO_PROXY"),
            ca_bundle: self.path("AWS_CA_BUNDLE"),
        }
    }

    /// `NO_COLOR` is set.
    #[must_use]
    pub(crate) fn no_color(&self) -> bool {
        self.os("NO_COLOR").is_some()
    }

    /// A terminal that cannot move its cursor.
    #[must_use]
    pub(crate) fn is_dumb_terminal(&self) -> bool {
        self.text("TERM").is_none_or(|term| term == "dumb")
    }

    /// All variables but our secrets, for programs that lsync starts.
    pub(crate) fn for_children(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.vars.iter().filter(|(name, _)| !SECRETS.iter().any(|secret| name.as_os_str() == *secret))
    }
}

fn called(first_word: Option<OsString>) -> String {
    // A name without a slash was found in PATH, and is found there again.
    let path = first_word.and_then(|word| word.into_string().ok()).filter(|word| word.contains('/'));
    path.unwrap_or_else(|| "lsync".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_absent_and_lower_case_proxies_count_first() {
        let vars = [("A", ""), ("B", "x"), ("HTTPS_PROXY", "http://up"), ("https_proxy", "http://low"), ("NO_PROXY", "a")];
        let env = Environment::of(Path::new("/"), &vars);
        assert_eq!((env.text("A"), env.text("B")), (None, Some("x".into())));
        let network = env.network();
        assert_eq!((network.https_proxy.as_deref(), network.no_proxy.as_deref()), (Some("http://low"), Some("a")));
    }

    #[test]
    fn programs_that_lsync_starts_do_not_see_its_secrets() {
        let vars = [("LSYNC_SECRET_ACCESS_KEY", "s"), ("LSYNC_SESSION_TOKEN", "s"), ("LSYNC_GITHUB_TOKEN", "s"), ("HOME", "/h")];
        let env = Environment::of(Path::new("/"), &vars);
        assert_eq!(env.for_children().collect::<Vec<_>>(), [(&OsString::from("HOME"), &OsString::from("/h"))]);
    }
}
