use cloudtaser_core::release::{
    order::Act,
    policy::{
        PolicyFile,
        terms::{Relax, SignerKey},
    },
};
use cloudtaser_tls::raw::KeyPair;

use super::*;

fn key() -> KeyPair {
    KeyPair::generate().unwrap().0
}

/// Keys of the bridge, of anna and of dora, who alone may break the glass.
struct People {
    bridge: KeyPair,
    anna: KeyPair,
    dora: KeyPair,
}

impl People {
    fn new() -> Self {
        Self { bridge: key(), anna: key(), dora: key() }
    }

    fn policy(&self) -> Policy {
        let text = format!(
            r#"
            [[signer]]
            name = "anna"
            key = "{}"
            [[signer]]
            name = "dora"
            key = "{}"
            [break-glass]
            needed = 1
            by = ["dora"]
            [[rule]]
            name = "pay"
            paths = ["secret/pay"]
            identities = ["eu:shop/web"]
            approvals = {{ needed = 1, by = ["anna"] }}
            "#,
            self.anna.public(),
            self.dora.public()
        );
        Policy::compile(toml::from_str::<PolicyFile>(&text).unwrap()).unwrap()
    }

    fn order(&self, by: &str, act: Act, until: u64) -> Order {
        let bridge = SignerKey::try_from(self.bridge.public().to_string()).unwrap();
        let (by, reason) = (by.to_owned(), "a reason".to_owned());
        Order { bridge, by, id: "ab".repeat(16), from: until - 100, until, reason, act }
    }

    fn approval(&self, path: &str) -> (Order, Option<String>, Option<String>) {
        let blinding = Digest::of(b"blinding");
        let name = committed(path, blinding).unwrap().to_string();
        let order =
            self.order("anna", Act::Approve { name, workload: "eu:shop/web".to_owned() }, 1100);
        (order, Some(path.to_owned()), Some(blinding.to_string()))
    }

    fn glass(&self, by: &str, rule: &str) -> Order {
        let rule = rule.to_owned();
        self.order(by, Act::BreakGlass { rule, relax: vec![Relax::Approvals] }, 1100)
    }
}

fn file(key: &KeyPair, order: &Order, path: Option<String>, blinding: Option<String>) -> String {
    let order = order.to_text().unwrap();
    let signature = HEXLOWER.encode(&key.sign(&signed_bytes(&order)).unwrap());
    serde_json::to_string(&SignedOrder { order, signature, path, blinding }).unwrap()
}

#[test]
fn an_order_is_believed_by_its_bridge_for_its_path_from_its_signer() {
    let people = People::new();
    let (policy, bridge) = (people.policy(), people.bridge.public());
    let (order, path, blinding) = people.approval("secret/pay/db");
    let whole = file(&people.anna, &order, path.clone(), blinding.clone());
    let believed = believe(&whole, &policy, &bridge, 1050).unwrap();
    assert_eq!(believed.path.as_deref(), Some("secret/pay/db"));
    let kept = String::from_utf8(believed.document).unwrap();
    assert!(!kept.contains("secret/pay"), "the path is in what the log keeps: {kept}");
    let refused = |text: &str, now| believe(text, &policy, &bridge, now).unwrap_err();
    assert!(matches!(refused(&whole, 1100), OrderFileError::Ended));
    let by_dora = file(&people.dora, &order, path.clone(), blinding.clone());
    assert!(matches!(refused(&by_dora, 1050), OrderFileError::Signature(_)));
    let elsewhere = believe(&whole, &policy, &people.anna.public(), 1050);
    assert!(matches!(elsewhere, Err(OrderFileError::Bridge(_))));
    let other_path = file(&people.anna, &order, Some("secret/root".to_owned()), blinding);
    assert!(matches!(refused(&other_path, 1050), OrderFileError::Path));
    let other_blinding = file(&people.anna, &order, path, Some("cd".repeat(32)));
    assert!(matches!(refused(&other_blinding, 1050), OrderFileError::Path));
    let longer = whole.replace("1100", "1101");
    assert!(matches!(refused(&longer, 1050), OrderFileError::Signature(_)));
    let stranger = Order { by: "zoe".to_owned(), ..order };
    let stranger = file(&people.anna, &stranger, Some("secret/pay/db".to_owned()), None);
    assert!(believe(&stranger, &policy, &bridge, 1050).is_err());
}

#[test]
fn the_glass_is_broken_by_whom_the_policy_names_and_for_a_rule_that_is_there() {
    let people = People::new();
    let (policy, bridge) = (people.policy(), people.bridge.public());
    let believed = |key, order| believe(&file(key, &order, None, None), &policy, &bridge, 1050);
    assert!(believed(&people.dora, people.glass("dora", "pay")).is_ok());
    let anna = believed(&people.anna, people.glass("anna", "pay"));
    assert!(matches!(anna, Err(OrderFileError::MayNot(_))));
    let rule = believed(&people.dora, people.glass("dora", "all"));
    assert!(matches!(rule, Err(OrderFileError::Rule(_))));
}

#[test]
fn break_glass_is_of_no_use_before_it_was_written_down() {
    let people = People::new();
    let policy = people.policy();
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::new(folder.path().join("orders"), people.bridge.public());
    let said = std::cell::RefCell::new(Vec::new());
    let can = std::cell::Cell::new(false);
    let now = |at| {
        orders.now(&policy, "hash", at, |order| {
            if !can.get() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            said.borrow_mut().push(order.in_words());
            Ok(())
        })
    };
    assert!(now(1050).is_empty(), "there is no folder yet");
    let text = file(&people.dora, &people.glass("dora", "pay"), None, None);
    put(&folder.path().join("orders"), &"ab".repeat(16), &text).unwrap();
    assert!(now(1050).is_empty(), "it cannot be written down");
    can.set(true);
    for _ in 0..3 {
        let in_force = now(1050);
        let standing = standing(&in_force, "secret/pay/db", "eu:shop/web");
        assert_eq!((standing.opened.len(), standing.approved_by.len()), (1, 0));
    }
    assert_eq!(said.borrow().len(), 1, "it is said once: {:?}", said.borrow());
    assert!(now(1100).is_empty(), "it has ended");
    fs::remove_file(folder.path().join("orders").join("ab".repeat(16)).with_extension("order"))
        .unwrap();
    assert!(now(1050).is_empty(), "it was taken away");
}

#[test]
fn an_approval_is_for_one_path_and_one_workload() {
    let people = People::new();
    let (order, path, blinding) = people.approval("secret/pay/db");
    let text = file(&people.anna, &order, path, blinding);
    let believed = believe(&text, &people.policy(), &people.bridge.public(), 1050).unwrap();
    let approved = |path, workload| {
        !standing(std::slice::from_ref(&believed), path, workload).approved_by.is_empty()
    };
    assert!(approved("secret/pay/db", "eu:shop/web"));
    assert!(approved("secret/data/pay/db", "eu:shop/web"), "the same secret, spelt otherwise");
    assert!(!approved("secret/pay", "eu:shop/web") && !approved("secret/pay/db2", "eu:shop/web"));
    assert!(!approved("secret/pay/db", "eu:shop/api") && !approved("../x", "eu:shop/web"));
}
