//! Configuration files: any text is a configuration or an error that names the file and shows no value. Never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::config::File;
use lsync_fuzz::{MARKER, check_configuration};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match File::parse("f.toml", &text) {
        Ok(file) => check_configuration(file),
        Err(e) => {
            assert!(e.to_string().starts_with("f.toml"), "{e}");
            assert!(e.line.is_none_or(|line| (1..=text.split('\n').count()).contains(&line)), "{e}");
            assert!(!e.message.contains(MARKER) || e.message.starts_with("unknown "), "a value is in: {e}");
        }
    }
});
