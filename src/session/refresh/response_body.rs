//! The body of a response to one of our own calls: bounded, and as it was before it was encoded.
//!
//! Our calls ask for no content coding. Some servers, and proxies in front of them, compress all the
//! same; such a response to a password must not be taken for nonsense and asked for again.

use std::io::{self, Read};
use std::time::Duration;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::token_response::TokenError;
use crate::session::error::Cause;

/// Why a body cannot be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The response broke off.
    Lost(reqwest::Error),
    /// The body is larger than any that is expected.
    TooLarge,
    /// The body is compressed in a way that was not asked for, or is damaged.
    Encoded,
}

impl BodyError {
    /// Returns what this means for a token response.
    pub(super) fn into_failure(
        self,
        retry_after: Option<Duration>,
        lost: impl FnOnce(&reqwest::Error) -> TokenError,
    ) -> TokenError {
        match self {
            Self::Lost(error) => lost(&error),
            Self::TooLarge => TokenError::Unavailable {
                retry_after,
                cause: Cause::new("the token endpoint sent more than 256 KiB"),
            },
            // The password may have been looked at.
            Self::Encoded => TokenError::Ambiguous(Cause::new(
                "the token endpoint's response is compressed in a way that was not asked for",
            )),
        }
    }
}

/// Reads the body, which may hold login material.
pub(super) async fn read(mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let coding = Coding::from_headers(response.headers());
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Lost)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_SIZE {
            return Err(BodyError::TooLarge);
        }
    }
    coding.decode(body)
}

/// A content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
    Other,
}

impl Coding {
    fn from_headers(headers: &HeaderMap) -> Self {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        match (codings.next().map(|value| value.to_str().unwrap_or_default()), codings.next()) {
            (None, _) => Self::Identity,
            (Some(coding), None) => match coding.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => Self::Identity,
                "gzip" | "x-gzip" => Self::Gzip,
                "deflate" => Self::Deflate,
                _ => Self::Other,
            },
            (Some(_), Some(_)) => Self::Other,
        }
    }

    fn decode(self, body: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => inflate(MultiGzDecoder::new(body.as_slice())),
            Self::Deflate => inflate(ZlibDecoder::new(body.as_slice())),
            Self::Other => Err(BodyError::Encoded),
        }
    }
}

fn inflate(decoder: impl Read) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut plain = Zeroizing::new(Vec::new());
    let read: io::Result<usize> = decoder.take(MAX_BODY_SIZE as u64 + 1).read_to_end(&mut plain);
    match read {
        Ok(length) if length <= MAX_BODY_SIZE => Ok(plain),
        Ok(_) => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Encoded),
    }
}

/// Largest body, in bytes, before and after decoding: a token response has less than 2 KiB, a page of
/// 100 refresh tokens less than 100.
const MAX_BODY_SIZE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn a_body_that_was_compressed_unasked_is_read() {
        let json = b"{\"access_token\":\"a\"}";
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(json).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(json).unwrap();

        let gzip = gzip.finish().unwrap();
        for (coding, body) in [
            ("gzip", gzip.as_slice()),
            (" X-GZIP ", gzip.as_slice()),
            ("deflate", &zlib.finish().unwrap()),
            ("identity", json),
        ] {
            assert_eq!(decoded(coding, body).unwrap().as_slice(), json, "{coding}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_or_swells_is_refused() {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; MAX_BODY_SIZE + 1]).unwrap();
        assert!(matches!(decoded("gzip", &bomb.finish().unwrap()), Err(BodyError::TooLarge)));
        assert!(matches!(decoded("gzip", b"{}"), Err(BodyError::Encoded)));
        assert!(matches!(decoded("br", b"{}"), Err(BodyError::Encoded)));
    }

    fn decoded(coding: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        Coding::from_headers(&headers).decode(Zeroizing::new(body.to_vec()))
    }
}
