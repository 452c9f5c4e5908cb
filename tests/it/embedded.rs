//! The library in another program: what a caller may rely on beside what the command line does. Starts no binary.

use lsync::engine;
use lsync::plan::{Choices, Direction};
use lsync::remote::connect::{Network, connect};

use crate::support::inside::{ask, ends, runtime};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;

/// Unoptimised too: futures that lay on the stack would overflow it.
#[test]
fn several_runs_at_once_fit_on_one_small_stack() {
    let s3 = S3::start();
    let mounts: Vec<Mount> = (0..4).map(|n| Mount::with(&[(format!("{n}/a").as_str(), "1")])).collect();
    mounts[0].write("0/large.bin", noise(17 << 20));
    let config = s3.store.config();
    let work = move || {
        runtime().block_on(async {
            let bucket = connect(&config, &Network::default()).await.expect("a bucket");
            let run = async |mount: &Mount| {
                let (ends, ask) = (ends(mount, &bucket), ask());
                let sight = engine::look(&ends, &ask).await.expect("both sides");
                let plan = sight.plan(Direction::Upload, Choices::default());
                engine::run(&ends, &ask, &sight, &plan).await.expect("it begins").complete.is_some()
            };
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| run(&mounts[n]));
            assert_eq!(tokio::join!(a, b, c, d), (true, true, true, true));
        });
    };
    // The stack of a thread that nobody has asked for more.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    thread.join().expect("they come to their ends");
    assert_eq!(s3.keys().len(), 5);
}
