//! Which client is calling: the key it shows, in one of the places that tools are told of.
//!
//! Anything else that has the shape of a key is refused: a caller that shows its key wrongly would
//! otherwise count as a caller without one, who may do more, and its key would travel on.

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
use crate::clients::{
    self, Client, Clients, KEY_LENGTH, MAX_DECODED_BYTES, PREFIX, contains_key, contains_key_start,
    contains_key_start_within, contains_key_within,
};

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) enum ClientIdentity {
    /// Somebody who has shown no key.
    Anonymous,
    /// This client.
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

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody gets in without a key.
    #[error("a client key is needed")]
    KeyRequired,
    /// Keys of two clients.
    #[error("the request carries the keys of two clients")]
    ConflictingKeys,
    /// A key in a place in which no key is taken.
    #[error("a client key stands in {0}, where keys are not accepted")]
    Misplaced(KeyLocation),
    /// What is meant as a key, and is not written as one.
    #[error("the client key in {0} is written in a form that is not accepted")]
    Malformed(KeyLocation),
    /// Nothing, where a key should be.
    #[error("there is no client key in {0}: it is empty")]
    Empty(KeyLocation),
    /// The key is not good.
    #[error(transparent)]
    InvalidKey(#[from] clients::KeyError),
}

impl Error {
    /// Says of `key`, which stands in `place` and is not known, whether it is written as a key at all:
    /// with a new one the same would happen.
    pub(super) fn with_location(self, place: KeyLocation, key: &[u8]) -> Self {
        if self != Self::InvalidKey(clients::KeyError::Unknown) || clients::is_well_formed(key) {
            return self;
        }
        if key.is_empty() { Self::Empty(place) } else { Self::Malformed(place) }
    }
}

/// Tells clients by their keys.
#[derive(Clone, Debug)]
pub struct ClientAuthenticator {
    clients: Clients,
    is_key_required: bool,
}

impl ClientAuthenticator {
    /// Lets callers without a key in, unless one `is_key_required`.
    pub fn new(clients: Clients, is_key_required: bool) -> Self {
        Self { clients, is_key_required }
    }

    /// Lets nobody in without a key.
    #[must_use]
    pub fn with_required_key(self) -> Self {
        Self { is_key_required: true, ..self }
    }

    /// Returns who sends a request with this head.
    pub(super) fn identify(&self, head: &Parts) -> Result<ClientIdentity, Error> {
        let mut left = MAX_DECODED_BYTES;
        reject_key_in_target_within(&head.uri, &mut left)?;
        let mut caller = ClientIdentity::Anonymous;
        // One walk over the few fields that there are costs less than a search for each.
        for (name, value) in &head.headers {
            if let Some(key) = key_in_header(name, value, &mut left)? {
                caller = self
                    .add_key(caller, &key)
                    .map_err(|it| it.with_location(KeyLocation::from_header(name), &key))?;
            }
        }
        Ok(caller)
    }

    /// Returns who is meant by one more key; two keys must be those of one client.
    pub(super) fn add_key(
        &self,
        caller: ClientIdentity,
        key: &[u8],
    ) -> Result<ClientIdentity, Error> {
        let client = self.clients.authenticate(key)?;
        match caller {
            ClientIdentity::Client(other) if other.name() != client.name() => {
                Err(Error::ConflictingKeys)
            }
            ClientIdentity::Client(_) | ClientIdentity::Anonymous => {
                Ok(ClientIdentity::Client(client))
            }
        }
    }

    /// Waits until the key of this caller is not good any more; of one without, for ever.
    pub(super) async fn revoked(&self, caller: &ClientIdentity) {
        match caller {
            ClientIdentity::Client(client) => self.clients.wait_invalid(client).await,
            ClientIdentity::Anonymous => std::future::pending().await,
        }
    }

    /// Refuses a caller without a key where one is needed.
    pub(super) fn require_key(&self, caller: &ClientIdentity) -> Result<(), Error> {
        match caller {
            ClientIdentity::Anonymous if self.is_key_required => Err(Error::KeyRequired),
            ClientIdentity::Anonymous | ClientIdentity::Client(_) => Ok(()),
        }
    }
}

/// Returns the key that the headers of an admitted request show, if they show one.
pub(super) fn extract_key(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut left = MAX_DECODED_BYTES;
    headers.iter().find_map(|(name, value)| key_in_header(name, value, &mut left).ok().flatten())
}

/// Refuses a target that contains a key: targets are written into every log on the way.
pub(super) fn reject_key_in_target(uri: &Uri) -> Result<(), Error> {
    let mut left = MAX_DECODED_BYTES;
    reject_key_in_target_within(uri, &mut left)
}

fn reject_key_in_target_within(uri: &Uri, left: &mut usize) -> Result<(), Error> {
    let holds = |target: &str, left| contains_key_within(target.as_bytes(), left);
    match uri.path_and_query().is_some_and(|target| holds(target.as_str(), left)) {
        true => Err(Error::Misplaced(KeyLocation::from_target(uri))),
        false => Ok(()),
    }
}

/// Refuses a field of a login form that contains a key, or begins as one does, and is none.
pub(super) fn reject_key_in_form_field(text: &str) -> Result<(), Error> {
    match contains_key(text.as_bytes()) || contains_key_start(text.as_bytes()) {
        true => Err(Error::Malformed(KeyLocation::LoginForm)),
        false => Ok(()),
    }
}

/// Returns the key that a header field shows, good or not.
fn key_in_header<'a>(
    name: &HeaderName,
    value: &'a HeaderValue,
    left: &mut usize,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    let value = value.as_bytes().trim_ascii();
    if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION {
        return key_in_authorization(name, value, left);
    }
    // A field of our own holds a key, whatever it looks like.
    if is_key_header(name.as_str()) {
        return Ok(Some(Cow::Borrowed(value)));
    }
    if value.len().max(name.as_str().len()) < KEY_LENGTH {
        return Ok(None);
    }
    let has_key =
        contains_key_within(value, left) || contains_key_within(name.as_str().as_bytes(), left);
    match has_key || decode_basic(value).is_some_and(|pair| contains_key_within(&pair, left)) {
        true => Err(Error::Misplaced(KeyLocation::from_header(name))),
        false => Ok(None),
    }
}

/// Returns the key in the value of an authorization field: a bearer token, or the password of Basic.
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
    match is_misplaced {
        true => Err(Error::Malformed(KeyLocation::from_header(name))),
        false => Ok(None),
    }
}

/// Returns what each Basic credential encodes that some server may find in a value, however it is
/// separated from what is before and behind it.
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
    // What comes behind a comma is another credential.
    starts.flat_map(move |at| {
        let encoded = &value[at + scheme.len()..];
        let one = encoded.trim_ascii_start().split(|byte| *byte == b',').next();
        one.into_iter().chain([encoded]).map(decode_leniently).collect::<Vec<_>>()
    })
}

/// Says whether a text is meant as a key, good or not.
fn has_key_prefix(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes())
}

/// Compares with the name of our own field as servers do that cannot tell `_` from `-`.
fn is_key_header(name: &str) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == KEY_HEADER.len() && name.bytes().map(dashed).eq(KEY_HEADER.bytes())
}

/// Returns what follows this scheme in a credential.
fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = value.split_at_checked(scheme.len())?;
    let is_it = begin.eq_ignore_ascii_case(scheme) && rest.first()?.is_ascii_whitespace();
    is_it.then(|| rest.trim_ascii())
}

/// Returns what a Basic credential encodes: a user, a colon, a password.
fn decode_basic(value: &[u8]) -> Option<Vec<u8>> {
    let encoded = after_scheme(value, b"basic")?;
    Some(BASE64.decode(encoded).unwrap_or_else(|_| decode_leniently(encoded)))
}

/// Decodes what is not quite base64 as the most forgiving servers do: in either alphabet, past
/// whatever belongs to none.
fn decode_leniently(encoded: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => Some(*byte),
        _ => byte.is_ascii_alphanumeric().then_some(*byte),
    };
    let mut plain: Vec<u8> = encoded.iter().filter_map(plain).collect();
    // One letter alone is no byte.
    plain.truncate(plain.len() - usize::from(plain.len() % 4 == 1));
    BASE64.decode(plain).unwrap_or_default()
}

/// As forgiving as servers are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How many texts that Basic may hide in one value are looked into, since each costs a walk; no tool
/// writes more.
const MAX_EMBEDDED_BASIC: usize = 16;

const KEY_HEADER: &str = "nexudus-proxy-key";

#[cfg(test)]
mod tests;
