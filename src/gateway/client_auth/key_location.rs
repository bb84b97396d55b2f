//! Where in a request a rejected client key stands.
//!
//! A header is named only if its name is in a fixed list, because an error repeats no text of a
//! client.

use std::fmt;

use http::{HeaderName, Uri};

use crate::clients::contains_key;

/// A place in a request where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// The path of the target.
    Path,
    /// The query of the target.
    Query,
    /// Our own header.
    KeyHeader,
    /// A header of [`KNOWN_HEADERS`], by its position.
    Header(u8),
    /// Any other header, its name included.
    AnotherHeader,
    /// A field of a form for `POST /api/token`.
    LoginForm,
}

impl KeyLocation {
    /// Returns the header of this name.
    pub(super) fn from_header(name: &HeaderName) -> Self {
        if is_key_header(name.as_str()) {
            return Self::KeyHeader;
        }
        let at = KNOWN_HEADERS.iter().position(|known| name.as_str().eq_ignore_ascii_case(known));
        at.and_then(|at| u8::try_from(at).ok()).map_or(Self::AnotherHeader, Self::Header)
    }

    /// Returns the part of a target that contains a key.
    pub(super) fn from_target(uri: &Uri) -> Self {
        if contains_key(uri.path().as_bytes()) { Self::Path } else { Self::Query }
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

/// Compares a name with that of our own header as servers do that cannot tell `_` from `-`.
pub(super) fn is_key_header(name: &str) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == KEY_HEADER.len() && name.bytes().map(dashed).eq(KEY_HEADER.bytes())
}

const KEY_HEADER: &str = "nexudus-proxy-key";

/// The headers into which tools have put a key, or would.
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
