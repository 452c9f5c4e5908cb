//! Reads configurations of the old bash script, `KEY="value"` or `export KEY=value`. They are parsed and never executed.

use lsync::config::{At, BadConfig, File, Secret, is_blank};

/// An old configuration as a new one.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// What it says.
    pub file: File,
    /// Names and lines that lsync has no use for, for a notice; never values.
    pub ignored: Vec<String>,
    /// It was a `sync.toml` already.
    pub is_toml: bool,
}

/// Reads a `sync.toml` or an old configuration, told apart by the first line that says something.
pub(crate) fn parse_any(name: &str, text: &str) -> Result<Imported, BadConfig> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    if first.is_none_or(|line| line.starts_with('[')) {
        return Ok(Imported { file: File::parse(name, text)?, ignored: Vec::new(), is_toml: true });
    }
    parse_env(name, text)
}

/// Reads an old configuration.
pub(crate) fn parse_env(name: &str, text: &str) -> Result<Imported, BadConfig> {
    let mut imported = Imported::default();
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let at = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((key, value)) = assignment.split_once('=').filter(|(key, _)| is_name(key)) else {
            imported.ignored.push(format!("line {at}"));
            continue;
        };
        if !is_known(key) {
            imported.ignored.push(key.to_owned());
            continue;
        }
        let value =
            read_word(value).map_err(|why| BadConfig { file: name.to_owned(), line: Some(at), message: format!("{key}: {why}") })?;
        set(&mut imported.file, key, &value, at);
    }
    Ok(imported)
}

fn is_name(key: &str) -> bool {
    !key.is_empty() && !key.starts_with(|c: char| c.is_ascii_digit()) && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_known(key: &str) -> bool {
    new_name(key).is_some()
}

/// What a variable is called now.
fn new_name(key: &str) -> Option<&'static str> {
    Some(match key {
        "BUCKET_NAME" | "LSYNC_BUCKET" => "bucket",
        "LAMBDA_REGION" | "LSYNC_REGION" => "region",
        "LAMBDA_ENDPOINT_URL" | "LSYNC_ENDPOINT_URL" => "endpoint_url",
        "LAMBDA_ACCESS_KEY_ID" | "LSYNC_ACCESS_KEY_ID" => "access_key_id",
        "LAMBDA_SECRET_ACCESS_KEY" | "LSYNC_SECRET_ACCESS_KEY" => "secret_access_key",
        "GIT_USER_NAME" | "LSYNC_GIT_USER_NAME" => "user_name",
        "GIT_USER_EMAIL" | "LSYNC_GIT_USER_EMAIL" => "user_email",
        "GITHUB_TOKEN" | "LSYNC_GITHUB_TOKEN" => "github_token",
        "LSYNC_PREFIX" => "prefix",
        _ => return None,
    })
}

fn set(file: &mut File, key: &str, value: &str, line: usize) {
    let Some(key) = new_name(key) else { return };
    if is_blank(value) {
        file.blank.push(At { value: key.to_owned(), line });
        return;
    }
    let text = Some(At { value: value.trim().to_owned(), line });
    let secret = Some(At { value: Secret::new(value.trim().to_owned()), line });
    match key {
        "bucket" => file.remote.bucket = text,
        "region" => file.remote.region = text,
        "endpoint_url" => file.remote.endpoint_url = text,
        "access_key_id" => file.remote.access_key_id = text,
        "secret_access_key" => file.remote.secret_access_key = secret,
        "prefix" => file.remote.prefix = text,
        "user_name" => file.git.user_name = text,
        "user_email" => file.git.user_email = text,
        _ => file.git.github_token = secret,
    }
}

/// One word in bash's quoting, without anything that bash would have to work out.
fn read_word(text: &str) -> Result<String, &'static str> {
    const EXPANSION: &str =
        "`$` and backquotes are not worked out, the file is only read; write the value itself, or put it in single quotes";
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next().ok_or("a closing ' is missing")? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or("a closing \" is missing")? {
                    '"' => break,
                    '$' | '`' => return Err(EXPANSION),
                    '\\' => match chars.next().ok_or("a closing \" is missing")? {
                        c @ ('"' | '\\' | '$' | '`') => word.push(c),
                        c => word.extend(['\\', c]),
                    },
                    c => word.push(c),
                }
            },
            // A `<placeholder>` that was never filled in is no redirection but a blank.
            '<' if word.is_empty() && is_blank(text) => return Ok(text.to_owned()),
            '$' | '`' => return Err(EXPANSION),
            ';' | '&' | '|' | '(' | ')' | '<' | '>' => {
                return Err("the value holds a character that the shell treats specially; put it in quotes");
            }
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => {
                let rest: String = chars.collect();
                let rest = rest.trim_start();
                if rest.is_empty() || rest.starts_with('#') {
                    break;
                }
                return Err("put a value with spaces in quotes");
            }
            c => word.push(c),
        }
    }
    if word.contains(char::is_control) { Err("the value holds a control character") } else { Ok(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
# My config
BUCKET_NAME=0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6

export LAMBDA_ACCESS_KEY_ID='AKID'
LAMBDA_SECRET_ACCESS_KEY=\"s3cr=et/+\"   # from the console
LAMBDA_REGION=us-east-2
LAMBDA_ENDPOINT_URL=https://files.us-east-2.lambda.ai
GIT_USER_NAME=\"Ada \\\"King\\\" Lovelace\"
GIT_USER_EMAIL=ada@example.com
GITHUB_TOKEN=<your GitHub classic token>
HF_TOKEN=$(cat ~/.hf)
source ~/other.env
";

    #[test]
    fn the_old_scripts_configuration_is_taken_over() {
        let Imported { file, ignored, .. } = parse_any("ada.sync.env", OLD).unwrap();
        let text = |at: Option<At<String>>| at.map(|at| (at.value, at.line));
        assert_eq!(text(file.remote.bucket), Some(("0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6".into(), 2)));
        assert_eq!(text(file.remote.access_key_id), Some(("AKID".into(), 4)));
        assert_eq!(file.remote.secret_access_key.unwrap().value.expose(), "s3cr=et/+");
        assert_eq!(text(file.remote.endpoint_url), Some(("https://files.us-east-2.lambda.ai".into(), 7)));
        assert_eq!(text(file.git.user_name), Some(("Ada \"King\" Lovelace".into(), 8)));
        assert!(file.git.github_token.is_none(), "a placeholder is no token");
        assert_eq!(ignored, ["HF_TOKEN", "line 12"]);
    }

    #[test]
    fn nothing_is_ever_executed() {
        let temp = tempfile::tempdir().unwrap();
        let trace = temp.path().join("ran");
        for value in ["$(touch F)", "`touch F`", "\"$(touch F)\"", "\"`touch F`\"", "x; touch F", "x && touch F", "x|touch F", "<(touch F)"]
        {
            let text = format!("BUCKET_NAME={}\n", value.replace('F', trace.to_str().unwrap()));
            assert!(parse_env("f", &text).is_err(), "{text}");
        }
        assert!(!trace.exists());
    }

    #[track_caller]
    fn word(text: &str, expected: &str) {
        assert_eq!(read_word(text).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn quoting_is_bashs() {
        word("plain", "plain");
        word("'$HOME `x` \\'", "$HOME `x` \\");
        word("\"a\\$b\\n\"", "a$b\\n");
        word("a\"b c\"'d'", "ab cd");
        word("a\\ b", "a b");
        word("x # comment", "x");
        word("x#y", "x#y");
        word("", "");
        for bad in ["'open", "\"open", "two words", "$HOME", "\"${X}\"", "a\u{1}", "a\u{1} # comment", "'a\tb' "] {
            assert!(read_word(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_line_and_key_and_no_value() {
        let error = parse_env("me.sync.env", "\nGITHUB_TOKEN=\"hunter2$(x)\"").unwrap_err().to_string();
        assert!(error.starts_with("me.sync.env:2: GITHUB_TOKEN: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_sync_toml_is_told_by_its_first_line() {
        let file = parse_any("-", "# hello\n\n[remote]\nbucket = \"b\"\n").unwrap().file;
        assert_eq!(file.remote.bucket.unwrap().value, "b");
        assert!(parse_any("-", "").unwrap().file.remote.bucket.is_none());
    }
}
