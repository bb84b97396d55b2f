//! The handle of this machine's member.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_session::engine::{Address, Durability, Options};
use shared_session::member::{Command, Event, Setup};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::script::Keyspace;
use shared_session::seal::Keyring;
use shared_session::timing::Timing;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::draws_board::{DrawsBoard, Lane, SharedUnits};
use super::member_task::{Ask, MemberTask};
use super::status_board::StatusBoard;
use super::{
    Chains, FleetError, FleetStatus, Identity, MemberStore, Pair, Redeem, SharedClients, View,
    convert,
};
use crate::clock::Clock;
use crate::config::{self, Config, FleetDurability, FleetShare, Origin};
use crate::credentials::{self, FleetSecrets};
use crate::upstream;

/// The member that this machine is. Clones share it.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    options: Options,
    setup: Setup,
    fail_closed_after: Duration,
    clock: Clock,
    view: watch::Sender<View>,
    clients: watch::Sender<SharedClients>,
    board: Arc<StatusBoard>,
    /// `None`: neither the pace nor the clients are shared.
    draws: Option<Arc<DrawsBoard>>,
    shared: Vec<FleetShare>,
    asks: mpsc::UnboundedSender<Ask>,
    asked: AtomicU64,
    state: Mutex<State>,
}

enum State {
    Waiting(mpsc::UnboundedReceiver<Ask>),
    Running(JoinHandle<()>),
    Ended,
}

impl Fleet {
    /// Makes the member that the configuration asks for; `None` without an engine.
    ///
    /// # Errors
    ///
    /// [`FleetError`]: nothing of the section is used by half.
    pub async fn from_config(config: &Config, clock: &Clock) -> Result<Option<Self>, FleetError> {
        if config.fleet.engine.is_none() {
            return Ok(None);
        }
        let directory = credentials::credentials_directory();
        let var = |name: &str| std::env::var_os(name);
        let secrets = FleetSecrets::read(&config.fleet, directory, var).await?;
        Self::new(config, &secrets, clock.clone()).map(Some)
    }

    fn new(config: &Config, secrets: &FleetSecrets, clock: Clock) -> Result<Self, FleetError> {
        let fleet = &config.fleet;
        let url = fleet.engine.as_ref().map(config::EngineUrl::as_str).unwrap_or_default();
        let address = Address::parse(url).map_err(unusable)?;
        let tls = upstream::load_tls_config(fleet.ca_file.as_deref()).map_err(unusable)?;
        let name = keyspace_name(&config.profile, &config.upstream.origin);
        let keys: Vec<&[u8]> = secrets.keys.iter().map(|key| key.as_slice()).collect();
        let keys = Keyring::new(&name, &keys).map_err(unusable)?;
        let timing = Timing { clients_stale: fleet.clients_stale, ..Timing::default() };
        let timing = timing.scaled(fleet.timing_divisor.max(1));
        let options = Options {
            address,
            username: fleet.username.clone(),
            password: secrets.password.as_ref().map(convert::to_shared),
            tls: Some(tls),
            keyspace: Keyspace::new(PREFIX, &name),
            durability: durability(fleet.durability),
            timeout: CALL_TIMEOUT,
            timing,
        };
        let info = member_info(fleet.name.as_ref());
        let board = StatusBoard::new(&info, fleet.share.contains(&FleetShare::Clients));
        let board = Arc::new(board);
        let setup = Setup {
            me: Incarnation::random(),
            keys: Arc::new(keys),
            timing,
            info,
            client_id: String::new(),
            apart_client_id: String::new(),
            password: None,
            partition_login: fleet.partition_login,
        };
        let (asks, received) = mpsc::unbounded_channel();
        Ok(Self(Arc::new(Inner {
            draws: new_draws(&fleet.share, &setup, &clock),
            options,
            setup,
            shared: fleet.share.clone(),
            fail_closed_after: fleet.fail_closed_after,
            clock,
            view: watch::Sender::new(View::default()),
            clients: watch::Sender::new(SharedClients::default()),
            board,
            asks,
            asked: AtomicU64::new(0),
            state: Mutex::new(State::Waiting(received)),
        })))
    }

    /// Returns how the engine is reached.
    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    /// Returns the clock of the member.
    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the latest view.
    pub fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// Follows the view.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.0.view.subscribe()
    }

    /// Says whether the members share their named clients.
    pub fn shares_clients(&self) -> bool {
        self.shares(FleetShare::Clients)
    }

    /// Follows the named clients.
    pub fn subscribe_clients(&self) -> watch::Receiver<SharedClients> {
        self.0.clients.subscribe()
    }

    /// Adds or changes a named client.
    pub fn put_client(&self, id: String, payload: String) {
        let client = shared_session::record::Client { payload };
        self.command(Command::PutClient { id, client });
    }

    /// Revokes a named client, for good.
    pub fn revoke_client(&self, id: String) {
        self.command(Command::Revoke { id });
    }

    /// Notes how many records of clients this machine cannot read, for `fleet status`.
    pub fn note_unreadable_clients(&self, number: usize) {
        self.0.board.note_unreadable(number);
    }

    /// Returns the lanes of the common pace, reads and writes, where it is shared.
    pub fn lanes(&self) -> Option<[Lane; 2]> {
        let draws = self.0.draws.as_ref();
        draws.filter(|_| self.shares(FleetShare::Throttle)).map(|draws| draws.lanes())
    }

    /// Returns the counters of clients, where they are shared.
    pub fn units(&self) -> Option<SharedUnits> {
        let draws = self.0.draws.as_ref();
        draws.filter(|_| self.shares(FleetShare::Clients)).map(|draws| draws.units())
    }

    fn shares(&self, part: FleetShare) -> bool {
        self.0.shared.contains(&part)
    }

    /// Says whether the member was started.
    pub fn is_started(&self) -> bool {
        !matches!(*self.state(), State::Waiting(_))
    }

    /// Starts the member, once.
    pub fn start(&self, identity: Identity, issuer: impl Redeem, store: impl MemberStore) {
        let inner = &self.0;
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Ended) {
            State::Waiting(asks) => {
                let task = MemberTask::new(
                    inner.setup.clone(),
                    identity,
                    inner.clock.clone(),
                    (inner.view.clone(), inner.clients.clone()),
                    inner.board.clone(),
                )
                .failing_closed_after(inner.fail_closed_after)
                .with_draws(inner.draws.clone());
                let options = inner.options.clone();
                *state = State::Running(tokio::spawn(task.run(options, issuer, store, asks)));
            }
            other @ (State::Running(_) | State::Ended) => *state = other,
        }
    }

    /// Reports that Nexudus has rejected the token of this generation, and a probe too.
    pub fn reject(&self, generation: u64) {
        self.ask(Ask::Reject(generation));
    }

    /// Renews the pair, although it is not due.
    pub fn renew(&self) {
        self.command(Command::Renew);
    }

    /// Proves the stored login, which a person has given, and begins an epoch.
    pub fn log_in(&self, account: String, needs_code: bool) {
        self.command(Command::Login { account, needs_code });
    }

    /// Begins an epoch with the pair that a person's login has brought.
    pub fn bring(&self, pair: Pair) {
        self.command(Command::Bring { session: convert::session(&pair) });
    }

    /// Ends the session of all members.
    pub fn log_out(&self) {
        self.command(Command::Logout);
    }

    /// Locks or unlocks all members.
    pub fn set_locked(&self, locked: bool) {
        self.command(if locked { Command::Lock } else { Command::Unlock });
    }

    /// Returns the chains of refresh tokens that the members know of; none before the member runs.
    pub async fn chains(&self) -> Chains {
        let (tell, told) = oneshot::channel();
        if !matches!(*self.state(), State::Running(_)) {
            return Chains::default();
        }
        self.ask(Ask::Chains(tell));
        told.await.unwrap_or_default()
    }

    /// Strikes the sessions of members that were cut off from the list: they have ended at Nexudus.
    pub fn end_strays(&self, client_ids: Vec<String>) {
        self.command(Command::EndStrays { client_ids });
    }

    /// Takes this machine off the list, for good; returns once the engine knows or does not answer.
    pub async fn leave(&self) {
        self.depart().await;
        self.stop();
        self.0.view.send_modify(|view| (view.has_left, view.token) = (true, None));
    }

    /// Takes this run off the list, because the daemon stops.
    pub async fn end(&self) {
        self.depart().await;
        self.stop();
    }

    async fn depart(&self) {
        let (done, departed) = oneshot::channel();
        if matches!(*self.state(), State::Running(_)) {
            self.ask(Ask::Depart { done });
            let _ = tokio::time::timeout(DEPART_TIMEOUT, departed).await;
        }
    }

    /// Ends the member's task at once.
    pub fn stop(&self) {
        if let State::Running(task) = std::mem::replace(&mut *self.state(), State::Ended) {
            task.abort();
        }
        if let Some(draws) = &self.0.draws {
            draws.close();
        }
    }

    /// Returns the state of the fleet.
    pub fn status(&self) -> FleetStatus {
        let left = self.0.view.borrow().has_left;
        let draws = self.0.draws.as_ref().filter(|_| self.shares(FleetShare::Throttle));
        let paces = draws.map(|draws| draws.paces()).unwrap_or_default();
        FleetStatus { left, paces, ..self.0.board.status(self.0.clock.boot()) }
    }

    fn command(&self, command: Command) {
        self.ask(Ask::Event(Box::new(Event::Asked(command))));
    }

    /// A member that has ended takes nothing.
    fn ask(&self, ask: Ask) {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let _ended = self.0.asks.send(ask);
    }

    /// Returns how many requests were made: those that [`View::asks_taken`] counts, and those that are
    /// on their way.
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fleet({:?})", self.0.setup.me)
    }
}

/// Returns the name under which the records of a profile stand: a token of another origin is another
/// fleet's, and does not open here.
fn keyspace_name(profile: &str, origin: &Origin) -> String {
    if *origin == Origin::nexudus() {
        profile.to_owned()
    } else {
        format!("{profile}@{}", origin.authority())
    }
}

/// Makes what members draw from together, unless they share the session alone.
fn new_draws(share: &[FleetShare], setup: &Setup, clock: &Clock) -> Option<Arc<DrawsBoard>> {
    let is_needed = share.iter().any(|share| *share != FleetShare::Session);
    let (me, timing) = (setup.me.clone(), setup.timing);
    is_needed.then(|| Arc::new(DrawsBoard::new(me, timing, clock.clone())))
}

fn durability(configured: FleetDurability) -> Durability {
    match configured {
        FleetDurability::Auto => Durability::Auto,
        FleetDurability::None => Durability::None,
    }
}

fn member_info(name: Option<&String>) -> MemberInfo {
    MemberInfo {
        name: name.cloned().unwrap_or_else(host_name),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn unusable(why: impl std::fmt::Display) -> FleetError {
    FleetError::Unusable(why.to_string())
}

fn host_name() -> String {
    #[cfg(target_os = "linux")]
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    #[cfg(not(target_os = "linux"))]
    let name = std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    name.unwrap_or_else(|| "unnamed".to_owned())
}

/// The beginning of all keys in the engine.
const PREFIX: &str = "nexudus-proxy";

/// Longest wait for the engine's answer to one call: a lease holds for many of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait of a member that leaves for the engine.
const DEPART_TIMEOUT: Duration = Duration::from_secs(2);
