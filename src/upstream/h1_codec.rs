//! HTTP/1.1 as it stands on the connection to the host: the head of a request as bytes, bytes as
//! the head of an answer, and where an answer ends.
//!
//! Nothing here reads or writes. Heads are taken apart by `httparse`, as hyper does it; what RFC
//! 9112 lets a recipient choose is refused: an answer whose end two readers could see in two
//! places is no answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::UpstreamRequest;
use super::framing::Framing;

/// What came was not an answer that may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Its first lines are not those of an HTTP answer.
    #[error("{0}")]
    Head(httparse::Error),
    /// Its head does not end.
    #[error("the head is longer than {} KiB", MAX_HEAD_LENGTH >> 10)]
    HeadTooLong,
    /// Its length is given twice, differently, or is no number.
    #[error("the Content-Length is contradictory or not a number")]
    ContentLength,
    /// It has transfer codings that nobody asked for.
    #[error("the Transfer-Encoding is not chunked alone")]
    TransferEncoding,
    /// Its chunks do not follow each other as they should.
    #[error("the chunked coding is malformed")]
    Chunk,
    /// Its `Connection` names more than any server has reason to.
    #[error("the Connection field names more than {MAX_CONNECTION_OPTIONS} options")]
    ConnectionOptions,
    /// It switches to a protocol that nobody asked for.
    #[error("it switches protocols unasked")]
    UnexpectedUpgrade,
}

/// How the body of a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEncoder {
    /// Exactly so many bytes.
    Length(u64),
    /// In chunks, for nobody knows its length yet.
    Chunked,
}

/// Writes the head of a request, and how its body is to follow. `length` is that of the body, as
/// far as it is known.
pub(super) fn encode_head(
    ask: &impl UpstreamRequest,
    length: Option<u64>,
    head: &mut Vec<u8>,
) -> BodyEncoder {
    let target = ask.target().as_str();
    let sent = length.map_or(BodyEncoder::Chunked, BodyEncoder::Length);
    let mut write = |pieces: &[&[u8]]| pieces.iter().for_each(|it| head.extend_from_slice(it));
    write(&[ask.method().as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
    ask.for_each_header(|name, value| {
        write(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    });
    match sent {
        BodyEncoder::Length(0) => write(&[b"\r\n"]),
        BodyEncoder::Length(length) => {
            write(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n\r\n"]);
        }
        BodyEncoder::Chunked => write(&[b"transfer-encoding: chunked\r\n\r\n"]),
    }
    sent
}

/// Writes a chunk, and the last one behind it if nothing follows. Without data there is none: an
/// empty chunk is the last one.
pub(super) fn encode_chunk(data: &[u8], is_last: bool, framed: &mut Vec<u8>) {
    if !data.is_empty() {
        framed.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        framed.extend_from_slice(data);
        framed.extend_from_slice(b"\r\n");
    }
    if is_last {
        framed.extend_from_slice(b"0\r\n\r\n");
    }
}

/// The head of an answer, and what it says of the rest.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) response: Response<()>,
    pub(super) decoder: BodyDecoder,
    /// Whether another request may follow on this connection.
    pub(super) keep_alive: bool,
}

/// Takes the head of an answer to a request with this method off `plain`, once it is there as a
/// whole. Interim answers (1xx) are passed over, but for one that switches protocols; `passed` counts
/// them in bytes, for without an end they are no answer either.
/// `fields` is an empty map whose memory may be used.
pub(super) fn parse_head(
    plain: &mut BytesMut,
    passed: &mut usize,
    method: &Method,
    fields: &mut HeaderMap,
) -> Result<Option<ResponseHead>, Malformed> {
    while !plain.is_empty() {
        let mut places = [[0; 4]; MAX_HEADERS];
        let Some(lines) = HeadLines::parse(plain, &mut places)? else {
            let is_too_long = *passed + plain.len() > MAX_HEAD_LENGTH;
            return if is_too_long { Err(Malformed::HeadTooLong) } else { Ok(None) };
        };
        *passed += lines.length;
        if *passed > MAX_HEAD_LENGTH {
            return Err(Malformed::HeadTooLong);
        }
        let bytes = plain.split_to(lines.length).freeze();
        if lines.status.is_informational() && lines.status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        fields.reserve(lines.count);
        let mut framing = Framing::default();
        for &[name, name_end, value, value_end] in &places[..lines.count] {
            let name = HeaderName::from_bytes(&bytes[name as usize..name_end as usize])
                .map_err(|_| Malformed::Head(httparse::Error::HeaderName))?;
            let value =
                HeaderValue::from_maybe_shared(bytes.slice(value as usize..value_end as usize))
                    .map_err(|_| Malformed::Head(httparse::Error::HeaderValue))?;
            framing.record(&name, &value)?;
            fields.append(name, value);
        }
        framing.normalize(fields);
        let mut answer = Response::new(());
        *answer.status_mut() = lines.status;
        *answer.version_mut() = lines.version;
        *answer.headers_mut() = std::mem::take(fields);
        if let Some(reason) = lines.reason.and_then(|it| ReasonPhrase::try_from(it).ok()) {
            answer.extensions_mut().insert(reason);
        }
        let rest = framing.body_decoder(method, lines.status, lines.version)?;
        // RFC 9112 §6.3: the chunks count, and nobody knows what follows them.
        let is_doubtful = framing.is_chunked && framing.length.is_some();
        let persists = lines.version == Version::HTTP_11
            && !framing.closes
            && !is_doubtful
            && rest != BodyDecoder::UntilClose
            && lines.status != StatusCode::SWITCHING_PROTOCOLS;
        return Ok(Some(ResponseHead { response: answer, decoder: rest, keep_alive: persists }));
    }
    Ok(None)
}

/// What the lines of a head say.
struct HeadLines {
    length: usize,
    status: StatusCode,
    version: Version,
    /// Unless it is the usual one: Nexudus says in it that it throttles.
    reason: Option<Vec<u8>>,
    count: usize,
}

/// Where the name and the value of a field begin and end.
type HeaderSpan = [u32; 4];

impl HeadLines {
    fn parse(
        plain: &[u8],
        places: &mut [HeaderSpan; MAX_HEADERS],
    ) -> Result<Option<Self>, Malformed> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut head, plain, &mut space)
            .map_err(Malformed::Head)?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Malformed::Head(httparse::Error::Status))?;
        let reason = head.reason.filter(|&reason| Some(reason) != status.canonical_reason());
        for (place, field) in places.iter_mut().zip(&*head.headers) {
            let (name, value) = (field.name.as_bytes().as_ptr_range(), field.value.as_ptr_range());
            let ends = [name.start, name.end, value.start, value.end];
            *place = ends.map(|end| (end.addr() - plain.as_ptr().addr()) as u32);
        }
        Ok(Some(Self {
            length,
            status,
            version: if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 },
            reason: reason.map(|reason| reason.as_bytes().to_vec()),
            count: head.headers.len(),
        }))
    }
}

/// What of an answer's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyDecoder {
    /// Not a byte.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(ChunkState),
    /// Whatever comes before the connection ends.
    UntilClose,
}

/// What comes next of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkState {
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line's end behind a chunk.
    End,
    /// Trailers, so many bytes of them so far, and the empty line behind them.
    Trailers(usize),
}

impl BodyDecoder {
    /// Takes the next piece of the body off `plain`; `None` when more must come, or nothing will.
    pub(super) fn take_data(&mut self, plain: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        loop {
            match self {
                Self::Done => return Ok(None),
                Self::UntilClose => return Ok(split_data(plain, u64::MAX)),
                Self::Length(left) => {
                    let piece = split_data(plain, *left);
                    *left -= length(piece.as_ref());
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(piece);
                }
                Self::Chunked(ChunkState::Data(left)) => {
                    let piece = split_data(plain, *left);
                    *left -= length(piece.as_ref());
                    if *left == 0 {
                        *self = Self::Chunked(ChunkState::End);
                    }
                    return Ok(piece);
                }
                Self::Chunked(chunk) => match chunk.next(plain)? {
                    Some(next) => *self = next,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Passes over what stands between two pieces, so that the end is seen as soon as it is here.
    /// What is wrong with it is told by the next [`BodyDecoder::take_data`].
    pub(super) fn skip_framing(&mut self, plain: &mut BytesMut) {
        while let Self::Chunked(
            chunk @ (ChunkState::Size | ChunkState::End | ChunkState::Trailers(_)),
        ) = self
        {
            match chunk.next(plain) {
                Ok(Some(next)) => *self = next,
                Ok(None) | Err(_) => break,
            }
        }
    }
}

impl ChunkState {
    /// Reads a line between two pieces of data, if it is there as a whole.
    fn next(self, plain: &mut BytesMut) -> Result<Option<BodyDecoder>, Malformed> {
        let end = plain.iter().take(MAX_CHUNK_LINE).position(|&byte| byte == b'\n');
        let Some(end) = end else {
            let is_too_long = plain.len() >= MAX_CHUNK_LINE;
            return if is_too_long { Err(Malformed::Chunk) } else { Ok(None) };
        };
        let line = plain[..end].strip_suffix(b"\r").ok_or(Malformed::Chunk)?;
        let next = match self {
            Self::Size => match parse_chunk_size(line)? {
                0 => BodyDecoder::Chunked(Self::Trailers(0)),
                size => BodyDecoder::Chunked(Self::Data(size)),
            },
            Self::End | Self::Trailers(_) if line.is_empty() => match self {
                Self::Trailers(_) => BodyDecoder::Done,
                Self::Size | Self::Data(_) | Self::End => BodyDecoder::Chunked(Self::Size),
            },
            Self::Trailers(seen) if seen + end < MAX_CHUNK_LINE && is_trailer_line(line) => {
                BodyDecoder::Chunked(Self::Trailers(seen + end))
            }
            Self::Data(_) | Self::End | Self::Trailers(_) => return Err(Malformed::Chunk),
        };
        plain.advance(end + 1);
        Ok(Some(next))
    }
}

/// A chunk's size; extensions are nobody's here.
fn parse_chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let is_clean = matches!(extension.trim_ascii_start().first(), None | Some(b';'))
        && !extension.iter().any(|byte| matches!(byte, b'\r' | b'\0'));
    let size = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    size.filter(|_| is_clean).ok_or(Malformed::Chunk)
}

/// Says whether a line is a field: its name, a colon and anything.
fn is_trailer_line(line: &[u8]) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| HeaderName::from_bytes(&line[..colon]).is_ok())
}

/// Takes what there is of the next `most` bytes.
fn split_data(plain: &mut BytesMut, most: u64) -> Option<Bytes> {
    let here = usize::try_from(most).map_or(plain.len(), |most| most.min(plain.len()));
    (here > 0).then(|| plain.split_to(here).freeze())
}

fn length(piece: Option<&Bytes>) -> u64 {
    piece.map_or(0, |piece| piece.len() as u64)
}

/// As many as hyper takes.
const MAX_HEADERS: usize = 100;

/// Bounds an answer's head with the interim ones before it; nginx takes 4 to 32 KiB.
pub(super) const MAX_HEAD_LENGTH: usize = 64 << 10;

/// Most options in the `Connection` of a head: clients and servers send three at most.
pub const MAX_CONNECTION_OPTIONS: usize = 32;

/// A line between chunks, extensions and all, and all trailers together.
const MAX_CHUNK_LINE: usize = 16 << 10;

#[cfg(test)]
mod tests;
