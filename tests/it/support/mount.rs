//! A mount in a temporary directory of its own, with the home directory of the one who works in it. Knows nothing of lsync's state.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use tempfile::TempDir;

use super::canary;

/// A mount, removed when dropped. It lies in `<temporary>/mounts/`, as a filesystem does in `/lambda/nfs/`.
pub(crate) struct Mount {
    dir: TempDir,
    root: PathBuf,
}

/// One thing in a mount, as [`Mount::tree`] finds it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// Relative to the mount, lossily decoded.
    pub(crate) path: String,
    /// `file`, `link`, `dir` or `special`.
    pub(crate) kind: &'static str,
    /// Permission bits; 0 for links, which have none.
    pub(crate) mode: u32,
    /// Nanoseconds since 1970 of a file; 0 for everything else, because only a file's time travels.
    pub(crate) mtime: i128,
    /// MD5 of a file in hexadecimal, target of a link, else empty.
    pub(crate) content: String,
}

impl Mount {
    /// An empty mount.
    pub(crate) fn new() -> Mount {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("mounts").join("research");
        fs::create_dir_all(&root).expect("the mount");
        fs::create_dir(dir.path().join("home")).expect("the home directory");
        Mount { dir, root }
    }

    /// A mount with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Mount {
        let mount = Mount::new();
        for (path, content) in files {
            mount.write(path, content);
        }
        mount
    }

    /// True on tmpfs, where no checksum is remembered because nothing shows that a file has changed.
    pub(crate) fn forgets(&self) -> bool {
        lsync::local::mount::Mount::open(self.root()).expect("it opens").writers() == lsync::local::witness::Writers::Unseen
    }

    /// The mount's root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that holds the mount, for `LSYNC_MOUNTS`.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.dir.path().join("mounts")
    }

    /// The home directory of who works here; empty at first.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where a relative path lies.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Mount {
        fs::write(self.place(path), content).unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
        self
    }

    /// Makes a link.
    pub(crate) fn link(&self, path: &str, target: &str) -> &Mount {
        symlink(target, self.place(path)).unwrap_or_else(|e| panic!("cannot link {path}: {e}"));
        self
    }

    /// Makes a directory.
    pub(crate) fn dir(&self, path: &str) -> &Mount {
        fs::create_dir_all(self.path(path)).unwrap_or_else(|e| panic!("cannot make {path}: {e}"));
        self
    }

    /// Sets permission bits.
    pub(crate) fn mode(&self, path: &str, mode: u32) -> &Mount {
        fs::set_permissions(self.path(path), PermissionsExt::from_mode(mode)).unwrap_or_else(|e| panic!("cannot chmod {path}: {e}"));
        self
    }

    /// Sets a file's modification time, in nanoseconds since 1970.
    pub(crate) fn mtime(&self, path: &str, nanos: u64) -> &Mount {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
        let file = fs::File::options().write(true).open(self.path(path));
        file.and_then(|f| f.set_modified(time)).unwrap_or_else(|e| panic!("cannot set the time of {path}: {e}"));
        self
    }

    /// Removes a file, a link, or a directory with all that it holds.
    pub(crate) fn remove(&self, path: &str) -> &Mount {
        let full = self.path(path);
        let meta = fs::symlink_metadata(&full).unwrap_or_else(|e| panic!("cannot find {path}: {e}"));
        let removed = if meta.is_dir() { fs::remove_dir_all(&full) } else { fs::remove_file(&full) };
        removed.unwrap_or_else(|e| panic!("cannot remove {path}: {e}"));
        self
    }

    /// A file's content as text.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
    }

    /// True when something lies there; links are not followed.
    pub(crate) fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// All that lies in the mount, directories included, sorted by path; what lsync keeps for itself at the top is left out.
    pub(crate) fn tree(&self) -> Vec<Node> {
        tree(&self.root)
    }

    /// Contents of the files in the trash, in order of their paths.
    pub(crate) fn trash(&self) -> Vec<String> {
        let root = self.path(".lsync/trash");
        if !root.is_dir() {
            return Vec::new();
        }
        // Each operation keeps its own records in a `.lsync` of its own.
        let kept = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|e| e.depth() < 2 || e.file_name() != ".lsync");
        let files = kept.map(|entry| entry.expect("a readable trash")).filter(|entry| entry.file_type().is_file());
        files.map(|file| fs::read_to_string(file.path()).expect("files of tests are text")).collect()
    }

    /// Files in `.lsync/`, sorted and relative to it, but for what always stays there: state, what is known about the store, id, log and clock
    /// probe.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let own = self.root.join(".lsync");
        let files = walkdir::WalkDir::new(&own).into_iter().filter_map(Result::ok).filter(|e| !e.file_type().is_dir());
        let mut paths: Vec<String> =
            files.map(|e| e.path().strip_prefix(&own).expect("it is below").to_string_lossy().into_owned()).collect();
        let stays = |path: &str| ["clock", "log"].contains(&path) || ["state-", "store-", "mount-"].iter().any(|own| path.starts_with(own));
        paths.retain(|path| !stays(path));
        paths.sort();
        paths
    }

    fn place(&self, path: &str) -> PathBuf {
        let full = self.path(path);
        let above = full.parent().expect("a path in the mount has a parent");
        fs::create_dir_all(above).unwrap_or_else(|e| panic!("cannot make the directory of {path}: {e}"));
        full
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let found = canary::file_with_one(&self.root.join(".lsync"));
        assert!(found.is_none() || std::thread::panicking(), "a secret is in {found:?}");
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:03o} {} {} {}", self.kind, self.mode, self.mtime, self.path, self.content)
    }
}

/// Bytes that differ from place to place.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).step_by(8).flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(len).collect()
}

/// All that lies below a directory, as [`Mount::tree`] tells it.
pub(crate) fn tree(root: &Path) -> Vec<Node> {
    let mut nodes = Vec::new();
    let entries = walkdir::WalkDir::new(root).min_depth(1);
    for entry in entries.into_iter().filter_entry(|e| e.depth() != 1 || e.file_name() != ".lsync") {
        let entry = entry.expect("a readable tree");
        let path = entry.path().strip_prefix(root).expect("the walk stays below its root");
        nodes.push(node(path, entry.path(), &entry.metadata().expect("metadata")));
    }
    nodes.sort();
    nodes
}

fn node(path: &Path, full: &Path, meta: &Metadata) -> Node {
    let path = path.to_string_lossy().into_owned();
    let mode = meta.mode() & 0o777;
    if meta.is_symlink() {
        let target = fs::read_link(full).expect("a link has a target");
        return Node { path, kind: "link", mode: 0, mtime: 0, content: target.to_string_lossy().into_owned() };
    }
    if meta.is_dir() {
        return Node { path, kind: "dir", mode, mtime: 0, content: String::new() };
    }
    if !meta.is_file() {
        return Node { path, kind: "special", mode, mtime: 0, content: String::new() };
    }
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    let content = fs::read(full).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    Node { path, kind: "file", mode, mtime, content: data_encoding::HEXLOWER.encode(&Md5::digest(content)) }
}

#[test]
fn a_tree_tells_kind_mode_time_and_content() {
    let mount = Mount::with(&[("data/a.txt", "hello"), (".lsync/base", "state")]);
    mount.link("latest", "data/a.txt").dir("empty").mode("empty", 0o755).mode("data", 0o750);
    mount.mode("data/a.txt", 0o640).mtime("data/a.txt", 1_700_000_000_123_456_789);
    insta::assert_debug_snapshot!(mount.tree(), @r"
    [
        dir 750 0 data ,
        file 640 1700000000123456789 data/a.txt 5d41402abc4b2a76b9719d911017c592,
        dir 755 0 empty ,
        link 000 0 latest data/a.txt,
    ]
    ");
    let before = mount.tree();
    assert!(mount.has("latest") && mount.text("data/a.txt") == "hello");
    mount.remove("latest").remove("data");
    assert_ne!(mount.tree(), before);
}
