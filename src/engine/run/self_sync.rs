//! Whether a mount is the bucket's own filesystem, which must not be synced with itself.

use futures_util::future::try_join_all;

use crate::engine::{Ends, Error};
use crate::remote::error as remote;

/// Refuses a mount that is the bucket's own filesystem: its id file, which must have been made, shows up there. A few HEADs.
pub async fn refuse_self_sync(ends: &Ends, id: &str) -> Result<(), Error> {
    let own = format!(".lsync/mount-{id}");
    let root = ends.mount.root();
    let names: Vec<&str> = root.iter().filter_map(|n| n.to_str()).filter(|n| *n != "/").collect();
    let mut keys = vec![own.clone(), format!("{}{own}", ends.bucket.prefix().as_str())];
    // The root may be a directory of the bucket's filesystem: its last one or two names lead the key.
    keys.extend((1..=2).filter(|n| *n <= names.len()).map(|n| format!("{}/{own}", names[names.len() - n..].join("/"))));
    keys.dedup();
    // Keys that hold below the prefix alone may not be asked elsewhere: what cannot be told is no reason to refuse.
    let is_outside = |key: &String| !key.starts_with(ends.bucket.prefix().as_str());
    let look = async |key: &String| match ends.bucket.lookup_absolute(key).await {
        Err(e) if e.kind == remote::Kind::Refused && is_outside(key) => Ok(false),
        found => found,
    };
    let found = try_join_all(keys.iter().map(look)).await?;
    if found.contains(&true) {
        return Err(Error::SelfSync { bucket: ends.bucket.url().to_owned(), root: root.to_owned() });
    }
    Ok(())
}
