//! Up, and down on an empty mount, byte for byte: the product's first promise.

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::s3::S3;

#[test]
fn a_tree_goes_up_and_comes_down_on_an_empty_mount_byte_for_byte() {
    let s3 = S3::start();
    let here = Mount::with(&[("data/a.npy", "12345"), ("notes.md", "# hello\n"), ("empty.bin", "")]);
    here.link("latest", "data/a.npy").dir("results/empty").mode("notes.md", 0o600);
    let up = Cmd::lsync(&here).on(&s3.store).args("upload --yes").run().expect(0);
    assert_eq!(up.last_line(), "complete: files=5 bytes=13 strong=5 etag=0 size=0 skipped=0 protected=0 generation=1");
    let there = Mount::new();
    Cmd::lsync(&there).on(&s3.store).args("download --yes").run().expect(0);
    assert_eq!(here.tree(), there.tree());
    for command in ["upload", "download"] {
        for mount in [&here, &there] {
            let again = Cmd::lsync(mount).on(&s3.store).args(command).run().expect(0);
            assert!(again.last_line().starts_with("complete: files=5 bytes=13 strong=5"), "{}", again.stdout);
        }
    }
}
