//! The table of needs holds: the real wrapper runs under a filter that allows nothing but what the
//! table lists, through all of its ways; and what the table lists is used by one of them.
//!
//! The filter is in front of everything, so the app is one that makes three calls of its own, all
//! of which are in the table.

#[cfg(test)]
mod needs {
    use std::{path::PathBuf, process::Command};

    use cloudtaser_core::needs::{NEEDS, Program};
    use cloudtaser_e2e::{Bao, Launch, Output, Scratch, User, canary, is_root, on_path, skip};
    use serde_json::json;

    /// Prints the variable `S` and the file that is its first argument, and executes itself again.
    const APP: &str = r#"
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((used)) static void begin(long *stack) {
    long count = stack[0];
    char **words = (char **)(stack + 1), **env = words + count + 1;
    for (char **at = env; *at; at++) {
        long len = 0;
        if ((*at)[0] != 'S' || (*at)[1] != '=') continue;
        while ((*at)[2 + len]) len++;
        call(1, 1, (long)(*at + 2), len);
    }
    if (count > 1 && words[1][0] == '/') {
        char text[200];
        long file = call(2, (long)words[1], 0, 0);
        long len = call(0, file, (long)text, sizeof text);
        call(1, 1, (long)text, len > 0 ? len : 0);
    }
    if (count > 1 && words[1][0] == 'w') {
        char text[1];
        call(0, 0, (long)text, 1);
    }
    if (count < 3) {
        char *again[] = { words[0], count > 1 ? words[1] : "-", "again", 0 };
        call(59, (long)words[0], (long)again, (long)env);
    }
    call(231, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
"#;

    /// Allows the calls in `ALLOWED` but those whose numbers stand before `--`, and executes the rest.
    const FILTER: &str = r#"
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = { NAMES };
static const unsigned allowed[] = { ALLOWED };

int main(int count, char **words) {
    enum { CALLS = sizeof allowed / sizeof *allowed };
    static struct sock_filter filter[CALLS * 2 + 2];
    unsigned short at = 0;
    int word = 1;
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < CALLS; i++) {
        if (!strcmp(names[i], words[1])) continue;
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    word++;
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = { at, filter };
    if (count < 3 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
        perror("filter");
        return 70;
    }
    execv(words[word], words + word);
    perror(words[word]);
    return 127;
}
"#;

    /// Calls that the shipped wrapper makes on roads that no test here takes, and which ones.
    const ELSEWHERE: &[(&str, &str)] = &[
        ("close_range", "an app with many descriptors"),
        ("exit", "a thread's end, which may come after the program's"),
        ("madvise", "a thread's end"),
        ("openat2", "a secret file that is asked for from another folder"),
        ("rt_sigqueueinfo", "a signal with a value"),
        ("rt_sigreturn", "a handler's end"),
        ("set_robust_list", "threads of another libc"),
        ("sched_yield", "locks that are held at this moment"),
        ("tgkill", "a process that got its values and is to be stopped"),
    ];

    struct Stage {
        scratch: Scratch,
        secret: String,
        path: String,
    }

    impl Stage {
        /// `None` where there is no compiler.
        fn new(bao: &Bao) -> Option<Self> {
            on_path("gcc")?;
            let stage = Self { scratch: Scratch::new(), secret: canary(), path: canary() };
            bao.put(&stage.path, &json!({ "key": stage.secret }));
            let calls = NEEDS.call_names(&[Program::Wrapper, Program::InApp]);
            let quoted: Vec<_> = calls.iter().map(|name| format!("\"{name}\"")).collect();
            let numbers: Vec<_> = calls.iter().map(|name| format!("__NR_{name}")).collect();
            let filter = FILTER.replace("NAMES", &quoted.join(", "));
            let filter = filter.replace("ALLOWED }", &format!("{} }}", numbers.join(", ")));
            stage.compile("filter", &filter, &["-static"]);
            stage.compile("app", APP, &["-static", "-nostdlib", "-fno-stack-protector"]);
            Some(stage)
        }

        fn compile(&self, name: &str, text: &str, flags: &[&str]) {
            let source = self.scratch.file(&format!("{name}.c"), text, 0o644);
            let mut command = Command::new("gcc");
            command.args(["-O1", "-Wall", "-Werror"]).args(flags).arg("-o").arg(self.program(name));
            let output = command.arg(source).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }

        fn program(&self, name: &str) -> PathBuf {
            self.scratch.path().join(name)
        }

        /// A launch under the filter, from which one call is missing.
        fn launch(&self, bao: &Bao, without: &str) -> Launch {
            let reference = format!("vault:secret/data/{}#key", self.path);
            Launch::wrapped(bao)
                .env("S", reference)
                .behind([self.program("filter"), without.into()])
        }

        /// Every way that the wrapper is taken through, with what is to be printed.
        fn ways(
            &self,
            bao: &Bao,
            without: &str,
        ) -> Vec<(&'static str, Launch, Vec<String>, String)> {
            let launch = || self.launch(bao, without);
            let app = self.program("app").display().to_string();
            let plan = |plan: serde_json::Value| launch().env("CLOUDTASER_PLAN", plan.to_string());
            let twice = self.secret.repeat(2);
            let file = format!("--file=key=vault:secret/data/{}#key", self.path);
            let named = bao.url().replace("127.0.0.1", "localhost");
            let mut ways = vec![
                ("followed", launch(), vec![app.clone()], twice.clone()),
                ("by name", launch().env("VAULT_ADDR", named), vec![app.clone()], twice.clone()),
                (
                    "a file",
                    launch().flag(file),
                    vec![app.clone(), "/run/cloudtaser/key".to_owned()],
                    self.secret.repeat(4),
                ),
                (
                    "first image",
                    plan(json!({ "delivery": { "mode": "one-shot" } })),
                    vec![app.clone()],
                    String::new(),
                ),
                (
                    "plain",
                    plan(json!({ "delivery": { "mode": "plain" } })),
                    vec![app.clone()],
                    twice.clone(),
                ),
                (
                    "delayed",
                    plan(json!({ "reads": { "delay": "100ms" } })),
                    vec![app.clone()],
                    twice.clone(),
                ),
                (
                    "a name that nobody knows",
                    plan(json!({ "reads": { "deadline": "1s" } }))
                        .env("VAULT_ADDR", "https://bao.invalid:8200"),
                    vec![app.clone()],
                    String::new(),
                ),
                (
                    "nobody there",
                    plan(json!({ "reads": { "deadline": "1s" } }))
                        .env("VAULT_ADDR", "https://127.0.0.1:1"),
                    vec![app.clone()],
                    String::new(),
                ),
                ("explained", launch().flag("--explain"), vec![app.clone()], String::new()),
                ("no such program", launch(), vec!["/no/such/program".to_owned()], String::new()),
            ];
            if is_root() && on_path("setpriv").is_some() {
                ways.push(("restricted", launch().user(User::Unprivileged), vec![app], twice));
            }
            ways
        }
    }

    fn was_killed(output: &Output) -> bool {
        // By the filter; or by the end of a wrapper that the filter killed.
        matches!(output.code(), 159 | 137)
    }

    #[test]
    fn the_wrapper_makes_no_call_that_the_table_lacks() {
        let bao = Bao::shared();
        let Some(stage) = Stage::new(bao) else { skip!("gcc is not installed") };
        for (name, launch, app, printed) in stage.ways(bao, "-") {
            let output = launch.run(app);
            assert!(!was_killed(&output), "{name}: a call that the table lacks: {}", output.stderr);
            if !printed.is_empty() {
                assert_eq!(output.text(), printed, "{name}: {}", output.stderr);
            }
        }
    }

    #[test]
    fn a_stop_under_the_filter_is_passed_on() {
        let bao = Bao::shared();
        let Some(stage) = Stage::new(bao) else { skip!("gcc is not installed") };
        let app = stage.program("app").display().to_string();
        let mut running = stage.launch(bao, "-").spawn([app, "wait".to_owned()]);
        running.until_stdout("the secret", |out| out.len() >= stage.secret.len());
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), 128 + 15);
    }

    #[test]
    fn every_call_of_the_table_is_used() {
        let bao = Bao::shared();
        let Some(stage) = Stage::new(bao) else { skip!("gcc is not installed") };
        let calls = NEEDS.call_names(&[Program::Wrapper, Program::InApp]);
        let mut unused = Vec::new();
        for call in calls {
            if ELSEWHERE.iter().any(|(name, _)| *name == call) {
                continue;
            }
            // The first way uses most of them, and the others are asked only for the rest.
            let missed = stage.ways(bao, call).into_iter().any(|(_, launch, app, printed)| {
                let output = launch.run(app);
                was_killed(&output) || (!printed.is_empty() && output.text() != printed)
            });
            if !missed {
                unused.push(call);
            }
        }
        assert!(unused.is_empty(), "no way uses {unused:?}");
    }
}
