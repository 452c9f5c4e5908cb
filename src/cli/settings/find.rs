//! Finds the configuration file, checks who may write and read it, and reads it. Merges nothing.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lsync::config::{BadConfig, File};
use lsync::path::Shown;

use super::environment::Environment;
use crate::cli::args::Common;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::import;

/// No configuration is as long as this.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// Absolute path.
    pub path: PathBuf,
    /// As it is named in messages.
    pub name: String,
    /// What it says.
    pub file: File,
}

/// Finds and reads the configuration; `None` when there is none.
pub(crate) fn load(common: &Common, env: &Environment) -> Result<Option<Loaded>, Failure> {
    find(common, env)?.map(|path| read(&path, env)).transpose()
}

/// Where the configuration is: the path that is given, even if nothing lies there, else what is found.
pub(crate) fn find(common: &Common, env: &Environment) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = common.config.clone().or_else(|| env.path("LSYNC_CONFIG")) {
        return Ok(Some(if given.is_absolute() { given } else { env.current_dir()?.join(given) }));
    }
    for dir in search_dirs(env) {
        if let Some(found) = only_one_in(&dir)? {
            return Ok(Some(found));
        }
    }
    if let Some(root) = common.root.clone().or_else(|| env.path("LSYNC_ROOT")) {
        let root = if root.is_absolute() { root } else { env.current_dir()?.join(root) };
        if let Some(found) = only_one_in(&root)? {
            return Ok(Some(found));
        }
    }
    Ok(env.user_config().filter(|path| path.is_file()))
}

/// The current directory and those above it, up to the first where the search ends.
fn search_dirs(env: &Environment) -> Vec<PathBuf> {
    let Ok(current_dir) = env.current_dir() else { return Vec::new() };
    let (mounts, home) = (env.mounts(), env.home());
    // The current directory has its links resolved; what it is compared with must have too.
    let resolved = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let (mounts, home) = (resolved(mounts), home.map(resolved));
    let mut dirs = Vec::new();
    for dir in current_dir.ancestors() {
        dirs.push(dir.to_owned());
        let ends = dir.parent() == Some(&mounts) || home.as_deref() == Some(dir) || dir.join(lsync::path::RESERVED).is_dir();
        if ends {
            break;
        }
    }
    dirs
}

fn names_in(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    // A directory that cannot be listed holds no configuration that could be read either.
    let Ok(entries) = dir.read_dir() else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<PathBuf> = names.filter(|name| wanted(name)).map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    found
}

fn only_one_in(dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let found = names_in(dir, |name| name == "sync.toml" || name.ends_with(".sync.toml"));
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [one, two, ..] => {
            let (one, two) = (shown(one), shown(two));
            Err(Failure::usage(format!("there are two configurations in one directory: {one} and {two}"))
                .hint(format!("say which one to use, for example --config {one}, or move one of them away")))
        }
    }
}

/// Configurations of the old script that lie where the search looks: what to name when nothing else is found.
pub(crate) fn legacy_nearby(env: &Environment) -> Option<PathBuf> {
    search_dirs(env).iter().find_map(|dir| names_in(dir, |name| name.ends_with(".sync.env")).into_iter().next())
}

/// A configuration that lies in one of the mounts: what to name when the command runs somewhere else.
pub(crate) fn in_a_mount(env: &Environment) -> Option<PathBuf> {
    let mut mounts: Vec<PathBuf> = env.mounts().read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    mounts.sort();
    mounts.iter().find_map(|mount| only_one_in(mount).ok().flatten())
}

/// Reads a file, refusing one of another user and one with secrets that others may read.
pub(crate) fn read(path: &Path, env: &Environment) -> Result<Loaded, Failure> {
    let name = shown_from(path, env);
    let failed = |e: std::io::Error| Failure::usage(format!("cannot read the configuration {name}: {e}"));
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::usage(format!("the configuration {name} is not a regular file")));
    }
    let mut opened = std::fs::File::open(path).map_err(failed)?;
    let about = opened.metadata().map_err(failed)?;
    if about.uid() != env.uid && about.uid() != 0 {
        return Err(Failure::usage(format!("the configuration {name} belongs to another user (id {})", about.uid())).hint(
            "it could send your data elsewhere. If you trust it: copy it to a file of your own, or take over its ownership with chown",
        ));
    }
    let mut text = String::new();
    Read::by_ref(&mut opened).take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    let file = parse(&name, path, &text)?;
    if file.holds_secrets() && about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(Failure::new(Exit::Usage, format!("{name} holds secrets and other users may read or change it (mode {mode:03o})"))
            .hint(format!("run: chmod 600 {}", quoted(path))));
    }
    Ok(Loaded { path: path.canonicalize().unwrap_or_else(|_| path.to_owned()), name, file })
}

fn parse(name: &str, path: &Path, text: &str) -> Result<File, BadConfig> {
    if path.extension().is_some_and(|extension| extension == "env") {
        return import::parse_env(name, text).map(|imported| imported.file);
    }
    File::parse(name, text)
}

/// A path for people.
pub(crate) fn shown(path: &Path) -> String {
    Shown(&path.to_string_lossy()).to_string()
}

/// A path as the user would write it: relative when it lies below the current directory.
pub(crate) fn shown_from(path: &Path, env: &Environment) -> String {
    let short = env.current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok());
    shown(short.unwrap_or(path))
}

/// A path as one word of a shell command; plain names stay plain.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const MINIMAL: &str = "[remote]\nbucket = \"b\"\n";

    /// A directory with files of mode 0600 in it; a name that ends in `/` makes a directory.
    fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().canonicalize().unwrap();
        for file in files {
            let path = top.join(file);
            if file.ends_with('/') {
                std::fs::create_dir_all(path).unwrap();
            } else {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, MINIMAL).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
        (temp, top)
    }

    /// Runs in `dir` of a tree whose `home` is $HOME and whose `nfs` holds the mounts.
    #[track_caller]
    fn finds(files: &[&str], dir: &str, flags: &[(&str, &str)], expected: Option<&str>) {
        let (_temp, top) = tree(files);
        std::fs::create_dir_all(top.join(dir)).unwrap();
        let place = |name: &str| top.join(name).to_str().unwrap().to_owned();
        let (home, nfs, xdg) = (place("home"), place("nfs"), place("xdg"));
        let mut vars = vec![("HOME", home.as_str()), ("LSYNC_MOUNTS", &nfs), ("XDG_CONFIG_HOME", &xdg)];
        let mut common = Common::default();
        for (name, value) in flags {
            match *name {
                "--config" => common.config = Some(value.into()),
                "--root" => common.root = Some(top.join(value)),
                _ => vars.push((name, value)),
            }
        }
        let env = Environment::of(&top.join(dir), &vars);
        let found = find(&common, &env).unwrap();
        assert_eq!(found, expected.map(|e| top.join(e)));
    }

    #[test]
    fn the_nearest_configuration_going_up_is_found() {
        finds(&["nfs/me/sync.toml"], "nfs/me/a/b", &[], Some("nfs/me/sync.toml"));
        finds(&["nfs/me/ada.sync.toml"], "nfs/me", &[], Some("nfs/me/ada.sync.toml"));
        finds(&["nfs/me/sync.toml", "nfs/me/a/sync.toml"], "nfs/me/a/b", &[], Some("nfs/me/a/sync.toml"));
        finds(&["nfs/me/sync.toml.template", "nfs/me/mysync.toml"], "nfs/me", &[], None);
    }

    #[test]
    fn the_search_ends_at_the_mount_at_home_and_where_lsync_keeps_its_state() {
        finds(&["nfs/sync.toml"], "nfs/me/a", &[], None);
        finds(&["sync.toml"], "home/a", &[], None);
        finds(&["sync.toml", "data/.lsync/"], "data/a", &[], None);
        finds(&["home/sync.toml"], "home/a", &[], Some("home/sync.toml"));
    }

    #[test]
    fn what_is_given_goes_first_and_the_users_own_comes_last() {
        let all = ["nfs/me/sync.toml", "xdg/lsync/sync.toml", "root/sync.toml"];
        finds(&all, "nfs/me", &[("--config", "x.toml"), ("LSYNC_CONFIG", "y.toml")], Some("nfs/me/x.toml"));
        finds(&all, "nfs/me", &[("LSYNC_CONFIG", "y.toml")], Some("nfs/me/y.toml"));
        finds(&all, "nfs/me", &[("--root", "root")], Some("nfs/me/sync.toml"));
        finds(&all, "home", &[("--root", "root")], Some("root/sync.toml"));
        finds(&all, "home", &[], Some("xdg/lsync/sync.toml"));
    }

    #[test]
    fn two_in_one_directory_are_an_error_that_names_both() {
        let (_temp, top) = tree(&["a.sync.toml", "sync.toml"]);
        let error = find(&Common::default(), &Environment::of(&top, &[])).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.message.contains("a.sync.toml") && error.message.contains("/sync.toml"), "{}", error.message);
    }

    #[track_caller]
    fn readable(mode: u32, text: &str) -> Result<Loaded, Failure> {
        let (_temp, top) = tree(&["my sync.toml"]);
        let path = top.join("my sync.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        read(&path, &Environment::of(&top, &[]))
    }

    #[test]
    fn a_file_with_secrets_that_others_may_read_is_refused_with_the_command_that_helps() {
        let secret = "[remote]\nsecret_access_key = \"s3cret\"\n";
        for mode in [0o644, 0o640, 0o610, 0o602, 0o601] {
            let error = readable(mode, secret).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            let hint = error.hint.unwrap();
            assert!(hint.starts_with("run: chmod 600 '/") && hint.ends_with("my sync.toml'"), "{hint}");
        }
        assert!(readable(0o600, secret).is_ok() && readable(0o400, secret).is_ok());
        assert!(readable(0o644, MINIMAL).is_ok());
        assert!(readable(0o644, "[git]\ngithub_token = \"x\"").is_err());
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (_temp, top) = tree(&["sync.toml"]);
        let mut env = Environment::of(&top, &[]);
        if env.uid == 0 {
            std::os::unix::fs::chown(top.join("sync.toml"), Some(12_345), None).unwrap();
        } else {
            env.uid += 1;
        }
        let error = read(&top.join("sync.toml"), &env).unwrap_err();
        assert!(error.message.contains("belongs to another user"), "{}", error.message);
    }

    #[test]
    fn what_is_no_file_is_said_and_never_waited_for() {
        let (_temp, top) = tree(&["dir/"]);
        let env = Environment::of(&top, &[]);
        assert_eq!(read(&top.join("dir"), &env).unwrap_err().message, "the configuration dir is not a regular file");
        let missing = read(&top.join("none"), &env).unwrap_err();
        assert!(missing.message.starts_with("cannot read the configuration none: No such file"), "{}", missing.message);
    }

    #[test]
    fn errors_name_the_file_as_the_user_would() {
        let error = readable(0o600, "[remote]\n\nbuket = \"x\"").unwrap_err();
        assert_eq!(error.message, r#"my sync.toml:3: unknown key "buket" in [remote]; did you mean "bucket"?"#);
    }

    #[test]
    fn an_old_configuration_is_read_by_its_ending() {
        let (_temp, top) = tree(&["ada.sync.env"]);
        let path = top.join("ada.sync.env");
        std::fs::write(&path, "export BUCKET_NAME=\"b-1\"\n").unwrap();
        let env = Environment::of(&top, &[]);
        assert_eq!(read(&path, &env).unwrap().file.remote.bucket.unwrap().value, "b-1");
        assert_eq!(legacy_nearby(&env), Some(path));
    }
}
