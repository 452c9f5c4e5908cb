//! Commands that a person is told to type: they work where the first one ran, with the flags that say where, safely quoted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lsync::engine::Depth;
use lsync::path::RelPath;
use lsync::plan::Direction;

use super::args::{self, Common, Compare, Flags};
use super::text::shell_word;

/// The command that applies the plan of these flags without asking. `called`: what the program was called as.
pub(crate) fn without_asking(called: &str, direction: Direction, flags: &Flags, read_back: Depth, paths: &[PathBuf]) -> String {
    let mut words: Vec<OsString> = [called, direction.verb(), "--yes"].map(OsString::from).into();
    let moving = &flags.moving;
    for (on, name) in [
        (moving.delete, "--delete"),
        (moving.overwrite, "--overwrite"),
        (moving.with_deleted, "--with-deleted"),
        (flags.common.json, "--json"),
    ] {
        words.extend(on.then(|| name.into()));
    }
    let compare = moving.compare.map(|how| match how {
        Compare::Content => "content".to_owned(),
        Compare::Size => "size".to_owned(),
    });
    let values = [
        ("--max-delete", moving.max_delete.map(|limit| limit.to_string())),
        ("--compare", compare),
        ("--verify", Some(read_back).filter(|depth| *depth != Depth::List).map(args::depth_text)),
        ("--settle", moving.settle.map(|length| format!("{}s", length.as_secs()))),
        ("--jobs", moving.jobs.map(|jobs| jobs.to_string())),
        ("--bwlimit", moving.bwlimit.map(|rate| rate.to_string())),
    ];
    for (name, value) in values {
        words.extend(value.map(|value| format!("{name}={value}").into()));
    }
    let patterns = [("--include", &moving.include), ("--exclude", &moving.exclude)];
    words.extend(patterns.into_iter().flat_map(|(name, all)| all.iter().map(move |p| format!("{name}={p}").into())));
    words.extend(place(&flags.common));
    if !paths.is_empty() {
        words.push("--".into());
        words.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    }
    line(&words)
}

/// `clean` of the same place without asking.
pub(crate) fn clean(called: &str, common: &Common) -> String {
    let mut words: Vec<OsString> = [called, "clean", "--yes"].map(OsString::from).into();
    words.extend(common.json.then(|| "--json".into()));
    words.extend(place(common));
    line(&words)
}

/// Where commands are typed, and how.
pub(crate) struct Here<'a> {
    /// What the program was called as.
    pub called: &'a str,
    pub common: &'a Common,
    pub root: &'a Path,
    pub current_dir: &'a Path,
}

/// A command for one path of the mount.
pub(crate) fn for_path(at: &Here<'_>, verb: Direction, extra: &str, path: &RelPath) -> String {
    let mut words: Vec<OsString> = [at.called, verb.verb()].map(OsString::from).into();
    words.extend(extra.split_whitespace().map(OsString::from));
    words.extend(place(at.common));
    let typed = from(at.root, at.current_dir, path);
    if typed.as_os_str().as_encoded_bytes().starts_with(b"-") {
        words.push("--".into());
    }
    words.push(typed.into_os_string());
    line(&words)
}

/// The flags that say which mount, which configuration and which part of the bucket.
fn place(common: &Common) -> Vec<OsString> {
    let path = |name: &str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| {
            let mut word = OsString::from(format!("{name}="));
            word.push(path);
            word
        })
    };
    let prefix = common.prefix.as_ref().map(|prefix| format!("--prefix={prefix}").into());
    [path("--config", &common.config), path("--root", &common.root), prefix].into_iter().flatten().collect()
}

/// A path of the mount, relative to where a command is typed; absolute when that is not in the mount.
fn from(root: &Path, current_dir: &Path, path: &RelPath) -> PathBuf {
    let Ok(below) = current_dir.strip_prefix(root) else { return root.join(path.as_str()) };
    let (mut here, mut there) = (below.components().peekable(), Path::new(path.as_str()).components().peekable());
    while here.peek().is_some() && here.peek() == there.peek() {
        here.next();
        there.next();
    }
    let up = here.map(|_| Path::new(".."));
    let typed: PathBuf = up.chain(there.map(|part| Path::new(part.as_os_str()))).collect();
    if typed.as_os_str().is_empty() { ".".into() } else { typed }
}

fn line(words: &[OsString]) -> String {
    words.iter().map(shell_word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_typed_as_it_is_seen_from_here() {
        let check = |current_dir: &str, path: &str, typed: &str| {
            assert_eq!(from(Path::new("/m"), Path::new(current_dir), &RelPath::new(path).unwrap()), Path::new(typed), "{current_dir}");
        };
        check("/m", "data/a", "data/a");
        check("/m/data", "data/a", "a");
        check("/m/data/x", "data/a", "../a");
        check("/m/other", "data/a", "../data/a");
        check("/m/data/a", "data/a", ".");
        check("/elsewhere", "data/a", "/m/data/a");
    }

    #[test]
    fn the_command_that_is_shown_is_the_one_that_applies_the_plan() {
        use clap::Parser;
        let check = |line: &str, expected: &str| {
            let words = std::iter::once("lsync").chain(line.split(' '));
            let parsed = crate::cli::args::CommandLine::try_parse_from(words).unwrap();
            let crate::cli::args::Command::Upload(args) = parsed.command else { panic!("{line}") };
            let flags = parsed.flags.merge(args.flags);
            assert_eq!(without_asking("lsync", Direction::Upload, &flags, args.verify.unwrap_or_default(), &args.paths), expected);
            let again = crate::cli::args::CommandLine::try_parse_from(expected.replace('\'', "").split(' '));
            assert!(again.is_ok(), "{expected}");
        };
        check("upload", "lsync upload --yes");
        check("upload data -n -v", "lsync upload --yes -- data");
        check("upload --verify deep", "lsync upload --yes --verify=deep");
        check("upload --verify sample:2.5%", "lsync upload --yes --verify=sample:2.5%");
        check(
            "--json upload --delete --overwrite --max-delete 5% --compare size -j 3 --bwlimit 1M",
            "lsync upload --yes --delete --overwrite --json --max-delete=5% --compare=size --jobs=3 --bwlimit=1048576",
        );
        check(
            "upload --exclude *.log --include=x --config c --root r --prefix p -- -odd",
            "lsync upload --yes --include=x '--exclude=*.log' --config=c --root=r --prefix=p -- -odd",
        );
    }

    #[test]
    fn the_way_on_for_a_path_says_where() {
        let common = Common { root: Some("/m".into()), ..Common::default() };
        let at = Here { called: "lsync", common: &common, root: Path::new("/m"), current_dir: Path::new("/m/data") };
        let path = RelPath::new("data/a b").unwrap();
        assert_eq!(for_path(&at, Direction::Download, "--overwrite", &path), "lsync download --overwrite --root=/m 'a b'");
    }
}
