//! What campaigns leave behind as evidence: a file of counts and seeds each. Judges nothing.

use std::path::PathBuf;

use serde_json::Value;

/// How many cases a campaign makes: what the variable says, else its full number.
pub(crate) fn asked_for(variable: &str, full: u64) -> u64 {
    std::env::var(variable).ok().map_or(full, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Writes `<name>.json` into the directory that `LSYNC_TEST_REPORTS` names, else into `reliability/` of the build's own directory.
pub(crate) fn report(name: &str, counts: &Value) {
    let given = std::env::var_os("LSYNC_TEST_REPORTS").map(PathBuf::from);
    let dir = given.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reliability"));
    let path = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(counts).expect("counts can be written");
    std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, text + "\n")).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    tell(format_args!("{}", path.display()));
}

/// Prints a line, which the test runner shows when the test fails: how to repeat it, and what it was about to try.
#[expect(clippy::print_stdout, reason = "what the test runner captures is what `println!` prints")]
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}
