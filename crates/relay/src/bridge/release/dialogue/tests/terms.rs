//! Limits, approvals and break-glass, as a session meets them.

use cloudtaser_core::{
    node::NodeEvidence,
    release::{
        order::{Act, Order, SignedOrder, signed_bytes},
        policy::terms::{Relax, SignerKey},
    },
};
use cloudtaser_evidence::verify;

use super::{
    nodes::{public, signed_by, statement, with},
    *,
};
use crate::bridge::release::{
    ORDERS,
    orders::{committed, put},
};

/// Two who approve, two who break the glass together.
struct People {
    anna: KeyPair,
    bert: KeyPair,
}

impl People {
    fn new() -> Self {
        Self { anna: key(), bert: key() }
    }

    fn policy(&self, place: &Place, terms: &str) {
        let text = format!(
            r#"
            [[signer]]
            name = "anna"
            key = "{}"
            [[signer]]
            name = "bert"
            key = "{}"
            [break-glass]
            needed = 2
            by = ["anna", "bert"]
            [[rule]]
            name = "all"
            paths = ["secret/app", "database/creds/app"]
            identities = ["eu:shop/web"]
            {terms}
            "#,
            self.anna.public(),
            self.bert.public()
        );
        std::fs::write(place.folder.path().join("policy.toml"), text).unwrap();
        place.releaser.reload().unwrap();
    }

    fn sign(&self, place: &Place, by: &str, act: Act, path: Option<(&str, LogDigest)>) {
        let now = unix_seconds();
        let mut id = [0; 16];
        cloudtaser_tls::random(&mut id).unwrap();
        let order = Order {
            bridge: SignerKey::try_from(bridge().public().to_string()).unwrap(),
            by: by.to_owned(),
            id: HEXLOWER.encode(&id),
            from: now,
            until: now + 3600,
            reason: "a reason".to_owned(),
            act,
        };
        let text = order.to_text().unwrap();
        let key = if by == "anna" { &self.anna } else { &self.bert };
        let signature = HEXLOWER.encode(&key.sign(&signed_bytes(&text)).unwrap());
        let blinding = path.map(|(_, blinding)| blinding.to_string());
        let path = path.map(|(path, _)| path.to_owned());
        let file = SignedOrder { order: text, signature, path, blinding };
        let folder = place.folder.path().join("state").join(ORDERS);
        put(&folder, &order.id, &serde_json::to_string(&file).unwrap()).unwrap();
    }

    fn approve(&self, place: &Place, by: &str, path: &str) {
        let blinding = LogDigest::of(by.as_bytes());
        let name = committed(path, blinding).unwrap().to_string();
        let act = Act::Approve { name, workload: "eu:shop/web".to_owned() };
        self.sign(place, by, act, Some((path, blinding)));
    }

    fn glass(&self, place: &Place, by: &str, relax: Relax) {
        let act = Act::BreakGlass { rule: "all".to_owned(), relax: vec![relax] };
        self.sign(place, by, act, None);
    }
}

/// `released`, or the word of the refusal, for one read in a session.
#[track_caller]
fn came_to(session: &mut Dialogue, number: u8, path: &str) -> String {
    let given = answers(session.next(read(&[path])), number);
    match &given[..] {
        [Answer::Refused(refused)] => word(refused),
        [_] => RELEASED.to_owned(),
        other => panic!("{other:?}"),
    }
}

/// What the log says once the bridge is gone.
fn verified(place: Place) -> verify::Report {
    let Place { folder, releaser, .. } = place;
    drop(releaser);
    let state = folder.path().join("state");
    let policy = std::fs::read_to_string(state.join("log.policy")).unwrap();
    let given = verify::Given::default();
    verify::folder(&state.join("log"), &policy.parse().unwrap(), &given).unwrap()
}

#[test]
fn a_path_is_released_to_a_pod_so_often_and_that_outlives_the_bridge() {
    let (mut place, people) = (Place::new(), People::new());
    people.policy(&place, "limit = { releases = 2 }");
    let key = key();
    let mut session = place.session(1);
    entered(session.next(hello(&key, 1)));
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    // One that comes to nothing is given back.
    assert_eq!(came_to(&mut session, 1, "secret/app/none"), "status-403");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "limit");
    assert_eq!(came_to(&mut session, 1, "secret/data/app"), "limit", "spelt otherwise");
    assert_eq!(came_to(&mut session, 1, "database/creds/app"), "released", "another path");
    drop(session);
    place.again();
    let mut session = place.session(2);
    entered(session.next(hello(&key, 2)));
    assert_eq!(came_to(&mut session, 2, "secret/app"), "limit");
    assert_eq!(place.asked("GET /v1/secret/app"), 2, "OpenBao was asked for what was refused");
}

#[test]
fn a_lease_is_renewed_beyond_the_limit_of_releases() {
    let (place, people) = (Place::new(), People::new());
    people.policy(&place, "limit = { per_hour = 1 }");
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    let given = answers(session.next(read(&["database/creds/app"])), 1);
    let [Answer::Fields { lease: Some(lease), .. }] = &given[..] else { panic!("{given:?}") };
    for id in 2..5 {
        let what = Renewing::Lease(lease.id.clone());
        let renew = WrapperToBridge::Renew(Renew { id, within_ms: 5000, what });
        let next = session.next(renew);
        assert!(matches!(next, Next::Answer(BridgeToWrapper::Renewed(_))), "{next:?}");
    }
    assert_eq!(came_to(&mut session, 1, "database/creds/app"), "limit");
}

#[test]
fn a_marked_path_needs_two_people_and_the_log_shows_who() {
    let (place, people) = (Place::new(), People::new());
    people.policy(&place, r#"approvals = { needed = 2, by = ["anna", "bert"] }"#);
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval");
    people.approve(&place, "anna", "secret/app");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval", "one is not two");
    people.approve(&place, "anna", "secret/app");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval", "one person twice is not two");
    people.approve(&place, "bert", "database/creds/app");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval", "of another path");
    people.approve(&place, "bert", "secret/data/app");
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    assert_eq!(came_to(&mut session, 1, "database/creds/app"), "approval");
    assert_eq!(place.asked("GET /v1/secret/app"), 1);
    let audit = place.audit();
    assert!(audit.contains("\"orders\":[{\"act\":\"approval\"") && !audit.contains("secret/app"));
    drop(session);
    let report = verified(place);
    assert_eq!(
        (report.tally.approved, report.tally.break_glass, report.tally.loud_total),
        (1, 0, 0)
    );
    let signers = report.tally.orders.values().map(|order| order.said.as_ref().unwrap());
    let mut signers = signers.map(|said| said.by.as_str()).collect::<Vec<_>>();
    signers.sort_unstable();
    signers.dedup();
    assert_eq!(signers, ["anna", "bert"]);
    assert_eq!(report.tally.refused["approval"], 5);
}

#[test]
fn break_glass_opens_what_it_names_and_is_loud() {
    let (place, people) = (Place::new(), People::new());
    people.policy(&place, r#"approvals = { needed = 1, by = ["anna"] }"#);
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    people.glass(&place, "anna", Relax::Approvals);
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval", "it takes two");
    people.glass(&place, "bert", Relax::Level);
    assert_eq!(came_to(&mut session, 1, "secret/app"), "approval", "for another demand");
    people.glass(&place, "bert", Relax::Approvals);
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    place.releaser.look_at_orders();
    let metrics = place.releaser.metrics.text(None);
    assert!(metrics.contains("cloudtaser_bridge_break_glass_releases_total 1"), "{metrics}");
    assert!(metrics.contains("cloudtaser_bridge_break_glass_in_force 3"), "{metrics}");
    assert_eq!(place.audit().matches("\"event\":\"break-glass\"").count(), 3);
    drop(session);
    let report = verified(place);
    assert_eq!((report.tally.break_glass, report.tally.notices["break-glass"]), (1, 3));
    assert_eq!(report.tally.loud_total, 4);
    assert!(report.tally.orders.values().all(|order| order.said.is_some()));
}

/// Two of them, for what they name and for nothing else; and a lie about the node is no lesser level.
#[test]
fn break_glass_for_the_level_sets_aside_what_a_node_must_sign_and_no_lie_about_it() {
    let (place, people) = (Place::new(), People::new());
    let demands = "[rule.node]\nagent = \"enforcing\"\nassurance = \"L4\"";
    people.policy(&place, demands);
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    assert_eq!(came_to(&mut session, 1, "secret/app"), "level");
    for by in ["anna", "bert"] {
        people.glass(&place, by, Relax::Approvals);
        people.glass(&place, by, Relax::Limit);
    }
    assert_eq!(came_to(&mut session, 1, "secret/app"), "level", "for other demands");
    people.glass(&place, "anna", Relax::Level);
    assert_eq!(came_to(&mut session, 1, "secret/app"), "level", "it takes two");
    people.glass(&place, "bert", Relax::Level);
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    let forged = signed_by(&key(), statement(2).to_text());
    let forged = NodeEvidence { key: public(&key()), ..forged };
    assert_eq!(denied(place.session(2).next(with(2, forged))), Denial::Evidence);
    std::fs::remove_dir_all(place.folder.path().join("state").join(ORDERS)).unwrap();
    assert_eq!(came_to(&mut session, 1, "secret/app"), "level", "the orders are gone");
    drop(session);
    let report = verified(place);
    assert_eq!((report.tally.break_glass, report.tally.released), (1, 1));
    assert_eq!(report.tally.weakest().map(|level| level.as_str()), Some("L0"));
    let hardware = report.claims.iter().find(|claim| claim.id == "C4").unwrap();
    assert_eq!(hardware.standing, verify::claims::Standing::NotProvable, "{hardware:?}");
    assert!(report.tally.loud.iter().any(|loud| loud.words.contains("the policy set aside")));
}

/// A release that met what the node must sign does not stand on an order that would have opened it.
#[test]
fn an_order_that_was_not_needed_is_not_what_a_release_stood_on() {
    let (place, people) = (Place::new(), People::new());
    let node = key();
    let known = format!("[[node]]\nname = \"worker-1\"\nkey = \"{}\"", public(&node));
    people.policy(&place, &format!("[rule.node]\nagent = \"enforcing\"\n{known}"));
    for by in ["anna", "bert"] {
        people.glass(&place, by, Relax::Level);
    }
    let mut session = place.session(1);
    entered(session.next(with(1, signed_by(&node, statement(1).to_text()))));
    assert_eq!(came_to(&mut session, 1, "secret/app"), "released");
    drop(session);
    let report = verified(place);
    assert_eq!((report.tally.break_glass, report.tally.released), (0, 1));
    assert_eq!((report.tally.attested, report.tally.notices["break-glass"]), (1, 2));
}

#[test]
fn without_its_notice_in_the_log_break_glass_opens_nothing() {
    let receipts = Box::new(Full { logins: true });
    let place = Place::with(Unsealed::Allow, |releaser| Releaser { receipts, ..releaser });
    let people = People::new();
    people.policy(&place, r#"approvals = { needed = 1, by = ["anna"] }"#);
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    people.glass(&place, "anna", Relax::Approvals);
    people.glass(&place, "bert", Relax::Approvals);
    assert_eq!(denied(session.next(read(&["secret/app"]))), Denial::Record);
    assert_eq!(place.asked("GET /v1/secret/app"), 0, "OpenBao was asked");
}
