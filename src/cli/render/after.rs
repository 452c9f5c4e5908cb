//! What is said after a run, above the last line: what was done, what failed, and both ways on for what was kept.

use std::fmt::Write;
use std::time::Duration;

use lsync::engine::Report;
use lsync::path::{RelPath, Shown};
use lsync::plan::{self, Direction, Kept};
use lsync::problem::Problem;

use super::super::text::{bytes, count, duration, files, fit, items, wrap};
use super::{NAMED, Page, deleted_here, left_out, problems, ways_of_keys};

/// What a report does not know.
pub(crate) struct After<'a> {
    pub page: Page,
    /// How long the run took, from the answer on; `None` leaves out what was done, for the quiet.
    pub took: Option<Duration>,
    /// Problems that the screen before the run has not shown.
    pub problems: &'a [Problem],
    /// A command that a person can type here, for a path: the verb, flags, the path.
    pub command: &'a dyn Fn(Direction, &str, &RelPath) -> String,
}

/// The text, empty when there is nothing to say.
pub(crate) fn after(report: &Report, about: &After<'_>) -> String {
    let mut out = String::new();
    if let Some(took) = about.took {
        done(&mut out, report, took, &about.page);
    }
    failures(&mut out, report, &about.page);
    problems(&mut out, about.problems, &about.page);
    let settled_by = |way| report.conflicts.iter().filter(|item| item.way == way).collect::<Vec<&Kept>>();
    undecided(&mut out, &settled_by(plan::Way::Either), "in conflict", &[UPLOAD, DOWNLOAD], about);
    let bring = &settled_by(plan::Way::Bring);
    undecided(&mut out, bring, "in conflict (published differently by two hosts)", &[BRING_ONE, PUBLISH_IT], about);
    let (what, ways) = match report.direction {
        Direction::Upload => ("in conflict (removed in the mount, changed in the bucket)", [REMOVE_THERE, BRING]),
        Direction::Download => ("in conflict (removed in the bucket, changed in the mount)", [REMOVE_HERE, SEND]),
    };
    undecided(&mut out, &settled_by(plan::Way::Removal), what, &ways, about);
    let compare = Way { verb: report.direction, flags: "--compare content", what: "reads the bucket's to compare" };
    let unknown: Vec<&Kept> = report.unknown.iter().collect();
    undecided(&mut out, &unknown, "not comparable (equal size, content not known)", &[compare, UPLOAD, DOWNLOAD], about);
    let keys = ways_of_keys(&report.keys, &about.page, about.command);
    if !keys.is_empty() {
        apart(&mut out);
        out.push_str(&keys);
    }
    protected(&mut out, report, &about.page);
    if !report.deleted_here.is_empty() {
        apart(&mut out);
        deleted_here(&mut out, &report.deleted_here, report.records_deletions && report.ended_by.is_none(), &about.page);
    }
    if !report.left_out.is_empty() {
        apart(&mut out);
        left_out(&mut out, report.direction, &report.left_out, &about.page);
    }
    if about.took.is_none() {
        vanished(&mut out, report, &about.page);
    }
    out
}

fn line(out: &mut String, text: &str, page: &Page) {
    let _ = writeln!(out, "{}", wrap(text, page.width, 0, 0));
}

/// A blank line between what is said and what was said before.
fn apart(out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
}

fn done(out: &mut String, report: &Report, took: Duration, page: &Page) {
    let counts = &report.counts;
    let moved = counts.uploaded + counts.downloaded;
    let mut parts = Vec::new();
    if moved > 0 {
        parts.push(format!("{}ed {}, {}", report.direction.verb(), items(moved), bytes(report.bytes)));
        if report.copied_bytes > 0 {
            let place = match report.direction {
                Direction::Upload => "bucket",
                Direction::Download => "mount",
            };
            parts.push(format!("copied {} in the {place}", bytes(report.copied_bytes)));
        }
    }
    if counts.deleted > 0 {
        parts.push(format!("deleted {}", items(counts.deleted)));
    }
    if counts.updated > 0 {
        parts.push(format!("set the permissions of {}", items(counts.updated)));
    }
    if parts.is_empty() {
        return;
    }
    let seconds = took.as_secs_f64();
    let rate = if report.bytes >= 1 << 20 && seconds >= 1.0 {
        format!(" ({}/s)", bytes((report.bytes as f64 / seconds) as u64))
    } else {
        String::new()
    };
    let text = format!("{} in {}{rate}.", parts.join(", "), duration(seconds.round() as u64));
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    line(out, &format!("{first}{}", chars.as_str()), page);
}

fn failures(out: &mut String, report: &Report, page: &Page) {
    if report.failures.is_empty() {
        return;
    }
    apart(out);
    let _ = writeln!(out, "{}", page.ink.red(&format!("{} failed:", items(report.counts.failed))));
    let most = if page.all { usize::MAX } else { NAMED };
    for failure in report.failures.iter().take(most) {
        let path = fit(&failure.path.to_string(), page.width.saturating_sub(3));
        let _ = writeln!(out, "  {}", wrap(&format!("{path}: {}", Shown(&failure.why)), page.width, 2, 6));
    }
    more(out, report.failures.len().saturating_sub(most));
}

fn more(out: &mut String, n: usize) {
    if n > 0 {
        let _ = writeln!(out, "  and {} more", count(n as u64));
    }
}

/// A command that settles an item.
#[derive(Clone, Copy)]
struct Way {
    verb: Direction,
    flags: &'static str,
    what: &'static str,
}

const UPLOAD: Way = Way { verb: Direction::Upload, flags: "--overwrite", what: "takes the mount's" };
const DOWNLOAD: Way = Way { verb: Direction::Download, flags: "--overwrite", what: "takes the bucket's" };
// One path of one is more than any share: the limit is said.
const REMOVE_THERE: Way = Way { verb: Direction::Upload, flags: "--delete --overwrite --max-delete=1", what: "deletes the bucket's" };
const REMOVE_HERE: Way = Way { verb: Direction::Download, flags: "--delete --overwrite --max-delete=1", what: "deletes the mount's" };
const BRING: Way = Way { verb: Direction::Download, flags: "", what: "brings the bucket's" };
// One after the other: there is nothing here that could be published yet.
const BRING_ONE: Way = Way { verb: Direction::Download, flags: "--overwrite", what: "first: brings the newest" };
const PUBLISH_IT: Way = Way { verb: Direction::Upload, flags: "--overwrite", what: "then: settles it for all" };
const SEND: Way = Way { verb: Direction::Upload, flags: "", what: "sends the mount's" };

/// Items that only a person can decide, with the commands that do.
fn undecided(out: &mut String, list: &[&Kept], what: &str, ways: &[Way], about: &After<'_>) {
    let Some(first) = list.first() else { return };
    let (n, page) = (list.len() as u64, &about.page);
    let (are, were) = if n == 1 { ("is", "was kept as it is") } else { ("are", "were kept as they are") };
    let title = format!("{} {are} {what} and {were}:", files(n));
    apart(out);
    let _ = writeln!(out, "{}", page.ink.yellow(&wrap(&title, page.width, 0, 0)));
    let most = if page.all { usize::MAX } else { NAMED };
    for item in list.iter().take(most) {
        let _ = writeln!(out, "  {}", fit(&item.path.to_string(), page.width.saturating_sub(2)));
    }
    more(out, list.len().saturating_sub(most));
    let ways: Vec<(String, &str)> = ways.iter().map(|way| ((about.command)(way.verb, way.flags, &first.path), way.what)).collect();
    let (it, each) = if n == 1 { ("it", "") } else { ("them", "for each ") };
    let of = if list.iter().all(|item| item.way == plan::Way::Bring) { "both" } else { "one" };
    let _ = writeln!(out, "To settle {it}, {each}{of} of:");
    let column = ways.iter().map(|(command, _)| console::measure_text_width(command)).max().unwrap_or(0);
    for (command, what) in &ways {
        if column + what.len() + 4 <= page.width {
            let _ = writeln!(out, "  {command}{:pad$}  {what}", "", pad = column - console::measure_text_width(command));
        } else {
            let _ = writeln!(out, "  # {what}\n  {command}");
        }
    }
}

fn protected(out: &mut String, report: &Report, page: &Page) {
    let n = report.protected.len() as u64;
    if n == 0 {
        return;
    }
    let (are, them) = if n == 1 { ("is", "it") } else { ("are", "them") };
    let (place, brings) = match report.direction {
        Direction::Upload => ("bucket", "brings"),
        Direction::Download => ("mount", "sends"),
    };
    let reverse = report.direction.reverse().verb();
    apart(out);
    line(out, &format!("{} {are} newer in the {place}; `lsync {reverse}` {brings} {them}.", files(n)), page);
}

fn vanished(out: &mut String, report: &Report, page: &Page) {
    let n = report.vanished.len() as u64;
    if n == 0 {
        return;
    }
    let (were, are) = if n == 1 { ("was", "is") } else { ("were", "are") };
    let text = format!("{} that {were} published {are} not in the bucket any more; nothing was deleted because of that.", files(n));
    apart(out);
    line(out, &text, page);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lsync::engine::{Counts, Failure, FailureKind};

    use super::super::samples::{HARD, fits, full, page, path};
    use super::*;
    use crate::cli::again;
    use crate::cli::args::Common;

    fn report(direction: Direction) -> Report {
        let plan = full(direction);
        Report {
            direction,
            counts: Counts {
                uploaded: 1205,
                deleted: 1,
                updated: 1,
                failed: 2,
                conflicts: 2,
                unknown: 1,
                protected: 7,
                ..Counts::default()
            },
            bytes: 10 << 30,
            copied_bytes: 3 << 20,
            total_bytes: 1 << 40,
            generation: Some(8),
            failures: vec![
                Failure { path: path(HARD), kind: FailureKind::Failed, why: "cannot read it: permission denied".into() },
                Failure { path: path("log.txt"), kind: FailureKind::StillWritten, why: "it is still being written".into() },
            ],
            protected: plan.protected,
            conflicts: plan.conflicts,
            unknown: plan.unknown,
            problems: plan.problems,
            skipped: plan.skipped,
            outside_links: plan.outside_links,
            deleted_here: Vec::new(),
            records_deletions: false,
            left_out: Vec::new(),
            keys: Vec::new(),
            others: Vec::new(),
            nothing_there: None,
            vanished: plan.vanished,
            kept_elsewhere: None,
            ended_by: None,
            complete: None,
        }
    }

    fn text(report: &Report, width: usize, current_dir: &str) -> String {
        let common = Common::default();
        let at = again::Here { called: "lsync", common: &common, root: Path::new("/m"), current_dir: Path::new(current_dir) };
        let command = |verb, extra: &str, path: &RelPath| again::for_path(&at, verb, extra, path);
        let took = Some(Duration::from_millis(104_400));
        after(report, &After { page: page(width), took, problems: &report.problems[1..], command: &command })
    }

    #[test]
    fn what_was_done_what_failed_and_both_ways_on() {
        let upload = report(Direction::Upload);
        let shown = text(&upload, 80, "/m/sub");
        fits(&shown, 80);
        insta::assert_snapshot!(shown, @"
        Uploaded 1,205 items, 10.0 GiB, copied 3.0 MiB in the bucket, deleted 1 item,
        set the permissions of 1 item in 2 min (98.1 MiB/s).

        2 items failed:
          checkpoints/a run with a rather long n…u{1b}[31mepoch-0042/optimizer-state.pt:
              cannot read it: permission denied
          log.txt: it is still being written

        Problems:
          a/../b: it has a `..` segment, so it cannot be a path below the mount; rename
              or remove the object in the bucket

        2 files are in conflict and were kept as they are:
          notes.md
          checkpoints/a run with a rather long na…u{1b}[31mepoch-0042/optimizer-state.pt
        To settle them, for each one of:
          lsync upload --overwrite ../notes.md    takes the mount's
          lsync download --overwrite ../notes.md  takes the bucket's

        1 file is not comparable (equal size, content not known) and was kept as it is:
          foreign.bin
        To settle it, one of:
          lsync upload --compare content ../foreign.bin  reads the bucket's to compare
          lsync upload --overwrite ../foreign.bin        takes the mount's
          lsync download --overwrite ../foreign.bin      takes the bucket's

        7 files are newer in the bucket; `lsync download` brings them.
        ");
    }

    #[test]
    fn a_single_item_is_told_in_the_singular() {
        let mut download = report(Direction::Download);
        (download.counts, download.copied_bytes) = (Counts { downloaded: 1, ..Counts::default() }, 0);
        (download.failures, download.problems) = (Vec::new(), download.problems[..1].to_vec());
        download.conflicts.truncate(1);
        download.protected.truncate(1);
        download.unknown.clear();
        insta::assert_snapshot!(text(&download, 120, "/m"), @"
        Downloaded 1 item, 10.0 GiB in 2 min (98.1 MiB/s).

        1 file is in conflict and was kept as it is:
          notes.md
        To settle it, one of:
          lsync upload --overwrite notes.md    takes the mount's
          lsync download --overwrite notes.md  takes the bucket's

        1 file is newer in the mount; `lsync upload` sends it.
        ");
    }

    #[test]
    fn what_was_removed_on_one_side_and_changed_on_the_other_has_ways_on_of_its_own() {
        for (direction, expected) in [
            (Direction::Upload, ["lsync upload --delete --overwrite --max-delete=1 a", "lsync download a"]),
            (Direction::Download, ["lsync download --delete --overwrite --max-delete=1 a", "lsync upload a"]),
        ] {
            let mut report = report(direction);
            report.conflicts = vec![Kept { path: path("a"), bytes: 1, why: "removed", way: plan::Way::Removal }];
            let shown = text(&report, 80, "/m");
            fits(&shown, 80);
            assert!(expected.iter().all(|command| shown.lines().any(|line| line.trim().starts_with(command))), "{shown}");
            assert!(shown.contains("1 file is in conflict (removed in the "), "{shown}");
        }
    }

    #[test]
    fn what_the_mount_has_nothing_of_is_brought_first() {
        let mut report = report(Direction::Upload);
        (report.failures, report.problems, report.unknown, report.protected) = (vec![], report.problems[..1].to_vec(), vec![], vec![]);
        report.counts = Counts::default();
        report.conflicts = vec![Kept { path: path("l"), bytes: 0, why: "twice", way: plan::Way::Bring }];
        insta::assert_snapshot!(text(&report, 80, "/m"), @"
        1 file is in conflict (published differently by two hosts) and was kept as it
        is:
          l
        To settle it, both of:
          lsync download --overwrite l  first: brings the newest
          lsync upload --overwrite l    then: settles it for all
        ");
    }

    #[test]
    fn nothing_is_said_when_there_is_nothing_to_say() {
        let mut quiet = report(Direction::Upload);
        quiet.counts = Counts::default();
        (quiet.failures, quiet.problems, quiet.conflicts) = (Vec::new(), quiet.problems[..1].to_vec(), Vec::new());
        (quiet.unknown, quiet.protected) = (Vec::new(), Vec::new());
        assert_eq!(text(&quiet, 80, "/m"), "");
    }
}
