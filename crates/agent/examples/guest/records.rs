//! What the agent told of the attacks: its audit file, its collector, its metrics.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::processes::{Running, guard};

pub(crate) const FILE: &str = "/tmp/audit.jsonl";
pub(crate) const COLLECTOR: &str = "unix:/tmp/collector.sock:/records";
pub(crate) const METRICS: &str = "/tmp/metrics.sock";
const SOCKET: &str = "/tmp/collector.sock";
/// The agent writes within milliseconds; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

static GOT: Mutex<Vec<Value>> = Mutex::new(Vec::new());

type Outcome = Result<(), String>;

/// All checks, by name.
pub(crate) fn all(state: &str) -> Vec<(&'static str, Outcome)> {
    vec![
        ("a-record-names-actor-and-target", actor_and_target()),
        ("records-have-no-gap", no_gap(&lines(FILE))),
        ("the-collector-gets-what-the-file-has", collected()),
        ("metrics-agree", metrics(state)),
    ]
}

/// A reader that lives on, and one in a group that names a pod and a container, which ends at once.
fn actor_and_target() -> Outcome {
    let target = Running(guard(&["/bin/sleep", "300"]).spawn().unwrap());
    let environ = format!("/proc/{}/environ", target.pid());
    let comm = format!("/proc/{}/comm", target.pid());
    while fs::read_to_string(&comm).unwrap() != "sleep\n" {
        thread::sleep(Duration::from_millis(20));
    }
    // Earlier checks of this program are one source with this one, and a flood; let it pass.
    thread::sleep(Duration::from_secs(2));
    assert!(fs::read(&environ).is_err());
    let own = std::process::id();
    let record = wait_for(|record| record["actor"]["pid"] == own && is_of(record, target.pid()))?;
    let exe = std::env::current_exe().unwrap();
    same(&record["actor"]["exe"], exe.to_str().unwrap())?;
    same(&record["actor"]["comm"], "guest")?;
    same(
        &record["target"]["exe"],
        fs::read_link(format!("/proc/{}/exe", target.pid())).unwrap().to_str().unwrap(),
    )?;
    same(&record["hook"], "file_open")?;
    if record["actor"]["uid"] != 0 || record["actor"]["gone"] == true {
        return Err(format!("the actor is wrong: {record}"));
    }
    println!("@@RECORD\t{record}");

    let uid = "1b2c3d4e-0f1a-4b2c-8d3e-0123456789ab";
    let id = "00112233445566778899aabbccddeeff".repeat(2);
    let root = "/sys/fs/cgroup";
    let path = format!("/kubepods/pod{uid}/{id}");
    fs::create_dir_all(format!("{root}{path}")).map_err(|error| error.to_string())?;
    let moved = format!("echo 0 > {root}{path}/cgroup.procs; read line < {environ}");
    let mut shell = Command::new("/bin/sh");
    let status = shell.args(["-c", &moved]).stderr(Stdio::null()).status().unwrap();
    if status.success() {
        return Err("the environment could be read".to_owned());
    }
    let record = wait_for(|record| record["actor"]["comm"] == "sh" && is_of(record, target.pid()))?;
    println!("@@RECORD\t{record}");
    same(&record["actor"]["cgroup"], &path)?;
    same(&record["actor"]["pod"], uid)?;
    same(&record["actor"]["container"], &id)?;
    same(&record["actor"]["ancestors"][0]["comm"], "guest")
}

fn is_of(record: &Value, target: i32) -> bool {
    record["event"] == "denied" && record["target"]["pid"] == target
}

fn same(value: &Value, wanted: &str) -> Outcome {
    if value == wanted { Ok(()) } else { Err(format!("{value} instead of {wanted}")) }
}

fn wait_for(wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = lines(FILE).into_iter().rev().find(|record| wanted(record)) {
            return Ok(found);
        }
        if Instant::now() > until {
            let last = lines(FILE).pop();
            return Err(format!("no such record; the last one: {last:?}"));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn lines(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last line may be in the middle of being written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn no_gap(records: &[Value]) -> Outcome {
    let numbers: Vec<u64> = records.iter().filter_map(|r| r["sequence"].as_u64()).collect();
    let wanted: Vec<u64> = (1..=u64::try_from(records.len()).unwrap()).collect();
    if numbers == wanted { Ok(()) } else { Err(format!("{numbers:?}")) }
}

/// Listens from before the agent's start, and takes everything.
pub(crate) fn collect() {
    let listener = UnixListener::bind(SOCKET).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let body = body(&mut stream);
            let records = body.lines().map(|line| serde_json::from_str(line).unwrap());
            GOT.lock().unwrap().extend(records);
            // An agent that was ended meanwhile has its successor send them again.
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"));
        }
    });
}

fn body(stream: &mut UnixStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        if read == 0 {
            return String::new(); // it was ended in the middle of it
        }
        request.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() == len.unwrap().parse::<usize>().unwrap() {
            return body.to_owned();
        }
    }
}

fn collected() -> Outcome {
    let (wanted, until) = (lines(FILE).len(), Instant::now() + PATIENCE);
    loop {
        let got = GOT.lock().unwrap().clone();
        if got.len() >= wanted {
            return no_gap(&got);
        }
        if Instant::now() > until {
            return Err(format!("{} of {wanted} came", got.len()));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn metrics(state: &str) -> Outcome {
    let mut stream = UnixStream::connect(METRICS).map_err(|error| error.to_string())?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let word = state.split('(').next().unwrap_or_default().to_lowercase();
    let wanted = format!("cloudtaser_agent_state{{state=\"{word}\",");
    let holds = text.lines().any(|line| line.starts_with(&wanted) && line.ends_with(" 1"));
    let counted = text.lines().any(|line| {
        line.starts_with("cloudtaser_agent_verdicts_total{hook=\"file_open\"")
            && !line.ends_with(" 0")
    });
    let said = text.lines().filter(|line| !line.starts_with('#'));
    for line in said.filter(|line| !line.contains("_road{")) {
        println!("@@METRIC\t{line}");
    }
    let mut series: Vec<&str> =
        text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    series.sort_unstable();
    let twice = series.windows(2).find(|two| two[0] == two[1]);
    if let Some([name, _]) = twice {
        return Err(format!("{name} is there twice"));
    }
    if holds && counted { Ok(()) } else { Err(text) }
}
