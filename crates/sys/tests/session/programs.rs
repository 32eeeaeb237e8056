//! What programs of all kinds see of their secrets, and what others see of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::launcher::{Launcher, VALUE, stdout};

#[test]
fn shells_and_interpreters_see_the_value_and_their_environment_block_does_not() {
    for (program, script) in [
        ("sh", "echo $PW; cat /proc/$$/environ | tr '\\0' '\\n'"),
        ("bash", "echo $PW; cat /proc/$$/environ | tr '\\0' '\\n'"),
        ("dash", "echo $PW; cat /proc/$$/environ | tr '\\0' '\\n'"),
        (
            "perl",
            "-e print $ENV{PW}, qq{\\n}; open F, '/proc/self/environ'; print join qq{\\n}, split /\\0/, <F>",
        ),
        (
            "python3",
            "-c import os; print(os.environ['PW']); print(open('/proc/self/environ').read().replace('\\0', '\\n'))",
        ),
    ] {
        if !is_there(program) {
            println!("SKIP: no {program}");
            continue;
        }
        let (flag, script) = script
            .strip_prefix("-e ")
            .map(|script| ("-e", script))
            .unwrap_or_else(|| ("-c", script.trim_start_matches("-c ")));
        let Some(output) = Launcher::new().run(&[program, flag, script]) else { return };
        let text = stdout(&output);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(VALUE), "{program}: {text}");
        let block: Vec<&str> = lines.filter(|line| line.starts_with("PW=")).collect();
        assert_eq!(block, ["PW="], "{program}");
    }
}

#[test]
fn every_way_to_start_another_program_hands_the_value_on() {
    let show = "echo $PW; tr '\\0' '\\n' </proc/$$/environ | grep ^PW=";
    let expected = format!("{VALUE}\nPW=\n");
    let python = |how: &str| format!("import os, subprocess\nS = {show:?}\n{how}");
    let ways: Vec<(&str, Vec<String>)> = vec![
        ("child shell", vec!["sh".into(), "-c".into(), format!("sh -c {}; true", quoted(show))]),
        ("exec", vec!["sh".into(), "-c".into(), format!("exec sh -c {}", quoted(show))]),
        ("env", vec!["env".into(), "env".into(), "sh".into(), "-c".into(), show.into()]),
        (
            "posix_spawn or vfork",
            vec!["python3".into(), "-c".into(), python("subprocess.run(['sh', '-c', S])")],
        ),
        (
            "posix_spawn",
            vec![
                "python3".into(),
                "-c".into(),
                python("os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', S], os.environ), 0)"),
            ],
        ),
        (
            "a thread",
            vec![
                "python3".into(),
                "-c".into(),
                python(
                    "import threading\nthreading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', S])).start()\nimport time\ntime.sleep(5)",
                ),
            ],
        ),
        (
            "execveat",
            vec![
                "python3".into(),
                "-c".into(),
                python(
                    "fd = os.open('/bin/sh', os.O_RDONLY)\nos.execve(fd, ['sh', '-c', S], os.environ)",
                ),
            ],
        ),
        ("40 in a row", vec!["bash".into(), "-c".into(), nested(40, show)]),
    ];
    for (way, command) in ways {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        if !is_there(command[0]) {
            println!("SKIP: no {}", command[0]);
            continue;
        }
        let Some(output) = Launcher::new().run(&command) else { return };
        assert_eq!(stdout(&output), expected, "{way}");
    }
}

#[test]
fn a_value_inside_another_variable_is_kept_out_too() {
    let script = "export URL=postgres://u:$PW@h; export COPY=$PW
        sh -c 'echo $URL $COPY; tr \"\\0\" \"\\n\" </proc/$$/environ | grep -e ^URL -e ^COPY | sort'";
    let Some(output) = Launcher::new().run(&["sh", "-c", script]) else { return };
    let expected = format!("postgres://u:{VALUE}@h {VALUE}\nCOPY=\nURL=\n");
    assert_eq!(stdout(&output), expected);
}

#[test]
fn where_the_environment_cannot_be_swapped_it_is_wiped() {
    let show = "echo $PW; tr '\\0' '\\n' </proc/$$/environ | grep -a -c q9z";
    // A program that had no secret, and so nothing of ours, reads one from a pipe.
    let without = format!(
        "echo $PW | env -i sh -c 'read PW; export PW; sh -c {}'",
        quoted(show).replace('\'', "\"").replace('$', "\\$")
    );
    // An environment larger than the place for the other one.
    let large = format!("export $(seq -f A%g=1 3000); sh -c {}", quoted(show));
    for script in [without, large] {
        let Some(output) = Launcher::new().flag("--report").run(&["bash", "-c", &script]) else {
            return;
        };
        assert_eq!(stdout(&output), format!("{VALUE}\n0\n"), "{script}");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!report.contains("scrubbed: 0"), "{report}");
    }
}

#[test]
fn a_user_without_privileges_has_it_all_too() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: not root, so the other tests show it");
        return;
    }
    let script =
        "id -u; echo $PW; sh -c 'echo $PW; cat /proc/$$/environ | tr \"\\0\" \"\\n\" | grep ^PW='";
    let launcher = Launcher::new().flag("--no-new-privs").user(1000);
    let Some(output) = launcher.run(&["sh", "-c", script]) else { return };
    assert_eq!(stdout(&output), format!("1000\n{VALUE}\n{VALUE}\nPW=\n"));
}

#[test]
fn a_program_that_cannot_be_read_does_not_run_without_its_value() {
    let folder = tempfile::Builder::new().permissions(mode(0o755)).tempdir().unwrap();
    let program = folder.path().join("hidden");
    std::fs::copy("/bin/true", &program).unwrap();
    std::fs::set_permissions(&program, mode(0o111)).unwrap();
    let program = program.to_str().unwrap();
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: not root, so there is no second user");
        return;
    }
    let start = || Launcher::new().flag("--no-new-privs").user(1000);
    let Some(output) = start().run(&[program]) else { return };
    assert_eq!(output.status.code(), Some(125));
    let script = format!("{program}; echo $?");
    let output = start().run(&["sh", "-c", &script]).unwrap();
    assert!(stdout(&output).ends_with("137\n"), "{}", stdout(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Killed"));
}

#[test]
fn static_programs_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("show.c");
    let code =
        "#include <stdio.h>\n#include <stdlib.h>\nint main(){puts(getenv(\"PW\"));return 0;}";
    std::fs::write(&source, code).unwrap();
    for flags in [&["-static"][..], &["-static-pie"], &["-O1"]] {
        let program = folder.path().join("show");
        let mut compile = std::process::Command::new("cc");
        compile.args(flags).arg("-o").arg(&program).arg(&source);
        if !compile.status().is_ok_and(|status| status.success()) {
            println!("SKIP: no C compiler for {flags:?}");
            continue;
        }
        let Some(output) = Launcher::new().run(&[program.to_str().unwrap()]) else { return };
        assert_eq!(stdout(&output), format!("{VALUE}\n"), "{flags:?}");
    }
}

#[test]
fn a_value_that_the_app_changed_is_the_app_s_own() {
    let script = "PW=changed sh -c 'echo $PW'; env -u PW sh -c 'echo ${PW-none}'";
    let Some(output) = Launcher::new().run(&["sh", "-c", script]) else { return };
    assert_eq!(stdout(&output), "changed\nnone\n");
}

#[test]
fn failed_execs_leave_the_app_as_it_was() {
    let script = "import os
for name in ['/nowhere', '/etc/passwd', '/tmp']:
    for round in range(20):
        try: os.execve(name, ['x'], os.environ)
        except OSError as error: last = error.errno
    print(name, last)
print(os.environ['PW'])
os.execvp('sh', ['sh', '-c', 'echo $PW'])";
    let Some(output) = Launcher::new().run(&["python3", "-c", script]) else { return };
    let expected = format!("/nowhere 2\n/etc/passwd 13\n/tmp 13\n{VALUE}\n{VALUE}\n");
    assert_eq!(stdout(&output), expected);
}

#[test]
fn exit_codes_are_those_of_the_app() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        let Some(output) = Launcher::new().run(&["sh", "-c", script]) else { return };
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    for (program, code) in [("/nowhere", 127), ("/etc/passwd", 126), ("/tmp", 126)] {
        let Some(output) = Launcher::new().run(&[program]) else { return };
        assert_eq!(output.status.code(), Some(code), "{program}");
    }
}

#[test]
fn one_shot_covers_the_first_program_only() {
    let script =
        "echo $PW; grep -c secretmem /proc/$$/maps; tr '\\0' '\\n' </proc/$$/environ | grep ^PW=
        sh -c 'tr \"\\0\" \"\\n\" </proc/$$/environ | grep ^PW='";
    let Some(output) = Launcher::new().flag("--oneshot").run(&["sh", "-c", script]) else { return };
    assert_eq!(stdout(&output), format!("{VALUE}\n1\nPW=\nPW={VALUE}\n"));
}

#[test]
fn plain_delivery_is_an_ordinary_environment() {
    let script = "tr '\\0' '\\n' </proc/$$/environ | grep ^PW=";
    let Some(output) = Launcher::new().flag("--plain").run(&["sh", "-c", script]) else { return };
    assert_eq!(stdout(&output), format!("PW={VALUE}\n"));
}

#[test]
fn no_descriptor_and_no_mapping_but_ours_is_left_in_the_app() {
    let script =
        "set -- /proc/$$/fd/*; echo $#; grep -c -e secretmem -e cloudtaser-exec /proc/$$/maps";
    let Some(output) = Launcher::new().run(&["sh", "-c", script]) else { return };
    let plain = Launcher::new().flag("--plain").run(&["sh", "-c", script]).unwrap();
    let (sealed, plain) = (stdout(&output), stdout(&plain));
    assert_eq!(sealed.lines().next(), plain.lines().next());
    assert_eq!(sealed.lines().nth(1), Some("2"));
}

#[test]
fn an_image_that_must_not_be_dumped_is_not() {
    let script = "import ctypes; print(ctypes.CDLL(None).prctl(3)); import subprocess
subprocess.run(['python3', '-c', 'import ctypes; print(ctypes.CDLL(None).prctl(3))'])";
    let launcher = Launcher::new().flag("--not-dumpable");
    let Some(output) = launcher.run(&["python3", "-c", script]) else { return };
    assert_eq!(stdout(&output), "0\n0\n");
}

#[test]
fn a_task_that_is_traced_already_is_refused_or_let_run_as_asked() {
    if !is_there("strace") {
        println!("SKIP: no strace");
        return;
    }
    let command =
        ["strace", "-f", "-o", "/dev/null", "sh", "-c", "sh -c 'echo ${PW:-empty}'; true"];
    let Some(output) = Launcher::new().run(&command) else { return };
    assert_eq!(stdout(&output), "", "strace's own child may not start a program with secrets");
    let output = Launcher::new().flag("--allow-untraceable").run(&command).unwrap();
    assert_eq!(stdout(&output), format!("{VALUE}\n"));
}

fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}

fn nested(depth: usize, script: &str) -> String {
    // The shell counts down in a variable, since quoting forty times would double each time.
    let inner = quoted(script);
    format!(
        "export N={depth} S={inner}; exec bash -c 'test $N -le 0 && exec sh -c \"$S\"; N=$((N-1)) exec bash -c \"$BASH_EXECUTION_STRING\"'"
    )
}

/// Whether a program is in the search path.
fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|folder| PathBuf::from(folder).join(program).is_file())
}

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}
