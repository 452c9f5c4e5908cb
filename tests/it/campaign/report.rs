//! Counts what the seeds came to, and writes it down as JSON. Judges nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Instant;

use serde_json::json;

use super::judge::Told;
use crate::support::report::report;

/// The counts so far.
pub(super) struct Tally {
    began: Instant,
    seeds: u64,
    complete: u64,
    incomplete: u64,
    healed: u64,
    reported: u64,
    /// Seeds, and runs under the storm that ended complete and otherwise, by store.
    stores: BTreeMap<&'static str, [u64; 3]>,
    directions: BTreeMap<&'static str, u64>,
    hazards: BTreeMap<String, u64>,
    pub(super) failures: BTreeMap<u64, String>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            began: Instant::now(),
            seeds: 0,
            complete: 0,
            incomplete: 0,
            healed: 0,
            reported: 0,
            stores: BTreeMap::new(),
            directions: BTreeMap::new(),
            hazards: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, told: Told) {
        self.seeds += 1;
        self.complete += told.complete;
        self.incomplete += told.incomplete;
        self.healed += told.healed;
        self.reported += told.reported;
        let [seeds, complete, incomplete] = self.stores.entry(told.store).or_default();
        (*seeds, *complete, *incomplete) = (*seeds + 1, *complete + told.complete, *incomplete + told.incomplete);
        *self.directions.entry(if told.upload { "upload" } else { "download" }).or_default() += 1;
        for hit in told.hits.iter().filter(|hit| !hit.missed) {
            *self.hazards.entry(format!("{:?}", hit.hazard)).or_default() += 1;
        }
        if let Some(failure) = told.failure {
            self.failures.insert(told.seed, failure);
        }
    }

    /// Writes the report, and returns what a failing test shows: each seed with the command that plays it again.
    pub(super) fn write(&self, seeds: &Range<u64>) -> String {
        let stores: BTreeMap<_, _> = self
            .stores
            .iter()
            .map(|(store, [seeds, complete, incomplete])| {
                (store, json!({ "seeds": seeds, "complete": complete, "incomplete": incomplete }))
            })
            .collect();
        let counts = json!({
            "first_seed": seeds.start,
            "end_seed": seeds.end,
            "seeds": self.seeds,
            "seconds": self.began.elapsed().as_secs(),
            "runs_under_faults": { "complete": self.complete, "incomplete": self.incomplete },
            "faults": self.hazards.values().sum::<u64>(),
            "faults_by_kind": self.hazards,
            "corrupted_bodies": { "healed": self.healed, "reported": self.reported },
            "seeds_by_direction": self.directions,
            "by_store": stores,
            "failed_seeds": self.failures,
        });
        report("campaign", &counts);
        let mut shown = String::new();
        for (seed, failure) in self.failures.iter().take(20) {
            let again = format!("LSYNC_TEST_CAMPAIGN={seed} cargo test --features sandbox --test it -- campaign::no_storm");
            writeln!(shown, "seed {seed}: {failure}\n  again: {again}").expect("a string can be written to");
        }
        shown
    }
}
