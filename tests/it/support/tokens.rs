//! A source of temporary credentials that gives another session token each time it is asked.

use std::path::PathBuf;

use super::cmd::Cmd;
use super::mount::Mount;
use super::s3::S3;

/// A profile whose process gives another session token each time: `T0`, `T1`, ...
pub(crate) struct Source {
    config: PathBuf,
    calls: PathBuf,
}

impl Source {
    /// `more` is JSON that follows the token.
    pub(crate) fn new(mount: &Mount, s3: &S3, more: &str) -> Source {
        let (config, calls, script) = (mount.home().join("aws-config"), mount.home().join("calls"), mount.home().join("gives-keys"));
        let (id, secret) = (&s3.store.access_key_id, &s3.store.secret_access_key);
        let json = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{secret}","SessionToken":"T$n"{more}}}"#);
        let json = json.replace('"', "\\\"");
        std::fs::write(&calls, "").expect("written");
        let text = format!("n=$(wc -l < {0} | tr -d ' ')\necho call >> {0}\necho \"{json}\"\n", calls.display());
        std::fs::write(&script, text).expect("written");
        std::fs::write(&config, format!("[profile lab]\nregion = us-east-2\ncredential_process = sh {}\n", script.display()))
            .expect("written");
        Source { config, calls }
    }

    pub(crate) fn calls(&self) -> usize {
        std::fs::read_to_string(&self.calls).expect("a file").lines().count()
    }

    pub(crate) fn lsync(&self, mount: &Mount, s3: &S3, line: &str) -> Cmd {
        let cmd = Cmd::lsync(mount).args(line).env("LSYNC_PROFILE", "lab").env("AWS_CONFIG_FILE", &self.config);
        cmd.env("LSYNC_BUCKET", &s3.store.bucket).env("LSYNC_ENDPOINT_URL", &s3.store.endpoint)
    }
}
