//! The events of `/v1/events`, as a command reads them.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{AdminClient, ClientConnection, Error};
use crate::admin::api::Event;

/// A stream of events.
pub struct EventStream {
    client: AdminClient,
    connection: ClientConnection,
    body: Incoming,
    buf: BytesMut,
    /// Longest silence before the daemon is checked.
    patience: Duration,
}

impl EventStream {
    /// Reads events from the body of a response.
    pub(super) fn new(client: AdminClient, connection: ClientConnection, body: Incoming) -> Self {
        Self { client, connection, body, buf: BytesMut::new(), patience: MAX_SILENCE }
    }

    /// Checks the daemon soon: for a command whose next event is its result.
    #[must_use]
    pub fn expecting_an_event(self) -> Self {
        Self { patience: super::PATIENCE, ..self }
    }

    /// Waits for the next event; `None` when the daemon has ended, or does not answer.
    pub async fn next(&mut self) -> Option<Event> {
        self.try_next().await.ok().flatten()
    }

    /// Waits for the next event; `None` when the daemon has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Unresponsive`] when the daemon is silent and does not answer.
    pub async fn try_next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(block) = self.take_block() {
                if let Some(event) = parse(&block) {
                    return Ok(Some(event));
                }
            }
            let frame = self.connection.drive(self.body.frame());
            let frame = self.client.while_alive(frame, Duration::MAX, self.patience).await?;
            let Some(Ok(frame)) = frame else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                self.buf.extend_from_slice(&data);
            }
        }
    }

    /// Takes the text before the next empty line.
    fn take_block(&mut self) -> Option<String> {
        let end = self.buf.windows(2).position(|pair| pair == b"\n\n")?;
        let block = self.buf.split_to(end + 2);
        String::from_utf8(block.to_vec()).ok()
    }
}

/// Parses one event; `None` for kinds that this version does not know.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    match field("event: ")? {
        "ready" => serde_json::from_str(data).ok().map(Event::Ready),
        "session" => serde_json::from_str(data).ok().map(Event::Session),
        "request" => serde_json::from_str(data).ok().map(Event::Request),
        "content" => serde_json::from_str(data).ok().map(Event::Content),
        "approval" => data.parse().ok().map(Event::Approval),
        "lost" => data.parse().ok().map(Event::Lost),
        _ => None,
    }
}

/// Longest silence on a stream of events: a daemon that is well sends a comment every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(16);

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_events_are_parsed_and_unknown_ones_are_skipped() {
        let ready = "event: ready\ndata: {\"ready\":true,\"reasons\":[],\"later\":1}\n\n";

        assert!(matches!(parse(ready), Some(Event::Ready(readiness)) if readiness.ready));
        assert_eq!(parse("event: lost\ndata: 3\n\n"), Some(Event::Lost(3)));
        assert_eq!(parse(": alive\n\n"), None);
        assert_eq!(parse("event: later\ndata: {}\n\n"), None);
    }
}
