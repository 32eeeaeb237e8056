//! A workload's dialogue with a bridge: one session for everything, made anew where it is lost.
//!
//! It does not try again by itself: which request may be repeated is known to the caller.

use std::{os::fd::BorrowedFd, sync::Arc, time::Duration};

use cloudtaser_core::{
    Secret,
    node::{Hash, NodeEvidence},
    release::{
        Answer, Answers, BridgeToWrapper, Changed, Hello, Item, Leave, LoggedIn, Purpose, Read,
        Recorded, Refused, Renew, Renewed, Renewing, Sealed, Statement, Watch, Welcome,
        WrapperToBridge, decode, message::Claims, sealing_data, sealing_info,
    },
};
use cloudtaser_tls::{TlsError, raw::KeyPair};
use data_encoding::HEXLOWER;

use crate::{
    error::ClientError,
    link::{Link, Wait},
    route::Route,
    seal::{Recipient, SealError},
    stop::{Stop, Until},
};

/// For the rest of a notice that has begun.
const REST_PATIENCE: Duration = Duration::from_secs(30);

/// What a login needs; the token is read anew for each, since it changes.
#[derive(Debug)]
pub struct Login {
    /// The role at OpenBao.
    pub role: Option<String>,
    /// What protects the launch.
    pub statement: Statement,
    /// The workload's token.
    pub token: Secret,
}

/// Who speaks for the node that a launch is on.
pub trait Node {
    /// Has the node sign what it is worth, for this session and the key with this hash. `None` where
    /// it does not: the bridge decides what that is worth.
    fn attest(&self, session: Hash, sealing: Hash) -> Option<NodeEvidence>;
}

/// No node, where there is no agent.
impl Node for () {
    fn attest(&self, _session: Hash, _sealing: Hash) -> Option<NodeEvidence> {
        None
    }
}

/// Why a bridge did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no session, or it broke.
    #[error("the bridge cannot be asked")]
    Road(#[from] ClientError),
    /// It refuses.
    #[error("the bridge refuses")]
    Refused(Box<Refused>),
    /// Its answer cannot be opened.
    #[error("the bridge's answer is of no use")]
    Sealed(#[from] SealError),
}

/// The dialogue of one launch.
#[derive(Debug)]
pub struct Release {
    route: Route,
    /// Made for this launch, and nowhere but in its memory.
    instance: KeyPair,
    recipient: Recipient,
    stop: Arc<Stop>,
    link: Option<(Link, [u8; 32])>,
    next_id: u32,
    /// Of what was read, until somebody asked for them; later ones are not kept.
    receipts: Option<Vec<Recorded>>,
    /// Whether the bridge tells of changes in the session that is open.
    watching: bool,
    /// What it told while something else was waited for.
    notice: Option<Notice>,
}

/// What a bridge tells unasked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Something that was read may be otherwise now.
    Changed,
    /// It tells of changes no more.
    Over,
}

/// What waiting for a notice came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waited {
    /// Time is up.
    Late,
    /// A notice came.
    Told(Notice),
    /// Somebody else has something to tell.
    Woken,
}

impl Release {
    /// Makes the keys of this launch. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(route: Route) -> Result<Self, TlsError> {
        let (instance, _) = KeyPair::generate()?;
        Ok(Self {
            route,
            instance,
            recipient: Recipient::generate(),
            stop: Arc::default(),
            link: None,
            next_id: 0,
            receipts: Some(Vec::new()),
            watching: false,
            notice: None,
        })
    }

    /// The receipts of all that was read until now, once. Those of what is read later are not kept:
    /// a program that runs for a year and looks for new values would keep them all.
    pub fn take_receipts(&mut self) -> Vec<Recorded> {
        self.receipts.take().unwrap_or_default()
    }

    /// Ends every wait, from another thread.
    #[must_use]
    pub fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Whether there is a session, as far as is known.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Opens a session and logs in.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn login(
        &mut self,
        login: Login,
        node: &dyn Node,
        until: Until,
    ) -> Result<LoggedIn, AskError> {
        let (mut link, binding) = self.open(until)?;
        let token_hash = self.route.sha256(login.token.expose());
        let sealing_hash = self.route.sha256(self.recipient.public());
        let claims = Claims {
            role: login.role,
            instance: self.instance_text(),
            sealing: HEXLOWER.encode(self.recipient.public()),
            proof: self.proof(Purpose::Hello, &binding, &token_hash, &sealing_hash)?,
            within_ms: millis(until),
            statement: login.statement,
            node: node.attest(Hash::new(binding), Hash::new(sealing_hash)),
        };
        let hello = Hello { claims, token: login.token };
        self.mine(link.send(&WrapperToBridge::Hello(Box::new(hello)), until))?;
        match self.mine(link.receive(until))? {
            BridgeToWrapper::LoggedIn(login) => {
                self.link = Some((link, binding));
                Ok(login)
            }
            BridgeToWrapper::Refused(refused) => Err(AskError::Refused(Box::new(refused))),
            _ => Err(odd()),
        }
    }

    /// Ends the session without a word: the next one goes on with the same login.
    pub fn drop_session(&mut self) {
        self.link = None;
    }

    /// Asks for several things at once; one answer for each.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn read(&mut self, items: Vec<Item>, until: Until) -> Result<Vec<Answer>, AskError> {
        let (id, wanted) = (self.id(), items.len());
        let read = Read { id, within_ms: millis(until), items };
        let sealed = match self.ask(&WrapperToBridge::Read(read), until)? {
            BridgeToWrapper::Sealed(sealed) if sealed.id == id => sealed,
            other => return Err(self.other(id, other)),
        };
        match self.opened(sealed)? {
            Answers { id: of, answers } if of == id && answers.len() == wanted => Ok(answers),
            _ => {
                self.link = None;
                Err(odd())
            }
        }
    }

    /// Opens an answer, and keeps its receipts.
    fn opened(&mut self, sealed: Sealed) -> Result<Answers, AskError> {
        let Sealed { id, receipts, sealed } = sealed;
        let data = sealing_data(&receipts).ok_or_else(odd)?;
        let binding = self.link.as_ref().map(|(_, binding)| binding).ok_or_else(odd)?;
        let info = sealing_info(binding, id);
        let frame = self.recipient.open(sealed.expose(), &info, &data)?;
        match decode::<BridgeToWrapper>(&frame) {
            Ok(Some((BridgeToWrapper::Answers(answers), len))) if len == frame.len() => {
                if let Some(kept) = &mut self.receipts {
                    kept.extend(receipts);
                }
                Ok(answers)
            }
            _ => Err(odd()),
        }
    }

    /// Has a login or a lease live longer.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn renew(&mut self, what: Renewing, until: Until) -> Result<Renewed, AskError> {
        let id = self.id();
        let renew = Renew { id, within_ms: millis(until), what };
        match self.ask(&WrapperToBridge::Renew(renew), until)? {
            BridgeToWrapper::Renewed(renewed) if renewed.id == id => Ok(renewed),
            other => Err(self.other(id, other)),
        }
    }

    /// Has the bridge tell of changes from now on; says of which paths it will.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn watch(&mut self, until: Until) -> Result<Vec<String>, AskError> {
        let id = self.id();
        match self.ask(&WrapperToBridge::Watch(Watch { id }), until)? {
            BridgeToWrapper::Watching(watching) if watching.id == id => {
                self.watching = !watching.paths.is_empty();
                Ok(watching.paths)
            }
            other => Err(self.other(id, other)),
        }
    }

    /// Whether notices come.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.watching && self.is_open()
    }

    /// Waits for a notice, or until there is something to read at `wake`.
    ///
    /// # Errors
    /// [`AskError`] where the session ends meanwhile.
    pub fn wait(&mut self, wake: BorrowedFd<'_>, until: Until) -> Result<Waited, AskError> {
        loop {
            if let Some(notice) = self.notice.take() {
                return Ok(Waited::Told(notice));
            }
            let (mut link, binding) = self.link.take().ok_or_else(lost)?;
            let waited = self.mine(link.wait(wake, until))?;
            if waited == Wait::Said {
                // The rest of what has begun comes soon, or never.
                let said = self.mine(link.receive(Until::after(REST_PATIENCE)))?;
                self.hear(said)?;
            }
            self.link = Some((link, binding));
            match waited {
                Wait::Late => return Ok(Waited::Late),
                Wait::Woken => return Ok(Waited::Woken),
                Wait::Said => {}
            }
        }
    }

    /// Keeps what a bridge says unasked.
    fn hear(&mut self, said: BridgeToWrapper) -> Result<(), AskError> {
        let BridgeToWrapper::Changed(Changed { paths }) = said else { return Err(odd()) };
        let over = paths.is_empty() || self.notice == Some(Notice::Over);
        self.notice = Some(if over { Notice::Over } else { Notice::Changed });
        self.watching &= !over;
        Ok(())
    }

    /// Nothing more is needed: the login can end, and the session does.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn done(&mut self, until: Until) -> Result<(), AskError> {
        let Some((mut link, _)) = self.link.take() else { return Ok(()) };
        self.mine(link.send(&WrapperToBridge::Done, until))?;
        link.close();
        Ok(())
    }

    /// The workload has ended: another of the same pod may log in.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn leave(&mut self, until: Until) -> Result<(), AskError> {
        let open = self.link.take();
        let (mut link, binding) = open.map_or_else(|| self.open(until), Ok)?;
        let proof = self.proof(Purpose::Leave, &binding, &[0; 32], &[0; 32])?;
        let leave = Leave { instance: self.instance_text(), proof };
        self.mine(link.send(&WrapperToBridge::Leave(leave), until))?;
        // The bridge ends the connection when it is done; how does not matter.
        let _ended = link.receive::<BridgeToWrapper>(until);
        Ok(())
    }

    /// Dials, and waits until the bridge has let the client in.
    fn open(&mut self, until: Until) -> Result<(Link, [u8; 32]), AskError> {
        self.link = None;
        (self.watching, self.notice) = (false, None);
        let mut link = self.route.open(&self.stop, until)?;
        let nonce = match self.mine(link.receive(until))? {
            BridgeToWrapper::Welcome(Welcome { nonce }) => nonce,
            // A bridge that carries as much as it may.
            BridgeToWrapper::Refused(refused) => return Err(AskError::Refused(Box::new(refused))),
            _ => return Err(odd()),
        };
        let nonce = HEXLOWER.decode(nonce.as_bytes()).ok();
        let nonce: [u8; 32] = nonce.and_then(|nonce| nonce.try_into().ok()).ok_or_else(odd)?;
        let binding = self.route.binding(&link, &nonce);
        Ok((link, binding))
    }

    fn ask(
        &mut self,
        message: &WrapperToBridge,
        until: Until,
    ) -> Result<BridgeToWrapper, AskError> {
        let (mut link, binding) = self.link.take().ok_or_else(lost)?;
        self.mine(link.send(message, until))?;
        loop {
            match self.mine(link.receive(until))? {
                notice @ BridgeToWrapper::Changed(_) => self.hear(notice)?,
                answer => {
                    self.link = Some((link, binding));
                    return Ok(answer);
                }
            }
        }
    }

    /// An answer that is a refusal, or none to this question.
    fn other(&mut self, id: u32, answer: BridgeToWrapper) -> AskError {
        match answer {
            BridgeToWrapper::Refused(refused) if refused.id == Some(id) => {
                AskError::Refused(Box::new(refused))
            }
            _ => {
                self.link = None;
                odd()
            }
        }
    }

    /// A failure after a stop is the stop's.
    fn mine<T>(&self, result: Result<T, ClientError>) -> Result<T, AskError> {
        result.map_err(|error| {
            AskError::Road(if self.stop.is_raised() { ClientError::Stopped } else { error })
        })
    }

    fn proof(
        &self,
        purpose: Purpose,
        binding: &[u8; 32],
        token_hash: &[u8; 32],
        sealing_hash: &[u8; 32],
    ) -> Result<String, AskError> {
        let signed = self.instance.sign(&purpose.signed(binding, token_hash, sealing_hash));
        Ok(HEXLOWER.encode(&signed.map_err(ClientError::Tls)?))
    }

    fn instance_text(&self) -> String {
        HEXLOWER.encode(self.instance.public().as_bytes())
    }

    const fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

fn lost() -> AskError {
    AskError::Road(ClientError::Session(std::io::ErrorKind::NotConnected.into()))
}

fn odd() -> AskError {
    let what = "the bridge does not follow the protocol";
    AskError::Road(ClientError::Session(std::io::Error::new(std::io::ErrorKind::InvalidData, what)))
}

fn millis(until: Until) -> u32 {
    u32::try_from(until.left().as_millis()).unwrap_or(u32::MAX)
}
