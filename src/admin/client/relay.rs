//! A response of the daemon that is passed on as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::{AdminClient, ClientConnection, Error};

impl AdminClient {
    /// Sends a request for another program, and returns the response, whatever its status.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is no response.
    pub async fn relay(
        &self,
        method: Method,
        path: &str,
        content: Option<Bytes>,
    ) -> Result<Response<RelayedBody>, Error> {
        let (response, connection) = self.send(method, path, content).await?;
        Ok(response.map(|body| RelayedBody { connection, body }))
    }
}

/// The body of a response, and the connection that it comes over.
pub struct RelayedBody {
    connection: ClientConnection,
    body: Incoming,
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        this.connection.poll(cx);
        Pin::new(&mut this.body).poll_frame(cx)
    }
}

impl std::fmt::Debug for RelayedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayedBody").finish_non_exhaustive()
    }
}
