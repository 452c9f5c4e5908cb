//! Two mounts that share a bucket, and the runs that a test makes on either. Decides nothing about what is right.

use serde_json::Value;

use super::cmd::{Cmd, Ran};
use super::mount::Mount;
use super::s3::S3;

/// The counts of a summary that most tests look at; with `skipped`, `ignored` and `pending` they are all.
pub(crate) const COUNTS: [&str; 11] =
    ["uploaded", "downloaded", "updated", "deleted", "unchanged", "protected", "conflicts", "unknown", "problems", "failed", "kept"];

/// Two instances of one project.
pub(crate) struct Two {
    pub(crate) s3: S3,
    pub(crate) a: Mount,
    pub(crate) b: Mount,
}

impl Two {
    /// Two empty mounts and an empty bucket.
    pub(crate) fn empty() -> Two {
        Two { s3: S3::start(), a: Mount::new(), b: Mount::new() }
    }

    /// `a` has these files, the bucket has them from there, and `b` from the bucket.
    #[track_caller]
    pub(crate) fn agreed(files: &[(&str, &str)]) -> Two {
        let two = Two::empty();
        for (path, content) in files {
            two.a.write(path, content);
        }
        two.share();
        two
    }

    /// `a` uploads, `b` downloads; both must end complete.
    #[track_caller]
    pub(crate) fn share(&self) {
        self.a("upload --yes").expect(0);
        self.b("download --yes").expect(0);
    }

    /// `lsync ARGS` on the first mount, configured for the bucket.
    pub(crate) fn cmd_a(&self, args: &str) -> Cmd {
        Cmd::lsync(&self.a).on(&self.s3.store).args(args)
    }

    /// The same on the second.
    pub(crate) fn cmd_b(&self, args: &str) -> Cmd {
        Cmd::lsync(&self.b).on(&self.s3.store).args(args)
    }

    /// Runs `lsync ARGS` on the first mount.
    #[track_caller]
    pub(crate) fn a(&self, args: &str) -> Ran {
        self.cmd_a(args).run()
    }

    /// Runs `lsync ARGS` on the second mount.
    #[track_caller]
    pub(crate) fn b(&self, args: &str) -> Ran {
        self.cmd_b(args).run()
    }

    /// An object's content as text.
    #[track_caller]
    pub(crate) fn object(&self, key: &str) -> String {
        String::from_utf8(self.s3.content(key)).expect("objects of tests are text")
    }

    /// Removes an object behind every client's back.
    #[track_caller]
    pub(crate) fn remove_object(&self, key: &str) {
        assert!(self.s3.remove(&self.s3.store.bucket, key).expect("the bucket is there"), "{key} was not there");
    }

    /// Writes an object over NFS: its ETag tells nothing.
    #[track_caller]
    pub(crate) fn put_over_nfs(&self, key: &str, content: &str) {
        self.s3.put_over_nfs(&self.s3.store.bucket, key, content.as_bytes()).expect("the bucket is there");
    }

    /// Names of the published manifests, oldest first.
    pub(crate) fn manifests(&self) -> Vec<String> {
        let keys = self.s3.all_keys();
        keys.iter().filter_map(|key| Some(key.strip_prefix(".lsync/manifests/")?.to_owned())).collect()
    }
}

impl Ran {
    /// The last line of a run with `--json`.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let last = self.json().pop().unwrap_or_else(|| panic!("nothing on stdout; stderr:\n{}", self.stderr));
        assert_eq!(last["type"], "summary", "{last}\n{}", self.stderr);
        last
    }

    /// Those counts of the summary, or of its `would`, that are not zero, as `name=N`, for the names that a test looks at.
    #[track_caller]
    pub(crate) fn counts(&self) -> String {
        let summary = self.summary();
        let known = COUNTS.iter().filter(|name| summary[**name] != 0);
        known.map(|name| format!("{name}={}", summary[*name])).collect::<Vec<_>>().join(" ")
    }

    /// The lines of `--json` of one type.
    #[track_caller]
    pub(crate) fn lines(&self, of: &str) -> Vec<Value> {
        self.json().into_iter().filter(|line| line["type"] == of).collect()
    }
}
