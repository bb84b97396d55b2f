//! Bodies on the wire: where a response's body ends, and how a request's body is framed.
//!
//! Trailers are checked, bounded and dropped: they are a second place in which a header could hide.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderName;

use crate::error::Malformed;
use crate::limits::MAX_CHUNK_LINE;

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoder {
    /// So many bytes are still to be sent, exactly.
    Length(u64),
    /// The body goes out in chunks, because its length is not known yet.
    Chunked,
}

/// Appends a chunk to `buf`, and the last chunk behind it if no more data follows. Empty data is no
/// chunk of its own: an empty chunk ends the body.
pub(crate) fn encode_chunk(data: &[u8], is_last: bool, buf: &mut Vec<u8>) {
    if !data.is_empty() {
        buf.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        buf.extend_from_slice(data);
        buf.extend_from_slice(b"\r\n");
    }
    if is_last {
        buf.extend_from_slice(b"0\r\n\r\n");
    }
}

/// Which part of a response's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// None.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(ChunkState),
    /// All bytes until the connection ends.
    UntilClose,
}

/// Which part of a chunked body comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkState {
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end behind a chunk.
    End,
    /// The trailers, of which so many bytes have come, and the empty line behind them.
    Trailers(usize),
}

impl BodyDecoder {
    /// Takes the next data off `buf`. Returns `None` when more bytes must come, or none will.
    pub(crate) fn take_data(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        loop {
            match self {
                Self::Done => return Ok(None),
                Self::UntilClose => return Ok(split_data(buf, u64::MAX)),
                Self::Length(left) => {
                    let data = split_data(buf, *left);
                    *left -= length(data.as_ref());
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(data);
                }
                Self::Chunked(ChunkState::Data(left)) => {
                    let data = split_data(buf, *left);
                    *left -= length(data.as_ref());
                    if *left == 0 {
                        *self = Self::Chunked(ChunkState::End);
                    }
                    return Ok(data);
                }
                Self::Chunked(state) => match state.next(buf)? {
                    Some(next) => *self = next,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Takes the framing between two pieces of data off `buf`, so that the end of the body is known
    /// as soon as it has come. An error in it is reported by the next [`BodyDecoder::take_data`].
    pub(crate) fn skip_framing(&mut self, buf: &mut BytesMut) {
        while let Self::Chunked(
            state @ (ChunkState::Size | ChunkState::End | ChunkState::Trailers(_)),
        ) = self
        {
            match state.next(buf) {
                Ok(Some(next)) => *self = next,
                Ok(None) | Err(_) => break,
            }
        }
    }
}

impl ChunkState {
    /// Reads the line between two pieces of data, once the whole line has come.
    fn next(self, buf: &mut BytesMut) -> Result<Option<BodyDecoder>, Malformed> {
        let end = buf.iter().take(MAX_CHUNK_LINE).position(|&byte| byte == b'\n');
        let Some(end) = end else {
            let is_too_long = buf.len() >= MAX_CHUNK_LINE;
            return if is_too_long { Err(Malformed::Chunk) } else { Ok(None) };
        };
        let line = buf[..end].strip_suffix(b"\r").ok_or(Malformed::Chunk)?;
        let next = match self {
            Self::Size => match parse_chunk_size(line)? {
                0 => BodyDecoder::Chunked(Self::Trailers(0)),
                size => BodyDecoder::Chunked(Self::Data(size)),
            },
            Self::End if line.is_empty() => BodyDecoder::Chunked(Self::Size),
            Self::Trailers(_) if line.is_empty() => BodyDecoder::Done,
            Self::Trailers(seen) if seen + end < MAX_CHUNK_LINE && is_trailer_line(line) => {
                BodyDecoder::Chunked(Self::Trailers(seen + end))
            }
            Self::Data(_) | Self::End | Self::Trailers(_) => return Err(Malformed::Chunk),
        };
        buf.advance(end + 1);
        Ok(Some(next))
    }
}

/// Parses a chunk's size. Extensions are ignored (RFC 9112 §7.1.1).
fn parse_chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let is_clean = matches!(extension.trim_ascii_start().first(), None | Some(b';'))
        && !extension.iter().any(|byte| matches!(byte, b'\r' | b'\0'));
    let size = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    size.filter(|_| is_clean).ok_or(Malformed::Chunk)
}

/// Returns whether a line is a header: a name, a colon and anything.
fn is_trailer_line(line: &[u8]) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| HeaderName::from_bytes(&line[..colon]).is_ok())
}

/// Takes what has come of the next `limit` bytes.
fn split_data(buf: &mut BytesMut, limit: u64) -> Option<Bytes> {
    let length = usize::try_from(limit).map_or(buf.len(), |limit| limit.min(buf.len()));
    (length > 0).then(|| buf.split_to(length).freeze())
}

fn length(data: Option<&Bytes>) -> u64 {
    data.map_or(0, |data| data.len() as u64)
}
