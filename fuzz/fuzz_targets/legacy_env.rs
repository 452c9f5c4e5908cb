//! Configurations of the old bash script: any text is taken over or is an error that names the file. Nothing in it is executed.
#![no_main]

#[path = "../../src/cli/import.rs"]
mod import;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for read in [import::parse_env, import::parse_any] {
        match read("me.sync.env", text) {
            Ok(imported) => {
                let shown = format!("{:?}", imported.file);
                assert!(!imported.file.holds_secrets() || shown.contains("***"), "{shown}");
                assert!(imported.ignored.iter().all(|name| !name.contains('=')), "a value is in {:?}", imported.ignored);
                let _ = imported.is_toml;
            }
            Err(e) => assert!(e.to_string().contains("me.sync.env"), "{e}"),
        }
    }
});
