//! Credentials of a source that can be asked again: before they expire, and when the store refuses them. Every request asks here, and the
//! source is asked once for all of them. Sends no request to the store.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, SharedCredentialsProvider, future};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// How long a source may take.
const LONGEST: Duration = Duration::from_secs(60);
/// So long before they expire, credentials are renewed: a request takes its time.
const BEFORE_EXPIRY: Duration = Duration::from_secs(10);
/// A source that was just asked has nothing newer.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Makes a provider that has read nothing yet: those of the SDK read the files of a profile once.
pub(super) type Source = Box<dyn Fn() -> BoxFuture<'static, Option<SharedCredentialsProvider>> + Send + Sync>;

/// See the module.
pub(super) struct Refreshing {
    source: Source,
    /// How often the source has given credentials.
    loads: AtomicU64,
    at_hand: Mutex<AtHand>,
    /// Held while the source is asked.
    provider: tokio::sync::Mutex<Option<SharedCredentialsProvider>>,
}

#[derive(Default)]
struct AtHand {
    keys: Option<(Keys, Instant)>,
    refused: bool,
}

impl Refreshing {
    pub(super) fn new(source: Source) -> Arc<Refreshing> {
        Arc::new(Refreshing { source, loads: AtomicU64::new(0), at_hand: Mutex::default(), provider: tokio::sync::Mutex::default() })
    }

    /// Tells one set of credentials from the next.
    pub(super) fn number(&self) -> u64 {
        self.loads.load(Ordering::Acquire)
    }

    /// The store has refused a request that began with credentials of this number. The source is asked again before the next request,
    /// unless it has given others since, or only just gave these.
    pub(super) fn refused(&self, number: u64) {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = at_hand.keys.as_ref().is_some_and(|(_, since)| self.number() > 1 && since.elapsed() < JUST_NOW);
        at_hand.refused |= number == self.number() && !is_new;
    }

    /// Those that are at hand, if they are good.
    fn good(&self) -> Option<Keys> {
        let at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, since) = at_hand.keys.as_ref().filter(|_| !at_hand.refused)?;
        let is_near = keys.expiry().is_some_and(|expiry| expiry <= SystemTime::now() + BEFORE_EXPIRY);
        // A source that gives what is about to expire is not asked for every request.
        (!is_near || since.elapsed() < JUST_NOW).then(|| keys.clone())
    }

    async fn provide(&self) -> Provided {
        if let Some(keys) = self.good() {
            return Ok(keys);
        }
        let mut provider = self.provider.lock().await;
        if let Some(keys) = self.good() {
            return Ok(keys);
        }
        let (refused, old) = {
            let at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
            (at_hand.refused, at_hand.keys.clone())
        };
        if refused {
            *provider = None;
        }
        match within(LONGEST, self.ask(&mut provider)).await {
            Ok(keys) => {
                let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
                *at_hand = AtHand { keys: Some((keys.clone(), Instant::now())), refused: false };
                self.loads.fetch_add(1, Ordering::AcqRel);
                Ok(keys)
            }
            // What the source could not renew in time may still do.
            Err(e) => match old.filter(|(keys, _)| !refused && !has_expired(keys)) {
                Some((keys, _)) => Ok(keys),
                None => Err(e),
            },
        }
    }

    async fn ask(&self, provider: &mut Option<SharedCredentialsProvider>) -> Provided {
        if provider.is_none() {
            *provider = (self.source)().await;
        }
        match provider {
            Some(provider) => provider.provide_credentials().await,
            None => Err(CredentialsError::not_loaded("no source of AWS credentials is configured")),
        }
    }
}

fn has_expired(keys: &Keys) -> bool {
    keys.expiry().is_some_and(|expiry| expiry <= SystemTime::now())
}

async fn within(limit: Duration, asked: impl Future<Output = Provided>) -> Provided {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(limit)))
}

impl std::fmt::Debug for Refreshing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refreshing({})", self.number())
    }
}

/// For the SDK.
#[derive(Clone, Debug)]
pub(super) struct Provider(pub(super) Arc<Refreshing>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.provide())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A source that counts how often it is asked; its keys expire so many seconds from now.
    fn counting(expire: &'static [i64]) -> (Arc<Refreshing>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let source: Source = Box::new(move || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let expiry = expire.get(n.min(expire.len().saturating_sub(1))).map(|seconds| {
                let ahead = Duration::from_secs(seconds.unsigned_abs());
                if *seconds < 0 { SystemTime::now() - ahead } else { SystemTime::now() + ahead }
            });
            let keys = Keys::new(format!("id{n}"), "s", None, expiry, "test");
            Box::pin(async move { Some(SharedCredentialsProvider::new(keys)) })
        });
        (Refreshing::new(source), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn the_source_is_asked_once_for_all_that_were_refused() {
        let (refreshing, asked) = counting(&[]);
        assert_eq!(refreshing.provide().await.unwrap().access_key_id(), "id0");
        let number = refreshing.number();
        for _ in 0..64 {
            refreshing.refused(number);
        }
        assert_eq!(refreshing.provide().await.unwrap().access_key_id(), "id1");
        // Later answers to requests that began with the old ones, and one to the new ones at once.
        refreshing.refused(number);
        refreshing.refused(refreshing.number());
        assert_eq!(refreshing.provide().await.unwrap().access_key_id(), "id1");
        tokio::time::advance(JUST_NOW).await;
        refreshing.refused(refreshing.number());
        assert_eq!(refreshing.provide().await.unwrap().access_key_id(), "id2");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_about_to_expire_is_renewed_and_not_asked_for_by_every_request() {
        let (refreshing, _) = counting(&[3600]);
        let first = refreshing.provide().await.unwrap();
        assert_eq!(refreshing.provide().await.unwrap().access_key_id(), first.access_key_id());
        let (near, _) = counting(&[5]);
        near.provide().await.unwrap();
        near.provide().await.unwrap();
        assert_eq!(near.number(), 1);
        tokio::time::advance(JUST_NOW).await;
        near.provide().await.unwrap();
        assert_eq!(near.number(), 2);
        let (expired, _) = counting(&[-5]);
        expired.provide().await.unwrap();
        expired.provide().await.unwrap();
        assert_eq!(expired.number(), 1, "not for every request");
        tokio::time::advance(JUST_NOW).await;
        expired.provide().await.unwrap();
        assert_eq!(expired.number(), 2);
    }
}
