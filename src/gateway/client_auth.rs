//! Authenticates clients by the key in their request.
//!
//! A key is accepted in the documented places only. Anything else that looks like a key is
//! rejected: the client would otherwise count as one without a key, which may do more, and its key
//! would be forwarded.

mod key_location;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use memchr::memchr2_iter;

pub(super) use self::key_location::KeyLocation;
use self::key_location::is_key_header;
use crate::clients::{
    self, ByteMeter, Client, Clients, KEY_LENGTH, MAX_DECODED_BYTES, PREFIX, contains_key,
    contains_key_start, contains_key_start_within, contains_key_within,
};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// The sender of a request.
#[derive(Clone, Debug)]
pub enum ClientIdentity {
    /// A client without a key.
    Anonymous,
    /// The client to whom the key belongs.
    Client(Arc<Client>),
}

impl ClientIdentity {
    /// Returns the client's name.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Client(client) => Some(client.name().clone()),
            Self::Anonymous => None,
        }
    }
}

impl ClientIdentity {
    /// Returns the meter of the bytes that this client receives, if they are limited.
    pub(super) fn byte_meter(&self) -> Option<ByteMeter> {
        match self {
            Self::Client(client) => client.byte_meter(),
            Self::Anonymous => None,
        }
    }
}

/// Why a client is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The daemon admits no client without a key.
    #[error("a client key is needed")]
    KeyRequired,
    /// The request carries the keys of two clients.
    #[error("the request carries the keys of two clients")]
    ConflictingKeys,
    /// A key in a place where keys are not accepted.
    #[error("a client key stands in {0}, where keys are not accepted")]
    Misplaced(KeyLocation),
    /// A key in a form that is not accepted.
    #[error("the client key in {0} is written in a form that is not accepted")]
    Malformed(KeyLocation),
    /// The place of a key is empty.
    #[error("there is no client key in {0}: it is empty")]
    Empty(KeyLocation),
    /// The key is unknown, revoked, expired, or could not be checked.
    #[error(transparent)]
    InvalidKey(#[from] clients::KeyError),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::KeyRequired => ProblemKind::KeyNeeded.into(),
            Self::ConflictingKeys => ProblemKind::ConflictingKeys.into(),
            Self::Misplaced(_) => ProblemKind::MisplacedKey.into(),
            Self::Malformed(_) => ProblemKind::MalformedKey.into(),
            Self::Empty(_) => ProblemKind::EmptyKey.into(),
            Self::InvalidKey(error) => error.details(),
        }
    }
}

impl Error {
    /// Names the location of an unknown key that is not written as one: a new key would fare no
    /// better there.
    pub(super) fn with_location(self, location: KeyLocation, key: &[u8]) -> Self {
        if self != Self::InvalidKey(clients::KeyError::Unknown) || clients::is_well_formed(key) {
            return self;
        }
        if key.is_empty() { Self::Empty(location) } else { Self::Malformed(location) }
    }
}

/// Identifies clients by their keys.
#[derive(Clone, Debug)]
pub struct ClientAuthenticator {
    clients: Clients,
    is_key_required: bool,
}

impl ClientAuthenticator {
    /// Admits clients without a key, unless `is_key_required`.
    pub fn new(clients: Clients, is_key_required: bool) -> Self {
        Self { clients, is_key_required }
    }

    /// Admits no client without a key.
    #[must_use]
    pub fn with_required_key(self) -> Self {
        Self { is_key_required: true, ..self }
    }

    /// Says whether some client names this origin of web pages.
    pub(super) fn names_origin(&self, origin: &[u8]) -> Result<bool, clients::KeyError> {
        self.clients.names_origin(origin)
    }

    /// Reads the clients again if their file was replaced.
    pub(super) async fn reload(&self) {
        self.clients.reload().await;
    }

    /// Reads the clients again if their file was replaced, on this thread.
    pub(super) fn reload_blocking(&self) {
        self.clients.reload_blocking();
    }

    /// Returns the sender of a request with this head.
    pub(super) fn identify(&self, head: &Parts) -> Result<ClientIdentity, Error> {
        let mut left = MAX_DECODED_BYTES;
        reject_key_in_target_within(&head.uri, &mut left)?;
        let mut identity = ClientIdentity::Anonymous;
        // One walk over the few headers costs less than a search for each name.
        for (name, value) in &head.headers {
            if let Some(key) = key_in_header(name, value, &mut left)? {
                identity = self
                    .add_key(identity, &key)
                    .map_err(|it| it.with_location(KeyLocation::from_header(name), &key))?;
            }
        }
        Ok(identity)
    }

    /// Returns the client of one more key. Two keys must belong to one client.
    pub(super) fn add_key(
        &self,
        identity: ClientIdentity,
        key: &[u8],
    ) -> Result<ClientIdentity, Error> {
        let client = self.clients.authenticate(key)?;
        match identity {
            ClientIdentity::Client(other) if other.name() != client.name() => {
                Err(Error::ConflictingKeys)
            }
            ClientIdentity::Client(_) | ClientIdentity::Anonymous => {
                Ok(ClientIdentity::Client(client))
            }
        }
    }

    /// Waits until the key of this client is no longer valid; for a client without a key, for ever.
    pub(super) async fn revoked(&self, identity: &ClientIdentity) {
        match identity {
            ClientIdentity::Client(client) => self.clients.wait_invalid(client).await,
            ClientIdentity::Anonymous => std::future::pending().await,
        }
    }

    /// Rejects a client without a key where a key is required.
    pub(super) fn require_key(&self, identity: &ClientIdentity) -> Result<(), Error> {
        match identity {
            ClientIdentity::Anonymous if self.is_key_required => Err(Error::KeyRequired),
            ClientIdentity::Anonymous | ClientIdentity::Client(_) => Ok(()),
        }
    }
}

/// Returns the key in the headers of an admitted request, if there is one.
pub(super) fn extract_key(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut left = MAX_DECODED_BYTES;
    headers.iter().find_map(|(name, value)| key_in_header(name, value, &mut left).ok().flatten())
}

/// Takes every key out of a request that goes to another host.
///
/// # Errors
///
/// [`Error::Misplaced`] and [`Error::Malformed`] where a key stands in a wrong place.
pub(super) fn remove_keys(head: &mut Parts) -> Result<(), Error> {
    let mut left = MAX_DECODED_BYTES;
    reject_key_in_target_within(&head.uri, &mut left)?;
    let mut holding = vec![];
    for (name, value) in &head.headers {
        if key_in_header(name, value, &mut left)?.is_some() {
            holding.push(name.clone());
        }
    }
    holding.iter().for_each(|name| drop(head.headers.remove(name)));
    Ok(())
}

/// Rejects a target that contains a key: every log on the way contains the target.
pub(super) fn reject_key_in_target(uri: &Uri) -> Result<(), Error> {
    let mut left = MAX_DECODED_BYTES;
    reject_key_in_target_within(uri, &mut left)
}

fn reject_key_in_target_within(uri: &Uri, left: &mut usize) -> Result<(), Error> {
    let holds = |target: &str, left| contains_key_within(target.as_bytes(), left);
    if uri.path_and_query().is_some_and(|target| holds(target.as_str(), left)) {
        return Err(Error::Misplaced(KeyLocation::from_target(uri)));
    }
    Ok(())
}

/// Rejects a field of a login form that contains a key or the beginning of one.
pub(super) fn reject_key_in_form_field(text: &str) -> Result<(), Error> {
    if contains_key(text.as_bytes()) || contains_key_start(text.as_bytes()) {
        return Err(Error::Malformed(KeyLocation::LoginForm));
    }
    Ok(())
}

/// Returns the key in a header, valid or not.
fn key_in_header<'a>(
    name: &HeaderName,
    value: &'a HeaderValue,
    left: &mut usize,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    let value = value.as_bytes().trim_ascii();
    if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION {
        return key_in_authorization(name, value, left);
    }
    // Our own header contains a key, whatever it looks like.
    if is_key_header(name.as_str()) {
        return Ok(Some(Cow::Borrowed(value)));
    }
    if value.len().max(name.as_str().len()) < KEY_LENGTH {
        return Ok(None);
    }
    let has_key =
        contains_key_within(value, left) || contains_key_within(name.as_str().as_bytes(), left);
    if has_key || decode_basic(value).is_some_and(|pair| contains_key_within(&pair, left)) {
        return Err(Error::Misplaced(KeyLocation::from_header(name)));
    }
    Ok(None)
}

/// Returns the key in an authorization header: a bearer token, or the password of Basic.
fn key_in_authorization<'a>(
    name: &HeaderName,
    value: &'a [u8],
    left: &mut usize,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    let mut is_misplaced =
        |text: &[u8]| contains_key_within(text, left) || contains_key_start_within(text, left);
    if let Some(token) = after_scheme(value, b"bearer").filter(|token| has_key_prefix(token)) {
        return Ok(Some(Cow::Borrowed(token)));
    }
    if let Some(mut pair) = decode_basic(value) {
        let colon = pair.iter().position(|byte| *byte == b':');
        let (user, password) = pair.split_at(colon.map_or(pair.len(), |colon| colon + 1));
        if has_key_prefix(password) && !is_misplaced(user) {
            let password = pair.split_off(user.len());
            return Ok(Some(Cow::Owned(password)));
        }
        if is_misplaced(&pair) {
            return Err(Error::Malformed(KeyLocation::from_header(name)));
        }
    }
    let is_misplaced = is_misplaced(value)
        || embedded_basic(value)
            .enumerate()
            .any(|(nth, pair)| nth >= MAX_EMBEDDED_BASIC || is_misplaced(&pair));
    if is_misplaced { Err(Error::Malformed(KeyLocation::from_header(name))) } else { Ok(None) }
}

/// Decodes every Basic credential that some server may find in a value, whatever separates the
/// credential from the text around it.
fn embedded_basic(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let scheme = b"basic";
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let begins = move |at: &usize| {
        let (before, rest) = value.split_at(*at);
        rest.get(..scheme.len()).is_some_and(|word| word.eq_ignore_ascii_case(scheme))
            && ends(before.last())
            && ends(rest.get(scheme.len()))
    };
    let starts = memchr2_iter(b'b', b'B', value).filter(begins);
    // Another credential may follow a comma.
    starts.flat_map(move |at| {
        let encoded = &value[at + scheme.len()..];
        let one = encoded.trim_ascii_start().split(|byte| *byte == b',').next();
        one.into_iter().chain([encoded]).map(decode_leniently).collect::<Vec<_>>()
    })
}

/// Says whether a text is meant as a key, valid or not.
fn has_key_prefix(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes())
}

/// Returns what follows this scheme in a credential.
fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = value.split_at_checked(scheme.len())?;
    let is_scheme = begin.eq_ignore_ascii_case(scheme) && rest.first()?.is_ascii_whitespace();
    is_scheme.then(|| rest.trim_ascii())
}

/// Decodes a Basic credential: a user, a colon, a password.
fn decode_basic(value: &[u8]) -> Option<Vec<u8>> {
    let encoded = after_scheme(value, b"basic")?;
    Some(BASE64.decode(encoded).unwrap_or_else(|_| decode_leniently(encoded)))
}

/// Decodes broken base64 as the most forgiving servers do: in either alphabet, ignoring all other
/// bytes.
fn decode_leniently(encoded: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => Some(*byte),
        _ => byte.is_ascii_alphanumeric().then_some(*byte),
    };
    let mut plain: Vec<u8> = encoded.iter().filter_map(plain).collect();
    // A single letter is less than a byte.
    plain.truncate(plain.len() - usize::from(plain.len() % 4 == 1));
    BASE64.decode(plain).unwrap_or_default()
}

/// Base64 as the most forgiving servers decode it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How many Basic credentials in one value are decoded, because each costs a walk. No tool writes
/// more.
const MAX_EMBEDDED_BASIC: usize = 16;

#[cfg(test)]
mod tests;
