use super::*;
use crate::{
    level::{Attach, Environ, Facets, Memory, ProtectionLevel, Release, Supervisor, Transport},
    node::{Outcome, Programs, tests::statement},
    release::hardware,
    release::policy::{
        Action, Asked, Decision, Identity, Policy, PolicyFile, RuleFile, terms::Standing,
    },
};

const KEY: Hash = Hash::new([7; 32]);

fn attested(change: impl FnOnce(&mut NodeStatement)) -> Attested {
    let mut statement = statement();
    change(&mut statement);
    Attested { key: KEY, statement, tpm: None, hardware: None }
}

fn node(name: &str, key: Hash) -> NodeFile {
    NodeFile { name: name.to_owned(), key, tpm: None, place: Place::Provider }
}

fn nodes() -> Nodes {
    Nodes { nodes: vec![node("worker-1", KEY)], ..Nodes::default() }
}

fn unmet(demand: &Demand, change: impl FnOnce(&mut NodeStatement)) -> String {
    demand.unmet(&nodes(), Some(&attested(change))).join("; ")
}

#[test]
fn a_demand_that_names_nothing_demands_the_signature_of_a_known_node() {
    let demand = Demand::default();
    assert_eq!(unmet(&demand, |_| ()), "");
    assert!(demand.unmet(&nodes(), None)[0].contains("there is none"));
    let strange = demand.unmet(&Nodes::default(), Some(&attested(|_| ())));
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
        release: Release::Bridge,
        agent: Agent::Enforcing,
    };
    let [issuer, namespace, service_account] = ["eu", "shop", "web"].map(str::to_owned);
    let asked = Asked {
        identity: &Identity { issuer, namespace, service_account },
        action: Action::Read,
        path: "secret/pay",
        level: &ProtectionLevel::from_facets(facets, Vec::new()),
        node,
        standing: &Standing::default(),
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
        limit: None,
        approvals: None,
    };
    let policy = |node| {
        let rule = vec![rule.clone()];
        Policy::compile(PolicyFile { rule, node, ..PolicyFile::default() }).unwrap()
    };
    let (known, strange) = (policy(nodes().nodes), policy(Vec::new()));
    assert!(decided(&known, None).contains("there is none"));
    assert_eq!(decided(&known, Some(&attested(|_| ()))), "released");
    assert!(decided(&strange, Some(&attested(|_| ()))).contains("the policy names"));
    let weak = attested(|said| said.state = Agent::Off);
    assert!(decided(&known, Some(&weak)).contains("says off"));
    assert_eq!(known.node(&KEY).unwrap().name, "worker-1");
}

#[test]
fn nodes_have_one_name_and_one_key_each() {
    let why = |node| {
        Policy::compile(PolicyFile { node, ..PolicyFile::default() }).unwrap_err().to_string()
    };
    let other = Hash::new([8; 32]);
    assert!(why(vec![node("a", KEY), node("a", other)]).contains("another node of this name"));
    assert!(why(vec![node("a", KEY), node("b", KEY)]).contains("has its key"));
    assert!(why(vec![node(" ", KEY)]).contains("no name"));
}

const AK: Hash = Hash::new([11; 32]);

fn quoted(key: Hash, fourth: u8) -> Attested {
    let registers = [(4, Hash::new([fourth; 32])), (7, Hash::new([7; 32]))];
    Attested { tpm: Some(Quoted { key, registers: registers.into() }), ..attested(|_| ()) }
}

fn with_tpm(place: Place) -> Nodes {
    let node = NodeFile { tpm: Some(AK), place, ..node("worker-1", KEY) };
    let registers = [("4".to_owned(), Hash::new([4; 32]))].into();
    let boots = vec![BootFile { name: "debian".to_owned(), registers }];
    Nodes { nodes: vec![node], boots, ..Nodes::default() }
}

#[test]
fn how_far_evidence_reaches_depends_on_the_tpm_that_the_policy_names_and_on_whose_it_is() {
    let reached = |nodes: &Nodes, attested: &Attested| nodes.assurance(attested).as_str();
    assert_eq!(reached(&nodes(), &attested(|_| ())), "L0");
    assert_eq!(reached(&nodes(), &quoted(AK, 4)), "L0", "the policy names no TPM");
    let (theirs, own) = (with_tpm(Place::Provider), with_tpm(Place::Own));
    assert_eq!(reached(&theirs, &quoted(AK, 4)), "L1");
    assert_eq!(reached(&own, &quoted(AK, 4)), "L4");
    assert_eq!(reached(&own, &quoted(Hash::new([12; 32]), 4)), "L0", "another TPM");
    assert_eq!(reached(&own, &attested(|_| ())), "L0", "no quote");
    let stranger = Attested { key: AK, ..quoted(AK, 4) };
    assert_eq!(reached(&own, &stranger), "L0", "another node's statement with this node's quote");
}

#[test]
fn a_level_and_a_boot_that_are_demanded_are_held_against_the_quote() {
    let nodes = with_tpm(Place::Provider);
    let level = Demand { assurance: Some(Assurance::L1), ..Demand::default() };
    let words =
        |demand: &Demand, attested: &Attested| demand.unmet(&nodes, Some(attested)).join("; ");
    assert_eq!(words(&level, &quoted(AK, 4)), "");
    assert!(words(&level, &attested(|_| ())).contains("there is no quote"));
    assert!(words(&level, &quoted(KEY, 4)).contains("another TPM has signed"));
    let higher = Demand { assurance: Some(Assurance::L4), ..Demand::default() };
    assert!(words(&higher, &quoted(AK, 4)).contains("L4 is required, L1 is reached"));
    let boots = Demand { boots: vec!["debian".to_owned()], ..Demand::default() };
    assert_eq!(words(&boots, &quoted(AK, 4)), "");
    assert!(words(&boots, &quoted(AK, 5)).contains("a boot of debian"), "another register");
    assert!(words(&boots, &quoted(KEY, 4)).contains("a boot of debian"), "another TPM");
    assert!(words(&boots, &attested(|_| ())).contains("a boot of debian"));
}

#[test]
fn a_machine_that_is_demanded_is_held_against_the_report() {
    let nodes = Nodes { hardware: vec![hardware::tests::entry()], ..nodes() };
    let report = |change: fn(&mut hardware::Snp)| {
        let mut report = hardware::tests::report();
        change(&mut report);
        Attested { hardware: Some(Hardware::Snp(report)), ..attested(|_| ()) }
    };
    let demand = Demand { hardware: vec!["image-7".to_owned()], ..Demand::default() };
    let words =
        |demand: &Demand, attested: &Attested| demand.unmet(&nodes, Some(attested)).join("; ");
    assert_eq!(words(&demand, &report(|_| ())), "");
    assert_eq!(nodes.assurance(&report(|_| ())), Assurance::L2);
    assert!(words(&demand, &attested(|_| ())).contains("no processor has signed"));
    let other = report(|report| report.measurement[0] ^= 1);
    assert!(words(&demand, &other).contains("image-7: its measurement is not allowed"));
    assert_eq!(nodes.assurance(&other), Assurance::L0);
    let stranger = Attested { key: AK, ..report(|_| ()) };
    assert_eq!(nodes.assurance(&stranger), Assurance::L0, "a node that the policy does not name");
    let level = Demand { assurance: Some(Assurance::L2), ..Demand::default() };
    assert_eq!(words(&level, &report(|_| ())), "");
    assert!(words(&level, &other).contains("no [[hardware]] of the policy is this machine"));
    assert!(words(&level, &attested(|_| ())).contains("no report of a confidential machine"));
    let rule = |hardware: &str| {
        let text = format!(
            r#"{{"hardware":[{hardware}],"rule":[{{"name":"a","paths":["a"],"identities":["*:*/*"],
               "node":{{"hardware":["image-7"]}}}}]}}"#
        );
        Policy::compile(serde_json::from_str(&text).unwrap()).map(drop).map_err(|e| e.to_string())
    };
    assert!(rule("").unwrap_err().contains("no [[hardware]] has this name"));
    let one =
        format!(r#"{{"name":"image-7","sev-snp":{{"measurements":["{}"]}}}}"#, "07".repeat(48));
    assert_eq!(rule(&one), Ok(()));
    assert!(rule(&format!("{one},{one}")).unwrap_err().contains("another entry of this name"));
}

#[test]
fn boots_that_cannot_be_meant_are_refused() {
    let boot = |name: &str, number: &str| {
        let registers = [(number.to_owned(), AK)].into();
        BootFile { name: name.to_owned(), registers }
    };
    let why = |boot| {
        let file = PolicyFile { boot, ..PolicyFile::default() };
        Policy::compile(file).unwrap_err().to_string()
    };
    assert!(why(vec![boot("a", "0"), boot("a", "1")]).contains("another boot of this name"));
    assert!(why(vec![boot("a", "four")]).contains("a register is a number"));
    let none = BootFile { registers: BTreeMap::new(), ..boot("a", "0") };
    assert!(why(vec![none]).contains("no register"));
    let rule = RuleFile {
        name: "pay".to_owned(),
        paths: vec!["secret/pay".to_owned()],
        identities: vec!["eu:*/*".to_owned()],
        operations: vec![Action::Read],
        require: Vec::new(),
        limit: None,
        approvals: None,
        node: Some(Demand { boots: vec!["none".to_owned()], ..Demand::default() }),
    };
    let file = PolicyFile { rule: vec![rule], ..PolicyFile::default() };
    assert!(Policy::compile(file).unwrap_err().to_string().contains("no [[boot]] has this name"));
}
