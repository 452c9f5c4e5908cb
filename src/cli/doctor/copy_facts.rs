//! What was found about copies inside the bucket, in words. Pure.

use lsync::profile::{Profile, Support};
use serde_json::{Value, json};

use super::facts::{Fact, Verdict};

/// Of whole objects, of parts, and of what is overwritten.
pub(super) fn copy_facts(profile: &Profile) -> [Fact; 3] {
    use Verdict::{Note, Ok};
    let fact = |name, known: Option<(Verdict, Value, &str, &str)>| {
        let (verdict, value, found, means) = known.unwrap_or((Note, Value::Null, "not known", ""));
        Fact::new("store", name, verdict, value, found, means)
    };
    let again = "small files that were renamed or copied here are sent again";
    let whole = profile.copies.map(|support| match support {
        Support::Honoured if profile.may_copy() => {
            (Ok, json!(support), "works", "small files that were renamed or copied here are copied there, not sent")
        }
        Support::Honoured => (Note, json!("unguarded"), "overwrites what another program wrote meanwhile", again),
        Support::Refused => (Note, json!(support), "refused", again),
        Support::Ignored => (Note, json!(support), "does not do what it is asked", again),
    });
    let all = "a large file that changed is sent whole";
    let parts = profile.part_copies.map(|support| match support {
        Support::Honoured => (Ok, json!(support), "works", "of a large file only the parts are sent that the bucket does not hold"),
        Support::Refused => (Note, json!(support), "refused", all),
        Support::Ignored => (Note, json!(support), "does not do what it is asked", all),
    });
    let lost = "what `upload --overwrite` replaces cannot be copied first, and its plan says so";
    let history = profile.keeps_copies().map(|support| match support {
        Support::Honoured => (Ok, json!(support), "works", "what `upload --overwrite` replaces is copied to .lsync/history/ first"),
        Support::Refused => (Note, json!(support), "refused", lost),
        Support::Ignored => (Note, json!(support), "does not do what it is asked", lost),
    });
    [fact("CopyObject", whole), fact("UploadPartCopy", parts), fact("copies for the history", history)]
}
