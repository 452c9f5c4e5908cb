//! What upload, download and status share: both ends opened, the signals watched, the events shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use lsync::config::{Jobs, Limit, Links};
use lsync::engine::{Ask, Ends, Error, Stop};
use lsync::event::{Event, Observer};
use lsync::local::mount::Mount;
use lsync::path::RelPath;
use lsync::plan::{Choices, Direction, MaxDelete, Refusal};
use lsync::remote::connect::connect;

use super::args::{Compare, Flags};
use super::bars::{Bars, Detail};
use super::exit::Exit;
use super::failure::{Failure, chain};
use super::settings::Settings;
use super::settings::environment::Environment;
use super::{json, output};

/// Requests in flight when `jobs` is `"auto"`.
const AUTO_JOBS: usize = 48;
/// Threads for blocking work: reading, hashing, writing, and waiting for fsync.
const BLOCKING_THREADS: usize = 16;

/// An opened run.
pub(crate) struct Session {
    pub ends: Ends,
    pub ask: Ask,
    pub choices: Choices,
    pub max_delete: MaxDelete,
    pub settings: Settings,
    pub bars: Arc<Bars>,
    pub signal: Signal,
    pub flags: Flags,
}

/// The signal that asked the run to stop, if one did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    code: Arc<AtomicU8>,
    asking: Arc<AtomicBool>,
}

impl Signal {
    /// Its exit code.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.code.load(Ordering::SeqCst) {
            129 => Some(Exit::HungUp),
            130 => Some(Exit::Interrupted),
            143 => Some(Exit::Terminated),
            _ => None,
        }
    }

    /// A question is on the screen, or no longer: nothing is under way that a signal would have to stop.
    pub(crate) fn asking(&self, asking: bool) {
        self.asking.store(asking, Ordering::SeqCst);
    }

    /// Watches SIGINT, SIGTERM and SIGHUP: the first asks for a clean stop, a second one stops at once.
    fn watch(&self, stop: &Stop, bars: &Arc<Bars>, quiet: bool) -> Result<(), Failure> {
        use tokio::signal::unix::SignalKind;
        for (kind, code) in [
            (SignalKind::interrupt(), Exit::Interrupted),
            (SignalKind::terminate(), Exit::Terminated),
            (SignalKind::hangup(), Exit::HungUp),
        ] {
            let mut signals =
                tokio::signal::unix::signal(kind).map_err(|e| Failure::new(Exit::Failed, format!("cannot watch for signals: {e}")))?;
            let (signal, stop, bars) = (self.clone(), stop.clone(), bars.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if signal.code.swap(code.code(), Ordering::SeqCst) != 0 {
                        code.at_once();
                    }
                    stop.ask();
                    if signal.asking.load(Ordering::SeqCst) {
                        output::say(""); // the cursor stands behind the question
                    } else if !quiet {
                        bars.clear();
                        output::say("stopping cleanly; once more to stop at once");
                    }
                }
            });
        }
        Ok(())
    }
}

/// Runs async work on the one I/O thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start: {e}")))?;
    let done = runtime.block_on(work);
    // A question that nobody answers must not keep the process.
    runtime.shutdown_background();
    done
}

impl Session {
    /// Opens both ends. Sends no request.
    pub(crate) async fn open(flags: Flags, paths: &[PathBuf], env: &Environment) -> Result<Session, Failure> {
        let mut settings = Settings::load(&flags, env)?;
        let mount = Mount::open(&settings.root)?;
        let detail = detail(&flags, env);
        let bars = Arc::new(Bars::new(detail, flags.common.verbose));
        let (stop, signal) = (Stop::default(), Signal::default());
        signal.watch(&stop, &bars, flags.common.quiet)?;
        for path in own_output_files(&mount) {
            if !flags.common.quiet {
                output::say(&format!("note: {path} is this command's own output and does not travel"));
            }
            settings.patterns.never.push(path);
        }
        let scope = scope(&mount, &settings, paths)?;
        let bucket = connect(&settings.store, &settings.network).await?;
        let ends = Ends { mount: Arc::new(mount), bucket, observer: observer(&bars, flags.common.json), stop };
        let moving = &flags.moving;
        let ask = Ask {
            patterns: settings.patterns.clone(),
            paths: scope,
            narrowed: !moving.include.is_empty() || !moving.exclude.is_empty(),
            removals: moving.delete,
            compare_size: moving.compare == Some(Compare::Size),
            compare_content: moving.compare == Some(Compare::Content),
            jobs: match settings.jobs {
                Jobs::Auto => AUTO_JOBS,
                Jobs::Count(n) => n.get(),
            },
            max_memory: settings.max_memory_bytes,
            bytes_per_second: moving.bwlimit,
            trash: settings.trash,
        };
        let choices = Choices {
            delete: moving.delete,
            overwrite: moving.overwrite,
            compare_size: moving.compare == Some(Compare::Size),
            any_links: settings.links == Links::Any,
        };
        let max_delete = match settings.max_delete {
            Limit::Count(n) => MaxDelete::Paths(n),
            Limit::Percent(p) => MaxDelete::Percent(f64::from(p)),
        };
        Ok(Session { ends, ask, choices, max_delete, settings, bars, signal, flags })
    }

    /// Columns of the screen that text is made for; no limit where there is no screen and nothing must be cut.
    pub(crate) fn width(&self) -> usize {
        console::Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns).clamp(60, 160))
    }
}

/// Bars on a terminal, plain lines elsewhere, nothing for machines and the quiet.
fn detail(flags: &Flags, env: &Environment) -> Detail {
    let common = &flags.common;
    if common.quiet || common.json {
        Detail::Quiet
    } else if common.no_progress || !console::Term::stderr().is_term() || env.is_dumb_terminal() {
        Detail::Plain
    } else {
        Detail::Bars
    }
}

fn observer(bars: &Arc<Bars>, as_json: bool) -> Observer {
    let bars = bars.clone();
    Arc::new(move |event: Event| {
        bars.take(&event);
        if as_json && let Some(line) = json::event(&event) {
            // A reader that went away does not stop a transfer; a full disk shows at the last line.
            let _ = output::line(&line.to_string());
        }
    })
}

/// The files of the mount that this process's stdout and stderr go to.
fn own_output_files(mount: &Mount) -> Vec<RelPath> {
    let mut found = Vec::new();
    for fd in [1, 2] {
        let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else { continue };
        let is_file = std::fs::symlink_metadata(&target).is_ok_and(|m| m.is_file());
        let below = target.strip_prefix(mount.root()).ok().and_then(|p| p.to_str()).and_then(|p| RelPath::new(p).ok());
        if let Some(path) = below.filter(|path| is_file && !found.contains(path)) {
            found.push(path);
        }
    }
    found
}

/// PATH arguments as paths of the mount; the mount itself means everything.
fn scope(mount: &Mount, settings: &Settings, paths: &[PathBuf]) -> Result<Vec<RelPath>, Failure> {
    let mut scope = Vec::new();
    for path in paths {
        match mount.relative(&settings.current_dir, path)? {
            Some(path) => scope.push(path),
            None => return Ok(Vec::new()),
        }
    }
    scope.sort();
    scope.dedup();
    let all = scope.clone();
    scope.retain(|path| !path.ancestors().any(|dir| all.iter().any(|other| other.as_str() == dir)));
    Ok(scope)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Remote(e) => e.into(),
            Error::Local(e) => e.into(),
            Error::Mount(e) => e.into(),
            Error::Scan(e) => e.into(),
            Error::Lock(e) => e.into(),
            Error::Refused(ref why) => Failure::new(Exit::Refused, chain(&error)).hint(match why {
                Refusal::TooManyDeletes { .. } => "look at what the plan deletes; if that is right, raise --max-delete",
                Refusal::EmptySource(Direction::Upload) => {
                    "is it mounted, and is it the right one? To upload without deleting, leave out --delete"
                }
                Refusal::EmptySource(Direction::Download) => {
                    "are `bucket`, `prefix` and `endpoint_url` right? To download without deleting, leave out --delete"
                }
            }),
            Error::SelfSync { .. } => {
                Failure::new(Exit::Refused, chain(&error)).hint("choose another bucket, or another mount with --root")
            }
            Error::NoSuchPath { .. } => Failure::usage(chain(&error)).hint("PATHs are relative to the current directory"),
            Error::Manifest { .. } => Failure::usage(chain(&error)).hint("install the newest lsync and run the command again"),
            Error::NoSpace { .. } => {
                Failure::new(Exit::NoSpace, chain(&error)).hint("free space on the mount, or download less: lsync download PATH")
            }
            Error::Worker(_) | Error::Stopped => Failure::new(Exit::Failed, chain(&error)),
        }
    }
}
