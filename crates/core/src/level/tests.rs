use super::*;

const BEST: Facets = Facets {
    memory: Memory::Sealed,
    environ: Environ::Hidden,
    supervisor: Supervisor::Sealed,
    attach: Attach::Refused,
    transport: Transport::Hybrid,
    release: Release::Bridge,
    agent: Agent::Enforcing,
};

fn verdict(facets: Facets, row: usize) -> Verdict {
    ProtectionLevel::from_facets(facets, Vec::new()).rows[row - 1].verdict
}

#[test]
fn no_row_is_closed_while_a_facet_it_stands_on_is_weaker() {
    assert_eq!(verdict(BEST, 1), Verdict::Closed);
    assert_eq!(verdict(BEST, 4), Verdict::Closed);
    for environ in [Environ::Plain, Environ::FirstImage] {
        assert_ne!(verdict(Facets { environ, ..BEST }, 1), Verdict::Closed);
    }
    for agent in [Agent::Off, Agent::Degraded] {
        assert_eq!(verdict(Facets { agent, ..BEST }, 3), Verdict::Partial);
        assert_eq!(verdict(Facets { agent, memory: Memory::Plain, ..BEST }, 3), Verdict::Open);
        let attachable = Facets { agent, attach: Attach::Ancestors, ..BEST };
        assert_eq!(verdict(attachable, 1), Verdict::Partial);
    }
    for transport in [Transport::Plaintext, Transport::Unverified] {
        assert_eq!(verdict(Facets { transport, ..BEST }, 4), Verdict::Open);
    }
}

#[test]
fn an_agent_that_enforces_closes_its_uid_out_and_not_all_of_root() {
    assert_eq!(verdict(Facets { attach: Attach::Open, ..BEST }, 1), Verdict::Closed);
    // Root's user space still has the disk.
    assert_eq!(verdict(BEST, 3), Verdict::Partial);
}

#[test]
fn a_plain_environment_leaves_the_same_uid_everything() {
    assert_eq!(verdict(Facets { environ: Environ::Plain, ..BEST }, 1), Verdict::Open);
}

#[test]
fn the_row_that_nothing_here_closes_stays_open_at_the_best_facets() {
    assert_eq!(verdict(BEST, 6), Verdict::Open);
}

#[test]
fn a_bridge_closes_a_part_of_what_is_open_without_one() {
    for row in [2, 5] {
        assert_eq!(verdict(BEST, row), Verdict::Partial);
        assert_eq!(verdict(Facets { release: Release::Direct, ..BEST }, row), Verdict::Open);
    }
    let direct = Facets { release: Release::Direct, ..BEST };
    for row in [1, 3, 4, 6] {
        assert_eq!(verdict(direct, row), verdict(BEST, row));
    }
}

#[test]
fn unmet_requirements_say_what_there_is_instead() {
    let level = ProtectionLevel::from_facets(Facets { agent: Agent::Off, ..BEST }, Vec::new());
    let required = Requirement::parse_list("memory=sealed, agent=enforcing,T3=closed").unwrap();
    let unmet = level.unmet(&required).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        unmet,
        [
            "agent=enforcing is required, agent=off is what this place gives",
            "T3=closed is required, T3=partial is what this place gives",
        ]
    );
}

#[test]
fn requirements_are_written_as_they_are_read() {
    for text in
        ["memory=sealed", "environ=first-image", "attach=ancestors", "release=bridge", "T6=open"]
    {
        assert_eq!(text.parse::<Requirement>().unwrap().to_string(), text);
    }
    for bad in ["memory", "memory=", "memory=hidden", "T0=open", "T7=open", "t1=open", "=", ""] {
        assert!(bad.parse::<Requirement>().is_err(), "{bad}");
    }
}
