//! The guided tour: sample data goes up and comes down on a second mount through the real binary, and the two mounts are compared. All of
//! it happens in a temporary directory, which is removed at the end, with an environment that holds nothing of the user's.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use console::style;
use serde_json::json;
use tokio::process::Command;

use super::place::{self, Store, failed};
use super::{Signals, compare, sample};
use crate::cli::args::{Common, When};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::settings::environment::Environment;
use crate::cli::settings::find::shown;
use crate::cli::text::{bytes, count};

/// How long a command may take to end when the tour is interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// A rented machine of the story.
struct Instance {
    region: &'static str,
    /// `<temporary>/<region>`, as `/lambda/nfs` is on a real one.
    mounts: PathBuf,
    root: PathBuf,
}

struct Tour<'a> {
    common: &'a Common,
    env: &'a Environment,
    home: PathBuf,
    signals: Signals,
    began: Instant,
}

/// Runs the tour.
pub(crate) async fn run(common: &Common, env: &Environment) -> Result<Exit, Failure> {
    let signals = Signals::watch()?;
    let dir = place::temporary(env, "lsync-tour")?;
    let home = dir.path().join("home");
    std::fs::create_dir(&home).map_err(|e| failed("create", &home, &e))?;
    let store = Store::start(&dir.path().join("store"), 0).await?;
    let mut tour = Tour { common, env, home, signals, began: Instant::now() };
    let told = tour.tell(dir.path(), &store).await;
    store.server.stop().await;
    let removed = dir.remove();
    let compared = told?;
    removed?;
    tour.ends(&compared)
}

impl Tour<'_> {
    async fn tell(&mut self, dir: &Path, store: &Store) -> Result<compare::Compared, Failure> {
        self.say(&format!(
            "{}\n\nEverything happens in {}, with a small S3 server\nat {}. It needs no account and no network, touches\n\
             nothing else on this machine, and is removed at the end.",
            style("lsync, a guided tour").bold(),
            shown(dir),
            store.server.endpoint()
        ))?;
        let (east, west) = (instance(dir, store, "us-east-2")?, instance(dir, store, "us-west-1")?);
        sample::write(&east.root).map_err(|e| failed("write the sample data in", &east.root, &e))?;

        self.heading("1. The data of an experiment goes to the bucket")?;
        self.say(
            "An instance in us-east-2, with code, arrays and a checkpoint on its filesystem.\n\
             Before it is shut down, all of that goes to the bucket. `--yes` answers the one\n\
             question that is asked otherwise.",
        )?;
        self.lsync(&east, "upload --yes", Exit::Done).await?;
        let parts = store.server.log().count("UploadPart");
        self.say(&format!("\nThe checkpoint is larger than 16 MiB and went up in {parts} parts."))?;
        self.lsync(&east, "status", Exit::Done).await?;

        self.heading("2. A fresh instance in another region")?;
        self.say("Its filesystem is empty, but for the sync.toml that `lsync setup` writes.")?;
        self.lsync(&west, "download --yes", Exit::Done).await?;
        self.compare(&east, &west)?;

        self.heading("3. Work goes on in two places")?;
        self.say("us-west-1 changes notes.md and config.yaml, and uploads.")?;
        self.say("")?;
        self.edit(&west, "notes.md", "Halved it: better.")?;
        self.edit(&west, "config.yaml", "warmup: 100")?;
        self.lsync(&west, "upload --yes", Exit::Done).await?;
        self.say("\nus-east-2 still has the old config.yaml, and changes notes.md too. Its upload\noverwrites neither.")?;
        self.say("")?;
        self.edit(&east, "notes.md", "Doubled the batch instead.")?;
        self.lsync(&east, "upload --yes", Exit::Conflicts).await?;
        self.say("\nIt takes what the bucket has. Its own notes.md goes to .lsync/trash/.")?;
        self.lsync(&east, "download --overwrite --yes", Exit::Done).await?;
        self.compare(&east, &west)
    }

    /// Runs the real binary on an instance, as its user would, and shows what it says.
    async fn lsync(&mut self, on: &Instance, line: &str, expected: Exit) -> Result<(), Failure> {
        let cannot = |e: std::io::Error| Failure::new(Exit::Failed, format!("cannot run lsync {line}: {e}"));
        let exe = self.env.exe.as_deref().ok_or_else(|| Failure::new(Exit::Failed, "cannot tell where the lsync binary lies"))?;
        self.say(&format!("\n{} {}", style(format!("{}$", on.region)).dim(), style(format!("lsync {line}")).bold()))?;
        let mut command = Command::new(exe);
        command.args(line.split(' ')).env_clear().current_dir(&on.root).stdin(Stdio::null()).kill_on_drop(true);
        command.env("HOME", &self.home).env("LSYNC_MOUNTS", &on.mounts).env("TERM", self.env.text("TERM").unwrap_or("dumb".into()));
        match self.common.color {
            Some(When::Always) => drop(command.arg("--color=always")),
            Some(When::Never) => drop(command.arg("--color=never")),
            Some(When::Auto) | None if self.env.no_color() => drop(command.arg("--color=never")),
            Some(When::Auto) | None => {}
        }
        if self.common.no_progress {
            command.arg("--no-progress");
        }
        if self.common.json || self.common.quiet {
            command.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null());
        } else {
            // What it shows is the tour's result: both streams in one, in order.
            command.stderr(std::io::stdout().as_fd().try_clone_to_owned().map_err(cannot)?);
        }
        let mut child = command.spawn().map_err(cannot)?;
        let status = tokio::select! {
            biased;
            signal = self.signals.next() => {
                // It stops cleanly, and at once when the terminal has told it too.
                if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
                return Err(Failure::new(signal, "interrupted: the tour's directory is removed"));
            }
            status = child.wait() => status.map_err(cannot)?,
        };
        let code = status.code();
        if code != Some(i32::from(expected.code())) {
            let how = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
            return Err(Failure::new(Exit::Failed, format!("lsync {line} ended {how}, not with {}", expected.code())));
        }
        if self.common.json {
            let ran = json!({ "v": 1, "type": "command", "command": format!("lsync {line}"), "region": on.region, "exit": code });
            return output::line(&ran.to_string());
        }
        if expected == Exit::Done { Ok(()) } else { self.say(&style(format!("(exit code {})", expected.code())).dim().to_string()) }
    }

    fn edit(&self, on: &Instance, name: &str, line: &str) -> Result<(), Failure> {
        let path = on.root.join(name);
        sample::append(&path, line).map_err(|e| failed("write", &path, &e))?;
        let shown = style(format!("echo '{line}' >> {name}")).bold();
        self.say(&format!("{} {shown}", style(format!("{}$", on.region)).dim()))
    }

    /// Compares two instances. A difference is the tour's failure.
    fn compare(&self, one: &Instance, other: &Instance) -> Result<compare::Compared, Failure> {
        let compared = compare::trees(&one.root, &other.root);
        let compared = compared.map_err(|e| Failure::new(Exit::Failed, format!("cannot compare the two mounts: {e}")))?;
        if !compared.differences.is_empty() {
            let what = format!("the two mounts differ:\n{}", compared.differences.join("\n"));
            return Err(Failure::new(Exit::Integrity, what));
        }
        self.say(&format!(
            "\n{} {} files, links and directories, {}, read on both sides:\nidentical in content, modification times and permissions.",
            style("Compared:").green().bold(),
            count(compared.items),
            bytes(compared.bytes)
        ))?;
        Ok(compared)
    }

    fn ends(&self, compared: &compare::Compared) -> Result<Exit, Failure> {
        if self.common.json {
            let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let line = json!({
                "v": 1, "type": "summary", "command": "sandbox", "exit": 0, "complete": true, "elapsed_ms": elapsed_ms,
                "generation": null, "unchanged": compared.items, "total_bytes": compared.bytes,
            });
            output::line(&line.to_string())?;
            return Ok(Exit::Done);
        }
        self.heading("How to go on")?;
        self.say(
            "  cargo install --path .     builds lsync and puts it into ~/.cargo/bin\n  \
               lsync sandbox serve        a bucket on this machine, to play with\n  \
               lsync setup                your own bucket: asks for its name and keys\n  \
               lsync --help               all commands and flags\n\n\
             The installed lsync has `sandbox` only with `--features sandbox`.",
        )?;
        if self.common.quiet {
            output::line(&format!("the tour is over: {} items came back identical", count(compared.items)))?;
        }
        Ok(Exit::Done)
    }

    fn heading(&self, text: &str) -> Result<(), Failure> {
        self.say(&format!("\n{}", style(text).cyan().bold()))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.common.quiet || self.common.json { Ok(()) } else { output::line(text) }
    }
}

fn instance(dir: &Path, store: &Store, region: &'static str) -> Result<Instance, Failure> {
    let mounts = dir.join(region);
    let root = mounts.join("ada");
    store.mount(&root)?;
    Ok(Instance { region, mounts, root })
}
