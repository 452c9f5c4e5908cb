//! Objects as other tools write them: with their metadata, and in their part sizes. Speaks S3 through the library's own client.

use bytes::Bytes;
use lsync::digest::digest_one;
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::remote::object::{About, Enforce, Guard, Put};

use super::s3::S3;

impl S3 {
    /// One PUT with this user metadata.
    pub(crate) fn put_with(&self, key: &str, content: impl AsRef<[u8]>, metadata: &[(&str, &str)]) {
        let body = Bytes::copy_from_slice(content.as_ref());
        let put = Put { key: key.into(), md5: digest_one(&body), body, guard: Guard::Any, enforce: Enforce::Head, about: about(metadata) };
        self.with_bucket(async |bucket| {
            bucket.put(put).await.expect("the store takes it");
        });
    }

    /// A multipart upload in parts of `part_bytes`, with this user metadata.
    pub(crate) fn put_in_parts(&self, key: &str, content: &[u8], part_bytes: usize, metadata: &[(&str, &str)]) {
        let content = Bytes::copy_from_slice(content);
        self.with_bucket(async |bucket| {
            let upload = bucket.begin_upload(key, about(metadata)).await.expect("an upload");
            let mut etags = Vec::new();
            for (number, piece) in (1..).zip(content.chunks(part_bytes)) {
                let body = content.slice_ref(piece);
                etags.push(bucket.upload_part(&upload, number, body, digest_one(piece)).await.expect("a part"));
            }
            let done = bucket.complete_upload(&upload, &etags, content.len() as u64, &Guard::Any, Enforce::Head).await;
            done.expect("the store puts it together");
        });
    }

    /// Speaks with the bucket through the library.
    pub(crate) fn with_bucket(&self, work: impl AsyncFnOnce(Bucket)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bucket = connect(&self.store.config(), &Network::default()).await.expect("a bucket");
            work(bucket).await;
        });
    }
}

fn about(metadata: &[(&str, &str)]) -> About {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    About { content_type: None, metadata }
}
