//! The numbers of a plan: one row per class, disjoint, with a remark that says what becomes of it.

use std::fmt::Write;

use console::measure_text_width;
use lsync::plan::{Class, Direction, Kept, Plan};

use super::super::text::{bytes, count, wrap};
use super::{Bounds, Page};

/// A class of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The class.
    pub word: &'static str,
    /// How loud it is.
    pub tone: Tone,
    /// How many.
    pub n: u64,
    /// Their bytes, where that says something.
    pub bytes: Option<u64>,
    /// What becomes of them.
    pub remark: String,
}

/// How loud a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As expected.
    Plain,
    /// Kept or overwritten: worth a look.
    Warn,
    /// Lost or wrong.
    Alarm,
}

/// The words of all classes, in their order.
pub(crate) const WORDS: [&str; 16] = [
    "new",
    "again",
    "changed",
    "overwritten",
    "deleted",
    "permissions",
    "unchanged",
    "deleted here",
    "left out",
    "only there",
    "protected",
    "conflicts",
    "unknown",
    "ignored",
    "skipped",
    "problems",
];

/// All rows of a plan that are not empty, in a fixed order.
pub(crate) fn rows(plan: &Plan, bounds: &Bounds) -> Vec<Row> {
    use Tone::{Alarm, Plain, Warn};
    let (source, destination, sent) = match plan.direction {
        Direction::Upload => ("mount", "bucket", "sent"),
        Direction::Download => ("bucket", "mount", "brought"),
    };
    let mut rows = Vec::new();
    let mut row = |word, tone, (n, bytes): (u64, Option<u64>), remark: String| {
        if n > 0 {
            rows.push(Row { word, tone, n, bytes, remark });
        }
    };
    let classes = [
        ("new", Plain, Class::New, String::new()),
        ("again", Plain, Class::SentAgain, format!("removed in the {destination} since; {sent} again")),
        ("changed", Plain, Class::Changed, String::new()),
        ("overwritten", Warn, Class::KindChanged, "another kind (file, link, directory)".into()),
        ("overwritten", Warn, Class::OverwriteProtected, format!("newer in the {destination} (--overwrite)")),
        ("overwritten", Warn, Class::OverwriteConflict, "changed on both sides (--overwrite)".into()),
        ("overwritten", Warn, Class::OverwriteUnknown, "perhaps equal (--overwrite)".into()),
    ];
    for (word, tone, class, remark) in classes {
        let (n, size) = plan.count(|c| c == class);
        row(word, tone, (n, Some(size)), remark);
    }
    let removed = |loses: bool| {
        let of = plan.removals.iter().filter(|r| r.loses == loses);
        of.fold((0, Some(0)), |(n, sum), r| (n + 1, sum.map(|sum| sum + r.bytes)))
    };
    row("deleted", Alarm, removed(false), format!("removed in the {source}"));
    row("deleted", Alarm, removed(true), format!("removed in the {source}, changed in the {destination} (--overwrite)"));
    row("permissions", Plain, (plan.updates() as u64, None), "only permission bits change".into());
    row("unchanged", Plain, ((plan.same.len() - plan.updates.len()) as u64, Some(plan.same_bytes)), String::new());
    let only = if bounds.delete { "kept, no proof of a removal" } else { "kept (see --delete)" };
    let deleted_here = plan.deleted_here().fold((0, 0), |(n, bytes), kept| (n + 1, bytes + kept.bytes));
    let all = sum(&plan.kept);
    let others = (all.0 - deleted_here.0, all.1.map(|bytes| bytes - deleted_here.1));
    row(
        "deleted here",
        Warn,
        (deleted_here.0, Some(deleted_here.1)),
        "still in the bucket; `lsync upload --delete` deletes them there".into(),
    );
    let left_out = plan.left_out.iter().fold((0, 0), |(n, bytes), left| (n + 1, bytes + left.bytes));
    let remark = match plan.direction {
        Direction::Upload => "deleted on another machine; downloads on new machines leave them out",
        Direction::Download => "deleted on another machine; --with-deleted downloads them",
    };
    row("left out", Plain, (left_out.0, Some(left_out.1)), remark.into());
    row("only there", Plain, others, format!("in the {destination} only: {only}"));
    let reverse = plan.direction.reverse().verb();
    row("protected", Warn, sum(&plan.protected), format!("newer in the {destination}: see `lsync {reverse}`"));
    row("conflicts", Warn, sum(&plan.conflicts), "kept on both sides until you decide".into());
    let unknown = sum(&plan.unknown);
    let read = bytes(unknown.1.unwrap_or(0));
    row("unknown", Warn, unknown, format!("kept; --compare content would read {read}"));
    row("ignored", Plain, (bounds.ignored.files, Some(bounds.ignored.bytes)), names(&bounds.ignored.names));
    row("skipped", Plain, (plan.skipped.len() as u64, None), "not carried, listed above".into());
    row("problems", Alarm, (plan.problems.len() as u64, None), "cannot be synced; kept on both sides".into());
    rows
}

fn sum(list: &[Kept]) -> (u64, Option<u64>) {
    (list.len() as u64, Some(list.iter().map(|k| k.bytes).sum()))
}

/// The first few names.
fn names(all: &[String]) -> String {
    let mut text = all.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > 4 {
        text.push_str(", …");
    }
    text
}

/// Rows in columns; remarks are broken where the page ends.
pub(super) fn table(out: &mut String, rows: &[Row], page: &Page) {
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let size = |row: &Row| row.bytes.map(bytes).unwrap_or_default();
    let (words, counts, sizes) = (width(&|r| r.word.len()), width(&|r| count(r.n).len()), width(&|r| size(r).len()));
    for row in rows {
        let numbers = format!("{:>counts$}  {:>sizes$}", count(row.n), size(row));
        let word = format!("{:words$}", row.word);
        let at = 2 + words + 2 + measure_text_width(&numbers) + 3;
        let word = match row.tone {
            Tone::Plain => word,
            Tone::Warn => page.ink.yellow(&word),
            Tone::Alarm => page.ink.red(&word),
        };
        let line = format!("  {word}  {numbers}   {}", wrap(&row.remark, page.width, at, at));
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
