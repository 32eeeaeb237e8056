//! One session's dialogue: message in, message out. It knows no socket; it asks OpenBao, and it
//! blocks while it does.

use std::{sync::Arc, time::Duration};

use cloudtaser_bao::Deadline;
use cloudtaser_core::release::{
    Answer, Answers, BridgeToWrapper, Denial, Hello, Item, Leave, Operation, Purpose, Read,
    Recorded, Refused, Renew, Renewed, Renewing, Sealed, Welcome, Why, WrapperToBridge, encode,
    message::VALUES_MAX,
    policy::{Action, Asked, Decision},
    sealing_data, sealing_info,
};
use cloudtaser_road::seal;
use cloudtaser_sys::heap;
use cloudtaser_tls::raw::PublicKey;
use data_encoding::HEXLOWER;
use tracing::{info, warn};

use super::{
    Releaser,
    books::RELEASED,
    ledger::{Leaving, LedgerError},
    receipt::{Event, Receipt},
    token,
    workload::{self, Workload, action_of, path_of},
};
use crate::clock::unix_seconds;

/// The longest that a wrapper may have the bridge try.
const LONGEST: Duration = Duration::from_secs(60);
/// An answer needs time for its way back.
const MARGIN: Duration = Duration::from_millis(500);

/// One session.
#[derive(Debug)]
pub(super) struct Dialogue {
    releaser: Arc<Releaser>,
    /// The name of the client whose key opened the session.
    client: String,
    nonce: [u8; 32],
    binding: [u8; 32],
    workload: Option<Workload>,
    /// The launch's key, to which every answer is sealed.
    recipient: Vec<u8>,
}

/// What follows from a message.
#[derive(Debug)]
pub(super) enum Next {
    /// It is answered, and another is waited for.
    Answer(BridgeToWrapper),
    /// It is answered, and the session ends.
    Last(BridgeToWrapper),
    /// The session ends.
    End,
}

impl Dialogue {
    pub(super) const fn new(
        releaser: Arc<Releaser>,
        client: String,
        nonce: [u8; 32],
        binding: [u8; 32],
    ) -> Self {
        Self { releaser, client, nonce, binding, workload: None, recipient: Vec::new() }
    }

    pub(super) fn welcome(&self) -> BridgeToWrapper {
        BridgeToWrapper::Welcome(Welcome { nonce: HEXLOWER.encode(&self.nonce) })
    }

    /// Whether nobody has logged in.
    pub(super) const fn is_idle(&self) -> bool {
        self.workload.is_none()
    }

    /// The client is let in no longer: neither is its workload.
    pub(super) fn cut(mut self) {
        self.revoke();
    }

    /// The connection is gone without a word: the wrapper may come back.
    pub(super) fn lost(self) {
        if let Some(workload) = self.workload {
            self.releaser.linger(workload);
        }
    }

    pub(super) fn next(&mut self, message: WrapperToBridge) -> Next {
        match message {
            WrapperToBridge::Hello(hello) => match self.hello(*hello) {
                Ok(answer) => Next::Answer(answer),
                Err(refused) => Next::Last(BridgeToWrapper::Refused(*refused)),
            },
            WrapperToBridge::Read(read) => Next::Answer(self.read(read)),
            WrapperToBridge::Renew(renew) => Next::Answer(self.renew(renew)),
            WrapperToBridge::Done => {
                self.revoke();
                Next::End
            }
            WrapperToBridge::Leave(leave) => {
                self.leave(&leave);
                Next::End
            }
        }
    }

    fn hello(&mut self, hello: Hello) -> Result<BridgeToWrapper, Box<Refused>> {
        let Hello { claims, token } = hello;
        let mut receipt = self.receipt(Event::Login);
        receipt.facets = Some(claims.statement.facets);
        receipt.role = claims.role.as_deref().map(short);
        receipt.wrapper = claims.statement.wrapper.as_deref().map(short);
        receipt.agent = claims.statement.agent.as_deref().map(short);
        let releaser = Arc::clone(&self.releaser);
        let recipient = HEXLOWER.decode(claims.sealing.as_bytes()).unwrap_or_default();
        let outcome = self.log_in(&releaser, claims, token, &recipient, &mut receipt);
        receipt.decision = match &outcome {
            Ok(_) => "done".to_owned(),
            Err(refused) => word(refused),
        };
        let recorded = self.record(vec![receipt], Operation::Login);
        match (outcome, recorded) {
            // As if it had not been: it was not answered.
            (Ok((workload, _)), Err(refused)) => {
                let (instance, now) = (workload.instance, unix_seconds());
                let _a_leave_of_the_wrapper_mends_it =
                    releaser.ledger.leave(&instance, Leaving::Unused, now);
                let _its_time_to_live_ends_it = workload.revoke();
                Err(refused)
            }
            (Ok((workload, resumed)), Ok(_)) => {
                self.recipient = recipient;
                info!(client = self.client, identity = %workload.identity, resumed, "logged in");
                let answer = workload.logged_in(resumed);
                self.workload = Some(workload);
                Ok(BridgeToWrapper::LoggedIn(answer))
            }
            (Err(refused), _) => {
                warn!(client = self.client, why = word(&refused), "login refused");
                Err(refused)
            }
        }
    }

    fn log_in(
        &self,
        releaser: &Releaser,
        claims: cloudtaser_core::release::message::Claims,
        token: cloudtaser_core::Secret,
        recipient: &[u8],
        receipt: &mut Receipt,
    ) -> Result<(Workload, bool), Box<Refused>> {
        let deny =
            |denial, meaning: String| Box::new(Refused::denied(Operation::Login, denial, meaning));
        if self.workload.is_some() {
            return Err(deny(Denial::Proof, "this session has a login already".to_owned()));
        }
        if let Err(error) = releaser.demand_sealed() {
            return Err(deny(Denial::Busy, error.to_string()));
        }
        let token_hash = releaser.digest.sha256(&[token.expose()]);
        let sealing_hash = releaser.digest.sha256(&[recipient]);
        let hashes = [&token_hash, &sealing_hash];
        let instance = self.proved(Purpose::Hello, &claims.instance, &claims.proof, hashes)?;
        // Tried now, so that a key of another kind is refused before anything is read for it.
        if seal::seal(recipient, b"", b"", b"").is_err() {
            let meaning = "the launch's key is none that can be sealed to".to_owned();
            return Err(deny(Denial::Proof, meaning));
        }
        receipt.instance = Some(HEXLOWER.encode(&instance));
        let issuers = releaser.config.issuers.iter().filter(|is| is.client == self.client);
        let now = unix_seconds();
        let (bearer, issuer) = token::verify(token.expose(), issuers, now)
            .map_err(|error| deny(Denial::Token, error.to_string()))?;
        receipt.identity = Some(bearer.identity.to_string());
        receipt.pod = Some(bearer.pod.clone());
        let pod = format!("{}/{}", issuer.name, bearer.pod);
        let held = |error: LedgerError| {
            let denial = match &error {
                LedgerError::Held | LedgerError::Restarts => Denial::Replay,
                LedgerError::Write(_) => Denial::Record,
            };
            deny(denial, crate::log::chain(&error))
        };
        releaser.ledger.check(&pod, &instance).map_err(held)?;
        if let Some(mut workload) = releaser.lingered(&instance) {
            releaser.ledger.take(&pod, &instance, now).map_err(held)?;
            workload.resumed(claims.statement);
            return Ok((workload, true));
        }
        let client = workload::client(&releaser.config)
            .map_err(|error| deny(Denial::Busy, crate::log::chain(&error)))?;
        let login = workload::Login { issuer, bearer, instance, claims, token };
        let workload = Workload::login(client, login).map_err(|error| Box::new(error.carry()))?;
        // Only now: a login that OpenBao refuses takes nothing. Of two at once one comes second.
        if let Err(error) = releaser.ledger.take(&pod, &instance, now) {
            let _ttl_ends_it = workload.revoke();
            return Err(held(error));
        }
        Ok((workload, false))
    }

    /// The instance whose key has signed for this session.
    fn proved(
        &self,
        purpose: Purpose,
        instance: &str,
        proof: &str,
        [token_hash, sealing_hash]: [&[u8; 32]; 2],
    ) -> Result<[u8; 32], Box<Refused>> {
        let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
        let key: Option<[u8; 32]> = bytes(instance).and_then(|key| key.try_into().ok());
        let signed = purpose.signed(&self.binding, token_hash, sealing_hash);
        match (key, bytes(proof)) {
            (Some(key), Some(proof))
                if PublicKey::from_bytes(key).verifies(&signed, &proof).unwrap_or(false) =>
            {
                Ok(key)
            }
            _ => {
                let meaning = "the launch's key has not signed for this session".to_owned();
                Err(Box::new(Refused::denied(Operation::Login, Denial::Proof, meaning)))
            }
        }
    }

    fn read(&mut self, read: Read) -> BridgeToWrapper {
        let Read { id, within_ms, items } = read;
        let deadline = deadline(within_ms);
        let mut receipts = Vec::with_capacity(items.len());
        let mut answers = Vec::with_capacity(items.len());
        let mut room = VALUES_MAX;
        for item in &items {
            let (answer, receipt) = self.one(item, &mut room, &deadline);
            answers.push(answer);
            receipts.push(receipt);
        }
        // SECURITY: before anything leaves; where it cannot be written, nothing does.
        let sealed =
            self.record(receipts, Operation::Read).and_then(|receipts| match self.workload {
                Some(_) => self.sealed(Answers { id, answers }, receipts),
                None => Err(Box::new(no_login(Operation::Read))),
            });
        sealed.unwrap_or_else(|mut refused| {
            refused.id = Some(id);
            BridgeToWrapper::Refused(*refused)
        })
    }

    /// Seals answers to the launch's key, so that they open with these receipts alone.
    fn sealed(
        &self,
        answers: Answers,
        receipts: Vec<Recorded>,
    ) -> Result<BridgeToWrapper, Box<Refused>> {
        let id = answers.id;
        let odd = || {
            let meaning = "the answer cannot be sealed".to_owned();
            Box::new(Refused::denied(Operation::Read, Denial::Busy, meaning))
        };
        let frame = encode(&BridgeToWrapper::Answers(answers)).map_err(|_long| odd())?;
        let data = sealing_data(&receipts).ok_or_else(odd)?;
        let info = sealing_info(&self.binding, id);
        let sealed = seal::seal(&self.recipient, &frame, &info, &data).map_err(|_key| odd())?;
        Ok(BridgeToWrapper::Sealed(Sealed { id, receipts, sealed: sealed.into() }))
    }

    /// One item: policy, OpenBao, receipt.
    fn one(&mut self, item: &Item, room: &mut usize, deadline: &Deadline) -> (Answer, Receipt) {
        let (action, path) = (action_of(item), path_of(item));
        let mut receipt = self.receipt(event_of(action));
        receipt.path_hmac = Some(self.releaser.path_hash(&path));
        let (mut answer, request) = match self.allowed(action, &path, &mut receipt) {
            Ok(()) => match &mut self.workload {
                Some(workload) => workload.fetch(item, deadline),
                None => (Answer::Refused(Box::new(no_login(operation_of(action)))), None),
            },
            Err(refused) => (Answer::Refused(refused), None),
        };
        receipt.path = Some(path);
        receipt.request = request;
        let len = len_of(&answer);
        match room.checked_sub(len) {
            Some(left) => *room = left,
            None => {
                let mut refused = no_login(operation_of(action));
                let meaning = "with what was read before it, it is more than fits into one answer";
                refused.why = Why::Unusable { meaning: meaning.to_owned() };
                answer = Answer::Refused(Box::new(refused));
            }
        }
        match &answer {
            Answer::Fields { path, version, lease, .. } => {
                // As OpenBao's audit log has it, so that both can be laid side by side.
                receipt.path = Some(path.clone());
                receipt.version = *version;
                receipt.lease_seconds = lease.as_ref().map(|lease| lease.ttl_seconds);
                receipt.decision = RELEASED.to_owned();
            }
            Answer::Plain(_) => receipt.decision = RELEASED.to_owned(),
            Answer::Refused(refused) => receipt.decision = word(refused),
        }
        (answer, receipt)
    }

    /// Asks the policy.
    fn allowed(
        &self,
        action: Action,
        path: &str,
        receipt: &mut Receipt,
    ) -> Result<(), Box<Refused>> {
        let operation = operation_of(action);
        let Some(workload) = &self.workload else { return Err(Box::new(no_login(operation))) };
        let loaded = self.releaser.policy.now();
        receipt.policy.clone_from(&loaded.hash);
        let (identity, level) = (&workload.identity, &workload.level);
        let decision = loaded.policy.decide(&Asked { identity, action, path, level });
        let denial = match &decision {
            Decision::Release { rule } => {
                receipt.rule = Some((*rule).to_owned());
                return Ok(());
            }
            Decision::Level { rule, .. } => {
                receipt.rule = Some((*rule).to_owned());
                Denial::Level
            }
            Decision::Identity { .. } | Decision::Path => Denial::Policy,
        };
        let mut refused = Refused::denied(operation, denial, format!("{decision}, for {identity}"));
        refused.place = Some(cloudtaser_core::release::Place {
            write: action != Action::Read,
            path: path.to_owned(),
        });
        Err(Box::new(refused))
    }

    fn renew(&mut self, renew: Renew) -> BridgeToWrapper {
        let Renew { id, within_ms, what } = renew;
        let deadline = deadline(within_ms);
        let renewed = match what {
            Renewing::Token => match &mut self.workload {
                Some(workload) => workload.renew(&deadline),
                None => Err(Box::new(no_login(Operation::RenewToken))),
            },
            Renewing::Lease(lease) => self.renew_lease(&lease, &deadline),
        };
        match renewed {
            Ok(lease) => BridgeToWrapper::Renewed(Renewed { id, lease }),
            Err(mut refused) => {
                refused.id = Some(id);
                BridgeToWrapper::Refused(*refused)
            }
        }
    }

    /// A lease lives on only where the policy would release it now.
    fn renew_lease(
        &mut self,
        lease: &str,
        deadline: &Deadline,
    ) -> Result<cloudtaser_core::release::Lease, Box<Refused>> {
        let mut receipt = self.receipt(Event::Renew);
        let Some(workload) = &self.workload else {
            return Err(Box::new(no_login(Operation::RenewLease)));
        };
        let (action, path) = workload.leased(lease)?;
        receipt.path_hmac = Some(self.releaser.path_hash(&path));
        receipt.path = Some(path.clone());
        let allowed = self.allowed(action, &path, &mut receipt);
        let renewed = allowed.and_then(|()| match &mut self.workload {
            Some(workload) => workload.renew_lease(lease, deadline),
            None => Err(Box::new(no_login(Operation::RenewLease))),
        });
        match &renewed {
            Ok(lease) => {
                receipt.lease_seconds = Some(lease.ttl_seconds);
                receipt.decision = RELEASED.to_owned();
            }
            Err(refused) => receipt.decision = word(refused),
        }
        self.record(vec![receipt], Operation::RenewLease)?;
        renewed
    }

    fn leave(&mut self, leave: &Leave) {
        let hashes = [&[0; 32]; 2];
        let proved = self.proved(Purpose::Leave, &leave.instance, &leave.proof, hashes);
        let Ok(instance) = proved else {
            return warn!(client = self.client, "somebody leaves who has no proof");
        };
        if self.workload.as_ref().is_none_or(|workload| workload.instance != instance) {
            self.workload = self.releaser.lingered(&instance);
        }
        let mut receipt = self.receipt(Event::Leave);
        let unused = self.workload.as_ref().is_some_and(|workload| !workload.released);
        self.revoke();
        let how = if unused { Leaving::Unused } else { Leaving::Used };
        match self.releaser.ledger.leave(&instance, how, unix_seconds()) {
            Ok(Some(pod)) => {
                receipt.instance = Some(HEXLOWER.encode(&instance));
                receipt.pod = pod.rsplit_once('/').map(|(_, pod)| pod.to_owned());
                "done".clone_into(&mut receipt.decision);
                // The login is given back already, whatever becomes of the record.
                let _told = self.record(vec![receipt], Operation::Login);
                info!(client = self.client, "a workload has left");
            }
            Ok(None) => {}
            Err(error) => warn!(error = crate::log::chain(&error), "a leave is not written down"),
        }
    }

    fn revoke(&mut self) {
        if let Some(workload) = self.workload.take()
            && let Err(error) = workload.revoke()
        {
            // Its time to live ends it.
            warn!(error = crate::log::chain(&error), "a login could not be given back");
        }
    }

    fn record(
        &self,
        receipts: Vec<Receipt>,
        operation: Operation,
    ) -> Result<Vec<Recorded>, Box<Refused>> {
        self.releaser.receipts.append(receipts).map_err(|error| {
            warn!(error = %error, "a receipt cannot be written: nothing is released");
            let meaning = format!("its receipt cannot be written: {error}");
            Box::new(Refused::denied(operation, Denial::Record, meaning))
        })
    }

    fn receipt(&self, event: Event) -> Receipt {
        let workload = self.workload.as_ref();
        let statement = workload.map(|workload| &workload.statement);
        Receipt {
            at: unix_seconds(),
            event,
            decision: String::new(),
            client: self.client.clone(),
            identity: workload.map(|workload| workload.identity.to_string()),
            pod: workload.map(|workload| workload.pod.clone()),
            role: workload.and_then(|workload| workload.role.clone()),
            instance: workload.map(|workload| HEXLOWER.encode(&workload.instance)),
            path: None,
            path_hmac: None,
            version: None,
            lease_seconds: None,
            rule: None,
            policy: self.releaser.policy.now().hash.clone(),
            facets: statement.map(|statement| statement.facets),
            wrapper: statement.and_then(|said| said.wrapper.as_deref().map(short)),
            agent: statement.and_then(|said| said.agent.as_deref().map(short)),
            session: HEXLOWER.encode(&self.binding),
            bridge: if heap::state().is_sealed() { "sealed" } else { "wiped" },
            request: None,
            sealed_to: workload
                .map(|_| HEXLOWER.encode(&self.releaser.digest.sha256(&[&self.recipient]))),
            log: None,
        }
    }
}

/// What is recorded of what others say.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// How long OpenBao may be asked for somebody who waits so long.
pub(super) fn deadline(within_ms: u32) -> Deadline {
    let asked = Duration::from_millis(within_ms.into()).min(LONGEST);
    Deadline::after(asked.saturating_sub(MARGIN).max(MARGIN.min(asked)))
}

const fn event_of(action: Action) -> Event {
    match action {
        Action::Decrypt => Event::Decrypt,
        Action::Read => Event::Read,
        Action::Write => Event::Write,
    }
}

const fn operation_of(action: Action) -> Operation {
    match action {
        Action::Decrypt => Operation::Decrypt,
        Action::Read => Operation::Read,
        Action::Write => Operation::Write,
    }
}

fn no_login(operation: Operation) -> Refused {
    Refused::denied(operation, Denial::Token, "this session has no login".to_owned())
}

fn len_of(answer: &Answer) -> usize {
    match answer {
        Answer::Fields { json, .. } => json.len(),
        Answer::Plain(texts) => texts.iter().map(cloudtaser_core::Secret::len).sum(),
        Answer::Refused(_) => 0,
    }
}

/// A refusal in one word: no text of anybody's.
fn word(refused: &Refused) -> String {
    match &refused.why {
        Why::Away { .. } => "away".to_owned(),
        Why::Deleted { .. } => "deleted".to_owned(),
        Why::Denied { denial, .. } => denial.as_str().to_owned(),
        Why::Entry { .. } => "entry".to_owned(),
        Why::NotFound { .. } => "not-found".to_owned(),
        Why::Status { status, .. } => format!("status-{status}"),
        Why::Unusable { .. } => "unusable".to_owned(),
    }
}

#[cfg(test)]
mod tests;
