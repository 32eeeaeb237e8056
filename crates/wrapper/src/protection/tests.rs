use cloudtaser_core::level::{Agent, Verdict};
use cloudtaser_sys::facts::{Identity, Kernel, LockedMemory, Reading, Tracing};
use nix::errno::Errno;

use super::*;

/// A host on which everything works, as root.
fn facts() -> Facts {
    let mut facts = Facts {
        secret_memory: Probe::Works,
        locked_memory: LockedMemory { soft_limit_bytes: None, may_exceed: true },
        tracing: Tracing {
            listener: Probe::Works,
            listener_needs_no_new_privileges: false,
            seize: Probe::Works,
            seize_undumpable: Probe::Works,
            trace_me: Probe::Works,
        },
        identity: Identity::read(),
        kernel: Kernel::read(),
    };
    facts.identity.no_new_privileges = false;
    facts.kernel.yama_scope = Reading::Known(0);
    facts
}

/// A sealed heap and no agent.
fn measured(transport: Transport) -> Measured<'static> {
    const OFF: &Guard =
        &Guard { agent: Agent::Off, reasons: Vec::new(), said: None, nobody: false };
    Measured { heap_sealed: true, transport, release: Release::Direct, guard: OFF }
}

#[test]
fn what_the_agent_says_is_the_facet_and_decides_its_rows() {
    let level = |agent, why: &str| {
        let guard = Guard { agent, reasons: vec![why.to_owned()], said: None, nobody: false };
        let measured = Measured { guard: &guard, ..measured(Transport::Hybrid) };
        level(&auto(&facts(), None), &facts(), measured)
    };
    let degraded = level(Agent::Degraded, "node agent: open: kcore");
    assert_eq!(degraded.facets.agent, Agent::Degraded);
    assert_eq!(degraded.rows[2].verdict, Verdict::Partial);
    assert_eq!(degraded.reasons, ["node agent: open: kcore"]);
    let why = |level: ProtectionLevel| level.rows[2].because.join("; ");
    assert!(why(level(Agent::Enforcing, "")).contains("denies the active roads"));
    assert!(why(level(Agent::Off, "no")).contains("no node agent"));
    let required = ["agent=enforcing".parse().unwrap()];
    assert_eq!(degraded.unmet(&required).len(), 1);
    assert!(level(Agent::Enforcing, "").unmet(&required).is_empty());
}

fn asked(mode: DeliveryMode, dumpable: Dumpable) -> Asked {
    Asked { mode, dumpable, ..Asked::default() }
}

fn auto(facts: &Facts, target: Option<&Target>) -> Choice {
    choose(&Asked::default(), facts, target, Files::None).unwrap()
}

fn target(kind: Kind, privileged: bool, readable: bool) -> Target {
    Target { path: "/bin/app".into(), kind, privileged, readable }
}

#[test]
fn where_everything_works_every_image_is_covered() {
    let choice = auto(&facts(), None);
    assert_eq!((choice.mode, choice.undumpable), (Mode::Follow, true));
    assert!(choice.reasons.is_empty());
}

#[test]
fn each_refusal_costs_what_stands_on_it_and_says_so() {
    let refused = Probe::Refused(Errno::EPERM);
    let mut no_listener = facts();
    no_listener.tracing.listener = Probe::Refused(Errno::EBUSY);
    let mut no_ptrace = facts();
    no_ptrace.tracing.trace_me = refused;
    let mut no_sealed_memory = facts();
    no_sealed_memory.secret_memory = Probe::Refused(Errno::ENOSYS);
    let mut no_seize = facts();
    no_seize.tracing.seize = refused;
    for (facts, mode, word) in [
        (no_listener, Mode::OneShot, "EBUSY"),
        (no_ptrace, Mode::Plain, "ptrace"),
        (no_sealed_memory, Mode::Plain, "memfd_secret"),
        (no_seize, Mode::OneShot, "attaching"),
    ] {
        let choice = auto(&facts, None);
        assert_eq!(choice.mode, mode, "{word}");
        assert!(choice.reasons.iter().any(|reason| reason.contains(word)), "{:?}", choice.reasons);
    }
}

#[test]
fn programs_that_take_no_pages_get_none_and_the_level_says_so() {
    let mut user = facts();
    user.tracing.seize_undumpable = Probe::Refused(Errno::EPERM);
    for (target, word) in [
        (target(Kind::Unreadable, false, false), "execute-only"),
        (target(Kind::Unrecognised, true, true), "neither ELF"),
    ] {
        let choice = auto(&user, Some(&target));
        assert_eq!(choice.mode, Mode::Plain);
        assert!(choice.reasons.iter().any(|reason| reason.contains(word)), "{:?}", choice.reasons);
        let level = level(&choice, &user, measured(Transport::Tls));
        assert_eq!(level.facets.memory, Memory::Plain);
        assert_eq!(level.rows.first().map(|row| row.verdict), Some(Verdict::Open));
    }
}

#[test]
fn a_mode_asked_for_by_name_is_not_replaced_by_a_weaker_one() {
    let mut facts = facts();
    facts.tracing.listener = Probe::Refused(Errno::EBUSY);
    let error = choose(&asked(DeliveryMode::Follow, Dumpable::Auto), &facts, None, Files::None)
        .unwrap_err();
    assert!(error.to_string().contains("EBUSY"), "{error}");
    assert!(
        choose(&asked(DeliveryMode::OneShot, Dumpable::Auto), &facts, None, Files::None).is_ok()
    );
}

#[test]
fn without_the_capability_it_is_follow_or_undumpable() {
    let mut facts = facts();
    facts.tracing.seize_undumpable = Probe::Refused(Errno::EPERM);
    let choice = auto(&facts, None);
    assert_eq!((choice.mode, choice.undumpable), (Mode::Follow, false));
    let choice =
        choose(&asked(DeliveryMode::Auto, Dumpable::Off), &facts, None, Files::None).unwrap();
    assert_eq!((choice.mode, choice.undumpable), (Mode::OneShot, true));
    assert!(
        choose(&asked(DeliveryMode::Follow, Dumpable::Off), &facts, None, Files::None).is_err()
    );
}

#[test]
fn inside_another_supervisor_an_app_stays_open_to_it() {
    let mut facts = facts();
    facts.tracing.listener = Probe::Refused(Errno::EBUSY);
    // With the capability, the outer one has it as well.
    assert!(auto(&facts, None).undumpable);
    facts.tracing.seize_undumpable = Probe::Refused(Errno::EPERM);
    let choice = auto(&facts, None);
    assert_eq!((choice.mode, choice.undumpable), (Mode::OneShot, false));
    assert!(choice.reasons.iter().any(|reason| reason == NESTED), "{:?}", choice.reasons);
    let off = choose(&asked(DeliveryMode::Auto, Dumpable::Off), &facts, None, Files::None).unwrap();
    assert!(off.undumpable, "as the plan has it");
}

#[test]
fn yama_counts_for_attaching_and_not_for_more() {
    let mut facts = facts();
    facts.tracing.seize_undumpable = Probe::Refused(Errno::EPERM);
    let choice = auto(&facts, None);
    assert_eq!(level(&choice, &facts, measured(Transport::Tls)).facets.attach, Attach::Open);
    facts.kernel.yama_scope = Reading::Known(1);
    assert_eq!(level(&choice, &facts, measured(Transport::Tls)).facets.attach, Attach::Ancestors);
}

#[test]
fn a_heap_that_overflowed_its_budget_is_told() {
    let level = level(
        &auto(&facts(), None),
        &facts(),
        Measured { heap_sealed: false, ..measured(Transport::Hybrid) },
    );
    assert_eq!(level.facets.supervisor, Supervisor::Wiped);
    assert!(level.reasons.iter().any(|reason| reason.contains("RLIMIT_MEMLOCK")));
}

#[test]
fn files_need_the_listener_and_weaken_what_may_be_claimed() {
    let choice = choose(&Asked::default(), &facts(), None, Files::Some).unwrap();
    assert_eq!(choice.mode, Mode::Follow);
    let level = level(&choice, &facts(), measured(Transport::Hybrid));
    assert_eq!(level.facets.memory, Memory::Transient);
    assert!(level.reasons.iter().any(|reason| reason.contains("secret files")));
    let mut no_listener = facts();
    no_listener.tracing.listener = Probe::Refused(Errno::EBUSY);
    for (facts, mode) in [
        (&no_listener, DeliveryMode::Auto),
        (&facts(), DeliveryMode::OneShot),
        (&facts(), DeliveryMode::Plain),
    ] {
        let asked = asked(mode, Dumpable::Auto);
        let error = choose(&asked, facts, None, Files::Some).unwrap_err().to_string();
        assert!(error.contains("secret files"), "{error}");
    }
}
