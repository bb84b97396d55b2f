//! The body of a redacted client's request: values take the places of its tokens.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Gateway;
use super::error::Error;
use super::policy::{self, RequestRedaction};
use crate::redact::{BodyResolver, TokenVault};
use crate::session::BodyKind;
use crate::upstream::ReplayBody;

impl Gateway {
    /// Waits until the tokens of an earlier process are read: as soon as there is a session, since its
    /// key opens them.
    pub(super) async fn wait_tokens(&self, tokens: TokenVault) -> Result<(), Error> {
        self.session.wait_ready(BodyKind::Replayable).await?;
        // A disk that does not answer takes the tokens, and not the request.
        let _ = timeout(READ_TIMEOUT, tokens.wait_settled()).await;
        Ok(())
    }
}

/// Puts the values of tokens into a body, and refuses one that cannot be searched.
pub(super) async fn resolve_body(
    request: &RequestRedaction,
    body: ReplayBody,
) -> Result<ReplayBody, Error> {
    let (bytes, memory) = match body {
        ReplayBody::Empty => return Ok(ReplayBody::Empty),
        ReplayBody::Buffered(bytes, memory) => (bytes, memory),
        ReplayBody::Streamed(_) => {
            let why = "the body is longer than limits.replay_body";
            return Err(policy::Error::Unredactable(why).into());
        }
    };
    let mut resolver = BodyResolver::new(request.redaction(), request.kind());
    for piece in bytes.chunks(STEP) {
        resolver.write(piece);
        // Other requests are served between two pieces.
        tokio::task::yield_now().await;
    }
    let resolved = resolver.finish().map_err(policy::Error::Redaction)?;
    let Some(whole) = resolved else { return Ok(ReplayBody::Buffered(bytes, memory)) };
    request.set_resolved();
    Ok(ReplayBody::Buffered(Bytes::copy_from_slice(&whole), memory))
}

/// Longest wait for the disk.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How much is read at a time, in bytes: less than 0.3 ms of work.
const STEP: usize = 16 << 10;
