//! Request bodies that are kept, so that they can be sent a second time.
//!
//! A body is kept when it is small, and when all kept bodies together stay within [`TOTAL`]:
//! beyond that requests still work, they are only sent once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Fault, Payload, Progress, Upload};

/// What may be kept, and how a body is read. Clones share the total.
#[derive(Clone, Debug)]
pub struct Keep {
    each: usize,
    most: u64,
    pause: Duration,
    total: Arc<Semaphore>,
}

/// A request body after its first look.
#[derive(Debug)]
pub enum Kept {
    /// There is none.
    Empty,
    /// All of it is here; it can be sent as often as needed.
    Whole(Bytes, OwnedSemaphorePermit),
    /// Too large to keep: it can be sent once, and then is gone.
    Once(Option<Upload>),
}

impl Keep {
    /// Keeps bodies of up to `each` bytes; lets none pass that is longer than `most` bytes or
    /// pauses for longer than `pause`.
    pub fn new(each: usize, most: u64, pause: Duration) -> Self {
        Self { each, most, pause, total: Arc::new(Semaphore::new(TOTAL)) }
    }

    /// Says whether a body of this announced size will be kept, if memory allows.
    pub fn can_hold(&self, body: &impl Body) -> bool {
        body.size_hint().lower() <= self.each as u64
    }

    /// Reads a small body to its end; leaves a large one to be streamed.
    ///
    /// # Errors
    ///
    /// What the caller did wrong while its body was read.
    pub async fn look(&self, incoming: Incoming) -> Result<Kept, Fault> {
        if incoming.is_end_stream() {
            return Ok(Kept::Empty);
        }
        let hint = incoming.size_hint();
        if hint.lower() > self.most {
            return Err(Fault::TooLarge);
        }
        let upload = Upload::new(incoming, self.pause, self.most);
        let reserve = hint.upper().map_or(self.each, |size| size.min(self.each as u64) as usize);
        let permits = u32::try_from(reserve).unwrap_or(u32::MAX);
        match self.total.clone().try_acquire_many_owned(permits) {
            Ok(reserved) if self.each as u64 >= hint.lower() => self.read(upload, reserved).await,
            Ok(_) | Err(_) => Ok(Kept::Once(Some(upload))),
        }
    }

    async fn read(
        &self,
        mut upload: Upload,
        reserved: OwnedSemaphorePermit,
    ) -> Result<Kept, Fault> {
        let mut whole = BytesMut::new();
        loop {
            let frame =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut upload).poll_frame(cx)).await;
            let Some(frame) = frame else { return Ok(Kept::Whole(whole.freeze(), reserved)) };
            let Ok(data) = frame?.into_data() else { continue };
            let ended = upload.is_end_stream();
            // The usual case: one piece is all there is, and it is not copied.
            if ended && whole.is_empty() {
                return Ok(Kept::Whole(data, reserved));
            }
            whole.extend_from_slice(&data);
            if whole.len() > self.each {
                return Ok(Kept::Once(Some(upload.rewound(whole.freeze()))));
            }
            if ended {
                return Ok(Kept::Whole(whole.freeze(), reserved));
            }
        }
    }
}

impl Kept {
    /// Says whether the body can be sent again.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Empty | Self::Whole(..) => true,
            Self::Once(_) => false,
        }
    }

    /// Returns where the progress of a body that is sent once can be watched.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Once(Some(upload)) => Some(upload.progress()),
            Self::Empty | Self::Whole(..) | Self::Once(None) => None,
        }
    }

    /// Returns how long it is, as far as anybody knows.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Once(None) => Some(0),
            Self::Whole(bytes, _) => Some(bytes.len() as u64),
            Self::Once(Some(upload)) => upload.size_hint().exact(),
        }
    }

    /// Takes back what [`Kept::payload`] returned: not a byte of it was sent.
    pub(super) fn put_back(&mut self, payload: Payload) {
        if let (Self::Once(upload), Payload::Streamed(unsent)) = (self, payload) {
            *upload = Some(unsent);
        }
    }

    /// Returns the body to send: the same every time, or the only one there is.
    pub(super) fn payload(&mut self) -> Payload {
        match self {
            Self::Empty => Payload::Empty,
            Self::Whole(bytes, _) => Payload::Kept(Some(bytes.clone())),
            Self::Once(upload) => upload.take().map_or(Payload::Empty, Payload::Streamed),
        }
    }
}

/// All kept bodies together, in bytes: a bound on memory whatever the callers do.
const TOTAL: usize = 64 << 20;
