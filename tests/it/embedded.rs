//! The library in another program: what a caller may rely on beside what the command line does. Starts no binary.

use lsync::engine::{self, Ask, Error, Limits};
use lsync::plan::{Choices, Direction, MaxDelete, Refusal};
use lsync::remote::connect::{Network, connect};

use crate::support::inside::{ask, ends, runtime};
use crate::support::mount::{Mount, noise};
use crate::support::s3::S3;
use crate::support::two::Two;

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
                engine::run(plan.approve(Limits::default()).expect("it may run")).await.expect("it begins").complete.is_some()
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

/// An unmounted directory must not be called complete, and a mistaken deletion must not start, whoever calls the library.
#[test]
fn what_the_command_line_would_refuse_cannot_run_in_another_program_either() {
    let two = Two::agreed(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let keys = two.s3.keys();
    runtime().block_on(async {
        let bucket = connect(&two.s3.store.config(), &Network::default()).await.expect("a bucket");
        let (empty, ask) = (Mount::new(), ask());
        let sight = engine::look(&ends(&empty, &bucket), &ask).await.expect("both sides");
        let plan = sight.plan(Direction::Upload, Choices::default());
        let refused = plan.approve(Limits::default()).err().expect("it is refused");
        assert!(matches!(refused, Error::Refused(Refusal::EmptyMount { bucket: 3, .. })), "{refused}");
        two.a.remove("a").remove("b");
        let ask = Ask { removals: true, ..ask };
        let sight = engine::look(&ends(&two.a, &bucket), &ask).await.expect("both sides");
        let plan = sight.plan(Direction::Upload, Choices { delete: true, ..Choices::default() });
        let refused = plan.approve(Limits::default()).err().expect("it is refused");
        assert!(matches!(refused, Error::Refused(Refusal::TooManyDeletes { deletes: 2, of: 3, .. })), "{refused}");
        assert_eq!(two.s3.keys(), keys);
        let approved = plan.approve(Limits { max_delete: MaxDelete::Paths(2) }).expect("two are allowed");
        assert!(engine::run(approved).await.expect("it begins").complete.is_some());
    });
    assert_eq!(two.s3.keys(), ["c"]);
}
