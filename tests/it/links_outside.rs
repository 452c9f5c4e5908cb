//! Links that point outside the directory: the link travels, what it points to does not, and every command says so.

use crate::support::cmd::Cmd;
use crate::support::two::Two;

/// `checkpoints -> <scratch>`, with data there, and a link that reaches it through that one.
fn with_scratch() -> (Two, tempfile::TempDir) {
    let (two, scratch) = (Two::empty(), tempfile::tempdir().expect("a directory"));
    std::fs::write(scratch.path().join("last.ckpt"), "weights").expect("a file");
    two.a.write("train.py", "code").link("checkpoints", scratch.path().to_str().expect("UTF-8"));
    two.a.link("best", "checkpoints/last.ckpt").link("inside", "train.py");
    (two, scratch)
}

const SENTENCE: &str = "2 links point outside this directory; what they point to is not in the bucket: best, checkpoints";

#[test]
fn an_upload_and_status_say_what_stays_behind() {
    let (two, scratch) = with_scratch();
    let dry = two.a("upload -n").expect(0);
    let title = "Links that point outside this directory (what they point to is not in the bucket):";
    let named = format!("checkpoints -> {}", scratch.path().display());
    assert!(dry.says(title) && dry.says(&named) && dry.says("best -> checkpoints/last.ckpt"), "{}", dry.stdout);
    assert!(!dry.says("inside ->"), "{}", dry.stdout);
    let up = two.a("upload --yes").expect(0);
    assert!(up.last_line().starts_with("complete: files=4 "), "{}", up.stdout);
    assert!(up.last_line().ends_with(&format!(" generation=1 outside_links=2; {SENTENCE}")), "{}", up.stdout);
    // Not only the first time.
    assert!(two.a("upload --yes -q").expect(0).last_line().ends_with(SENTENCE));
    assert_eq!(two.a("upload --yes --json").expect(0).summary()["outside_links"], 2);
    let status = two.a("status").expect(0);
    assert!(status.says(title) && status.says("in sync: both sides hold the same; 2 links point outside"), "{}", status.stdout);
    let json = two.a("status --json").expect(0);
    assert_eq!((json.summary()["outside_links"].clone(), json.lines("outside_link").len()), (2.into(), 2));
    // Where the bucket has the links alone, a download says what it cannot bring.
    let down = two.b("download --yes").expect(0);
    assert!(down.last_line().ends_with(SENTENCE), "{}", down.stdout);
}

#[test]
fn a_shutdown_guard_hears_of_it_unless_it_is_meant() {
    let (two, _scratch) = with_scratch();
    two.a("upload --yes").expect(0);
    two.a("status --check=upload").expect(10);
    two.a("status --check=any").expect(10);
    two.a("status --check=download").expect(0);
    two.a("status --check=upload inside train.py").expect(0);
    let meant = |args: &str| -> Cmd {
        let config = two.a.home().join("sync.toml");
        std::fs::write(&config, "[sync]\nlinks = \"any\"\n").expect("a file");
        two.cmd_a(args).arg("--config").arg(config)
    };
    assert!(meant("status --check=upload").run().expect(0).says("in sync: both sides hold the same\n"));
    let up = meant("upload --yes").run().expect(0);
    assert!(up.last_line().ends_with(" outside_links=2"), "{}", up.stdout);
}

#[test]
fn a_path_behind_a_link_is_refused_with_the_link_and_where_it_points() {
    let (two, scratch) = with_scratch();
    two.a.dir("data").write("data/x", "x").link("d", "data");
    for command in ["upload --yes", "download --yes", "status"] {
        let ran = two.a(&format!("{command} checkpoints/last.ckpt")).expect(2);
        let behind = format!(
            "checkpoints/last.ckpt lies behind the link checkpoints -> {}, which points outside this directory",
            scratch.path().display()
        );
        assert!(ran.stderr.contains(&behind), "{}", ran.stderr);
        let ran = two.a(&format!("{command} d/x")).expect(2);
        assert!(ran.stderr.contains("d/x lies behind the link d -> data: lsync sends links as links"), "{}", ran.stderr);
    }
    // Also where the bucket has it from before it was moved away.
    let two = Two::agreed(&[("checkpoints/last.ckpt", "weights"), ("train.py", "code")]);
    two.a.remove("checkpoints").link("checkpoints", scratch.path().to_str().expect("UTF-8"));
    let ran = two.a("upload --yes checkpoints/last.ckpt").expect(2);
    assert!(ran.stderr.contains("lies behind the link checkpoints"), "{}", ran.stderr);
}
