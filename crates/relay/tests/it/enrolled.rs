//! Clusters that are invited, join, are approved, renewed, revoked; and those that are not.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_relay::{
    beacon::config::Limits,
    bridge::config::Enrolment,
    broker::keeper::{self, NotEnrolled, Standing},
    client::{Client, ClientError},
    cluster::Home,
    enrol::{
        Store,
        state::{NewInvitation, hash_of},
    },
    proto::{
        credential::{Certificate, Reception},
        enrol::{Belief, DayBytes, Grant, InvitationId, InvitationSecret, KeySet, Refusal},
        invitation::Invitation,
        rendezvous::Epoch,
        ticket::{ClientTag, TicketSecret},
    },
};
use cloudtaser_tls::{
    Digest,
    raw::{KeyPair, PublicKey},
};
use tokio::{
    io::AsyncReadExt as _,
    time::{sleep, timeout},
};

use super::support::{DOMAIN, Keys, PATIENCE, Place, Served, any, beacon, echo, echoes, serve};

pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A bridge at which clusters enrol.
pub(crate) struct Realm {
    pub(crate) keys: Keys,
    pub(crate) place: Place,
    store: Store,
    folder: tempfile::TempDir,
    pub(crate) beacon: Served,
    _bridge: Served,
}

impl Realm {
    pub(crate) async fn new() -> Self {
        let keys = Keys::new();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("enrolment")).unwrap();
        let (place, beacon) = beacon(Limits::default(), any(), None);
        let mut config = keys.config(&[&place], echo().await);
        config.clients.clear();
        config.enrolment =
            Some(Enrolment { folder: folder.path().join("enrolment"), certificate_hours: 24 });
        let _bridge = serve(config);
        Self { keys, place, store, folder, beacon, _bridge }
    }

    fn tickets(&self, tag: ClientTag, max_tunnels: u16) -> Vec<(u32, DayBytes)> {
        let digest = Digest::new().unwrap();
        let today = Epoch::of(now()).0;
        let day = |day| {
            let key = TicketSecret::new(&self.keys.tickets).day(digest, day);
            (day, DayBytes::new(key.client(digest, tag, max_tunnels).expose()))
        };
        (today..=today + 1).map(day).collect()
    }

    pub(crate) fn invite(&self, name: &str, not_after: u64) -> Invitation {
        let mut random = [0; 48];
        cloudtaser_tls::random(&mut random).unwrap();
        let id = InvitationId(random[..16].try_into().unwrap());
        let secret = InvitationSecret::new(random[16..].try_into().unwrap());
        let digest = Digest::new().unwrap();
        let invited = NewInvitation {
            id,
            secret_hash: hash_of(digest, &secret),
            name: name.to_owned(),
            not_after,
            max_tunnels: 32,
            approved: false,
        };
        let act = |state: &mut cloudtaser_relay::enrol::State| {
            ((), Some(state.invite(invited, now()).unwrap()))
        };
        self.store.act("a test", now(), act).unwrap();
        let tag = ClientTag(random[..8].try_into().unwrap());
        Invitation {
            bridge: self.keys.bridge.public(),
            id,
            secret,
            not_after,
            tag,
            max_tunnels: 8,
            beacons: vec![(self.place.address.to_string(), DOMAIN.to_owned())],
            days: self.tickets(tag, 8),
        }
    }

    pub(crate) fn decide(&self, key: PublicKey, yes: bool) {
        let act = move |state: &mut cloudtaser_relay::enrol::State| {
            let act = if yes { state.approve(&key, now()) } else { state.revoke(&key) };
            ((), Some(act.unwrap()))
        };
        self.store.act("a test", now(), act).unwrap();
    }

    fn audit(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("enrolment/audit.jsonl")).unwrap();
        let act = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.pointer("/act").unwrap().as_str().unwrap().to_owned()
        };
        text.lines().map(act).collect()
    }

    /// A certificate that the bridge could have written.
    fn grant(&self, cluster: PublicKey, times: (u64, u64)) -> Grant {
        let certificate = Certificate::issue(&self.keys.bridge, cluster, [1; 16], times).unwrap();
        let tag = ClientTag([0x66; 8]);
        Grant { certificate, tag, max_tunnels: 32, days: self.tickets(tag, 32) }
    }

    /// A cluster that was let in.
    pub(crate) async fn enrolled(&self, name: &str) -> Enrolled {
        let cluster = Enrolled::invited(&self.invite(name, now() + 600));
        let joined = cluster.join_until_it_answers().await;
        assert_eq!(joined, Standing::Pending);
        self.decide(cluster.key(), true);
        let granted = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
        assert!(matches!(granted, Standing::Enrolled(_)));
        cluster
    }
}

/// The cluster's side.
pub(crate) struct Enrolled {
    pub(crate) home: Arc<Home>,
    pub(crate) client: Arc<Client>,
    invitation: Invitation,
    pub(crate) folder: tempfile::TempDir,
}

impl Enrolled {
    pub(crate) fn invited(invitation: &Invitation) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Arc::new(Home::prepare(&folder.path().join("cluster"), invitation).unwrap());
        let client = Arc::new(Client::new(home.key(), home.given().unwrap()).unwrap());
        // As it is carried to a cluster.
        let digest = Digest::new().unwrap();
        let invitation = Invitation::parse(digest, &invitation.to_text(digest)).unwrap();
        Self { home, client, invitation, folder }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.home.key().public()
    }

    async fn join(&self) -> Result<Standing, NotEnrolled> {
        keeper::ask(&self.home, &self.client, Some(&self.invitation)).await
    }

    /// The bridge may not have found the beacon yet.
    async fn join_until_it_answers(&self) -> Standing {
        let began = Instant::now();
        loop {
            match self.join().await {
                Err(NotEnrolled::Client(error))
                    if error.is_passing() && began.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(20)).await;
                }
                other => return other.unwrap(),
            }
        }
    }

    async fn refused(&self) -> ClientError {
        self.client.open_once().await.map(drop).expect_err("no session")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_let_in_when_somebody_has_said_yes_and_not_before() {
    let realm = Realm::new().await;
    let cluster = Enrolled::invited(&realm.invite("prod", now() + 600));
    assert_eq!(cluster.join_until_it_answers().await, Standing::Pending);
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
    assert_eq!(asked, Standing::Pending);
    assert!(matches!(cluster.refused().await, ClientError::Forbidden { .. }), "no door yet");
    realm.decide(cluster.key(), true);
    let Standing::Enrolled(until) = cluster.join().await.unwrap() else { panic!("not let in") };
    assert!(until.abs_diff(now() + 86_400) < 60);
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"in").await;
    // What it was given outlives the process.
    let client = Client::new(cluster.home.key(), cluster.home.given().unwrap()).unwrap();
    echoes(&mut client.open(PATIENCE).await.unwrap(), b"again").await;
    assert_eq!(realm.audit(), ["invited", "joined", "approved", "granted"]);
}

/// The key of RFC 7515, appendix A.3, by this name.
fn shown(kid: &str) -> KeySet {
    let key = format!(
        "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"{kid}\",\
         \"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
         \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}}]}}"
    );
    KeySet::read(br#"{"issuer":"https://a"}"#, key.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_are_kept_as_they_were_shown_by_whom_the_bridge_knows() {
    let realm = Realm::new().await;
    let stranger = Enrolled::invited(&realm.invite("prod", now() + 600));
    let error = keeper::show(&stranger.client, &shown("one")).await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::NotEnrolled)), "{error:?}");
    let cluster = stranger;
    assert_eq!(cluster.join_until_it_answers().await, Standing::Pending);
    for kid in ["one", "one", "two"] {
        // This bridge verifies no token, so nobody has to say yes.
        let heard = keeper::show(&cluster.client, &shown(kid)).await.unwrap();
        assert_eq!(heard, Belief::NotNeeded);
    }
    assert_eq!(realm.audit(), ["invited", "joined", "issuer keys shown", "issuer keys shown"]);
    let state = realm.store.read().unwrap();
    assert_eq!(state.cluster(&cluster.key()).unwrap().keys, Some(shown("two")));
    realm.decide(cluster.key(), false);
    let error = keeper::show(&cluster.client, &shown("one")).await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Revoked)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_for_one_key_and_who_shows_it_again_is_written_down() {
    let realm = Realm::new().await;
    let invitation = realm.invite("prod", now() + 600);
    let first = Enrolled::invited(&invitation);
    assert_eq!(first.join_until_it_answers().await, Standing::Pending);
    assert_eq!(first.join().await.unwrap(), Standing::Pending, "an answer may get lost");
    let thief = Enrolled::invited(&invitation);
    let error = thief.join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Used)), "{error:?}");
    let asked = keeper::ask(&thief.home, &thief.client, None).await.unwrap_err();
    assert!(matches!(asked, NotEnrolled::Refused(Refusal::NotEnrolled)), "{asked:?}");
    assert_eq!(realm.audit(), ["invited", "joined", "replay refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_secret_an_old_invitation_and_a_stranger_get_nothing() {
    let realm = Realm::new().await;
    let good = Enrolled::invited(&realm.invite("one", now() + 600));
    good.join_until_it_answers().await;
    let mut guessed = realm.invite("two", now() + 600);
    guessed.secret = InvitationSecret::new([7; 32]);
    let error = Enrolled::invited(&guessed).join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Unknown)), "{error:?}");
    let late = Enrolled::invited(&realm.invite("three", now()));
    let error = late.join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Expired)), "{error:?}");
    assert_eq!(realm.audit().iter().filter(|act| *act == "joined").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_what_goes_on_and_keeps_out_what_comes() {
    let realm = Realm::new().await;
    let (cluster, other) = (realm.enrolled("prod").await, realm.enrolled("stays").await);
    let mut session = cluster.client.open(PATIENCE).await.unwrap();
    let mut others = other.client.open(PATIENCE).await.unwrap();
    echoes(&mut session, b"before").await;
    realm.decide(cluster.key(), false);
    let began = Instant::now();
    let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(end.is_err(), "a cut looks like an end");
    println!("cut after {:?}", began.elapsed());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Revoked)), "{error:?}");
    assert!(!error.is_passing(), "it is not tried again");
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap_err();
    assert!(matches!(asked, NotEnrolled::Refused(Refusal::Revoked)), "{asked:?}");
    echoes(&mut others, b"not meant").await;
    echoes(&mut other.client.open(PATIENCE).await.unwrap(), b"not meant").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ran_out_opens_nothing_until_it_is_renewed() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let old = realm.grant(cluster.key(), (now() - 7200, now() - 1));
    cluster.client.renew(cluster.home.take(&old).unwrap());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Expired)), "{error:?}");
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
    assert!(matches!(asked, Standing::Enrolled(_)));
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"renewed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_past_its_half_is_renewed_by_itself() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let waning = realm.grant(cluster.key(), (now() - 3600, now() + 600));
    cluster.client.renew(cluster.home.take(&waning).unwrap());
    let keeping =
        tokio::spawn(keeper::keep(Arc::clone(&cluster.home), Arc::clone(&cluster.client)));
    let began = Instant::now();
    while cluster.client.certificate().unwrap().not_after < now() + 3600 {
        assert!(began.elapsed() < PATIENCE, "it is not renewed");
        sleep(Duration::from_millis(20)).await;
    }
    keeping.abort();
    let kept = cluster.home.given().unwrap().certificate;
    assert_eq!(kept, cluster.client.certificate(), "it is on the disk as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_without_its_key_and_one_of_another_bridge_open_nothing() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let (thief, _) = KeyPair::generate().unwrap();
    // All that is in the cluster's folder but the key.
    let stolen = Client::new(&thief, cluster.home.given().unwrap()).unwrap();
    let error = stolen.open_once().await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::TurnedAway(Reception::Untrue)), "{error:?}");
    let (impostor, _) = KeyPair::generate().unwrap();
    let mut forged = realm.grant(cluster.key(), (now(), now() + 600));
    forged.certificate =
        Certificate::issue(&impostor, cluster.key(), [1; 16], (now(), now() + 600)).unwrap();
    cluster.client.renew(cluster.home.take(&forged).unwrap());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Untrue)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_state_cannot_be_read_nobody_is_let_in_until_it_can() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let mut session = cluster.client.open(PATIENCE).await.unwrap();
    let path = realm.folder.path().join("enrolment/enrolment.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"{").unwrap();
    let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(end.is_err());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Revoked)), "{error:?}");
    fs::write(&path, good).unwrap();
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"put back").await;
}
