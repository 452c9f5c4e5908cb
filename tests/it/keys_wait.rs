//! Files that may hold keys do not go up without a word: a person decides, and without a terminal they alone wait. Directories that programs
//! make again are named.

use crate::support::cmd::Cmd;
use crate::support::pty::Pty;
use crate::support::two::Two;

const PRIVATE: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";

fn with_keys() -> Two {
    let two = Two::empty();
    two.a.write("a", "a").write(".env", "PORT=80\n").write(".ssh/id_ed25519", PRIVATE).write(".ssh/known_hosts", "h ssh-ed25519 A\n");
    two.a
        .write("p/.git/config", "[remote \"o\"]\n\turl = https://me:tok@github.com/a/b\n")
        .write("server.pem", "-----BEGIN CERTIFICATE-----\n");
    two
}

#[test]
fn without_a_terminal_they_alone_wait_and_everything_else_goes() {
    let two = with_keys();
    let ran = two.a("upload --yes").expect(3);
    assert_eq!(two.s3.keys(), [".ssh/known_hosts", "a", "server.pem"]);
    assert_eq!(ran.last_line(), "incomplete: 3 files that may hold keys wait, .env and 2 more");
    for words in
        ["May hold keys (these wait):", ".env (passwords or tokens)", ".ssh/id_ed25519 (a private key)", "config (a token in a URL)"]
    {
        assert!(ran.says(words), "{words}: {}", ran.stderr);
    }
    assert!(ran.says("lsync upload .env") && ran.says("keys = \"allow\"") && ran.says("/.env"), "{}", ran.stderr);
    // Also when nothing else is left, in quiet runs, and before one.
    let ran = two.a("upload --yes -q").expect(3);
    assert!(ran.says(".ssh/id_ed25519 (a private key)") && ran.says("3 files that may hold keys wait"), "{}", ran.stderr);
    two.a("upload").expect(3);
    two.a("upload --dry-run").expect(3);
    two.a("status --check=upload").expect(10);
    assert!(two.a("status -q").expect(0).says("not in sync: 3 items may hold keys and wait"));
    for line in ["upload --yes --json", "upload --dry-run --json", "status --json"] {
        let ran = two.a(line);
        assert_eq!((&ran.summary()["keys"], &ran.summary()["complete"]), (&3.into(), &false.into()), "{line}");
        let told = &ran.lines("keys")[0];
        let fields = ["path", "why", "exclude"].map(|field| told[field].as_str().unwrap_or_default());
        assert_eq!((fields, &told["bytes"]), ([".env", "passwords or tokens", "/.env"], &8.into()));
    }
    // Nothing of it is in the way of a download.
    two.b("download --yes").expect(0);
    assert!(!two.b.has(".env"));
}

#[test]
fn a_path_by_name_the_configuration_or_a_pattern_decides() {
    let two = with_keys();
    // The line that the report gives.
    two.a("upload --yes .env").expect(0);
    assert_eq!(two.s3.keys(), [".env"]);
    // A directory is not the file's name.
    two.a("upload --yes .ssh").expect(3);
    two.a("upload --yes .ssh .ssh/id_ed25519").expect(0);
    // What was sent once was decided then: its changes travel.
    two.a.write(".env", "PORT=81\n").write(".ssh/id_ed25519", format!("{PRIVATE}# new\n"));
    let ran = two.a("upload --yes").expect(3);
    assert_eq!(ran.last_line(), "incomplete: 1 file that may hold keys waits, p/.git/config");
    assert_eq!(two.object(".env"), "PORT=81\n");
    two.a.write(".syncignore", "/p/.git/config\n");
    two.a("upload --yes").expect(0);
    two.a.remove(".syncignore").write("lab.sync.toml", "[sync]\nkeys = \"allow\"\n").mode("lab.sync.toml", 0o600);
    two.a("upload --yes").expect(0);
    assert!(two.s3.keys().contains(&"p/.git/config".to_owned()));
    two.a.write("lab.sync.toml", "[sync]\nkeys = \"never\"\n");
    assert!(two.a("upload --yes").expect(2).says("expected \"ask\" or \"allow\""));
}

#[test]
fn at_the_question_a_person_decides_once() {
    for (answers, code, sent) in [(["y\r", "y\r"], 0, true), (["y\r", "\r"], 3, false)] {
        let two = with_keys();
        let mut pty = Pty::start(&two.cmd_a("upload"), 100, 60);
        pty.wait_for("Upload 3 items").send(answers[0]);
        pty.wait_for("Also upload these 3 files that may hold keys? [y/N]").send(answers[1]);
        assert_eq!(pty.wait(), code, "{}", pty.screen());
        assert_eq!(two.s3.keys().contains(&".env".to_owned()), sent);
        assert!(two.s3.keys().contains(&"a".to_owned()));
        if sent {
            // Sent once, asked never again.
            two.a("upload --yes").expect(0);
        } else {
            // Nothing else is left to ask about.
            let mut pty = Pty::start(&two.cmd_a("upload"), 100, 60);
            pty.wait_for("Also upload these 3 files that may hold keys? [y/N]").send("y\r");
            assert_eq!(pty.wait(), 0, "{}", pty.screen());
        }
    }
    // Who declines the plan is not asked about a part of it.
    let two = with_keys();
    let mut pty = Pty::start(&two.cmd_a("upload"), 100, 60);
    pty.wait_for("Upload 3 items").send("n\r");
    assert_eq!(pty.wait(), 5);
    assert!(!pty.screen().contains("Also upload") && two.s3.all_keys().is_empty(), "{}", pty.screen());
}

#[test]
fn what_programs_make_again_is_named_with_its_size_and_the_line_that_leaves_it_out() {
    let two = Two::empty();
    two.a.write("env/pyvenv.cfg", "home = x").write("env/lib/big.so", "0123456789").write("web/node_modules/m/i.js", "js").write("a", "a");
    let ran = two.a("upload --dry-run").expect(0);
    assert!(ran.says("Can be made again") && ran.says("18 B /env/ (a Python environment, 2 files)"), "{}", ran.stdout);
    assert!(ran.says("/web/node_modules/ (packages of npm, 1 file)"), "{}", ran.stdout);
    let told = two.a("upload --dry-run --json").expect(0).lines("regenerable");
    assert_eq!((told.len(), &told[0]["exclude"], &told[0]["bytes"]), (2, &"/env/".into(), &18.into()));
    // The line does what it says; nothing is ignored in silence.
    two.a.write(".syncignore", "/env/\n/web/node_modules/\n");
    let ran = two.a("upload --yes").expect(0);
    assert!(!ran.says("Can be made again") && ran.last_line().ends_with(" ignored=3"), "{}", ran.stdout);
}

#[test]
fn what_is_ignored_by_default_now_is_neither_sent_nor_deleted() {
    let two = Two::empty();
    for path in ["core.4711", "core.py", "core/x", "core.0/y", "d/.DS_Store", ".n.swp", ".Trash-1000/z", "lost+found/q"] {
        two.a.write(path, "1");
    }
    two.s3.put("d/.DS_Store", "of another tool");
    two.a("upload --yes --delete").expect(0);
    assert_eq!(two.s3.keys(), ["core.0/y", "core.py", "core/x", "d/.DS_Store"]);
    Cmd::lsync(&two.b).on(&two.s3.store).args("download --yes").run().expect(0);
    assert!(!two.b.has("d"));
}
