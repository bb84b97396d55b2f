//! The head of a request as bytes, and bytes as the head of a response.
//!
//! Nothing here reads or writes. Heads are taken apart by `httparse`, hyper's own parser.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use crate::body_codec::{BodyDecoder, BodyEncoder};
use crate::error::Malformed;
use crate::framing::{Framing, is_tunnel};
use crate::limits::{MAX_HEAD_LENGTH, MAX_HEADERS};
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
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<Option<ResponseHead>, Malformed> {
    while !buf.is_empty() {
        let mut spans = [[0; 4]; MAX_HEADERS];
        let Some(lines) = HeadLines::parse(buf, &mut spans)? else {
            let is_too_long = *interim_bytes + buf.len() > MAX_HEAD_LENGTH;
            return if is_too_long { Err(Malformed::HeadTooLong) } else { Ok(None) };
        };
        *interim_bytes += lines.length;
        if *interim_bytes > MAX_HEAD_LENGTH {
            return Err(Malformed::HeadTooLong);
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

impl HeadLines {
    fn parse(buf: &[u8], spans: &mut [HeaderSpan; MAX_HEADERS]) -> Result<Option<Self>, Malformed> {
        let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut head, buf, &mut storage)
            .map_err(Malformed::Head)?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Malformed::Head(httparse::Error::Status))?;
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
                // An empty one may stand anywhere, also outside of the head.
                Range { start, end } if start == end => 0..0,
                Range { start, end } => offset(start)..offset(end),
            }),
            header_count: head.headers.len(),
        }))
    }

    /// Makes the response of which these are the lines; its headers share `bytes`.
    fn into_head(
        self,
        bytes: &Bytes,
        spans: &[HeaderSpan; MAX_HEADERS],
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<ResponseHead, Malformed> {
        headers.reserve(self.header_count);
        let is_tunnel = is_tunnel(method, self.status);
        let mut framing = Framing::default();
        for &[name, name_end, value, value_end] in &spans[..self.header_count] {
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

#[cfg(test)]
mod tests;
