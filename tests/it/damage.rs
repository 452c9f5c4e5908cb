//! State files and manifests that are cut off or have a wrong bit: they tell nothing, and above all nothing is deleted because of them.

use std::fs;
use std::path::PathBuf;

use lsync::engine::{self, Error, Sight};
use lsync::local::mount::Mount as Root;
use lsync::local::state::{self, State};
use lsync::manifest::{FOLDER, Manifest};
use lsync::path::RelPath;
use lsync::plan::{Choices, Direction, Plan};
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use serde_json::{Value, json};

use crate::support::inside::{ask, ends, runtime};
use crate::support::report::{asked_for, report};
use crate::support::seed::Seed;
use crate::support::two::Two;

/// Both sides hold something the other lacks, has deleted, or has changed, and each side could delete with good reason.
struct Bench {
    two: Two,
    bucket: Bucket,
    /// The state file of the first mount, and what is in it.
    file: PathBuf,
    bytes: Vec<u8>,
    state: State,
    /// The newest manifest.
    key: String,
    manifest: Vec<u8>,
}

/// What the two directions would do.
struct Plans {
    up: Plan,
    down: Plan,
}

impl Bench {
    fn start() -> Bench {
        let two = Two::agreed(&[
            ("data/same", "1"),
            ("data/ours", "22"),
            ("data/theirs", "33"),
            ("gone/here", "4"),
            ("gone/there", "5"),
            ("both", "66"),
        ]);
        two.a.link("link", "both").dir("empty");
        two.a("upload --yes").expect(0);
        two.b("download --yes").expect(0);
        two.b
            .remove("gone/there")
            .write("data/theirs", "34")
            .write("both", "67")
            .write("theirs", "new")
            .remove("link")
            .link("link", "theirs");
        two.b("upload --yes --delete").expect(0);
        two.a.remove("gone/here").write("data/ours", "23").write("both", "68").write("ours", "new");
        let own = fs::read_dir(two.a.path(".lsync")).expect("it is there").map(|entry| entry.expect("an entry").path());
        let file = own.into_iter().find(|path| path.to_string_lossy().contains("/state-")).expect("a state");
        let bytes = fs::read(&file).expect("readable");
        let key = format!("{FOLDER}{}", two.manifests().pop().expect("it was published"));
        let manifest = two.s3.content(&key);
        let bucket = runtime().block_on(connect(&two.s3.store.config(), &Network::default())).expect("a bucket");
        let state = load(&two).expect("the state is good").expect("there is one");
        Bench { two, bucket, file, bytes, state, key, manifest }
    }

    /// Looks at both sides and plans; `None` when it says to upgrade.
    fn plans(&self) -> Option<Plans> {
        let look = async { engine::look(&ends(&self.two.a, &self.bucket), &ask()).await };
        let sight: Sight = match runtime().block_on(look) {
            Ok(sight) => sight,
            Err(Error::Manifest { .. } | Error::Local(_)) => return None,
            Err(e) => panic!("{e}"),
        };
        let choices = Choices { delete: true, ..Choices::default() };
        let plan = |direction| sight.plan(direction, choices).into_plan();
        Some(Plans { up: plan(Direction::Upload), down: plan(Direction::Download) })
    }

    /// With this state file nothing is remembered, so that nothing that is there is replaced or deleted.
    fn check_state(&self, damaged: &[u8], plan: bool) {
        fs::write(&self.file, damaged).expect("writable");
        match load(&self.two) {
            Ok(None) | Err(_) => {}
            Ok(Some(state)) => panic!("a damaged state was taken for {state:?}"),
        }
        let Some(Plans { up, down }) = plan.then(|| self.plans()).flatten() else { return };
        for plan in [up, down] {
            let same: Vec<&str> = plan.same.iter().map(RelPath::as_str).collect();
            assert!(same.iter().all(|path| ["data/same", "empty"].contains(path)), "{same:?} are not all the same");
            let gone: Vec<_> = plan.removals.iter().map(|removal| &removal.path).collect();
            assert!(gone.is_empty(), "{gone:?} would be deleted");
            let replaced: Vec<_> = plan.transfers.iter().filter(|transfer| transfer.replaced_bytes > 0).map(|t| &t.path).collect();
            assert!(replaced.is_empty(), "{replaced:?} would be replaced");
        }
    }

    /// With this manifest nothing is proven to have been removed.
    fn check_manifest(&self, damaged: &[u8], plan: bool) {
        assert!(Manifest::decode(damaged).is_err(), "a damaged manifest was read");
        if !plan {
            return;
        }
        self.two.s3.put(&self.key, damaged);
        if let Some(Plans { up, down }) = self.plans() {
            let gone: Vec<_> = [up, down].iter().flat_map(|plan| &plan.removals).map(|removal| removal.path.clone()).collect();
            assert!(gone.is_empty(), "{gone:?} would be deleted");
        }
    }
}

/// The state of the first mount: `None` when it counts as absent, an error where it says to upgrade.
fn load(two: &Two) -> Result<Option<State>, String> {
    let mount = Root::open(two.a.root()).expect("a mount");
    let loaded = state::load(&mount, &two.s3.store.bucket, "").map_err(|e| e.to_string())?;
    match loaded.warning {
        Some(_) => {
            assert_eq!(loaded.state, State::default());
            Ok(None)
        }
        None => Ok(Some(loaded.state)),
    }
}

/// Cuts at every byte, and as many wrong bits; `plans` of each kind are planned with, the others only read.
fn damage(bytes: &[u8], seed: &mut Seed, flips: u64, plans: u64, mut check: impl FnMut(&[u8], bool)) -> Value {
    let every = |count: u64| (count / plans.max(1)).max(1);
    let cuts = bytes.len() as u64;
    for at in 0..cuts {
        check(&bytes[..usize::try_from(at).expect("it is an index")], at % every(cuts) == 0);
    }
    for number in 0..flips {
        let mut flipped = bytes.to_vec();
        let bit = seed.below(cuts * 8);
        flipped[usize::try_from(bit / 8).expect("it is an index")] ^= 1 << (bit % 8);
        check(&flipped, number % every(flips) == 0);
    }
    json!({ "cut_at_every_byte": cuts, "bits_flipped": flips, "bytes": cuts, "planned_with": plans * 2, "violations": 0 })
}

fn everything(seed: &mut Seed, flips: u64, plans: u64) -> Value {
    let bench = Bench::start();
    let good = bench.plans().expect("all is well");
    let named = |plan: &Plan| plan.removals.iter().map(|removal| removal.path.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!((named(&good.up), named(&good.down)), (vec!["gone/here".to_owned()], vec!["gone/there".to_owned()]), "with good reason");
    let states = damage(&bench.bytes, seed, flips, plans, |bytes, plan| bench.check_state(bytes, plan));
    fs::write(&bench.file, &bench.bytes).expect("writable");
    assert_eq!(load(&bench.two), Ok(Some(bench.state.clone())));
    let manifests = damage(&bench.manifest, seed, flips, plans, |bytes, plan| bench.check_manifest(bytes, plan));
    json!({ "state": states, "manifest": manifests })
}

#[test]
fn a_damaged_state_or_manifest_tells_nothing_and_deletes_nothing() {
    everything(&mut Seed::fresh(), 2_000, 30);
}

#[test]
#[ignore = "a campaign of several minutes; the README says how to run it"]
fn campaign_damage() {
    let mut seed = Seed::fresh();
    let (first, plans) = (seed.number(), asked_for("LSYNC_TEST_DAMAGED", 10_000));
    let counts = everything(&mut seed, 10_000, plans);
    report("damage", &json!({ "seed": first, "counts": counts }));
}
