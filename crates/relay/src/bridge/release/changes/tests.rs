use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use super::{tail::Tail, *};

fn line(operation: &str, path: &str, more: &str) -> String {
    format!(
        r#"{{"time":"2026-01-01T00:00:00Z","type":"response","auth":{{"client_token":"hmac-sha256:00"}},"request":{{"id":"1","operation":"{operation}","path":"{path}","namespace":{{"id":"root"}}}},"response":{{}}{more}}}"#
    )
}

fn names(text: &str) -> Vec<String> {
    changed(text.as_bytes(), None).map(|names| names.into_iter().collect()).unwrap_or_default()
}

#[test]
fn a_write_names_the_secret_by_all_that_it_is_called() {
    assert_eq!(names(&line("update", "secret/data/shop/db", "")), ["secret/shop/db"]);
    assert_eq!(names(&line("create", "kv1/shop", "")), ["kv1/shop"]);
    assert!(
        names(&line("update", "secret/undelete/shop/db", ""))
            .contains(&"secret/shop/db".to_owned())
    );
    assert!(
        names(&line("delete", "secret/metadata/shop/db", ""))
            .contains(&"secret/shop/db".to_owned())
    );
    assert!(names(&line("delete", "a/b/data/shop", "")).contains(&"a/b/shop".to_owned()));
}

#[test]
fn what_changes_nothing_names_nothing() {
    let write = line("update", "secret/data/db", "");
    for odd in [
        line("read", "secret/data/db", ""),
        line("list", "secret/metadata/", ""),
        line("update", "secret/data/db", r#","error":"permission denied""#),
        write.replace("response\",\"auth", "request\",\"auth"),
        write.replace("\"root\"", "\"x\",\"path\":\"team/\""),
        "{}".to_owned(),
        "not JSON".to_owned(),
        line("update", "../x", ""),
    ] {
        assert_eq!(names(&odd), [""; 0], "{odd}");
    }
    let team = write.replace("\"root\"", "\"x\",\"path\":\"team/\"");
    assert!(changed(team.as_bytes(), Some("team")).is_some());
    assert!(changed(write.as_bytes(), Some("team")).is_none());
}

fn told(watchers: &Watchers, name: &str) {
    watchers.tell(&BTreeSet::from([name.to_owned()]));
}

#[tokio::test]
async fn a_session_is_told_of_what_it_reads_and_of_nothing_else() {
    let watchers = Arc::new(Watchers::default());
    watchers.hears();
    let [one, two] = [watchers.join(), watchers.join()];
    assert!(one.note("secret/data/db") && !one.note("secret/data/db"));
    assert!(one.note("pki/cert"));
    one.forget("pki/cert");
    assert!(two.note("secret/other"));
    // Before anybody watches, it is kept.
    told(&watchers, "secret/db");
    told(&watchers, "pki/cert");
    assert_eq!(one.watch(), ["secret/data/db"]);
    two.watch();
    one.inbox().due().await;
    assert_eq!(one.take(), Some(vec!["secret/data/db".to_owned()]));
    assert_eq!((one.take(), two.take()), (None, None));
    // What is read after the change needs no notice.
    told(&watchers, "secret/db");
    one.note("secret/data/db");
    assert_eq!(one.take(), None);
    drop((one, two));
    assert!(watchers.lock().by_name.is_empty(), "who has left is still there");
}

#[tokio::test]
async fn a_bridge_that_hears_nothing_more_says_so_and_promises_nothing() {
    let watchers = Arc::new(Watchers::default());
    let watcher = watchers.join();
    assert!(!watcher.note("secret/db"));
    assert_eq!(watcher.watch(), [""; 0]);
    watchers.hears();
    watcher.note("secret/db");
    assert_eq!(watcher.watch(), ["secret/db"]);
    watchers.deaf();
    watcher.inbox().due().await;
    assert_eq!(watcher.take(), Some(Vec::new()));
    assert_eq!(watcher.watch(), [""; 0]);
}

#[test]
fn one_session_notes_no_more_than_one_request_may_ask_for() {
    let watchers = Arc::new(Watchers::default());
    watchers.hears();
    let watcher = watchers.join();
    for number in 0..=ITEMS_MAX {
        assert_eq!(watcher.note(&format!("secret/{number}")), number < ITEMS_MAX);
    }
    assert_eq!(watcher.watch().len(), ITEMS_MAX);
}

#[test]
fn a_file_is_read_along_over_replacement_and_cutting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let append = |text: &str| {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("before\n");
    let mut tail = Tail::new(path.clone());
    let read = |tail: &mut Tail| {
        let mut lines = Vec::new();
        tail.read(|line| lines.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        lines
    };
    assert_eq!(read(&mut tail), [""; 0]);
    append("one\ntw");
    assert_eq!(read(&mut tail), ["one"]);
    append("o\n");
    append(&"x".repeat(5 << 20));
    append("\nafter\n");
    assert_eq!(read(&mut tail), ["two", "after"]);
    // Renamed, written to once more, and made anew.
    let old = folder.path().join("audit.1");
    fs::rename(&path, &old).unwrap();
    assert_eq!(read(&mut tail), [""; 0]);
    OpenOptions::new().append(true).open(&old).unwrap().write_all(b"last\n").unwrap();
    append("first\n");
    assert_eq!(read(&mut tail), ["last", "first"]);
    fs::write(&path, "cut\n").unwrap();
    assert_eq!(read(&mut tail), ["cut"]);
}
