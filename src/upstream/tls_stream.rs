//! A verified TLS connection that reads and writes in large pieces.
//!
//! rustls' buffered reader takes 4 KiB from the socket at a time, which is four system calls for
//! each TLS record of a download, and every write passes through buffers of its own. Here one read
//! takes as much as the socket has, up to [`MAX_READ`], and plain text is encrypted straight into
//! the bytes that go out.

mod io_traits;
mod plain_text;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::HandshakeKind;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use self::plain_text::{PlainText, deliver, take_nothing};
use super::coop::consume_budget;
use super::socket;
use super::tls_buffer::RecordBuffer;

/// An open connection to a host that has proved who it is. Dropped, it says `close_notify`.
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: UnbufferedClientConnection,
    /// Records as they came, the last one perhaps in part.
    incoming: BytesMut,
    /// Room for the next read, in bytes.
    read_size: usize,
    /// Plain text for which its reader had no room.
    unread: Bytes,
    /// Records on their way out.
    outgoing: RecordBuffer,
    /// Whether the host has said that no more data follows.
    is_peer_closed: bool,
    /// Whether we have said so.
    is_closed: bool,
    /// Bytes of TLS messages since the last plain text.
    protocol_bytes: usize,
    /// The part of them that has not been charged to a task's budget yet.
    uncharged: usize,
}

/// The outcome of one step through the records of a connection.
enum TlsEvent {
    /// Plain text, now with the reader or in `unread`.
    Read,
    /// A message of TLS itself; more records may follow.
    Protocol,
    /// The host's `close_notify`.
    PeerClosed,
    /// No more until more bytes come; application data may be written.
    Open,
    /// No more until more bytes come; the handshake is under way.
    Handshaking,
}

impl TlsStream {
    /// Verifies that the other end of `tcp` is `name`, and agrees on keys.
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
            is_closed: false,
            protocol_bytes: 0,
            uncharged: 0,
        };
        std::future::poll_fn(|cx| this.poll_handshake(cx)).await?;
        this.protocol_bytes = 0;
        Ok(this)
    }

    /// Returns whether both ends agreed to speak HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.tls.alpn_protocol() == Some(b"h2")
    }

    /// Returns whether the handshake went on from an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns the socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Lets the runtime of this thread watch the socket.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        self.tcp = socket::rewatch(&self.tcp)?;
        Ok(())
    }

    /// Waits until bytes have come.
    #[cfg(test)]
    pub(super) async fn readable(&self) {
        self.tcp.readable().await.unwrap();
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let event = match self.process_record(take_nothing) {
                Ok(event) => event,
                Err(error) => {
                    // The host learns why, if it still reads.
                    self.process_record(take_nothing).ok();
                    let _ = self.poll_write_records(cx);
                    return Poll::Ready(Err(error));
                }
            };
            match event {
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

    /// Takes one step through the records that have come. Plain text goes to `reader`, which
    /// returns how much it takes; the rest goes to `unread`.
    fn process_record(&mut self, reader: impl FnOnce(&[u8]) -> usize) -> io::Result<TlsEvent> {
        let Self { tls, incoming, unread, outgoing, .. } = self;
        let UnbufferedStatus { mut discard, state } = tls.process_tls_records(incoming);
        let mut plain = 0;
        let event = match state.map_err(invalid_data) {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid_data)?;
                    discard += record.discard;
                    plain = record.payload.len();
                    deliver(record.payload, reader, unread);
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
                // The message is in `outgoing`, which goes out before anything else does.
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
        event
    }

    /// Counts the host's bytes that are no application data. rustls bounds key updates and empty
    /// records, but not session tickets, each of which costs a derived key.
    fn count_protocol_bytes(&mut self, taken: usize, plain: usize) -> io::Result<()> {
        self.uncharged += taken.saturating_sub(plain);
        self.protocol_bytes = if plain > 0 { 0 } else { self.protocol_bytes + taken };
        if self.protocol_bytes > MAX_PROTOCOL_BYTES && !self.tls.is_handshaking() {
            return Err(invalid_data("the host sends TLS messages and no data"));
        }
        Ok(())
    }

    /// Charges the work on TLS messages, which no reader pays for, to the budget of this task.
    fn charge_budget(&mut self, cx: &mut Context<'_>) {
        if self.uncharged > MIN_READ {
            consume_budget(cx, std::mem::take(&mut self.uncharged));
        }
    }

    /// Hands the plain text that has come to `reader` and returns how much it was: none once the
    /// host has said that no more follows.
    fn poll_read_plain(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut impl PlainText,
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        if !self.unread.is_empty() {
            reader.make_room(self.unread.len());
            count = reader.put(&self.unread);
            self.unread.advance(count);
        }
        loop {
            // Decryption makes the bytes fewer.
            reader.make_room(self.incoming.len());
            // Without bytes rustls has nothing to report that it has not reported.
            while reader.room() > 0 && !self.is_peer_closed && !self.incoming.is_empty() {
                let take = |plain: &[u8]| {
                    let taken = reader.put(plain);
                    count += taken;
                    taken
                };
                match self.process_record(take)? {
                    TlsEvent::Read | TlsEvent::Protocol => {}
                    TlsEvent::PeerClosed => self.is_peer_closed = true,
                    TlsEvent::Open | TlsEvent::Handshaking => break,
                }
            }
            self.charge_budget(cx);
            // Replies to TLS messages of the host go out. An error ends the next write, not this
            // read.
            let _ = self.poll_write_records(cx);
            if count > 0 || self.is_peer_closed {
                return Poll::Ready(Ok(count));
            }
            if ready!(self.poll_read_records(cx))? == 0 {
                // Without `close_notify`, an attacker could have cut the connection.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Encrypts as much of `plain` as fits in one go, and sends what the socket takes now. The rest
    /// goes out with the next write or flush.
    fn poll_write_plain(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_records(cx))?;
        let taken = &plain[..plain.len().min(MAX_WRITE)];
        self.encrypt(|traffic, room| traffic.encrypt(taken, room))?;
        match self.poll_write_records(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken.len())),
        }
    }

    /// Puts the record that `write` encrypts into `outgoing`.
    fn encrypt(
        &mut self,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ClientConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        loop {
            let Self { tls, incoming, unread, outgoing, .. } = self;
            let UnbufferedStatus { discard, state } = tls.process_tls_records(incoming);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                let done = outgoing.fill(|room| match write(&mut traffic, room) {
                    Ok(written) => Ok(Ok(written)),
                    Err(EncryptError::InsufficientSize(needed)) => Ok(Err(needed.required_size)),
                    Err(error @ EncryptError::EncryptExhausted) => Err(invalid_data(error)),
                });
                incoming.advance(discard);
                return done;
            }
            // Records have come meanwhile: they are decrypted first, and read later.
            if let Ok(ConnectionState::ReadTraffic(mut traffic)) = state {
                let (mut taken, mut plain) = (discard, 0);
                if let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid_data)?;
                    taken += record.discard;
                    plain = record.payload.len();
                    deliver(record.payload, take_nothing, unread);
                }
                incoming.advance(taken);
                self.count_protocol_bytes(taken, plain)?;
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

    /// Puts `close_notify` into `outgoing`, once (RFC 9112 §9.8: a client must send it before it
    /// closes the connection).
    fn encrypt_close_notify(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_closed, true) || self.tls.is_handshaking() {
            return Ok(());
        }
        self.encrypt(|traffic, room| traffic.queue_close_notify(room))
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

    /// Reads once, with more room as long as there is more to read.
    fn poll_read_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A record can be longer than `read_size`: it must fit whole.
        self.incoming.reserve(self.read_size);
        let room = self.incoming.capacity() - self.incoming.len();
        let read = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.incoming);
        match &read {
            Poll::Ready(Ok(read)) if *read == room => {
                self.read_size = (self.read_size * 4).min(MAX_READ);
            }
            Poll::Ready(Ok(read)) if *read < MIN_READ => self.read_size = MIN_READ,
            Poll::Ready(_) => {}
            // After a download, an idle connection frees its memory.
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

impl Drop for TlsStream {
    fn drop(&mut self) {
        // Behind half a record no alert can be sent, and the request that waits may have been sent
        // elsewhere.
        if !self.outgoing.unsent().is_empty() {
            return;
        }
        // The bytes that have come are not decrypted for that.
        self.incoming.clear();
        if self.encrypt_close_notify().is_ok() {
            // An idle socket has room for one record.
            self.tcp.try_write(self.outgoing.unsent()).ok();
        }
    }
}

fn invalid_data(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Room for one read, in bytes: enough for a small response.
const MIN_READ: usize = 8 << 10;

/// Most room for one read, in bytes: four records of TLS. Beyond that the processor's cache pays
/// for the system calls.
const MAX_READ: usize = 68 << 10;

/// Most bytes of TLS messages between two pieces of data: servers send a few tickets of some
/// kilobytes after the handshake, and then only data.
const MAX_PROTOCOL_BYTES: usize = 64 << 10;

/// Most bytes that are encrypted at a time: four records.
const MAX_WRITE: usize = 64 << 10;
