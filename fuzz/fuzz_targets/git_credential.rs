//! Questions of git: the token goes to the configured hosts alone, letter by letter, and an answer is two lines whatever was asked.
#![no_main]
#![expect(dead_code, reason = "the front end's files come whole")]

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

use libfuzzer_sys::fuzz_target;
use lsync::config::{At, File};

const TOKEN: &str = "ghp_token";

fuzz_target!(|input: (&str, Option<&str>)| {
    let (question, host) = input;
    let mut git = File::parse("f", &format!("[git]\ngithub_token = \"{TOKEN}\"\n")).expect("it is a configuration").git;
    git.github_host = host.map(|host| At { value: host.to_owned(), line: 3 });
    let Ok(places) = cli::git_credential::places(&git) else { return };
    let answer = cli::git_credential::answer(question, &git).unwrap_or_default();
    let Some(answer) = answer else { return };
    assert_eq!(answer, format!("username=x-access-token\npassword={TOKEN}\n"));
    let first = |name: &str| question.lines().find_map(|line| line.strip_prefix(name));
    let (protocol, host) = (first("protocol="), first("host="));
    assert!(places.iter().any(|place| protocol == Some(place.protocol) && host == Some(&place.host)), "{question:?}");
    assert!(places.iter().all(|place| place.protocol == "https" || place.host.to_ascii_lowercase().starts_with("localhost") || place.host.starts_with("127.")));
});
