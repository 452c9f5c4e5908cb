//! What several targets need: cutting an input into texts, and what holds of every configuration. Calls nothing that is fuzzed.

use lsync::config::{At, File, Jobs, Limit, Secret, is_blank};

/// A value that the seeds have where a secret may stand. No error may show it.
pub const MARKER: &str = "hunter2";

/// The texts of an input, with the ASCII record separator between them: seeds stay readable, and a separator is one byte to mutate.
#[must_use]
pub fn texts(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).split('\u{1e}').map(str::to_owned).collect()
}

/// Panics unless secrets stay hidden and every value is one that the rest can work with.
pub fn check_configuration(mut file: File) {
    const SECRET: &str = "never-to-be-seen-3f1c9a";
    let hidden = file.holds_secrets();
    for secret in [&mut file.remote.secret_access_key, &mut file.remote.session_token, &mut file.git.github_token].into_iter().flatten() {
        check_text(secret.value.expose());
        secret.value = Secret::new(SECRET.to_owned());
    }
    let shown = format!("{file:?}");
    assert!(!shown.contains(SECRET) && (!hidden || shown.contains("***")), "a secret has a readable Debug: {shown}");
    let (remote, git) = (&file.remote, &file.git);
    let names = [&remote.bucket, &remote.prefix, &remote.region, &remote.endpoint_url, &remote.access_key_id, &remote.profile];
    let others = [&git.user_name, &git.user_email, &git.github_host, &file.local.root];
    names.into_iter().chain(others).flatten().for_each(|At { value, .. }| check_text(value));
    assert!(!matches!(file.sync.jobs, Some(Jobs::Count(count)) if count.get() > 512));
    assert!(!matches!(file.sync.max_delete, Some(Limit::Percent(percent)) if percent > 100));
    assert!(file.sync.trash.is_none_or(|trash| (0.0..=1.0).contains(&trash.share)));
}

fn check_text(value: &str) {
    assert!(!is_blank(value) && !value.contains(char::is_control), "a value is {value:?}");
}
