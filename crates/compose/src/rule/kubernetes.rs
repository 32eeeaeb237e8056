//! S1 to S3, N1, N2, C1 to C3, P1 to P6, D1.

use super::{
    Rule,
    Tool::{Kubernetes, Seccomp},
    examples, rule,
};
use crate::finding::Severity::{Blinds, Breaks, Leaks};

pub(super) const RULES: &[Rule] = &[
    examples!(
        rule(
            Seccomp,
            Breaks,
            "a profile lacks calls that the wrapper cannot do without",
            "A profile with a default action that refuses lists what is allowed. The wrapper makes the calls of docs/syscalls.md before the app starts, and the app has its own besides.",
            "Allow them (`cloudtaser compose export seccomp` has all of them with their reasons)."
        ),
        "S1"
    ),
    examples!(
        rule(
            Seccomp,
            Blinds,
            "a profile lacks calls that protect",
            "Without memfd_secret values lie in ordinary memory, without ptrace or seccomp they go through an ordinary environment. The level says so, and a pod that requires more does not start.",
            "Allow them."
        ),
        "S2"
    ),
    examples!(
        rule(
            Seccomp,
            Blinds,
            "another supervisor listens",
            "A process has one seccomp listener. Where a container runtime installs one, the wrapper's cannot be had, and programs that the app executes are not followed.",
            "No listener for pods of ours."
        ),
        "S3"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "a NetworkPolicy does not let the wrapper out",
            "All policies that select a pod add up; once one restricts egress, only what one of them lists goes out. OpenBao (8200) or a beacon (443) is not among it. Addresses are taken from --endpoint, or from VAULT_ADDR and BAO_ADDR of the pods.",
            "List it."
        ),
        "N1"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "a NetworkPolicy does not let DNS out",
            "The wrapper asks for OpenBao's name by UDP, and by TCP where the answer is too long. An address that is given as a number needs no DNS.",
            "List UDP port 53."
        ),
        "N2"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "Cilium's policies do not let the wrapper out",
            "As N1 and N2, in Cilium's language: entities, names and networks are understood.",
            "List it, by name where you know it."
        ),
        "C1"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "Cilium denies the way to OpenBao",
            "egressDeny goes before every rule that allows.",
            "Narrow the denial, or leave out pods of ours."
        ),
        "C2"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "TLS is ended on the way",
            "terminatingTLS has a proxy on the node answer in OpenBao's place. The wrapper does not trust its certificate; where somebody made it trust it, the proxy reads every secret.",
            "A rule of its own for OpenBao, without terminatingTLS."
        ),
        "C3"
    ),
    examples!(
        rule(
            Kubernetes,
            Leaks,
            "containers share their processes",
            "With shareProcessNamespace the other containers of the pod see the app's processes and have the roads of row T1.",
            "A namespace for each container, or a node agent that enforces."
        ),
        "P1"
    ),
    examples!(
        rule(
            Kubernetes,
            Leaks,
            "a container with powers over the node",
            "A privileged container, or one with SYS_PTRACE, SYS_ADMIN, BPF and the like: whoever runs code in it has the powers of row T3 over the app.",
            "Drop it."
        ),
        "P2"
    ),
    examples!(
        rule(
            Kubernetes,
            Blinds,
            "a pod with users of its own",
            "With hostUsers: false the node's root is nobody in the pod, so the wrapper cannot believe the agent.",
            "Choose: the level says agent=off."
        ),
        "P3"
    ),
    examples!(
        rule(
            Kubernetes,
            Blinds,
            "a pod in the node's processes",
            "With hostPID the pod sees every process, and KubeArmor's policies for containers do not hold for it.",
            "A namespace for the pod."
        ),
        "P4"
    ),
    examples!(
        rule(
            Kubernetes,
            Blinds,
            "a runtime with a kernel of its own",
            "gVisor and Kata run the pod on another kernel than the node's: agents on the node see nothing in it.",
            "Require the level that you need."
        ),
        "P5"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "a volume where ours belongs",
            "A volume that is mounted over the wrapper's folder hides the wrapper; one over /run/cloudtaser takes the place of secret files.",
            "Mount it elsewhere."
        ),
        "P6"
    ),
    examples!(
        rule(
            Kubernetes,
            Breaks,
            "the agent's namespace is not privileged",
            "Pod Security refuses the agent's pods below the level privileged. Pods with secrets live in other namespaces and run under `restricted`.",
            "Give the namespace of the agent the level privileged."
        ),
        "D1"
    ),
];
