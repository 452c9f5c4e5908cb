//! What the configuration says: the file's grammar, its errors, and the values that the rest works with. Text in, values out: finding
//! and reading files and the environment is the front end's job.

mod file;
mod gateway;
mod values;

use crate::path::Prefix;

pub use file::{At, BadConfig, File, Git, KEYS, LocalTable, Remote, SyncTable, distance, is_blank};
pub use gateway::{Acl, Addressing, Encryption, Gateway};
pub use values::{BadValue, DEFAULT_MAX_MEMORY_BYTES, Jobs, Keys, Limit, Links, Trash, parse_bytes, parse_duration};

/// A value that must never be shown: `Debug` says `***`, there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The value itself, for the one place that sends or writes it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How to reach the bucket; complete and checked.
#[derive(Clone, Debug)]
pub struct Store {
    /// Bucket name.
    pub bucket: String,
    /// Where the mount's files lie in it.
    pub prefix: Prefix,
    /// Signing region.
    pub region: String,
    /// `None` means AWS itself.
    pub endpoint_url: Option<String>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// `http://` to other hosts than loopback is allowed.
    pub allow_http: bool,
    /// What the service or the bucket demands.
    pub gateway: Gateway,
}

/// Key id, secret and session token always come from the same place.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Given with the configuration.
    Keys {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: Secret,
        /// Session token of temporary credentials.
        session_token: Option<Secret>,
    },
    /// The standard AWS chain (environment, profile, container, instance). A profile that is given by name is the only source: keys in
    /// the environment do not count beside it.
    Standard {
        /// `profile` of the configuration, `LSYNC_PROFILE` or `AWS_PROFILE`.
        profile: Option<String>,
    },
}
