//! The README is true: what it names is what the program has, and what it says to type works. One file per kind of statement; this one
//! reads the README and judges its names. It does not judge its prose.

mod commands;
mod json;
mod machine;
mod tour;

use std::collections::BTreeSet;
use std::path::Path;

use lsync::config::{File, KEYS};
use lsync::filter::DEFAULT_IGNORES;

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;

const README: &str = include_str!("../../README.md");
const TEMPLATE: &str = include_str!("../../sync.toml.template");

type Names = BTreeSet<String>;

/// The text below a heading, up to the next one of the same or a higher level.
#[track_caller]
fn section(heading: &str) -> &'static str {
    let start = README.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("README has no {heading:?}")) + 1 + heading.len();
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let ends = (1..=level).filter_map(|n| README[start..].find(&format!("\n{} ", "#".repeat(n)))).min();
    &README[start..start + ends.unwrap_or(README.len() - start)]
}

/// What stands between backticks, tables' `\|` undone.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(|words| words.replace("\\|", "|"))
}

/// Rows of tables as cells.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect()))
}

/// Lines of code blocks of a language.
fn code(language: &str) -> Vec<&'static str> {
    let blocks = README.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.flat_map(str::lines).collect()
}

/// Words of a text that start with a prefix and go on as names do.
fn words(text: &str, prefix: &str, fits: impl Fn(char) -> bool) -> Names {
    let found = text.match_indices(prefix).filter(|(at, _)| !text[..*at].ends_with(|c: char| fits(c) || c == '-'));
    found.map(|(at, _)| text[at..].chars().take_while(|c| fits(*c) || prefix.contains(*c)).collect::<String>()).collect()
}

fn flags(text: &str) -> Names {
    let mut flags = words(text, "--", |c| c.is_ascii_lowercase() || c == '-');
    flags.retain(|flag| flag.contains(char::is_alphabetic) && !["--help", "--version"].contains(&flag.as_str()));
    flags
}

fn help(of: &str) -> String {
    Cmd::lsync(&Mount::new()).args(of).args("--help").run().expect(0).stdout
}

#[test]
fn the_first_two_commands_are_the_tour_and_the_tests() {
    let commands: Vec<&str> = code("sh").into_iter().filter(|line| line.starts_with("cargo ")).take(2).collect();
    assert_eq!(commands, ["cargo run --release --features sandbox -- sandbox", "cargo test --features sandbox"]);
}

#[test]
fn every_command_in_a_code_block_is_one_that_lsync_takes() {
    let mount = Mount::new();
    let mut checked = 0;
    for line in code("sh") {
        for command in line.split(['|', ';']).flat_map(|part| part.split("&&")) {
            let words = command.split_whitespace().skip_while(|word| word.contains('=')).take_while(|word| !word.starts_with('>'));
            let mut words = words.skip_while(|word| *word == "$").peekable();
            if words.next_if(|word| *word == "lsync").is_none() {
                continue;
            }
            let args = words.collect::<Vec<_>>().join(" ");
            // Everything before --help is parsed first, so that a flag that does not exist is an error.
            let ran = Cmd::lsync(&mount).args(&args).arg("--help").run();
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "lsync {args}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} commands were found");
}

#[test]
fn the_table_of_commands_has_all_commands() {
    let named = rows(section("## Commands")).filter_map(|row| quoted(row[0]).next()).filter(|cell| cell.starts_with("lsync "));
    let named: Names = named.filter_map(|cell| cell.split(' ').nth(1).map(str::to_owned)).collect();
    let help = help("");
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed: Names = listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert_eq!(named, listed.into_iter().filter(|name| name != "help").collect());
}

#[test]
fn the_flags_are_those_of_the_help() {
    let mut readme = flags(&(section("## Flags").to_owned() + section("## Commands")));
    readme.remove("--features"); // of cargo
    let all = ["upload", "download", "status", "setup", "doctor", "verify", "sandbox serve"].map(help).join("\n");
    let real = flags(&all);
    let unknown: Vec<_> = readme.difference(&real).collect();
    let missing: Vec<_> = real.difference(&readme).collect();
    assert!(unknown.is_empty() && missing.is_empty(), "unknown: {unknown:?}, missing: {missing:?}");
    let defaults = rows(section("## Flags")).filter(|row| row.len() == 3);
    for (flag, default) in defaults.filter_map(|row| Some((quoted(row[0]).last()?, quoted(row[2]).next()?))) {
        let name = flag.split(' ').next().unwrap();
        let after = &all[all.find(name).unwrap()..];
        let says = after.split("\n  -").next().unwrap().split("\n      --").next().unwrap();
        assert!(says.contains(&format!("default: {default}")) || says.contains("auto:"), "{flag}: {default} is not in {says}");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let source = include_str!("../../src/cli/exit.rs");
    let codes = source.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = ")?.1.parse::<u8>().ok());
    let named = rows(section("### Exit codes")).filter_map(|row| row[0].parse::<u8>().ok());
    assert_eq!(named.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
}

#[test]
fn the_keys_are_those_that_the_program_and_the_template_have() {
    let keys: Names = KEYS.iter().flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}"))).collect();
    let named = rows(section("## Configuration")).filter_map(|row| quoted(row[0]).next()).filter(|cell| cell.contains('.'));
    assert_eq!(named.collect::<Names>(), keys, "README");
    let mut table = String::new();
    let mut of_template = Names::new();
    for line in TEMPLATE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && !key.contains(' ')
        {
            of_template.insert(format!("{table}.{key}"));
        }
    }
    assert_eq!(of_template, keys, "sync.toml.template");
    File::parse("sync.toml.template", TEMPLATE).expect("the template is valid");
    File::parse("README.md", &code("toml").join("\n")).expect("the example is valid");
}

#[test]
fn the_variables_are_those_that_the_program_reads() {
    let literals = |dir: &str| -> Names {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        let sources = walkdir::WalkDir::new(top).into_iter().map(|entry| entry.expect("a readable tree"));
        let sources = sources.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
        let source: String = sources
            .map(|entry| std::fs::read_to_string(entry.path()).expect("a source"))
            .map(|text| text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned())
            .collect();
        source.split('"').map(str::to_owned).collect()
    };
    let (of_tests, literals) = (literals("tests/it"), literals("src/cli"));
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let readme: Names = ["LSYNC_", "AWS_", "HTTP", "NO_"].iter().flat_map(|prefix| words(README, prefix, fits)).collect();
    let readme: Names = readme.into_iter().filter(|name| name.contains('_') && !name.ends_with('_')).collect();
    let is_read = |name: &str| if name.starts_with("LSYNC_TEST_") { of_tests.contains(name) } else { literals.contains(name) };
    let unknown: Vec<_> = readme.iter().filter(|name| !is_read(name)).collect();
    let own = literals.iter().filter(|text| text.starts_with("LSYNC_") && text.len() > 6 && text.chars().all(fits));
    let missing: Vec<_> = own.filter(|name| !readme.contains(*name)).collect();
    assert!(unknown.is_empty() && missing.is_empty(), "unknown: {unknown:?}, missing: {missing:?}");
    assert!(readme.len() > 20, "{readme:?}");
}

#[test]
fn what_is_ignored_by_default_is_named() {
    let text = section("## What travels").split("**Ignored by default:**").nth(1).unwrap().split("Everything else").next().unwrap();
    assert_eq!(quoted(text).collect::<Vec<_>>(), DEFAULT_IGNORES);
}

#[test]
fn links_within_the_page_lead_to_a_heading() {
    let slug = |text: &str| text.to_lowercase().replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "");
    let headings: Names = README.lines().filter_map(|line| Some(slug(line.strip_prefix('#')?.trim_start_matches('#').trim()))).collect();
    let links: Names = README.split("](#").skip(1).filter_map(|rest| Some(rest.split(')').next()?.to_owned())).collect();
    assert!(links.len() > 5 && links.is_subset(&headings), "{links:?} {headings:?}");
}

#[test]
fn the_version_of_rust_is_that_of_the_package() {
    let manifest = include_str!("../../Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"')).expect("a rust-version");
    assert!(README.contains(&format!("Rust {version} or newer")), "{version}");
}
