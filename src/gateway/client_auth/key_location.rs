//! Where in a request a client key stands that is not accepted: found once it is refused.
//!
//! A header is named only if its name is one of a fixed list: no text of a caller's is repeated.

use std::fmt;

use http::{HeaderName, Uri};

use super::is_key_header;
use crate::clients::contains_key;

/// A place in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyLocation {
    /// The path of the target.
    Path,
    /// The query of the target.
    Query,
    /// Our own header.
    KeyHeader,
    /// A header of [`FLAG_NAMES`], by its position.
    Header(u8),
    /// Any other header, its name included.
    AnotherHeader,
    /// A field of a form for `POST /api/token`.
    LoginForm,
}

impl KeyLocation {
    /// Returns the header of this name.
    pub(in crate::gateway) fn from_header(name: &HeaderName) -> Self {
        if is_key_header(name.as_str()) {
            return Self::KeyHeader;
        }
        let at = KNOWN_HEADERS.iter().position(|known| name.as_str().eq_ignore_ascii_case(known));
        at.and_then(|at| u8::try_from(at).ok()).map_or(Self::AnotherHeader, Self::Header)
    }

    /// Returns the part of a target that contains a key.
    pub(in crate::gateway) fn from_target(uri: &Uri) -> Self {
        match contains_key(uri.path().as_bytes()) {
            true => Self::Path,
            false => Self::Query,
        }
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "the path",
            Self::Query => "the query",
            Self::KeyHeader => "Nexudus-Proxy-Key",
            Self::Header(at) => {
                KNOWN_HEADERS.get(usize::from(*at)).copied().unwrap_or("another header")
            }
            Self::AnotherHeader => "another header",
            Self::LoginForm => "the login form",
        })
    }
}

/// Where tools have put a key, or would.
const KNOWN_HEADERS: [&str; 10] = [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Referer",
    "User-Agent",
    "X-Api-Key",
    "Api-Key",
    "X-Auth-Token",
    "X-Access-Token",
    "Sec-WebSocket-Protocol",
];
