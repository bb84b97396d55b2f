//! Request bodies that are kept, so that they can be sent a second time.
//!
//! A body is kept when it is small, and when all kept bodies together stay within [`BUFFER_CAPACITY`]:
//! beyond that requests still work, they are only sent once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{BodyError, Payload, Upload, UploadProgress};

/// What may be kept, and how a body is read. Clones share the total.
#[derive(Clone, Debug)]
pub struct BodyBuffer {
    buffer_limit: usize,
    max_length: u64,
    idle_timeout: Duration,
    memory: Arc<Semaphore>,
}

/// A request body after its first look.
#[derive(Debug)]
pub enum ReplayBody {
    /// There is none.
    Empty,
    /// All of it is here; it can be sent as often as needed.
    Buffered(Bytes, OwnedSemaphorePermit),
    /// Too large to keep: it can be sent once, and then is gone.
    Streamed(Option<Upload>),
}

impl BodyBuffer {
    /// Keeps bodies of up to `buffer_limit` bytes; lets none pass that is longer than `max_length` bytes or
    /// pauses for longer than `idle_timeout`.
    pub fn new(buffer_limit: usize, max_length: u64, idle_timeout: Duration) -> Self {
        Self {
            buffer_limit,
            max_length,
            idle_timeout,
            memory: Arc::new(Semaphore::new(BUFFER_CAPACITY)),
        }
    }

    /// Says whether a body of this announced size will be kept, if memory allows.
    pub fn can_buffer(&self, body: &impl Body) -> bool {
        body.size_hint().lower() <= self.buffer_limit as u64
    }

    /// Reads a small body to its end; leaves a large one to be streamed.
    ///
    /// # Errors
    ///
    /// What the caller did wrong while its body was read.
    pub async fn read_or_stream(&self, incoming: Incoming) -> Result<ReplayBody, BodyError> {
        if incoming.is_end_stream() {
            return Ok(ReplayBody::Empty);
        }
        let hint = incoming.size_hint();
        if hint.lower() > self.max_length {
            return Err(BodyError::TooLarge);
        }
        let upload = Upload::new(incoming, self.idle_timeout, self.max_length);
        let reserve = hint
            .upper()
            .map_or(self.buffer_limit, |size| size.min(self.buffer_limit as u64) as usize);
        let permits = u32::try_from(reserve).unwrap_or(u32::MAX);
        match self.memory.clone().try_acquire_many_owned(permits) {
            Ok(reserved) if self.buffer_limit as u64 >= hint.lower() => {
                self.read_whole(upload, reserved).await
            }
            Ok(_) | Err(_) => Ok(ReplayBody::Streamed(Some(upload))),
        }
    }

    async fn read_whole(
        &self,
        mut upload: Upload,
        reserved: OwnedSemaphorePermit,
    ) -> Result<ReplayBody, BodyError> {
        let mut whole = BytesMut::new();
        loop {
            let frame =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut upload).poll_frame(cx)).await;
            let Some(frame) = frame else {
                return Ok(ReplayBody::Buffered(whole.freeze(), reserved));
            };
            let Ok(data) = frame?.into_data() else { continue };
            let ended = upload.is_end_stream();
            // The usual case: one piece is all there is, and it is not copied.
            if ended && whole.is_empty() {
                return Ok(ReplayBody::Buffered(data, reserved));
            }
            whole.extend_from_slice(&data);
            if whole.len() > self.buffer_limit {
                return Ok(ReplayBody::Streamed(Some(upload.with_prefix(whole.freeze()))));
            }
            if ended {
                return Ok(ReplayBody::Buffered(whole.freeze(), reserved));
            }
        }
    }
}

impl ReplayBody {
    /// Says whether the body can be sent again.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Empty | Self::Buffered(..) => true,
            Self::Streamed(_) => false,
        }
    }

    /// Returns where the progress of a body that is sent once can be watched.
    pub fn progress(&self) -> Option<Arc<UploadProgress>> {
        match self {
            Self::Streamed(Some(upload)) => Some(upload.progress()),
            Self::Empty | Self::Buffered(..) | Self::Streamed(None) => None,
        }
    }

    /// Returns how long it is, as far as anybody knows.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Streamed(None) => Some(0),
            Self::Buffered(bytes, _) => Some(bytes.len() as u64),
            Self::Streamed(Some(upload)) => upload.size_hint().exact(),
        }
    }

    /// Takes back what [`StoredClient::payload`] returned: not a byte of it was sent.
    pub(super) fn put_back(&mut self, payload: Payload) {
        if let (Self::Streamed(upload), Payload::Streamed(unsent)) = (self, payload) {
            *upload = Some(unsent);
        }
    }

    /// Returns the body to send: the same every time, or the only one there is.
    pub(super) fn payload(&mut self) -> Payload {
        match self {
            Self::Empty => Payload::Empty,
            Self::Buffered(bytes, _) => Payload::Buffered(Some(bytes.clone())),
            Self::Streamed(upload) => upload.take().map_or(Payload::Empty, Payload::Streamed),
        }
    }
}

/// All kept bodies together, in bytes: a bound on memory whatever the callers do.
const BUFFER_CAPACITY: usize = 64 << 20;
