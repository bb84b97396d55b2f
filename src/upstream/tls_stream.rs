//! A verified TLS connection that reads and writes in large pieces.
//!
//! rustls' buffered reader takes 4 KiB from the socket at a time, which is four system calls for
//! each TLS record of a download, and every write passes through buffers of its own. Here one read
//! takes as much as the socket has, up to [`MAX_READ`], and what is written is encrypted straight
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

use super::coop::consume_budget;
use super::tls_buffer::RecordBuffer;

/// An open connection whose other end has proved who it is.
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: UnbufferedClientConnection,
    /// Records as they came, the last one perhaps in part.
    incoming: BytesMut,
    /// How much the next read asks for.
    read_size: usize,
    /// Plain text that its reader had no room for.
    unread: Bytes,
    /// Records on their way out.
    outgoing: RecordBuffer,
    is_peer_closed: bool,
    /// Bytes of the protocol's own since the last plain text.
    protocol_bytes: usize,
    /// Those that have not been taken from the turn of a task yet.
    uncharged: usize,
}

/// What one look at the records of a connection brought.
enum TlsEvent {
    /// Plain text, now in `unread` or with the reader.
    Read,
    /// Something of the protocol's own; there may be more.
    Protocol,
    /// The other end will send no more.
    PeerClosed,
    /// Nothing more without more bytes; application data may be written.
    Open,
    /// Nothing more without more bytes; the handshake is under way.
    Handshaking,
}

impl TlsStream {
    /// Proves the other end of `tcp` to be `name`, and agrees on keys.
    pub(super) async fn connect(
        tcp: TcpStream,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(invalid_data)?;
        let mut this = Self {
            tcp,
            tls,
            incoming: BytesMut::new(),
            read_size: MIN_READ,
            unread: Bytes::new(),
            outgoing: RecordBuffer::default(),
            is_peer_closed: false,
            protocol_bytes: 0,
            uncharged: 0,
        };
        std::future::poll_fn(|cx| this.poll_handshake(cx)).await?;
        this.protocol_bytes = 0;
        Ok(this)
    }

    /// Says whether both sides want to speak HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.tls.alpn_protocol() == Some(b"h2")
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = match self.process_record(take_nothing) {
                Ok(step) => step,
                Err(error) => {
                    // The other end is told why, if it still listens.
                    self.process_record(take_nothing).ok();
                    let _ = self.poll_write_records(cx);
                    return Poll::Ready(Err(error));
                }
            };
            match step {
                TlsEvent::Read | TlsEvent::Protocol => {}
                TlsEvent::Open => return self.poll_write_records(cx),
                TlsEvent::PeerClosed => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                TlsEvent::Handshaking => {
                    ready!(self.poll_write_records(cx))?;
                    if ready!(self.poll_read_records(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Takes one step through the records that have come. Plain text goes to `reader`, which says
    /// how much of it it has taken, and what it has no room for to `unread`.
    fn process_record(&mut self, reader: impl FnOnce(&[u8]) -> usize) -> io::Result<TlsEvent> {
        let Self { tls, incoming, unread: rest, outgoing, .. } = self;
        let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming);
        let mut plain = 0;
        let step = match state.map_err(invalid_data) {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid_data)?;
                    discard += record.discard;
                    plain = record.payload.len();
                    deliver(record.payload, reader, rest);
                }
                Ok(TlsEvent::Read)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                outgoing.fill(|room| match data.encode(room) {
                    Ok(written) => Ok(Ok(written)),
                    Err(EncodeError::InsufficientSize(needed)) => Ok(Err(needed.required_size)),
                    Err(error @ EncodeError::AlreadyEncoded) => Err(invalid_data(error)),
                })?;
                Ok(TlsEvent::Protocol)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It stands in `outgoing`, which goes out before anything else does.
                data.done();
                Ok(TlsEvent::Protocol)
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(TlsEvent::PeerClosed),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(TlsEvent::Open),
            Ok(ConnectionState::BlockedHandshake) => Ok(TlsEvent::Handshaking),
            Ok(ConnectionState::ReadEarlyData(_) | _) => {
                Err(invalid_data(rustls::Error::General("a state that no client has".to_owned())))
            }
        };
        incoming.advance(discard);
        self.count_protocol_bytes(discard, plain)?;
        step
    }

    /// Counts what of the other end's bytes were none of the answer's. rustls bounds renewals of
    /// keys and empty records; it takes in session tickets for ever, and each costs a derived key.
    fn count_protocol_bytes(&mut self, taken: usize, plain: usize) -> io::Result<()> {
        self.uncharged += taken.saturating_sub(plain);
        self.protocol_bytes = if plain > 0 { 0 } else { self.protocol_bytes + taken };
        match self.protocol_bytes > MAX_PROTOCOL_BYTES && !self.tls.is_handshaking() {
            true => Err(invalid_data("the other end sends TLS messages and no data")),
            false => Ok(()),
        }
    }

    /// Takes the work that was no reader's from the turn of this task.
    fn charge_budget(&mut self, cx: &mut Context<'_>) {
        if self.uncharged > MIN_READ {
            consume_budget(cx, std::mem::take(&mut self.uncharged));
        }
    }

    /// Adds what has come to `plain` and says how much it was: nothing once the other end has said
    /// that it will send no more.
    pub(super) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let before = plain.len();
        plain.extend_from_slice(&std::mem::take(&mut self.unread));
        loop {
            // What has come decrypts to less.
            plain.reserve(self.incoming.len());
            // With an empty buffer rustls has nothing to say that it has not said.
            while !self.is_peer_closed && !self.incoming.is_empty() {
                let take = |record: &[u8]| {
                    plain.extend_from_slice(record);
                    record.len()
                };
                match self.process_record(take)? {
                    TlsEvent::Read | TlsEvent::Protocol => {}
                    TlsEvent::PeerClosed => self.is_peer_closed = true,
                    TlsEvent::Open | TlsEvent::Handshaking => break,
                }
            }
            self.charge_budget(cx);
            if plain.len() > before || self.is_peer_closed {
                return Poll::Ready(Ok(plain.len() - before));
            }
            if ready!(self.poll_read_records(cx))? == 0 {
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
        self.outgoing.unsent().is_empty()
    }

    /// Encrypts `plain` into `outgoing`.
    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        loop {
            let Self { tls, incoming, unread: rest, outgoing, .. } = self;
            let UnbufferedStatus { discard, state } = tls.process_tls_records(incoming);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                let done = outgoing.fill(|room| match traffic.encrypt(plain, room) {
                    Ok(written) => Ok(Ok(written)),
                    Err(EncryptError::InsufficientSize(needed)) => Ok(Err(needed.required_size)),
                    Err(error @ EncryptError::EncryptExhausted) => Err(invalid_data(error)),
                });
                incoming.advance(discard);
                return done;
            }
            // Something has come meanwhile: it is taken in first, and read later.
            if let Ok(ConnectionState::ReadTraffic(mut traffic)) = state {
                let (mut more, mut plain) = (discard, 0);
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid_data)?;
                    more += record.discard;
                    plain = record.payload.len();
                    deliver(record.payload, take_nothing, rest);
                }
                incoming.advance(more);
                self.count_protocol_bytes(more, plain)?;
                continue;
            }
            drop(state);
            incoming.advance(discard);
            match self.process_record(take_nothing)? {
                TlsEvent::PeerClosed => self.is_peer_closed = true,
                TlsEvent::Handshaking => return Err(io::ErrorKind::NotConnected.into()),
                TlsEvent::Read | TlsEvent::Protocol | TlsEvent::Open => {}
            }
        }
    }

    fn poll_write_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.unsent().is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, self.outgoing.unsent()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, more at a time while there is more to read.
    fn poll_read_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A record can be longer than what was asked for: it must fit whole.
        self.incoming.reserve(self.read_size);
        let room = self.incoming.capacity() - self.incoming.len();
        let read = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.incoming);
        match &read {
            Poll::Ready(Ok(read)) if *read == room => {
                self.read_size = (self.read_size * 4).min(MAX_READ);
            }
            Poll::Ready(Ok(read)) if *read < MIN_READ => self.read_size = MIN_READ,
            Poll::Ready(_) => {}
            // After a download an idle connection gives its memory back.
            Poll::Pending
                if self.incoming.is_empty()
                    && self.read_size == MIN_READ
                    && self.incoming.capacity() > 2 * MIN_READ =>
            {
                self.incoming = BytesMut::new();
            }
            Poll::Pending => {}
        }
        read
    }
}

/// Gives plain text to a reader, and keeps what it has no room for.
fn deliver(plain: &[u8], reader: impl FnOnce(&[u8]) -> usize, rest: &mut Bytes) {
    let over = &plain[reader(plain)..];
    if !over.is_empty() {
        *rest = match rest.is_empty() {
            true => Bytes::copy_from_slice(over),
            false => [&rest[..], over].concat().into(),
        };
    }
}

/// A reader that takes nothing now.
fn take_nothing(_: &[u8]) -> usize {
    0
}

/// A reader that takes what it has room for.
fn read_into(reader: &mut ReadBufCursor<'_>) -> impl FnOnce(&[u8]) -> usize {
    |plain| {
        let fits = plain.len().min(reader.remaining());
        reader.put_slice(&plain[..fits]);
        fits
    }
}

fn invalid_data(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Read for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut reader: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = reader.remaining();
        loop {
            if !this.unread.is_empty() {
                let fits = read_into(&mut reader)(&this.unread);
                this.unread.advance(fits);
            }
            // With an empty buffer rustls has nothing to say that it has not said.
            while reader.remaining() > 0 && !this.is_peer_closed && !this.incoming.is_empty() {
                match this.process_record(read_into(&mut reader))? {
                    TlsEvent::Read | TlsEvent::Protocol => {}
                    TlsEvent::PeerClosed => this.is_peer_closed = true,
                    TlsEvent::Open | TlsEvent::Handshaking => break,
                }
            }
            this.charge_budget(cx);
            if reader.remaining() < room || this.is_peer_closed {
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_read_records(cx))? == 0 {
                // Without a farewell anybody could have cut the answer off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Write for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_records(cx))?;
        let taken = &plain[..plain.len().min(MAX_WRITE)];
        this.encrypt(taken)?;
        // What the socket does not take now goes out with the next write or flush.
        match this.poll_write_records(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_write_records(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_records(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

/// Enough for a small answer; a connection that downloads asks for more.
pub(super) const MIN_READ: usize = 8 << 10;

/// Four records of TLS at a time: beyond that the processor's cache pays for the system calls.
const MAX_READ: usize = 68 << 10;

/// Most bytes between two pieces of data: servers send a few tickets of some kilobytes after the
/// handshake, and then nothing but data.
const MAX_PROTOCOL_BYTES: usize = 64 << 10;

/// What is encrypted at a time: four records.
const MAX_WRITE: usize = 64 << 10;
