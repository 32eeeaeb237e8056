//! K1 to K18.

use super::{Rule, Tool::KubeArmor, examples, rule};
use crate::finding::Severity::{Blinds, Breaks, Leaks, Noisy};

pub(super) const RULES: &[Rule] = &[
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "preset filelessExec",
            "The preset refuses to execute a memfd, and anything below /dev/shm and /run/shm. The wrapper lies in an emptyDir in memory and executes the app by its path, which passes; an app, or a wrapper, that is started from those places does not start.",
            "Start it from another place. The preset knows no exception by path, so otherwise the policy has to leave out pods of ours."
        ),
        "K1"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "preset protectProc",
            "The preset refuses every file below /proc that is not of the caller itself, /proc/meminfo and /proc/sys included. The wrapper answers an app that opens a secret file by /proc/PID of that app, and reads facts of the kernel; runtimes that size their heap by /proc/meminfo fail with or without us.",
            "The preset knows no exception by path: leave out pods of ours. The node agent closes the files of guarded processes that matter, for every reader on the node."
        ),
        "K2"
    ),
    examples!(
        rule(
            KubeArmor,
            Noisy,
            "preset protectEnv",
            "Nothing of ours reads another process's environ, so nothing breaks. The preset is weaker than the node agent: it looks at the reader's container, and /proc/PID/task/TID/environ, mem, maps and a second procfs stay open.",
            "Nothing has to be done."
        ),
        "K3"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "preset anonMapExec",
            "The preset refuses anonymous memory that is executable. The wrapper is static and has none; JVM, Node.js, .NET and other just-in-time compilers do.",
            "Leave out the pods whose app has such a compiler, or switch it off in the app."
        ),
        "K4"
    ),
    examples!(
        rule(
            KubeArmor,
            Noisy,
            "preset exec",
            "The preset refuses `kubectl exec` with a terminal. Nothing of ours needs one; who looks at a pod by hand does.",
            "`kubectl exec` without -t passes."
        ),
        "K5"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "a block of programs covers the wrapper",
            "The wrapper is executed in place of the app. A block of its folder, of its path or of its name refuses that, and the container does not start.",
            "Never add an Allow for the wrapper: one Allow makes an allow-list of the whole section, and everything else in it is refused under posture block. Narrow the block, or leave out pods of ours."
        ),
        "K6"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "an allow-list of programs lacks the wrapper",
            "One Allow anywhere in `process` makes the section an allow-list. Under posture block what is not listed is refused, under audit it is reported.",
            "List the wrapper, without fromSource: its parent is the container's runtime."
        ),
        "K7"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "an allow-list of files lacks what the wrapper reads",
            "One Allow anywhere in `file` makes the section an allow-list. An exec opens its file too, so an entry in `process` is not enough; besides, the wrapper reads authorities, names of hosts, its token and /proc.",
            "List the files of the table of needs (`cloudtaser compose export kubearmor`)."
        ),
        "K8"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "a block of files covers the token, or another file of the wrapper",
            "Many hardening policies block the ServiceAccount's token. A pod that was injected logs in with a token of its own at another path and is not hit; a pod that starts the wrapper itself reads the ServiceAccount's. /var/run is a link to /run in most images, and a rule by path means one of both, so both are looked at. A block that is `readOnly` refuses writes alone and is not found.",
            "Have the webhook inject the pod, or name the programs that must not read the file in fromSource. In a section that is an allow-list already, an Allow from the wrapper (fromSource) goes before the block; in any other it would make one."
        ),
        "K9"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "a protocol that the wrapper needs is blocked, or not listed",
            "Rules about protocols know no address and look at no family: `tcp` refuses stream sockets of the Unix family too. The wrapper needs TCP for OpenBao, UDP for DNS, and sequenced packets for the pair of sockets with its child and for the node agent.",
            "In an allow-list: list them for the wrapper (fromSource), which goes before a block too. A block can name the programs that it is for."
        ),
        "K10"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "questions for OpenBao's name are blocked",
            "A block of DNS questions by domain covers the name that the wrapper asks for.",
            "Name narrower domains."
        ),
        "K11"
    ),
    examples!(
        rule(
            KubeArmor,
            Blinds,
            "a capability that raises the level is blocked",
            "The wrapper works without any capability. With SYS_PTRACE the app can be non-dumpable under exec-follow, with IPC_LOCK there is more sealed memory on old kernels, with KILL signals reach an app that changed its uid.",
            "Name the programs that the block is for; a pod that drops all capabilities has nothing to lose."
        ),
        "K12"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "arguments of the wrapper are listed",
            "allowedArgs refuses every other argument. The wrapper is started as `run -- APP ARGS`; at most 20 arguments with 104 characters each are ever matched. The app's own entry may keep its list: the wrapper passes every argument on as it is.",
            "List the wrapper without allowedArgs."
        ),
        "K13"
    ),
    examples!(
        rule(
            KubeArmor,
            Breaks,
            "rules of the node's network do not let the road pass",
            "A KubeArmorNetworkPolicy becomes rules of the node's packet filter, and one with an egress list refuses the rest. Pods with hostNetwork are behind it.",
            "List the address and the port of OpenBao or of the beacon."
        ),
        "K14"
    ),
    examples!(
        rule(
            KubeArmor,
            Noisy,
            "system calls that the wrapper makes are reported",
            "Rules about system calls report and never refuse. Calls of the wrapper appear in the alerts.",
            "Name the programs that are meant (fromSource)."
        ),
        "K15"
    ),
    examples!(
        rule(
            KubeArmor,
            Noisy,
            "posture block",
            "By itself it refuses nothing. It turns every allow-list of the namespace from a report into a refusal, so what K7, K8 and K10 find there breaks.",
            "See that each allow-list that selects pods of ours lists the wrapper."
        ),
        "K16"
    ),
    examples!(
        rule(
            KubeArmor,
            Leaks,
            "a profile of AppArmor without ptrace",
            "A profile without a rule for ptrace refuses it, inside the container too. The wrapper then cannot place values at the app's exec and gives them in an ordinary environment, which the level says; a pod that requires environ=hidden does not start.",
            "Allow ptrace in the profile."
        ),
        "K17"
    ),
    examples!(
        rule(
            KubeArmor,
            Noisy,
            "a rule about the parent of an exec",
            "At an exec KubeArmor looks at the parent's program. The app's parent is the wrapper, so a rule for the app's start that names another parent does not hold.",
            "Name the wrapper among the sources where that start is meant."
        ),
        "K18"
    ),
];
