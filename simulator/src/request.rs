//! A request after it has been read, over either version of HTTP.

use bytes::{Bytes, BytesMut};

use crate::path;
use crc32fast::Hasher;

/// The head of a request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) authority: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

/// The most of a body that is kept for the log and for carrying it out, in bytes.
const MAX_RECORDED_BODY: usize = 1 << 20;

impl RequestHead {
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

    /// Returns whether the connection ends with this request.
    pub(crate) fn asks_to_close(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default();
        self.version == "HTTP/1.0" || connection.eq_ignore_ascii_case("close")
    }

    pub(crate) fn is_echo(&self) -> bool {
        path::starts_with(self.path(), "/api/echo") || path::starts_with(self.path(), "/_echo")
    }

    pub(crate) fn is_token_call(&self) -> bool {
        self.path().trim_end_matches('/').eq_ignore_ascii_case("/api/token")
    }
}

/// A whole request.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    /// The number of the request in the recording.
    pub(crate) id: u64,
    pub(crate) head: RequestHead,
    /// The kept part of the body.
    pub(crate) body: Bytes,
    pub(crate) body_length: u64,
    /// Checksum of the whole body, where it is asked for.
    pub(crate) crc32: Option<u32>,
}

/// The part of a body that is kept while the rest arrives.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedBody {
    kept: BytesMut,
    length: u64,
    crc32: Option<Hasher>,
}

impl ReceivedBody {
    /// The checksum costs time on large uploads, so only an echo computes it.
    pub(crate) fn for_head(head: &RequestHead) -> Self {
        Self { crc32: head.is_echo().then(Hasher::new), ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = MAX_RECORDED_BODY.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(bytes);
        }
    }
}

impl std::ops::Deref for ReceivedRequest {
    type Target = RequestHead;

    fn deref(&self) -> &RequestHead {
        &self.head
    }
}

impl ReceivedRequest {
    pub(crate) fn new(id: u64, head: RequestHead, intake: ReceivedBody) -> Self {
        let crc32 = intake.crc32.map(Hasher::finalize);
        Self { id, head, body: intake.kept.freeze(), body_length: intake.length, crc32 }
    }

    pub(crate) fn host(&self) -> &str {
        self.head.authority.as_deref().or_else(|| self.header("host")).unwrap_or_default()
    }
}
