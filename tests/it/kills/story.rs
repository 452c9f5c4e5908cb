//! The runs that are killed: what lies on both sides before, and what must lie there in the end. Kills nothing.

use std::collections::BTreeMap;

use crate::support::cmd::Cmd;
use crate::support::mount::{Mount, Node, noise};
use crate::support::s3::S3;

/// Which run is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Story {
    /// New, changed, deleted, of another kind, links, empty directories, permission bits; all in single requests.
    Upload,
    /// The same with a file that travels in parts.
    UploadLarge,
    /// As [`Story::Upload`], the other way: replaced and deleted files go to the trash.
    Download,
    /// The same with a file that comes in ranges.
    DownloadLarge,
    /// Both sides hold the same and nothing is remembered: only the state is written.
    Learn,
}

impl Story {
    pub(super) const ALL: [Story; 5] = [Story::Upload, Story::UploadLarge, Story::Download, Story::DownloadLarge, Story::Learn];

    fn is_large(self) -> bool {
        matches!(self, Story::UploadLarge | Story::DownloadLarge)
    }

    pub(super) fn is_upload(self) -> bool {
        matches!(self, Story::Upload | Story::UploadLarge | Story::Learn)
    }

    fn words(self) -> &'static str {
        if self.is_upload() { "upload --yes --delete -j 2" } else { "download --yes --delete -j 2" }
    }
}

/// All that a story needs, right before its run.
pub(super) struct Scene {
    pub(super) story: Story,
    pub(super) s3: S3,
    /// Where the run is killed.
    pub(super) mount: Mount,
    /// What the mount holds before, and what both sides must hold in the end.
    pub(super) before: Vec<Node>,
    pub(super) wanted: Vec<Node>,
    /// The bucket before: all keys.
    pub(super) objects: BTreeMap<String, Vec<u8>>,
}

impl Scene {
    pub(super) fn set(story: Story) -> Scene {
        let (s3, mount) = (S3::start(), Mount::new());
        first(&mount, story.is_large());
        let run = |mount: &Mount, words: &str| Cmd::lsync(mount).on(&s3.store).args(words).run().expect(0);
        let wanted = match story {
            Story::Learn => {
                for node in mount.tree().iter().filter(|node| node.kind == "file") {
                    s3.put(&node.path, mount.text(&node.path));
                }
                // Links and empty directories would be news.
                mount.remove("latest").remove("empty");
                mount.tree()
            }
            Story::Upload | Story::UploadLarge => {
                run(&mount, "upload --yes");
                edit(&mount, story.is_large());
                mount.tree()
            }
            Story::Download | Story::DownloadLarge => {
                run(&mount, "upload --yes");
                let other = Mount::new();
                run(&other, "download --yes");
                edit(&other, story.is_large());
                run(&other, "upload --yes --delete");
                other.tree()
            }
        };
        let objects = s3.all_keys().into_iter().map(|key| (key.clone(), s3.content(&key))).collect();
        Scene { story, before: mount.tree(), wanted, objects, s3, mount }
    }

    /// The run.
    pub(super) fn cmd(&self) -> Cmd {
        self.lsync(self.story.words())
    }

    /// The run in the other direction.
    pub(super) fn back(&self) -> Cmd {
        self.lsync(if self.story.is_upload() { Story::Download } else { Story::Upload }.words())
    }

    pub(super) fn lsync(&self, words: &str) -> Cmd {
        Cmd::lsync(&self.mount).on(&self.s3.store).args(words)
    }
}

fn first(mount: &Mount, large: bool) {
    for (path, text) in [("data/same", "same"), ("data/change", "old"), ("data/gone", "it was here"), ("kind", "a file"), ("run.sh", "sh")]
    {
        mount.write(path, text);
    }
    mount.mode("run.sh", 0o644).link("latest", "data/same").dir("empty");
    if large {
        mount.write("data/large", "small at first");
    }
}

fn edit(mount: &Mount, large: bool) {
    mount.write("data/change", "new content").remove("data/gone").write("data/new", "new").write("more/new", "also new");
    mount.remove("kind").write("kind/below", "of another kind").mode("run.sh", 0o755);
    mount.remove("latest").link("latest", "data/new").remove("empty").dir("hollow");
    if large {
        mount.write("data/large", noise(17 << 20));
    }
}
