//! Manifests: any bytes are a manifest or an error; what is read is the same after it was written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::digest::digest_one;
use lsync::manifest::{Header, Manifest, Name};

/// A first line that fits, so that the mutations go into the entries.
const HEADER: &str = r#"{"lsync":"manifest","v":1,"lineage":"l","parents":[],"host":"h","operation":"o","command":"upload","time":1,"scope":[],"files":1,"bytes":1}"#;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let _ = Manifest::decode(bytes);
    let _ = Header::decode(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = Name::parse(&text) {
        assert_eq!(name.to_string(), text);
    }
    let header = if first % 2 == 1 { format!("{HEADER}\n") } else { String::new() };
    let mut body = [header.as_bytes(), bytes, b"\n"].concat();
    let entries = body.iter().filter(|byte| **byte == b'\n').count() - 1;
    let md5 = digest_one(&body).hex();
    body.extend(format!("{{\"end\":{entries},\"md5\":\"{md5}\"}}\n").bytes());
    if let Ok(manifest) = Manifest::decode(&body) {
        assert!(manifest.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let again = Manifest::decode(&manifest.encode()).expect("what was written can be read");
        assert!(again == manifest, "it came back as another");
    }
});
