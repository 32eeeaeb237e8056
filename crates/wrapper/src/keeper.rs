//! Keeps a login and its leases alive while the app runs, and looks for changed values, or is told
//! of them where a bridge does that.
//!
//! It has a thread of its own, since it waits for the network and the supervisor never may: a
//! supervisor that does not answer stops every `execve` of the app. Losing OpenBao is no reason to
//! stop an app that runs; it is told once and tried again.

use std::{
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use cloudtaser_bao::{Jitter as _, RandomJitter, renewal::Next};
use cloudtaser_core::{
    Secret,
    plan::{LaunchPlan, RotationAction},
    reference::Source,
};
use cloudtaser_road::{Notice, Waited};
use cloudtaser_sys::{harden::wipe_stack, session::hold_back_signals};

use crate::{
    chain::Chain,
    resolve::{Outcome, Place, Rules, resolve},
    variables::Variables,
    vault::{Bao, Watched},
};

/// Pause after a renewal or a poll that failed, before jitter.
const PAUSE: Duration = Duration::from_secs(5);

/// Time for one round of renewals and reads while the app runs.
const ROUND: Duration = Duration::from_secs(30);

/// How long the end of the app may wait for tokens and leases to be given back.
const FAREWELL: Duration = Duration::from_secs(3);

/// How often is looked where all that may change is told of: nobody has seen everything.
const SELDOM: Duration = Duration::from_secs(600);

/// More than TLS, JSON and HTTP use of this thread's stack in one round.
const STACK_BYTES: usize = 192 * 1024;

/// What the keeper has to tell.
pub(crate) enum News {
    /// Values that differ from those delivered, and where they go.
    Changed(Vec<(Place, Secret)>),
    /// Something failed and is tried again.
    Trouble {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        why: String,
    },
    /// What failed before works again.
    Recovered,
}

/// The supervisor's handle on the thread.
pub(crate) struct Keeper {
    stop: Sender<()>,
    /// Has something to read once `stop` has.
    nudge: UnixStream,
    news: Receiver<News>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread. `wake` is called after each piece of news.
    pub(crate) fn start(
        bao: Bao,
        variables: Variables,
        plan: &LaunchPlan,
        delivered: &Outcome,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (tell, news) = channel();
        let (finish, done) = channel();
        let (nudge, woken) = UnixStream::pair()?;
        let last = sealed(delivered);
        let mut round = Round {
            bao,
            variables,
            plan: plan.clone(),
            last,
            troubled: false,
            watched: Watched::Nothing,
            woken,
            tell: Box::new(move |item| {
                if tell.send(item).is_ok() {
                    wake();
                }
            }),
        };
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            hold_back_signals();
            round.run(&stopped);
            drop(round);
            wipe_stack(STACK_BYTES);
            // The supervisor may have given up waiting.
            let _told = finish.send(());
        })?;
        hold_back_signals();
        Ok(Self { stop, nudge, news, done, thread })
    }

    /// The next piece of news, if there is one.
    pub(crate) fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Gives tokens and leases back, within a bounded time.
    pub(crate) fn finish(self) {
        // A thread that has ended already has nothing to be told.
        let _told = self.stop.send(()).map(|()| (&self.nudge).write_all(&[1]));
        if self.done.recv_timeout(FAREWELL) != Err(RecvTimeoutError::Timeout) {
            let _ended = self.thread.join();
        }
    }
}

struct Round {
    bao: Bao,
    variables: Variables,
    plan: LaunchPlan,
    last: Vec<(Place, Secret)>,
    troubled: bool,
    watched: Watched,
    woken: UnixStream,
    tell: Box<dyn Fn(News) + Send>,
}

/// What is due, and when.
enum Due {
    Lease(Source, Next),
    /// To read again what could not be read.
    Look,
    Poll,
    Token(Next),
    /// To have new values told again.
    Watch,
}

/// Why a pause ended.
enum Pause {
    Changed,
    Due,
    Lost,
    Over,
    Stop,
}

impl Round {
    fn run(&mut self, stopped: &Receiver<()>) {
        let mut agenda = Vec::new();
        self.schedule_token(&mut agenda);
        self.schedule_leases(&mut agenda);
        self.begin_to_watch(&mut agenda);
        self.schedule_poll(&mut agenda);
        let idle = agenda.iter().all(|(_, due)| matches!(due, Due::Token(_)))
            && self.watched == Watched::Nothing;
        if idle && !self.bao.token_is_shared() {
            // Nothing needs the token any more: the shorter it lives, the better.
            if let Err(error) = self.bao.rest() {
                self.trouble("giving the token back", &error);
            }
            if self.bao.waits_for_the_end() {
                // Whatever comes, it is the end.
                let _told = stopped.recv();
                self.farewell();
            }
            return;
        }
        loop {
            agenda.sort_by_key(|(at, _): &(Instant, Due)| *at);
            let wait = agenda.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
            let ended = self.pause(stopped, wait);
            self.bao.within(ROUND);
            match ended {
                Pause::Stop => return self.farewell(),
                Pause::Changed => self.look_until_it_works(&mut agenda),
                Pause::Due if !agenda.is_empty() => {
                    let (_, due) = agenda.remove(0);
                    self.act(due, &mut agenda);
                }
                Pause::Over => self.watch_ends(&mut agenda),
                Pause::Due | Pause::Lost => {}
            }
            if self.bao.lost_leases() {
                // What was leased ends with the login that it was leased by.
                self.look(&mut agenda);
            }
            self.watch_again(&mut agenda);
            wipe_stack(STACK_BYTES);
        }
    }

    /// Waits for what is due, for the end, and for what is told meanwhile.
    fn pause(&mut self, stopped: &Receiver<()>, wait: Option<Duration>) -> Pause {
        if !self.bao.is_watching() {
            let told = match wait {
                Some(wait) => stopped.recv_timeout(wait),
                None => stopped.recv().map_err(|_gone| RecvTimeoutError::Disconnected),
            };
            return if told == Err(RecvTimeoutError::Timeout) { Pause::Due } else { Pause::Stop };
        }
        match self.bao.wait(self.woken.as_fd(), wait.unwrap_or(SELDOM)) {
            Ok(Waited::Late) if wait.is_some() => Pause::Due,
            Ok(Waited::Late) => Pause::Lost,
            Ok(Waited::Woken) => Pause::Stop,
            Ok(Waited::Told(notice)) => {
                if notice == Notice::Over {
                    Pause::Over
                } else {
                    Pause::Changed
                }
            }
            // A session that ends is no trouble yet: the next one may be had.
            Err(_lost) => Pause::Lost,
        }
    }

    /// Has new values told, where somebody wants them and the bridge does that.
    fn begin_to_watch(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        let rotation = &self.plan.rotation;
        if rotation.poll.is_none() && rotation.action == RotationAction::None {
            return;
        }
        self.bao.within(ROUND);
        self.watch(agenda);
    }

    fn watch(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        match self.bao.watch() {
            Ok(watched) => self.watched = watched,
            // The session has ended. Where there is no other, reading again will tell.
            Err(_lost) => agenda.push((Instant::now() + pause(), Due::Watch)),
        }
    }

    /// Nobody tells any more: what is wanted is looked for, and asked for again some time.
    fn watch_ends(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        self.watched = Watched::Nothing;
        agenda.retain(|(_, due)| !matches!(due, Due::Poll));
        self.schedule_poll(agenda);
        agenda.push((Instant::now() + spread(SELDOM), Due::Watch));
        self.look_until_it_works(agenda);
    }

    /// Asks again for what a session that has ended would have told.
    fn watch_again(&self, agenda: &mut Vec<(Instant, Due)>) {
        let planned = agenda.iter().any(|(_, due)| matches!(due, Due::Watch));
        if self.watched != Watched::Nothing && !self.bao.is_watching() && !planned {
            // Not all at once where it was the bridge that went.
            agenda.push((Instant::now() + RandomJitter.up_to(PAUSE / 4), Due::Watch));
        }
    }

    /// Asks to be told, and reads what nobody has told meanwhile.
    fn resume_watch(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        if !self.look(agenda) {
            return agenda.push((Instant::now() + pause(), Due::Watch));
        }
        self.watched = Watched::Nothing;
        self.watch(agenda);
        let planned = agenda.iter().any(|(_, due)| matches!(due, Due::Watch));
        if self.watched == Watched::Nothing && !planned {
            agenda.push((Instant::now() + spread(SELDOM), Due::Watch));
        }
    }

    fn look_until_it_works(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        let planned = agenda.iter().any(|(_, due)| matches!(due, Due::Look | Due::Watch));
        if !self.look(agenda) && !planned {
            agenda.push((Instant::now() + pause(), Due::Look));
        }
    }

    fn act(&mut self, due: Due, agenda: &mut Vec<(Instant, Due)>) {
        let outcome = match &due {
            Due::Token(Next::Replace(_)) => self.bao.login_again().map_err(|e| ("login", e)),
            Due::Token(_) => match self.bao.renew() {
                Err(error) if error.status() == Some(403) => {
                    self.bao.login_again().map_err(|e| ("login", e))
                }
                renewed => renewed.map_err(|e| ("renewal of the token", e)),
            },
            Due::Lease(source, Next::Renew(_)) => {
                self.bao.renew_lease(source).map_err(|e| ("renewal of a lease", e))
            }
            // Credentials that cannot live on are replaced before the app finds them dead.
            Due::Lease(source, _) => {
                self.bao.forget(source);
                self.look(agenda);
                return;
            }
            Due::Look => return self.look_until_it_works(agenda),
            Due::Poll => return self.poll(agenda),
            Due::Watch => return self.resume_watch(agenda),
        };
        match (outcome, due) {
            (Ok(()), Due::Token(_)) => {
                self.recovered();
                self.schedule_token(agenda);
            }
            (Ok(()), Due::Lease(source, _)) => {
                self.recovered();
                self.schedule_lease(source, agenda);
            }
            (Err((what, error)), Due::Token(next)) => {
                self.trouble(what, &error);
                agenda.push((Instant::now() + pause(), Due::Token(next)));
            }
            (Err((what, error)), Due::Lease(source, _)) => {
                self.trouble(what, &error);
                self.bao.forget(&source);
                self.look(agenda);
            }
            (_, Due::Look | Due::Poll | Due::Watch) => {}
        }
    }

    fn poll(&mut self, agenda: &mut Vec<(Instant, Due)>) {
        self.look(agenda);
        self.schedule_poll(agenda);
    }

    /// Reads again and tells what differs; says whether it could be read.
    fn look(&mut self, agenda: &mut Vec<(Instant, Due)>) -> bool {
        let rules = Rules { missing: self.plan.reads.missing, transit: self.plan.transit.as_ref() };
        match resolve(&self.variables, rules, &mut self.bao) {
            Ok(outcome) => {
                self.recovered();
                let fresh = sealed(&outcome);
                let changed = fresh.iter().filter(|(place, value)| {
                    self.last.iter().all(|(known, old)| known != place || !old.same_as(value))
                });
                let changed =
                    changed.map(|(place, value)| (place.clone(), copy(value))).collect::<Vec<_>>();
                self.last = fresh;
                agenda.retain(|(_, due)| !matches!(due, Due::Lease(..)));
                self.schedule_leases(agenda);
                if !changed.is_empty() {
                    (self.tell)(News::Changed(changed));
                }
                true
            }
            Err(error) => {
                self.trouble("reading again", &error);
                false
            }
        }
    }

    fn schedule_token(&self, agenda: &mut Vec<(Instant, Due)>) {
        schedule(agenda, self.bao.token_next(), Due::Token);
    }

    fn schedule_leases(&self, agenda: &mut Vec<(Instant, Due)>) {
        for source in self.bao.leased() {
            self.schedule_lease(source, agenda);
        }
    }

    fn schedule_lease(&self, source: Source, agenda: &mut Vec<(Instant, Due)>) {
        schedule(agenda, self.bao.lease_next(&source), |next| Due::Lease(source, next));
    }

    fn schedule_poll(&self, agenda: &mut Vec<(Instant, Due)>) {
        if let Some(every) = self.plan.rotation.poll {
            let told = self.watched == Watched::All && self.bao.is_watching();
            let every = if told { every.0.max(SELDOM) } else { every.0 };
            agenda.push((Instant::now() + spread(every), Due::Poll));
        }
    }

    fn trouble(&mut self, what: &'static str, error: &dyn std::error::Error) {
        // Told once: an OpenBao that is away for an hour must not fill the app's log.
        if !std::mem::replace(&mut self.troubled, true) {
            (self.tell)(News::Trouble { what, why: Chain(error).to_string() });
        }
    }

    fn recovered(&mut self) {
        if std::mem::replace(&mut self.troubled, false) {
            (self.tell)(News::Recovered);
        }
    }

    fn farewell(&mut self) {
        if let Err(error) = self.bao.give_back() {
            self.trouble("giving the token back", &error);
        }
    }
}

fn schedule(agenda: &mut Vec<(Instant, Due)>, next: Next, due: impl FnOnce(Next) -> Due) {
    match next {
        Next::Never => {}
        Next::Renew(after) | Next::Replace(after) => {
            agenda.push((Instant::now() + after, due(next)))
        }
    }
}

/// The secrets of a pass, copied for later comparison.
fn sealed(outcome: &Outcome) -> Vec<(Place, Secret)> {
    outcome.secrets().map(|(place, secret)| (place, copy(secret))).collect()
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}

/// Up to a fifth less, so that a thousand pods started together do not poll together; never more,
/// since who asks for a poll is promised new values within that time.
fn spread(every: Duration) -> Duration {
    every.mul_f64(0.8) + RandomJitter.up_to(every / 5)
}

fn pause() -> Duration {
    PAUSE / 2 + RandomJitter.up_to(PAUSE)
}
