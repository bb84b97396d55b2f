//! A call that is asked about: what a person is shown, and the hash by which it is known again.

use std::sync::Arc;

use aws_lc_rs::hmac;

/// A call, as it would be sent.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The sender.
    pub caller: Caller,
    /// The upstream origin.
    pub origin: &'a str,
    /// The method.
    pub method: &'a str,
    /// Path and query, as they are sent.
    pub target: &'a str,
    /// Every `Content-Type`, in order.
    pub content_types: Vec<&'a [u8]>,
    /// Every `Content-Encoding`, in order.
    pub content_encodings: Vec<&'a [u8]>,
    /// The whole body.
    pub body: &'a [u8],
    /// The rules that ask.
    pub rules: Vec<String>,
    /// Whether the client prefers an asynchronous response (RFC 7240 §4.1).
    pub prefers_async: bool,
}

/// The sender of a call: a named client, or the user of a process without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The client's identifier, or `uid` and the number.
    key: Arc<str>,
    name: Option<Arc<str>>,
}

impl Caller {
    /// Names a client with a key.
    pub fn client(id: &str, name: Arc<str>) -> Self {
        Self { key: format!("client {id}").into(), name: Some(name) }
    }

    /// Names the user of a process without a key, where it is known.
    pub fn anonymous(uid: Option<u32>) -> Self {
        let key = uid.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}"));
        Self { key: key.into(), name: None }
    }

    /// Returns the name of the client, if it has a key.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the user of a client without a key.
    pub(super) fn uid(&self) -> Option<u32> {
        self.key.strip_prefix("uid ").and_then(|uid| uid.parse().ok())
    }
}

/// The hash of a call.
pub(super) type CallHash = [u8; 32];

impl Call<'_> {
    /// Hashes everything that a person approves. Each part goes in with its length, so that no two
    /// calls read alike.
    pub(super) fn hash(&self, key: &hmac::Key) -> CallHash {
        let mut context = hmac::Context::with_key(key);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        for part in [&*self.caller.key, self.origin, self.method, self.target] {
            add(part.as_bytes());
        }
        for headers in [&self.content_types, &self.content_encodings] {
            add(&[u8::try_from(headers.len()).unwrap_or(u8::MAX)]);
            headers.iter().for_each(|value| add(value));
        }
        add(self.body);
        context.sign().as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }
}
