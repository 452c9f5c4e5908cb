//! The pure hot paths by themselves, over a tree of 100,000 files: `cargo bench --bench pure`. Knows no store; only the walk sees a disk.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use lsync::diff::{Triple, merge, standing};
use lsync::digest::{Digests, ETag, Md5, digest_many, digest_one};
use lsync::entry::{Entry, File, Kind, Local, Stamp, Tree};
use lsync::filter::{Filter, Patterns};
use lsync::local::mount::Mount;
use lsync::local::scan::{Walk, scan};
use lsync::manifest::{FORMAT, Header, Manifest};
use lsync::path::RelPath;
use lsync::plan::{Choices, Direction, Input, build};
use lsync::view::{self, Listed, Listing, Remembered, Remote};

const FILES: usize = 100_000;
const FILES_PER_DIR: usize = 100;
/// The walk meets fewer, because they are made each time.
const FILES_ON_DISK: usize = 10_000;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    digests(&mut criterion);
    let tree = tree();
    manifests(&mut criterion, &tree);
    decisions(&mut criterion, &tree);
    views(&mut criterion, &tree);
    walks(&mut criterion);
    criterion.final_summary();
}

fn path(number: usize) -> String {
    let dir = number / FILES_PER_DIR;
    format!("group{:02}/run{dir:04}/result_{:04}.npy", dir / 100, number % FILES_PER_DIR)
}

/// As the manifest has it: every file listed and its digest known.
fn tree() -> Tree {
    let entry = |number: usize| {
        let md5 = digest_one(&number.to_le_bytes());
        let file = File { size: 4096, mtime: Some(1_700_000_000_000_000_000), digests: Digests::of_whole(md5), etag: Some(ETag::Hex(md5)) };
        (RelPath::new(&path(number)).expect("a path"), Arc::new(Entry { kind: Kind::File(file), mode: Some(0o644) }))
    };
    (0..FILES).map(entry).collect()
}

fn digests(criterion: &mut Criterion) {
    let messages: Vec<Vec<u8>> = (0..8_u8).map(|fill| vec![fill; 8 << 20]).collect();
    let parts: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let small: Vec<&[u8]> = messages[0].chunks(4096).collect();
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(8 << 20));
    group.bench_function("one message of 8 MiB", |b| b.iter(|| digest_one(black_box(parts[0]))));
    group.bench_function("2,048 messages of 4 KiB", |b| b.iter(|| digest_many(black_box(&small))));
    group.throughput(Throughput::Bytes(8 * (8 << 20)));
    group.bench_function("eight messages of 8 MiB", |b| b.iter(|| digest_many(black_box(&parts))));
    group.finish();
}

fn manifests(criterion: &mut Criterion, tree: &Tree) {
    let header = Header {
        lsync: "manifest".into(),
        v: FORMAT,
        lineage: "0".repeat(32),
        parents: Vec::new(),
        host: "bench".into(),
        operation: "0".repeat(32),
        command: "upload".into(),
        time: 0,
        scope: Vec::new(),
        torn: Vec::new(),
        sets: Vec::new(),
        dirs: None,
        deleted: vec![],
        files: FILES as u64,
        bytes: 4096 * FILES as u64,
    };
    let manifest = Manifest { header, entries: tree.clone() };
    let bytes = manifest.encode();
    let mut group = criterion.benchmark_group("manifest");
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("encode", |b| b.iter(|| black_box(&manifest).encode()));
    group.bench_function("decode", |b| b.iter(|| Manifest::decode(black_box(&bytes)).expect("it was just written")));
    group.finish();
}

/// The mount as it is when nothing has changed.
fn mount_of(tree: &Tree) -> Vec<(RelPath, Local)> {
    let local = |(path, entry): &(RelPath, Arc<Entry>)| {
        let file = File { etag: None, ..entry.file().cloned().unwrap_or_default() };
        let stamp = Stamp { size: file.size, mtime: 0, ctime: 0, inode: 0 };
        (path.clone(), Local { entry: Entry { kind: Kind::File(file), mode: entry.mode }.into(), stamp: Some(stamp) })
    };
    tree.iter().map(local).collect()
}

/// The bucket as it is then.
fn bucket_of(tree: &Tree) -> Vec<(RelPath, Remote)> {
    let remote =
        |(path, entry): &(RelPath, Arc<Entry>)| (path.clone(), Remote { entry: entry.clone(), last_modified: Some(0), marker: None });
    tree.iter().map(remote).collect()
}

fn decisions(criterion: &mut Criterion, tree: &Tree) {
    let (local, bucket) = (mount_of(tree), bucket_of(tree));
    let base: Vec<(RelPath, &Entry)> = tree.iter().map(|(path, entry)| (path.clone(), &**entry)).collect();
    let nothing_changed = Input {
        local: &local,
        bucket: &bucket,
        idle_markers: &[],
        base: &base,
        vanished: &[],
        removed: &|_| false,
        owed: false,
        base_is_of_this_mount: true,
        problems: &[],
        skipped: &[],
        hollow: &[],
        torn: &[],
        deleted: &[],
        sets: &[],
        umask: 0o022,
    };
    let all_new = Input { bucket: &[], base: &[], ..nothing_changed };
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("diff", |b| {
        b.iter(|| {
            let rows = merge(black_box(&local), black_box(&bucket), black_box(&base));
            let triples = rows.map(|row| Triple {
                local: row.local.map(|local| &*local.entry),
                bucket: row.bucket.map(|remote| &*remote.entry),
                base: row.base.copied(),
            });
            triples.filter_map(standing).count()
        });
    });
    for (name, input) in [("plan, nothing changed", &nothing_changed), ("plan, all new", &all_new)] {
        group.bench_function(name, |b| b.iter(|| build(Direction::Upload, Choices::default(), black_box(input))));
    }
    group.finish();
}

fn views(criterion: &mut Criterion, tree: &Tree) {
    let listed = |(path, entry): &(RelPath, Arc<Entry>)| {
        let etag = entry.file().and_then(|file| file.etag.clone()).unwrap_or(ETag::Hex(Md5([0; 16])));
        Listed { key: path.as_str().to_owned(), size: entry.bytes(), etag, last_modified: 0 }
    };
    let listing = Listing::from(tree.iter().map(listed).collect::<Vec<_>>());
    let filter = Filter::new(&Patterns::default()).expect("no patterns");
    let remembered = |key: &str| {
        let known = lsync::entry::find(tree, key);
        Remembered { path: None, base: known, published: known, foreign: None }
    };
    let mut group = criterion.benchmark_group("view");
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("of a listing that is published", |b| {
        let read = |listing| {
            let mut published = tree.iter().map(|(path, entry)| (path, entry));
            view::read(listing, &remembered, &mut published, &|path, is_dir| Some(filter.scope(path, is_dir)))
        };
        b.iter_batched(|| listing.clone(), read, BatchSize::PerIteration);
    });
    group.finish();
}

fn walks(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for number in 0..FILES_ON_DISK {
        let file = dir.path().join(path(number));
        if number % FILES_PER_DIR == 0 {
            fs::create_dir_all(file.parent().expect("a file has one")).expect("a writable directory");
        }
        fs::write(file, b"x").expect("a writable directory");
    }
    let mount = Mount::open(dir.path()).expect("a directory");
    let patterns = Patterns::default();
    let walk = Walk { patterns: &patterns, rules: None, recall: &|_| None, scope: &[], progress: &|_, _| {}, stop: &|| false };
    let mut group = criterion.benchmark_group("walk");
    group.throughput(Throughput::Elements(FILES_ON_DISK as u64));
    group.bench_function("of 10,000 files", |b| b.iter(|| scan(&mount, &walk).expect("a readable directory")));
    group.finish();
}
