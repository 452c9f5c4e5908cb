//! Configurations of the old bash script: any text is taken over or is an error that names the file and shows no value. Nothing in it is
//! executed.
#![no_main]

#[path = "../../src/cli/import.rs"]
mod import;

use libfuzzer_sys::fuzz_target;
use lsync_fuzz::{MARKER, check_configuration};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for read in [import::parse_env, import::parse_any] {
        match read("me.sync.env", &text) {
            Ok(imported) => {
                assert!(imported.ignored.iter().all(|name| !name.contains('=')), "a value is in {:?}", imported.ignored);
                assert!(!imported.is_toml || imported.ignored.is_empty());
                check_configuration(imported.file);
            }
            Err(e) => {
                assert!(e.to_string().starts_with("me.sync.env"), "{e}");
                assert!(!e.message.contains(MARKER) || e.message.starts_with("unknown "), "a value is in: {e}");
            }
        }
    }
});
