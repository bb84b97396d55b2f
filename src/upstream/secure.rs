//! A verified TLS connection that reads and writes in large pieces.
//!
//! rustls' buffered reader takes 4 KiB from the socket at a time, which is four system calls for
//! each TLS record of a download, and every write passes through buffers of its own. Here one read
//! takes as much as the socket has, up to [`MOST_READ`], and what is written is encrypted straight
//! into the bytes that go out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::outgoing::Outgoing;
use super::turn::spend;

/// An open connection whose other end has proved who it is.
pub(super) struct Secure {
    tcp: TcpStream,
    tls: UnbufferedClientConnection,
    /// Records as they came, the last one perhaps in part.
    incoming: BytesMut,
    /// How much the next read asks for.
    wanted: usize,
    /// Plain text that its reader had no room for.
    rest: Bytes,
    /// Records on their way out.
    outgoing: Outgoing,
    ended: bool,
    /// Bytes of the protocol's own since the last plain text.
    overhead: usize,
    /// Those that have not been taken from the turn of a task yet.
    unspent: usize,
}

/// What one look at the records of a connection brought.
enum Step {
    /// Plain text, now in `rest` or with the reader.
    Read,
    /// Something of the protocol's own; there may be more.
    Protocol,
    /// The other end will send no more.
    Ended,
    /// Nothing more without more bytes; application data may be written.
    Open,
    /// Nothing more without more bytes; the handshake is under way.
    Handshaking,
}

impl Secure {
    /// Proves the other end of `tcp` to be `name`, and agrees on keys.
    pub(super) async fn connect(
        tcp: TcpStream,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        let mut this = Self {
            tcp,
            tls,
            incoming: BytesMut::new(),
            wanted: LEAST_READ,
            rest: Bytes::new(),
            outgoing: Outgoing::default(),
            ended: false,
            overhead: 0,
            unspent: 0,
        };
        std::future::poll_fn(|cx| this.poll_handshake(cx)).await?;
        this.overhead = 0;
        Ok(this)
    }

    /// Says whether both sides want to speak HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.tls.alpn_protocol() == Some(b"h2")
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = match self.step(nobody) {
                Ok(step) => step,
                Err(error) => {
                    // The other end is told why, if it still listens.
                    self.step(nobody).ok();
                    let _ = self.poll_outgoing(cx);
                    return Poll::Ready(Err(error));
                }
            };
            match step {
                Step::Read | Step::Protocol => {}
                Step::Open => return self.poll_outgoing(cx),
                Step::Ended => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Step::Handshaking => {
                    ready!(self.poll_outgoing(cx))?;
                    if ready!(self.poll_incoming(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Takes one step through the records that have come. Plain text goes to `reader`, which says
    /// how much of it it has taken, and what it has no room for to `rest`.
    fn step(&mut self, reader: impl FnOnce(&[u8]) -> usize) -> io::Result<Step> {
        let Self { tls, incoming, rest, outgoing, .. } = self;
        let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming);
        let mut plain = 0;
        let step = match state.map_err(invalid) {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    plain = record.payload.len();
                    hand_over(record.payload, reader, rest);
                }
                Ok(Step::Read)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                outgoing.fill(|room| match data.encode(room) {
                    Ok(written) => Ok(Ok(written)),
                    Err(EncodeError::InsufficientSize(needed)) => Ok(Err(needed.required_size)),
                    Err(error @ EncodeError::AlreadyEncoded) => Err(invalid(error)),
                })?;
                Ok(Step::Protocol)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It stands in `outgoing`, which goes out before anything else does.
                data.done();
                Ok(Step::Protocol)
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Ended),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Open),
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Handshaking),
            Ok(ConnectionState::ReadEarlyData(_) | _) => {
                Err(invalid(rustls::Error::General("a state that no client has".to_owned())))
            }
        };
        incoming.advance(discard);
        self.count(discard, plain)?;
        step
    }

    /// Counts what of the other end's bytes were none of the answer's. rustls bounds renewals of
    /// keys and empty records; it takes in session tickets for ever, and each costs a derived key.
    fn count(&mut self, taken: usize, plain: usize) -> io::Result<()> {
        self.unspent += taken.saturating_sub(plain);
        self.overhead = if plain > 0 { 0 } else { self.overhead + taken };
        match self.overhead > MOST_OVERHEAD && !self.tls.is_handshaking() {
            true => Err(invalid("the other end sends TLS messages and no data")),
            false => Ok(()),
        }
    }

    /// Takes the work that was no reader's from the turn of this task.
    fn spend(&mut self, cx: &mut Context<'_>) {
        if self.unspent > LEAST_READ {
            spend(cx, std::mem::take(&mut self.unspent));
        }
    }

    /// Adds what has come to `plain` and says how much it was: nothing once the other end has said
    /// that it will send no more.
    pub(super) fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let before = plain.len();
        plain.extend_from_slice(&std::mem::take(&mut self.rest));
        loop {
            // What has come decrypts to less.
            plain.reserve(self.incoming.len());
            // With an empty buffer rustls has nothing to say that it has not said.
            while !self.ended && !self.incoming.is_empty() {
                let take = |record: &[u8]| {
                    plain.extend_from_slice(record);
                    record.len()
                };
                match self.step(take)? {
                    Step::Read | Step::Protocol => {}
                    Step::Ended => self.ended = true,
                    Step::Open | Step::Handshaking => break,
                }
            }
            self.spend(cx);
            if plain.len() > before || self.ended {
                return Poll::Ready(Ok(plain.len() - before));
            }
            if ready!(self.poll_incoming(cx))? == 0 {
                // Without a farewell anybody could have cut the answer off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Waits until something has come.
    #[cfg(test)]
    pub(super) async fn readable(&self) {
        self.tcp.readable().await.unwrap();
    }

    /// Says whether something waits to be sent and not a byte of it has gone.
    pub(super) fn is_untouched(&self) -> bool {
        self.outgoing.is_untouched()
    }

    /// Says whether everything that was written has gone.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.waiting().is_empty()
    }

    /// Encrypts `plain` into `outgoing`.
    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        loop {
            let Self { tls, incoming, rest, outgoing, .. } = self;
            let UnbufferedStatus { discard, state } = tls.process_tls_records(incoming);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                let done = outgoing.fill(|room| match traffic.encrypt(plain, room) {
                    Ok(written) => Ok(Ok(written)),
                    Err(EncryptError::InsufficientSize(needed)) => Ok(Err(needed.required_size)),
                    Err(error @ EncryptError::EncryptExhausted) => Err(invalid(error)),
                });
                incoming.advance(discard);
                return done;
            }
            // Something has come meanwhile: it is taken in first, and read later.
            if let Ok(ConnectionState::ReadTraffic(mut traffic)) = state {
                let (mut more, mut plain) = (discard, 0);
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    more += record.discard;
                    plain = record.payload.len();
                    hand_over(record.payload, nobody, rest);
                }
                incoming.advance(more);
                self.count(more, plain)?;
                continue;
            }
            drop(state);
            incoming.advance(discard);
            match self.step(nobody)? {
                Step::Ended => self.ended = true,
                Step::Handshaking => return Err(io::ErrorKind::NotConnected.into()),
                Step::Read | Step::Protocol | Step::Open => {}
            }
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.waiting().is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, self.outgoing.waiting()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.sent(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, more at a time while there is more to read.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A record can be longer than what was asked for: it must fit whole.
        self.incoming.reserve(self.wanted);
        let room = self.incoming.capacity() - self.incoming.len();
        let read = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.incoming);
        match &read {
            Poll::Ready(Ok(read)) if *read == room => {
                self.wanted = (self.wanted * 4).min(MOST_READ);
            }
            Poll::Ready(Ok(read)) if *read < LEAST_READ => self.wanted = LEAST_READ,
            Poll::Ready(_) => {}
            // After a download an idle connection gives its memory back.
            Poll::Pending
                if self.incoming.is_empty()
                    && self.wanted == LEAST_READ
                    && self.incoming.capacity() > 2 * LEAST_READ =>
            {
                self.incoming = BytesMut::new();
            }
            Poll::Pending => {}
        }
        read
    }
}

/// Gives plain text to a reader, and keeps what it has no room for.
fn hand_over(plain: &[u8], reader: impl FnOnce(&[u8]) -> usize, rest: &mut Bytes) {
    let over = &plain[reader(plain)..];
    if !over.is_empty() {
        *rest = match rest.is_empty() {
            true => Bytes::copy_from_slice(over),
            false => [&rest[..], over].concat().into(),
        };
    }
}

/// A reader that takes nothing now.
fn nobody(_: &[u8]) -> usize {
    0
}

/// A reader that takes what it has room for.
fn put(reader: &mut ReadBufCursor<'_>) -> impl FnOnce(&[u8]) -> usize {
    |plain| {
        let fits = plain.len().min(reader.remaining());
        reader.put_slice(&plain[..fits]);
        fits
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Read for Secure {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut reader: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = reader.remaining();
        loop {
            if !this.rest.is_empty() {
                let fits = put(&mut reader)(&this.rest);
                this.rest.advance(fits);
            }
            // With an empty buffer rustls has nothing to say that it has not said.
            while reader.remaining() > 0 && !this.ended && !this.incoming.is_empty() {
                match this.step(put(&mut reader))? {
                    Step::Read | Step::Protocol => {}
                    Step::Ended => this.ended = true,
                    Step::Open | Step::Handshaking => break,
                }
            }
            this.spend(cx);
            if reader.remaining() < room || this.ended {
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_incoming(cx))? == 0 {
                // Without a farewell anybody could have cut the answer off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Write for Secure {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        let taken = &plain[..plain.len().min(MOST_WRITTEN)];
        this.encrypt(taken)?;
        // What the socket does not take now goes out with the next write or flush.
        match this.poll_outgoing(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_outgoing(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

/// Enough for a small answer; a connection that downloads asks for more.
pub(super) const LEAST_READ: usize = 8 << 10;

/// Four records of TLS at a time: beyond that the processor's cache pays for the system calls.
const MOST_READ: usize = 68 << 10;

/// Most bytes between two pieces of data: servers send a few tickets of some kilobytes after the
/// handshake, and then nothing but data.
const MOST_OVERHEAD: usize = 64 << 10;

/// What is encrypted at a time: four records.
const MOST_WRITTEN: usize = 64 << 10;
