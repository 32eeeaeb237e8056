//! Small programs that are made on the spot: in C where a test needs what a shell does not show.

use std::{path::PathBuf, process::Command};

use cloudtaser_e2e::{Scratch, on_path};

/// Counts signals: a line for each that comes, with its number, value and origin.
pub(crate) const COUNT_SIGNALS: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void heard(int number, siginfo_t *info, void *context) {
    (void)context;
    char line[80];
    int len = snprintf(line, sizeof line, "signal %d value %d\n", number,
                       info->si_code == SI_QUEUE ? info->si_value.sival_int : -1);
    if (write(1, line, len) != len) _exit(9);
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = heard;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    for (int number = 1; number <= 64; number++) sigaction(number, &action, NULL);
    int parent = getppid();
    if (write(1, "ready\n", 6) != 6) return 9;
    // The death of its parent comes as a signal too.
    while (getppid() == parent) pause();
    return 0;
}
"#;

/// Sends a signal with a value: PID SIGNAL VALUE.
pub(crate) const QUEUE_SIGNAL: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>

int main(int count, char **words) {
    if (count != 4) return 64;
    union sigval value = { .sival_int = atoi(words[3]) };
    return sigqueue(atoi(words[1]), atoi(words[2]), value) == 0 ? 0 : 1;
}
"#;

/// Says whether a variable has the value with this FNV-1a hash, in one line at the end of a file:
/// NAME HASH FILE.
pub(crate) const CHECK_VALUE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 4) return 64;
    const char *value = getenv(words[1]);
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *at = value ? value : ""; *at; at++) hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    char line[100];
    int good = value && hash == strtoull(words[2], NULL, 16);
    int len = snprintf(line, sizeof line, good ? "good\n" : "BAD: %s, %zu bytes\n", value ? "there" : "gone",
                       value ? strlen(value) : 0);
    int file = open(words[3], O_WRONLY | O_APPEND | O_CREAT, 0644);
    return file >= 0 && write(file, line, len) == len ? 0 : 1;
}
"#;

/// Prints its variable whenever that changes; on a signal of `HUP` it says so. It keeps no copy of
/// the value but a hash.
pub(crate) const WATCH_VALUE: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void told(int number) {
    char line[40];
    int len = snprintf(line, sizeof line, "told %d\n", number);
    if (write(1, line, len) != len) _exit(9);
}

int main(int count, char **words) {
    if (count != 2) return 64;
    signal(SIGHUP, told);
    signal(SIGUSR1, told);
    printf("pid %d\n", getpid());
    for (uint64_t last = 0;;) {
        const char *value = getenv(words[1]);
        if (!value) return 3;
        uint64_t hash = 0xcbf29ce484222325u;
        for (const char *at = value; *at; at++) hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
        if (hash != last) {
            printf("value %016llx\n", (unsigned long long)hash);
            fflush(stdout);
            last = hash;
        }
        usleep(5000);
    }
}
"#;

/// Puts a seccomp filter before a program: NUMBER ERRNO [NUMBER ERRNO]... -- COMMAND; a number may
/// carry the value of its first argument, as in `317:1`.
pub(crate) const REFUSE_CALLS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words) {
    struct sock_filter code[128];
    int at = 0, word = 1;
    for (; word + 1 < count && strcmp(words[word], "--") != 0; word += 2) {
        char *argument = strchr(words[word], ':');
        int skip = argument ? 3 : 1;
        code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(words[word]), 0, skip);
        if (argument) {
            code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
            code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argument + 1), 0, 1);
        }
        code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(words[word + 1]));
    }
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { .len = at, .filter = code };
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 71;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) { perror("filter"); return 71; }
    execvp(words[word + 1], words + word + 1);
    return 72;
}
"#;

/// Holds the one notification listener that a tree of processes may have, and lets all through:
/// COMMAND.
pub(crate) const TAKE_LISTENER: &str = r#"
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **words) {
    struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog program = { .len = 1, .filter = code };
    if (count < 2) return 64;
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    // The copy outlives the exec: a listener that nobody holds is none.
    if (listener < 0 || dup(listener) < 0) {
        perror("listener");
        return 71;
    }
    execvp(words[1], words + 1);
    return 72;
}
"#;

/// Compiles a program; `None` (said aloud) where there is no compiler.
pub(crate) fn c(scratch: &Scratch, name: &str, source: &str) -> Option<PathBuf> {
    let Some(compiler) = on_path("cc").or_else(|| on_path("gcc")) else {
        println!("SKIP: no C compiler");
        return None;
    };
    let file = scratch.file(&format!("{name}.c"), source, 0o644);
    let out = scratch.path().join(name);
    let mut make = Command::new(compiler);
    make.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&out).arg(file);
    let output = make.output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(out)
}

/// The hash that the programs above print and compare.
pub(crate) fn fnv1a(text: &str) -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}
