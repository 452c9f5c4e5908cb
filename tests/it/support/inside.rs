//! Looks and runs in this process, through the library, where starting the binary thousands of times would take hours.

use std::sync::Arc;
use std::time::Duration;

use lsync::engine::{Ask, Ends, Jobs, Stop};
use lsync::filter::Patterns;
use lsync::local::mount::Mount as Root;
use lsync::local::place::TrashLimits;
use lsync::remote::bucket::Bucket;

use super::mount::Mount;

/// Both ends of a run, with nobody who watches.
pub(crate) fn ends(mount: &Mount, bucket: &Bucket) -> Ends {
    let mount = Arc::new(Root::open(mount.root()).expect("a mount"));
    Ends { mount, bucket: bucket.clone(), observer: Arc::new(|_| {}), stop: Stop::default(), claim: lsync::local::lock::Claim::default() }
}

/// What a run is asked that has no flags.
pub(crate) fn ask() -> Ask {
    Ask {
        patterns: Patterns::default(),
        paths: Vec::new(),
        named: Vec::new(),
        allow_keys: false,
        narrowed: false,
        removals: false,
        compare_size: false,
        compare_content: false,
        read_back: lsync::engine::Depth::List,
        jobs: Jobs::Fixed(4),
        max_memory: 64 << 20,
        bytes_per_second: None,
        trash: TrashLimits { age_seconds: 3600, share: 0.9 },
        settle: Duration::ZERO,
    }
}

/// A runtime for them.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
