//! Request bodies in memory, so that they can be sent a second time.
//!
//! A body is buffered if it is small, and if all buffered bodies together stay within
//! [`BUFFER_CAPACITY`]. Beyond that, requests still work, but can be sent only once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_body::ClientBody;
use super::request_body::{BodyError, Payload, Upload, UploadProgress};

/// The limits within which request bodies are buffered and read. Clones share the memory.
#[derive(Clone, Debug)]
pub struct BodyBuffer {
    buffer_limit: usize,
    max_length: u64,
    idle_timeout: Duration,
    /// One permit for each byte.
    memory: Arc<Semaphore>,
}

/// A request body, buffered or not.
#[derive(Debug)]
pub enum ReplayBody {
    /// There is none.
    Empty,
    /// The whole body, which can be sent as often as needed.
    Buffered(Bytes, OwnedSemaphorePermit),
    /// A body too large to buffer, which can be sent once and is gone then.
    Streamed(Option<Upload>),
}

impl BodyBuffer {
    /// Buffers bodies of up to `buffer_limit` bytes. Refuses a body that is longer than
    /// `max_length` bytes or pauses for longer than `idle_timeout`.
    pub fn new(buffer_limit: usize, max_length: u64, idle_timeout: Duration) -> Self {
        Self {
            buffer_limit,
            max_length,
            idle_timeout,
            memory: Arc::new(Semaphore::new(BUFFER_CAPACITY)),
        }
    }

    /// Returns the longest pause of a body.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Returns whether a body of this announced size is buffered, if memory allows.
    pub fn can_buffer(&self, body: &impl Body) -> bool {
        body.size_hint().lower() <= self.buffer_limit as u64
    }

    /// Reads a small body to its end; leaves a large one to be streamed.
    ///
    /// # Errors
    ///
    /// When the client's body is not as announced.
    pub async fn read_or_stream(&self, incoming: ClientBody) -> Result<ReplayBody, BodyError> {
        if incoming.is_end_stream() {
            return Ok(ReplayBody::Empty);
        }
        let hint = incoming.size_hint();
        if hint.lower() > self.max_length {
            return Err(BodyError::TooLarge);
        }
        let upload = Upload::new(incoming, self.idle_timeout, self.max_length);
        if hint.lower() > self.buffer_limit as u64 {
            return Ok(ReplayBody::Streamed(Some(upload)));
        }
        match self.memory.clone().try_acquire_many_owned(0) {
            Ok(nothing_yet) => self.read_whole(upload, nothing_yet).await,
            Err(_) => Ok(ReplayBody::Streamed(Some(upload.without_memory()))),
        }
    }

    /// Reserves memory for `length` bytes in all; returns whether there is so much. Memory is reserved
    /// for what has come, not for what was announced: a client that announces and does not send takes
    /// none from others.
    fn reserve(&self, reserved: &mut OwnedSemaphorePermit, length: usize) -> bool {
        let missing = length.saturating_sub(reserved.num_permits());
        let steps = missing.div_ceil(RESERVATION_STEP) * RESERVATION_STEP;
        let more = u32::try_from(steps).unwrap_or(u32::MAX);
        self.memory.clone().try_acquire_many_owned(more).map(|more| reserved.merge(more)).is_ok()
    }

    async fn read_whole(
        &self,
        mut upload: Upload,
        mut reserved: OwnedSemaphorePermit,
    ) -> Result<ReplayBody, BodyError> {
        let mut whole = BytesMut::new();
        loop {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await else {
                return Ok(ReplayBody::Buffered(whole.freeze(), reserved));
            };
            let Ok(data) = frame?.into_data() else { continue };
            let has_ended = upload.is_end_stream();
            let has_memory = self.reserve(&mut reserved, whole.len() + data.len());
            // Most bodies are one piece, which is not copied.
            if has_ended && whole.is_empty() && has_memory && data.len() <= self.buffer_limit {
                return Ok(ReplayBody::Buffered(data, reserved));
            }
            whole.extend_from_slice(&data);
            if whole.len() > self.buffer_limit {
                return Ok(ReplayBody::Streamed(Some(upload.with_prefix(whole.freeze()))));
            }
            if !has_memory {
                let upload = upload.with_prefix(whole.freeze()).without_memory();
                return Ok(ReplayBody::Streamed(Some(upload)));
            }
            if has_ended {
                return Ok(ReplayBody::Buffered(whole.freeze(), reserved));
            }
        }
    }
}

impl ReplayBody {
    /// Returns whether the body can be sent again.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Empty | Self::Buffered(..) => true,
            Self::Streamed(_) => false,
        }
    }

    /// Says whether the body streams only because there was no memory for it.
    pub fn lacks_memory(&self) -> bool {
        match self {
            Self::Streamed(Some(upload)) => upload.lacks_memory(),
            Self::Empty | Self::Buffered(..) | Self::Streamed(None) => false,
        }
    }

    /// Returns the progress of a body that is sent once.
    pub fn progress(&self) -> Option<Arc<UploadProgress>> {
        match self {
            Self::Streamed(Some(upload)) => Some(upload.progress()),
            Self::Empty | Self::Buffered(..) | Self::Streamed(None) => None,
        }
    }

    /// Returns the length, if it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Streamed(None) => Some(0),
            Self::Buffered(bytes, _) => Some(bytes.len() as u64),
            Self::Streamed(Some(upload)) => upload.size_hint().exact(),
        }
    }

    /// Takes back what [`ReplayBody::payload`] returned, of which no byte was sent.
    pub(super) fn put_back(&mut self, payload: Payload) {
        if let (Self::Streamed(upload), Payload::Streamed(unsent)) = (self, payload) {
            *upload = Some(unsent);
        }
    }

    /// Returns the body to send: a copy, or the only one.
    pub(super) fn payload(&mut self) -> Payload {
        match self {
            Self::Empty => Payload::Empty,
            Self::Buffered(bytes, _) => Payload::Buffered(Some(bytes.clone())),
            Self::Streamed(upload) => upload.take().map_or(Payload::Empty, Payload::Streamed),
        }
    }
}

/// How much memory is reserved at a time, in bytes: one read of a connection.
const RESERVATION_STEP: usize = 16 << 10;

/// Most bytes of all buffered bodies together: a bound on memory whatever the clients do.
const BUFFER_CAPACITY: usize = 64 << 20;
