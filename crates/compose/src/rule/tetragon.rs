//! T1 to T14.

use super::{Rule, Tool::Tetragon, examples, rule};
use crate::finding::Severity::{Breaks, Leaks, Noisy};

pub(super) const RULES: &[Rule] = &[
    examples!(
        rule(
            Tetragon,
            Breaks,
            "a system call of ours is made to fail, or its caller killed",
            "A kprobe or fentry acts on a call that the wrapper, the app on its behalf, or the node agent makes. Override makes the call fail; a signal ends the process, in the middle of a launch too.",
            "matchBinaries NotIn for our programs in each selector that acts. Where the app itself makes the call (mmap, close, prctl at its exec), no list of binaries helps: leave out pods of ours."
        ),
        "T1"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "an LSM hook acts on a passage of ours",
            "The hook is one that our programs pass through. Where it denies what the node agent would deny too, the agent does not see the attempt and has no record of it: the newest program runs first and the first denial ends the walk.",
            "matchBinaries NotIn for our programs in each selector that acts."
        ),
        "T2"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "a security_ function is made to fail before any LSM",
            "A kprobe with Override on a security_ function is an fmod_ret program: it runs before every LSM, so neither the node agent nor KubeArmor sees the call.",
            "matchBinaries NotIn for our programs in each selector that acts."
        ),
        "T3"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "connections are refused by address or port",
            "An allow-list of destinations (NotDAddr, NotDPort), or a list of refused ones, covers the way to OpenBao or to the beacon.",
            "Add the destination to the list, or leave the wrapper out (matchBinaries NotIn)."
        ),
        "T4"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "reading the token of the login is answered with a kill",
            "The policy protects the token of the pod from everybody, the wrapper included. An injected pod reads a token of its own by another path; a pod that starts the wrapper itself reads the ServiceAccount's.",
            "matchBinaries NotIn for the wrapper."
        ),
        "T5"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "a list of system calls refuses what the wrapper needs",
            "At raw_syscalls/sys_enter every call passes. An allow-list lacks a call of the wrapper, or a list of refused ones has it.",
            "Add the calls to the allow-list (all of them: docs/syscalls.md); take them off the other, or leave out pods of ours."
        ),
        "T6"
    ),
    examples!(
        rule(
            Tetragon,
            Leaks,
            "a probe in a program copies what its arguments point to",
            "A uprobe or USDT with an argument of type string, char_buf or the like copies memory into the events. The copy is made in the address space of the process, so sealed pages are read too: secrets appear in the log in clear.",
            "Leave the argument out, or leave out pods of ours. Where the node agent enforces, it refuses the probe on guarded programs."
        ),
        "T7"
    ),
    examples!(
        rule(
            Tetragon,
            Leaks,
            "buffers of reads, writes or messages are copied",
            "A hook on write, read, sendmsg and the like with char_buf or char_iovec copies what is said, also out of sealed pages: what the app sends without TLS, and the token that the wrapper reads.",
            "Narrow the selector to files that hold no secret, or leave out pods of ours. Field filters and redaction do not cut these arguments."
        ),
        "T8"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "a probe changes what a program does",
            "Override with registers or another symbol, and Set, change arguments and results inside a program that pods of ours run.",
            "Leave out pods of ours."
        ),
        "T9"
    ),
    examples!(
        rule(
            Tetragon,
            Leaks,
            "environments are exported",
            "With enable-process-environment-variables the environment of every exec is in the events. Of a launch that the level calls environ=hidden these are placeholders; credentials in the wrapper's own environment, and values under environ=plain, are in clear.",
            "Name the variables that may be exported (filter-environment-variables)."
        ),
        "T10"
    ),
    examples!(
        rule(
            Tetragon,
            Noisy,
            "a policy that only watches would break when it is set to enforce",
            "In mode monitor nothing is refused. The mode is changed at run time, without a change of the file.",
            "Check the policy in mode enforce before it is set."
        ),
        "T11"
    ),
    examples!(
        rule(
            Tetragon,
            Noisy,
            "a selector that is not understood",
            "The operator is none of a label selector, so whether pods of ours are selected cannot be said. The policy is judged as if they were.",
            "Write In, NotIn, Exists or DoesNotExist."
        ),
        "T12"
    ),
    examples!(
        rule(
            Tetragon,
            Breaks,
            "followChildren from the wrapper",
            "Every program of the app descends from the wrapper. A selector for the wrapper that follows children holds for all of them.",
            "Name the wrapper without followChildren."
        ),
        "T13"
    ),
    examples!(
        rule(
            Tetragon,
            Noisy,
            "events of the loader",
            "Names and build ids of mapped files are reported, nothing of their content.",
            "Nothing has to be done."
        ),
        "T14"
    ),
];
