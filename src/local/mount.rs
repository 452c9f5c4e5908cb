//! Finding the mount, opening it, and doing single operations below it. Does not walk it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::{Dir, PRIVATE, in_the_way};
use super::elsewhere::{Elsewhere, Place};
use super::touched::Touched;
use super::witness::{Witness, Witnesses, Writers};
use crate::entry::time::time;
use crate::path::{BadPath, RESERVED, RelPath, Shown};

pub use crate::entry::Stamp;

/// What a mount may be found from, strongest first.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// `--root`, `LSYNC_ROOT` or `[local] root`, and which of them it is.
    pub given: Option<(&'a Path, &'a str)>,
    /// Where the command runs.
    pub current_dir: &'a Path,
    /// `LSYNC_MOUNTS`: the directory whose children are mounts (`/lambda/nfs`).
    pub mounts: &'a Path,
}

/// A failed operation on the mount: what was tried, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct LocalError {
    /// What was tried: `cannot read`, `cannot write`, ….
    pub doing: &'static str,
    /// The path, made safe to show.
    pub path: String,
    /// The reason.
    pub source: io::Error,
}

/// What was tried when the mount went away.
const LOST: &str = "lost the mount";

/// No mount, or not a usable one.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NoMount {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The open mount.
#[derive(Debug)]
pub struct Mount {
    root: PathBuf,
    top: Dir,
    /// Device and inode of the root when it was opened.
    identity: (u64, u64),
    touched: Arc<Touched>,
    witnesses: Witnesses,
    pub(super) elsewhere: Elsewhere,
}

/// What [`Mount::look`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A regular file, with its permission bits.
    File(Stamp, u32),
    /// A link and its target (lossless: `None` when it is no UTF-8).
    Link(Option<String>),
    /// A directory; true when it has no entries.
    Dir(bool),
    /// A socket, FIFO or device.
    Special,
}

impl Stamp {
    /// The stamp of an open file or of a `lstat`.
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

impl LocalError {
    /// For `map_err`: `path` is shown through [`Shown`].
    pub(crate) fn at<E: Into<io::Error>>(doing: &'static str, path: &str) -> impl FnOnce(E) -> LocalError + use<E> {
        let path = Shown(path).to_string();
        move |source| LocalError { doing, path, source: source.into() }
    }

    /// True when the mount itself went away.
    #[must_use]
    pub fn is_lost_mount(&self) -> bool {
        self.doing == LOST
    }

    fn root<E: Into<io::Error>>(doing: &'static str, root: &Path) -> impl FnOnce(E) -> LocalError + use<E> {
        LocalError::at(doing, &root.to_string_lossy())
    }
}

impl Mount {
    /// Finds the mount's root directory: given, else the nearest ancestor that holds `.lsync/`, else the child of `mounts` that holds
    /// the current directory. Opens nothing.
    pub fn locate(lookup: &Lookup<'_>) -> Result<PathBuf, NoMount> {
        if let Some((path, origin)) = lookup.given {
            let root = lookup.current_dir.join(path);
            return match std::fs::metadata(&root) {
                Ok(found) if found.is_dir() => Ok(root),
                Ok(_) => Err(no_mount(format!("{origin} names {}, which is not a directory", shown(path)), "give the mount's directory")),
                Err(e) => Err(no_mount(
                    format!("{origin} names {}: {e}", shown(path)),
                    "give the mount's directory, and check that it is mounted",
                )),
            };
        }
        let here = resolved(lookup.current_dir);
        let holds_ours = |dir: &&Path| std::fs::symlink_metadata(dir.join(RESERVED)).is_ok_and(|found| found.is_dir());
        if let Some(root) = here.ancestors().find(holds_ours) {
            return Ok(root.to_owned());
        }
        let places = [(lookup.current_dir, lookup.mounts.to_owned()), (&here, resolved(lookup.mounts))];
        for (here, mounts) in places {
            let child = here.strip_prefix(&mounts).ok().and_then(|rest| rest.components().next());
            if let Some(Component::Normal(name)) = child {
                return Ok(mounts.join(name));
            }
        }
        Err(NoMount {
            message: format!("the current directory {} is not inside a mount", shown(lookup.current_dir)),
            hint: format!("pass --root DIR, set LSYNC_ROOT, or run this below {}", shown(&lookup.mounts.join("<name>"))),
        })
    }

    /// Opens a root directory. Creates nothing.
    pub fn open(root: &Path) -> Result<Mount, NoMount> {
        let failed = |e: io::Error| NoMount {
            message: format!("cannot open the mount {}: {e}", shown(root)),
            hint: "check that it is mounted and that you may read it, or pass another one with --root DIR".into(),
        };
        let path = root.canonicalize().map_err(failed)?;
        let top = Dir::open_root(&path).map_err(failed)?;
        let own = top.own_status().map_err(failed)?;
        let touched = Arc::new(Touched::new(top.dir("").map_err(failed)?));
        Ok(Mount {
            root: path,
            top,
            identity: (own.device, own.stamp.inode),
            touched,
            witnesses: Witnesses::default(),
            elsewhere: Elsewhere::default(),
        })
    }

    /// The root, absolute, links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root's descriptor.
    pub(crate) fn top(&self) -> &Dir {
        &self.top
    }

    /// The directories in which this process changed names, until they are durable.
    pub(super) fn touched(&self) -> &Arc<Touched> {
        &self.touched
    }

    /// What is saved next tells of files that other programs wrote, which may not be durable yet: it waits until all of the mount is.
    pub fn distrust_writers(&self) {
        self.touched.add_everything();
    }

    /// How this file system shows who writes to its files.
    #[must_use]
    pub fn writers(&self) -> Writers {
        self.witnesses.writers(&self.top)
    }

    /// What will tell that an open file of the mount, which carries this stamp, changes after now.
    pub(super) fn witness(&self, file: &std::fs::File, stamp: &Stamp) -> Witness {
        self.witnesses.of(&self.top, file, stamp)
    }

    /// What tells that a file changes which this process has just written and nobody else can have open yet.
    #[must_use]
    pub fn witness_of_own(&self) -> Witness {
        if self.writers() == Writers::Unseen { Witness::Nothing } else { Witness::Times }
    }

    /// Device and inode of the root.
    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The device that the root lies on.
    pub(crate) fn device(&self) -> u64 {
        self.identity.0
    }

    /// A directory below the place that state is written to, `.lsync/` (`""`: that one itself), created with mode 0700 where it is missing.
    pub(crate) fn make_internal(&self, below: &str) -> Result<Dir, LocalError> {
        if self.place() == Place::Elsewhere {
            return self.make_elsewhere(below);
        }
        let path = internal(below);
        self.top.make_dirs(&path, PRIVATE).map_err(LocalError::at("cannot create", &path))
    }

    /// A directory below the place that state is written to; `None` when it is not there.
    pub(crate) fn open_internal(&self, below: &str) -> Result<Option<Dir>, LocalError> {
        match self.place() {
            Place::Here => self.open_home(below),
            Place::Elsewhere => self.open_elsewhere(below),
            Place::Memory => Ok(None),
        }
    }

    /// A directory below `.lsync/` (`""`: that one itself), wherever state is written; `None` when it is not there.
    pub(super) fn open_home(&self, below: &str) -> Result<Option<Dir>, LocalError> {
        let path = internal(below);
        match self.top.dir(&path) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(LocalError::at("cannot open", &path)(e)),
        }
    }

    /// Still the directory that was opened: it exists at its path with the same device and inode (an unmounted NFS shows another).
    pub fn still_there(&self) -> Result<(), LocalError> {
        let now = std::fs::metadata(&self.root).map_err(LocalError::root(LOST, &self.root))?;
        if (now.dev(), now.ino()) == self.identity {
            return Ok(());
        }
        let why = io::Error::other("another directory stands there now; was it unmounted?");
        Err(LocalError::root(LOST, &self.root)(why))
    }

    /// Free bytes for this user, and the size of the file system.
    pub fn space(&self) -> Result<(u64, u64), LocalError> {
        let stat = rustix::fs::fstatvfs(&self.top).map_err(LocalError::root("cannot tell the free space of", &self.root))?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// The path a command-line argument means: relative to `current_dir`, cleaned without following links. `Ok(None)` is the mount
    /// itself; outside the mount, or empty, is an error that says so.
    pub fn relative(&self, current_dir: &Path, argument: &Path) -> Result<Option<RelPath>, NoMount> {
        let refused = |why: String| NoMount {
            message: format!("{}: {why}", shown(argument)),
            hint: format!("paths are relative to the current directory and must lie below {}", shown(&self.root)),
        };
        if argument.as_os_str().is_empty() {
            // An unset shell variable must not come to mean everything.
            return Err(refused("the path is empty".into()));
        }
        let whole = cleaned(&resolved(current_dir).join(argument));
        let below = match whole.strip_prefix(&self.root) {
            Ok(below) => below,
            // The way to the mount may lead through links (`~/data` for `/lambda/nfs/data`); below the mount none is followed.
            Err(_) => whole
                .ancestors()
                .filter(|above| above.canonicalize().is_ok_and(|above| above == self.root))
                .last()
                .and_then(|above| whole.strip_prefix(above).ok())
                .ok_or_else(|| refused(format!("it is outside the mount {}", shown(&self.root))))?,
        };
        if below.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = below.to_str().ok_or_else(|| refused(BadPath::NotUtf8.to_string()))?;
        RelPath::new(text).map(Some).map_err(|why| refused(why.to_string()))
    }

    /// What lies at a path now, links not followed; `None` when nothing does. For a file its stamp.
    pub fn look(&self, path: &RelPath) -> Result<Option<Looked>, LocalError> {
        self.look_at(path).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(None),
            // A link or a file stands where a directory would have to be: nothing lies below it.
            _ if in_the_way(&e) => Ok(None),
            _ => Err(LocalError::at("cannot look at", path.as_str())(e)),
        })
    }

    /// Why a file cannot be read, as far as permissions tell; `None` when they let it.
    pub(crate) fn may_not_read(&self, path: &RelPath) -> Option<LocalError> {
        let refused = self.top.may_read(path.as_str()).err().filter(|e| e.kind() == io::ErrorKind::PermissionDenied)?;
        Some(LocalError::at("cannot read", path.as_str())(refused))
    }

    /// What lies in the nearest directory above `path` that exists, as paths; nothing where it cannot be read.
    pub(crate) fn beside(&self, path: &RelPath) -> Vec<String> {
        for dir in path.ancestors().chain([""]) {
            if let Ok(names) = self.top.dir(dir).and_then(|opened| opened.names()) {
                let names = names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| name != RESERVED);
                return names.map(|name| if dir.is_empty() { name } else { format!("{dir}/{name}") }).collect();
            }
        }
        Vec::new()
    }

    /// True when something lies in the mount beside what lsync keeps there and what `but` names.
    pub(crate) fn holds_anything_but(&self, but: &dyn Fn(&str) -> bool) -> bool {
        let counts = |name: &std::ffi::OsString| name != RESERVED && !name.to_str().is_some_and(but);
        self.top.dir("").and_then(|top| top.names()).is_ok_and(|names| names.iter().any(counts))
    }

    fn look_at(&self, path: &RelPath) -> io::Result<Option<Looked>> {
        let (parent, name) = self.top.parent_of(path.as_str())?;
        let Some(found) = parent.status(name)? else { return Ok(None) };
        Ok(Some(match found.kind {
            FileType::RegularFile => Looked::File(found.stamp, found.mode),
            FileType::Symlink => Looked::Link(parent.read_link(name)?.into_string().ok()),
            FileType::Directory => Looked::Dir(parent.dir(name)?.is_empty()?),
            _ => Looked::Special,
        }))
    }
}

fn internal(below: &str) -> String {
    if below.is_empty() { RESERVED.to_owned() } else { format!("{RESERVED}/{below}") }
}

fn no_mount(message: String, hint: &str) -> NoMount {
    NoMount { message, hint: hint.to_owned() }
}

fn shown(path: &Path) -> String {
    Shown(&path.to_string_lossy()).to_string()
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Takes `.` and `..` away by the text alone.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn lookup<'a>(current_dir: &'a Path, mounts: &'a Path) -> Lookup<'a> {
        Lookup { given: None, current_dir, mounts }
    }

    fn temp() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        (temp, root)
    }

    #[test]
    fn the_nearest_directory_that_holds_lsync_is_the_mount() {
        let (_temp, dir) = temp();
        std::fs::create_dir_all(dir.join("nfs/data/a/b")).unwrap();
        let (mounts, deep) = (dir.join("nfs"), dir.join("nfs/data/a/b"));
        assert_eq!(Mount::locate(&lookup(&deep, &mounts)).unwrap(), dir.join("nfs/data"));
        std::fs::create_dir(dir.join("nfs/data/a/.lsync")).unwrap();
        assert_eq!(Mount::locate(&lookup(&deep, &mounts)).unwrap(), dir.join("nfs/data/a"));
        std::fs::write(dir.join("nfs/data/a/b/.lsync"), "a file is no mark").unwrap();
        assert_eq!(Mount::locate(&lookup(&deep, &mounts)).unwrap(), dir.join("nfs/data/a"));
    }

    #[test]
    fn the_given_root_wins_and_is_checked() {
        let (_temp, dir) = temp();
        std::fs::create_dir_all(dir.join("a/.lsync")).unwrap();
        std::fs::create_dir(dir.join("b")).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        let given =
            |root: &'static str| Mount::locate(&Lookup { given: Some((Path::new(root), "--root")), ..lookup(&dir.join("a"), &dir) });
        assert_eq!(given("../b").unwrap(), dir.join("a/../b"));
        assert_eq!(given("../file").unwrap_err().message, "--root names ../file, which is not a directory");
        assert!(given("none").unwrap_err().message.starts_with("--root names none: No such file"));
    }

    #[test]
    fn outside_every_mount_the_error_says_what_to_pass() {
        let (_temp, dir) = temp();
        std::fs::create_dir(dir.join("nfs")).unwrap();
        for here in [dir.clone(), dir.join("nfs")] {
            let error = Mount::locate(&lookup(&here, &dir.join("nfs"))).unwrap_err();
            assert_eq!(error.message, format!("the current directory {} is not inside a mount", here.display()));
            assert!(error.hint.contains("--root DIR") && error.hint.contains("LSYNC_ROOT"), "{}", error.hint);
        }
        assert!(Mount::open(&dir.join("none")).unwrap_err().message.starts_with("cannot open the mount"));
    }

    #[test]
    fn the_id_is_made_once_and_lsync_is_private() {
        let (_temp, dir) = temp();
        let mount = Mount::open(&dir).unwrap();
        assert_eq!(mount.id().unwrap(), None);
        assert!(!dir.join(".lsync").exists(), "looking creates nothing");
        let id = mount.ensure_id().unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(mount.ensure_id().unwrap(), id);
        assert_eq!(Mount::open(&dir).unwrap().id().unwrap(), Some(id));
        assert_eq!(std::fs::metadata(dir.join(".lsync")).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(dir.join(".lsync/mount-00000000000000000000000000000000"), "").unwrap();
        std::fs::write(dir.join(".lsync/mount-0"), "").unwrap();
        assert_eq!(mount.id().unwrap(), Some("0".repeat(32)));
    }

    #[test]
    fn a_planted_lsync_link_is_refused() {
        let (_temp, dir) = temp();
        std::fs::create_dir_all(dir.join("root")).unwrap();
        std::fs::create_dir_all(dir.join("elsewhere")).unwrap();
        symlink("../elsewhere", dir.join("root/.lsync")).unwrap();
        assert_eq!(Mount::open(&dir.join("root")).unwrap().ensure_id().unwrap_err().to_string(), "cannot open .lsync");
        assert_eq!(std::fs::read_dir(dir.join("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn a_mount_that_was_replaced_is_noticed() {
        let (_temp, dir) = temp();
        std::fs::create_dir(dir.join("root")).unwrap();
        let mount = Mount::open(&dir.join("root")).unwrap();
        mount.still_there().unwrap();
        assert!(mount.space().unwrap().1 > 0);
        std::fs::rename(dir.join("root"), dir.join("old")).unwrap();
        assert!(mount.still_there().unwrap_err().to_string().starts_with("lost the mount "));
        std::fs::create_dir(dir.join("root")).unwrap();
        assert!(mount.still_there().is_err());
    }

    #[test]
    fn arguments_are_cleaned_and_no_link_below_the_mount_is_followed() {
        let (_temp, dir) = temp();
        std::fs::create_dir_all(dir.join("root/a/b")).unwrap();
        symlink("a/b", dir.join("root/link")).unwrap();
        symlink("root", dir.join("way")).unwrap();
        let mount = Mount::open(&dir.join("way")).unwrap();
        assert_eq!(mount.root(), dir.join("root"));
        #[track_caller]
        fn check(mount: &Mount, from: &Path, argument: &str, expected: Option<&str>) {
            let found = mount.relative(from, Path::new(argument)).unwrap();
            assert_eq!(found.as_ref().map(RelPath::as_str), expected, "{argument}");
        }
        let (root, a) = (dir.join("root"), dir.join("root/a"));
        check(&mount, &root, ".", None);
        check(&mount, &root, "./", None);
        assert!(mount.relative(&root, Path::new("")).unwrap_err().message.ends_with("the path is empty"));
        check(&mount, &a, "..", None);
        check(&mount, &root, "a/b/", Some("a/b"));
        check(&mount, &a, "./b/../c//d", Some("a/c/d"));
        check(&mount, &a, "../link/x", Some("link/x"));
        check(&mount, &root, "link/../x", Some("x"));
        check(&mount, &dir.join("root/link"), "c", Some("a/b/c"));
        check(&mount, &dir.join("way"), "a", Some("a"));
        check(&mount, &dir, "way/link/x", Some("link/x"));
        check(&mount, &dir, "root/../way", None);
        check(&mount, &dir, dir.join("root/a").to_str().unwrap(), Some("a"));
        for outside in ["../x", "..", "/", "../root2", "/etc/passwd"] {
            let error = mount.relative(&root, Path::new(outside)).unwrap_err();
            assert!(error.message.contains("is outside the mount"), "{error}");
        }
        assert!(mount.relative(&root, Path::new(&"n".repeat(300))).is_err());
    }

    #[test]
    fn looking_tells_kinds_and_follows_nothing() {
        let (_temp, dir) = temp();
        std::fs::create_dir_all(dir.join("full/empty")).unwrap();
        std::fs::write(dir.join("file"), "abc").unwrap();
        symlink("full", dir.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
        let mount = Mount::open(&dir).unwrap();
        let look = |text: &str| mount.look(&path(text)).unwrap();
        assert!(matches!(look("file"), Some(Looked::File(stamp, mode)) if stamp.size == 3 && mode & 0o600 == 0o600));
        assert_eq!(look("link"), Some(Looked::Link(Some("full".into()))));
        assert_eq!(look("full"), Some(Looked::Dir(false)));
        assert_eq!(look("full/empty"), Some(Looked::Dir(true)));
        assert_eq!(look("socket"), Some(Looked::Special));
        for none in ["none", "none/x", "file/x", "link/empty"] {
            assert_eq!(look(none), None, "{none}");
        }
        let metadata = std::fs::metadata(dir.join("file")).unwrap();
        assert!(matches!(look("file"), Some(Looked::File(stamp, _)) if stamp == Stamp::of(&metadata)));
    }
}
