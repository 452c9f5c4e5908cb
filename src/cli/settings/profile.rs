//! What the files of the AWS tools say besides keys: region and endpoint of a profile, and whether there are any credentials to find.

use std::path::PathBuf;

use lsync::config::distance;
use lsync::path::Shown;

use super::environment::Environment;
use crate::cli::failure::Failure;

/// The region and endpoint that a profile of `~/.aws/config` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// `region`.
    pub region: Option<String>,
    /// `endpoint_url`.
    pub endpoint_url: Option<String>,
}

/// Reads `~/.aws/config` (`AWS_CONFIG_FILE`). A missing or strange file says nothing.
pub(crate) fn load(env: &Environment, name: &str) -> Profile {
    let text = config_file(env).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    parse(&text, name)
}

fn config_file(env: &Environment) -> Option<PathBuf> {
    env.path("AWS_CONFIG_FILE").or_else(|| Some(env.home()?.join(".aws/config")))
}

fn credentials_file(env: &Environment) -> Option<PathBuf> {
    env.path("AWS_SHARED_CREDENTIALS_FILE").or_else(|| Some(env.home()?.join(".aws/credentials")))
}

/// Refuses a profile that none of the AWS tools' files has. `origin` is what names it.
pub(crate) fn must_exist(env: &Environment, name: &str, origin: &str) -> Result<(), Failure> {
    let read = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let (config, credentials) = (config_file(env), credentials_file(env));
    let mut known: Vec<String> = sections(&read(&config), true).chain(sections(&read(&credentials), false)).collect();
    // Whoever asks for this one gets what the tools find without any.
    if name == "default" || known.iter().any(|known| known == name) {
        return Ok(());
    }
    let files: Vec<String> = [config, credentials].iter().flatten().map(|path| Shown(&path.to_string_lossy()).to_string()).collect();
    known.sort_by_cached_key(|known| (distance(known, name), known.clone()));
    known.dedup();
    let hint = match known.first() {
        None => "these files name no profile: create one with `aws configure`, or correct the name".to_owned(),
        Some(near) if distance(near, name) <= (near.len() / 3).max(1) => format!("did you mean {}?", Shown(near)),
        Some(_) => {
            let names: Vec<String> = known.iter().take(8).map(|name| Shown(name).to_string()).collect();
            let more = if known.len() > names.len() { ", …" } else { "" };
            format!("the profiles there are {}{more}", names.join(", "))
        }
    };
    let text = format!("{origin}: there is no AWS profile {} in {}", Shown(name), files.join(" or "));
    Err(Failure::usage(text).hint(hint))
}

/// The profiles that a file names.
fn sections(text: &str, is_config: bool) -> impl Iterator<Item = String> {
    let headers = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    headers.filter_map(move |section| {
        let section = section.trim();
        match section.strip_prefix("profile ") {
            Some(name) => Some(name.trim().trim_matches(['"', '\'']).to_owned()),
            None if is_config && section != "default" => None,
            None => Some(section.to_owned()),
        }
    })
}

/// True when the standard chain has somewhere to look besides the metadata service of an EC2 instance.
pub(crate) fn has_sources(env: &Environment) -> bool {
    const VARIABLES: &[&str] = &[
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let is_file = |path: Option<PathBuf>| path.is_some_and(|path| path.is_file());
    VARIABLES.iter().any(|name| env.text(name).is_some()) || is_file(credentials_file(env)) || is_file(config_file(env))
}

fn parse(text: &str, name: &str) -> Profile {
    let mut profile = Profile::default();
    let mut inside = false;
    for line in text.lines() {
        if let Some(section) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let section = section.trim();
            let section = section.strip_prefix("profile ").map_or(section, str::trim);
            inside = section == name;
        } else if inside && !line.starts_with([' ', '\t', '#', ';']) {
            // Indented lines belong to a nested setting (`s3 =`).
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.split(" #").next().unwrap_or(value).trim();
            match key.trim() {
                "region" => profile.region = Some(value.to_owned()),
                "endpoint_url" => profile.endpoint_url = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_profiles() {
        let check = |text, is_config, expected: &[&str]| assert_eq!(sections(text, is_config).collect::<Vec<_>>(), expected);
        check("[default]\n[profile lab]\n[ profile  \"a b\" ]\n[services x]\n[bare]\n", true, &["default", "lab", "a b"]);
        check("[default]\nx = [no]\n[lab]\n", false, &["default", "lab"]);
        check("", true, &[]);
    }

    #[test]
    fn a_profile_gives_region_and_endpoint_and_nested_settings_do_not() {
        let text = "[default]\nregion = eu-west-1\n[profile lab]\nregion=us-east-2 # ours\ns3 =\n  endpoint_url = https://nested\n\
                    endpoint_url = https://s3.example.com\n[services x]\nregion = no\n";
        let lab = Profile { region: Some("us-east-2".into()), endpoint_url: Some("https://s3.example.com".into()) };
        assert_eq!(parse(text, "lab"), lab);
        assert_eq!(parse(text, "default"), Profile { region: Some("eu-west-1".into()), endpoint_url: None });
        assert_eq!(parse(text, "none"), Profile::default());
    }
}
