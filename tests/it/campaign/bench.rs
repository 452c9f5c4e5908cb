//! The library against a store in the same runtime. Judges nothing.

use lsync::engine::{self, Ask, Error, Jobs, Limits, Report};
use lsync::plan::{Choices, Direction, MaxDelete};
use lsync::remote::connect::{Network, connect};
use lsync::sandbox::Server;
use tempfile::TempDir;

use super::seed::Story;
use crate::support::inside::{ask, ends};
use crate::support::mount::Mount;
use crate::support::s3::Store;

/// A store with one empty bucket whose versions are kept, gone when dropped.
pub(super) struct Bench {
    pub(super) server: Server,
    store: Store,
    _dir: TempDir,
}

impl Bench {
    pub(super) async fn start() -> Bench {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (mut store, options) = Store::for_server(dir.path());
        let server = Server::start(options).await.expect("a free port");
        store.endpoint = server.endpoint();
        server.keep_history(&store.bucket);
        Bench { server, store, _dir: dir }
    }

    pub(super) fn bucket(&self) -> &str {
        &self.store.bucket
    }

    /// One run, as a process of its own would make it.
    pub(super) async fn run(&self, mount: &Mount, story: &Story, direction: Direction, choices: Choices) -> Result<Report, Error> {
        let ends = ends(mount, &connect(&self.store.config(), &Network::default()).await?);
        let ask = Ask { removals: story.delete, jobs: Jobs::Fixed(story.jobs), ..ask() };
        let mut sight = engine::look(&ends, &ask).await?;
        sight.learn_copies(direction, choices).await?;
        let plan = sight.plan(direction, choices);
        engine::run(plan.approve(Limits { max_delete: MaxDelete::Percent(100.0) })?).await
    }
}

/// A runtime whose clock stands while there is something to do, and jumps to the next timer when there is not.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}
