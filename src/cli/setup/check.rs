//! Checks, over the network, that the bucket can be used from here, and that it is not the mount's own filesystem.

use lsync::local::mount::Mount;
use lsync::path::{Prefix, Shown};
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::remote::error::Error;
use lsync::remote::probe::Findings;

use super::report::Outcome;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::cli::settings::find::shown;

/// A clock that is further off than this is worth a word; stores refuse requests from 15 minutes on.
const CLOCK_SECONDS: i64 = 60;

/// Reads a page of the listing and tries small writes; without `probe` it only reads.
pub(crate) async fn bucket(settings: &Settings, probe: bool) -> Result<Outcome, Failure> {
    let bucket = connect(&settings.store, &settings.network).await?;
    if !probe {
        let page = bucket.check_readable().await?;
        return Ok(with_clock(Outcome::done(answers(&bucket, page)), bucket.clock_offset_seconds()));
    }
    let found = bucket.inspect().await?;
    let outcome = with_clock(Outcome::done(answers(&bucket, found.first_page)), found.clock_offset_seconds);
    Ok(told(&found).into_iter().fold(outcome, Outcome::note))
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

/// What the experiments found, for people.
fn told(found: &Findings) -> Vec<String> {
    let Some(conditional) = found.conditional_writes else {
        return vec!["these keys may read and not write: download works, upload will be refused".into()];
    };
    let mut notes = vec![match conditional {
        true => "it refuses to overwrite what changed meanwhile (conditional writes)".into(),
        false => "it has no conditional writes; lsync looks again right before each write instead".to_owned(),
    }];
    if found.etag_is_md5 == Some(false) {
        notes.push("its ETags are no MD5 digests; lsync's own record of digests is used".into());
    }
    if found.checks_content_md5 == Some(false) {
        notes.push("it does not check Content-MD5; lsync compares what it lists after each upload".into());
    }
    notes.extend(found.leftover.iter().map(|key| format!("the probe object {} could not be removed; it may be deleted", Shown(key))));
    notes
}

/// Refuses (5) a mount that is the bucket's own filesystem: its id file shows up in the bucket.
pub(crate) async fn self_sync(settings: &Settings, may_write: bool) -> Result<Outcome, Failure> {
    let mount = Mount::open(&settings.root)?;
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
    for store in [&settings.store, &whole] {
        if connect(store, network).await?.head(&key).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(conditional: Option<bool>, etag_is_md5: Option<bool>) -> Findings {
        Findings {
            first_page: (0, false),
            clock_offset_seconds: None,
            checks_content_md5: conditional.map(|_| true),
            etag_is_md5,
            conditional_writes: conditional,
            leftover: Vec::new(),
        }
    }

    #[test]
    fn what_the_store_does_is_told_in_words() {
        assert!(told(&found(None, None))[0].starts_with("these keys may read and not write"));
        assert_eq!(told(&found(Some(true), Some(true))).len(), 1);
        assert_eq!(told(&found(Some(false), Some(false))).len(), 2);
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let note = |offset| with_clock(Outcome::done("x"), offset).notes.pop().unwrap_or_default();
        assert!(note(Some(300)).starts_with("this machine's clock is 300 s behind"));
        assert!(note(Some(-300)).starts_with("this machine's clock is 300 s ahead"));
        assert_eq!((note(Some(5)), note(None)), (String::new(), String::new()));
    }
}
