//! What names get that one of the two sides cannot hold, or that would mislead a terminal: each is told with what accepts it, exit 3,
//! and everything else travels all the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use crate::support::cmd::{Cmd, Ran};
use crate::support::mount::Mount;
use crate::support::s3::S3;

fn lsync(mount: &Mount, s3: &S3, line: &str) -> Cmd {
    Cmd::lsync(mount).on(&s3.store).args(line)
}

/// The patterns that the messages give to accept problems, as a shell reads them.
#[track_caller]
fn accepts(ran: &Ran) -> Vec<String> {
    let lines = ran.stderr.lines().filter_map(|line| Some(line.split_once("--exclude ")?.1.trim_end_matches(')').to_owned()));
    let script = format!("printf '%s\\n' {}", lines.collect::<Vec<_>>().join(" "));
    let read = Cmd::program("/bin/sh", std::path::Path::new("/")).arg("-c").arg(script).run().expect(0);
    let mut patterns: Vec<String> = read.stdout.lines().map(str::to_owned).collect();
    patterns.sort();
    patterns.dedup();
    assert!(patterns[0].starts_with('/'), "no exclude line in\n{}", ran.stderr);
    patterns
}

#[track_caller]
fn problem(ran: &Ran, name: &str, why: &str) {
    assert!(ran.says(&format!("{name}: ")) && ran.says(why), "no «{name}: … {why}» in\n{}{}", ran.stdout, ran.stderr);
}

/// A bucket with this key and one that is fine: the fine one comes down, the other is told in every form, and nothing of it is written.
#[track_caller]
fn key(key: &str, shown: &str, why: &str, excludable: bool) {
    let s3 = S3::start();
    s3.put(key, "content").put("fine", "fine");
    let mount = Mount::new();
    let ran = lsync(&mount, &s3, "download --yes").run().expect(3);
    assert_eq!(ran.last_line(), "incomplete: 1 cannot be synced");
    problem(&ran, shown, why);
    let left: Vec<String> = mount.tree().into_iter().map(|node| node.path).collect();
    assert_eq!((left, mount.mounts().read_dir().map(Iterator::count).unwrap_or(0)), (vec!["fine".to_owned()], 1), "{key:?}");
    let json = lsync(&mount, &s3, "download --yes --json").run().expect(3).json();
    let line = json.iter().find(|line| line["type"] == "problem").expect("a problem");
    assert_eq!((line["path"].as_str(), &json[json.len() - 1]["problems"]), (Some(key), &1.into()));
    // An upload keeps its hands off it too, and status shows it.
    let up = lsync(&mount, &s3, "upload --yes").run().expect(3);
    problem(&up, shown, why);
    let status = lsync(&mount, &s3, "status --check=download").run().expect(10);
    problem(&status, shown, why);
    assert_eq!(s3.content(key), b"content");
    if excludable {
        let ran =
            accepts(&ran).iter().fold(lsync(&mount, &s3, "download --yes"), |cmd, line| cmd.arg("--exclude").arg(line)).run().expect(0);
        assert!(ran.last_line().starts_with("complete for what the filters let through: files=1 "), "{}", ran.stdout);
    } else {
        assert!(ran.stderr.contains("rename or remove the object in the bucket"), "{}", ran.stderr);
    }
}

#[test]
fn a_key_that_would_leave_the_mount() {
    key("../up", "../up", "a `.` or `..` segment", false);
    key("a/../../up", "a/../../up", "a `.` or `..` segment", true);
    key("./dot", "./dot", "a `.` or `..` segment", false);
}

#[test]
fn a_key_with_an_empty_segment() {
    key("/etc/lead", "/etc/lead", "empty segment", false);
    key("x//y", "x//y", "empty segment", true);
    key("trail/", "trail/", "empty segment", true);
}

#[test]
fn a_key_with_a_segment_that_no_mount_can_hold() {
    let long = "n".repeat(300);
    key(&format!("d/{long}"), &format!("d/{long}"), "longer than 255 bytes", true);
    key(&long, &long, "longer than 255 bytes", false);
}

/// Below a prefix such a key is like any other.
#[test]
fn a_name_of_white_space_alone() {
    let s3 = S3::start();
    let mount = Mount::with(&[("fine", "1"), (" ", "2")]);
    s3.put("\u{a0}", "3");
    for line in ["upload --yes", "download --yes", "upload --yes --overwrite --delete"] {
        let ran = lsync(&mount, &s3, line).run().expect(3);
        assert_eq!(ran.last_line(), "incomplete: 2 cannot be synced");
        problem(&ran, " ", "its key would be nothing but white space");
        problem(&ran, "\u{a0}", "its key would be nothing but white space");
    }
    assert_eq!((s3.keys(), mount.tree().len()), (vec!["fine".to_owned(), "\u{a0}".into()], 2));
    let accepted = accepts(&lsync(&mount, &s3, "download --yes").run());
    assert_eq!(accepted, ["/\\ ", "/\u{a0}"]);
    lsync(&mount, &s3, "upload --yes").arg("--exclude").arg(&accepted[0]).arg("--exclude").arg(&accepted[1]).run().expect(0);
    lsync(&mount, &s3, "upload --yes --prefix p").run().expect(0);
    assert_eq!(s3.content("p/ "), b"2");
}

#[test]
fn an_exclude_line_that_leaves_out_more_says_so() {
    let s3 = S3::start();
    s3.put("data//x", "1").put("data/fine", "2");
    let ran = lsync(&Mount::new(), &s3, "download -n").run().expect(3);
    assert!(ran.says("to leave out all of data/: --exclude") && ran.says("/data/"), "{}", ran.stdout);
}

#[test]
fn control_characters_travel_and_are_shown_escaped_everywhere() {
    let s3 = S3::start();
    let name = "evil\u{1b}]0;owned\u{7}\u{202e}txt\n.bin";
    let shown = "evil\\u{1b}]0;owned\\u{7}\\u{202e}txt\\n.bin";
    let here = Mount::with(&[(name, "1")]);
    let check = |ran: &Ran| {
        let raw = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!raw.contains('\u{1b}') && !raw.contains('\u{7}') && !raw.contains('\u{202e}'), "{raw:?}");
        assert!(raw.contains(shown), "{raw}");
    };
    check(&lsync(&here, &s3, "upload -n").run().expect(0));
    check(&lsync(&here, &s3, "upload -y -vv").run().expect(0));
    here.write(name, "22");
    check(&lsync(&here, &s3, "status -v").run().expect(0));
    let there = Mount::with(&[(name, "333")]);
    check(&lsync(&there, &s3, "download -y").run().expect(6));
    check(&lsync(&there, &s3, "download -y -q").run().expect(6));
    check(&lsync(&here, &s3, "status").arg(format!("{name}x")).run().expect(2));
    // JSON carries the very name, in JSON's own escapes.
    let ran = lsync(&there, &s3, "download -y --json").run().expect(6);
    assert!(!ran.stdout.contains('\u{1b}') && ran.json().iter().any(|line| line["path"] == name), "{}", ran.stdout);
    let fresh = Mount::new();
    lsync(&fresh, &s3, "download -y").run().expect(0);
    assert_eq!(fresh.text(name), "1");
}

#[test]
fn a_name_that_is_not_utf8() {
    let s3 = S3::start();
    let mount = Mount::with(&[("fine", "1")]);
    let bad = mount.root().join(OsStr::from_bytes(b"bad\xff.txt"));
    std::fs::write(&bad, "content").unwrap();
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(3);
    assert_eq!((ran.last_line(), s3.keys()), ("incomplete: 1 cannot be synced", vec!["fine".to_owned()]));
    problem(&ran, "bad\u{fffd}.txt", "the name is not UTF-8");
    assert_eq!(lsync(&mount, &s3, "status --check=upload").run().expect(10).code, 10);
    lsync(&mount, &s3, "upload --yes").arg("--exclude").arg(&accepts(&ran)[0]).run().expect(0);
    lsync(&mount, &s3, "download --yes --delete").run().expect(3);
    assert_eq!(std::fs::read(bad).unwrap(), b"content");
}

#[test]
fn a_key_longer_than_s3_takes() {
    let s3 = S3::start();
    let deep = vec!["d".repeat(200); 6].join("/");
    let mount = Mount::with(&[("fine", "1"), (&deep, "2")]);
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(3);
    problem(&ran, &deep, "longer than the 1024 bytes that S3 takes; shorten the path");
    assert_eq!(s3.keys(), ["fine"]);
    lsync(&mount, &s3, "upload --yes").arg("--exclude").arg(&accepts(&ran)[0]).run().expect(0);
}

/// "`skipped`, listed, exit unchanged: sockets, FIFOs, devices (they hold no bytes)".
#[test]
fn sockets_fifos_and_devices_are_listed_and_skipped() {
    let s3 = S3::start();
    let mount = Mount::with(&[("fine", "1")]);
    let _socket = UnixListener::bind(mount.path("a-socket")).unwrap();
    Cmd::program("mkfifo", mount.root()).args("b-fifo").run().expect(0);
    // Only root may make a device.
    let device = Cmd::program("mknod", mount.root()).args("c-device c 1 3").run().code == 0;
    let ran = lsync(&mount, &s3, "upload --yes").run().expect(0);
    let n = if device { 3 } else { 2 };
    assert!(ran.last_line().ends_with(&format!("skipped={n} protected=0 generation=1")), "{}", ran.stdout);
    for line in ["a-socket: it is a socket", "b-fifo: it is a FIFO"].iter().chain(device.then_some(&"c-device: it is a device")) {
        assert!(ran.says(line), "{line:?} is not in\n{}", ran.stderr);
    }
    assert_eq!(s3.keys(), ["fine"]);
    // Where the bucket has content at that name, neither is touched.
    s3.put("b-fifo", "content");
    let ran = lsync(&mount, &s3, "download --yes --overwrite").run().expect(3);
    problem(&ran, "b-fifo", "the mount has a socket, FIFO or device where the bucket has content; move it away");
    lsync(&mount, &s3, "upload --yes --overwrite").run().expect(3);
    assert_eq!(s3.content("b-fifo"), b"content");
    assert_eq!(mount.tree().iter().filter(|node| node.kind == "special").count(), n);
}

/// "links as links, never followed".
#[test]
fn a_loop_of_links_travels_as_links() {
    let s3 = S3::start();
    let here = Mount::with(&[("d/x", "1")]);
    here.link("one", "two").link("two", "one").link("self", "self").link("d/up", "..");
    lsync(&here, &s3, "upload --yes").run().expect(0);
    let there = Mount::new();
    lsync(&there, &s3, "download --yes").run().expect(0);
    assert_eq!((s3.keys(), there.tree()), (vec!["d/x".to_owned()], here.tree()));
}

#[test]
fn a_link_out_of_the_mount_is_skipped_on_download_and_listed() {
    let s3 = S3::start();
    let here = Mount::with(&[("fine", "1")]);
    here.link("passwd", "/etc/passwd").link("up", "../../x");
    lsync(&here, &s3, "upload --yes").run().expect(0);
    let there = Mount::new();
    let ran = lsync(&there, &s3, "download --yes").run().expect(0);
    for line in ["passwd: a link that points out of the mount (/etc/passwd)", "up: a link that points out of the mount (../../x)"] {
        assert!(ran.says(line), "{line:?} is not in\n{}", ran.stderr);
    }
    assert!(ran.last_line().contains(" skipped=2 ") && !there.has("passwd") && !there.has("up"), "{}", ran.stdout);
}

/// S3 holds `a` and `a/b`; a mount cannot.
#[test]
fn a_beside_a_b() {
    let s3 = S3::start();
    s3.put("a", "file").put("a/b", "below").put("fine", "1");
    let mount = Mount::new();
    let ran = lsync(&mount, &s3, "download --yes").run().expect(3);
    problem(&ran, "a", "the bucket holds a and also objects below a/, which no mount can; rename or remove one of them");
    assert_eq!(mount.tree().len(), 1);
    // What the mount has there is not sent over either of them.
    mount.write("a/b", "mine");
    lsync(&mount, &s3, "upload --yes --overwrite --delete").run().expect(3);
    assert_eq!((s3.content("a"), s3.content("a/b")), (b"file".to_vec(), b"below".to_vec()));
    mount.remove("a");
    lsync(&mount, &s3, "download --yes").arg("--exclude").arg(&accepts(&ran)[0]).run().expect(0);
}

/// "case and normalisation collisions where the mount has them": this mount has none.
#[test]
fn names_that_differ_in_case_or_normalisation_come_down_side_by_side() {
    let s3 = S3::start();
    let names = ["A", "a", "Data/x", "data/x", "e\u{301}", "\u{e9}"];
    for name in &names {
        s3.put(name, name);
    }
    let mount = Mount::new();
    lsync(&mount, &s3, "download --yes").run().expect(0);
    names.iter().for_each(|name| assert_eq!(mount.text(name), *name));
    lsync(&mount, &s3, "upload --yes").run().expect(0);
}

#[test]
fn a_path_that_is_nowhere_gives_near_names() {
    let s3 = S3::start();
    let mount = Mount::with(&[("results/run-1.npy", "1"), ("notes.md", "2"), ("data/x", "3")]);
    let check = |word: &str, near: &str| {
        for command in ["upload --yes", "download --yes", "status"] {
            let ran = lsync(&mount, &s3, command).arg(word).run().expect(2);
            assert!(ran.stderr.contains(near), "{word} {command}: {near:?} is not in\n{}", ran.stderr);
            let last = lsync(&mount, &s3, command).arg("--json").arg(word).run().expect(2).json().pop().expect("a line");
            assert_eq!((&last["type"], &last["exit"]), (&"error".into(), &2.into()));
        }
    };
    for _ in ["in the mount alone", "on both sides"] {
        check("reslts", "reslts is neither in the mount nor in the bucket; did you mean results?");
        check("result", "did you mean results?");
        check("results/run-2.npy", "did you mean results/run-1.npy?");
        check("note.md", "did you mean notes.md?");
        check("quite-different", "quite-different is neither in the mount nor in the bucket\n");
        lsync(&mount, &s3, "upload --yes").run().expect(0);
    }
    mount.remove("notes.md");
    check("note.md", "did you mean notes.md?");
    check("../elsewhere", "it is outside the mount");
    check("", "the path is empty");
}
