//! Plans and reports as text. Pure: values in, text out; snapshot-tested.

use std::fmt::Write;

use console::style;
use lsync::engine::{Report, Sight};
use lsync::entry::Nanos;
use lsync::local::lock::clock_text;
use lsync::path::Shown;
use lsync::plan::{Class, Direction, Kept, Plan};

use super::text::{bytes, count, duration, files, fit};

/// What surrounds a plan on its screen.
pub(crate) struct Around<'a> {
    pub root: &'a str,
    pub bucket: &'a str,
    pub endpoint: &'a str,
    /// Free bytes on the mount, for a download.
    pub free: Option<u64>,
    /// `--bwlimit`, bytes per second.
    pub limit: Option<u64>,
    /// Files that hold keys travel.
    pub include_config: bool,
    /// How many bytes `--compare content` would read.
    pub comparable_bytes: u64,
    /// Columns.
    pub width: usize,
}

/// How many items of each kind a screen lists by name.
const NAMED: usize = 5;
/// Assumed for the estimate when no limit is set, bytes per second: what one instance reaches against a store in another region.
const ASSUMED_RATE: u64 = 100 << 20;

/// The screen that stands before the question.
pub(crate) fn plan(plan: &Plan, sight: &Sight, around: &Around<'_>) -> String {
    let mut out = String::new();
    ends(&mut out, plan.direction, around);
    bucket_now(&mut out, sight);
    table(&mut out, plan, sight, around);
    largest(&mut out, plan, around.width);
    for (title, list) in
        [("Protected (newer at the destination)", &plan.protected), ("Conflicts", &plan.conflicts), ("Unknown", &plan.unknown)]
    {
        named(&mut out, title, list, around.width);
    }
    skipped(&mut out, plan);
    problems(&mut out, plan.problems.iter().map(lsync::problem::Problem::line), plan.problems.len());
    losses(&mut out, plan);
    room_and_time(&mut out, plan, around);
    out
}

fn ends(out: &mut String, direction: Direction, around: &Around<'_>) {
    let bucket = format!("{} at {}", around.bucket, around.endpoint);
    let (from, to) = match direction {
        Direction::Upload => (around.root.to_owned(), bucket),
        Direction::Download => (bucket, around.root.to_owned()),
    };
    let verb = if direction == Direction::Upload { "Upload" } else { "Download" };
    let _ = writeln!(out, "{}  from  {}", style(verb).bold(), Shown(&from));
    let _ = writeln!(out, "{:>width$}  {}\n", "to", Shown(&to), width = verb.len() + 6);
}

fn bucket_now(out: &mut String, sight: &Sight) {
    let view = &sight.view;
    let last = match &sight.last_upload {
        Some(header) => format!("last upload {} by {}", clock_text(header.time), Shown(&header.host)),
        None => "never uploaded to by lsync".into(),
    };
    let _ = writeln!(out, "The bucket holds {}, {}; {last}.\n", files(view.objects), bytes(view.bytes));
}

/// A row: a word, how many, how many bytes, a remark.
fn row(out: &mut String, word: &str, n: u64, size: Option<u64>, remark: &str) {
    let size = size.map(bytes).unwrap_or_default();
    let line = format!("  {word:<13} {:>9}  {size:>10}  {remark}", count(n));
    let _ = writeln!(out, "{}", line.trim_end());
}

fn table(out: &mut String, plan: &Plan, sight: &Sight, around: &Around<'_>) {
    let (destination, source) = match plan.direction {
        Direction::Upload => ("in the bucket", "in the mount"),
        Direction::Download => ("in the mount", "in the bucket"),
    };
    let classes: [(&str, Class, String); 7] = [
        ("new", Class::New, String::new()),
        ("sent again", Class::SentAgain, format!("removed {destination} since both sides agreed")),
        ("changed", Class::Changed, String::new()),
        ("overwritten", Class::KindChanged, format!("another kind stands {destination}")),
        ("overwritten", Class::OverwriteProtected, format!("newer {destination}, replaced by --overwrite")),
        ("overwritten", Class::OverwriteConflict, "changed on both sides, replaced by --overwrite".into()),
        ("overwritten", Class::OverwriteUnknown, "not known to differ, replaced by --overwrite".into()),
    ];
    for (word, class, remark) in classes {
        let (n, size) = plan.count(|c| c == class);
        if n > 0 {
            row(out, word, n, Some(size), &remark);
        }
    }
    if !plan.removals.is_empty() {
        let size = plan.removals.iter().map(|r| r.bytes).sum();
        row(out, "deleted", plan.removals.len() as u64, Some(size), &format!("removed {source}"));
    }
    if !plan.updates.is_empty() {
        row(out, "permissions", plan.updates.len() as u64, None, "only these are carried");
    }
    let sum = |list: &[Kept]| list.iter().map(|k| k.bytes).sum();
    let unchanged = (plan.same.len() - plan.updates.len()) as u64;
    row(out, "unchanged", unchanged, Some(plan.same_bytes), "");
    if !plan.kept.is_empty() {
        row(out, "only there", plan.kept.len() as u64, Some(sum(&plan.kept)), &format!("kept {destination}"));
    }
    if !plan.protected.is_empty() {
        let reverse = plan.direction.reverse().verb();
        row(
            out,
            "protected",
            plan.protected.len() as u64,
            Some(sum(&plan.protected)),
            &format!("newer {destination}: lsync {reverse} brings them"),
        );
    }
    if !plan.conflicts.is_empty() {
        row(out, "conflicts", plan.conflicts.len() as u64, Some(sum(&plan.conflicts)), "kept on both sides");
    }
    if !plan.unknown.is_empty() {
        let remark = format!("kept; --compare content would read {}", bytes(around.comparable_bytes));
        row(out, "unknown", plan.unknown.len() as u64, Some(sum(&plan.unknown)), &remark);
    }
    if !plan.vanished.is_empty() {
        row(out, "vanished", plan.vanished.len() as u64, None, "published, and not in the bucket any more");
    }
    let ignored = ignored_remark(sight, around);
    let (n, size) = ignored_totals(plan, sight);
    if n > 0 {
        row(out, "ignored", n, Some(size), &ignored);
    }
    if !plan.skipped.is_empty() {
        row(out, "skipped", plan.skipped.len() as u64, None, "listed below");
    }
    if !plan.problems.is_empty() {
        row(out, "problems", plan.problems.len() as u64, None, "cannot be synced");
    }
    let keys_travel = match plan.direction {
        Direction::Upload => sight.local.iter().any(|(path, _)| holds_keys(path.name())),
        Direction::Download => sight.view.entries.iter().any(|(path, _)| holds_keys(path.name())),
    };
    if around.include_config && keys_travel {
        let _ = writeln!(
            out,
            "\n{} contains credentials: a configuration file travels, because include_config is set.",
            style("This run").yellow()
        );
    }
}

fn holds_keys(name: &str) -> bool {
    name == "sync.toml" || name.ends_with(".sync.toml") || name.ends_with(".sync.env")
}

fn ignored_totals(plan: &Plan, sight: &Sight) -> (u64, u64) {
    let (mut n, mut size) = (sight.ignored.files, sight.ignored.bytes);
    if plan.direction == Direction::Download {
        n += sight.view.ignored.0;
        size += sight.view.ignored.1;
    }
    (n, size)
}

fn ignored_remark(sight: &Sight, around: &Around<'_>) -> String {
    let keys = sight.ignored.keys.iter().map(|path| format!("{path} (holds keys)"));
    let mut samples: Vec<(&String, &u64)> = sight.ignored.samples.iter().collect();
    samples.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let is_key = |name: &str| sight.ignored.keys.iter().any(|k| k.as_str() == name);
    let names = samples.into_iter().filter(|(name, _)| !is_key(name)).map(|(name, _)| Shown(name).to_string());
    let all: Vec<String> = keys.chain(names).take(4).collect();
    fit(&all.join(", "), around.width.saturating_sub(40).max(20))
}

fn largest(out: &mut String, plan: &Plan, width: usize) {
    let mut items: Vec<_> = plan.transfers.iter().filter(|t| t.source.bytes() > 0).collect();
    if items.is_empty() {
        return;
    }
    items.sort_by_key(|t| std::cmp::Reverse(t.source.bytes()));
    let _ = writeln!(out, "\nLargest:");
    for t in items.iter().take(NAMED) {
        let path = fit(&t.path.to_string(), width.saturating_sub(16).max(20));
        let _ = writeln!(out, "  {:>10}  {path}", bytes(t.source.bytes()));
    }
}

fn named(out: &mut String, title: &str, list: &[Kept], width: usize) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}:", style(title).yellow());
    for item in list.iter().take(NAMED) {
        let path = fit(&item.path.to_string(), width.saturating_sub(item.why.len() + 16).max(20));
        let _ = writeln!(out, "  {:>10}  {path}: {}", bytes(item.bytes), item.why);
    }
    more(out, list.len());
}

fn more(out: &mut String, n: usize) {
    if n > NAMED {
        let _ = writeln!(out, "  … and {} more (-v lists all)", count((n - NAMED) as u64));
    }
}

/// What is skipped, by name.
fn skipped(out: &mut String, plan: &Plan) {
    if plan.skipped.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nSkipped:");
    for item in plan.skipped.iter().take(NAMED) {
        let _ = writeln!(out, "  {}: {}", item.path, item.why);
    }
    more(out, plan.skipped.len());
}

/// Problems, by name and with the line that accepts them.
fn problems(out: &mut String, lines: impl Iterator<Item = String>, n: usize) {
    if n == 0 {
        return;
    }
    let _ = writeln!(out, "\n{}:", style("Problems").red());
    for line in lines.take(NAMED) {
        let _ = writeln!(out, "  {line}");
    }
    more(out, n);
}

fn losses(out: &mut String, plan: &Plan) {
    let lost: Vec<_> = plan.transfers.iter().filter(|t| t.class.loses()).collect();
    let size: u64 = lost.iter().map(|t| t.replaced_bytes).sum();
    match plan.direction {
        Direction::Upload if !lost.is_empty() => {
            let _ = writeln!(
                out,
                "\n{} replaces {}, {}, in the bucket that nothing proves superseded. Copies are kept under .lsync/history/\nwhere the store can copy; where it cannot, this cannot be undone.",
                style("--overwrite").yellow(),
                files(lost.len() as u64),
                bytes(size)
            );
        }
        Direction::Download if plan.transfers.iter().any(|t| t.replaced_bytes > 0) || !plan.removals.is_empty() => {
            let _ = writeln!(out, "\nWhat is replaced or deleted here goes to .lsync/trash/.");
        }
        Direction::Upload if !plan.removals.is_empty() => {
            let _ = writeln!(out, "\nWhat is deleted in the bucket cannot be brought back, unless the bucket keeps versions.");
        }
        _ => {}
    }
}

fn room_and_time(out: &mut String, plan: &Plan, around: &Around<'_>) {
    let size = plan.transfer_bytes();
    if size == 0 {
        return;
    }
    let (rate, by) = match around.limit {
        Some(limit) => (limit, "--bwlimit"),
        None => (ASSUMED_RATE, "if the network gives it"),
    };
    let items = plan.transfers.len() as u64;
    let seconds = size / rate.max(1) + items / 500;
    let _ = write!(out, "\nAbout {} at {}/s ({by}).", duration(seconds), bytes(rate));
    if let Some(free) = around.free {
        let _ = write!(out, " The mount has {} free.", bytes(free));
    }
    out.push('\n');
}

/// Every item by name, for `-v`.
pub(crate) fn every_item(plan: &Plan) -> String {
    let mut out = String::from("\n");
    for t in &plan.transfers {
        let _ = writeln!(out, "  {:>10}  {} {} ({:?})", bytes(t.source.bytes()), plan.direction.verb(), t.path, t.class);
    }
    for r in &plan.removals {
        let _ = writeln!(out, "  {:>10}  delete {}", bytes(r.bytes), r.path);
    }
    for u in &plan.updates {
        let _ = writeln!(out, "  {:>10}  permissions {:o} {}", "", u.mode, u.path);
    }
    for k in plan.protected.iter().chain(&plan.conflicts).chain(&plan.unknown).chain(&plan.kept) {
        let _ = writeln!(out, "  {:>10}  keep {} ({})", bytes(k.bytes), k.path, k.why);
    }
    for s in plan.skipped.iter().skip(NAMED) {
        let _ = writeln!(out, "  {:>10}  skip {} ({})", "", s.path, s.why);
    }
    for p in plan.problems.iter().skip(NAMED) {
        let _ = writeln!(out, "  {:>10}  problem {}", "", p.line());
    }
    out
}

/// The question itself, without the answer's marks.
pub(crate) fn question(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if !plan.transfers.is_empty() {
        parts.push(format!("{} {}, {}", plan.direction.verb(), items(plan.transfers.len()), bytes(plan.transfer_bytes())));
    }
    if !plan.removals.is_empty() {
        parts.push(format!("DELETE {}", items(plan.removals.len())));
    }
    if !plan.updates.is_empty() {
        parts.push(format!("set permissions of {}", items(plan.updates.len())));
    }
    let text = parts.join(" and ");
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}?", chars.as_str())
}

fn items(n: usize) -> String {
    format!("{} {}", count(n as u64), if n == 1 { "item" } else { "items" })
}

/// What is said after a run, above the last line: failures, and both ways on for what was kept.
pub(crate) fn after(report: &Report, width: usize, all: bool) -> String {
    let mut out = String::new();
    let most = if all { usize::MAX } else { NAMED };
    if !report.failures.is_empty() {
        let _ = writeln!(out, "{}:", style("Failed").red());
        for failure in report.failures.iter().take(most) {
            let _ = writeln!(out, "  {}: {}", failure.path, Shown(&failure.why));
        }
        if !all {
            more(&mut out, report.failures.len());
        }
    }
    if !report.problems.is_empty() {
        let _ = writeln!(out, "{}:", style("Cannot be synced").red());
        for problem in report.problems.iter().take(most) {
            let _ = writeln!(out, "  {}", problem.line());
        }
        if !all {
            more(&mut out, report.problems.len());
        }
    }
    let verb = report.direction.verb();
    let reverse = report.direction.reverse().verb();
    for (list, word) in [(&report.conflicts, "in conflict"), (&report.unknown, "not comparable")] {
        if let Some(first) = list.first() {
            let path = fit(&first.path.to_string(), width.saturating_sub(30).max(20));
            let _ = writeln!(out, "{} {word}, kept on both sides. For each, one of:", files(list.len() as u64));
            let word = super::text::shell_word(&path);
            let (here, there) = if report.direction == Direction::Upload { (verb, reverse) } else { (reverse, verb) };
            let _ = writeln!(out, "  lsync {here} --overwrite {word}     takes the mount's");
            let _ = writeln!(out, "  lsync {there} --overwrite {word}   takes the bucket's");
        }
    }
    if !report.protected.is_empty() {
        let n = report.protected.len() as u64;
        let (are, place) = (if n == 1 { "is" } else { "are" }, if report.direction == Direction::Upload { "bucket" } else { "mount" });
        let brings = if report.direction == Direction::Upload { "brings" } else { "sends" };
        let _ =
            writeln!(out, "{} {are} newer in the {place}; `lsync {reverse}` {brings} {}.", files(n), if n == 1 { "it" } else { "them" });
    }
    if !report.vanished.is_empty() {
        let _ = writeln!(
            out,
            "{} that the published manifest has {} no longer in the bucket; nothing was deleted because of that.",
            files(report.vanished.len() as u64),
            if report.vanished.len() == 1 { "is" } else { "are" }
        );
    }
    out
}

/// When something happened, for status.
pub(crate) fn when(time: Nanos) -> String {
    clock_text(time)
}
