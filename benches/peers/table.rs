//! Rows as tables: medians for people, everything for a spreadsheet. Knows no limits.

use std::fmt::Write as _;

use crate::runs::Row;
use crate::tools::Program;

/// The runs of one tool at one work.
pub(crate) struct Group<'r> {
    pub(crate) work: &'static str,
    pub(crate) tool: &'r str,
    pub(crate) program: Program,
    rows: Vec<&'r Row>,
}

/// Work by work, in the order in which works and tools came.
pub(crate) fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| group.work == row.work && group.tool == row.tool) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { work: row.work, tool: &row.tool, program: row.program, rows: vec![row] }),
        }
    }
    groups.sort_by_key(|group| rows.iter().position(|row| row.work == group.work));
    groups
}

impl Group<'_> {
    fn sorted(&self, value: impl Fn(&Row) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.rows.iter().map(|row| value(row)).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, value: impl Fn(&Row) -> f64) -> f64 {
        let values = self.sorted(value);
        let middle = values.len() / 2;
        match values.len() % 2 {
            _ if values.is_empty() => f64::NAN,
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        }
    }

    pub(crate) fn wall_s(&self) -> f64 {
        self.median(|row| row.sample.wall_s)
    }

    pub(crate) fn cpu_s(&self) -> f64 {
        self.median(|row| row.sample.cpu_s())
    }

    /// The most of all runs.
    pub(crate) fn mib(&self) -> f64 {
        self.sorted(|row| row.sample.rss_mib).last().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn sent_mib(&self) -> f64 {
        self.median(|row| row.asked.sent_bytes as f64) / f64::from(1 << 20)
    }

    /// The most of all runs.
    pub(crate) fn with_content(&self) -> usize {
        self.rows.iter().map(|row| row.asked.with_content).max().unwrap_or(0)
    }

    /// How many of its runs do not count.
    pub(crate) fn wrong(&self) -> usize {
        self.rows.iter().filter(|row| row.wrong.is_some()).count()
    }
}

/// A Markdown table, a line for each group.
pub(crate) fn medians(groups: &[Group<'_>]) -> String {
    let mut out = String::from(
        "| work | tool | wall s: median (min–max) | CPU s | memory MiB | requests | sent MiB | server CPU s |\n|---|---|---|---|---|---|---|---|\n",
    );
    for group in groups {
        let walls = group.sorted(|row| row.sample.wall_s);
        let range = walls.first().zip(walls.last()).map_or_else(String::new, |(least, most)| format!("{least:.2}–{most:.2}"));
        let failed = if group.wrong() > 0 { format!(" ({} of {} failed)", group.wrong(), walls.len()) } else { String::new() };
        let _ = writeln!(
            out,
            "| {} | {}{failed} | {:.2} ({range}) | {:.2} | {:.0} | {:.0} | {:.1} | {:.2} |",
            group.work,
            group.tool,
            group.wall_s(),
            group.cpu_s(),
            group.mib(),
            group.median(|row| row.asked.requests() as f64),
            group.sent_mib(),
            group.median(|row| row.asked.cpu_s),
        );
    }
    out
}

/// Every run, tab-separated.
pub(crate) fn tsv(rows: &[Row]) -> String {
    let mut out =
        String::from("round\twork\ttool\twall_s\tuser_s\tsys_s\trss_mib\texit\tserver_cpu_s\trequests\tsent_bytes\toperations\twrong\n");
    for row in rows {
        let operations: Vec<String> = row.asked.counts.iter().map(|(operation, count)| format!("{operation}={count}")).collect();
        let _ = writeln!(
            out,
            "{}\t{}\t{}\t{:.4}\t{:.4}\t{:.4}\t{:.1}\t{}\t{:.2}\t{}\t{}\t{}\t{}",
            row.round,
            row.work,
            row.tool,
            row.sample.wall_s,
            row.sample.user_s,
            row.sample.sys_s,
            row.sample.rss_mib,
            row.sample.exit,
            row.asked.cpu_s,
            row.asked.requests(),
            row.asked.sent_bytes,
            operations.join(","),
            row.wrong.as_deref().unwrap_or_default(),
        );
    }
    out
}
