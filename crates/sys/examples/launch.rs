//! Runs a command under a session: `launch [OPTIONS] -- CMD ARGS`.
//!
//! Lines `NAME=value` of the file that `SECRETS_FILE` names become sealed variables; all other
//! variables of the own environment are passed on. With `--control`, lines `rotate NAME VALUE`, `relaunch` and `stop` on standard input
//! are carried out. With `--report`, counts go to standard error at the end.

use std::ffi::CString;
use std::io::BufRead;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use cloudtaser_sys::heap::SealedHeap;
use cloudtaser_sys::session::{
    CoreSignals, Delivery, Dumpable, EnvEntry, Event, Launch, LaunchError, Privileges, Session,
    Signals, SlotId, SlotTable, Untraceable, Waker,
};

/// As in the product: what a forked child wrote to this heap, its parent would see.
#[global_allocator]
static HEAP: SealedHeap = SealedHeap::new();

struct Options {
    launch: Launch,
    flags: Flags,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    control: bool,
    relaunch: bool,
    report: bool,
    linger: bool,
}

fn main() -> ExitCode {
    let mut secrets = SlotTable::new();
    let mut names = Vec::new();
    let Some(options) = parse(&mut secrets, &mut names) else {
        return fail(125, "no readable file in SECRETS_FILE");
    };
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => return fail(125, &format!("signals: {error}")),
    };
    match Session::launch_with(options.launch, secrets, signals) {
        Ok(session) => supervise(session, &names, &options.flags),
        Err(error) => fail(error.exit_code(), &chain(&error)),
    }
}

fn supervise(mut session: Session, names: &[String], flags: &Flags) -> ExitCode {
    let Flags { control, relaunch, report, linger } = *flags;
    let lines = control.then(|| listen(session.waker()));
    let mut relaunches = u32::from(relaunch);
    let mut code = 0;
    let mut ended = false;
    loop {
        let patience = ended.then_some(Duration::from_millis(300));
        match session.next(patience) {
            Ok(Event::Exited(status)) => {
                code = status.code();
                if relaunches > 0 {
                    relaunches -= 1;
                    if let Err(error) = session.relaunch() {
                        return fail(error.exit_code(), &chain(&error));
                    }
                    continue;
                }
                ended = true;
                if !linger {
                    break;
                }
            }
            Ok(Event::Woken) => obey(&mut session, names, lines.as_ref()),
            Ok(Event::Notice(notice)) => say(&format!("notice: {notice:?}")),
            Ok(Event::Timeout) => break,
            Ok(_) => {}
            Err(error) => return fail(125, &error.to_string()),
        }
    }
    if report {
        say(&format!("{:?}", session.report()));
    }
    ExitCode::from(code)
}

fn obey(session: &mut Session, names: &[String], lines: Option<&Receiver<String>>) {
    while let Some(line) = lines.and_then(|lines| lines.try_recv().ok()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["rotate", name, value] => {
                let index = names.iter().position(|known| known == name);
                let slot = index.and_then(|index| slot(index, names));
                let outcome = slot.map(|slot| session.rotate(slot, value.as_bytes()));
                say(&format!("rotated: {outcome:?}"));
            }
            ["stop"] => session.signal(15),
            _ => say("unknown command"),
        }
    }
}

/// Slot numbers are given out in the order of the names.
fn slot(index: usize, names: &[String]) -> Option<SlotId> {
    let mut table = SlotTable::new();
    let mut last = None;
    for name in names.get(..=index)? {
        last = table.add(name.as_bytes(), b"x").ok();
    }
    last
}

fn listen(waker: Waker) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
            waker.wake();
        }
    });
    receiver
}

fn parse(secrets: &mut SlotTable, names: &mut Vec<String>) -> Option<Options> {
    let mut launch = Launch {
        argv: Vec::new(),
        program: CString::default(),
        env: Vec::new(),
        delivery: Delivery::ExecFollow,
        dumpable: Dumpable::Keep,
        untraceable: Untraceable::Refuse,
        privileges: Privileges::Keep,
        core_signals: CoreSignals::Forward,
        kept_images: 0,
    };
    let mut flags = Flags::default();
    let mut arguments = std::env::args_os().skip(1);
    for argument in arguments.by_ref() {
        match argument.to_str().unwrap_or_default() {
            "--oneshot" => launch.delivery = Delivery::OneShot,
            "--plain" => launch.delivery = Delivery::Plain,
            "--not-dumpable" => launch.dumpable = Dumpable::Off,
            "--allow-untraceable" => launch.untraceable = Untraceable::Allow,
            "--no-new-privs" => launch.privileges = Privileges::NoNew,
            "--control" => flags.control = true,
            "--keep" => launch.kept_images = 16,
            "--relaunch" => flags.relaunch = true,
            "--report" => flags.report = true,
            "--linger" => flags.linger = true,
            _ => break,
        }
    }
    launch.argv.extend(arguments.filter_map(|argument| CString::new(argument.into_vec()).ok()));
    launch.program = launch.argv.first().map(search).unwrap_or_default();
    let file = std::env::var_os("SECRETS_FILE").unwrap_or_default();
    for line in std::fs::read_to_string(file).ok()?.lines() {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        if let Ok(slot) = secrets.add(name.as_bytes(), value.as_bytes()) {
            names.push(name.to_owned());
            launch.env.push(EnvEntry::Sealed(slot));
        }
    }
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != "SECRETS_FILE") {
        let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
        launch.env.extend(CString::new(text).ok().map(EnvEntry::Plain));
    }
    Some(Options { launch, flags })
}

fn search(name: &CString) -> CString {
    let text = name.to_string_lossy();
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').map(|folder| format!("{folder}/{text}"));
    let found = (!text.contains('/'))
        .then(|| found.into_iter().find(|file| std::path::Path::new(file).is_file()));
    found.flatten().and_then(|file| CString::new(file).ok()).unwrap_or_else(|| name.clone())
}

fn chain(error: &LaunchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn fail(code: u8, text: &str) -> ExitCode {
    say(text);
    ExitCode::from(code)
}

#[expect(clippy::print_stderr, reason = "this is the program's output")]
fn say(text: &str) {
    eprintln!("launch: {text}");
}
