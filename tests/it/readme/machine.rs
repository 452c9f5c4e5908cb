//! What the README says about completions and manual pages.

use crate::support::cmd::Cmd;
use crate::support::mount::Mount;

fn lsync(line: &str) -> String {
    Cmd::lsync(&Mount::new()).args(line).run().expect(0).stdout
}

#[test]
fn completions_know_commands_and_flags_and_are_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lsync(&format!("completions {shell}"));
        for word in ["upload", "download", "status", "setup", "overwrite", "max-delete"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
        assert!(script.contains("lsync") && !script.contains('\r'), "{shell}");
    }
    let check = Cmd::program("bash", std::path::Path::new("/")).arg("-c").arg("set -e; bash -n; echo fine");
    assert_eq!(check.stdin(lsync("completions bash")).run().expect(0).stdout, "fine\n");
    let complete = "source /dev/stdin; COMP_WORDS=(lsync up); COMP_CWORD=1; _lsync lsync up lsync; echo ${COMPREPLY[@]}";
    let cmd = Cmd::program("bash", std::path::Path::new("/")).arg("-c").arg(complete).stdin(lsync("completions bash"));
    assert_eq!(cmd.run().expect(0).stdout, "upload\n");
}

#[test]
fn manual_pages_are_there_for_lsync_and_for_each_command() {
    let page = lsync("man");
    assert!(page.contains(".TH lsync 1") && page.contains("lsync\\-upload"), "{page}");
    for command in ["setup", "upload", "download", "status", "completions", "man", "sandbox"] {
        let page = lsync(&format!("man {command}"));
        assert!(page.contains(&format!(".TH lsync-{command} 1")) && page.contains(".SH SYNOPSIS"), "{page}");
    }
}
