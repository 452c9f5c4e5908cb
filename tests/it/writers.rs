//! Several writers: two hosts with one mount, and two mounts with one bucket whose runs meet at random. No update is lost without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lsync::engine::{self, Ask, Error, Jobs, Limits};
use lsync::local::lock::LockError;
use lsync::plan::{Choices, Direction, Refusal};
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::sandbox::{Action, Profile, Rule};
use serde_json::{Value, json};

use crate::support::inside::{ask, ends, runtime};
use crate::support::mount::Mount;
use crate::support::report::{asked_for, report, tell};
use crate::support::s3::S3;
use crate::support::seed::Seed;

const PATHS: [&str; 3] = ["a", "b", "d/x"];
/// Rounds that one bucket sees.
const ROUNDS: u64 = 8;

/// Two instances of one project, and what became of what they wrote. Every content is unlike all others, and of the same length.
struct Bench {
    s3: S3,
    bucket: Bucket,
    mounts: [Mount; 2],
    /// What each content was made from.
    made_from: BTreeMap<String, Option<String>>,
    /// Path and content that a run called complete.
    promised: BTreeSet<(&'static str, String)>,
}

/// What became of the runs.
#[derive(Default)]
struct Tally {
    rounds: u64,
    complete: u64,
    conflicts: u64,
    refused: u64,
    lost: Vec<String>,
}

impl Bench {
    fn start(profile: Profile) -> Bench {
        let s3 = S3::start();
        s3.faults().set_profile(profile);
        let bucket = runtime().block_on(connect(&s3.store.config(), &Network::default())).expect("a bucket");
        Bench { s3, bucket, mounts: [Mount::new(), Mount::new()], made_from: BTreeMap::new(), promised: BTreeSet::new() }
    }

    fn local(&self, who: usize, path: &str) -> Option<String> {
        self.mounts[who].has(path).then(|| self.mounts[who].text(path))
    }

    fn object(&self, path: &str) -> Option<String> {
        let (bytes, _, _) = self.s3.get_object(&self.s3.store.bucket, path)?;
        Some(String::from_utf8(bytes).expect("contents are text"))
    }

    fn edit(&mut self, who: usize, path: &'static str) {
        let content = format!("{who} wrote {:06}", self.made_from.len());
        self.made_from.insert(content.clone(), self.local(who, path));
        self.mounts[who].write(path, content);
    }

    /// True when `content` is `old` or was made from it.
    fn carries(&self, content: &str, old: &str) -> bool {
        let above = |content: &String| self.made_from.get(content).cloned().flatten();
        std::iter::successors(Some(content.to_owned()), above).any(|version| version == old)
    }

    /// Contents that `--overwrite` replaced and kept.
    fn history(&self) -> BTreeSet<String> {
        let keys = self.s3.all_keys().into_iter().filter(|key| key.starts_with(".lsync/history/"));
        keys.filter_map(|key| self.object(&key)).collect()
    }

    async fn run(&self, who: usize, direction: Direction, overwrite: bool) -> Result<Ran, Error> {
        let (ends, ask) = (ends(&self.mounts[who], &self.bucket), Ask { jobs: Jobs::Fixed(2), ..ask() });
        let sight = engine::look(&ends, &ask).await?;
        let plan = sight.plan(direction, Choices { overwrite, ..Choices::default() });
        let report = engine::run(plan.approve(Limits::default())?).await?;
        let newer_there: Vec<String> = plan.protected.iter().map(|kept| kept.path.as_str().to_owned()).collect();
        let conflicts = report.counts.conflicts + report.counts.failed;
        if let Some(Error::Lock(e)) = report.ended_by {
            panic!("{e}");
        }
        Ok(Ran { upload: direction == Direction::Upload, complete: report.complete.is_some(), newer_there, conflicts })
    }

    /// Both edit, both run at once, and what was promised before and now must hold.
    fn round(&mut self, seed: &mut Seed, tally: &mut Tally) {
        for who in 0..2 {
            for path in PATHS {
                if seed.once_in(2) {
                    self.edit(who, path);
                }
            }
        }
        for _ in 0..6 {
            let (skip, times) = (seed.below(14), 1 + seed.below(3));
            let action = Action::Delay(Duration::from_millis(1 + seed.below(40)));
            let [skip, times] = [skip, times].map(|count| u32::try_from(count).expect("it is small"));
            self.s3.faults().push(Rule { operation: None, skip, times, ..Rule::once("", action) });
        }
        let kind = |seed: &mut Seed| (if seed.once_in(4) { Direction::Download } else { Direction::Upload }, seed.once_in(4));
        let (one, other) = (kind(seed), kind(seed));
        let ran = runtime().block_on(async { tokio::join!(self.run(0, one.0, one.1), self.run(1, other.0, other.1)) });
        self.s3.faults().clear();
        tally.rounds += 1;
        tell(format_args!("round {}: {one:?} {other:?}", tally.rounds));
        for path in PATHS {
            tell(format_args!("  {path}: {:?} {:?}, bucket {:?}", self.local(0, path), self.local(1, path), self.object(path)));
        }
        tell(format_args!("  history {:?}", self.history()));
        tell(format_args!("  {ran:?}"));
        for (who, ran) in [ran.0, ran.1].into_iter().enumerate() {
            match ran {
                Ok(ran) => {
                    tally.conflicts += ran.conflicts;
                    tally.complete += u64::from(ran.complete);
                    for path in
                        PATHS.into_iter().filter(|path| ran.complete && ran.upload && !ran.newer_there.contains(&(*path).to_owned()))
                    {
                        self.promised.extend(self.local(who, path).map(|content| (path, content)));
                    }
                }
                // Told apart from all other errors: somebody else is writing, nothing was done.
                Err(Error::Lock(LockError::Held(_))) => tally.refused += 1,
                // It has nothing yet, and the other one has sent something.
                Err(Error::Refused(Refusal::EmptyMount { .. })) => {}
                Err(e) => panic!("{e}"),
            }
        }
        let history = self.history();
        for (path, content) in &self.promised {
            let now = self.object(path);
            if !now.iter().chain(&history).any(|version| self.carries(version, content)) {
                tally.lost.push(format!("round {}: {path} was {content:?} and is {now:?}", tally.rounds));
            }
        }
    }
}

#[derive(Debug)]
struct Ran {
    upload: bool,
    complete: bool,
    /// What the run left as it is in the bucket because that is newer.
    newer_there: Vec<String>,
    conflicts: u64,
}

/// So many meetings on a store of this kind.
fn meetings(profile: Profile, count: u64, seed: &mut Seed) -> Tally {
    let mut tally = Tally::default();
    while tally.rounds < count {
        let mut bench = Bench::start(profile);
        for _ in 0..ROUNDS.min(count - tally.rounds) {
            bench.round(seed, &mut tally);
        }
    }
    tally
}

fn stores() -> [(&'static str, Profile); 2] {
    let ignores = Profile { no_conditional_writes: true, ..Profile::default() };
    [("conditions honoured", Profile::default()), ("conditions ignored", ignores)]
}

fn meet(count: u64, seed: &mut Seed) -> (Vec<Value>, Vec<String>) {
    let (mut counts, mut lost) = (Vec::new(), Vec::new());
    for (name, profile) in stores() {
        let tally = meetings(profile, count, seed);
        counts.push(json!({
            "store": name, "meetings": tally.rounds, "complete": tally.complete, "conflicts_or_failures_told": tally.conflicts,
            "told_to_wait": tally.refused, "lost_updates": tally.lost.len(),
        }));
        lost.extend(tally.lost.into_iter().map(|what| format!("{name}: {what}")));
    }
    (counts, lost)
}

#[test]
fn two_mounts_that_write_to_one_bucket_at_once_lose_no_update() {
    let (_, lost) = meet(16, &mut Seed::fresh());
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
#[ignore = "a campaign of several minutes; the README says how to run it"]
fn campaign_writers() {
    let mut seed = Seed::fresh();
    let first = seed.number();
    let (counts, lost) = meet(asked_for("LSYNC_TEST_MEETINGS", 1000), &mut seed);
    report("writers", &json!({ "seed": first, "stores": counts }));
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}
