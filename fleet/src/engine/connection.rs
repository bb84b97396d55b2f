//! One connection to one server: our stream, the crate's protocol on it.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Server, is_loopback};
use crate::secret::Secret;

/// A connection, and the task that drives it, which ends with it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    driver: JoinHandle<()>,
}

/// Who the engine takes us for, and over what.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error("the engine cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake with the engine failed")]
    Tls(#[source] std::io::Error),
    /// TLS is asked for and there is no TLS configuration.
    #[error("the engine wants TLS, and no trust anchors were given")]
    NoTls,
    /// The server's name is none.
    #[error("the engine's host is no name for a certificate")]
    Name,
    /// The server refused the user.
    #[error("the engine refuses the user or the password")]
    Denied,
    /// The server did not answer as an engine.
    #[error("the engine did not complete the greeting")]
    Greeting(#[source] RedisError),
    /// It took too long.
    #[error("the engine did not answer in time")]
    Timeout,
    /// Sentinel names another machine without TLS.
    #[error("the sentinels name a server beyond loopback, without TLS")]
    Plain,
    /// No sentinel knows the primary.
    #[error("no sentinel names the primary")]
    NoPrimary,
}

impl Connection {
    /// Connects to `server`; pushed messages go to `pushes`.
    pub(super) async fn open(
        server: &Server,
        dial: &Dial,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Self, ConnectError> {
        timeout(dial.timeout, Self::connect(server, dial, pushes))
            .await
            .map_err(|_elapsed| ConnectError::Timeout)?
    }

    async fn connect(
        server: &Server,
        dial: &Dial,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Self, ConnectError> {
        match server {
            #[cfg(unix)]
            Server::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                Self::greet(stream.map_err(ConnectError::Unreachable)?, dial, pushes).await
            }
            #[cfg(not(unix))]
            Server::Unix(_) => {
                let missing = std::io::Error::from(std::io::ErrorKind::Unsupported);
                Err(ConnectError::Unreachable(missing))
            }
            Server::Tcp { host, port, tls } => {
                if !tls && !is_loopback(host) {
                    return Err(ConnectError::Plain);
                }
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(ConnectError::Unreachable)?;
                // Small requests that wait for answers.
                stream.set_nodelay(true).map_err(ConnectError::Unreachable)?;
                if !tls {
                    return Self::greet(stream, dial, pushes).await;
                }
                let config = dial.tls.clone().ok_or(ConnectError::NoTls)?;
                let name = ServerName::try_from(host.clone()).map_err(|_| ConnectError::Name)?;
                let stream = TlsConnector::from(config).connect(name, stream).await;
                Self::greet(stream.map_err(ConnectError::Tls)?, dial, pushes).await
            }
        }
    }

    async fn greet<S>(
        stream: S,
        dial: &Dial,
        pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    ) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut info = RedisConnectionInfo::default().set_db(dial.database).set_skip_set_lib_name();
        if let Some(username) = &dial.username {
            info = info.set_username(username);
        }
        if let Some(password) = &dial.password {
            info = info.set_password(password.expose());
        }
        // The calls have their own time-outs: WAIT blocks for as long as it is told to.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        if let Some(pushes) = pushes {
            info = info.set_protocol(ProtocolVersion::RESP3);
            config = config.set_push_sender(pushes);
        }
        let (redis, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| {
            let is_denied = error.kind() == redis::ErrorKind::AuthenticationFailed
                || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
            if is_denied { ConnectError::Denied } else { ConnectError::Greeting(error) }
        })?;
        Ok(Self { redis, driver: tokio::spawn(driver) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
