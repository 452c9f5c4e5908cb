//! Small random trees and random edits of them, in a mount. Knows nothing of the bucket.

use crate::support::mount::Mount;
use crate::support::seed::Seed;

const NAMES: [&str; 12] = [
    "a",
    "b.txt",
    "data/x",
    "data/y.npy",
    "data/deep/z",
    "run 1/loss+acc.csv",
    "run 1/ckpt%20.pt",
    "e\u{301}/ünïcode",
    "SlowDown",
    "InternalError/<Error>",
    "x/.hidden",
    "x/~tmp",
];
/// Around the limits of what the store keeps inline and of what the client reads at once.
const SIZES: [usize; 9] = [0, 1, 3, 100, 1000, 65_535, 65_536, 65_537, 300_000];
/// Travels in parts, by one byte and by many.
const LARGE: [usize; 3] = [(16 << 20) + 1, 16 << 20, (17 << 20) + 77];

/// Fills an empty mount.
pub(super) fn grow(dice: &mut Seed, mount: &Mount, large: bool) {
    let count = 1 + dice.below(6);
    for _ in 0..count {
        let name = *dice.pick(&NAMES);
        write(dice, mount, name);
    }
    if large {
        write(dice, mount, "big/model.bin");
    }
    if dice.once_in(3) {
        mount.link("latest", "data/x");
    }
    if dice.once_in(3) {
        mount.dir("empty");
    }
    if dice.once_in(3) && mount.has("a") {
        mount.mode("a", 0o640);
    }
}

/// Changes, adds and removes some; something is left.
pub(super) fn edit(dice: &mut Seed, mount: &Mount) {
    for name in NAMES {
        match (mount.has(name), dice.below(6)) {
            (true, 0) => drop(mount.remove(name)),
            (true, 5) => drop(mount.mode(name, *dice.pick(&[0o600, 0o755]))),
            (true, 1 | 2) | (false, 0) => write(dice, mount, name),
            _ => {}
        }
    }
    if mount.has("latest") && dice.once_in(2) {
        mount.remove("latest").link("latest", "data/y.npy");
    }
    if mount.has("empty") && dice.once_in(4) {
        mount.remove("empty");
    }
    if mount.has("big/model.bin") && dice.once_in(2) {
        write(dice, mount, "big/model.bin");
    }
    if mount.tree().iter().all(|node| node.kind != "file") {
        write(dice, mount, "a");
    }
    double(&mut Seed::new(!dice.number()), mount);
}

/// Copies and renames some, and changes a large file in place. With dice of its own: what else a seed means stays as it is without.
fn double(dice: &mut Seed, mount: &Mount) {
    for _ in 0..dice.below(3) {
        let (from, to) = (*dice.pick(&NAMES), *dice.pick(&NAMES));
        let renamed = dice.once_in(2);
        if from != to && mount.has(from) {
            put(mount, to, std::fs::read(mount.path(from)).expect("a file"));
            if renamed {
                mount.remove(from);
            }
        }
    }
    if mount.has("big/model.bin") && dice.once_in(2) {
        let mut content = std::fs::read(mount.path("big/model.bin")).expect("a file");
        let at = usize::try_from(dice.below(content.len() as u64)).expect("it is an index");
        content[at] ^= 1;
        put(mount, "big/model.bin", content);
    }
    if mount.has("big/model.bin") && dice.once_in(2) {
        put(mount, "big/twin.bin", std::fs::read(mount.path("big/model.bin")).expect("a file"));
    }
}

fn write(dice: &mut Seed, mount: &Mount, name: &str) {
    let size = if name.starts_with("big/") { *dice.pick(&LARGE) } else { *dice.pick(&SIZES) };
    let content = bytes(dice, size);
    put(mount, name, content);
}

fn put(mount: &Mount, name: &str, content: Vec<u8>) {
    // A file's time travels with its content alone: the same content has the same time.
    let time = content.iter().take(8).fold(content.len() as u64, |time, byte| time << 7 ^ u64::from(*byte));
    mount.write(name, content).mtime(name, 1_700_000_000_000_000_000 + (time >> 5));
}

/// So many bytes.
pub(super) fn bytes(dice: &mut Seed, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(dice.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
