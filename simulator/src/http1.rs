//! HTTP/1.1 by hand, because a server library would not write what must be written here.
//!
//! Reading keeps the case and the order of headers and the bytes of the target; writing can lie
//! about lengths, stop midway and send what is no HTTP at all.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::request::{ReceivedBody, RequestHead};
use crate::response::{Framing, SimulatedResponse, reason_phrase};

/// One connection and what has been read from it ahead of time.
pub(crate) struct Http1Stream<S> {
    stream: S,
    ahead: BytesMut,
}

/// The fate of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterResponse {
    KeepAlive,
    Close,
    Reset,
}

/// Longest head accepted, in bytes: above what any client under test sends.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Bytes read or written at a time.
const READ_BUFFER_CAPACITY: usize = 64 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Http1Stream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// Returns the next head, or `None` when the client has closed. Safe to cancel.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<RequestHead>> {
        loop {
            // A stray line end between requests is allowed (RFC 9112, 2.2).
            while self.ahead.starts_with(b"\r\n") {
                self.ahead.advance(2);
            }
            if let Some(end) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.ahead.split_to(end + 4);
                return parse_head(&head[..end]).map(Some);
            }
            if self.ahead.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("head too long"));
            }
            if self.fill_buf().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the body.
    pub(crate) async fn read_body(&mut self, head: &RequestHead) -> io::Result<ReceivedBody> {
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let length = head.header("content-length").and_then(|value| value.trim().parse().ok());
        let expects = head.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue"));
        if expects && (chunked || length.unwrap_or(0) > 0) && self.ahead.is_empty() {
            self.write_raw(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut intake = ReceivedBody::for_head(head);
        if !chunked {
            self.read_exactly(length.unwrap_or(0), &mut intake).await?;
            return Ok(intake);
        }
        loop {
            let line = self.read_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(intake);
            }
            self.read_exactly(size, &mut intake).await?;
            self.read_line().await?;
        }
    }

    /// Writes an answer.
    pub(crate) async fn send(
        &mut self,
        asked: &RequestHead,
        answer: SimulatedResponse,
    ) -> io::Result<AfterResponse> {
        let delivery = &answer.delivery;
        if delivery.early_hints {
            self.write_raw(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
                .await?;
        }
        let bodiless = asked.method == "HEAD" || answer.is_bodiless();
        self.write_raw(&encode_head(&answer, bodiless)).await?;
        let chunked =
            matches!(delivery.framing, Framing::Chunked | Framing::LengthAndChunked) && !bodiless;
        let whole = if bodiless { 0 } else { answer.body.length() };
        let end = delivery.cut.map_or(whole, |cut| cut.min(whole));
        let piece = if delivery.chunk == 0 { READ_BUFFER_CAPACITY } else { delivery.chunk };
        let mut sent = 0;
        while sent < end {
            if !delivery.pause.is_zero() {
                tokio::time::sleep(delivery.pause).await;
            }
            let bytes = answer.body.piece(sent, piece.min((end - sent) as usize));
            sent += bytes.len() as u64;
            if chunked {
                self.stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
                self.stream.write_all(&bytes).await?;
                self.stream.write_all(b"\r\n").await?;
            } else {
                self.stream.write_all(&bytes).await?;
            }
            self.stream.flush().await?;
        }
        if delivery.cut.is_some() {
            return Ok(if delivery.reset { AfterResponse::Reset } else { AfterResponse::Close });
        }
        if chunked {
            let mut end = "0\r\n".to_owned();
            for (name, value) in &delivery.trailers {
                end += &format!("{name}: {value}\r\n");
            }
            self.write_raw((end + "\r\n").as_bytes()).await?;
        }
        let said_close = answer.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
        });
        let ends = delivery.close_after || delivery.framing == Framing::UntilClose || said_close;
        Ok(if ends { AfterResponse::Close } else { AfterResponse::KeepAlive })
    }

    /// Writes bytes as they are.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Returns when the client has closed, keeping what it sends until then. Safe to cancel.
    pub(crate) async fn wait_for_disconnect(&mut self) {
        loop {
            if self.ahead.len() > MAX_HEAD_BYTES {
                return std::future::pending().await;
            }
            if !self.fill_buf().await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    /// Returns when the client has closed; what it sends until then is lost.
    pub(crate) async fn drain(&mut self) {
        while self.fill_buf().await.is_ok_and(|read| read > 0) {
            self.ahead.clear();
        }
    }

    /// Says goodbye, so that the client sees a clean end.
    pub(crate) async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    async fn fill_buf(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_BUFFER_CAPACITY);
        self.stream.read_buf(&mut self.ahead).await
    }

    async fn read_exactly(&mut self, mut left: u64, intake: &mut ReceivedBody) -> io::Result<()> {
        while left > 0 {
            if self.ahead.is_empty() && self.fill_buf().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = (self.ahead.len() as u64).min(left) as usize;
            intake.push(&self.ahead[..length]);
            self.ahead.advance(length);
            left -= length as u64;
        }
        Ok(())
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.ahead.split_to(end + 2);
                return Ok(decode_latin1(&line[..end]));
            }
            if self.ahead.len() > MAX_HEAD_BYTES || self.fill_buf().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<RequestHead> {
    let text = decode_latin1(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let broken = || io::Error::other("not a request line");
    let (method, rest) = first.split_once(' ').ok_or_else(broken)?;
    let (target, version) = rest.rsplit_once(' ').ok_or_else(broken)?;
    let version = match version {
        "HTTP/1.1" => "HTTP/1.1",
        "HTTP/1.0" => "HTTP/1.0",
        _ => return Err(broken()),
    };
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    Ok(RequestHead {
        method: method.to_owned(),
        target: target.to_owned(),
        version,
        authority: None,
        headers: headers.collect(),
    })
}

/// Reads bytes as text without losing any: UTF-8 if it is that, else Latin-1.
fn decode_latin1(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn encode_head(answer: &SimulatedResponse, bodiless: bool) -> Vec<u8> {
    let reason = answer.reason.unwrap_or_else(|| reason_phrase(answer.status));
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let length = answer.body.length();
    let given = answer.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length"));
    if !(answer.is_bodiless() || given) {
        head += &match answer.delivery.framing {
            Framing::Length => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::UntilClose if bodiless => String::new(),
            Framing::UntilClose => "Connection: close\r\n".to_owned(),
            Framing::DoubleLength => {
                format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1)
            }
            Framing::LengthAndChunked => {
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")
            }
        };
    }
    (head + "\r\n").into_bytes()
}
