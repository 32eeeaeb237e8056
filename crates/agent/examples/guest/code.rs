//! Root writes into what a guarded process runs: the file of its program or of a library, in front
//! of an overlay and behind it, by a descriptor of its own or by one from before.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use cloudtaser_sys::roads::Code;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::processes::{GUEST, Running, denied, guard, plain, read};
use crate::scale::eventually;
use crate::scenario::Scenario;

const HOME: &str = "/tmp/code";
/// As the programs in the kernel: how long a file is kept that nobody maps any more.
const KEPT: Duration = Duration::from_secs(60);

/// A file that nobody maps any more, and since when.
pub(crate) struct Left {
    path: String,
    since: Instant,
}

/// A process that has a file's code.
struct Runs {
    process: Running,
    word: ChildStdin,
    said: String,
}

impl Runs {
    fn start(path: &str, guarded: bool) -> Self {
        let command = [GUEST, "run-code", path];
        let mut start = if guarded { guard(&command) } else { plain(&command) };
        start.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running(start.spawn().unwrap());
        let mut said = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let word = process.0.stdin.take().unwrap();
        Self { process, word, said: said.trim().to_owned() }
    }

    fn end(mut self) {
        drop(self.word);
        self.process.0.wait().unwrap();
    }
}

/// The process of [`Runs`]: says what came of it, and the descriptor, and waits.
pub(crate) fn run(path: &str) {
    let file = if path == "memfd" {
        let file = File::from(memfd_create(c"code", MFdFlags::empty()).unwrap());
        file.set_len(4096).unwrap();
        // Its own tree may have it twice.
        let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        again.and_then(|again| again.read_at(&mut [0], 0)).unwrap();
        file
    } else {
        File::open(path).unwrap()
    };
    match Code::of(&file) {
        Ok(_code) => {
            println!("{}", file.as_raw_fd());
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        Err(errno) => println!("{errno:?}"),
    }
}

/// Opens a file for writing and writes nothing.
pub(crate) fn open_to_write(path: impl AsRef<Path>) -> Result<(), String> {
    let opened = OpenOptions::new().write(true).open(path);
    opened.map(drop).map_err(|error| error.to_string())
}

fn refused(path: impl AsRef<Path>) -> Result<(), String> {
    denied(OpenOptions::new().write(true).open(path))
}

fn file(name: &str) -> String {
    let path = format!("{HOME}/{name}");
    fs::write(&path, [0xc3; 8192]).unwrap();
    path
}

impl Scenario {
    /// Root at the code of others. What it gives back is looked at later: see [`Self::code_is_let_go`].
    pub(crate) fn code(&mut self) -> Left {
        fs::create_dir_all(HOME).unwrap();
        let library = file("library");
        let free = Runs::start(&library, false);
        self.check("code-of-an-unguarded-process", open_to_write(&library));
        free.end();
        let runs = Runs::start(&library, true);
        self.check("code-write", refused(&library));
        self.check("code-truncate", denied(File::create(&library)));
        self.check("code-is-read", File::open(&library).map(drop).map_err(|e| e.to_string()));
        let link = format!("{HOME}/link");
        fs::hard_link(&library, &link).unwrap();
        self.check("code-write-by-another-name", refused(&link));
        let stranger = read(guard(&[GUEST, "write", &library]));
        let right = stranger.contains("not permitted");
        self.check("code-write-by-another-guarded-process", right.then_some(()).ok_or(stranger));
        fs::write(format!("{HOME}/new"), [0; 64]).unwrap();
        let renamed = fs::rename(format!("{HOME}/new"), &library);
        self.check("code-can-be-renamed-over", renamed.map_err(|error| error.to_string()));
        self.check("and-the-new-file-is-written", open_to_write(&library));
        self.check("but-not-the-one-that-runs", refused(&link));
        runs.end();
        self.code_within_a_tree();
        self.code_from_before();
        self.code_in_memory();
        self.code_behind_an_overlay();
        Left { path: link, since: Instant::now() }
    }

    /// A program may renew its own plugin.
    fn code_within_a_tree(&mut self) {
        let own = file("own");
        let script =
            format!("sleep 9 | {GUEST} run-code {own} & sleep 1; {GUEST} write {own}; kill $!");
        let mut shell = guard(&["/bin/sh", "-c", &script]);
        let said = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = said.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        self.check("code-within-its-tree", said.contains("Ok(())").then_some(()).ok_or(said));
    }

    /// Who has it open for writing, or mapped, before it is run.
    fn code_from_before(&mut self) {
        let path = file("before");
        let open = OpenOptions::new().write(true).open(&path).unwrap();
        let runs = Runs::start(&path, true);
        let right = runs.said == "EPERM";
        self.check(
            "code-that-is-written-is-not-run",
            right.then_some(()).ok_or_else(|| runs.said.clone()),
        );
        runs.end();
        drop(open);
        let runs = Runs::start(&path, true);
        let right = runs.said.parse::<i32>().is_ok();
        self.check("and-is-run-afterwards", right.then_some(()).ok_or_else(|| runs.said.clone()));
        runs.end();
    }

    /// What compilers at run time do: code in a memfd that they write themselves.
    fn code_in_memory(&mut self) {
        let runs = Runs::start("memfd", true);
        let mapped = runs.said.parse::<i32>().map(drop);
        self.check("code-of-its-own-memfd", mapped.map_err(|_none| runs.said.clone()));
        let path = format!("/proc/{}/fd/{}", runs.process.pid(), runs.said);
        self.check("code-write-into-its-memfd", refused(&path));
        self.check("memfd-read-by-proc", denied(File::open(&path)));
        let looked = fs::metadata(&path).and_then(|_| fs::read_link(&path)).map(drop);
        self.check("memfd-is-looked-at", looked.map_err(|error| error.to_string()));
        runs.end();
        let free = Runs::start("memfd", false);
        let path = format!("/proc/{}/fd/{}", free.process.pid(), free.said);
        let opened = File::open(path).map(drop).map_err(|error| error.to_string());
        self.check("memfd-of-an-unguarded-process", opened);
        free.end();
    }

    /// The program of a container: shown by an overlay, and written below it.
    fn code_behind_an_overlay(&mut self) {
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| {
            let folder = format!("{HOME}/{name}");
            fs::create_dir_all(&folder).unwrap();
            folder
        });
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let mount = ["/bin/busybox", "mount", "-t", "overlay", "-o", &options, "overlay", &merged];
        assert!(plain(&mount).status().unwrap().success());
        for name in ["free", "app"] {
            fs::copy(GUEST, format!("{lower}/{name}")).unwrap();
        }
        fs::copy(GUEST, format!("{merged}/late")).unwrap();
        for (name, layer, guarded) in
            [("free", &lower, false), ("app", &lower, true), ("late", &upper, true)]
        {
            let program = format!("{merged}/{name}");
            let command = [&*program, "wait"];
            let mut start = if guarded { guard(&command) } else { plain(&command) };
            let process = Running(start.stdin(Stdio::null()).spawn().unwrap());
            let comm = format!("/proc/{}/comm", process.pid());
            let runs = eventually(|| fs::read_to_string(&comm).unwrap_or_default().trim() == name);
            assert!(runs, "{program}");
            let below = format!("{layer}/{name}");
            if guarded {
                self.check(&format!("code-write-below-an-overlay-{name}"), refused(&below));
            } else {
                // What the agent closes: the kernel itself lets it through.
                self.check("code-below-an-overlay-is-open", open_to_write(&below));
            }
        }
    }

    /// A file that guarded processes ran is an ordinary file again.
    pub(crate) fn code_is_let_go(&mut self, left: &Left) {
        std::thread::sleep(KEPT.saturating_sub(left.since.elapsed()));
        self.check("code-is-let-go", open_to_write(&left.path));
    }
}
