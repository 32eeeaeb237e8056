/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The object that the agent loads. Each hook is a file of its own; they are compiled together
 * because they share their maps. Compiled a second time with CT_PROBE, it is the object of the
 * tier without trampolines: nothing is pinned there, so nothing guards pins.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/abi.h"

#include "lib/hook.h"
#include "lib/maps.h"

#include "lib/code.h"
#include "lib/egress.h"
#include "lib/file.h"
#include "lib/grant.h"
#include "lib/image.h"
#include "lib/pin.h"
#include "lib/read.h"
#include "lib/report.h"
#include "lib/seal.h"
#include "lib/signal.h"
#include "lib/task.h"

#include "bpf.bpf.c"
#include "bpf_map.bpf.c"
#include "bpf_prog.bpf.c"
#include "file_open.bpf.c"
#include "file_permission.bpf.c"
#include "kernel_load_data.bpf.c"
#include "kernel_read_file.bpf.c"
#include "mmap_file.bpf.c"
#include "perf_event_open.bpf.c"
#include "ptrace_access_check.bpf.c"
#include "ptrace_traceme.bpf.c"
#include "signal_deliver.bpf.c"
#include "task_kill.bpf.c"
#include "task_setrlimit.bpf.c"

#ifdef CT_PROBE
#include "lifecycle_probe.bpf.c"
#else
#include "bprm_check_security.bpf.c"
#include "bprm_creds_for_exec.bpf.c"
#include "file_receive.bpf.c"
#include "file_send_sigiotask.bpf.c"
#include "inode_free.bpf.c"
#include "inode_rename.bpf.c"
#include "inode_rmdir.bpf.c"
#include "inode_unlink.bpf.c"
#include "lifecycle.bpf.c"
#include "locked_down.bpf.c"
#include "sb_umount.bpf.c"
#include "socket_connect.bpf.c"
#include "socket_create.bpf.c"
#include "socket_sendmsg.bpf.c"
#endif

/* Brings a type into BTF that no map or function names; the agent's layout test reads it there. */
const struct ct_event *ct_unused_event __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
