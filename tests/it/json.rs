//! `--json` in real runs: the last line is a summary or an error, and its counts are disjoint and account for every item. The fields
//! themselves are pinned where the lines are made, and against the README.

use serde_json::{Value, json};

use crate::support::cmd::Ran;
use crate::support::two::{COUNTS, Two};

/// Counts of a summary that are not 0, `ignored` left out: it is not in scope.
#[track_caller]
fn counts(ran: &Ran) -> Value {
    let lines = ran.json();
    let (last, before) = lines.split_last().expect("a line");
    assert!(before.iter().all(|line| !["summary", "error"].contains(&line["type"].as_str().unwrap_or_default())), "{}", ran.stdout);
    assert_eq!((&last["type"], &last["exit"]), (&json!("summary"), &json!(ran.code)), "{last}");
    assert_eq!(last["complete"].as_bool(), Some(last["reason"].is_null()), "{last}");
    let count = |name: &&str| Some((name.to_string(), last[*name].clone())).filter(|(_, n)| *n != json!(0));
    COUNTS.iter().chain(&["skipped", "pending"]).filter_map(count).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn an_upload_and_a_download_account_for_every_item() {
    let two = Two::empty();
    two.a.write("a", "1").write("b", "22").dir("empty").link("l", "a").write(".venv/x", "ignored");
    let up = two.a("upload --yes --json").expect(0);
    assert_eq!(counts(&up), json!({ "uploaded": 4 }));
    let last = up.summary();
    assert_eq!((&last["bytes"], &last["total_bytes"], &last["generation"], &last["ignored"]), (&json!(3), &json!(3), &json!(1), &json!(1)));
    let items: Vec<_> = up.lines("item").iter().map(|line| format!("{} {}", line["verb"], line["path"])).collect();
    assert_eq!(items.len(), 4, "{items:?}");
    let down = two.b("download --yes --json").expect(0);
    assert_eq!((counts(&down), &down.summary()["bytes"]), (json!({ "downloaded": 4 }), &json!(3)));
    two.b.write("a", "changed").mode("b", 0o600).remove("l");
    let up = two.b("upload --yes --json --delete").expect(0);
    assert_eq!(counts(&up), json!({ "uploaded": 1, "updated": 1, "deleted": 1, "unchanged": 1 }));
    two.a.write("a", "mine").write("new", "n");
    let down = two.a("download --yes --json").expect(6);
    assert_eq!(counts(&down), json!({ "conflicts": 1, "updated": 1, "kept": 2, "unchanged": 1 }));
}

#[test]
fn what_is_not_carried_out_is_pending_and_says_what_it_would_do() {
    let two = Two::agreed(&[("same", "s"), ("old", "o")]);
    two.a.write("old", "changed").write("new", "n");
    for (args, code, dry_run) in [("upload --dry-run --json", 0, true), ("upload --json", 5, false)] {
        let ran = two.a(args).expect(code);
        let last = ran.summary();
        assert_eq!(counts(&ran), json!({ "pending": 2, "unchanged": 1 }), "{args}");
        assert_eq!((&last["dry_run"], &last["would"]["new"], &last["would"]["changed"]), (&json!(dry_run), &json!(1), &json!(1)));
        assert_eq!((ran.lines("action").len(), &last["bytes"]), (2, &json!(0)));
    }
    assert_eq!((two.object("old"), two.s3.keys()), ("o".into(), vec!["old".to_owned(), "same".into()]));
}

#[test]
fn status_counts_both_directions_and_ends_with_a_summary() {
    let two = Two::agreed(&[("same", "s"), ("here", "1"), ("there", "1")]);
    two.a.write("here", "22");
    two.s3.put("there", "333").put("other", "4444");
    let ran = two.a("status --json --check").expect(10);
    let last = ran.summary();
    assert_eq!((&last["upload"]["changed"], &last["upload"]["bytes"], &last["upload"]["protected"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!((&last["download"]["changed"], &last["download"]["new"], &last["download"]["bytes"]), (&json!(1), &json!(1), &json!(7)));
    assert_eq!((&last["complete"], &last["unchanged"], &last["exit"]), (&json!(false), &json!(1), &json!(10)));
}

#[test]
fn what_fails_as_a_whole_ends_with_an_error_and_says_what_to_do() {
    let two = Two::agreed(&[("a", "1")]);
    let wrong = two.cmd_a("upload --json").env("LSYNC_SECRET_ACCESS_KEY", "wrong");
    for (ran, code) in [
        (wrong.run(), 4),
        (two.a("upload --json --no-such-flag"), 2),
        (two.a("status --json nowhere"), 2),
        (two.a("upload --json --delete --max-delete x"), 2),
    ] {
        let ran = ran.expect(code);
        let last = ran.json().pop().expect("a line");
        assert_eq!((&last["v"], &last["type"], &last["exit"]), (&json!(1), &json!("error"), &json!(code)), "{}", ran.stdout);
        assert!(last["message"].as_str().is_some_and(|text| !text.is_empty() && !text.contains("\u{1b}")), "{last}");
    }
}
