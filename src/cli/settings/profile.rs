//! What the files of the AWS tools say besides keys: region and endpoint of a profile, and whether there are any credentials to find.

use std::path::PathBuf;

use super::environment::Environment;

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

/// True when the standard chain has somewhere to look besides the metadata service of an EC2 instance.
pub(crate) fn has_sources(env: &Environment) -> bool {
    const VARIABLES: &[&str] = &[
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let credentials = env.path("AWS_SHARED_CREDENTIALS_FILE").or_else(|| Some(env.home()?.join(".aws/credentials")));
    let is_file = |path: Option<PathBuf>| path.is_some_and(|path| path.is_file());
    VARIABLES.iter().any(|name| env.text(name).is_some()) || is_file(credentials) || is_file(config_file(env))
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
    fn a_profile_gives_region_and_endpoint_and_nested_settings_do_not() {
        let text = "[default]\nregion = eu-west-1\n[profile lab]\nregion=us-east-2 # ours\ns3 =\n  endpoint_url = https://nested\n\
                    endpoint_url = https://s3.example.com\n[services x]\nregion = no\n";
        let lab = Profile { region: Some("us-east-2".into()), endpoint_url: Some("https://s3.example.com".into()) };
        assert_eq!(parse(text, "lab"), lab);
        assert_eq!(parse(text, "default"), Profile { region: Some("eu-west-1".into()), endpoint_url: None });
        assert_eq!(parse(text, "none"), Profile::default());
    }
}
