//! The buckets in the server's directory. One server per directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use s3s::path::check_bucket_name;
use s3s::{S3Result, s3_error};

use super::bucket::{Bucket, broken};
use super::{read, write};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    durable: bool,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    /// Holds the lock on the directory.
    _lock: File,
}

impl Store {
    /// Opens every bucket in the directory, which is created if need be, and creates those named that are not there.
    pub(super) fn open(dir: PathBuf, durable: bool, named: &[String]) -> io::Result<Store> {
        fs::create_dir_all(&dir)?;
        let lock = File::create(dir.join(".lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, format!("another sandbox server is using {}", dir.display())))?;
        let store = Store { dir, durable, buckets: RwLock::default(), _lock: lock };
        for entry in fs::read_dir(&store.dir)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().filter(|name| check_bucket_name(name))
                && Bucket::is_in(&entry.path())
            {
                write(&store.buckets).insert(name.to_owned(), Arc::new(Bucket::open(entry.path(), durable)?));
            }
        }
        for name in named {
            if !check_bucket_name(name) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a bucket")));
            }
            store.create(name)?;
        }
        Ok(store)
    }

    /// A bucket, or `NoSuchBucket`.
    pub(super) fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        read(&self.buckets).get(name).cloned().ok_or_else(|| s3_error!(NoSuchBucket, "there is no bucket of this name"))
    }

    /// Names in order.
    pub(super) fn names(&self) -> Vec<String> {
        read(&self.buckets).keys().cloned().collect()
    }

    /// Creates a bucket; false when there is one. The name has been checked.
    pub(super) fn create(&self, name: &str) -> io::Result<bool> {
        let mut buckets = write(&self.buckets);
        if buckets.contains_key(name) {
            return Ok(false);
        }
        buckets.insert(name.to_owned(), Arc::new(Bucket::open(self.dir.join(name), self.durable)?));
        Ok(true)
    }

    /// Removes an empty bucket.
    pub(super) fn remove(&self, name: &str) -> S3Result<()> {
        let mut buckets = write(&self.buckets);
        let bucket = buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if !bucket.look(|objects, _| objects.is_empty()) {
            return Err(s3_error!(BucketNotEmpty));
        }
        bucket.remove().map_err(broken)?;
        buckets.remove(name);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for bucket in read(&self.buckets).values() {
            bucket.close();
        }
    }
}
