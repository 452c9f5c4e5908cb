//! `credential_process` of an AWS profile: runs the command as the AWS tools do, and leaves no process behind when it hangs, fails, or is
//! not waited for any longer. Format: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use aws_config::profile::{Profile, ProfileSet};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

/// Settings of a profile that the AWS tools look at before `credential_process`.
const BEFORE: &[&str] =
    &["role_arn", "credential_source", "web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id", "login_session"];
/// Variables that hold keys of lsync's own.
const SECRETS: &[&str] = &["LSYNC_ACCESS_KEY_ID", "LSYNC_SECRET_ACCESS_KEY", "LSYNC_SESSION_TOKEN", "LSYNC_GITHUB_TOKEN"];

/// How long what was printed is waited for when the command has ended.
const REST: Duration = Duration::from_millis(500);

/// The command of a profile, where that is where its credentials come from.
#[derive(Debug)]
pub(super) struct Process {
    profile: String,
    command: Command,
}

/// Every word of it may hold a secret.
struct Command(String);

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl Process {
    /// Of the profile of this name, or of the one that is selected without a name. `None` where its credentials come from elsewhere, and
    /// where the files cannot be read: the SDK says what is wrong with them.
    pub(super) async fn of_profile(name: Option<&str>) -> Option<Process> {
        let (fs, env) = (aws_types::os_shim_internal::Fs::real(), aws_types::os_shim_internal::Env::real());
        let name = name.map(|name| name.to_owned().into());
        let set: ProfileSet = aws_config::profile::load(&fs, &env, &EnvConfigFiles::default(), name).await.ok()?;
        let profile: &Profile = set.get_profile(set.selected_profile())?;
        if BEFORE.iter().any(|setting| profile.get(setting).is_some()) {
            return None;
        }
        Some(Process { profile: profile.name().to_owned(), command: Command(profile.get("credential_process")?.to_owned()) })
    }

    async fn run(&self) -> Provided {
        let wrong =
            |what: String| CredentialsError::provider_error(format!("the credential_process of the AWS profile {} {what}", self.profile));
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &self.command.0]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        for name in SECRETS {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|e| wrong(format!("cannot be started ({e})")))?;
        let mut left = Left(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (mut printed, pipe) = (Vec::new(), child.stdout.take());
        let status = {
            let reading = async {
                match pipe {
                    Some(mut pipe) => pipe.read_to_end(&mut printed).await.map(drop),
                    None => Ok(()),
                }
            };
            tokio::pin!(reading);
            let (status, read) = tokio::select! {
                status = child.wait() => (status, None),
                read = &mut reading => (child.wait().await, Some(read)),
            };
            // It has ended: its number may be another's by now.
            left.0 = None;
            // What it has started in the background, and left running, may keep the pipe open.
            if read.is_none() {
                let _ = tokio::time::timeout(REST, &mut reading).await;
            }
            status.map_err(|e| wrong(format!("cannot be waited for ({e})")))?
        };
        if !status.success() {
            return Err(wrong(format!("failed ({status}); run it by hand to see why")));
        }
        // Neither the output nor the parser's words about it: both may hold the secret.
        read(&printed).ok_or_else(|| wrong("did not print valid version 1 credentials".into()))
    }
}

impl ProvideCredentials for Process {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.run())
    }
}

#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "Version")]
    version: u32,
    #[serde(rename = "AccessKeyId")]
    access_key_id: String,
    #[serde(rename = "SecretAccessKey")]
    secret_access_key: String,
    #[serde(rename = "SessionToken")]
    session_token: Option<String>,
    #[serde(rename = "Expiration")]
    expiration: Option<String>,
}

fn read(output: &[u8]) -> Option<Keys> {
    let printed: Printed = serde_json::from_slice(output).ok().filter(|printed: &Printed| printed.version == 1)?;
    let expiry = match &printed.expiration {
        Some(text) => Some(SystemTime::try_from(DateTime::from_str(text, Format::DateTimeWithOffset).ok()?).ok()?),
        None => None,
    };
    let token = printed.session_token.filter(|token| !token.is_empty());
    Some(Keys::new(printed.access_key_id, printed.secret_access_key, token, expiry, "lsync"))
}

/// A process that ends with all that it has started when nobody waits for it any longer. It keeps the terminal's process group, so that a
/// command that asks for a code there can.
struct Left(Option<Pid>);

impl Drop for Left {
    fn drop(&mut self) {
        let Some(root) = self.0 else { return };
        let (mut all, mut at) = (vec![root], 0);
        while let Some(pid) = all.get(at).copied() {
            // Stopped, it starts nothing more while its children are looked up.
            let _ = kill_process(pid, Signal::STOP);
            all.extend(children(pid));
            at += 1;
        }
        for pid in all {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// What a process has started, where the kernel tells.
fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_prints_is_read_as_documented() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, bool)>| {
            let read = read(text.as_bytes());
            let seen = read.as_ref().map(|keys| (keys.access_key_id(), keys.session_token(), keys.expiry().is_some()));
            assert_eq!(seen, expected, "{text}");
        };
        check(r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s"}"#, Some(("a", None, false)));
        check(
            r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":"t","Expiration":"2022-05-02T18:36:00+00:00","AccountId":"1"}"#,
            Some(("a", Some("t"), true)),
        );
        check(
            r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":"","Expiration":"2022-05-02T18:36:00Z"}"#,
            Some(("a", None, true)),
        );
        check(r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"tomorrow"}"#, None);
        check(r#"{"Version":2,"AccessKeyId":"a","SecretAccessKey":"s"}"#, None);
        check(r#"{"Version":1,"AccessKeyId":"a"}"#, None);
        check("", None);
    }
}
