//! The bars as lines of text. Pure; every line fits the width.

use std::cmp::Reverse;
use std::time::Duration;

use console::measure_text_width;
use lsync::event::Phase;
use lsync::plan::Direction;

use super::super::text::{bytes, bytes_of, count, duration, fit, items, some};
use super::numbers::Numbers;

/// Files at least this large get a line of their own while they move.
const LARGE: u64 = 16 << 20;
/// At most this many of those lines.
const LINES: usize = 4;

/// What stands on a terminal now.
pub(super) fn frame(numbers: &Numbers, now: Duration, width: usize) -> Vec<String> {
    let label = label(numbers);
    match numbers.phase {
        Some(Phase::Hash | Phase::Transfer) if numbers.total != (0, 0) => {
            let mut lines = vec![bar(numbers, now, width)];
            if numbers.phase == Some(Phase::Transfer) {
                lines.push(fit(&format!("{:indent$}{}", "", item_count(numbers), indent = label.len() + 2), width));
                lines.extend(large(numbers, width));
            }
            lines
        }
        _ => vec![fit(&format!("{label}  {}", looking(numbers, now)), width)],
    }
}

/// The same in one line, for what is no terminal.
pub(super) fn line(numbers: &Numbers, now: Duration) -> String {
    let label = label(numbers);
    match numbers.phase {
        Some(Phase::Hash | Phase::Transfer) if numbers.total != (0, 0) => {
            let (done, total) = (bytes(numbers.done.1), bytes(numbers.total.1));
            let mut parts = vec![format!("{:.0} %", numbers.share() * 100.0), format!("{done} of {total}")];
            if numbers.phase == Some(Phase::Transfer) {
                parts.push(item_count(numbers));
            }
            parts.extend(speed(numbers, now));
            format!("{label}: {}", parts.join(", "))
        }
        _ => format!("{label}: {}", looking(numbers, now)),
    }
}

fn label(numbers: &Numbers) -> &'static str {
    match (numbers.phase, numbers.direction) {
        _ if numbers.stopping => "Stopping",
        (None | Some(Phase::Scan), _) => "Looking",
        (Some(Phase::Hash), _) => "Comparing",
        (Some(Phase::Transfer), Some(Direction::Upload)) => "Uploading",
        (Some(Phase::Transfer), Some(Direction::Download)) => "Downloading",
        (Some(Phase::Transfer), None) => "Transferring",
        (Some(Phase::Verify), _) => "Verifying",
        (Some(Phase::Publish), _) => "Publishing",
    }
}

/// Phases whose end nobody knows: what has been seen, and for how long.
fn looking(numbers: &Numbers, now: Duration) -> String {
    let seconds = now.saturating_sub(numbers.began).as_secs();
    let (entries, size) = numbers.scanned;
    let listed = format!("{} in the bucket", some(numbers.listed, "object"));
    let what = match numbers.phase {
        None | Some(Phase::Scan) => format!("{} here, {}; {listed}", items(entries), bytes(size)),
        Some(Phase::Verify) => listed,
        Some(Phase::Publish) => "the list of what the bucket holds".into(),
        Some(Phase::Hash | Phase::Transfer) => "…".into(),
    };
    if seconds >= 2 { format!("{what}  ({})", duration(seconds)) } else { what }
}

fn item_count(numbers: &Numbers) -> String {
    let mut text = format!("{} of {}", count(numbers.done.0), items(numbers.total.0.max(numbers.done.0)));
    if numbers.failed > 0 {
        text.push_str(&format!(", {} failed", count(numbers.failed)));
    }
    text
}

/// Bytes per second, and the time that is left.
fn speed(numbers: &Numbers, now: Duration) -> Vec<String> {
    let Some((rate, left)) = numbers.speed(now) else { return Vec::new() };
    let left = left.filter(|_| !numbers.stopping).map(|seconds| format!("{} left", duration(seconds)));
    std::iter::once(format!("{}/s", bytes(rate))).chain(left).collect()
}

/// `Uploading   42 %  [=====>     ]  1.2 of 3.4 GiB  102.3 MiB/s  21 s left`: the bar takes the room that is left for it.
fn bar(numbers: &Numbers, now: Duration, width: usize) -> String {
    let share = numbers.share();
    let head = format!("{}  {:>3.0} %", label(numbers), (share * 100.0).floor());
    let mut tail = vec![bytes_of(numbers.done.1, numbers.total.1)];
    // Padded, so that the bar does not breathe with the numbers.
    let speed = speed(numbers, now);
    tail.push(format!("{:>12}", speed.first().map_or("", String::as_str)));
    tail.push(format!("{:<13}", speed.get(1).map_or("", String::as_str)));
    let tail = tail.join("  ");
    let room = width.saturating_sub(measure_text_width(&head) + measure_text_width(&tail) + 6).min(40);
    if room < 6 {
        return fit(format!("{head}  {tail}").trim_end(), width);
    }
    let filled = (share * room as f64) as usize;
    let tip = if filled < room { ">" } else { "" };
    let bar = format!("{}{tip}", "=".repeat(filled));
    format!("{head}  [{bar:room$}]  {tail}").trim_end().to_owned()
}

/// The largest files that move now.
fn large(numbers: &Numbers, width: usize) -> Vec<String> {
    let mut files: Vec<_> = numbers.flying.iter().filter(|(_, file)| file.bytes >= LARGE).collect();
    files.sort_by_key(|(path, file)| (Reverse(file.bytes), *path));
    let line = |(path, file): (&lsync::path::RelPath, &super::numbers::Flying)| {
        let percent = file.moved.min(file.bytes) as f64 * 100.0 / file.bytes as f64;
        let head = format!("  {:>3.0} %  of {:>10}  ", percent.floor(), bytes(file.bytes));
        let name = fit(&path.to_string(), width.saturating_sub(head.len()).max(5));
        fit(&format!("{head}{name}"), width)
    };
    files.into_iter().take(LINES).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsync::event::{Ended, Event, Verb};
    use lsync::path::RelPath;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn moved(path: &str, bytes: u64) -> Event {
        Event::Moved { path: RelPath::new(path).unwrap(), bytes }
    }

    fn started(path: &str, bytes: u64) -> Event {
        Event::Started { path: RelPath::new(path).unwrap(), bytes }
    }

    fn numbers(events: &[(u64, Event)]) -> Numbers {
        let mut numbers = Numbers::new(Some(Direction::Upload));
        for (ms, event) in events {
            numbers.take(event, at(*ms));
            numbers.note(at(*ms));
        }
        numbers
    }

    fn uploading() -> Numbers {
        let long = "checkpoints/a-run-with-a-rather-long-name/and-another-directory/日本語の名前/epoch-0042/optimizer-state.pt";
        numbers(&[
            (0, Event::Phase(Phase::Transfer)),
            (0, Event::Planned { files: 12_000, bytes: 3 << 30 }),
            (0, started(long, 1 << 30)),
            (0, started("data/train.npy", 2 << 30)),
            (0, started("notes.md", 10)),
            (5000, moved(long, 700 << 20)),
            (10_000, moved("data/train.npy", 300 << 20)),
            (
                10_000,
                Event::Finished {
                    path: RelPath::new("notes.md").unwrap(),
                    verb: Verb::Upload,
                    bytes: 10,
                    outcome: Ended::Failed("x".into()),
                },
            ),
        ])
    }

    #[track_caller]
    fn fits(numbers: &Numbers) {
        for width in 30..160 {
            for line in frame(numbers, at(10_000), width) {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_transfer_on_80_and_on_120_columns() {
        let numbers = uploading();
        insta::assert_snapshot!(frame(&numbers, at(10_000), 79).join("\n"), @"
        Uploading   26 %  [===>          ]  1.0 of 3.0 GiB   100.0 MiB/s  29 s left
                   1 of 12,000 items, 1 failed
           14 %  of    2.0 GiB  data/train.npy
           68 %  of    1.0 GiB  checkpoints/a-run-with-a-ra…och-0042/optimizer-state.pt
        ");
        insta::assert_snapshot!(frame(&numbers, at(10_000), 119).join("\n"), @"
        Uploading   26 %  [==========>                             ]  1.0 of 3.0 GiB   100.0 MiB/s  29 s left
                   1 of 12,000 items, 1 failed
           14 %  of    2.0 GiB  data/train.npy
           68 %  of    1.0 GiB  checkpoints/a-run-with-a-rather-long-name/and-a…tory/日本語の名前/epoch-0042/optimizer-state.pt
        ");
        fits(&numbers);
    }

    #[test]
    fn other_phases_say_what_they_see() {
        let scan = numbers(&[
            (0, Event::Phase(Phase::Scan)),
            (1, Event::Scanned { entries: 12_345, bytes: 5 << 30 }),
            (1, Event::Listed { objects: 1 }),
        ]);
        let hash = numbers(&[
            (0, Event::Phase(Phase::Hash)),
            (0, Event::Planned { files: 2, bytes: 1 << 20 }),
            (1000, Event::Hashed { bytes: 1 << 19 }),
        ]);
        let publish = numbers(&[(0, Event::Phase(Phase::Publish))]);
        let mut stopping = uploading();
        stopping.stopping = true;
        let lines = [&scan, &hash, &publish, &stopping].map(|numbers| frame(numbers, at(10_000), 79)[0].clone());
        insta::assert_snapshot!(lines.join("\n"), @"
        Looking  12,345 items here, 5.0 GiB; 1 object in the bucket  (10 s)
        Comparing   50 %  [=======>      ]  0.5 of 1.0 MiB    51.2 KiB/s  10 s left
        Publishing  the list of what the bucket holds  (10 s)
        Stopping   26 %  [===>           ]  1.0 of 3.0 GiB   100.0 MiB/s
        ");
        [&scan, &hash, &publish].into_iter().for_each(fits);
        let lines = [&scan, &hash, &publish, &uploading()].map(|numbers| line(numbers, at(10_000)));
        insta::assert_snapshot!(lines.join("\n"), @"
        Looking: 12,345 items here, 5.0 GiB; 1 object in the bucket  (10 s)
        Comparing: 50 %, 512.0 KiB of 1.0 MiB, 51.2 KiB/s, 10 s left
        Publishing: the list of what the bucket holds  (10 s)
        Uploading: 26 %, 1000.0 MiB of 3.0 GiB, 1 of 12,000 items, 1 failed, 100.0 MiB/s, 29 s left
        ");
    }
}
