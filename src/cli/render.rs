//! Plans and reports as text. Pure: values in, text out; snapshot-tested. Every line fits the width, except single words that do not.

mod after;
mod deleted_here;
mod keys;
mod links;
mod losses;
mod rows;
#[cfg(test)]
pub(in crate::cli) mod samples;

use std::cmp::Reverse;
use std::fmt::Write;

use console::measure_text_width;
use lsync::entry::Nanos;
use lsync::local::place::TrashLimits;
use lsync::path::{RelPath, Shown};
use lsync::plan::{Class, Direction, Kept, OtherDirectory, Plan};
use lsync::problem::{Problem, Skipped};

use super::ink::Ink;
use super::text::{bytes, count, duration, files, fit, items, shell_word, some, when, wrap};

pub(crate) use after::{After, after};
pub(crate) use deleted_here::{deleted_here, left_out};
pub(crate) use keys::{keys, keys_question, regenerable, ways_of_keys};
pub(crate) use links::{outside_links, outside_sentence};
use losses::losses;
pub(crate) use rows::{Row, WORDS, rows};

/// What a text is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Columns; `usize::MAX` where nothing has to be broken or cut.
    pub width: usize,
    /// Colours.
    pub ink: Ink,
    /// Everything by name, not only the first few.
    pub all: bool,
}

/// Both ends and what is known about them, for the head of a screen.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    /// The mount.
    pub root: String,
    /// The bucket's URL.
    pub bucket: String,
    /// Where the bucket is reached.
    pub endpoint: String,
    /// The PATHs that narrow the run; none: everything.
    pub scope: Vec<RelPath>,
    /// Objects in the bucket, and their bytes.
    pub holds: (u64, u64),
    /// When and by which host the bucket was last uploaded to.
    pub last_upload: Option<(Nanos, String)>,
    /// This host's clock.
    pub now: Nanos,
}

/// What surrounds one direction's plan.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// What patterns leave out of the source.
    pub ignored: Ignored,
    /// Free bytes on the mount, for a download.
    pub free: Option<u64>,
    /// `--bwlimit`, bytes per second.
    pub limit: Option<u64>,
    /// `--delete`.
    pub delete: bool,
    /// How long what a download replaces is kept.
    pub trash: TrashLimits,
    /// Files that hold keys and travel all the same (`include_config`).
    pub keys: Vec<String>,
}

/// What patterns leave out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    pub files: u64,
    pub bytes: u64,
    /// The topmost paths, files that hold keys first, then the largest.
    pub names: Vec<String>,
}

/// How many items of each kind a screen lists by name.
const NAMED: usize = 5;
/// Assumed for the estimate when no limit is set, bytes per second: what one instance reaches against a store in another region.
const ASSUMED_RATE: u64 = 100 << 20;
/// And so many items per second, however small.
const ASSUMED_ITEMS: u64 = 500;
/// Where names begin below a title: behind the bytes.
const NAMES_AT: usize = 14;

/// The screen that stands before the question: what is named first, the numbers last, next to the question.
pub(crate) fn plan(plan: &Plan, around: &Around, bounds: &Bounds, page: &Page) -> String {
    let mut out = String::new();
    ends(&mut out, plan.direction, around, page);
    if !plan.is_empty() {
        bucket_now(&mut out, around, page);
    }
    moving(&mut out, plan, page);
    kept(&mut out, "Protected", page, &plan.protected);
    kept(&mut out, "Conflicts", page, &plan.conflicts);
    kept(&mut out, "Unknown", page, &plan.unknown);
    if page.all {
        kept(&mut out, "Only there", page, &plan.kept);
    }
    skipped(&mut out, &plan.skipped, page);
    outside_links(&mut out, &plan.outside_links, page);
    keys(&mut out, &plan.keys, page);
    regenerable(&mut out, &plan.regenerable, page);
    problems(&mut out, &plan.problems, page);
    out.push('\n');
    if plan.is_empty() {
        let _ = writeln!(out, "There is nothing to {}.\n", plan.direction.verb());
    }
    rows::table(&mut out, &rows(plan, bounds), page);
    warnings(&mut out, plan, bounds, page);
    if !plan.is_empty() {
        out.push('\n');
        losses(plan, bounds, page).iter().for_each(|text| paragraph(&mut out, text, page));
        paragraph(&mut out, &room_and_time(plan, bounds, page), page);
    }
    out
}

fn paragraph(out: &mut String, text: &str, page: &Page) {
    if !text.is_empty() {
        let _ = writeln!(out, "{}", wrap(text, page.width, 0, 2));
    }
}

/// Direction, both ends, the endpoint, and what narrows the run.
fn ends(out: &mut String, direction: Direction, around: &Around, page: &Page) {
    let (title, from, to) = match direction {
        Direction::Upload => ("Upload", &around.root, &around.bucket),
        Direction::Download => ("Download", &around.bucket, &around.root),
    };
    let _ = writeln!(out, "{}", page.ink.bold(title));
    let _ = writeln!(out, "  from      {}", Shown(from));
    let _ = writeln!(out, "  to        {}", Shown(to));
    let _ = writeln!(out, "  endpoint  {}", Shown(&around.endpoint));
    if !around.scope.is_empty() {
        let _ = writeln!(out, "  only      {}", wrap(&names(&around.scope), page.width, 12, 12));
    }
}

/// The first few paths, and how many more there are.
pub(super) fn names(paths: &[RelPath]) -> String {
    let mut words: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
    if paths.len() > NAMED {
        words.push(format!("and {} more", count((paths.len() - NAMED) as u64)));
    }
    words.join(", ")
}

fn bucket_now(out: &mut String, around: &Around, page: &Page) {
    let (objects, size) = around.holds;
    let the_bucket = if around.scope.is_empty() { "The bucket" } else { "Of that the bucket" };
    let holds = match objects {
        0 => format!("{the_bucket} holds nothing yet."),
        _ => format!("{the_bucket} holds {}, {}.", some(objects, "object"), bytes(size)),
    };
    let last = match &around.last_upload {
        Some((time, host)) => format!("Last upload: {}, by {}.", when(*time, around.now), Shown(host)),
        None => "lsync has not uploaded to it before.".into(),
    };
    let _ = writeln!(out, "\n{}", wrap(&format!("{holds} {last}"), page.width, 0, 0));
}

/// What moves and what goes, by name.
fn moving(out: &mut String, plan: &Plan, page: &Page) {
    let verb = plan.direction.verb();
    let mut largest: Vec<_> = plan.transfers.iter().filter(|t| page.all || t.source.bytes() > 0).collect();
    if !page.all {
        largest.sort_by_key(|t| Reverse(t.source.bytes()));
    }
    let title = if page.all { format!("To {verb}:") } else { format!("Largest to {verb}:") };
    let why = |class| if page.all { class_words(class) } else { "" };
    named(out, &title, page, largest.iter().map(|t| (Some(t.source.bytes()), &t.path, why(t.class))));
    let mut lost: Vec<_> = plan.transfers.iter().filter(|t| t.class.loses()).collect();
    if !page.all {
        lost.sort_by_key(|t| Reverse(t.replaced_bytes));
    }
    named(out, &page.ink.yellow("To be overwritten:"), page, lost.iter().map(|t| (Some(t.replaced_bytes), &t.path, class_words(t.class))));
    let mut gone: Vec<_> = plan.removals.iter().collect();
    if !page.all {
        gone.sort_by_key(|r| Reverse(r.bytes));
    }
    named(
        out,
        &page.ink.red("To be deleted:"),
        page,
        gone.iter().map(|r| (Some(r.bytes), &r.path, if r.loses { "changed there" } else { "" })),
    );
    let leftovers =
        plan.leftovers.iter().map(|l| (Some(l.removal.bytes), &l.removal.path, if l.removal.loses { "changed here" } else { "" }));
    named(out, "Left over from databases that are replaced (to the trash):", page, leftovers);
    if page.all {
        let dirs = plan.dir_modes.iter().filter(|dir| !dir.is_new).map(|dir| (&dir.path, dir.mode));
        let updates: Vec<_> =
            plan.updates.iter().map(|u| (&u.path, u.mode)).chain(dirs).map(|(path, mode)| (path, format!("{mode:03o}"))).collect();
        named(out, "To get permissions:", page, updates.iter().map(|(path, mode)| (None, *path, mode.as_str())));
    }
}

fn class_words(class: Class) -> &'static str {
    match class {
        Class::New => "new",
        Class::SentAgain => "again",
        Class::Changed => "changed",
        Class::KindChanged => "another kind",
        Class::OverwriteProtected => "newer, overwritten",
        Class::OverwriteConflict => "changed on both sides, overwritten",
        Class::OverwriteUnknown => "perhaps equal, overwritten",
    }
}

/// Items that stay as they are on both sides.
pub(super) fn kept(out: &mut String, title: &str, page: &Page, list: &[Kept]) {
    // A reason that all share is told once.
    let shared = list.first().map(|first| first.why).filter(|why| list.iter().all(|item| item.why == *why));
    let title = shared.map_or_else(|| format!("{title}:"), |why| format!("{title} ({why}):"));
    let why = |item: &Kept| if shared.is_some() { "" } else { item.why };
    named(out, &page.ink.yellow(&title), page, list.iter().map(|item| (Some(item.bytes), &item.path, why(item))));
}

/// A title and the first few items below it: bytes, path, and why where that differs.
fn named<'a>(out: &mut String, title: &str, page: &Page, list: impl ExactSizeIterator<Item = (Option<u64>, &'a RelPath, &'a str)>) {
    let n = list.len();
    if n == 0 {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    let most = if page.all { n } else { NAMED };
    for (size, path, why) in list.take(most) {
        let why = if why.is_empty() { String::new() } else { format!("  ({why})") };
        let room = page.width.saturating_sub(NAMES_AT + why.len()).max(20);
        let _ = writeln!(out, "  {:>10}  {}{why}", size.map(bytes).unwrap_or_default(), fit(&path.to_string(), room));
    }
    more(out, n - n.min(most), page);
}

fn more(out: &mut String, n: usize, page: &Page) {
    if n > 0 && !page.all {
        let _ = writeln!(out, "{:NAMES_AT$}and {} more (-v names all)", "", count(n as u64));
    }
}

/// What is skipped, by name.
pub(super) fn skipped(out: &mut String, list: &[Skipped], page: &Page) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nSkipped:");
    let most = if page.all { list.len() } else { NAMED };
    for item in list.iter().take(most) {
        let name = fit(&item.path.to_string(), page.width.saturating_sub(3));
        let _ = writeln!(out, "  {}", wrap(&format!("{name}: {}", Shown(&item.why)), page.width, 2, 6));
    }
    more(out, list.len() - list.len().min(most), page);
}

/// Problems by name, each with why and with the pattern that would accept it.
pub(super) fn problems(out: &mut String, list: &[Problem], page: &Page) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", page.ink.red("Problems:"));
    let most = if page.all { list.len() } else { NAMED };
    for problem in list.iter().take(most) {
        let name = fit(&Shown(&problem.name).to_string(), page.width.saturating_sub(3));
        let what = format!("{name}: {}", Shown(&problem.why));
        let Some(pattern) = &problem.exclude else {
            let _ = writeln!(out, "  {}", wrap(&what, page.width, 2, 6));
            continue;
        };
        // A pattern that names a directory above leaves out more than the problem.
        let leave = match pattern.ends_with('/') {
            true => format!("leave out all of {}", Shown(pattern.trim_start_matches('/'))),
            false => "leave it out".into(),
        };
        // Quoted in any case: it is easier to see where it ends.
        let word = Some(shell_word(pattern)).filter(|word| word.ends_with('\'')).unwrap_or_else(|| format!("'{pattern}'"));
        let way = format!("(to {leave}: --exclude {word})");
        if measure_text_width(&what) + measure_text_width(&way) < page.width.saturating_sub(3) {
            let _ = writeln!(out, "  {what} {way}");
        } else {
            let _ = writeln!(out, "  {}\n      {way}", wrap(&what, page.width, 2, 6));
        }
    }
    more(out, list.len() - list.len().min(most), page);
}

/// Directories of the bucket that belong to other lsync directories.
pub(super) fn others(out: &mut String, list: &[OtherDirectory], page: &Page) {
    let most = if page.all { list.len() } else { NAMED };
    for other in list.iter().take(most) {
        let text = format!("{other} ({}, {}).", some(other.objects, "object"), bytes(other.bytes));
        let _ = writeln!(out, "\n{}", wrap(&text, page.width, 0, 0));
    }
    more(out, list.len() - list.len().min(most), page);
}

fn warnings(out: &mut String, plan: &Plan, bounds: &Bounds, page: &Page) {
    let vanished = plan.vanished.len() as u64;
    if vanished > 0 {
        let (were, are) = if vanished == 1 { ("was", "is") } else { ("were", "are") };
        let (n, names) = (files(vanished), names(&plan.vanished));
        let text = format!("{n} that {were} published {are} not in the bucket any more: {names}. Nothing is deleted because of that.");
        let _ = writeln!(out, "\n{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
    }
    others(out, &plan.others, page);
    if plan.owed {
        let text = "An earlier upload could not publish what it sent; this one does.";
        let _ = writeln!(out, "\n{}", page.ink.yellow(&wrap(text, page.width, 0, 0)));
    }
    if !bounds.keys.is_empty() {
        let text = format!("{} contains credentials and travels, because include_config is set.", bounds.keys.join(", "));
        let _ = writeln!(out, "\n{}", page.ink.yellow(&wrap(&text, page.width, 0, 0)));
    }
}

fn room_and_time(plan: &Plan, bounds: &Bounds, page: &Page) -> String {
    let size = plan.transfer_bytes();
    let mut text = String::new();
    if let Some(free) = bounds.free.filter(|_| size > 0) {
        text = format!("The mount has {} free, and {} are needed. ", bytes(free), bytes(size));
        if size > free {
            return page.ink.red(text.trim_end());
        }
    }
    let rate = bounds.limit.unwrap_or(ASSUMED_RATE);
    let by = if bounds.limit.is_some() { "at --bwlimit" } else { "if the network carries" };
    let seconds = size / rate.max(1) + plan.transfers.len() as u64 / ASSUMED_ITEMS;
    match size {
        0 => text,
        _ => format!("{text}Estimated time: {}, {by} {}/s.", duration(seconds), bytes(rate)),
    }
}

/// What waits for a person or cannot be synced, and nothing else.
pub(crate) fn waiting(plan: &Plan, page: &Page) -> String {
    let mut out = String::new();
    kept(&mut out, "Conflicts", page, &plan.conflicts);
    kept(&mut out, "Unknown", page, &plan.unknown);
    keys(&mut out, &plan.keys, page);
    problems(&mut out, &plan.problems, page);
    out.trim_start_matches('\n').to_owned()
}

/// The question itself, without the answer's marks.
pub(crate) fn question(plan: &Plan) -> String {
    let text = sum(plan);
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}?", chars.as_str())
}

/// What a plan does, in one line.
pub(crate) fn sum(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if !plan.transfers.is_empty() {
        parts.push(format!("{} {} ({})", plan.direction.verb(), items(plan.transfers.len() as u64), bytes(plan.transfer_bytes())));
    }
    if !plan.removals.is_empty() {
        parts.push(format!("DELETE {}", items(plan.removals.len() as u64)));
    }
    if plan.updates() > 0 {
        parts.push(format!("set permissions of {}", items(plan.updates() as u64)));
    }
    if plan.owed {
        parts.push("publish what an earlier upload sent".into());
    }
    let (deleted, restored) = (plan.new_deletions().len() as u64, plan.restored.len() as u64);
    if deleted > 0 {
        parts.push(format!("record that {} {} deleted here", items(deleted), if deleted == 1 { "was" } else { "were" }));
    }
    if restored > 0 {
        parts.push(format!("record that {} {} here again", items(restored), if restored == 1 { "is" } else { "are" }));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::samples::{around, bounds, fits, full, page, path, transfer};
    use super::*;

    #[test]
    fn a_first_upload() {
        let mut new = Plan::empty(Direction::Upload);
        new.transfers = vec![transfer("data/train.npy", 3 << 30, Class::New, 0), transfer("notes.md", 9, Class::New, 0)];
        let around = Around { holds: (0, 0), last_upload: None, bucket: "s3://research/".into(), ..around() };
        let ignored = Ignored { files: 812, bytes: 5 << 20, names: vec!["sync.toml (holds keys)".into(), ".venv/".into()] };
        let bounds = Bounds { ignored, ..bounds() };
        insta::assert_snapshot!(plan(&new, &around, &bounds, &page(80)), @"
        Upload
          from      /lambda/nfs/research
          to        s3://research/
          endpoint  https://files.us-east-2.lambda.ai

        The bucket holds nothing yet. lsync has not uploaded to it before.

        Largest to upload:
             3.0 GiB  data/train.npy
                 9 B  notes.md

          new        2  3.0 GiB
          ignored  812  5.0 MiB   sync.toml (holds keys), .venv/

        Nothing is deleted or overwritten.
        Estimated time: 30 s, if the network carries 100.0 MiB/s.
        ");
        insta::assert_snapshot!(question(&new), @"Upload 2 items (3.0 GiB)?");
    }

    #[test]
    fn an_upload_with_everything_on_80_columns() {
        let mut bounds = bounds();
        bounds.ignored = Ignored { files: 3, bytes: 4096, names: ["a/", "b/", "c/", "d/", "e/"].map(String::from).to_vec() };
        bounds.keys = vec!["sync.toml".into()];
        let (plan_, around) = (full(Direction::Upload), Around { scope: vec![path("data"), path("x y")], ..around() });
        let text = plan(&plan_, &around, &bounds, &page(80));
        fits(&text, 80);
        insta::assert_snapshot!(text, @"
        Upload
          from      /lambda/nfs/research
          to        s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
          endpoint  https://files.us-east-2.lambda.ai
          only      data, x y

        Of that the bucket holds 12,345 objects, 1.2 TiB. Last upload:
        2026-09-21 11:10:00 UTC (3 h ago), by gpu-a100-1.

        Largest to upload:
             5.0 GiB  checkpoints/a run with a rather l…31mepoch-0042/optimizer-state.pt
             4.0 MiB  data/part-0000.npy
             4.0 MiB  data/part-0001.npy
             4.0 MiB  data/part-0002.npy
             4.0 MiB  data/part-0003.npy
                      and 1,201 more (-v names all)

        To be overwritten:
             1.0 MiB  newer.bin  (newer, overwritten)
             1.0 MiB  both.bin  (changed on both sides, overwritten)
             1.0 MiB  perhaps.bin  (perhaps equal, overwritten)

        To be deleted:
             9.0 GiB  old.ckpt
             1.0 GiB  old/changed.ckpt  (changed there)

        Protected (newer in the bucket):
              1000 B  newer/0
              1000 B  newer/1
              1000 B  newer/2
              1000 B  newer/3
              1000 B  newer/4
                      and 2 more (-v names all)

        Conflicts:
             2.0 KiB  notes.md  (changed on both sides)
             2.0 KiB  checkpoints/a ru…imizer-state.pt  (different, and never agreed on)

        Unknown (equal size, and nothing tells about the content):
             6.0 GiB  foreign.bin

        Skipped:
          run/socket: a socket

        Problems:
          caf�.txt: its name is not UTF-8 (to leave it out: --exclude '/caf?.txt')
          a/../b: it has a `..` segment, so it cannot be a path below the mount; rename
              or remove the object in the bucket

          new               1,201  9.7 GiB
          again                 1     10 B   removed in the bucket since; sent again
          changed               1  3.0 MiB
          overwritten           1      0 B   another kind (file, link, directory)
          overwritten           1  1.0 MiB   newer in the bucket (--overwrite)
          overwritten           1  1.0 MiB   changed on both sides (--overwrite)
          overwritten           1  1.0 MiB   perhaps equal (--overwrite)
          deleted               1  9.0 GiB   removed in the mount
          deleted               1  1.0 GiB   removed in the mount, changed in the bucket
                                             (--overwrite)
          permissions           1            only permission bits change
          unchanged     1,000,000  1.0 TiB
          deleted here          1      5 B   still in the bucket; `lsync upload
                                             --delete` deletes them there
          only there            1      5 B   in the bucket only: kept (see --delete)
          protected             7  6.8 KiB   newer in the bucket: see `lsync download`
          conflicts             2  4.0 KiB   kept on both sides until you decide
          unknown               1  6.0 GiB   kept; --compare content would read 6.0 GiB
          ignored               3  4.0 KiB   a/, b/, c/, d/, …
          skipped               1            not carried, listed above
          problems              2            cannot be synced; kept on both sides

        1 file that was published is not in the bucket any more: gone.txt. Nothing is
        deleted because of that.

        sync.toml contains credentials and travels, because include_config is set.

        2 items (2.0 MiB) in the bucket: replaced by newer content.
        3 items (3.0 MiB) in the bucket: overwritten, though nothing proves them
          outdated. 1 item (1.0 GiB) in the bucket: deleted, though changed there. Each
          is copied to .lsync/history/ in the bucket first; what cannot be copied stays
          as it is.
        1 item (9.0 GiB) in the bucket: deleted. That cannot be undone, unless the
          bucket keeps old versions.
        Estimated time: 2 min, if the network carries 100.0 MiB/s.
        ");
        insta::assert_snapshot!(question(&plan_), @"Upload 1,207 items (9.7 GiB), DELETE 2 items, set permissions of 1 item?");
    }

    #[test]
    fn a_download_with_everything_on_120_columns() {
        let bounds = Bounds { free: Some(2 << 40), limit: Some(10 << 20), delete: true, ..bounds() };
        let text = plan(&full(Direction::Download), &around(), &bounds, &page(120));
        fits(&text, 120);
        insta::assert_snapshot!(text, @r"
        Download
          from      s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
          to        /lambda/nfs/research
          endpoint  https://files.us-east-2.lambda.ai

        The bucket holds 12,345 objects, 1.2 TiB. Last upload: 2026-09-21 11:10:00 UTC (3 h ago), by gpu-a100-1.

        Largest to download:
             5.0 GiB  checkpoints/a run with a rather long name/日本語の名…ディレクトリ/\u{1b}[31mepoch-0042/optimizer-state.pt
             4.0 MiB  data/part-0000.npy
             4.0 MiB  data/part-0001.npy
             4.0 MiB  data/part-0002.npy
             4.0 MiB  data/part-0003.npy
                      and 1,201 more (-v names all)

        To be overwritten:
             1.0 MiB  newer.bin  (newer, overwritten)
             1.0 MiB  both.bin  (changed on both sides, overwritten)
             1.0 MiB  perhaps.bin  (perhaps equal, overwritten)

        To be deleted:
             9.0 GiB  old.ckpt
             1.0 GiB  old/changed.ckpt  (changed there)

        Protected (newer in the mount):
              1000 B  newer/0
              1000 B  newer/1
              1000 B  newer/2
              1000 B  newer/3
              1000 B  newer/4
                      and 2 more (-v names all)

        Conflicts:
             2.0 KiB  notes.md  (changed on both sides)
             2.0 KiB  checkpoints/a run with a rather long…b}[31mepoch-0042/optimizer-state.pt  (different, and never agreed on)

        Unknown (equal size, and nothing tells about the content):
             6.0 GiB  foreign.bin

        Skipped:
          run/socket: a socket

        Problems:
          caf�.txt: its name is not UTF-8 (to leave it out: --exclude '/caf?.txt')
          a/../b: it has a `..` segment, so it cannot be a path below the mount; rename or remove the object in the bucket

          new               1,201  9.7 GiB
          again                 1     10 B   removed in the mount since; brought again
          changed               1  3.0 MiB
          overwritten           1      0 B   another kind (file, link, directory)
          overwritten           1  1.0 MiB   newer in the mount (--overwrite)
          overwritten           1  1.0 MiB   changed on both sides (--overwrite)
          overwritten           1  1.0 MiB   perhaps equal (--overwrite)
          deleted               1  9.0 GiB   removed in the bucket
          deleted               1  1.0 GiB   removed in the bucket, changed in the mount (--overwrite)
          permissions           1            only permission bits change
          unchanged     1,000,000  1.0 TiB
          deleted here          1      5 B   still in the bucket; `lsync upload --delete` deletes them there
          only there            1      5 B   in the mount only: kept, no proof of a removal
          protected             7  6.8 KiB   newer in the mount: see `lsync upload`
          conflicts             2  4.0 KiB   kept on both sides until you decide
          unknown               1  6.0 GiB   kept; --compare content would read 6.0 GiB
          skipped               1            not carried, listed above
          problems              2            cannot be synced; kept on both sides

        1 file that was published is not in the bucket any more: gone.txt. Nothing is deleted because of that.

        5 items (5.0 MiB) in the mount: replaced.
        1 item (9.0 GiB) in the mount: deleted.
        1 item (1.0 GiB) in the mount: deleted, though changed there.
        The old ones go to .lsync/trash/, for 7 days and up to 10 % of the disk.
        The mount has 2.0 TiB free, and 9.7 GiB are needed. Estimated time: 17 min, at --bwlimit 10.0 MiB/s.
        ");
    }

    #[test]
    fn everything_by_name_with_v() {
        let mut some = full(Direction::Upload);
        some.transfers.drain(..1200);
        let page = Page { all: true, ..page(80) };
        let text = plan(&some, &around(), &bounds(), &page);
        fits(&text, 80);
        insta::assert_snapshot!(text, @"
        Upload
          from      /lambda/nfs/research
          to        s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
          endpoint  https://files.us-east-2.lambda.ai

        The bucket holds 12,345 objects, 1.2 TiB. Last upload: 2026-09-21 11:10:00 UTC
        (3 h ago), by gpu-a100-1.

        To upload:
             5.0 GiB  checkpoints/a run with a rath…epoch-0042/optimizer-state.pt  (new)
                10 B  again.txt  (again)
             3.0 MiB  changed.bin  (changed)
                 0 B  link  (another kind)
             1.0 MiB  newer.bin  (newer, overwritten)
             1.0 MiB  both.bin  (changed on both sides, overwritten)
             1.0 MiB  perhaps.bin  (perhaps equal, overwritten)

        To be overwritten:
             1.0 MiB  newer.bin  (newer, overwritten)
             1.0 MiB  both.bin  (changed on both sides, overwritten)
             1.0 MiB  perhaps.bin  (perhaps equal, overwritten)

        To be deleted:
             9.0 GiB  old.ckpt
             1.0 GiB  old/changed.ckpt  (changed there)

        To get permissions:
                      run.sh  (755)

        Protected (newer in the bucket):
              1000 B  newer/0
              1000 B  newer/1
              1000 B  newer/2
              1000 B  newer/3
              1000 B  newer/4
              1000 B  newer/5
              1000 B  newer/6

        Conflicts:
             2.0 KiB  notes.md  (changed on both sides)
             2.0 KiB  checkpoints/a ru…imizer-state.pt  (different, and never agreed on)

        Unknown (equal size, and nothing tells about the content):
             6.0 GiB  foreign.bin

        Only there:
                 5 B  theirs  (only in the bucket)
                 5 B  theirs2  (removed in the mount)

        Skipped:
          run/socket: a socket

        Problems:
          caf�.txt: its name is not UTF-8 (to leave it out: --exclude '/caf?.txt')
          a/../b: it has a `..` segment, so it cannot be a path below the mount; rename
              or remove the object in the bucket

          new                   1  5.0 GiB
          again                 1     10 B   removed in the bucket since; sent again
          changed               1  3.0 MiB
          overwritten           1      0 B   another kind (file, link, directory)
          overwritten           1  1.0 MiB   newer in the bucket (--overwrite)
          overwritten           1  1.0 MiB   changed on both sides (--overwrite)
          overwritten           1  1.0 MiB   perhaps equal (--overwrite)
          deleted               1  9.0 GiB   removed in the mount
          deleted               1  1.0 GiB   removed in the mount, changed in the bucket
                                             (--overwrite)
          permissions           1            only permission bits change
          unchanged     1,000,000  1.0 TiB
          deleted here          1      5 B   still in the bucket; `lsync upload
                                             --delete` deletes them there
          only there            1      5 B   in the bucket only: kept (see --delete)
          protected             7  6.8 KiB   newer in the bucket: see `lsync download`
          conflicts             2  4.0 KiB   kept on both sides until you decide
          unknown               1  6.0 GiB   kept; --compare content would read 6.0 GiB
          skipped               1            not carried, listed above
          problems              2            cannot be synced; kept on both sides

        1 file that was published is not in the bucket any more: gone.txt. Nothing is
        deleted because of that.

        2 items (2.0 MiB) in the bucket: replaced by newer content.
        3 items (3.0 MiB) in the bucket: overwritten, though nothing proves them
          outdated. 1 item (1.0 GiB) in the bucket: deleted, though changed there. Each
          is copied to .lsync/history/ in the bucket first; what cannot be copied stays
          as it is.
        1 item (9.0 GiB) in the bucket: deleted. That cannot be undone, unless the
          bucket keeps old versions.
        Estimated time: 51 s, if the network carries 100.0 MiB/s.
        ");
    }

    #[test]
    fn nothing_to_do() {
        let mut same = Plan::empty(Direction::Download);
        same.same = vec![path("a")];
        same.same_bytes = 5;
        insta::assert_snapshot!(plan(&same, &around(), &bounds(), &page(80)), @"
        Download
          from      s3://7c6e0d1c-1f4b-4d54-8a0e-5b2f4c7e9a10/project/
          to        /lambda/nfs/research
          endpoint  https://files.us-east-2.lambda.ai

        There is nothing to download.

          unchanged  1  5 B
        ");
    }

    #[test]
    fn what_would_be_lost_is_said_for_each_direction() {
        let check = |direction, class, expected: &str| {
            let mut one = Plan::empty(direction);
            one.transfers = vec![transfer("a", 5, class, 7)];
            assert_eq!(losses(&one, &bounds(), &page(80)).join(" "), expected);
        };
        check(Direction::Upload, Class::New, "Nothing is deleted or overwritten.");
        check(Direction::Upload, Class::Changed, "1 item (7 B) in the bucket: replaced by newer content.");
        check(
            Direction::Download,
            Class::Changed,
            "1 item (7 B) in the mount: replaced. The old ones go to .lsync/trash/, for 7 days and up to 10 % of the disk.",
        );
        let off = Bounds { trash: TrashLimits { age_seconds: 0, share: 0.1 }, ..bounds() };
        let mut one = Plan::empty(Direction::Download);
        one.transfers = vec![transfer("a", 5, Class::OverwriteConflict, 7)];
        assert_eq!(
            losses(&one, &off, &page(80)).join(" "),
            "1 item (7 B) in the mount: replaced. The trash is switched off, so this cannot be undone."
        );
    }

    #[test]
    fn a_download_that_does_not_fit_says_so() {
        let mut one = Plan::empty(Direction::Download);
        one.transfers = vec![transfer("a", 5 << 30, Class::New, 0)];
        let bounds = Bounds { free: Some(1 << 30), ..bounds() };
        assert_eq!(room_and_time(&one, &bounds, &page(80)), "The mount has 1.0 GiB free, and 5.0 GiB are needed.");
    }

    #[test]
    fn every_width_is_kept() {
        for width in [70, 79, 80, 100, 120, 160] {
            let mut bounds = bounds();
            bounds.ignored.files = 1;
            bounds.ignored.names = vec!["a".repeat(20); 5];
            for direction in [Direction::Upload, Direction::Download] {
                fits(&plan(&full(direction), &around(), &bounds, &page(width)), width);
            }
        }
    }
}
