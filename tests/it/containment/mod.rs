//! "Nothing is ever written outside the mount, whatever the keys, links and races are."

mod corpus;
mod keys;
mod swaps;
mod without_openat2;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::mount::{Mount, Node, tree};

/// A directory beside the mount with a file in it that somebody would be sorry for, as it was at first.
struct Outside {
    dir: PathBuf,
    before: Vec<Node>,
}

impl Outside {
    /// `directories` lie in it, so that what is opened by name through a link to it finds its way.
    fn beside(mount: &Mount, directories: &[&str]) -> Outside {
        let dir = mount.home().join("outside");
        for directory in directories.iter().chain(&[""]) {
            fs::create_dir_all(dir.join(directory)).expect("the test's own directory");
            fs::write(dir.join(directory).join("secret"), "not yours").expect("the test's own directory");
        }
        let before = all(&dir);
        Outside { dir, before }
    }

    /// Checks that everything there is as it was.
    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(all(&self.dir), self.before);
    }
}

/// All that lies in a directory, and the directory itself with its mode.
fn all(dir: &Path) -> Vec<Node> {
    assert!(!dir.join(".lsync").exists(), "lsync's own things lie in {}", dir.display());
    tree(dir)
}

/// Paths of the files in the mount, with their content.
fn files(mount: &Mount) -> BTreeMap<String, Vec<u8>> {
    let files = mount.tree().into_iter().filter(|node| node.kind == "file");
    files.map(|node| (node.path.clone(), fs::read(mount.path(&node.path)).expect("a file"))).collect()
}
