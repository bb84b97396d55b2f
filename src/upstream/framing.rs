//! What the head of an answer says of its end, and the same said so that no other reader can see
//! another.
//!
//! A value that was parsed is not relayed as it came: what is relayed is what was understood. Of the
//! fields that decide where a message ends, `Transfer-Encoding` and `Connection` stay here, and
//! `Content-Length` is written once, as a number.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::h1_codec::{BodyDecoder, ChunkState, MAX_CONNECTION_OPTIONS, Malformed};

/// Writes the one length that the fields of an answer give as it was understood, in the place of
/// however often and in whatever form it was written: two readers could see two lengths in it.
pub(super) fn normalize_content_length(fields: &mut HeaderMap) -> Result<(), Malformed> {
    let mut framing = Framing::default();
    for value in fields.get_all(CONTENT_LENGTH) {
        framing.record(&CONTENT_LENGTH, value)?;
    }
    framing.normalize(fields);
    Ok(())
}

/// What the fields of a head say of its length.
#[derive(Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    /// Whether it was written in another way than as this number, once.
    is_odd: bool,
    pub(super) is_chunked: bool,
    pub(super) closes: bool,
    /// How many names `Connection` holds.
    options: usize,
}

impl Framing {
    /// Takes note of one field.
    pub(super) fn record(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
    ) -> Result<(), Malformed> {
        let text = || value.to_str().map_err(|_| Malformed::ContentLength);
        match *name {
            CONTENT_LENGTH => {
                let text = text()?;
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                let has_zeros = text.len() > 1 && text.starts_with('0');
                self.is_odd |= self.length.is_some() || !is_plain || has_zeros;
                // A list of the same number is one number (RFC 9112 §6.3).
                for one in text.split(',') {
                    let one = parse_length(one.trim_matches([' ', '\t']))
                        .ok_or(Malformed::ContentLength)?;
                    if self.length.replace(one).is_some_and(|other| other != one) {
                        return Err(Malformed::ContentLength);
                    }
                }
            }
            TRANSFER_ENCODING => {
                let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if !is_chunked || std::mem::replace(&mut self.is_chunked, true) {
                    return Err(Malformed::TransferEncoding);
                }
            }
            CONNECTION => {
                for option in value.as_bytes().split(|&byte| byte == b',') {
                    self.closes |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                    self.options += 1;
                }
                // Each is compared with each field.
                if self.options > MAX_CONNECTION_OPTIONS {
                    return Err(Malformed::ConnectionOptions);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Replaces a length that was written oddly.
    pub(super) fn normalize(&self, fields: &mut HeaderMap) {
        if let Some(length) = self.length.filter(|_| self.is_odd) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }

    /// Returns what follows the head (RFC 9112 §6.3).
    pub(super) fn body_decoder(
        &self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<BodyDecoder, Malformed> {
        if self.is_chunked && version == Version::HTTP_10 {
            return Err(Malformed::TransferEncoding);
        }
        let is_bare = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match self.length {
            _ if is_bare || method == Method::HEAD => BodyDecoder::Done,
            _ if self.is_chunked => BodyDecoder::Chunked(ChunkState::Size),
            Some(0) => BodyDecoder::Done,
            Some(length) => BodyDecoder::Length(length),
            None => BodyDecoder::UntilClose,
        })
    }
}

/// RFC 9110 §8.6: digits and nothing else.
fn parse_length(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HTTP/2 hands them over, which frames by itself.
    #[test]
    fn a_length_becomes_one_plain_number_or_is_refused() {
        for (values, written) in [
            (&["5"][..], Ok(Some("5"))),
            (&["5", "5"], Ok(Some("5"))),
            (&["5, 5"], Ok(Some("5"))),
            (&["005"], Ok(Some("5"))),
            (&[" 5"], Ok(Some("5"))),
            (&["0", "0"], Ok(Some("0"))),
            (&[], Ok(None)),
            (&["5", "6"], Err(Malformed::ContentLength)),
            (&["x"], Err(Malformed::ContentLength)),
            (&["+5"], Err(Malformed::ContentLength)),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            let found = normalize_content_length(&mut fields).map(|()| {
                let all: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
                assert!(all.len() <= 1, "{all:?}");
                all.first().map(|value| value.to_str().unwrap())
            });
            assert_eq!(found, written, "{values:?}");
        }
    }
}
