//! What a person sees while a run works: bars on a terminal, plain lines elsewhere. Takes events, decides nothing.
//!
//! Events only count; a thread of its own draws, a few times a second, so that what moves bytes never waits for a terminal.

mod frame;
mod meter;
mod numbers;
mod screen;

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lsync::event::{Ended, Event, Verb};
use lsync::path::Shown;
use lsync::plan::Direction;

use super::output::say;
use super::text::{bytes, wrap};
use numbers::Numbers;
use screen::{Screen, columns};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Not at all.
    Off,
    /// Plain lines now and then.
    Lines,
    /// Bars that move.
    Bars,
}

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(125);
/// Time between two plain lines.
const LINE: Duration = Duration::from_secs(10);

/// One run's display. Thread-safe.
pub(crate) struct Bars {
    detail: Detail,
    /// Every item by name, as it ends.
    items: bool,
    shared: Arc<Shared>,
    drawing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Shared {
    numbers: Mutex<Numbers>,
    bar: ProgressBar,
    began: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while drawing must not hide what comes after it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bars {
    /// A display. `items`: every item by name, as it ends. `direction` is what the bars call a transfer.
    pub(crate) fn new(detail: Detail, items: bool, direction: Option<Direction>) -> Bars {
        let target = match detail {
            Detail::Bars => ProgressDrawTarget::term_like_with_hz(Box::<Screen>::default(), 20),
            Detail::Off | Detail::Lines => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a literal template"));
        let shared = Shared { numbers: Mutex::new(Numbers::new(direction)), bar, began: Instant::now() };
        Bars { detail, items, shared: Arc::new(shared), drawing: Mutex::new(None) }
    }

    /// Takes the bars off the screen, so that text can stand there. They come back with the next phase.
    pub(crate) fn clear(&self) {
        let drawing = lock(&self.drawing).take();
        if let Some((stop, thread)) = drawing {
            drop(stop);
            // A frame that panicked has told so; there is nothing to add.
            let _ = thread.join();
        }
        self.shared.bar.finish_and_clear();
    }

    /// The run was asked to stop: the bars say so while what is under way comes to its end.
    pub(crate) fn stopping(&self, text: &str) {
        lock(&self.shared.numbers).stopping = true;
        self.line(text);
    }

    /// Shows an event. Cheap, for every piece of content comes by here.
    pub(crate) fn take(&self, event: &Event) {
        match event {
            Event::Warning(message) => self.line(&format!("warning: {}", Shown(message))),
            Event::Retried { path, why, .. } if self.items => self.line(&format!("again: {path}: {}", Shown(why))),
            Event::Finished { path, outcome, verb, bytes: size } if self.items => match outcome {
                Ended::Done => self.line(&format!("{}: {path} ({})", done_word(*verb), bytes(*size))),
                Ended::Stale(why) | Ended::Failed(why) => self.line(&format!("failed: {path}: {}", Shown(why))),
            },
            _ => {}
        }
        if self.detail == Detail::Off {
            return;
        }
        lock(&self.shared.numbers).take(event, self.shared.began.elapsed());
        if matches!(event, Event::Phase(_)) {
            self.start();
        }
    }

    /// A line that stays, above the bars.
    fn line(&self, text: &str) {
        let width = if self.detail == Detail::Bars { columns() } else { usize::MAX };
        self.shared.bar.suspend(|| say(&wrap(text, width, 0, 2)));
    }

    fn start(&self) {
        let mut drawing = lock(&self.drawing);
        if drawing.is_some() {
            return;
        }
        let (stop, stopped) = channel::<()>();
        let (shared, detail) = (self.shared.clone(), self.detail);
        let period = if detail == Detail::Bars { FRAME } else { LINE };
        let work = move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                shared.draw(detail);
            }
        };
        // Without a thread there is a run without bars, and nothing else is lost.
        if let Ok(thread) = std::thread::Builder::new().name("bars".into()).spawn(work) {
            self.shared.bar.reset();
            *drawing = Some((stop, thread));
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shared {
    fn draw(&self, detail: Detail) {
        let now = self.began.elapsed();
        let mut numbers = lock(&self.numbers);
        numbers.note(now);
        if detail == Detail::Bars {
            let frame = frame::frame(&numbers, now, columns()).join("\n");
            drop(numbers);
            self.bar.set_message(frame);
            self.bar.tick();
        } else {
            let line = frame::line(&numbers, now);
            drop(numbers);
            say(&line);
        }
    }
}

fn done_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Upload => "uploaded",
        Verb::Download => "downloaded",
        Verb::Update => "permissions set",
        Verb::Delete => "deleted",
    }
}
