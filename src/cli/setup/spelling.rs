//! What people type for a bucket, an endpoint, a region or a key id, and what they mean by it. Asks nothing and reads nothing.

use lsync::config::distance;

use super::answers::Answers;
use crate::cli::failure::Failure;
use crate::cli::settings::store::{is_bucket, is_loopback, is_region};

/// Words between the country and the number of a region's name, as AWS and Lambda use them.
const DIRECTIONS: &[&str] = &["central", "east", "midwest", "north", "northeast", "northwest", "south", "southeast", "southwest", "west"];
/// Regions that a typing mistake may have meant. No list of what there is.
const COMMON: &[&str] = &[
    "us-east-1",
    "us-east-2",
    "us-east-3",
    "us-west-1",
    "us-west-2",
    "us-west-3",
    "us-south-1",
    "us-midwest-1",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "europe-central-1",
    "asia-northeast-1",
    "asia-northeast-2",
    "asia-south-1",
    "australia-east-1",
    "me-west-1",
];

/// Takes `s3://bucket/prefix` apart, completes an endpoint that lacks its scheme, and refuses a region that cannot be. `has_endpoint`: one is
/// given elsewhere.
pub(super) fn understand(answers: &mut Answers, has_endpoint: bool) -> Result<(), Failure> {
    if let Some(text) = answers.bucket.take() {
        let (bucket, prefix) = bucket_and_prefix(&text);
        if !is_bucket(bucket) {
            return Err(Failure::usage(format!("{} is not the name of a bucket", lsync::path::Shown(&text)))
                .hint("write the name alone, or s3://bucket/prefix"));
        }
        let said = prefix.filter(|prefix| answers.prefix.as_ref().is_some_and(|other| other.trim_end_matches('/') != *prefix));
        if let Some(prefix) = said {
            return Err(Failure::usage(format!("the bucket is given with the prefix {prefix}, and another prefix is given beside it"))
                .hint("give one of them"));
        }
        answers.prefix = answers.prefix.take().or(prefix.map(str::to_owned));
        answers.bucket = Some(bucket.to_owned());
    }
    answers.endpoint_url = answers.endpoint_url.take().map(|url| whole_endpoint(&url));
    match (&answers.region, has_endpoint || answers.endpoint_url.is_some()) {
        (Some(region), false) => named_region(region).map_err(|why| Failure::usage(why.clone()).hint(REGION_HINT)),
        _ => Ok(()),
    }
}

const REGION_HINT: &str = "a region looks like us-east-2; a store of your own is named by its endpoint, and takes any region";

/// `bucket`, `s3://bucket` or `s3://bucket/prefix`.
pub(super) fn bucket_and_prefix(text: &str) -> (&str, Option<&str>) {
    let Some(rest) = text.strip_prefix("s3://") else { return (text, None) };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    (bucket, (!prefix.is_empty()).then_some(prefix))
}

/// The address with its scheme: http on this machine, https elsewhere.
pub(super) fn whole_endpoint(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let host = text.split('/').next().unwrap_or(text);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    format!("{}://{text}", if is_loopback(host) { "http" } else { "https" })
}

/// Refuses what cannot be the name of a region of AWS or Lambda.
pub(super) fn named_region(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let fits = match parts.as_slice() {
        [first, middle @ .., number] => {
            let letters = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
            let last = middle.last();
            first.len() >= 2
                && letters(first)
                && middle.iter().all(letters)
                && last.is_some_and(|word| DIRECTIONS.contains(word))
                && (1..=2).contains(&number.len())
                && number.chars().all(|c| c.is_ascii_digit())
        }
        _ => false,
    };
    if fits && is_region(text) {
        return Ok(());
    }
    let near = COMMON.iter().map(|known| (distance(known, &text.to_ascii_lowercase().replace([' ', '_'], "-")), known)).min();
    let meant = near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
    Err(format!("{} is not the name of a region{meant}", lsync::path::Shown(text)))
}

/// True for what is rather a secret key than an id: the ids of AWS have 20 capitals and digits, those of R2 32 hexadecimal digits.
pub(super) fn looks_like_a_secret(text: &str) -> bool {
    let has = |test: fn(char) -> bool| text.chars().any(test);
    let hex = text.chars().all(|c| c.is_ascii_hexdigit());
    let mixed = has(|c| c.is_ascii_lowercase()) && has(|c| c.is_ascii_uppercase());
    text.len() >= 40 && (mixed || has(|c| "/+=".contains(c)) || hex && text.len() >= 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        let check = |bucket: &str, endpoint: &str, expected: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let mut answers = Answers { bucket: some(bucket), endpoint_url: some(endpoint), ..Answers::default() };
            understand(&mut answers, false).unwrap();
            let of = |text: &Option<String>| text.clone().unwrap_or("-".into());
            assert_eq!([of(&answers.bucket), of(&answers.prefix), of(&answers.endpoint_url)].join(" "), expected, "{bucket} {endpoint}");
        };
        check("b", "", "b - -");
        check("s3://b", "", "b - -");
        check("s3://b/team/ada/", "", "b team/ada -");
        check("b", "127.0.0.1:9000", "b - http://127.0.0.1:9000");
        check("b", "localhost:9000/", "b - http://localhost:9000/");
        check("b", "s3.example.com", "b - https://s3.example.com");
        check("b", "http://s3.example.com:9000", "b - http://s3.example.com:9000");
        let both = Answers { bucket: Some("s3://b/p".into()), prefix: Some("q".into()), ..Answers::default() };
        assert!(understand(&mut both.clone(), false).is_err());
        assert!(understand(&mut Answers { prefix: Some("p/".into()), ..both }, false).is_ok());
        assert!(understand(&mut Answers { bucket: Some("a/b".into()), ..Answers::default() }, false).is_err());
    }

    #[test]
    fn a_region_that_cannot_be_is_refused_with_what_was_meant() {
        for fine in ["us-east-2", "us-midwest-1", "europe-central-1", "us-gov-west-1", "ap-southeast-7", "eusc-de-east-1", "us-isob-east-1"]
        {
            assert_eq!(named_region(fine), Ok(()), "{fine}");
        }
        let check = |text: &str, meant: &str| {
            assert_eq!(named_region(text), Err(format!("{text} is not the name of a region{meant}")));
        };
        check("us-eest-2", "; did you mean us-east-2?");
        check("us east 2", "; did you mean us-east-2?");
        check("us-east2", "; did you mean us-east-2?");
        check("Ohio", "");
        check("https://files.us-east-2.lambda.ai", "");
        let own = Answers { region: Some("garage".into()), endpoint_url: Some("https://s3.example.com".into()), ..Answers::default() };
        assert!(understand(&mut own.clone(), false).is_ok());
        assert!(understand(&mut Answers { endpoint_url: None, ..own.clone() }, false).is_err());
        assert!(understand(&mut Answers { endpoint_url: None, ..own }, true).is_ok());
    }

    #[test]
    fn a_secret_is_told_from_an_id() {
        let check = |text: &str, secret: bool| assert_eq!(looks_like_a_secret(text), secret, "{text}");
        check("AKIAIOSFODNN7EXAMPLE", false);
        check("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", true);
        check(&"0a1b2c3d".repeat(4), false);
        check(&"0a1b2c3d".repeat(8), true);
        check("GK31c2f218a2e44f485b94239e", false);
        check("minioadmin", false);
    }
}
