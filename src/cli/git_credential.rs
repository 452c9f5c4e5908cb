//! Answers git's credential protocol (gitcredentials(7), git-credential(1)): the configured token for the configured host, nothing for
//! any other. The token goes to git through a pipe and is stored nowhere else.

use std::io::Read;
use std::path::PathBuf;

use lsync::config::{Git, Secret};

use super::args::Common;
use super::exit::Exit;
use super::failure::Failure;
use super::settings::environment::Environment;
use super::settings::find;
use super::settings::store::is_loopback;

/// Longest question that git could ask.
const MAX_QUESTION_BYTES: u64 = 64 << 10;
/// The name that GitHub takes together with any kind of token.
const USER: &str = "x-access-token";

/// A place that the token is for. Compared letter by letter: no other scheme, port, case or subdomain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `https`, or `http` on this machine.
    pub protocol: &'static str,
    /// Host, with its port when one is configured.
    pub host: String,
}

impl Place {
    /// `https://github.com`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.protocol, self.host)
    }
}

/// Runs `lsync git-credential <operation>` on the process's stdin and stdout.
pub(crate) fn run(operation: &str, config: Option<PathBuf>, env: &Environment) -> Result<Exit, Failure> {
    // git offers what it used (store) and reports what was refused (erase); neither is ours to change.
    if operation != "get" {
        return Ok(Exit::Done);
    }
    let common = Common { config, ..Common::default() };
    let Some(loaded) = find::load(&common, env)? else {
        return Err(Failure::usage("there is no configuration to take a token from").hint("run lsync setup"));
    };
    let mut question = String::new();
    let read = std::io::stdin().take(MAX_QUESTION_BYTES).read_to_string(&mut question);
    read.map_err(|e| Failure::usage(format!("cannot read git's question: {e}")))?;
    if let Some(answer) = answer(&question, &loaded.file.git)? {
        super::output::print(&answer)?;
    }
    Ok(Exit::Done)
}

/// What to tell git; `None` when the question is about another place or there is no token.
pub(crate) fn answer(question: &str, git: &Git) -> Result<Option<String>, Failure> {
    let Some(token) = &git.github_token else { return Ok(None) };
    let places = places(git)?;
    let is_asked = |place: &Place| is_all(question, "protocol", place.protocol) && is_all(question, "host", &place.host);
    if !places.iter().any(is_asked) {
        return Ok(None);
    }
    let token = checked(&token.value)?;
    Ok(Some(format!("username={USER}\npassword={token}\n")))
}

/// Whether a question has this field, and nothing else for it. git asks once for each; what asks twice does not agree with itself about the
/// place. A carriage return belongs to the value.
fn is_all(question: &str, name: &str, value: &str) -> bool {
    let mut given = question.split('\n').filter_map(|line| line.split_once('=')).filter(|(key, _)| *key == name).peekable();
    given.peek().is_some() && given.all(|(_, other)| other == value)
}

/// The token, if it is one: a line break in it could smuggle further fields into the protocol.
pub(crate) fn checked(token: &Secret) -> Result<&str, Failure> {
    let token = token.expose();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (1..=1024).contains(&token.len()) && token.chars().all(fine) {
        return Ok(token);
    }
    Err(Failure::usage("github_token is not a GitHub token: it has characters other than letters, digits and _ . -")
        .hint("copy it again from https://github.com/settings/tokens"))
}

/// The places that `[git] github_host` names.
pub(crate) fn places(git: &Git) -> Result<Vec<Place>, Failure> {
    let Some(at) = &git.github_host else {
        return Ok(["github.com", "gist.github.com"].map(|host| Place { protocol: "https", host: host.to_owned() }).into());
    };
    let text = at.value.as_str();
    let (protocol, host) = match text.strip_prefix("http://") {
        Some(host) => ("http", host),
        None => ("https", text.strip_prefix("https://").unwrap_or(text)),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let name_fine = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    let port_fine = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if !name_fine || !port_fine {
        return Err(
            Failure::usage(format!("line {}: github_host is not the name of a host", at.line)).hint("it looks like github.example.com")
        );
    }
    if protocol == "http" && !is_loopback(name) {
        return Err(Failure::usage(format!("line {}: github_host: http:// would send the token over the network in the clear", at.line))
            .hint("write the host's name alone; https is used"));
    }
    if host == "github.com" {
        return places(&Git::default());
    }
    Ok(vec![Place { protocol, host: host.to_owned() }])
}

#[cfg(test)]
mod tests {
    use lsync::config::{At, File};

    use super::*;

    fn git(host: Option<&str>) -> Git {
        let mut git = File::parse("f", "[git]\ngithub_token = \"ghp_abc.DEF-1\"").unwrap().git;
        git.github_host = host.map(|host| At { value: host.into(), line: 7 });
        git
    }

    #[track_caller]
    fn tells(host: Option<&str>, question: &str, expected: bool) {
        let answer = answer(question, &git(host)).unwrap();
        let token = "username=x-access-token\npassword=ghp_abc.DEF-1\n";
        assert_eq!(answer.as_deref(), expected.then_some(token), "{question:?}");
    }

    #[test]
    fn github_gets_the_token() {
        tells(None, "protocol=https\nhost=github.com\n\n", true);
        tells(None, "protocol=https\nhost=gist.github.com\n", true);
        tells(None, "capability[]=authtype\nprotocol=https\nhost=github.com\npath=me/x.git\nwwwauth[]=Basic realm=\"GitHub\"\n\n", true);
        tells(Some("github.com"), "protocol=https\nhost=gist.github.com\n", true);
    }

    #[test]
    fn nobody_else_does() {
        for host in [
            "GITHUB.com",
            "github.com.evil.org",
            "evilgithub.com",
            "github.com:8443",
            "github.com:443",
            "github.com.",
            "api.github.com",
            "me@github.com",
            " github.com",
            "evil.org",
            "",
        ] {
            tells(None, &format!("protocol=https\nhost={host}\n\n"), false);
        }
        tells(None, "protocol=http\nhost=github.com\n\n", false);
        tells(None, "protocol=ssh\nhost=github.com\n\n", false);
        tells(None, "host=github.com\n\n", false);
        tells(None, "protocol=https\n\n", false);
        tells(None, "", false);
        tells(None, "protocol=https\nhost=evil.org\nhost=github.com\n\n", false);
        tells(None, "protocol=https\nhost=github.com\nhost=evil.org\n\n", false);
        tells(None, "protocol=https\nprotocol=http\nhost=github.com\n\n", false);
        tells(None, "protocol=https\nhost=github.com\r\n\n", false);
    }

    #[test]
    fn an_enterprise_server_is_a_host_of_its_own() {
        tells(Some("git.example.com"), "protocol=https\nhost=git.example.com\n\n", true);
        tells(Some("https://git.example.com/"), "protocol=https\nhost=git.example.com\n\n", true);
        tells(Some("git.example.com"), "protocol=https\nhost=github.com\n\n", false);
        tells(Some("http://127.0.0.1:8080"), "protocol=http\nhost=127.0.0.1:8080\n\n", true);
        tells(Some("http://127.0.0.1:8080"), "protocol=http\nhost=127.0.0.1:8081\n\n", false);
        tells(Some("http://127.0.0.1:8080"), "protocol=https\nhost=127.0.0.1:8080\n\n", false);
        for bad in ["http://git.example.com", "git.example.com/path", "me@git.example.com", "a b", "x:port", "http://127.0.0.1.evil.org:80"]
        {
            assert!(places(&git(Some(bad))).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_or_strange_letters_is_never_sent() {
        for bad in ["a\nhost=evil.org", "a b", "a\r", "tök", &"x".repeat(1025), ""] {
            let failure = checked(&Secret::new(bad.to_owned())).map(str::to_owned).unwrap_err();
            assert!(bad.is_empty() || !failure.message.contains(bad));
        }
    }
}
