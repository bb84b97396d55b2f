//! One plain HTTP request to another host, on a connection of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h1_client::{Connection, Error as H1Error};
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::copy::IDLE_TIMEOUT;
use super::dialer::PROXY_LOGIN_STATUS;
use super::{Error, ForwardProxy, HostPort, TunnelPlace};
use crate::upstream::{BodyError, ClientBody, ConnectionError};

/// The body of a response of another host.
pub struct PlainBody {
    connection: Connection<TcpStream, ClientBody>,
    /// Ends a body of which nothing comes.
    timer: Pin<Box<Sleep>>,
    _place: TunnelPlace,
}

impl ForwardProxy {
    /// Sends a request to another host, in which the caller has left only headers for that host, and
    /// returns its response with every header.
    /// Nothing may come for as long as in a tunnel.
    ///
    /// # Errors
    ///
    /// Why the host is refused, or gives no response.
    pub async fn send_plain(
        &self,
        to: &HostPort,
        request: Request<ClientBody>,
        is_owner: bool,
    ) -> Result<Response<PlainBody>, Error> {
        let place = self.places.take(is_owner).ok_or(Error::TooManyTunnels)?;
        let (tcp, parent) = self.dialer.connect_plain(to, is_owner).await?;
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = to.authority(HTTP_PORT);
        let target = match &parent {
            Some(_) => format!("http://{authority}{path}"),
            None => path.to_owned(),
        };
        let mut headers = head.headers;
        headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| Error::Target)?);
        if let Some(login) = parent.as_ref().and_then(|parent| parent.login()) {
            headers.insert(PROXY_AUTHORIZATION, login.clone());
        }
        let needs_length = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        if needs_length && body.size_hint().exact() == Some(0) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut connection = Connection::new(tcp);
        let mut request = PlainRequest { method: head.method, target, headers, body: Some(body) };
        let response = connection.send_request(&mut request, IDLE_TIMEOUT).await;
        let response = response.map_err(|failed| Error::Response(response_error(failed.error)))?;
        // A client would take it for a question of ours.
        if parent.is_some() && response.status() == PROXY_LOGIN_STATUS {
            return Err(Error::ParentLogin);
        }
        let timer = Box::pin(sleep(IDLE_TIMEOUT));
        Ok(response.map(|()| PlainBody { connection, timer, _place: place }))
    }
}

impl Body for PlainBody {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let this = self.get_mut();
        match this.connection.poll_data(cx) {
            Poll::Ready(data) => {
                this.timer.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                Poll::Ready(data.map(|data| data.map(Frame::data).map_err(connection_error)))
            }
            Poll::Pending => {
                this.timer.as_mut().poll(cx).map(|()| Some(Err(ConnectionError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.connection.size_hint()
    }
}

impl PlainBody {
    /// Reads at most `limit` bytes and throws them away.
    pub async fn discard(mut self, limit: usize) {
        let mut left = limit;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            if read >= left {
                return;
            }
            left -= read;
        }
    }
}

impl std::fmt::Debug for PlainBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBody").finish_non_exhaustive()
    }
}

/// A request as it is written.
struct PlainRequest {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Option<ClientBody>,
}

impl h1_client::Request for PlainRequest {
    type Body = ClientBody;

    fn method(&self) -> &Method {
        &self.method
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn for_each_header(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        self.headers.iter().for_each(|(name, value)| each(name, value));
    }

    fn body_length(&self) -> Option<u64> {
        self.body.as_ref().and_then(|body| body.size_hint().exact())
    }

    fn take_body(&mut self) -> ClientBody {
        self.body.take().expect("a request is sent once")
    }
}

/// The reason phrase for a host that did not respond.
fn response_error(error: H1Error<hyper::Error>) -> &'static str {
    match error {
        H1Error::Closed | H1Error::Truncated => "it closed the connection",
        H1Error::TimedOut => "it took too long",
        H1Error::Malformed(_) => "its response is not HTTP",
        H1Error::Io(_) => "the connection failed",
        H1Error::BodyLength | H1Error::Body(_) => "the request's body broke off",
    }
}

fn connection_error(error: H1Error<hyper::Error>) -> ConnectionError {
    match error {
        H1Error::Closed => ConnectionError::Closed,
        H1Error::Truncated => ConnectionError::Truncated,
        H1Error::TimedOut => ConnectionError::Stalled,
        H1Error::Io(error) => ConnectionError::Io(error),
        H1Error::Malformed(error) => ConnectionError::Malformed(error),
        H1Error::BodyLength | H1Error::Body(_) => {
            ConnectionError::RequestBody(BodyError::Incomplete)
        }
    }
}

const HTTP_PORT: u16 = 80;
