//! What was found out about a store, kept in `.lsync/`, one file per endpoint and bucket. Expendable: what cannot be read is asked again.

use super::elsewhere::Place;
use super::internal;
use super::mount::{LocalError, Mount};
use crate::digest::digest_one;
use crate::path::RESERVED;
use crate::profile::Profile;

/// What is kept about a bucket at an endpoint; `None` when nothing that can be read is.
pub fn load(mount: &Mount, endpoint: &str, bucket: &str) -> Result<Option<Profile>, LocalError> {
    // What is kept elsewhere is newer.
    for dir in [mount.open_elsewhere("")?, mount.open_home("")?].into_iter().flatten() {
        let bytes = internal::read(&dir, &file_name(endpoint, bucket)).ok().flatten();
        if let Some(profile) = bytes.and_then(|bytes| Profile::decode(endpoint, bucket, &bytes)) {
            return Ok(Some(profile));
        }
    }
    Ok(None)
}

/// Keeps it, in place of what was kept. The caller holds the lock.
pub fn save(mount: &Mount, endpoint: &str, bucket: &str, profile: &Profile) -> Result<(), LocalError> {
    if mount.place() == Place::Memory {
        return Ok(());
    }
    let (dir, name) = (mount.make_internal("")?, file_name(endpoint, bucket));
    internal::replace(&dir, &name, &profile.encode(endpoint, bucket)).map_err(LocalError::at("cannot write", &format!("{RESERVED}/{name}")))
}

fn file_name(endpoint: &str, bucket: &str) -> String {
    let mut hex = digest_one(format!("{endpoint}\0{bucket}").as_bytes()).hex();
    hex.truncate(16);
    format!("store-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_and_bucket_has_a_profile_of_its_own_and_a_damaged_one_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        assert_eq!(load(&mount, "e", "b").unwrap(), None);
        assert!(!temp.path().join(RESERVED).exists(), "looking creates nothing");
        let profile = |time| Profile { time, ..Profile::default() };
        save(&mount, "e", "b", &profile(1)).unwrap();
        save(&mount, "other", "b", &profile(2)).unwrap();
        save(&mount, "e", "b", &profile(3)).unwrap();
        assert_eq!((load(&mount, "e", "b").unwrap(), load(&mount, "other", "b").unwrap()), (Some(profile(3)), Some(profile(2))));
        std::fs::write(temp.path().join(RESERVED).join(file_name("e", "b")), "torn").unwrap();
        assert_eq!(load(&mount, "e", "b").unwrap(), None);
    }
}
