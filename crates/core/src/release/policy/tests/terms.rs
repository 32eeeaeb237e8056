//! Rules with terms: a table, an oracle that is written another way, and what no policy may say.

use proptest::prelude::*;

use super::*;
use crate::release::policy::terms::{Opened, SignerKey};

fn signer(name: &str, byte: u8) -> Signer {
    let key = format!("ed25519:{}", data_encoding::BASE64.encode(&[byte; 32]));
    Signer { name: name.to_owned(), key: SignerKey::try_from(key).unwrap() }
}

fn quorum(needed: u32, by: &[&str]) -> Quorum {
    Quorum { needed, by: by.iter().map(|name| (*name).to_owned()).collect() }
}

/// Everything that a policy can say, once.
fn file() -> PolicyFile {
    let ok = &["eu:shop/web"][..];
    let two = Some(quorum(2, &["anna", "bert", "carl"]));
    let limit = Some(Limit { releases: Some(10), per_hour: Some(3) });
    PolicyFile {
        rule: vec![
            rule("open", &["secret/open"], ok, ""),
            rule("sealed", &["secret/sealed"], ok, "memory=sealed"),
            RuleFile { limit, ..rule("few", &["secret/few"], ok, "") },
            RuleFile { approvals: two.clone(), ..rule("two", &["secret/two"], ok, "") },
            RuleFile {
                approvals: two.clone(),
                limit,
                ..rule("all", &["secret/all"], ok, "memory=sealed")
            },
            RuleFile { approvals: two, ..rule("either-two", &["secret/either"], ok, "") },
            RuleFile { limit, ..rule("either-few", &["secret/either"], ok, "") },
        ],
        signer: vec![
            signer("anna", 1),
            signer("bert", 2),
            signer("carl", 3),
            signer("dora", 4),
            signer("emil", 5),
        ],
        break_glass: Some(quorum(2, &["dora", "emil", "anna"])),
        node: Vec::new(),
        boot: Vec::new(),
        hardware: Vec::new(),
    }
}

/// What came before: names of who approved, releases so far and in an hour, and orders, each as
/// `by:rule:demand+demand`.
fn standing(approved: &str, released: u64, last_hour: u64, orders: &str) -> Standing {
    let relax = |word: &str| match word {
        "approvals" => Relax::Approvals,
        "level" => Relax::Level,
        "limit" => Relax::Limit,
        other => panic!("{other}"),
    };
    let order = |text: &str| {
        let parts = text.split(':').collect::<Vec<_>>();
        let [by, rule, what] = parts[..] else { panic!("{text}") };
        Opened {
            by: by.to_owned(),
            rule: rule.to_owned(),
            relax: what.split('+').map(relax).collect(),
        }
    };
    Standing {
        occasion: Occasion::Release,
        approved_by: approved.split_whitespace().map(str::to_owned).collect(),
        released,
        last_hour,
        opened: orders.split_whitespace().map(order).collect(),
    }
}

/// `r` released, then who approved, what was set aside, whether it counts; `l`, `a`, `n` for want of
/// level, approvals, a free release; `i`, `p` as elsewhere.
fn said_with(policy: &Policy, path: &str, memory: Memory, standing: &Standing) -> String {
    let (identity, level) = (who("eu:shop/web"), level(memory));
    let (identity, level, action) = (&identity, &level, Action::Read);
    match policy.decide(&Asked { identity, action, path, level, standing, node: None }) {
        Decision::Release { rule, grounds } => {
            let relaxed = grounds.relaxed.iter().map(|relax| format!(" -{}", relax.as_str()));
            let approved = grounds.approved_by.iter().map(|by| format!(" +{by}"));
            let counts = if grounds.limited { " #" } else { "" };
            format!(
                "r:{rule}{}{}{counts}",
                approved.collect::<String>(),
                relaxed.collect::<String>()
            )
        }
        Decision::Level { rule, .. } => format!("l:{rule}"),
        Decision::Approvals { rule, .. } => format!("a:{rule}"),
        Decision::Limit { rule, .. } => format!("n:{rule}"),
        Decision::Identity { .. } => "i".to_owned(),
        Decision::Path => "p".to_owned(),
    }
}

#[test]
fn a_table_of_terms() {
    use Memory::{Plain, Sealed};
    let policy = Policy::compile(file()).unwrap();
    let both = "dora:two:approvals emil:two:approvals";
    let all = "dora:all:approvals+level+limit emil:all:approvals+level+limit";
    for (path, memory, approved, released, last_hour, orders, wanted) in [
        // Nothing is demanded, and nothing counts.
        ("open", Plain, "", 999, 999, "", "r:open"),
        ("open", Plain, "anna bert", 0, 0, "", "r:open"),
        ("other", Sealed, "anna bert", 0, 0, "", "p"),
        // A limit: the last one that fits, and the first that does not.
        ("few", Plain, "", 0, 0, "", "r:few #"),
        ("few", Plain, "", 9, 2, "", "r:few #"),
        ("few", Plain, "", 10, 0, "", "n:few"),
        ("few", Plain, "", 11, 0, "", "n:few"),
        ("few", Plain, "", u64::MAX, 0, "", "n:few"),
        ("few", Plain, "", 3, 3, "", "n:few"),
        ("few", Plain, "", 5, 4, "", "n:few"),
        ("few/below", Plain, "", 5, 2, "", "r:few #"),
        // Two of three people.
        ("two", Plain, "", 0, 0, "", "a:two"),
        ("two", Plain, "anna", 0, 0, "", "a:two"),
        ("two", Plain, "anna anna", 0, 0, "", "a:two"),
        ("two", Plain, "anna bert", 0, 0, "", "r:two +anna +bert"),
        ("two", Plain, "bert anna", 0, 0, "", "r:two +anna +bert"),
        ("two", Plain, "carl anna bert", 0, 0, "", "r:two +anna +bert +carl"),
        // Who is a signer, and not of this rule, counts for nothing; nor does a stranger.
        ("two", Plain, "anna dora", 0, 0, "", "a:two"),
        ("two", Plain, "dora emil", 0, 0, "", "a:two"),
        ("two", Plain, "anna zoe", 0, 0, "", "a:two"),
        // Everything at once: each of the three is a reason.
        ("all", Sealed, "anna bert", 0, 0, "", "r:all +anna +bert #"),
        ("all", Plain, "anna bert", 0, 0, "", "l:all"),
        ("all", Sealed, "anna", 0, 0, "", "a:all"),
        ("all", Sealed, "anna bert", 10, 0, "", "n:all"),
        ("all", Plain, "", 10, 3, "", "l:all"),
        // Break-glass: enough people, of this rule, for this demand.
        ("two", Plain, "", 0, 0, both, "r:two -approvals"),
        ("two", Plain, "anna bert", 0, 0, both, "r:two +anna +bert"),
        ("two", Plain, "", 0, 0, "dora:two:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:approvals dora:two:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:approvals anna:two:approvals", "r:two -approvals"),
        // Bert may approve and not break the glass.
        ("two", Plain, "", 0, 0, "dora:two:approvals bert:two:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:approvals zoe:two:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:level emil:two:limit", "a:two"),
        ("two", Plain, "", 0, 0, "dora:few:approvals emil:few:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:approvals emil:all:approvals", "a:two"),
        ("two", Plain, "", 0, 0, "dora:two:approvals+level emil:two:approvals", "r:two -approvals"),
        ("sealed", Plain, "", 0, 0, "dora:sealed:level emil:sealed:level", "r:sealed -level"),
        ("sealed", Sealed, "", 0, 0, "dora:sealed:level emil:sealed:level", "r:sealed"),
        ("sealed", Plain, "", 0, 0, "dora:sealed:limit emil:sealed:level", "l:sealed"),
        ("few", Plain, "", 10, 3, "dora:few:limit emil:few:limit", "r:few -limit #"),
        ("few", Plain, "", 1, 1, "dora:few:limit emil:few:limit", "r:few #"),
        ("all", Plain, "", 10, 3, all, "r:all -level -approvals -limit #"),
        ("all", Plain, "anna carl", 1, 1, all, "r:all +anna +carl -level #"),
        ("all", Plain, "", 10, 3, "dora:all:level+limit emil:all:level+limit", "a:all"),
        // Glass opens no other path and no other workload.
        ("other", Plain, "", 0, 0, "dora:two:approvals emil:two:approvals", "p"),
        // Of two rules for a path the one with fewer terms speaks.
        ("either", Plain, "", 0, 0, "", "r:either-few #"),
        ("either", Plain, "anna bert", 0, 0, "", "r:either-few #"),
        ("either", Plain, "anna bert", 10, 0, "", "r:either-two +anna +bert"),
        ("either", Plain, "anna", 10, 0, "", "a:either-two"),
    ] {
        let standing = standing(approved, released, last_hour, orders);
        let said = said_with(&policy, &format!("secret/{path}"), memory, &standing);
        assert_eq!(
            said, wanted,
            "{path} {memory:?} {approved:?} {released}/{last_hour} {orders:?}"
        );
    }
}

#[test]
fn without_a_section_nobody_breaks_the_glass() {
    let policy = Policy::compile(PolicyFile { break_glass: None, ..file() }).unwrap();
    let standing = standing("", 0, 0, "dora:two:approvals emil:two:approvals");
    assert_eq!(said_with(&policy, "secret/two", Memory::Sealed, &standing), "a:two");
    assert!(!policy.may_break("dora"));
}

#[test]
fn what_was_released_lives_on_without_being_counted_or_approved_anew() {
    let policy = Policy::compile(file()).unwrap();
    let renewal = |memory, path| {
        let standing = Standing { occasion: Occasion::Renewal, ..standing("", 99, 99, "") };
        said_with(&policy, path, memory, &standing)
    };
    assert_eq!(renewal(Memory::Sealed, "secret/all"), "r:all");
    assert_eq!(renewal(Memory::Plain, "secret/all"), "l:all");
    assert_eq!(renewal(Memory::Plain, "secret/two"), "r:two");
    assert_eq!(renewal(Memory::Plain, "secret/other"), "p");
}

#[test]
fn terms_that_cannot_be_meant_are_refused_with_their_place() {
    let bad = |change: &dyn Fn(&mut PolicyFile)| {
        let mut file = file();
        change(&mut file);
        Policy::compile(file).unwrap_err().to_string()
    };
    let limit = |releases, per_hour| Some(Limit { releases, per_hour });
    let of_rule = |file: &mut PolicyFile, limit| file.rule[0].limit = limit;
    assert!(bad(&|file| of_rule(file, limit(None, None))).contains("rule \"open\": its limit"));
    assert!(bad(&|file| of_rule(file, limit(Some(0), None))).contains("limit of 0"));
    assert!(bad(&|file| of_rule(file, limit(None, Some(0)))).contains("limit of 0"));
    assert!(bad(&|file| of_rule(file, limit(None, Some(3601)))).contains("3600"));
    let ask = |file: &mut PolicyFile, quorum| file.rule[0].approvals = Some(quorum);
    assert!(bad(&|file| ask(file, quorum(3, &["anna", "bert"]))).contains("3 signatures of 2"));
    assert!(bad(&|file| ask(file, quorum(0, &["anna"]))).contains("0 signatures"));
    assert!(bad(&|file| ask(file, quorum(1, &["zoe"]))).contains("\"zoe\""));
    assert!(bad(&|file| ask(file, quorum(2, &["anna", "anna"]))).contains("twice"));
    assert!(bad(&|file| file.break_glass = Some(quorum(1, &["zoe"]))).contains("[break-glass]"));
    assert!(bad(&|file| file.signer.push(signer("anna", 9))).contains("are called"));
    // One person with two names is one person.
    assert!(bad(&|file| file.signer.push(signer("anna2", 1))).contains("another"));
    assert!(bad(&|file| file.signer.push(signer(" ", 9))).contains("1 to 64"));
}

/// The same said another way: of all rules, which could release, and why not the others.
fn oracle(file: &PolicyFile, path: &str, sealed: bool, standing: &Standing) -> bool {
    let about = |rule: &&RuleFile| rule.paths.iter().any(|prefix| path == prefix);
    file.rule.iter().filter(about).any(|rule| {
        let aside = |what: Relax| {
            let Some(quorum) = &file.break_glass else { return false };
            let said = |by: &&String| {
                let is = |order: &&Opened| order.by == **by && order.rule == rule.name;
                standing.opened.iter().filter(is).any(|order| order.relax.contains(&what))
            };
            quorum.by.iter().filter(said).count() >= quorum.needed as usize
        };
        let level = sealed || rule.require.is_empty() || aside(Relax::Level);
        let approved = rule.approvals.as_ref().is_none_or(|quorum| {
            let yes = quorum.by.iter().filter(|by| standing.approved_by.contains(by)).count();
            yes >= quorum.needed as usize || aside(Relax::Approvals)
        });
        let few = rule.limit.is_none_or(|limit| {
            let below = |limit: Option<u32>, had| limit.is_none_or(|limit| had < u64::from(limit));
            below(limit.releases, standing.released) && below(limit.per_hour, standing.last_hour)
                || aside(Relax::Limit)
        });
        level && approved && few
    })
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let people = || prop::sample::select(vec!["anna", "bert", "carl", "dora", "emil", "zoe"]);
    let rules = prop::sample::select(vec!["sealed", "few", "two", "all", "either-two", "x"]);
    let relax =
        prop::sample::subsequence(vec![Relax::Approvals, Relax::Level, Relax::Limit], 1..=3);
    let order = (people(), rules, relax).prop_map(|(by, rule, relax)| Opened {
        by: by.to_owned(),
        rule: rule.to_owned(),
        relax,
    });
    let approved = prop::collection::vec(people().prop_map(str::to_owned), 0..4);
    let counts = (0_u64..13, 0_u64..5);
    (approved, counts, prop::collection::vec(order, 0..6)).prop_map(
        |(approved_by, (released, last_hour), opened)| Standing {
            occasion: Occasion::Release,
            approved_by,
            released,
            last_hour,
            opened,
        },
    )
}

proptest! {
    #[test]
    fn the_engine_and_an_oracle_agree(
        standing in any_standing(),
        path in prop::sample::select(vec!["open", "sealed", "few", "two", "all", "either", "none"]),
        sealed: bool,
    ) {
        let (file, path) = (file(), format!("secret/{path}"));
        let policy = Policy::compile(file.clone()).unwrap();
        let memory = if sealed { Memory::Sealed } else { Memory::Plain };
        let said = said_with(&policy, &path, memory, &standing);
        prop_assert_eq!(said.starts_with("r:"), oracle(&file, &path, sealed, &standing), "{}", said);
    }

    #[test]
    fn more_releases_before_never_open_what_was_closed(standing in any_standing(), more in 1_u64..20) {
        let policy = Policy::compile(file()).unwrap();
        for path in ["few", "two", "all", "either"] {
            let path = format!("secret/{path}");
            let later = Standing {
                released: standing.released + more,
                last_hour: standing.last_hour + more,
                ..standing.clone()
            };
            let now = said_with(&policy, &path, Memory::Sealed, &standing);
            let then = said_with(&policy, &path, Memory::Sealed, &later);
            prop_assert!(now.starts_with("r:") || !then.starts_with("r:"), "{} {}", now, then);
        }
    }
}
