//! What a person sees while a run works: bars on a terminal, plain lines elsewhere. Takes events, decides nothing.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lsync::event::{Ended, Event, Phase};
use lsync::path::RelPath;

use super::output::say;
use super::text::{bytes, count, files, fit};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only failures and warnings.
    Quiet,
    /// Plain lines now and then.
    Plain,
    /// Bars that move.
    Bars,
}

/// Files at least this large get a line of their own while they move.
const LARGE: u64 = 32 << 20;
/// At most this many of those lines.
const LINES: usize = 4;
/// Time between plain progress lines.
const EVERY: Duration = Duration::from_secs(10);

/// One run's display. Thread-safe.
pub(crate) struct Bars {
    detail: Detail,
    verbose: u8,
    inner: Mutex<Inner>,
}

struct Inner {
    multi: MultiProgress,
    main: Option<ProgressBar>,
    large: HashMap<RelPath, ProgressBar>,
    phase: Option<Phase>,
    scanned: (u64, u64),
    listed: u64,
    total: (u64, u64),
    done: (u64, u64),
    told: Instant,
}

impl Bars {
    /// A display of this much detail.
    pub(crate) fn new(detail: Detail, verbose: u8) -> Bars {
        let target = if detail == Detail::Bars { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let inner = Inner {
            multi: MultiProgress::with_draw_target(target),
            main: None,
            large: HashMap::new(),
            phase: None,
            scanned: (0, 0),
            listed: 0,
            total: (0, 0),
            done: (0, 0),
            told: Instant::now(),
        };
        Bars { detail, verbose, inner: Mutex::new(inner) }
    }

    /// Takes the bars off the screen, so that text can stand there.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.take_down();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while drawing must not hide what comes after it.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Shows an event.
    pub(crate) fn take(&self, event: &Event) {
        let mut inner = self.lock();
        match event {
            Event::Phase(phase) => inner.begin(*phase, self.detail),
            Event::Scanned { entries, bytes } => {
                inner.scanned = (*entries, *bytes);
                inner.show_scan();
            }
            Event::Listed { objects } => {
                inner.listed = *objects;
                inner.show_scan();
            }
            Event::Planned { files, bytes } => inner.plan(*files, *bytes),
            Event::Hashed { bytes } => inner.advance(*bytes),
            Event::Started { path, bytes } => inner.start(path, *bytes),
            Event::Moved { path, bytes } => {
                inner.advance(*bytes);
                if let Some(bar) = inner.large.get(path) {
                    bar.inc(*bytes);
                }
            }
            Event::Retried { path, bytes, why } => {
                inner.take_back(path, *bytes);
                if self.verbose > 0 {
                    inner.line(self.detail, &format!("again: {path}: {}", lsync::path::Shown(why)));
                }
            }
            Event::Finished { path, outcome, verb, bytes: size } => {
                inner.finish(path);
                match outcome {
                    Ended::Done if self.verbose > 0 => inner.line(self.detail, &format!("{verb:?}: {path} ({})", bytes(*size))),
                    Ended::Done => {}
                    Ended::Stale(why) | Ended::Failed(why) if self.verbose > 0 => {
                        inner.line(self.detail, &format!("failed: {path}: {}", lsync::path::Shown(why)));
                    }
                    Ended::Stale(_) | Ended::Failed(_) => {}
                }
            }
            Event::Warning(message) => inner.line(Detail::Plain, &format!("warning: {}", lsync::path::Shown(message))),
        }
        if self.detail == Detail::Plain {
            inner.tell_now_and_then();
        }
    }
}

impl Inner {
    fn take_down(&mut self) {
        for (_, bar) in self.large.drain() {
            bar.finish_and_clear();
        }
        if let Some(bar) = self.main.take() {
            bar.finish_and_clear();
        }
    }

    fn begin(&mut self, phase: Phase, detail: Detail) {
        self.take_down();
        self.phase = Some(phase);
        (self.total, self.done) = ((0, 0), (0, 0));
        if detail == Detail::Bars {
            let bar = self.multi.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(125));
            bar.set_message(doing(phase));
            self.main = Some(bar);
        }
    }

    fn show_scan(&mut self) {
        if let (Some(bar), Some(Phase::Scan | Phase::Verify)) = (&self.main, self.phase) {
            let (entries, size) = self.scanned;
            let text = format!("{}: {} here, {}; {} in the bucket", doing(Phase::Scan), files(entries), bytes(size), count(self.listed));
            bar.set_message(text);
        }
    }

    fn plan(&mut self, items: u64, size: u64) {
        (self.total, self.done) = ((items, size), (0, 0));
        let Some(phase) = self.phase else { return };
        if let Some(bar) = &self.main {
            bar.set_length(size.max(1));
            bar.set_position(0);
            bar.reset_eta();
            bar.set_style(style("{spinner} {msg}  {bar:20}  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left"));
            bar.set_message(doing(phase));
        }
    }

    fn advance(&mut self, size: u64) {
        self.done.1 += size;
        if let Some(bar) = &self.main {
            bar.inc(size);
        }
    }

    fn take_back(&mut self, path: &RelPath, size: u64) {
        self.done.1 = self.done.1.saturating_sub(size);
        for bar in self.main.iter().chain(self.large.get(path)) {
            bar.set_position(bar.position().saturating_sub(size));
        }
    }

    fn start(&mut self, path: &RelPath, size: u64) {
        if size < LARGE || self.large.len() >= LINES || self.main.is_none() || self.large.contains_key(path) {
            return;
        }
        let bar = self.multi.add(ProgressBar::new(size));
        bar.set_style(style("    {percent:>3} %  {msg}"));
        bar.set_message(fit(&path.to_string(), 60));
        self.large.insert(path.clone(), bar);
    }

    fn finish(&mut self, path: &RelPath) {
        self.done.0 += 1;
        if let Some(bar) = self.large.remove(path) {
            bar.finish_and_clear();
        }
    }

    /// A line that stays, above the bars.
    fn line(&self, detail: Detail, text: &str) {
        match detail {
            Detail::Quiet => {}
            Detail::Plain | Detail::Bars => self.multi.suspend(|| say(text)),
        }
    }

    fn tell_now_and_then(&mut self) {
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = Instant::now();
        let Some(phase) = self.phase else { return };
        let text = match phase {
            Phase::Scan => format!("{} here, {} objects in the bucket so far", files(self.scanned.0), count(self.listed)),
            Phase::Hash => format!("{} of {} read", bytes(self.done.1), bytes(self.total.1)),
            Phase::Transfer | Phase::Verify | Phase::Publish => {
                format!("{} of {} items, {} of {}", count(self.done.0), count(self.total.0), bytes(self.done.1), bytes(self.total.1))
            }
        };
        say(&format!("{}: {text}", doing(phase)));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are literals of this file").progress_chars("=> ")
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Scan => "Looking",
        Phase::Hash => "Comparing",
        Phase::Transfer => "Transferring",
        Phase::Verify => "Verifying",
        Phase::Publish => "Publishing",
    }
}
