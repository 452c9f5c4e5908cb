//! Manifests: any bytes are a manifest or an error; what is read is the same after it was written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsync::manifest::{Header, Manifest, Name};
use md5::{Digest as _, Md5};

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::decode(bytes);
    let _ = Header::decode(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = Name::parse(&text) {
        assert_eq!(name.to_string(), text);
    }
    // With a last line that fits, so that what stands before it is looked at.
    let mut body = bytes.to_vec();
    body.push(b'\n');
    let entries = body.iter().filter(|byte| **byte == b'\n').count() - 1;
    let md5 = data_encoding::HEXLOWER.encode(&Md5::digest(&body));
    body.extend(format!("{{\"end\":{entries},\"md5\":\"{md5}\"}}\n").bytes());
    if let Ok(manifest) = Manifest::decode(&body) {
        assert!(manifest.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let again = Manifest::decode(&manifest.encode()).expect("what was written can be read");
        assert!(again == manifest, "it came back as another");
    }
});
