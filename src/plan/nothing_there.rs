//! That nothing is where the source should be, and where it may be instead. Says so; looks at nothing.

use std::fmt;

use crate::path::Shown;

/// Neither an object nor a published manifest is at the place in the bucket, and the directory is empty: nothing tells that the place is
/// the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingThere {
    /// The place, without a `/` at its end.
    pub url: String,
    /// Prefixes of the bucket where lsync has published; `""` is its top.
    pub elsewhere: Vec<String>,
}

impl fmt::Display for NothingThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing is at {}/", self.url)?;
        let names: Vec<String> =
            self.elsewhere.iter().map(|prefix| if prefix.is_empty() { "its top".into() } else { Shown(prefix).to_string() }).collect();
        match &names[..] {
            [] => write!(f, ": are `bucket` and `prefix` right?"),
            names => write!(f, "; this bucket has lsync data at {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_there_is_something() {
        let check = |elsewhere: &[&str], expected: &str| {
            let elsewhere = elsewhere.iter().map(|prefix| (*prefix).to_owned()).collect();
            assert_eq!(NothingThere { url: "s3://b/dokc".into(), elsewhere }.to_string(), expected);
        };
        check(&["dock/", "big/"], "nothing is at s3://b/dokc/; this bucket has lsync data at dock/, big/");
        check(&["", "dock/"], "nothing is at s3://b/dokc/; this bucket has lsync data at its top, dock/");
        check(&[], "nothing is at s3://b/dokc/: are `bucket` and `prefix` right?");
    }
}
