//! Questions of git: the token goes to the configured hosts alone, letter by letter, and an answer is two lines whatever was asked.
#![no_main]
#![expect(dead_code, unused_imports, reason = "the front end's files come whole")]

/// As much of the front end as the helper needs.
#[path = "../../src/cli"]
mod cli {
    pub(crate) mod args;
    pub(crate) mod exit;
    pub(crate) mod failure;
    pub(crate) mod git_credential;
    pub(crate) mod import;
    pub(crate) mod ink;
    pub(crate) mod output;
    pub(crate) mod settings;
    pub(crate) mod text;
}

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use lsync::config::{At, Git, Secret};

const TOKEN: &str = "ghp_token";

fuzz_target!(|bytes: &[u8]| {
    let texts = lsync_fuzz::texts(bytes);
    let question = texts[0].as_str();
    let token = Some(At { value: Secret::new(TOKEN.to_owned()), line: 2 });
    let github_host = texts.get(1).map(|host| At { value: host.clone(), line: 3 });
    let git = Git { github_token: token, github_host, ..Git::default() };
    let Ok(places) = cli::git_credential::places(&git) else { return };
    for place in &places {
        let name = place.host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let is_here = name == "localhost" || name.parse().is_ok_and(|ip: Ipv4Addr| ip.octets()[0] == 127);
        assert!(place.protocol == "https" || is_here, "{place:?} is not on this machine");
        assert!(!place.host.contains(['/', '@', '\\']) && !place.host.contains(char::is_whitespace) && place.host.is_ascii(), "{place:?}");
    }
    let Some(answer) = cli::git_credential::answer(question, &git).unwrap_or_default() else { return };
    assert_eq!(answer, format!("username=x-access-token\npassword={TOKEN}\n"));
    // Whichever of several lines counts for git, and wherever it takes a line to end: it is a place of ours.
    let all = |name: &str| question.split('\n').filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    for protocol in all("protocol=") {
        for host in all("host=") {
            assert!(places.iter().any(|place| place.protocol == protocol && place.host == host), "{question:?} got the token");
        }
    }
    assert!(!all("protocol=").is_empty() && !all("host=").is_empty(), "{question:?} got the token");
});
