//! A property test: random edits on two mounts, random writes of other tools and random runs leave exactly what the reference model
//! (the contract's table on plain maps) leaves, and report it.

mod reference;
mod wild;

use lsync::engine::{self, Ask, Error, Limits, Report};
use lsync::filter::Patterns;
use lsync::path::RelPath;
use lsync::plan::{Choices, Direction, MaxDelete};
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::sandbox::{Copies, Profile};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use self::reference::{End, Node, Run, Side, Told, World};
use crate::support::inside::{ask, ends, runtime};
use crate::support::mount::Mount;
use crate::support::report::asked_for;
use crate::support::s3::S3;

const PATHS: [&str; 4] = ["a", "b", "d/x", "d/y"];
/// All files carry this time: nothing may be decided by it.
const NOON: u64 = 1_700_000_000_000_000_000;

/// A step of a story.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize, &'static str, Node),
    Remove(usize, &'static str),
    Put(&'static str, u8),
    Delete(&'static str),
    Run(Run),
}

/// How many stories a property test tells: what `LSYNC_TEST_STORIES` says, else `few`.
fn stories(few: u32) -> u32 {
    u32::try_from(asked_for("LSYNC_TEST_STORIES", few.into())).expect("so many stories")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || prop::sample::select(&PATHS[..]);
    let who = || 0..2_usize;
    // Few contents, so that the same one comes about on both sides by chance; two of them have the same length.
    let node = prop_oneof![4 => (0..3_u8).prop_map(Node::File), 1 => (0..2_u8).prop_map(Node::Link)];
    let only = prop_oneof![4 => Just(None), 1 => prop::sample::select(&["a", "d", "d/x"][..]).prop_map(Some)];
    let without = prop_oneof![6 => Just(None), 1 => prop::sample::select(&["b", "d/y"][..]).prop_map(Some)];
    let run = (who(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.35), only, without)
        .prop_map(|(who, upload, delete, overwrite, only, without)| Step::Run(Run { who, upload, delete, overwrite, only, without }));
    let step = prop_oneof![
        4 => (who(), path(), node).prop_map(|(who, path, node)| Step::Write(who, path, node)),
        2 => (who(), path()).prop_map(|(who, path)| Step::Remove(who, path)),
        2 => (path(), 0..3_u8).prop_map(|(path, content)| Step::Put(path, content)),
        1 => path().prop_map(Step::Delete),
        6 => run,
    ];
    prop::collection::vec(step, 6..28)
}

fn content(id: u8) -> String {
    ["content 0", "content 1", "another length"][usize::from(id)].to_owned()
}

/// The real thing.
struct Bench {
    s3: S3,
    mounts: [Mount; 2],
    bucket: Bucket,
}

impl Bench {
    async fn start() -> Bench {
        let s3 = S3::start();
        let bucket = connect(&s3.store.config(), &Network::default()).await.expect("a bucket");
        Bench { s3, mounts: [Mount::new(), Mount::new()], bucket }
    }

    fn write(&self, who: usize, path: &str, node: Node) {
        let mount = &self.mounts[who];
        if mount.has(path) {
            mount.remove(path);
        }
        match node {
            Node::File(id) => mount.write(path, content(id)).mtime(path, NOON),
            Node::Link(id) => mount.link(path, &format!("target{id}")),
        };
    }

    fn remove(&self, who: usize, path: &str) {
        self.mounts[who].remove(path);
        if let Some((dir, _)) = path.split_once('/') {
            // An empty directory would be an entry of its own; it fails while something is left.
            let _ = std::fs::remove_dir(self.mounts[who].path(dir));
        }
    }

    async fn run(&self, run: &Run) -> Result<Report, Error> {
        let ends = ends(&self.mounts[run.who], &self.bucket);
        let patterns = Patterns { exclude_flags: run.without.map(|path| format!("/{path}")).into_iter().collect(), ..Patterns::default() };
        let paths = run.only.map(|path| RelPath::new(path).expect("a path")).into_iter().collect();
        let ask = Ask { patterns, paths, narrowed: run.without.is_some(), removals: run.delete, ..ask() };
        let choices = Choices { delete: run.delete, overwrite: run.overwrite, ..Choices::default() };
        let direction = if run.upload { Direction::Upload } else { Direction::Download };
        let mut sight = engine::look(&ends, &ask).await?;
        sight.learn_copies(direction, choices).await?;
        let plan = sight.plan(direction, choices);
        engine::run(plan.approve(Limits { max_delete: MaxDelete::Percent(100.0) })?).await
    }

    /// What lies in a mount, as the model says it.
    fn local(&self, who: usize) -> Side {
        let node = |path: &&'static str| {
            let full = self.mounts[who].path(path);
            if let Ok(target) = std::fs::read_link(&full) {
                let id = target.to_str()?.strip_prefix("target")?.parse().ok()?;
                return Some((*path, Node::Link(id)));
            }
            let text = std::fs::read_to_string(full).ok()?;
            Some((*path, Node::File((0..3).find(|id| content(*id) == text)?)))
        };
        PATHS.iter().filter_map(node).collect()
    }

    fn objects(&self) -> std::collections::BTreeMap<&'static str, u8> {
        let id = |path: &&'static str| {
            let (bytes, _, _) = self.s3.get_object(&self.s3.store.bucket, path)?;
            Some((*path, (0..3).find(|id| content(*id).as_bytes() == bytes)?))
        };
        PATHS.iter().filter_map(id).collect()
    }

    /// How often contents lie in the trash of a mount, or in the history.
    fn copies(&self, run: &Run) -> [usize; 3] {
        let texts: Vec<String> = if run.upload {
            let keys = self.s3.all_keys();
            let history = keys.iter().filter(|key| key.starts_with(".lsync/history/"));
            history.map(|key| String::from_utf8(self.s3.content(key)).expect("text")).collect()
        } else {
            self.mounts[run.who].trash()
        };
        [0, 1, 2].map(|id| texts.iter().filter(|text| **text == content(id)).count())
    }

    /// What the mount remembers, to the byte.
    fn state(&self, who: usize) -> Vec<u8> {
        let names = std::fs::read_dir(self.mounts[who].path(".lsync")).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        let state = names.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("state-")));
        state.map(|path| std::fs::read(path).expect("readable")).unwrap_or_default()
    }
}

fn told(report: &Report, copies: Vec<u8>) -> Told {
    let counts = &report.counts;
    assert!(report.failures.is_empty() && report.ended_by.is_none(), "{report:?}");
    assert_eq!((counts.unknown, counts.skipped, counts.failed, counts.updated), (0, 0, 0, 0));
    Told {
        moved: counts.uploaded + counts.downloaded,
        deleted: counts.deleted,
        unchanged: counts.unchanged,
        protected: counts.protected,
        conflicts: counts.conflicts,
        kept: counts.kept,
        problems: counts.problems,
        complete: report.complete.is_some(),
        copies,
    }
}

/// Runs both and compares.
async fn step(bench: &Bench, world: &mut World, step: Step) {
    match step {
        Step::Write(who, path, node) => {
            bench.write(who, path, node);
            world.instances[who].local.insert(path, node);
        }
        Step::Remove(who, path) => {
            if world.instances[who].local.remove(path).is_some() {
                bench.remove(who, path);
            }
        }
        Step::Put(path, id) => {
            bench.s3.put(path, content(id));
            world.objects.insert(path, id);
        }
        Step::Delete(path) => {
            let was_there = bench.s3.remove(&bench.s3.store.bucket, path).expect("the bucket is there");
            assert_eq!(world.objects.remove(path).is_some(), was_there);
        }
        Step::Run(run) => {
            let (before, state) = (bench.copies(&run), bench.state(run.who));
            let ran = bench.run(&run).await;
            let saved = bench.state(run.who) != state;
            let expected = world.run(&run, saved);
            match (ran, expected) {
                (Ok(report), End::Told(expected)) => {
                    assert_eq!(told(&report, expected.copies.clone()), expected);
                    let after = bench.copies(&run);
                    // "… is first copied to `.lsync/history/<op>/` where CopyObject works".
                    let cannot = run.upload && matches!(bench.s3.faults().profile().copies, Copies::Refused | Copies::Empty);
                    for id in (0..3).filter(|_| !cannot) {
                        let owed = expected.copies.iter().filter(|copy| **copy == id).count();
                        let (had, has) = (before[usize::from(id)], after[usize::from(id)]);
                        assert!(has >= had + owed, "{owed} copies of content {id} are owed; there were {had}, and now {has}");
                    }
                }
                (Err(Error::Refused(_)), End::Refused)
                | (Err(Error::NoSuchPath { .. }), End::NoSuchPath)
                | (Err(Error::Ignored(_)), End::Ignored) => {}
                (ran, expected) => panic!("{ran:?}, and expected was {expected:?}"),
            }
        }
    }
    for who in 0..2 {
        assert_eq!(bench.local(who), world.instances[who].local, "the mount {who}");
    }
    assert_eq!(bench.objects(), world.objects, "the bucket");
}

/// Stores that make of copies what S3 makes of them, and others: what they hold in the end must not differ.
fn profile() -> impl Strategy<Value = Profile> {
    use Copies::{Empty, Made, Overwriting, Refused, Unconditional, WithMetadata};
    let copies = prop_oneof![3 => Just(Made), 2 => prop::sample::select(&[Refused, Empty, Unconditional, Overwriting, WithMetadata][..])];
    (copies, prop::bool::weighted(0.2)).prop_map(|(copies, no_conditional_writes)| Profile {
        copies,
        no_conditional_writes,
        ..Profile::default()
    })
}

fn story(steps: &[Step], profile: Profile) {
    runtime().block_on(async {
        let bench = Bench::start().await;
        bench.s3.faults().set_profile(profile);
        let mut world = World::default();
        for next in steps {
            step(&bench, &mut world, *next).await;
        }
    });
}

#[test]
fn the_same_content_at_another_path_is_copied_in_the_stories() {
    runtime().block_on(async {
        let (bench, mut world) = (Bench::start().await, World::default());
        let run = Step::Run(Run { who: 0, upload: true, delete: false, overwrite: false, only: None, without: None });
        for next in [Step::Write(0, "a", Node::File(0)), run, Step::Write(0, "b", Node::File(0)), run] {
            step(&bench, &mut world, next).await;
        }
        assert!(bench.s3.log().take().requests.contains(&("CopyObject", "b".into())));
    });
}

proptest! {
    #![proptest_config(Config {
        cases: stories(32),
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    })]

    #[test]
    fn random_stories_end_as_on_plain_maps(steps in steps(), profile in profile()) {
        story(&steps, profile);
    }
}
