//! State files and journals in a mount: any bytes are a state or absent with a warning; what is read is the same after it was saved.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use lsync::digest::digest_one;
use lsync::local::mount::Mount;
use lsync::local::state::{self, Known, State};
use tempfile::TempDir;

/// A first line that fits, so that the mutations go into the entries.
const HEADER: &str =
    r#"{"lsync":"state","v":1,"bucket":"b","prefix":"","mount":"m","generation":1,"heads":[],"known":[],"journals":[["op",90]]}"#;
const OWNER: &str = r#"{"host":"h","boot":"b","pid":1,"since":1,"operation":"op"}"#;

thread_local! {
    static MOUNT: (TempDir, Mount) = {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join(".lsync/journal")).expect("it is new");
        let mount = Mount::open(dir.path()).expect("a mount");
        (dir, mount)
    };
}

fn remote() -> String {
    digest_one(b"b\0").hex()[..16].to_owned()
}

/// The bytes, behind a header where one is wanted, with a last line that fits.
fn whole(header: bool, bytes: &[u8]) -> Vec<u8> {
    let header = if header { format!("{HEADER}\n") } else { String::new() };
    let mut body = [header.as_bytes(), bytes, b"\n"].concat();
    let entries = body.iter().filter(|byte| **byte == b'\n').count() - 1;
    let md5 = digest_one(&body).hex();
    body.extend(format!("{{\"end\":{entries},\"md5\":\"{md5}\"}}\n").bytes());
    body
}

/// The lines as a journal whose check digits fit.
fn journal(lands: bool, bytes: &[u8]) -> Vec<u8> {
    let lands = if lands { r#","lands":true"# } else { "" };
    let header = format!(r#"{{"lsync":"journal","v":1,"remote":"{}","owner":{OWNER}{lands}}}"#, remote());
    let mut out = Vec::new();
    for line in std::iter::once(header.as_bytes()).chain(bytes.split(|byte| *byte == b'\n')) {
        out.extend_from_slice(&digest_one(line).hex().as_bytes()[..8]);
        out.push(b' ');
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

/// As it comes back: paths of which nothing is known are not kept, and journals are in the state by then.
fn kept(mut state: State) -> State {
    state.entries.retain(|(_, known)| *known != Known::default());
    state.journals.clear();
    state
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (as_journal, more) = (first & 1 == 1, first & 2 == 2);
    MOUNT.with(|(dir, mount)| {
        let (file, notes) = (dir.path().join(format!(".lsync/state-{}", remote())), dir.path().join(".lsync/journal/op"));
        let (written, bytes, other) = if as_journal { (&notes, journal(more, bytes), &file) } else { (&file, whole(more, bytes), &notes) };
        let _ = fs::remove_file(other);
        fs::write(written, bytes).expect("writable");
        let Ok(loaded) = state::load(mount, "b", "") else { return };
        assert!(loaded.warning.is_none() || loaded.state == State::default(), "part of a damaged state was taken");
        assert!(loaded.state.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        if loaded.state == State::default() {
            return;
        }
        state::save(mount, "b", "", &loaded.state).expect("it can be written");
        let again = state::load(mount, "b", "").expect("what was written can be read");
        assert_eq!((kept(again.state), again.warning), (kept(loaded.state), None), "it came back as another");
    });
});
