//! The access token: as the token endpoint grants it, and as a request carries it.

use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The tokens of one response of the token endpoint (RFC 6749 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The access token.
    pub access: Secret,
    /// The next refresh token; `None` keeps the one that was offered.
    pub refresh: Option<Secret>,
    /// How long the access token works, from now on.
    pub lifetime: Duration,
}

/// A ready-made `Authorization` value and the generation of its token.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub(crate) header: HeaderValue,
    pub(crate) generation: u64,
    /// How many probes had begun when a request took this value: a verdict from before says nothing
    /// about a request that is sent with it.
    pub(crate) probes_started: u64,
}

impl TokenGrant {
    /// Returns the value of the `Authorization` header, marked sensitive.
    pub fn bearer(&self) -> Option<HeaderValue> {
        authorization(&self.access)
    }
}

impl Bearer {
    /// Returns the header value, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the generation of the token, for [`crate::session::Session::mark_valid`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Returns the `Authorization` value for an access token, marked sensitive; `None` when the token
/// cannot stand in a header.
pub(crate) fn authorization(access: &Secret) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", access.expose()));
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}
