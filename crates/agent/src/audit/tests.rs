use std::path::Path;

use super::*;

fn arguments(folder: &Path) -> AuditArgs {
    AuditArgs {
        audit_file: Some(folder.join("audit.jsonl")),
        audit_url: Some("unix:/nowhere.sock".parse().unwrap()),
        audit_state: folder.join("state"),
        audit_spool: 1,
    }
}

fn writer(folder: &Path, stderr: SyncSender<String>) -> Writer {
    let sinks = Sinks::open(&arguments(folder)).unwrap();
    Writer {
        file: sinks.file,
        number: sinks.number,
        spool: sinks.hook.map(|(_, spool, _)| spool),
        stderr,
        last: sinks.last,
        counts: Arc::default(),
        failing: false,
    }
}

fn records(many: usize) -> Vec<Record> {
    vec![Record::new(Kind::Denied, "boot", 1, Duration::ZERO); many]
}

fn numbers(lines: &str) -> Vec<u64> {
    lines.lines().filter_map(|line| record::sequence(line.as_bytes())).collect()
}

#[test]
fn numbers_have_no_gap_over_restarts_whatever_was_lost_of_the_three() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = sync_channel(99);
    writer(folder.path(), tell.clone()).write(records(3));
    writer(folder.path(), tell.clone()).write(records(2));
    // An end between the record and its number.
    fs::remove_file(folder.path().join("state/sequence")).unwrap();
    writer(folder.path(), tell.clone()).write(records(1));
    // A rotation.
    fs::remove_file(folder.path().join("audit.jsonl")).unwrap();
    writer(folder.path(), tell.clone()).write(records(1));
    fs::remove_dir_all(folder.path().join("state/spool")).unwrap();
    writer(folder.path(), tell).write(records(1));
    let told: String = told.iter().collect();
    assert_eq!(numbers(&told), (1..=8).collect::<Vec<u64>>());
    let file = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(numbers(&file), [7, 8]);
}

#[test]
fn a_sink_that_fails_is_counted_told_once_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = sync_channel(99);
    let mut writer = writer(folder.path(), tell);
    fs::remove_file(folder.path().join("audit.jsonl")).unwrap();
    fs::create_dir(folder.path().join("audit.jsonl")).unwrap();
    writer.write(records(2));
    writer.write(records(1));
    fs::remove_dir(folder.path().join("audit.jsonl")).unwrap();
    writer.write(records(1));
    assert_eq!(writer.counts.not_in_file.load(Ordering::Relaxed), 3);
    assert_eq!(writer.counts.not_in_spool.load(Ordering::Relaxed), 0);
    let spool = writer.spool.take().unwrap();
    assert_eq!(spool.last(), 4);
    drop(writer);
    let told: Vec<String> = told.iter().collect();
    assert_eq!(told.iter().filter(|lines| lines.contains("records are lost")).count(), 1);
    let file = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(numbers(&file), [4]);
}

#[test]
fn a_full_spool_and_a_reader_that_stopped_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, _told) = sync_channel(1);
    let mut writer = writer(folder.path(), tell);
    let len = u64::try_from(records(1)[0].line().len()).unwrap();
    let fit = (1 << 20) / len + 1;
    for _ in 0..=fit / 1000 {
        writer.write(records(1000));
    }
    assert!(writer.counts.not_in_spool.load(Ordering::Relaxed) >= 1000);
    assert!(writer.counts.not_on_stderr.load(Ordering::Relaxed) >= 1000);
    assert_eq!(writer.counts.not_in_file.load(Ordering::Relaxed), 0);
    let file = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(numbers(&file).last(), Some(&writer.last));
}

fn pump(tell: SyncSender<Record>) -> Pump {
    Pump {
        attackers: Arc::default(),
        tier: "lsm",
        boot: "boot".to_owned(),
        processes: Processes::of_this_machine(),
        groups: Groups::of_this_machine(),
        throttle: Throttle::default(),
        granted: Throttle::default(),
        counts: Arc::default(),
        tell,
        unsent: 0,
    }
}

/// `struct ct_event`: this very process was denied opening a file of itself.
fn report(comm: &[u8]) -> Vec<u8> {
    let own = std::process::id();
    let at = u64::try_from(host::since_boot().as_nanos()).unwrap();
    let mut bytes = vec![0; 56];
    bytes[..8].copy_from_slice(&at.to_ne_bytes());
    bytes[12..16].copy_from_slice(&2_u32.to_ne_bytes());
    bytes[16..20].copy_from_slice(&own.to_ne_bytes());
    bytes[20..24].copy_from_slice(&77_u32.to_ne_bytes());
    bytes[24..28].copy_from_slice(&own.to_ne_bytes());
    bytes[32..32 + comm.len()].copy_from_slice(comm);
    bytes
}

#[test]
fn a_report_becomes_a_record_of_who_did_what_to_whom() {
    let (tell, told) = sync_channel(9);
    let mut pump = pump(tell);
    pump.report(&report(b"cat"));
    pump.report(b"no report");
    drop(pump);
    let records: Vec<Record> = told.iter().collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    let line: serde_json::Value = serde_json::from_str(&record.line()).unwrap();
    let exe = std::env::current_exe().unwrap();
    assert_eq!(line["hook"], "file_open");
    assert_eq!(line["road"], "file");
    assert_eq!((&line["actor"]["uid"], &line["actor"]["comm"]), (&json!(77), &json!("cat")));
    for who in ["actor", "target"] {
        assert_eq!(line[who]["pid"], std::process::id());
        assert_eq!(line[who]["exe"].as_str(), exe.to_str());
        assert!(line[who]["ancestors"].as_array().is_some_and(|line| !line.is_empty()));
    }
    assert!(line["time"].as_str().is_some_and(|time| time.starts_with("20")));
}

#[test]
fn what_found_no_room_is_told_by_the_next_that_does() {
    let (tell, told) = sync_channel(1);
    let mut pump = pump(tell);
    for _ in 0..3 {
        pump.report(&report(b"cat"));
    }
    assert_eq!(told.recv().unwrap().dropped, 0);
    pump.report(&report(b"cat"));
    assert_eq!(told.recv().unwrap().dropped, 2);
    assert_eq!(pump.counts.unwritten.load(Ordering::Relaxed), 2);
    for _ in 0..30 {
        pump.report(&report(b"cat"));
    }
    assert_eq!(pump.counts.suppressed.load(Ordering::Relaxed), 14);
}

#[test]
fn what_an_order_let_through_is_told_in_the_middle_of_a_flood() {
    let (tell, told) = sync_channel(99);
    let mut pump = pump(tell);
    for _ in 0..50 {
        pump.report(&report(b"flood"));
    }
    let mut used = report(b"gdb");
    used[8] = 2;
    pump.report(&used);
    drop(pump);
    let last = told.iter().last().unwrap();
    let line: serde_json::Value = serde_json::from_str(&last.line()).unwrap();
    assert_eq!((&line["event"], &line["verdict"]), (&json!("granted"), &json!("allowed")));
    assert_eq!(line["actor"]["comm"], "gdb");
}
