//! A request after it has been read, over either version of HTTP.

use bytes::Bytes;

use crate::path;

/// The head of a request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) authority: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

/// The most of a body that is kept for the log and for carrying it out, in bytes.
pub(crate) const BODY_KEPT: usize = 1 << 20;

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        path::split(&self.target).0
    }

    /// Returns whether it changes nothing by its method.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    pub(crate) fn is_token_call(&self) -> bool {
        self.path().trim_end_matches('/').eq_ignore_ascii_case("/api/token")
    }
}

/// A whole request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its number in the log.
    pub(crate) id: u64,
    pub(crate) head: Head,
    /// The kept part of the body.
    pub(crate) body: Bytes,
    pub(crate) body_length: u64,
}

impl std::ops::Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Request {
    pub(crate) fn host(&self) -> &str {
        self.head.authority.as_deref().or_else(|| self.header("host")).unwrap_or_default()
    }
}
