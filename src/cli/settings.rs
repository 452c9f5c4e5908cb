//! Everything a command needs to know, made from flags, environment and configuration file. Opens no bucket and changes nothing.

pub(crate) mod environment;
pub(crate) mod find;
mod gateway;
mod profile;
pub(crate) mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lsync::config::{DEFAULT_MAX_MEMORY_BYTES, Jobs, Keys, Limit, Links, Store};
use lsync::filter::Patterns;
use lsync::local::mount::{Lookup, Mount};
use lsync::local::place::TrashLimits;
use lsync::path::RelPath;
use lsync::remote::connect::Network;

use super::args::{Common, Flags};
use super::failure::Failure;
use environment::Environment;
use find::Loaded;

/// What a command works with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How to reach the bucket.
    pub store: Store,
    /// Proxies and certificates.
    pub network: Network,
    /// The mount's root directory.
    pub root: PathBuf,
    /// Where the command runs, for PATH arguments.
    pub current_dir: PathBuf,
    /// What travels: of the file, then of the flags. The configuration file in use never does.
    pub patterns: Patterns,
    /// How many transfers run at once.
    pub jobs: Jobs,
    /// How many paths a run may delete.
    pub max_delete: Limit,
    /// Bounds all buffers in flight, bytes.
    pub max_memory_bytes: u64,
    /// How much of what is replaced is kept.
    pub trash: TrashLimits,
    /// How long a file must have been left alone before it is sent.
    pub settle: Duration,
    /// What an upload does with new files that may hold keys.
    pub keys: Keys,
    /// Which links a download restores.
    pub links: Links,
}

impl Settings {
    /// Finds and merges everything.
    pub(crate) fn load(flags: &Flags, env: &Environment) -> Result<Settings, Failure> {
        let loaded = find::load(&flags.common, env)?;
        Settings::merge(flags, env, loaded)
    }

    /// Merges flags, environment and a file that was read.
    pub(crate) fn merge(flags: &Flags, env: &Environment, loaded: Option<Loaded>) -> Result<Settings, Failure> {
        let store = store::Sources { prefix: flags.common.prefix.as_deref(), env, loaded: loaded.as_ref() }.usable_store()?;
        let root = root(&flags.common, env, loaded.as_ref())?;
        let (config_path, file) = loaded.map(|loaded| (loaded.path, loaded.file)).unzip();
        let file = file.unwrap_or_default();
        let (sync, moving) = (file.sync, &flags.moving);
        let trash = sync.trash.unwrap_or_default();
        Ok(Settings {
            store,
            network: env.network(),
            current_dir: env.current_dir()?.to_owned(),
            patterns: Patterns {
                exclude: sync.exclude,
                exclude_flags: moving.exclude.clone(),
                include: sync.include,
                include_flags: moving.include.clone(),
                include_config: sync.include_config.unwrap_or(false),
                never: config_path.iter().filter_map(|path| below(&root, path)).collect(),
            },
            root,
            jobs: moving.jobs.or(sync.jobs).unwrap_or_default(),
            max_delete: moving.max_delete.or(sync.max_delete).unwrap_or_default(),
            max_memory_bytes: sync.max_memory_bytes.unwrap_or(DEFAULT_MAX_MEMORY_BYTES),
            trash: TrashLimits { age_seconds: trash.age_seconds, share: trash.share },
            keys: sync.keys.unwrap_or_default(),
            links: sync.links.unwrap_or_default(),
            settle: moving.settle.or(sync.settle).unwrap_or_default(),
        })
    }
}

/// The mount's root: `--root`, `LSYNC_ROOT`, `[local] root`, else what the current directory lies in.
pub(crate) fn root(common: &Common, env: &Environment, loaded: Option<&Loaded>) -> Result<PathBuf, Failure> {
    let current_dir = env.current_dir()?;
    let given = if let Some(root) = &common.root {
        Some((current_dir.join(root), "--root".to_owned()))
    } else if let Some(root) = env.path("LSYNC_ROOT") {
        Some((current_dir.join(root), "LSYNC_ROOT".to_owned()))
    } else {
        loaded.and_then(|loaded| {
            let at = loaded.file.local.root.as_ref()?;
            Some((root_in_file(&at.value, &loaded.path, env), loaded.at(at.line, "root")))
        })
    };
    let given = given.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str()));
    Ok(Mount::locate(&Lookup { given, current_dir, mounts: &env.mounts() })?)
}

/// `root = "…"`: `~/` is the home directory, a relative path starts where the file lies.
fn root_in_file(text: &str, config: &Path, env: &Environment) -> PathBuf {
    match (text.strip_prefix("~/"), env.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => config.parent().unwrap_or(Path::new("/")).join(text),
    }
}

/// A file's path in the mount, if it lies there.
pub(crate) fn below(root: &Path, path: &Path) -> Option<RelPath> {
    let root = root.canonicalize().ok()?;
    RelPath::new(path.strip_prefix(root).ok()?.to_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_in_the_file_starts_where_the_file_lies() {
        let env = Environment::of(Path::new("/elsewhere"), &[("HOME", "/home/ada")]);
        let of = |text: &str| root_in_file(text, Path::new("/m/cfg/sync.toml"), &env);
        assert_eq!(of("/data"), Path::new("/data"));
        assert_eq!(of("~/data"), Path::new("/home/ada/data"));
        assert_eq!(of("data"), Path::new("/m/cfg/data"));
    }

    #[test]
    fn the_configuration_in_use_is_named_as_a_path_of_the_mount() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path().canonicalize().unwrap();
        assert_eq!(below(mount.path(), &root.join("a/b.toml")).map(|p| p.to_string()), Some("a/b.toml".into()));
        assert_eq!(below(mount.path(), Path::new("/etc/b.toml")), None);
    }

    #[test]
    fn flags_beat_the_file_and_patterns_come_after_its_own() {
        use clap::Parser;
        let mount = tempfile::tempdir().unwrap();
        let path = mount.path().join("sync.toml");
        let text = "[remote]\nbucket = \"b\"\n[sync]\nexclude = [\"a\"]\njobs = 4\nmax_delete = 10\ntrash = \"1d\"\nlinks = \"any\"\nsettle = \"5m\"\n";
        let loaded = Loaded { path, name: "sync.toml".into(), file: lsync::config::File::parse("sync.toml", text).unwrap() };
        let root = mount.path().to_str().unwrap();
        let line = ["lsync", "--root", root, "--exclude", "b", "--max-delete", "5%", "man"];
        let flags = crate::cli::args::CommandLine::try_parse_from(line).unwrap().flags;
        std::fs::create_dir(mount.path().join(".lsync")).unwrap();
        let settings = Settings::merge(&flags, &Environment::of(mount.path(), &[]), Some(loaded)).unwrap();
        assert_eq!((&settings.patterns.exclude[..], &settings.patterns.exclude_flags[..]), (&["a".into()][..], &["b".into()][..]));
        assert_eq!(settings.max_delete, Limit::Percent(5));
        assert_eq!(settings.jobs, "4".parse().unwrap());
        assert_eq!((settings.trash.age_seconds, settings.trash.share), (86_400, 0.1));
        assert_eq!((settings.links, settings.max_memory_bytes, settings.settle.as_secs()), (Links::Any, 256 << 20, 300));
    }
}
