use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_795_500_000;

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn id(number: u8) -> InvitationId {
    InvitationId([number; 16])
}

fn invite(state: &mut State, number: u8) -> Result<Act, Impossible> {
    let invited = NewInvitation {
        id: id(number),
        secret_hash: [number; 32],
        name: format!("cluster-{number}"),
        not_after: NOW + 100,
        max_tunnels: 8,
        approved: false,
    };
    state.invite(invited, NOW)
}

#[test]
fn an_invitation_is_good_once_and_for_whoever_used_it() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    let (joined, act) = state.join(key(1), id(1), &[1; 32], NOW);
    assert_eq!((joined, act), (Ok(Standing::Pending), Some(Act::Joined(key(1), id(1)))));
    let again = state.join(key(1), id(1), &[1; 32], NOW + 1000);
    assert_eq!(again, (Ok(Standing::Pending), None), "its answer may have got lost");
    let replayed = state.join(key(2), id(1), &[1; 32], NOW);
    assert_eq!(replayed, (Err(Refusal::Used), Some(Act::Replayed(key(2), id(1)))));
    assert!(state.cluster(&key(2)).is_none());
}

#[test]
fn a_false_secret_and_an_id_that_was_never_made_look_the_same() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    for (id, hash) in [(id(1), [2; 32]), (id(2), [1; 32])] {
        assert_eq!(state.join(key(1), id, &hash, NOW), (Err(Refusal::Unknown), None));
    }
    let late = state.join(key(1), id(1), &[1; 32], NOW + 100);
    assert_eq!(late, (Err(Refusal::Expired), None));
}

#[test]
fn an_invitation_that_was_approved_beforehand_lets_in_whoever_uses_it_first_and_nobody_else() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    state.invitations[0].approved = true;
    let (joined, act) = state.join(key(1), id(1), &[1; 32], NOW);
    assert_eq!((joined, act), (Ok(Standing::Approved), Some(Act::Joined(key(1), id(1)))));
    assert!(matches!(state.grant(&key(1), [0; 16], NOW + 9, NOW), Ok((Some(8), Some(_)))));
    assert_eq!(state.join(key(2), id(1), &[1; 32], NOW).0, Err(Refusal::Used));
    state.revoke(&key(1)).unwrap();
    assert_eq!(state.grant(&key(1), [0; 16], NOW + 9, NOW), Err(Refusal::Revoked));
}

#[test]
fn nothing_is_given_before_a_person_said_yes_nor_after_one_said_no() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    state.join(key(1), id(1), &[1; 32], NOW).0.unwrap();
    assert_eq!(state.grant(&key(1), [0; 16], NOW + 9, NOW), Ok((None, None)));
    state.approve(&key(1), NOW).unwrap();
    assert!(matches!(state.grant(&key(1), [0; 16], NOW + 9, NOW), Ok((Some(8), Some(_)))));
    state.revoke(&key(1)).unwrap();
    assert_eq!(state.grant(&key(1), [0; 16], NOW + 9, NOW), Err(Refusal::Revoked));
    assert!(state.approved(&key(1)).is_none());
    assert!(state.approve(&key(1), NOW).is_err(), "what was revoked stays so");
    assert_eq!(state.grant(&key(9), [0; 16], NOW + 9, NOW), Err(Refusal::NotEnrolled));
    // Not by another invitation either.
    invite(&mut state, 2).unwrap();
    assert_eq!(state.join(key(1), id(2), &[2; 32], NOW).0, Err(Refusal::Revoked));
}

fn shown(kid: &str) -> KeySet {
    let key = format!(
        "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"{kid}\",\
         \"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
         \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}}]}}"
    );
    KeySet::read(br#"{"issuer":"https://a"}"#, key.as_bytes()).unwrap()
}

#[test]
fn keys_that_are_shown_are_kept_for_a_person_who_says_which_he_compared() {
    let digest = Digest::new().unwrap();
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    let (one, two) = (shown("one"), shown("two"));
    let [first, second] = [&one, &two].map(|shown| shown.fingerprint(digest));
    assert_eq!(state.show(&key(1), one.clone(), digest), Err(Refusal::NotEnrolled));
    state.join(key(1), id(1), &[1; 32], NOW).0.unwrap();
    let name = "cluster-1".to_owned();
    let none = state.compared(&key(1), first, digest).map(drop);
    assert_eq!(none, Err(Impossible::NoKeys(name.clone())));
    let act = Some(Act::Shown(key(1), first));
    assert_eq!(state.show(&key(1), one.clone(), digest), Ok((name.clone(), act)));
    let again = state.show(&key(1), one.clone(), digest);
    assert_eq!(again, Ok((name.clone(), None)), "the same is no news");
    assert_eq!(state.compared(&key(1), first, digest).unwrap().1, &one);
    assert_eq!(state.cluster(&key(1)).unwrap().standing, Standing::Pending, "that lets nobody in");
    // What was shown after the person had looked is not what he compared.
    state.show(&key(1), two, digest).unwrap();
    let other = state.compared(&key(1), first, digest).map(drop);
    assert_eq!(other, Err(Impossible::OtherKeys { name, shown: second }));
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    state.revoke(&key(1)).unwrap();
    assert_eq!(state.show(&key(1), one, digest), Err(Refusal::Revoked));
    assert!(state.compared(&key(1), second, digest).is_err(), "what was revoked stays so");
}

#[test]
fn who_has_not_asked_for_two_weeks_has_to_be_invited_again() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    state.join(key(1), id(1), &[1; 32], NOW).0.unwrap();
    state.approve(&key(1), NOW).unwrap();
    state.grant(&key(1), [0; 16], NOW + 86_400, NOW).unwrap();
    let late = NOW + 86_400 + DORMANT_AFTER_SECONDS;
    let mut copy = state.clone();
    assert!(copy.grant(&key(1), [0; 16], late + 1, late).is_ok());
    assert_eq!(state.grant(&key(1), [0; 16], late + 2, late + 1), Err(Refusal::Dormant));
}

#[test]
fn a_name_is_one_clusters_and_fits_into_a_log() {
    let mut state = State::default();
    invite(&mut state, 1).unwrap();
    assert!(matches!(invite(&mut state, 1), Err(Impossible::NameTaken(_))));
    for name in ["", "a b", "a\nb", "ä", &"a".repeat(65)] {
        let invited = NewInvitation {
            id: id(9),
            secret_hash: [0; 32],
            name: name.to_owned(),
            not_after: NOW,
            max_tunnels: 1,
            approved: false,
        };
        assert_eq!(state.invite(invited, NOW), Err(Impossible::Name), "{name:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Approve(u8),
    Grant(u8),
    Invite(u8),
    Join(u8, u8, u8),
    Revoke(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let small = || 0..4_u8;
    prop_oneof![
        small().prop_map(Step::Approve),
        small().prop_map(Step::Grant),
        small().prop_map(Step::Invite),
        (small(), small(), small()).prop_map(|(key, id, hash)| Step::Join(key, id, hash)),
        small().prop_map(Step::Revoke),
    ]
}

proptest! {
    /// Whatever happens in whatever order: only who was invited, joined and was approved after that
    /// gets a certificate; one invitation makes one cluster; what is revoked stays so.
    #[test]
    fn only_the_invited_and_approved_are_let_in(steps in proptest::collection::vec(step(), 0..60)) {
        let mut state = State::default();
        let (mut approved, mut revoked) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Invite(number) => drop(invite(&mut state, number)),
                Step::Join(number, of, hash) => {
                    let before = state.clusters.len();
                    let (joined, _) = state.join(key(number), id(of), &[hash; 32], NOW);
                    prop_assert!(joined.is_err() || of == hash);
                    prop_assert!(state.clusters.len() == before || joined == Ok(Standing::Pending));
                }
                Step::Approve(number) => {
                    if state.approve(&key(number), NOW).is_ok() {
                        prop_assert!(!revoked.contains(&number));
                        approved.push(number);
                    }
                }
                Step::Revoke(number) => {
                    if state.revoke(&key(number)).is_ok() {
                        revoked.push(number);
                    }
                }
                Step::Grant(number) => {
                    if let Ok((Some(_), _)) = state.grant(&key(number), [0; 16], NOW + 1, NOW) {
                        prop_assert!(approved.contains(&number) && !revoked.contains(&number));
                    }
                }
            }
            let mut keys: Vec<_> = state.clusters.iter().map(|cluster| cluster.key).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), state.clusters.len());
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &state);
        }
    }
}
