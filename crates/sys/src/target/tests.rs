//! Files of every kind in a directory of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::elf::Linkage;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn look(&self, name: &str) -> Result<Target, TargetError> {
        Target::resolve(name.as_ref(), None, self.path())
    }
}

fn own_program() -> Vec<u8> {
    fs::read("/proc/self/exe").unwrap()
}

#[test]
fn a_program_of_this_machine_is_native() {
    let directory = Directory::new();
    directory.file("app", own_program(), 0o755);
    let target = directory.look("./app").unwrap();
    assert!(matches!(target.kind, Kind::Native(_)), "{target:?}");
    assert!(target.readable && !target.privileged);
}

#[test]
fn the_shell_is_found_in_the_path_and_is_dynamic() {
    let target = Target::resolve("sh".as_ref(), None, Path::new("/")).unwrap();
    let Kind::Native(image) = &target.kind else { panic!("{target:?}") };
    assert_eq!(image.linkage, Linkage::Dynamic);
    assert!(target.path.ends_with("bin/sh"));
}

#[test]
fn a_program_of_another_machine_is_foreign() {
    let directory = Directory::new();
    let mut bytes = own_program();
    bytes[18] = 40;
    directory.file("app", bytes, 0o755);
    assert!(matches!(directory.look("./app").unwrap().kind, Kind::Foreign(_)));
}

#[test]
fn a_script_is_what_its_interpreter_is() {
    let directory = Directory::new();
    directory.file("app", "#! \t/bin/sh -e  -u \necho\n", 0o755);
    let target = directory.look("./app").unwrap();
    let Kind::Script(script) = &target.kind else { panic!("{target:?}") };
    assert_eq!(script.interpreter.path, Path::new("/bin/sh"));
    assert_eq!(script.argument.as_deref(), Some(OsStr::new("-e  -u")));
    assert!(matches!(target.program().kind, Kind::Native(_)));
}

#[test]
fn interpreters_of_interpreters_are_followed_as_far_as_the_kernel_follows_them() {
    let directory = Directory::new();
    let mut interpreter = PathBuf::from("/bin/true");
    for depth in 1..=7_u32 {
        let line = format!("#!{}\n", interpreter.display());
        interpreter = directory.file(&format!("s{depth}"), line, 0o755);
        let kernel = run(&interpreter);
        let ours = directory.look(interpreter.to_str().unwrap());
        assert_eq!(ours.is_ok(), kernel.is_ok(), "{depth}: {ours:?} {kernel:?}");
    }
    assert!(directory.look("./s5").is_ok());
    let error = directory.look("./s7").unwrap_err();
    assert!(matches!(error, TargetError::TooManyInterpreters { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 126);
}

/// Starts the file; a child that another test forked may hold it open for writing a little longer.
fn run(path: &Path) -> io::Result<std::process::ExitStatus> {
    for _ in 0..200 {
        match Command::new(path).status() {
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other,
        }
    }
    Command::new(path).status()
}

#[test]
fn a_missing_interpreter_is_named() {
    let directory = Directory::new();
    directory.file("app", "#!/no/such/thing\n", 0o755);
    let error = directory.look("./app").unwrap_err();
    assert_eq!(error.exit_code(), 127);
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(reason, "/no/such/thing: not found");
}

#[test]
fn a_text_without_a_first_line_is_unrecognised() {
    let directory = Directory::new();
    for content in ["", "echo hello\n", "#!\n", "#!   \n/bin/sh"] {
        directory.file("app", content, 0o755);
        assert_eq!(directory.look("./app").unwrap().kind, Kind::Unrecognised, "{content:?}");
    }
    directory.file("long", format!("#!/{}\n", "x".repeat(300)), 0o755);
    assert_eq!(directory.look("./long").unwrap().kind, Kind::Unrecognised);
}

#[test]
fn what_is_not_there_and_what_may_not_run_are_told_apart() {
    let directory = Directory::new();
    directory.file("data", "x", 0o644);
    assert_eq!(directory.look("./absent").unwrap_err().exit_code(), 127);
    assert_eq!(directory.look("no-such-program-anywhere").unwrap_err().exit_code(), 127);
    assert_eq!(directory.look("").unwrap_err().exit_code(), 127);
    assert_eq!(directory.look("./data").unwrap_err().exit_code(), 126);
    assert_eq!(directory.look("./data/app").unwrap_err().exit_code(), 127);
    assert_eq!(directory.look("/").unwrap_err().exit_code(), 126);
}

#[test]
fn the_path_is_searched_in_order_and_past_what_may_not_run() {
    let directory = Directory::new();
    directory.file("one/app", "#!/bin/sh\n", 0o644);
    directory.file("two/app", "#!/bin/sh\n", 0o755);
    directory.file("three/app", "#!/bin/sh\n", 0o755);
    directory.file("here", "#!/bin/sh\n", 0o755);
    let search = |name: &str, path: &str| {
        Target::resolve(name.as_ref(), Some(path.as_ref()), directory.path())
    };
    assert_eq!(search("app", "absent:one:two:three").unwrap().path, Path::new("two/app"));
    assert_eq!(search("app", "absent:one").unwrap_err().exit_code(), 126);
    assert_eq!(search("app", "absent:here").unwrap_err().exit_code(), 127);
    assert_eq!(search("here", "absent:").unwrap().path, Path::new("here"));
}

#[test]
fn set_id_bits_and_file_capabilities_are_privileges() {
    let directory = Directory::new();
    directory.file("suid", own_program(), 0o4755);
    directory.file("sgid", own_program(), 0o2755);
    directory.file("lock", own_program(), 0o2745);
    assert!(directory.look("./suid").unwrap().privileged);
    assert!(directory.look("./sgid").unwrap().privileged);
    assert!(!directory.look("./lock").unwrap().privileged);
    let script = format!("#!{}\n", directory.path().join("suid").display());
    directory.file("script", script, 0o755);
    directory.file("plain", "#!/bin/sh\n", 0o4755);
    assert!(directory.look("./script").unwrap().privileged);
    assert!(!directory.look("./plain").unwrap().privileged);
}

#[test]
fn file_capabilities_are_seen() {
    let directory = Directory::new();
    let path = directory.file("app", own_program(), 0o755);
    // VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE permitted and effective.
    let mut value = vec![1, 0, 0, 2, 0, 4, 0, 0];
    value.resize(20, 0);
    let place = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = c"security.capability";
    // SAFETY: both strings are null-terminated, and `value` is as long as said.
    let result = unsafe {
        libc::setxattr(place.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if let Err(reason) = Errno::result(result) {
        println!("SKIP: file capabilities cannot be set here: {reason}");
        return;
    }
    assert!(directory.look("./app").unwrap().privileged);
}

#[test]
fn a_program_that_may_only_be_executed_is_unreadable() {
    let directory = Directory::new();
    directory.file("app", own_program(), 0o111);
    let target = directory.look("./app").unwrap();
    if nix::unistd::geteuid().is_root() {
        assert!(target.readable);
        println!("SKIP: root reads everything");
        return;
    }
    assert_eq!((target.kind, target.readable), (Kind::Unreadable, false));
}

#[test]
fn links_are_followed() {
    let directory = Directory::new();
    symlink("/bin/sh", directory.path().join("link")).unwrap();
    symlink("/no/such", directory.path().join("broken")).unwrap();
    assert!(matches!(directory.look("./link").unwrap().kind, Kind::Native(_)));
    assert_eq!(directory.look("./broken").unwrap_err().exit_code(), 127);
}
