//! Tests that mount file systems: ignored by `cargo test`, because most users may not; `.ci/run` runs them where it can, and says so
//! where it cannot. In here nothing is skipped: a mount that fails is a failure.

mod disks;
mod namespaces;
mod no_room;
mod users;

use std::path::{Path, PathBuf};

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;

/// A mounted file system, unmounted when dropped. Make it after the [`Mount`] that it lies in, so that it goes first.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts as the words say, at a directory.
    #[track_caller]
    fn at(dir: &Path, words: &str) -> Mounted {
        Cmd::program("mount", Path::new("/")).args(words).arg(dir).run().expect(0);
        Mounted(dir.to_owned())
    }

    /// A file system of this type on a new disk of so many MiB, over the mount's root. `format` makes it.
    #[track_caller]
    fn disk(mount: &Mount, fs_type: &str, mebibytes: u64, format: &str) -> Mounted {
        let image = mount.home().join("disk");
        std::fs::File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("the test's own directory");
        Cmd::program("sh", Path::new("/")).arg("-c").arg(format!("{format} \"$0\"")).arg(&image).run().expect(0);
        Cmd::program("mount", Path::new("/")).args("-o loop -t").arg(fs_type).arg(&image).arg(mount.root()).run().expect(0);
        Mounted(mount.root().to_owned())
    }

    /// Mounts it again, as the words say.
    #[track_caller]
    fn again(&self, words: &str) {
        Cmd::program("mount", Path::new("/")).args(words).arg(&self.0).run().expect(0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Cmd::program("umount", Path::new("/")).arg("-l").arg(&self.0).run();
    }
}
