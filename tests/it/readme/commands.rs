//! Every command line that the README and the help pages give is run as it stands there, each in a directory of its own with a bucket. Only
//! what a reader has to fill in is filled in.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{code, help};
use crate::support::cmd::Cmd;
use crate::support::mount::Mount;
use crate::support::pty::Pty;
use crate::support::s3::S3;
use How::{Asks, Ends, Not};
use World::{Bare, Calm, Clash};

/// Where a line is run.
#[derive(Clone, Copy)]
enum World {
    /// No configuration yet; one lies on another machine, and an old one here.
    Bare,
    /// Synced, with a download that replaced files; since then a file changed here, and another one there.
    Calm,
    /// The same, and two files changed on both sides.
    Clash,
}

/// What becomes of a line.
#[derive(Clone, Copy)]
enum How {
    /// It ends with this code, without a terminal.
    Ends(World, i32),
    /// At a terminal it asks for confirmation, and ends with this code after a yes.
    Asks(World, u32),
    /// It is not run, because.
    Not(&'static str),
}

const CARGO: &str = "it builds the project; .ci/run does";
const TOUR: &str = "readme/tour.rs runs it";

/// All command lines, as they stand in the README and in the help.
const LINES: &[(&str, How)] = &[
    ("cargo run --release --features sandbox -- sandbox", Not(TOUR)),
    ("cargo test --features sandbox", Not(CARGO)),
    ("git clone <this repository> lsync && cd lsync", Not("the repository has no address yet")),
    ("cargo install --path .", Not(CARGO)),
    ("mkdir -p /lambda/nfs/me/bin", Ends(Bare, 0)),
    ("cp ~/.cargo/bin/lsync /lambda/nfs/me/bin/lsync", Ends(Calm, 0)),
    ("export PATH=\"/lambda/nfs/me/bin:$PATH\"", Ends(Bare, 0)),
    ("ssh new mkdir -p /lambda/nfs/me/bin", Ends(Bare, 0)),
    ("scp /lambda/nfs/me/bin/lsync new:/lambda/nfs/me/bin/", Not("it needs a second machine")),
    ("mkdir -p ~/.local/share/bash-completion/completions", Ends(Bare, 0)),
    ("lsync completions bash > ~/.local/share/bash-completion/completions/lsync", Ends(Bare, 0)),
    ("lsync completions zsh > ~/.zfunc/_lsync", Ends(Bare, 0)),
    ("lsync completions fish > ~/.config/fish/completions/lsync.fish", Ends(Bare, 0)),
    ("lsync man | man -l -", Ends(Bare, 0)),
    ("lsync man upload | man -l -", Ends(Bare, 0)),
    ("lsync man > ~/.local/share/man/man1/lsync.1", Ends(Bare, 0)),
    ("cd /lambda/nfs/me", Ends(Bare, 0)),
    ("lsync setup", Ends(Calm, 0)),
    ("lsync setup --import me.sync.env", Ends(Bare, 0)),
    ("ssh old cat /lambda/nfs/me/sync.toml | lsync setup --import -", Ends(Bare, 0)),
    (
        "LSYNC_SECRET_ACCESS_KEY=… lsync setup --bucket 0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6 --region us-east-2 --access-key-id …",
        Ends(Bare, 0),
    ),
    ("LSYNC_SECRET_ACCESS_KEY=… lsync setup --bucket … --region us-east-2 --access-key-id …", Ends(Bare, 0)),
    ("lsync upload", Asks(Calm, 0)),
    ("lsync upload data/ notes.md", Asks(Calm, 0)),
    ("lsync upload --dry-run", Ends(Calm, 0)),
    ("lsync upload --delete", Asks(Calm, 0)),
    ("lsync upload --overwrite a.npy", Asks(Clash, 0)),
    ("lsync upload --overwrite notes.md", Asks(Clash, 0)),
    ("lsync upload --verify deep", Asks(Calm, 0)),
    ("lsync upload --dry-run --json > plan.jsonl", Ends(Calm, 0)),
    ("lsync upload --yes --json > log.jsonl", Ends(Calm, 0)),
    ("lsync download", Asks(Calm, 0)),
    ("lsync download data/", Asks(Calm, 0)),
    ("lsync download --dry-run", Ends(Calm, 0)),
    ("lsync download --delete", Asks(Calm, 0)),
    ("lsync download --overwrite a.npy", Asks(Clash, 0)),
    ("lsync download --overwrite notes.md", Asks(Clash, 0)),
    ("lsync status", Ends(Calm, 0)),
    ("lsync status data/", Ends(Calm, 0)),
    ("lsync status --check=upload", Ends(Calm, 10)),
    ("lsync status --check=upload || lsync upload --yes", Ends(Calm, 0)),
    ("lsync verify", Ends(Calm, 0)),
    ("lsync verify --sample 5%", Ends(Calm, 0)),
    ("lsync verify --deep data/", Ends(Calm, 0)),
    ("lsync doctor", Ends(Calm, 0)),
    ("lsync doctor --dry-run", Ends(Calm, 0)),
    ("lsync doctor --json > doctor.jsonl", Ends(Calm, 0)),
    ("lsync undo", Asks(Calm, 0)),
    ("lsync undo 4f1c", Asks(Calm, 0)),
    ("lsync undo --dry-run", Ends(Calm, 0)),
    ("lsync undo --overwrite", Asks(Clash, 0)),
    ("cp -p .lsync/trash/<operation>/notes.md notes.md", Ends(Calm, 0)),
    ("lsync log", Ends(Calm, 0)),
    ("lsync log -v", Ends(Calm, 0)),
    ("lsync log --json", Ends(Calm, 0)),
    ("lsync sandbox", Not(TOUR)),
    ("lsync sandbox serve", Not(TOUR)),
    ("lsync sandbox serve --dir lab", Not(TOUR)),
    ("cargo bench --features sandbox --bench peers", Not("a benchmark is no test")),
    ("fuzz/run key_to_path", Not("a campaign of hours")),
    ("RUNS=100000 fuzz/run", Not("a campaign of an hour")),
];

/// Lines of campaigns, which the tests of the campaigns run a slice of.
fn is_campaign(line: &str) -> bool {
    line.starts_with("LSYNC_TEST_") && line.contains(" cargo test ")
}

/// The examples of a help page, without what is said about them.
fn examples(help: &str) -> Vec<String> {
    let Some((_, after)) = help.split_once("Examples:\n") else { return Vec::new() };
    let block = after.split("\n\n").next().unwrap_or(after).replace("\\\n", "");
    let commands = block.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let plain = commands.map(|line| {
        let joined = line.replacen("us-east-2       ", "us-east-2 ", 1);
        joined.split("  ").next().unwrap_or(line).trim().to_owned()
    });
    plain.collect()
}

fn all_lines() -> Vec<String> {
    let listed = help("").split("Commands:").nth(1).expect("the commands").split("\n\n").next().expect("a block").to_owned();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let of_help = names.flat_map(|name| examples(&help(name)));
    let all = code("sh").into_iter().map(str::to_owned).chain(of_help).filter(|line| !line.is_empty() && !is_campaign(line));
    all.collect()
}

#[test]
fn every_command_line_is_in_the_table() {
    let known: BTreeMap<&str, How> = LINES.iter().copied().collect();
    let all = all_lines();
    let unknown: Vec<_> = all.iter().filter(|line| !known.contains_key(line.as_str())).collect();
    let gone: Vec<_> = known.keys().filter(|line| !all.iter().any(|there| there == *line)).collect();
    assert!(unknown.is_empty() && gone.is_empty(), "not in the table: {unknown:#?}\nnowhere any more: {gone:#?}");
    assert!(known.values().filter(|how| !matches!(how, Not(_))).count() > 40);
    assert!(known.values().all(|how| !matches!(how, Not(""))), "a line that is not run has a reason");
}

/// Several at a time: most of it is waiting for programs to start.
#[test]
fn every_command_line_works_as_it_stands() {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((line, how)) = LINES.get(next.fetch_add(1, Ordering::Relaxed)) {
            match *how {
                Not(_) => {}
                Ends(world, code) => Place::new(world).run(line, code),
                Asks(world, code) => Place::new(world).answer(line, code),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
}

/// A machine on which a line is typed.
struct Place {
    s3: S3,
    mount: Mount,
    other: Mount,
}

impl Place {
    fn new(world: World) -> Place {
        let place = Place { s3: S3::start(), mount: Mount::new(), other: Mount::new() };
        let (home, store) = (place.mount.home(), &place.s3.store);
        let config = format!(
            "[remote]\nbucket = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\nendpoint_url = \"{}\"\n",
            store.bucket, store.access_key_id, store.secret_access_key, store.endpoint
        );
        for dir in [".cargo/bin", ".zfunc", ".config/fish/completions", ".local/share/man/man1", ".local/share/bash-completion/completions"]
        {
            std::fs::create_dir_all(home.join(dir)).expect("a directory of the home");
        }
        symlink(env!("CARGO_BIN_EXE_lsync"), home.join(".cargo/bin/lsync")).expect("the program");
        place.tool("ssh", "shift; exec \"$@\"");
        place.tool("man", "exec cat");
        if let Bare = world {
            place.other.write("sync.toml", &config).mode("sync.toml", 0o600);
            let old = format!(
                "BUCKET_NAME={}\nLAMBDA_ACCESS_KEY_ID={}\nLAMBDA_SECRET_ACCESS_KEY={}\nLAMBDA_ENDPOINT_URL={}\n",
                store.bucket, store.access_key_id, store.secret_access_key, store.endpoint
            );
            place.mount.write("me.sync.env", old).mode("me.sync.env", 0o600);
            return place;
        }
        place.mount.write("sync.toml", &config).mode("sync.toml", 0o600).dir("bin");
        place.mount.write("data/x", "1").write("notes.md", "1").write("a.npy", "1");
        place.here("upload --yes");
        place.there("download --yes");
        place.other.write("notes.md", "22").write("a.npy", "22");
        place.there("upload --yes");
        place.here("download --yes");
        place.mount.write("data/x", "333");
        place.other.write("data/y", "new");
        if let Clash = world {
            place.mount.write("notes.md", "333").write("a.npy", "333");
            place.other.write("notes.md", "4444").write("a.npy", "4444");
        }
        place.there("upload --yes");
        place
    }

    /// A program beside `lsync`: the other machine is this one, and the reader of manual pages prints them.
    fn tool(&self, name: &str, script: &str) {
        let path = self.mount.home().join(".cargo/bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it can run");
    }

    fn here(&self, words: &str) {
        Cmd::lsync(&self.mount).args(words).run().expect(0);
    }

    fn there(&self, words: &str) {
        Cmd::lsync(&self.other).on(&self.s3.store).args(words).run().expect(0);
    }

    /// The line with what its reader has to fill in.
    fn filled_in(&self, line: &str) -> String {
        let store = &self.s3.store;
        let trash = std::fs::read_dir(self.mount.path(".lsync/trash")).ok();
        let operation = trash.and_then(|dir| dir.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).next()).unwrap_or_default();
        // The file of another machine is read where it lies.
        let of_other = format!("{} |", self.other.path("sync.toml").display());
        let here = self.mount.root().display().to_string();
        line.replace("/lambda/nfs/me/sync.toml |", &of_other)
            .replace("/lambda/nfs/me", &here)
            .replace("0f3c1a52-2b0e-4b7e-9a53-a1b2c3d4e5f6", &store.bucket)
            .replace("--bucket …", &format!("--bucket {}", store.bucket))
            .replace("LSYNC_SECRET_ACCESS_KEY=…", &format!("LSYNC_SECRET_ACCESS_KEY='{}'", store.secret_access_key))
            .replace("--access-key-id …", &format!("--access-key-id {}", store.access_key_id))
            .replace("<operation>", &operation)
            .replace("undo 4f1c", &format!("undo {}", operation.get(..4).unwrap_or_default()))
    }

    fn cmd(&self, line: &str) -> Cmd {
        let mut cmd = Cmd::lsync(&self.mount);
        cmd.program = "/bin/bash".into();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.mount.home().join(".cargo/bin").display());
        // A bucket of a test has an address of its own.
        let cmd = cmd.env("PATH", path).env("LSYNC_ENDPOINT_URL", &self.s3.store.endpoint).env("GIT_CONFIG_NOSYSTEM", "1");
        cmd.args("-o pipefail -c").arg(self.filled_in(line))
    }

    #[track_caller]
    fn run(&self, line: &str, code: i32) {
        let ran = self.cmd(line).run();
        assert_eq!(ran.code, code, "{line}\nstdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    }

    #[track_caller]
    fn answer(&self, line: &str, code: u32) {
        let mut terminal = Pty::start(&self.cmd(line), 100, 50);
        terminal.wait_for("[y/N]").send("y\r");
        assert_eq!(terminal.wait(), code, "{line}\n{}", terminal.screen());
    }
}
