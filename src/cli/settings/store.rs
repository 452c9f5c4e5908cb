//! Makes the bucket's address and credentials out of flags, environment, file and the AWS tools' settings, in this order. Sends nothing.

use lsync::config::{At, BadConfig, Credentials, File, Secret, Store};
use lsync::path::{Prefix, Shown};

use super::environment::Environment;
use super::find::{self, Loaded};
use super::gateway;
use super::profile;
use crate::cli::failure::Failure;

/// Where values may come from.
pub(crate) struct Sources<'a> {
    /// `--prefix`.
    pub prefix: Option<&'a str>,
    /// Variables.
    pub env: &'a Environment,
    /// The file.
    pub loaded: Option<&'a Loaded>,
}

/// A value and where it was given, for messages: `sync.toml:3: region`, `LSYNC_REGION`.
struct Chosen {
    value: String,
    origin: String,
}

impl Sources<'_> {
    /// [`Sources::store`], where a profile that is named is there.
    pub(crate) fn usable_store(&self) -> Result<Store, Failure> {
        let store = self.store()?;
        if let Credentials::Standard { profile: Some(name) } = &store.credentials {
            let own = self.text("LSYNC_PROFILE", "profile", |file| &file.remote.profile);
            let origin = own.map_or_else(|| "AWS_PROFILE".to_owned(), |own| own.origin);
            profile::must_exist(self.env, name, &origin)?;
        }
        Ok(store)
    }

    /// The store, complete and checked.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let profile_name = self.profile_name();
        let profile = profile::load(self.env, profile_name.as_deref().unwrap_or("default"));
        let bucket = self.bucket()?;
        let prefix = self.prefix()?;
        let allow_http = self.allow_http()?;
        let endpoint = self.text("LSYNC_ENDPOINT_URL", "endpoint_url", |file| &file.remote.endpoint_url);
        let endpoint = endpoint.or_else(|| self.aws(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let endpoint = endpoint.or_else(|| from_profile(profile.endpoint_url));
        let region = self.text("LSYNC_REGION", "region", |file| &file.remote.region);
        let region = region.or_else(|| self.aws(&["AWS_REGION", "AWS_DEFAULT_REGION"])).or_else(|| from_profile(profile.region));
        if let Some(bad) = region.as_ref().filter(|r| !is_region(&r.value)) {
            return Err(Failure::usage(format!("{}: {} is not the name of a region", bad.origin, Shown(&bad.value)))
                .hint("a region looks like us-east-2"));
        }
        let (endpoint_url, region) = match (endpoint, region) {
            (Some(endpoint), region) => {
                check_endpoint(&endpoint, allow_http)?;
                let region = region.map_or_else(|| region_of(&endpoint.value), |region| region.value);
                (Some(endpoint.value), region)
            }
            (None, Some(region)) if is_uuid(&bucket.value) => (Some(lambda_endpoint(&region.value)), region.value),
            (None, None) if is_uuid(&bucket.value) => {
                return Err(Failure::usage(format!("{}: a bucket on Lambda needs its region", bucket.origin))
                    .hint("add the region of the filesystem that serves as the bucket, for example region = \"us-east-2\""));
            }
            (None, region) => (None, region.map_or_else(|| "us-east-1".to_owned(), |region| region.value)),
        };
        let credentials = self.credentials(endpoint_url.is_none())?;
        Ok(Store {
            bucket: bucket.value,
            prefix,
            region,
            endpoint_url,
            credentials,
            allow_http,
            gateway: gateway::of(self.env, self.loaded)?,
        })
    }

    /// `LSYNC_…`, else the file's key.
    fn text(&self, variable: &str, key: &str, get: impl Fn(&File) -> &Option<At<String>>) -> Option<Chosen> {
        if let Some(value) = self.env.text(variable) {
            return Some(Chosen { value: value.trim().to_owned(), origin: variable.to_owned() });
        }
        let loaded = self.loaded?;
        let at = get(&loaded.file).as_ref()?;
        Some(Chosen { value: at.value.clone(), origin: loaded.at(at.line, key) })
    }

    fn aws(&self, variables: &[&str]) -> Option<Chosen> {
        variables.iter().find_map(|name| Some(Chosen { value: self.env.text(name)?, origin: (*name).to_owned() }))
    }

    fn profile_name(&self) -> Option<String> {
        let own = self.text("LSYNC_PROFILE", "profile", |file| &file.remote.profile);
        own.map(|own| own.value).or_else(|| self.env.text("AWS_PROFILE"))
    }

    fn bucket(&self) -> Result<Chosen, Failure> {
        let Some(bucket) = self.text("LSYNC_BUCKET", "bucket", |file| &file.remote.bucket) else {
            return Err(self.no_bucket());
        };
        if !is_bucket(&bucket.value) {
            return Err(Failure::usage(format!("{}: {} is not the name of a bucket", bucket.origin, Shown(&bucket.value)))
                .hint("write the name alone: no s3://, no slash; a folder in the bucket goes into prefix"));
        }
        Ok(bucket)
    }

    fn no_bucket(&self) -> Failure {
        const FIX: &str = "run lsync setup, or set LSYNC_BUCKET, LSYNC_REGION, LSYNC_ACCESS_KEY_ID and LSYNC_SECRET_ACCESS_KEY";
        let Some(loaded) = self.loaded else {
            let failure = Failure::usage("there is no configuration: no sync.toml here or above, and no LSYNC_BUCKET");
            return match (find::legacy_nearby(self.env), find::in_a_mount(self.env)) {
                (Some(old), _) => failure.hint(format!("take over the old one: lsync setup --import {}", find::quoted(&old))),
                (None, Some(there)) => {
                    let (dir, there) = (find::quoted(there.parent().unwrap_or(&there)), find::quoted(&there));
                    failure.hint(format!("run it in {dir}, or pass --config {there}"))
                }
                (None, None) => failure.hint(FIX),
            };
        };
        match loaded.blank("bucket") {
            Some(line) => Failure::usage(format!("{} is empty", loaded.at(line, "bucket"))),
            None => Failure::usage(format!("{}: no bucket is given in [remote]", loaded.name)),
        }
        .hint(format!("add it to {}: bucket = \"…\" (on Lambda the UUID in the \"Bucket name\" column), or set LSYNC_BUCKET", loaded.name))
    }

    fn prefix(&self) -> Result<Prefix, Failure> {
        let given = self.prefix.map(|value| Chosen { value: value.to_owned(), origin: "--prefix".into() });
        let chosen = given.or_else(|| self.text("LSYNC_PREFIX", "prefix", |file| &file.remote.prefix));
        let Some(chosen) = chosen else { return Ok(Prefix::default()) };
        let wrong = |why: String| Failure::usage(format!("{}: {}: {why}", chosen.origin, Shown(&chosen.value)));
        let prefix = Prefix::new(&chosen.value).map_err(|e| wrong(e.to_string()).hint("a prefix looks like team/ada"))?;
        Ok(prefix)
    }

    fn allow_http(&self) -> Result<bool, Failure> {
        match self.env.text("LSYNC_ALLOW_HTTP").as_deref() {
            Some("1" | "true" | "yes") => Ok(true),
            Some("0" | "false" | "no") => Ok(false),
            Some(_) => Err(Failure::usage("LSYNC_ALLOW_HTTP: expected true or false")),
            None => Ok(self.loaded.and_then(|l| l.file.remote.allow_http.as_ref()).is_some_and(|at| at.value)),
        }
    }

    /// Key id, secret and session token of one place: `LSYNC_*`, else the file, else `AWS_*`, else the AWS tools' chain.
    fn credentials(&self, is_aws: bool) -> Result<Credentials, Failure> {
        if let Some(own) = self.own_credentials()? {
            return Ok(own);
        }
        if let Some(found) = self.file_credentials()? {
            return Ok(found);
        }
        let env = self.env;
        let of_aws = |name: &str| env.text(name).map(|text| key_text(name, &text)).transpose();
        if let (Some(access_key_id), Some(secret)) = (of_aws("AWS_ACCESS_KEY_ID")?, of_aws("AWS_SECRET_ACCESS_KEY")?) {
            let session_token = of_aws("AWS_SESSION_TOKEN")?.map(Secret::new);
            return Ok(Credentials::Keys { access_key_id, secret_access_key: Secret::new(secret), session_token });
        }
        if is_aws || profile::has_sources(env) {
            return Ok(Credentials::Standard { profile: env.text("AWS_PROFILE") });
        }
        let place = self.loaded.map_or("the configuration".to_owned(), |loaded| loaded.name.clone());
        Err(Failure::usage("there are no credentials for the bucket").hint(format!(
            "add access_key_id and secret_access_key to [remote] in {place}, or set LSYNC_ACCESS_KEY_ID and LSYNC_SECRET_ACCESS_KEY"
        )))
    }

    fn own_credentials(&self) -> Result<Option<Credentials>, Failure> {
        let env = self.env;
        let own = |name: &str| env.text(name).map(|text| key_text(name, &text)).transpose();
        let given = Keys {
            id: own("LSYNC_ACCESS_KEY_ID")?,
            secret: own("LSYNC_SECRET_ACCESS_KEY")?.map(Secret::new),
            token: own("LSYNC_SESSION_TOKEN")?.map(Secret::new),
            profile: env.text("LSYNC_PROFILE").map(|profile| profile.trim().to_owned()),
        };
        given.complete(["LSYNC_ACCESS_KEY_ID", "LSYNC_SECRET_ACCESS_KEY", "LSYNC_SESSION_TOKEN", "LSYNC_PROFILE"], "")
    }

    fn file_credentials(&self) -> Result<Option<Credentials>, Failure> {
        let Some(loaded) = self.loaded else { return Ok(None) };
        let remote = &loaded.file.remote;
        let secret = |key: &str, at: &Option<At<Secret>>| {
            at.as_ref().map(|at| key_text(&loaded.at(at.line, key), at.value.expose()).map(Secret::new)).transpose()
        };
        let id = remote.access_key_id.as_ref().map(|at| key_text(&loaded.at(at.line, "access_key_id"), &at.value)).transpose()?;
        let given = Keys {
            id,
            secret: secret("secret_access_key", &remote.secret_access_key)?,
            token: secret("session_token", &remote.session_token)?,
            profile: remote.profile.as_ref().map(|at| at.value.clone()),
        };
        if given.profile.is_none() {
            // A template that was only half filled in must not fall through to whatever else this machine has.
            for key in ["access_key_id", "secret_access_key"] {
                if let Some(line) = loaded.blank(key) {
                    return Err(Failure::usage(format!("{} is empty", loaded.at(line, key))).hint(
                        "fill it in (on Lambda: Filesystem, S3 Adapter Keys), or remove the line to use LSYNC_* or AWS_* variables",
                    ));
                }
            }
        }
        given.complete(["access_key_id", "secret_access_key", "session_token", "profile"], &format!("{}: ", loaded.name))
    }
}

/// A key without the white space around it: secrets that are mounted as files end with a newline. What cannot be a key is told by the name
/// of its place, and never shown.
fn key_text(origin: &str, text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let wrong = |what: &str| Err(Failure::usage(format!("{origin} holds {what}, which no key has")).hint("give the value alone"));
    match text {
        _ if text.contains(['"', '\'']) => wrong("quotation marks"),
        _ if text.contains(char::is_whitespace) => wrong("white space inside"),
        _ if text.contains(char::is_control) => wrong("a control character"),
        _ => Ok(text.to_owned()),
    }
}

/// What one place says about credentials.
struct Keys {
    id: Option<String>,
    secret: Option<Secret>,
    token: Option<Secret>,
    profile: Option<String>,
}

impl Keys {
    /// The credentials, if this place gives any; an error when it gives only a part or too much.
    fn complete(self, [id, secret, token, profile]: [&str; 4], place: &str) -> Result<Option<Credentials>, Failure> {
        const SAME: &str = "key id, secret and session token must come from the same place";
        let missing = |has: &str, lacks: &str| Err(Failure::usage(format!("{place}{has} is given without {lacks}")).hint(SAME));
        match (self.id, self.secret, self.token, self.profile) {
            (None, None, None, None) => Ok(None),
            (None, None, None, profile) => Ok(Some(Credentials::Standard { profile })),
            (Some(access_key_id), Some(secret_access_key), session_token, None) => {
                Ok(Some(Credentials::Keys { access_key_id, secret_access_key, session_token }))
            }
            (_, _, _, Some(_)) => Err(Failure::usage(format!("{place}{profile} and keys are both given")).hint("keep one of them")),
            (Some(_), None, ..) => missing(id, secret),
            (None, Some(_), ..) => missing(secret, id),
            (None, None, Some(_), None) => missing(token, id),
        }
    }
}

impl Loaded {
    /// `sync.toml:3: key`.
    pub(crate) fn at(&self, line: usize, key: &str) -> String {
        BadConfig { file: self.name.clone(), line: Some(line), message: key.to_owned() }.to_string()
    }

    fn blank(&self, key: &str) -> Option<usize> {
        self.file.blank.iter().find(|at| at.value == key).map(|at| at.line)
    }
}

fn from_profile(value: Option<String>) -> Option<Chosen> {
    value.map(|value| Chosen { value, origin: "the AWS profile".into() })
}

/// True for what may be a bucket's name: no `s3://`, no slash.
#[must_use]
pub(crate) fn is_bucket(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (1..=255).contains(&text.len()) && text.chars().all(fine) && !text.starts_with('.')
}

/// True for what may be a region's name.
#[must_use]
pub(crate) fn is_region(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Lambda names a bucket by the UUID of its filesystem.
#[must_use]
pub(crate) fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.concat().chars().all(|c| c.is_ascii_hexdigit())
}

/// The address of Lambda's S3 adapter. A convenience for what its pages show for each region, no list of regions.
#[must_use]
pub(crate) fn lambda_endpoint(region: &str) -> String {
    format!("https://files.{region}.lambda.ai")
}

/// The signing region of an endpoint, when none is given.
fn region_of(endpoint: &str) -> String {
    let host = endpoint.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    if let Some(region) = host.strip_prefix("files.").and_then(|rest| rest.strip_suffix(".lambda.ai")) {
        return region.to_owned();
    }
    if host.ends_with(".r2.cloudflarestorage.com") { "auto".into() } else { "us-east-1".into() }
}

fn check_endpoint(endpoint: &Chosen, allow_http: bool) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::usage(format!("{}: {why}", endpoint.origin));
    let uri: http::Uri =
        endpoint.value.parse().map_err(|_| wrong("this is not a URL").hint("it looks like https://files.us-east-2.lambda.ai"))?;
    let Some(authority) = uri.authority() else {
        return Err(wrong("the URL lacks its scheme and host").hint("it looks like https://files.us-east-2.lambda.ai"));
    };
    // Not shown: what stands before the @ may be a password.
    if authority.as_str().contains('@') {
        return Err(wrong("a user name or password does not belong in the URL").hint("use access_key_id and secret_access_key"));
    }
    if uri.query().is_some() {
        return Err(wrong("a query does not belong in the URL"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if allow_http || is_loopback(authority.host()) => Ok(()),
        Some("http") => Err(wrong("http:// would send your data over the network in the clear")
            .hint("use https://, or allow it with allow_http = true in [remote] (LSYNC_ALLOW_HTTP=true)")),
        _ => Err(wrong("the URL must start with https://")),
    }
}

/// True for names and addresses of this machine.
#[must_use]
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::exit::Exit;

    const UUID: &str = "0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6";
    const KEYS: &str = "access_key_id = \"FILE\"\nsecret_access_key = \"file-secret\"\n";

    /// The store that a file with this `[remote]` and these variables give; the home directory is an empty one.
    fn made(remote: &str, vars: &[(&str, &str)]) -> Result<Store, Failure> {
        let home = tempfile::tempdir().unwrap();
        made_at(home.path(), Some(remote), vars, None)
    }

    fn made_at(home: &Path, remote: Option<&str>, vars: &[(&str, &str)], prefix: Option<&str>) -> Result<Store, Failure> {
        let mut all = vec![("HOME", home.to_str().unwrap())];
        all.extend(vars);
        let env = Environment::of(home, &all);
        let loaded = remote.map(|remote| Loaded {
            path: "/m/sync.toml".into(),
            name: "sync.toml".into(),
            file: File::parse("sync.toml", &format!("[remote]\n{remote}")).unwrap(),
        });
        Sources { prefix, env: &env, loaded: loaded.as_ref() }.store()
    }

    /// Who the credentials belong to: the key id, or the profile.
    fn who(store: &Store) -> String {
        match &store.credentials {
            Credentials::Keys { access_key_id, secret_access_key, session_token } => {
                let token = session_token.as_ref().map_or("-", Secret::expose);
                format!("{access_key_id}/{}/{token}", secret_access_key.expose())
            }
            Credentials::Standard { profile } => format!("profile {}", profile.as_deref().unwrap_or("-")),
        }
    }

    #[track_caller]
    fn uses(remote: &str, vars: &[(&str, &str)], expected: &str) {
        assert_eq!(who(&made(remote, vars).unwrap()), expected);
    }

    #[track_caller]
    fn refuses(remote: &str, vars: &[(&str, &str)], message: &str) {
        let failure = made(remote, vars).unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, message));
        assert!(failure.hint.is_some(), "{message}: no hint");
    }

    #[test]
    fn white_space_around_a_key_is_cut_and_what_is_no_key_is_told_without_showing_it() {
        let vars = |secret| made("bucket = \"b\"", &[("LSYNC_ACCESS_KEY_ID", " ID\n"), ("LSYNC_SECRET_ACCESS_KEY", secret)]);
        match vars("hunter2secret\n").unwrap().credentials {
            Credentials::Keys { access_key_id, secret_access_key, .. } => {
                assert_eq!((access_key_id.as_str(), secret_access_key.expose()), ("ID", "hunter2secret"));
            }
            other @ Credentials::Standard { .. } => panic!("{other:?}"),
        }
        let check = |secret, what: &str| {
            let failure = vars(secret).unwrap_err();
            assert_eq!(failure.message, format!("LSYNC_SECRET_ACCESS_KEY holds {what}, which no key has"));
        };
        check("'hunter2secret'", "quotation marks");
        check("hunter2 secret", "white space inside");
        check("hunter2\u{7}secret", "a control character");
        let file = made("bucket = \"b\"\naccess_key_id = \"ID\"\nsecret_access_key = \"a b\"\n", &[]).unwrap_err();
        assert!(file.message.ends_with("secret_access_key holds white space inside, which no key has"), "{}", file.message);
    }

    #[test]
    fn a_bucket_that_is_a_uuid_and_its_region_are_enough() {
        let store = made(&format!("bucket = \"{UUID}\"\nregion = \"us-midwest-2\"\n{KEYS}"), &[]).unwrap();
        assert_eq!(store.endpoint_url.as_deref(), Some("https://files.us-midwest-2.lambda.ai"));
        assert_eq!(store.region, "us-midwest-2");
        refuses(&format!("bucket = \"{UUID}\"\n{KEYS}"), &[], "sync.toml:2: bucket: a bucket on Lambda needs its region");
        let moon = made(&format!("bucket = \"{UUID}\"\nregion = \"moon-1\"\n{KEYS}"), &[]).unwrap();
        assert_eq!(moon.endpoint_url.as_deref(), Some("https://files.moon-1.lambda.ai"), "regions are no closed list");
    }

    #[test]
    fn any_other_name_is_aws_and_an_endpoint_tells_its_region() {
        let aws = made(&format!("bucket = \"b\"\n{KEYS}"), &[]).unwrap();
        assert_eq!((aws.endpoint_url, aws.region.as_str()), (None, "us-east-1"));
        for (url, region) in [
            ("https://files.us-east-3.lambda.ai", "us-east-3"),
            ("https://abc.r2.cloudflarestorage.com", "auto"),
            ("https://s3.example.com:9000/path", "us-east-1"),
        ] {
            let store = made(&format!("bucket = \"b\"\nendpoint_url = \"{url}\"\n{KEYS}"), &[]).unwrap();
            assert_eq!((store.endpoint_url.as_deref(), store.region.as_str()), (Some(url), region));
        }
    }

    #[test]
    fn flags_beat_variables_beat_the_file_beat_aws() {
        let file = format!("bucket = \"file\"\nregion = \"file\"\nprefix = \"file\"\n{KEYS}");
        let own = [("LSYNC_BUCKET", "own"), ("LSYNC_REGION", "own"), ("LSYNC_PREFIX", "own"), ("LSYNC_ENDPOINT_URL", "https://own")];
        let aws = [("AWS_REGION", "aws"), ("AWS_ENDPOINT_URL", "https://aws"), ("AWS_ENDPOINT_URL_S3", "https://aws-s3")];
        let home = tempfile::tempdir().unwrap();
        let both: Vec<_> = own.iter().chain(&aws).copied().collect();
        let flag = made_at(home.path(), Some(&file), &both, Some("flag")).unwrap();
        assert_eq!((flag.bucket.as_str(), flag.region.as_str(), flag.prefix.as_str()), ("own", "own", "flag/"));
        assert_eq!(flag.endpoint_url.as_deref(), Some("https://own"));
        let from_file = made(&file, &aws).unwrap();
        assert_eq!((from_file.region.as_str(), from_file.prefix.as_str()), ("file", "file/"));
        assert_eq!(from_file.endpoint_url.as_deref(), Some("https://aws-s3"));
        let from_aws = made(&format!("bucket = \"b\"\n{KEYS}"), &aws[..1]).unwrap();
        assert_eq!(from_aws.region, "aws");
    }

    #[test]
    fn everything_may_come_from_variables() {
        let home = tempfile::tempdir().unwrap();
        let vars = [("LSYNC_BUCKET", UUID), ("LSYNC_REGION", "us-east-2"), ("LSYNC_ACCESS_KEY_ID", "ID"), ("LSYNC_SECRET_ACCESS_KEY", "s")];
        let store = made_at(home.path(), None, &vars, None).unwrap();
        assert_eq!(who(&store), "ID/s/-");
    }

    #[test]
    fn key_id_secret_and_token_come_from_the_same_place() {
        let file = format!("bucket = \"b\"\n{KEYS}");
        let own = [("LSYNC_ACCESS_KEY_ID", "OWN"), ("LSYNC_SECRET_ACCESS_KEY", "own-secret")];
        let aws = [("AWS_ACCESS_KEY_ID", "AWS"), ("AWS_SECRET_ACCESS_KEY", "aws-secret"), ("AWS_SESSION_TOKEN", "aws-token")];
        let all: Vec<_> = own.iter().chain(&aws).copied().collect();
        uses(&file, &all, "OWN/own-secret/-");
        uses(&file, &aws, "FILE/file-secret/-");
        uses("bucket = \"b\"", &aws, "AWS/aws-secret/aws-token");
        uses("bucket = \"b\"\nprofile = \"lab\"", &aws, "profile lab");
        uses("bucket = \"b\"\nprofile = \"lab\"", &[("LSYNC_PROFILE", "mine")], "profile mine");
        uses("bucket = \"b\"", &[("AWS_PROFILE", "env")], "profile env");
        refuses(&file, &own[..1], "LSYNC_ACCESS_KEY_ID is given without LSYNC_SECRET_ACCESS_KEY");
        refuses(&file, &[("LSYNC_SESSION_TOKEN", "t")], "LSYNC_SESSION_TOKEN is given without LSYNC_ACCESS_KEY_ID");
        refuses("bucket = \"b\"\nsecret_access_key = \"s\"", &aws, "sync.toml: secret_access_key is given without access_key_id");
        refuses(&format!("{file}profile = \"lab\""), &[], "sync.toml: profile and keys are both given");
    }

    #[test]
    fn what_is_missing_or_empty_is_named_with_its_line() {
        refuses("region = \"us-east-2\"", &[], "sync.toml: no bucket is given in [remote]");
        refuses("\nbucket = \"\"", &[], "sync.toml:3: bucket is empty");
        let aws = [("AWS_ACCESS_KEY_ID", "AWS"), ("AWS_SECRET_ACCESS_KEY", "aws-secret")];
        refuses("bucket = \"b\"\naccess_key_id = \"\"\nsecret_access_key = \"\"", &aws, "sync.toml:3: access_key_id is empty");
        refuses("bucket = \"b\"\naccess_key_id = \"x\"\nsecret_access_key = \" \"", &[], "sync.toml:4: secret_access_key is empty");
        let lambda = format!("bucket = \"{UUID}\"\nregion = \"us-east-2\"");
        refuses(&lambda, &[], "there are no credentials for the bucket");
        uses("bucket = \"b\"", &[], "profile -");
        let home = tempfile::tempdir().unwrap();
        let none = made_at(home.path(), None, &[], None).unwrap_err();
        assert_eq!(none.message, "there is no configuration: no sync.toml here or above, and no LSYNC_BUCKET");
        std::fs::write(home.path().join("me.sync.env"), "").unwrap();
        let old = made_at(home.path(), None, &[], None).unwrap_err().hint.unwrap();
        assert!(old.starts_with("take over the old one: lsync setup --import /"), "{old}");
    }

    #[test]
    fn data_never_travels_in_the_clear_unless_that_is_said() {
        let with = |url: &str, more: &str| made(&format!("bucket = \"b\"\nendpoint_url = \"{url}\"\n{more}{KEYS}"), &[]);
        for fine in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000", "https://s3.example.com"] {
            assert!(with(fine, "").is_ok(), "{fine}");
        }
        for bad in
            ["http://10.0.0.5:9000", "http://127.0.0.1.evil.org", "http://localhost.evil.org", "ftp://x", "files.us-east-2.lambda.ai"]
        {
            assert!(with(bad, "").is_err(), "{bad}");
        }
        assert!(with("http://10.0.0.5:9000", "allow_http = true\n").is_ok());
        let failure = with("https://me:hunter2@s3.example.com", "").unwrap_err();
        assert_eq!(failure.message, "sync.toml:3: endpoint_url: a user name or password does not belong in the URL");
    }

    #[test]
    fn names_that_cannot_be_right_are_refused() {
        refuses("bucket = \"s3://b\"", &[], "sync.toml:2: bucket: s3://b is not the name of a bucket");
        refuses("bucket = \"b/x\"", &[], "sync.toml:2: bucket: b/x is not the name of a bucket");
        refuses("bucket = \"b\"\nregion = \"us east\"", &[], "sync.toml:3: region: us east is not the name of a region");
        let home = tempfile::tempdir().unwrap();
        let bad = made_at(home.path(), Some("bucket = \"b\""), &[], Some("a/../b")).unwrap_err();
        assert_eq!(bad.message, "--prefix: a/../b: the name has a `.` or `..` segment");
        let reserved = made_at(home.path(), Some("bucket = \"b\""), &[], Some(".lsync/x")).unwrap_err();
        assert_eq!(reserved.message, "--prefix: .lsync/x: `.lsync` is where lsync keeps its own things");
    }
}
