//! State files and journals in a mount: any bytes are a state or absent with a warning; what is read is the same after it was saved.
#![no_main]

use std::cell::LazyCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use lsync::local::mount::Mount;
use lsync::local::state::{self, State};
use md5::{Digest as _, Md5};
use tempfile::TempDir;

thread_local! {
    static DIR: LazyCell<TempDir> = LazyCell::new(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join(".lsync/journal")).expect("it is new");
        dir
    });
}

fn remote() -> String {
    data_encoding::HEXLOWER.encode(&Md5::digest(b"b\0"))[..16].to_owned()
}

/// The bytes as a journal whose check digits fit.
fn journal(bytes: &[u8]) -> Vec<u8> {
    let owner = r#"{"host":"h","boot":"b","pid":1,"since":1,"operation":"op"}"#;
    let header = format!(r#"{{"lsync":"journal","v":1,"remote":"{}","owner":{owner}}}"#, remote());
    let mut out = Vec::new();
    for line in std::iter::once(header.as_bytes()).chain(bytes.split(|byte| *byte == b'\n')) {
        out.extend(data_encoding::HEXLOWER.encode(&Md5::digest(line)).as_bytes()[..8].iter());
        out.push(b' ');
        out.extend(line);
        out.push(b'\n');
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    DIR.with(|dir| {
        let mount = Mount::open(dir.path()).expect("a mount");
        let (file, notes) = (dir.path().join(format!(".lsync/state-{}", remote())), dir.path().join(".lsync/journal/op"));
        let (as_journal, bytes) = bytes.split_first().map_or((false, bytes), |(first, rest)| (first % 2 == 1, rest));
        let mut body = bytes.to_vec();
        body.push(b'\n');
        let entries = body.iter().filter(|byte| **byte == b'\n').count() - 1;
        let md5 = data_encoding::HEXLOWER.encode(&Md5::digest(&body));
        body.extend(format!("{{\"end\":{entries},\"md5\":\"{md5}\"}}\n").bytes());
        if as_journal {
            let _ = fs::remove_file(&file);
            fs::write(&notes, journal(bytes)).expect("writable");
        } else {
            let _ = fs::remove_file(&notes);
            fs::write(&file, &body).expect("writable");
        }
        let Ok(loaded) = state::load(&mount, "b", "") else { return };
        assert!(loaded.warning.is_none() || loaded.state == State::default(), "part of a damaged state was taken");
        assert!(loaded.state.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
    });
});
