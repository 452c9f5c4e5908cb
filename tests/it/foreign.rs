//! What lsync needs of any S3-compatible store, asked of one that others wrote: `.ci/foreign` starts them and names them in the
//! environment. Without one, our own server answers.

use bytes::Bytes;
use lsync::digest::digest_one;
use lsync::remote::bucket::Bucket;
use lsync::remote::connect::{Network, connect};
use lsync::remote::copies::Original;
use lsync::remote::error::Kind;
use lsync::remote::object::{About, Enforce, Guard, NONCE, Put};

use crate::support::s3::Foreign;

/// The smallest part that S3 takes.
const PART_BYTES: usize = 5 << 20;

/// Runs a story on a bucket of its own, of the store that it is told.
fn on_a_bucket<F: Future<Output = ()>>(story: impl FnOnce(String, Bucket) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let foreign = Foreign::open();
        let bucket = connect(&foreign.store.config(), &Network::default()).await.expect("a bucket");
        story(foreign.kind.clone(), bucket).await;
    });
}

fn put(key: &str, content: &str, guard: Guard, enforce: Enforce) -> Put {
    let about = About { content_type: None, metadata: vec![("mtime".into(), "1700000000.123456789".into())] };
    let body = Bytes::from(content.to_owned());
    Put { key: key.into(), md5: digest_one(content.as_bytes()), body, guard, enforce, about }
}

async fn content(bucket: &Bucket, key: &str) -> Option<Bytes> {
    bucket.get_whole(key, None).await.expect("an answer")
}

#[test]
fn what_is_put_is_listed_and_comes_back() {
    on_a_bucket(|_, bucket| async move {
        let keys = ["a", "a-b/c", "a b/+%20&=?#.txt", "日本/é.bin", "quote'\"<>.txt", "z/~!@$^*()[]{}|,;:"];
        for key in keys {
            let stored = bucket.put(put(key, key, Guard::Absent, Enforce::Head)).await.unwrap();
            let head = bucket.head(key).await.unwrap().expect("it was just put");
            assert_eq!((head.size, &head.etag, head.metadata.get(NONCE)), (key.len() as u64, &stored.etag, Some(&stored.nonce)), "{key}");
            assert_eq!(head.metadata["mtime"], "1700000000.123456789", "{key}");
            assert_eq!(content(&bucket, key).await.as_deref(), Some(key.as_bytes()));
        }
        let mut expected = keys.map(str::to_owned);
        expected.sort_unstable();
        let listed = bucket.list("", &|_| {}).await.unwrap();
        assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), expected);
        for object in listed {
            assert_eq!(
                (object.size, object.etag.md5()),
                (object.key.len() as u64, Some(digest_one(object.key.as_bytes()))),
                "{}",
                object.key
            );
        }
        assert_eq!(bucket.list("a", &|_| {}).await.unwrap().len(), 3);
    });
}

#[test]
fn a_listing_has_as_many_pages_as_it_takes() {
    on_a_bucket(|_, bucket| async move {
        for n in 0..1005 {
            bucket.put(put(&format!("many/{n:04}"), "", Guard::Any, Enforce::Head)).await.unwrap();
        }
        let listed = bucket.list("", &|_| {}).await.unwrap();
        assert_eq!((listed.len(), listed[1004].key.as_str()), (1005, "many/1004"));
    });
}

#[test]
fn a_file_in_parts_comes_back_whole() {
    on_a_bucket(|_, bucket| async move {
        let whole: Bytes = (0..12_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let upload = bucket.begin_upload("big", About::default()).await.unwrap();
        let mut etags = Vec::new();
        for (number, body) in (1..).zip(whole.chunks(PART_BYTES).map(|piece| whole.slice_ref(piece))) {
            let md5 = digest_one(&body);
            etags.push(bucket.upload_part(&upload, number, body, md5).await.unwrap());
        }
        let stored = bucket.complete_upload(&upload, &etags, whole.len() as u64, &Guard::Absent, Enforce::Head).await.unwrap();
        assert_eq!(stored.nonce, upload.nonce);
        assert_eq!(content(&bucket, "big").await, Some(whole.clone()));
        let (from, mut piece) = (PART_BYTES as u64 - 3, Vec::new());
        let listed = bucket.list("big", &|_| {}).await.unwrap().remove(0);
        let of = Some((&listed.etag, listed.size));
        bucket
            .get("big", of, Some(from..from + 7), &mut |bytes| {
                piece.extend_from_slice(&bytes);
                true
            })
            .await
            .unwrap();
        assert_eq!(piece, whole[PART_BYTES - 3..PART_BYTES + 4]);
        let given_up = bucket.begin_upload("never", About::default()).await.unwrap();
        bucket.abort_upload(&given_up).await.unwrap();
        assert!(bucket.head("never").await.unwrap().is_none());
    });
}

#[test]
fn a_guard_holds_however_the_store_enforces_it() {
    on_a_bucket(|store, bucket| async move {
        let conditional = bucket.probe_guards().await.unwrap().is_conditional();
        assert_eq!(conditional, store != "rclone", "{store} and conditional writes");
        let enforce = if conditional { Enforce::Conditional } else { Enforce::Head };
        let first = bucket.put(put("x", "one", Guard::Absent, enforce)).await.unwrap();
        assert_eq!(bucket.put(put("x", "two", Guard::Absent, enforce)).await.unwrap_err().kind, Kind::Precondition);
        let second = bucket.put(put("x", "three", Guard::Is(first.etag.clone(), 3), enforce)).await.unwrap();
        assert_eq!(bucket.put(put("x", "four", Guard::Is(first.etag.clone(), 3), enforce)).await.unwrap_err().kind, Kind::Precondition);
        assert_eq!(bucket.delete("x", &Guard::Is(first.etag, 3), enforce).await.unwrap_err().kind, Kind::Precondition);
        assert_eq!(content(&bucket, "x").await.as_deref(), Some(b"three".as_slice()));
        let of = Original { key: "x".into(), etag: second.etag.clone() };
        bucket.copy(&of, 5, "y", &|| false).await.unwrap();
        bucket.delete("x", &Guard::Is(second.etag, 5), enforce).await.unwrap();
        assert_eq!((content(&bucket, "x").await, content(&bucket, "y").await.as_deref()), (None, Some(b"three".as_slice())));
        let left = bucket.list("", &|_| {}).await.unwrap();
        assert_eq!(left.len(), 1, "the probe left nothing behind: {left:?}");
    });
}
