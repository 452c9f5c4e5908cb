//! The rules, each with the message that names file and line. Pure: sources in, breaches out.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, line_of, lines_with, references};

/// Which floor a top-level module of the library is on. A module uses its own floor and those below; the exceptions are in [`may_use`].
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["path", "digest", "entry", "problem", "manifest", "profile", "filter", "config"]),
    (1, &["event", "view", "diff", "plan"]),
    (2, &["local", "remote"]),
    (3, &["engine"]),
];
/// Feature-gated, beside the floors: uses words only, and no floor uses it.
const SANDBOX: &str = "sandbox";
/// Part of the binary, which sees the library from outside.
const CLI: &str = "cli";

const FRONT_END: &[&str] = &["src/cli/", "src/main.rs"];
const ONLY_CLI: &[&str] = &["src/cli/"];
const WIRE: &[&str] = &["src/remote/", "src/sandbox/"];

/// Names in code, and where alone they may stand.
const PLACES: &[(&str, &[&str])] = &[
    ("clap", FRONT_END),
    ("clap_complete", FRONT_END),
    ("clap_mangen", FRONT_END),
    ("indicatif", FRONT_END),
    ("dialoguer", FRONT_END),
    ("console", FRONT_END),
    ("anyhow", FRONT_END),
    ("aws_", &["src/remote/"]),
    ("s3s", &["src/sandbox/"]),
    ("hyper", WIRE),
    ("hyper_util", WIRE),
    ("hyper_rustls", &["src/remote/"]),
    ("rustls", &["src/remote/"]),
    ("walkdir", &["src/cli/sandbox/"]),
    ("libc", &["src/local/read_lease.rs"]),
    ("unsafe", &["src/local/read_lease.rs"]),
    ("env::", ONLY_CLI),
    ("std::env", ONLY_CLI),
    ("stdin()", ONLY_CLI),
    ("stdout()", ONLY_CLI),
    ("stderr()", ONLY_CLI),
    ("print!", ONLY_CLI),
    ("println!", ONLY_CLI),
    ("eprint!", ONLY_CLI),
    ("eprintln!", ONLY_CLI),
    ("dbg!", &[]),
    ("process::exit", &["src/cli/exit.rs"]),
];

/// What floors 0 and 1 have no use for.
const WORLDLY: &[&str] =
    &["std::fs", "std::net", "std::process", "std::thread", "std::os", "rustix", "tokio", "SystemTime", "Instant", "async", "await"];

/// The tests that need rights which most users lack; `.ci/run` runs these, and only these, apart.
const PRIVILEGED: &str = "tests/it/privileged/";
const IGNORED: &str = "#[ignore = \"needs the right to mount; .ci/run runs it\"]";

/// The longest that a source file may be, its tests aside.
const MAX_LINES: usize = 400;

/// Every breach in the project.
pub(crate) fn breaches(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(of_file).chain(of_tree(sources)).collect()
}

/// The breaches that one file shows by itself.
pub(crate) fn of_file(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    machine_paths(source, &mut found);
    if source.path.ends_with(".rs") {
        floors(source, &mut found);
        places(source, &mut found);
        shape(source, &mut found);
        habits(source, &mut found);
    }
    found
}

/// The breaches that show only when the files are seen together.
pub(crate) fn of_tree(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    modules(sources, &mut found);
    map(sources, &mut found);
    cycles(sources, &mut found);
    links(sources, &mut found);
    found
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

fn may_use(user: &str, used: &str) -> bool {
    match (floor(user), floor(used)) {
        _ if user == used => true,
        (Some(2), Some(2)) => false,
        (Some(above), Some(below)) => above >= below,
        (None, Some(below)) => user == SANDBOX && below == 0,
        (_, None) => false,
    }
}

fn floors(source: &Source, found: &mut Vec<String>) {
    let (path, user) = (&source.path, source.top());
    if !path.starts_with("src/") || user.is_empty() || user == CLI {
        return;
    }
    if floor(user).is_none() && user != SANDBOX {
        found.push(format!("{path}:1: `{user}` has no floor: give it one in tests/it/tidy/rules.rs and in the map of src/lib.rs"));
    }
    for (line, used) in references(source.product_code(), &source.module()) {
        if !may_use(user, &used) {
            found.push(format!("{path}:{line}: `{user}` must not use `{used}`: a floor uses only what lies below it"));
        }
    }
    if floor(user).is_some_and(|floor| floor < 2) {
        for word in WORLDLY {
            for line in lines_with(source.product_code(), word) {
                found.push(format!("{path}:{line}: floors 0 and 1 do no I/O, have no clock and do not wait: `{word}`"));
            }
        }
    }
}

fn places(source: &Source, found: &mut Vec<String>) {
    for (word, places) in PLACES {
        if places.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for line in lines_with(source.product_code(), word) {
            let places = if places.is_empty() { "no file".to_owned() } else { places.join(", ") };
            found.push(format!("{}:{line}: `{word}` belongs in {places}", source.path));
        }
    }
}

fn shape(source: &Source, found: &mut Vec<String>) {
    let path = &source.path;
    if !source.text.starts_with("//! ") {
        found.push(format!("{path}:1: the first line is `//! What this is, and what it does not do.`"));
    }
    let bench = path.starts_with("benches/");
    let lines = if bench { source.code.as_str() } else { source.product_code() }.lines().count();
    if lines > MAX_LINES {
        found.push(format!("{path}:{}: {lines} lines without the tests, at most {MAX_LINES}: split it by meaning", MAX_LINES + 1));
    }
    let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
    if ["util", "utils", "helper", "helpers", "common", "misc"].contains(&name) {
        found.push(format!("{path}:1: a file named `{name}` holds anything: name it by what it is"));
    }
    for keyword in ["struct ", "enum ", "trait "] {
        for (at, _) in source.code.match_indices(keyword) {
            let name: String = source.code[at + keyword.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
            if ["Manager", "Handler", "Context"].iter().any(|end| name.ends_with(end)) {
                found.push(format!("{path}:{}: `{name}`: say what it is, in a word of the field", line_of(&source.code, at)));
            }
        }
    }
}

fn habits(source: &Source, found: &mut Vec<String>) {
    let mut forbid = |code: &str, from_line: usize, what: &str, why: &str| {
        for (at, _) in code.match_indices(what) {
            found.push(format!("{}:{}: `{what}`: {why}", source.path, from_line + line_of(code, at)));
        }
    };
    let product = source.product_code();
    let tests = &source.code[product.len()..];
    let before = product.matches('\n').count();
    for allow in ["#[allow(", "#![allow("] {
        forbid(&source.code, 0, allow, "`#[expect(…, reason = \"…\")]` says why and ends when it no longer holds");
    }
    forbid(product, 0, ".unwrap()", "`expect` states the invariant; an error says what to do");
    forbid(tests, before, "#[ignore]", "a test that is left out says why, and what runs it");
    forbid(tests, before, "thread::sleep(", "a test waits for what it waits for, not for a time");
    privileged(source, found);
}

/// Tests that most users cannot run are left out in one way, so that one command runs them all.
fn privileged(source: &Source, found: &mut Vec<String>) {
    let tests = lines_with(&source.code, "#[test]").into_iter().filter(|_| source.path.starts_with(PRIVILEGED));
    for line in tests.filter(|line| source.text.lines().nth(*line).map(str::trim) != Some(IGNORED)) {
        found.push(format!("{}:{line}: a test in {PRIVILEGED} carries {IGNORED}", source.path));
    }
}

/// Patterns are put together here, so that this file does not break the rule.
fn machine_paths(source: &Source, found: &mut Vec<String>) {
    const PATHS: &[&str] = &[concat!("/tm", "p/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    // Whose homes may stand in examples; the first is everybody's on a rented instance.
    const EXAMPLES: &[&str] = &["ubuntu", "ada"];
    const REGISTRIES: &[&str] = &[concat!("arti", "factory"), concat!("index.crates", ".io"), concat!("files.python", "hosted.org")];
    let lock = source.path == "Cargo.lock";
    for (number, line) in source.text.lines().enumerate() {
        let number = number + 1;
        let starts_path = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '}' | '.' | '_' | '-' | '>'));
        let name_of = |rest: &str| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
        let is_example = |behind: usize| line[..behind].ends_with("me/") && EXAMPLES.contains(&name_of(&line[behind..]).as_str());
        let leaks = |path: &str| line.match_indices(path).any(|(at, _)| starts_path(at) && !is_example(at + path.len()));
        if !lock && PATHS.iter().any(|path| leaks(path)) {
            found.push(format!("{}:{number}: the path of a machine in {:?}", source.path, line.trim()));
        }
        let elsewhere = lock && line.starts_with("source = ") && !line.contains("registry+https://github.com/rust-lang/crates.io-index");
        if elsewhere || (!lock && REGISTRIES.iter().any(|host| line.contains(host))) {
            found.push(format!("{}:{number}: the address of a registry in {:?}", source.path, line.trim()));
        }
    }
}

/// A file that no `mod` names is not compiled, and nobody notices.
fn modules(sources: &[Source], found: &mut Vec<String>) {
    let of_modules = |source: &&Source| ["src/", "tests/it/", "benches/peers/"].iter().any(|dir| source.path.starts_with(dir));
    for source in sources.iter().filter(of_modules) {
        let Some((dir, name)) = source.path.strip_suffix(".rs").and_then(|path| path.rsplit_once('/')) else { continue };
        let (dir, name) = if name == "mod" { dir.rsplit_once('/').unwrap_or((dir, name)) } else { (dir, name) };
        let parents: Vec<String> = match dir {
            _ if name == "main" || name == "lib" => continue,
            "src" => vec!["src/lib.rs".into(), "src/main.rs".into()],
            "tests/it" | "benches/peers" => vec![format!("{dir}/main.rs")],
            _ => vec![format!("{dir}/mod.rs"), format!("{dir}.rs")],
        };
        let declared = |parent: &&Source| !lines_with(&parent.code, &format!("mod {name};")).is_empty();
        if !sources.iter().filter(|parent| parents.contains(&parent.path)).any(|parent| declared(&parent)) {
            found.push(format!("{}:1: no `mod {name};` in {}: it is not compiled", source.path, parents.join(" or ")));
        }
    }
}

/// The map in the documentation of the library says the same as [`FLOORS`].
fn map(sources: &[Source], found: &mut Vec<String>) {
    let Some(lib) = sources.iter().find(|source| source.path == "src/lib.rs") else { return };
    for (floor, modules) in FLOORS {
        let row = lib.text.lines().find(|line| line.starts_with(&format!("//! | {floor} "))).unwrap_or_default();
        for module in *modules {
            let exists = lib.code.contains(&format!("mod {module};"));
            if exists && !row.contains(&format!("[`{module}`]")) {
                found.push(format!("src/lib.rs:1: the map has no row for floor {floor} that names [`{module}`]"));
            }
        }
    }
    if !lines_with(&lib.code, "mod cli").is_empty() {
        found.push("src/lib.rs:1: `cli` belongs to the binary: src/main.rs declares it".into());
    }
}

/// Modules of one floor may use each other, but not in a circle.
fn cycles(sources: &[Source], found: &mut Vec<String>) {
    let mut uses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/") && floor(source.top()).is_some()) {
        let used = references(source.product_code(), &source.module()).into_iter().map(|(_, used)| used);
        uses.entry(source.top()).or_default().extend(used.filter(|used| used != source.top()));
    }
    for start in uses.keys() {
        let mut trails = vec![vec![*start]];
        let mut seen = BTreeSet::new();
        while let Some(trail) = trails.pop() {
            let last = trail.last().expect("a trail has a start");
            for next in uses.get(last).into_iter().flatten() {
                let mut longer = trail.clone();
                longer.push(next);
                if next == start {
                    // The same circle is found from each of its modules; the first in the alphabet reports it.
                    if trail.iter().min() == Some(start) {
                        found.push(format!("src/{start}: modules in a circle: {}", longer.join(" -> ")));
                    }
                } else if seen.insert(next) {
                    trails.push(longer);
                }
            }
        }
    }
}

/// Relative links in Markdown name files of the project.
fn links(sources: &[Source], found: &mut Vec<String>) {
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (at, _) in source.text.match_indices("](") {
            let rest = &source.text[at + 2..];
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let leads = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            let dir = source.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let full = if dir.is_empty() { target.to_owned() } else { format!("{dir}/{target}") };
            let below = format!("{}/", full.trim_end_matches('/'));
            if !leads && !sources.iter().any(|other| other.path == full || other.path.starts_with(&below)) {
                found.push(format!("{}:{}: the link `{target}` leads nowhere", source.path, line_of(&source.text, at)));
            }
        }
    }
}
