//! What some services and buckets demand of every request beyond S3's defaults: how the bucket is addressed, who pays, encryption, owner.

use std::str::FromStr;

use super::values::BadValue;

/// Settings that a gateway or a bucket's policy may demand. The default demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Where the bucket's name stands in a URL.
    pub addressing: Addressing,
    /// Every request says that its sender pays for it.
    pub requester_pays: bool,
    /// How new objects are encrypted by the service.
    pub encryption: Option<Encryption>,
    /// The key of the key service that does it.
    pub kms_key_id: Option<String>,
    /// The canned ACL that new objects get.
    pub acl: Option<Acl>,
}

/// Where the bucket's name stands in a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path, which nearly all take.
    #[default]
    Path,
    /// Before the host's name.
    Virtual,
}

/// `x-amz-server-side-encryption`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Keys of the service.
    Aes256,
    /// A key service.
    Kms,
    /// A key service, in two layers.
    KmsDsse,
}

/// A canned ACL: lower-case words with hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(String);

impl Encryption {
    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Encryption::Aes256 => "AES256",
            Encryption::Kms => "aws:kms",
            Encryption::KmsDsse => "aws:kms:dsse",
        }
    }
}

impl Acl {
    /// The header's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Addressing {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Addressing, BadValue> {
        match text {
            "auto" | "path" => Ok(Addressing::Path),
            "virtual" => Ok(Addressing::Virtual),
            _ => Err(BadValue("expected \"auto\", \"path\" or \"virtual\"".into())),
        }
    }
}

impl FromStr for Encryption {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Encryption, BadValue> {
        let all = [Encryption::Aes256, Encryption::Kms, Encryption::KmsDsse];
        let found = all.into_iter().find(|encryption| encryption.as_str() == text);
        found.ok_or_else(|| BadValue("expected \"AES256\", \"aws:kms\" or \"aws:kms:dsse\"".into()))
    }
}

impl FromStr for Acl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Acl, BadValue> {
        let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if fine { Ok(Acl(text.to_owned())) } else { Err(BadValue("expected a canned ACL like \"bucket-owner-full-control\"".into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_headers() {
        assert_eq!("virtual".parse(), Ok(Addressing::Virtual));
        assert_eq!(("auto".parse(), "path".parse()), (Ok(Addressing::Path), Ok(Addressing::Path)));
        assert!("Virtual".parse::<Addressing>().is_err());
        for text in ["AES256", "aws:kms", "aws:kms:dsse"] {
            assert_eq!(text.parse::<Encryption>().map(Encryption::as_str), Ok(text));
        }
        assert!("aes256".parse::<Encryption>().is_err());
        assert_eq!("bucket-owner-full-control".parse::<Acl>().map(|acl| acl.as_str().to_owned()), Ok("bucket-owner-full-control".into()));
        assert!("".parse::<Acl>().is_err() && "a b".parse::<Acl>().is_err());
    }
}
