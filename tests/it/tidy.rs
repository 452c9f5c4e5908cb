//! The rules of the house that the compiler cannot check: who may import whom, what only the front end may do, how long a file may be.
//! Reads the sources and runs nothing; `lib.rs` has the map in words.

mod rules;
mod source;

use source::Source;

/// Everything in the project that git would take.
fn project() -> Vec<Source> {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut walk = ignore::WalkBuilder::new(top);
    walk.hidden(false).require_git(false).parents(false).git_global(false).git_exclude(false);
    walk.filter_entry(|entry| entry.file_name() != ".git" && !(entry.depth() == 1 && entry.file_name() == "target"));
    let mut sources: Vec<Source> = walk
        .build()
        .map(|entry| entry.expect("a readable tree"))
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .filter_map(|entry| {
            let path = entry.path().strip_prefix(top).expect("the walk stays below its top").to_str().expect("names are UTF-8");
            Some(Source::new(path, &std::fs::read_to_string(entry.path()).ok()?))
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    source::mark_tests(&mut sources);
    sources
}

#[test]
fn the_house_is_tidy() {
    let sources = project();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the walk found no sources");
    let breaches = rules::breaches(&sources);
    assert!(breaches.is_empty(), "{} rules are broken:\n{}", breaches.len(), breaches.join("\n"));
}

/// Checks that `text`, as the file `path`, breaks a rule that says `message`; no message: that it breaks none.
#[track_caller]
fn check(path: &str, text: &str, message: &str) {
    let text = if path.ends_with(".rs") && !text.starts_with("//!") { format!("//! x\n{text}") } else { text.to_owned() };
    let breaches = rules::of_file(&Source::new(path, &text));
    match message {
        "" => assert!(breaches.is_empty(), "{breaches:?}"),
        _ => assert!(breaches.iter().any(|breach| breach.contains(message)), "{message:?} is not in {breaches:?}"),
    }
}

#[test]
fn a_floor_imports_only_from_the_floors_below() {
    check("src/diff.rs", "use crate::local::scan::Scan;", "src/diff.rs:2: `diff` must not use `local`");
    check("src/diff.rs", "fn f() {\n    crate::engine::run();\n}", "src/diff.rs:3: `diff` must not use `engine`");
    check("src/path.rs", "use crate::{\n    digest::{Md5, ETag},\n    plan::Plan,\n};", "src/path.rs:2: `path` must not use `plan`");
    check("src/path.rs", "use super::plan::Plan;", "`path` must not use `plan`");
    check("src/local/scan.rs", "use super::super::remote::list;", "`local` must not use `remote`");
    check("src/remote/list.rs", "use crate::local::Mount;", "`remote` must not use `local`");
    check("src/sandbox/mod.rs", "use crate::event::Event;", "`sandbox` must not use `event`");
    check("src/engine/run.rs", "use crate::sandbox::Server;", "`engine` must not use `sandbox`");
    check("src/filter.rs", "use crate::cli::args;", "`filter` must not use `cli`");
    check("src/attic.rs", "use crate::path::RelPath;", "`attic` has no floor");
    check("src/engine/run.rs", "use crate::{local::Mount, remote::Bucket, plan, path};\nuse super::execute;", "");
    check("src/local/scan.rs", "use crate::event::Event;\nuse super::mount::Mount;\n/// See [`crate::engine`].\nfn f() {}", "");
    check("src/remote/list.rs", "\n#[cfg(test)]\nmod tests {\n    use crate::sandbox::Server;\n}", "");
    check("src/cli/args.rs", "use crate::cli::exit;\nuse lsync::plan::Plan;", "");
}

#[test]
fn words_and_decisions_touch_nothing() {
    check("src/plan.rs", "use std::fs::File;", "src/plan.rs:2: floors 0 and 1 do no I/O, have no clock and do not wait: `std::fs`");
    check("src/filter.rs", "fn now() -> std::time::SystemTime { SystemTime::now() }", "`SystemTime`");
    check("src/diff.rs", "pub async fn diff() {}", "`async`");
    check("src/local/scan.rs", "use std::fs::File;", "");
    check("src/manifest.rs", "// async and std::fs are for other floors", "");
}

#[test]
fn each_library_has_its_place() {
    check("src/local/scan.rs", "use aws_sdk_s3::Client;", "src/local/scan.rs:2: `aws_` belongs in src/remote/");
    check("src/engine/mod.rs", "fn f() -> anyhow::Result<()> {}", "`anyhow` belongs in src/cli/, src/main.rs");
    check("src/engine/mod.rs", "use indicatif::ProgressBar;", "`indicatif` belongs in src/cli/, src/main.rs");
    check("src/cli/args.rs", "use clap::Parser;", "");
    check("src/local/hash.rs", "fn f() { unsafe { g() } }", "`unsafe` belongs in src/local/read_lease.rs");
    check("src/remote/connect.rs", "use aws_config::Region;\nlet laws_ = 1;", "");
}

#[test]
fn only_the_front_end_sees_the_terminal_and_the_environment() {
    check("src/local/mount.rs", "fn f() {\n    std::env::current_dir();\n}", "src/local/mount.rs:3: `env::` belongs in src/cli/");
    check("src/engine/mod.rs", "fn f() { println!(); }", "`println!` belongs in src/cli/");
    check("src/engine/mod.rs", "fn f() { eprint!(\"x\"); }", "`eprint!` belongs in src/cli/");
    check("src/local/mount.rs", "const X: &str = env!(\"CARGO_PKG_VERSION\");\nfn f() { writeln!(w, \"println!\"); }", "");
    check("src/cli/render.rs", "fn f() { eprintln!(\"{}\", std::env::args().count()); }", "");
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let long = "fn f() {}\n".repeat(400);
    check("src/plan.rs", &long, "src/plan.rs:401: 401 lines without the tests, at most 400");
    check("src/plan.rs", &format!("{}\n#[cfg(test)]\nmod tests {{\n{long}}}", "fn f() {}\n".repeat(300)), "");
    check("benches/peers/table.rs", &long, "benches/peers/table.rs:401: 401 lines");
    check("benches/peers/table.rs", "fn main() { println!(); }", "");
    check("src/plan.rs", "//!What", "src/plan.rs:1: the first line is");
    check("src/plan/util.rs", "", "src/plan/util.rs:1: a file named `util` holds anything");
    check("src/plan.rs", "struct PlanManager;", "`PlanManager`: say what it is");
    check("src/plan.rs", "struct Manager2;\nstruct Plan;", "");
}

#[test]
fn nothing_is_silenced_or_left_to_luck() {
    check("src/plan.rs", "#[allow(dead_code)]\nfn f() {}", "src/plan.rs:2: `#[allow(`");
    check("tests/it/wire.rs", "#![allow(unused)]", "tests/it/wire.rs:2: `#![allow(`");
    check("src/plan.rs", "fn f() {\n    x.unwrap();\n}", "src/plan.rs:3: `.unwrap()`");
    check("src/plan.rs", "fn f() { x.unwrap_or(1) }\n\n#[cfg(test)]\nmod tests {\n    fn g() { x.unwrap() }\n}", "");
    check("tests/it/wire.rs", "#[test]\n#[ignore]\nfn f() {}", "tests/it/wire.rs:3: `#[ignore]`");
    check("tests/it/wire.rs", "#[test]\n#[ignore = \"a campaign; the README says how\"]\nfn f() {}", "");
    let reason = "needs the right to mount; .ci/run runs it";
    check("tests/it/privileged/x.rs", &format!("#[test]\n#[ignore = \"{reason}\"]\nfn f() {{}}"), "");
    check("tests/it/privileged/x.rs", "#[test]\nfn f() {}", "tests/it/privileged/x.rs:2: a test in tests/it/privileged/ carries");
    check("tests/it/wire.rs", "fn f() { std::thread::sleep(d) }", "tests/it/wire.rs:2: `thread::sleep(`");
    check("src/engine/run.rs", "async fn f() { tokio::time::sleep(d).await }", "");
}

#[test]
fn a_file_that_only_tests_compile_may_do_what_tests_may() {
    let unwraps = "//! x\nfn f() { x.unwrap(); }\n";
    let breaches = |declared: &str| {
        let parent = Source::new("src/remote/mod.rs", &format!("//! x\n{declared}\nfn g() {{ y.unwrap(); }}\n"));
        let mut sources = [parent, Source::new("src/remote/canned.rs", unwraps)];
        source::mark_tests(&mut sources);
        sources.iter().flat_map(rules::of_file).collect::<Vec<_>>().join("\n")
    };
    assert!(breaches("mod canned;").contains("src/remote/canned.rs:2: `.unwrap()`"));
    let marked = breaches("#[cfg(test)]\nmod canned;");
    assert!(!marked.contains("canned.rs") && marked.contains("src/remote/mod.rs:4: `.unwrap()`"), "{marked}");
}

#[test]
fn the_tree_names_no_machine() {
    check("README.md", concat!("x\nrun /tm", "p/x/lsync"), "README.md:2: the path of a machine");
    check("src/cli/args.rs", concat!("// /ro", "ot/x"), "src/cli/args.rs:2: the path of a machine");
    check("Cargo.toml", concat!("x = \"https://a.jfrog.io/arti", "factory/\""), "Cargo.toml:1: the address of a registry");
    check("Cargo.lock", "source = \"registry+https://mirror.example/index\"", "Cargo.lock:1: the address of a registry");
    check("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\"", "");
    check("README.md", concat!("/ho", "me/me/x"), "README.md:1: the path of a machine");
    check("README.md", "lsync upload --root /home/ubuntu/data", "");
    check("README.md", "lsync upload /lambda/nfs/research", "");
}

#[test]
fn links_lead_somewhere_and_files_belong_to_a_module() {
    let file = |path: &str, text: &str| Source::new(path, text);
    let all = |sources: &[Source]| rules::of_tree(sources).join("\n");
    let lib = "//! | 0 words | x | [`path`] |\npub mod path;\n";
    assert_eq!(all(&[file("src/lib.rs", lib), file("src/path.rs", "")]), "");
    let check = |extra: Source, message: &str| {
        let found = all(&[file("src/lib.rs", lib), file("src/path.rs", ""), extra]);
        assert!(found.contains(message), "{message:?} is not in {found:?}");
    };
    check(file("src/local/old.rs", ""), "src/local/old.rs:1: no `mod old;` in src/local/mod.rs or src/local.rs");
    check(file("benches/peers/old.rs", ""), "benches/peers/old.rs:1: no `mod old;` in benches/peers/main.rs");
    check(file("README.md", "x\n[how](docs/how.md) [web](https://x.example)"), "README.md:2: the link `docs/how.md` leads nowhere");
    let unmapped = file("src/lib.rs", "//! | 1 decisions | x | [`path`] |\npub mod path;\npub mod diff;\n");
    let found = all(&[unmapped, file("src/path.rs", "use crate::diff::D;"), file("src/diff.rs", "use crate::path::P;")]);
    assert!(found.contains("src/lib.rs:1: the map has no row for floor 0 that names [`path`]"), "{found}");
    assert!(found.contains("src/lib.rs:1: the map has no row for floor 1 that names [`diff`]"), "{found}");
    assert!(found.contains("diff -> path -> diff"), "{found}");
}
