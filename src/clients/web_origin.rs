//! The origin of a web page, as browsers write it in `Origin`.

use std::fmt;

use http::uri::Authority;
use serde::{Deserialize, Serialize};

/// An exact origin: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebOrigin(String);

/// Why a text is no origin of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is written http://HOST[:PORT] or https://HOST[:PORT], without a path")]
pub struct MalformedOrigin;

impl WebOrigin {
    /// Reads an origin; a slash at the end, and the usual port of the scheme, are left out as browsers
    /// leave them out.
    ///
    /// # Errors
    ///
    /// [`MalformedOrigin`], also for `null`: every sandboxed document has that one.
    pub fn parse(text: &str) -> Result<Self, MalformedOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(MalformedOrigin)?;
        let scheme = scheme.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(MalformedOrigin),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| MalformedOrigin)?;
        let is_plain = rest.is_ascii() && !rest.contains('@') && !rest.ends_with(':');
        if !is_plain || authority.host().is_empty() || authority.host().contains('*') {
            return Err(MalformedOrigin);
        }
        let host = authority.host().to_ascii_lowercase();
        // A port that is written and cannot be read would be dropped without a word.
        let port = match rest[authority.host().len()..].strip_prefix(':') {
            Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(port.parse::<u16>().map_err(|_| MalformedOrigin)?)
            }
            Some(_) => return Err(MalformedOrigin),
            None => None,
        };
        Ok(Self(match port.filter(|port| *port != usual) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }

    /// Returns the origin as a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = MalformedOrigin;

    fn try_from(text: String) -> Result<Self, MalformedOrigin> {
        Self::parse(&text)
    }
}

impl From<WebOrigin> for String {
    fn from(origin: WebOrigin) -> Self {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        for (typed, sent) in [
            ("http://localhost:5173", "http://localhost:5173"),
            ("HTTP://LocalHost:5173/", "http://localhost:5173"),
            ("http://localhost:80", "http://localhost"),
            ("https://app.example:443/", "https://app.example"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(WebOrigin::parse(typed).unwrap().as_str(), sent, "{typed}");
        }
        for text in [
            "",
            "null",
            "*",
            "localhost:5173",
            "file:///x",
            "http://",
            "http://*.example",
            "http://localhost:5173/app",
            "http://a@localhost",
            "http://localhost:",
            "http://a b",
            "http://localhost:99999",
            "http://localhost?x",
            "chrome-extension://abc",
        ] {
            assert_eq!(WebOrigin::parse(text), Err(MalformedOrigin), "{text}");
        }
    }
}
