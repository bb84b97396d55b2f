//! The head of a request as bytes, and bytes as the head of a response.
//!
//! Nothing here reads or writes. Heads are taken apart by `httparse`, hyper's own parser.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use crate::body_codec::{BodyDecoder, BodyEncoder};
use crate::error::Malformed;
use crate::framing::{Framing, is_tunnel};
use crate::limits::{HeadLimits, USUAL_HEADERS};
use crate::request::Request;

/// Appends the head of a request to `buf` and returns how its body is framed. `length` is the
/// length of the body, if it is known.
pub(crate) fn encode_head(
    request: &impl Request,
    length: Option<u64>,
    buf: &mut Vec<u8>,
) -> BodyEncoder {
    let encoder = length.map_or(BodyEncoder::Chunked, BodyEncoder::Length);
    let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| buf.extend_from_slice(part));
    let target = request.target().as_bytes();
    write(&[request.method().as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    request.for_each_header(|name, value| {
        write(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    });
    match encoder {
        BodyEncoder::Length(0) => write(&[b"\r\n"]),
        BodyEncoder::Length(length) => {
            write(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n\r\n"]);
        }
        BodyEncoder::Chunked => write(&[b"transfer-encoding: chunked\r\n\r\n"]),
    }
    encoder
}

/// The reason phrase of a response, in its extensions, unless it is the usual one of its status.
///
/// The bytes are as they came: whether they may stand in another head is for its writer to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonPhrase(pub Bytes);

/// The head of a response, and what it says of the rest.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) response: Response<()>,
    pub(crate) decoder: BodyDecoder,
    /// Whether the connection takes another request afterwards.
    pub(crate) keep_alive: bool,
}

/// Takes the head of the response to a request of `method` off `buf`, once all of it has come.
///
/// Interim responses (1xx) are skipped, except for one that switches protocols. `interim_bytes`
/// counts them, because a server must not send them without end. `headers` is an empty map whose
/// memory the response may use.
pub(crate) fn parse_head(
    buf: &mut BytesMut,
    interim_bytes: &mut usize,
    limits: HeadLimits,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<Option<ResponseHead>, Malformed> {
    while !buf.is_empty() {
        let mut spans = HeaderSpans::new();
        let Some(lines) = HeadLines::parse(buf, &mut spans, limits.headers)? else {
            let is_too_long = *interim_bytes + buf.len() > limits.bytes;
            return if is_too_long { Err(Malformed::HeadTooLong(limits.bytes)) } else { Ok(None) };
        };
        *interim_bytes += lines.length;
        if *interim_bytes > limits.bytes {
            return Err(Malformed::HeadTooLong(limits.bytes));
        }
        let bytes = buf.split_to(lines.length).freeze();
        let is_interim = lines.status.is_informational();
        if !is_interim || lines.status == StatusCode::SWITCHING_PROTOCOLS {
            return lines.into_head(&bytes, &spans, method, headers).map(Some);
        }
    }
    Ok(None)
}

/// The content of a head's lines.
struct HeadLines {
    length: usize,
    status: StatusCode,
    version: Version,
    /// Where the reason phrase stands, unless it is the usual one.
    reason: Option<Range<usize>>,
    header_count: usize,
}

/// Where the name of a header begins and ends, then its value.
type HeaderSpan = [u32; 4];

/// Where the headers stand. Only a head with very many needs memory for it.
struct HeaderSpans {
    usual: [HeaderSpan; USUAL_HEADERS],
    many: Vec<HeaderSpan>,
}

impl HeaderSpans {
    fn new() -> Self {
        Self { usual: [[0; 4]; USUAL_HEADERS], many: Vec::new() }
    }

    fn first(&self, count: usize) -> &[HeaderSpan] {
        if self.many.is_empty() { &self.usual[..count] } else { &self.many[..count] }
    }
}

impl HeadLines {
    /// Parses a head of at most `limit` header lines. A control character in a value becomes a
    /// blank in `buf`.
    fn parse(
        buf: &mut BytesMut,
        spans: &mut HeaderSpans,
        limit: usize,
    ) -> Result<Option<Self>, Malformed> {
        let mut is_clean = false;
        loop {
            let parsed = if spans.many.is_empty() {
                let mut storage = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
                Self::parse_with(buf, &mut storage, &mut spans.usual)
            } else {
                let mut storage = vec![MaybeUninit::uninit(); limit];
                Self::parse_with(buf, &mut storage, &mut spans.many)
            };
            match parsed {
                Ok(Some(lines)) if lines.header_count > limit => {
                    return Err(Malformed::Head(httparse::Error::TooManyHeaders));
                }
                Err(httparse::Error::TooManyHeaders)
                    if limit > USUAL_HEADERS && spans.many.is_empty() =>
                {
                    spans.many.resize(limit, [0; 4]);
                }
                Err(httparse::Error::HeaderValue) if !is_clean && replace_controls(buf) => {
                    is_clean = true;
                }
                parsed => return parsed.map_err(Malformed::Head),
            }
        }
    }

    fn parse_with<'a>(
        buf: &'a [u8],
        storage: &mut [MaybeUninit<httparse::Header<'a>>],
        spans: &mut [HeaderSpan],
    ) -> Result<Option<Self>, httparse::Error> {
        let mut head = httparse::Response::new(&mut []);
        let mut parser = httparse::ParserConfig::default();
        // RFC 9112 §5.1: a proxy removes blanks between a name and its colon from a response.
        parser.allow_spaces_after_header_name_in_responses(true);
        let parsed = parser.parse_response_with_uninit_headers(&mut head, buf, storage)?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(httparse::Error::Status)?;
        let offset = |at: *const u8| at.addr() - buf.as_ptr().addr();
        let reason = head.reason.filter(|&reason| Some(reason) != status.canonical_reason());
        for (span, header) in spans.iter_mut().zip(&*head.headers) {
            let (name, value) =
                (header.name.as_bytes().as_ptr_range(), header.value.as_ptr_range());
            *span = [name.start, name.end, value.start, value.end].map(|end| offset(end) as u32);
        }
        Ok(Some(Self {
            length,
            status,
            version: if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 },
            reason: reason.map(|reason| match reason.as_bytes().as_ptr_range() {
                // The parser drops one with bytes beyond ASCII, which are legal there.
                Range { start, end } if start == end => find_reason(buf),
                Range { start, end } => offset(start)..offset(end),
            }),
            header_count: head.headers.len(),
        }))
    }

    /// Makes the response of which these are the lines; its headers share `bytes`.
    fn into_head(
        self,
        bytes: &Bytes,
        spans: &HeaderSpans,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<ResponseHead, Malformed> {
        headers.reserve(self.header_count);
        let is_tunnel = is_tunnel(method, self.status);
        let mut framing = Framing::default();
        for &[name, name_end, value, value_end] in spans.first(self.header_count) {
            let name = HeaderName::from_bytes(&bytes[name as usize..name_end as usize])
                .map_err(|_| Malformed::Head(httparse::Error::HeaderName))?;
            let value =
                HeaderValue::from_maybe_shared(bytes.slice(value as usize..value_end as usize))
                    .map_err(|_| Malformed::Head(httparse::Error::HeaderValue))?;
            // RFC 9110 §9.3.6: what frames a body means nothing in the response that opens a tunnel.
            if !is_tunnel {
                framing.record(&name, &value)?;
            }
            headers.append(name, value);
        }
        framing.normalize(headers);
        let decoder = framing.body_decoder(method, self.status, self.version)?;
        let keep_alive = self.version == Version::HTTP_11
            && framing.keeps_alive()
            && decoder != BodyDecoder::UntilClose
            && self.status != StatusCode::SWITCHING_PROTOCOLS
            && !is_tunnel;
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = std::mem::take(headers);
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(ReasonPhrase(bytes.slice(reason)));
        }
        Ok(ResponseHead { response, decoder, keep_alive })
    }
}

/// Returns where the reason phrase stands in a status line that was parsed: behind the version, a
/// blank, the status and another blank.
fn find_reason(buf: &[u8]) -> Range<usize> {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = buf.iter().position(|byte| !is_line_end(byte)).unwrap_or(buf.len());
    let end = buf[start..].iter().position(is_line_end).map_or(buf.len(), |at| start + at);
    let reason = start + "HTTP/1.1 200 ".len();
    if reason < end { reason..end } else { 0..0 }
}

/// Replaces control characters in the values of a head with blanks, as RFC 9110 §5.5 lets a
/// recipient do. Returns whether there were any.
///
/// Not in the fields that frame the message: of those no two readers may understand different
/// things. Nor CR, LF and NUL, at which a reader may end a line.
fn replace_controls(buf: &mut [u8]) -> bool {
    let mut has_replaced = false;
    let lines = buf.split_mut(|&byte| byte == b'\n');
    let is_empty = |line: &[u8]| line.trim_ascii().is_empty();
    let from_status = lines.skip_while(|line| is_empty(line));
    for line in from_status.skip(1).take_while(|line| !is_empty(line)) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at_mut(colon);
        if is_framing(name.trim_ascii()) {
            continue;
        }
        let is_control =
            |byte: &&mut u8| matches!(**byte, 0x01..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f);
        for byte in value.iter_mut().filter(is_control) {
            *byte = b' ';
            has_replaced = true;
        }
    }
    has_replaced
}

fn is_framing(name: &[u8]) -> bool {
    [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing.as_str().as_bytes()))
}

#[cfg(test)]
mod tests;
