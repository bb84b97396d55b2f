//! A request that asks the host to switch to WebSocket, on a connection that is nobody else's.
//!
//! The connection is a new one and is never put back, whatever the answer: what was agreed on it
//! concerns one caller. Two versions of HTTP differ here, so that it always speaks HTTP/1.1.

use std::fmt;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderMap, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::pool::PooledConnection;
use super::{Error, ResponseBody, Upstream, UpstreamRequest};

/// A connection that speaks WebSocket from now on.
pub struct Upgraded {
    stream: TokioIo<super::tls_stream::TlsStream>,
    buffered: Bytes,
    close_signal: watch::Receiver<()>,
}

impl Upstream {
    /// Sends a request to switch and returns the answer's head. If the host has agreed, the body
    /// holds the connection instead of bytes; if not, it is an answer like any other.
    ///
    /// # Errors
    ///
    /// As [`Upstream::send`].
    pub async fn upgrade(
        &self,
        ask: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        // Before anything is sent: a hang-up that comes meanwhile is seen afterwards.
        let hang_ups = self.0.close_signal.subscribe();
        let mut line = self.0.connector.connect_h1().await?;
        match line.send_request(ask, self.0.header_timeout).await {
            Some(Ok(answer)) if is_websocket_upgrade(answer.status(), answer.headers()) => {
                let (stream, said) = line.into_parts();
                let far = Upgraded {
                    stream: TokioIo::new(stream),
                    buffered: said,
                    close_signal: hang_ups,
                };
                Ok(answer.map(|()| ResponseBody::from_upgraded(far)))
            }
            other => {
                let answer = self.check_response(other).map_err(|failed| failed.error)?;
                let lease = PooledConnection::single_use(self.0.pool.clone(), line);
                Ok(answer.map(|()| ResponseBody::from_h1(lease, self.0.header_timeout)))
            }
        }
    }
}

impl Upgraded {
    /// Takes it apart: the connection, what the host has said on it already, and whoever tells that
    /// it is to end.
    pub fn into_parts(
        self,
    ) -> (impl AsyncRead + AsyncWrite + Unpin, Bytes, impl Future<Output = ()>) {
        let Self { stream, buffered: said, close_signal: mut hang_ups } = self;
        // An error means that there is no such host any more.
        let hung_up = async move { drop(hang_ups.changed().await) };
        (stream, said, hung_up)
    }
}

/// To nothing but what it was asked for.
fn is_websocket_upgrade(status: StatusCode, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(UPGRADE).iter();
    let is_websocket =
        named.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
    status == StatusCode::SWITCHING_PROTOCOLS && is_websocket && named.next().is_none()
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Far")
    }
}
