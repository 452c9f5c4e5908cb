//! Configuration files: any text is a configuration or an error that names the file. Never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::config::File;

fuzz_target!(|text: &str| {
    match File::parse("f.toml", text) {
        Ok(file) => {
            let shown = format!("{file:?}");
            assert!(!file.holds_secrets() || shown.contains("***"), "a secret has a readable Debug: {shown}");
        }
        Err(e) => assert!(e.to_string().contains("f.toml"), "{e}"),
    }
});
