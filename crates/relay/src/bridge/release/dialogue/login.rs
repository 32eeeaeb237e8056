//! How a workload comes in and goes: proof, token, place, login, and all of it back again.

use std::time::Instant;

use cloudtaser_core::{
    Secret,
    release::{
        BridgeToWrapper, Denial, Hello, Leave, Operation, Purpose, Refused, message::Claims,
    },
};
use cloudtaser_road::seal::SealingKey;
use cloudtaser_tls::raw::PublicKey;
use data_encoding::HEXLOWER;
use tracing::{info, warn};

use super::words::{meaning, short, word};
use super::{Dialogue, Recipient};
use crate::{
    bridge::release::{
        Releaser,
        attest::{self, Evidence},
        config::Issuer,
        issuer_keys::Look,
        ledger::{Leaving, LedgerError},
        receipt::{Event, Receipt},
        token::{self, Bearer, TokenError},
        workload::{self, Workload},
    },
    clock::unix_seconds,
    log::chain,
};

impl Dialogue {
    pub(super) fn hello(&mut self, hello: Hello) -> Result<BridgeToWrapper, Box<Refused>> {
        let Hello { claims, token } = hello;
        let mut receipt = self.receipt(Event::Login);
        receipt.facets = Some(claims.statement.facets);
        receipt.role = claims.role.as_deref().map(short);
        receipt.wrapper = claims.statement.wrapper.as_deref().map(short);
        receipt.agent = claims.statement.agent.as_deref().map(short);
        let releaser = std::sync::Arc::clone(&self.releaser);
        let mut recipient = None;
        let outcome = self.log_in(&releaser, claims, token, &mut recipient, &mut receipt);
        receipt.decision = match &outcome {
            Ok(_) => "done".to_owned(),
            Err(refused) => word(refused),
        };
        let line = match &outcome {
            Ok(_) => Some(0),
            Err(_) => releaser.refusals.take(&self.client, Instant::now()),
        };
        receipt.suppressed = line.filter(|suppressed| *suppressed > 0);
        let recorded = match line {
            Some(_) => self.record(vec![receipt], Operation::Login).map(drop),
            None => Ok(()),
        };
        match (outcome, recorded) {
            // As if it had not been: it was not answered.
            (Ok((workload, _)), Err(refused)) => {
                let (instance, now) = (workload.instance, unix_seconds());
                let _a_leave_of_the_wrapper_mends_it =
                    releaser.ledger.leave(&instance, Leaving::Unused, now);
                let _its_time_to_live_ends_it = workload.revoke();
                Err(refused)
            }
            (Ok((workload, resumed)), Ok(())) => {
                info!(client = self.client, identity = %workload.identity, resumed, "logged in");
                let answer = workload.logged_in(resumed);
                releaser.present.enter(&workload.instance);
                self.present = Some(workload.instance);
                self.recipient = recipient;
                self.workload = Some(workload);
                Ok(BridgeToWrapper::LoggedIn(answer))
            }
            (Err(refused), _) => {
                let meaning = meaning(&refused);
                warn!(client = self.client, why = word(&refused), meaning, "login refused");
                Err(refused)
            }
        }
    }

    fn log_in(
        &self,
        releaser: &Releaser,
        claims: Claims,
        token: Secret,
        recipient: &mut Option<Recipient>,
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
        let sealing = HEXLOWER.decode(claims.sealing.as_bytes()).unwrap_or_default();
        let sealing_hash = releaser.digest.sha256(&[&sealing]);
        let hashes = [&token_hash, &sealing_hash];
        let instance = self.proved(Purpose::Hello, &claims.instance, &claims.proof, hashes)?;
        let key = SealingKey::parse(&sealing).map_err(|_form| {
            deny(Denial::Proof, "the launch's key is none that can be sealed to".to_owned())
        })?;
        *recipient = Some(Recipient { key, hash: HEXLOWER.encode(&sealing_hash) });
        receipt.instance = Some(HEXLOWER.encode(&instance));
        let now = unix_seconds();
        let (bearer, issuer) = self
            .bearer(releaser, &token, now)
            .map_err(|error| deny(Denial::Token, error.to_string()))?;
        receipt.identity = Some(bearer.identity.to_string());
        receipt.pod = Some(bearer.pod.clone());
        let pod = format!("{}/{}", issuer.name, bearer.pod);
        let held = |error: LedgerError| {
            let denial = match &error {
                LedgerError::Held | LedgerError::Restarts => Denial::Replay,
                LedgerError::Write(_) => Denial::Record,
            };
            deny(denial, chain(&error))
        };
        let signed = match &claims.node {
            Some(signed) => {
                let place = attest::Place {
                    session: self.binding,
                    sealing: sealing_hash,
                    pod: &bearer.pod,
                    wrapper: claims.statement.wrapper.as_deref(),
                };
                let folder = releaser.config.hardware_dir.as_deref();
                let files = signed.hardware.as_ref().map(|_| attest::files(folder));
                let signed = Evidence::judge(signed, &place, &files.unwrap_or_default(), now);
                Some(signed.map_err(|error| {
                    deny(Denial::Evidence, format!("the node's statement: {}", chain(&error)))
                })?)
            }
            None => None,
        };
        receipt.evidence = signed.as_ref().map(Evidence::kept);
        releaser.ledger.check(&pod, &instance, &releaser.present).map_err(held)?;
        if let Some(mut workload) = releaser.lingered(&instance) {
            releaser.ledger.take(&pod, &instance, &releaser.present, now).map_err(held)?;
            workload.resumed(claims.statement, signed);
            return Ok((workload, true));
        }
        let client = workload::client(&releaser.config)
            .map_err(|error| deny(Denial::Busy, chain(&error)))?;
        let login = workload::Login { issuer, bearer, instance, claims, token, signed };
        let workload = Workload::login(client, login).map_err(|error| Box::new(error.carry()))?;
        // Only now: a login that OpenBao refuses takes nothing. Of two at once one comes second.
        if let Err(error) = releaser.ledger.take(&pod, &instance, &releaser.present, now) {
            let _ttl_ends_it = workload.revoke();
            return Err(held(error));
        }
        Ok((workload, false))
    }

    /// Whose token this is, by keys that may have come just now.
    fn bearer<'a>(
        &self,
        releaser: &'a Releaser,
        token: &Secret,
        now: u64,
    ) -> Result<(Bearer, &'a Issuer), TokenError> {
        let issuers = || releaser.config.issuers.iter().filter(|is| is.client == self.client);
        let verified = token::verify(token.expose(), issuers(), now);
        if !matches!(verified, Err(TokenError::Issuer | TokenError::Key { .. })) {
            return verified;
        }
        releaser.look_at_keys(Look::IfChanged);
        token::verify(token.expose(), issuers(), now)
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

    pub(super) fn leave(&mut self, leave: &Leave) {
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
            Err(error) => warn!(error = chain(&error), "a leave is not written down"),
        }
    }

    pub(super) fn revoke(&mut self) {
        if let Some(workload) = self.workload.take()
            && let Err(error) = workload.revoke()
        {
            // Its time to live ends it.
            warn!(error = chain(&error), "a login could not be given back");
        }
    }
}
