//! What lsync must reach, as ratios to the best of the others in the same run, and whether it did.

use std::fmt::Write as _;

use crate::table::Group;
use crate::tools::Program;

/// What lsync is held against.
enum Against {
    /// The least of all others at the same work, for each measure by itself.
    Best,
    /// This one at the same work.
    Only(Program),
    /// lsync itself at another work.
    Itself(&'static str),
}

/// The most that a measure may be; what has none is told all the same.
struct Limit {
    work: &'static str,
    against: Against,
    wall: Option<f64>,
    cpu: Option<f64>,
    mib: Option<f64>,
    sent: Option<f64>,
    /// Requests that carry content of files.
    content: Option<f64>,
}

const NONE: Limit = Limit { work: "", against: Against::Best, wall: None, cpu: None, mib: None, sent: None, content: None };

const fn best(work: &'static str, wall: f64, cpu: f64, mib: f64) -> Limit {
    Limit { work, wall: Some(wall), cpu: Some(cpu), mib: Some(mib), ..NONE }
}

const fn wall(work: &'static str, wall: f64) -> Limit {
    Limit { work, wall: Some(wall), ..NONE }
}

const RCLONE: Against = Against::Only(Program::Rclone);
const S5CMD: Against = Against::Only(Program::S5cmd);

const LIMITS: &[Limit] = &[
    best("W1", 0.65, 0.55, 64.0),
    best("W2", 0.35, 0.25, 48.0),
    best("W3", 0.80, 0.55, 64.0),
    wall("W3d", 2.0),
    best("W4", 0.75, 0.50, 256.0),
    Limit { against: RCLONE, ..best("W5", 0.45, 0.65, 256.0) },
    Limit { against: S5CMD, mib: None, ..best("W5", 1.25, 1.40, 0.0) },
    best("W6", 0.80, 0.55, 256.0),
    Limit { against: RCLONE, ..best("W7", 0.60, 0.60, 256.0) },
    Limit { work: "W7", against: S5CMD, ..NONE },
    best("W8", 0.22, 0.18, 96.0),
    Limit { work: "W9", against: Against::Itself("W8"), cpu: Some(11.0), mib: Some(512.0), ..NONE },
    wall("W10 W1", 1.0),
    wall("W10 W2", 0.5),
    wall("W10 W3", 1.0),
    wall("W10 W8", 0.5),
    Limit { work: "W11", against: Against::Itself("W11 whole"), sent: Some(0.15), ..NONE },
    Limit { work: "W12 renamed", against: Against::Itself("W12 whole"), content: Some(0.0), ..NONE },
    Limit { work: "W12 copied", against: Against::Itself("W12 whole"), content: Some(0.0), ..NONE },
];

/// A Markdown table of what was measured, with the limit in brackets, a line for each; and whether all of it holds.
pub(crate) fn ratios<'r>(groups: &[Group<'r>]) -> (String, bool) {
    let mut out = String::from(
        "| work | lsync against | wall | CPU | memory MiB | bytes sent | requests with content | holds |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut all_hold = true;
    for limit in LIMITS {
        let own = |work: &str| groups.iter().find(|group| group.work == work && group.program == Program::Lsync);
        let Some(lsync) = own(limit.work) else { continue };
        let others: Vec<&Group<'r>> = match limit.against {
            Against::Best => groups.iter().filter(|group| group.work == limit.work && group.program != Program::Lsync).collect(),
            Against::Only(program) => groups.iter().filter(|group| group.work == limit.work && group.program == program).collect(),
            Against::Itself(work) => own(work).into_iter().collect(),
        };
        let ratio = |value: fn(&Group<'r>) -> f64| {
            let least = others.iter().filter(|group| group.wrong() == 0).map(|group| value(group)).min_by(f64::total_cmp);
            least.map_or(f64::NAN, |least| value(lsync) / least)
        };
        let mut holds = lsync.wrong() == 0;
        let mut limits = 0;
        let mut cell = |value: f64, most: Option<f64>, digits: usize| {
            let text = if value.is_nan() { "–".to_owned() } else { format!("{value:.digits$}") };
            let Some(most) = most else { return text };
            limits += 1;
            // What was not measured does not hold.
            holds &= value <= most;
            format!("{text} (≤ {most:.digits$})")
        };
        let against = match limit.against {
            Against::Best => others.iter().min_by(|a, b| a.wall_s().total_cmp(&b.wall_s())).map_or("–", |best| best.tool),
            Against::Only(_) => others.first().map_or("–", |other| other.tool),
            Against::Itself(work) => work,
        };
        let cells = [
            cell(ratio(Group::wall_s), limit.wall, 2),
            cell(ratio(Group::cpu_s), limit.cpu, 2),
            cell(lsync.mib(), limit.mib, 0),
            cell(if limit.sent.is_some() { ratio(Group::sent_mib) } else { f64::NAN }, limit.sent, 2),
            cell(if limit.content.is_some() { lsync.with_content() as f64 } else { f64::NAN }, limit.content, 0),
        ];
        all_hold &= holds;
        let verdict = match (holds, limits) {
            (true, 0) => "–",
            (true, _) => "yes",
            (false, _) => "**no**",
        };
        let _ = writeln!(out, "| {} | {against} | {} | {verdict} |", limit.work, cells.join(" | "));
    }
    (out, all_hold)
}
