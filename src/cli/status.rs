//! `lsync status`: both directions in one look. Never writes to the bucket, asks nothing.

use std::cmp::Reverse;
use std::fmt::Write;
use std::time::Instant;

use lsync::engine::{self, Sight};
use lsync::event::Event;
use lsync::local::state::LastRun;
use lsync::manifest::Header;
use lsync::path::Shown;
use lsync::plan::{Direction, Kept, Plan};
use lsync::problem::Problem;
use serde_json::{Value, json};

use super::args::{Check, Flags, StatusArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::render::{self, Around, Bounds, Ignored, Page, Row, WORDS};
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{bytes, count, files, fit, items, when, wrap};
use super::{json, output};

/// Runs the command.
pub(crate) fn run(args: &StatusArgs, flags: Flags, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    block_on(async {
        let session = Session::open(flags, &args.paths, env, None).await?;
        let looked = engine::look(&session.ends, &session.ask).await;
        session.bars.clear();
        let sight = match (looked, session.signal.exit()) {
            (Err(_), Some(exit)) => return Err(Failure::new(exit, "interrupted")),
            (looked, _) => looked?,
        };
        let mut up = sight.plan(Direction::Upload, session.choices);
        up.limit_deletions(session.max_delete);
        let down = sight.plan(Direction::Download, session.choices);
        let meant = session.choices.any_links;
        let exit = check(args.check, &up, &down, meant);
        if session.flags.common.json {
            let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if is_refused(&up) {
                (session.ends.observer)(Event::Warning(EMPTY_MOUNT.into()));
            }
            for line in lines(&up, &down) {
                output::line(&line.to_string())?;
            }
            output::line(&summary(&sight, &up, &down, exit, elapsed).to_string())?;
        } else if !session.flags.common.quiet {
            let status = Status {
                around: session.around(&sight),
                up: (&up, &session.bounds(&sight, Direction::Upload)),
                down: (&down, &session.bounds(&sight, Direction::Download)),
                last_run: sight.state.last.as_ref(),
                links_are_meant: meant,
            };
            output::print(&screen(&status, &session.page(true)))?;
        } else {
            let ignored = (session.ignored(&sight, Direction::Upload), session.ignored(&sight, Direction::Download));
            output::line(&verdict(&up, &down, (&ignored.0, &ignored.1), meant))?;
        }
        Ok(exit)
    })
}

/// 10 when the direction has something to send, a conflict or a problem, or when an upload leaves behind what links point to.
fn check(which: Option<Check>, up: &Plan, down: &Plan, links_are_meant: bool) -> Exit {
    let waits = |plan: &Plan| !plan.conflicts.is_empty() || !plan.unknown.is_empty() || !plan.problems.is_empty();
    let leaves = |plan: &Plan| plan.direction == Direction::Upload && !plan.outside_links.is_empty() && !links_are_meant;
    let pending = |plan: &Plan| {
        !plan.is_empty() || plan.nothing_there.is_some() || !plan.keys.is_empty() || waits(plan) || is_refused(plan) || leaves(plan)
    };
    let found = match which {
        None => false,
        Some(Check::Upload) => pending(up),
        Some(Check::Download) => pending(down),
        Some(Check::Any) => pending(up) || pending(down),
    };
    if found { Exit::Pending } else { Exit::Done }
}

/// An upload from a mount without any entry; a download from an empty bucket has nothing to bring.
fn is_refused(plan: &Plan) -> bool {
    plan.direction == Direction::Upload && plan.source_is_void()
}

/// What a refused upload is told of.
const EMPTY_MOUNT: &str = "the mount has no entry at all, so an upload is refused: is it mounted?";

/// What the screen tells.
struct Status<'a> {
    around: Around,
    up: (&'a Plan, &'a Bounds),
    down: (&'a Plan, &'a Bounds),
    last_run: Option<&'a LastRun>,
    /// `links = "any"`.
    links_are_meant: bool,
}

/// How many items of each kind the screen lists by name.
const NAMED: usize = 5;

fn screen(status: &Status<'_>, page: &Page) -> String {
    let (up, down) = (status.up.0, status.down.0);
    let mut out = String::new();
    head(&mut out, status, page);
    largest(&mut out, up, down, page);
    render::kept(&mut out, "Conflicts", page, &up.conflicts);
    render::kept(&mut out, "Unknown", page, &up.unknown);
    render::kept(&mut out, "Protected", page, &up.protected);
    render::kept(&mut out, "Protected", page, &down.protected);
    render::skipped(&mut out, &up.skipped, page);
    render::outside_links(&mut out, &up.outside_links, page);
    render::problems(&mut out, &union(up, down), page);
    out.push('\n');
    table(&mut out, &render::rows(up, status.up.1), &render::rows(down, status.down.1));
    let vanished = up.vanished.len() as u64;
    if vanished > 0 {
        let are = if vanished == 1 { "was published and is" } else { "were published and are" };
        let text = format!("{} {are} not in the bucket any more: {}.", files(vanished), render::names(&up.vanished));
        let _ = writeln!(out, "\n{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
    }
    let deleted_here: Vec<_> = up.deleted_here().map(|kept| kept.path.clone()).collect();
    if !deleted_here.is_empty() {
        out.push('\n');
        render::deleted_here(&mut out, &deleted_here, up.records_deletions, page);
    }
    if !down.left_out.is_empty() {
        out.push('\n');
        render::left_out(&mut out, Direction::Download, &down.left_out, page);
    }
    if !up.left_out.is_empty() {
        out.push('\n');
        render::left_out(&mut out, Direction::Upload, &up.left_out, page);
    }
    render::keys(&mut out, &up.keys, page);
    render::regenerable(&mut out, &up.regenerable, page);
    render::others(&mut out, &up.others, page);
    let _ = writeln!(
        out,
        "\n{}",
        page.ink.bold(&wrap(&verdict(up, down, (&status.up.1.ignored, &status.down.1.ignored), status.links_are_meant), page.width, 0, 0))
    );
    out
}

fn head(out: &mut String, status: &Status<'_>, page: &Page) {
    let around = &status.around;
    let mut row = |word: &str, text: &str| {
        let _ = writeln!(out, "{word:<11}{}", wrap(text, page.width, 11, 11));
    };
    row("Mount", &Shown(&around.root).to_string());
    row("Bucket", &Shown(&around.bucket).to_string());
    row("Endpoint", &Shown(&around.endpoint).to_string());
    if !around.scope.is_empty() {
        row("Only", &render::names(&around.scope));
    }
    let (objects, size) = around.holds;
    let there = if around.scope.is_empty() { "" } else { " of that" };
    let last = around.last_upload.as_ref().map(|(time, host)| format!("; last upload {}, by {}", when(*time, around.now), Shown(host)));
    let noun = if objects == 1 { "object" } else { "objects" };
    row("Holds", &format!("{} {noun}{there}, {}{}", count(objects), bytes(size), last.unwrap_or_default()));
    let synced = match status.last_run {
        Some(run) => {
            format!("{} {}, on {}, generation {}", run.command, when(run.time, around.now), Shown(&run.host), run.generation)
        }
        None => "this mount was never synced with this bucket".into(),
    };
    row("Last sync", &synced);
}

/// The classes of both directions side by side, a line each.
fn table(out: &mut String, up: &[Row], down: &[Row]) {
    let sum = |rows: &[Row], word: &str| {
        let of: Vec<&Row> = rows.iter().filter(|row| row.word == word).collect();
        let size = of.iter().filter_map(|row| row.bytes).reduce(|a, b| a + b);
        (of.iter().map(|row| row.n).sum::<u64>(), size)
    };
    let cell = |(n, size): (u64, Option<u64>)| match n {
        0 => format!("{:>9}  {:>10}", "-", ""),
        n => format!("{:>9}  {:>10}", count(n), size.map(bytes).unwrap_or_default()),
    };
    let lines: Vec<_> = WORDS.iter().map(|word| (word, sum(up, word), sum(down, word))).filter(|(_, a, b)| a.0 + b.0 > 0).collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "{:<13}{:>23}{:>25}", "", "to upload", "to download");
    }
    for (word, up, down) in lines {
        let _ = writeln!(out, "{}", format!("  {word:<13}{}    {}", cell(up), cell(down)).trim_end());
    }
}

fn largest(out: &mut String, up: &Plan, down: &Plan, page: &Page) {
    let mut all: Vec<_> = up.transfers.iter().map(|t| (Direction::Upload, t)).collect();
    all.extend(down.transfers.iter().map(|t| (Direction::Download, t)));
    all.retain(|(_, t)| page.all || t.source.bytes() > 0);
    all.sort_by_key(|(_, t)| Reverse(t.source.bytes()));
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nLargest:");
    for (direction, t) in all.iter().take(if page.all { usize::MAX } else { NAMED }) {
        let path = fit(&t.path.to_string(), page.width.saturating_sub(24));
        let _ = writeln!(out, "  {:>10}  {:<8}  {path}", bytes(t.source.bytes()), direction.verb());
    }
}

/// Problems of both directions, each once.
fn union(up: &Plan, down: &Plan) -> Vec<Problem> {
    let mut all = up.problems.clone();
    all.extend(down.problems.iter().filter(|p| !up.problems.contains(p)).cloned());
    all
}

/// True when nothing would move and nothing waits.
fn in_sync(up: &Plan, down: &Plan) -> bool {
    let nothing_waits = up.conflicts.is_empty() && up.unknown.is_empty() && union(up, down).is_empty();
    up.is_empty() && down.is_empty() && nothing_waits && !is_refused(up) && down.nothing_there.is_none() && up.keys.is_empty()
}

/// Both directions in one line, the last of the screen.
fn verdict(up: &Plan, down: &Plan, ignored: (&Ignored, &Ignored), links_are_meant: bool) -> String {
    let behind = if links_are_meant { String::new() } else { render::outside_sentence(&up.outside_links) };
    if in_sync(up, down) {
        let deleted = match down.left_out.len() as u64 {
            0 => String::new(),
            1 => "; 1 file that was deleted elsewhere is left out".into(),
            n => format!("; {} that were deleted elsewhere are left out", files(n)),
        };
        return format!("in sync: both sides hold the same{}{deleted}{behind}", left_out(ignored.0, ignored.1));
    }
    let moves = |plan: &Plan| (plan.transfers.len() + plan.removals.len() + plan.leftovers.len() + plan.updates()) as u64;
    let waiting = (up.conflicts.len() + up.unknown.len()) as u64;
    let parts = [
        (moves(up), "to upload"),
        (u64::from(up.owed), "sent and not published: upload again"),
        (up.new_deletions().len() as u64, "deleted here (the next upload records this)"),
        (up.restored.len() as u64, "recorded as deleted, but here again"),
        (moves(down), "to download"),
        (waiting, if waiting == 1 { "waits for your decision" } else { "wait for your decision" }),
        (union(up, down).len() as u64, "cannot be synced"),
        (up.keys.len() as u64, if up.keys.len() == 1 { "may hold keys and waits" } else { "may hold keys and wait" }),
    ];
    let mut parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", items(*n))).collect();
    parts.extend(is_refused(up).then(|| EMPTY_MOUNT.into()));
    parts.extend(down.nothing_there.as_ref().map(ToString::to_string));
    format!("not in sync: {}{behind}", parts.join(", "))
}

/// What exists beside what is the same, because patterns leave it out.
fn left_out(here: &Ignored, there: &Ignored) -> String {
    let told = |ignored: &Ignored, place: &str| {
        (ignored.files > 0).then(|| format!("{} ({}) {place}", files(ignored.files), bytes(ignored.bytes)))
    };
    let parts: Vec<String> = told(here, "here").into_iter().chain(told(there, "in the bucket")).collect();
    match parts.len() {
        0 => String::new(),
        _ => format!("; {} {} ignored", parts.join(" and "), if here.files + there.files == 1 { "is" } else { "are" }),
    }
}

/// What waits for a person, and what is kept, a line each.
fn lines(up: &Plan, down: &Plan) -> Vec<Value> {
    let kept = |state: &'static str, list: &[Kept]| list.iter().map(|item| json::kept(state, item)).collect::<Vec<_>>();
    let mut lines = kept("conflict", &up.conflicts);
    lines.extend(kept("unknown", &up.unknown));
    lines.extend(kept("protected", &up.protected));
    lines.extend(kept("protected", &down.protected));
    lines.extend(up.vanished.iter().map(json::vanished));
    lines.extend(up.skipped.iter().map(json::skipped));
    lines.extend(up.outside_links.iter().map(json::outside_link));
    lines.extend(down.left_out.iter().map(json::left_out));
    lines.extend(up.keys.iter().map(|(key, _)| json::keys(key)));
    lines.extend(up.regenerable.iter().map(json::regenerable));
    lines.extend(up.others.iter().map(json::other_directory));
    lines.extend(union(up, down).iter().map(json::problem));
    lines
}

/// The last line.
fn summary(sight: &Sight, up: &Plan, down: &Plan, exit: Exit, elapsed_ms: u64) -> Value {
    let run = |run: &LastRun| json!({ "command": run.command, "host": run.host, "time_ns": run.time, "generation": run.generation });
    let upload = |h: &Header| json!({ "host": h.host, "time_ns": h.time, "files": h.files, "bytes": h.bytes });
    let (ignored, ignored_bytes) = sight.ignored_at_source(Direction::Upload);
    let (there, there_bytes) = sight.ignored_at_source(Direction::Download);
    json!({
        "v": 1, "type": "summary", "command": "status", "exit": exit.code(), "complete": in_sync(up, down), "elapsed_ms": elapsed_ms,
        "generation": (sight.state.generation > 0).then_some(sight.state.generation),
        "upload": json::would(up), "download": json::would(down), "unchanged": up.same.len() - up.updates.len(), "unchanged_bytes": up.same_bytes,
        "ignored": ignored, "ignored_bytes": ignored_bytes,
        "ignored_in_bucket": there, "ignored_in_bucket_bytes": there_bytes, "skipped": up.skipped.len(), "outside_links": up.outside_links.len(), "deleted_here": up.deleted_here().count(), "deleted_kept": down.left_out.len(), "other_directories": up.others.len(), "keys": up.keys.len(), "vanished": up.vanished.len(),
        "elsewhere": down.nothing_there.as_ref().map(|nothing| &nothing.elsewhere),
        "objects": sight.view.objects, "object_bytes": sight.view.bytes,
        "last_run": sight.state.last.as_ref().map(run), "last_upload": sight.last_upload.as_ref().map(upload),
    })
}

#[cfg(test)]
mod tests {
    use lsync::plan::Class;

    use super::super::render::samples::{around, bounds, fits, full, page, path, transfer};
    use super::*;

    fn shown(up: &Plan, down: &Plan, last_run: Option<&LastRun>, width: usize) -> String {
        let bounds = bounds();
        let status = Status { around: around(), up: (up, &bounds), down: (down, &bounds), last_run, links_are_meant: false };
        let text = screen(&status, &page(width));
        fits(&text, width);
        text
    }

    #[test]
    fn both_directions_in_one_look() {
        let time = around().now - 3 * 86_400_000_000_000;
        let run = LastRun { command: "upload".into(), host: "gpu-h100-2".into(), time, generation: 7 };
        insta::assert_snapshot!(shown(&full(Direction::Upload), &full(Direction::Download), Some(&run), 80), @"
        Mount      /lambda/nfs/research
        Bucket     s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
        Endpoint   https://files.us-east-2.lambda.ai
        Holds      12,345 objects, 1.2 TiB; last upload 2026-09-21 11:10:00 UTC (3 h
                   ago), by gpu-a100-1
        Last sync  upload 2026-09-18 14:13:20 UTC (3 days ago), on gpu-h100-2,
                   generation 7

        Largest:
             5.0 GiB  upload    checkpoints/a run with a rat…och-0042/optimizer-state.pt
             5.0 GiB  download  checkpoints/a run with a rat…och-0042/optimizer-state.pt
             4.0 MiB  upload    data/part-0000.npy
             4.0 MiB  upload    data/part-0001.npy
             4.0 MiB  upload    data/part-0002.npy

        Conflicts:
             2.0 KiB  notes.md  (changed on both sides)
             2.0 KiB  checkpoints/a ru…imizer-state.pt  (different, and never agreed on)

        Unknown (equal size, and nothing tells about the content):
             6.0 GiB  foreign.bin

        Protected (newer in the bucket):
              1000 B  newer/0
              1000 B  newer/1
              1000 B  newer/2
              1000 B  newer/3
              1000 B  newer/4
                      and 2 more (-v names all)

        Protected (newer in the mount):
              1000 B  newer/0
              1000 B  newer/1
              1000 B  newer/2
              1000 B  newer/3
              1000 B  newer/4
                      and 2 more (-v names all)

        Skipped:
          run/socket: a socket

        Problems:
          caf�.txt: its name is not UTF-8 (to leave it out: --exclude '/caf?.txt')
          a/../b: it has a `..` segment, so it cannot be a path below the mount; rename
              or remove the object in the bucket

                                   to upload              to download
          new              1,201     9.7 GiB        1,201     9.7 GiB
          again                1        10 B            1        10 B
          changed              1     3.0 MiB            1     3.0 MiB
          overwritten          4     3.0 MiB            4     3.0 MiB
          deleted              2    10.0 GiB            2    10.0 GiB
          permissions          1                        1
          unchanged    1,000,000     1.0 TiB    1,000,000     1.0 TiB
          deleted here         1         5 B            1         5 B
          only there           1         5 B            1         5 B
          protected            7     6.8 KiB            7     6.8 KiB
          conflicts            2     4.0 KiB            2     4.0 KiB
          unknown              1     6.0 GiB            1     6.0 GiB
          skipped              1                        1
          problems             2                        2

        1 file was published and is not in the bucket any more: gone.txt.

        1 file that you deleted here is still in the bucket, and a download on another
        machine restores it: theirs2. `lsync upload --delete` deletes it there.

        not in sync: 1,210 items to upload, 1,210 items to download, 3 items wait for
        your decision, 2 items cannot be synced
        ");
        shown(&full(Direction::Upload), &full(Direction::Download), Some(&run), 120);
    }

    #[test]
    fn in_sync_is_short() {
        let (mut up, mut down) = (Plan::empty(Direction::Upload), Plan::empty(Direction::Download));
        (up.same, down.same) = (vec![path("a")], vec![path("a")]);
        insta::assert_snapshot!(shown(&up, &down, None, 80), @"
        Mount      /lambda/nfs/research
        Bucket     s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
        Endpoint   https://files.us-east-2.lambda.ai
        Holds      12,345 objects, 1.2 TiB; last upload 2026-09-21 11:10:00 UTC (3 h
                   ago), by gpu-a100-1
        Last sync  this mount was never synced with this bucket

                                   to upload              to download
          unchanged            1         0 B            1         0 B

        in sync: both sides hold the same
        ");
    }

    #[test]
    fn in_sync_tells_what_is_ignored() {
        let (up, down) = (Plan::empty(Direction::Upload), Plan::empty(Direction::Download));
        let check = |here: (u64, u64), there: (u64, u64), expected: &str| {
            let ignored = |(files, bytes)| Ignored { files, bytes, names: Vec::new() };
            assert_eq!(
                verdict(&up, &down, (&ignored(here), &ignored(there)), false),
                format!("in sync: both sides hold the same{expected}")
            );
        };
        check((0, 0), (0, 0), "");
        check((1, 9), (0, 0), "; 1 file (9 B) here is ignored");
        check((300, 1_258_291), (0, 0), "; 300 files (1.2 MiB) here are ignored");
        check((0, 0), (2, 4), "; 2 files (4 B) in the bucket are ignored");
        check((300, 1_258_291), (1, 4), "; 300 files (1.2 MiB) here and 1 file (4 B) in the bucket are ignored");
    }

    #[test]
    fn check_asks_about_one_direction_or_both() {
        let (mut up, down) = (Plan::empty(Direction::Upload), Plan::empty(Direction::Download));
        up.transfers = vec![transfer("a", 1, Class::New, 0)];
        let check = |which, expected| assert_eq!(check(which, &up, &down, false), expected, "{which:?}");
        check(None, Exit::Done);
        check(Some(Check::Upload), Exit::Pending);
        check(Some(Check::Download), Exit::Done);
        check(Some(Check::Any), Exit::Pending);
    }

    #[test]
    fn every_line_of_json_is_as_documented() {
        let (up, down) = (full(Direction::Upload), full(Direction::Download));
        let types: Vec<String> = lines(&up, &down).iter().map(|line| format!("{} {}", line["type"], line["path"])).collect();
        assert_eq!((types.len(), types[0].as_str()), (21, "\"kept\" \"notes.md\""), "{types:?}");
    }
}
