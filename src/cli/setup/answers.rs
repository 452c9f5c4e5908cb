//! The values of a new configuration: from flags, variables and an old configuration, and from the user where those are silent.

use lsync::config::{At, File, Secret};

use crate::cli::args::{Common, SetupArgs};
use crate::cli::failure::Failure;
use crate::cli::git_credential;
use crate::cli::output::say;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::store::{is_bucket, is_uuid};

use super::questions::{NoEcho, hidden, seen_if_right, text};
use super::spelling::{bucket_and_prefix, looks_like_a_secret, named_region, whole_endpoint};

/// What goes into a new `sync.toml`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    pub profile: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
    pub github_token: Option<Secret>,
}

impl Answers {
    /// Flags first, then variables, then the old configuration. Keys come from one place, whichever is the first to have any.
    pub(crate) fn given(args: &SetupArgs, common: &Common, env: &Environment, old: &File) -> Answers {
        let secret = |variable: &str| env.text(variable).map(|value| Secret::new(value.trim().to_owned()));
        let given = |flag: &Option<String>, variable: &str| flag.clone().or_else(|| Some(env.text(variable)?.trim().to_owned()));
        let first = Answers {
            bucket: given(&args.bucket, "LSYNC_BUCKET"),
            prefix: given(&common.prefix, "LSYNC_PREFIX"),
            region: given(&args.region, "LSYNC_REGION"),
            endpoint_url: given(&args.endpoint_url, "LSYNC_ENDPOINT_URL"),
            profile: env.text("LSYNC_PROFILE"),
            access_key_id: given(&args.access_key_id, "LSYNC_ACCESS_KEY_ID"),
            secret_access_key: secret("LSYNC_SECRET_ACCESS_KEY"),
            session_token: secret("LSYNC_SESSION_TOKEN"),
            user_name: given(&args.git_user_name, "LSYNC_GIT_USER_NAME"),
            user_email: given(&args.git_user_email, "LSYNC_GIT_USER_EMAIL"),
            github_token: secret("LSYNC_GITHUB_TOKEN"),
        };
        first.or(Answers::of(old))
    }

    /// What flags alone give.
    pub(crate) fn of_flags(args: &SetupArgs, common: &Common) -> Answers {
        Answers {
            bucket: args.bucket.clone(),
            prefix: common.prefix.clone(),
            region: args.region.clone(),
            endpoint_url: args.endpoint_url.clone(),
            access_key_id: args.access_key_id.clone(),
            user_name: args.git_user_name.clone(),
            user_email: args.git_user_email.clone(),
            ..Answers::default()
        }
    }

    /// What a file says.
    pub(crate) fn of(file: &File) -> Answers {
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value.clone());
        let secret = |at: &Option<At<Secret>>| at.as_ref().map(|at| at.value.clone());
        let (remote, git) = (&file.remote, &file.git);
        Answers {
            bucket: text(&remote.bucket),
            prefix: text(&remote.prefix),
            region: text(&remote.region),
            endpoint_url: text(&remote.endpoint_url),
            profile: text(&remote.profile),
            access_key_id: text(&remote.access_key_id),
            secret_access_key: secret(&remote.secret_access_key),
            session_token: secret(&remote.session_token),
            user_name: text(&git.user_name),
            user_email: text(&git.user_email),
            github_token: secret(&git.github_token),
        }
    }

    fn or(self, then: Answers) -> Answers {
        let has_keys = self.profile.is_some() || self.access_key_id.is_some() || self.secret_access_key.is_some();
        let keys = if has_keys { self.clone() } else { then.clone() };
        Answers {
            bucket: self.bucket.or(then.bucket),
            prefix: self.prefix.or(then.prefix),
            region: self.region.or(then.region),
            endpoint_url: self.endpoint_url.or(then.endpoint_url),
            profile: keys.profile,
            access_key_id: keys.access_key_id,
            secret_access_key: keys.secret_access_key,
            session_token: keys.session_token,
            user_name: self.user_name.or(then.user_name),
            user_email: self.user_email.or(then.user_email),
            github_token: self.github_token.or(then.github_token),
        }
    }

    /// All keys and values, in the order in which they are written.
    pub(crate) fn values(&self) -> [(&'static str, Option<&str>); 11] {
        [
            ("bucket", self.bucket.as_deref()),
            ("prefix", self.prefix.as_deref()),
            ("region", self.region.as_deref()),
            ("endpoint_url", self.endpoint_url.as_deref()),
            ("profile", self.profile.as_deref()),
            ("access_key_id", self.access_key_id.as_deref()),
            ("secret_access_key", self.secret_access_key.as_ref().map(Secret::expose)),
            ("session_token", self.session_token.as_ref().map(Secret::expose)),
            ("user_name", self.user_name.as_deref()),
            ("user_email", self.user_email.as_deref()),
            ("github_token", self.github_token.as_ref().map(Secret::expose)),
        ]
    }

    /// The keys that these answers give and `other` does not say in the same way.
    pub(crate) fn differing(&self, other: &Answers) -> Vec<&'static str> {
        let pairs = self.values().into_iter().zip(other.values());
        pairs.filter(|((_, mine), (_, theirs))| mine.is_some() && mine != theirs).map(|((key, _), _)| key).collect()
    }

    /// What cannot be done without, and how to give it where nobody can be asked.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        let is_lambda = self.bucket.as_deref().is_none_or(is_uuid);
        if self.bucket.is_none() {
            missing.push("--bucket (or LSYNC_BUCKET)");
        }
        if self.region.is_none() && self.endpoint_url.is_none() && is_lambda {
            missing.push("--region (or LSYNC_REGION)");
        }
        let needs_keys = is_lambda || self.endpoint_url.is_some();
        if self.profile.is_none() && (needs_keys || self.secret_access_key.is_some()) && self.access_key_id.is_none() {
            missing.push("--access-key-id (or LSYNC_ACCESS_KEY_ID)");
        }
        if self.profile.is_none() && (needs_keys || self.access_key_id.is_some()) && self.secret_access_key.is_none() {
            missing.push("LSYNC_SECRET_ACCESS_KEY");
        }
        missing
    }

    /// Asks for what is missing and, with `optional`, for what may be left out. Blocks on the terminal.
    pub(crate) fn ask(&mut self, optional: bool, identity: &(Option<String>, Option<String>)) -> Result<(), Failure> {
        let _no_echo = NoEcho::new();
        if self.bucket.is_none() {
            say("The bucket. On Lambda it is the UUID in the \"Bucket name\" column of the\nFilesystems page.");
            self.take_bucket(text("Bucket", None, true, checked_bucket)?);
        }
        let is_lambda = self.bucket.as_deref().is_some_and(is_uuid);
        if !is_lambda && self.endpoint_url.is_none() && optional {
            say("\nThe address of the store, https://…; leave it empty for AWS.");
            self.endpoint_url = text("Endpoint URL", None, false, |_| Ok(()))?.map(|url| whole_endpoint(&url));
        }
        if self.region.is_none() && self.endpoint_url.is_none() {
            say("\nThe region of the bucket, which need not be the one of this machine.");
            let default = if is_lambda { "us-east-2" } else { "us-east-1" };
            self.region = text("Region", Some(default), true, named_region)?;
        }
        let needs_keys = is_lambda || self.endpoint_url.is_some();
        if self.profile.is_none() && self.access_key_id.is_none() && self.secret_access_key.is_none() {
            match needs_keys {
                true if is_lambda => say("\nThe S3 keys. On Lambda: Filesystem, S3 Adapter Keys, in the console."),
                true => say("\nThe S3 keys."),
                false => say("\nThe S3 keys; leave them empty to use the settings of the AWS tools."),
            }
            self.access_key_id = seen_if_right("Access key id", needs_keys, checked_key_id)?;
        }
        if self.access_key_id.is_some() && self.secret_access_key.is_none() {
            self.secret_access_key = hidden("Secret access key (not shown)", true, |_| Ok(()))?;
        }
        if optional {
            self.ask_for_git(identity)?;
        }
        Ok(())
    }

    /// Asks again for where the bucket is and for its keys; what is there already is the default. Blocks on the terminal.
    pub(crate) fn ask_again(&mut self) -> Result<(), Failure> {
        let _no_echo = NoEcho::new();
        let bucket = text("Bucket", self.bucket.as_deref(), true, checked_bucket)?;
        self.take_bucket(bucket);
        let endpoint = text("Endpoint URL", self.endpoint_url.as_deref(), false, |_| Ok(()))?;
        self.endpoint_url = endpoint.map(|url| whole_endpoint(&url)).or(self.endpoint_url.take());
        if self.endpoint_url.is_none() {
            self.region = text("Region", self.region.as_deref(), true, named_region)?;
        }
        say("Leave the keys empty to keep those that are there.");
        if let Some(id) = seen_if_right("Access key id", false, checked_key_id)? {
            self.access_key_id = Some(id);
        }
        if let Some(secret) = hidden("Secret access key (not shown)", false, |_| Ok(()))? {
            self.secret_access_key = Some(secret);
            self.session_token = None;
        }
        Ok(())
    }

    fn take_bucket(&mut self, typed: Option<String>) {
        let Some(typed) = typed else { return };
        let (bucket, prefix) = bucket_and_prefix(&typed);
        if let Some(prefix) = prefix {
            self.prefix = Some(prefix.to_owned());
        }
        self.bucket = Some(bucket.to_owned());
    }

    fn ask_for_git(&mut self, (name, email): &(Option<String>, Option<String>)) -> Result<(), Failure> {
        if self.user_name.is_none() || self.user_email.is_none() {
            say("\nYour name and address in git commits; leave them empty to keep git as it is.");
        }
        if self.user_name.is_none() {
            self.user_name = text("Name", name.as_deref(), false, |_| Ok(()))?;
        }
        if self.user_email.is_none() && self.user_name.is_some() {
            let check = |e: &str| if e.contains('@') { Ok(()) } else { Err("an address has an @".into()) };
            self.user_email = text("Email", email.as_deref(), false, check)?;
        }
        if self.github_token.is_none() {
            say("\nA GitHub token (github.com/settings/tokens), so that git can push and pull\nhere; leave it empty to do without.");
            let check = |token: &str| match git_credential::checked(&Secret::new(token.to_owned())) {
                Ok(_) => Ok(()),
                Err(_) => Err("that is not a GitHub token: it has letters, digits and _ . - only".into()),
            };
            self.github_token = hidden("GitHub token (not shown)", false, check)?;
        }
        say("");
        Ok(())
    }
}

fn checked_bucket(typed: &str) -> Result<(), String> {
    let (bucket, _) = bucket_and_prefix(typed);
    if is_bucket(bucket) { Ok(()) } else { Err("that is not the name of a bucket; s3://bucket/prefix is understood too".into()) }
}

fn checked_key_id(typed: &str) -> Result<(), String> {
    match looks_like_a_secret(typed) {
        true => Err("that looks like the secret; it was not shown. The id is the shorter one of the two".into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SetupArgs {
        use crate::cli::args::{Command, CommandLine};
        use clap::Parser;
        match CommandLine::try_parse_from(["lsync", "setup", "--bucket", "flag"]).unwrap().command {
            Command::Setup(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn given(vars: &[(&str, &str)], old: &str) -> Answers {
        let env = Environment::of(std::path::Path::new("/"), vars);
        Answers::given(&args(), &Common::default(), &env, &File::parse("f", old).unwrap())
    }

    #[test]
    fn flags_beat_variables_beat_the_old_configuration() {
        let old = "[remote]\nbucket = \"old\"\nregion = \"old\"\nprefix = \"old\"\n";
        let answers = given(&[("LSYNC_BUCKET", "var"), ("LSYNC_REGION", "var")], old);
        assert_eq!(answers.bucket.as_deref(), Some("flag"));
        assert_eq!(answers.region.as_deref(), Some("var"));
        assert_eq!(answers.prefix.as_deref(), Some("old"));
    }

    #[test]
    fn keys_of_two_places_are_never_mixed() {
        let old = "[remote]\naccess_key_id = \"OLD\"\nsecret_access_key = \"old\"\n";
        let answers = given(&[("LSYNC_ACCESS_KEY_ID", "VAR")], old);
        assert_eq!(answers.access_key_id.as_deref(), Some("VAR"));
        assert!(answers.secret_access_key.is_none());
        let answers = given(&[], old);
        assert_eq!(answers.access_key_id.as_deref(), Some("OLD"));
        assert_eq!(answers.secret_access_key.unwrap().expose(), "old");
    }

    #[test]
    fn what_says_something_else_is_named_by_its_key() {
        let of = |text: &str| Answers::of(&File::parse("f", text).unwrap());
        let old = of("[remote]\nbucket = \"b\"\nregion = \"r\"\nsecret_access_key = \"s\"\n");
        assert!(of("[remote]\nbucket = \"b\"").differing(&old).is_empty(), "what is not said does not differ");
        let other = of("[remote]\nbucket = \"c\"\nsecret_access_key = \"t\"\n[git]\nuser_name = \"n\"");
        assert_eq!(other.differing(&old), ["bucket", "secret_access_key", "user_name"]);
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_to_give_it() {
        let all = [
            "--bucket (or LSYNC_BUCKET)",
            "--region (or LSYNC_REGION)",
            "--access-key-id (or LSYNC_ACCESS_KEY_ID)",
            "LSYNC_SECRET_ACCESS_KEY",
        ];
        assert_eq!(Answers::default().missing(), all);
        let aws = Answers { bucket: Some("b".into()), ..Answers::default() };
        assert!(aws.missing().is_empty(), "AWS has its own chain");
        let half = Answers { access_key_id: Some("x".into()), ..aws.clone() };
        assert_eq!(half.missing(), ["LSYNC_SECRET_ACCESS_KEY"]);
        let other = Answers { endpoint_url: Some("https://s3.example.com".into()), ..aws };
        assert_eq!(other.missing(), all[2..]);
    }
}
