//! Another product that guards files by BPF, on hooks of the agent's, and a tracer.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Stdio;

use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder, UprobeOpts};

use crate::processes::{Running, SMALL, plain};

/// libbpf reads the object in place and wants it aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/second.bpf.o")));

/// What is attached of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum As {
    /// Security modules.
    Module,
    /// The same in front of the kernel's functions.
    Front,
    /// The tracer of what is written.
    Tracer,
    /// The same behind a table of tail calls.
    Tail,
    /// The tracer of what a function is given.
    Uprobe,
}

impl As {
    const fn word(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Front => "front",
            Self::Tracer => "tracer",
            Self::Tail => "tail",
            Self::Uprobe => "uprobe",
        }
    }

    /// Names of its programs, as far as the kernel keeps them.
    pub(crate) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Module => &["second_file_open", "second_ptrace"],
            Self::Front => &["second_front_file", "second_front_ptrace"],
            Self::Tracer => &["second_tracer"],
            Self::Tail => &["second_landing", "second_jump"],
            Self::Uprobe => &["second_uprobe"],
        }
    }

    /// Those that hang on something.
    const fn attached(self) -> usize {
        match self {
            Self::Module | Self::Front => 2,
            Self::Tracer | Self::Tail | Self::Uprobe => 1,
        }
    }

    fn attach(self, object: &mut Object) -> Vec<Link> {
        let landing = |object: &Object| {
            let found = object.progs().find(|program| program.name() == "second_landing");
            found.unwrap().as_fd().as_raw_fd().to_ne_bytes()
        };
        if self == Self::Tail {
            let table = object.maps().find(|map| map.name() == "landings").unwrap();
            table.update(&0_u32.to_ne_bytes(), &landing(object), MapFlags::ANY).unwrap();
        }
        let wanted = object.progs_mut().filter(|program| program.autoload());
        let wanted = wanted.filter(|program| program.name() != "second_landing");
        let told = || UprobeOpts { func_name: Some("told".to_owned()), ..UprobeOpts::default() };
        let attached = wanted.map(|program| match self {
            Self::Uprobe => program.attach_uprobe_with_opts(-1, SMALL, 0, told()),
            _ => program.attach(),
        });
        attached.map(|link| link.unwrap()).collect()
    }
}

/// Attaches, says so, and stays until its input ends; then says what it saw: whether anybody
/// attached, or what the process that its last line names wrote last.
pub(crate) fn run(what: &str) {
    let all = [As::Module, As::Front, As::Tracer, As::Tail, As::Uprobe];
    let what = all.into_iter().find(|each| each.word() == what).unwrap();
    let mut object = ObjectBuilder::default().open_memory(&OBJECT.0).unwrap();
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        program.set_autoload(what.programs().contains(&name.as_str()));
    }
    let mut object = match object.load() {
        Ok(object) => object,
        Err(error) => {
            println!("refused {error}");
            // Until it was looked at: who has ended has no program any more.
            io::stdin().read_to_string(&mut String::new()).unwrap();
            return;
        }
    };
    let links = what.attach(&mut object);
    println!("attached {}", links.len());
    let mut told = String::new();
    io::stdin().read_to_string(&mut told).unwrap();
    let map = |name: &str| object.maps().find(|map| map.name() == name).unwrap();
    if !matches!(what, As::Module | As::Front) {
        let pid: u32 = told.trim().parse().unwrap();
        let value = map("copied").lookup(&pid.to_ne_bytes(), MapFlags::ANY).unwrap();
        println!("{}", String::from_utf8_lossy(&value.unwrap_or_default()).replace('\0', ""));
        return;
    }
    let value = map("seen").lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    println!("{}", u64::from_ne_bytes(*value.first_chunk().unwrap()) > 0);
}

/// Another product that was not let in, and waits.
pub(crate) struct Refused {
    /// What it says.
    pub(crate) said: String,
    _child: Running,
}

/// Another product that runs.
pub(crate) struct Second(Running, BufReader<std::process::ChildStdout>);

impl Second {
    /// Starts it from this program, or says how it was refused.
    pub(crate) fn try_start(program: &str, what: As) -> Result<Self, Refused> {
        let mut start = plain(&[program, "second", what.word()]);
        let mut child =
            Running(start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let is_attached = line == format!("attached {}\n", what.attached());
        if is_attached {
            Ok(Self(child, output))
        } else {
            Err(Refused { said: line, _child: child })
        }
    }

    /// The same where it is let in.
    pub(crate) fn start(program: &str, what: As) -> Self {
        Self::try_start(program, what).map_err(|refused| refused.said).unwrap()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Ends it; what it saw.
    pub(crate) fn end(self) -> String {
        self.end_asked("")
    }

    /// The same, with a question.
    pub(crate) fn end_asked(mut self, question: &str) -> String {
        use std::io::Write as _;
        let mut input = self.0.0.stdin.take().unwrap();
        input.write_all(question.as_bytes()).unwrap();
        drop(input);
        let mut rest = String::new();
        self.1.read_to_string(&mut rest).unwrap();
        self.0.0.wait().unwrap();
        rest.trim().to_owned()
    }
}
