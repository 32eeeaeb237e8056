//! Each road against a child that holds a known value in a sealed page and in an ordinary one.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::*;

const VALUE: &[u8; 24] = b"a value to be kept apart";

/// A child with the value in two pages, asleep; killed when dropped.
struct Target {
    pid: Pid,
    sealed: usize,
    ordinary: usize,
    file: i32,
}

#[derive(Clone, Copy)]
enum Rest {
    Asleep,
    /// Asleep, under a filter of its own that forbids `process_vm_writev`.
    Filtered,
    Spinning,
}

impl Target {
    fn start(rest: Rest) -> Option<Self> {
        let (ready_in, ready_out) = pipe().unwrap();
        // SAFETY: memfd_secret takes one integer by value.
        let file = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        if file < 0 {
            println!("SKIP: no secret memory here: {}", Errno::last());
            return None;
        }
        let file = i32::try_from(file).unwrap();
        // SAFETY: ftruncate takes its arguments by value.
        assert_eq!(unsafe { libc::ftruncate(file, 4096) }, 0);
        let sealed = page(libc::MAP_SHARED, file);
        let ordinary = page(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
        let filter = filter_against_writing_to_processes();
        // SAFETY: the child makes system calls; the filter is built before.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                for page in [sealed, ordinary] {
                    // SAFETY: both pages were mapped writable above, and are larger than the value.
                    unsafe { page.copy_from_nonoverlapping(VALUE.as_ptr(), VALUE.len()) };
                }
                if matches!(rest, Rest::Filtered) {
                    drop(seccompiler::apply_filter(&filter));
                }
                let _ = nix::unistd::write(&ready_out, b"!");
                rest_for_good(rest)
            }
            ForkResult::Parent { child } => {
                let target =
                    Self { pid: child, sealed: sealed.addr(), ordinary: ordinary.addr(), file };
                nix::unistd::read(&ready_in, &mut [0]).unwrap();
                // SAFETY: the parent's copies of the pages are not used again, only their addresses.
                unsafe { libc::munmap(sealed.cast(), 4096) };
                // SAFETY: as above.
                unsafe { libc::munmap(ordinary.cast(), 4096) };
                Some(target)
            }
        }
    }

    /// The letter that `ps` shows.
    fn run_state(&self) -> char {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        text.rsplit(") ").next().unwrap().chars().next().unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
        assert!(matches!(waitpid(self.pid, None), Ok(WaitStatus::Signaled(..))));
        // SAFETY: the descriptor is this target's and is not used after.
        unsafe { libc::close(self.file) };
    }
}

fn page(flags: i32, fd: i32) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: no address is asked for, so no existing mapping can be replaced.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, flags, fd, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.cast()
}

fn filter_against_writing_to_processes() -> BpfProgram {
    let rules = [(libc::SYS_process_vm_writev, Vec::new())].into();
    let deny = SeccompAction::Errno(1);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, TargetArch::x86_64);
    BpfProgram::try_from(filter.unwrap()).unwrap()
}

fn rest_for_good(rest: Rest) -> ! {
    loop {
        if !matches!(rest, Rest::Spinning) {
            // SAFETY: pause takes no argument.
            unsafe { libc::pause() };
        }
        std::hint::spin_loop();
    }
}

#[test]
fn reading_from_outside_stops_at_the_sealed_page() {
    let Some(target) = Target::start(Rest::Asleep) else { return };
    let mut buffer = [0; VALUE.len()];
    assert_eq!(read_memory(target.pid, target.ordinary, &mut buffer), Ok(VALUE.len()));
    assert_eq!(&buffer, VALUE);
    assert_eq!(read_memory(target.pid, target.sealed, &mut buffer), Err(Errno::EFAULT));
    assert_eq!(rewrite_memory(target.pid, target.ordinary), Ok(()));
    assert_eq!(rewrite_memory(target.pid, target.sealed), Err(Errno::EFAULT));
}

#[test]
fn a_debugger_sees_the_ordinary_page_only_but_can_make_the_target_read_both() {
    for rest in [Rest::Asleep, Rest::Filtered, Rest::Spinning] {
        let Some(target) = Target::start(rest) else { return };
        let mut attached = Attached::to(target.pid).unwrap();
        assert_eq!(attached.peek(target.ordinary).unwrap(), VALUE[..8]);
        assert_eq!(attached.peek(target.sealed), Err(Errno::EIO));
        let taken = attached.make_it_read(target.sealed, VALUE.len()).unwrap();
        assert_eq!(taken, VALUE);
        assert_eq!(attached.make_it_read(target.sealed, 3000).unwrap().len(), 3000);
        assert_eq!(attached.make_it_read(8, 16), Err(Errno::EFAULT));
        drop(attached);
        let state = target.run_state();
        assert!(matches!(state, 'S' | 'R'), "{state}");
    }
}

#[test]
fn a_call_that_was_interrupted_goes_on() {
    let mut child = std::process::Command::new("sleep").arg("0.4").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    while std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let begin = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(150));
    let mut attached = Attached::to(pid).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    let end = usize::from_str_radix(stack.split(['-', ' ']).nth(1).unwrap(), 16).unwrap();
    // The last page of the first stack holds the path of the program.
    let bytes = attached.make_it_read(end - 64, 64).unwrap();
    drop(attached);
    assert!(bytes.windows(5).any(|window| window == b"sleep"), "{bytes:?}");
    assert!(child.wait().unwrap().success());
    assert!(begin.elapsed() >= std::time::Duration::from_millis(300));
}

#[test]
fn a_descriptor_left_open_gives_the_sealed_page_away() {
    let Some(target) = Target::start(Rest::Asleep) else { return };
    let process = open_process(target.pid).unwrap();
    let taken = match take_descriptor(process.as_fd(), target.file) {
        Ok(taken) => taken,
        Err(reason @ (Errno::EPERM | Errno::ENOSYS)) => {
            println!("SKIP: pidfd_getfd is refused here: {reason}");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    assert!(taken.contents(4096).unwrap().starts_with(VALUE));
    let missing = take_descriptor(process.as_fd(), 999).map(drop);
    assert_eq!(missing, Err(Errno::EBADF));
}

#[test]
fn a_process_that_is_gone_closes_every_road() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    assert_eq!(open_process(pid).map(drop), Err(Errno::ESRCH));
    assert_eq!(Attached::to(pid).map(drop), Err(Errno::ESRCH));
    assert_eq!(shares_memory(pid), Err(Errno::ESRCH));
    // Who may not sample at all is told so first.
    assert!(matches!(sample_stack(pid), Err(Errno::ESRCH | Errno::EACCES | Errno::EPERM)));
    assert_eq!(place_uprobe(pid), Err(Errno::ENOENT));
}

#[test]
fn only_this_process_shares_its_memory() {
    let Some(target) = Target::start(Rest::Asleep) else { return };
    match shares_memory(nix::unistd::getpid()) {
        Err(reason @ (Errno::ENOSYS | Errno::EPERM)) => println!("SKIP: no kcmp here: {reason}"),
        shared => {
            assert_eq!(shared, Ok(true));
            assert_eq!(shares_memory(target.pid), Ok(false));
        }
    }
}

#[test]
fn a_limit_is_set_to_what_it_was() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let limits = || std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let before = limits();
    assert_eq!(rewrite_core_limit(pid), Ok(()));
    assert_eq!(limits(), before);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rewrite_core_limit(pid), Err(Errno::ESRCH));
}

#[test]
fn observers_can_be_placed_by_root_and_are_gone_afterwards() {
    let Some(target) = Target::start(Rest::Asleep) else { return };
    for (name, outcome) in
        [("sampler", sample_stack(target.pid)), ("uprobe", place_uprobe(target.pid))]
    {
        match outcome {
            Ok(()) => {}
            Err(reason @ (Errno::ENOENT | Errno::ENOSYS | Errno::EACCES | Errno::EPERM)) => {
                println!("SKIP: {name} is refused here: {reason}");
            }
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn raw_memory_opens_or_says_why_not() {
    for memory in [RawMemory::Kernel, RawMemory::Physical] {
        match open_raw_memory(memory) {
            Ok(_) => {}
            Err(reason) => assert!(
                matches!(reason, Errno::ENOENT | Errno::EPERM | Errno::EACCES | Errno::ENXIO),
                "{memory:?}: {reason}"
            ),
        }
    }
}

#[test]
fn what_cannot_work_is_looked_at_or_refused_and_never_taken() {
    let program = std::fs::File::open("/proc/self/exe").unwrap();
    for (name, outcome, looked_at) in [
        ("init_module", offer_module(), Errno::ENOEXEC),
        ("finit_module", offer_module_file(&program), Errno::ENOEXEC),
        ("kexec_load", offer_kernel(), Errno::EINVAL),
        ("swapon", swap_to("/dev/null".as_ref()), Errno::EINVAL),
    ] {
        match outcome {
            Err(reason @ (Errno::EPERM | Errno::ENOSYS)) => {
                println!("SKIP: {name} is refused here: {reason}");
            }
            other => assert_eq!(other, Err(looked_at), "{name}"),
        }
    }
}

#[test]
fn a_bpf_object_that_is_not_there_is_not_opened() {
    for kind in [BpfObject::Link, BpfObject::Map, BpfObject::Program] {
        let outcome = open_bpf_object(kind, u32::MAX);
        assert!(
            matches!(outcome, Err(Errno::ENOENT | Errno::EPERM | Errno::ENOSYS)),
            "{outcome:?}"
        );
    }
    match load_program() {
        Ok(()) => {}
        Err(reason @ (Errno::EPERM | Errno::ENOSYS)) => {
            println!("SKIP: loading programs is refused here: {reason}");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn ports_are_given_back_at_once() {
    match take_ports() {
        // Whoever still had them could take them again without asking for more.
        Ok(()) => assert_eq!(take_ports(), Ok(())),
        Err(reason @ (Errno::EPERM | Errno::ENOSYS)) => {
            println!("SKIP: ports are refused here: {reason}");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_datagram_to_no_family_arrives_and_a_first_packet_connects() {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    let four = |address: std::io::Result<SocketAddr>| match address.unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address}"),
    };
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    let here = UdpSocket::bind("127.0.0.1:0").unwrap();
    send_unspecified(&here, four(there.local_addr()), VALUE).unwrap();
    let mut bytes = [0; 64];
    assert_eq!(there.recv(&mut bytes).unwrap(), VALUE.len());

    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    send_fast(here.as_fd(), four(there.local_addr()), VALUE).unwrap();
    drop(here);
    let mut got = Vec::new();
    there.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, VALUE);
}

#[test]
fn code_is_mapped_and_given_back() {
    let own = std::fs::File::open("/proc/self/exe").unwrap();
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap();
    let code = Code::of(&own).unwrap();
    let at = format!("{:x}-", code.address());
    let line = mappings().lines().find(|line| line.starts_with(&at)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains(" r-xp ")), "{at}");
    drop(code);
    assert!(!mappings().lines().any(|line| line.starts_with(&at) && line.contains(" r-xp ")));
}

#[test]
fn shared_memory_is_a_file_below_map_files() {
    use std::io::Read as _;

    let shared = Shared::with(VALUE).unwrap();
    let path = format!("/proc/self/map_files/{}", shared.name());
    let mut file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) => {
            println!("SKIP: {path}: {error}");
            return;
        }
    };
    let mut got = [0; VALUE.len()];
    file.read_exact(&mut got).unwrap();
    assert_eq!(&got, VALUE);
    drop((file, shared));
    assert!(std::fs::File::open(&path).is_err());
}

#[test]
fn a_file_sends_the_signal_that_was_chosen() {
    use std::os::unix::process::ExitStatusExt as _;

    let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    signal_by_file(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
}
