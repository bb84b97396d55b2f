//! From a configuration to a running daemon and back: what starts first, what stops last.
//!
//! Start: the profile's lock, the trust anchors, the listeners (a port in use ends it here), the
//! session's keeper, the data path. Stop: no new connections, requests in flight, the data path,
//! the keeper once the newest token pair is durable, the lock.
//!
//! The caller's runtime is the control runtime: session and name resolution run there. The data
//! path has a thread and a runtime of its own, so that nothing slow stands between two bytes.

pub mod process;

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::{Config, Origin, Paths, UnixSocket};
use crate::credentials::Credentials;
use crate::gateway::{Connections, Gateway, Guard};
use crate::listen::{self, Bound, Drain, Draining};
use crate::session::{Session, issuer};
use crate::upstream::{self, Keep, Resolver, Timeouts, Upstream};

/// A running daemon. Dropping it aborts what it is doing; [`Daemon::stop`] lets it finish.
#[derive(Debug)]
pub struct Daemon {
    addresses: Vec<SocketAddr>,
    host_addresses: Vec<Vec<SocketAddr>>,
    socket: Option<PathBuf>,
    session: Session,
    drain: Drain,
    data: Option<Data>,
    keeper: tokio::task::JoinHandle<()>,
    lock: File,
}

/// What may be other than the configuration says: time, and the login.
#[derive(Debug)]
pub struct Setting {
    /// What time it is.
    pub clock: Clock,
    /// Who logs in.
    pub credentials: Credentials,
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon serves this profile.
    #[error("another daemon is already serving the profile `{profile}`")]
    AlreadyRunning {
        /// The profile.
        profile: String,
    },
    /// The state directory cannot be used.
    #[error("could not use the state directory {}", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody can be believed.
    #[error(transparent)]
    Trust(#[from] upstream::TrustError),
    /// A place could not be listened on.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Neither an address nor a socket is configured.
    #[error("there is nothing to listen on")]
    Nowhere,
    /// `upstream.user_agent` cannot be sent.
    #[error("upstream.user_agent cannot be sent in a header")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    /// The daemon's own HTTP client could not be made.
    #[error("could not make the client for the token endpoint")]
    Client(#[source] reqwest::Error),
    /// The system gave no thread, or no runtime for it.
    #[error("could not start the data path")]
    Data(#[source] io::Error),
}

impl Daemon {
    /// Starts everything. When it returns, requests are answered, if only with a 503.
    ///
    /// # Errors
    ///
    /// Everything that only a person can repair; nothing is left running then.
    pub async fn start(config: &Config, paths: &Paths, setting: Setting) -> Result<Self, Error> {
        let lock = lock(paths)?;
        let tls = upstream::tls(config.upstream.ca_file.as_deref())?;
        let resolver = Resolver::new(Handle::current());
        let places = Places::bind(config, paths)?;

        let client = issuer::client(reqwest::Client::builder())
            .tls_backend_preconfigured((*tls).clone())
            .dns_resolver(Arc::new(resolver.clone()))
            .connect_timeout(config.upstream.connect_timeout)
            .build()
            .map_err(Error::Client)?;
        let (session, keeper) = Session::new(
            &config.session,
            Some(paths.profile_state()),
            setting.credentials,
            issuer::Http::new(client, config.upstream.origin.to_string()),
            setting.clock.clone(),
        );
        let keeper = tokio::spawn(keeper.run());

        let (drain, draining) = Drain::new();
        let clock = setting.clock;
        let forward = Forward { config, session: &session, tls, resolver, clock };
        let addresses = addresses(&places.own);
        let socket = places.own.iter().find_map(socket);
        let host_addresses = places.hosts.iter().map(|host| self::addresses(host)).collect();
        let data = Data::start(
            forward.routes(places)?,
            Connections::new(&config.limits, draining.clone()),
            draining,
        )
        .map_err(Error::Data)?;
        Ok(Self {
            addresses,
            host_addresses,
            socket,
            session,
            drain,
            data: Some(data),
            keeper,
            lock,
        })
    }

    /// Returns the TCP addresses of the API, at least one unless only the socket is listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the TCP addresses of each `[[host]]`, in the order of the configuration.
    pub fn host_addresses(&self) -> &[Vec<SocketAddr>] {
        &self.host_addresses
    }

    /// Returns the unix socket, if there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns how many requests are being answered.
    pub fn in_flight(&self) -> usize {
        self.drain.in_flight()
    }

    /// Stops: lets requests in flight finish for `limit`, then answers them with a 503, then ends.
    pub async fn stop(mut self, limit: Duration) {
        self.drain.begin();
        if !self.drain.finished(limit).await {
            tracing::warn!(in_flight = self.in_flight(), "requests did not finish in time");
            self.drain.end();
            self.drain.finished(LAST_WORDS).await;
        }
        if let Some(data) = self.data.take() {
            data.join().await;
        }
        self.session.settle().await;
        self.keeper.abort();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.keeper.abort();
        // Closing would not do: a command that is just being started has a copy of the descriptor.
        let _ = self.lock.unlock();
    }
}

/// How long a 503 may take to be written, once the time to finish is over.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Everything that is listened on, bound before anything runs.
struct Places {
    own: Vec<Bound>,
    hosts: Vec<Vec<Bound>>,
}

impl Places {
    fn bind(config: &Config, paths: &Paths) -> Result<Self, Error> {
        let mut own = listen::bind_tcp(&config.listen.tcp)?;
        #[cfg(unix)]
        match &config.listen.unix {
            UnixSocket::Auto => own.push(listen::bind_unix(&paths.proxy_socket())?),
            UnixSocket::Path(path) => own.push(listen::bind_unix(path)?),
            UnixSocket::Off => {}
        }
        if own.is_empty() {
            return Err(Error::Nowhere);
        }
        let hosts = config.hosts.iter().map(|host| listen::bind_tcp(&host.listen));
        Ok(Self { own, hosts: hosts.collect::<Result<_, _>>()? })
    }
}

fn addresses(places: &[Bound]) -> Vec<SocketAddr> {
    places.iter().filter_map(Bound::address).collect()
}

fn socket(place: &Bound) -> Option<PathBuf> {
    place.path().map(Path::to_owned)
}

/// What every route is made of.
struct Forward<'a> {
    config: &'a Config,
    session: &'a Session,
    tls: Arc<rustls::ClientConfig>,
    resolver: Resolver,
    clock: Clock,
}

/// A place to listen on, and who answers there.
type Route = (Bound, Arc<Gateway>);

impl Forward<'_> {
    fn routes(&self, places: Places) -> Result<Vec<Route>, Error> {
        let limits = &self.config.limits;
        let keep = Keep::new(limits.replay_body, most(limits.body_bytes), limits.body_idle);
        let mut routes = self.route(&self.config.upstream.origin, places.own, &keep)?;
        for (host, places) in self.config.hosts.iter().zip(places.hosts) {
            routes.extend(self.route(&host.origin, places, &keep)?);
        }
        Ok(routes)
    }

    fn route(&self, origin: &Origin, places: Vec<Bound>, keep: &Keep) -> Result<Vec<Route>, Error> {
        let config = self.config;
        let timeouts = Timeouts {
            connect: config.upstream.connect_timeout,
            header: config.upstream.header_timeout,
        };
        let (tls, resolver) = (self.tls.clone(), self.resolver.clone());
        let upstream = Upstream::new(origin.clone(), tls, resolver, timeouts, self.clock.clone());
        let guard =
            Guard::new(&addresses(&places), &config.listen.hosts, config.limits.target_bytes);
        let user_agent = config.upstream.user_agent.as_deref().map(HeaderValue::from_str);
        let user_agent = user_agent.transpose().map_err(Error::UserAgent)?;
        let gateway = Gateway::new(guard, keep.clone(), self.session.clone(), upstream, user_agent);
        let gateway = Arc::new(gateway);
        Ok(places.into_iter().map(|place| (place, gateway.clone())).collect())
    }
}

/// 0 in the configuration means no bound.
fn most(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}

/// The data path: its thread, and the word that ends it.
#[derive(Debug)]
struct Data {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Data {
    /// Starts the thread and waits until it listens.
    fn start(routes: Vec<Route>, connections: Connections, draining: Draining) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watched = {
            let _inside = runtime.enter();
            routes
                .into_iter()
                .map(|(place, gateway)| Ok((place.watch()?, gateway)))
                .collect::<io::Result<Vec<_>>>()?
        };
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                for (listener, gateway) in watched {
                    tokio::spawn(accept(listener, gateway, connections.clone(), draining.clone()));
                }
                drop((connections, draining));
                // Dropped or told: either way this path is over.
                ended.await.ok();
            });
            // What still runs is aborted with its runtime; a stuck name look-up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("data".to_owned()).spawn(serve)?;
        Ok(Self { thread, end })
    }

    async fn join(self) {
        self.end.send(()).ok();
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("the data path ended with a panic");
        }
    }
}

async fn accept(
    listener: listen::Listener,
    gateway: Arc<Gateway>,
    connections: Connections,
    mut draining: Draining,
) {
    let serve = async {
        loop {
            let (stream, peer) = listener.next().await;
            tokio::spawn(connections.clone().serve(gateway.clone(), stream, peer));
        }
    };
    tokio::select! {
        () = draining.begun() => {}
        () = serve => {}
    }
}

/// Takes the profile's lock: the kernel releases it with the process, however that ends.
fn lock(paths: &Paths) -> Result<File, Error> {
    let directory = paths.profile_state();
    let failed = |source| Error::State { path: directory.clone(), source };
    private_directory(&directory).map_err(failed)?;
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(directory.join("daemon.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::AlreadyRunning { profile: paths.profile.clone() })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes a directory that only its owner can enter.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
