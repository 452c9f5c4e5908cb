//! Secrets that must show up nowhere: every test uses these, and everything that is printed or left behind is searched for them.

use std::path::Path;

/// The secret of the S3 key.
pub(crate) const S3_SECRET: &str = "canary-s3-secret-4f1c9a7e2b";
/// The GitHub token.
pub(crate) const GITHUB_TOKEN: &str = "ghp_canaryTokenForGitHub83d06b5f";
/// The session token.
pub(crate) const SESSION_TOKEN: &str = "canary-session-token-c7e52d90a1";

/// All of them.
pub(crate) const ALL: [&str; 3] = [S3_SECRET, GITHUB_TOKEN, SESSION_TOKEN];

/// Larger files and objects are the tests' own noise.
const LARGEST: usize = 256 << 10;

/// True when one of them is in these bytes.
pub(crate) fn is_in(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LARGEST)]);
    ALL.iter().any(|secret| text.contains(secret))
}

/// The first file below a directory that holds one. What lies in a `trash` may hold any file, also one with keys.
pub(crate) fn file_with_one(dir: &Path) -> Option<std::path::PathBuf> {
    let all = walkdir::WalkDir::new(dir).into_iter().filter_entry(|entry| entry.file_name() != "trash");
    let files = all.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).find(|path| std::fs::read(path).is_ok_and(|bytes| is_in(&bytes)))
}
