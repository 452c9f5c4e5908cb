//! What upload, download and status share: both ends opened, the signals watched, the events shown.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use lsync::config::{Jobs, Keys, Limit, Links};
use lsync::engine::{self, Ask, Depth, Ends, Error, IgnoredPath, Sight, Stop};
use lsync::event::{Event, Observer};
use lsync::filter::{Line, Origin, Reason, holds_keys};
use lsync::local::lock::now;
use lsync::local::mount::Mount;
use lsync::path::{RelPath, Shown};
use lsync::plan::{Choices, Direction, MaxDelete, Refusal};
use lsync::remote::connect::connect;

use super::args::{Compare, Flags};
use super::bars::{Bars, Detail};
use super::exit::Exit;
use super::failure::{Failure, chain, refuse_others};
use super::ink::Ink;
use super::render::{Around, Bounds, Ignored, Page};
use super::settings::Settings;
use super::settings::environment::Environment;
use super::{address_space, json, output, text};

/// Open files that are not for transfers: the mount, the state, threads at work.
const OTHER_FILES: u64 = 64;
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
    pub(crate) fn watch(&self, stop: &Stop, bars: &Arc<Bars>, quiet: bool) -> Result<(), Failure> {
        use tokio::signal::unix::SignalKind;
        // A file that would be larger than `ulimit -f` allows is an error then, and no signal that ends the process.
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        // Nobody waits for it: that there is a handler, which stays for as long as the process lives, is enough.
        drop(tokio::signal::unix::signal(too_large).map_err(|e| Failure::new(Exit::Failed, format!("cannot watch for signals: {e}")))?);
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
                        bars.clear();
                        code.at_once();
                    }
                    stop.ask();
                    if signal.asking.load(Ordering::SeqCst) {
                        output::say(""); // the cursor stands behind the question
                    } else if !quiet {
                        bars.stopping("stopping cleanly; a second Ctrl-C stops at once");
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
        .max_blocking_threads(address_space::threads(BLOCKING_THREADS))
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot start: {e}")))?;
    let done = runtime.block_on(work);
    // A question that nobody answers must not keep the process.
    runtime.shutdown_background();
    done
}

impl Session {
    /// Opens both ends. Sends no request.
    /// `direction`: which way content will move, if it will.
    pub(crate) async fn open(flags: Flags, paths: &[PathBuf], env: &Environment, direction: Option<Direction>) -> Result<Session, Failure> {
        let mut settings = Settings::load(&flags, env)?;
        let space = address_space::bounds(address_space::limit())?;
        let mount = Mount::open(&settings.root)?;
        refuse_others(&mount)?;
        env.state_home().into_iter().for_each(|state_home| mount.offer_elsewhere(&state_home));
        let detail = detail(&flags, env);
        let items = flags.common.verbose > 0 && !flags.common.quiet && !flags.common.json;
        let bars = Arc::new(Bars::new(detail, items, direction));
        let (stop, signal) = (Stop::default(), Signal::default());
        signal.watch(&stop, &bars, flags.common.quiet)?;
        for path in own_output_files(&mount) {
            if !flags.common.quiet {
                output::say(&format!("note: {path} is this command's own output and does not travel"));
            }
            settings.patterns.never.push(path);
        }
        let named = named(&mount, &settings, paths)?;
        let bucket = connect(&settings.store, &settings.network).await?;
        let ends = Ends { mount: Arc::new(mount), bucket, observer: observer(&bars, flags.common.json), stop, claim: flags.common.claim() };
        let moving = &flags.moving;
        let ask = Ask {
            patterns: settings.patterns.clone(),
            paths: engine::with_companions(&ends, scope(&named)),
            named: named.into_iter().flatten().collect(),
            allow_keys: settings.keys == Keys::Allow,
            narrowed: !moving.include.is_empty() || !moving.exclude.is_empty(),
            removals: moving.delete,
            compare_size: moving.compare == Some(Compare::Size),
            compare_content: moving.compare == Some(Compare::Content),
            read_back: Depth::List,
            jobs: match settings.jobs {
                Jobs::Auto => engine::Jobs::UpTo(most_jobs().min(space.map_or(usize::MAX, |space| space.jobs))),
                Jobs::Count(n) => engine::Jobs::Fixed(n.get().min(space.map_or(usize::MAX, |space| space.jobs))),
            },
            max_memory: settings.max_memory_bytes.min(space.map_or(u64::MAX, |space| space.max_memory)),
            bytes_per_second: moving.bwlimit,
            trash: settings.trash,
            settle: settings.settle,
        };
        let choices = Choices {
            delete: moving.delete,
            overwrite: moving.overwrite,
            compare_size: moving.compare == Some(Compare::Size),
            any_links: settings.links == Links::Any,
            deleted: moving.with_deleted,
        };
        let max_delete = match settings.max_delete {
            Limit::Count(n) => MaxDelete::Paths(n),
            Limit::Percent(p) => MaxDelete::Percent(f64::from(p)),
        };
        Ok(Session { ends, ask, choices, max_delete, settings, bars, signal, flags })
    }

    /// What text is made for that goes to standard output (results) or standard error (what stands before a question).
    pub(crate) fn page(&self, result: bool) -> Page {
        let (term, ink) = if result { (console::Term::stdout(), Ink::stdout()) } else { (console::Term::stderr(), Ink::stderr()) };
        Page { width: output::columns(&term), ink, all: self.flags.common.verbose > 0 }
    }

    /// The head of every screen.
    pub(crate) fn around(&self, sight: &Sight) -> Around {
        Around {
            root: self.ends.mount.root().to_string_lossy().into_owned(),
            bucket: self.ends.bucket.url().to_owned(),
            endpoint: self.ends.bucket.endpoint().to_owned(),
            scope: self.ask.paths.clone(),
            holds: (sight.view.objects, sight.view.bytes),
            last_upload: sight.last_upload.as_ref().map(|header| (header.time, header.host.clone())),
            now: now(),
        }
    }

    /// What surrounds one direction's plan.
    pub(crate) fn bounds(&self, sight: &Sight, direction: Direction) -> Bounds {
        let download = direction == Direction::Download;
        let keys = if self.settings.patterns.include_config { keys_that_travel(sight, direction) } else { Vec::new() };
        Bounds {
            ignored: self.ignored(sight, direction),
            free: self.ends.mount.space().ok().map(|(free, _)| free).filter(|_| download),
            limit: self.flags.moving.bwlimit,
            delete: self.flags.moving.delete,
            trash: self.settings.trash,
            keys,
        }
    }

    /// What patterns leave out of a direction's source: files that hold keys are named first, then what is largest.
    pub(crate) fn ignored(&self, sight: &Sight, direction: Direction) -> Ignored {
        ignored(sight, direction)
    }
}

/// See [`Session::ignored`].
fn ignored(sight: &Sight, direction: Direction) -> Ignored {
    let (files, bytes) = sight.ignored_at_source(direction);
    let samples = match direction {
        Direction::Upload => &sight.ignored.samples,
        Direction::Download => &sight.view.ignored_samples,
    };
    let mut samples: Vec<(&String, &u64)> = samples.iter().collect();
    let is_key =
        |path: &str| holds_keys(path.rsplit('/').next().unwrap_or(path)) || sight.ignored.keys.iter().any(|own| own.as_str() == path);
    samples.sort_by_key(|(name, bytes)| (!is_key(name), Reverse(**bytes)));
    let told = |name: &str| if is_key(name) { format!("{} (holds keys)", Shown(name)) } else { Shown(name).to_string() };
    let hidden = sight.ignored.keys.iter().filter(|path| direction == Direction::Upload && !samples.iter().any(|s| s.0 == path.as_str()));
    let names = hidden.map(|path| told(path.as_str())).chain(samples.iter().map(|(name, _)| told(name))).collect();
    Ignored { files, bytes, names }
}

fn keys_that_travel(sight: &Sight, direction: Direction) -> Vec<String> {
    let names: Vec<&RelPath> = match direction {
        Direction::Upload => sight.local.iter().map(|(path, _)| path).collect(),
        Direction::Download => sight.view.entries.iter().map(|(path, _)| path).collect(),
    };
    names.into_iter().filter(|path| holds_keys(path.name())).map(ToString::to_string).collect()
}

/// Bars on a terminal, plain lines elsewhere, nothing for machines and the quiet.
fn detail(flags: &Flags, env: &Environment) -> Detail {
    let common = &flags.common;
    if common.quiet || common.json || common.no_progress {
        Detail::Off
    } else if !console::Term::stderr().is_term() || env.is_dumb_terminal() {
        Detail::Lines
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

/// The transfers that the process may have under way by its limit of open files: each has a connection, and a file.
fn most_jobs() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.map_or(usize::MAX, |files| usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX))
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

/// PATH arguments as paths of the directory; `None`: the directory itself.
fn named(mount: &Mount, settings: &Settings, paths: &[PathBuf]) -> Result<Vec<Option<RelPath>>, Failure> {
    paths.iter().map(|path| Ok(mount.relative(&settings.current_dir, path)?)).collect()
}

/// What a run is narrowed to; the directory itself means everything.
fn scope(named: &[Option<RelPath>]) -> Vec<RelPath> {
    let Some(mut scope) = named.iter().cloned().collect::<Option<Vec<RelPath>>>() else { return Vec::new() };
    scope.sort();
    scope.dedup();
    let all = scope.clone();
    scope.retain(|path| !path.ancestors().any(|dir| all.iter().any(|other| other.as_str() == dir)));
    scope
}

/// How to send what is ignored, in this run and in all of them.
fn way_in(ignored: &[IgnoredPath]) -> Option<String> {
    let first = ignored.first()?;
    match &first.reason {
        Some(Reason::Reserved | Reason::Never) => return Some("leave out this PATH".into()),
        Some(Reason::Other(other)) => return Some(format!("work in that one, or reach it with --prefix: its prefix ends in {other}/")),
        Some(Reason::Keys) => return Some("with `include_config = true` in [sync] such files travel, but not the one in use".into()),
        _ => {}
    }
    let quoted = |flag: &str, pattern: &str| {
        let word = Some(text::shell_word(pattern)).filter(|word| word.ends_with('\'')).unwrap_or_else(|| format!("'{pattern}'"));
        format!("{flag} {word}")
    };
    let (mut flags, mut lines): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for way in ignored.iter().map(|ignored| &ignored.way_in) {
        flags.extend(way.exclude.iter().map(|pattern| quoted("--exclude", pattern)));
        flags.extend(way.include.iter().map(|pattern| quoted("--include", pattern)));
        lines.extend(way.exclude.iter().map(|pattern| Shown(pattern).to_string()));
    }
    for list in [&mut flags, &mut lines] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|item| seen.insert(item.clone()));
    }
    let always = match &first.reason {
        Some(Reason::NotIncluded(_)) => "for every run, add it to `include`".to_owned(),
        Some(Reason::Pattern { line, .. }) if matches!(line.origin, Origin::Exclude(_)) => {
            format!("for every run, change {}", line.origin)
        }
        Some(Reason::Pattern { line: Line { origin: Origin::File { .. }, .. }, .. }) => "for every run, change that line".to_owned(),
        _ => format!("for every run, add this to .syncignore: {}", lines.join(", ")),
    };
    Some(format!("to include it in this run, add {}; {always}", flags.join(" ")))
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
                Refusal::EmptyMount { .. } => "is it mounted, and is it the right one?",
                Refusal::EmptyBucket => "are `bucket`, `prefix` and `endpoint_url` right? To download without deleting, leave out --delete",
            }),
            Error::SelfSync { .. } => {
                Failure::new(Exit::Refused, chain(&error)).hint("choose another bucket, or another mount with --root")
            }
            Error::NoSuchPath { .. } => Failure::usage(chain(&error)).hint("PATHs are relative to the current directory"),
            Error::BehindLink { outside: true, .. } => Failure::usage(chain(&error)).hint(
                "to sync what the link points to, put it into this directory in the link's place, or sync it as a directory of its own (--root)",
            ),
            Error::BehindLink { .. } => Failure::usage(chain(&error)).hint("give the PATH that the link points to"),
            Error::Ignored(ref ignored) => Failure { hint: way_in(ignored), ..Failure::usage(chain(&error)) },
            Error::SpeltOtherwise { .. } => Failure::usage(chain(&error)).hint("give the PATH as the mount spells it"),
            Error::Manifest { .. } => Failure::usage(chain(&error)).hint("install the newest lsync and run the command again"),
            Error::NoSpace { needed, free } => {
                let message = format!("the download needs {}, and the mount has {} free", text::bytes(needed), text::bytes(free));
                Failure::new(Exit::NoSpace, message).hint("free space on the mount, or download less: lsync download PATH")
            }
            Error::PlanStale => Failure::new(Exit::Stale, chain(&error)).hint("run the command again"),
            Error::Worker(_) | Error::Stopped => Failure::new(Exit::Failed, chain(&error)),
        }
    }
}
