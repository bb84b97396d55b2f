//! The task that runs the member: it performs what the protocol decides and feeds the results back.
//!
//! Calls to the engine, to the issuer and to the disk run in tasks of their own, so that none waits
//! for another. After each step the task publishes what the session has to know.

use std::sync::Arc;
use std::time::Duration;

use shared_session::call::{Call, Reply};
use shared_session::engine::Options;
use shared_session::fence::Fence;
use shared_session::member::{Action, Command, Event, Local, Member, Note, Now, Setup};
use shared_session::record::Session;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::client_board::ClientBoard;
use super::draws_board::DrawsBoard;
use super::status_board::StatusBoard;
use super::{
    Chains, Identity, MemberStore, Redeem, SharedClients, SharedToken, View, convert, engine_task,
};
use crate::clock::Clock;

/// A request of a handle to the task.
pub(super) enum Ask {
    /// Give this to the member.
    Event(Box<Event>),
    /// The token of this generation was rejected.
    Reject(u64),
    /// Tell which chains of refresh tokens the member knows of.
    Chains(oneshot::Sender<Chains>),
    /// End, once the engine knows.
    Depart {
        /// Told at the end.
        done: oneshot::Sender<()>,
    },
}

/// The member, and what is known around it.
pub(super) struct MemberTask {
    member: Member,
    setup: Setup,
    clock: Clock,
    view: watch::Sender<View>,
    clients: ClientBoard,
    board: Arc<StatusBoard>,
    draws: Option<Arc<DrawsBoard>>,
    fail_closed_after: Duration,
    /// The generation of the last token, and the token.
    last: Option<SharedToken>,
    saving: bool,
    redeeming: bool,
    is_away: bool,
    contact: Option<Duration>,
    asks_taken: u64,
    departing: Option<oneshot::Sender<()>>,
    leave_sent: bool,
}

struct Workers {
    calls: UnboundedSender<Call>,
    redemptions: UnboundedSender<super::Redemption>,
    saves: UnboundedSender<Zeroizing<Vec<u8>>>,
    results: UnboundedReceiver<Event>,
    _tasks: JoinSet<()>,
}

impl MemberTask {
    pub(super) fn new(
        setup: Setup,
        identity: Identity,
        clock: Clock,
        (view, clients): (watch::Sender<View>, watch::Sender<SharedClients>),
        board: Arc<StatusBoard>,
    ) -> Self {
        let local = kept(&identity);
        let Identity { client_id, apart_client_id, login, .. } = identity;
        let password = login
            .map(|(account, needs_code)| shared_session::member::Password { account, needs_code });
        let setup = Setup { client_id, apart_client_id, password, ..setup };
        let member = Member::new(setup.clone(), local, now(&clock));
        Self {
            member,
            setup,
            clock,
            view,
            clients: ClientBoard::new(clients),
            board,
            draws: None,
            fail_closed_after: Duration::ZERO,
            last: None,
            saving: false,
            redeeming: false,
            is_away: false,
            contact: None,
            asks_taken: 0,
            departing: None,
            leave_sent: false,
        }
    }

    pub(super) fn failing_closed_after(self, fail_closed_after: Duration) -> Self {
        Self { fail_closed_after, ..self }
    }

    pub(super) fn with_draws(self, draws: Option<Arc<DrawsBoard>>) -> Self {
        Self { draws, ..self }
    }

    /// Runs until every handle is gone, or the member has departed.
    pub(super) async fn run(
        mut self,
        options: Options,
        issuer: impl Redeem,
        store: impl MemberStore,
        mut asks: UnboundedReceiver<Ask>,
    ) {
        let boards = (self.board.clone(), self.draws.clone());
        let mut workers = Workers::start(options, issuer, store, boards);
        let mut event = Event::Tick;
        loop {
            let wake_at = self.step(event, &workers);
            self.publish();
            if self.has_departed() {
                return;
            }
            // A member that wants to be woken at once is woken a little later: no busy loop.
            let wake_at = wake_at.max(self.clock.boot() + SHORTEST_WAIT);
            let clock = self.clock.clone();
            event = tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return,
                },
                result = workers.results.recv() => match result {
                    Some(result) => self.learn(result),
                    None => return,
                },
                () = clock.wait_until(wake_at) => Event::Tick,
            };
        }
    }

    /// Turns what a handle asks for into an event.
    fn take(&mut self, ask: Ask) -> Event {
        self.asks_taken += 1;
        match ask {
            Ask::Event(event) => *event,
            Ask::Reject(generation) => {
                let token = self.last.as_ref().filter(|token| token.generation == generation);
                token
                    .map_or(Event::Tick, |token| Event::Rejected(convert::to_shared(&token.access)))
            }
            Ask::Chains(tell) => {
                let _gone = tell.send(convert::chains(self.member.chains()));
                Event::Tick
            }
            Ask::Depart { done } => {
                self.departing = Some(done);
                Event::Asked(Command::Leave)
            }
        }
    }

    /// Notes what a result says beside what the member makes of it.
    fn learn(&mut self, result: Event) -> Event {
        match &result {
            Event::Replied(Ok(reply)) => {
                let boot = self.clock.boot();
                (self.is_away, self.contact) = (false, Some(boot));
                if let Reply::Polled(snapshot) = reply {
                    self.board.polled(snapshot, &self.setup.keys, &self.setup.me, boot);
                    self.draws.iter().for_each(|draws| draws.polled(snapshot));
                }
            }
            Event::Replied(Err(error)) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    warn!(%error, "the engine of the fleet does not serve; serving on");
                }
            }
            Event::Redeemed(_) => self.redeeming = false,
            Event::Saved | Event::SaveFailed => self.saving = false,
            Event::Tick | Event::Hinted | Event::Rejected(_) | Event::Asked(_) => {}
        }
        if self.leave_sent
            && let Event::Replied(_) = &result
            && let Some(done) = self.departing.take()
        {
            let _gone = done.send(());
        }
        result
    }

    fn has_departed(&self) -> bool {
        self.leave_sent && self.departing.is_none()
    }

    /// Performs one step; returns when the next one is due.
    fn step(&mut self, event: Event, workers: &Workers) -> Duration {
        let now = now(&self.clock);
        let mut wake_at = now.boot + self.setup.timing.poll;
        for action in self.member.step(event, now) {
            match action {
                Action::Call(call) => {
                    self.leave_sent |= matches!(call, Call::Leave { .. });
                    let _ended = workers.calls.send(call);
                }
                Action::Redeem(wanted) => {
                    self.redeeming = true;
                    let _ended = workers.redemptions.send(convert::redemption(&wanted));
                }
                Action::Save(local) => {
                    self.saving = true;
                    let _ended = workers.saves.send(written(&local));
                }
                Action::WakeAt(at) => wake_at = at,
                Action::Note(note) => log(note),
            }
        }
        wake_at
    }

    fn publish(&mut self) {
        let now = now(&self.clock);
        let token = self.token(now);
        let local = self.member.local();
        let is_locked = local.lock.get().is_some_and(|(_, lock)| lock.locked);
        let has_left = self.view.borrow().has_left;
        let next = View {
            token: token.filter(|_| !has_left),
            is_locked,
            is_logged_out: self.is_logged_out(),
            has_left,
            needs: self.member.blocked().map(convert::need),
            is_busy: self.saving || self.redeeming,
            is_away: self.is_away,
            asks_taken: self.asks_taken,
        };
        self.board.stepped(&self.member, &next, self.contact);
        if !self.saving {
            self.clients.publish(&self.member);
        }
        self.view.send_if_modified(|view| {
            let is_new = *view != next;
            *view = next;
            is_new
        });
    }

    fn is_logged_out(&self) -> bool {
        let epoch = self.member.local().epoch.get();
        epoch.is_some_and(|(_, epoch)| *epoch == shared_session::record::Epoch::Logout)
    }

    /// Returns the token to send, with a number that grows also for one of this member's own.
    fn token(&mut self, now: Now) -> Option<SharedToken> {
        let bearer = self.member.bearer(now)?;
        let silence = self.contact.map_or(now.boot, |at| now.boot.saturating_sub(at));
        if !self.fail_closed_after.is_zero() && self.is_away && silence > self.fail_closed_after {
            return None;
        }
        let local = self.member.local();
        let session = match bearer.generation {
            Some(_) => local.session.get().map(|(_, session)| session),
            None => local.apart.as_ref().map(|apart| &apart.session),
        }?;
        let access = convert::from_shared(&bearer.access);
        let last = self.last.as_ref();
        let same = last.filter(|last| last.access == access);
        let newest = last.map_or(0, |last| last.generation);
        let generation = match (same, bearer.generation) {
            (Some(same), _) => same.generation,
            (None, Some(generation)) => generation.number().max(newest + 1),
            (None, None) => newest + 1,
        };
        // A time that the engine's clock shifts by a moment is no news. After a wrong clock has ended
        // a token, only a rejection does.
        let known = same
            .map(|same| same.expiry)
            .filter(|known| *known > now.boot && known.abs_diff(bearer.expiry) < SMALL_SHIFT);
        let expiry = known.unwrap_or(bearer.expiry);
        let expiry = if expiry > now.boot { expiry } else { now.boot + UNSURE_LIFE };
        let token = SharedToken {
            access,
            generation,
            expiry,
            lifetime: Duration::from_millis(session.lifetime),
            client_id: session.client_id.clone(),
            account: session.account.clone(),
        };
        self.last = Some(token.clone());
        Some(token)
    }
}

impl Workers {
    fn start(
        options: Options,
        mut issuer: impl Redeem,
        mut store: impl MemberStore,
        (board, draws): (Arc<StatusBoard>, Option<Arc<DrawsBoard>>),
    ) -> Self {
        let (result, results) = mpsc::unbounded_channel();
        let (calls, called) = mpsc::unbounded_channel();
        let (redemptions, mut wanted) = mpsc::unbounded_channel();
        let (saves, mut to_save) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(engine_task::perform(options.clone(), called, result.clone(), board));
        tasks.spawn(engine_task::listen(options.clone(), result.clone(), draws.clone()));
        if let Some(draws) = draws {
            tasks.spawn(draws.run(options));
        }
        let redeemed = result.clone();
        tasks.spawn(async move {
            while let Some(wanted) = wanted.recv().await {
                let answer = convert::grant(issuer.redeem(wanted).await);
                let _ended = redeemed.send(Event::Redeemed(answer));
            }
        });
        tasks.spawn(async move {
            while let Some(plain) = to_save.recv().await {
                let is_saved = store.save(plain).await;
                let _ended = result.send(if is_saved { Event::Saved } else { Event::SaveFailed });
            }
        });
        Self { calls, redemptions, saves, results, _tasks: tasks }
    }
}

/// Reads what the last run has kept; else begins with the session of a machine that was alone. That
/// one has a fence below all that an engine draws: a session of the fleet wins.
fn kept(identity: &Identity) -> Local {
    let kept = identity.kept.as_ref().map(|plain| serde_json::from_slice(plain));
    match kept {
        Some(Ok(local)) => return local,
        Some(Err(_)) => warn!("what this member kept is of another version and is not used"),
        None => {}
    }
    let mut local = Local::default();
    if let Some(before) = &identity.before {
        let session = Session { by_password: false, ..convert::session(before) };
        let fence = Fence::new(fastrand::u64(1..FIRST_FENCES)).unwrap_or_default();
        local.is_uncommitted = local.session.raise(fence, session);
    }
    local
}

fn written(local: &Local) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(local).expect("numbers, strings and lists are valid JSON"))
}

fn now(clock: &Clock) -> Now {
    let now = clock.now();
    let wall = now.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now { boot: now.boot, wall: convert::millis(wall) }
}

fn log(note: Note) {
    match note {
        Note::Serving(generation) => debug!(%generation, "serving the session of the fleet"),
        Note::Epoch(fence) => info!(%fence, "the fleet has logged in or out"),
        Note::Behind => {
            warn!(
                "the engine of the fleet has lost what its members know; nothing is spent meanwhile"
            );
        }
        Note::Waiting => info!("waiting for the member that was renewing the session"),
        Note::Apart => warn!("cut off from the fleet: serving a session of this machine's own"),
        Note::Intended { fence, .. } => debug!(%fence, "renewing the session of the fleet"),
        Note::Resolved(fence) => debug!(%fence, "the renewal has ended"),
        Note::Blocked(_) => debug!("only a person can help"),
    }
}

const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Two readings of the engine's clock that differ by less are the same.
const SMALL_SHIFT: Duration = Duration::from_secs(2);

/// How long a token is served at a time whose end is not known.
const UNSURE_LIFE: Duration = Duration::from_secs(30);

/// Fences below this one are of the first days of 1970: no engine draws one.
const FIRST_FENCES: u64 = 1 << 40;
