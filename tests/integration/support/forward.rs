//! The other end of the forward proxy and of `listen.tls`: a client that trusts the CAs, and no other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nexudus_proxy::ca::AuthorityKind;
use nexudus_proxy::config::OtherHosts;
use nexudus_simulator::Simulator;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Daemon, DaemonSetup, EVENT_TIMEOUT, daemon};

/// The forward proxy of a daemon.
pub struct Forward {
    pub address: SocketAddr,
    root: String,
}

/// Turns the forward proxy on.
pub fn with_forward_proxy(setup: DaemonSetup) -> DaemonSetup {
    setup.set(|config| config.forward_proxy.listen = Some(([127, 0, 0, 1], 0).into()))
}

/// Waits for an authority of a daemon, and returns its root in PEM.
pub async fn root(daemon: &Daemon, kind: AuthorityKind) -> String {
    let issuer = daemon.running.authorities().wait(kind);
    let issuer = tokio::time::timeout(EVENT_TIMEOUT, issuer).await.expect("no authority");
    issuer.authority().root_pem()
}

/// A client of TLS that trusts `root` alone.
pub fn trusting(root: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Shakes hands as a client that asks for `name`.
pub async fn handshake(
    tcp: TcpStream,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = name.to_owned().try_into().unwrap();
    let shaking = TlsConnector::from(config.clone()).connect(name, tcp);
    tokio::time::timeout(EVENT_TIMEOUT, shaking).await.expect("no handshake in time")
}

/// Sends a request and reads all that comes back before the connection is closed.
pub async fn ask(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: &str,
) -> String {
    // The daemon may respond and close before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![];
    let read = stream.read_to_end(&mut answer);
    // A connection that is reset after its response has still responded.
    let read = tokio::time::timeout(EVENT_TIMEOUT, read).await;
    read.unwrap_or_else(|_| panic!("the connection stays open: {request}")).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

impl Forward {
    /// Takes the forward proxy of a daemon.
    pub async fn of(daemon: &Daemon) -> Self {
        let address = daemon.running.listening().forward_proxy.as_ref().unwrap().tcp;
        Self { address, root: root(daemon, AuthorityKind::Intercept).await }
    }

    /// A program that knows the proxy from its environment; `key` is the proxy's password.
    pub fn client(&self, key: Option<&str>) -> reqwest::Client {
        let mut proxy = reqwest::Proxy::all(format!("http://{}", self.address)).unwrap();
        if let Some(key) = key {
            proxy = proxy.basic_auth("any", key);
        }
        reqwest::Client::builder()
            .tls_backend_preconfigured((*self.tls()).clone())
            .proxy(proxy)
            .timeout(2 * EVENT_TIMEOUT)
            .build()
            .unwrap()
    }

    /// A client of TLS that trusts the CA of the proxy.
    pub fn tls(&self) -> Arc<ClientConfig> {
        trusting(&self.root)
    }

    /// Sends these bytes on a connection of their own and returns all that comes back.
    pub async fn raw(&self, request: &str) -> String {
        ask(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    /// Sends a `CONNECT` with these further lines; returns the connection, and the response's head.
    pub async fn connect(&self, target: &str, lines: &str) -> (TcpStream, String) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{lines}\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut tcp).await;
        (tcp, head)
    }

    /// Opens a connection to an origin, in plain text.
    pub async fn intercepted(&self, target: &str, lines: &str) -> TlsStream<TcpStream> {
        let (tcp, head) = self.connect(target, lines).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let name = target.rsplit_once(':').unwrap().0;
        handshake(tcp, &self.tls(), name).await.unwrap()
    }
}

/// Reads the head of a response.
pub async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = vec![];
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reading).await.expect("no response in time");
    String::from_utf8(head).unwrap()
}

/// The target of a `CONNECT` to the simulated Nexudus.
pub fn origin(upstream: &Simulator) -> String {
    format!("localhost:{}", upstream.address().port())
}

/// A daemon that tunnels to other hosts, and to this one on this machine.
pub fn tunnelling(upstream: &Simulator, to: &str) -> DaemonSetup {
    with_forward_proxy(daemon(upstream)).set(|config| {
        config.forward_proxy.other_hosts = OtherHosts::Tunnel;
        config.forward_proxy.allow = vec![to.to_owned()];
    })
}

/// A host that sends back whatever it gets.
pub struct Echo {
    pub target: String,
    /// How many connections it has had.
    pub accepted: Arc<AtomicUsize>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let accepted = Arc::<AtomicUsize>::default();
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let (mut from, mut to) = tcp.into_split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        Self { target, accepted }
    }
}
