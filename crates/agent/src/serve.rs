//! An agent that runs: answers, and has its canary attacked again and again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cloudtaser_core::agent::{Answer, Question};
use cloudtaser_core::exit::Code;
use cloudtaser_sys::roads;
use nix::unistd::Pid;
use serde_json::json;

use crate::agent::Agent;
use crate::canary::{self, Way};
use crate::events;
use crate::loaders::replaced;
use crate::neighbours::Neighbours;
use crate::orders::{self, Taken};
use crate::peers::{Asked, Peers};
use crate::road::Attack;
use crate::state::Report;
use crate::table::{Guarded, MarkError};
use crate::terms;

/// How long the loop sleeps when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// After so long without a proof the last one says nothing any more.
const SILENCE: Duration = Duration::from_secs(60);

/// What a round gave, or why it gave nothing.
type Round = Result<(Attack, Neighbours), String>;

impl Agent {
    /// Answers, and has the canary attacked again and again.
    pub(crate) fn serve(
        mut self,
        mut peers: Peers,
        every: Duration,
        over: Option<&AtomicBool>,
    ) -> anyhow::Result<Code> {
        let (ask, asked) = mpsc::channel();
        let answers = self.attack_on_demand(asked)?;
        let (mut due, mut waiting) = (Instant::now() + every, false);
        loop {
            waiting &= !self.hear(&answers);
            let trouble = self.keep_up().err().map(told);
            if trouble != self.trouble {
                self.trouble = trouble;
                self.change(None);
            }
            if self.orders.see_to_ends(&self.table) {
                self.change(None);
            }
            if Instant::now() >= due && !waiting {
                ask.send(()).context("the canary's thread is gone")?;
                due = Instant::now() + every;
                waiting = true;
            }
            if self.proved.elapsed() > every + SILENCE {
                self.change(Some("it has not answered for a minute".to_owned()));
            }
            for mut asked in peers.next(TICK)? {
                let (answer, last) = self.answer(&asked, &peers);
                if last {
                    self.unload()?;
                    asked.answer(&answer);
                    return Ok(Code::Ok);
                }
                let quoting = self.signer.as_ref().and_then(|signer| signer.quoting.as_ref());
                match quoting.filter(|_tpm| answer.evidence.is_some()) {
                    Some(quoting) => quoting.hand_over(asked, answer),
                    None => asked.answer(&answer),
                }
            }
            if over.is_some_and(|over| over.load(Ordering::Relaxed)) {
                return Ok(Code::Ok);
            }
        }
    }

    /// Writes down that it is there, and follows what the kernel swaps to.
    fn keep_up(&mut self) -> anyhow::Result<()> {
        if let Some(estate) = &self.estate {
            estate.stamp(&self.table).context("the stamp")?;
        }
        self.devices.renew().context("the list of devices")
    }

    /// A thread of its own: an attack takes longer than a peer should wait.
    fn attack_on_demand(&mut self, asked: Receiver<()>) -> anyhow::Result<Receiver<Round>> {
        let (tell, told): (Sender<Round>, _) = mpsc::channel();
        let (table, attackers) = (Arc::clone(&self.table), Arc::clone(&self.attackers));
        let (own, decoy, way) = (self.attached.own()?, self.decoy.clone(), Way::of(self.tier));
        let mut watch = self.watch.take().context("the canary's thread is there already")?;
        thread::Builder::new().name("canary".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                let round = canary::round(&table, &attackers, own, decoy.as_deref(), way);
                let round = round.map(|attack| (attack, watch.look().clone()));
                if tell.send(round.map_err(|error| format!("{error:#}"))).is_err() {
                    return;
                }
            }
        })?;
        Ok(told)
    }

    /// Takes what the canary's thread has to say; whether it had.
    fn hear(&mut self, answers: &Receiver<Round>) -> bool {
        let mut heard = false;
        for round in answers.try_iter() {
            heard = true;
            match round {
                Ok((attack, neighbours)) => {
                    self.neighbours = neighbours;
                    self.now = attack;
                    self.proved = Instant::now();
                    self.look_at_loaders();
                    self.change(None);
                }
                Err(why) => self.change(Some(why)),
            }
            if let Some(shown) = &self.shown {
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = self.proved();
            }
        }
        heard
    }

    /// An update of the node's runtime leaves it without a loader, which nothing else would explain.
    fn look_at_loaders(&mut self) {
        replaced::forget(&self.contents, &self.named);
        self.loaders = self.contents.files();
        let unlisted = replaced::unlisted(&self.contents);
        if unlisted != self.unlisted {
            let words = replaced::words(&unlisted);
            events::write(
                &json!({"event": "loaders of the node", "unlisted": unlisted, "why": words}),
            );
            self.unlisted = unlisted;
        }
    }

    /// Judges anew, and tells when that changes the state.
    fn change(&mut self, failed_round: Option<String>) {
        let before = self.state.clone();
        self.judge(failed_round);
        if self.state != before {
            events::write(&json!({"event": "state", "state": self.state.to_string()}));
        }
    }

    /// The state in words, and to who asks for it, what the guard of this node could not cover.
    fn words(&self, asked: &Asked) -> String {
        let mut words = self.state.to_string();
        if asked.question != Question::Status {
            return words;
        }
        if let Some(away) = self.estate.as_ref().and_then(|estate| estate.away) {
            let (since, long) = (away.since_boot_s, away.for_s);
            words.push_str(&format!(", and no agent ran for {long} s from {since} s after boot"));
        }
        if let Some(others) = self.neighbours.words() {
            words.push_str(&format!("; {others}"));
        }
        if let Some(late) = self.late.words() {
            words.push_str(&format!("; {late}"));
        }
        if let Some(replaced) = replaced::words(&self.unlisted) {
            words.push_str(&format!("; {replaced}"));
        }
        if self.holders > 0 {
            let count = self.holders;
            words.push_str(&format!(
                "; BPF programs or perf events from before the agent go on (unlisted processes that \
                 hold some: {count})"
            ));
        }
        words
    }

    /// What to say; and whether that is the last word.
    fn answer(&mut self, asked: &Asked, peers: &Peers) -> (Answer, bool) {
        let (mut report, mut evidence, mut last) = (None, None, false);
        let done = match &asked.question {
            Question::Guard => self.guard(asked).map(|()| self.words(asked)).map_err(told),
            Question::Protect { pid } => {
                let pid = Pid::from_raw(*pid);
                let process = roads::open_process(pid).map_err(|_gone| MarkError::Gone(pid));
                let done = process.and_then(|process| self.table.guard(pid, &process));
                done.map(|_guarded| self.words(asked)).map_err(told)
            }
            Question::Attest { session, sealing } => {
                self.attest(asked, *session, *sealing).map(|signed| {
                    evidence = Some(signed);
                    self.words(asked)
                })
            }
            Question::Status => {
                report = Some(self.report(peers));
                Ok(self.words(asked))
            }
            Question::Orders => self.orders.report().map_err(told).map(|orders| {
                report = Some(orders);
                String::new()
            }),
            Question::Order { text, signature } => {
                let loaders = (&self.contents, &self.named[..]);
                let taken = self.orders.take(text, signature, &self.table, loaders);
                orders::log(text, &asked.caller, &taken);
                self.look_at_loaders();
                last = matches!(taken, Ok(Taken::Unload));
                self.change(None);
                taken.map_err(told).map(|taken| match taken {
                    Taken::Done(words) => words,
                    Taken::Unload => "the programs are out of the kernel".to_owned(),
                })
            }
        };
        let answer = Answer {
            done: done.is_ok(),
            state: self.state.facet(),
            tier: self.state.tier().map(|tier| tier.as_str().to_owned()),
            reasons: self.state.reasons().to_vec(),
            text: done.unwrap_or_else(|why| why),
            report,
            evidence,
        };
        (answer, last)
    }

    /// Takes every pin away while every program still judges; the programs go all together, with
    /// the descriptors of this process. Whoever ends it in between leaves the word `unloading`
    /// pinned, which the next agent acts on.
    fn unload(&mut self) -> anyhow::Result<()> {
        if let Some(estate) = self.estate.take() {
            // Before all else: while programs judge, nobody moves it out of the way, and an attack
            // that comes later does not put it there again.
            if let Some(decoy) = self.decoy.take() {
                decoy.remove();
            }
            estate.pins.remove_all()?;
        }
        events::write(&json!({"event": "unloaded"}));
        Ok(())
    }

    /// Guards whoever asks, and keeps a record of who that was.
    fn guard(&self, asked: &Asked) -> Result<(), MarkError> {
        let caller = &asked.caller;
        let Guarded { group, since } = self.table.guard(caller.pid, &caller.process)?;
        events::write(&json!({
            "event": "guarded",
            "pid": caller.pid.as_raw(),
            "uid": caller.uid,
            "cgroup": caller.cgroup,
            "wrapper": asked.wrapper.map(|digest| digest.to_string()),
            "group": group,
            "since": since.as_str(),
        }));
        Ok(())
    }

    fn report(&self, peers: &Peers) -> serde_json::Value {
        let mut report = Report::of(&self.state, &self.before, &self.now);
        report.programs = self.attached.len();
        report.pinned_set = self.estate.as_ref().map(|estate| estate.set);
        report.away = self.estate.as_ref().and_then(|estate| estate.away);
        report.guarded = self.table.len();
        report.late = self.late;
        report.earlier_holders = self.holders;
        report.neighbours = self.neighbours.shortened();
        report.loaders = self.contents.files();
        report.unlisted_loaders = self.unlisted.clone();
        report.contents = self.contents.looks().unwrap_or_default();
        if let Ok(room) = self.attached.map("ct_room").and_then(|map| terms::room(&map)) {
            report.most_guarded = room.most;
        }
        report.kept_devices = self.devices.len();
        report.egress_is_limited = self.egress;
        report.unguarded = self.counts.unguarded.load(Ordering::Relaxed);
        report.skipped = self.attached.skipped();
        report.refused = peers.refused();
        report.wrappers = peers.wrappers();
        report.proved_seconds_ago = self.proved.elapsed().as_secs();
        if let Ok(counters) = self.attached.counters() {
            report.denials = counters.denials().unwrap_or_default();
            report.lost_reports = counters.lost().unwrap_or_default();
        }
        report.verified_instructions = self.attached.verified();
        serde_json::to_value(report).unwrap_or_default()
    }
}

fn told(why: impl std::fmt::Display) -> String {
    format!("{why:#}")
}

/// Set when standard input has come to its end.
pub(crate) fn end_of_input() -> anyhow::Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&over);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // An input that cannot be read has ended as well.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        set.store(true, Ordering::Relaxed);
    })?;
    Ok(over)
}
