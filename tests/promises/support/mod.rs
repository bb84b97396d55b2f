//! The stage of every promise: an upstream, a daemon in front of it, a client, a clock.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nexudus_proxy::admin::client::Client;
use nexudus_proxy::clock::{Clock, Hand};
use nexudus_proxy::config::{Config, Origin, Paths, Store};
use nexudus_proxy::credentials::{Credentials, Login, SecondFactor};
use nexudus_proxy::daemon::{self, Setting};
use nexudus_proxy::secret::Secret;
use nexudus_simulator::{Account, Builder, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const EMAIL: &str = "ada@example.test";
pub const PASSWORD: &str = "marker-password-7f3a";

/// A simulated Nexudus with one account.
pub fn upstream() -> Builder {
    Simulator::builder().account(Account::new(EMAIL, PASSWORD))
}

/// A daemon in front of `upstream`, not yet started.
pub fn daemon(upstream: &Simulator) -> Setup {
    let home = tempfile::tempdir().unwrap();
    let ca_file = home.path().join("ca.pem");
    upstream.write_ca(&ca_file).unwrap();
    let mut config = Config::default();
    config.upstream.origin = Origin::new("localhost", upstream.address().port());
    config.upstream.ca_file = Some(ca_file);
    config.listen.tcp = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    config.session.store = Store::Memory;
    let login = Some(Login {
        email: EMAIL.to_owned(),
        password: Secret::new(PASSWORD),
        second_factor: None,
    });
    Setup { home, config, login, clock: Clock::system() }
}

pub struct Setup {
    home: TempDir,
    config: Config,
    login: Option<Login>,
    clock: Clock,
}

impl Setup {
    /// Changes the configuration.
    pub fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Nobody has logged in.
    pub fn without_login(mut self) -> Self {
        self.login = None;
        self
    }

    /// Logs in with another password.
    pub fn password(mut self, password: &str) -> Self {
        self.login.as_mut().unwrap().password = Secret::new(password);
        self
    }

    /// Logs in with a second factor.
    #[allow(dead_code, reason = "the promises about 2FA are still to come")]
    pub fn second_factor(mut self, factor: SecondFactor) -> Self {
        self.login.as_mut().unwrap().second_factor = Some(factor);
        self
    }

    /// Stops the clock; the returned hand moves it.
    pub fn clock_by_hand(mut self) -> (Self, Hand) {
        let (clock, hand) = Clock::by_hand();
        self.clock = clock;
        (self, hand)
    }

    /// Starts it.
    pub async fn run(self) -> Daemon {
        let paths = Paths::below(self.home.path());
        let credentials = Credentials::memory(self.login);
        let setting = Setting { clock: self.clock, credentials };
        let running = daemon::Daemon::start(&self.config, &paths, setting).await.unwrap();
        // The client never uses TLS, but must be given some.
        let tls = nexudus_proxy::upstream::tls(self.config.upstream.ca_file.as_deref()).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Daemon { running, client, config: self.config, home: self.home }
    }
}

/// A running daemon and a client of it.
pub struct Daemon {
    pub running: daemon::Daemon,
    pub config: Config,
    client: reqwest::Client,
    home: TempDir,
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
    pub async fn admin(&self) -> Client {
        let socket = Paths::below(self.home.path()).admin_socket();
        Client::find(&[socket]).await.unwrap()
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
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = vec![];
        let read = stream.read_to_end(&mut answer);
        // A connection that is reset after its answer has still answered.
        tokio::time::timeout(PATIENCE, read).await.expect("the connection stays open").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until the session's state satisfies `wanted`.
    pub async fn session_until(
        &self,
        wanted: impl Fn(&nexudus_proxy::session::View) -> bool,
    ) -> std::sync::Arc<nexudus_proxy::session::View> {
        let session = self.running.session();
        let mut changes = session.subscribe();
        let waiting = async {
            loop {
                let view = session.view();
                if wanted(&view) {
                    return view;
                }
                changes.changed().await.unwrap();
            }
        };
        let view = tokio::time::timeout(PATIENCE, waiting).await;
        view.unwrap_or_else(|_| panic!("the session stays {:?}", session.view()))
    }

    /// Stops it and returns its home, for the next one.
    pub async fn stop(self) -> TempDir {
        let drain = self.config.daemon.drain;
        self.running.stop(drain).await;
        self.home
    }
}

/// Reads the problem in an answer of the daemon's own.
pub async fn problem(answer: reqwest::Response) -> serde_json::Value {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert!(answer.headers().contains_key("proxy-status"));
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Longest wait for an event that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
