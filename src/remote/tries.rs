//! How often and how long one operation is tried. The SDK's own retries are off, because a second try of a guarded write must know that
//! there was a first one, and because time counts here, not the number of failures.
//!
//! Until the store has answered for the first time, an operation fails 15 seconds after it began: an endpoint that is wrong or down should
//! show at once. Later ones go on for about two minutes, at most ten times, with waits of up to 20 seconds drawn at random. While the store
//! throttles, fewer requests are under way (`calm`).

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::time::Instant;

use super::bucket::Learnt;
use super::classify::{Failed, Heals, classify};
use super::error::{Error, Kind};

/// How long an operation may take while the store has not answered anything yet.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// After this time no further try begins ...
const BUDGET: Duration = Duration::from_secs(120);
/// ... unless there were fewer than this: one try of a large part on a slow line may use up the time.
const FEWEST: u32 = 3;
const MOST: u32 = 10;
/// How often one operation is tried again because its credentials were refused.
const RENEWALS: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// One operation and its tries so far.
pub(super) struct Tries<'a> {
    learnt: &'a Learnt,
    doing: String,
    /// Where the store is; told when it may be the wrong place.
    endpoint: String,
    started: Instant,
    failed: u32,
    /// The number of the credentials when the last request began.
    credentials: AtomicU64,
    /// How often it was tried again because of them.
    renewed: u32,
}

impl<'a> Tries<'a> {
    /// `doing` is what an error will say was tried.
    pub(super) fn new(learnt: &'a Learnt, doing: String) -> Tries<'a> {
        Tries { learnt, doing, endpoint: String::new(), started: Instant::now(), failed: 0, credentials: AtomicU64::new(0), renewed: 0 }
    }

    /// Names the endpoint in errors that may be due to it.
    pub(super) fn at(self, endpoint: &str) -> Tries<'a> {
        Tries { endpoint: endpoint.to_owned(), ..self }
    }

    /// Whether an earlier try may have reached the store.
    pub(super) fn is_again(&self) -> bool {
        self.failed > 0
    }

    /// Waits for one request.
    pub(super) async fn send<T, E>(&self, request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>) -> Result<T, Failed>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let _pass = self.learnt.calm.enter().await;
        if let Some(credentials) = self.learnt.credentials.get() {
            self.credentials.store(credentials.number(), Ordering::Relaxed);
        }
        let answer = tokio::select! {
            biased;
            answer = request => answer.map_err(|error| classify(&error)),
            () = self.no_first_answer() => Err(no_first_answer(self.learnt.asked())),
        };
        match answer.as_ref().err().map(|failed| failed.kind) {
            Some(Kind::Throttled) => self.learnt.calm.throttled(),
            Some(Kind::Unreachable) => {}
            _ => self.learnt.calm.good(),
        }
        answer
    }

    async fn no_first_answer(&self) {
        tokio::time::sleep_until(self.started + FIRST_ANSWER).await;
        if self.learnt.answered() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the next try may begin; or says, as an error, that there is none.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<(), Error> {
        self.failed += 1;
        if self.renews(&failed) {
            return Ok(());
        }
        let wait = match failed.heals {
            Heals::Never => None,
            Heals::Once => (self.failed - self.renewed == 1).then_some(Duration::ZERO),
            Heals::Later => {
                let wait = wait_before(self.failed, failed.wait, random());
                allows(self.learnt.answered(), self.failed, self.started.elapsed() + wait).then_some(wait)
            }
        };
        match wait {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(self.error(failed)),
        }
    }

    /// Whether the next try goes out with other credentials than those that were refused. What was signed just before others came is tried
    /// with these first.
    pub(super) fn renews(&mut self, failed: &Failed) -> bool {
        let Some(credentials) = self.learnt.credentials.get().filter(|_| failed.is_about_old_credentials()) else { return false };
        credentials.refused(self.credentials.load(Ordering::Relaxed));
        self.renewed += 1;
        self.renewed <= RENEWALS
    }

    /// The failure as the operation's error.
    pub(super) fn error(&self, failed: Failed) -> Error {
        let place = matches!(failed.kind, Kind::Unreachable | Kind::NoBucket | Kind::Config) && !self.endpoint.is_empty();
        let doing = if place { format!("{} at {}", self.doing, self.endpoint) } else { self.doing.clone() };
        failed.into_error(doing)
    }

    /// An error of this operation that no answer alone shows.
    pub(super) fn wrong(&self, kind: Kind, message: impl Into<String>) -> Error {
        self.error(Failed::new(kind, message))
    }
}

/// What has not answered: the store, or, where nothing was `asked` of it yet, the source of the credentials.
fn no_first_answer(asked: bool) -> Failed {
    let within = format!("within {} seconds", FIRST_ANSWER.as_secs());
    if asked {
        Failed::new(Kind::Unreachable, format!("no answer {within}"))
            .hint("check the network, and that `endpoint_url` is right")
            .maybe_done()
    } else {
        Failed::new(Kind::Unreachable, format!("no credentials {within}"))
            .hint("what the AWS profile takes them from (`credential_process`, a role, the metadata service) does not answer")
    }
}

/// Whether a try may begin `then` after the first one began, with so many `failed` before it.
fn allows(answered: bool, failed: u32, then: Duration) -> bool {
    if answered { failed < FEWEST || (failed < MOST && then < BUDGET) } else { then < FIRST_ANSWER }
}

/// The wait after `failed` failures: up to twice as long each time, cut by a random share, at least what the store asks for.
fn wait_before(failed: u32, asked: Option<Duration>, random: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let drawn = longest.mul_f64(f64::from(random) / f64::from(u32::MAX));
    drawn.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_drawn_at_random() {
        let seconds = |failed, asked: Option<u64>, random| wait_before(failed, asked.map(Duration::from_secs), random).as_secs_f64();
        assert_eq!((seconds(1, None, u32::MAX), seconds(2, None, u32::MAX), seconds(4, None, u32::MAX)), (0.5, 1.0, 4.0));
        assert_eq!((seconds(9, None, u32::MAX), seconds(60, None, u32::MAX)), (20.0, 20.0));
        assert_eq!((seconds(4, None, 0), seconds(4, Some(3), 0), seconds(4, Some(600), 0)), (0.0, 3.0, 20.0));
    }

    #[test]
    fn the_first_answer_is_waited_for_15_seconds_in_all_and_later_ones_for_two_minutes() {
        let check = |answered, failed, seconds, expected| {
            assert_eq!(allows(answered, failed, Duration::from_secs(seconds)), expected, "{failed} failed, {seconds} s");
        };
        check(false, 1, 14, true);
        check(false, 1, 15, false);
        check(true, 1, 119, true);
        check(true, 3, 119, true);
        check(true, 3, 121, false);
        check(true, 2, 1000, true);
        check(true, 10, 5, false);
    }

    #[tokio::test]
    async fn what_heals_once_is_tried_once_more_and_what_never_heals_not_at_all() {
        let learnt = Learnt::new();
        for (kind, heals, expected) in [(Kind::Integrity, Heals::Once, 1), (Kind::Denied, Heals::Never, 0)] {
            let (mut tries, mut again) = (Tries::new(&learnt, "cannot x".into()), 0);
            while tries.again(Failed { heals, ..Failed::new(kind, "no") }).await.is_ok() {
                again += 1;
            }
            assert_eq!((again, tries.is_again()), (expected, true));
        }
    }
}
