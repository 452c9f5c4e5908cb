//! What has to be copied before it is overwritten or deleted in the bucket, and under which name. Pure: copies nothing.

use crate::digest::digest_one;
use crate::path::RelPath;
use crate::profile::Support;

/// Longest key that S3 takes, in bytes.
const LONGEST_KEY: usize = 1024;

/// What became of the copy of an object that is about to be overwritten or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// It is there.
    Made,
    /// There was nothing to copy any more.
    NothingThere,
    /// It was not tried.
    NotTried,
    /// It failed: for this object, for these credentials, or for now.
    Failed,
    /// The bucket's service says that it knows no copies, or made something else.
    NotKnown,
}

/// Whether an object may be overwritten or deleted after that, in a bucket of which this was known before, under a plan that said that
/// it cannot be undone or did not.
#[must_use]
pub fn may_replace(copy: CopyOutcome, bucket: Option<Support>, plan_says_so: bool) -> bool {
    match copy {
        CopyOutcome::Made | CopyOutcome::NothingThere => true,
        CopyOutcome::NotTried | CopyOutcome::NotKnown => plan_says_so && cannot_copy(bucket),
        CopyOutcome::Failed => false,
    }
}

/// Whether a plan has to say that nothing can be copied first.
#[must_use]
pub fn cannot_copy(bucket: Option<Support>) -> bool {
    matches!(bucket, Some(Support::Refused | Support::Ignored))
}

/// Where a copy lies, after the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryKey {
    /// Its key.
    pub key: String,
    /// The key of a small object that holds the path, where the copy's own key would be too long to carry it.
    pub path_in: Option<String>,
}

/// The key of the copy that an operation makes of what lies at a path, in a bucket whose keys begin with so many bytes of prefix.
#[must_use]
pub fn history_key(operation: &str, path: &RelPath, prefix_bytes: usize) -> HistoryKey {
    let key = format!(".lsync/history/{operation}/{}", path.as_str());
    if prefix_bytes + key.len() <= LONGEST_KEY {
        return HistoryKey { key, path_in: None };
    }
    // No path of a user has a segment of this name.
    let key = format!(".lsync/history/{operation}/.lsync/{}", digest_one(path.as_str().as_bytes()).hex());
    HistoryKey { path_in: Some(format!("{key}.path")), key }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "What cannot be copied is not overwritten, unless the store cannot copy and the plan said so."
    #[test]
    fn what_could_not_be_copied_is_replaced_only_where_the_plan_said_so() {
        use CopyOutcome::{Failed, Made, NotKnown, NotTried, NothingThere};
        use Support::{Honoured, Ignored, Refused};
        #[track_caller]
        fn check(copy: CopyOutcome, bucket: Option<Support>, plan_says_so: bool, expected: bool) {
            assert_eq!(may_replace(copy, bucket, plan_says_so), expected, "{copy:?} {bucket:?} {plan_says_so}");
        }
        for bucket in [None, Some(Honoured), Some(Refused), Some(Ignored)] {
            for said in [false, true] {
                check(Made, bucket, said, true);
                check(NothingThere, bucket, said, true);
                check(Failed, bucket, said, false);
            }
            check(NotTried, bucket, false, false);
            check(NotKnown, bucket, false, false);
        }
        check(NotTried, None, true, false);
        check(NotTried, Some(Honoured), true, false);
        check(NotTried, Some(Refused), true, true);
        check(NotTried, Some(Ignored), true, true);
        check(NotKnown, None, true, false);
        check(NotKnown, Some(Honoured), true, false);
        check(NotKnown, Some(Refused), true, true);
        check(NotKnown, Some(Ignored), true, true);
    }

    #[test]
    fn a_path_too_long_for_a_copy_lies_beside_it() {
        let path = |bytes: usize| RelPath::new(&format!("d/{}", ["a".repeat(200).as_str(); 5].join("/")[..bytes - 2].to_owned())).unwrap();
        let of = |bytes: usize, prefix| history_key("op", &path(bytes), prefix);
        let room = LONGEST_KEY - ".lsync/history/op/".len();
        assert_eq!(of(9, 0), HistoryKey { key: ".lsync/history/op/d/aaaaaaa".into(), path_in: None });
        assert_eq!((of(900, 0).path_in, of(900, room - 900).path_in), (None, None));
        let long = of(900, room - 899);
        let hex = digest_one(path(900).as_str().as_bytes()).hex();
        assert_eq!(long.key, format!(".lsync/history/op/.lsync/{hex}"));
        assert_eq!(long.path_in, Some(format!(".lsync/history/op/.lsync/{hex}.path")));
    }
}
