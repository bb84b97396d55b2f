//! Which client is calling: the key it shows, in any of the places where tools can put one.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use crate::clients::{self, Client, Clients, PREFIX};

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Somebody who has shown no key.
    Keyless,
    /// This client.
    Client(Arc<Client>),
}

impl Caller {
    /// Returns the client's name.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Client(client) => Some(client.name().clone()),
            Self::Keyless => None,
        }
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody gets in without a key.
    #[error("a client key is needed")]
    Needed,
    /// Keys of two clients.
    #[error("the request carries the keys of two clients")]
    Two,
    /// The key is not good.
    #[error(transparent)]
    Refused(#[from] clients::Refused),
}

/// Tells clients by their keys.
#[derive(Clone, Debug)]
pub struct Keys {
    clients: Clients,
    is_needed: bool,
}

impl Keys {
    /// Lets callers without a key in, unless one `is_needed`.
    pub fn new(clients: Clients, is_needed: bool) -> Self {
        Self { clients, is_needed }
    }

    /// Lets nobody in without a key.
    #[must_use]
    pub fn needing(self) -> Self {
        Self { is_needed: true, ..self }
    }

    /// Returns who sends a request with these headers.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let mut caller = Caller::Keyless;
        for key in shown(headers) {
            caller = self.add(caller, &key)?;
        }
        Ok(caller)
    }

    /// Returns who is meant by one more key; two keys must be those of one client.
    pub(super) fn add(&self, caller: Caller, key: &[u8]) -> Result<Caller, Error> {
        let client = self.clients.recognise(key)?;
        match caller {
            Caller::Client(other) if other.name() != client.name() => Err(Error::Two),
            Caller::Client(_) | Caller::Keyless => Ok(Caller::Client(client)),
        }
    }

    /// Waits until the key of this caller is not good any more; of one without, for ever.
    pub(super) async fn lost(&self, caller: &Caller) {
        match caller {
            Caller::Client(client) => self.clients.lost(client).await,
            Caller::Keyless => std::future::pending().await,
        }
    }

    /// Refuses a caller without a key where one is needed.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), Error> {
        match caller {
            Caller::Keyless if self.is_needed => Err(Error::Needed),
            Caller::Keyless | Caller::Client(_) => Ok(()),
        }
    }
}

/// Returns every key that the headers show, good or not.
pub(super) fn shown(headers: &HeaderMap) -> impl Iterator<Item = Cow<'_, [u8]>> {
    // A walk over the few that there are costs less than a search for each.
    headers.iter().filter_map(|(name, value)| match name {
        // A field of our own holds a key, whatever it looks like.
        name if *name == OWN => Some(Cow::Borrowed(value.as_bytes().trim_ascii())),
        name if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION => key_in(value.as_bytes()),
        _ => None,
    })
}

/// Finds a key in the value of an authorization field, whatever its scheme.
fn key_in(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_key = |text: &[u8]| text.starts_with(PREFIX.as_bytes());
    let value = value.trim_ascii();
    if is_key(value) {
        return Some(Cow::Borrowed(value));
    }
    let space = value.iter().position(u8::is_ascii_whitespace)?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if is_key(rest) {
        return Some(Cow::Borrowed(rest));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = BASE64.decode(rest).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':');
    let (user, password) = match colon {
        Some(colon) => (&pair[..colon], &pair[colon + 1..]),
        None => (&pair[..], &[][..]),
    };
    let key = [password, user].into_iter().find(|text| is_key(text))?;
    Some(Cow::Owned(key.to_vec()))
}

/// As forgiving as servers are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const OWN: HeaderName = HeaderName::from_static("nexudus-proxy-key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_a_tool_can_put_it() {
        for (name, value) in [
            ("nexudus-proxy-key", "nxp_key"),
            ("nexudus-proxy-key", " nxp_key "),
            ("authorization", "Bearer nxp_key"),
            ("authorization", "bearer  nxp_key"),
            ("authorization", "Token nxp_key"),
            ("authorization", "nxp_key"),
            // `me@example.com:nxp_key`, `nxp_key:` and `nxp_key`
            ("authorization", "Basic bWVAZXhhbXBsZS5jb206bnhwX2tleQ=="),
            ("authorization", "basic bnhwX2tleTo"),
            ("proxy-authorization", "Basic bnhwX2tleQ=="),
            ("proxy-authorization", "Bearer nxp_key"),
        ] {
            let keys: Vec<_> = [(name, value)].into_iter().flat_map(found).collect();
            assert_eq!(keys, ["nxp_key"], "{name}: {value}");
        }
    }

    #[test]
    fn what_is_no_key_is_left_alone_but_in_the_field_of_our_own() {
        for value in ["", "Bearer x", "Basic", "Basic !", "Basic bWU6eA==", "Bearer x nxp_key"] {
            assert!(found(("authorization", value)).is_empty(), "{value}");
        }
        assert_eq!(found(("nexudus-proxy-key", "x")), ["x"]);
        assert_eq!(found(("nexudus-proxy-key", "")), [""]);
    }

    fn found((name, value): (&'static str, &str)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        shown(&headers).map(|key| String::from_utf8(key.into_owned()).unwrap()).collect()
    }
}
