//! The settings of a simulator before its start, and the start.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::account::Account;
use crate::clock::Clock;
use crate::data::Store;
use crate::failed_logins::FailedLogins;
use crate::recorder::{RecordedRequest, Recording};
use crate::rng::Rng;
use crate::settings::Settings;
use crate::simulator::{Simulator, loopback};
use crate::state::{Observer, SharedState, SimulatorState};
use crate::tls::{self, Alpn, Certificate, TlsError};
use crate::tokens::TokenStore;
use crate::{control, server};

impl Simulator {
    /// Returns a builder with the demo account.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one with the defaults.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }
}

/// Builds a [`Simulator`].
#[derive(Default)]
pub struct Builder {
    accounts: Vec<Account>,
    settings: Settings,
    certificate: Certificate,
    alpn: Alpn,
    names: Vec<String>,
    listen: Option<SocketAddr>,
    control: Option<SocketAddr>,
    seed: u64,
    frozen: bool,
    observer: Option<Observer>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No certificate could be made.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
    /// The address could not be had.
    #[error("could not listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The thread or its runtime did not start.
    #[error("could not start the simulator's thread")]
    Thread(#[source] std::io::Error),
}

impl Builder {
    /// Adds an account. The first one added replaces the demo account.
    pub fn account(mut self, account: Account) -> Self {
        self.accounts.push(account);
        self
    }

    /// Turns settings before the start.
    pub fn set(mut self, turn: impl FnOnce(&mut Settings)) -> Self {
        turn(&mut self.settings);
        self
    }

    /// Chooses what is wrong with the certificate. Default nothing.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Chooses the versions of HTTP offered. Default both.
    pub fn alpn(mut self, alpn: Alpn) -> Self {
        self.alpn = alpn;
        self
    }

    /// Adds a name or an address to the certificate.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Chooses the address. Default port 0 on 127.0.0.1, and the same port on `[::1]`.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Opens a plain-HTTP control address; port 0 picks one. Default none.
    pub fn control(mut self, address: SocketAddr) -> Self {
        self.control = Some(address);
        self
    }

    /// Seeds the invented data and the chances of faults. Default 0. Tokens are never seeded.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Stops the simulator's clock: it moves only by [`Simulator::advance`].
    pub fn frozen_clock(mut self) -> Self {
        self.frozen = true;
        self
    }

    /// Is called with every request once it is over, on the simulator's thread.
    pub fn on_request(
        mut self,
        observer: impl Fn(&RecordedRequest) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Starts the simulator on a thread and a runtime of its own, and returns once it listens.
    ///
    /// # Errors
    ///
    /// [`StartError`] when there is no certificate, no address or no thread to be had.
    pub fn start(self) -> Result<Simulator, StartError> {
        let identity = tls::make_certificate(self.certificate, self.alpn, &self.names)?;
        let state = initial_state(self.settings, self.accounts, self.seed);
        let shared = Arc::new(SharedState::new(Clock::new(self.frozen), self.observer, state));
        let (stop, stopped) = oneshot::channel();
        let (report, reported) = mpsc::channel();
        let (inner, config) = (Arc::clone(&shared), identity.server);
        let thread = std::thread::Builder::new().name("nexudus-simulator".to_owned());
        let thread = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = report.send(Err(StartError::Thread(error)));
                    return;
                }
            };
            runtime.block_on(async {
                let opened = open(&inner, &config, self.listen, self.control).await;
                let failed = opened.is_err();
                let _ = report.send(opened.map(|(at, control)| (at, control, Handle::current())));
                if !failed {
                    let _ = stopped.await;
                }
            });
        });
        let thread = thread.map_err(StartError::Thread)?;
        let lost = || StartError::Thread(std::io::Error::other("the thread ended"));
        let (address, control, runtime) = reported.recv().map_err(|_| lost())??;
        Ok(Simulator {
            shared,
            address,
            control,
            ca_pem: identity.ca_pem,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn initial_state(settings: Settings, accounts: Vec<Account>, seed: u64) -> SimulatorState {
    let mut state = SimulatorState {
        settings,
        accounts: Vec::new(),
        tokens: TokenStore::new(),
        logins: FailedLogins::default(),
        throttle: crate::throttle::Throttle::default(),
        store: Store::new(seed),
        rng: Rng::from_seed(seed),
        recording: Recording::default(),
        holds: Vec::new(),
        origin: String::new(),
        listeners: 0,
        all_listeners: 0,
        last_id: 0,
        created_coworkers: (0, 0),
    };
    if accounts.is_empty() {
        state.put_account(Account::default());
    }
    accounts.into_iter().for_each(|account| state.put_account(account));
    state
}

async fn open(
    shared: &Arc<SharedState>,
    config: &Arc<ServerConfig>,
    listen: Option<SocketAddr>,
    control: Option<SocketAddr>,
) -> Result<(SocketAddr, Option<SocketAddr>), StartError> {
    let listeners = match listen {
        Some(address) if address.port() != 0 => {
            let first = bind(address).await?;
            let (v4, v6) = loopback(address.port());
            let other = if address == v4 { TcpListener::bind(v6).await.ok() } else { None };
            vec![Some(first), other]
        }
        Some(address) => vec![Some(bind(address).await?)],
        None => pair().await?,
    };
    let mut listeners = listeners.into_iter().flatten().peekable();
    let found = listeners.peek().map(TcpListener::local_addr);
    let address = found
        .unwrap_or_else(|| Err(std::io::Error::other("no listener")))
        .map_err(|error| StartError::Listen(loopback(0).0, error))?;
    shared.change(|state| state.origin = format!("https://localhost:{}", address.port()));
    for listener in listeners {
        shared.change(|state| {
            state.listeners += 1;
            state.all_listeners += 1;
        });
        tokio::spawn(server::listen(Arc::clone(shared), Arc::clone(config), listener));
    }
    let mut control_address = None;
    if let Some(wanted) = control {
        let listener = bind(wanted).await?;
        control_address = listener.local_addr().ok();
        tokio::spawn(control::listen(Arc::clone(shared), listener));
    }
    Ok((address, control_address))
}

/// Finds a port that is free on both loopback addresses, or settles for IPv4 alone.
async fn pair() -> Result<Vec<Option<TcpListener>>, StartError> {
    let mut first = bind(loopback(0).0).await?;
    for _ in 0..8 {
        let port = first.local_addr().map_or(0, |address| address.port());
        match TcpListener::bind(loopback(port).1).await {
            Ok(second) => return Ok(vec![Some(first), Some(second)]),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                first = bind(loopback(0).0).await?;
            }
            Err(_) => break,
        }
    }
    Ok(vec![Some(first)])
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

impl SimulatorState {
    pub(crate) fn put_account(&mut self, mut account: Account) {
        if account.id == 0 {
            account.id = 1_400_000_001 + self.accounts.len() as u64;
        }
        self.accounts.retain(|known| !known.goes_by(&account.email));
        self.accounts.push(account);
    }
}
