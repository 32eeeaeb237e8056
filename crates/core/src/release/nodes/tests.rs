use super::*;
use crate::{
    level::{Attach, Environ, Facets, Memory, ProtectionLevel, Supervisor, Transport},
    node::{Outcome, Programs, tests::statement},
    release::policy::{Action, Asked, Decision, Identity, Policy, PolicyFile, RuleFile},
};

const KEY: Hash = Hash::new([7; 32]);

fn attested(change: impl FnOnce(&mut NodeStatement)) -> Attested {
    let mut statement = statement();
    change(&mut statement);
    Attested { key: KEY, statement }
}

fn nodes() -> Vec<NodeFile> {
    vec![NodeFile { name: "worker-1".to_owned(), key: KEY }]
}

fn unmet(demand: &Demand, change: impl FnOnce(&mut NodeStatement)) -> String {
    demand.unmet(&nodes(), Some(&attested(change))).join("; ")
}

#[test]
fn a_demand_that_names_nothing_demands_the_signature_of_a_known_node() {
    let demand = Demand::default();
    assert_eq!(unmet(&demand, |_| ()), "");
    assert!(demand.unmet(&nodes(), None)[0].contains("there is none"));
    let strange = demand.unmet(&[], Some(&attested(|_| ())));
    assert!(strange[0].contains("none of those that the policy names"), "{strange:?}");
}

#[test]
fn each_word_of_a_demand_is_held_against_the_statement() {
    let demand = |change: fn(&mut Demand)| {
        let mut demand = Demand::default();
        change(&mut demand);
        demand
    };
    let enforcing = demand(|demand| demand.agent = Some(Agent::Enforcing));
    assert_eq!(unmet(&enforcing, |_| ()), "");
    let words = unmet(&enforcing, |said| {
        said.state = Agent::Degraded;
        said.reasons = vec!["open: kcore".to_owned()];
    });
    assert!(words.contains("says degraded (open: kcore)"), "{words}");
    let degraded = demand(|demand| demand.agent = Some(Agent::Degraded));
    assert_eq!(unmet(&degraded, |said| said.state = Agent::Degraded), "");
    assert_ne!(unmet(&degraded, |said| said.state = Agent::Off), "");

    let lsm = demand(|demand| demand.tiers = vec!["lsm".to_owned()]);
    assert_eq!(unmet(&lsm, |_| ()), "");
    assert!(unmet(&lsm, |said| said.tier = Some("kprobe".to_owned())).contains("not kprobe"));
    assert!(unmet(&lsm, |said| said.tier = None).contains("not none"));

    let locked = demand(|demand| demand.lockdown = Some(Lockdown::Integrity));
    assert_eq!(unmet(&locked, |_| ()), "");
    assert_eq!(unmet(&locked, |said| said.lockdown = Lockdown::Confidentiality), "");
    assert!(unmet(&locked, |said| said.lockdown = Lockdown::None).contains("not none"));

    let agents = demand(|demand| demand.agents = vec![Hash::new([3; 32])]);
    assert_eq!(unmet(&agents, |_| ()), "");
    assert!(unmet(&agents, |said| said.agent = Hash::new([9; 32])).contains("the agent 0909"));
    let wrappers = demand(|demand| demand.wrappers = vec![Hash::new([4; 32])]);
    assert_eq!(unmet(&wrappers, |_| ()), "");
    assert!(unmet(&wrappers, |said| said.launch.wrapper = None).contains("not known"));
    let programs = demand(|demand| demand.programs = vec![Hash::new([5; 32])]);
    assert_eq!(unmet(&programs, |_| ()), "");
    let none = Programs { count: 0, tags: Hash::new([0; 32]) };
    assert!(unmet(&programs, |said| said.programs = none).contains("set of programs"));
    // Roads are told; what they are worth is in the state.
    let open = |said: &mut NodeStatement| said.roads.extend([("x".to_owned(), Outcome::Open)]);
    assert_eq!(unmet(&enforcing, open), "");
}

fn decided(policy: &Policy, node: Option<&Attested>) -> String {
    let facets = Facets {
        memory: Memory::Sealed,
        environ: Environ::Hidden,
        supervisor: Supervisor::Sealed,
        attach: Attach::Refused,
        transport: Transport::Hybrid,
        agent: Agent::Enforcing,
    };
    let [issuer, namespace, service_account] = ["eu", "shop", "web"].map(str::to_owned);
    let asked = Asked {
        identity: &Identity { issuer, namespace, service_account },
        action: Action::Read,
        path: "secret/pay",
        level: &ProtectionLevel::from_facets(facets, Vec::new()),
        node,
    };
    match policy.decide(&asked) {
        Decision::Release { .. } => "released".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn what_a_launch_says_of_its_agent_does_not_do_where_a_signature_is_demanded() {
    let rule = RuleFile {
        name: "pay".to_owned(),
        paths: vec!["secret/pay".to_owned()],
        identities: vec!["eu:*/*".to_owned()],
        operations: vec![Action::Read],
        require: vec!["agent=enforcing".parse().unwrap()],
        node: Some(Demand { agent: Some(Agent::Enforcing), ..Demand::default() }),
    };
    let policy = |node| Policy::compile(PolicyFile { rule: vec![rule.clone()], node }).unwrap();
    let (known, strange) = (policy(nodes()), policy(Vec::new()));
    assert!(decided(&known, None).contains("there is none"));
    assert_eq!(decided(&known, Some(&attested(|_| ()))), "released");
    assert!(decided(&strange, Some(&attested(|_| ()))).contains("the policy names"));
    let weak = attested(|said| said.state = Agent::Off);
    assert!(decided(&known, Some(&weak)).contains("says off"));
    assert_eq!(known.node(&KEY).unwrap().name, "worker-1");
}

#[test]
fn nodes_have_one_name_and_one_key_each() {
    let node = |name: &str, key| NodeFile { name: name.to_owned(), key };
    let why = |node| {
        Policy::compile(PolicyFile { node, ..PolicyFile::default() }).unwrap_err().to_string()
    };
    let other = Hash::new([8; 32]);
    assert!(why(vec![node("a", KEY), node("a", other)]).contains("another node of this name"));
    assert!(why(vec![node("a", KEY), node("b", KEY)]).contains("has its key"));
    assert!(why(vec![node(" ", KEY)]).contains("no name"));
}
