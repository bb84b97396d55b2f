//! The credentials of a request: the access token as the token endpoint grants it, or the login
//! itself; and the `Authorization` value that carries either.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::config::UpstreamAuth;
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
    /// Our client id, beside a login: other programs may send the same login, so that it does not
    /// tell our own requests. `None` beside a token.
    pub(crate) client_id: Option<Arc<HeaderValue>>,
}

impl TokenGrant {
    /// Returns the value of the `Authorization` header, marked sensitive.
    pub fn authorization(&self, auth: UpstreamAuth) -> Option<HeaderValue> {
        authorization(auth, &self.access)
    }
}

impl Bearer {
    /// Returns the header value, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the token, or the encoded login without its padding, which an address would have to
    /// escape.
    pub(crate) fn credential(&self) -> &[u8] {
        let value = self.header.as_bytes();
        if let Some(token) = value.strip_prefix(b"Bearer ") {
            return token;
        }
        let mut login = value.strip_prefix(b"Basic ").unwrap_or_default();
        while let Some(shorter) = login.strip_suffix(b"=") {
            login = shorter;
        }
        login
    }

    /// Returns the client id that goes along, if one does.
    pub fn client_id(&self) -> Option<&HeaderValue> {
        self.client_id.as_deref()
    }

    /// Returns the generation of the token, for [`crate::session::Session::mark_valid`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Returns the `Authorization` value for an access token or an encoded login, marked sensitive;
/// `None` when the text cannot stand in a header.
pub(crate) fn authorization(auth: UpstreamAuth, access: &Secret) -> Option<HeaderValue> {
    let scheme = match auth {
        UpstreamAuth::Bearer => "Bearer",
        UpstreamAuth::Basic => "Basic",
    };
    let text = Zeroizing::new(format!("{scheme} {}", access.expose()));
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Encodes a login for the scheme Basic (RFC 7617 §2, in UTF-8); `None` for a name with a colon,
/// which would end there.
pub(crate) fn encode_login(name: &str, password: &Secret) -> Option<Secret> {
    if name.contains(':') {
        return None;
    }
    let pair = Zeroizing::new(format!("{name}:{}", password.expose()));
    Some(Secret::new(BASE64_STANDARD.encode(pair.as_bytes())))
}

/// The lifetime of a login: nothing ends it but a refusal. Ten years are longer than any daemon
/// runs, and no clock overflows.
pub(crate) const LOGIN_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_encoded_as_the_rfc_has_it() {
        let encoded = |name, password: &str| encode_login(name, &Secret::new(password.to_owned()));

        // RFC 7617 §2 and §2.1.
        let aladdin = encoded("Aladdin", "open sesame").unwrap();
        assert_eq!(aladdin.expose(), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(encoded("test", "123\u{a3}").unwrap().expose(), "dGVzdDoxMjPCow==");
        assert_eq!(encoded("a:b", "c"), None);
        let header = authorization(UpstreamAuth::Basic, &aladdin).unwrap();
        assert!(header.is_sensitive());
    }

    #[test]
    fn what_must_not_leak_is_the_credential_without_its_scheme_and_padding() {
        let of = |auth, text: &str| Bearer {
            header: authorization(auth, &Secret::new(text.to_owned())).unwrap(),
            generation: 1,
            probes_started: 0,
            client_id: None,
        };

        assert_eq!(of(UpstreamAuth::Bearer, "t=1").credential(), b"t=1");
        assert_eq!(of(UpstreamAuth::Basic, "QQ==").credential(), b"QQ");
    }
}
