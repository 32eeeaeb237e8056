//! One session's dialogue: message in, message out. It knows no socket; it asks OpenBao, and it
//! blocks while it does.

use std::{sync::Arc, time::Duration};

use cloudtaser_bao::Deadline;
use cloudtaser_core::release::{
    Answer, Answers, BridgeToWrapper, Changed, Denial, Item, Operation, Read, Recorded, Refused,
    Renew, Renewed, Renewing, Sealed, Watch, Watching, Welcome, Why, WrapperToBridge, encode,
    message::VALUES_MAX, policy::terms::Occasion, sealing_data, sealing_info,
};
use cloudtaser_road::seal::SealingKey;
use data_encoding::HEXLOWER;
use tracing::info;

use super::{
    Releaser,
    attest::Evidence,
    books::RELEASED,
    changes::{Inbox, Watcher},
    receipt::{Event, Receipt},
    uses::Use,
    workload::{Workload, action_of, path_of},
};

mod decide;
mod login;
mod words;

use words::{event_of, len_of, no_login, operation_of, short, unwritten, word};

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
    /// The launch's key, to which every answer is sealed, once it has logged in.
    recipient: Option<Recipient>,
    /// Whose session this is, once somebody has logged in.
    present: Option<[u8; 32]>,
    watcher: Watcher,
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        if let Some(instance) = &self.present {
            self.releaser.present.exit(instance);
        }
    }
}

/// To whom answers are sealed.
#[derive(Debug)]
struct Recipient {
    key: SealingKey,
    /// SHA-256 of the key, for receipts.
    hash: String,
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
    pub(super) fn new(
        releaser: Arc<Releaser>,
        client: String,
        nonce: [u8; 32],
        binding: [u8; 32],
    ) -> Self {
        let watcher = releaser.watchers.join();
        let (workload, recipient, present) = (None, None, None);
        Self { releaser, client, nonce, binding, workload, recipient, present, watcher }
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
    pub(super) fn lost(mut self) {
        if let Some(workload) = self.workload.take() {
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
            WrapperToBridge::Watch(Watch { id }) => Next::Answer(self.watch(id)),
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

    /// Where it stands what is to be told unasked.
    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.watcher.inbox()
    }

    /// What is to be told now.
    pub(super) fn tell(&self) -> Option<BridgeToWrapper> {
        self.watcher.take().map(|paths| BridgeToWrapper::Changed(Changed { paths }))
    }

    fn watch(&self, id: u32) -> BridgeToWrapper {
        match self.workload {
            Some(_) => {
                let paths = self.watcher.watch();
                info!(
                    client = self.client,
                    paths = paths.len(),
                    "a workload is told of new values"
                );
                BridgeToWrapper::Watching(Watching { id, paths })
            }
            None => {
                let refused = Refused { id: Some(id), ..no_login(Operation::Read) };
                BridgeToWrapper::Refused(refused)
            }
        }
    }

    fn read(&mut self, read: Read) -> BridgeToWrapper {
        let Read { id, within_ms, items } = read;
        if let Some(mut refused) = self.stale(Operation::Read) {
            refused.id = Some(id);
            return BridgeToWrapper::Refused(refused);
        }
        let deadline = deadline(within_ms);
        let mut receipts = Vec::with_capacity(items.len());
        let mut answers = Vec::with_capacity(items.len());
        let mut counted = Vec::new();
        let mut room = VALUES_MAX;
        for item in &items {
            let (answer, receipt, counts) = self.one(item, &mut room, &deadline);
            counted.extend(counts);
            answers.push(answer);
            receipts.push(receipt);
        }
        // SECURITY: before anything leaves; where it cannot be written, nothing does.
        let kept = self.releaser.uses.keep(&counted).map_err(|error| unwritten(&error));
        let sealed =
            kept.and_then(|()| self.record(receipts, Operation::Read)).and_then(|receipts| {
                match self.workload {
                    Some(_) => self.sealed(Answers { id, answers }, receipts),
                    None => Err(Box::new(no_login(Operation::Read))),
                }
            });
        sealed.unwrap_or_else(|mut refused| {
            refused.id = Some(id);
            BridgeToWrapper::Refused(*refused)
        })
    }

    /// A refusal where what the node signed was signed too long ago.
    fn stale(&self, operation: Operation) -> Option<Refused> {
        let lasts = Duration::from_secs(self.releaser.config.statement_seconds.into());
        let signed = self.workload.as_ref()?.node.as_ref()?;
        let meaning = "what the node signed for this session is too old: open another".to_owned();
        signed.is_older_than(lasts).then(|| Refused::denied(operation, Denial::Stale, meaning))
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
        let recipient = self.recipient.as_ref().ok_or_else(odd)?;
        let sealed = recipient.key.seal(&frame, &info, &data).map_err(|_key| odd())?;
        Ok(BridgeToWrapper::Sealed(Sealed { id, receipts, sealed: sealed.into() }))
    }

    /// One item: policy, OpenBao, receipt; and what counts against a limit.
    fn one(
        &mut self,
        item: &Item,
        room: &mut usize,
        deadline: &Deadline,
    ) -> (Answer, Receipt, Option<(Use, u64)>) {
        let (action, path) = (action_of(item), path_of(item));
        let mut receipt = self.receipt(event_of(action));
        receipt.path_hmac = Some(self.releaser.path_hash(&path));
        let allowed = self.allowed((action, &path), Occasion::Release, &mut receipt);
        let counted = allowed.as_ref().ok().cloned().flatten();
        let (mut answer, requests) = match allowed {
            Ok(_) => match &mut self.workload {
                Some(workload) => noted(&self.watcher, item, || workload.fetch(item, deadline)),
                None => (Answer::Refused(Box::new(no_login(operation_of(action)))), Vec::new()),
            },
            Err(refused) => (Answer::Refused(refused), Vec::new()),
        };
        receipt.path = Some(path);
        self.releaser.caused(&requests);
        let mut requests = requests.into_iter();
        (receipt.request, receipt.more_requests) = (requests.next(), requests.collect());
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
            Answer::Refused(refused) => {
                receipt.decision = word(refused);
                if let Some((what, at)) = &counted {
                    self.releaser.uses.give_back(what, *at);
                }
                return (answer, receipt, None);
            }
        }
        (answer, receipt, counted)
    }

    fn renew(&mut self, renew: Renew) -> BridgeToWrapper {
        let Renew { id, within_ms, what } = renew;
        let deadline = deadline(within_ms);
        if let Some(mut refused) = self.stale(Operation::RenewToken) {
            refused.id = Some(id);
            return BridgeToWrapper::Refused(refused);
        }
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
        let allowed = self.allowed((action, &path), Occasion::Renewal, &mut receipt);
        let renewed = allowed.and_then(|_| match &mut self.workload {
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

    fn record(
        &self,
        receipts: Vec<Receipt>,
        operation: Operation,
    ) -> Result<Vec<Recorded>, Box<Refused>> {
        let decided = receipts.clone();
        let recorded = self.releaser.receipts.append(receipts);
        match &recorded {
            Ok(_) => decided.iter().for_each(|receipt| self.releaser.metrics.decided(receipt)),
            Err(_) => self.releaser.metrics.unwritten(),
        }
        recorded.map_err(|error| {
            let mut refused = unwritten(&error);
            refused.operation = operation;
            refused
        })
    }

    fn receipt(&self, event: Event) -> Receipt {
        let workload = self.workload.as_ref();
        let statement = workload.map(|workload| &workload.statement);
        Receipt {
            client: self.client.clone(),
            identity: workload.map(|workload| workload.identity.to_string()),
            pod: workload.map(|workload| workload.pod.clone()),
            role: workload.and_then(|workload| workload.role.clone()),
            instance: workload.map(|workload| HEXLOWER.encode(&workload.instance)),
            facets: statement.map(|statement| statement.facets),
            wrapper: statement.and_then(|said| said.wrapper.as_deref().map(short)),
            agent: statement.and_then(|said| said.agent.as_deref().map(short)),
            session: HEXLOWER.encode(&self.binding),
            sealed_to: self.recipient.as_ref().map(|recipient| recipient.hash.clone()),
            evidence: workload.and_then(|workload| workload.node.as_ref()).map(Evidence::kept),
            ..Receipt::blank(event, self.releaser.policy.now().hash.clone())
        }
    }
}

/// Reads something and has changes of it noted, which can be learned of for KV v2 alone: whatever
/// else OpenBao gives may become another without anybody's request.
fn noted<T>(watcher: &Watcher, item: &Item, fetch: impl FnOnce() -> (Answer, T)) -> (Answer, T) {
    let Item::Read { path, version: None } = item else { return fetch() };
    let is_new = watcher.note(path);
    let fetched = fetch();
    match &fetched.0 {
        Answer::Fields { version: Some(_), lease: None, .. } => {}
        Answer::Refused(_) if !is_new => {}
        _ => watcher.forget(path),
    }
    fetched
}

/// How long OpenBao may be asked for somebody who waits so long.
pub(super) fn deadline(within_ms: u32) -> Deadline {
    let asked = Duration::from_millis(within_ms.into()).min(LONGEST);
    Deadline::after(asked.saturating_sub(MARGIN).max(MARGIN.min(asked)))
}

#[cfg(test)]
mod tests;
