//! Which files may hold keys, by their names and their first bytes. Reads nothing; a file that holds keys under any other name is not
//! found.

use super::{Plan, Transfer};
use crate::path::RelPath;

/// Bytes of a candidate that [`may_hold_keys`] wants to see.
pub const FIRST_BYTES: usize = 4096;

/// A new file that waits until a person says that it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Where.
    pub path: RelPath,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it may hold.
    pub what: &'static str,
}

/// What the first bytes must show.
#[derive(Clone, Copy)]
enum Shows {
    /// Anything at all: the name says enough.
    Anything,
    /// The header of a private key.
    PrivateKey,
    /// One of these, in letters of any case.
    Word(&'static [&'static str]),
    /// A URL with a password or a token before its host, or a header with one.
    UrlWithSecret,
}

const PRIVATE_KEY: (&str, Shows) = ("a private key", Shows::PrivateKey);

/// Names of files by their last segments; `*` stands for any letters of one segment.
const NAMES: &[(&str, &str, Shows)] = &[
    (".ssh/*", PRIVATE_KEY.0, PRIVATE_KEY.1),
    ("id_*", PRIVATE_KEY.0, PRIVATE_KEY.1),
    ("*.pem", PRIVATE_KEY.0, PRIVATE_KEY.1),
    ("*.key", PRIVATE_KEY.0, PRIVATE_KEY.1),
    ("*.ppk", "a private key", Shows::Word(&["putty-user-key-file"])),
    ("*.p12", "a private key", Shows::Anything),
    ("*.pfx", "a private key", Shows::Anything),
    (".env", "passwords or tokens", Shows::Anything),
    (".env.*", "passwords or tokens", Shows::Word(&["key", "token", "secret", "passw", "credential"])),
    (".netrc", "passwords or tokens", Shows::Anything),
    ("_netrc", "passwords or tokens", Shows::Anything),
    (".pgpass", "passwords", Shows::Anything),
    (".git-credentials", "passwords or tokens", Shows::Anything),
    (".git/config", "a token in a URL", Shows::UrlWithSecret),
    (".gitconfig", "a token in a URL", Shows::UrlWithSecret),
    (".aws/credentials", "keys of AWS", Shows::Anything),
    (".aws/config", "keys of AWS", Shows::Word(&["aws_secret_access_key", "aws_session_token"])),
    (".s3cfg", "keys of a cloud", Shows::Word(&["secret_key"])),
    (".boto", "keys of a cloud", Shows::Word(&["secret", "refresh_token"])),
    ("gcloud/credentials.db", "a token of Google Cloud", Shows::Anything),
    ("gcloud/access_tokens.db", "a token of Google Cloud", Shows::Anything),
    ("application_default_credentials.json", "a token of Google Cloud", Shows::Anything),
    ("credentials.json", "keys of a cloud", Shows::Word(&["private_key", "client_secret", "refresh_token"])),
    (".azure/msal_token_cache.*", "a token of Azure", Shows::Anything),
    (".azure/accessTokens.json", "a token of Azure", Shows::Anything),
    (".kube/config", "keys of Kubernetes", Shows::Word(&["client-key", "token", "password"])),
    (".docker/config.json", "a token of Docker", Shows::Word(&["\"auth\"", "identitytoken", "registrytoken"])),
    (".huggingface/token", "a token of Hugging Face", Shows::Anything),
    ("huggingface/token", "a token of Hugging Face", Shows::Anything),
    ("huggingface/stored_tokens", "a token of Hugging Face", Shows::Anything),
    ("kaggle.json", "a key of Kaggle", Shows::Word(&["\"key\""])),
    (".pypirc", "passwords or tokens", Shows::Word(&["password"])),
    (".npmrc", "a token of npm", Shows::Word(&["_authtoken", "_password", "_auth"])),
    ("rclone.conf", "keys of clouds", Shows::Anything),
    ("gh/hosts.yml", "a token of GitHub", Shows::Word(&["oauth_token"])),
    (".vault-token", "a token of Vault", Shows::Anything),
    (".streamlit/secrets.toml", "passwords or tokens", Shows::Anything),
];

impl Plan {
    /// Sets the new files apart that may hold keys, in path order.
    pub fn hold_keys(&mut self, found: &[KeyFile]) {
        let is_key = |t: &Transfer| found.binary_search_by(|key| key.path.cmp(&t.path)).ok().map(|at| found[at].clone());
        let (held, transfers) = std::mem::take(&mut self.transfers).into_iter().partition::<Vec<_>, _>(|t| is_key(t).is_some());
        self.transfers = transfers;
        self.keys.extend(held.into_iter().filter_map(|t| Some((is_key(&t)?, t))));
    }

    /// Lets them travel after all.
    pub fn send_keys(&mut self) {
        self.transfers.extend(std::mem::take(&mut self.keys).into_iter().map(|(_, transfer)| transfer));
        self.transfers.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

/// Files that look like others and are made to be shared.
const EXAMPLES: [&str; 5] = [".example", ".sample", ".template", ".dist", ".pub"];

/// True for the names whose first bytes are worth a look.
#[must_use]
pub fn is_candidate(path: &RelPath) -> bool {
    may_be_named(path.as_str()) && entries(path).next().is_some()
}

/// Most names are told apart by a few bytes: this is asked of every file.
fn may_be_named(path: &str) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let by_its_end = || [".pem", ".key", ".ppk", ".p12", ".pfx"].iter().any(|end| name.ends_with(end));
    match name.as_bytes() {
        [b'.' | b'_', ..] | [b'i', b'd', b'_', ..] => true,
        [b'a' | b'c' | b'h' | b'k' | b'm' | b'r' | b's' | b't', ..] if OTHERS.iter().any(|other| name.starts_with(other)) => true,
        _ => by_its_end() || dir == ".ssh" || dir.ends_with("/.ssh"),
    }
}

/// How names begin that the first bytes alone do not tell.
const OTHERS: [&str; 12] = [
    "accessTokens.json",
    "access_tokens.db",
    "application_default_credentials.json",
    "config",
    "credentials",
    "hosts.yml",
    "kaggle.json",
    "msal_token_cache.",
    "rclone.conf",
    "secrets.toml",
    "stored_tokens",
    "token",
];

/// What a file may hold, by its path and its first [`FIRST_BYTES`]; `None`: nothing shows that it holds keys.
#[must_use]
pub fn may_hold_keys(path: &RelPath, first: &[u8]) -> Option<&'static str> {
    if first.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(first).to_lowercase();
    entries(path).find(|(_, _, shows)| shows.in_text(&text)).map(|(_, what, _)| *what)
}

fn entries(path: &RelPath) -> impl Iterator<Item = &'static (&'static str, &'static str, Shows)> {
    let (text, is_example) = (path.as_str(), EXAMPLES.iter().any(|end| path.name().ends_with(end)));
    // Of a submodule it lies in `.git/modules/…/config`.
    let of_module = path.name() == "config" && path.ancestors().any(|dir| dir == ".git/modules" || dir.ends_with("/.git/modules"));
    let is_meant = move |name: &str| named(text, name) || of_module && name == ".git/config";
    NAMES.iter().filter(move |(name, ..)| !is_example && is_meant(name))
}

/// True when the last segments of a path are those of a name.
fn named(path: &str, name: &str) -> bool {
    let (mut segments, mut wanted) = (path.rsplit('/'), name.rsplit('/'));
    wanted.all(|wanted| {
        segments.next().is_some_and(|segment| match wanted.split_once('*') {
            Some((head, tail)) => segment.len() > head.len() + tail.len() && segment.starts_with(head) && segment.ends_with(tail),
            None => segment == wanted,
        })
    })
}

impl Shows {
    /// `text` is in small letters.
    fn in_text(self, text: &str) -> bool {
        match self {
            Shows::Anything => true,
            Shows::PrivateKey => text.lines().any(|line| {
                let line = line.trim();
                line.starts_with("-----begin ") && line.contains("private key")
            }),
            Shows::Word(words) => words.iter().any(|word| text.contains(word)),
            Shows::UrlWithSecret => text.lines().any(url_with_secret),
        }
    }
}

fn url_with_secret(line: &str) -> bool {
    let in_url = line.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', ' ', '"']).next().unwrap_or("");
        let user = host.rsplit_once('@').map(|(user, _)| user);
        // A name alone is no secret; a token may stand in its place.
        user.is_some_and(|user| user.split_once(':').map_or(user.len() >= 20, |(_, secret)| !secret.is_empty()))
    });
    in_url || line.contains("extraheader") && line.contains("authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n";

    #[track_caller]
    fn check(path: &str, first: &str, expected: Option<&str>) {
        assert_eq!(may_hold_keys(&RelPath::new(path).unwrap(), first.as_bytes()), expected, "{path}: {first}");
    }

    #[test]
    fn private_keys_are_told_from_what_lies_beside_them() {
        for path in [".ssh/id_ed25519", "me/.ssh/work", "id_rsa", "keys/id_deploy", "server.pem", "tls/a.key"] {
            check(path, KEY, Some("a private key"));
        }
        check("a.pem", &format!("{CERTIFICATE}-----END CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n"), Some("a private key"));
        check("a.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----", Some("a private key"));
        for (path, first) in [
            (".ssh/known_hosts", "github.com ssh-ed25519 AAAA"),
            (".ssh/id_ed25519.pub", "ssh-ed25519 AAAA"),
            ("id_rsa.pub", KEY),
            ("site-packages/certifi/cacert.pem", CERTIFICATE),
            ("id_to_label.json", "{}"),
            ("id_", KEY),
            ("notes.txt", KEY),
            ("id_rsa", ""),
        ] {
            check(path, first, None);
        }
        check("k.ppk", "PuTTY-User-Key-File-3: ssh-ed25519", Some("a private key"));
        check("a.p12", "\u{1}\u{2}", Some("a private key"));
    }

    #[test]
    fn files_of_tools_are_known_by_name_and_by_what_they_show() {
        check(".env", "DEBUG=1", Some("passwords or tokens"));
        check("app/.env.production", "API_KEY=x", Some("passwords or tokens"));
        check("app/.env.production", "PORT=80", None);
        check(".env.example", "API_KEY=", None);
        check(".netrc", "machine api.wandb.ai login user password x", Some("passwords or tokens"));
        check(".git-credentials", "https://u:p@h", Some("passwords or tokens"));
        check(".aws/credentials", "[default]", Some("keys of AWS"));
        check(".aws/config", "[default]\nregion = x", None);
        check(".aws/config", "AWS_SECRET_ACCESS_KEY = x", Some("keys of AWS"));
        check("aws/credentials", "x", None);
        check("me/.config/gcloud/application_default_credentials.json", "{}", Some("a token of Google Cloud"));
        check(".config/gcloud/credentials.db", "SQLite", Some("a token of Google Cloud"));
        check("credentials.json", "{\"type\": \"service_account\", \"private_key\": \"x\"}", Some("keys of a cloud"));
        check("credentials.json", "{\"user\": 1}", None);
        check(".kube/config", "users:\n- user:\n    client-key-data: x", Some("keys of Kubernetes"));
        check(".kube/config", "apiVersion: v1", None);
        check(".docker/config.json", "{\"auths\": {\"r\": {\"auth\": \"x\"}}}", Some("a token of Docker"));
        check(".docker/config.json", "{\"credsStore\": \"desktop\", \"auths\": {}}", None);
        check(".huggingface/token", "hf_x", Some("a token of Hugging Face"));
        check(".cache/huggingface/token", "hf_x", Some("a token of Hugging Face"));
        check("tokenizer/token", "x", None);
        check("kaggle.json", "{\"username\":\"u\",\"key\":\"x\"}", Some("a key of Kaggle"));
        check(".pypirc", "[pypi]\npassword = x", Some("passwords or tokens"));
        check(".npmrc", "registry=https://r", None);
        check(".npmrc", "//r/:_authToken=x", Some("a token of npm"));
        check("c/rclone.conf", "[r2]", Some("keys of clouds"));
    }

    #[test]
    fn a_url_with_a_token_is_found_in_gits_configuration() {
        let token = Some("a token in a URL");
        check(".git/config", "[remote \"origin\"]\n\turl = https://me:tok@github.com/a/b", token);
        check("p/.git/config", "url = https://github_pat_11ABCDEFG0123456789@github.com/a/b", token);
        check("p/.git/modules/lib/config", "url = https://x-token-auth:t@h/a", token);
        check(".git/config", "extraHeader = AUTHORIZATION: basic x", token);
        for plain in
            ["url = https://github.com/a/b", "url = git@github.com:a/b", "url = https://me@dev.example/a", "url = ssh://git@h:22/a"]
        {
            check(".git/config", plain, None);
        }
        check("other/config", "url = https://me:tok@github.com/a/b", None);
    }

    #[test]
    fn every_name_of_the_table_is_a_candidate() {
        for (name, ..) in NAMES {
            let path = name.replace('*', "x");
            assert!(is_candidate(&RelPath::new(&path).unwrap()), "{path}");
        }
    }

    #[test]
    fn only_candidates_are_read() {
        let candidate = |path: &str| is_candidate(&RelPath::new(path).unwrap());
        assert!(
            candidate("a/.env")
                && candidate(".ssh/x")
                && candidate("x.pem")
                && !candidate("a.npy")
                && !candidate("env")
                && !candidate("x.json")
        );
    }
}
