//! The rules that turn measured facets into a verdict per adversary.
//!
//! A row is `Closed` only when nothing that the threat model lists for it remains. What remains is
//! always among the reasons, in words that a report can print.

use super::{Agent, Attach, Environ, Facets, Memory, Release, Row, Transport, Verdict};

/// The six rows, T1 first.
pub(super) fn rows(facets: Facets) -> Vec<Row> {
    vec![
        same_uid(facets),
        in_container(facets.release),
        root(facets),
        wire(facets),
        api_server(facets.release),
        hypervisor(),
    ]
}

fn same_uid(facets: Facets) -> Row {
    let mut because = Vec::new();
    let environ = facets.environ == Environ::Hidden;
    let attach = facets.attach == Attach::Refused || facets.agent == Agent::Enforcing;
    because.push(match facets.environ {
        Environ::Hidden => "no image of the process tree shows a value in /proc/PID/environ",
        Environ::FirstImage => "only the first image hides its values; programs it executes do not",
        Environ::Plain => "/proc/PID/environ shows the values",
    });
    because.push(match (attach, facets.attach) {
        (true, _) => "attaching is refused",
        (false, Attach::Ancestors) => "Yama lets only ancestors of the app attach to it",
        (false, _) => "a process of the same uid can attach to the app and run code in it",
    });
    let verdict = match (environ, attach) {
        (true, true) => Verdict::Closed,
        (false, _) if facets.environ == Environ::Plain => Verdict::Open,
        _ => Verdict::Partial,
    };
    Row { id: "T1", adversary: "another process of the same uid", verdict, because }
}

fn in_container(release: Release) -> Row {
    let (verdict, because) = match release {
        Release::Direct => (
            Verdict::Open,
            vec![
                "nothing binds the login to this launch: a credential in the container can be used again",
            ],
        ),
        // Never closed: the login is the first one's, whoever that is.
        Release::Bridge => (
            Verdict::Partial,
            vec![
                "the pod's token is refused once this launch has logged in, unless by a key that only its memory has",
                "who is quicker than the wrapper is let in, and the wrapper is refused and says so",
            ],
        ),
    };
    Row { id: "T2", adversary: "code in the app's container", verdict, because }
}

fn root(facets: Facets) -> Row {
    let is_ordinary = facets.memory == Memory::Plain;
    let mut because = Vec::new();
    because.push(match facets.memory {
        Memory::Sealed => {
            "passive reads of the delivered values (environ, mem, dumps, swap, kcore) find nothing"
        }
        Memory::Transient => {
            "passive reads find the value of a secret file while the app has it open, and no other value"
        }
        Memory::Plain => "the values lie in ordinary memory",
    });
    because.push(match facets.agent {
        Agent::Enforcing => {
            "the node agent denies the active roads, also after its own end; the disk below it is open"
        }
        Agent::Degraded => "the node agent cannot close every active road",
        Agent::Off => "no node agent: root can run code in the app (debugger, uprobe, module)",
    });
    if !is_ordinary {
        because.push("copies that the app's own runtime makes are ordinary memory");
    }
    // Never closed: root still writes to block devices, the agent's own file among what is there.
    let verdict = match (facets.memory, facets.agent) {
        (Memory::Plain, Agent::Off | Agent::Degraded) => Verdict::Open,
        _ => Verdict::Partial,
    };
    Row { id: "T3", adversary: "root on the node, with user space tools", verdict, because }
}

fn wire(facets: Facets) -> Row {
    let (verdict, why) = match facets.transport {
        Transport::Hybrid => {
            (Verdict::Closed, "TLS 1.3 with a hybrid post-quantum key exchange, server verified")
        }
        Transport::Tls => (
            Verdict::Partial,
            "TLS 1.3, server verified, without a post-quantum key exchange: what is recorded today may be read later",
        ),
        Transport::Unverified => (Verdict::Open, "the server was not verified"),
        Transport::Plaintext => (Verdict::Open, "the connection is not encrypted"),
    };
    Row { id: "T4", adversary: "anyone on the wire", verdict, because: vec![why] }
}

fn api_server(release: Release) -> Row {
    let (verdict, because) = match release {
        Release::Direct => (
            Verdict::Open,
            vec!["OpenBao is used directly: no release policy and no receipt stand in between"],
        ),
        // Never closed: without hardware that signs, the provider can run a node of its own.
        Release::Bridge => (
            Verdict::Partial,
            vec![
                "a bridge releases by its own policy, to who has a key of this cluster, and each release has a receipt",
                "it can make up a pod on a node that has that key, and gets what the policy gives to that workload",
            ],
        ),
    };
    Row { id: "T5", adversary: "the provider's API server", verdict, because }
}

fn hypervisor() -> Row {
    Row {
        id: "T6",
        adversary: "the hypervisor, or the provider under compulsion",
        verdict: Verdict::Open,
        because: vec!["no confidential hardware was verified: nothing stops this adversary"],
    }
}
