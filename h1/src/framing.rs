//! Where the body of a response ends, according to its head.
//!
//! A header that was parsed is not passed on as it came. The parsed value is passed on, so that no
//! later reader can see another end.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::body_codec::{BodyDecoder, ChunkState};
use crate::error::Malformed;
use crate::limits::MAX_CONNECTION_OPTIONS;

/// Writes the length that `headers` give once and as a plain number, however often and in whatever
/// form they gave it.
///
/// [`Connection`] does so by itself. The function is for responses that came by HTTP/2, which
/// frames its bodies otherwise and does not check the header.
///
/// # Errors
///
/// [`Malformed::ContentLength`] when there are two lengths, or one is no number.
///
/// [`Connection`]: crate::Connection
pub fn normalize_content_length(headers: &mut HeaderMap) -> Result<(), Malformed> {
    let mut framing = Framing::default();
    for value in headers.get_all(CONTENT_LENGTH) {
        framing.record(&CONTENT_LENGTH, value)?;
    }
    framing.normalize(headers);
    Ok(())
}

/// The headers of a response that concern its length and the connection.
#[derive(Default)]
pub(crate) struct Framing {
    length: Option<u64>,
    /// Whether the length was given twice, or otherwise than as a plain number.
    is_odd: bool,
    is_chunked: bool,
    /// Whether `Connection` holds `close`.
    closes: bool,
    /// How many options `Connection` holds.
    options: usize,
}

impl Framing {
    /// Takes one header into account.
    pub(crate) fn record(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
    ) -> Result<(), Malformed> {
        match *name {
            CONTENT_LENGTH => self.record_length(value),
            TRANSFER_ENCODING => {
                let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if !is_chunked || std::mem::replace(&mut self.is_chunked, true) {
                    return Err(Malformed::TransferEncoding);
                }
                Ok(())
            }
            CONNECTION => {
                for option in value.as_bytes().split(|&byte| byte == b',') {
                    self.closes |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                    self.options += 1;
                }
                // A proxy compares each option with each header.
                if self.options > MAX_CONNECTION_OPTIONS {
                    return Err(Malformed::ConnectionOptions);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn record_length(&mut self, value: &HeaderValue) -> Result<(), Malformed> {
        let text = value.to_str().map_err(|_| Malformed::ContentLength)?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let has_zeros = text.len() > 1 && text.starts_with('0');
        self.is_odd |= self.length.is_some() || !is_plain || has_zeros;
        // A list of the same number is one number (RFC 9112 §6.3).
        for item in text.split(',') {
            let length =
                parse_length(item.trim_matches([' ', '\t'])).ok_or(Malformed::ContentLength)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(Malformed::ContentLength);
            }
        }
        Ok(())
    }

    /// Replaces a length that was written oddly.
    pub(crate) fn normalize(&self, headers: &mut HeaderMap) {
        if let Some(length) = self.length.filter(|_| self.is_odd) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }

    /// Returns how the body that follows the head is read (RFC 9112 §6.3).
    pub(crate) fn body_decoder(
        &self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<BodyDecoder, Malformed> {
        let is_tunnel = is_tunnel(method, status);
        if self.is_chunked && version == Version::HTTP_10 && !is_tunnel {
            return Err(Malformed::TransferEncoding);
        }
        let is_bodiless = is_tunnel
            || method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match self.length {
            _ if is_bodiless => BodyDecoder::Done,
            _ if self.is_chunked => BodyDecoder::Chunked(ChunkState::Size),
            Some(0) => BodyDecoder::Done,
            Some(length) => BodyDecoder::Length(length),
            None => BodyDecoder::UntilClose,
        })
    }

    /// Returns whether the connection takes another request after the response, as far as the
    /// headers say. With both a length and chunks, the chunks count, and a server that meant the
    /// length may send anything behind them (RFC 9112 §6.3).
    pub(crate) fn keeps_alive(&self) -> bool {
        let is_doubtful = self.is_chunked && self.length.is_some();
        !self.closes && !is_doubtful
    }
}

/// Returns whether the connection is a tunnel from the end of the head on (RFC 9110 §9.3.6).
pub(crate) fn is_tunnel(method: &Method, status: StatusCode) -> bool {
    method == Method::CONNECT && status.is_success()
}

/// Parses a length: digits and nothing else (RFC 9110 §8.6).
fn parse_length(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
