//! The server side of TLS over an accepted connection.
//!
//! The handshake runs inside of the first reads. So whatever bounds the wait for the first byte of
//! a request bounds the handshake too, and a connection that stays in its handshake holds no more
//! than one that never sends a request.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// A connection whose other end is asked to speak TLS. Reads and writes are plain text.
pub struct TlsServer<Io>(Phase<Io>);

enum Phase<Io> {
    Handshake(Accept<Prefixed<Io>>),
    Open(TlsStream<Prefixed<Io>>),
    /// The handshake has failed; the connection is gone.
    Failed,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> TlsServer<Io> {
    /// Takes `io` as the server of `config`. `received` are the first bytes of the handshake, read
    /// from `io` before.
    pub fn new(io: Io, received: Bytes, config: Arc<ServerConfig>) -> Self {
        let io = Prefixed { received, io };
        Self(Phase::Handshake(TlsAcceptor::from(config).accept(io)))
    }

    /// Returns the connection below; `None` after a handshake that has failed.
    pub fn io(&self) -> Option<&Io> {
        Some(match &self.0 {
            Phase::Handshake(accept) => &accept.get_ref()?.io,
            Phase::Open(stream) => &stream.get_ref().0.io,
            Phase::Failed => return None,
        })
    }

    /// Returns the name that the client has asked for; `None` before the end of the handshake and
    /// for an address.
    pub fn server_name(&self) -> Option<&str> {
        match &self.0 {
            Phase::Open(stream) => stream.get_ref().1.server_name(),
            Phase::Handshake(_) | Phase::Failed => None,
        }
    }

    /// Completes the handshake.
    pub(super) async fn complete_handshake(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_open(cx).map_ok(drop)).await
    }

    /// Completes the handshake, and returns the connection in plain text.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut PlainStream<Io>>>> {
        if let Phase::Handshake(accept) = &mut self.0 {
            self.0 = match ready!(Pin::new(accept).poll(cx)) {
                Ok(stream) => Phase::Open(stream),
                Err(error) => {
                    self.0 = Phase::Failed;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.0 {
            Phase::Open(stream) => Ok(Pin::new(stream)),
            Phase::Handshake(_) | Phase::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

type PlainStream<Io> = TlsStream<Prefixed<Io>>;

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsServer<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buffer)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsServer<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            // The handshake flushes by itself, in the reads that drive it.
            Phase::Handshake(_) | Phase::Failed => Poll::Ready(Ok(())),
            Phase::Open(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            // Half a handshake ends with the connection, which is dropped.
            Phase::Handshake(_) | Phase::Failed => Poll::Ready(Ok(())),
            Phase::Open(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<Io> fmt::Debug for TlsServer<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Phase::Handshake(_) => "TlsServer(handshake)",
            Phase::Open(_) => "TlsServer(open)",
            Phase::Failed => "TlsServer(failed)",
        })
    }
}

/// A connection of which some bytes have been read already.
struct Prefixed<Io> {
    received: Bytes,
    io: Io,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Prefixed<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.received.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buffer);
        }
        let count = buffer.remaining().min(this.received.len());
        buffer.put_slice(&this.received.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Prefixed<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Returns a server and a client that trusts it.
    fn configs() -> (Arc<ServerConfig>, Arc<rustls::ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    async fn connect(
        io: DuplexStream,
        config: Arc<rustls::ClientConfig>,
    ) -> tokio_rustls::client::TlsStream<DuplexStream> {
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(config).connect(name, io).await.unwrap()
    }

    #[tokio::test]
    async fn reading_completes_the_handshake_and_both_ends_talk() {
        let (server_config, client_config) = configs();
        let (near, far) = duplex(1 << 10);
        let mut server = TlsServer::new(near, Bytes::new(), server_config);

        let client = async {
            let mut client = connect(far, client_config).await;
            client.write_all(b"question").await.unwrap();
            client.flush().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let serving = async {
            let mut question = [0; 8];
            server.read_exact(&mut question).await.unwrap();
            server.write_all(&[b"re: ", &question[..]].concat()).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (answer, ()) = tokio::join!(client, serving);

        assert_eq!(answer, "re: question");
        assert_eq!(server.server_name(), Some("localhost"));
    }

    #[tokio::test]
    async fn bytes_that_were_read_before_are_part_of_the_handshake() {
        let (server_config, client_config) = configs();
        let (mut near, far) = duplex(16 << 10);
        let client = tokio::task::spawn(async move { connect(far, client_config).await });
        let mut received = [0; 100];
        near.read_exact(&mut received).await.unwrap();

        let received = Bytes::copy_from_slice(&received);
        let mut server = TlsServer::new(near, received, server_config);
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();

        let mut client = client.await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn what_is_no_handshake_gets_an_alert_and_the_connection_is_gone() {
        let (server_config, _) = configs();
        let (near, mut far) = duplex(1 << 10);
        let mut server = TlsServer::new(near, Bytes::new(), server_config);

        far.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let error = server.read_u8().await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(server.io().is_none());
        assert_eq!(server.write(b"x").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        // A fatal alert (RFC 8446 §6): type 21, then version, length, level 2.
        let mut alert = [0; 7];
        far.read_exact(&mut alert).await.unwrap();
        assert_eq!((alert[0], alert[5]), (21, 2));
    }
}
