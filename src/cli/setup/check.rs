//! Checks, over the network, that the bucket can be used from here, and that it is not the mount's own filesystem.

use std::sync::Arc;

use lsync::engine::{Ends, Stop, examine_store};
use lsync::local::mount::Mount;
use lsync::path::{Prefix, Shown};
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::remote::error::{Error, Kind};

use super::report::Outcome;
use crate::cli::doctor::{Fact, Verdict, store_facts};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, refuse_others};
use crate::cli::settings::Settings;
use crate::cli::settings::find::shown;

/// A clock that is further off than this is worth a word; stores refuse requests from 15 minutes on.
const CLOCK_SECONDS: i64 = 60;

/// Reads a page of the listing and finds out what the store does, as `lsync doctor` tells it; without `probe` it only reads.
pub(crate) async fn bucket(settings: &Settings, probe: bool) -> Result<Outcome, Failure> {
    let bucket = connect(&settings.store, &settings.network).await?;
    let page = bucket.check_readable().await?;
    let mut outcome = with_clock(Outcome::done(answers(&bucket, page)), bucket.clock_offset_seconds());
    if let Some(note) = elsewhere(&bucket, settings).await {
        outcome = outcome.note(note);
    }
    if !probe {
        return Ok(outcome);
    }
    let examined = match Mount::open(&settings.root) {
        Ok(mount) => {
            let ends = Ends {
                mount: Arc::new(mount),
                bucket: bucket.clone(),
                observer: Arc::new(|_| ()),
                stop: Stop::default(),
                claim: lsync::local::lock::Claim::default(),
            };
            // What could not be kept is asked again by the first upload.
            examine_store(&ends).await.0
        }
        // Another step tells of it.
        Err(_) => bucket.examine(&|| false).await,
    };
    let notes = told(&store_facts(&examined));
    match examined.ended_by {
        Some(error) => Err(error.into()),
        None => Ok(notes.into_iter().fold(outcome, Outcome::note)),
    }
}

/// Where nothing was published yet, and other directories have data in the bucket: which prefix brings theirs, and which keeps apart.
/// What may not be listed is not said.
async fn elsewhere(bucket: &Bucket, settings: &Settings) -> Option<String> {
    if bucket.has_published("").await.ok()? {
        return None;
    }
    let own = settings.root.file_name().map(|name| name.to_string_lossy().into_owned());
    proposal(bucket.url(), &bucket.published_prefixes().await.ok()?, own.filter(|_| bucket.prefix().as_str().is_empty()))
}

/// `own`: a prefix for this directory, where it has none.
fn proposal(url: &str, published: &[String], own: Option<String>) -> Option<String> {
    let prefixes: Vec<&String> = published.iter().filter(|prefix| !prefix.is_empty()).collect();
    let first = prefixes.first()?;
    let all: Vec<String> = prefixes.iter().map(|prefix| Shown(prefix).to_string()).collect();
    let own = own.filter(|own| !published.iter().any(|prefix| prefix.trim_end_matches('/') == own));
    let apart = own.map(|own| format!(", and `prefix = \"{}\"` keeps this directory apart from them", Shown(&own))).unwrap_or_default();
    let first = Shown(first.trim_end_matches('/'));
    Some(format!(
        "nothing was uploaded to {url}/ yet, and this bucket has lsync data at {}: `prefix = \"{first}\"` in [remote] works with that{apart}",
        all.join(", ")
    ))
}

fn answers(bucket: &Bucket, (objects, more): (usize, bool)) -> String {
    let count = match (objects, more) {
        (0, _) => "it is empty".to_owned(),
        (1, false) => "1 object".to_owned(),
        (n, false) => format!("{n} objects"),
        (n, true) => format!("more than {n} objects"),
    };
    format!("{} at {} answers: {count}", bucket.url(), bucket.endpoint())
}

fn with_clock(outcome: Outcome, offset_seconds: Option<i64>) -> Outcome {
    match offset_seconds {
        Some(offset) if offset.abs() > CLOCK_SECONDS => {
            let direction = if offset > 0 { "behind" } else { "ahead of" };
            outcome.note(format!(
                "this machine's clock is {} s {direction} the store's; stores refuse requests from 15 minutes on",
                offset.abs()
            ))
        }
        _ => outcome,
    }
}

/// What is not as it should be, for people.
fn told(facts: &[Fact]) -> Vec<String> {
    let worth = facts.iter().filter(|fact| fact.verdict != Verdict::Ok && !fact.value.is_null());
    let mut notes: Vec<String> = worth.map(|fact| format!("{}: {}: {}", fact.name, fact.found, fact.means)).collect();
    if !notes.is_empty() {
        notes.push("lsync doctor tells more".into());
    }
    notes
}

/// Refuses (5) a mount that is the bucket's own filesystem: its id file shows up in the bucket.
pub(crate) async fn self_sync(settings: &Settings, may_write: bool) -> Result<Outcome, Failure> {
    let mount = Mount::open(&settings.root)?;
    refuse_others(&mount)?;
    let id = match may_write {
        true => mount.ensure_id()?,
        false => match mount.id()? {
            Some(id) => id,
            None => return Ok(Outcome::would("mark the mount and look whether the mark shows up in the bucket")),
        },
    };
    if is_own_filesystem(settings, &settings.network, &id).await? {
        let root = shown(mount.root());
        return Err(Failure::new(
            Exit::Refused,
            format!("{root} is the bucket's own filesystem: syncing it with itself could destroy data"),
        )
        .hint("use the bucket of another filesystem, or another directory with --root"));
    }
    Ok(Outcome::done(format!("the bucket is not the filesystem of {}", shown(mount.root()))))
}

/// Whether the mount's id file is an object of the bucket: under the prefix, or at the top, where a filesystem that serves as a bucket
/// shows its own root.
async fn is_own_filesystem(settings: &Settings, network: &Network, id: &str) -> Result<bool, Error> {
    let key = format!("{}/mount-{id}", lsync::path::RESERVED);
    let whole = lsync::config::Store { prefix: Prefix::default(), ..settings.store.clone() };
    for (store, outside) in [(&settings.store, false), (&whole, !settings.store.prefix.as_str().is_empty())] {
        match connect(store, network).await?.head(&key).await {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => {}
            // Keys that hold below the prefix alone: nothing can be told there.
            Err(e) if e.kind == Kind::Refused && outside => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_proposed_where_others_have_theirs() {
        let check = |published: &[&str], own: Option<&str>, expected: &[&str]| {
            let published: Vec<String> = published.iter().map(|prefix| (*prefix).to_owned()).collect();
            let told = proposal("s3://b", &published, own.map(str::to_owned)).unwrap_or_default();
            assert!(expected.iter().all(|words| told.contains(words)) && told.is_empty() == expected.is_empty(), "{told}");
        };
        check(&[], Some("me"), &[]);
        check(&[""], Some("me"), &[]);
        let works = "has lsync data at big/, dock/: `prefix = \"big\"` in [remote] works with that";
        check(&["big/", "dock/"], Some("me"), &[works, "and `prefix = \"me\"` keeps this directory apart"]);
        check(&["big/", "dock/"], None, &[works]);
        check(&["me/"], Some("me"), &["`prefix = \"me\"` in [remote] works with that"]);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told_in_words() {
        let fact = |verdict, value: serde_json::Value| Fact::new("store", "paging", verdict, value, "odd", "care");
        assert!(told(&[fact(Verdict::Ok, true.into()), fact(Verdict::Note, serde_json::Value::Null)]).is_empty());
        assert_eq!(told(&[fact(Verdict::Note, true.into())]), ["paging: odd: care", "lsync doctor tells more"]);
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let note = |offset| with_clock(Outcome::done("x"), offset).notes.pop().unwrap_or_default();
        assert!(note(Some(300)).starts_with("this machine's clock is 300 s behind"));
        assert!(note(Some(-300)).starts_with("this machine's clock is 300 s ahead"));
        assert_eq!((note(Some(5)), note(None)), (String::new(), String::new()));
    }
}
