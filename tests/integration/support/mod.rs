//! The stage of every promise: an upstream, a daemon in front of it, a client, a clock.

pub mod admin;
#[cfg(feature = "fleet")]
mod engine;
pub mod forward;
mod load_clients;
mod manual_time;
pub mod path_spellings;
mod process;
pub mod raw_answers;
pub mod raw_upstream;
mod stalled_disk;
pub mod throttle;
pub mod tls_records;
pub mod websocket;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "fleet")]
pub use self::engine::FleetEngine;
pub use self::load_clients::{LoadClients, executed_once};
pub use self::manual_time::{
    advance, advance_a_day, assert_recovers, get_error_code, impatient, secs, short_lived_tokens,
};
pub use self::process::{DaemonProcess, ProcessSetup};
pub use self::stalled_disk::StalledDisk;

use nexudus_proxy::admin::client::AdminClient;
use nexudus_proxy::clock::{Clock, ManualClock};
use nexudus_proxy::config::{Config, Origin, Paths, SessionStore};
use nexudus_proxy::credentials::{Credentials, Login, SecondFactor};
use nexudus_proxy::daemon::{self, Deps};
use nexudus_proxy::secret::Secret;
use nexudus_simulator::{Account, Builder, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const EMAIL: &str = "ada@example.test";
pub const PASSWORD: &str = "marker-password-7f3a";

/// A simulated Nexudus with one account.
pub fn upstream() -> Builder {
    Simulator::builder().account(ada())
}

/// The account of [`upstream`], to be changed and added again.
pub fn ada() -> Account {
    Account::new(EMAIL, PASSWORD)
}

/// A daemon in front of `upstream`, not yet started.
pub fn daemon(upstream: &Simulator) -> DaemonSetup {
    daemon_before(upstream.address().port(), upstream.ca_pem())
}

/// A daemon in front of whatever listens on `port` of localhost and proves it with `ca`.
pub fn daemon_before(port: u16, ca: &str) -> DaemonSetup {
    let home = tempfile::tempdir().unwrap();
    let ca_file = home.path().join("ca.pem");
    std::fs::write(&ca_file, ca).unwrap();
    let mut config = Config::default();
    config.upstream.origin = Origin::new("localhost", port);
    config.upstream.ca_file = Some(ca_file);
    config.listen.tcp = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    config.session.store = SessionStore::Memory;
    let login = Some(Login {
        email: EMAIL.to_owned(),
        password: Secret::new(PASSWORD),
        second_factor: None,
    });
    let source = LoginSource::Memory(login);
    DaemonSetup { home, config, source, clock: Clock::system() }
}

pub struct DaemonSetup {
    home: TempDir,
    config: Config,
    source: LoginSource,
    clock: Clock,
}

/// Where the login is read.
enum LoginSource {
    Memory(Option<Login>),
    /// A file, which changes when the user does.
    File,
}

impl DaemonSetup {
    /// Changes the configuration.
    pub fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Removes the login.
    pub fn without_login(mut self) -> Self {
        self.source = LoginSource::Memory(None);
        self
    }

    /// Logs in with another password.
    pub fn password(mut self, password: &str) -> Self {
        if let LoginSource::Memory(Some(login)) = &mut self.source {
            login.password = Secret::new(password);
        }
        self
    }

    /// Logs in with a second factor.
    pub fn with_second_factor(mut self, factor: SecondFactor) -> Self {
        if let LoginSource::Memory(Some(login)) = &mut self.source {
            login.second_factor = Some(factor);
        }
        self
    }

    /// Logs in with a password that [`Daemon::change_login`] can change.
    pub fn with_login_file(mut self, password: &str) -> Self {
        let file = self.home.path().join("password");
        std::fs::write(&file, password).unwrap();
        self.config.credentials = nexudus_proxy::config::Credentials {
            source: nexudus_proxy::config::LoginSource::Command,
            email: Some(EMAIL.to_owned()),
            command: vec!["cat".to_owned(), file.to_str().unwrap().to_owned()],
        };
        self.source = LoginSource::File;
        self
    }

    /// Keeps the session in a file, as a daemon with a key does.
    pub fn stored(self) -> Self {
        self.set(|config| {
            config.session.store = SessionStore::File;
            config.session.key_command = ["printf", SESSION_KEY].map(str::to_owned).to_vec();
        })
    }

    /// Stops the clock; the returned hand moves it.
    pub fn manual_clock(mut self) -> (Self, ManualClock) {
        let (clock, hand) = Clock::manual();
        self.clock = clock;
        (self, hand)
    }

    /// Starts it.
    pub async fn run(self) -> Daemon {
        let running = self.start().await.unwrap();
        let Self { home, config, source, clock } = self;
        Daemon { running, client: client(), config, home, source, clock }
    }

    /// Starts it, or says why it does not start.
    pub async fn start(&self) -> Result<daemon::Daemon, daemon::Error> {
        let paths = Paths::rooted_at(self.home.path());
        let credentials = match &self.source {
            LoginSource::Memory(login) => Credentials::in_memory(login.clone()),
            LoginSource::File => {
                Credentials::from_config(&self.config, &paths.profile_state(), &paths.profile)
            }
        };
        let setting = Deps { clock: self.clock.clone(), credentials };
        daemon::Daemon::start(&self.config, &paths, setting).await
    }
}

/// A client that follows, keeps and resolves nothing behind a test's back.
fn client() -> reqwest::Client {
    // It never uses TLS, but must be given some.
    let tls = nexudus_proxy::upstream::load_tls_config(None).unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // An answer that never comes fails the test instead of hanging it.
        .timeout(2 * EVENT_TIMEOUT)
        .build()
        .unwrap()
}

/// A running daemon and a client of it.
pub struct Daemon {
    pub running: daemon::Daemon,
    pub config: Config,
    client: reqwest::Client,
    home: TempDir,
    source: LoginSource,
    clock: Clock,
}

impl Daemon {
    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    /// Returns the directory that everything of it is in.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns the other end of its admin socket.
    pub async fn admin(&self) -> AdminClient {
        let socket = Paths::rooted_at(self.home.path()).admin_socket();
        AdminClient::find(&[socket]).await.unwrap()
    }

    /// Returns the metrics as a scraper gets them.
    pub async fn metrics(&self) -> String {
        self.admin_text("/metrics").await
    }

    /// Returns the response to a GET on the admin socket, head and body.
    pub async fn admin_text(&self, path: &str) -> String {
        let socket = Paths::rooted_at(self.home()).admin_socket();
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Begins a request to it.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://localhost:{}{path}", self.address().port());
        self.client.request(method.parse().unwrap(), url)
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.request("GET", path).send().await.unwrap()
    }

    /// Sends a POST with a JSON body.
    pub async fn post(&self, path: &str, body: &str) -> reqwest::Response {
        let request = self.request("POST", path).header("content-type", "application/json");
        request.body(body.to_owned()).send().await.unwrap()
    }

    /// Sends these bytes on a connection of their own and returns all that comes back before it is
    /// closed. `HOST` stands for the daemon's own address.
    pub async fn raw(&self, bytes: &str) -> String {
        let bytes = bytes.replace("HOST", &self.address().to_string());
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        // The daemon may respond and close before it has read all of it.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = vec![];
        let read = stream.read_to_end(&mut answer);
        // A connection that is reset after its response has still responded.
        tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("the connection stays open").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until the session's state satisfies `wanted`.
    pub async fn session_until(
        &self,
        wanted: impl Fn(&nexudus_proxy::session::SessionStatus) -> bool,
    ) -> std::sync::Arc<nexudus_proxy::session::SessionStatus> {
        let session = self.running.session();
        let mut changes = session.subscribe();
        let waiting = async {
            loop {
                let view = session.status();
                if wanted(&view) {
                    return view;
                }
                changes.changed().await.unwrap();
            }
        };
        let view = tokio::time::timeout(EVENT_TIMEOUT, waiting).await;
        view.unwrap_or_else(|_| panic!("the session stays {:?}", session.status()))
    }

    /// Waits until the session has done what the present time asks of it.
    pub async fn idle(&self) -> std::sync::Arc<nexudus_proxy::session::SessionStatus> {
        // The keeper runs on this thread: it looks at the time before this goes on.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.session_until(|view| !view.renewing).await
    }

    /// Changes the login of [`DaemonSetup::with_login_file`], as `login` does.
    pub async fn change_login(&self, password: &str) {
        std::fs::write(self.home().join("password"), password).unwrap();
        self.running.session().credentials_changed().await;
    }

    /// Stops it and returns its home.
    pub async fn stop(self) -> TempDir {
        self.restart().await.home
    }

    /// Stops it and returns the next one, in the same home and at the same time.
    pub async fn restart(self) -> DaemonSetup {
        let Self { running, config, home, source, clock, .. } = self;
        running.stop(config.daemon.drain).await;
        DaemonSetup { home, config, source, clock }
    }
}

/// Ends a test that only root can make: becoming another user, or looking into a process. Skipped, it
/// would look like one that passed.
pub fn needs_root() {
    assert!(nix::unistd::geteuid().is_root(), "this takes root: `sudo -E make test`");
}

/// Reads the code in an error of the daemon's own.
pub async fn error_code(answer: reqwest::Response) -> String {
    problem_json(answer).await["code"].as_str().unwrap().to_owned()
}

/// Returns the grants asked for so far, in order.
pub fn grant_types(upstream: &Simulator) -> Vec<String> {
    upstream.token_calls().into_iter().map(|call| call.grant.unwrap_or_default()).collect()
}

/// Returns how many requests for a path prefix have arrived.
pub fn request_count(upstream: &Simulator, prefix: &str) -> usize {
    upstream.requests().iter().filter(|seen| seen.path().starts_with(prefix)).count()
}

/// The path that tells whether a token is alive.
pub const PROBE_PATH: &str = "/api/auth/me";

/// The key of the session file: any 16 bytes or more.
pub const SESSION_KEY: &str = "a key of our own tests";

/// Reads the problem in an answer of the daemon's own.
pub async fn problem_json(answer: reqwest::Response) -> serde_json::Value {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert!(answer.headers().contains_key("proxy-status"));
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Longest wait for an event that must come.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
